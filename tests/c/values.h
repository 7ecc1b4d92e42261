/* values.h - elements of any dtype as plain C numbers, for the tests: read, write, convert, compare
 *
 * Nothing of the library's arithmetic is used: this is what it is measured against.
 */
#ifndef FR_VALUES_H
#define FR_VALUES_H

#include "core/array.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

__extension__ typedef __int128 wide; /* every 64-bit integer, signed or not */

typedef struct number { /* f of floats, i of integers and bool */
    double f;
    wide i;
} number;

enum { DTYPES = FR_COMPLEX64 }; /* all before it */

static inline double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? (double)NAN : (double)INFINITY)
               : e     ? ldexp(1024 + m, e - 25)
                       : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

/* f rounded to the nearest float16, ties to even. */
static inline uint16_t half_bits(float f)
{
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    double a = fabs((double)f);
    if (a != a)
        return sign | 0x7e00;
    if (a >= 65520)
        return sign | 0x7c00;
    if (a < 0x1p-14)
        return sign | (uint16_t)rint(a * 0x1p24);
    int e;
    double m = frexp(a, &e); /* in [1/2, 1) */
    return sign | (uint16_t)(((e + 14) << 10) + (int)rint(m * 2048) - 1024);
}

static inline uint16_t brain_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    if (f != f)
        return (uint16_t)(b >> 16 | 0x40);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static inline number read_number(const void *p, int dtype)
{
    number v = {0, 0};
    uint16_t h;
    uint32_t b;
    float f;
    switch (dtype) {
#define READ(D, T)                                                                             \
    case D: {                                                                                  \
        T e;                                                                                   \
        memcpy(&e, p, sizeof e);                                                               \
        v.i = (wide)e;                                                                         \
        return v;                                                                              \
    }
        READ(FR_BOOL, uint8_t)
        READ(FR_UINT8, uint8_t)
        READ(FR_UINT16, uint16_t)
        READ(FR_UINT32, uint32_t)
        READ(FR_UINT64, uint64_t)
        READ(FR_INT8, int8_t)
        READ(FR_INT16, int16_t)
        READ(FR_INT32, int32_t)
        READ(FR_INT64, int64_t)
#undef READ
    case FR_FLOAT16:
        memcpy(&h, p, sizeof h);
        v.f = half_value(h);
        return v;
    case FR_BFLOAT16:
        memcpy(&h, p, sizeof h);
        b = (uint32_t)h << 16;
        memcpy(&f, &b, sizeof f);
        v.f = (double)f;
        return v;
    case FR_FLOAT32:
        memcpy(&f, p, sizeof f);
        v.f = (double)f;
        return v;
    default: memcpy(&v.f, p, sizeof v.f); return v;
    }
}

/* v as the dtype keeps it: rounded, or its low bits; bool: whether it is not 0. */
static inline void write_number(void *p, int dtype, number v)
{
    float f = (float)v.f;
    uint16_t h = dtype == FR_FLOAT16 ? half_bits(f) : brain_bits(f);
    uint64_t bits = (uint64_t)v.i;
    uint8_t truth = v.i != 0;
    if (dtype == FR_BOOL)
        memcpy(p, &truth, 1);
    else if (!fr__is_float(dtype))
        memcpy(p, &bits, (size_t)fr__dsize(dtype)); /* little-endian, as all hosts are */
    else if (fr__dsize(dtype) == 2)
        memcpy(p, &h, sizeof h);
    else if (dtype == FR_FLOAT32)
        memcpy(p, &f, sizeof f);
    else
        memcpy(p, &v.f, sizeof v.f);
}

static inline number kept(number v, int dtype)
{
    char e[8];
    write_number(e, dtype, v);
    return read_number(e, dtype);
}

static inline wide least_of_dtype(int d)
{
    return fr__dtypes[d].kind == FR__KIND_INT ? -((wide)1 << (8 * fr__dsize(d) - 1)) : 0;
}

static inline wide greatest_of_dtype(int d)
{
    if (d == FR_BOOL)
        return 1;
    return ((wide)1 << (8 * fr__dsize(d) - (fr__dtypes[d].kind == FR__KIND_INT))) - 1;
}

/* As fr_astype's manual says. */
static inline number converted(number v, int from, int to)
{
    number r = {0, 0};
    if (fr__is_float(from) && fr__is_float(to))
        r.f = v.f;
    else if (fr__is_float(from) && to == FR_BOOL)
        r.i = v.f != 0; /* true of NaN */
    else if (fr__is_float(from)) {
        double low = (double)least_of_dtype(to), high = (double)greatest_of_dtype(to);
        r.i = v.f != v.f    ? 0
              : v.f <= low  ? least_of_dtype(to)
              : v.f >= high ? greatest_of_dtype(to)
                            : (wide)v.f;
    } else if (fr__is_float(to))
        r.f = to == FR_FLOAT64 ? (double)v.i : (double)(float)v.i;
    else
        r.i = v.i;
    return kept(r, to);
}

/* Equal bits, or both NaN. */
static inline bool same_element(const void *a, const void *b, int dtype)
{
    if (!memcmp(a, b, (size_t)fr__dsize(dtype)))
        return true;
    if (!fr__is_float(dtype))
        return false;
    double x = read_number(a, dtype).f, y = read_number(b, dtype).f;
    return x != x && y != y;
}

/* The first element in which n elements differ, or -1. */
static inline int64_t first_different(const void *a, const void *b, int dtype, int64_t n)
{
    int64_t size = fr__dsize(dtype);
    if (!memcmp(a, b, (size_t)(n * size)))
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (!same_element((const char *)a + i * size, (const char *)b + i * size, dtype))
            return i;
    return -1;
}

static inline const char *number_text(number v, int dtype, char to[48])
{
    if (fr__is_float(dtype))
        snprintf(to, 48, "%.9g (%a)", v.f, v.f);
    else if (fr__dtypes[dtype].kind == FR__KIND_INT)
        snprintf(to, 48, "%lld", (long long)v.i);
    else
        snprintf(to, 48, "%llu", (unsigned long long)v.i);
    return to;
}

/* ---- random numbers ------------------------------------------------------------------- */

static uint64_t dice_state = 1;

static inline uint64_t dice(void)
{
    dice_state += 0x9e3779b97f4a7c15;
    uint64_t z = dice_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline int64_t below(int64_t n) { return (int64_t)(dice() % (uint64_t)n); }

static inline double fraction(void) { return (double)(dice() >> 11) * 0x1p-53; }

/* An element with a taste for the ends of the range and for what is special; floats of magnitude
 * up to 1e4 where they are finite. */
static inline number any_number(int dtype)
{
    static const double special[] = {0.0,      -0.0,     1,         -1,   0.5,      -1.5,
                                     2,        1e4,      -1e4,      1e-8, 0x1p-149, -0x1p-140,
                                     0x1p-126, INFINITY, -INFINITY, NAN};
    number v = {0, 0};
    int kind = (int)below(8);
    if (fr__is_float(dtype)) {
        v.f = kind == 0   ? special[below(sizeof special / sizeof *special)]
              : kind == 1 ? (double)below(17) - 8
              : kind == 2 ? ldexp(2 * fraction() - 1, (int)below(40) - 27)
                          : 10 * fraction() - 5;
    } else {
        int bits = 8 * fr__dsize(dtype);
        v.i = kind == 0   ? least_of_dtype(dtype) + below(3)
              : kind == 1 ? greatest_of_dtype(dtype) - below(3)
              : kind < 4  ? (wide)below(9) - 4
              : kind < 6  ? (wide)below(2 * bits) - 3
                          : (wide)dice();
    }
    return kept(v, dtype);
}

#endif
