/* gpu.h - plans on a GPU: what is queued, what is recorded */
#ifndef FR_RUN_GPU_H
#define FR_RUN_GPU_H

#include "device/cuda/cuda.h"
#include "device/cuda/launch.h"
#include "native/gemm.h"
#include "run/plan.h"

typedef struct fr__gpu_block {
    char *at;
    size_t bytes;
} fr__gpu_block;
typedef FR__VEC(fr__gpu_block) fr__gpu_blocks;

/* What a recording runs side by side, by launch (gpu_lanes.c). */
enum { FR__GPU_LANES = 8 };
typedef struct fr__gpu_launch_at {
    int lane, waits, nwaits; /* waits: the first of those it waits for on other lanes */
    bool waited_for;
    fr__gpu_point *point; /* after it, while it is recorded */
} fr__gpu_launch_at;
typedef struct fr__gpu_lanes {
    int n, lanes; /* launches; lanes that may be used */
    fr__gpu_launch_at *at;
    FR__VEC(int) waits;
    fr__gpu_point *root;
    bool used[FR__GPU_LANES];
} fr__gpu_lanes;

/* What a recording goes on using: memory that is its own (it holds what was brought there), and working
 * memory, which it may share with others of its program, as they run one after the other. */
typedef struct fr__gpu_kept {
    fr__gpu_blocks own, *working;
    int next; /* of `working`: those before are in use */
} fr__gpu_kept;

typedef struct fr__gpu_run {
    fr__plan *p;
    uint16_t stream;      /* by the library's numbers */
    fr__gpu_stream *home; /* that stream: memory is its */
    fr__gpu_stream *to;   /* where work is queued: home, or one that records */
    fr_array *const *arrays;
    const int64_t *literals;
    char **leaves, **stored; /* addresses on the GPU */
    fr__gpu_code **code;     /* of every step; NULL: a routine */
    uint64_t *words;
    fr__buffer *const
        *given;           /* of each result: where it is to lie in any case, or NULL; or NULL */
    bool dry;             /* nothing is queued: the code that it would need is collected */
    fr__gpu_lanes *lanes; /* of what is recorded; NULL: one after the other */
    struct fr__gpu_times *times; /* NULL: this run isn't timed */
    fr__gpu_kept *kept;          /* NULL: nothing is recorded */
} fr__gpu_run;

/* Working memory of what is queued between the two. filled: something is brought there that a
 * recording will find there. */
char *fr__gpu_take(fr__gpu_run *r, size_t bytes);
char *fr__gpu_take_filled(fr__gpu_run *r, size_t bytes);
void fr__gpu_give(fr__gpu_run *r, char *block, size_t bytes);
/* All steps of the plan, in order, with memory for its temporaries. 0 or -1. */
int fr__gpu_run_steps(fr__gpu_run *r);

/* CONTRACT, queued. data: addresses on the device of both operands and the result. *done false: it
 * can't be done here, and nothing was. 0 or -1. */
int fr__gpu_product_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                        bool *done);
/* The same of a product with its operands' addresses, to c. */
int fr__gpu_gemm_run(fr__gpu_run *r, const fr__gemm *g, char *c, bool *done);

/* gpu_conv.c: CONV and CONV_FILTER. As fr__gpu_product_run. */
int fr__gpu_conv_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                     bool *done);

/* gpu_pack.c: an array, row-major, in a block that is taken for it; the same written over a part of
 * zeros, par being PUT's. 0, or -1: the block may have been taken. */
int fr__gpu_pack(fr__gpu_run *r, int dtype, int n, const int64_t *shape, const int64_t *strides,
                 const char *from, fr__gpu_block *block);
int fr__gpu_pad(fr__gpu_run *r, int dtype, int n, const int64_t *shape, const int64_t *strides,
                const int64_t *par, const int64_t *padded, const char *from,
                fr__gpu_block *block);

/* gpu_routines.c: SCAN and other routines that were written for GPUs. As fr__gpu_product_run. */
int fr__gpu_routine_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                        bool *done);

/* gpu_attention.c: ATTENTION and ATTENTION_GRAD, likewise. */
int fr__gpu_attention_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                          bool *done);

/* gpu_lanes.c. find: for a run that knows where everything lies: 0, or -1 with an error. Then, around all launches and each of them while they are
 * recorded, first to last: 0 or -1; end comes in any case. */
int fr__gpu_lanes_find(const fr__gpu_run *r, fr__gpu_lanes *to);
void fr__gpu_lanes_free(fr__gpu_lanes *l);
fr__gpu_stream *fr__gpu_lane(fr__gpu *g, int lane); /* 0: where the recording begins and ends */
int fr__gpu_lanes_begin(fr__gpu_run *r, fr__gpu_lanes *l);
int fr__gpu_lane_begin(fr__gpu_run *r, int launch);
int fr__gpu_lane_end(fr__gpu_run *r, int launch);
int fr__gpu_lanes_end(fr__gpu_run *r);

/* gpu.c: one launch, with what it needs beside. */
int fr__gpu_kernel_queue(fr__gpu_run *r, fr__gpu_kernel *l);

/* gpu_times.c: around the launches of a run, and after each (next: the step that follows); settle: what is
 * known by now is added to the steps. */
void fr__gpu_times_begin(fr__gpu_run *r);
void fr__gpu_times_step(fr__gpu_run *r, int next);
void fr__gpu_times_end(fr__gpu_run *r);
void fr__gpu_times_settle(fr__plan *p);
void fr__gpu_times_free(struct fr__gpu_times *t);

/* gpu_gather.c: puts steps of one kernel together. 0 or -1. */
int fr__gpu_gather(fr__plan *p);

/* gpu_results.c: buffers for all results, in r->stored and `buffers`; again: the program is likely to
 * come back, best to the same addresses. apart: other buffers in the place of those that were given. 0, or
 * -1 with nothing taken. note: after a run that is likely to come back. */
int fr__gpu_results(fr__gpu_run *r, bool again, fr__buffer **buffers);
int fr__gpu_results_apart(fr__gpu_run *r, bool again, fr__buffer **buffers);
void fr__gpu_results_note(fr__gpu_run *r, fr__buffer *const *buffers);
void fr__gpu_history_free(struct fr__gpu_history *h);

/* gpu_graph.c: runs the plan's steps from a recording, where there is one for these very addresses
 * and numbers; records where they come back. *done false: nothing was queued. 0 or -1. */
int fr__gpu_replay(fr__gpu_run *r, bool *done);
void fr__gpu_recordings_free(struct fr__gpu_recordings *all);

#endif
