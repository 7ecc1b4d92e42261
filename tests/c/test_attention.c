/* test_attention.c - attention in blocks, and its gradients, against plain sums in double */
#include "native/attention.h"

#include "values.h"

#include <stdlib.h>

static uint32_t seed = 3;
static int pick(int n) { return (int)((seed = seed * 1664525u + 1013904223u) >> 8) % n; }
static double real(void) { return (pick(2001) - 1000) / 700.0; }

static void put(char *at, int dtype, double v)
{
    float f = (float)v;
    uint16_t h = dtype == FR_FLOAT16 ? half_bits(f) : brain_bits(f);
    memcpy(at, dtype == FR_FLOAT32 ? (void *)&f : (void *)&h, fr_dtype_size((fr_dtype)dtype));
}

static double get(const fr__rows *x, int dtype, int64_t batch, int64_t row, int64_t col)
{
    int64_t at = batch * x->batch.stride[0] + row * x->row + col * x->col;
    return read_number(x->data + at * (int64_t)fr_dtype_size((fr_dtype)dtype), dtype).f;
}

/* [batches, n, width], or [n, batches, width] in memory. */
static fr__rows make(int dtype, int64_t batches, int64_t n, int64_t width, bool turned)
{
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)dtype), all = batches * n * width;
    char *data = malloc((size_t)(all * size) + 1);
    for (int64_t i = 0; i < all; i++)
        put(data + i * size, dtype, real());
    fr__rows x = {data,
                  {1, {batches}, {turned ? width : n * width}},
                  turned ? batches * width : width,
                  1};
    return x;
}

typedef struct {
    fr__attention x;
    double *p; /* [batches, queries, keys] probabilities */
    double *out;
} reference;

static bool visible(const fr__attention *x, int64_t i, int64_t j)
{
    return !x->causal || j <= i + x->keys - x->queries;
}

static void find(reference *r)
{
    const fr__attention *x = &r->x;
    r->p = calloc((size_t)(x->batches * x->queries * x->keys + 1), sizeof(double));
    r->out = calloc((size_t)(x->batches * x->queries * x->out_width + 1), sizeof(double));
    for (int64_t b = 0; b < x->batches; b++)
        for (int64_t i = 0; i < x->queries; i++) {
            double most = -INFINITY, sum = 0, *p = r->p + (b * x->queries + i) * x->keys;
            for (int64_t j = 0; j < x->keys; j++) {
                double s = 0;
                for (int64_t e = 0; e < x->width; e++)
                    s += get(&x->q, x->dtype, b, i, e) *
                         get(&x->k, x->dtype, b / x->group, j, e);
                s *= (double)x->scale;
                if (x->mask_dtype == FR_FLOAT32)
                    s += get(&x->mask, FR_FLOAT32, b, i, j);
                else if (x->mask_dtype == FR_BOOL &&
                         !x->mask.data[b * x->mask.batch.stride[0] + i * x->mask.row + j])
                    s = -INFINITY;
                p[j] = visible(x, i, j) ? s : -INFINITY;
                most = p[j] > most ? p[j] : most;
            }
            for (int64_t j = 0; j < x->keys; j++)
                sum += p[j] = exp(p[j] - most);
            for (int64_t j = 0; j < x->keys; j++) {
                p[j] /= sum;
                for (int64_t e = 0; e < x->out_width; e++)
                    r->out[(b * x->queries + i) * x->out_width + e] +=
                        p[j] * get(&x->v, x->dtype, b / x->group, j, e);
            }
        }
}

static double slack(int dtype)
{
    return dtype == FR_FLOAT32 ? 3e-6 : dtype == FR_FLOAT16 ? 2e-3 : 2e-2;
}

static void expect_near(const char *what, const char *have, const double *want, int64_t n,
                        int dtype)
{
    double worst = 0, most = 1e-3;
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)dtype);
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        double v = read_number(have + i * size, dtype).f;
        worst = fmax(worst, (v != v) != (want[i] != want[i]) ? INFINITY
                            : v != v                         ? 0
                                                             : fabs(v - want[i]));
    }
    if (!EXPECT(worst <= slack(dtype) * most))
        printf("     %s: off by %g of %g\n", what, worst, most);
}

static void gradients(reference *r)
{
    const fr__attention *x = &r->x;
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)x->dtype);
    int64_t nq = x->batches * x->queries * x->width,
            nk = x->batches / x->group * x->keys * x->width,
            nv = x->batches / x->group * x->keys * x->out_width;
    fr__attention_grad g = {
        .x = *x,
        .out = {x->out, {1, {x->batches}, {x->queries * x->out_width}}, x->out_width, 1},
        .dout = make(x->dtype, x->batches, x->queries, x->out_width, pick(2))};
    double *dq = calloc((size_t)nq, 8), *dk = calloc((size_t)nk, 8),
           *dv = calloc((size_t)nv, 8);
    for (int64_t b = 0; b < x->batches; b++)
        for (int64_t i = 0; i < x->queries; i++) {
            const double *p = r->p + (b * x->queries + i) * x->keys;
            int64_t kb = b / x->group;
            double delta = 0;
            for (int64_t e = 0; e < x->out_width; e++)
                delta += get(&g.dout, x->dtype, b, i, e) *
                         r->out[(b * x->queries + i) * x->out_width + e];
            for (int64_t j = 0; j < x->keys; j++) {
                double dp = 0;
                for (int64_t e = 0; e < x->out_width; e++) {
                    double o = get(&g.dout, x->dtype, b, i, e);
                    dp += o * get(&x->v, x->dtype, kb, j, e);
                    dv[(kb * x->keys + j) * x->out_width + e] += p[j] * o;
                }
                double ds = p[j] * (dp - delta) * (double)x->scale;
                for (int64_t e = 0; e < x->width; e++) {
                    dq[(b * x->queries + i) * x->width + e] +=
                        ds * get(&x->k, x->dtype, kb, j, e);
                    dk[(kb * x->keys + j) * x->width + e] += ds * get(&x->q, x->dtype, b, i, e);
                }
            }
        }
    g.dq = malloc((size_t)((nq + nk + nv) * size));
    g.dk = g.dq + nq * size;
    g.dv = g.dk + nk * size;
    size_t scratch = fr__attention_grad_scratch(&g);
    char *space = aligned_alloc(64, (scratch + 63) / 64 * 64);
    memset(space, 0xff, scratch);
    fr__attention_grad_run(&g, 0, x->batches / x->group, space);
    expect_near("dq", g.dq, dq, nq, x->dtype);
    expect_near("dk", g.dk, dk, nk, x->dtype);
    expect_near("dv", g.dv, dv, nv, x->dtype);
    free((char *)g.dout.data);
    free(g.dq);
    free(space);
    free(dq);
    free(dk);
    free(dv);
}

static void try_one(int dtype, int64_t queries, int64_t keys, int64_t width, int64_t out_width,
                    int64_t batches, int64_t group, bool causal, int mask)
{
    reference r = {.x = {.dtype = dtype,
                         .batches = batches,
                         .group = group,
                         .queries = queries,
                         .keys = keys,
                         .width = width,
                         .out_width = out_width,
                         .scale = 1 / sqrtf((float)width),
                         .causal = causal,
                         .mask_dtype = mask}};
    fr__attention *x = &r.x;
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)dtype), n = batches * queries * out_width;
    x->q = make(dtype, batches, queries, width, pick(2));
    x->k = make(dtype, batches / group, keys, width, pick(2));
    x->v = make(dtype, batches / group, keys, out_width, pick(2));
    if (mask == FR_FLOAT32) {
        x->mask = make(FR_FLOAT32, batches, queries, keys, false);
    } else if (mask == FR_BOOL) {
        x->mask = make(FR_FLOAT32, batches, queries, keys, false);
        char *bits = (char *)x->mask.data;
        for (int64_t i = 0; i < batches * queries * keys; i++)
            bits[i] = i % keys == 0 || pick(3) > 0;
    }
    find(&r);
    x->out = malloc((size_t)(n * size) + 1);
    size_t scratch = fr__attention_scratch(x);
    x->packed = aligned_alloc(64, (fr__attention_packed(x) + 63) / 64 * 64);
    char *space = aligned_alloc(64, (scratch + 63) / 64 * 64);
    memset(space, 0xff, scratch);
    int64_t units = batches * ((queries + FR__ATTENTION_ROWS - 1) / FR__ATTENTION_ROWS);
    int before = test_failures;
    fr__attention_pack(x, 0, batches / group);
    fr__attention_run(x, units / 2, units, space);
    fr__attention_run(x, 0, units / 2, space);
    expect_near("out", x->out, r.out, n, dtype);
    gradients(&r);
    if (test_failures != before)
        printf("     %s q %lld k %lld d %lld %lld batches %lld group %lld causal %d mask %d\n",
               fr_dtype_name((fr_dtype)dtype), (long long)queries, (long long)keys,
               (long long)width, (long long)out_width, (long long)batches, (long long)group,
               causal, mask);
    free((char *)x->q.data);
    free((char *)x->k.data);
    free((char *)x->v.data);
    free((char *)x->mask.data);
    free(x->out);
    free(x->packed);
    free(space);
    free(r.p);
    free(r.out);
}

static void try_all(void)
{
    static const int dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_BFLOAT16},
                     masks[] = {-1, FR_FLOAT32, FR_BOOL};
    for (int d = 0; d < 3; d++) {
        for (int i = 0; i < 25; i++) {
            int64_t group = 1 + pick(3), queries = 1 + pick(110);
            bool causal = pick(2);
            try_one(dtypes[d], queries, causal ? queries + pick(5) : 1 + pick(110),
                    1 + pick(70), 1 + pick(70), group * (1 + pick(2)), group, causal,
                    masks[pick(3)]);
        }
        try_one(dtypes[d], 100, 2 * FR__ATTENTION_BLOCK + 5, 64, 64, 2, 2, false, -1);
        try_one(dtypes[d], FR__ATTENTION_BLOCK + 50, FR__ATTENTION_BLOCK + 50, 16, 24, 1, 1,
                true, FR_FLOAT32);
        try_one(dtypes[d], 3, 5, FR__ATTENTION_BLOCK + 7, FR__ATTENTION_BLOCK + 1, 1, 1, true,
                -1);
    }
}

TEST(this_machine) { try_all(); }

TEST(any_machine)
{
    fr__gemm_use(&fr__gemm_base);
    try_all();
    fr__gemm_use(NULL);
}
