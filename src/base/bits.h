/* bits.h - numbers and their bits; float16 and bfloat16 from and to float
 *
 * To nearest, ties to even; NaN stays, made quiet, with its payload. Selections instead of branches,
 * so that loops over arrays become vectors. Included where the inner loops of an instruction set are
 * compiled, too: in there, not before.
 */
#ifndef FR_BITS_H
#define FR_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t fr__bits32(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline float fr__float32(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline uint64_t fr__bits64(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline double fr__float64(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* ---- half precision ----------------------------------------------------------------- */

static inline float fr__from_f16(uint16_t half)
{
    uint32_t h = half, m = h & 0x7fff, sign = (h & 0x8000) << 16;
    uint32_t special = 0x7f800000u | (h & 0x3ff) << 13 | (h & 0x3ff ? 0x400000u : 0u);
    uint32_t tiny = fr__bits32((float)(int32_t)m * 0x1p-24f);
    return fr__float32(sign | (m >= 0x7c00  ? special
                               : m >= 0x400 ? (m << 13) + 0x38000000u
                                            : tiny));
}
static inline uint16_t fr__to_f16(float x)
{
    uint32_t b = fr__bits32(x), m = b & 0x7fffffffu, r;
    if (m > 0x7f800000u)
        r = 0x7e00u | (m >> 13 & 0x3ffu);
    else if (m >= 0x47800000u)
        r = 0x7c00u;
    else if (m >= 0x38800000u)
        r = (m - 0x38000000u + 0xfffu + (m >> 13 & 1)) >> 13;
    else /* 0.5's last place is a half float's least: the addition rounds */
        r = fr__bits32(fr__float32(m) + 0.5f) - 0x3f000000u;
    return (uint16_t)(r | (b >> 16 & 0x8000u));
}
static inline float fr__from_bf16(uint16_t h) { return fr__float32((uint32_t)h << 16); }
static inline uint16_t fr__to_bf16(float x)
{
    uint32_t b = fr__bits32(x);
    uint32_t rounded = (b + 0x7fffu + (b >> 16 & 1)) >> 16, quiet = b >> 16 | 0x40u;
    return (uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

#endif
