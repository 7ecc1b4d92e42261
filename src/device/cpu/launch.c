/* launch.c (cpu) - a kernel over its range, on the calling thread or on the pool */
#include "device/launch.h"

#include "base/pool.h"

#include <stdatomic.h>

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

static void run_kernel(const fr__launch *l, int64_t begin, int64_t end, char *space)
{
    if (l->fn)
        l->fn(l->words, begin, end, space);
    else
        fr__interp(l->kernel, l->words, begin, end, space,
                   space + (l->scratch ? rounded(l->scratch) : 0));
}

typedef struct {
    const fr__launch *l;
    char *space;
    size_t each;
} job;

static void run_piece(void *ctx, int64_t begin, int64_t end, int thread)
{
    const job *j = ctx;
    run_kernel(j->l, begin, end, j->each ? j->space + j->each * (size_t)thread : NULL);
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

/* ---- several kernels ------------------------------------------------------------------ */

typedef struct {
    const fr__launch *l;
    int n;
    char *space;
    size_t each;
    int64_t *first; /* the number of each one's first piece, and how many there are in all */
} many_job;

static size_t most_space(const fr__launch *l, int n)
{
    size_t most = 0;
    for (int i = 0; i < n; i++)
        most = thread_space(&l[i]) > most ? thread_space(&l[i]) : most;
    return most;
}

size_t fr__cpu_space_many(const fr__launch *l, int n)
{
    return rounded(sizeof(int64_t) * (size_t)(n + 1)) +
           for_all(most_space(l, n), l->alone, l->threads);
}

/* The launch that piece number i is of. */
static int launch_of(const many_job *j, int64_t i)
{
    int low = 0, high = j->n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (j->first[middle] <= i)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void run_pieces(void *ctx, int64_t begin, int64_t end, int thread)
{
    const many_job *j = ctx;
    char *space = j->each ? j->space + j->each * (size_t)thread : NULL;
    for (int k = launch_of(j, begin); begin < end; k++) {
        const fr__launch *l = &j->l[k];
        int64_t until = end < j->first[k + 1] ? end : j->first[k + 1],
                to = (until - j->first[k]) * l->grain;
        run_kernel(l, (begin - j->first[k]) * l->grain, to < l->range ? to : l->range, space);
        begin = until;
    }
}

void fr__cpu_launch_many(const fr__launch *l, int n, char *space)
{
    size_t head = rounded(sizeof(int64_t) * (size_t)(n + 1));
    many_job j = {l, n, space + head, most_space(l, n), (int64_t *)(void *)space};
    j.first[0] = 0;
    for (int i = 0; i < n; i++)
        j.first[i + 1] = j.first[i] + (l[i].range + l[i].grain - 1) / l[i].grain;
    if (l->alone) {
        run_pieces(&j, 0, j.first[n], 0);
    } else {
        fr__pool_limit(l->threads);
        fr__pool_run(j.first[n], 1, run_pieces, &j);
    }
}

/* ---- native routines ------------------------------------------------------------------ */

static size_t native_scratch(const fr__native_launch *l)
{
    return l->call->scratch ? rounded(l->call->scratch) : 0;
}

/* Its words, and what the interpreter needs. */
static size_t maker_space(const fr__launch *l)
{
    return rounded(sizeof(uint64_t) * (size_t)l->kernel->nword) + thread_space(l);
}

static size_t native_space(const fr__native_launch *l)
{
    size_t bytes = native_scratch(l) + (l->strips ? thread_space(l->strips) : 0);
    for (int i = 0; i < l->nmakers; i++)
        bytes += maker_space(l->makers[i].with);
    return bytes;
}

/* Makes a part of an operand: the kernel with other words. */
static void make_part(const fr__maker *m, char *scratch, int64_t row, int64_t rows, int64_t at,
                      int64_t n, char *to, int64_t apart)
{
    const fr__made *made = m->made;
    const fr__launch *l = m->with;
    size_t bytes = sizeof(uint64_t) * (size_t)l->kernel->nword;
    uint64_t *words = (uint64_t *)(void *)(scratch + m->room);
    memcpy(words, l->words, bytes);
    words[made->extent] = (uint64_t)n;
    words[made->out] = (uintptr_t)to - (uint64_t)(row * apart * made->size);
    for (int i = 0; i < made->nshifts; i++)
        words[made->shift[i].word] += (uint64_t)(at * made->shift[i].bytes);
    for (int i = 0; i < made->nrows; i++)
        words[made->rows[i].word] = (uint64_t)(made->rows[i].times * apart);
    if (l->fn)
        l->fn(words, row, row + rows, NULL);
    else
        fr__interp(l->kernel, words, row, row + rows, NULL, scratch + m->room + rounded(bytes));
}

/* Before the threads' spaces: how many units of each strip are done. */
static size_t counters(const fr__native_launch *l)
{
    const fr__native_call *c = l->call;
    int64_t last = c->phase[c->phases - 1].range - 1;
    return l->strips
               ? rounded(sizeof(atomic_int) * (size_t)(c->routine->strip(c, last).index + 1))
               : 0;
}

size_t fr__cpu_native_space(const fr__native_launch *l)
{
    return counters(l) + for_all(native_space(l), l->alone, l->threads);
}

typedef struct {
    const fr__native_launch *l;
    char *space;
    int phase;
    atomic_int *done; /* units, of each strip */
} native_job;

static void run_native(void *ctx, int64_t begin, int64_t end, int thread)
{
    const native_job *j = ctx;
    const fr__native_call *c = j->l->call;
    size_t each = native_space(j->l);
    char *space = each ? j->space + each * (size_t)thread : NULL;
    if (!j->l->strips || j->phase < c->phases - 1) {
        c->routine->run(c, j->phase, j->l->data, begin, end, space);
        return;
    }
    for (int64_t unit = begin; unit < end; unit++) {
        c->routine->run(c, j->phase, j->l->data, unit, unit + 1, space);
        fr__strip s = c->routine->strip(c, unit);
        if (s.units == 1 || atomic_fetch_add(&j->done[s.index], 1) == s.units - 1)
            run_kernel(j->l->strips, s.first * j->l->strip, (s.first + s.rows) * j->l->strip,
                       space + native_scratch(j->l));
    }
}

void fr__cpu_native(const fr__native_launch *l, char *space)
{
    size_t bytes = counters(l),
           room = native_scratch(l) + (l->strips ? thread_space(l->strips) : 0);
    for (int i = 0; i < l->nmakers; i++) {
        l->makers[i].make = make_part;
        l->makers[i].room = room;
        room += maker_space(l->makers[i].with);
    }
    atomic_int *done = (atomic_int *)(void *)space;
    if (bytes) {
        memset(space, 0, bytes);
        space += bytes;
    }
    for (int phase = 0; phase < l->call->phases; phase++) {
        native_job j = {l, space, phase, done};
        int64_t range = l->call->phase[phase].range;
        if (l->alone) {
            run_native(&j, 0, range, 0);
        } else {
            fr__pool_limit(l->threads);
            fr__pool_run(range, l->call->phase[phase].grain, run_native, &j);
        }
    }
}
