/* attention_args.h - what attention's kernels are given; the same for the host that starts them */
#ifndef FR_ROUTINES_ATTENTION_ARGS_H
#define FR_ROUTINES_ATTENTION_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/* Rows of any strides, all in bytes. */
typedef struct fr__attention_array {
    const char *data;
    int64_t example, head, row, col;
} fr__attention_array;

typedef enum fr__attention_mask {
    FR__MASK_NONE,
    FR__MASK_BOOL,
    FR__MASK_FLOAT
} fr__attention_mask;

typedef enum fr__attention_element {
    FR__ATTENTION_F16,
    FR__ATTENTION_BF16,
    FR__ATTENTION_F32
} fr__attention_element;

/* Results are row-major. `product` is one of an example and a head of the queries. */
typedef struct fr__attention_args {
    fr__attention_array q, k, v, mask, out, dout;
    char *y, *dq, *dk, *dv;
    float *
        lse; /* [products, padded]: logarithms (base 2) of sums of exponentials; infinite: nothing is seen */
    float *delta;                   /* [products, padded]: out . dout */
    int64_t padded;                 /* queries, a multiple of FR__ATTENTION_PAD */
    int32_t products, heads, group; /* heads: of the queries; group: heads that share keys */
    int32_t queries, keys, width, out_width;
    int32_t blocks;      /* of rows of a product, or of keys of one head of keys */
    int32_t columns;     /* blocks of columns, where a block doesn't make all of a row */
    int32_t shift;       /* causal: query i sees keys up to i + shift */
    float scale, factor; /* factor: scale * log2(e) */
    uint32_t causal, mask_kind;
    uint32_t scaled;  /* scores are multiplied by the factor before they are compared */
    uint32_t element; /* fr__attention_element */
} fr__attention_args;

/* Rows of n elements made rows of `row` bytes, row-major, 0 beyond. Strides in bytes. */
typedef struct fr__pack_args {
    fr__attention_array x;
    char *y;
    int64_t rows; /* all: examples * heads * n */
    int32_t heads, n, width, row, size, unused;
} fr__pack_args;

/* By tensor cores: tiles of rows of `row` bytes (128, 256, 512), by the four warps of a block. Each warp
 * has FR__..._TILES times 16 rows; the others come so many at a time, two such stages in shared memory. */
enum { FR__ATTENTION_THREADS = 128, FR__ATTENTION_PAD = 128 };
#define FR__ATTEND_TILES(row) ((row) <= 256 ? 2 : 1)
#define FR__ATTEND_KEYS(head) ((head) <= 64 ? 64 : 32)
#define FR__ATTEND_SHARED(row, head)                                                           \
    ((64 * FR__ATTEND_TILES(row) + 4 * FR__ATTEND_KEYS(head)) * (row))
/* By a group of four warps (sm_90a), rows of 16-bit elements: 64 of a block's own. */
enum { FR__GROUP_ROWS = 64, FR__GROUP_KEYS = 64, FR__GROUP_STEP = 64 };
#define FR__GROUP_SHARED(head) ((FR__GROUP_ROWS + 6 * FR__GROUP_KEYS) * 2 * (head))
#define FR__GROUP_GRAD_SHARED(head) ((2 * FR__GROUP_ROWS + 4 * FR__GROUP_STEP) * 2 * (head))
#define FR__ATTEND_GRAD_TILES(head) ((head) <= 64 ? 2 : 1)
#define FR__ATTEND_GRAD_STEP(row, head) ((head) <= 64 ? 32 : (row) <= 256 ? 64 : 16)
#define FR__ATTEND_GRAD_SHARED(row, head)                                                      \
    ((128 * FR__ATTEND_GRAD_TILES(head) + 4 * FR__ATTEND_GRAD_STEP(row, head)) * (row))

/* Without: blocks of so many rows and columns, by so many threads. */
enum { FR__PLAIN_BLOCK = 64, FR__PLAIN_THREADS = 256 };

#endif
