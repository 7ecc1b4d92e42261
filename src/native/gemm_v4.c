/* gemm_v4.c - the inner loops of matrix products for x86-64 with AVX-512 */
#if defined(__x86_64__)

#include "native/gemm.h"

#include <immintrin.h>

#include "base/optimize.h"
#if defined(__clang__)
#pragma clang attribute push(                                                                  \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"))),               \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define TABLE fr__gemm_v4
#define BYTES 64
#define MR 12
#define F16C
#define FMA_F(a, b, c) ((f32v)_mm512_fmadd_ps(a, b, c))
#define FMA_D(a, b, c) ((f64v)_mm512_fmadd_pd(a, b, c))
#define PAIRS(a, b, c) ((c) + (u32v)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#define SOME_F(n) ((__mmask16)((1u << (n)) - 1))
#define SOME_D(n) ((__mmask8)((1u << (n)) - 1))
#define LOAD_PART_F(from, n) ((f32v)_mm512_maskz_loadu_ps(SOME_F(n), from))
#define LOAD_PART_I(from, n) ((u32v)_mm512_maskz_loadu_epi32(SOME_F(n), from))
#define STORE_PART_I(to, n, v) _mm512_mask_storeu_epi32(to, SOME_F(n), (__m512i)(v))
#define LOAD_PART_D(from, n) ((f64v)_mm512_maskz_loadu_pd(SOME_D(n), from))
#define STORE_PART_F(to, n, v) _mm512_mask_storeu_ps(to, SOME_F(n), v)
#define STORE_PART_D(to, n, v) _mm512_mask_storeu_pd(to, SOME_D(n), v)
#define HALVES 1
#define MASK_HALF(n) ((__mmask8)((1u << (n)) - 1))

/* Eight floats, four doubles. */
typedef __m256 tile_f32_half;
static inline __m256 tile_f32_load_half(const float *from, int n)
{
    return _mm256_maskz_loadu_ps(MASK_HALF(n), from);
}
static inline void tile_f32_store_half(float *to, int n, __m256 v)
{
    _mm256_mask_storeu_ps(to, MASK_HALF(n), v);
}
static inline __m256 tile_f32_fma_half(float a, __m256 b, __m256 c)
{
    return _mm256_fmadd_ps(_mm256_set1_ps(a), b, c);
}
typedef __m256d tile_f64_half;
static inline __m256d tile_f64_load_half(const double *from, int n)
{
    return _mm256_maskz_loadu_pd(MASK_HALF(n), from);
}
static inline void tile_f64_store_half(double *to, int n, __m256d v)
{
    _mm256_mask_storeu_pd(to, MASK_HALF(n), v);
}
static inline __m256d tile_f64_fma_half(double a, __m256d b, __m256d c)
{
    return _mm256_fmadd_pd(_mm256_set1_pd(a), b, c);
}
typedef uint32_t tile_i16_half __attribute__((vector_size(32)));
static inline tile_i16_half tile_i16_load_half(const uint32_t *from, int n)
{
    return (tile_i16_half)_mm256_maskz_loadu_epi32(MASK_HALF(n), from);
}
static inline void tile_i16_store_half(uint32_t *to, int n, tile_i16_half v)
{
    _mm256_mask_storeu_epi32(to, MASK_HALF(n), (__m256i)v);
}
static inline tile_i16_half tile_i16_fma_half(uint32_t a, tile_i16_half b, tile_i16_half c)
{
    return c + (tile_i16_half)_mm256_madd_epi16(_mm256_set1_epi32((int)a), (__m256i)b);
}
#include "native/gemm_tiles.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_v4_is_for_x86;
#endif
