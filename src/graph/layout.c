/* layout.c - what is computed of transposed arrays is stored in their order
 *
 *   capture -> simplify -> [layout] -> split -> fuse -> merge -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   an output whose elements would be read across memory and written along it is the view of
 *         one that is written as it is read: x.T + 1 is (x + 1).T; reductions go over what they reduce
 *         as it lies
 * breaks  nothing: results keep every bit, only their strides differ
 *
 * Every node has an order: its dimensions (those of size 1 left out) as the memory goes that it is
 * made of, or none where all are alike. Operands that disagree make a row-major result.
 */
#include "graph/trace.h"

typedef uint64_t order; /* dimensions + 1, four bits each, the outermost lowest; 0: any */

enum { MOST = 15 };

static order row_major(const fr__tnode *n)
{
    order o = 0;
    for (int d = 0, at = 0; d < n->ndim && n->ndim <= MOST; d++)
        if (n->shape[d] != 1)
            o |= (order)(d + 1) << 4 * at++;
    return o;
}

static int dimension(order o, int i) { return (int)(o >> 4 * i & 15) - 1; }

/* o with dimension d as to[d], those that became 1 left out. */
static order renamed(order o, const int *to, const int64_t *shape)
{
    order y = 0;
    for (int i = 0, at = 0; i < MOST && dimension(o, i) >= 0; i++) {
        int d = to[dimension(o, i)];
        if (d >= 0 && shape[d] != 1)
            y |= (order)(d + 1) << 4 * at++;
    }
    return y;
}

/* By falling strides; none where two dimensions have one address. */
static order of_leaf(const fr__tnode *n, const int64_t *strides)
{
    order o = 0;
    int found = 0;
    for (int64_t below = INT64_MAX; n->ndim <= MOST;) {
        int next = -1;
        int64_t most = 0;
        for (int d = 0; d < n->ndim; d++) {
            int64_t s = strides[d] < 0 ? -strides[d] : strides[d];
            if (n->shape[d] != 1 && s < below && s > most)
                next = d, most = s;
        }
        if (next < 0)
            break;
        o |= (order)(next + 1) << 4 * found++;
        below = most;
    }
    int wanted = 0;
    for (int d = 0; d < n->ndim; d++)
        wanted += n->shape[d] != 1;
    return found == wanted ? o : row_major(n);
}

/* A reshape that adds and takes away dimensions of size 1 only. */
static order of_reshape(const fr__tnode *n, const fr__tnode *x, order o)
{
    int to[MOST], d = 0;
    for (int k = 0; k < x->ndim; k++) {
        to[k] = -1;
        if (x->shape[k] == 1)
            continue;
        while (d < n->ndim && n->shape[d] == 1)
            d++;
        if (d == n->ndim || n->shape[d] != x->shape[k])
            return row_major(n);
        to[k] = d++;
    }
    return renamed(o, to, n->shape);
}

static order of_view(const fr__tnode *n, const fr__tnode *x, order o)
{
    int to[MOST];
    if (!o || n->ndim > MOST || x->ndim > MOST)
        return o ? row_major(n) : 0;
    switch (n->op) {
    case FR__OP_TRANSPOSE:
        for (int d = 0; d < n->ndim; d++)
            to[n->par[d]] = d;
        return renamed(o, to, n->shape);
    case FR__OP_SLICE:
        for (int d = 0; d < n->ndim; d++)
            to[d] = d;
        return renamed(o, to, n->shape);
    case FR__OP_RESHAPE: return of_reshape(n, x, o);
    case FR__OP_BROADCAST: return 0; /* read again and again: it is in cache */
    default: return row_major(n);
    }
}

/* Parts put together: all of one order, the dimensions along which they have one element outermost. */
static order of_put(const fr__tnode *n, const fr__tnode *part, const order *orders)
{
    order o = 0, below = n->nin > 1 ? orders[n->in[1]] : 0;
    int at = 0;
    if (!orders[n->in[0]])
        return below;
    for (int d = 0; d < n->ndim; d++)
        if (n->shape[d] != 1 && part->shape[d] == 1)
            o |= (order)(d + 1) << 4 * at++;
    o |= orders[n->in[0]] << 4 * at;
    return below && below != o ? row_major(n) : o;
}

/* What is left of its operand's order. */
static order of_reduction(const fr__tnode *n, const fr__tnode *x, order o)
{
    int to[MOST], kept = 0;
    for (int d = 0; d < x->ndim && x->ndim <= MOST; d++)
        to[d] = fr__reduces(n, d) ? -1 : kept++;
    return renamed(o, to, n->shape);
}

/* orders: of the nodes before i. */
static order order_of(const fr__trace *t, int i, const order *orders)
{
    const fr__tnode *n = &t->nodes.at[i];
    if (n->op == FR__OP_LEAF || n->op == FR__OP_PLACEHOLDER) {
        const fr__leafref *leaf = &t->leaves.at[n->slot];
        return leaf->contiguous ? row_major(n) : of_leaf(n, leaf->strides);
    }
    if (n->op == FR__OP_NUMBER || n->op == FR__OP_IOTA || n->op == FR__OP_RANDOM_BITS)
        return 0;
    if (fr__is_view(n))
        return of_view(n, &t->nodes.at[n->in[0]], orders[n->in[0]]);
    if (fr__ops[n->op].class == FR__REDUCE && n->npar == 1 && orders[n->in[0]] &&
        !(n->flags & FR__T_ROWS))
        return of_reduction(n, &t->nodes.at[n->in[0]], orders[n->in[0]]);
    if (n->op == FR__OP_FRESH)
        return orders[n->in[0]];
    if (n->op == FR__OP_PUT)
        return n->flags & FR__T_ROWS ? row_major(n) : of_put(n, &t->nodes.at[n->in[0]], orders);
    if ((n->op != FR__OP_CAST && fr__ops[n->op].class != FR__ELEMENTWISE) ||
        n->flags & FR__T_ROWS)
        return row_major(n);
    order o = 0;
    for (int j = 0; j < n->nin; j++) {
        order x = orders[n->in[j]];
        if (o && x && o != x)
            return row_major(n);
        o = o ? o : x;
    }
    return o;
}

/* ---- the new list ----------------------------------------------------------------------------- */

typedef struct {
    fr__trace *t;
    const fr__tnode *old;
    const order *orders;
    int32_t *plain;  /* old number -> new, with the dimensions as they were, -1: not made */
    int32_t *turned; /* old number -> new, with the dimensions in its order, -1: not made */
} state;

/* One node more, a copy of like with another operation, shape and words; its number, or -1. */
static int push(fr__trace *t, fr__tnode like, int op, int in, const int64_t *shape, int npar,
                const int64_t *par)
{
    like.op = (uint8_t)op;
    like.nin = 1;
    like.npar = (uint8_t)npar;
    like.flags = 0;
    like.slot = -1;
    like.shape = shape;
    like.par = par;
    for (int j = 0; j < FR__INPUTS; j++)
        like.in[j] = j ? -1 : in;
    return fr__vec_push(&t->nodes, like) ? -1 : t->nodes.n - 1;
}

/* All dimensions of n in this order, those of size 1 first. */
static void dimensions(const fr__tnode *n, order o, int64_t *there)
{
    int at = 0;
    for (int d = 0; d < n->ndim; d++)
        if (n->shape[d] == 1)
            there[at++] = d;
    for (int k = 0; k < MOST && dimension(o, k) >= 0; k++)
        there[at++] = dimension(o, k);
}

/* The old node n with its dimensions in order o: which is which, its shape, and the way back. */
typedef struct {
    int64_t *there, *shape, *back;
} turn;

static int turn_of(fr__trace *t, const fr__tnode *n, order o, turn *to)
{
    int64_t *words = fr__arena_alloc(&t->arena, sizeof *words * 3 * (size_t)(n->ndim + 1));
    if (!words)
        return -1;
    *to = (turn){words, words + n->ndim, words + 2 * n->ndim};
    dimensions(n, o, to->there);
    for (int d = 0; d < n->ndim; d++) {
        to->shape[d] = n->shape[to->there[d]];
        to->back[to->there[d]] = d;
    }
    return 0;
}

static int plain(state *s, int i)
{
    const fr__tnode *n = &s->old[i];
    turn to;
    if (s->plain[i] >= 0)
        return s->plain[i];
    if (turn_of(s->t, n, s->orders[i], &to))
        return -1;
    return s->plain[i] =
               push(s->t, *n, FR__OP_TRANSPOSE, s->turned[i], n->shape, n->ndim, to.back);
}

/* i in order o, which is its own or, where it has none, that of what it is used with. */
static int turned(state *s, int i, order o)
{
    bool own = s->orders[i] == o;
    turn to;
    if (own && s->turned[i] >= 0)
        return s->turned[i];
    int in = plain(s, i);
    if (in < 0 || turn_of(s->t, &s->old[i], o, &to))
        return -1;
    int y = push(s->t, s->old[i], FR__OP_TRANSPOSE, in, to.shape, s->old[i].ndim, to.there);
    return own ? s->turned[i] = y : y;
}

static int element_by_element(state *s, int i)
{
    fr__tnode n = s->old[i];
    turn to;
    if (turn_of(s->t, &n, s->orders[i], &to))
        return -1;
    for (int j = 0; j < n.nin; j++)
        if ((n.in[j] = s->old[n.in[j]].ndim == n.ndim ? turned(s, n.in[j], s->orders[i])
                                                      : plain(s, n.in[j])) < 0)
            return -1;
    n.shape = to.shape;
    n.flags &= (uint8_t)~FR__T_OUTPUT;
    if (fr__vec_push(&s->t->nodes, n))
        return -1;
    return s->turned[i] = s->t->nodes.n - 1;
}

static int reduction(state *s, int i)
{
    fr__tnode n = s->old[i];
    const fr__tnode *x = &s->old[n.in[0]];
    turn to, result;
    int64_t *mask = fr__arena_zalloc(&s->t->arena, sizeof *mask);
    if (!mask || turn_of(s->t, x, s->orders[n.in[0]], &to) ||
        turn_of(s->t, &n, s->orders[i], &result))
        return -1;
    for (int k = 0; k < x->ndim; k++)
        if (fr__reduces(&n, (int)to.there[k]))
            *mask |= (int64_t)1 << k;
    bool same = s->orders[i] == row_major(&n);
    n.in[0] = turned(s, n.in[0], s->orders[n.in[0]]);
    n.shape = same ? n.shape : result.shape;
    n.par = mask;
    n.flags &= (uint8_t) ~(same ? 0 : FR__T_OUTPUT);
    if (n.in[0] < 0 || fr__vec_push(&s->t->nodes, n))
        return -1;
    return *(same ? &s->plain[i] : &s->turned[i]) = s->t->nodes.n - 1;
}

/* A chain of PUTs, over a FRESH perhaps, as one of turned parts. */
static int put_together(state *s, int i)
{
    const fr__tnode *n = &s->old[i];
    order o = s->orders[i];
    int length = 1, last = -1, below = i;
    turn to;
    while (s->old[below].nin > 1 && s->old[s->old[below].in[1]].op == FR__OP_PUT) {
        below = s->old[below].in[1];
        length++;
    }
    int32_t *chain = fr__arena_alloc(&s->t->arena, sizeof *chain * (size_t)length);
    if (!chain || turn_of(s->t, n, o, &to))
        return -1;
    for (int k = i, at = 0; at < length; at++, k = s->old[k].in[1])
        chain[at] = k;
    if (s->old[below].nin > 1) {
        last = turned(s, s->old[s->old[below].in[1]].in[0], o);
        last = last < 0 ? -1 : push(s->t, *n, FR__OP_FRESH, last, to.shape, 0, NULL);
        if (last < 0)
            return -1;
    }
    while (length--) {
        const fr__tnode *old = &s->old[chain[length]], *part = &s->old[old->in[0]];
        int64_t *par = fr__arena_alloc(&s->t->arena, sizeof *par * (size_t)(3 * n->ndim + 1));
        int in = plain(s, old->in[0]);
        if (!par || in < 0)
            return -1;
        int64_t *shape = par + 2 * n->ndim + 1;
        for (int d = 0; d < n->ndim; d++) {
            par[d] = old->par[to.there[d]];
            par[n->ndim + d] = old->par[n->ndim + to.there[d]];
            shape[d] = part->shape[to.there[d]];
        }
        par[2 * n->ndim] = old->par[2 * n->ndim];
        in = push(s->t, *part, FR__OP_TRANSPOSE, in, shape, n->ndim, to.there);
        int put = in < 0 ? -1 : push(s->t, *old, FR__OP_PUT, in, to.shape, old->npar, par);
        if (put < 0)
            return -1;
        if (last >= 0) {
            s->t->nodes.at[put].nin = 2;
            s->t->nodes.at[put].in[1] = last;
        }
        last = put;
    }
    return s->turned[i] = last;
}

static bool is_turned(const fr__tnode *n, order o)
{
    return o && n->size > 1 && o != row_major(n);
}

/* Node i of the old list: 0, or -1. */
static int one(state *s, int i, bool output)
{
    fr__tnode n = s->old[i];
    int class = fr__ops[n.op].class;
    if (n.op == FR__OP_PUT && is_turned(&n, s->orders[i])) {
        if (output) /* others are parts of one: made with it, or as they were */
            return put_together(s, i) < 0 ? -1 : 0;
    } else if ((n.op == FR__OP_CAST || class == FR__ELEMENTWISE) &&
               is_turned(&n, s->orders[i])) {
        return element_by_element(s, i) < 0 ? -1 : 0;
    } else if (class == FR__REDUCE && n.npar == 1 && !(n.flags & FR__T_ROWS) &&
               is_turned(&s->old[n.in[0]], s->orders[n.in[0]])) {
        return reduction(s, i) < 0 ? -1 : 0;
    }
    for (int j = 0; j < n.nin; j++)
        if ((n.in[j] = plain(s, n.in[j])) < 0)
            return -1;
    if (fr__is_leaf(&n))
        s->t->leaves.at[n.slot].node = s->t->nodes.n;
    if (fr__vec_push(&s->t->nodes, n))
        return -1;
    s->plain[i] = s->t->nodes.n - 1;
    return 0;
}

int fr__layout(fr__trace *t)
{
    int n = t->nodes.n, status = -1;
    fr__tnode *old = t->nodes.at;
    order *orders = fr__malloc(sizeof *orders * (size_t)(n + 1));
    int32_t *to = fr__malloc(sizeof *to * 2 * (size_t)(n + 1));
    state s = {t, old, orders, to, to + n};
    bool any = false;
    if (!orders || !to)
        goto out;
    memset(to, -1, sizeof *to * 2 * (size_t)(n + 1));
    for (int i = 0; i < n; i++) {
        orders[i] = order_of(t, i, orders);
        any |= !fr__is_view(&old[i]) && is_turned(&old[i], orders[i]);
        any |= fr__ops[old[i].op].class == FR__REDUCE &&
               is_turned(&old[old[i].in[0]], orders[old[i].in[0]]);
    }
    status = 0;
    if (!fr__fusion_on() || !any)
        goto out;
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    for (int i = 0; !status && i < n; i++)
        status = one(&s, i, old[i].flags & FR__T_OUTPUT);
    for (int i = 0; !status && i < t->outs.n; i++) {
        int y = plain(&s, t->outs.at[i].node);
        status = y < 0 ? -1 : 0;
        if (!status)
            t->nodes.at[t->outs.at[i].node = y].flags |= FR__T_OUTPUT;
    }
    fr__free(old);
out:
    fr__free(orders);
    fr__free(to);
    return status;
}
