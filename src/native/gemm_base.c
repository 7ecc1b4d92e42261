/* gemm_base.c - the inner loops of matrix products for any machine */
#include "base/optimize.h"
#define TABLE fr__gemm_base
#define BYTES 16
#define MR 4
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define FMA_D(a, b, c) ((a) * (b) + (c))
#include "native/gemm_tiles.h"
