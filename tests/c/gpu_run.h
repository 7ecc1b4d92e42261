/* gpu_run.h - for tests and tools/ptx: PTX on the first GPU
 *
 * gpu_stream() is NULL on a machine without one. gpu_launch runs an entry with the parameters that
 * kernel.h states. Memory given to gpu_copy_in comes back by gpu_copy_out, which frees it.
 */
#ifndef FR_GPU_RUN_H
#define FR_GPU_RUN_H

#include "device/cuda/cuda.h"
#include "kernel/kernel.h"

static inline fr__gpu_stream *gpu_stream(void)
{
    fr__gpu *g = fr__cuda_count() ? fr__gpu_get(0) : NULL;
    return g ? fr__gpu_stream_get(g, 0) : NULL;
}

enum { GPU_ROOM = 16 };

/* `shift` bytes past an aligned address, to try what alignment does. NULL: no memory. */
static inline char *gpu_copy_in(const void *from, size_t bytes, size_t shift)
{
    char *p = fr__gpu_alloc(gpu_stream(), bytes + shift + GPU_ROOM);
    return p && !(from && fr__gpu_upload(gpu_stream(), p + shift, from, bytes)) ? p + shift
                                                                                : NULL;
}

static inline bool gpu_copy_out(void *to, char *p, size_t bytes, size_t shift)
{
    bool ok = !to || !fr__gpu_download(gpu_stream(), to, p, bytes);
    fr__gpu_free(gpu_stream(), p - shift, bytes + shift + GPU_ROOM);
    return ok;
}

static inline bool gpu_launch(fr__gpu_code *code, const uint64_t *words, int64_t begin,
                              int64_t end, char *scratch, uint64_t scratch_bytes,
                              fr__ptx_shape how)
{
    void *parameters[] = {(void *)(uintptr_t)words, &begin,    &end, &scratch,
                          &scratch_bytes,           &how.shape};
    fr__gpu_shape shape = {how.blocks, how.threads,
                           scratch || !how.scratch ? 0 : (unsigned)scratch_bytes};
    return end <= begin || !fr__gpu_launch(gpu_stream(), code, shape, parameters, "kernel");
}

#endif
