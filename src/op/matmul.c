/* matmul.c - matrix products, as sums of products
 *
 * a[..., m, k, 1] * b[..., 1, k, n] summed over k: fused, so the product is never stored, and right for
 * every dtype, layout and batch. A kernel of its own with register tiles is to come.
 */
#include "core/scope.h"
#include "op/op.h"

/* x as [..., 1] or [..., 1, ...]: one more axis at `at`, counted from the end. */
static fr_array *with_axis(fr_array *x, int at) { return x ? fr_expand_dims(x, &at, 1) : NULL; }

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
    int dtype = (int)fr_promote((fr_dtype)a->dtype, (fr_dtype)b->dtype);
    if (dtype == FR_BOOL || dtype == FR_COMPLEX64)
        return fr__fail_int(FR__E_TYPE, "matmul: no product of %s", fr__dtypes[dtype].name);
    return 0;
}

fr_array *(fr_matmul)(fr_array *a, fr_array *b)
{
    fr_array *both[2] = {a, b};
    if (!fr__operands(2, both))
        return NULL;
    fr_array *y = NULL;
    if (!check(a, b)) {
        int dtype = (int)fr_promote((fr_dtype)a->dtype, (fr_dtype)b->dtype);
        bool row = a->ndim == 1, column = b->ndim == 1;
        int gone[2] = {column ? -1 : -2, -2}, ngone = row + column;
        fr_array *x = fr_astype(a, (fr_dtype)dtype), *z = fr_astype(b, (fr_dtype)dtype);
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
