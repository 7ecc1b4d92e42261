/* library.h - NVIDIA's libraries beside the driver (cuBLASLt, cuDNN), opened at run time */
#ifndef FR_CUDA_LIBRARY_H
#define FR_CUDA_LIBRARY_H

#include "base/base.h"

#include <pthread.h>

typedef struct fr__library_entry {
    const char *name;
    size_t offset; /* of its pointer in the table of functions */
} fr__library_entry;

typedef struct fr__library {
    const char *title, *setting;      /* "cuDNN"; "CUDNN": FERRULE_CUDNN names a file, or off */
    const char *known[4];             /* files looked for else, NULL behind the last */
    const fr__library_entry *entries; /* all are needed */
    int n;
    void *functions;                /* filled in */
    size_t (*const *version)(void); /* one of them */
    pthread_once_t once;
    bool ready;
    char why[256]; /* the version, or why it isn't there */
} fr__library;

/* Fills in what isn't filled in yet of `l`; called by pthread_once, on a machine with a GPU or none. */
void fr__library_open(fr__library *l);

#endif
