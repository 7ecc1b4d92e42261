/* donate.c - results in the memory of the state that they replace
 *
 * needs   a plan; which result takes the place of which input after each call
 * gives   the pairs where the result may be written over the input; claims of those inputs that
 *         nobody else holds, for one run
 *
 * A result may have the buffer of an input of its shape and dtype if every step that reads the input
 * comes before the first that touches the result, or is that one, a kernel, and there each element is
 * read only by the loop that then writes it. No step is moved for it.
 *
 * On a GPU work is queued launch by launch, and any launch may fail. So there a run is in place only if it is
 * one launch, or one recording: either all of it is queued, or nothing (gpu.c).
 */
#include "core/claim.h"
#include "core/place.h"
#include "op/view.h"
#include "run/function.h"

/* ---- in one kernel: each element is read, then written ------------------------------------- */

/* The loop that instruction i stands in, by the number of its LOOP. */
static int loop_of(const fr__kernel *k, int i)
{
    int depth = 0;
    while (--i >= 0) {
        depth += k->ins[i].op == FR__K_END ? 1 : k->ins[i].op == FR__K_LOOP ? -1 : 0;
        if (depth < 0)
            return i;
    }
    return -1;
}

/* How often a launch goes through what stands in this loop. */
static int64_t passes(const fr__kernel *k, const uint64_t *words, int loop)
{
    int64_t n = 1;
    for (; loop >= 0; loop = loop_of(k, loop)) {
        const fr__kaxis *x = &k->axis[k->ins[loop].imm];
        int64_t pieces = x->split < 0 ? 1 : (int64_t)words[k->axis[x->split].extent];
        if (!pieces || n % pieces) /* a loop over a piece, and one over the pieces */
            return 0;
        n = n / pieces * (int64_t)words[x->extent];
    }
    return n;
}

static bool same_address(const fr__kernel *k, const uint64_t *words, const fr__kaccess *x,
                         const fr__kaccess *y)
{
    bool same = x->vec == y->vec && x->vaxis == y->vaxis && x->nterm == y->nterm &&
                k->bufs[x->buf].dtype == k->bufs[y->buf].dtype &&
                (x->vec != FR__VEC_STRIDE || words[x->vstride] == words[y->vstride]);
    for (int i = 0; same && i < x->nterm; i++)
        same = x->term[i].axis == y->term[i].axis &&
               words[x->term[i].word] == words[y->term[i].word];
    return same;
}

/* What a kernel's buffer is bound to. */
const fr__patch *fr__bound_to(const fr__step *s, const fr__kaccess *a)
{
    for (int i = 0; i < s->npatches; i++)
        if (s->patches[i].word == s->kernel->kernel->bufs[a->buf].word)
            return &s->patches[i];
    return NULL;
}

static bool is_bound(const fr__patch *q, bool leaf, int index)
{
    return q && q->is_leaf == leaf && q->index == index;
}

bool fr__in_place(const fr__step *s, bool leaf, int from, int stored, size_t bytes)
{
    const fr__kernel *k = s->kernel->kernel;
    int store = -1;
    for (int i = 0; i < k->nins; i++) {
        bool memory = k->ins[i].op == FR__K_STORE || k->ins[i].op == FR__K_LOAD;
        const fr__patch *q = memory ? fr__bound_to(s, &k->access[k->ins[i].imm]) : NULL;
        if (k->ins[i].op == FR__K_STORE && is_bound(q, leaf, from))
            return false;
        if (!is_bound(q, false, stored))
            continue;
        if (store >= 0 || k->ins[i].op != FR__K_STORE || k->ins[i].b >= 0 || k->ins[i].c >= 0)
            return false;
        store = i;
    }
    if (store < 0)
        return false;
    const fr__kaccess *to = &k->access[k->ins[store].imm];
    int loop = loop_of(k, store);
    /* As often as there are elements, and all are written: each once. */
    if (passes(k, s->words, loop) * fr__dsize(k->bufs[to->buf].dtype) != (int64_t)bytes)
        return false;
    for (int i = 0; i < k->nins; i++) {
        if (k->ins[i].op != FR__K_LOAD)
            continue;
        const fr__kaccess *at = &k->access[k->ins[i].imm];
        const fr__patch *q = fr__bound_to(s, at);
        if (is_bound(q, leaf, from) &&
            (i > store || loop_of(k, i) != loop || k->ins[i].b >= 0 || k->ins[i].c >= 0 ||
             q->offset != fr__bound_to(s, to)->offset || !same_address(k, s->words, at, to)))
            return false;
    }
    return true;
}

/* On a GPU: is it loaded and stored by one thread? What isn't along the vector axis several may load. */
static bool by_one_thread(const fr__step *s, int stored)
{
    const fr__kernel *k = s->kernel->kernel;
    bool good = true;
    for (int i = 0; i < k->nins && good; i++) {
        good = k->ins[i].op != FR__K_ACC;
        if (k->ins[i].op != FR__K_STORE ||
            !is_bound(fr__bound_to(s, &k->access[k->ins[i].imm]), false, stored))
            continue;
        int loop = loop_of(k, i);
        int bind = loop < 0 ? FR__BIND_PAR : k->axis[k->ins[loop].imm].bind;
        good = good && (bind == FR__BIND_PARVEC || bind == FR__BIND_VEC);
    }
    return good;
}

/* ---- in a plan ------------------------------------------------------------------------------- */

typedef struct {
    const fr__plan *plan;
    int32_t *last;  /* step that reads a leaf last, -1 */
    int32_t *first; /* step that touches what is stored first */
} order;

static int find_order(order *o, const fr__plan *p)
{
    size_t n = (size_t)(p->nleaves + p->nstored);
    *o = (order){p, fr__malloc(sizeof *o->last * (n + 1)), NULL};
    if (!o->last)
        return -1;
    o->first = o->last + p->nleaves;
    memset(o->last, -1, sizeof *o->last * n);
    for (int i = 0; i < p->nsteps; i++)
        for (int j = 0; j < p->steps[i].npatches; j++) {
            const fr__patch *q = &p->steps[i].patches[j];
            if (q->is_leaf) /* what is read to be packed is read while the product goes on */
                o->last[q->index] = p->steps[i].made ? fr__step_of_launch(p, i) : i;
            else if (o->first[q->index] < 0)
                o->first[q->index] = i;
        }
    return 0;
}

/* Whether a step of [begin, end) reads the leaf. */
static bool read_before(const fr__plan *p, int begin, int end, int leaf)
{
    for (int i = begin; i < end; i++)
        for (int j = 0; j < p->steps[i].npatches; j++)
            if (p->steps[i].patches[j].is_leaf && p->steps[i].patches[j].index == leaf)
                return true;
    return false;
}

static bool may_be_in(const order *o, int leaf, const fr__planned_out *out)
{
    const fr__plan *p = o->plan;
    if (out->stored < 0 || !out->contiguous || out->offset || p->stored[out->stored].output < 0)
        return false;
    for (int i = 0; leaf >= 0 && i < p->nouts; i++)
        if (p->outs[i].leaf == leaf) /* the old value is a result */
            return false;
    int at = o->first[out->stored], last = leaf < 0 ? -1 : o->last[leaf];
    const fr__step *s = &p->steps[at];
    int begin = fr__step_of_launch(p, at);
    if (last < begin)
        return true;
    return last == at && s->kernel && !read_before(p, begin, at, leaf) &&
           (p->place == FR__HOST || by_one_thread(s, out->stored)) &&
           fr__in_place(s, true, leaf, out->stored, p->stored[out->stored].bytes);
}

static int leaf_of(const fr_program *p, int in)
{
    for (int i = 0; i < p->plan->nleaves; i++)
        if (p->source[i] == in)
            return i;
    return -1;
}

/* ---- of a program ---------------------------------------------------------------------------- */

static fr_program *owner(const fr_program *p) { return p->base ? p->base : (fr_program *)p; }

int fr_program_offer(fr_program *p, int n, const fr_donation *pairs)
{
    p = owner(p);
    order o;
    if (atomic_load_explicit(&p->offered, memory_order_acquire))
        return 0;
    fr__donation *to = fr__calloc((size_t)n + 1, sizeof *to);
    if (!to || find_order(&o, p->plan)) {
        fr__free(to);
        return -1;
    }
    int made = 0, before = -1;
    bool never = p->witness; /* it looks at the old values */
    for (int i = 0; i < n && !never; i++) {
        const fr__planned_out *out = pairs[i].out > before && pairs[i].out < p->n_out
                                         ? &p->plan->outs[pairs[i].out]
                                         : NULL;
        bool good = out && pairs[i].in >= 0 && pairs[i].in < p->n_in;
        for (int j = 0; good && j < made; j++)
            good = to[j].stored != out->stored && to[j].in != pairs[i].in;
        int leaf = good ? leaf_of(p, pairs[i].in) : -1;
        if (!good || !may_be_in(&o, leaf, out))
            continue;
        before = pairs[i].out;
        to[made++] = (fr__donation){.in = pairs[i].in,
                                    .out = before,
                                    .stored = out->stored,
                                    .bytes = p->plan->stored[out->stored].bytes};
    }
    fr__free(o.last);
    p->donations = to;
    p->ndonations = made;
    atomic_store_explicit(&p->offered, true, memory_order_release);
    return 0;
}

bool fr_program_is_offered(const fr_program *p) { return atomic_load(&owner(p)->offered); }

int fr_program_donations(const fr_program *p, int room, fr_donation *to)
{
    p = owner(p);
    if (!atomic_load_explicit(&((fr_program *)p)->offered, memory_order_acquire))
        return 0;
    for (int i = 0; i < p->ndonations && i < room; i++) {
        const fr__donation *d = &p->donations[i];
        to[i] = (fr_donation){d->in, d->out, d->bytes, d->runs};
    }
    return p->ndonations;
}

static bool alike(const fr_array *x, const fr__planned_out *o)
{
    return x->dtype == o->dtype && x->ndim == o->ndim &&
           !memcmp(x->dims, o->shape, sizeof *x->dims * x->ndim) &&
           fr__is_contiguous(x->ndim, x->dims, fr__strides((fr_array *)x));
}

int fr_program_claim(fr_program *p, fr_array *const *in, bool *which)
{
    const fr_program *its = owner(p);
    int n = 0;
    bool done = true;
    for (int i = 0; i < p->n_in; i++)
        done = done && fr__done(in[i]);
    for (int i = 0; i < its->ndonations; i++) {
        const fr__donation *d = &its->donations[i];
        which[i] = done && which[i] && alike(in[d->in], &its->plan->outs[d->out]) &&
                   fr__claim(in[d->in], its->stream);
        n += which[i];
    }
    return n;
}

void fr__end_claims(const fr_program *p, fr_array *const *in, const bool *which)
{
    enum { TOGETHER = 64 };
    const fr_program *its = owner(p);
    fr_array *some[TOGETHER];
    int n = 0;
    for (int i = 0; i < its->ndonations; i++) {
        if (which[i])
            some[n++] = in[its->donations[i].in];
        if (n == TOGETHER || (n && i + 1 == its->ndonations)) {
            fr__claim_end(n, some);
            n = 0;
        }
    }
}
