/* memory.c - nodes as strides over memory, for what reads arrays and not values */
#include "graph/trace.h"
#include "op/view.h"

void fr__place_at(const fr__trace *t, int i, fr__place_in *p)
{
    const fr__tnode *x = &t->nodes.at[i];
    const fr__leafref *leaf = fr__is_leaf(x) ? &t->leaves.at[x->slot] : NULL;
    p->base = i;
    p->offset = 0;
    if (leaf && !leaf->contiguous)
        memcpy(p->strides, leaf->strides, sizeof(int64_t) * x->ndim);
    else
        fr__row_major(x->ndim, x->shape, p->strides);
}

bool fr__place_through(const fr__trace *t, int view, fr__place_in *p)
{
    const fr__tnode *v = &t->nodes.at[view], *from = &t->nodes.at[v->in[0]];
    int64_t strides[FR_MAX_NDIM];
    if (!fr__view_strides(v->op, v->par, v->ndim, v->shape, from->ndim, from->shape, p->strides,
                          strides, &p->offset))
        return false;
    memcpy(p->strides, strides, sizeof(int64_t) * v->ndim);
    return true;
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
    fr__place_at(t, base, p);
    while (len--) {
        if (fr__place_through(t, chain[len], p))
            continue;
        if (!(t->nodes.at[chain[len]].flags & FR__T_STORE)) {
            *at = chain[len];
            return false;
        }
        fr__place_at(t, chain[len], p);
    }
    return true;
}
