/* test_gpu_conv.c - convolutions and their gradients on a GPU against those of the host
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is, with its cuDNN (FERRULE_CUDNN=off: without); else over
 * the stand-in driver and its cuDNN. Numbers are small and whole: their sums are exact in any order.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "gpu_choice.h"

#include <math.h>
#include <stdlib.h>

static long (*runs)(int kind), (*heuristics)(void);
static void (*fail_at)(long n);

__attribute__((constructor(102))) static void choose_libraries(void)
{
    if (real)
        return;
    setenv("FERRULE_CUBLASLT", STANDIN_BLAS, 0);
    setenv("FERRULE_CUDNN", STANDIN_DNN, 0);
    find_function(STANDIN_DNN, "dnn_runs", &runs);
    find_function(STANDIN_DNN, "dnn_heuristics", &heuristics);
    find_function(STANDIN_DNN, "dnn_fail_at", &fail_at);
}

static bool has_dnn(void)
{
    const char *name = getenv("FERRULE_CUDNN");
    return !real && name && strcmp(name, "off") != 0;
}

static int64_t rnd(int64_t below) { return (int64_t)(next_random() % (uint64_t)below); }

/* ---- one convolution, in both places ------------------------------------------------ */

enum { MOST = 3 };
typedef struct job {
    int n;
    int64_t x[MOST + 2], w[MOST + 2];
    int64_t stride[MOST], padding[MOST], after[MOST], dilation[MOST], between[MOST], groups;
    bool flip, biased, relu;
    bool apart; /* the bias in memory */
    fr_dtype dtype;
} job;

static int convolve(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    const job *j = ctx;
    (void)n_in, (void)n_out;
    fr_conv_options o = {.stride = j->stride,
                         .padding = j->padding,
                         .padding_after = j->after,
                         .dilation = j->dilation,
                         .input_dilation = j->between,
                         .groups = j->groups,
                         .flip = j->flip};
    fr_array *y = fr_conv(in[0], in[1], &o);
    if (y && j->biased) {
        fr_array *row =
            fr_slice(fr_reshape(in[1], (int64_t[]){fr_size(in[1])}, 1), (int64_t[]){0},
                     (int64_t[]){j->apart && fr_size(in[1]) >= 2 * j->w[0] ? 2 : 1}, &j->w[0]);
        y = row ? fr_add(row, y) : NULL;
    }
    if (y && j->relu)
        y = fr_maximum(y, 0.0);
    out[0] = y && n_in == 3 ? fr_sum(fr_mul(y, in[2]), NULL) : y;
    return out[0] ? 0 : -1;
}

static fr_array *numbers(fr_dtype dtype, const int64_t *shape, int ndim, uint64_t seed)
{
    int64_t n = 1;
    for (int d = 0; d < ndim; d++)
        n *= shape[d];
    float *v = malloc(sizeof *v * (size_t)n + 4);
    random_state = seed * 7919 + 88172645463325252u;
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)(rnd(5) - 2);
    fr_array *x = fr_from_data(v, FR_FLOAT32, shape, ndim);
    free(v);
    return x ? fr_astype(x, dtype) : NULL;
}

/* y, x's and w's gradient; 0 or -1. In an open scope. */
static int all_three(const job *j, fr_stream s, fr_array **to)
{
    fr_array *in[3], *loss, *grads[2];
    fr_stream_set(s);
    in[0] = numbers(j->dtype, j->x, j->n + 2, 1);
    in[1] = numbers(j->dtype, j->w, j->n + 2, 2);
    int status = convolve((void *)(uintptr_t)j, 2, in, 1, &to[0]);
    if (!status) {
        int64_t shape[MOST + 2];
        for (int d = 0; d < j->n + 2; d++)
            shape[d] = fr_shape(to[0])[d];
        in[2] = numbers(j->dtype, shape, j->n + 2, 3);
        status =
            fr_value_and_grad(convolve, (void *)(uintptr_t)j, 3, in, 2, NULL, 1, &loss, grads);
    }
    if (!status) {
        to[1] = grads[0];
        to[2] = grads[1];
        status = fr_eval_all(3, to);
    }
    fr_stream_set((fr_stream){0});
    return status;
}

static double furthest(fr_array *a, fr_array *b)
{
    double most = 0, far;
    fr_array *d =
        fr_max(fr_abs(fr_sub(fr_astype(a, FR_FLOAT32), fr_astype(b, FR_FLOAT32))), NULL);
    float v = NAN;
    if (d && !fr_copy_out(d, &v, sizeof v))
        most = (double)v;
    far = d ? most : NAN;
    return far;
}

static void print_job(const job *j)
{
    printf("     %s, groups %lld%s:", fr_dtype_name(j->dtype), (long long)j->groups,
           j->flip ? ", flipped" : "");
    for (int d = 0; d < j->n + 2; d++)
        printf(" %lld/%lld", (long long)j->x[d], (long long)j->w[d]);
    for (int d = 0; d < j->n; d++)
        printf("; stride %lld, padding %lld %lld, dilations %lld %lld", (long long)j->stride[d],
               (long long)j->padding[d], (long long)j->after[d], (long long)j->dilation[d],
               (long long)j->between[d]);
    printf("\n");
}

static void compare(const job *j)
{
    fr_scope *s = fr_scope_open();
    fr_array *host[3], *device[3];
    bool good = EXPECT(!all_three(j, (fr_stream){0}, host)) &&
                EXPECT(!all_three(j, fr_stream_default(FR_GPU, 0), device));
    if (!good)
        printf("     %s\n", fr_error_message());
    for (int i = 0; good && i < 3; i++) {
        double far = furthest(host[i], device[i]);
        if (!EXPECT(far <= (real ? 0.05 : 0))) {
            printf("     of %s: %g\n", i == 0 ? "y" : i == 1 ? "x's gradient" : "w's", far);
            good = false;
        }
    }
    if (!good)
        print_job(j);
    fr_error_clear();
    fr_scope_close(s);
}

static job random_job(int n, bool even)
{
    static const fr_dtype dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_BFLOAT16, FR_FLOAT64};
    int64_t groups = rnd(3) ? 1 : 2 + rnd(2), channels = 1 + rnd(4), filters = 1 + rnd(4);
    job j = {.n = n,
             .groups = groups,
             .flip = rnd(4) == 0,
             .biased = rnd(2),
             .relu = rnd(2),
             .apart = rnd(2),
             .dtype = dtypes[rnd(4)]};
    if (j.dtype == FR_BFLOAT16) /* whole numbers up to 256 */
        channels = filters = 1;
    j.x[0] = 1 + rnd(3);
    j.x[n + 1] = groups * channels;
    j.w[0] = groups * filters;
    j.w[n + 1] = channels;
    for (int d = 0; d < n; d++) {
        j.w[d + 1] = 1 + rnd(n == 1 ? 5 : 3);
        j.dilation[d] = rnd(3) ? 1 : 2;
        j.stride[d] = rnd(2) ? 1 : 1 + rnd(3);
        j.padding[d] = rnd(3);
        j.after[d] = even ? j.padding[d] : rnd(3);
        j.between[d] = even || rnd(3) ? 1 : 2;
        j.x[d + 1] = (j.w[d + 1] - 1) * j.dilation[d] + 1 + rnd(n == 3 ? 3 : 6);
    }
    return j;
}

TEST(of_any_shape)
{
    int many = real ? 60 : 40;
    for (int n = 1; n <= MOST; n++)
        for (int i = 0; i < many; i++) {
            random_state += (uint64_t)(1000 * n + i) << 20;
            rnd(2);
            job j = random_job(n, i % 2);
            compare(&j);
        }
}

static job plain_job(void)
{
    return (job){.n = 2,
                 .x = {2, 8, 9, 4},
                 .w = {3, 3, 3, 4},
                 .stride = {1, 1},
                 .padding = {1, 1},
                 .after = {1, 1},
                 .dilation = {1, 1},
                 .between = {1, 1},
                 .groups = 1,
                 .dtype = FR_FLOAT32};
}

/* Channels that ours reads 16 bytes at a time. */
TEST(of_many_channels)
{
    static const fr_dtype dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_BFLOAT16};
    for (int i = 0; i < 12; i++) {
        rnd(2);
        job j = random_job(1 + i % 2, i % 4 < 2);
        int64_t filters = 1 + i % 3 * 7; /* of one, and of several tiles of 16 */
        j.dtype = dtypes[i % 3];
        j.groups = 1;
        j.x[j.n + 1] = j.w[j.n + 1] = j.dtype == FR_BFLOAT16 ? 8 : 16;
        j.w[0] = filters == 8 ? 8 : filters;
        compare(&j);
    }
}

/* Each of the three is one call of the library. */
TEST(calls_of_the_library)
{
    if (!has_dnn())
        return;
    job j = plain_job();
    for (int stride = 1; stride <= 2; stride++) {
        long before[3] = {runs(0), runs(1), runs(2)};
        j.stride[0] = j.stride[1] = stride;
        compare(&j);
        EXPECT_EQ(runs(0), before[0] + 1);
        EXPECT_EQ(runs(1), before[1] + 1);
        EXPECT_EQ(runs(2), before[2] + 1);
    }
#ifndef FERRULE_HARD /* which keeps few of the answers */
    long asked = heuristics();
    compare(&j);
    EXPECT_EQ(heuristics(), asked);
#endif
}

/* A bias, and what is negative made 0: in the same call. */
TEST(what_follows_is_in_the_call)
{
    if (!has_dnn())
        return;
    fr_scope *s = fr_scope_open();
    job j = plain_job();
    j.biased = j.relu = true;
    fr_stream_set(fr_stream_default(FR_GPU, 0));
    fr_array *in[] = {numbers(j.dtype, j.x, 4, 1), numbers(j.dtype, j.w, 4, 2)}, *y;
    CHECK(!fr_eval_all(2, in) && !convolve(&j, 2, in, 1, &y));
    long launches = count_calls("cuLaunchKernel"), calls = runs(0);
    EXPECT(!fr_eval(y));
    fr_stream_set((fr_stream){0});
    EXPECT_EQ(count_calls("cuLaunchKernel"), launches);
    EXPECT_EQ(runs(0), calls + 1);
    fr_scope_close(s);
    compare(&j);
}

/* Windows that the library has nothing for. */
TEST(without_an_algorithm)
{
    job j = plain_job();
    j.w[1] = 7;
    if (has_dnn()) {
        long before = runs(0) + runs(1) + runs(2);
        compare(&j);
        EXPECT_EQ(runs(0) + runs(1) + runs(2), before);
    } else
        compare(&j);
}

TEST(a_library_that_fails)
{
    if (!has_dnn())
        return;
    for (long n = 1; n <= 40; n++) {
        fr_scope *s = fr_scope_open();
        fr_array *device[3], *host[3];
        job j = plain_job();
        j.x[1] = 8 + n; /* another shape, another plan */
        CHECK(!all_three(&j, (fr_stream){0}, host));
        fail_at(n);
        int status = all_three(&j, fr_stream_default(FR_GPU, 0), device);
        fail_at(0);
        if (status) {
            EXPECT(fr_error() == FR_ERROR_DEVICE && strstr(fr_error_message(), "cuDNN"));
            fr_error_clear();
        } else
            for (int i = 0; i < 3; i++)
                EXPECT(furthest(host[i], device[i]) == 0);
        fr_scope_close(s);
    }
}
