/* test_scatter.c - gathers and scatters against plain loops, over dtypes, modes, duplicates, sizes,
 * numbers of threads; errors; a failing allocation */
#include "ferrule/ferrule.h"
#include "base/base.h"
#include "base/pool.h"
#include "run/kcache.h"
#include "run/plan.h"
#include "values.h"

enum { MODES = FR_SCATTER_MAX + 1 };

/* ---- what is expected -------------------------------------------------------------------- */

static number combined(number a, number b, int dtype, int mode)
{
    number r = {0, 0};
    if (fr__is_float(dtype)) {
        bool wide_float = dtype == FR_FLOAT64;
        double x = a.f, y = b.f;
        switch (mode) {
        case FR_SCATTER_SET: r.f = y; break;
        case FR_SCATTER_ADD: r.f = wide_float ? x + y : (double)((float)x + (float)y); break;
        case FR_SCATTER_MUL: r.f = wide_float ? x * y : (double)((float)x * (float)y); break;
        case FR_SCATTER_DIV: r.f = wide_float ? x / y : (double)((float)x / (float)y); break;
        case FR_SCATTER_MIN: r.f = x != x || x < y ? x : y; break;
        default: r.f = x != x || x > y ? x : y; break;
        }
        return r;
    }
    switch (mode) {
    case FR_SCATTER_SET: r.i = b.i; break;
    case FR_SCATTER_ADD: r.i = dtype == FR_BOOL ? a.i | b.i : a.i + b.i; break;
    case FR_SCATTER_MUL:
        r.i = dtype == FR_BOOL ? a.i & b.i : (wide)((uint64_t)a.i * (uint64_t)b.i);
        break;
    case FR_SCATTER_DIV: r.i = b.i ? a.i / b.i : 0; break;
    case FR_SCATTER_MIN: r.i = a.i < b.i ? a.i : b.i; break;
    default: r.i = a.i > b.i ? a.i : b.i; break;
    }
    return kept(r, dtype);
}

/* [outer, n, inner] with updates [outer, k, inner] at k indices. */
static void expect_scattered(char *x, const char *u, const int64_t *at, int64_t outer,
                             int64_t n, int64_t inner, int64_t k, int dtype, int mode)
{
    int64_t size = fr__dsize(dtype);
    int work = (dtype == FR_FLOAT16 || dtype == FR_BFLOAT16) && mode ? FR_FLOAT32 : dtype;
    number *values = malloc(sizeof *values * (size_t)(outer * n * inner + 1));
    bool *touched = calloc((size_t)(outer * n * inner + 1), 1);
    for (int64_t i = 0; i < outer * n * inner; i++)
        values[i] = read_number(x + i * size, dtype);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t j = 0; j < k; j++) {
            int64_t to = at[j] < 0 ? at[j] + n : at[j];
            for (int64_t c = 0; to >= 0 && to < n && c < inner; c++) {
                int64_t e = (o * n + to) * inner + c;
                number b = read_number(u + ((o * k + j) * inner + c) * size, dtype);
                values[e] = combined(values[e], b, work, mode);
                touched[e] = true;
            }
        }
    for (int64_t i = 0; i < outer * n * inner; i++)
        if (touched[i])
            write_number(x + i * size, dtype, values[i]);
    free(values);
    free(touched);
}

static char *random_elements(int64_t n, int dtype)
{
    char *data = malloc((size_t)(n * fr__dsize(dtype)) + 8);
    for (int64_t i = 0; i < n; i++)
        write_number(data + i * fr__dsize(dtype), dtype, any_number(dtype));
    return data;
}

/* ---- scatter ----------------------------------------------------------------------------------- */

static bool allowed(int dtype, int mode)
{
    return !(dtype == FR_BOOL && mode == FR_SCATTER_DIV);
}

static void try_scatter(int dtype, int mode, int64_t outer, int64_t n, int64_t inner, int64_t k,
                        int index_dtype)
{
    int64_t shape[3] = {outer, n, inner}, shape_u[3] = {k, outer, inner}; /* the block first */
    int64_t *at = malloc(sizeof *at * (size_t)(k + 1)), size = fr__dsize(dtype);
    int64_t places = n < 4 || dice() & 1 ? n : 3; /* many duplicates */
    for (int64_t i = 0; i < k; i++)
        at[i] = below(2 * places + 3) - places - 1;
    char *x = random_elements(outer * n * inner, dtype),
         *u = random_elements(outer * k * inner, dtype),
         *turned = malloc((size_t)(outer * k * inner * size) + 1),
         *got = malloc((size_t)(outer * n * inner * size) + 1);
    for (int64_t o = 0; o < outer; o++) /* [k, outer, inner] as [outer, k, inner] */
        for (int64_t j = 0; j < k; j++)
            memcpy(turned + (o * k + j) * inner * size, u + (j * outer + o) * inner * size,
                   (size_t)(inner * size));
    fr_scope *s = fr_scope_open();
    fr_array *a = fr_from_data(x, (fr_dtype)dtype, shape, 3),
             *b = fr_from_data(u, (fr_dtype)dtype, shape_u, 3),
             *i = fr_astype(fr_from_data(at, FR_INT64, &k, 1), (fr_dtype)index_dtype);
    int axis = 1;
    fr_array *y = fr_scatter(a, 1, &i, &axis, b, (fr_scatter_mode)mode);
    expect_scattered(x, turned, at, outer, n, inner, k, dtype, mode);
    if (EXPECT_EQ(fr_copy_out(y, got, (size_t)(outer * n * inner * size)), 0)) {
        int64_t where = first_different(got, x, dtype, outer * n * inner);
        if (!EXPECT_EQ(where, -1)) {
            char g[48], w[48];
            printf("     %s mode %d [%d %d %d] k %d: got %s, want %s\n", fr__dtypes[dtype].name,
                   mode, (int)outer, (int)n, (int)inner, (int)k,
                   number_text(read_number(got + where * size, dtype), dtype, g),
                   number_text(read_number(x + where * size, dtype), dtype, w));
        }
    } else {
        printf("     %s\n", fr_error_message());
        fr_error_clear();
    }
    fr_scope_close(s);
    free(x), free(u), free(turned), free(got), free(at);
}

static void all_dtypes_and_modes(int64_t outer, int64_t n, int64_t inner, int64_t k)
{
    for (int dtype = 0; dtype < DTYPES; dtype++)
        for (int mode = 0; mode < MODES; mode++)
            if (allowed(dtype, mode) && !test_failures)
                try_scatter(dtype, mode, outer, n, inner, k, dice() & 1 ? FR_INT32 : FR_INT64);
}

TEST(sizes_from_0_to_70)
{
    for (int64_t size = 0; size <= 70; size++)
        all_dtypes_and_modes(1 + below(2), below(8) ? size : below(70), 1 + below(3),
                             below(71));
    for (int64_t inner = 0; inner <= 70; inner++)
        all_dtypes_and_modes(below(3), 1 + below(9), inner, below(20));
}

TEST(any_number_of_threads)
{
    static const int threads[] = {1, 2, 3, 16};
    static const int64_t shapes[][4] = {
        {1, 3000, 1, 70000}, {1, 40, 1, 70000}, {1, 70, 700, 60}, {3, 1000, 7, 3000},
        {70, 5, 90, 11},     {1, 2, 1, 40000},  {1, 90000, 1, 20}};
    for (int t = 0; t < 4; t++) {
        fr_set_threads(threads[t]);
        fr__plan_clear_cache(); /* cut up for so many */
        for (int i = 0; i < 7; i++)
            for (int mode = 0; mode < MODES; mode++)
                for (int d = 0; d < 3 && !test_failures; d++)
                    try_scatter((int[]){FR_FLOAT32, FR_INT16, FR_BFLOAT16}[d], mode,
                                shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3],
                                d ? FR_INT32 : FR_INT64);
    }
    fr_set_threads(0);
    fr__plan_clear_cache();
}

TEST(indices_of_any_integer_dtype)
{
    for (int d = FR_BOOL + 1; d < DTYPES; d++)
        if (fr__is_int(d)) {
            bool sign = fr__dtypes[d].kind == FR__KIND_INT;
            int64_t k = 3, raw[3] = {2, sign ? -1 : 4, sign ? -9 : 200};
            fr_scope *s = fr_scope_open();
            fr_array *i = fr_astype(fr_from_data(raw, FR_INT64, &k, 1), (fr_dtype)d);
            fr_array *x = fr_zeros((int64_t[]){5}, 1, FR_INT32);
            int axis = 0;
            fr_array *y = fr_scatter(x, 1, &i, &axis, fr_number_int(7), FR_SCATTER_ADD);
            int32_t got[5];
            CHECK_EQ(fr_copy_out(y, got, sizeof got), 0);
            CHECK(got[2] == 7 && got[4] == 7 && got[0] == 0 && got[1] == 0 && got[3] == 0);
            fr_scope_close(s);
        }
}

/* ---- several axes ----------------------------------------------------------------------------- */

/* x int32[4, 5, 6, 7]: every element its number. */
static fr_array *numbered(void)
{
    return fr_reshape(fr_arange(0, 840, 1, FR_INT32), (int64_t[]){4, 5, 6, 7}, 4);
}

TEST(gathers_and_scatters_of_several_axes)
{
    int64_t dims[4] = {4, 5, 6, 7}, steps[4] = {210, 42, 7, 1};
    for (int mask = 1; mask < 16; mask++) {
        int axes[4], n = 0, others[4], m = 0;
        for (int d = 0; d < 4; d++)
            if (mask >> d & 1)
                axes[n++] = d;
            else
                others[m++] = d;
        if (n > 1 && dice() & 1) { /* in any order */
            int first = axes[0];
            axes[0] = axes[n - 1];
            axes[n - 1] = first;
        }
        fr_scope *s = fr_scope_open();
        int64_t raw[4][6], block[2] = {2, 3}, size = 6;
        fr_array *indices[4];
        for (int i = 0; i < n; i++) { /* every other one is a row, broadcast */
            for (int e = 0; e < 6; e++)
                raw[i][e] =
                    i & 1 && e >= 3 ? raw[i][e - 3] : below(3 * dims[axes[i]]) - dims[axes[i]];
            indices[i] =
                fr_from_data(raw[i], FR_INT64, i & 1 ? block + 1 : block, i & 1 ? 1 : 2);
        }
        fr_array *y = fr_gather(numbered(), n, indices, axes);
        CHECK(y && fr_ndim(y) == 2 + m);
        for (int j = 0; j < m; j++)
            size *= dims[others[j]];
        CHECK_EQ(fr_size(y), size);
        static int32_t got[5000], back[840], want[840];
        CHECK_EQ(fr_copy_out(y, got, sizeof *got * (size_t)size), 0);
        fr_array *updates =
            fr_reshape(fr_arange(0, (double)size, 1, FR_INT32), fr_shape(y), 2 + m);
        fr_array *z = fr_scatter(numbered(), n, indices, axes, updates, FR_SCATTER_ADD);
        CHECK_EQ(fr_copy_out(z, back, sizeof back), 0);
        for (int e = 0; e < 840; e++)
            want[e] = e;
        for (int64_t e = 0; e < size; e++) {
            int64_t rest = size / 6, p = e / rest, inside = e % rest, at = 0;
            bool there = true;
            for (int j = m - 1; j >= 0; j--) {
                at += inside % dims[others[j]] * steps[others[j]];
                inside /= dims[others[j]];
            }
            for (int i = 0; i < n; i++) {
                int64_t v = raw[i][p], d = dims[axes[i]];
                v = v < 0 ? v + d : v;
                there &= v >= 0 && v < d;
                at += (v < 0 ? 0 : v >= d ? d - 1 : v) * steps[axes[i]];
            }
            CHECK_EQ(got[e], at);
            if (there)
                want[at] += (int32_t)e;
        }
        CHECK(!memcmp(back, want, sizeof want));
        fr_scope_close(s);
    }
}

TEST(along_an_axis)
{
    for (int axis = 0; axis < 3; axis++)
        for (int round = 0; round < 20; round++) {
            int64_t dims[3] = {4, 5, 6}, k[3] = {4, 5, 6};
            k[axis] = 1 + below(9);
            for (int d = 0; d < 3; d++)
                k[d] = d != axis && below(3) == 0 ? 1 : k[d];
            int64_t raw[400], n = k[0] * k[1] * k[2];
            for (int64_t i = 0; i < n; i++)
                raw[i] = below(3 * dims[axis]) - dims[axis];
            fr_scope *s = fr_scope_open();
            fr_array *x = fr_reshape(fr_arange(0, 120, 1, FR_INT32), dims, 3);
            fr_array *i = fr_from_data(raw, FR_INT64, k, 3);
            fr_array *y = fr_take_along_axis(x, i, axis - 3 * (int)below(2));
            int64_t full[3] = {4, 5, 6};
            full[axis] = k[axis];
            int64_t size = full[0] * full[1] * full[2];
            fr_array *u =
                fr_reshape(fr_arange(1000, 1000 + (double)size, 1, FR_INT32), full, 3);
            fr_array *z = fr_put_along_axis(x, i, u, axis, FR_SCATTER_SET);
            int32_t got[400], put[120], want[120];
            CHECK_EQ(fr_copy_out(y, got, sizeof *got * (size_t)size), 0);
            CHECK_EQ(fr_copy_out(z, put, sizeof put), 0);
            for (int e = 0; e < 120; e++)
                want[e] = e;
            for (int64_t e = 0; e < size; e++) {
                int64_t p[3] = {e / full[2] / full[1], e / full[2] % full[1], e % full[2]};
                int64_t v =
                    raw[((k[0] == 1 ? 0 : p[0]) * k[1] + (k[1] == 1 ? 0 : p[1])) * k[2] +
                        (k[2] == 1 ? 0 : p[2])];
                v = v < 0 ? v + dims[axis] : v;
                bool there = v >= 0 && v < dims[axis];
                p[axis] = v < 0 ? 0 : v >= dims[axis] ? dims[axis] - 1 : v;
                int64_t at = (p[0] * 5 + p[1]) * 6 + p[2];
                CHECK_EQ(got[e], at);
                if (there)
                    want[at] = 1000 + (int32_t)e;
            }
            CHECK(!memcmp(put, want, sizeof want));
            fr_scope_close(s);
        }
}

/* ---- layouts ------------------------------------------------------------------------------------ */

TEST(strided_and_computed_operands)
{
    fr_scope *s = fr_scope_open();
    int64_t k = 4, raw[4] = {1, 0, 1, 2};
    int axis = 0;
    fr_array *i = fr_from_data(raw, FR_INT64, &k, 1);
    fr_array *x =
        fr_transpose(fr_reshape(fr_arange(0, 12, 1, FR_FLOAT32), (int64_t[]){4, 3}, 2), NULL,
                     0); /* [3, 4]: x[r, c] = 3 c + r */
    fr_eval(x);
    fr_array *backwards = fr_flip(i, &axis, 1);
    fr_array *u =
        fr_mul(fr_reshape(fr_arange(0, 4, 1, FR_FLOAT32), (int64_t[]){4, 1}, 2), 10.0);
    fr_array *y = fr_scatter(fr_add(x, 1.0), 1, &backwards, &axis, u, FR_SCATTER_ADD);
    fr_array *z = fr_scatter(x, 1, &i, &axis, fr_number(5), FR_SCATTER_SET);
    fr_array *w = fr_scatter(fr_zeros((int64_t[]){3, 4}, 2, FR_FLOAT32), 1, &i, &axis,
                             fr_ones((int64_t[]){4}, 1, FR_FLOAT32), FR_SCATTER_ADD);
    float got[3][12];
    CHECK_EQ(fr_copy_out(y, got[0], sizeof got[0]), 0);
    CHECK_EQ(fr_copy_out(z, got[1], sizeof got[1]), 0);
    CHECK_EQ(fr_copy_out(w, got[2], sizeof got[2]), 0);
    static const float added[3] = {20, 10 + 30, 0}, counts[3] = {1, 2, 1};
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 4; c++) {
            CHECK(got[0][4 * r + c] == (float)(3 * c + r + 1) + added[r]);
            CHECK(got[1][4 * r + c] == 5);
            CHECK(got[2][4 * r + c] == counts[r]);
        }
    fr_scope_close(s);
}

TEST(complex_numbers)
{
    fr_scope *s = fr_scope_open();
    float x[4] = {1, 2, 3, 4}, u[4] = {0, 1, 2, 0}, got[4];
    int64_t two = 2, raw[2] = {1, 1};
    int axis = 0;
    fr_array *a = fr_from_data(x, FR_COMPLEX64, &two, 1),
             *b = fr_from_data(u, FR_COMPLEX64, &two, 1);
    fr_array *i = fr_from_data(raw, FR_INT64, &two, 1);
    static const float want[4][4] = {
        {1, 2, 2, 0}, {1, 2, 5, 5}, {1, 2, -8, 6}, {1, 2, 2, -1.5f}};
    for (int mode = 0; mode < 4; mode++) {
        CHECK_EQ(
            fr_copy_out(fr_scatter(a, 1, &i, &axis, b, (fr_scatter_mode)mode), got, sizeof got),
            0);
        for (int e = 0; e < 4; e++)
            CHECK(got[e] == want[mode][e]);
    }
    CHECK(!fr_scatter(a, 1, &i, &axis, b, FR_SCATTER_MIN));
    CHECK_EQ(fr_error(), FR_ERROR_TYPE);
    fr_error_clear();
    fr_scope_close(s);
}

/* ---- errors ---------------------------------------------------------------------------------------- */

static int fails(fr_array *y, fr_error_kind kind, const char *part)
{
    int good =
        EXPECT(!y) & EXPECT_EQ(fr_error(), kind) & EXPECT(strstr(fr_error_message(), part));
    if (!good)
        printf("     %s\n", fr_error_message());
    fr_error_clear();
    return good;
}

TEST(errors_say_what_is_wrong)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_zeros((int64_t[]){3, 4}, 2, FR_FLOAT32), *v = fr_number(1);
    fr_array *i = fr_arange(0, 2, 1, FR_INT32), *j = fr_arange(0, 3, 1, FR_INT32);
    fr_array *f = fr_arange(0, 2, 1, FR_FLOAT32),
             *empty = fr_zeros((int64_t[]){0, 4}, 2, FR_FLOAT32);
    fails(fr_gather(x, 0, NULL, NULL), FR_ERROR_VALUE, "gather");
    fails(fr_gather(x, 1, &f, (int[]){0}), FR_ERROR_TYPE, "gather: indices are integers");
    fails(fr_gather(x, 2, (fr_array *[]){i, j}, (int[]){0, 1}), FR_ERROR_VALUE, "gather");
    fails(fr_gather(x, 2, (fr_array *[]){i, i}, (int[]){1, -1}), FR_ERROR_VALUE, "named twice");
    fails(fr_gather(x, 1, &i, (int[]){2}), FR_ERROR_INDEX, "gather");
    fails(fr_gather(empty, 1, &i, (int[]){0}), FR_ERROR_INDEX, "empty");
    fails(fr_scatter(x, 1, &f, (int[]){0}, v, FR_SCATTER_ADD), FR_ERROR_TYPE, "scatter");
    fails(fr_scatter(x, 1, &i, (int[]){0}, j, FR_SCATTER_ADD), FR_ERROR_VALUE, "scatter");
    fails(fr_scatter(x, 1, &i, (int[]){0}, v, (fr_scatter_mode)6), FR_ERROR_VALUE, "mode");
    fails(
        fr_scatter(fr_zeros((int64_t[]){3}, 1, FR_BOOL), 1, &i, (int[]){0}, v, FR_SCATTER_DIV),
        FR_ERROR_TYPE, "DIV");
    fails(fr_take_along_axis(x, i, 0), FR_ERROR_VALUE, "take_along_axis");
    fails(fr_take_along_axis(x, fr_expand_dims(f, (int[]){0}, 1), 0), FR_ERROR_TYPE,
          "take_along");
    fails(fr_put_along_axis(x, fr_expand_dims(i, (int[]){0}, 1), v, 0, FR_SCATTER_SET),
          FR_ERROR_VALUE, "put_along_axis");
    CHECK(!fr_gather(NULL, 1, &i, (int[]){0}));
    CHECK_EQ(fr_error(), FR_OK);
    fr_scope_close(s);
}

/* Whatever allocation fails: a MEMORY error, nothing left behind, and it works afterwards. */
static int program(void)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_reshape(fr_arange(0, 60, 1, FR_FLOAT16), (int64_t[]){3, 4, 5}, 3);
    fr_array *i[2] = {fr_arange(0, 3, 1, FR_INT32), fr_arange(3, 0, -1, FR_INT64)};
    int axes[2] = {2, 0};
    fr_array *y = fr_scatter(x, 2, i, axes, fr_gather(x, 2, i, axes), FR_SCATTER_ADD);
    fr_array *at = fr_zeros((int64_t[]){3, 1, 5}, 3, FR_INT32);
    y = fr_put_along_axis(y, at, fr_take_along_axis(y, at, 1), 1, FR_SCATTER_MAX);
    double v;
    int status = s ? fr_item(fr_sum(y, NULL), &v) : -1;
    fr_scope_close(s);
    return status;
}

static void clear_caches(void)
{
    fr__plan_clear_cache();
    fr__kcache_clear();
}

TEST(a_failing_allocation)
{
    clear_caches();
    CHECK_EQ(program(), 0);
    clear_caches();
    size_t active = fr_memory().active;
    for (int64_t n = 1, reached = 1; reached; n++) {
        fr__fault_set(n);
        int status = program();
        reached = fr__fault_count() >= n;
        CHECK_EQ(fr_error(), status ? FR_ERROR_MEMORY : FR_OK);
        fr_error_clear();
        clear_caches();
        CHECK_EQ(fr__fault_live(), 0);
        CHECK_EQ(fr_memory().active, active);
        fr__fault_set(0);
    }
    CHECK_EQ(program(), 0);
}
