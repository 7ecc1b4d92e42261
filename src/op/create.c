/* create.c - arrays from data, numbers and generators */
#include <math.h>

#include "core/alloc.h"
#include "core/scope.h"
#include "op/op.h"

/* ---- from memory -------------------------------------------------------------------- */

static bool good_dtype(const char *op, fr_dtype dtype)
{
    if ((unsigned)dtype < FR_DTYPE_COUNT)
        return true;
    fr__fail(FR__E_TYPE, "%s: %d is no dtype", op, (int)dtype);
    return false;
}

fr_array *fr_from_data(const void *data, fr_dtype dtype, const int64_t *shape, int ndim)
{
    if (fr__failed() || !good_dtype("from_data", dtype))
        return NULL;
    fr_array *x = fr__leaf(NULL, 0, (int)dtype, ndim, shape, NULL);
    if (!x || !x->size)
        return x;
    fr__buffer *buf = fr__buffer_new(fr_nbytes(x));
    if (!buf) {
        fr__discard(x);
        return NULL;
    }
    memcpy(buf->data, data, fr_nbytes(x));
    x->buf = buf;
    x->data = buf->data;
    return x;
}

static void release_nothing(void *ctx) { (void)ctx; }

/* Bytes from the first to the last that the elements touch; *before: how many of them lie before
 * element [0, 0, ...]. Strides in bytes, NULL: row-major. */
static int64_t extent(int ndim, const int64_t *shape, const int64_t *strides, int64_t size,
                      int64_t *before)
{
    int64_t after = size, row = size;
    for (int i = ndim - 1; i >= 0; i--) {
        int64_t step = strides ? strides[i] : row, reach;
        if (shape[i] <= 0)
            return 0;
        if (__builtin_mul_overflow(shape[i] - 1, step, &reach) ||
            __builtin_mul_overflow(row, shape[i], &row))
            return 0; /* no such memory: what follows refuses it */
        *before -= reach < 0 ? reach : 0;
        after += reach > 0 ? reach : 0;
    }
    return *before + after;
}

fr_array *fr_from_buffer(void *data, fr_dtype dtype, const int64_t *shape, int ndim,
                         const int64_t *strides, void (*release)(void *ctx), void *ctx)
{
    if (fr__failed() || !good_dtype("from_buffer", dtype))
        return NULL;
    if (ndim > FR_MAX_NDIM || ndim < 0)
        return fr__fail(FR__E_LIMIT, "from_buffer: %d dimensions, the most is %d", ndim,
                        FR_MAX_NDIM);
    int64_t steps[FR_MAX_NDIM], size = fr__dsize((int)dtype);
    if ((uintptr_t)data % (uintptr_t)size)
        return fr__fail(FR__E_VALUE, "from_buffer: data is not aligned to %d bytes", (int)size);
    for (int i = 0; strides && i < ndim; i++) {
        if (strides[i] % size)
            return fr__fail(FR__E_VALUE,
                            "from_buffer: stride %lld of axis %d is no multiple of %d bytes",
                            (long long)strides[i], i, (int)size);
        steps[i] = strides[i] / size;
    }
    fr__buffer *buf = fr__malloc(sizeof *buf);
    if (!buf)
        return NULL;
    int64_t before = 0, bytes = extent(ndim, shape, strides, size, &before);
    *buf = (fr__buffer){.refs = 1,
                        .data = data ? (char *)data - before : NULL,
                        .bytes = (size_t)bytes,
                        .ctx = ctx,
                        .release = release_nothing};
    fr_array *x =
        fr__leaf(buf, (size_t)before, (int)dtype, ndim, shape, strides ? steps : NULL);
    if (x && release)
        buf->release = release; /* only now: a call that fails doesn't release */
    return x;
}

/* ---- numbers ------------------------------------------------------------------------ */

static fr_array *number(int dtype, int64_t bits, int flags)
{
    if (fr__failed())
        return NULL;
    fr_array *x = fr__node(FR__OP_NUMBER, dtype, 0, NULL, 0, NULL, 1);
    if (x) {
        x->par[0] = bits;
        x->flags = (uint8_t)flags;
    }
    return x;
}

static int64_t double_bits(double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

fr_array *fr_number(double v) { return number(FR_FLOAT32, double_bits(v), FR__WEAK); }
static int64_t complex_bits(double re, double im)
{
    float parts[2] = {(float)re, (float)im};
    int64_t bits;
    memcpy(&bits, parts, sizeof bits);
    return bits;
}

fr_array *fr_number_complex(double re, double im)
{
    return number(FR_COMPLEX64, complex_bits(re, im), FR__WEAK);
}

fr_array *fr_number_bool(bool v) { return number(FR_BOOL, v, FR__WEAK); }

/* An int beyond int32 makes a weak int64, so that its value survives. */
fr_array *fr_number_int(int64_t v)
{
    return number(v == (int32_t)v ? FR_INT32 : FR_INT64, v, FR__WEAK);
}

fr_array *fr__number(double v, int dtype)
{
    bool whole = fr__dtypes[dtype].kind != FR__KIND_FLOAT;
    if (!whole)
        return number(dtype, double_bits(v), 0);
    if (dtype == FR_COMPLEX64)
        return number(dtype, complex_bits(v, 0), 0);
    int64_t bits = dtype == FR_BOOL                   ? v != 0
                   : !(v >= -0x1p63)                  ? (v != v ? 0 : INT64_MIN)
                   : v < 0x1p63                       ? (int64_t)v
                   : dtype == FR_UINT64 && v < 0x1p64 ? (int64_t)(uint64_t)v
                                                      : INT64_MAX;
    return number(dtype, bits, 0);
}

/* Sugar's operands belong to whoever uses them: the one reference is no handle. */
static fr_array *floating(int dtype, int64_t bits)
{
    fr_scope *scopes = fr__scope_now;
    fr__scope_now = NULL;
    fr_array *x = number(dtype, bits, FR__WEAK | FR__FLOATING);
    fr__scope_now = scopes;
    if (x)
        atomic_fetch_sub_explicit(&x->refs, (uint64_t)1 << 32, memory_order_relaxed);
    return x;
}

fr_array *fr_operand_double(double v) { return floating(FR_FLOAT32, double_bits(v)); }
fr_array *fr_operand_int(long long v)
{
    return floating(v == (int32_t)v ? FR_INT32 : FR_INT64, v);
}

/* ---- constants and ranges ----------------------------------------------------------- */

fr_array *fr_full(const int64_t *shape, int ndim, double value, fr_dtype dtype)
{
    if (fr__failed() || !good_dtype("full", dtype))
        return NULL;
    fr_array *v = fr__number(value, (int)dtype);
    fr_array *x = v ? fr_broadcast_to(v, shape, ndim) : NULL;
    fr__discard(v);
    return x;
}

fr_array *fr_zeros(const int64_t *shape, int ndim, fr_dtype dtype)
{
    return fr_full(shape, ndim, 0, dtype);
}
fr_array *fr_ones(const int64_t *shape, int ndim, fr_dtype dtype)
{
    return fr_full(shape, ndim, 1, dtype);
}

fr_array *fr_arange(double start, double stop, double step, fr_dtype dtype)
{
    if (fr__failed() || !good_dtype("arange", dtype))
        return NULL;
    if (dtype == FR_COMPLEX64) {
        fr_array *x = fr_arange(start, stop, step, FR_FLOAT32);
        return x ? fr__then(x, fr_astype(x, dtype)) : NULL;
    }
    if (dtype == FR_BOOL)
        return fr__fail(FR__E_TYPE, "arange: %s is not a dtype to count in",
                        fr__dtypes[dtype].name);
    double count = ceil((stop - start) / step);
    if (step == 0 || !isfinite(start) || !isfinite(step) || isnan(count))
        return fr__fail(FR__E_VALUE, "arange: cannot go from %g to %g in steps of %g", start,
                        stop, step);
    if (count > 0x1p56)
        return fr__fail(FR__E_LIMIT, "arange: %g values are more than memory can hold", count);
    int64_t n = count > 0 ? (int64_t)count : 0;
    fr_array *x = fr__node(FR__OP_IOTA, n < INT32_MAX ? FR_INT32 : FR_INT64, 1, &n, 0, NULL, 0);
    if (x)
        x = fr__then(x, fr_astype(x, dtype));
    if (step != 1) {
        fr_array *s = fr__number(step, (int)dtype);
        x = fr__then(x, (fr_mul)(x, s));
        fr__discard(s);
    }
    if (start != 0) {
        fr_array *s = fr__number(start, (int)dtype);
        x = fr__then(x, (fr_add)(x, s));
        fr__discard(s);
    }
    return x;
}

/* ---- evenly spaced ------------------------------------------------------------------ */

/* x * by + plus, both of x's dtype. */
static fr_array *scaled(fr_array *x, double by, double plus)
{
    fr_array *f = x ? fr__number(by, x->dtype) : NULL,
             *p = x ? fr__number(plus, x->dtype) : NULL;
    fr_array *y = (fr_mul)(x, f), *z = (fr_add)(y, p);
    fr__discard(f);
    fr__discard(p);
    fr__discard(y);
    return fr__then(x, z);
}

/* The last of n is exact: not what steps of rounded size lead to. */
static fr_array *with_end(fr_array *x, double stop)
{
    fr_array *at = fr_arange(0, (double)x->size, 1, FR_INT64),
             *last = fr__number((double)(x->size - 1), FR_INT64),
             *end = fr__number(stop, x->dtype);
    fr_array *here = (fr_eq)(at, last), *y = (fr_where)(here, end, x);
    fr_array *made[] = {at, last, end, here, x};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}

fr_array *fr_linspace(double start, double stop, int64_t n, bool endpoint, fr_dtype dtype)
{
    if (fr__failed() || !good_dtype("linspace", dtype))
        return NULL;
    if (n < 0)
        return fr__fail(FR__E_VALUE, "linspace: %lld values", (long long)n);
    int64_t steps = endpoint ? n - 1 : n;
    fr_array *x = fr_arange(0, (double)n, 1, dtype == FR_FLOAT64 ? FR_FLOAT64 : FR_FLOAT32);
    x = scaled(x, steps > 0 ? (stop - start) / (double)steps : 0, start);
    if (x && endpoint && n > 1)
        x = with_end(x, stop);
    return x ? fr__then(x, fr_astype(x, dtype)) : NULL;
}

/* ---- windows: a0 - a1 cos(t) + a2 cos(2 t), t from 0 to 2 pi ----------------------------- */

static fr_array *wave(int64_t n, double turns, double by, double plus)
{
    fr_array *x = fr_linspace(0, turns * 6.283185307179586, n, true, FR_FLOAT32);
    x = x ? fr__then(x, fr_cos(x)) : NULL;
    return scaled(x, by, plus);
}

static fr_array *window(int64_t n, double a0, double a1, double a2)
{
    if (fr__failed())
        return NULL;
    n = n < 0 ? 0 : n;
    if (n == 1)
        return fr_ones(&n, 1, FR_FLOAT32);
    fr_array *x = wave(n, 1, -a1, a0);
    if (!x || a2 == 0)
        return x;
    fr_array *more = wave(n, 2, a2, 0);
    x = fr__then(x, (fr_add)(x, more));
    fr__discard(more);
    return x;
}

fr_array *fr_hanning(int64_t n) { return window(n, 0.5, 0.5, 0); }
fr_array *fr_hamming(int64_t n) { return window(n, 0.54, 0.46, 0); }
fr_array *fr_blackman(int64_t n) { return window(n, 0.42, 0.5, 0.08); }

/* 1 less the distance from the middle. */
fr_array *fr_bartlett(int64_t n)
{
    if (fr__failed())
        return NULL;
    n = n < 0 ? 0 : n;
    if (n == 1)
        return fr_ones(&n, 1, FR_FLOAT32);
    fr_array *x = fr_linspace(-1, 1, n, true, FR_FLOAT32);
    x = x ? fr__then(x, fr_abs(x)) : NULL;
    return scaled(x, -1, 1);
}
