/* blas.c - cuBLASLt, opened at run time
 *
 * needs   device.c, the allocator
 * gives   fr__gpu_matmul ...
 *
 * Declarations and numbers are from NVIDIA's public documentation of cuBLASLt. Its matrices are stored
 * by columns: a row-major product is asked for as that of the transposed matrices, out^T = b^T a^T, which
 * needs no copy and makes the bias one of rows, as the library has it.
 *
 * What a product of some shape needs (descriptors, the algorithm that the library thinks fastest) is made
 * once and kept by shape, layout and alignment.
 */
#include "device/cuda/blas.h"
#include "device/cuda/gpu.h"
#include "device/cuda/library.h"

typedef int status;
typedef struct cublasLtContext *lt_handle;
typedef void *lt_object; /* descriptors and layouts */
typedef struct lt_algorithm {
    uint64_t data[8];
} lt_algorithm;
typedef struct lt_heuristic {
    lt_algorithm algorithm;
    size_t workspace;
    status state;
    float waves;
    int reserved[4];
} lt_heuristic;

enum { STATUS_SUCCESS = 0, STATUS_ALLOC_FAILED = 3 };
enum { TYPE_R_32F = 0, TYPE_R_64F = 1, TYPE_R_16F = 2, TYPE_C_32F = 4, TYPE_R_16BF = 14 };
enum { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77, COMPUTE_64F = 70 };
enum { DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS_POINTER = 8 };
enum { LAYOUT_BATCH_COUNT = 5, LAYOUT_BATCH_STRIDE = 6 };
enum { PREF_WORKSPACE = 1, PREF_ALIGN_A = 5, PREF_ALIGN_B, PREF_ALIGN_C, PREF_ALIGN_D };
enum { EPILOGUE_DEFAULT = 1, EPILOGUE_RELU = 2, EPILOGUE_BIAS = 4, EPILOGUE_GELU = 32 };

// clang-format off
#define LT_FUNCTIONS(X)                                                                        \
    X(cublasLtCreate, status, (lt_handle *h))                                                  \
    X(cublasLtGetVersion, size_t, (void))                                                      \
    X(cublasLtMatmulDescCreate, status, (lt_object *d, int compute, int scale))                \
    X(cublasLtMatmulDescDestroy, status, (lt_object d))                                        \
    X(cublasLtMatmulDescSetAttribute, status, (lt_object d, int which, const void *v, size_t n))\
    X(cublasLtMatrixLayoutCreate, status,                                                      \
      (lt_object *l, int type, uint64_t rows, uint64_t columns, int64_t stride))               \
    X(cublasLtMatrixLayoutDestroy, status, (lt_object l))                                      \
    X(cublasLtMatrixLayoutSetAttribute, status,                                                \
      (lt_object l, int which, const void *v, size_t n))                                       \
    X(cublasLtMatmulPreferenceCreate, status, (lt_object *p))                                  \
    X(cublasLtMatmulPreferenceDestroy, status, (lt_object p))                                  \
    X(cublasLtMatmulPreferenceSetAttribute, status,                                            \
      (lt_object p, int which, const void *v, size_t n))                                       \
    X(cublasLtMatmulAlgoGetHeuristic, status,                                                  \
      (lt_handle h, lt_object desc, lt_object a, lt_object b, lt_object c, lt_object d,        \
       lt_object preference, int wanted, lt_heuristic *to, int *got))                          \
    X(cublasLtMatmul, status,                                                                  \
      (lt_handle h, lt_object desc, const void *alpha, const void *a, lt_object a_layout,      \
       const void *b, lt_object b_layout, const void *beta, const void *c, lt_object c_layout, \
       void *d, lt_object d_layout, const lt_algorithm *algorithm, void *workspace,            \
       size_t bytes, CUstream s))
// clang-format on

static struct {
#define X(name, type, parameters) type(*name) parameters;
    LT_FUNCTIONS(X)
#undef X
} lt;

/* ---- opening ------------------------------------------------------------------------ */

static const fr__library_entry table[] = {
#define X(name, type, parameters) {#name, offsetof(__typeof__(lt), name)},
    LT_FUNCTIONS(X)
#undef X
};

static fr__library library = {
    .title = "cuBLASLt",
    .setting = "CUBLASLT",
    .known = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"},
    .entries = table,
    .n = FR__COUNT(table),
    .functions = &lt,
    .version = &lt.cublasLtGetVersion,
    .once = PTHREAD_ONCE_INIT,
};

static void open_library(void) { fr__library_open(&library); }

bool fr__gpu_blas_ready(void)
{
    if (fr__cuda_forked())
        return false;
    pthread_once(&library.once, open_library);
    return library.ready;
}

const char *fr__gpu_blas_why(void)
{
    if (fr__cuda_forked())
        return fr__cuda_why();
    fr__gpu_blas_ready();
    return library.why;
}

static atomic_int tf32; /* 1: off, 2: on */

bool fr__gpu_tf32(void)
{
    int is = atomic_load_explicit(&tf32, memory_order_relaxed);
    if (!is) {
        int unset = 0;
        is = fr__env_on("TF32", true) ? 2 : 1;
        if (!atomic_compare_exchange_strong(&tf32, &unset, is))
            is = unset;
    }
    return is == 2;
}

bool fr__gpu_set_tf32(bool on)
{
    bool was = fr__gpu_tf32();
    atomic_store(&tf32, on ? 2 : 1);
    return was;
}

/* ---- what a shape needs ------------------------------------------------------------- */

enum { PLANS = 4096, WORKSPACE = 8 << 20, WORKSPACE_HOPPER = 32 << 20, ALIGNED = 16 };

typedef struct key { /* no padding: compared as bytes */
    int64_t batch, m, n, k;
    int64_t stride[3], step[3]; /* a, b, out */
    uint8_t align[4];           /* and of the bias; 0: none */
    uint8_t dtype, tf32, add, epilogue, transposed[2], unused[6];
} key;

typedef struct plan {
    key key;
    lt_object desc, a, b, out;
    lt_algorithm algorithm;
    size_t workspace;
    bool can;
} plan;

typedef struct fr__gpu_blas { /* of a device */
    pthread_mutex_t lock;
    lt_handle handle;
    fr__map plans;
    FR__VEC(plan *) all;
} fr__gpu_blas;

int fr__gpu_blas_new(fr__gpu *g)
{
    fr__gpu_blas *b = fr__calloc(1, sizeof *b);
    if (!b)
        return -1;
    pthread_mutex_init(&b->lock, NULL);
    g->blas = b;
    return 0;
}

static uint8_t alignment(const char *at)
{
    uintptr_t low = (uintptr_t)at & (ALIGNED - 1);
    return low ? (uint8_t)(low & -low) : ALIGNED;
}

static void make_key(key *to, const fr__gpu_product *p)
{
    const fr__gpu_matrix *of[] = {&p->a, &p->b, &p->out};
    *to = (key){.batch = p->batch, .m = p->m, .n = p->n, .k = p->k};
    for (int i = 0; i < 3; i++) {
        to->stride[i] = of[i]->stride;
        to->step[i] = p->batch > 1 ? of[i]->batch : 0;
        to->align[i] = alignment(of[i]->at);
    }
    to->align[3] = p->bias ? alignment(p->bias) : 0;
    to->dtype = (uint8_t)p->dtype;
    to->tf32 = p->tf32 && (p->dtype == FR_FLOAT32 || p->dtype == FR_COMPLEX64);
    to->add = p->add;
    to->epilogue = (uint8_t)p->epilogue;
    to->transposed[0] = p->a.transposed;
    to->transposed[1] = p->b.transposed;
}

static bool types(const key *k, int *type, int *scale, int *compute)
{
    *scale = TYPE_R_32F;
    *compute = k->tf32 ? COMPUTE_32F_FAST_TF32 : COMPUTE_32F;
    switch (k->dtype) {
    case FR_FLOAT32: *type = TYPE_R_32F; return true;
    case FR_FLOAT16: *type = TYPE_R_16F; return true;
    case FR_BFLOAT16: *type = TYPE_R_16BF; return true;
    case FR_FLOAT64:
        *type = *scale = TYPE_R_64F;
        *compute = COMPUTE_64F;
        return true;
    case FR_COMPLEX64: *type = *scale = TYPE_C_32F; return true;
    default: return false;
    }
}

static bool sensible(const key *k)
{
    bool plain = k->dtype != FR_FLOAT64 && k->dtype != FR_COMPLEX64;
    return k->batch > 0 && k->batch <= INT32_MAX && k->m > 0 && k->n > 0 && k->k > 0 &&
           k->stride[0] >= (k->transposed[0] ? k->m : k->k) &&
           k->stride[1] >= (k->transposed[1] ? k->k : k->n) && k->stride[2] >= k->n &&
           (plain || (!k->align[3] && !k->epilogue)) &&
           !(k->add && (k->align[3] || k->epilogue));
}

/* rows x columns, by columns */
static bool make_layout(lt_object *to, int type, int64_t rows, int64_t columns, const key *k,
                        int which)
{
    int32_t count = (int32_t)k->batch;
    if (lt.cublasLtMatrixLayoutCreate(to, type, (uint64_t)rows, (uint64_t)columns,
                                      k->stride[which])) {
        *to = NULL;
        return false;
    }
    return count == 1 || (!lt.cublasLtMatrixLayoutSetAttribute(*to, LAYOUT_BATCH_COUNT, &count,
                                                               sizeof count) &&
                          !lt.cublasLtMatrixLayoutSetAttribute(
                              *to, LAYOUT_BATCH_STRIDE, &k->step[which], sizeof *k->step));
}

static bool make_desc(plan *p, int compute, int scale)
{
    const key *k = &p->key;
    /* Our b is the library's first operand. */
    int32_t first = k->transposed[1], second = k->transposed[0];
    uint32_t epilogue = EPILOGUE_DEFAULT;
    if (k->epilogue || k->align[3])
        epilogue = (k->epilogue == FR__GPU_RELU        ? EPILOGUE_RELU
                    : k->epilogue == FR__GPU_GELU_TANH ? EPILOGUE_GELU
                                                       : 0) |
                   (k->align[3] ? EPILOGUE_BIAS : 0);
    if (lt.cublasLtMatmulDescCreate(&p->desc, compute, scale)) {
        p->desc = NULL;
        return false;
    }
    return !lt.cublasLtMatmulDescSetAttribute(p->desc, DESC_TRANSA, &first, sizeof first) &&
           !lt.cublasLtMatmulDescSetAttribute(p->desc, DESC_TRANSB, &second, sizeof second) &&
           !lt.cublasLtMatmulDescSetAttribute(p->desc, DESC_EPILOGUE, &epilogue,
                                              sizeof epilogue);
}

static bool choose_algorithm(fr__gpu *g, lt_handle handle, plan *p, lt_object preference)
{
    const key *k = &p->key;
    size_t most = g->info.sm >= 90 ? WORKSPACE_HOPPER : WORKSPACE;
    const struct {
        int which;
        uint32_t bytes;
    } aligned[] = {{PREF_ALIGN_A, k->align[1]},
                   {PREF_ALIGN_B, k->align[0]},
                   {PREF_ALIGN_C, k->align[2]},
                   {PREF_ALIGN_D, k->align[2]}};
    lt_heuristic best = {0};
    int got = 0;
    if (lt.cublasLtMatmulPreferenceSetAttribute(preference, PREF_WORKSPACE, &most, sizeof most))
        return false;
    for (int i = 0; i < FR__COUNT(aligned); i++)
        if (lt.cublasLtMatmulPreferenceSetAttribute(preference, aligned[i].which,
                                                    &aligned[i].bytes, sizeof aligned[i].bytes))
            return false;
    if (lt.cublasLtMatmulAlgoGetHeuristic(handle, p->desc, p->b, p->a, p->out, p->out,
                                          preference, 1, &best, &got) ||
        got < 1 || best.state)
        return false;
    p->algorithm = best.algorithm;
    p->workspace = best.workspace;
    return true;
}

static bool fill_plan(fr__gpu *g, lt_handle handle, plan *p)
{
    const key *k = &p->key;
    int type, scale, compute;
    lt_object preference = NULL;
    if (!sensible(k) || !types(k, &type, &scale, &compute) || !make_desc(p, compute, scale))
        return false;
    if (!make_layout(&p->a, type, k->transposed[0] ? k->m : k->k,
                     k->transposed[0] ? k->k : k->m, k, 0) ||
        !make_layout(&p->b, type, k->transposed[1] ? k->k : k->n,
                     k->transposed[1] ? k->n : k->k, k, 1) ||
        !make_layout(&p->out, type, k->n, k->m, k, 2))
        return false;
    if (lt.cublasLtMatmulPreferenceCreate(&preference))
        return false;
    bool can = choose_algorithm(g, handle, p, preference);
    lt.cublasLtMatmulPreferenceDestroy(preference);
    return can;
}

static void empty_plan(plan *p)
{
    if (p->desc)
        lt.cublasLtMatmulDescDestroy(p->desc);
    lt_object layouts[] = {p->a, p->b, p->out};
    for (int i = 0; i < FR__COUNT(layouts); i++)
        if (layouts[i])
            lt.cublasLtMatrixLayoutDestroy(layouts[i]);
    p->desc = p->a = p->b = p->out = NULL;
}

static void forget_all(fr__gpu_blas *b)
{
    for (int i = 0; i < b->all.n; i++) {
        empty_plan(b->all.at[i]);
        fr__free(b->all.at[i]);
    }
    b->all.n = 0;
    fr__map_free(&b->plans);
}

static plan *new_plan(fr__gpu *g, fr__gpu_blas *b, const key *k, uint64_t hash)
{
    static _Atomic int known;
    if (b->all.n >= fr__env_limit(&known, "MATMUL_CACHE_LIMIT", PLANS))
        forget_all(b);
    plan *p = fr__calloc(1, sizeof *p);
    if (!p || fr__vec_reserve(&b->all, 1)) {
        fr__free(p);
        return NULL;
    }
    p->key = *k;
    if (fr__map_put(&b->plans, &p->key, sizeof p->key, hash, p)) {
        fr__free(p);
        return NULL;
    }
    b->all.at[b->all.n++] = p;
    p->can = fill_plan(g, b->handle, p);
    if (!p->can)
        empty_plan(p); /* known, and not asked again */
    return p;
}

/* With the device's lock held and its context current. NULL with an error. */
static plan *find_plan(fr__gpu *g, fr__gpu_blas *b, const fr__gpu_product *product)
{
    key k;
    if (!b->handle) {
        status r = lt.cublasLtCreate(&b->handle);
        if (r) {
            b->handle = NULL;
            return fr__fail(r == STATUS_ALLOC_FAILED ? FR__E_MEMORY : FR__E_DEVICE,
                            "gpu %d: cublasLtCreate: status %d", g->info.index, r);
        }
    }
    make_key(&k, product);
    uint64_t hash = fr__hash(&k, sizeof k, 0);
    plan *p = fr__map_get(&b->plans, &k, sizeof k, hash);
    return p ? p : new_plan(g, b, &k, hash);
}

/* ---- the calls ---------------------------------------------------------------------- */

static bool nothing(const fr__gpu_product *p) { return !p->batch || !p->m || !p->n; }

bool fr__gpu_matmul_can(fr__gpu *g, const fr__gpu_product *product, size_t *workspace)
{
    CUcontext back;
    fr__saved_error e;
    fr__gpu_blas *b = g->blas;
    bool can = false;
    *workspace = 0;
    if (nothing(product))
        return true;
    if (!fr__gpu_blas_ready())
        return false;
    fr__error_save(&e);
    if (!fr__gpu_enter(g, &back)) {
        pthread_mutex_lock(&b->lock);
        plan *p = find_plan(g, b, product);
        can = p && p->can;
        *workspace = can ? p->workspace : 0;
        pthread_mutex_unlock(&b->lock);
        fr__gpu_leave(back);
    }
    fr__error_restore(&e);
    return can;
}

static int run(fr__gpu_stream *s, lt_handle handle, const plan *p,
               const fr__gpu_product *product, char *workspace)
{
    /* Of each scale type: float32, float64, a complex number. */
    static const float one[2] = {1, 0}, zero[2] = {0, 0};
    static const double one64 = 1, zero64 = 0;
    bool f64 = product->dtype == FR_FLOAT64;
    const void *alpha = f64 ? (const void *)&one64 : one;
    const void *beta = product->add ? alpha : f64 ? (const void *)&zero64 : zero;
    if (product->bias && lt.cublasLtMatmulDescSetAttribute(p->desc, DESC_BIAS_POINTER,
                                                           &product->bias, sizeof(void *)))
        return fr__fail_int(FR__E_DEVICE, "gpu %d: matmul: no place for the bias",
                            s->gpu->info.index);
    void *out = (void *)(uintptr_t)product->out.at;
    status r = lt.cublasLtMatmul(handle, p->desc, alpha, product->b.at, p->b, product->a.at,
                                 p->a, beta, out, p->out, out, p->out, &p->algorithm, workspace,
                                 p->workspace, s->handle);
    if (r)
        return fr__fail_int(FR__E_DEVICE, "gpu %d: cublasLtMatmul: status %d",
                            s->gpu->info.index, r);
    return 0;
}

static int run_with_workspace(fr__gpu_stream *s, lt_handle handle, const plan *p,
                              const fr__gpu_product *product)
{
    size_t bytes = p->workspace;
    if (!bytes || product->workspace)
        return run(s, handle, p, product, product->workspace);
    if (fr__gpu_not_recording(s, "a product without a workspace"))
        return -1;
    char *workspace = fr__gpu_alloc(s, bytes);
    int bad = workspace ? run(s, handle, p, product, workspace) : -1;
    fr__gpu_free(s, workspace, bytes);
    return bad;
}

int fr__gpu_matmul(fr__gpu_stream *s, const fr__gpu_product *product)
{
    CUcontext back;
    fr__gpu *g = s->gpu;
    fr__gpu_blas *b = g->blas;
    if (nothing(product))
        return 0;
    if (!fr__gpu_blas_ready())
        return fr__fail_int(FR__E_DEVICE, "gpu %d: matmul: %s", g->info.index,
                            fr__gpu_blas_why());
    if (fr__gpu_enter(g, &back))
        return -1;
    pthread_mutex_lock(&b->lock); /* the bias is the plan's while the call takes it */
    plan *p = find_plan(g, b, product);
    int bad = p ? 0 : -1;
    if (p && !p->can) {
        bad = fr__fail_int(FR__E_DEVICE, "gpu %d: matmul: cuBLASLt has no algorithm for it",
                           g->info.index);
    } else if (p) {
        fr__gpu_launched(s, "matmul");
        bad = run_with_workspace(s, b->handle, p, product);
    }
    pthread_mutex_unlock(&b->lock);
    if (!bad && fr__gpu_blocking() && !atomic_load(&s->recording))
        bad = FR__GPU(g, s, cuStreamSynchronize, (s->handle));
    fr__gpu_leave(back);
    return bad;
}
