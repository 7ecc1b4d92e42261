/* trace.h - a graph being compiled: compact, in an arena, nodes as indices
 *
 *   [capture -> simplify -> layout -> split -> fuse -> merge] -> lower -> plan -> program
 *
 * Nodes stand in topological order: inputs have lower numbers. A pass reads what the passes
 * before it gave; fr__trace_check holds each to its promise in debug builds.
 *
 * Indices. Inside a group every value is addressed by its row-major element number, written as an
 * affine function of the group's axes (fr__index). Reshapes are then free; transposes, slices and
 * broadcasts change strides; what cannot be written so is stored first. One idea, no cases.
 */
#ifndef FR_TRACE_H
#define FR_TRACE_H

#include "op/op.h"

typedef struct fr__index {
    int32_t n; /* axes of the group when it was made; later axes have stride 0 */
    int64_t offset, stride[];
} fr__index;

enum {
    FR__T_OUTPUT = 1, /* wanted by the caller */
    FR__T_STORE = 2,  /* fuse: has a buffer, contiguous */
    FR__T_INLINE = 4, /* fuse: computed wherever it is wanted; member of no group */
    FR__T_AGAIN =
        16, /* capture: an earlier eval has been through it without keeping its value */
    FR__T_ROWS = 32, /* simplify: to be row-major in memory, whatever it is made of */
    FR__T_LATE = 8, /* fuse: somebody wants it in a way its group cannot give: store it alone */
};

/* Why a node begins a kernel instead of joining the one that wants it; for the reader. */
// clang-format off
#define FR__REASONS(X)                                                                       \
    X(JOINED, "")                                                                            \
    X(END, "a result")                                                                       \
    X(OFF, "fusion is off")                                                                  \
    X(VIEW, "a view of it that strides cannot express")                                      \
    X(TWICE, "wanted by one kernel at two places")                                           \
    X(KEY, "a random key: every element reads all of it")                                    \
    X(FULL, "the kernel that wants it is full")                                              \
    X(PART, "wanted by several, and not all of it passes by in the first")                   \
    X(TAKEN, "gathered from: its elements are read in any order")                            \
    X(NATIVE, "read or made by a routine, which takes arrays")                               \
    X(AGAIN, "read again and again: put side by side once")                                  \
    X(PUT, "written over in parts")                                                          \
    X(PIECES, "a long reduction in pieces: its kernel goes over other axes")                 \
    X(AXES, "reduced over axes that the kernel that wants it doesn't go over")
// clang-format on
enum {
#define X(name, text) FR__WHY_##name,
    FR__REASONS(X)
#undef X
};

const char *fr__reason(int why);

typedef struct fr__tnode {
    uint8_t op, dtype, ndim, nin, npar, flags;
    uint8_t why; /* fuse: FR__WHY_... */
    int32_t in[FR__INPUTS];
    int32_t slot; /* LEAF, PLACEHOLDER: number of the leaf. NUMBER: literal slot, -1: fixed */
    const int64_t *shape, *par;
    int64_t size;
    int32_t group;        /* fuse: its group, -1 none */
    int32_t next;         /* fuse: next member of the group, in topological order */
    const fr__index *map; /* fuse: where in the group */
} fr__tnode;

#define FR__NO_INPUTS                                                                          \
    {                                                                                          \
        -1, -1, -1, -1, -1, -1, -1, -1                                                         \
    }

typedef struct fr__leafref {
    int32_t node;
    bool contiguous;
    const int64_t *strides; /* in elements */
} fr__leafref;

typedef struct fr__gaxis {
    int64_t extent;
    bool reduced;
    int8_t split;  /* -1, or the kept axis that this one is split by */
    int64_t block; /* split: elements a piece */
} fr__gaxis;

enum { FR__GAXES = FR_MAX_NDIM + 2, FR__LOOPS = 40 /* of a kernel, at most */ };

typedef struct fr__group {
    int naxes;
    fr__gaxis axis[FR__GAXES];
    int32_t first, last; /* members */
    int32_t root;        /* the node it was begun for */
    int cost;            /* scalar operations an element, roughly */
    int reductions;      /* how many: each may be a pass over the reduced axes of its own */
    int64_t
        packed; /* 0, or prologue.c: made part by part for the product that packs it, from rows of
                       so many elements; */
    double cycles; /*   an element takes so many; */
    bool across;   /*   parts are narrow: some elements of many rows */
} fr__group;

/* What an output of the trace is, once the program has run. */
typedef struct fr__tout {
    int32_t node; /* as asked for */
    int32_t base; /* a stored node, or a leaf, that it is a view of */
    int64_t offset;
    const int64_t *strides; /* of the view, in elements of base */
} fr__tout;

typedef struct fr__trace {
    fr__arena arena;
    FR__VEC(fr__tnode) nodes;
    FR__VEC(fr__leafref) leaves;
    FR__VEC(int64_t) literals; /* bits of a slot, as it was at capture */
    FR__VEC(uint8_t) literal_dtypes;
    FR__VEC(fr__tout) outs;
    FR__VEC(fr__group) groups; /* in order of execution after fuse */
    FR__VEC(uint64_t) key;     /* identifies the graph but for generic literals */
    int passed;                /* which passes have run: for the printer and the checker */
    int64_t traffic;           /* lower: bytes of leaves and outputs, 0: not counted yet */
    int place;                 /* where it will run (core/place.h): fr__trace_on */
} fr__trace;

enum { FR__PASS_NONE, FR__PASS_CAPTURE, FR__PASS_SIMPLIFY, FR__PASS_FUSE };

/* ---- trace.c ------------------------------------------------------------------------ */
void fr__trace_free(fr__trace *t);
/* Appends a node; its number, or -1 with an error. Shape and par are copied to the arena. */
int fr__trace_add(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape, int nin,
                  const int32_t *in, int npar, const int64_t *par);
void fr__trace_print(const fr__trace *t, fr__text *to);
int fr__trace_check(const fr__trace *t);
static inline bool fr__is_view(const fr__tnode *n) { return fr__ops[n->op].class == FR__VIEW; }
static inline bool fr__is_leaf(const fr__tnode *n)
{
    return n->op == FR__OP_LEAF || n->op == FR__OP_PLACEHOLDER;
}
/* Node i, or what it is a view of, through views that are members of no group. */
static inline int32_t fr__below_views(const fr__trace *t, int32_t i)
{
    while (fr__is_view(&t->nodes.at[i]) && t->nodes.at[i].group < 0)
        i = t->nodes.at[i].in[0];
    return i;
}
/* Says where an empty trace will run; it is part of its key. */
int fr__trace_on(fr__trace *t, int place);
/* The type that an elementwise node's operands are computed in. */
int fr__compute_dtype(const fr__trace *t, const fr__tnode *n);

/* ---- capture.c: graph -> trace ------------------------------------------------------ */
typedef struct fr__capture {
    fr__trace *t;
    FR__VEC(fr_array *) arrays; /* node -> its array, a reference each */
    FR__VEC(int32_t) outputs;   /* nodes that get values, in order of t->outs */
    FR__VEC(fr_array *)
    foreign; /* pending, and to be computed in another place; borrowed from `arrays` */
} fr__capture;
/* roots: what is wanted. whole: a trace of a compiled function: only the roots are outputs, and
 * placeholders are leaves. Otherwise everything pending that somebody holds becomes an output; where
 * `foreign` isn't empty nothing else was captured: those want their values first. */
int fr__capture_graph(fr__capture *c, int n, fr_array *const *roots, bool whole);
void fr__capture_free(fr__capture *c);
/* One node more, with its part of the key, for who has no arrays: the node, or -1. strides NULL:
 * row-major. NUMBER: par[0] are its bits. */
int fr__capture_leaf(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape,
                     const int64_t *strides);
int fr__capture_node(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape, int nin,
                     const int32_t *in, int npar, const int64_t *par);
int fr__capture_output(fr__trace *t, int node); /* after all nodes */
/* One pending operation, held, on arrays that have values, and on numbers: the key that fr__capture_graph
 * would make of it on the host, without a trace. false: it isn't one, or isn't short. */
enum { FR__SINGLE_WORDS = 160 };
typedef struct fr__single {
    int nleaves, nliterals;
    size_t bytes; /* of the key */
    uint64_t key[FR__SINGLE_WORDS];
    fr_array *leaves[FR__INPUTS]; /* borrowed */
    int64_t literals[FR__INPUTS];
    uint8_t literal_dtypes[FR__INPUTS];
} fr__single;
bool fr__capture_single(const fr_array *x, fr__single *s);

/* ---- memory.c ----------------------------------------------------------------------- */
/* A node as strides over memory: a leaf or a stored node, offset and strides in elements. */
typedef struct fr__place_in {
    int32_t base;
    int64_t offset, strides[FR_MAX_NDIM];
} fr__place_in;
void fr__place_at(const fr__trace *t, int i,
                  fr__place_in *p); /* i as it lies in memory itself */
/* From a view's input to the view; false: no strides give it, and p is spoilt. */
bool fr__place_through(const fr__trace *t, int view, fr__place_in *p);
/* i, over a leaf or a stored node below it. false: its views don't come to strides, or stand on a
 * number; *at is then what must be stored to mend that. */
bool fr__memory_of(const fr__trace *t, int i, fr__place_in *p, int *at);

/* ---- simplify.c, convolve.c, layout.c, split.c, fuse.c, merge.c ------------------------------------------- */
int fr__simplify(fr__trace *t);
int fr__convolve(fr__trace *t);
int fr__layout(fr__trace *t);
int fr__split(fr__trace *t);
int fr__op_cost(const fr__tnode *n); /* scalar operations an element, roughly */
int fr__fuse(fr__trace *t);
int fr__schedule(fr__trace *t); /* by fuse, at its end */
int fr__merge(fr__trace *t);
/* Fuses from now on or doesn't, instead of what FERRULE_FUSION says; for tests. Plans that were
 * made stay as they are: fr__plan_clear_cache. */
void fr__set_fusion(bool on);
bool fr__fusion_on(void);

/* ---- index.c: affine index arithmetic ----------------------------------------------- */
fr__index *fr__index_new(fr__arena *a, int n);
bool fr__index_equal(const fr__index *x, const fr__index *y);
static inline int64_t fr__index_stride(const fr__index *m, int axis)
{
    return axis < m->n ? m->stride[axis] : 0;
}
/* The map of a node's row-major elements, extents shape, through strides and offset of a view's
 * own: sum over dimensions of index * strides. NULL where the element number cannot be taken
 * apart into dimensions affinely (or no memory: then the error is set). */
const fr__index *fr__index_strided(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                   int ndim, const int64_t *shape, const int64_t *strides,
                                   int64_t offset);
/* The input's map of a reduction (or a partial one) addressed by m, row-major over the kept axes:
 * its kept elements by m, reduced ones row-major over the group's reduced axes. NULL as above. */
const fr__index *fr__index_reduced(fr__arena *a, const fr__group *g, const fr__index *m,
                                   const fr__tnode *r, const fr__tnode *input);
/* One side of a reduction: its input's kept or reduced dimensions, neighbours merged. */
typedef struct fr__side {
    int n;
    int64_t size, extent[FR_MAX_NDIM], stride[FR_MAX_NDIM];
} fr__side;
fr__side fr__reduction_side(const fr__tnode *r, const fr__tnode *input, bool reduced);
static inline bool fr__reduces(const fr__tnode *r, int axis) { return r->par[0] >> axis & 1; }
/* Of a TAKE addressed by m: the map of its indices; and in its input, that of the element whose
 * index along the axis is 0, by the input's strides (elements). NULL as above. */
const fr__index *fr__index_of_indices(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                      const fr__tnode *take, const fr__tnode *indices);
const fr__index *fr__index_beside(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                  const fr__tnode *take, const fr__tnode *input,
                                  const int64_t *strides, int indices_ndim);
/* The map that a member of group g addresses its inputs by: of a TAKE the indices, of random bits the
 * key. NULL as above. */
const fr__index *fr__index_of_input(fr__trace *t, const fr__group *g, const fr__tnode *n);
/* The map of a view's input, given the view's. */
const fr__index *fr__index_through(fr__arena *a, const fr__gaxis *axes, const fr__index *m,
                                   const fr__tnode *view, const fr__tnode *input);

#endif
