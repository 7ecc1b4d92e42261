/* gelu.c - the activation gelu on one large array, lazily and compiled
 *
 *   cc gelu.c -o gelu $(pkg-config --cflags --libs ferrule) && ./gelu 16000000
 */
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* x/2 (1 + erf(x / sqrt 2)): five operations. Each only notes what to do; NULL in gives NULL out. */
static fr_array *gelu(fr_array *x)
{
    return fr_mul(fr_mul(x, 0.5), fr_add(fr_erf(fr_mul(x, 0.70710678118654752)), 1.0));
}

/* The same as a function that fr_compile takes. */
static int gelu_fn(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = gelu(in[0]);
    return out[0] ? 0 : -1;
}

/* Mean milliseconds of a run, after one that makes the code. f NULL: lazily. */
static double milliseconds(fr_function *f, fr_array *x)
{
    enum { RUNS = 10 };
    struct timespec start = {0}, end;
    for (int i = -1; i < RUNS; i++) {
        if (i == 0)
            timespec_get(&start, TIME_UTC);
        fr_scope *s = fr_scope_open(); /* owns the results of this run */
        fr_eval(f ? fr_call1(f, x) : gelu(x));
        fr_scope_close(s);
    }
    timespec_get(&end, TIME_UTC);
    return (1e3 * (double)(end.tv_sec - start.tv_sec) +
            1e-6 * (double)(end.tv_nsec - start.tv_nsec)) /
           RUNS;
}

int main(int argc, char **argv)
{
    int64_t n = argc > 1 ? atoll(argv[1]) : 1 << 24;
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_random_normal(&n, 1, FR_FLOAT32, NULL);
    fr_eval(x); /* so that no run below makes the random numbers as well */
    fr_function *f = fr_compile(gelu_fn, NULL, NULL);
    double lazily = milliseconds(NULL, x), compiled = milliseconds(f, x), difference = 0;
    fr_item(fr_max(fr_abs(fr_sub(gelu(x), fr_call1(f, x))), NULL), &difference);
    bool failed = fr_error() != FR_OK; /* errors stick: one look at the end is enough */
    if (failed)
        fprintf(stderr, "%s\n", fr_error_message());
    else
        printf("gelu of %lld floats, %d threads: %.3f ms lazily, %.3f ms compiled\nmax "
               "difference %g\n",
               (long long)n, fr_threads(), lazily, compiled, difference);
    fr_function_free(f);
    fr_scope_close(s);
    return failed;
}
