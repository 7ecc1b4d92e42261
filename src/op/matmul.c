/* matmul.c - matrix products
 *
 * Of floats and small integers, large enough: CONTRACT, by tiles in registers. Everything else as a sum of products,
 * a[..., m, k, 1] * b[..., 1, k, n] summed over k: fused, so the product is never stored, and right
 * for every dtype, layout and batch; for one row or one column it is as fast as memory.
 */
#include "core/place.h"
#include "core/scope.h"
#include "op/attention.h"
#include "op/view.h"

fr_array *fr__contract(fr_array *a, fr_array *b, int nbatch, int nk)
{
    int64_t shape[FR_MAX_NDIM];
    int rows = a->ndim - nbatch - nk, columns = b->ndim - nbatch - nk,
        n = nbatch + rows + columns;
    if (n > FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "matmul: %d dimensions, the most is %d", n, FR_MAX_NDIM);
    memcpy(shape, a->dims, sizeof *shape * (size_t)(nbatch + rows));
    memcpy(shape + nbatch + rows, b->dims + nbatch + nk, sizeof *shape * (size_t)columns);
    fr_array *y = fr__node(FR__OP_CONTRACT, a->dtype, n, shape, 2, (fr_array *[]){a, b}, 2);
    if (y) {
        y->par[0] = nbatch;
        y->par[1] = nk;
    }
    return y;
}

bool fr__has_tiles(int dtype)
{
    bool small = fr__dtypes[dtype].size <= 2 && dtype != FR_BOOL;
    return fr__is_float(dtype) ||
           (small && fr__place_of_stream(fr_stream_current().id) == FR__HOST);
}

static bool wants_tiles(const fr_array *a, const fr_array *b, int dtype)
{
    if (!fr__has_tiles(dtype) || a->ndim < 2 || b->ndim < 2 || !a->size || !b->size)
        return false;
    int64_t m = a->dims[a->ndim - 2], k = a->dims[a->ndim - 1], n = b->dims[b->ndim - 1];
    return m > 1 && n > 1 && m * n * k >= FR__SMALL_PRODUCT;
}

/* x with the leading dimensions `batch`, as a result. */
static fr_array *with_batch(fr_array *x, int nbatch, const int64_t *batch)
{
    int64_t shape[FR_MAX_NDIM];
    memcpy(shape, batch, sizeof *shape * (size_t)nbatch);
    for (int d = 0; d < 2; d++)
        shape[nbatch + d] = x->dims[x->ndim - 2 + d];
    return fr_broadcast_to(x, shape, nbatch + 2);
}

/* The leading dimensions of both, broadcast; -1: they don't, with an error. */
static int common_batch(const fr_array *a, const fr_array *b, int64_t *batch)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    int n = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;
    for (int d = 0; d < n; d++) {
        int i = d - (n - (a->ndim - 2)), j = d - (n - (b->ndim - 2));
        int64_t x = i < 0 ? 1 : a->dims[i], y = j < 0 ? 1 : b->dims[j];
        if (x != y && x != 1 && y != 1)
            return fr__fail_int(FR__E_VALUE,
                                "matmul: leading dimensions don't broadcast: %s with %s",
                                fr__shape_text(a, ta), fr__shape_text(b, tb));
        batch[d] = x == 1 ? y : x;
    }
    return n;
}

/* One matrix for all of a batch: the batch counts as more rows, so that the gradient of b is one
 * product, not one for each and their sum. */
static fr_array *with_one(fr_array *a, fr_array *b, int dtype)
{
    if (a->dtype == dtype && b->dtype == dtype && b->ndim == 2) /* most often */
        return fr__contract(a, b, 0, 1);
    fr_array *x = fr_astype(a, (fr_dtype)dtype), *z = fr_astype(b, (fr_dtype)dtype);
    int64_t shape[FR_MAX_NDIM];
    int more = z ? z->ndim - a->ndim : 0; /* leading sizes 1 of b alone: the result's too */
    if (x && more > 0) {
        for (int d = 0; d < z->ndim; d++)
            shape[d] = d < more ? 1 : a->dims[d - more];
        x = fr__then(x, fr_reshape(x, shape, z->ndim));
    }
    if (z)
        z = fr__then(z, fr_reshape(z, z->dims + z->ndim - 2, 2));
    fr_array *y = x && z ? fr__contract(x, z, 0, 1) : NULL;
    fr__discard(x);
    fr__discard(z);
    return y;
}

static fr_array *tiled(fr_array *a, fr_array *b, int dtype)
{
    int64_t each = 1;
    for (int d = 0; d < b->ndim - 2; d++)
        each *= b->dims[d];
    if (each == 1)
        return with_one(a, b, dtype);
    int64_t batch[FR_MAX_NDIM];
    int n = common_batch(a, b, batch);
    if (n < 0)
        return NULL;
    fr_array *x = fr_astype(a, (fr_dtype)dtype), *z = fr_astype(b, (fr_dtype)dtype);
    x = x ? fr__then(x, with_batch(x, n, batch)) : NULL;
    z = z ? fr__then(z, with_batch(z, n, batch)) : NULL;
    fr_array *y = x && z ? fr__contract(x, z, n, 1) : NULL;
    fr__discard(x);
    fr__discard(z);
    return y;
}

/* A vector that meets a large matrix is read again for each of its rows or columns: not with steps
 * that lead far. */
static fr_array *side_by_side(fr_array *x, const fr_array *matrix)
{
    enum { LARGE = 1 << 15, FEW = 16 };
    bool far = x && (fr__done(x) ? !fr__is_contiguous(x->ndim, x->dims, fr__strides(x))
                                 : fr__ops[x->op].class == FR__VIEW);
    if (!far || matrix->size < LARGE || x->size > matrix->size / FEW)
        return x;
    fr_array *y = fr__node(FR__OP_COPY, x->dtype, x->ndim, x->dims, 1, &x, 1);
    if (y)
        y->par[0] = 1;
    return fr__then(x, y);
}

/* x as [..., 1] or [..., 1, ...]: one more axis at `at`, counted from the end. */
static fr_array *with_axis(fr_array *x, int at) { return x ? fr_expand_dims(x, &at, 1) : NULL; }

static int common_dtype(const fr_array *a, const fr_array *b)
{
    return a->dtype == b->dtype ? a->dtype
                                : (int)fr_promote((fr_dtype)a->dtype, (fr_dtype)b->dtype);
}

static int check(const fr_array *a, const fr_array *b)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (!a->ndim || !b->ndim)
        return fr__fail_int(FR__E_VALUE,
                            "matmul: %s and %s: a number has no rows; use multiply",
                            fr__shape_text(a, ta), fr__shape_text(b, tb));
    int64_t ka = a->dims[a->ndim - 1], kb = b->dims[b->ndim > 1 ? b->ndim - 2 : 0];
    if (ka != kb)
        return fr__fail_int(
            FR__E_VALUE, "matmul: inner dimensions differ: a is %s, b is %s (%lld != %lld)",
            fr__shape_text(a, ta), fr__shape_text(b, tb), (long long)ka, (long long)kb);
    int dtype = common_dtype(a, b);
    if (dtype == FR_BOOL)
        return fr__fail_int(FR__E_TYPE, "matmul: no product of %s", fr__dtypes[dtype].name);
    return 0;
}

fr_array *(fr_matmul)(fr_array *a, fr_array *b)
{
    fr_array *both[2] = {a, b};
    if (!fr__operands(2, both))
        return NULL;
    fr_array *y = NULL;
    if (!check(a, b) && (a->dtype == FR_COMPLEX64 || b->dtype == FR_COMPLEX64)) {
        y = fr__complex_matmul(a, b);
    } else if (!fr__failed()) {
        int dtype = common_dtype(a, b);
        if (wants_tiles(a, b, dtype)) {
            bool softmax = a->op == FR__OP_mul || a->op == FR__OP_div || a->op == FR__OP_CAST;
            y = softmax ? fr__attention_written_out(a, b) : NULL;
            if (!y && !fr__failed())
                y = tiled(a, b, dtype);
            fr__settle(2, both);
            return y;
        }
        bool row = a->ndim == 1, column = b->ndim == 1;
        int gone[2] = {column ? -1 : -2, -2}, ngone = row + column;
        fr_array *x = fr_astype(a, (fr_dtype)dtype), *z = fr_astype(b, (fr_dtype)dtype);
        if (row || a->dims[a->ndim - 2] == 1)
            x = side_by_side(x, b);
        if (column || b->dims[b->ndim - 1] == 1)
            z = side_by_side(z, a);
        if (row)
            x = fr__then(x, with_axis(x, 0));
        if (column)
            z = fr__then(z, with_axis(z, -1));
        x = fr__then(x, with_axis(x, -1));
        z = fr__then(z, with_axis(z, -3));
        y = (fr_mul)(x, z);
        fr__discard(x);
        fr__discard(z);
        y = fr__then(y, fr_sum(y, &(fr_reduce_options){.axes = (int[]){-2}, .naxes = 1}));
        y = fr__then(y, fr_astype(y, (fr_dtype)dtype));
        if (ngone)
            y = fr__then(y, fr_squeeze(y, gone, ngone));
    }
    fr__settle(2, both);
    return y;
}
