/* blas.h - products of matrices on a GPU by cuBLASLt, opened at run time
 *
 * needs   libcublasLt.so.13, .12 or .11, where the loader finds it (FERRULE_CUBLASLT names another
 *         file, or "off")
 * gives   fr__gpu_matmul; where it can't, the caller has kernels of its own
 */
#ifndef FR_CUDA_BLAS_H
#define FR_CUDA_BLAS_H

#include "core/dtype.h"
#include "device/cuda/cuda.h"

/* Is the library there? Opened at the first question. */
bool fr__gpu_blas_ready(void);
const char *fr__gpu_blas_why(void); /* what is missing, or its version */

/* Are float32 products made with TF32 (10 bits of mantissa) by default? On, but for FERRULE_TF32=0. */
bool fr__gpu_tf32(void);
bool fr__gpu_set_tf32(bool on); /* gives what it was */

/* Element (i, j) of a stored matrix is at i * stride + j; of a transposed one at j * stride + i. */
typedef struct fr__gpu_matrix {
    const char *at;
    int64_t stride,
        batch; /* elements from row to row, from matrix to matrix (0: all the same) */
    bool transposed;
} fr__gpu_matrix;

typedef enum fr__gpu_epilogue {
    FR__GPU_NO_EPILOGUE,
    FR__GPU_RELU,
    FR__GPU_GELU_TANH, /* the approximation by tanh: cuBLASLt has no other */
} fr__gpu_epilogue;

/* out = epilogue(a @ b + bias), or out += a @ b
 *   a [batch, m, k]    b [batch, k, n]    bias [n] or NULL    out [batch, m, n], not transposed
 * dtype   of all: float32, float16, bfloat16 (both accumulate in float32), float64, complex64; the last
 *         two have neither bias nor epilogue */
typedef struct fr__gpu_product {
    fr_dtype dtype;
    bool tf32; /* may be used: see fr__gpu_tf32 */
    bool add;
    fr__gpu_epilogue epilogue;
    int64_t batch, m, n, k;
    fr__gpu_matrix a, b, out;
    const char *bias;
    char *workspace; /* NULL: taken from the allocator for the call */
} fr__gpu_product;

/* Can cuBLASLt do it, with how many bytes of workspace? Of the addresses only their alignment
 * matters. Sets no error. What it chooses for a shape is cached. */
bool fr__gpu_matmul_can(fr__gpu *g, const fr__gpu_product *p, size_t *workspace);
/* Queues it. Without elements in `out` nothing happens; k is at least 1. A stream that records is given
 * the workspace: the graph goes on using it. 0 or -1. */
int fr__gpu_matmul(fr__gpu_stream *s, const fr__gpu_product *p);

#endif
