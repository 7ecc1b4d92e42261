/* split.c - long reductions in two steps, so that they run in parallel
 *
 *   capture -> simplify -> [split] -> fuse -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   reductions over few rows or over the outer axes as a partial reduction (one result for
 *         each piece of one axis) and a reduction over the pieces
 * breaks  nothing; the pieces depend on shapes alone, so a sum is the same for any thread count
 */
#include "graph/trace.h"

enum {
    SPLIT_FROM = 1 << 17,  /* elements; below, one thread is as fast */
    ROW_PIECE = 1 << 15,   /* elements of a piece where the innermost axis is reduced */
    COLUMN_PIECE = 32,     /* rows of a piece where it is kept: as many streams as prefetch follows */
    ENOUGH_ROWS = 64,      /* results that go in parallel by themselves */
};

typedef struct {
    int axis;
    int64_t block;
} choice;

static choice choose(const fr__tnode *r, const fr__tnode *x)
{
    const choice no = {-1, 0};
    int64_t kept = 1, red = 1, outer = 1;
    int longest = -1, last = -1;
    bool seen = false;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] == 1)
            continue;
        last = d;
        if (r->par[0] >> d & 1) {
            red *= x->shape[d];
            seen = true;
            if (longest < 0 || x->shape[d] > x->shape[longest])
                longest = d;
        } else {
            kept *= x->shape[d];
            outer *= seen ? 1 : x->shape[d];
        }
    }
    if (x->size < SPLIT_FROM || longest < 0)
        return no;
    choice c = {longest, 0};
    if (r->par[0] >> last & 1) {
        if (kept >= ENOUGH_ROWS)
            return no;
        c.block = ROW_PIECE / (red / x->shape[longest]);
        c.block = c.block < 1 ? 1 : c.block;
    } else {
        if (outer >= ENOUGH_ROWS)
            return no;
        c.block = COLUMN_PIECE;
    }
    return x->shape[longest] >= 2 * c.block ? c : no;
}

static int split_one(fr__trace *t, const fr__tnode *r, choice c)
{
    const fr__tnode *x = &t->nodes.at[r->in[0]];
    bool half = r->dtype == FR_FLOAT16 || r->dtype == FR_BFLOAT16;
    int dtype = half ? FR_FLOAT32 : r->dtype;
    int64_t shape[FR_MAX_NDIM + 1], par[3] = {r->par[0], c.axis, c.block}, pieces = 1;
    shape[0] = (x->shape[c.axis] + c.block - 1) / c.block;
    memcpy(shape + 1, r->shape, sizeof(int64_t) * (size_t)r->ndim);
    int32_t in = r->in[0];
    fr__tnode like = *r;
    int at = fr__trace_add(t, r->op, dtype, r->ndim + 1, shape, 1, &in, 3, par);
    if (at < 0)
        return -1;
    in = at;
    at = fr__trace_add(t, like.op, dtype, like.ndim, like.shape, 1, &in, 1, &pieces);
    if (at < 0 || !half)
        return at;
    in = at;
    return fr__trace_add(t, FR__OP_CAST, like.dtype, like.ndim, like.shape, 1, &in, 0, NULL);
}

int fr__split(fr__trace *t)
{
    bool any = false;
    for (int i = 0; i < t->nodes.n && !any; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        any = fr__ops[n->op].class == FR__REDUCE && n->ndim < FR_MAX_NDIM &&
              choose(n, &t->nodes.at[n->in[0]]).axis >= 0;
    }
    if (!any)
        return 0;
    fr__tnode *old = t->nodes.at;
    int n = t->nodes.n, status = -1;
    int32_t *to = fr__malloc(sizeof *to * (size_t)n);
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    if (!to)
        goto out;
    for (int i = 0; i < n; i++) {
        fr__tnode node = old[i];
        choice c = {-1, 0};
        if (fr__ops[node.op].class == FR__REDUCE && node.ndim < FR_MAX_NDIM)
            c = choose(&node, &old[node.in[0]]);
        for (int j = 0; j < node.nin; j++)
            node.in[j] = to[node.in[j]];
        if (fr__is_leaf(&node))
            t->leaves.at[node.slot].node = t->nodes.n;
        if (c.axis >= 0)
            to[i] = split_one(t, &node, c);
        else
            to[i] = fr__vec_push(&t->nodes, node) ? -1 : t->nodes.n - 1;
        if (to[i] < 0)
            goto out;
        t->nodes.at[to[i]].flags = node.flags;
    }
    for (int i = 0; i < t->outs.n; i++)
        t->outs.at[i].node = to[t->outs.at[i].node];
    status = 0;
out:
    fr__free(old);
    fr__free(to);
    return status;
}
