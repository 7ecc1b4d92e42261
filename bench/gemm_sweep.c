/* gemm_sweep.c - matrix products from C: ours and, call to call, those of an OpenBLAS
 *
 *     gemm_sweep OPENBLAS THREADS SECONDS SHAPE...
 *
 * OPENBLAS   path of a shared library with cblas_sgemm (also as numpy and scipy name it), or -
 * SHAPE      [BATCHx]MxNxK[:LAYOUT][:DTYPE]; LAYOUT nn, nt, tn or tt: t is an operand that lies transposed
 *
 * needs   libferrule; gemm_sweep.py builds it with cc
 * gives   a line for each shape: seconds of fr_matmul and fr_eval, of a compiled function, of
 *         OpenBLAS (0: it has no such product). Least of many, taken in turns; of one thread the
 *         processor's time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <ferrule/ferrule.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void sgemm_fn(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha,
                      const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                      float *c, int64_t ldc);
typedef void dgemm_fn(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, double alpha,
                      const double *a, int64_t lda, const double *b, int64_t ldb, double beta,
                      double *c, int64_t ldc);
typedef void cgemm_fn(int order, int ta, int tb, int64_t m, int64_t n, int64_t k,
                      const void *alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                      const void *beta, void *c, int64_t ldc);
typedef void sgemv_fn(int order, int ta, int64_t m, int64_t n, float alpha, const float *a,
                      int64_t lda, const float *x, int64_t incx, float beta, float *y,
                      int64_t incy);

static struct {
    sgemm_fn *s;
    dgemm_fn *d;
    cgemm_fn *c;
    sgemv_fn *v;
} blas;

typedef struct {
    int64_t batch, m, n, k;
    bool ta, tb;
    fr_dtype dtype;
    fr_array *a, *b; /* as multiplied */
    char *pa, *pb, *pc;
    fr_function *compiled;
} product;

/* One thread: the processor's time, so that who else is there matters less. */
static clockid_t timer = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(timer, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void *symbol(void *library, const char *name)
{
    static const char *const forms[] = {"scipy_%s64_", "%s64_", "scipy_%s", "%s"};
    char text[80];
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, forms[i], name);
        void *found = dlsym(library, text);
        if (found)
            return found;
    }
    return NULL;
}

static void open_blas(const char *path, int threads)
{
    if (!strcmp(path, "-"))
        return;
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        fail("openblas", dlerror());
    blas.s = (sgemm_fn *)symbol(library, "cblas_sgemm");
    blas.d = (dgemm_fn *)symbol(library, "cblas_dgemm");
    blas.c = (cgemm_fn *)symbol(library, "cblas_cgemm");
    blas.v = (sgemv_fn *)symbol(library, "cblas_sgemv");
    void (*set)(int) = (void (*)(int))symbol(library, "openblas_set_num_threads");
    if (set)
        set(threads);
}

/* Small multiples of 1/8, in any type. */
static char *fill(int64_t n, fr_dtype dtype)
{
    char *data = aligned_alloc(64, ((size_t)n * 8 + 127) / 64 * 64);
    uint32_t seed = 1;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float f = (float)((int)(seed >> 24) - 128) / 64;
        uint32_t bits;
        memcpy(&bits, &f, 4);
        switch (dtype) {
        case FR_FLOAT64: ((double *)data)[i] = (double)f; break;
        case FR_FLOAT32: ((float *)data)[i] = f; break;
        case FR_COMPLEX64:
            ((float *)data)[2 * i] = f;
            ((float *)data)[2 * i + 1] = 1 - f;
            break;
        case FR_BFLOAT16: ((uint16_t *)data)[i] = (uint16_t)(bits >> 16); break;
        case FR_FLOAT16: ((uint16_t *)data)[i] = (uint16_t)(0x3000 + (seed >> 23)); break;
        default: data[i] = (char)(seed >> 24);
        }
    }
    if (dtype == FR_INT32 || dtype == FR_INT64)
        for (int64_t i = 0; i < n; i++)
            if (dtype == FR_INT32)
                ((int32_t *)data)[i] = (int32_t)(i % 13 - 6);
            else
                ((int64_t *)data)[i] = i % 13 - 6;
    return data;
}

static fr_array *operand(const product *p, char *data, int64_t rows, int64_t cols, bool t)
{
    int64_t shape[3] = {p->batch, t ? cols : rows, t ? rows : cols};
    fr_array *x = p->batch > 1 ? fr_from_data(data, p->dtype, shape, 3)
                               : fr_from_data(data, p->dtype, shape + 1, 2);
    if (x && t)
        x = fr_swapaxes(x, -1, -2);
    if (!x || fr_eval(x))
        fail("operand", fr_error_message());
    return fr_keep(x);
}

static int traced(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = fr_matmul(in[0], in[1]);
    return out[0] ? 0 : 1;
}

static fr_dtype dtype_named(const char *name)
{
    static const struct {
        const char *name;
        fr_dtype dtype;
    } all[] = {{"f32", FR_FLOAT32},   {"f64", FR_FLOAT64},   {"f16", FR_FLOAT16},
               {"bf16", FR_BFLOAT16}, {"c64", FR_COMPLEX64}, {"i8", FR_INT8},
               {"u8", FR_UINT8},      {"i32", FR_INT32},     {"i64", FR_INT64}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name))
            return all[i].dtype;
    fail("no dtype", name);
    return FR_FLOAT32;
}

static product read_shape(const char *text)
{
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", text);
    product p = {.batch = 1, .dtype = FR_FLOAT32};
    char *sizes = strsep(&rest, ":"), *word;
    int64_t n[4];
    int count = 0;
    while (count < 4 && (word = strsep(&sizes, "x")))
        n[count++] = atoll(word);
    if (count < 3)
        fail("no shape", text);
    if (count == 4)
        p.batch = n[0];
    p.m = n[count - 3], p.n = n[count - 2], p.k = n[count - 1];
    while ((word = strsep(&rest, ":"))) {
        if (strlen(word) == 2 && strspn(word, "nt") == 2)
            p.ta = word[0] == 't', p.tb = word[1] == 't';
        else
            p.dtype = dtype_named(word);
    }
    return p;
}

static void lazily(product *p)
{
    fr_array *y = fr_matmul(p->a, p->b);
    if (!y || fr_eval(y))
        fail("matmul", fr_error_message());
    fr_free(y);
}

static void compiled(product *p)
{
    fr_array *in[2] = {p->a, p->b}, *y;
    if (fr_call(p->compiled, 2, in, 1, &y))
        fail("call", fr_error_message());
    fr_free(y);
}

static bool has_blas(const product *p)
{
    return p->dtype == FR_FLOAT32   ? blas.s != NULL
           : p->dtype == FR_FLOAT64 ? blas.d != NULL
                                    : p->dtype == FR_COMPLEX64 && blas.c;
}

static void by_blas(product *p)
{
    enum { ROWS = 101, NO = 111, TRANS = 112 };
    int64_t lda = p->ta ? p->m : p->k, ldb = p->tb ? p->k : p->n;
    int ta = p->ta ? TRANS : NO, tb = p->tb ? TRANS : NO;
    const float one[2] = {1, 0}, zero[2] = {0, 0};
    for (int64_t i = 0; i < p->batch; i++) {
        int64_t a = i * p->m * p->k, b = i * p->k * p->n, c = i * p->m * p->n;
        const float *x = (float *)p->pa + a, *y = (float *)p->pb + b;
        if (p->dtype == FR_FLOAT32 && p->n == 1 && blas.v)
            blas.v(ROWS, ta, p->ta ? p->k : p->m, lda, 1, x, lda, y, 1, 0, (float *)p->pc + c,
                   1);
        else if (p->dtype == FR_FLOAT32 && p->m == 1 && blas.v)
            blas.v(ROWS, p->tb ? NO : TRANS, p->tb ? p->n : p->k, ldb, 1, y, ldb, x, 1, 0,
                   (float *)p->pc + c, 1);
        else if (p->dtype == FR_FLOAT32)
            blas.s(ROWS, ta, tb, p->m, p->n, p->k, 1, x, lda, y, ldb, 0, (float *)p->pc + c,
                   p->n);
        else if (p->dtype == FR_FLOAT64)
            blas.d(ROWS, ta, tb, p->m, p->n, p->k, 1, (double *)p->pa + a, lda,
                   (double *)p->pb + b, ldb, 0, (double *)p->pc + c, p->n);
        else
            blas.c(ROWS, ta, tb, p->m, p->n, p->k, one, p->pa + 8 * a, lda, p->pb + 8 * b, ldb,
                   zero, p->pc + 8 * c, p->n);
    }
}

/* Is ours what OpenBLAS computes, about? */
static void check(product *p, const char *text)
{
    if (p->dtype != FR_FLOAT32 || !blas.s)
        return;
    fr_view v;
    fr_array *y = fr_matmul(p->a, p->b);
    by_blas(p);
    if (!y || fr_access(y, &v))
        fail("matmul", fr_error_message());
    const float *x = v.data, *z = (float *)p->pc;
    for (int64_t i = 0; i < p->batch * p->m * p->n; i++)
        if (!(fabsf(x[i] - z[i]) <= 1e-5f * (float)p->k + 1e-3f))
            fail(text, "another result than OpenBLAS'");
    fr_free(y);
}

typedef void one(product *p);

static void measure(product *p, const char *text, double seconds)
{
    one *const ways[3] = {lazily, compiled, by_blas};
    int nways = has_blas(p) ? 3 : 2;
    double best[3] = {1e9, 1e9, 1e9}, begin = now();
    p->pa = fill(p->batch * p->m * p->k, p->dtype);
    p->pb = fill(p->batch * p->k * p->n, p->dtype);
    p->pc = fill(p->batch * p->m * p->n, p->dtype);
    p->a = operand(p, p->pa, p->m, p->k, p->ta);
    p->b = operand(p, p->pb, p->k, p->n, p->tb);
    p->compiled = fr_compile(traced, NULL, NULL);
    check(p, text);
    for (int turn = 0; turn < 3 || now() - begin < seconds; turn++)
        for (int w = 0; w < nways; w++) {
            /* Short ones several times in a turn, after one that wakes the threads up. */
            ways[w](p);
            double start = now();
            ways[w](p);
            double once = now() - start;
            int64_t calls = once < 1e-4 ? (int64_t)(2e-4 / once) + 1 : 1;
            start = now();
            for (int64_t i = 0; i < calls; i++)
                ways[w](p);
            once = fmin(once, (now() - start) / (double)calls);
            best[w] = fmin(best[w], once);
        }
    printf("%s %.9f %.9f %.9f\n", text, best[0], best[1], nways == 3 ? best[2] : 0);
    fflush(stdout);
    fr_function_free(p->compiled);
    fr_free(p->a);
    fr_free(p->b);
    free(p->pa);
    free(p->pb);
    free(p->pc);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        fail("usage", "gemm_sweep OPENBLAS|- THREADS SECONDS SHAPE...");
    setenv("FERRULE_NUM_THREADS", argv[2], 1);
    open_blas(argv[1], atoi(argv[2]));
    timer = atoi(argv[2]) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    for (int i = 4; i < argc; i++) {
        product p = read_shape(argv[i]);
        measure(&p, argv[i], atof(argv[3]));
    }
    return 0;
}
