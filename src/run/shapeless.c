/* shapeless.c - programs for other sizes without another trace
 *
 *   trace with unusual sizes -> capture -> [expressions] -> for each call's sizes: trace -> plan
 *
 * A shapeless function is traced once, with large primes for the sizes of its arguments. Whatever
 * number then stands in the captured graph, a dimension, a parameter or a literal, is either
 * small, and a constant, or it can be told what it was made of: a product of sizes, a sum of some,
 * a fraction. With other sizes put in, the graph is checked node by node as the constructors do.
 *
 * It is never wrong, because it gives up (the function is then traced for each size) where
 *   - a number can't be told;
 *   - the operation isn't one of those below, whose meaning is their shapes and parameters;
 *   - the function asked for a size: that is an error while sizes are hidden;
 *   - a call's sizes are equal where they were not, or in another order, or 0 or 1 where they
 *     were not: constructors decide by such things. They are in the key of the symbolic trace;
 *   - a dimension would become 0 or 1, a slice leave its input, sizes not match.
 */
#include "run/shapeless.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "op/view.h"

/* ---- sizes ------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

bool fr__sizes_of(int n_in, fr_array *const *in, fr__sizes *sizes)
{
    sizes->n = 0;
    for (int i = 0; i < n_in; i++) {
        if (!fr__is_contiguous(in[i]->ndim, in[i]->dims, fr__strides(in[i])))
            return false;
        for (int d = 0; d < in[i]->ndim; d++) {
            bool known = in[i]->dims[d] < 2;
            for (int j = 0; !known && j < sizes->n; j++)
                known = sizes->at[j] == in[i]->dims[d];
            if (known)
                continue;
            if (sizes->n == FR__SIZES)
                return false;
            sizes->at[sizes->n++] = in[i]->dims[d];
        }
    }
    qsort(sizes->at, (size_t)sizes->n, sizeof *sizes->at, ascending);
    return true;
}

int fr__size_class(const fr__sizes *sizes, int64_t size)
{
    for (int j = 0; size > 1 && j < sizes->n; j++)
        if (sizes->at[j] == size)
            return 2 + j;
    return (int)size;
}

static bool is_prime(int64_t n)
{
    for (int64_t d = 3; d * d <= n; d += 2)
        if (n % d == 0)
            return false;
    return n & 1;
}

/* ---- expressions -------------------------------------------------------------------------- */

typedef enum form { CONSTANT, PRODUCT, SUM } form;

/* CONSTANT: c. PRODUCT: c times sizes. SUM: c + factor[k] times sizes. */
typedef struct expression {
    form form;
    int64_t c;
    int n;
    int8_t size[4];
    int64_t factor[2];
} expression;

/* A literal: of integers an expression; of floats also its reciprocal, or any number. */
typedef enum literal_form { BITS, WHOLE, FRACTION } literal_form;

static int64_t limit_of(const fr__sizes *sizes)
{
    return sizes->n ? sizes->at[0] / 50 : INT64_MAX;
}

static bool product_of(const fr__sizes *sizes, int64_t v, expression *to)
{
    *to = (expression){.form = PRODUCT};
    for (int j = 0; v && j < sizes->n; j++)
        while (v % sizes->at[j] == 0) {
            if (to->n == (int)FR__COUNT(to->size))
                return false;
            to->size[to->n++] = (int8_t)j;
            v /= sizes->at[j];
        }
    to->c = v;
    return to->n > 0 && llabs(v) <= limit_of(sizes);
}

/* Few factors and small rests, so that hardly any other number looks like one. */
static bool sum_of(const fr__sizes *sizes, int64_t v, expression *to)
{
    enum { FACTOR = 4, REST = 64, FACTOR_OF_TWO = 2, REST_OF_TWO = 16 };
    for (int i = 0; i < sizes->n; i++)
        for (int64_t f = -FACTOR; f <= FACTOR; f++) {
            int64_t rest = v - f * sizes->at[i];
            if (f && llabs(rest) <= REST) {
                *to = (expression){SUM, rest, 1, {(int8_t)i}, {f, 0}};
                return true;
            }
        }
    for (int i = 0; i < sizes->n; i++)
        for (int j = 0; j < i; j++)
            for (int64_t f = -FACTOR_OF_TWO; f <= FACTOR_OF_TWO; f++)
                for (int64_t g = -FACTOR_OF_TWO; g <= FACTOR_OF_TWO; g++) {
                    int64_t rest = v - f * sizes->at[i] - g * sizes->at[j];
                    if (f && g && llabs(rest) <= REST_OF_TWO) {
                        *to = (expression){SUM, rest, 2, {(int8_t)i, (int8_t)j}, {f, g}};
                        return true;
                    }
                }
    return false;
}

/* What a number of the graph is in terms of the sizes. False: it can't be told. */
static bool told(const fr__sizes *sizes, int64_t v, expression *to)
{
    *to = (expression){.form = CONSTANT, .c = v};
    return llabs(v) <= limit_of(sizes) || product_of(sizes, v, to) || sum_of(sizes, v, to);
}

/* Numbers that programs have of themselves may not look like sizes. */
static bool usual_are_apart(const fr__sizes *sizes)
{
    static const int64_t others[] = {30522, 32000, 50257, 50304, 65504, 128256, 151936, 262144};
    expression e;
    bool apart = true;
    for (int k = 0; apart && k < (int)FR__COUNT(others); k++)
        apart = !told(sizes, others[k], &e) || e.form == CONSTANT;
    for (int k = 4; apart && k < 62; k++)
        for (int d = -1; apart && d <= 1; d++)
            apart = !told(sizes, (INT64_C(1) << k) + d, &e) || e.form == CONSTANT;
    for (int64_t ten = 100; apart && ten < INT64_C(1000000000000000); ten *= 10)
        for (int64_t k = 1; apart && k < 100; k++)
            apart = !told(sizes, k * ten, &e) || e.form == CONSTANT;
    return apart;
}

void fr__sizes_unusual(fr__sizes *sizes, int ndim)
{
    /* Arrays of that many dimensions must be addressable in bytes. */
    int64_t start = ndim <= 3 ? 400009 : ndim == 4 ? 12007 : ndim == 5 ? 2003 : 503;
    for (int tries = 0; tries < 20; tries++, start += start / 20) {
        int64_t at = start;
        for (int j = 0; j < sizes->n; j++, at += at / 7) {
            while (!is_prime(at))
                at++;
            sizes->at[j] = at;
        }
        if (usual_are_apart(sizes))
            return;
    }
}

bool fr__sizes_in(const fr__sizes *sizes, int ndim, const int64_t *shape)
{
    expression e;
    for (int d = 0; d < ndim; d++)
        if (!told(sizes, shape[d], &e) || e.form != CONSTANT)
            return true;
    return false;
}

static bool value_of(const expression *e, const fr__sizes *sizes, int64_t *to)
{
    *to = e->c;
    for (int k = 0; k < e->n; k++) {
        int64_t size = sizes->at[e->size[k]], part;
        if (e->form == PRODUCT) {
            if (__builtin_mul_overflow(*to, size, to))
                return false;
        } else if (__builtin_mul_overflow(size, e->factor[k], &part) ||
                   __builtin_add_overflow(*to, part, to)) {
            return false;
        }
    }
    return true;
}

/* ---- a graph of expressions ------------------------------------------------------------------ */

typedef struct symbol_node {
    uint8_t op, dtype, ndim, nin, npar;
    uint8_t literal; /* NUMBER: its form */
    int32_t in[FR__INPUTS];
    int32_t source;   /* leaves: as in a program */
    int64_t bits;     /* NUMBER: BITS */
    expression *dims; /* ndim, then npar of parameters; NUMBER: one, the literal's */
    int64_t *strides; /* of a captured leaf that isn't row-major; or NULL */
} symbol_node;

struct fr__symbolic {
    fr__arena arena;
    int nnodes, nouts, ncaptured;
    symbol_node *nodes;
    int32_t *outs;
    fr_array **captured;
};

void fr__symbolic_free(fr__symbolic *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->ncaptured; i++)
        fr__unref(s->captured[i]);
    fr__arena arena = s->arena;
    fr__free(s);
    fr__arena_free(&arena);
}

/* A number that somebody wrote, 1e-5 or 1e9, and not the root or the quotient of some size. */
static bool is_short(double v)
{
    char text[32];
    snprintf(text, sizeof text, "%.4g", v);
    double back = strtod(text, NULL);
    return back == v || (double)(float)back == v;
}

static bool told_number(const fr__sizes *sizes, int dtype, int64_t bits, symbol_node *to)
{
    to->bits = bits;
    to->literal = BITS;
    if (fr__dtypes[dtype].kind == FR__KIND_BOOL)
        return true;
    if (fr__dtypes[dtype].kind != FR__KIND_FLOAT) {
        to->literal = WHOLE;
        return told(sizes, bits, to->dims);
    }
    double v, limit = (double)limit_of(sizes);
    memcpy(&v, &bits, sizeof v);
    if (!isfinite(v) || v == 0)
        return true;
    /* Large or very small numbers that are whole, or one over a whole one, may be of sizes. */
    double back = nearbyint(1 / v);
    bool large = fabs(v) > limit || fabs(v) * limit < 1;
    if (!large || is_short(v))
        return true;
    if (v == nearbyint(v) && fabs(v) < 0x1p62 && told(sizes, (int64_t)v, to->dims))
        to->literal = WHOLE;
    else if (fabs(back) < 0x1p62 && 1 / back == v && told(sizes, (int64_t)back, to->dims))
        to->literal = FRACTION;
    if (to->literal != BITS && to->dims->form != CONSTANT)
        return true;
    return false;
}

/* Dimensions of what was captured are what they are, however large. */
static bool told_captured(const fr__trace *t, const fr__tnode *n, const fr__sizes *sizes,
                          symbol_node *to)
{
    const fr__leafref *leaf = &t->leaves.at[n->slot];
    for (int d = 0; d < n->ndim; d++) {
        to->dims[d] = (expression){.form = CONSTANT, .c = n->shape[d]};
        expression e;
        if (!told(sizes, n->shape[d], &e) || e.form == CONSTANT)
            continue;
        if (leaf->contiguous || leaf->strides[d]) /* a size of ours, repeated only */
            return false;
        to->dims[d] = e;
    }
    return true;
}

/* Operations whose result is told by the dimensions and parameters that stand at them, and of
 * which fits() knows what must hold. */
static bool is_known(int op)
{
    switch (op) {
    case FR__OP_LEAF:
    case FR__OP_PLACEHOLDER:
    case FR__OP_NUMBER:
    case FR__OP_IOTA:
    case FR__OP_RANDOM_BITS:
    case FR__OP_RESHAPE:
    case FR__OP_TRANSPOSE:
    case FR__OP_BROADCAST:
    case FR__OP_SLICE:
    case FR__OP_COPY:
    case FR__OP_FRESH:
    case FR__OP_PUT:
    case FR__OP_TAKE:
    case FR__OP_CONTRACT:
    case FR__OP_CAST: return true;
    default: return fr__ops[op].class == FR__ELEMENTWISE || fr__ops[op].class == FR__REDUCE;
    }
}

static bool told_node(const fr__trace *t, int i, const int32_t *source, const fr__sizes *sizes,
                      symbol_node *to)
{
    const fr__tnode *n = &t->nodes.at[i];
    to->op = n->op;
    to->dtype = n->dtype;
    to->ndim = n->ndim;
    to->nin = n->nin;
    to->npar = n->npar;
    for (int j = 0; j < n->nin; j++)
        to->in[j] = n->in[j];
    if (n->op == FR__OP_NUMBER)
        return told_number(sizes, n->dtype, n->slot >= 0 ? t->literals.at[n->slot] : n->par[0],
                           to);
    bool good = is_known(n->op);
    if (fr__is_leaf(n)) {
        to->source = source[n->slot];
        if (to->source < 0)
            return told_captured(t, n, sizes, to);
    } else if (!good) { /* the same for all sizes if it has nothing to do with them */
        return false;
    }
    for (int d = 0; good && d < n->ndim; d++)
        good = told(sizes, n->shape[d], &to->dims[d]);
    for (int k = 0; good && k < n->npar; k++)
        good = told(sizes, n->par[k], &to->dims[n->ndim + k]);
    return good;
}

fr__symbolic *fr__symbolic_new(const fr__trace *t, const int32_t *source,
                               fr_array *const *captured, int ncaptured,
                               const fr__sizes *unusual)
{
    fr__symbolic *s = fr__calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->nodes = fr__arena_zalloc(&s->arena, sizeof *s->nodes * (size_t)(t->nodes.n + 1));
    s->outs = fr__arena_alloc(&s->arena, sizeof *s->outs * (size_t)(t->outs.n + 1));
    s->captured = fr__arena_alloc(&s->arena, sizeof(fr_array *) * (size_t)(ncaptured + 1));
    bool good = s->nodes && s->outs && s->captured;
    for (int i = 0; good && i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        symbol_node *to = &s->nodes[s->nnodes++];
        to->dims =
            fr__arena_zalloc(&s->arena, sizeof *to->dims * (size_t)(n->ndim + n->npar + 1));
        good = to->dims && told_node(t, i, source, unusual, to);
        if (!good || !fr__is_leaf(n) || t->leaves.at[n->slot].contiguous)
            continue;
        size_t bytes = sizeof(int64_t) * n->ndim;
        to->strides = fr__arena_alloc(&s->arena, bytes);
        good = to->strides && to->source < 0;
        if (good)
            memcpy(to->strides, t->leaves.at[n->slot].strides, bytes);
    }
    for (int i = 0; good && i < t->outs.n; i++)
        s->outs[s->nouts++] = t->outs.at[i].node;
    for (int i = 0; good && i < ncaptured; i++)
        s->captured[s->ncaptured++] = fr__ref(captured[i]);
    if (good)
        return s;
    fr__symbolic_free(s);
    return NULL;
}

/* ---- with other sizes ------------------------------------------------------------------------- */

/* Whether elements start, start + step ... stay inside the dimension. */
static bool inside(int64_t start, int64_t step, int64_t count, int64_t dim)
{
    int64_t last;
    return count > 0 && start >= 0 && start < dim &&
           !__builtin_mul_overflow(step, count - 1, &last) &&
           !__builtin_add_overflow(last, start, &last) && last >= 0 && last < dim;
}

static bool slices(const fr__tnode *whole, const fr__tnode *part, const int64_t *par)
{
    bool good = whole->ndim == part->ndim;
    for (int d = 0; good && d < whole->ndim; d++)
        good = part->shape[d]
                   ? inside(par[d], par[whole->ndim + d], part->shape[d], whole->shape[d])
                   : true;
    return good;
}

static bool same_shape(const fr__tnode *a, const fr__tnode *b)
{
    return a->ndim == b->ndim &&
           !memcmp(a->shape, b->shape, sizeof *a->shape * (size_t)a->ndim);
}

static bool broadcasts(const fr__tnode *x, const fr__tnode *n)
{
    int skip = n->ndim - x->ndim;
    bool good = skip >= 0;
    for (int d = 0; good && d < x->ndim; d++)
        good = x->shape[d] == 1 || x->shape[d] == n->shape[skip + d];
    return good;
}

static bool reduces(const fr__tnode *x, const fr__tnode *n)
{
    int at = 0;
    for (int d = 0; d < x->ndim; d++)
        if (!(n->par[0] >> d & 1) && (at >= n->ndim || n->shape[at++] != x->shape[d]))
            return false;
    return at == n->ndim;
}

static bool takes(const fr__tnode *x, const fr__tnode *indices, const fr__tnode *n)
{
    int axis = (int)n->par[0], at = 0;
    bool good = axis >= 0 && axis < x->ndim && n->ndim == x->ndim - 1 + indices->ndim;
    for (int d = 0; good && d < axis; d++)
        good = n->shape[at++] == x->shape[d];
    for (int d = 0; good && d < indices->ndim; d++)
        good = n->shape[at++] == indices->shape[d];
    for (int d = axis + 1; good && d < x->ndim; d++)
        good = n->shape[at++] == x->shape[d];
    return good;
}

static bool contracts(const fr__tnode *a, const fr__tnode *b, const fr__tnode *n)
{
    int batch = (int)n->par[0], nk = (int)n->par[1], rows = a->ndim - batch - nk, at = 0;
    bool good =
        rows >= 0 && b->ndim >= batch + nk && n->ndim == batch + rows + b->ndim - batch - nk;
    for (int d = 0; good && d < batch + rows; d++)
        good = n->shape[at++] == a->shape[d];
    for (int d = 0; good && d < batch; d++)
        good = a->shape[d] == b->shape[d];
    for (int d = 0; good && d < nk; d++)
        good = a->shape[batch + rows + d] == b->shape[batch + d];
    for (int d = batch + nk; good && d < b->ndim; d++)
        good = n->shape[at++] == b->shape[d];
    return good;
}

/* What the constructors promise of a node. */
static bool fits(const fr__trace *t, const fr__tnode *n)
{
    const fr__tnode *x = n->nin > 0 ? &t->nodes.at[n->in[0]] : NULL,
                    *y = n->nin > 1 ? &t->nodes.at[n->in[1]] : NULL;
    bool good = true;
    switch (n->op) {
    case FR__OP_RESHAPE: return n->size == x->size;
    case FR__OP_TRANSPOSE:
        for (int d = 0; good && d < n->ndim; d++)
            good = n->shape[d] == x->shape[n->par[d]];
        return good;
    case FR__OP_BROADCAST: return broadcasts(x, n);
    case FR__OP_SLICE: return slices(x, n, n->par);
    case FR__OP_PUT: return slices(n, x, n->par) && (!y || same_shape(n, y));
    case FR__OP_TAKE: return takes(x, y, n);
    case FR__OP_CONTRACT: return contracts(x, y, n);
    case FR__OP_COPY:
    case FR__OP_FRESH:
    case FR__OP_CAST: return same_shape(x, n);
    default: break;
    }
    if (fr__ops[n->op].class == FR__REDUCE)
        return reduces(x, n);
    for (int j = 0; good && fr__ops[n->op].class == FR__ELEMENTWISE && j < n->nin; j++) {
        const fr__tnode *in = &t->nodes.at[n->in[j]];
        good = in->op == FR__OP_NUMBER || same_shape(in, n);
    }
    return good;
}

static bool literal_bits(const symbol_node *n, const fr__sizes *sizes, int64_t *bits)
{
    int64_t whole;
    *bits = n->bits;
    if (n->literal == BITS)
        return true;
    if (!value_of(n->dims, sizes, &whole) || (n->literal == FRACTION && !whole))
        return false;
    *bits = whole;
    if (fr__dtypes[n->dtype].kind == FR__KIND_FLOAT) {
        double v = n->literal == FRACTION ? 1 / (double)whole : (double)whole;
        memcpy(bits, &v, sizeof v);
    }
    return true;
}

/* A captured array; where it is repeated along sizes of ours, by other strides. */
static int add_captured(const symbol_node *n, fr__trace *t, const int64_t *dims, fr_array *x,
                        fr_array **captured)
{
    bool same = !memcmp(dims, x->dims, sizeof *dims * n->ndim);
    fr_array *view = NULL;
    if (same)
        view = fr__ref(x);
    else if ((view = fr__leaf(x->buf ? fr__buffer_keep(x->buf) : NULL,
                              x->buf ? (size_t)(x->data - (char *)x->buf->data) : 0, x->dtype,
                              x->ndim, dims, fr__strides(x)))) {
        fr_own(view);
        fr__ref(view);
        fr_free(view);
    }
    if (!view)
        return -1;
    captured[-1 - n->source] = view;
    return fr__capture_leaf(t, FR__OP_LEAF, x->dtype, n->ndim, dims,
                            fr__is_contiguous(n->ndim, dims, fr__strides(x)) ? NULL
                                                                             : fr__strides(x));
}

static int add(const fr__symbolic *s, int i, const fr__sizes *sizes, fr__trace *t,
               fr_array **captured)
{
    const symbol_node *n = &s->nodes[i];
    int64_t dims[FR_MAX_NDIM] = {0}, par[3 * FR_MAX_NDIM + 2];
    if (n->op == FR__OP_NUMBER) {
        if (!literal_bits(n, sizes, par))
            return 1;
        return fr__capture_node(t, n->op, n->dtype, n->ndim, dims, 0, NULL, 1, par) < 0 ? -1
                                                                                        : 0;
    }
    if (n->npar > (int)FR__COUNT(par))
        return 1;
    for (int d = 0; d < n->ndim; d++)
        if (!value_of(&n->dims[d], sizes, &dims[d]) || dims[d] < 0 ||
            (n->dims[d].form != CONSTANT && dims[d] < 2))
            return 1;
    for (int k = 0; k < n->npar; k++)
        if (!value_of(&n->dims[n->ndim + k], sizes, &par[k]))
            return 1;
    if (n->op == FR__OP_LEAF || n->op == FR__OP_PLACEHOLDER) {
        int at = n->source >= 0
                     ? fr__capture_leaf(t, FR__OP_PLACEHOLDER, n->dtype, n->ndim, dims, NULL)
                     : add_captured(n, t, dims, s->captured[-1 - n->source], captured);
        return at < 0 ? -1 : 0;
    }
    int at = fr__capture_node(t, n->op, n->dtype, n->ndim, dims, n->nin, n->in, n->npar, par);
    if (at < 0)
        return -1;
    return fits(t, &t->nodes.at[at]) ? 0 : 1;
}

int fr__symbolic_trace(const fr__symbolic *s, const fr__sizes *sizes, fr__trace *t,
                       fr_array **captured)
{
    int status = 0;
    for (int i = 0; !status && i < s->nnodes; i++)
        status = add(s, i, sizes, t, captured);
    for (int i = 0; !status && i < s->nouts; i++)
        status = fr__capture_output(t, s->outs[i]);
    t->passed = FR__PASS_CAPTURE;
    return status;
}

void fr__symbolic_leaves(const fr__symbolic *s, int32_t *source)
{
    for (int i = 0, n = 0; i < s->nnodes; i++)
        if (s->nodes[i].op == FR__OP_LEAF || s->nodes[i].op == FR__OP_PLACEHOLDER)
            source[n++] = s->nodes[i].source;
}

int fr__symbolic_captured(const fr__symbolic *s) { return s->ncaptured; }
