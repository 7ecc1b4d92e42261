/* math_exp.c - exponentials, logarithms and hyperbolic functions in kernel IR, for both widths
 *
 * One text serves float32 and float64: constants take the operand's type, tables come in two
 * lengths. Coefficients were fitted at Chebyshev points with 60 digits, or are those of the series
 * where that ends soon enough.
 */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"

#define LN2 0x1.62e42fefa39efp-1

static bool is_wide(const fr__kb *kb, int x) { return fr__ktype_at(kb, x) == FR__KF64; }

int fr__math_poly(fr__kb *kb, int x, int n, const double *c)
{
    int p = LIKE(x, c[0]);
    for (int i = 1; i < n; i++)
        p = FMA(p, x, LIKE(x, c[i]));
    return p;
}

/* ---- powers of e -------------------------------------------------------------------- */

#define WORD(type, v) fr__kconst_bits(kb, type, v)

/* 2^n for a whole float n whose result is a normal number. Adding 1.5 * 2^52 leaves n in the low
 * bits, and the shift drops the others: quicker than a conversion. */
static int two_to(fr__kb *kb, int n)
{
    bool wide = is_wide(kb, n);
    int type = wide ? FR__KI64 : FR__KI32;
    int bits =
        fr__k(kb, FR__K_BITCAST, type, ADD(n, LIKE(n, wide ? 0x1.8p52 : 0x1.8p23)), -1, -1, 0);
    bits = SHL(ADD(bits, WORD(type, wide ? 1023 : 127)), WORD(type, wide ? 52 : 23));
    return fr__k(kb, FR__K_BITCAST, wide ? FR__KF64 : FR__KF32, bits, -1, -1, 0);
}

/* x - n ln 2, whose first part times n is exact. */
static int less_n_ln2(fr__kb *kb, int x, int n)
{
    bool wide = is_wide(kb, x);
    int r = FMA(n, LIKE(x, wide ? -0x1.62e42fefa3800p-1 : -0x1.62e43p-1), x);
    return FMA(n, LIKE(x, wide ? -0x1.ef35793c76730p-45 : 0x1.05c61p-29), r);
}

static int times_log2e(fr__kb *kb, int x) { return MUL(x, LIKE(x, 0x1.71547652b82fep+0)); }

static int within(fr__kb *kb, int x, double low, double high) /* NaN stays */
{
    return SEL(LT(LIKE(x, high), x), LIKE(x, high), SEL(LT(x, LIKE(x, low)), LIKE(x, low), x));
}

/* e^r - 1 for r in [-ln 2 / 2, ln 2 / 2] */
static int small_expm1(fr__kb *kb, int r)
{
    static const double c32[] = {1.38648017309606075286865234375e-3,
                                 8.366866968572139739990234375e-3,
                                 4.16675023734569549560546875e-2, 0.1666654050350189208984375,
                                 0.4999999701976776123046875};
    static const double c64[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800,
                                 1.0 / 3628800,    1.0 / 362880,    1.0 / 40320,
                                 1.0 / 5040,       1.0 / 720,       1.0 / 120,
                                 1.0 / 24,         1.0 / 6,         0.5};
    int q = is_wide(kb, r) ? fr__math_poly(kb, r, 12, c64) : fr__math_poly(kb, r, 5, c32);
    return FMA(MUL(r, r), q, r);
}

/* Scaled at the end: results below the normal range come out right. */
int fr__math_exp_scaled(fr__kb *kb, int x0, int low, int k)
{
    bool wide = is_wide(kb, x0);
    int x = within(kb, x0, wide ? -750 : -106, wide ? 711 : 90);
    int n = RINT(times_log2e(kb, x)), r = less_n_ln2(kb, x, n);
    if (low >= 0)
        r = ADD(r, low);
    int p = ADD(small_expm1(kb, r), LIKE(x, 1));
    return SCALE(p, k ? ADD(n, LIKE(n, k)) : n);
}

/* 2^n (e^r - 1) + (2^n - 1), by half of 2^n, which does not overflow. */
int fr__math_expm1(fr__kb *kb, int x0)
{
    bool wide = is_wide(kb, x0);
    int x = within(kb, x0, wide ? -40 : -20, wide ? 710 : 89);
    int n = RINT(times_log2e(kb, x));
    int p = small_expm1(kb, less_n_ln2(kb, x, n)), s = two_to(kb, SUB(n, LIKE(n, 1)));
    int y = FMA(s, p, SUB(s, LIKE(s, 0.5)));
    y = ADD(y, y);
    return SEL(EQ(x0, LIKE(x0, 0)), x0, y); /* -0 */
}

/* ---- logarithms --------------------------------------------------------------------- */

typedef struct parts {
    int e, f; /* 2^e (1 + f), 1 + f in [sqrt 1/2, sqrt 2] */
} parts;

/* Of x > 0. */
static parts split(fr__kb *kb, int x)
{
    bool wide = is_wide(kb, x);
    int type = wide ? FR__KU64 : FR__KU32, real = fr__ktype_at(kb, x);
    int below = LT(x, LIKE(x, wide ? 0x1p-1022 : 0x1p-126));
    int up = SEL(below, MUL(x, LIKE(x, wide ? 0x1p54 : 0x1p24)), x);
    int64_t least = wide ? 0x3fe6a09e00000000 : 0x3f3504f3,
            one = wide ? 0x3ff0000000000000 : 0x3f800000;
    int t = ADD(fr__k(kb, FR__K_BITCAST, type, up, -1, -1, 0), WORD(type, one - least));
    int e = SHR(t, WORD(type, wide ? 52 : 23));
    int m = ADD(AND(t, WORD(type, wide ? 0xfffffffffffff : 0x7fffff)), WORD(type, least));
    int f = SUB(fr__k(kb, FR__K_BITCAST, real, m, -1, -1, 0), LIKE(x, 1));
    /* e to a float: into the low bits of 2^52 */
    int ef = fr__k(kb, FR__K_BITCAST, real,
                   ADD(e, WORD(type, wide ? 0x4330000000000000 : 0x4b000000)), -1, -1, 0);
    double bias = wide ? 1023 : 127, base = wide ? 0x1p52 : 0x1p23, scaled = wide ? 54 : 24;
    ef = SUB(ef, SEL(below, LIKE(x, base + bias + scaled), LIKE(x, base + bias)));
    return (parts){ef, f};
}

/* log(1 + f) + e ln 2 + low: with s = f / (2 + f) it is 2 artanh(s), in such an order that
 * only small terms are rounded. e -1: 0. */
static int log_of_parts(fr__kb *kb, int e, int f, int low)
{
    static const double c32[] = {0.233329128, 0.285507308, 0.400001226, 0.666666666};
    static const double c64[] = {0.13089629160674623, 0.13268485680654427, 0.15386250447940189,
                                 0.18181795442371985, 0.22222222393566609, 0.28571428570795431,
                                 0.4000000000000089,  0.66666666666666666};
    bool wide = is_wide(kb, f);
    int s = DIV(f, ADD(f, LIKE(f, 2))), z = MUL(s, s);
    int r = MUL(z, wide ? fr__math_poly(kb, z, 8, c64) : fr__math_poly(kb, z, 4, c32));
    int square = MUL(MUL(f, f), LIKE(f, 0.5)), small = MUL(s, ADD(square, r));
    if (e >= 0) {
        int rest = MUL(e, LIKE(f, wide ? 0x1.ef35793c76730p-45 : -0x1.05c61p-29));
        small = ADD(small, low < 0 ? rest : ADD(rest, low));
    } else if (low >= 0) {
        small = ADD(small, low);
    }
    int y = SUB(f, SUB(square, small));
    if (e < 0)
        return y;
    return FMA(e, LIKE(f, wide ? 0x1.62e42fefa3800p-1 : 0x1.62e43p-1), y);
}

int fr__math_log_core(fr__kb *kb, int x, int low)
{
    parts p = split(kb, x);
    return log_of_parts(kb, p.e, p.f, low);
}

/* The values of a logarithm of x outside (0, infinity); y inside. */
static int log_domain(fr__kb *kb, int x, int y)
{
    y = SEL(LT(x, LIKE(x, (double)INFINITY)), y, x); /* infinity and NaN stay */
    y = SEL(EQ(x, LIKE(x, 0)), LIKE(x, -(double)INFINITY), y);
    return SEL(LT(x, LIKE(x, 0)), LIKE(x, (double)NAN), y);
}

int fr__math_log64(fr__kb *kb, int x)
{
    return log_domain(kb, x, fr__math_log_core(kb, x, -1));
}

int fr__math_log2(fr__kb *kb, int x)
{
    parts p = split(kb, x);
    int m = log_of_parts(kb, -1, p.f, -1);
    return log_domain(kb, x, ADD(p.e, times_log2e(kb, m)));
}

int fr__math_log10(fr__kb *kb, int x)
{
    bool wide = is_wide(kb, x);
    parts p = split(kb, x);
    int m = MUL(log_of_parts(kb, -1, p.f, -1), LIKE(x, 0x1.bcb7b1526e50ep-2));
    m = FMA(p.e, LIKE(x, wide ? 0x1.fef311f12b358p-46 : 0x1.3509f6p-18), m);
    return log_domain(kb, x, FMA(p.e, LIKE(x, wide ? 0x1.34413509f7800p-2 : 0x1.344p-2), m));
}

/* log(u) + c / u, where u + c is 1 + x without rounding. */
int fr__math_log1p(fr__kb *kb, int x)
{
    int one = LIKE(x, 1), u = ADD(x, one), b = SUB(u, one);
    int c = ADD(SUB(x, b), SUB(one, SUB(u, b)));
    int y = fr__math_log_core(kb, u, DIV(c, u));
    y = SEL(LT(x, LIKE(x, (double)INFINITY)), y, x);
    y = SEL(EQ(x, LIKE(x, 0)), x, y);
    y = SEL(EQ(x, LIKE(x, -1)), LIKE(x, -(double)INFINITY), y);
    return SEL(LT(x, LIKE(x, -1)), LIKE(x, (double)NAN), y);
}

/* ---- float64 for results that become float32: to some 42 bits, in normal numbers ------------- */

/* e^x for |x| <= 700. */
int fr__math_near_exp(fr__kb *kb, int x)
{
    static const double c[] = {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                               1.0 / 24,     1.0 / 6,     1.0 / 2,    1,         1};
    int n = RINT(times_log2e(kb, x)), r = FMA(n, D(-LN2), x);
    return MUL(fr__math_poly(kb, r, 10, c), two_to(kb, n));
}

/* log of x > 0, a normal number. */
int fr__math_near_log(fr__kb *kb, int x)
{
    static const double c[] = {2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9,
                               2.0 / 7,  2.0 / 5,  2.0 / 3,  2};
    int t = ADD(fr__k(kb, FR__K_BITCAST, FR__KU64, x, -1, -1, 0),
                WORD(FR__KU64, 0x3ff0000000000000 - 0x3fe6a09e00000000));
    int m = ADD(AND(t, WORD(FR__KU64, 0xfffffffffffff)), WORD(FR__KU64, 0x3fe6a09e00000000));
    m = fr__k(kb, FR__K_BITCAST, FR__KF64, m, -1, -1, 0);
    int e = ADD(SHR(t, WORD(FR__KU64, 52)), WORD(FR__KU64, 0x4330000000000000));
    e = SUB(fr__k(kb, FR__K_BITCAST, FR__KF64, e, -1, -1, 0), D(0x1p52 + 1023));
    int s = DIV(SUB(m, D(1)), ADD(m, D(1)));
    return FMA(e, D(LN2), MUL(s, fr__math_poly(kb, MUL(s, s), 9, c)));
}

/* In float64 for both widths: x and log1p can cancel. */
int fr__math_logaddexp(fr__kb *kb, int x, int y)
{
    int type = fr__ktype_at(kb, x), a = fr__kcast(kb, x, FR__KF64),
        b = fr__kcast(kb, y, FR__KF64);
    int d = NEG(ABS(SUB(a, b)));
    int z = ADD(MAX(a, b), fr__math_log1p(kb, fr__math_exp64(kb, d)));
    z = SEL(EQ(a, b), ADD(a, D(LN2)), z); /* equal infinities */
    return fr__kcast(kb, z, type);
}

/* ---- hyperbolic functions ----------------------------------------------------------- */

/* Half of e^|x|, which overflows only where the result does. */
static int half_exp(fr__kb *kb, int x) { return fr__math_exp_scaled(kb, ABS(x), -1, -1); }

int fr__math_sinh(fr__kb *kb, int x)
{
    static const double c[] = {1.0 / 121645100408832000,
                               1.0 / 355687428096000,
                               1.0 / 1307674368000,
                               1.0 / 6227020800,
                               1.0 / 39916800,
                               1.0 / 362880,
                               1.0 / 5040,
                               1.0 / 120,
                               1.0 / 6};
    bool wide = is_wide(kb, x);
    int h = half_exp(kb, x), z = MUL(x, x);
    int large = COPYSIGN(SUB(h, DIV(LIKE(x, 0.25), h)), x);
    int p = wide ? fr__math_poly(kb, z, 9, c) : fr__math_poly(kb, z, 5, c + 4);
    int small = FMA(MUL(p, z), x, x);
    small = SEL(EQ(x, LIKE(x, 0)), x, small); /* -0 */
    return SEL(LT(ABS(x), LIKE(x, 1)), small, large);
}

int fr__math_cosh(fr__kb *kb, int x)
{
    int h = half_exp(kb, x);
    return ADD(h, DIV(LIKE(x, 0.25), h));
}

/* log(2 x) where x^2 is so large that 1 does not count; otherwise log1p of what is exact near 0 */
static int large(bool wide) { return wide ? 100000000 : 10000; }

int fr__math_arcsinh(fr__kb *kb, int x)
{
    int t = ABS(x), z = MUL(t, t), one = LIKE(x, 1);
    int big = LT(LIKE(x, large(is_wide(kb, x))), t);
    int u = ADD(t, DIV(z, ADD(one, SQRT(ADD(z, one)))));
    int y = fr__math_log1p(kb, SEL(big, SUB(t, one), u));
    return COPYSIGN(SEL(big, ADD(y, LIKE(x, LN2)), y), x);
}

int fr__math_arccosh(fr__kb *kb, int x)
{
    int one = LIKE(x, 1), d = SUB(x, one);
    int big = LT(LIKE(x, large(is_wide(kb, x))), x);
    int u = ADD(d, SQRT(MUL(d, ADD(d, LIKE(x, 2)))));
    int y = fr__math_log1p(kb, SEL(big, d, u));
    y = SEL(big, ADD(y, LIKE(x, LN2)), y);
    return SEL(LT(x, one), LIKE(x, (double)NAN), y);
}

int fr__math_arctanh(fr__kb *kb, int x)
{
    int t = ABS(x), y = fr__math_log1p(kb, DIV(ADD(t, t), SUB(LIKE(x, 1), t)));
    return COPYSIGN(MUL(y, LIKE(x, 0.5)), x);
}
