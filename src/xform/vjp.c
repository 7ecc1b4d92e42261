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
#include "xform/custom.h"
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

/* From results to sources. */
typedef struct {
    fr__follow *follow;
    int n;
    fr_array *const *sources;
    fr__walk walk;
    fr_array **at;    /* the cotangent of each node so far; NULL: none yet */
    fr_array ***many; /* of a bundle: the cotangents of its function's results */
} way;

static void accumulate(fr_array **to, fr_array *g) { *to = *to ? (fr_add)(*to, g) : g; }

/* Where x's cotangent is added up; NULL: x doesn't depend on a source. */
static fr_array **place_of(const way *w, const fr_array *x)
{
    int n = fr__walk_find(&w->walk, x);
    return n >= 0 && w->walk.nodes.at[n].depends ? &w->at[n] : NULL;
}

static int seed(const way *w, int i, fr_array *out, fr_array *cotangent)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    if (!cotangent)
        return 0;
    if (cotangent->ndim != out->ndim ||
        memcmp(cotangent->dims, out->dims, sizeof(int64_t) * out->ndim))
        return fr__fail_int(FR__E_VALUE, "vjp: output %d is %s and its cotangent %s", i,
                            fr__shape_text(out, a), fr__shape_text(cotangent, b));
    fr_array **at = place_of(w, out);
    if (!at)
        return 0;
    accumulate(at, fr_astype(cotangent, (fr_dtype)out->dtype));
    return *at ? 0 : -1;
}

static int pull(fr__follow *follow, int n, fr_array *const *sources, int n_out,
                fr_array *const *out, fr_array *const *cotangents, fr_array **grads);

/* A checkpoint: the function again on aliases of its arguments, and back through it: to them, and
 * to whatever it captured that depends on the sources. */
static int back_again(const way *w, const fr__custom *c, fr_array *const *cotangents)
{
    int n = c->n_in + w->n, status = -1;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(2 * n + c->n_out + 1));
    if (!room)
        return -1;
    fr_array **sources = room, **grads = sources + n, **out = grads + n;
    fr_tape *again = NULL;
    fr_array *g = NULL;
    for (int i = 0; i < c->n_out && !g; i++)
        g = cotangents[i];
    for (int i = 0; i < c->n_in; i++)
        if (!(sources[i] = fr__again(c->in[i], g)))
            goto done;
    for (int i = 0; i < w->n; i++)
        sources[c->n_in + i] = w->sources[i];
    again = fr_tape_begin(c->n_in, sources, sources);
    if (again &&
        !fr__run(c->rules.again, c->ctx, "checkpoint", c->n_in, sources, c->n_out, out))
        status = pull(w->follow, n, sources, c->n_out, out, cotangents, grads);
    fr_tape_end(again);
    for (int i = 0; !status && i < n; i++) {
        fr_array **at = place_of(w, i < c->n_in ? c->in[i] : w->sources[i - c->n_in]);
        if (at && grads[i])
            accumulate(at, grads[i]);
    }
done:
    fr__free(room);
    return status;
}

/* From the cotangents of a function's results to those of its arguments, by its own rules. */
static int back_by_rules(const way *w, int i)
{
    const fr__custom *c = fr__custom_of(w->walk.nodes.at[i].x);
    bool forward = w->follow == fr__differentiable_forward;
    if (!forward && c->rules.again)
        return back_again(w, c, w->many[i]);
    fr_array **grads = fr__malloc(sizeof *grads * (size_t)(c->n_in + 1));
    bool *wanted = fr__malloc(sizeof *wanted * (size_t)(c->n_in + 1));
    int status = grads && wanted ? 0 : -1;
    for (int j = 0; !status && j < c->n_in; j++)
        wanted[j] = place_of(w, c->in[j]) != NULL;
    if (!status)
        status = fr__custom_gradients(c, forward, wanted, w->many[i], grads);
    for (int j = 0; !status && j < c->n_in; j++)
        if (wanted[j] && grads[j])
            accumulate(place_of(w, c->in[j]), grads[j]);
    fr__free(grads);
    fr__free(wanted);
    return status;
}

static int to_bundle(way *w, int bundle, int result, fr_array *g)
{
    const fr__custom *c = fr__custom_of(w->walk.nodes.at[bundle].x);
    if (!w->many[bundle])
        w->many[bundle] = fr__calloc((size_t)c->n_out, sizeof *w->many[bundle]);
    if (!w->many[bundle])
        return -1;
    accumulate(&w->many[bundle][result], g);
    return 0;
}

/* From a node's cotangent to those of its inputs. */
static int step_back(way *w, int i)
{
    const fr__visit *v = &w->walk.nodes.at[i];
    fr_array *to[64] = {NULL}, *const *in = w->walk.in.at + v->first, *g = w->at[i];
    const int32_t *number = w->walk.number.at + v->first;
    uint64_t need = 0;
    if (w->many[i])
        return back_by_rules(w, i);
    for (int j = 0; j < v->nin; j++)
        if (number[j] >= 0 && w->walk.nodes.at[number[j]].depends)
            need |= (uint64_t)1 << j;
    w->at[i] = NULL;
    if (!need || !g)
        return 0;
    if (v->x->op == FR__OP_CUSTOM && need & 2)
        return to_bundle(w, number[1], (int)v->x->par[0], g);
    if (fr__vjp_rule(v->x, g, in, need, to))
        return -1;
    for (int j = 0; j < v->nin; j++)
        if (need >> j & 1 && to[j])
            accumulate(&w->at[number[j]], to[j]);
    return 0;
}

/* grads[i]: of source i, NULL where nothing comes back to it. In an open scope. */
static int pull(fr__follow *follow, int n, fr_array *const *sources, int n_out,
                fr_array *const *out, fr_array *const *cotangents, fr_array **grads)
{
    way w = {.follow = follow, .n = n, .sources = sources};
    int status = fr__walk_graph(&w.walk, n_out, out, n, sources, follow);
    int nodes = w.walk.nodes.n;
    w.at = fr__calloc((size_t)nodes + 1, sizeof *w.at);
    w.many = fr__calloc((size_t)nodes + 1, sizeof *w.many);
    if (!w.at || !w.many)
        status = -1;
    for (int i = 0; !status && i < n_out; i++)
        status = seed(&w, i, out[i], cotangents[i]);
    for (int i = nodes - 1; !status && i >= 0; i--)
        if (w.walk.nodes.at[i].nin && (w.at[i] || w.many[i]))
            status = step_back(&w, i);
    if (fr__failed())
        status = -1;
    for (int i = 0; !status && i < n; i++)
        grads[i] = w.at[fr__walk_find(&w.walk, sources[i])];
    for (int i = 0; w.many && i < nodes; i++)
        fr__free(w.many[i]);
    fr__free(w.many);
    fr__free(w.at);
    fr__walk_free(&w.walk);
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
    int status = pull(follow, t->n, t->alias, n_out, out, cotangents, grads);
    for (int i = 0; !status && i < t->n; i++) {
        const fr_array *x = t->alias[i];
        if (!grads[i])
            grads[i] = fr_zeros(x->dims, x->ndim, (fr_dtype)x->dtype);
        status = grads[i] ? 0 : -1;
    }
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
