/* math_bits.c - the same bits as another type, in kernel IR: what memory would hold, read anew */
#include "kernel/build.h"
#include "kernel/forms.h"

#define U(v) fr__kconst(kb, FR__KU32, v)

static int to_u32(fr__kb *kb, int x)
{
    return fr__ktype_at(kb, x) == FR__KU32 ? x
                                           : fr__k(kb, FR__K_BITCAST, FR__KU32, x, -1, -1, 0);
}

static int from_u32(fr__kb *kb, int x, int type)
{
    return type == FR__KU32 ? x : fr__k(kb, FR__K_BITCAST, type, x, -1, -1, 0);
}

/* Of a float32 that is a float16: small ones are multiples of 2^-24. */
static int half_bits(fr__kb *kb, int x)
{
    int all = to_u32(kb, x), size = AND(all, U(0x7fffffff)),
        sign = AND(SHR(all, U(16)), U(0x8000));
    int small = fr__k(kb, FR__K_CVT, FR__KU32, MUL(ABS(x), LIKE(x, 0x1p24)), -1, -1, 0);
    int normal = SHR(SUB(size, U(0x38000000)), U(13));
    int special = OR(U(0x7c00), AND(SHR(size, U(13)), U(0x3ff)));
    int bits = SEL(LT(size, U(0x38800000)), small, normal);
    return OR(sign, SEL(LT(size, U(0x7f800000)), bits, special));
}

static int half_value(fr__kb *kb, int x)
{
    int size = AND(x, U(0x7fff)), sign = SHL(AND(x, U(0x8000)), U(16));
    int small = MUL(fr__k(kb, FR__K_CVT, FR__KF32, size, -1, -1, 0), F(0x1p-24));
    int moved = ADD(SHL(size, U(13)), U(0x38000000));
    int normal = SEL(LT(size, U(0x7c00)), moved, ADD(moved, U(0x38000000)));
    int bits = SEL(LT(size, U(0x400)), to_u32(kb, small), normal);
    return from_u32(kb, OR(bits, sign), FR__KF32);
}

/* As an unsigned integer: KU32, of eight bytes KU64. */
static int bits_of(fr__kb *kb, int x, int dtype)
{
    switch (fr__dsize(dtype)) {
    case 8:
        return fr__ktype_at(kb, x) == FR__KU64
                   ? x
                   : fr__k(kb, FR__K_BITCAST, FR__KU64, x, -1, -1, 0);
    case 4: return to_u32(kb, x);
    default: break;
    }
    if (dtype == FR_FLOAT16)
        return half_bits(kb, x);
    if (dtype == FR_BFLOAT16)
        return SHR(to_u32(kb, x), U(16));
    if (dtype == FR_BOOL)
        return fr__kcast(kb, x, FR__KU32);
    return AND(to_u32(kb, x), U(fr__dsize(dtype) == 1 ? 0xff : 0xffff));
}

int fr__math_reinterpret(fr__kb *kb, int x, int from, int to)
{
    int bits = bits_of(kb, x, from), type = fr__ktype_of(to), size = fr__dsize(to);
    if (size == 8)
        return type == FR__KU64 ? bits : fr__k(kb, FR__K_BITCAST, type, bits, -1, -1, 0);
    if (size == 4)
        return from_u32(kb, bits, type);
    if (to == FR_FLOAT16)
        return half_value(kb, bits);
    if (to == FR_BFLOAT16)
        return from_u32(kb, SHL(bits, U(16)), FR__KF32);
    if (to == FR_BOOL)
        return fr__kcast(kb, bits, FR__KB1);
    if (type == FR__KU32)
        return bits;
    int wide = from_u32(kb, bits, FR__KI32), n = I(32 - 8 * size); /* the sign spreads */
    return SHR(SHL(wide, n), n);
}
