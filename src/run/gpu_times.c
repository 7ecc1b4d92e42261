/* gpu_times.c - how long the steps of a program take on a GPU, by events between them
 *
 * A program's first runs are timed, which are launched step by step; what the events tell is read when
 * somebody asks (explain). For FERRULE_TRACE every run is, and waited for.
 */
#include "run/gpu.h"

enum { TIMED = 4 }; /* runs */

struct fr__gpu_times {
    int n;      /* launches */
    int *first; /* step of each; one more: the number of steps */
    fr__gpu_mark **marks;
};

void fr__gpu_times_free(struct fr__gpu_times *t)
{
    for (int i = 0; t && i <= t->n; i++)
        fr__gpu_mark_free(t->marks[i]);
    fr__free(t);
}

static void mark(fr__gpu_run *r, int at, int step)
{
    fr__saved_error e;
    struct fr__gpu_times *t = r->times;
    fr__error_save(&e);
    t->marks[at] = fr__gpu_mark_new(r->home);
    fr__error_restore(&e); /* what is wrong is told by what matters */
    t->first[at] = step;
    t->n = at;
    if (t->marks[at])
        return;
    fr__gpu_times_free(t);
    r->times = NULL;
}

void fr__gpu_times_begin(fr__gpu_run *r)
{
    fr__plan *p = r->p;
    fr__saved_error e;
    size_t most = (size_t)p->nsteps + 1;
    r->times = NULL;
    if (r->kept || !p->nsteps || (p->steps[0].runs >= TIMED && !fr__events_on()))
        return;
    fr__error_save(&e);
    struct fr__gpu_times *t =
        fr__calloc(1, sizeof *t + (sizeof *t->marks + sizeof *t->first) * most);
    fr__error_restore(&e);
    if (!(r->times = t))
        return;
    t->marks = (fr__gpu_mark **)(t + 1);
    t->first = (int *)(t->marks + most);
    mark(r, 0, 0);
}

void fr__gpu_times_step(fr__gpu_run *r, int next)
{
    if (r->times)
        mark(r, r->times->n + 1, next);
}

/* The launch's time goes to its steps in equal parts. began: when the first did, or 0: no events. */
static void note(fr__plan *p, const struct fr__gpu_times *t, double began)
{
    for (int i = 0; i < t->n; i++) {
        double seconds = fr__gpu_mark_seconds(t->marks[i], t->marks[i + 1]);
        int first = t->first[i], n = t->first[i + 1] - first;
        for (int k = first; k < first + n && seconds >= 0; k++) {
            fr__step *s = &p->steps[k];
            atomic_fetch_add_explicit(&s->timed, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&s->nanoseconds, (int64_t)(1e9 * seconds / n),
                                      memory_order_relaxed);
        }
        if (began > 0 && seconds >= 0) {
            const fr__step *s = &p->steps[first];
            fr__event(s->native ? "routine" : "kernel", s->ops, began, seconds,
                      n > 1 ? "GPU, many as one" : "GPU");
            began += seconds;
        }
    }
}

void fr__gpu_times_settle(fr__plan *p)
{
    fr__saved_error e;
    struct fr__gpu_times *t = atomic_exchange(&p->times, NULL);
    if (!t)
        return;
    fr__error_save(&e);
    note(p, t, 0);
    fr__error_restore(&e);
    fr__gpu_times_free(t);
}

void fr__gpu_times_end(fr__gpu_run *r)
{
    fr__saved_error e;
    struct fr__gpu_times *t = r->times;
    r->times = NULL;
    if (!t)
        return;
    fr__gpu_times_settle(r->p);
    if (!fr__events_on()) {
        fr__gpu_times_free(atomic_exchange(&r->p->times, t));
        return;
    }
    fr__error_save(&e);
    double all = fr__gpu_mark_seconds(t->marks[0], t->marks[t->n]); /* waits */
    note(r->p, t, all < 0 ? 0 : fr__now() - all);
    fr__error_restore(&e);
    fr__gpu_times_free(t);
}
