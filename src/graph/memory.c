/* memory.c - nodes as strides over memory, for what reads arrays and not values */
#include "graph/trace.h"
#include "op/view.h"

static void row_major(const fr__tnode *n, fr__place_in *p)
{
    int64_t step = 1;
    for (int d = n->ndim - 1; d >= 0; d--) {
        p->strides[d] = step;
        step *= n->shape[d];
    }
    p->offset = 0;
}

/* From the bottom up; where strides end, from a view on that is stored by itself. What else is stored
 * in between is not looked at: fuse and plan see the same. */
bool fr__memory_of(const fr__trace *t, int i, fr__place_in *p, int *at)
{
    int chain[64], len = 0, base = i;
    const fr__tnode *x = &t->nodes.at[i];
    while (fr__is_view(x)) {
        if (len == FR__COUNT(chain)) { /* of so many views the upper ones are taken */
            if (!(x->flags & FR__T_STORE)) {
                *at = base;
                return false;
            }
            break;
        }
        chain[len++] = base;
        base = x->in[0];
        x = &t->nodes.at[base];
    }
    if (x->op == FR__OP_NUMBER && !(x->flags & FR__T_STORE)) {
        if (len)
            base = chain[--len];
        x = &t->nodes.at[base];
        if (!(x->flags & FR__T_STORE)) {
            *at = base;
            return false;
        }
    }
    p->base = base;
    row_major(x, p);
    if (fr__is_leaf(x) && !t->leaves.at[x->slot].contiguous)
        memcpy(p->strides, t->leaves.at[x->slot].strides, sizeof(int64_t) * x->ndim);
    while (len--) {
        const fr__tnode *v = &t->nodes.at[chain[len]], *from = &t->nodes.at[v->in[0]];
        int64_t strides[FR_MAX_NDIM];
        if (fr__view_strides(v->op, v->par, v->ndim, v->shape, from->ndim, from->shape,
                             p->strides, strides, &p->offset)) {
            memcpy(p->strides, strides, sizeof(int64_t) * v->ndim);
        } else if (v->flags & FR__T_STORE) {
            p->base = chain[len];
            row_major(v, p);
        } else {
            *at = chain[len];
            return false;
        }
    }
    return true;
}
