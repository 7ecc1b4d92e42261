/* optimizers.c - from gradients to new parameters, assigned to their variables */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

/* Assigns all if all are there. Frees the list. */
static int assign(int n, fr_array ***to, fr_array **made)
{
    bool good = made && fr_error() == FR_OK;
    for (int i = 0; good && i < n; i++)
        good = made[i] != NULL;
    for (int i = 0; good && i < n; i++)
        *to[i] = made[i];
    free(made);
    free(to);
    return good ? 0 : -1;
}

/* x in the dtype of another: a rate in float32 leaves narrower parameters what they are. */
static fr_array *as(fr_array *x, const fr_array *like)
{
    return like ? fr_astype(x, fr_dtype_of(like)) : NULL;
}

int fr_sgd(int n, fr_array **params, fr_array *const *grads, fr_array **v, fr_array *rate,
           const fr_sgd_options *options)
{
    fr_sgd_options o = options ? *options : (fr_sgd_options){0};
    fr_array ***to = calloc(2 * (size_t)n + 1, sizeof *to);
    fr_array **made = calloc(2 * (size_t)n + 1, sizeof *made);
    int all = 0;
    if (!to || !made || (o.momentum != 0 && !v)) {
        fr__nn_fail(to && made ? FR_ERROR_VALUE : FR_ERROR_MEMORY,
                    "sgd: momentum needs velocities", NULL);
        free(to);
        free(made);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        fr_array *g = grads[i];
        if (o.weight_decay != 0)
            g = fr_add(g, fr_mul(params[i], o.weight_decay));
        if (o.momentum != 0) {
            fr_array *speed = fr_add(fr_mul(v[i], o.momentum), g);
            to[all] = &v[i];
            made[all++] = speed;
            g = o.nesterov ? fr_add(g, fr_mul(speed, o.momentum)) : speed;
        }
        to[all] = &params[i];
        made[all++] = fr_sub(params[i], fr_mul(as(rate, params[i]), g));
    }
    return assign(all, to, made);
}

/* What Adam computes with: in half precision eps would be nothing, and a root of small squares too. */
static fr_array *wide(fr_array *x)
{
    fr_dtype dtype = fr_dtype_of(x);
    return dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 ? fr_astype(x, FR_FLOAT32) : x;
}

int fr_adam(int n, fr_array **params, fr_array *const *grads, fr_array **m, fr_array **v,
            fr_array **step, fr_array *rate, const fr_adam_options *options)
{
    fr_adam_options o = options ? *options : (fr_adam_options){0};
    double b1 = o.beta1 != 0 ? o.beta1 : 0.9, b2 = o.beta2 != 0 ? o.beta2 : 0.999,
           eps = o.eps != 0 ? o.eps : 1e-8;
    fr_array ***to = calloc(3 * (size_t)n + 1, sizeof *to);
    fr_array **made = calloc(3 * (size_t)n + 1, sizeof *made);
    if (!to || !made) {
        fr__nn_fail(FR_ERROR_MEMORY, "adam: no memory", NULL);
        free(to);
        free(made);
        return -1;
    }
    fr_array *next = fr_add(*step, 1.0), *size = rate, *root = NULL;
    if (!o.no_bias_correction) {
        size = fr_div(rate, fr_sub(1.0, fr_pow(fr_number(b1), next)));
        root = fr_rsqrt(fr_sub(1.0, fr_pow(fr_number(b2), next)));
    }
    int all = 0;
    to[all] = step;
    made[all++] = next;
    for (int i = 0; i < n; i++) {
        fr_array *p = wide(params[i]), *g = wide(grads[i]);
        if (o.weight_decay != 0)
            p = fr_mul(p, fr_sub(1.0, as(fr_mul(rate, o.weight_decay), p)));
        fr_array *mean = fr_add(fr_mul(wide(m[i]), b1), fr_mul(g, 1 - b1));
        fr_array *square = fr_add(fr_mul(wide(v[i]), b2), fr_mul(fr_square(g), 1 - b2));
        fr_array *scale = fr_sqrt(square);
        scale = root ? fr_mul(scale, as(root, p)) : scale;
        to[all] = &m[i];
        made[all++] = as(mean, m[i]);
        to[all] = &v[i];
        made[all++] = as(square, v[i]);
        to[all] = &params[i];
        made[all++] =
            as(fr_sub(p, fr_div(fr_mul(as(size, p), mean), fr_add(scale, eps))), params[i]);
    }
    return assign(all, to, made);
}

/* ---- of a whole set ---------------------------------------------------------------------------- */

fr_params *fr_adam_state(const fr_params *p)
{
    if (!p || fr_error() != FR_OK)
        return NULL;
    fr_params *state = fr_params_new();
    fr_scope *s = fr_scope_open();
    int n = fr_params_count(p), status = state ? 0 : -1;
    for (int i = 0; i < 2 * n && !status; i++) {
        const char *name = fr_params_name(p, i % n);
        const fr_array *x = fr_params_get(p, name);
        size_t room = strlen(name) + 3;
        char *own = malloc(room);
        if (own)
            snprintf(own, room, "%c.%s", i < n ? 'm' : 'v', name);
        else
            fr__nn_fail(FR_ERROR_MEMORY, "adam: no memory", NULL);
        fr_array *zeros = x ? fr_zeros(fr_shape(x), fr_ndim(x), fr_dtype_of(x)) : NULL;
        status = own && fr_params_add(state, own, zeros) >= 0 ? 0 : -1;
        free(own);
    }
    if (!status && fr_params_add(state, "step", fr_zeros(NULL, 0, FR_FLOAT32)) < 0)
        status = -1;
    fr_scope_close(s);
    if (!status)
        return state;
    fr_params_free(state);
    return NULL;
}

/* Whether a state is of so many arrays. */
static bool fits(const fr_params *p, const fr_params *state, int arrays)
{
    if (!p || fr_error() != FR_OK)
        return false;
    if (state && fr_params_count(state) == arrays)
        return true;
    fr__nn_fail(FR_ERROR_VALUE, "optimizer: the state is not of these parameters", NULL);
    return false;
}

int fr_params_sgd(fr_params *p, fr_array *const *grads, fr_params *velocities, fr_array *rate,
                  const fr_sgd_options *options)
{
    int n = p ? fr_params_count(p) : 0;
    if (velocities ? !fits(p, velocities, n) : !p)
        return -1;
    return fr_sgd(n, fr_params_arrays(p), grads,
                  velocities ? fr_params_arrays(velocities) : NULL, rate, options);
}

int fr_params_adam(fr_params *p, fr_array *const *grads, fr_params *state, fr_array *rate,
                   const fr_adam_options *options)
{
    int n = p ? fr_params_count(p) : 0;
    if (!fits(p, state, 2 * n + 1))
        return -1;
    fr_array **at = fr_params_arrays(state);
    return fr_adam(n, fr_params_arrays(p), grads, at, at + n, at + 2 * n, rate, options);
}
