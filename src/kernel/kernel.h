/* kernel.h - kernel IR: what one launch computes, before any machine is chosen
 *
 *   ... fuse -> [lower] -> KERNEL -> interpreter | LLVM -> machine code | LLVM -> PTX
 *
 * A kernel is a flat list of typed scalar instructions between nested loops. The loops run
 * over axes; an axis says how it is bound (to the call's range, to vector lanes, to plain
 * iteration). Sizes, strides, pointers and literal numbers are not in the kernel: they are
 * 64-bit words of an argument block, known when a launch is bound, so one kernel serves all
 * sizes. The text of a kernel (fr__kernel_print) is its identity on disk, the same in
 * words (fr__kernel_words) in memory.
 *
 * Shape of every kernel:
 *
 *     prologue       uniform instructions before any loop (params)
 *     loop p (PAR or PARVEC): runs over [begin, end) of the call
 *         row-level instructions, accumulators, inner loops (SERIAL, VEC), stores
 *     end
 *
 * Meaning of lanes. A VEC or PARVEC loop with unroll U steps by FR__LANES * U elements; element
 * i of the axis (counted from the loop's first index) is lane i % (FR__LANES * U). Values that
 * depend on the axis are varying (one value a lane), others uniform. There is at most one
 * vector loop on any path from the root. The number of lanes is the same for every type and
 * every host: a narrower machine uses several registers, so results never depend on the host.
 *
 * Accumulators. `acc` makes one, holding its operator's identity, at a place outside the
 * loop(s) it is reduced over; `upd` inside adds to it; `red` after the loop reads it.
 *   - acc outside a vector loop, upd inside it: one partial result a lane; elements past the
 *     axis' end don't take part; red combines the U vectors pairwise ((0,1),(2,3))..., then
 *     halves lanes [0,8) with [8,16), 4, 2, 1. That order is the definition.
 *   - acc inside a vector loop: a value a lane, red gives it, varying.
 *   - no vector loop at all: a scalar.
 *   upd is always op(acc, value), in that order of operands.
 *
 * Arithmetic. IEEE, round to nearest, no contraction but KFMA, no reassociation. Integers wrap.
 * KFMA is fused where the host has fma (fr__host()->fma) and mul-then-add otherwise; every
 * consumer does the same, so all tiers agree bit for bit on a host.
 * Storage types narrower than the value types convert at loads and stores only: f16 and bf16
 * to KF32 (round to nearest even, NaN kept quiet), 8/16-bit integers to KI32/KU32 (store
 * truncates), bool to KB1 (a byte; stores 0 or 1; loads nonzero as true). A complex64 is a KU64:
 * the real part's bits are its low half.
 */
#ifndef FR_KERNEL_H
#define FR_KERNEL_H

#include "base/base.h"
#include "core/dtype.h"

enum { FR__LANES = 16, FR__KMAXAXES = 40, FR__KMAXUNROLL = 4 };

typedef enum fr__ktype {          /* types of values in registers */
                         FR__KB1, /* a truth value */
                         FR__KI32,
                         FR__KU32,
                         FR__KI64,
                         FR__KU64,
                         FR__KF32,
                         FR__KF64,
                         FR__KNONE, /* of loop, end, store, upd */
} fr__ktype;

/* Operands a, b, c are indices of earlier instructions. T: result has the operands' type.
 *      name    operands  result   meaning */
// clang-format off
#define FR__KOPS(X)                                                                          \
    /* sources */                                                                            \
    X(CONST,   0, T)  /* imm: the value's bits (f32 in the low half; ints sign-extended) */  \
    X(PARAM,   0, T)  /* word imm, low bits (KB1: the lowest bit); uniform */                \
    X(AXIS,    0, T)  /* KI64: the current index of axis imm (varying for a vector axis) */  \
    X(LOAD,    0, T)  /* access imm; b: KI64 elements added to the address, or -1;           \
                         c: KB1 mask or -1: where false nothing is read and the value is 0 */\
    /* float and integer; KB1 is not allowed unless said */                                  \
    X(ADD,     2, T) X(SUB, 2, T) X(MUL, 2, T)                                               \
    X(DIV,     2, T)  /* float: IEEE. integer: toward zero; by zero gives 0; MIN/-1 = MIN */ \
    X(MOD,     2, T)  /* integer: sign of the dividend (C's %), by zero gives 0;             \
                         float: C's fmod */                                                  \
    X(MIN,     2, T)  /* NaN if either is NaN; of equal values (0, -0 too) gives a */        \
    X(MAX,     2, T)  /* the same */                                                         \
    X(NEG,     1, T)  /* float: flips the sign bit, of NaN too */                            \
    X(ABS,     1, T)  /* float: clears the sign bit; of the least integer: itself */         \
    /* float only */                                                                         \
    X(FMA,     3, T)  /* a*b + c */                                                          \
    X(SQRT,    1, T) X(RINT, 1, T) /* to nearest even */                                     \
    X(FLOOR,   1, T) X(CEIL, 1, T) X(TRUNC, 1, T)                                            \
    X(COPYSIGN,2, T)  /* magnitude of a, sign of b */                                        \
    X(SCALE,   2, T)  /* a * 2^floor(b), for |a| in [1/2, 2] or NaN and b that leave at most \
                         twice the range (else anything); rounded once, to 0 and infinity too */\
    X(LOOKUP,  1, T)  /* KF32: of table imm the entry that the low four bits of a, KI32, say */\
    /* integers and KB1 */                                                                   \
    X(AND,     2, T) X(OR, 2, T) X(XOR, 2, T) X(NOT, 1, T)                                   \
    X(SHL,     2, T)  /* integers; a count outside [0, bits) gives 0 */                      \
    X(SHR,     2, T)  /* arithmetic for signed types; count >= bits: 0, or -1 if negative */ \
    X(MULHI,   2, T)  /* KU32: high half of the 64-bit product */                            \
    /* comparisons: operands of one type (any), result KB1; ordered, but NE is true on NaN */\
    X(LT,      2, B) X(LE, 2, B) X(EQ, 2, B) X(NE, 2, B)                                     \
    X(SEL,     3, T)  /* a: KB1; b where true, c where false */                              \
    /* conversions: `type` is the result's, operand a of another type */                     \
    X(CVT,     1, T)  /* value conversion; float to integer truncates, NaN gives 0, beyond   \
                         the range saturates; integer to integer wraps; to KB1: a != 0.      \
                         imm 1: a float known to fit the integer type (else any value) */    \
    X(BITCAST, 1, T)  /* same width: f32<->i32/u32, f64<->i64/u64, i32<->u32, i64<->u64 */   \
    X(ROUND,   1, T)  /* KF32 to the value that storage dtype imm (f16, bf16) would keep */  \
    /* accumulators; imm of acc: one of ADD MUL MIN MAX AND OR */                            \
    X(ACC,     0, T)  /* holds the identity of its operator: +0; 1; for MIN +inf or the      \
                         greatest integer; for MAX -inf or the least; all ones; 0 */         \
    X(UPD,     2, N)  /* a: the acc, b: the value */                                         \
    X(RED,     1, T)  /* a: the acc */                                                       \
    /* structure */                                                                          \
    X(LOOP,    0, N)  /* imm: the axis */                                                    \
    X(END,     0, N)  /* imm: the axis of the innermost open loop */                         \
    X(STORE,   1, N)  /* value a to access imm; b, c as for LOAD (where the mask is false    \
                         nothing is written). A varying store past the end is not done. A    \
                         store through b to one address from two lanes: the last lane wins */
// clang-format on
typedef enum fr__kop {
#define X(name, n, t) FR__K_##name,
    FR__KOPS(X)
#undef X
        FR__K_COUNT
} fr__kop;

typedef struct fr__kins {
    uint8_t op, type; /* fr__kop, fr__ktype (of a store: the value's type) */
    int32_t a, b, c;  /* operands or -1 */
    int64_t imm;
} fr__kins;

typedef enum fr__kbind {
    FR__BIND_PAR, /* the root loop: its index runs over [begin, end) of the call, one by one */
    FR__BIND_PARVEC, /* the root loop over [begin, end), vectorised */
    FR__BIND_OUTER,  /* no loop: index = (root index / word div) % word extent; used where the
                        root loop counts a product of axes; usable inside the root loop only */
    FR__BIND_SERIAL, /* one by one, [0, extent) */
    FR__BIND_VEC,    /* vectorised, [0, extent) */
} fr__kbind;

typedef struct fr__kaxis {
    uint8_t bind, unroll; /* unroll >= 1 for vector axes: a power of two up to FR__KMAXUNROLL */
    uint16_t extent;      /* word: number of elements; for PAR and PARVEC: the whole range */
    uint16_t div;         /* OUTER: word of the divisor */
    int16_t
        split; /* SERIAL, VEC: -1, or the axis s (PAR, OUTER, SERIAL) this one is split by: */
    uint16_t block; /*   it runs over [s*B, min(s*B + B, extent)), B in word `block` */
} fr__kaxis;

typedef enum fr__krole { FR__BUF_IN, FR__BUF_OUT, FR__BUF_SCRATCH } fr__krole;

typedef struct fr__kbuf {
    uint8_t dtype; /* storage type, an fr_dtype */
    uint8_t role;  /* an OUT may be the same memory as an IN that is accessed at the same
                       element (in place): no consumer may assume that they don't overlap */
    uint16_t word; /* its pointer; SCRATCH: byte offset into the thread's scratch block */
} fr__kbuf;

typedef enum fr__kvec { /* how an address moves along the vector axis that is in force */
                        FR__VEC_NONE, /* it doesn't: a scalar load, value uniform */
                        FR__VEC_UNIT, /* by one element: a vector load or store */
                        FR__VEC_STRIDE, /* by the elements in word `vstride` a step: gather, scatter */
} fr__kvec;

typedef struct fr__kaccess {
    uint16_t buf;
    uint8_t vec, nterm;
    bool nt; /* store: past the cache. Promise: UNIT, extent and all strides multiples of
                FR__LANES*U elements, base aligned to 64 bytes, so every full vector is aligned */
    uint16_t prefetch; /* load, UNIT: 0, or a word: that many elements further on will be wanted
                          soon (a hint: nothing happens if that is past the end) */
    bool sparse; /* prefetch: some of them are enough, the hardware follows; not into L1 */
    uint16_t vstride;
    int16_t vaxis; /* the vector axis, -1 for NONE */
    struct {
        uint16_t axis, word;
    } term[FR__KMAXAXES]; /* other axes: index * w[word] elements */
} fr__kaccess; /* element address = buffer + sum of terms + vector part + operand b */

/* Word 0 belongs to the runtime, the rest are numbered by lower. */
enum { FR__W_COPY, FR__W_FIRST };
/* Word FR__W_COPY holds a `void (*)(void *to, const void *from, int64_t bytes)` that generated
 * code calls to fill and empty the padded buffers of a last, partial vector. */

typedef struct fr__kernel {
    int nins, nbuf, naccess, naxis, nword;
    fr__kins *ins;
    fr__kbuf *bufs;
    fr__kaccess *access;
    fr__kaxis *axis;
    char *text;    /* fr__kernel_print's, NUL-terminated; NULL until it is in the cache */
    uint64_t hash; /* of the text */
    int nvarying;  /* scalar operations a lane does in the innermost loops: a cost */
    void
        *_Atomic plan; /* the interpreter's decoded form, one fr__malloc block made by the first
                            fr__interp_space; the builder leaves NULL */
    _Atomic uint64_t
        form; /* how it is spread over a GPU (ptx_shape.c), packed; 0: not yet known */
} fr__kernel; /* one block from fr__malloc and its inner arrays; immutable when built */

/* What a compiled kernel is called with; interpreter and machine code alike.
 *   w        nword words, FR__W_COPY filled in
 *   begin, end  part of the root axis; for PARVEC begin is a multiple of FR__LANES * unroll
 *   scratch  this thread's scratch block, 64-byte aligned, with 64 * FR__KMAXUNROLL bytes after
 *            every SCRATCH buffer that a vector store may overrun into */
typedef void fr__kfn(const uint64_t *w, int64_t begin, int64_t end, char *scratch);

/* -- kernel.c: names, printer, checker ------------------------------------------------- */
extern const char *const fr__kop_name[FR__K_COUNT]; /* "add" */
extern const uint8_t fr__kop_arity[FR__K_COUNT];
extern const char *const fr__ktype_name[];     /* "f32" */
extern const uint8_t fr__ktype_size[];         /* bytes: b1 1 */
fr__ktype fr__ktype_of(int dtype);             /* value type that a storage dtype loads as */
uint64_t fr__kidentity_bits(int op, int type); /* what an ACC of that operator begins with */
/* The text: a line a buffer, axis, access, instruction. Everything that consumers look at is in
 * it and nothing else (no word values). */
void fr__kernel_print(const fr__kernel *k, fr__text *to);
/* Checks all that the comments above promise (operand order and types, nesting, accumulators
 * placed right, words in range ...). 0, or -1 with an INTERNAL error naming the instruction. */
int fr__kernel_check(const fr__kernel *k);
/* All that is in the text as words, which is quicker to write and to compare: equal where the
 * texts are. Writes no more than `room`; how many there are. */
size_t fr__kernel_words(const fr__kernel *k, size_t room, uint64_t *to);
/* Whether instruction i differs between lanes (for a store: whether it is done a lane). vaxis:
 * the vector axis in force, -1 for none; varying[0, i) holds the answers for the earlier ones.
 * Of an acc: true only when it stands inside the vector loop. */
bool fr__kins_varying(const fr__kernel *k, int i, int vaxis, const uint8_t *varying);
void fr__kernel_free(fr__kernel *k);

/* -- tables.c: what mathematics looks up instead of computing it ------------------------ */
enum {
    FR__TABLE_ERF_AT,
    FR__TABLE_ERF_1,
    FR__TABLE_ERF_2,
    FR__TABLE_ERF_3,
    FR__TABLE_ERF_4,
    FR__TABLE_ERF_5,
    FR__TABLE_TANH_CENTRE,
    FR__TABLE_TANH_AT,
    FR__TABLE_TANH_1,
    FR__TABLE_TANH_2,
    FR__TABLE_TANH_3,
    FR__TABLE_TANH_4,
    FR__TABLE_TANH_5,
    FR__TABLE_EXP2,
    FR__TABLE_EXP2_REST,
    FR__TABLES
};
extern const float fr__ktables[FR__TABLES][FR__LANES];

/* -- interp.c --------------------------------------------------------------------------- */
/* Same results as machine code, bit for bit; no memory but its own stack and `space`, which
 * holds fr__interp_space(k) bytes, 64-byte aligned. */
size_t
fr__interp_space(const fr__kernel *k); /* 0 with a MEMORY error; any thread; quick but for
                                                 the first time. Must come before fr__interp */
void fr__interp(const fr__kernel *k, const uint64_t *w, int64_t begin, int64_t end,
                char *scratch, void *space);

/* -- host.c ----------------------------------------------------------------------------- */
typedef struct fr__host_info {
    char cpu[64]; /* LLVM's name is asked of LLVM; this one is for the cache key */
    bool fma, avx2, f16c, avx512; /* x86; on others fma as the baseline has it */
    bool avx512_bf16;             /* avx512, and sums of products of bfloat16 */
    bool avx512_vnni;             /* avx512, and those of 16-bit integers */
    uint64_t features_hash; /* of all cpuid feature leaves: part of the disk cache's key */
    int64_t l1, l2, l3;     /* bytes, of one core's reach; sane guesses where unknown */
} fr__host_info;
const fr__host_info *fr__host(void);

/* -- ptx_shape.c ------------------------------------------------------------------------- */
/* How to launch a kernel's PTX over [begin, end), with these words (addresses too: they decide how
 * memory may be accessed). Any number of blocks computes everything. */
typedef struct fr__ptx_shape {
    unsigned threads, blocks;
    uint64_t shape; /* a parameter of the kernel */
    bool scratch;   /* scratch memory is touched */
} fr__ptx_shape;
typedef struct fr__ptx_room {
    unsigned processors;
    unsigned most; /* threads that a block may have; 0: what the device has */
    unsigned
        threads; /* that it has to have, as another launch of this kernel got them; 0: any */
} fr__ptx_room;
fr__ptx_shape fr__ptx_spread(const fr__kernel *k, const uint64_t *words, int64_t begin,
                             int64_t end, fr__ptx_room room);

/* -- llvm.c, llvm_cpu.c, llvm_ptx.c: the emitter ---------------------------------------- */
/* Opens libLLVM if it is not open. False without LLVM (fr__llvm_why() says why); never an
 * error that sticks. FERRULE_LLVM names another file, FERRULE_LLVM=off switches it off. */
bool fr__llvm_ready(void);
const char *fr__llvm_why(void);
const char *fr__llvm_version(void); /* for cache keys, opens nothing: "19.1" from the table of
                                       known libraries, or FERRULE_LLVM's text */
/* Object code (ELF, relocatable, one function `name`) in memory from fr__malloc, or NULL with
 * the error set. Any thread. */
void *fr__llvm_object(const fr__kernel *k, const char *name, size_t *bytes);
/* PTX text (NUL-terminated, from fr__malloc) for sm_<sm> (the nearest older one that LLVM knows);
 * the entry is `name`, its parameters:
 *   w        nword words by value, 8-byte aligned; more than FR__PTX_WORDS: a pointer to them
 *   begin, end       u64 each, part of the root axis
 *   scratch  u64: 0 for scratch in dynamic shared memory, or the address of scratch_bytes a block
 *   scratch_bytes    u64
 *   shape    u64: as fr__ptx_spread has it
 * Blocks are one-dimensional. Sums combine in another order than on the CPU. */
char *fr__llvm_ptx(const fr__kernel *k, const char *name, int sm, size_t *bytes);
enum { FR__PTX_WORDS = 500 };
/* The same for many launches of one kernel at once; the entry's parameters:
 *   table    u64, address of a row for each: fr__ptx_row's FR__ROW_WORDS words, then the nword words
 *   which    u64, address of u32s: of each block, the row whose part it does
 *   rows     u64
 *   scratch, scratch_bytes   as above, the same for all
 * A block's number among its row's is that among all less the row's first. */
char *fr__llvm_ptx_many(const fr__kernel *k, const char *name, int sm, size_t *bytes);
enum { FR__ROW_RANGE, FR__ROW_FIRST, FR__ROW_BLOCKS, FR__ROW_SHAPE, FR__ROW_WORDS };
/* Either for the host, to be tested there: threads are calls that `to` tells who they are, and which
 * wait for each other in its functions. Parameters as above, words by address; of many the last is
 * not looked at. */
typedef struct fr__ptx_host {
    uint32_t (*thread)(void), (*threads)(void), (*block)(void), (*blocks)(void);
    void (*barrier)(void);
    uint32_t (*other)(uint32_t v,
                      uint32_t distance); /* v of the thread of the warp whose number
                                                         differs by this */
    char *shared, *dynamic;               /* a block's memory: 64 KiB, and its scratch */
} fr__ptx_host;
typedef void fr__ptx_fn(const uint64_t *w, int64_t begin, int64_t end, uint64_t scratch,
                        uint64_t scratch_bytes, uint64_t shape);
void *fr__llvm_ptx_object(const fr__kernel *k, const char *name, bool many,
                          const fr__ptx_host *to, size_t *bytes);
/* LLVM IR as text (fr__malloc), for FERRULE_DEBUG=5 and tests. ptx: 0 for the host. */
char *fr__llvm_ir(const fr__kernel *k, const char *name, int ptx_sm);
enum { FR__EMITTER_VERSION = 7 }; /* raised whenever generated code may change */

/* -- loader.c: relocatable objects to executable memory, without LLVM -------------------- */
typedef struct fr__code fr__code;
/* NULL with an error set if the object is not exactly what we expect: every offset is checked,
 * only known relocations, no undefined symbols. W^X: never writable and executable at once. */
fr__code *fr__code_load(const void *object, size_t bytes, const char *name);
fr__kfn *fr__code_entry(const fr__code *c);
void fr__code_free(fr__code *c);

#endif
