/* scatter_rules.c - derivatives and batches of TAKE's and SCATTER's kind
 *
 * needs   a node, its inputs, its cotangent or what they are in a batch; an open scope
 * gives   as rules.c and batch.c: nodes made by constructors
 *
 * The gradient of a gather is a scatter that adds, and of that a gather again. Where a gather takes one
 * element of each row, it is a comparison, which fuses with what comes after.
 */
#include "core/scope.h"
#include "xform/rules.h"

/* par: of such a TAKE (op/gather.c). */
static fr_array *one_of_each_row(const int64_t *par, fr_array *g, fr_array *x,
                                 fr_array *indices)
{
    int64_t n = par[1], after = par[2], rows[3] = {x->size / (n * after), 1, after};
    fr_array *number = fr_arange(0, (double)x->size, 1, FR_INT64);
    number = fr_reshape(number, (int64_t[]){rows[0], n, after}, 3);
    fr_array *here = fr_eq(number, fr_reshape(indices, rows, 3));
    return fr_reshape(fr_where(here, fr_reshape(g, rows, 3), 0), x->dims, x->ndim);
}

fr_array *fr__take_vjp(fr_array *y, fr_array *g, fr_array *x, fr_array *indices)
{
    int axis = (int)y->par[0];
    int64_t before = 1, after = 1, n = x->dims[axis], k = indices->size;
    for (int d = 0; d < axis; d++)
        before *= x->dims[d];
    for (int d = axis + 1; d < x->ndim; d++)
        after *= x->dims[d];
    if (!g->size)
        return NULL;
    if (y->npar == 3)
        return one_of_each_row(y->par, g, x, indices);
    fr_array *at = fr_reshape(fr__in_range(indices, n), &k, 1);
    fr_array *zeros = fr_zeros((int64_t[]){before, n, after}, 3, (fr_dtype)g->dtype);
    g = fr_reshape(g, (int64_t[]){before, k, after}, 3);
    fr_array *sum = fr__scatter(zeros, at, g, FR_SCATTER_ADD);
    return fr_reshape(sum, x->dims, x->ndim);
}

/* ---- SCATTER: x [outer, n, inner], u [outer, k, inner], at [k] or as u ------------------------- */

/* What stands where the updates went, the nearest where they went nowhere. */
static fr_array *read_at(fr_array *x, fr_array *at)
{
    return at->ndim == 1 ? fr_take(x, at, 1) : fr_take_along_axis(x, at, 1);
}

static fr_array *in_range_of(fr_array *at,
                             int64_t n) /* written at all; broadcasts to u's shape */
{
    fr_array *good = fr_logical_and(fr_ge(at, (long long)-n), fr_lt(at, (long long)n));
    return at->ndim == 1 ? fr_reshape(good, (int64_t[]){at->size, 1}, 2) : good;
}

/* True where an update is the last one of its place; broadcasts to u's shape. */
static fr_array *is_last(fr_array *at, const fr_array *x, const fr_array *u)
{
    bool own = at->ndim == 3;
    int64_t outer = own ? x->dims[0] : 1, inner = own ? x->dims[2] : 1;
    fr_array *none = fr_full((int64_t[]){outer, x->dims[1], inner}, 3, -1, FR_INT64);
    fr_array *count = fr_arange(0, (double)u->dims[1], 1, FR_INT64);
    count = fr_reshape(count, (int64_t[]){1, u->dims[1], 1}, 3);
    count = fr_broadcast_to(count, (int64_t[]){outer, u->dims[1], inner}, 3);
    fr_array *last = fr__scatter(none, at, count, FR_SCATTER_SET);
    return last ? fr_eq(read_at(last, at), count) : NULL;
}

/* g times x and all other updates of the place; right where some of them are 0. */
static fr_array *mul_vjp(fr_array *y, fr_array *g, fr_array *const *in)
{
    fr_array *zero = fr_eq(in[2], 0), *others = fr_where(zero, 1, in[2]);
    fr_array *none = fr_zeros(in[0]->dims, 3, FR_INT32);
    fr_array *zeros = fr__scatter(none, in[1], fr_astype(zero, FR_INT32), FR_SCATTER_ADD);
    fr_array *product = fr__scatter(in[0], in[1], others, FR_SCATTER_MUL);
    fr_array *alone = fr_where(fr_eq(zeros, 1), fr_mul(g, product), 0);
    return fr_where(zero, read_at(alone, in[1]), fr_div(read_at(fr_mul(g, y), in[1]), in[2]));
}

/* Those that are what came out share the cotangent. */
static void best_vjp(fr_array *y, fr_array *g, fr_array *const *in, fr_array **to)
{
    fr_array *kept = fr_eq(in[0], y), *won = fr_eq(in[2], read_at(y, in[1]));
    fr_array *count = fr_astype(kept, (fr_dtype)y->dtype);
    won = fr_logical_and(won, in_range_of(in[1], in[0]->dims[1]));
    fr_array *ones = fr_astype(won, (fr_dtype)y->dtype);
    count = fr__scatter(count, in[1], ones, FR_SCATTER_ADD);
    g = fr_div(g, count);
    to[0] = fr_where(kept, g, 0);
    to[2] = fr_where(won, read_at(g, in[1]), 0);
}

void fr__scatter_vjp(fr_array *y, fr_array *g, fr_array *const *in, fr_array **to)
{
    int mode = (int)y->par[0];
    fr_array *at = in[1], *good = in_range_of(at, in[0]->dims[1]), *of_updates = NULL;
    switch (mode) {
    case FR_SCATTER_SET:
        to[0] = fr__scatter(g, at, fr_broadcast_to(fr__number(0, y->dtype), in[2]->dims, 3),
                            FR_SCATTER_SET);
        good = fr_logical_and(good, is_last(at, in[0], in[2]));
        of_updates = read_at(g, at);
        break;
    case FR_SCATTER_ADD:
        to[0] = g;
        of_updates = read_at(g, at);
        break;
    case FR_SCATTER_MUL:
        to[0] = fr__scatter(g, at, in[2], mode);
        of_updates = mul_vjp(y, g, in);
        break;
    case FR_SCATTER_DIV:
        to[0] = fr__scatter(g, at, in[2], mode);
        of_updates = fr_neg(fr_div(read_at(fr_mul(g, y), at), in[2]));
        break;
    default: best_vjp(y, g, in, to); return;
    }
    to[2] = fr_where(good, of_updates, 0);
}

/* ---- in a batch ---------------------------------------------------------------------------------- */

/* [size, outer, m, inner] as [outer, size * m, inner]. */
static fr_array *side_by_side(fr_array *x)
{
    fr_array *turned = fr_moveaxis(x, 0, 1);
    return turned ? fr_reshape(turned,
                               (int64_t[]){x->dims[1], x->dims[0] * x->dims[2], x->dims[3]}, 3)
                  : NULL;
}

fr_array *fr__scatter_batch(fr_array *y, int64_t size, fr_array *const *in,
                            fr_array *const *batch)
{
    int mode = (int)y->par[0];
    int64_t outer = y->dims[0], n = y->dims[1], inner = y->dims[2], k = in[2]->dims[1];
    fr_array *x = fr__whole(in[0], batch[0], size), *u = fr__whole(in[2], batch[2], size),
             *at = in[1];
    if (at->ndim == 3) {
        at = fr__whole(at, batch[1], size);
        at = fr_reshape(at, (int64_t[]){size * outer, k, inner}, 3);
    }
    if (!batch[1] || in[1]->ndim == 3) { /* the batch is outer */
        x = fr_reshape(x, (int64_t[]){size * outer, n, inner}, 3);
        u = fr_reshape(u, (int64_t[]){size * outer, k, inner}, 3);
        x = fr__scatter(x, at, u, mode);
        return fr_reshape(x, (int64_t[]){size, outer, n, inner}, 4);
    }
    x = side_by_side(x);
    u = side_by_side(u);
    at = fr_astype(batch[1], FR_INT64);
    at = fr_where(fr_lt(at, 0), fr_add(at, (long long)n), at);
    fr_array *good = fr_logical_and(fr_ge(at, 0), fr_lt(at, (long long)n));
    fr_array *first = fr_mul(fr_arange(0, (double)size, 1, FR_INT64), (long long)n);
    at = fr_add(at, fr_reshape(first, (int64_t[]){size, 1}, 2));
    at = fr_reshape(fr_where(good, at, (long long)(size * n)), (int64_t[]){size * k}, 1);
    x = fr__scatter(x, at, u, mode);
    x = fr_reshape(x, (int64_t[]){outer, size, n, inner}, 4);
    return x ? fr_moveaxis(x, 1, 0) : NULL;
}
