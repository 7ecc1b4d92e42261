/* tracing.c - a trace of a function: from placeholders for a call's inputs to a program
 *
 *   begin: placeholders -> [the function] -> end: pending constants get their values
 *   -> capture -> leaves are bound to inputs and captured arrays -> plan -> kept by the call's key
 *
 * A shapeless function is traced with unusual sizes first (shapeless.c), which gives a family of
 * programs, or the knowledge that calls like this one are to be traced for each size.
 */
#include <stdio.h>

#include "core/place.h"
#include "core/scope.h"
#include "op/view.h"
#include "run/function.h"

struct fr_trace {
    fr_function *f;
    int n_in;
    fr_array **placeholders;
    fr_scope *scope;    /* inside it results are the caller's */
    bool counted;       /* in `tracing` */
    bool hidden_before; /* sizes, in a trace around this one */
    bool hides;         /* the placeholders' sizes are not the inputs': */
    fr__sizes real, unusual;
    fr_array **in; /* references to the inputs, while sizes are hidden */
};

static _Thread_local int tracing; /* traces that this thread is inside */

bool fr_is_tracing(void) { return tracing > 0; }

/* ---- begun ---------------------------------------------------------------------------- */

static void release_trace(fr_trace *t)
{
    for (int i = 0; i < t->n_in; i++)
        if (t->placeholders[i])
            fr__unref(t->placeholders[i]);
    for (int i = 0; t->hides && i < t->n_in; i++)
        fr__unref(t->in[i]);
    if (t->counted)
        fr__sizes_hidden = t->hidden_before;
    fr__free(t->in);
    fr_scope_close(t->scope);
    tracing -= t->counted;
    fr_function_free(t->f);
    fr__free(t->placeholders);
    fr__free(t);
}

/* A shapeless function's first call of a kind, not known to be traced for each size. */
static bool may_hide(fr_function *f, const void *key, size_t key_bytes, int n_in,
                     fr_array *const *in, fr__sizes *real)
{
    if (fr__wants_witness(f) || !fr__sizes_of(n_in, in, real) || !real->n)
        return false;
    fr__family *y = fr__family_find(f, key, key_bytes, n_in, in, real);
    fr__family_release(y);
    return !y;
}

static void release_origin(fr__origin *origin)
{
    if (atomic_fetch_sub(&origin->refs, 1) == 1)
        fr__free(origin);
}

/* Sizes to trace with, instead of the inputs'. */
static void hide_sizes(fr_trace *t, fr_array *const *in, const fr__sizes *real)
{
    int ndim = 0;
    for (int i = 0; i < t->n_in; i++) {
        t->in[i] = fr__ref(in[i]);
        ndim = in[i]->ndim > ndim ? in[i]->ndim : ndim;
    }
    t->hides = true;
    t->real = t->unusual = *real;
    fr__sizes_unusual(&t->unusual, ndim);
}

static fr_array *placeholder(const fr_trace *t, fr_array *in, fr__origin *origin)
{
    int64_t dims[FR_MAX_NDIM];
    for (int d = 0; d < in->ndim; d++) {
        int class = t->hides ? fr__size_class(&t->real, in->dims[d]) : 0;
        dims[d] = class < 2 ? in->dims[d] : t->unusual.at[class - 2];
    }
    fr_array *x = fr__node(FR__OP_PLACEHOLDER, in->dtype, in->ndim, dims, 0, NULL, 0);
    if (!x)
        return NULL;
    atomic_fetch_add(&origin->refs, 1);
    x->origin = origin;
    if (t->hides)
        fr__row_major(x->ndim, dims, fr__strides(x));
    else
        memcpy(fr__strides(x), fr__strides(in), sizeof(int64_t) * x->ndim);
    x->flags = (uint8_t)(FR__TRACED | (fr__flag(in, FR__WEAK) ? FR__WEAK : 0));
    return x;
}

/* real: the sizes to hide, or NULL. */
static fr_trace *begin(fr_function *f, int n_in, fr_array *const *in, fr_array **placeholders,
                       const char *place, const fr__sizes *real)
{
    fr_trace *t = fr__calloc(1, sizeof *t);
    fr__origin *origin = fr__malloc(sizeof *origin);
    if (t) {
        t->placeholders = fr__calloc((size_t)n_in + 1, sizeof(fr_array *));
        t->in = fr__calloc((size_t)n_in + 1, sizeof *t->in);
    }
    if (!t || !t->placeholders || !t->in || !origin || !(t->scope = fr__scope_open_none())) {
        if (t) {
            fr__free(t->placeholders);
            fr__free(t->in);
        }
        fr__free(t);
        fr__free(origin);
        return NULL;
    }
    *origin = (fr__origin){.refs = 1};
    snprintf(origin->function, sizeof origin->function, "%s", f->name);
    snprintf(origin->place, sizeof origin->place, "%s", place ? place : "");
    atomic_fetch_add(&f->refs, 1);
    t->f = f;
    t->n_in = n_in;
    if (real)
        hide_sizes(t, in, real);
    for (int i = 0; i < n_in; i++) {
        if (!(placeholders[i] = placeholder(t, in[i], origin))) {
            while (i)
                fr_free(placeholders[--i]);
            release_trace(t);
            release_origin(origin);
            return NULL;
        }
        t->placeholders[i] = fr__ref(placeholders[i]);
    }
    release_origin(origin);
    atomic_fetch_add_explicit(&fr__counters[FR_COUNT_TRACES], 1, memory_order_relaxed);
    tracing++;
    t->counted = true;
    t->hidden_before = fr__sizes_hidden;
    fr__sizes_hidden = t->hides;
    return t;
}

fr_trace *fr_trace_begin_call(fr_function *f, const void *key, size_t key_bytes, int n_in,
                              fr_array *const *in, fr_array **placeholders, const char *place)
{
    fr__sizes real = {0};
    if (!fr__good_inputs(f, n_in, in) || fr__evaluate_inputs(n_in, in))
        return NULL;
    bool hides = f->shapeless && !tracing && may_hide(f, key, key_bytes, n_in, in, &real);
    fr_trace *t = begin(f, n_in, in, placeholders, place, hides ? &real : NULL);
    if (!t && hides) { /* too many elements, perhaps */
        fr__error_clear();
        t = begin(f, n_in, in, placeholders, place, NULL);
    }
    return t;
}

fr_trace *fr_trace_begin(fr_function *f, int n_in, fr_array *const *in, fr_array **placeholders,
                         const char *place)
{
    if (!fr__good_inputs(f, n_in, in) || fr__evaluate_inputs(n_in, in))
        return NULL;
    return begin(f, n_in, in, placeholders, place, NULL);
}

bool fr_trace_hides_sizes(const fr_trace *t) { return t->hides; }

void fr_trace_abandon(fr_trace *t)
{
    if (t)
        release_trace(t);
}

/* ---- what it captured --------------------------------------------------------------------- */

/* Pending arrays that the trace captured, made of values alone, are evaluated now: they are
 * constants of the program. What is made of numbers only stays in it. */
typedef struct {
    fr__map seen;
    FR__VEC(fr_array *) stack, constants, keys;
} capture_walk;

static int look_at(capture_walk *w, fr_array *x)
{
    if (fr__done(x) || x->op == FR__OP_PLACEHOLDER)
        return 0;
    uint64_t hash = fr__hash_mix((uintptr_t)x, 7);
    if (fr__map_get(&w->seen, &x, sizeof x, hash))
        return 0;
    fr_array **key = fr__malloc(sizeof *key);
    if (!key)
        return -1;
    *key = x;
    if (fr__vec_push(&w->keys, (fr_array *)key)) {
        fr__free(key);
        return -1;
    }
    return fr__map_put(&w->seen, key, sizeof x, hash, x) || fr__vec_push(&w->stack, x) ? -1 : 0;
}

static bool has_values_below(fr_array *x, int depth)
{
    /* Numbers broadcast, counted, shaped: shallow by construction; deeper is taken as values. */
    fr_array *in[FR__INPUTS];
    if (depth > 16 || x->nin > FR__COUNT(in) || !fr__pin_inputs(x, in))
        return true;
    bool found = false;
    for (int i = 0; i < x->nin; i++) {
        found = found || has_values_below(in[i], depth + 1);
        fr__unref(in[i]);
    }
    return found;
}

/* Whether it may be made with the unusual sizes of a trace: then it has no value yet. */
static bool has_sizes_below(fr_array *x, const fr__sizes *unusual, int depth)
{
    fr_array *in[FR__INPUTS];
    if (fr__done(x))
        return false;
    if (depth > 16 || fr__sizes_in(unusual, x->ndim, x->dims) || x->nin > FR__COUNT(in) ||
        !fr__pin_inputs(x, in))
        return true;
    bool found = false;
    for (int i = 0; i < x->nin; i++) {
        found = found || has_sizes_below(in[i], unusual, depth + 1);
        fr__unref(in[i]);
    }
    return found;
}

static int evaluate_constants(int n_out, fr_array *const *out, const fr__sizes *unusual)
{
    capture_walk w = {0};
    int status = 0;
    for (int i = 0; !status && i < n_out; i++)
        status = look_at(&w, out[i]);
    while (!status && w.stack.n) {
        fr_array *x = w.stack.at[--w.stack.n];
        bool constant = !fr__flag(x, FR__TRACED) && !fr__is_base(x->op, x->npar, x->par);
        if (constant && !(unusual && has_sizes_below(x, unusual, 0))) {
            if (has_values_below(x, 0))
                status = fr__vec_push(&w.constants, x);
            continue;
        }
        int n = fr__is_alias(x->op) ? 1 : x->nin;
        for (int i = 0; !status && i < n; i++)
            status = look_at(&w, x->in[i]);
    }
    if (!status && w.constants.n)
        status = fr__eval_pending(w.constants.n, w.constants.at);
    for (int i = 0; i < w.keys.n; i++)
        fr__free(w.keys.at[i]);
    fr__vec_free(&w.keys);
    fr__vec_free(&w.stack);
    fr__vec_free(&w.constants);
    fr__map_free(&w.seen);
    return status;
}

/* ---- its program -------------------------------------------------------------------------- */

static int bind_leaves(fr_program *p, const fr_trace *t, const fr__capture *c)
{
    int n = c->t->leaves.n;
    p->source = fr__malloc(sizeof *p->source * (size_t)(n + 1));
    p->captured = fr__calloc((size_t)n + 1, sizeof *p->captured);
    if (!p->source || !p->captured)
        return -1;
    for (int i = 0; i < n; i++) {
        fr_array *x = c->arrays.at[c->t->leaves.at[i].node];
        int from = -1;
        for (int j = 0; from < 0 && x->op == FR__OP_PLACEHOLDER && j < t->n_in; j++)
            if (t->placeholders[j] == x)
                from = j;
        if (x->op == FR__OP_PLACEHOLDER && from < 0)
            return fr__traced_error(x, "a result of another trace");
        if (from < 0) {
            from = -1 - p->ncaptured;
            p->captured[p->ncaptured++] = fr__ref(x);
        }
        p->source[i] = from;
    }
    return 0;
}

static fr_program *make_program(fr_trace *t, int n_out, fr_array *const *out)
{
    fr__trace trace = {0};
    fr__capture c = {.t = &trace};
    fr_program *p = NULL;
    uint16_t stream = fr_stream_current().id;
    if (evaluate_constants(n_out, out, NULL) ||
        fr__trace_on(&trace, fr__place_of_stream(stream)) ||
        fr__capture_graph(&c, n_out, out, true))
        goto out;
    p = fr__calloc(1, sizeof *p);
    if (!p)
        goto out;
    snprintf(p->name, sizeof p->name, "%s", t->f->name);
    p->check = t->f->check;
    p->refs = 1;
    p->stream = stream;
    p->n_in = t->n_in;
    p->n_out = n_out;
    size_t bytes = sizeof *p->literals * (size_t)trace.literals.n;
    p->literals = fr__malloc(bytes);
    if (p->literals && bytes)
        memcpy(p->literals, trace.literals.at, bytes);
    if (!p->literals || bind_leaves(p, t, &c) || !(p->plan = fr__plan_for(&trace))) {
        fr_program_free(p);
        p = NULL;
    }
    if (p && (p->check || fr__trap_on()) && !(p->witness = fr__witness_new(n_out, out))) {
        fr_program_free(p);
        p = NULL;
    }
out:
    fr__capture_free(&c);
    fr__trace_free(&trace);
    return p;
}

/* A strict function has no constants: all that it computes with is handed to it. */
static int refuse_constants(const fr_function *f, const fr_program *p)
{
    enum { NAMED = 4 };
    if (!f->strict || !p->ncaptured)
        return 0;
    size_t bytes;
    fr__text text = {0};
    fr_program_captured(p, &bytes);
    for (int i = 0; i < p->ncaptured && i < NAMED; i++) {
        char shape[FR__SHAPE_TEXT];
        fr__text_f(&text, i ? ", %s" : "%s", fr__shape_text(p->captured[i], shape));
    }
    fr__fail(FR__E_VALUE,
             "compile: '%s' is strict and uses %d array%s that %s not among its arguments or "
             "captured inputs: %s%s (%zu bytes)",
             f->name, p->ncaptured, p->ncaptured == 1 ? "" : "s",
             p->ncaptured == 1 ? "is" : "are", text.at ? text.at : "",
             p->ncaptured > NAMED ? " ..." : "", bytes);
    fr__text_free(&text);
    return -1;
}

/* Of a trace with unusual sizes: its family, and the program of the call's own sizes. */
static fr_program *make_family(fr_trace *t, const void *key, size_t key_bytes, int n_out,
                               fr_array *const *out)
{
    fr__trace trace = {0};
    fr__capture c = {.t = &trace};
    fr_program bound = {0}, *p = NULL;
    fr__symbolic *symbolic = NULL;
    if (!evaluate_constants(n_out, out, &t->unusual) &&
        !fr__capture_graph(&c, n_out, out, true) && !bind_leaves(&bound, t, &c) &&
        !refuse_constants(t->f, &bound))
        symbolic = fr__symbolic_new(&trace, bound.source, bound.captured, bound.ncaptured,
                                    &t->unusual);
    for (int i = 0; i < bound.ncaptured; i++)
        fr__unref(bound.captured[i]);
    fr__free(bound.captured);
    fr__free(bound.source);
    fr__capture_free(&c);
    fr__trace_free(&trace);
    fr__family *y =
        symbolic ? fr__family_keep(t->f, key, key_bytes, t->n_in, t->in, &t->real, symbolic)
                 : NULL;
    if (y)
        y->n_out = n_out, p = fr__family_program(y, &t->real, t->n_in, n_out);
    fr__family_release(y);
    return p;
}

/* ---- ended -------------------------------------------------------------------------------- */

/* Calls like this one are traced for each size from now on. */
static void refuse_sizes(fr_trace *t, const void *key, size_t key_bytes)
{
    fr__error_clear(); /* whatever it was: the trace that follows tells it if it is the user's */
    fr__family_release(fr__family_keep(t->f, key, key_bytes, t->n_in, t->in, &t->real, NULL));
}

void fr_trace_refuse(fr_trace *t, const void *key, size_t key_bytes)
{
    if (t && t->hides)
        refuse_sizes(t, key, key_bytes);
    fr_trace_abandon(t);
}

fr_program *fr_trace_end(fr_trace *t, const void *key, size_t key_bytes, int n_out,
                         fr_array *const *out)
{
    if (!t)
        return NULL;
    fr_program *p = NULL;
    bool good = !fr__failed();
    fr__sizes_hidden = false;
    for (int i = 0; good && i < n_out; i++)
        if (!out[i]) {
            fr__fail(FR__E_VALUE, "%s: result %d is NULL", t->f->name, i);
            good = false;
        }
    if (t->hides) {
        p = good ? make_family(t, key, key_bytes, n_out, out) : NULL;
        if (!p)
            refuse_sizes(t, key, key_bytes);
    } else if (good) {
        p = make_program(t, n_out, out);
        if (p && refuse_constants(t->f, p)) {
            fr_program_free(p);
            p = NULL;
        }
    }
    if (p && fr__program_keep(t->f, p, key, key_bytes, t->n_in,
                              t->hides ? t->in : t->placeholders)) {
        fr_program_free(p);
        p = NULL;
    }
    release_trace(t);
    return p;
}
