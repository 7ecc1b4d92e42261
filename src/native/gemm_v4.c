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
#include "native/gemm_tiles.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_v4_is_for_x86;
#endif
