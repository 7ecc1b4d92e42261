/* contract.c - CONTRACT, CONV and CONV_FILTER: products of matrices, over stored arrays of any strides
 *
 * A convolution is one: the places of a window over an array, by its taps and channels, are a matrix
 * that lies in memory already, overlapping itself.
 */
#include "core/place.h"
#include "native/gemm.h"
#include "native/native.h"
#include "native/winograd.h"

typedef struct {
    fr__gemm g;
    fr__gemm_cut cut;
    int a, b;        /* which inputs are its operands */
    bool is_turned;  /* rows of the result are made as columns, in the temporary block */
    size_t turned;   /* where */
    bool by_squares; /* a convolution on the host, by winograd.c */
    fr__winograd winograd;
} product;

/* Dimensions [from, to) of x as one flat index. */
static fr__gemm_dims dims_of(const fr__native_array *x, int from, int to)
{
    fr__gemm_dims d = {0};
    for (int i = from; i < to; i++)
        fr__gemm_dim(&d, x->shape[i], x->strides[i]);
    return d;
}

static int64_t count(const fr__native_array *x, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= x->shape[i];
    return n;
}

static void prepare_product(const fr__native_call *c, fr__gemm *g)
{
    int nbatch = (int)c->par[0], nk = (int)c->par[1];
    const fr__native_array *a = &c->in[0], *b = &c->in[1];
    g->dtype = a->dtype;
    g->batches = count(a, 0, nbatch);
    g->m = count(a, nbatch, a->ndim - nk);
    g->k = count(b, nbatch, nbatch + nk);
    g->n = count(b, nbatch + nk, b->ndim);
    g->ldc = g->n;
    g->next = g->m * g->n;
    g->a = (fr__gemm_operand){NULL, dims_of(a, 0, nbatch), dims_of(a, nbatch, a->ndim - nk),
                              dims_of(a, a->ndim - nk, a->ndim)};
    g->b = (fr__gemm_operand){NULL, dims_of(b, 0, nbatch), dims_of(b, nbatch + nk, b->ndim),
                              dims_of(b, nbatch, nbatch + nk)};
    for (int j = 0; j < 2; j++)
        g->made[j] = c->made[j] ? c->made[j]->cycles : 0;
}

double fr__contract_cycles(const fr__native_call *c, int threads)
{
    fr__gemm g = {0};
    prepare_product(c, &g);
    return fr__gemm_cut_up(&g, threads).cycles;
}

/* The rows of A are the places of the window, k goes over the taps and the channels. */
static void prepare_conv(const fr__native_call *c, fr__gemm *g)
{
    const fr__native_array *x = &c->in[0], *w = &c->in[1], *y = &c->out;
    int n = x->ndim - 2, last = n + 1;
    const int64_t *stride = c->par, *dilation = c->par + n;
    int64_t groups = c->par[2 * n], channels = w->shape[last], filters = w->shape[0] / groups;
    g->dtype = x->dtype;
    g->batches = groups;
    g->m = count(y, 0, last);
    g->k = count(w, 1, last + 1);
    g->n = filters;
    g->ldc = w->shape[0];
    g->next = filters;
    fr__gemm_dim(&g->a.batch, groups, channels * x->strides[last]);
    fr__gemm_dim(&g->b.batch, groups, filters * w->strides[0]);
    fr__gemm_dim(&g->b.outer, filters, w->strides[0]);
    fr__gemm_dim(&g->a.outer, x->shape[0], x->strides[0]);
    for (int d = 0; d < n; d++) {
        fr__gemm_dim(&g->a.outer, y->shape[d + 1], x->strides[d + 1] * stride[d]);
        fr__gemm_dim(&g->a.k, w->shape[d + 1], x->strides[d + 1] * dilation[d]);
        fr__gemm_dim(&g->b.k, w->shape[d + 1], w->strides[d + 1]);
    }
    fr__gemm_dim(&g->a.k, channels, x->strides[last]);
    fr__gemm_dim(&g->b.k, channels, w->strides[last]);
}

/* Filters by taps and channels, or the other way round (`turned`); k goes over the places of the window. */
static void prepare_filter(const fr__native_call *c, fr__gemm *g, bool turned)
{
    fr__gemm_operand *a = turned ? &g->b : &g->a, *b = turned ? &g->a : &g->b;
    const fr__native_array *x = &c->in[0], *y = &c->in[1], *w = &c->out;
    int n = x->ndim - 2, last = n + 1;
    const int64_t *stride = c->par, *dilation = c->par + n;
    int64_t groups = c->par[2 * n], channels = w->shape[last], filters = w->shape[0] / groups;
    g->dtype = x->dtype;
    g->batches = groups;
    g->m = turned ? count(w, 1, last + 1) : filters;
    g->k = count(y, 0, last);
    g->n = turned ? filters : count(w, 1, last + 1);
    g->ldc = g->n;
    g->next = g->m * g->n;
    fr__gemm_dim(&a->batch, groups, filters * y->strides[last]);
    fr__gemm_dim(&b->batch, groups, channels * x->strides[last]);
    fr__gemm_dim(&a->outer, filters, y->strides[last]);
    fr__gemm_dim(&a->k, y->shape[0], y->strides[0]);
    fr__gemm_dim(&b->k, x->shape[0], x->strides[0]);
    for (int d = 0; d < n; d++) {
        fr__gemm_dim(&a->k, y->shape[d + 1], y->strides[d + 1]);
        fr__gemm_dim(&b->k, y->shape[d + 1], x->strides[d + 1] * stride[d]);
        fr__gemm_dim(&b->outer, w->shape[d + 1], x->strides[d + 1] * dilation[d]);
    }
    fr__gemm_dim(&b->outer, channels, x->strides[last]);
}

/* Vectors of 16 multiplied for each place, filters being rows; less the other way round? */
static bool is_better_turned(const fr__native_call *c)
{
    int64_t filters = c->out.shape[0] / c->par[2 * (c->in[0].ndim - 2)],
            columns = count(&c->out, 1, c->out.ndim);
    return columns * fr__ceil_div(filters, 16) < filters * fr__ceil_div(columns, 16);
}

const fr__gemm *fr__contract_gemm(const fr__native_call *c)
{
    return &((const product *)c->own)->g;
}

/* Pads by itself (graph/convolve.c): a GPU's own code, on the host one by squares. */
static bool is_padded(const fr__native_call *c)
{
    return c->routine != &fr__native_contract && c->npar > 2 * (c->in[0].ndim - 2) + 1;
}

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    bool padded = is_padded(c);
    if (padded && c->place != FR__HOST)
        return 0;
    product *p = fr__arena_zalloc(arena, sizeof *p);
    if (!p)
        return -1;
    c->own = p;
    p->by_squares = padded;
    if (padded) {
        fr__winograd_prepare(&p->winograd, c);
        return 0;
    }
    fr__gemm *g = &p->g;
    bool filter = c->routine == &fr__native_conv_filter, turned = filter && is_better_turned(c);
    if (filter)
        prepare_filter(c, g, turned);
    else
        (c->routine == &fr__native_conv ? prepare_conv : prepare_product)(c, g);
    g->followed = c->followed;
    p->a = filter && !turned;
    p->b = 1 - p->a;
    p->cut = fr__gemm_cut_up(g, threads);
    c->scratch = p->cut.scratch;
    c->work =
        g->batches * g->m * g->n * g->k / 2; /* lanes count, as for a kernel's operations */
    c->temporary = fr__gemm_sums(g, &p->cut);
    c->phase[0].range = g->batches * p->cut.parts * p->cut.row_units * p->cut.col_units;
    c->phase[0].grain = 1;
    c->phases = 1;
    if (p->cut.parts > 1) {
        c->phase[1].range = g->batches * g->m;
        c->phase[1].grain = 1 + 16384 / (g->n * p->cut.parts);
        c->phases = 2;
    }
    if (turned) {
        p->turned = (c->temporary + 63) & ~(size_t)63;
        c->temporary = p->turned + (size_t)(c->out.size * fr__dsize(c->out.dtype));
        c->phase[c->phases].range = g->batches * g->n;
        c->phase[c->phases++].grain = 1 + 16384 / g->m;
    }
    p->is_turned = turned;
    return 0;
}

/* Rows [begin, end) of the result of all products, from columns. */
static void turn_rows(const fr__gemm *g, const char *from, char *to, int64_t begin, int64_t end)
{
    size_t size = (size_t)fr__dsize(g->dtype);
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < g->m; j++)
            memcpy(to + size * (size_t)(i * g->m + j),
                   from + size * (size_t)(i / g->n * g->next + j * g->n + i % g->n), size);
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    const product *p = c->own;
    if (p->by_squares) {
        fr__winograd_run(&p->winograd, c, phase, data, begin, end, scratch);
        return;
    }
    fr__gemm_place at = {.a = data[p->a], .b = data[p->b], .c = data[2], .sums = data[3]};
    if (p->is_turned)
        at.c = data[3] + p->turned;
    for (int j = 0; j < 2; j++) {
        int i = j ? p->b : p->a;
        if (c->made[i])
            at.makes[j] = (const fr__maker *)(const void *)data[i];
    }
    if (phase == 0)
        fr__gemm_run(&p->g, &p->cut, &at, begin, end, scratch);
    else if (phase == 1 && p->cut.parts > 1)
        fr__gemm_add_up(&p->g, &p->cut, &at, begin, end);
    else
        turn_rows(&p->g, at.c, data[2], begin, end);
}

static fr__strip strip(const fr__native_call *c, int64_t unit)
{
    const product *p = c->own;
    const fr__gemm *g = &p->g;
    if (p->by_squares)
        return fr__winograd_strip(&p->winograd, unit);
    if (p->cut.parts > 1 || g->ldc != g->n || c->out.shape[c->out.ndim - 1] != g->n)
        return (fr__strip){0};
    int64_t index = unit / p->cut.col_units;
    fr__gemm_part rows = fr__gemm_unit_rows(g, &p->cut, index % p->cut.row_units);
    return (fr__strip){.index = index,
                       .first = index / p->cut.row_units * g->m + rows.from,
                       .rows = rows.n,
                       .units = (int)p->cut.col_units};
}

const fr__native fr__native_contract = {"matmul", prepare, run, strip};
const fr__native fr__native_conv = {"convolution", prepare, run, strip};
const fr__native fr__native_conv_filter = {"convolution's filter", prepare, run, NULL};
