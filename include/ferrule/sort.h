/* sort.h - scans, sorting, searching, where the extremes are; included by ferrule.h
 *
 * Each works along one axis, and gives the same bits for any number of threads. NaN counts as
 * greater than everything, whatever its sign; -0 equals 0.
 */
#ifndef FERRULE_SORT_H
#define FERRULE_SORT_H

#ifdef __cplusplus
extern "C" {
#endif

/* ---- scans: element i of the result is made of elements 0 to i ----------------------------- */

typedef struct fr_scan_options {
    const int *axis; /* NULL: the flattened array, whose scan has one dimension */
    bool reverse;    /* from the end: of elements i to the last */
    bool exclusive; /* without element i itself: the first is 0, 1, the least or the greatest */
} fr_scan_options;  /* options NULL: flattened, from the beginning, inclusive */

/* Sums, products, greatest, least so far. x's dtype and shape (but where flattened); sums of bool
 * are int32. Integers wrap; float16 and bfloat16 accumulate in float32. Greatest and least: NaN
 * from the first one on. Sums are made in pieces of a fixed length: more exact than one by one.
 * Complex numbers: by their real, then by their imaginary parts. INDEX: no such axis. */
FR_API fr_array *fr_cumsum(fr_array *x, const fr_scan_options *options);
FR_API fr_array *fr_cumprod(fr_array *x, const fr_scan_options *options);
FR_API fr_array *fr_cummax(fr_array *x, const fr_scan_options *options);
FR_API fr_array *fr_cummin(fr_array *x, const fr_scan_options *options);
/* log(cumsum(exp(x))) without overflow; integers give float32. Of complex numbers there
 * is no derivative. */
FR_API fr_array *fr_logcumsumexp(fr_array *x, const fr_scan_options *options);

/* ---- sorting: along one axis (fr_flatten before sorts all) --------------------------------- */

/* In ascending order; complex numbers by their real, then by their imaginary parts. The order of
 * zeros of either sign among each other, and the bits of NaN, may be any. INDEX: no such axis. */
FR_API fr_array *fr_sort(fr_array *x, int axis);
/* uint32: the indices that sort x; those of equal elements ascend. */
FR_API fr_array *fr_argsort(fr_array *x, int axis);
/* With the element that sorting puts at place kth (below 0: from the end) there, those before it not
 * greater, those behind it not less. VALUE: no such place. */
FR_API fr_array *fr_partition(fr_array *x, int64_t kth, int axis);
FR_API fr_array *fr_argpartition(fr_array *x, int64_t kth, int axis); /* uint32: its indices */
/* The k greatest, in no order. VALUE: k is below 0 or above the axis' size. */
FR_API fr_array *fr_topk(fr_array *x, int64_t k, int axis);
/* The middle of the order, between two their mean; NaN if there is one. Integers give float32.
 * VALUE: of no elements. */
FR_API fr_array *fr_median(fr_array *x, const fr_reduce_options *options);

/* uint32: where the greatest, the least is along one axis, or in all elements by row-major index: the
 * first of equal ones, the first NaN if there is one. VALUE: of no elements, or along more than
 * one axis. */
FR_API fr_array *fr_argmax(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_argmin(fr_array *x, const fr_reduce_options *options);

/* uint32, of values' shape: how many elements of a sorted array of one dimension are less than each
 * value; right: or equal. dtypes promote. VALUE: sorted has not one dimension. */
FR_API fr_array *fr_searchsorted(fr_array *sorted, fr_array *values, bool right);

#ifdef __cplusplus
}
#endif
#endif
