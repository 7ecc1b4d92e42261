/* layers.c - layers and losses, composed of operations */
#include <math.h>
#include <string.h>

#include "nn/nn.h"

/* ---- layers -------------------------------------------------------------------------------- */

fr_array *fr_linear(fr_array *x, fr_array *w, fr_array *b)
{
    fr_scope *s = fr_scope_open();
    fr_array *y = fr_matmul(x, fr_transpose(w, NULL, 0));
    return fr__nn_leave(s, b ? fr_add(y, b) : y);
}

fr_array *fr_convolution(fr_array *x, fr_array *w, fr_array *b, const fr_conv_options *options)
{
    fr_scope *s = fr_scope_open();
    fr_array *y = fr_conv(x, w, options);
    return fr__nn_leave(s, b ? fr_add(y, b) : y);
}

fr_array *fr_embedding(fr_array *table, fr_array *places)
{
    if (!table || !places)
        return NULL;
    if (fr_ndim(table) != 2)
        return fr__nn_fail(FR_ERROR_VALUE, "embedding: the table is not of two dimensions",
                           NULL);
    return fr_take(table, places, 0);
}

fr_array *fr_init_weight(const int64_t *shape, int ndim, fr_array *key)
{
    double inputs = 1;
    for (int i = 1; i < ndim; i++)
        inputs *= (double)shape[i];
    double scale = inputs > 0 ? 1 / sqrt(inputs) : 0;
    fr_scope *s = fr_scope_open();
    fr_array *u = fr_random_uniform(shape, ndim, FR_FLOAT32, key);
    return fr__nn_leave(s, fr_add(fr_mul(u, 2 * scale), -scale));
}

/* In float32 where x is narrower. */
static fr_array *wide(fr_array *x)
{
    fr_dtype d = x ? fr_dtype_of(x) : FR_FLOAT32;
    return d == FR_FLOAT16 || d == FR_BFLOAT16 ? fr_astype(x, FR_FLOAT32) : x;
}

static const int last_axis[] = {-1};
static const fr_reduce_options last = {.axes = last_axis, .naxes = 1, .keepdims = true};
static const fr_reduce_options over_last = {.axes = last_axis, .naxes = 1};

static fr_array *scaled(fr_array *y, fr_array *w, fr_array *b, const fr_array *x)
{
    y = w ? fr_mul(y, w) : y;
    y = b ? fr_add(y, b) : y;
    return x ? fr_astype(y, fr_dtype_of(x)) : NULL;
}

fr_array *fr_layer_norm(fr_array *x, fr_array *w, fr_array *b, double eps)
{
    fr_scope *s = fr_scope_open();
    fr_array *v = wide(x);
    fr_array *y = fr_sub(v, fr_mean(v, &last));
    return fr__nn_leave(s, scaled(fr_mul(y, fr_rsqrt(fr_add(fr_var(v, &last), eps))), w, b, x));
}

fr_array *fr_rms_norm(fr_array *x, fr_array *w, double eps)
{
    fr_scope *s = fr_scope_open();
    fr_array *v = wide(x);
    fr_array *size = fr_rsqrt(fr_add(fr_mean(fr_square(v), &last), eps));
    return fr__nn_leave(s, scaled(fr_mul(v, size), w, NULL, x));
}

fr_array *fr_group_norm(fr_array *x, int groups, fr_array *w, fr_array *b, double eps)
{
    if (!x)
        return NULL;
    int ndim = fr_ndim(x);
    int64_t channels = ndim > 1 ? fr_shape(x)[ndim - 1] : 0;
    if (groups < 1 || channels < 1 || channels % groups)
        return fr__nn_fail(FR_ERROR_VALUE, "group_norm: the groups don't divide the channels",
                           NULL);
    static const int places[] = {1, 3};
    static const fr_reduce_options over = {.axes = places, .naxes = 2, .keepdims = true};
    int64_t rows = fr_shape(x)[0], middle = 1;
    for (int i = 1; i < ndim - 1; i++)
        middle *= fr_shape(x)[i];
    fr_scope *s = fr_scope_open();
    fr_array *v = fr_reshape(wide(x), (int64_t[]){rows, middle, groups, channels / groups}, 4);
    fr_array *y = fr_sub(v, fr_mean(v, &over));
    y = fr_mul(y, fr_rsqrt(fr_add(fr_var(v, &over), eps)));
    return fr__nn_leave(s, scaled(fr_reshape(y, fr_shape(x), ndim), w, b, x));
}

fr_array *fr_batch_norm(fr_array *x, fr_array *mean, fr_array *variance, fr_array *w,
                        fr_array *b, double eps)
{
    fr_scope *s = fr_scope_open();
    fr_array *y = fr_mul(fr_sub(wide(x), mean), fr_rsqrt(fr_add(variance, eps)));
    return fr__nn_leave(s, scaled(y, w, b, x));
}

int fr_batch_statistics(fr_array *x, fr_array **mean, fr_array **variance)
{
    int axes[FR_MAX_NDIM], n = fr_ndim(x) - 1;
    for (int i = 0; i < n; i++)
        axes[i] = i;
    const fr_reduce_options over = {.axes = axes, .naxes = n};
    fr_array *made[2] = {NULL, NULL};
    for (int i = 0; n > 0 && i < 2; i++) {
        fr_scope *s = fr_scope_open();
        made[i] = fr__nn_leave(s, i ? fr_var(wide(x), &over) : fr_mean(wide(x), &over));
    }
    if (x && n < 1)
        fr__nn_fail(FR_ERROR_VALUE, "batch_statistics: an array of fewer than two dimensions",
                    NULL);
    if (!made[0] || !made[1])
        return -1;
    *mean = made[0];
    *variance = made[1];
    return 0;
}

fr_array *fr_dropout(fr_array *x, double p, fr_array *key)
{
    if (p < 0 || p >= 1)
        return fr__nn_fail(FR_ERROR_VALUE, "dropout: a probability is at least 0 and below 1",
                           NULL);
    if (!x)
        return NULL;
    fr_scope *s = fr_scope_open();
    fr_array *kept = fr_random_bernoulli(fr_number(1 - p), fr_shape(x), fr_ndim(x), key);
    return fr__nn_leave(s, fr_mul(fr_mul(kept, x), 1 / (1 - p)));
}

/* ---- activations ------------------------------------------------------------------------------ */

fr_array *fr_relu(fr_array *x) { return fr_maximum(x, 0); }

fr_array *fr_gelu(fr_array *x)
{
    fr_scope *s = fr_scope_open();
    fr_array *below = fr_add(fr_erf(fr_div(x, sqrt(2))), 1);
    return fr__nn_leave(s, fr_div(fr_mul(x, below), 2));
}

fr_array *fr_silu(fr_array *x)
{
    fr_scope *s = fr_scope_open();
    return fr__nn_leave(s, fr_mul(x, fr_sigmoid(x)));
}

/* ---- attention -------------------------------------------------------------------------------- */

/* [B, L, heads D] to [B, heads, L, D]. */
static fr_array *parts(fr_array *x, int heads)
{
    if (!x)
        return NULL;
    const int64_t *n = fr_shape(x);
    if (heads < 1 || n[2] % heads)
        return fr__nn_fail(FR_ERROR_VALUE,
                           "multi_head_attention: the heads don't divide the features", NULL);
    fr_array *y = fr_reshape(x, (int64_t[]){n[0], n[1], heads, n[2] / heads}, 4);
    return fr_transpose(y, (int[]){0, 2, 1, 3}, 4);
}

fr_array *fr_multi_head_attention(fr_array *queries, fr_array *keys, fr_array *values,
                                  int heads, const fr_multi_head_weights *w,
                                  const fr_attention_options *options)
{
    if (!queries || !keys || !values)
        return NULL;
    if (fr_ndim(queries) != 3 || fr_ndim(keys) != 3 || fr_ndim(values) != 3)
        return fr__nn_fail(FR_ERROR_VALUE,
                           "multi_head_attention: the inputs are not of three dimensions",
                           NULL);
    fr_scope *s = fr_scope_open();
    fr_array *q = parts(fr_linear(queries, w->query, w->query_bias), heads);
    fr_array *k = parts(fr_linear(keys, w->key, w->key_bias), heads);
    fr_array *v = parts(fr_linear(values, w->value, w->value_bias), heads);
    fr_array *y = fr_transpose(fr_attention(q, k, v, options), (int[]){0, 2, 1, 3}, 4);
    if (y) {
        const int64_t *n = fr_shape(y);
        y = fr_reshape(y, (int64_t[]){n[0], n[1], n[2] * n[3]}, 3);
    }
    return fr__nn_leave(s, fr_linear(y, w->out, w->out_bias));
}

/* ---- losses --------------------------------------------------------------------------------- */

fr_array *fr_cross_entropy(fr_array *logits, fr_array *targets)
{
    if (!logits || !targets)
        return NULL;
    int end = fr_ndim(logits) - 1;
    if (end < 0 || fr_ndim(targets) != end ||
        memcmp(fr_shape(targets), fr_shape(logits), sizeof(int64_t) * (size_t)end))
        return fr__nn_fail(FR_ERROR_VALUE,
                           "cross_entropy: targets are logits without the last axis", NULL);
    if (fr_dtype_of(targets) < FR_UINT8 || fr_dtype_of(targets) > FR_INT64)
        return fr__nn_fail(FR_ERROR_TYPE, "cross_entropy: targets must be integers",
                           fr_dtype_name(fr_dtype_of(targets)));
    fr_scope *s = fr_scope_open();
    fr_array *places = fr_arange(0, (double)fr_shape(logits)[end], 1, FR_INT32);
    fr_array *hit = fr_eq(places, fr_expand_dims(targets, &end, 1));
    fr_array *score = fr_sum(fr_where(hit, logits, 0), &over_last);
    return fr__nn_leave(s, fr_sub(fr_logsumexp(logits, &over_last), score));
}

fr_array *fr_binary_cross_entropy(fr_array *logits, fr_array *targets)
{
    fr_scope *s = fr_scope_open();
    return fr__nn_leave(s, fr_sub(fr_logaddexp(logits, 0), fr_mul(logits, targets)));
}

fr_array *fr_mse(fr_array *predictions, fr_array *targets)
{
    fr_scope *s = fr_scope_open();
    return fr__nn_leave(s, fr_square(fr_sub(predictions, targets)));
}
