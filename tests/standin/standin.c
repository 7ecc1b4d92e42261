/* standin.c - the stand-in driver: see standin.h */
#define _GNU_SOURCE
#include "standin.h"
#include "device/cuda/driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    DEVICES = 8,
    PARAMS = 16,
    NAMES = 128,
    INVALID_HANDLE = 400,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    NOT_FOUND = 500,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNJOINED = 904,
    ALIGN = 512,
};

typedef enum op_kind { COPY_IN, COPY_OUT, COPY, SET, LAUNCH, CALL, WAIT } op_kind;

typedef struct op {
    op_kind kind;
    CUdeviceptr to, from;
    void *host;
    bool owned; /* host is a copy of ours */
    size_t bytes;
    unsigned char value;
    bool (*call)(void *ctx); /* CALL: with host, a copy of ours */
    CUfunction function;
    unsigned blocks, threads, shared;
    unsigned char *params; /* one after the other, each at a multiple of 16 */
    CUstream stream;       /* WAIT: until so many of this one's have run */
    long number;
    int *after, nafter; /* recorded: those that come before it */
} op;

typedef struct ops {
    op *at;
    size_t first, n, room; /* those before the first are gone */
} ops;

struct CUctx_st {
    int device;
    int lost;
    char *device_base, *host_base;
    size_t size, used;
    struct range {
        size_t at, bytes;
    } * blocks; /* sorted */
    size_t nblocks, room;
};
struct CUstream_st {
    CUcontext context;
    ops queue;
    long queued, done; /* done of them were run; the queue holds the rest */
    CUgraph recorded;
    bool invalid, joined;
    int *heads, nheads; /* recorded operations that the next one comes after */
};
struct CUevent_st {
    CUcontext context;
    CUstream stream;
    long number;
    CUgraph recorded;
    int *heads, nheads;
};
struct CUfunc_st {
    CUmodule module;
    char name[200];
    size_t bytes[PARAMS];
    int nparams, opted;
    CUfunction next;
};
struct CUmod_st {
    CUcontext context;
    char *image;
    bool dead;
    CUfunction functions;
    CUmodule next;
};
struct CUgraph_st {
    ops list;
    CUstream streams[16]; /* that record it */
    int nstreams;
};
struct CUgraphExec_st {
    CUcontext context;
    ops list;
};
struct CUlinkState_st {
    char *ptx;
    char *log;
    size_t log_room;
};
struct pinned {
    char *at;
    size_t bytes;
    struct pinned *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct CUctx_st contexts[DEVICES];
static int device_count = 1, version = 12040, init_result, sm = 90;
static size_t memory = (size_t)256 << 20;
static bool configured;
static _Thread_local CUcontext current;
static long calls, fail_at, fault_at, live[STANDIN_KINDS];
static int fail_code;
static const char *failed_name;
static struct {
    const char *name;
    long n;
} counts[NAMES];
static standin_kernel *kernel;
static void *kernel_ctx;
static struct pinned *pinned;
static CUmodule modules; /* unloaded ones, too: what is queued points to them */

/* ---- every call --------------------------------------------------------------------- */

static long setting(const char *name, long otherwise)
{
    const char *s = getenv(name);
    return s && *s ? strtol(s, NULL, 10) : otherwise;
}

static void configure(void)
{
    if (configured)
        return;
    configured = true;
    device_count = (int)setting("STANDIN_DEVICES", 1);
    memory = (size_t)setting("STANDIN_MEMORY", 256 << 20);
    version = (int)setting("STANDIN_VERSION", 12040);
    init_result = (int)setting("STANDIN_INIT", 0);
    sm = (int)setting("STANDIN_SM", 90);
}

static void count_call(const char *name)
{
    int i = 0;
    while (i < NAMES - 1 && counts[i].name && strcmp(counts[i].name, name))
        i++;
    counts[i].name = name;
    counts[i].n++;
    calls++;
}

/* With the lock taken; nonzero: what the call gives at once, without the lock. */
static CUresult enter(const char *name, bool context)
{
    pthread_mutex_lock(&lock);
    configure();
    count_call(name);
    CUresult r = 0;
    if (fail_at > 0 && !--fail_at) {
        r = fail_code;
        failed_name = name;
    } else if (context && !current)
        r = INVALID_CONTEXT;
    else if (context)
        r = current->lost;
    if (r)
        pthread_mutex_unlock(&lock);
    return r;
}

static CUresult leave(CUresult r)
{
    pthread_mutex_unlock(&lock);
    return r;
}

#define ENTER(context)                                                                         \
    do {                                                                                       \
        CUresult entered = enter(__func__, context);                                           \
        if (entered)                                                                           \
            return entered;                                                                    \
    } while (0)

static void *take(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p)
        abort();
    return p;
}

/* ---- memory ------------------------------------------------------------------------- */

static bool map_device(CUcontext c)
{
    if (c->device_base)
        return true;
    c->size = (memory + 0xffff) & ~(size_t)0xffff;
    int file = memfd_create("device", 0);
    if (file < 0 || ftruncate(file, (off_t)c->size))
        return false;
    void *device = mmap(NULL, c->size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    void *host =
        mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    close(file);
    if (device == MAP_FAILED || host == MAP_FAILED)
        return false;
    c->device_base = device;
    c->host_base = host;
    return true;
}

static CUcontext context_of(CUdeviceptr at)
{
    for (int i = 0; i < device_count; i++) {
        CUdeviceptr base = (CUdeviceptr)(uintptr_t)contexts[i].device_base;
        if (base && at >= base && at < base + contexts[i].size)
            return &contexts[i];
    }
    return NULL;
}

/* The host's address of bytes that lie in one live block; NULL: they don't. */
static char *host_of(CUdeviceptr at, size_t bytes)
{
    CUcontext c = context_of(at);
    if (!c)
        return NULL;
    size_t place = (size_t)(at - (CUdeviceptr)(uintptr_t)c->device_base);
    for (size_t i = 0; i < c->nblocks; i++)
        if (place >= c->blocks[i].at && place + bytes <= c->blocks[i].at + c->blocks[i].bytes)
            return c->host_base + place;
    return NULL;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes)
{
    ENTER(true);
    CUcontext c = current;
    size_t place = 0, i = 0, room = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!bytes)
        return leave(CUDA_ERROR_INVALID_VALUE);
    for (; i < c->nblocks && c->blocks[i].at - place < room; i++)
        place = c->blocks[i].at + c->blocks[i].bytes;
    if (room > memory || c->used + room > memory || place + room > c->size)
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    if (c->nblocks == c->room) {
        c->room = 2 * c->room + 16;
        c->blocks = realloc(c->blocks, c->room * sizeof *c->blocks);
        if (!c->blocks)
            abort();
    }
    memmove(c->blocks + i + 1, c->blocks + i, (c->nblocks - i) * sizeof *c->blocks);
    c->blocks[i] = (struct range){place, room};
    c->nblocks++;
    c->used += room;
    live[STANDIN_MEMORY]++;
    memset(c->host_base + place, 0xa5,
           room < 65536 ? room : 65536); /* nobody counts on zeros */
    *at = (CUdeviceptr)(uintptr_t)(c->device_base + place);
    return leave(0);
}

/* Doesn't wait: what is queued for the block will find it gone. */
EXPORT CUresult cuMemFree_v2(CUdeviceptr at)
{
    ENTER(true);
    CUcontext c = context_of(at);
    for (size_t i = 0; c && i < c->nblocks; i++)
        if (c->blocks[i].at == (size_t)(at - (CUdeviceptr)(uintptr_t)c->device_base)) {
            c->used -= c->blocks[i].bytes;
            memmove(c->blocks + i, c->blocks + i + 1, (c->nblocks - i - 1) * sizeof *c->blocks);
            c->nblocks--;
            live[STANDIN_MEMORY]--;
            return leave(0);
        }
    return leave(CUDA_ERROR_INVALID_VALUE);
}

EXPORT CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
    ENTER(true);
    *free = memory - current->used;
    *total = memory;
    return leave(0);
}

EXPORT CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags)
{
    ENTER(true);
    (void)flags;
    struct pinned *p = take(sizeof *p);
    *p = (struct pinned){take(bytes), bytes, pinned};
    pinned = p;
    live[STANDIN_PINNED]++;
    *at = p->at;
    return leave(0);
}

EXPORT CUresult cuMemFreeHost(void *at)
{
    ENTER(true);
    for (struct pinned **p = &pinned; *p; p = &(*p)->next)
        if ((*p)->at == at) {
            struct pinned *gone = *p;
            *p = gone->next;
            free(gone->at);
            free(gone);
            live[STANDIN_PINNED]--;
            return leave(0);
        }
    return leave(CUDA_ERROR_INVALID_VALUE);
}

static bool is_pinned(const void *at)
{
    for (struct pinned *p = pinned; p; p = p->next)
        if ((const char *)at >= p->at && (const char *)at < p->at + p->bytes)
            return true;
    return false;
}

/* ---- work --------------------------------------------------------------------------- */

static void drop_op(op *o)
{
    if (o->owned)
        free(o->host);
    free(o->params);
    free(o->after);
}

static void add_heads(int **to, int *n, const int *from, int more)
{
    *to = realloc(*to, sizeof **to * (size_t)(*n + more + 1));
    if (!*to)
        abort();
    if (more)
        memcpy(*to + *n, from, sizeof **to * (size_t)more);
    *n += more;
}

static void push(ops *to, op o)
{
    if (to->first > to->n / 2) {
        to->n -= to->first;
        memmove(to->at, to->at + to->first, to->n * sizeof *to->at);
        to->first = 0;
    }
    if (to->n == to->room) {
        to->room = 2 * to->room + 16;
        to->at = realloc(to->at, to->room * sizeof *to->at);
        if (!to->at)
            abort();
    }
    to->at[to->n++] = o;
}

static void open_memory(int protection)
{
    for (int i = 0; i < device_count; i++)
        if (contexts[i].device_base)
            mprotect(contexts[i].device_base, contexts[i].size, protection);
}

/* False: a fault. */
static bool run_kernel(CUcontext c, const op *o)
{
    void *params[PARAMS];
    CUfunction f = o->function;
    if (fault_at > 0 && !--fault_at)
        return false;
    if (f->module->dead)
        return false;
    size_t at = 0;
    for (int i = 0; i < f->nparams; i++) {
        params[i] = o->params + at;
        at += (f->bytes[i] + 15) & ~(size_t)15;
    }
    if (!kernel)
        return true;
    standin_launch l = {.device = c->device,
                        .image = f->module->image,
                        .entry = f->name,
                        .blocks = o->blocks,
                        .threads = o->threads,
                        .shared = o->shared,
                        .params = params,
                        .param_bytes = f->bytes,
                        .nparams = f->nparams};
    open_memory(PROT_READ | PROT_WRITE);
    kernel(kernel_ctx, &l);
    open_memory(PROT_NONE);
    return true;
}

static bool run_op(CUcontext c, const op *o)
{
    char *to = o->kind == COPY_OUT ? o->host : NULL;
    const char *from = o->kind == COPY_IN ? o->host : NULL;
    if (o->kind == LAUNCH)
        return run_kernel(c, o);
    if (o->kind == CALL) {
        open_memory(PROT_READ | PROT_WRITE);
        bool ok = o->call(o->host);
        open_memory(PROT_NONE);
        return ok;
    }
    if (!to && !(to = host_of(o->to, o->bytes)))
        return false;
    if (o->kind == SET) {
        memset(to, o->value, o->bytes);
        return true;
    }
    if (!from && !(from = host_of(o->from, o->bytes)))
        return false;
    memmove(to, from, o->bytes);
    return true;
}

static void run_until(CUstream s, long number);

/* The next one; a wait runs what it waits for where `all`, or one step of it. */
static void run_next(CUstream s, bool all)
{
    op *o = &s->queue.at[s->queue.first];
    if (o->kind == WAIT && o->stream->done < o->number) {
        if (all)
            run_until(o->stream, o->number);
        else
            run_next(o->stream, false);
        if (o->stream->done < o->number)
            return;
    }
    if (o->kind != WAIT && !s->context->lost && !run_op(s->context, o))
        s->context->lost = CUDA_ERROR_ILLEGAL_ADDRESS;
    drop_op(o);
    s->queue.first++;
    s->done++;
}

static void run_until(CUstream s, long number)
{
    while (s->done < number)
        run_next(s, true);
}

/* Queued, or recorded. */
static CUresult queue(CUstream s, op o)
{
    if (s->recorded) {
        int number = (int)s->recorded->list.n;
        o.after = s->heads;
        o.nafter = s->nheads;
        s->heads = NULL;
        s->nheads = 0;
        add_heads(&s->heads, &s->nheads, &number, 1);
        push(&s->recorded->list, o);
        return 0;
    }
    push(&s->queue, o);
    s->queued++;
    return 0;
}

static op copy_op(const op *o)
{
    op copy = *o;
    copy.after = NULL;
    copy.nafter = 0;
    if (o->owned) {
        copy.host = take(o->bytes);
        memcpy(copy.host, o->host, o->bytes);
    }
    if (o->params) {
        size_t bytes = 0;
        for (int i = 0; i < o->function->nparams; i++)
            bytes += (o->function->bytes[i] + 15) & ~(size_t)15;
        copy.params = take(bytes);
        memcpy(copy.params, o->params, bytes);
    }
    return copy;
}

static void drop_ops(ops *list)
{
    for (size_t i = 0; i < list->n; i++)
        drop_op(&list->at[i]);
    free(list->at);
    *list = (ops){0};
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream s)
{
    ENTER(true);
    if (!host_of(to, bytes))
        return leave(CUDA_ERROR_INVALID_VALUE);
    op o = {.kind = COPY_IN, .to = to, .host = (void *)(uintptr_t)from, .bytes = bytes};
    if (!s->recorded && !is_pinned(from)) {
        o.host = take(bytes);
        o.owned = true;
        memcpy(o.host, from, bytes);
    }
    return leave(queue(s, o));
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream s)
{
    ENTER(true);
    if (!host_of(from, bytes))
        return leave(CUDA_ERROR_INVALID_VALUE);
    queue(s, (op){.kind = COPY_OUT, .host = to, .from = from, .bytes = bytes});
    if (!s->recorded && !is_pinned(to))
        run_until(s, s->queued);
    return leave(s->context->lost);
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s)
{
    ENTER(true);
    if (!host_of(to, bytes) || !host_of(from, bytes) || context_of(to) != context_of(from))
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(queue(s, (op){.kind = COPY, .to = to, .from = from, .bytes = bytes}));
}

EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext c, CUdeviceptr from,
                                  CUcontext from_c, size_t bytes, CUstream s)
{
    ENTER(true);
    if (!host_of(to, bytes) || !host_of(from, bytes) || context_of(to) != c ||
        context_of(from) != from_c)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(queue(s, (op){.kind = COPY, .to = to, .from = from, .bytes = bytes}));
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream s)
{
    ENTER(true);
    if (!host_of(to, n))
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(queue(s, (op){.kind = SET, .to = to, .value = value, .bytes = n}));
}

/* ---- the library, devices, contexts ------------------------------------------------- */

EXPORT CUresult cuInit(unsigned flags)
{
    ENTER(false);
    (void)flags;
    return leave(init_result);
}

EXPORT CUresult cuDriverGetVersion(int *to)
{
    ENTER(false);
    *to = version;
    return leave(0);
}

static const struct {
    int code;
    const char *name, *words;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "failed due to a previous error"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

EXPORT CUresult cuGetErrorName(CUresult error, const char **text)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == error) {
            *text = errors[i].name;
            return 0;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char **text)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == error) {
            *text = errors[i].words;
            return 0;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuDeviceGetCount(int *count)
{
    ENTER(false);
    *count = device_count;
    return leave(0);
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER(false);
    *device = ordinal;
    return leave(ordinal < 0 || ordinal >= device_count ? CUDA_ERROR_INVALID_VALUE : 0);
}

EXPORT CUresult cuDeviceGetName(char *name, int room, CUdevice device)
{
    ENTER(false);
    snprintf(name, (size_t)room, "Stand-in %d", device);
    return leave(0);
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    ENTER(false);
    (void)device;
    *bytes = memory;
    return leave(0);
}

EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    ENTER(false);
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 1 << 20; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = sm / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = sm % 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 233472; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 232448; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = 32; break;
    default: return leave(CUDA_ERROR_INVALID_VALUE);
    }
    return leave(0);
}

EXPORT CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    ENTER(false);
    *can = device != peer;
    return leave(0);
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice device)
{
    ENTER(false);
    CUcontext made = &contexts[device];
    if (!map_device(made))
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    made->device = device;
    *c = made;
    return leave(0);
}

EXPORT CUresult cuCtxGetCurrent(CUcontext *c)
{
    ENTER(false);
    *c = current;
    return leave(0);
}

EXPORT CUresult cuCtxSetCurrent(CUcontext c)
{
    ENTER(false);
    current = c;
    return leave(0);
}

EXPORT CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags)
{
    ENTER(true);
    (void)flags;
    return leave(peer == current ? CUDA_ERROR_INVALID_VALUE : 0);
}

/* ---- streams and events ------------------------------------------------------------- */

EXPORT CUresult cuStreamCreate(CUstream *s, unsigned flags)
{
    ENTER(true);
    (void)flags;
    *s = take(sizeof **s);
    (*s)->context = current;
    live[STANDIN_STREAM]++;
    return leave(0);
}

/* Waiting for a stream that records is refused, and spoils the recording. */
static bool spoils(CUstream s)
{
    if (s->recorded)
        s->invalid = true;
    return s->recorded;
}

EXPORT CUresult cuStreamSynchronize(CUstream s)
{
    ENTER(true);
    if (spoils(s))
        return leave(CAPTURE_UNSUPPORTED);
    run_until(s, s->queued);
    return leave(s->context->lost);
}

EXPORT CUresult cuStreamQuery(CUstream s)
{
    ENTER(true);
    if (spoils(s))
        return leave(CAPTURE_UNSUPPORTED);
    if (s->done < s->queued)
        run_next(s, false);
    if (s->context->lost)
        return leave(s->context->lost);
    return leave(s->done < s->queued ? CUDA_ERROR_NOT_READY : 0);
}

EXPORT CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags)
{
    ENTER(true);
    (void)flags;
    if (e->recorded) { /* the stream takes part from now on */
        if (s->recorded && s->recorded != e->recorded)
            return leave(CUDA_ERROR_INVALID_VALUE);
        if (!s->recorded)
            e->recorded->streams[e->recorded->nstreams++] = s;
        s->joined = s->joined || !s->recorded;
        s->recorded = e->recorded;
        add_heads(&s->heads, &s->nheads, e->heads, e->nheads);
        return leave(0);
    }
    if (!e->stream)
        return leave(0);
    if (s->recorded) /* of what isn't recorded: never ours */
        return leave(CAPTURE_UNSUPPORTED);
    return leave(queue(s, (op){.kind = WAIT, .stream = e->stream, .number = e->number}));
}

EXPORT CUresult cuEventCreate(CUevent *e, unsigned flags)
{
    ENTER(true);
    (void)flags;
    *e = take(sizeof **e);
    (*e)->context = current;
    live[STANDIN_EVENT]++;
    return leave(0);
}

EXPORT CUresult cuEventDestroy_v2(CUevent e)
{
    ENTER(false);
    free(e->heads);
    free(e);
    live[STANDIN_EVENT]--;
    return leave(0);
}

EXPORT CUresult cuEventRecord(CUevent e, CUstream s)
{
    ENTER(true);
    if (e->context != s->context)
        return leave(INVALID_HANDLE);
    e->nheads = 0;
    e->recorded = s->recorded;
    if (s->recorded) {
        add_heads(&e->heads, &e->nheads, s->heads, s->nheads);
        return leave(0);
    }
    e->stream = s;
    e->number = s->queued;
    return leave(0);
}

EXPORT CUresult cuEventQuery(CUevent e)
{
    ENTER(true);
    if (e->stream && e->stream->done < e->number)
        run_next(e->stream, false);
    if (e->context->lost)
        return leave(e->context->lost);
    return leave(e->stream && e->stream->done < e->number ? CUDA_ERROR_NOT_READY : 0);
}

EXPORT CUresult cuEventSynchronize(CUevent e)
{
    ENTER(true);
    if (e->stream)
        run_until(e->stream, e->number);
    return leave(e->context->lost);
}

EXPORT CUresult cuEventElapsedTime(float *ms, CUevent from, CUevent to)
{
    ENTER(true);
    if (!from->stream || !to->stream)
        return leave(INVALID_HANDLE);
    *ms = (float)(to->number - from->number);
    return leave(0);
}

/* ---- code --------------------------------------------------------------------------- */

static size_t type_bytes(const char *type)
{
    size_t bits = strtoul(type + 1, NULL, 10); /* u64, f32, b8 */
    return !strncmp(type, "pred", 4) ? 1 : bits / 8;
}

/* ".param .align 16 .b8 name[128]," or ".param .u64 name": its bytes. */
static size_t param_bytes(const char *at, const char *end)
{
    size_t bytes = 0;
    for (const char *p = at + 6; p < end; p++) {
        if (*p == '.' && !strncmp(p, ".align", 6)) {
            p += 6;
        } else if (*p == '.' && strncmp(p, ".ptr", 4) && strncmp(p, ".global", 7) && !bytes) {
            bytes = type_bytes(p + 1);
        } else if (*p == '[') {
            bytes *= strtoul(p + 1, NULL, 10);
        }
    }
    return bytes;
}

static bool read_params(CUfunction f, const char *list)
{
    const char *end = strchr(list, ')');
    for (const char *p = end ? strstr(list, ".param") : NULL; p && p < end;) {
        const char *next = strstr(p + 6, ".param");
        if (!next || next > end)
            next = end;
        if (f->nparams == PARAMS)
            return false;
        f->bytes[f->nparams] = param_bytes(p, next);
        if (!f->bytes[f->nparams++])
            return false;
        p = next == end ? NULL : next;
    }
    return end;
}

static const char magic[] = "STANDIN ";

static bool is_ptx(const char *text)
{
    return strstr(text, ".version") && !strstr(text, "WRONG");
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, int *options,
                                   void **values)
{
    ENTER(true);
    const char *text = image;
    if (!strncmp(text, magic, sizeof magic - 1))
        text += sizeof magic - 1;
    if (!is_ptx(text)) {
        for (unsigned i = 0; i < n; i++)
            if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
                strcpy(values[i], "ptxas stand-in: not PTX");
        return leave(INVALID_PTX);
    }
    *m = take(sizeof **m);
    (*m)->context = current;
    (*m)->image = strdup(text);
    (*m)->next = modules;
    modules = *m;
    live[STANDIN_MODULE]++;
    return leave(0);
}

EXPORT CUresult cuModuleUnload(CUmodule m)
{
    ENTER(true);
    if (m->dead)
        return leave(INVALID_HANDLE);
    m->dead = true;
    live[STANDIN_MODULE]--;
    return leave(0);
}

EXPORT CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name)
{
    ENTER(true);
    char wanted[240];
    snprintf(wanted, sizeof wanted, ".entry %s(", name);
    const char *at = strstr(m->image, wanted);
    if (!at)
        return leave(NOT_FOUND);
    CUfunction made = take(sizeof *made);
    made->module = m;
    snprintf(made->name, sizeof made->name, "%s", name);
    made->next = m->functions;
    m->functions = made;
    if (!read_params(made, at + strlen(wanted)))
        return leave(INVALID_PTX);
    *f = made;
    return leave(0);
}

EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction f)
{
    ENTER(true);
    (void)f;
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024
             : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS            ? 16
                                                                  : 0;
    return leave(0);
}

EXPORT CUresult cuFuncSetAttribute(CUfunction f, int attribute, int value)
{
    ENTER(true);
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > 232448)
        return leave(CUDA_ERROR_INVALID_VALUE);
    f->opted = value;
    return leave(0);
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction f,
                                                            int threads, size_t shared)
{
    ENTER(true);
    (void)f;
    int by_threads = 2048 / threads, by_shared = shared ? (int)(233472 / (shared + 1024)) : 32;
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    *blocks = *blocks < 32 ? *blocks : 32;
    return leave(0);
}

EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                               unsigned by, unsigned bz, unsigned shared, CUstream s,
                               void **params, void **extra)
{
    ENTER(true);
    size_t bytes = 0, at = 0;
    unsigned most = f->opted > 49152 ? (unsigned)f->opted : 49152;
    if (extra || !gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 ||
        shared > most || f->module->dead || f->module->context != s->context)
        return leave(CUDA_ERROR_INVALID_VALUE);
    for (int i = 0; i < f->nparams; i++)
        bytes += (f->bytes[i] + 15) & ~(size_t)15;
    op o = {.kind = LAUNCH, .function = f, .blocks = gx, .threads = bx, .shared = shared};
    o.params = take(bytes);
    for (int i = 0; i < f->nparams; i++) {
        memcpy(o.params + at, params[i], f->bytes[i]);
        at += (f->bytes[i] + 15) & ~(size_t)15;
    }
    return leave(queue(s, o));
}

EXPORT CUresult cuLinkCreate_v2(unsigned n, int *options, void **values, CUlinkState *l)
{
    ENTER(true);
    *l = take(sizeof **l);
    for (unsigned i = 0; i < n; i++)
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
            (*l)->log = values[i];
    live[STANDIN_LINK]++;
    return leave(0);
}

EXPORT CUresult cuLinkAddData_v2(CUlinkState l, int type, void *data, size_t bytes,
                                 const char *name, unsigned n, int *options, void **values)
{
    ENTER(true);
    (void)name, (void)n, (void)options, (void)values;
    if (type != CU_JIT_INPUT_PTX || ((char *)data)[bytes - 1] || !is_ptx(data)) {
        if (l->log)
            strcpy(l->log, "ptxas stand-in: not PTX");
        return leave(INVALID_PTX);
    }
    l->ptx = take(sizeof magic + bytes);
    strcpy(l->ptx, magic);
    strcat(l->ptx, data);
    return leave(0);
}

EXPORT CUresult cuLinkComplete(CUlinkState l, void **cubin, size_t *bytes)
{
    ENTER(true);
    *cubin = l->ptx;
    *bytes = strlen(l->ptx) + 1;
    return leave(0);
}

EXPORT CUresult cuLinkDestroy(CUlinkState l)
{
    ENTER(true);
    free(l->ptx);
    free(l);
    live[STANDIN_LINK]--;
    return leave(0);
}

/* ---- graphs ------------------------------------------------------------------------- */

EXPORT CUresult cuStreamBeginCapture_v2(CUstream s, int mode)
{
    ENTER(true);
    if (s->recorded || mode != CU_STREAM_CAPTURE_MODE_RELAXED)
        return leave(CUDA_ERROR_INVALID_VALUE);
    s->recorded = take(sizeof *s->recorded);
    s->recorded->streams[s->recorded->nstreams++] = s;
    s->invalid = s->joined = false;
    live[STANDIN_GRAPH]++;
    return leave(0);
}

static void drop_graph(CUgraph graph)
{
    drop_ops(&graph->list);
    free(graph);
    live[STANDIN_GRAPH]--;
}

static void mark_before(const CUgraph graph, const int *heads, int n, bool *seen)
{
    for (int i = 0; i < n; i++)
        if (!seen[heads[i]]) {
            const op *o = &graph->list.at[heads[i]];
            seen[heads[i]] = true;
            mark_before(graph, o->after, o->nafter, seen);
        }
}

/* Does all that was recorded come before the end of this stream? */
static bool all_joined(const CUgraph graph, CUstream s)
{
    bool *seen = calloc(graph->list.n + 1, 1), all = true;
    if (!seen)
        abort();
    mark_before(graph, s->heads, s->nheads, seen);
    for (size_t i = 0; i < graph->list.n; i++)
        all = all && seen[i];
    free(seen);
    return all;
}

/* Even a failed one ends the recording. */
EXPORT CUresult cuStreamEndCapture(CUstream s, CUgraph *graph)
{
    CUresult r = enter(__func__, true);
    if (r)
        pthread_mutex_lock(&lock);
    *graph = s->recorded;
    if (!r && (!*graph || s->joined))
        r = CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; *graph && i < (*graph)->nstreams; i++)
        if (!r && (*graph)->streams[i]->invalid)
            r = CAPTURE_INVALIDATED;
    if (!r && !all_joined(*graph, s))
        r = CAPTURE_UNJOINED;
    for (int i = 0; *graph && i < (*graph)->nstreams; i++) {
        CUstream t = (*graph)->streams[i];
        t->recorded = NULL;
        t->joined = false;
        t->nheads = 0;
    }
    if (r && *graph) {
        drop_graph(*graph);
        *graph = NULL;
    }
    return leave(r);
}

EXPORT CUresult cuGraphGetNodes(CUgraph graph, void **nodes, size_t *n)
{
    ENTER(true);
    (void)nodes;
    *n = graph->list.n;
    return leave(0);
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph,
                                            unsigned long long flags)
{
    ENTER(true);
    (void)flags;
    *exec = take(sizeof **exec);
    (*exec)->context = current;
    /* In the order that is right and least expected: always the last that may run. */
    size_t n = graph->list.n;
    bool *done = calloc(n + 1, 1);
    for (size_t left = n; done && left; left--) {
        size_t i = n;
        bool ready = false;
        while (!ready) {
            const op *o = &graph->list.at[--i];
            ready = !done[i];
            for (int k = 0; k < o->nafter; k++)
                ready = ready && done[o->after[k]];
        }
        done[i] = true;
        push(&(*exec)->list, copy_op(&graph->list.at[i]));
    }
    free(done);
    live[STANDIN_EXEC]++;
    return leave(0);
}

EXPORT CUresult cuGraphUpload(CUgraphExec exec, CUstream s)
{
    ENTER(true);
    (void)exec, (void)s;
    return leave(0);
}

EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream s)
{
    ENTER(true);
    for (size_t i = 0; i < exec->list.n; i++)
        queue(s, copy_op(&exec->list.at[i]));
    return leave(0);
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    ENTER(false);
    drop_ops(&exec->list);
    free(exec);
    live[STANDIN_EXEC]--;
    return leave(0);
}

EXPORT CUresult cuGraphDestroy(CUgraph graph)
{
    ENTER(false);
    drop_graph(graph);
    return leave(0);
}

/* ---- what tests ask and tell -------------------------------------------------------- */

#define X(type, name, parameters) EXPORT type name parameters;
STANDIN_CONTROLS(X)
#undef X

#define LOCKED(type, value)                                                                    \
    do {                                                                                       \
        pthread_mutex_lock(&lock);                                                             \
        type result = value;                                                                   \
        pthread_mutex_unlock(&lock);                                                           \
        return result;                                                                         \
    } while (0)

void standin_on_launch(standin_kernel *run, void *ctx)
{
    pthread_mutex_lock(&lock);
    kernel = run;
    kernel_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void standin_fail_at(long n, int code)
{
    pthread_mutex_lock(&lock);
    fail_at = n;
    fail_code = code;
    failed_name = NULL;
    pthread_mutex_unlock(&lock);
}

const char *standin_failed(void) { LOCKED(const char *, failed_name); }

void standin_fault_at(long n)
{
    pthread_mutex_lock(&lock);
    fault_at = n;
    pthread_mutex_unlock(&lock);
}

void standin_limit(size_t bytes)
{
    pthread_mutex_lock(&lock);
    configure();
    memory = bytes;
    pthread_mutex_unlock(&lock);
}

int standin_call(void *stream, bool (*call)(void *ctx), const void *ctx, size_t bytes)
{
    ENTER(true);
    op o = {.kind = CALL, .call = call, .host = take(bytes), .owned = true, .bytes = bytes};
    memcpy(o.host, ctx, bytes);
    return leave(queue(stream, o));
}

bool standin_lives(const void *at, size_t bytes) /* inside a call, with the lock */
{
    return host_of((CUdeviceptr)(uintptr_t)at, bytes);
}

long standin_calls(void) { LOCKED(long, calls); }

long standin_count(const char *name)
{
    long n = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < NAMES && counts[i].name; i++)
        if (!strcmp(counts[i].name, name))
            n = counts[i].n;
    pthread_mutex_unlock(&lock);
    return n;
}

long standin_live(standin_kind kind) { LOCKED(long, live[kind]); }

size_t standin_bytes(int device) { LOCKED(size_t, contexts[device].used); }

char *standin_host(const void *at) { LOCKED(char *, host_of((CUdeviceptr)(uintptr_t)at, 1)); }

bool standin_is_device(const void *at)
{
    LOCKED(bool, context_of((CUdeviceptr)(uintptr_t)at) != NULL);
}
