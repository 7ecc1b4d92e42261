/* index.h - elements at computed indices: read, and written
 *
 * Included by ferrule.h, whose rules hold. Indices are arrays of any integer dtype (uint64 counts
 * as int64); below 0 they count from the end of their axis. They are computed late, so nothing can
 * be checked: what is beyond either end
 *   - reads the nearest element, where elements are read,
 *   - writes nothing, where they are written.
 * So for every kernel, routine and number of threads. TYPE: indices that are not integers.
 */
#ifndef FERRULE_INDEX_H
#define FERRULE_INDEX_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x at n index arrays, indices[i] along axes[i], which broadcast together:
 *   result   the indices' common shape, then x's other axes in their order
 * So with axes 0 and 1 result[p, ...] = x[indices[0][p], indices[1][p], ...]. Nothing but what is
 * asked for is read, wherever the axes stand.
 * VALUE   n < 1, an axis named twice, indices that don't broadcast
 * INDEX   an axis that is empty */
FR_API fr_array *fr_gather(fr_array *x, int n, fr_array *const *indices, const int *axes);

/* result[..., p, ...] = x[..., indices[..., p, ...], ...] along the axis: what fr_take does for one
 * and the same row of indices, this does for a row of their own at each place. indices has as many
 * dimensions as x; but for the axis they broadcast with each other.
 * VALUE   other numbers of dimensions, shapes that don't broadcast; INDEX: the axis is empty */
FR_API fr_array *fr_take_along_axis(fr_array *x, fr_array *indices, int axis);

/* What an update does to the element that it meets. Integers wrap; in bool ADD is or, MUL is and.
 * float16 and bfloat16 are computed in float32 and rounded once, at the end. MIN and MAX give NaN
 * if either is. DIV of integers cuts the fraction off; by zero it gives 0; not for bool. */
typedef enum fr_scatter_mode {
    FR_SCATTER_SET,
    FR_SCATTER_ADD,
    FR_SCATTER_MUL,
    FR_SCATTER_DIV,
    FR_SCATTER_MIN,
    FR_SCATTER_MAX
} fr_scatter_mode;

/* x with updates at the places that fr_gather of the same indices reads:
 *   updates   cast to x's dtype; broadcasts to the shape fr_gather's result has
 *   result    x's shape and dtype
 * A place that is named more than once meets its updates in their row-major order: of SET the last
 * stays, sums are made one after the other. So results don't depend on the number of threads.
 * VALUE, INDEX: as fr_gather, or updates that don't broadcast; TYPE: a mode that is not for x's dtype */
FR_API fr_array *fr_scatter(fr_array *x, int n, fr_array *const *indices, const int *axes,
                            fr_array *updates, fr_scatter_mode mode);

/* x with values at the places that fr_take_along_axis reads. indices broadcasts to x (but for the
 * axis), values, cast to x's dtype, to that. Duplicates: as fr_scatter. */
FR_API fr_array *fr_put_along_axis(fr_array *x, fr_array *indices, fr_array *values, int axis,
                                   fr_scatter_mode mode);

#ifdef __cplusplus
}
#endif
#endif
