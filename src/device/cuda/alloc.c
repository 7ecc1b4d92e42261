/* alloc.c - memory on the device: cached blocks in the order of streams
 *
 * needs   device.c
 * gives   fr__gpu_alloc, fr__gpu_free, fr__gpu_used_by, fr__gpu_memory_of ...
 *
 * The driver's own allocation takes tens of microseconds and its free waits for the device, so what is
 * freed is kept. Segments from the driver are cut into blocks, each stream's from its own: a block
 * freed on a stream may be given out there at once, since what uses it next is queued behind what used it
 * before. Neighbours that are free become one.
 *
 *   small   up to 1 MiB, from segments of 2 MiB, in steps of 256 bytes
 *   large   in steps of 128 KiB, from segments of 20 MiB; from 10 MiB on segments of their own size
 *
 * Free blocks stand in bins, eight a power of two; the smallest bin that has one is found by two bit
 * masks. What was freed lately stays as it is, unmerged and known by its address, so that a program called
 * again finds its results' memory where it was; it is merged when nothing else fits. A block that another stream uses waits, freed, in a list until the events that were recorded
 * then have passed. While a stream records nothing of its segments goes back to the driver: the graph
 * has their addresses.
 */
#include "device/cuda/gpu.h"

#include <stdio.h>

enum {
#ifdef FERRULE_HARD
    SMALL_MAX = 16 << 10,
    SEGMENT = 64 << 10,
    LARGE_STEP = 4 << 10,
    LARGE_SEGMENT = 256 << 10,
#else
    SMALL_MAX = 1 << 20,
    SEGMENT = 2 << 20,
    LARGE_STEP = 128 << 10,
    LARGE_SEGMENT = 20 << 20,
#endif
    OWN_SEGMENT = LARGE_SEGMENT / 2,
    SMALL_STEP = 256,
    POWERS = 64 - 8,
    LOOKS = 8,  /* blocks of a bin that are looked at for one that fits exactly */
    POLLS = 4,  /* waiting blocks that an alloc asks about when it has found one */
    CHUNK = 64, /* blocks' records from one allocation */
#ifdef FERRULE_HARD
    RECENT = 2,
#else
    RECENT = 1 << 15, /* blocks that stay unmerged */
#endif
};

typedef struct use { /* of a block by a stream that isn't its own */
    fr__gpu_stream *stream;
    CUevent event;
    bool recorded;
    struct use *next;
} use;

typedef enum block_state { ACTIVE, FREE, FREE_LATELY, WAITING } block_state;

typedef struct block {
    char *at;
    size_t bytes;
    fr__gpu_stream *owner;
    struct pool *pool;
    struct block *before, *after; /* neighbours in the segment */
    struct block *next, **link;   /* of its bin, or of those that wait */
    struct block *chain;          /* active and lately freed ones of its hash */
    struct block *idle_next,
        *idle_prev; /* whole segments that are free, or lately freed blocks:
                                            oldest first */
    use *uses;
    block_state state;
} block;

typedef struct pool {
    uint64_t powers;         /* bit p: some bin of 2^(p+8) has blocks */
    uint8_t eighths[POWERS]; /* bit k: this one */
    block *bin[POWERS][8];
} pool;

typedef struct stream_pools {
    pool small, large;
} stream_pools;

typedef struct list {
    block *first, *last;
} list;

struct fr__gpu_heap {
    pthread_mutex_t lock;
    stream_pools *of[FR__GPU_STREAMS];
    block **table; /* by address */
    size_t room, entries;
    block *records; /* to be used */
    use *uses;      /* with events of this device, to be used */
    block *waiting, **waiting_end;
    list idle, lately;
    int nlately;
    size_t active, peak, held, limit,
        most; /* held: from the driver, `most` at most; limit: cached */
};

int fr__gpu_heap_new(fr__gpu *g)
{
    struct fr__gpu_heap *h = fr__calloc(1, sizeof *h);
    block **table = fr__calloc(256, sizeof *table);
    if (!h || !table) {
        fr__free(h);
        fr__free(table);
        return -1;
    }
    pthread_mutex_init(&h->lock, NULL);
    h->table = table;
    h->room = 256;
    h->waiting_end = &h->waiting;
    h->limit = h->most = g->info.memory;
    g->heap = h;
    return 0;
}

/* ---- blocks by their address -------------------------------------------------------- */

static size_t slot(const struct fr__gpu_heap *h, const char *at)
{
    return (size_t)(((uint64_t)(uintptr_t)at >> 8) * 0x9e3779b97f4a7c15u >> 20) & (h->room - 1);
}

/* Without memory for a larger table the chains get longer. */
static void grow_table(struct fr__gpu_heap *h)
{
    fr__saved_error e;
    fr__error_save(&e);
    struct fr__gpu_heap larger = {.room = 2 * h->room};
    larger.table = fr__calloc(larger.room, sizeof *larger.table);
    fr__error_restore(&e);
    if (!larger.table)
        return;
    for (size_t i = 0; i < h->room; i++)
        for (block *b = h->table[i], *next; b; b = next) {
            next = b->chain;
            block **to = &larger.table[slot(&larger, b->at)];
            b->chain = *to;
            *to = b;
        }
    fr__free(h->table);
    h->table = larger.table;
    h->room = larger.room;
}

static void enter_table(struct fr__gpu_heap *h, block *b)
{
    if (++h->entries > h->room)
        grow_table(h);
    block **to = &h->table[slot(h, b->at)];
    b->chain = *to;
    *to = b;
}

static block *find_known(const struct fr__gpu_heap *h, const char *at)
{
    for (block *b = h->table[slot(h, at)]; b; b = b->chain)
        if (b->at == at)
            return b;
    return NULL;
}

static block *find_active(const struct fr__gpu_heap *h, const char *at)
{
    block *b = find_known(h, at);
    return b && b->state == ACTIVE ? b : NULL;
}

static void leave_table(struct fr__gpu_heap *h, block *b)
{
    block **p = &h->table[slot(h, b->at)];
    while (*p != b)
        p = &(*p)->chain;
    *p = b->chain;
    h->entries--;
}

/* ---- records of blocks -------------------------------------------------------------- */

static bool more_records(struct fr__gpu_heap *h)
{
    fr__saved_error e;
    fr__error_save(&e);                              /* most can do without */
    block *chunk = fr__calloc(CHUNK, sizeof *chunk); /* kept for ever */
    fr__error_restore(&e);
    for (int i = 0; chunk && i < CHUNK; i++) {
        chunk[i].next = h->records;
        h->records = &chunk[i];
    }
    return chunk;
}

static block *new_record(struct fr__gpu_heap *h)
{
    if (FR__UNLIKELY(!h->records) && !more_records(h))
        return NULL;
    block *b = h->records;
    h->records = b->next;
    *b = (block){0};
    return b;
}

static void drop_record(struct fr__gpu_heap *h, block *b)
{
    b->next = h->records;
    h->records = b;
}

/* ---- bins --------------------------------------------------------------------------- */

static void bin_of(size_t bytes, int *power, int *eighth)
{
    int p = 63 - __builtin_clzll(bytes);
    *power = p - 8;
    *eighth = (int)(bytes >> (p - 3)) & 7;
}

static void bin_add(block *b)
{
    int p, k;
    bin_of(b->bytes, &p, &k);
    block **to = &b->pool->bin[p][k];
    b->next = *to;
    if (*to)
        (*to)->link = &b->next;
    b->link = to;
    *to = b;
    b->pool->powers |= (uint64_t)1 << p;
    b->pool->eighths[p] |= (uint8_t)(1 << k);
}

static void bin_remove(block *b)
{
    int p, k;
    bin_of(b->bytes, &p, &k);
    *b->link = b->next;
    if (b->next)
        b->next->link = b->link;
    if (b->pool->bin[p][k])
        return;
    b->pool->eighths[p] &= (uint8_t) ~(1 << k);
    if (!b->pool->eighths[p])
        b->pool->powers &= ~((uint64_t)1 << p);
}

/* One that is large enough: of its own bin best exactly; else the first of the next bin that has any. */
static block *bin_find(const pool *p, size_t bytes)
{
    int power, eighth, looks = LOOKS;
    block *fits = NULL;
    bin_of(bytes, &power, &eighth);
    for (block *b = p->bin[power][eighth]; b && looks--; b = b->next) {
        if (b->bytes == bytes)
            return b;
        if (b->bytes > bytes && (!fits || b->bytes < fits->bytes))
            fits = b;
    }
    if (fits)
        return fits;
    unsigned larger = p->eighths[power] & ~((2u << eighth) - 1);
    if (!larger) {
        uint64_t powers = p->powers & ~(((uint64_t)2 << power) - 1);
        if (!powers)
            return NULL;
        power = __builtin_ctzll(powers);
        larger = p->eighths[power];
    }
    return p->bin[power][__builtin_ctz(larger)];
}

/* ---- free blocks -------------------------------------------------------------------- */

static bool whole(const block *b) { return !b->before && !b->after; }

static void list_add(list *l, block *b)
{
    b->idle_next = NULL;
    b->idle_prev = l->last;
    if (l->last)
        l->last->idle_next = b;
    else
        l->first = b;
    l->last = b;
}

static void list_remove(list *l, block *b)
{
    if (b->idle_prev)
        b->idle_prev->idle_next = b->idle_next;
    else
        l->first = b->idle_next;
    if (b->idle_next)
        b->idle_next->idle_prev = b->idle_prev;
    else
        l->last = b->idle_prev;
}

/* One freed lately stays in the table. */
static void take_free(struct fr__gpu_heap *h, block *b)
{
    bin_remove(b);
    if (b->state == FREE_LATELY) {
        list_remove(&h->lately, b);
        h->nlately--;
    } else if (whole(b)) {
        list_remove(&h->idle, b);
    }
}

/* Into the bins, one with its free neighbours. */
static void put_free(struct fr__gpu_heap *h, block *b)
{
    block *n = b->after;
    if (n && n->state == FREE) {
        bin_remove(n);
        b->bytes += n->bytes;
        b->after = n->after;
        if (b->after)
            b->after->before = b;
        drop_record(h, n);
    }
    n = b->before;
    if (n && n->state == FREE) {
        bin_remove(n);
        n->bytes += b->bytes;
        n->after = b->after;
        if (n->after)
            n->after->before = n;
        drop_record(h, b);
        b = n;
    }
    b->state = FREE;
    bin_add(b);
    if (whole(b))
        list_add(&h->idle, b);
}

static void merge_lately(struct fr__gpu_heap *h, int keep)
{
    while (h->nlately > keep) {
        block *b = h->lately.first;
        take_free(h, b);
        leave_table(h, b);
        put_free(h, b);
    }
}

/* As it is, for whoever wants it again. It is in the table, as it was when it was active. */
static void put_lately(struct fr__gpu_heap *h, block *b)
{
    b->state = FREE_LATELY;
    bin_add(b);
    list_add(&h->lately, b);
    h->nlately++;
    merge_lately(h, RECENT);
}

/* What is more than was asked for goes back, where that is worth a block. */
static void cut(struct fr__gpu_heap *h, block *b, size_t bytes)
{
    size_t step = b->pool == &h->of[b->owner->number]->small ? SMALL_STEP : LARGE_STEP;
    block *rest = b->bytes - bytes < step ? NULL : new_record(h);
    if (!rest)
        return;
    rest->at = b->at + bytes;
    rest->bytes = b->bytes - bytes;
    rest->owner = b->owner;
    rest->pool = b->pool;
    rest->before = b;
    rest->after = b->after;
    if (rest->after)
        rest->after->before = rest;
    b->after = rest;
    b->bytes = bytes;
    rest->state = FREE;
    bin_add(rest);
}

/* ---- blocks that other streams use -------------------------------------------------- */

static void drop_use(fr__gpu *g, use *u)
{
    if (u->stream->gpu == g && u->event) {
        u->recorded = false;
        u->next = g->heap->uses;
        g->heap->uses = u;
        return;
    }
    if (u->event)
        fr__cuda.cuEventDestroy(u->event);
    fr__free(u);
}

static use *new_use(fr__gpu *g, fr__gpu_stream *s)
{
    CUcontext back;
    use *u = g == s->gpu ? g->heap->uses : NULL;
    if (u) {
        g->heap->uses = u->next;
        u->stream = s;
        return u;
    }
    u = fr__calloc(1, sizeof *u);
    if (!u || fr__gpu_enter(s->gpu, &back)) {
        fr__free(u);
        return NULL;
    }
    u->stream = s;
    int bad = FR__GPU(s->gpu, s, cuEventCreate, (&u->event, CU_EVENT_DISABLE_TIMING));
    fr__gpu_leave(back);
    if (!bad)
        return u;
    fr__free(u);
    return NULL;
}

static int add_use(fr__gpu *g, block *b, fr__gpu_stream *s)
{
    if (s == b->owner)
        return 0;
    for (use *u = b->uses; u; u = u->next)
        if (u->stream == s)
            return 0;
    use *u = new_use(g, s);
    if (!u)
        return -1;
    u->next = b->uses;
    b->uses = u;
    return 0;
}

/* At the block's free; later where that can't be: while the stream records, or when the driver
 * refuses. */
static void record(use *u)
{
    CUcontext back;
    fr__gpu_stream *s = u->stream;
    if (u->recorded || atomic_load(&s->recording) || !fr__gpu_enter_quietly(s->gpu, &back))
        return;
    u->recorded = !fr__cuda.cuEventRecord(u->event, s->handle);
    fr__gpu_leave(back);
}

static bool passed(use *u)
{
    CUcontext back;
    fr__gpu *g = u->stream->gpu;
    if (fr__gpu_lost(g)) /* nothing runs there any more */
        return true;
    record(u);
    if (!u->recorded || !fr__gpu_enter_quietly(g, &back))
        return false;
    CUresult r = fr__cuda.cuEventQuery(u->event);
    fr__gpu_leave(back);
    return !r || fr__cuda_fatal(r);
}

static bool all_passed(fr__gpu *g, block *b)
{
    while (b->uses && passed(b->uses)) {
        use *u = b->uses;
        b->uses = u->next;
        drop_use(g, u);
    }
    return !b->uses;
}

static void wait_free(struct fr__gpu_heap *h, block *b)
{
    b->state = WAITING;
    b->next = NULL;
    b->link = h->waiting_end;
    *h->waiting_end = b;
    h->waiting_end = &b->next;
}

/* Asks about the `most` oldest of those that wait. */
static void poll_waiting(fr__gpu *g, int most)
{
    struct fr__gpu_heap *h = g->heap;
    for (block *b = h->waiting, *next; b && most--; b = next) {
        next = b->next;
        if (!all_passed(g, b))
            continue;
        *b->link = next;
        if (next)
            next->link = b->link;
        else
            h->waiting_end = b->link;
        put_free(h, b);
    }
}

/* ---- segments ----------------------------------------------------------------------- */

/* What is queued has ended, and the context is current. */
static void release(struct fr__gpu_heap *h, block *b)
{
    take_free(h, b);
    fr__cuda.cuMemFree((CUdeviceptr)(uintptr_t)b->at);
    h->held -= b->bytes;
    drop_record(h, b);
}

/* Oldest first, until no more than `keep` bytes are cached. */
static void release_idle(fr__gpu *g, size_t keep)
{
    struct fr__gpu_heap *h = g->heap;
    fr__gpu_stream *waited = NULL;
    merge_lately(h, 0);
    for (block *b = h->idle.first, *next; b && h->held - h->active > keep; b = next) {
        next = b->idle_next;
        if (atomic_load(&b->owner->recording))
            continue;
        if (b->owner != waited)
            fr__cuda.cuStreamSynchronize(b->owner->handle);
        waited = b->owner;
        release(h, b);
    }
}

/* Everything that can be had back. */
static void release_all(fr__gpu *g)
{
    fr__saved_error e;
    fr__error_save(&e);
    fr__gpu_drain(g);
    poll_waiting(g, INT32_MAX);
    release_idle(g, 0);
    fr__error_restore(&e);
}

static const char *show(char text[24], size_t bytes)
{
    static const char units[] = "KMGTPE";
    double v = (double)bytes;
    int u = -1;
    for (; v >= 1000 && u < 5; u++)
        v /= 1024;
    if (u < 0)
        snprintf(text, 24, "%zu B", bytes);
    else
        snprintf(text, 24, "%.*f %ciB", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[u]);
    return text;
}

static void *out_of_memory(fr__gpu *g, size_t bytes)
{
    struct fr__gpu_heap *h = g->heap;
    char asked[24], active[24], cached[24], total[24];
    return fr__fail(FR__E_MEMORY,
                    "gpu %d: out of memory: %s asked for, %s active, %s cached, %s in all",
                    g->info.index, show(asked, bytes), show(active, h->active),
                    show(cached, h->held - h->active),
                    show(total, h->most < g->info.memory ? h->most : g->info.memory));
}

static CUresult ask_once(fr__gpu *g, CUdeviceptr *at, size_t bytes)
{
    struct fr__gpu_heap *h = g->heap;
    return bytes > h->most || h->held > h->most - bytes ? CUDA_ERROR_OUT_OF_MEMORY
                                                        : fr__cuda.cuMemAlloc(at, bytes);
}

/* Tried with what a segment usually has, then, the cache emptied, with that and with what is needed. */
static CUdeviceptr ask_driver(fr__gpu *g, size_t *bytes, size_t least)
{
    CUdeviceptr at = 0;
    CUresult r = ask_once(g, &at, *bytes);
    if (r == CUDA_ERROR_OUT_OF_MEMORY) {
        release_all(g);
        r = ask_once(g, &at, *bytes);
    }
    if (r == CUDA_ERROR_OUT_OF_MEMORY && least < *bytes) {
        *bytes = least;
        r = ask_once(g, &at, *bytes);
    }
    if (!r)
        return at;
    if (r != CUDA_ERROR_OUT_OF_MEMORY) /* else fr__gpu_alloc knows what was asked for */
        fr__gpu_check(g, NULL, r, "cuMemAlloc");
    return 0;
}

static size_t segment_bytes(size_t bytes)
{
    if (bytes <= SMALL_MAX)
        return SEGMENT;
    if (bytes < OWN_SEGMENT)
        return LARGE_SEGMENT;
    return (bytes + SEGMENT - 1) & ~(size_t)(SEGMENT - 1);
}

/* A free block of a new segment, taken out already. */
static block *new_segment(fr__gpu_stream *s, pool *p, size_t bytes)
{
    fr__gpu *g = s->gpu;
    struct fr__gpu_heap *h = g->heap;
    CUcontext back;
    size_t room = segment_bytes(bytes);
    block *b = new_record(h);
    if (!b)
        return fr__fail(FR__E_MEMORY, "no memory for the record of a block");
    if (fr__gpu_enter(g, &back)) {
        drop_record(h, b);
        return NULL;
    }
    b->at = (char *)(uintptr_t)ask_driver(g, &room, bytes);
    fr__gpu_leave(back);
    if (!b->at) {
        drop_record(h, b);
        return NULL;
    }
    b->bytes = room;
    b->owner = s;
    b->pool = p;
    h->held += room;
    return b;
}

/* ---- the calls ---------------------------------------------------------------------- */

static bool round_up(size_t asked, size_t *bytes)
{
    size_t step = asked <= SMALL_MAX ? SMALL_STEP : LARGE_STEP;
    *bytes = ((asked ? asked : 1) + step - 1) & ~(step - 1);
    return asked <= SIZE_MAX / 2;
}

static pool *pool_of(fr__gpu_stream *s, size_t bytes)
{
    struct fr__gpu_heap *h = s->gpu->heap;
    stream_pools **p = &h->of[s->number];
    if (FR__UNLIKELY(!*p) && !(*p = fr__calloc(1, sizeof **p)))
        return NULL;
    return bytes <= SMALL_MAX ? &(*p)->small : &(*p)->large;
}

static block *find_block(fr__gpu_stream *s, pool *p, size_t bytes)
{
    fr__gpu *g = s->gpu;
    struct fr__gpu_heap *h = g->heap;
    if (FR__UNLIKELY(h->waiting))
        poll_waiting(g, POLLS);
    block *b = bin_find(p, bytes);
    if (h->nlately && (!b || (b->state == FREE_LATELY && b->bytes != bytes))) {
        merge_lately(h, 0);
        b = bin_find(p, bytes);
    }
    if (!b && h->waiting) {
        poll_waiting(g, INT32_MAX);
        b = bin_find(p, bytes);
    }
    if (FR__UNLIKELY(!b))
        return new_segment(s, p, bytes);
    take_free(h, b);
    return b;
}

/* The block at this address, if it was freed lately by this stream and is as large. */
static block *find_wanted(fr__gpu_stream *s, const char *want, size_t bytes)
{
    struct fr__gpu_heap *h = s->gpu->heap;
    block *b = find_known(h, want);
    if (!b || b->state != FREE_LATELY || b->owner != s || b->bytes != bytes)
        return NULL;
    take_free(h, b);
    return b;
}

/* Locked. */
static char *alloc(fr__gpu_stream *s, const fr__gpu_want *w)
{
    struct fr__gpu_heap *h = s->gpu->heap;
    size_t bytes;
    pool *p = round_up(w->bytes, &bytes) ? pool_of(s, bytes) : NULL;
    block *b = NULL;
    for (int i = 0; i < FR__COUNT(w->best) && p && !b && w->best[i]; i++)
        b = find_wanted(s, w->best[i], bytes);
    if (p && !b)
        b = find_block(s, p, bytes);
    if (!b)
        return fr__failed() ? NULL : out_of_memory(s->gpu, w->bytes);
    if (b->state != FREE_LATELY)
        enter_table(h, b);
    b->state = ACTIVE;
    cut(h, b, bytes);
    h->active += b->bytes;
    if (h->active > h->peak)
        h->peak = h->active;
    return b->at;
}

/* Records of many blocks are all over memory. */
static void fetch_ahead(const struct fr__gpu_heap *h, const fr__gpu_want *wants, int left)
{
    enum { AHEAD = 8 };
    if (left > 2 * AHEAD)
        __builtin_prefetch(&h->table[slot(h, wants[2 * AHEAD].best[0])]);
    if (left > AHEAD)
        __builtin_prefetch(h->table[slot(h, wants[AHEAD].best[0])], 1);
}

int fr__gpu_alloc_all(fr__gpu_stream *s, int n, fr__gpu_want *wants)
{
    CUcontext back;
    fr__gpu *g = s->gpu;
    int made = 0;
    if (FR__UNLIKELY(fr__cuda_forked() || fr__gpu_lost(g))) {
        if (!fr__gpu_enter(g, &back)) /* for its error */
            fr__gpu_leave(back);
        return -1;
    }
    pthread_mutex_lock(&g->heap->lock);
    for (; made < n; made++) {
        fetch_ahead(g->heap, &wants[made], n - made);
        if (!(wants[made].at = alloc(s, &wants[made])))
            break;
    }
    pthread_mutex_unlock(&g->heap->lock);
    if (made == n)
        return 0;
    while (made--)
        fr__gpu_free(s, wants[made].at, wants[made].bytes);
    return -1;
}

char *fr__gpu_alloc(fr__gpu_stream *s, size_t bytes)
{
    fr__gpu_want w = {.bytes = bytes};
    return fr__gpu_alloc_all(s, 1, &w) ? NULL : w.at;
}

/* The cache is over its limit. */
static void trim(fr__gpu *g)
{
    CUcontext back;
    if (!fr__gpu_enter_quietly(g, &back))
        return;
    release_idle(g, g->heap->limit);
    fr__gpu_leave(back);
}

void fr__gpu_free(fr__gpu_stream *s, char *at, size_t bytes)
{
    fr__gpu *g = s->gpu;
    struct fr__gpu_heap *h = g->heap;
    fr__saved_error e;
    (void)bytes;
    if (!at || fr__cuda_forked())
        return;
    pthread_mutex_lock(&h->lock);
    block *b = find_active(h, at);
    if (FR__LIKELY(b != NULL)) {
        __builtin_prefetch(b->after, 1); /* often the next that is freed */
        __builtin_prefetch(&h->table[slot(h, b->at + b->bytes)]);
        h->active -= b->bytes;
        if (FR__UNLIKELY(s != b->owner)) {
            fr__error_save(&e);
            if (add_use(g, b, s))
                fr__gpu_drain(g);
            fr__error_restore(&e);
        }
        for (use *u = b->uses; FR__UNLIKELY(u != NULL); u = u->next)
            record(u);
        if (FR__LIKELY(!b->uses) || all_passed(g, b))
            put_lately(h, b);
        else {
            leave_table(h, b);
            wait_free(h, b);
        }
        if (FR__UNLIKELY(h->held - h->active > h->limit))
            trim(g);
    }
    pthread_mutex_unlock(&h->lock);
}

int fr__gpu_used_by(fr__gpu *g, char *at, fr__gpu_stream *other)
{
    struct fr__gpu_heap *h = g->heap;
    if (fr__cuda_forked())
        return fr__fail_int(FR__E_DEVICE, "gpu %d: %s", g->info.index, fr__cuda_why());
    pthread_mutex_lock(&h->lock);
    block *b = find_active(h, at);
    int bad = b ? add_use(g, b, other) : 0;
    pthread_mutex_unlock(&h->lock);
    return bad;
}

bool fr__gpu_is_shared(fr__gpu *g, const char *at)
{
    struct fr__gpu_heap *h = g->heap;
    if (fr__cuda_forked())
        return true;
    pthread_mutex_lock(&h->lock);
    const block *b = find_active(h, at);
    bool is = !b || b->uses;
    pthread_mutex_unlock(&h->lock);
    return is;
}

fr__gpu_memory fr__gpu_memory_of(fr__gpu *g)
{
    struct fr__gpu_heap *h = g->heap;
    if (fr__cuda_forked())
        return (fr__gpu_memory){0};
    pthread_mutex_lock(&h->lock);
    fr__gpu_memory m = {h->active, h->peak, h->held - h->active, h->limit, h->most};
    pthread_mutex_unlock(&h->lock);
    return m;
}

void fr__gpu_reset_peak(fr__gpu *g)
{
    if (fr__cuda_forked())
        return;
    pthread_mutex_lock(&g->heap->lock);
    g->heap->peak = g->heap->active;
    pthread_mutex_unlock(&g->heap->lock);
}

size_t fr__gpu_set_cache_limit(fr__gpu *g, size_t bytes)
{
    struct fr__gpu_heap *h = g->heap;
    if (fr__cuda_forked())
        return 0;
    pthread_mutex_lock(&h->lock);
    size_t old = h->limit;
    h->limit = bytes;
    if (h->held - h->active > h->limit)
        trim(g);
    pthread_mutex_unlock(&h->lock);
    return old;
}

size_t fr__gpu_set_limit(fr__gpu *g, size_t bytes)
{
    struct fr__gpu_heap *h = g->heap;
    CUcontext back;
    if (fr__cuda_forked())
        return 0;
    pthread_mutex_lock(&h->lock);
    size_t old = h->most;
    h->most = bytes;
    if (h->held > h->most && fr__gpu_enter_quietly(g, &back)) {
        release_all(g);
        fr__gpu_leave(back);
    }
    pthread_mutex_unlock(&h->lock);
    return old;
}

void fr__gpu_clear_cache(fr__gpu *g)
{
    CUcontext back;
    if (fr__cuda_forked())
        return;
    pthread_mutex_lock(&g->heap->lock);
    if (fr__gpu_enter_quietly(g, &back)) {
        release_all(g);
        fr__gpu_leave(back);
    }
    pthread_mutex_unlock(&g->heap->lock);
}
