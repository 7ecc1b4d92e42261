/* sort_base.c - ranks of a few keys, for any machine */
#include "base/optimize.h"
#define TABLE fr__sort_base
#define BYTES 16
#define FEW 32
#define NETWORK_MOST 64
#include "native/sort_loops.h"
