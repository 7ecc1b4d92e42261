/* gpu_results.c - where a compiled program's results lie: in memory that calls before it had
 *
 * A recorded graph is of addresses, so a loop must come back to the same ones. Its results are usually the
 * next call's arguments, and what those replace is free by then: a result whose last value is argument i of
 * this call is wanted where argument i of the last call was. Other results are wanted where they were in
 * the last call, or the one before that. What isn't free is taken as always.
 */
#include "run/gpu.h"

#include <pthread.h>

#include "core/place.h"
#include "device/cuda/place.h"

struct fr__gpu_history {
    pthread_mutex_t lock;
    uint16_t stream;
    int calls;             /* noted: up to 2 */
    char **leaves;         /* of the last call */
    char **last, **before; /* results of the last call, of the one before */
    int32_t *becomes;      /* of a result: the argument that it is next time, or -1 */
};

static struct fr__gpu_history *history_of(fr__plan *p)
{
    struct fr__gpu_history *h = atomic_load_explicit(&p->history, memory_order_acquire),
                           *none = NULL;
    if (h)
        return h;
    size_t pointers = (size_t)(p->nleaves + 2 * p->owned);
    h = fr__calloc(1, sizeof *h + sizeof(char *) * pointers +
                          sizeof *h->becomes * (size_t)p->owned);
    if (!h)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    h->leaves = (char **)(h + 1);
    h->last = h->leaves + p->nleaves;
    h->before = h->last + p->owned;
    h->becomes = (int32_t *)(h->before + p->owned);
    if (!atomic_compare_exchange_strong(&p->history, &none, h)) {
        fr__gpu_history_free(h);
        h = none;
    }
    return h;
}

void fr__gpu_history_free(struct fr__gpu_history *h)
{
    if (!h)
        return;
    pthread_mutex_destroy(&h->lock);
    fr__free(h);
}

/* Which result of the last call is which argument of this one, by addresses. */
static int find_becomes(struct fr__gpu_history *h, const fr__gpu_run *r)
{
    const fr__plan *p = r->p;
    fr__numbers results = {0};
    int status = 0;
    for (int j = 0; j < p->owned && !status; j++) {
        h->becomes[j] = -1;
        status = fr__numbers_put(&results, h->last[j], j);
    }
    for (int i = 0; i < p->nleaves && !status; i++) {
        const int32_t *j = r->leaves[i] ? fr__numbers_find(&results, r->leaves[i]) : NULL;
        if (j)
            h->becomes[*j] = i;
    }
    fr__numbers_free(&results);
    return status;
}

/* Is it still as it was? Either arguments are the results that they were, or they are the same. */
static bool as_before(const struct fr__gpu_history *h, const fr__gpu_run *r)
{
    bool any = false;
    for (int j = 0; j < r->p->owned; j++) {
        if (h->becomes[j] >= 0 && r->leaves[h->becomes[j]] != h->last[j])
            return false;
        any |= h->becomes[j] >= 0;
    }
    return h->calls > 1 &&
           (any || !memcmp(h->leaves, r->leaves, sizeof *h->leaves * (size_t)r->p->nleaves));
}

/* Is memory to be taken for result j: where none was given; `given`: in the place of what was. */
static bool takes(const fr__gpu_run *r, int j, bool given)
{
    return (r->given && r->given[j]) == given;
}

/* What each result would like best; of how many. */
static int want(const struct fr__gpu_history *h, const fr__gpu_run *r, bool given,
                fr__gpu_want *to)
{
    const fr__plan *p = r->p;
    int n = 0;
    for (int i = 0, j = 0; i < p->nstored; i++) {
        if (p->stored[i].output < 0)
            continue;
        if (!takes(r, j, given)) { /* numbered in this order */
            j++;
            continue;
        }
        fr__gpu_want *w = &to[n++];
        *w = (fr__gpu_want){.bytes = p->stored[i].bytes};
        if (h && h->calls && h->becomes[j] >= 0) {
            w->best[0] = h->leaves[h->becomes[j]];
        } else if (h && h->calls) {
            w->best[0] = h->last[j];
            w->best[1] = h->before[j];
        }
        j++;
    }
    return n;
}

static void note(struct fr__gpu_history *h, const fr__gpu_run *r, fr__buffer *const *buffers)
{
    char **oldest = h->before;
    h->before = h->last;
    h->last = oldest;
    for (int j = 0; j < r->p->owned; j++)
        h->last[j] = buffers[j]->data;
    memcpy(h->leaves, r->leaves, sizeof *h->leaves * (size_t)r->p->nleaves);
    h->calls += h->calls < 2;
    h->stream = r->stream;
}

/* The buffers take over what was taken, also on failure. */
static int make_buffers(const fr__gpu_run *r, int n, fr__gpu_want *w, fr__buffer **made)
{
    int done = 0;
    while (done < n && (made[done] = fr__buffer_around(r->stream, w[done].bytes, w[done].at)))
        done++;
    if (done == n)
        return 0;
    for (int k = done + 1; k < n; k++)
        fr__gpu_free(r->home, w[k].at, w[k].bytes);
    while (done)
        fr__buffer_release(made[--done]);
    return -1;
}

/* New memory for those of `takes`; the others, if they have none yet, have what was given. */
static int take(struct fr__gpu_history *h, fr__gpu_run *r, bool given, fr__buffer **buffers)
{
    const fr__plan *p = r->p;
    enum { FEW = 16 };
    fr__gpu_want few[FEW], *w = few;
    fr__buffer *few_made[FEW], **made = few_made;
    if (p->owned > FEW) {
        w = fr__malloc((sizeof *w + sizeof(fr__buffer *)) * (size_t)p->owned);
        if (!w)
            return -1;
        made = (fr__buffer **)(w + p->owned);
    }
    int n = want(h, r, given, w);
    int status = fr__gpu_alloc_all(r->home, n, w) || make_buffers(r, n, w, made) ? -1 : 0;
    for (int i = 0, j = 0, k = 0; i < p->nstored && !status; i++) {
        if (p->stored[i].output < 0) {
            r->stored[i] = NULL;
            continue;
        }
        if (takes(r, j, given)) {
            if (given)
                fr__buffer_release(buffers[j]);
            buffers[j] = made[k++];
        } else if (!given) {
            buffers[j] = fr__buffer_keep(r->given[j]);
        }
        r->stored[i] = buffers[j++]->data;
    }
    if (w != few)
        fr__free(w);
    return status;
}

int fr__gpu_results(fr__gpu_run *r, bool again, fr__buffer **buffers)
{
    struct fr__gpu_history *h = again ? history_of(r->p) : NULL;
    if (!h)
        return again ? -1 : take(NULL, r, false, buffers);
    pthread_mutex_lock(&h->lock);
    if (h->stream != r->stream)
        h->calls = 0;
    int status = h->calls && !as_before(h, r) ? find_becomes(h, r) : 0;
    status = status ? status : take(h, r, false, buffers);
    pthread_mutex_unlock(&h->lock);
    return status;
}

int fr__gpu_results_apart(fr__gpu_run *r, bool again, fr__buffer **buffers)
{
    struct fr__gpu_history *h = again ? history_of(r->p) : NULL;
    if (!h)
        return again ? -1 : take(NULL, r, true, buffers);
    pthread_mutex_lock(&h->lock);
    int status = take(h, r, true, buffers);
    pthread_mutex_unlock(&h->lock);
    return status;
}

void fr__gpu_results_note(fr__gpu_run *r, fr__buffer *const *buffers)
{
    struct fr__gpu_history *h = history_of(r->p); /* there since the results were taken */
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    note(h, r, buffers);
    pthread_mutex_unlock(&h->lock);
}
