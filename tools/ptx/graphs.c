/* graphs.c - what is asked of the GPU: the work that is timed, and one of each kind of kernel */
#include "graphs.h"

#define AXES(...)                                                                              \
    (&(fr_reduce_options){.axes = (const int[]){__VA_ARGS__},                                  \
                          .naxes = sizeof((const int[]){__VA_ARGS__}) / sizeof(int)})
#define KEEP(axis)                                                                             \
    (&(fr_reduce_options){.axes = (const int[]){axis}, .naxes = 1, .keepdims = true})

static fr_array *gelu(fr_array *const *in)
{
    fr_array *x = in[0];
    return fr_mul(fr_mul(x, 0.5), fr_add(fr_erf(fr_mul(x, 0.70710678118654752)), 1.0));
}

static fr_array *gelu_tanh(fr_array *const *in)
{
    fr_array *x = in[0], *cube = fr_mul(fr_square(x), x);
    fr_array *t = fr_tanh(fr_mul(fr_add(x, fr_mul(cube, 0.044715)), 0.79788456080286536));
    return fr_mul(fr_mul(x, 0.5), fr_add(t, 1.0));
}

static fr_array *roots(fr_array *const *in)
{
    fr_array *x = in[0];
    return fr_div(fr_floor(fr_mul(x, 3.0)), fr_sqrt(fr_add(fr_square(x), 1.0)));
}

static fr_array *softmax(fr_array *const *in)
{
    fr_array *e = fr_exp(fr_sub(in[0], fr_max(in[0], KEEP(-1))));
    return fr_div(e, fr_sum(e, KEEP(-1)));
}

static fr_array *layer_norm(fr_array *const *in)
{
    fr_array *x = in[0], *centred = fr_sub(x, fr_mean(x, KEEP(-1)));
    fr_array *scale = fr_rsqrt(fr_add(fr_var(x, KEEP(-1)), 1e-5));
    return fr_add(fr_mul(fr_mul(centred, scale), in[1]), in[2]);
}

static fr_array *logsumexp(fr_array *const *in) { return fr_logsumexp(in[0], AXES(-1)); }
static fr_array *sum_rows(fr_array *const *in) { return fr_sum(in[0], AXES(0)); }
static fr_array *sum_last(fr_array *const *in) { return fr_sum(fr_exp(in[0]), AXES(-1)); }
static fr_array *sum_middle(fr_array *const *in) { return fr_sum(in[0], AXES(1)); }
static fr_array *sum_all(fr_array *const *in) { return fr_sum(fr_square(in[0]), NULL); }
static fr_array *max_outer(fr_array *const *in) { return fr_max(in[0], AXES(0, 2)); }
static fr_array *mean_rows(fr_array *const *in) { return fr_mean(in[0], AXES(0)); }
static fr_array *var_last(fr_array *const *in) { return fr_var(in[0], AXES(-1)); }
static fr_array *any_last(fr_array *const *in) { return fr_any(fr_gt(in[0], 2.5), AXES(-1)); }
static fr_array *all_rows(fr_array *const *in) { return fr_all(fr_lt(in[0], 2.5), AXES(0)); }

/* x[:, ::-2] beside y transposed: a stride of more than one, a negative one, and columns. */
static fr_array *strided(fr_array *const *in)
{
    const int64_t *shape = fr_shape(in[0]), count = shape[1] / 2;
    fr_array *x = fr_slice(in[0], (const int64_t[]){0, shape[1] - 1}, (const int64_t[]){1, -2},
                           (const int64_t[]){shape[0], count});
    return fr_add(x, fr_transpose(in[1], NULL, 0));
}

static fr_array *broadcast(fr_array *const *in)
{
    return fr_where(fr_gt(in[0], in[1]), fr_sub(in[0], in[1]), fr_div(in[1], in[2]));
}

static fr_array *integers(fr_array *const *in)
{
    fr_array *x = in[0], *y = in[1];
    fr_array *mixed = fr_bit_xor(fr_shift_left(x, fr_bit_and(y, 7)), fr_mul(x, y));
    return fr_maximum(mixed, fr_abs(fr_sub(x, y)));
}

static fr_array *int_sum(fr_array *const *in) { return fr_sum(in[0], AXES(0)); }

static fr_array *normal(fr_array *const *in)
{
    (void)in;
    return fr_random_normal((const int64_t[]){300, 1001}, 2, FR_FLOAT32, fr_random_key(7));
}

static fr_array *uniform_sum(fr_array *const *in)
{
    fr_array *u =
        fr_random_uniform((const int64_t[]){500, 700}, 2, FR_FLOAT32, fr_random_key(3));
    return fr_sum(fr_mul(u, in[0]), AXES(1));
}

static fr_array *convert(fr_array *const *in)
{
    return fr_astype(fr_mul(fr_astype(in[0], FR_FLOAT32), 100.0), FR_INT16);
}

static fr_array *complex_numbers(fr_array *const *in)
{
    fr_array *z = fr_div(in[0], 300.0), *w = fr_add(fr_mul(z, in[1]), fr_exp(z));
    return fr_abs(fr_sub(fr_conjugate(w), fr_complex(fr_real(z), fr_imag(in[1]))));
}

/* Bits as another type of the same width, and of half of it: one more axis is not asked for. */
static fr_array *reinterpreted(fr_array *const *in)
{
    fr_array *bits = fr_bit_xor(fr_view_as(in[0], FR_INT32), 0x7f);
    fr_array *halves = fr_view_as(fr_shift_left(fr_view_as(in[1], FR_UINT16), 1), FR_FLOAT16);
    return fr_add(fr_view_as(bits, FR_FLOAT32), fr_where(fr_isnan(halves), 1.0, halves));
}

/* Every dtype from every other, on the way to one number an element. */
static fr_array *every_cast(fr_array *const *in)
{
    fr_array *sum = NULL;
    for (int from = 0; from < FR_DTYPE_COUNT; from++)
        for (int to = 0; to < FR_DTYPE_COUNT; to++) {
            fr_array *x = fr_astype(fr_astype(in[0], (fr_dtype)from), (fr_dtype)to);
            x = fr_astype(fr_astype(x, FR_FLOAT32), FR_INT32);
            sum = sum ? fr_bit_xor(sum, fr_add(x, from * 16 + to)) : x;
        }
    return sum;
}

static fr_array *gathered(fr_array *const *in)
{
    fr_array *rows = fr_take(in[0], fr_astype(in[1], FR_INT32), 0);
    return fr_mul(fr_add(rows, 1.0), 0.5);
}

#define IN(type, ...)                                                                          \
    {                                                                                          \
        FR_##type, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), { __VA_ARGS__ }   \
    }

const graph graphs[] = {
    {"gelu_f32", gelu, 2e-6, true, 1, {IN(FLOAT32, 32, 1000, 4096)}},
    {"gelu_bf16", gelu, 8e-3, true, 1, {IN(BFLOAT16, 32, 1000, 4096)}},
    {"softmax_f32", softmax, 2e-6, true, 1, {IN(FLOAT32, 8192, 4096)}},
    {"layer_norm_f32",
     layer_norm,
     4e-6,
     true,
     3,
     {IN(FLOAT32, 8192, 4096), IN(FLOAT32, 4096), IN(FLOAT32, 4096)}},
    {"column_sum_f32", sum_rows, 1e-5, true, 1, {IN(FLOAT32, 8192, 4096)}},

    {"gelu_f16_odd", gelu, 2e-3, false, 1, {IN(FLOAT16, 37, 1001)}},
    {"gelu_tanh", gelu_tanh, 2e-6, false, 1, {IN(FLOAT32, 37, 1001)}},
    {"roots_f64", roots, 1e-12, false, 1, {IN(FLOAT64, 37, 1001)}},
    {"softmax_f16", softmax, 2e-3, false, 1, {IN(FLOAT16, 100, 1000)}},
    {"softmax_long", softmax, 4e-6, false, 1, {IN(FLOAT32, 4, 200000)}},
    {"logsumexp_bf16", logsumexp, 1e-2, false, 1, {IN(BFLOAT16, 64, 5003)}},
    {"sum_last", sum_last, 1e-5, false, 1, {IN(FLOAT32, 1000, 1003)}},
    {"sum_middle", sum_middle, 1e-5, false, 1, {IN(FLOAT32, 17, 333, 65)}},
    {"sum_all", sum_all, 1e-5, false, 1, {IN(FLOAT32, 1000, 999)}},
    {"max_outer", max_outer, 0, false, 1, {IN(FLOAT32, 60, 70, 80)}},
    {"mean_f16_rows", mean_rows, 2e-3, false, 1, {IN(FLOAT16, 3000, 257)}},
    {"column_sum_bf16", sum_rows, 1e-2, false, 1, {IN(BFLOAT16, 3000, 256)}},
    {"var_f64", var_last, 1e-12, false, 1, {IN(FLOAT64, 100, 777)}},
    {"any_last", any_last, 0, false, 1, {IN(FLOAT32, 500, 200)}},
    {"all_rows", all_rows, 0, false, 1, {IN(FLOAT32, 200, 500)}},
    {"strided", strided, 1e-6, false, 2, {IN(FLOAT32, 300, 500), IN(FLOAT32, 250, 300)}},
    {"broadcast",
     broadcast,
     2e-6,
     false,
     3,
     {IN(FLOAT32, 30, 1, 50), IN(FLOAT32, 40, 1), IN(FLOAT32, 1)}},
    {"integers", integers, 0, false, 2, {IN(INT32, 100, 333), IN(INT32, 333)}},
    {"int_sum", int_sum, 0, false, 1, {IN(INT16, 400, 300)}},
    {"convert", convert, 0, false, 1, {IN(FLOAT16, 1000, 33)}},
    {"complex_numbers",
     complex_numbers,
     1e-5,
     false,
     2,
     {IN(COMPLEX64, 37, 1001), IN(COMPLEX64, 1001)}},
    {"reinterpreted", reinterpreted, 0, false, 2, {IN(FLOAT32, 37, 1001), IN(FLOAT16, 1001)}},
    {"every_cast", every_cast, 0, false, 1, {IN(FLOAT32, 37, 101)}},
    {"gathered", gathered, 0, false, 2, {IN(FLOAT32, 300, 65), IN(INT32, 129)}},
    {"normal", normal, 1e-5, false, 0, {{0}}},
    {"uniform_sum", uniform_sum, 1e-5, false, 1, {IN(FLOAT32, 700)}},
};
const int graph_count = sizeof graphs / sizeof *graphs;
