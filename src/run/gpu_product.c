/* gpu_product.c - CONTRACT on a GPU: by cuBLASLt, on operands that are matrices; without it by kernels of ours
 *
 * For cuBLASLt an operand that lies otherwise (several dimensions a side that don't merge, repeated or reversed
 * rows) is copied first, by the kernel of such a copy. Ours (gpu_tiles.c) read most as they lie.
 */
#include "run/gpu.h"

#include "device/cuda/blas.h"
#include "device/cuda/launch.h"
#include "native/gemm.h"
#include "run/gpu_tiles.h"

/* One side as a stride: true where it is one dimension, or none (then `otherwise`). */
static bool one_stride(const fr__gemm_dims *d, int64_t otherwise, int64_t *stride)
{
    *stride = d->n ? d->stride[0] : otherwise;
    return d->n <= 1;
}

/* rows: the side whose elements are a row apart in what isn't transposed. */
static bool as_matrix(const fr__gemm_dims *batch, const fr__gemm_dims *rows, int64_t nrows,
                      const fr__gemm_dims *columns, int64_t ncolumns, fr__gpu_matrix *to)
{
    int64_t down, across;
    if (!one_stride(batch, 0, &to->batch) || !one_stride(rows, ncolumns, &down) ||
        !one_stride(columns, 1, &across) || to->batch < 0)
        return false;
    if (across == 1 && down >= ncolumns) {
        to->stride = down;
        to->transposed = false;
        return true;
    }
    if (!rows->n) /* one row: a column's elements may be any steps apart */
        down = 1;
    if (!columns->n)
        across = nrows;
    to->stride = across;
    to->transposed = true;
    return down == 1 && across >= nrows;
}

/* ---- copies ----------------------------------------------------------------------------- */

static void add_dims(const fr__gemm_dims *d, int *n, int64_t *shape, int64_t *strides)
{
    for (int i = 0; i < d->n; i++) {
        shape[*n] = d->size[i];
        strides[(*n)++] = d->stride[i];
    }
}

/* x as [batch, outer, k], row-major. A repeated batch stays repeated. */
static int pack(fr__gpu_run *r, const fr__gemm *g, const fr__gemm_operand *x, int64_t nouter,
                fr__gpu_matrix *to, fr__gpu_block *block)
{
    int64_t shape[3 * FR_MAX_NDIM], strides[3 * FR_MAX_NDIM];
    int n = 0;
    bool repeated = true;
    for (int i = 0; i < x->batch.n; i++)
        repeated &= x->batch.stride[i] == 0;
    if (!repeated)
        add_dims(&x->batch, &n, shape, strides);
    add_dims(&x->outer, &n, shape, strides);
    add_dims(&x->k, &n, shape, strides);
    if (n > FR_MAX_NDIM)
        return fr__fail_int(FR__E_LIMIT, "a product of operands of %d dimensions on a GPU", n);
    int status = fr__gpu_pack(r, g->dtype, n, shape, strides, x->data, block);
    *to = (fr__gpu_matrix){block->at, g->k, repeated ? 0 : nouter * g->k, false};
    return status;
}

/* ---- the product ------------------------------------------------------------------------ */

static fr__tile_dims tile_dims(const fr__gemm_dims *d)
{
    fr__tile_dims to = {0};
    for (int i = 0; i < d->n; i++)
        fr__tile_dim(&to, d->size[i], d->stride[i], -1, 0);
    return to;
}

/* By kernels of ours. */
static int by_tiles(fr__gpu_run *r, const fr__gemm *g, char *c, bool *done)
{
    fr__tiles t = {.dtype = g->dtype,
                   .m = g->m,
                   .n = g->n,
                   .k = g->k,
                   .a = g->a.data,
                   .b = g->b.data,
                   .c = c,
                   .rows = tile_dims(&g->a.outer),
                   .a_k = tile_dims(&g->a.k),
                   .columns = tile_dims(&g->b.outer),
                   .b_k = tile_dims(&g->b.k),
                   .c_row = g->ldc,
                   .c_column = 1,
                   .c_batch = g->next};
    const fr__gemm_dims *x = &g->a.batch, *y = &g->b.batch;
    bool alike = x->n == y->n && x->n <= FR__PRODUCT_BATCH; /* cut alike */
    for (int i = 0; alike && i < x->n; i++)
        alike = x->size[i] == y->size[i];
    *done = false;
    if (!alike)
        return 0;
    t.batches = x->n;
    for (int i = 0; i < x->n; i++) {
        t.batch[i] = x->size[i];
        t.a_batch[i] = x->stride[i];
        t.b_batch[i] = y->stride[i];
    }
    return fr__gpu_tiles_run(r, &t, done);
}

/* As [batch, outer, k] in memory, for the same. */
static fr__gemm_operand packed(const fr__gpu_matrix *m, int64_t batches, int64_t outer,
                               int64_t k)
{
    fr__gemm_operand x = {.data = m->at};
    fr__gemm_dim(&x.batch, batches, m->batch);
    fr__gemm_dim(&x.outer, outer, m->stride);
    fr__gemm_dim(&x.k, k, 1);
    return x;
}

int fr__gpu_gemm_run(fr__gpu_run *r, const fr__gemm *of, char *c, bool *done)
{
    fr__gemm g = *of;
    fr__gpu_product p = {.dtype = (fr_dtype)g.dtype,
                         .tf32 = fr__gpu_tf32(),
                         .batch = g.batches,
                         .m = g.m,
                         .n = g.n,
                         .k = g.k,
                         .out = {c, g.ldc, g.next, false}};
    fr__gpu_block a = {NULL, 0}, b = {NULL, 0}, space = {NULL, 0};
    bool blas = fr__gpu_blas_ready();
    int status = 0;
    p.a.at = g.a.data;
    p.b.at = g.b.data;
    *done = g.k == 0;
    if (!fr__is_float(g.dtype)) /* made for the host, and come here all the same */
        return 0;
    if (*done)
        return fr__gpu_zero(r->to, c,
                            (size_t)(g.batches * g.m * g.n) * (size_t)fr__dsize(g.dtype));
    if (!blas && ((status = by_tiles(r, &g, c, done)) || *done))
        return status;
    if (!as_matrix(&g.a.batch, &g.a.outer, g.m, &g.a.k, g.k, &p.a) &&
        !(status = pack(r, &g, &g.a, g.m, &p.a, &a)))
        g.a = packed(&p.a, g.batches, g.m, g.k);
    if (!status && !as_matrix(&g.b.batch, &g.b.k, g.k, &g.b.outer, g.n, &p.b) &&
        !(status = pack(r, &g, &g.b, g.n, &p.b, &b))) {
        g.b = packed(&p.b, g.batches, g.n, g.k);
        p.b.transposed = true; /* packed a column after the other */
    }
    if (!status && blas &&
        (*done = fr__gpu_matmul_can(fr__gpu_of(r->home), &p, &space.bytes))) {
        if (space.bytes && !(space.at = fr__gpu_take(r, space.bytes)))
            status = -1;
        p.workspace = space.at;
        status = status ? status : fr__gpu_matmul(r->to, &p);
    }
    if (!status && !*done)
        status = by_tiles(r, &g, c, done);
    fr__gpu_give(r, space.at, space.bytes);
    fr__gpu_give(r, a.at, a.bytes);
    fr__gpu_give(r, b.at, b.bytes);
    return status;
}

int fr__gpu_product_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                        bool *done)
{
    fr__gemm g = *fr__contract_gemm(call);
    g.a.data = data[0];
    g.b.data = data[1];
    return fr__gpu_gemm_run(r, &g, data[2], done);
}
