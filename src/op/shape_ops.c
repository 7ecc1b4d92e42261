/* shape_ops.c - views: reshape, transpose, broadcast, squeeze, expand, flatten, slice
 *
 * A view of an array that has values is made at once, over the same buffer; a view of a pending
 * one is a node, and costs nothing either: lowering turns it into an index.
 */
#include "core/scope.h"
#include "core/tape.h"
#include "op/op.h"
#include "op/view.h"

int fr__axis(int axis, int ndim, const char *op)
{
    if (axis < -ndim || axis >= ndim)
        return fr__fail_int(FR__E_INDEX, "%s: axis %d of an array with %d dimensions", op, axis,
                            ndim);
    return axis < 0 ? axis + ndim : axis;
}

/* x again, as a result of its own. */
static fr_array *itself(fr_array *x)
{
    fr__own_result(fr__ref(x));
    return fr__failed() ? NULL : x;
}

fr_array *fr__view(int op, fr_array *x, int ndim, const int64_t *shape, int npar,
                   const int64_t *par)
{
    int64_t strides[FR_MAX_NDIM], offset = 0;
    bool there = fr__done(x) && fr__view_strides(op, par, ndim, shape, x->ndim, x->dims,
                                                 fr__strides(x), strides, &offset);
    if (there && !fr__is_taped(x))
        return fr__leaf(
            x->buf ? fr__buffer_keep(x->buf) : NULL,
            x->buf ? (size_t)(x->data - (char *)x->buf->data + offset * fr__dsize(x->dtype))
                   : 0,
            x->dtype, ndim, shape, strides);
    fr_array *y = fr__node(op, x->dtype, ndim, shape, 1, &x, npar);
    if (!y)
        return NULL;
    if (npar)
        memcpy(y->par, par, sizeof(int64_t) * (size_t)npar);
    if (there) /* what is differentiated is a node with a value */
        fr__publish(y, x->buf ? fr__buffer_keep(x->buf) : NULL,
                    x->data ? x->data + offset * fr__dsize(x->dtype) : NULL, strides);
    else if (fr__flag(x, FR__WEAK))
        atomic_fetch_or(&y->flags, FR__WEAK);
    return y;
}

static bool same_shape(const fr_array *x, int ndim, const int64_t *shape)
{
    return x->ndim == ndim &&
           (!ndim || !memcmp(x->dims, shape, sizeof(int64_t) * (size_t)ndim));
}

static bool good_rank(const char *op, int ndim)
{
    if (ndim >= 0 && ndim <= FR_MAX_NDIM)
        return true;
    fr__fail(FR__E_LIMIT, "%s: %d dimensions, the most is %d", op, ndim, FR_MAX_NDIM);
    return false;
}

fr_array *fr_reshape(fr_array *x, const int64_t *shape, int ndim)
{
    if (!fr__operands(1, &x) || !good_rank("reshape", ndim))
        return NULL;
    int64_t to[FR_MAX_NDIM], n = 1;
    int open = -1;
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    bool good = true;
    for (int i = 0; i < ndim; i++) {
        to[i] = shape[i];
        if (shape[i] == -1 && open < 0)
            open = i;
        else if (shape[i] < 0 || __builtin_mul_overflow(n, shape[i], &n))
            good = false;
    }
    if (good && open >= 0) {
        to[open] = n ? x->size / n : 0;
        good = n && to[open] * n == x->size;
    } else if (good) {
        good = n == x->size;
    }
    if (!good)
        return fr__fail(FR__E_VALUE, "reshape: %s has %lld elements and cannot have shape [%s]",
                        fr__shape_text(x, have), (long long)x->size,
                        fr__dims_text(shape, ndim, want));
    return same_shape(x, ndim, to) ? itself(x) : fr__view(FR__OP_RESHAPE, x, ndim, to, 0, NULL);
}

fr_array *fr_transpose(fr_array *x, const int *axes, int naxes)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t par[FR_MAX_NDIM], shape[FR_MAX_NDIM];
    char text[FR__SHAPE_TEXT];
    if (axes && naxes != x->ndim)
        return fr__fail(FR__E_VALUE, "transpose: %d axes for %s", naxes,
                        fr__shape_text(x, text));
    uint64_t seen = 0;
    bool same = true;
    for (int i = 0; i < x->ndim; i++) {
        int a = axes ? fr__axis(axes[i], x->ndim, "transpose") : x->ndim - 1 - i;
        if (a < 0)
            return NULL;
        if (seen >> a & 1)
            return fr__fail(FR__E_VALUE, "transpose: axis %d is named twice", a);
        seen |= (uint64_t)1 << a;
        par[i] = a;
        shape[i] = x->dims[a];
        same &= a == i;
    }
    return same ? itself(x) : fr__view(FR__OP_TRANSPOSE, x, x->ndim, shape, x->ndim, par);
}

fr_array *fr_broadcast_to(fr_array *x, const int64_t *shape, int ndim)
{
    if (!fr__operands(1, &x) || !good_rank("broadcast_to", ndim))
        return NULL;
    bool good = ndim >= x->ndim;
    for (int i = 0; good && i < x->ndim; i++)
        good = x->dims[i] == shape[ndim - x->ndim + i] || x->dims[i] == 1;
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (!good)
        return fr__fail(FR__E_VALUE, "broadcast_to: %s does not broadcast to [%s]",
                        fr__shape_text(x, have), fr__dims_text(shape, ndim, want));
    return same_shape(x, ndim, shape) ? itself(x)
                                      : fr__view(FR__OP_BROADCAST, x, ndim, shape, 0, NULL);
}

fr_array *fr_squeeze(fr_array *x, const int *axes, int naxes)
{
    if (!fr__operands(1, &x))
        return NULL;
    uint64_t gone = 0;
    char text[FR__SHAPE_TEXT];
    for (int i = 0; axes && i < naxes; i++) {
        int a = fr__axis(axes[i], x->ndim, "squeeze");
        if (a < 0)
            return NULL;
        if (x->dims[a] != 1)
            return fr__fail(FR__E_VALUE, "squeeze: axis %d of %s is not of size 1", a,
                            fr__shape_text(x, text));
        if (gone >> a & 1)
            return fr__fail(FR__E_VALUE, "squeeze: axis %d is named twice", a);
        gone |= (uint64_t)1 << a;
    }
    int64_t shape[FR_MAX_NDIM];
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (axes ? !(gone >> i & 1) : x->dims[i] != 1)
            shape[ndim++] = x->dims[i];
    return ndim == x->ndim ? itself(x) : fr__view(FR__OP_RESHAPE, x, ndim, shape, 0, NULL);
}

fr_array *fr_expand_dims(fr_array *x, const int *axes, int naxes)
{
    if (!fr__operands(1, &x) || !good_rank("expand_dims", x->ndim + naxes))
        return NULL;
    if (naxes < 0)
        return fr__fail(FR__E_VALUE, "expand_dims: %d axes", naxes);
    int ndim = x->ndim + naxes, from = 0;
    uint64_t fresh = 0;
    for (int i = 0; i < naxes; i++) {
        int a = fr__axis(axes[i], ndim, "expand_dims");
        if (a < 0)
            return NULL;
        if (fresh >> a & 1)
            return fr__fail(FR__E_VALUE, "expand_dims: axis %d is named twice", a);
        fresh |= (uint64_t)1 << a;
    }
    int64_t shape[FR_MAX_NDIM];
    for (int i = 0; i < ndim; i++)
        shape[i] = fresh >> i & 1 ? 1 : x->dims[from++];
    return naxes ? fr__view(FR__OP_RESHAPE, x, ndim, shape, 0, NULL) : itself(x);
}

fr_array *fr_flatten(fr_array *x, int start, int end)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (x->ndim == 0) {
        int64_t one = 1;
        return fr_reshape(x, &one, 1);
    }
    int a = fr__axis(start, x->ndim, "flatten"),
        b = a < 0 ? -1 : fr__axis(end, x->ndim, "flatten");
    if (b < 0)
        return NULL;
    if (b < a)
        return fr__fail(FR__E_VALUE, "flatten: axis %d comes after axis %d", a, b);
    int64_t shape[FR_MAX_NDIM];
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (i > a && i <= b)
            shape[ndim - 1] *= x->dims[i];
        else
            shape[ndim++] = x->dims[i];
    return fr_reshape(x, shape, ndim);
}

fr_array *fr_slice(fr_array *x, const int64_t *start, const int64_t *step, const int64_t *count)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t par[2 * FR_MAX_NDIM];
    char text[FR__SHAPE_TEXT];
    bool whole = true;
    for (int i = 0; i < x->ndim; i++) {
        int64_t span, last;
        if (count[i] < 0 || step[i] == 0 ||
            (count[i] > 0 && (__builtin_mul_overflow(count[i] - 1, step[i], &span) ||
                              __builtin_add_overflow(start[i], span, &last) || start[i] < 0 ||
                              start[i] >= x->dims[i] || last < 0 || last >= x->dims[i])))
            return fr__fail(
                FR__E_INDEX,
                "slice: %lld elements from %lld in steps of %lld leave axis %d of %s",
                (long long)count[i], (long long)start[i], (long long)step[i], i,
                fr__shape_text(x, text));
        par[i] = count[i] ? start[i] : 0;
        par[x->ndim + i] = step[i];
        whole &= count[i] == x->dims[i] && step[i] == 1;
    }
    return whole ? itself(x) : fr__view(FR__OP_SLICE, x, x->ndim, count, 2 * x->ndim, par);
}

fr_array *fr_contiguous(fr_array *x)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (fr__done(x) && fr__is_contiguous(x->ndim, x->dims, fr__strides(x)))
        return itself(x);
    return fr__node(FR__OP_COPY, x->dtype, x->ndim, x->dims, 1, &x, 0);
}
