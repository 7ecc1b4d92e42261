/* sort_loops.h - ranks of a few keys; compiled once for each instruction set
 *
 * needs   TABLE, the name of the table to define; BYTES of a vector; FEW, the most keys for which
 *         this beats radix passes
 * gives   TABLE
 *
 * Each key is compared with every other, a vector of them at a time: no branch depends on values.
 */
#include "native/sort.h"

typedef int32_t vector32 __attribute__((vector_size(BYTES)));
typedef int64_t vector64 __attribute__((vector_size(BYTES)));

#define RANKS(name, T, V)                                                                      \
    static void name(const T *key, int n, int32_t *rank)                                       \
    {                                                                                          \
        enum { LANES = BYTES / (int)sizeof(T) };                                               \
        V lane;                                                                                \
        for (int l = 0; l < LANES; l++)                                                        \
            lane[l] = l;                                                                       \
        for (int i = 0; i < n; i += LANES) {                                                   \
            V own = *(const V *)(key + i), below = {0};                                        \
            int j = 0;                                                                         \
            for (; j < i; j++)                                                                 \
                below -= (V)(key[j] - (V){0} <= own);                                          \
            for (; j < i + LANES && j < n; j++) { /* of equal ones the first is below */       \
                V other = key[j] - (V){0};                                                     \
                below -= (V)(other < own) | ((V)(other == own) & (V)(lane > (T)(j - i)));      \
            }                                                                                  \
            for (; j < n; j++)                                                                 \
                below -= (V)(key[j] - (V){0} < own);                                           \
            for (int l = 0; l < LANES; l++)                                                    \
                rank[i + l] = (int32_t)below[l];                                               \
        }                                                                                      \
    }
RANKS(ranks32, int32_t, vector32)
RANKS(ranks64, int64_t, vector64)

const fr__sort_loops TABLE = {FEW, ranks32, ranks64};
