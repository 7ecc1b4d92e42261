/* interp.h - what interp.c and its inner loops (interp_loops.h) agree on */
#ifndef FR_INTERP_H
#define FR_INTERP_H

#include "kernel/kernel.h"

/* Operands and results are arrays of lanes, 64-byte aligned with room for n rounded up to
 * FR__LANES; the lanes beyond n may be computed too and are never looked at. d is no operand. */
typedef void fr__loop(void *restrict d, const void *a, const void *b, const void *c, int64_t n);
/* acc[i % lanes] = op(acc[i % lanes], value[i]), in the order of i. */
typedef void fr__upd(void *restrict acc, const void *value, int64_t lanes, int64_t n);
/* Exactly n elements between memory and lanes. */
typedef void fr__transfer(void *restrict to, const void *from, int64_t n);
typedef void fr__fill(void *d, uint64_t bits, int64_t n);

typedef struct fr__interp_loops {
    fr__loop *op[FR__K_COUNT][FR__KNONE]; /* by the type of operand a (of SEL: of b) */
    fr__loop *cvt[FR__KNONE][FR__KNONE];  /* [from][to] */
    fr__loop *fma[2];                     /* fused whatever the host: f32, f64 */
    fr__loop *round[2];                   /* to f16, to bf16 */
    fr__loop *iota;                       /* d[i] = *a + i, int64 */
    fr__loop *lookup;                     /* d[i] = entry a[i] of the table b */
    fr__upd *upd[FR__K_COUNT][FR__KNONE];
    fr__transfer *load[FR_DTYPE_COUNT], *store[FR_DTYPE_COUNT];
    fr__fill *fill[9]; /* by size: 1, 4, 8 */
} fr__interp_loops;

extern const fr__interp_loops fr__interp_base;
#if defined(__x86_64__)
extern const fr__interp_loops fr__interp_v3; /* needs AVX2, FMA and F16C */
#endif

/* The plan that fr__interp_space makes and keeps in k->plan, for these loops (tests try both). */
void *fr__interp_plan(const fr__kernel *k, const fr__interp_loops *loops, bool fused);

#endif
