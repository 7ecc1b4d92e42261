/* ptx_emit.h - what the files of the emitter for GPUs share
 *
 *   llvm_ptx.c (loops, instructions, the entry) -> ptx_lanes.c (lanes of a thread: memory, sums)
 *                                               -> ptx_divide.c (lanes divided by one number)
 *
 * A thread computes several elements of the vector axis, its lanes: `chunks` times `width`
 * neighbours. Inside a loop that is split over groups of threads it takes `rows` turns at once, so
 * an instruction has up to rows * lanes values there, in that order.
 */
#ifndef FR_KERNEL_PTX_EMIT_H
#define FR_KERNEL_PTX_EMIT_H

#include "kernel/emit.h"
#include "kernel/ptx.h"

/* What is known of a number that lanes are divided by. */
typedef struct fr__ptx_divisor {
    value inverse, lacks, good;
} fr__ptx_divisor;

typedef struct fr__ptx_emit {
    fr__emit e;
    fr__ptx_form form;
    const fr__ptx_host *host;
    bool many;           /* launches: words from a table */
    bool quick_extremes; /* max.NaN is there */
    bool wide, single;   /* this version */
    int width, chunks, rows;
    int32_t *held_by; /* of each load: whose values it has again where it is single; -1 */
    fr__ptx_divisor *
        *divisor; /* by instruction, then by turn; NULL: nothing is divided by it */
    /* the launch and this thread in it, i64 */
    value thread, threads, block, blocks, shape;
    value across, shift, groups, groups_shift; /* of the launch: see ptx.h */
    value place, group;                        /* of this thread: across; its group */
    value nearer[5];            /* distances 16, 8, 4, 2, 1 are within a row's threads */
    value large;                /* a row's threads are more than a warp */
    value sums;                 /* shared memory: for rows, WARP i64 for each RED */
    value columns32, columns64; /* for columns, a value a thread and lane */
    int reduced;                /* REDs so far */
    /* where the code is */
    value row_ok; /* this thread's root index is inside; NULL: always */
    int vloop;    /* the vector LOOP that is open, or -1 */
    value index[FR__PTX_LANES], inside[FR__PTX_LANES]; /* of each chunk; NULL: always inside */
    int sloop;                                         /* the split LOOP that is open, or -1 */
    value row[FR__PTX_LANES], row_in[FR__PTX_LANES];   /* of each turn */
    bool failed;
} fr__ptx_emit;

static inline int fr__ptx_lanes(const fr__ptx_emit *m) { return m->width * m->chunks; }
static inline value *fr__ptx_values(fr__ptx_emit *m, int i)
{
    return fr__emit_values(&m->e, i);
}
/* Is this LOOP split over the groups of a block? */
static inline bool fr__ptx_is_split(const fr__ptx_emit *m, int loop)
{
    return m->form.columns && loop >= 0 && m->e.place[loop].vloop >= 0 &&
           m->e.place[loop].vloop == m->e.place[loop].loop;
}
/* Values of instruction i: turns at once, and lanes in each. */
static inline int fr__ptx_rows(const fr__ptx_emit *m, int i)
{
    return m->rows > 1 && fr__ptx_is_split(m, m->e.place[i].loop) ? m->rows : 1;
}
static inline int fr__ptx_each(const fr__ptx_emit *m, int i)
{
    return m->e.place[i].varying ? fr__ptx_lanes(m) : 1;
}
/* Operand i for a turn and a lane; NULL for -1. */
static inline value fr__ptx_operand(fr__ptx_emit *m, int i, int r, int u)
{
    if (i < 0)
        return NULL;
    r = fr__ptx_rows(m, i) > 1 ? r : 0;
    return fr__ptx_values(m, i)[r * fr__ptx_each(m, i) + (m->e.place[i].varying ? u : 0)];
}
/* Lanes of an accumulator. */
static inline int fr__ptx_acc_lanes(const fr__ptx_emit *m, int acc)
{
    return m->e.place[acc].acc < 0 ? 1 : fr__ptx_lanes(m);
}

/* Code that runs where the condition holds; gives the block after it, for end. */
LLVMBasicBlockRef fr__ptx_begin_if(fr__ptx_emit *m, value condition);
void fr__ptx_end_if(fr__ptx_emit *m, LLVMBasicBlockRef after);
/* Both; NULL is true. */
value fr__ptx_both(fr__ptx_emit *m, value a, value b);
void fr__ptx_barrier(fr__ptx_emit *m);
value fr__ptx_index(fr__ptx_emit *m, int u); /* of a lane, i64 */
void fr__ptx_load(fr__ptx_emit *m, int i);
void fr__ptx_store(fr__ptx_emit *m, int i);
void fr__ptx_update(fr__ptx_emit *m, int i);
void fr__ptx_reduce(fr__ptx_emit *m, int i);

/* ptx_divide.c. find: before anything is emitted, 0 or -1. prepare: right after a divisor is there. */
int fr__ptx_find_divisors(fr__ptx_emit *m);
void fr__ptx_prepare_divisor(fr__ptx_emit *m, int i);
bool fr__ptx_divides_alike(const fr__ptx_emit *m, int i); /* is i such a division? */
void fr__ptx_divide(fr__ptx_emit *m, int i);

#endif
