/* c_step.c - the training step of MLX's manual on compile, from C: what a call of it costs
 *
 *     c_step          seconds a step, the median and the least of several batches; the last loss
 *
 * A linear model of 10 features, 4 examples, SGD with momentum; examples/c/linear.c explains it.
 *
 * needs   libferrule; training_goals.py builds it with cc
 * gives   one line of JSON
 */
#define _GNU_SOURCE
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCHES = 31, CALLS = 2000 };

static fr_params *model, *velocities;
static fr_array *rate;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    fr_array *logits = fr_squeeze(fr_params_linear(model, "linear", in[0]), NULL, 0);
    return (out[0] = fr_mean(fr_binary_cross_entropy(logits, in[1]), NULL)) ? 0 : -1;
}

static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[2];
    if (fr_params_value_and_grad(model, loss, ctx, n_in, in, n_out, out, grads))
        return -1;
    fr_sgd_options options = {.momentum = 0.8};
    return fr_params_sgd(model, grads, velocities, rate, &options);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    double taken[BATCHES], last = 0;
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_random_uniform((int64_t[]){4, 10}, 2, FR_FLOAT32, fr_random_key(0));
    fr_array *in[] = {x, fr_from_data((float[]){0, 1, 0, 1}, FR_FLOAT32, (int64_t[]){4}, 1)};
    model = fr_params_new();
    fr_params_add_weight(model, "linear", (int64_t[]){1, 10}, 2, true, fr_random_key(1));
    velocities = fr_params_like(model);
    rate = fr_keep(fr_full(NULL, 0, 0.1, FR_FLOAT32));
    fr_array **slots[5];
    int n = fr_params_slots(model, slots);
    n += fr_params_slots(velocities, slots + n);
    slots[n++] = &rate;
    fr_function *f = fr_compile(step, NULL, &(fr_compile_options){.nslots = n, .slots = slots});
    for (int i = -1; i < BATCHES; i++) { /* one to warm up */
        double start = now();
        for (int k = 0; k < CALLS; k++) {
            fr_scope *one = fr_scope_open();
            fr_array *out[1];
            if (fr_call(f, 2, in, 1, out) || (k + 1 == CALLS && fr_item(out[0], &last))) {
                printf("{\"error\": \"%s\"}\n", fr_error_message());
                return 1;
            }
            fr_scope_close(one);
        }
        if (i >= 0)
            taken[i] = (now() - start) / CALLS;
    }
    qsort(taken, BATCHES, sizeof *taken, ascending);
    printf("{\"median\": %g, \"least\": %g, \"loss\": %g}\n", taken[BATCHES / 2], taken[0],
           last);
    fr_function_free(f);
    fr_params_free(model);
    fr_params_free(velocities);
    fr_free(rate);
    fr_scope_close(s);
    return 0;
}
