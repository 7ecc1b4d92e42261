/* kernels.c - runs our kernels for the stand-in driver: by the interpreter, on "device" memory; and routines
 *
 * With STANDIN_PTX in the environment kernels are run as a GPU would run them: the code that is
 * generated for it, compiled for the host, in the blocks and threads of the launch (fibers.h). That is
 * slow, and finds what is wrong with the code.
 *
 * Linked into a test program, it does nothing unless FERRULE_CUDA_DRIVER names the stand-in. Then the
 * program, with FERRULE_DEVICE=gpu, tests all that stands between a graph and the driver.
 */
#include "standin.h"

#include "run/kcache.h"
#include "fibers.h"
#include "routines.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy(void *to, const void *from, int64_t bytes) { memcpy(to, from, (size_t)bytes); }

static void *aligned(size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, 64, bytes + 64) ? NULL : p;
}

static void run(const fr__kernel *k, const uint64_t *from, int64_t begin, int64_t end,
                uint64_t scratch_bytes)
{
    uint64_t *words = malloc(sizeof *words * (size_t)k->nword + 8);
    memcpy(words, from, sizeof *words * (size_t)k->nword);
    void (*copier)(void *, const void *, int64_t) = copy;
    memcpy(&words[FR__W_COPY], &copier, sizeof copier);
    size_t bytes = fr__interp_space(k);
    if (!bytes) /* an allocation that a test makes fail: a GPU has its own memory for what it runs */
        bytes = fr__interp_space(k);
    void *space = aligned(bytes), *scratch = aligned((size_t)scratch_bytes);
    fr__interp(k, words, begin, end, scratch, space);
    free(scratch);
    free(space);
    free(words);
}

/* Rows of a table, their order turned round; each block must know its row. */
static void run_many(const fr__kernel *k, const standin_launch *l)
{
    const uint64_t *table;
    const uint32_t *which;
    uint64_t rows, scratch_bytes, blocks = 0;
    memcpy(&table, l->params[0], sizeof table);
    memcpy(&which, l->params[1], sizeof which);
    memcpy(&rows, l->params[2], sizeof rows);
    memcpy(&scratch_bytes, l->params[4], sizeof scratch_bytes);
    for (uint64_t r = rows; r--;) {
        const uint64_t *row = table + r * (uint64_t)(FR__ROW_WORDS + k->nword);
        for (uint64_t b = 0; b < row[FR__ROW_BLOCKS]; b++)
            if (which[row[FR__ROW_FIRST] + b] != r)
                abort();
        blocks += row[FR__ROW_BLOCKS];
        run(k, row + FR__ROW_WORDS, 0, (int64_t)row[FR__ROW_RANGE], scratch_bytes);
    }
    if (blocks != l->blocks)
        abort();
}

/* Parameters as kernel.h tells: words (or their address), begin, end, scratch, bytes of it. */
static void run_one(const fr__kernel *k, const standin_launch *l)
{
    const uint64_t *from = l->params[0];
    uint64_t scratch_bytes;
    int64_t begin, end;
    if (k->nword > FR__PTX_WORDS)
        memcpy(&from, l->params[0], sizeof from);
    memcpy(&begin, l->params[1], sizeof begin);
    memcpy(&end, l->params[2], sizeof end);
    memcpy(&scratch_bytes, l->params[4], sizeof scratch_bytes);
    run(k, from, begin, end, scratch_bytes);
}

/* Code for each kernel, made once. */
static fr__ptx_fn *generated(const fr__kernel *k, bool many)
{
    static struct {
        uint64_t hash;
        bool many;
        fr__code *code;
    } made[1 << 12];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int n;
    size_t bytes;
    fr__code *code = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n && !code; i++)
        if (made[i].hash == k->hash && made[i].many == many)
            code = made[i].code;
    if (!code) {
        void *object = fr__llvm_ptx_object(k, "kernel", many, &fibers_host, &bytes);
        code = object ? fr__code_load(object, bytes, "kernel") : NULL;
        if (!code || n == FR__COUNT(made)) {
            fprintf(stderr, "standin: no code for a kernel: %s\n%s", fr__error_text(), k->text);
            abort();
        }
        fr__free(object);
        made[n].hash = k->hash;
        made[n].many = many;
        made[n++].code = code;
    }
    pthread_mutex_unlock(&lock);
    return (fr__ptx_fn *)(uintptr_t)fr__code_entry(code);
}

static void run_generated(const fr__kernel *k, bool many, const standin_launch *l)
{
    uint64_t p[6] = {0};
    fr__ptx_shape how = {.threads = l->threads, .blocks = l->blocks, .scratch = true};
    for (int i = 0; i < (many ? 5 : 6); i++)
        memcpy(&p[i], l->params[i], sizeof p[i]);
    const void *words = many || k->nword > FR__PTX_WORDS ? (const void *)(uintptr_t)p[0]
                                                          : l->params[0];
    how.shape = p[5];
    fibers_run(generated(k, many), words, (int64_t)p[1], (int64_t)p[2], p[3], p[4], how);
}

static void run_kernel(void *ctx, const standin_launch *l)
{
    (void)ctx;
    fr__kentry *e = fr__kcache_named(l->entry);
    if (!e && standin_routine(l))
        return;
    if (!e)
        abort(); /* it was never made, or is gone */
    bool many = !strcmp(l->entry, e->name[FR__MANY]);
    if (getenv("STANDIN_PTX"))
        run_generated(e->kernel, many, l);
    else
        (many ? run_many : run_one)(e->kernel, l);
    fr__kcache_release(e);
}

__attribute__((constructor)) static void run_kernels_here(void)
{
    const char *driver = getenv("FERRULE_CUDA_DRIVER");
    void *library = driver ? dlopen(driver, RTLD_NOW) : NULL;
    void *symbol = library ? dlsym(library, "standin_on_launch") : NULL;
    void (*on_launch)(standin_kernel *, void *);
    if (!symbol)
        return;
    memcpy(&on_launch, &symbol, sizeof on_launch);
    fr__kcache_keeps = true; /* work is done late, maybe when its program is gone */
    on_launch(run_kernel, NULL);
}
