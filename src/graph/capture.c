/* capture.c - from the lazy graph to a trace, and the key that identifies it
 *
 *   [capture] -> simplify -> layout -> split -> fuse -> merge -> lower -> plan -> program
 *
 * gives   nodes in topological order, leaves, literals, outputs; the key
 *
 * The key holds everything that a program depends on: operations, dtypes, shapes, parameters,
 * layouts of leaves, what is an output. Of literals it holds only those that simplify looks at
 * (fixed here), and which of the others are equal.
 */
#include <math.h>

#include "core/claim.h"
#include "core/place.h"
#include "core/scope.h"
#include "graph/trace.h"
#include "op/view.h"

/* ---- literals ----------------------------------------------------------------------- */

/* Numbers that simplify may look at are part of the program; all others are its arguments. */
static bool fixed_literal(int dtype, int64_t bits)
{
    if (fr__dtypes[dtype].kind == FR__KIND_BOOL)
        return true;
    if (fr__dtypes[dtype].kind != FR__KIND_FLOAT)
        return bits >= -2 && bits <= 2;
    double v;
    memcpy(&v, &bits, sizeof v);
    double m = fabs(v);
    return m == 0 || m == 0.5 || m == 1 || m == 2 || isinf(v) || isnan(v);
}

static int literal_slot(fr__trace *t, int dtype, int64_t bits)
{
    if (fixed_literal(dtype, bits))
        return -1;
    for (int i = t->literals.n - 1; i >= 0 && i >= t->literals.n - 64; i--)
        if (t->literals.at[i] == bits && t->literal_dtypes.at[i] == dtype)
            return i;
    if (fr__vec_push(&t->literal_dtypes, (uint8_t)dtype) || fr__vec_push(&t->literals, bits))
        return -2;
    return t->literals.n - 1;
}

/* ---- one node ----------------------------------------------------------------------- */

enum { IN_PROGRESS = -1 };

static int push_words(fr__trace *t, int n, const int64_t *words)
{
    if (fr__vec_reserve(&t->key, n))
        return -1;
    for (int i = 0; i < n; i++)
        t->key.at[t->key.n++] = (uint64_t)words[i];
    return 0;
}

/* The first words of a node in the key, more of which follows: of a leaf its shape, and strides where it
 * isn't contiguous (leaf and placeholder are one: a program works on either); of an operation its
 * shape, parameters and inputs; of a number its bits, where it has no slot. */
static int64_t leaf_head(int dtype, int ndim, bool contiguous)
{
    return (int64_t)FR__OP_LEAF | (int64_t)dtype << 8 | (int64_t)ndim << 16 |
           (int64_t)contiguous << 24;
}

static int64_t node_head(int op, int dtype, int ndim, int nin)
{
    return (int64_t)op | (int64_t)dtype << 8 | (int64_t)ndim << 16 | (int64_t)nin << 24;
}

static int64_t number_head(int dtype, int ndim, int slot)
{
    return node_head(FR__OP_NUMBER, dtype, ndim, 0) | (int64_t)(slot + 1) << 32;
}

int fr__capture_leaf(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape,
                     const int64_t *strides)
{
    int node = fr__trace_add(t, op, dtype, ndim, shape, 0, NULL, 0, NULL);
    if (node < 0)
        return -1;
    fr__leafref leaf = {.node = node, .contiguous = !strides};
    if (strides) {
        leaf.strides = fr__arena_alloc(&t->arena, sizeof(int64_t) * (size_t)ndim);
        if (!leaf.strides)
            return -1;
        memcpy((int64_t *)leaf.strides, strides, sizeof(int64_t) * (size_t)ndim);
    }
    t->nodes.at[node].slot = t->leaves.n;
    if (fr__vec_push(&t->leaves, leaf))
        return -1;
    int64_t head = leaf_head(dtype, ndim, leaf.contiguous);
    if (push_words(t, 1, &head) || push_words(t, ndim, shape) ||
        (strides && push_words(t, ndim, strides)))
        return -1;
    return node;
}

static int add_leaf(fr__trace *t, fr_array *x)
{
    bool contiguous = fr__is_contiguous(x->ndim, x->dims, fr__strides(x));
    return fr__capture_leaf(t, fr__done(x) ? FR__OP_LEAF : FR__OP_PLACEHOLDER, x->dtype,
                            x->ndim, x->dims, contiguous ? NULL : fr__strides(x));
}

int fr__capture_node(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape, int nin,
                     const int32_t *in, int npar, const int64_t *par)
{
    int node = fr__trace_add(t, op, dtype, ndim, shape, nin, in, npar, par);
    if (node < 0)
        return -1;
    int64_t head = node_head(op, dtype, ndim, nin);
    if (op == FR__OP_NUMBER) {
        int slot = literal_slot(t, dtype, par[0]);
        if (slot < -1)
            return -1;
        t->nodes.at[node].slot = slot;
        head = number_head(dtype, ndim, slot);
        if (push_words(t, 1, &head) || (slot < 0 && push_words(t, 1, par)))
            return -1;
        return node;
    }
    if (push_words(t, 1, &head) || push_words(t, ndim, shape) || push_words(t, npar, par))
        return -1;
    for (int i = 0; i < nin; i++) {
        int64_t word = in[i];
        if (push_words(t, 1, &word))
            return -1;
    }
    return node;
}

int fr__capture_output(fr__trace *t, int node)
{
    int64_t word = node;
    t->nodes.at[node].flags |= FR__T_OUTPUT;
    return push_words(t, 1, &word) || fr__vec_push(&t->outs, (fr__tout){.node = node}) ? -1 : 0;
}

static int add_node(fr__trace *t, const fr__numbers *seen, fr_array *x, int nin,
                    fr_array *const *inputs)
{
    int32_t in[FR__INPUTS];
    if (nin > FR__INPUTS)
        return fr__fail_int(FR__E_INTERNAL, "capture: %s has %d inputs", fr__ops[x->op].name,
                            nin);
    for (int i = 0; i < nin; i++)
        in[i] = *fr__numbers_find(seen, inputs[i]);
    if (x->op == FR__OP_AGAIN) /* the other input is for the order, and that is made */
        nin = 1;
    /* Past this point an alias is its input: a view that changes nothing. */
    bool alias = fr__is_alias(x->op);
    int op = alias ? FR__OP_RESHAPE : x->op, npar = alias ? 0 : x->npar;
    return fr__capture_node(t, op, x->dtype, x->ndim, x->dims, nin, in, npar, x->par);
}

/* ---- the walk ----------------------------------------------------------------------- */

typedef struct {
    fr_array *x;
    int next, nin, pins; /* inputs looked at; how many to look at; where their pins begin */
} frame;

typedef struct {
    fr__capture *c;
    fr__numbers seen; /* array -> node */
    FR__VEC(frame) stack;
    FR__VEC(fr_array *) pins; /* references to inputs of nodes in progress */
    bool whole;
} walk;

static int keep_node(walk *w, fr_array *x, int node)
{
    /* The arrays stand at the node's number: a reference moves from the caller. */
    if (node < 0 || fr__vec_push(&w->c->arrays, x)) {
        fr__unref(x);
        return -1;
    }
    int32_t *at = fr__numbers_find(&w->seen, x);
    if (at)
        *at = node;
    else if (fr__numbers_put(&w->seen, x, node))
        return -1;
    return 0;
}

/* Values without a place of their own, or not worth one. */
static bool keepable(const fr__tnode *n)
{
    return n->op != FR__OP_NUMBER && n->op != FR__OP_IOTA && n->op != FR__OP_LEAF &&
           !fr__is_base(n->op, n->npar, n->par) && !fr__is_view(n);
}

static int make_output(walk *w, int node)
{
    if (w->c->t->nodes.at[node].flags & FR__T_OUTPUT)
        return 0;
    w->c->t->nodes.at[node].flags |= FR__T_OUTPUT;
    return fr__vec_push(&w->c->outputs, node);
}

/* Nothing that can be seen is computed twice. What somebody holds gets its value now. What no
 * handle holds is fused away the first time; when a later eval comes through it again from
 * something new, it gets its value (what lies below it needn't: that is the frontier). */
static int keep_values(walk *w, fr_array *x, int node)
{
    fr__trace *t = w->c->t;
    if (w->whole)
        return 0;
    bool before =
        atomic_fetch_or_explicit(&x->flags, FR__REACHED, memory_order_relaxed) & FR__REACHED;
    t->nodes.at[node].flags |= before ? FR__T_AGAIN : 0;
    for (int j = 0; !before && j < t->nodes.at[node].nin; j++) {
        int at = t->nodes.at[node].in[j];
        while (fr__is_view(&t->nodes.at[at]) && t->nodes.at[at].flags & FR__T_AGAIN)
            at = t->nodes.at[at].in[0];
        if (t->nodes.at[at].flags & FR__T_AGAIN && keepable(&t->nodes.at[at]) &&
            make_output(w, at))
            return -1;
    }
    return fr__has_handle(x) && keepable(&t->nodes.at[node]) ? make_output(w, node) : 0;
}

/* Computed in another place than what asks for it; what has no bytes of its own is at home anywhere. */
static bool is_foreign(const walk *w, const fr_array *x)
{
    return fr__place_of_stream(x->stream) != w->c->t->place && !w->whole &&
           x->op != FR__OP_NUMBER && x->op != FR__OP_IOTA && fr__ops[x->op].class != FR__VIEW &&
           !fr__is_alias(x->op) && !fr__is_base(x->op, x->npar, x->par);
}

/* Begins a node (takes over a reference): a leaf is made at once, others wait for their inputs. */
static int begin(walk *w, fr_array *x)
{
    /* A number stays one when it has been evaluated: operations take it without a broadcast. */
    bool number = x->op == FR__OP_NUMBER;
    if (fr__done(x) && !number)
        return keep_node(w, x, add_leaf(w->c->t, x));
    if (x->op == FR__OP_PLACEHOLDER) {
        if (w->whole)
            return keep_node(w, x, add_leaf(w->c->t, x));
        fr__traced_error(x, "evaluation");
        fr__unref(x);
        return -1;
    }
    if (x->op == FR__OP_LEAF) { /* another thread's run is making it anew */
        if (!fr__await(x))
            return keep_node(w, x, add_leaf(w->c->t, x));
        fr__unref(x);
        return -1;
    }
    if (FR__UNLIKELY(is_foreign(w, x))) {
        int leaf = fr__capture_leaf(w->c->t, FR__OP_LEAF, x->dtype, x->ndim, x->dims, NULL);
        if (fr__vec_push(&w->c->foreign, x))
            leaf = -1;
        return keep_node(w, x, leaf);
    }
    /* Of an alias only the first input has to do with its value. */
    frame f = {.x = x, .nin = fr__is_alias(x->op) ? 1 : x->nin, .pins = w->pins.n};
    int room = x->nin ? x->nin : 1;
    if (fr__vec_reserve(&w->pins, room) || fr__vec_reserve(&w->stack, 1)) {
        fr__unref(x);
        return -1;
    }
    if (!number &&
        !fr__pin_inputs(x, w->pins.at + w->pins.n)) /* done by another thread since */
        return keep_node(w, x, add_leaf(w->c->t, x));
    w->pins.n += x->nin;
    if (fr__numbers_put(&w->seen, x, IN_PROGRESS)) {
        while (w->pins.n > f.pins)
            fr__unref(w->pins.at[--w->pins.n]);
        fr__unref(x);
        return -1;
    }
    w->stack.at[w->stack.n++] = f;
    return 0;
}

static int finish(walk *w)
{
    frame f = w->stack.at[--w->stack.n];
    int node = add_node(w->c->t, &w->seen, f.x, f.nin, w->pins.at + f.pins);
    while (w->pins.n > f.pins)
        fr__unref(w->pins.at[--w->pins.n]);
    if (node >= 0 && keep_values(w, f.x, node))
        node = -1;
    return keep_node(w, f.x, node);
}

static int visit(walk *w, fr_array *root)
{
    if (fr__numbers_find(&w->seen, root))
        return 0;
    if (begin(w, fr__ref(root)))
        return -1;
    while (w->stack.n) {
        frame *f = &w->stack.at[w->stack.n - 1];
        if (f->next == f->nin) {
            if (finish(w))
                return -1;
            continue;
        }
        fr_array *in = w->pins.at[f->pins + f->next++];
        if (!fr__numbers_find(&w->seen, in) && begin(w, fr__ref(in)))
            return -1;
    }
    return 0;
}

/* As if it had not been: values kept at the second coming are not meant for this one. */
static void forget_walk(const fr__capture *c)
{
    for (int i = 0; i < c->arrays.n; i++)
        if (!(c->t->nodes.at[i].flags & FR__T_AGAIN))
            atomic_fetch_and_explicit(&c->arrays.at[i]->flags, (uint8_t)~FR__REACHED,
                                      memory_order_relaxed);
}

int fr__capture_graph(fr__capture *c, int n, fr_array *const *roots, bool whole)
{
    walk w = {.c = c, .whole = whole};
    int status = -1;
    for (int i = 0; i < n; i++)
        if (visit(&w, roots[i]))
            goto out;
    if (c->foreign.n) {
        forget_walk(c);
        status = 0;
        goto out;
    }
    /* The roots are outputs too, once each (for a compiled function as often as they come). */
    for (int i = 0; i < n; i++) {
        int node = *fr__numbers_find(&w.seen, roots[i]);
        fr__tnode *at = &c->t->nodes.at[node];
        if (!whole && (at->flags & FR__T_OUTPUT || at->op == FR__OP_LEAF))
            continue;
        at->flags |= FR__T_OUTPUT;
        if (fr__vec_push(&c->outputs, node))
            goto out;
    }
    for (int i = 0; i < c->outputs.n; i++)
        if (fr__capture_output(c->t, c->outputs.at[i]))
            goto out;
    c->t->passed = FR__PASS_CAPTURE;
    status = 0;
out:
    while (w.stack.n)
        fr__unref(w.stack.at[--w.stack.n].x);
    while (w.pins.n)
        fr__unref(w.pins.at[--w.pins.n]);
    fr__vec_free(&w.stack);
    fr__vec_free(&w.pins);
    fr__numbers_free(&w.seen);
    return status;
}

void fr__capture_free(fr__capture *c)
{
    for (int i = 0; i < c->arrays.n; i++)
        fr__unref(c->arrays.at[i]);
    fr__vec_free(&c->arrays);
    fr__vec_free(&c->outputs);
    fr__vec_free(&c->foreign);
}

/* ---- one operation on arrays that have values -------------------------------------------- */

static uint64_t *put_words(uint64_t *at, int n, const int64_t *words)
{
    for (int i = 0; i < n; i++)
        at[i] = (uint64_t)words[i];
    return at + n;
}

/* Input number `node` of the key; the slots of numbers as literal_slot gives them. */
static uint64_t *put_input(fr__single *s, uint64_t *at, fr_array *x)
{
    if (x->op != FR__OP_NUMBER) {
        bool contiguous = fr__is_contiguous(x->ndim, x->dims, fr__strides(x));
        *at++ = (uint64_t)leaf_head(x->dtype, x->ndim, contiguous);
        s->leaves[s->nleaves++] = x;
        return put_words(at, contiguous ? x->ndim : 2 * x->ndim, x->dims);
    }
    int slot = -1;
    if (!fixed_literal(x->dtype, x->par[0])) {
        for (slot = 0; slot < s->nliterals; slot++)
            if (s->literals[slot] == x->par[0] && s->literal_dtypes[slot] == x->dtype)
                break;
        s->literals[slot] = x->par[0];
        s->literal_dtypes[slot] = x->dtype;
        s->nliterals += slot == s->nliterals;
    }
    *at++ = (uint64_t)number_head(x->dtype, x->ndim, slot);
    return put_words(at, slot < 0, x->par);
}

static bool is_single(const fr_array *x)
{
    int class = fr__ops[x->op].class;
    return class != FR__SOURCE && class != FR__PUT && !fr__is_alias(x->op) &&
           x->op != FR__OP_AGAIN && x->op != FR__OP_FRESH && x->nin <= FR__INPUTS;
}

bool fr__capture_single(const fr_array *x, fr__single *s)
{
    enum { MOST = FR__SINGLE_WORDS - 2 * FR_MAX_NDIM - 2 }; /* room for one node more */
    int64_t number[FR__INPUTS], nodes = 0;
    uint64_t *at = s->key;
    s->nleaves = s->nliterals = 0;
    if (!is_single(x) || x->npar > FR_MAX_NDIM)
        return false;
    for (int i = 0; i < x->nin; i++) {
        fr_array *in = x->in[i];
        int same = 0;
        while (x->in[same] != in)
            same++;
        if (at - s->key > MOST || (in->op != FR__OP_NUMBER && !fr__done(in)))
            return false;
        number[i] = same < i ? number[same] : nodes++;
        if (same == i)
            at = put_input(s, at, in);
    }
    if (at - s->key > MOST - FR__INPUTS)
        return false;
    *at++ = (uint64_t)node_head(x->op, x->dtype, x->ndim, x->nin);
    at = put_words(at, x->ndim, x->dims);
    at = put_words(at, x->npar, x->par);
    at = put_words(at, x->nin, number);
    *at++ = (uint64_t)nodes; /* the output */
    s->bytes = sizeof *at * (size_t)(at - s->key);
    return true;
}
