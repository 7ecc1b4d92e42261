/* interp_v3.c - the interpreter's inner loops for x86-64 with AVX2, FMA and F16C */
#if defined(__x86_64__)

#include "kernel/interp.h"

#include <immintrin.h>
#include <math.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC optimize("O3", "no-trapping-math", "no-math-errno", "fp-contract=off")
#pragma GCC target("avx2,fma,f16c")
#endif
#define TABLE fr__interp_v3
#define V3 1
#include "kernel/interp_loops.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__interp_v3_is_for_x86;
#endif
