/* vjp.c - reverse-mode derivatives: tapes, and the walk back
 *
 *   aliases of the arguments -> the function, as it stands -> results
 *   results -> back through the nodes that depend on an alias -> cotangents of the aliases
 *
 * needs   nodes that keep their inputs until the tape closes (core/tape.h)
 * gives   gradients as nodes; what they were computed from is let go with the tape
 */
#include "core/scope.h"
#include "core/tape.h"
#include "xform/function.h"
#include "xform/rules.h"

/* ---- functions -------------------------------------------------------------------------- */

int fr__run(fr_fn *fn, void *ctx, const char *what, int n_in, fr_array *const *in, int n_out,
            fr_array **out)
{
    for (int i = 0; i < n_out; i++)
        out[i] = NULL;
    int status = fn(ctx, n_in, in, n_out, out);
    if (fr__failed())
        return -1;
    if (status)
        return fr__fail_int(FR__E_CALLBACK, "%s: the function returned %d", what, status);
    for (int i = 0; i < n_out; i++)
        if (!out[i])
            return fr__fail_int(FR__E_VALUE, "%s: result %d was not set", what, i);
    return 0;
}

int fr__hand_over(fr_scope *s, int status, int n, fr_array **out)
{
    for (int i = 0; !status && i < n; i++)
        fr_keep(out[i]);
    fr_scope_close(s);
    if (status || !fr__in_scope())
        return status;
    for (int i = 0; i < n; i++) { /* the scope's, as every result */
        fr__own_result(fr__ref(out[i]));
        fr_free(out[i]);
    }
    return fr__failed() ? -1 : 0;
}

bool fr__good_arrays(const char *what, int n, fr_array *const *x)
{
    if (fr__failed())
        return false;
    for (int i = 0; i < n; i++)
        if (!x[i])
            return fr__fail(FR__E_VALUE, "%s: array %d is NULL", what, i), false;
    return true;
}

/* ---- tapes -------------------------------------------------------------------------------- */

fr_tape *fr_tape_begin(int n, fr_array *const *in, fr_array **aliases)
{
    if (!fr__good_arrays("grad", n, in))
        return NULL;
    fr_tape *t = fr__calloc(1, sizeof *t + sizeof t->alias[0] * (size_t)n);
    if (!t)
        return NULL;
    if (!(t->id = fr__tape_open())) {
        fr__free(t);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        if (!(aliases[i] = fr__alias(FR__OP_ALIAS, in[i], t->id))) {
            while (i)
                fr__discard(aliases[--i]);
            fr_tape_end(t);
            return NULL;
        }
        t->alias[t->n++] = fr__ref(aliases[i]);
    }
    return t;
}

void fr_tape_end(fr_tape *t)
{
    if (!t)
        return;
    fr__tape_close(t->id);
    for (int i = 0; i < t->n; i++)
        fr__unref(t->alias[i]);
    fr__free(t);
}

/* ---- the walk back ------------------------------------------------------------------------- */

static void accumulate(fr_array **to, fr_array *g) { *to = *to ? (fr_add)(*to, g) : g; }

static int seed(const fr__walk *w, int i, fr_array *out, fr_array *cotangent, fr_array **at)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    if (!cotangent)
        return 0;
    if (cotangent->ndim != out->ndim ||
        memcmp(cotangent->dims, out->dims, sizeof(int64_t) * out->ndim))
        return fr__fail_int(FR__E_VALUE, "vjp: output %d is %s and its cotangent %s", i,
                            fr__shape_text(out, a), fr__shape_text(cotangent, b));
    int n = fr__walk_find(w, out);
    if (n < 0 || !w->nodes.at[n].depends)
        return 0;
    accumulate(&at[n], fr_astype(cotangent, (fr_dtype)out->dtype));
    return at[n] ? 0 : -1;
}

/* From a node's cotangent to those of its inputs. */
static int step_back(const fr__walk *w, int i, fr_array **at)
{
    const fr__visit *v = &w->nodes.at[i];
    fr_array *to[64] = {NULL}, *const *in = w->in.at + v->first;
    const int32_t *number = w->number.at + v->first;
    uint64_t need = 0;
    for (int j = 0; j < v->nin; j++)
        if (number[j] >= 0 && w->nodes.at[number[j]].depends)
            need |= (uint64_t)1 << j;
    if (!need)
        return 0;
    if (fr__vjp_rule(v->x, at[i], in, need, to))
        return -1;
    for (int j = 0; j < v->nin; j++)
        if (need >> j & 1 && to[j])
            accumulate(&at[number[j]], to[j]);
    at[i] = NULL;
    return fr__failed() ? -1 : 0;
}

static int walk_back(const fr_tape *t, const fr__walk *w, int n_out, fr_array *const *out,
                     fr_array *const *cotangents, fr_array **grads)
{
    fr_array **at = fr__calloc((size_t)w->nodes.n + 1, sizeof *at);
    int status = at ? 0 : -1;
    for (int i = 0; !status && i < n_out; i++)
        status = seed(w, i, out[i], cotangents[i], at);
    for (int i = w->nodes.n - 1; !status && i >= 0; i--)
        if (at[i] && w->nodes.at[i].nin)
            status = step_back(w, i, at);
    for (int i = 0; !status && i < t->n; i++) {
        const fr_array *x = t->alias[i];
        fr_array *g = at[fr__walk_find(w, x)];
        grads[i] = g ? g : fr_zeros(x->dims, x->ndim, (fr_dtype)x->dtype);
        status = grads[i] ? 0 : -1;
    }
    fr__free(at);
    return status;
}

int fr__gradients(fr_tape *t, fr__follow *follow, int n_out, fr_array *const *out,
                  fr_array *const *cotangents, fr_array **grads)
{
    if (!t || !fr__good_arrays("grad", n_out, out))
        return -1;
    fr_scope *s = fr_scope_open();
    if (!s)
        return -1;
    fr__walk w = {0};
    int status = fr__walk_graph(&w, n_out, out, t->n, t->alias, follow);
    if (!status)
        status = walk_back(t, &w, n_out, out, cotangents, grads);
    fr__walk_free(&w);
    return fr__hand_over(s, status, t->n, grads);
}

int fr_tape_gradients(fr_tape *t, int n_out, fr_array *const *out, fr_array *const *cotangents,
                      fr_array **grads)
{
    return fr__gradients(t, fr__differentiable, n_out, out, cotangents, grads);
}

/* ---- of functions ---------------------------------------------------------------------------- */

/* A tape on some arguments, in a scope. Others stay as they are. */
typedef struct {
    fr_scope *scope;
    fr_tape *tape;
    fr_array **in, **results; /* arguments; results, then gradients */
} run;

static int begin(run *r, const char *what, int n_in, fr_array *const *in, int n_args,
                 const int *args, int n_out)
{
    *r = (run){0};
    if (!fr__good_arrays(what, n_in, in))
        return -1;
    for (int i = 0; i < n_args; i++) {
        int a = args ? args[i] : i;
        bool again = false;
        for (int j = 0; j < i; j++)
            again |= a == (args ? args[j] : j);
        if (a < 0 || a >= n_in || again)
            return fr__fail_int(FR__E_VALUE, "%s: argument %d %s", what, a,
                                again ? "is named twice" : "is not there");
    }
    r->scope = fr_scope_open();
    r->in = fr__malloc(sizeof *in * (size_t)(n_in + 2 * n_args + n_out + 1));
    if (!r->scope || !r->in)
        return -1;
    r->results = r->in + n_in + n_args;
    fr_array **chosen = r->in + n_in;
    for (int i = 0; i < n_in; i++)
        r->in[i] = in[i];
    for (int i = 0; i < n_args; i++)
        chosen[i] = in[args ? args[i] : i];
    if (!(r->tape = fr_tape_begin(n_args, chosen, chosen)))
        return -1;
    for (int i = 0; i < n_args; i++)
        r->in[args ? args[i] : i] = chosen[i];
    return 0;
}

static int end(run *r, int status, int n_out, fr_array **out, int n_args, fr_array **grads)
{
    fr_tape_end(r->tape);
    if (r->scope)
        status = fr__hand_over(r->scope, status, n_out + n_args, r->results);
    for (int i = 0; !status && i < n_out; i++)
        out[i] = r->results[i];
    for (int i = 0; !status && i < n_args; i++)
        grads[i] = r->results[n_out + i];
    fr__free(r->in);
    return status;
}

int fr_value_and_grad(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_args,
                      const int *args, int n_out, fr_array **out, fr_array **grads)
{
    const char *what = "value_and_grad";
    run r;
    char text[FR__SHAPE_TEXT];
    int status = begin(&r, what, n_in, in, n_args, args, n_out);
    if (!status)
        status = fr__run(fn, ctx, what, n_in, r.in, n_out, r.results);
    if (!status && (n_out < 1 || r.results[0]->ndim))
        status = fr__fail_int(FR__E_VALUE, "%s: the first result must be a scalar, not %s",
                              what, n_out ? fr__shape_text(r.results[0], text) : "missing");
    if (!status) {
        fr_array *one = fr__number(1, r.results[0]->dtype);
        status = one ? fr_tape_gradients(r.tape, 1, r.results, &one, r.results + n_out) : -1;
    }
    return end(&r, status, n_out, out, n_args, grads);
}

fr_array *fr_grad(fr_fn *fn, void *ctx, fr_array *x)
{
    fr_array *y, *g;
    if (fr_value_and_grad(fn, ctx, 1, &x, 1, NULL, 1, &y, &g))
        return NULL;
    fr__discard(y);
    return g;
}

int fr_vjp(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_out,
           fr_array *const *cotangents, fr_array **out, fr_array **grads)
{
    run r;
    int status = begin(&r, "vjp", n_in, in, n_in, NULL, n_out);
    if (!status)
        status = fr__run(fn, ctx, "vjp", n_in, r.in, n_out, r.results);
    if (!status)
        status = fr_tape_gradients(r.tape, n_out, r.results, cotangents, r.results + n_out);
    return end(&r, status, n_out, out, n_in, grads);
}
