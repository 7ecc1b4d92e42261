/* correlate.c - a window over an array, inside it; and how arrays are padded and spread for that
 *
 * What is padded is written in place by whatever makes it; the window is read where it lies.
 */
#include "op/correlate.h"

#include "core/scope.h"

fr__window fr__window_of(const fr_array *y)
{
    int n = y->ndim - 2;
    fr__window w = {.groups = y->par[2 * n]};
    for (int d = 0; d < n; d++) {
        w.stride[d] = y->par[d];
        w.dilation[d] = y->par[n + d];
    }
    return w;
}

/* Between one and the next: 1 where there is no next. */
static void put_window(fr_array *y, const fr__window *window, const int64_t *places,
                       const int64_t *taps)
{
    int n = y->ndim - 2;
    for (int d = 0; d < n; d++) {
        y->par[d] = places[d] > 1 ? window->stride[d] : 1;
        y->par[n + d] = taps[d] > 1 ? window->dilation[d] : 1;
    }
    y->par[2 * n] = window->groups;
}

fr_array *fr__correlate(fr_array *x, fr_array *w, const fr__window *window)
{
    int n = x->ndim - 2;
    int64_t shape[FR_MAX_NDIM] = {x->dims[0]};
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    for (int d = 0; d < n; d++) {
        int64_t taps = w->dims[d + 1], reach, size = x->dims[d + 1];
        if (taps < 1 || __builtin_mul_overflow(taps - 1, window->dilation[d], &reach) ||
            reach >= size)
            return fr__fail(FR__E_VALUE, "the window of %s is empty or larger than padded %s",
                            fr__shape_text(w, a), fr__shape_text(x, b));
        shape[d + 1] = (size - reach - 1) / window->stride[d] + 1;
    }
    shape[n + 1] = w->dims[0];
    bool empty = w->dims[n + 1] == 0;
    for (int d = 0; d < x->ndim; d++)
        empty |= shape[d] == 0;
    if (empty)
        return fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
    fr_array *y =
        fr__node(FR__OP_CONV, x->dtype, x->ndim, shape, 2, (fr_array *[]){x, w}, 2 * n + 1);
    if (y)
        put_window(y, window, shape + 1, w->dims + 1);
    return y;
}

fr_array *fr__correlate_filter(fr_array *x, fr_array *g, const int64_t *taps,
                               const fr__window *window)
{
    int n = x->ndim - 2;
    int64_t shape[FR_MAX_NDIM] = {g->dims[n + 1]};
    memcpy(shape + 1, taps, sizeof *taps * (size_t)n);
    shape[n + 1] = x->dims[n + 1] / window->groups;
    if (!x->size || !g->size)
        return fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
    fr_array *w = fr__node(FR__OP_CONV_FILTER, x->dtype, x->ndim, shape, 2,
                           (fr_array *[]){x, g}, 2 * n + 1);
    if (w)
        put_window(w, window, g->dims + 1, taps);
    return w;
}

fr_array *fr__reached(fr_array *x, const int64_t *taps, const int64_t *places,
                      const fr__window *window)
{
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = x->dims[d];
        if (d > 0 && d < x->ndim - 1)
            count[d] = (places[d - 1] - 1) * window->stride[d - 1] +
                       (taps[d - 1] - 1) * window->dilation[d - 1] + 1;
    }
    return fr_slice(x, start, step, count);
}

/* The part of x that is left when so much is cut off at both ends. */
static fr_array *cut_off(fr_array *x, const int64_t *low, const int64_t *high)
{
    int64_t start[FR_MAX_NDIM], step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    bool all = true;
    for (int d = 0; d < x->ndim; d++) {
        bool spatial = d > 0 && d < x->ndim - 1;
        start[d] = spatial && low[d - 1] < 0 ? -low[d - 1] : 0;
        step[d] = 1;
        count[d] = x->dims[d] - start[d] + (spatial && high[d - 1] < 0 ? high[d - 1] : 0);
        all &= count[d] == x->dims[d];
    }
    return all ? x : fr_slice(x, start, step, count);
}

fr_array *fr__spread(fr_array *x, const int64_t *by, const int64_t *low, const int64_t *high)
{
    int64_t shape[FR_MAX_NDIM], start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM];
    bool changed = false;
    for (int d = 0; d < x->ndim; d++) {
        shape[d] = x->dims[d];
        step[d] = 1;
        if (d == 0 || d == x->ndim - 1)
            continue;
        int64_t size, before = fr__max64(low[d - 1], 0), after = fr__max64(high[d - 1], 0);
        if (!x->dims[d])
            size = 0;
        else if (__builtin_mul_overflow(x->dims[d] - 1, by[d - 1], &size) ||
                 __builtin_add_overflow(size, 1, &size))
            return fr__fail(FR__E_LIMIT, "more elements than memory can address");
        if (low[d - 1] < -size || high[d - 1] < -size - fr__min64(low[d - 1], 0))
            return fr__fail(FR__E_VALUE, "paddings %lld and %lld leave nothing of %lld",
                            (long long)low[d - 1], (long long)high[d - 1], (long long)size);
        start[d] = before;
        step[d] = by[d - 1];
        if (__builtin_add_overflow(size, before, &shape[d]) ||
            __builtin_add_overflow(shape[d], after, &shape[d]))
            return fr__fail(FR__E_LIMIT, "more elements than memory can address");
        changed |= shape[d] != x->dims[d];
    }
    if (changed) {
        fr_array *zeros = fr_zeros(shape, x->ndim, (fr_dtype)x->dtype);
        x = zeros ? fr_slice_update(zeros, x, start, step, x->dims) : NULL;
    }
    return x ? cut_off(x, low, high) : NULL;
}
