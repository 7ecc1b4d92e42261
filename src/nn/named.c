/* named.c - layers by the names of their parameters */
#include <stdio.h>

#include "nn/nn.h"

enum { NAME = 256, LONGEST = 200 };

/* NAME.part; NULL: too long. */
static const char *joined(char text[NAME], const char *name, const char *part)
{
    int n = snprintf(text, NAME, "%s.%s", name, part);
    return n < LONGEST ? text : fr__nn_fail(FR_ERROR_LIMIT, "params: a name is too long", NULL);
}

/* ---- added ----------------------------------------------------------------------------------- */

/* NAME.weight, and NAME.bias if there is one: both or none. */
static int add(fr_params *p, const char *name, fr_array *weight, fr_array *bias, bool biased)
{
    char text[NAME];
    int n = fr_params_count(p);
    if (joined(text, name, "weight") && fr_params_add(p, text, weight) >= 0 &&
        (!biased || fr_params_add(p, joined(text, name, "bias"), bias) >= 0))
        return 0;
    fr__params_shorten(p, n);
    return -1;
}

int fr_params_add_weight(fr_params *p, const char *name, const int64_t *shape, int ndim,
                         bool bias, fr_array *key)
{
    if (!p || fr_error() != FR_OK)
        return -1;
    if (ndim < 2) {
        fr__nn_fail(FR_ERROR_VALUE, "params: a weight has two dimensions or more", name);
        return -1;
    }
    fr_scope *s = fr_scope_open();
    fr_array *w = fr_init_weight(shape, ndim, key);
    fr_array *b = bias && w ? fr_zeros(shape, 1, FR_FLOAT32) : NULL;
    int status = add(p, name, w, b, bias);
    fr_scope_close(s);
    return status;
}

int fr_params_add_norm(fr_params *p, const char *name, int64_t dims, bool bias)
{
    if (!p || fr_error() != FR_OK)
        return -1;
    fr_scope *s = fr_scope_open();
    fr_array *b = bias ? fr_zeros(&dims, 1, FR_FLOAT32) : NULL;
    int status = add(p, name, fr_ones(&dims, 1, FR_FLOAT32), b, bias);
    fr_scope_close(s);
    return status;
}

int fr_params_add_embedding(fr_params *p, const char *name, int64_t n, int64_t dims,
                            fr_array *key)
{
    if (!p || fr_error() != FR_OK)
        return -1;
    fr_scope *s = fr_scope_open();
    fr_array *table = fr_random_normal((int64_t[]){n, dims}, 2, FR_FLOAT32, key);
    int status = add(p, name, fr_mul(table, fr_rsqrt(fr_number((double)dims))), NULL, false);
    fr_scope_close(s);
    return status;
}

static const char *const projections[] = {"query_proj", "key_proj", "value_proj", "out_proj"};

int fr_params_add_attention(fr_params *p, const char *name, int64_t dims, bool bias,
                            fr_array *key)
{
    if (!p || fr_error() != FR_OK)
        return -1;
    int n = fr_params_count(p), status = 0;
    char text[NAME];
    fr_scope *s = fr_scope_open();
    fr_array *keys = key ? fr_random_split(key, 4) : NULL;
    for (int64_t i = 0; i < 4 && !status; i++) {
        fr_array *own = NULL;
        if (keys) {
            own = fr_slice(keys, (int64_t[]){i, 0}, (int64_t[]){1, 1}, (int64_t[]){1, 2});
            own = fr_reshape(own, (int64_t[]){2}, 1);
        }
        status = joined(text, name, projections[i])
                     ? fr_params_add_weight(p, text, (int64_t[]){dims, dims}, 2, bias, own)
                     : -1;
    }
    fr_scope_close(s);
    if (status)
        fr__params_shorten(p, n);
    return status;
}

/* ---- applied --------------------------------------------------------------------------------- */

static fr_array *weight_of(const fr_params *p, const char *name)
{
    char text[NAME];
    return joined(text, name, "weight") ? fr_params_get(p, text) : NULL;
}

/* NULL if there is none. */
static fr_array *bias_of(const fr_params *p, const char *name)
{
    char text[NAME];
    int i = joined(text, name, "bias") ? fr_params_find(p, text) : -1;
    return i < 0 ? NULL : fr_params_get(p, text);
}

fr_array *fr_params_linear(const fr_params *p, const char *name, fr_array *x)
{
    return fr_linear(x, weight_of(p, name), bias_of(p, name));
}

fr_array *fr_params_convolution(const fr_params *p, const char *name, fr_array *x,
                                const fr_conv_options *options)
{
    return fr_convolution(x, weight_of(p, name), bias_of(p, name), options);
}

fr_array *fr_params_embedding(const fr_params *p, const char *name, fr_array *places)
{
    return fr_embedding(weight_of(p, name), places);
}

fr_array *fr_params_layer_norm(const fr_params *p, const char *name, fr_array *x, double eps)
{
    fr_array *w = weight_of(p, name);
    return w ? fr_layer_norm(x, w, bias_of(p, name), eps) : NULL;
}

fr_array *fr_params_rms_norm(const fr_params *p, const char *name, fr_array *x, double eps)
{
    fr_array *w = weight_of(p, name);
    return w ? fr_rms_norm(x, w, eps) : NULL;
}

fr_array *fr_params_attention(const fr_params *p, const char *name, fr_array *queries,
                              fr_array *keys, fr_array *values, int heads,
                              const fr_attention_options *options)
{
    fr_array *w[4], *b[4];
    char text[NAME];
    for (int i = 0; i < 4; i++) {
        if (!joined(text, name, projections[i]) || !(w[i] = weight_of(p, text)))
            return NULL;
        b[i] = bias_of(p, text);
    }
    const fr_multi_head_weights weights = {w[0], w[1], w[2], w[3], b[0], b[1], b[2], b[3]};
    return fr_multi_head_attention(queries, keys, values, heads, &weights, options);
}
