/* custom.h - functions with rules of their own: what stands behind a BUNDLE */
#ifndef FR_CUSTOM_H
#define FR_CUSTOM_H

#include "xform/function.h"

typedef struct fr__custom {
    fr__record head; /* first: a bundle's record */
    fr_custom_rules rules;
    void *ctx;
    int n_in, n_out;
    fr_array **in, **out; /* the bundle's inputs hold them */
} fr__custom;

/* Of a CUSTOM or its BUNDLE; NULL: a bundle within another. */
static inline fr__custom *fr__custom_of(const fr_array *x)
{
    return (fr__custom *)(x->op == FR__OP_CUSTOM ? x->in[1] : x)->record;
}

/* Cotangents of c's arguments from those of its results (NULL: zero), by its vjp, or forward: by its
 * jvp with respect to the arguments that `wanted` tells. grads[i] NULL: zero. In an open scope. */
int fr__custom_gradients(const fr__custom *c, bool forward, const bool *wanted,
                         fr_array *const *cotangents, fr_array **grads);
/* c's results for a batch, along axis 0. in, out: what its arguments and results are in the batch,
 * NULL: as they were. In an open scope. */
int fr__custom_batch(fr_array *bundle, int64_t size, fr_array *const *in, fr_array *const *out,
                     fr_array **results);

#endif
