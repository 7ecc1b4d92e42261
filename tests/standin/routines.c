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

#include "base/bits.h"
#include "device/cuda/routines/threads.h"
#include "turns.h"

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
static turn main_context, contexts[MOST_THREADS];
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
        turn_switch(&contexts[me], &main_context);
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

bool any_lane(bool v) { return lanes_like(v) != (v ? 0 : UINT32_MAX); }

/* ---- tensor.h ------------------------------------------------------------------------------- */

enum { MOST_SHARED = 227 << 10, MOST_COPIES = 256, SAID = 12 };

static char shared_memory[MOST_SHARED];
static struct {
    uint32_t to, bytes;
    const char *from;
} copies[MOST_THREADS][MOST_COPIES];
static unsigned ncopies[MOST_THREADS];

/* What a thread says to its warp; by turns in two places, so that one meeting is enough. */
static uint32_t said[2][MOST_THREADS][SAID];
static unsigned said_turn[MOST_THREADS];

static uint32_t (*all_say(const uint32_t *words, unsigned n))[SAID]
{
    unsigned turn = said_turn[current]++ & 1;
    memcpy(said[turn][current], words, sizeof *words * n);
    warp_barrier();
    return &said[turn][current / WARP * WARP];
}

static void read_shared(void *to, uint32_t at, size_t bytes)
{
    if (at % bytes || at + bytes > MOST_SHARED)
        abort();
    memcpy(to, shared_memory + at, bytes);
}

uint32_t load_shared(uint32_t at)
{
    uint32_t v;
    read_shared(&v, at, sizeof v);
    return v;
}

void load_matrices(uint32_t *r, uint32_t at)
{
    uint32_t(*of)[SAID] = all_say(&at, 1), lane = current % WARP, row[4];
    for (uint32_t i = 0; i < 4; i++) {
        read_shared(row, of[8 * i + lane / 4][0], sizeof row);
        r[i] = row[lane % 4];
    }
}

void load_transposed(uint32_t *r, uint32_t at)
{
    uint32_t(*of)[SAID] = all_say(&at, 1), lane = current % WARP;
    for (uint32_t i = 0; i < 4; i++) {
        uint16_t low[8], high[8];
        read_shared(low, of[8 * i + lane % 4 * 2][0], sizeof low);
        read_shared(high, of[8 * i + lane % 4 * 2 + 1][0], sizeof high);
        r[i] = low[lane / 4] | (uint32_t)high[lane / 4] << 16;
    }
}

/* Half of a register, or all of it, as a number. */
static float part(int kind, uint32_t r, int half)
{
    uint16_t h = (uint16_t)(half ? r >> 16 : r);
    return kind == 0 ? fr__from_f16(h) : kind == 1 ? fr__from_bf16(h) : fr__float32(r);
}

void multiply_add_kind(int kind, float *c, const uint32_t *a, const uint32_t *b)
{
    uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]}, lane = current % WARP;
    uint32_t(*of)[SAID] = all_say(words, 6);
    int halves = kind == 2 ? 1 : 2;
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t k = 0; k < 8; k++) /* k % 4: whose; k / 4: which */
            for (int h = 0; h < halves; h++) {
                uint32_t own = of[lane / 4 * 4 + k % 4][i / 2 + 2 * (k / 4)],
                         other = of[(lane % 4 * 2 + i % 2) * 4 + k % 4][4 + k / 4];
                c[i] += part(kind, own, h) * part(kind, other, h);
            }
}

/* Element `at` (of 2 bytes) of row r of a panel. */
static float panel_element(int kind, uint32_t panel, uint32_t r, uint32_t at)
{
    uint16_t h;
    read_shared(&h, panel + r * 128 + ((at / 8 ^ (r & 7)) << 4) + at % 8 * 2, sizeof h);
    return part(kind, h, 0);
}

/* group.h's: a warp's 16 rows of it. */
void group_product(int kind, float (*c)[4], int across, const uint32_t *a, uint32_t b,
                   uint32_t panel, bool by_rows, bool add)
{
    uint32_t(*of)[SAID] = all_say(a, 4), lane = current % WARP;
    for (int n = 0; n < across; n++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t col = (uint32_t)n * 8 + lane % 4 * 2 + i % 2;
            float sum = 0;
            for (uint32_t k = 0; k < 16; k++)
                sum += part(kind, of[lane / 4 * 4 + k % 8 / 2][i / 2 + k / 8 * 2], k % 2) *
                       (by_rows ? panel_element(kind, b & ~127u, col, (b & 127) / 2 + k)
                                : panel_element(kind, b + col / 64 * panel, k, col % 64));
            c[n][i] = (add ? c[n][i] : 0) + sum;
        }
}

/* As late as may be. */
void copy_async(uint32_t to, const char *from, uint32_t bytes)
{
    unsigned n = ncopies[current]++;
    if (n >= MOST_COPIES || to % 16 || (uintptr_t)from % 16 || to + 16 > MOST_SHARED)
        abort();
    copies[current][n].to = to;
    copies[current][n].bytes = bytes;
    copies[current][n].from = from;
}
void copies_end_group(void) {}
void copies_wait(void)
{
    for (unsigned i = 0; i < ncopies[current]; i++) {
        char *to = shared_memory + copies[current][i].to;
        memset(to, 0, 16);
        memcpy(to, copies[current][i].from, copies[current][i].bytes);
    }
    ncopies[current] = 0;
}

/* ---- blocks --------------------------------------------------------------------------------- */

static void run_thread(void)
{
    running(arguments);
    ended[current] = true;
    for (;;)
        turn_switch(&contexts[current], &main_context);
}

static void run_block(void)
{
    whole = (meeting){threads, 0, 0};
    for (unsigned w = 0; w < threads / WARP; w++)
        warps[w] = (meeting){WARP, 0, 0};
    memset(shared_memory, 0xff, sizeof shared_memory);
    for (unsigned t = 0; t < threads; t++) {
        ncopies[t] = 0;
        ended[t] = false;
        turn_begin(&contexts[t], stacks + (size_t)t * STACK, STACK, run_thread);
    }
    for (unsigned left = threads; left;)
        for (unsigned t = 0; t < threads; t++) {
            if (ended[t])
                continue;
            current = t;
            turn_switch(&main_context, &contexts[t]);
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
