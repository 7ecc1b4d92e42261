/* test_gpu_attention.c - attention and its gradients on a GPU against the host's
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is, many cases; else over the stand-in driver, which
 * runs the same C compiled for the host, with the tensor cores' products done by exchange of values.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "device/cuda/blas.h"
#include "gpu_choice.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static fr_stream gpu(void) { return fr_stream_default(FR_GPU, 0); }

static int pick(int n) { return (int)(next_random() % (uint64_t)n); }

/* ---- cases ------------------------------------------------------------------------------ */

typedef enum {
    PLAIN,
    TURNED,
    ODD,
    LAYOUTS
} layout; /* ODD: rows can't be read 16 bytes at a time */
typedef enum { NO_MASK, BOOL_MASK, FLOAT_MASK, MASKS } masks;

typedef struct {
    int batch, heads, groups, queries, keys, width, out_width, causal;
    masks mask;
    layout layout;
    double scale;
    fr_dtype dtype;
    bool tf32;
    fr_array *mask_array;
} attend_case;

static attend_case of_sizes(int batch, int heads, int groups, int queries, int keys, int width,
                            int out_width)
{
    return (attend_case){.batch = batch,
                         .heads = heads,
                         .groups = groups,
                         .queries = queries,
                         .keys = keys,
                         .width = width,
                         .out_width = out_width,
                         .tf32 = true};
}

static void tell(const attend_case *c)
{
    printf("  %s, %d x %d heads (%d), %d queries, %d keys, %d and %d wide, causal %d, mask %d, "
           "layout %d, scale %g, tf32 %d\n",
           fr_dtype_name(c->dtype), c->batch, c->heads, c->groups, c->queries, c->keys,
           c->width, c->out_width, c->causal, (int)c->mask, (int)c->layout, c->scale, c->tf32);
}

static fr_array *numbers(fr_dtype dtype, const int64_t *shape)
{
    int64_t n = shape[0] * shape[1] * shape[2] * shape[3];
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i++) /* about normal */
        x[i] = (float)(pick(1000) + pick(1000) + pick(1000) - 1500) / 500;
    fr_array *y = fr_astype(fr_from_data(x, FR_FLOAT32, shape, 4), dtype);
    fr_eval(y);
    free(x);
    return y;
}

/* [b, h, n, d] in such a layout. */
static fr_array *laid_out(const attend_case *c, int b, int h, int n, int d)
{
    if (c->layout == TURNED)
        return fr_transpose(numbers(c->dtype, (int64_t[]){b, n, h, d}), (int[]){0, 2, 1, 3}, 4);
    if (c->layout == ODD)
        return fr_slice(numbers(c->dtype, (int64_t[]){b, h, n, d + 1}),
                        (int64_t[]){0, 0, n - 1, 1}, (int64_t[]){1, 1, -1, 1},
                        (int64_t[]){b, h, n, d});
    return numbers(c->dtype, (int64_t[]){b, h, n, d});
}

/* Not of all examples; every query sees a key at least. */
static fr_array *mask_of(const attend_case *c)
{
    int64_t shape[4] = {1, c->heads, c->queries, c->keys};
    if (c->mask == FLOAT_MASK)
        return numbers(FR_FLOAT32, shape);
    fr_array *m = fr_lt(numbers(FR_FLOAT32, shape), 1.0);
    fr_array *first = fr_lt(fr_arange(0, c->keys, 1, FR_INT32), 1.0);
    return fr_logical_or(m, first);
}

static int attend(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    const attend_case *c = ctx;
    (void)n_in;
    (void)n_out;
    out[0] = fr_attention(in[0], in[1], in[2],
                          &(fr_attention_options){c->scale, c->causal, c->mask_array});
    return out[0] ? 0 : -1;
}

/* The largest difference by the largest of b. */
static double difference(fr_array *a, fr_array *b)
{
    size_t n = (size_t)fr_size(a);
    float *x = malloc(4 * n), *y = malloc(4 * n);
    double most = 1e-2, worst = 0;
    if (fr_size(b) != fr_size(a) || fr_copy_out(fr_astype(a, FR_FLOAT32), x, 4 * n) ||
        fr_copy_out(fr_astype(b, FR_FLOAT32), y, 4 * n)) {
        printf("error: %s\n", fr_error_message());
        worst = INFINITY;
    }
    for (size_t i = 0; i < n && worst < INFINITY; i++) {
        most = fmax(most, isnan(y[i]) ? 0 : fabs(y[i]));
        worst = isnan(x[i]) != isnan(y[i]) ? INFINITY
                : isnan(x[i])              ? worst
                                           : fmax(worst, fabs((double)x[i] - y[i]));
    }
    free(x);
    free(y);
    return worst / most;
}

/* Result and gradients: the result first. */
static bool vjp(const attend_case *c, fr_array *const *in, fr_array *weights, fr_array **to)
{
    fr_array *out, *grads[4];
    if (fr_vjp(attend, (void *)(uintptr_t)c, 3, in, 1, &weights, &out, grads))
        return false;
    to[0] = out;
    for (int i = 0; i < 3; i++)
        to[i + 1] = grads[i];
    return true;
}

static bool run(const attend_case *c, fr_array *const *in, fr_array *weights, fr_array **to)
{
    return vjp(c, in, weights, to) && !fr_eval_all(4, to);
}

static bool try_case(attend_case *c)
{
    static const char *const names[] = {"result", "gradient of q", "of k", "of v"};
    fr_scope *s = fr_scope_open();
    fr_array *in[3] = {laid_out(c, c->batch, c->heads, c->queries, c->width),
                       laid_out(c, c->batch, c->groups, c->keys, c->width),
                       laid_out(c, c->batch, c->groups, c->keys, c->out_width)};
    fr_array *weights = laid_out(c, c->batch, c->heads, c->queries, c->out_width);
    fr_array *here[4], *there[4];
    c->mask_array = c->mask ? mask_of(c) : NULL;
    bool was = fr__gpu_set_tf32(c->tf32);
    bool good = EXPECT(!fr_eval_all(3, in)) && EXPECT(!fr_eval(weights)) &&
                EXPECT(!c->mask || !fr_eval(c->mask_array)) &&
                EXPECT(run(c, in, weights, here));
    fr_stream_set(gpu());
    long before = count_calls("cuMemcpyDtoHAsync_v2");
    good = good && EXPECT(run(c, in, weights, there));
    if (!good)
        printf("error: %s\n", fr_error_message());
    good = good && EXPECT(count_calls("cuMemcpyDtoHAsync_v2") == before);
    fr_stream_set((fr_stream){0});
    double slack = c->dtype == FR_BFLOAT16  ? 2e-2
                   : c->dtype == FR_FLOAT16 ? 4e-3
                   : c->tf32                ? 4e-3
                                            : 1e-5;
    for (int i = 0; good && i < 4; i++) {
        double d = difference(there[i], here[i]);
        if (!EXPECT(d <= slack)) {
            printf("  %s: %g of the largest\n", names[i], d);
            good = false;
        }
    }
    if (!good)
        tell(c);
    fr__gpu_set_tf32(was);
    fr_scope_close(s);
    return good;
}

static const fr_dtype dtypes[] = {FR_FLOAT16, FR_BFLOAT16, FR_FLOAT32};

/* With and without tensor cores, heads of every kernel, and those that fill none. */
TEST(sizes)
{
    static const int widths[][2] = {{64, 64}, {128, 128}, {256, 256}, {40, 24},
                                    {5, 7},   {1, 130},   {300, 3}};
    for (int w = 0; w < (int)(sizeof widths / sizeof *widths); w++)
        for (int d = 0; d < 4; d++) {
            attend_case c = of_sizes(1, 2, 1, 37, 75, widths[w][0], widths[w][1]);
            c.dtype = dtypes[d % 3];
            c.tf32 = d < 3;
            c.causal = (w + d) % 2;
            try_case(&c);
        }
}

TEST(masks_and_layouts)
{
    for (int m = 0; m < MASKS; m++)
        for (int l = 0; l < LAYOUTS; l++)
            for (int d = 0; d < 4; d++) {
                attend_case c = of_sizes(2, 2, 1, 20, 70, 16, 16);
                c.mask = (masks)m;
                c.layout = (layout)l;
                c.dtype = dtypes[d % 3];
                c.tf32 = d < 3;
                c.causal = (m + l + d) % 2;
                c.scale = l == ODD ? -0.3 : 0;
                try_case(&c);
            }
}

/* More blocks than one, in both directions; rows that see nothing. */
TEST(lengths)
{
    static const int lengths[][2] = {{150, 150}, {1, 200}, {140, 70}};
    for (int i = 0; i < 3; i++)
        for (int d = 0; d < 3; d++) {
            attend_case c = of_sizes(1, 1, 1, lengths[i][0], lengths[i][1], 64, 64);
            c.causal = 1;
            c.dtype = dtypes[d];
            c.tf32 = true;
            c.heads = 1 + (i == 2);
            try_case(&c);
        }
}

TEST(many_cases)
{
    static const int widths[] = {64, 128, 64, 128, 32, 80, 96, 256, 7, 17, 200, 300};
    if (!real)
        return;
    for (int i = 0; i < 400; i++) {
        attend_case c =
            of_sizes(1 + pick(3), 1, 1 + pick(3), 1 + pick(300), 1 + pick(300), 0, 0);
        c.heads = c.groups * (1 + pick(3));
        c.width = widths[pick(12)];
        c.out_width = pick(3) ? c.width : widths[pick(12)];
        c.mask = (masks)pick(MASKS);
        c.layout = (layout)pick(LAYOUTS);
        c.causal = pick(2);
        c.dtype = dtypes[pick(3)];
        c.tf32 = pick(3);
        try_case(&c);
    }
}

/* ---- time: only told, with --time -------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

TEST(times)
{
    if (!real || !test_option("time"))
        return;
    for (int d = 0; d < 4; d++)
        for (int wide = 64; wide <= 128; wide *= 2) {
            attend_case c = of_sizes(1, 16, 16, 4096, 4096, wide, wide);
            c.causal = 1;
            c.dtype = dtypes[d % 3];
            c.tf32 = d < 3;
            fr__gpu_set_tf32(c.tf32);
            fr_scope *s = fr_scope_open();
            fr_stream_set(gpu());
            fr_array *in[3], *weights = NULL, *all[4];
            for (int i = 0; i < 4; i++)
                *(i < 3 ? &in[i] : &weights) =
                    fr_random_normal((int64_t[]){1, 16, 4096, wide}, 4, c.dtype, NULL);
            fr_eval_all(3, in);
            fr_eval(weights);
            double best[2] = {1e9, 1e9};
            for (int k = 0; k < 12; k++) {
                enum { TIMES = 10 };
                bool grads = k % 2;
                fr_synchronize(gpu());
                double start = now();
                for (int i = 0; i < TIMES; i++) {
                    if (grads)
                        vjp(&c, in, weights, all);
                    else
                        attend(&c, 3, in, 1, all);
                    fr_async_eval(grads ? 4 : 1, all);
                }
                fr_synchronize(gpu());
                best[grads] = fmin(best[grads], (now() - start) / TIMES);
            }
            printf("  %s%s, 16 heads, 4096 x %d, causal: %7.3f ms, with gradients %7.3f ms\n",
                   fr_dtype_name(c.dtype), d == 2 ? " (TF32)" : "", wide, best[0] * 1e3,
                   best[1] * 1e3);
            fr_stream_set((fr_stream){0});
            fr_scope_close(s);
        }
    fr__gpu_set_tf32(true);
}
