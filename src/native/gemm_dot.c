/* gemm_dot.c - products of bfloat16 by instructions that multiply and add pairs, for AVX512_BF16
 *
 * A number is two elements of k side by side, in 32 bits; tile and panels are those of float32, of half
 * as many steps. An instruction adds the product of the second of the two, then that of the first,
 * each fused: what float32 gives, but that numbers below 2^-126, operands and sums, are 0.
 */
#if defined(__x86_64__)

#include "native/gemm.h"

#include <immintrin.h>
#include <string.h>

#include "base/optimize.h"
#if defined(__clang__)
#pragma clang attribute push(                                                                  \
    __attribute__((                                                                            \
        target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx512vnni,avx2,fma,f16c"))),    \
    apply_to = function)
#else
#pragma GCC target(                                                                            \
    "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx512vnni,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define BYTES 64
#define MR 12
#define SPLAT(x, V) ((V) _Generic((x), float : _mm512_set1_ps, uint32_t : _mm512_set1_epi32)(x))
#define PAIRS(a, b, c) ((u32v)_mm512_dpwssd_epi32((__m512i)(c), (__m512i)(a), (__m512i)(b)))
#define DOT(a, b, c) ((f32v)_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#define SOME_F(n) ((__mmask16)((1u << (n)) - 1))
#define LOAD_PART_I(from, n) ((u32v)_mm512_maskz_loadu_epi32(SOME_F(n), from))
#define STORE_PART_I(to, n, v) _mm512_mask_storeu_epi32(to, SOME_F(n), (__m512i)(v))
#define LOAD_PART_F(from, n) ((f32v)_mm512_maskz_loadu_ps(SOME_F(n), from))
#define STORE_PART_F(to, n, v) _mm512_mask_storeu_ps(to, SOME_F(n), v)
#define HALVES 1
#define MASK_HALF(n) ((__mmask8)((1u << (n)) - 1))
typedef __m256 tile_bf16_half;
static inline __m256 tile_bf16_load_half(const float *from, int n)
{
    return _mm256_maskz_loadu_ps(MASK_HALF(n), from);
}
static inline void tile_bf16_store_half(float *to, int n, __m256 v)
{
    _mm256_mask_storeu_ps(to, MASK_HALF(n), v);
}
static inline __m256 tile_bf16_fma_half(float a, __m256 b, __m256 c)
{
    return _mm256_dpbf16_ps(c, (__m256bh)_mm256_set1_ps(a), (__m256bh)b);
}
#include "native/gemm_tile.h"

typedef uint32_t tile_vnni_half __attribute__((vector_size(32)));
static inline tile_vnni_half tile_vnni_load_half(const uint32_t *from, int n)
{
    return (tile_vnni_half)_mm256_maskz_loadu_epi32(MASK_HALF(n), from);
}
static inline void tile_vnni_store_half(uint32_t *to, int n, tile_vnni_half v)
{
    _mm256_mask_storeu_epi32(to, MASK_HALF(n), (__m256i)v);
}
static inline tile_vnni_half tile_vnni_fma_half(uint32_t a, tile_vnni_half b, tile_vnni_half c)
{
    return (tile_vnni_half)_mm256_dpwssd_epi32((__m256i)c, _mm256_set1_epi32((int)a),
                                               (__m256i)b);
}

TILE(tile_bf16, float, f32v, f32u, LANES_F, DOT, LOAD_PART_F, STORE_PART_F)
TILE(tile_vnni, uint32_t, u32v, u32u, LANES_F, PAIRS, LOAD_PART_I, STORE_PART_I)
fr__gemm_tile *const fr__gemm_dot_tile = tile_bf16;
fr__gemm_tile *const fr__gemm_vnni_tile = tile_vnni;

/* ---- packing --------------------------------------------------------------------------------- */

/* 16 rows of 16. */
static inline __attribute__((always_inline)) void transpose16(__m512 *x)
{
    __m512 y[16];
    _Pragma("GCC unroll 8") for (int i = 0; i < 16; i += 2)
    {
        y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 16; i += 4)
    {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(y[i + j]), b = _mm512_castps_pd(y[i + j + 2]);
            x[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            x[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
    {
        __m512 a = _mm512_shuffle_f32x4(x[i], x[i + 4], 0x88),
               b = _mm512_shuffle_f32x4(x[i], x[i + 4], 0xdd),
               c = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0x88),
               d = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0xdd);
        y[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        y[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        y[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        y[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) x[i] = y[i];
}

static uint32_t pair(const uint16_t *x, const int64_t *steps, int64_t i, int64_t k)
{
    return x[steps[2 * i]] | (2 * i + 1 < k ? (uint32_t)x[steps[2 * i + 1]] << 16 : 0);
}

/* Pairs [i, end) of each line, one by one. */
static void singly(const uint16_t *from, const int64_t *lines, const int64_t *steps, int64_t n,
                   int64_t k, int64_t i, int64_t width, uint32_t *to)
{
    for (; 2 * i < k; i++)
        for (int64_t j = 0; j < width; j++)
            to[i * width + j] = j < n ? pair(from + lines[j], steps, i, k) : 0;
}

/* The elements of a line lie side by side: squares of pairs are turned. */
static void across(const uint16_t *from, const int64_t *lines, const int64_t *steps, int64_t n,
                   int64_t k, int64_t width, uint32_t *to)
{
    int64_t i = 0;
    for (; 2 * i + 32 <= k; i += 16)
        for (int64_t j = 0; j < width; j += 16) {
            __m512 x[16];
            int lanes = (int)(width - j < 16 ? width - j : 16);
            _Pragma("GCC unroll 16") for (int q = 0; q < 16; q++) x[q] =
                j + q < n ? _mm512_loadu_ps(from + lines[j + q] + steps[0] + 2 * i)
                          : _mm512_setzero_ps();
            transpose16(x);
            _Pragma("GCC unroll 16") for (int q = 0; q < 16; q++) _mm512_mask_storeu_epi32(
                to + (i + q) * width + j, SOME_F(lanes), _mm512_castps_si512(x[q]));
        }
    singly(from, lines, steps, n, k, i, width, to);
}

/* Lines lie side by side: two elements of all of them are put together. */
static void along(const uint16_t *from, const int64_t *steps, int64_t n, int64_t k,
                  int64_t width, uint32_t *to)
{
    for (int64_t i = 0; i < k; i += 2)
        for (int64_t j = 0; j < width; j += 16) {
            int lanes = (int)(width - j < 16 ? width - j : 16);
            __mmask16 here = SOME_F(n - j < 0 ? 0 : n - j < 16 ? n - j : 16);
            __m512i low = _mm512_cvtepu16_epi32(
                        _mm256_maskz_loadu_epi16(here, from + steps[i] + j)),
                    high = _mm512_setzero_si512();
            if (i + 1 < k)
                high = _mm512_cvtepu16_epi32(
                    _mm256_maskz_loadu_epi16(here, from + steps[i + 1] + j));
            _mm512_mask_storeu_epi32(to + i / 2 * width + j, SOME_F(lanes),
                                     _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
}

static bool side_by_side(const int64_t *offsets, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (offsets[i] != offsets[i - 1] + 1)
            return false;
    return true;
}

void fr__gemm_dot_pack(const void *from, const int64_t *lines, const int64_t *steps, int64_t n,
                       int64_t k, int64_t width, void *to)
{
    if (side_by_side(steps, k))
        across(from, lines, steps, n, k, width, to);
    else if (side_by_side(lines, n))
        along((const uint16_t *)from + lines[0], steps, n, k, width, to);
    else
        singly(from, lines, steps, n, k, 0, width, to);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_dot_is_for_x86;
#endif
