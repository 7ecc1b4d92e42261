/* gemm_tiles.h - the inner loops of matrix products; compiled once for each instruction set
 *
 * needs   TABLE, the name of the table to define; BYTES of a vector; MR rows of a tile; FMA_F and
 *         FMA_D, a * b + c on vectors; no contraction of anything else; F16C where the host has it
 * gives   TABLE
 *
 * A tile is rows x 2 vectors of C, held in registers while k goes by.
 */
#include "native/gemm.h"

#ifdef F16C
#include <immintrin.h>
#endif

typedef float f32v __attribute__((vector_size(BYTES)));
typedef float f32u __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef double f64v __attribute__((vector_size(BYTES)));
typedef double f64u __attribute__((vector_size(BYTES), aligned(8), may_alias));

#define LANES_F (BYTES / 4)
#define LANES_D (BYTES / 8)

#define TILE(name, T, V, U, LANES, FMA)                                                        \
    static inline __attribute__((always_inline)) void name##_fixed(                            \
        int64_t k, const T *a, int64_t ars, int64_t acs, const T *b, int64_t brs, T *c,        \
        int64_t ldc, const int rows, const int vectors, bool add)                              \
    {                                                                                          \
        V acc[MR][2];                                                                          \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            acc[r][0] = (V){0};                                                                \
            acc[r][1] = (V){0};                                                                \
        }                                                                                      \
        for (int64_t i = 0; i < k; i++) {                                                      \
            V b0 = (V) * (const U *)b, b1 = (V){0};                                            \
            if (vectors > 1)                                                                   \
                b1 = (V) * (const U *)(b + LANES);                                             \
            _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                            \
            {                                                                                  \
                V x = a[r * ars] - (V){0};                                                     \
                acc[r][0] = FMA(x, b0, acc[r][0]);                                             \
                if (vectors > 1)                                                               \
                    acc[r][1] = FMA(x, b1, acc[r][1]);                                         \
            }                                                                                  \
            a += acs;                                                                          \
            b += brs;                                                                          \
        }                                                                                      \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            U *to = (U *)(c + r * ldc), *more = (U *)(c + r * ldc + LANES);                    \
            if (add)                                                                           \
                acc[r][0] = *to + acc[r][0];                                                   \
            *to = acc[r][0];                                                                   \
            if (vectors > 1) {                                                                 \
                if (add)                                                                       \
                    acc[r][1] = *more + acc[r][1];                                             \
                *more = acc[r][1];                                                             \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void name(int64_t k, const void *a, int64_t ars, int64_t acs, const void *b,        \
                     int64_t brs, void *c, int64_t ldc, int rows, int vectors, bool add)       \
    {                                                                                          \
        if (rows == MR && vectors == 2 && ars == 1 && acs == MR) {                             \
            name##_fixed(k, a, 1, MR, b, brs, c, ldc, MR, 2, add);                             \
            return;                                                                            \
        }                                                                                      \
        switch (rows * 2 + vectors - 1) {                                                      \
            CASES(name)                                                                        \
        }                                                                                      \
    }
#define CASE(name, r)                                                                          \
    case 2 * (r): name##_fixed(k, a, ars, acs, b, brs, c, ldc, r, 1, add); break;              \
    case 2 * (r) + 1:                                                                          \
        name##_fixed(k, a, ars, acs, b, brs, c, ldc, r, 2, add);                               \
        break;
#if MR == 12
#define CASES(name)                                                                            \
    CASE(name, 1)                                                                              \
    CASE(name, 2)                                                                              \
    CASE(name, 3)                                                                              \
    CASE(name, 4)                                                                              \
    CASE(name, 5)                                                                              \
    CASE(name, 6)                                                                              \
    CASE(name, 7) CASE(name, 8) CASE(name, 9) CASE(name, 10) CASE(name, 11) CASE(name, 12)
#elif MR == 6
#define CASES(name)                                                                            \
    CASE(name, 1) CASE(name, 2) CASE(name, 3) CASE(name, 4) CASE(name, 5) CASE(name, 6)
#else
#define CASES(name) CASE(name, 1) CASE(name, 2) CASE(name, 3) CASE(name, 4)
#endif

TILE(tile_f32, float, f32v, f32u, LANES_F, FMA_F)
TILE(tile_f64, double, f64v, f64u, LANES_D, FMA_D)

/* ---- packing ---------------------------------------------------------------------------- */

static inline float from_f32(float x) { return x; }
static inline double from_f64(double x) { return x; }
static inline float from_bits(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline float from_bf16(uint16_t h) { return from_bits((uint32_t)h << 16); }
static inline float from_f16(uint16_t h)
{
#ifdef F16C
    return _cvtsh_ss(h);
#else
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    float small = (float)m * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &small, sizeof bits);
    if (e)
        bits = (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
    return from_bits(bits | sign);
#endif
}

#define PACK(name, S, T, CONVERT)                                                              \
    static void name(const void *from, int64_t stride, int64_t step, int64_t n, int64_t k,     \
                     int64_t width, void *out)                                                 \
    {                                                                                          \
        const S *at = from;                                                                    \
        T *to = out;                                                                           \
        if (stride == 1) { /* lines lie side by side */                                        \
            for (int64_t i = 0; i < k; i++, at += step, to += width) {                         \
                for (int64_t j = 0; j < n; j++)                                                \
                    to[j] = CONVERT(at[j]);                                                    \
                for (int64_t j = n; j < width; j++)                                            \
                    to[j] = 0;                                                                 \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        enum { BLOCK = 16 }; /* of each line at a time: a cache line of it */                  \
        for (int64_t i = 0; i < k; i += BLOCK) {                                               \
            int64_t end = k - i < BLOCK ? k - i : BLOCK;                                       \
            for (int64_t j = 0; j < n; j++) {                                                  \
                const S *x = at + j * stride + i * step;                                       \
                T *y = to + i * width + j;                                                     \
                for (int64_t q = 0; q < end; q++)                                              \
                    y[q * width] = CONVERT(x[q * step]);                                       \
            }                                                                                  \
            for (int64_t j = n; j < width; j++)                                                \
                for (int64_t q = 0; q < end; q++)                                              \
                    to[(i + q) * width + j] = 0;                                               \
        }                                                                                      \
    }
#define PICK(name, S, T, CONVERT)                                                              \
    static void name(const void *from, const int64_t *lines, const int64_t *steps, int64_t n,  \
                     int64_t k, int64_t width, void *out)                                      \
    {                                                                                          \
        const S *at = from;                                                                    \
        T *to = out;                                                                           \
        enum { BLOCK = 16 };                                                                   \
        for (int64_t i = 0; i < k; i += BLOCK) {                                               \
            int64_t end = k - i < BLOCK ? k - i : BLOCK;                                       \
            for (int64_t j = 0; j < n; j++) {                                                  \
                const S *x = at + lines[j];                                                    \
                T *y = to + i * width + j;                                                     \
                for (int64_t q = 0; q < end; q++)                                              \
                    y[q * width] = CONVERT(x[steps[i + q]]);                                   \
            }                                                                                  \
            for (int64_t j = n; j < width; j++)                                                \
                for (int64_t q = 0; q < end; q++)                                              \
                    to[(i + q) * width + j] = 0;                                               \
        }                                                                                      \
    }
PACK(pack_f16, uint16_t, float, from_f16)
PACK(pack_bf16, uint16_t, float, from_bf16)
PACK(pack_f32, float, float, from_f32)
PACK(pack_f64, double, double, from_f64)
PICK(pick_f16, uint16_t, float, from_f16)
PICK(pick_bf16, uint16_t, float, from_bf16)
PICK(pick_f32, float, float, from_f32)
PICK(pick_f64, double, double, from_f64)

/* ---- results of half precision: to nearest, ties to even, NaN stays quiet ---------------- */

static void narrow_bf16(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t b;
        memcpy(&b, from + i, sizeof b);
        uint32_t nan = (b >> 16) | 0x40, round = (b + 0x7fff + (b >> 16 & 1)) >> 16;
        to[i] = (uint16_t)((b & 0x7fffffff) > 0x7f800000 ? nan : round);
    }
}

static void narrow_f16(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i++) {
#ifdef F16C
        to[i] = (uint16_t)_cvtss_sh(from[i], 0);
#else
        uint32_t b, sign, m;
        memcpy(&b, from + i, sizeof b);
        sign = b >> 16 & 0x8000;
        b &= 0x7fffffff;
        if (b > 0x7f800000) {
            m = 0x7e00 | (b >> 13 & 0x3ff);
        } else if (b >= 0x47800000) {
            m = 0x7c00;
        } else if (b < 0x38800000) { /* below the least normal one: the adder rounds */
            float f = from_bits(b) + 0.5f;
            memcpy(&m, &f, sizeof m);
            m -= 0x3f000000;
        } else {
            m = (b + 0xfff + (b >> 13 & 1) - 0x38000000) >> 13;
        }
        to[i] = (uint16_t)(sign | m);
#endif
    }
}

const fr__gemm_isa TABLE = {
    .mr = {MR, MR},
    .nr = {2 * LANES_F, 2 * LANES_D},
    .lanes = {LANES_F, LANES_D},
    .tile = {tile_f32, tile_f64},
    .pack = {pack_f16, pack_bf16, pack_f32, pack_f64},
    .pick = {pick_f16, pick_bf16, pick_f32, pick_f64},
    .narrow = {narrow_f16, narrow_bf16},
};
