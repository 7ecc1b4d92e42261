/* gpu.c - a plan on a GPU: its kernels and routines queued on a stream
 *
 * needs   a plan of a GPU's place
 * gives   results in buffers on the GPU whose values are there once the stream has come so far
 *
 * All code is made and all memory taken before the first kernel is queued, as on the CPU. What the
 * device finds wrong later is told by the next wait.
 */
#include "core/alloc.h"
#include "core/place.h"
#include "device/cuda/launch.h"
#include "device/cuda/place.h"
#include "device/cuda/routine.h"
#include "device/launch.h"
#include "run/gpu.h"

#include "base/pool.h"

enum { ALIGNED = 256 }; /* an address that is nowhere */

/* ---- working memory ------------------------------------------------------------------------- */

static char *keep(fr__gpu_run *r, fr__gpu_blocks *in, size_t bytes)
{
    char *at = fr__gpu_alloc(r->home, bytes);
    if (!at || !fr__vec_push(in, (fr__gpu_block){at, bytes}))
        return at;
    fr__gpu_free(r->home, at, bytes);
    return NULL;
}

char *fr__gpu_take(fr__gpu_run *r, size_t bytes)
{
    fr__gpu_kept *k = r->kept;
    if (r->dry)
        return (char *)(uintptr_t)ALIGNED;
    if (!k)
        return fr__gpu_alloc(r->home, bytes);
    for (int i = k->next; i < k->working->n; i++)
        if (k->working->at[i].bytes == bytes) {
            fr__gpu_block found = k->working->at[i];
            k->working->at[i] = k->working->at[k->next];
            k->working->at[k->next++] = found;
            return found.at;
        }
    char *at = keep(r, k->working, bytes);
    if (at) {
        fr__gpu_block *last = &k->working->at[k->working->n - 1], made = *last;
        *last = k->working->at[k->next];
        k->working->at[k->next++] = made;
    }
    return at;
}

char *fr__gpu_take_filled(fr__gpu_run *r, size_t bytes)
{
    return r->kept ? keep(r, &r->kept->own, bytes) : fr__gpu_alloc(r->home, bytes);
}

void fr__gpu_give(fr__gpu_run *r, char *block, size_t bytes)
{
    if (!r->kept && !r->dry)
        fr__gpu_free(r->home, block, bytes);
}

int fr__gpu_kernel_queue(fr__gpu_run *r, fr__gpu_kernel *l)
{
    int64_t bytes = fr__gpu_kernel_room(fr__gpu_of(r->home), l);
    l->up = r->home;
    l->room = bytes > 0 ? fr__gpu_take_filled(r, (size_t)bytes) : NULL;
    if (bytes < 0 || (bytes && !l->room))
        return -1;
    int status = fr__gpu_kernel_run(r->to, l);
    if (l->room)
        fr__gpu_give(r, l->room, (size_t)bytes);
    return status;
}

/* ---- routines on the host -------------------------------------------------------------- */

/* Where data of a routine's lies on the host, meanwhile. */
typedef struct {
    char *data[FR__INPUTS + 2], *block[FR__INPUTS + 2];
    size_t bytes[FR__INPUTS + 2];
} on_host;

static void free_host(on_host *h)
{
    for (int i = 0; i < FR__COUNT(h->block); i++)
        if (h->block[i])
            fr__data_free(h->block[i], h->bytes[i]);
}

static int bring(fr__gpu_run *r, const fr__step *s, on_host *h)
{
    int nin = s->native->nin;
    for (int i = 0; i < s->npatches; i++) {
        const fr__patch *q = &s->patches[i];
        int w = q->word;
        if (q->is_leaf) {
            fr_array *x = r->arrays[q->index];
            char *at = fr__host_data(x);
            if (!at && fr__failed())
                return -1;
            h->data[w] = at + q->offset;
            continue;
        }
        h->bytes[w] = r->p->stored[q->index].bytes;
        if (!(h->block[w] = fr__data_alloc(h->bytes[w])))
            return -1;
        h->data[w] = h->block[w] + q->offset;
        if (w < nin && fr__gpu_download(r->home, h->block[w], r->stored[q->index], h->bytes[w]))
            return -1;
    }
    return 0;
}

/* A routine that the GPU has no code for: its inputs come to the host, its result goes back. */
static int run_on_host(fr__gpu_run *r, const fr__step *s)
{
    on_host h = {{NULL}, {NULL}, {0}};
    int threads = fr__pool_threads(), status = -1, nin = s->native->nin;
    char *space = NULL;
    size_t bytes = 0;
    if (bring(r, s, &h))
        goto out;
    fr__native_launch l = {
        .call = s->native, .data = h.data, .alone = s->alone, .threads = threads};
    bytes = fr__cpu_native_space(&l);
    if (bytes && !(space = fr__data_alloc(bytes)))
        goto out;
    fr__cpu_native(&l, space);
    status = 0;
    for (int i = 0; i < s->npatches; i++) {
        const fr__patch *q = &s->patches[i];
        if (q->word == nin && h.bytes[nin])
            status |= fr__gpu_upload(r->home, r->stored[q->index], h.block[nin], h.bytes[nin]);
    }
out:
    if (space)
        fr__data_free(space, bytes);
    free_host(&h);
    return status;
}

/* ---- routines of the GPU ----------------------------------------------------------------- */

static bool is_conv(const fr__native *n)
{
    return n == &fr__native_conv || n == &fr__native_conv_filter;
}

static bool is_product(const fr__native *n) { return n == &fr__native_contract || is_conv(n); }

static int run_routine(fr__gpu_run *r, const fr__native_call *c, char *const *data, bool *done)
{
    return c->routine == &fr__native_contract ? fr__gpu_product_run(r, c, data, done)
           : is_conv(c->routine)              ? fr__gpu_conv_run(r, c, data, done)
                                              : fr__gpu_routine_run(r, c, data, done);
}

static int run_native(fr__gpu_run *r, const fr__step *s)
{
    char *data[FR__INPUTS + 2] = {NULL};
    bool done = false;
    for (int i = 0; i < s->npatches; i++) {
        const fr__patch *q = &s->patches[i];
        data[q->word] = (q->is_leaf ? r->leaves[q->index] : r->stored[q->index]) + q->offset;
    }
    int status = run_routine(r, s->native, data, &done);
    if (status || done)
        return status;
    if (r->kept)
        return fr__fail_int(FR__E_DEVICE, "a routine of the host can't be recorded");
    return run_on_host(r, s);
}

/* ---- a run ------------------------------------------------------------------------------ */

static int queue_one(fr__gpu_run *r, int i)
{
    fr__step *s = &r->p->steps[i];
    if (s->native)
        return run_native(r, s);
    fr__step_words(r->p, s, r->leaves, r->literals, r->stored, r->words);
    return fr__gpu_kernel_queue(r, &(fr__gpu_kernel){.kernel = s->kernel->kernel,
                                                     .code = r->code[i],
                                                     .words = r->words,
                                                     .nwords = s->nwords,
                                                     .range = s->range,
                                                     .scratch = s->scratch,
                                                     .name = s->kernel->name[FR__ONE]});
}

/* Brings the table and the numbers of its blocks to the device, by the stream that doesn't record. */
static int queue_table(fr__gpu_run *r, fr__gpu_many *m)
{
    size_t row_bytes = sizeof *m->table * fr__gpu_row(m) * (size_t)m->rows, bytes = 0;
    int64_t blocks = fr__gpu_many_blocks(m);
    if (blocks < 0)
        return -1;
    bytes = row_bytes + sizeof(uint32_t) * (size_t)blocks;
    char *here = fr__realloc(m->table, bytes),
         *there = here ? fr__gpu_take_filled(r, bytes) : NULL;
    m->table = here ? (uint64_t *)(void *)here : m->table;
    if (!there)
        return -1;
    fr__gpu_many_which(m, (uint32_t *)(void *)(here + row_bytes));
    int status = fr__gpu_upload(r->home, there, here, bytes) ||
                         fr__gpu_many_run(r->to, m, blocks, there, there + row_bytes)
                     ? -1
                     : 0;
    fr__gpu_give(r, there, bytes);
    return status;
}

/* Steps of one kernel, as one launch. */
static int queue_together(fr__gpu_run *r, int first)
{
    const fr__step *s = &r->p->steps[first];
    fr__gpu_many m = {.kernel = s->kernel->kernel,
                      .code = r->code[first],
                      .rows = s->together,
                      .scratch = s->scratch,
                      .name = s->kernel->name[FR__MANY]};
    m.table = fr__malloc(sizeof *m.table * fr__gpu_row(&m) * (size_t)m.rows);
    if (!m.table)
        return -1;
    for (int i = 0; i < m.rows; i++) {
        uint64_t *row = m.table + fr__gpu_row(&m) * (size_t)i;
        row[FR__ROW_RANGE] = (uint64_t)s[i].range;
        fr__step_words(r->p, &s[i], r->leaves, r->literals, r->stored, row + FR__ROW_WORDS);
    }
    int status = queue_table(r, &m);
    fr__free(m.table);
    return status;
}

static int queue_step(fr__gpu_run *r, int i)
{
    fr__step *s = &r->p->steps[i];
    for (int k = 0; k < s->together && !r->kept; k++) /* what is recorded runs later */
        atomic_fetch_add_explicit(&s[k].runs, 1, memory_order_relaxed);
    return s->together > 1 ? queue_together(r, i) : queue_one(r, i);
}

static fr__entry entry_of(const fr__step *s) { return s->together > 1 ? FR__MANY : FR__ONE; }

static int find_leaves(fr__gpu_run *r)
{
    for (int i = 0; i < r->p->nleaves; i++) {
        r->leaves[i] = fr__data_on(r->arrays[i], r->stream);
        if (!r->leaves[i] && fr__failed())
            return -1;
    }
    return 0;
}

/* Modules of routines that the plan's steps will ask for. */
static void collect_modules(const fr__gpu_run *r, fr__gpu_modules *to)
{
    fr__gpu_run dry = *r;
    fr__saved_error e;
    dry.dry = true;
    fr__error_save(&e);
    fr__gpu_collect(to);
    for (int i = 0; i < r->p->nsteps; i++) {
        const fr__native_call *c = r->p->steps[i].native;
        char *data[FR__INPUTS + 2];
        bool done = false;
        if (!c || is_product(c->routine))
            continue;
        for (int k = 0; k < FR__COUNT(data); k++)
            data[k] = (char *)(uintptr_t)ALIGNED;
        run_routine(&dry, c, data, &done);
    }
    fr__gpu_collect(NULL);
    fr__error_restore(&e); /* what is wrong is told when it matters */
}

/* Of a first call: all that is missing, at once. */
static int make_code(fr__gpu_run *r)
{
    const fr__plan *p = r->p;
    int n = 0;
    fr__gpu_modules modules = {0};
    fr__wanted *wanted =
        fr__malloc(sizeof *wanted * ((size_t)p->nsteps + FR__COUNT(modules.at)));
    if (!wanted)
        return -1;
    collect_modules(r, &modules);
    for (int i = 0; i < modules.n; i++)
        wanted[n++] = (fr__wanted){.module = modules.at[i]};
    for (int i = 0; i < p->nsteps; i++)
        if (!p->steps[i].native && p->steps[i].together)
            wanted[n++] =
                (fr__wanted){.of = p->steps[i].kernel, .entry = entry_of(&p->steps[i])};
    int status = fr__kcache_make(n, wanted, fr__gpu_of(r->home));
    fr__free(wanted);
    return status;
}

static int find_code(fr__gpu_run *r)
{
    fr__gpu *g = fr__gpu_of(r->home);
    bool made = r->p->nsteps && !r->p->steps[0].runs;
    if (made && make_code(r))
        return -1;
    for (int i = 0; i < r->p->nsteps; i++) {
        const fr__step *s = &r->p->steps[i];
        r->code[i] = NULL;
        if (s->native || !s->together)
            continue;
        if (!made && !fr__kcache_has(s->kernel, g, entry_of(s))) {
            if (make_code(r))
                return -1;
            made = true;
        }
        if (!(r->code[i] = fr__kcache_gpu_code(s->kernel, g, entry_of(s))))
            return -1;
    }
    return 0;
}

/* Waits for it, to tell what it took. */
static int show_step(fr__gpu_run *r, int i)
{
    const fr__step *s = &r->p->steps[i];
    fr__gpu_mark *from = fr__gpu_mark_new(r->home);
    int status = from ? queue_step(r, i) : -1;
    fr__gpu_mark *to = status ? NULL : fr__gpu_mark_new(r->home);
    double seconds = to ? fr__gpu_mark_seconds(from, to) : -1;
    if (seconds >= 0)
        fr__debug_print(
            "  %s %s on the GPU: %d times, range %lld, %zu bytes, %.1f us: %.100s\n",
            s->native ? "routine" : "kernel",
            s->native ? s->native->routine->name : s->kernel->name[entry_of(s)], s->together,
            (long long)s->range, s->reads + s->writes, 1e6 * seconds, s->ops);
    fr__gpu_mark_free(from);
    fr__gpu_mark_free(to);
    return seconds < 0 ? -1 : 0;
}

static int queue_on_lane(fr__gpu_run *r, int i, int launch)
{
    return fr__gpu_lane_begin(r, launch) || queue_step(r, i) || fr__gpu_lane_end(r, launch) ? -1
                                                                                            : 0;
}

int fr__gpu_run_steps(fr__gpu_run *r)
{
    fr__plan *p = r->p;
    char *temporary = NULL;
    int status = 0;
    if (p->temporary && !(temporary = fr__gpu_take(r, p->temporary)))
        return -1;
    for (int i = 0; i < p->nstored; i++)
        if (p->stored[i].output < 0)
            r->stored[i] = temporary + p->stored[i].place;
    fr__gpu_times_begin(r);
    for (int i = 0, n = 0; i < p->nsteps && !status; i += p->steps[i].together, n++) {
        status = FR__UNLIKELY(fr__debug() >= 2) && !r->kept ? show_step(r, i)
                 : r->lanes                                 ? queue_on_lane(r, i, n)
                                                            : queue_step(r, i);
        fr__gpu_times_step(r, i + p->steps[i].together);
    }
    fr__gpu_times_end(r);
    fr__gpu_give(r, temporary, p->temporary); /* what is queued later may have it at once */
    return status;
}

/* From a recording, or step by step. */
static int run(fr__gpu_run *r, bool again, fr__buffer **buffers)
{
    bool done = false;
    int status = again ? fr__gpu_replay(r, &done) : 0;
    if (status || done)
        return status;
    /* A step may fail when others are queued: then what was given must be as it is. */
    bool one = r->p->launches == 1 && r->p->steps[0].kernel;
    if (r->given && !one && fr__gpu_results_apart(r, again, buffers))
        return -1;
    return fr__gpu_run_steps(r);
}

int fr__plan_queue(fr__plan *p, uint16_t stream, fr_array *const *arrays,
                   const int64_t *literals, bool hot, fr__buffer *const *given,
                   fr__buffer **buffers)
{
    fr__gpu_stream *home = fr__gpu_stream_at(stream);
    fr__gpu_run r = {.p = p,
                     .stream = stream,
                     .home = home,
                     .to = home,
                     .arrays = arrays,
                     .literals = literals,
                     .given = given};
    size_t pointers = (size_t)(p->nleaves + p->nstored + p->nsteps);
    int status = -1;
    if (!home)
        return -1;
    r.leaves =
        fr__malloc(sizeof(char *) * pointers + sizeof *r.words * (size_t)p->max_words + 1);
    if (!r.leaves)
        return -1;
    r.stored = r.leaves + p->nleaves;
    r.code = (fr__gpu_code **)(r.stored + p->nstored);
    r.words = (uint64_t *)(r.code + p->nsteps);
    bool again =
        hot && p->nsteps > 1 && !fr__events_on(); /* steps have times, recordings none */
    if (!find_code(&r) && !find_leaves(&r) && !fr__gpu_results(&r, again, buffers)) {
        status = run(&r, again, buffers);
        if (again && !status)
            fr__gpu_results_note(&r, buffers);
        atomic_fetch_add_explicit(&fr__counters[FR_COUNT_KERNELS], p->launches,
                                  memory_order_relaxed);
        for (int i = 0; status && i < p->owned; i++)
            fr__buffer_release(buffers[i]);
    }
    fr__free(r.leaves);
    return status;
}
