/* driver.h - the part of NVIDIA's driver API that we use, opened at run time
 *
 * needs   nothing at build time: types and constants are written from NVIDIA's public documentation
 *         of the driver API (CUDA 11.4, driver 470, and later)
 * gives   fr__cuda, a table of functions, filled once fr__cuda_ready() is true
 */
#ifndef FR_CUDA_DRIVER_H
#define FR_CUDA_DRIVER_H

#include "base/base.h"

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUlinkState_st *CUlinkState;

enum { /* CUresult */
       CUDA_SUCCESS = 0,
       CUDA_ERROR_INVALID_VALUE = 1,
       CUDA_ERROR_OUT_OF_MEMORY = 2,
       CUDA_ERROR_DEINITIALIZED = 4,
       CUDA_ERROR_NO_DEVICE = 100,
       CUDA_ERROR_ECC_UNCORRECTABLE = 214,
       CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
       CUDA_ERROR_NOT_READY = 600,
       CUDA_ERROR_ILLEGAL_ADDRESS = 700,
       CUDA_ERROR_LAUNCH_TIMEOUT = 702,
       CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
       CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
       CUDA_ERROR_ASSERT = 710,
       CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
       CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
       CUDA_ERROR_MISALIGNED_ADDRESS = 716,
       CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
       CUDA_ERROR_INVALID_PC = 718,
       CUDA_ERROR_LAUNCH_FAILED = 719,
};
enum { /* CUdevice_attribute */
       CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10,
       CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
       CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
       CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
       CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
       CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
       CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81,
       CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
       CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR = 106,
};
enum { /* CUfunction_attribute */
       CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
       CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
       CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
       CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
       CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
};
enum { /* CUjit_option, CUjitInputType */
       CU_JIT_ERROR_LOG_BUFFER = 5,
       CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
       CU_JIT_INPUT_PTX = 1,
};
enum { /* flags */
       CU_STREAM_NON_BLOCKING = 1,
       CU_EVENT_DEFAULT = 0,
       CU_EVENT_DISABLE_TIMING = 2,
       CU_MEMHOSTALLOC_PORTABLE = 1,
       CU_STREAM_CAPTURE_MODE_RELAXED = 2,
};

/* Name, symbol in the library, parameters. All return a CUresult. */
// clang-format off
#define FR__CUDA_FUNCTIONS(X)                                                                  \
    X(cuInit, cuInit, (unsigned flags))                                                        \
    X(cuDriverGetVersion, cuDriverGetVersion, (int *version))                                  \
    X(cuGetErrorName, cuGetErrorName, (CUresult error, const char **text))                     \
    X(cuGetErrorString, cuGetErrorString, (CUresult error, const char **text))                 \
    /* devices and contexts */                                                                 \
    X(cuDeviceGetCount, cuDeviceGetCount, (int *count))                                        \
    X(cuDeviceGet, cuDeviceGet, (CUdevice *device, int ordinal))                               \
    X(cuDeviceGetName, cuDeviceGetName, (char *name, int room, CUdevice device))               \
    X(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))                 \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))\
    X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, (int *can, CUdevice device, CUdevice peer))\
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *c, CUdevice device))     \
    X(cuCtxGetCurrent, cuCtxGetCurrent, (CUcontext *c))                                        \
    X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext c))                                         \
    X(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags))          \
    /* memory */                                                                               \
    X(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *at, size_t bytes))                              \
    X(cuMemFree, cuMemFree_v2, (CUdeviceptr at))                                               \
    X(cuMemGetInfo, cuMemGetInfo_v2, (size_t *free, size_t *total))                            \
    X(cuMemHostAlloc, cuMemHostAlloc, (void **at, size_t bytes, unsigned flags))               \
    X(cuMemFreeHost, cuMemFreeHost, (void *at))                                                \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2,                                                 \
      (CUdeviceptr to, const void *from, size_t bytes, CUstream s))                            \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2,                                                 \
      (void *to, CUdeviceptr from, size_t bytes, CUstream s))                                  \
    X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2,                                                 \
      (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s))                            \
    X(cuMemcpyPeerAsync, cuMemcpyPeerAsync,                                                    \
      (CUdeviceptr to, CUcontext c, CUdeviceptr from, CUcontext from_c, size_t bytes,          \
       CUstream s))                                                                            \
    X(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr to, unsigned char v, size_t n, CUstream s))\
    /* streams and events */                                                                   \
    X(cuStreamCreate, cuStreamCreate, (CUstream *s, unsigned flags))                           \
    X(cuStreamSynchronize, cuStreamSynchronize, (CUstream s))                                  \
    X(cuStreamQuery, cuStreamQuery, (CUstream s))                                              \
    X(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream s, CUevent e, unsigned flags))           \
    X(cuEventCreate, cuEventCreate, (CUevent *e, unsigned flags))                              \
    X(cuEventDestroy, cuEventDestroy_v2, (CUevent e))                                          \
    X(cuEventRecord, cuEventRecord, (CUevent e, CUstream s))                                   \
    X(cuEventQuery, cuEventQuery, (CUevent e))                                                 \
    X(cuEventSynchronize, cuEventSynchronize, (CUevent e))                                     \
    X(cuEventElapsedTime, cuEventElapsedTime, (float *ms, CUevent from, CUevent to))           \
    /* code */                                                                                 \
    X(cuModuleLoadDataEx, cuModuleLoadDataEx,                                                  \
      (CUmodule *m, const void *image, unsigned n, int *options, void **values))               \
    X(cuModuleUnload, cuModuleUnload, (CUmodule m))                                            \
    X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *f, CUmodule m, const char *name)) \
    X(cuFuncGetAttribute, cuFuncGetAttribute, (int *value, int attribute, CUfunction f))       \
    X(cuFuncSetAttribute, cuFuncSetAttribute, (CUfunction f, int attribute, int value))        \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor, cuOccupancyMaxActiveBlocksPerMultiprocessor,\
      (int *blocks, CUfunction f, int threads, size_t shared))                                 \
    X(cuLaunchKernel, cuLaunchKernel,                                                          \
      (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,          \
       unsigned bz, unsigned shared, CUstream s, void **params, void **extra))                 \
    X(cuLinkCreate, cuLinkCreate_v2, (unsigned n, int *options, void **values, CUlinkState *l))\
    X(cuLinkAddData, cuLinkAddData_v2,                                                         \
      (CUlinkState l, int type, void *data, size_t bytes, const char *name, unsigned n,        \
       int *options, void **values))                                                           \
    X(cuLinkComplete, cuLinkComplete, (CUlinkState l, void **cubin, size_t *bytes))            \
    X(cuLinkDestroy, cuLinkDestroy, (CUlinkState l))                                           \
    /* graphs */                                                                               \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream s, int mode))                   \
    X(cuStreamEndCapture, cuStreamEndCapture, (CUstream s, CUgraph *graph))                    \
    X(cuGraphGetNodes, cuGraphGetNodes, (CUgraph graph, void **nodes, size_t *n))              \
    X(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags,                                \
      (CUgraphExec *exec, CUgraph graph, unsigned long long flags))                            \
    X(cuGraphUpload, cuGraphUpload, (CUgraphExec exec, CUstream s))                            \
    X(cuGraphLaunch, cuGraphLaunch, (CUgraphExec exec, CUstream s))                            \
    X(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec exec))                              \
    X(cuGraphDestroy, cuGraphDestroy, (CUgraph graph))
// clang-format on

typedef struct fr__cuda_functions {
#define X(name, symbol, parameters) CUresult(*name) parameters;
    FR__CUDA_FUNCTIONS(X)
#undef X
} fr__cuda_functions;
extern fr__cuda_functions fr__cuda;

enum { FR__CUDA_OLDEST = 11040 }; /* driver 470 */

/* True once the driver is open and has found a device; false for ever in a forked child. */
bool fr__cuda_ready(void);
bool fr__cuda_forked(void); /* this process is the child of one that had opened the driver */
int fr__cuda_version(void);
/* "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory" */
void fr__cuda_describe(char *to, size_t room, CUresult r, const char *call);
/* Errors after which nothing works any more in the context. */
bool fr__cuda_fatal(CUresult r);

#endif
