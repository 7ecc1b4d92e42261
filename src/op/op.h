/* op.h - operations: their numbers, classes and rules, all from ops.def
 *
 * Structural operations (leaves, views, casts, generators) stand here; everything else is a row
 * of the table. Views have shape rules of their own; a class shares the rest.
 */
#ifndef FR_OP_H
#define FR_OP_H

#include "core/array.h"

/* name, class, manual */
// clang-format off
#define FR__STRUCTURAL(X)                                                                    \
    X(LEAF, SOURCE, "an array with values")                                                  \
    X(PLACEHOLDER, SOURCE, "an argument of a function that is being traced")                 \
    X(BUNDLE, SOURCE, "its inputs, for CUSTOM: never computed")                              \
    X(NUMBER, SOURCE, "a literal; par[0]: the bits of a double or an int64")                 \
    X(IOTA, GENERATE, "its own row-major index, int32 or int64")                             \
    X(RANDOM_BITS, GENERATE, "uint32 random bits of its index under key in[0], uint32[2]")   \
    X(RESHAPE, VIEW, "the same elements in row-major order")                                 \
    X(TRANSPOSE, VIEW, "par[i]: the input's axis that axis i is")                            \
    X(BROADCAST, VIEW, "axes aligned at the right; sizes 1 repeat")                          \
    X(SLICE, VIEW, "par: start of each axis, then step")                                     \
    X(WINDOWS, VIEW, "axis par[0] as two: windows, par[1] apart, of elements par[2] apart")  \
    X(AGAIN, VIEW, "in[0] itself, but what is made of it is apart, and comes after in[1]")   \
    X(PIECES, VIEW, "split only: to each element the value of its piece")                    \
    X(COPY, COPY, "the same values, contiguous")                                             \
    X(FRESH, COPY, "the same values in a buffer that nothing else uses, for PUT")           \
    X(PUT, PUT, "in[1] (a FRESH or a PUT; none: whatever was in memory) with in[0] written\n"\
                "over a part of it; par: start of each axis, then step, then 1 if a PUT follows")   \
    X(TAKE, TAKE, "in[0]'s elements at the indices in[1] along axis par[0]")                 \
    X(CONTRACT, NATIVE, "in[0][batch, rows, k] in[1][batch, k, columns] summed over k: a product of\n"\
                        "matrices; par: how many dimensions are batch, and how many k")          \
    X(CONV, NATIVE, "in[0][N, spatial, C] under the window in[1][O, taps, C / groups], inside only;\n"\
                    "par: strides, dilations of the window, groups; op/correlate.h. On a GPU perhaps: then\n"\
                    "zeros before in[0]'s elements, steps from one to the next: zeros between")  \
    X(CONV_FILTER, NATIVE, "[O, taps, C / groups], the gradient of such a CONV's filter, of its in[0]\n"\
                           "and that of its result, in[1]; par: as CONV's")                      \
    X(ATTENTION, NATIVE, "softmax(in[0] in[1]^T * scale + mask in[3]) in[2]; op/attention.h")      \
    X(ATTENTION_GRAD, NATIVE, "gradients of in[0], in[1] and in[2], one behind the other")         \
    X(SCATTER, NATIVE, "in[0][outer, n, inner] with in[2][outer, k, inner] at the indices in[1], [k] or\n"\
                       "in[2]'s shape, in order; par[0]: a fr_scatter_mode")               \
    X(SCAN, NATIVE, "of in[0], [outer, n, inner]: what is so far along n; par: kind, reverse, exclusive") \
    X(SORT, NATIVE, "rows of in[0], [rows, n], in ascending order; par: whether as their indices")     \
    X(SELECT, NATIVE, "the same, but only place par[1] is right, and from par[2] on; par[0] as above") \
    X(SEARCH, NATIVE, "how many elements of sorted rows in[0] are less than values in[1], row by row;\n"\
                      "par: or equal")                                                        \
    X(CAST, CAST, "the same values in another dtype")                                        \
    X(REINTERPRET, CAST, "the same bits as another dtype of that size")                                        \
    X(ALIAS, VIEW, "in[0] itself: where differentiation begins")                             \
    X(STOP, VIEW, "in[0] itself: where differentiation ends")                                \
    X(CUSTOM, VIEW, "in[0] itself: result par[0] of a function with rules of its own, in[1]: a BUNDLE")
// clang-format on

typedef enum fr__class {
    FR__SOURCE,
    FR__GENERATE,
    FR__VIEW,
    FR__COPY,
    FR__CAST,
    FR__PUT,
    FR__TAKE,
    FR__NATIVE, /* a routine of src/native, over stored arrays; no kernel is made for it */
    FR__ELEMENTWISE,
    FR__REDUCE,
} fr__class;

typedef enum fr__rule {
    FR__RULE_NONE,
    FR__RULE_SAME,
    FR__RULE_NUMBER,
    FR__RULE_FLOAT,
    FR__RULE_COMPARE,
    FR__RULE_LOGICAL,
    FR__RULE_SELECT,
    FR__RULE_SUM,
    FR__RULE_BITS,
    FR__RULE_SHIFT,
    FR__RULE_PART,
    FR__RULE_PAIR,
} fr__rule;

enum { FR__INPUTS = 8 }; /* of a node that can be captured, at most */
enum { FR__COMMUTES = 1, FR__CHEAP = 2, FR__COSTLY = 4 };

typedef enum fr__op {
#define X(name, class, text) FR__OP_##name,
    FR__STRUCTURAL(X)
#undef X
#define UNARY(name, py, rule, traits, form, da, text) FR__OP_##name,
#define BINARY(name, py, rule, traits, form, da, db, text) FR__OP_##name,
#define TERNARY(name, py, rule, traits, form, da, db, dc, text) FR__OP_##name,
#define REDUCE(name, py, rule, traits, combine, da, text) FR__OP_REDUCE_##name,
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
        FR__OPS
} fr__op;

typedef struct fr__op_info {
    const char *name; /* "exp", "reduce_sum", "reshape" */
    uint8_t class, rule, traits, nin;
} fr__op_info;
extern const fr__op_info fr__ops[FR__OPS];

/* Whether its memory is written over by a PUT: never evaluated by itself. */
static inline bool fr__is_base(int op, int npar, const int64_t *par)
{
    return op == FR__OP_FRESH || (op == FR__OP_PUT && par[npar - 1]);
}

/* Elementwise operations of any class, by number; operands as fr_add takes them. */
fr_array *fr__elementwise(int op, int n, fr_array *const *x);
/* e / sum as a softmax, where it is one written out and not computed yet (recognise.c). NULL, without
 * an error: it isn't. */
fr_array *fr__softmax_written_out(fr_array *e, fr_array *sum);
/* The dtype that operands of these dtypes are brought to (FR_DTYPE_COUNT and an error where an
 * operation can't take them), and the result's. */
typedef struct fr__dtypes_rule {
    int compute, result;
} fr__dtypes_rule;
fr__dtypes_rule fr__apply_rule(int op, int n, fr_array *const *x);

/* Whether it is in[0] itself to whatever computes values. */
static inline bool fr__is_alias(int op)
{
    return op == FR__OP_ALIAS || op == FR__OP_STOP || op == FR__OP_CUSTOM;
}
fr_array *fr__again(fr_array *x,
                    fr_array *g); /* x, to be computed with once more (op/alias.c) */
/* x itself by another node of op ALIAS or STOP; on this tape (0: on x's). */
fr_array *fr__alias(int op, fr_array *x, uint32_t tape);

/* CONTRACT: both of one dtype that has tiles, the first nbatch dimensions equal, k the last nk of a and the nk of
 * b after batch. Owned as a result. */
fr_array *fr__contract(fr_array *a, fr_array *b, int nbatch, int nk);
/* Whether there are tiles for products of that dtype: floats; on the host integers of 8 and 16 bits. */
bool fr__has_tiles(int dtype);
/* Of an operand [batch, p, q] as [batch, q, p], p and q of np and nq dimensions: which of its
 * dimensions stands at d. */
static inline int fr__turned(int d, int nbatch, int np, int nq)
{
    return d < nbatch ? d : d < nbatch + nq ? d + np : d - nq;
}
enum { FR__SMALL_PRODUCT = 512 }; /* multiplications: below, a sum of products is as good */

/* complex.c: operations with a complex64 among their operands, made of real ones on the parts.
 * Floating operands stay the caller's. mask: axes of the reduction. */
fr_array *fr__complex_elementwise(int op, int n, fr_array *const *x);
fr_array *fr__complex_cast(fr_array *x, int dtype);
fr_array *fr__complex_reduce(int op, fr_array *x, int64_t mask);
fr_array *fr__complex_matmul(fr_array *a, fr_array *b);
fr_array *fr__complex_logsumexp(fr_array *x, const fr_reduce_options *o);
fr_array *fr__complex_softmax(fr_array *x, const fr_reduce_options *o);

/* SCATTER: x [outer, n, inner], updates [outer, k, inner], indices [k] or as updates; any dtypes, the result has
 * x's. NULL in, NULL out. Wants a scope of the caller's. */
fr_array *fr__scatter(fr_array *x, fr_array *at, fr_array *updates, int mode);
/* Scans. The array has three dimensions, [outer, n, inner]: more of outer is a batch. */
typedef enum fr__scan_kind {
    FR__SCAN_SUM,
    FR__SCAN_PROD,
    FR__SCAN_MAX,
    FR__SCAN_MIN,
    FR__SCAN_LOG_SUM_EXP,
    FR__SCANS
} fr__scan_kind;
fr_array *fr__scan(fr_array *x, int kind, bool reverse, bool exclusive);
/* SORT, SELECT of [rows, n], SEARCH of [rows, n] for [rows, m]: more rows are a batch. */
fr_array *fr__sort(fr_array *x, bool indices);
fr_array *fr__select(fr_array *x, bool indices, int64_t kth, int64_t from);
fr_array *fr__search(fr_array *sorted, fr_array *values, bool right);
/* The axes of a reduction as a bit mask of x's; -1 with an error. */
int64_t fr__axis_mask(const char *op, const fr_array *x, const fr_reduce_options *o);
/* One axis by Python's rules; -1 with an error. */
int fr__axis(int axis, int ndim, const char *op);
/* A literal of this dtype, owned as a result. */
fr_array *fr__number(double v, int dtype);

#endif
