/* forms.h - kernel IR written as arithmetic
 *
 * For the two files that write mathematics, math.c and scalar.c: short names that must not leak.
 */
#ifndef FR_FORMS_H
#define FR_FORMS_H

#include "kernel/build.h"

/* Arithmetic on values reads as such; `kb` is the builder in every function here. */
#define ADD(x, y) fr__k2(kb, FR__K_ADD, x, y)
#define SUB(x, y) fr__k2(kb, FR__K_SUB, x, y)
#define MUL(x, y) fr__k2(kb, FR__K_MUL, x, y)
#define DIV(x, y) fr__k2(kb, FR__K_DIV, x, y)
#define MOD(x, y) fr__k2(kb, FR__K_MOD, x, y)
#define MIN(x, y) fr__k2(kb, FR__K_MIN, x, y)
#define MAX(x, y) fr__k2(kb, FR__K_MAX, x, y)
#define AND(x, y) fr__k2(kb, FR__K_AND, x, y)
#define OR(x, y) fr__k2(kb, FR__K_OR, x, y)
#define XOR(x, y) fr__k2(kb, FR__K_XOR, x, y)
#define SHL(x, y) fr__k2(kb, FR__K_SHL, x, y)
#define SHR(x, y) fr__k2(kb, FR__K_SHR, x, y)
#define NEG(x) fr__k1(kb, FR__K_NEG, x)
#define ABS(x) fr__k1(kb, FR__K_ABS, x)
#define SQRT(x) fr__k1(kb, FR__K_SQRT, x)
#define RINT(x) fr__k1(kb, FR__K_RINT, x)
#define FLOOR(x) fr__k1(kb, FR__K_FLOOR, x)
#define CEIL(x) fr__k1(kb, FR__K_CEIL, x)
#define TRUNC(x) fr__k1(kb, FR__K_TRUNC, x)
#define NOT(x) fr__k1(kb, FR__K_NOT, x)
#define COPYSIGN(x, y) fr__k2(kb, FR__K_COPYSIGN, x, y)
#define SCALE(x, n) fr__k2(kb, FR__K_SCALE, x, n)
#define LOOKUP(table, at) fr__k(kb, FR__K_LOOKUP, FR__KF32, at, -1, -1, FR__TABLE_##table)
#define FMA(x, y, z) fr__k(kb, FR__K_FMA, fr__ktype_at(kb, x), x, y, z, 0)
#define LT(x, y) fr__kcmp(kb, FR__K_LT, x, y)
#define LE(x, y) fr__kcmp(kb, FR__K_LE, x, y)
#define EQ(x, y) fr__kcmp(kb, FR__K_EQ, x, y)
#define NE(x, y) fr__kcmp(kb, FR__K_NE, x, y)
#define SEL(m, x, y) fr__k(kb, FR__K_SEL, fr__ktype_at(kb, x), m, x, y, 0)
#define F(v) fr__kconst(kb, FR__KF32, v)
#define D(v) fr__kconst(kb, FR__KF64, v)
#define LIKE(x, v) fr__kconst(kb, fr__ktype_at(kb, x), v) /* a constant of x's type */
#define I(v) fr__kconst(kb, FR__KI32, v)
#define BITS(x) fr__k(kb, FR__K_BITCAST, FR__KI32, x, -1, -1, 0)
#define FLOAT_OF(x) fr__k(kb, FR__K_BITCAST, FR__KF32, x, -1, -1, 0)
#define TO_INT(x) fr__k(kb, FR__K_CVT, FR__KI32, x, -1, -1, 1) /* 1: known to fit */
#define TO_FLOAT(x) fr__k(kb, FR__K_CVT, FR__KF32, x, -1, -1, 0)

#endif
