/* digits.c - an MLP learns the UCI digits: forward, backward and Adam's update are one program
 *
 * usage: digits examples/data/digits.npz [FILE.safetensors to save the parameters in]
 */
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { IMAGES = 1797, TRAIN = 1437, BATCH = 64, EPOCHS = 40, PIXELS = 64, LAYERS = 3 };

static fr_params *model, *means, *squares;
static fr_array *steps, *rate;

/* Logits of images under weights w0, b0, w1, b1 ... */
static fr_array *forward(fr_array *const *w, fr_array *x)
{
    for (int i = 0; i < LAYERS; i++) {
        x = fr_linear(x, w[2 * i], w[2 * i + 1]);
        if (i + 1 < LAYERS)
            x = fr_maximum(x, 0);
    }
    return x;
}

/* in: all parameters, images, labels */
static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_out;
    fr_array *each = fr_cross_entropy(forward(in, in[n_in - 2]), in[n_in - 1]);
    return (out[0] = fr_mean(each, NULL)) ? 0 : -1;
}

/* in: images, labels; out: the loss. Parameters and the optimizer's state are slots. */
static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *all[2 * LAYERS + 2], *grads[2 * LAYERS];
    int n = fr_params_count(model);
    (void)n_in;
    for (int i = 0; i < n; i++)
        all[i] = fr_params_arrays(model)[i];
    all[n] = in[0];
    all[n + 1] = in[1];
    if (fr_value_and_grad(loss, ctx, n + 2, all, n, NULL, n_out, out, grads))
        return -1;
    return fr_adam(n, fr_params_arrays(model), grads, fr_params_arrays(means),
                   fr_params_arrays(squares), &steps, rate, NULL);
}

static void make_model(void)
{
    static const int64_t sizes[] = {PIXELS, 128, 64, 10};
    model = fr_params_new();
    for (int i = 0; i < LAYERS; i++) {
        char name[32];
        fr_scope *s = fr_scope_open();
        snprintf(name, sizeof name, "layers.%d.weight", i);
        fr_params_add(model, name,
                      fr_init_weight((int64_t[]){sizes[i + 1], sizes[i]}, 2, NULL));
        snprintf(name, sizeof name, "layers.%d.bias", i);
        fr_params_add(model, name, fr_zeros(&sizes[i + 1], 1, FR_FLOAT32));
        fr_scope_close(s);
    }
    means = fr_params_like(model);
    squares = fr_params_like(model);
    steps = fr_own(fr_full(NULL, 0, 0, FR_FLOAT32));
    rate = fr_own(fr_full(NULL, 0, 2e-3, FR_FLOAT32));
}

static fr_function *compiled_step(void)
{
    int n = fr_params_count(model), k = 0;
    fr_array **slots[6 * LAYERS + 1];
    for (int i = 0; i < n; i++) {
        slots[k++] = &fr_params_arrays(model)[i];
        slots[k++] = &fr_params_arrays(means)[i];
        slots[k++] = &fr_params_arrays(squares)[i];
    }
    slots[k++] = &steps;
    return fr_compile(step, NULL, &(fr_compile_options){.nslots = k, .slots = slots});
}

static fr_array *rows(fr_array *x, int64_t from, int64_t n)
{
    int64_t start[2] = {from, 0}, one[2] = {1, 1}, count[2] = {n, PIXELS};
    return fr_slice(x, start, one, count);
}

int main(int argc, char **argv)
{
    fr_archive *data = argc > 1 ? fr_load(argv[1]) : NULL;
    if (!data) {
        fprintf(stderr, "usage: digits FILE.npz  %s\n", fr_error_message());
        return 1;
    }
    fr_scope *s = fr_scope_open();
    fr_array *order = fr_random_permutation(IMAGES, NULL);
    fr_array *pixels =
        fr_reshape(fr_archive_find(data, "images"), (int64_t[]){IMAGES, PIXELS}, 2);
    fr_array *x = fr_div(fr_astype(fr_take(pixels, order, 0), FR_FLOAT32), 16);
    fr_array *y = fr_astype(fr_take(fr_archive_find(data, "labels"), order, 0), FR_INT32);
    fr_eval_all(2, (fr_array *[]){x, y});
    make_model();
    fr_function *f = compiled_step();
    clock_t start = clock();
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        double total = 0, v = 0;
        for (int64_t i = 0; i + BATCH <= TRAIN; i += BATCH) {
            fr_scope *inner = fr_scope_open();
            fr_array *in[] = {rows(x, i, BATCH), rows(y, i, BATCH)}, *out[1];
            if (!fr_call(f, 2, in, 1, out))
                fr_item(out[0], &v);
            total += v;
            fr_scope_close(inner);
        }
        if ((epoch + 1) % 10 == 0)
            printf("epoch %2d  loss %.4f\n", epoch + 1, total / (TRAIN / BATCH));
    }
    fr_array *logits = forward(fr_params_arrays(model), rows(x, TRAIN, IMAGES - TRAIN));
    int last = -1;
    fr_reduce_options over = {.axes = &last, .naxes = 1};
    fr_array *labels = rows(y, TRAIN, IMAGES - TRAIN);
    int end = 1;
    fr_array *own = fr_eq(fr_arange(0, 10, 1, FR_INT32), fr_expand_dims(labels, &end, 1));
    fr_array *score = fr_sum(fr_where(own, logits, 0), &over);
    double accuracy = 0;
    fr_item(fr_mean(fr_eq(score, fr_max(logits, &over)), NULL), &accuracy);
    printf("test accuracy %.3f\n", accuracy);
    fprintf(stderr, "%.2f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    if (argc > 2)
        fr_params_save(model, argv[2]);
    bool failed = fr_error() != FR_OK;
    if (failed)
        fprintf(stderr, "%s\n", fr_error_message());
    fr_function_free(f);
    fr_params_free(model);
    fr_params_free(means);
    fr_params_free(squares);
    fr_free(steps);
    fr_free(rate);
    fr_scope_close(s);
    fr_archive_free(data);
    return failed;
}
