/* math_trig.c - trigonometric functions and their inverses in kernel IR, for both widths */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"

static bool is_wide(const fr__kb *kb, int x) { return fr__ktype_at(kb, x) == FR__KF64; }

/* ---- sine, cosine, tangent ---------------------------------------------------------- */

typedef struct turned {
    int sine, cosine; /* of the rest, in [-pi/4, pi/4] */
    int quarter;      /* how many times pi/2 was taken off: KI32 or KI64 */
} turned;

/* The rest by float64 and pi/2 in three or four parts: the first products are exact up to 2^31
 * quarters, so |x| <= 2e9 loses nothing. */
static turned turn(fr__kb *kb, int x0)
{
    static const double s32[] = {
        2.8004278647131286561489105224609375e-6, -1.98499052203260362148284912109375e-4,
        8.33337195217609405517578125e-3, -0.16666667163372039794921875};
    static const double c32[] = {2.4432340069324709475040435791015625e-5,
                                 -1.3887309469282627105712890625e-3,
                                 4.16666455566883087158203125e-2, -0.5, 1};
    static const double s64[] = {
        1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
        1.0 / 362880,          -1.0 / 5040,          1.0 / 120,        -1.0 / 6};
    static const double c64[] = {-1.0 / 6402373705728000,
                                 1.0 / 20922789888000,
                                 -1.0 / 87178291200,
                                 1.0 / 479001600,
                                 -1.0 / 3628800,
                                 1.0 / 40320,
                                 -1.0 / 720,
                                 1.0 / 24,
                                 -0.5,
                                 1};
    bool wide = is_wide(kb, x0);
    int x = fr__kcast(kb, x0, FR__KF64), magic = D(0x1.8p52);
    int shifted = FMA(x, D(0x1.45f306dc9c883p-1), magic), n = SUB(shifted, magic);
    int r = FMA(n, D(-0x1.5110bp-22), FMA(n, D(-0x1.921fbp+0), x));
    r = wide ? FMA(n, D(-0x1.3198a2e037073p-69), FMA(n, D(-0x1.184698p-44), r))
             : fr__kcast(kb, FMA(n, D(-0x1.18469898cc517p-44), r), FR__KF32);
    int quarter = fr__k(kb, FR__K_BITCAST, FR__KI64, shifted, -1, -1, 0), z = MUL(r, r);
    int s = wide ? fr__math_poly(kb, z, 8, s64) : fr__math_poly(kb, z, 4, s32);
    int c = wide ? fr__math_poly(kb, z, 10, c64) : fr__math_poly(kb, z, 5, c32);
    return (turned){FMA(MUL(s, z), r, r), c, wide ? quarter : fr__kcast(kb, quarter, FR__KI32)};
}

static int odd(fr__kb *kb, int q) { return NE(AND(q, LIKE(q, 1)), LIKE(q, 0)); }

/* y with its sign flipped where bit 1 of q is set */
static int signed_by(fr__kb *kb, int y, int q)
{
    bool wide = is_wide(kb, y);
    int type = fr__ktype_at(kb, q),
        bit = SHL(AND(q, LIKE(q, 2)), fr__kconst(kb, type, wide ? 62 : 30));
    int bits = XOR(fr__k(kb, FR__K_BITCAST, type, y, -1, -1, 0), bit);
    return fr__k(kb, FR__K_BITCAST, fr__ktype_at(kb, y), bits, -1, -1, 0);
}

/* One of the two, its sign by q; of magnitudes beyond 2e9 some number in [-1, 1]. */
static int sine_or_cosine(fr__kb *kb, turned t, int sine, int q)
{
    int y = SEL(odd(kb, q), t.cosine, sine), one = LIKE(y, 1);
    return signed_by(kb, SEL(LT(one, ABS(y)), one, y), q);
}

int fr__math_sin(fr__kb *kb, int x)
{
    turned t = turn(kb, x);
    int s = SEL(EQ(x, LIKE(x, 0)), x, t.sine); /* the reduction loses the sign of -0 */
    return sine_or_cosine(kb, t, s, t.quarter);
}

int fr__math_cos(fr__kb *kb, int x)
{
    turned t = turn(kb, x);
    return sine_or_cosine(kb, t, t.sine, ADD(t.quarter, LIKE(t.quarter, 1)));
}

int fr__math_tan(fr__kb *kb, int x)
{
    turned t = turn(kb, x);
    int turns = odd(kb, t.quarter);
    int y = DIV(SEL(turns, NEG(t.cosine), t.sine), SEL(turns, t.sine, t.cosine));
    return SEL(EQ(x, LIKE(x, 0)), x, y);
}

/* ---- inverses ----------------------------------------------------------------------- */

#define PI_2 0x1.921fb54442d18p+0

/* What pi/2 as a number of x's type lacks. */
static double pi_2_rest(const fr__kb *kb, int x)
{
    return is_wide(kb, x) ? 0x1.1a62633145c07p-54 : -0x1.777a5cp-25;
}

/* arctan(a / b), 0 <= a, 0 < b; by (a - b) / (a + b) where the quotient is near 1 and, beyond
 * that, by -b / a. */
static int arctan_of_quotient(fr__kb *kb, int a, int b, bool below_1)
{
    static const double c32[] = {0.0504547748, -0.0862364421, 0.110712266,
                                 -0.142841437, 0.199999771,   -0.333333333};
    static const double c64[] = {
        0.016267475499798707,  -0.034554055081361585, 0.045509509538062016,
        -0.052303133769028394, 0.058789098552192781,  -0.066664232197685162,
        0.076922962822152481,  -0.090909087502885647, 0.1111111110509085,
        -0.14285714285659164,  0.19999999999999802,   -0.33333333333333333};
    int mid = LT(MUL(b, LIKE(b, 0.41421356)), a), zero = LIKE(a, 0);
    int up = SEL(mid, SUB(a, b), a), down = SEL(mid, ADD(a, b), b);
    int hi = SEL(mid, LIKE(a, PI_2 / 2), zero),
        lo = SEL(mid, LIKE(a, pi_2_rest(kb, a) / 2), zero);
    if (!below_1) {
        int far = LT(MUL(b, LIKE(b, 2.4142135)), a);
        up = SEL(far, NEG(b), up);
        down = SEL(far, a, down);
        hi = SEL(far, LIKE(a, PI_2), hi);
        lo = SEL(far, LIKE(a, pi_2_rest(kb, a)), lo);
    }
    int w = DIV(up, down), z = MUL(w, w);
    int p = is_wide(kb, a) ? fr__math_poly(kb, z, 12, c64) : fr__math_poly(kb, z, 6, c32);
    return ADD(hi, ADD(FMA(MUL(p, z), w, lo), w));
}

int fr__math_arctan(fr__kb *kb, int x)
{
    return COPYSIGN(arctan_of_quotient(kb, ABS(x), LIKE(x, 1), false), x);
}

/* The angle in the first octant, then turned and mirrored. */
int fr__math_arctan2(fr__kb *kb, int y, int x)
{
    int a = ABS(y), b = ABS(x), steep = LT(b, a), inf = LIKE(x, (double)INFINITY),
        zero = LIKE(x, 0);
    int least = SEL(steep, b, a), most = SEL(steep, a, b);
    /* a + b must not overflow, nor the quotient be of two zeros or two infinities */
    int quarter = SEL(LT(LIKE(x, 0x1p100), most), LIKE(x, 0.25), LIKE(x, 1));
    int both = AND(EQ(a, inf), EQ(b, inf)), none = EQ(most, zero);
    least = SEL(both, LIKE(x, 1), MUL(least, quarter));
    most = SEL(OR(both, none), LIKE(x, 1), MUL(most, quarter));
    int far = AND(EQ(most, inf), NOT(both)); /* a / inf */
    int r = SEL(far, zero, arctan_of_quotient(kb, least, most, true));
    r = SEL(steep, ADD(SUB(LIKE(x, PI_2), r), LIKE(x, pi_2_rest(kb, x))), r);
    int left = LT(COPYSIGN(LIKE(x, 1), x), zero);
    r = SEL(left, ADD(SUB(LIKE(x, 2 * PI_2), r), LIKE(x, 2 * pi_2_rest(kb, x))), r);
    r = COPYSIGN(r, y);
    return SEL(OR(NE(x, x), NE(y, y)), ADD(x, y), r);
}

/* arcsin(w) / w - 1 by z = w^2 <= 1/4 */
static int arcsin_excess(fr__kb *kb, int z)
{
    static const double c32[] = {0.0336908472, 0.0171492384, 0.0311006627,
                                 0.0445994015, 0.0750009454, 0.166666663};
    static const double c64[] = {
        0.02961201126495512,   -0.019241671746743041, 0.019554513336123379,
        0.0030448799094556774, 0.0093195607947674463, 0.009621842970100281,
        0.011566459612121669,  0.01396378001220357,   0.017352816540325495,
        0.022372157443507222,  0.03038194447553234,   0.044642857142551893,
        0.075000000000001178,  0.16666666666666667};
    return MUL(z,
               is_wide(kb, z) ? fr__math_poly(kb, z, 14, c64) : fr__math_poly(kb, z, 6, c32));
}

/* Beyond 1/2 by arcsin(t) = pi/2 - 2 arcsin(sqrt((1 - t) / 2)). */
int fr__math_arcsin(fr__kb *kb, int x)
{
    int t = ABS(x), far = LT(LIKE(x, 0.5), t);
    int z = SEL(far, MUL(SUB(LIKE(x, 1), t), LIKE(x, 0.5)), MUL(t, t)),
        w = SEL(far, SQRT(z), t);
    int y = FMA(w, arcsin_excess(kb, z), w);
    int beyond = SUB(LIKE(x, PI_2), SUB(ADD(y, y), LIKE(x, pi_2_rest(kb, x))));
    return COPYSIGN(SEL(far, beyond, y), x);
}

int fr__math_arccos(fr__kb *kb, int x)
{
    int t = ABS(x), far = LT(LIKE(x, 0.5), t);
    int z = SEL(far, MUL(SUB(LIKE(x, 1), t), LIKE(x, 0.5)), MUL(t, t)),
        w = SEL(far, SQRT(z), x);
    int y = FMA(w, arcsin_excess(kb, z), w), rest = LIKE(x, pi_2_rest(kb, x)),
        twice = ADD(y, y);
    int left = SUB(LIKE(x, 2 * PI_2), SUB(twice, ADD(rest, rest)));
    int near = SUB(LIKE(x, PI_2), SUB(y, rest));
    return SEL(far, SEL(LT(x, LIKE(x, 0)), left, twice), near);
}
