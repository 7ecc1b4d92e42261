/* dnn.c - a cuDNN for the stand-in driver: the entry points that src/device/cuda/dnn.c uses
 *
 * FERRULE_CUDNN names the library. Convolutions are made on the host, in double, when the stand-in's
 * stream comes to them. The first algorithm that it proposes isn't deterministic and refuses to run; the second
 * needs a workspace of 4096 bytes, and overwrites it. It has none for windows of 7 taps; fails if told to
 * (dnn_fail_at); and counts (dnn_runs).
 */
#include "standin.h"

#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define X(type, name, parameters) type name parameters;
STANDIN_CONTROLS(X)
#undef X

enum { BAD_PARAM = 3, NOT_SUPPORTED = 9, FAILED = 8, WORKSPACE = 4096, MOST = 5 };
enum { FLOAT = 0, DOUBLE = 1, HALF = 2, BFLOAT16 = 9 };
enum { FORWARD, DATA, FILTER };
__extension__ typedef _Float16 half;

#include "calls.h"

typedef struct image {
    int type, n, shape[MOST], strides[MOST];
} image;
typedef struct filter {
    int type, n, shape[MOST];
} filter;
typedef struct conv {
    int n, padding[MOST], stride[MOST], dilation[MOST], type, groups, math;
} conv;
typedef struct performance {
    int algorithm, state;
    float seconds;
    size_t workspace;
    int deterministic, math, reserved[3];
} performance;

static long heuristics, runs[3];
static void *stream;

EXPORT long dnn_live(void);
EXPORT long dnn_heuristics(void);
EXPORT long dnn_runs(int kind);
EXPORT void dnn_fail_at(long n);

long dnn_live(void) { return locked(&live); }
long dnn_heuristics(void) { return locked(&heuristics); }
long dnn_runs(int kind) { return locked(&runs[kind]); }

void dnn_fail_at(long n) { set_fail_at(n); }

EXPORT int cudnnCreate(void **handle);
EXPORT size_t cudnnGetVersion(void);
EXPORT int cudnnSetStream(void *h, void *s);
EXPORT int cudnnCreateTensorDescriptor(image **d);
EXPORT int cudnnDestroyTensorDescriptor(image *d);
EXPORT int cudnnCreateActivationDescriptor(int **d) { return make((void **)d, sizeof **d); }
int cudnnDestroyActivationDescriptor(int *d) { return drop(d); }

int cudnnSetActivationDescriptor(int *d, int mode, int nans, double at)
{
    if ((mode != 1 && mode != 5) || nans != 1 || at != 0)
        return BAD_PARAM;
    *d = mode;
    return entered(0);
}

int cudnnSetTensorNdDescriptor(image *d, int type, int n, const int *shape,
                                      const int *strides);
EXPORT int cudnnCreateFilterDescriptor(filter **d);
EXPORT int cudnnDestroyFilterDescriptor(filter *d);
EXPORT int cudnnSetFilterNdDescriptor(filter *d, int type, int format, int n, const int *shape);
EXPORT int cudnnCreateConvolutionDescriptor(conv **d);
EXPORT int cudnnDestroyConvolutionDescriptor(conv *d);
EXPORT int cudnnSetConvolutionNdDescriptor(conv *d, int n, const int *padding,
                                           const int *stride, const int *dilation, int mode,
                                           int type);
EXPORT int cudnnSetConvolutionGroupCount(conv *d, int groups);
EXPORT int cudnnSetConvolutionMathType(conv *d, int math);
EXPORT int cudnnGetConvolutionForwardAlgorithm_v7(void *h, image *x, filter *w, conv *c,
                                                  image *y, int wanted, int *got,
                                                  performance *to);
EXPORT int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *h, filter *w, image *y, conv *c,
                                                       image *x, int wanted, int *got,
                                                       performance *to);
EXPORT int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *h, image *x, image *y, conv *c,
                                                         filter *w, int wanted, int *got,
                                                         performance *to);
EXPORT int cudnnConvolutionForward(void *h, const void *alpha, image *xd, const void *x,
                                   filter *wd, const void *w, conv *c, int algorithm,
                                   void *space, size_t bytes, const void *beta, image *yd,
                                   void *y);
EXPORT int cudnnCreateActivationDescriptor(int **d);
EXPORT int cudnnDestroyActivationDescriptor(int *d);
EXPORT int cudnnSetActivationDescriptor(int *d, int mode, int nans, double at);
EXPORT int cudnnConvolutionBiasActivationForward(
    void *h, const void *alpha, image *xd, const void *x, filter *wd, const void *w, conv *c,
    int algorithm, void *space, size_t bytes, const void *beta, image *zd, const void *z,
    image *bd, const void *b, int *activation, image *yd, void *y);
EXPORT int cudnnConvolutionBackwardData(void *h, const void *alpha, filter *wd, const void *w,
                                        image *yd, const void *y, conv *c, int algorithm,
                                        void *space, size_t bytes, const void *beta, image *xd,
                                        void *x);
EXPORT int cudnnConvolutionBackwardFilter(void *h, const void *alpha, image *xd, const void *x,
                                          image *yd, const void *y, conv *c, int algorithm,
                                          void *space, size_t bytes, const void *beta,
                                          filter *wd, void *w);

/* ---- descriptors ------------------------------------------------------------------------ */

int cudnnCreate(void **handle)
{
    static int one;
    *handle = &one;
    return entered(0);
}

size_t cudnnGetVersion(void) { return 90000; }

int cudnnSetStream(void *h, void *s)
{
    (void)h;
    stream = s;
    return entered(0);
}

int cudnnCreateTensorDescriptor(image **d) { return make((void **)d, sizeof **d); }
int cudnnDestroyTensorDescriptor(image *d) { return drop(d); }
int cudnnCreateFilterDescriptor(filter **d) { return make((void **)d, sizeof **d); }
int cudnnDestroyFilterDescriptor(filter *d) { return drop(d); }
int cudnnCreateConvolutionDescriptor(conv **d) { return make((void **)d, sizeof **d); }
int cudnnDestroyConvolutionDescriptor(conv *d) { return drop(d); }

int cudnnSetTensorNdDescriptor(image *d, int type, int n, const int *shape, const int *strides)
{
    if (n < 4 || n > MOST)
        return BAD_PARAM;
    *d = (image){.type = type, .n = n};
    for (int i = 0; i < n; i++) {
        if (shape[i] < 1 || strides[i] < 1)
            return BAD_PARAM;
        d->shape[i] = shape[i];
        d->strides[i] = strides[i];
    }
    return entered(0);
}

int cudnnSetFilterNdDescriptor(filter *d, int type, int format, int n, const int *shape)
{
    if (n < 4 || n > MOST || format != 1)
        return BAD_PARAM;
    *d = (filter){.type = type, .n = n};
    memcpy(d->shape, shape, sizeof *shape * (size_t)n);
    return entered(0);
}

int cudnnSetConvolutionNdDescriptor(conv *d, int n, const int *padding, const int *stride,
                                    const int *dilation, int mode, int type)
{
    if (mode != 1 || (type != FLOAT && type != DOUBLE))
        return BAD_PARAM;
    *d = (conv){.n = n, .type = type, .groups = 1};
    for (int i = 0; i < n; i++) {
        if (padding[i] < 0 || stride[i] < 1 || dilation[i] < 1)
            return BAD_PARAM;
        d->padding[i] = padding[i];
        d->stride[i] = stride[i];
        d->dilation[i] = dilation[i];
    }
    return entered(0);
}

int cudnnSetConvolutionGroupCount(conv *d, int groups)
{
    d->groups = groups;
    return entered(0);
}

int cudnnSetConvolutionMathType(conv *d, int math)
{
    d->math = math;
    return entered(0);
}

/* ---- algorithms ------------------------------------------------------------------------- */

static int fits(const image *x, const filter *w, const conv *c, const image *y)
{
    if (x->n != c->n + 2 || w->n != x->n || y->n != x->n || x->type != w->type ||
        x->type != y->type || x->shape[0] != y->shape[0] || y->shape[1] != w->shape[0] ||
        x->shape[1] != w->shape[1] * c->groups || w->shape[0] % c->groups ||
        c->type != (x->type == DOUBLE ? DOUBLE : FLOAT))
        return BAD_PARAM;
    for (int d = 0; d < c->n; d++) {
        int room = x->shape[d + 2] + 2 * c->padding[d] - (w->shape[d + 2] - 1) * c->dilation[d] - 1;
        if (room < 0 || room / c->stride[d] + 1 != y->shape[d + 2])
            return BAD_PARAM;
        if (w->shape[d + 2] == 7)
            return NOT_SUPPORTED;
    }
    return 0;
}

static int propose(const image *x, const filter *w, const conv *c, const image *y, int wanted,
                   int *got, performance *to)
{
    int r = entered(0);
    pthread_mutex_lock(&lock);
    heuristics++;
    pthread_mutex_unlock(&lock);
    *got = 0;
    if (r || (r = fits(x, w, c, y)))
        return r;
    if (wanted < 2)
        return BAD_PARAM;
    to[0] = (performance){.algorithm = 0, .math = c->math};
    to[1] = (performance){
        .algorithm = 1, .workspace = WORKSPACE, .deterministic = 1, .math = c->math};
    *got = 2;
    return 0;
}

int cudnnGetConvolutionForwardAlgorithm_v7(void *h, image *x, filter *w, conv *c, image *y,
                                           int wanted, int *got, performance *to)
{
    (void)h;
    return propose(x, w, c, y, wanted, got, to);
}

int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *h, filter *w, image *y, conv *c, image *x,
                                                int wanted, int *got, performance *to)
{
    (void)h;
    return propose(x, w, c, y, wanted, got, to);
}

int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *h, image *x, image *y, conv *c,
                                                  filter *w, int wanted, int *got,
                                                  performance *to)
{
    (void)h;
    return propose(x, w, c, y, wanted, got, to);
}

/* ---- the work --------------------------------------------------------------------------- */

typedef struct work {
    int kind;
    image x, y;
    filter w;
    conv c;
    char *at[3], *space; /* of x, w, y */
    const char *bias;    /* NULL: none */
    int relu;
} work;

static size_t size_of(int type) { return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2; }

static double get(int type, const char *at)
{
    double d;
    float f = 0;
    half h;
    uint32_t bits = 0;
    switch (type) {
    case DOUBLE: memcpy(&d, at, 8); return d;
    case HALF: memcpy(&h, at, 2); return (double)h;
    case BFLOAT16: memcpy((char *)&bits + 2, at, 2), memcpy(&f, &bits, 4); break;
    default: memcpy(&f, at, 4);
    }
    return (double)f;
}

static void put(int type, char *at, double v)
{
    float f = (float)v;
    half h = (half)f;
    uint32_t bits;
    switch (type) {
    case DOUBLE: memcpy(at, &v, 8); break;
    case HALF: memcpy(at, &h, 2); break;
    case BFLOAT16:
        memcpy(&bits, &f, 4);
        bits += 0x7fff + (bits >> 16 & 1);
        memcpy(at, (char *)&bits + 2, 2);
        break;
    default: memcpy(at, &f, 4);
    }
}

static size_t last_of(const image *x)
{
    size_t last = 1;
    for (int i = 0; i < x->n; i++)
        last += (size_t)(x->shape[i] - 1) * (size_t)x->strides[i];
    return last * size_of(x->type);
}

static size_t filter_size(const filter *w)
{
    size_t n = 1;
    for (int i = 0; i < w->n; i++)
        n *= (size_t)w->shape[i];
    return n;
}

/* Adds every product of x and w to y, of x and y to w, of w and y to x: sums are of doubles. */
static void all_products(const work *k, double *sum)
{
    const int *ys = k->y.shape, *ws = k->w.shape, n = k->c.n;
    int64_t taps = 1, places = 1, whole = 1, o_group = ws[0] / k->c.groups;
    for (int d = 0; d < n; d++) {
        taps *= ws[d + 2];
        places *= ys[d + 2];
        whole *= k->x.shape[d + 2];
    }
    size_t size = size_of(k->x.type);
    for (int64_t image_ = 0; image_ < ys[0]; image_++)
        for (int64_t place = 0; place < places; place++)
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t xo = image_ * k->x.strides[0], yo = image_ * k->y.strides[0];
                int64_t p = place, t = tap, inside = 1, x_row = 0;
                int64_t at[MOST];
                for (int d = n - 1; d >= 0; d--) {
                    int64_t i = p % ys[d + 2], j = t % ws[d + 2];
                    at[d] = i * k->c.stride[d] + j * k->c.dilation[d] - k->c.padding[d];
                    inside &= at[d] >= 0 && at[d] < k->x.shape[d + 2];
                    xo += at[d] * k->x.strides[d + 2];
                    yo += i * k->y.strides[d + 2];
                    p /= ys[d + 2];
                    t /= ws[d + 2];
                }
                if (!inside)
                    continue;
                for (int d = 0; d < n; d++)
                    x_row = x_row * k->x.shape[d + 2] + at[d];
                for (int64_t o = 0; o < ws[0]; o++)
                    for (int64_t q = 0; q < ws[1]; q++) {
                        int64_t c = o / o_group * ws[1] + q;
                        int64_t wi = (o * taps + tap) * ws[1] + q;
                        int64_t xi = xo + c * k->x.strides[1], yi = yo + o * k->y.strides[1];
                        int64_t yn = (image_ * places + place) * ws[0] + o;
                        int64_t xn = (image_ * whole + x_row) * k->x.shape[1] + c;
                        int type = k->x.type;
                        if (k->kind == FORWARD)
                            sum[yn] += get(type, k->at[0] + xi * (int64_t)size) *
                                       get(type, k->at[1] + wi * (int64_t)size);
                        else if (k->kind == DATA)
                            sum[xn] += get(type, k->at[2] + yi * (int64_t)size) *
                                       get(type, k->at[1] + wi * (int64_t)size);
                        else
                            sum[wi] += get(type, k->at[0] + xi * (int64_t)size) *
                                       get(type, k->at[2] + yi * (int64_t)size);
                    }
            }
}

static void put_image(const image *x, char *at, const double *sum)
{
    int64_t n = 1;
    for (int i = 0; i < x->n; i++)
        n *= x->shape[i];
    for (int64_t i = 0; i < n; i++) {
        int64_t left = i / x->shape[1], offset = i % x->shape[1] * x->strides[1];
        for (int d = x->n - 1; d >= 2; d--) {
            offset += left % x->shape[d] * x->strides[d];
            left /= x->shape[d];
        }
        put(x->type, at + (offset + left * x->strides[0]) * (int64_t)size_of(x->type), sum[i]);
    }
}

static bool run(void *ctx)
{
    const work *k = ctx;
    size_t wn = filter_size(&k->w), xn = 1, yn = 1;
    if (!standin_lives(k->at[0], last_of(&k->x)) || !standin_lives(k->at[2], last_of(&k->y)) ||
        !standin_lives(k->at[1], wn * size_of(k->w.type)) ||
        !standin_lives(k->space, WORKSPACE) ||
        (k->bias && !standin_lives(k->bias, (size_t)k->y.shape[1] * size_of(k->y.type))))
        return false;
    memset(k->space, 0x5a, WORKSPACE);
    for (int i = 0; i < k->x.n; i++) {
        xn *= (size_t)k->x.shape[i];
        yn *= (size_t)k->y.shape[i];
    }
    double *sum = calloc(wn + xn + yn, sizeof *sum);
    if (!sum)
        abort();
    all_products(k, sum);
    for (size_t i = 0; k->bias && i < yn; i++) {
        size_t o = i % (size_t)k->y.shape[1];
        sum[i] += get(k->y.type, k->bias + o * size_of(k->y.type));
        if (k->relu && sum[i] < 0)
            sum[i] = 0;
    }
    if (k->kind == FORWARD)
        put_image(&k->y, k->at[2], sum);
    else if (k->kind == DATA)
        put_image(&k->x, k->at[0], sum);
    else
        for (size_t i = 0; i < wn; i++)
            put(k->w.type, k->at[1] + i * size_of(k->w.type), sum[i]);
    free(sum);
    return true;
}

static int start(work *k, const void *alpha, const void *beta, int algorithm, size_t bytes)
{
    int type = k->x.type == DOUBLE ? DOUBLE : FLOAT, r = entered(0);
    if (r || (r = fits(&k->x, &k->w, &k->c, &k->y)))
        return r;
    if (algorithm != 1 || bytes < WORKSPACE || get(type, alpha) != 1 || get(type, beta) != 0)
        return BAD_PARAM;
    pthread_mutex_lock(&lock);
    runs[k->kind]++;
    pthread_mutex_unlock(&lock);
    return standin_call(stream, run, k, sizeof *k) ? FAILED : 0;
}

int cudnnConvolutionForward(void *h, const void *alpha, image *xd, const void *x, filter *wd,
                            const void *w, conv *c, int algorithm, void *space, size_t bytes,
                            const void *beta, image *yd, void *y)
{
    (void)h;
    work k = {FORWARD, *xd, *yd, *wd, *c, {(char *)(uintptr_t)x, (char *)(uintptr_t)w, y}, space, NULL, 0};
    return start(&k, alpha, beta, algorithm, bytes);
}

int cudnnConvolutionBackwardData(void *h, const void *alpha, filter *wd, const void *w,
                                 image *yd, const void *y, conv *c, int algorithm, void *space,
                                 size_t bytes, const void *beta, image *xd, void *x)
{
    (void)h;
    work k = {DATA, *xd, *yd, *wd, *c, {x, (char *)(uintptr_t)w, (char *)(uintptr_t)y}, space, NULL, 0};
    return start(&k, alpha, beta, algorithm, bytes);
}

int cudnnConvolutionBackwardFilter(void *h, const void *alpha, image *xd, const void *x,
                                   image *yd, const void *y, conv *c, int algorithm, void *space,
                                   size_t bytes, const void *beta, filter *wd, void *w)
{
    (void)h;
    work k = {FILTER, *xd, *yd, *wd, *c, {(char *)(uintptr_t)x, w, (char *)(uintptr_t)y}, space, NULL, 0};
    return start(&k, alpha, beta, algorithm, bytes);
}

int cudnnConvolutionBiasActivationForward(void *h, const void *alpha, image *xd, const void *x,
                                          filter *wd, const void *w, conv *c, int algorithm,
                                          void *space, size_t bytes, const void *beta, image *zd,
                                          const void *z, image *bd, const void *b,
                                          int *activation, image *yd, void *y)
{
    (void)h, (void)zd;
    work k = {FORWARD, *xd, *yd, *wd, *c, {(char *)(uintptr_t)x, (char *)(uintptr_t)w, y}, space,
              b, *activation == 1};
    if (z != y || bd->shape[0] != 1 || bd->shape[1] != yd->shape[1] || bd->type != yd->type)
        return BAD_PARAM;
    return start(&k, alpha, beta, algorithm, bytes);
}
