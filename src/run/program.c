/* program.c - runs a plan
 *
 * All memory is taken and all code generated before the first kernel starts; what has started on
 * the CPU cannot fail, only be stopped (fr_set_poll). A run that gives an error has changed nothing.
 */
#include "base/pool.h"
#include "core/alloc.h"
#include "core/place.h"
#include "device/launch.h"
#include "run/plan.h"

enum {
    DISK_FROM = 100000,  /* scalar operations: below, not even the disk is asked */
    LLVM_FROM = 8 << 20, /* done by the interpreter so far, and now: machine code pays */
    STACK_WORDS = 512,
};

static _Atomic int tier_forced = -1; /* not asked for yet */

void fr__set_tier(fr__tier t)
{
    atomic_store_explicit(&tier_forced, (int)t, memory_order_relaxed);
}

/* FERRULE_TIER: interpreter or llvm instead of choosing by work; for tests. */
static fr__tier forced_tier(void)
{
    int t = atomic_load_explicit(&tier_forced, memory_order_relaxed);
    if (t < 0) {
        static const char *const names[] = {"interpreter", "llvm", NULL};
        static const fr__tier tiers[] = {FR__TIER_INTERPRETER, FR__TIER_LLVM};
        int choice = fr__env_choice("TIER", names, "interpreter or llvm");
        t = choice < 0 ? FR__TIER_CHOOSE : tiers[choice];
        fr__set_tier((fr__tier)t);
    }
    return (fr__tier)t;
}

/* What there is; or *make: LLVM is to make it. */
static fr__kfn *code_for(const fr__step *s, bool hot, bool *make)
{
    fr__kentry *e = s->kernel;
    fr__kfn *fn = atomic_load_explicit(&e->fn, memory_order_acquire);
    fr__tier t = forced_tier();
    if (t == FR__TIER_INTERPRETER)
        return NULL;
    if (FR__LIKELY(fn != NULL) || atomic_load_explicit(&e->hopeless, memory_order_relaxed))
        return fn;
    int64_t done =
        atomic_fetch_add_explicit(&e->interpreted, s->work, memory_order_relaxed) + s->work;
    *make = hot || t == FR__TIER_LLVM || done >= LLVM_FROM;
    return !*make && done >= DISK_FROM && done - s->work < DISK_FROM ? fr__kcache_code(e, false)
                                                                     : NULL;
}

/* Code of every step, as far as it is worth it; NULL: a routine, or the interpreter runs it. */
static int find_code(const fr__plan *p, bool hot, fr__kfn **fns)
{
    FR__VEC(fr__wanted) missing = {0};
    int status = 0;
    for (int i = 0; i < p->nsteps && !status; i++) {
        bool make = false;
        fns[i] = p->steps[i].native ? NULL : code_for(&p->steps[i], hot, &make);
        if (FR__UNLIKELY(make))
            status = fr__vec_push(&missing, ((fr__wanted){.of = p->steps[i].kernel}));
    }
    if (FR__UNLIKELY(missing.n) && !status &&
        !(status = fr__kcache_make(missing.n, missing.at, NULL)))
        for (int i = 0; i < p->nsteps; i++)
            if (!p->steps[i].native && !fns[i])
                fns[i] = atomic_load_explicit(&p->steps[i].kernel->fn, memory_order_acquire);
    fr__vec_free(&missing);
    return status;
}

static uint64_t literal_word(int64_t bits, int dtype, int ktype)
{
    double v = (double)bits;
    int64_t whole = bits;
    if (fr__dtypes[dtype].kind == FR__KIND_FLOAT) {
        memcpy(&v, &bits, sizeof v);
        whole = v != v ? 0 : v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
    }
    float f = (float)v;
    uint64_t word = 0;
    switch ((fr__ktype)ktype) {
    case FR__KF32: memcpy(&word, &f, sizeof f); return word;
    case FR__KF64: memcpy(&word, &v, sizeof v); return word;
    case FR__KB1: return v != 0;
    case FR__KI32:
    case FR__KU32: return (uint32_t)whole;
    default: return (uint64_t)whole;
    }
}

static void copy_bytes(void *to, const void *from, int64_t bytes)
{
    memcpy(to, from, (size_t)bytes);
}

void fr__step_words(const fr__plan *p, const fr__step *s, char *const *leaves,
                    const int64_t *literals, char *const *stored, uint64_t *words)
{
    memcpy(words, s->words, sizeof *words * (size_t)s->nwords);
    for (int i = 0; i < s->npatches; i++) {
        const fr__patch *q = &s->patches[i];
        words[q->word] =
            (uintptr_t)((q->is_leaf ? leaves[q->index] : stored[q->index]) + q->offset);
    }
    for (int i = 0; i < s->nliterals; i++) {
        const fr__literal_patch *q = &s->literals[i];
        words[q->word] = literal_word(literals[q->slot], p->literal_dtypes[q->slot], q->ktype);
    }
}

static void copy_function(uint64_t *words)
{
    void (*copy)(void *, const void *, int64_t) = copy_bytes;
    memcpy(&words[FR__W_COPY], &copy, sizeof copy);
}

static fr__launch launch_of(const fr__step *s, fr__kfn *fn, const uint64_t *words, int threads)
{
    return (fr__launch){.kernel = s->kernel->kernel,
                        .fn = fn,
                        .words = words,
                        .range = s->range,
                        .grain = s->grain,
                        .alone = s->alone,
                        .scratch = s->scratch,
                        .threads = threads};
}

/* What a run has at hand. */
typedef struct {
    const fr__plan *p;
    char *const *leaves, **stored;
    const int64_t *literals;
    fr__kfn **fns;
    uint64_t *words;
    fr__launch *launches; /* room for those that are one */
    char *space;
    int threads;
} running;

/* Whether step i runs on the rows of the one before. */
static bool is_strip(const fr__plan *p, int i) { return i < p->nsteps && p->steps[i].strip; }

/* Kernel i as it is launched, its words from *words on; they go past them. */
static fr__launch bound_launch(const running *r, int i, uint64_t **words)
{
    const fr__step *s = &r->p->steps[i];
    uint64_t *its = *words;
    fr__step_words(r->p, s, r->leaves, r->literals, r->stored, its);
    copy_function(its);
    *words += s->nwords;
    return launch_of(s, r->fns[i], its, r->threads);
}

/* Routine i, and kernel i + 1 where that goes over the rows that it makes. */
static void run_native(const running *r, int i)
{
    const fr__step *s = &r->p->steps[i];
    char *data[FR__INPUTS + 2] = {NULL};
    for (int j = 0; j < s->npatches; j++) {
        const fr__patch *q = &s->patches[j];
        data[q->word] = (q->is_leaf ? r->leaves[q->index] : r->stored[q->index]) + q->offset;
    }
    fr__native_launch l = {
        .call = s->native, .data = data, .alone = s->alone, .threads = r->threads};
    fr__launch with, makes[2];
    fr__maker makers[2];
    uint64_t *words = r->words;
    if (is_strip(r->p, i + 1)) {
        with = bound_launch(r, i + 1, &words);
        l.strips = &with;
        l.strip = s[1].strip;
    }
    l.makers = makers;
    for (int k = i - 1; k >= 0 && r->p->steps[k].made; k--) {
        const fr__made *made = r->p->steps[k].made;
        makes[l.nmakers] = bound_launch(r, k, &words);
        makers[l.nmakers] = (fr__maker){.made = made, .with = &makes[l.nmakers]};
        data[s->native->made[1] == made] = (char *)&makers[l.nmakers++];
    }
    double start = FR__UNLIKELY(fr__debug() >= 2) ? fr__now() : 0;
    fr__cpu_native(&l, r->space);
    if (FR__UNLIKELY(fr__debug() >= 2))
        fr__debug_print("  routine %s%s: %.1f us\n", s->native->routine->name,
                        l.strips ? " with a kernel" : "", 1e6 * (fr__now() - start));
}

/* The launches of step i and of those that are one with it, in the words of the run from `words` on. */
static void launches_of(const fr__plan *p, fr__kfn *const *fns, int i, uint64_t *words,
                        int threads, fr__launch *to)
{
    for (int k = 0; k < p->steps[i].together; k++) {
        const fr__step *s = &p->steps[i + k];
        to[k] = launch_of(s, fns[i + k], words, threads);
        words = words ? words + s->nwords : NULL;
    }
}

static void run_many(const running *r, int i)
{
    int n = r->p->steps[i].together;
    uint64_t *words = r->words;
    for (int k = 0; k < n; k++) {
        const fr__step *s = &r->p->steps[i + k];
        fr__step_words(r->p, s, r->leaves, r->literals, r->stored, words);
        copy_function(words);
        words += s->nwords;
    }
    launches_of(r->p, r->fns, i, r->words, r->threads, r->launches);
    double start = FR__UNLIKELY(fr__debug() >= 2) ? fr__now() : 0;
    fr__cpu_launch_many(r->launches, n, r->space);
    if (FR__UNLIKELY(fr__debug() >= 2))
        fr__debug_print("  %d kernels, %s: %.1f us\n", n, r->p->steps[i].ops,
                        1e6 * (fr__now() - start));
}

/* Bytes of working space that step i needs. launches: room for all that are one with it. */
static size_t step_space(const fr__plan *p, fr__kfn *const *fns, int i, int threads,
                         fr__launch *launches)
{
    const fr__step *s = &p->steps[i];
    fr__launch l;
    if (s->together != 1) {
        launches_of(p, fns, i, NULL, threads, launches);
        return s->together ? fr__cpu_space_many(launches, s->together) : 0;
    }
    if (!s->native) {
        l = launch_of(s, fns[i], NULL, threads);
        return s->strip || s->made || (fns[i] && !s->scratch) ? 0 : fr__cpu_space(&l);
    }
    fr__native_launch n = {.call = s->native, .alone = s->alone, .threads = threads};
    if (is_strip(p, i + 1)) {
        l = launch_of(s + 1, fns[i + 1], NULL, threads);
        n.strips = &l;
    }
    fr__launch makes[2];
    fr__maker makers[2];
    n.makers = makers;
    for (int k = i - 1; k >= 0 && p->steps[k].made; k--) {
        makes[n.nmakers] = launch_of(p->steps + k, fns[k], NULL, threads);
        makers[n.nmakers] = (fr__maker){.with = &makes[n.nmakers]};
        n.nmakers++;
    }
    return fr__cpu_native_space(&n);
}

static void run_kernel(const running *r, int i)
{
    const fr__step *s = &r->p->steps[i];
    fr__step_words(r->p, s, r->leaves, r->literals, r->stored, r->words);
    copy_function(r->words);
    fr__launch l = launch_of(s, r->fns[i], r->words, r->threads);
    double start = FR__UNLIKELY(fr__debug() >= 2) ? fr__now() : 0;
    fr__cpu_launch(&l, r->space);
    if (FR__UNLIKELY(fr__debug() >= 2))
        fr__debug_print("  kernel %016llx: range %lld, %s, %.1f us\n",
                        (unsigned long long)s->kernel->kernel->hash, (long long)s->range,
                        l.fn ? "machine code" : "interpreter", 1e6 * (fr__now() - start));
}

/* ---- somebody asks whether to go on ----------------------------------------------------- */

static _Thread_local struct {
    int (*ask)(void *ctx);
    void *ctx;
    double last;
} asker;

void fr_set_poll(int (*ask)(void *ctx), void *ctx)
{
    asker.ask = ask;
    asker.ctx = ctx;
}

/* What was computed so far is thrown away: kernels write to memory of this run only. (Where inputs
 * are written over nobody asks.) */
static int stopped(void)
{
    double now = fr__now();
    if (now - asker.last < 0.1)
        return 0;
    asker.last = now;
    if (!asker.ask(asker.ctx))
        return 0;
    return fr__fail_int(FR__E_CALLBACK, "the evaluation was stopped");
}

/* For explain the first runs are timed, and some of those that follow. */
static bool is_timed(fr__step *s)
{
    int64_t runs = atomic_load_explicit(&s->runs, memory_order_relaxed);
    atomic_store_explicit(&s->runs, runs + 1, memory_order_relaxed); /* about so many */
    return runs < 4 || (runs & 63) == 0 || fr__events_on();
}

static void note_time(fr__step *s, double start, bool code)
{
    double seconds = fr__now() - start;
    atomic_fetch_add_explicit(&s->timed, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->nanoseconds, (int64_t)(1e9 * seconds), memory_order_relaxed);
    if (fr__events_on())
        fr__event(s->native ? "routine" : "kernel", s->ops, start, seconds,
                  s->native ? "routine"
                  : code    ? "machine code"
                            : "interpreter");
}

/* Where the leaves' first elements are on the host. */
static int leaf_data(int n, fr_array *const *arrays, char **to)
{
    for (int i = 0; i < n; i++) {
        const fr__buffer *b = arrays[i]->buf;
        to[i] =
            FR__LIKELY(!b || b->place == FR__HOST) ? arrays[i]->data : fr__host_data(arrays[i]);
        if (b && !to[i] && fr__failed())
            return -1;
    }
    return 0;
}

static void count_runs(const fr__plan *p, fr__kfn *const *fns)
{
    atomic_fetch_add_explicit(&fr__counters[FR_COUNT_KERNELS], p->launches,
                              memory_order_relaxed);
    for (int i = 0; i < p->nsteps; i++)
        if (!p->steps[i].native && !fns[i])
            atomic_fetch_add_explicit(&fr__counters[FR_COUNT_INTERPRETED], 1,
                                      memory_order_relaxed);
}

/* What is small costs as little as may be: the same as below, of one step (fr__plan.little). */
static int run_little(fr__plan *p, fr_array *const *arrays, const int64_t *literals, bool hot,
                      fr__buffer *given, fr__buffer **buffer)
{
    fr__step *s = p->steps;
    fr__kfn *fn = NULL;
    char *leaves[FR__LITTLE_LEAVES], *space = NULL, *stored;
    uint64_t words[FR__LITTLE_WORDS];
    size_t bytes = 0;
    if (leaf_data(p->nleaves, arrays, leaves))
        return -1;
    if (!s->native && find_code(p, hot, &fn))
        return -1;
    if (!s->native && !fn && !fr__interp_space(s->kernel->kernel))
        return -1;
    if (s->native ? s->native->scratch != 0 : !fn || s->scratch)
        bytes = step_space(p, &fn, 0, 1, NULL);
    if (bytes && !(space = fr__data_alloc(bytes)))
        return -1;
    *buffer = given ? fr__buffer_keep(given) : fr__buffer_new(p->stored[0].bytes);
    if (*buffer) {
        stored = (*buffer)->data;
        running r = {p, leaves, &stored, literals, &fn, words, NULL, space, 1};
        bool timed = is_timed(s);
        double start = timed ? fr__now() : 0;
        (s->native ? run_native : run_kernel)(&r, 0);
        if (timed)
            note_time(s, start, fn != NULL);
        count_runs(p, &fn);
    }
    if (space)
        fr__data_free(space, bytes);
    return *buffer ? 0 : -1;
}

int fr__plan_run(fr__plan *p, uint16_t stream, fr_array *const *arrays, const int64_t *literals,
                 bool hot, fr__buffer *const *given, fr__buffer **buffers)
{
    if (FR__UNLIKELY(p->place != FR__HOST))
        return fr__plan_queue(p, stream, arrays, literals, hot, given, buffers);
    if (p->little)
        return run_little(p, arrays, literals, hot, given ? given[0] : NULL, buffers);
    enum { FEW = 32, FEW_LAUNCHES = 8 };
    char *few_stored[FEW], **stored = few_stored, *space = NULL, *temporary = NULL;
    char *few_leaves[FEW], **leaves = few_leaves;
    fr__kfn *few_fns[FEW], **fns = few_fns;
    uint64_t few_words[STACK_WORDS], *words = few_words;
    fr__launch few_launches[FEW_LAUNCHES], *launches = few_launches;
    size_t space_bytes = 0, block = given ? p->temporary : p->beside;
    int made = 0, status = -1,
        threads = fr__pool_threads(); /* the number may change meanwhile */
    if (p->nleaves > FEW && !(leaves = fr__malloc(sizeof *leaves * (size_t)p->nleaves)))
        goto out;
    if (leaf_data(p->nleaves, arrays, leaves))
        goto out;
    if (p->nstored > FEW && !(stored = fr__malloc(sizeof *stored * (size_t)p->nstored)))
        goto out;
    if (p->nsteps > FEW && !(fns = fr__malloc(sizeof *fns * (size_t)p->nsteps)))
        goto out;
    if (p->max_words > STACK_WORDS &&
        !(words = fr__malloc(sizeof *words * (size_t)p->max_words)))
        goto out;
    if (p->most_together > FEW_LAUNCHES &&
        !(launches = fr__malloc(sizeof *launches * (size_t)p->most_together)))
        goto out;
    if (find_code(p, hot, fns))
        goto out;
    for (int i = 0; i < p->nsteps; i++) /* all, before any is asked for as part of a launch */
        if (!fns[i] && !p->steps[i].native && !fr__interp_space(p->steps[i].kernel->kernel))
            goto out;
    for (int i = 0; i < p->nsteps; i++) {
        size_t need = step_space(p, fns, i, threads, launches);
        space_bytes = need > space_bytes ? need : space_bytes;
    }
    if (block && !(temporary = fr__data_alloc(block)))
        goto out;
    if (space_bytes && !(space = fr__data_alloc(space_bytes)))
        goto out;
    for (int i = 0; i < p->nstored; i++) {
        if (p->stored[i].output < 0)
            continue;
        bool taken = given && given[made]; /* numbered in this order */
        if (!(buffers[made] =
                  taken ? fr__buffer_keep(given[made]) : fr__buffer_new(p->stored[i].bytes)))
            goto out;
        stored[i] = buffers[made++]->data;
    }
    for (int i = 0; i < p->nstored; i++) {
        const fr__stored *s = &p->stored[i];
        if (s->output < 0)
            stored[i] = given         ? temporary + s->place
                        : s->host < 0 ? temporary + s->inside
                                      : stored[s->host] + s->inside;
    }
    running r = {p, leaves, stored, literals, fns, words, launches, space, threads};
    for (int i = 0; i < p->nsteps; i++) {
        fr__step *s = &p->steps[i];
        if (s->strip || s->made || !s->together)
            continue;
        if (i && !given && asker.ask && stopped())
            goto out;
        bool timed = is_timed(s);
        double start = timed ? fr__now() : 0;
        if (s->native)
            run_native(&r, i);
        else if (s->together > 1)
            run_many(&r, i);
        else
            run_kernel(&r, i);
        if (timed)
            note_time(s, start, fns[i] != NULL);
    }
    status = 0;
    count_runs(p, fns);
out:
    if (status)
        while (made)
            fr__buffer_release(buffers[--made]);
    if (space)
        fr__data_free(space, space_bytes);
    if (temporary)
        fr__data_free(temporary, block);
    if (leaves != few_leaves)
        fr__free(leaves);
    if (stored != few_stored)
        fr__free(stored);
    if (fns != few_fns)
        fr__free(fns);
    if (words != few_words)
        fr__free(words);
    if (launches != few_launches)
        fr__free(launches);
    return status;
}
