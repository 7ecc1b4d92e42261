/* test_gpu_tiles.c - products of matrices on a GPU without cuBLASLt, against those of the host
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is; else over the stand-in driver. Numbers are small and
 * whole: their sums are exact in any order.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "gpu_choice.h"

#include <math.h>
#include <stdlib.h>

__attribute__((constructor(102))) static void without_library(void)
{
    setenv("FERRULE_CUBLASLT", "off", 1);
}

typedef struct job {
    int64_t batch, m, k, n;
    bool a_turned, b_turned, b_repeated; /* in memory */
    int64_t more;                        /* elements between rows of a */
    fr_dtype dtype;
} job;

static fr_array *numbers(fr_dtype dtype, int64_t batch, int64_t rows, int64_t columns)
{
    int64_t shape[] = {batch, rows, columns}, n = batch * rows * columns;
    float *v = malloc(sizeof *v * (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)((next_random() >> 12) % 3) - 1;
    }
    fr_array *x = fr_from_data(v, FR_FLOAT32, shape, 3);
    free(v);
    return x ? fr_astype(x, dtype) : NULL;
}

static fr_array *operand(fr_dtype dtype, int64_t batch, int64_t rows, int64_t columns,
                         bool turned, int64_t more)
{
    fr_array *x = turned ? numbers(dtype, batch, columns, rows + more)
                         : numbers(dtype, batch, rows, columns + more);
    if (!x || fr_eval(x))
        return NULL;
    int64_t start[3] = {0}, step[3] = {1, 1, 1}, count[3] = {batch, rows, columns};
    int axes[3] = {0, 2, 1};
    x = turned ? fr_transpose(x, axes, 3) : x;
    return x ? fr_slice(x, start, step, count) : NULL;
}

static fr_array *product(const job *j, fr_stream s)
{
    fr_stream_set(s);
    random_state = 88172645463325252u;
    fr_array *a = operand(j->dtype, j->batch, j->m, j->k, j->a_turned, j->more);
    fr_array *b = operand(j->dtype, j->b_repeated ? 1 : j->batch, j->k, j->n, j->b_turned, 0);
    int64_t shape[] = {j->batch, j->k, j->n};
    fr_array *c = a && b ? fr_matmul(a, fr_broadcast_to(b, shape, 3)) : NULL;
    int bad = c ? fr_eval(c) : -1;
    fr_stream_set((fr_stream){0});
    return bad ? NULL : c;
}

static void compare(const job *j)
{
    fr_scope *s = fr_scope_open();
    fr_array *host = product(j, (fr_stream){0}),
             *device = product(j, fr_stream_default(FR_GPU, 0));
    float far = NAN;
    fr_array *d =
        host && device
            ? fr_max(fr_abs(fr_sub(fr_astype(host, FR_FLOAT32), fr_astype(device, FR_FLOAT32))),
                     NULL)
            : NULL;
    if (!EXPECT(d && !fr_copy_out(d, &far, sizeof far) && far == 0))
        printf("     %g %s: %s %lld x %lld %lld %lld%s%s%s, rows %lld longer\n", (double)far,
               fr_error_message(), fr_dtype_name(j->dtype), (long long)j->batch,
               (long long)j->m, (long long)j->k, (long long)j->n,
               j->a_turned ? ", a turned" : "", j->b_turned ? ", b turned" : "",
               j->b_repeated ? ", b repeated" : "", (long long)j->more);
    fr_error_clear();
    fr_scope_close(s);
}

static void of_sizes(int n, const int64_t (*sizes)[4])
{
    static const fr_dtype dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_BFLOAT16, FR_FLOAT64};
    for (int i = 0; i < n; i++)
        for (int d = 0; d < 4; d++)
            for (int layout = 0; layout < 8; layout++) {
                job j = {sizes[i][0], sizes[i][1], sizes[i][2],      sizes[i][3], layout & 1,
                         layout & 2,  layout & 4,  (layout & 4) * 2, dtypes[d]};
                compare(&j);
            }
}

/* Sums of the numbers stay below 256, which bfloat16 has exactly. */
TEST(in_whole_chunks)
{
    static const int64_t sizes[][4] = {
        {1, 16, 24, 8}, {1, 64, 64, 32}, {2, 136, 40, 72}, {1, 8, 200, 200}, {3, 8, 8, 136}};
    of_sizes(real ? 5 : 3, sizes);
}

TEST(of_any_size)
{
    static const int64_t sizes[][4] = {
        {1, 1, 7, 5}, {2, 65, 17, 3}, {1, 3, 100, 67}, {1, 33, 150, 9}, {5, 5, 5, 5}};
    of_sizes(5, sizes);
}

/* Several blocks do parts of k. */
TEST(of_long_sums)
{
    static const int64_t sizes[][4] = {{1, 16, 1000, 16}, {2, 5, 777, 7}, {1, 130, 4096, 72}};
    of_sizes(real ? 3 : 2, sizes);
}
