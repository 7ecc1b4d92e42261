/* array.c - nodes and buffers: made, shared, published, freed */
#include "core/array.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "base/sized.h"
#include "core/alloc.h"
#include "core/hints.h"
#include "core/place.h"
#include "core/places.h"
#include "core/scope.h"
#include "core/tape.h"

/* ---- buffers ------------------------------------------------------------------------ */

fr__buffer *fr__buffer_new(size_t bytes)
{
    fr__buffer *b = fr__malloc(sizeof *b);
    if (!b)
        return NULL;
    *b = (fr__buffer){.refs = 1, .bytes = bytes, .data = fr__data_alloc(bytes)};
    if (!b->data) {
        fr__free(b);
        return NULL;
    }
    return b;
}

void fr__buffer_release(fr__buffer *b)
{
    if (!b)
        return;
    /* The only one: nobody can make another meanwhile. */
    if (atomic_load_explicit(&b->refs, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    __builtin_prefetch(b->ctx, 1);
    fr__buffer_leave(b);
    fr__free_sized(b, sizeof *b);
}

/* ---- nodes -------------------------------------------------------------------------- */

/* Elements of a shape, or -1 with an error (negative size, too many). */
static int64_t count_elements(int ndim, const int64_t *shape, int dtype)
{
    int64_t n = 1;
    bool empty = false;
    char text[FR__SHAPE_TEXT];
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) {
            fr__fail(FR__E_VALUE, "a size below zero in shape [%s]",
                     fr__dims_text(shape, ndim, text));
            return -1;
        }
        empty |= shape[i] == 0;
    }
    for (int i = 0; i < ndim && !empty; i++)
        if (__builtin_mul_overflow(n, shape[i], &n))
            n = INT64_MAX / 8, empty = false;
    if (empty)
        return 0;
    if (n >= INT64_MAX / 16 || n * fr__dsize(dtype) >= INT64_MAX / 16) {
        fr__fail(FR__E_LIMIT, "shape [%s] of %s is more than memory can address",
                 fr__dims_text(shape, ndim, text), fr__dtypes[dtype].name);
        return -1;
    }
    return n;
}

static size_t node_bytes(int ndim, int nin, int npar)
{
    return sizeof(fr_array) + sizeof(int64_t) * (size_t)(2 * ndim + npar) +
           sizeof(fr_array *) * (size_t)nin;
}

static fr_array *node_new(int op, int dtype, int ndim, const int64_t *shape, int nin, int npar)
{
    if (FR__UNLIKELY(ndim > FR_MAX_NDIM || ndim < 0))
        return fr__fail(FR__E_LIMIT, "%d dimensions, the most is %d", ndim, FR_MAX_NDIM);
    if (FR__UNLIKELY(fr__failed())) /* nothing is made after an error: nobody would free it */
        return NULL;
    int64_t size = ndim ? count_elements(ndim, shape, dtype) : 1;
    if (size < 0)
        return NULL;
    fr_array *x = fr__malloc(node_bytes(ndim, nin, npar));
    if (!x)
        return NULL;
    *x = (fr_array){.refs = 1,
                    .op = (uint8_t)op,
                    .dtype = (uint8_t)dtype,
                    .ndim = (uint8_t)ndim,
                    .npar = (uint8_t)npar,
                    .size = size,
                    .stream = fr_stream_current().id};
    for (int i = 0; i < ndim; i++)
        x->dims[i] = shape[i];
    x->par = x->dims + 2 * ndim;
    x->in = (fr_array **)(x->par + npar);
    return x;
}

/* As fr__own_result, of what nobody else knows yet. */
static fr_array *own_new(fr_array *x)
{
    if (!fr__in_scope()) {
        atomic_store_explicit(&x->refs, ((uint64_t)1 << 32) + 1, memory_order_relaxed);
        return x;
    }
    fr__own_result(x);
    return fr__failed() ? NULL : x;
}

fr_array *fr__node(int op, int dtype, int ndim, const int64_t *shape, int nin,
                   fr_array *const *in, int npar)
{
    fr_array *x = node_new(op, dtype, ndim, shape, nin, npar);
    if (!x)
        return NULL;
    int flags = 0;
    uint32_t tape = 0;
    for (int i = 0; i < nin; i++) {
        flags |= fr__flag(in[i], FR__TRACED) ? FR__TRACED : 0;
        if (FR__UNLIKELY(fr__tape(in[i])))
            tape = fr__tape_outer(tape, fr__tape(in[i]));
        x->in[i] = fr__ref(in[i]);
    }
    x->nin = (uint8_t)nin;
    x->flags = (uint8_t)flags;
    atomic_store_explicit(&x->tape, tape, memory_order_relaxed);
    return own_new(x);
}

/* NULL: contiguous. */
static void set_strides(fr_array *x, const int64_t *strides)
{
    if (strides)
        for (int i = 0; i < x->ndim; i++)
            fr__strides(x)[i] = strides[i];
    else
        fr__row_major(x->ndim, x->dims, fr__strides(x));
}

fr_array *fr__leaf(fr__buffer *buf, size_t offset, int dtype, int ndim, const int64_t *shape,
                   const int64_t *strides)
{
    fr_array *x = node_new(FR__CORE_LEAF, dtype, ndim, shape, 0, 0);
    if (!x) {
        fr__buffer_release(buf);
        return NULL;
    }
    set_strides(x, strides);
    x->buf = buf;
    x->data = buf && buf->data ? (char *)buf->data + (ptrdiff_t)offset : NULL;
    atomic_store_explicit(&x->state, FR__DONE, memory_order_release);
    return own_new(x);
}

static void origin_release(fr__origin *o)
{
    if (o && atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
        fr__free(o);
}

/* Drops one reference; when it was the last, puts x on the list of nodes to free. */
static void drop(fr_array *x, fr_array **dead)
{
    uint64_t before = atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel);
    if ((uint32_t)before == 1) {
        x->next = *dead;
        *dead = x;
    }
}

static void free_all(fr_array *dead)
{
    while (dead) {
        fr_array *x = dead;
        dead = x->next;
        bool pending = x->state == FR__PENDING;
        if (FR__UNLIKELY(x->flags & FR__PLACED))
            fr__place_forget(x);
        for (int i = 0; pending && i < x->nin; i++)
            drop(x->in[i], &dead);
        if (x->op == FR__CORE_PLACEHOLDER && pending)
            origin_release(x->origin);
        else if (x->op == FR__CORE_BUNDLE && x->record)
            x->record->release(x->record);
        else if (x->op != FR__CORE_BUNDLE)
            fr__buffer_release(x->buf);
        fr__free_sized(x, node_bytes(x->ndim, x->nin, x->npar)); /* what a claim left is less */
    }
}

void fr__unref(fr_array *x)
{
    fr_array *dead = NULL;
    drop(x, &dead);
    if (FR__UNLIKELY(dead))
        free_all(dead);
}

fr_array *fr_keep(fr_array *x)
{
    if (x)
        atomic_fetch_add_explicit(&x->refs, ((uint64_t)1 << 32) + 1, memory_order_relaxed);
    return x;
}

void fr_free(fr_array *x)
{
    if (!x)
        return;
    const uint64_t one = ((uint64_t)1 << 32) + 1;
    if (atomic_load_explicit(&x->refs, memory_order_acquire) == one ||
        (uint32_t)atomic_fetch_sub_explicit(&x->refs, one, memory_order_acq_rel) == 1) {
        __builtin_prefetch(x->next, 1);
        x->next = NULL;
        free_all(x);
    }
}

void fr__freed_soon(fr_array *x, const fr_array *then)
{
    x->next = (fr_array *)(uintptr_t)then;
    if (x->buf && !x->buf->release)
        x->buf->ctx = then->buf;
}

/* A node's inputs go when it is published, while another thread may be reading them: both take
 * this lock, which is held for a few loads, or while a small operation runs (fr__hold). */
static void lock(fr_array *x)
{
    enum { PATIENCE = 1000 };
    while (atomic_exchange_explicit(&x->lock, 1, memory_order_acquire))
        for (int i = 0; atomic_load_explicit(&x->lock, memory_order_relaxed); i++)
            if (i < PATIENCE)
                __builtin_ia32_pause();
            else
                sched_yield();
}

static void unlock(fr_array *x) { atomic_store_explicit(&x->lock, 0, memory_order_release); }

bool fr__hold(fr_array *x)
{
    lock(x);
    if (FR__LIKELY(x->state == FR__PENDING))
        return true;
    unlock(x);
    return false;
}

void fr__let_go(fr_array *x) { unlock(x); }

static bool pin(fr_array *x, fr_array **in, bool kept)
{
    lock(x);
    bool there = x->state == FR__PENDING || (kept && x->flags & FR__KEPT);
    if (there)
        for (int i = 0; i < x->nin; i++)
            in[i] = fr__ref(x->in[i]);
    unlock(x);
    return there;
}

bool fr__pin_inputs(fr_array *x, fr_array **in) { return pin(x, in, false); }
bool fr__pin_history(fr_array *x, fr_array **in) { return pin(x, in, true); }

void fr__forget_inputs(fr_array *x)
{
    fr_array *in[256], *dead = NULL;
    lock(x);
    bool kept = atomic_fetch_and(&x->flags, (uint8_t)~FR__KEPT) & FR__KEPT;
    for (int i = 0; kept && i < x->nin; i++)
        in[i] = x->in[i];
    unlock(x);
    for (int i = 0; kept && i < x->nin; i++)
        drop(in[i], &dead);
    free_all(dead);
}

void fr__publish_held(fr_array *x, fr__buffer *buf, char *data, const int64_t *strides)
{
    int nin = 0;
    fr_array *in[256], *dead = NULL;
    x->buf = buf;
    x->data = data;
    set_strides(x, strides);
    if (FR__UNLIKELY(fr__tape(x)) && fr__tape_keep(x))
        atomic_fetch_or(&x->flags, FR__KEPT);
    else
        nin = x->nin;
    for (int i = 0; i < nin; i++)
        in[i] = x->in[i];
    atomic_store_explicit(&x->state, FR__DONE, memory_order_release);
    unlock(x);
    for (int i = 0; i < nin; i++)
        drop(in[i], &dead);
    free_all(dead);
}

bool fr__publish(fr_array *x, fr__buffer *buf, char *data, const int64_t *strides)
{
    bool first = fr__hold(x);
    if (first)
        fr__publish_held(x, buf, data, strides);
    else
        fr__buffer_release(buf);
    return first;
}

/* ---- operands ----------------------------------------------------------------------- */

void fr__settle(int n, fr_array *const *x)
{
    for (int i = 0; i < n; i++) {
        bool seen = false; /* the same operand twice is one reference */
        for (int j = 0; j < i; j++)
            seen |= x[j] == x[i];
        if (!x[i] || seen || !fr__flag(x[i], FR__FLOATING))
            continue;
        /* From now on it is an input like any other: derivatives make operands of it again. */
        atomic_fetch_and_explicit(&x[i]->flags, (uint8_t)~FR__FLOATING, memory_order_relaxed);
        fr__unref(x[i]);
    }
}

bool fr__operands(int n, fr_array *const *x)
{
    bool good = !fr__failed();
    for (int i = 0; i < n; i++)
        good &= x[i] != NULL;
    if (FR__UNLIKELY(!good))
        fr__settle(n, x);
    return good;
}

/* ---- what the header asks ----------------------------------------------------------- */

int fr_ndim(const fr_array *x) { return x ? x->ndim : -1; }
_Thread_local bool fr__sizes_hidden;

static void ask_for_size(const fr_array *x)
{
    if (FR__UNLIKELY(fr__sizes_hidden) && x && fr__flag(x, FR__TRACED))
        fr__fail(FR__E_TRACE, "compile: a shapeless function asks for the size of an array");
}

const int64_t *fr_dims(const fr_array *x) { return x ? x->dims : NULL; }

const int64_t *fr_shape(const fr_array *x)
{
    ask_for_size(x);
    return x ? x->dims : NULL;
}

int64_t fr_size(const fr_array *x)
{
    ask_for_size(x);
    return x ? x->size : 0;
}

size_t fr_nbytes(const fr_array *x)
{
    ask_for_size(x);
    return x ? (size_t)x->size * (size_t)fr__dsize(x->dtype) : 0;
}

fr_dtype fr_dtype_of(const fr_array *x) { return x ? (fr_dtype)x->dtype : FR_DTYPE_COUNT; }
bool fr_is_done(const fr_array *x) { return x && fr__done(x); }

unsigned fr_any_is(int n, fr_array *const *x)
{
    unsigned any = 0;
    for (int i = 0; i < n; i++) {
        unsigned flags = atomic_load_explicit(&x[i]->flags, memory_order_relaxed);
        any |= (flags & FR__TRACED ? FR_ANY_TRACED : 0) | (fr__done(x[i]) ? 0 : FR_ANY_PENDING);
        any |= FR__UNLIKELY(fr__tape(x[i])) && fr__is_taped(x[i]) ? FR_ANY_TAPED : 0;
    }
    return any;
}

bool fr_is_traced(const fr_array *x) { return x && fr__flag(x, FR__TRACED); }
bool fr_is_taped(const fr_array *x) { return x && fr__is_taped(x); }
bool fr_is_weak(const fr_array *x) { return x && fr__flag(x, FR__WEAK); }

const char *fr__dims_text(const int64_t *shape, int ndim, char to[FR__SHAPE_TEXT])
{
    int n = 0;
    to[0] = 0;
    for (int i = 0; i < ndim && n < FR__SHAPE_TEXT - 24; i++)
        n += snprintf(to + n, (size_t)(FR__SHAPE_TEXT - n), "%s%" PRId64, i ? "," : "",
                      shape[i]);
    return to;
}

const char *fr__shape_text(const fr_array *x, char to[FR__SHAPE_TEXT])
{
    char dims[FR__SHAPE_TEXT];
    snprintf(to, FR__SHAPE_TEXT, "%s[%.170s]", fr__dtypes[x->dtype].name,
             fr__dims_text(x->dims, x->ndim, dims));
    return to;
}

int fr__traced_error(fr_array *x, const char *doing)
{
    /* Any placeholder above x tells where it was made; the first input chain that is traced. */
    fr_array *p = x;
    while (p && p->op != FR__CORE_PLACEHOLDER) {
        fr_array *up = NULL;
        for (int i = 0; i < p->nin && !up; i++)
            if (fr__flag(p->in[i], FR__TRACED))
                up = p->in[i];
        p = up;
    }
    if (!p || !p->origin)
        return fr__fail_int(FR__E_TRACE, "%s needs the value of an array that has none", doing);
    char text[FR__SHAPE_TEXT];
    if (p->origin->by)
        return fr__fail_int(FR__E_TRACE,
                            "%s: %s needs the value of %s, %s of '%s'%s%s: it stands for all "
                            "elements of a batch and has no value of its own",
                            p->origin->by, doing, fr__shape_text(x, text),
                            p == x ? "an argument" : "made from an argument",
                            p->origin->function, p->origin->place[0] ? " called at " : "",
                            p->origin->place);
    return fr__fail_int(
        FR__E_TRACE,
        "compile: %s needs the value of %s, %s while tracing '%s'%s%s. Its value is "
        "known only when the compiled function runs: return it, or turn tracing off with "
        "disable_compile() or FERRULE_DISABLE_COMPILE=1",
        doing, fr__shape_text(x, text),
        p == x ? "a placeholder made" : "made from a placeholder", p->origin->function,
        p->origin->place[0] ? " called at " : "", p->origin->place);
}
