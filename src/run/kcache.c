/* kcache.c - kernels by what is in them, and their machine code */
#include "run/kcache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fork.h"
#include "base/pool.h"
#include "core/array.h"
#include "device/cuda/routine.h"
#include "run/diskcache.h"

_Atomic int64_t fr__counters[FR_COUNTERS];

int64_t fr_count(fr_counter what)
{
    return (unsigned)what < FR_COUNTERS
               ? atomic_load_explicit(&fr__counters[what], memory_order_relaxed)
               : 0;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* the table */
static pthread_mutex_t maker = PTHREAD_MUTEX_INITIALIZER; /* code being made */

__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_KERNELS);
    fr__fork_guard(&maker, FR__RANK_MAKER);
}

static fr__map table;
static fr__lru entries;

static int limit(void)
{
    static _Atomic int known;
    return fr__env_limit(&known, "KERNEL_CACHE_LIMIT", 4096);
}

static void free_entry(fr__kentry *e)
{
    fr__code_free(e->code);
    for (int i = 0; i < FR__ENTRIES * FR__KCACHE_GPUS; i++)
        if (e->gpu[i / FR__KCACHE_GPUS][i % FR__KCACHE_GPUS])
            fr__gpu_unload(e->gpu[i / FR__KCACHE_GPUS][i % FR__KCACHE_GPUS]);
    fr__kernel_free(e->kernel);
    fr__free(e->words);
    fr__free(e);
}

bool fr__kcache_keeps;

/* Locked. Takes the least recently used entry that no program holds out of the table. */
static fr__kentry *evict(void)
{
    fr__kentry *e = fr__kcache_keeps ? NULL : (fr__kentry *)entries.oldest;
    while (e && atomic_load(&e->refs))
        e = (fr__kentry *)e->link.newer;
    if (e) {
        fr__lru_remove(&entries, &e->link);
        fr__map_remove(&table, e->words, e->bytes, e->hash);
    }
    return e;
}

/* Locked. */
static fr__kentry *find(const uint64_t *words, size_t bytes, uint64_t hash)
{
    fr__kentry *e = fr__map_get(&table, words, bytes, hash);
    if (e) {
        atomic_fetch_add(&e->refs, 1);
        fr__lru_use(&entries, &e->link);
    }
    return e;
}

/* One that isn't in the table yet; takes k over, and nothing on failure. */
static fr__kentry *new_entry(fr__kernel *k, const uint64_t *words, size_t bytes, uint64_t hash)
{
    fr__text text = {0};
    fr__kentry *e = fr__calloc(1, sizeof *e);
    uint64_t *own = e ? fr__memdup(words, bytes) : NULL;
    fr__kernel_print(k, &text);
    if (!own || text.failed) {
        fr__free(own);
        fr__free(e);
        fr__text_free(&text);
        return NULL;
    }
    fr__free(k->text);
    k->text = text.at;
    k->hash = fr__hash(text.at, text.n, 0);
    for (int i = 0; i < FR__ENTRIES; i++)
        snprintf(e->name[i], sizeof *e->name, "%c_%016llx", "km"[i],
                 (unsigned long long)k -> hash);
    e->kernel = k;
    e->refs = 1;
    e->words = own;
    e->bytes = bytes;
    e->hash = hash;
    return e;
}

/* The entry in the table: this one, or that of a thread that was faster. */
static fr__kentry *keep(fr__kentry *e)
{
    fr__kentry *gone = NULL;
    pthread_mutex_lock(&lock);
    fr__kentry *kept = find(e->words, e->bytes, e->hash);
    if (!kept && !fr__map_put(&table, e->words, e->bytes, e->hash, e)) {
        kept = e;
        fr__lru_add(&entries, &e->link);
        if (entries.n > limit())
            gone = evict();
    }
    pthread_mutex_unlock(&lock);
    if (kept != e)
        free_entry(e);
    if (gone)
        free_entry(gone);
    return kept;
}

fr__kentry *fr__kcache_get(fr__kernel *k)
{
    enum { FEW = 1024 };
    uint64_t few[FEW], *words = few;
    size_t n = fr__kernel_words(k, FEW, few), bytes = n * sizeof *words;
    if (n > FEW) {
        if (!(words = fr__malloc(bytes))) {
            fr__kernel_free(k);
            return NULL;
        }
        fr__kernel_words(k, n, words);
    }
    uint64_t hash = fr__hash(words, bytes, 0);
    pthread_mutex_lock(&lock);
    fr__kentry *e = find(words, bytes, hash);
    pthread_mutex_unlock(&lock);
    fr__kentry *made = e ? NULL : new_entry(k, words, bytes, hash);
    if (!made)
        fr__kernel_free(k);
    else
        e = keep(made);
    if (words != few)
        fr__free(words);
    return e;
}

void fr__kcache_release(fr__kentry *e)
{
    if (!e)
        return;
    fr__kentry *gone = NULL;
    pthread_mutex_lock(&lock);
    if (atomic_fetch_sub(&e->refs, 1) == 1 && entries.n > limit())
        gone = evict();
    pthread_mutex_unlock(&lock);
    if (gone)
        free_entry(gone);
}

fr__kentry *fr__kcache_named(const char *name)
{
    pthread_mutex_lock(&lock);
    fr__kentry *e = (fr__kentry *)entries.newest;
    while (e && strcmp(e->name[FR__ONE], name) && strcmp(e->name[FR__MANY], name))
        e = (fr__kentry *)e->link.older;
    if (e)
        atomic_fetch_add(&e->refs, 1);
    pthread_mutex_unlock(&lock);
    return e;
}

void fr__kcache_clear(void)
{
    fr__kentry *gone;
    do {
        pthread_mutex_lock(&lock);
        gone = evict();
        if (!entries.n)
            fr__map_free(&table);
        pthread_mutex_unlock(&lock);
        if (gone)
            free_entry(gone);
    } while (gone);
}

/* ---- machine code ------------------------------------------------------------------- */

static fr__code *from_disk(const fr__text *key)
{
    size_t bytes;
    void *object = fr__disk_get(key->at, key->n, &bytes);
    fr__code *code = object ? fr__code_load(object, bytes, "kernel") : NULL;
    fr__free(object);
    if (!code)
        fr__error_clear(); /* no reason to give up: LLVM makes it anew */
    if (code)
        atomic_fetch_add_explicit(&fr__counters[FR_COUNT_DISK_HITS], 1, memory_order_relaxed);
    return code;
}

static fr__code *from_llvm(const fr__kernel *k, const fr__text *key)
{
    if (!fr__llvm_ready()) {
        fr__warn("no machine code: %s. Everything runs in the interpreter, slowly; install "
                 "libllvm19",
                 fr__llvm_why());
        return NULL;
    }
    size_t bytes;
    double start = fr__now();
    void *object = fr__llvm_object(k, "kernel", &bytes);
    fr__code *code = object ? fr__code_load(object, bytes, "kernel") : NULL;
    if (code) {
        fr__disk_put(key->at, key->n, object, bytes);
        atomic_fetch_add_explicit(&fr__counters[FR_COUNT_GENERATED], 1, memory_order_relaxed);
        if (fr__debug() >= 5) {
            char *ir = fr__llvm_ir(k, "kernel", 0);
            fr__debug_print("%s\n", ir ? ir : fr__error_text());
            fr__free(ir);
        }
        if (fr__debug() >= 2)
            fr__debug_print("kernel %016llx: machine code, %zu bytes in %.2f ms\n",
                            (unsigned long long)k->hash, bytes, 1e3 * (fr__now() - start));
    }
    fr__free(object);
    return code;
}

/* With `maker` held, or by a thread that works for who holds it. Leaves the thread's error alone. */
static void make_code(fr__kentry *e, bool llvm)
{
    const fr__host_info *h = fr__host();
    fr__saved_error error;
    fr__text key = {0};
    fr__error_save(&error);
    fr__text_add(&key, e->kernel->text);
    fr__text_f(&key, "\n%s %016llx llvm %s emitter %d", h->cpu,
               (unsigned long long)h->features_hash, fr__llvm_version(), FR__EMITTER_VERSION);
    fr__code *code = key.failed ? NULL : from_disk(&key);
    if (!code && llvm && !key.failed)
        code = from_llvm(e->kernel, &key);
    if (code) {
        e->code = code;
        atomic_store_explicit(&e->fn, fr__code_entry(code), memory_order_release);
    } else if (llvm && fr__error_now != FR__E_MEMORY) {
        atomic_store_explicit(&e->hopeless, true, memory_order_relaxed);
        if (fr__failed())
            fr__warn("no machine code for a kernel: %s. It runs in the interpreter",
                     fr__error_text());
    }
    fr__text_free(&key);
    fr__error_restore(&error);
}

static bool has_code(const fr__kentry *e)
{
    return atomic_load_explicit(&e->fn, memory_order_acquire) ||
           atomic_load_explicit(&e->hopeless, memory_order_relaxed);
}

fr__kfn *fr__kcache_code(fr__kentry *e, bool llvm)
{
    if (!has_code(e)) {
        pthread_mutex_lock(&maker);
        if (!has_code(e))
            make_code(e, llvm);
        pthread_mutex_unlock(&maker);
    }
    return atomic_load_explicit(&e->fn, memory_order_acquire);
}

/* ---- on a GPU ----------------------------------------------------------------------- */

/* Of a routine's module: from disk, or assembled. NULL without an error where the driver may do it. */
static char *routine_image(fr__gpu *g, const char *text, size_t *bytes)
{
    const fr__gpu_info *about = fr__gpu_about(g);
    fr__text key = {0};
    fr__text_add(&key, text);
    fr__text_f(&key, "\ncuda sm_%d driver %d", about->sm, about->driver);
    char *cubin = key.failed ? NULL : fr__disk_get(key.at, key.n, bytes);
    if (!cubin && !key.failed && (cubin = fr__gpu_assemble(g, text, bytes)))
        fr__disk_put(key.at, key.n, cubin, *bytes);
    fr__text_free(&key);
    return cubin;
}

__attribute__((constructor)) static void give_images(void)
{
    fr__gpu_routine_image = routine_image;
}

/* Assembled code from disk, or made now: by LLVM to PTX, by the driver from there. */
static char *cubin_of(const fr__kentry *e, fr__gpu *g, fr__entry entry, size_t *bytes)
{
    const fr__gpu_info *about = fr__gpu_about(g);
    fr__text key = {0};
    fr__text_add(&key, e->kernel->text);
    fr__text_f(&key, "\ncuda sm_%d driver %d llvm %s emitter %d%s", about->sm, about->driver,
               fr__llvm_version(), FR__EMITTER_VERSION, entry == FR__MANY ? " many" : "");
    char *cubin = key.failed ? NULL : fr__disk_get(key.at, key.n, bytes);
    if (cubin)
        atomic_fetch_add_explicit(&fr__counters[FR_COUNT_DISK_HITS], 1, memory_order_relaxed);
    if (cubin || key.failed)
        goto out;
    if (!fr__llvm_ready()) {
        fr__fail(FR__E_DEVICE, "no code for a GPU without LLVM: %s; install libllvm19",
                 fr__llvm_why());
        goto out;
    }
    double start = fr__now();
    char *ptx = (entry == FR__MANY ? fr__llvm_ptx_many
                                   : fr__llvm_ptx)(e->kernel, e->name[entry], about->sm, bytes);
    double made = fr__now();
    cubin = ptx ? fr__gpu_assemble(g, ptx, bytes) : NULL;
    if (cubin) {
        fr__disk_put(key.at, key.n, cubin, *bytes);
        atomic_fetch_add_explicit(&fr__counters[FR_COUNT_GENERATED], 1, memory_order_relaxed);
        if (fr__debug() >= 5)
            fr__debug_print("%s\n", ptx);
        if (fr__debug() >= 2)
            fr__debug_print("kernel %016llx: PTX in %.2f ms, assembled in %.2f ms\n",
                            (unsigned long long)e->kernel->hash, 1e3 * (made - start),
                            1e3 * (fr__now() - made));
    }
    fr__free(ptx);
out:
    if (key.failed)
        fr__fail(FR__E_MEMORY, "no memory for the key of a kernel");
    fr__text_free(&key);
    return cubin;
}

/* As make_code; but a failure stays this thread's error. */
static int make_gpu_code(fr__kentry *e, fr__gpu *g, fr__entry entry)
{
    size_t bytes = 0;
    char *cubin = cubin_of(e, g, entry, &bytes);
    fr__gpu_code *c = cubin ? fr__gpu_load(g, cubin, bytes, e->name[entry]) : NULL;
    atomic_store_explicit(&e->gpu[entry][fr__gpu_about(g)->index], c, memory_order_release);
    fr__free(cubin);
    return c ? 0 : -1;
}

static int gpu_slot(fr__gpu *g)
{
    int device = fr__gpu_about(g)->index;
    if (device < FR__KCACHE_GPUS)
        return device;
    return fr__fail_int(FR__E_LIMIT, "code for GPU %d: the first %d can be used", device,
                        FR__KCACHE_GPUS);
}

fr__gpu_code *fr__kcache_gpu_code(fr__kentry *e, fr__gpu *g, fr__entry entry)
{
    int device = gpu_slot(g);
    if (device < 0)
        return NULL;
    fr__gpu_code *c = atomic_load_explicit(&e->gpu[entry][device], memory_order_acquire);
    if (FR__LIKELY(c != NULL))
        return c;
    pthread_mutex_lock(&maker);
    if (!atomic_load_explicit(&e->gpu[entry][device], memory_order_acquire))
        make_gpu_code(e, g, entry);
    c = atomic_load_explicit(&e->gpu[entry][device], memory_order_acquire);
    pthread_mutex_unlock(&maker);
    return c;
}

bool fr__kcache_has(const fr__kentry *e, fr__gpu *g, fr__entry entry)
{
    int device = fr__gpu_about(g)->index;
    return device < FR__KCACHE_GPUS &&
           atomic_load_explicit(&e->gpu[entry][device], memory_order_acquire);
}

/* ---- of many kernels at once -------------------------------------------------------- */

typedef struct {
    fr__wanted *of;
    fr__gpu *gpu; /* NULL: machine code of the host */
    pthread_mutex_t lock;
    int64_t first;         /* the first that failed; later ones aren't begun any more */
    fr__saved_error error; /* of that one */
} batch;

static bool failed_before(batch *b, int64_t i)
{
    pthread_mutex_lock(&b->lock);
    bool before = b->first < i;
    pthread_mutex_unlock(&b->lock);
    return before;
}

/* Which kernel's error is told doesn't depend on the threads' luck. */
static void note_failure(batch *b, int64_t i)
{
    pthread_mutex_lock(&b->lock);
    if (i < b->first) {
        b->first = i;
        fr__error_save(&b->error);
    }
    pthread_mutex_unlock(&b->lock);
}

static void make_some(void *ctx, int64_t begin, int64_t end, int thread)
{
    batch *b = ctx;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        fr__saved_error before;
        if (!b->gpu) {
            make_code(b->of[i].of, true);
            continue;
        }
        if (failed_before(b, i))
            continue;
        fr__error_save(&before);
        if (b->of[i].of ? make_gpu_code(b->of[i].of, b->gpu, b->of[i].entry)
                        : fr__gpu_routine_load(b->gpu, b->of[i].module))
            note_failure(b, i);
        fr__error_restore(&before);
    }
}

/* What takes longest comes first: no thread begins it when the others are done. */
static int longest_first(const void *a, const void *b)
{
    const fr__wanted *x = a, *y = b;
    if (!x->of || !y->of)
        return !x->of && !y->of ? x->module - y->module : x->of ? 1 : -1;
    int n = x->of->kernel->nins, m = y->of->kernel->nins;
    if (n != m)
        return m - n;
    return x->of->hash != y->of->hash ? (x->of->hash > y->of->hash ? 1 : -1)
                                      : (int)x->entry - (int)y->entry;
}

/* Locked. Those that have no code yet, each once. */
static int choose(int n, const fr__wanted *wanted, fr__gpu *g, fr__wanted *to)
{
    int chosen = 0;
    for (int i = 0; i < n; i++) {
        fr__kentry *e = wanted[i].of;
        if (!e) {
            to[chosen++] = wanted[i];
            continue;
        }
        uint8_t bit = (uint8_t)(1 << wanted[i].entry);
        if (e->chosen & bit || (g ? fr__kcache_has(e, g, wanted[i].entry) : has_code(e)))
            continue;
        e->chosen |= bit;
        to[chosen++] = wanted[i];
    }
    for (int i = 0; i < chosen; i++)
        if (to[i].of)
            to[i].of->chosen = 0;
    return chosen;
}

int fr__kcache_make(int n, const fr__wanted *wanted, fr__gpu *g)
{
    batch b = {.of = fr__malloc(sizeof *b.of * (size_t)n + 1), .gpu = g, .first = INT64_MAX};
    if (!b.of || (g && gpu_slot(g) < 0)) {
        fr__free(b.of);
        return -1;
    }
    pthread_mutex_init(&b.lock, NULL);
    pthread_mutex_lock(&maker); /* all the time: a fork waits for the threads, too */
    n = choose(n, wanted, g, b.of);
    qsort(b.of, (size_t)n, sizeof *b.of, longest_first);
    fr__pool_run(n, 1, make_some, &b);
    pthread_mutex_unlock(&maker);
    pthread_mutex_destroy(&b.lock);
    fr__free(b.of);
    if (b.first == INT64_MAX)
        return 0;
    fr__error_restore(&b.error);
    return -1;
}
