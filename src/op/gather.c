/* gather.c - elements at computed indices: along one axis, along several, beside each other
 *
 * All are one operation, TAKE: the elements of an array at indices along an axis. Several axes are one
 * axis with the indices' row-major number; axes between them, if they are not indexed, are
 * indexed by counting, so that nothing of x is moved for it.
 *
 * A TAKE of one element in each row along an axis, of an array as a flat one, says so: its parameters are 0,
 * the length of that axis, and the elements behind it. Its derivative needs no scatter then.
 */
#include "op/gather.h"

#include "core/scope.h"
#include "op/op.h"

static int check_indices(const char *op, const fr_array *indices)
{
    char text[FR__SHAPE_TEXT];
    return fr__is_int(indices->dtype)
               ? 0
               : fr__fail_int(FR__E_TYPE, "%s: indices are integers, not %s", op,
                              fr__shape_text(indices, text));
}

static int check_not_empty(const char *op, const fr_array *x, int axis)
{
    char text[FR__SHAPE_TEXT];
    return x->dims[axis] ? 0
                         : fr__fail_int(FR__E_INDEX, "%s: from axis %d of %s, which is empty",
                                        op, axis, fr__shape_text(x, text));
}

/* par: NULL, or all three parameters. */
static fr_array *taken(fr_array *x, fr_array *indices, int axis, const int64_t *par)
{
    fr_array *both[2] = {x, indices};
    if (!fr__operands(2, both))
        return NULL;
    int64_t shape[FR_MAX_NDIM];
    fr_array *flat = NULL, *y = NULL;
    int ndim = x->ndim - 1 + indices->ndim;
    if ((axis = fr__axis(axis, x->ndim, "take")) < 0 || check_indices("take", indices))
        goto done;
    if (ndim > FR_MAX_NDIM) {
        fr__fail(FR__E_LIMIT, "take: %d dimensions, the most is %d", ndim, FR_MAX_NDIM);
        goto done;
    }
    if (indices->size && check_not_empty("take", x, axis))
        goto done;
    for (int d = 0; d < ndim; d++)
        shape[d] = d < axis                   ? x->dims[d]
                   : d < axis + indices->ndim ? indices->dims[d - axis]
                                              : x->dims[d + 1 - indices->ndim];
    /* A literal index has no place in memory: as an array of its own it has. */
    flat = indices->op == FR__OP_NUMBER ? fr_astype(indices, FR_INT64) : indices;
    if (flat && flat->op == FR__OP_NUMBER)
        flat = fr__node(FR__OP_COPY, flat->dtype, 0, NULL, 1, &flat, 0);
    if (flat)
        y = fr__node(FR__OP_TAKE, x->dtype, ndim, shape, 2, (fr_array *[]){x, flat},
                     par ? 3 : 1);
    if (y)
        memcpy(y->par, par ? par : &(int64_t){axis}, sizeof *par * (par ? 3 : 1));
    if (flat != indices)
        fr__discard(flat);
done:
    fr__settle(2, both);
    return y;
}

fr_array *fr_take(fr_array *x, fr_array *indices, int axis)
{
    return taken(x, indices, axis, NULL);
}

/* ---- several axes as one ------------------------------------------------------------------ */

static bool named_before(const int *axes, int i)
{
    for (int j = 0; j < i; j++)
        if (axes[j] == axes[i])
            return true;
    return false;
}

int fr__places_read(fr__places *p, const char *op, fr_array *x, int n, fr_array *const *indices,
                    const int *axes)
{
    char text[FR__SHAPE_TEXT];
    *p = (fr__places){.op = op, .n = n, .first = x->ndim, .last = -1, .span = 1};
    if (n < 1 || n > x->ndim)
        return fr__fail_int(FR__E_VALUE, "%s: %d index arrays for %s", op, n,
                            fr__shape_text(x, text));
    for (int i = 0; i < n; i++) {
        int a = p->axes[i] = fr__axis(axes[i], x->ndim, op);
        if (a < 0 || check_indices(op, indices[i]))
            return -1;
        if (named_before(p->axes, i))
            return fr__fail_int(FR__E_VALUE, "%s: axis %d is named twice", op, a);
        p->indices[i] = p->at[a] = indices[i];
        p->first = a < p->first ? a : p->first;
        p->last = a > p->last ? a : p->last;
    }
    for (int d = p->first; d <= p->last; d++) {
        p->span *= x->dims[d];
        if (!p->at[d])
            p->between[p->nbetween++] = d;
    }
    p->nblock = fr_broadcast_shapes(n, indices, p->block);
    if (p->nblock < 0) {
        fr__error_context("%s", op);
        return -1;
    }
    p->ndim = p->nblock + x->ndim - n;
    if (p->ndim > FR_MAX_NDIM)
        return fr__fail_int(FR__E_LIMIT, "%s: %d dimensions, the most is %d", op, p->ndim,
                            FR_MAX_NDIM);
    memcpy(p->shape, p->block, sizeof *p->shape * (size_t)p->nblock);
    for (int d = 0, to = p->nblock; d < x->ndim; d++)
        if (!p->at[d])
            p->shape[to++] = x->dims[d];
    return 0;
}

/* From the end below 0; read: the nearest beyond either end. */
static fr_array *in_range(fr_array *indices, int64_t n, bool read)
{
    fr_array *i = fr_astype(indices, FR_INT64);
    if (fr__dtypes[indices->dtype].kind == FR__KIND_INT || indices->dtype == FR_UINT64)
        i = fr_where(fr_lt(i, 0), fr_add(i, (long long)n), i);
    return read ? fr_minimum(fr_maximum(i, 0), (long long)(n - 1)) : i;
}

/* With axes of size 1 behind until there are ndim. */
static fr_array *with_axes_behind(fr_array *x, int ndim)
{
    int64_t shape[FR_MAX_NDIM];
    for (int d = 0; x && d < ndim; d++)
        shape[d] = d < x->ndim ? x->dims[d] : 1;
    return fr_reshape(x, shape, ndim);
}

static fr_array *sum_of(fr_array *a, fr_array *b) { return a ? fr_add(a, b) : b; }

fr_array *fr__places_number(const fr__places *p, const fr_array *x, bool read)
{
    if (p->n == 1 && !p->nbetween)
        return p->indices[0];
    int64_t step = 1, shape[FR_MAX_NDIM];
    int behind = p->nbetween;
    fr_array *number = NULL, *good = NULL;
    memcpy(shape, p->block, sizeof *shape * (size_t)p->nblock);
    for (int i = 0; i < p->nbetween; i++)
        shape[p->nblock + i] = x->dims[p->between[i]];
    for (int d = p->last; d >= p->first; d--) {
        int64_t n = x->dims[d];
        fr_array *i;
        if (p->at[d]) {
            i = in_range(p->at[d], n, read);
            i = i ? with_axes_behind(i, i->ndim + p->nbetween) : NULL;
            fr_array *there = read ? NULL : fr_logical_and(fr_ge(i, 0), fr_lt(i, (long long)n));
            good = read ? NULL : good ? fr_logical_and(good, there) : there;
        } else {
            i = fr_arange(0, (double)n, 1, FR_INT64);
            i = with_axes_behind(i, p->nbetween - --behind);
        }
        number = sum_of(number, step == 1 ? i : fr_mul(i, (long long)step));
        step *= n;
        if (!number)
            return NULL;
    }
    if (good)
        number = fr_where(good, number, (long long)p->span);
    return fr_broadcast_to(number, shape, p->nblock + p->nbetween);
}

fr_array *fr__places_merged(const fr__places *p, fr_array *x)
{
    int64_t shape[FR_MAX_NDIM];
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++)
        if (d <= p->first || d > p->last)
            shape[ndim++] = d == p->first ? p->span : x->dims[d];
    return fr_reshape(x, shape, ndim);
}

int fr__places_order(const fr__places *p, int *axes)
{
    int n = 0;
    for (int d = 0; d < p->first; d++)
        axes[n++] = p->nblock + d;
    for (int d = 0; d < p->nblock; d++)
        axes[n++] = d;
    for (int d = p->nblock + p->first; d < p->ndim; d++)
        axes[n++] = d;
    return n;
}

fr_array *fr_gather(fr_array *x, int n, fr_array *const *indices, const int *axes)
{
    fr__places p;
    int order[FR_MAX_NDIM], back[FR_MAX_NDIM];
    if (!fr__operands(1, &x) || !fr__operands(n > 0 ? n : 0, indices) ||
        fr__places_read(&p, "gather", x, n, indices, axes))
        return NULL;
    int64_t size = 1;
    for (int d = 0; d < p.nblock; d++)
        size *= p.block[d];
    for (int i = 0; size && i < n; i++)
        if (check_not_empty("gather", x, p.axes[i]))
            return NULL;
    fr_scope *s = fr_scope_open();
    fr_array *y = fr_take(fr__places_merged(&p, x), fr__places_number(&p, x, true), p.first);
    fr__places_order(&p, order);
    for (int d = 0; d < p.ndim; d++)
        back[order[d]] = d;
    return fr__leave(s, fr_transpose(y, back, p.ndim));
}

/* ---- along an axis ------------------------------------------------------------------------ */

/* Counting over `axes` dimensions of x from `from` on, each element `step` after the one before;
 * of ndim dimensions. */
static fr_array *counted(const fr_array *x, int from, int axes, int64_t step)
{
    int64_t shape[FR_MAX_NDIM], n = 1;
    for (int d = 0; d < x->ndim; d++) {
        bool in = d >= from && d < from + axes;
        shape[d] = in ? x->dims[d] : 1;
        n *= shape[d];
    }
    if (n == 1)
        return NULL; /* nothing to add */
    fr_array *i = fr_arange(0, (double)n, 1, FR_INT64);
    return fr_reshape(step == 1 ? i : fr_mul(i, (long long)step), shape, x->ndim);
}

int fr__along_shape(const char *op, const fr_array *x, const fr_array *indices, int axis,
                    bool read, int64_t *shape)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    if (check_indices(op, indices))
        return -1;
    bool good = indices->ndim == x->ndim;
    for (int d = 0; good && d < x->ndim; d++) {
        int64_t k = indices->dims[d], n = x->dims[d];
        good = d == axis || k == n || k == 1 || (read && n == 1);
        shape[d] = d == axis || n == 1 ? k : n;
    }
    return good ? 0
                : fr__fail_int(FR__E_VALUE, "%s: indices %s don't fit %s along axis %d", op,
                               fr__shape_text(indices, a), fr__shape_text(x, b), axis);
}

/* The numbers in the flattened x of what is read, of this shape. */
static fr_array *numbers_along(const fr_array *x, fr_array *indices, int axis,
                               const int64_t *shape)
{
    int64_t n = x->dims[axis], after = 1;
    for (int d = axis + 1; d < x->ndim; d++)
        after *= x->dims[d];
    fr_array *i = in_range(indices, n, true);
    fr_array *outer = counted(x, 0, axis, n * after),
             *inner = counted(x, axis + 1, x->ndim - axis - 1, 1);
    i = after == 1 ? i : fr_mul(i, (long long)after);
    i = outer ? fr_add(outer, i) : i;
    i = inner ? fr_add(i, inner) : i;
    return fr_broadcast_to(i, shape, x->ndim);
}

fr_array *fr_take_along_axis(fr_array *x, fr_array *indices, int axis)
{
    fr_array *both[2] = {x, indices};
    int64_t shape[FR_MAX_NDIM];
    if (!fr__operands(2, both) || (axis = fr__axis(axis, x->ndim, "take_along_axis")) < 0 ||
        fr__along_shape("take_along_axis", x, indices, axis, true, shape))
        return NULL;
    if (indices->size && x->size == 0 && check_not_empty("take_along_axis", x, axis))
        return NULL;
    fr_scope *s = fr_scope_open();
    int64_t par[3] = {0, x->dims[axis], 1};
    for (int d = axis + 1; d < x->ndim; d++)
        par[2] *= x->dims[d];
    fr_array *i = numbers_along(x, indices, axis, shape);
    bool one = i && shape[axis] == 1 && i->size == x->size / par[1];
    fr_array *y = i && !i->size
                      ? fr_zeros(i->dims, i->ndim, (fr_dtype)x->dtype)
                      : taken(fr_reshape(x, &(int64_t){-1}, 1), i, 0, one ? par : NULL);
    return fr__leave(s, y);
}
