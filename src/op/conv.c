/* conv.c - windows, and convolutions made of them
 *
 *   x -> [zeros between, around] -> a routine that reads its windows where they lie (correlate.c)
 *
 * Over more than 3 axes: windows of every axis as views, and a product of matrices.
 */
#include "core/scope.h"
#include "op/correlate.h"
#include "op/view.h"

enum { AXES = (FR_MAX_NDIM - 2) / 2 }; /* spatial axes at most: each becomes two */

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
    int64_t shape[FR_MAX_NDIM], par[3] = {axis, step, dilation};
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
    int64_t stride[AXES], before[AXES], after[AXES], dilation[AXES], between[AXES], groups;
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
    *c = (conv){.op = op, .n = x->ndim - 2, .groups = o->groups ? o->groups : 1};
    c->flip = o->flip;
    if (!fr__is_float(fr_promote((fr_dtype)x->dtype, (fr_dtype)w->dtype)))
        return fr__fail_int(FR__E_TYPE, "%s: takes floats, not %s and %s", op,
                            fr__shape_text(x, a), fr__shape_text(w, b));
    if (c->n < 1 || c->n > AXES || w->ndim != x->ndim)
        return fr__fail_int(FR__E_VALUE,
                            "%s: x [N, ..., C] and w [O, ..., C] have spatial axes in their "
                            "middle, equally many; not %s and %s",
                            op, fr__shape_text(x, a), fr__shape_text(w, b));
    int64_t channels = x->dims[x->ndim - 1];
    if (c->groups < 1 || channels % c->groups || w->dims[0] % c->groups ||
        w->dims[w->ndim - 1] != channels / c->groups)
        return fr__fail_int(FR__E_VALUE,
                            "%s: channels of x and w don't fit: %s, %s in %lld groups", op,
                            fr__shape_text(x, a), fr__shape_text(w, b), (long long)c->groups);
    for (int i = 0; i < c->n; i++) {
        c->stride[i] = at(o->stride, i, 1);
        c->before[i] = at(o->padding, i, 0);
        c->after[i] = at(o->padding_after, i, c->before[i]);
        c->dilation[i] = at(o->dilation, i, 1);
        c->between[i] = at(o->input_dilation, i, 1);
        if (c->stride[i] < 1 || c->dilation[i] < 1 || c->between[i] < 1)
            return fr__fail_int(FR__E_VALUE, "%s: stride %lld, dilations %lld and %lld", op,
                                (long long)c->stride[i], (long long)c->dilation[i],
                                (long long)c->between[i]);
    }
    return 0;
}

/* ---- x between and around which zeros stand ---------------------------------------------- */

/* Zeros after each element of an axis, but the last. */
static fr_array *spread(fr_array *x, int axis, int64_t by)
{
    int64_t shape[FR_MAX_NDIM], none[FR_MAX_NDIM] = {0}, after[FR_MAX_NDIM] = {0};
    int64_t one[FR_MAX_NDIM];
    int ndim = x->ndim, fresh = axis + 1;
    for (int d = 0; d < ndim; d++) {
        shape[d] = x->dims[d];
        one[d] = 1;
    }
    after[fresh] = by - 1;
    fr_array *y = fr_expand_dims(x, &fresh, 1);
    y = fr__then(y, fr_pad(y, none, after, NULL));
    shape[axis] *= by;
    y = fr__then(y, fr_reshape(y, shape, ndim));
    shape[axis] -= by - 1;
    return fr__then(y, fr_slice(y, none, one, shape));
}

/* Paddings; negative ones cut off. */
static fr_array *surround(fr_array *x, const conv *c)
{
    int64_t start[FR_MAX_NDIM] = {0}, count[FR_MAX_NDIM], one[FR_MAX_NDIM];
    int64_t before[FR_MAX_NDIM] = {0}, after[FR_MAX_NDIM] = {0};
    for (int d = 0; d < x->ndim; d++) {
        count[d] = x->dims[d];
        one[d] = 1;
    }
    for (int i = 0; i < c->n; i++) {
        int64_t b = c->before[i], a = c->after[i], *size = &count[i + 1];
        if ((b < 0 && -b > *size) || (a < 0 && -a > *size - (b < 0 ? -b : 0)))
            return fr__fail(FR__E_VALUE, "%s: paddings %lld and %lld leave nothing of %lld",
                            c->op, (long long)b, (long long)a, (long long)*size);
        start[i + 1] = b < 0 ? -b : 0;
        *size += (b < 0 ? b : 0) + (a < 0 ? a : 0);
        before[i + 1] = b > 0 ? b : 0;
        after[i + 1] = a > 0 ? a : 0;
    }
    fr_array *y = fr_slice(x, start, one, count);
    return fr__then(y, fr_pad(y, before, after, NULL));
}

/* [N, ..., C] to [N, windows ..., elements ..., C] */
static fr_array *all_windows(fr_array *x, const fr_array *w, const conv *c)
{
    int axes[FR_MAX_NDIM], n = c->n;
    fr_array *y = x;
    for (int i = 0; i < n && y; i++) {
        fr_array *next = fr_windows(y, 2 * i + 1, w->dims[i + 1], c->stride[i], c->dilation[i]);
        y = y == x ? next : fr__then(y, next);
        axes[i + 1] = 2 * i + 1;
        axes[n + i + 1] = 2 * i + 2;
    }
    axes[0] = 0;
    axes[2 * n + 1] = 2 * n + 1;
    return y ? fr__then(y, fr_transpose(y, axes, 2 * n + 2)) : NULL;
}

static fr_array *flipped(fr_array *w)
{
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM];
    for (int d = 0; d < w->ndim; d++) {
        bool middle = d > 0 && d < w->ndim - 1;
        start[d] = middle ? w->dims[d] - 1 : 0;
        step[d] = middle ? -1 : 1;
    }
    return fr_slice(w, start, step, w->dims);
}

/* ---- the product ------------------------------------------------------------------------- */

/* windows [N, o ..., k ..., C], w [O, k ..., C/g] to [N o ..., O] with rows = N o ... */
static fr_array *product(fr_array *windows, fr_array *w, int64_t rows, int64_t groups)
{
    int64_t out = w->dims[0], channels = w->dims[w->ndim - 1];
    int64_t inner = 1;
    for (int d = 1; d < w->ndim - 1; d++)
        inner *= w->dims[d];
    if (groups == 1) {
        fr_array *a = fr_reshape(windows, (int64_t[]){rows, inner * channels}, 2);
        fr_array *b = fr_reshape(w, (int64_t[]){out, inner * channels}, 2);
        b = fr__then(b, fr_transpose(b, NULL, 0));
        fr_array *y = (fr_matmul)(a, b);
        fr__discard(a);
        fr__discard(b);
        return y;
    }
    /* [rows, k, g, c] to [g, rows, k c]; [g, o, k c] to [g, k c, o] */
    fr_array *a = fr_reshape(windows, (int64_t[]){rows, inner, groups, channels}, 4);
    a = fr__then(a, fr_transpose(a, (int[]){2, 0, 1, 3}, 4));
    a = fr__then(a, fr_reshape(a, (int64_t[]){groups, rows, inner * channels}, 3));
    fr_array *b = fr_reshape(w, (int64_t[]){groups, out / groups, inner * channels}, 3);
    b = fr__then(b, fr_transpose(b, (int[]){0, 2, 1}, 3));
    fr_array *y = (fr_matmul)(a, b);
    y = fr__then(y, fr_transpose(y, (int[]){1, 0, 2}, 3));
    fr__discard(a);
    fr__discard(b);
    return y;
}

/* Up to 3 axes: the windows are read where they lie. */
static fr_array *correlated(fr_array *x, fr_array *w, const conv *c)
{
    fr__window window = {{1, 1, 1}, {1, 1, 1}, c->groups};
    fr_dtype dtype = fr_promote((fr_dtype)x->dtype, (fr_dtype)w->dtype);
    for (int i = 0; i < c->n; i++) {
        window.stride[i] = c->stride[i];
        window.dilation[i] = c->dilation[i];
    }
    fr_array *v = c->flip ? flipped(w) : NULL, *a = fr_astype(x, dtype),
             *b = fr_astype(v ? v : w, dtype);
    fr_array *y = a && b ? fr__correlate(a, b, &window) : NULL;
    fr__discard(v);
    fr__discard(a);
    fr__discard(b);
    return y;
}

static fr_array *convolve(fr_array *x, fr_array *w, const conv *c)
{
    fr_array *y = x, *made[4] = {NULL}, *result = NULL;
    for (int i = 0; i < c->n && y; i++) {
        if (c->between[i] == 1 || !x->dims[i + 1])
            continue;
        fr_array *next = spread(y, i + 1, c->between[i]);
        y = y == x ? next : fr__then(y, next);
    }
    made[0] = y == x ? NULL : y;
    fr_array *around = made[1] = y ? surround(y, c) : NULL;
    for (int i = 0; around && i < c->n; i++)
        if (c->dilation[i] * (w->dims[i + 1] - 1) >= around->dims[i + 1] || !w->dims[i + 1]) {
            char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
            fr__fail(FR__E_VALUE, "%s: the window of %s is empty or larger than padded %s",
                     c->op, fr__shape_text(w, a), fr__shape_text(around, b));
            around = NULL;
        }
    if (around && c->n <= 3) {
        fr_array *y = correlated(around, w, c);
        for (int i = 0; i < FR__COUNT(made); i++)
            fr__discard(made[i]);
        return y;
    }
    fr_array *windows = made[2] = around ? all_windows(around, w, c) : NULL;
    fr_array *weight = windows && c->flip ? (made[3] = flipped(w)) : w;
    if (windows && weight) {
        int64_t shape[FR_MAX_NDIM], rows = 1;
        for (int d = 0; d <= c->n; d++)
            rows *= shape[d] = windows->dims[d];
        shape[c->n + 1] = w->dims[0];
        result = product(windows, weight, rows, c->groups);
        result = result ? fr__then(result, fr_reshape(result, shape, c->n + 2)) : NULL;
    }
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return result;
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
        int64_t whole =
            c.dilation[i] * (w->dims[i + 1] - 1) - at(options ? options->padding : NULL, i, 0);
        c.before[i] = whole;
        c.after[i] = whole + at(output_padding, i, 0);
        c.between[i] = c.stride[i];
        c.stride[i] = 1;
    }
    c.flip = true;
    return convolve(x, w, &c);
}
