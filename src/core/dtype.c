/* dtype.c - the table of element types, and how they promote */
#include "core/dtype.h"

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
