/* test_sort.c - scans, sorting, selecting, searching: against plain C, over dtypes, lengths, layouts
 * and numbers of threads
 */
#include "values.h"

#include "base/pool.h"
#include "core/scope.h"
#include "native/gemm.h"
#include "run/plan.h"

enum { FIRST = 1, LAST = 70, ROOM = 300000 };

static const int threads[] = {1, 2, 3, 16};

/* rows x n numbers in memory by a layout: 0 contiguous, 1 transposed, 2 every second element, 3
 * backwards. plain: the same, contiguous. */
static fr_array *arranged(int dtype, int64_t rows, int64_t n, int layout, char *plain)
{
    int64_t size = fr__dsize(dtype);
    for (int64_t i = 0; i < rows * n; i++) {
        number v = any_number(dtype);
        if (below(3) == 0) { /* equal ones */
            v.f = (double)below(5) - 2;
            v.i = below(3);
        }
        write_number(plain + i * size, dtype, v);
    }
    int64_t shape[2] = {rows, n};
    fr_array *x = fr_from_data(plain, (fr_dtype)dtype, shape, 2), *y = x;
    if (layout == 1) {
        fr_array *t = fr_contiguous(fr_transpose(x, NULL, 0));
        EXPECT_EQ(fr_eval(t), 0);
        y = fr_transpose(t, NULL, 0);
    } else if (layout == 2) {
        fr_array *wide = fr_zeros((int64_t[]){rows, 2 * n}, 2, (fr_dtype)dtype);
        wide = fr_slice_update(wide, x, (int64_t[]){0, 0}, (int64_t[]){1, 2}, shape);
        EXPECT_EQ(fr_eval(wide), 0);
        y = fr_slice(wide, (int64_t[]){0, 0}, (int64_t[]){1, 2}, shape);
    } else if (layout == 3 && n) {
        fr_array *back = fr_slice(x, (int64_t[]){0, n - 1}, (int64_t[]){1, -1}, shape);
        back = fr_contiguous(back);
        EXPECT_EQ(fr_eval(back), 0);
        y = fr_slice(back, (int64_t[]){0, n - 1}, (int64_t[]){1, -1}, shape);
    }
    return y;
}

/* As users order: NaN last, zeros equal. */
static int order(const char *a, const char *b, int dtype)
{
    number x = read_number(a, dtype), y = read_number(b, dtype);
    if (!fr__is_float(dtype))
        return (x.i > y.i) - (x.i < y.i);
    if (x.f != x.f || y.f != y.f)
        return (x.f != x.f) - (y.f != y.f);
    return (x.f > y.f) - (x.f < y.f);
}

typedef struct {
    const char *row;
    int dtype;
} context;

static int by_value(const void *a, const void *b, void *of)
{
    const context *c = of;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int size = fr__dsize(c->dtype), way = order(c->row + i * size, c->row + j * size, c->dtype);
    return way ? way : (i > j) - (i < j);
}

static char plain[ROOM * 8], got[ROOM * 8], again[ROOM * 8];
static uint32_t want[ROOM], indices[ROOM];

static int check_sort(int dtype, int64_t rows, int64_t n, int layout)
{
    int size = fr__dsize(dtype);
    fr_scope *s = fr_scope_open();
    fr_array *x = arranged(dtype, rows, n, layout, plain);
    fr_array *values = fr_sort(x, -1), *order_of = fr_argsort(x, -1);
    int64_t kth = n / 3;
    fr_array *parts = fr_partition(x, kth, 1), *part_indices = fr_argpartition(x, kth - n, 1);
    EXPECT_EQ(fr_copy_out(values, got, (size_t)(rows * n * size)), 0);
    EXPECT_EQ(fr_copy_out(order_of, indices, (size_t)(rows * n * 4)), 0);
    for (int64_t r = 0; r < rows; r++) {
        context c = {plain + r * n * size, dtype};
        for (int64_t i = 0; i < n; i++)
            want[r * n + i] = (uint32_t)i;
        qsort_r(want + r * n, (size_t)n, sizeof *want, by_value, &c);
        for (int64_t i = 0; i < n; i++)
            EXPECT_EQ(order(got + (r * n + i) * size, c.row + want[r * n + i] * size, dtype),
                      0);
    }
    EXPECT_EQ(memcmp(indices, want, (size_t)(rows * n * 4)), 0);
    EXPECT_EQ(fr_copy_out(parts, got, (size_t)(rows * n * size)), 0);
    EXPECT_EQ(fr_copy_out(part_indices, indices, (size_t)(rows * n * 4)), 0);
    for (int64_t r = 0; r < rows; r++) {
        const char *row = got + r * n * size, *from = plain + r * n * size;
        uint64_t sum = 0;
        for (int64_t i = 0; i < n; i++) {
            int way = order(row + i * size, row + kth * size, dtype);
            EXPECT(i < kth ? way <= 0 : way >= 0);
            EXPECT(indices[r * n + i] < n);
            EXPECT_EQ(order(row + i * size, from + indices[r * n + i] * size, dtype), 0);
            sum += indices[r * n + i];
        }
        EXPECT_EQ(sum, (uint64_t)(n * (n - 1) / 2)); /* each of them */
        EXPECT_EQ(order(row + kth * size, from + want[r * n + kth] * size, dtype), 0);
    }
    fr_scope_close(s);
    if (test_failures)
        printf("     dtype %s rows %lld n %lld layout %d threads %d\n", fr__dtypes[dtype].name,
               (long long)rows, (long long)n, layout, fr_threads());
    return test_failures;
}

TEST(sorts_every_dtype_and_length)
{
    for (int dtype = 0; dtype < DTYPES; dtype++)
        for (int64_t n = FIRST; n <= LAST; n++)
            if (check_sort(dtype, n % 5 ? 3 : 37, n, (int)(n % 4)))
                return;
}

TEST(sorts_around_its_limits)
{
    static const int64_t lengths[] = {127, 128, 129, 255, 256, 257, 1000, 5000};
    for (int dtype = 0; dtype < DTYPES; dtype++)
        for (int i = 0; i < 8; i++)
            if (check_sort(dtype, i % 2 ? 18 : 2, lengths[i], i % 4))
                return;
}

TEST(sorts_long_rows_with_any_number_of_threads)
{
    static const int dtypes[] = {FR_UINT8, FR_BFLOAT16, FR_FLOAT32, FR_INT64, FR_FLOAT64};
    for (int t = 0; t < 4; t++) {
        fr_set_threads(threads[t]);
        fr__plan_clear_cache();
        for (int d = 0; d < 5; d++)
            if (check_sort(dtypes[d], 1 + d % 2, 70001, d % 4))
                return;
    }
    fr_set_threads(0);
}

TEST(sorts_with_every_instruction_set)
{
    const fr__gemm_isa *best = fr__gemm_tiles();
    for (int isa = 0; isa < 2; isa++) {
        if (isa && best == &fr__gemm_base)
            break;
#if defined(__x86_64__)
        fr__gemm_use(isa ? &fr__gemm_v3 : &fr__gemm_base);
#else
        fr__gemm_use(&fr__gemm_base);
#endif
        fr__plan_clear_cache();
        for (int64_t n = 1; n <= 140; n += n < 70 ? 1 : 7)
            if (check_sort(FR_FLOAT32, 19, n, 0) || check_sort(FR_INT64, 17, n, 1) ||
                check_sort(FR_UINT8, 2, n, 0))
                return;
    }
    fr__gemm_use(NULL);
    fr__plan_clear_cache();
}

/* ---- scans ---------------------------------------------------------------------------- */

static int check_bits_of_scan(fr_array *(*scan)(fr_array *, const fr_scan_options *), int dtype,
                              int64_t rows, int64_t n, int layout, bool reverse, int axis)
{
    size_t bytes = (size_t)(rows * n * fr__dsize(dtype));
    fr_scope *s = fr_scope_open();
    fr_array *x = arranged(dtype, rows, n, layout, plain);
    for (int t = 0; t < 4; t++) {
        fr_set_threads(threads[t]);
        fr__plan_clear_cache();
        fr_array *y = scan(x, &(fr_scan_options){.axis = &axis, .reverse = reverse});
        EXPECT_EQ(fr_copy_out(y, t ? again : got, bytes), 0);
        if (t)
            EXPECT_EQ(first_different(got, again, dtype, rows * n), -1);
    }
    fr_set_threads(0);
    fr_scope_close(s);
    return test_failures;
}

TEST(bits_of_scans_do_not_depend_on_threads)
{
    static const int dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_FLOAT64, FR_INT32};
    for (int d = 0; d < 4; d++) {
        check_bits_of_scan(fr_cumsum, dtypes[d], 1, 70001, 0, d % 2, 1);
        check_bits_of_scan(fr_cumsum, dtypes[d], 2, 131072, 2, !(d % 2), 1);
        check_bits_of_scan(fr_cummax, dtypes[d], 3, 80000, 3, d % 2, 1);
        check_bits_of_scan(fr_cumsum, dtypes[d], 60, 1000, 1, d % 2, 0);
        check_bits_of_scan(fr_cumprod, dtypes[d], 40, 255, 0, d % 2, 1);
    }
    check_bits_of_scan(fr_logcumsumexp, FR_FLOAT32, 1, 70001, 0, false, 1);
}

TEST(whole_numbers_scan_exactly)
{
    for (int dtype = FR_UINT8; dtype <= FR_INT64; dtype++)
        for (int64_t n = 1; n < 3000; n = n < 70 ? n + 1 : n * 3) {
            fr_scope *s = fr_scope_open();
            fr_array *x = arranged(dtype, 2, n, (int)(n % 4), plain);
            int axis = 1, size = fr__dsize(dtype);
            bool exclusive = n % 2;
            fr_array *y = fr_cumsum(x, &(fr_scan_options){&axis, false, exclusive});
            fr_array *z = fr_cummin(x, &(fr_scan_options){&axis, true, exclusive});
            CHECK_EQ(fr_copy_out(y, got, (size_t)(2 * n * size)), 0);
            CHECK_EQ(fr_copy_out(z, again, (size_t)(2 * n * size)), 0);
            for (int64_t r = 0; r < 2; r++) {
                number sum = {0, 0}, least = {0, greatest_of_dtype(dtype)};
                for (int64_t i = 0; i < n; i++) {
                    number v = read_number(plain + (r * n + i) * size, dtype), before = sum;
                    sum.i += v.i;
                    sum = kept(sum, dtype);
                    CHECK(read_number(got + (r * n + i) * size, dtype).i ==
                          (exclusive ? before : sum).i);
                }
                for (int64_t i = n - 1; i >= 0; i--) {
                    number v = read_number(plain + (r * n + i) * size, dtype), before = least;
                    least.i = v.i < least.i ? v.i : least.i;
                    CHECK(read_number(again + (r * n + i) * size, dtype).i ==
                          (exclusive ? before : least).i);
                }
            }
            fr_scope_close(s);
        }
}

/* ---- where the extremes are, medians, searching ------------------------------------------- */

TEST(extremes_medians_and_searches)
{
    for (int dtype = 0; dtype < DTYPES; dtype++)
        for (int64_t n = 1; n < 400; n = n < 20 ? n + 1 : n * 2 - 1) {
            fr_scope *s = fr_scope_open();
            int64_t rows = 3, m = 17;
            int size = fr__dsize(dtype), axis = 1;
            fr_reduce_options o = {.axes = &axis, .naxes = 1};
            fr_array *x = arranged(dtype, rows, n, (int)(n % 4), plain);
            uint32_t most[3], least[3], left[17], right[17];
            double middle[3];
            CHECK_EQ(fr_copy_out(fr_argmax(x, &o), most, sizeof most), 0);
            CHECK_EQ(fr_copy_out(fr_argmin(x, &o), least, sizeof least), 0);
            fr_array *median = fr_astype(fr_median(x, &o), FR_FLOAT64);
            CHECK_EQ(fr_copy_out(median, middle, sizeof middle), 0);
            CHECK_EQ(fr_copy_out(fr_sort(x, 1), got, (size_t)(rows * n * size)), 0);
            for (int64_t r = 0; r < rows; r++) {
                const char *row = plain + r * n * size, *in_order = got + r * n * size;
                int64_t high = 0, low = 0;
                bool nan = false;
                for (int64_t i = 0; i < n && !nan; i++) {
                    nan = fr__is_float(dtype) && isnan(read_number(row + i * size, dtype).f);
                    high =
                        nan || order(row + i * size, row + high * size, dtype) > 0 ? i : high;
                    low = nan || order(row + i * size, row + low * size, dtype) < 0 ? i : low;
                }
                CHECK_EQ(most[r], high);
                CHECK_EQ(least[r], low);
                number a = read_number(in_order + (n - 1) / 2 * size, dtype),
                       b = read_number(in_order + n / 2 * size, dtype);
                double half = fr__is_float(dtype)
                                  ? (a.f + b.f) / 2
                                  : ((double)(float)a.i + (double)(float)b.i) / 2;
                if (nan)
                    CHECK(isnan(middle[r]));
                else if (isfinite(half) && half)
                    CHECK(fabs(middle[r] - half) <= 1e-2 * fabs(half) + 1e-6);
            }
            fr_array *row = fr_sort(
                fr_reshape(fr_slice(x, (int64_t[]){0, 0}, (int64_t[]){1, 1}, (int64_t[]){1, n}),
                           &n, 1),
                0);
            CHECK_EQ(fr_copy_out(row, got, (size_t)(n * size)), 0);
            fr_array *v = fr_reshape(arranged(dtype, 1, m, (int)(n % 4), again), &m, 1);
            CHECK_EQ(fr_copy_out(fr_searchsorted(row, v, false), left, sizeof left), 0);
            CHECK_EQ(fr_copy_out(fr_searchsorted(row, v, true), right, sizeof right), 0);
            for (int64_t i = 0; i < m; i++) {
                uint32_t less = 0, not_greater = 0;
                for (int64_t j = 0; j < n; j++) {
                    int way = order(got + j * size, again + i * size, dtype);
                    less += way < 0;
                    not_greater += way <= 0;
                }
                CHECK_EQ(left[i], less);
                CHECK_EQ(right[i], not_greater);
            }
            fr_scope_close(s);
        }
}

TEST(errors_of_sorting)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_zeros((int64_t[]){2, 3}, 2, FR_FLOAT32);
    CHECK(!fr_sort(x, 2));
    CHECK_EQ(fr_error(), FR_ERROR_INDEX);
    CHECK_STR(fr_error_message(), "sort: axis 2 of an array with 2 dimensions");
    fr_error_clear();
    CHECK(!fr_partition(x, 3, -1));
    CHECK_EQ(fr_error(), FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(!fr_topk(x, 4, 1));
    CHECK_EQ(fr_error(), FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(!fr_searchsorted(x, x, false));
    CHECK_EQ(fr_error(), FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(!fr_argmax(fr_zeros((int64_t[]){0, 3}, 2, FR_FLOAT32), NULL));
    CHECK_EQ(fr_error(), FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(!fr_sort(NULL, 0));
    CHECK_EQ(fr_error(), FR_OK);
    fr_scope_close(s);
}

/* ---- the nth allocation fails -------------------------------------------------------------- */

static int everything(void)
{
    fr_scope *s = fr_scope_open();
    int64_t n = 700;
    int axis = 0;
    double v = 0;
    fr_array *x = fr_mul(fr_arange(0, (double)n, 1, FR_FLOAT32), -2.0);
    fr_array *y = fr_cumsum(fr_add(x, 1.0), &(fr_scan_options){.axis = &axis});
    fr_array *z = fr_add(fr_sort(fr_mul(y, 3.0), 0), fr_topk(x, n, 0));
    fr_array *w = fr_add(fr_sum(z, NULL), fr_median(x, NULL));
    w = fr_add(w, fr_argmax(x, NULL));
    w = fr_add(w, fr_sum(fr_searchsorted(fr_sort(x, 0), y, true), NULL));
    int status = w ? fr_item(w, &v) : -1;
    fr_scope_close(s);
    if (!status && v == 0)
        fr_error_set(FR_ERROR_INTERNAL, "wrong value"), status = -1;
    return status;
}

TEST(allocations_fail)
{
    CHECK_EQ(everything(), 0);
    fr__plan_clear_cache();
    size_t active = fr_memory().active;
    int failed = 0;
    for (int64_t n = 1;; n++) {
        fr__fault_set(n);
        int status = everything();
        bool reached = fr__fault_count() >= n;
        CHECK_EQ(fr_error(), status ? FR_ERROR_MEMORY : FR_OK);
        fr_error_clear();
        failed += status != 0;
        fr__fault_set(0);
        fr__plan_clear_cache();
        CHECK_EQ(fr_memory().active, active);
        if (!reached)
            break;
    }
    CHECK(failed > 10);
    CHECK_EQ(everything(), 0);
}
