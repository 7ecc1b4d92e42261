/* plan.h - a program: launches with their arguments, buffers with their places; shared, replayed
 *
 *   capture -> simplify -> layout -> split -> fuse -> merge -> lower -> [plan] -> program
 */
#ifndef FR_PLAN_H
#define FR_PLAN_H

#include "graph/trace.h"
#include "kernel/lower.h"
#include "native/native.h"
#include "run/kcache.h"

enum {
#ifdef FERRULE_HARD
    FR__ALONE_WORK = 64,
#else
    FR__ALONE_WORK = 1 << 19, /* launches of less run on the calling thread */
#endif
    FR__LITTLE_LEAVES = 8, /* of what runs without more ado (fr__plan.little), at most */
    FR__LITTLE_WORDS = 96,
};

typedef struct fr__patch { /* a pointer to fill in */
    uint16_t word;
    bool is_leaf;
    int32_t index;  /* leaf, or stored buffer */
    int64_t offset; /* bytes */
} fr__patch;

typedef struct fr__literal_patch {
    uint16_t word;
    uint8_t ktype;
    int32_t slot;
} fr__literal_patch;

typedef struct fr__step {    /* a kernel's launch, or a native routine's call */
    fr__kentry *kernel;      /* NULL: native */
    fr__native_call *native; /* its patches fill in data pointers: word i is data[i] */
    uint64_t *words;
    fr__patch *patches;
    fr__literal_patch *literals;
    int nwords, npatches, nliterals;
    int64_t range, grain, work; /* work: scalar operations of the launch */
    int64_t vector;             /* the root loop's pieces are multiples of that many indices */
    int64_t
        strip; /* 0, or it runs on rows of the product before it as they are finished, so many
                       indices a row (strips.c) */
    const fr__made
        *made; /* NULL, or nothing is stored: the product after it has parts of it made
                             as it packs them (prologue.c) */
    bool alone;
    /* This step and those after it, so many in all, are one launch (beside.c, on a GPU gpu_gather.c); 1:
     * by itself; 0: part of such a launch. */
    int together;
    size_t scratch;
    const char *ops; /* "exp mul reduce_sum": what it computes */
    const char *why; /* why it is a kernel of its own, and not part of the one that wants it */
    size_t reads, writes;                     /* bytes, each input and result counted once */
    _Atomic int64_t runs, timed, nanoseconds; /* nanoseconds of those that were timed */
} fr__step;

/* A temporary lies at `place` in the block of temporaries. Where results have buffers that
 * are new it may lie in one of those, as long as the result isn't there: `inside` of stored buffer
 * `host`, -1: of a smaller block. */
typedef struct fr__stored {
    size_t bytes, place, inside;
    int32_t host;
    int32_t output; /* its number among the plan's own buffers, -1: a temporary */
} fr__stored;

typedef struct fr__planned_out {
    int32_t leaf, stored; /* what it is a view of; -1 the other one; both -1: no elements */
    uint8_t dtype, ndim;
    bool contiguous; /* row-major from the start of a buffer of its own */
    int64_t offset;  /* bytes */
    const int64_t *shape, *strides;
} fr__planned_out;

typedef struct fr__plan {
    fr__link link; /* in the cache of programs */
    _Atomic int refs;
    fr__arena arena; /* holds all that follows */
    uint64_t *key, hash;
    size_t key_bytes;
    int place; /* where it runs (core/place.h) */
    bool
        little; /* on the host: one step, on the calling thread, with one result and no temporaries */
    int most_together; /* steps in one launch, at most */
    int launches;      /* steps, but for those that are one launch with one before */
    int nsteps, nstored, nouts, nleaves, nliterals, max_words,
        owned; /* owned: buffers for outputs */
    fr__step *steps;
    fr__stored *stored;
    fr__planned_out *outs;
    uint8_t *literal_dtypes;
    size_t temporary; /* bytes of the block of temporaries */
    size_t beside;    /* of that which is needed where results' new buffers are used too */
    char *text;       /* trace and kernels, for describe; NULL unless asked for */
    struct fr__gpu_recordings *_Atomic recordings; /* on a GPU; NULL: none yet */
    struct fr__gpu_times *_Atomic times;     /* of its last run that was timed, to be read */
    struct fr__gpu_history *_Atomic history; /* where results were; NULL: none yet */
} fr__plan;

/* Simplifies, fuses and lowers a captured trace. NULL with an error. describe: keep the text. */
fr__plan *fr__plan_make(fr__trace *t, bool describe);
void fr__plan_release(fr__plan *p);
/* From the process's cache by the trace's key, or made. */
fr__plan *fr__plan_for(fr__trace *t);
fr__plan *fr__plan_known(const uint64_t *key, size_t bytes); /* NULL: not in the cache */
void fr__plan_clear_cache(void);
/* The step that step i runs with: itself, or one after or before it. */
int fr__step_of_launch(const fr__plan *p, int i);
/* Whether the step writes there. */
bool fr__step_writes(const fr__step *s, const fr__patch *q);
/* explain.c: what the steps that are one launch from `first` on say of themselves, as one. */
int fr__launch_about(fr__plan *p, int first);
/* explain.c: fills in what a step says of itself. */
int fr__step_about(fr__plan *p, const fr__trace *t, int group, const int32_t *stored_of);

/* prologue.c: what is made where the product after it packs it; in a fused trace. */
int fr__prologues(fr__trace *t);
/* What is different for parts, in a kernel lowered for that; false: it can't make parts of rows. */
bool fr__prologue_made(const fr__lowered *l, int64_t row, fr__made *to);
int fr__prologues_join(fr__plan *p); /* what steps say of themselves */
/* strips.c: kernels that run with the product before them. */
int fr__plan_strips(fr__plan *p);
/* Whether kernel step `step` runs while a product that reads this goes on. */
bool fr__strip_reads(const fr__plan *p, int step, bool leaf, int index);
/* beside.c: kernels that are one launch. */
int fr__plan_beside(fr__plan *p);
/* places.c: where temporaries lie. */
int fr__plan_places(fr__plan *p);
/* donate.c: what a kernel's buffer is bound to; NULL: to scratch. */
const fr__patch *fr__bound_to(const fr__step *s, const fr__kaccess *a);
/* In this kernel step each element of `stored` (so many bytes) is made where the element of
 * `from` (a leaf, or what is stored) at the same address is read, and not read again. */
bool fr__in_place(const fr__step *s, bool leaf, int from, int stored, size_t bytes);

/* The argument words of a launch, for data at these places (of any device): a leaf's, a stored
 * buffer's. literals: bits a slot. Word FR__W_COPY is left for the device to fill. */
void fr__step_words(const fr__plan *p, const fr__step *s, char *const *leaves,
                    const int64_t *literals, char *const *stored, uint64_t *words);
/* Runs it, on a stream of its place. leaves: done arrays. literals: bits a slot. buffers: `owned`
 * results of the run, a reference each. given: NULL, or for each of them a buffer to be taken
 * (donate.c; a GPU may take a new one all the same), NULL: a new one. hot: the caller expects to run it often (machine code is
 * made at once). */
int fr__plan_run(fr__plan *p, uint16_t stream, fr_array *const *leaves, const int64_t *literals,
                 bool hot, fr__buffer *const *given, fr__buffer **buffers);
/* gpu.c: the same on a GPU, where it is queued. */
int fr__plan_queue(fr__plan *p, uint16_t stream, fr_array *const *leaves,
                   const int64_t *literals, bool hot, fr__buffer *const *given,
                   fr__buffer **buffers);
/* eval.c: values for all that are pending, queued where they are on a GPU. */
int fr__eval_pending(int n, fr_array *const *x);

/* What runs kernels from now on, instead of what FERRULE_TIER says; for tests. */
typedef enum fr__tier { FR__TIER_CHOOSE, FR__TIER_INTERPRETER, FR__TIER_LLVM } fr__tier;
void fr__set_tier(fr__tier t);

#endif
