/* scan.c - sums, products and extremes so far: SCAN over [outer, axis, inner], and back */
#include "core/scope.h"
#include "op/op.h"

fr_array *fr__scan(fr_array *x, int kind, bool reverse, bool exclusive)
{
    fr_array *y = fr__node(FR__OP_SCAN, x->dtype, x->ndim, x->dims, 1, &x, 3);
    if (y) {
        y->par[0] = kind;
        y->par[1] = reverse;
        y->par[2] = exclusive;
    }
    return y;
}

static int result_dtype(int kind, const fr_array *x)
{
    int dtype = x->dtype, of = fr__dtypes[dtype].kind;
    if (kind == FR__SCAN_SUM && dtype == FR_BOOL)
        return FR_INT32;
    return kind == FR__SCAN_LOG_SUM_EXP && of < FR__KIND_FLOAT ? FR_FLOAT32 : dtype;
}

static fr_array *scan(const char *name, int kind, fr_array *x, const fr_scan_options *o)
{
    int64_t shape[3] = {1, x->size, 1};
    int axis = o && o->axis ? fr__axis(*o->axis, x->ndim, name) : -1;
    bool flat = !(o && o->axis);
    int dtype = result_dtype(kind, x);
    if (!flat && axis < 0)
        return NULL;
    if (!flat) {
        shape[1] = x->dims[axis];
        for (int d = 0; d < x->ndim; d++)
            shape[2 * (d > axis)] *= d == axis ? 1 : x->dims[d];
    }
    fr_array *from = fr_astype(x, (fr_dtype)dtype);
    from = from ? fr__then(from, fr_reshape(from, shape, 3)) : NULL;
    fr_array *y = from ? fr__scan(from, kind, o && o->reverse, o && o->exclusive) : NULL;
    fr__discard(from);
    if (!y)
        return NULL;
    return fr__then(y, flat ? fr_reshape(y, &shape[1], 1) : fr_reshape(y, x->dims, x->ndim));
}

#define SCAN(name, kind)                                                                       \
    fr_array *fr_##name(fr_array *x, const fr_scan_options *o)                                 \
    {                                                                                          \
        if (!fr__operands(1, &x))                                                              \
            return NULL;                                                                       \
        fr_array *y = scan(#name, FR__SCAN_##kind, x, o);                                      \
        fr__settle(1, &x);                                                                     \
        return y;                                                                              \
    }
SCAN(cumsum, SUM)
SCAN(cumprod, PROD)
SCAN(cummax, MAX)
SCAN(cummin, MIN)
SCAN(logcumsumexp, LOG_SUM_EXP)
