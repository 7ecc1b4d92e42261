/* mem.c - memory for the library's own structures, and failures made on purpose
 *
 * needs   error.c
 * gives   fr__malloc and its kin, fr__vec_grow, fr__fault_*
 *
 * Each thread keeps small blocks that were freed, by size: a call of a program frees and makes thousands of
 * nodes and buffers, all of a few sizes, which the C library would merge and cut again each time.
 */
#include "base/sized.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Tools that watch the heap see every block come and go. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <malloc.h>
#define SMALL_LISTS
#endif

static _Atomic bool fault_armed;
static _Atomic int64_t fault_at, fault_seen, fault_live;

bool fr__fault_now(void)
{
    if (FR__LIKELY(!atomic_load_explicit(&fault_armed, memory_order_relaxed)))
        return false;
    return atomic_fetch_add(&fault_seen, 1) + 1 == atomic_load(&fault_at);
}

void fr__fault_set(int64_t n)
{
    atomic_store(&fault_armed, false);
    atomic_store(&fault_at, n);
    atomic_store(&fault_seen, 0);
    atomic_store(&fault_live, 0);
    atomic_store(&fault_armed, n != 0);
}

int64_t fr__fault_count(void) { return atomic_load(&fault_seen); }

int64_t fr__fault_live(void) { return atomic_load(&fault_live); }

/* Counts what is made and freed while a test looks. */
static inline void *counted(void *p, int change)
{
    if (FR__UNLIKELY(atomic_load_explicit(&fault_armed, memory_order_relaxed)) && p)
        atomic_fetch_add(&fault_live, change);
    return p;
}

static void *no_memory(size_t bytes)
{
    return fr__fail(FR__E_MEMORY, "no memory for %zu bytes", bytes);
}

/* ---- small blocks that were freed ------------------------------------------------------ */

#ifdef SMALL_LISTS
enum {
    LEAST = 24, /* bytes of glibc's smallest block; each size is a step more */
    STEP = 16,
    SIZES = 16,
    AHEAD = 4,       /* a block is fetched when so many others will be asked for first */
    KEPT = 512 << 10 /* bytes of one size that a thread keeps */
};

/* Stacks of addresses: the blocks themselves, which have been out of the cache for long, are not touched. */
static _Thread_local struct {
    void **at[SIZES];
    int n[SIZES], room[SIZES];
    bool on, ended;
} lists;

static pthread_key_t key;
static _Atomic bool have_key;

static void free_lists(void *unused)
{
    (void)unused;
    lists.on = false;
    lists.ended = true;
    for (int i = 0; i < SIZES; i++) {
        while (lists.n[i])
            free(lists.at[i][--lists.n[i]]);
        free(lists.at[i]);
        lists.at[i] = NULL;
        lists.room[i] = 0;
    }
}

__attribute__((constructor)) static void at_load(void)
{
    atomic_store(&have_key, pthread_key_create(&key, free_lists) == 0);
}

/* A thread that ends after the library went must not come back into it. */
__attribute__((destructor)) static void at_unload(void)
{
    if (atomic_exchange(&have_key, false))
        pthread_key_delete(key);
}

static bool begin_lists(void)
{
    if (!lists.ended && atomic_load(&have_key) && !pthread_setspecific(key, &lists))
        lists.on = true;
    return lists.on;
}

static inline size_t list_for(size_t bytes)
{
    return bytes <= LEAST ? 0 : (bytes - LEAST + STEP - 1) / STEP;
}

static inline void *take_small(size_t bytes)
{
    size_t i = list_for(bytes);
    if (i >= SIZES || !lists.n[i])
        return NULL;
    int n = --lists.n[i];
    if (n >= AHEAD)
        __builtin_prefetch(lists.at[i][n - AHEAD], 1);
    return lists.at[i][n];
}

/* Without memory for a longer list the block goes back. */
static bool more_room(size_t i)
{
    int room = lists.room[i] ? 2 * lists.room[i] : 64;
    void **more = realloc(lists.at[i], sizeof *more * (size_t)room);
    if (!more)
        return false;
    lists.at[i] = more;
    lists.room[i] = room;
    return true;
}

static inline bool keep_in(size_t i, void *p)
{
    if ((size_t)lists.n[i] * (LEAST + i * STEP) >= KEPT ||
        (FR__UNLIKELY(!lists.on) && !begin_lists()) ||
        (FR__UNLIKELY(lists.n[i] == lists.room[i]) && !more_room(i)))
        return false;
    lists.at[i][lists.n[i]++] = p;
    return true;
}

static inline bool keep_small(void *p)
{
    size_t bytes = p ? malloc_usable_size(p) : 0, i = (bytes - LEAST) / STEP;
    return bytes >= LEAST && i < SIZES && keep_in(i, p);
}

static inline bool keep_sized(void *p, size_t bytes)
{
    size_t i = list_for(bytes);
    return p && i < SIZES && keep_in(i, p);
}
#else
static inline bool keep_sized(void *p, size_t bytes) { return (void)p, (void)bytes, false; }
static inline void *take_small(size_t bytes) { return (void)bytes, NULL; }
static inline bool keep_small(void *p) { return (void)p, false; }
#endif

void *fr__malloc(size_t bytes)
{
    void *p = NULL;
    if (!fr__fault_now() && bytes <= PTRDIFF_MAX) {
        p = take_small(bytes);
        p = counted(p ? p : malloc(bytes ? bytes : 1), 1);
    }
    return FR__LIKELY(p != NULL) ? p : no_memory(bytes);
}

void *fr__calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        bytes = SIZE_MAX;
    void *p = NULL;
    if (!fr__fault_now() && bytes <= PTRDIFF_MAX)
        p = counted(calloc(bytes ? bytes : 1, 1), 1);
    return FR__LIKELY(p != NULL) ? p : no_memory(bytes);
}

void *fr__realloc(void *p, size_t bytes)
{
    void *q = NULL;
    if (!fr__fault_now() && bytes <= PTRDIFF_MAX)
        q = realloc(p, bytes ? bytes : 1);
    if (!p)
        counted(q, 1);
    return FR__LIKELY(q != NULL) ? q : no_memory(bytes);
}

void *fr__memdup(const void *p, size_t bytes)
{
    void *q = fr__malloc(bytes);
    if (q && bytes)
        memcpy(q, p, bytes);
    return q;
}

char *fr__strdup(const char *s) { return fr__memdup(s, strlen(s) + 1); }

void fr__free(void *p)
{
    counted(p, -1);
    if (!keep_small(p))
        free(p);
}

void fr__free_sized(void *p, size_t bytes)
{
    counted(p, -1);
    if (!keep_sized(p, bytes))
        free(p);
}

int fr__vec_grow(void **at, int *room, int64_t want, size_t size)
{
    if (want <= *room)
        return 0;
    if (want > INT_MAX)
        return fr__fail_int(FR__E_LIMIT, "a list of %lld items: the most is %d",
                            (long long)want, INT_MAX);
    int64_t next = fr__min64(fr__max64(fr__max64(want, 2 * (int64_t)*room), 8), INT_MAX);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)next, size, &bytes))
        bytes = SIZE_MAX;
    void *p = fr__realloc(*at, bytes);
    if (!p)
        return -1;
    *at = p;
    *room = (int)next;
    return 0;
}
