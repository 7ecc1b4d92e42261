/* rules.c - derivatives: of the table's rows as they stand there, of structural operations here
 *
 * needs   a node, its inputs, the cotangent of its value; an open scope
 * gives   the cotangents of its inputs, as nodes made by public constructors, so that they can be
 *         differentiated, batched, traced and fused like any other
 *
 * Broadcasting is a node of its own: that operands of different shapes met is undone there only.
 */
#include "xform/rules.h"

#include "core/scope.h"
#include "core/tape.h"
#include "op/attention.h"
#include "op/correlate.h"
#include "xform/custom.h"

/* ---- views and copies ---------------------------------------------------------------- */

static fr_array *like(fr_array *x, const fr_array *shape)
{
    return fr_reshape(x, shape->dims, shape->ndim);
}

/* The sum over what BROADCAST repeated. */
static fr_array *sum_repeated(fr_array *g, const fr_array *to)
{
    int axes[FR_MAX_NDIM], n = 0;
    for (int d = 0; d < g->ndim; d++) {
        int from = d - (g->ndim - to->ndim);
        if (from < 0 || (to->dims[from] == 1 && g->dims[d] != 1))
            axes[n++] = d;
    }
    if (n)
        g = fr_sum(g, &(fr_reduce_options){.axes = axes, .naxes = n});
    return g ? like(g, to) : NULL;
}

static fr_array *untransposed(const fr_array *y, fr_array *g)
{
    int axes[FR_MAX_NDIM];
    for (int d = 0; d < y->ndim; d++)
        axes[y->par[d]] = d;
    return fr_transpose(g, axes, y->ndim);
}

/* Zeros of x's shape, with g where y was taken from. */
static fr_array *unsliced(const fr_array *y, fr_array *g, const fr_array *x)
{
    fr_array *zeros = fr_zeros(x->dims, x->ndim, (fr_dtype)x->dtype);
    return fr_slice_update(zeros, g, y->par, y->par + y->ndim, y->dims);
}

/* To x[l] goes the sum over j of g[i, j] where step i + dilation j = l. Each j's line is written, with
 * zeros between and after, into a row of n + dilation; read in rows of n, what lies in one row l
 * belongs to l. */
static fr_array *unwindowed(const fr_array *y, fr_array *g, const fr_array *x)
{
    int a = (int)y->par[0], axes[FR_MAX_NDIM], ndim = y->ndim;
    int64_t n = x->dims[a], k = y->dims[a + 1], step[FR_MAX_NDIM];
    int64_t start[FR_MAX_NDIM] = {0}, shape[FR_MAX_NDIM], count[FR_MAX_NDIM];
    for (int d = 0; d < ndim; d++) {
        axes[d] = d == a ? a + 1 : d == a + 1 ? a : d;
        step[d] = 1;
        shape[d] = count[d] = y->dims[axes[d]];
    }
    shape[a + 1] = n + y->par[2];
    step[a + 1] = y->par[1];
    fr_array *rows = fr_zeros(shape, ndim, (fr_dtype)x->dtype);
    rows = fr_slice_update(rows, fr_transpose(g, axes, ndim), start, step, count);
    int64_t flat[FR_MAX_NDIM];
    for (int d = 0; d < x->ndim; d++) {
        flat[d] = x->dims[d];
        step[d] = 1;
    }
    flat[a] = k * shape[a + 1];
    rows = fr_reshape(rows, flat, x->ndim);
    flat[a] = k * n;
    rows = fr_slice(rows, start, step, flat);
    shape[a + 1] = n;
    fr_reduce_options over = {.axes = &a, .naxes = 1};
    return fr_sum(fr_reshape(rows, shape, ndim), &over);
}

/* y: in[0] written over a part of in[1]. Parts of a concatenation don't overlap: what is below
 * another takes its part of the same g. */
static void put_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need, fr_array **to)
{
    const int64_t *start = y->par, *step = y->par + y->ndim;
    if (need & 1)
        to[0] = fr_slice(g, start, step, in[0]->dims);
    if (!(need & 2))
        return;
    bool joined = in[1]->op == FR__OP_PUT;
    fr_array *zero = joined ? NULL : fr__number(0, y->dtype);
    to[1] = joined ? g : fr_slice_update(g, zero, start, step, in[0]->dims);
}

/* ---- gathering ------------------------------------------------------------------------ */

/* Indices as fr_take reads them: from the end below 0, the nearest beyond either end. */
fr_array *fr__in_range(fr_array *indices, int64_t n)
{
    fr_array *i = fr_astype(indices, FR_INT64);
    i = fr_where(fr_lt(i, 0), fr_add(i, (long long)n), i);
    return fr_minimum(fr_maximum(i, 0), (long long)(n - 1));
}

/* ---- products of matrices -------------------------------------------------------------- */

/* x [batch, p, q] as [batch, q, p], where p has np dimensions. */
static fr_array *turned(fr_array *x, int nbatch, int np)
{
    int axes[FR_MAX_NDIM], nq = x->ndim - nbatch - np;
    for (int d = 0; d < x->ndim; d++)
        axes[d] = fr__turned(d, nbatch, np, nq);
    return fr_transpose(x, axes, x->ndim);
}

static void contract_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                         fr_array **to)
{
    int nbatch = (int)y->par[0], nk = (int)y->par[1];
    int rows = in[0]->ndim - nbatch - nk, columns = in[1]->ndim - nbatch - nk;
    if (need & 1) {
        fr_array *b = turned(in[1], nbatch, nk);
        to[0] = b ? fr__contract(g, b, nbatch, columns) : NULL;
    }
    if (need & 2) {
        fr_array *a = turned(in[0], nbatch, rows);
        to[1] = a ? fr__contract(a, g, nbatch, rows) : NULL;
    }
}

/* ---- convolutions ------------------------------------------------------------------------ */

/* A filter [groups * p, taps, q] as [groups * q, taps, p]. */
static fr_array *swapped(fr_array *w, int64_t groups)
{
    fr_array *y = fr_unflatten(w, 0, (int64_t[]){groups, w->dims[0] / groups}, 2);
    y = y ? fr_swapaxes(y, 1, -1) : NULL;
    return y ? fr_flatten(y, 0, 1) : NULL;
}

/* x's gradient: windows again, the flipped one over g, spread by the stride. */
static fr_array *input_grad(fr_array *x, fr_array *filter, fr_array *g, const fr__window *w)
{
    int n = x->ndim - 2;
    fr__window back = *w;
    int64_t low[FR__WINDOW_AXES], high[FR__WINDOW_AXES], start[FR_MAX_NDIM] = {0},
                                                         step[FR_MAX_NDIM] = {1};
    step[n + 1] = 1;
    for (int d = 0; d < n; d++) {
        int64_t taps = filter->dims[d + 1];
        low[d] = (taps - 1) * w->dilation[d];
        high[d] = x->dims[d + 1] - (g->dims[d + 1] - 1) * w->stride[d] - 1;
        back.stride[d] = 1;
        start[d + 1] = taps - 1;
        step[d + 1] = -1;
    }
    fr_array *turned = fr_slice(filter, start, step, filter->dims);
    turned = turned ? swapped(turned, w->groups) : NULL;
    fr_array *spread = fr__spread(g, w->stride, low, high);
    return turned && spread ? fr__correlate(spread, turned, &back) : NULL;
}

static void conv_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                     fr_array **to)
{
    fr__window w = fr__window_of(y);
    if (need & 1)
        to[0] = input_grad(in[0], in[1], g, &w);
    if (need & 2)
        to[1] = fr__correlate_filter(in[0], g, in[1]->dims + 1, &w);
}

/* <filter, gradient of filter> = <convolution, gradient of the result>: linear in three, g being a filter. */
static void conv_filter_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                            fr_array **to)
{
    fr__window w = fr__window_of(y);
    if (need & 1)
        to[0] = input_grad(in[0], g, in[1], &w);
    if (need & 2) {
        fr_array *x = fr__reached(in[0], g->dims + 1, in[1]->dims + 1, &w);
        to[1] = x ? fr__correlate(x, g, &w) : NULL;
    }
}

/* ---- attention -------------------------------------------------------------------------- */

/* Parts of x, a row, of the arrays' sizes and shapes. */
static void taken_apart(fr_array *x, int n, fr_array *const *like_these, fr_array **to)
{
    int64_t start = 0, step = 1;
    for (int i = 0; i < n; i++) {
        fr_array *part = fr_slice(x, &start, &step, &like_these[i]->size);
        to[i] = part ? like(part, like_these[i]) : NULL;
        start += like_these[i]->size;
    }
}

static int attend(void *form, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_out;
    out[0] = fr__attention_composed(in, n_in, *(fr__attention_form *)form);
    return out[0] ? 0 : -1;
}

static int attention_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                         fr_array **to)
{
    fr__attention_form form = fr__attention_of(y);
    fr_array *out;
    if (need & 8) /* of the mask, too: by its composition */
        return fr_vjp(attend, &form, y->nin, in, 1, &g, &out, to);
    fr_array *all = fr__attention_gradients(in, y->nin, y, g, form);
    if (all)
        taken_apart(all, 3, in, to);
    return 0;
}

/* in: q, k, v, the cotangent, a mask or none; out: their gradients in one row. */
static int attend_grad(void *form, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *of[4] = {in[0], in[1], in[2], n_in > 4 ? in[4] : NULL}, *y, *grads[4];
    (void)n_out;
    if (fr_vjp(attend, form, n_in - 1, of, 1, &in[3], &y, grads))
        return -1;
    for (int i = 0; i < 3; i++)
        grads[i] = fr_reshape(grads[i], &of[i]->size, 1);
    out[0] = fr__failed() ? NULL : fr_concatenate(3, grads, 0);
    return out[0] ? 0 : -1;
}

/* The result among its inputs counts as part of what it was made of. */
static int attention_grad_vjp(fr_array *y, fr_array *g, fr_array *const *in, fr_array **to)
{
    fr__attention_form form = fr__attention_of(y);
    fr_array *of[5] = {in[0], in[1], in[2], in[4], y->nin > 5 ? in[5] : NULL}, *out, *grads[5];
    int n = y->nin > 5 ? 5 : 4;
    if (fr_vjp(attend_grad, &form, n, of, 1, &g, &out, grads))
        return -1;
    for (int i = 0; i < 3; i++)
        to[i] = grads[i];
    to[4] = grads[3];
    if (n > 4)
        to[5] = of[4]->dtype == FR_BOOL ? NULL : grads[4];
    return 0;
}

/* ---- sorting -------------------------------------------------------------------------- */

/* Rows of g, each element put back to the index it came from. */
static fr_array *order_vjp(fr_array *g, fr_array *order)
{
    fr_array *place = order ? fr__sort(order, true) : NULL; /* of each index: where it went */
    if (!place)
        return NULL;
    int64_t rows = g->dims[0], n = g->dims[1];
    fr_array *first = fr_arange(0, (double)rows, 1, FR_INT64);
    first = fr_mul(fr_reshape(first, (int64_t[]){rows, 1}, 2), (long long)n);
    return fr_take(fr_reshape(g, &g->size, 1), fr_add(fr_astype(place, FR_INT64), first), 0);
}

static fr_array *select_vjp(fr_array *y, fr_array *g, fr_array *x)
{
    fr_array *whole = fr_pad(g, (int64_t[]){0, y->par[2]}, (int64_t[]){0, 0}, NULL);
    return whole ? order_vjp(whole, fr__select(x, true, y->par[1], 0)) : NULL;
}

/* ---- reductions ----------------------------------------------------------------------- */

/* x moved by `by` along an axis, `fill` where nothing came. */
static fr_array *shifted(fr_array *x, int axis, int64_t by, int fill)
{
    if (!x || x->dims[axis] == 0)
        return x;
    int64_t n = x->dims[axis], size = by < 0 ? -by : by;
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    int64_t before[FR_MAX_NDIM] = {0}, after[FR_MAX_NDIM] = {0};
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = x->dims[d];
    }
    size = size > n ? n : size;
    count[axis] = n - size;
    start[axis] = by < 0 ? size : 0;
    (by < 0 ? after : before)[axis] = size;
    fr_array *kept = fr_slice(x, start, step, count);
    return fr_pad(kept, before, after, fr__number(fill, x->dtype));
}

/* The product of all before (way 1) or after (-1) each element of the last axis. */
static fr_array *product_beside(fr_array *x, int way)
{
    int last = x ? x->ndim - 1 : 0;
    fr_array *p = shifted(x, last, way, 1);
    for (int64_t by = 1; p && by < p->dims[last]; by *= 2)
        p = fr_mul(p, shifted(p, last, way * by, 1));
    return p;
}

/* To each element of a the product of all others over the axes in mask: right where some are 0,
 * in higher derivatives too. */
static fr_array *product_of_others(fr_array *a, int64_t mask)
{
    int order[FR_MAX_NDIM], back[FR_MAX_NDIM], n = 0;
    int64_t shape[FR_MAX_NDIM], whole[FR_MAX_NDIM], count = 1;
    int kept = 0;
    for (int d = 0; d < a->ndim; d++)
        if (!(mask >> d & 1)) {
            order[n++] = d;
            shape[kept++] = a->dims[d];
        }
    for (int d = 0; d < a->ndim; d++)
        if (mask >> d & 1) {
            order[n++] = d;
            count *= a->dims[d];
        }
    for (int d = 0; d < a->ndim; d++) {
        back[order[d]] = d;
        whole[d] = a->dims[order[d]];
    }
    shape[kept] = count;
    fr_array *x = fr_reshape(fr_transpose(a, order, a->ndim), shape, kept + 1);
    x = fr_mul(product_beside(x, 1), product_beside(x, -1));
    return fr_transpose(fr_reshape(x, whole, a->ndim), back, a->ndim);
}

/* How many are true over the axes in mask, which stay as axes of size 1. */
static fr_array *count_true(fr_array *x, int64_t mask, int dtype)
{
    int axes[FR_MAX_NDIM], n = 0;
    for (int d = 0; x && d < x->ndim; d++)
        if (mask >> d & 1)
            axes[n++] = d;
    return fr_sum(fr_astype(x, (fr_dtype)dtype),
                  &(fr_reduce_options){.axes = axes, .naxes = n, .keepdims = true});
}

/* ---- scans: [outer, n, inner] along axis 1; g of inclusive ones ------------------------------ */

/* The product of those before each element, times the sum of what each later place's cotangent is
 * with the factors in between: S[j] = g[j] + x[j + 1] S[j + 1]. Nothing is divided by, so that it
 * holds where factors are 0, in higher derivatives too. By doubling: each pass takes together what
 * stands twice as far. */
static fr_array *product_scan_vjp(fr_array *g, fr_array *x, bool reverse)
{
    int dtype = x->dtype, way = reverse ? 1 : -1;
    int in = dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 ? FR_FLOAT32 : dtype;
    x = fr_astype(x, (fr_dtype)in);
    fr_array *sum = fr_astype(g, (fr_dtype)in), *factor = shifted(x, 1, way, 0);
    fr_array *before = x ? fr__scan(x, FR__SCAN_PROD, reverse, true) : NULL;
    for (int64_t by = 1; sum && by < sum->dims[1]; by *= 2) {
        sum = fr_add(sum, fr_mul(factor, shifted(sum, 1, way * by, 0)));
        factor = fr_mul(factor, shifted(factor, 1, way * by, 0));
    }
    return fr_astype(fr_mul(before, sum), (fr_dtype)dtype);
}

/* To the first element that is the extreme so far, of each place. NaN is once it has come. */
static fr_array *extreme_scan_vjp(fr_array *g, fr_array *x, int kind, bool reverse)
{
    fr_array *so_far = fr__scan(x, kind, reverse, true);
    if (!so_far)
        return NULL;
    fr_array *better = kind == FR__SCAN_MAX ? fr_gt(x, so_far) : fr_lt(x, so_far);
    better =
        fr_logical_or(better, fr_logical_and(fr_isnan(x), fr_logical_not(fr_isnan(so_far))));
    int64_t n = x->dims[1], first = reverse && n ? n - 1 : 0;
    fr_array *place = fr_reshape(fr_arange(0, (double)n, 1, FR_INT64), (int64_t[]){1, n, 1}, 3);
    place = fr_where(better, place, (long long)first);
    place =
        place ? fr__scan(place, reverse ? FR__SCAN_MIN : FR__SCAN_MAX, reverse, false) : NULL;
    fr_array *none = fr_zeros(x->dims, 3, (fr_dtype)g->dtype);
    return place && none ? fr__scatter(none, place, g, FR_SCATTER_ADD) : NULL;
}

static int scan_vjp(fr_array *y, fr_array *g, fr_array *x, fr_array **to)
{
    int kind = (int)y->par[0];
    bool reverse = y->par[1], exclusive = y->par[2];
    switch (kind) {
    case FR__SCAN_SUM: to[0] = fr__scan(g, FR__SCAN_SUM, !reverse, exclusive); return 0;
    case FR__SCAN_LOG_SUM_EXP: /* sum of g e^(x - y) over what x is part of, by sign of g */
        if (x->dtype == FR_COMPLEX64)
            return fr__fail_int(FR__E_VALUE,
                                "grad: no derivative of logcumsumexp of complex64");
        for (int negative = 0; negative < 2; negative++) {
            fr_array *part = fr_log(fr_maximum(negative ? fr_neg(g) : g, 0));
            fr_array *sum =
                fr__scan(fr_sub(part, y), FR__SCAN_LOG_SUM_EXP, !reverse, exclusive);
            sum = fr_exp(fr_add(x, sum));
            to[0] = negative ? fr_sub(to[0], sum) : sum;
        }
        return 0;
    default:
        if (exclusive) /* the inclusive one of a place is the next one's; the last is nobody's */
            g = shifted(g, 1, reverse ? 1 : -1, 0);
        if (g)
            to[0] = kind == FR__SCAN_PROD ? product_scan_vjp(g, x, reverse)
                                          : extreme_scan_vjp(g, x, kind, reverse);
        return 0;
    }
}

/* ---- the table's rows -------------------------------------------------------------------- */

#define NONE NULL
#define ZERO NULL
#define ADD(x, y) fr_add(x, y)
#define SUB(x, y) fr_sub(x, y)
#define MUL(x, y) fr_mul(x, y)
#define DIV(x, y) fr_div(x, y)
#define POW(x, y) fr_pow(x, y)
#define FLOOR_DIVIDE(x, y) fr_floor_divide(x, y)
#define WHERE(x, y, z) fr_where(x, y, z)
#define EQ(x, y) fr_eq(x, y)
#define GT(x, y) fr_gt(x, y)
#define LT(x, y) fr_lt(x, y)
#define NEG(x) fr_neg(x)
#define SIGN(x) fr_sign(x)
#define SQUARE(x) fr_square(x)
#define RSQRT(x) fr_rsqrt(x)
#define EXP(x) fr_exp(x)
#define LOG(x) fr_log(x)
#define SIN(x) fr_sin(x)
#define COS(x) fr_cos(x)
#define SINH(x) fr_sinh(x)
#define COSH(x) fr_cosh(x)
#define COMPLEX(x, y) fr_complex(x, y)
#define REAL(x) fr_real(x)
#define IMAG(x) fr_imag(x)

static void elementwise_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                            fr_array **to)
{
    fr_array *a = in[0], *b = y->nin > 1 ? in[1] : NULL, *c = y->nin > 2 ? in[2] : NULL;
    (void)c;
    switch (y->op) {
#define UNARY(name, py, rule, traits, form, da, text)                                          \
    case FR__OP_##name:                                                                        \
        to[0] = da;                                                                            \
        break;
#define BINARY(name, py, rule, traits, form, da, db, text)                                     \
    case FR__OP_##name:                                                                        \
        to[0] = need & 1 ? da : NULL;                                                          \
        to[1] = need & 2 ? db : NULL;                                                          \
        break;
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)                                \
    case FR__OP_##name:                                                                        \
        to[0] = need & 1 ? da : NULL;                                                          \
        to[1] = need & 2 ? db : NULL;                                                          \
        to[2] = need & 4 ? dc : NULL;                                                          \
        break;
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    }
}

/* In a row of a reduction g and y have the reduced axes, of size 1. */
#define COUNT(x) count_true(x, mask, g->dtype)
#define OTHERS(x) product_of_others(x, mask)
#define BROADCAST(x) fr_broadcast_to(x, a->dims, a->ndim)

static fr_array *reduce_vjp(fr_array *reduced, fr_array *cotangent, fr_array *a)
{
    int64_t mask = reduced->par[0], shape[FR_MAX_NDIM];
    for (int d = 0; d < a->ndim; d++)
        shape[d] = mask >> d & 1 ? 1 : a->dims[d];
    fr_array *y = fr_reshape(reduced, shape, a->ndim);
    fr_array *g = fr_reshape(cotangent, shape, a->ndim);
    if (!y || !g)
        return NULL;
    switch (reduced->op) {
#define UNARY(name, py, rule, traits, form, da, text)
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)                                      \
    case FR__OP_REDUCE_##name:                                                                 \
        return da;
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    default: return NULL;
    }
}

/* ---- which, and all ------------------------------------------------------------------------ */

static bool is_whole(const fr_array *x) { return fr__dtypes[x->dtype].kind < FR__KIND_FLOAT; }

static uint64_t differentiable(const fr_array *x, bool forward)
{
    if (!fr__is_taped(x) || x->dtype == FR_BOOL)
        return 0;
    const fr__custom *c;
    switch (x->op) {
    case FR__OP_STOP:
    case FR__OP_RANDOM_BITS: return 0;
    case FR__OP_SEARCH: return 0;
    case FR__OP_SORT:
    case FR__OP_SELECT: return x->par[0] ? 0 : 1; /* indices */
    case FR__OP_AGAIN:
    case FR__OP_TAKE: return 1;
    case FR__OP_SCATTER: return 5;
    case FR__OP_where: return 6;
    case FR__OP_CUSTOM: /* its rules, or the function itself */
        c = fr__custom_of(x);
        return (forward ? c->rules.jvp != NULL : c->rules.vjp || c->rules.again) ? 2 : 1;
    case FR__OP_BUNDLE: /* results come last: what they depend on counts for `again` only */
        c = fr__custom_of(x);
        return !c || (!forward && c->rules.again) ? ~(uint64_t)0
                                                  : ((uint64_t)1 << (x->nin - 1)) - 1;
    default: return ~(uint64_t)0;
    }
}

uint64_t fr__differentiable(const fr_array *x) { return differentiable(x, false); }
uint64_t fr__differentiable_forward(const fr_array *x) { return differentiable(x, true); }

static int structural_vjp(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need,
                          fr_array **to)
{
    switch (y->op) {
    case FR__OP_RESHAPE: to[0] = like(g, in[0]); return 0;
    case FR__OP_TRANSPOSE: to[0] = untransposed(y, g); return 0;
    case FR__OP_BROADCAST: to[0] = sum_repeated(g, in[0]); return 0;
    case FR__OP_SLICE: to[0] = unsliced(y, g, in[0]); return 0;
    case FR__OP_WINDOWS: to[0] = unwindowed(y, g, in[0]); return 0;
    case FR__OP_COPY:
    case FR__OP_FRESH:
    case FR__OP_AGAIN:
    case FR__OP_CUSTOM:
    case FR__OP_ALIAS: to[0] = g; return 0;
    case FR__OP_PUT: put_vjp(y, g, in, need, to); return 0;
    case FR__OP_TAKE: to[0] = fr__take_vjp(y, g, in[0], in[1]); return 0;
    case FR__OP_SCATTER: fr__scatter_vjp(y, g, in, to); return 0;
    case FR__OP_CONTRACT: contract_vjp(y, g, in, need, to); return 0;
    case FR__OP_CONV: conv_vjp(y, g, in, need, to); return 0;
    case FR__OP_CONV_FILTER: conv_filter_vjp(y, g, in, need, to); return 0;
    case FR__OP_ATTENTION: return attention_vjp(y, g, in, need, to);
    case FR__OP_ATTENTION_GRAD: return attention_grad_vjp(y, g, in, to);
    case FR__OP_REINTERPRET: to[0] = NULL; return 0;
    case FR__OP_SCAN: return scan_vjp(y, g, in[0], to);
    case FR__OP_SORT: to[0] = order_vjp(g, fr__sort(in[0], true)); return 0;
    case FR__OP_SELECT: to[0] = select_vjp(y, g, in[0]); return 0;
    case FR__OP_CAST: /* what is cut off has no derivative */
        to[0] = is_whole(y) && !is_whole(in[0]) ? NULL : fr_astype(g, (fr_dtype)in[0]->dtype);
        return 0;
    default:
        return fr__fail_int(FR__E_VALUE, "grad: %s has no derivative", fr__ops[y->op].name);
    }
}

int fr__vjp_rule(fr_array *y, fr_array *g, fr_array *const *in, uint64_t need, fr_array **to)
{
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (fr__ops[y->op].class == FR__ELEMENTWISE)
        elementwise_vjp(y, g, in, need, to);
    else if (fr__ops[y->op].class == FR__REDUCE)
        to[0] = reduce_vjp(y, g, in[0]);
    else if (structural_vjp(y, g, in, need, to))
        return -1;
    for (int i = 0; i < y->nin; i++) {
        if (!(need >> i & 1) || !to[i])
            continue;
        if (to[i]->dtype != in[i]->dtype || fr__flag(to[i], FR__WEAK))
            to[i] = fr_astype(to[i], (fr_dtype)in[i]->dtype);
        if (to[i] && (to[i]->ndim != in[i]->ndim ||
                      memcmp(to[i]->dims, in[i]->dims, sizeof(int64_t) * in[i]->ndim)))
            return fr__fail_int(FR__E_INTERNAL, "grad: %s gave a cotangent %s for %s",
                                fr__ops[y->op].name, fr__shape_text(to[i], have),
                                fr__shape_text(in[i], want));
    }
    return fr__failed() ? -1 : 0;
}
