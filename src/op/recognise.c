/* recognise.c - softmax and attention that are written out
 *
 *   exp(x - max(x)) / sum(exp(x - max(x)))
 *   softmax(q @ k^T * scale + mask) @ v
 *
 * As they are built. The quotient asks whether it is such a one along the last axis, not computed yet, and
 * if so is the library's softmax: what comes from the largest element cancels in derivatives, so that
 * none goes through it. The product asks whether its left side is a softmax, and if so is attention itself,
 * in one pass, with attention's derivatives. The scale may be a factor or a divisor; the mask something
 * added, or where(mask, s, -inf or a finite number below -1e8); in higher precision or not.
 */
#include <math.h>

#include "core/scope.h"
#include "core/tape.h"
#include "op/attention.h"

enum { MOST = 24 /* nodes looked at */, WORTH = 1 << 14 /* scores of a head */, WIDE = 256 };

typedef struct {
    fr_array *node[MOST], *in[MOST][3]; /* references */
    int n;
} seen;

/* The inputs of x, which stay there while they are looked at; NULL: it has other inputs or values. */
static fr_array **inputs(seen *s, fr_array *x, int op)
{
    if (!x || x->op != op || fr__done(x) || x->nin > 3)
        return NULL;
    for (int i = 0; i < s->n; i++)
        if (s->node[i] == x)
            return s->in[i];
    if (s->n == MOST || !fr__pin_inputs(x, s->in[s->n]))
        return NULL;
    s->node[s->n] = fr__ref(x);
    return s->in[s->n++];
}

static void let_go(seen *s)
{
    while (s->n--) {
        for (int i = 0; i < s->node[s->n]->nin; i++)
            fr__unref(s->in[s->n][i]);
        fr__unref(s->node[s->n]);
    }
}

/* What is below repetitions and new axes (and where differentiation ends, if so wanted). */
static fr_array *below(seen *s, fr_array *x, bool stops)
{
    fr_array **in;
    while (x && ((in = inputs(s, x, FR__OP_BROADCAST)) || (in = inputs(s, x, FR__OP_RESHAPE)) ||
                 (stops && (in = inputs(s, x, FR__OP_STOP)))))
        x = in[0];
    return x;
}

/* x, or what it is a cast of: of the same kind. */
static fr_array *uncast(seen *s, fr_array *x)
{
    fr_array **in = inputs(s, x, FR__OP_CAST);
    return in && fr__is_float(in[0]->dtype) ? in[0] : x;
}

/* Whether x is this reduction of `of` over its last axis, spread over it again. */
static bool reduces_rows(seen *s, fr_array *x, int op, const fr_array *of)
{
    fr_array *r = below(s, uncast(s, below(s, x, true)), true), **in = inputs(s, r, op);
    return in && (in[0] == of || uncast(s, in[0]) == of) &&
           r->par[0] == (int64_t)1 << (of->ndim - 1);
}

/* What e / sum is the softmax of, row by row. */
static fr_array *quotient_of(seen *s, fr_array *e, fr_array *sum)
{
    fr_array **power = inputs(s, e, FR__OP_exp),
             **difference = power ? inputs(s, power[0], FR__OP_sub) : NULL;
    if (!difference || !e->ndim || !reduces_rows(s, sum, FR__OP_REDUCE_sum, e))
        return NULL;
    fr_array *x = difference[0];
    return x->ndim == e->ndim && reduces_rows(s, difference[1], FR__OP_REDUCE_max, x) ? x
                                                                                      : NULL;
}

/* The scores that p is the softmax of. */
static fr_array *scores_of(seen *s, fr_array *p)
{
    fr_array **in = inputs(s, p, FR__OP_div);
    if (in)
        return quotient_of(s, in[0], in[1]);
    in = inputs(s, p, FR__OP_mul);
    fr_array **inverse = in ? inputs(s, below(s, in[1], false), FR__OP_reciprocal) : NULL;
    return inverse ? quotient_of(s, in[0], inverse[0]) : NULL;
}

fr_array *fr__softmax_written_out(fr_array *e, fr_array *sum)
{
    seen s = {.n = 0};
    bool whole = fr__is_float(e->dtype) && fr__dsize(e->dtype) >= 4 && sum->ndim == e->ndim &&
                 sum->dtype == e->dtype;
    fr_array *x = whole ? quotient_of(&s, e, sum) : NULL, *y = NULL;
    if (x && x->dtype == e->dtype && sum->dims[e->ndim - 1] == 1)
        y = fr_softmax(x, &(fr_reduce_options){.axes = (int[]){-1}, .naxes = 1});
    let_go(&s);
    return y;
}

/* ---- scores: a product, scaled, masked --------------------------------------------------------- */

typedef struct {
    fr_array *q, *k; /* [batch, m, d], [batch, d, n], of the product */
    int nbatch;
    fr_array *mask;    /* NULL; bool where `keep`, else to be added */
    double scale, low; /* low: of where() */
} form;

static bool number_of(seen *s, fr_array *x, double *to)
{
    fr_array *at = below(s, x, false);
    for (fr_array **in; (in = inputs(s, at, FR__OP_CAST));)
        at = below(s, in[0], false);
    if (at->op != FR__OP_NUMBER || at->dtype == FR_BOOL || at->dtype == FR_COMPLEX64)
        return false;
    if (fr__dtypes[at->dtype].kind == FR__KIND_FLOAT)
        memcpy(to, &at->par[0], sizeof *to);
    else
        *to = (double)at->par[0];
    return true;
}

static bool product_of(seen *s, fr_array *x, form *f)
{
    x = uncast(s, x);
    fr_array **in = inputs(s, x, FR__OP_CONTRACT);
    if (!in || x->par[1] != 1)
        return false;
    f->nbatch = (int)x->par[0];
    f->q = in[0];
    f->k = in[1];
    return f->k->ndim == f->nbatch + 2 && f->q->ndim >= 2 && (f->nbatch || f->k->ndim == 2) &&
           (!f->nbatch || f->q->ndim == f->nbatch + 2);
}

/* a * scale or a / scale, any number of times, down to the product. */
static bool scaled(seen *s, fr_array *x, form *f)
{
    for (fr_array **in; !product_of(s, x, f);) {
        double by;
        x = uncast(s, x);
        if ((in = inputs(s, x, FR__OP_mul)) && number_of(s, in[1], &by)) {
            f->scale *= by;
            x = in[0];
        } else if (in && number_of(s, in[0], &by)) {
            f->scale *= by;
            x = in[1];
        } else if ((in = inputs(s, x, FR__OP_div)) && number_of(s, in[1], &by) && by != 0) {
            f->scale /= by;
            x = in[0];
        } else {
            return false;
        }
    }
    return true;
}

static bool masked(seen *s, fr_array *x, form *f)
{
    fr_array **in;
    x = uncast(s, x);
    if (scaled(s, x, f))
        return true;
    f->scale = 1;
    if ((in = inputs(s, x, FR__OP_add))) {
        for (int i = 0; i < 2; i++) {
            f->scale = 1;
            f->mask = in[1 - i];
            if (fr__is_float(f->mask->dtype) && in[i]->ndim == x->ndim && scaled(s, in[i], f))
                return true;
        }
        return false;
    }
    in = inputs(s, x, FR__OP_where);
    if (!in || in[0]->dtype != FR_BOOL || !number_of(s, in[2], &f->low) || !(f->low <= -1e8))
        return false;
    f->mask = in[0];
    return scaled(s, in[1], f);
}

/* ---- as attention ------------------------------------------------------------------------------ */

/* x, [batch, n, m] in so many dimensions, as 4. */
static fr_array *in_four(fr_array *x)
{
    int64_t shape[4] = {1, 1, x->dims[x->ndim - 2], x->dims[x->ndim - 1]};
    for (int d = 0; d < x->ndim - 2; d++)
        shape[d == x->ndim - 3] *= x->dims[d];
    return fr_reshape(x, shape, 4);
}

/* x with the leading dimensions of y. */
static fr_array *as_batch(fr_array *x, const fr_array *y)
{
    int64_t shape[FR_MAX_NDIM];
    memcpy(shape, y->dims, sizeof *shape * y->ndim);
    for (int d = 1; d <= 2; d++)
        shape[y->ndim - d] = x->dims[x->ndim - d];
    return in_four(fr_broadcast_to(x, shape, y->ndim));
}

/* In an open scope; errors are the sticky one, which all constructors pass on. p: [batch, m, n]. */
static fr_array *attend(const fr_array *p, fr_array *v, const form *f)
{
    fr_attention_options o = {.scale = f->scale};
    fr_array *q = as_batch(f->q, p), *k = as_batch(fr_swapaxes(f->k, -1, -2), p),
             *w = as_batch(v, p), *mask = f->mask;
    if (mask && mask->dtype == FR_BOOL && f->low > -HUGE_VAL)
        mask = fr_where(mask, 0.0f, f->low);
    o.mask = mask ? as_batch(mask, p) : NULL;
    if (fr__failed())
        return NULL;
    fr_array *y =
        fr_attention(fr_astype(q, (fr_dtype)v->dtype), fr_astype(k, (fr_dtype)v->dtype), w, &o);
    int64_t shape[FR_MAX_NDIM];
    memcpy(shape, p->dims, sizeof *shape * p->ndim);
    shape[p->ndim - 1] = v->dims[v->ndim - 1];
    return fr_reshape(y, shape, p->ndim);
}

static bool fits(const fr_array *p, const fr_array *v, const form *f)
{
    int dtype = f->q->dtype;
    bool on = p->ndim >= 2 && v->ndim <= p->ndim && dtype == f->k->dtype && v->dtype == dtype &&
              p->dtype == dtype && dtype != FR_FLOAT64 && f->scale != 0 && isfinite(f->scale) &&
              p->dims[p->ndim - 1] * p->dims[p->ndim - 2] >= WORTH &&
              f->k->dims[f->k->ndim - 2] <= WIDE && v->dims[v->ndim - 1] <= WIDE;
    for (int d = 3; on && d <= v->ndim; d++)
        on = v->dims[v->ndim - d] == 1 || v->dims[v->ndim - d] == p->dims[p->ndim - d];
    return on &&
           !(f->mask && fr__tape(f->mask)); /* a mask's derivative is that of the composition */
}

fr_array *fr__attention_written_out(fr_array *p, fr_array *v)
{
    seen s = {.n = 0};
    form f = {.scale = 1, .low = -HUGE_VAL};
    if (fr__attention_composing || v->ndim < 2)
        return NULL;
    fr_array *x = scores_of(&s, uncast(&s, p)), *y = NULL;
    if (x && masked(&s, x, &f) && fits(p, v, &f)) {
        fr_scope *scope = fr_scope_open();
        y = scope ? fr__leave(scope, attend(p, v, &f)) : NULL;
    }
    let_go(&s);
    return y;
}
