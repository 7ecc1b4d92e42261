/* function.h - compiled functions and their programs, between compile.c and call.c */
#ifndef FR_FUNCTION_H
#define FR_FUNCTION_H

#include <pthread.h>

#include "run/plan.h"

struct fr_program {
    _Atomic int refs;
    fr__plan *plan;
    int n_in, n_out;
    int32_t *source; /* leaf -> input number, or -1 - number of a captured array */
    int ncaptured;
    fr_array **captured;
    int64_t *literals;
    char *key; /* the whole key */
    size_t key_bytes;
    uint64_t hash;
    void *attached;
    void (*release_attached)(void *);
    fr_program *base; /* whose program this is with other literals; or NULL */
    fr_program *newer, *older;
};

struct fr_function {
    _Atomic int refs;
    pthread_mutex_t lock;
    char name[96];
    int limit, count; /* limit 0: the process's */
    bool strict;      /* captures no arrays */
    fr__map table;
    fr_program *newest, *oldest;
    fr_fn *fn;
    void *ctx;
    void (*free_ctx)(void *);
    int nslots;
    fr_array ***slots;     /* captured state: read before and written after each call */
    pthread_mutex_t calls; /* held by a call of a function with state */
};

bool fr__good_inputs(const fr_function *f, int n_in, fr_array *const *in);

#endif
