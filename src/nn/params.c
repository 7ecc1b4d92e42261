/* params.c - parameters with names: kept, saved, loaded, differentiated */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

void *fr__nn_fail(fr_error_kind kind, const char *what, const char *name)
{
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", what, name ? ": " : "", name ? name : "");
    if (fr_error() == FR_OK)
        fr_error_set(kind, text);
    return NULL;
}

fr_array *fr__nn_leave(fr_scope *s, fr_array *y)
{
    fr_array *kept = fr_keep(y), *result = NULL;
    fr_scope_close(s);
    if (kept && fr_error() == FR_OK)
        result = fr_reshape(kept, fr_shape(kept), fr_ndim(kept)); /* itself, again a result */
    fr_free(kept);
    return result;
}

/* ---- the set ------------------------------------------------------------------------------- */

struct fr_params {
    int n, room;
    bool lent; /* the variables hold what is being differentiated */
    char **names;
    fr_array **arrays;
};

fr_params *fr_params_new(void)
{
    fr_params *p = calloc(1, sizeof *p);
    return p ? p : fr__nn_fail(FR_ERROR_MEMORY, "params: no memory", NULL);
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

int fr_params_find(const fr_params *p, const char *name)
{
    for (int i = 0; p && i < p->n; i++)
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
    const char *wrong = p->lent ? "params: added while they are differentiated"
                        : fr_params_find(p, name) >= 0 ? "params: there is one of that name"
                                                       : NULL;
    if (wrong) {
        fr__nn_fail(FR_ERROR_VALUE, wrong, name);
        return -1;
    }
    char *copy = malloc(strlen(name) + 1);
    if (!copy || !grow(p)) {
        free(copy);
        fr__nn_fail(FR_ERROR_MEMORY, "params: no memory", NULL);
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

int fr_params_slots(fr_params *p, fr_array ***slots)
{
    for (int i = 0; i < p->n; i++)
        slots[i] = &p->arrays[i];
    return p->n;
}

void fr__params_shorten(fr_params *p, int n)
{
    while (p->n > n) {
        free(p->names[--p->n]);
        fr_free(p->arrays[p->n]);
    }
}

fr_array *fr_params_get(const fr_params *p, const char *name)
{
    if (!p || fr_error() != FR_OK)
        return NULL;
    int i = fr_params_find(p, name);
    return i < 0 ? fr__nn_fail(FR_ERROR_VALUE, "params: none of that name", name)
                 : p->arrays[i];
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
        return fr__nn_fail(FR_ERROR_VALUE, "params: the file has none of that name",
                           p->names[i]);
    if (fr_ndim(y) != fr_ndim(x) ||
        memcmp(fr_shape(y), fr_shape(x), sizeof(int64_t) * (size_t)fr_ndim(x)))
        return fr__nn_fail(FR_ERROR_VALUE, "params: the file has another shape of",
                           p->names[i]);
    y = fr_astype(y, fr_dtype_of(x));
    return y ? fr_own(y) : NULL;
}

int fr_params_load(fr_params *p, const char *path)
{
    fr_archive *a = fr_load(path);
    fr_array **made = a ? calloc((size_t)p->n + 1, sizeof *made) : NULL;
    int n = 0;
    if (a && !made)
        fr__nn_fail(FR_ERROR_MEMORY, "params: no memory", NULL);
    if (made && fr_archive_count(a) != p->n)
        fr__nn_fail(FR_ERROR_VALUE, "params: the file has another number of arrays", path);
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

/* ---- derivatives ----------------------------------------------------------------------------- */

typedef struct {
    fr_params *p;
    fr_fn *fn;
    void *ctx;
} lent_call;

/* in: what stands for the parameters, then fn's arguments. */
static int with_parameters(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    lent_call *c = ctx;
    int n = c->p->n;
    for (int i = 0; i < n; i++)
        c->p->arrays[i] = in[i];
    return c->fn(c->ctx, n_in - n, in + n, n_out, out);
}

int fr_params_value_and_grad(fr_params *p, fr_fn *fn, void *ctx, int n_in, fr_array *const *in,
                             int n_out, fr_array **out, fr_array **grads)
{
    if (!p || fr_error() != FR_OK)
        return -1;
    int n = p->n;
    fr_array **all = malloc(sizeof *all * (size_t)(n + n_in + 1));
    if (!all) {
        fr__nn_fail(FR_ERROR_MEMORY, "params: no memory", NULL);
        return -1;
    }
    for (int i = 0; i < n + n_in; i++)
        all[i] = i < n ? p->arrays[i] : in[i - n];
    bool lent = p->lent;
    p->lent = true;
    int status = fr_value_and_grad(with_parameters, &(lent_call){p, fn, ctx}, n + n_in, all, n,
                                   NULL, n_out, out, grads);
    p->lent = lent;
    for (int i = 0; i < n;
         i++) /* only now: what is run again for its derivative reads them, too */
        p->arrays[i] = all[i];
    free(all);
    return status;
}
