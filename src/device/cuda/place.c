/* place.c (cuda) - what the core asks of GPUs, for streams by the library's numbers */
#include <stdio.h>

#include "core/place.h"

#include "device/cuda/place.h"

fr__gpu_stream *fr__gpu_stream_at(uint16_t stream)
{
    static _Atomic(fr__gpu_stream *) known[FR__MAX_STREAMS];
    fr__gpu_stream *s = atomic_load_explicit(&known[stream], memory_order_acquire);
    if (FR__LIKELY(s != NULL))
        return s;
    fr__stream_about about = fr__stream_where(stream);
    fr__gpu *g = fr__gpu_get(about.place - 1);
    s = g ? fr__gpu_stream_get(g, about.number) : NULL;
    atomic_store_explicit(&known[stream], s, memory_order_release);
    return s;
}

static int open_device(int device) { return fr__gpu_get(device) ? 0 : -1; }

static char *alloc(uint16_t stream, size_t bytes)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream);
    return s ? fr__gpu_alloc(s, bytes) : NULL;
}

static void release(uint16_t stream, char *block, size_t bytes)
{
    fr__gpu_free(fr__gpu_stream_at(stream), block, bytes);
}

static int upload(uint16_t stream, char *to, const void *from, size_t bytes)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream);
    return s ? fr__gpu_upload(s, to, from, bytes) : -1;
}

static int download(uint16_t stream, void *to, const char *from, size_t bytes)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream);
    return s ? fr__gpu_download(s, to, from, bytes) : -1;
}

static int between(uint16_t stream, char *to, uint16_t from_stream, const char *from,
                   size_t bytes)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream), *other = fr__gpu_stream_at(from_stream);
    if (!s || !other || fr__gpu_wait_for(s, other))
        return -1;
    return fr__gpu_copy_peer(s, to, fr__gpu_of(other), from, bytes) ||
                   fr__gpu_used_by(fr__gpu_of(other), (char *)(uintptr_t)from, s)
               ? -1
               : 0;
}

static int use(uint16_t stream, char *block, uint16_t owner)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream), *other = fr__gpu_stream_at(owner);
    if (!s || !other || fr__gpu_wait_for(s, other))
        return -1;
    return fr__gpu_used_by(fr__gpu_of(other), block, s);
}

static bool is_shared(uint16_t stream, const char *block)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream);
    return !s || fr__gpu_is_shared(fr__gpu_of(s), block);
}

static int synchronize(uint16_t stream)
{
    fr__gpu_stream *s = fr__gpu_stream_at(stream);
    return s ? fr__gpu_synchronize(s) : -1;
}

static int about(int device, fr_device_info *to)
{
    fr__gpu *g = fr__gpu_get(device);
    if (!g)
        return -1;
    const fr__gpu_info *from = fr__gpu_about(g);
    snprintf(to->name, sizeof to->name, "%s", from->name);
    to->memory = from->memory;
    to->units = from->processors;
    to->capability = from->sm;
    return 0;
}

static fr_memory_info memory(int device)
{
    fr__gpu *g = fr__gpu_get(device);
    if (!g)
        return (fr_memory_info){0};
    fr__gpu_memory m = fr__gpu_memory_of(g);
    return (fr_memory_info){m.active, m.peak, m.cached, m.most, m.limit};
}

static void reset_peak(int device)
{
    fr__gpu *g = fr__gpu_get(device);
    if (g)
        fr__gpu_reset_peak(g);
}

static size_t set_cache_limit(int device, size_t bytes)
{
    fr__gpu *g = fr__gpu_get(device);
    return g ? fr__gpu_set_cache_limit(g, bytes) : 0;
}

static size_t set_limit(int device, size_t bytes)
{
    fr__gpu *g = fr__gpu_get(device);
    return g ? fr__gpu_set_limit(g, bytes) : 0;
}

static void clear_cache(int device)
{
    fr__gpu *g = fr__gpu_get(device);
    if (g)
        fr__gpu_clear_cache(g);
}

const fr__gpu_ops fr__gpus = {
    .count = fr__cuda_count,
    .why = fr__cuda_why,
    .open = open_device,
    .alloc = alloc,
    .free = release,
    .upload = upload,
    .download = download,
    .between = between,
    .use = use,
    .is_shared = is_shared,
    .synchronize = synchronize,
    .about = about,
    .memory = memory,
    .reset_peak = reset_peak,
    .set_cache_limit = set_cache_limit,
    .set_limit = set_limit,
    .clear_cache = clear_cache,
};
