/* complex.c - complex64, made of real operations on the parts
 *
 * needs   an operation with a complex64 among its promoted operands
 * gives   the same on real and imaginary parts, put together at the end
 *
 * Kernels know a complex number only as 64 bits: `real` and `imag` take it apart, `complex` puts it
 * together, and simplify removes what meets. So complex arithmetic is fused, differentiated and
 * batched as what it is made of. Where float32 parts would overflow or cancel on the way (quotients,
 * magnitudes, roots, logarithms, inverse functions) the steps between are float64.
 */
#include <math.h>

#include "core/scope.h"
#include "op/op.h"

/* ---- real steps: results of a scope that is open around all of it --------------------------- */

static fr_array *num(double v, int dtype) { return fr__number(v, dtype); }
static fr_array *like(const fr_array *x, double v) { return x ? num(v, x->dtype) : NULL; }
static fr_array *add(fr_array *x, fr_array *y) { return (fr_add)(x, y); }
static fr_array *sub(fr_array *x, fr_array *y) { return (fr_sub)(x, y); }
static fr_array *mul(fr_array *x, fr_array *y) { return (fr_mul)(x, y); }
static fr_array *quo(fr_array *x, fr_array *y) { return (fr_div)(x, y); }
static fr_array *by(fr_array *x, double v) { return mul(x, like(x, v)); }
static fr_array *choose(fr_array *m, fr_array *x, fr_array *y) { return (fr_where)(m, x, y); }
static fr_array *both(fr_array *x, fr_array *y) { return (fr_logical_and)(x, y); }
static fr_array *either(fr_array *x, fr_array *y) { return (fr_logical_or)(x, y); }
static fr_array *is_zero(fr_array *x) { return (fr_eq)(x, like(x, 0)); }
static fr_array *not_zero(fr_array *x) { return (fr_ne)(x, like(x, 0)); }
static fr_array *below_zero(fr_array *x) { return (fr_lt)(x, like(x, 0)); }
static fr_array *wide(fr_array *x) { return fr_astype(x, FR_FLOAT64); }
static fr_array *angle(fr_array *y, fr_array *x) { return (fr_arctan2)(y, x); }

/* True where the sign bit is set: of -0 too, which the branch cuts need. */
static fr_array *signed_bit(fr_array *x)
{
    fr_array *one = like(x, 1);
    return below_zero(choose(is_zero(x), quo(one, x), x));
}

/* |x| with the sign of y. */
static fr_array *with_sign(fr_array *x, fr_array *y)
{
    fr_array *size = fr_abs(x);
    return choose(signed_bit(y), fr_neg(size), size);
}

/* ---- a complex number as two arrays --------------------------------------------------------- */

typedef struct {
    fr_array *re, *im; /* im NULL: a real number */
} pair;

static pair parts(fr_array *x)
{
    if (x->dtype != FR_COMPLEX64) {
        if (x->op != FR__OP_NUMBER || x->ndim)
            return (pair){fr_astype(x, FR_FLOAT32), NULL};
        double v = (double)x->par[0]; /* a literal stays one, whose value may vary */
        if (fr__is_float(x->dtype))
            memcpy(&v, x->par, sizeof v);
        return (pair){num(v, FR_FLOAT32), NULL};
    }
    if (x->op == FR__OP_NUMBER && !x->ndim) {
        float part[2];
        memcpy(part, x->par, sizeof part);
        bool real = part[1] == 0 && !signbit(part[1]);
        return (pair){num((double)part[0], FR_FLOAT32),
                      real ? NULL : num((double)part[1], FR_FLOAT32)};
    }
    return (pair){fr_real(x), fr_imag(x)};
}

static pair full(pair x) { return x.im ? x : (pair){x.re, like(x.re, 0)}; }
static pair wider(pair x)
{
    x = full(x);
    return (pair){wide(x.re), wide(x.im)};
}
static fr_array *joined(pair x)
{
    x = full(x);
    return (fr_complex)(x.re, x.im);
}

static pair turned(pair x) { return (pair){fr_neg(x.im), x.re}; }      /* i x */
static pair turned_back(pair x) { return (pair){x.im, fr_neg(x.re)}; } /* -i x */
static pair scaled(pair x, double v) { return (pair){by(x.re, v), x.im ? by(x.im, v) : NULL}; }
static pair times(pair x, fr_array *y) { return (pair){mul(x.re, y), mul(x.im, y)}; }

static pair sum(pair a, pair b)
{
    return (pair){add(a.re, b.re), a.im && b.im ? add(a.im, b.im) : a.im ? a.im : b.im};
}

static pair difference(pair a, pair b)
{
    return (pair){sub(a.re, b.re), a.im && b.im ? sub(a.im, b.im) : b.im ? fr_neg(b.im) : a.im};
}

static pair product(pair a, pair b)
{
    if (!b.im)
        return (pair){mul(a.re, b.re), a.im ? mul(a.im, b.re) : NULL};
    if (!a.im)
        return product(b, a);
    return (pair){sub(mul(a.re, b.re), mul(a.im, b.im)), add(mul(a.re, b.im), mul(a.im, b.re))};
}

static fr_array *norm(pair w) { return add(mul(w.re, w.re), mul(w.im, w.im)); }

/* By zero: each part by the (signed) zero, as of real numbers. */
static pair quotient(pair a, pair b)
{
    if (!b.im)
        return (pair){quo(a.re, b.re), a.im ? quo(a.im, b.re) : NULL};
    pair x = wider(a), y = wider(b);
    fr_array *d = norm(y), *zero = is_zero(d);
    fr_array *re = add(mul(x.re, y.re), mul(x.im, y.im)),
             *im = sub(mul(x.im, y.re), mul(x.re, y.im));
    return (pair){choose(zero, quo(x.re, y.re), quo(re, d)),
                  choose(zero, quo(x.im, y.re), quo(im, d))};
}

/* ---- functions: of float64 parts, so that squares neither overflow nor cancel ----------------- */

static fr_array *magnitude(pair w) { return fr_sqrt(norm(w)); }

/* (t, b / 2t) with t = sqrt((|w| + |a|) / 2), the parts exchanged for a < 0. */
static pair root(pair w)
{
    fr_array *t = fr_sqrt(by(add(magnitude(w), fr_abs(w.re)), 0.5));
    fr_array *other = quo(by(fr_abs(w.im), 0.5), t), *zero = is_zero(t),
             *left = below_zero(w.re);
    other = choose(zero, t, other);
    return (pair){choose(left, other, t), with_sign(choose(left, t, other), w.im)};
}

static pair exponential(pair w)
{
    fr_array *e = fr_exp(w.re);
    return times((pair){fr_cos(w.im), fr_sin(w.im)}, e);
}

static pair logarithm(pair w) { return (pair){by(fr_log(norm(w)), 0.5), angle(w.im, w.re)}; }

/* re: log(|1 + w|^2) / 2, |1 + w|^2 - 1 = a (2 + a) + b^2 */
static pair logarithm_of_1_plus(pair w)
{
    fr_array *more = add(mul(w.re, add(w.re, like(w.re, 2))), mul(w.im, w.im));
    return (pair){by(fr_log1p(more), 0.5), angle(w.im, add(w.re, like(w.re, 1)))};
}

static pair sinh_of(pair w)
{
    return (pair){mul(fr_sinh(w.re), fr_cos(w.im)), mul(fr_cosh(w.re), fr_sin(w.im))};
}

static pair cosh_of(pair w)
{
    return (pair){mul(fr_cosh(w.re), fr_cos(w.im)), mul(fr_sinh(w.re), fr_sin(w.im))};
}

/* (t (1 + T^2) + i T / cosh^2 a) / (1 + t^2 T^2), t = tanh a, T = tan b */
static pair tanh_of(pair w)
{
    fr_array *t = fr_tanh(w.re), *tan = fr_tan(w.im), *c = fr_cosh(w.re), *one = like(t, 1);
    fr_array *square = mul(tan, tan), *under = add(one, mul(mul(t, t), square));
    return (pair){quo(mul(t, add(one, square)), under), quo(quo(tan, mul(c, c)), under)};
}

static fr_array *from_one(fr_array *x) { return sub(like(x, 1), x); }
static fr_array *past_one(fr_array *x) { return add(like(x, 1), x); }

/* Kahan's: no cancellation near the branch cuts. */
static pair arcsin_of(pair w)
{
    pair m = root((pair){from_one(w.re), fr_neg(w.im)}), p = root((pair){past_one(w.re), w.im});
    return (pair){angle(w.re, sub(mul(m.re, p.re), mul(m.im, p.im))),
                  fr_arcsinh(sub(mul(m.re, p.im), mul(m.im, p.re)))};
}

static pair arccos_of(pair w)
{
    pair m = root((pair){from_one(w.re), fr_neg(w.im)}), p = root((pair){past_one(w.re), w.im});
    return (pair){by(angle(m.re, p.re), 2), fr_arcsinh(sub(mul(p.re, m.im), mul(p.im, m.re)))};
}

static pair arccosh_of(pair w)
{
    pair m = root((pair){sub(w.re, like(w.re, 1)), w.im}),
         p = root((pair){past_one(w.re), w.im});
    return (pair){fr_arcsinh(add(mul(m.re, p.re), mul(m.im, p.im))), by(angle(m.im, p.re), 2)};
}

static pair arctanh_of(pair w)
{
    fr_array *m = from_one(w.re), *square = mul(w.im, w.im);
    fr_array *re = fr_log1p(quo(by(w.re, 4), add(mul(m, m), square)));
    return (pair){by(re, 0.25),
                  by(angle(by(w.im, 2), sub(mul(m, past_one(w.re)), square)), 0.5)};
}

/* e^(b log a). Of 0: to the power 0 it is 1; to powers with a negative real part infinite, with no
 * direction; else 0. */
static pair power(pair a, pair b)
{
    pair l = logarithm(a), y = exponential(product(b, l));
    fr_array *zero = both(is_zero(a.re), is_zero(a.im)), *nothing = like(y.re, 0);
    fr_array *one = both(is_zero(b.re), is_zero(b.im)), *pole = below_zero(b.re);
    fr_array *re = choose(pole, like(y.re, HUGE_VAL), choose(one, like(y.re, 1), nothing));
    return (pair){choose(zero, re, y.re), choose(zero, choose(pole, like(y.re, NAN), nothing),
                                                 choose(one, nothing, y.im))};
}

static pair chosen(fr_array *m, pair a, pair b)
{
    a = full(a);
    b = full(b);
    return (pair){choose(m, a.re, b.re), choose(m, a.im, b.im)};
}

/* m + log(1 + e^(other - m)), m the one with the larger real part */
static pair log_of_sum(pair a, pair b)
{
    fr_array *first = (fr_ge)(a.re, b.re);
    pair m = chosen(first, a, b), other = chosen(first, b, a);
    return sum(m, logarithm_of_1_plus(exponential(difference(other, m))));
}

/* ---- comparisons: by the real parts, then by the imaginary ------------------------------------ */

static fr_array *equal(pair a, pair b)
{
    return both((fr_eq)(a.re, b.re), (fr_eq)(a.im, b.im));
}

static fr_array *less(pair a, pair b)
{
    return either((fr_lt)(a.re, b.re), both((fr_eq)(a.re, b.re), (fr_lt)(a.im, b.im)));
}

static fr_array *truth(pair x)
{
    return x.im ? either(not_zero(x.re), not_zero(x.im)) : not_zero(x.re);
}

static fr_array *has_nan(pair x) { return either(fr_isnan(x.re), fr_isnan(x.im)); }

/* a where it is NaN or not beyond b. */
static pair extreme(pair a, pair b, bool largest)
{
    fr_array *beyond = largest ? less(a, b) : less(b, a);
    fr_array *other = both(either(beyond, has_nan(b)), fr_logical_not(has_nan(a)));
    return chosen(other, b, a);
}

/* ---- the operations of the table --------------------------------------------------------------- */

static fr_array *unsupported(int op)
{
    int rule = fr__ops[op].rule;
    return fr__fail(rule == FR__RULE_BITS || rule == FR__RULE_SHIFT || rule == FR__RULE_PAIR
                        ? FR__E_TYPE
                        : FR__E_VALUE,
                    "%s: complex64 is not supported by this operation", fr__ops[op].name);
}

static fr_array *narrowed(pair w)
{
    return joined((pair){fr_astype(w.re, FR_FLOAT32), fr_astype(w.im, FR_FLOAT32)});
}

static fr_array *unary(int op, fr_array *x)
{
    pair z = full(parts(x));
    if (fr__failed())
        return NULL;
    switch (op) {
    case FR__OP_neg: return joined((pair){fr_neg(z.re), fr_neg(z.im)});
    case FR__OP_square: return joined(product(z, z));
    case FR__OP_degrees: return joined(scaled(z, 57.295779513082323));
    case FR__OP_radians: return joined(scaled(z, 0.017453292519943295));
    case FR__OP_rint: return joined((pair){fr_rint(z.re), fr_rint(z.im)});
    case FR__OP_isnan: return has_nan(z);
    case FR__OP_isinf: return either(fr_isinf(z.re), fr_isinf(z.im));
    case FR__OP_isfinite: return both(fr_isfinite(z.re), fr_isfinite(z.im));
    case FR__OP_isposinf: return both(fr_isposinf(z.re), is_zero(z.im));
    case FR__OP_isneginf: return both(fr_isneginf(z.re), is_zero(z.im));
    case FR__OP_reciprocal: {
        fr_array *one = num(1, FR_FLOAT32);
        return narrowed(quotient((pair){one, NULL}, z));
    }
    default: break;
    }
    pair w = wider(z);
    switch (op) {
    case FR__OP_abs: return fr_astype(magnitude(w), FR_FLOAT32);
    case FR__OP_sign: {
        fr_array *size = magnitude(w);
        size = choose(is_zero(size), like(size, 1), size);
        return narrowed((pair){quo(w.re, size), quo(w.im, size)});
    }
    case FR__OP_sqrt: return narrowed(root(w));
    case FR__OP_rsqrt: return narrowed(quotient((pair){like(w.re, 1), NULL}, root(w)));
    case FR__OP_exp: return narrowed(exponential(w));
    case FR__OP_log: return narrowed(logarithm(w));
    case FR__OP_log2: return narrowed(scaled(logarithm(w), 1.4426950408889634));
    case FR__OP_log10: return narrowed(scaled(logarithm(w), 0.43429448190325182));
    case FR__OP_log1p: return narrowed(logarithm_of_1_plus(w));
    case FR__OP_sinh: return narrowed(sinh_of(w));
    case FR__OP_cosh: return narrowed(cosh_of(w));
    case FR__OP_tanh: return narrowed(tanh_of(w));
    case FR__OP_sin: return narrowed(turned_back(sinh_of(turned(w))));
    case FR__OP_cos: return narrowed(cosh_of(turned(w)));
    case FR__OP_tan: return narrowed(turned_back(tanh_of(turned(w))));
    case FR__OP_arcsin: return narrowed(arcsin_of(w));
    case FR__OP_arccos: return narrowed(arccos_of(w));
    case FR__OP_arctan: return narrowed(turned_back(arctanh_of(turned(w))));
    case FR__OP_arcsinh: return narrowed(turned_back(arcsin_of(turned(w))));
    case FR__OP_arccosh: return narrowed(arccosh_of(w));
    case FR__OP_arctanh: return narrowed(arctanh_of(w));
    default: return unsupported(op);
    }
}

static fr_array *binary(int op, fr_array *x, fr_array *y)
{
    pair a = parts(x), b = parts(y);
    if (fr__failed())
        return NULL;
    switch (op) {
    case FR__OP_add: return joined(sum(a, b));
    case FR__OP_sub: return joined(difference(a, b));
    case FR__OP_mul: return joined(product(a, b));
    case FR__OP_floor_divide: /* as MLX has it: there is nothing to round down to */
    case FR__OP_div: return b.im ? narrowed(quotient(a, b)) : joined(quotient(a, b));
    case FR__OP_pow: return narrowed(power(wider(a), wider(b)));
    case FR__OP_logaddexp: return narrowed(log_of_sum(wider(a), wider(b)));
    default: break;
    }
    a = full(a);
    b = full(b);
    switch (op) {
    case FR__OP_maximum: return joined(extreme(a, b, true));
    case FR__OP_minimum: return joined(extreme(a, b, false));
    case FR__OP_eq: return equal(a, b);
    case FR__OP_ne: return fr_logical_not(equal(a, b));
    case FR__OP_lt: return less(a, b);
    case FR__OP_gt: return less(b, a);
    case FR__OP_le: return either(less(a, b), equal(a, b));
    case FR__OP_ge: return either(less(b, a), equal(a, b));
    default: return unsupported(op);
    }
}

static fr_array *as_truth(fr_array *x)
{
    return x->dtype == FR_COMPLEX64 ? truth(parts(x)) : fr_astype(x, FR_BOOL);
}

static fr_array *decomposed(int op, int n, fr_array *const *x)
{
    switch (fr__ops[op].rule) {
    case FR__RULE_PART: { /* of a real number */
        if (op == FR__OP_real)
            return x[0];
        fr_array *zero = num(0, x[0]->dtype);
        return zero ? fr_broadcast_to(zero, x[0]->dims, x[0]->ndim) : NULL;
    }
    case FR__RULE_LOGICAL: {
        fr_array *t[2] = {as_truth(x[0]), n > 1 ? as_truth(x[1]) : NULL};
        return fr__failed() ? NULL : fr__elementwise(op, n, t);
    }
    case FR__RULE_SELECT: {
        fr_array *m = as_truth(x[0]);
        return x[1]->dtype == FR_COMPLEX64 || x[2]->dtype == FR_COMPLEX64
                   ? joined(chosen(m, parts(x[1]), parts(x[2])))
                   : choose(m, x[1], x[2]);
    }
    default: return n == 1 ? unary(op, x[0]) : binary(op, x[0], x[1]);
    }
}

fr_array *fr__complex_elementwise(int op, int n, fr_array *const *x)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    fr_array *in[3] = {NULL, NULL, NULL};
    for (int i = 0; i < n; i++) {
        in[i] = x[i];
        if (!fr__flag(x[i], FR__FLOATING))
            continue;
        in[i] = fr__node(FR__OP_NUMBER, x[i]->dtype, 0, NULL, 0, NULL, 1);
        if (!in[i])
            return fr__leave(s, NULL);
        in[i]->par[0] = x[i]->par[0];
        atomic_fetch_or(&in[i]->flags, FR__WEAK);
    }
    return fr__leave(s, decomposed(op, n, in));
}

fr_array *fr__complex_cast(fr_array *x, int dtype)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    fr_array *y;
    if (dtype == FR_COMPLEX64)
        y = joined(parts(x));
    else if (dtype == FR_BOOL)
        y = truth(parts(x));
    else
        y = fr_astype(parts(x).re, (fr_dtype)dtype);
    return fr__leave(s, y);
}

/* ---- reductions and products ------------------------------------------------------------------- */

/* The product over the masked axes, by halves: x[:h] * x[h:2h], an odd one at the end apart. */
static pair product_over(pair z, int axis)
{
    pair rest = {NULL, NULL};
    while (z.re && z.im && z.re->dims[axis] > 1) {
        int64_t n = z.re->dims[axis], h = n / 2, start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM],
                count[FR_MAX_NDIM];
        for (int d = 0; d < z.re->ndim; d++) {
            step[d] = 1;
            count[d] = z.re->dims[d];
        }
        pair piece[3];
        for (int k = 0; k < 3; k++) {
            start[axis] = k * h;
            count[axis] = k < 2 ? h : n - 2 * h;
            piece[k] =
                (pair){fr_slice(z.re, start, step, count), fr_slice(z.im, start, step, count)};
        }
        if (n % 2)
            rest = rest.re ? product(rest, piece[2]) : piece[2];
        z = product(piece[0], piece[1]);
    }
    return rest.re ? product(z, rest) : z;
}

static fr_reduce_options axes_of(int64_t mask, int ndim, int *axes, bool keepdims)
{
    fr_reduce_options o = {.axes = axes, .keepdims = keepdims};
    for (int d = 0; d < ndim; d++)
        if (mask >> d & 1)
            axes[o.naxes++] = d;
    return o;
}

static pair reduced_product(pair z, int64_t mask, int ndim)
{
    int64_t shape[FR_MAX_NDIM], kept[FR_MAX_NDIM];
    int n = 0;
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        kept[d] = mask >> d & 1 ? 1 : z.re->dims[d];
        empty |= mask >> d & 1 && !z.re->dims[d];
        if (!(mask >> d & 1))
            shape[n++] = z.re->dims[d];
    }
    if (empty)
        z = (pair){fr_ones(kept, ndim, FR_FLOAT32), fr_zeros(kept, ndim, FR_FLOAT32)};
    for (int d = 0; !empty && d < ndim && z.re && z.im; d++)
        if (mask >> d & 1)
            z = product_over(z, d);
    return (pair){fr_reshape(z.re, shape, n), fr_reshape(z.im, shape, n)};
}

/* The largest (smallest) real part, and of the elements that have it the imaginary part. */
static pair reduced_extreme(pair z, int64_t mask, int ndim, bool largest)
{
    int axes[FR_MAX_NDIM];
    fr_reduce_options keep = axes_of(mask, ndim, axes, true), drop = keep;
    drop.keepdims = false;
    fr_array *(*over)(fr_array *, const fr_reduce_options *) = largest ? fr_max : fr_min;
    fr_array *re = over(z.re, &keep), *has = (fr_eq)(z.re, re);
    fr_array *im = choose(either(has, fr_isnan(z.im)), z.im,
                          num(largest ? -HUGE_VAL : HUGE_VAL, FR_FLOAT32));
    return (pair){over(z.re, &drop), over(im, &drop)};
}

fr_array *fr__complex_reduce(int op, fr_array *x, int64_t mask)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    int axes[FR_MAX_NDIM];
    fr_reduce_options o = axes_of(mask, x->ndim, axes, false);
    fr_array *y = NULL;
    pair z = parts(x);
    if (x->op == FR__OP_NUMBER || !z.im)
        z = full(z);
    if (fr__failed())
        return fr__leave(s, NULL);
    switch (op) {
    case FR__OP_REDUCE_sum: y = joined((pair){fr_sum(z.re, &o), fr_sum(z.im, &o)}); break;
    case FR__OP_REDUCE_prod: y = joined(reduced_product(z, mask, x->ndim)); break;
    case FR__OP_REDUCE_max: y = joined(reduced_extreme(z, mask, x->ndim, true)); break;
    case FR__OP_REDUCE_min: y = joined(reduced_extreme(z, mask, x->ndim, false)); break;
    case FR__OP_REDUCE_any: y = fr_any(truth(z), &o); break;
    case FR__OP_REDUCE_all: y = fr_all(truth(z), &o); break;
    default: y = unsupported(op);
    }
    return fr__leave(s, y);
}

fr_array *fr_conjugate(fr_array *x)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (x->dtype != FR_COMPLEX64)
        return fr_real(x); /* itself */
    fr_scope *s = fr_scope_open();
    fr_array *y = s ? fr__leave(s, (fr_complex)(fr_real(x), fr_neg(fr_imag(x)))) : NULL;
    fr__settle(1, &x);
    return y;
}

fr_array *fr__complex_matmul(fr_array *x, fr_array *y)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    pair a = parts(x), b = parts(y), z = {(fr_matmul)(a.re, b.re), NULL};
    if (a.im && b.im)
        z = (pair){sub(z.re, (fr_matmul)(a.im, b.im)),
                   add((fr_matmul)(a.re, b.im), (fr_matmul)(a.im, b.re))};
    else
        z.im = a.im ? (fr_matmul)(a.im, b.re) : (fr_matmul)(a.re, b.im);
    return fr__leave(s, joined(z));
}

static fr_reduce_options kept(const fr_reduce_options *o)
{
    fr_reduce_options keep = {0};
    if (o)
        keep = *o;
    keep.keepdims = true;
    return keep;
}

/* The largest number over the axes, 0 where it is infinite. */
static fr_array *level(fr_array *x, const fr_reduce_options *o)
{
    fr_reduce_options keep = kept(o);
    fr_array *m = fr_max(x, &keep);
    return choose(fr_isfinite(m), m, num(0, FR_COMPLEX64));
}

fr_array *fr__complex_logsumexp(fr_array *x, const fr_reduce_options *o)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    fr_array *m = level(x, o), *y = fr_log(fr_sum(fr_exp(sub(x, m)), o));
    fr_array *back = y ? fr_reshape(m, y->dims, y->ndim) : NULL;
    return fr__leave(s, add(y, back));
}

fr_array *fr__complex_softmax(fr_array *x, const fr_reduce_options *o)
{
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    fr_reduce_options keep = kept(o);
    fr_array *e = fr_exp(sub(x, level(x, o)));
    return fr__leave(s, quo(e, fr_sum(e, &keep)));
}
