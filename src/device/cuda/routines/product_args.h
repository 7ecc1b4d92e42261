/* product_args.h - what kernels of products are given; the same for the host that starts them */
#ifndef FR_ROUTINES_PRODUCT_ARGS_H
#define FR_ROUTINES_PRODUCT_ARGS_H

#include "device/cuda/routines/args.h"

/* Of product.c and product_plain.c: a block's threads, rows and columns of c; bytes of k in a step. */
enum {
    FR__PRODUCT_THREADS = 256,
    FR__PRODUCT_ROWS = 128,
    FR__PRODUCT_COLUMNS = 64,
    FR__PRODUCT_STEP = 128
};
enum { FR__PRODUCT_PLAIN = 64, FR__PRODUCT_PLAIN_K = 16, FR__PRODUCT_SUMMED = 64 };
/* Of shared memory, which product.c is started with. */
enum {
    FR__PRODUCT_STAGES = 3,
    FR__PRODUCT_SHARED =
        FR__PRODUCT_STAGES * (FR__PRODUCT_ROWS + FR__PRODUCT_COLUMNS) * FR__PRODUCT_STEP
};

enum { FR__PRODUCT_DIMS = 4, FR__PRODUCT_AXES = 3, FR__PRODUCT_BATCH = 3 };

/* A dimension that an index is made of, the innermost last. What isn't used: of size 1. */
typedef struct fr__product_dim {
    int64_t stride; /* in elements */
    uint32_t size;
    int32_t axis,
        reach; /* of a window: each step moves so far along this axis; -1: along none */
    int32_t unused;
} fr__product_dim;

/* One operand. Where it is a window over an array, coordinates tell what is outside, and 0. */
typedef struct fr__product_side {
    const char *at;
    fr__product_dim outer[FR__PRODUCT_DIMS], k[FR__PRODUCT_DIMS];
    int64_t batch[FR__PRODUCT_BATCH];
    int32_t first[FR__PRODUCT_AXES]; /* of outer and k index 0 */
    uint32_t size[FR__PRODUCT_AXES];
    uint32_t windows, along_k; /* along_k: neighbours along k are neighbours in memory */
} fr__product_side;

/* c[m, n] = a[m, k] b[k, n], batched; in parts of k, whose sums `sum` adds up. */
typedef struct fr__product_args {
    fr__product_side side[2]; /* a, b */
    char *c, *parts; /* parts: [splits][batch][m][n] of what is accumulated in; NULL: one */
    int64_t c_row, c_column, c_batch;
    uint32_t batch[FR__PRODUCT_BATCH];
    uint32_t m, n, k, row_tiles, column_tiles, batches, splits,
        chunk;           /* chunk: of k, in a part */
    uint32_t form, relu; /* relu: of `bias` */
} fr__product_args;

#endif
