/* element.h - what one element is to a routine in plain C: complex numbers, and keys
 *
 * A key is an unsigned number of the element's size whose order is the order of sorting: NaN (of
 * any sign) last. exact keys tell -0 from 0, which otherwise are equal as they are to users.
 */
#ifndef FR_ELEMENT_H
#define FR_ELEMENT_H

#include "base/bits.h"

#include <stdbool.h>

typedef struct fr__complex {
    float re, im;
} fr__complex;

static inline fr__complex fr__complex_add(fr__complex a, fr__complex b)
{
    return (fr__complex){a.re + b.re, a.im + b.im};
}
static inline fr__complex fr__complex_mul(fr__complex a, fr__complex b)
{
    return (fr__complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* ---- keys --------------------------------------------------------------------------- */

#define FR__FLOAT_KEY(name, K, SIGN, INFINITE)                                                 \
    static inline K fr__key_##name(K b, bool exact)                                            \
    {                                                                                          \
        K m = (K)(b & (K)(SIGN - 1));                                                          \
        if (!exact && !m)                                                                      \
            b = 0;                                                                             \
        K key = (K)(b ^ (b & SIGN ? (K) ~(K)0 : (K)SIGN));                                     \
        return m > INFINITE ? (K) ~(K)0 : key;                                                 \
    }                                                                                          \
    static inline K fr__unkey_##name(K k) { return (K)(k ^ (k & SIGN ? (K)SIGN : (K) ~(K)0)); }
FR__FLOAT_KEY(f16, uint16_t, 0x8000u, 0x7c00u)
FR__FLOAT_KEY(bf16, uint16_t, 0x8000u, 0x7f80u)
FR__FLOAT_KEY(f32, uint32_t, 0x80000000u, 0x7f800000u)
FR__FLOAT_KEY(f64, uint64_t, 0x8000000000000000u, 0x7ff0000000000000u)

#define FR__WHOLE_KEY(name, K, SIGN)                                                           \
    static inline K fr__key_##name(K b, bool exact)                                            \
    {                                                                                          \
        (void)exact;                                                                           \
        return (K)(b ^ SIGN);                                                                  \
    }                                                                                          \
    static inline K fr__unkey_##name(K k) { return (K)(k ^ SIGN); }
FR__WHOLE_KEY(u8, uint8_t, 0u)
FR__WHOLE_KEY(u16, uint16_t, 0u)
FR__WHOLE_KEY(u32, uint32_t, 0u)
FR__WHOLE_KEY(u64, uint64_t, 0u)
FR__WHOLE_KEY(i8, uint8_t, 0x80u)
FR__WHOLE_KEY(i16, uint16_t, 0x8000u)
FR__WHOLE_KEY(i32, uint32_t, 0x80000000u)
FR__WHOLE_KEY(i64, uint64_t, 0x8000000000000000u)

/* Complex: by real, then by imaginary part; last where either is NaN. In memory re comes first. */
static inline uint64_t fr__key_c64(uint64_t b, bool exact)
{
    uint32_t parts[2];
    memcpy(parts, &b, sizeof b);
    uint64_t re = fr__key_f32(parts[0], exact), im = fr__key_f32(parts[1], exact);
    return re == UINT32_MAX || im == UINT32_MAX ? UINT64_MAX : re << 32 | im;
}
static inline uint64_t fr__unkey_c64(uint64_t k)
{
    uint32_t parts[2] = {fr__unkey_f32((uint32_t)(k >> 32)), fr__unkey_f32((uint32_t)k)};
    uint64_t b;
    memcpy(&b, parts, sizeof b);
    return b;
}

/* dtype, name of its keys, their type, and its number among the types of keys. */
#define FR__KEYED(X)                                                                           \
    X(FR_BOOL, u8, uint8_t)                                                                    \
    X(FR_UINT8, u8, uint8_t)                                                                   \
    X(FR_UINT16, u16, uint16_t)                                                                \
    X(FR_UINT32, u32, uint32_t)                                                                \
    X(FR_UINT64, u64, uint64_t)                                                                \
    X(FR_INT8, i8, uint8_t)                                                                    \
    X(FR_INT16, i16, uint16_t)                                                                 \
    X(FR_INT32, i32, uint32_t)                                                                 \
    X(FR_INT64, i64, uint64_t)                                                                 \
    X(FR_FLOAT16, f16, uint16_t)                                                               \
    X(FR_BFLOAT16, bf16, uint16_t)                                                             \
    X(FR_FLOAT32, f32, uint32_t)                                                               \
    X(FR_FLOAT64, f64, uint64_t)                                                               \
    X(FR_COMPLEX64, c64, uint64_t)

#endif
