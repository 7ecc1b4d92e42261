/* norm.c - norms of vectors and matrices that are sums, powers and extremes of magnitudes */
#include <math.h>

#include "core/scope.h"
#include "op/op.h"

static fr_reduce_options over(const int *axes, int n)
{
    return (fr_reduce_options){.axes = axes, .naxes = n, .keepdims = true};
}

/* The root of the sum of squares. */
static fr_array *root_of_squares(fr_array *size, const fr_reduce_options *o)
{
    fr_array *y = fr_square(size);
    y = y ? fr__then(y, fr_sum(y, o)) : NULL;
    return y ? fr__then(y, fr_sqrt(y)) : NULL;
}

static fr_array *powered(fr_array *x, double exponent) /* gives x back */
{
    fr_array *by = x ? fr__number(exponent, x->dtype) : NULL, *y = (fr_pow)(x, by);
    fr__discard(by);
    return fr__then(x, y);
}

static fr_array *of_vectors(fr_array *size, double ord, const int *axis)
{
    fr_reduce_options o = over(axis, 1);
    if (ord == 2)
        return root_of_squares(size, &o);
    if (isinf(ord))
        return ord > 0 ? fr_max(size, &o) : fr_min(size, &o);
    if (ord == 1)
        return fr_sum(size, &o);
    if (ord == 0) {
        fr_array *n = fr_count_nonzero(size, &o);
        return n ? fr__then(n, fr_astype(n, (fr_dtype)size->dtype)) : NULL;
    }
    fr_array *y = powered(fr_astype(size, (fr_dtype)size->dtype), ord);
    y = y ? fr__then(y, fr_sum(y, &o)) : NULL;
    return powered(y, 1 / ord);
}

/* Sums over one axis, the largest or smallest of them over the other. */
static fr_array *of_matrices(fr_array *size, double ord, const int axes[2])
{
    bool rows = isinf(ord);
    fr_reduce_options inner = over(rows ? axes + 1 : axes, 1),
                      outer = over(rows ? axes : axes + 1, 1);
    if (!rows && ord != 1 && ord != -1)
        return fr__fail(FR__E_VALUE,
                        ord == 2 || ord == -2
                            ? "norm: order %g of a matrix needs singular values, which are not "
                              "there yet"
                            : "norm: order %g is none of a matrix",
                        ord);
    fr_array *y = fr_sum(size, &inner);
    return y ? fr__then(y, ord > 0 ? fr_max(y, &outer) : fr_min(y, &outer)) : NULL;
}

fr_array *fr_norm(fr_array *x, const fr_norm_options *options)
{
    static const fr_norm_options none;
    const fr_norm_options *o = options ? options : &none;
    if (!fr__operands(1, &x))
        return NULL;
    int axes[FR_MAX_NDIM], n = o->axes ? o->naxes : x->ndim;
    for (int i = 0; i < n; i++)
        if ((axes[i] = o->axes ? fr__axis(o->axes[i], x->ndim, "norm") : i) < 0)
            return NULL;
    bool plain = o->kind == FR_NORM_2;
    if (n == 2 && axes[0] == axes[1])
        return fr__fail(FR__E_VALUE, "norm: axis %d is named twice", axes[0]);
    if ((n < 1 || n > 2) && !(plain && !o->axes))
        return fr__fail(FR__E_VALUE, "norm: over %d axes; of one or two", n);
    if (o->kind == FR_NORM_FROBENIUS && n != 2)
        return fr__fail(FR__E_VALUE, "norm: 'fro' is of matrices, not over %d axes", n);
    bool real = fr__is_float(x->dtype) || x->dtype == FR_COMPLEX64;
    fr_array *size = fr_astype(x, real ? (fr_dtype)x->dtype : FR_FLOAT32), *y = NULL;
    size = size ? fr__then(size, fr_abs(size)) : NULL;
    if (size && o->kind != FR_NORM_ORDER) {
        fr_reduce_options all = over(axes, n);
        y = root_of_squares(size, &all);
    } else if (size) {
        y = n == 1 ? of_vectors(size, o->order, axes) : of_matrices(size, o->order, axes);
    }
    fr__discard(size);
    return y && !o->keepdims && n ? fr__then(y, fr_squeeze(y, axes, n)) : y;
}
