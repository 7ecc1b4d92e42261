/* test_gpu_routines.c - routines with code of their own for GPUs against those of the host
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is; else over the stand-in driver, which runs the same
 * C compiled for the host, on smaller arrays. Floats are chosen so that sums and products are exact in
 * any order: results are the same ones.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "../standin/standin.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static bool real; /* a GPU */
static long (*count)(const char *name);

/* Before kernels.c looks. */
__attribute__((constructor(101))) static void choose_driver(void)
{
    const char *wanted = getenv("FERRULE_TEST_GPU");
    unsetenv("FERRULE_DEVICE");
    real = wanted && !strcmp(wanted, "1");
    if (real)
        return;
    setenv("FERRULE_CUDA_DRIVER", STANDIN, 1);
    void *library = dlopen(STANDIN, RTLD_NOW), *symbol = dlsym(library, "standin_count");
    memcpy(&count, &symbol, sizeof symbol);
}

static fr_stream gpu(void) { return fr_stream_default(FR_GPU, 0); }

/* ---- arrays ------------------------------------------------------------------------- */

static uint64_t state = 88172645463325252u;
static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 8;
}

typedef enum { SMALL, POWERS, ANY } values;

static double number(values of)
{
    static const double powers[] = {1, -1, 2, 0.5};
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0};
    if (of == POWERS)
        return powers[rnd() % 4];
    if (of == ANY && rnd() % 97 == 0)
        return odd[rnd() % 4];
    return (double)(rnd() % 7) - 3;
}

static fr_array *made(fr_dtype dtype, values of, const int64_t *shape, int ndim)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    size_t size = fr_dtype_size(dtype);
    char *bytes = malloc((size_t)n * 8 + 8);
    fr_array *x;
    if (dtype < FR_FLOAT16) {
        for (int64_t i = 0; i < n; i++) {
            uint64_t v = dtype == FR_BOOL ? rnd() % 2 : rnd() * 77777;
            if (of == SMALL)
                v = rnd() % 2;
            memcpy(bytes + i * (int64_t)size, &v, size);
        }
        x = fr_from_data(bytes, dtype, shape, ndim);
    } else if (dtype == FR_COMPLEX64) {
        for (int64_t i = 0; i < n; i++) {
            bool real_one = rnd() % 2;
            float v = (float)number(of), w = of == POWERS ? 0 : (float)number(of);
            memcpy(bytes + 8 * i, real_one ? &v : &w, 4);
            memcpy(bytes + 8 * i + 4, real_one ? &w : &v, 4);
        }
        x = fr_from_data(bytes, dtype, shape, ndim);
    } else {
        for (int64_t i = 0; i < n; i++)
            ((double *)(void *)bytes)[i] = number(of);
        x = fr_astype(fr_from_data(bytes, FR_FLOAT64, shape, ndim), dtype);
    }
    free(bytes);
    fr_eval(x);
    return x;
}

/* Element by element; NaN is NaN. tolerance 0: the same. */
static bool same(fr_array *a, fr_array *b, double tolerance)
{
    fr_dtype dtype = fr_dtype_of(a);
    size_t n = (size_t)fr_size(a), bytes = n * fr_dtype_size(dtype);
    char *p = malloc(bytes * 8 + 8), *q = malloc(bytes * 8 + 8);
    bool good = fr_size(b) == fr_size(a) && fr_dtype_of(b) == dtype;
    if (good && (dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 || dtype == FR_FLOAT32)) {
        a = fr_astype(a, FR_FLOAT64);
        b = fr_astype(b, FR_FLOAT64);
        dtype = FR_FLOAT64;
        bytes = n * 8;
    }
    good = good && !fr_copy_out(a, p, bytes) && !fr_copy_out(b, q, bytes);
    if (!good)
        printf("error: %s\n", fr_error_message() ? fr_error_message() : "");
    if (good && dtype < FR_FLOAT16)
        good = !memcmp(p, q, bytes);
    bool complex = dtype == FR_COMPLEX64;
    for (size_t i = 0; good && dtype >= FR_FLOAT16 && i < n * (complex ? 2 : 1); i++) {
        double u = complex ? (double)((float *)(void *)p)[i] : ((double *)(void *)p)[i];
        double v = complex ? (double)((float *)(void *)q)[i] : ((double *)(void *)q)[i];
        good = u == v || (isnan(u) && isnan(v)) || fabs(u - v) <= tolerance * (1 + fabs(u));
        if (!good)
            printf("element %zu: %.17g, not %.17g\n", i, v, u);
    }
    free(p);
    free(q);
    return good;
}

typedef fr_array *make(void *ctx, fr_array *x);

/* What the GPU makes of x is what the CPU makes of it, and no routine of the host did it. */
static bool agrees(make *f, void *ctx, fr_array *x, double tolerance)
{
    fr_scope *s = fr_scope_open();
    fr_array *here = f(ctx, x);
    fr_eval(here);
    fr_stream_set(gpu());
    long before = count ? count("cuMemcpyDtoHAsync_v2") : 0;
    fr_array *there = f(ctx, x);
    bool good = there && !fr_eval(there);
    long after = count ? count("cuMemcpyDtoHAsync_v2") : 0;
    fr_stream_set((fr_stream){0});
    if (!good)
        printf("error: %s\n", fr_error_message());
    if (good && after != before)
        printf("something came to the host\n");
    good = good && after == before && same(here, there, tolerance);
    fr_scope_close(s);
    return good;
}

static const int64_t shapes[][3] = {
    {1, 1, 1},   {3, 5, 1},   {40, 16, 1},  {2, 17, 3},   {3, 33, 1}, {2, 300, 1},
    {1, 700, 9}, {2, 70, 40}, {1, 5000, 1}, {1, 4099, 2}, {0, 4, 2},
};
static const int64_t large[][3] = {
    {1, 1000003, 1}, {3, 100003, 1}, {70000, 33, 1}, {100001, 7, 1},
    {2, 3001, 129},  {1, 200003, 8}, {513, 2049, 1},
};

/* Layouts of the array: as it is, axes turned round, every other one from behind, repeated. */
enum { LAYOUTS = 4 };
static fr_array *laid_out(fr_dtype dtype, values of, const int64_t *shape, int layout)
{
    int64_t other[3] = {shape[2], shape[1], shape[0]};
    if (layout == 1)
        return fr_transpose(made(dtype, of, other, 3), (int[]){2, 1, 0}, 3);
    if (layout == 2 && shape[0]) {
        int64_t wide[3] = {shape[0], 2 * shape[1], shape[2]};
        return fr_slice(made(dtype, of, wide, 3),
                        (int64_t[]){shape[0] - 1, 2 * shape[1] - 1, 0}, (int64_t[]){-1, -2, 1},
                        shape);
    }
    if (layout == 3) {
        int64_t one[3] = {1, shape[1], 1};
        return fr_broadcast_to(made(dtype, of, one, 3), shape, 3);
    }
    return made(dtype, of, shape, 3);
}

/* ---- scans ------------------------------------------------------------------------------ */

typedef struct {
    int kind;
    fr_scan_options o;
} scan_case;

static fr_array *scan(void *ctx, fr_array *x)
{
    static fr_array *(*const kinds[])(fr_array *, const fr_scan_options *) = {
        fr_cumsum, fr_cumprod, fr_cummax, fr_cummin, fr_logcumsumexp};
    const scan_case *c = ctx;
    return kinds[c->kind](x, &c->o);
}

static void try_scans(const int64_t (*shape)[3], int nshapes, bool all)
{
    static const int axis = 1;
    for (int i = 0; i < nshapes; i++)
        for (int dtype = 0; dtype < FR_DTYPE_COUNT; dtype++)
            for (int kind = 0; kind < 5; kind++) {
                if (kind == 4 && dtype == FR_COMPLEX64)
                    continue; /* the host's */
                values of = kind == 0 ? SMALL : kind == 1 ? POWERS : ANY;
                int layout = all ? (i + dtype + kind) % LAYOUTS : 0, options = (int)rnd() & 3;
                fr_scope *s = fr_scope_open();
                fr_array *x = laid_out((fr_dtype)dtype, of, shape[i], layout);
                fr_eval(x);
                scan_case c = {kind, {&axis, options & 1, options >> 1}};
                double tolerance = kind < 4               ? 0
                                   : dtype == FR_FLOAT64  ? 1e-12
                                   : dtype == FR_FLOAT16  ? 2e-3
                                   : dtype == FR_BFLOAT16 ? 2e-2
                                                          : 1e-5;
                if (!EXPECT(agrees(scan, &c, x, tolerance)))
                    printf("  kind %d, dtype %s, [%d, %d, %d], layout %d, options %d\n", kind,
                           fr_dtype_name((fr_dtype)dtype), (int)shape[i][0], (int)shape[i][1],
                           (int)shape[i][2], layout, options);
                fr_scope_close(s);
            }
}

TEST(scans)
{
    for (int k = 0; k < (real ? 4 : 1); k++)
        try_scans(shapes, (int)(sizeof shapes / sizeof *shapes), true);
}

TEST(scans_of_large_arrays)
{
    if (real)
        try_scans(large, (int)(sizeof large / sizeof *large), true);
}

/* ---- time: only told, with --time ---------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell_time(const char *what, make *f, void *ctx, fr_array *x, double bytes)
{
    double best = 1e9;
    fr_stream_set(gpu());
    for (int k = 0; k < 6; k++) {
        fr_scope *s = fr_scope_open();
        fr_array *y = f(ctx, x);
        double start = now();
        fr_eval(y);
        fr_synchronize(gpu());
        double took = now() - start;
        best = took < best ? took : best;
        fr_scope_close(s);
    }
    fr_stream_set((fr_stream){0});
    printf("  %-40s %9.3f ms, %7.1f GB/s\n", what, best * 1e3, bytes / best * 1e-9);
}

static fr_array *copied(void *ctx, fr_array *x)
{
    (void)ctx;
    return fr_add(x, 1.0);
}

TEST(times)
{
    static const struct {
        const char *what;
        int64_t shape[3];
    } scans[] = {{"cumsum f32 [1, 64M, 1]", {1, 1 << 26, 1}},
                 {"cumsum f32 [8192, 8192, 1]", {8192, 8192, 1}},
                 {"cumsum f32 [1M, 64, 1]", {1 << 20, 64, 1}},
                 {"cumsum f32 [4M, 16, 1]", {1 << 22, 16, 1}},
                 {"cumsum f32 [1, 8192, 8192]", {1, 8192, 8192}},
                 {"cumsum f32 [1, 1M, 64]", {1, 1 << 20, 64}}};
    static const int axis = 1;
    if (!real || !test_option("time"))
        return;
    for (int i = 0; i < (int)(sizeof scans / sizeof *scans); i++) {
        fr_scope *s = fr_scope_open();
        fr_stream_set(gpu());
        fr_array *x = fr_ones(scans[i].shape, 3, FR_FLOAT32);
        fr_eval(x);
        scan_case c = {0, {&axis, false, false}};
        if (!i)
            tell_time("x + 1 f32 64M", copied, NULL, x, 8.0 * (1 << 26));
        tell_time(scans[i].what, scan, &c, x, 8.0 * (1 << 26));
        fr_scope_close(s);
    }
}
