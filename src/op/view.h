/* view.h - the arithmetic of views: which strides a view of strided elements has
 *
 * Used where a view is made of values, and by capture, which sees the same operations in a graph.
 */
#ifndef FR_VIEW_H
#define FR_VIEW_H

#include "op/op.h"

/* Strides (in elements) and offset of `op` applied to an array of in_shape and in_strides. False
 * where no strides give it (some reshapes). */
bool fr__view_strides(int op, const int64_t *par, int ndim, const int64_t *shape, int in_ndim,
                      const int64_t *in_shape, const int64_t *in_strides, int64_t *strides,
                      int64_t *offset);
/* A node of a view operation, or the view itself where x has values. par is read before the
 * node is made. */
fr_array *fr__view(int op, fr_array *x, int ndim, const int64_t *shape, int npar,
                   const int64_t *par);
bool fr__is_contiguous(int ndim, const int64_t *shape, const int64_t *strides);

#endif
