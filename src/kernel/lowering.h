/* lowering.h - a group on its way to a kernel: what the files of lower share
 *
 *   lower.c (axes, the root loop) -> lower_stages.c -> lower_values.c -> lower_memory.c
 */
#ifndef FR_LOWERING_H
#define FR_LOWERING_H

#include "kernel/lower.h"

typedef struct fr__lower_axis {
    int64_t extent;
    bool reduced;
    int split; /* final axis it is split by, -1 */
    int64_t block;
    int inner;                   /* the group's axis whose stride is this axis' */
    int kaxis;                   /* in the kernel, in the loop that is open */
    int extent_word, block_word; /* of all its loops; 0: none yet */
} fr__lower_axis;

/* The word of a buffer's stride along an axis: one for all accesses with this stride, so that
 * consumers see where two read the same. */
typedef struct fr__lower_stride {
    int buf, axis, word;
    int64_t stride;
} fr__lower_stride;

typedef struct fr__lower_member {
    int32_t node;   /* member */
    int8_t full;    /* varies along reduced axes */
    int need, last; /* stage at which it can be made; last stage that wants it */
    int32_t value;  /* instruction, -1: none yet */
    int scratch;    /* buffer, -1: none */
} fr__lower_member;

typedef struct fr__lowering {
    fr__trace *t;
    int g;
    const fr__group *group;
    fr__kb kb;
    int naxes;
    fr__lower_axis
        axis[FR__GAXES + 2]; /* and one for pieces of the vector axis, one for few rows */
    int vec;                 /* final axis, -1: none */
    FR__VEC(const fr__index *) maps; /* of all memory accesses and generators */
    FR__VEC(int) weights;            /* of a unit stride in each */
    FR__VEC(fr__lower_member) members;
    FR__VEC(fr__pointer) pointers;
    FR__VEC(int) pointer_buf;
    FR__VEC(fr__lower_stride) strides;
    bool in_order; /* members are being made in order */
    bool
        by_rows; /* the vector is kept and goes round inside the reduced axes (lower_stages.c) */
    int chunk;   /* final axis of the vector's pieces, -1: it isn't cut */
    int few, row; /* by rows: final axes of a few rows, and of the rows */
    int64_t scratch_at;
    int root;  /* kernel axis of the root loop */
    int stage; /* the one being made */
    int stages;
    int fetching;      /* the one that fetches the next row */
    bool fetching_all; /* each line of it */
    int64_t bytes;
} fr__lowering;

static inline const fr__tnode *node(const fr__lowering *s, int i) { return &s->t->nodes.at[i]; }
/* A view that is neither a member nor stored: what is below it is looked at instead. */
static inline bool is_passed(const fr__lowering *s, int i)
{
    const fr__tnode *n = node(s, i);
    return fr__is_view(n) && n->group != s->g && !(n->flags & FR__T_STORE && n->group >= 0);
}
static inline int64_t stride_of(const fr__lowering *s, const fr__index *m, int f)
{
    return fr__index_stride(m, s->axis[f].inner);
}

/* Which inputs of a member are computed with it; the others are memory that it reads or writes by
 * itself: the key of random bits, what a PUT is written into, what a TAKE gathers from. */
static inline int first_input(const fr__tnode *n) { return n->op == FR__OP_TAKE ? 1 : 0; }
static inline int end_input(const fr__tnode *n)
{
    return n->op == FR__OP_RANDOM_BITS || fr__ops[n->op].class == FR__SOURCE ? 0
           : n->op == FR__OP_PUT                                             ? 1
                                                                             : n->nin;
}

/* What a TAKE gathers from, in memory. */
typedef struct fr__taken {
    const fr__index *map; /* of the element that index 0 reads */
    int base;
    int64_t offset, stride; /* of the base; of the axis */
} fr__taken;

/* -- lower.c: axes -- */
int64_t fr__lower_reduced_volume(const fr__lowering *s);
int64_t fr__lower_vector_length(const fr__lowering *s); /* of one piece where it is cut */
int fr__lower_unroll(int cost, int64_t extent);
/* Begins a loop over final axis f. */
void fr__lower_open_axis(fr__lowering *s, int f, int bind, int unroll);

/* -- lower_stages.c: what happens for one index of the kept axes; 0 or -1 -- */
int fr__lower_body(fr__lowering *s);

/* -- lower_values.c: node i, or operand i as the computing type of `dtype`, by map m -- */
int fr__lower_value(fr__lowering *s, int i, const fr__index *m);
int fr__lower_operand(fr__lowering *s, int i, const fr__index *m, int dtype);

/* -- lower_memory.c: where values come from and go to -- */
fr__lower_member *fr__lower_member_at(const fr__lowering *s, int i); /* NULL: node i is none */
/* Follows views that are not members down to a member, a stored node, a leaf, an inlined node. */
int fr__lower_below(fr__lowering *s, int i, const fr__index **m);
/* The map that a member's inputs are addressed by. */
const fr__index *fr__lower_input_map(fr__lowering *s, const fr__tnode *n);
/* Where a member's values go in its buffer: row-major, or for a PUT into a part of it. */
const fr__index *fr__lower_output_map(fr__lowering *s, const fr__tnode *n);
bool fr__lower_taken(fr__lowering *s, const fr__tnode *n, const fr__index *m, fr__taken *to);
/* Notes an access for the choice of axes; all below input i. 0 or -1. */
int fr__lower_note(fr__lowering *s, const fr__index *m, int weight);
int fr__lower_note_sources(fr__lowering *s, int i, const fr__index *m);
/* The kernel's buffer for a node (or leaf) at an element offset. */
int fr__lower_buffer(fr__lowering *s, int i, int64_t offset, int role);
/* Terms of an address, for the loops that are open. */
void fr__lower_address(fr__lowering *s, fr__kaccess *a, const fr__index *m);
/* A number as an instruction; the element number that m gives. */
int fr__lower_int(fr__lowering *s, int64_t v);
int fr__lower_number(fr__lowering *s, const fr__index *m);
int fr__lower_load(fr__lowering *s, int i, const fr__index *m);
void fr__lower_store(fr__lowering *s, int value, int i);
/* Keeps a costly value of these loops in a row of scratch memory; loads it in those open now. */
void fr__lower_keep(fr__lowering *s, fr__lower_member *x);
/* The member's row of scratch memory gets this value. */
void fr__lower_put(fr__lowering *s, fr__lower_member *x, int value);
void fr__lower_reload(fr__lowering *s, fr__lower_member *x);

#endif
