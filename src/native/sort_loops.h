/* sort_loops.h - ranks of a few keys; compiled once for each instruction set
 *
 * needs   TABLE, the name of the table to define; BYTES of a vector; FEW and NETWORK_MOST, the most
 *         keys for which ranks and networks beat radix passes
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
/* Batcher's merge exchange (Knuth 5.2.2, algorithm M), a row in each lane. */
#define NETWORK(name, T)                                                                       \
    static inline                                                                              \
        __attribute__((always_inline)) void name##_pair(T *restrict a, T *restrict b)          \
    {                                                                                          \
        for (int l = 0; l < FR__SORT_ROWS; l++) {                                              \
            T low = a[l] < b[l] ? a[l] : b[l], high = a[l] < b[l] ? b[l] : a[l];               \
            a[l] = low;                                                                        \
            b[l] = high;                                                                       \
        }                                                                                      \
    }                                                                                          \
    static void name(T *x, int n)                                                              \
    {                                                                                          \
        int top = 1;                                                                           \
        while (2 * top < n)                                                                    \
            top *= 2;                                                                          \
        for (int p = top; p > 0; p /= 2)                                                       \
            for (int q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {                       \
                for (int i = r; i < n - d; i += 2 * p) /* those with (i & p) == r */           \
                    for (int k = i; k < i + p && k < n - d; k++)                               \
                        name##_pair(x + k * FR__SORT_ROWS, x + (k + d) * FR__SORT_ROWS);       \
                if (q == p)                                                                    \
                    break;                                                                     \
            }                                                                                  \
    }
NETWORK(network32, int32_t)
NETWORK(network64, int64_t)
RANKS(ranks32, int32_t, vector32)
RANKS(ranks64, int64_t, vector64)

const fr__sort_loops TABLE = {FEW, NETWORK_MOST, ranks32, ranks64, network32, network64};
