/* sort_v4.c - ranks of a few keys, for x86-64 with AVX-512 */
#if defined(__x86_64__)

#include <stdint.h>

#include "base/optimize.h"
#if defined(__clang__)
#pragma clang attribute push(                                                                  \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,prefer-vector-width=512")
#endif
#define TABLE fr__sort_v4
#define BYTES 64
#define FEW 128
#define NETWORK_MOST 1024
#include "native/sort_loops.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int fr__sort_v4_is_for_x86;
#endif
