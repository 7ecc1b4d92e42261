/* gpu_run.h - for tests and tools/ptx: PTX on the first GPU, through the driver alone
 *
 * gpu_ready() is false on a machine without one. gpu_launch runs an entry with the parameters
 * that kernel.h states. Memory given to gpu_copy_in comes back by gpu_copy_out, which frees it.
 */
#ifndef FR_GPU_RUN_H
#define FR_GPU_RUN_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned long long gpu_pointer;
#define GPU_FUNCTIONS(X)                                                                       \
    X(cuInit, (unsigned))                                                                      \
    X(cuDeviceGet, (int *, int))                                                               \
    X(cuDevicePrimaryCtxRetain, (void **, int))                                                \
    X(cuCtxSetCurrent, (void *))                                                               \
    X(cuModuleLoadData, (void **, const void *))                                               \
    X(cuModuleUnload, (void *))                                                                \
    X(cuModuleGetFunction, (void **, void *, const char *))                                    \
    X(cuFuncSetAttribute, (void *, int, int))                                                  \
    X(cuMemAlloc_v2, (gpu_pointer *, size_t))                                                  \
    X(cuMemFree_v2, (gpu_pointer))                                                             \
    X(cuMemcpyHtoD_v2, (gpu_pointer, const void *, size_t))                                    \
    X(cuMemcpyDtoH_v2, (void *, gpu_pointer, size_t))                                          \
    X(cuMemcpyDtoDAsync_v2, (gpu_pointer, gpu_pointer, size_t, void *))                        \
    X(cuMemsetD8_v2, (gpu_pointer, unsigned char, size_t))                                     \
    X(cuDeviceGetName, (char *, int, int))                                                     \
    X(cuDeviceGetAttribute, (int *, int, int))                                                 \
    X(cuDriverGetVersion, (int *))                                                             \
    X(cuFuncGetAttribute, (int *, int, void *))                                                \
    X(cuCtxSynchronize, (void))                                                                \
    X(cuEventCreate, (void **, unsigned))                                                      \
    X(cuEventRecord, (void *, void *))                                                         \
    X(cuEventSynchronize, (void *))                                                            \
    X(cuEventElapsedTime, (float *, void *, void *))                                           \
    X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,     \
                       unsigned, void *, void **, void **))
#define X(name, parameters) static int(*name) parameters;
GPU_FUNCTIONS(X)
#undef X

static inline bool gpu_find(void *library, const char *name, void *to)
{
    void *symbol = dlsym(library, name);
    memcpy(to, &symbol, sizeof symbol);
    return symbol;
}

static inline bool gpu_ready(void)
{
    static int state; /* 1 ready, -1 not */
    if (state)
        return state > 0;
    state = -1;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *context = NULL;
    int device = 0;
    bool found = library;
#define X(name, parameters) found = found && gpu_find(library, #name, &name);
    GPU_FUNCTIONS(X)
#undef X
    if (found && !cuInit(0) && !cuDeviceGet(&device, 0) &&
        !cuDevicePrimaryCtxRetain(&context, device) && !cuCtxSetCurrent(context))
        state = 1;
    return state > 0;
}

/* `shift` bytes past an aligned address, to try what alignment does. 0: no memory. */
static inline gpu_pointer gpu_copy_in(const void *from, size_t bytes, size_t shift)
{
    gpu_pointer p = 0;
    if (cuMemAlloc_v2(&p, bytes + shift + 16) ||
        (from && cuMemcpyHtoD_v2(p + shift, from, bytes)))
        return 0;
    return p + shift;
}

static inline bool gpu_copy_out(void *to, gpu_pointer p, size_t bytes, size_t shift)
{
    bool ok = !to || !cuMemcpyDtoH_v2(to, p, bytes);
    return !cuMemFree_v2(p - shift) && ok;
}

static inline bool gpu_launch(void *function, const uint64_t *words, int64_t begin, int64_t end,
                              uint64_t scratch, uint64_t scratch_bytes, int64_t blocks,
                              int threads)
{
    void *parameters[] = {(void *)(uintptr_t)words, &begin, &end, &scratch, &scratch_bytes};
    unsigned shared = scratch ? 0 : (unsigned)scratch_bytes;
    if (end <= begin)
        return true;
    if (shared > 48 * 1024 && cuFuncSetAttribute(function, 8, (int)shared))
        return false;
    return !cuLaunchKernel(function, (unsigned)blocks, 1, 1, (unsigned)threads, 1, 1, shared,
                           NULL, parameters, NULL);
}

#endif
