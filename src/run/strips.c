/* strips.c - kernels that go over a product's rows as they are finished
 *
 * needs   steps of a plan in order; before temporaries have places
 * gives   fr__step.strip of those kernels that run together with the product before them
 *
 * Bias, activation, residual, cast, and what reduces rows: on rows of the product that are still
 * in the cache. Each index of such a kernel's root loop must read whole rows of the product, those
 * of a strip without any of another, in order. To explain, to count and to draw the two are one kernel.
 */
#include "base/pool.h"
#include "core/place.h"
#include "run/plan.h"

/* Of an axis as the root loop has it: how far apart its indices are there; 0: it is a loop inside. */
static int64_t root_step(const fr__kernel *k, const uint64_t *words, int axis)
{
    const fr__kaxis *x = &k->axis[axis];
    return x->bind == FR__BIND_OUTER ? (int64_t)words[x->div] : x->bind == FR__BIND_PAR;
}

/* One dimension of an access: whether it goes from row to row as the root loop does, or stays in a
 * row. In *rows, how many rows there are by it; in *span, how far it goes in one. */
static bool walks_rows(const fr__step *s, int axis, int64_t stride, int64_t columns,
                       int64_t each, int64_t *rows, int64_t *span)
{
    const fr__kernel *k = s->kernel->kernel;
    int64_t extent = (int64_t)s->words[k->axis[axis].extent],
            step = root_step(k, s->words, axis);
    if (extent == 1)
        return true;
    if (stride < 0)
        return false;
    if (step >= each) {
        *rows *= extent;
        return stride % columns == 0 && stride / columns * each == step;
    }
    *span += (extent - 1) * stride;
    return step * extent <= each;
}

/* Whether load x of a product, rows of so many columns, reads in `each` indices of the root loop
 * what is in one row. */
static bool reads_rows(const fr__step *s, const fr__kaccess *x, int64_t rows, int64_t columns,
                       int64_t each)
{
    const fr__kernel *k = s->kernel->kernel;
    int64_t seen = 1, span = 0;
    if (x->vaxis >= 0 && k->axis[x->vaxis].bind == FR__BIND_PARVEC)
        return x->vec == FR__VEC_UNIT && !x->nterm && each == columns;
    for (int i = 0; i < x->nterm; i++)
        if (!walks_rows(s, x->term[i].axis, (int64_t)s->words[x->term[i].word], columns, each,
                        &seen, &span))
            return false;
    int64_t step = x->vec == FR__VEC_UNIT     ? 1
                   : x->vec == FR__VEC_STRIDE ? (int64_t)s->words[x->vstride]
                                              : 0;
    if (x->vaxis >= 0 && step && !walks_rows(s, x->vaxis, step, columns, each, &seen, &span))
        return false;
    return seen == rows && span < columns;
}

static int64_t units_of(const fr__native_call *c) { return c->phase[c->phases - 1].range; }

/* How many indices of the root loop of kernel step s go with a row of what step `by` makes, the
 * product `stored`; 0: not so. */
static int64_t strip_of(const fr__step *s, const fr__native_call *by, int stored)
{
    const fr__kernel *k = s->kernel->kernel;
    int64_t columns = by->out.shape[by->out.ndim - 1], rows = by->out.size / columns,
            each = s->range / rows;
    bool read = false;
    if (each * rows != s->range)
        return 0;
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        if (ins->op != FR__K_LOAD && ins->op != FR__K_STORE)
            continue;
        const fr__kaccess *x = &k->access[ins->imm];
        const fr__patch *q = fr__bound_to(s, x);
        if (!q || q->is_leaf || q->index != stored)
            continue;
        if (ins->op == FR__K_STORE || q->offset || ins->b >= 0 ||
            !reads_rows(s, x, rows, columns, each))
            return 0;
        read = true;
    }
    for (int64_t unit = 0; read && s->vector > 1 && unit < units_of(by); unit++)
        if (by->routine->strip(by, unit).first * each % s->vector)
            return 0; /* vectors begin where they would if the kernel ran alone */
    return read ? each : 0;
}

/* Strips are for as many threads as there are strips: enough of them, or the kernel does little. */
static bool is_shared(const fr__step *by, const fr__step *s)
{
    const fr__native_call *c = by->native;
    int64_t strips = c->routine->strip(c, units_of(c) - 1).index + 1;
    int threads = by->alone ? 1 : fr__pool_threads();
    return strips >= threads || s->work / strips <= by->work / threads / 32;
}

/* What the two say of themselves, as one. */
static int join(fr__plan *p, fr__step *by, fr__step *s, int stored)
{
    size_t n = strlen(by->ops), bytes = p->stored[stored].bytes;
    char *ops = fr__arena_alloc(&p->arena, n + strlen(s->ops) + 2);
    if (!ops)
        return -1;
    memcpy(ops, by->ops, n);
    ops[n] = ' ';
    memcpy(ops + n + 1, s->ops, strlen(s->ops) + 1);
    by->ops = ops;
    by->why = s->why;
    by->reads += s->reads - (s->reads < bytes ? s->reads : bytes);
    by->writes += s->writes;
    for (int k = 0; k < p->nsteps && p->stored[stored].output < 0; k++) {
        if (&p->steps[k] == by || &p->steps[k] == s)
            continue;
        for (int j = 0; j < p->steps[k].npatches; j++)
            if (!p->steps[k].patches[j].is_leaf && p->steps[k].patches[j].index == stored)
                return 0; /* it is read by others, too */
    }
    by->writes -= p->stored[stored].output < 0 ? bytes : 0;
    return 0;
}

int fr__plan_strips(fr__plan *p)
{
    for (int i = 1; i < p->nsteps && p->place == FR__HOST; i++) {
        fr__step *by = &p->steps[i - 1], *s = &p->steps[i];
        const fr__native_call *c = by->native;
        if (!c || !s->kernel || !c->routine->strip || !c->out.size || !c->out.ndim ||
            !c->routine->strip(c, 0).rows || !is_shared(by, s))
            continue;
        int stored = -1;
        for (int j = 0; j < by->npatches; j++)
            if (by->patches[j].word == c->nin)
                stored = by->patches[j].index;
        s->strip = strip_of(s, c, stored);
        if (s->strip && join(p, by, s, stored))
            return -1;
    }
    return 0;
}

bool fr__strip_reads(const fr__plan *p, int step, bool leaf, int index)
{
    if (!p->steps[step].strip)
        return false;
    int product = step - 1, at = product; /* and what makes its operands */
    do {
        const fr__step *by = &p->steps[at];
        for (int j = 0; j < by->npatches; j++) {
            const fr__patch *q = &by->patches[j];
            if ((!by->native || q->word != by->native->nin) && q->is_leaf == leaf &&
                q->index == index)
                return true;
        }
    } while (at-- > 0 && p->steps[at].made);
    return false;
}
