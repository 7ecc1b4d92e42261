/* build.h - builds kernels: instructions find their own level
 *
 * The caller opens and closes loops and asks for instructions in any order; an instruction that
 * depends on nothing inside the open loop is put before it (as far out as its operands allow),
 * and one that is there already is given again. So lowering never thinks of hoisting.
 */
#ifndef FR_KBUILD_H
#define FR_KBUILD_H

#include "kernel/kernel.h"

/* What a word of the argument block holds; lowering decides, the plan fills it in. */
typedef enum fr__wkind {
    FR__WORD_COPY,
    FR__WORD_BUFFER,
    FR__WORD_INT,
    FR__WORD_LITERAL,
    FR__WORD_SCRATCH
} fr__wkind;
typedef struct fr__word {
    uint8_t kind, ktype; /* LITERAL: the type it is wanted in */
    int64_t value;       /* INT: itself. BUFFER: number of the kernel's buffer. LITERAL: slot.
                            SCRATCH: byte offset */
} fr__word;

/* The body of a loop; block 0 is the prologue. */
typedef struct fr__kblock {
    int32_t parent, axis;
    bool open;
    FR__VEC(int32_t) list; /* instructions; a loop as minus its block */
} fr__kblock;

typedef struct fr__kb fr__kb;
struct fr__kb {
    fr__arena *arena; /* the compilation's */
    bool failed;      /* no memory or too large: everything after gives 0 */
    bool tables;      /* lookups are quicker than long polynomials: on a CPU */
    FR__VEC(fr__kins) ins;
    FR__VEC(int32_t) block_of; /* instruction -> its block */
    FR__VEC(fr__kblock) blocks;
    int32_t now; /* innermost open block */
    FR__VEC(fr__kbuf) bufs;
    FR__VEC(fr__kaccess) access;
    FR__VEC(fr__kaxis) axes;
    FR__VEC(int32_t) axis_block; /* axis -> the block its loop opened, -1 before */
    FR__VEC(fr__word) words;
    int32_t *table; /* hash of an instruction -> its number + 1 */
    int table_room, limit;
};

int fr__kb_init(fr__kb *b, fr__arena *arena);
void fr__kb_free(fr__kb *b);
/* Numbers the instructions in their final order and makes the kernel, checked, without its text. */
fr__kernel *fr__kb_finish(fr__kb *b);

int fr__kb_word(fr__kb *b, int kind, int64_t value, int ktype);
int fr__kb_int(fr__kb *b, int64_t value); /* a word that holds a size, stride ... */
int fr__kb_buffer(fr__kb *b, int dtype, int role, int word);
int fr__kb_axis(fr__kb *b, fr__kaxis axis);
int fr__kb_access(fr__kb *b, const fr__kaccess *a);
void fr__kb_open(fr__kb *b, int axis); /* a loop; OUTER axes have none */
void fr__kb_close(fr__kb *b);

/* One instruction; pure ones are shared and hoisted. Operands -1 where there is none. */
int fr__k(fr__kb *b, int op, int type, int x, int y, int z, int64_t imm);
static inline int fr__ktype_at(const fr__kb *b, int i)
{
    return b->failed ? FR__KF32 : b->ins.at[i].type;
}
static inline int fr__k1(fr__kb *b, int op, int x)
{
    return fr__k(b, op, fr__ktype_at(b, x), x, -1, -1, 0);
}
static inline int fr__k2(fr__kb *b, int op, int x, int y)
{
    return fr__k(b, op, fr__ktype_at(b, x), x, y, -1, 0);
}
int fr__kcmp(fr__kb *b, int op, int x, int y);
int fr__kconst(fr__kb *b, int type, double v); /* v as a value of that type */
int fr__kconst_bits(fr__kb *b, int type, int64_t bits);
int fr__kidentity(fr__kb *b, int op, int type); /* what an ACC of that operator begins with */
/* a to another type (also to and from bool). */
int fr__kcast(fr__kb *b, int x, int type);
/* Whether the value is still in force (its loop is open). */
bool fr__kb_live(const fr__kb *b, int i);

/* ---- functions written in kernel IR, math*.c: one text for every target ------------------------
 * Floats are of either width where nothing else is said. */
int fr__math_exp(fr__kb *b, int x); /* math.c */
int fr__math_log(fr__kb *b, int x);
int fr__math_tanh(fr__kb *b, int x);
int fr__math_erf(fr__kb *b, int x);
int fr__math_erfinv(fr__kb *b, int x);
int fr__math_sigmoid(fr__kb *b, int x);
int fr__math_expm1(fr__kb *b, int x); /* math_exp.c */
int fr__math_log1p(fr__kb *b, int x);
int fr__math_log2(fr__kb *b, int x);
int fr__math_log10(fr__kb *b, int x);
int fr__math_logaddexp(fr__kb *b, int x, int y);
int fr__math_near_exp(fr__kb *b, int x); /* float64, to 42 bits */
int fr__math_near_log(fr__kb *b, int x);
int fr__math_sinh(fr__kb *b, int x);
int fr__math_cosh(fr__kb *b, int x);
int fr__math_arcsinh(fr__kb *b, int x);
int fr__math_arccosh(fr__kb *b, int x);
int fr__math_arctanh(fr__kb *b, int x);
int fr__math_pow(fr__kb *b, int x, int y); /* math_pow.c; integers too */
int fr__math_sin(fr__kb *b, int x);        /* math_trig.c */
int fr__math_cos(fr__kb *b, int x);
int fr__math_tan(fr__kb *b, int x);
int fr__math_arcsin(fr__kb *b, int x);
int fr__math_arccos(fr__kb *b, int x);
int fr__math_arctan(fr__kb *b, int x);
int fr__math_arctan2(fr__kb *b, int y, int x);
int fr__math_sign(fr__kb *b, int x); /* math_whole.c; any type */
int fr__math_floor(fr__kb *b, int x);
int fr__math_ceil(fr__kb *b, int x);
int fr__math_trunc(fr__kb *b, int x);
int fr__math_rint(fr__kb *b, int x);
int fr__math_isinf(fr__kb *b, int x);
int fr__math_isfinite(fr__kb *b, int x);
int fr__math_isposinf(fr__kb *b, int x);
int fr__math_isneginf(fr__kb *b, int x);
int fr__math_floor_divide(fr__kb *b, int x, int y);
int fr__math_remainder(fr__kb *b, int x, int y);
int fr__math_low_float(fr__kb *b, int x); /* the parts of a complex64, math_whole.c */
int fr__math_high_float(fr__kb *b, int x);
int fr__math_pair(fr__kb *b, int low, int high);
/* x as memory of dtype `from` holds it, read as dtype `to` of the same size: math_bits.c. */
int fr__math_reinterpret(fr__kb *b, int x, int from, int to);
/* What they are made of, math_exp.c and math64.c: */
int fr__math_poly(fr__kb *b, int x, int n, const double *c); /* c[0] x^(n-1) + ... + c[n-1] */
int fr__math_exp_scaled(fr__kb *b, int x, int low, int k);   /* e^(x + low) 2^k; low -1: none */
int fr__math_log_core(fr__kb *b, int x, int low); /* log of x > 0, plus low (or -1) */
int fr__math_exp64(fr__kb *b, int x);
int fr__math_log64(fr__kb *b, int x);
int fr__math_tanh64(fr__kb *b, int x);
int fr__math_erf64(fr__kb *b, int x);
int fr__math_erfinv64(fr__kb *b, int x);
int fr__math_sigmoid64(fr__kb *b, int x);
/* Word `index` (KI64) of the n (KI64) random words of a key, two KU32 values: KU32. */
int fr__math_random(fr__kb *b, int key0, int key1, int index, int n);
/* The scalar form of an elementwise operation of the table, on operands of one type. */
int fr__scalar_form(fr__kb *kb, int op, int a, int b, int c);
int fr__combine_form(int op, int type); /* of a reduction: FR__K_ADD ... */

#endif
