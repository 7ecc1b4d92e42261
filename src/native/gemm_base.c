/* gemm_base.c - the inner loops of matrix products for any machine */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "fp-contract=off")
#else
#pragma STDC FP_CONTRACT OFF
#endif
#define TABLE fr__gemm_base
#define BYTES 16
#define MR 4
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define FMA_D(a, b, c) ((a) * (b) + (c))
#include "native/gemm_tiles.h"
