/* batch.c - batching rules: what each class of operations becomes when inputs have one more axis
 *
 * needs   a node, its inputs, and for some of them what they are in a batch: axis 0 counts it
 * gives   the node in a batch, made by public constructors
 *
 * An input that is not batched is shared by all, and broadcasts. What has no rule is done for
 * each element of the batch by itself, and stacked.
 */
#include "core/scope.h"
#include "xform/rules.h"

typedef struct {
    fr_array *x;            /* as it was */
    fr_array *const *in;    /* its inputs */
    fr_array *const *batch; /* and what they are now; NULL: as they were */
    int64_t size;
} node;

static fr_array *operand(const node *n, int i) { return n->batch[i] ? n->batch[i] : n->in[i]; }

/* [size, x's shape] */
static int whole_shape(const fr_array *x, int64_t size, int64_t *to)
{
    to[0] = size;
    for (int d = 0; d < x->ndim && d + 1 < FR_MAX_NDIM; d++)
        to[d + 1] = x->dims[d];
    return x->ndim + 1;
}

fr_array *fr__repeat(fr_array *x, int64_t size)
{
    int64_t shape[FR_MAX_NDIM];
    if (x->ndim == FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "vmap: a batch of arrays with %d dimensions", x->ndim);
    int ndim = whole_shape(x, size, shape);
    return fr_broadcast_to(x, shape, ndim);
}

/* ---- views ------------------------------------------------------------------------------ */

static fr_array *broadcast(const node *n)
{
    const fr_array *x = n->x, *from = n->in[0];
    int64_t shape[FR_MAX_NDIM];
    shape[0] = n->size;
    for (int d = 0; d < x->ndim; d++) {
        int at = d - (x->ndim - from->ndim);
        shape[d + 1] = at < 0 ? 1 : from->dims[at];
    }
    fr_array *tall = fr_reshape(n->batch[0], shape, x->ndim + 1);
    whole_shape(x, n->size, shape);
    return tall ? fr_broadcast_to(tall, shape, x->ndim + 1) : NULL;
}

static fr_array *view(const node *n)
{
    const fr_array *x = n->x;
    int64_t shape[FR_MAX_NDIM], start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM] = {1};
    int axes[FR_MAX_NDIM] = {0};
    int ndim = whole_shape(x, n->size, shape);
    switch (x->op) {
    case FR__OP_RESHAPE: return fr_reshape(n->batch[0], shape, ndim);
    case FR__OP_BROADCAST: return broadcast(n);
    case FR__OP_TRANSPOSE:
        for (int d = 0; d < x->ndim; d++)
            axes[d + 1] = 1 + (int)x->par[d];
        return fr_transpose(n->batch[0], axes, ndim);
    case FR__OP_SLICE:
        for (int d = 0; d < x->ndim; d++) {
            start[d + 1] = x->par[d];
            step[d + 1] = x->par[x->ndim + d];
        }
        return fr_slice(n->batch[0], start, step, shape);
    case FR__OP_WINDOWS:
        return fr_windows(n->batch[0], 1 + (int)x->par[0], x->dims[x->par[0] + 1], x->par[1],
                          x->par[2]);
    case FR__OP_STOP: return fr_stop_gradient(n->batch[0]);
    case FR__OP_ALIAS: return n->batch[0];
    case FR__OP_AGAIN: {
        fr_array *in = fr__whole(n->in[0], n->batch[0], n->size);
        return in ? fr__again(in, operand(n, 1)) : NULL;
    }
    default: return NULL;
    }
}

/* ---- parts put together --------------------------------------------------------------------- */

static fr_array *fresh(fr_array *x)
{
    return x ? fr__node(FR__OP_FRESH, x->dtype, x->ndim, x->dims, 1, &x, 0) : NULL;
}

fr_array *fr__like(const fr_array *x, int ndim, const int64_t *shape, fr_array *const *in)
{
    fr_array *y = fr__node(x->op, x->dtype, ndim, shape, x->nin, in, x->npar);
    if (y && x->npar)
        memcpy(y->par, x->par, sizeof *y->par * x->npar);
    return y;
}

/* A base that doesn't depend on the batch, for all of it: memory of its own. */
static fr_array *repeated_base(fr_array *base, int64_t size)
{
    fr_array *in[2], *y = NULL;
    if (!fr__pin_history(base, in))
        return fr__fail(FR__E_INTERNAL, "vmap: a base has no inputs");
    if (base->op == FR__OP_FRESH)
        y = fresh(fr__repeat(in[0], size));
    else if ((y = fr__like(base, base->ndim, base->dims, in))) {
        y->par[y->npar - 1] = 0; /* a value now */
        y = fresh(fr__repeat(y, size));
    }
    for (int i = 0; i < base->nin; i++)
        fr__unref(in[i]);
    return y;
}

static fr_array *put(const node *n)
{
    const fr_array *x = n->x;
    int64_t shape[FR_MAX_NDIM];
    int ndim = whole_shape(x, n->size, shape);
    fr_array *in[2] = {fr__whole(n->in[0], n->batch[0], n->size), NULL};
    if (x->nin > 1)
        in[1] = n->batch[1] ? n->batch[1] : repeated_base(n->in[1], n->size);
    if (!in[0] || (x->nin > 1 && !in[1]))
        return NULL;
    fr_array *y = fr__node(FR__OP_PUT, x->dtype, ndim, shape, x->nin, in, 2 * ndim + 1);
    if (!y)
        return NULL;
    y->par[0] = 0;
    y->par[ndim] = 1;
    for (int d = 0; d < x->ndim; d++) {
        y->par[d + 1] = x->par[d];
        y->par[ndim + d + 1] = x->par[x->ndim + d];
    }
    y->par[2 * ndim] = x->par[2 * x->ndim];
    return y;
}

/* ---- gathering -------------------------------------------------------------------------------- */

/* Both batched: elements of [size * n, rest] at b * n + index, their axis back where it was. */
static fr_array *take_each(const node *n)
{
    const fr_array *x = n->in[0], *indices = n->in[1];
    int axis = (int)n->x->par[0];
    int64_t count = x->dims[axis], shape[FR_MAX_NDIM] = {n->size * count};
    int rest = 0, axes[FR_MAX_NDIM], at = 0;
    for (int d = 0; d < x->ndim; d++)
        if (d != axis)
            shape[++rest] = x->dims[d];
    fr_array *flat = fr_reshape(fr_moveaxis(n->batch[0], axis + 1, 1), shape, rest + 1);
    int64_t column[FR_MAX_NDIM];
    for (int d = 0; d <= indices->ndim; d++)
        column[d] = d ? 1 : n->size;
    fr_array *first = fr_mul(fr_arange(0, (double)n->size, 1, FR_INT64), (long long)count);
    fr_array *index =
        fr_add(fr__in_range(n->batch[1], count), fr_reshape(first, column, indices->ndim + 1));
    fr_array *y = fr_take(flat, index, 0); /* [size, indices, before, after] */
    axes[at++] = 0;
    for (int d = 0; d < axis; d++)
        axes[at++] = 1 + indices->ndim + d;
    for (int d = 0; d < indices->ndim; d++)
        axes[at++] = 1 + d;
    for (int d = axis; d < rest; d++)
        axes[at++] = 1 + indices->ndim + d;
    return y ? fr_transpose(y, axes, at) : NULL;
}

static fr_array *take(const node *n)
{
    int axis = (int)n->x->par[0];
    if (!n->batch[1])
        return fr_take(n->batch[0], n->in[1], axis + 1);
    if (!n->batch[0])
        return fr_moveaxis(fr_take(n->in[0], n->batch[1], axis), axis, 0);
    return take_each(n);
}

/* ---- the others --------------------------------------------------------------------------------- */

static fr_array *reduce(const node *n)
{
    int axes[FR_MAX_NDIM];
    fr_reduce_options o = {.axes = axes};
    for (int d = 0; d < n->in[0]->ndim; d++)
        if (n->x->par[0] >> d & 1)
            axes[o.naxes++] = d + 1;
    switch (n->x->op) {
#define UNARY(name, py, rule, traits, form, da, text)
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)                                      \
    case FR__OP_REDUCE_##name:                                                                 \
        return fr_##name(n->batch[0], &o);
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    default: return NULL;
    }
}

static fr_array *elementwise(const node *n)
{
    fr_array *in[3];
    for (int i = 0; i < n->x->nin; i++)
        in[i] = operand(n, i);
    return fr__elementwise(n->x->op, n->x->nin, in);
}

static fr_array *element(fr_array *x, int64_t i)
{
    int64_t start[FR_MAX_NDIM] = {i}, step[FR_MAX_NDIM], count[FR_MAX_NDIM] = {1};
    for (int d = 0; d < x->ndim; d++) {
        step[d] = 1;
        count[d] = d ? x->dims[d] : 1;
    }
    fr_array *one = fr_slice(x, start, step, count);
    return one ? fr_reshape(one, x->dims + 1, x->ndim - 1) : NULL;
}

static fr_array *one_by_one(const node *n)
{
    fr_array **each = fr__malloc(sizeof *each * (size_t)n->size), *y = NULL;
    int64_t made = 0;
    for (bool good = each != NULL; good && made < n->size; made += good) {
        fr_array *in[64];
        for (int i = 0; good && i < n->x->nin; i++)
            good = (in[i] = n->batch[i] ? element(n->batch[i], made) : n->in[i]) != NULL;
        good = good && (each[made] = fr__like(n->x, n->x->ndim, n->x->dims, in));
    }
    if (each && made == n->size)
        y = fr_stack((int)n->size, each, 0);
    fr__free(each);
    return y;
}

static fr_array *by_class(const node *n)
{
    fr_array *y;
    switch ((fr__class)fr__ops[n->x->op].class) {
    case FR__ELEMENTWISE: return elementwise(n);
    case FR__REDUCE: return reduce(n);
    case FR__VIEW: return view(n);
    case FR__CAST:
        return n->x->op == FR__OP_REINTERPRET ? fr_view_as(n->batch[0], (fr_dtype)n->x->dtype)
                                              : fr_astype(n->batch[0], (fr_dtype)n->x->dtype);
    case FR__PUT: return put(n);
    case FR__TAKE: return take(n);
    case FR__COPY:
        return n->x->op == FR__OP_FRESH ? fresh(n->batch[0]) : fr_contiguous(n->batch[0]);
    default:
        if (fr__ops[n->x->op].class == FR__NATIVE &&
            ((y = fr__batch_native(n->x, n->size, n->in, n->batch)) || fr__failed()))
            return y;
        if (n->x->nin > 64)
            return fr__fail(FR__E_VALUE, "vmap: %s has no rule", fr__ops[n->x->op].name);
        return one_by_one(n);
    }
}

fr_array *fr__batch_rule(fr_array *x, int64_t size, fr_array *const *in, fr_array *const *batch)
{
    node n = {x, in, batch, size};
    int64_t shape[FR_MAX_NDIM];
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (x->ndim == FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "vmap: a batch of arrays with %d dimensions", x->ndim);
    int ndim = whole_shape(x, size, shape);
    if (!size)
        return fr_zeros(shape, ndim, (fr_dtype)x->dtype);
    fr_array *y = by_class(&n);
    if (y && y->dtype != x->dtype) /* a weak number gave way to another */
        y = fr_astype(y, (fr_dtype)x->dtype);
    if (y && (y->ndim != ndim || memcmp(y->dims, shape, sizeof *shape * (size_t)ndim)))
        return fr__fail(FR__E_INTERNAL, "vmap: %s gave %s for a batch of %s",
                        fr__ops[x->op].name, fr__shape_text(y, have), fr__shape_text(x, want));
    return y;
}
