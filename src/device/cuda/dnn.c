/* dnn.c - cuDNN, opened at run time
 *
 * needs   device.c
 * gives   fr__gpu_conv ...
 *
 * Declarations and numbers are from NVIDIA's public documentation of cuDNN's convolutions. Images are NHWC:
 * their dimensions are told in the order N, C, spatial, with strides.
 *
 * What a convolution of some shape needs (descriptors, the deterministic algorithm that the library
 * thinks fastest) is made once and kept by shape and strides.
 */
#include "device/cuda/dnn.h"
#include "device/cuda/gpu.h"
#include "device/cuda/library.h"

typedef int status;
typedef void *dnn_object; /* descriptors */
typedef struct dnn_context *dnn_handle;
typedef struct dnn_performance {
    int algorithm;
    status state;
    float seconds;
    size_t workspace;
    int deterministic, math, reserved[3];
} dnn_performance;

enum { DATA_FLOAT = 0, DATA_DOUBLE = 1, DATA_HALF = 2, DATA_BFLOAT16 = 9 };
enum { FORMAT_NHWC = 1, CROSS_CORRELATION = 1, DETERMINISTIC = 1 };
enum { PRECOMPUTED = 1, RELU = 1, IDENTITY = 5, PROPAGATE_NANS = 1 };
enum { MATH_DEFAULT = 0, MATH_TENSOR = 1, MATH_FMA = 3 };

// clang-format off
#define OPERANDS dnn_object, const void *, dnn_object, const void *, dnn_object, int, void *, size_t
#define DNN_FUNCTIONS(X)                                                                       \
    X(cudnnCreate, status, (dnn_handle *h))                                                    \
    X(cudnnGetVersion, size_t, (void))                                                         \
    X(cudnnSetStream, status, (dnn_handle h, CUstream s))                                      \
    X(cudnnCreateTensorDescriptor, status, (dnn_object *d))                                    \
    X(cudnnDestroyTensorDescriptor, status, (dnn_object d))                                    \
    X(cudnnSetTensorNdDescriptor, status,                                                      \
      (dnn_object d, int type, int n, const int *shape, const int *strides))                   \
    X(cudnnCreateFilterDescriptor, status, (dnn_object *d))                                    \
    X(cudnnDestroyFilterDescriptor, status, (dnn_object d))                                    \
    X(cudnnSetFilterNdDescriptor, status,                                                      \
      (dnn_object d, int type, int format, int n, const int *shape))                           \
    X(cudnnCreateConvolutionDescriptor, status, (dnn_object *d))                               \
    X(cudnnDestroyConvolutionDescriptor, status, (dnn_object d))                               \
    X(cudnnSetConvolutionNdDescriptor, status,                                                 \
      (dnn_object d, int n, const int *padding, const int *stride, const int *dilation,        \
       int mode, int type))                                                                    \
    X(cudnnCreateActivationDescriptor, status, (dnn_object *d))                                \
    X(cudnnDestroyActivationDescriptor, status, (dnn_object d))                                \
    X(cudnnSetActivationDescriptor, status, (dnn_object d, int mode, int nans, double at))     \
    X(cudnnSetConvolutionGroupCount, status, (dnn_object d, int groups))                       \
    X(cudnnSetConvolutionMathType, status, (dnn_object d, int math))                           \
    X(cudnnGetConvolutionForwardAlgorithm_v7, status,                                          \
      (dnn_handle h, dnn_object x, dnn_object w, dnn_object c, dnn_object y, int wanted,       \
       int *got, dnn_performance *to))                                                         \
    X(cudnnGetConvolutionBackwardDataAlgorithm_v7, status,                                     \
      (dnn_handle h, dnn_object w, dnn_object y, dnn_object c, dnn_object x, int wanted,       \
       int *got, dnn_performance *to))                                                         \
    X(cudnnGetConvolutionBackwardFilterAlgorithm_v7, status,                                   \
      (dnn_handle h, dnn_object x, dnn_object y, dnn_object c, dnn_object w, int wanted,       \
       int *got, dnn_performance *to))                                                         \
    X(cudnnConvolutionForward, status,                                                         \
      (dnn_handle h, const void *alpha, OPERANDS, const void *beta, dnn_object d, void *out))  \
    X(cudnnConvolutionBiasActivationForward, status,                                           \
      (dnn_handle h, const void *alpha, OPERANDS, const void *beta, dnn_object z, const void *, \
       dnn_object bias, const void *, dnn_object activation, dnn_object d, void *out))         \
    X(cudnnConvolutionBackwardData, status,                                                    \
      (dnn_handle h, const void *alpha, OPERANDS, const void *beta, dnn_object d, void *out))  \
    X(cudnnConvolutionBackwardFilter, status,                                                  \
      (dnn_handle h, const void *alpha, OPERANDS, const void *beta, dnn_object d, void *out))
// clang-format on

static struct {
#define X(name, type, parameters) type(*name) parameters;
    DNN_FUNCTIONS(X)
#undef X
} dnn;

/* ---- opening ------------------------------------------------------------------------ */

static const fr__library_entry table[] = {
#define X(name, type, parameters) {#name, offsetof(__typeof__(dnn), name)},
    DNN_FUNCTIONS(X)
#undef X
};

static fr__library library = {
    .title = "cuDNN",
    .setting = "CUDNN",
    .known = {"libcudnn.so.9", "libcudnn.so.8"},
    .entries = table,
    .n = FR__COUNT(table),
    .functions = &dnn,
    .version = &dnn.cudnnGetVersion,
    .once = PTHREAD_ONCE_INIT,
};

static void open_library(void) { fr__library_open(&library); }

bool fr__gpu_dnn_ready(void)
{
    if (fr__cuda_forked())
        return false;
    pthread_once(&library.once, open_library);
    return library.ready;
}

const char *fr__gpu_dnn_why(void)
{
    if (fr__cuda_forked())
        return fr__cuda_why();
    fr__gpu_dnn_ready();
    return library.why;
}

/* ---- what a shape needs ------------------------------------------------------------- */

enum { PLANS = 1024, TRIED = 16, WORKSPACE = 256 << 20, ALIGNED = 16, DIMS = 2 + FR__DNN_AXES };

typedef struct key { /* no padding: compared as bytes */
    int32_t x[DIMS], x_strides[DIMS], y[DIMS], y_strides[DIMS];
    int32_t taps[FR__DNN_AXES], stride[FR__DNN_AXES], dilation[FR__DNN_AXES],
        padding[FR__DNN_AXES];
    int32_t groups, axes, kind, dtype, tf32, bias, relu;
} key;

typedef struct plan {
    key key;
    dnn_object x, y, w, conv, bias, activation;
    int algorithm;
    size_t workspace;
    bool can;
} plan;

typedef struct fr__gpu_dnn { /* of a device */
    pthread_mutex_t lock;
    dnn_handle handle;
    bool unusable; /* the handle can't be made: not tried again */
    fr__map plans;
    FR__VEC(plan *) all;
} fr__gpu_dnn;

int fr__gpu_dnn_new(fr__gpu *g)
{
    fr__gpu_dnn *d = fr__calloc(1, sizeof *d);
    if (!d)
        return -1;
    pthread_mutex_init(&d->lock, NULL);
    g->dnn = d;
    return 0;
}

static void make_key(key *to, const fr__gpu_convolution *c)
{
    *to = (key){.groups = c->groups,
                .axes = c->axes,
                .kind = (int32_t)c->kind,
                .dtype = (int32_t)c->dtype,
                .tf32 = c->tf32 && c->dtype == FR_FLOAT32,
                .bias = c->bias != NULL,
                .relu = c->relu};
    for (int i = 0; i < 2 + c->axes; i++) {
        to->x[i] = c->x.shape[i];
        to->x_strides[i] = c->x.strides[i];
        to->y[i] = c->y.shape[i];
        to->y_strides[i] = c->y.strides[i];
    }
    for (int i = 0; i < c->axes; i++) {
        to->taps[i] = c->taps[i];
        to->stride[i] = c->stride[i];
        to->dilation[i] = c->dilation[i];
        to->padding[i] = c->padding[i];
    }
}

static bool types(const key *k, int *type, int *compute, int *math)
{
    *compute = DATA_FLOAT;
    *math = MATH_TENSOR;
    switch (k->dtype) {
    case FR_FLOAT32:
        *type = DATA_FLOAT;
        *math = k->tf32 ? MATH_DEFAULT : MATH_FMA;
        return true;
    case FR_FLOAT16: *type = DATA_HALF; return true;
    case FR_BFLOAT16: *type = DATA_BFLOAT16; return true;
    case FR_FLOAT64:
        *type = *compute = DATA_DOUBLE;
        *math = MATH_FMA;
        return true;
    default: return false;
    }
}

static bool make_image(dnn_object *to, int type, int n, const int32_t *shape,
                       const int32_t *strides)
{
    if (dnn.cudnnCreateTensorDescriptor(to)) {
        *to = NULL;
        return false;
    }
    return !dnn.cudnnSetTensorNdDescriptor(*to, type, n, shape, strides);
}

static bool make_filter(plan *p, int type)
{
    const key *k = &p->key;
    int shape[DIMS] = {k->y[1], k->x[1] / k->groups};
    memcpy(shape + 2, k->taps, sizeof k->taps);
    if (dnn.cudnnCreateFilterDescriptor(&p->w)) {
        p->w = NULL;
        return false;
    }
    return !dnn.cudnnSetFilterNdDescriptor(p->w, type, FORMAT_NHWC, 2 + k->axes, shape);
}

static bool make_conv(plan *p, int compute, int math)
{
    const key *k = &p->key;
    if (dnn.cudnnCreateConvolutionDescriptor(&p->conv)) {
        p->conv = NULL;
        return false;
    }
    return !dnn.cudnnSetConvolutionNdDescriptor(p->conv, k->axes, k->padding, k->stride,
                                                k->dilation, CROSS_CORRELATION, compute) &&
           !dnn.cudnnSetConvolutionGroupCount(p->conv, k->groups) &&
           !dnn.cudnnSetConvolutionMathType(p->conv, math);
}

/* Of a bias and what comes after it. */
static bool make_tail(plan *p, int type)
{
    const key *k = &p->key;
    int32_t shape[DIMS] = {1, k->y[1], 1, 1, 1}, one = k->y[1],
            strides[DIMS] = {one, 1, one, one, one};
    if (!k->bias)
        return true;
    if (dnn.cudnnCreateActivationDescriptor(&p->activation)) {
        p->activation = NULL;
        return false;
    }
    return !dnn.cudnnSetActivationDescriptor(p->activation, k->relu ? RELU : IDENTITY,
                                             PROPAGATE_NANS, 0) &&
           make_image(&p->bias, type, 2 + k->axes, shape, strides);
}

/* The first that gives the same bits each time, and no less precision than was asked for. */
static bool choose_algorithm(dnn_handle handle, plan *p, int math)
{
    dnn_performance found[TRIED];
    int got = 0;
    status r;
    if (p->key.kind == FR__CONV_FORWARD)
        r = dnn.cudnnGetConvolutionForwardAlgorithm_v7(handle, p->x, p->w, p->conv, p->y, TRIED,
                                                       &got, found);
    else if (p->key.kind == FR__CONV_INPUT)
        r = dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, p->w, p->y, p->conv, p->x,
                                                            TRIED, &got, found);
    else
        r = dnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, p->x, p->y, p->conv, p->w,
                                                              TRIED, &got, found);
    for (int i = 0; !r && i < got; i++) {
        const dnn_performance *f = &found[i];
        if ((p->key.bias && f->algorithm != PRECOMPUTED) || f->state ||
            f->deterministic != DETERMINISTIC || f->workspace > WORKSPACE ||
            (math == MATH_FMA && f->math != MATH_FMA && f->math != MATH_DEFAULT))
            continue;
        p->algorithm = f->algorithm;
        p->workspace = f->workspace;
        return !dnn.cudnnSetConvolutionMathType(p->conv, math == MATH_FMA ? math : f->math);
    }
    return false;
}

static bool fill_plan(dnn_handle handle, plan *p)
{
    const key *k = &p->key;
    int type, compute, math;
    return types(k, &type, &compute, &math) &&
           make_image(&p->x, type, 2 + k->axes, k->x, k->x_strides) &&
           make_image(&p->y, type, 2 + k->axes, k->y, k->y_strides) && make_filter(p, type) &&
           make_conv(p, compute, math) && make_tail(p, type) &&
           choose_algorithm(handle, p, math);
}

static void empty_plan(plan *p)
{
    if (p->x)
        dnn.cudnnDestroyTensorDescriptor(p->x);
    if (p->y)
        dnn.cudnnDestroyTensorDescriptor(p->y);
    if (p->w)
        dnn.cudnnDestroyFilterDescriptor(p->w);
    if (p->conv)
        dnn.cudnnDestroyConvolutionDescriptor(p->conv);
    if (p->bias)
        dnn.cudnnDestroyTensorDescriptor(p->bias);
    if (p->activation)
        dnn.cudnnDestroyActivationDescriptor(p->activation);
    p->x = p->y = p->w = p->conv = p->bias = p->activation = NULL;
}

static void forget_all(fr__gpu_dnn *d)
{
    for (int i = 0; i < d->all.n; i++) {
        empty_plan(d->all.at[i]);
        fr__free(d->all.at[i]);
    }
    d->all.n = 0;
    fr__map_free(&d->plans);
}

static plan *new_plan(fr__gpu_dnn *d, const key *k, uint64_t hash)
{
    static _Atomic int known;
    if (d->all.n >= fr__env_limit(&known, "CONV_CACHE_LIMIT", PLANS))
        forget_all(d);
    plan *p = fr__calloc(1, sizeof *p);
    if (!p || fr__vec_reserve(&d->all, 1)) {
        fr__free(p);
        return NULL;
    }
    p->key = *k;
    if (fr__map_put(&d->plans, &p->key, sizeof p->key, hash, p)) {
        fr__free(p);
        return NULL;
    }
    d->all.at[d->all.n++] = p;
    p->can = fill_plan(d->handle, p);
    if (!p->can)
        empty_plan(p); /* known, and not asked again */
    return p;
}

/* With the device's lock held and its context current. NULL: it can't be done (with an error, perhaps). */
static plan *find_plan(fr__gpu_dnn *d, const fr__gpu_convolution *c)
{
    key k;
    if (!d->handle && !d->unusable && dnn.cudnnCreate(&d->handle)) {
        d->handle = NULL;
        d->unusable = true; /* parts of the library are missing, say, or memory */
    }
    if (!d->handle)
        return NULL;
    make_key(&k, c);
    uint64_t hash = fr__hash(&k, sizeof k, 0);
    plan *p = fr__map_get(&d->plans, &k, sizeof k, hash);
    return p ? p : new_plan(d, &k, hash);
}

/* ---- the calls ---------------------------------------------------------------------- */

static bool aligned(const char *at) { return ((uintptr_t)at & (ALIGNED - 1)) == 0; }

bool fr__gpu_conv_can(fr__gpu *g, const fr__gpu_convolution *c, size_t *workspace)
{
    CUcontext back;
    fr__saved_error e;
    fr__gpu_dnn *d = g->dnn;
    bool can = false;
    *workspace = 0;
    if (!fr__gpu_dnn_ready() || !aligned(c->x.at) || !aligned(c->y.at) || !aligned(c->w) ||
        !aligned(c->bias))
        return false;
    fr__error_save(&e);
    if (!fr__gpu_enter(g, &back)) {
        pthread_mutex_lock(&d->lock);
        plan *p = find_plan(d, c);
        can = p && p->can;
        *workspace = can ? p->workspace : 0;
        pthread_mutex_unlock(&d->lock);
        fr__gpu_leave(back);
    }
    fr__error_restore(&e);
    return can;
}

static status run(dnn_handle h, const plan *p, const fr__gpu_convolution *c)
{
    static const float one = 1, zero = 0; /* as wide as what is accumulated in */
    static const double one64 = 1, zero64 = 0;
    bool f64 = c->dtype == FR_FLOAT64;
    const void *alpha = f64 ? (const void *)&one64 : &one,
               *beta = f64 ? (const void *)&zero64 : &zero;
    void *x = (void *)(uintptr_t)c->x.at, *y = (void *)(uintptr_t)c->y.at,
         *w = (void *)(uintptr_t)c->w;
    if (c->bias)
        return dnn.cudnnConvolutionBiasActivationForward(
            h, alpha, p->x, x, p->w, w, p->conv, p->algorithm, c->workspace, p->workspace, beta,
            p->y, y, p->bias, c->bias, p->activation, p->y, y);
    if (c->kind == FR__CONV_FORWARD)
        return dnn.cudnnConvolutionForward(h, alpha, p->x, x, p->w, w, p->conv, p->algorithm,
                                           c->workspace, p->workspace, beta, p->y, y);
    if (c->kind == FR__CONV_INPUT)
        return dnn.cudnnConvolutionBackwardData(h, alpha, p->w, w, p->y, y, p->conv,
                                                p->algorithm, c->workspace, p->workspace, beta,
                                                p->x, x);
    return dnn.cudnnConvolutionBackwardFilter(h, alpha, p->x, x, p->y, y, p->conv, p->algorithm,
                                              c->workspace, p->workspace, beta, p->w, w);
}

int fr__gpu_conv(fr__gpu_stream *s, const fr__gpu_convolution *c)
{
    CUcontext back;
    fr__gpu *g = s->gpu;
    fr__gpu_dnn *d = g->dnn;
    if (!fr__gpu_dnn_ready())
        return fr__fail_int(FR__E_DEVICE, "gpu %d: conv: %s", g->info.index, fr__gpu_dnn_why());
    if (fr__gpu_enter(g, &back))
        return -1;
    pthread_mutex_lock(&d->lock); /* the handle has one stream */
    plan *p = find_plan(d, c);
    status r = p && p->can ? dnn.cudnnSetStream(d->handle, s->handle) : -1;
    if (!r) {
        fr__gpu_launched(s, "conv");
        r = run(d->handle, p, c);
    }
    bool never = r && p && c->bias; /* which only the call itself tells */
    if (never)
        p->can = false;
    pthread_mutex_unlock(&d->lock);
    int bad = 0;
    if (never)
        bad = 1;
    else if (r)
        bad = fr__fail_int(FR__E_DEVICE, "gpu %d: conv: cuDNN's status %d", g->info.index, r);
    else if (fr__gpu_blocking() && !atomic_load(&s->recording))
        bad = FR__GPU(g, s, cuStreamSynchronize, (s->handle));
    fr__gpu_leave(back);
    return bad;
}
