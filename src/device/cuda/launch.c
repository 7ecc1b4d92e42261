/* launch.c (cuda) - a kernel over its range on a GPU: how many blocks of how many threads, where its
 * words and its scratch go
 */
#include "device/cuda/launch.h"

enum {
    THREADS = 256, /* of a block that has enough to do */
    MOST_THREADS = 1024,
    LONG_ROW = 16384,  /* elements: from here on a row gets the most threads */
    PARTS = 4,         /* elements a thread takes at a time */
    OWN_SHARED = 1024, /* bytes of shared memory that a kernel uses itself, generously */
    FAR_BLOCKS = 4,    /* blocks a processor where scratch lies in global memory */
};

/* Elements of the longest vector loop, or 0. */
static int64_t longest_row(const fr__kernel *k, const uint64_t *words)
{
    int64_t most = 0;
    for (int a = 0; a < k->naxis; a++)
        if (k->axis[a].bind == FR__BIND_VEC) {
            int64_t n =
                (int64_t)words[k->axis[a].split >= 0 ? k->axis[a].block : k->axis[a].extent];
            most = n > most ? n : most;
        }
    return most;
}

unsigned fr__gpu_kernel_threads(const fr__kernel *k, const uint64_t *words)
{
    int64_t row = longest_row(k, words);
    if (!row || fr__ptx_per_block(k, THREADS) != 1)
        return THREADS;
    if (row >= LONG_ROW)
        return MOST_THREADS;
    int64_t threads = (row + PARTS - 1) / PARTS;
    threads = (threads + 31) / 32 * 32;
    return threads > THREADS ? THREADS : (unsigned)threads;
}

/* No more threads than the kernel's registers leave room for; up to THREADS there always is. */
static int fit_registers(fr__gpu_code *code, unsigned *threads)
{
    fr__gpu_code_info about;
    if (*threads <= THREADS)
        return 0;
    if (fr__gpu_code_about(code, &about))
        return -1;
    while (*threads > THREADS && *threads > (unsigned)about.threads)
        *threads /= 2;
    return 0;
}

static uint64_t scratch_bytes(const fr__gpu_kernel *l)
{
    return (l->scratch + 127) & ~(uint64_t)127;
}

static bool scratch_is_far(const fr__gpu_info *about, const fr__gpu_kernel *l)
{
    return l->scratch && scratch_bytes(l) + OWN_SHARED > (uint64_t)about->shared_block;
}

static int shape_of(const fr__gpu_info *about, const fr__gpu_kernel *l, fr__gpu_shape *shape)
{
    *shape = (fr__gpu_shape){.threads = fr__gpu_kernel_threads(l->kernel, l->words)};
    if (fit_registers(l->code, &shape->threads))
        return -1;
    int64_t each = fr__ptx_per_block(l->kernel, (int)shape->threads),
            blocks = (l->range + each - 1) / each, most = INT32_MAX;
    if (scratch_is_far(about, l))
        most = (int64_t)FAR_BLOCKS * about->processors;
    else
        shape->shared = (unsigned)scratch_bytes(l);
    shape->blocks = (unsigned)(blocks < most ? blocks : most);
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
    if (FR__LIKELY(l->range <= 0 || (!words_bytes(l) && !scratch_is_far(about, l))))
        return 0;
    if (shape_of(about, l, &shape))
        return -1;
    return (int64_t)words_bytes(l) +
           (shape.shared || !l->scratch ? 0 : (int64_t)scratch_bytes(l) * shape.blocks);
}

int fr__gpu_kernel_run(fr__gpu_stream *s, const fr__gpu_kernel *l)
{
    const fr__gpu_info *about = fr__gpu_about(fr__gpu_of(s));
    fr__gpu_shape shape;
    if (l->range <= 0)
        return 0;
    if (shape_of(about, l, &shape))
        return -1;
    uint64_t begin = 0, end = (uint64_t)l->range, scratch = 0, each = scratch_bytes(l);
    if (scratch_is_far(about, l))
        scratch = (uint64_t)(uintptr_t)l->room + words_bytes(l);
    if (words_bytes(l) &&
        fr__gpu_upload(l->up, l->room, l->words, sizeof *l->words * (size_t)l->nwords))
        return -1;
    void *params[] = {words_bytes(l) ? (void *)(uintptr_t)&l->room
                                     : (void *)(uintptr_t)l->words,
                      &begin, &end, &scratch, &each};
    return fr__gpu_launch(s, l->code, shape, params, l->name);
}

/* ---- many as one ------------------------------------------------------------------------ */

int64_t fr__gpu_many_blocks(fr__gpu_many *m)
{
    int64_t all = 0;
    m->threads = fr__gpu_kernel_threads(m->kernel, m->table + FR__ROW_WORDS);
    if (fit_registers(m->code, &m->threads))
        return -1;
    int64_t each = fr__ptx_per_block(m->kernel, (int)m->threads);
    for (int i = 0; i < m->rows; i++) {
        uint64_t *row = m->table + fr__gpu_row(m) * (size_t)i;
        int64_t range = (int64_t)row[FR__ROW_RANGE], blocks = (range + each - 1) / each;
        row[FR__ROW_FIRST] = (uint64_t)all;
        row[FR__ROW_BLOCKS] = (uint64_t)blocks;
        all += blocks;
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
