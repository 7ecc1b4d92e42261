/* attention.h - what attention's kernels have in common: where rows lie, what a query sees */
#ifndef FR_ROUTINES_ATTENTION_H
#define FR_ROUTINES_ATTENTION_H

#include "device/cuda/routines/attention_args.h"
#include "device/cuda/routines/threads.h"

#define MINUS_INFINITY (-__builtin_inff())
#define LOG2_E 1.44269504088896340736f

INLINED const char *head_of(const fr__attention_array *x, int example, int head)
{
    return x->data + example * x->example + head * x->head;
}

/* Keys that any of the queries [first, first + rows) sees: those before this one. */
INLINED int keys_seen(const fr__attention_args *s, int first, int rows)
{
    int last = first + rows < s->queries ? first + rows : s->queries;
    int n = s->causal ? last + s->shift : s->keys;
    return n < s->keys ? n : s->keys;
}
/* The first query that sees a key. */
INLINED int first_query(const fr__attention_args *s, int key)
{
    int n = s->causal ? key - s->shift : 0;
    return n > 0 ? n : 0;
}
/* Whether scores of such queries and keys need seen_score. */
INLINED bool look_closely(const fr__attention_args *s, int query, int key, int keys)
{
    return s->mask_kind || s->scaled || key + keys > s->keys ||
           (s->causal && key + keys - 1 > query + s->shift);
}
/* The last key that a query sees; less than 0: none. */
INLINED int last_key(const fr__attention_args *s, int query)
{
    int n = s->causal ? query + s->shift : s->keys - 1;
    n = n < s->keys ? n : s->keys - 1;
    return query < s->queries ? n : -1;
}
/* What a score is multiplied by before it is compared. */
INLINED float scale_first(const fr__attention_args *s) { return s->scaled ? s->factor : 1; }
/* A score, so multiplied, as it is compared. mask: of the query, or query and key. */
INLINED float with_bool(const char *m, bool seen, float c)
{
    return seen && *m ? c : MINUS_INFINITY;
}
INLINED float with_float(const char *m, bool seen, float c)
{
    return seen ? __builtin_fmaf(*(const float *)m, LOG2_E, c) : MINUS_INFINITY;
}
/* What a score is multiplied by before 2 is raised to it. */
INLINED float factor_of(const fr__attention_args *s) { return s->scaled ? 1 : s->factor; }

#endif
