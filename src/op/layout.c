/* layout.c - axes moved, arrays taken apart, elements repeated, shifted and reversed
 *
 * All are made of views, concatenations and gathers; whatever is a view stays one.
 */
#include "core/scope.h"
#include "op/op.h"

/* ---- axes --------------------------------------------------------------------------- */

fr_array *fr_swapaxes(fr_array *x, int axis1, int axis2)
{
    if (!fr__operands(1, &x))
        return NULL;
    int axes[FR_MAX_NDIM], a = fr__axis(axis1, x->ndim, "swapaxes"),
                           b = a < 0 ? -1 : fr__axis(axis2, x->ndim, "swapaxes");
    if (b < 0)
        return NULL;
    for (int i = 0; i < x->ndim; i++)
        axes[i] = i == a ? b : i == b ? a : i;
    return fr_transpose(x, axes, x->ndim);
}

fr_array *fr_moveaxis(fr_array *x, int source, int destination)
{
    if (!fr__operands(1, &x))
        return NULL;
    int axes[FR_MAX_NDIM], from = fr__axis(source, x->ndim, "moveaxis"),
                           to = from < 0 ? -1 : fr__axis(destination, x->ndim, "moveaxis");
    if (to < 0)
        return NULL;
    for (int i = 0, other = 0; i < x->ndim; i++) {
        other += other == from;
        axes[i] = i == to ? from : other++;
    }
    return fr_transpose(x, axes, x->ndim);
}

fr_array *fr_matrix_transpose(fr_array *x)
{
    char text[FR__SHAPE_TEXT];
    if (!fr__operands(1, &x))
        return NULL;
    if (x->ndim < 2)
        return fr__fail(FR__E_VALUE, "matrix_transpose: %s has fewer than two dimensions",
                        fr__shape_text(x, text));
    return fr_swapaxes(x, -2, -1);
}

fr_array *fr_unflatten(fr_array *x, int axis, const int64_t *shape, int ndim)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t to[FR_MAX_NDIM], n = 1;
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    int open = -1;
    if ((axis = fr__axis(axis, x->ndim, "unflatten")) < 0)
        return NULL;
    if (ndim < 1 || x->ndim - 1 + ndim > FR_MAX_NDIM)
        return fr__fail(ndim < 1 ? FR__E_VALUE : FR__E_LIMIT,
                        "unflatten: axis %d of %s into %d axes", axis, fr__shape_text(x, have),
                        ndim);
    bool good = true;
    for (int i = 0; i < ndim; i++) {
        to[axis + i] = shape[i];
        if (shape[i] == -1 && open < 0)
            open = axis + i;
        else if (shape[i] < 0 || __builtin_mul_overflow(n, shape[i], &n))
            good = false;
    }
    if (good && open >= 0 && n)
        to[open] = x->dims[axis] / n, n *= to[open];
    if (!good || n != x->dims[axis] || (open >= 0 && to[open] < 0))
        return fr__fail(FR__E_VALUE, "unflatten: axis %d of %s cannot become [%s]", axis,
                        fr__shape_text(x, have), fr__dims_text(shape, ndim, want));
    for (int i = 0; i < x->ndim; i++)
        if (i != axis)
            to[i < axis ? i : i + ndim - 1] = x->dims[i];
    return fr_reshape(x, to, x->ndim + ndim - 1);
}

static fr_array *at_least(fr_array *x, int ndim)
{
    if (!fr__operands(1, &x))
        return NULL;
    static const int first[3] = {0, 1, 2}, around[2] = {0, 2}, last[1] = {2};
    if (ndim == 3 && x->ndim == 1) /* as numpy: [1, n, 1] */
        return fr_expand_dims(x, around, 2);
    if (ndim == 3 && x->ndim == 2)
        return fr_expand_dims(x, last, 1);
    return fr_expand_dims(x, first, x->ndim < ndim ? ndim - x->ndim : 0);
}

fr_array *fr_atleast_1d(fr_array *x) { return at_least(x, 1); }
fr_array *fr_atleast_2d(fr_array *x) { return at_least(x, 2); }
fr_array *fr_atleast_3d(fr_array *x) { return at_least(x, 3); }

/* ---- n results ---------------------------------------------------------------------- */

/* made of n are there: all or none. */
static int all_or_none(int made, int n, fr_array **to)
{
    if (made == n)
        return 0;
    while (made > 0)
        fr__discard(to[--made]);
    return -1;
}

int fr_broadcast_arrays(int n, fr_array *const *x, fr_array **to)
{
    int64_t shape[FR_MAX_NDIM];
    int made = 0, ndim = fr_broadcast_shapes(n, x, shape);
    if (ndim < 0)
        return -1;
    while (made < n && (to[made] = fr_broadcast_to(x[made], shape, ndim)))
        made++;
    return all_or_none(made, n, to);
}

/* count elements in steps of 1 or -1 along one axis, all of the others. */
static fr_array *part(fr_array *x, int axis, int64_t from, int64_t step, int64_t count)
{
    int64_t start[FR_MAX_NDIM], steps[FR_MAX_NDIM], counts[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        start[d] = d == axis ? from : 0;
        steps[d] = d == axis ? step : 1;
        counts[d] = d == axis ? count : x->dims[d];
    }
    return fr_slice(x, start, steps, counts);
}

static int64_t cut(int64_t at, int64_t size)
{
    at = at < 0 ? at + size : at;
    return at < 0 ? 0 : at > size ? size : at;
}

int fr_split_at(fr_array *x, int n, const int64_t *at, int axis, fr_array **to)
{
    if (!fr__operands(1, &x))
        return -1;
    if (n < 0)
        return fr__fail_int(FR__E_VALUE, "split: at %d places", n);
    if ((axis = fr__axis(axis, x->ndim, "split")) < 0)
        return -1;
    int made = 0;
    int64_t size = x->dims[axis];
    for (; made <= n; made++) {
        int64_t from = made ? cut(at[made - 1], size) : 0,
                end = made < n ? cut(at[made], size) : size,
                count = end > from ? end - from : 0;
        if (!(to[made] = part(x, axis, count ? from : 0, 1, count)))
            break;
    }
    return all_or_none(made, n + 1, to);
}

int fr_split(fr_array *x, int n, int axis, fr_array **to)
{
    if (!fr__operands(1, &x))
        return -1;
    char text[FR__SHAPE_TEXT];
    if (n < 1)
        return fr__fail_int(FR__E_VALUE, "split: into %d parts", n);
    if ((axis = fr__axis(axis, x->ndim, "split")) < 0)
        return -1;
    if (x->dims[axis] % n)
        return fr__fail_int(FR__E_VALUE, "split: axis %d of %s has no %d equal parts", axis,
                            fr__shape_text(x, text), n);
    int made = 0;
    int64_t count = x->dims[axis] / n;
    while (made < n && (to[made] = part(x, axis, count ? made * count : 0, 1, count)))
        made++;
    return all_or_none(made, n, to);
}

int fr_unstack(fr_array *x, int axis, fr_array **to)
{
    if (!fr__operands(1, &x) || (axis = fr__axis(axis, x->ndim, "unstack")) < 0)
        return -1;
    if (x->dims[axis] > INT32_MAX)
        return fr__fail_int(FR__E_LIMIT, "unstack: into more than 2^31 arrays");
    int made = 0, n = (int)x->dims[axis];
    for (; made < n; made++) {
        fr_array *one = part(x, axis, made, 1, 1);
        if (!one || !(to[made] = fr__then(one, fr_squeeze(one, &axis, 1))))
            break;
    }
    return all_or_none(made, n, to);
}

int fr_meshgrid(int n, fr_array *const *x, const fr_meshgrid_options *options, fr_array **to)
{
    if (!fr__operands(n, x))
        return -1;
    if (n > FR_MAX_NDIM)
        return fr__fail_int(FR__E_LIMIT, "meshgrid: %d dimensions, the most is %d", n,
                            FR_MAX_NDIM);
    bool xy = options && options->xy && n > 1;
    int64_t shape[FR_MAX_NDIM], line[FR_MAX_NDIM];
    for (int i = 0; i < n; i++)
        shape[xy && i < 2 ? 1 - i : i] = x[i]->size;
    int made = 0;
    for (; made < n; made++) {
        int axis = xy && made < 2 ? 1 - made : made;
        for (int d = 0; d < n; d++)
            line[d] = d == axis ? shape[d] : 1;
        fr_array *y = fr_reshape(x[made], line, n);
        if (y && !(options && options->sparse))
            y = fr__then(y, fr_broadcast_to(y, shape, n));
        if (!(to[made] = y))
            break;
    }
    return all_or_none(made, n, to);
}

/* ---- repeated, shifted, reversed ---------------------------------------------------- */

/* An axis of size reps[i] before every axis that is repeated, then the two become one. */
fr_array *fr_tile(fr_array *x, const int64_t *reps, int nreps)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t tall[FR_MAX_NDIM], wide[FR_MAX_NDIM], shape[FR_MAX_NDIM];
    int ndim = x->ndim > nreps ? x->ndim : nreps, inner = 0;
    char text[FR__SHAPE_TEXT];
    for (int d = 0; d < ndim; d++) {
        int64_t n = d < ndim - nreps ? 1 : reps[d - (ndim - nreps)],
                size = d < ndim - x->ndim ? 1 : x->dims[d - (ndim - x->ndim)];
        if (n < 0)
            return fr__fail(FR__E_VALUE, "tile: %s %lld times", fr__shape_text(x, text),
                            (long long)n);
        if (ndim > FR_MAX_NDIM || inner + (n != 1) >= FR_MAX_NDIM ||
            __builtin_mul_overflow(n, size, &shape[d]))
            return fr__fail(FR__E_LIMIT, "tile: too many dimensions or elements");
        if (n != 1)
            tall[inner] = 1, wide[inner++] = n;
        tall[inner] = wide[inner] = size;
        inner++;
    }
    fr_array *y = fr_reshape(x, tall, inner);
    y = y ? fr__then(y, fr_broadcast_to(y, wide, inner)) : NULL;
    return y ? fr__then(y, fr_reshape(y, shape, ndim)) : NULL;
}

fr_array *fr_repeat(fr_array *x, int64_t n, int axis)
{
    if (!fr__operands(1, &x) || (axis = fr__axis(axis, x->ndim, "repeat")) < 0)
        return NULL;
    int64_t shape[FR_MAX_NDIM + 1];
    int after = axis + 1;
    if (n < 0)
        return fr__fail(FR__E_VALUE, "repeat: %lld times", (long long)n);
    fr_array *y = fr_expand_dims(x, &after, 1);
    if (!y)
        return NULL;
    for (int d = 0; d < y->ndim; d++)
        shape[d] = d == after ? n : y->dims[d];
    y = fr__then(y, fr_broadcast_to(y, shape, y->ndim));
    return y ? fr__then(y, fr_flatten(y, axis, after)) : NULL;
}

static fr_array *rolled(fr_array *x, int64_t shift, int axis)
{
    int64_t size = x->dims[axis];
    if (!size || !(shift = (shift % size + size) % size))
        return part(x, axis, 0, 1, size);
    fr_array *both[2] = {part(x, axis, size - shift, 1, shift),
                         part(x, axis, 0, 1, size - shift)};
    fr_array *y = fr_concatenate(2, both, axis);
    fr__discard(both[0]);
    fr__discard(both[1]);
    return y;
}

fr_array *fr_roll(fr_array *x, const int64_t *shifts, int nshifts, const int *axes)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (!axes) {
        if (nshifts != 1)
            return fr__fail(FR__E_VALUE, "roll: %d shifts without axes", nshifts);
        fr_array *line = fr_reshape(x, &x->size, 1);
        line = line ? fr__then(line, rolled(line, shifts[0], 0)) : NULL;
        return line ? fr__then(line, fr_reshape(line, x->dims, x->ndim)) : NULL;
    }
    int64_t by[FR_MAX_NDIM] = {0};
    for (int i = 0; i < nshifts; i++) {
        int a = fr__axis(axes[i], x->ndim, "roll");
        if (a < 0)
            return NULL;
        if (x->dims[a])
            by[a] = (by[a] + shifts[i] % x->dims[a]) % x->dims[a];
    }
    fr_array *y = fr_reshape(x, x->dims, x->ndim);
    for (int d = 0; y && d < x->ndim; d++)
        if (by[d])
            y = fr__then(y, rolled(y, by[d], d));
    return y;
}

fr_array *fr_flip(fr_array *x, const int *axes, int naxes)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t start[FR_MAX_NDIM], step[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        step[d] = axes ? 1 : -1;
        start[d] = axes || !x->dims[d] ? 0 : x->dims[d] - 1;
    }
    for (int i = 0; axes && i < naxes; i++) {
        int a = fr__axis(axes[i], x->ndim, "flip");
        if (a < 0)
            return NULL;
        if (step[a] < 0)
            return fr__fail(FR__E_VALUE, "flip: axis %d is named twice", a);
        step[a] = -1;
        start[a] = x->dims[a] ? x->dims[a] - 1 : 0;
    }
    return fr_slice(x, start, step, x->dims);
}

/* ---- padding with elements of the array -------------------------------------------- */

static const char *const modes[] = {"edge", "reflect", "symmetric", "wrap"};

/* Which element stands at i, before, in or after the n of an axis. */
static int64_t element_at(int64_t i, int64_t n, fr_pad_mode mode)
{
    int64_t period = mode == FR_PAD_WRAP ? n : mode == FR_PAD_REFLECT ? 2 * (n - 1) : 2 * n;
    if (mode == FR_PAD_EDGE || n == 1)
        return i < 0 ? 0 : i >= n ? n - 1 : i;
    i = (i % period + period) % period;
    return i < n ? i : mode == FR_PAD_REFLECT ? period - i : period - 1 - i;
}

static fr_array *gathered(fr_array *x, int axis, int64_t before, int64_t after,
                          fr_pad_mode mode)
{
    int64_t n = x->dims[axis], total = before + n + after;
    int64_t *at = fr__malloc(sizeof *at * (size_t)total);
    if (!at)
        return NULL;
    for (int64_t i = 0; i < total; i++)
        at[i] = element_at(i - before, n, mode);
    fr_array *indices = fr_from_data(at, FR_INT64, &total, 1);
    fr__free(at);
    fr_array *y = indices ? fr_take(x, indices, axis) : NULL;
    fr__discard(indices);
    return y;
}

/* What stands before (from -count on) or after the elements, at most as long as they are. */
static fr_array *border(fr_array *x, int axis, bool before, int64_t count, fr_pad_mode mode)
{
    int64_t n = x->dims[axis], shape[FR_MAX_NDIM];
    int64_t from = element_at(before ? -count : n, n, mode);
    if (mode != FR_PAD_EDGE)
        return part(x, axis, from, mode == FR_PAD_WRAP || count == 1 ? 1 : -1, count);
    memcpy(shape, x->dims, sizeof(int64_t) * (size_t)x->ndim);
    shape[axis] = count;
    fr_array *one = part(x, axis, from, 1, 1);
    return one ? fr__then(one, fr_broadcast_to(one, shape, x->ndim)) : NULL;
}

static fr_array *padded(fr_array *x, int axis, int64_t before, int64_t after, fr_pad_mode mode)
{
    int64_t n = x->dims[axis], most = mode == FR_PAD_REFLECT ? n - 1 : n;
    if (n == 1)
        mode = FR_PAD_EDGE;
    if (mode != FR_PAD_EDGE && (before > most || after > most))
        return gathered(x, axis, before, after, mode);
    fr_array *parts[3], *y = NULL;
    int count = 0, whole = before > 0;
    if (before)
        parts[count++] = border(x, axis, true, before, mode);
    parts[count++] = x;
    if (after)
        parts[count++] = border(x, axis, false, after, mode);
    y = fr_concatenate(count, parts, axis);
    for (int i = 0; i < count; i++)
        if (i != whole)
            fr__discard(parts[i]);
    return y;
}

fr_array *fr_pad_with(fr_array *x, const int64_t *before, const int64_t *after,
                      fr_pad_mode mode)
{
    if (!fr__operands(1, &x))
        return NULL;
    char text[FR__SHAPE_TEXT];
    if ((unsigned)mode > FR_PAD_WRAP)
        return fr__fail(FR__E_VALUE, "pad: %d is no mode", (int)mode);
    for (int d = 0; d < x->ndim; d++) {
        int64_t size;
        if (before[d] < 0 || after[d] < 0)
            return fr__fail(FR__E_VALUE, "pad: by less than nothing, axis %d of %s", d,
                            fr__shape_text(x, text));
        if (__builtin_add_overflow(x->dims[d], before[d], &size) ||
            __builtin_add_overflow(size, after[d], &size))
            return fr__fail(FR__E_LIMIT, "pad: more elements than memory can address");
        if (!x->dims[d] && (before[d] || after[d]))
            return fr__fail(FR__E_VALUE, "pad: axis %d of %s is empty: nothing for mode '%s'",
                            d, fr__shape_text(x, text), modes[mode]);
    }
    fr_array *y = fr_reshape(x, x->dims, x->ndim);
    for (int d = 0; y && d < x->ndim; d++)
        if (before[d] || after[d])
            y = fr__then(y, padded(y, d, before[d], after[d], mode));
    return y;
}

/* ---- whole arrays ------------------------------------------------------------------- */

fr_array *fr_array_equal(fr_array *x, fr_array *y, bool equal_nan)
{
    if (!fr__operands(2, (fr_array *[]){x, y}))
        return NULL;
    if (x->ndim != y->ndim || memcmp(x->dims, y->dims, sizeof(int64_t) * (size_t)x->ndim))
        return fr_from_data(&(bool){false}, FR_BOOL, NULL, 0);
    fr_array *same = (fr_eq)(x, y);
    if (equal_nan && same) {
        fr_array *a = fr_isnan(x), *b = fr_isnan(y), *both = (fr_logical_and)(a, b);
        same = fr__then(same, (fr_logical_or)(same, both));
        fr__discard(a);
        fr__discard(b);
        fr__discard(both);
    }
    return same ? fr__then(same, fr_all(same, NULL)) : NULL;
}

fr_array *fr_count_nonzero(fr_array *x, const fr_reduce_options *options)
{
    fr_array *y = fr_astype(x, FR_BOOL);
    return y ? fr__then(y, fr_sum(y, options)) : NULL;
}

fr_array *fr_diff(fr_array *x, int n, int axis)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (n < 0)
        return fr__fail(FR__E_VALUE, "diff: %d times", n);
    if ((axis = fr__axis(axis, x->ndim, "diff")) < 0)
        return NULL;
    fr_array *y = fr_reshape(x, x->dims, x->ndim);
    for (; y && n > 0 && y->dims[axis]; n--) {
        int64_t count = y->dims[axis] - 1;
        fr_array *a = part(y, axis, count ? 1 : 0, 1, count), *b = part(y, axis, 0, 1, count);
        fr_array *d = y->dtype == FR_BOOL ? (fr_ne)(a, b) : (fr_sub)(a, b);
        fr__discard(a);
        fr__discard(b);
        y = fr__then(y, d);
    }
    return y;
}
