/* scope.h - who owns temporaries */
#ifndef FR_SCOPE_H
#define FR_SCOPE_H

#include "core/array.h"

struct fr_scope {
    fr_scope *parent;
    FR__VEC(fr_array *) arrays;
    bool none; /* inside it results belong to the caller, as with no scope at all */
};

extern _Thread_local fr_scope *fr__scope_now;
/* Inside a compiled function that a binding traces: results are the caller's whatever scopes are
 * open around. Closed by fr_scope_close. */
fr_scope *fr__scope_open_none(void);
static inline bool fr__in_scope(void) { return fr__scope_now && !fr__scope_now->none; }
/* Gives up a result that a constructor made on its way and won't return (a scope keeps it). */
static inline void fr__discard(fr_array *x)
{
    if (x && !fr__in_scope())
        fr_free(x);
}

/* Closes the scope in which y was made: y, alone, is a result of what stands around. NULL: none is. */
fr_array *fr__leave(fr_scope *s, fr_array *y);
/* Gives `next` in place of `from`, an intermediate result of ours (where they are the same array,
 * that is a second reference). */
static inline fr_array *fr__then(fr_array *from, fr_array *next)
{
    fr__discard(from);
    return next;
}

#endif
