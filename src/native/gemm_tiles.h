/* gemm_tiles.h - the inner loops of matrix products; compiled once for each instruction set
 *
 * needs   TABLE, the name of the table to define; BYTES of a vector; MR rows of a tile; FMA_F and
 *         FMA_D, a * b + c on vectors; PAIRS, the same for integers: numbers are pairs of 16 bits, their
 *         products' sum is added, modulo 2^32; no contraction of anything else; F16C where the host has it
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

#include "native/gemm_tile.h"

TILE(tile_f32, float, f32v, f32u, LANES_F, FMA_F, LOAD_PART_F, STORE_PART_F)
TILE(tile_f64, double, f64v, f64u, LANES_D, FMA_D, LOAD_PART_D, STORE_PART_D)
TILE(tile_i16, uint32_t, u32v, u32u, LANES_F, PAIRS, LOAD_PART_I, STORE_PART_I)

#include "native/gemm_pack.h"
#include "native/winograd_tiles.h"

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

/* ---- small whole numbers ------------------------------------------------------------------ */

/* n lines of k elements, two by two: modulo 2^16 a product needs no more of them. */
#define PAIR_LINES(name, T)                                                                    \
    static inline int32_t name##_pair(const T *x, const int64_t *steps, int64_t i, int64_t k)  \
    {                                                                                          \
        uint32_t high = i + 1 < k ? (uint16_t)x[steps[i + 1]] : 0;                             \
        return (int32_t)((uint16_t)x[steps[i]] | high << 16);                                  \
    }                                                                                          \
    static void name(const void *data, const int64_t *lines, const int64_t *steps, int64_t n,  \
                     int64_t k, int64_t width, void *packed)                                   \
    {                                                                                          \
        const T *from = data;                                                                  \
        int32_t *to = packed;                                                                  \
        bool along = true;                                                                     \
        for (int64_t j = 1; j < n; j++)                                                        \
            along &= lines[j] == lines[j - 1] + 1;                                             \
        for (int64_t i = 0; i < k; i += 2, to += width) {                                      \
            const T *x = from + lines[0] + steps[i],                                           \
                    *y = i + 1 < k ? from + lines[0] + steps[i + 1] : x;                       \
            uint32_t second = i + 1 < k ? 0xffff0000u : 0;                                     \
            if (along)                                                                         \
                for (int64_t j = 0; j < n; j++)                                                \
                    to[j] = (int32_t)((uint16_t)x[j] | ((uint32_t)y[j] << 16 & second));       \
            else                                                                               \
                for (int64_t j = 0; j < n; j++)                                                \
                    to[j] = name##_pair(from + lines[j], steps, i, k);                         \
            for (int64_t j = n; j < width; j++)                                                \
                to[j] = 0;                                                                     \
        }                                                                                      \
    }
PAIR_LINES(pairs_8, int8_t)
PAIR_LINES(pairs_16, int16_t)

#define CUT(name, T)                                                                           \
    static void name(const int32_t *from, int64_t n, void *to)                                 \
    {                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                        \
            ((T *)to)[i] = (T)from[i];                                                         \
    }
CUT(cut_8, uint8_t)
CUT(cut_16, uint16_t)

/* ---- rows of scores, for attention ------------------------------------------------------- */

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

/* From exponentials s and the gradient d of their products to probabilities and the gradient of the
 * scores. Both have room for whole vectors. */
static void scores_grad(float *s, float *d, int64_t n, float inverse, float delta, float scale)
{
    for (int64_t i = 0; i < n; i += LANES_F) {
        f32v p = (f32v) * (f32u *)(s + i) * inverse;
        *(f32u *)(s + i) = (f32u)p;
        *(f32u *)(d + i) = (f32u)(p * ((f32v) * (f32u *)(d + i) - delta) * scale);
    }
}

static float dot(const float *a, const float *b, int64_t n)
{
    f32v sum = {0};
    float total = 0;
    int64_t i = 0;
    for (; i + LANES_F <= n; i += LANES_F)
        sum = FMA_F((f32v) * (const f32u *)(a + i), (f32v) * (const f32u *)(b + i), sum);
    for (; i < n; i++)
        total += a[i] * b[i];
    for (int j = 0; j < LANES_F; j++)
        total += sum[j];
    return total;
}

const fr__gemm_isa TABLE = {
    .mr = {MR, MR, MR},
    .nr = {2 * LANES_F, 2 * LANES_D, 2 * LANES_F},
    .lanes = {LANES_F, LANES_D, LANES_F},
    .tile = {tile_f32, tile_f64, tile_i16},
    .pairs = {pairs_8, pairs_16},
    .cut = {cut_8, cut_16},
    .pack = {pack_f16, pack_bf16, pack_f32, pack_f64},
    .pick = {pick_f16, pick_bf16, pick_f32, pick_f64},
    .narrow = {narrow_f16, narrow_bf16},
    .scores_max = scores_max,
    .scores_exp = scores_exp,
    .scores_grad = scores_grad,
    .dot = dot,
    .winograd = {winograd_input, winograd_window, winograd_output, winograd_output_grad,
                 winograd_window_grad},
};
