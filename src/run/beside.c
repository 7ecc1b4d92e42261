/* beside.c - kernels of a program that don't wait for each other, in one launch on the CPU
 *
 * needs   a plan's steps in order; strips are known, no temporary has a place yet
 * gives   step.together; what the steps of one launch say of themselves, as one
 *
 * Neighbours in the order of steps, of which none reads or writes what another one writes. The updates of all
 * parameters are such, and what is little. One that holds temporaries stays by itself: in one launch all
 * of them would live at the same time.
 */
#include "core/place.h"
#include "run/plan.h"

enum {
    SMALL = 64 << 10, /* bytes of temporaries */
#ifdef FERRULE_HARD
    ALONE_WORK = 64,
#else
    ALONE_WORK = 1 << 19, /* launches of less run on the calling thread */
#endif
};

static bool writes(const fr__step *s, const fr__patch *q)
{
    const fr__kernel *k = s->kernel->kernel;
    for (int b = 0; b < k->nbuf; b++)
        if (k->bufs[b].word == q->word && k->bufs[b].role == FR__BUF_OUT)
            return true;
    return false;
}

static bool is_light(const fr__plan *p, const fr__step *s)
{
    size_t held = 0;
    for (int j = 0; j < s->npatches; j++)
        if (!s->patches[j].is_leaf && p->stored[s->patches[j].index].output < 0)
            held += p->stored[s->patches[j].index].bytes;
    return s->kernel && !s->strip && s->range > 0 && held <= SMALL;
}

/* Notes by stored buffer the last step that touched it, that wrote it (1 more than its number; 0: none). */
typedef struct {
    int32_t *touched, *written;
} notes;

/* Whether step i waits for none of the steps from `first` on. */
static bool is_free(const notes *to, const fr__step *s, int first)
{
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        if (!q->is_leaf &&
            (writes(s, q) ? to->touched[q->index] : to->written[q->index]) > first)
            return false;
    }
    return true;
}

static void note(notes *to, const fr__step *s, int i)
{
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        if (q->is_leaf)
            continue;
        to->touched[q->index] = i + 1;
        if (writes(s, q))
            to->written[q->index] = i + 1;
    }
}

/* "3 x add multiply, sqrt" */
static const char *joined_ops(fr__plan *p, const fr__step *s, int n)
{
    enum { MOST = 400 };
    fr__text text = {0};
    for (int i = 0, next; i < n && text.n < MOST; i = next) {
        for (next = i + 1; next < n && !strcmp(s[i].ops, s[next].ops); next++)
            ;
        if (i)
            fr__text_add(&text, ", ");
        if (next > i + 1)
            fr__text_f(&text, "%d x ", next - i);
        fr__text_add(&text, s[i].ops);
    }
    char *to = text.failed ? NULL : fr__arena_alloc(&p->arena, text.n + 1);
    if (to)
        memcpy(to, text.at, text.n + 1);
    fr__text_free(&text);
    return to;
}

static int join(fr__plan *p, int first, int n)
{
    fr__step *s = &p->steps[first];
    if (n == 1)
        return 0;
    int64_t work = 0, words = 0;
    const char *ops = joined_ops(p, s, n);
    if (!ops)
        return -1;
    for (int i = 0; i < n; i++) {
        work += s[i].work;
        words += s[i].nwords;
        s[i].together = i ? 0 : n;
        s->reads += i ? s[i].reads : 0;
        s->writes += i ? s[i].writes : 0;
    }
    s->ops = ops;
    s->alone = work < ALONE_WORK;
    p->max_words = words > p->max_words ? (int)words : p->max_words;
    p->most_together = n > p->most_together ? n : p->most_together;
    p->launches -= n - 1;
    return 0;
}

int fr__plan_beside(fr__plan *p)
{
    for (int i = 0; i < p->nsteps; i++)
        p->steps[i].together = 1;
    notes seen = {.touched = fr__calloc(2 * (size_t)p->nstored + 1, sizeof *seen.touched)};
    if (!seen.touched)
        return -1;
    seen.written = seen.touched + p->nstored;
    int status = 0;
    for (int i = 0, next; i < p->nsteps && !status; i = next) {
        next = i + 1;
        if (!is_light(p, &p->steps[i]))
            continue;
        note(&seen, &p->steps[i], i);
        for (; next < p->nsteps && is_light(p, &p->steps[next]) &&
               is_free(&seen, &p->steps[next], i);
             next++)
            note(&seen, &p->steps[next], next);
        status = join(p, i, next - i);
    }
    fr__free(seen.touched);
    return status;
}
