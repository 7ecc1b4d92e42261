/* sort.h - loops of sorting that are made for each instruction set */
#ifndef FR_NATIVE_SORT_H
#define FR_NATIVE_SORT_H

#include <stdint.h>

enum {
    FR__SORT_FEW = 128, /* the most keys that any of them ranks */
    FR__SORT_ROWS = 16, /* rows of a network */
};

typedef struct fr__sort_loops {
    int few, network; /* rows of so many are better ranked, or sorted by a network */
    /* The place of each of n keys in their stable order. key: 64-byte aligned, followed by the
     * greatest value up to a multiple of 16; rank: room for as many. */
    void (*ranks32)(const int32_t *key, int n, int32_t *rank);
    void (*ranks64)(const int64_t *key, int n, int32_t *rank);
    /* Rows of n keys in ascending order, FR__SORT_ROWS side by side: key i of row r at
     * i * FR__SORT_ROWS + r. */
    void (*network32)(int32_t *x, int n);
    void (*network64)(int64_t *x, int n);
} fr__sort_loops;

extern const fr__sort_loops fr__sort_base, fr__sort_v3, fr__sort_v4;

#endif
