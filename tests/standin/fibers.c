/* fibers.c - generated code for GPUs, run on the host: the threads of a block take turns
 *
 * One runs until it comes to a shuffle or a barrier, and goes on when those that it waits for have
 * come there, too. Threads that wait for nobody are plain calls, one after the other.
 */
#include "fibers.h"
#include "turns.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 1024, WARP = 32, STACK = 32 << 10, SHARED = 64 << 10, DYNAMIC = 1 << 20 };

typedef struct {
    unsigned size, come, turn;
} meeting;

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static turn main_context, contexts[MOST_THREADS];
static char stacks[MOST_THREADS][STACK] __attribute__((aligned(64)));
static char shared[SHARED] __attribute__((aligned(64))),
    dynamic[DYNAMIC] __attribute__((aligned(64)));
static bool ended[MOST_THREADS];
static unsigned current, block, threads, blocks;
static meeting warps[MOST_THREADS / WARP], whole;
static uint32_t told[MOST_THREADS];
static struct {
    fr__ptx_fn *fn;
    const uint64_t *words;
    int64_t begin, end;
    uint64_t scratch, scratch_bytes, shape;
} now;

static uint32_t thread_index(void) { return current; }
static uint32_t block_threads(void) { return threads; }
static uint32_t block_index(void) { return block; }
static uint32_t grid_blocks(void) { return blocks; }

static void meet(meeting *m)
{
    unsigned turn = m->turn, me = current;
    if (++m->come == m->size) {
        m->come = 0;
        m->turn++;
        return;
    }
    while (m->turn == turn)
        turn_switch(&contexts[me], &main_context);
}

static void barrier(void) { meet(&whole); }

static uint32_t other(uint32_t v, uint32_t distance)
{
    meeting *warp = &warps[current / WARP];
    told[current] = v;
    meet(warp);
    v = told[current ^ distance];
    meet(warp);
    return v;
}

const fr__ptx_host fibers_host = {
    .thread = thread_index,
    .threads = block_threads,
    .block = block_index,
    .blocks = grid_blocks,
    .barrier = barrier,
    .other = other,
    .shared = shared,
    .dynamic = dynamic,
};

static void run_thread(void)
{
    now.fn(now.words, now.begin, now.end, now.scratch, now.scratch_bytes, now.shape);
    ended[current] = true;
    for (;;)
        turn_switch(&contexts[current], &main_context);
}

/* Threads that come to an end without all of their block are a wait for ever on a GPU. */
static void check_meetings(void)
{
    bool waits = whole.come != 0;
    for (unsigned w = 0; w < threads / WARP; w++)
        waits |= warps[w].come != 0;
    if (waits) {
        fprintf(stderr, "fibers: a thread waits for others that have ended\n");
        abort();
    }
}

static void run_block(void)
{
    unsigned size = threads % WARP ? threads % WARP : WARP;
    whole = (meeting){threads, 0, 0};
    for (unsigned w = 0; w <= (threads - 1) / WARP; w++)
        warps[w] = (meeting){w == (threads - 1) / WARP ? size : WARP, 0, 0};
    memset(shared, 0xff, sizeof shared);
    for (unsigned t = 0; t < threads; t++) {
        ended[t] = false;
        turn_begin(&contexts[t], stacks[t], STACK, run_thread);
    }
    for (unsigned left = threads, idle = 0; left;) {
        unsigned before = left;
        for (unsigned t = 0; t < threads; t++) {
            if (ended[t])
                continue;
            current = t;
            turn_switch(&main_context, &contexts[t]);
            left -= ended[t];
        }
        idle = left == before ? idle + 1 : 0;
        if (idle > 1 << 16) {
            fprintf(stderr, "fibers: threads wait for each other for ever\n");
            abort();
        }
    }
    check_meetings();
}

void fibers_run(fr__ptx_fn *fn, const uint64_t *words, int64_t begin, int64_t end,
                uint64_t scratch, uint64_t scratch_bytes, fr__ptx_shape how)
{
    pthread_mutex_lock(&one_at_a_time);
    now.fn = fn;
    now.words = words;
    now.begin = begin;
    now.end = end;
    now.scratch = scratch;
    now.scratch_bytes = scratch_bytes;
    now.shape = how.shape;
    threads = how.threads;
    blocks = how.blocks;
    if (!scratch && how.scratch && scratch_bytes > DYNAMIC)
        abort();
    for (block = 0; block < blocks; block++)
        run_block();
    pthread_mutex_unlock(&one_at_a_time);
}
