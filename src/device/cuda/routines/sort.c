/* sort.c (for GPUs) - rows in order, or the indices that put them there; stable
 *
 * needs   NAME; WIDE for keys of 64 bits (else 32), INDICES where each key has its index with it
 * gives   few: rows that fit shared memory, by a bitonic network over keys and indices
 *         load, count, scatter, store: long ones, by radix passes of 8 bits from the lowest up
 *
 * A pass is stable: count gives how many of each digit each block has, a scan of these where its first
 * one of each goes, and in scatter the lanes of a warp that have the same digit take their places in order, warp
 * after warp.
 */
#include "device/cuda/routines/threads.h"

#include "device/cuda/routines/keys.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    DIGITS = 256,
    WARPS = FR__SORT_THREADS / WARP,
    ITEMS = FR__SORT_BLOCK / FR__SORT_THREADS
};

#ifdef WIDE
typedef uint64_t K;
#else
typedef uint32_t K;
#endif

/* ---- rows that fit shared memory ------------------------------------------------------- */

SHARED K few_keys[FR__SORT_FEW];
SHARED uint32_t few_indices[FR__SORT_FEW];

static inline bool is_after(uint32_t a, uint32_t b)
{
    return few_keys[a] > few_keys[b] ||
           (few_keys[a] == few_keys[b] && few_indices[a] > few_indices[b]);
}

/* s.padded: a power of two that a row fits; as many rows in a block as there is room for. */
KERNEL(ENTRY(few), fr__sort_args)
{
    uint32_t padded = s.padded, beside = FR__SORT_FEW / padded;
    for (int64_t first = (int64_t)block_index() * beside; first < s.rows;
         first += (int64_t)grid_blocks() * beside) {
        uint32_t rows = (uint32_t)(s.rows - first < beside ? s.rows - first : beside);
        for (uint32_t i = thread_index(); i < rows * padded; i += block_threads()) {
            int64_t row = first + i / padded, at = i % padded;
            few_keys[i] = (K) ~(K)0;
            few_indices[i] = (uint32_t)at; /* those beyond n come after all others */
            if (at < s.n)
                few_keys[i] = (K)key_at(s.form, s.x, row * s.xrow + at * s.xn, s.exact);
        }
        block_barrier();
        for (uint32_t k = 2; k <= padded; k *= 2)
            for (uint32_t j = k / 2; j > 0; j /= 2) {
                for (uint32_t t = thread_index(); t < rows * padded / 2; t += block_threads()) {
                    uint32_t a = 2 * t - (t & (j - 1)), b = a + j;
                    bool up = !(a % padded & k);
                    if (is_after(a, b) == up) {
                        K key = few_keys[a];
                        uint32_t index = few_indices[a];
                        few_keys[a] = few_keys[b];
                        few_indices[a] = few_indices[b];
                        few_keys[b] = key;
                        few_indices[b] = index;
                    }
                }
                block_barrier();
            }
        int64_t length = s.n - s.from;
        for (uint32_t i = thread_index(); i < rows * padded; i += block_threads()) {
            int64_t row = first + i / padded, at = (int64_t)(i % padded) - s.from;
            if (at < 0 || at >= length)
                continue;
            if (s.indices)
                ((uint32_t *)s.y)[row * length + at] = few_indices[i];
            else
                put_key(s.form, s.y, row * length + at, few_keys[i]);
        }
        block_barrier();
    }
}

/* ---- long rows --------------------------------------------------------------------------- */

KERNEL(ENTRY(load), fr__sort_args)
{
    for (int64_t i = grid_thread(); i < s.rows * s.n; i += grid_threads()) {
        int64_t row = i / s.n, at = i % s.n;
        ((K *)s.keys)[i] = (K)key_at(s.form, s.x, row * s.xrow + at * s.xn, s.exact);
#ifdef INDICES
        s.order[i] = (uint32_t)at;
#endif
    }
}

KERNEL(ENTRY(store), fr__sort_args)
{
    int64_t length = s.n - s.from;
    for (int64_t i = grid_thread(); i < s.rows * length; i += grid_threads()) {
        int64_t at = i / length * s.n + s.from + i % length;
#ifdef INDICES
        ((uint32_t *)s.y)[i] = s.order[at];
#else
        put_key(s.form, s.y, i, ((const K *)s.keys)[at]);
#endif
    }
}

SHARED uint32_t counts[DIGITS];

static inline uint32_t digit_of(K key, uint32_t shift)
{
    return (uint32_t)(key >> shift) & 255;
}

/* counts: [rows][digit][block] */
KERNEL(ENTRY(count), fr__sort_args)
{
    for (int64_t b = block_index(); b < s.rows * s.blocks; b += grid_blocks()) {
        int64_t row = b / s.blocks, begin = b % s.blocks * FR__SORT_BLOCK;
        const K *keys = (const K *)s.keys + row * s.n;
        for (uint32_t d = thread_index(); d < DIGITS; d += block_threads())
            counts[d] = 0;
        block_barrier();
        for (uint32_t i = thread_index(); i < FR__SORT_BLOCK; i += block_threads())
            if (begin + i < s.n)
                add_shared(&counts[digit_of(keys[begin + i], s.shift)], 1);
        block_barrier();
        for (uint32_t d = thread_index(); d < DIGITS; d += block_threads())
            s.counts[(row * DIGITS + d) * s.blocks + b % s.blocks] = counts[d];
        block_barrier();
    }
}

SHARED uint32_t next[WARPS * DIGITS]; /* of each warp: where its next one of each digit goes */

/* A warp has ITEMS * WARP elements one after the other. */
KERNEL(ENTRY(scatter), fr__sort_args)
{
    uint32_t lane = thread_index() % WARP, warp = thread_index() / WARP;
    for (int64_t b = block_index(); b < s.rows * s.blocks; b += grid_blocks()) {
        int64_t row = b / s.blocks, block = b % s.blocks;
        int64_t begin = block * FR__SORT_BLOCK + warp * (ITEMS * WARP) + lane;
        const K *keys = (const K *)s.keys + row * s.n;
        K *to = (K *)s.keys_to + row * s.n;
        K key[ITEMS];
        for (uint32_t d = thread_index(); d < WARPS * DIGITS; d += block_threads())
            next[d] = 0;
        block_barrier();
        UNROLLED for (int k = 0; k < ITEMS; k++)
        {
            int64_t i = begin + k * WARP;
            key[k] = i < s.n ? keys[i] : 0;
            if (i < s.n)
                add_shared(&next[warp * DIGITS + digit_of(key[k], s.shift)], 1);
        }
        block_barrier();
        for (uint32_t d = thread_index(); d < DIGITS; d += block_threads()) {
            uint32_t at = s.counts[(row * DIGITS + d) * s.blocks + block];
            for (uint32_t w = 0; w < WARPS; w++) {
                uint32_t count = next[w * DIGITS + d];
                next[w * DIGITS + d] = at;
                at += count;
            }
        }
        block_barrier();
        UNROLLED for (int k = 0; k < ITEMS; k++)
        {
            int64_t i = begin + k * WARP;
            bool there = i < s.n;
            uint32_t digit = digit_of(key[k], s.shift);
            uint32_t same = lanes_like(there ? digit : DIGITS);
            uint32_t at = 0, below = (uint32_t)__builtin_popcount(same & ((1u << lane) - 1));
            if (there)
                at = next[warp * DIGITS + digit] + below;
            warp_barrier();
            if (there && !below)
                next[warp * DIGITS + digit] += (uint32_t)__builtin_popcount(same);
            warp_barrier();
            if (there) {
                to[at] = key[k];
#ifdef INDICES
                s.order_to[row * s.n + at] = s.order[row * s.n + i];
#endif
            }
        }
        block_barrier();
    }
}
