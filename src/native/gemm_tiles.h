/* gemm_tiles.h - the inner loops of matrix products; compiled once for each instruction set
 *
 * needs   TABLE, the name of the table to define; BYTES of a vector; MR rows of a tile; FMA_F and
 *         FMA_D, a * b + c on vectors; no contraction of anything else; F16C where the host has it
 * gives   TABLE
 *
 * A tile is rows x 2 vectors of C, held in registers while k goes by.
 */
#include "base/bits.h"
#include "native/gemm.h"

#include <math.h>

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
        int64_t runs, const fr__gemm_part *run, const T *a, int64_t ars, int64_t acs,          \
        const T *b, int64_t brs, T *c, int64_t ldc, const int rows, const int vectors,         \
        bool add)                                                                              \
    {                                                                                          \
        V acc[MR][2];                                                                          \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            acc[r][0] = (V){0};                                                                \
            acc[r][1] = (V){0};                                                                \
        }                                                                                      \
        for (int64_t q = 0; q < runs; q++) {                                                   \
            const T *at = a + run[q].from;                                                     \
            for (int64_t i = run[q].n; i > 0; i--) {                                           \
                V b0 = (V) * (const U *)b, b1 = (V){0};                                        \
                if (vectors > 1)                                                               \
                    b1 = (V) * (const U *)(b + LANES);                                         \
                _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                        \
                {                                                                              \
                    V x = at[r * ars] - (V){0};                                                \
                    acc[r][0] = FMA(x, b0, acc[r][0]);                                         \
                    if (vectors > 1)                                                           \
                        acc[r][1] = FMA(x, b1, acc[r][1]);                                     \
                }                                                                              \
                at += acs;                                                                     \
                b += brs;                                                                      \
            }                                                                                  \
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
    static void name(int64_t runs, const fr__gemm_part *run, const void *a, int64_t ars,       \
                     int64_t acs, const void *b, int64_t brs, void *c, int64_t ldc, int rows,  \
                     int vectors, bool add)                                                    \
    {                                                                                          \
        if (rows == MR && vectors == 2 && runs == 1 && ars == 1 && acs == MR) {                \
            name##_fixed(1, &(fr__gemm_part){0, run->n}, a, 1, MR, b, brs, c, ldc, MR, 2,      \
                         add);                                                                 \
            return;                                                                            \
        }                                                                                      \
        switch (rows * 2 + vectors - 1) {                                                      \
            CASES(name)                                                                        \
        }                                                                                      \
    }
#define CASE(name, r)                                                                          \
    case 2 * (r): name##_fixed(runs, run, a, ars, acs, b, brs, c, ldc, r, 1, add); break;      \
    case 2 * (r) + 1:                                                                          \
        name##_fixed(runs, run, a, ars, acs, b, brs, c, ldc, r, 2, add);                       \
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

#include "native/gemm_pack.h"

/* ---- results of half precision ----------------------------------------------------------- */

static void narrow_bf16(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = fr__to_bf16(from[i]);
}

static void narrow_f16(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i++)
#ifdef F16C
        to[i] = (uint16_t)_cvtss_sh(from[i], 0);
#else
        to[i] = fr__to_f16(from[i]);
#endif
}

/* ---- rows of scores, for attention ------------------------------------------------------- */

typedef int32_t i32v __attribute__((vector_size(BYTES)));

static inline f32v either(i32v mask, f32v x, f32v y)
{
    return (f32v)((mask & (i32v)x) | (~mask & (i32v)y));
}

static float scores_max(float *x, int64_t n, float scale, const float *add, float most)
{
    int64_t i = 0;
    f32v m = most - (f32v){0};
    for (; i + LANES_F <= n; i += LANES_F) {
        f32v v = (f32v) * (f32u *)(x + i) * scale;
        if (add)
            v += (f32v) * (const f32u *)(add + i);
        *(f32u *)(x + i) = (f32u)v;
        m = either(v > m, v, m);
    }
    for (int j = 0; j < LANES_F; j++)
        most = m[j] > most ? m[j] : most;
    for (; i < n; i++) {
        x[i] = x[i] * scale + (add ? add[i] : 0);
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

/* e^x for x <= 0 (NaN stays), 0 where that is below the normal numbers; within 1 ULP. x = n ln 2
 * + r, |r| <= ln 2 / 2, and a polynomial for e^r: the one of kernel/math_exp.c. */
static inline f32v exp_down(f32v x)
{
    const f32v zero = {0};
    i32v gone = x < zero - 87.33654f;
    f32v y = either(gone, zero, x);
    f32v whole = FMA_F(y, zero + 0x1.715476p+0f, zero + 0x1.8p23f), n = whole - 0x1.8p23f;
    f32v r = FMA_F(n, zero - 0x1.62e43p-1f, y);
    r = FMA_F(n, zero + 0x1.05c61p-29f, r);
    f32v p = FMA_F(r, zero + 1.38648017e-3f, zero + 8.366866968e-3f);
    p = FMA_F(p, r, zero + 4.16675023e-2f);
    p = FMA_F(p, r, zero + 0.16666540f);
    p = FMA_F(p, r, zero + 0.49999997f);
    p = FMA_F(r * r, p, r) + 1.0f;
    i32v power = ((i32v)whole + 127) << 23;
    return either(gone, zero, p * (f32v)power);
}

static float scores_exp(float *x, int64_t n, float shift)
{
    f32v sum = {0};
    float total = 0;
    int64_t whole = (n + LANES_F - 1) / LANES_F * LANES_F;
    for (int64_t i = n; i < whole; i++)
        x[i] = -HUGE_VALF;
    for (int64_t i = 0; i < whole; i += LANES_F) {
        f32v v = exp_down((f32v) * (f32u *)(x + i) - shift);
        *(f32u *)(x + i) = (f32u)v;
        sum += v;
    }
    for (int j = 0; j < LANES_F; j++)
        total += sum[j];
    return total;
}

const fr__gemm_isa TABLE = {
    .mr = {MR, MR},
    .nr = {2 * LANES_F, 2 * LANES_D},
    .lanes = {LANES_F, LANES_D},
    .tile = {tile_f32, tile_f64},
    .pack = {pack_f16, pack_bf16, pack_f32, pack_f64},
    .pick = {pick_f16, pick_bf16, pick_f32, pick_f64},
    .narrow = {narrow_f16, narrow_bf16},
    .scores_max = scores_max,
    .scores_exp = scores_exp,
};
