/* gemm_v3.c - the inner loops of matrix products for x86-64 with AVX2, FMA and F16C */
#if defined(__x86_64__)

#include "native/gemm.h"

#include <immintrin.h>

#include "base/optimize.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define TABLE fr__gemm_v3
#define BYTES 32
#define MR 6
#define F16C
#define FMA_F(a, b, c) ((f32v)_mm256_fmadd_ps(a, b, c))
#define FMA_D(a, b, c) ((f64v)_mm256_fmadd_pd(a, b, c))
#define PAIRS(a, b, c) ((c) + (u32v)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
static const int32_t some[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define SOME_F(n) _mm256_loadu_si256((const __m256i *)(some + 8 - (n)))
#define SOME_D(n) _mm256_loadu_si256((const __m256i *)(some + 8 - 2 * (n)))
#define LOAD_PART_F(from, n) ((f32v)_mm256_maskload_ps(from, SOME_F(n)))
#define LOAD_PART_I(from, n) ((u32v)_mm256_maskload_epi32((const int *)(from), SOME_F(n)))
#define STORE_PART_I(to, n, v) _mm256_maskstore_epi32((int *)(to), SOME_F(n), (__m256i)(v))
#define LOAD_PART_D(from, n) ((f64v)_mm256_maskload_pd(from, SOME_D(n)))
#define STORE_PART_F(to, n, v) _mm256_maskstore_ps(to, SOME_F(n), v)
#define STORE_PART_D(to, n, v) _mm256_maskstore_pd(to, SOME_D(n), v)
#include "native/gemm_tiles.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_v3_is_for_x86;
#endif
