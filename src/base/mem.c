/* mem.c - memory for the library's own structures, and failures made on purpose
 *
 * needs   error.c
 * gives   fr__malloc and its kin, fr__vec_grow, fr__fault_*
 */
#include "base/base.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

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

void *fr__malloc(size_t bytes)
{
    void *p = NULL;
    if (!fr__fault_now() && bytes <= PTRDIFF_MAX)
        p = counted(malloc(bytes ? bytes : 1), 1);
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
