/* alloc.h - memory for array data: size classes, huge pages, a cache of freed blocks
 *
 * Fresh pages cost ten times a pass over warm ones, so a freed block is kept (up to a limit)
 * and handed out again. Large blocks are mapped, aligned and advised to use huge pages.
 * Every function may be called from any thread.
 */
#ifndef FR_ALLOC_H
#define FR_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At least `bytes`, aligned to 64, with 64 readable bytes after the end; not cleared. Small
 * requests (<= 32 KiB) come from a per-thread cache without a lock. NULL with a MEMORY error
 * that names the request, active, cached and limit: nothing has changed. When the system has
 * no memory, cached blocks are given back and it is tried again before failing. */
void *fr__data_alloc(size_t bytes);
/* `bytes` as given to fr__data_alloc. May be called from another thread than the allocation. */
void fr__data_free(void *p, size_t bytes);

typedef struct fr__memory {
    size_t active; /* bytes handed out, as asked for rounded to their class */
    size_t peak;   /* highest `active` since the last reset */
    size_t cached; /* bytes kept for reuse, those in threads' lists of small blocks included */
    size_t limit;  /* active + cached never goes beyond; default: most of physical memory */
    size_t cache_limit;
} fr__memory;
void fr__memory_get(fr__memory *m);
void fr__memory_reset_peak(void);
size_t fr__memory_set_limit(size_t bytes);       /* gives the old one */
size_t fr__memory_set_cache_limit(size_t bytes); /* gives the old one; frees what is over */
/* Every free block back to the system, but for the small ones that other threads hold. */
void fr__memory_clear_cache(void);
/* The least memory limit of the control groups that the file `groups` (/proc/self/cgroup) names,
 * of version 1 or 2 mounted at `mount`; SIZE_MAX when there is none. */
size_t fr__memory_group_limit(const char *groups, const char *mount);

#endif
