/* witness.c - a graph once more, one operation at a time
 *
 * needs   a graph, captured but not simplified; the arrays at its leaves
 * gives   which operation made the first NaN; or the first whose value is another one in the fused
 *         program than by itself
 *
 * Each node is made again by its operation and evaluated alone, so that nothing is fused. Slow,
 * and only for who asks.
 */
#include "run/witness.h"

#include <math.h>
#include <stdio.h>

#include "core/places.h"
#include "core/scope.h"

enum { PLACE = 200 };

struct fr__witness {
    fr__trace trace;
    int nleaves, nouts;
    fr_array **leaves; /* those with values, NULL: placeholders */
    char (*places)[PLACE];
};

/* ---- switches ------------------------------------------------------------------------------ */

static _Atomic int trap = -1, wanted;
static _Thread_local bool inside;

bool fr__trap_set(void)
{
    int t = atomic_load_explicit(&trap, memory_order_relaxed);
    if (t < 0) {
        t = fr__env_on("TRAP_NAN", false);
        atomic_store(&trap, t);
    }
    return t;
}

bool fr__trap_on(void) { return fr__trap_set() && !inside; }
bool fr__places_on(void)
{
    return fr__trap_set() || atomic_load_explicit(&wanted, memory_order_relaxed);
}
void fr__places_wanted(int more) { atomic_fetch_add(&wanted, more); }
void fr_debug_nans(bool on) { atomic_store(&trap, on); }
bool fr_places_wanted(void) { return fr__places_on(); }

void fr_note_place(fr_array *x, const char *place)
{
    if (x && place && fr__places_on())
        fr__place_note(x, place);
}

/* ---- made, freed ------------------------------------------------------------------------------ */

void fr__witness_free(fr__witness *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->nleaves && w->leaves; i++)
        if (w->leaves[i])
            fr__unref(w->leaves[i]);
    fr__free(w->leaves);
    fr__free(w->places);
    fr__trace_free(&w->trace);
    fr__free(w);
}

fr__witness *fr__witness_new(int n_out, fr_array *const *out)
{
    fr__witness *w = fr__calloc(1, sizeof *w);
    if (!w)
        return NULL;
    fr__capture c = {.t = &w->trace};
    int status = fr__capture_graph(&c, n_out, out, true);
    int n = w->trace.nodes.n;
    w->leaves = fr__calloc((size_t)w->trace.leaves.n + 1, sizeof *w->leaves);
    w->places = fr__calloc((size_t)n + 1, sizeof *w->places);
    if (!w->leaves || !w->places)
        status = -1;
    for (int i = 0; !status && i < n; i++)
        fr__place_of(c.arrays.at[i], w->places[i], PLACE);
    w->nleaves = status ? 0 : w->trace.leaves.n;
    for (int i = 0; i < w->nleaves; i++) {
        fr_array *x = c.arrays.at[w->trace.leaves.at[i].node];
        w->leaves[i] = fr__done(x) ? fr__ref(x) : NULL;
    }
    fr__capture_free(&c);
    if (!status)
        return w;
    fr__witness_free(w);
    return NULL;
}

int fr__witness_leaves(const fr__witness *w, fr_array *const **leaves)
{
    *leaves = w->leaves;
    return w->nleaves;
}

/* ---- nodes again -------------------------------------------------------------------------------- */

typedef struct replay {
    const fr__witness *w;
    fr_array *const *leaves;
    const int64_t *literals;
    fr_array **values; /* of each node: a reference, or NULL: not made yet */
} replay;

static fr_array *again(const replay *r, int i)
{
    const fr__trace *t = &r->w->trace;
    const fr__tnode *n = &t->nodes.at[i];
    fr_array *in[FR__INPUTS];
    if (fr__is_leaf(n))
        return fr__ref(r->leaves[n->slot]);
    for (int j = 0; j < n->nin; j++)
        in[j] = r->values[n->in[j]];
    fr_array *x = fr__node(n->op, n->dtype, n->ndim, n->shape, n->nin, in,
                           n->op == FR__OP_NUMBER ? 1 : n->npar);
    if (!x)
        return NULL;
    if (n->op == FR__OP_NUMBER)
        x->par[0] = n->slot >= 0 ? r->literals[n->slot] : n->par[0];
    else
        for (int k = 0; k < n->npar; k++)
            x->par[k] = n->par[k];
    fr__ref(x); /* as a part of a graph, so that eval may fuse what is below another */
    fr_free(x);
    return x;
}

static void release(replay *r)
{
    for (int i = 0; i < r->w->trace.nodes.n; i++)
        if (r->values[i]) {
            fr__unref(r->values[i]);
            r->values[i] = NULL;
        }
}

static int begin(replay *r, const fr__witness *w, fr_array *const *leaves,
                 const int64_t *literals)
{
    *r = (replay){w, leaves, literals ? literals : w->trace.literals.at, NULL};
    r->values = fr__calloc((size_t)w->trace.nodes.n + 1, sizeof *r->values);
    return r->values ? 0 : -1;
}

/* Its value alone, unless memory that is written over is meant. */
static int step(replay *r, int i)
{
    const fr__tnode *n = &r->w->trace.nodes.at[i];
    if (!(r->values[i] = again(r, i)))
        return -1;
    return fr__is_base(n->op, n->npar, n->par) ? 0 : fr_eval_all(1, &r->values[i]);
}

static bool truth(fr_array *x) /* of a condition, a result of ours, which goes */
{
    int64_t v = 0;
    fr_array *all = fr_all(x, NULL);
    bool good = all && !fr_item_int(all, &v);
    fr__discard(all);
    fr__discard(x);
    return good && v;
}

static bool may_be_nan(const fr_array *x)
{
    return fr__dtypes[x->dtype].kind == FR__KIND_FLOAT || x->dtype == FR_COMPLEX64;
}

static bool has_nan(fr_array *x)
{
    if (!may_be_nan(x) || !x->size)
        return false;
    fr_array *nan = fr_isnan(x), *no = fr_logical_not(nan);
    bool none = truth(no);
    fr__discard(nan);
    return !none;
}

static void name(const fr__witness *w, int i, char *to, size_t room)
{
    const fr__tnode *n = &w->trace.nodes.at[i];
    char dims[FR__SHAPE_TEXT];
    snprintf(to, room, "%s, giving %s[%s]%s%s,", fr__ops[n->op].name, fr__dtypes[n->dtype].name,
             fr__dims_text(n->shape, n->ndim, dims), *w->places[i] ? ", at " : "",
             w->places[i]);
}

/* ---- NaN ------------------------------------------------------------------------------------------ */

static int find_nan(replay *r, const char *function)
{
    const fr__trace *t = &r->w->trace;
    char *bad = fr__calloc((size_t)t->nodes.n + 1, 1), text[700];
    int status = bad ? 0 : -1;
    for (int i = 0; !status && i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        if ((status = step(r, i)) || fr__is_base(n->op, n->npar, n->par))
            continue;
        bool before = fr__is_leaf(n) || n->op == FR__OP_NUMBER;
        for (int j = 0; j < n->nin; j++)
            before |= bad[n->in[j]];
        bad[i] = has_nan(r->values[i]);
        if (!bad[i] || before)
            continue;
        name(r->w, i, text, sizeof text);
        status = fr__fail_int(FR__E_VALUE, "debug_nans: %s makes the first NaN%s%s", text,
                              function ? " in " : "", function ? function : "");
    }
    fr__free(bad);
    return status;
}

int fr__witness_nans(const fr__witness *w, fr_array *const *leaves, const int64_t *literals,
                     fr_array *const *out, const char *function)
{
    bool found = false;
    inside = true;
    fr_scope *none = fr__scope_open_none();
    for (int i = 0; none && !found && i < w->trace.outs.n; i++)
        found = has_nan(out[i]);
    replay r;
    int status = none ? 0 : -1;
    if (found && !(status = begin(&r, w, leaves, literals))) {
        status = find_nan(&r, function);
        release(&r);
        fr__free(r.values);
    }
    fr_scope_close(none);
    inside = false;
    return status;
}

/* ---- check ------------------------------------------------------------------------------------------ */

/* Equal but for rounding: of one operation after another in the type itself, and of many at once. */
static bool agree(fr_array *x, fr_array *y)
{
    if (!may_be_nan(x)) {
        return truth((fr_eq)(x, y));
    }
    double rtol = x->dtype == FR_FLOAT64    ? 1e-9
                  : x->dtype == FR_FLOAT16  ? 2e-2
                  : x->dtype == FR_BFLOAT16 ? 1e-1
                                            : 1e-4;
    fr_array *size = fr_abs(y), *finite = fr_isfinite(size), *zero = fr_number(0),
             *some = (fr_where)(finite, size, zero),
             *most = y->size ? fr_max(some, NULL) : NULL;
    double scale = 0;
    if (most)
        fr_item(most, &scale);
    fr_array *made[] = {size, finite, zero, some, most};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return truth(fr_isclose(x, y, rtol, rtol * scale, true));
}

/* The first node whose value in a fused program of its own is not that of its operation alone. */
static int find_difference(replay *alone, const char *function)
{
    replay fused;
    const fr__trace *t = &alone->w->trace;
    int status = begin(&fused, alone->w, alone->leaves, alone->literals);
    bool found = false;
    char text[700];
    for (int i = 0; !status && !found && i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        if (fr__is_leaf(n) || n->op == FR__OP_NUMBER || fr__is_base(n->op, n->npar, n->par))
            continue;
        for (int j = 0; !status && j <= i; j++) /* anew: nothing of it has a value yet */
            status = (fused.values[j] = again(&fused, j)) ? 0 : -1;
        if (!status && !(status = fr_eval_all(1, &fused.values[i])))
            found = !agree(fused.values[i], alone->values[i]);
        release(&fused);
        if (!found || status)
            continue;
        name(alone->w, i, text, sizeof text);
        status = fr__fail_int(FR__E_INTERNAL,
                              "compile: check of '%s': %s has another value in the compiled "
                              "function than by itself",
                              function, text);
    }
    if (!status)
        status =
            fr__fail_int(FR__E_INTERNAL,
                         "compile: check of '%s': a result differs from what its operations "
                         "give one by one",
                         function);
    fr__free(fused.values);
    return status;
}

int fr__witness_check(const fr__witness *w, fr_array *const *leaves, const int64_t *literals,
                      fr_array *const *out, const char *function)
{
    replay r;
    inside = true;
    fr_scope *none = fr__scope_open_none();
    int status = none ? begin(&r, w, leaves, literals) : -1;
    if (!status) {
        bool good = true;
        for (int i = 0; !status && i < w->trace.nodes.n; i++)
            status = step(&r, i);
        for (int i = 0; !status && good && i < w->trace.outs.n; i++) {
            good = agree(out[i], r.values[w->trace.outs.at[i].node]);
            status = fr__failed() ? -1 : 0;
        }
        if (!status && !good)
            status = find_difference(&r, function);
        release(&r);
        fr__free(r.values);
    }
    fr_scope_close(none);
    inside = false;
    return status;
}
