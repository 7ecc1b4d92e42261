/* correlate.c - a window over an array, inside it; and how arrays are padded and spread for that
 *
 * What is padded is written in place by whatever makes it; the window is read where it lies.
 */
#include "op/correlate.h"

#include "core/scope.h"

fr__window fr__window_of(const fr_array *y)
{
    int n = y->ndim - 2;
    fr__window w = {{1, 1, 1}, {1, 1, 1}, y->par[2 * n]};
    for (int d = 0; d < n; d++) {
        w.stride[d] = y->par[d];
        w.dilation[d] = y->par[n + d];
    }
    return w;
}

fr_array *fr__correlate(fr_array *x, fr_array *w, const fr__window *window)
{
    int n = x->ndim - 2;
    int64_t shape[5] = {x->dims[0]};
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    for (int d = 0; d < n; d++) {
        int64_t reach = (w->dims[d + 1] - 1) * window->dilation[d] + 1;
        if (w->dims[d + 1] < 1 || reach > x->dims[d + 1])
            return fr__fail(FR__E_VALUE, "conv: the window of %s is larger than %s, padded",
                            fr__shape_text(w, a), fr__shape_text(x, b));
        shape[d + 1] = (x->dims[d + 1] - reach) / window->stride[d] + 1;
    }
    shape[n + 1] = w->dims[0];
    bool empty = w->dims[n + 1] == 0;
    for (int d = 0; d < x->ndim; d++)
        empty |= shape[d] == 0;
    if (empty)
        return fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
    fr_array *y =
        fr__node(FR__OP_CONV, x->dtype, x->ndim, shape, 2, (fr_array *[]){x, w}, 2 * n + 1);
    for (int d = 0; y && d < n; d++) {
        y->par[d] = window->stride[d];
        y->par[n + d] = window->dilation[d];
    }
    if (y)
        y->par[2 * n] = window->groups;
    return y;
}

/* The part of x that is left when so much is cut off at both ends. */
static fr_array *cut_off(fr_array *x, const int64_t *low, const int64_t *high)
{
    int64_t start[5] = {0}, step[5] = {1, 1, 1, 1, 1}, count[5];
    bool all = true;
    for (int d = 0; d < x->ndim; d++) {
        bool spatial = d > 0 && d < x->ndim - 1;
        int64_t from = spatial && low[d - 1] < 0 ? -low[d - 1] : 0,
                less = from + (spatial && high[d - 1] < 0 ? -high[d - 1] : 0);
        start[d] = from > x->dims[d] ? x->dims[d] : from;
        count[d] = x->dims[d] > less ? x->dims[d] - less : 0;
        all &= less == 0;
    }
    return all ? x : fr_slice(x, start, step, count);
}

fr_array *fr__spread(fr_array *x, const int64_t *by, const int64_t *low, const int64_t *high)
{
    int64_t shape[5], start[5] = {0}, step[5] = {1, 1, 1, 1, 1};
    bool dilated = false, padded = false;
    for (int d = 0; d < x->ndim; d++) {
        shape[d] = x->dims[d];
        if (d == 0 || d == x->ndim - 1)
            continue;
        int64_t size = x->dims[d] ? (x->dims[d] - 1) * by[d - 1] + 1 : 0;
        start[d] = low[d - 1] > 0 ? low[d - 1] : 0;
        step[d] = by[d - 1];
        shape[d] = size + start[d] + (high[d - 1] > 0 ? high[d - 1] : 0);
        dilated |= by[d - 1] > 1;
        padded |= shape[d] != size;
    }
    if (dilated || padded) {
        fr_array *zeros = fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
        x = zeros ? fr_slice_update(zeros, x, start, step, x->dims) : NULL;
    }
    return x ? cut_off(x, low, high) : NULL;
}
