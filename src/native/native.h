/* native.h - operations done by routines of ours over stored arrays, where kernels would not do
 *
 *   ... fuse -> [prepare, in place of lower] -> plan -> program
 *
 * A node of class FR__NATIVE is a group of its own. Its inputs are arrays in memory, of any strides
 * (fuse stores what isn't; a routine that wants rows one after the other says so and packs). It
 * is prepared once, when the plan is made, from shapes, strides and parameters; then it runs in
 * phases, each a parallel loop over [0, range). Results must not depend on how a range is cut.
 *
 * A routine for another device is another column here.
 */
#ifndef FR_NATIVE_H
#define FR_NATIVE_H

#include "base/base.h"
#include "op/op.h"

enum { FR__NATIVE_PHASES = 28 };

typedef struct fr__native_array {
    int dtype, ndim;
    int64_t size;
    const int64_t *shape, *strides; /* strides in elements; of the output: row-major */
} fr__native_array;

typedef struct fr__native fr__native;

/* An operand that isn't in memory: a kernel makes parts of it where they are packed (run/prologue.c). It
 * goes over rows, in each along its vector; for a part these words are others. */
typedef struct fr__made {
    uint16_t extent, out; /* how far the vector goes; where the result is */
    int64_t size;         /* bytes of an element */
    int nshifts, nrows;
    struct {
        uint16_t word;
        int64_t bytes; /* a step along the vector */
    } shift[16];       /* what is read */
    struct {
        uint16_t word;
        int64_t times;       /* so many rows apart */
    } rows[FR_MAX_NDIM + 2]; /* strides of the result */
    double cycles;           /* to make an element, about */
} fr__made;

/* Who makes it, in a run. */
typedef struct fr__maker {
    const fr__made *made;
    const struct fr__launch *with;
    size_t room; /* in a thread's scratch: where it works */
    /* Rows [row, row + rows), of each elements [at, at + n), to `to`, rows `apart` elements apart. */
    void (*make)(const struct fr__maker *m, char *scratch, int64_t row, int64_t rows,
                 int64_t at, int64_t n, char *to, int64_t apart);
} fr__maker;

typedef struct fr__native_call {
    const fr__native *routine;
    int nin, npar;
    fr__native_array in[FR__INPUTS], out;
    const int64_t *par;
    int place;     /* where it runs (core/place.h) */
    bool followed; /* the next kernel takes the result: strips for all threads are good */
    const fr__made *made[2]; /* of a product: NULL, or how this operand comes to be */
    /* What prepare fills in. */
    void *own; /* the routine's, in the arena */
    int phases;
    struct {
        int64_t range, grain;
    } phase[FR__NATIVE_PHASES];
    int64_t work;     /* scalar operations, roughly: little work stays on the calling thread */
    size_t temporary; /* bytes, shared by all threads, for this call */
    size_t scratch;   /* bytes a thread */
} fr__native_call;

typedef struct fr__strip {
    int64_t index, first, rows;
    int units; /* that make it together */
} fr__strip;

struct fr__native {
    const char *name;
    /* 0, or -1 with an error. threads: how many there will probably be. */
    int (*prepare)(fr__native_call *c, fr__arena *arena, int threads);
    /* Part [begin, end) of a phase. data: of the inputs (of one that is made: its fr__maker), the
     * output, the temporary block (64-byte aligned, as scratch). Cannot fail. */
    void (*run)(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch);
    /* The strip of whole rows of the output (all dimensions but the last count rows) that unit `unit`
     * of the last phase works on. No rows: units don't make rows. NULL: never. */
    fr__strip (*strip)(const fr__native_call *c, int64_t unit);
};

const fr__native *fr__native_of(int op); /* NULL: not one of these */

extern const fr__native fr__native_contract, fr__native_conv, fr__native_conv_filter,
    fr__native_attention, fr__native_attention_grad;
extern const fr__native fr__native_scatter;
extern const fr__native fr__native_scan, fr__native_sort, fr__native_select, fr__native_search;

#endif
