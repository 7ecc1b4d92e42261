/* launch.c (cuda) - a kernel over its range on a GPU: how many blocks of how many threads, where its
 * words and its scratch go
 */
#include "device/cuda/launch.h"

enum {
    THREADS = 256,     /* that every kernel has registers for */
    OWN_SHARED = 1024, /* bytes of shared memory that a kernel uses itself, generously */
    MANY = 1 << 30,    /* indices, where it isn't known how many there will be */
    FAR_BLOCKS = 4,    /* blocks a processor where scratch lies in global memory */
};

/* No more threads than the kernel's registers leave room for; up to THREADS there always is. */
static int spread_kernel(const fr__gpu_kernel *l, unsigned processors, fr__ptx_shape *to)
{
    fr__gpu_code_info about;
    fr__ptx_room room = {.processors = processors};
    *to = fr__ptx_spread(l->kernel, l->words, 0, l->range, room);
    if (to->threads <= THREADS)
        return 0;
    if (fr__gpu_code_about(l->code, &about))
        return -1;
    room.most = (unsigned)about.threads;
    if (to->threads > room.most)
        *to = fr__ptx_spread(l->kernel, l->words, 0, l->range, room);
    return 0;
}

static uint64_t scratch_bytes(const fr__gpu_kernel *l)
{
    return (l->scratch + 127) & ~(uint64_t)127;
}

/* Where it is touched at all. */
static bool scratch_is_far(const fr__gpu_info *about, const fr__gpu_kernel *l)
{
    return l->scratch && scratch_bytes(l) + OWN_SHARED > (uint64_t)about->shared_block;
}

/* *far: scratch is in global memory. */
static int shape_of(const fr__gpu_info *about, const fr__gpu_kernel *l, fr__gpu_shape *shape,
                    uint64_t *spread, bool *far)
{
    fr__ptx_shape how;
    if (spread_kernel(l, (unsigned)about->processors, &how))
        return -1;
    *shape = (fr__gpu_shape){.threads = how.threads, .blocks = how.blocks};
    *spread = how.shape;
    *far = how.scratch && scratch_is_far(about, l);
    unsigned most = (unsigned)(FAR_BLOCKS * about->processors);
    if (*far && shape->blocks > most)
        shape->blocks = most;
    if (how.scratch && !*far)
        shape->shared = (unsigned)scratch_bytes(l);
    return 0;
}

static size_t words_bytes(const fr__gpu_kernel *l)
{
    size_t bytes = sizeof *l->words * (size_t)l->nwords;
    return l->nwords > FR__PTX_WORDS ? (bytes + 127) & ~(size_t)127 : 0;
}

int64_t fr__gpu_kernel_room(fr__gpu *g, const fr__gpu_kernel *l)
{
    const fr__gpu_info *about = fr__gpu_about(g);
    fr__gpu_shape shape;
    uint64_t spread;
    bool far;
    if (FR__LIKELY(l->range <= 0 || (!words_bytes(l) && !scratch_is_far(about, l))))
        return 0;
    if (shape_of(about, l, &shape, &spread, &far))
        return -1;
    return (int64_t)words_bytes(l) + (far ? (int64_t)scratch_bytes(l) * shape.blocks : 0);
}

int fr__gpu_kernel_run(fr__gpu_stream *s, const fr__gpu_kernel *l)
{
    const fr__gpu_info *about = fr__gpu_about(fr__gpu_of(s));
    fr__gpu_shape shape;
    uint64_t spread;
    bool far;
    if (l->range <= 0)
        return 0;
    if (shape_of(about, l, &shape, &spread, &far))
        return -1;
    uint64_t begin = 0, end = (uint64_t)l->range, scratch = 0, each = scratch_bytes(l);
    if (far)
        scratch = (uint64_t)(uintptr_t)l->room + words_bytes(l);
    if (words_bytes(l) &&
        fr__gpu_upload(l->up, l->room, l->words, sizeof *l->words * (size_t)l->nwords))
        return -1;
    void *params[] = {words_bytes(l) ? (void *)(uintptr_t)&l->room
                                     : (void *)(uintptr_t)l->words,
                      &begin,
                      &end,
                      &scratch,
                      &each,
                      &spread};
    return fr__gpu_launch(s, l->code, shape, params, l->name);
}

/* ---- many as one ------------------------------------------------------------------------ */

unsigned fr__gpu_kernel_threads(const fr__kernel *k, const uint64_t *words)
{
    return fr__ptx_spread(k, words, 0, MANY, (fr__ptx_room){.processors = 1}).threads;
}

/* As all rows have their threads from the first one's sizes, so they have them from its registers. */
static int fit_registers(const fr__gpu_many *m, unsigned *threads)
{
    fr__gpu_code_info about;
    *threads = fr__gpu_kernel_threads(m->kernel, m->table + FR__ROW_WORDS);
    if (*threads <= THREADS)
        return 0;
    if (fr__gpu_code_about(m->code, &about))
        return -1;
    *threads = *threads > (unsigned)about.threads ? THREADS : *threads;
    return 0;
}

/* A block of a long row does several parts of it: it reads the words once. */
int64_t fr__gpu_many_blocks(fr__gpu_many *m)
{
    enum { TURNS = 2, LONG = 64 };
    int64_t all = 0;
    if (fit_registers(m, &m->threads))
        return -1;
    for (int i = 0; i < m->rows; i++) {
        uint64_t *row = m->table + fr__gpu_row(m) * (size_t)i;
        fr__ptx_shape how =
            fr__ptx_spread(m->kernel, row + FR__ROW_WORDS, 0, (int64_t)row[FR__ROW_RANGE],
                           (fr__ptx_room){.threads = m->threads});
        if (how.blocks >= LONG)
            how.blocks = (how.blocks + TURNS - 1) / TURNS;
        row[FR__ROW_FIRST] = (uint64_t)all;
        row[FR__ROW_BLOCKS] = how.blocks;
        row[FR__ROW_SHAPE] = how.shape;
        all += how.blocks;
    }
    return all <= INT32_MAX ? all : fr__fail_int(FR__E_LIMIT, "%s: too many blocks", m->name);
}

void fr__gpu_many_which(const fr__gpu_many *m, uint32_t *which)
{
    for (int i = 0; i < m->rows; i++)
        for (uint64_t n = m->table[fr__gpu_row(m) * (size_t)i + FR__ROW_BLOCKS]; n; n--)
            *which++ = (uint32_t)i;
}

int fr__gpu_many_run(fr__gpu_stream *s, const fr__gpu_many *m, int64_t blocks,
                     const char *table, const char *which)
{
    uint64_t rows = (uint64_t)m->rows, scratch = 0,
             scratch_bytes = (m->scratch + 127) & ~(uint64_t)127;
    void *params[] = {&table, &which, &rows, &scratch, &scratch_bytes};
    fr__gpu_shape shape = {(unsigned)blocks, m->threads, (unsigned)scratch_bytes};
    return fr__gpu_launch(s, m->code, shape, params, m->name);
}
