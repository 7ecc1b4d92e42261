/* launch.h (cuda) - one kernel of ours on a GPU */
#ifndef FR_CUDA_LAUNCH_H
#define FR_CUDA_LAUNCH_H

#include "device/cuda/cuda.h"
#include "kernel/kernel.h"

typedef struct fr__gpu_kernel {
    const fr__kernel *kernel;
    fr__gpu_code *code;    /* fr__llvm_ptx of it, loaded */
    const uint64_t *words; /* with addresses on the device */
    int nwords;
    int64_t range;
    size_t scratch;     /* bytes a block */
    const char *name;   /* for errors */
    char *room;         /* fr__gpu_kernel_room bytes of the device's, until it has run */
    fr__gpu_stream *up; /* brings there what must be: before `s`, and it doesn't record */
} fr__gpu_kernel;

/* Memory that a launch needs beside its data: mostly 0; -1 with an error. */
int64_t fr__gpu_kernel_room(fr__gpu *g, const fr__gpu_kernel *l);
/* Queues it. 0 or -1. */
int fr__gpu_kernel_run(fr__gpu_stream *s, const fr__gpu_kernel *l);

/* Threads of a block, for these words (without addresses); before its registers are known. */
unsigned fr__gpu_kernel_threads(const fr__kernel *k, const uint64_t *words);

/* Many launches of one kernel as one: kernel.h's table, on the host. The caller fills in each row's
 * range and words, then gets the blocks, then has both arrays on the device. */
typedef struct fr__gpu_many {
    const fr__kernel *kernel;
    fr__gpu_code *code; /* fr__llvm_ptx_many of it, loaded */
    uint64_t *table;
    int rows;
    unsigned threads; /* of a block */
    size_t scratch;
    const char *name;
} fr__gpu_many;
static inline size_t fr__gpu_row(const fr__gpu_many *m) /* words of one */
{
    return (size_t)(FR__ROW_WORDS + m->kernel->nword);
}
/* Fills in `threads` and each row's share of the blocks: how many there are in all, or -1. */
int64_t fr__gpu_many_blocks(fr__gpu_many *m);
void fr__gpu_many_which(const fr__gpu_many *m, uint32_t *which);
int fr__gpu_many_run(fr__gpu_stream *s, const fr__gpu_many *m, int64_t blocks,
                     const char *table, const char *which);

#endif
