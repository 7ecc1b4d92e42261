/* winograd.h - 3x3 windows by fewer multiplications: F(2x2, 3x3), and the gradient of a window so
 *
 * Lavin, Gray: Fast Algorithms for Convolutional Neural Networks (2015). float32, windows of 3x3 side by
 * side, one group. Which convolutions are made so follows from their shapes alone (graph/squares.h), and so
 * does the order of every sum: results depend neither on layouts nor on the number of threads.
 */
#ifndef FR_NATIVE_WINOGRAD_H
#define FR_NATIVE_WINOGRAD_H

#include "graph/squares.h"
#include "native/native.h"

/* [examples, size, lines of n], strides in elements */
typedef struct fr__winograd_image {
    int64_t size[2], n, strides[4];
} fr__winograd_image;

typedef struct fr__winograd {
    int64_t examples;
    fr__winograd_image x, y; /* y: the result, or its gradient */
    int64_t window[4];       /* strides of the window [filters, 3, 3, channels] */
    int64_t before[2];       /* zeros before x's rows and columns */
    fr__squares cut;
    int64_t rows, units; /* rows of tiles in a unit */
} fr__winograd;

/* A CONV or CONV_FILTER that graph/convolve.c has found to be one: fills in *w, and what the call needs. */
void fr__winograd_prepare(fr__winograd *w, fr__native_call *c);
void fr__winograd_run(const fr__winograd *w, const fr__native_call *c, int phase,
                      char *const *data, int64_t begin, int64_t end, char *scratch);
/* Of a CONV's result. */
fr__strip fr__winograd_strip(const fr__winograd *w, int64_t unit);

#endif
