/* gpu_lanes.c - which launches of a recorded plan may run at the same time
 *
 * needs   a plan whose temporaries have places
 * gives   for each launch a lane (a stream that takes part in the recording), and what it waits for on
 *         other lanes
 *
 * Two launches wait for each other only if one writes memory that the other touches: results, and
 * temporaries by where they lie. Leaves are only read, but a result may lie where one does. A launch goes on the lane of the latest one that it
 * waits for, if nothing is behind that; else on one that is done when it begins, or an unused one.
 */
#include "run/gpu.h"

#include <stdlib.h>

enum {
    MOST = 1024,    /* launches: more go one after the other */
    RECORDER = 1023 /* the first of a device's streams for recording; downwards */
};

typedef struct {
    uint64_t from, to;
    bool write;
} touch;

typedef struct {
    fr__gpu_lanes *l;
    const fr__plan *p;
    int32_t *over; /* of a leaf: the stored buffer that is written over it, or -1 */
    int n;         /* launches */
    int *first;    /* step of each, and the number of steps */
    int *touches;  /* of each: first of its touches; and the number of all */
    touch *all;
    uint64_t *before; /* bits: of each launch those that come before it in any case */
    size_t words;     /* of a set */
    int tail[FR__GPU_LANES];
} state;

static uint64_t *set_of(const state *s, int i) { return s->before + s->words * (size_t)i; }

static bool has(const uint64_t *set, int i) { return set[i / 64] >> i % 64 & 1; }

static void add(const state *s, uint64_t *set, int i)
{
    const uint64_t *more = set_of(s, i);
    for (size_t w = 0; w < s->words; w++)
        set[w] |= more[w];
    set[i / 64] |= (uint64_t)1 << i % 64;
}

/* Results lie apart from each other and from the block of temporaries. */
static int touched(const state *st, const fr__step *s, const fr__patch *q, touch *to)
{
    int stored = q->is_leaf ? st->over[q->index] : q->index;
    if (stored < 0)
        return 0;
    const fr__stored *x = &st->p->stored[stored];
    uint64_t from = x->output < 0 ? x->place : (uint64_t)(x->output + 1) << 48;
    *to = (touch){from, from + x->bytes, !q->is_leaf && fr__step_writes(s, q)};
    return 1;
}

/* By the buffers that were given. */
static int find_over(state *s, const fr__gpu_run *r)
{
    fr__numbers results = {0};
    int status = 0;
    for (int i = 0; i < s->p->nstored && !status; i++) {
        int output = s->p->stored[i].output;
        if (output >= 0 && r->given && r->given[output])
            status = fr__numbers_put(&results, r->stored[i], i);
    }
    for (int i = 0; i < s->p->nleaves && !status; i++) {
        const int32_t *at = r->leaves[i] ? fr__numbers_find(&results, r->leaves[i]) : NULL;
        s->over[i] = at ? *at : -1;
    }
    fr__numbers_free(&results);
    return status;
}

static void find_touches(state *s)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        s->touches[i] = n;
        for (int k = s->first[i]; k < s->first[i + 1]; k++)
            for (int j = 0; j < s->p->steps[k].npatches; j++)
                n += touched(s, &s->p->steps[k], &s->p->steps[k].patches[j], &s->all[n]);
    }
    s->touches[s->n] = n;
}

static bool conflict(const state *s, int i, int j)
{
    for (int a = s->touches[i]; a < s->touches[i + 1]; a++)
        for (int b = s->touches[j]; b < s->touches[j + 1]; b++) {
            const touch *x = &s->all[a], *y = &s->all[b];
            if ((x->write || y->write) && x->from < y->to && y->from < x->to)
                return true;
        }
    return false;
}

static int choose_lane(const state *s, int i, int latest)
{
    int best = -1, oldest = 0;
    for (int k = 0; k < s->l->lanes; k++) {
        int tail = s->tail[k];
        if (tail >= 0 && tail == latest)
            return k;
        bool done = tail < 0 || has(set_of(s, i), tail);
        if (done && (best < 0 || tail > s->tail[best]))
            best = k; /* used before, if it can be */
    }
    for (int k = 1; best < 0 && k < s->l->lanes; k++)
        oldest = s->tail[k] < s->tail[oldest] ? k : oldest;
    return best < 0 ? oldest : best;
}

static int place(state *s, int i, uint64_t *known)
{
    fr__gpu_launch_at *at = &s->l->at[i];
    int latest = -1;
    memset(set_of(s, i), 0, sizeof *s->before * s->words);
    for (int j = i - 1; j >= 0; j--)
        if (!has(set_of(s, i), j) && conflict(s, i, j)) {
            latest = latest < 0 ? j : latest;
            add(s, set_of(s, i), j);
        }
    at->lane = choose_lane(s, i, latest);
    int tail = s->tail[at->lane];
    memset(known, 0, sizeof *known * s->words);
    if (tail >= 0)
        add(s, known, tail);
    at->waits = s->l->waits.n;
    for (int j = i - 1; j >= 0; j--) {
        if (!has(set_of(s, i), j) || has(known, j))
            continue;
        add(s, known, j);
        s->l->at[j].waited_for = true;
        if (fr__vec_push(&s->l->waits, j))
            return -1;
    }
    at->nwaits = s->l->waits.n - at->waits;
    memcpy(set_of(s, i), known, sizeof *known * s->words);
    s->tail[at->lane] = i;
    return 0;
}

static int number_launches(state *s)
{
    const fr__plan *p = s->p;
    int touches = 0;
    s->n = 0;
    for (int i = 0; i < p->nsteps; i += p->steps[i].together)
        s->first[s->n++] = i;
    s->first[s->n] = p->nsteps;
    for (int i = 0; i < p->nsteps; i++)
        touches += p->steps[i].npatches;
    return touches;
}

int fr__gpu_lanes_find(const fr__gpu_run *r, fr__gpu_lanes *to)
{
    const fr__plan *p = r->p;
    state s = {.l = to, .p = p};
    int status = -1, touches;
    uint64_t *known = NULL;
    *to = (fr__gpu_lanes){0};
    memset(s.tail, -1, sizeof s.tail);
    s.first = fr__malloc(sizeof *s.first * (2 * ((size_t)p->nsteps + 2) + (size_t)p->nleaves));
    if (!s.first)
        return -1;
    s.touches = s.first + p->nsteps + 2;
    s.over = s.touches + p->nsteps + 2;
    touches = number_launches(&s);
    s.words = ((size_t)s.n + 63) / 64;
    to->n = s.n;
    to->lanes = (int)fr__env_int("CUDA_LANES", 4, 1, FR__GPU_LANES);
    if (!(to->at = fr__calloc((size_t)s.n + 1, sizeof *to->at)))
        goto out;
    if (s.n > MOST) { /* all on the first */
        status = 0;
        goto out;
    }
    s.all = fr__malloc(sizeof *s.all * (size_t)(touches + 1));
    s.before = fr__malloc(sizeof *s.before * s.words * (size_t)(s.n + 1));
    known = fr__malloc(sizeof *known * (s.words + 1));
    if (!s.all || !s.before || !known || find_over(&s, r))
        goto out;
    find_touches(&s);
    status = 0;
    for (int i = 0; i < s.n && !status; i++)
        status = place(&s, i, known);
out:
    if (status)
        fr__gpu_lanes_free(to);
    fr__free(s.first);
    fr__free(s.all);
    fr__free(s.before);
    fr__free(known);
    return status;
}

void fr__gpu_lanes_free(fr__gpu_lanes *l)
{
    fr__free(l->at);
    fr__vec_free(&l->waits);
    *l = (fr__gpu_lanes){0};
}

/* ---- while it is recorded ----------------------------------------------------------------- */

fr__gpu_stream *fr__gpu_lane(fr__gpu *g, int lane)
{
    return fr__gpu_stream_get(g, RECORDER - lane);
}

int fr__gpu_lanes_begin(fr__gpu_run *r, fr__gpu_lanes *l)
{
    memset(l->used, 0, sizeof l->used);
    r->lanes = l;
    l->root = fr__gpu_record_point(r->to);
    return l->root ? 0 : -1;
}

int fr__gpu_lane_begin(fr__gpu_run *r, int i)
{
    fr__gpu_lanes *l = r->lanes;
    const fr__gpu_launch_at *at = &l->at[i];
    fr__gpu_stream *lane = fr__gpu_lane(fr__gpu_of(r->home), at->lane);
    if (!lane || (at->lane && !l->used[at->lane] && fr__gpu_record_join(lane, l->root)))
        return -1;
    l->used[at->lane] = true;
    r->to = lane;
    for (int k = 0; k < at->nwaits; k++)
        if (fr__gpu_record_wait(lane, l->at[l->waits.at[at->waits + k]].point))
            return -1;
    return 0;
}

int fr__gpu_lane_end(fr__gpu_run *r, int i)
{
    fr__gpu_launch_at *at = &r->lanes->at[i];
    return !at->waited_for || (at->point = fr__gpu_record_point(r->to)) ? 0 : -1;
}

int fr__gpu_lanes_end(fr__gpu_run *r)
{
    fr__gpu *g = fr__gpu_of(r->home);
    fr__gpu_lanes *l = r->lanes;
    int status = 0;
    for (int k = 1; k < FR__GPU_LANES; k++)
        if (l->used[k] && fr__gpu_record_leave(fr__gpu_lane(g, 0), fr__gpu_lane(g, k)))
            status = -1;
    for (int i = 0; i < l->n; i++) {
        fr__gpu_point_free(l->at[i].point);
        l->at[i].point = NULL;
    }
    fr__gpu_point_free(l->root);
    l->root = NULL;
    r->lanes = NULL;
    return status;
}
