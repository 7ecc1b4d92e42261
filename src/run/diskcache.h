/* diskcache.h - generated code kept between processes, so that a hit needs no LLVM
 *
 * In the user's cache directory (FERRULE_CACHE_DIR moves it, FERRULE_CACHE=off switches it off):
 * mode 0700, owner checked, entries written to a temporary name and renamed, their content's hash
 * checked when read. A damaged, foreign or unwritable cache is never run and never an error.
 */
#ifndef FR_DISKCACHE_H
#define FR_DISKCACHE_H

#include <stddef.h>

/* The object cached for this key, in memory from fr__malloc, or NULL (no error): absent,
 * damaged, foreign, or the cache is off. The whole key is stored and compared. */
void *fr__disk_get(const char *key, size_t keybytes, size_t *bytes);
/* Best effort, atomic, never an error. Keeps the cache under its bound (FERRULE_CACHE_LIMIT,
 * default 256M; the least recently used entries go first). */
void fr__disk_put(const char *key, size_t keybytes, const void *object, size_t bytes);
/* Folder in use ("" when off), and why it is off ("" when on). */
const char *fr__disk_where(void);
const char *fr__disk_why_off(void);

#endif
