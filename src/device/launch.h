/* launch.h - runs one kernel over its range on a device
 *
 * The same for every device: src/device/cpu/launch.c, src/device/cuda/launch.c.
 */
#ifndef FR_LAUNCH_H
#define FR_LAUNCH_H

#include "kernel/kernel.h"
#include "native/native.h"

typedef struct fr__launch {
    const fr__kernel *kernel;
    fr__kfn *fn; /* machine code; NULL: the interpreter */
    const uint64_t *words;
    int64_t range, grain; /* of the root loop; pieces are multiples of grain */
    bool alone;           /* too little work for a second thread */
    size_t scratch;       /* bytes a thread */
    int threads;          /* there is space for so many */
} fr__launch;

/* Bytes of working space that the launch needs for all threads: from one allocation, made before
 * the first kernel of a program starts. */
size_t fr__cpu_space(const fr__launch *l);
/* Runs it; done on return. Cannot fail. */
void fr__cpu_launch(const fr__launch *l, char *space);

/* Several that don't wait for each other, as one; `alone` and `threads` are the first one's. The space
 * holds what is needed to tell them apart, too. */
size_t fr__cpu_space_many(const fr__launch *l, int n);
void fr__cpu_launch_many(const fr__launch *l, int n, char *space);

/* The same for a native routine. */
typedef struct fr__native_launch {
    const fr__native_call *call;
    char *const *data; /* of the inputs, the output, the temporary block */
    bool alone;
    int threads;
    /* NULL, or a kernel that goes over the rows of the last phase as they are finished: `strip`
     * indices of its root loop a row (fr__native.strip). */
    const fr__launch *strips;
    int64_t strip;
    fr__maker *makers; /* of operands that are made; in data, too */
    int nmakers;
} fr__native_launch;
size_t fr__cpu_native_space(const fr__native_launch *l);
void fr__cpu_native(const fr__native_launch *l, char *space);

#endif
