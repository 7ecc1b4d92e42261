/* graph_moves.h - functions of one array, an axis and a number, for random graphs
 *
 * Each gives NULL (an error) where the array doesn't suit it: the graph is then made without it.
 */
#ifndef FR_GRAPH_MOVES_H
#define FR_GRAPH_MOVES_H

#include "ferrule/ferrule.h"

/* How an error of the operand shows in the result. */
typedef enum spread {
    AS_IT_IS, /* elements only move, or extremes are taken */
    TWICE,    /* differences */
    PARTS,    /* elementwise arithmetic on complex parts: exact operands only */
    DECIDES,  /* compares or counts: exact operands only */
    MIDDLE,   /* as DECIDES, and the result is rounded */
} spread;

typedef fr_array *move_fn(fr_array *x, int axis, int64_t k);

static fr_array *move_flip(fr_array *x, int axis, int64_t k)
{
    return k & 1 ? fr_flip(x, NULL, 0) : fr_flip(x, &axis, 1);
}

static fr_array *move_roll(fr_array *x, int axis, int64_t k)
{
    return fr_roll(x, &k, 1, k == 3 ? NULL : &axis);
}

static fr_array *move_repeat(fr_array *x, int axis, int64_t k)
{
    return fr_repeat(x, k < 0 ? -k : k, axis);
}

static fr_array *move_tile(fr_array *x, int axis, int64_t k)
{
    return fr_tile(x, (int64_t[]){1 + (k & 1), axis == 0 ? 2 : 1}, 2);
}

static fr_array *move_tril(fr_array *x, int axis, int64_t k)
{
    return axis ? fr_tril(x, (int)k) : fr_triu(x, (int)k);
}

static fr_array *move_diagonal(fr_array *x, int axis, int64_t k)
{
    return fr_diagonal(x, (int)k, axis, axis ? 0 : 1);
}

static fr_array *move_diag(fr_array *x, int axis, int64_t k)
{
    return (void)axis, fr_diag(x, (int)k);
}

static fr_array *move_pad(fr_array *x, int axis, int64_t k)
{
    int64_t before[FR_MAX_NDIM] = {0}, after[FR_MAX_NDIM] = {0};
    before[axis] = k < 0 ? -k : 1;
    after[axis] = k > 0 ? k : 0;
    return fr_pad_with(x, before, after, (fr_pad_mode)(k & 3));
}

static fr_array *move_split(fr_array *x, int axis, int64_t k)
{
    int64_t at[2] = {1, 1 + (k < 0 ? -k : k)};
    fr_array *to[3];
    return fr_split_at(x, 2, at, axis, to) ? NULL : to[k & 1];
}

static fr_array *move_matrix_transpose(fr_array *x, int axis, int64_t k)
{
    return (void)axis, (void)k, fr_matrix_transpose(x);
}

static fr_array *move_strided(fr_array *x, int axis, int64_t k)
{
    int64_t n = fr_size(x), shape[2] = {n / 2, 3}, strides[2] = {1, k < 0 ? -1 : 1};
    return (void)axis, fr_as_strided(x, shape, strides, 2, k < 0 ? 2 : 0);
}

/* From the place that the array's first element says. */
static fr_array *move_dynamic_slice(fr_array *x, int axis, int64_t k)
{
    int64_t sizes[FR_MAX_NDIM], half;
    for (int i = 0; i < fr_ndim(x); i++)
        sizes[i] = fr_shape(x)[i];
    half = sizes[axis] = (sizes[axis] + 1) / 2;
    (void)half;
    fr_array *starts = fr_arange((double)k, (double)k + 1, 1, FR_INT32);
    return fr_dynamic_slice(x, starts, &axis, 1, sizes);
}

static fr_array *move_diff(fr_array *x, int axis, int64_t k)
{
    return (void)k, fr_diff(x, 1, axis);
}

static fr_array *move_clip(fr_array *x, int axis, int64_t k)
{
    (void)axis;
    return fr_clip(x, fr_number((double)-2), k & 1 ? NULL : fr_number((double)k));
}

static fr_array *move_finite(fr_array *x, int axis, int64_t k)
{
    (void)axis;
    return fr_nan_to_num(x, (double)k, 7, -7);
}

static fr_array *move_count(fr_array *x, int axis, int64_t k)
{
    fr_reduce_options o = {.axes = &axis, .naxes = 1, .keepdims = k & 1};
    return fr_count_nonzero(x, &o);
}

static fr_array *move_close(fr_array *x, int axis, int64_t k)
{
    return fr_isclose(x, fr_flip(x, &axis, 1), 1e-3, 1e-3, k & 1);
}

static fr_array *move_complex(fr_array *x, int axis, int64_t k)
{
    fr_array *z = fr_mul(x, fr_number_complex(0.5, (double)k));
    z = fr_mul(fr_conjugate(z), fr_flip(z, &axis, 1));
    return k & 1 ? fr_real(z) : fr_imag(z);
}

/* ---- native operations: scans, orders, indices that are computed -------------------------- */

static fr_scan_options so_far(const int *axis, int64_t k)
{
    return (fr_scan_options){
        .axis = k == 4 ? NULL : axis, .reverse = k & 1, .exclusive = k & 2};
}

static fr_array *move_cumsum(fr_array *x, int axis, int64_t k)
{
    fr_scan_options o = so_far(&axis, k);
    return fr_cumsum(x, &o);
}

static fr_array *move_cumprod(fr_array *x, int axis, int64_t k)
{
    fr_scan_options o = so_far(&axis, k);
    return fr_cumprod(x, &o);
}

static fr_array *move_so_far(fr_array *x, int axis, int64_t k)
{
    fr_scan_options o = so_far(&axis, k);
    return k < 0 ? fr_cummin(x, &o) : fr_cummax(x, &o);
}

static fr_array *move_logcumsumexp(fr_array *x, int axis, int64_t k)
{
    fr_scan_options o = so_far(&axis, k);
    return fr_logcumsumexp(x, &o);
}

static fr_array *move_sort(fr_array *x, int axis, int64_t k)
{
    return k & 1 ? fr_flip(fr_sort(x, axis), &axis, 1) : fr_sort(x, axis);
}

static fr_array *move_select(fr_array *x, int axis, int64_t k)
{
    int64_t n = x ? fr_shape(x)[axis] : 0;
    if (k & 1)
        return fr_topk(x, n / 2, axis);
    return k & 2 ? fr_argpartition(x, n / 2, axis) : fr_partition(x, n / 2, axis);
}

static fr_array *move_median(fr_array *x, int axis, int64_t k)
{
    return fr_median(x, &(fr_reduce_options){.axes = &axis, .naxes = 1, .keepdims = k & 1});
}

static fr_array *move_place(fr_array *x, int axis, int64_t k)
{
    fr_reduce_options o = {.axes = &axis, .naxes = 1, .keepdims = k & 2};
    return k & 1 ? fr_argmin(x, &o) : fr_argmax(x, &o);
}

static fr_array *move_search(fr_array *x, int axis, int64_t k)
{
    (void)axis;
    return fr_searchsorted(fr_arange((double)k - 3, (double)k + 3, 1, FR_INT32), x, k & 1);
}

/* In the order that the array, its other end first, has: twice used where it is one graph. */
static fr_array *move_along(fr_array *x, int axis, int64_t k)
{
    fr_array *order = fr_argsort(k & 1 ? fr_flip(x, &axis, 1) : x, axis);
    return fr_take_along_axis(x, fr_add(fr_astype(order, FR_INT64), k & 2 ? -2 : 0), axis);
}

static fr_array *move_put_along(fr_array *x, int axis, int64_t k)
{
    static const fr_scatter_mode modes[] = {FR_SCATTER_SET, FR_SCATTER_ADD, FR_SCATTER_MAX,
                                            FR_SCATTER_MIN};
    fr_array *order = fr_floor_divide(fr_argsort(x, axis), 2); /* most are named twice */
    return fr_put_along_axis(x, order, fr_flip(x, &axis, 1), axis, modes[k & 3]);
}

/* Rows that the array's first element has a say in, some of them out of range. */
static fr_array *move_scatter(fr_array *x, int axis, int64_t k)
{
    fr_array *first =
        fr_slice(fr_flatten(x, 0, -1), (int64_t[]){0}, (int64_t[]){1}, (int64_t[]){1});
    fr_array *at = fr_add(fr_arange(-5, 3, 2, FR_INT32), fr_astype(fr_gt(first, 0), FR_INT32));
    return fr_scatter(x, 1, &at, &axis, fr_number_int(k),
                      k & 1 ? FR_SCATTER_ADD : FR_SCATTER_SET);
}

static const struct {
    const char *name;
    move_fn *function;
    spread spread;
    bool floats; /* makes floats of integers */
} moves[] = {
    {"flip", move_flip, AS_IT_IS, false},
    {"roll", move_roll, AS_IT_IS, false},
    {"repeat", move_repeat, AS_IT_IS, false},
    {"tile", move_tile, AS_IT_IS, false},
    {"triangle", move_tril, AS_IT_IS, false},
    {"diagonal", move_diagonal, AS_IT_IS, false},
    {"diag", move_diag, AS_IT_IS, false},
    {"pad", move_pad, AS_IT_IS, false},
    {"split", move_split, AS_IT_IS, false},
    {"matrix_transpose", move_matrix_transpose, AS_IT_IS, false},
    {"as_strided", move_strided, AS_IT_IS, false},
    {"dynamic_slice", move_dynamic_slice, AS_IT_IS, false},
    {"diff", move_diff, TWICE, false},
    {"clip", move_clip, AS_IT_IS, false},
    {"nan_to_num", move_finite, PARTS, false},
    {"count_nonzero", move_count, DECIDES, false},
    {"isclose", move_close, DECIDES, false},
    {"complex", move_complex, PARTS, true},
    {"cumsum", move_cumsum, DECIDES, false},
    {"cumprod", move_cumprod, DECIDES, false},
    {"cummax, cummin", move_so_far, AS_IT_IS, false},
    {"logcumsumexp", move_logcumsumexp, DECIDES, true},
    {"sort", move_sort, AS_IT_IS, false},
    {"partition, topk", move_select, DECIDES, false},
    {"median", move_median, MIDDLE, true},
    {"argmax, argmin", move_place, DECIDES, false},
    {"searchsorted", move_search, DECIDES, false},
    {"take_along_axis", move_along, DECIDES, false},
    {"put_along_axis", move_put_along, DECIDES, false},
    {"scatter", move_scatter, DECIDES, false},
};

#endif
