/* dtype.c - the table of element types, and how they promote */
#include "core/dtype.h"

#include <float.h>

#include "base/base.h"

const fr__dtype_info fr__dtypes[FR_DTYPE_COUNT] = {
    [FR_BOOL] = {"bool", 1, FR__KIND_BOOL, '?'},
    [FR_UINT8] = {"uint8", 1, FR__KIND_UINT, 'B'},
    [FR_UINT16] = {"uint16", 2, FR__KIND_UINT, 'H'},
    [FR_UINT32] = {"uint32", 4, FR__KIND_UINT, 'I'},
    [FR_UINT64] = {"uint64", 8, FR__KIND_UINT, 'Q'},
    [FR_INT8] = {"int8", 1, FR__KIND_INT, 'b'},
    [FR_INT16] = {"int16", 2, FR__KIND_INT, 'h'},
    [FR_INT32] = {"int32", 4, FR__KIND_INT, 'i'},
    [FR_INT64] = {"int64", 8, FR__KIND_INT, 'q'},
    [FR_FLOAT16] = {"float16", 2, FR__KIND_FLOAT, 'e'},
    [FR_BFLOAT16] = {"bfloat16", 2, FR__KIND_FLOAT, 0},
    [FR_FLOAT32] = {"float32", 4, FR__KIND_FLOAT, 'f'},
    [FR_FLOAT64] = {"float64", 8, FR__KIND_FLOAT, 'd'},
    [FR_COMPLEX64] = {"complex64", 8, FR__KIND_COMPLEX, 0},
};

const char *fr_dtype_name(fr_dtype d)
{
    return (unsigned)d < FR_DTYPE_COUNT ? fr__dtypes[d].name : "(no dtype)";
}

size_t fr_dtype_size(fr_dtype d)
{
    return (unsigned)d < FR_DTYPE_COUNT ? fr__dtypes[d].size : 0;
}

fr_dtype fr_promote(fr_dtype a, fr_dtype b)
{
    if ((unsigned)a >= FR_DTYPE_COUNT || (unsigned)b >= FR_DTYPE_COUNT)
        return FR_DTYPE_COUNT;
    int ka = fr__dtypes[a].kind, kb = fr__dtypes[b].kind;
    if (ka > kb)
        return fr_promote(b, a);
    if (kb == FR__KIND_COMPLEX)
        return b;
    if (ka != kb && (kb == FR__KIND_FLOAT || ka == FR__KIND_BOOL))
        return b; /* an integer takes the float, a bool takes anything */
    if (ka == kb) {
        if (kb == FR__KIND_FLOAT && a != b && fr__dsize(a) == 2 && fr__dsize(b) == 2)
            return FR_FLOAT32; /* float16 with bfloat16 */
        return a > b ? a : b;  /* in each kind the table goes from narrow to wide */
    }
    /* a is unsigned, b signed */
    if (fr__dsize(b) > fr__dsize(a))
        return b;
    static const fr_dtype wider[] = {
        [1] = FR_INT16, [2] = FR_INT32, [4] = FR_INT64, [8] = FR_FLOAT32};
    return wider[fr__dsize(a)];
}

bool fr_can_cast(fr_dtype from, fr_dtype to) { return fr_promote(from, to) == to; }

bool fr_in_category(fr_dtype dtype, fr_category category)
{
    if ((unsigned)dtype >= FR_DTYPE_COUNT)
        return false;
    int kind = fr__dtypes[dtype].kind;
    switch (category) {
    case FR_GENERIC: return true;
    case FR_NUMBER: return kind != FR__KIND_BOOL;
    case FR_INTEGER: return kind == FR__KIND_UINT || kind == FR__KIND_INT;
    case FR_SIGNEDINTEGER: return kind == FR__KIND_INT;
    case FR_UNSIGNEDINTEGER: return kind == FR__KIND_UINT;
    case FR_INEXACT: return kind >= FR__KIND_FLOAT;
    case FR_FLOATING: return kind == FR__KIND_FLOAT;
    case FR_COMPLEXFLOATING: return kind == FR__KIND_COMPLEX;
    }
    return false;
}

int fr_get_finfo(fr_dtype dtype, fr_finfo *to)
{
    if (fr__failed())
        return -1;
    switch (dtype) {
    case FR_FLOAT16: *to = (fr_finfo){dtype, 16, -65504, 65504, 0x1p-10, 0x1p-14}; return 0;
    case FR_BFLOAT16:
        *to = (fr_finfo){dtype, 16, -0x1.fep127, 0x1.fep127, 0x1p-7, 0x1p-126};
        return 0;
    case FR_FLOAT32:
    case FR_COMPLEX64:
        *to = (fr_finfo){FR_FLOAT32,          32,
                         -(double)FLT_MAX,    (double)FLT_MAX,
                         (double)FLT_EPSILON, (double)FLT_MIN};
        return 0;
    case FR_FLOAT64:
        *to = (fr_finfo){dtype, 64, -DBL_MAX, DBL_MAX, DBL_EPSILON, DBL_MIN};
        return 0;
    default: return fr__fail_int(FR__E_TYPE, "finfo: %s is no float", fr_dtype_name(dtype));
    }
}

int fr_get_iinfo(fr_dtype dtype, fr_iinfo *to)
{
    if (fr__failed())
        return -1;
    if (!fr_in_category(dtype, FR_INTEGER))
        return fr__fail_int(FR__E_TYPE, "iinfo: %s is no integer", fr_dtype_name(dtype));
    int bits = 8 * fr__dsize(dtype);
    bool sign = fr__dtypes[dtype].kind == FR__KIND_INT;
    *to = (fr_iinfo){dtype, bits, sign ? INT64_MIN >> (64 - bits) : 0,
                     UINT64_MAX >> (64 - bits + sign)};
    return 0;
}
