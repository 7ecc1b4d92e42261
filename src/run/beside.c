/* beside.c - kernels of a program that don't wait for each other, in one launch on the CPU
 *
 * needs   a plan's steps in order; strips are known, no temporary has a place yet
 * gives   step.together
 *
 * Neighbours in the order of steps, of which none reads or writes what another one writes. The updates of all
 * parameters are such, and what is little. One that holds temporaries stays by itself: in one launch all
 * of them would live at the same time.
 */
#include "core/place.h"
#include "run/plan.h"

enum { SMALL = 64 << 10 /* bytes of temporaries */ };

static bool is_light(const fr__plan *p, const fr__step *s)
{
    size_t held = 0;
    for (int j = 0; j < s->npatches; j++)
        if (!s->patches[j].is_leaf && p->stored[s->patches[j].index].output < 0)
            held += p->stored[s->patches[j].index].bytes;
    return s->kernel && !s->strip && !s->made && s->range > 0 && held <= SMALL;
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
            (fr__step_writes(s, q) ? to->touched[q->index] : to->written[q->index]) > first)
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
        if (fr__step_writes(s, q))
            to->written[q->index] = i + 1;
    }
}

static void join(fr__plan *p, int first, int n)
{
    fr__step *s = &p->steps[first];
    int64_t work = 0, words = 0;
    if (n == 1)
        return;
    for (int i = 0; i < n; i++) {
        work += s[i].work;
        words += s[i].nwords;
        s[i].together = i ? 0 : n;
    }
    s->alone = work < FR__ALONE_WORK;
    p->max_words = words > p->max_words ? (int)words : p->max_words;
    p->most_together = n > p->most_together ? n : p->most_together;
}

int fr__plan_beside(fr__plan *p)
{
    for (int i = 0; i < p->nsteps; i++)
        p->steps[i].together = 1;
    notes seen = {.touched = fr__calloc(2 * (size_t)p->nstored + 1, sizeof *seen.touched)};
    if (!seen.touched)
        return -1;
    seen.written = seen.touched + p->nstored;
    for (int i = 0, next; i < p->nsteps; i = next) {
        next = i + 1;
        if (!is_light(p, &p->steps[i]))
            continue;
        note(&seen, &p->steps[i], i);
        for (; next < p->nsteps && is_light(p, &p->steps[next]) &&
               is_free(&seen, &p->steps[next], i);
             next++)
            note(&seen, &p->steps[next], next);
        join(p, i, next - i);
    }
    fr__free(seen.touched);
    return 0;
}
