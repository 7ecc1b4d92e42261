/* test_gpu_routines.c - routines with code of their own for GPUs against those of the host
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is; else over the stand-in driver, which runs the same
 * C compiled for the host, on smaller arrays. Floats are chosen so that sums and products are exact in
 * any order: results are the same ones.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "gpu_choice.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static fr_stream gpu(void) { return fr_stream_default(FR_GPU, 0); }

/* ---- arrays ------------------------------------------------------------------------- */

static uint64_t rnd(void) { return next_random(); }

typedef enum { SMALL, POWERS, SIGNS, ANY } values;

static double number(values of)
{
    static const double powers[] = {1, -1, 2, 0.5};
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0};
    if (of == POWERS)
        return powers[rnd() % 4];
    if (of == SIGNS) /* products of a million */
        return powers[rnd() % 2];
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
            float v = (float)number(of),
                  w = of == POWERS || of == SIGNS ? 0 : (float)number(of);
            v +=
                0.0F; /* signs of zeros count in the order of complex numbers, somewhat differently */
            w += 0.0F;
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
    int parts = dtype == FR_COMPLEX64 ? 2 : 1;
    for (size_t i = 0; good && dtype >= FR_FLOAT16 && i < n * (size_t)parts;
         i += (size_t)parts) {
        double u[2] = {0}, v[2] = {0};
        for (int k = 0; k < parts; k++) {
            u[k] = parts == 2 ? (double)((float *)(void *)p)[i + (size_t)k]
                              : ((double *)(void *)p)[i];
            v[k] = parts == 2 ? (double)((float *)(void *)q)[i + (size_t)k]
                              : ((double *)(void *)q)[i];
        }
        bool nan = isnan(u[0]) || isnan(u[1]);
        good = nan == (isnan(v[0]) || isnan(v[1]));
        for (int k = 0; k < parts && good && !nan; k++)
            good = u[k] == v[k] || fabs(u[k] - v[k]) <= tolerance * (1 + fabs(u[k]));
        if (!good)
            printf("element %zu: %.17g %.17g, not %.17g %.17g\n", i / (size_t)parts, v[0], v[1],
                   u[0], u[1]);
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
    long before = count_calls("cuMemcpyDtoHAsync_v2");
    fr_array *there = f(ctx, x);
    bool good = there && !fr_eval(there);
    long after = count_calls("cuMemcpyDtoHAsync_v2");
    fr_stream_set((fr_stream){0});
    if (!good)
        printf("error: %s\n", fr_error_message());
    fr_error_clear();
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

enum {
    NSHAPES = (int)(sizeof shapes / sizeof *shapes),
    NLARGE = (int)(sizeof large / sizeof *large)
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
                values of = kind == 0   ? SMALL
                            : kind == 1 ? (shape == large ? SIGNS : POWERS)
                                        : ANY;
                int layout = all ? (i + dtype + kind) % LAYOUTS : 0, options = (int)rnd() & 3;
                fr_scope *s = fr_scope_open();
                fr_array *x = laid_out((fr_dtype)dtype, of, shape[i], layout);
                fr_eval(x);
                scan_case c = {kind, {&axis, options & 1, options >> 1}};
                double tolerance = kind < 4               ? 0
                                   : dtype == FR_FLOAT64  ? 1e-11
                                   : dtype == FR_FLOAT16  ? 2e-3
                                   : dtype == FR_BFLOAT16 ? 2e-2
                                                          : 1e-4;
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
        try_scans(shapes, NSHAPES, true);
}

TEST(scans_of_large_arrays)
{
    if (real)
        try_scans(large, NLARGE, true);
}

/* ---- sorting and searching ------------------------------------------------------------ */

static fr_array *sorted(void *ctx, fr_array *x)
{
    return *(bool *)ctx ? fr_argsort(x, 1) : fr_sort(x, 1);
}

/* What is less, the same and greater may be in any order: those are put in order. */
static fr_array *largest(void *ctx, fr_array *x)
{
    return fr_sort(fr_topk(x, *(int *)ctx, 1), 1);
}

static fr_array *middle(void *ctx, fr_array *x)
{
    (void)ctx;
    int64_t n = x->dims[1];
    return fr_slice(fr_partition(x, n / 2, 1), (int64_t[]){0, n / 2, 0}, (int64_t[]){1, 1, 1},
                    (int64_t[]){x->dims[0], 1, x->dims[2]});
}

static fr_array *median(void *ctx, fr_array *x)
{
    (void)ctx;
    return fr_median(x, &(fr_reduce_options){.axes = (int[]){1}, .naxes = 1});
}

static void try_sorts(const int64_t (*shape)[3], int nshapes)
{
    for (int i = 0; i < nshapes; i++)
        for (int dtype = 0; dtype < FR_DTYPE_COUNT; dtype++) {
            fr_scope *s = fr_scope_open();
            int layout = (i + dtype) % LAYOUTS, k = (int)(shape[i][1] / 3);
            fr_array *x = laid_out((fr_dtype)dtype, dtype % 2 ? ANY : SMALL, shape[i], layout);
            fr_eval(x);
            bool both[] = {false, true}, good = shape[i][0] == 0;
            good = EXPECT(agrees(sorted, &both[0], x, 0)) &&
                   EXPECT(agrees(sorted, &both[1], x, 0));
            if (shape[i][0])
                good = EXPECT(agrees(largest, &k, x, 0)) &&
                       EXPECT(agrees(middle, NULL, x, 0)) &&
                       EXPECT(agrees(median, NULL, x, 0)) && good;
            if (!good)
                printf("  sort of %s [%d, %d, %d], layout %d\n", fr_dtype_name((fr_dtype)dtype),
                       (int)shape[i][0], (int)shape[i][1], (int)shape[i][2], layout);
            fr_scope_close(s);
        }
}

TEST(sorts) { try_sorts(shapes, NSHAPES); }

TEST(sorts_of_large_arrays)
{
    if (real)
        try_sorts(large, NLARGE);
}

static fr_array *search(void *ctx, fr_array *x)
{
    fr_array *values = ((fr_array **)ctx)[0];
    bool right = ((fr_array **)ctx)[1] != NULL;
    return fr_searchsorted(x, values, right);
}

TEST(searches)
{
    for (int dtype = 0; dtype < FR_DTYPE_COUNT; dtype++)
        for (int n = 1; n < 1000; n = 3 * n + 1) {
            fr_scope *s = fr_scope_open();
            fr_array *x = fr_sort(made((fr_dtype)dtype, ANY, (int64_t[]){n}, 1), 0);
            fr_array *v = made((fr_dtype)dtype, ANY, (int64_t[]){30, 7}, 2);
            v = fr_transpose(v, (int[]){1, 0}, 2);
            fr_eval(x);
            EXPECT(agrees(search, (fr_array *[]){v, NULL}, x, 0));
            EXPECT(agrees(search, (fr_array *[]){v, v}, x, 0));
            fr_scope_close(s);
        }
}

/* ---- scatters --------------------------------------------------------------------------- */

typedef struct {
    fr_array *indices, *updates;
    fr_scatter_mode mode;
    bool along; /* an index for each update */
} scatter_case;

static fr_array *scattered(void *ctx, fr_array *x)
{
    const scatter_case *c = ctx;
    if (c->along)
        return fr_put_along_axis(x, c->indices, c->updates, 1, c->mode);
    return fr_scatter(x, 1, &c->indices, &(int){1}, c->updates, c->mode);
}

/* Indices of which many come again, some from the end. */
static fr_array *some_indices(fr_dtype dtype, int64_t n, const int64_t *shape, int ndim)
{
    int64_t all = 1;
    for (int i = 0; i < ndim; i++)
        all *= shape[i];
    int64_t *at = malloc(sizeof *at * (size_t)(all + 1));
    for (int64_t i = 0; i < all; i++)
        at[i] = (int64_t)(rnd() % (uint64_t)(2 * n)) - n;
    fr_array *y = fr_astype(fr_from_data(at, FR_INT64, shape, ndim), dtype);
    fr_eval(y);
    free(at);
    return y;
}

static void try_scatters(int64_t outer, int64_t n, int64_t inner, int64_t k)
{
    for (int dtype = 0; dtype < FR_DTYPE_COUNT; dtype++)
        for (int mode = 0; mode <= FR_SCATTER_MAX; mode++) {
            if ((dtype == FR_BOOL && mode == FR_SCATTER_DIV) ||
                (dtype == FR_COMPLEX64 && mode >= FR_SCATTER_MIN))
                continue;
            fr_scope *s = fr_scope_open();
            bool along = (dtype + mode) % 2;
            int64_t shape[3] = {outer, n, inner}, u[3] = {outer, k, inner};
            fr_array *x = laid_out((fr_dtype)dtype, ANY, shape, mode % LAYOUTS);
            fr_array *updates = made((fr_dtype)dtype, ANY, u, 3);
            fr_array *at =
                some_indices(dtype % 3 ? FR_INT32 : FR_INT64, n, along ? u : &k, along ? 3 : 1);
            if (!along) /* [k, outer, inner] */
                updates = fr_transpose(updates, (int[]){1, 0, 2}, 3);
            fr_eval(x);
            fr_eval(updates);
            scatter_case c = {at, updates, (fr_scatter_mode)mode, along};
            if (!EXPECT(agrees(scattered, &c, x, 0)))
                printf("  scatter of %s, mode %d, [%d, %d, %d], %d, along %d\n",
                       fr_dtype_name((fr_dtype)dtype), mode, (int)outer, (int)n, (int)inner,
                       (int)k, along);
            fr_scope_close(s);
        }
}

TEST(scatters)
{
    try_scatters(1, 10, 1, 7);
    try_scatters(3, 40, 5, 50);
    try_scatters(2, 300, 3, 200);
}

TEST(scatters_of_large_arrays)
{
    if (!real)
        return;
    try_scatters(1, 1000, 1, 100000);
    try_scatters(3, 70000, 2, 5000);
    try_scatters(2, 129, 65, 3000);
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
    static const struct {
        const char *what;
        int64_t shape[3];
    } sorts[] = {{"sort, argsort f32 [1, 16M, 1]", {1, 1 << 24, 1}},
                 {"sort, argsort f32 [8192, 2048, 1]", {8192, 2048, 1}},
                 {"sort, argsort f32 [262144, 64, 1]", {1 << 18, 64, 1}}};
    for (int i = 0; i < (int)(sizeof sorts / sizeof *sorts); i++)
        for (int indices = 0; indices < 2; indices++) {
            fr_scope *s = fr_scope_open();
            fr_stream_set(gpu());
            fr_array *x = fr_random_uniform(sorts[i].shape, 3, FR_FLOAT32, NULL);
            fr_eval(x);
            bool given = indices;
            tell_time(sorts[i].what, sorted, &given, x, 8.0 * (1 << 24));
            fr_scope_close(s);
        }
}
