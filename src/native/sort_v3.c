/* sort_v3.c - ranks of a few keys, for x86-64 with AVX2 */
#if defined(__x86_64__)

#include <stdint.h>

#include "base/optimize.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define TABLE fr__sort_v3
#define BYTES 32
#define FEW 64
#define NETWORK_MOST 512
#include "native/sort_loops.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__sort_v3_is_for_x86;
#endif
