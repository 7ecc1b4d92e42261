/* plan.c - from a fused trace to a program, and the cache of programs
 *
 * needs   a captured trace
 * gives   launches in order with their argument words filled in but for pointers and literals;
 *         a place for every temporary, by lifetime
 */
#include "run/plan.h"

#include "core/place.h"
#include "run/gpu.h"

#include "base/fork.h"
#include "base/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
#ifdef FERRULE_HARD
    PIECE_WORK = 64,
#else
    PIECE_WORK = 1 << 19, /* scalar operations of a piece: some 10 us */
#endif
};

static void *copy_in(fr__plan *p, const void *from, size_t bytes)
{
    void *to = fr__arena_alloc(&p->arena, bytes + 1);
    if (to && bytes)
        memcpy(to, from, bytes);
    return to;
}

static uint64_t int_word(int64_t v) { return (uint64_t)v; }

static int fill_step(fr__plan *p, const fr__trace *t, const int32_t *stored_of, fr__step *s,
                     const fr__lowered *l)
{
    int literals = 0;
    for (int i = 0; i < l->nwords; i++)
        literals += l->words[i].kind == FR__WORD_LITERAL;
    s->words = fr__arena_zalloc(&p->arena, sizeof *s->words * (size_t)l->nwords);
    s->patches = fr__arena_alloc(&p->arena, sizeof *s->patches * (size_t)(l->npointers + 1));
    s->literals = fr__arena_alloc(&p->arena, sizeof *s->literals * (size_t)(literals + 1));
    if (!s->words || !s->patches || !s->literals)
        return -1;
    s->nwords = l->nwords;
    for (int i = 0; i < l->nwords; i++) {
        const fr__word *w = &l->words[i];
        if (w->kind == FR__WORD_INT || w->kind == FR__WORD_SCRATCH)
            s->words[i] = int_word(w->value);
        else if (w->kind == FR__WORD_LITERAL)
            s->literals[s->nliterals++] =
                (fr__literal_patch){(uint16_t)i, w->ktype, (int32_t)w->value};
    }
    for (int i = 0; i < l->npointers; i++) {
        const fr__pointer *q = &l->pointers[i];
        int node = q->is_leaf ? t->leaves.at[q->node].node : q->node;
        if (s->made && q->word == s->made->out)
            continue;                /* it isn't stored */
        if (!t->nodes.at[node].size) /* nothing will be read: no pointer */
            continue;
        if (!q->is_leaf && stored_of[node] < 0)
            return fr__fail_int(FR__E_INTERNAL, "plan: node %d is loaded and was not stored",
                                node);
        s->patches[s->npatches++] =
            (fr__patch){q->word, q->is_leaf, q->is_leaf ? q->node : stored_of[q->node],
                        q->offset * fr__dsize(t->nodes.at[node].dtype)};
    }
    s->range = l->range;
    s->work = l->range * l->cost;
    s->scratch = l->scratch;
    int64_t piece = l->cost > 0 ? PIECE_WORK / l->cost : PIECE_WORK;
    s->grain = (piece + l->grain - 1) / l->grain * l->grain;
    s->grain = s->grain < l->grain ? l->grain : s->grain;
    s->vector = l->grain;
    s->alone = s->work < FR__ALONE_WORK || s->range <= s->grain;
    p->max_words = l->nwords > p->max_words ? l->nwords : p->max_words;
    return 0;
}

/* ---- native routines ---------------------------------------------------------------- */

static int fill_array(fr__plan *p, const fr__tnode *n, const int64_t *strides,
                      fr__native_array *to)
{
    *to = (fr__native_array){.dtype = n->dtype, .ndim = n->ndim, .size = n->size};
    to->shape = copy_in(p, n->shape, sizeof(int64_t) * n->ndim);
    to->strides = copy_in(p, strides, sizeof(int64_t) * n->ndim);
    return to->shape && to->strides ? 0 : -1;
}

/* Of a product's operand, stored node `base`: NULL, or how the kernel before it makes it. */
static const fr__made *made_for(const fr__plan *p, const fr__trace *t, const fr__step *s,
                                int base)
{
    for (const fr__step *by = s; by-- > p->steps && by->made;)
        if (t->nodes.at[base].group == by - p->steps)
            return by->made;
    return NULL;
}

/* An input: where it lies, as a patch. */
static int fill_input(fr__plan *p, const fr__trace *t, const int32_t *stored_of, fr__step *s,
                      int i, int j)
{
    fr__place_in place;
    int at;
    if (!fr__memory_of(t, i, &place, &at))
        return fr__fail_int(FR__E_INTERNAL, "plan: node %d has no place in memory", i);
    const fr__tnode *base = &t->nodes.at[place.base];
    bool leaf = fr__is_leaf(base);
    if (!leaf && stored_of[place.base] < 0 && base->size)
        return fr__fail_int(FR__E_INTERNAL, "plan: node %d is read and was not stored",
                            place.base);
    const fr__made *made =
        j < FR__COUNT(s->native->made) ? made_for(p, t, s, place.base) : NULL;
    if (made) {
        s->native->made[j] = made;
        p->stored[stored_of[place.base]].bytes = 0;
    } else if (base->size) {
        s->patches[s->npatches++] =
            (fr__patch){(uint16_t)j, leaf, leaf ? base->slot : stored_of[place.base],
                        place.offset * fr__dsize(base->dtype)};
    }
    return fill_array(p, &t->nodes.at[i], place.strides, &s->native->in[j]);
}

/* Whether the next kernel takes what the routine makes: it may go over strips of it (strips.c). */
static bool is_followed(const fr__trace *t, int root)
{
    int next = t->nodes.at[root].group + 1;
    if (next >= t->groups.n ||
        fr__ops[t->nodes.at[t->groups.at[next].root].op].class == FR__NATIVE)
        return false;
    for (int i = t->groups.at[next].first; i >= 0; i = t->nodes.at[i].next)
        for (int j = 0; j < t->nodes.at[i].nin; j++)
            if (fr__below_views(t, t->nodes.at[i].in[j]) == root)
                return true;
    return false;
}

static int fill_native(fr__plan *p, const fr__trace *t, const int32_t *stored_of, fr__step *s,
                       int root)
{
    const fr__tnode *n = &t->nodes.at[root];
    int64_t strides[FR_MAX_NDIM];
    fr__native_call *c = s->native = fr__arena_zalloc(&p->arena, sizeof *c);
    s->patches = fr__arena_alloc(&p->arena, sizeof *s->patches * (size_t)(n->nin + 2));
    if (!c || !s->patches)
        return -1;
    c->routine = fr__native_of(n->op);
    c->nin = n->nin;
    c->npar = n->npar;
    c->place = p->place;
    c->followed = is_followed(t, root);
    c->par = copy_in(p, n->par, sizeof(int64_t) * n->npar);
    fr__row_major(n->ndim, n->shape, strides);
    if (!c->routine)
        return fr__fail_int(FR__E_INTERNAL, "plan: no routine for %s", fr__ops[n->op].name);
    if (!c->par || fill_array(p, n, strides, &c->out))
        return -1;
    for (int j = 0; j < n->nin; j++)
        if (fill_input(p, t, stored_of, s, n->in[j], j))
            return -1;
    s->patches[s->npatches++] = (fr__patch){(uint16_t)n->nin, false, stored_of[root], 0};
    if (c->routine->prepare(c, &p->arena, fr__pool_threads()))
        return -1;
    if (c->temporary) { /* a buffer that lives as long as this step */
        p->stored[p->nstored] = (fr__stored){.bytes = c->temporary, .output = -1};
        s->patches[s->npatches++] = (fr__patch){(uint16_t)(n->nin + 1), false, p->nstored++, 0};
    }
    s->work = c->work;
    s->scratch = c->scratch;
    s->alone = s->work < FR__ALONE_WORK;
    return 0;
}

/* ---- outputs ------------------------------------------------------------------------ */

static int fill_outputs(fr__plan *p, const fr__trace *t, const int32_t *stored_of)
{
    p->nouts = t->outs.n;
    p->outs = fr__arena_zalloc(&p->arena, sizeof *p->outs * (size_t)(p->nouts + 1));
    if (!p->outs)
        return -1;
    for (int i = 0; i < p->nouts; i++) {
        const fr__tout *o = &t->outs.at[i];
        const fr__tnode *n = &t->nodes.at[o->node], *base = &t->nodes.at[o->base];
        bool leaf = fr__is_leaf(base);
        fr__planned_out *to = &p->outs[i];
        *to = (fr__planned_out){.leaf = leaf ? base->slot : -1,
                                .stored = !leaf && base->size ? stored_of[o->base] : -1,
                                .dtype = n->dtype,
                                .ndim = n->ndim,
                                .contiguous = !leaf && o->base == o->node,
                                .offset = o->offset * fr__dsize(n->dtype)};
        to->shape = copy_in(p, n->shape, sizeof(int64_t) * n->ndim);
        to->strides = copy_in(p, o->strides, sizeof(int64_t) * n->ndim);
        if (!to->shape || !to->strides)
            return -1;
    }
    return 0;
}

static bool has_buffer(const fr__tnode *n)
{
    return n->flags & FR__T_STORE && n->group >= 0 && !(n->op == FR__OP_PUT && n->nin > 1);
}

static bool is_native(const fr__trace *t, int g)
{
    return fr__ops[t->nodes.at[t->groups.at[g].root].op].class == FR__NATIVE;
}

static int number_stored(fr__plan *p, const fr__trace *t, int32_t *stored_of)
{
    for (int i = 0; i < t->nodes.n; i++)
        p->nstored += has_buffer(&t->nodes.at[i]);
    int temporaries = 0; /* of native routines: at most one each */
    for (int g = 0; g < t->groups.n; g++)
        temporaries += is_native(t, g);
    p->stored =
        fr__arena_zalloc(&p->arena, sizeof *p->stored * (size_t)(p->nstored + temporaries + 1));
    if (!p->stored)
        return -1;
    int n = 0;
    for (int i = 0; i < t->nodes.n; i++) {
        const fr__tnode *x = &t->nodes.at[i];
        bool shared = x->op == FR__OP_PUT && x->nin > 1; /* it is written into its base's */
        stored_of[i] = shared ? stored_of[x->in[1]] : has_buffer(x) ? n++ : -1;
        if (stored_of[i] >= 0 && !shared)
            p->stored[stored_of[i]] = (fr__stored){
                .bytes = (size_t)x->size * (size_t)fr__dsize(x->dtype), .output = -1};
    }
    for (int i = 0; i < t->outs.n; i++) {
        int at = stored_of[t->outs.at[i].base];
        if (at >= 0)
            p->stored[at].output = 0;
    }
    for (int i = 0; i < p->nstored; i++) /* numbered in the order of stored buffers */
        if (p->stored[i].output == 0)
            p->stored[i].output = p->owned++;
    return 0;
}

/* ---- launches --------------------------------------------------------------------------- */

bool fr__step_writes(const fr__step *s, const fr__patch *q)
{
    if (s->native)
        return q->word >= s->native->nin;
    const fr__kernel *k = s->kernel->kernel;
    for (int b = 0; b < k->nbuf; b++)
        if (k->bufs[b].word == q->word && k->bufs[b].role == FR__BUF_OUT)
            return true;
    return false;
}

/* Steps become launches: of several steps, here and there. */
static int join_steps(fr__plan *p)
{
    if (fr__prologues_join(p) || fr__plan_strips(p) ||
        (p->place == FR__HOST ? fr__plan_beside(p) : fr__gpu_gather(p)))
        return -1;
    for (int i = 0; i < p->nsteps; i++) {
        const fr__step *s = &p->steps[i];
        if (s->together > 1 && fr__launch_about(p, i))
            return -1;
        p->launches += s->together && !s->strip && !s->made;
    }
    return 0;
}

/* A kernel; of what is packed for a product one that makes parts of it, if it can. */
static int lower(fr__plan *p, fr__trace *t, int g, fr__lowered *to)
{
    fr__group *group = &t->groups.at[g];
    if (fr__lower(t, g, to))
        return -1;
    if (!group->packed)
        return 0;
    fr__made *made = fr__arena_alloc(&p->arena, sizeof *made);
    if (!made) {
        fr__kernel_free(to->kernel);
        return -1;
    }
    if (fr__prologue_made(to, group->packed, made)) {
        made->cycles = group->cycles;
        p->steps[g].made = made;
        return 0;
    }
    group->packed = 0;
    group->across = false;
    fr__kernel_free(to->kernel);
    return fr__lower(t, g, to);
}

/* ---- the pipeline, in one breath ---------------------------------------------------- */

static int check(const fr__trace *t)
{
#ifndef NDEBUG
    return fr__trace_check(t);
#else
    (void)t;
    return 0;
#endif
}

fr__plan *fr__plan_make(fr__trace *t, bool describe)
{
    fr__plan *p = fr__calloc(1, sizeof *p);
    int32_t *stored_of = NULL;
    fr__text text = {0};
    double start = fr__now();
    if (!p)
        return NULL;
    p->refs = 1;
    p->place = t->place;
    p->key_bytes = sizeof(uint64_t) * (size_t)t->key.n;
    p->key = copy_in(p, t->key.at, p->key_bytes);
    p->hash = fr__hash(t->key.at, p->key_bytes, 0);
    if (!p->key || check(t))
        goto fail;
    if (fr__debug() >= 6)
        fr__trace_print(t, &text);
    if (fr__simplify(t) || check(t) || fr__convolve(t) || check(t) || fr__layout(t) ||
        check(t) || fr__split(t) || check(t) || fr__fuse(t) || check(t) || fr__merge(t) ||
        check(t) || fr__prologues(t) || check(t))
        goto fail;
    p->nleaves = t->leaves.n;
    p->nliterals = t->literals.n;
    p->literal_dtypes = copy_in(p, t->literal_dtypes.at, (size_t)t->literals.n);
    p->nsteps = t->groups.n;
    p->steps = fr__arena_zalloc(&p->arena, sizeof *p->steps * (size_t)(p->nsteps + 1));
    stored_of = fr__malloc(sizeof *stored_of * (size_t)(t->nodes.n + 1));
    if (!p->literal_dtypes || !p->steps || !stored_of || number_stored(p, t, stored_of))
        goto fail;
    bool wanted = describe;
    describe |= fr__debug() >= 3;
    if (describe)
        fr__trace_print(t, &text);
    for (int g = 0; g < p->nsteps; g++) {
        fr__lowered l;
        if (fr__step_about(p, t, g, stored_of))
            goto fail;
        if (is_native(t, g)) {
            if (fill_native(p, t, stored_of, &p->steps[g], t->groups.at[g].root))
                goto fail;
            if (describe && (fr__debug() != 3 || wanted))
                fr__text_f(&text, " routine %d: %s\n", g, p->steps[g].native->routine->name);
            continue;
        }
        if (lower(p, t, g, &l))
            goto fail;
        p->steps[g].kernel = fr__kcache_get(l.kernel);
        if (!p->steps[g].kernel || fill_step(p, t, stored_of, &p->steps[g], &l))
            goto fail;
        if (describe && (fr__debug() != 3 || wanted)) {
            fr__text_f(&text, " kernel %d\n", g);
            fr__text_add(&text, p->steps[g].kernel->kernel->text);
        }
    }
    if (join_steps(p) || fr__plan_places(p) || fill_outputs(p, t, stored_of) || text.failed ||
        fr__failed())
        goto fail; /* whatever a pass could not do for want of memory: no such program is kept */
    fr__pool_threads(); /* a setting that is wrong is told, however little there is to do */
    p->little = p->place == FR__HOST && p->nsteps == 1 && p->steps[0].alone &&
                p->nstored == 1 && p->owned == 1 && p->nleaves <= FR__LITTLE_LEAVES &&
                p->max_words <= FR__LITTLE_WORDS;
    atomic_fetch_add_explicit(&fr__counters[FR_COUNT_PROGRAMS], 1, memory_order_relaxed);
    if (fr__events_on()) {
        char name[48];
        snprintf(name, sizeof name, "plan %016llx", (unsigned long long)p->hash);
        fr__event("plan", name, start, fr__now() - start, p->nsteps ? p->steps[0].ops : "");
    }
    if (fr__debug() >= 1)
        fr__debug_print("program %016llx: %d nodes, %d kernels, %zu bytes of temporaries, made "
                        "in %.3f ms\n",
                        (unsigned long long)p->hash, t->nodes.n, p->launches, p->temporary,
                        1e3 * (fr__now() - start));
    if (fr__debug() >= 3 && text.at)
        fr__debug_print("%s", text.at);
    p->text = text.at;
    fr__free(stored_of);
    return p;
fail:
    if (!fr__failed())
        fr__fail(FR__E_MEMORY, "no memory to make a program");
    fr__free(stored_of);
    fr__text_free(&text);
    fr__plan_release(p);
    return NULL;
}

void fr__plan_release(fr__plan *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    fr__gpu_recordings_free(p->recordings); /* before the code that they use */
    fr__gpu_history_free(p->history);
    fr__gpu_times_free(p->times);
    for (int i = 0; i < p->nsteps && p->steps; i++)
        if (p->steps[i].kernel)
            fr__kcache_release(p->steps[i].kernel);
    fr__free(p->text);
    fr__arena arena = p->arena;
    fr__free(p);
    fr__arena_free(&arena);
}

/* ---- the cache of programs ---------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_PROGRAMS);
}

static fr__map table;
static fr__lru plans;

static int limit(void)
{
    static _Atomic int known;
    return fr__env_limit(&known, "PROGRAM_CACHE_LIMIT", 4096);
}

/* Locked. Takes the least recently used one out of the table, if there is one. */
static fr__plan *evict(void)
{
    fr__plan *p = (fr__plan *)plans.oldest;
    if (p) {
        fr__lru_remove(&plans, &p->link);
        fr__map_remove(&table, p->key, p->key_bytes, p->hash);
    }
    return p;
}

static fr__plan *find(const uint64_t *key, size_t bytes, uint64_t hash)
{
    fr__plan *p = fr__map_get(&table, key, bytes, hash);
    if (p) {
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
        fr__lru_use(&plans, &p->link);
    }
    return p;
}

static fr__plan *known(const uint64_t *key, size_t bytes, uint64_t hash)
{
    pthread_mutex_lock(&lock);
    fr__plan *p = find(key, bytes, hash);
    pthread_mutex_unlock(&lock);
    return p;
}

fr__plan *fr__plan_known(const uint64_t *key, size_t bytes)
{
    return known(key, bytes, fr__hash(key, bytes, 0));
}

fr__plan *fr__plan_for(fr__trace *t)
{
    size_t bytes = sizeof(uint64_t) * (size_t)t->key.n;
    uint64_t hash = fr__hash(t->key.at, bytes, 0);
    fr__plan *p = known(t->key.at, bytes, hash), *gone = NULL;
    if (p)
        return p;
    p = fr__plan_make(t, false);
    if (!p)
        return NULL;
    pthread_mutex_lock(&lock);
    fr__plan *other = find(p->key, bytes, hash); /* another thread was faster */
    if (!other && !fr__map_put(&table, p->key, bytes, hash, p)) {
        atomic_fetch_add(&p->refs, 1);
        fr__lru_add(&plans, &p->link);
        if (plans.n > limit())
            gone = evict();
    }
    pthread_mutex_unlock(&lock);
    fr__plan_release(gone);
    if (other) {
        fr__plan_release(p);
        return other;
    }
    return fr__failed() ? (fr__plan_release(p), NULL) : p;
}

void fr__plan_clear_cache(void)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        fr__plan *p = evict();
        if (!plans.n)
            fr__map_free(&table);
        pthread_mutex_unlock(&lock);
        if (!p)
            return;
        fr__plan_release(p);
    }
}
