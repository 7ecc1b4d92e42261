/* schedule.c - groups in an order that keeps less
 *
 *   capture -> simplify -> layout -> split -> fuse, [schedule] -> merge -> lower -> plan -> program
 *
 * needs   groups in an order of execution, members linked
 * gives   another such order: what frees at least what it makes runs as soon as it can
 *
 * Where something is computed once more to save memory (AGAIN) the order decides whether it does:
 * as begun from the outputs, the gradients of all weights come last, and all they read waits. Other
 * graphs stay as they are.
 */
#include "graph/trace.h"

typedef FR__VEC(int32_t) numbers;

typedef struct {
    fr__trace *t;
    numbers reads;    /* stored nodes that each group reads, one group after the other */
    int32_t *first;   /* where a group's begin in reads; n + 1 */
    int32_t *readers; /* of a node: groups that read it and have not run */
    int32_t *seen;    /* of a node: the group that saw it last, + 1 */
    int32_t *place;   /* of a group: its new number, -1: not yet */
} state;

/* What is stored below node i, for group g: through what is computed where it is used. */
static int note_reads(state *s, int i, int g)
{
    numbers stack = {0};
    int status = fr__vec_push(&stack, i);
    while (!status && stack.n) {
        int at = stack.at[--stack.n];
        const fr__tnode *x = &s->t->nodes.at[at];
        if (s->seen[at] == g + 1)
            continue;
        s->seen[at] = g + 1;
        if (x->group >= 0 && x->group != g) {
            status = fr__vec_push(&s->reads, at);
            s->readers[at]++;
            continue;
        }
        for (int j = 0; !status && j < x->nin; j++)
            status = fr__vec_push(&stack, x->in[j]);
    }
    fr__vec_free(&stack);
    return status;
}

static int64_t bytes_of(const fr__tnode *x) { return x->size * fr__dsize(x->dtype); }

static bool is_ready(const state *s, int g)
{
    for (int i = s->first[g]; i < s->first[g + 1]; i++)
        if (s->place[s->t->nodes.at[s->reads.at[i]].group] < 0)
            return false;
    return true;
}

/* Bytes that are there after g beyond those before it. */
static int64_t growth(const state *s, int g)
{
    int64_t n = 0;
    const fr__trace *t = s->t;
    for (int i = t->groups.at[g].first; i >= 0; i = t->nodes.at[i].next)
        if (t->nodes.at[i].flags & (FR__T_STORE | FR__T_OUTPUT))
            n += bytes_of(&t->nodes.at[i]);
    for (int i = s->first[g]; i < s->first[g + 1]; i++) {
        const fr__tnode *x = &t->nodes.at[s->reads.at[i]];
        if (s->readers[s->reads.at[i]] == 1 && !(x->flags & FR__T_OUTPUT))
            n -= bytes_of(x);
    }
    return n;
}

static void order(state *s)
{
    int n = s->t->groups.n, from = 0;
    for (int at = 0; at < n; at++) {
        int next = -1;
        while (s->place[from] >= 0)
            from++;
        for (int g = from; g < n && next < 0; g++)
            if (s->place[g] < 0 && is_ready(s, g) && growth(s, g) <= 0)
                next = g;
        next = next < 0 ? from : next; /* the first that is left is ready */
        s->place[next] = at;
        for (int i = s->first[next]; i < s->first[next + 1]; i++)
            s->readers[s->reads.at[i]]--;
    }
}

static int renumber(state *s)
{
    fr__trace *t = s->t;
    int n = t->groups.n;
    fr__group *old = fr__memdup(t->groups.at, sizeof *old * (size_t)n);
    if (!old)
        return -1;
    for (int g = 0; g < n; g++)
        t->groups.at[s->place[g]] = old[g];
    for (int i = 0; i < t->nodes.n; i++)
        if (t->nodes.at[i].group >= 0)
            t->nodes.at[i].group = s->place[t->nodes.at[i].group];
    fr__free(old);
    return 0;
}

int fr__schedule(fr__trace *t)
{
    bool again = false;
    int n = t->groups.n;
    for (int i = 0; i < t->nodes.n; i++)
        again |= t->nodes.at[i].op == FR__OP_AGAIN;
    if (!again || n < 3)
        return 0;
    state s = {.t = t};
    s.first = fr__calloc((size_t)(2 * n + 2 * t->nodes.n + 1), sizeof *s.first);
    if (!s.first)
        return -1;
    s.place = s.first + n + 1;
    s.readers = s.place + n;
    s.seen = s.readers + t->nodes.n;
    int status = 0;
    for (int g = 0; !status && g < n; g++) {
        s.first[g] = s.reads.n;
        s.place[g] = -1;
        for (int i = t->groups.at[g].first; !status && i >= 0; i = t->nodes.at[i].next)
            status = note_reads(&s, i, g);
    }
    s.first[n] = s.reads.n;
    if (!status) {
        order(&s);
        status = renumber(&s);
    }
    fr__vec_free(&s.reads);
    fr__free(s.first);
    return status;
}
