/* simplify.c - the same results with fewer nodes
 *
 *   capture -> [simplify] -> split -> fuse -> merge -> lower -> plan -> program
 *
 * needs   a captured trace
 * gives   equal nodes made one; views of views merged; operations that do nothing removed; a
 *         division by a power of two as a product (exact, so the same result); a transposed
 *         product of matrices as the product of the transposed ones in turn
 * breaks  nothing: results keep every bit
 *
 * Nodes are read from the old list in order and written to a new one.
 */
#include "graph/trace.h"

typedef struct {
    fr__trace *t;
    fr__tnode *old;
    int32_t *to;    /* old number -> new */
    int32_t *uses;  /* of an old node, by others */
    int32_t *table; /* hash of a node -> new number + 1 */
    int room;
} state;

static uint64_t node_hash(const fr__tnode *n)
{
    uint64_t h =
        fr__hash_mix((uint64_t)n->op | (uint64_t)n->dtype << 8 | (uint64_t)n->ndim << 16,
                     (uint64_t)(uint32_t)n->slot);
    for (int i = 0; i < n->nin; i++)
        h = fr__hash_mix(h, (uint64_t)n->in[i]);
    for (int i = 0; i < n->ndim; i++)
        h = fr__hash_mix(h, (uint64_t)n->shape[i]);
    for (int i = 0; i < n->npar; i++)
        h = fr__hash_mix(h, (uint64_t)n->par[i]);
    return h;
}

static bool node_equal(const fr__tnode *x, const fr__tnode *y)
{
    if (x->op != y->op || x->dtype != y->dtype || x->ndim != y->ndim || x->nin != y->nin ||
        x->npar != y->npar || x->slot != y->slot || memcmp(x->in, y->in, sizeof x->in))
        return false;
    for (int i = 0; i < x->ndim; i++)
        if (x->shape[i] != y->shape[i])
            return false;
    for (int i = 0; i < x->npar; i++)
        if (x->op != FR__OP_NUMBER ? x->par[i] != y->par[i]
                                   : x->slot < 0 && x->par[i] != y->par[i])
            return false;
    return true;
}

/* Twice the room for hashes. */
static int grow(state *s)
{
    int32_t *table = fr__calloc((size_t)s->room * 2, sizeof *table);
    if (!table)
        return -1;
    uint64_t mask = (uint64_t)(s->room *= 2) - 1;
    for (int i = 0; i < s->t->nodes.n; i++) {
        uint64_t at = node_hash(&s->t->nodes.at[i]);
        while (table[at & mask])
            at++;
        table[at & mask] = i + 1;
    }
    fr__free(s->table);
    s->table = table;
    return 0;
}

/* n as a node of the new list: an equal one if there is one. */
static int put(state *s, fr__tnode n)
{
    if (s->t->nodes.n * 2 >= s->room && grow(s))
        return -1;
    if (n.op == FR__OP_PUT || n.op == FR__OP_FRESH) /* written over: each has its own memory */
        return fr__vec_push(&s->t->nodes, n) ? -1 : s->t->nodes.n - 1;
    uint64_t at = node_hash(&n), mask = (uint64_t)s->room - 1;
    for (; s->table[at & mask]; at++)
        if (node_equal(&s->t->nodes.at[s->table[at & mask] - 1], &n))
            return s->table[at & mask] - 1;
    if (fr__vec_push(&s->t->nodes, n))
        return -1;
    s->table[at & mask] = s->t->nodes.n;
    return s->t->nodes.n - 1;
}

static const fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }

static bool same_shape(const fr__tnode *x, const fr__tnode *y)
{
    return x->ndim == y->ndim && !memcmp(x->shape, y->shape, sizeof(int64_t) * (size_t)x->ndim);
}

/* Whether node i is the literal v, known now. */
static bool is_fixed(const state *s, int i, double v)
{
    const fr__tnode *n = node(s, i);
    if (n->op != FR__OP_NUMBER || n->slot >= 0)
        return false;
    if (fr__dtypes[n->dtype].kind != FR__KIND_FLOAT)
        return (double)n->par[0] == v;
    double have;
    memcpy(&have, n->par, sizeof have);
    return have == v;
}

static int put_number(state *s, int dtype, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    int64_t *par = fr__arena_alloc(&s->t->arena, sizeof *par);
    if (!par)
        return -1;
    *par = bits;
    return put(s, (fr__tnode){.op = FR__OP_NUMBER,
                              .dtype = (uint8_t)dtype,
                              .npar = 1,
                              .in = FR__NO_INPUTS,
                              .slot = -1,
                              .shape = par,
                              .par = par,
                              .size = 1,
                              .group = -1,
                              .next = -1});
}

static int put_reshape(state *s, int input, const fr__tnode *like)
{
    fr__tnode n = {.op = FR__OP_RESHAPE,
                   .dtype = like->dtype,
                   .ndim = like->ndim,
                   .nin = 1,
                   .in = FR__NO_INPUTS,
                   .slot = -1,
                   .shape = like->shape,
                   .size = like->size,
                   .group = -1,
                   .next = -1};
    n.in[0] = input;
    return same_shape(node(s, input), like) ? input : put(s, n);
}

/* Part n (a `real` or `imag`) of what was just put together, perhaps below views: the part itself,
 * below them. */
static int part_of(state *s, fr__tnode n)
{
    int chain[FR_MAX_NDIM], len = 0, at = n.in[0];
    while (fr__is_view(node(s, at)) && len < FR__COUNT(chain)) {
        chain[len++] = at;
        at = node(s, at)->in[0];
    }
    if (node(s, at)->op != FR__OP_complex)
        return put(s, n);
    int below = node(s, at)->in[n.op == FR__OP_imag];
    if (node(s, below)->op == FR__OP_NUMBER || node(s, below)->dtype != FR_FLOAT32)
        return put(s, n);
    while (len && below >= 0) {
        fr__tnode view = *node(s, chain[--len]);
        view.dtype = FR_FLOAT32;
        view.flags = 0;
        view.in[0] = below;
        below = put(s, view);
    }
    return below;
}

/* The order of two operands that commute: a number comes last wherever it was seen first, so that the
 * same work on other arrays is the same kernel. */
static bool comes_after(const state *s, int i, int j)
{
    const fr__tnode *x = node(s, i), *y = node(s, j);
    while (fr__is_view(x))
        x = node(s, x->in[0]);
    while (fr__is_view(y))
        y = node(s, y->in[0]);
    bool first = x->op == FR__OP_NUMBER, second = y->op == FR__OP_NUMBER;
    return first != second ? first : i > j;
}

/* The new number that stands for n, whose inputs are new numbers already. */
static int rewrite(state *s, fr__tnode n)
{
    bool is_float = fr__dtypes[n.dtype].kind == FR__KIND_FLOAT;
    const fr__tnode *a = n.nin ? node(s, n.in[0]) : NULL;
    switch (n.op) {
    case FR__OP_RESHAPE:
        return put_reshape(s, a->op == FR__OP_RESHAPE ? a->in[0] : n.in[0], &n);
    case FR__OP_BROADCAST:
        if (a->op == FR__OP_BROADCAST && a->ndim <= n.ndim) {
            n.in[0] = a->in[0];
            return put(s, n);
        }
        break;
    case FR__OP_CAST:
        if (a->dtype == n.dtype && a->op != FR__OP_NUMBER)
            return n.in[0];
        break;
    case FR__OP_real:
    case FR__OP_imag: return part_of(s, n);
    case FR__OP_complex: { /* of the parts of one number: that number */
        const fr__tnode *b = node(s, n.in[1]);
        if (a->op == FR__OP_real && b->op == FR__OP_imag && a->in[0] == b->in[0] &&
            node(s, a->in[0])->op != FR__OP_NUMBER)
            return a->in[0];
        break;
    }
    case FR__OP_COPY:
        if (!fr__is_view(a) && !fr__is_leaf(a)) {
            s->t->nodes.at[n.in[0]].flags |= FR__T_ROWS;
            return n.in[0];
        }
        break;
    case FR__OP_mul:
        if (is_fixed(s, n.in[1], 1) && a->op != FR__OP_NUMBER && a->dtype == n.dtype)
            return n.in[0];
        if (is_fixed(s, n.in[0], 1) && node(s, n.in[1])->op != FR__OP_NUMBER &&
            node(s, n.in[1])->dtype == n.dtype)
            return n.in[1];
        break;
    case FR__OP_div:
        if (!is_float || a->op == FR__OP_NUMBER)
            break;
        if (is_fixed(s, n.in[1], 1))
            return n.in[0];
        for (int sign = -1; sign <= 1; sign += 2)
            for (int half = 0; half < 2; half++)
                if (is_fixed(s, n.in[1], sign * (half ? 0.5 : 2))) {
                    n.op = FR__OP_mul;
                    n.in[1] = put_number(s, n.dtype, sign * (half ? 2 : 0.5));
                    return n.in[1] < 0 ? -1 : put(s, n);
                }
        break;
    case FR__OP_sub:
        if (is_fixed(s, n.in[1], 0) && a->op != FR__OP_NUMBER)
            return n.in[0];
        break;
    case FR__OP_add: /* not for floats: -0 + 0 is 0 */
        if (!is_float && is_fixed(s, n.in[1], 0) && a->op != FR__OP_NUMBER)
            return n.in[0];
        break;
    default:
        if (fr__ops[n.op].class == FR__REDUCE && n.size == a->size && n.size > 0 &&
            n.dtype == a->dtype)
            return put_reshape(s, n.in[0], &n); /* over axes of size 1 */
        break;
    }
    bool chooses = n.op == FR__OP_maximum || n.op == FR__OP_minimum; /* of 0 and -0 the first */
    if (fr__ops[n.op].class == FR__ELEMENTWISE && fr__ops[n.op].traits & FR__COMMUTES &&
        comes_after(s, n.in[0], n.in[1]) && !(chooses && is_float)) {
        int32_t first = n.in[1]; /* one order, so that equal ones are seen to be */
        n.in[1] = n.in[0];
        n.in[0] = first;
    }
    return put(s, n);
}

/* n, an old node: a product of matrices that nobody wants but turned round. */
static bool is_turned_product(const state *s, const fr__tnode *n)
{
    if (n->op != FR__OP_TRANSPOSE)
        return false;
    const fr__tnode *c = &s->old[n->in[0]];
    if (c->op != FR__OP_CONTRACT || s->uses[n->in[0]] != 1 || c->flags & FR__T_OUTPUT)
        return false;
    int nbatch = (int)c->par[0], rows = s->old[c->in[0]].ndim - nbatch - (int)c->par[1];
    int columns = c->ndim - nbatch - rows;
    for (int d = 0; d < n->ndim; d++)
        if (n->par[d] != fr__turned(d, nbatch, rows, columns))
            return false;
    return true;
}

/* An operand of a product [batch, p, q] as [batch, q, p]; p has np dimensions. */
static int put_operand(state *s, int i, int nbatch, int np)
{
    fr__tnode n = *node(s, i);
    int nq = n.ndim - nbatch - np;
    int64_t *shape = fr__arena_alloc(&s->t->arena, sizeof *shape * 2 * (size_t)n.ndim);
    if (!shape)
        return -1;
    int64_t *par = shape + n.ndim;
    for (int d = 0; d < n.ndim; d++) {
        par[d] = fr__turned(d, nbatch, np, nq);
        shape[d] = n.shape[par[d]];
    }
    return put(s, (fr__tnode){.op = FR__OP_TRANSPOSE,
                              .dtype = n.dtype,
                              .ndim = n.ndim,
                              .nin = 1,
                              .npar = n.ndim,
                              .in = {i, -1, -1, -1, -1, -1, -1, -1},
                              .slot = -1,
                              .shape = shape,
                              .par = par,
                              .size = n.size,
                              .group = -1,
                              .next = -1});
}

/* (A B)^T = B^T A^T. n: the transposition, its input a new number. */
static int put_turned(state *s, const fr__tnode *n)
{
    fr__tnode c = *node(s, n->in[0]);
    int nbatch = (int)c.par[0], nk = (int)c.par[1];
    int b = put_operand(s, c.in[1], nbatch, nk);
    int a = b < 0 ? -1 : put_operand(s, c.in[0], nbatch, node(s, c.in[0])->ndim - nbatch - nk);
    if (a < 0)
        return -1;
    c.in[0] = b;
    c.in[1] = a;
    c.shape = n->shape;
    c.flags = 0;
    return put(s, c);
}

/* A literal that was given a shape is that literal, where an operand may be one. */
static int literal_below(const state *s, int i)
{
    int at = i;
    while (node(s, at)->op == FR__OP_BROADCAST || node(s, at)->op == FR__OP_RESHAPE)
        at = node(s, at)->in[0];
    return node(s, at)->op == FR__OP_NUMBER ? at : i;
}

int fr__simplify(fr__trace *t)
{
    int n = t->nodes.n, status = -1;
    state s = {.t = t, .old = t->nodes.at, .room = 64};
    while (s.room < n * 4 + 8)
        s.room *= 2;
    s.to = fr__malloc(sizeof *s.to * (size_t)(n + 1));
    s.table = fr__calloc((size_t)s.room, sizeof *s.table);
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    s.uses = fr__calloc((size_t)n + 1, sizeof *s.uses);
    if (!s.to || !s.table || !s.uses)
        goto out;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < s.old[i].nin; j++)
            s.uses[s.old[i].in[j]]++;
    for (int i = 0; i < n; i++) {
        fr__tnode node_ = s.old[i];
        for (int j = 0; j < node_.nin; j++) {
            node_.in[j] = s.to[node_.in[j]];
            if (fr__ops[node_.op].class == FR__ELEMENTWISE)
                node_.in[j] = literal_below(&s, node_.in[j]);
        }
        int flags = node_.flags;
        node_.flags = 0;
        if (fr__is_leaf(&node_)) { /* each is itself */
            s.to[i] = fr__vec_push(&t->nodes, node_) ? -1 : t->nodes.n - 1;
            if (s.to[i] >= 0)
                t->leaves.at[node_.slot].node = s.to[i];
        } else {
            s.to[i] =
                is_turned_product(&s, &s.old[i]) ? put_turned(&s, &node_) : rewrite(&s, node_);
        }
        if (s.to[i] < 0)
            goto out;
        t->nodes.at[s.to[i]].flags |= (uint8_t)flags;
    }
    for (int i = 0; i < t->outs.n; i++)
        t->outs.at[i].node = s.to[t->outs.at[i].node];
    t->passed = FR__PASS_SIMPLIFY;
    status = 0;
out:
    fr__free(s.old);
    fr__free(s.to);
    fr__free(s.uses);
    fr__free(s.table);
    return status;
}
