/* standin.h - a driver without a GPU, for tests
 *
 * The library has the entry points of NVIDIA's driver that src/device/cuda/driver.h lists. "Device"
 * memory is host memory at addresses that the host can't touch: any access by mistake is a fault. Work
 * on a stream runs as late as it may, when somebody waits or asks: what isn't ordered by the program
 * isn't ordered by luck. A copy or kernel that meets memory given back, or code unloaded, loses the
 * device, as the real one does at best.
 *
 * FERRULE_CUDA_DRIVER names the library; what follows is found by dlsym in it. The environment, read at
 * the first call: STANDIN_DEVICES (1), STANDIN_MEMORY (bytes of one: 256 MiB), STANDIN_VERSION (12040),
 * STANDIN_INIT (what cuInit gives: 0), STANDIN_SM (90).
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct standin_launch {
    int device;
    const char *image, *entry; /* PTX text */
    unsigned blocks, threads, shared;
    void **params; /* copies of the arguments */
    const size_t *param_bytes;
    int nparams;
} standin_launch;
/* Device memory may be read and written, at its own addresses, while this runs. */
typedef void standin_kernel(void *ctx, const standin_launch *l);

typedef enum standin_kind {
    STANDIN_MEMORY,
    STANDIN_PINNED,
    STANDIN_STREAM,
    STANDIN_EVENT,
    STANDIN_MODULE,
    STANDIN_GRAPH,
    STANDIN_EXEC,
    STANDIN_LINK,
    STANDIN_KINDS
} standin_kind;

#define STANDIN_CONTROLS(X)                                                                             \
    /* What launches do; without it they do nothing. */                                                 \
    X(void, standin_on_launch, (standin_kernel * run, void *ctx))                                       \
    /* The nth call from now on (counting from 1) fails once, with this code. 0: none. */               \
    X(void, standin_fail_at, (long n, int code))                                                        \
    X(const char *, standin_failed, (void)) /* the name of what did; NULL: not yet */                   \
    /* The nth kernel that runs from now on faults, and the device is lost. 0: none. */                 \
    X(void, standin_fault_at, (long n))                                                                 \
    /* Bytes that a device gives. */                                                                    \
    X(void, standin_limit, (size_t bytes))                                                              \
    /* Other libraries' work on a stream: run(a copy of ctx), which may touch device memory; false is \
     * a fault. What the driver's calls give. */ \
    X(int, standin_call,                                                                                \
      (void *stream, bool (*run)(void *ctx), const void *ctx, size_t bytes))                            \
    X(bool, standin_lives, (const void *at, size_t bytes)) /* asked in there: in one block? */          \
    X(long, standin_calls, (void))                         /* so far */                                 \
    X(long, standin_count, (const char *name))             /* of one entry point */                     \
    X(long, standin_live, (standin_kind kind))             /* objects */                                \
    X(size_t, standin_bytes, (int device))                 /* of device memory given out */             \
    X(char *, standin_host, (const void *at))    /* the host's address of device memory */              \
    X(bool, standin_is_device, (const void *at)) /* in a device's range */

#endif
