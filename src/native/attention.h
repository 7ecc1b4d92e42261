/* attention.h - softmax(Q K^T * scale + mask) V in one pass over the keys, and its gradients
 *
 * Scores are made a block at a time and used up while they are in cache, so memory is linear in the
 * lengths. The maximum of a row so far is subtracted before every exponential, and what was summed
 * is scaled when it grows (Milakov and Gimelshein 2018; Dao et al. 2022). Computed in float32.
 */
#ifndef FR_ATTENTION_H
#define FR_ATTENTION_H

#include "native/gemm.h"

enum {
    FR__ATTENTION_ROWS = 48, /* of queries that go together */
    FR__ATTENTION_BLOCK =
        384, /* keys that are packed, and scored, together: at most FR__GEMM_KC */
};

/* Rows [batch, position] of so many elements, anywhere in memory. Strides in elements. */
typedef struct fr__rows {
    const char *data;
    fr__gemm_dims batch; /* of queries: all heads; of keys and values: `batches / group` */
    int64_t row, col;
} fr__rows;

typedef struct fr__attention {
    int dtype; /* float16, bfloat16 or float32: of queries, keys, values and results */
    int64_t batches, group; /* products; how many of them in turn share keys and values */
    int64_t queries, keys, width, out_width; /* elements of a query and key; of a value */
    float scale;
    bool causal; /* query i sees keys up to i + keys - queries */
    fr__rows q, k, v;
    int mask_dtype; /* bool: false is not seen; float32: added; -1: none */
    fr__rows mask;  /* rows of `keys`, batch of all products */
    char *out;      /* [batches, queries, out_width], row-major */
    char *packed;   /* fr__attention_packed bytes */
} fr__attention;

size_t fr__attention_packed(const fr__attention *x);
size_t fr__attention_scratch(const fr__attention *x);
/* Phase 1, over batches / group; phase 2, over batches * ceil(queries / ROWS). */
void fr__attention_pack(const fr__attention *x, int64_t begin, int64_t end);
void fr__attention_run(const fr__attention *x, int64_t begin, int64_t end, char *scratch);

/* Gradients with respect to q, k and v, row-major, given the result and its cotangent. Units:
 * batches / group. */
typedef struct fr__attention_grad {
    fr__attention x; /* x.out and x.packed are not used */
    fr__rows out, dout;
    char *dq, *dk, *dv;
} fr__attention_grad;
size_t fr__attention_grad_scratch(const fr__attention_grad *x);
void fr__attention_grad_run(const fr__attention_grad *x, int64_t begin, int64_t end,
                            char *scratch);

#endif
