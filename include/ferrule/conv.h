/* conv.h - convolutions and windows; included by ferrule.h, whose rules hold
 *
 * Channels come last, any number of spatial axes stands between batch and channels.
 */
#ifndef FERRULE_CONV_H
#define FERRULE_CONV_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The axis becomes two: windows, which start `step` apart, and in each `size` elements,
 * `dilation` apart; as many windows as fit. A view; windows may overlap.
 * INDEX: no such axis; VALUE: size, step or dilation below 1, a window longer than the axis */
FR_API fr_array *fr_windows(fr_array *x, int axis, int64_t size, int64_t step,
                            int64_t dilation);

/* One number for each spatial axis; NULL: 1, of paddings 0. */
typedef struct fr_conv_options {
    const int64_t *stride;
    const int64_t *padding, *padding_after; /* zeros before and after (NULL: as before); a
                                             * negative number cuts off */
    const int64_t *dilation;                /* of the weight */
    const int64_t *input_dilation; /* zeros between elements of x: one less than this */
    int64_t groups;                /* 0: 1 */
    bool flip;                     /* the weight's windows run backwards */
} fr_conv_options;

/* Sums of products of windows of x with the weight (cross-correlation, unless flipped).
 *   x [N, ..., C]    w [O, window ..., C / groups]    result [N, ..., O]
 * Channels C and O are split into as many groups, which don't mix. A matrix product that reads the
 * windows where they lie; float16 and bfloat16 add up in float32.
 * dtype   promoted; anything but floats is a TYPE error
 * VALUE   ranks or channels don't fit, a window is larger than the padded x */
FR_API fr_array *fr_conv(fr_array *x, fr_array *w, const fr_conv_options *options);
/* The transposed convolution, for which padding is cut off the result: of size
 * (n - 1) stride - 2 padding + dilation (window - 1) + 1 + output_padding along each axis.
 *   x [N, ..., C]    w [O, window ..., C / groups]    result [N, ..., O]
 * Reads stride, padding, dilation and groups; output_padding NULL: 0. */
FR_API fr_array *fr_conv_transpose(fr_array *x, fr_array *w, const fr_conv_options *options,
                                   const int64_t *output_padding);

#ifdef __cplusplus
}
#endif
#endif
