/* gpu_gather.c - steps of one kernel put side by side, to be one launch on a GPU
 *
 * needs   a plan's steps, in an order that is right; no temporary has a place yet
 * gives   another order that is right; step.together
 *
 * Steps that nobody waits for but their like (updates of parameters, the sums of few numbers that go into
 * them) may come last. There equal kernels stand together, by how many of their like they wait for, and
 * are launched as one, which finds what each does in a table. What such a step reads must not be much:
 * its memory is kept until then.
 */
#include "run/gpu.h"

#include <stdlib.h>

#include "device/cuda/launch.h"

enum {
    LEAST = 3, /* steps that are worth a table */
    KEPT =
        512 << 10, /* bytes of temporaries that a step may keep from others; one that reads more
                            is worth a launch, which has others beside it meanwhile */
    KEPT_ALL = 64 << 20, /* all of them */
    SMALL = 64 << 10,    /* a temporary that doesn't matter */
    LARGE = 128 << 20,   /* bytes of a step whose launch doesn't matter */
    MOST_SCRATCH = 40 << 10,
};

typedef struct {
    int step, depth, kernel; /* kernel: the number of the first late step that has it */
    unsigned threads;
} late_step;

typedef struct {
    fr__plan *p;
    bool *late;              /* by step */
    bool *touched, *written; /* by stored buffer: by a later step that isn't late */
    int32_t *read_at,
        *made_at; /* by stored buffer: depth of late steps that touch, write it; -1 */
    size_t kept;
} state;

static bool may_wait(const state *st, const fr__step *s)
{
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        if (!q->is_leaf &&
            (fr__step_writes(s, q) ? st->touched[q->index] : st->written[q->index]))
            return false;
    }
    return true;
}

/* Temporaries that it reads, where that is more than what it makes. */
static size_t keeps(const state *st, const fr__step *s)
{
    size_t read = 0, made = 0;
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        if (q->is_leaf)
            continue;
        const fr__stored *x = &st->p->stored[q->index];
        if (fr__step_writes(s, q))
            made += x->bytes;
        else if (x->output < 0)
            read += x->bytes;
    }
    return read <= SMALL ? 0 : read > made ? SIZE_MAX : read;
}

static void find_late(state *st)
{
    const fr__plan *p = st->p;
    for (int i = p->nsteps - 1; i >= 0; i--) {
        const fr__step *s = &p->steps[i];
        bool late = s->kernel && s->nwords == s->kernel->kernel->nword &&
                    s->scratch <= MOST_SCRATCH && s->range > 0 &&
                    s->reads + s->writes <= LARGE && may_wait(st, s);
        if (late) {
            size_t kept = keeps(st, s);
            late = kept <= KEPT && st->kept + kept <= KEPT_ALL;
            st->kept += late ? kept : 0;
        }
        st->late[i] = late;
        for (int j = 0; j < s->npatches && !late; j++) {
            const fr__patch *q = &s->patches[j];
            if (q->is_leaf)
                continue;
            st->touched[q->index] = true;
            st->written[q->index] |= fr__step_writes(s, q);
        }
    }
}

/* After all late steps that it waits for. */
static int depth_of(state *st, const fr__step *s)
{
    int depth = 0;
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        if (q->is_leaf)
            continue;
        int before = st->made_at[q->index];
        if (fr__step_writes(s, q) && st->read_at[q->index] > before)
            before = st->read_at[q->index];
        depth = before >= depth ? before + 1 : depth;
    }
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        int32_t *at = q->is_leaf              ? NULL
                      : fr__step_writes(s, q) ? &st->made_at[q->index]
                                              : &st->read_at[q->index];
        if (at && *at < depth)
            *at = depth;
    }
    return depth;
}

static int by_kernel(const void *a, const void *b)
{
    const late_step *x = a, *y = b;
    return x->depth != y->depth       ? x->depth - y->depth
           : x->kernel != y->kernel   ? x->kernel - y->kernel
           : x->threads != y->threads ? (x->threads < y->threads ? -1 : 1)
                                      : x->step - y->step;
}

static int number_kernels(const fr__plan *p, late_step *to, int n)
{
    fr__numbers seen = {0};
    int status = 0;
    for (int i = 0; i < n && !status; i++) {
        const fr__kentry *e = p->steps[to[i].step].kernel;
        const int32_t *number = fr__numbers_find(&seen, e);
        to[i].kernel = number ? *number : i;
        if (!number)
            status = fr__numbers_put(&seen, e, i);
    }
    fr__numbers_free(&seen);
    return status;
}

static bool alike(const fr__plan *p, const late_step *x, const late_step *y)
{
    return x->depth == y->depth && x->kernel == y->kernel && x->threads == y->threads &&
           p->steps[x->step].scratch == p->steps[y->step].scratch;
}

/* The late ones last, in that order. */
static int order(state *st, fr__step *steps, const late_step *late, int n)
{
    fr__plan *p = st->p;
    int at = 0;
    for (int i = 0; i < p->nsteps; i++)
        if (!st->late[i])
            steps[at++] = p->steps[i];
    for (int i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && alike(p, &late[i], &late[next]); next++)
            ;
        bool one = next - i >= LEAST;
        for (int k = i; k < next; k++) {
            steps[at] = p->steps[late[k].step];
            steps[at++].together = !one ? 1 : k > i ? 0 : next - i;
        }
    }
    for (int i = 0; i < p->nsteps; i++)
        p->steps[i] = steps[i];
    return 0;
}

static int gather(state *st, fr__step *steps, late_step *late)
{
    fr__plan *p = st->p;
    int n = 0;
    find_late(st);
    for (int i = 0; i < p->nstored; i++)
        st->read_at[i] = st->made_at[i] = -1;
    for (int i = 0; i < p->nsteps; i++) {
        const fr__step *s = &p->steps[i];
        if (st->late[i]) {
            late[n++] =
                (late_step){.step = i,
                            .depth = depth_of(st, s),
                            .threads = fr__gpu_kernel_threads(s->kernel->kernel, s->words)};
        }
    }
    if (number_kernels(p, late, n))
        return -1;
    qsort(late, (size_t)n, sizeof *late, by_kernel);
    return order(st, steps, late, n);
}

int fr__gpu_gather(fr__plan *p)
{
    size_t steps = (size_t)p->nsteps + 1, stored = (size_t)p->nstored + 1;
    for (int i = 0; i < p->nsteps; i++)
        p->steps[i].together = 1;
    if (p->nsteps < LEAST)
        return 0;
    state st = {.p = p, .late = fr__calloc(steps + 2 * stored, sizeof *st.late)};
    fr__step *room = fr__malloc(sizeof *room * steps);
    late_step *late = fr__malloc(sizeof *late * steps);
    st.read_at = fr__malloc(2 * sizeof *st.read_at * stored);
    int status = -1;
    if (st.late && room && late && st.read_at) {
        st.touched = st.late + steps;
        st.written = st.touched + stored;
        st.made_at = st.read_at + stored;
        status = gather(&st, room, late);
    }
    fr__free(st.late);
    fr__free(st.read_at);
    fr__free(room);
    fr__free(late);
    return status;
}
