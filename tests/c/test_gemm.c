/* test_gemm.c - the engine of matrix products, tile by tile, against sums in plain C
 *
 * The order of every sum is part of the engine's promise, so results are compared bit for bit: over
 * types, instruction sets, layouts, sizes around every tile's edges, batches, and ways to cut.
 */
#include "native/gemm.h"

#include "values.h"

#include <stdlib.h>

typedef struct matrix {
    char *data;
    int64_t row, col;
} matrix;

static uint32_t seed = 7;
static int pick(int n) { return (int)((seed = seed * 1664525u + 1013904223u) >> 8) % n; }

static bool is_whole(int dtype)
{
    return dtype != FR_FLOAT16 && dtype != FR_BFLOAT16 && dtype != FR_FLOAT32 &&
           dtype != FR_FLOAT64;
}

/* Small multiples of 1/8: exact in every type. Of integers anything. */
static void put(char *at, int dtype, double v)
{
    if (is_whole(dtype)) {
        for (size_t i = 0; i < fr_dtype_size((fr_dtype)dtype); i++)
            at[i] = (char)(pick(9) ? pick(256) : pick(2) ? 0x80 : 0x7f);
        return;
    }
    float f = (float)v;
    uint16_t h = dtype == FR_FLOAT16 ? half_bits(f) : brain_bits(f);
    if (dtype == FR_FLOAT64)
        memcpy(at, &v, sizeof v);
    else if (dtype == FR_FLOAT32)
        memcpy(at, &f, sizeof f);
    else
        memcpy(at, &h, sizeof h);
}

static double get(const char *at, int dtype) { return read_number(at, dtype).f; }

/* layout 0: row-major; 1: transposed; 2: every third element of rows that are further apart; 3: rows
 * backwards; 4: one row for all. */
static matrix make(int dtype, int64_t rows, int64_t cols, int layout, int64_t batch,
                   char **block)
{
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)dtype), n = (rows + 2) * (cols + 2) * 6;
    char *data = malloc((size_t)(n * batch * size) + 64);
    for (int64_t i = 0; i < n * batch; i++)
        put(data + i * size, dtype,
            (pick(33) - 16) / 8.0 + (dtype == FR_FLOAT32 ? 1e-3 * pick(9) : 0));
    *block = data;
    switch (layout) {
    case 1: return (matrix){data, 1, rows};
    case 2: return (matrix){data, cols * 3 + 5, 3};
    case 3: return (matrix){data + (rows ? rows - 1 : 0) * cols * size, -cols, 1};
    case 4: return (matrix){data, 0, 1};
    default: return (matrix){data, cols, 1};
    }
}

static float one32(const fr__gemm *g, const char *a, const char *b, float part, bool fused)
{
    float x = (float)get(a, g->dtype), y = (float)get(b, g->dtype);
    volatile float product = x * y;
    return fused ? fmaf(x, y, part) : product + part;
}

/* Blocks of k in order; where elements go in pairs the second of a pair first. */
static float sum32(const fr__gemm *g, const fr__gemm_cut *cut, const char *a, int64_t col,
                   const char *b, int64_t row, bool fused)
{
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)g->dtype), step = cut->pairs ? 2 : 1;
    float sum = 0, total = 0;
    for (int64_t k = 0; k < g->k; k += step * cut->block) {
        bool begins = k && cut->parts > 1 && k % (step * cut->depth) == 0;
        float part = 0;
        if (begins) {
            total = k == step * cut->depth ? sum : total + sum;
            sum = 0;
        }
        for (int64_t i = k; i < g->k && i < k + step * cut->block; i += step)
            for (int64_t j = i + step - 1; j >= i; j--)
                if (j < g->k)
                    part = one32(g, a + j * col * size, b + j * row * size, part, fused);
        sum = k && !begins ? sum + part : part;
    }
    return cut->parts > 1 ? total + sum : sum;
}

static double sum64(const fr__gemm *g, const fr__gemm_cut *cut, const char *a, int64_t col,
                    const char *b, int64_t row, bool fused)
{
    double sum = 0, total = 0;
    for (int64_t k = 0; k < g->k; k += cut->block) {
        if (k && cut->parts > 1 && k % cut->depth == 0) {
            total = k == cut->depth ? sum : total + sum;
            sum = 0;
        }
        double part = 0;
        for (int64_t i = k; i < g->k && i < k + cut->block; i++) {
            double x = get(a + i * col * 8, g->dtype), y = get(b + i * row * 8, g->dtype);
            volatile double product = x * y;
            part = fused ? fma(x, y, part) : product + part;
        }
        sum = k && (cut->parts == 1 || k % cut->depth) ? sum + part : part;
    }
    return cut->parts > 1 ? total + sum : sum;
}

/* Modulo 2^64; what is kept of it is right modulo less. */
static uint64_t whole_sum(const fr__gemm *g, const char *a, int64_t col, const char *b,
                          int64_t row)
{
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)g->dtype);
    uint64_t sum = 0;
    for (int64_t k = 0; k < g->k; k++)
        sum += (uint64_t)read_number(a + k * col * size, g->dtype).i *
               (uint64_t)read_number(b + k * row * size, g->dtype).i;
    return sum;
}

static void expect_element(const fr__gemm *g, const fr__gemm_cut *cut, const char *a,
                           int64_t col, const char *b, int64_t row, const char *c, bool fused)
{
    if (is_whole(g->dtype)) {
        uint64_t want = whole_sum(g, a, col, b, row);
        EXPECT(!memcmp(c, &want, fr_dtype_size((fr_dtype)g->dtype))); /* its low bytes */
        return;
    }
    if (g->dtype == FR_FLOAT64) {
        double want = sum64(g, cut, a, col, b, row, fused);
        EXPECT(!memcmp(c, &want, sizeof want));
        return;
    }
    float want = sum32(g, cut, a, col, b, row, fused);
    char bytes[4];
    put(bytes, g->dtype, (double)want);
    EXPECT(!memcmp(c, bytes, fr_dtype_size((fr_dtype)g->dtype)));
}

static fr__gemm_dims line(int64_t size, int64_t stride)
{
    return (fr__gemm_dims){1, {size}, {stride}};
}

/* n as q x (n / q), for a q that divides it. */
static void cut_in_two(fr__gemm_dims *d)
{
    for (int64_t q = 2; q * q <= d->size[0]; q++)
        if (d->size[0] % q == 0) {
            *d = (fr__gemm_dims){2, {d->size[0] / q, q}, {d->stride[0] * q, d->stride[0]}};
            return;
        }
}

static void try_one(int dtype, int64_t m, int64_t n, int64_t k, int la, int lb, int64_t batch,
                    bool fused)
{
    char *blocks[2];
    int64_t size = (int64_t)fr_dtype_size((fr_dtype)dtype);
    matrix a = make(dtype, m, k, la, batch, &blocks[0]),
           b = make(dtype, k, n, lb, batch, &blocks[1]);
    int64_t each_a = batch > 2 ? 0 : (m + 2) * (k + 2) * 6, each_b = (k + 2) * (n + 2) * 6;
    fr__gemm g = {
        .dtype = dtype, .batches = batch, .m = m, .n = n, .k = k, .ldc = n, .next = m * n};
    g.a = (fr__gemm_operand){a.data, line(batch, each_a), line(m, a.row), line(k, a.col)};
    g.b = (fr__gemm_operand){b.data, line(batch, each_b), line(n, b.col), line(k, b.row)};
    if (pick(3) == 0) { /* the same in pieces: several dimensions a side */
        cut_in_two(&g.a.outer);
        cut_in_two(&g.a.k);
        cut_in_two(&g.b.outer);
        cut_in_two(&g.b.batch);
    }
    fr__gemm_cut cut = fr__gemm_cut_up(&g, (int[]){1, 2, 3, 16}[pick(4)]);
    char *c = malloc((size_t)(m * n * batch * size) + 64);
    size_t scratch = cut.scratch;
    memset(c, 0xee, (size_t)(m * n * batch * size) + 64);
    char *space = aligned_alloc(64, scratch + 64);
    memset(space, 0xff, scratch); /* NaN: nothing is read that wasn't written */
    space[scratch] = 0x5a;
    size_t sums = fr__gemm_sums(&g, &cut);
    fr__gemm_place at = {.a = a.data, .b = b.data, .c = c, .sums = malloc(sums + 1)};
    memset(at.sums, 0xff, sums);
    int64_t units = g.batches * cut.parts * cut.row_units * cut.col_units, half = units / 2;
    fr__gemm_run(&g, &cut, &at, half, units, space);
    fr__gemm_run(&g, &cut, &at, 0, half, space);
    if (cut.parts > 1) {
        fr__gemm_add_up(&g, &cut, &at, 0, batch * m / 2);
        fr__gemm_add_up(&g, &cut, &at, batch * m / 2, batch * m);
    }
    free(at.sums);
    EXPECT_EQ(space[scratch], 0x5a);
    for (int i = 0; i < 64; i++)
        EXPECT_EQ((unsigned char)c[m * n * batch * size + i], 0xee);
    int before = test_failures;
    for (int64_t p = 0; p < batch; p++)
        for (int64_t i = 0; i < m && test_failures == before; i++)
            for (int64_t j = 0; j < n && test_failures == before; j++)
                if (m * n < 4096 || !pick(50) || i == m - 1 || j == n - 1)
                    expect_element(&g, &cut, a.data + (p * each_a + i * a.row) * size, a.col,
                                   b.data + (p * each_b + j * b.col) * size, b.row,
                                   c + ((p * m + i) * n + j) * size, fused);
    if (test_failures != before)
        printf("     %s %lldx%lldx%lld layouts %d %d batch %lld\n",
               fr_dtype_name((fr_dtype)dtype), (long long)m, (long long)n, (long long)k, la, lb,
               (long long)batch);
    free(blocks[0]);
    free(blocks[1]);
    free(c);
    free(space);
}

static void try_all(bool fused)
{
    static const int dtypes[] = {FR_FLOAT16, FR_BFLOAT16, FR_FLOAT32, FR_FLOAT64,
                                 FR_INT8,    FR_UINT8,    FR_INT16,   FR_UINT16};
    for (int d = 0; d < FR__COUNT(dtypes); d++) {
        for (int i = 0; i < 150; i++)
            try_one(dtypes[d], 1 + pick(70), 1 + pick(70), 1 + pick(70), pick(5), pick(5),
                    1 + pick(4), fused);
        /* Around every edge of a tile, of any instruction set. */
        static const int rows[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 25, 49},
                         cols[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65};
        for (int i = 0; i < FR__COUNT(rows); i++)
            for (int j = 0; j < FR__COUNT(cols); j++)
                try_one(dtypes[d], rows[i], cols[j], 1 + pick(40), pick(5), pick(5), 1, fused);
        try_one(dtypes[d], 193, 129, 2 * FR__GEMM_KC + 1, 0, 1, 1, fused);
        try_one(dtypes[d], 12, 640, FR__GEMM_KC, 0, 0, 1, fused);
        try_one(dtypes[d], 640, 33, FR__GEMM_KC + 1, 1, 0, 2, fused);
        try_one(dtypes[d], 13, 33, 6 * FR__GEMM_KC + 5, 0, 0, 2, fused); /* k in parts */
        try_one(dtypes[d], 64, 30, 40 * FR__GEMM_KC - 1, 1, 0, 1, fused);
    }
}

TEST(any_machine)
{
    fr__gemm_use(&fr__gemm_base);
    try_all(false);
    fr__gemm_use(NULL);
}

#if defined(__x86_64__)
TEST(avx2)
{
    if (!fr__host()->avx2 || !fr__host()->fma || !fr__host()->f16c)
        return;
    fr__gemm_use(&fr__gemm_v3);
    try_all(true);
    fr__gemm_use(NULL);
}
#endif

#if defined(__x86_64__)
TEST(without_dot_instructions)
{
    fr__gemm_isa same = fr__gemm_v4; /* but not that one, which they are used with */
    if (!fr__host()->avx512 || !fr__host()->fma)
        return;
    fr__gemm_use(&same);
    EXPECT(!fr__gemm_dots() && !fr__gemm_vnni());
    try_all(true);
    fr__gemm_use(NULL);
}
#endif

TEST(this_machine) { try_all(fr__host()->fma); }
