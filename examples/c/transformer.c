/* transformer.c - a character transformer learns a text: forward, backward and Adam's update are one
 * program. Its parameters have the names of examples/python/transformer.py.
 *
 * usage: transformer docs/design.md [STEPS [CURVE.svg [WEIGHTS.safetensors]]]
 * With FERRULE_DISABLE_COMPILE=1 in the environment nothing is compiled, and the losses are the same.
 */
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>

#include "progress.h"

enum { CONTEXT = 64, BATCH = 16, DIMS = 64, HEADS = 4, LAYERS = 2, BYTES = 256, ARRAYS = 64 };

static fr_params *model, *state; /* parameters, and what Adam remembers */

/* The name of a part of a layer, until the next call. */
static const char *named(int layer, const char *part)
{
    static char name[64];
    snprintf(name, sizeof name, "encoder.layers.%d.%s", layer, part);
    return name;
}

static int make_model(fr_array ***slots)
{
    const int64_t out[] = {BYTES, DIMS}, up[] = {4 * DIMS, DIMS}, down[] = {DIMS, 4 * DIMS};
    model = fr_params_new();
    fr_params_add_embedding(model, "tokens", BYTES, DIMS, NULL);
    fr_params_add_embedding(model, "places", CONTEXT, DIMS, NULL);
    for (int i = 0; i < LAYERS; i++) {
        fr_params_add_norm(model, named(i, "ln1"), DIMS, true);
        fr_params_add_attention(model, named(i, "attention"), DIMS, false, NULL);
        fr_params_add_norm(model, named(i, "ln2"), DIMS, true);
        fr_params_add_weight(model, named(i, "linear1"), up, 2, true, NULL);
        fr_params_add_weight(model, named(i, "linear2"), down, 2, true, NULL);
    }
    fr_params_add_norm(model, "encoder.ln", DIMS, true);
    fr_params_add_weight(model, "head", out, 2, true, NULL);
    state = fr_adam_state(model);
    int n = fr_params_slots(model, slots);
    return n + fr_params_slots(state, slots + n);
}

/* Logits [BATCH, CONTEXT, BYTES] of what follows each byte of x. */
static fr_array *forward(fr_array *x)
{
    const fr_attention_options causal = {.causal = true};
    fr_array *at = fr_arange(0, CONTEXT, 1, FR_INT32);
    fr_array *h = fr_params_embedding(model, "tokens", x);
    h = fr_add(h, fr_params_embedding(model, "places", at));
    for (int i = 0; i < LAYERS; i++) {
        fr_array *y = fr_params_layer_norm(model, named(i, "ln1"), h, 1e-5);
        y = fr_params_attention(model, named(i, "attention"), y, y, y, HEADS, &causal);
        h = fr_add(h, y);
        y = fr_params_layer_norm(model, named(i, "ln2"), h, 1e-5);
        y = fr_gelu(fr_params_linear(model, named(i, "linear1"), y));
        h = fr_add(h, fr_params_linear(model, named(i, "linear2"), y));
    }
    return fr_params_linear(model, "head", fr_params_layer_norm(model, "encoder.ln", h, 1e-5));
}

/* in: windows of the text, of one character more than the model sees; out: the loss */
static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    const int64_t one[] = {1, 1}, size[] = {BATCH, CONTEXT};
    fr_array *x = fr_slice(in[0], (int64_t[]){0, 0}, one, size);
    fr_array *y = fr_slice(in[0], (int64_t[]){0, 1}, one, size);
    return (out[0] = fr_mean(fr_cross_entropy(forward(x), y), NULL)) ? 0 : -1;
}

static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[ARRAYS];
    if (fr_params_value_and_grad(model, loss, ctx, n_in, in, n_out, out, grads))
        return -1;
    return fr_params_adam(model, grads, state, fr_number(3e-3), NULL);
}

/* BATCH windows of the text, from places drawn at random. */
static fr_array *windows(fr_array *text)
{
    fr_array *end = fr_number_int(fr_size(text) - CONTEXT), *first = fr_number_int(0);
    fr_array *at = fr_random_integers(first, end, (int64_t[]){BATCH, 1}, 2, FR_INT32, NULL);
    return fr_take(text, fr_add(at, fr_arange(0, CONTEXT + 1, 1, FR_INT32)), 0);
}

int main(int argc, char **argv)
{
    static progress told = {.every = 25};
    static unsigned char bytes[1 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    int64_t n = file ? (int64_t)fread(bytes, 1, sizeof bytes, file) : 0;
    if (!file || fclose(file) || n <= CONTEXT)
        return fprintf(stderr, "usage: transformer TEXT [STEPS [CURVE.svg [WEIGHTS]]]\n"), 1;
    int count = argc > 2 ? atoi(argv[2]) : 200;
    fr_random_seed(0);
    fr_array *text = fr_from_data(bytes, FR_UINT8, &n, 1);
    fr_array **slots[3 * ARRAYS + 1];
    fr_compile_options o = {.nslots = make_model(slots), .slots = slots};
    fr_function *f = fr_compile(step, NULL, &o);
    for (int i = 0; i < count && fr_error() == FR_OK; i++) {
        fr_scope *s = fr_scope_open();
        double v;
        if (!fr_item(fr_call1(f, windows(text)), &v))
            progress_step(&told, v);
        fr_scope_close(s);
    }
    int failed = fr_error() || progress_save(&told, argc > 3 ? argv[3] : "transformer.svg") ||
                 (argc > 4 && fr_params_save(model, argv[4]));
    if (failed)
        fprintf(stderr, "failed: %s\n", fr_error_message());
    fr_function_free(f);
    fr_params_free(model);
    fr_params_free(state);
    fr_free(text);
    return failed;
}
