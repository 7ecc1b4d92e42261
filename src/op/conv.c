/* conv.c - windows, and convolutions made of them
 *
 *   x -> [zeros between, around] -> a routine that reads its windows where they lie (correlate.c)
 */
#include "core/scope.h"
#include "op/correlate.h"
#include "op/view.h"

/* ---- windows -------------------------------------------------------------------------- */

/* Windows that don't overlap, of neighbours: parts of the axis split in two. NULL without an
 * error where the axis ends before the last of them does. */
static fr_array *split_windows(fr_array *x, int axis, int64_t size, int64_t step, int64_t n)
{
    if (n * step > x->dims[axis])
        return NULL;
    int64_t start[FR_MAX_NDIM] = {0}, one[FR_MAX_NDIM], count[FR_MAX_NDIM], shape[FR_MAX_NDIM];
    for (int d = 0; d <= x->ndim; d++)
        one[d] = 1;
    for (int d = 0; d < x->ndim; d++) {
        count[d] = x->dims[d];
        shape[d > axis ? d + 1 : d] = x->dims[d];
    }
    count[axis] = n * step;
    shape[axis] = n;
    shape[axis + 1] = step;
    fr_array *y = fr_slice(x, start, one, count);
    y = fr__then(y, fr_reshape(y, shape, x->ndim + 1));
    shape[axis + 1] = size;
    return y ? fr__then(y, fr_slice(y, start, one, shape)) : NULL;
}

fr_array *fr_windows(fr_array *x, int axis, int64_t size, int64_t step, int64_t dilation)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    axis = fr__axis(axis, x->ndim, "windows");
    if (axis < 0)
        return NULL;
    if (x->ndim == FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "windows: more than %d dimensions", FR_MAX_NDIM);
    int64_t span;
    if (size < 1 || step < 1 || dilation < 1)
        return fr__fail(FR__E_VALUE, "windows: size %lld, step %lld, dilation %lld",
                        (long long)size, (long long)step, (long long)dilation);
    if (__builtin_mul_overflow(size - 1, dilation, &span) || span >= x->dims[axis])
        return fr__fail(FR__E_VALUE,
                        "windows: %lld elements, %lld apart, are longer than axis %d of %s",
                        (long long)size, (long long)dilation, axis, fr__shape_text(x, text));
    int64_t n = (x->dims[axis] - 1 - span) / step + 1;
    if (dilation == 1 && step >= size) {
        fr_array *y = split_windows(x, axis, size, step, n);
        if (y || fr__failed())
            return y;
    }
    int64_t shape[FR_MAX_NDIM], par[3] = {axis, n > 1 ? step : 1, size > 1 ? dilation : 1};
    for (int d = 0; d < x->ndim; d++)
        shape[d > axis ? d + 1 : d] = x->dims[d];
    shape[axis] = n;
    shape[axis + 1] = size;
    return fr__view(FR__OP_WINDOWS, x, x->ndim + 1, shape, 3, par);
}

/* ---- options --------------------------------------------------------------------------- */

typedef struct conv {
    const char *op;
    int n; /* spatial axes */
    int64_t before[FR__WINDOW_AXES], after[FR__WINDOW_AXES], between[FR__WINDOW_AXES];
    fr__window window;
    bool flip;
} conv;

static int64_t at(const int64_t *values, int i, int64_t otherwise)
{
    return values ? values[i] : otherwise;
}

/* Shapes and numbers that can be. 0 or -1. */
static int read_conv(conv *c, const char *op, const fr_array *x, const fr_array *w,
                     const fr_conv_options *o)
{
    static const fr_conv_options none;
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    o = o ? o : &none;
    int64_t groups = o->groups ? o->groups : 1;
    *c = (conv){.op = op, .n = x->ndim - 2, .flip = o->flip, .window.groups = groups};
    if (!fr__is_float(fr_promote((fr_dtype)x->dtype, (fr_dtype)w->dtype)))
        return fr__fail_int(FR__E_TYPE, "%s: takes floats, not %s and %s", op,
                            fr__shape_text(x, a), fr__shape_text(w, b));
    if (c->n < 1 || c->n > FR__WINDOW_AXES || w->ndim != x->ndim)
        return fr__fail_int(FR__E_VALUE,
                            "%s: x [N, ..., C] and w [O, ..., C] have spatial axes in their "
                            "middle, equally many; not %s and %s",
                            op, fr__shape_text(x, a), fr__shape_text(w, b));
    int64_t channels = x->dims[x->ndim - 1];
    if (groups < 1 || channels % groups || w->dims[0] % groups ||
        w->dims[w->ndim - 1] != channels / groups)
        return fr__fail_int(FR__E_VALUE,
                            "%s: channels of x and w don't fit: %s, %s in %lld groups", op,
                            fr__shape_text(x, a), fr__shape_text(w, b), (long long)groups);
    for (int i = 0; i < c->n; i++) {
        int64_t *stride = &c->window.stride[i], *dilation = &c->window.dilation[i];
        *stride = at(o->stride, i, 1);
        *dilation = at(o->dilation, i, 1);
        c->before[i] = at(o->padding, i, 0);
        c->after[i] = at(o->padding_after, i, c->before[i]);
        c->between[i] = at(o->input_dilation, i, 1);
        if (*stride < 1 || *dilation < 1 || c->between[i] < 1)
            return fr__fail_int(FR__E_VALUE, "%s: stride %lld, dilations %lld and %lld", op,
                                (long long)*stride, (long long)*dilation,
                                (long long)c->between[i]);
    }
    return 0;
}

/* ---- the work -------------------------------------------------------------------------- */

static fr_array *flipped(fr_array *w)
{
    int axes[FR_MAX_NDIM];
    for (int i = 1; i < w->ndim - 1; i++)
        axes[i - 1] = i;
    return fr_flip(w, axes, w->ndim - 2);
}

/* In an open scope. */
static fr_array *correlated(fr_array *x, fr_array *w, const conv *c)
{
    fr_dtype dtype = fr_promote((fr_dtype)x->dtype, (fr_dtype)w->dtype);
    fr_array *a = fr_astype(x, dtype), *b = fr_astype(c->flip ? flipped(w) : w, dtype);
    a = a && b ? fr__spread(a, c->between, c->before, c->after) : NULL;
    return a ? fr__correlate(a, b, &c->window) : NULL;
}

static fr_array *convolve(fr_array *x, fr_array *w, const conv *c)
{
    fr_scope *s = fr_scope_open();
    fr_array *y = fr__leave(s, s ? correlated(x, w, c) : NULL);
    if (!y)
        fr__error_context("%s", c->op);
    return y;
}

fr_array *fr_conv(fr_array *x, fr_array *w, const fr_conv_options *options)
{
    fr_array *operands[] = {x, w};
    conv c;
    if (!fr__operands(2, operands) || read_conv(&c, "conv", x, w, options))
        return NULL;
    return convolve(x, w, &c);
}

fr_array *fr_conv_transpose(fr_array *x, fr_array *w, const fr_conv_options *options,
                            const int64_t *output_padding)
{
    fr_array *operands[] = {x, w};
    conv c;
    if (!fr__operands(2, operands) || read_conv(&c, "conv_transpose", x, w, options))
        return NULL;
    for (int i = 0; i < c.n; i++) {
        int64_t *before = &c.before[i], cut = at(options ? options->padding : NULL, i, 0);
        if (__builtin_mul_overflow(c.window.dilation[i], w->dims[i + 1] - 1, before) ||
            __builtin_sub_overflow(*before, cut, before) ||
            __builtin_add_overflow(*before, at(output_padding, i, 0), &c.after[i]))
            return fr__fail(FR__E_LIMIT,
                            "conv_transpose: more elements than memory can address");
        c.between[i] = c.window.stride[i];
        c.window.stride[i] = 1;
    }
    c.flip = true;
    return convolve(x, w, &c);
}
