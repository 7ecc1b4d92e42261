/* test_nn.c - from C: convolutions, random numbers of many kinds, networks */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ferrule/ferrule.h"
#include "test.h"

/* An error of this kind is set; it is cleared. */
static bool refused(const void *result, fr_error_kind kind)
{
    bool good = !result && fr_error() == kind && fr_error_message()[0];
    fr_error_clear();
    return good;
}

static double item(fr_array *x)
{
    double v = NAN;
    return x && !fr_item(x, &v) ? v : NAN;
}

/* ---- convolutions ----------------------------------------------------------------------- */

TEST(convolutions)
{
    fr_scope *s = fr_scope_open();
    float x[2 * 7 * 3], w[4 * 3 * 3], y[2 * 4 * 4];
    for (int i = 0; i < 42; i++)
        x[i] = (float)(i * 7 % 11) - 5;
    for (int i = 0; i < 36; i++)
        w[i] = (float)(i * 5 % 7) - 3;
    fr_array *a = fr_from_data(x, FR_FLOAT32, (int64_t[]){2, 7, 3}, 3);
    fr_array *b = fr_from_data(w, FR_FLOAT32, (int64_t[]){4, 3, 3}, 3);
    fr_conv_options o = {.stride = (int64_t[]){2}, .padding = (int64_t[]){1}};
    fr_array *c = fr_conv(a, b, &o);
    CHECK(c && fr_ndim(c) == 3 && fr_shape(c)[1] == 4 && fr_shape(c)[2] == 4);
    CHECK(!fr_copy_out(c, y, sizeof y));
    for (int n = 0; n < 2; n++)
        for (int l = 0; l < 4; l++)
            for (int k = 0; k < 4; k++) {
                float sum = 0;
                for (int j = 0; j < 3; j++)
                    for (int i = 0; i < 3; i++) {
                        int at = 2 * l + j - 1;
                        sum += at < 0 || at > 6
                                   ? 0
                                   : x[(n * 7 + at) * 3 + i] * w[(k * 3 + j) * 3 + i];
                    }
                CHECK(y[(n * 4 + l) * 4 + k] == sum);
            }
    fr_array *t = fr_conv_transpose(c, fr_transpose(b, (int[]){2, 1, 0}, 3), &o, NULL);
    CHECK(t && fr_shape(t)[1] == 7 && fr_shape(t)[2] == 3);
    fr_array *v = fr_windows(a, 1, 3, 2, 2);
    CHECK(v && fr_ndim(v) == 4 && fr_shape(v)[1] == 2 && fr_shape(v)[2] == 3);
    o.groups = 2;
    CHECK(refused(fr_conv(a, b, &o), FR_ERROR_VALUE));
    CHECK(refused(fr_windows(a, 1, 8, 1, 1), FR_ERROR_VALUE));
    CHECK(refused(fr_windows(a, 5, 1, 1, 1), FR_ERROR_INDEX));
    CHECK(!fr_conv(NULL, b, NULL));
    /* numbers that no memory can follow; far steps to a next window or element that is not there */
    int64_t far[] = {INT64_MAX}, most_back[] = {INT64_MIN};
    CHECK(refused(fr_conv(a, b, &(fr_conv_options){.dilation = far}), FR_ERROR_VALUE));
    CHECK(refused(fr_conv(a, b, &(fr_conv_options){.padding = most_back}), FR_ERROR_VALUE));
    CHECK(refused(fr_conv(a, b, &(fr_conv_options){.padding = far}), FR_ERROR_LIMIT));
    CHECK(refused(fr_conv(a, b, &(fr_conv_options){.input_dilation = far}), FR_ERROR_LIMIT));
    fr_conv_options wide = {.dilation = far, .padding = most_back};
    CHECK(refused(fr_conv_transpose(a, b, &wide, NULL), FR_ERROR_LIMIT));
    fr_array *tap =
        fr_slice(b, (int64_t[]){0, 0, 0}, (int64_t[]){1, 1, 1}, (int64_t[]){4, 1, 3});
    c = fr_conv(a, tap, &(fr_conv_options){.stride = far, .dilation = far});
    CHECK(c && fr_shape(c)[1] == 1 && !fr_copy_out(c, y, 2 * 4 * sizeof *y));
    CHECK(y[1] == x[0] * w[9] + x[1] * w[10] + x[2] * w[11]);
    CHECK(!fr_eval(fr_windows(a, 1, 7, INT64_MAX, 1)));
    CHECK(!fr_eval(fr_windows(a, 1, 1, 1, INT64_MAX)));
    fr_scope_close(s);
}

/* ---- random numbers ------------------------------------------------------------------------ */

TEST(draws)
{
    fr_scope *s = fr_scope_open();
    fr_array *state = fr_keep(fr_random_key(5)), *both = fr_random_split(fr_random_key(5), 2);
    uint32_t keys[4], now[2], drawn[2];
    fr_array *key = fr_random_next(&state);
    CHECK(!fr_copy_out(both, keys, sizeof keys) && !fr_copy_out(state, now, sizeof now));
    CHECK(!fr_copy_out(key, drawn, sizeof drawn));
    CHECK(!memcmp(now, keys, sizeof now) && !memcmp(drawn, keys + 2, sizeof drawn));
    int64_t n = 20000;
    fr_reduce_options all = {0};
    fr_array *low = fr_number(-3), *high = fr_number(4);
    fr_array *whole = fr_random_integers(low, high, &n, 1, FR_INT32, key);
    CHECK(item(fr_min(whole, &all)) == -3 && item(fr_max(whole, &all)) == 3);
    fr_array *hit = fr_random_bernoulli(fr_number(0.25), &n, 1, key);
    CHECK(fabs(item(fr_mean(hit, NULL)) - 0.25) < 0.02);
    fr_array *cut =
        fr_random_truncated_normal(fr_number(1), fr_number(2), &n, 1, FR_FLOAT32, key);
    CHECK(item(fr_min(cut, NULL)) >= 1 && item(fr_max(cut, NULL)) <= 2);
    CHECK(fabs(item(fr_mean(fr_random_gumbel(&n, 1, FR_FLOAT32, key), NULL)) - 0.5772) < 0.05);
    CHECK(fabs(item(fr_mean(fr_random_laplace(&n, 1, FR_FLOAT32, key), NULL))) < 0.06);
    float logits[] = {0, -INFINITY, 0};
    fr_array *l = fr_from_data(logits, FR_FLOAT32, (int64_t[]){3}, 1);
    fr_array *places = fr_random_categorical_samples(l, 0, n, key);
    CHECK(fr_dtype_of(places) == FR_UINT32 && fabs(item(fr_mean(places, NULL)) - 1) < 0.05);
    CHECK(item(fr_any(fr_eq(places, 1), NULL)) == 0);
    int64_t few = 100;
    CHECK(item(fr_sum(fr_random_permutation(100, key), NULL)) == 4950);
    fr_array *x = fr_arange(0, 100, 1, FR_FLOAT32);
    CHECK(item(fr_sum(fr_random_shuffle(x, 0, key), NULL)) == 4950);
    fr_array *mean = fr_full(&(int64_t){2}, 1, 3, FR_FLOAT32);
    fr_array *cov = fr_full((int64_t[]){2, 2}, 2, 1, FR_FLOAT32);
    fr_array *z = fr_random_multivariate_normal(mean, cov, &few, 1, key);
    CHECK(z && fr_ndim(z) == 2 && fr_shape(z)[0] == 100 && fr_shape(z)[1] == 2);
    CHECK(refused(fr_random_integers(low, high, &n, 1, FR_FLOAT32, key), FR_ERROR_TYPE));
    CHECK(refused(fr_random_bernoulli(x, &few, 0, key), FR_ERROR_VALUE));
    CHECK(refused(fr_random_categorical(l, 1, NULL, -1, key), FR_ERROR_INDEX));
    CHECK(refused(fr_random_multivariate_normal(x, cov, &few, 1, key), FR_ERROR_VALUE));
    fr_array *wrong = x;
    CHECK(refused(fr_random_next(&wrong), FR_ERROR_VALUE) && wrong == x);
    fr_free(state);
    fr_scope_close(s);
}

/* ---- networks -------------------------------------------------------------------------------- */

TEST(layers)
{
    fr_scope *s = fr_scope_open();
    float v[] = {1, 2, 4, -1, 0, 3};
    fr_array *x = fr_from_data(v, FR_FLOAT32, (int64_t[]){2, 3}, 2);
    fr_array *w = fr_full((int64_t[]){4, 3}, 2, 0.5, FR_FLOAT32),
             *b = fr_arange(0, 4, 1, FR_FLOAT32);
    fr_array *y = fr_linear(x, w, b);
    CHECK(fr_shape(y)[1] == 4 && item(fr_sum(y, NULL)) == 4 * 3.5 + 4 * 1 + 12);
    CHECK(fabs(item(fr_sum(fr_layer_norm(x, NULL, NULL, 0), NULL))) < 1e-5);
    CHECK(fabs(item(fr_mean(fr_square(fr_layer_norm(x, NULL, NULL, 0)), NULL)) - 1) < 1e-5);
    CHECK(fabs(item(fr_mean(fr_square(fr_rms_norm(x, NULL, 0)), NULL)) - 1) < 1e-5);
    fr_array *half = fr_layer_norm(fr_astype(x, FR_FLOAT16), NULL, NULL, 1e-5);
    CHECK(half && fr_dtype_of(half) == FR_FLOAT16);
    fr_array *big = fr_ones(&(int64_t){10000}, 1, FR_FLOAT32);
    fr_array *dropped = fr_dropout(big, 0.25, fr_random_key(1));
    CHECK(fabs(item(fr_mean(dropped, NULL)) - 1) < 0.03);
    CHECK(fabs(item(fr_max(dropped, NULL)) - 1 / 0.75) < 1e-6);
    fr_array *t = fr_from_data((int32_t[]){2, 0}, FR_INT32, &(int64_t){2}, 1);
    double first = log(exp(1) + exp(2) + exp(4)) - 4, second = log(exp(-1) + 1 + exp(3)) + 1;
    CHECK(fabs(item(fr_mean(fr_cross_entropy(x, t), NULL)) - (first + second) / 2) < 1e-5);
    fr_array *one = fr_ones(&(int64_t){3}, 1, FR_FLOAT32);
    CHECK(fabs(item(fr_mean(fr_binary_cross_entropy(fr_mul(one, 2), one), NULL)) -
               log(1 + exp(-2))) < 1e-5);
    CHECK(item(fr_mean(fr_mse(one, fr_mul(one, 3)), NULL)) == 4);
    fr_array *wide = fr_init_weight((int64_t[]){50, 4}, 2, fr_random_key(1));
    CHECK(item(fr_max(fr_abs(wide), NULL)) <= 0.5 && item(fr_max(wide, NULL)) > 0.4);
    CHECK(refused(fr_cross_entropy(x, x), FR_ERROR_VALUE));
    CHECK(refused(fr_dropout(x, 1, NULL), FR_ERROR_VALUE));
    CHECK(refused(fr_linear(x, b, NULL), FR_ERROR_VALUE));
    fr_scope_close(s);
}

TEST(optimizers)
{
    fr_scope *s = fr_scope_open();
    fr_array *p = fr_full(NULL, 0, 1, FR_FLOAT32), *v = fr_full(NULL, 0, 0, FR_FLOAT32), *m = v;
    fr_array *g = fr_full(NULL, 0, 0.5, FR_FLOAT32), *rate = fr_full(NULL, 0, 0.1, FR_FLOAT32);
    fr_array *none = NULL, *steps = fr_full(NULL, 0, 0, FR_FLOAT32), *keep = p;
    CHECK(!fr_sgd(1, &p, &g, NULL, rate, NULL) && fabs(item(p) - 0.95) < 1e-6);
    fr_sgd_options o = {.momentum = 0.9, .weight_decay = 0.1};
    CHECK(!fr_sgd(1, &p, &g, &v, rate, &o) && fabs(item(v) - 0.595) < 1e-6);
    CHECK(!fr_sgd(1, &p, &g, &v, rate, &o) &&
          fabs(item(v) - (0.9 * 0.595 + 0.5 + 0.08905)) < 1e-5);
    CHECK(fr_sgd(1, &p, &g, NULL, rate, &o) && refused(NULL, FR_ERROR_VALUE));
    keep = p;
    CHECK(fr_sgd(1, &p, &none, NULL, rate, NULL) && p == keep);
    p = fr_full(NULL, 0, 1, FR_FLOAT32);
    v = m;
    for (int i = 1; i <= 3; i++) /* a constant gradient: the corrected step is the rate */
        CHECK(!fr_adam(1, &p, &g, &m, &v, &steps, rate, NULL) &&
              fabs(item(p) - (1 - 0.1 * i)) < 1e-5 && item(steps) == i);
    fr_scope_close(s);
}

TEST(parameters)
{
    char folder[] = "/tmp/ferrule-nn-XXXXXX";
    CHECK(mkdtemp(folder));
    char path[256];
    snprintf(path, sizeof path, "%s/p.safetensors", folder);
    fr_scope *s = fr_scope_open();
    fr_params *p = fr_params_new();
    CHECK(fr_params_add(p, "a.weight", fr_arange(0, 6, 1, FR_FLOAT32)) == 0);
    CHECK(fr_params_add(p, "a.bias", fr_full(NULL, 0, 3, FR_FLOAT16)) == 1);
    CHECK(fr_params_add(p, "a.bias", fr_number(1)) == -1 && refused(NULL, FR_ERROR_VALUE));
    CHECK(refused(fr_params_get(p, "b"), FR_ERROR_VALUE));
    CHECK(!fr_params_save(p, path));
    fr_params *q = fr_params_like(p);
    CHECK(q && item(fr_sum(fr_params_get(q, "a.weight"), NULL)) == 0);
    CHECK(!fr_params_load(q, path) && item(fr_params_get(q, "a.bias")) == 3);
    CHECK(item(fr_sum(fr_params_get(q, "a.weight"), NULL)) == 15);
    CHECK(fr_dtype_of(fr_params_get(q, "a.bias")) == FR_FLOAT16);
    fr_params_add(q, "more", fr_number(1));
    CHECK(fr_params_load(q, path) == -1 && refused(NULL, FR_ERROR_VALUE));
    CHECK(fr_params_count(q) == 3 && !strcmp(fr_params_name(q, 2), "more"));
    fr_params_free(p);
    fr_params_free(q);
    CHECK(!unlink(path));
    fr_scope_close(s);
    CHECK(!rmdir(folder));
    CHECK(fr_error() == FR_OK);
}
