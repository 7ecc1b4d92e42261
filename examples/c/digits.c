/* digits.c - an MLP learns the UCI digits: forward, backward and Adam's update are one program
 *
 * usage: digits examples/data/digits.npz [EPOCHS [CURVE.svg [WEIGHTS.safetensors]]]
 * With FERRULE_DISABLE_COMPILE=1 in the environment nothing is compiled, and the losses are the same.
 */
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>

#include "progress.h"

enum { IMAGES = 1797, TRAIN = 1437, BATCH = 64, PIXELS = 64, ARRAYS = 6 };

static fr_params *model, *state; /* parameters, and what Adam remembers */
static fr_array *rate;

static fr_array *forward(fr_array *x)
{
    x = fr_relu(fr_params_linear(model, "layers.0", x));
    x = fr_relu(fr_params_linear(model, "layers.1", x));
    return fr_params_linear(model, "layers.2", x);
}

/* in: images, labels; out: the loss */
static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    return (out[0] = fr_mean(fr_cross_entropy(forward(in[0]), in[1]), NULL)) ? 0 : -1;
}

/* The same, with an update. Parameters and the optimizer's state are slots. */
static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[ARRAYS];
    if (fr_params_value_and_grad(model, loss, ctx, n_in, in, n_out, out, grads))
        return -1;
    return fr_params_adam(model, grads, state, rate, NULL);
}

static fr_function *make_model(void)
{
    model = fr_params_new();
    fr_params_add_weight(model, "layers.0", (int64_t[]){128, PIXELS}, 2, true, NULL);
    fr_params_add_weight(model, "layers.1", (int64_t[]){64, 128}, 2, true, NULL);
    fr_params_add_weight(model, "layers.2", (int64_t[]){10, 64}, 2, true, NULL);
    state = fr_adam_state(model);
    rate = fr_keep(fr_full(NULL, 0, 2e-3, FR_FLOAT32));
    fr_array **slots[3 * ARRAYS + 1];
    int n = fr_params_slots(model, slots);
    n += fr_params_slots(state, slots + n);
    return fr_compile(step, NULL, &(fr_compile_options){.nslots = n, .slots = slots});
}

static fr_array *rows(fr_array *x, int64_t from, int64_t n)
{
    return fr_slice(x, (int64_t[]){from, 0}, (int64_t[]){1, 1}, (int64_t[]){n, PIXELS});
}

static double accuracy(fr_array *images, fr_array *labels)
{
    fr_reduce_options last = {.axes = (int[]){-1}, .naxes = 1};
    fr_array *right = fr_eq(fr_argmax(forward(images), &last), labels);
    double v = 0;
    fr_item(fr_mean(right, NULL), &v);
    return v;
}

int main(int argc, char **argv)
{
    fr_archive *data = argc > 1 ? fr_load(argv[1]) : NULL;
    if (!data) {
        fprintf(stderr,
                "usage: digits FILE.npz [EPOCHS [CURVE.svg [WEIGHTS.safetensors]]]  %s\n",
                fr_error_message());
        return 1;
    }
    int epochs = argc > 2 ? atoi(argv[2]) : 40;
    static progress told = {.every = 220};
    fr_scope *s = fr_scope_open();
    fr_random_seed(0);
    fr_array *order = fr_random_permutation(IMAGES, NULL), *x = fr_archive_find(data, "images");
    x = fr_reshape(fr_take(x, order, 0), (int64_t[]){IMAGES, PIXELS}, 2);
    x = fr_div(fr_astype(x, FR_FLOAT32), 16);
    fr_array *y = fr_astype(fr_take(fr_archive_find(data, "labels"), order, 0), FR_INT32);
    fr_eval_all(2, (fr_array *[]){x, y});
    fr_function *f = make_model();
    for (int64_t i = 0; i + BATCH <= (int64_t)epochs * TRAIN; i += BATCH) {
        int64_t at = i % (TRAIN - BATCH);
        fr_scope *one = fr_scope_open();
        fr_array *in[] = {rows(x, at, BATCH), rows(y, at, BATCH)}, *out[1];
        double v;
        if (!fr_call(f, 2, in, 1, out) && !fr_item(out[0], &v))
            progress_step(&told, v);
        fr_scope_close(one);
    }
    int64_t rest = IMAGES - TRAIN;
    printf("test accuracy %.3f\n", accuracy(rows(x, TRAIN, rest), rows(y, TRAIN, rest)));
    bool failed = progress_save(&told, argc > 3 ? argv[3] : "digits.svg") ||
                  (argc > 4 && fr_params_save(model, argv[4])) || fr_error() != FR_OK;
    if (failed)
        fprintf(stderr, "failed: %s\n", fr_error_message());
    fr_function_free(f);
    fr_params_free(model);
    fr_params_free(state);
    fr_free(rate);
    fr_scope_close(s);
    fr_archive_free(data);
    return failed;
}
