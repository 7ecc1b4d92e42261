/* driver.c - opens NVIDIA's driver, and says why it can't
 *
 * needs   nothing; the driver is looked for at the first question
 * gives   fr__cuda (the table), fr__cuda_count, fr__cuda_why, errors by name
 */
#define _GNU_SOURCE
#include "device/cuda/cuda.h"
#include "device/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

fr__cuda_functions fr__cuda;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int devices, version; /* written once */
static char why[320];
static atomic_bool opening, forked;

/* Only a flag: the child takes none of our locks, since it gets no further than this. */
static void after_fork(void)
{
    if (atomic_load(&opening))
        atomic_store(&forked, true);
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

void fr__cuda_describe(char *to, size_t room, CUresult r, const char *call)
{
    const char *name = NULL, *words = NULL;
    if (fr__cuda.cuGetErrorName && fr__cuda.cuGetErrorName(r, &name))
        name = NULL;
    if (fr__cuda.cuGetErrorString && fr__cuda.cuGetErrorString(r, &words))
        words = NULL;
    if (name)
        snprintf(to, room, "%s: %s%s%s", call, name, words ? ": " : "", words ? words : "");
    else
        snprintf(to, room, "%s: error %d", call, r);
}

bool fr__cuda_fatal(CUresult r)
{
    switch (r) {
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED: return true;
    default: return false;
    }
}

/* ---- opening ------------------------------------------------------------------------ */

static void *open_library(void)
{
    const char *path = fr__env("CUDA_DRIVER");
    bool named = path && *path;
    void *library = dlopen(named ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        snprintf(why, sizeof why, "%sno driver: %s", named ? "FERRULE_CUDA_DRIVER: " : "",
                 dlerror());
    return library;
}

static const char *find_functions(void *library)
{
    static const struct {
        const char *symbol;
        size_t offset;
    } table[] = {
#define X(name, symbol, parameters) {#symbol, offsetof(fr__cuda_functions, name)},
        FR__CUDA_FUNCTIONS(X)
#undef X
    };
    const char *missing = NULL;
    for (int i = 0; i < FR__COUNT(table); i++) {
        void *symbol = dlsym(library, table[i].symbol);
        if (!symbol && !missing)
            missing = table[i].symbol;
        memcpy((char *)&fr__cuda + table[i].offset, &symbol, sizeof symbol);
    }
    return missing;
}

/* The version is asked for first: an old driver lacks functions, too. */
static bool new_enough(void)
{
    CUresult r = fr__cuda.cuDriverGetVersion ? fr__cuda.cuDriverGetVersion(&version)
                                             : CUDA_ERROR_INVALID_VALUE;
    if (r || version < FR__CUDA_OLDEST)
        snprintf(why, sizeof why,
                 "the driver is too old: it is for CUDA %d.%d, %d.%d (driver 470) is needed",
                 version / 1000, version % 1000 / 10, FR__CUDA_OLDEST / 1000,
                 FR__CUDA_OLDEST % 1000 / 10);
    return !r && version >= FR__CUDA_OLDEST;
}

static bool start_driver(int *count)
{
    const char *call = "cuInit";
    CUresult r = fr__cuda.cuInit(0);
    if (!r) {
        call = "cuDeviceGetCount";
        r = fr__cuda.cuDeviceGetCount(count);
    }
    if (r == CUDA_ERROR_NO_DEVICE || (!r && *count < 1))
        snprintf(why, sizeof why, "the driver finds no device");
    else if (r)
        fr__cuda_describe(why, sizeof why, r, call);
    return !r && *count > 0;
}

static void open_driver(void)
{
    if (!fr__env_on("CUDA", true)) {
        snprintf(why, sizeof why, "switched off by FERRULE_CUDA");
        return;
    }
    atomic_store(&opening, true);
    void *library = open_library();
    if (!library)
        return;
    int count = 0;
    const char *missing = find_functions(library);
    if (!new_enough())
        return; /* left open: a driver that has started threads must not be unmapped */
    if (missing) {
        snprintf(why, sizeof why, "the driver has no %s", missing);
        return;
    }
    if (!start_driver(&count))
        return;
    snprintf(why, sizeof why, "driver for CUDA %d.%d", version / 1000, version % 1000 / 10);
    devices = count;
}

bool fr__cuda_forked(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }

int fr__cuda_count(void)
{
    if (fr__cuda_forked())
        return 0;
    pthread_once(&once, open_driver);
    return devices;
}

bool fr__cuda_ready(void) { return fr__cuda_count() > 0; }

int fr__cuda_version(void) { return version; }

const char *fr__cuda_why(void)
{
    if (fr__cuda_forked())
        return "CUDA doesn't survive fork: use it in one process, or start others by spawn";
    fr__cuda_count();
    return why;
}
