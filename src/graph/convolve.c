/* convolve.c - what stands around a convolution, said in the convolution
 *
 *   capture -> simplify -> [convolve] -> layout -> split -> fuse -> merge -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   CONV of a padded or spread array as one that pads (npar 4 n + 2): the zeros are nowhere in memory;
 *         a sum with a row of the channels' numbers (a bias), and what is negative made 0 after that, said in it;
 *         the part that is wanted of a CONV as a smaller CONV; CONV_FILTER of a padded array as one that pads
 * breaks  nothing but the order of sums
 *
 * GPUs have libraries and kernels for these. The host's routine reads windows of any strides, and what pads writes
 * in place; but convolutions that go by squares (squares.h) pad by themselves, and it is said so that they do. Nodes are read from the old list in order and written to a new one.
 */
#include "core/place.h"
#include "graph/squares.h"

typedef struct {
    fr__trace *t;
    fr__tnode *old;
    int32_t *to, *uses,
        *special; /* of a node's uses, those that may as well read its maximum with 0; on
                     the host those by squares, as x */
} state;

/* Of n spatial axes; the node's shape is its own. */
typedef struct conv {
    int n;
    int32_t x, w, bias; /* new numbers; bias -1: none */
    bool relu;
    int64_t par[4 * FR_MAX_NDIM + 2];
} conv;

enum {
    GROUPS = 2,
    BEFORE = 2,
    BETWEEN = 3
}; /* where in par: GROUPS * n, BEFORE * n + 1, ... */

static int64_t *before(conv *c) { return c->par + BEFORE * c->n + 1; }
static int64_t *between(conv *c) { return c->par + BETWEEN * c->n + 1; }

static conv conv_of(const state *s, const fr__tnode *old)
{
    conv c = {.n = old->ndim - 2, .x = s->to[old->in[0]], .w = s->to[old->in[1]], .bias = -1};
    memcpy(c.par, old->par, sizeof(int64_t) * (size_t)(2 * c.n + 1));
    for (int d = 0; d < c.n; d++) {
        before(&c)[d] = 0;
        between(&c)[d] = 1;
    }
    return c;
}

/* Zeros of a literal, given a shape. */
static bool is_zeros(const fr__tnode *nodes, int i)
{
    while (nodes[i].op == FR__OP_FRESH || nodes[i].op == FR__OP_BROADCAST ||
           nodes[i].op == FR__OP_RESHAPE)
        i = nodes[i].in[0];
    return nodes[i].op == FR__OP_NUMBER && nodes[i].slot < 0 && nodes[i].par[0] == 0;
}

/* Leaves out zeros around what c reads; `apart`: between, too. */
static void take_padding(const state *s, conv *c, bool apart)
{
    const fr__tnode *nodes = s->t->nodes.at, *put = &nodes[c->x];
    if (put->op != FR__OP_PUT || put->nin != 2 || put->par[2 * put->ndim] ||
        nodes[put->in[1]].op != FR__OP_FRESH || !is_zeros(nodes, put->in[1]))
        return;
    const fr__tnode *x = &nodes[put->in[0]];
    const int64_t *start = put->par, *step = put->par + put->ndim;
    int last = put->ndim - 1;
    bool all = x->ndim == put->ndim && x->shape[0] == put->shape[0] &&
               x->shape[last] == put->shape[last];
    for (int d = 1; all && d < last; d++)
        all = step[d] == 1 || (apart && step[d] > 1);
    if (!all)
        return;
    for (int d = 0; d < c->n; d++) {
        before(c)[d] = start[d + 1];
        between(c)[d] = step[d + 1];
    }
    c->x = put->in[0];
}

static int put_conv(const state *s, int op, conv *c, const fr__tnode *like)
{
    bool plain = op == FR__OP_CONV && c->bias < 0;
    for (int d = 0; d < c->n; d++)
        plain &= before(c)[d] == 0 && between(c)[d] == 1;
    c->par[4 * c->n + 1] = c->relu;
    return fr__trace_add(s->t, op, like->dtype, like->ndim, like->shape, c->bias < 0 ? 2 : 3,
                         (int32_t[]){c->x, c->w, c->bias}, plain ? 2 * c->n + 1 : 4 * c->n + 2,
                         c->par);
}

/* Some of the places of a convolution that nobody else wants. */
static bool is_part(const state *s, const fr__tnode *slice)
{
    if (slice->op != FR__OP_SLICE)
        return false;
    const fr__tnode *y = &s->old[slice->in[0]];
    if (y->op != FR__OP_CONV || s->uses[slice->in[0]] != 1 || y->flags & FR__T_OUTPUT)
        return false;
    int last = y->ndim - 1;
    for (int d = 0; d <= last; d++)
        if (slice->par[d] < 0 || slice->par[y->ndim + d] != 1)
            return false;
    return slice->shape[0] == y->shape[0] && slice->shape[last] == y->shape[last];
}

/* Windows that begin where that part does. False: after the first element. */
static bool begin_at(conv *c, const fr__tnode *slice)
{
    bool outside = true;
    for (int d = 0; d < c->n; d++) {
        before(c)[d] -= slice->par[d + 1] * c->par[d];
        outside &= before(c)[d] >= 0;
    }
    return outside;
}

static int32_t reshaped(const state *s, int32_t i, int ndim, const int64_t *shape)
{
    const fr__tnode *x = &s->t->nodes.at[i];
    if (x->ndim == ndim && !memcmp(x->shape, shape, sizeof *shape * (size_t)ndim))
        return i;
    return fr__trace_add(s->t, FR__OP_RESHAPE, x->dtype, ndim, shape, 1, &i, 0, NULL);
}

/* As it was, of new inputs. */
static int32_t kept(const state *s, const fr__tnode *old)
{
    fr__tnode n = *old;
    for (int j = 0; j < n.nin; j++)
        n.in[j] = s->to[n.in[j]];
    return fr__vec_push(&s->t->nodes, n) ? -1 : s->t->nodes.n - 1;
}

/* ---- on the host ---------------------------------------------------------------------------- */

static bool goes_by_squares(const state *s, const fr__tnode *n)
{
    return (n->op == FR__OP_CONV || n->op == FR__OP_CONV_FILTER) &&
           fr__by_squares(n, &s->old[n->in[0]], &s->old[n->in[1]]);
}

/* CONV or CONV_FILTER `node`, or a part of it. The padded array stays as it is where others read it, too. */
static int32_t by_squares(const state *s, const fr__tnode *node, const fr__tnode *part)
{
    conv c = conv_of(s, node);
    int x = node->in[0];
    if (s->special[x] == s->uses[x] && !(s->old[x].flags & FR__T_OUTPUT))
        take_padding(s, &c, false);
    if (part != node)
        begin_at(&c, part);
    return fr__trace_add(s->t, node->op, node->dtype, node->ndim, part->shape, 2,
                         (int32_t[]){c.x, c.w}, 4 * c.n + 2, c.par);
}

static int32_t host_node(const state *s, const fr__tnode *old)
{
    const fr__tnode *node = is_part(s, old) ? &s->old[old->in[0]] : old;
    return goes_by_squares(s, node) ? by_squares(s, node, old) : kept(s, old);
}

/* ---- what follows -------------------------------------------------------------------------- */

static bool is_zero(const state *s, int i)
{
    while (s->old[i].op == FR__OP_BROADCAST || s->old[i].op == FR__OP_RESHAPE)
        i = s->old[i].in[0];
    return s->old[i].op == FR__OP_NUMBER && s->old[i].slot < 0 && s->old[i].par[0] == 0;
}

/* n asks whether in[j] is above 0, or is the larger of it and 0. */
static bool is_positive_part(const state *s, const fr__tnode *n, int j)
{
    if (n->nin != 2 || !is_zero(s, n->in[1 - j]))
        return false;
    return n->op == FR__OP_maximum || (n->op == FR__OP_gt && j == 0) ||
           (n->op == FR__OP_lt && j == 1);
}

/* A row of n numbers that is repeated for every place: an old number, or -1. */
static int32_t row_below(const state *s, int i, int64_t n)
{
    const fr__tnode *x = &s->old[i];
    if (x->op != FR__OP_BROADCAST)
        return -1;
    i = x->in[0];
    x = &s->old[i];
    return x->size == n && x->ndim > 0 && x->shape[x->ndim - 1] == n && x->op != FR__OP_NUMBER
               ? i
               : -1;
}

/* A CONV and a bias. -1: memory; 0: it is none. */
static int is_biased(const state *s, int i, conv *c)
{
    const fr__tnode *n = &s->old[i];
    if (n->op != FR__OP_add)
        return 0;
    for (int j = 0; j < 2; j++) {
        const fr__tnode *y = &s->old[n->in[j]];
        if (y->op != FR__OP_CONV || s->uses[n->in[j]] != 1 || y->flags & FR__T_OUTPUT ||
            y->ndim != n->ndim || y->dtype != n->dtype)
            continue;
        int64_t filters = y->shape[y->ndim - 1];
        int32_t row = row_below(s, n->in[1 - j], filters);
        if (row < 0 || s->old[row].dtype != y->dtype)
            continue;
        *c = conv_of(s, y);
        take_padding(s, c, true);
        c->bias = reshaped(s, s->to[row], 1, &filters);
        /* Nobody asks for what is below 0. */
        c->relu = s->uses[i] > 0 && s->special[i] == s->uses[i] && !(n->flags & FR__T_OUTPUT);
        return c->bias < 0 ? -1 : 1;
    }
    return 0;
}

static int32_t rewritten(const state *s, int i)
{
    const fr__tnode *old = &s->old[i];
    if (s->t->place == FR__HOST)
        return host_node(s, old);
    conv c;
    if (old->op == FR__OP_CONV_FILTER) {
        c = conv_of(s, old);
        take_padding(s, &c, false);
        return put_conv(s, FR__OP_CONV_FILTER, &c, old);
    }
    if (is_part(s, old)) {
        c = conv_of(s, &s->old[old->in[0]]);
        take_padding(s, &c, true);
        if (begin_at(&c, old))
            return put_conv(s, FR__OP_CONV, &c, old);
    }
    int biased = is_biased(s, i, &c);
    if (biased)
        return biased < 0 ? -1 : put_conv(s, FR__OP_CONV, &c, old);
    if (old->op == FR__OP_maximum)
        for (int j = 0; j < 2; j++) { /* done already */
            const fr__tnode *x = &s->t->nodes.at[s->to[old->in[j]]];
            if (is_positive_part(s, old, j) && x->op == FR__OP_CONV && x->nin == 3 &&
                x->par[x->npar - 1] && x->dtype == old->dtype && x->ndim == old->ndim &&
                s->old[old->in[j]].op == FR__OP_add)
                return s->to[old->in[j]];
        }
    if (old->op == FR__OP_CONV) {
        c = conv_of(s, old);
        take_padding(s, &c, true);
        return put_conv(s, FR__OP_CONV, &c, old);
    }
    return kept(s, old);
}

/* Leaves out nodes that nobody wants any more. */
static void only_live(fr__trace *t, bool *live, int32_t *to)
{
    for (int i = 0; i < t->outs.n; i++)
        live[t->outs.at[i].node] = true;
    for (int i = t->nodes.n - 1; i >= 0; i--) {
        live[i] |= fr__is_leaf(&t->nodes.at[i]);
        for (int j = 0; live[i] && j < t->nodes.at[i].nin; j++)
            live[t->nodes.at[i].in[j]] = true;
    }
    int n = 0;
    for (int i = 0; i < t->nodes.n; i++) {
        if (!live[i])
            continue;
        fr__tnode *x = &t->nodes.at[n];
        *x = t->nodes.at[i];
        for (int j = 0; j < x->nin; j++)
            x->in[j] = to[x->in[j]];
        if (fr__is_leaf(x))
            t->leaves.at[x->slot].node = n;
        to[i] = n++;
    }
    t->nodes.n = n;
    for (int i = 0; i < t->outs.n; i++)
        t->outs.at[i].node = to[t->outs.at[i].node];
}

static void count_uses(state *s, int n)
{
    bool host = s->t->place == FR__HOST;
    for (int i = 0; i < n; i++) {
        const fr__tnode *x = &s->old[i];
        bool squares = host && goes_by_squares(s, x);
        for (int j = 0; j < x->nin; j++) {
            s->uses[x->in[j]]++;
            s->special[x->in[j]] += host ? squares && j == 0 : is_positive_part(s, x, j);
        }
    }
}

int fr__convolve(fr__trace *t)
{
    int n = t->nodes.n, status = -1;
    bool any = false;
    for (int i = 0; i < n; i++)
        any |= t->nodes.at[i].op == FR__OP_CONV || t->nodes.at[i].op == FR__OP_CONV_FILTER;
    if (!any)
        return 0;
    state s = {.t = t, .old = t->nodes.at};
    bool *live = NULL;
    int32_t *last = NULL;
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    s.to = fr__malloc(sizeof *s.to * (size_t)n);
    s.uses = fr__calloc(2 * (size_t)n, sizeof *s.uses);
    if (!s.to || !s.uses)
        goto out;
    s.special = s.uses + n;
    count_uses(&s, n);
    for (int i = 0; i < n; i++) {
        if ((s.to[i] = rewritten(&s, i)) < 0)
            goto out;
        t->nodes.at[s.to[i]].flags |= s.old[i].flags;
    }
    for (int i = 0; i < t->outs.n; i++)
        t->outs.at[i].node = s.to[t->outs.at[i].node];
    live = fr__calloc((size_t)t->nodes.n, sizeof *live);
    last = fr__malloc(sizeof *last * (size_t)t->nodes.n);
    if (!live || !last)
        goto out;
    only_live(t, live, last);
    status = 0;
out:
    fr__free(s.old);
    fr__free(s.to);
    fr__free(s.uses);
    fr__free(live);
    fr__free(last);
    return status;
}
