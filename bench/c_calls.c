/* c_calls.c - what Ferrule costs from C: small calls, and gelu of a large array.
 *
 *     c_calls small                   seconds a call: compiled gelu of 64 floats, a + b and eval
 *     c_calls large SECONDS SIZE...   gelu of float32[SIZE...], seconds a call, lazily and compiled
 *     c_calls first lazy|compile      the first call of gelu in this process, of 4M floats
 *
 * needs   libferrule; run.py and demo.py build it with cc and run it in its turn
 * gives   one line of JSON
 */
#define _GNU_SOURCE
#include <ferrule/ferrule.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 15, MOST_CALLS = 200, FIRST_CALL_FLOATS = 4 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    printf("{\"error\": \"%s: %s\"}\n", what, fr_error_message());
    exit(1);
}

static fr_array *gelu(fr_array *x)
{
    fr_scope *scope = fr_scope_open();
    fr_array *y =
        fr_keep(fr_mul(fr_mul(x, 0.5), fr_add(fr_erf(fr_mul(x, 0.70710678118654752)), 1.0)));
    fr_scope_close(scope);
    return y;
}

static int gelu_traced(void *context, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)context, (void)n_in, (void)n_out;
    fr_array *x = in[0];
    out[0] = fr_mul(fr_mul(x, 0.5), fr_add(fr_erf(fr_mul(x, 0.70710678118654752)), 1.0));
    return out[0] ? 0 : 1;
}

/* Is y gelu of x, at both ends? */
static void check(fr_array *x, fr_array *y)
{
    fr_view from, to;
    if (fr_access(x, &from) || fr_access(y, &to))
        fail("access");
    const float *a = from.data, *b = to.data;
    int64_t last = fr_size(x) - 1;
    for (int64_t i = 0; i <= last; i += last ? last : 1) {
        double want = a[i] * (1 + erf(a[i] * 0.70710678118654752)) / 2;
        if (!(fabs(b[i] - want) < 2e-5)) {
            printf("{\"error\": \"gelu is wrong: %g, %g expected\"}\n", (double)b[i], want);
            exit(1);
        }
    }
}

static void one_add(fr_array *a, fr_array *b)
{
    fr_array *c = fr_add(a, b);
    if (fr_eval(c))
        fail("add");
    fr_free(c);
}

static void one_call(fr_function *f, fr_array *x)
{
    fr_array *y = fr_call1(f, x);
    if (!y)
        fail("gelu");
    fr_free(y);
}

/* Prints BATCHES times of one call; f NULL: of a + b. */
static void batches(const char *name, fr_function *f, fr_array *x)
{
    long calls = 100;
    printf("\"%s\": [", name);
    for (int batch = -1; batch < BATCHES; batch++) {
        double start = now();
        if (f) {
            for (long i = 0; i < calls; i++)
                one_call(f, x);
        } else {
            for (long i = 0; i < calls; i++)
                one_add(x, x);
        }
        double seconds = (now() - start) / (double)calls;
        if (batch >= 0)
            printf("%s%.9f", batch ? ", " : "", seconds);
        else if (seconds * (double)calls <
                 0.01) { /* not long enough to time: again with more */
            calls *= 2;
            batch--;
        }
    }
    printf("]");
}

static fr_array *uniform(const int64_t *shape, int ndim)
{
    fr_array *x = fr_random_uniform(shape, ndim, FR_FLOAT32, NULL);
    if (fr_eval(x))
        fail("uniform");
    return x;
}

static void small(void)
{
    fr_array *x = uniform((int64_t[]){64}, 1);
    fr_function *f = fr_compile(gelu_traced, NULL, NULL);
    fr_array *y = fr_call1(f, x);
    if (!y)
        fail("gelu");
    check(x, y);
    fr_free(y);
    printf("{");
    batches("gelu_64", f, x);
    printf(", ");
    batches("add_64", NULL, x);
    printf("}\n");
    fr_function_free(f);
    fr_free(x);
}

/* Gelu over and over for so many seconds; f NULL: lazily. */
static void large(const char *name, fr_function *f, fr_array *x, double seconds)
{
    double begin = now();
    int64_t kernels = 0;
    printf("\"%s\": {\"times\": [", name);
    for (int i = 0; i < MOST_CALLS && (i < 3 || now() - begin < seconds); i++) {
        int64_t before = fr_count(FR_COUNT_KERNELS);
        double start = now();
        fr_array *y = f ? fr_call1(f, x) : gelu(x);
        if (fr_eval(y))
            fail(name);
        double taken = now() - start;
        kernels = fr_count(FR_COUNT_KERNELS) - before;
        if (i == 0)
            check(x, y);
        else
            printf("%s%.7f", i > 1 ? ", " : "", taken);
        fr_free(y);
    }
    printf("], \"kernels\": %lld}", (long long)kernels);
}

/* The input comes from the host, so that making it compiles nothing. */
static void first(bool compiled)
{
    static float data[FIRST_CALL_FLOATS];
    for (int i = 0; i < FIRST_CALL_FLOATS; i++)
        data[i] = (float)(i % 4096) / 4096;
    fr_array *x = fr_from_data(data, FR_FLOAT32, (int64_t[]){FIRST_CALL_FLOATS}, 1);
    if (!x)
        fail("input");
    double start = now();
    fr_function *f = compiled ? fr_compile(gelu_traced, NULL, NULL) : NULL;
    fr_array *y = f ? fr_call1(f, x) : gelu(x);
    if (fr_eval(y))
        fail("gelu");
    printf("{\"seconds\": %.7f}\n", now() - start);
    check(x, y);
    fr_free(y);
    fr_function_free(f);
    fr_free(x);
}

int main(int count, char **arguments)
{
    if (count >= 4 && strcmp(arguments[1], "large") == 0 && count - 3 <= FR_MAX_NDIM) {
        int64_t shape[FR_MAX_NDIM];
        for (int i = 3; i < count; i++)
            shape[i - 3] = strtoll(arguments[i], NULL, 10);
        fr_array *x = uniform(shape, count - 3);
        fr_function *f = fr_compile(gelu_traced, NULL, NULL);
        printf("{");
        large("lazy", NULL, x, strtod(arguments[2], NULL));
        printf(", ");
        large("compile", f, x, strtod(arguments[2], NULL));
        printf("}\n");
        fr_function_free(f);
        fr_free(x);
    } else if (count == 2 && strcmp(arguments[1], "small") == 0) {
        small();
    } else if (count == 3 && strcmp(arguments[1], "first") == 0) {
        first(strcmp(arguments[2], "compile") == 0);
    } else {
        fprintf(stderr, "usage: %s small | first lazy|compile | large SECONDS SIZE...\n",
                arguments[0]);
        return 2;
    }
    return 0;
}
