/* eval.c - values of lazy arrays: eval, item, copies, text
 *
 * Pending graph -> key -> program (found or made) -> run -> published.
 */
#include <math.h>

#include "base/bits.h"
#include "core/alloc.h"
#include "core/place.h"
#include "core/scope.h"
#include "op/view.h"
#include "run/plan.h"
#include "run/witness.h"

static char *data_of(const fr__planned_out *o, fr_array *const *leaves, const fr__buffer *buf)
{
    return o->leaf >= 0 ? leaves[o->leaf]->data + o->offset
           : buf        ? (char *)buf->data + o->offset
                        : NULL;
}

/* Runs p on its leaves; output i of it is array outputs[i]. */
static int run_plan(fr__plan *p, uint16_t stream, fr_array *const *leaves,
                    const int64_t *literals, fr_array *const *arrays, const int32_t *outputs)
{
    enum { FEW = 32 };
    fr__buffer *few_buffers[FEW], **buffers = few_buffers;
    int status = -1;
    if (p->owned > FEW && !(buffers = fr__malloc(sizeof *buffers * (size_t)p->owned)))
        return -1;
    if (fr__plan_run(p, stream, leaves, literals, false, NULL, buffers))
        goto out;
    for (int i = 0; i < p->nouts; i++) {
        const fr__planned_out *o = &p->outs[i];
        fr__buffer *buf = o->leaf >= 0     ? leaves[o->leaf]->buf
                          : o->stored >= 0 ? buffers[p->stored[o->stored].output]
                                           : NULL;
        char *data = data_of(o, leaves, buf);
        fr__publish(arrays[outputs[i]], buf ? fr__buffer_keep(buf) : NULL, data,
                    o->contiguous ? NULL : o->strides);
    }
    for (int i = 0; i < p->owned; i++)
        fr__buffer_release(buffers[i]);
    status = 0;
out:
    if (buffers != few_buffers)
        fr__free(buffers);
    return status;
}

static int run_captured(fr__capture *c, uint16_t stream)
{
    fr__trace *t = c->t;
    enum { FEW = 32 };
    fr_array *few_leaves[FEW], **leaves = few_leaves;
    int status = -1;
    if (fr__debug() >= 3)
        fr__debug_print("eval: %d nodes, %d outputs\n", t->nodes.n, t->outs.n);
    /* What simplify rewrites is not looked at again below: leaves and literals stay. */
    int nleaves = t->leaves.n;
    if (nleaves > FEW && !(leaves = fr__malloc(sizeof *leaves * (size_t)nleaves)))
        return -1;
    for (int i = 0; i < nleaves; i++)
        leaves[i] = c->arrays.at[t->leaves.at[i].node];
    fr__plan *p = fr__plan_for(t);
    if (p)
        status = run_plan(p, stream, leaves, t->literals.at, c->arrays.at, c->outputs.at);
    fr__plan_release(p);
    if (leaves != few_leaves)
        fr__free(leaves);
    return status;
}

/* x is held. */
static int run_held(fr__plan *p, const fr__single *s, fr_array *x)
{
    fr__buffer *buf;
    const fr__planned_out *o = p->outs;
    if (fr__plan_run(p, x->stream, s->leaves, s->literals, false, NULL, &buf)) {
        fr__let_go(x);
        return -1;
    }
    fr__publish_held(x, buf, data_of(o, s->leaves, buf), o->contiguous ? NULL : o->strides);
    return 0;
}

static int run_single(fr__plan *p, const fr__single *s, fr_array *x)
{
    for (int i = 0; i < s->nleaves; i++)
        fr__ref(s->leaves[i]);
    fr__let_go(x);
    int status = run_plan(p, x->stream, s->leaves, s->literals, &x, &(int32_t){0});
    for (int i = 0; i < s->nleaves; i++)
        fr__unref(s->leaves[i]);
    return status;
}

/* One operation on arrays with values, of which there is a program: no trace is made. 1: it isn't that. */
static int eval_single(fr_array *x)
{
    fr__single s;
    int status = 1;
    if (fr__place_of_stream(x->stream) != FR__HOST || fr__debug() >= 3 || !fr__hold(x))
        return 1;
    fr__plan *p = fr__capture_single(x, &s) ? fr__plan_known(s.key, s.bytes) : NULL;
    if (!p)
        fr__let_go(x);
    else
        status =
            p->little && p->outs[0].stored == 0 ? run_held(p, &s, x) : run_single(p, &s, x);
    fr__plan_release(p);
    return status;
}

/* Roots of one place. What they need from another place is computed there first. */
static int eval_here(int n, fr_array *const *x)
{
    fr__trace t = {0};
    fr__capture c = {.t = &t};
    fr_array **wanted = NULL;
    int status = fr__trace_on(&t, fr__place_of_stream(x[0]->stream)), more = 0;
    status = status || fr__capture_graph(&c, n, x, false) ? -1 : 0;
    if (!status && c.foreign.n) {
        more = c.foreign.n;
        if (!(wanted = fr__malloc(sizeof *wanted * (size_t)more)))
            status = -1;
        for (int i = 0; wanted && i < more; i++)
            wanted[i] = fr__ref(c.foreign.at[i]);
    } else if (!status && t.outs.n) {
        status = run_captured(&c, x[0]->stream);
    }
    fr__capture_free(&c);
    fr__trace_free(&t);
    if (wanted) {
        status = fr__eval_pending(more, wanted);
        for (int i = 0; i < more; i++)
            fr__unref(wanted[i]);
        fr__free(wanted);
    }
    return status || !more ? status : eval_here(n, x);
}

/* The values of all that are pending, place by place; on a GPU they are queued, not waited for. */
int fr__eval_pending(int n, fr_array *const *x)
{
    enum { FEW = 64 };
    fr_array *few[FEW], **some = few;
    int first = 0, status = 0;
    bool one_place = true;
    while (first < n && fr__done(x[first]))
        first++;
    for (int i = first + 1; i < n; i++)
        one_place &= x[i]->stream == x[first]->stream;
    if (first == n)
        return 0;
    if (n - first == 1 && (status = eval_single(x[first])) <= 0)
        return status;
    status = 0;
    if (one_place)
        return eval_here(n - first, x + first);
    if (n > FEW && !(some = fr__malloc(sizeof *some * (size_t)n)))
        return -1;
    for (; !status && first < n; first++) {
        int k = 0, place = fr__place_of_stream(x[first]->stream);
        for (int i = first; i < n; i++)
            if (!fr__done(x[i]) && fr__place_of_stream(x[i]->stream) == place)
                some[k++] = x[i];
        if (!fr__done(x[first]))
            status = eval_here(k, some);
    }
    if (some != few)
        fr__free(some);
    return status;
}

static int eval_queued(int n, fr_array *const *x)
{
    if (fr__failed())
        return -1;
    bool pending = false;
    for (int i = 0; i < n; i++) {
        if (!x[i])
            return fr__fail_int(FR__E_VALUE, "eval: array %d is NULL", i);
        if (fr__done(x[i]))
            continue;
        if (fr__flag(x[i], FR__TRACED))
            return fr__traced_error(x[i], "evaluation");
        pending = true;
    }
    if (!pending)
        return 0;
    fr__witness *w = NULL;
    if (FR__UNLIKELY(fr__trap_on()) && !(w = fr__witness_new(n, x)))
        return -1;
    int status = fr__eval_pending(n, x);
    if (w && !status) {
        fr_array *const *leaves;
        fr__witness_leaves(w, &leaves);
        status = fr__witness_nans(w, leaves, NULL, x, NULL);
    }
    fr__witness_free(w);
    return status;
}

/* What is on a GPU is queued when its program has run. */
static int wait_for(int n, fr_array *const *x)
{
    int last = -1, status = 0;
    for (int i = 0; i < n; i++) {
        const fr__buffer *b = fr__done(x[i]) ? x[i]->buf : NULL;
        if (FR__LIKELY(!b || b->place == FR__HOST || b->stream == last))
            continue;
        last = b->stream;
        status |= fr__gpus.synchronize(b->stream);
    }
    return status;
}

int fr_eval_all(int n, fr_array *const *x) { return eval_queued(n, x) ? -1 : wait_for(n, x); }

int fr_async_eval(int n, fr_array *const *x) { return eval_queued(n, x); }

int fr_eval(fr_array *x)
{
    if (x && fr__done(x) && !fr__failed())
        return wait_for(1, &x);
    if (!x && fr__failed())
        return -1;
    return fr_eval_all(1, &x);
}

char *fr_describe(int n, fr_array *const *x)
{
    if (fr__failed())
        return NULL;
    fr__trace t = {0};
    fr__capture c = {.t = &t};
    char *text = NULL;
    bool traced = false;
    for (int i = 0; i < n; i++) {
        if (!x[i])
            return fr__fail(FR__E_VALUE, "describe: array %d is NULL", i);
        traced |= fr__flag(x[i], FR__TRACED);
    }
    if (n && fr__trace_on(&t, fr__place_of_stream(x[0]->stream)))
        goto out;
    if (!fr__capture_graph(&c, n, x, traced)) {
        fr__plan *p = fr__plan_make(&t, true);
        if (p) {
            text = p->text ? p->text : fr__strdup("");
            p->text = NULL;
        }
        fr__plan_release(p);
    }
out:
    fr__capture_free(&c);
    fr__trace_free(&t);
    return text;
}

/* ---- values out --------------------------------------------------------------------- */

/* Its first element's address on the host, where its values are; NULL without an error: of no elements. */
static int evaluated(fr_array *x, const char *doing, const char **data)
{
    if (fr__failed())
        return -1;
    if (!x)
        return fr__fail_int(FR__E_VALUE, "%s: the array is NULL", doing);
    if (fr__flag(x, FR__TRACED))
        return fr__traced_error(x, doing);
    if (!fr__done(x) && eval_queued(1, &x))
        return -1;
    *data = fr__host_data(x);
    return *data || !fr__failed() ? 0 : -1;
}

/* One element, as both kinds of number. */
static void read_element(const char *p, int dtype, double *v, int64_t *i)
{
#define READ(T)                                                                                \
    do {                                                                                       \
        T e;                                                                                   \
        memcpy(&e, p, sizeof e);                                                               \
        *v = (double)e;                                                                        \
        *i = (int64_t)e;                                                                       \
    } while (0)
    uint16_t h;
    float f;
    switch ((fr_dtype)dtype) {
    case FR_BOOL:
        *i = *(const uint8_t *)p != 0;
        *v = (double)*i;
        return;
    case FR_UINT8: READ(uint8_t); return;
    case FR_UINT16: READ(uint16_t); return;
    case FR_UINT32: READ(uint32_t); return;
    case FR_UINT64: READ(uint64_t); return;
    case FR_INT8: READ(int8_t); return;
    case FR_INT16: READ(int16_t); return;
    case FR_INT32: READ(int32_t); return;
    case FR_INT64: READ(int64_t); return;
    case FR_FLOAT16:
        memcpy(&h, p, sizeof h);
        *v = (double)fr__from_f16(h);
        break;
    case FR_BFLOAT16:
        memcpy(&h, p, sizeof h);
        *v = (double)fr__from_bf16(h);
        break;
    case FR_FLOAT64: memcpy(v, p, sizeof *v); break;
    default:
        memcpy(&f, p, sizeof f);
        *v = (double)f;
        break;
    }
    *i = *v != *v ? 0 : *v >= 0x1p63 ? INT64_MAX : *v < -0x1p63 ? INT64_MIN : (int64_t)*v;
#undef READ
}

static int one_element(fr_array *x, const char *doing, double *v, int64_t *i)
{
    char text[FR__SHAPE_TEXT];
    const char *data;
    if (evaluated(x, doing, &data))
        return -1;
    if (x->size != 1)
        return fr__fail_int(FR__E_VALUE, "item: %s has %lld elements, not one",
                            fr__shape_text(x, text), (long long)x->size);
    if (x->dtype == FR_COMPLEX64)
        return fr__fail_int(FR__E_TYPE, "item: complex64 is no real number");
    read_element(data, x->dtype, v, i);
    return 0;
}

int fr_item_complex(fr_array *x, double to[2])
{
    if (x && x->dtype != FR_COMPLEX64) {
        to[1] = 0;
        return fr_item(x, &to[0]);
    }
    char text[FR__SHAPE_TEXT];
    const char *data;
    if (evaluated(x, "item", &data))
        return -1;
    if (x->size != 1)
        return fr__fail_int(FR__E_VALUE, "item: %s has %lld elements, not one",
                            fr__shape_text(x, text), (long long)x->size);
    float parts[2];
    memcpy(parts, data, sizeof parts);
    to[0] = (double)parts[0];
    to[1] = (double)parts[1];
    return 0;
}

int fr_item(fr_array *x, double *to)
{
    int64_t i;
    return one_element(x, "item", to, &i);
}

int fr_item_int(fr_array *x, int64_t *to)
{
    double v;
    return one_element(x, "item", &v, to);
}

int fr_access(fr_array *x, fr_view *to)
{
    const char *data;
    if (evaluated(x, "access to the values", &data))
        return -1;
    int size = fr__dsize(x->dtype);
    to->data = data;
    to->dtype = (fr_dtype)x->dtype;
    to->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) {
        to->shape[i] = x->dims[i];
        to->strides[i] = fr__strides(x)[i] * size;
    }
    return 0;
}

/* Row-major copy of strided elements; the last dimension in runs where it is contiguous. */
static void copy_strided(const fr_array *x, const char *from, char *to)
{
    const int64_t *shape = x->dims, *strides = fr__strides((fr_array *)x);
    size_t size = (size_t)fr__dsize(x->dtype);
    int64_t at[FR_MAX_NDIM] = {0}, inner = x->ndim ? shape[x->ndim - 1] : 1,
            step = x->ndim ? strides[x->ndim - 1] : 1;
    for (int64_t left = x->size; left > 0; left -= inner) {
        if (step == 1)
            memcpy(to, from, (size_t)inner * size);
        else
            for (int64_t i = 0; i < inner; i++)
                memcpy(to + (size_t)i * size, from + i * step * (int64_t)size, size);
        to += (size_t)inner * size;
        for (int d = x->ndim - 2; d >= 0; d--) {
            from += strides[d] * (int64_t)size;
            if (++at[d] < shape[d])
                break;
            from -= shape[d] * strides[d] * (int64_t)size;
            at[d] = 0;
        }
    }
}

int fr_copy_out(fr_array *x, void *to, size_t bytes)
{
    char text[FR__SHAPE_TEXT];
    const char *data;
    if (evaluated(x, "a copy of the values", &data))
        return -1;
    if (bytes != fr_nbytes(x))
        return fr__fail_int(FR__E_VALUE, "copy_out: room for %zu bytes, %s has %zu", bytes,
                            fr__shape_text(x, text), fr_nbytes(x));
    if (x->size && fr__is_contiguous(x->ndim, x->dims, fr__strides(x)))
        memcpy(to, data, bytes);
    else if (x->size)
        copy_strided(x, data, to);
    return 0;
}

/* ---- as text ------------------------------------------------------------------------ */

enum { EDGE = 3 }; /* an axis of more than 2 * EDGE shows so many elements at each end */

static _Atomic int decimals = -1;

int fr_print_decimals(int n)
{
    return atomic_exchange(&decimals, n < 0 ? -1 : n > 60 ? 60 : n);
}

static void number_text(fr__text *to, double v)
{
    int n = atomic_load_explicit(&decimals, memory_order_relaxed);
    if (n < 0 || !isfinite(v))
        fr__text_f(to, "%.6g", v);
    else
        fr__text_f(to, "%.*f", n, v);
}

static void complex_text(fr__text *to, const char *p)
{
    float parts[2];
    memcpy(parts, p, sizeof parts);
    for (int k = 0; k < 2; k++) {
        if (k && !signbit(parts[k]))
            fr__text_char(to, '+');
        number_text(to, (double)parts[k]);
    }
    fr__text_char(to, 'j');
}

static void element_text(fr__text *to, const fr_array *x, const char *p)
{
    double v;
    int64_t i;
    if (x->dtype == FR_COMPLEX64) {
        complex_text(to, p);
        return;
    }
    read_element(p, x->dtype, &v, &i);
    if (x->dtype == FR_BOOL)
        fr__text_add(to, i ? "True" : "False");
    else if (x->dtype == FR_UINT64)
        fr__text_f(to, "%llu", (unsigned long long)*(const uint64_t *)p);
    else if (!fr__is_float(x->dtype))
        fr__text_int(to, i);
    else if (v != v)
        fr__text_add(to, "nan");
    else
        number_text(to, v);
}

static void axis_text(fr__text *to, const fr_array *x, int d, const char *p, int indent)
{
    if (d == x->ndim) {
        element_text(to, x, p);
        return;
    }
    int64_t n = x->dims[d], step = fr__strides((fr_array *)x)[d] * fr__dsize(x->dtype);
    bool cut = n > 2 * EDGE;
    fr__text_char(to, '[');
    for (int64_t i = 0; i < n; i++) {
        if (i && d == x->ndim - 1)
            fr__text_add(to, ", ");
        else if (i)
            fr__text_f(to, ",\n%*s", indent + d + 1, "");
        if (cut && i == EDGE) {
            fr__text_add(to, "...");
            i = n - EDGE - 1;
            continue;
        }
        axis_text(to, x, d + 1, p ? p + i * step : NULL, indent);
    }
    fr__text_char(to, ']');
}

char *fr_to_text(fr_array *x)
{
    const char *data;
    if (evaluated(x, "printing", &data))
        return NULL;
    fr__text to = {0};
    fr__text_add(&to, "array(");
    axis_text(&to, x, 0, data, 6);
    fr__text_f(&to, ", dtype=%s)", fr__dtypes[x->dtype].name);
    if (to.failed) {
        fr__text_free(&to);
        return fr__fail(FR__E_MEMORY, "no memory for the text of an array");
    }
    return to.at;
}

void fr_text_free(char *text) { fr__free(text); }

/* ---- memory, threads ---------------------------------------------------------------- */

#include "base/pool.h"

/* The GPU that the thread's new nodes are computed on, or -1. */
static int gpu_now(void) { return fr__place_of_stream(fr_stream_current().id) - 1; }

fr_memory_info fr_memory(void)
{
    fr__memory m;
    int gpu = gpu_now();
    if (gpu >= 0)
        return fr__gpus.memory(gpu);
    fr__memory_get(&m);
    return (fr_memory_info){m.active, m.peak, m.cached, m.limit, m.cache_limit};
}

void fr_memory_reset_peak(void)
{
    int gpu = gpu_now();
    if (gpu >= 0)
        fr__gpus.reset_peak(gpu);
    else
        fr__memory_reset_peak();
}

size_t fr_memory_set_cache_limit(size_t bytes)
{
    int gpu = gpu_now();
    return gpu >= 0 ? fr__gpus.set_cache_limit(gpu, bytes) : fr__memory_set_cache_limit(bytes);
}

void fr_clear_cache(void)
{
    int gpu = gpu_now();
    if (gpu >= 0)
        fr__gpus.clear_cache(gpu);
    fr__memory_clear_cache();
}

size_t fr_memory_set_limit(size_t bytes)
{
    int gpu = gpu_now();
    return gpu >= 0 ? fr__gpus.set_limit(gpu, bytes) : fr__memory_set_limit(bytes);
}

int fr_threads(void) { return fr__pool_threads(); }
void fr_set_threads(int n) { fr__pool_set_threads(n < 0 ? 0 : n); }
const char *fr_version(void) { return FR_VERSION; }
fr_error_kind fr_error(void) { return (fr_error_kind)fr__error_now; }
const char *fr_error_message(void) { return fr__error_text(); }
void fr_error_clear(void) { fr__error_clear(); }

void fr_error_set(fr_error_kind kind, const char *message)
{
    if (kind > FR_OK && kind <= FR_ERROR_INTERNAL)
        fr__fail((fr__error_kind)kind, "%s", message ? message : "");
}
