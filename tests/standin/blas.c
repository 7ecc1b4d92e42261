/* blas.c - a cuBLASLt for the stand-in driver: the entry points that src/device/cuda/blas.c uses
 *
 * FERRULE_CUBLASLT names the library. Products are made on the host, in double, when the stand-in's
 * stream comes to them. It needs a workspace of 4096 bytes for products of more than 1000 elements, and
 * overwrites it; has no algorithm for k = 13; and fails if told to (blas_fail_at).
 */
#include "standin.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define X(type, name, parameters) type name parameters;
STANDIN_CONTROLS(X)
#undef X

enum { INVALID_VALUE = 7, FAILED = 14, NOT_SUPPORTED = 15, WORKSPACE = 4096 };
enum { R_32F = 0, R_64F = 1, R_16F = 2, C_32F = 4, R_16BF = 14 };
enum { RELU = 2, BIAS = 4, GELU = 32 };
__extension__ typedef _Float16 half;

#include "calls.h"

typedef struct desc {
    int compute, scale, transposed[2];
    unsigned epilogue;
    const void *bias;
} desc;
typedef struct layout {
    int type, count;
    uint64_t rows, columns;
    int64_t stride, step;
} layout;
typedef struct preference {
    size_t workspace;
} preference;
typedef struct heuristic {
    uint64_t data[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} heuristic;

static long heuristics;

EXPORT long blas_live(void);
EXPORT long blas_heuristics(void);
EXPORT void blas_fail_at(long n);

long blas_live(void) { return locked(&live); }
long blas_heuristics(void) { return locked(&heuristics); }
void blas_fail_at(long n) { set_fail_at(n); }

EXPORT int cublasLtCreate(void **handle);
EXPORT size_t cublasLtGetVersion(void);
EXPORT int cublasLtMatmulDescCreate(desc **d, int compute, int scale);
EXPORT int cublasLtMatmulDescDestroy(desc *d);
EXPORT int cublasLtMatmulDescSetAttribute(desc *d, int which, const void *v, size_t n);
EXPORT int cublasLtMatrixLayoutCreate(layout **l, int type, uint64_t rows, uint64_t columns,
                                      int64_t stride);
EXPORT int cublasLtMatrixLayoutDestroy(layout *l);
EXPORT int cublasLtMatrixLayoutSetAttribute(layout *l, int which, const void *v, size_t n);
EXPORT int cublasLtMatmulPreferenceCreate(preference **p);
EXPORT int cublasLtMatmulPreferenceDestroy(preference *p);
EXPORT int cublasLtMatmulPreferenceSetAttribute(preference *p, int which, const void *v,
                                                size_t n);
EXPORT int cublasLtMatmulAlgoGetHeuristic(void *h, desc *d, layout *a, layout *b, layout *c,
                                          layout *out, preference *p, int wanted, heuristic *to,
                                          int *got);
EXPORT int cublasLtMatmul(void *h, desc *d, const void *alpha, const void *a, layout *al,
                          const void *b, layout *bl, const void *beta, const void *c,
                          layout *cl, void *out, layout *ol, const void *algorithm,
                          void *workspace, size_t bytes, void *stream);

int cublasLtCreate(void **handle)
{
    static int one;
    *handle = &one;
    return entered(0);
}

size_t cublasLtGetVersion(void) { return 120000; }

int cublasLtMatmulDescCreate(desc **d, int compute, int scale)
{
    int r = make((void **)d, sizeof **d);
    if (!r)
        **d = (desc){.compute = compute, .scale = scale, .epilogue = 1};
    return r;
}

int cublasLtMatmulDescDestroy(desc *d) { return drop(d); }

int cublasLtMatmulDescSetAttribute(desc *d, int which, const void *v, size_t n)
{
    void *to = which == 3   ? (void *)&d->transposed[0]
               : which == 4 ? (void *)&d->transposed[1]
               : which == 7 ? (void *)&d->epilogue
               : which == 8 ? (void *)&d->bias
                            : NULL;
    if (!to || n != (which == 8 ? sizeof d->bias : 4))
        return INVALID_VALUE;
    memcpy(to, v, n);
    return entered(0);
}

int cublasLtMatrixLayoutCreate(layout **l, int type, uint64_t rows, uint64_t columns,
                               int64_t stride)
{
    if (stride < (int64_t)rows)
        return INVALID_VALUE;
    int r = make((void **)l, sizeof **l);
    if (!r)
        **l = (layout){type, 1, rows, columns, stride, 0};
    return r;
}

int cublasLtMatrixLayoutDestroy(layout *l) { return drop(l); }

int cublasLtMatrixLayoutSetAttribute(layout *l, int which, const void *v, size_t n)
{
    if ((which != 5 || n != 4) && (which != 6 || n != 8))
        return INVALID_VALUE;
    memcpy(which == 5 ? (void *)&l->count : (void *)&l->step, v, n);
    return entered(0);
}

int cublasLtMatmulPreferenceCreate(preference **p) { return make((void **)p, sizeof **p); }
int cublasLtMatmulPreferenceDestroy(preference *p) { return drop(p); }

int cublasLtMatmulPreferenceSetAttribute(preference *p, int which, const void *v, size_t n)
{
    if (which == 1)
        memcpy(&p->workspace, v, n);
    else if (which < 5 || which > 8 || n != 4)
        return INVALID_VALUE;
    return entered(0);
}

static size_t wants(const layout *out)
{
    return out->rows * out->columns > 1000 ? WORKSPACE : 0;
}

int cublasLtMatmulAlgoGetHeuristic(void *h, desc *d, layout *a, layout *b, layout *c,
                                   layout *out, preference *p, int wanted, heuristic *to,
                                   int *got)
{
    (void)h, (void)c, (void)wanted;
    int r = entered(0);
    pthread_mutex_lock(&lock);
    heuristics++;
    pthread_mutex_unlock(&lock);
    uint64_t m = d->transposed[0] ? a->columns : a->rows,
             k = d->transposed[0] ? a->rows : a->columns;
    uint64_t n = d->transposed[1] ? b->rows : b->columns,
             l = d->transposed[1] ? b->columns : b->rows;
    *got = 0;
    if (r)
        return r;
    if (m != out->rows || n != out->columns || k != l || a->count != b->count ||
        a->count != out->count)
        return INVALID_VALUE;
    if (k == 13 || p->workspace < wants(out))
        return NOT_SUPPORTED;
    memset(to, 0, sizeof *to);
    to->workspace = wants(out);
    *got = 1;
    return 0;
}

/* ---- the product ---------------------------------------------------------------------- */

typedef struct work {
    desc d;
    layout a, b, out;
    const char *a_at, *b_at;
    char *out_at, *workspace;
    double beta;
} work;

static size_t size_of(int type)
{
    return type == R_32F ? 4 : type == R_64F || type == C_32F ? 8 : 2;
}

static void get(int type, const char *at, double v[2])
{
    float f[2] = {0};
    half h;
    uint32_t bits = 0;
    v[1] = 0;
    switch (type) {
    case R_64F: memcpy(v, at, 8); return;
    case R_16F: memcpy(&h, at, 2), f[0] = (float)h; break;
    case R_16BF: memcpy((char *)&bits + 2, at, 2), memcpy(f, &bits, 4); break;
    default: memcpy(f, at, size_of(type)); v[1] = (double)f[1];
    }
    v[0] = (double)f[0];
}

static void put(int type, char *at, const double v[2])
{
    float f[2] = {(float)v[0], (float)v[1]};
    half h = (half)f[0];
    uint32_t bits;
    switch (type) {
    case R_64F: memcpy(at, v, 8); break;
    case R_16F: memcpy(at, &h, 2); break;
    case R_16BF:
        memcpy(&bits, f, 4);
        bits += 0x7fff + (bits >> 16 & 1);
        memcpy(at, (char *)&bits + 2, 2);
        break;
    default: memcpy(at, f, size_of(type));
    }
}

static const char *element(const layout *l, const char *at, int batch, bool transposed,
                           uint64_t i, uint64_t j)
{
    int64_t place =
        transposed ? (int64_t)j + (int64_t)i * l->stride : (int64_t)i + (int64_t)j * l->stride;
    return at + (place + batch * l->step) * (int64_t)size_of(l->type);
}

static bool whole(const layout *l, const char *at)
{
    size_t last = (size_t)((int64_t)(l->columns - 1) * l->stride + (int64_t)l->rows +
                           (l->count - 1) * l->step);
    return standin_lives(at, last * size_of(l->type));
}

static void finish(const work *w, uint64_t i, double v[2])
{
    double bias[2];
    if (w->d.epilogue & BIAS) {
        get(w->out.type, (const char *)w->d.bias + i * size_of(w->out.type), bias);
        v[0] += bias[0];
    }
    if (w->d.epilogue & RELU)
        v[0] = v[0] > 0 ? v[0] : 0;
    if (w->d.epilogue & GELU)
        v[0] *= 0.5 * (1 + tanh(0.79788456080286536 * (v[0] + 0.044715 * v[0] * v[0] * v[0])));
}

static bool run(void *ctx)
{
    const work *w = ctx;
    bool ta = w->d.transposed[0], tb = w->d.transposed[1];
    uint64_t k = ta ? w->a.rows : w->a.columns;
    if (!whole(&w->a, w->a_at) || !whole(&w->b, w->b_at) || !whole(&w->out, w->out_at) ||
        (wants(&w->out) && !standin_lives(w->workspace, WORKSPACE)))
        return false;
    if (wants(&w->out))
        memset(w->workspace, 0x5a, WORKSPACE);
    for (int batch = 0; batch < w->out.count; batch++)
        for (uint64_t i = 0; i < w->out.rows; i++)
            for (uint64_t j = 0; j < w->out.columns; j++) {
                double sum[2] = {0}, x[2], y[2];
                char *to = (char *)(uintptr_t)element(&w->out, w->out_at, batch, false, i, j);
                for (uint64_t l = 0; l < k; l++) {
                    get(w->a.type, element(&w->a, w->a_at, batch, ta, i, l), x);
                    get(w->b.type, element(&w->b, w->b_at, batch, tb, l, j), y);
                    sum[0] += x[0] * y[0] - x[1] * y[1];
                    sum[1] += x[0] * y[1] + x[1] * y[0];
                }
                if (w->beta != 0) {
                    get(w->out.type, to, x);
                    sum[0] += w->beta * x[0];
                    sum[1] += w->beta * x[1];
                }
                finish(w, i, sum);
                put(w->out.type, to, sum);
            }
    return true;
}

int cublasLtMatmul(void *h, desc *d, const void *alpha, const void *a, layout *al,
                   const void *b, layout *bl, const void *beta, const void *c, layout *cl,
                   void *out, layout *ol, const void *algorithm, void *workspace, size_t bytes,
                   void *stream)
{
    (void)h, (void)algorithm, (void)cl;
    int scale = al->type == R_64F ? R_64F : al->type == C_32F ? C_32F : R_32F;
    double one[2], times[2];
    int r = entered(0);
    if (r)
        return r;
    get(scale, alpha, one);
    get(scale, beta, times);
    if (d->scale != scale || one[0] != 1 || one[1] != 0 || times[1] != 0 || c != out ||
        bytes < wants(ol) || (wants(ol) && !workspace))
        return INVALID_VALUE;
    work w = {*d, *al, *bl, *ol, a, b, out, workspace, times[0]};
    return standin_call(stream, run, &w, sizeof w) ? 14 : 0;
}
