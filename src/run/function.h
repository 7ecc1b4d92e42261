/* function.h - compiled functions and their programs: what compile.c, tracing.c, family.c, call.c and
 * explain.c share */
#ifndef FR_FUNCTION_H
#define FR_FUNCTION_H

#include <pthread.h>

#include "run/plan.h"
#include "run/shapeless.h"
#include "run/witness.h"

/* Programs of a shapeless function that differ in sizes only. */
typedef struct fr__family {
    _Atomic int refs; /* of the function and of programs */
    char *key;
    size_t key_bytes;
    uint64_t hash;
    fr__symbolic *symbolic; /* NULL: calls like this are traced for each size */
    void *attached;
    void (*release_attached)(void *);
    int n_out;
    struct fr__family *next;
} fr__family;

/* Result `out` may have the buffer of input `in`, which it takes the place of. */
typedef struct fr__donation {
    int32_t in, out, stored; /* stored: the plan's buffer */
    size_t bytes;
    _Atomic int64_t runs; /* in which it had */
} fr__donation;

struct fr_program {
    fr__link link; /* among its function's */
    _Atomic int refs;
    fr__plan *plan;
    int n_in, n_out;
    uint16_t stream; /* that it runs on */
    int32_t *source; /* leaf -> input number, or -1 - number of a captured array */
    int ncaptured;
    fr_array **captured;
    int64_t *literals;
    char *key; /* the whole key */
    size_t key_bytes;
    uint64_t hash;
    void *attached;
    void (*release_attached)(void *);
    char *why;            /* it was traced; or NULL */
    fr__witness *witness; /* NULL: nobody asked for one when it was made */
    bool check;
    char name[96];
    fr__family *family;   /* that it is of; or NULL */
    fr_program *base;     /* whose program this is with other literals; or NULL */
    _Atomic bool offered; /* donate.c: it is known what may be donated */
    int ndonations;
    fr__donation *donations; /* in the order of results */
};

struct fr_function {
    _Atomic int refs;
    pthread_mutex_t lock;
    char name[96];
    int limit;      /* of programs; 0: the process's */
    bool strict;    /* captures no arrays */
    bool check;     /* runs go by single operations as well */
    bool shapeless; /* a program serves other sizes where it can */
    fr__map families;
    fr__family *family; /* all of them, last first */
    int nfamilies;
    fr__map table;
    fr__lru programs;
    fr_fn *fn;
    void *ctx;
    void (*free_ctx)(void *);
    int nslots;
    fr_array ***slots;     /* captured state: read before and written after each call */
    pthread_mutex_t calls; /* held by a call of a function with state */
};

void fr__family_release(fr__family *y);
void fr__families_clear(fr_function *f);
/* A reference to the family of a call, NULL: none yet (or an error). */
fr__family *fr__family_find(fr_function *f, const void *key, size_t key_bytes, int n_in,
                            fr_array *const *in, const fr__sizes *sizes);
/* A new one, with a reference; takes symbolic over. */
fr__family *fr__family_keep(fr_function *f, const void *key, size_t key_bytes, int n_in,
                            fr_array *const *in, const fr__sizes *sizes,
                            fr__symbolic *symbolic);
/* Its program for these sizes, kept nowhere yet. NULL without an error: it can't serve them. */
fr_program *fr__family_program(fr__family *y, const fr__sizes *sizes, int n_in, int n_out);

/* explain.c: why a program that isn't there yet is traced, beside the one used last; or NULL. */
char *fr__why(fr_function *f, const char *key, size_t key_bytes);

/* compile.c: runs it. claimed: which donations are (NULL: none); their claims end with it. Results
 * from number `own` on are the caller's references whatever scopes are open. */
int fr__program_run(fr_program *p, int n_in, fr_array *const *in, int n_out, fr_array **out,
                    const bool *claimed, int own);
/* donate.c */
void fr__end_claims(const fr_program *p, fr_array *const *in, const bool *which);

bool fr__good_inputs(const fr_function *f, int n_in, fr_array *const *in);
/* Pending inputs get their values first, so that a program is bound to memory. */
int fr__evaluate_inputs(int n_in, fr_array *const *in);
/* Under the key of such a call; the least recently used programs may go. */
int fr__program_keep(fr_function *f, fr_program *p, const void *key, size_t key_bytes, int n_in,
                     fr_array *const *in);
/* Witnesses, which name operations and places, are made with a trace of the call's own sizes. */
bool fr__wants_witness(const fr_function *f);

#endif
