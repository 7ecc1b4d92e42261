/* gpu_graph.c - a compiled program's steps as one recorded graph, started at once
 *
 * A recording is of addresses and numbers. So it is made when the same ones come for the second time:
 * results that are let go of leave their memory to the next call's, and a loop comes back to the same
 * places after a call or two. A plan keeps a few; one whose addresses don't come back stops recording.
 *
 * The memory that a recording works with is its own as long as it lives.
 */
#include "run/gpu.h"

#include <pthread.h>

#include "device/cuda/cuda.h"

enum {
    KEPT = 4,      /* recordings of a plan */
    SEEN = 8,      /* calls that a plan remembers */
    PATIENCE = 32, /* recordings that were thrown away before a plan gives up */
};

typedef struct recording {
    uint64_t *key;
    fr__gpu_graph *graph;
    fr__gpu_stream *home;
    fr__gpu_kept memory;
    fr__gpu_blocks working; /* where it can't share that of the others */
    int64_t used;           /* the number of the call that used it last */
} recording;

struct fr__gpu_recordings {
    pthread_mutex_t lock;
    size_t words; /* of a key */
    recording kept[KEPT];
    uint64_t seen[SEEN];    /* hashes of keys */
    fr__gpu_blocks working; /* of all recordings that run on this stream */
    fr__gpu_stream *home;
    int64_t calls, thrown;
    _Atomic bool hopeless; /* something can't be recorded; looked at without the lock */
};

static pthread_mutex_t recorder = PTHREAD_MUTEX_INITIALIZER; /* one records at a time */

static bool wanted(void)
{
    static const char *const names[] = {"0", "off", "1", "on", NULL};
    static _Atomic int known = -1;
    int v = atomic_load_explicit(&known, memory_order_relaxed);
    if (v < 0) {
        int choice = fr__env_choice("CUDA_GRAPHS", names, "0, off, 1 or on");
        v = choice != 0 && choice != 1;
        atomic_store_explicit(&known, v, memory_order_relaxed);
    }
    return v;
}

/* Addresses, numbers and the stream of a call. */
static void write_key(const fr__gpu_run *r, uint64_t *to)
{
    *to++ = r->stream;
    for (int i = 0; i < r->p->nleaves; i++)
        *to++ = (uintptr_t)r->leaves[i];
    for (int i = 0; i < r->p->nstored; i++)
        if (r->p->stored[i].output >= 0)
            *to++ = (uintptr_t)r->stored[i];
    for (int i = 0; i < r->p->nliterals; i++)
        *to++ = (uint64_t)r->literals[i];
}

static void free_blocks(fr__gpu_stream *home, fr__gpu_blocks *blocks)
{
    for (int i = 0; i < blocks->n; i++)
        fr__gpu_free(home, blocks->at[i].at, blocks->at[i].bytes);
    fr__vec_free(blocks);
}

static void free_recording(recording *g)
{
    fr__gpu_graph_free(g->graph);
    free_blocks(g->home, &g->memory.own);
    free_blocks(g->home, &g->working);
    fr__free(g->key);
    *g = (recording){NULL};
}

void fr__gpu_recordings_free(struct fr__gpu_recordings *all)
{
    if (!all)
        return;
    for (int i = 0; i < KEPT; i++)
        free_recording(&all->kept[i]);
    free_blocks(all->home, &all->working);
    pthread_mutex_destroy(&all->lock);
    fr__free(all);
}

/* Of this plan, made at the first asking; NULL: nothing is to be recorded. */
static struct fr__gpu_recordings *recordings_of(fr__plan *p)
{
    struct fr__gpu_recordings *all = atomic_load_explicit(&p->recordings, memory_order_acquire),
                              *none = NULL;
    if (all)
        return all;
    if (!(all = fr__calloc(1, sizeof *all)))
        return NULL;
    pthread_mutex_init(&all->lock, NULL);
    all->words = 1 + (size_t)(p->nleaves + p->owned + p->nliterals);
    if (!atomic_compare_exchange_strong(&p->recordings, &none, all)) {
        fr__gpu_recordings_free(all);
        all = none;
    }
    return all;
}

static bool seen_before(struct fr__gpu_recordings *all, uint64_t hash)
{
    for (int i = 0; i < SEEN; i++)
        if (all->seen[i] == hash)
            return true;
    all->seen[all->calls % SEEN] = hash;
    return false;
}

/* Records the run into g; NULL key: it came to nothing, and the run is still to be done. */
static void record(fr__gpu_run *r, struct fr__gpu_recordings *all, recording *g,
                   const uint64_t *key)
{
    fr__saved_error error;
    fr__gpu_stream *to = fr__gpu_lane(fr__gpu_of(r->home), 0);
    fr__gpu_lanes lanes;
    *g = (recording){.home = r->home};
    if (!all->home)
        all->home = r->home;
    g->memory.working = all->home == r->home ? &all->working : &g->working;
    fr__error_save(&error);
    pthread_mutex_lock(&recorder);
    if (to && !fr__gpu_lanes_find(r, &lanes)) {
        if (!fr__gpu_record_begin(to)) {
            r->to = to;
            r->kept = &g->memory;
            int failed = fr__gpu_lanes_begin(r, &lanes) || fr__gpu_run_steps(r);
            failed |= fr__gpu_lanes_end(r);
            g->graph = fr__gpu_record_end(to);
            r->to = r->home;
            r->kept = NULL;
            if (!failed && g->graph && !fr__failed())
                g->key = fr__memdup(key, all->words * sizeof *key);
        }
        fr__gpu_lanes_free(&lanes);
    }
    pthread_mutex_unlock(&recorder);
    if (!g->key)
        free_recording(g);
    fr__error_restore(&error); /* it runs as it did before; what is wrong there will be told */
}

int fr__gpu_replay(fr__gpu_run *r, bool *done)
{
    struct fr__gpu_recordings *all = wanted() ? recordings_of(r->p) : NULL;
    enum { FEW = 512 };
    uint64_t few[FEW], *key = few;
    *done = false;
    if (!all || atomic_load_explicit(&all->hopeless, memory_order_relaxed))
        return 0;
    if (all->words > FEW && !(key = fr__malloc(sizeof *key * all->words)))
        return -1;
    write_key(r, key);
    int status = 0, at = -1, oldest = 0;
    pthread_mutex_lock(&all->lock);
    all->calls++;
    for (int i = 0; i < KEPT; i++) {
        if (all->kept[i].key && !memcmp(all->kept[i].key, key, sizeof *key * all->words))
            at = i;
        if (all->kept[i].used < all->kept[oldest].used)
            oldest = i;
    }
    if (at < 0 && seen_before(all, fr__hash(key, sizeof *key * all->words, 0))) {
        all->thrown += all->kept[oldest].key != NULL;
        free_recording(&all->kept[oldest]);
        record(r, all, &all->kept[oldest], key);
        at = all->kept[oldest].key ? oldest : -1;
        all->hopeless = at < 0 || all->thrown > PATIENCE;
    }
    if (at >= 0) {
        all->kept[at].used = all->calls;
        for (int i = 0; i < r->p->nsteps; i++)
            atomic_fetch_add_explicit(&r->p->steps[i].runs, 1, memory_order_relaxed);
        *done = true;
        status = fr__gpu_graph_launch(r->home, all->kept[at].graph, r->p->steps[0].ops);
    }
    pthread_mutex_unlock(&all->lock);
    if (key != few)
        fr__free(key);
    return status;
}
