/* strided.c - gathers at places made of counters: strided reads, slices at computed starts */
#include "core/scope.h"
#include "op/gather.h"
#include "op/op.h"

/* v as the axis `axis` of ndim, the others of size 1. */
static fr_array *along(fr_array *v, int axis, int ndim)
{
    int64_t shape[FR_MAX_NDIM];
    for (int d = 0; d < ndim; d++)
        shape[d] = d == axis ? v->size : 1;
    return fr__then(v, fr_reshape(v, shape, ndim));
}

static fr_array *counter(int64_t n) { return fr_arange(0, (double)n, 1, FR_INT64); }

/* offset + the sum over axes of index * stride, as an array of this shape. */
static fr_array *places(const int64_t *shape, const int64_t *strides, int ndim, int64_t offset)
{
    fr_array *at = fr__number((double)offset, FR_INT64);
    at = at ? fr__then(at, fr_broadcast_to(at, shape, ndim)) : NULL;
    for (int d = 0; at && d < ndim; d++) {
        if (shape[d] == 1 || strides[d] == 0)
            continue;
        fr_array *i = counter(shape[d]), *by = fr__number((double)strides[d], FR_INT64);
        i = fr__then(i, (fr_mul)(i, by));
        i = i ? along(i, d, ndim) : NULL;
        at = fr__then(at, (fr_add)(at, i));
        fr__discard(i);
        fr__discard(by);
    }
    return at;
}

fr_array *fr_as_strided(fr_array *x, const int64_t *shape, const int64_t *strides, int ndim,
                        int64_t offset)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t steps[FR_MAX_NDIM], size = 1, low = offset, high = offset;
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (ndim < 0 || ndim > FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "as_strided: %d dimensions, the most is %d", ndim,
                        FR_MAX_NDIM);
    bool good = true, regular = true;
    for (int d = ndim - 1; good && d >= 0; d--) {
        steps[d] = strides ? strides[d] : size;
        regular &= shape[d] == 1 || steps[d] == size;
        int64_t span = 0;
        good = shape[d] >= 0 && !__builtin_mul_overflow(size, shape[d], &size) &&
               !(shape[d] > 1 && __builtin_mul_overflow(shape[d] - 1, steps[d], &span)) &&
               !__builtin_add_overflow(span < 0 ? low : high, span, span < 0 ? &low : &high);
    }
    if (!good || (size && (low < 0 || high >= x->size)))
        return fr__fail(FR__E_VALUE, "as_strided: [%s] from %lld on reaches beyond %s",
                        fr__dims_text(shape, ndim, want), (long long)offset,
                        fr__shape_text(x, have));
    fr_array *line = fr_reshape(x, &x->size, 1), *y = NULL;
    if (line && (regular || !size)) {
        int64_t from = size ? offset : 0, one = 1;
        line = fr__then(line, fr_slice(line, &from, &one, &size));
        y = line ? fr_reshape(line, shape, ndim) : NULL;
    } else if (line) {
        fr_array *at = places(shape, steps, ndim, offset);
        y = at ? fr_take(line, at, 0) : NULL;
        fr__discard(at);
    }
    fr__discard(line);
    return y;
}

/* ---- slices at computed starts ------------------------------------------------------ */

/* Checks, and gives the place of every axis of x in starts, -1 where it starts at 0. */
static int read_starts(const char *op, const fr_array *x, const fr_array *starts,
                       const int *axes, int naxes, const int64_t *sizes, int at[FR_MAX_NDIM])
{
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (!fr__is_int(starts->dtype))
        return fr__fail_int(FR__E_TYPE, "%s: starts are integers, not %s", op,
                            fr__shape_text(starts, have));
    if (starts->ndim > 1 || starts->size != naxes)
        return fr__fail_int(FR__E_VALUE, "%s: starts are %s, for %d axes", op,
                            fr__shape_text(starts, have), naxes);
    for (int d = 0; d < x->ndim; d++) {
        at[d] = -1;
        if (sizes[d] < 0 || sizes[d] > x->dims[d])
            return fr__fail_int(FR__E_VALUE, "%s: sizes [%s] do not fit %s", op,
                                fr__dims_text(sizes, x->ndim, want), fr__shape_text(x, have));
    }
    for (int i = 0; i < naxes; i++) {
        int a = fr__axis(axes[i], x->ndim, op);
        if (a < 0)
            return -1;
        if (at[a] >= 0)
            return fr__fail_int(FR__E_VALUE, "%s: axis %d is named twice", op, a);
        at[a] = i;
    }
    return 0;
}

/* Element i of starts, moved to fit, int64 and 0-d. */
static fr_array *start_of(fr_array *starts, int i, int64_t most)
{
    int64_t from = i, one = 1;
    fr_array *line = fr_reshape(starts, &starts->size, 1);
    fr_array *s = line ? fr__then(line, fr_slice(line, &from, &one, &one)) : NULL;
    s = s ? fr__then(s, fr_reshape(s, NULL, 0)) : NULL;
    s = s ? fr__then(s, fr_astype(s, FR_INT64)) : NULL;
    fr_array *low = fr__number(0, FR_INT64), *high = fr__number((double)most, FR_INT64);
    s = s && low && high ? fr__then(s, fr_clip(s, low, high)) : fr__then(s, NULL);
    fr__discard(low);
    fr__discard(high);
    return s;
}

fr_array *fr_dynamic_slice(fr_array *x, fr_array *starts, const int *axes, int naxes,
                           const int64_t *sizes)
{
    fr_array *both[2] = {x, starts};
    int at[FR_MAX_NDIM];
    if (!fr__operands(2, both) || read_starts("slice", x, starts, axes, naxes, sizes, at))
        return NULL;
    int64_t from[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = at[d] < 0 ? sizes[d] : x->dims[d];
    }
    fr_array *y = fr_slice(x, from, step, count);
    for (int d = 0; y && d < x->ndim; d++) {
        if (at[d] < 0)
            continue;
        fr_array *i = counter(sizes[d]), *s = start_of(starts, at[d], x->dims[d] - sizes[d]);
        i = fr__then(i, (fr_add)(i, s));
        y = fr__then(y, fr_take(y, i, d));
        fr__discard(i);
        fr__discard(s);
    }
    return y;
}

/* The part's sizes: v's; dimensions that it lacks in front are 1 along axes, x's along others. */
static int part_sizes(const fr_array *x, const fr_array *v, const int *axes, int naxes,
                      int64_t *sizes)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    int lacks = x->ndim - v->ndim;
    if (lacks < 0)
        return fr__fail_int(FR__E_VALUE, "slice_update: %s in %s", fr__shape_text(v, a),
                            fr__shape_text(x, b));
    for (int d = 0; d < x->ndim; d++)
        sizes[d] = d < lacks ? x->dims[d] : v->dims[d - lacks];
    for (int i = 0; i < naxes; i++) {
        int d = fr__axis(axes[i], x->ndim, "slice_update");
        if (d < 0)
            return -1;
        if (d < lacks)
            sizes[d] = 1;
    }
    return 0;
}

/* v, of x's dimensions, scattered to the places that count from the starts on; axes that have no
 * start are all of x's. */
static fr_array *scattered(fr_array *x, fr_array *v, fr_array *starts, const int *at, int naxes)
{
    fr_array *indices[FR_MAX_NDIM];
    int order[FR_MAX_NDIM], axes[FR_MAX_NDIM], n = 0, rest = naxes;
    int64_t shape[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        if (at[d] < 0) {
            order[rest++] = d;
            continue;
        }
        fr_array *start = start_of(starts, at[d], x->dims[d] - v->dims[d]);
        fr_array *i = (fr_add)(counter(v->dims[d]), start);
        for (int k = 0; k < naxes; k++)
            shape[k] = k == n ? v->dims[d] : 1;
        indices[n] = fr_reshape(i, shape, naxes);
        axes[n] = order[n] = d;
        n++;
    }
    v = fr_transpose(v, order, x->ndim);
    return fr_scatter(x, n, indices, axes, v, FR_SCATTER_SET);
}

static fr_array *updated(fr_array *x, fr_array *v, fr_array *starts, const int *at, int naxes,
                         const int64_t *sizes)
{
    int64_t from[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    bool whole = true;
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = at[d] < 0 ? sizes[d] : x->dims[d];
        whole &= count[d] == x->dims[d];
    }
    v = fr_broadcast_to(fr_astype(v, (fr_dtype)x->dtype), sizes, x->ndim);
    if (v && v->size && naxes) {
        fr_array *part = whole ? x : fr_slice(x, from, step, count);
        v = part ? scattered(part, v, starts, at, naxes) : NULL;
        if (whole)
            return v;
    }
    return v && !v->size ? fr_reshape(x, x->dims, x->ndim)
                         : fr_slice_update(x, v, from, step, count);
}

fr_array *fr_dynamic_slice_update(fr_array *x, fr_array *v, fr_array *starts, const int *axes,
                                  int naxes)
{
    fr_array *all[3] = {x, v, starts}, *y = NULL;
    int64_t sizes[FR_MAX_NDIM];
    int at[FR_MAX_NDIM];
    if (!fr__operands(3, all))
        return NULL;
    if (!part_sizes(x, v, axes, naxes, sizes) &&
        !read_starts("slice_update", x, starts, axes, naxes, sizes, at)) {
        fr_scope *s = fr_scope_open();
        y = fr__leave(s, updated(x, v, starts, at, naxes, sizes));
    }
    fr__settle(3, all);
    return y;
}
