/* math.c - transcendental functions, written once in kernel IR for every target
 *
 * math_exp.c, math_pow.c, math_trig.c and math_whole.c have the rest, math64.c these in float64.
 * What exp, tanh, erf and sigmoid look up on CPUs is in tables.c.
 * float32; the coefficients are minimax fits (fpminimax and a rational Remez fit), errors in ULP
 * as tested by tests/c/test_math.c. Steps: reduce the argument exactly, a polynomial, rebuild.
 */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"
#include "op/op.h"
#include "op/threefry.h"

static bool is_wide(const fr__kb *kb, int x) { return fr__ktype_at(kb, x) == FR__KF64; }

/* c[0] x^(n-1) + ... + c[n-1] */
static int poly(fr__kb *kb, int x, int n, const double *c)
{
    int p = F(c[0]);
    for (int i = 1; i < n; i++)
        p = FMA(p, x, F(c[i]));
    return p;
}

/* x less n ln 2, in two steps so that it is exact enough. */
static int less_n_ln2(fr__kb *kb, int x, int n)
{
    return FMA(n, F(0x1.05c61p-29), FMA(n, F(-0x1.62e43p-1), x));
}

/* 2^n for whole n in [-126, 127] */
static int power_of_two(fr__kb *kb, int n) { return FLOAT_OF(SHL(ADD(n, I(127)), I(23))); }

static const double exp_terms[] = {0x1.6b4f4cp-10 /* 1.38628250e-3 */,
                                   8.367620408535003662109375e-3,
                                   4.16672527790069580078125e-2,
                                   0.16666533052921295166015625,
                                   0.5,
                                   1,
                                   1};

typedef struct
    sixteenths { /* of an argument to base 2: the whole number of them that is nearest */
    int bits, n; /* as the low bits of an integer; as a float, a sixteenth being 1/16 */
} sixteenths;

/* x times `scale`. The sum's last place is 1/16. */
static sixteenths nearest_sixteenth(fr__kb *kb, int x, double scale)
{
    int m = FMA(x, F(scale), F(0x1.8p19));
    return (sixteenths){BITS(m), SUB(m, F(0x1.8p19))};
}

/* r P(r), of n coefficients, and what the table's entry lacks. */
static int rest_of_exp(fr__kb *kb, sixteenths s, int r, int n, const double *c)
{
    return FMA(r, poly(kb, r, n, c), LOOKUP(EXP2_REST, s.bits));
}

/* e^x = 2^(n/16) e^r, of which a table has the fraction. The result is rounded once, all but. */
static int exp_by_table(fr__kb *kb, int x)
{
    sixteenths s = nearest_sixteenth(kb, x, 0x1.715476p0);
    static const double c[] = {0x1.555662p-3, 0x1.00014ep-1, 1};
    int p = rest_of_exp(kb, s, less_n_ln2(kb, x, s.n), 3, c);
    int two = LOOKUP(EXP2, s.bits);
    return SCALE(FMA(two, p, two), s.n);
}

/* e^x = 2^n e^r, r in [-ln 2 / 2, ln 2 / 2]; 2^n in two factors, so that results below the normal
 * range come out right. */
int fr__math_exp(fr__kb *kb, int x0)
{
    if (is_wide(kb, x0))
        return fr__math_exp64(kb, x0);
    /* Clamped where the result is 0 or infinite; a NaN passes through both. */
    int x = SEL(LT(x0, F(-104)), F(-104), x0);
    x = SEL(LT(F(89), x), F(89), x);
    if (kb->tables)
        return exp_by_table(kb, x);
    int n = RINT(MUL(x, F(0x1.715476p0)));
    int r = less_n_ln2(kb, x, n);
    int p = poly(kb, r, 7, exp_terms);
    int e = TO_INT(n), half = SHR(e, I(1));
    return MUL(MUL(p, power_of_two(kb, half)), power_of_two(kb, SUB(e, half)));
}

/* The same for x known to be in [-87, 88]: one factor. */
static int exp_in_range(fr__kb *kb, int x)
{
    if (kb->tables)
        return exp_by_table(kb, x);
    int n = RINT(MUL(x, F(0x1.715476p0)));
    return MUL(poly(kb, less_n_ln2(kb, x, n), 7, exp_terms), power_of_two(kb, TO_INT(n)));
}

/* log(2^e m) = e ln 2 + log(m), m in [2/3, 4/3] */
int fr__math_log(fr__kb *kb, int x)
{
    if (is_wide(kb, x))
        return fr__math_log64(kb, x);
    int below = LT(x, F(0x1p-126));
    int ix = BITS(SEL(below, MUL(x, F(0x1p23)), x));
    int e = SHR(SUB(ix, I(0x3f2aaaab)), I(23));
    int f = SUB(FLOAT_OF(SUB(ix, SHL(e, I(23)))), F(1));
    int ef = ADD(TO_FLOAT(e), SEL(below, F(-23), F(0)));
    static const double c[] = {-0.12805519998073577880859375,
                               0.1401147544384002685546875,
                               -0.12204693257808685302734375,
                               0.13999657332897186279296875,
                               -0.16678957641124725341796875,
                               0.20010852813720703125,
                               -0.2499983310699462890625,
                               0.333332061767578125,
                               -0.5};
    int q = MUL(MUL(f, f), poly(kb, f, 9, c));
    int r = FMA(ef, F(0x1.62e43p-1), ADD(FMA(ef, F(-0x1.05c61p-29), q), f));
    r = SEL(LT(x, F(INFINITY)), r, x); /* infinity and NaN stay */
    r = SEL(EQ(x, F(0)), F(-INFINITY), r);
    return SEL(LT(x, F(0)), F(NAN), r);
}

/* Of an odd function that tables have: about 0 it is x, what the table has being less; about the other
 * centres the value there is the larger of the two. */
static int value_at_centre(fr__kb *kb, int s, int value) { return SEL(LT(value, s), s, value); }

/* The polynomial about a centre; intervals grow with x (tables.c). From 9.14 on it is 1. */
static int tanh_by_table(fr__kb *kb, int x)
{
    int t = ABS(x);
    t = SEL(LT(F(9.14), t), F(9.14), t);
    int at = SHR(BITS(FMA(t, F(1.640625), F(1))), I(21));
    int s = SUB(t, LOOKUP(TANH_CENTRE, at));
    int p = FMA(s, LOOKUP(TANH_5, at), LOOKUP(TANH_4, at));
    p = FMA(s, FMA(s, p, LOOKUP(TANH_3, at)), LOOKUP(TANH_2, at));
    p = FMA(s, p, LOOKUP(TANH_1, at));
    return COPYSIGN(FMA(s, p, value_at_centre(kb, s, LOOKUP(TANH_AT, at))), x);
}

/* Odd; (e^2t - 1) / (e^2t + 1) with e^2t - 1 kept exact near 0. */
int fr__math_tanh(fr__kb *kb, int x)
{
    if (is_wide(kb, x))
        return fr__math_tanh64(kb, x);
    if (kb->tables)
        return tanh_by_table(kb, x);
    int t = ABS(x);
    t = SEL(LT(F(10), t), F(10), t);
    int z = ADD(t, t), n = RINT(MUL(z, F(0x1.715476p0))), r = less_n_ln2(kb, z, n);
    static const double c[] = {1.38648017309606075286865234375e-3,
                               8.366866968572139739990234375e-3,
                               4.16675023734569549560546875e-2, 0.1666654050350189208984375,
                               0.4999999701976776123046875};
    int p = FMA(MUL(poly(kb, r, 5, c), r), r, r);
    int s = power_of_two(kb, TO_INT(n));
    int em1 = FMA(s, p, SUB(s, F(1)));
    return COPYSIGN(DIV(em1, ADD(em1, F(2))), x);
}

/* The polynomial about the nearest of 16 centres, 1/4 apart. From 3.8749 on it is 1. */
static int erf_by_table(fr__kb *kb, int x)
{
    int t = ABS(x);
    t = SEL(LT(F(3.8749), t), F(3.8749), t);
    int m = ADD(t, F(0x1.8p21)), at = BITS(m); /* that sum's last place is 1/4 */
    int s = SUB(t, SUB(m, F(0x1.8p21)));
    int p = FMA(s, LOOKUP(ERF_5, at), LOOKUP(ERF_4, at));
    p = FMA(s, FMA(s, p, LOOKUP(ERF_3, at)), LOOKUP(ERF_2, at));
    p = FMA(s, p, LOOKUP(ERF_1, at));
    return COPYSIGN(FMA(s, p, value_at_centre(kb, s, LOOKUP(ERF_AT, at))), x);
}

/* To 0.7 x + x P(x^2); beyond, 1 - 2^(t Q(t)), which cannot cancel: 1.5 ULP. From 3.95 on it is 1.
 * Both are computed everywhere: cheaper than a quotient of polynomials, and more exact. */
int fr__math_erf(fr__kb *kb, int x)
{
    if (is_wide(kb, x))
        return fr__math_erf64(kb, x);
    if (kb->tables)
        return erf_by_table(kb, x);
    static const double p[] = {0x1.189df6p-8, -0x1.b1c26p-6, 0x1.cde7fp-4, -0x1.81262ep-2,
                               0x1.06eba2p-3};
    static const double q[] = {0x1.46669ap-12, -0x1.316a08p-8, 0x1.0f1fbp-5,
                               -0x1.373fb4p-3, -0x1.d588a8p-1, -0x1.a0cd0ap+0};
    static const double r[] = {0x1.5bba0ep-10, 0x1.3cea88p-7, 0x1.c6b752p-5,
                               0x1.ebf9bcp-3,  0x1.62e42ap-1, 0x1p+0};
    int size = ABS(x), small = FMA(poly(kb, MUL(x, x), 5, p), x, x);
    int t = SEL(LT(F(3.95), size), F(3.95), size);
    int y = MUL(poly(kb, t, 6, q), t), n = RINT(y);
    int e = SCALE(poly(kb, SUB(y, n), 6, r), n);
    return SEL(LT(F(0.7), size), COPYSIGN(SUB(F(1), e), x), small);
}

/* Giles, "Approximating the erfinv function" (2012): in w = -log((1 - x)(1 + x)). */
int fr__math_erfinv(fr__kb *kb, int x)
{
    if (is_wide(kb, x))
        return fr__math_erfinv64(kb, x);
    int w = NEG(fr__math_log(kb, MUL(SUB(F(1), x), ADD(F(1), x))));
    static const double c[] = {2.81022636e-08,  3.43273939e-07, -3.5233877e-06,
                               -4.39150654e-06, 0.00021858087,  -0.00125372503,
                               -0.00417768164,  0.246640727,    1.50140941};
    static const double d[] = {-0.000200214257, 0.000100950558, 0.00134934322,
                               -0.00367342844,  0.00573950773,  -0.0076224613,
                               0.00943887047,   1.00167406,     2.83297682};
    int small = LT(w, F(5));
    int u = SEL(small, SUB(w, F(2.5)), SUB(SQRT(w), F(3)));
    int p = SEL(small, F(c[0]), F(d[0]));
    for (int i = 1; i < 9; i++)
        p = FMA(p, u, SEL(small, F(c[i]), F(d[i])));
    int y = MUL(p, x);
    /* At -1 and 1 w is infinite and the polynomial is not. */
    return SEL(EQ(ABS(x), F(1)), MUL(x, F(INFINITY)), y);
}

/* 1 / (1 + e^-x) by e^-|x|, which never overflows. */
int fr__math_sigmoid(fr__kb *kb, int x)
{
    if (is_wide(kb, x))
        return fr__math_sigmoid64(kb, x);
    int t = ABS(x);
    double most = kb->tables ? 104 : 87; /* what the exponential takes */
    int e = exp_in_range(kb, NEG(SEL(LT(F(most), t), F(most), t)));
    int y = DIV(F(1), ADD(F(1), e));
    int z = SEL(LT(x, F(0)), MUL(e, y), y);
    return kb->tables ? z : SEL(LT(x, F(-87)), fr__math_exp(kb, x), z);
}

#define U(v) fr__kconst(kb, FR__KU32, v)

int fr__math_random(fr__kb *kb, int key0, int key1, int index, int n)
{
    int one = fr__kconst(kb, FR__KI64, 1);
    int half = SHR(ADD(n, one), one);
    int second = LE(half, index);
    int first = SEL(second, SUB(index, half), index), other = ADD(first, half);
    int low = fr__kcast(kb, first, FR__KU32);
    int high = fr__kcast(kb, SEL(LT(other, n), other, SUB(n, n)), FR__KU32);
    int ks[3] = {key0, key1, XOR(XOR(key0, key1), U(FR__THREEFRY_PARITY))};
    int x = ADD(low, ks[0]), y = ADD(high, ks[1]);
    for (int round = 0; round < 20; round++) {
        int r = fr__threefry_rotations[round % 8];
        x = ADD(x, y);
        y = XOR(OR(SHL(y, U(r)), SHR(y, U(32 - r))), x);
        if (round % 4 == 3) {
            int step = round / 4 + 1;
            x = ADD(x, ks[step % 3]);
            y = ADD(y, ADD(ks[(step + 1) % 3], U(step)));
        }
    }
    return SEL(second, y, x);
}
