/* emit.h - from kernel operations to LLVM values: what the CPU and the GPU emitter share
 *
 * needs   a checked kernel, an open LLVM session
 * gives   scan:  which values are varying, where loops end, what kind each accumulator is
 *         emit:  every arithmetic operation on scalars (lanes 0) or vectors of `lanes`,
 *                conversions from and to storage types, accumulator identities
 *
 * The order of the builder's calls is the order of the code, so no two calls that build are
 * ever arguments of one call: C may evaluate them in either order.
 */
#ifndef FR_KERNEL_EMIT_H
#define FR_KERNEL_EMIT_H

#include "kernel/llvm.h"

/* What the scan finds out about an instruction. */
typedef struct fr__place {
    int32_t end;   /* of a LOOP: its END */
    int32_t loop;  /* the innermost LOOP around it, or -1 */
    int32_t vloop; /* the vector LOOP around it, or -1 */
    int32_t acc;   /* of an ACC: the vector LOOP that gives it lanes, or -1: a scalar */
    bool varying;  /* a value a lane */
    bool splat;    /* uniform, used by something varying */
} fr__place;

typedef struct fr__emit {
    const fr__kernel *k;
    const fr__place *place;
    bool fma, half; /* the machine has fused multiply-add; f16 conversions */
    bool avx512;    /* a * 2^b and lookups of 16 floats are instructions */
    bool avx2;      /* lookups of 8 floats are */
    bool ptx;
    fr__arena arena;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef at;    /* where code goes */
    LLVMBuilderRef entry; /* appends to the entry block: words, buffers */
    LLVMValueRef function;
    LLVMValueRef word_base, begin, end, scratch; /* the function's parameters */
    LLVMTypeRef data;                            /* pointer to array data: its address space */
    int width;                                   /* values that each instruction has room for */
    LLVMValueRef *values;                        /* `width` for each instruction */
    LLVMValueRef *words, *bases;                 /* made in the entry block, NULL until used */
    LLVMValueRef tables[FR__TABLES];             /* those in memory, NULL until used */
    struct fr__address { /* of a LOAD or STORE while its block is open */
        LLVMValueRef at; /* buffer + the terms added so far */
        uint64_t added;  /* a bit a term; bit 63: operand b */
    } * address;
    LLVMValueRef axis_index[FR__KMAXAXES]; /* of plain loops that are open */
    LLVMTypeRef i1, i8, i16, i32, i64, f16, f32, f64, pointer, nothing;
} fr__emit;

/* Fills everything above but `function`; kernel and session outlive it. 0 or -1; either way
 * fr__emit_done gives back what it holds. */
int fr__emit_start(fr__emit *e, fr__llvm_session *s, const fr__kernel *k, int width);
void fr__emit_done(fr__emit *e);

LLVMTypeRef fr__emit_type(fr__emit *e, fr__ktype t, int lanes);
LLVMTypeRef fr__emit_vector(fr__emit *e, LLVMTypeRef scalar, int lanes); /* lanes 0: scalar */
LLVMValueRef fr__emit_const(fr__emit *e, fr__ktype t, uint64_t bits, int lanes);
LLVMValueRef fr__emit_splat(fr__emit *e, LLVMValueRef scalar, int lanes);
LLVMValueRef fr__emit_iota(fr__emit *e, LLVMTypeRef integer, int lanes, int64_t from);

/* An arithmetic operation, ADD to ROUND, on values of the instruction's operands. May end the
 * current block and go on in another. */
LLVMValueRef fr__emit_op(fr__emit *e, const fr__kins *ins, LLVMValueRef a, LLVMValueRef b,
                         LLVMValueRef c, int lanes);
/* op(a, b) for two values of type t: accumulators. */
LLVMValueRef fr__emit_combine(fr__emit *e, fr__kop op, fr__ktype t, LLVMValueRef a,
                              LLVMValueRef b, int lanes);
LLVMValueRef fr__emit_identity(fr__emit *e, fr__kop op, fr__ktype t, int lanes);

/* Memory holds integers of the storage's width, f32 or f64. */
LLVMTypeRef fr__emit_storage(fr__emit *e, int dtype, int lanes);
LLVMValueRef fr__emit_from_storage(fr__emit *e, int dtype, LLVMValueRef raw, int lanes);
LLVMValueRef fr__emit_to_storage(fr__emit *e, int dtype, LLVMValueRef v, int lanes);
LLVMValueRef fr__emit_param(fr__emit *e, fr__ktype t, LLVMValueRef word);

/* -- emit_nest.c: words, addresses, loops -- */

/* After e->function and the parameters are set: the entry block and one to go on in; done
 * joins them once everything is emitted. */
void fr__emit_begin_body(fr__emit *e);
void fr__emit_end_body(fr__emit *e);
LLVMValueRef fr__emit_word(fr__emit *e, int n);
int fr__emit_dtype(const fr__emit *e, int i); /* of what LOAD or STORE i accesses */
/* Adds to address i the terms whose axes are known here, and b if it is a known scalar. */
void fr__emit_advance(fr__emit *e, int i);
void fr__emit_hoist(fr__emit *e, int loop); /* that for all in a loop, before it */
bool fr__emit_address_complete(const fr__emit *e, int i);
void fr__emit_bounds(fr__emit *e, const fr__kaxis *axis, LLVMValueRef *low, LLVMValueRef *high);
/* The accumulators from outside that a loop changes: their number; `to` has room for all. */
int fr__emit_carried(const fr__emit *e, int loop, int *to);
/* The axes that the root's index counts a product of, from that index. */
void fr__emit_outer_axes(fr__emit *e, LLVMValueRef root);
/* A loop from low in steps up to high, its accumulators (parts(acc) values each) carried in
 * phis; body emits what is inside, with the index in e->axis_index unless the axis is a vector
 * axis. 0 or -1. */
typedef struct fr__emit_walk {
    LLVMValueRef low, step, high;
    int (*parts)(void *ctx, int acc);
    void (*body)(void *ctx, int loop, LLVMValueRef index);
    void *ctx;
} fr__emit_walk;
int fr__emit_loop(fr__emit *e, int loop, const fr__emit_walk *walk);

static inline LLVMValueRef *fr__emit_values(fr__emit *e, int i)
{
    return &e->values[(size_t)i * (size_t)e->width];
}

LLVMValueRef fr__emit_call(fr__emit *e, const char *intrinsic, LLVMTypeRef *types, int ntypes,
                           LLVMValueRef *args, int nargs);
void fr__emit_attribute(fr__emit *e, const char *key, const char *value);
void fr__emit_flag(fr__emit *e, const char *attribute);
LLVMBasicBlockRef fr__emit_block(fr__emit *e, const char *name);
/* A branch that nearly always goes to `likely`. */
void fr__emit_branch_likely(fr__emit *e, LLVMValueRef to_likely, LLVMBasicBlockRef likely,
                            LLVMBasicBlockRef unlikely);
/* A phi with its incoming values in order. */
LLVMValueRef fr__emit_phi2(fr__emit *e, LLVMValueRef a, LLVMBasicBlockRef from_a,
                           LLVMValueRef b, LLVMBasicBlockRef from_b);

static inline void fr__emit_at(fr__emit *e, LLVMBasicBlockRef block)
{
    fr__llvm.PositionBuilderAtEnd(e->at, block);
}
static inline LLVMBasicBlockRef fr__emit_here(fr__emit *e)
{
    return fr__llvm.GetInsertBlock(e->at);
}

/* Short names for what the emitters write most. */
typedef LLVMValueRef value;
static inline value c64(fr__emit *e, int64_t v)
{
    return fr__llvm.ConstInt(e->i64, (uint64_t)v, 0);
}
static inline value c32(fr__emit *e, int32_t v)
{
    return fr__llvm.ConstInt(e->i32, (uint32_t)v, 0);
}
static inline value add(fr__emit *e, value a, value b)
{
    return fr__llvm.BuildAdd(e->at, a, b, "");
}
static inline value sub(fr__emit *e, value a, value b)
{
    return fr__llvm.BuildSub(e->at, a, b, "");
}
static inline value mul(fr__emit *e, value a, value b)
{
    return fr__llvm.BuildMul(e->at, a, b, "");
}
static inline value and (fr__emit * e, value a, value b)
{
    return fr__llvm.BuildAnd(e->at, a, b, "");
}
static inline value or (fr__emit * e, value a, value b)
{
    return fr__llvm.BuildOr(e->at, a, b, "");
}
static inline value icmp(fr__emit *e, LLVMIntPredicate p, value a, value b)
{
    return fr__llvm.BuildICmp(e->at, p, a, b, "");
}
static inline value fcmp(fr__emit *e, LLVMRealPredicate p, value a, value b)
{
    return fr__llvm.BuildFCmp(e->at, p, a, b, "");
}
static inline value choose(fr__emit *e, value condition, value yes, value no)
{
    return fr__llvm.BuildSelect(e->at, condition, yes, no, "");
}
static inline value bitcast(fr__emit *e, value v, LLVMTypeRef type)
{
    return fr__llvm.BuildBitCast(e->at, v, type, "");
}
static inline value gep(fr__emit *e, LLVMTypeRef element, value pointer, value index)
{
    return fr__llvm.BuildGEP2(e->at, element, pointer, &index, 1, "");
}
static inline void jump(fr__emit *e, LLVMBasicBlockRef to) { fr__llvm.BuildBr(e->at, to); }
static inline void branch(fr__emit *e, value condition, LLVMBasicBlockRef yes,
                          LLVMBasicBlockRef no)
{
    fr__llvm.BuildCondBr(e->at, condition, yes, no);
}

#endif
