/* test_networks.c - include/ferrule/nn.h: layers by value and by name, derivatives over a set of
 * parameters, optimizers whose rate changes */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ferrule/ferrule.h"
#include "test.h"

static bool refused(bool failed, fr_error_kind kind)
{
    bool good = failed && fr_error() == kind && fr_error_message()[0];
    fr_error_clear();
    return good;
}

static double item(fr_array *x)
{
    double v = NAN;
    return x && !fr_item(x, &v) ? v : NAN;
}

static bool close_to(fr_array *x, fr_array *y, double by)
{
    return x && y && fr_size(x) == fr_size(y) && item(fr_max(fr_abs(fr_sub(x, y)), NULL)) <= by;
}

static fr_array *normal(const int64_t *shape, int ndim, uint64_t seed)
{
    return fr_random_normal(shape, ndim, FR_FLOAT32, fr_random_key(seed));
}

/* ---- layers ------------------------------------------------------------------------------- */

TEST(tables_and_convolutions)
{
    fr_scope *s = fr_scope_open();
    fr_array *table = fr_reshape(fr_arange(0, 12, 1, FR_FLOAT32), (int64_t[]){4, 3}, 2);
    fr_array *at = fr_from_data((int32_t[]){3, 0, 3, 1}, FR_INT32, (int64_t[]){2, 2}, 2);
    fr_array *y = fr_embedding(table, at);
    CHECK(y && fr_ndim(y) == 3 && fr_shape(y)[2] == 3 && item(fr_sum(y, NULL)) == 75);
    CHECK(refused(!fr_embedding(at, NULL) &&
                      !fr_embedding(fr_reshape(table, (int64_t[]){12}, 1), at),
                  FR_ERROR_VALUE));
    fr_array *x = normal((int64_t[]){2, 5, 5, 3}, 4, 1),
             *w = normal((int64_t[]){4, 3, 3, 3}, 4, 2);
    fr_array *b = normal((int64_t[]){4}, 1, 3);
    CHECK(close_to(fr_convolution(x, w, b, NULL), fr_add(fr_conv(x, w, NULL), b), 0));
    CHECK(close_to(fr_convolution(x, w, NULL, NULL), fr_conv(x, w, NULL), 0));
    CHECK(refused(!fr_convolution(x, b, NULL, NULL), FR_ERROR_VALUE));
    fr_scope_close(s);
}

TEST(activations)
{
    fr_scope *s = fr_scope_open();
    const float v[] = {-2, -0.5F, 0, 1, 3};
    float relu[5], gelu[5], silu[5];
    fr_array *x = fr_from_data(v, FR_FLOAT32, (int64_t[]){5}, 1);
    CHECK(!fr_copy_out(fr_relu(x), relu, sizeof relu));
    CHECK(!fr_copy_out(fr_gelu(x), gelu, sizeof gelu));
    CHECK(!fr_copy_out(fr_silu(x), silu, sizeof silu));
    for (int i = 0; i < 5; i++) {
        CHECK(relu[i] == (v[i] > 0 ? v[i] : 0));
        CHECK(fabs(gelu[i] - v[i] * (1 + erf(v[i] / sqrt(2))) / 2) < 1e-6);
        CHECK(fabs(silu[i] - v[i] / (1 + exp(-v[i]))) < 1e-6);
    }
    CHECK(!fr_relu(NULL) && !fr_gelu(NULL) && !fr_silu(NULL));
    fr_scope_close(s);
}

TEST(norms)
{
    enum { N = 3, L = 4, C = 6, GROUPS = 2 };
    fr_scope *s = fr_scope_open();
    float v[N][L][C], group[N][L][C], batch[N][L][C];
    fr_array *x = fr_add(normal((int64_t[]){N, L, C}, 3, 5), 2);
    fr_array *w = normal((int64_t[]){C}, 1, 6), *b = normal((int64_t[]){C}, 1, 7), *mean,
             *variance;
    float scale[C], move[C];
    CHECK(!fr_copy_out(x, v, sizeof v) && !fr_copy_out(w, scale, sizeof scale) &&
          !fr_copy_out(b, move, sizeof move));
    CHECK(!fr_copy_out(fr_group_norm(x, GROUPS, w, b, 1e-5), group, sizeof group));
    CHECK(!fr_batch_statistics(x, &mean, &variance));
    CHECK(!fr_copy_out(fr_batch_norm(x, mean, variance, w, b, 1e-5), batch, sizeof batch));
    for (int kind = 0; kind < 2; kind++)
        for (int n = 0; n < N; n++)
            for (int c = 0; c < C; c++) {
                double sum = 0, squares = 0, count = 0;
                for (int i = 0; i < N; i++)
                    for (int j = 0; j < L; j++)
                        for (int k = 0; k < C; k++)
                            if (kind ? k == c
                                     : i == n && k / (C / GROUPS) == c / (C / GROUPS)) {
                                sum += v[i][j][k];
                                squares += (double)v[i][j][k] * v[i][j][k];
                                count++;
                            }
                double m = sum / count, size = sqrt(squares / count - m * m + 1e-5);
                for (int j = 0; j < L; j++)
                    CHECK(fabs((kind ? batch : group)[n][j][c] -
                               ((v[n][j][c] - m) / size * scale[c] + move[c])) < 1e-4);
            }
    fr_array *half = fr_astype(x, FR_FLOAT16);
    CHECK(fr_dtype_of(fr_group_norm(half, 3, NULL, NULL, 1e-5)) == FR_FLOAT16);
    CHECK(fr_dtype_of(fr_batch_norm(half, mean, variance, NULL, NULL, 1e-5)) == FR_FLOAT16);
    CHECK(refused(!fr_group_norm(x, 4, NULL, NULL, 0), FR_ERROR_VALUE));
    CHECK(refused(!fr_group_norm(x, 0, NULL, NULL, 0), FR_ERROR_VALUE));
    CHECK(refused(!fr_group_norm(w, 2, NULL, NULL, 0), FR_ERROR_VALUE));
    CHECK(refused(fr_batch_statistics(w, &mean, &variance) == -1, FR_ERROR_VALUE));
    CHECK(!fr_group_norm(NULL, 2, NULL, NULL, 0) &&
          !fr_batch_norm(NULL, mean, variance, w, b, 0));
    CHECK(fr_batch_statistics(NULL, &mean, &variance) == -1);
    CHECK(fr_error() == FR_OK);
    fr_scope_close(s);
}

/* ---- attention ------------------------------------------------------------------------------- */

enum { B = 2, L = 3, S = 5, D = 8, HEADS = 2 };

/* The projections and the softmax written out; seen[l][s]: whether query l sees key s. */
static double attended(float x[][D], float y[][D], float w[4][D][D], bool seen[L][S], int l,
                       int o)
{
    double q[D] = {0}, out = 0;
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            q[i] += (double)x[l][j] * w[0][i][j];
    for (int i = 0; i < D; i++) { /* feature i of what the last projection gets */
        int h = i / (D / HEADS);
        double total = 0, sum = 0;
        for (int t = 0; t < S; t++) {
            double score = 0, value = 0;
            for (int j = 0; j < D; j++) {
                double key = 0;
                for (int k = 0; k < D; k++)
                    key += (double)y[t][k] * w[1][j][k];
                score += j / (D / HEADS) == h ? q[j] * key : 0;
                value += (double)y[t][j] * w[2][i][j];
            }
            double weight = seen[l][t] ? exp(score / sqrt(D / HEADS)) : 0;
            total += weight;
            sum += weight * value;
        }
        out += sum / total * w[3][o][i];
    }
    return out;
}

TEST(attention)
{
    fr_scope *s = fr_scope_open();
    float x[B][L][D], y[B][S][D], w[4][D][D], got[B][L][D];
    fr_array *q = normal((int64_t[]){B, L, D}, 3, 11), *k = normal((int64_t[]){B, S, D}, 3, 12),
             *p[4];
    CHECK(!fr_copy_out(q, x, sizeof x) && !fr_copy_out(k, y, sizeof y));
    for (int i = 0; i < 4; i++) {
        p[i] = fr_mul(normal((int64_t[]){D, D}, 2, 20 + (uint64_t)i), 0.5);
        CHECK(!fr_copy_out(p[i], w[i], sizeof w[i]));
    }
    const fr_multi_head_weights weights = {p[0], p[1], p[2], p[3], NULL, NULL, NULL, NULL};
    for (int kind = 0; kind < 4; kind++) { /* all; causal; a mask of bools; one that is added */
        bool seen[L][S];
        float added[L][S];
        for (int l = 0; l < L; l++)
            for (int t = 0; t < S; t++) {
                seen[l][t] = !kind || (kind == 1 ? t <= l + S - L : (l + t) % 2 == 0);
                added[l][t] = seen[l][t] ? 0 : -INFINITY;
            }
        fr_attention_options o = {.causal = kind == 1};
        if (kind > 1)
            o.mask = fr_from_data(kind == 2 ? (void *)seen : added,
                                  kind == 2 ? FR_BOOL : FR_FLOAT32, (int64_t[]){L, S}, 2);
        fr_array *z = fr_multi_head_attention(q, k, k, HEADS, &weights, kind ? &o : NULL);
        CHECK(z && fr_ndim(z) == 3 && !fr_copy_out(z, got, sizeof got));
        for (int b = 0; b < B; b++)
            for (int l = 0; l < L; l++)
                for (int d = 0; d < D; d++)
                    CHECK(fabs(got[b][l][d] - attended(x[b], y[b], w, seen, l, d)) < 1e-4);
    }
    /* biases: of the last projection, one number more */
    fr_multi_head_weights biased = weights;
    biased.out_bias = fr_ones((int64_t[]){D}, 1, FR_FLOAT32);
    CHECK(close_to(fr_multi_head_attention(q, k, k, HEADS, &biased, NULL),
                   fr_add(fr_multi_head_attention(q, k, k, HEADS, &weights, NULL), 1), 1e-5));
    CHECK(refused(!fr_multi_head_attention(q, k, k, 3, &weights, NULL), FR_ERROR_VALUE));
    CHECK(refused(!fr_multi_head_attention(q, k, k, 0, &weights, NULL), FR_ERROR_VALUE));
    CHECK(refused(!fr_multi_head_attention(p[0], k, k, 2, &weights, NULL), FR_ERROR_VALUE));
    CHECK(!fr_multi_head_attention(NULL, k, k, 2, &weights, NULL));
    fr_scope_close(s);
}

/* ---- by name --------------------------------------------------------------------------------- */

TEST(named_layers)
{
    fr_scope *s = fr_scope_open();
    fr_params *p = fr_params_new();
    fr_array *key = fr_random_key(3);
    CHECK(!fr_params_add_weight(p, "a", (int64_t[]){4, D}, 2, true, key));
    CHECK(!fr_params_add_weight(p, "c", (int64_t[]){4, 3, 3, 2}, 4, false, key));
    CHECK(!fr_params_add_norm(p, "n", D, true) && !fr_params_add_embedding(p, "t", 50, D, key));
    CHECK(!fr_params_add_attention(p, "m", D, true, key));
    static const char *const names[] = {"a.weight",
                                        "a.bias",
                                        "c.weight",
                                        "n.weight",
                                        "n.bias",
                                        "t.weight",
                                        "m.query_proj.weight",
                                        "m.query_proj.bias",
                                        "m.key_proj.weight",
                                        "m.key_proj.bias",
                                        "m.value_proj.weight",
                                        "m.value_proj.bias",
                                        "m.out_proj.weight",
                                        "m.out_proj.bias"};
    int n = fr_params_count(p);
    CHECK(n == 14);
    for (int i = 0; i < n; i++)
        CHECK(!strcmp(fr_params_name(p, i), names[i]) && fr_params_find(p, names[i]) == i);
    CHECK(fr_params_find(p, "b") == -1 && fr_error() == FR_OK);
    CHECK(!close_to(fr_params_get(p, "m.query_proj.weight"),
                    fr_params_get(p, "m.key_proj.weight"), 0.01));
    CHECK(fabs(item(fr_var(fr_params_get(p, "t.weight"), NULL)) - 1.0 / D) < 0.03);

    fr_array *x = normal((int64_t[]){2, 3, D}, 3, 4);
    CHECK(close_to(fr_params_linear(p, "a", x),
                   fr_linear(x, fr_params_get(p, "a.weight"), fr_params_get(p, "a.bias")), 0));
    CHECK(close_to(fr_params_layer_norm(p, "n", x, 1e-5), fr_layer_norm(x, NULL, NULL, 1e-5),
                   1e-6));
    CHECK(close_to(fr_params_rms_norm(p, "n", x, 1e-5), fr_rms_norm(x, NULL, 1e-5), 1e-6));
    fr_array *y = fr_params_attention(p, "m", x, x, x, 2, NULL);
    CHECK(y && fr_shape(y)[1] == 3 && fr_shape(y)[2] == D && isfinite(item(fr_sum(y, NULL))));
    fr_array *image = normal((int64_t[]){1, 6, 6, 2}, 4, 8);
    CHECK(close_to(fr_params_convolution(p, "c", image, NULL),
                   fr_conv(image, fr_params_get(p, "c.weight"), NULL), 0));
    CHECK(fr_ndim(fr_params_embedding(p, "t", fr_arange(0, 3, 1, FR_INT32))) == 2);

    /* what fails adds nothing */
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK(refused(fr_params_add_weight(p, longest, (int64_t[]){1, 1}, 2, true, key),
                  FR_ERROR_LIMIT));
    CHECK(refused(fr_params_add_attention(p, longest, 4, true, key), FR_ERROR_LIMIT));
    CHECK(
        refused(fr_params_add_weight(p, "a", (int64_t[]){1, 1}, 2, true, key), FR_ERROR_VALUE));
    CHECK(refused(fr_params_add_weight(p, "z", (int64_t[]){1, -1}, 2, true, key),
                  FR_ERROR_VALUE));
    CHECK(refused(fr_params_add_weight(p, "z", (int64_t[]){1}, 1, true, key), FR_ERROR_VALUE));
    CHECK(refused(fr_params_add_norm(p, "z", -1, true), FR_ERROR_VALUE));
    CHECK(refused(fr_params_add_embedding(p, "z", -1, 3, key), FR_ERROR_VALUE));
    CHECK(fr_params_add(p, "half.bias", x) == n);
    CHECK(refused(fr_params_add_weight(p, "half", (int64_t[]){1, 1}, 2, true, key),
                  FR_ERROR_VALUE));
    CHECK(fr_params_add(p, "q.value_proj.weight", x) == n + 1);
    CHECK(refused(fr_params_add_attention(p, "q", 4, false, key), FR_ERROR_VALUE));
    CHECK(fr_params_count(p) == n + 2);
    CHECK(refused(!fr_params_linear(p, "none", x), FR_ERROR_VALUE));
    CHECK(refused(!fr_params_attention(p, "a", x, x, x, 1, NULL), FR_ERROR_VALUE));
    fr_params_free(p);
    fr_scope_close(s);
    CHECK(fr_error() == FR_OK);
}

/* ---- training ---------------------------------------------------------------------------------- */

static fr_params *model, *state;
static fr_array *rate;
static bool with_adam, again;

static int half_loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    fr_array *h = fr_relu(fr_params_linear(model, "a", in[0]));
    return (out[0] = fr_mean(fr_mse(fr_params_linear(model, "b", h), in[1]), NULL)) ? 0 : -1;
}

static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    return again ? fr_checkpoint(half_loss, ctx, n_in, in, n_out, out)
                 : half_loss(ctx, n_in, in, n_out, out);
}

static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[4];
    if (fr_params_value_and_grad(model, loss, ctx, n_in, in, n_out, out, grads))
        return -1;
    return with_adam
               ? fr_params_adam(model, grads, state, rate, NULL)
               : fr_params_sgd(model, grads, state, rate, &(fr_sgd_options){.momentum = 0.5});
}

static void make(bool adam, fr_dtype dtype)
{
    fr_scope *s = fr_scope_open();
    fr_params *wide = fr_params_new();
    fr_params_add_weight(wide, "a", (int64_t[]){7, 5}, 2, true, fr_random_key(1));
    fr_params_add_weight(wide, "b", (int64_t[]){2, 7}, 2, true, fr_random_key(2));
    model = fr_params_new();
    for (int i = 0; i < 4; i++)
        fr_params_add(model, fr_params_name(wide, i),
                      fr_astype(fr_params_arrays(wide)[i], dtype));
    fr_params_free(wide);
    with_adam = adam;
    state = adam ? fr_adam_state(model) : fr_params_like(model);
    rate = fr_keep(fr_full(NULL, 0, 0.01, FR_FLOAT32));
    fr_scope_close(s);
}

static void unmake(void)
{
    fr_params_free(model);
    fr_params_free(state);
    fr_free(rate);
}

/* Losses of 8 steps; the rate is ten times as large from the fifth on. */
static void train(bool adam, bool compiled, fr_dtype dtype, double losses[8])
{
    make(adam, dtype);
    fr_scope *s = fr_scope_open();
    fr_array *in[] = {normal((int64_t[]){16, 5}, 2, 3), normal((int64_t[]){16, 2}, 2, 4)},
             *out[1];
    for (int i = 0; i < 2; i++)
        in[i] = fr_astype(in[i], dtype);
    fr_array **slots[16];
    int n = fr_params_slots(model, slots);
    n += fr_params_slots(state, slots + n);
    slots[n++] = &rate;
    fr_function *f = fr_compile(step, NULL, &(fr_compile_options){.nslots = n, .slots = slots});
    fr_compile_enable(compiled);
    int64_t traces = fr_count(FR_COUNT_TRACES);
    for (int i = 0; i < 8; i++) {
        if (i == 4) {
            fr_free(rate);
            rate = fr_keep(fr_full(NULL, 0, 0.1, FR_FLOAT32));
        }
        losses[i] = !fr_call(f, 2, in, 1, out) ? item(out[0]) : NAN;
    }
    CHECK(!compiled || fr_count(FR_COUNT_TRACES) - traces == 1);
    for (int i = 0; i < 4; i++)
        CHECK(fr_dtype_of(fr_params_arrays(model)[i]) == dtype &&
              fr_dtype_of(fr_params_arrays(state)[i]) == dtype);
    fr_compile_enable(true);
    fr_function_free(f);
    fr_scope_close(s);
    unmake();
}

TEST(rates_change_without_another_trace)
{
    for (int adam = 0; adam < 2; adam++) {
        double plain[8], compiled[8], checkpointed[8], narrow[8];
        train(adam, false, FR_FLOAT32, plain);
        train(adam, true, FR_FLOAT32, compiled);
        again = true;
        train(adam, true, FR_FLOAT32, checkpointed);
        again = false;
        train(adam, true, FR_FLOAT16, narrow);
        for (int i = 0; i < 8; i++) {
            CHECK(fabs(plain[i] - compiled[i]) < 1e-5 * plain[i]);
            CHECK(fabs(plain[i] - checkpointed[i]) < 1e-5 * plain[i]);
            CHECK(fabs(plain[i] - narrow[i]) < 0.03 * plain[i]);
        }
        CHECK(plain[7] < plain[0]);
        double slow = plain[3] - plain[4], fast = plain[4] - plain[5];
        CHECK(fast > 3 * slow && slow > 0); /* the new rate counts from the next step on */
    }
    CHECK(fr_error() == FR_OK);
}

static int bad_loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_in, (void)n_out;
    if (ctx && fr_params_add(model, "more", in[0]) < 0)
        return -1;
    return (out[0] = fr_params_linear(model, ctx ? "a" : "none", in[0])) ? 0 : -1;
}

TEST(derivatives_over_a_set)
{
    make(true, FR_FLOAT32);
    fr_scope *s = fr_scope_open();
    fr_array *in[] = {normal((int64_t[]){16, 5}, 2, 3), normal((int64_t[]){16, 2}, 2, 4)},
             *out[1], *grads[4], *before[4];
    for (int i = 0; i < 4; i++)
        before[i] = fr_params_arrays(model)[i];
    CHECK(!fr_params_value_and_grad(model, loss, NULL, 2, in, 1, out, grads));
    for (int i = 0; i < 4; i++) { /* by a finite difference along the gradient */
        fr_array **at = &fr_params_arrays(model)[i];
        CHECK(*at == before[i] && fr_size(grads[i]) == fr_size(*at));
        double h = 1e-2, size = item(fr_sum(fr_square(grads[i]), NULL)), v[2];
        for (int k = 0; k < 2; k++) {
            fr_array *moved[1];
            *at = fr_add(before[i], fr_mul(grads[i], k ? h : -h));
            CHECK(!loss(NULL, 2, in, 1, moved));
            v[k] = item(moved[0]);
        }
        *at = before[i];
        CHECK(fabs((v[1] - v[0]) / (2 * h) - size) < 0.02 * size + 1e-4);
    }
    /* errors leave the set as it was */
    CHECK(refused(fr_params_value_and_grad(model, bad_loss, NULL, 2, in, 1, out, grads),
                  FR_ERROR_VALUE));
    CHECK(refused(fr_params_value_and_grad(model, bad_loss, &in, 2, in, 1, out, grads),
                  FR_ERROR_VALUE));
    CHECK(fr_params_count(model) == 4);
    for (int i = 0; i < 4; i++)
        CHECK(fr_params_arrays(model)[i] == before[i]);
    fr_params *other = fr_params_like(model);
    CHECK(refused(fr_params_adam(model, grads, other, rate, NULL), FR_ERROR_VALUE));
    CHECK(refused(fr_params_adam(model, grads, NULL, rate, NULL), FR_ERROR_VALUE));
    CHECK(refused(fr_params_sgd(model, grads, state, rate, NULL), FR_ERROR_VALUE));
    CHECK(fr_params_adam(NULL, grads, state, rate, NULL) && !fr_adam_state(NULL));
    CHECK(!strcmp(fr_params_name(state, 0), "m.a.weight") &&
          !strcmp(fr_params_name(state, 7), "v.b.bias") &&
          !strcmp(fr_params_name(state, 8), "step"));
    fr_params_free(other);
    fr_scope_close(s);
    unmake();
    CHECK(fr_error() == FR_OK);
}

/* ---- between calls --------------------------------------------------------------------------------- */

static fr_params *frozen;
static fr_array *key;

/* A frozen layer, dropout, a layer that is trained. */
static int head_loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    fr_array *h = fr_dropout(fr_relu(fr_params_linear(frozen, "f", in[0])), 0.5, in[2]);
    return (out[0] = fr_mean(fr_mse(fr_params_linear(model, "a", h), in[1]), NULL)) ? 0 : -1;
}

static int head_step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *grads[2], *all[] = {in[0], in[1], fr_random_next_slot(&key)};
    (void)n_in;
    if (fr_params_value_and_grad(model, head_loss, ctx, 3, all, n_out, out, grads))
        return -1;
    return fr_params_sgd(model, grads, NULL, fr_number(0.05), NULL);
}

static void replace(fr_params *p, const char *name, fr_array *x)
{
    fr_array **at = &fr_params_arrays(p)[fr_params_find(p, name)];
    fr_keep(x);
    fr_free(*at);
    *at = x;
}

/* Steps with: nothing, another frozen layer, one of another width, a weight held by somebody. */
static void told(bool compiled, double losses[8], int64_t *traces)
{
    fr_scope *s = fr_scope_open();
    frozen = fr_params_new();
    model = fr_params_new();
    fr_params_add_weight(frozen, "f", (int64_t[]){7, 5}, 2, true, fr_random_key(1));
    fr_params_add_weight(model, "a", (int64_t[]){2, 7}, 2, true, fr_random_key(2));
    key = fr_keep(fr_random_key(9));
    fr_array **slots[8], *out[1], *first = fr_keep(fr_params_get(frozen, "f.weight"));
    int n = fr_params_slots(frozen, slots);
    n += fr_params_slots(model, slots + n);
    slots[n++] = &key;
    fr_function *f =
        fr_compile(head_step, NULL, &(fr_compile_options){.nslots = n, .slots = slots});
    fr_array *in[] = {normal((int64_t[]){16, 5}, 2, 3), normal((int64_t[]){16, 2}, 2, 4)};
    fr_compile_enable(compiled);
    int64_t before_all = fr_count(FR_COUNT_TRACES);
    for (int i = 0; i < 8; i++) {
        if (i == 2) /* others of the same shape: no other program */
            replace(frozen, "f.weight", fr_mul(first, 2));
        if (i == 4) {
            replace(frozen, "f.weight", normal((int64_t[]){3, 5}, 2, 5));
            replace(frozen, "f.bias", fr_zeros((int64_t[]){3}, 1, FR_FLOAT32));
            replace(model, "a.weight", normal((int64_t[]){2, 3}, 2, 6));
        }
        fr_array *held = i == 6 ? fr_keep(fr_params_get(model, "a.weight")) : NULL;
        double before = held && !fr_eval(held) ? item(fr_sum(held, NULL)) : 0;
        losses[i] = !fr_call(f, 2, in, 1, out) ? item(out[0]) : NAN;
        if (held) { /* who holds the old one keeps it */
            CHECK(item(fr_sum(held, NULL)) == before &&
                  held != fr_params_get(model, "a.weight"));
            CHECK(!close_to(held, fr_params_get(model, "a.weight"), 1e-6));
        }
        fr_free(held);
    }
    *traces = fr_count(FR_COUNT_TRACES) - before_all;
    fr_compile_enable(true);
    CHECK(fr_shape(fr_params_get(frozen, "f.weight"))[0] == 3);
    fr_free(first);
    fr_free(key);
    fr_function_free(f);
    fr_params_free(frozen);
    fr_params_free(model);
    fr_scope_close(s);
}

TEST(between_calls)
{
    double plain[8], compiled[8];
    int64_t traces = -1;
    told(false, plain, &traces);
    CHECK(traces == 0);
    told(true, compiled, &traces);
    CHECK(traces == 2); /* the first call, and other shapes */
    for (int i = 0; i < 8; i++)
        CHECK(fabs(plain[i] - compiled[i]) < 1e-4 * plain[i]);
    CHECK(plain[0] != plain[1] && plain[2] != plain[1]);
    CHECK(fr_error() == FR_OK);
}
