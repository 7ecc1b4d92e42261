/* gemm_base.c - the inner loops of matrix products for any machine */
#include "base/optimize.h"
#define TABLE fr__gemm_base
#define BYTES 16
#define MR 4
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define FMA_D(a, b, c) ((a) * (b) + (c))
#ifdef __SSE2__
#include <emmintrin.h>
#define PAIRS(a, b, c) ((c) + (u32v)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))
#else
#define FIRST_OF(x) ((u32v)((i32v)((x) << 16) >> 16))
#define SECOND_OF(x) ((u32v)((i32v)(x) >> 16))
#define PAIRS(a, b, c) ((c) + FIRST_OF(a) * FIRST_OF(b) + SECOND_OF(a) * SECOND_OF(b))
#endif
#include "native/gemm_tiles.h"
