/* rules.h - what each operation does under transformations */
#ifndef FR_RULES_H
#define FR_RULES_H

#include "op/op.h"

/* Inputs of x by which a derivative can go; bit i: input i. */
uint64_t fr__differentiable(const fr_array *x);

/* Cotangents of y's inputs, from y's: g, of y's dtype and shape. need: bit i, input i's is wanted.
 * to[i] stays NULL where it is zero. In an open scope, which owns what is made. 0 or -1. */
int fr__vjp_rule(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need, fr_array **to);

#endif
