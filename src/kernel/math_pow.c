/* math_pow.c - x to the power y in kernel IR
 *
 * float32 goes by log and exp in float64. float64 needs y log(x) to 64 bits and more: sums of two
 * floats, of which the second holds what the first has lost. Integers are squared and multiplied.
 */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"

typedef struct pair {
    int hi, lo;
} pair;

/* a + b without rounding, if |a| >= |b|. */
static pair sum(fr__kb *kb, int a, int b)
{
    int s = ADD(a, b);
    return (pair){s, SUB(b, SUB(s, a))};
}

static int upper_half(fr__kb *kb, int a) /* the first 26 bits */
{
    int bits = fr__k(kb, FR__K_BITCAST, FR__KI64, a, -1, -1, 0);
    bits = AND(bits, fr__kconst_bits(kb, FR__KI64, -0x8000000));
    return fr__k(kb, FR__K_BITCAST, FR__KF64, bits, -1, -1, 0);
}

/* a b without rounding, on machines without FMA too. */
static pair product(fr__kb *kb, int a, int b)
{
    int ah = upper_half(kb, a), al = SUB(a, ah), bh = upper_half(kb, b), bl = SUB(b, bh),
        p = MUL(a, b);
    int e = ADD(ADD(SUB(MUL(ah, bh), p), MUL(ah, bl)), MUL(al, bh));
    return (pair){p, ADD(e, MUL(al, bl))};
}

static pair product2(fr__kb *kb, pair a, pair b)
{
    pair p = product(kb, a.hi, b.hi);
    return sum(kb, p.hi, ADD(p.lo, ADD(MUL(a.hi, b.lo), MUL(a.lo, b.hi))));
}

/* log of x > 0 to about 68 bits: e ln 2 + 2 s (1 + z / 3 + ...), s = f / (2 + f), z = s^2. */
static pair log_pair(fr__kb *kb, int x)
{
    static const double c[] = {0.13089629160674623, 0.13268485680654427, 0.15386250447940189,
                               0.18181795442371985, 0.22222222393566609, 0.28571428570795431,
                               0.4000000000000089};
    int below = LT(x, D(0x1p-1022)), up = SEL(below, MUL(x, D(0x1p54)), x);
    int t = ADD(fr__k(kb, FR__K_BITCAST, FR__KU64, up, -1, -1, 0),
                fr__kconst_bits(kb, FR__KU64, 0x95f6200000000));
    int bits = ADD(AND(t, fr__kconst_bits(kb, FR__KU64, 0xfffffffffffff)),
                   fr__kconst_bits(kb, FR__KU64, 0x3fe6a09e00000000));
    int m = fr__k(kb, FR__K_BITCAST, FR__KF64, bits, -1, -1, 0);
    int e = ADD(SHR(t, fr__kconst_bits(kb, FR__KU64, 52)),
                fr__kconst_bits(kb, FR__KU64, 0x4330000000000000));
    e = SUB(fr__k(kb, FR__K_BITCAST, FR__KF64, e, -1, -1, 0),
            SEL(below, D(0x1p52 + 1077), D(0x1p52 + 1023)));

    int f = SUB(m, D(1)), d = ADD(m, D(1)), d_lo = SUB(m, SUB(d, D(1)));
    pair s = {DIV(f, d), 0};
    pair back = product(kb, s.hi, d);
    s.lo = DIV(SUB(SUB(SUB(f, back.hi), back.lo), MUL(s.hi, d_lo)), d);
    pair z = product2(kb, s, s);
    pair third = product2(kb, z, (pair){D(0x1.5555555555555p-1), D(0x1.5555555555555p-55)});
    int rest = MUL(MUL(z.hi, z.hi), fr__math_poly(kb, z.hi, 7, c));
    pair r = sum(kb, D(2), third.hi);
    r = sum(kb, r.hi, ADD(r.lo, ADD(third.lo, rest)));
    pair y = product2(kb, s, r);
    pair l = sum(kb, MUL(e, D(0x1.62e42fefa3800p-1)), y.hi);
    int first = EQ(e, D(0)); /* there is nothing to add to, and y would be rounded */
    int hi = SEL(first, y.hi, l.hi);
    int lo = SEL(first, y.lo, ADD(l.lo, FMA(e, D(0x1.ef35793c76730p-45), y.lo)));
    return sum(kb, hi, lo);
}

static int power_of_positive(fr__kb *kb, int x, int y)
{
    pair l = log_pair(kb, x), p = product(kb, y, l.hi);
    p = sum(kb, p.hi, ADD(p.lo, MUL(y, l.lo)));
    int lo = SEL(LT(ABS(p.hi), D(1000)), p.lo, D(0));
    return fr__math_exp_scaled(kb, p.hi, lo, 0);
}

/* The special cases are those of C's pow. */
static int float_power(fr__kb *kb, int x, int y)
{
    int type = fr__ktype_at(kb, x), a = ABS(x), zero = LIKE(x, 0), one = LIKE(x, 1),
        inf = LIKE(x, (double)INFINITY);
    /* Exponents beyond this make 1, 0 or infinity just as this one. */
    int limit = LIKE(y, 0x1p80),
        e = SEL(LT(limit, y), limit, SEL(LT(y, NEG(limit)), NEG(limit), y)), r;
    if (type == FR__KF64) {
        r = power_of_positive(kb, a, e);
    } else {
        int p =
            MUL(fr__kcast(kb, e, FR__KF64), fr__math_near_log(kb, fr__kcast(kb, a, FR__KF64)));
        p = SEL(LT(D(120), p), D(120), SEL(LT(p, D(-120)), D(-120), p)); /* 0 or infinite */
        r = fr__kcast(kb, fr__math_near_exp(kb, p), type);
    }
    int falls = LT(y, zero);
    r = SEL(EQ(a, zero), SEL(falls, inf, zero), r);
    r = SEL(EQ(a, inf), SEL(falls, zero, inf), r);
    int half = MUL(y, LIKE(y, 0.5)), whole = EQ(RINT(y), y);
    int odd = AND(whole, NE(RINT(half), half));
    r = SEL(odd, COPYSIGN(r, x), r);
    int outside = AND(AND(LT(x, zero), LT(a, inf)), NOT(whole));
    r = SEL(outside, LIKE(x, (double)NAN), r);
    r = SEL(OR(NE(x, x), NE(y, y)), ADD(x, y), r);
    return SEL(OR(EQ(x, one), EQ(y, zero)), one, r);
}

/* All bits of the exponent count, as results wrap. */
static int whole_power(fr__kb *kb, int x, int y)
{
    int type = fr__ktype_at(kb, x), one = LIKE(x, 1), zero = LIKE(x, 0), r = one;
    bool wide = type == FR__KI64 || type == FR__KU64;
    for (int bit = 0; bit < (wide ? 64 : 32); bit++) {
        int set =
            NE(AND(y, fr__kconst_bits(kb, type,
                                      bit == 63                       ? INT64_MIN
                                      : bit == 31 && type == FR__KI32 ? INT32_MIN
                                                                      : (int64_t)1 << bit)),
               zero);
        r = SEL(set, MUL(r, x), r);
        x = MUL(x, x);
    }
    return type == FR__KI32 || type == FR__KI64 ? SEL(LT(y, zero), zero, r) : r;
}

int fr__math_pow(fr__kb *kb, int x, int y)
{
    int type = fr__ktype_at(kb, x);
    return type == FR__KF32 || type == FR__KF64 ? float_power(kb, x, y) : whole_power(kb, x, y);
}
