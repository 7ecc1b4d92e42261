/* sort.c - sorting and searching: SORT, SELECT and SEARCH over rows, and back
 *
 * A routine has rows [rows, n]: the axis goes last before, and back where it was after, as a view.
 */
#include "core/scope.h"
#include "op/op.h"

/* x as rows along axis, as a result. */
static fr_array *rows_of(fr_array *x, int axis)
{
    int64_t n = x->dims[axis], rows[2] = {1, n};
    for (int d = 0; d < x->ndim; d++)
        rows[0] *= d == axis ? 1 : x->dims[d];
    fr_array *y = fr_moveaxis(x, axis, x->ndim - 1);
    return y ? fr__then(y, fr_reshape(y, rows, 2)) : NULL;
}

/* Rows of n elements, which are given up, along axis of an array of x's shape. */
static fr_array *from_rows(fr_array *rows, const fr_array *x, int axis)
{
    int64_t shape[FR_MAX_NDIM];
    int n = 0;
    if (!rows)
        return NULL;
    for (int d = 0; d < x->ndim; d++)
        if (d != axis)
            shape[n++] = x->dims[d];
    shape[n] = rows->dims[1];
    fr_array *y = fr__then(rows, fr_reshape(rows, shape, x->ndim));
    return y ? fr__then(y, fr_moveaxis(y, x->ndim - 1, axis)) : NULL;
}

fr_array *fr__sort(fr_array *x, bool indices)
{
    fr_array *y =
        fr__node(FR__OP_SORT, indices ? FR_UINT32 : x->dtype, x->ndim, x->dims, 1, &x, 1);
    if (y)
        y->par[0] = indices;
    return y;
}

fr_array *fr__select(fr_array *x, bool indices, int64_t kth, int64_t from)
{
    fr_array *y = fr__node(FR__OP_SELECT, indices ? FR_UINT32 : x->dtype, 2,
                           (int64_t[]){x->dims[0], x->dims[1] - from}, 1, &x, 3);
    if (y) {
        y->par[0] = indices;
        y->par[1] = kth;
        y->par[2] = from;
    }
    return y;
}

/* The axis, counted from 0; -1 with an error. */
static int checked(const char *name, const fr_array *x, int axis, bool indices)
{
    char text[FR__SHAPE_TEXT];
    if ((axis = fr__axis(axis, x->ndim, name)) < 0)
        return -1;
    if (indices && x->dims[axis] > UINT32_MAX)
        return fr__fail_int(FR__E_LIMIT, "%s: axis %d of %s is too long for uint32 indices",
                            name, axis, fr__shape_text(x, text));
    return axis;
}

static fr_array *sorted(const char *name, fr_array *x, int axis, bool indices)
{
    if (!fr__operands(1, &x))
        return NULL;
    fr_array *y = NULL;
    if ((axis = checked(name, x, axis, indices)) >= 0) {
        fr_array *rows = rows_of(x, axis);
        y = rows ? fr__then(rows, fr__sort(rows, indices)) : NULL;
        y = from_rows(y, x, axis);
    }
    fr__settle(1, &x);
    return y;
}

fr_array *fr_sort(fr_array *x, int axis) { return sorted("sort", x, axis, false); }
fr_array *fr_argsort(fr_array *x, int axis) { return sorted("argsort", x, axis, true); }

static fr_array *partitioned(const char *name, fr_array *x, int64_t kth, int axis, bool indices)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    fr_array *y = NULL;
    if ((axis = checked(name, x, axis, indices)) >= 0) {
        int64_t n = x->dims[axis], k = kth < 0 ? kth + n : kth;
        if (k < 0 || k >= n) {
            fr__fail(FR__E_VALUE, "%s: element %lld along axis %d of %s", name, (long long)kth,
                     axis, fr__shape_text(x, text));
        } else {
            fr_array *rows = rows_of(x, axis);
            y = rows ? fr__then(rows, fr__select(rows, indices, k, 0)) : NULL;
            y = from_rows(y, x, axis);
        }
    }
    fr__settle(1, &x);
    return y;
}

fr_array *fr_partition(fr_array *x, int64_t kth, int axis)
{
    return partitioned("partition", x, kth, axis, false);
}
fr_array *fr_argpartition(fr_array *x, int64_t kth, int axis)
{
    return partitioned("argpartition", x, kth, axis, true);
}

fr_array *fr_topk(fr_array *x, int64_t k, int axis)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    fr_array *y = NULL;
    if ((axis = checked("topk", x, axis, false)) >= 0) {
        int64_t n = x->dims[axis], shape[FR_MAX_NDIM];
        memcpy(shape, x->dims, sizeof *shape * x->ndim);
        shape[axis] = k;
        if (k < 0 || k > n) {
            fr__fail(FR__E_VALUE, "topk: %lld elements along axis %d of %s", (long long)k, axis,
                     fr__shape_text(x, text));
        } else if (k == 0) {
            y = fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
        } else {
            fr_array *rows = rows_of(x, axis);
            y = rows ? fr__then(rows, fr__select(rows, false, n - k, n - k)) : NULL;
            y = from_rows(y, x, axis);
        }
    }
    fr__settle(1, &x);
    return y;
}

/* ---- the median ------------------------------------------------------------------------------- */

/* Elements [start, start + count) of each row, as a result. */
static fr_array *columns(fr_array *rows, int64_t start, int64_t count)
{
    return fr_slice(rows, (int64_t[]){0, start}, (int64_t[]){1, 1},
                    (int64_t[]){rows->dims[0], count});
}

/* Of rows with n elements, [rows]: the middle of the order, or the mean of both; NaN if there is one,
 * which is at the end of the order. */
static fr_array *median_of_rows(fr_array *rows)
{
    int64_t n = rows->dims[1], kth = (n - 1) / 2;
    const fr_reduce_options last = {.axes = (int[]){1}, .naxes = 1};
    fr_array *half =
        fr__select(rows, false, kth, kth); /* first the middle one, then the rest */
    if (!half)
        return NULL;
    fr_array *first = columns(half, 0, 1), *y = NULL;
    first = first ? fr__then(first, fr_reshape(first, rows->dims, 1)) : NULL;
    if (n % 2) {
        fr_array *most = fr_max(half, &last), *bad = most ? fr_isnan(most) : NULL;
        y = (fr_where)(bad, most, first);
        fr__discard(most);
        fr__discard(bad);
    } else {
        fr_array *rest = columns(half, 1, half->dims[1] - 1);
        fr_array *next = rest ? fr_min(rest, &last) : NULL, *sum = (fr_add)(first, next);
        fr_array *by = sum ? fr__number(0.5, sum->dtype) : NULL;
        y = (fr_mul)(sum, by);
        fr__discard(rest);
        fr__discard(next);
        fr__discard(sum);
        fr__discard(by);
    }
    fr__discard(first);
    fr__discard(half);
    return y;
}

fr_array *fr_median(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    int axes[FR_MAX_NDIM], n = 0, kept = 0;
    int64_t shape[FR_MAX_NDIM], rows[2] = {1, 1};
    int64_t mask = fr__axis_mask("median", x, o);
    fr_array *y = NULL;
    if (mask < 0)
        goto done;
    for (int gone = 0; gone < 2; gone++)
        for (int d = 0; d < x->ndim; d++)
            if ((mask >> d & 1) == gone) {
                axes[n++] = d;
                rows[gone] *= x->dims[d];
            }
    for (int d = 0; d < x->ndim; d++)
        if (!(mask >> d & 1) || (o && o->keepdims))
            shape[kept++] = mask >> d & 1 ? 1 : x->dims[d];
    if (!rows[1]) {
        fr__fail(FR__E_VALUE, "median: of no elements, in %s", fr__shape_text(x, text));
        goto done;
    }
    bool exact = fr__is_float(x->dtype) || x->dtype == FR_COMPLEX64;
    y = fr_astype(x, exact ? (fr_dtype)x->dtype : FR_FLOAT32);
    y = y ? fr__then(y, fr_transpose(y, axes, n)) : NULL;
    y = y ? fr__then(y, fr_reshape(y, rows, 2)) : NULL;
    y = y ? fr__then(y, median_of_rows(y)) : NULL;
    y = y ? fr__then(y, fr_reshape(y, shape, kept)) : NULL;
done:
    fr__settle(1, &x);
    return y;
}

/* ---- where the extremes are ------------------------------------------------------------------- */

/* The first index over the axes at which x is `best`, or NaN: if there is one, best is NaN. */
static fr_array *first_at(fr_array *x, fr_array *best, const fr_reduce_options *o)
{
    int64_t shape[FR_MAX_NDIM], n = 1;
    for (int d = 0; d < x->ndim; d++)
        shape[d] = o->naxes == x->ndim || d == o->axes[0] ? x->dims[d] : 1;
    for (int d = 0; d < x->ndim; d++)
        n *= shape[d];
    bool may = fr__is_float(x->dtype) || x->dtype == FR_COMPLEX64;
    fr_array *same = (fr_eq)(x, best), *nan = may ? fr_isnan(x) : NULL;
    fr_array *hit = nan ? (fr_logical_or)(same, nan) : same;
    fr_array *index = fr_arange(0, (double)n, 1, FR_UINT32);
    index = index ? fr__then(index, fr_reshape(index, shape, x->ndim)) : NULL;
    fr_array *beyond = fr__number((double)n, FR_UINT32), *at = (fr_where)(hit, index, beyond);
    fr_array *y = at ? fr_min(at, o) : NULL;
    if (nan)
        fr__discard(same);
    fr_array *made[] = {nan, hit, index, beyond, at};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}

static fr_array *extreme_at(const char *name, fr_array *x, const fr_reduce_options *o,
                            bool most)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    bool flat = !o || !o->axes;
    int axes[FR_MAX_NDIM], n = flat ? x->ndim : 1;
    fr_array *y = NULL, *best = NULL;
    for (int d = 0; d < n; d++)
        axes[d] = flat ? d : fr__axis(*o->axes, x->ndim, name);
    if (!flat && o->naxes != 1)
        fr__fail(FR__E_VALUE, "%s: along %d axes: along one, or all", name, o->naxes);
    else if (!x->size)
        fr__fail(FR__E_VALUE, "%s: of no elements, in %s", name, fr__shape_text(x, text));
    else if (flat && x->size > UINT32_MAX)
        fr__fail(FR__E_LIMIT, "%s: %s has too many elements for uint32 indices", name,
                 fr__shape_text(x, text));
    else if (flat || checked(name, x, *o->axes, true) >= 0) {
        fr_reduce_options over = {.axes = axes, .naxes = n, .keepdims = true};
        best = most ? fr_max(x, &over) : fr_min(x, &over);
        over.keepdims = o && o->keepdims;
        y = best ? first_at(x, best, &over) : NULL;
        fr__discard(best);
    }
    fr__settle(1, &x);
    return y;
}

fr_array *fr_argmax(fr_array *x, const fr_reduce_options *o)
{
    return extreme_at("argmax", x, o, true);
}
fr_array *fr_argmin(fr_array *x, const fr_reduce_options *o)
{
    return extreme_at("argmin", x, o, false);
}

/* ---- searching -------------------------------------------------------------------------------- */

fr_array *fr__search(fr_array *sorted, fr_array *values, bool right)
{
    fr_array *y = fr__node(FR__OP_SEARCH, FR_UINT32, 2, values->dims, 2,
                           (fr_array *[]){sorted, values}, 1);
    if (y)
        y->par[0] = right;
    return y;
}

fr_array *fr_searchsorted(fr_array *sorted, fr_array *values, bool right)
{
    fr_array *both[2] = {sorted, values}, *a = NULL, *v = NULL, *y = NULL;
    if (!fr__operands(2, both))
        return NULL;
    char text[FR__SHAPE_TEXT];
    fr_dtype dtype = fr_promote((fr_dtype)sorted->dtype, (fr_dtype)values->dtype);
    if (sorted->ndim != 1) {
        fr__fail(FR__E_VALUE, "searchsorted: the sorted array has one dimension, not %s",
                 fr__shape_text(sorted, text));
    } else if (checked("searchsorted", sorted, 0, true) < 0) {
        y = NULL;
    } else if (!sorted->size) {
        y = fr_zeros(values->dims, values->ndim, FR_UINT32);
    } else {
        a = fr_astype(sorted, dtype);
        a = a ? fr__then(a, fr_reshape(a, (int64_t[]){1, sorted->size}, 2)) : NULL;
        v = a ? fr_astype(values, dtype) : NULL;
        v = v ? fr__then(v, fr_reshape(v, (int64_t[]){1, values->size}, 2)) : NULL;
        y = v ? fr__search(a, v, right) : NULL;
        y = y ? fr__then(y, fr_reshape(y, values->dims, values->ndim)) : NULL;
        fr__discard(a);
        fr__discard(v);
    }
    fr__settle(2, both);
    return y;
}
