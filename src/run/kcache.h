/* kcache.h - kernels by what is in them, and their machine code: in memory, on disk, made by LLVM */
#ifndef FR_KCACHE_H
#define FR_KCACHE_H

#include <stdatomic.h>

#include "base/lru.h"
#include "device/cuda/cuda.h"
#include "kernel/kernel.h"

enum { FR__KCACHE_GPUS = 16 }; /* devices beyond those have none */
typedef enum fr__entry {
    FR__ONE,
    FR__MANY,
    FR__ENTRIES
} fr__entry; /* launches that code is for */

typedef struct fr__kentry {
    fr__link link;
    _Atomic int refs; /* of programs; entries without any may be evicted */
    fr__kernel *kernel;
    uint64_t *words, hash; /* fr__kernel_words: the key; its hash */
    size_t bytes;
    _Atomic(fr__kfn *) fn;       /* NULL: none yet, or none to be had */
    _Atomic int64_t interpreted; /* scalar operations the interpreter did for it */
    _Atomic bool hopeless;       /* no machine code to be had: not tried again */
    uint8_t chosen;              /* of these entries code is about to be made, with others' */
    fr__code *code;
    /* On GPUs: the names of its entries, of one launch and of many (fr__llvm_ptx_many), and their code
     * by device. */
    char name[FR__ENTRIES][24];
    _Atomic(fr__gpu_code *) gpu[FR__ENTRIES][FR__KCACHE_GPUS];
} fr__kentry;

/* The entry of this kernel (takes it over, also on failure), with a reference. Its kernel has a
 * text. */
fr__kentry *fr__kcache_get(fr__kernel *k);
void fr__kcache_release(fr__kentry *e);
/* Machine code from disk, or (if llvm) from LLVM. Gives it, or NULL without an error: then the
 * interpreter runs the kernel. Any thread; one at a time makes it. */
fr__kfn *fr__kcache_code(fr__kentry *e, bool llvm);
/* Its code on this device, loaded; NULL with an error. */
fr__gpu_code *fr__kcache_gpu_code(fr__kentry *e, fr__gpu *g, fr__entry entry);
/* Is it there? */
bool fr__kcache_has(const fr__kentry *e, fr__gpu *g, fr__entry entry);
typedef struct fr__wanted {
    fr__kentry *of; /* NULL: a routine's module on the GPU */
    fr__entry entry;
    int module;
} fr__wanted;
/* Code for all of these that have none yet, each once, made by the pool's threads: machine code of the
 * host (g NULL; what can't be had is no error), or a device's. 0, or -1 with the error of one of them. */
int fr__kcache_make(int n, const fr__wanted *wanted, fr__gpu *g);
/* True: nothing is evicted, for tests that look kernels up by name when the device comes to them. */
extern bool fr__kcache_keeps;
/* The entry whose code on a GPU has this name, of either entry, with a reference; NULL: none. For tests. */
fr__kentry *fr__kcache_named(const char *name);
/* Frees every entry that no program holds: for tests. */
void fr__kcache_clear(void);
extern _Atomic int64_t fr__counters[];

#endif
