/* contract.c - CONTRACT: products of matrices, over stored arrays of any strides */
#include "native/gemm.h"
#include "native/native.h"

typedef struct {
    fr__gemm g;
    fr__gemm_cut cut;
} product;

/* Dimensions [from, to) of x as one flat index: those of size 1 left out, neighbours merged. */
static fr__gemm_dims dims_of(const fr__native_array *x, int from, int to)
{
    fr__gemm_dims d = {0};
    for (int i = from; i < to; i++) {
        int64_t size = x->shape[i], stride = x->strides[i];
        if (size == 1)
            continue;
        if (d.n && d.stride[d.n - 1] == stride * size) {
            d.size[d.n - 1] *= size;
            d.stride[d.n - 1] = stride;
        } else {
            d.size[d.n] = size;
            d.stride[d.n++] = stride;
        }
    }
    return d;
}

static int64_t count(const fr__native_array *x, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= x->shape[i];
    return n;
}

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    product *p = fr__arena_zalloc(arena, sizeof *p);
    if (!p)
        return -1;
    int nbatch = (int)c->par[0], nk = (int)c->par[1];
    const fr__native_array *a = &c->in[0], *b = &c->in[1];
    fr__gemm *g = &p->g;
    g->dtype = a->dtype;
    g->batches = count(a, 0, nbatch);
    g->m = count(a, nbatch, a->ndim - nk);
    g->k = count(b, nbatch, nbatch + nk);
    g->n = count(b, nbatch + nk, b->ndim);
    g->a = (fr__gemm_operand){NULL, dims_of(a, 0, nbatch), dims_of(a, nbatch, a->ndim - nk),
                              dims_of(a, a->ndim - nk, a->ndim)};
    g->b = (fr__gemm_operand){NULL, dims_of(b, 0, nbatch), dims_of(b, nbatch + nk, b->ndim),
                              dims_of(b, nbatch, nbatch + nk)};
    p->cut = fr__gemm_cut_up(g, threads);
    c->own = p;
    c->temporary = fr__gemm_packed_bytes(g, &p->cut);
    c->scratch = fr__gemm_scratch(g, &p->cut);
    c->work =
        g->batches * g->m * g->n * g->k / 8; /* lanes count, as for a kernel's operations */
    if (c->temporary) {
        c->phase[c->phases].range = g->batches * p->cut.panels;
        c->phase[c->phases++].grain = 1 + 4096 / (g->k + 1);
    }
    c->phase[c->phases].range = g->batches * p->cut.row_units * p->cut.col_units;
    c->phase[c->phases++].grain = 1;
    return 0;
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    const product *p = c->own;
    fr__gemm g = p->g;
    g.a.data = data[0];
    g.b.data = data[1];
    g.c = data[2];
    g.packed = data[3];
    if (phase < c->phases - 1)
        fr__gemm_pack(&g, &p->cut, begin, end);
    else
        fr__gemm_run(&g, &p->cut, begin, end, scratch);
}

const fr__native fr__native_contract = {"matmul", prepare, run};
