/* lower.h - a group of a trace to a kernel, and what its launch needs to know */
#ifndef FR_LOWER_H
#define FR_LOWER_H

#include "graph/trace.h"
#include "kernel/build.h"

/* A pointer word: which value it points to. */
typedef struct fr__pointer {
    uint16_t word;
    bool is_leaf;
    int32_t node;   /* stored node, or leaf number */
    int64_t offset; /* elements */
} fr__pointer;

typedef struct fr__lowered {
    fr__kernel *kernel;
    int nwords, npointers;
    fr__word *words; /* in the trace's arena */
    fr__pointer *pointers;
    int64_t range;  /* of the root loop */
    int64_t grain;  /* pieces are multiples of this */
    int64_t cost;   /* scalar operations in one index of the root loop, roughly */
    int64_t bytes;  /* moved by the whole launch, roughly */
    size_t scratch; /* bytes a thread */
} fr__lowered;

int fr__lower(fr__trace *t, int group, fr__lowered *to);

#endif
