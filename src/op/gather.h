/* gather.h - places in an array, as index arrays name them: what gathers and scatters share */
#ifndef FR_OP_GATHER_H
#define FR_OP_GATHER_H

#include "op/op.h"

/* n index arrays along axes of x. The axes from the first to the last indexed one count as one,
 * of `span` elements; those of them that are not indexed stand between. */
typedef struct fr__places {
    const char *op; /* for messages */
    int n, axes[FR_MAX_NDIM];
    fr_array *indices[FR_MAX_NDIM];
    fr_array *at[FR_MAX_NDIM]; /* of each axis of x its index array, or NULL */
    int first, last;
    int64_t span;
    int between[FR_MAX_NDIM], nbetween;
    int nblock;
    int64_t block[FR_MAX_NDIM]; /* the indices' common shape */
    int ndim;
    int64_t shape[FR_MAX_NDIM]; /* what is read: block, then x's other axes */
} fr__places;
int fr__places_read(fr__places *p, const char *op, fr_array *x, int n, fr_array *const *indices,
                    const int *axes);
/* Shape block and between: the elements' numbers in the span. read: all are in range; otherwise
 * those that were not come out as `span`. Of one index array: itself. Wants a scope. */
fr_array *fr__places_number(const fr__places *p, const fr_array *x, bool read);
fr_array *fr__places_merged(const fr__places *p, fr_array *x); /* x with the span as one axis */
/* The axes of `shape` in the order before, block, between, after; how many. */
int fr__places_order(const fr__places *p, int *axes);

/* The shape that indices along an axis of x broadcast to. read: and x with them. -1: they don't. */
int fr__along_shape(const char *op, const fr_array *x, const fr_array *indices, int axis,
                    bool read, int64_t *shape);

#endif
