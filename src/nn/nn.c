/* nn.c - parameters, layers, losses and optimizers for C. Over the public header only. */
#include "ferrule/nn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *fail(fr_error_kind kind, const char *what, const char *name)
{
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", what, name ? ": " : "", name ? name : "");
    if (fr_error() == FR_OK)
        fr_error_set(kind, text);
    return NULL;
}

/* A result out of a scope of ours, given as an operation gives it. */
static fr_array *leave(fr_scope *s, fr_array *y)
{
    fr_array *kept = fr_keep(y), *result = NULL;
    fr_scope_close(s);
    if (kept && fr_error() == FR_OK)
        result = fr_reshape(kept, fr_shape(kept), fr_ndim(kept)); /* itself, again a result */
    fr_free(kept);
    return result;
}

/* ---- parameters --------------------------------------------------------------------------- */

struct fr_params {
    int n, room;
    char **names;
    fr_array **arrays;
};

fr_params *fr_params_new(void)
{
    fr_params *p = calloc(1, sizeof *p);
    return p ? p : fail(FR_ERROR_MEMORY, "params: no memory", NULL);
}

void fr_params_free(fr_params *p)
{
    for (int i = 0; p && i < p->n; i++) {
        free(p->names[i]);
        fr_free(p->arrays[i]);
    }
    if (p) {
        free(p->names);
        free(p->arrays);
    }
    free(p);
}

static int find(const fr_params *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->names[i], name))
            return i;
    return -1;
}

static bool grow(fr_params *p)
{
    if (p->n < p->room)
        return true;
    int room = p->room ? 2 * p->room : 8;
    char **names = realloc(p->names, sizeof *names * (size_t)room);
    if (names)
        p->names = names;
    fr_array **arrays = realloc(p->arrays, sizeof *arrays * (size_t)room);
    if (arrays)
        p->arrays = arrays;
    if (!names || !arrays)
        return false;
    p->room = room;
    return true;
}

int fr_params_add(fr_params *p, const char *name, fr_array *x)
{
    if (!p || !x || fr_error() != FR_OK)
        return -1;
    if (find(p, name) >= 0) {
        fail(FR_ERROR_VALUE, "params: there is one of that name", name);
        return -1;
    }
    char *copy = malloc(strlen(name) + 1);
    if (!copy || !grow(p)) {
        free(copy);
        fail(FR_ERROR_MEMORY, "params: no memory", NULL);
        return -1;
    }
    p->names[p->n] = strcpy(copy, name);
    p->arrays[p->n] = fr_keep(x);
    return p->n++;
}

int fr_params_count(const fr_params *p) { return p->n; }
const char *fr_params_name(const fr_params *p, int i)
{
    return i >= 0 && i < p->n ? p->names[i] : NULL;
}
fr_array **fr_params_arrays(fr_params *p) { return p->arrays; }

fr_array *fr_params_get(const fr_params *p, const char *name)
{
    int i = find(p, name);
    return i < 0 ? fail(FR_ERROR_VALUE, "params: none of that name", name) : p->arrays[i];
}

fr_params *fr_params_like(const fr_params *p)
{
    fr_params *made = fr_params_new();
    fr_scope *s = fr_scope_open();
    for (int i = 0; made && i < p->n; i++) {
        const fr_array *x = p->arrays[i];
        fr_array *zeros = fr_zeros(fr_shape(x), fr_ndim(x), fr_dtype_of(x));
        if (fr_params_add(made, p->names[i], zeros) < 0) {
            fr_params_free(made);
            made = NULL;
        }
    }
    fr_scope_close(s);
    return made;
}

int fr_params_save(const fr_params *p, const char *path)
{
    return fr_save(path, FR_FILE_SAFETENSORS, p->n, (const char *const *)p->names, p->arrays,
                   NULL);
}

/* What takes the place of parameter i: a reference of ours. */
static fr_array *fitting(const fr_params *p, int i, const fr_archive *a)
{
    const fr_array *x = p->arrays[i];
    fr_array *y = fr_archive_find(a, p->names[i]);
    if (!y)
        return fail(FR_ERROR_VALUE, "params: the file has none of that name", p->names[i]);
    if (fr_ndim(y) != fr_ndim(x) ||
        memcmp(fr_shape(y), fr_shape(x), sizeof(int64_t) * (size_t)fr_ndim(x)))
        return fail(FR_ERROR_VALUE, "params: the file has another shape of", p->names[i]);
    y = fr_astype(y, fr_dtype_of(x));
    return y ? fr_own(y) : NULL;
}

int fr_params_load(fr_params *p, const char *path)
{
    fr_archive *a = fr_load(path);
    fr_array **made = a ? calloc((size_t)p->n + 1, sizeof *made) : NULL;
    int n = 0;
    if (a && !made)
        fail(FR_ERROR_MEMORY, "params: no memory", NULL);
    if (made && fr_archive_count(a) != p->n)
        fail(FR_ERROR_VALUE, "params: the file has another number of arrays", path);
    while (made && fr_error() == FR_OK && n < p->n && (made[n] = fitting(p, n, a)))
        n++;
    bool good = made && fr_error() == FR_OK && n == p->n;
    for (int i = 0; i < n; i++) {
        fr_free(good ? p->arrays[i] : made[i]);
        if (good)
            p->arrays[i] = made[i];
    }
    free(made);
    fr_archive_free(a);
    return good ? 0 : -1;
}

/* ---- layers -------------------------------------------------------------------------------- */

fr_array *fr_linear(fr_array *x, fr_array *w, fr_array *b)
{
    fr_scope *s = fr_scope_open();
    fr_array *y = fr_matmul(x, fr_transpose(w, NULL, 0));
    return leave(s, b ? fr_add(y, b) : y);
}

fr_array *fr_init_weight(const int64_t *shape, int ndim, fr_array *key)
{
    double inputs = 1;
    for (int i = 1; i < ndim; i++)
        inputs *= (double)shape[i];
    double scale = inputs > 0 ? 1 / sqrt(inputs) : 0;
    fr_scope *s = fr_scope_open();
    fr_array *u = fr_random_uniform(shape, ndim, FR_FLOAT32, key);
    return leave(s, fr_add(fr_mul(u, 2 * scale), -scale));
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
    return leave(s, scaled(fr_mul(y, fr_rsqrt(fr_add(fr_var(v, &last), eps))), w, b, x));
}

fr_array *fr_rms_norm(fr_array *x, fr_array *w, double eps)
{
    fr_scope *s = fr_scope_open();
    fr_array *v = wide(x);
    fr_array *size = fr_rsqrt(fr_add(fr_mean(fr_square(v), &last), eps));
    return leave(s, scaled(fr_mul(v, size), w, NULL, x));
}

fr_array *fr_dropout(fr_array *x, double p, fr_array *key)
{
    if (p < 0 || p >= 1)
        return fail(FR_ERROR_VALUE, "dropout: a probability is at least 0 and below 1", NULL);
    if (!x)
        return NULL;
    fr_scope *s = fr_scope_open();
    fr_array *kept = fr_random_bernoulli(fr_number(1 - p), fr_shape(x), fr_ndim(x), key);
    return leave(s, fr_mul(fr_mul(kept, x), 1 / (1 - p)));
}

/* ---- losses --------------------------------------------------------------------------------- */

fr_array *fr_cross_entropy(fr_array *logits, fr_array *targets)
{
    if (!logits || !targets)
        return NULL;
    int end = fr_ndim(logits) - 1;
    if (end < 0 || fr_ndim(targets) != end ||
        memcmp(fr_shape(targets), fr_shape(logits), sizeof(int64_t) * (size_t)end))
        return fail(FR_ERROR_VALUE, "cross_entropy: targets are logits without the last axis",
                    NULL);
    fr_scope *s = fr_scope_open();
    fr_array *places = fr_arange(0, (double)fr_shape(logits)[end], 1, FR_INT32);
    fr_array *hit = fr_eq(places, fr_expand_dims(targets, &end, 1));
    fr_array *score = fr_sum(fr_where(hit, logits, 0), &over_last);
    return leave(s, fr_sub(fr_logsumexp(logits, &over_last), score));
}

fr_array *fr_binary_cross_entropy(fr_array *logits, fr_array *targets)
{
    fr_scope *s = fr_scope_open();
    return leave(s, fr_sub(fr_logaddexp(logits, 0), fr_mul(logits, targets)));
}

fr_array *fr_mse(fr_array *predictions, fr_array *targets)
{
    fr_scope *s = fr_scope_open();
    return leave(s, fr_square(fr_sub(predictions, targets)));
}

/* ---- optimizers ------------------------------------------------------------------------------ */

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

int fr_sgd(int n, fr_array **params, fr_array *const *grads, fr_array **v, fr_array *rate,
           const fr_sgd_options *options)
{
    fr_sgd_options o = options ? *options : (fr_sgd_options){0};
    fr_array ***to = calloc(2 * (size_t)n + 1, sizeof *to);
    fr_array **made = calloc(2 * (size_t)n + 1, sizeof *made);
    int all = 0;
    if (!to || !made || (o.momentum != 0 && !v)) {
        fail(to && made ? FR_ERROR_VALUE : FR_ERROR_MEMORY, "sgd: momentum needs velocities",
             NULL);
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
        made[all++] = fr_sub(params[i], fr_mul(rate, g));
    }
    return assign(all, to, made);
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
        fail(FR_ERROR_MEMORY, "adam: no memory", NULL);
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
        fr_array *p = params[i], *g = grads[i];
        if (o.weight_decay != 0)
            p = fr_mul(p, fr_sub(1.0, fr_mul(rate, o.weight_decay)));
        fr_array *mean = fr_add(fr_mul(m[i], b1), fr_mul(g, 1 - b1));
        fr_array *square = fr_add(fr_mul(v[i], b2), fr_mul(fr_square(g), 1 - b2));
        fr_array *scale = root ? fr_mul(fr_sqrt(square), root) : fr_sqrt(square);
        to[all] = &m[i];
        made[all++] = mean;
        to[all] = &v[i];
        made[all++] = square;
        to[all] = &params[i];
        made[all++] = fr_sub(p, fr_div(fr_mul(size, mean), fr_add(scale, eps)));
    }
    return assign(all, to, made);
}
