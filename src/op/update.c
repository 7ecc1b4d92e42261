/* update.c - arrays put together from parts: slice updates, concatenation, stacks, padding
 *
 * All are one operation, PUT: an array written over a part of a buffer, by the kernel that makes
 * the array. So concatenating costs nothing beyond making the parts.
 */
#include "core/scope.h"
#include "op/op.h"

/* part over base (NULL: nothing yet); both of the right dtype; part not empty. */
static fr_array *put(fr_array *base, fr_array *part, int ndim, const int64_t *shape,
                     const int64_t *start, const int64_t *step, bool more)
{
    fr_array *in[2] = {part, base};
    fr_array *y =
        fr__node(FR__OP_PUT, part->dtype, ndim, shape, base ? 2 : 1, in, 2 * ndim + 1);
    if (!y)
        return NULL;
    for (int d = 0; d < ndim; d++) {
        y->par[d] = start[d];
        y->par[ndim + d] = step ? step[d] : 1;
    }
    y->par[2 * ndim] = more;
    return y;
}

static fr_array *fresh(fr_array *x)
{
    return fr__node(FR__OP_FRESH, x->dtype, x->ndim, x->dims, 1, &x, 0);
}

fr_array *fr_slice_update(fr_array *x, fr_array *v, const int64_t *start, const int64_t *step,
                          const int64_t *count)
{
    fr_array *both[2] = {x, v};
    if (!fr__operands(2, both))
        return NULL;
    fr_array *y = NULL, *part = NULL, *cast = NULL, *base = NULL;
    fr_array *there = fr_slice(x, start, step, count); /* checks the part */
    if (there)
        cast = fr_astype(v, (fr_dtype)x->dtype);
    if (cast)
        part = fr_broadcast_to(cast, count, x->ndim);
    if (part && part->size == 0) {
        fr__own_result(fr__ref(x));
        y = fr__failed() ? NULL : x;
    } else if (part && (base = fresh(x))) {
        int64_t from[FR_MAX_NDIM], by[FR_MAX_NDIM];
        for (int d = 0; d < x->ndim; d++) {
            from[d] = start[d];
            by[d] = count[d] > 1 ? step[d] : 1;
        }
        y = put(base, part, x->ndim, x->dims, from, by, false);
    }
    fr_array *made[] = {there, cast, part, base};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    fr__settle(2, both);
    return y;
}

/* Checks shapes and gives the result's; the dtype all are brought to, or -1. */
static int joined_shape(int n, fr_array *const *x, int axis, int64_t *shape)
{
    int dtype = x[0]->dtype;
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    memcpy(shape, x[0]->dims, sizeof(int64_t) * x[0]->ndim);
    for (int i = 1; i < n; i++) {
        bool good = x[i]->ndim == x[0]->ndim;
        for (int d = 0; good && d < x[0]->ndim; d++)
            good = d == axis || x[i]->dims[d] == x[0]->dims[d];
        if (!good)
            return fr__fail_int(FR__E_VALUE,
                                "concatenate: %s and %s differ in more than axis %d",
                                fr__shape_text(x[0], a), fr__shape_text(x[i], b), axis);
        if (__builtin_add_overflow(shape[axis], x[i]->dims[axis], &shape[axis]))
            return fr__fail_int(FR__E_LIMIT,
                                "concatenate: more elements than memory can address");
        dtype = (int)fr_promote((fr_dtype)dtype, (fr_dtype)x[i]->dtype);
    }
    return dtype;
}

fr_array *fr_concatenate(int n, fr_array *const *x, int axis)
{
    if (!fr__operands(n, x))
        return NULL;
    if (n < 1)
        return fr__fail(FR__E_VALUE, "concatenate: no arrays");
    int64_t shape[FR_MAX_NDIM], start[FR_MAX_NDIM] = {0};
    if ((axis = fr__axis(axis, x[0]->ndim, "concatenate")) < 0)
        return NULL;
    int dtype = joined_shape(n, x, axis, shape), last = -1;
    if (dtype < 0)
        return NULL;
    for (int i = 0; i < n; i++)
        last = x[i]->size ? i : last;
    if (last < 0)
        return fr_zeros(shape, x[0]->ndim, (fr_dtype)dtype);
    fr_array *y = NULL;
    for (int i = 0; i <= last; i++) {
        if (!x[i]->size)
            continue;
        fr_array *part = fr_astype(x[i], (fr_dtype)dtype);
        fr_array *next = part ? put(y, part, x[0]->ndim, shape, start, NULL, i < last) : NULL;
        fr__discard(part);
        fr__discard(y);
        if (!(y = next))
            return NULL;
        start[axis] += x[i]->dims[axis];
    }
    return y;
}

fr_array *fr_stack(int n, fr_array *const *x, int axis)
{
    if (!fr__operands(n, x))
        return NULL;
    if (n < 1)
        return fr__fail(FR__E_VALUE, "stack: no arrays");
    if ((axis = fr__axis(axis, x[0]->ndim + 1, "stack")) < 0)
        return NULL;
    fr_array **tall = fr__malloc(sizeof *tall * (size_t)n), *y = NULL;
    int made = 0;
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    for (bool good = tall != NULL; good && made < n; made += good) {
        if (x[made]->ndim != x[0]->ndim ||
            memcmp(x[made]->dims, x[0]->dims, sizeof(int64_t) * x[0]->ndim))
            fr__fail(FR__E_VALUE, "stack: shapes differ: %s and %s", fr__shape_text(x[0], a),
                     fr__shape_text(x[made], b));
        good = !fr__failed() && (tall[made] = fr_expand_dims(x[made], &axis, 1));
    }
    if (tall && made == n)
        y = fr_concatenate(n, tall, axis);
    while (made)
        fr__discard(tall[--made]);
    fr__free(tall);
    return y;
}

fr_array *fr_pad(fr_array *x, const int64_t *before, const int64_t *after, fr_array *value)
{
    fr_array *both[2] = {x, value};
    if (!fr__operands(value ? 2 : 1, both))
        return NULL;
    int64_t shape[FR_MAX_NDIM];
    char text[FR__SHAPE_TEXT];
    for (int d = 0; d < x->ndim; d++) {
        if (before[d] < 0 || after[d] < 0)
            fr__fail(FR__E_VALUE, "pad: by less than nothing, axis %d of %s", d,
                     fr__shape_text(x, text));
        else if (__builtin_add_overflow(x->dims[d], before[d], &shape[d]) ||
                 __builtin_add_overflow(shape[d], after[d], &shape[d]))
            fr__fail(FR__E_LIMIT, "pad: more elements than memory can address");
    }
    fr_array *v = fr__failed() ? NULL
                  : value      ? fr_astype(value, (fr_dtype)x->dtype)
                               : fr__number(0, x->dtype);
    fr_array *all = v ? fr_broadcast_to(v, shape, x->ndim) : NULL, *y = NULL;
    if (all && !memcmp(shape, x->dims, sizeof *shape * x->ndim)) { /* nothing to add */
        fr__own_result(fr__ref(x));
        y = fr__failed() ? NULL : x;
    } else if (all && !x->size) {
        y = all;
        all = NULL;
    } else if (all) {
        fr_array *base = fresh(all);
        y = base ? put(base, x, x->ndim, shape, before, NULL, false) : NULL;
        fr__discard(base);
    }
    fr__discard(all);
    fr__discard(v);
    fr__settle(value ? 2 : 1, both);
    return y;
}
