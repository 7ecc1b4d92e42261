/* scatter.c - arrays with updates at computed indices
 *
 * All are one operation, SCATTER, in one form: x [outer, n, inner], updates [outer, k, inner], indices
 * [k] of the axis in the middle, or one for each update. Axes beside those that are indexed are outer
 * or inner.
 */
#include "core/scope.h"
#include "op/gather.h"
#include "op/op.h"

/* x in this dtype; a number repeated (zeros, say) as one in memory, so that all of it needs none. */
static fr_array *stored_once(fr_array *x, int dtype)
{
    if (!x)
        return NULL;
    fr_array *below = fr__ref(x), *y = NULL;
    fr_array *in[FR__INPUTS];
    while (fr__ops[below->op].class == FR__VIEW && !fr__is_alias(below->op) &&
           fr__pin_inputs(below, in)) {
        fr__unref(below);
        below = in[0];
    }
    if (below->op == FR__OP_NUMBER) {
        fr_array *one = fr__node(FR__OP_COPY, below->dtype, 0, NULL, 1, &below, 0);
        y = fr_broadcast_to(fr_astype(one, (fr_dtype)dtype), x->dims, x->ndim);
    } else {
        y = fr_astype(x, (fr_dtype)dtype);
    }
    fr__unref(below);
    return y;
}

fr_array *fr__scatter(fr_array *x, fr_array *at, fr_array *updates, int mode)
{
    if (!x || !at || !updates)
        return NULL;
    bool narrow = x->dtype == FR_FLOAT16 || x->dtype == FR_BFLOAT16;
    int dtype = narrow && mode != FR_SCATTER_SET ? FR_FLOAT32 : x->dtype;
    fr_array *to = stored_once(x, dtype);
    updates = stored_once(updates, dtype);
    at = stored_once(at, at->dtype == FR_INT32 ? FR_INT32 : FR_INT64);
    if (!to || !at || !updates)
        return NULL;
    fr_array *y =
        fr__node(FR__OP_SCATTER, dtype, 3, to->dims, 3, (fr_array *[]){to, at, updates}, 1);
    if (!y)
        return NULL;
    y->par[0] = mode;
    return fr_astype(y, (fr_dtype)x->dtype);
}

static int check_mode(const char *op, const fr_array *x, fr_scatter_mode mode)
{
    static const char *const names[] = {"SET", "ADD", "MUL", "DIV", "MIN", "MAX"};
    if ((unsigned)mode >= FR__COUNT(names))
        return fr__fail_int(FR__E_VALUE, "%s: %d is no mode", op, (int)mode);
    bool ordered = mode == FR_SCATTER_MIN || mode == FR_SCATTER_MAX;
    if ((x->dtype == FR_BOOL && mode == FR_SCATTER_DIV) ||
        (x->dtype == FR_COMPLEX64 && ordered))
        return fr__fail_int(FR__E_TYPE, "%s: %s is not for %s", op, names[mode],
                            fr__dtypes[x->dtype].name);
    return 0;
}

/* x with dimensions [from, to) as they are, those before and behind as one each. */
static fr_array *in_three(fr_array *x, int from, int to)
{
    int64_t shape[3] = {1, 1, 1};
    for (int d = 0; x && d < x->ndim; d++)
        shape[(d >= from) + (d >= to)] *= x->dims[d];
    return fr_reshape(x, shape, 3);
}

static fr_array *scattered(const fr__places *p, fr_array *x, fr_array *updates, int mode)
{
    int order[FR_MAX_NDIM], middle = p->nblock + p->nbetween;
    fr_array *u = fr_broadcast_to(updates, p->shape, p->ndim);
    u = fr_transpose(u, order, fr__places_order(p, order));
    u = in_three(u, p->first, p->first + middle);
    fr_array *to = in_three(x, p->first, p->last + 1);
    fr_array *at = fr_reshape(fr__places_number(p, x, false), &(int64_t){-1}, 1);
    fr_array *y = u && to && at ? fr__scatter(to, at, u, mode) : NULL;
    return fr_reshape(y, x->dims, x->ndim);
}

static fr_array *itself(fr_array *x)
{
    fr__own_result(fr__ref(x));
    return fr__failed() ? NULL : x;
}

fr_array *fr_scatter(fr_array *x, int n, fr_array *const *indices, const int *axes,
                     fr_array *updates, fr_scatter_mode mode)
{
    fr__places p;
    fr_array *both[2] = {x, updates}, *y = NULL;
    if (!fr__operands(2, both) || !fr__operands(n > 0 ? n : 0, indices))
        return NULL;
    if (!fr__places_read(&p, "scatter", x, n, indices, axes) &&
        !check_mode("scatter", x, mode)) {
        fr_scope *s = fr_scope_open();
        fr_array *u = fr_broadcast_to(updates, p.shape, p.ndim);
        if (u && (u->size == 0 || x->size == 0))
            y = fr__leave(s, itself(x));
        else
            y = fr__leave(s, u ? scattered(&p, x, updates, mode) : NULL);
        if (!y)
            fr__error_context("scatter");
    }
    fr__settle(2, both);
    return y;
}

fr_array *fr_put_along_axis(fr_array *x, fr_array *indices, fr_array *values, int axis,
                            fr_scatter_mode mode)
{
    fr_array *all[3] = {x, indices, values}, *y = NULL;
    if (!fr__operands(3, all))
        return NULL;
    int64_t shape[FR_MAX_NDIM];
    if ((axis = fr__axis(axis, x->ndim, "put_along_axis")) >= 0 &&
        !check_mode("put_along_axis", x, mode) &&
        !fr__along_shape("put_along_axis", x, indices, axis, false, shape)) {
        fr_scope *s = fr_scope_open();
        fr_array *at = fr_broadcast_to(indices, shape, x->ndim);
        fr_array *u = fr_broadcast_to(values, shape, x->ndim);
        if (u && (u->size == 0 || x->size == 0)) {
            y = itself(x);
        } else if (u && at) {
            fr_array *to = in_three(x, axis, axis + 1);
            at = in_three(at, axis, axis + 1);
            if (at && at->size == at->dims[1])
                at = fr_reshape(at, &(int64_t){-1}, 1);
            y = fr__scatter(to, at, in_three(u, axis, axis + 1), mode);
            y = fr_reshape(y, x->dims, x->ndim);
        }
        y = fr__leave(s, y);
    }
    fr__settle(3, all);
    return y;
}
