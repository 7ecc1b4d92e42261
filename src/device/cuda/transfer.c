/* transfer.c - bytes to the device, from it, and on it
 *
 * needs   device.c
 * gives   fr__gpu_upload, fr__gpu_download, fr__gpu_copy ...
 *
 * All host memory goes through pinned pieces of ours. Large transfers have two a direction: while one is
 * on its way the other is filled or emptied, by all threads of the pool. Small ones up have a ring of
 * slots, so that none waits for the one before. (The driver would copy pageable memory itself, but whether
 * before it returns depends on the machine.) Pieces are made at the first transfer that wants them;
 * without them, when no memory can be pinned, the driver copies and we wait.
 */
#include "device/cuda/gpu.h"

#include "base/pool.h"

enum {
#ifdef FERRULE_HARD
    PIECE = 64 << 10,
#else
    PIECE = 4 << 20,
#endif
    PIECES = 2,
    SMALL = 64 << 10, /* up to this a transfer is small */
    SLOTS = 16,
    GRAIN = 512 << 10 /* that one thread copies */
};

typedef struct pieces {
    pthread_mutex_t lock;
    int n, next;
    size_t bytes; /* of each */
    char *at;     /* one allocation */
    CUevent done[SLOTS];
    bool ready;
} pieces;

struct fr__gpu_staging {
    pieces small, up, down;
};

int fr__gpu_staging_new(fr__gpu *g)
{
    struct fr__gpu_staging *s = fr__calloc(1, sizeof *s);
    if (!s)
        return -1;
    s->small = (pieces){.n = SLOTS, .bytes = SMALL};
    s->up = s->down = (pieces){.n = PIECES, .bytes = PIECE};
    pthread_mutex_init(&s->small.lock, NULL);
    pthread_mutex_init(&s->up.lock, NULL);
    pthread_mutex_init(&s->down.lock, NULL);
    g->staging = s;
    return 0;
}

/* Under their lock. False: there are none, and no error; they are tried again next time. */
static bool have_pieces(pieces *p)
{
    void *at = p->at;
    if (FR__LIKELY(p->ready))
        return true;
    if (!at && fr__cuda.cuMemHostAlloc(&at, (size_t)p->n * p->bytes, CU_MEMHOSTALLOC_PORTABLE))
        return false;
    p->at = at;
    for (int i = 0; i < p->n; i++)
        if (!p->done[i] && fr__cuda.cuEventCreate(&p->done[i], CU_EVENT_DISABLE_TIMING)) {
            p->done[i] = NULL;
            return false;
        }
    p->ready = true;
    return true;
}

typedef struct move {
    char *to;
    const char *from;
} move;

static void copy_part(void *ctx, int64_t begin, int64_t end, int thread)
{
    const move *m = ctx;
    (void)thread;
    memcpy(m->to + begin, m->from + begin, (size_t)(end - begin));
}

static void copy_host(char *to, const char *from, size_t bytes)
{
    move m = {to, from};
    fr__pool_run((int64_t)bytes, GRAIN, copy_part, &m);
}

/* ---- up ----------------------------------------------------------------------------- */

static int up_by_pieces(fr__gpu_stream *s, pieces *p, CUdeviceptr to, const char *from,
                        size_t bytes)
{
    for (size_t at = 0; at < bytes; at += p->bytes) {
        int k = p->next;
        size_t n = bytes - at < p->bytes ? bytes - at : p->bytes;
        char *piece = p->at + (size_t)k * p->bytes;
        /* What used this piece before may have been another stream's transfer. */
        if (FR__GPU(s->gpu, s, cuEventSynchronize, (p->done[k])))
            return -1;
        copy_host(piece, from + at, n);
        if (FR__GPU(s->gpu, s, cuMemcpyHtoDAsync, (to + at, piece, n, s->handle)))
            return -1;
        if (FR__GPU(s->gpu, s, cuEventRecord, (p->done[k], s->handle))) {
            fr__cuda.cuStreamSynchronize(s->handle); /* nothing tells when the piece is free */
            return -1;
        }
        p->next = (k + 1) % p->n;
    }
    return 0;
}

static int up_by_driver(fr__gpu_stream *s, CUdeviceptr to, const void *from, size_t bytes)
{
    return FR__GPU(s->gpu, s, cuMemcpyHtoDAsync, (to, from, bytes, s->handle)) ||
                   FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle))
               ? -1
               : 0;
}

int fr__gpu_upload(fr__gpu_stream *s, char *to, const void *from, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_not_recording(s, "an upload") || fr__gpu_enter(s->gpu, &back))
        return -1;
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)to;
    pieces *p = bytes <= SMALL ? &s->gpu->staging->small : &s->gpu->staging->up;
    pthread_mutex_lock(&p->lock);
    int bad =
        have_pieces(p) ? up_by_pieces(s, p, at, from, bytes) : up_by_driver(s, at, from, bytes);
    pthread_mutex_unlock(&p->lock);
    fr__gpu_leave(back);
    return bad;
}

/* ---- down --------------------------------------------------------------------------- */

static char *piece_at(const pieces *p, size_t k) { return p->at + k % (size_t)p->n * p->bytes; }

static size_t piece_bytes(const pieces *p, size_t k, size_t bytes)
{
    size_t at = k * p->bytes;
    return bytes - at < p->bytes ? bytes - at : p->bytes;
}

static int start_down(fr__gpu_stream *s, pieces *p, size_t k, CUdeviceptr from, size_t bytes)
{
    return FR__GPU(
               s->gpu, s, cuMemcpyDtoHAsync,
               (piece_at(p, k), from + k * p->bytes, piece_bytes(p, k, bytes), s->handle)) ||
                   FR__GPU(s->gpu, s, cuEventRecord, (p->done[k % (size_t)p->n], s->handle))
               ? -1
               : 0;
}

static int down_by_pieces(fr__gpu_stream *s, pieces *p, char *to, CUdeviceptr from,
                          size_t bytes)
{
    size_t count = (bytes + p->bytes - 1) / p->bytes, ahead = (size_t)p->n;
    int bad = 0;
    for (size_t k = 0; k < ahead && k < count && !bad; k++)
        bad = start_down(s, p, k, from, bytes);
    for (size_t k = 0; k < count && !bad; k++) {
        bad = FR__GPU(s->gpu, s, cuEventSynchronize, (p->done[k % ahead]));
        if (bad)
            break;
        copy_host(to + k * p->bytes, piece_at(p, k), piece_bytes(p, k, bytes));
        if (k + ahead < count)
            bad = start_down(s, p, k + ahead, from, bytes);
    }
    if (bad) /* the next transfer finds the pieces at rest */
        fr__cuda.cuStreamSynchronize(s->handle);
    return bad;
}

static int down_by_driver(fr__gpu_stream *s, void *to, CUdeviceptr from, size_t bytes)
{
    return FR__GPU(s->gpu, s, cuMemcpyDtoHAsync, (to, from, bytes, s->handle)) ||
                   FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle))
               ? -1
               : 0;
}

int fr__gpu_download(fr__gpu_stream *s, void *to, const char *from, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_not_recording(s, "a download") || fr__gpu_enter(s->gpu, &back))
        return -1;
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)from;
    int bad;
    if (bytes <= SMALL) { /* waits in any case */
        bad = down_by_driver(s, to, at, bytes);
    } else {
        pieces *p = &s->gpu->staging->down;
        pthread_mutex_lock(&p->lock);
        bad = have_pieces(p) ? down_by_pieces(s, p, to, at, bytes)
                             : down_by_driver(s, to, at, bytes);
        pthread_mutex_unlock(&p->lock);
    }
    fr__gpu_leave(back);
    return bad;
}

/* ---- on the device ------------------------------------------------------------------ */

int fr__gpu_copy(fr__gpu_stream *s, char *to, const char *from, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad =
        FR__GPU(s->gpu, s, cuMemcpyDtoDAsync,
                ((CUdeviceptr)(uintptr_t)to, (CUdeviceptr)(uintptr_t)from, bytes, s->handle));
    fr__gpu_leave(back);
    return bad;
}

int fr__gpu_fill(fr__gpu_stream *s, char *to, unsigned char byte, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad = FR__GPU(s->gpu, s, cuMemsetD8Async,
                      ((CUdeviceptr)(uintptr_t)to, byte, bytes, s->handle));
    fr__gpu_leave(back);
    return bad;
}

int fr__gpu_zero(fr__gpu_stream *s, char *to, size_t bytes)
{
    return fr__gpu_fill(s, to, 0, bytes);
}

/* Once a pair, and only for speed: without it the driver goes through the host. */
static void reach_peer(fr__gpu *g, fr__gpu *peer)
{
    uint64_t bit = (uint64_t)1 << peer->info.index;
    int can = 0;
    if (atomic_fetch_or(&g->peers, bit) & bit)
        return;
    if (!fr__cuda.cuDeviceCanAccessPeer(&can, g->device, peer->device) && can)
        fr__cuda.cuCtxEnablePeerAccess(peer->context, 0);
}

int fr__gpu_copy_peer(fr__gpu_stream *s, char *to, fr__gpu *from_gpu, const char *from,
                      size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (from_gpu == s->gpu)
        return fr__gpu_copy(s, to, from, bytes);
    if (fr__gpu_lost(from_gpu))
        return fr__fail_int(FR__E_DEVICE, "gpu %d was lost by an earlier fault: %s",
                            from_gpu->info.index, from_gpu->fault);
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    reach_peer(s->gpu, from_gpu);
    int bad = FR__GPU(s->gpu, s, cuMemcpyPeerAsync,
                      ((CUdeviceptr)(uintptr_t)to, s->gpu->context,
                       (CUdeviceptr)(uintptr_t)from, from_gpu->context, bytes, s->handle));
    fr__gpu_leave(back);
    return bad;
}
