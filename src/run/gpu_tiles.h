/* gpu_tiles.h - products of matrices on a GPU by kernels of ours, over operands as they lie */
#ifndef FR_RUN_GPU_TILES_H
#define FR_RUN_GPU_TILES_H

#include "device/cuda/routines/product_args.h"
#include "run/gpu.h"

/* How an index goes over an operand, the innermost dimension last. */
typedef struct fr__tile_dims {
    int n; /* those given, of size 1 and more than there is room for, too */
    fr__product_dim at[FR__PRODUCT_DIMS];
} fr__tile_dims;

/* One more, inside those that are there. axis -1, or that of a window which it moves by `reach`. */
void fr__tile_dim(fr__tile_dims *d, int64_t size, int64_t stride, int axis, int64_t reach);

/* c[m, n] = a[m, k] b[k, n], batched. Sides: rows and columns, k; a window's first place and its array's
 * size are said in `window` (of a, or of b). */
typedef struct fr__tiles {
    int dtype; /* of all three: a float */
    int64_t m, n, k;
    const char *a, *b;
    char *c;
    fr__tile_dims rows, a_k, columns, b_k;
    int batches; /* dimensions of it */
    int64_t batch[FR__PRODUCT_BATCH], a_batch[FR__PRODUCT_BATCH], b_batch[FR__PRODUCT_BATCH];
    int64_t c_row, c_column, c_batch;
    int window; /* 0: none, 1: a, 2: b */
    int64_t first[FR__PRODUCT_AXES], size[FR__PRODUCT_AXES];
} fr__tiles;

/* y [rows, columns] += b [columns], one after the other; then what is below 0 is 0. Queued: 0 or -1. */
int fr__gpu_add_bias(fr__gpu_run *r, int dtype, int64_t rows, int64_t columns, char *y,
                     const char *b, bool relu);

/* Queues it. *done false: it is too large for the kernels, or of more dimensions. 0 or -1. */
int fr__gpu_tiles_run(fr__gpu_run *r, const fr__tiles *t, bool *done);

#endif
