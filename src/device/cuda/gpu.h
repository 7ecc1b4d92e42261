/* gpu.h - what the files of device/cuda share: the device, its streams, the way into its context
 *
 * needs   driver.h
 * gives   fr__gpu_enter and fr__gpu_leave around every use of the driver; fr__gpu_check
 */
#ifndef FR_CUDA_GPU_H
#define FR_CUDA_GPU_H

#include "device/cuda/cuda.h"
#include "device/cuda/driver.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FR__GPUS = 64, FR__GPU_STREAMS = 1024 };

struct fr__gpu_stream {
    fr__gpu *gpu;
    int number;
    CUstream handle;
    CUevent event;                  /* for wait_for */
    _Atomic(const char *) launched; /* the last kernel's name */
    atomic_bool recording;
};

struct fr__gpu {
    fr__gpu_info info;
    CUdevice device;
    CUcontext context;
    pthread_mutex_t lock;   /* the text of the fault, codes put off */
    pthread_mutex_t making; /* streams */
    _Atomic(fr__gpu_stream *) streams[FR__GPU_STREAMS];
    atomic_int nstreams;  /* those made have lower numbers */
    atomic_int recording; /* streams that record */
    _Atomic(const char *) launched;
    atomic_bool lost;
    char fault[480];                 /* written once, before `lost` */
    fr__gpu_code *put_off;           /* to be unloaded when nothing records */
    struct fr__gpu_heap *heap;       /* alloc.c's */
    struct fr__gpu_staging *staging; /* transfer.c's */
    struct fr__gpu_blas *blas;       /* blas.c's */
    struct fr__gpu_dnn *dnn;         /* dnn.c's */
    _Atomic uint64_t peers;          /* bit i: access to device i's memory was asked for */
};

/* Makes the device's context current, remembering another that was. 0, or -1 with an error: the
 * device is lost, or this process is a fork of one that used CUDA. Every success is left again. */
int fr__gpu_enter(fr__gpu *g, CUcontext *back);
void fr__gpu_leave(CUcontext back);
/* For what gives things back: works on a lost device, too (the driver refuses, which is ignored);
 * false in a fork. Sets no error. */
bool fr__gpu_enter_quietly(fr__gpu *g, CUcontext *back);

/* 0 if r is; otherwise -1 with the error set. A fault loses the device. s: may be NULL. */
int fr__gpu_fail(fr__gpu *g, fr__gpu_stream *s, CUresult r, const char *call);
static inline int fr__gpu_check(fr__gpu *g, fr__gpu_stream *s, CUresult r, const char *call)
{
    return FR__LIKELY(!r) ? 0 : fr__gpu_fail(g, s, r, call);
}
static inline void fr__gpu_launched(fr__gpu_stream *s, const char *name)
{
    atomic_store_explicit(&s->launched, name, memory_order_relaxed);
    atomic_store_explicit(&s->gpu->launched, name, memory_order_relaxed);
}
/* FR__GPU(g, s, cuStreamQuery, (s->handle)) */
#define FR__GPU(g, s, name, arguments) fr__gpu_check(g, s, fr__cuda.name arguments, #name)

/* Stops an action that a recording cannot hold: 0, or -1 with an error. */
int fr__gpu_not_recording(const fr__gpu_stream *s, const char *what);

/* ... and from file to file: */
int fr__gpu_heap_new(fr__gpu *g); /* 0 or -1 */
int fr__gpu_staging_new(fr__gpu *g);
int fr__gpu_blas_new(fr__gpu *g);
int fr__gpu_dnn_new(fr__gpu *g);
int fr__gpu_drain(fr__gpu *g); /* waits for every stream that doesn't record, inside enter */
void fr__gpu_unload_put_off(fr__gpu *g); /* when nothing records, inside enter */
bool fr__gpu_blocking(void);             /* FERRULE_CUDA_BLOCKING */

#endif
