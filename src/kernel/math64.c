/* math64.c - the functions of math.c in float64 */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"

int fr__math_exp64(fr__kb *kb, int x) { return fr__math_exp_scaled(kb, x, -1, 0); }

/* With e^2t - 1, which is exact near 0. */
int fr__math_tanh64(fr__kb *kb, int x)
{
    int t = ABS(x);
    t = SEL(LT(D(22), t), D(22), t);
    int e = fr__math_expm1(kb, ADD(t, t));
    return COPYSIGN(DIV(e, ADD(e, D(2))), x);
}

int fr__math_sigmoid64(fr__kb *kb, int x)
{
    int e = fr__math_exp64(kb, NEG(ABS(x))), y = DIV(D(1), ADD(D(1), e));
    return SEL(LT(x, D(0)), MUL(e, y), y);
}

/* On [0, 1] x P(x^2); from there to 6 erfc(x) = e^(-x^2) Q(t) / x with t = (x - 3) / (x + 3). */
static int erf_near_0(fr__kb *kb, int x)
{
    static const double c[] = {
        -4.2309458242953378e-12, 8.7090451290531067e-11, -1.216456005728345e-9,
        1.4792401209404813e-8,   -1.6364642158167615e-7, 1.6462045441468419e-6,
        -1.4925647567519332e-5,  0.00012055332902888735, -0.00085483270219348296,
        0.0052239776254232983,   -0.026866170645129841,  0.1128379167095512,
        -0.37612638903183752,    1.1283791670955126};
    return MUL(x, fr__math_poly(kb, MUL(x, x), 14, c));
}

static int erfc_from_1(fr__kb *kb, int x)
{
    static const double c[] = {
        4.8928489343474203e-9,  -1.0716750525740812e-7,  -3.0493640346496712e-7,
        3.0658990679620359e-7,  1.8807538338498286e-6,   -9.95023133850555e-7,
        -1.1110214660880546e-5, 6.4643431791689747e-6,   6.8979943848412959e-5,
        -8.4608252107909121e-5, -0.00041254378896822861, 0.001242876161711887,
        0.00091082268899150405, -0.014019825626262287,   0.04635026333129497,
        -0.095469750306626,     0.13988054760176995,     -0.14658304803289103,
        0.095306226959228018,   0.53700345354416985};
    int q = fr__math_poly(kb, DIV(SUB(x, D(3)), ADD(x, D(3))), 20, c);
    return DIV(MUL(fr__math_exp64(kb, NEG(MUL(x, x))), q), x);
}

int fr__math_erf64(fr__kb *kb, int x)
{
    int t = ABS(x);
    t = SEL(LT(D(6), t), D(6), t);
    return SEL(LT(t, D(1)), erf_near_0(kb, x), COPYSIGN(SUB(D(1), erfc_from_1(kb, t)), x));
}

/* A start good to six digits (Giles 2012; its tail by a fit of our own in sqrt(w)), then one step
 * of Halley's method on erf, or on erfc where erf is near 1. */
int fr__math_erfinv64(fr__kb *kb, int x)
{
    static const double c[] = {2.81022636e-08,  3.43273939e-07, -3.5233877e-06,
                               -4.39150654e-06, 0.00021858087,  -0.00125372503,
                               -0.00417768164,  0.246640727,    1.50140941};
    static const double d[] = {-0.000200214257, 0.000100950558, 0.00134934322,
                               -0.00367342844,  0.00573950773,  -0.0076224613,
                               0.00943887047,   1.00167406,     2.83297682};
    static const double tail[] = {-9.7906457422879936e-7,  3.9285915948679586e-5,
                                  -0.00068430482367597877, 0.0067343710349000854,
                                  -0.040623928324882228,   0.15039133817552674,
                                  0.6949230178008333,      0.085616554517636763};
    int u = ABS(x), left = SUB(D(1), u);
    int w = NEG(fr__math_log64(kb, MUL(left, ADD(D(1), u)))), root = SQRT(w);
    int y = MUL(u, fr__math_poly(kb, SUB(w, D(2.5)), 9, c));
    y = SEL(LT(w, D(5)), y, MUL(u, fr__math_poly(kb, SUB(root, D(3)), 9, d)));
    y = SEL(LT(w, D(15.5)), y, fr__math_poly(kb, root, 8, tail));
    int near = erf_near_0(kb, y), far = erfc_from_1(kb, y);
    int erfc = SEL(LT(y, D(1)), SUB(D(1), near), far);
    int off = SEL(LT(u, D(0.5)), SUB(near, u), SUB(left, erfc));
    int step = MUL(MUL(off, D(0.88622692545275801)), fr__math_exp64(kb, MUL(y, y)));
    y = SUB(y, DIV(step, FMA(step, y, D(1))));
    y = SEL(EQ(left, D(0)), D((double)INFINITY), y);
    return COPYSIGN(SEL(LT(D(1), u), D((double)NAN), y), x);
}
