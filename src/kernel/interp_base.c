/* interp_base.c - the interpreter's inner loops for any machine */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "no-trapping-math", "no-math-errno", "fp-contract=off")
#else
#pragma STDC FP_CONTRACT OFF
#endif
#define TABLE fr__interp_base
#include "kernel/interp_loops.h"
