/* gemm_v4.c - the inner loops of matrix products for x86-64 with AVX-512 */
#if defined(__x86_64__)

#include "native/gemm.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(                                                                  \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"))),               \
    apply_to = function)
#else
#pragma GCC optimize("O3", "fp-contract=off")
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define TABLE fr__gemm_v4
#define BYTES 64
#define MR 12
#define F16C
#define FMA_F(a, b, c) ((f32v)_mm512_fmadd_ps(a, b, c))
#define FMA_D(a, b, c) ((f64v)_mm512_fmadd_pd(a, b, c))
#define SOME_F(n) ((__mmask16)((1u << (n)) - 1))
#define SOME_D(n) ((__mmask8)((1u << (n)) - 1))
#define LOAD_PART_F(from, n) ((f32v)_mm512_maskz_loadu_ps(SOME_F(n), from))
#define LOAD_PART_D(from, n) ((f64v)_mm512_maskz_loadu_pd(SOME_D(n), from))
#define STORE_PART_F(to, n, v) _mm512_mask_storeu_ps(to, SOME_F(n), v)
#define STORE_PART_D(to, n, v) _mm512_mask_storeu_pd(to, SOME_D(n), v)
#include "native/gemm_tiles.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_v4_is_for_x86;
#endif
