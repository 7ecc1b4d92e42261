/* linear.c - the training program of MLX's manual on compile, from C: a linear model of 10 features,
 * SGD with momentum; forward, backward and update are one program
 *
 * With FERRULE_DISABLE_COMPILE=1 in the environment nothing is compiled, and the losses are the same.
 */
#include <ferrule/ferrule.h>
#include <stdio.h>

static fr_params *model, *velocities;
static fr_array
    *rate; /* a slot: may be changed from step to step, and nothing is compiled again */

/* in: examples, targets; out: the loss */
static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    fr_array *logits = fr_squeeze(fr_params_linear(model, "linear", in[0]), NULL, 0);
    return (out[0] = fr_mean(fr_binary_cross_entropy(logits, in[1]), NULL)) ? 0 : -1;
}

/* The same, with an update of parameters and velocities. */
static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[2];
    if (fr_params_value_and_grad(model, loss, ctx, n_in, in, n_out, out, grads))
        return -1;
    fr_sgd_options options = {.momentum = 0.8};
    return fr_params_sgd(model, grads, velocities, rate, &options);
}

int main(void)
{
    fr_scope *s = fr_scope_open();
    fr_array *keys[] = {fr_random_key(0), fr_random_key(1)};
    fr_array *x = fr_random_uniform((int64_t[]){4, 10}, 2, FR_FLOAT32, keys[0]);
    fr_array *y = fr_from_data((float[]){0, 1, 0, 1}, FR_FLOAT32, (int64_t[]){4}, 1);
    model = fr_params_new();
    fr_params_add_weight(model, "linear", (int64_t[]){1, 10}, 2, true, keys[1]);
    velocities = fr_params_like(model);
    rate = fr_keep(fr_full(NULL, 0, 0.1, FR_FLOAT32));

    fr_array **slots[5];
    int n = fr_params_slots(model, slots);
    n += fr_params_slots(velocities, slots + n);
    slots[n++] = &rate;
    fr_function *f = fr_compile(step, NULL, &(fr_compile_options){.nslots = n, .slots = slots});
    for (int i = 0; i < 10; i++) {
        fr_scope *one = fr_scope_open();
        fr_array *in[] = {x, y}, *out[1];
        double v;
        if (!fr_call(f, 2, in, 1, out) && !fr_item(out[0], &v))
            printf("loss %.5f\n", v);
        fr_scope_close(one);
    }

    bool failed = fr_error() != FR_OK;
    if (failed)
        fprintf(stderr, "%s\n", fr_error_message());
    fr_function_free(f);
    fr_params_free(model);
    fr_params_free(velocities);
    fr_free(rate);
    fr_scope_close(s);
    return failed;
}
