/* layout.c - what is computed of transposed arrays is stored in their order
 *
 *   capture -> simplify -> [layout] -> split -> fuse -> merge -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   an output whose elements would be read across memory and written along it is the view of
 *         one that is written as it is read: x.T + 1 is (x + 1).T
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
    if (n->op == FR__OP_FRESH)
        return orders[n->in[0]];
    if (n->op == FR__OP_PUT)
        return of_put(n, &t->nodes.at[n->in[0]], orders);
    if (n->op != FR__OP_CAST && fr__ops[n->op].class != FR__ELEMENTWISE)
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

/* Node i with its dimensions as `there` names them. A chain of PUTs, over a FRESH perhaps, becomes
 * one of turned parts. */
static int put_turned(fr__trace *t, int i, const int64_t *shape, const int64_t *there)
{
    fr__tnode n = t->nodes.at[i];
    if (n.op != FR__OP_PUT) {
        int turned = push(t, n, FR__OP_TRANSPOSE, i, shape, n.ndim, there);
        return turned < 0 ? -1 : push(t, n, FR__OP_COPY, turned, shape, 0, NULL);
    }
    int length = 1, last = -1, below = i;
    while (t->nodes.at[below].nin > 1 && t->nodes.at[t->nodes.at[below].in[1]].op == n.op) {
        below = t->nodes.at[below].in[1];
        length++;
    }
    int32_t *chain = fr__arena_alloc(&t->arena, sizeof *chain * (size_t)length);
    if (!chain)
        return -1;
    for (int k = i, at = 0; at < length; at++, k = t->nodes.at[k].in[1])
        chain[at] = k;
    if (t->nodes.at[below].nin > 1) {
        int fresh = t->nodes.at[below].in[1];
        last = push(t, n, FR__OP_TRANSPOSE, t->nodes.at[fresh].in[0], shape, n.ndim, there);
        last = last < 0 ? -1 : push(t, n, FR__OP_FRESH, last, shape, 0, NULL);
        if (last < 0)
            return -1;
    }
    while (length--) {
        fr__tnode old = t->nodes.at[chain[length]], part = t->nodes.at[old.in[0]];
        int64_t *par = fr__arena_alloc(&t->arena, sizeof *par * (size_t)(3 * n.ndim + 1));
        if (!par)
            return -1;
        for (int d = 0; d < n.ndim; d++) {
            par[d] = old.par[there[d]];
            par[n.ndim + d] = old.par[n.ndim + there[d]];
            par[2 * n.ndim + 1 + d] = part.shape[there[d]];
        }
        par[2 * n.ndim] = old.par[2 * n.ndim];
        int turned =
            push(t, part, FR__OP_TRANSPOSE, old.in[0], par + 2 * n.ndim + 1, n.ndim, there);
        int put = turned < 0 ? -1 : push(t, old, FR__OP_PUT, turned, shape, old.npar, par);
        if (put < 0)
            return -1;
        if (last >= 0) {
            t->nodes.at[put].nin = 2;
            t->nodes.at[put].in[1] = last;
        }
        last = put;
    }
    return last;
}

/* The view of node i, stored in this order, in the place of i; the new number, or -1. */
static int put_stored(fr__trace *t, int i, order o)
{
    fr__tnode n = t->nodes.at[i];
    int64_t *shape = fr__arena_alloc(&t->arena, sizeof *shape * 3 * (size_t)n.ndim);
    if (!shape)
        return -1;
    int64_t *there = shape + n.ndim, *back = there + n.ndim;
    int at = 0;
    for (int d = 0; d < n.ndim; d++)
        if (n.shape[d] == 1)
            there[at++] = d;
    for (int k = 0; k < MOST && dimension(o, k) >= 0; k++)
        there[at++] = dimension(o, k);
    for (int d = 0; d < n.ndim; d++) {
        shape[d] = n.shape[there[d]];
        back[there[d]] = d;
    }
    t->nodes.at[i].flags = 0;
    int stored = put_turned(t, i, shape, there);
    int view = stored < 0 ? -1 : push(t, n, FR__OP_TRANSPOSE, stored, n.shape, n.ndim, back);
    if (view >= 0)
        t->nodes.at[view].flags = n.flags;
    return view;
}

/* Marks the outputs that are to be stored in an order of their own. */
static bool choose(const fr__trace *t, const order *orders, bool *turn)
{
    bool any = false;
    for (int k = 0; k < t->outs.n; k++) {
        int i = t->outs.at[k].node;
        const fr__tnode *n = &t->nodes.at[i];
        turn[i] = n->ndim > 1 && n->size > 1 && !(n->flags & FR__T_ROWS) && orders[i] &&
                  orders[i] != row_major(n) && !fr__is_leaf(n) && !fr__is_view(n);
        any |= turn[i];
    }
    for (int i = 0; any && i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i]; /* of other strides there is no such view */
        if (n->op == FR__OP_RESHAPE)
            turn[n->in[0]] = false;
        if (n->op == FR__OP_PUT && n->nin > 1)
            turn[n->in[1]] = false;
    }
    return any;
}

int fr__layout(fr__trace *t)
{
    int n = t->nodes.n, status = -1;
    order *orders = fr__malloc(sizeof *orders * (size_t)(n + 1));
    bool *turn = fr__calloc((size_t)n + 1, sizeof *turn);
    int32_t *to = fr__malloc(sizeof *to * (size_t)(n + 1));
    if (!orders || !turn || !to)
        goto out;
    for (int i = 0; i < n; i++)
        orders[i] = order_of(t, i, orders);
    status = 0;
    if (!fr__fusion_on() || !choose(t, orders, turn))
        goto out;
    fr__tnode *old = t->nodes.at;
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    for (int i = 0; !status && i < n; i++) {
        fr__tnode node = old[i];
        for (int j = 0; j < node.nin; j++)
            node.in[j] = to[node.in[j]];
        if (fr__is_leaf(&node))
            t->leaves.at[node.slot].node = t->nodes.n;
        to[i] = fr__vec_push(&t->nodes, node) ? -1 : t->nodes.n - 1;
        if (to[i] >= 0 && turn[i])
            to[i] = put_stored(t, to[i], orders[i]);
        status = to[i] < 0 ? -1 : 0;
    }
    for (int i = 0; !status && i < t->outs.n; i++)
        t->outs.at[i].node = to[t->outs.at[i].node];
    fr__free(old);
out:
    fr__free(orders);
    fr__free(turn);
    fr__free(to);
    return status;
}
