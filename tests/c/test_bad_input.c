/* test_bad_input.c - every function of the public headers with NULLs and with numbers that cannot be
 *
 * What the headers promise: an operation given NULL gives NULL and sets no error of its own, what asks
 * for values or runs a function says that it got none; what cannot be is an error with a message that
 * names the function; then everything works as before, and nothing is left in memory. Run it under AddressSanitizer and UndefinedBehaviorSanitizer.
 */
#include "ferrule/ferrule.h"
#include "test.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#define SHAPE(...)                                                                             \
    (int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define LONGS(...)                                                                             \
    (int64_t[]) { __VA_ARGS__ }
#define AXES(...)                                                                              \
    (int[]) { __VA_ARGS__ }
#define ARRAYS(...)                                                                            \
    (fr_array *[]) { __VA_ARGS__ }

static bool refused_int(int result) { return result == -1; }
static bool refused_pointer(const void *result) { return !result; }
#define REFUSED(call) _Generic((call), int : refused_int, default : refused_pointer)(call)

/* The library works: no error is left, and a sum is what it was. */
static bool works(void)
{
    double v = 0;
    fr_scope *s = fr_scope_open();
    bool good = !fr_error() && !fr_item(fr_sum(fr_ones(SHAPE(3), FR_FLOAT32), NULL), &v);
    fr_scope_close(s);
    return good && v == 3;
}

/* NULL in, NULL out. */
#define NULLS(call)                                                                            \
    do {                                                                                       \
        EXPECT(REFUSED(call));                                                                 \
        EXPECT_EQ(fr_error(), FR_OK);                                                          \
        fr_error_clear();                                                                      \
    } while (0)
/* Whether the message begins with the function of this call, or with a part of its name: what
 * pad_with refuses is refused by "pad". */
static bool names(const char *call)
{
    char name[40] = "", said[40] = "";
    EXPECT(sscanf(call, "%*[(]fr_%39[a-z0-9_]", name) == 1 ||
           sscanf(call, "fr_%39[a-z0-9_]", name) == 1);
    bool good = sscanf(fr_error_message(), "%39[a-z0-9_]", said) == 1 && strstr(name, said);
    if (!good)
        printf("     %.60s says: %s\n", call, fr_error_message());
    return good;
}

static bool says(const char *begins)
{
    bool good = !strncmp(fr_error_message(), begins, strlen(begins));
    if (!good)
        printf("     not %s, but: %s\n", begins, fr_error_message());
    return good;
}

/* An error of this kind that says something; afterwards the library works. */
#define BAD(kind, call) BAD_IF(kind, names(#call), call)
/* One whose message begins otherwise: with what the function is made of. */
#define BAD_AS(kind, begins, call) BAD_IF(kind, says(begins), call)
#define BAD_IF(kind, condition, call)                                                          \
    do {                                                                                       \
        EXPECT(REFUSED(call));                                                                 \
        EXPECT_EQ(fr_error(), FR_ERROR_##kind);                                                \
        EXPECT(condition);                                                                     \
        fr_error_clear();                                                                      \
        EXPECT(works());                                                                       \
    } while (0)
/* While an error is set every operation gives NULL at once, and the first error stays. */
#define STICKS(call)                                                                           \
    do {                                                                                       \
        fr_error_set(FR_ERROR_IO, "the first");                                                \
        EXPECT(REFUSED(call));                                                                 \
        EXPECT(fr_error() == FR_ERROR_IO && !strcmp(fr_error_message(), "the first"));         \
        fr_error_clear();                                                                      \
    } while (0)

typedef struct inputs {
    fr_array *x, *v, *one, *empty, *whole, *mask, *complex, *cube;
} inputs;

static inputs make(void)
{
    inputs i;
    i.x = fr_reshape(fr_arange(0, 12, 1, FR_FLOAT32), SHAPE(3, 4));
    i.v = fr_arange(0, 4, 1, FR_FLOAT32);
    i.one = fr_number(1);
    i.empty = fr_zeros(SHAPE(0, 4), FR_FLOAT32);
    i.whole = fr_zeros(SHAPE(2), FR_INT32);
    i.mask = fr_zeros(SHAPE(3, 4), FR_BOOL);
    i.complex = fr_zeros(SHAPE(3, 4), FR_COMPLEX64);
    i.cube = fr_zeros(SHAPE(2, 3, 4), FR_FLOAT32);
    return i;
}

/* A test in a scope of its own that leaves no memory in use. */
#define BAD_TEST(name)                                                                         \
    static void run_##name(inputs i);                                                          \
    TEST(name)                                                                                 \
    {                                                                                          \
        size_t before = fr_memory().active;                                                    \
        fr_scope *s = fr_scope_open();                                                         \
        run_##name(make());                                                                    \
        fr_scope_close(s);                                                                     \
        EXPECT(works());                                                                       \
        EXPECT_EQ(fr_memory().active, before);                                                 \
    }                                                                                          \
    static void run_##name(__attribute__((unused)) inputs i)

/* ---- the table ---------------------------------------------------------------------------- */

BAD_TEST(operations)
{
    int n = 0;
#define UNARY(name, ...)                                                                       \
    NULLS((fr_##name)(NULL));                                                                  \
    STICKS((fr_##name)(i.x));                                                                  \
    n++;
#define BINARY(name, ...)                                                                      \
    NULLS((fr_##name)(NULL, NULL));                                                            \
    NULLS((fr_##name)(NULL, i.x));                                                             \
    NULLS((fr_##name)(i.x, NULL));                                                             \
    STICKS((fr_##name)(i.x, i.x));                                                             \
    EXPECT(!(fr_##name)(i.mask, i.whole) && fr_error());                                       \
    fr_error_clear();                                                                          \
    n++;
#define TERNARY(name, ...)                                                                     \
    NULLS((fr_##name)(NULL, i.x, i.x));                                                        \
    NULLS((fr_##name)(i.x, NULL, i.x));                                                        \
    NULLS((fr_##name)(i.x, i.x, NULL));                                                        \
    BAD(VALUE, (fr_##name)(i.mask, i.x, i.whole));                                             \
    n++;
#define REDUCE(name, ...)                                                                      \
    NULLS(fr_##name(NULL, NULL));                                                              \
    BAD(INDEX, fr_##name(i.x, &(fr_reduce_options){AXES(2), 1, false, 0}));                    \
    BAD(INDEX, fr_##name(i.x, &(fr_reduce_options){AXES(INT_MIN), 1, false, 0}));              \
    BAD(VALUE, fr_##name(i.x, &(fr_reduce_options){AXES(0, -2), 2, false, 0}));                \
    n++;
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    EXPECT(n > 60);
    NULLS(fr_real(NULL));
    NULLS(fr_imag(NULL));
    NULLS(fr_complex(NULL, i.x));
    NULLS(fr_clip(NULL, i.one, i.one));
    BAD(VALUE, fr_clip(i.x, NULL, NULL));
    BAD_AS(VALUE, "maximum:", fr_clip(i.x, i.whole, NULL));
    NULLS(fr_round(NULL, 1));
    NULLS(fr_nan_to_num(NULL, 0, 1, -1));
    NULLS(fr_conjugate(NULL));
    NULLS(fr_isclose(NULL, i.x, 0, 0, false));
    NULLS(fr_isclose(i.x, NULL, 0, 0, false));
    BAD_AS(VALUE, "equal:", fr_isclose(i.x, i.whole, 0, 0, false));
    NULLS(fr_astype(NULL, FR_INT8));
    BAD(TYPE, fr_astype(i.x, FR_DTYPE_COUNT));
    BAD(TYPE, fr_astype(i.x, (fr_dtype)-1));
    NULLS(fr_view_as(NULL, FR_INT32));
    BAD(TYPE, fr_view_as(i.x, (fr_dtype)99));
    BAD(VALUE, fr_view_as(fr_zeros(SHAPE(3), FR_UINT8), FR_INT16));
    BAD(VALUE, fr_view_as(fr_zeros(NULL, 0, FR_UINT8), FR_INT16));
}

BAD_TEST(reductions)
{
    const struct {
        fr_array *(*f)(fr_array *, const fr_reduce_options *);
        const char *says;
    } all[] = {
        {fr_mean, "mean:"},       {fr_var, "var:"},       {fr_std, "var:"},
        {fr_median, "median:"},   {fr_argmax, "argmax:"}, {fr_logsumexp, "logsumexp:"},
        {fr_softmax, "softmax:"}, {fr_argmin, "argmin:"}, {fr_count_nonzero, "sum:"},
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        NULLS(all[k].f(NULL, NULL));
        STICKS(all[k].f(i.x, NULL));
        BAD_AS(INDEX, all[k].says, all[k].f(i.x, &(fr_reduce_options){AXES(2), 1, false, 0}));
        BAD_AS(INDEX, all[k].says,
               all[k].f(i.x, &(fr_reduce_options){AXES(INT_MAX), 1, false, 0}));
    }
    BAD(VALUE, fr_max(i.empty, NULL));
    BAD(VALUE, fr_min(i.empty, NULL));
    BAD(VALUE, fr_argmax(i.empty, NULL));
    BAD(VALUE, fr_argmin(i.x, &(fr_reduce_options){AXES(0, 1), 2, false, 0}));
    BAD(VALUE, fr_median(i.empty, NULL));
    BAD(VALUE, fr_median(i.x, &(fr_reduce_options){AXES(1, 1), 2, false, 0}));
}

BAD_TEST(scans_and_sorting)
{
    const struct {
        fr_array *(*f)(fr_array *, const fr_scan_options *);
        const char *says;
    } scans[] = {
        {fr_cumsum, "cumsum:"}, {fr_cumprod, "cumprod:"},           {fr_cummax, "cummax:"},
        {fr_cummin, "cummin:"}, {fr_logcumsumexp, "logcumsumexp:"},
    };
    for (size_t k = 0; k < sizeof scans / sizeof *scans; k++) {
        NULLS(scans[k].f(NULL, NULL));
        STICKS(scans[k].f(i.x, NULL));
        BAD_AS(INDEX, scans[k].says, scans[k].f(i.x, &(fr_scan_options){.axis = AXES(2)}));
        BAD_AS(INDEX, scans[k].says,
               scans[k].f(i.x, &(fr_scan_options){.axis = AXES(INT_MIN)}));
    }
    NULLS(fr_sort(NULL, 0));
    NULLS(fr_argsort(NULL, 0));
    NULLS(fr_partition(NULL, 0, 0));
    NULLS(fr_argpartition(NULL, 0, 0));
    NULLS(fr_topk(NULL, 0, 0));
    NULLS(fr_searchsorted(NULL, i.v, false));
    NULLS(fr_searchsorted(i.v, NULL, false));
    BAD(INDEX, fr_sort(i.x, 2));
    BAD(INDEX, fr_sort(i.one, 0));
    BAD(INDEX, fr_argsort(i.x, -3));
    BAD(VALUE, fr_partition(i.x, 4, 1));
    BAD(VALUE, fr_partition(i.x, INT64_MIN, 1));
    BAD(VALUE, fr_argpartition(i.x, INT64_MAX, 1));
    BAD(INDEX, fr_argpartition(i.x, 0, 9));
    BAD(VALUE, fr_topk(i.x, -1, 0));
    BAD(VALUE, fr_topk(i.x, INT64_MAX, 0));
    BAD(VALUE, fr_searchsorted(i.x, i.v, false));
}

/* ---- arrays, values ----------------------------------------------------------------------- */

BAD_TEST(making)
{
    float data[4] = {0};
    int64_t many[FR_MAX_NDIM + 1];
    for (int d = 0; d <= FR_MAX_NDIM; d++)
        many[d] = 1;
    BAD(VALUE, fr_from_data(data, FR_FLOAT32, SHAPE(-1)));
    BAD(TYPE, fr_from_data(data, FR_DTYPE_COUNT, SHAPE(4)));
    BAD_AS(LIMIT, "33 dimensions", fr_from_data(data, FR_FLOAT32, many, FR_MAX_NDIM + 1));
    BAD_AS(LIMIT, "-1 dimensions", fr_from_data(data, FR_FLOAT32, many, -1));
    BAD_AS(LIMIT, "shape [", fr_from_data(data, FR_FLOAT32, SHAPE(INT64_MAX, 2)));
    BAD_AS(VALUE, "a size below zero",
           fr_from_buffer(data, FR_FLOAT32, SHAPE(-4), NULL, NULL, NULL));
    BAD(VALUE, fr_from_buffer(data, FR_FLOAT32, SHAPE(2), LONGS(3), NULL, NULL));
    BAD(VALUE, fr_from_buffer((char *)data + 1, FR_FLOAT32, SHAPE(2), NULL, NULL, NULL));
    BAD(TYPE, fr_from_buffer(data, (fr_dtype)77, SHAPE(2), NULL, NULL, NULL));
    BAD_AS(VALUE, "a size below zero", fr_full(SHAPE(2, -2), 1, FR_FLOAT32));
    BAD_AS(LIMIT, "shape [", fr_full(SHAPE(INT64_MAX), 1, FR_FLOAT32));
    BAD(TYPE, fr_full(SHAPE(2), 1, (fr_dtype)-3));
    BAD_AS(VALUE, "a size below zero", fr_zeros(SHAPE(INT64_MIN), FR_FLOAT32));
    BAD_AS(LIMIT, "broadcast_to:", fr_ones(many, FR_MAX_NDIM + 1, FR_FLOAT32));
    BAD(VALUE, fr_arange(0, 1, 0, FR_FLOAT32));
    BAD(VALUE, fr_arange(0, NAN, 1, FR_FLOAT32));
    EXPECT(!fr_arange(0, INFINITY, 1, FR_FLOAT32) && fr_error());
    fr_error_clear();
    EXPECT(!fr_arange(0, 1e300, 1, FR_FLOAT32) && fr_error());
    fr_error_clear();
    BAD(TYPE, fr_arange(0, 4, 1, FR_DTYPE_COUNT));
    BAD(VALUE, fr_linspace(0, 1, -1, true, FR_FLOAT32));
    BAD_AS(LIMIT, "arange:", fr_linspace(0, 1, INT64_MAX, true, FR_FLOAT32));
    BAD(VALUE, fr_tri(-1, 2, 0, FR_FLOAT32));
    BAD(VALUE, fr_eye(2, INT64_MIN, 0, FR_FLOAT32));
    BAD_AS(LIMIT, "arange:", fr_eye(INT64_MAX, INT64_MAX, 0, FR_FLOAT32));
}

BAD_TEST(values)
{
    double v[2];
    int64_t whole;
    char room[100];
    fr_view view;
    BAD(VALUE, fr_eval(NULL));
    BAD(VALUE, fr_eval_all(2, ARRAYS(i.x, NULL)));
    BAD(VALUE, fr_item(NULL, v));
    BAD(VALUE, fr_item_int(NULL, &whole));
    BAD(VALUE, fr_item_complex(NULL, v));
    BAD_AS(VALUE, "a copy of the values:", fr_copy_out(NULL, room, 4));
    BAD(VALUE, fr_access(NULL, &view));
    BAD_AS(VALUE, "printing:", fr_to_text(NULL));
    NULLS(fr_contiguous(NULL));
    NULLS(fr_keep(NULL));
    BAD(VALUE, fr_item(i.x, v));
    BAD(VALUE, fr_item_int(i.empty, &whole));
    BAD(VALUE, fr_item_complex(i.x, v));
    BAD(TYPE, fr_item(fr_number_complex(1, 2), v));
    BAD(TYPE, fr_item_int(fr_number_complex(1, 2), &whole));
    BAD(VALUE, fr_copy_out(i.x, room, 47));
    BAD(VALUE, fr_copy_out(i.x, room, 0));
    BAD_AS(MEMORY, "no memory for 8.00 PiB", fr_eval(fr_arange(0, 0x1p50, 1, FR_FLOAT64)));
    EXPECT(fr_ndim(NULL) == -1 && !fr_dims(NULL) && !fr_shape(NULL));
    fr_error_clear();
    fr_free(NULL);
    fr_text_free(NULL);
    fr_scope_close(NULL);
}

BAD_TEST(dtypes)
{
    fr_finfo f;
    fr_iinfo w;
    BAD(TYPE, fr_get_finfo(FR_INT8, &f));
    BAD(TYPE, fr_get_finfo(FR_DTYPE_COUNT, &f));
    BAD(TYPE, fr_get_finfo((fr_dtype)-1, &f));
    BAD(TYPE, fr_get_iinfo(FR_FLOAT16, &w));
    BAD(TYPE, fr_get_iinfo((fr_dtype)1000, &w));
    EXPECT(fr_dtype_name((fr_dtype)-1) && fr_dtype_name(FR_DTYPE_COUNT));
    EXPECT_EQ(fr_dtype_size((fr_dtype)-1), 0);
    EXPECT_EQ(fr_dtype_size(FR_DTYPE_COUNT), 0);
    EXPECT_EQ(fr_result_type(2, ARRAYS(i.x, NULL)), FR_DTYPE_COUNT);
    EXPECT_EQ(fr_error(), FR_OK);
    EXPECT_EQ(fr_result_type(0, NULL), FR_DTYPE_COUNT);
    fr_error_clear();
}

/* ---- shapes, parts ------------------------------------------------------------------------ */

BAD_TEST(shapes)
{
    int64_t shape[FR_MAX_NDIM];
    NULLS(fr_reshape(NULL, SHAPE(2)));
    NULLS(fr_transpose(NULL, NULL, 0));
    NULLS(fr_broadcast_to(NULL, SHAPE(2)));
    NULLS(fr_broadcast_shapes(2, ARRAYS(i.x, NULL), shape));
    NULLS(fr_squeeze(NULL, NULL, 0));
    NULLS(fr_expand_dims(NULL, AXES(0), 1));
    NULLS(fr_flatten(NULL, 0, 1));
    NULLS(fr_slice(NULL, LONGS(0), LONGS(1), LONGS(1)));
    NULLS(fr_swapaxes(NULL, 0, 1));
    NULLS(fr_moveaxis(NULL, 0, 1));
    NULLS(fr_matrix_transpose(NULL));
    NULLS(fr_unflatten(NULL, 0, SHAPE(1)));
    NULLS(fr_atleast_1d(NULL));
    NULLS(fr_atleast_2d(NULL));
    NULLS(fr_atleast_3d(NULL));
    BAD(VALUE, fr_reshape(i.x, SHAPE(5)));
    BAD(VALUE, fr_reshape(i.x, SHAPE(-1, -1)));
    BAD(VALUE, fr_reshape(i.x, SHAPE(-2, 6)));
    BAD(VALUE, fr_reshape(i.empty, SHAPE(-1, 0)));
    EXPECT(!fr_reshape(i.x, SHAPE(INT64_MAX, INT64_MAX)) && fr_error());
    fr_error_clear();
    BAD(VALUE, fr_transpose(i.x, AXES(0), 1));
    BAD(VALUE, fr_transpose(i.x, AXES(0, 0), 2));
    BAD(INDEX, fr_transpose(i.x, AXES(0, 2), 2));
    BAD(VALUE, fr_broadcast_to(i.x, SHAPE(4)));
    BAD(VALUE, fr_broadcast_to(i.x, SHAPE(3, -4)));
    BAD(VALUE, fr_broadcast_shapes(2, ARRAYS(i.x, i.whole), shape));
    BAD(VALUE, fr_squeeze(i.x, AXES(0), 1));
    BAD(INDEX, fr_squeeze(i.x, AXES(5), 1));
    BAD(INDEX, fr_expand_dims(i.x, AXES(4), 1));
    BAD(VALUE, fr_expand_dims(i.x, AXES(0, 0), 2));
    BAD(INDEX, fr_flatten(i.x, 0, 2));
    BAD(VALUE, fr_flatten(i.x, 1, 0));
    BAD(INDEX, fr_slice(i.x, LONGS(3, 0), LONGS(1, 1), LONGS(1, 1)));
    EXPECT(!fr_slice(i.x, LONGS(0, 0), LONGS(INT64_MAX, 1), LONGS(3, 1)) && fr_error());
    fr_error_clear();
    EXPECT(!fr_slice(i.x, LONGS(0, 0), LONGS(0, 1), LONGS(3, 1)) && fr_error());
    fr_error_clear();
    EXPECT(!fr_slice(i.x, LONGS(0, 0), LONGS(1, 1), LONGS(-1, 1)) && fr_error());
    fr_error_clear();
    BAD(INDEX, fr_swapaxes(i.x, 0, 2));
    BAD(INDEX, fr_moveaxis(i.x, -3, 0));
    BAD(VALUE, fr_matrix_transpose(i.v));
    BAD(VALUE, fr_unflatten(i.x, 0, SHAPE(2, 2)));
    BAD(INDEX, fr_unflatten(i.x, 2, SHAPE(2, 2)));
}

BAD_TEST(parts)
{
    fr_array *to[8];
    NULLS(fr_slice_update(NULL, i.x, LONGS(0), LONGS(1), LONGS(1)));
    NULLS(fr_slice_update(i.v, NULL, LONGS(0), LONGS(1), LONGS(1)));
    NULLS(fr_concatenate(2, ARRAYS(i.x, NULL), 0));
    NULLS(fr_stack(2, ARRAYS(i.x, NULL), 0));
    NULLS(fr_pad(NULL, LONGS(1), LONGS(1), NULL));
    NULLS(fr_pad_with(NULL, LONGS(1), LONGS(1), FR_PAD_EDGE));
    NULLS(fr_broadcast_arrays(2, ARRAYS(i.x, NULL), to));
    NULLS(fr_split_at(NULL, 1, LONGS(1), 0, to));
    NULLS(fr_split(NULL, 1, 0, to));
    NULLS(fr_unstack(NULL, 0, to));
    NULLS(fr_meshgrid(2, ARRAYS(i.v, NULL), NULL, to));
    NULLS(fr_tile(NULL, LONGS(1), 1));
    NULLS(fr_repeat(NULL, 1, 0));
    NULLS(fr_roll(NULL, LONGS(1), 1, NULL));
    NULLS(fr_flip(NULL, NULL, 0));
    NULLS(fr_as_strided(NULL, LONGS(1), NULL, 1, 0));
    NULLS(fr_diagonal(NULL, 0, 0, 1));
    NULLS(fr_diag(NULL, 0));
    NULLS(fr_matrix_trace(NULL, 0, 0, 1));
    NULLS(fr_tril(NULL, 0));
    NULLS(fr_triu(NULL, 0));
    NULLS(fr_array_equal(NULL, i.x, false));
    NULLS(fr_array_equal(i.x, NULL, false));
    NULLS(fr_diff(NULL, 1, 0));
    BAD(VALUE, fr_concatenate(0, NULL, 0));
    BAD(VALUE, fr_concatenate(2, ARRAYS(i.x, i.v), 0));
    BAD(INDEX, fr_concatenate(2, ARRAYS(i.x, i.x), 2));
    BAD(VALUE, fr_stack(0, NULL, 0));
    BAD(VALUE, fr_stack(2, ARRAYS(i.x, i.v), 0));
    BAD(INDEX, fr_stack(2, ARRAYS(i.x, i.x), 4));
    BAD(VALUE, fr_pad(i.v, LONGS(-1), LONGS(0), NULL));
    BAD(LIMIT, fr_pad(i.v, LONGS(INT64_MAX), LONGS(INT64_MAX), NULL));
    BAD_AS(VALUE, "broadcast_to:", fr_pad(i.v, LONGS(1), LONGS(0), i.v));
    BAD(VALUE, fr_pad_with(i.v, LONGS(-1), LONGS(0), FR_PAD_WRAP));
    BAD(VALUE, fr_pad_with(i.v, LONGS(1), LONGS(0), (fr_pad_mode)-1));
    BAD(VALUE, fr_pad_with(i.empty, LONGS(1, 0), LONGS(0, 0), FR_PAD_EDGE));
    BAD_AS(VALUE, "broadcast_shapes:", fr_broadcast_arrays(2, ARRAYS(i.x, i.whole), to));
    BAD(INDEX, fr_split_at(i.x, 1, LONGS(1), 2, to));
    BAD(VALUE, fr_split(i.x, 0, 0, to));
    BAD(VALUE, fr_split(i.x, -2, 0, to));
    BAD(VALUE, fr_split(i.x, 2, 0, to));
    BAD(INDEX, fr_unstack(i.x, 2, to));
    BAD(INDEX, fr_unstack(i.one, 0, to));
    BAD(VALUE, fr_tile(i.x, LONGS(-1), 1));
    BAD(LIMIT, fr_tile(i.x, LONGS(INT64_MAX), 1));
    BAD(VALUE, fr_repeat(i.x, -1, 0));
    BAD_AS(LIMIT, "shape [", fr_repeat(i.x, INT64_MAX, 0));
    BAD(INDEX, fr_repeat(i.x, 2, 2));
    BAD(INDEX, fr_roll(i.x, LONGS(1), 1, AXES(2)));
    EXPECT(fr_roll(i.x, LONGS(INT64_MIN), 1, AXES(0)) && fr_roll(i.empty, LONGS(3), 1, NULL));
    BAD(INDEX, fr_flip(i.x, AXES(2), 1));
    BAD(VALUE, fr_as_strided(i.v, LONGS(5), LONGS(1), 1, 0));
    BAD(VALUE, fr_as_strided(i.v, LONGS(2), LONGS(INT64_MAX), 1, 0));
    BAD(VALUE, fr_as_strided(i.v, LONGS(2), LONGS(1), 1, INT64_MAX));
    BAD(VALUE, fr_as_strided(i.v, LONGS(-2), LONGS(1), 1, 0));
    BAD(INDEX, fr_diagonal(i.x, 0, 0, 2));
    BAD(VALUE, fr_diagonal(i.x, 0, 1, -1));
    EXPECT(fr_size(fr_diagonal(i.x, INT_MIN, 0, 1)) == 0);
    EXPECT(fr_size(fr_diagonal(i.x, INT_MAX, 0, 1)) == 0);
    BAD(VALUE, fr_diag(i.cube, 0));
    BAD(VALUE, fr_tril(i.v, 0));
    BAD(VALUE, fr_triu(i.one, 0));
    EXPECT(fr_tril(i.x, INT_MIN) && fr_triu(i.x, INT_MAX) && fr_tri(2, 2, INT_MIN, FR_INT8));
    BAD(VALUE, fr_diff(i.x, -1, 0));
    BAD(INDEX, fr_diff(i.x, 1, 2));
    EXPECT(fr_size(fr_diff(i.x, INT_MAX, 0)) == 0);
}

BAD_TEST(indices)
{
    fr_array *w = i.whole, *to_long = fr_zeros(SHAPE(7), FR_INT32);
    NULLS(fr_take(NULL, w, 0));
    NULLS(fr_take(i.x, NULL, 0));
    NULLS(fr_gather(NULL, 1, &w, AXES(0)));
    NULLS(fr_gather(i.x, 1, ARRAYS(NULL), AXES(0)));
    NULLS(fr_take_along_axis(NULL, w, 0));
    NULLS(fr_take_along_axis(i.v, NULL, 0));
    NULLS(fr_scatter(NULL, 1, &w, AXES(0), i.one, FR_SCATTER_SET));
    NULLS(fr_scatter(i.x, 1, ARRAYS(NULL), AXES(0), i.one, FR_SCATTER_SET));
    NULLS(fr_scatter(i.x, 1, &w, AXES(0), NULL, FR_SCATTER_SET));
    NULLS(fr_put_along_axis(NULL, w, i.one, 0, FR_SCATTER_ADD));
    NULLS(fr_put_along_axis(i.v, NULL, i.one, 0, FR_SCATTER_ADD));
    NULLS(fr_put_along_axis(i.v, w, NULL, 0, FR_SCATTER_ADD));
    NULLS(fr_dynamic_slice(NULL, w, AXES(0, 1), 2, LONGS(1, 1)));
    NULLS(fr_dynamic_slice(i.x, NULL, AXES(0, 1), 2, LONGS(1, 1)));
    NULLS(fr_dynamic_slice_update(NULL, i.x, w, AXES(0, 1), 2));
    NULLS(fr_dynamic_slice_update(i.x, NULL, w, AXES(0, 1), 2));
    NULLS(fr_dynamic_slice_update(i.x, i.x, NULL, AXES(0, 1), 2));
    BAD(TYPE, fr_take(i.x, i.v, 0));
    BAD(INDEX, fr_take(i.x, w, 2));
    BAD(INDEX, fr_take(i.empty, w, 0));
    BAD(VALUE, fr_gather(i.x, 0, NULL, NULL));
    BAD(VALUE, fr_gather(i.x, -1, NULL, NULL));
    BAD(VALUE, fr_gather(i.x, 2, ARRAYS(w, w), AXES(0, -2)));
    BAD(VALUE, fr_gather(i.x, 2, ARRAYS(w, to_long), AXES(0, 1)));
    BAD(INDEX, fr_gather(i.x, 1, &w, AXES(2)));
    BAD(INDEX, fr_gather(i.empty, 1, &w, AXES(0)));
    BAD(TYPE, fr_gather(i.x, 1, &i.v, AXES(0)));
    BAD(VALUE, fr_take_along_axis(i.x, w, 0));
    BAD(TYPE, fr_take_along_axis(i.x, i.x, 0));
    BAD(INDEX, fr_take_along_axis(i.v, w, 1));
    BAD(VALUE, fr_scatter(i.x, 0, NULL, NULL, i.one, FR_SCATTER_SET));
    BAD(VALUE, fr_scatter(i.x, 1, &w, AXES(0), i.cube, FR_SCATTER_ADD));
    BAD(INDEX, fr_scatter(i.x, 1, &w, AXES(-3), i.one, FR_SCATTER_SET));
    BAD(TYPE, fr_scatter(i.mask, 1, &w, AXES(0), i.one, FR_SCATTER_DIV));
    EXPECT(!fr_scatter(i.x, 1, &w, AXES(0), i.one, (fr_scatter_mode)9) && fr_error());
    fr_error_clear();
    EXPECT(!fr_put_along_axis(i.v, w, i.one, 0, (fr_scatter_mode)-1) && fr_error());
    fr_error_clear();
    BAD(VALUE, fr_put_along_axis(i.x, fr_zeros(SHAPE(2, 2), FR_INT32), i.one, 0, 0));
    BAD(VALUE, fr_dynamic_slice(i.x, w, AXES(0, 1), 2, LONGS(4, 1)));
    BAD(VALUE, fr_dynamic_slice(i.x, w, AXES(0, 1), 2, LONGS(-1, 1)));
    BAD(VALUE, fr_dynamic_slice(i.x, w, AXES(0, 0), 2, LONGS(1, 1)));
    BAD(VALUE, fr_dynamic_slice(i.x, w, AXES(0), 1, LONGS(1, 1)));
    BAD(INDEX, fr_dynamic_slice(i.x, w, AXES(0, 2), 2, LONGS(1, 1)));
    EXPECT(!fr_dynamic_slice(i.x, fr_zeros(SHAPE(2), FR_FLOAT32), AXES(0, 1), 2, LONGS(1, 1)));
    EXPECT(fr_error() == FR_ERROR_TYPE || fr_error() == FR_ERROR_VALUE);
    fr_error_clear();
    BAD(VALUE, fr_dynamic_slice_update(i.x, i.cube, w, AXES(0, 1), 2));
}

/* ---- products ----------------------------------------------------------------------------- */

BAD_TEST(products)
{
    int path[4][2];
    fr_array *(*const two[])(fr_array *, fr_array *) = {fr_matmul, fr_outer, fr_inner, fr_vdot,
                                                        fr_kron};
    for (size_t f = 0; f < sizeof two / sizeof *two; f++) {
        NULLS(two[f](NULL, i.x));
        NULLS(two[f](i.x, NULL));
        STICKS(two[f](i.v, i.v));
    }
    NULLS(fr_addmm(NULL, i.x, i.v, 1, 1));
    NULLS(fr_addmm(i.one, NULL, i.v, 1, 1));
    NULLS(fr_addmm(i.one, i.x, NULL, 1, 1));
    NULLS(fr_vecdot(NULL, i.x, 0));
    NULLS(fr_vecdot(i.x, NULL, 0));
    NULLS(fr_cross(NULL, i.x, 0));
    NULLS(fr_cross(i.x, NULL, 0));
    NULLS(fr_tensordot(NULL, i.x, 1, AXES(0), AXES(0)));
    NULLS(fr_einsum("i,i", 2, ARRAYS(i.v, NULL)));
    NULLS(fr_einsum_path("i,i", 2, ARRAYS(i.v, NULL), path, NULL));
    NULLS(fr_block_masked_mm(NULL, i.x, NULL));
    NULLS(fr_gather_mm(i.x, NULL, NULL, NULL));
    NULLS(fr_segmented_mm(i.x, NULL, i.whole));
    NULLS(fr_segmented_mm(i.x, i.x, NULL));
    NULLS(fr_convolve(NULL, i.v, FR_CONVOLVE_FULL));
    NULLS(fr_convolve(i.v, NULL, FR_CONVOLVE_FULL));
    NULLS(fr_norm(NULL, NULL));
    NULLS(fr_hadamard_transform(NULL, 1));
    BAD(VALUE, fr_matmul(i.x, i.x));
    BAD(VALUE, fr_matmul(i.one, i.x));
    BAD(TYPE, fr_matmul(i.mask, fr_transpose(i.mask, NULL, 0)));
    BAD(VALUE, fr_addmm(i.cube, i.x, i.v, 1, 1));
    BAD(VALUE, fr_inner(i.x, i.whole));
    BAD(VALUE, fr_vdot(i.x, i.v));
    BAD(VALUE, fr_vecdot(i.x, i.whole, 0));
    BAD(INDEX, fr_vecdot(i.x, i.x, 2));
    BAD(VALUE, fr_cross(i.x, i.x, 1));
    BAD(INDEX, fr_cross(i.x, i.x, -3));
    BAD(VALUE, fr_tensordot(i.x, i.x, -1, NULL, NULL));
    BAD(INDEX, fr_tensordot(i.x, i.x, 1, AXES(2), AXES(0)));
    BAD(VALUE, fr_tensordot(i.x, i.x, 2, AXES(0, 0), AXES(0, 1)));
    static const char *const wrong[] = {
        "i,j",   "",      "ijk",      "ij->ik", "ij->ii", "ij->",     "i->i", "1j",      "i.j",
        "..i..", "ij->-", "ij->ij->", ",",      "->ij",   "i...j...", "ij,",  "\xff\xfe"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        if (!strcmp(wrong[k], "ij->")) /* the sum of all: nothing is wrong with it */
            continue;
        BAD(VALUE, fr_einsum(wrong[k], 1, &i.x));
        BAD(VALUE, fr_einsum_path(wrong[k], 1, &i.x, path, NULL));
    }
    BAD(VALUE, fr_einsum("ij", 0, NULL));
    BAD(VALUE, fr_einsum("ij,ji", 2, ARRAYS(i.x, i.x)));
    BAD(VALUE, fr_block_masked_mm(i.x, fr_transpose(i.x, NULL, 0),
                                  &(fr_block_masks){.block_size = -1}));
    BAD(VALUE, fr_block_masked_mm(i.x, fr_transpose(i.x, NULL, 0),
                                  &(fr_block_masks){.block_size = 32, .out = i.cube}));
    BAD(VALUE, fr_gather_mm(i.x, i.x, NULL, NULL));
    BAD(VALUE, fr_segmented_mm(i.x, i.x, fr_zeros(SHAPE(3), FR_INT32)));
    BAD(VALUE, fr_convolve(i.x, i.v, FR_CONVOLVE_FULL));
    BAD(VALUE, fr_convolve(i.v, fr_zeros(SHAPE(0), FR_FLOAT32), FR_CONVOLVE_SAME));
    BAD(VALUE, fr_convolve(i.v, i.v, (fr_convolve_mode)7));
    BAD(VALUE, fr_norm(i.x, &(fr_norm_options){FR_NORM_FROBENIUS, 0, AXES(0), 1, false}));
    BAD(VALUE, fr_norm(i.x, &(fr_norm_options){FR_NORM_ORDER, 3, AXES(0, 1), 2, false}));
    BAD(INDEX, fr_norm(i.x, &(fr_norm_options){FR_NORM_2, 0, AXES(2), 1, false}));
    BAD(VALUE, fr_hadamard_transform(fr_zeros(SHAPE(0), FR_FLOAT32), 1));
    BAD(VALUE, fr_hadamard_transform(fr_zeros(SHAPE(6), FR_FLOAT32), 1));
}

BAD_TEST(convolutions)
{
    fr_array *signal = fr_zeros(SHAPE(1, 6, 2), FR_FLOAT32),
             *w = fr_zeros(SHAPE(3, 2, 2), FR_FLOAT32);
    NULLS(fr_windows(NULL, 0, 1, 1, 1));
    NULLS(fr_conv(NULL, w, NULL));
    NULLS(fr_conv(signal, NULL, NULL));
    NULLS(fr_conv_transpose(NULL, w, NULL, NULL));
    NULLS(fr_conv_transpose(signal, NULL, NULL, NULL));
    BAD(INDEX, fr_windows(i.x, 2, 1, 1, 1));
    BAD(VALUE, fr_windows(i.x, 0, 0, 1, 1));
    BAD(VALUE, fr_windows(i.x, 0, 4, 1, 1));
    BAD(VALUE, fr_windows(i.x, 0, 1, 0, 1));
    BAD(VALUE, fr_windows(i.x, 0, 1, 1, -1));
    BAD(VALUE, fr_windows(i.x, 0, 2, 1, INT64_MAX));
    BAD(VALUE, fr_windows(i.x, 0, INT64_MAX, 1, INT64_MAX));
    EXPECT(fr_windows(i.x, 0, 1, INT64_MAX, INT64_MAX) != NULL);
    const fr_conv_options wrong[] = {
        {.stride = LONGS(0)},   {.stride = LONGS(-1)},
        {.dilation = LONGS(0)}, {.dilation = LONGS(INT64_MAX)},
        {.padding = LONGS(-4)}, {.padding = LONGS(INT64_MIN)},
        {.groups = -1},         {.groups = 2},
        {.groups = INT64_MAX},  {.input_dilation = LONGS(0)},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        EXPECT(!fr_conv(signal, w, &wrong[k]));
        if (!EXPECT(fr_error() == FR_ERROR_VALUE || fr_error() == FR_ERROR_LIMIT))
            printf("     conv options %zu\n", k);
        fr_error_clear();
        if (wrong[k].padding || wrong[k].input_dilation)
            continue;
        EXPECT(!fr_conv_transpose(signal, w, &wrong[k], NULL));
        if (!EXPECT(fr_error() == FR_ERROR_VALUE || fr_error() == FR_ERROR_LIMIT))
            printf("     conv_transpose options %zu\n", k);
        fr_error_clear();
    }
    EXPECT(!fr_conv(signal, w, &(fr_conv_options){.padding = LONGS(INT64_MAX)}) && fr_error());
    fr_error_clear();
    EXPECT(!fr_conv(signal, w, &(fr_conv_options){.input_dilation = LONGS(INT64_MAX)}) &&
           fr_error());
    fr_error_clear();
    EXPECT(!fr_conv_transpose(signal, w, NULL, LONGS(INT64_MAX)) && fr_error());
    fr_error_clear();
    BAD(VALUE, fr_conv(i.x, w, NULL));
    BAD(VALUE, fr_conv(signal, i.x, NULL));
    BAD(VALUE, fr_conv(signal, fr_zeros(SHAPE(3, 2, 5), FR_FLOAT32), NULL));
    BAD(TYPE,
        fr_conv(fr_zeros(SHAPE(1, 6, 2), FR_INT32), fr_zeros(SHAPE(3, 2, 2), FR_INT32), NULL));
}

BAD_TEST(attention_and_layers)
{
    fr_array *q = fr_zeros(SHAPE(1, 4, 3, 8), FR_FLOAT32),
             *p[] = {fr_own(fr_ones(NULL, 0, 11))};
    NULLS(fr_attention(NULL, q, q, NULL));
    NULLS(fr_attention(q, NULL, q, NULL));
    NULLS(fr_attention(q, q, NULL, NULL));
    BAD(VALUE, fr_attention(i.x, q, q, NULL));
    BAD(VALUE, fr_attention(q, fr_zeros(SHAPE(1, 3, 3, 8), FR_FLOAT32), q, NULL));
    BAD(VALUE, fr_attention(q, fr_zeros(SHAPE(1, 4, 3, 7), FR_FLOAT32), q, NULL));
    BAD(TYPE, fr_attention(q, q, q, &(fr_attention_options){.mask = i.whole}));
    BAD(TYPE, fr_attention(q, q, fr_zeros(SHAPE(1, 4, 3, 8), FR_FLOAT16), NULL));
    NULLS(fr_linear(NULL, i.x, NULL));
    NULLS(fr_linear(i.x, NULL, NULL));
    NULLS(fr_layer_norm(NULL, NULL, NULL, 1e-5));
    NULLS(fr_rms_norm(NULL, NULL, 1e-5));
    NULLS(fr_dropout(NULL, 0.5, NULL));
    NULLS(fr_cross_entropy(NULL, i.whole));
    NULLS(fr_cross_entropy(i.x, NULL));
    NULLS(fr_binary_cross_entropy(NULL, i.x));
    NULLS(fr_binary_cross_entropy(i.x, NULL));
    NULLS(fr_mse(NULL, i.x));
    NULLS(fr_mse(i.x, NULL));
    BAD_AS(VALUE, "matmul:", fr_linear(i.x, fr_zeros(SHAPE(3, 5), FR_FLOAT32), NULL));
    BAD_AS(VALUE, "subtract:", fr_mse(i.x, i.whole));
    BAD(TYPE, fr_cross_entropy(i.x, fr_zeros(SHAPE(3), FR_FLOAT32)));
    EXPECT(!fr_layer_norm(i.one, NULL, NULL, 1e-5) && fr_error());
    fr_error_clear();
    EXPECT(!fr_dropout(i.x, 1.5, NULL) && fr_error());
    fr_error_clear();
    EXPECT(!fr_init_weight(SHAPE(-1, 2), NULL) && fr_error());
    fr_error_clear();
    NULLS(fr_sgd(1, p, ARRAYS(NULL), NULL, i.one, NULL));
    NULLS(fr_sgd(1, p, ARRAYS(i.one), NULL, NULL, NULL));
    EXPECT(p[0] && fr_ndim(p[0]) == 0);
    fr_free(p[0]);
}

/* ---- random numbers ----------------------------------------------------------------------- */

BAD_TEST(random_numbers)
{
    fr_array *key = fr_random_key(1);
    NULLS(fr_random_next(ARRAYS(NULL)));
    NULLS(fr_random_integers(NULL, i.one, NULL, 0, FR_INT32, key));
    NULLS(fr_random_integers(i.one, NULL, NULL, 0, FR_INT32, key));
    NULLS(fr_random_bernoulli(NULL, NULL, 0, key));
    NULLS(fr_random_truncated_normal(NULL, i.one, NULL, 0, FR_FLOAT32, key));
    NULLS(fr_random_truncated_normal(i.one, NULL, NULL, 0, FR_FLOAT32, key));
    NULLS(fr_random_categorical(NULL, 0, NULL, -1, key));
    NULLS(fr_random_categorical_samples(NULL, 0, 1, key));
    NULLS(fr_random_shuffle(NULL, 0, key));
    NULLS(fr_random_multivariate_normal(NULL, i.x, NULL, -1, key));
    NULLS(fr_random_multivariate_normal(i.v, NULL, NULL, -1, key));
    BAD(VALUE, fr_random_split(key, -1));
    BAD(VALUE, fr_random_split(i.x, 2));
    BAD(VALUE, fr_random_bits(SHAPE(2), i.x));
    BAD_AS(VALUE, "a size below zero", fr_random_bits(SHAPE(-2), key));
    BAD_AS(LIMIT, "shape [", fr_random_bits(SHAPE(INT64_MAX), key));
    EXPECT(!fr_random_bits(SHAPE(1LL << 33), key) && fr_error());
    fr_error_clear();
    BAD(TYPE, fr_random_uniform(SHAPE(2), FR_INT32, key));
    BAD(TYPE, fr_random_normal(SHAPE(2), FR_DTYPE_COUNT, key));
    BAD(VALUE, fr_random_normal(SHAPE(2), FR_FLOAT32, i.v));
    BAD_AS(TYPE, "randint", fr_random_integers(i.one, i.one, SHAPE(2), FR_FLOAT32, key));
    BAD_AS(VALUE, "randint:", fr_random_integers(i.x, i.one, SHAPE(2), FR_INT32, key));
    BAD(VALUE, fr_random_bernoulli(i.x, SHAPE(2), key));
    BAD_AS(VALUE, "a size below zero", fr_random_bernoulli(i.one, SHAPE(-2), key));
    BAD(VALUE, fr_random_truncated_normal(i.x, i.one, SHAPE(4), FR_FLOAT32, key));
    BAD_AS(TYPE, "random_uniform", fr_random_gumbel(SHAPE(2), FR_BOOL, key));
    BAD_AS(VALUE, "a size below zero", fr_random_laplace(SHAPE(-2), FR_FLOAT32, key));
    BAD(INDEX, fr_random_categorical(i.x, 2, NULL, -1, key));
    BAD(VALUE, fr_random_categorical(i.x, 1, SHAPE(5), key));
    BAD(VALUE, fr_random_categorical_samples(i.x, 1, -1, key));
    BAD(VALUE, fr_random_permutation(-1, key));
    EXPECT(!fr_random_permutation(INT64_MAX, key) && fr_error());
    fr_error_clear();
    BAD_AS(INDEX, "permutation:", fr_random_shuffle(i.x, 2, key));
    BAD(VALUE, fr_random_multivariate_normal(i.v, i.x, NULL, -1, key));
}

/* ---- functions ---------------------------------------------------------------------------- */

static int twice(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx;
    (void)n_in;
    for (int k = 0; k < n_out; k++)
        out[k] = fr_mul(in[0], 2);
    return 0;
}
static int total(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx;
    (void)n_in;
    (void)n_out;
    out[0] = fr_sum(in[0], NULL);
    return 0;
}
static int gives_none(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)in;
    for (int k = 0; k < n_out; k++)
        out[k] = NULL;
    return 0;
}
static int gives_up(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    gives_none(ctx, n_in, in, n_out, out);
    return 7;
}
static int looks(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    double v;
    if (fr_item(fr_sum(in[0], NULL), &v))
        return -1;
    return twice(ctx, n_in, in, n_out, out);
}

/* A failing call: whatever it says, it says something. */
#define WRONG(call)                                                                            \
    do {                                                                                       \
        EXPECT(REFUSED(call));                                                                 \
        EXPECT(fr_error() && strlen(fr_error_message()) > 8);                                  \
        fr_error_clear();                                                                      \
        EXPECT(works());                                                                       \
    } while (0)

BAD_TEST(compiled_functions)
{
    fr_array *out[2];
    fr_function *good = fr_compile(twice, NULL, NULL),
                *none = fr_compile(gives_none, NULL, NULL),
                *up = fr_compile(gives_up, NULL, NULL), *at = fr_compile(looks, NULL, NULL);
    BAD_AS(VALUE, "function:", fr_call1(good, NULL));
    BAD_AS(VALUE, "function:", fr_call(good, 1, ARRAYS(NULL), 1, out));
    BAD(VALUE, fr_call1(NULL, i.x));
    for (int again = 0; again < 2; again++) {
        WRONG(fr_call1(none, i.x));
        BAD_AS(CALLBACK, "function:", fr_call1(up, i.x));
        BAD_AS(TRACE, "compile: item needs", fr_call1(at, i.x));
    }
    EXPECT(fr_call1(good, i.x) != NULL);
    EXPECT(fr_compile_cache_limit(-5) > 0);
    fr_function_free(good);
    fr_function_free(none);
    fr_function_free(up);
    fr_function_free(at);
    fr_function_free(NULL);
    fr_program_free(NULL);
}

BAD_TEST(derivatives)
{
    fr_array *out[2], *grads[2];
    BAD_AS(VALUE, "value_and_grad:", fr_grad(total, NULL, NULL));
    NULLS(fr_stop_gradient(NULL));
    BAD(VALUE, fr_value_and_grad(total, NULL, 1, ARRAYS(NULL), 1, NULL, 1, out, grads));
    BAD(VALUE, fr_vjp(twice, NULL, 1, ARRAYS(NULL), 1, ARRAYS(i.x), out, grads));
    BAD(VALUE, fr_jvp(twice, NULL, 1, ARRAYS(NULL), ARRAYS(i.x), 1, out, grads));
    BAD_AS(VALUE, "value_and_grad:", fr_grad(twice, NULL, i.x));
    WRONG(fr_grad(gives_none, NULL, i.x));
    BAD_AS(CALLBACK, "value_and_grad:", fr_grad(gives_up, NULL, i.x));
    BAD(VALUE, fr_value_and_grad(total, NULL, 1, &i.x, 1, AXES(1), 1, out, grads));
    BAD(VALUE, fr_value_and_grad(total, NULL, 1, &i.x, 1, AXES(-1), 1, out, grads));
    BAD(VALUE, fr_value_and_grad(total, NULL, 1, &i.x, 2, AXES(0, 0), 1, out, grads));
    BAD(VALUE, fr_vjp(twice, NULL, 1, &i.x, 1, &i.v, out, grads));
    BAD(VALUE, fr_jvp(twice, NULL, 1, &i.x, &i.v, 1, out, grads));
    BAD(CALLBACK, fr_vjp(gives_up, NULL, 1, &i.x, 1, &i.x, out, grads));
    BAD(CALLBACK, fr_jvp(gives_up, NULL, 1, &i.x, &i.x, 1, out, grads));
    BAD_AS(CALLBACK, "custom:", fr_checkpoint(gives_up, NULL, 1, &i.x, 1, out));
    WRONG(fr_checkpoint(gives_none, NULL, 1, &i.x, 1, out));
    BAD(CALLBACK, fr_custom(gives_up, &(fr_custom_rules){0}, NULL, 1, &i.x, 1, out));
    BAD_AS(VALUE, "custom:", fr_checkpoint(twice, NULL, 1, ARRAYS(NULL), 1, out));
    BAD(VALUE, fr_custom(twice, &(fr_custom_rules){0}, NULL, 1, ARRAYS(NULL), 1, out));
}

BAD_TEST(batches)
{
    fr_array *out[2];
    BAD(VALUE, fr_vmap(twice, NULL, 1, ARRAYS(NULL), NULL, 1, out, NULL));
    BAD(INDEX, fr_vmap(twice, NULL, 1, &i.x, AXES(2), 1, out, NULL));
    BAD(INDEX, fr_vmap(twice, NULL, 1, &i.one, NULL, 1, out, NULL));
    BAD(INDEX, fr_vmap(twice, NULL, 1, &i.x, AXES(0), 1, out, AXES(4)));
    BAD(VALUE, fr_vmap(twice, NULL, 1, &i.x, AXES(FR_NO_AXIS), 1, out, NULL));
    BAD(VALUE, fr_vmap(twice, NULL, 2, ARRAYS(i.x, i.v), AXES(0, 0), 1, out, NULL));
    BAD(VALUE, fr_vmap(twice, NULL, 1, &i.x, AXES(0), 1, out, AXES(FR_NO_AXIS)));
    BAD(CALLBACK, fr_vmap(gives_up, NULL, 1, &i.x, NULL, 1, out, NULL));
    BAD(TRACE, fr_vmap(looks, NULL, 1, &i.x, NULL, 1, out, NULL));
    WRONG(fr_vmap(gives_none, NULL, 1, &i.x, NULL, 1, out, NULL));
}

/* ---- files, parameters, the rest ----------------------------------------------------------- */

static int full_disk(void *ctx, const void *data, size_t bytes)
{
    (void)ctx, (void)data, (void)bytes;
    return 1;
}
static int sink(void *ctx, const void *data, size_t bytes)
{
    (void)data;
    *(size_t *)ctx += bytes;
    return 0;
}

BAD_TEST(files)
{
    const char *name[] = {"a", "a"};
    size_t written = 0;
    BAD(IO, fr_load("/nowhere/at/all"));
    BAD(IO, fr_load(""));
    BAD(IO, fr_load("/"));
    BAD(VALUE, fr_load_bytes("", 0));
    BAD(VALUE, fr_load_bytes("\x93NUMPY", 6));
    BAD(VALUE, fr_load_bytes("PK\3\4", 4));
    BAD(VALUE, fr_load_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
    BAD(IO, fr_save("/nowhere/at/all", FR_FILE_NPY, 1, name, &i.x, NULL));
    BAD(VALUE, fr_save_by(sink, &written, FR_FILE_NPY, 1, name, ARRAYS(NULL), NULL));
    WRONG(fr_save_by(sink, &written, FR_FILE_NPY, 2, name, ARRAYS(i.x, i.x), NULL));
    WRONG(fr_save_by(sink, &written, FR_FILE_NPY, 0, NULL, NULL, NULL));
    WRONG(fr_save_by(sink, &written, (fr_file_format)9, 1, name, &i.x, NULL));
    WRONG(fr_save_by(sink, &written, FR_FILE_SAFETENSORS, 2, name, ARRAYS(i.x, i.x), NULL));
    EXPECT_EQ(written, 0);
    WRONG(fr_save_by(full_disk, NULL, FR_FILE_NPY, 1, name, &i.x, NULL));
    fr_archive_free(NULL);
}

BAD_TEST(parameters)
{
    fr_params *p = fr_params_new();
    EXPECT_EQ(fr_params_add(p, "w", i.x), 0);
    NULLS(fr_params_add(p, "b", NULL));
    BAD(VALUE, fr_params_add(p, "w", i.v));
    BAD(VALUE, fr_params_get(p, "b"));
    BAD(IO, fr_params_save(p, "/nowhere/at/all.safetensors"));
    BAD(IO, fr_params_load(p, "/nowhere/at/all.safetensors"));
    EXPECT_EQ(fr_params_count(p), 1);
    fr_params_free(p);
    fr_params_free(NULL);
}

BAD_TEST(layers)
{
    fr_array *mean, *variance, *three = fr_zeros(SHAPE(2, 3, 4), FR_FLOAT32),
                               *square = fr_zeros(SHAPE(4, 4), FR_FLOAT32);
    const fr_multi_head_weights w = {square, square, square, square, NULL, NULL, NULL, NULL},
                                lacks = {square, NULL, square, square, NULL, NULL, NULL, NULL};
    NULLS(fr_convolution(NULL, i.x, NULL, NULL));
    NULLS(fr_convolution(i.x, NULL, NULL, NULL));
    NULLS(fr_embedding(NULL, i.whole));
    NULLS(fr_embedding(i.x, NULL));
    NULLS(fr_group_norm(NULL, 1, NULL, NULL, 1e-5));
    NULLS(fr_batch_norm(NULL, i.v, i.v, NULL, NULL, 1e-5));
    NULLS(fr_batch_norm(i.x, NULL, i.v, NULL, NULL, 1e-5));
    NULLS(fr_batch_norm(i.x, i.v, NULL, NULL, NULL, 1e-5));
    NULLS(fr_batch_statistics(NULL, &mean, &variance));
    NULLS(fr_relu(NULL));
    NULLS(fr_gelu(NULL));
    NULLS(fr_silu(NULL));
    NULLS(fr_multi_head_attention(NULL, three, three, 2, &w, NULL));
    NULLS(fr_multi_head_attention(three, three, NULL, 2, &w, NULL));
    NULLS(fr_multi_head_attention(three, three, three, 2, &lacks, NULL));
    BAD(VALUE, fr_embedding(i.v, i.whole));
    BAD(VALUE, fr_group_norm(three, 3, NULL, NULL, 1e-5));
    BAD(VALUE, fr_group_norm(three, 0, NULL, NULL, 1e-5));
    BAD(VALUE, fr_multi_head_attention(i.x, i.x, i.x, 2, &w, NULL));
    BAD(VALUE, fr_multi_head_attention(three, three, three, 3, &w, NULL));
    BAD(VALUE, fr_multi_head_attention(three, three, three, 0, &w, NULL));

    char longer[300] = {0};
    memset(longer, 'a', sizeof longer - 1);
    fr_params *p = fr_params_new();
    EXPECT_EQ(fr_params_add_norm(p, "norm", 4, true), 0);
    int have = fr_params_count(p);
    BAD(VALUE, fr_params_add_norm(p, "norm", 4, true));
    BAD_AS(VALUE, "a size below zero", fr_params_add_norm(p, "other", -1, true));
    BAD(LIMIT, fr_params_add_norm(p, longer, 4, true));
    WRONG(fr_params_add_weight(p, "w", SHAPE(-2, 3), true, NULL));
    WRONG(fr_params_add_weight(p, "w", SHAPE(2, 3), true, i.v)); /* no key */
    WRONG(fr_params_add_embedding(p, "e", -1, 4, NULL));
    WRONG(fr_params_add_attention(p, "a", -1, true, NULL));
    EXPECT_EQ(fr_params_count(p), have);
    BAD(VALUE, fr_params_linear(p, "none", i.x));
    BAD(VALUE, fr_params_convolution(p, "none", three, NULL));
    BAD(VALUE, fr_params_embedding(p, "none", i.whole));
    BAD(VALUE, fr_params_layer_norm(p, "none", i.x, 1e-5));
    BAD(VALUE, fr_params_rms_norm(p, "none", i.x, 1e-5));
    BAD(VALUE, fr_params_attention(p, "none", three, three, three, 2, NULL));
    fr_array *grads[2] = {i.v, i.v}, *out[1];
    fr_params *other = fr_params_new();
    WRONG(fr_params_value_and_grad(p, gives_up, NULL, 1, &i.x, 1, out, grads));
    WRONG(fr_params_value_and_grad(p, gives_none, NULL, 1, &i.x, 1, out, grads));
    WRONG(fr_params_adam(p, grads, other, i.one, NULL));
    WRONG(fr_params_sgd(p, grads, NULL, i.one, &(fr_sgd_options){.momentum = 0.9}));
    EXPECT_EQ(fr_params_count(p), have);
    fr_params_free(other);
    fr_params_free(p);
}

BAD_TEST(the_rest)
{
    BAD(VALUE, fr_describe(1, ARRAYS(NULL)));
    BAD(VALUE, fr_dot(1, ARRAYS(NULL), FR_DOT_GRAPH));
    BAD(VALUE, fr_dot(1, ARRAYS(NULL), FR_DOT_KERNELS));
    WRONG(fr_stream_set((fr_stream){60000}));
    WRONG(fr_synchronize((fr_stream){60000}));
    EXPECT_EQ(fr_stream_new(FR_GPU).id, fr_device_count(FR_GPU) ? fr_stream_current().id : 0);
    fr_error_clear();
    fr_stream_new((fr_device_kind)9);
    EXPECT(fr_error());
    fr_error_clear();
    EXPECT_EQ(fr_device_count((fr_device_kind)9), 0);
    fr_error_clear();
    EXPECT_EQ(fr_count((fr_counter)-1), 0);
    EXPECT_EQ(fr_count(FR_COUNTERS), 0);
    fr_error_clear();
    int threads = fr_threads();
    fr_set_threads(-3);
    EXPECT(fr_threads() > 0);
    fr_set_threads(INT_MAX);
    EXPECT(works());
    fr_set_threads(threads);
    int decimals = fr_print_decimals(INT_MAX);
    fr_text_free(fr_to_text(i.x));
    fr_print_decimals(INT_MIN);
    fr_text_free(fr_to_text(i.x));
    fr_print_decimals(decimals);
    EXPECT(works());
}
