/* alloc.c - memory for array data: size classes, huge pages, a cache of freed blocks
 *
 * needs   base: errors, settings
 * gives   fr__data_alloc, fr__data_free, fr__memory_*
 *
 * Small (<= 32 KiB)   64-byte classes up to 4 KiB, then eight a power of two. Blocks are carved
 *                     from spans of 256 KiB, eight of which make a region of 2 MiB with its
 *                     span records in its first page, so a block's span is found by masking its
 *                     address. Each thread keeps lists of free blocks and trades them with the
 *                     spans in batches, under one lock.
 * Large               eight classes a power of two; each block is a mapping of its own with a
 *                     page more at the end. Freed blocks stay mapped in lists by class; beyond
 *                     the cache limit the ones freed longest ago are unmapped first.
 *
 * Accounting. `charged` is what counts against the limit: large blocks, in use or cached, and
 * small blocks that threads hold. `active` is what callers hold; cached is the difference.
 * A thread counts its small blocks by itself and adds that to `active` when it trades, so a
 * small allocation touches no shared cache line; fr__memory_get adds what is not yet told.
 *
 * Touching 512 MiB for the first time took 0.18 s in pages of 4 KiB and 0.026 s advised to use
 * huge pages (a warm pass: 0.015 s): so large blocks are advised, and nothing is touched ahead.
 *
 * Reading 64 bytes beyond a block: in a span it is the next block, or a tail that every span
 * has; after a large block it is the extra page (never touched, so it costs no memory).
 */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "base/base.h"
#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
/* The first 64 bytes of a free block hold its links, and may be read beyond the one before. */
#define POISON(p, bytes) ASAN_POISON_MEMORY_REGION((char *)(p) + 64, (bytes)-64)
#define UNPOISON(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#else
#define POISON(p, bytes) ((void)0)
#define UNPOISON(p, bytes) ((void)0)
#endif

enum {
    TAIL = 64,       /* readable bytes after a block */
    FINE_MAX = 4096, /* classes of 64 bytes up to here */
    FINE_CLASSES = 64,
    SMALL_LOG = 15, /* small blocks: up to 2^15 bytes */
    SMALL_MAX = 1 << SMALL_LOG,
    SMALL_CLASSES = FINE_CLASSES + (SMALL_LOG - 12) * 8,
    LARGE_CLASSES = (63 - SMALL_LOG) * 8,
    SPAN = 256 << 10,
    HUGE_PAGE = 2 << 20,
    SPANS = HUGE_PAGE / SPAN,
    REGION_HEAD = 1024,
    HELD_BYTES =
        64 << 10,   /* a thread holds at most about this much of a class; of numbers more */
    KEPT_SPANS = 8, /* free spans whose pages are not given back at once */
};

/* ---- sizes -------------------------------------------------------------------------- */

static int small_class(size_t bytes)
{
    if (bytes <= FINE_MAX)
        return bytes ? (int)((bytes - 1) / 64) : 0;
    int e = 63 - __builtin_clzll(bytes - 1); /* 2^e < bytes <= 2^(e+1) */
    return FINE_CLASSES + (e - 12) * 8 + (int)((bytes - 1 - ((size_t)1 << e)) >> (e - 3));
}

static size_t small_bytes(int k)
{
    if (k < FINE_CLASSES)
        return 64 * ((size_t)k + 1);
    k -= FINE_CLASSES;
    return (size_t)(8 + k % 8 + 1) << (k / 8 + 9);
}

/* Rounded up to an eighth of its power of two; to whole huge pages as well where that wastes no
 * more than an eighth. What comes out is always one of the sizes of large_class. */
static size_t large_bytes(size_t bytes)
{
    int e = 63 - __builtin_clzll(bytes - 1);
    size_t step = (size_t)1 << (e - 3);
    size_t rounded = (bytes + step - 1) & ~(step - 1);
    size_t huge = (bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    bool whole = bytes >= HUGE_PAGE && huge > rounded && huge - bytes <= huge / 8;
    return whole ? huge : rounded;
}

static int large_class(size_t rounded)
{
    int e = 63 - __builtin_clzll(rounded - 1);
    return (e - SMALL_LOG) * 8 + (int)((rounded - 1 - ((size_t)1 << e)) >> (e - 3));
}

/* "1.20 GiB"; three digits */
static const char *show(char text[24], size_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    int u = -1;
    while (v >= 1000 && u < FR__COUNT(units) - 1) {
        v /= 1024;
        u++;
    }
    if (u < 0)
        snprintf(text, 24, "%zu B", bytes);
    else
        snprintf(text, 24, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[u]);
    return text;
}

/* ---- state -------------------------------------------------------------------------- */

typedef struct free_block {           /* in the block itself */
    struct free_block *next;          /* of its class */
    struct free_block *prev;          /* large only, as what follows */
    struct free_block *older, *newer; /* of all cached blocks */
    size_t bytes;
} free_block;

typedef struct span {
    struct span *next, *prev; /* of the spans of its class with something free */
    free_block *free;         /* blocks that came back */
    char *fresh;              /* from here on never handed out */
    int left, used;           /* blocks from `fresh` on; blocks handed out */
    bool listed, returned;    /* in its class' list; free, its pages given back */
} span;

typedef struct thread_cache {
    free_block *free[SMALL_CLASSES];
    int count[SMALL_CLASSES];
    /* Small bytes handed out and not yet added to `active`; the highest that was since then.
     * Written by the owner only (but for fr__memory_reset_peak). */
    _Atomic int64_t untold, untold_high;
    struct thread_cache *next, **link;
} thread_cache;

static struct {
    _Alignas(64) _Atomic size_t charged;
    _Atomic int64_t active, peak; /* active: without what threads have not told */
    _Atomic size_t limit, cache_limit;
    size_t page;
    pthread_key_t key;
    _Atomic bool have_key;

    _Alignas(64) pthread_mutex_t small_lock; /* the spans and the list of threads */
    span *with_free[SMALL_CLASSES];
    span *free_spans; /* kept ones first */
    int kept_spans;
    thread_cache *threads;

    _Alignas(64) pthread_mutex_t large_lock;
    free_block *cached[LARGE_CLASSES]; /* last freed first */
    free_block *newest, *oldest;
    size_t large_cached;
} memory = {.small_lock = PTHREAD_MUTEX_INITIALIZER, .large_lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local thread_cache *mine;

/* ---- limits of the machine ---------------------------------------------------------- */

static size_t read_limit(const char *path)
{
    unsigned long long v = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return SIZE_MAX;
    int got = fscanf(f, "%llu", &v); /* "max": no number */
    fclose(f);
    return got == 1 ? (size_t)v : SIZE_MAX;
}

/* The least of the limits of a group and all groups above it. */
static size_t least_limit(const char *mount, const char *group, const char *file)
{
    char dir[2048], path[2304];
    size_t least = SIZE_MAX;
    if ((size_t)snprintf(dir, sizeof dir, "%s%s", mount, group) >= sizeof dir)
        return least;
    size_t top = strlen(mount);
    for (;;) {
        size_t n = strlen(dir);
        while (n > top && dir[n - 1] == '/')
            dir[--n] = 0;
        snprintf(path, sizeof path, "%s/%s", dir, file);
        size_t limit = read_limit(path);
        least = limit < least ? limit : least;
        if (n <= top)
            return least;
        *strrchr(dir, '/') = 0;
    }
}

size_t fr__memory_group_limit(const char *groups, const char *mount)
{
    size_t least = SIZE_MAX, limit;
    char line[1536], v1[512];
    snprintf(v1, sizeof v1, "%s/memory", mount);
    FILE *f = fopen(groups, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *kinds = strchr(line, ':'), *group = kinds ? strchr(kinds + 1, ':') : NULL;
        if (!group)
            continue;
        *kinds++ = *group++ = 0;
        if (!*kinds) { /* version 2, alone or beside version 1 */
            limit = least_limit(mount, group, "memory.max");
        } else {
            char list[1536];
            snprintf(list, sizeof list, ",%s,", kinds);
            if (!strstr(list, ",memory,"))
                continue;
            limit = least_limit(v1, group, "memory.limit_in_bytes");
        }
        least = limit < least ? limit : least;
    }
    if (f)
        fclose(f);
    return least;
}

static void flush_thread(void *cache);

static void start(void)
{
    memory.page = (size_t)sysconf(_SC_PAGESIZE);
    long pages = sysconf(_SC_PHYS_PAGES);
    size_t all = pages > 0 ? (size_t)pages * memory.page : (size_t)PTRDIFF_MAX;
    size_t group = fr__memory_group_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    if (group < all)
        all = group;
    if (all > PTRDIFF_MAX)
        all = PTRDIFF_MAX;
    size_t limit = (size_t)fr__env_bytes("MEMORY_LIMIT", (int64_t)(all - all / 16));
    size_t cached = (size_t)fr__env_bytes("MEMORY_CACHE_LIMIT", (int64_t)(all / 2));
    atomic_store(&memory.limit, limit);
    atomic_store(&memory.cache_limit, cached);
    atomic_store(&memory.have_key, pthread_key_create(&memory.key, flush_thread) == 0);
}

static pthread_once_t started = PTHREAD_ONCE_INIT;
static void ensure_started(void) { pthread_once(&started, start); }

__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&memory.small_lock, FR__RANK_SMALL);
    fr__fork_guard(&memory.large_lock, FR__RANK_LARGE);
}

/* A thread that ends after the library went must not come back into it. */
__attribute__((destructor)) static void at_unload(void)
{
    if (atomic_exchange(&memory.have_key, false))
        pthread_key_delete(memory.key);
}

/* ---- accounting --------------------------------------------------------------------- */

static int64_t relaxed(_Atomic int64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void raise_peak(int64_t to)
{
    int64_t peak = relaxed(&memory.peak);
    while (to > peak && !atomic_compare_exchange_weak(&memory.peak, &peak, to))
        ;
}

/* This thread's small blocks, more or fewer. */
static inline void count_small(thread_cache *c, int64_t change)
{
    int64_t now = relaxed(&c->untold) + change;
    atomic_store_explicit(&c->untold, now, memory_order_relaxed);
    if (now > relaxed(&c->untold_high))
        atomic_store_explicit(&c->untold_high, now, memory_order_relaxed);
}

static void tell(thread_cache *c)
{
    int64_t before = atomic_fetch_add(&memory.active, relaxed(&c->untold));
    raise_peak(before + relaxed(&c->untold_high));
    atomic_store_explicit(&c->untold, 0, memory_order_relaxed);
    atomic_store_explicit(&c->untold_high, 0, memory_order_relaxed);
}

static void count_large(int64_t change)
{
    if (mine)
        tell(mine);
    raise_peak(atomic_fetch_add(&memory.active, change) + change);
}

static void discharge(size_t bytes) { atomic_fetch_sub(&memory.charged, bytes); }

static bool charge(size_t bytes)
{
    size_t now = atomic_load(&memory.charged);
    do {
        size_t limit = atomic_load(&memory.limit);
        if (bytes > limit || now > limit - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(&memory.charged, &now, now + bytes));
    return true;
}

/* ---- large blocks ------------------------------------------------------------------- */

/* A mapping is the block, to whole pages, and a page for the tail. */
static size_t mapped(size_t block)
{
    return ((block + memory.page - 1) & ~(memory.page - 1)) + memory.page;
}

static void *map(size_t bytes, size_t align)
{
    size_t more = align > memory.page ? align : 0;
    char *p =
        mmap(NULL, bytes + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (more) {
        char *at = (char *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
        if (at > p)
            munmap(p, (size_t)(at - p));
        munmap(at + bytes, more - (size_t)(at - p));
        p = at;
    }
    return p;
}

static void unlink_cached(free_block *b)
{
    *(b->prev ? &b->prev->next : &memory.cached[large_class(b->bytes)]) = b->next;
    if (b->next)
        b->next->prev = b->prev;
    *(b->older ? &b->older->newer : &memory.oldest) = b->newer;
    *(b->newer ? &b->newer->older : &memory.newest) = b->older;
    memory.large_cached -= b->bytes;
}

/* A cached block of at least `bytes`, at most an eighth more; what is more is unmapped. */
static void *take_cached(size_t bytes)
{
    free_block *b = NULL;
    pthread_mutex_lock(&memory.large_lock);
    for (int k = large_class(bytes); k < LARGE_CLASSES && !b; k++) {
        if (((size_t)(9 + k % 8) << (k / 8 + SMALL_LOG - 3)) > bytes + bytes / 8)
            break;
        b = memory.cached[k];
    }
    if (b)
        unlink_cached(b);
    pthread_mutex_unlock(&memory.large_lock);
    if (!b)
        return NULL;
    UNPOISON(b, b->bytes);
    if (b->bytes > bytes) {
        size_t keep = mapped(bytes), more = mapped(b->bytes) - keep;
        size_t had = b->bytes;
        if (more)
            munmap((char *)b + keep,
                   more); /* can fail only for want of map entries: kept then */
        discharge(had - bytes);
    }
    return b;
}

/* Unmaps cached blocks, longest unused first, until no more than `keep` bytes are cached.
 * Gives the number of bytes that went. */
static size_t shrink_cache(size_t keep)
{
    size_t gone = 0;
    for (;;) {
        pthread_mutex_lock(&memory.large_lock);
        free_block *b = memory.large_cached > keep ? memory.oldest : NULL;
        if (b) {
            unlink_cached(b);
            discharge(b->bytes);
        }
        pthread_mutex_unlock(&memory.large_lock);
        if (!b)
            return gone;
        size_t bytes = b->bytes;
        gone += bytes;
        UNPOISON(b, bytes);
        munmap(b, mapped(bytes));
    }
}

static size_t large_cached(void)
{
    pthread_mutex_lock(&memory.large_lock);
    size_t bytes = memory.large_cached;
    pthread_mutex_unlock(&memory.large_lock);
    return bytes;
}

/* Charges `bytes`, giving cached blocks back as far as needed. */
static bool charge_evicting(size_t bytes)
{
    while (!charge(bytes)) {
        size_t limit = atomic_load(&memory.limit), now = atomic_load(&memory.charged);
        if (bytes > limit)
            return false;
        size_t over = now > limit - bytes ? now - (limit - bytes) : 0, cached = large_cached();
        if (over && !shrink_cache(cached > over ? cached - over : 0))
            return false;
    }
    return true;
}

/* The failed request; always NULL. */
static void *no_memory(size_t bytes)
{
    fr__memory m;
    fr__memory_get(&m);
    char request[24], active[24], cached[24], limit[24];
    return fr__fail(FR__E_MEMORY, "no memory for %s: %s active, %s cached, limit %s",
                    show(request, bytes), show(active, m.active), show(cached, m.cached),
                    show(limit, m.limit));
}

static void *large_alloc(size_t asked)
{
    ensure_started();
    if (asked > PTRDIFF_MAX / 2)
        return no_memory(asked);
    size_t bytes = large_bytes(asked);
    void *p = take_cached(bytes);
    if (!p) {
        if (!charge_evicting(bytes)) {
            fr__memory_clear_cache(); /* this thread's small blocks may make the difference */
            if (!charge(bytes))
                return no_memory(asked);
        }
        size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
        p = map(mapped(bytes), align);
        if (!p) {
            fr__memory_clear_cache();
            p = map(mapped(bytes), align);
        }
        if (!p) {
            discharge(bytes);
            return no_memory(asked);
        }
        if (bytes >= HUGE_PAGE)
            madvise(p, mapped(bytes), MADV_HUGEPAGE); /* a refusal costs speed only */
    }
    count_large((int64_t)bytes);
    return p;
}

static void large_free(void *p, size_t asked)
{
    size_t bytes = large_bytes(asked), limit = atomic_load(&memory.cache_limit);
    count_large(-(int64_t)bytes);
    if (bytes > limit) {
        munmap(p, mapped(bytes));
        discharge(bytes);
        return;
    }
    free_block *b = p;
    POISON(p, bytes);
    pthread_mutex_lock(&memory.large_lock);
    free_block **list = &memory.cached[large_class(bytes)];
    *b = (free_block){.next = *list, .older = memory.newest, .bytes = bytes};
    if (*list)
        (*list)->prev = b;
    *list = b;
    *(memory.newest ? &memory.newest->newer : &memory.oldest) = b;
    memory.newest = b;
    memory.large_cached += bytes;
    bool over = memory.large_cached > limit ||
                atomic_load(&memory.charged) > atomic_load(&memory.limit);
    pthread_mutex_unlock(&memory.large_lock);
    if (over) {
        size_t charged = atomic_load(&memory.charged), most = atomic_load(&memory.limit);
        size_t excess = charged > most ? charged - most : 0, cached = large_cached();
        size_t keep = cached > excess ? cached - excess : 0;
        shrink_cache(keep < limit ? keep : limit);
    }
}

/* ---- spans (small_lock held) -------------------------------------------------------- */

typedef struct region {
    span spans[SPANS];
} region;
_Static_assert(sizeof(region) <= REGION_HEAD, "the records of a region's spans fit its head");

static span *span_of(void *p)
{
    region *r = (region *)((uintptr_t)p & ~(uintptr_t)(HUGE_PAGE - 1));
    return &r->spans[((uintptr_t)p & (HUGE_PAGE - 1)) / SPAN];
}

static char *span_begin(span *s)
{
    region *r = (region *)((uintptr_t)s & ~(uintptr_t)(HUGE_PAGE - 1));
    size_t index = (size_t)(s - r->spans);
    return (char *)r + (index ? index * SPAN : REGION_HEAD);
}

static char *span_end(span *s) { return (char *)(((uintptr_t)span_begin(s) | (SPAN - 1)) + 1); }

static void list_span(span *s, int k)
{
    s->next = memory.with_free[k];
    s->prev = NULL;
    if (s->next)
        s->next->prev = s;
    memory.with_free[k] = s;
    s->listed = true;
}

static void unlist_span(span *s, int k)
{
    *(s->prev ? &s->prev->next : &memory.with_free[k]) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->listed = false;
}

static span *new_span(int k)
{
    if (!memory.free_spans) {
        region *r = map(HUGE_PAGE, HUGE_PAGE);
        if (!r)
            return NULL;
        for (int i = SPANS - 1; i >= 0; i--) {
            r->spans[i] = (span){.next = memory.free_spans, .returned = true};
            memory.free_spans = &r->spans[i];
        }
    }
    span *s = memory.free_spans;
    memory.free_spans = s->next;
    if (!s->returned)
        memory.kept_spans--;
    char *begin = span_begin(s);
    UNPOISON(begin, (size_t)(span_end(s) - begin));
    *s = (span){.fresh = begin};
    s->left = (int)((size_t)(span_end(s) - TAIL - begin) / small_bytes(k));
    list_span(s, k);
    return s;
}

static void return_pages(span *s)
{
    uintptr_t begin = ((uintptr_t)span_begin(s) + memory.page - 1) & ~(memory.page - 1);
    madvise((void *)begin, (uintptr_t)span_end(s) - begin, MADV_DONTNEED);
    s->returned = true;
}

static void free_span(span *s, int k)
{
    unlist_span(s, k);
    if (memory.kept_spans < KEPT_SPANS) {
        memory.kept_spans++;
        s->returned = false;
        s->next = memory.free_spans;
        memory.free_spans = s;
        return;
    }
    return_pages(s);
    span **at = &memory.free_spans;
    while (*at && !(*at)->returned)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
}

/* Up to `want` blocks in front of *list; gives how many. */
static int take_blocks(int k, int want, free_block **list)
{
    int n = 0;
    size_t bytes = small_bytes(k);
    while (n < want) {
        span *s = memory.with_free[k] ? memory.with_free[k] : new_span(k);
        if (!s)
            break;
        for (; n < want && (s->free || s->left); n++, s->used++) {
            free_block *b = s->free;
            if (b) {
                s->free = b->next;
            } else {
                b = (free_block *)s->fresh;
                s->fresh += bytes;
                s->left--;
            }
            b->next = *list;
            *list = b;
        }
        if (!s->free && !s->left)
            unlist_span(s, k);
    }
    return n;
}

static void put_block(int k, free_block *b)
{
    span *s = span_of(b);
    b->next = s->free;
    s->free = b;
    if (!s->listed)
        list_span(s, k);
    if (--s->used == 0)
        free_span(s, k);
}

/* ---- small blocks ------------------------------------------------------------------- */

static int most_held(size_t bytes)
{
    size_t n = (bytes <= 256 ? 4 : 1) * HELD_BYTES / bytes;
    return n < 4 ? 4 : n > 4096 ? 4096 : (int)n;
}

/* Gives `n` of the thread's blocks of a class back. */
static void flush_class(thread_cache *c, int k, int n)
{
    if (n > c->count[k])
        n = c->count[k];
    for (int i = 0; i < n; i++) {
        free_block *b = c->free[k];
        c->free[k] = b->next;
        put_block(k, b);
    }
    c->count[k] -= n;
    discharge((size_t)n * small_bytes(k));
}

static void flush_all(thread_cache *c)
{
    tell(c);
    pthread_mutex_lock(&memory.small_lock);
    for (int k = 0; k < SMALL_CLASSES; k++)
        if (c->count[k])
            flush_class(c, k, c->count[k]);
    pthread_mutex_unlock(&memory.small_lock);
}

/* At a thread's end. */
static void flush_thread(void *cache)
{
    thread_cache *c = cache;
    flush_all(c);
    pthread_mutex_lock(&memory.small_lock);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    pthread_mutex_unlock(&memory.small_lock);
    mine = NULL;
    free(c);
}

/* NULL when there is no memory for one, or when the library is being unloaded. */
static thread_cache *make_cache(void)
{
    ensure_started();
    if (!atomic_load(&memory.have_key))
        return NULL;
    /* not fr__calloc: fr__data_alloc has asked for a fault already, and a free cannot fail */
    thread_cache *c = calloc(1, sizeof *c);
    if (!c || pthread_setspecific(memory.key, c)) {
        free(c);
        return NULL;
    }
    pthread_mutex_lock(&memory.small_lock);
    c->next = memory.threads;
    c->link = &memory.threads;
    if (c->next)
        c->next->link = &c->next;
    memory.threads = c;
    pthread_mutex_unlock(&memory.small_lock);
    return mine = c;
}

static int take_charged(int k, int want, free_block **list)
{
    size_t bytes = small_bytes(k);
    if (!charge((size_t)want * bytes)) {
        want = 1; /* close to the limit every block counts */
        if (!charge_evicting(bytes))
            return 0;
    }
    pthread_mutex_lock(&memory.small_lock);
    int n = take_blocks(k, want, list);
    pthread_mutex_unlock(&memory.small_lock);
    discharge((size_t)(want - n) * bytes);
    return n;
}

static void *small_slow(int k, size_t asked)
{
    thread_cache *c = mine ? mine : make_cache();
    free_block *list = NULL;
    size_t bytes = small_bytes(k);
    int n = take_charged(k, c ? (most_held(bytes) + 1) / 2 : 1, &list);
    if (!n) {
        fr__memory_clear_cache();
        n = take_charged(k, 1, &list);
    }
    if (!n)
        return no_memory(asked);
    free_block *b = list;
    if (c) {
        c->free[k] = b->next; /* the list was empty */
        c->count[k] = n - 1;
        for (free_block *f = b->next; f; f = f->next)
            POISON(f, bytes);
        count_small(c, (int64_t)bytes);
        tell(c);
    } else {
        raise_peak(atomic_fetch_add(&memory.active, (int64_t)bytes) + (int64_t)bytes);
    }
    UNPOISON(b, bytes);
    return b;
}

static void free_slow(int k, free_block *b)
{
    size_t bytes = small_bytes(k);
    atomic_fetch_sub(&memory.active, (int64_t)bytes);
    discharge(bytes);
    pthread_mutex_lock(&memory.small_lock);
    put_block(k, b);
    pthread_mutex_unlock(&memory.small_lock);
}

/* ---- what others call --------------------------------------------------------------- */

void *fr__data_alloc(size_t bytes)
{
    if (FR__UNLIKELY(fr__fault_now()))
        return no_memory(bytes);
    if (bytes > SMALL_MAX)
        return large_alloc(bytes);
    int k = small_class(bytes);
    thread_cache *c = mine;
    free_block *b = FR__LIKELY(c != NULL) ? c->free[k] : NULL;
    if (FR__UNLIKELY(!b))
        return small_slow(k, bytes);
    c->free[k] = b->next;
    c->count[k]--;
    __builtin_prefetch(b->next, 1);
    size_t size = small_bytes(k);
    count_small(c, (int64_t)size);
    UNPOISON(b, size);
    return b;
}

void fr__data_free(void *p, size_t bytes)
{
    if (!p)
        return;
    if (bytes > SMALL_MAX) {
        large_free(p, bytes);
        return;
    }
    int k = small_class(bytes);
    thread_cache *c = mine ? mine : make_cache();
    if (FR__UNLIKELY(!c)) {
        free_slow(k, p);
        return;
    }
    size_t size = small_bytes(k);
    free_block *b = p;
    b->next = c->free[k];
    c->free[k] = b;
    c->count[k]++;
    count_small(c, -(int64_t)size);
    POISON(b, size);
    int most = most_held(size);
    if (FR__UNLIKELY(c->count[k] > most)) {
        tell(c);
        pthread_mutex_lock(&memory.small_lock);
        flush_class(c, k, most / 2);
        pthread_mutex_unlock(&memory.small_lock);
    }
}

void fr__memory_get(fr__memory *m)
{
    ensure_started();
    if (mine)
        tell(mine);
    pthread_mutex_lock(&memory.small_lock);
    int64_t active = atomic_load(&memory.active), highest = active;
    for (thread_cache *c = memory.threads; c; c = c->next) {
        active += relaxed(&c->untold);
        highest += relaxed(&c->untold_high);
    }
    pthread_mutex_unlock(&memory.small_lock);
    size_t charged = atomic_load(&memory.charged);
    if (active < 0)
        active = 0; /* threads were at work while we added */
    m->active = (size_t)active;
    m->peak = (size_t)fr__max64(fr__max64(relaxed(&memory.peak), highest), active);
    m->cached = charged > m->active ? charged - m->active : 0;
    m->limit = atomic_load(&memory.limit);
    m->cache_limit = atomic_load(&memory.cache_limit);
}

void fr__memory_reset_peak(void)
{
    ensure_started();
    if (mine)
        tell(mine);
    pthread_mutex_lock(&memory.small_lock);
    int64_t active = atomic_load(&memory.active);
    for (thread_cache *c = memory.threads; c; c = c->next) {
        int64_t untold = relaxed(&c->untold);
        atomic_store_explicit(&c->untold_high, untold > 0 ? untold : 0, memory_order_relaxed);
        active += untold;
    }
    atomic_store(&memory.peak, active);
    pthread_mutex_unlock(&memory.small_lock);
}

size_t fr__memory_set_limit(size_t bytes)
{
    ensure_started();
    size_t before = atomic_exchange(&memory.limit, bytes);
    size_t charged = atomic_load(&memory.charged);
    if (charged > bytes) {
        size_t cached = large_cached(), over = charged - bytes;
        shrink_cache(cached > over ? cached - over : 0);
    }
    return before;
}

size_t fr__memory_set_cache_limit(size_t bytes)
{
    ensure_started();
    size_t before = atomic_exchange(&memory.cache_limit, bytes);
    shrink_cache(bytes);
    return before;
}

void fr__memory_clear_cache(void)
{
    ensure_started();
    if (mine)
        flush_all(mine);
    pthread_mutex_lock(&memory.small_lock);
    for (span *s = memory.free_spans; s && !s->returned; s = s->next)
        return_pages(s);
    memory.kept_spans = 0;
    pthread_mutex_unlock(&memory.small_lock);
    shrink_cache(0);
}
