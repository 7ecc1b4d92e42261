/* schedule.c - groups in an order that keeps less
 *
 *   capture -> simplify -> layout -> split -> fuse, [schedule] -> merge -> lower -> plan -> program
 *
 * needs   groups in an order of execution, members linked; what outputs are views of
 * gives   another such order, where that needs less memory: what frees at least what it makes runs
 *         as soon as it can
 * breaks  nothing
 *
 * As begun from the outputs, gradients of weights come one by one after the whole way back, and all
 * that they read waits. Results have memory of their own from the start: only what is between counts.
 * A group that may write over a leaf (its update) stays behind those that read the leaf before it.
 */
#include <stdlib.h>

#include "graph/trace.h"

#ifdef FERRULE_HARD
enum { WORTH = 1 };
#else
enum { WORTH = 64 << 10 /* bytes that another order must save */ };
#endif

typedef FR__VEC(int32_t) numbers;

typedef struct {
    int32_t read, group; /* stored node or leaf, and who reads it */
} edge;

typedef struct {
    fr__trace *t;
    FR__VEC(edge) reads;  /* by group */
    numbers stack;        /* of nodes that are looked at */
    int32_t *first;       /* where a group's begin in reads; n + 1 */
    int32_t *readers;     /* of a node: groups that read it and have not run */
    int32_t *last_reader; /* the sum of their numbers: of one that is left, the number */
    int32_t *seen;        /* of a node: the group that saw it last, + 1 */
    int32_t *waits;       /* of a group: for so many others */
    int32_t *place;       /* its new number, -1: not yet */
    int32_t *queue;       /* heap of groups that can run and free what they make */
    bool *queued;
    bool *kept; /* of a node: a result, or what one is a view of */
    int n;
    FR__VEC(edge) after; /* `group` waits for `read`, a group */
    int32_t *after_of;   /* where the waiting ones for a group begin */
} state;

static const fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }
static int64_t bytes_of(const fr__tnode *x) { return x->size * fr__dsize(x->dtype); }

/* ---- who reads what ------------------------------------------------------------------------- */

/* What is stored below node i, for group g: through what is computed where it is used. */
static int note_reads(state *s, int i, int g)
{
    int status = fr__vec_push(&s->stack, i);
    while (!status && s->stack.n) {
        int at = s->stack.at[--s->stack.n];
        const fr__tnode *x = node(s, at);
        if (s->seen[at] == g + 1)
            continue;
        s->seen[at] = g + 1;
        if ((x->group >= 0 && x->group != g) || fr__is_leaf(x)) {
            status = fr__vec_push(&s->reads, ((edge){at, g}));
            continue;
        }
        for (int j = 0; !status && j < x->nin; j++)
            status = fr__vec_push(&s->stack, x->in[j]);
    }
    return status;
}

/* Whether it stores a result that could be made in the memory of this leaf. */
static bool may_write_over(const state *s, const fr__tnode *leaf, int g)
{
    for (int i = s->t->groups.at[g].first; i >= 0; i = node(s, i)->next) {
        const fr__tnode *x = node(s, i);
        if (s->kept[i] && x->dtype == leaf->dtype && x->ndim == leaf->ndim &&
            !memcmp(x->shape, leaf->shape, sizeof *x->shape * x->ndim))
            return true;
    }
    return false;
}

static int by_group(const void *x, const void *y)
{
    const edge *a = x, *b = y;
    return a->read != b->read ? (a->read < b->read ? -1 : 1) : a->group - b->group;
}

/* Who waits for whom: readers for what they read, an update for the readers before it. */
static int note_waits(state *s)
{
    int32_t *over = s->seen; /* of a leaf: the last group that may write over it, + 1 */
    memset(over, 0, sizeof *over * (size_t)s->t->nodes.n);
    int status = 0;
    for (int k = 0; k < s->reads.n; k++) {
        edge e = s->reads.at[k];
        if (fr__is_leaf(node(s, e.read)) && may_write_over(s, node(s, e.read), e.group))
            over[e.read] = e.group + 1;
    }
    for (int k = 0; !status && k < s->reads.n; k++) {
        edge e = s->reads.at[k];
        const fr__tnode *x = node(s, e.read);
        if (!fr__is_leaf(x))
            status = fr__vec_push(&s->after, ((edge){x->group, e.group}));
        else if (over[e.read] > e.group + 1)
            status = fr__vec_push(&s->after, ((edge){e.group, over[e.read] - 1}));
    }
    if (status)
        return status;
    if (s->after.n)
        qsort(s->after.at, (size_t)s->after.n, sizeof *s->after.at, by_group);
    for (int k = 0, g = 0; g <= s->n; g++) {
        while (k < s->after.n && s->after.at[k].read < g)
            k++;
        s->after_of[g] = k;
    }
    return 0;
}

/* ---- an order -------------------------------------------------------------------------------- */

static void restart(state *s)
{
    memset(s->readers, 0, 2 * sizeof *s->readers * (size_t)s->t->nodes.n);
    memset(s->waits, 0, sizeof *s->waits * (size_t)s->n);
    for (int k = 0; k < s->reads.n; k++) {
        s->readers[s->reads.at[k].read]++;
        s->last_reader[s->reads.at[k].read] += s->reads.at[k].group;
    }
    for (int k = 0; k < s->after.n; k++)
        s->waits[s->after.at[k].group]++;
}

static bool is_temporary(const state *s, int i)
{
    return node(s, i)->flags & FR__T_STORE && node(s, i)->group >= 0 && !s->kept[i];
}

/* Bytes that are made by g; those that it is the last to read. */
static int64_t made_by(const state *s, int g)
{
    int64_t n = 0;
    for (int i = s->t->groups.at[g].first; i >= 0; i = node(s, i)->next)
        n += is_temporary(s, i) ? bytes_of(node(s, i)) : 0;
    return n;
}

static int64_t freed_by(const state *s, int g)
{
    int64_t n = 0;
    for (int k = s->first[g]; k < s->first[g + 1]; k++) {
        int i = s->reads.at[k].read;
        n += s->readers[i] == 1 && is_temporary(s, i) ? bytes_of(node(s, i)) : 0;
    }
    return n;
}

/* A heap: the first in the old order comes first. */
static void push(state *s, int *n, int g)
{
    int at = (*n)++;
    for (; at && s->queue[(at - 1) / 2] > g; at = (at - 1) / 2)
        s->queue[at] = s->queue[(at - 1) / 2];
    s->queue[at] = g;
    s->queued[g] = true;
}

static int pop(state *s, int *n)
{
    int top = s->queue[0], last = s->queue[--*n], at = 0;
    for (int next; (next = 2 * at + 1) < *n; at = next) {
        next += next + 1 < *n && s->queue[next + 1] < s->queue[next];
        if (s->queue[next] > last)
            break;
        s->queue[at] = s->queue[next];
    }
    s->queue[at] = last;
    return top;
}

static void consider(state *s, int *n, int g)
{
    if (!s->queued[g] && s->place[g] < 0 && !s->waits[g] && made_by(s, g) <= freed_by(s, g))
        push(s, n, g);
}

/* g has run: what it read has a reader less, and who waited may run. */
static void leave(state *s, int *n, int g)
{
    for (int k = s->first[g]; k < s->first[g + 1]; k++) {
        int i = s->reads.at[k].read;
        s->last_reader[i] -= g;
        if (--s->readers[i] == 1 && n)
            consider(s, n, s->last_reader[i]);
    }
    for (int k = s->after_of[g]; n && k < s->after_of[g + 1]; k++)
        if (--s->waits[s->after.at[k].group] == 0)
            consider(s, n, s->after.at[k].group);
}

static void order(state *s)
{
    int from = 0, queued = 0;
    restart(s);
    for (int g = 0; g < s->n; g++)
        consider(s, &queued, g);
    for (int at = 0; at < s->n; at++) {
        while (s->place[from] >= 0)
            from++;
        int next = queued ? pop(s, &queued) : from; /* the first that is left waits for none */
        s->place[next] = at;
        s->queued[next] = true;
        leave(s, &queued, next);
    }
}

/* The most bytes that are there at once; at[i] is the i-th group. */
static int64_t peak_of(state *s, const int32_t *at)
{
    int64_t now = 0, most = 0;
    restart(s);
    for (int i = 0; i < s->n; i++) {
        int g = at ? at[i] : i;
        now += made_by(s, g);
        most = now > most ? now : most;
        now -= freed_by(s, g);
        leave(s, NULL, g);
    }
    return most;
}

static int renumber(state *s)
{
    fr__trace *t = s->t;
    fr__group *old = fr__memdup(t->groups.at, sizeof *old * (size_t)s->n);
    if (!old)
        return -1;
    for (int g = 0; g < s->n; g++)
        t->groups.at[s->place[g]] = old[g];
    for (int i = 0; i < t->nodes.n; i++)
        if (t->nodes.at[i].group >= 0)
            t->nodes.at[i].group = s->place[t->nodes.at[i].group];
    fr__free(old);
    return 0;
}

/* ---- whether it is worth it ------------------------------------------------------------------- */

/* Enough between the results for an order to matter. */
static bool holds_much(const state *s)
{
    int64_t n = 0;
    for (int g = 0; g < s->n; g++)
        n += made_by(s, g);
    return n >= WORTH;
}

static int find(state *s)
{
    int status = 0;
    for (int g = 0; !status && g < s->n; g++) {
        s->first[g] = s->reads.n;
        s->place[g] = -1;
        for (int i = s->t->groups.at[g].first; !status && i >= 0; i = node(s, i)->next)
            status = note_reads(s, i, g);
    }
    s->first[s->n] = s->reads.n;
    if (status || note_waits(s))
        return -1;
    order(s);
    for (int g = 0; g < s->n; g++)
        s->queue[s->place[g]] = g;
    return peak_of(s, s->queue) + WORTH <= peak_of(s, NULL) ? renumber(s) : 0;
}

int fr__schedule(fr__trace *t)
{
    int n = t->groups.n, nodes = t->nodes.n, status = 0;
    state s = {.t = t, .n = n};
    if (n < 3)
        return 0;
    s.kept = fr__calloc((size_t)(nodes + n), sizeof *s.kept);
    if (!s.kept)
        return -1;
    s.queued = s.kept + nodes;
    for (int i = 0; i < t->outs.n; i++)
        s.kept[t->outs.at[i].node] = s.kept[t->outs.at[i].base] = true;
    if (holds_much(&s)) {
        s.readers = fr__calloc((size_t)(3 * nodes + 5 * n + 2), sizeof *s.readers);
        if (s.readers) {
            s.last_reader = s.readers + nodes;
            s.seen = s.last_reader + nodes;
            s.waits = s.seen + nodes;
            s.place = s.waits + n;
            s.queue = s.place + n;
            s.first = s.queue + n;
            s.after_of = s.first + n + 1;
        }
        status = s.readers ? find(&s) : -1;
    }
    fr__vec_free(&s.reads);
    fr__vec_free(&s.stack);
    fr__vec_free(&s.after);
    fr__free(s.readers);
    fr__free(s.kept);
    return status;
}
