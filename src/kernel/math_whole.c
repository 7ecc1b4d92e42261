/* math_whole.c - signs, rounding, division with remainder, parts of complex numbers in kernel IR */
#include <math.h>

#include "kernel/build.h"
#include "kernel/forms.h"

static bool is_float(const fr__kb *kb, int x)
{
    return fr__ktype_at(kb, x) == FR__KF32 || fr__ktype_at(kb, x) == FR__KF64;
}

static bool is_unsigned(const fr__kb *kb, int x)
{
    return fr__ktype_at(kb, x) == FR__KU32 || fr__ktype_at(kb, x) == FR__KU64;
}

int fr__math_floor(fr__kb *kb, int x) { return is_float(kb, x) ? FLOOR(x) : x; }
int fr__math_ceil(fr__kb *kb, int x) { return is_float(kb, x) ? CEIL(x) : x; }
int fr__math_trunc(fr__kb *kb, int x) { return is_float(kb, x) ? TRUNC(x) : x; }
int fr__math_rint(fr__kb *kb, int x) { return is_float(kb, x) ? RINT(x) : x; }

int fr__math_sign(fr__kb *kb, int x)
{
    int zero = LIKE(x, 0), one = LIKE(x, 1);
    if (is_unsigned(kb, x))
        return SEL(EQ(x, zero), zero, one);
    int y = SEL(LT(zero, x), one, SEL(LT(x, zero), LIKE(x, -1), zero));
    return is_float(kb, x) ? SEL(NE(x, x), x, y) : y;
}

static int never(fr__kb *kb) { return fr__kconst(kb, FR__KB1, 0); }
static int equals(fr__kb *kb, int x, double v)
{
    return is_float(kb, x) ? EQ(x, LIKE(x, v)) : never(kb);
}

int fr__math_isposinf(fr__kb *kb, int x) { return equals(kb, x, (double)INFINITY); }
int fr__math_isneginf(fr__kb *kb, int x) { return equals(kb, x, -(double)INFINITY); }
int fr__math_isinf(fr__kb *kb, int x)
{
    return is_float(kb, x) ? equals(kb, ABS(x), (double)INFINITY) : never(kb);
}

int fr__math_isfinite(fr__kb *kb, int x)
{
    return is_float(kb, x) ? LT(ABS(x), LIKE(x, (double)INFINITY)) : fr__kconst(kb, FR__KB1, 1);
}

/* Whether the truncated quotient lies above the floored one: there is a rest r, and its sign is
 * not the divisor's. */
static int goes_down(fr__kb *kb, int r, int y)
{
    int zero = LIKE(r, 0);
    return AND(NE(r, zero), XOR(LT(r, zero), LT(y, zero)));
}

int fr__math_floor_divide(fr__kb *kb, int x, int y)
{
    if (is_float(kb, x))
        return FLOOR(DIV(x, y));
    if (is_unsigned(kb, x))
        return DIV(x, y);
    return SUB(DIV(x, y), SEL(goes_down(kb, MOD(x, y), y), LIKE(x, 1), LIKE(x, 0)));
}

int fr__math_remainder(fr__kb *kb, int x, int y)
{
    int r = MOD(x, y);
    if (is_unsigned(kb, x))
        return r;
    int s = SEL(goes_down(kb, r, y), ADD(r, y), r);
    return is_float(kb, x) ? SEL(EQ(r, LIKE(r, 0)), COPYSIGN(r, y), s) : s;
}

/* ---- a complex64: 64 bits, the real part low --------------------------------------------- */

static int float_of_word(fr__kb *kb, int x)
{
    return FLOAT_OF(fr__k(kb, FR__K_CVT, FR__KU32, x, -1, -1, 0));
}

int fr__math_low_float(fr__kb *kb, int x) { return float_of_word(kb, x); }
int fr__math_high_float(fr__kb *kb, int x) { return float_of_word(kb, SHR(x, LIKE(x, 32))); }

static int word_of_float(fr__kb *kb, int x)
{
    int bits = fr__k(kb, FR__K_BITCAST, FR__KU32, x, -1, -1, 0);
    return fr__k(kb, FR__K_CVT, FR__KU64, bits, -1, -1, 0);
}

int fr__math_pair(fr__kb *kb, int low, int high)
{
    int up = word_of_float(kb, high);
    return OR(word_of_float(kb, low), SHL(up, LIKE(up, 32)));
}
