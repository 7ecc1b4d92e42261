/* gemm_v3.c - the inner loops of matrix products for x86-64 with AVX2, FMA and F16C */
#if defined(__x86_64__)

#include "native/gemm.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC optimize("O3", "fp-contract=off")
#pragma GCC target("avx2,fma,f16c")
#endif
#define TABLE fr__gemm_v3
#define BYTES 32
#define MR 6
#define F16C
#define FMA_F(a, b, c) ((f32v)_mm256_fmadd_ps(a, b, c))
#define FMA_D(a, b, c) ((f64v)_mm256_fmadd_pd(a, b, c))
#include "native/gemm_tiles.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__gemm_v3_is_for_x86;
#endif
