/* rules.h - what each operation does under transformations */
#ifndef FR_RULES_H
#define FR_RULES_H

#include "op/op.h"

/* Inputs of x by which a derivative can go; bit i: input i. */
uint64_t fr__differentiable(const fr_array *x);
uint64_t fr__differentiable_forward(const fr_array *x); /* the same for jvp */

/* Cotangents of y's inputs, from y's: g, of y's dtype and shape. need: bit i, input i's is wanted.
 * to[i] stays NULL where it is zero. In an open scope, which owns what is made. 0 or -1. */
int fr__vjp_rule(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need, fr_array **to);

/* x in a batch of this size. batch[i]: input i with the batch along axis 0, NULL: as in[i] stands.
 * In an open scope. */
fr_array *fr__batch_rule(fr_array *x, int64_t size, fr_array *const *in,
                         fr_array *const *batch);
/* The same for a native operation; NULL without an error: it has no rule. */
fr_array *fr__batch_native(fr_array *x, int64_t size, fr_array *const *in,
                           fr_array *const *batch);
fr_array *fr__repeat(fr_array *x, int64_t size); /* [size, x's shape] */
/* An input for each element of the batch: in a batch as it is, else repeated. */
static inline fr_array *fr__whole(fr_array *x, fr_array *batch, int64_t size)
{
    return batch ? batch : fr__repeat(x, size);
}
/* x's operation with its parameters, of other inputs and another shape. */
fr_array *fr__like(const fr_array *x, int ndim, const int64_t *shape, fr_array *const *in);
/* Indices along an axis of n, as fr_take reads them: int64, 0 to n - 1. */
fr_array *fr__in_range(fr_array *indices, int64_t n);

/* scatter_rules.c */
fr_array *fr__take_vjp(fr_array *y, fr_array *g, fr_array *x, fr_array *indices);
void fr__scatter_vjp(fr_array *y, fr_array *g, fr_array *const *in, fr_array **to);
fr_array *fr__scatter_batch(fr_array *y, int64_t size, fr_array *const *in,
                            fr_array *const *batch);

#endif
