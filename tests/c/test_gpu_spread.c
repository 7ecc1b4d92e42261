/* test_gpu_spread.c - kernels as they are spread over a GPU's threads, beside the CPU
 *
 * Over the stand-in driver, which here runs the code generated for GPUs, compiled for the host
 * (tests/standin/fibers.h): rows of all lengths, columns, tiles, aligned and not, half precision.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"

#include <math.h>
#include <stdlib.h>

/* Before kernels.c looks. */
__attribute__((constructor(101))) static void choose_driver(void)
{
    setenv("FERRULE_CUDA_DRIVER", STANDIN, 1);
    setenv("STANDIN_PTX", "1", 1);
    unsetenv("FERRULE_DEVICE");
}

typedef fr_array *program(fr_array *x);

static fr_array *input(int64_t rows, int64_t columns, int dtype, double from)
{
    int64_t shape[2] = {rows, columns};
    fr_array *x = fr_random_normal(shape, 2, FR_FLOAT32, fr_random_key(3));
    x = fr_add(fr_mul(x, dtype == FR_INT32 || dtype == FR_UINT8 ? 30.0 : 1.0), from);
    return fr_astype(x, (fr_dtype)dtype);
}

/* x as it lies in memory one column, or one row, further on. */
static fr_array *shifted(fr_array *x)
{
    return fr_slice(x, (int64_t[]){0, 1}, (int64_t[]){1, 1},
                    (int64_t[]){fr_shape(x)[0], fr_shape(x)[1] - 1});
}

/* The same program there and here; the kernels that it took there, or -1. */
static int64_t agrees(program *p, fr_array *x, double tolerance)
{
    double far = 0, most = 0;
    if (fr_eval(x))
        return -1;
    fr_array *here = fr_astype(p(x), FR_FLOAT64);
    bool ok = !fr_eval(here);
    fr_stream_set(fr_stream_default(FR_GPU, 0));
    fr_array *there = p(x);
    int64_t before = fr_count(FR_COUNT_KERNELS);
    ok = ok && !fr_eval(there);
    int64_t count = fr_count(FR_COUNT_KERNELS) - before;
    fr_stream_set((fr_stream){0});
    there = fr_astype(there, FR_FLOAT64);
    ok = ok && !fr_item(fr_max(fr_abs(fr_sub(there, here)), NULL), &far) &&
         !fr_item(fr_max(fr_abs(here), NULL), &most);
    if (!ok)
        printf("     %s\n", fr_error_message());
    else if (!(far <= tolerance * most))
        printf("     off by %g of %g: %lld x %lld\n", far, most, (long long)fr_shape(x)[0],
               (long long)fr_shape(x)[1]);
    ok = ok && far <= tolerance * most;
    fr_error_clear();
    return ok ? count : -1;
}

/* That it agrees, in so many kernels (where kernels aren't made small on purpose). */
#ifdef FERRULE_HARD
#define AGREES(kernels, ...) EXPECT(((void)(kernels), agrees(__VA_ARGS__) >= 0))
#else
#define AGREES(kernels, ...) EXPECT_EQ(agrees(__VA_ARGS__), kernels)
#endif

static const int first[] = {0}, second[] = {1};
static const fr_reduce_options rows_kept = {.axes = second, .naxes = 1, .keepdims = true};
static const fr_reduce_options columns_kept = {.axes = first, .naxes = 1, .keepdims = true};

static fr_array *softmax_rows(fr_array *x) { return fr_softmax(x, &rows_kept); }
static fr_array *softmax_columns(fr_array *x) { return fr_softmax(x, &columns_kept); }
static fr_array *sum_rows(fr_array *x) { return fr_sum(x, &rows_kept); }
static fr_array *sum_columns(fr_array *x) { return fr_sum(x, &columns_kept); }
static fr_array *max_columns(fr_array *x) { return fr_max(x, &columns_kept); }
static fr_array *sum_all(fr_array *x) { return fr_sum(x, NULL); }
static fr_array *variance_columns(fr_array *x) { return fr_var(x, &columns_kept); }
static fr_array *logsumexp_columns(fr_array *x) { return fr_logsumexp(x, &columns_kept); }
static fr_array *norm_rows(fr_array *x)
{
    fr_array *centred = fr_sub(x, fr_mean(x, &rows_kept));
    return fr_mul(centred, fr_rsqrt(fr_add(fr_var(x, &rows_kept), 1e-5)));
}
static fr_array *turned(fr_array *x)
{
    fr_array *t = fr_transpose(x, NULL, 0);
    return fr_add(fr_mul(fr_reshape(x, fr_shape(t), 2), 2.0), t);
}
static fr_array *outer(fr_array *x) { return fr_mul(x, fr_sum(x, &columns_kept)); }
static fr_array *elementwise(fr_array *x) { return fr_add(fr_mul(x, x), 3.0); }

static int32_t taken_at; /* by the three below */
static fr_array *place(void) { return fr_from_data(&taken_at, FR_INT32, NULL, 0); }
static fr_array *take_row(fr_array *x) { return fr_take(x, place(), 0); }
static fr_array *take_column(fr_array *x) { return fr_add(fr_take(x, place(), 1), 1.0); }
static fr_array *take_from_all(fr_array *x)
{
    int32_t at[5] = {-1, 0, taken_at, -2, 1};
    return fr_mul(fr_take(x, fr_from_data(at, FR_INT32, (int64_t[]){5}, 1), 0), 2.0);
}

/* Places, counted from the end where they are negative, that all threads read and that each does. */
TEST(taken)
{
    static program *const programs[] = {take_row, take_column, take_from_all};
    static const int64_t sizes[][2] = {{2, 2}, {3, 2}, {5, 7}, {40, 64}, {7, 1000}, {300, 9}};
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
        for (int p = 0; p < 3; p++)
            for (taken_at = -2; taken_at < 2; taken_at++) {
                fr_scope *scope = fr_scope_open();
                EXPECT_EQ(
                    agrees(programs[p], input(sizes[i][0], sizes[i][1], FR_FLOAT32, 0), 0), 1);
                AGREES(1, programs[p], input(sizes[i][0], sizes[i][1], FR_INT32, 0), 0);
                fr_scope_close(scope);
            }
}

/* From a few threads a row to more than a block has. */
TEST(rows)
{
    static const int64_t lengths[] = {1,   2,   3,   7,    8,    10,   31,   32,   64,  100,
                                      127, 128, 256, 1000, 1024, 4096, 4099, 8192, 9000};
    static program *const programs[] = {softmax_rows, sum_rows, norm_rows};
    for (int i = 0; i < (int)(sizeof lengths / sizeof *lengths); i++)
        for (int p = 0; p < 3; p++) {
            fr_scope *scope = fr_scope_open();
            int64_t n = lengths[i], rows = n > 2000 ? 3 : n > 200 ? 9 : 71;
            fr_array *x = input(rows, n, FR_FLOAT32, 0.5);
            AGREES(n > 1 || p != 1, programs[p], x, 2e-6);
            if (n > 2)
                AGREES(1, programs[p], shifted(x), 2e-6);
            fr_scope_close(scope);
        }
}

TEST(rows_of_other_dtypes)
{
    static const int dtypes[] = {FR_FLOAT16, FR_BFLOAT16, FR_FLOAT64, FR_INT32, FR_UINT8};
    static const int64_t lengths[] = {5, 64, 520, 4096};
    for (int d = 0; d < 5; d++)
        for (int i = 0; i < 4; i++) {
            fr_scope *scope = fr_scope_open();
            double tolerance =
                dtypes[d] == FR_FLOAT16 || dtypes[d] == FR_BFLOAT16 ? 1e-2 : 2e-6;
            fr_array *x = input(19, lengths[i], dtypes[d], 1);
            AGREES(1, sum_rows, x, tolerance);
            AGREES(1, elementwise, x, tolerance);
            AGREES(1, sum_columns, x, tolerance);
            if (d < 3)
                AGREES(1, softmax_rows, x, tolerance);
            fr_scope_close(scope);
        }
}

/* Few rows in one kernel; many cut into pieces, and their sums added up by a second one. */
TEST(columns)
{
    static const int64_t shapes[][2] = {{2, 64},   {7, 128},  {33, 1},  {64, 64},  {65, 300},
                                        {130, 12}, {500, 40}, {600, 7}, {20, 1001}};
    static program *const programs[] = {sum_columns,     max_columns, variance_columns,
                                        softmax_columns, outer,       logsumexp_columns};
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++)
        for (int p = 0; p < 6; p++) {
            fr_scope *scope = fr_scope_open();
            fr_array *x = input(shapes[i][0], shapes[i][1], FR_FLOAT32, 2);
            EXPECT(agrees(programs[p], x, 4e-6) > 0);
            EXPECT(agrees(programs[p], fr_contiguous(x), 4e-6) > 0);
            if (shapes[i][1] > 1)
                EXPECT(agrees(programs[p], shifted(x), 4e-6) > 0);
            fr_scope_close(scope);
        }
}

#ifndef FERRULE_HARD
TEST(columns_in_pieces)
{
    fr_scope *scope = fr_scope_open();
    fr_array *x = input(1100, 128, FR_FLOAT32, 100);
    AGREES(2, sum_columns, x, 1e-6);
    AGREES(2, max_columns, x, 0);
    /* Each piece knows its mean and squares; the second kernel puts both together. */
    AGREES(2, variance_columns, x, 3e-6);
    AGREES(2, logsumexp_columns, x, 1e-6);
    AGREES(1, sum_columns, input(500, 128, FR_FLOAT32, 1), 1e-6);
    fr_scope_close(scope);
}
#endif

TEST(all_of_it)
{
    fr_scope *scope = fr_scope_open();
    EXPECT(agrees(sum_all, input(3, 5, FR_FLOAT32, 1), 1e-6) > 0);
    EXPECT(agrees(sum_all, input(170, 1000, FR_FLOAT32, 1), 1e-6) > 0);
    EXPECT(agrees(sum_all, shifted(input(170, 1001, FR_FLOAT32, 1)), 1e-6) > 0);
    fr_scope_close(scope);
}

TEST(tiles)
{
    static const int64_t shapes[][2] = {{1, 1},   {1, 5},    {3, 4},    {64, 32},
                                        {100, 9}, {33, 260}, {5, 4097}, {128, 128}};
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        fr_scope *scope = fr_scope_open();
        fr_array *x = input(shapes[i][0], shapes[i][1], FR_FLOAT32, 0);
        AGREES(1, elementwise, x, 0);
        EXPECT(agrees(turned, x, 0) > 0);
        if (shapes[i][1] > 1)
            AGREES(1, elementwise, shifted(x), 0);
        fr_scope_close(scope);
    }
}

/* Bit patterns, where they are no numbers 1. */
static fr_array *bits_of(fr_array *x)
{
    return fr_where(fr_ne(x, x), fr_full(NULL, 0, 1, FR_UINT32), fr_view_as(x, FR_UINT32));
}

static double divisor;
static fr_array *divided(fr_array *x) { return bits_of(fr_div(x, divisor)); }
static fr_array *divided_by_rows(fr_array *x)
{
    return bits_of(fr_div(x, fr_max(fr_where(fr_gt(x, 0), x, 1.0), &rows_kept)));
}

/* Floats of all kinds divided by one number: to the last bit what a division gives. */
TEST(divided)
{
    static const double by[] = {
        3.7,          1.4142135,      0.1,      -2.5,     0x1p-20,  0x1.000002p-32,
        0x1.8p-33,    0x1.fffffcp+31, 0x1.8p32, 1e-42,    3e38,     0x1.fffffep0,
        0x1.fffffcp0, 0x1.000002p0,   0.0,      INFINITY, -INFINITY};
    const int64_t all[2] = {70, 1030};
    fr_scope *scope = fr_scope_open();
    fr_array *x = fr_view_as(fr_random_bits(all, 2, fr_random_key(5)), FR_FLOAT32);
    /* Random bits are in range nearly always or nearly never: some, too, that are so thread by thread. */
    fr_array *near = fr_mul(fr_random_normal(all, 2, FR_FLOAT32, fr_random_key(6)), 0x1p-63);
    fr_array *zeros = fr_mul(fr_floor(fr_mul(near, 0x1p63)), -1.0);
    for (int i = 0; i < (int)(sizeof by / sizeof *by); i++) {
        divisor = by[i];
        EXPECT(agrees(divided, x, 0) > 0);
        EXPECT(agrees(divided, shifted(near), 0) > 0);
        EXPECT(agrees(divided, zeros, 0) > 0);
    }
    EXPECT(agrees(divided_by_rows, x, 0) > 0);
    EXPECT(agrees(divided_by_rows, near, 0) > 0);
    EXPECT(agrees(divided_by_rows, zeros, 0) > 0);
    fr_scope_close(scope);
}
