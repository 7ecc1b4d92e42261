/* elementwise.c - operations element by element that are made of others */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "core/scope.h"
#include "op/op.h"

fr_array *fr_clip(fr_array *x, fr_array *low, fr_array *high)
{
    if (!low && !high && x)
        return fr__fail(FR__E_VALUE, "clip: one bound at least must be given");
    fr_array *y = low ? (fr_maximum)(x, low) : x;
    if (!high)
        return y;
    fr_array *z = (fr_minimum)(y, high);
    if (low)
        fr__discard(y);
    return z;
}

/* Integers round in float64, where all up to 2^53 are exact. */
fr_array *fr_round(fr_array *x, int decimals)
{
    if (!fr__operands(1, &x))
        return NULL;
    int dtype = x->dtype;
    bool whole = !fr__is_float(dtype) && dtype != FR_COMPLEX64;
    if (decimals == 0 || (whole && decimals > 0))
        return fr_rint(x);
    fr_array *f = fr_astype(x, whole ? FR_FLOAT64 : (fr_dtype)dtype);
    fr_array *by = f ? fr__number(pow(10, abs(decimals)), f->dtype) : NULL;
    fr_array *a = decimals > 0 ? (fr_mul)(f, by) : (fr_div)(f, by), *r = fr_rint(a);
    fr_array *y = decimals > 0 ? (fr_div)(r, by) : (fr_mul)(r, by);
    fr_array *z = whole && y ? fr_astype(y, (fr_dtype)dtype) : y;
    fr_array *made[] = {f, by, a, r, z == y ? NULL : y};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return z;
}

static double greatest_finite(int dtype)
{
    return dtype == FR_FLOAT16    ? 65504
           : dtype == FR_BFLOAT16 ? 0x1.fep127
           : dtype == FR_FLOAT32  ? FLT_MAX
                                  : DBL_MAX;
}

fr_array *fr_nan_to_num(fr_array *x, double nan, double posinf, double neginf)
{
    if (!fr__operands(1, &x))
        return NULL;
    if (x->dtype == FR_COMPLEX64)
        return fr__fail(FR__E_VALUE, "nan_to_num: complex64 is not supported");
    if (!fr__is_float(x->dtype))
        return fr_rint(x); /* as it is */
    double most = greatest_finite(x->dtype);
    fr_array *n = fr__number(nan, x->dtype);
    fr_array *p = fr__number(posinf == HUGE_VAL ? most : posinf, x->dtype);
    fr_array *m = fr__number(neginf == -HUGE_VAL ? -most : neginf, x->dtype);
    fr_array *is_nan = fr_isnan(x), *up = fr_isposinf(x), *down = fr_isneginf(x);
    fr_array *a = (fr_where)(down, m, x), *b = (fr_where)(up, p, a),
             *y = (fr_where)(is_nan, n, b);
    fr_array *made[] = {n, p, m, is_nan, up, down, a, b};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}

static fr_array *as_float(fr_array *x) /* a result of its own */
{
    bool good = fr__is_float(x->dtype) || x->dtype == FR_COMPLEX64;
    return fr_astype(x, good ? (fr_dtype)x->dtype : FR_FLOAT32);
}

/* Equal, which infinities can be; or near, and then y is finite. */
fr_array *fr_isclose(fr_array *x, fr_array *y, double rtol, double atol, bool equal_nan)
{
    if (!fr__operands(2, (fr_array *[]){x, y}))
        return NULL;
    fr_array *f = as_float(x), *g = as_float(y), *same = (fr_eq)(x, y);
    fr_array *d = (fr_sub)(f, g), *off = fr_abs(d), *size = fr_abs(g);
    fr_array *r = fr_number(rtol), *a = fr_number(atol);
    fr_array *scaled = (fr_mul)(size, r), *slack = (fr_add)(scaled, a),
             *near = (fr_le)(off, slack);
    fr_array *finite = fr_isfinite(y), *both = (fr_logical_and)(near, finite),
             *z = (fr_logical_or)(same, both);
    if (equal_nan && z) {
        fr_array *nx = fr_isnan(x), *ny = fr_isnan(y), *nans = (fr_logical_and)(nx, ny);
        fr_array *more = (fr_logical_or)(z, nans), *made[] = {nx, ny, nans, z};
        for (int i = 0; i < FR__COUNT(made); i++)
            fr__discard(made[i]);
        z = more;
    }
    fr_array *made[] = {f, g, same, d, off, size, r, a, scaled, slack, near, finite, both};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return z;
}
