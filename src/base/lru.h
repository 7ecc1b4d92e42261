/* lru.h - items in the order of their last use, for caches that let the least recently used one go
 *
 * The link is an item's first member, so that a link is its item: (fr__plan *)plans.oldest. The
 * items are the caller's. Not locked.
 */
#ifndef FR_LRU_H
#define FR_LRU_H

#include "base/base.h"

typedef struct fr__link {
    struct fr__link *newer, *older;
} fr__link;

typedef struct fr__lru {
    fr__link *newest, *oldest;
    int n;
} fr__lru; /* all zero: empty and ready */

/* One that isn't in the list, as the newest. */
static inline void fr__lru_add(fr__lru *l, fr__link *x)
{
    *x = (fr__link){.older = l->newest};
    *(l->newest ? &l->newest->newer : &l->oldest) = x;
    l->newest = x;
    l->n++;
}

static inline void fr__lru_remove(fr__lru *l, fr__link *x)
{
    *(x->newer ? &x->newer->older : &l->newest) = x->older;
    *(x->older ? &x->older->newer : &l->oldest) = x->newer;
    *x = (fr__link){NULL, NULL};
    l->n--;
}

/* One of the list was used. */
static inline void fr__lru_use(fr__lru *l, fr__link *x)
{
    if (x == l->newest)
        return;
    fr__lru_remove(l, x);
    fr__lru_add(l, x);
}

#endif
