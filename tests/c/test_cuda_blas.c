/* test_cuda_blas.c - products by cuBLASLt, over its stand-in or, with FERRULE_TEST_GPU=1, the real one */
#define _GNU_SOURCE
#include "cuda_child.h"

#include "device/cuda/blas.h"

#include <math.h>
#include <pthread.h>

static long (*blas_live)(void), (*blas_heuristics)(void);
static void (*blas_fail_at)(long n);

static void find_blas(const char *name, void *to)
{
    void *symbol = dlsym(dlopen(STANDIN_BLAS, RTLD_NOW | RTLD_LOCAL), name);
    memcpy(to, &symbol, sizeof symbol);
}

static fr__gpu *start_blas(void)
{
    if (!real) {
        setenv("FERRULE_CUBLASLT", STANDIN_BLAS, 1);
        find_blas("blas_live", &blas_live);
        find_blas("blas_heuristics", &blas_heuristics);
        find_blas("blas_fail_at", &blas_fail_at);
    }
    fr__gpu *g = start(NULL);
    if (g && !EXPECT(fr__gpu_blas_ready()))
        printf("     %s\n", fr__gpu_blas_why());
    return g && fr__gpu_blas_ready() ? g : NULL;
}

/* ---- numbers of every type as pairs of doubles ---------------------------------------- */

__extension__ typedef _Float16 half;

static void get(fr_dtype t, const char *at, double v[2])
{
    float f[2] = {0};
    half h;
    uint32_t bits = 0;
    v[0] = v[1] = 0;
    if (t == FR_FLOAT64) {
        memcpy(v, at, 8);
        return;
    }
    if (t == FR_FLOAT16) {
        memcpy(&h, at, 2);
        f[0] = (float)h;
    } else if (t == FR_BFLOAT16) {
        memcpy((char *)&bits + 2, at, 2);
        memcpy(f, &bits, 4);
    } else {
        memcpy(f, at, (size_t)fr__dsize(t));
    }
    v[0] = (double)f[0];
    v[1] = (double)f[1];
}

/* Small quarters: exact in every type. */
static void put(fr_dtype t, char *at, float re, float im)
{
    float f[2] = {re, im};
    double d = (double)re;
    half h = (half)re;
    if (t == FR_FLOAT64)
        memcpy(at, &d, 8);
    else if (t == FR_FLOAT16)
        memcpy(at, &h, 2);
    else if (t == FR_BFLOAT16)
        memcpy(at, (char *)f + 2, 2);
    else
        memcpy(at, f, (size_t)fr__dsize(t));
}

static float some(int64_t i) { return (float)((i * 37 + i / 7 * 11) % 17 - 8) / 4; }

typedef struct matrix { /* here and there */
    fr__gpu_matrix there;
    char *here, *block;
    size_t bytes;
} matrix;

static matrix new_matrix(fr__gpu_stream *s, fr_dtype t, int64_t batch, int64_t rows,
                         int64_t columns, bool transposed, int64_t gap, bool shared, int seed)
{
    matrix m = {0};
    int64_t across = transposed ? rows : columns, down = transposed ? columns : rows;
    size_t size = (size_t)fr__dsize(t);
    m.there.stride = across + gap;
    m.there.batch = shared ? 0 : (across + gap) * down + gap;
    m.there.transposed = transposed;
    int64_t n = m.there.batch * (batch - 1) + (across + gap) * down;
    m.bytes = size * (size_t)n;
    m.here = malloc(m.bytes);
    for (int64_t i = 0; i < n; i++)
        put(t, m.here + size * (size_t)i, some(i + seed), some(2 * i + seed + 3));
    m.there.at = m.block = fr__gpu_alloc(s, m.bytes);
    EXPECT(m.block && !fr__gpu_upload(s, m.block, m.here, m.bytes));
    return m;
}

static void free_matrix(fr__gpu_stream *s, matrix *m)
{
    fr__gpu_free(s, m->block, m->bytes);
    free(m->here);
}

static const char *at(const matrix *m, fr_dtype t, int64_t batch, int64_t i, int64_t j)
{
    const fr__gpu_matrix *g = &m->there;
    int64_t place = batch * g->batch + (g->transposed ? j * g->stride + i : i * g->stride + j);
    return m->here + place * fr__dsize(t);
}

/* ---- a product and its check ------------------------------------------------------------- */

static double bound(fr_dtype t, bool tf32)
{
    return t == FR_FLOAT64    ? 1e-12
           : t == FR_FLOAT16  ? 2e-3
           : t == FR_BFLOAT16 ? 1e-2
           : tf32             ? 2e-3
                              : 2e-6;
}

static void wanted(const fr__gpu_product *p, const matrix *a, const matrix *b, const char *bias,
                   const matrix *before, int64_t e, int64_t i, int64_t j, double v[3])
{
    double x[2], y[2];
    fr_dtype t = p->dtype;
    v[0] = v[1] = v[2] = 0;
    for (int64_t l = 0; l < p->k; l++) {
        get(t, at(a, t, e, i, l), x);
        get(t, at(b, t, e, l, j), y);
        v[0] += x[0] * y[0] - x[1] * y[1];
        v[1] += x[0] * y[1] + x[1] * y[0];
        v[2] += fabs(x[0] * y[0]) + fabs(x[1] * y[1]);
    }
    if (p->add) {
        get(t, at(before, t, e, i, j), x);
        v[0] += x[0];
        v[1] += x[1];
    }
    if (bias) {
        get(t, bias + j * fr__dsize(t), x);
        v[0] += x[0];
    }
    if (p->epilogue == FR__GPU_RELU)
        v[0] = fmax(v[0], 0);
    if (p->epilogue == FR__GPU_GELU_TANH)
        v[0] *= 0.5 * (1 + tanh(0.79788456080286536 * (v[0] + 0.044715 * v[0] * v[0] * v[0])));
}

static bool right(const fr__gpu_product *p, const matrix *a, const matrix *b, const char *bias,
                  const matrix *before, const matrix *out)
{
    double v[3], is[2];
    double most = bound(p->dtype, p->tf32);
    for (int64_t e = 0; e < p->batch; e++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                wanted(p, a, b, bias, before, e, i, j, v);
                get(p->dtype, at(out, p->dtype, e, i, j), is);
                double far = fmax(fabs(is[0] - v[0]), fabs(is[1] - v[1]));
                if (!(far <= most * (1 + v[2]))) {
                    printf("     %s [%d, %d, %d, %d] (%d, %d, %d): %g, %g\n",
                           fr__dtypes[p->dtype].name, (int)p->batch, (int)p->m, (int)p->n,
                           (int)p->k, (int)e, (int)i, (int)j, is[0], v[0]);
                    return false;
                }
            }
    return true;
}

typedef struct form {
    fr_dtype dtype;
    int64_t batch, m, n, k, gap;
    bool a_transposed, b_transposed, a_shared, add, tf32, bias;
    fr__gpu_epilogue epilogue;
} form;

static int try_form(fr__gpu_stream *s, const form *f)
{
    fr_dtype t = f->dtype;
    size_t workspace, size = (size_t)fr__dsize(t);
    matrix a = new_matrix(s, t, f->batch, f->m, f->k, f->a_transposed, f->gap, f->a_shared, 1);
    matrix b = new_matrix(s, t, f->batch, f->k, f->n, f->b_transposed, f->gap, false, 2);
    matrix out = new_matrix(s, t, f->batch, f->m, f->n, false, f->gap, false, 3), before = out;
    matrix bias = new_matrix(s, t, 1, 1, f->n, false, 0, false, 4);
    fr__gpu_product p = {.dtype = t,
                         .tf32 = f->tf32,
                         .add = f->add,
                         .epilogue = f->epilogue,
                         .batch = f->batch,
                         .m = f->m,
                         .n = f->n,
                         .k = f->k,
                         .a = a.there,
                         .b = b.there,
                         .out = out.there,
                         .bias = f->bias ? bias.block : NULL};
    out.here = malloc(out.bytes);
    int bad = -1;
    if (fr__gpu_matmul_can(fr__gpu_of(s), &p, &workspace) && !fr__gpu_matmul(s, &p) &&
        !fr__gpu_download(s, out.here, out.block, out.bytes)) {
        EXPECT(right(&p, &a, &b, f->bias ? bias.here : NULL, &before, &out));
        /* Between the rows nothing was touched. */
        for (int64_t i = 0; f->gap && i + 1 < f->m; i++)
            EXPECT(!memcmp(at(&out, t, 0, i, f->n), at(&before, t, 0, i, f->n), size));
        bad = 0;
    }
    free(before.here);
    free_matrix(s, &a);
    free_matrix(s, &b);
    free_matrix(s, &out);
    free_matrix(s, &bias);
    return bad;
}

static const fr_dtype dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_BFLOAT16, FR_FLOAT64,
                                  FR_COMPLEX64};
static const int64_t sizes[][4] = {/* batch, m, n, k */
                                   {1, 1, 1, 1},
                                   {1, 3, 5, 7},
                                   {1, 64, 48, 32},
                                   {3, 17, 40, 9},
                                   {2, 1, 33, 65}};

CHILD(products)
{
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    for (int d = 0; d < FR__COUNT(dtypes); d++)
        for (int i = 0; i < FR__COUNT(sizes); i++)
            for (int how = 0; how < 16; how++) {
                form f = {.dtype = dtypes[d],
                          .batch = sizes[i][0],
                          .m = sizes[i][1],
                          .n = sizes[i][2],
                          .k = sizes[i][3],
                          .a_transposed = how & 1,
                          .b_transposed = how & 2,
                          .gap = how & 4 ? 3 : 0,
                          .add = how & 8,
                          .a_shared = how & 4 && sizes[i][0] > 1};
                if (!EXPECT(!try_form(s, &f)))
                    printf("     %s: size %d, how %d: %s\n", fr__dtypes[f.dtype].name, i, how,
                           fr__error_text());
                fr__error_clear();
            }
    CHECK_EQ(fr__gpu_memory_of(g).active, 0);
}

CHILD(epilogues)
{
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    for (int d = 0; d < 3; d++)
        for (int how = 0; how < 24; how++) {
            form f = {.dtype = dtypes[d], .batch = 1, .m = 64, .n = 40, .k = 24};
            f.epilogue = (fr__gpu_epilogue)(how % 3);
            f.bias = how / 3 & 1;
            f.b_transposed = how / 3 & 2;
            f.tf32 = how / 3 & 4;
            if (!EXPECT(!try_form(s, &f)))
                printf("     %s: how %d: %s\n", fr__dtypes[f.dtype].name, how,
                       fr__error_text());
            fr__error_clear();
        }
}

CHILD(what_it_cannot)
{
    size_t workspace = 5;
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_product p = {.dtype = FR_FLOAT32};
    CHECK(fr__gpu_matmul_can(g, &p, &workspace) && workspace == 0 && !fr__gpu_matmul(s, &p));
    p = (fr__gpu_product){.dtype = FR_INT32, .batch = 1, .m = 1, .n = 1, .k = 1};
    p.a.stride = p.b.stride = p.out.stride = 1;
    CHECK(!fr__gpu_matmul_can(g, &p, &workspace) && fr__error_now == FR__E_NONE);
    CHECK(fr__gpu_matmul(s, &p) && fr__error_now == FR__E_DEVICE && says("no algorithm"));
    fr__error_clear();
    p.dtype = FR_FLOAT32;
    p.k = 2; /* a's rows would overlap */
    CHECK(!fr__gpu_matmul_can(g, &p, &workspace));
    p.k = 0;
    CHECK(!fr__gpu_matmul_can(g, &p, &workspace));
    p.k = 1;
    CHECK(fr__gpu_matmul_can(g, &p, &workspace));
    p.dtype = FR_FLOAT64;
    p.epilogue = FR__GPU_RELU;
    CHECK(!fr__gpu_matmul_can(g, &p, &workspace));
    if (!real) {
        form f = {.dtype = FR_FLOAT32, .batch = 1, .m = 2, .n = 2, .k = 13};
        CHECK(try_form(s, &f) && fr__error_now == FR__E_NONE);
    }
}

CHILD(tf32_is_a_setting)
{
    setenv("FERRULE_TF32", "0", 1);
    CHECK(!fr__gpu_tf32());
    CHECK(!fr__gpu_set_tf32(true) && fr__gpu_tf32());
    CHECK(fr__gpu_set_tf32(false) && !fr__gpu_tf32());
}

CHILD(tf32_is_on) { CHECK(fr__gpu_tf32()); }

CHILD(no_library)
{
    size_t workspace;
    setenv("FERRULE_CUBLASLT", "off", 1);
    fr__gpu *g = start(NULL);
    CHECK(g && !fr__gpu_blas_ready() && strstr(fr__gpu_blas_why(), "switched off"));
    fr__gpu_product p = {.dtype = FR_FLOAT32, .batch = 1, .m = 1, .n = 1, .k = 1};
    CHECK(!fr__gpu_matmul_can(g, &p, &workspace));
    CHECK(fr__gpu_matmul(fr__gpu_stream_get(g, 0), &p) && says("switched off"));
}

STANDIN_CHILD(library_is_missing)
{
    setenv("FERRULE_CUBLASLT", "/nowhere/libcublasLt.so", 1);
    CHECK(start(NULL) && !fr__gpu_blas_ready() && strstr(fr__gpu_blas_why(), "/nowhere/"));
}

STANDIN_CHILD(library_is_another)
{
    setenv("FERRULE_CUBLASLT", "libm.so.6", 1);
    CHECK(start(NULL) && !fr__gpu_blas_ready() &&
          strstr(fr__gpu_blas_why(), "has no cublasLt"));
}

/* A shape is thought about once. */
STANDIN_CHILD(choices_are_cached)
{
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    form f = {.dtype = FR_FLOAT32, .batch = 1, .m = 50, .n = 40, .k = 30};
    CHECK(!try_form(s, &f));
    long before = blas_heuristics(), live = blas_live();
    for (int i = 0; i < 10; i++)
        CHECK(!try_form(s, &f));
    CHECK(blas_heuristics() == before && blas_live() == live);
    for (int i = 0; i < 5000; i++) { /* and some are forgotten */
        size_t workspace;
        fr__gpu_product p = {.dtype = FR_FLOAT32, .batch = 1, .m = 1 + i, .n = 1, .k = 1};
        p.a.stride = p.b.stride = p.out.stride = 1;
        CHECK(fr__gpu_matmul_can(g, &p, &workspace));
    }
    CHECK(blas_live() <= 4 * 4096);
    CHECK(!try_form(s, &f));
}

CHILD(recorded_products)
{
    enum { N = 64 };
    size_t workspace, bytes = sizeof(float) * N * N;
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    matrix a = new_matrix(s, FR_FLOAT32, 1, N, N, false, 0, false, 1);
    matrix b = new_matrix(s, FR_FLOAT32, 1, N, N, true, 0, false, 2);
    matrix out = new_matrix(s, FR_FLOAT32, 1, N, N, false, 0, false, 3);
    fr__gpu_product p = {.dtype = FR_FLOAT32, .batch = 1, .m = N, .n = N, .k = N};
    p.a = a.there, p.b = b.there, p.out = out.there;
    CHECK(fr__gpu_matmul_can(g, &p, &workspace));
    p.workspace = fr__gpu_alloc(s, workspace);
    CHECK(p.workspace && !fr__gpu_record_begin(s) && !fr__gpu_matmul(s, &p));
    fr__gpu_graph *graph = fr__gpu_record_end(s);
    CHECK(graph);
    for (int i = 0; i < 2; i++) {
        CHECK(!fr__gpu_zero(s, out.block, bytes) && !fr__gpu_graph_launch(s, graph, "product"));
        CHECK(!fr__gpu_download(s, out.here, out.block, bytes));
        CHECK(right(&p, &a, &b, NULL, &out, &out));
    }
    fr__gpu_graph_free(graph);
    fr__gpu_free(s, p.workspace, workspace);
    if (!real) {
        p.workspace = NULL;
        CHECK(!fr__gpu_record_begin(s));
        CHECK(fr__gpu_matmul(s, &p) && says("without a workspace"));
        fr__error_clear();
        fr__gpu_graph_free(fr__gpu_record_end(s));
    }
    free_matrix(s, &a);
    free_matrix(s, &b);
    free_matrix(s, &out);
}

/* Whatever fails: an error or none of the library's business, and nothing left. */
STANDIN_CHILD(any_call_of_the_library_fails)
{
    fr__gpu *g = start_blas();
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    for (long n = 1; n < 40; n++) {
        form f = {.dtype = FR_FLOAT32, .batch = 2, .m = 40, .n = 40, .k = 10 + n, .bias = true};
        f.k += f.k >= 13;
        long live = blas_live();
        blas_fail_at(n);
        int bad = try_form(s, &f);
        blas_fail_at(0);
        EXPECT(bad || !fr__failed());
        fr__error_clear();
        EXPECT(blas_live() <= live + 4);
        EXPECT(bad || n > 20);
        EXPECT_EQ(fr__gpu_memory_of(g).active, 0);
    }
}

STANDIN_CHILD(any_allocation_of_a_product_fails)
{
    fr__gpu *g = start_blas();
    CHECK(g);
    for (int64_t n = 1; n < 12; n++) {
        size_t workspace;
        fr__gpu_product p = {.dtype = FR_FLOAT32, .batch = 1, .m = 1, .n = 1, .k = n};
        p.a.stride = p.b.stride = n, p.out.stride = 1;
        fr__fault_set(n);
        bool can = fr__gpu_matmul_can(g, &p, &workspace);
        bool seen = fr__fault_count() >= n;
        fr__fault_set(0);
        EXPECT(can || seen);
        EXPECT(!fr__failed());
    }
}

static void *one_thread(void *ctx)
{
    int k = (int)(intptr_t)ctx;
    fr__gpu_stream *s = fr__gpu_stream_get(fr__gpu_get(0), k);
    for (int i = 0; i < 20; i++) {
        form f = {.dtype = FR_FLOAT32, .batch = 1, .m = 34, .n = 30 + k, .k = 9, .bias = true};
        f.m += i % 3;
        EXPECT(!try_form(s, &f));
    }
    return NULL;
}

CHILD(products_of_threads)
{
    pthread_t thread[3];
    CHECK(start_blas());
    for (int k = 0; k < 3; k++)
        CHECK(!pthread_create(&thread[k], NULL, one_thread, (void *)(intptr_t)k));
    for (int k = 0; k < 3; k++)
        pthread_join(thread[k], NULL);
}

/* ---- how fast (--time) ---------------------------------------------------------------- */

static void time_product(fr__gpu_stream *s, fr_dtype t, bool tf32, int64_t n)
{
    enum { TIMES = 20 };
    size_t bytes = (size_t)fr__dsize(t) * (size_t)(n * n);
    char *at[3];
    for (int i = 0; i < 3; i++) {
        at[i] = fr__gpu_alloc(s, bytes);
        CHECK(at[i] && !fr__gpu_zero(s, at[i], bytes));
    }
    fr__gpu_product p = {.dtype = t, .tf32 = tf32, .batch = 1, .m = n, .n = n, .k = n};
    p.a = (fr__gpu_matrix){at[0], n, 0, false};
    p.b = (fr__gpu_matrix){at[1], n, 0, false};
    p.out = (fr__gpu_matrix){at[2], n, 0, false};
    CHECK(!fr__gpu_matmul(s, &p) && !fr__gpu_synchronize(s));
    fr__gpu_mark *from = fr__gpu_mark_new(s);
    double start = fr__now();
    for (int i = 0; i < TIMES; i++)
        CHECK(!fr__gpu_matmul(s, &p));
    double queued = (fr__now() - start) / TIMES;
    fr__gpu_mark *to = fr__gpu_mark_new(s);
    CHECK(from && to);
    double seconds = fr__gpu_mark_seconds(from, to) / TIMES;
    printf("   %s%s %d: %.3f ms, %.1f TFLOP/s, %.1f us to queue\n", fr__dtypes[t].name,
           tf32 ? " tf32" : "", (int)n, 1e3 * seconds, 2e-12 * pow((double)n, 3) / seconds,
           1e6 * queued);
    fr__gpu_mark_free(from);
    fr__gpu_mark_free(to);
    for (int i = 0; i < 3; i++)
        fr__gpu_free(s, at[i], bytes);
}

CHILD(time)
{
    if (!real || !test_option("time"))
        return;
    double from = fr__now();
    fr__gpu *g = start_blas();
    CHECK(g);
    printf("   the driver, a context and the library: %.0f ms\n", 1e3 * (fr__now() - from));
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    for (int64_t n = 256; n <= 4096; n *= 4) {
        time_product(s, FR_FLOAT32, true, n);
        time_product(s, FR_FLOAT32, false, n);
        time_product(s, FR_BFLOAT16, false, n);
    }
}
