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
    size_t scratch;   /* bytes a block */
    const char *name; /* for errors */
} fr__gpu_kernel;

/* Queues it. 0 or -1. */
int fr__gpu_kernel_run(fr__gpu_stream *s, const fr__gpu_kernel *l);

#endif
