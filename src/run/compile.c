/* compile.c - compiled functions: trace once for each combination of arguments, replay after that
 *
 * A function keeps programs by key: the caller's bytes, and of each input dtype, weakness, shape
 * and layout. A program is a plan (shared by all functions of the same structure), the arrays the
 * function captured, and the literals it used.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hints.h"
#include "core/scope.h"
#include "op/view.h"
#include "run/function.h"

/* ---- switches ----------------------------------------------------------------------- */

static _Atomic int enabled = -1;

bool fr_compile_enabled(void)
{
    int e = atomic_load_explicit(&enabled, memory_order_relaxed);
    if (e < 0) {
        const char *mlx = getenv("MLX_DISABLE_COMPILE");
        e = !fr__env_on("DISABLE_COMPILE", false) && !(mlx && *mlx && strcmp(mlx, "0"));
        atomic_store_explicit(&enabled, e, memory_order_relaxed);
    }
    return e;
}

void fr_compile_enable(bool on) { atomic_store(&enabled, on); }

enum { LIMIT = 256 };
static _Atomic int cache_limit; /* 0: not asked for yet */

static int limit_now(void) { return fr__env_limit(&cache_limit, "COMPILE_CACHE_LIMIT", LIMIT); }

int fr_compile_cache_limit(int programs)
{
    int before = limit_now();
    if (programs > 0)
        atomic_store(&cache_limit, programs);
    return before;
}

/* ---- programs ----------------------------------------------------------------------- */

void fr_program_free(fr_program *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    if (p->base) { /* only the literals are its own */
        fr_program_free(p->base);
        fr__free(p->literals);
        fr__free(p);
        return;
    }
    for (int i = 0; i < p->ncaptured; i++)
        fr__unref(p->captured[i]);
    if (p->plan)
        fr__plan_release(p->plan);
    fr__family_release(p->family);
    fr__witness_free(p->witness);
    if (p->release_attached)
        p->release_attached(p->attached);
    fr__free(p->captured);
    fr__free(p->source);
    fr__free(p->literals);
    fr__free(p->donations);
    fr__free(p->key);
    fr__free(p->why);
    fr__free(p);
}

int fr_program_outputs(const fr_program *p) { return p->n_out; }
void *fr_program_attached(const fr_program *p)
{
    return p->family ? p->family->attached : p->attached;
}

void fr_program_attach(fr_program *p, void *data, void (*release)(void *data))
{
    if (p->family) { /* of all its programs */
        p->family->attached = data;
        p->family->release_attached = release;
        return;
    }
    p->attached = data;
    p->release_attached = release;
}

/* ---- numbers ------------------------------------------------------------------------ */

static bool same_number(const fr_program *p, int slot, bool whole, double v)
{
    if (whole != (fr__dtypes[p->plan->literal_dtypes[slot]].kind != FR__KIND_FLOAT))
        return false;
    int64_t bits = (int64_t)v;
    if (!whole)
        memcpy(&bits, &v, sizeof bits);
    return p->literals[slot] == bits;
}

bool fr_program_same_but(const fr_program *a, const fr_program *b, int n,
                         const fr_number_change *changes)
{
    const fr__plan *plan = a->plan;
    if (plan != b->plan || a->n_in != b->n_in || a->n_out != b->n_out ||
        a->ncaptured != b->ncaptured ||
        memcmp(a->source, b->source, sizeof *a->source * (size_t)plan->nleaves) != 0)
        return false;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) /* whose literal is it then? */
            if (changes[i].whole == changes[j].whole &&
                (changes[i].was == changes[j].was || changes[i].is == changes[j].is))
                return false;
    for (int i = 0; i < plan->nliterals; i++) {
        bool good = a->literals[i] == b->literals[i];
        for (int j = 0; !good && j < n; j++)
            good = same_number(a, i, changes[j].whole, changes[j].was) &&
                   same_number(b, i, changes[j].whole, changes[j].is);
        if (!good)
            return false;
    }
    return true;
}

fr_program *fr_program_with(fr_program *p, int n, const fr_number_change *changes)
{
    size_t count = (size_t)p->plan->nliterals;
    fr_program *made = fr__malloc(sizeof *made);
    int64_t *literals = fr__malloc(sizeof *literals * (count + 1));
    if (!made || !literals) {
        fr__free(made);
        fr__free(literals);
        return NULL;
    }
    for (int i = 0; i < (int)count; i++) {
        literals[i] = p->literals[i];
        for (int j = 0; j < n; j++) {
            if (!same_number(p, i, changes[j].whole, changes[j].was))
                continue;
            literals[i] = (int64_t)changes[j].is;
            if (!changes[j].whole)
                memcpy(&literals[i], &changes[j].is, sizeof literals[i]);
        }
    }
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    *made = (fr_program){
        .refs = 1,
        .plan = p->plan,
        .stream = p->stream,
        .n_in = p->n_in,
        .n_out = p->n_out,
        .source = p->source,
        .ncaptured = p->ncaptured,
        .captured = p->captured,
        .literals = literals,
        .attached = fr_program_attached(p),
        .base = p,
    };
    return made;
}

/* ---- keys --------------------------------------------------------------------------- */

enum { KEY_ROOM = 1024 };

/* What of an input (or of its placeholder) a program depends on. Strides count only where they are
 * not row-major. */
static size_t input_words(const fr_array *x, int64_t *to)
{
    bool contiguous = x->ndim == 1
                          ? x->dims[1] == 1 || x->dims[0] <= 1
                          : fr__is_contiguous(x->ndim, x->dims, fr__strides((fr_array *)x));
    size_t n = 0;
    to[n++] = (int64_t)x->dtype | (int64_t)x->ndim << 8 | (int64_t)fr__flag(x, FR__WEAK) << 16 |
              (int64_t)contiguous << 17;
    for (int i = 0; i < x->ndim; i++)
        to[n++] = x->dims[i];
    for (int i = 0; !contiguous && i < x->ndim; i++)
        to[n++] = fr__strides((fr_array *)x)[i];
    return n;
}

/* How many inputs, and the stream that the nodes of a trace record. */
static int64_t call_word(int n_in)
{
    return n_in | (int64_t)fr_stream_current().id << 32 | (int64_t)fr__trap_set() << 48;
}

static int whole_key(const void *key, size_t key_bytes, int n_in, fr_array *const *in,
                     fr__text *to)
{
    int64_t words[2 * FR_MAX_NDIM + 1], head[2] = {(int64_t)key_bytes, call_word(n_in)};
    size_t room = sizeof head + key_bytes + sizeof words + sizeof *words * 4 * (size_t)n_in;
    to->at = fr__malloc(room);
    for (int i = -1; to->at && i < n_in; i++) {
        if (i < 0) {
            memcpy(to->at, head, sizeof head);
            if (key_bytes)
                memcpy(to->at + sizeof head, key, key_bytes);
            to->n = sizeof head + key_bytes;
            continue;
        }
        size_t n = input_words(in[i], words);
        for (size_t k = 0; k < n; k++, to->n += sizeof *words)
            memcpy(to->at + to->n, &words[k], sizeof *words);
        if (to->n + sizeof words > room) {
            char *more = fr__realloc(to->at, room *= 2);
            if (!more)
                fr__free(to->at);
            to->at = more;
        }
    }
    to->room = room;
    return to->at ? 0 : fr__fail_int(FR__E_MEMORY, "no memory for the key of a call");
}

/* ---- functions ---------------------------------------------------------------------- */

fr_function *fr_function_new(const char *name, int limit)
{
    fr_function *f = fr__calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->refs = 1;
    f->limit = limit > 0 ? limit : 0;
    snprintf(f->name, sizeof f->name, "%s", name ? name : "function");
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutexattr_t again; /* a function may call itself */
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&f->calls, &again);
    pthread_mutexattr_destroy(&again);
    return f;
}

void fr_function_strict(fr_function *f, bool strict) { f->strict = strict; }

void fr_function_check(fr_function *f, bool check)
{
    if (check != f->check)
        fr__places_wanted(check ? 1 : -1);
    f->check = check;
}

void fr_function_shapeless(fr_function *f, bool shapeless) { f->shapeless = shapeless; }

/* What they hold may be anything: freed without the function's lock. */
static void free_programs(fr__lru *gone)
{
    while (gone->oldest) {
        fr_program *p = (fr_program *)gone->oldest;
        fr__lru_remove(gone, &p->link);
        fr_program_free(p);
    }
}

void fr_function_clear(fr_function *f)
{
    fr__families_clear(f);
    pthread_mutex_lock(&f->lock);
    fr__lru all = f->programs;
    f->programs = (fr__lru){0};
    fr__map_free(&f->table);
    pthread_mutex_unlock(&f->lock);
    free_programs(&all);
}

void fr_function_free(fr_function *f)
{
    if (!f || atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    fr_function_clear(f);
    fr_function_check(f, false);
    pthread_mutex_destroy(&f->lock);
    pthread_mutex_destroy(&f->calls);
    fr__free(f->slots);
    if (f->free_ctx)
        f->free_ctx(f->ctx);
    fr__free(f);
}

bool fr__good_inputs(const fr_function *f, int n_in, fr_array *const *in)
{
    if (fr__failed())
        return false;
    for (int i = 0; i < n_in; i++)
        if (!in[i])
            return fr__fail(FR__E_VALUE, "%s: input %d is NULL", f->name, i), false;
    return true;
}

int fr__evaluate_inputs(int n_in, fr_array *const *in)
{
    for (int i = 0; i < n_in; i++)
        if (!fr__done(in[i]))
            return fr__eval_pending(n_in, in);
    return 0;
}

/* Locked. To those that will be freed. */
static void drop_program(fr_function *f, fr_program *p, fr__lru *gone)
{
    fr__lru_remove(&f->programs, &p->link);
    fr__map_remove(&f->table, p->key, p->key_bytes, p->hash);
    fr__lru_add(gone, &p->link);
}

int fr__program_keep(fr_function *f, fr_program *p, const void *key, size_t key_bytes, int n_in,
                     fr_array *const *in)
{
    fr__text whole = {0};
    if (whole_key(key, key_bytes, n_in, in, &whole)) {
        fr__text_free(&whole);
        return -1;
    }
    p->key = whole.at;
    p->key_bytes = whole.n;
    p->hash = fr__hash(whole.at, whole.n, 0);
    p->why = fr__why(f, p->key, p->key_bytes);
    fr__lru gone = {0};
    pthread_mutex_lock(&f->lock);
    fr_program *other = fr__map_get(&f->table, p->key, p->key_bytes, p->hash);
    if (other)
        drop_program(f, other, &gone);
    int status = fr__map_put(&f->table, p->key, p->key_bytes, p->hash, p);
    if (!status) {
        atomic_fetch_add(&p->refs, 1);
        fr__lru_add(&f->programs, &p->link);
        while (f->programs.n > (f->limit ? f->limit : limit_now()))
            drop_program(f, (fr_program *)f->programs.oldest, &gone);
    }
    pthread_mutex_unlock(&f->lock);
    free_programs(&gone);
    return status;
}

bool fr__wants_witness(const fr_function *f) { return f->check || fr__trap_set(); }

/* New sizes: the program of the call's family. */
static fr_program *find_family(fr_function *f, const void *key, size_t key_bytes, int n_in,
                               fr_array *const *in)
{
    fr__sizes sizes;
    fr__family *y = !fr__wants_witness(f) && fr__sizes_of(n_in, in, &sizes)
                        ? fr__family_find(f, key, key_bytes, n_in, in, &sizes)
                        : NULL;
    fr_program *p = y && y->symbolic ? fr__family_program(y, &sizes, n_in, y->n_out) : NULL;
    fr__family_release(y);
    if (p && fr__program_keep(f, p, key, key_bytes, n_in, in)) {
        fr_program_free(p);
        p = NULL;
    }
    return p;
}

fr_program *fr_function_find(fr_function *f, const void *key, size_t key_bytes, int n_in,
                             fr_array *const *in)
{
    if (!fr__good_inputs(f, n_in, in) || fr__evaluate_inputs(n_in, in))
        return NULL;
    /* The key of a small call is made on the stack. */
    _Alignas(8) char room[KEY_ROOM];
    fr__text big = {0};
    char *bytes = room;
    size_t n = 2 * sizeof(int64_t) + key_bytes;
    bool small = n + (size_t)n_in * sizeof(int64_t) * 16 <= KEY_ROOM;
    for (int i = 0; small && i < n_in; i++)
        small = in[i]->ndim <= 7;
    if (small) {
        int64_t head[2] = {(int64_t)key_bytes, call_word(n_in)}, words[2 * FR_MAX_NDIM + 1];
        memcpy(room, head, sizeof head);
        if (key_bytes)
            memcpy(room + sizeof head, key, key_bytes);
        for (int i = 0; i < n_in; i++) {
            size_t k = sizeof *words * input_words(in[i], words);
            memcpy(room + n, words, k);
            n += k;
        }
    } else {
        if (whole_key(key, key_bytes, n_in, in, &big)) {
            fr__text_free(&big);
            return NULL;
        }
        bytes = big.at;
        n = big.n;
    }
    uint64_t hash = fr__hash(bytes, n, 0);
    pthread_mutex_lock(&f->lock);
    fr_program *p = (fr_program *)f->programs.newest; /* most calls are like the last one */
    if (!p || p->hash != hash || p->key_bytes != n || memcmp(p->key, bytes, n)) {
        p = fr__map_get(&f->table, bytes, n, hash);
        if (p)
            fr__lru_use(&f->programs, &p->link);
    }
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&f->lock);
    fr__text_free(&big);
    return p || !f->shapeless ? p : find_family(f, key, key_bytes, n_in, in);
}

int fr_function_programs(fr_function *f, int room, fr_program **to)
{
    pthread_mutex_lock(&f->lock);
    int n = 0;
    for (fr__link *x = f->programs.newest; x && n < room; x = x->older) {
        fr_program *p = to[n++] = (fr_program *)x;
        atomic_fetch_add(&p->refs, 1);
    }
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* ---- calls -------------------------------------------------------------------------- */

static int ask_witness(const fr_program *p, const fr__witness *w, fr_array *const *leaves,
                       const int64_t *literals, fr_array *const *out)
{
    if (fr__trap_on() && fr__witness_nans(w, leaves, literals, out, p->name))
        return -1;
    return p->check ? fr__witness_check(w, leaves, literals, out, p->name) : 0;
}

/* One run on its way. */
typedef struct {
    fr_program *p;
    fr_array *const *in;
    fr_array **arrays; /* leaves */
    fr__buffer **buffers,
        **given; /* the plan's own; those to be taken for them, NULL: new ones */
    const bool *claimed;
    bool *handed; /* of each buffer: a result has our reference */
    int next;     /* donation */
} running;

/* Which donation result i is made by in this run; NULL: it has memory of its own. Results are asked for
 * in their order, as donations are. */
static fr__donation *donation_of(running *r, int i)
{
    const fr_program *p = r->p->base ? r->p->base : r->p;
    if (!r->claimed)
        return NULL;
    r->next = i ? r->next : 0;
    while (r->next < p->ndonations && p->donations[r->next].out < i)
        r->next++;
    bool found = r->next < p->ndonations && p->donations[r->next].out == i;
    return found && r->claimed[r->next] ? &p->donations[r->next] : NULL;
}

/* A result before there is one: the array whose memory it gets, or a new one without memory. */
static fr_array *make_result(running *r, int i)
{
    const fr__planned_out *o = &r->p->plan->outs[i];
    fr__donation *d = donation_of(r, i);
    if (!d)
        return fr__leaf(NULL, 0, o->dtype, o->ndim, o->shape, o->strides);
    fr_array *x = fr__ref(r->in[d->in]);
    r->given[r->p->plan->stored[d->stored].output] = x->buf;
    fr__own_result(x);
    return fr__failed() ? NULL : x;
}

/* All results, before anything is computed: afterwards nothing can fail. Gives how many were made. */
static int make_results(running *r, int n, fr_array **out, int own)
{
    fr_scope *none = NULL;
    int made = 0;
    for (; made < n && (made < own || none || (none = fr__scope_open_none())); made++)
        if (!(out[made] = make_result(r, made)))
            break;
    fr_scope_close(none);
    return made;
}

static void fill_result(running *r, fr_array *x, int i)
{
    const fr__plan *plan = r->p->plan;
    const fr__planned_out *o = &plan->outs[i];
    fr__donation *d = donation_of(r, i);
    fr__buffer *buf = o->leaf >= 0     ? r->arrays[o->leaf]->buf
                      : o->stored >= 0 ? r->buffers[plan->stored[o->stored].output]
                                       : NULL;
    if (d && buf == x->buf) {
        atomic_fetch_add_explicit(&d->runs, 1, memory_order_relaxed);
        return;
    }
    if (d) { /* on a GPU that couldn't: it is claimed still, and nobody has seen its memory */
        fr__buffer_release(x->buf);
        x->buf = buf;
        x->data = buf->data;
        r->handed[plan->stored[d->stored].output] = true;
        return;
    }
    if (!buf)
        return;
    bool *handed = o->leaf >= 0 ? NULL : &r->handed[plan->stored[o->stored].output];
    x->buf = handed && !*handed ? buf : fr__buffer_keep(buf);
    if (handed)
        *handed = true;
    x->data = (o->leaf >= 0 ? r->arrays[o->leaf]->data : (char *)buf->data) + o->offset;
}

static int run_with(running *r, int n_out, fr_array **out, int own)
{
    fr_program *p = r->p;
    fr__plan *plan = p->plan;
    for (int i = 0; i < plan->nleaves; i++) {
        r->arrays[i] = p->source[i] >= 0 ? r->in[p->source[i]] : p->captured[-1 - p->source[i]];
        __builtin_prefetch(r->arrays[i]->buf); /* all are asked where their data is, soon */
    }
    for (int i = 0; i < plan->owned && r->given; i++)
        r->given[i] = NULL;
    for (int i = 0; i < plan->owned; i++)
        r->handed[i] = false;
    int made = make_results(r, n_out, out, own), status = -1;
    if (made == n_out &&
        !fr__plan_run(plan, p->stream, r->arrays, p->literals, true, r->given, r->buffers)) {
        for (int i = 0; i < n_out; i++)
            fill_result(r, out[i], i);
        enum { DISTANCE = 4 }; /* a list of results is freed from its end */
        for (int i = DISTANCE; i < n_out && !r->claimed; i++)
            if (plan->outs[i].stored >= 0)
                fr__freed_soon(out[i], out[i - DISTANCE]);
        for (int i = 0; i < plan->owned; i++)
            if (!r->handed[i])
                fr__buffer_release(r->buffers[i]);
        status = 0;
    }
    if (r->claimed)
        fr__end_claims(p, r->in, r->claimed);
    const fr__witness *w = p->base ? p->base->witness : p->witness;
    if (FR__UNLIKELY(w != NULL) && !status)
        status = ask_witness(p->base ? p->base : p, w, r->arrays, p->literals, out);
    while (status && made) {
        made--;
        if (made < own)
            fr__discard(out[made]);
        else
            fr_free(out[made]);
    }
    return status;
}

int fr__program_run(fr_program *p, int n_in, fr_array *const *in, int n_out, fr_array **out,
                    const bool *claimed, int own)
{
    enum { FEW = 32 };
    fr_array *few_arrays[FEW];
    fr__buffer *few_buffers[FEW], *few_given[FEW];
    bool few_handed[FEW];
    running r = {.p = p,
                 .in = in,
                 .arrays = few_arrays,
                 .buffers = few_buffers,
                 .given = claimed ? few_given : NULL,
                 .claimed = claimed,
                 .handed = few_handed};
    fr__plan *plan = p->plan;
    int status = -1;
    if (plan->nleaves > FEW)
        r.arrays = fr__malloc(sizeof *r.arrays * (size_t)plan->nleaves);
    if (plan->owned > FEW) {
        r.buffers =
            fr__malloc((2 * sizeof *r.buffers + sizeof *r.handed) * (size_t)plan->owned);
        r.given = claimed && r.buffers ? r.buffers + plan->owned : NULL;
        r.handed = r.buffers ? (bool *)(r.buffers + 2 * plan->owned) : few_handed;
    }
    if (n_in != p->n_in || n_out != p->n_out)
        fr__fail(FR__E_VALUE, "a program of %d inputs and %d outputs is run with %d and %d",
                 p->n_in, p->n_out, n_in, n_out);
    bool good = r.arrays && r.buffers && !fr__failed();
    if (good && (claimed || !fr__evaluate_inputs(n_in, in)))
        status = run_with(&r, n_out, out, own);
    else if (claimed)
        fr__end_claims(p, in, claimed);
    if (r.arrays != few_arrays)
        fr__free(r.arrays);
    if (r.buffers != few_buffers)
        fr__free(r.buffers);
    return status;
}

int fr_program_run(fr_program *p, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    return fr__failed() ? -1 : fr__program_run(p, n_in, in, n_out, out, NULL, n_out);
}

int fr_program_run_claimed(fr_program *p, int n_in, fr_array *const *in, int n_out,
                           fr_array **out, const bool *which)
{
    return fr__program_run(p, n_in, in, n_out, out, which, n_out);
}
