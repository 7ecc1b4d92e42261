/* search.c (for GPUs) - SEARCH: where values belong in sorted rows, a thread a value */
#include "device/cuda/routines/threads.h"

#include "device/cuda/routines/keys.h"

#define ENTRY(step) JOINED(NAME, step)

KERNEL(ENTRY(find), fr__search_args)
{
    for (int64_t i = grid_thread(); i < s.rows * s.m; i += grid_threads()) {
        int64_t row = i / s.m, first = row * s.row, n = s.n, at = 0;
        uint64_t key =
            key_at(s.form, s.values, row * s.value_row + i % s.m * s.value_step, false);
        while (n >
               0) { /* those before `at` come before the value, those from at + n on don't */
            int64_t half = n / 2;
            uint64_t probe = key_at(s.form, s.sorted, first + (at + half) * s.step, false);
            bool before = s.right ? probe <= key : probe < key;
            at += before ? half + 1 : 0;
            n = before ? n - half - 1 : half;
        }
        s.y[i] = (uint32_t)at;
    }
}
