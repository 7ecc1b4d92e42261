/* test_arrays.c - the C API by its manual, include/ferrule/ferrule.h: good input and bad */
#define _GNU_SOURCE
#include "ferrule/ferrule.h"
#include "base/base.h"
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- pieces ----------------------------------------------------------------------------------- */

#define SHAPE(...)                                                                             \
    (int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define STEPS(...)                                                                             \
    (int64_t[]) { __VA_ARGS__ }
#define AXES(...) (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))

/* The error that is set is of this kind and its message holds these words; takes it away. */
static int told(fr_error_kind kind, const char *words)
{
    bool good = fr_error() == kind && strstr(fr_error_message(), words);
    if (!good)
        printf("     have %d \"%s\", want %d \"%s\"\n", (int)fr_error(), fr_error_message(),
               (int)kind, words);
    fr_error_clear();
    return good;
}
#define FAILS(expression, kind, words)                                                         \
    do {                                                                                       \
        EXPECT(!(expression));                                                                 \
        EXPECT(told(kind, words));                                                             \
    } while (0)
#define REFUSES(call, kind, words) FAILS((call) != -1, kind, words)

static fr_array *range(int64_t n)
{
    return fr_contiguous(fr_arange(0, (double)n, 1, FR_FLOAT32));
}
static fr_array *grid(int64_t rows, int64_t columns)
{
    return fr_reshape(range(rows * columns), SHAPE(rows, columns));
}

static int is(fr_array *x, double want)
{
    double v = -1;
    int good = fr_item(x, &v) == 0 && (v == want || (isnan(v) && isnan(want)));
    if (!good)
        printf("     have %g, want %g: %s\n", v, want, fr_error_message());
    return good;
}

static int are(fr_array *x, int n, const double *want)
{
    fr_array *y = fr_contiguous(fr_astype(x, FR_FLOAT64));
    double got[64];
    bool good = fr_size(x) == n && n <= 64 && !fr_copy_out(y, got, sizeof *got * (size_t)n);
    for (int i = 0; good && i < n; i++)
        if (!(good = got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))))
            printf("     element %d: %g, want %g\n", i, got[i], want[i]);
    if (fr_error())
        printf("     %s\n", fr_error_message());
    return good;
}
#define ARE(x, ...)                                                                            \
    EXPECT(are(x, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)),                     \
               (double[]){__VA_ARGS__}))

/* A test that leaves a scope as it found it, with no error and no memory behind. */
#define CASE(name)                                                                             \
    static void case_##name(void);                                                             \
    TEST(name)                                                                                 \
    {                                                                                          \
        size_t active = fr_memory().active;                                                    \
        fr_scope *scope = fr_scope_open();                                                     \
        case_##name();                                                                         \
        fr_scope_close(scope);                                                                 \
        EXPECT_EQ(fr_error(), FR_OK);                                                          \
        fr_error_clear();                                                                      \
        EXPECT_EQ(fr_memory().active, active);                                                 \
    }                                                                                          \
    static void case_##name(void)

/* ---- types ------------------------------------------------------------------------------------- */

TEST(dtypes)
{
    static const struct {
        const char *name;
        size_t size;
    } want[] = {{"bool", 1},    {"uint8", 1},    {"uint16", 2},   {"uint32", 4},
                {"uint64", 8},  {"int8", 1},     {"int16", 2},    {"int32", 4},
                {"int64", 8},   {"float16", 2},  {"bfloat16", 2}, {"float32", 4},
                {"float64", 8}, {"complex64", 8}};
    CHECK_EQ(FR_DTYPE_COUNT, 14);
    for (int i = 0; i < FR_DTYPE_COUNT; i++) {
        CHECK_STR(fr_dtype_name((fr_dtype)i), want[i].name);
        CHECK_EQ(fr_dtype_size((fr_dtype)i), want[i].size);
    }
    CHECK_STR(fr_version(), FR_VERSION);
}

TEST(promotion)
{
    static const fr_dtype row[][3] = {
        {FR_BOOL, FR_UINT8, FR_UINT8},         {FR_UINT8, FR_INT8, FR_INT16},
        {FR_UINT16, FR_INT8, FR_INT32},        {FR_UINT32, FR_INT32, FR_INT64},
        {FR_UINT8, FR_INT64, FR_INT64},        {FR_INT64, FR_FLOAT16, FR_FLOAT16},
        {FR_FLOAT16, FR_BFLOAT16, FR_FLOAT32}, {FR_BFLOAT16, FR_FLOAT32, FR_FLOAT32},
        {FR_BOOL, FR_FLOAT16, FR_FLOAT16},     {FR_UINT64, FR_BFLOAT16, FR_BFLOAT16},
        {FR_FLOAT32, FR_FLOAT64, FR_FLOAT64},  {FR_INT8, FR_INT32, FR_INT32}};
    for (int i = 0; i < FR__COUNT(row); i++) {
        CHECK_EQ(fr_promote(row[i][0], row[i][1]), row[i][2]);
        CHECK_EQ(fr_promote(row[i][1], row[i][0]), row[i][2]);
    }
    for (int a = 0; a < FR_DTYPE_COUNT; a++)
        for (int b = 0; b < FR_DTYPE_COUNT; b++) {
            fr_dtype d = fr_promote((fr_dtype)a, (fr_dtype)b);
            CHECK(d < FR_DTYPE_COUNT);
            CHECK_EQ(d, fr_promote((fr_dtype)b, (fr_dtype)a));
            if (a == b)
                CHECK_EQ(d, a);
        }
}

CASE(numbers)
{
    fr_array *i8 = fr_ones(SHAPE(2), FR_INT8), *f16 = fr_ones(SHAPE(2), FR_FLOAT16),
             *b = fr_ones(SHAPE(2), FR_BOOL);
    EXPECT_EQ(fr_dtype_of(fr_add(i8, 1)), FR_INT8);
    EXPECT_EQ(fr_dtype_of(fr_add(i8, 0.5)), FR_FLOAT32);
    EXPECT_EQ(fr_dtype_of(fr_add(f16, 0.5)), FR_FLOAT16);
    EXPECT_EQ(fr_dtype_of(fr_add(f16, 2)), FR_FLOAT16);
    EXPECT_EQ(fr_dtype_of(fr_add(b, 2)), FR_INT32);
    EXPECT_EQ(fr_dtype_of(fr_add(i8, f16)), FR_FLOAT16);
    fr_array *w = fr_number(0.5), *n = fr_number_int(3), *t = fr_number_bool(true);
    EXPECT(fr_is_weak(w) && fr_is_weak(n) && fr_is_weak(t) && !fr_is_weak(i8));
    EXPECT(fr_is_weak(fr_add(w, n)) && !fr_is_weak(fr_add(w, i8)));
    EXPECT_EQ(fr_dtype_of(w), FR_FLOAT32);
    EXPECT_EQ(fr_dtype_of(n), FR_INT32);
    EXPECT_EQ(fr_dtype_of(t), FR_BOOL);
    EXPECT(is(fr_add(w, n), 3.5));
    EXPECT_EQ(fr_dtype_of(fr_add(fr_add(w, n), f16)), FR_FLOAT16);
    int64_t v = 0;
    EXPECT_EQ(fr_item_int(fr_number_int(INT64_MIN), &v), 0);
    EXPECT_EQ(v, INT64_MIN);
    EXPECT_EQ(fr_dtype_of(fr_number_int(1LL << 40)), FR_INT64);
}

CASE(sugar)
{
    fr_array *x = range(3);
    float f = 0.5f;
    long l = 2;
    unsigned u = 3;
    ARE(fr_add(x, 1), 1, 2, 3);
    ARE(fr_sub(1, x), 1, 0, -1);
    ARE(fr_mul(x, f), 0, 0.5, 1);
    ARE(fr_mul(x, l), 0, 2, 4);
    ARE(fr_add(u, x), 3, 4, 5);
    ARE(fr_add(x, x), 0, 2, 4);
    ARE(fr_where(fr_gt(x, 0.5), x, -1), -1, 1, 2);
    EXPECT(is(fr_add(1, 2.5), 3.5));
    ARE((fr_add)(x, x), 0, 2, 4);
    FAILS(fr_add(fr_reshape(x, SHAPE(5)), 1), FR_ERROR_VALUE, "reshape"); /* the number goes */
    fr_array *number = fr_operand_int(3); /* the same floating operand twice */
    EXPECT(is((fr_mul)(number, number), 9));
}

/* ---- errors ----------------------------------------------------------------------------------------- */

CASE(errors_stick)
{
    fr_array *a = fr_ones(SHAPE(2, 3), FR_FLOAT32), *b = fr_ones(SHAPE(4), FR_FLOAT32);
    EXPECT(!fr_add(a, b));
    EXPECT_EQ(fr_error(), FR_ERROR_VALUE);
    EXPECT(!fr_exp(a) && !fr_ones(SHAPE(1), FR_INT32) && !fr_number(1) && !fr_sum(a, NULL) &&
           !fr_reshape(a, SHAPE(6)));
    EXPECT(!fr_random_uniform(SHAPE(2), FR_FLOAT32, NULL) && !fr_to_text(a) &&
           !fr_describe(1, &a));
    double v;
    fr_view view;
    EXPECT_EQ(fr_eval(a), -1);
    EXPECT_EQ(fr_item(a, &v), -1);
    EXPECT_EQ(fr_access(a, &view), -1);
    EXPECT_EQ(fr_random_seed(1), -1);
    fr_error_set(FR_ERROR_IO, "a later one"); /* the first cause is the one to tell */
    EXPECT(told(FR_ERROR_VALUE,
                "add: shapes don't broadcast: float32[2,3] with float32[4] (3 against 4)"));
    EXPECT(!strcmp(fr_error_message(), ""));
    EXPECT_EQ(fr_eval(a), 0);
    fr_error_set(FR_ERROR_IO, "mine");
    EXPECT(told(FR_ERROR_IO, "mine"));
    fr_error_set(FR_OK, "none");
    EXPECT_EQ(fr_error(), FR_OK);
}

CASE(null_in_null_out)
{
    double v;
    int64_t i;
    fr_view view;
    fr_array *none = NULL, *x = range(2);
    EXPECT(!(fr_add)(none, x) && !fr_exp(none) && !(fr_where)(x, none, x) &&
           !fr_sum(none, NULL) && !fr_softmax(none, NULL));
    EXPECT(!fr_reshape(none, SHAPE(1)) && !fr_transpose(none, NULL, 0) &&
           !fr_astype(none, FR_INT8) && !fr_flatten(none, 0, -1));
    EXPECT(!fr_slice(none, NULL, NULL, NULL) && !fr_contiguous(none) && !fr_keep(none) &&
           !fr_own(none));
    EXPECT(!fr_mean(none, NULL) && !fr_var(none, NULL) && !fr_std(none, NULL) &&
           !fr_logsumexp(none, NULL));
    EXPECT_EQ(fr_error(), FR_OK); /* whoever made the NULL has told */
    EXPECT_EQ(fr_ndim(none), -1);
    EXPECT(!fr_shape(none) && fr_size(none) == 0 && fr_nbytes(none) == 0 && !fr_is_done(none));
    fr_free(none);
    fr_scope_close(NULL);
    fr_text_free(NULL);
    fr_function_free(NULL);
    fr_program_free(NULL);
    fr_trace_abandon(NULL);
    REFUSES(fr_eval(none), FR_ERROR_VALUE, "NULL");
    REFUSES(fr_item(none, &v), FR_ERROR_VALUE, "item");
    REFUSES(fr_item_int(none, &i), FR_ERROR_VALUE, "item");
    REFUSES(fr_access(none, &view), FR_ERROR_VALUE, "NULL");
    REFUSES(fr_copy_out(none, &v, 8), FR_ERROR_VALUE, "NULL");
    FAILS(fr_to_text(none), FR_ERROR_VALUE, "NULL");
    FAILS(fr_describe(1, &none), FR_ERROR_VALUE, "NULL");
    REFUSES(fr_eval_all(2, (fr_array *[]){x, none}), FR_ERROR_VALUE, "array 1 is NULL");
}

/* ---- scopes -------------------------------------------------------------------------------------------- */

TEST(scopes)
{
    size_t active = fr_memory().active;
    fr_scope *a = fr_scope_open(), *b = fr_scope_open(), *c = fr_scope_open();
    fr_array *x = fr_add(range(3), 1), *kept = fr_keep(x), *own = fr_own(range(4));
    CHECK_EQ(fr_eval(x), 0);
    fr_scope_close(b); /* and c, inside it */
    fr_scope_close(c); /* gone already: nothing */
    fr_array *outer = range(5);
    CHECK_EQ(fr_eval(outer), 0);
    ARE(kept, 1, 2, 3);
    ARE(own, 0, 1, 2, 3);
    fr_scope_close(a);
    CHECK_EQ(fr_size(kept), 3);
    fr_free(kept);
    fr_free(own);
    fr_array *mine = fr_ones(SHAPE(3), FR_FLOAT32); /* no scope: the caller's */
    CHECK(fr_own(mine) == mine);
    CHECK_EQ(fr_eval(mine), 0);
    fr_array *again = fr_keep(mine);
    fr_free(mine);
    CHECK(fr_is_done(again) && fr_size(again) == 3);
    fr_free(again);
    CHECK_EQ(fr_memory().active, active);
}

/* ---- from memory ---------------------------------------------------------------------------------------------- */

CASE(from_data)
{
    float data[] = {1, 2, 3, 4, 5, 6};
    fr_array *x = fr_from_data(data, FR_FLOAT32, SHAPE(2, 3));
    data[0] = 99;
    ARE(x, 1, 2, 3, 4, 5, 6);
    EXPECT(fr_is_done(x));
    EXPECT_EQ(fr_ndim(x), 2);
    EXPECT_EQ(fr_shape(x)[1], 3);
    EXPECT_EQ(fr_nbytes(x), 24);
    EXPECT(is(fr_from_data(&data[1], FR_FLOAT32, NULL, 0), 2));
    EXPECT_EQ(fr_size(fr_from_data(NULL, FR_INT8, SHAPE(3, 0))), 0);
    FAILS(fr_from_data(data, FR_FLOAT32, SHAPE(2, -3)), FR_ERROR_VALUE, "2,-3");
    FAILS(fr_from_data(data, (fr_dtype)77, SHAPE(2)), FR_ERROR_TYPE, "from_data: 77");
    int64_t many[33];
    for (int i = 0; i < 33; i++)
        many[i] = 1;
    FAILS(fr_from_data(data, FR_FLOAT32, many, 33), FR_ERROR_LIMIT,
          "33 dimensions, the most is 32");
    FAILS(fr_from_data(data, FR_FLOAT32, many, -1), FR_ERROR_LIMIT, "dimensions");
    EXPECT_EQ(fr_ndim(fr_from_data(data, FR_FLOAT32, many, 32)), 32);
    FAILS(fr_zeros(SHAPE(INT64_MAX, 2), FR_INT8), FR_ERROR_LIMIT, "9223372036854775807,2");
    FAILS(fr_zeros(SHAPE(INT64_MAX / 8), FR_FLOAT64), FR_ERROR_LIMIT, "float64");
    FAILS(fr_zeros(SHAPE(INT64_MAX, INT64_MAX, INT64_MAX), FR_INT8), FR_ERROR_LIMIT, "memory");
    EXPECT_EQ(fr_size(fr_zeros(SHAPE(INT64_MAX, 0, INT64_MAX), FR_INT8)), 0);
    fr_array *huge = fr_zeros(SHAPE(1LL << 40), FR_FLOAT32); /* lazily it may be */
    EXPECT(huge);
    EXPECT(is(fr_max(fr_slice(huge, STEPS(1LL << 39), STEPS(1), STEPS(2)), NULL), 0));
    REFUSES(fr_eval(fr_contiguous(huge)), FR_ERROR_MEMORY,
            fr_device_of(huge) == FR_GPU ? "4.00 TiB asked for" : "no memory for");
}

static int released;
static void release(void *ctx) { ++*(int *)ctx; }

TEST(from_buffer)
{
    static float data[] = {0, 1, 2, 3, 4, 5, 6, 7};
    fr_scope *s = fr_scope_open();
    released = 0;
    fr_array *x = fr_from_buffer(data + 7, FR_FLOAT32, SHAPE(2, 4), (int64_t[]){-16, -4},
                                 release, &released);
    ARE(x, 7, 6, 5, 4, 3, 2, 1, 0);
    ARE(fr_sum(x, &(fr_reduce_options){.axes = (int[]){0}, .naxes = 1}), 10, 8, 6, 4);
    ARE(fr_add(fr_transpose(x, NULL, 0), 0), 7, 3, 6, 2, 5, 1, 4, 0);
    ARE(fr_reshape(x, SHAPE(8)), 7, 6, 5, 4, 3, 2, 1, 0);
    fr_array *view = fr_keep(fr_slice(x, STEPS(1, 3), STEPS(1, -2), STEPS(1, 2)));
    fr_array *zero = fr_from_buffer(data + 3, FR_FLOAT32, SHAPE(2, 3), (int64_t[]){0, 0},
                                    release, &released);
    ARE(fr_add(zero, 0), 3, 3, 3, 3, 3, 3);
    fr_array *empty = fr_from_buffer(NULL, FR_FLOAT32, SHAPE(0, 2), NULL, release, &released);
    CHECK_EQ(fr_size(empty), 0);
    FAILS(fr_from_buffer(data, FR_FLOAT32, SHAPE(2), (int64_t[]){6}, release, &released),
          FR_ERROR_VALUE, "stride 6 of axis 0");
    FAILS(fr_from_buffer((char *)data + 1, FR_FLOAT32, SHAPE(2), NULL, release, &released),
          FR_ERROR_VALUE, "aligned");
    FAILS(fr_from_buffer(data, FR_FLOAT32, SHAPE(-2), NULL, release, &released), FR_ERROR_VALUE,
          "below zero");
    FAILS(fr_from_buffer(data, FR_DTYPE_COUNT, SHAPE(2), NULL, release, &released),
          FR_ERROR_TYPE, "from_buffer");
    FAILS(fr_from_buffer(data, FR_FLOAT32, NULL, 33, NULL, release, &released), FR_ERROR_LIMIT,
          "from_buffer: 33");
    CHECK_EQ(released, 0);
    fr_scope_close(s);
    CHECK_EQ(released, 2); /* of zero and empty; the view uses x's still */
    s = fr_scope_open();
    ARE(view, 0, 2);
    fr_view v;
    CHECK_EQ(fr_access(view, &v), 0);
    CHECK(v.data == data && v.ndim == 2 && v.shape[1] == 2 && v.strides[1] == 8 &&
          v.dtype == FR_FLOAT32);
    fr_scope_close(s);
    fr_free(view);
    CHECK_EQ(released, 3);
}

/* ---- values out ------------------------------------------------------------------------------------------------- */

CASE(values)
{
    fr_array *x = grid(2, 3), *lazy = fr_add(x, 1);
    double v;
    float six[6];
    EXPECT(!fr_is_done(lazy));
    REFUSES(fr_item(lazy, &v), FR_ERROR_VALUE, "item: float32[2,3] has 6 elements, not one");
    REFUSES(fr_item(fr_zeros(SHAPE(0), FR_INT8), &v), FR_ERROR_VALUE,
            "item: int8[0] has 0 elements");
    EXPECT(is(fr_reshape(fr_sum(x, NULL), SHAPE(1, 1, 1)), 15));
    REFUSES(fr_copy_out(x, six, 20), FR_ERROR_VALUE,
            "copy_out: room for 20 bytes, float32[2,3] has 24");
    REFUSES(fr_copy_out(x, six, 28), FR_ERROR_VALUE, "copy_out");
    EXPECT_EQ(fr_copy_out(fr_transpose(x, NULL, 0), six, 24), 0);
    EXPECT(six[1] == 3 && six[2] == 1);
    EXPECT_EQ(fr_copy_out(fr_zeros(SHAPE(0, 5), FR_INT8), NULL, 0), 0);
    EXPECT_EQ(fr_eval_all(0, NULL), 0);
    int64_t i;
    EXPECT_EQ(fr_item_int(fr_full(NULL, 0, NAN, FR_FLOAT32), &i), 0);
    EXPECT_EQ(i, 0);
    EXPECT_EQ(fr_item_int(fr_full(NULL, 0, 1e30, FR_FLOAT32), &i), 0);
    EXPECT_EQ(i, INT64_MAX);
    EXPECT(is(fr_full(NULL, 0, 65504, FR_FLOAT16), 65504));
    EXPECT(is(fr_full(NULL, 0, -2, FR_BFLOAT16), -2));
    EXPECT(is(fr_full(NULL, 0, 200, FR_UINT8), 200));
    char *text = fr_to_text(fr_astype(x, FR_INT32));
    EXPECT(text && !strcmp(text, "array([[0, 1, 2],\n       [3, 4, 5]], dtype=int32)"));
    fr_text_free(text);
    text = fr_to_text(fr_zeros(SHAPE(0), FR_BOOL));
    EXPECT(text && !strcmp(text, "array([], dtype=bool)"));
    fr_text_free(text);
    text = fr_to_text(range(2000));
    EXPECT(text && strstr(text, "0, 1, 2, ..., 1997, 1998, 1999"));
    fr_text_free(text);
}

/* ---- views --------------------------------------------------------------------------------------------------------- */

CASE(shapes)
{
    fr_array *x = grid(2, 3), *lazy = fr_add(x, 0);
    for (int k = 0; k < 2; k++, x = lazy) { /* with values and without */
        ARE(fr_reshape(x, SHAPE(3, -1)), 0, 1, 2, 3, 4, 5);
        EXPECT_EQ(fr_shape(fr_reshape(x, SHAPE(-1, 6)))[0], 1);
        FAILS(fr_reshape(x, SHAPE(4, -1)), FR_ERROR_VALUE,
              "reshape: float32[2,3] has 6 elements and cannot have shape [4,-1]");
        FAILS(fr_reshape(x, SHAPE(-1, -1)), FR_ERROR_VALUE, "reshape");
        FAILS(fr_reshape(x, SHAPE(-2, -3)), FR_ERROR_VALUE, "reshape");
        FAILS(fr_reshape(x, SHAPE(INT64_MAX, INT64_MAX)), FR_ERROR_VALUE, "reshape");
        FAILS(fr_reshape(x, NULL, 0), FR_ERROR_VALUE, "reshape");
        FAILS(fr_reshape(x, NULL, 33), FR_ERROR_LIMIT, "reshape: 33");
        ARE(fr_transpose(x, NULL, 0), 0, 3, 1, 4, 2, 5);
        ARE(fr_transpose(x, AXES(-1, 0)), 0, 3, 1, 4, 2, 5);
        FAILS(fr_transpose(x, AXES(0)), FR_ERROR_VALUE, "transpose: 1 axes for float32[2,3]");
        FAILS(fr_transpose(x, AXES(0, 0)), FR_ERROR_VALUE, "named twice");
        FAILS(fr_transpose(x, AXES(0, 2)), FR_ERROR_INDEX,
              "transpose: axis 2 of an array with 2 dimensions");
        ARE(fr_broadcast_to(fr_slice(x, STEPS(0, 1), STEPS(1, 1), STEPS(2, 1)), SHAPE(2, 2, 2)),
            1, 1, 4, 4, 1, 1, 4, 4);
        FAILS(fr_broadcast_to(x, SHAPE(2, 4)), FR_ERROR_VALUE,
              "broadcast_to: float32[2,3] does not broadcast to [2,4]");
        FAILS(fr_broadcast_to(x, SHAPE(3)), FR_ERROR_VALUE, "broadcast_to");
        fr_array *e = fr_expand_dims(x, AXES(0, -1));
        EXPECT(fr_ndim(e) == 4 && fr_shape(e)[0] == 1 && fr_shape(e)[3] == 1 &&
               fr_shape(e)[2] == 3);
        EXPECT_EQ(fr_ndim(fr_squeeze(e, NULL, 0)), 2);
        EXPECT_EQ(fr_ndim(fr_squeeze(e, AXES(-1))), 3);
        FAILS(fr_squeeze(e, AXES(1)), FR_ERROR_VALUE,
              "squeeze: axis 1 of float32[1,2,3,1] is not of size 1");
        FAILS(fr_expand_dims(x, AXES(0, 0)), FR_ERROR_VALUE, "named twice");
        FAILS(fr_expand_dims(x, (int[32]){0}, 31), FR_ERROR_LIMIT, "expand_dims: 33");
        FAILS(fr_expand_dims(x, (int[1]){0}, -1), FR_ERROR_VALUE, "expand_dims");
        ARE(fr_flatten(x, 0, -1), 0, 1, 2, 3, 4, 5);
        FAILS(fr_flatten(x, 1, 0), FR_ERROR_VALUE, "flatten");
        FAILS(fr_flatten(x, 0, 2), FR_ERROR_INDEX, "flatten: axis 2");
        ARE(fr_slice(x, STEPS(1, 2), STEPS(-1, -2), STEPS(2, 2)), 5, 3, 2, 0);
        EXPECT_EQ(fr_size(fr_slice(x, STEPS(5, 0), STEPS(1, 1), STEPS(0, 3))), 0);
        FAILS(fr_slice(x, STEPS(1, 0), STEPS(1, 1), STEPS(2, 3)), FR_ERROR_INDEX,
              "slice: 2 elements from 1 in steps of 1 leave axis 0 of float32[2,3]");
        FAILS(fr_slice(x, STEPS(0, 0), STEPS(1, 0), STEPS(1, 1)), FR_ERROR_INDEX, "slice");
        FAILS(fr_slice(x, STEPS(0, 0), STEPS(INT64_MAX, 1), STEPS(3, 1)), FR_ERROR_INDEX,
              "slice");
        FAILS(fr_slice(x, STEPS(-1, 0), STEPS(1, 1), STEPS(1, 1)), FR_ERROR_INDEX, "slice");
        FAILS(fr_slice(x, STEPS(0, 0), STEPS(1, 1), STEPS(-1, 1)), FR_ERROR_INDEX, "slice");
        /* Views of views of views, some that strides cannot say. */
        fr_array *v = fr_slice(fr_reshape(fr_transpose(x, NULL, 0), SHAPE(6)), STEPS(5),
                               STEPS(-2), STEPS(3));
        ARE(v, 5, 4, 3);
        ARE(fr_transpose(fr_broadcast_to(fr_expand_dims(v, AXES(1)), SHAPE(3, 2)), NULL, 0), 5,
            4, 3, 5, 4, 3);
    }
    int64_t shape[FR_MAX_NDIM];
    EXPECT_EQ(fr_broadcast_shapes(3, (fr_array *[]){grid(2, 3), grid(1, 3), range(1)}, shape),
              2);
    EXPECT(shape[0] == 2 && shape[1] == 3);
    REFUSES(fr_broadcast_shapes(3, (fr_array *[]){grid(2, 3), range(1), grid(3, 2)}, shape),
            FR_ERROR_VALUE, "float32[2,3] with float32[3,2]");
}

CASE(rank_32)
{
    int64_t shape[33];
    for (int i = 0; i < 33; i++)
        shape[i] = i % 8 == 3 ? 2 : 1;
    fr_array *x = fr_reshape(range(16), shape, 32);
    EXPECT_EQ(fr_ndim(x), 32);
    ARE(fr_flatten(fr_transpose(fr_add(x, 1), NULL, 0), 0, -1), 1, 9, 5, 13, 3, 11, 7, 15, 2,
        10, 6, 14, 4, 12, 8, 16);
    EXPECT(is(fr_sum(fr_mul(fr_transpose(x, NULL, 0), x), NULL), 14400));
    FAILS(fr_reshape(x, shape, 33), FR_ERROR_LIMIT, "33");
    FAILS(fr_expand_dims(x, AXES(0)), FR_ERROR_LIMIT, "expand_dims: 33");
    EXPECT(is(
        fr_sum(fr_softmax(x, &(fr_reduce_options){.axes = (int[]){3, 19}, .naxes = 2}), NULL),
        4));
}

CASE(empty)
{
    fr_array *x = fr_zeros(SHAPE(0, 3), FR_FLOAT32),
             *made[] = {
                 x,
                 fr_add(x, 1),
                 fr_exp(x),
                 fr_transpose(x, NULL, 0),
                 fr_reshape(x, SHAPE(3, 0, 2)),
                 fr_astype(x, FR_INT8),
                 fr_contiguous(x),
                 fr_softmax(x, NULL),
                 fr_where(fr_gt(x, 0), x, 1),
                 fr_add(x, fr_ones(SHAPE(1, 3), FR_FLOAT32)),
                 fr_random_normal(SHAPE(0), FR_FLOAT32, NULL),
                 fr_arange(3, 3, 1, FR_INT32),
                 fr_arange(3, 1, 1, FR_INT32),
                 fr_random_bits(SHAPE(2, 0), NULL),
                 fr_sum(x, &(fr_reduce_options){.axes = (int[]){1}, .naxes = 1}),
                 fr_max(x, &(fr_reduce_options){.axes = (int[]){1}, .naxes = 1}),
                 fr_broadcast_to(x, SHAPE(2, 0, 3)),
                 fr_expand_dims(x, AXES(0)),
                 fr_flatten(x, 0, 1),
                 fr_from_data(NULL, FR_INT8, SHAPE(0)),
                 fr_logsumexp(x, &(fr_reduce_options){.axes = (int[]){1}, .naxes = 1}),
             };
    for (int i = 0; i < FR__COUNT(made); i++) {
        if (!EXPECT(made[i] && fr_size(made[i]) == 0))
            printf("     %d: %s\n", i, fr_error_message());
        EXPECT_EQ(fr_eval(made[i]), 0);
        char *text = fr_to_text(made[i]);
        EXPECT(text && strstr(text, "array("));
        fr_text_free(text);
    }
    fr_reduce_options rows = {.axes = (int[]){0}, .naxes = 1};
    ARE(fr_sum(x, &rows), 0, 0, 0);
    ARE(fr_prod(x, &rows), 1, 1, 1);
    ARE(fr_any(x, &rows), 0, 0, 0);
    ARE(fr_all(x, &rows), 1, 1, 1);
    ARE(fr_mean(x, &rows), NAN, NAN, NAN);
    ARE(fr_logsumexp(x, &rows), -INFINITY, -INFINITY, -INFINITY);
    EXPECT(is(fr_sum(x, NULL), 0));
    FAILS(fr_max(x, &rows), FR_ERROR_VALUE, "float32[0,3]");
    FAILS(fr_min(x, NULL), FR_ERROR_VALUE, "min");
    ARE(fr_add(fr_sum(fr_exp(x), &rows), range(3)), 0, 1, 2);
}

/* ---- operations: what cannot be --------------------------------------------------------------------------------------- */

CASE(bad_operands)
{
    fr_array *x = grid(2, 3), *c = fr_from_data((float[]){1, 2}, FR_COMPLEX64, SHAPE(1));
    FAILS(fr_erf(c), FR_ERROR_VALUE, "erf: complex64");
    FAILS(fr_bit_and(c, c), FR_ERROR_TYPE, "bitwise_and: complex64");
    FAILS(fr_astype(x, (fr_dtype)99), FR_ERROR_TYPE, "astype: 99");
    FAILS(fr_bit_and(x, 1), FR_ERROR_TYPE, "float32");
    FAILS(fr_sum(x, &(fr_reduce_options){.axes = (int[]){2}, .naxes = 1}), FR_ERROR_INDEX,
          "sum: axis 2 of an array with 2 dimensions");
    FAILS(fr_sum(x, &(fr_reduce_options){.axes = (int[]){0, -2}, .naxes = 2}), FR_ERROR_VALUE,
          "sum: axis 0 is named twice");
    FAILS(fr_softmax(x, &(fr_reduce_options){.axes = (int[]){-3}, .naxes = 1}), FR_ERROR_INDEX,
          "softmax: axis -3");
    ARE(fr_sum(x, &(fr_reduce_options){.axes = (int[]){0}, .naxes = 0}), 0, 1, 2, 3, 4,
        5); /* over no axes */
    FAILS(fr_arange(0, 1, 0, FR_FLOAT32), FR_ERROR_VALUE, "arange");
    FAILS(fr_arange(0, NAN, 1, FR_FLOAT32), FR_ERROR_VALUE, "arange");
    FAILS(fr_arange(0, INFINITY, 1, FR_FLOAT32), FR_ERROR_LIMIT, "arange");
    FAILS(fr_arange(0, 5, 1, FR_BOOL), FR_ERROR_TYPE, "arange: bool");
    ARE(fr_arange(5, 0, -2, FR_INT32), 5, 3, 1);
    FAILS(fr_random_uniform(SHAPE(2), FR_INT32, NULL), FR_ERROR_TYPE,
          "random_uniform makes floats, not int32");
    FAILS(fr_random_uniform(SHAPE(2), FR_FLOAT32, x), FR_ERROR_VALUE,
          "random_uniform: a key is uint32[2], not float32[2,3]");
    FAILS(fr_random_bits(SHAPE(1LL << 33), NULL), FR_ERROR_LIMIT, "random_bits");
    FAILS(fr_random_split(fr_random_key(1), 0), FR_ERROR_VALUE, "random_split");
    FAILS(fr_random_normal(SHAPE(-1), FR_FLOAT32, NULL), FR_ERROR_VALUE, "below zero");
    REFUSES(fr_stream_set((fr_stream){9999}), FR_ERROR_VALUE, "stream 9999");
    fr_stream_new(FR_GPU);
    EXPECT(fr_device_count(FR_GPU) > 0 || told(FR_ERROR_DEVICE, "GPU"));
}

/* ---- compile ------------------------------------------------------------------------------------------------------------- */

typedef struct context {
    int runs, status;
    const char *message; /* to fail with */
    fr_array *captured, *leaked;
    fr_function *inner;
} context;

static int affine(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    context *c = ctx;
    c->runs++;
    for (int i = 0; i < n_out; i++)
        out[i] = fr_add(fr_mul(in[i % n_in], 2), c->captured ? c->captured : in[0]);
    if (c->message)
        fr_error_set(FR_ERROR_IO, c->message);
    return c->status;
}

static void note_free(void *ctx) { ((context *)ctx)->runs = -1; }

CASE(compile_keys)
{
    context c = {0};
    fr_function *f =
        fr_compile(affine, &c, &(fr_compile_options){.name = "affine", .free_ctx = note_free});
    fr_array *x = grid(2, 3), *y;
    int64_t traces = fr_count(FR_COUNT_TRACES);
    for (int i = 0; i < 3; i++) {
        y = fr_call1(f, fr_add(x, i));
        EXPECT(fr_is_done(y));
        ARE(y, 3 * i, 3 * i + 3, 3 * i + 6, 3 * i + 9, 3 * i + 12, 3 * i + 15);
    }
    EXPECT_EQ(c.runs, 1);
    EXPECT_EQ(fr_count(FR_COUNT_TRACES) - traces, 1);
    ARE(fr_call1(f, fr_reshape(x, SHAPE(3, 2))), 0, 3, 6, 9, 12, 15); /* shape */
    EXPECT_EQ(c.runs, 2);
    ARE(fr_call1(f, fr_astype(x, FR_INT32)), 0, 3, 6, 9, 12, 15); /* dtype */
    EXPECT_EQ(c.runs, 3);
    fr_array *t = fr_transpose(fr_contiguous(fr_transpose(x, NULL, 0)), NULL, 0); /* layout */
    ARE(fr_call1(f, t), 0, 3, 6, 9, 12, 15);
    EXPECT_EQ(c.runs, 4);
    ARE(fr_call1(f, fr_slice(grid(4, 3), STEPS(0, 0), STEPS(2, 1), STEPS(2, 3))), 0, 3, 6, 18,
        21, 24);
    ARE(fr_call1(f, fr_slice(x, STEPS(1, 2), STEPS(-1, -1), STEPS(2, 3))), 15, 12, 9, 6, 3, 0);
    int runs = c.runs;
    ARE(fr_call1(f, t), 0, 3, 6, 9, 12, 15);
    ARE(fr_call1(f, x), 0, 3, 6, 9, 12, 15);
#ifndef FERRULE_HARD /* keeps two programs */
    EXPECT_EQ(c.runs, runs);
#endif
    runs = c.runs;
    EXPECT(is(fr_call1(f, fr_number(2.5)), 7.5)); /* weak */
    EXPECT(is(fr_call1(f, fr_full(NULL, 0, 2.5, FR_FLOAT32)), 7.5));
    EXPECT_EQ(c.runs, runs + 2);
    EXPECT_EQ(fr_size(fr_call1(f, fr_zeros(SHAPE(0, 3), FR_FLOAT32))), 0);
    fr_function_free(f);
    EXPECT_EQ(c.runs, -1);
}

CASE(compile_evicts)
{
    context c = {0};
    fr_function *f = fr_compile(affine, &c, &(fr_compile_options){.cache_limit = 2}),
                *g = fr_compile(affine, &c, NULL);
    for (int i = 0; i < 2; i++)
        for (int n = 1; n <= 3; n++)
            EXPECT(is(fr_max(fr_call1(f, range(n)), NULL), 3 * (n - 1)));
    EXPECT_EQ(c.runs, 6);
    EXPECT(fr_call1(f, range(3)) && fr_call1(f, range(2)) && fr_call1(f, range(3)));
    EXPECT_EQ(c.runs, 6);
    c.runs = 0;
    for (int i = 0; i < 2; i++)
        for (int n = 1; n <= 258; n++)
            EXPECT(fr_call1(g, fr_zeros(SHAPE(n), FR_FLOAT32)));
    EXPECT_EQ(c.runs, 2 * 258); /* 256 are kept, the oldest go first: each had gone */
    fr_function_free(f);
    fr_function_free(g);
}

CASE(callbacks_that_fail)
{
    context c = {.status = 7};
    fr_function *f = fr_compile(affine, &c, &(fr_compile_options){.name = "loss"});
    fr_array *x = range(3), *out[2];
    FAILS(fr_call1(f, x), FR_ERROR_CALLBACK, "loss: the function returned 7");
    c.message = "no such file";
    FAILS(fr_call1(f, x), FR_ERROR_IO, "no such file");
    c.status = 0; /* an error that nobody returned */
    FAILS(fr_call1(f, x), FR_ERROR_IO, "no such file");
    c.message = NULL;
    c.captured = range(4);
    FAILS(fr_call1(f, x), FR_ERROR_VALUE, "add: shapes don't broadcast");
    c.captured = NULL;
    ARE(fr_call1(f, x), 0, 3, 6); /* nothing of that stays */
    EXPECT_EQ(c.runs, 5);
    EXPECT_EQ(fr_call(f, 1, &x, 2, out), 0); /* the number of results tells programs apart */
    ARE(out[1], 0, 3, 6);
    EXPECT(out[0] != out[1]);
    FAILS(fr_compile(NULL, NULL, NULL), FR_ERROR_VALUE, "compile: the function is NULL");
    FAILS(fr_call1(NULL, x), FR_ERROR_VALUE, "call: the function is NULL");
    FAILS(fr_call1(f, NULL), FR_ERROR_VALUE, "loss: input 0 is NULL");
    fr_function *bare = fr_function_new("bare", 0);
    FAILS(fr_call1(bare, x), FR_ERROR_VALUE, "bare");
    fr_function_free(bare);
    fr_function_free(f);
}

static int forgets(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out;
    return 0;
}

static int all_kinds(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_in, (void)n_out;
    out[0] = in[0];
    out[1] = in[0];
    out[2] = fr_transpose(in[0], NULL, 0);
    out[3] = fr_ones(SHAPE(2), FR_INT32);
    out[4] = *(fr_array **)ctx;
    out[5] = out[6] = fr_add(in[0], in[1]);
    out[7] = fr_slice(out[5], STEPS(1, 0), STEPS(1, 1), STEPS(1, 2));
    out[8] = fr_reshape(*(fr_array **)ctx, SHAPE(-1));
    out[9] = fr_number(1.5);
    return 0;
}

CASE(kinds_of_results)
{
    fr_array *held = fr_add(grid(1, 2), 10), *out[10],
             *in[] = {grid(2, 2), fr_ones(SHAPE(2, 2), FR_FLOAT32)};
    fr_function *f = fr_compile(all_kinds, &held, NULL),
                *g = fr_compile(forgets, NULL, &(fr_compile_options){.name = "forgets"});
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(fr_call(f, 2, in, 10, out), 0);
        for (int k = 0; k < 10; k++)
            EXPECT(fr_is_done(out[k]) && !fr_is_traced(out[k]));
        ARE(out[0], 0, 1, 2, 3);
        ARE(out[1], 0, 1, 2, 3);
        ARE(out[2], 0, 2, 1, 3);
        ARE(out[3], 1, 1);
        ARE(out[4], 10, 11);
        ARE(out[5], 1, 2, 3, 4);
        ARE(out[6], 1, 2, 3, 4);
        ARE(out[7], 3, 4);
        ARE(out[8], 10, 11);
        EXPECT(is(out[9], 1.5));
        in[0] = fr_mul(in[0], 1); /* another array of the same kind */
    }
    FAILS(fr_call1(g, in[0]), FR_ERROR_VALUE, "forgets: result 0 was not set");
    EXPECT_EQ(fr_call(g, 1, in, 0, NULL), 0); /* no results */
    EXPECT_EQ(fr_call(g, 1, in, 0, NULL), 0);
    EXPECT_EQ(fr_call(g, 0, NULL, 0, NULL), 0); /* nor inputs */
    fr_function_free(f);
    fr_function_free(g);
}

static int looks(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    context *c = ctx;
    double v;
    (void)n_in, (void)n_out;
    EXPECT(fr_is_traced(in[0]) && !fr_is_done(in[0]));
    out[0] = fr_add(in[0], 1);
    EXPECT(fr_is_traced(out[0]));
    switch (c->status) {
    case 0: fr_text_free(fr_to_text(out[0])); break;
    case 1: fr_item(fr_sum(in[0], NULL), &v); break;
    case 2: fr_eval(in[0]); break;
    case 3: fr_copy_out(out[0], &v, 8); break;
    default: fr_free(c->leaked), c->leaked = fr_keep(out[0]);
    }
    return fr_error() != FR_OK;
}

CASE(placeholders)
{
    context c = {0};
    double v;
    fr_function *f = fr_compile(looks, &c, &(fr_compile_options){.name = "looks"});
    fr_array *x = range(2);
    FAILS(fr_call1(f, x), FR_ERROR_TRACE,
          "compile: printing needs the value of float32[2], made from a placeholder while "
          "tracing 'looks'");
    c.status = 1;
    FAILS(fr_call1(f, x), FR_ERROR_TRACE, "item needs the value of float32[]");
    c.status = 2;
    FAILS(fr_call1(f, x), FR_ERROR_TRACE, "float32[2], a placeholder made");
    c.status = 3;
    FAILS(fr_call1(f, x), FR_ERROR_TRACE, "copy");
    c.status = 4;
    ARE(fr_call1(f, x), 1, 2);
    EXPECT(fr_is_traced(c.leaked)); /* after its trace: an error, wherever it is used */
    REFUSES(fr_eval(c.leaked), FR_ERROR_TRACE, "while tracing 'looks'");
    REFUSES(fr_item(fr_sum(fr_mul(c.leaked, x), NULL), &v), FR_ERROR_TRACE, "looks");
    REFUSES(fr_eval_all(2, (fr_array *[]){x, fr_exp(c.leaked)}), FR_ERROR_TRACE, "looks");
    context user = {.captured = c.leaked};
    fr_function *g = fr_compile(affine, &user, &(fr_compile_options){.name = "other"});
    FAILS(fr_call1(g, x), FR_ERROR_TRACE, "looks");
    fr_function_free(g);
    fr_function_free(f);
    REFUSES(fr_eval(c.leaked), FR_ERROR_TRACE,
            "looks"); /* the function is gone, its name is not */
    fr_free(c.leaked);
}

static int calls_inner(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    context *c = ctx;
    (void)n_in, (void)n_out;
    c->runs++;
    fr_array *known = fr_call1(c->inner, range(2)); /* of values: runs, here and now */
    EXPECT(fr_is_done(known));
    out[0] = fr_add(fr_call1(c->inner, in[0]), known);
    return 0;
}

CASE(nested)
{
    context in = {0}, out = {0};
    out.inner = fr_compile(affine, &in, NULL);
    fr_function *f = fr_compile(calls_inner, &out, NULL);
    for (int i = 0; i < 2; i++)
        ARE(fr_call1(f, fr_add(range(2), 1)), 3, 9);
    EXPECT_EQ(out.runs, 1);
    EXPECT_EQ(in.runs, 2); /* traced for the values, and inline */
    fr_function_free(f);
    fr_function_free(out.inner);
}

CASE(captured)
{
    /* Two closures of one structure: shared kernels, results of their own. Evaluated or not. */
    fr_array *data = fr_from_data((float[]){0, 1, 2}, FR_FLOAT32, SHAPE(3));
    context a = {.captured = data}, b = {.captured = fr_mul(data, 100)};
    fr_function *f = fr_compile(affine, &a, NULL), *g = fr_compile(affine, &b, NULL);
    fr_array *x = fr_ones(SHAPE(3), FR_FLOAT32);
    int64_t programs = 0;
    for (int i = 0; i < 2; i++) {
        ARE(fr_call1(f, x), 2, 3, 4);
        programs = fr_count(FR_COUNT_PROGRAMS);
        ARE(fr_call1(g, x), 2, 102, 202);
    }
    EXPECT_EQ(fr_count(FR_COUNT_PROGRAMS), programs);
    EXPECT(fr_is_done(b.captured)); /* when the trace ended */
    a.captured = range(5); /* seen by no further call: the program holds what it captured */
    ARE(fr_call1(f, x), 2, 3, 4);
    fr_function_free(f);
    fr_function_free(g);
}

CASE(disabled)
{
    context c = {0};
    fr_function *f = fr_compile(affine, &c, NULL);
    EXPECT(fr_compile_enabled());
    fr_compile_enable(false);
    for (int i = 0; i < 2; i++) {
        fr_array *y = fr_call1(f, range(2));
        EXPECT(!fr_is_done(y)); /* lazily, as it stands */
        ARE(y, 0, 3);
    }
    EXPECT_EQ(c.runs, 2);
    fr_compile_enable(true);
    EXPECT(fr_compile_enabled() && fr_is_done(fr_call1(f, range(2))));
    fr_function_free(f);
}

/* ---- the pieces of a call ------------------------------------------------------------------------------------------------- */

static void count(void *data) { ++*(int *)data; }

CASE(programs)
{
    int gone = 0;
    fr_array *x = range(3), *p, *y, *out[2];
    fr_function *f = fr_function_new("pieces", 0);
    EXPECT(!fr_function_find(f, "k", 1, 1, &x) && fr_error() == FR_OK);
    fr_trace *t = fr_trace_begin(f, 1, &x, &p, "train.py:31");
    EXPECT(t && fr_is_traced(p));
    REFUSES(fr_eval(p), FR_ERROR_TRACE,
            "a placeholder made while tracing 'pieces' called at train.py:31");
    y = fr_mul(p, p); /* the caller's: the scope around is no owner while tracing */
    fr_program *q = fr_trace_end(t, "k", 1, 1, &y), *again;
    fr_free(y);
    fr_free(p);
    EXPECT(q && fr_program_outputs(q) == 1);
    fr_program_attach(q, &gone, count);
    EXPECT(fr_program_attached(q) == &gone);
    EXPECT(!fr_function_find(f, "K", 1, 1, &x) && !fr_function_find(f, "kk", 2, 1, &x) &&
           !fr_function_find(f, NULL, 0, 1, &x));
    again = fr_function_find(f, "k", 1, 1, &x);
    EXPECT(again == q);
    fr_program_free(again);
    EXPECT_EQ(fr_program_run(q, 1, &x, 1, out), 0);
    ARE(out[0], 0, 1, 4);
    REFUSES(fr_program_run(q, 1, &x, 2, out), FR_ERROR_VALUE,
            "1 inputs and 1 outputs is run with 1 and 2");
    REFUSES(fr_program_run(q, 0, &x, 1, out), FR_ERROR_VALUE, "program");
    char *text = fr_program_describe(q);
    EXPECT(text && strstr(text, "mul"));
    fr_text_free(text);
    t = fr_trace_begin(f, 1, &x, &p, NULL); /* results that are missing: nothing is stored */
    y = NULL;
    FAILS(fr_trace_end(t, "z", 1, 1, &y), FR_ERROR_VALUE, "pieces: result 0 is NULL");
    fr_free(p);
    EXPECT(!fr_function_find(f, "z", 1, 1, &x) && fr_error() == FR_OK);
    t = fr_trace_begin(f, 1, &x, &p, NULL);
    fr_trace_abandon(t);
    REFUSES(fr_eval(p), FR_ERROR_TRACE, "pieces");
    fr_free(p);
    fr_function_free(f);
    EXPECT_EQ(gone, 0);
    fr_program_free(q);
    EXPECT_EQ(gone, 1);
}

/* ---- large graphs, on a small stack -------------------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK = 1 << 20 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { STACK = 1 << 20 };
#else
enum { STACK = 192 << 10 };
#endif
#else
enum { STACK = 192 << 10 };
#endif

static void on_small_stack(void *(*run)(void *))
{
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    CHECK(!pthread_attr_setstacksize(&small, STACK));
    CHECK(!pthread_create(&thread, &small, run, NULL));
    pthread_join(thread, NULL);
    pthread_attr_destroy(&small);
}

enum { LARGE = 100000 };

static fr_array *step(fr_array *x, fr_array *y) /* y for x, without a scope */
{
    fr_free(x);
    return y;
}

static void ends_with(fr_array *x, double want)
{
    fr_array *m = fr_max(x, NULL);
    EXPECT(is(m, want));
    fr_free(m);
    fr_free(x);
}

static void *long_chains(void *unused)
{
    fr_array *x = fr_ones(SHAPE(4), FR_FLOAT32);
    for (int i = 0; i < LARGE; i++)
        x = step(x, fr_add(x, 1));
    ends_with(x, LARGE + 1);
    x = fr_ones(SHAPE(4), FR_FLOAT32); /* literals that differ */
    for (int i = 0; i < LARGE; i++)
        x = step(x, fr_maximum(x, i));
    ends_with(x, LARGE - 1);
    x = fr_ones(SHAPE(4), FR_FLOAT32); /* never evaluated */
    for (int i = 0; i < LARGE; i++)
        x = step(x, fr_neg(x));
    fr_free(x);
    return unused;
}

static fr_array *held[LARGE];

static void *wide_graphs(void *unused)
{
    fr_array *x = fr_ones(SHAPE(4), FR_FLOAT32), *y = x;
    EXPECT_EQ(fr_eval(x), 0);
    for (int i = 0; i < LARGE; i++) /* a sum as a tree */
        held[i] = fr_mul(x, i % 10);
    for (int n = LARGE; n > 1; n = (n + 1) / 2)
        for (int i = 0; i < (n + 1) / 2; i++) {
            fr_array *a = held[2 * i], *b = 2 * i + 1 < n ? held[2 * i + 1] : NULL;
            held[i] = b ? fr_add(a, b) : a;
            if (b) {
                fr_free(a);
                fr_free(b);
            }
        }
    ends_with(held[0], 4.5 * LARGE);
    for (int i = 0; i < LARGE / 10; i++) /* all wanted */
        held[i] = y = fr_add(i % 100 ? y : x, 1);
    EXPECT_EQ(fr_eval_all(LARGE / 10, held), 0);
    ends_with(fr_keep(held[99]), 101);
    for (int i = 0; i < LARGE / 10; i++)
        fr_free(held[i]);
    fr_free(x);
    return unused;
}

/* Many passes over one axis: more than a kernel has loops. */
static void *many_passes(void *unused)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_ones(SHAPE(16), FR_FLOAT32);
    for (int i = 0; i < 500; i++)
        x = fr_add(fr_div(x, fr_sum(x, NULL)), x);
    EXPECT(is(fr_max(x, NULL), 1 + 500 / 16.0));
    int64_t shape[16];
    for (int i = 0; i < 16; i++)
        shape[i] = i < 8 ? 2 : 1;
    fr_array *y = fr_transpose(fr_reshape(range(256), shape, 8), AXES(7, 6, 5, 4, 3, 2, 1, 0));
    fr_reduce_options some = {.axes = (int[]){0, 2, 4, 6}, .naxes = 4, .keepdims = true};
    for (int i = 0; i < 30; i++)
        y = fr_sub(y, fr_max(fr_transpose(y, AXES(1, 0, 3, 2, 5, 4, 7, 6)), &some));
    EXPECT_EQ(fr_eval(y), 0);
    fr_scope_close(s);
    return unused;
}

TEST(long_chains) { on_small_stack(long_chains); }
TEST(wide_graphs) { on_small_stack(wide_graphs); }
TEST(many_passes) { on_small_stack(many_passes); }
