/* routines.c - runs src/device/cuda/routines for the stand-in driver: the same C, compiled for the host
 *
 * A block after the other. Its threads are contexts that take turns: one runs until it comes to a
 * shuffle or a barrier, and goes on when those that it waits for have come there, too.
 */
#include "routines.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "device/cuda/routines/threads.h"

enum { MOST_THREADS = 1024, MOST_ENTRIES = 256, STACK = 64 << 10 };

static struct {
    const char *name;
    void (*call)(const void *args);
} entries[MOST_ENTRIES];
static int nentries;

void add_kernel(const char *name, void (*call)(const void *args))
{
    if (nentries == MOST_ENTRIES)
        abort();
    entries[nentries].name = name;
    entries[nentries++].call = call;
}

/* Threads that come together: a warp, or the block. */
typedef struct {
    unsigned size, come, turn;
} meeting;

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static ucontext_t main_context, contexts[MOST_THREADS];
static char *stacks;
static bool ended[MOST_THREADS];
static unsigned current, block, threads, blocks;
static meeting warps[MOST_THREADS / WARP], whole;
static uint32_t told[MOST_THREADS];
static void (*running)(const void *args);
static const void *arguments;

uint32_t thread_index(void) { return current; }
uint32_t block_index(void) { return block; }
uint32_t block_threads(void) { return threads; }
uint32_t grid_blocks(void) { return blocks; }

static void meet(meeting *m)
{
    unsigned turn = m->turn, me = current;
    if (++m->come == m->size) {
        m->come = 0;
        m->turn++;
        return;
    }
    while (m->turn == turn)
        swapcontext(&contexts[me], &main_context);
}

void block_barrier(void) { meet(&whole); }
void warp_barrier(void) { meet(&warps[current / WARP]); }

uint32_t lane_at32(uint32_t v, uint32_t lane)
{
    told[current] = v;
    warp_barrier();
    v = told[current / WARP * WARP + lane];
    warp_barrier();
    return v;
}

uint32_t lane_up32(uint32_t v, uint32_t by)
{
    uint32_t lane = current % WARP;
    return lane_at32(v, lane < by ? lane : lane - by);
}

uint32_t lanes_like(uint32_t v)
{
    uint32_t mask = 0;
    told[current] = v;
    warp_barrier();
    for (uint32_t l = 0; l < WARP; l++)
        mask |= (uint32_t)(told[current / WARP * WARP + l] == v) << l;
    warp_barrier();
    return mask;
}

static void run_thread(void)
{
    running(arguments);
    ended[current] = true;
}

/* By itself: getcontext might spoil what a loop around it keeps in registers. */
static __attribute__((noinline)) void prepare_thread(unsigned t)
{
    ended[t] = false;
    getcontext(&contexts[t]);
    contexts[t].uc_stack.ss_sp = stacks + (size_t)t * STACK;
    contexts[t].uc_stack.ss_size = STACK;
    contexts[t].uc_link = &main_context;
    makecontext(&contexts[t], run_thread, 0);
}

static void run_block(void)
{
    whole = (meeting){threads, 0, 0};
    for (unsigned w = 0; w < threads / WARP; w++)
        warps[w] = (meeting){WARP, 0, 0};
    for (unsigned t = 0; t < threads; t++)
        prepare_thread(t);
    for (unsigned left = threads; left;)
        for (unsigned t = 0; t < threads; t++) {
            if (ended[t])
                continue;
            current = t;
            swapcontext(&main_context, &contexts[t]);
            left -= ended[t];
        }
}

bool standin_routine(const standin_launch *l)
{
    for (int i = 0; i < nentries; i++) {
        if (strcmp(entries[i].name, l->entry))
            continue;
        pthread_mutex_lock(&one_at_a_time);
        running = entries[i].call;
        arguments = l->params[0];
        threads = l->threads;
        blocks = l->blocks;
        if (!stacks && !(stacks = malloc((size_t)MOST_THREADS * STACK)))
            abort();
        for (block = 0; block < blocks; block++)
            run_block();
        pthread_mutex_unlock(&one_at_a_time);
        return true;
    }
    return false;
}
