/* batch_native.c - batching rules of native operations
 *
 * A routine that has a dimension of its own for many like examples takes the batch there, so that
 * one run does all. What has none is left to be done element by element.
 */
#include "op/attention.h"
#include "op/correlate.h"
#include "xform/rules.h"

/* ---- products of matrices --------------------------------------------------------------------- */

/* The batch is one more dimension of the batch, the rows or the columns. */
static fr_array *contract(fr_array *x, fr_array *const *in, fr_array *const *batch)
{
    int nbatch = (int)x->par[0], nk = (int)x->par[1];
    int rows = in[0]->ndim - nbatch - nk;
    fr_array *a = batch[0], *b = batch[1], *y;
    if (a && b)
        return fr__contract(a, b, nbatch + 1, nk);
    if (a) {
        y = (a = fr_moveaxis(a, 0, nbatch)) ? fr__contract(a, in[1], nbatch, nk) : NULL;
        return fr_moveaxis(y, nbatch, 0);
    }
    y = (b = fr_moveaxis(b, 0, nbatch + nk)) ? fr__contract(in[0], b, nbatch, nk) : NULL;
    return fr_moveaxis(y, nbatch + rows, 0);
}

/* ---- shapes ------------------------------------------------------------------------------------ */

/* x [size, n, rest] as [size * n, rest]. */
static fr_array *merged(fr_array *x) { return fr_flatten(x, 0, 1); }

/* x [before, size * n, after] as [before, size, n, after], the dimension being `at`. */
static fr_array *parted(fr_array *x, int at, int64_t size)
{
    return x ? fr_unflatten(x, at, (int64_t[]){size, x->dims[at] / size}, 2) : NULL;
}

/* ---- convolutions --------------------------------------------------------------------------------- */

/* y's operation on other channels or examples; what no window of y reaches is left out. */
static fr_array *windows_of(const fr_array *y, fr_array *x, fr_array *w,
                            const fr__window *window)
{
    x = x && w ? fr__reached(x, w->dims + 1, y->dims + 1, window) : NULL;
    return x ? fr__correlate(x, w, window) : NULL;
}

/* Batched examples are more examples; batched windows are groups over as many times the channels. */
static fr_array *conv(fr_array *x, int64_t size, fr_array *const *in, fr_array *const *batch)
{
    fr__window window = fr__window_of(x);
    int last = in[0]->ndim - 1;
    fr_array *y;
    if (!batch[1]) {
        y = windows_of(x, merged(batch[0]), in[1], &window);
        return parted(y, 0, size);
    }
    fr_array *w = merged(batch[1]);
    if (!batch[0] && window.groups == 1) {
        y = windows_of(x, in[0], w, &window);
        return fr_moveaxis(parted(y, last, size), last, 0);
    }
    fr_array *each = fr_moveaxis(fr__whole(in[0], batch[0], size), 0, last);
    int64_t shape[FR_MAX_NDIM];
    for (int d = 0; each && d <= last; d++)
        shape[d] = d < last ? in[0]->dims[d] : size * in[0]->dims[d];
    each = each ? fr_reshape(each, shape, last + 1) : NULL;
    window.groups *= size;
    y = windows_of(x, each, w, &window);
    return fr_moveaxis(parted(y, last, size), last, 0);
}

/* Examples of all elements of the batch [size, N, spatial, C] side by side as channels: [N, spatial,
 * size * C]. */
static fr_array *as_channels(fr_array *x)
{
    fr_array *y = fr_moveaxis(x, 0, -2);
    return y ? fr_flatten(y, -2, -1) : NULL;
}

/* One batched: more channels or more filters; else groups over as many times the channels. */
static fr_array *conv_filter(fr_array *w, int64_t size, fr_array *const *in,
                             fr_array *const *batch)
{
    fr__window window = fr__window_of(w);
    int last = w->ndim - 1;
    bool apart = window.groups == 1 && !(batch[0] && batch[1]);
    fr_array *x = batch[0] || !apart ? as_channels(fr__whole(in[0], batch[0], size)) : in[0],
             *g = batch[1] || !apart ? as_channels(fr__whole(in[1], batch[1], size)) : in[1];
    window.groups *= apart ? 1 : size;
    fr_array *y = x && g ? fr__correlate_filter(x, g, w->dims + 1, &window) : NULL;
    if (apart && batch[0])
        return fr_moveaxis(parted(y, last, size), last, 0);
    return parted(y, 0, size);
}

/* ---- attention ------------------------------------------------------------------------------------- */

/* x's operation on inputs with size times the examples. */
static fr_array *more_examples(fr_array *x, int64_t size, fr_array *const *in,
                               fr_array *const *batch, const int64_t *shape)
{
    fr_array *all[8];
    for (int i = 0; i < x->nin; i++)
        if (!(all[i] = merged(fr__whole(in[i], batch[i], size))))
            return NULL;
    return fr__like(x, x->ndim, shape, all);
}

static fr_array *attention(fr_array *x, int64_t size, fr_array *const *in,
                           fr_array *const *batch)
{
    int64_t shape[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++)
        shape[d] = d ? x->dims[d] : size * x->dims[0];
    return parted(more_examples(x, size, in, batch, shape), 0, size);
}

/* Three gradients of all examples in a row, as such a row for each element of the batch. */
static fr_array *attention_grad(fr_array *x, int64_t size, fr_array *const *in,
                                fr_array *const *batch)
{
    int64_t n = size * x->size, start = 0, step = 1;
    fr_array *row = more_examples(x, size, in, batch, &n), *part[3];
    for (int i = 0; row && i < 3; i++) {
        int64_t count = size * in[i]->size, shape[2] = {size, in[i]->size};
        part[i] = fr_slice(row, &start, &step, &count);
        if (!part[i] || !(part[i] = fr_reshape(part[i], shape, 2)))
            return NULL;
        start += count;
    }
    return row ? fr_concatenate(3, part, 1) : NULL;
}

/* ---- routines along one axis ------------------------------------------------------------------- */

/* What works on each row of in[0] by itself: the batch is more rows. */
static fr_array *by_rows(fr_array *x, int64_t size, fr_array *const *batch)
{
    fr_array *rows = merged(batch[0]);
    int64_t shape[FR_MAX_NDIM];
    if (!rows)
        return NULL;
    memcpy(shape, x->dims, sizeof *shape * x->ndim);
    shape[0] = rows->dims[0];
    return parted(fr__like(x, x->ndim, shape, &rows), 0, size);
}

static fr_array *search(fr_array *x, int64_t size, fr_array *const *in, fr_array *const *batch)
{
    fr_array *sorted = merged(fr__whole(in[0], batch[0], size)),
             *values = merged(fr__whole(in[1], batch[1], size));
    return sorted && values ? parted(fr__search(sorted, values, x->par[0]), 0, size) : NULL;
}

fr_array *fr__batch_native(fr_array *x, int64_t size, fr_array *const *in,
                           fr_array *const *batch)
{
    switch (x->op) {
    case FR__OP_CONTRACT: return contract(x, in, batch);
    case FR__OP_CONV: return conv(x, size, in, batch);
    case FR__OP_CONV_FILTER: return conv_filter(x, size, in, batch);
    case FR__OP_ATTENTION: return attention(x, size, in, batch);
    case FR__OP_ATTENTION_GRAD: return attention_grad(x, size, in, batch);
    case FR__OP_SCATTER: return fr__scatter_batch(x, size, in, batch);
    case FR__OP_SCAN:
    case FR__OP_SORT:
    case FR__OP_SELECT: return by_rows(x, size, batch);
    case FR__OP_SEARCH: return search(x, size, in, batch);
    default: return NULL;
    }
}
