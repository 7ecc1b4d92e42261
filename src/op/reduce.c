/* reduce.c - reductions over axes, and what is composed of them */
#include <math.h>

#include "core/scope.h"
#include "op/op.h"

/* The options' axes as a bit mask of x's; -1 with an error. */
int64_t fr__axis_mask(const char *op, const fr_array *x, const fr_reduce_options *o)
{
    if (!o || !o->axes)
        return x->ndim == 64 ? -1 : ((int64_t)1 << x->ndim) - 1;
    int64_t mask = 0;
    for (int i = 0; i < o->naxes; i++) {
        int a = fr__axis(o->axes[i], x->ndim, op);
        if (a < 0)
            return -1;
        if (mask >> a & 1)
            return fr__fail_int(FR__E_VALUE, "%s: axis %d is named twice", op, a);
        mask |= (int64_t)1 << a;
    }
    return mask;
}

static int64_t reduced_size(const fr_array *x, int64_t mask)
{
    int64_t n = 1;
    for (int i = 0; i < x->ndim; i++)
        n *= mask >> i & 1 ? x->dims[i] : 1;
    return n;
}

static fr_array *with_kept(fr_array *y, const fr_array *x, int64_t mask)
{
    int64_t shape[FR_MAX_NDIM];
    for (int i = 0; i < x->ndim; i++)
        shape[i] = mask >> i & 1 ? 1 : x->dims[i];
    return y ? fr__then(y, fr_reshape(y, shape, x->ndim)) : NULL;
}

static fr_array *reduce(int op, fr_array *x, int64_t mask, bool keepdims)
{
    const char *name = fr__ops[op].name;
    fr__dtypes_rule rule = fr__apply_rule(op, 1, &x);
    if (rule.compute == FR_DTYPE_COUNT)
        return NULL;
    bool parts = x->dtype == FR_COMPLEX64 && mask;
    char text[FR__SHAPE_TEXT];
    if ((op == FR__OP_REDUCE_max || op == FR__OP_REDUCE_min) && x->size == 0 &&
        reduced_size(x, mask) == 0)
        return fr__fail(FR__E_VALUE, "%s: no largest or smallest of no elements, in %s", name,
                        fr__shape_text(x, text));
    int64_t shape[FR_MAX_NDIM];
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (!(mask >> i & 1))
            shape[ndim++] = x->dims[i];
    fr_array *from = parts ? x : fr_astype(x, (fr_dtype)rule.compute), *y;
    if (!from)
        return NULL;
    if (parts) {
        y = fr__complex_reduce(op, x, mask);
    } else if (mask == 0) {
        y = from;
    } else {
        y = fr__node(op, rule.result, ndim, shape, 1, &from, 1);
        if (y)
            y->par[0] = mask;
        fr__discard(from);
    }
    return keepdims && y ? with_kept(y, x, mask) : y;
}

#define REDUCTION(name)                                                                        \
    fr_array *fr_##name(fr_array *x, const fr_reduce_options *o)                               \
    {                                                                                          \
        if (!fr__operands(1, &x))                                                              \
            return NULL;                                                                       \
        int64_t mask = fr__axis_mask(#name, x, o);                                             \
        fr_array *y =                                                                          \
            mask < 0 ? NULL : reduce(FR__OP_REDUCE_##name, x, mask, o && o->keepdims);         \
        fr__settle(1, &x);                                                                     \
        return y;                                                                              \
    }
REDUCTION(sum)
REDUCTION(prod)
REDUCTION(max)
REDUCTION(min)
REDUCTION(any)
REDUCTION(all)

/* ---- composed ----------------------------------------------------------------------- */

/* x as a float (or complex), a result of its own. */
static fr_array *as_float(fr_array *x)
{
    bool good = fr__is_float(x->dtype) || x->dtype == FR_COMPLEX64;
    return fr_astype(x, good ? (fr_dtype)x->dtype : FR_FLOAT32);
}

/* The same in float32 where it is of 16 bits, whose sums and squares may be beyond their range. */
static fr_array *as_wide_float(fr_array *x)
{
    bool half = x->dtype == FR_FLOAT16 || x->dtype == FR_BFLOAT16;
    return half ? fr_astype(x, FR_FLOAT32) : as_float(x);
}

/* What was made of such values, as they were. */
static fr_array *narrowed(fr_array *y, int dtype)
{
    bool half = dtype == FR_FLOAT16 || dtype == FR_BFLOAT16;
    return y && half ? fr__then(y, fr_astype(y, (fr_dtype)dtype)) : y;
}

/* |x|^2 */
static fr_array *squared(fr_array *x)
{
    if (x->dtype != FR_COMPLEX64)
        return fr_square(x);
    fr_array *re = fr_real(x), *im = fr_imag(x), *a = fr_square(re), *b = fr_square(im);
    fr_array *y = (fr_add)(a, b), *made[] = {re, im, a, b};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}

static fr_array *scaled(fr_array *x, double by)
{
    if (!x)
        return NULL;
    fr_array *f = fr__number(by, x->dtype);
    fr_array *y = (fr_mul)(x, f);
    fr__discard(f);
    return fr__then(x, y);
}

static fr_array *mean(fr_array *x, int64_t mask, bool keepdims)
{
    fr_array *f = as_wide_float(x);
    if (!f)
        return NULL;
    return scaled(fr__then(f, reduce(FR__OP_REDUCE_sum, f, mask, keepdims)),
                  1.0 / (double)reduced_size(x, mask));
}

fr_array *fr_mean(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    int dtype = x->dtype;
    int64_t mask = fr__axis_mask("mean", x, o);
    return mask < 0 ? NULL : narrowed(mean(x, mask, o && o->keepdims), dtype);
}

/* In float32 for types of 16 bits. */
static fr_array *variance(fr_array *x, const fr_reduce_options *o)
{
    int64_t mask = fr__axis_mask("var", x, o);
    if (mask < 0)
        return NULL;
    fr_array *m = mean(x, mask, true), *f = as_wide_float(x);
    fr_array *d = (fr_sub)(f, m);
    fr__discard(m);
    fr__discard(f);
    if (!d)
        return NULL;
    fr_array *sq = squared(d);
    fr__discard(d);
    if (!sq)
        return NULL;
    fr_array *s = fr__then(sq, reduce(FR__OP_REDUCE_sum, sq, mask, o && o->keepdims));
    double n = (double)reduced_size(x, mask) - (o ? o->ddof : 0);
    return scaled(s, n > 0 ? 1 / n : HUGE_VAL);
}

fr_array *fr_var(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    int dtype = x->dtype;
    return narrowed(variance(x, o), dtype);
}

fr_array *fr_std(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    int dtype = x->dtype;
    fr_array *v = variance(x, o);
    return v ? narrowed(fr__then(v, fr_sqrt(v)), dtype) : NULL;
}

/* m + log(sum(exp(x - m))), m the largest; where m is infinite it is the result's, not NaN. */
fr_array *fr_logsumexp(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t mask = fr__axis_mask("logsumexp", x, o);
    if (mask >= 0 && x->dtype == FR_COMPLEX64 && reduced_size(x, mask))
        return fr__complex_logsumexp(x, o);
    fr_array *f = mask < 0 ? NULL : as_float(x);
    if (!f)
        return NULL;
    if (reduced_size(x, mask) == 0) { /* the sum of nothing */
        fr_array *s = reduce(FR__OP_REDUCE_sum, f, mask, o && o->keepdims);
        fr__discard(f);
        return s ? fr__then(s, fr_log(s)) : NULL;
    }
    fr_array *m = reduce(FR__OP_REDUCE_max, f, mask, true);
    fr_array *zero = m ? fr__number(0, m->dtype) : NULL,
             *inf = m ? fr__number(HUGE_VAL, m->dtype) : NULL;
    fr_array *a = fr_abs(m), *below = (fr_lt)(a, inf);
    fr_array *near = (fr_where)(below, m, zero), *shift = fr_stop_gradient(near);
    fr_array *d = (fr_sub)(f, shift), *e = fr_exp(d);
    fr_array *s = e ? reduce(FR__OP_REDUCE_sum, e, mask, true) : NULL;
    fr_array *l = fr_log(s), *y = (fr_add)(l, shift);
    fr_array *made[] = {f, m, zero, inf, a, below, near, shift, d, e, s, l};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    if (y && !(o && o->keepdims)) {
        int64_t shape[FR_MAX_NDIM];
        int ndim = 0;
        for (int i = 0; i < x->ndim; i++)
            if (!(mask >> i & 1))
                shape[ndim++] = x->dims[i];
        y = fr__then(y, fr_reshape(y, shape, ndim));
    }
    return y;
}

fr_array *fr_softmax(fr_array *x, const fr_reduce_options *o)
{
    if (!fr__operands(1, &x))
        return NULL;
    int64_t mask = fr__axis_mask("softmax", x, o);
    if (mask >= 0 && x->dtype == FR_COMPLEX64 && reduced_size(x, mask))
        return fr__complex_softmax(x, o);
    fr_array *f = mask < 0 ? NULL : as_float(x);
    if (!f)
        return NULL;
    if (x->size == 0)
        return f;
    fr_array *m = reduce(FR__OP_REDUCE_max, f, mask, true);
    if (m) /* whatever is subtracted, the result and its derivatives are the same */
        m = fr__then(m, fr_stop_gradient(m));
    fr_array *d = (fr_sub)(f, m), *e = fr_exp(d);
    fr_array *s = e ? reduce(FR__OP_REDUCE_sum, e, mask, true) : NULL, *r = NULL, *y;
    if (s && fr__dsize(f->dtype) >= 4) { /* 1 <= s: a division a row, here and in derivatives */
        r = fr_reciprocal(s);
        y = (fr_mul)(e, r);
    } else {
        y = (fr_div)(e, s);
    }
    fr_array *made[] = {f, m, d, e, s, r};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}
