/* test_transforms.c - derivatives from C: against values known, nested, compiled, wrong */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ferrule/ferrule.h"
#include "test.h"

static double item(fr_array *x)
{
    double v = NAN;
    return x && !fr_item(x, &v) ? v : NAN;
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-5 * (1 + fabs(b)); }

static fr_array *scalar(double v) { return fr_full(NULL, 0, v, FR_FLOAT32); }

#define FUNCTION(name)                                                                         \
    static int name(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
#define UNUSED (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out

FUNCTION(cube)
{
    UNUSED;
    out[0] = fr_mul(fr_mul(in[0], in[0]), in[0]);
    return 0;
}

FUNCTION(grad_of_cube)
{
    UNUSED;
    out[0] = fr_grad(cube, NULL, in[0]);
    return 0;
}

FUNCTION(product_and_more)
{
    UNUSED;
    out[0] = fr_sum(fr_mul(in[0], in[1]), NULL);
    out[1] = fr_exp(in[0]);
    return 0;
}

FUNCTION(looks)
{
    UNUSED;
    double v;
    fr_array *y = fr_exp(in[0]);
    if (fr_item(y, &v))
        return -1;
    out[0] = v > 1 ? fr_mul(y, y) : y;
    return 0;
}

FUNCTION(calls_compiled)
{
    UNUSED;
    out[0] = fr_mul(fr_call1(ctx, in[0]), 2);
    return 0;
}

FUNCTION(fails)
{
    UNUSED;
    return 3;
}

FUNCTION(forgets)
{
    UNUSED;
    return 0;
}

FUNCTION(chain)
{
    UNUSED;
    fr_array *x = in[0];
    for (int i = 0; i < 100000; i++)
        x = fr_add(x, 1);
    out[0] = x;
    return 0;
}

FUNCTION(captures)
{
    UNUSED;
    out[0] = fr_mul(in[0], *(fr_array **)ctx);
    return 0;
}

FUNCTION(calls_what_captures)
{
    UNUSED;
    fr_array *w = in[0], *three = scalar(3);
    fr_function *f = fr_compile(captures, &w, NULL);
    out[0] = fr_call1(f, three);
    fr_function_free(f);
    return 0;
}

TEST(gradients)
{
    fr_scope *s = fr_scope_open();
    CHECK(near(item(fr_grad(cube, NULL, scalar(2))), 12));
    CHECK(near(item(fr_grad(grad_of_cube, NULL, scalar(2))), 12));
    fr_function *f = fr_compile(grad_of_cube, NULL, NULL);
    CHECK(near(item(fr_call1(f, scalar(3))), 27));
    CHECK(near(item(fr_grad(calls_compiled, f, scalar(3))), 36));
    fr_function_free(f);
    CHECK(near(item(fr_grad(looks, NULL, scalar(1))), 2 * exp(2)));
    CHECK(near(item(fr_grad(looks, NULL, scalar(-1))), exp(-1)));
    CHECK(near(item(fr_grad(chain, NULL, scalar(1))), 1));
    CHECK(near(item(fr_grad(calls_what_captures, NULL, scalar(2))), 3));
    fr_array *pending = fr_add(scalar(1), 1);
    CHECK(near(item(fr_grad(cube, NULL, pending)), 12));
    fr_scope_close(s);
    CHECK(fr_error() == FR_OK);
}

TEST(several)
{
    fr_scope *s = fr_scope_open();
    fr_array *in[2] = {fr_arange(0, 3, 1, FR_FLOAT32), fr_arange(1, 4, 1, FR_FLOAT32)};
    fr_array *out[2], *grads[2], *one = scalar(1);
    float v[3];
    int second = 1;
    CHECK(!fr_value_and_grad(product_and_more, NULL, 2, in, 2, NULL, 2, out, grads));
    CHECK(near(item(out[0]), 8) && fr_size(out[1]) == 3);
    CHECK(!fr_copy_out(grads[0], v, sizeof v) && v[0] == 1 && v[2] == 3);
    CHECK(!fr_value_and_grad(product_and_more, NULL, 2, in, 1, &second, 2, out, grads));
    CHECK(!fr_copy_out(grads[0], v, sizeof v) && v[0] == 0 && v[2] == 2);
    fr_array *cotangents[2] = {NULL, one};
    CHECK(fr_vjp(product_and_more, NULL, 2, in, 2, cotangents, out, grads) == -1);
    CHECK(strstr(fr_error_message(), "cotangent") != NULL);
    fr_error_clear();
    cotangents[1] = fr_ones((int64_t[]){3}, 1, FR_FLOAT32);
    CHECK(!fr_vjp(product_and_more, NULL, 2, in, 2, cotangents, out, grads));
    CHECK(!fr_copy_out(grads[0], v, sizeof v) && near(v[2], exp(2)));
    CHECK(!fr_copy_out(grads[1], v, sizeof v) && v[2] == 0);
    fr_scope_close(s);
}

TEST(wrong)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = scalar(1), *two[2] = {x, x}, *out[2], *grads[2];
    CHECK(!fr_grad(fails, NULL, x) && fr_error() == FR_ERROR_CALLBACK);
    fr_error_clear();
    CHECK(!fr_grad(forgets, NULL, x) && fr_error() == FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(!fr_grad(cube, NULL, fr_ones((int64_t[]){2}, 1, FR_FLOAT32)));
    CHECK(strstr(fr_error_message(), "scalar") != NULL);
    fr_error_clear();
    CHECK(!fr_grad(cube, NULL, NULL) && fr_error() == FR_ERROR_VALUE);
    fr_error_clear();
    int bad[2] = {0, 0}, far[1] = {2};
    CHECK(fr_value_and_grad(product_and_more, NULL, 2, two, 2, bad, 2, out, grads) == -1);
    fr_error_clear();
    CHECK(fr_value_and_grad(product_and_more, NULL, 2, two, 1, far, 2, out, grads) == -1);
    fr_error_clear();
    CHECK(near(item(fr_grad(cube, NULL, scalar(2))), 12)); /* nothing is left open */
    CHECK(!fr_is_taped(x));
    fr_scope_close(s);
}

FUNCTION(sine_times)
{
    UNUSED;
    out[0] = fr_mul(fr_sin(in[0]), in[1]);
    return 0;
}

TEST(forward_and_batches)
{
    fr_scope *s = fr_scope_open();
    fr_array *in[2] = {scalar(0.5), scalar(3)}, *t[2] = {scalar(1), NULL}, *y, *dy;
    CHECK(!fr_jvp(sine_times, NULL, 2, in, t, 1, &y, &dy));
    CHECK(near(item(dy), 3 * cos(0.5)) && near(item(y), 3 * sin(0.5)));
    float v[3];
    fr_array *xs[2] = {fr_arange(0, 3, 1, FR_FLOAT32), scalar(2)};
    int axes[2] = {0, FR_NO_AXIS};
    CHECK(!fr_vmap(sine_times, NULL, 2, xs, axes, 1, &y, NULL));
    CHECK(!fr_copy_out(y, v, sizeof v) && near(v[2], 2 * sin(2)));
    CHECK(!fr_vmap(grad_of_cube, NULL, 1, xs, NULL, 1, &y, NULL));
    CHECK(!fr_copy_out(y, v, sizeof v) && near(v[2], 12));
    CHECK(fr_vmap(looks, NULL, 1, xs, NULL, 1, &y, NULL) == -1);
    CHECK(fr_error() == FR_ERROR_TRACE && strstr(fr_error_message(), "vmap"));
    fr_error_clear();
    CHECK(fr_vmap(sine_times, NULL, 2, xs, NULL, 1, &y, NULL) == -1);
    CHECK(fr_error() == FR_ERROR_INDEX);
    fr_error_clear();
    int wrong = 1, none = FR_NO_AXIS;
    CHECK(fr_vmap(grad_of_cube, NULL, 1, xs, NULL, 1, &y, &wrong) == -1);
    fr_error_clear();
    CHECK(fr_vmap(grad_of_cube, NULL, 1, xs, &none, 1, &y, NULL) == -1);
    fr_error_clear();
    t[0] = fr_ones((int64_t[]){2}, 1, FR_FLOAT32);
    CHECK(fr_jvp(sine_times, NULL, 2, in, t, 1, &y, &dy) == -1);
    fr_error_clear();
    fr_scope_close(s);
}

static int runs, freed;

FUNCTION(counted)
{
    runs++;
    return sine_times(ctx, n_in, in, n_out, out);
}

static int ten_times(void *ctx, int n_in, fr_array *const *in, int n_out,
                     fr_array *const *cotangents, fr_array *const *out, fr_array **grads)
{
    (void)ctx, (void)n_in, (void)n_out, (void)out;
    grads[0] = fr_mul(fr_mul(cotangents[0], 10), in[1]);
    return 0;
}

static void count_free(void *ctx)
{
    (void)ctx;
    freed++;
}

FUNCTION(custom)
{
    UNUSED;
    fr_custom_rules rules = {.vjp = ten_times, .free_ctx = count_free};
    return fr_custom(sine_times, &rules, NULL, 2, in, 1, out);
}

FUNCTION(checkpointed)
{
    UNUSED;
    return fr_checkpoint(counted, NULL, 2, in, 1, out);
}

TEST(own_rules)
{
    size_t before = fr_memory().active;
    fr_scope *s = fr_scope_open();
    fr_array *in[2] = {scalar(0.5), scalar(3)}, *y, *grads[2];
    CHECK(!fr_value_and_grad(custom, NULL, 2, in, 2, NULL, 1, &y, grads));
    CHECK(near(item(grads[0]), 30) && item(grads[1]) == 0 && near(item(y), 3 * sin(0.5)));
    CHECK(!custom(NULL, 2, in, 1, &y) && near(item(y), 3 * sin(0.5)));
    CHECK(!fr_value_and_grad(checkpointed, NULL, 2, in, 2, NULL, 1, &y, grads));
    CHECK(near(item(grads[0]), 3 * cos(0.5)) && near(item(grads[1]), sin(0.5)) && runs == 2);
    fr_scope_close(s);
    CHECK(freed == 2);
    CHECK(fr_memory().active <= before);
}

/* Without a scope results are the caller's, and nothing else is left. */
TEST(no_scope)
{
    size_t before = fr_memory().active;
    fr_array *x = scalar(2), *g = fr_grad(cube, NULL, x), *y, *v;
    CHECK(near(item(g), 12));
    CHECK(!fr_value_and_grad(looks, NULL, 1, &x, 1, NULL, 1, &y, &v));
    CHECK(near(item(v), 2 * exp(4)));
    fr_free(x);
    fr_free(g);
    fr_free(y);
    fr_free(v);
    CHECK(fr_memory().active <= before);
}
