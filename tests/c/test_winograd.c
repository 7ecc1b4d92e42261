/* test_winograd.c - 3x3 windows by squares, with the tiles of every instruction set, against sums in float64 */
#include "test.h"

#include "kernel/kernel.h"
#include "native/gemm.h"
#include "native/winograd.h"

#include <math.h>
#include <stdlib.h>

enum { EXAMPLES = 2, HEIGHT = 27, WIDTH = 22, CHANNELS = 52, FILTERS = 41 };

static uint32_t seed = 7;
static float some_number(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

static float *some(int64_t n)
{
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = some_number();
    return x;
}

static fr__native_array array_of(const int64_t *shape, int64_t *strides)
{
    fr__native_array a = {.dtype = FR_FLOAT32, .ndim = 4, .size = 1, .shape = shape};
    for (int d = 3; d >= 0; d--) {
        strides[d] = a.size;
        a.size *= shape[d];
    }
    a.strides = strides;
    return a;
}

static void run_all(fr__winograd *w, fr__native_call *c, char **data)
{
    char *scratch = aligned_alloc(64, (c->scratch + 63) & ~(size_t)63);
    data[3] = aligned_alloc(64, (c->temporary + 63) & ~(size_t)63);
    for (int phase = 0; phase < c->phases; phase++) /* the last unit first */
        for (int64_t i = c->phase[phase].range; i > 0; i--)
            fr__winograd_run(w, c, phase, data, i - 1, i, scratch);
    free(scratch);
    free(data[3]);
}

static double of(const float *x, int64_t n, int64_t row, int64_t column, int64_t channel)
{
    bool in = row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
    return in ? (double)x[((n * HEIGHT + row) * WIDTH + column) * CHANNELS + channel] : 0;
}

static double exact(const float *x, const float *w, int64_t place, int64_t filter)
{
    int64_t n = place / (HEIGHT * WIDTH), row = place / WIDTH % HEIGHT, column = place % WIDTH;
    double sum = 0;
    for (int64_t i = 0; i < 9; i++)
        for (int64_t c = 0; c < CHANNELS; c++)
            sum += of(x, n, row + i / 3 - 1, column + i % 3 - 1, c) *
                   (double)w[(filter * 9 + i) * CHANNELS + c];
    return sum;
}

static double exact_gradient(const float *x, const float *g, int64_t tap, int64_t filter,
                             int64_t channel)
{
    double sum = 0;
    for (int64_t i = 0; i < EXAMPLES * HEIGHT * WIDTH; i++)
        sum += of(x, i / (HEIGHT * WIDTH), i / WIDTH % HEIGHT + tap / 3 - 1,
                  i % WIDTH + tap % 3 - 1, channel) *
               (double)g[i * FILTERS + filter];
    return sum;
}

static const int64_t x_shape[] = {EXAMPLES, HEIGHT, WIDTH, CHANNELS},
                     w_shape[] = {FILTERS, 3, 3, CHANNELS},
                     y_shape[] = {EXAMPLES, HEIGHT, WIDTH, FILTERS},
                     par[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0}; /* padded by 1 */

static void convolve(void)
{
    int64_t xs[4], ws[4], ys[4];
    fr__native_call c = {.routine = &fr__native_conv, .nin = 2, .npar = 10, .par = par};
    c.in[0] = array_of(x_shape, xs);
    c.in[1] = array_of(w_shape, ws);
    c.out = array_of(y_shape, ys);
    fr__winograd plan;
    fr__winograd_prepare(&plan, &c);
    float *x = some(c.in[0].size), *w = some(c.in[1].size), *y = some(c.out.size);
    char *data[] = {(char *)x, (char *)w, (char *)y, NULL};
    run_all(&plan, &c, data);
    double most = 0;
    for (int64_t i = 0; i < c.out.size; i++)
        most = fmax(most, fabs((double)y[i] - exact(x, w, i / FILTERS, i % FILTERS)));
    if (!EXPECT(most < 5e-5))
        printf("     an error of %g\n", most);
    int64_t next = 0; /* strips follow one another */
    for (int64_t i = 0; i < c.phase[1].range; i++) {
        fr__strip s = fr__winograd_strip(&plan, i);
        EXPECT(s.first == next && s.rows > 0 && s.index == i && s.units == 1);
        next += s.rows;
    }
    EXPECT(next == EXAMPLES * HEIGHT * WIDTH);
    free(x);
    free(w);
    free(y);
}

static void gradient(void)
{
    int64_t xs[4], ws[4], ys[4];
    fr__native_call c = {.routine = &fr__native_conv_filter, .nin = 2, .npar = 10, .par = par};
    c.in[0] = array_of(x_shape, xs);
    c.in[1] = array_of(y_shape, ys);
    c.out = array_of(w_shape, ws);
    fr__winograd plan;
    fr__winograd_prepare(&plan, &c);
    float *x = some(c.in[0].size), *g = some(c.in[1].size), *w = some(c.out.size);
    char *data[] = {(char *)x, (char *)g, (char *)w, NULL};
    run_all(&plan, &c, data);
    double most = 0;
    for (int64_t i = 0; i < c.out.size; i++) {
        int64_t row = i / CHANNELS;
        most = fmax(most,
                    fabs((double)w[i] - exact_gradient(x, g, row % 9, row / 9, i % CHANNELS)));
    }
    if (!EXPECT(most < 1e-4))
        printf("     an error of %g\n", most);
    free(x);
    free(g);
    free(w);
}

TEST(every_instruction_set)
{
    const fr__gemm_isa *best = fr__gemm_tiles();
    const fr__gemm_isa *sets[3] = {&fr__gemm_base, &fr__gemm_base, best};
#if defined(__x86_64__)
    if (fr__host()->avx2 && fr__host()->fma && fr__host()->f16c)
        sets[1] = &fr__gemm_v3;
#endif
    for (int i = 0; i < 3; i++) {
        fr__gemm_use(sets[i]);
        convolve();
        gradient();
    }
    fr__gemm_use(NULL);
}
