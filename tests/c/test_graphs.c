/* test_graphs.c - random graphs, evaluated in every way that there is
 *
 *   test_graphs [--count=N] [--seed=S] [--verbose] [--show]    2000 graphs from seed 1 on
 *   test_graphs --count=1000000 --seed=1000000                 a night's work
 *
 * A graph is a recipe: nodes that name earlier ones. Each is evaluated node by node in the
 * interpreter (the reference), then whole: fused as machine code, fused in the interpreter, with
 * fusion off, and as a compiled function. The two tiers must agree bit for bit; the others within a
 * bound that is carried along the graph: 0 (equal) unless rounding is on the way (floats summed in
 * another order, float16 kept or not kept between two operations).
 * What fails is made smaller before it is shown.
 */
#include "graph_moves.h"
#include "values.h"

#include "op/op.h"
#include "run/plan.h"

#include <signal.h>
#include <unistd.h>

enum { NODES = 24, OUTS = 6, RANK = 4, ROOM = 20000 };

typedef enum kind {
    LEAF,
    LITERAL,
    KEYED,
    COUNTED, /* data; a number; random numbers; 0, 1, 2 ... */
    ELEMENT,
    CAST,
    RESHAPE,
    TRANSPOSE,
    BROADCAST,
    SLICE,
    COPY,
    REDUCE,
    COMPOSED,
    JOIN,    /* two arrays one after the other, along axis op */
    UPDATE,  /* the largest of another array over a slice */
    GATHER,  /* elements ..., -1, 1, 3 ... along axis op; some out of range */
    MOVE,    /* graph_moves.h's number op along axis start[0] */
    PRODUCT, /* of matrices; of one and its transpose if by[0] */
} kind;

typedef struct step { /* one node; what is made of it in the reference stands below */
    kind kind;
    int op, in[3], dtype, ndim;
    int64_t shape[RANK], start[RANK], by[RANK];
    unsigned mask;
    bool keepdims, dead;
    double literal;
    uint64_t seed;
    void *data; /* LEAF */

    fr_array *value;
    double most, error, fed; /* largest magnitude; bound of the difference kept; and inside */
    bool whole;              /* whole numbers only */
} step;

typedef struct recipe {
    uint64_t seed;
    int n, nouts, outs[OUTS];
    step steps[NODES];
} recipe;

static const char *const composed_name[] = {"mean", "var", "softmax", "logsumexp"};
static fr_array *(*const composed[])(fr_array *, const fr_reduce_options *) = {
    fr_mean, fr_var, fr_softmax, fr_logsumexp};

static fr_array *reduction(int op, fr_array *x, const fr_reduce_options *o)
{
    switch (op) {
#define UNARY(name, py, rule, traits, form, da, text)
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)                                      \
    case FR__OP_REDUCE_##name:                                                                 \
        return fr_##name(x, o);
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    default: return NULL;
    }
}

static bool is_source(const step *s) { return s->kind <= COUNTED; }
static int operands(const step *s)
{
    return is_source(s)                                                 ? 0
           : s->kind == ELEMENT                                         ? fr__ops[s->op].nin
           : s->kind == JOIN || s->kind == UPDATE || s->kind == PRODUCT ? 2
                                                                        : 1;
}

/* ---- a node from its operands ------------------------------------------------------------- */

static fr_array *make(const step *s, fr_array *const *in)
{
    int axes[RANK], naxes = 0;
    for (int i = 0; i < RANK; i++)
        if (s->mask >> i & 1)
            axes[naxes++] = i;
    fr_reduce_options o = {.axes = axes, .naxes = naxes, .keepdims = s->keepdims};
    fr_array *x = in ? in[0] : NULL;
    switch (s->kind) {
    case LEAF: return fr_from_data(s->data, (fr_dtype)s->dtype, s->shape, s->ndim);
    case LITERAL:
        return s->dtype == FR_FLOAT32 ? fr_number(s->literal)
               : s->dtype == FR_BOOL  ? fr_number_bool(s->literal != 0)
                                      : fr_number_int((int64_t)s->literal);
    case KEYED: {
        fr_array *key = fr_random_key(s->seed);
        return s->op == 0   ? fr_random_bits(s->shape, s->ndim, key)
               : s->op == 1 ? fr_random_uniform(s->shape, s->ndim, (fr_dtype)s->dtype, key)
                            : fr_random_normal(s->shape, s->ndim, (fr_dtype)s->dtype, key);
    }
    case COUNTED:
        return fr_arange(s->literal, s->literal + (double)s->shape[0], 1, (fr_dtype)s->dtype);
    case ELEMENT: return fr__elementwise(s->op, operands(s), in);
    case CAST: return fr_astype(x, (fr_dtype)s->dtype);
    case RESHAPE: return fr_reshape(x, s->shape, s->ndim);
    case TRANSPOSE: {
        int to[RANK];
        for (int i = 0; i < s->ndim; i++)
            to[i] = (int)s->start[i];
        return fr_transpose(x, to, s->ndim);
    }
    case BROADCAST: return fr_broadcast_to(x, s->shape, s->ndim);
    case SLICE: return fr_slice(x, s->start, s->by, s->shape);
    case COPY: return fr_contiguous(x);
    case REDUCE: return reduction(s->op, x, &o);
    case COMPOSED: return composed[s->op](x, &o);
    case JOIN: return fr_concatenate(2, in, s->op);
    case UPDATE: return fr_slice_update(x, fr_max(in[1], NULL), s->start, s->by, s->shape);
    case GATHER: {
        fr_array *i = fr_arange((double)s->start[0], (double)(s->start[0] + 2 * s->shape[0]), 2,
                                FR_INT32);
        return fr_take(x, i, s->op);
    }
    case MOVE: return moves[s->op].function(x, (int)s->start[0], s->start[1]);
    case PRODUCT: return fr_matmul(x, s->by[0] ? fr_transpose(in[1], NULL, 0) : in[1]);
    }
    return NULL;
}

static const char *step_text(const recipe *r, int i, char *to, size_t room)
{
    const step *s = &r->steps[i];
    static const char *const kinds[] = {
        "leaf",    "number",      "random",       "arange", "",           "astype",
        "reshape", "transpose",   "broadcast",    "slice",  "contiguous", "",
        "",        "concatenate", "slice_update", "take",   "",           "matmul"};
    char shape[FR__SHAPE_TEXT];
    int n = snprintf(to, room, "%%%d = %s%s %s", i, kinds[s->kind],
                     s->kind == ELEMENT || s->kind == REDUCE ? fr__ops[s->op].name
                     : s->kind == COMPOSED                   ? composed_name[s->op]
                     : s->kind == MOVE                       ? moves[s->op].name
                                                             : "",
                     s->value ? fr__shape_text(s->value, shape) : "?");
    for (int j = 0; j < operands(s); j++)
        n += snprintf(to + n, room - (size_t)n, " %%%d", s->in[j]);
    if (s->kind == LITERAL || s->kind == COUNTED)
        n += snprintf(to + n, room - (size_t)n, " %g", s->literal);
    if (s->kind == REDUCE || s->kind == COMPOSED)
        n += snprintf(to + n, room - (size_t)n, " over %x%s", s->mask,
                      s->keepdims ? " keepdims" : "");
    for (int a = 0; s->kind == SLICE && a < s->ndim; a++)
        n += snprintf(to + n, room - (size_t)n, " %lld by %lld", (long long)s->start[a],
                      (long long)s->by[a]);
    for (int a = 0; s->kind == TRANSPOSE && a < s->ndim; a++)
        n += snprintf(to + n, room - (size_t)n, " %lld", (long long)s->start[a]);
    if (s->kind == MOVE)
        n += snprintf(to + n, room - (size_t)n, " axis %lld by %lld", (long long)s->start[0],
                      (long long)s->start[1]);
    if (s->kind == PRODUCT && s->by[0])
        n += snprintf(to + n, room - (size_t)n, " transposed");
    if (s->kind == GATHER || s->kind == JOIN)
        n += snprintf(to + n, room - (size_t)n, " axis %d", s->op);
    for (int64_t k = 0;
         s->kind == LEAF && s->value && fr_size(s->value) <= 12 && k < fr_size(s->value); k++) {
        char one[48];
        n += snprintf(
            to + n, room - (size_t)n, "%s%s", k ? ", " : " : ",
            number_text(read_number((char *)s->data + k * fr__dsize(s->dtype), s->dtype),
                        s->dtype, one));
    }
    if (s->kind == KEYED)
        snprintf(to + n, room - (size_t)n, " kind %d key %llu", s->op,
                 (unsigned long long)s->seed);
    return to;
}

/* ---- the reference: values and error bounds -------------------------------------------------- */

static double unit_of(int dtype)
{
    return dtype == FR_FLOAT16    ? 0x1p-11
           : dtype == FR_BFLOAT16 ? 0x1p-8
           : dtype == FR_FLOAT32  ? 0x1p-23
                                  : 0x1p-52;
}

/* Looks at the values of s: the largest magnitude and whether all are whole; for a product, how
 * far its partial results can go in any order. */
static double look(step *s)
{
    fr_view v;
    double logs = 0;
    s->most = 0;
    s->whole = true;
    if (fr_access(s->value, &v))
        return 0;
    int64_t n = fr_size(s->value), size = fr__dsize(v.dtype);
    char *e = malloc((size_t)(n * size) + 1);
    fr_copy_out(s->value, e, (size_t)(n * size));
    for (int64_t i = 0; i < n; i++) {
        number x = read_number(e + i * size, v.dtype);
        double a = fabs(fr__is_float(v.dtype) ? x.f : (double)x.i);
        s->most = a > s->most || a != a ? a : s->most; /* NaN stays */
        s->most = a != a ? (double)INFINITY : s->most;
        s->whole &= a == floor(a);
        logs += a > 0 ? fabs(log2(a)) : 0;
    }
    free(e);
    return logs;
}

/* Operations through which an error passes as it is, or no larger than bound: f(x + e) - f(x). */
static double passed_on(const step *s, const step *a, const step *b, const step *c)
{
    double ea = a->fed, eb = b ? b->fed : 0, ec = c ? c->fed : 0,
           most = s->most * unit_of(s->dtype);
    if (ea == 0 && eb == 0 && ec == 0)
        return 0;
    switch (s->op) {
    case FR__OP_neg:
    case FR__OP_abs: return ea;
    case FR__OP_tanh:
    case FR__OP_sigmoid:
    case FR__OP_sin:
    case FR__OP_cos: return ea + 8 * unit_of(s->dtype);
    case FR__OP_erf: return 1.2 * ea + 8 * unit_of(s->dtype);
    case FR__OP_maximum:
    case FR__OP_minimum: return ea + eb;
    case FR__OP_add:
    case FR__OP_sub: return ea + eb + most;
    case FR__OP_mul: return a->most * eb + b->most * ea + ea * eb + most;
    case FR__OP_square: return 2 * a->most * ea + ea * ea + most;
    case FR__OP_where: return ea > 0 ? (double)INFINITY : eb + ec;
    default: return (double)INFINITY;
    }
}

/* What rounding a half can change, down to where it is rounded to 0. */
static double half_step(const step *s)
{
    return s->most * unit_of(s->dtype) + (s->dtype == FR_FLOAT16 ? 0x1p-25 : 0x1p-134);
}

static bool keeps_half_exact(int op)
{
    return op == FR__OP_neg || op == FR__OP_abs || op == FR__OP_sign || op == FR__OP_maximum ||
           op == FR__OP_minimum || op == FR__OP_floor || op == FR__OP_ceil ||
           op == FR__OP_where;
}

static void bound_error(recipe *r, step *s)
{
    const step *a = &r->steps[s->in[0]], *b = &r->steps[s->in[1]], *c = &r->steps[s->in[2]];
    double logs = is_source(s) ? 0 : look((step *)a);
    look(s);
    s->error = s->fed = 0;
    if (is_source(s))
        return;
    bool is_float = fr__is_float(s->dtype), half = is_float && fr__dsize(s->dtype) == 2;
    double n = (double)fr_size(a->value) / fmax(1, (double)fr_size(s->value)), rounding = 0;
    double e = a->fed;
    switch (s->kind) {
    case ELEMENT:
        e = passed_on(s, a, operands(s) > 1 ? b : NULL, operands(s) > 2 ? c : NULL);
        rounding = half && !keeps_half_exact(s->op) ? half_step(s) : 0;
        break;
    case CAST:
        e = e > 0 ? (is_float ? e + s->most * unit_of(s->dtype) : (double)INFINITY) : 0;
        break;
    case REDUCE:
        if (s->op == FR__OP_REDUCE_sum && is_float) {
            bool exact = e == 0 && a->whole && (double)fr_size(a->value) * a->most < 0x1p24;
            e = exact ? 0
                      : n * (e + (n / 16 + 8) * a->most *
                                     unit_of(s->dtype == FR_FLOAT64 ? FR_FLOAT64 : FR_FLOAT32));
            rounding = half ? half_step(s) : 0;
        } else if (s->op == FR__OP_REDUCE_prod && is_float) {
            e = e > 0 || logs > 100 ? (double)INFINITY : s->most * n * 0x1p-22;
            rounding = half ? half_step(s) : 0;
        } else if (is_float) { /* of 0 and -0 either may be the largest */
            e += 1e-30;
        } else if (e > 0) {
            e = (double)INFINITY;
        }
        break;
    case COMPOSED: {
        double u = unit_of(FR_FLOAT32) * (n + 8), m = a->most;
        e = s->op == 0   ? e + m * u
            : s->op == 1 ? 4 * m * e + 4 * e * e + 8 * m * m * u
            : s->op == 2 ? 2 * e + (m + 1) * u
                         : e + (m + 10) * u;
        if (half)
            e += 64 * (m + 1) * (m + 1) * n * unit_of(s->dtype);
        rounding = half ? half_step(s) : 0;
        break;
    }
    case JOIN:
    case UPDATE:
        e = fmax(a->fed, b->fed);
        if (e > 0 && (s->dtype != a->dtype || s->dtype != b->dtype))
            e = is_float ? e + s->most * unit_of(s->dtype) : (double)INFINITY;
        rounding = half ? half_step(s) : 0;
        break;
    case MOVE:
        if (moves[s->op].spread == TWICE)
            e = 2 * e + (e > 0 ? s->most * unit_of(s->dtype) : 0),
            rounding = half ? half_step(s) : 0;
        else if (moves[s->op].spread != AS_IT_IS && e > 0)
            e = (double)INFINITY;
        if (moves[s->op].spread == MIDDLE)
            rounding = half ? half_step(s) : 0;
        break;
    case PRODUCT: {
        double terms = a->ndim ? (double)fr_shape(a->value)[a->ndim - 1] : 1,
               m = a->most * b->most;
        bool exact = a->whole && b->whole && a->fed == 0 && b->fed == 0 && terms * m < 0x1p24;
        e = exact || !is_float
                ? (a->fed > 0 || b->fed > 0 ? (double)INFINITY : 0)
                : terms * (a->fed * b->most + b->fed * a->most + a->fed * b->fed +
                           (terms / 16 + 8) * m *
                               unit_of(s->dtype == FR_FLOAT64 ? FR_FLOAT64 : FR_FLOAT32));
        if (is_float && !(terms * m < (s->dtype == FR_FLOAT64 ? 1e300 : 1e37)))
            e = (double)INFINITY;
        rounding = half ? half_step(s) : 0;
        break;
    }
    default: break;
    }
    if (!isfinite(s->most) && e > 0)
        e = (double)INFINITY;
    s->error = e > 0 ? e + (half ? 2 * half_step(s) : 0) : 0;
    s->fed = e + (e > 0 ? 2 : 1) * rounding; /* of near values rounded, one may be the next */
    if (s->fed != s->fed)
        s->fed = s->error = (double)INFINITY;
}

/* Evaluates node i by itself, from its evaluated operands. */
static int refer(recipe *r, int i)
{
    step *s = &r->steps[i];
    fr_array *in[3] = {NULL, NULL, NULL};
    for (int j = 0; j < operands(s); j++) { /* an evaluated number is one no more */
        const step *from = &r->steps[s->in[j]];
        in[j] = from->kind == LITERAL ? make(from, NULL) : from->value;
    }
    s->value = make(s, in);
    if (!s->value || (s->kind != LITERAL && (fr_is_weak(s->value) || fr_eval(s->value))))
        return -1; /* numbers of numbers are weak until they are evaluated */
    s->dtype = fr_dtype_of(s->value);
    s->ndim = fr_ndim(s->value);
    if (s->kind != SLICE && s->kind != RESHAPE && s->kind != UPDATE && s->kind != GATHER &&
        s->kind != MOVE)
        memcpy(s->shape, fr_shape(s->value), sizeof(int64_t) * (size_t)s->ndim);
    if (s->kind == LITERAL) {
        s->most = fabs(s->literal), s->whole = s->literal == floor(s->literal);
        return 0;
    }
    bound_error(r, s);
    return 0;
}

/* ---- making one up ------------------------------------------------------------------------------ */

static int some_dtype(void)
{
    static const int often[] = {FR_FLOAT32, FR_FLOAT32,  FR_FLOAT32, FR_INT32,
                                FR_FLOAT16, FR_BFLOAT16, FR_BOOL,    FR_FLOAT64};
    int64_t k = below(12);
    return k < 8 ? often[k] : (int)below(DTYPES);
}

static int64_t some_size(void)
{
    static const int64_t sizes[] = {1, 1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 70, 130};
    return sizes[below(FR__COUNT(sizes))];
}

static int64_t size_of(const step *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->shape[i];
    return n;
}

static void fill_leaf(step *s)
{
    int64_t n = size_of(s), size = fr__dsize(s->dtype);
    int taste = (int)below(4);
    s->data = malloc((size_t)(n * size) + 1);
    for (int64_t i = 0; i < n; i++) {
        number v = {0, 0};
        if (taste == 0) {
            v = any_number(s->dtype);
        } else {
            v.i = below(7) - 3;
            v.f = taste == 1 ? (double)v.i : 4 * fraction() - 2;
        }
        write_number((char *)s->data + i * size, s->dtype, v);
    }
}

static void some_shape(recipe *r, step *s)
{
    if (r->n && below(2)) { /* as another's, or its last axes, or with ones */
        const step *a = &r->steps[below(r->n)];
        int skip = below(3) || !a->ndim ? 0 : (int)below(a->ndim + 1);
        s->ndim = a->ndim - skip;
        for (int i = 0; i < s->ndim; i++)
            s->shape[i] = below(6) ? a->value ? fr_shape(a->value)[i + skip] : 1 : 1;
        return;
    }
    s->ndim = below(12) ? 1 + (int)below(RANK - 1) : 0;
    for (int i = 0; i < s->ndim; i++)
        s->shape[i] = below(60) ? some_size() : 0;
    while (size_of(s) > ROOM / 4)
        s->shape[below(s->ndim)] = 1;
    if (below(40) == 0) { /* one to be reduced in pieces */
        s->ndim = 2;
        s->shape[0] = below(2) ? 3 : 4500;
        s->shape[1] = s->shape[0] == 3 ? 70000 : 31;
    }
}

/* Fills in a step from operands at hand; false: it was nothing this time. */
static bool make_up(recipe *r, step *s)
{
    int64_t k = below(118);
    *s = (step){.seed = dice() >> 40};
    if (r->n < 2 || k < 8) {
        s->kind = LEAF;
        s->dtype = some_dtype();
        some_shape(r, s);
        fill_leaf(s);
        return true;
    }
    if (k < 13) {
        s->kind = LITERAL;
        s->literal = below(2) ? (double)below(5) - 1 : 3 * fraction();
        s->dtype = s->literal != floor(s->literal) || below(2) ? FR_FLOAT32 : FR_INT32;
        return true;
    }
    if (k < 16) {
        s->kind = KEYED;
        s->op = (int)below(3);
        s->dtype = s->op ? FR_FLOAT16 + (int)below(3) : FR_UINT32;
        some_shape(r, s);
        return true;
    }
    if (k < 17) {
        s->kind = COUNTED;
        s->dtype = below(2) ? FR_INT32 : FR_FLOAT32;
        s->ndim = 1;
        s->shape[0] = some_size();
        s->literal = (double)below(9) - 4;
        return true;
    }
    for (int j = 0; j < 3; j++) /* rather late ones, so that graphs grow deep */
        s->in[j] =
            below(5) < 4 - j ? r->n - 1 - (int)below(r->n < 3 ? r->n : 3) : (int)below(r->n);
    const step *a = &r->steps[s->in[0]];
    const int64_t *shape = fr_shape(a->value);
    if (k < 62) {
        s->kind = ELEMENT;
        do
            s->op = (int)below(FR__OPS);
        while (fr__ops[s->op].class != FR__ELEMENTWISE || fr__ops[s->op].rule == FR__RULE_PAIR);
        fr_array *x[3];
        int64_t common[FR_MAX_NDIM], n = 1;
        int ndim = -1, nin = fr__ops[s->op].nin;
        for (int tries = 0; tries < 8 && ndim < 0; tries++) {
            for (int j = 0; j < nin; j++) {
                s->in[j] = j && tries ? (int)below(r->n) : s->in[j];
                x[j] = r->steps[s->in[j]].value;
            }
            ndim = fr_broadcast_shapes(nin, x, common);
            fr_error_clear();
        }
        for (int i = 0; i < ndim; i++)
            n *= common[i];
        return ndim >= 0 && ndim <= RANK && (n <= ROOM || n <= 4 * fr_size(x[0]));
    }
    if (k < 68) {
        s->kind = CAST;
        s->dtype = some_dtype();
        return true;
    }
    if (k < 73) { /* axes merged, split, or ones put in */
        s->kind = RESHAPE;
        int64_t rest = fr_size(a->value);
        s->ndim = 1 + (int)below(RANK - 1);
        for (int i = 0; i < s->ndim - 1; i++) {
            int64_t f = a->ndim ? shape[below(a->ndim)] : 1;
            f = below(3) ? f : 1 + below(4);
            s->shape[i] = f > 0 && rest % f == 0 ? f : 1;
            rest /= s->shape[i];
        }
        s->shape[s->ndim - 1] = rest;
        return true;
    }
    if (k < 78) {
        s->kind = TRANSPOSE;
        s->ndim = a->ndim;
        for (int i = 0; i < s->ndim; i++)
            s->start[i] = i;
        for (int i = s->ndim - 1; i > 0; i--) {
            int j = (int)below(i + 1);
            int64_t t = s->start[i];
            s->start[i] = s->start[j], s->start[j] = t;
        }
        return true;
    }
    if (k < 81) {
        s->kind = BROADCAST;
        int more = a->ndim < RANK ? (int)below(2) : 0;
        s->ndim = a->ndim + more;
        for (int i = 0; i < s->ndim; i++)
            s->shape[i] = i < more                           ? 1 + below(4)
                          : shape[i - more] == 1 && below(2) ? some_size()
                                                             : shape[i - more];
        return size_of(s) <= ROOM || size_of(s) == fr_size(a->value);
    }
    if (k < 86) {
        s->kind = SLICE;
        s->ndim = a->ndim;
        for (int i = 0; i < s->ndim; i++) {
            int64_t by = 1 + below(3), len = shape[i] ? 1 + below(shape[i]) : 0;
            s->shape[i] = below(30) ? (len + by - 1) / by : 0;
            s->by[i] = below(2) ? by : -by;
            int64_t reach = s->shape[i] ? (s->shape[i] - 1) * by : 0,
                    slack = shape[i] - 1 - reach;
            s->start[i] = slack > 0 ? below(slack + 1) : 0;
            if (s->by[i] < 0)
                s->start[i] += reach;
        }
        if (below(4) == 0 && fr_size(r->steps[s->in[1]].value) > 0)
            s->kind = UPDATE;
        return true;
    }
    if (k < 87) {
        s->kind = COPY;
        return true;
    }
    if (k < 90 && a->ndim) {
        const step *b = &r->steps[s->in[1]];
        bool alike = b->ndim == a->ndim && b->kind != LITERAL && a->kind != LITERAL;
        s->kind = below(2) ? JOIN : GATHER;
        s->op = (int)below(a->ndim);
        for (int i = 0; alike && i < a->ndim; i++)
            alike = i == s->op || fr_shape(b->value)[i] == shape[i];
        if (!alike)
            s->in[1] = s->in[0];
        s->start[0] = -5;
        s->shape[0] = 1 + below(6);
        return s->kind == JOIN ? fr_size(a->value) <= ROOM / 2
                               : shape[s->op] > 0 && fr_size(a->value) <= ROOM / 8;
    }
    if (k >= 103 && a->ndim) {
        s->kind = MOVE;
        s->op = (int)below(FR__COUNT(moves));
        s->start[0] = below(a->ndim);
        s->start[1] = below(8) - 3;
        return fr_size(a->value) <= ROOM && !fr_is_weak(a->value);
    }
    if (k >= 100 && a->ndim) {
        const step *b = &r->steps[s->in[1]];
        s->kind = PRODUCT;
        int inner = b->ndim > 1 ? b->ndim - 2 : 0;
        bool fits = b->ndim && fr_shape(b->value)[inner] == shape[a->ndim - 1] &&
                    (a->ndim < 3 || b->ndim < 3);
        if (!fits && a->ndim < 3)
            s->in[1] = s->in[0], s->by[0] = 1;
        return (fits || s->by[0]) && fr_size(a->value) <= ROOM / 8 &&
               fr_size(r->steps[s->in[1]].value) <= ROOM / 8;
    }
    s->mask = (unsigned)below(1 << a->ndim);
    s->keepdims = below(2);
    if (k < 96 || k >= 100) {
        s->kind = REDUCE;
        do
            s->op = (int)below(FR__OPS);
        while (fr__ops[s->op].class != FR__REDUCE);
        return true;
    }
    s->kind = COMPOSED;
    s->op = (int)below(4);
    return fr_size(a->value) > 0 && s->mask;
}

static void make_recipe(recipe *r, uint64_t seed)
{
    *r = (recipe){.seed = seed};
    dice_state = seed * 0xd1342543de82ef95 + 0x632be59bd9b4e019;
    dice_state = dice();
    int want = 4 + (int)below(NODES - 3);
    for (int tries = 0; r->n < want && tries < 400; tries++) {
        step *s = &r->steps[r->n];
        bool good = make_up(r, s) && refer(r, r->n) == 0 && fr_ndim(s->value) <= RANK;
        fr_error_clear();
        if (good)
            r->n++;
        else
            free(s->data), s->data = NULL;
    }
    r->nouts = 1 + (int)below(OUTS);
    bool used[NODES] = {false};
    for (int i = 0; i < r->n; i++)
        for (int j = 0; j < operands(&r->steps[i]); j++)
            used[r->steps[i].in[j]] = true;
    for (int i = 0, last = r->n; i < r->nouts; i++) { /* what nobody uses, and others */
        while (last > 0 && used[--last]) {}
        r->outs[i] = last >= 0 && !used[last] && below(4) ? last : (int)below(r->n);
    }
    for (int i = 0; i < r->nouts; i++) /* a number alone is no graph */
        if (r->steps[r->outs[i]].kind == LITERAL)
            r->outs[i] = 0;
}

/* ---- evaluating in every way ----------------------------------------------------------------------- */

static char failure[400]; /* what was wrong with the last one; "" when nothing */

/* The graph as it stands, from the leaves in `leaves` (of compile), or the recipe's own. */
static void build(const recipe *r, fr_array *const *leaves, fr_array **outs)
{
    fr_array *made[NODES] = {NULL};
    bool wanted[NODES] = {false};
    for (int i = 0; i < r->nouts; i++)
        wanted[r->outs[i]] = true;
    for (int i = r->n - 1; i >= 0; i--)
        for (int j = 0; wanted[i] && j < operands(&r->steps[i]); j++)
            wanted[r->steps[i].in[j]] = true;
    for (int i = 0; i < r->n; i++) {
        const step *s = &r->steps[i];
        fr_array *in[3] = {NULL, NULL, NULL};
        for (int j = 0; j < operands(s); j++)
            in[j] = made[s->in[j]];
        if (wanted[i])
            made[i] = s->kind == LEAF && leaves ? leaves[i] : make(s, in);
    }
    for (int i = 0; i < r->nouts; i++)
        outs[i] = made[r->outs[i]];
}

static int compiled_build(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    const recipe *r = ctx;
    fr_array *leaves[NODES] = {NULL};
    (void)n_out;
    for (int i = 0, k = 0; i < r->n && k < n_in; i++)
        if (r->steps[i].kind == LEAF)
            leaves[i] = in[k++];
    build(r, leaves, out);
    return 0;
}

static int call_compiled(recipe *r, fr_array **outs)
{
    fr_array *in[NODES];
    int n = 0;
    for (int i = 0; i < r->n; i++)
        if (r->steps[i].kind == LEAF)
            in[n++] = r->steps[i].value;
    fr_function *f = fr_compile(compiled_build, r, NULL);
    int status = f ? fr_call(f, n, in, r->nouts, outs) : -1;
    fr_function_free(f);
    return status;
}

/* The outputs' bytes, or NULL. */
static char *evaluate(recipe *r, const char *how, fr__tier tier, bool fusion, bool compile)
{
    fr_scope *scope = fr_scope_open();
    fr_array *outs[OUTS] = {NULL};
    size_t bytes = 0, at = 0;
    fr__set_tier(tier);
    fr__set_fusion(fusion);
    if (!fusion)
        fr__plan_clear_cache();
    int status = 0;
    if (compile)
        status = call_compiled(r, outs);
    else
        build(r, NULL, outs);
    for (int i = 0; i < r->nouts; i++)
        bytes += outs[i] ? fr_nbytes(outs[i]) : 0;
    char *got = calloc(bytes + 1, 1);
    status = status || fr_eval_all(r->nouts, outs);
    for (int i = 0; !status && i < r->nouts; i++) {
        status = fr_copy_out(outs[i], got + at, fr_nbytes(outs[i]));
        at += fr_nbytes(outs[i]);
    }
    if (status) {
        snprintf(failure, sizeof failure, "%s: %.300s", how, fr_error_message());
        fr_error_clear();
        free(got);
        got = NULL;
    }
    if (!fusion)
        fr__plan_clear_cache();
    fr__set_fusion(true);
    fr__set_tier(FR__TIER_INTERPRETER);
    fr_scope_close(scope);
    return got;
}

/* exact: bit for bit; otherwise within the outputs' bounds of the reference. */
static void compare(recipe *r, const char *a, const char *b, bool exact, const char *how)
{
    for (int i = 0; i < r->nouts && !failure[0]; i++) {
        const step *s = &r->steps[r->outs[i]];
        int64_t n = fr_size(s->value), size = fr__dsize(s->dtype);
        for (int64_t k = 0; k < n && !failure[0]; k++, a += size, b += size) {
            char x[48], y[48];
            if (same_element(a, b, s->dtype))
                continue;
            number u = read_number(a, s->dtype), v = read_number(b, s->dtype);
            if (!exact && fr__is_float(s->dtype) && (u.f == v.f || fabs(u.f - v.f) <= s->error))
                continue;
            if (!exact && s->error == (double)INFINITY)
                continue;
            snprintf(failure, sizeof failure,
                     "%s: output %d (%%%d) element %lld: %s and %s, bound %g", how, i,
                     r->outs[i], (long long)k, number_text(u, s->dtype, x),
                     number_text(v, s->dtype, y), exact ? 0 : s->error);
        }
    }
}

/* True if all ways agree. The reference must have been made. */
static bool agree(recipe *r)
{
    failure[0] = 0;
    char *got[5] = {NULL};
    size_t bytes = 1, at = 0;
    for (int i = 0; i < r->nouts; i++)
        bytes += fr_nbytes(r->steps[r->outs[i]].value);
    got[0] = calloc(bytes, 1);
    for (int i = 0; i < r->nouts; i++) {
        fr_array *v = r->steps[r->outs[i]].value;
        fr_copy_out(v, got[0] + at, fr_nbytes(v));
        at += fr_nbytes(v);
    }
    got[1] = evaluate(r, "fused, machine code", FR__TIER_LLVM, true, false);
    if (got[1])
        got[2] = evaluate(r, "fused, interpreter", FR__TIER_INTERPRETER, true, false);
    if (got[2])
        got[3] = evaluate(r, "fusion off", FR__TIER_INTERPRETER, false, false);
    if (got[3])
        got[4] = evaluate(r, "compiled", FR__TIER_LLVM, true, true);
    if (got[4]) {
        compare(r, got[1], got[2], true, "machine code and interpreter");
        compare(r, got[4], got[0], false, "compiled and one by one");
        compare(r, got[1], got[0], false, "fused and one by one");
        compare(r, got[3], got[0], false, "fusion off and one by one");
    }
    for (int i = 0; i < 5; i++)
        free(got[i]);
    return !failure[0];
}

/* ---- making it smaller -------------------------------------------------------------------------------- */

static bool refer_all(recipe *r)
{
    for (int i = 0; i < r->n; i++)
        if (refer(r, i)) {
            fr_error_clear();
            return false;
        }
    return true;
}

/* Nodes that no output needs go. */
static void sweep(recipe *r)
{
    int to[NODES], n = 0;
    bool wanted[NODES] = {false};
    for (int i = 0; i < r->nouts; i++)
        wanted[r->outs[i]] = true;
    for (int i = r->n - 1; i >= 0; i--)
        for (int j = 0; wanted[i] && j < operands(&r->steps[i]); j++)
            wanted[r->steps[i].in[j]] = true;
    for (int i = 0; i < r->n; i++) {
        if (!wanted[i])
            continue;
        step s = r->steps[i];
        for (int j = 0; j < operands(&s); j++)
            s.in[j] = to[s.in[j]];
        for (int j = operands(&s); j < 3; j++)
            s.in[j] = 0;
        to[i] = n;
        r->steps[n++] = s;
    }
    for (int i = 0; i < r->nouts; i++)
        r->outs[i] = to[r->outs[i]];
    r->n = n;
}

static bool still_fails(recipe *r)
{
    sweep(r);
    return refer_all(r) && !agree(r);
}

/* Data of leaves made here is left: a test that fails may leak. */
static void become_leaf(step *s)
{
    size_t bytes = fr_nbytes(s->value);
    void *data = malloc(bytes + 1);
    int64_t shape[RANK];
    fr_copy_out(s->value, data, bytes);
    memcpy(shape, fr_shape(s->value), sizeof(int64_t) * (size_t)s->ndim);
    *s = (step){
        .kind = LEAF, .dtype = s->dtype, .ndim = s->ndim, .data = data, .value = s->value};
    memcpy(s->shape, shape, sizeof(int64_t) * (size_t)s->ndim);
}

static bool same_kind(const step *a, const step *b)
{
    return a->dtype == b->dtype && a->ndim == b->ndim &&
           !memcmp(fr_shape(a->value), fr_shape(b->value), sizeof(int64_t) * (size_t)a->ndim);
}

static bool smaller_once(recipe *r)
{
    for (int i = 0; r->nouts > 1 && i < r->nouts; i++) {
        recipe x = *r;
        x.outs[i] = x.outs[--x.nouts];
        if (still_fails(&x))
            return *r = x, true;
    }
    for (int i = r->n - 1; i >= 0; i--) {
        if (is_source(&r->steps[i]))
            continue;
        recipe x = *r;
        become_leaf(&x.steps[i]);
        if (still_fails(&x))
            return *r = x, true;
        for (int j = 0; j < operands(&r->steps[i]); j++) { /* an operand in its place */
            int in = r->steps[i].in[j];
            if (!same_kind(&r->steps[i], &r->steps[in]))
                continue;
            x = *r;
            for (int k = i + 1; k < x.n; k++)
                for (int l = 0; l < operands(&x.steps[k]); l++)
                    if (x.steps[k].in[l] == i)
                        x.steps[k].in[l] = in;
            for (int k = 0; k < x.nouts; k++)
                x.outs[k] = x.outs[k] == i ? in : x.outs[k];
            if (still_fails(&x))
                return *r = x, true;
        }
    }
    return false;
}

static void show(recipe *r)
{
    char text[1000];
    printf("     seed %llu: %s\n", (unsigned long long)r->seed, failure);
    for (int i = 0; i < r->n; i++)
        printf("       %s\n", step_text(r, i, text, sizeof text));
    printf("       outputs");
    for (int i = 0; i < r->nouts; i++)
        printf(" %%%d", r->outs[i]);
    printf("\n");
}

/* ---- kernels as text and as words --------------------------------------------------------------------- */

static fr__map by_text, by_words; /* of all kernels so far: what is in one is the other's key */
static int kernels_known;

typedef struct written {
    char *text;
    uint64_t *words;
    size_t bytes;
} written;

/* Kernels with one text have one list of words, and the other way about: the cache looks for words
 * in memory and for text on disk. */
static bool known_as_one(const fr__kentry *e)
{
    const char *text = e->kernel->text;
    size_t n = strlen(text);
    const written *a = fr__map_get(&by_text, text, n, e->kernel->hash),
                  *b = fr__map_get(&by_words, e->words, e->bytes, e->hash);
    if (a || b)
        return a == b;
    written *w = malloc(sizeof *w);
    *w = (written){malloc(n + 1), malloc(e->bytes), e->bytes};
    memcpy(w->text, text, n + 1);
    memcpy(w->words, e->words, e->bytes);
    kernels_known++;
    return !fr__map_put(&by_text, w->text, n, e->kernel->hash, w) &&
           !fr__map_put(&by_words, w->words, w->bytes, e->hash, w);
}

/* All kernels of the recipe's graph. */
static bool known_kernels(const recipe *r)
{
    fr_array *outs[OUTS];
    fr__trace t = {0};
    fr__capture c = {.t = &t};
    build(r, NULL, outs);
    bool good = !fr__capture_graph(&c, r->nouts, outs, false);
    fr__plan *p = good ? fr__plan_make(&t, false) : NULL;
    for (int i = 0; p && i < p->nsteps; i++)
        good = (!p->steps[i].kernel || known_as_one(p->steps[i].kernel)) && good;
    good = good && p;
    if (p)
        fr__plan_release(p);
    fr__capture_free(&c);
    fr__trace_free(&t);
    return good;
}

/* ---- the test ------------------------------------------------------------------------------------------- */

static volatile uint64_t seed_now;

static void on_crash(int signal)
{
    char text[80];
    int n = snprintf(text, sizeof text, "FAIL crash: signal %d at --seed=%llu --count=1\n",
                     signal, (unsigned long long)seed_now);
    if (write(1, text, (size_t)n) < 0)
        _exit(2);
    _exit(1);
}

static bool check_seed(uint64_t seed)
{
    static recipe r;
    fr_scope *s = fr_scope_open();
    seed_now = seed;
    make_recipe(&r, seed);
    bool good = agree(&r);
    EXPECT(known_kernels(&r));
    if (test_option("show"))
        show(&r);
    step first[NODES];
    int n = r.n;
    memcpy(first, r.steps, sizeof first);
    if (!good) {
        EXPECT(good);
        char full[sizeof failure];
        memcpy(full, failure, sizeof full);
        while (smaller_once(&r)) {}
        if (agree(&r)) /* what was left agrees now: it is not the same every time */
            memcpy(failure, full, sizeof full);
        show(&r);
    }
    for (int i = 0; i < n; i++)
        free(first[i].data);
    fr_scope_close(s);
    return good;
}

/* Found something once, in nights' work: parts of an array moved up past their readers; NaN of
 * whole numbers; medians of halves; the larger of 0 and -0. */
static const uint64_t memorable[] = {5018427, 5015268, 5003533, 5023385, 5068962};

/* A sanitizer makes each slow: it takes the first of those that the other builds take. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 700 };
#else
enum { MANY = 2000 };
#endif

TEST(graphs)
{
    const char *count = test_option("count"), *from = test_option("seed"),
               *verbose = test_option("verbose");
    uint64_t seed = from ? strtoull(from, NULL, 10) : 1;
    int64_t n = count ? strtoll(count, NULL, 10) : MANY, bad = 0;
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    fr__set_tier(FR__TIER_INTERPRETER);
    for (int64_t i = 0; i < n && bad < 20; i++, seed++) {
        if (verbose)
            printf("seed %llu\n", (unsigned long long)seed), fflush(stdout);
        bad += !check_seed(seed);
    }
    for (int i = 0; i < FR__COUNT(memorable) && !from; i++)
        bad += !check_seed(memorable[i]);
    printf("%lld graphs from seed %llu: %lld kernels made, %lld launches\n", (long long)n,
           (unsigned long long)(seed - (uint64_t)n), (long long)fr_count(FR_COUNT_GENERATED),
           (long long)fr_count(FR_COUNT_KERNELS));
    fr__set_tier(FR__TIER_CHOOSE);
    EXPECT(kernels_known > n / 4 || n < 100);
}
