/* compile.c - compiled functions: trace once for each combination of arguments, replay after that
 *
 * A function keeps programs by key: the caller's bytes, and of each input dtype, weakness, shape
 * and layout. A program is a plan (shared by all functions of the same structure), the arrays the
 * function captured, and the literals it used.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/place.h"
#include "core/scope.h"
#include "op/view.h"
#include "run/function.h"

struct fr_trace {
    fr_function *f;
    int n_in;
    fr_array **placeholders;
    fr_scope *scope;    /* inside it results are the caller's */
    bool counted;       /* in `tracing` */
    bool hidden_before; /* sizes, in a trace around this one */
    bool hides;         /* the placeholders' sizes are not the inputs': */
    fr__sizes real, unusual;
    fr_array **in; /* references to the inputs, while sizes are hidden */
};

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

static _Thread_local int tracing; /* traces that this thread is inside */

bool fr_is_tracing(void) { return tracing > 0; }

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

char *fr_program_describe(const fr_program *p)
{
    fr__text to = {0};
    fr__text_f(&to, "program %016llx: %d inputs, %d outputs, %d captured arrays, %d kernels\n",
               (unsigned long long)p->plan->hash, p->n_in, p->n_out, p->ncaptured,
               p->plan->nsteps);
    for (int i = 0; i < p->plan->nsteps; i++) {
        const fr__step *s = &p->plan->steps[i];
        if (s->native) {
            fr__text_f(&to, "routine %d: %s\n", i, s->native->routine->name);
            continue;
        }
        fr__text_f(&to, "kernel %d: range %lld\n", i, (long long)s->range);
        fr__text_add(&to, s->kernel->kernel->text);
    }
    if (!to.failed)
        return to.at;
    fr__text_free(&to);
    return fr__fail(FR__E_MEMORY, "no memory for the text of a program");
}

int fr_program_captured(const fr_program *p, size_t *bytes)
{
    *bytes = 0;
    for (int i = 0; i < p->ncaptured; i++)
        *bytes += fr_nbytes(p->captured[i]);
    return p->ncaptured;
}

fr_array *fr_program_constant(const fr_program *p, int i)
{
    return i >= 0 && i < p->ncaptured ? p->captured[i] : NULL;
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
    bool contiguous = fr__is_contiguous(x->ndim, x->dims, fr__strides((fr_array *)x));
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
    size_t most = sizeof head + key_bytes;
    for (int i = 0; i < n_in; i++)
        most += sizeof *words * (2 * (size_t)in[i]->ndim + 1);
    char *at = to->at = fr__malloc(most);
    if (!at)
        return fr__fail_int(FR__E_MEMORY, "no memory for the key of a call");
    memcpy(at, head, sizeof head);
    at += sizeof head;
    if (key_bytes)
        memcpy(at, key, key_bytes);
    at += key_bytes;
    for (int i = 0; i < n_in; i++) {
        size_t n = input_words(in[i], words);
        for (size_t k = 0; k < n; k++, at += sizeof *words)
            memcpy(at, &words[k], sizeof *words);
    }
    to->n = (size_t)(at - to->at);
    to->room = most;
    return 0;
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

/* Pending inputs get their values first, so that a program is bound to memory. */
static int evaluate_inputs(int n_in, fr_array *const *in)
{
    for (int i = 0; i < n_in; i++)
        if (!fr__done(in[i]))
            return fr__eval_pending(n_in, in);
    return 0;
}

static int keep_program(fr_function *f, fr_program *p, const void *key, size_t key_bytes,
                        int n_in, fr_array *const *in);

/* Witnesses, which name operations and places, are made with a trace of the call's own sizes. */
static bool wants_witness(const fr_function *f) { return f->check || fr__trap_set(); }

/* New sizes: the program of the call's family. */
static fr_program *find_family(fr_function *f, const void *key, size_t key_bytes, int n_in,
                               fr_array *const *in)
{
    fr__sizes sizes;
    fr__family *y = !wants_witness(f) && fr__sizes_of(n_in, in, &sizes)
                        ? fr__family_find(f, key, key_bytes, n_in, in, &sizes)
                        : NULL;
    fr_program *p = y && y->symbolic ? fr__family_program(y, &sizes, n_in, y->n_out) : NULL;
    fr__family_release(y);
    if (p && keep_program(f, p, key, key_bytes, n_in, in)) {
        fr_program_free(p);
        p = NULL;
    }
    return p;
}

fr_program *fr_function_find(fr_function *f, const void *key, size_t key_bytes, int n_in,
                             fr_array *const *in)
{
    if (!fr__good_inputs(f, n_in, in) || evaluate_inputs(n_in, in))
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

/* ---- traces ------------------------------------------------------------------------- */

static void release_trace(fr_trace *t)
{
    for (int i = 0; i < t->n_in; i++)
        if (t->placeholders[i])
            fr__unref(t->placeholders[i]);
    for (int i = 0; t->hides && i < t->n_in; i++)
        fr__unref(t->in[i]);
    if (t->counted)
        fr__sizes_hidden = t->hidden_before;
    fr__free(t->in);
    fr_scope_close(t->scope);
    tracing -= t->counted;
    fr_function_free(t->f);
    fr__free(t->placeholders);
    fr__free(t);
}

/* A shapeless function's first call of a kind, not known to be traced for each size. */
static bool may_hide(fr_function *f, const void *key, size_t key_bytes, int n_in,
                     fr_array *const *in, fr__sizes *real)
{
    if (wants_witness(f) || !fr__sizes_of(n_in, in, real) || !real->n)
        return false;
    fr__family *y = fr__family_find(f, key, key_bytes, n_in, in, real);
    fr__family_release(y);
    return !y;
}

static fr_trace *begin(fr_function *f, int n_in, fr_array *const *in, fr_array **placeholders,
                       const char *place, bool hides, fr__sizes real)
{
    fr_trace *t = fr__calloc(1, sizeof *t);
    fr__origin *origin = fr__malloc(sizeof *origin);
    if (t)
        t->placeholders = fr__calloc((size_t)n_in + 1, sizeof(fr_array *));
    if (!t || !t->placeholders || !origin || !(t->scope = fr__scope_open_none())) {
        if (t)
            fr__free(t->placeholders);
        fr__free(t);
        fr__free(origin);
        return NULL;
    }
    if (hides && !(t->in = fr__calloc((size_t)n_in + 1, sizeof *t->in)))
        hides = false;
    *origin = (fr__origin){.refs = 1};
    snprintf(origin->function, sizeof origin->function, "%s", f->name);
    snprintf(origin->place, sizeof origin->place, "%s", place ? place : "");
    atomic_fetch_add(&f->refs, 1);
    t->f = f;
    t->n_in = n_in;
    if (hides) {
        t->hides = true;
        t->real = real;
        t->unusual = real;
        int ndim = 0;
        for (int i = 0; i < n_in; i++) {
            t->in[i] = fr__ref(in[i]);
            ndim = in[i]->ndim > ndim ? in[i]->ndim : ndim;
        }
        fr__sizes_unusual(&t->unusual, ndim);
    }
    for (int i = 0; i < n_in; i++) {
        int64_t dims[FR_MAX_NDIM];
        for (int d = 0; d < in[i]->ndim; d++) {
            int class = hides ? fr__size_class(&real, in[i]->dims[d]) : 0;
            dims[d] = class < 2 ? in[i]->dims[d] : t->unusual.at[class - 2];
        }
        fr_array *x = fr__node(FR__OP_PLACEHOLDER, in[i]->dtype, in[i]->ndim, dims, 0, NULL, 0);
        if (!x) {
            for (int j = 0; j < i; j++)
                fr_free(placeholders[j]);
            release_trace(t);
            if (atomic_fetch_sub(&origin->refs, 1) == 1)
                fr__free(origin);
            return NULL;
        }
        atomic_fetch_add(&origin->refs, 1);
        x->origin = origin;
        if (hides)
            fr__row_major(x->ndim, dims, fr__strides(x));
        else
            memcpy(fr__strides(x), fr__strides(in[i]), sizeof(int64_t) * x->ndim);
        x->flags = (uint8_t)(FR__TRACED | (fr__flag(in[i], FR__WEAK) ? FR__WEAK : 0));
        placeholders[i] = x;
        t->placeholders[i] = fr__ref(x);
    }
    if (atomic_fetch_sub(&origin->refs, 1) == 1)
        fr__free(origin);
    atomic_fetch_add_explicit(&fr__counters[FR_COUNT_TRACES], 1, memory_order_relaxed);
    tracing++;
    t->counted = true;
    t->hidden_before = fr__sizes_hidden;
    fr__sizes_hidden = hides;
    return t;
}

fr_trace *fr_trace_begin_call(fr_function *f, const void *key, size_t key_bytes, int n_in,
                              fr_array *const *in, fr_array **placeholders, const char *place)
{
    fr__sizes real = {0};
    if (!fr__good_inputs(f, n_in, in) || evaluate_inputs(n_in, in))
        return NULL;
    bool hides = f->shapeless && !tracing && may_hide(f, key, key_bytes, n_in, in, &real);
    fr_trace *t = begin(f, n_in, in, placeholders, place, hides, real);
    if (!t && hides) { /* too many elements, perhaps */
        fr__error_clear();
        t = begin(f, n_in, in, placeholders, place, false, real);
    }
    return t;
}

fr_trace *fr_trace_begin(fr_function *f, int n_in, fr_array *const *in, fr_array **placeholders,
                         const char *place)
{
    if (!fr__good_inputs(f, n_in, in) || evaluate_inputs(n_in, in))
        return NULL;
    return begin(f, n_in, in, placeholders, place, false, (fr__sizes){0});
}

bool fr_trace_hides_sizes(const fr_trace *t) { return t->hides; }

void fr_trace_abandon(fr_trace *t)
{
    if (t)
        release_trace(t);
}

/* Pending arrays that the trace captured, made of values alone, are evaluated now: they are
 * constants of the program. What is made of numbers only stays in it. */
typedef struct {
    fr__map seen;
    FR__VEC(fr_array *) stack, constants, keys;
} capture_walk;

static int look_at(capture_walk *w, fr_array *x)
{
    if (fr__done(x) || x->op == FR__OP_PLACEHOLDER)
        return 0;
    uint64_t hash = fr__hash_mix((uintptr_t)x, 7);
    if (fr__map_get(&w->seen, &x, sizeof x, hash))
        return 0;
    fr_array **key = fr__malloc(sizeof *key);
    if (!key)
        return -1;
    *key = x;
    if (fr__vec_push(&w->keys, (fr_array *)key)) {
        fr__free(key);
        return -1;
    }
    return fr__map_put(&w->seen, key, sizeof x, hash, x) || fr__vec_push(&w->stack, x) ? -1 : 0;
}

static bool has_values_below(fr_array *x, int depth)
{
    /* Numbers broadcast, counted, shaped: shallow by construction; deeper is taken as values. */
    fr_array *in[FR__INPUTS];
    if (depth > 16 || x->nin > FR__COUNT(in) || !fr__pin_inputs(x, in))
        return true;
    bool found = false;
    for (int i = 0; i < x->nin; i++) {
        found = found || has_values_below(in[i], depth + 1);
        fr__unref(in[i]);
    }
    return found;
}

/* Whether it may be made with the unusual sizes of a trace: then it has no value yet. */
static bool has_sizes_below(fr_array *x, const fr__sizes *unusual, int depth)
{
    fr_array *in[FR__INPUTS];
    if (fr__done(x))
        return false;
    if (depth > 16 || fr__sizes_in(unusual, x->ndim, x->dims) || x->nin > FR__COUNT(in) ||
        !fr__pin_inputs(x, in))
        return true;
    bool found = false;
    for (int i = 0; i < x->nin; i++) {
        found = found || has_sizes_below(in[i], unusual, depth + 1);
        fr__unref(in[i]);
    }
    return found;
}

static int evaluate_constants(int n_out, fr_array *const *out, const fr__sizes *unusual)
{
    capture_walk w = {0};
    int status = 0;
    for (int i = 0; !status && i < n_out; i++)
        status = look_at(&w, out[i]);
    while (!status && w.stack.n) {
        fr_array *x = w.stack.at[--w.stack.n];
        bool constant = !fr__flag(x, FR__TRACED) && !fr__is_base(x->op, x->npar, x->par);
        if (constant && !(unusual && has_sizes_below(x, unusual, 0))) {
            if (has_values_below(x, 0))
                status = fr__vec_push(&w.constants, x);
            continue;
        }
        int n = fr__is_alias(x->op) ? 1 : x->nin;
        for (int i = 0; !status && i < n; i++)
            status = look_at(&w, x->in[i]);
    }
    if (!status && w.constants.n)
        status = fr__eval_pending(w.constants.n, w.constants.at);
    for (int i = 0; i < w.keys.n; i++)
        fr__free(w.keys.at[i]);
    fr__vec_free(&w.keys);
    fr__vec_free(&w.stack);
    fr__vec_free(&w.constants);
    fr__map_free(&w.seen);
    return status;
}

static int bind_leaves(fr_program *p, const fr_trace *t, const fr__capture *c)
{
    int n = c->t->leaves.n;
    p->source = fr__malloc(sizeof *p->source * (size_t)(n + 1));
    p->captured = fr__calloc((size_t)n + 1, sizeof *p->captured);
    if (!p->source || !p->captured)
        return -1;
    for (int i = 0; i < n; i++) {
        fr_array *x = c->arrays.at[c->t->leaves.at[i].node];
        int from = -1;
        for (int j = 0; from < 0 && x->op == FR__OP_PLACEHOLDER && j < t->n_in; j++)
            if (t->placeholders[j] == x)
                from = j;
        if (x->op == FR__OP_PLACEHOLDER && from < 0)
            return fr__traced_error(x, "a result of another trace");
        if (from < 0) {
            from = -1 - p->ncaptured;
            p->captured[p->ncaptured++] = fr__ref(x);
        }
        p->source[i] = from;
    }
    return 0;
}

static fr_program *make_program(fr_trace *t, int n_out, fr_array *const *out)
{
    fr__trace trace = {0};
    fr__capture c = {.t = &trace};
    fr_program *p = NULL;
    uint16_t stream = fr_stream_current().id;
    if (evaluate_constants(n_out, out, NULL) ||
        fr__trace_on(&trace, fr__place_of_stream(stream)) ||
        fr__capture_graph(&c, n_out, out, true))
        goto out;
    p = fr__calloc(1, sizeof *p);
    if (!p)
        goto out;
    snprintf(p->name, sizeof p->name, "%s", t->f->name);
    p->check = t->f->check;
    p->refs = 1;
    p->stream = stream;
    p->n_in = t->n_in;
    p->n_out = n_out;
    size_t bytes = sizeof *p->literals * (size_t)trace.literals.n;
    p->literals = fr__malloc(bytes);
    if (p->literals && bytes)
        memcpy(p->literals, trace.literals.at, bytes);
    if (!p->literals || bind_leaves(p, t, &c) || !(p->plan = fr__plan_for(&trace))) {
        fr_program_free(p);
        p = NULL;
    }
    if (p && (p->check || fr__trap_on()) && !(p->witness = fr__witness_new(n_out, out))) {
        fr_program_free(p);
        p = NULL;
    }
out:
    fr__capture_free(&c);
    fr__trace_free(&trace);
    return p;
}

/* A strict function has no constants: all that it computes with is handed to it. */
static int refuse_constants(const fr_function *f, const fr_program *p)
{
    enum { NAMED = 4 };
    if (!f->strict || !p->ncaptured)
        return 0;
    size_t bytes;
    fr__text text = {0};
    fr_program_captured(p, &bytes);
    for (int i = 0; i < p->ncaptured && i < NAMED; i++) {
        char shape[FR__SHAPE_TEXT];
        fr__text_f(&text, i ? ", %s" : "%s", fr__shape_text(p->captured[i], shape));
    }
    fr__fail(FR__E_VALUE,
             "compile: '%s' is strict and uses %d array%s that %s not among its arguments or "
             "captured inputs: %s%s (%zu bytes)",
             f->name, p->ncaptured, p->ncaptured == 1 ? "" : "s",
             p->ncaptured == 1 ? "is" : "are", text.at ? text.at : "",
             p->ncaptured > NAMED ? " ..." : "", bytes);
    fr__text_free(&text);
    return -1;
}

/* Locked. To those that will be freed. */
static void drop_program(fr_function *f, fr_program *p, fr__lru *gone)
{
    fr__lru_remove(&f->programs, &p->link);
    fr__map_remove(&f->table, p->key, p->key_bytes, p->hash);
    fr__lru_add(gone, &p->link);
}

static int keep_program(fr_function *f, fr_program *p, const void *key, size_t key_bytes,
                        int n_in, fr_array *const *in)
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

/* Of a trace with unusual sizes: its family, and the program of the call's own sizes. */
static fr_program *make_family(fr_trace *t, const void *key, size_t key_bytes, int n_out,
                               fr_array *const *out)
{
    fr__trace trace = {0};
    fr__capture c = {.t = &trace};
    fr_program bound = {0}, *p = NULL;
    fr__symbolic *symbolic = NULL;
    if (!evaluate_constants(n_out, out, &t->unusual) &&
        !fr__capture_graph(&c, n_out, out, true) && !bind_leaves(&bound, t, &c) &&
        !refuse_constants(t->f, &bound))
        symbolic = fr__symbolic_new(&trace, bound.source, bound.captured, bound.ncaptured,
                                    &t->unusual);
    for (int i = 0; i < bound.ncaptured; i++)
        fr__unref(bound.captured[i]);
    fr__free(bound.captured);
    fr__free(bound.source);
    fr__capture_free(&c);
    fr__trace_free(&trace);
    fr__family *y =
        symbolic ? fr__family_keep(t->f, key, key_bytes, t->n_in, t->in, &t->real, symbolic)
                 : NULL;
    if (y)
        y->n_out = n_out, p = fr__family_program(y, &t->real, t->n_in, n_out);
    fr__family_release(y);
    return p;
}

/* Calls like this one are traced for each size from now on. */
static void refuse_sizes(fr_trace *t, const void *key, size_t key_bytes)
{
    fr__error_clear(); /* whatever it was: the trace that follows tells it if it is the user's */
    fr__family_release(fr__family_keep(t->f, key, key_bytes, t->n_in, t->in, &t->real, NULL));
}

void fr_trace_refuse(fr_trace *t, const void *key, size_t key_bytes)
{
    if (t && t->hides)
        refuse_sizes(t, key, key_bytes);
    fr_trace_abandon(t);
}

fr_program *fr_trace_end(fr_trace *t, const void *key, size_t key_bytes, int n_out,
                         fr_array *const *out)
{
    if (!t)
        return NULL;
    fr_program *p = NULL;
    bool good = !fr__failed();
    fr__sizes_hidden = false;
    for (int i = 0; good && i < n_out; i++)
        if (!out[i]) {
            fr__fail(FR__E_VALUE, "%s: result %d is NULL", t->f->name, i);
            good = false;
        }
    if (t->hides) {
        p = good ? make_family(t, key, key_bytes, n_out, out) : NULL;
        if (!p)
            refuse_sizes(t, key, key_bytes);
    } else if (good) {
        p = make_program(t, n_out, out);
        if (p && refuse_constants(t->f, p)) {
            fr_program_free(p);
            p = NULL;
        }
    }
    if (p &&
        keep_program(t->f, p, key, key_bytes, t->n_in, t->hides ? t->in : t->placeholders)) {
        fr_program_free(p);
        p = NULL;
    }
    release_trace(t);
    return p;
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
} running;

/* Which donation result i is made by in this run; NULL: it has memory of its own. */
static fr__donation *donation_of(const running *r, int i)
{
    const fr_program *p = r->p->base ? r->p->base : r->p;
    int low = 0, high = r->claimed ? p->ndonations : 0;
    while (low < high) {
        int mid = (low + high) / 2;
        if (p->donations[mid].out < i)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = r->claimed && low < p->ndonations && p->donations[low].out == i;
    return found && r->claimed[low] ? &p->donations[low] : NULL;
}

/* A result before there is one: the array whose memory it gets, or a new one without memory. */
static fr_array *make_result(const running *r, int i)
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
static int make_results(const running *r, int n, fr_array **out, int own)
{
    fr_scope *none = NULL;
    int made = 0;
    for (; made < n && (made < own || none || (none = fr__scope_open_none())); made++)
        if (!(out[made] = make_result(r, made)))
            break;
    fr_scope_close(none);
    return made;
}

static void fill_result(const running *r, fr_array *x, int i)
{
    const fr__plan *plan = r->p->plan;
    const fr__planned_out *o = &plan->outs[i];
    fr__donation *d = donation_of(r, i);
    fr__buffer *buf = o->leaf >= 0     ? r->arrays[o->leaf]->buf
                      : o->stored >= 0 ? r->buffers[plan->stored[o->stored].output]
                                       : NULL;
    if (d) {
        atomic_fetch_add_explicit(&d->runs, 1, memory_order_relaxed);
        return;
    }
    if (!buf)
        return;
    x->buf = fr__buffer_keep(buf);
    x->data = (o->leaf >= 0 ? r->arrays[o->leaf]->data : (char *)buf->data) + o->offset;
}

static int run_with(running *r, int n_out, fr_array **out, int own)
{
    fr_program *p = r->p;
    fr__plan *plan = p->plan;
    for (int i = 0; i < plan->nleaves; i++)
        r->arrays[i] = p->source[i] >= 0 ? r->in[p->source[i]] : p->captured[-1 - p->source[i]];
    for (int i = 0; i < plan->owned && r->given; i++)
        r->given[i] = NULL;
    int made = make_results(r, n_out, out, own), status = -1;
    if (made == n_out &&
        !fr__plan_run(plan, p->stream, r->arrays, p->literals, true, r->given, r->buffers)) {
        for (int i = 0; i < n_out; i++)
            fill_result(r, out[i], i);
        for (int i = 0; i < plan->owned; i++)
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
    running r = {p, in, few_arrays, few_buffers, claimed ? few_given : NULL, claimed};
    fr__plan *plan = p->plan;
    int status = -1;
    if (plan->nleaves > FEW)
        r.arrays = fr__malloc(sizeof *r.arrays * (size_t)plan->nleaves);
    if (plan->owned > FEW) {
        r.buffers = fr__malloc(2 * sizeof *r.buffers * (size_t)plan->owned);
        r.given = claimed && r.buffers ? r.buffers + plan->owned : NULL;
    }
    if (n_in != p->n_in || n_out != p->n_out)
        fr__fail(FR__E_VALUE, "a program of %d inputs and %d outputs is run with %d and %d",
                 p->n_in, p->n_out, n_in, n_out);
    bool good = r.arrays && r.buffers && !fr__failed();
    if (good && (claimed || !evaluate_inputs(n_in, in)))
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
