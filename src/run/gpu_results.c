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

static fr__buffer *result(const struct fr__gpu_history *h, const fr__gpu_run *r, int j,
                          size_t bytes)
{
    int leaf = h->calls ? h->becomes[j] : -1;
    const char *first = leaf >= 0  ? h->leaves[leaf]
                        : h->calls ? h->last[j]
                                   : NULL,
               *second = leaf < 0 && h->calls ? h->before[j] : NULL;
    char *at = fr__gpu_alloc_at(r->home, bytes, first, second);
    return at ? fr__buffer_around(r->stream, bytes, at) : NULL;
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

static void put_back(fr__buffer **buffers, int n)
{
    while (n)
        fr__buffer_release(buffers[--n]);
}

int fr__gpu_results(fr__gpu_run *r, bool again, fr__buffer **buffers)
{
    const fr__plan *p = r->p;
    struct fr__gpu_history *h = again ? history_of(r->p) : NULL;
    int made = 0, status = 0;
    if (again && !h)
        return -1;
    if (h) {
        pthread_mutex_lock(&h->lock);
        if (h->stream != r->stream)
            h->calls = 0;
        if (h->calls && !as_before(h, r))
            status = find_becomes(h, r);
    }
    for (int i = 0; i < p->nstored && !status; i++) {
        const fr__stored *s = &p->stored[i];
        r->stored[i] = NULL;
        if (s->output < 0)
            continue;
        buffers[made] = h ? result(h, r, made, s->bytes) /* numbered in this order */
                          : fr__buffer_on(r->stream, s->bytes);
        if (buffers[made])
            r->stored[i] = buffers[made++]->data;
        else
            status = -1;
    }
    if (h) {
        if (!status)
            note(h, r, buffers);
        pthread_mutex_unlock(&h->lock);
    }
    if (status)
        put_back(buffers, made);
    return status;
}
