/* array.h - nodes: what an fr_array is
 *
 * A node is immutable but for its state, which goes once from pending to done. A pending node has
 * an operation and inputs; a done one has a buffer and strides, and no inputs any more (nin stays),
 * but for those that an open tape keeps.
 *
 * References are counted in one word: the low half counts all (handles, graph edges, scopes), the
 * high half handles alone, so that eval can tell what a user can still see.
 */
#ifndef FR_ARRAY_H
#define FR_ARRAY_H

#include <stdatomic.h>

#include "base/base.h"
#include "core/dtype.h"

typedef struct fr__copy fr__copy;
typedef struct fr__buffer {
    _Atomic uint32_t refs;
    uint8_t place;   /* where `data` is: the host (0), or a GPU (core/place.h) */
    uint16_t stream; /* on a GPU: the stream it was made on */
    void *data;
    size_t bytes;
    void (*release)(void *ctx); /* borrowed memory; NULL: ours */
    void *ctx;
    _Atomic(fr__copy *) copies; /* the same bytes in other places */
} fr__buffer;

/* Takes over a block of fr__data_alloc; NULL: no memory, the block is still the caller's. */
fr__buffer *fr__buffer_new(size_t bytes); /* allocates the data as well */
void fr__buffer_release(fr__buffer *b);
static inline fr__buffer *fr__buffer_keep(fr__buffer *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

/* Who made a placeholder; shared by the placeholders of one trace. */
typedef struct fr__origin {
    _Atomic uint32_t refs;
    const char *by; /* "vmap"; NULL: compile */
    char function[96], place[160];
} fr__origin;

enum { FR__PENDING, FR__DONE };
/* The operations that the core knows; op.h lists all, these first. */
enum { FR__CORE_LEAF, FR__CORE_PLACEHOLDER, FR__CORE_BUNDLE };

/* What a bundle has beside its inputs; let go with it. */
typedef struct fr__record {
    void (*release)(struct fr__record *record);
} fr__record;
enum {
    FR__WEAK = 1,     /* a number whose dtype gives way */
    FR__TRACED = 2,   /* has a placeholder among its ancestors, or is one */
    FR__FLOATING = 4, /* an operand made by sugar: whoever uses it drops it */
    FR__REACHED = 8,  /* an eval went through it once without keeping its value */
    FR__PLACED = 32,  /* core/places.h knows where it was made */
    FR__KEPT = 16,    /* done, with its inputs: a tape keeps them (core/tape.h) */
};

struct fr_array {
    _Atomic uint64_t refs; /* low 32: all, high 32: handles */
    uint8_t op, dtype, ndim, nin, npar;
    uint16_t stream;
    int64_t size;
    /* In a word of their own: a compiler may read neighbours of what is asked for with it. */
    _Atomic uint8_t state, lock, flags;
    _Atomic uint32_t tape; /* 0, or the outermost that it is differentiated on (core/tape.h) */
    char *data; /* done: of element [0, 0, ...], where buf->data is; see core/place.h */
    union {
        fr__buffer *buf;    /* done; NULL for size 0 */
        fr__origin *origin; /* placeholder */
        fr__record *record; /* bundle; or NULL */
    };
    int64_t *par;   /* the operation's parameters; a number's bits */
    fr_array **in;  /* pending: references */
    fr_array *next; /* chain of nodes being freed */
    int64_t dims[]; /* shape[ndim], strides[ndim] in elements (done, placeholder), par, in */
};

/* Strides, in elements, of what lies row by row. */
static inline void fr__row_major(int ndim, const int64_t *shape, int64_t *strides)
{
    int64_t step = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        strides[d] = step;
        step *= shape[d];
    }
}
static inline int64_t *fr__strides(fr_array *x) { return x->dims + x->ndim; }
static inline bool fr__done(const fr_array *x)
{
    return atomic_load_explicit(&((fr_array *)x)->state, memory_order_acquire) == FR__DONE;
}
static inline bool fr__flag(const fr_array *x, int f)
{
    return atomic_load_explicit(&((fr_array *)x)->flags, memory_order_relaxed) & f;
}
static inline bool fr__has_handle(const fr_array *x)
{
    return atomic_load_explicit(&((fr_array *)x)->refs, memory_order_relaxed) >> 32;
}

/* A new node, owned as results are (scope or caller); takes references to its inputs. The caller
 * fills par. NULL with an error; checks rank and size (fits in int64, bytes too). */
fr_array *fr__node(int op, int dtype, int ndim, const int64_t *shape, int nin,
                   fr_array *const *in, int npar);
/* The same, done: over buf (a reference is taken over, even on failure) at byte offset. strides
 * NULL: contiguous. */
fr_array *fr__leaf(fr__buffer *buf, size_t offset, int dtype, int ndim, const int64_t *shape,
                   const int64_t *strides);
/* Counts of edges, for the graph and for captures. */
static inline fr_array *fr__ref(fr_array *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}
void fr__unref(fr_array *x); /* frees chains without recursion */
/* Makes a pending node done; gives false when another thread was first (buf is then released). */
bool fr__publish(fr_array *x, fr__buffer *buf, char *data, const int64_t *strides);
/* Keeps others from x's inputs until it is let go or published: they wait, so it is for work of some
 * microseconds. false: x is done. What is held stays pending, and keeps its inputs. */
bool fr__hold(fr_array *x);
void fr__let_go(fr_array *x);
void fr__publish_held(fr_array *x, fr__buffer *buf, char *data, const int64_t *strides);
/* Reads a pending node's inputs, with a reference each; false: it is done. */
bool fr__pin_inputs(fr_array *x, fr_array **in);
/* The same for a node that is pending, or that a tape keeps with its inputs. */
bool fr__pin_history(fr_array *x, fr_array **in);
void fr__forget_inputs(fr_array *x); /* of a node that a tape kept */

/* Operand checks that every constructor begins with: false if x is NULL or an error is set.
 * Drops floating operands in that case; fr__settle drops them after they were linked. */
bool fr__operands(int n, fr_array *const *x);
void fr__settle(int n, fr_array *const *x);

void fr__own_result(
    fr_array *x); /* puts a new node into the innermost scope, or in the caller's hands */

/* "float32[3,4]" into a buffer of the caller's; always terminated. */
enum { FR__SHAPE_TEXT = 200 };
const char *fr__shape_text(const fr_array *x, char to[FR__SHAPE_TEXT]);
const char *fr__dims_text(const int64_t *shape, int ndim, char to[FR__SHAPE_TEXT]);
/* While true in this thread, asking for a size of a traced array is an error (run/shapeless.h). */
extern _Thread_local bool fr__sizes_hidden;
/* TRACE error about x, a placeholder or made from one; `doing` is what needed the value. */
int fr__traced_error(fr_array *x, const char *doing);

/* Index of the innermost warning list (core/warn.c); each text is told once. */
void fr__warn(const char *fmt, ...) FR__PRINTF(1, 2);

#endif
