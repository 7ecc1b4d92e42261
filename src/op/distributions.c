/* distributions.c - random numbers of many kinds, composed of uniform and normal ones
 *
 * Each function opens a scope for what it makes on the way and hands over its result.
 */
#include <math.h>

#include "core/scope.h"
#include "op/op.h"
#include "op/threefry.h"

/* The shape that was asked for, or the parameters'. 0 or -1. */
static int final_shape(const char *op, int n, fr_array *const *x, const int64_t *shape,
                       int *ndim, int64_t to[FR_MAX_NDIM])
{
    int64_t own[FR_MAX_NDIM];
    char want[FR__SHAPE_TEXT], have[FR__SHAPE_TEXT];
    int rank = fr_broadcast_shapes(n, x, own);
    if (rank < 0)
        return -1;
    bool given = *ndim >= 0;
    for (int d = 0; given && d < rank; d++) {
        int at = *ndim - rank + d;
        if (at < 0 || (own[d] != 1 && own[d] != shape[at]))
            return fr__fail_int(
                FR__E_VALUE, "%s: parameters of shape [%s] don't broadcast to [%s]", op,
                fr__dims_text(own, rank, have), fr__dims_text(shape, *ndim, want));
    }
    if (*ndim > FR_MAX_NDIM)
        return fr__fail_int(FR__E_LIMIT, "%s: %d dimensions", op, *ndim);
    *ndim = given ? *ndim : rank;
    for (int d = 0; d < *ndim; d++)
        to[d] = given ? shape[d] : own[d];
    return 0;
}

/* Both halves of a key, as results. 0 or -1. */
static int halves(fr_array *key, fr_array *half[2])
{
    char text[FR__SHAPE_TEXT];
    half[0] = half[1] = NULL;
    if (!fr__operands(1, &key))
        return -1;
    if (key->dtype != FR_UINT32 || key->ndim != 1 || key->dims[0] != 2)
        return fr__fail_int(FR__E_VALUE, "random_next: a key is uint32[2], not %s",
                            fr__shape_text(key, text));
    if (fr__done(key)) {
        uint32_t from[2], bits[4];
        if (fr_copy_out(key, from, sizeof from))
            return -1;
        for (uint32_t i = 0; i < 4; i++)
            bits[i] = fr__random_word(from, i, 4);
        for (int i = 0; i < 2; i++)
            half[i] = fr_from_data(bits + 2 * i, FR_UINT32, (int64_t[]){2}, 1);
    } else {
        fr_array *both = fr_random_split(key, 2);
        for (int64_t i = 0; both && i < 2; i++) {
            fr_array *row =
                fr_slice(both, (int64_t[]){i, 0}, (int64_t[]){1, 1}, (int64_t[]){1, 2});
            half[i] = fr__then(row, fr_reshape(row, (int64_t[]){2}, 1));
        }
        fr__discard(both);
    }
    if (half[0] && half[1])
        return 0;
    fr__discard(half[0]);
    fr__discard(half[1]);
    return -1;
}

fr_array *fr_random_next(fr_array **state)
{
    fr_array *half[2];
    if (halves(*state, half))
        return NULL;
    fr_free(*state);
    *state = fr_own(half[0]);
    return half[1];
}

fr_array *fr_random_next_slot(fr_array **slot)
{
    fr_array *half[2];
    if (halves(*slot, half))
        return NULL;
    *slot = half[0];
    return half[1];
}

/* ---- element by element ---------------------------------------------------------------- */

fr_array *fr_random_integers(fr_array *low, fr_array *high, const int64_t *shape, int ndim,
                             fr_dtype dtype, fr_array *key)
{
    fr_array *bounds[] = {low, high};
    int64_t to[FR_MAX_NDIM];
    if (!fr__operands(2, bounds))
        return NULL;
    if (!fr__is_int(dtype) && dtype != FR_BOOL)
        return fr__fail(FR__E_TYPE, "randint makes integers, not %s", fr_dtype_name(dtype));
    if (final_shape("randint", 2, bounds, shape, &ndim, to))
        return NULL;
    fr_scope *s = fr_scope_open();
    fr_array *from = fr_astype(low, FR_FLOAT32), *end = fr_astype(high, FR_FLOAT32);
    fr_array *u = fr_random_uniform(to, ndim, FR_FLOAT32, key);
    fr_array *y = fr_floor(fr_add(fr_mul(u, fr_sub(end, from)), from));
    y = fr_maximum(fr_minimum(y, fr_sub(end, 1.0)), from);
    /* narrow types keep the low bits */
    y = fr_astype(fr_astype(y, dtype == FR_UINT64 ? FR_UINT64 : FR_INT64), dtype);
    return fr__leave(s, y);
}

fr_array *fr_random_bernoulli(fr_array *p, const int64_t *shape, int ndim, fr_array *key)
{
    int64_t to[FR_MAX_NDIM];
    if (!fr__operands(1, &p) || final_shape("bernoulli", 1, &p, shape, &ndim, to))
        return NULL;
    fr_scope *s = fr_scope_open();
    return fr__leave(s, (fr_lt)(fr_random_uniform(to, ndim, FR_FLOAT32, key), p));
}

fr_array *fr_random_truncated_normal(fr_array *low, fr_array *high, const int64_t *shape,
                                     int ndim, fr_dtype dtype, fr_array *key)
{
    const double half = 0.70710678118654752;
    fr_array *bounds[] = {low, high};
    int64_t to[FR_MAX_NDIM];
    if (!fr__operands(2, bounds) ||
        final_shape("truncated_normal", 2, bounds, shape, &ndim, to))
        return NULL;
    fr_scope *s = fr_scope_open();
    fr_dtype in = dtype == FR_FLOAT64 ? FR_FLOAT64 : FR_FLOAT32;
    fr_array *from = fr_astype(low, in), *end = fr_astype(high, in);
    fr_array *a = fr_erf(fr_mul(from, half)), *b = fr_erf(fr_mul(end, half));
    fr_array *u = fr_astype(fr_random_uniform(to, ndim, dtype, key), in);
    fr_array *y = fr_mul(fr_erfinv(fr_add(fr_mul(u, fr_sub(b, a)), a)), 1.4142135623730951);
    return fr__leave(s, fr_astype(fr_maximum(fr_minimum(y, end), from), dtype));
}

fr_array *fr_random_gumbel(const int64_t *shape, int ndim, fr_dtype dtype, fr_array *key)
{
    fr_scope *s = fr_scope_open();
    fr_dtype in = dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 ? FR_FLOAT32 : dtype;
    fr_array *u = fr_random_uniform(shape, ndim, in, key);
    return fr__leave(s, fr_astype(fr_neg(fr_log(fr_neg(fr_log(u)))), dtype));
}

fr_array *fr_random_laplace(const int64_t *shape, int ndim, fr_dtype dtype, fr_array *key)
{
    fr_scope *s = fr_scope_open();
    fr_dtype in = dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 ? FR_FLOAT32 : dtype;
    double low = nextafterf(-1, 0); /* -1 itself would be minus infinity */
    fr_array *u = fr_add(fr_mul(fr_random_uniform(shape, ndim, in, key), 1 - low), low);
    return fr__leave(s, fr_astype(fr_mul(fr_sign(u), fr_log1p(fr_neg(fr_abs(u)))), dtype));
}

/* ---- one of several --------------------------------------------------------------------- */

/* The first place along an axis where x is largest, uint32. */
static fr_array *first_largest(fr_array *x, int axis)
{
    fr_reduce_options o = {.axes = &axis, .naxes = 1};
    if (x && !x->size) /* of none: fr_argmax refuses that */
        return fr_astype(fr_max(x, &o), FR_UINT32);
    return fr_argmax(x, &o);
}

/* So many draws from one distribution: u in the sums of probabilities so far, a number for a draw in
 * place of one for each logit. */
static fr_array *by_sums(fr_array *logits, const int64_t *shape, int ndim, fr_array *key)
{
    int64_t n = logits->size;
    int last = ndim, axis = 0;
    fr_reduce_options o = {.axes = &last, .naxes = 1};
    fr_array *row = fr_astype(fr_reshape(logits, &n, 1), FR_FLOAT32);
    fr_array *sums = fr_cumsum(fr_softmax(row, NULL), &(fr_scan_options){.axis = &axis});
    fr_array *u = fr_expand_dims(fr_random_uniform(shape, ndim, FR_FLOAT32, key), &last, 1);
    fr_array *below = fr_sum(fr_astype((fr_le)(sums, u), FR_UINT32), &o);
    return fr_minimum(below, fr_astype(fr_number_int(n - 1), FR_UINT32));
}

static bool one_distribution(const fr_array *logits, int axis)
{
    return logits->size == logits->dims[axis];
}

static int logits_axis(const char *op, const fr_array *logits, int axis)
{
    char text[FR__SHAPE_TEXT];
    axis = fr__axis(axis, logits->ndim, op);
    if (axis >= 0 && !logits->dims[axis])
        return fr__fail_int(FR__E_VALUE, "%s: axis %d of %s is empty", op, axis,
                            fr__shape_text(logits, text));
    return axis;
}

fr_array *fr_random_categorical(fr_array *logits, int axis, const int64_t *shape, int ndim,
                                fr_array *key)
{
    if (!fr__operands(1, &logits) || (axis = logits_axis("categorical", logits, axis)) < 0)
        return NULL;
    fr_scope *s = fr_scope_open();
    int64_t to[FR_MAX_NDIM];
    if (ndim < 0) {
        fr_array *g = fr_random_gumbel(logits->dims, logits->ndim, FR_FLOAT32, key);
        return fr__leave(s, first_largest((fr_add)(g, logits), axis));
    }
    int rank = ndim;
    fr_array *one = fr_max(logits, &(fr_reduce_options){.axes = &axis, .naxes = 1});
    if (!one || final_shape("categorical", 1, &one, shape, &rank, to))
        return fr__leave(s, NULL);
    if (one_distribution(logits, axis) && rank < FR_MAX_NDIM)
        return fr__leave(s, by_sums(logits, to, rank, key));
    if (rank == FR_MAX_NDIM)
        return fr__leave(s, fr__fail(FR__E_LIMIT, "categorical: %d dimensions", rank + 1));
    int place = rank + 1 - logits->ndim + axis; /* so that logits broadcast as they stand */
    for (int d = rank; d > place; d--)
        to[d] = to[d - 1];
    to[place] = logits->dims[axis];
    fr_array *g = fr_random_gumbel(to, rank + 1, FR_FLOAT32, key);
    return fr__leave(s, first_largest((fr_add)(g, logits), place));
}

fr_array *fr_random_categorical_samples(fr_array *logits, int axis, int64_t samples,
                                        fr_array *key)
{
    if (!fr__operands(1, &logits) || (axis = logits_axis("categorical", logits, axis)) < 0)
        return NULL;
    if (samples < 0 || logits->ndim == FR_MAX_NDIM)
        return fr__fail(FR__E_VALUE, "categorical: %lld samples of %d dimensions",
                        (long long)samples, logits->ndim);
    fr_scope *s = fr_scope_open();
    int64_t to[FR_MAX_NDIM];
    int end = logits->ndim;
    if (one_distribution(logits, axis)) {
        for (int d = 0; d < end - 1; d++)
            to[d] = 1;
        to[end - 1] = samples;
        return fr__leave(s, by_sums(logits, to, end, key));
    }
    for (int d = 0; d < end; d++)
        to[d] = logits->dims[d];
    to[end] = samples;
    fr_array *g = fr_random_gumbel(to, end + 1, FR_FLOAT32, key);
    return fr__leave(s, first_largest((fr_add)(g, fr_expand_dims(logits, &end, 1)), axis));
}

/* ---- orders ------------------------------------------------------------------------------ */

fr_array *fr_random_permutation(int64_t n, fr_array *key)
{
    if (fr__failed())
        return NULL;
    if (n < 0 || n > UINT32_MAX)
        return fr__fail(FR__E_VALUE, "permutation of %lld numbers", (long long)n);
    fr_scope *s = fr_scope_open();
    return fr__leave(s, fr_argsort(fr_random_bits(&n, 1, key), 0));
}

fr_array *fr_random_shuffle(fr_array *x, int axis, fr_array *key)
{
    if (!fr__operands(1, &x) || (axis = fr__axis(axis, x->ndim, "permutation")) < 0)
        return NULL;
    fr_scope *s = fr_scope_open();
    if (!x->dims[axis])
        return fr__leave(s, x);
    return fr__leave(s, fr_take(x, fr_random_permutation(x->dims[axis], key), axis));
}

/* ---- several normal ones with given covariances ------------------------------------------ */

/* Factors L [..., n, n] of covariances L L^T, float32, composed of products, so that placeholders have
 * them, too; in an open scope. Scaled to correlations C, of which L is C times the inverse square root
 * of C + ridge: as good as a square root, and exactly singular where C is. The ridge is as large as
 * float32's rounding of C, which may have left an eigenvalue below 0. The root comes by Newton and
 * Schulz: from Y = A and Z = 1, T = (3 - Z Y) / 2, Y T and T Z, where Z gets the inverse root of an
 * eigenvalue a of A, at most 1, after log(1 / a) / log(2.25) rounds and a few. */
static fr_array *factors(fr_array *cov)
{
    enum { ROUNDS = 26 };
    int n = (int)fr__min64(cov->dims[cov->ndim - 1], INT32_MAX), row = -1, column = -2;
    fr_reduce_options both = {.axes = (int[]){-1, -2}, .naxes = 2, .keepdims = true};
    fr_array *a = fr_astype(cov, FR_FLOAT64), *one = fr_eye(n, n, 0, FR_FLOAT64);
    fr_array *variance = fr_diagonal(a, 0, -2, -1), *there = fr_gt(variance, 0.0);
    fr_array *size = fr_sqrt(fr_where(there, variance, 0.0));
    fr_array *scale = fr_where(there, fr_rsqrt(fr_where(there, variance, 1.0)), 0.0);
    a = (fr_mul)(a,
                 (fr_mul)(fr_expand_dims(scale, &row, 1), fr_expand_dims(scale, &column, 1)));
    fr_array *safe = (fr_add)(a, fr_mul(one, 1.2e-7 * n));
    fr_array *norm = fr_sqrt(fr_sum(fr_square(safe), &both));
    fr_array *y = (fr_div)(safe, norm), *z = one, *most = fr_mul(one, 1.5);
    for (int i = 0; i < ROUNDS; i++) {
        fr_array *t = (fr_sub)(most, fr_mul((fr_matmul)(z, y), 0.5));
        y = (fr_matmul)(y, t);
        z = (fr_matmul)(t, z);
    }
    y = (fr_div)((fr_matmul)(a, z), fr_sqrt(norm));
    y = (fr_mul)(y, fr_expand_dims(size, &row, 1));
    return fr_astype(y, FR_FLOAT32);
}

fr_array *fr_random_multivariate_normal(fr_array *mean, fr_array *cov, const int64_t *shape,
                                        int ndim, fr_array *key)
{
    const char *op = "multivariate_normal";
    fr_array *both[] = {mean, cov};
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    int64_t to[FR_MAX_NDIM];
    if (!fr__operands(2, both))
        return NULL;
    if (mean->ndim < 1 || cov->ndim < 2 ||
        cov->dims[cov->ndim - 1] != cov->dims[cov->ndim - 2] ||
        cov->dims[cov->ndim - 1] != mean->dims[mean->ndim - 1])
        return fr__fail(FR__E_VALUE, "%s: mean [..., n] and cov [..., n, n] don't fit: %s, %s",
                        op, fr__shape_text(mean, a), fr__shape_text(cov, b));
    fr_scope *s = fr_scope_open();
    int last = -1, lasts[] = {-1, -2};
    fr_array *root = cov->size ? factors(cov) : fr_astype(cov, FR_FLOAT32);
    fr_array *batch[] = {
        fr_any(mean, &(fr_reduce_options){.axes = &last, .naxes = 1}),
        root ? fr_any(root, &(fr_reduce_options){.axes = lasts, .naxes = 2}) : NULL,
    };
    if (!batch[0] || !batch[1] || final_shape(op, 2, batch, shape, &ndim, to))
        return fr__leave(s, NULL);
    if (ndim + 2 > FR_MAX_NDIM)
        return fr__leave(s, fr__fail(FR__E_LIMIT, "%s: %d dimensions", op, ndim + 2));
    int64_t n = mean->dims[mean->ndim - 1];
    to[ndim] = 1;
    to[ndim + 1] = n;
    fr_array *z = fr_random_normal(to, ndim + 2, FR_FLOAT32, key);
    to[ndim] = n;
    fr_array *y = fr_reshape((fr_matmul)(z, fr_swapaxes(root, -1, -2)), to, ndim + 1);
    return fr__leave(s, fr_astype((fr_add)(y, mean), FR_FLOAT32));
}
