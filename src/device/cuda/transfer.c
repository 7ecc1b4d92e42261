/* transfer.c - bytes to the device, from it, and on it
 *
 * needs   device.c
 * gives   fr__gpu_upload, fr__gpu_download, fr__gpu_copy ...
 *
 * The driver moves pageable memory through a buffer of its own, one piece after the other. Ours are
 * two pinned pieces a direction: while one is on its way the other is filled or emptied, by all
 * threads of the pool. They are made at the first large transfer; without them (no memory to pin)
 * the driver copies.
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
    SMALL = 64 << 10, /* up to this the driver copies to its buffer and returns */
    GRAIN = 512 << 10 /* that one thread copies */
};

typedef struct direction {
    pthread_mutex_t lock;
    char *piece[PIECES];
    CUevent done[PIECES]; /* NULL: the pieces couldn't be made */
} direction;

struct fr__gpu_staging {
    direction up, down;
};

int fr__gpu_staging_new(fr__gpu *g)
{
    struct fr__gpu_staging *s = fr__calloc(1, sizeof *s);
    if (!s)
        return -1;
    pthread_mutex_init(&s->up.lock, NULL);
    pthread_mutex_init(&s->down.lock, NULL);
    g->staging = s;
    return 0;
}

int fr__gpu_not_recording(const fr__gpu_stream *s, const char *what)
{
    if (!atomic_load(&s->recording))
        return 0;
    return fr__fail_int(FR__E_DEVICE, "gpu %d: %s cannot be recorded", s->gpu->info.index,
                        what);
}

/* Under the direction's lock. False: no pieces, and no error; they are tried again next time. */
static bool have_pieces(direction *d)
{
    for (int i = 0; i < PIECES; i++) {
        void *at = d->piece[i];
        if (!at && fr__cuda.cuMemHostAlloc(&at, PIECE, CU_MEMHOSTALLOC_PORTABLE))
            return false;
        d->piece[i] = at;
        if (!d->done[i] && fr__cuda.cuEventCreate(&d->done[i], CU_EVENT_DISABLE_TIMING)) {
            d->done[i] = NULL;
            return false;
        }
    }
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

static int up_by_pieces(fr__gpu_stream *s, direction *d, CUdeviceptr to, const char *from,
                        size_t bytes)
{
    for (size_t at = 0, k = 0; at < bytes; at += PIECE, k = (k + 1) % PIECES) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        /* What used this piece before may have been another stream's transfer. */
        if (FR__GPU(s->gpu, s, cuEventSynchronize, (d->done[k])))
            return -1;
        copy_host(d->piece[k], from + at, n);
        if (FR__GPU(s->gpu, s, cuMemcpyHtoDAsync, (to + at, d->piece[k], n, s->handle)))
            return -1;
        if (FR__GPU(s->gpu, s, cuEventRecord, (d->done[k], s->handle))) {
            fr__cuda.cuStreamSynchronize(s->handle); /* nothing tells when the piece is free */
            return -1;
        }
    }
    return 0;
}

/* What the driver is given from pageable memory it may read after it returned. */
static int up_by_driver(fr__gpu_stream *s, CUdeviceptr to, const void *from, size_t bytes)
{
    if (FR__GPU(s->gpu, s, cuMemcpyHtoDAsync, (to, from, bytes, s->handle)))
        return -1;
    return bytes <= SMALL ? 0 : FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle));
}

int fr__gpu_upload(fr__gpu_stream *s, char *to, const void *from, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_not_recording(s, "an upload") || fr__gpu_enter(s->gpu, &back))
        return -1;
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)to;
    direction *d = &s->gpu->staging->up;
    int bad;
    if (bytes <= SMALL) {
        bad = up_by_driver(s, at, from, bytes);
    } else {
        pthread_mutex_lock(&d->lock);
        bad = have_pieces(d) ? up_by_pieces(s, d, at, from, bytes)
                             : up_by_driver(s, at, from, bytes);
        pthread_mutex_unlock(&d->lock);
    }
    fr__gpu_leave(back);
    return bad;
}

/* ---- down --------------------------------------------------------------------------- */

static int start_down(fr__gpu_stream *s, direction *d, size_t k, CUdeviceptr from, size_t bytes)
{
    size_t at = k * PIECE, n = bytes - at < PIECE ? bytes - at : PIECE;
    return FR__GPU(s->gpu, s, cuMemcpyDtoHAsync,
                   (d->piece[k % PIECES], from + at, n, s->handle)) ||
                   FR__GPU(s->gpu, s, cuEventRecord, (d->done[k % PIECES], s->handle))
               ? -1
               : 0;
}

static int down_by_pieces(fr__gpu_stream *s, direction *d, char *to, CUdeviceptr from,
                          size_t bytes)
{
    size_t pieces = (bytes + PIECE - 1) / PIECE;
    int bad = 0;
    for (size_t k = 0; k < PIECES && k < pieces && !bad; k++)
        bad = start_down(s, d, k, from, bytes);
    for (size_t k = 0; k < pieces && !bad; k++) {
        size_t at = k * PIECE, n = bytes - at < PIECE ? bytes - at : PIECE;
        bad = FR__GPU(s->gpu, s, cuEventSynchronize, (d->done[k % PIECES]));
        if (bad)
            break;
        copy_host(to + at, d->piece[k % PIECES], n);
        if (k + PIECES < pieces)
            bad = start_down(s, d, k + PIECES, from, bytes);
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
    direction *d = &s->gpu->staging->down;
    int bad;
    if (bytes <= SMALL) {
        bad = down_by_driver(s, to, at, bytes);
    } else {
        pthread_mutex_lock(&d->lock);
        bad = have_pieces(d) ? down_by_pieces(s, d, to, at, bytes)
                             : down_by_driver(s, to, at, bytes);
        pthread_mutex_unlock(&d->lock);
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

int fr__gpu_zero(fr__gpu_stream *s, char *to, size_t bytes)
{
    CUcontext back;
    if (!bytes)
        return 0;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad =
        FR__GPU(s->gpu, s, cuMemsetD8Async, ((CUdeviceptr)(uintptr_t)to, 0, bytes, s->handle));
    fr__gpu_leave(back);
    return bad;
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
