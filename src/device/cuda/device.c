/* device.c - devices, their contexts, streams, waiting, and what a fault leaves
 *
 * needs   the driver
 * gives   fr__gpu_get, fr__gpu_stream_get, fr__gpu_synchronize ...
 *
 * The context is the device's primary one, as the runtime library's users have it: arrays of other
 * libraries live in the same. A thread that had another context current gets it back.
 */
#include "device/cuda/gpu.h"

#include <stdio.h>

static fr__gpu gpus[FR__GPUS];
static atomic_bool made[FR__GPUS];
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

/* ---- into the context and out ------------------------------------------------------- */

static CUresult make_current(fr__gpu *g, CUcontext *back)
{
    CUcontext now = NULL;
    *back = NULL;
    if (!fr__cuda.cuCtxGetCurrent(&now) && now == g->context)
        return CUDA_SUCCESS;
    *back = now; /* NULL: ours may stay */
    return fr__cuda.cuCtxSetCurrent(g->context);
}

int fr__gpu_enter(fr__gpu *g, CUcontext *back)
{
    if (FR__UNLIKELY(fr__cuda_forked()))
        return fr__fail_int(FR__E_DEVICE, "gpu %d: %s", g->info.index, fr__cuda_why());
    if (FR__UNLIKELY(fr__gpu_lost(g)))
        return fr__fail_int(FR__E_DEVICE, "gpu %d was lost by an earlier fault: %s",
                            g->info.index, g->fault);
    return fr__gpu_check(g, NULL, make_current(g, back), "cuCtxSetCurrent");
}

bool fr__gpu_enter_quietly(fr__gpu *g, CUcontext *back)
{
    *back = NULL;
    return !fr__cuda_forked() && !make_current(g, back);
}

void fr__gpu_leave(CUcontext back)
{
    if (FR__UNLIKELY(back != NULL))
        fr__cuda.cuCtxSetCurrent(back);
}

/* ---- failures ----------------------------------------------------------------------- */

bool fr__gpu_lost(const fr__gpu *g) { return atomic_load(&g->lost); }

static void lose(fr__gpu *g, const char *text)
{
    pthread_mutex_lock(&g->lock);
    if (!atomic_load(&g->lost)) {
        snprintf(g->fault, sizeof g->fault, "%s", text);
        atomic_store(&g->lost, true);
    }
    pthread_mutex_unlock(&g->lock);
}

int fr__gpu_fail(fr__gpu *g, fr__gpu_stream *s, CUresult r, const char *call)
{
    char words[200], text[480];
    fr__cuda_describe(words, sizeof words, r, call);
    if (!fr__cuda_fatal(r))
        return fr__fail_int(r == CUDA_ERROR_OUT_OF_MEMORY ? FR__E_MEMORY : FR__E_DEVICE,
                            "gpu %d: %s", g->info.index, words);
    const char *kernel = s ? atomic_load(&s->launched) : NULL;
    if (!kernel)
        kernel = atomic_load(&g->launched);
    if (!kernel)
        snprintf(text, sizeof text, "%s", words);
    else if (fr__gpu_blocking())
        snprintf(text, sizeof text, "kernel %.150s: %s", kernel, words);
    else
        snprintf(text, sizeof text,
                 "kernel %.150s or one before it: %s (FERRULE_CUDA_BLOCKING=1 tells which)",
                 kernel, words);
    lose(g, text);
    return fr__fail_int(FR__E_DEVICE, "gpu %d: %s", g->info.index, text);
}

int fr__gpu_not_recording(const fr__gpu_stream *s, const char *what)
{
    if (!atomic_load(&s->recording))
        return 0;
    return fr__fail_int(FR__E_DEVICE, "gpu %d: %s cannot be recorded", s->gpu->info.index,
                        what);
}

bool fr__gpu_blocking(void)
{
    static atomic_int known; /* 1: no, 2: yes */
    int is = atomic_load_explicit(&known, memory_order_relaxed);
    if (!is) {
        is = fr__env_on("CUDA_BLOCKING", false) ? 2 : 1;
        atomic_store_explicit(&known, is, memory_order_relaxed);
    }
    return is == 2;
}

/* ---- devices ------------------------------------------------------------------------ */

static int ask(fr__gpu *g)
{
    fr__gpu_info *i = &g->info;
    int major = 0, minor = 0, l2 = 0;
    const struct {
        int *to, attribute;
    } wanted[] = {
        {&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
        {&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
        {&i->processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
        {&i->warp, CU_DEVICE_ATTRIBUTE_WARP_SIZE},
        {&i->threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR},
        {&i->blocks, CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR},
        {&i->shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR},
        {&i->shared_block, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
        {&l2, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE},
    };
    for (int k = 0; k < FR__COUNT(wanted); k++)
        if (FR__GPU(g, NULL, cuDeviceGetAttribute,
                    (wanted[k].to, wanted[k].attribute, g->device)))
            return -1;
    i->sm = 10 * major + minor;
    i->l2 = (size_t)l2;
    i->driver = fr__cuda_version();
    return FR__GPU(g, NULL, cuDeviceGetName, (i->name, (int)sizeof i->name, g->device)) ||
                   FR__GPU(g, NULL, cuDeviceTotalMem, (&i->memory, g->device))
               ? -1
               : 0;
}

static int open_gpu(fr__gpu *g, int index)
{
    CUcontext back;
    g->info.index = index;
    if (FR__GPU(g, NULL, cuDeviceGet, (&g->device, index)) || ask(g))
        return -1;
    /* Retained once, even when what follows fails and is tried again. */
    if (!g->context && FR__GPU(g, NULL, cuDevicePrimaryCtxRetain, (&g->context, g->device)))
        return -1;
    if (fr__gpu_enter(g, &back))
        return -1;
    int bad = (!g->heap && fr__gpu_heap_new(g)) || (!g->staging && fr__gpu_staging_new(g)) ||
              (!g->blas && fr__gpu_blas_new(g)) || (!g->dnn && fr__gpu_dnn_new(g));
    fr__gpu_leave(back);
    return bad || !fr__gpu_stream_get(g, 0) ? -1 : 0;
}

fr__gpu *fr__gpu_get(int index)
{
    int count = fr__cuda_count();
    if (index < 0 || index >= count || index >= FR__GPUS)
        return count ? fr__fail(FR__E_DEVICE, "there is no gpu %d: there %s %d", index,
                                count == 1 ? "is" : "are", count)
                     : fr__fail(FR__E_DEVICE, "there is no gpu: %s", fr__cuda_why());
    if (FR__LIKELY(atomic_load_explicit(&made[index], memory_order_acquire)))
        return &gpus[index];
    pthread_mutex_lock(&making);
    fr__gpu *g = &gpus[index];
    if (!atomic_load(&made[index])) {
        static bool initialized[FR__GPUS];
        if (!initialized[index]) {
            pthread_mutex_init(&g->lock, NULL);
            pthread_mutex_init(&g->making, NULL);
        }
        initialized[index] = true;
        if (open_gpu(g, index))
            g = NULL;
        else
            atomic_store_explicit(&made[index], true, memory_order_release);
    }
    pthread_mutex_unlock(&making);
    return g;
}

const fr__gpu_info *fr__gpu_about(const fr__gpu *g) { return &g->info; }

int fr__gpu_free_memory(fr__gpu *g, size_t *free, size_t *total)
{
    CUcontext back;
    if (fr__gpu_enter(g, &back))
        return -1;
    int bad = FR__GPU(g, NULL, cuMemGetInfo, (free, total));
    fr__gpu_leave(back);
    return bad;
}

/* ---- streams ------------------------------------------------------------------------ */

static fr__gpu_stream *new_stream(fr__gpu *g, int number)
{
    CUcontext back;
    fr__gpu_stream *s = fr__calloc(1, sizeof *s);
    if (!s || fr__gpu_enter(g, &back)) {
        fr__free(s);
        return NULL;
    }
    s->gpu = g;
    s->number = number;
    int bad = FR__GPU(g, NULL, cuEventCreate, (&s->event, CU_EVENT_DISABLE_TIMING));
    if (!bad) {
        bad = FR__GPU(g, NULL, cuStreamCreate, (&s->handle, CU_STREAM_NON_BLOCKING));
        if (bad)
            fr__cuda.cuEventDestroy(s->event);
    }
    fr__gpu_leave(back);
    if (!bad)
        return s;
    fr__free(s);
    return NULL;
}

fr__gpu_stream *fr__gpu_stream_get(fr__gpu *g, int number)
{
    number &= FR__GPU_STREAMS - 1;
    fr__gpu_stream *s = atomic_load_explicit(&g->streams[number], memory_order_acquire);
    if (FR__LIKELY(s != NULL))
        return s;
    pthread_mutex_lock(&g->making);
    s = atomic_load(&g->streams[number]);
    if (!s && (s = new_stream(g, number))) {
        atomic_store_explicit(&g->streams[number], s, memory_order_release);
        if (atomic_load(&g->nstreams) <= number)
            atomic_store(&g->nstreams, number + 1);
    }
    pthread_mutex_unlock(&g->making);
    return s;
}

fr__gpu *fr__gpu_of(const fr__gpu_stream *s) { return s->gpu; }

int fr__gpu_wait_for(fr__gpu_stream *after, fr__gpu_stream *s)
{
    CUcontext back;
    if (after == s)
        return 0;
    if (fr__gpu_not_recording(s, "waiting for it") ||
        fr__gpu_not_recording(after, "waiting for another stream") ||
        fr__gpu_enter(s->gpu, &back))
        return -1;
    /* One event a stream will do: recorded again by another thread before the wait is queued, it
     * only waits for more. */
    int bad = FR__GPU(s->gpu, s, cuEventRecord, (s->event, s->handle));
    if (!bad && after->gpu == s->gpu)
        bad = FR__GPU(s->gpu, after, cuStreamWaitEvent, (after->handle, s->event, 0));
    fr__gpu_leave(back);
    if (bad || after->gpu == s->gpu)
        return bad;
    if (fr__gpu_enter(after->gpu, &back))
        return -1;
    bad = FR__GPU(after->gpu, after, cuStreamWaitEvent, (after->handle, s->event, 0));
    fr__gpu_leave(back);
    return bad;
}

int fr__gpu_synchronize(fr__gpu_stream *s)
{
    CUcontext back;
    if (fr__gpu_not_recording(s, "waiting for it")) /* the driver would drop the recording */
        return -1;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad = FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle));
    fr__gpu_leave(back);
    return bad;
}

int fr__gpu_drain(fr__gpu *g)
{
    int n = atomic_load(&g->nstreams);
    for (int i = 0; i < n; i++) {
        fr__gpu_stream *s = atomic_load(&g->streams[i]);
        if (s && !atomic_load(&s->recording) && FR__GPU(g, s, cuStreamSynchronize, (s->handle)))
            return -1;
    }
    return 0;
}

int fr__gpu_synchronize_all(fr__gpu *g)
{
    CUcontext back;
    if (fr__gpu_enter(g, &back))
        return -1;
    int bad = fr__gpu_drain(g);
    fr__gpu_leave(back);
    return bad;
}

bool fr__gpu_idle(fr__gpu_stream *s)
{
    CUcontext back;
    if (atomic_load(&s->recording))
        return false;
    if (!fr__gpu_enter_quietly(s->gpu, &back))
        return true;
    CUresult r = fr__cuda.cuStreamQuery(s->handle);
    fr__gpu_leave(back);
    return r != CUDA_ERROR_NOT_READY;
}

/* ---- marks -------------------------------------------------------------------------- */

struct fr__gpu_mark {
    fr__gpu_stream *stream;
    CUevent event;
};

fr__gpu_mark *fr__gpu_mark_new(fr__gpu_stream *s)
{
    CUcontext back;
    fr__gpu_mark *m = fr__calloc(1, sizeof *m);
    if (!m || fr__gpu_not_recording(s, "a mark") || fr__gpu_enter(s->gpu, &back)) {
        fr__free(m);
        return NULL;
    }
    m->stream = s;
    int bad = FR__GPU(s->gpu, s, cuEventCreate, (&m->event, CU_EVENT_DEFAULT));
    if (!bad) {
        bad = FR__GPU(s->gpu, s, cuEventRecord, (m->event, s->handle));
        if (bad)
            fr__cuda.cuEventDestroy(m->event);
    }
    fr__gpu_leave(back);
    if (!bad)
        return m;
    fr__free(m);
    return NULL;
}

double fr__gpu_mark_seconds(fr__gpu_mark *from, fr__gpu_mark *to)
{
    CUcontext back;
    fr__gpu_stream *s = to->stream;
    float ms = 0;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad = FR__GPU(s->gpu, from->stream, cuEventSynchronize, (from->event)) ||
              FR__GPU(s->gpu, s, cuEventSynchronize, (to->event)) ||
              FR__GPU(s->gpu, s, cuEventElapsedTime, (&ms, from->event, to->event));
    fr__gpu_leave(back);
    return bad ? -1 : 1e-3 * (double)ms;
}

void fr__gpu_mark_free(fr__gpu_mark *m)
{
    CUcontext back;
    if (!m)
        return;
    if (fr__gpu_enter_quietly(m->stream->gpu, &back)) {
        fr__cuda.cuEventDestroy(m->event);
        fr__gpu_leave(back);
    }
    fr__free(m);
}
