/* launch.c (cpu) - a kernel over its range, on the calling thread or on the pool */
#include "device/launch.h"

#include "base/pool.h"

static size_t rounded(size_t n) { return (n + 127) & ~(size_t)63; }

static size_t thread_space(const fr__launch *l)
{
    return (l->scratch ? rounded(l->scratch) : 0) +
           (l->fn ? 0 : rounded(fr__interp_space(l->kernel)));
}

static size_t for_all(size_t each, bool alone, int threads)
{
    return alone ? each : each * (size_t)threads;
}

size_t fr__cpu_space(const fr__launch *l)
{
    return for_all(thread_space(l), l->alone, l->threads);
}

typedef struct {
    const fr__launch *l;
    char *space;
    size_t each;
} job;

static void run_piece(void *ctx, int64_t begin, int64_t end, int thread)
{
    const job *j = ctx;
    char *space = j->each ? j->space + j->each * (size_t)thread : NULL;
    if (j->l->fn)
        j->l->fn(j->l->words, begin, end, space);
    else
        fr__interp(j->l->kernel, j->l->words, begin, end, space,
                   space + (j->l->scratch ? rounded(j->l->scratch) : 0));
}

void fr__cpu_launch(const fr__launch *l, char *space)
{
    job j = {l, space, thread_space(l)};
    if (l->alone) {
        run_piece(&j, 0, l->range, 0);
    } else {
        fr__pool_limit(l->threads);
        fr__pool_run(l->range, l->grain, run_piece, &j);
    }
}

/* ---- native routines ------------------------------------------------------------------ */

size_t fr__cpu_native_space(const fr__native_launch *l)
{
    return for_all(l->call->scratch ? rounded(l->call->scratch) : 0, l->alone, l->threads);
}

typedef struct {
    const fr__native_launch *l;
    char *space;
    int phase;
} native_job;

static void run_native(void *ctx, int64_t begin, int64_t end, int thread)
{
    const native_job *j = ctx;
    const fr__native_call *c = j->l->call;
    char *space = c->scratch ? j->space + rounded(c->scratch) * (size_t)thread : NULL;
    c->routine->run(c, j->phase, j->l->data, begin, end, space);
}

void fr__cpu_native(const fr__native_launch *l, char *space)
{
    for (int phase = 0; phase < l->call->phases; phase++) {
        native_job j = {l, space, phase};
        int64_t range = l->call->phase[phase].range;
        if (l->alone) {
            run_native(&j, 0, range, 0);
        } else {
            fr__pool_limit(l->threads);
            fr__pool_run(range, l->call->phase[phase].grain, run_native, &j);
        }
    }
}
