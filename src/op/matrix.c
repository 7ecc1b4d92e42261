/* matrix.c - diagonals, triangles, and matrices made of them
 *
 * What tells the triangles apart is a comparison of two counters, made where it is used.
 */
#include "core/scope.h"
#include "op/op.h"

static bool has_matrix(const char *op, const fr_array *x)
{
    char text[FR__SHAPE_TEXT];
    if (x->ndim >= 2)
        return true;
    fr__fail(FR__E_VALUE, "%s: %s has fewer than two dimensions", op, fr__shape_text(x, text));
    return false;
}

/* A matrix lies row by row: its diagonal is every (columns + 1)th element. */
fr_array *fr_diagonal(fr_array *x, int offset, int axis1, int axis2)
{
    if (!fr__operands(1, &x) || !has_matrix("diagonal", x))
        return NULL;
    int a = fr__axis(axis1, x->ndim, "diagonal"),
        b = a < 0 ? -1 : fr__axis(axis2, x->ndim, "diagonal");
    if (b < 0)
        return NULL;
    if (a == b)
        return fr__fail(FR__E_VALUE, "diagonal: axis %d is named twice", a);
    int axes[FR_MAX_NDIM], last = x->ndim - 2;
    int64_t start[FR_MAX_NDIM], step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    for (int d = 0, i = 0; d < x->ndim; d++) {
        if (d == a || d == b)
            continue;
        axes[i] = d;
        start[i] = 0;
        step[i] = 1;
        count[i++] = x->dims[d];
    }
    axes[last] = a;
    axes[last + 1] = b;
    int64_t rows = x->dims[a], columns = x->dims[b];
    int64_t high = rows < columns - offset ? rows : columns - offset,
            wide = rows + offset < columns ? rows + offset : columns;
    count[last] = offset >= 0 ? (high > 0 ? high : 0) : (wide > 0 ? wide : 0);
    start[last] = !count[last] ? 0 : offset >= 0 ? offset : -(int64_t)offset * columns;
    step[last] = columns + 1;
    fr_array *y = fr_transpose(x, axes, x->ndim);
    y = y ? fr__then(y, fr_flatten(y, -2, -1)) : NULL;
    return y ? fr__then(y, fr_slice(y, start, step, count)) : NULL;
}

static fr_array *with_diagonal(fr_array *x, int k)
{
    int64_t n = x->dims[0], side = n + (k < 0 ? -(int64_t)k : k), all,
            start = k < 0 ? -(int64_t)k * side : k, step = side + 1;
    if (__builtin_mul_overflow(side, side, &all))
        return fr__fail(FR__E_LIMIT, "diag: more elements than memory can address");
    fr_array *y = fr_zeros(&all, 1, (fr_dtype)x->dtype);
    if (y && n)
        y = fr__then(y, fr_slice_update(y, x, &start, &step, &n));
    return y ? fr__then(y, fr_reshape(y, (int64_t[]){side, side}, 2)) : NULL;
}

fr_array *fr_diag(fr_array *x, int k)
{
    char text[FR__SHAPE_TEXT];
    if (!fr__operands(1, &x))
        return NULL;
    if (x->ndim == 1)
        return with_diagonal(x, k);
    if (x->ndim == 2)
        return fr_diagonal(x, k, 0, 1);
    return fr__fail(FR__E_VALUE, "diag: wanted a vector or a matrix, not %s",
                    fr__shape_text(x, text));
}

fr_array *fr_matrix_trace(fr_array *x, int offset, int axis1, int axis2)
{
    if (!fr__operands(1, &x) || !has_matrix("trace", x))
        return NULL;
    fr_array *d = fr_diagonal(x, offset, axis1, axis2);
    return d ? fr__then(d, fr_sum(d, &(fr_reduce_options){.axes = (int[]){-1}, .naxes = 1}))
             : NULL;
}

typedef fr_array *comparison(fr_array *x, fr_array *y);

/* Where column `compared to` row + k, [n, m]. */
static fr_array *compared(comparison *compare, int64_t n, int64_t m, int64_t k)
{
    fr_dtype dtype = fr__max64(n, m) < INT32_MAX / 4 ? FR_INT32 : FR_INT64;
    fr_array *column = fr_arange(0, (double)m, 1, dtype),
             *row = fr_arange((double)k, (double)n + (double)k, 1, dtype);
    row = row ? fr__then(row, fr_reshape(row, (int64_t[]){n, 1}, 2)) : NULL;
    fr_array *y = compare(column, row);
    fr__discard(column);
    fr__discard(row);
    return y;
}

static fr_array *made_of(comparison *compare, const char *op, int64_t n, int64_t m, int k,
                         fr_dtype dtype)
{
    if (fr__failed())
        return NULL;
    if (n < 0 || m < 0)
        return fr__fail(FR__E_VALUE, "%s: %lld rows, %lld columns", op, (long long)n,
                        (long long)m);
    fr_array *y = compared(compare, n, m, k);
    return y ? fr__then(y, fr_astype(y, dtype)) : NULL;
}

fr_array *fr_tri(int64_t n, int64_t m, int k, fr_dtype dtype)
{
    return made_of((fr_le), "tri", n, m, k, dtype);
}

fr_array *fr_eye(int64_t n, int64_t m, int k, fr_dtype dtype)
{
    return made_of((fr_eq), "eye", n, m, k, dtype);
}

static fr_array *triangle(comparison *compare, const char *op, fr_array *x, int k)
{
    if (!fr__operands(1, &x) || !has_matrix(op, x))
        return NULL;
    fr_array *in = compared(compare, x->dims[x->ndim - 2], x->dims[x->ndim - 1], k);
    fr_array *zero = in ? fr__number(0, x->dtype) : NULL;
    fr_array *y = (fr_where)(in, x, zero);
    fr__discard(in);
    fr__discard(zero);
    return y;
}

fr_array *fr_tril(fr_array *x, int k) { return triangle((fr_le), "tril", x, k); }
fr_array *fr_triu(fr_array *x, int k) { return triangle((fr_ge), "triu", x, k); }
