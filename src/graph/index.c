/* index.c - affine index arithmetic: element numbers through views */
#include "graph/trace.h"
#include "op/view.h"

fr__index *fr__index_new(fr__arena *a, int n)
{
    fr__index *m = fr__arena_zalloc(a, sizeof *m + sizeof(int64_t) * (size_t)n);
    if (m)
        m->n = n;
    return m;
}

bool fr__index_equal(const fr__index *x, const fr__index *y)
{
    if (x == y)
        return true;
    if (x->offset != y->offset)
        return false;
    int n = x->n > y->n ? x->n : y->n;
    for (int i = 0; i < n; i++)
        if (fr__index_stride(x, i) != fr__index_stride(y, i))
            return false;
    return true;
}

const fr__index *fr__index_strided(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                   int ndim, const int64_t *shape, const int64_t *strides,
                                   int64_t offset)
{
    fr__index *out = fr__index_new(a, m->n);
    if (!out)
        return NULL;
    int64_t unit[FR_MAX_NDIM], low[FR_MAX_NDIM], high[FR_MAX_NDIM], step = 1;
    for (int j = ndim - 1; j >= 0; j--) {
        if (shape[j] ==
            0) { /* no elements: never addressed, as long as it stays in its loops */
            memcpy(out->stride, m->stride, sizeof(int64_t) * (size_t)m->n);
            return out;
        }
        unit[j] = step;
        step *= shape[j];
    }
    /* The offset and every axis' stride, each as a number of steps in one dimension: as a number
     * is written in the mixed radix of the shape. There must be no carry in between. */
    int64_t rest = m->offset;
    out->offset = offset;
    if (rest < 0)
        return NULL;
    for (int j = 0; j < ndim; j++) {
        low[j] = high[j] = rest / unit[j];
        rest -= low[j] * unit[j];
        out->offset += low[j] * strides[j];
    }
    for (int i = 0; i < m->n; i++) {
        int64_t s = m->stride[i], n = axes[i].extent - 1, left = s < 0 ? -s : s;
        if (s == 0 || n < 0)
            continue;
        for (int j = 0; j < ndim && left; j++) {
            int64_t c = left / unit[j];
            if (!c)
                continue;
            left -= c * unit[j];
            c = s < 0 ? -c : c;
            out->stride[i] += c * strides[j];
            *(c < 0 ? &low[j] : &high[j]) += c * n;
        }
    }
    for (int j = 0; j < ndim; j++)
        if (low[j] < 0 || high[j] >= shape[j])
            return NULL;
    return out;
}

/* Inside a group that goes over an array in pieces: the piece's number and the kept axes. Only an
 * element addressed row-major over all axes but the piece's own is known to be in its piece. */
static const fr__index *through_pieces(fr__arena *a, const fr__gaxis *axes, const fr__index *m)
{
    int64_t step = 1, row = 1;
    fr__index *out = fr__index_new(a, m->n);
    for (int i = m->n - 1; out && i >= 0; i--) {
        bool number = i == 0; /* axis 0 numbers the pieces */
        if (m->stride[i] != (number ? 0 : step) || m->offset)
            return NULL;
        step *= number ? 1 : axes[i].extent;
        if (!axes[i].reduced) {
            out->stride[i] = row;
            row *= axes[i].extent;
        }
    }
    for (int i = 0; i < m->n; i++)
        if (axes[i].split == 0)
            return out;
    return NULL;
}

const fr__index *fr__index_through(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                   const fr__tnode *view, const fr__tnode *input)
{
    if (view->op == FR__OP_RESHAPE || view->op == FR__OP_AGAIN)
        return m;
    if (view->op == FR__OP_PIECES)
        return through_pieces(a, axes, m);
    int64_t own[FR_MAX_NDIM], strides[FR_MAX_NDIM], offset = 0;
    fr__row_major(input->ndim, input->shape, own);
    fr__view_strides(view->op, view->par, view->ndim, view->shape, input->ndim, input->shape,
                     own, strides, &offset);
    return fr__index_strided(a, axes, m, view->ndim, view->shape, strides, offset);
}

fr__side fr__reduction_side(const fr__tnode *r, const fr__tnode *input, bool reduced)
{
    fr__side l = {.size = 1};
    int64_t strides[FR_MAX_NDIM];
    fr__row_major(input->ndim, input->shape, strides);
    for (int d = 0; d < input->ndim; d++) {
        int64_t extent = input->shape[d];
        if (fr__reduces(r, d) != reduced || extent == 1)
            continue;
        l.size *= extent;
        if (l.n && l.stride[l.n - 1] == strides[d] * extent) {
            l.extent[l.n - 1] *= extent;
            l.stride[l.n - 1] = strides[d];
        } else {
            l.extent[l.n] = extent;
            l.stride[l.n++] = strides[d];
        }
    }
    return l;
}

const fr__index *fr__index_reduced(fr__arena *a, const fr__group *g, const fr__index *m,
                                   const fr__tnode *r, const fr__tnode *input)
{
    bool partial = r->npar > 1; /* row-major over all axes but 0, the piece's number */
    fr__index *over = fr__index_new(a, g->naxes), *sum = fr__index_new(a, g->naxes);
    if (!over || !sum)
        return NULL;
    int64_t step = 1;
    for (int i = g->naxes - 1; i >= partial; i--)
        if (partial || g->axis[i].reduced) {
            over->stride[i] = step;
            step *= g->axis[i].extent;
        }
    if (partial)
        return over;
    fr__side kept = fr__reduction_side(r, input, false),
             red = fr__reduction_side(r, input, true);
    const fr__index *k = fr__index_strided(a, g->axis, m, kept.n, kept.extent, kept.stride, 0);
    const fr__index *o = fr__index_strided(a, g->axis, over, red.n, red.extent, red.stride, 0);
    if (!k || !o)
        return NULL;
    sum->offset = k->offset + o->offset;
    for (int i = 0; i < g->naxes; i++)
        sum->stride[i] = fr__index_stride(k, i) + fr__index_stride(o, i);
    return sum;
}

const fr__index *fr__index_of_indices(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                      const fr__tnode *take, const fr__tnode *indices)
{
    int64_t strides[FR_MAX_NDIM] = {0};
    fr__row_major(indices->ndim, indices->shape, strides + take->par[0]);
    return fr__index_strided(a, axes, m, take->ndim, take->shape, strides, 0);
}

const fr__index *fr__index_beside(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                  const fr__tnode *take, const fr__tnode *input,
                                  const int64_t *strides, int indices_ndim)
{
    int64_t along[FR_MAX_NDIM] = {0};
    int axis = (int)take->par[0];
    for (int d = 0; d < input->ndim; d++)
        if (d != axis)
            along[d < axis ? d : d - 1 + indices_ndim] = strides[d];
    return fr__index_strided(a, axes, m, take->ndim, take->shape, along, 0);
}

const fr__index *fr__index_of_input(fr__trace *t, const fr__group *g, const fr__tnode *n)
{
    const fr__tnode *x = n->nin ? &t->nodes.at[n->in[0]] : NULL;
    if (fr__is_view(n))
        return fr__index_through(&t->arena, g->axis, n->map, n, x);
    if (n->op == FR__OP_RANDOM_BITS) /* the key */
        return fr__index_new(&t->arena, 0);
    if (n->op == FR__OP_TAKE)
        return fr__index_of_indices(&t->arena, g->axis, n->map, n, &t->nodes.at[n->in[1]]);
    if (fr__ops[n->op].class != FR__REDUCE)
        return n->map;
    return fr__index_reduced(&t->arena, g, n->map, n, x);
}
