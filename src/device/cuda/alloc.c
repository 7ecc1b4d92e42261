/* alloc.c - memory on the device
 *
 * needs   device.c
 * gives   fr__gpu_alloc, fr__gpu_free ...
 *
 * Straight from the driver and back, until the caching allocator takes its place: a free waits.
 */
#include "device/cuda/gpu.h"

struct fr__gpu_heap {
    atomic_size_t active, peak, limit;
};

int fr__gpu_heap_new(fr__gpu *g)
{
    g->heap = fr__calloc(1, sizeof *g->heap);
    return g->heap ? 0 : -1;
}

char *fr__gpu_alloc(fr__gpu_stream *s, size_t bytes)
{
    CUcontext back;
    CUdeviceptr at = 0;
    struct fr__gpu_heap *h = s->gpu->heap;
    bytes = bytes ? bytes : 1;
    if (fr__gpu_enter(s->gpu, &back))
        return NULL;
    int bad = FR__GPU(s->gpu, s, cuMemAlloc, (&at, bytes));
    fr__gpu_leave(back);
    if (bad)
        return NULL;
    size_t active = atomic_fetch_add(&h->active, bytes) + bytes;
    if (active > atomic_load(&h->peak))
        atomic_store(&h->peak, active);
    return (char *)(uintptr_t)at;
}

void fr__gpu_free(fr__gpu_stream *s, char *block, size_t bytes)
{
    CUcontext back;
    if (!block)
        return;
    atomic_fetch_sub(&s->gpu->heap->active, bytes ? bytes : 1);
    if (!fr__gpu_enter_quietly(s->gpu, &back))
        return;
    fr__cuda.cuMemFree((CUdeviceptr)(uintptr_t)block);
    fr__gpu_leave(back);
}

int fr__gpu_used_by(fr__gpu *g, char *block, fr__gpu_stream *other)
{
    (void)g, (void)block, (void)other;
    return 0;
}

fr__gpu_memory fr__gpu_memory_of(fr__gpu *g)
{
    return (fr__gpu_memory){.active = atomic_load(&g->heap->active),
                            .peak = atomic_load(&g->heap->peak),
                            .limit = atomic_load(&g->heap->limit)};
}

void fr__gpu_reset_peak(fr__gpu *g)
{
    atomic_store(&g->heap->peak, atomic_load(&g->heap->active));
}

size_t fr__gpu_set_cache_limit(fr__gpu *g, size_t bytes)
{
    return atomic_exchange(&g->heap->limit, bytes);
}

void fr__gpu_clear_cache(fr__gpu *g) { (void)g; }
