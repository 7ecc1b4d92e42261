/* correlate.h - a window over an array, as a node: its derivatives are such nodes again */
#ifndef FR_OP_CORRELATE_H
#define FR_OP_CORRELATE_H

#include "op/op.h"

enum {
    FR__WINDOW_AXES = FR_MAX_NDIM - 3
}; /* derivatives and batches have one more on the way */

typedef struct fr__window {
    int64_t stride[FR__WINDOW_AXES], dilation[FR__WINDOW_AXES], groups;
} fr__window;

fr__window fr__window_of(const fr_array *y); /* of a CONV, a CONV_FILTER */
/* The window w over x where it lies wholly inside: a CONV. Floats of one dtype. Errors name no
 * function: whose window it is the caller knows. */
fr_array *fr__correlate(fr_array *x, fr_array *w, const fr__window *window);
/* The gradient of w [O, taps, C / groups] in such a CONV, of x and g, the gradient of its result (whose
 * shape it has): a CONV_FILTER. */
fr_array *fr__correlate_filter(fr_array *x, fr_array *g, const int64_t *taps,
                               const fr__window *window);
/* What windows of so many taps that end in so many places reach of x; a view. */
fr_array *fr__reached(fr_array *x, const int64_t *taps, const int64_t *places,
                      const fr__window *window);
/* x [N, spatial..., C] with by - 1 zeros between elements, then low and high ones around it (below
 * 0: cut off). In an open scope. Errors: as above. */
fr_array *fr__spread(fr_array *x, const int64_t *by, const int64_t *low, const int64_t *high);

#endif
