/* gpu_conv.c - CONV and CONV_FILTER on a GPU: by cuDNN where it can, else by kernels of ours
 *
 *   graph/convolve.c -> [gpu_conv.c] -> cuDNN
 *                                    -> gpu_tiles.c: a product that reads windows where they lie
 *
 * What cuDNN doesn't take as it lies (a turned filter, more zeros on one side, examples that are no
 * images) is copied first.
 */
#include "run/gpu.h"

#include "core/place.h"
#include "device/cuda/blas.h"
#include "device/cuda/dnn.h"
#include "native/gemm.h"
#include "run/gpu_tiles.h"

/* [N, spatial, channels] or, a filter, [O, taps, C / groups] */
typedef struct image {
    const char *at;
    int64_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM];
    fr__gpu_block own; /* a copy of it */
} image;

/* y is x under the window w; one of y and w is what is made. */
typedef struct conv {
    int dtype, n, last; /* spatial axes; the channels' dimension */
    image x, y, w;
    const char *bias;       /* [O], added to y, and what is below 0 then made 0; NULL: none */
    fr__gpu_block own_bias; /* a copy of it */
    bool relu;
    bool gradient; /* w is made */
    const int64_t *stride, *dilation;
    int64_t groups, before[FR_MAX_NDIM], between[FR_MAX_NDIM];
} conv;

static image image_of(const fr__native_array *a, const char *at)
{
    image x = {.at = at};
    memcpy(x.shape, a->shape, sizeof(int64_t) * (size_t)a->ndim);
    memcpy(x.strides, a->strides, sizeof(int64_t) * (size_t)a->ndim);
    return x;
}

static conv read_call(const fr__native_call *call, char *const *data)
{
    int n = call->in[0].ndim - 2;
    bool gradient = call->routine == &fr__native_conv_filter;
    image second = image_of(&call->in[1], data[1]), out = image_of(&call->out, data[call->nin]);
    conv c = {.dtype = call->out.dtype,
              .n = n,
              .last = n + 1,
              .x = image_of(&call->in[0], data[0]),
              .y = gradient ? second : out,
              .w = gradient ? out : second,
              .gradient = gradient,
              .stride = call->par,
              .dilation = call->par + n,
              .groups = call->par[2 * n]};
    for (int d = 0; d < n; d++) {
        bool says = call->npar > 2 * n + 1;
        c.before[d] = says ? call->par[2 * n + 1 + d] : 0;
        c.between[d] = says ? call->par[3 * n + 1 + d] : 1;
    }
    if (call->nin == 3) {
        c.bias = data[2];
        c.relu = call->par[4 * n + 1];
    }
    return c;
}

static int64_t span(const conv *c, int d)
{
    return (c->w.shape[d + 1] - 1) * c->dilation[d] + 1;
}

/* ---- copies ----------------------------------------------------------------------------- */

static bool is_packed(const conv *c, const image *x)
{
    int64_t step = 1;
    for (int d = c->last; d >= 0; d--) {
        if (x->shape[d] > 1 && x->strides[d] != step)
            return false;
        step *= x->shape[d];
    }
    return true;
}

static bool is_aligned(const image *x) { return ((uintptr_t)x->at & 15) == 0; }

static int pack(fr__gpu_run *r, const conv *c, image *x)
{
    fr__gpu_block old = x->own;
    x->own = (fr__gpu_block){NULL, 0};
    int status = fr__gpu_pack(r, c->dtype, c->last + 1, x->shape, x->strides, x->at, &x->own);
    fr__gpu_give(r, old.at, old.bytes);
    x->at = x->own.at;
    fr__row_major(c->last + 1, x->shape, x->strides);
    return status;
}

/* x with its zeros in memory, as far as windows reach. */
static int pad(fr__gpu_run *r, conv *c)
{
    int n = c->last + 1;
    int64_t par[2 * FR_MAX_NDIM + 1] = {0}, shape[FR_MAX_NDIM];
    bool changed = false;
    for (int d = 0; d < n; d++) {
        bool spatial = d > 0 && d < c->last;
        par[n + d] = spatial ? c->between[d - 1] : 1;
        par[d] = spatial ? c->before[d - 1] : 0;
        shape[d] = par[d] + (c->x.shape[d] - 1) * par[n + d] + 1;
        if (spatial)
            shape[d] =
                fr__max64(shape[d], (c->y.shape[d] - 1) * c->stride[d - 1] + span(c, d - 1));
        changed |= shape[d] != c->x.shape[d];
    }
    if (!changed)
        return 0;
    fr__gpu_block old = c->x.own;
    c->x.own = (fr__gpu_block){NULL, 0};
    int status =
        fr__gpu_pad(r, c->dtype, n, c->x.shape, c->x.strides, par, shape, c->x.at, &c->x.own);
    fr__gpu_give(r, old.at, old.bytes);
    if (status)
        return -1;
    c->x.at = c->x.own.at;
    memcpy(c->x.shape, shape, sizeof(int64_t) * (size_t)n);
    fr__row_major(n, shape, c->x.strides);
    for (int d = 0; d < c->n; d++) {
        c->before[d] = 0;
        c->between[d] = 1;
    }
    return 0;
}

/* ---- cuDNN ------------------------------------------------------------------------------ */

static bool fits(int64_t v) { return v >= 0 && v <= INT32_MAX; }

/* Channels next to one another, places that don't overlap. */
static bool is_plain(const conv *c, const image *x)
{
    int64_t least = x->shape[c->last];
    if (!is_aligned(x) || (least > 1 && x->strides[c->last] != 1))
        return false;
    for (int d = c->last - 1; d >= 0; d--) {
        if (x->shape[d] == 1)
            continue;
        if (x->strides[d] < least || !fits(x->strides[d] * x->shape[d]))
            return false;
        least = x->strides[d] * x->shape[d];
    }
    return true;
}

/* One spatial axis is given as two. */
static fr__gpu_image as_image(const conv *c, const image *x)
{
    fr__gpu_image to = {.at = x->at};
    int64_t packed = x->shape[c->last], step[FR_MAX_NDIM] = {0};
    for (int d = c->last - 1; d >= 0; d--) { /* of a dimension of size 1: as if packed */
        step[d] = x->shape[d] == 1 ? packed : x->strides[d];
        packed = step[d] * x->shape[d];
    }
    int k = 2;
    to.shape[0] = (int32_t)x->shape[0];
    to.strides[0] = (int32_t)step[0];
    to.shape[1] = (int32_t)x->shape[c->last];
    to.strides[1] = 1;
    if (c->n == 1) {
        to.shape[k] = 1;
        to.strides[k++] = (int32_t)(step[1] * x->shape[1]);
    }
    for (int d = 1; d < c->last; d++, k++) {
        to.shape[k] = (int32_t)x->shape[d];
        to.strides[k] = (int32_t)step[d];
    }
    return to;
}

/* Without addresses. windows: of what is larger to what is smaller. */
static fr__gpu_convolution describe(const conv *c, const int64_t *stride,
                                    const int64_t *padding)
{
    int one = c->n == 1;
    fr__gpu_convolution k = {.dtype = (fr_dtype)c->dtype,
                             .tf32 = fr__gpu_tf32(),
                             .axes = c->n + one,
                             .groups = (int32_t)c->groups,
                             .taps = {1},
                             .stride = {1},
                             .dilation = {1}};
    for (int d = 0; d < c->n; d++) {
        k.taps[d + one] = (int32_t)c->w.shape[d + 1];
        k.stride[d + one] = (int32_t)stride[d];
        k.dilation[d + one] = (int32_t)c->dilation[d];
        k.padding[d + one] = (int32_t)padding[d];
    }
    return k;
}

static int try_dnn(fr__gpu_run *r, fr__gpu_convolution *k, bool *done)
{
    fr__gpu_block space = {NULL, 0};
    if (!fr__gpu_conv_can(fr__gpu_of(r->home), k, &space.bytes))
        return 0;
    if (space.bytes && !(space.at = fr__gpu_take(r, space.bytes)))
        return -1;
    k->workspace = space.at;
    int status = fr__gpu_conv(r->to, k);
    *done = status == 0;
    fr__gpu_give(r, space.at, space.bytes);
    return status < 0 ? -1 : 0;
}

/* The window's steps over so many zeros on both sides end where y does. */
static bool is_even(const conv *c, const int64_t *large, const int64_t *small,
                    const int64_t *stride, const int64_t *padding)
{
    for (int d = 0; d < c->n; d++) {
        int64_t room = large[d + 1] + 2 * padding[d] - span(c, d);
        if (!fits(padding[d]) || room < 0 || room / stride[d] + 1 != small[d + 1])
            return false;
    }
    return true;
}

/* The window turned round and its channels exchanged: what x would be the gradient's of. */
static image turned(const conv *c)
{
    image w = {.at = c->w.at};
    int64_t offset = 0;
    for (int d = 1; d < c->last; d++) {
        w.shape[d] = c->w.shape[d];
        w.strides[d] = -c->w.strides[d];
        offset += (w.shape[d] - 1) * c->w.strides[d];
    }
    w.at += offset * fr__dsize(c->dtype);
    w.shape[0] = c->w.shape[c->last];
    w.strides[0] = c->w.strides[c->last];
    w.shape[c->last] = c->w.shape[0];
    w.strides[c->last] = c->w.strides[0];
    return w;
}

/* y as the gradient of what has x as its gradient, under the turned window. */
static int as_gradient(fr__gpu_run *r, conv *c, bool *done)
{
    int64_t padding[FR_MAX_NDIM];
    image w = turned(c);
    for (int d = 0; d < c->n; d++) {
        padding[d] = span(c, d) - 1 - c->before[d];
        if (c->stride[d] != 1)
            return 0;
    }
    if (c->groups > 1 || !is_even(c, c->y.shape, c->x.shape, c->between, padding))
        return 0;
    int status = 0;
    if (!is_packed(c, &w) || !is_aligned(&w))
        status = pack(r, c, &w);
    if (!status && !is_plain(c, &c->x))
        status = pack(r, c, &c->x);
    if (!status) {
        fr__gpu_convolution k = describe(c, c->between, padding);
        k.kind = FR__CONV_INPUT;
        k.x = as_image(c, &c->y);
        k.y = as_image(c, &c->x);
        k.w = w.at;
        status = try_dnn(r, &k, done);
    }
    fr__gpu_give(r, w.own.at, w.own.bytes);
    return status;
}

static int as_windows(fr__gpu_run *r, conv *c, bool *done)
{
    bool apart = false;
    for (int d = 0; d < c->n; d++)
        apart |= c->between[d] != 1;
    if ((apart || !is_even(c, c->x.shape, c->y.shape, c->stride, c->before)) && pad(r, c))
        return -1;
    if (!is_even(c, c->x.shape, c->y.shape, c->stride, c->before))
        return 0; /* x ends later than windows reach, by a step or more */
    image *given = c->gradient ? &c->y : &c->w;
    bool good = c->gradient ? is_plain(c, given) : is_packed(c, given) && is_aligned(given);
    if ((!good && pack(r, c, given)) || (!is_plain(c, &c->x) && pack(r, c, &c->x)))
        return -1;
    for (int tries = 0; tries < 2; tries++) {
        fr__gpu_convolution k = describe(c, c->stride, c->before);
        k.kind = c->gradient ? FR__CONV_FILTER : FR__CONV_FORWARD;
        k.x = as_image(c, &c->x);
        k.y = as_image(c, &c->y);
        k.w = c->w.at;
        k.bias = c->bias;
        k.relu = c->relu;
        int status = try_dnn(r, &k, done);
        if (!status && *done)
            c->bias = NULL;
        else if (!status && k.bias) { /* not by that, perhaps by itself */
            k.bias = NULL;
            k.relu = false;
            status = try_dnn(r, &k, done);
        }
        if (status || *done || (is_packed(c, &c->x) && is_packed(c, &c->y)))
            return status;
        if ((!is_packed(c, &c->x) && pack(r, c, &c->x)) ||
            (!is_packed(c, &c->y) && pack(r, c, &c->y)))
            return -1;
    }
    return 0;
}

/* cuDNN's gradient of a filter of few channels takes several times as long as windows copied out do: it
 * has no algorithm on tensor cores there that gives the same bits each time. */
static bool is_slow_there(const conv *c)
{
    return c->gradient && c->w.shape[c->last] < 4 && c->groups == 1 &&
           (c->dtype == FR_FLOAT32 || c->dtype == FR_FLOAT64);
}

static int by_dnn(fr__gpu_run *r, conv *c, bool *done)
{
    const int64_t *x = c->x.shape, *y = c->y.shape;
    if (!fr__gpu_dnn_ready() || is_slow_there(c) || c->n > FR__DNN_AXES || !fits(c->groups))
        return 0;
    for (int d = 0; d <= c->last; d++)
        if (!fits(2 * x[d]) || !fits(2 * y[d]) || !fits(c->w.shape[d]))
            return 0;
    bool apart = false;
    for (int d = 0; d < c->n; d++) {
        apart |= c->between[d] != 1;
        if (!fits(c->stride[d]) || !fits(c->dilation[d]))
            return 0;
    }
    image w = turned(c);
    if (!c->gradient && (apart || (!is_packed(c, &c->w) && is_packed(c, &w)))) {
        int status = as_gradient(r, c, done);
        if (status || *done)
            return status;
    }
    return as_windows(r, c, done);
}

/* ---- products --------------------------------------------------------------------------- */

/* x is as large as windows reach. */
static fr__gemm as_product(const conv *c)
{
    const image *x = &c->x, *w = &c->w, *y = &c->y;
    int last = c->last;
    int64_t q = w->shape[last], p = w->shape[0] / c->groups;
    fr__gemm g = {.dtype = c->dtype, .batches = c->groups};
    fr__gemm_dims windows = {0}, taps = {0};
    fr__gemm_dim(&windows, x->shape[0], x->strides[0]);
    for (int d = 0; d < c->n; d++) {
        fr__gemm_dim(&windows, y->shape[d + 1], x->strides[d + 1] * c->stride[d]);
        fr__gemm_dim(&taps, w->shape[d + 1], x->strides[d + 1] * c->dilation[d]);
    }
    fr__gemm_dim(&taps, q, x->strides[last]);
    int64_t places = 1, each = q;
    for (int d = 0; d < last; d++) {
        places *= y->shape[d];
        each *= d ? w->shape[d] : 1;
    }
    fr__gemm_operand *of_x = c->gradient ? &g.b : &g.a, *other = c->gradient ? &g.a : &g.b;
    of_x->data = x->at;
    of_x->outer = c->gradient ? taps : windows;
    of_x->k = c->gradient ? windows : taps;
    fr__gemm_dim(&of_x->batch, c->groups, q * x->strides[last]);
    g.m = c->gradient ? p : places;
    g.n = c->gradient ? each : p;
    g.k = c->gradient ? places : each;
    g.ldc = c->gradient ? each : w->shape[0];
    g.next = c->gradient ? p * each : p;
    if (c->gradient) {
        other->data = y->at;
        fr__gemm_dim(&other->batch, c->groups, p * y->strides[last]);
        fr__gemm_dim(&other->outer, p, y->strides[last]);
        for (int d = 0; d < last; d++)
            fr__gemm_dim(&other->k, y->shape[d], y->strides[d]);
    } else {
        other->data = w->at;
        fr__gemm_dim(&other->batch, c->groups, p * w->strides[0]);
        fr__gemm_dim(&other->outer, p, w->strides[0]);
        for (int d = 1; d <= last; d++)
            fr__gemm_dim(&other->k, w->shape[d], w->strides[d]);
    }
    return g;
}

/* ---- kernels of ours ---------------------------------------------------------------------- */

/* x has one element from place to place (`between` is 1), and at most three spatial axes. */
static fr__tiles as_tiles(const conv *c)
{
    const image *x = &c->x, *w = &c->w, *y = &c->y;
    int last = c->last;
    int64_t q = w->shape[last], p = w->shape[0] / c->groups, places = y->shape[0], each = q;
    fr__tile_dims windows = {0}, taps = {0}, others = {0}, others_k = {0};
    fr__tiles t = {.dtype = c->dtype, .batches = 1, .batch = {c->groups}};
    fr__tile_dim(&windows, x->shape[0], x->strides[0], -1, 0);
    for (int d = 0; d < FR__PRODUCT_AXES; d++) {
        t.first[d] = d < c->n ? -c->before[d] : 0;
        t.size[d] = d < c->n ? x->shape[d + 1] : 1;
    }
    bool inside = true;
    for (int d = 0; d < c->n; d++)
        inside &= c->before[d] == 0 &&
                  (y->shape[d + 1] - 1) * c->stride[d] + span(c, d) <= x->shape[d + 1];
    int64_t offset = 0; /* of the first window, which may begin outside */
    for (int d = 0; d < c->n; d++) {
        int axis = inside ? -1 : d;
        int64_t step = x->strides[d + 1];
        fr__tile_dim(&windows, y->shape[d + 1], step * c->stride[d], axis, c->stride[d]);
        fr__tile_dim(&taps, w->shape[d + 1], step * c->dilation[d], axis, c->dilation[d]);
        offset -= c->before[d] * step;
        places *= y->shape[d + 1];
        each *= w->shape[d + 1];
    }
    fr__tile_dim(&taps, q, x->strides[last], -1, 0);
    const char *x_at = x->at + offset * fr__dsize(c->dtype);
    if (c->gradient) { /* y's channels by taps, over places */
        fr__tile_dim(&others, p, y->strides[last], -1, 0);
        for (int d = 0; d < last; d++)
            fr__tile_dim(&others_k, y->shape[d], y->strides[d], -1, 0);
        t.a_batch[0] = p * y->strides[last];
        t.b_batch[0] = q * x->strides[last];
        t.m = p, t.n = each, t.k = places;
        t.a = y->at, t.b = x_at;
        t.rows = others, t.a_k = others_k, t.columns = taps, t.b_k = windows;
        t.c_row = each, t.c_batch = p * each;
    } else { /* places by filters, over taps */
        fr__tile_dim(&others, p, w->strides[0], -1, 0);
        for (int d = 1; d <= last; d++)
            fr__tile_dim(&others_k, w->shape[d], w->strides[d], -1, 0);
        t.a_batch[0] = q * x->strides[last];
        t.b_batch[0] = p * w->strides[0];
        t.m = places, t.n = p, t.k = each;
        t.a = x_at, t.b = w->at;
        t.rows = windows, t.a_k = taps, t.columns = others, t.b_k = others_k;
        t.c_row = w->shape[0], t.c_batch = p;
    }
    t.c = (char *)(uintptr_t)(c->gradient ? w->at : y->at);
    t.c_column = 1;
    t.window = inside ? 0 : c->gradient ? 2 : 1;
    return t;
}

static int by_tiles(fr__gpu_run *r, conv *c, bool *done)
{
    bool apart = c->n > FR__PRODUCT_AXES;
    for (int d = 0; d < c->n; d++)
        apart |= c->between[d] != 1;
    if (apart && pad(r, c))
        return -1;
    if (c->n > FR__PRODUCT_AXES)
        return 0;
    fr__tiles t = as_tiles(c);
    return fr__gpu_tiles_run(r, &t, done);
}

int fr__gpu_conv_run(fr__gpu_run *r, const fr__native_call *call, char *const *data, bool *done)
{
    conv c = read_call(call, data);
    *done = false;
    int status = 0;
    if (c.bias && call->in[2].strides[0] != 1 && call->in[2].size > 1) {
        const fr__native_array *b = &call->in[2];
        status = fr__gpu_pack(r, c.dtype, 1, b->shape, b->strides, c.bias, &c.own_bias);
        c.bias = c.own_bias.at;
    }
    if (!status)
        status = by_dnn(r, &c, done);
    if (!status && !*done)
        status = by_tiles(r, &c, done);
    if (!status && !*done && !(status = pad(r, &c))) {
        fr__gemm g = as_product(&c);
        status =
            fr__gpu_gemm_run(r, &g, (char *)(uintptr_t)(c.gradient ? c.w.at : c.y.at), done);
    }
    if (!status && *done && c.bias) {
        int64_t places = 1;
        for (int d = 0; d < c.last; d++)
            places *= c.y.shape[d];
        status = fr__gpu_add_bias(r, c.dtype, places, c.y.shape[c.last],
                                  (char *)(uintptr_t)c.y.at, c.bias, c.relu);
    }
    bool of_host = !c.gradient && call->npar == 2 * c.n + 1;
    if (!status && !*done && !of_host)
        status = fr__fail_int(FR__E_DEVICE, "conv: no kernel can do it");
    fr__gpu_give(r, c.own_bias.at, c.own_bias.bytes);
    image *const all[] = {&c.x, &c.y, &c.w};
    for (int i = 0; i < FR__COUNT(all); i++)
        fr__gpu_give(r, all[i]->own.at, all[i]->own.bytes);
    return status;
}
