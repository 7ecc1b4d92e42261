/* sort_base.c - ranks of a few keys, for any machine */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#define TABLE fr__sort_base
#define BYTES 16
#define FEW 32
#define NETWORK_MOST 64
#include "native/sort_loops.h"
