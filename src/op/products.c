/* products.c - sums of products made of views and of the engine of matrix products */
#include "op/products.h"

#include "core/scope.h"

/* ---- the one that the others are made of ------------------------------------------ */

/* x with n axes of size 1 put in before axis `at`. */
static fr_array *opened(fr_array *x, int at, int n)
{
    int axes[FR_MAX_NDIM];
    if (!x || x->ndim + n > FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "product: more than %d dimensions", FR_MAX_NDIM);
    for (int i = 0; i < n; i++)
        axes[i] = at + i;
    return fr_expand_dims(x, axes, n);
}

/* The last n axes of x summed, in x's dtype. */
static fr_array *sum_last(fr_array *x, int n)
{
    int axes[FR_MAX_NDIM], dtype = x->dtype;
    for (int i = 0; i < n; i++)
        axes[i] = -1 - i;
    fr_array *y = fr_sum(x, &(fr_reduce_options){.axes = axes, .naxes = n});
    return y ? fr__then(y, fr_astype(y, (fr_dtype)dtype)) : NULL;
}

static int64_t product_of(const int64_t *sizes, int n)
{
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        if (__builtin_mul_overflow(p, sizes[i], &p))
            return INT64_MAX;
    return p;
}

/* Whether tiles in registers pay. */
static bool worth_tiles(const fr_array *a, const fr_array *b, int nbatch, int nk)
{
    int64_t m = product_of(a->dims + nbatch, a->ndim - nbatch - nk),
            n = product_of(b->dims + nbatch, b->ndim - nbatch - nk),
            k = product_of(a->dims + a->ndim - nk, nk);
    return fr__has_tiles(a->dtype) && nk > 0 && a->size && b->size && m > 1 && n > 1 &&
           (double)m * (double)n * (double)k >= FR__SMALL_PRODUCT;
}

fr_array *fr__product(fr_array *a, fr_array *b, int nbatch, int nk)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    int rows = a->ndim - nbatch - nk, columns = b->ndim - nbatch - nk;
    if (worth_tiles(a, b, nbatch, nk)) {
        int axes[FR_MAX_NDIM]; /* [batch, columns, k] to [batch, k, columns] */
        for (int i = 0; i < b->ndim; i++)
            axes[i] = i < nbatch ? i : i < nbatch + nk ? i + columns : i - nk;
        fr_array *turned = fr_transpose(b, axes, b->ndim);
        return turned ? fr__then(turned, fr__contract(a, turned, nbatch, nk)) : NULL;
    }
    fr_array *x = opened(a, nbatch + rows, columns), *z = opened(b, nbatch, rows);
    fr_array *y = (fr_mul)(x, z);
    fr__discard(x);
    fr__discard(z);
    return y && nk ? fr__then(y, sum_last(y, nk)) : y;
}

/* ---- both of one dtype -------------------------------------------------------------- */

static int common_dtype(const fr_array *a, const fr_array *b)
{
    return (int)fr_promote((fr_dtype)a->dtype, (fr_dtype)b->dtype);
}

/* a * b, conjugated a, summed over the last axis. */
static fr_array *dot(fr_array *a, fr_array *b)
{
    fr_array *conjugate = fr_conjugate(a), *y = (fr_mul)(conjugate, b);
    fr__discard(conjugate);
    return y ? fr__then(y, fr_sum(y, &(fr_reduce_options){.axes = (int[]){-1}, .naxes = 1}))
             : NULL;
}

fr_array *fr_addmm(fr_array *c, fr_array *a, fr_array *b, double alpha, double beta)
{
    if (!fr__operands(3, (fr_array *[]){c, a, b}))
        return NULL;
    fr_array *y = (fr_matmul)(a, b), *z = NULL;
    if (!y)
        return NULL;
    char text[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    int dtype = common_dtype(y, c);
    if (!fr__is_float(dtype) && dtype != FR_COMPLEX64 &&
        (alpha != (int64_t)alpha || beta != (int64_t)beta))
        return fr__then(y, fr__fail(FR__E_TYPE, "addmm: %s is not scaled by fractions",
                                    fr__dtypes[dtype].name));
    int64_t shape[FR_MAX_NDIM];
    int ndim = fr_broadcast_shapes(2, (fr_array *[]){c, y}, shape);
    if (ndim < 0 || ndim != y->ndim ||
        memcmp(shape, y->dims, sizeof *shape * (size_t)ndim) != 0) {
        fr_error_clear();
        fr__fail(FR__E_VALUE, "addmm: c is %s, which does not broadcast to [%s]",
                 fr__shape_text(c, text), fr__dims_text(y->dims, y->ndim, want));
        return fr__then(y, NULL);
    }
    fr_array *from = fr_astype(c, (fr_dtype)dtype);
    y = fr__then(y, fr_astype(y, (fr_dtype)dtype));
    if (alpha != 1 && y) {
        fr_array *by = fr__number(alpha, dtype);
        y = fr__then(y, (fr_mul)(y, by));
        fr__discard(by);
    }
    if (beta != 1 && from) {
        fr_array *by = fr__number(beta, dtype);
        from = fr__then(from, (fr_mul)(from, by));
        fr__discard(by);
    }
    z = (fr_add)(y, from);
    fr__discard(y);
    fr__discard(from);
    return z;
}

fr_array *fr_outer(fr_array *a, fr_array *b)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    fr_array *x = fr_reshape(a, (int64_t[]){a->size, 1}, 2), *z = fr_reshape(b, &b->size, 1);
    fr_array *y = (fr_mul)(x, z);
    fr__discard(x);
    fr__discard(z);
    return y;
}

fr_array *fr_inner(fr_array *a, fr_array *b)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    if (!a->ndim || !b->ndim)
        return (fr_mul)(a, b);
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (a->dims[a->ndim - 1] != b->dims[b->ndim - 1])
        return fr__fail(FR__E_VALUE, "inner: the last axes of %s and %s differ",
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_dtype dtype = (fr_dtype)common_dtype(a, b);
    fr_array *x = fr_astype(a, dtype), *z = fr_astype(b, dtype);
    fr_array *y = fr__product(x, z, 0, 1);
    fr__discard(x);
    fr__discard(z);
    return y;
}

fr_array *fr_vdot(fr_array *a, fr_array *b)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (a->size != b->size)
        return fr__fail(FR__E_VALUE, "vdot: %s and %s have not as many elements",
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_array *x = fr_reshape(a, &a->size, 1), *z = fr_reshape(b, &b->size, 1);
    fr_array *y = dot(x, z);
    fr__discard(x);
    fr__discard(z);
    return y ? fr__then(y, fr_astype(y, (fr_dtype)common_dtype(a, b))) : NULL;
}

fr_array *fr_vecdot(fr_array *a, fr_array *b, int axis)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    int i = fr__axis(axis, a->ndim, "vecdot"),
        j = i < 0 ? -1 : fr__axis(axis, b->ndim, "vecdot");
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (j < 0)
        return NULL;
    if (a->dims[i] != b->dims[j])
        return fr__fail(FR__E_VALUE, "vecdot: axis %d of %s and of %s differ", axis,
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_array *x = fr_moveaxis(a, i, -1), *z = fr_moveaxis(b, j, -1);
    fr_array *y = dot(x, z);
    fr__discard(x);
    fr__discard(z);
    return y;
}

/* a as [a0, 1, a1, 1 ...], b as [1, b0, 1, b1 ...]; where a size is 1 its pair is one axis. */
fr_array *fr_kron(fr_array *a, fr_array *b)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    int64_t tall[FR_MAX_NDIM], wide[FR_MAX_NDIM], shape[FR_MAX_NDIM];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim, inner = 0;
    for (int d = 0; d < ndim; d++) {
        int64_t m = d < ndim - a->ndim ? 1 : a->dims[d - (ndim - a->ndim)],
                n = d < ndim - b->ndim ? 1 : b->dims[d - (ndim - b->ndim)];
        if (inner + 2 > FR_MAX_NDIM || __builtin_mul_overflow(m, n, &shape[d]))
            return fr__fail(FR__E_LIMIT, "kron: too many dimensions or elements");
        tall[inner] = m;
        wide[inner] = m == 1 ? n : 1;
        inner++;
        if (m != 1) {
            tall[inner] = 1;
            wide[inner++] = n;
        }
    }
    fr_array *x = fr_reshape(a, tall, inner), *z = fr_reshape(b, wide, inner);
    fr_array *y = (fr_mul)(x, z);
    fr__discard(x);
    fr__discard(z);
    return y ? fr__then(y, fr_reshape(y, shape, ndim)) : NULL;
}

/* ---- cross products ------------------------------------------------------------------- */

/* Element i along the last axis, where it has one. */
static fr_array *component(fr_array *x, int i)
{
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    if (!x || i >= x->dims[x->ndim - 1])
        return NULL;
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = x->dims[d];
    }
    start[x->ndim - 1] = i;
    count[x->ndim - 1] = 1;
    return fr_slice(x, start, step, count);
}

/* a[i] b[j] - a[j] b[i], a third element of either being 0 where there is none. */
static fr_array *determinant(fr_array *a, fr_array *b, int i, int j)
{
    fr_array *part[4] = {component(a, i), component(b, j), component(a, j), component(b, i)};
    fr_array *p = part[0] && part[1] ? (fr_mul)(part[0], part[1]) : NULL,
             *q = part[2] && part[3] ? (fr_mul)(part[2], part[3]) : NULL, *y;
    if (p && q)
        y = (fr_sub)(p, q);
    else if (q)
        y = fr_neg(q);
    else
        y = p ? p : (fr_sub)(part[0] ? part[0] : part[2], part[0] ? part[0] : part[2]);
    for (int k = 0; k < 4; k++)
        fr__discard(part[k]);
    if (y != p)
        fr__discard(p);
    fr__discard(q);
    return y;
}

fr_array *fr_cross(fr_array *a, fr_array *b, int axis)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    int i = fr__axis(axis, a->ndim, "cross"), j = i < 0 ? -1 : fr__axis(axis, b->ndim, "cross");
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (j < 0)
        return NULL;
    if (a->dims[i] < 2 || a->dims[i] > 3 || b->dims[j] < 2 || b->dims[j] > 3)
        return fr__fail(FR__E_VALUE,
                        "cross: axis %d of %s and %s is of neither 2 nor 3 elements", axis,
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_array *x = fr_moveaxis(a, i, -1), *z = fr_moveaxis(b, j, -1), *parts[3] = {0}, *y = NULL;
    fr_array *both =
        (fr_dtype)common_dtype(a, b) == FR_BOOL ? fr__fail(FR__E_TYPE, "cross: of bool") : x;
    for (int k = 0; both && k < 3; k++)
        parts[k] = determinant(x, z, (k + 1) % 3, (k + 2) % 3);
    if (parts[0] && parts[1] && parts[2]) {
        int64_t shape[FR_MAX_NDIM]; /* one that lacks an operand may be smaller */
        int ndim = fr_broadcast_shapes(3, parts, shape);
        for (int k = 0; k < 3 && ndim >= 0; k++)
            parts[k] = fr__then(parts[k], fr_broadcast_to(parts[k], shape, ndim));
        y = fr_concatenate(3, parts, -1);
    }
    fr_array *made[] = {x, z, parts[0], parts[1], parts[2]};
    for (int k = 0; k < FR__COUNT(made); k++)
        fr__discard(made[k]);
    return y ? fr__then(y, fr_moveaxis(y, -1, axis)) : NULL;
}

/* ---- tensordot ------------------------------------------------------------------------ */

/* x with the axes of `at` last, in that order; -1: wrong axes. */
static fr_array *with_last(fr_array *x, int n, const int *at)
{
    int axes[FR_MAX_NDIM], last[FR_MAX_NDIM], k = 0;
    uint64_t seen = 0;
    for (int i = 0; i < n; i++) {
        last[i] = fr__axis(at[i], x->ndim, "tensordot");
        if (last[i] < 0)
            return NULL;
        if (seen >> last[i] & 1)
            return fr__fail(FR__E_VALUE, "tensordot: axis %d is named twice", last[i]);
        seen |= (uint64_t)1 << last[i];
    }
    for (int d = 0; d < x->ndim; d++)
        if (!(seen >> d & 1))
            axes[k++] = d;
    for (int i = 0; i < n; i++)
        axes[k++] = last[i];
    return fr_transpose(x, axes, x->ndim);
}

fr_array *fr_tensordot(fr_array *a, fr_array *b, int n, const int *axes_a, const int *axes_b)
{
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (n < 0 || n > a->ndim || n > b->ndim)
        return fr__fail(FR__E_VALUE, "tensordot: over %d axes of %s and %s", n,
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_dtype dtype = (fr_dtype)common_dtype(a, b);
    fr_array *x = with_last(a, n, axes_a), *z = with_last(b, n, axes_b), *y = NULL;
    bool good = x && z;
    for (int i = 0; good && i < n; i++)
        good = x->dims[x->ndim - n + i] == z->dims[z->ndim - n + i];
    if (x && z && !good)
        fr__fail(FR__E_VALUE, "tensordot: the sizes of the axes of %s and %s differ",
                 fr__shape_text(a, ta), fr__shape_text(b, tb));
    x = good ? fr__then(x, fr_astype(x, dtype)) : x;
    z = good ? fr__then(z, fr_astype(z, dtype)) : z;
    if (good)
        y = fr__product(x, z, 0, n);
    fr__discard(x);
    fr__discard(z);
    return y;
}

/* ---- masked, gathered, segmented ------------------------------------------------------- */

/* x with its blocks scaled or left out. */
static fr_array *masked(fr_array *x, fr_array *mask, int block)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    bool good = mask->ndim >= 2;
    for (int d = 1; good && d <= 2; d++)
        good = mask->dims[mask->ndim - d] == (x->dims[x->ndim - d] + block - 1) / block;
    if (!good)
        return fr__fail(FR__E_VALUE, "block_masked_mm: a mask %s for blocks of %d of %s",
                        fr__shape_text(mask, ta), block, fr__shape_text(x, tb));
    fr_array *m = fr_repeat(mask, block, -1);
    m = m ? fr__then(m, fr_repeat(m, block, -2)) : NULL;
    for (int d = 0; m && d < m->ndim; d++) {
        step[d] = 1;
        count[d] = d < m->ndim - 2 ? m->dims[d] : x->dims[x->ndim - (m->ndim - d)];
    }
    m = m ? fr__then(m, fr_slice(m, start, step, count)) : NULL;
    if (mask->dtype != FR_BOOL) {
        m = m ? fr__then(m, fr_astype(m, (fr_dtype)x->dtype)) : NULL;
        return m ? fr__then(m, (fr_mul)(x, m)) : NULL;
    }
    fr_array *zero = fr__number(0, x->dtype);
    m = fr__then(m, (fr_where)(m, x, zero));
    fr__discard(zero);
    return m;
}

fr_array *fr_block_masked_mm(fr_array *a, fr_array *b, const fr_block_masks *masks)
{
    static const fr_block_masks none;
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    masks = masks ? masks : &none;
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    int block = masks->block_size ? masks->block_size : 64;
    if (block < 1 || a->ndim < 2 || b->ndim < 2)
        return fr__fail(FR__E_VALUE, "block_masked_mm: blocks of %d of %s and %s", block,
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_array *x = masks->lhs ? masked(a, masks->lhs, block) : fr_reshape(a, a->dims, a->ndim);
    fr_array *z = masks->rhs ? masked(b, masks->rhs, block) : fr_reshape(b, b->dims, b->ndim);
    fr_array *y = (fr_matmul)(x, z);
    fr__discard(x);
    fr__discard(z);
    return y && masks->out ? fr__then(y, masked(y, masks->out, block)) : y;
}

/* The matrices of x at indices into its leading dimensions; NULL: all. */
static fr_array *picked(fr_array *x, fr_array *indices)
{
    if (!indices)
        return fr_reshape(x, x->dims, x->ndim);
    int64_t shape[3] = {product_of(x->dims, x->ndim - 2), x->dims[x->ndim - 2],
                        x->dims[x->ndim - 1]};
    fr_array *flat = fr_reshape(x, shape, 3);
    return flat ? fr__then(flat, fr_take(flat, indices, 0)) : NULL;
}

fr_array *fr_gather_mm(fr_array *a, fr_array *b, fr_array *lhs, fr_array *rhs)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (!fr__operands(2, (fr_array *[]){a, b}))
        return NULL;
    if (a->ndim < 1 || b->ndim < 1)
        return fr__fail(FR__E_VALUE, "gather_mm: %s and %s: a number has no rows",
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    bool row = a->ndim == 1, column = b->ndim == 1;
    fr_array *x = opened(a, 0, row), *z = opened(b, 1, column);
    if (x && z && x->dims[x->ndim - 1] != z->dims[z->ndim - 2])
        fr__fail(FR__E_VALUE, "gather_mm: inner dimensions differ: a is %s, b is %s",
                 fr__shape_text(a, ta), fr__shape_text(b, tb));
    fr_array *p = x && !fr__failed() ? picked(x, lhs) : NULL,
             *q = z && !fr__failed() ? picked(z, rhs) : NULL, *y = (fr_matmul)(p, q);
    fr_array *made[] = {x, z, p, q};
    for (int k = 0; k < FR__COUNT(made); k++)
        fr__discard(made[k]);
    int gone[2] = {row ? -2 : -1, -1};
    return y && (row || column) ? fr__then(y, fr_squeeze(y, gone, row + column)) : y;
}

/* Element `at` of the last axis of segments as [..., 1, 1]. */
static fr_array *bound(fr_array *segments, int at)
{
    fr_array *s = component(segments, at);
    return s ? fr__then(s, opened(s, s->ndim, 1)) : NULL;
}

/* What is outside a segment counts as 0. */
fr_array *fr_segmented_mm(fr_array *a, fr_array *b, fr_array *segments)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (!fr__operands(3, (fr_array *[]){a, b, segments}))
        return NULL;
    if (a->ndim != 2 || b->ndim != 2 || a->dims[1] != b->dims[0])
        return fr__fail(FR__E_VALUE, "segmented_mm: %s and %s are no matrices to multiply",
                        fr__shape_text(a, ta), fr__shape_text(b, tb));
    if (segments->ndim < 1 || segments->dims[segments->ndim - 1] != 2)
        return fr__fail(FR__E_VALUE, "segmented_mm: segments are [..., 2], not %s",
                        fr__shape_text(segments, ta));
    if (!fr__is_int(segments->dtype))
        return fr__fail(FR__E_TYPE, "segmented_mm: segments are integers, not %s",
                        fr__shape_text(segments, ta));
    fr_array *k = fr_arange(0, (double)a->dims[1], 1, FR_INT64), *from = bound(segments, 0),
             *end = bound(segments, 1);
    fr_array *low = (fr_ge)(k, from), *high = (fr_lt)(k, end),
             *in = (fr_logical_and)(low, high), *zero = fr__number(0, a->dtype),
             *part = (fr_where)(in, a, zero), *y = (fr_matmul)(part, b);
    fr_array *made[] = {k, from, end, low, high, in, zero, part};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}

/* ---- convolution of vectors ------------------------------------------------------------ */

fr_array *fr_convolve(fr_array *a, fr_array *v, fr_convolve_mode mode)
{
    char ta[FR__SHAPE_TEXT], tb[FR__SHAPE_TEXT];
    if (!fr__operands(2, (fr_array *[]){a, v}))
        return NULL;
    if (a->ndim != 1 || v->ndim != 1 || !a->size || !v->size)
        return fr__fail(FR__E_VALUE, "convolve: wanted vectors, not %s and %s",
                        fr__shape_text(a, ta), fr__shape_text(v, tb));
    if (mode != FR_CONVOLVE_FULL && mode != FR_CONVOLVE_VALID && mode != FR_CONVOLVE_SAME)
        return fr__fail(FR__E_VALUE, "convolve: %d is no mode", (int)mode);
    fr_array *longer = a->size < v->size ? v : a, *shorter = longer == a ? v : a;
    int64_t n = shorter->size, all = n - 1, middle = all - all / 2, rest = all / 2, none = 0;
    bool full = mode == FR_CONVOLVE_FULL, same = mode == FR_CONVOLVE_SAME;
    fr_conv_options o = {.padding = full   ? &all
                                    : same ? &middle
                                           : &none,
                         .padding_after = full   ? &all
                                          : same ? &rest
                                                 : &none,
                         .flip = true};
    fr_array *x = fr_reshape(longer, (int64_t[]){1, longer->size, 1}, 3),
             *w = fr_reshape(shorter, (int64_t[]){1, n, 1}, 3);
    fr_array *y = x && w ? fr_conv(x, w, &o) : NULL;
    fr__discard(x);
    fr__discard(w);
    return y ? fr__then(y, fr_flatten(y, 0, -1)) : NULL;
}

/* ---- Walsh-Hadamard --------------------------------------------------------------------- */

/* The matrix of order n = 2^k: 1 where the bits that row and column share are even in number. */
static fr_array *hadamard(int64_t n, int dtype)
{
    int8_t *signs = fr__malloc((size_t)(n * n));
    if (!signs)
        return NULL;
    for (int64_t i = 0; i < n * n; i++)
        signs[i] = __builtin_parityll((uint64_t)(i / n) & (uint64_t)(i % n)) ? -1 : 1;
    fr_array *h = fr_from_data(signs, FR_INT8, (int64_t[]){n, n}, 2);
    fr__free(signs);
    return h ? fr__then(h, fr_astype(h, (fr_dtype)dtype)) : NULL;
}

/* The matrix is the Kronecker product of two smaller ones: n (p + q) products, n = p q. */
fr_array *fr_hadamard_transform(fr_array *x, double scale)
{
    char text[FR__SHAPE_TEXT];
    if (!fr__operands(1, &x))
        return NULL;
    int64_t n = x->ndim ? x->dims[x->ndim - 1] : 0, p = 1;
    if (n < 1 || n & (n - 1) || n > 1 << 20 || x->ndim + 1 > FR_MAX_NDIM)
        return fr__fail(FR__E_VALUE, "hadamard_transform: the last axis of %s is no power of 2",
                        fr__shape_text(x, text));
    while (p * p < n)
        p *= 2;
    int dtype = fr__is_float(x->dtype) ? x->dtype : FR_FLOAT32;
    fr_array *y = fr_astype(x, (fr_dtype)dtype), *left = hadamard(p, dtype),
             *right = hadamard(n / p, dtype), *by = fr__number(scale, dtype);
    y = y ? fr__then(y, fr_unflatten(y, -1, (int64_t[]){p, n / p}, 2)) : NULL;
    y = fr__then(y, (fr_matmul)(left, y));
    y = fr__then(y, (fr_matmul)(y, right));
    y = y ? fr__then(y, fr_flatten(y, -2, -1)) : NULL;
    y = fr__then(y, (fr_mul)(y, by));
    fr__discard(left);
    fr__discard(right);
    fr__discard(by);
    return y;
}
