/* arena.c - memory that is freed as a whole
 *
 * needs   mem.c
 * gives   fr__arena_*
 *
 * Blocks double from 4 KiB to 1 MiB. What would not leave half of a new block free gets a
 * block of its own, linked behind the newest, so that the newest goes on being filled.
 */
#include "base/base.h"

#include <stdio.h>

enum { ALIGN = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

typedef struct fr__arena_block {
    struct fr__arena_block *next;
    size_t bytes;                /* of data */
    _Alignas(ALIGN) char data[]; /* malloc aligns to 16 as well */
} block;

static block *new_block(size_t bytes)
{
    block *b = fr__malloc(sizeof(block) + bytes);
    if (b)
        b->bytes = bytes;
    return b;
}

static void *alloc_slow(fr__arena *a, size_t bytes)
{
    size_t next = a->block ? 2 * a->block->bytes : FIRST_BLOCK;
    if (next > LARGEST_BLOCK)
        next = LARGEST_BLOCK;
    bool alone = bytes > next / 2;
    block *b = new_block(alone ? bytes : next);
    if (!b)
        return NULL;
    if (alone && a->block) {
        b->next = a->block->next;
        a->block->next = b;
        return b->data;
    }
    b->next = a->block;
    a->block = b;
    a->next = b->data + bytes;
    a->end = b->data + b->bytes;
    return b->data;
}

void *fr__arena_alloc(fr__arena *a, size_t bytes)
{
    if (FR__UNLIKELY(bytes > PTRDIFF_MAX - 2 * sizeof(block)))
        return fr__fail(FR__E_MEMORY, "no memory for %zu bytes", bytes);
    bytes = bytes ? (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if (FR__LIKELY(a->block && (size_t)(a->end - a->next) >= bytes)) {
        void *p = a->next;
        a->next += bytes;
        return p;
    }
    return alloc_slow(a, bytes);
}

void *fr__arena_zalloc(fr__arena *a, size_t bytes)
{
    void *p = fr__arena_alloc(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

char *fr__arena_printf(fr__arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n < 0 ? fr__fail(FR__E_INTERNAL, "a text could not be formatted")
                    : fr__arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

static void free_list(block *b)
{
    while (b) {
        block *next = b->next;
        fr__free(b);
        b = next;
    }
}

void fr__arena_reset(fr__arena *a)
{
    if (!a->block)
        return;
    free_list(a->block->next);
    a->block->next = NULL;
    a->next = a->block->data;
    a->end = a->block->data + a->block->bytes;
}

void fr__arena_free(fr__arena *a)
{
    free_list(a->block);
    *a = (fr__arena){0};
}
