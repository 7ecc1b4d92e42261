/* test_compile.c - options of compiled functions in C: shapeless, strict, limits, explain */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ferrule/ferrule.h"
#include "test.h"

static int calls;

#define FUNCTION(name)                                                                         \
    static int name(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
#define UNUSED (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out, calls++

static double item(fr_array *x)
{
    double v = NAN;
    return x && !fr_item(x, &v) ? v : NAN;
}

static fr_array *ones(int64_t rows, int64_t columns)
{
    return fr_ones((int64_t[]){rows, columns}, 2, FR_FLOAT32);
}

FUNCTION(mean_plus_one)
{
    UNUSED;
    out[0] = fr_mean(fr_add(in[0], 1), NULL);
    return 0;
}

FUNCTION(asks_for_a_size)
{
    UNUSED;
    out[0] = fr_sum(fr_mul(in[0], (double)fr_shape(in[0])[0]), NULL);
    return 0;
}

FUNCTION(fails)
{
    UNUSED;
    out[0] = fr_add(in[0], ones(3, 7));
    return 0;
}

FUNCTION(plus_ctx)
{
    UNUSED;
    out[0] = fr_sum(fr_add(in[0], (fr_array *)ctx), NULL);
    return 0;
}

FUNCTION(counts)
{
    UNUSED;
    fr_array **slot = ctx;
    *slot = fr_add(*slot, fr_sum(in[0], NULL));
    out[0] = fr_mul(in[0], *slot);
    return 0;
}

TEST(shapeless)
{
    fr_scope *s = fr_scope_open();
    fr_compile_options o = {.name = "mean_plus_one", .shapeless = true};
    fr_function *f = fr_compile(mean_plus_one, NULL, &o);
    calls = 0;
    for (int n = 2; n < 20; n++)
        CHECK(fabs(item(fr_call1(f, ones(n, n + 3))) - 2) < 1e-6);
    CHECK(calls == 1);
    CHECK(item(fr_call1(f, ones(9, 4))) == 2 && item(fr_call1(f, ones(1, 4))) == 2);
    CHECK(calls == 3);
    fr_function_clear(f);
    CHECK(item(fr_call1(f, ones(9, 4))) == 2);
    CHECK(calls == 4);
    fr_function_free(f);

    o.name = "asks";
    f = fr_compile(asks_for_a_size, NULL, &o);
    for (int n = 2; n < 6; n++)
        CHECK(item(fr_call1(f, ones(n, 10))) == n * n * 10);
    fr_function_free(f);

    o.name = "fails";
    f = fr_compile(fails, NULL, &o);
    CHECK(!fr_call1(f, ones(4, 7)) && fr_error() == FR_ERROR_VALUE);
    fr_error_clear();
    CHECK(fr_call1(f, ones(3, 7)) != NULL);
    fr_function_free(f);

    fr_array *total = fr_keep(fr_full(NULL, 0, 0, FR_FLOAT32)), **slots[] = {&total};
    o = (fr_compile_options){.name = "counts", .shapeless = true, .nslots = 1, .slots = slots};
    f = fr_compile(counts, &total, &o);
    calls = 0;
    CHECK(item(fr_sum(fr_call1(f, ones(2, 3)), NULL)) == 36 && item(total) == 6);
    CHECK(item(fr_sum(fr_call1(f, ones(3, 4)), NULL)) == 12 * 18 && item(total) == 18);
    CHECK(calls == 1);
    fr_function_free(f);
    fr_free(total);
    fr_scope_close(s);
}

TEST(strict)
{
    fr_scope *s = fr_scope_open();
    fr_array *w = fr_from_data((float[]){1, 2}, FR_FLOAT32, (int64_t[]){2}, 1);
    fr_compile_options o = {.name = "plus", .strict = true};
    fr_function *f = fr_compile(plus_ctx, w, &o), *g = fr_compile(plus_ctx, w, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK(!fr_call1(f, w) && fr_error() == FR_ERROR_VALUE);
        CHECK(strstr(fr_error_message(), "float32[2] (8 bytes)"));
        fr_error_clear();
    }
    CHECK(item(fr_call1(g, w)) == 6);
    fr_program *p;
    CHECK(fr_function_programs(g, 1, &p) == 1);
    size_t bytes;
    CHECK(fr_program_captured(p, &bytes) == 1 && bytes == 8);
    CHECK(fr_program_constant(p, 0) == w && !fr_program_constant(p, 1));
    fr_program_free(p);
    fr_function_free(f);
    fr_function_free(g);
    fr_scope_close(s);
}

TEST(limits)
{
    fr_scope *s = fr_scope_open();
    int before = fr_compile_cache_limit(0);
    CHECK(before > 0);
    CHECK(fr_compile_cache_limit(2) == before);
    fr_function *f = fr_compile(mean_plus_one, NULL, NULL);
    fr_program *p[8];
    for (int n = 1; n < 8; n++)
        CHECK(item(fr_call1(f, ones(n, 1))) == 2);
    int n = fr_function_programs(f, 8, p);
    CHECK(n == 2);
    while (n)
        fr_program_free(p[--n]);
    CHECK(fr_compile_cache_limit(before) <= 2);
    CHECK(!fr_is_tracing());
    fr_function_free(f);
    fr_scope_close(s);
}

#ifdef FERRULE_HARD
#define MOST 2 /* programs that a function keeps */
#else
#define MOST 4
#endif

TEST(explained)
{
    fr_scope *s = fr_scope_open();
    fr_array *w = fr_from_data((float[]){1, 2, 3}, FR_FLOAT32, (int64_t[]){3}, 1);
    fr_function *f = fr_compile(plus_ctx, w, &(fr_compile_options){.name = "plus"});
    CHECK(item(fr_call1(f, w)) == 12);
    CHECK(item(fr_call1(f, ones(2, 3))) == 18);
    CHECK(item(fr_call1(f, fr_ones((int64_t[]){5, 3}, 2, FR_FLOAT32))) == 45);
    CHECK(item(fr_call1(f, fr_ones((int64_t[]){5, 3}, 2, FR_INT32))) == 45);
    fr_program *p[8];
    int n = fr_function_programs(f, 8, p);
    CHECK(n == MOST);
    if (n > 2) {
        CHECK(strstr(fr_program_why(p[3]), "first call"));
        CHECK(strstr(fr_program_why(p[2]), "number of dimensions"));
    }
    CHECK(strstr(fr_program_why(p[1]), "is float32[5,3], was float32[2,3] (dimension 0)"));
    CHECK(strstr(fr_program_why(p[0]), "(dtype)"));
    fr_kernel_info k;
    CHECK(fr_program_kernels(p[1], 1, &k) == 1);
    CHECK(strstr(k.ops, "add") && strstr(k.ops, "sum") && !strcmp(k.why, "a result"));
    CHECK(k.reads >= 60 && k.writes == 4 && k.runs == 1 && k.seconds > 0);
    while (n)
        fr_program_free(p[--n]);
    char *text = fr_explain(f);
    CHECK(text && strstr(text, MOST == 4 ? "plus: 4 programs" : "plus: 2 programs") &&
          strstr(text, "constant float32[") && strstr(text, "machine code") &&
          strstr(text, "a result"));
    fr_text_free(text);
    fr_function_free(f);
    CHECK(!fr_explain(NULL) && fr_error() == FR_ERROR_VALUE);
    fr_error_clear();
    fr_scope_close(s);
}

FUNCTION(log_of)
{
    UNUSED;
    out[0] = fr_add(fr_exp(fr_log(in[0])), 1);
    return 0;
}

TEST(checked)
{
    fr_scope *s = fr_scope_open();
    fr_array *bad = fr_from_data((float[]){1, -2}, FR_FLOAT32, (int64_t[]){2}, 1);
    fr_debug_nans(true);
    CHECK(fr_places_wanted());
    fr_function *f = fr_compile(log_of, NULL, &(fr_compile_options){.name = "log_of"});
    fr_program *p;
    CHECK(fr_call1(f, fr_abs(bad)) != NULL);
    CHECK(!fr_call1(f, bad) && fr_error() == FR_ERROR_VALUE);
    CHECK(strstr(fr_error_message(), "log, giving float32[2]"));
    fr_error_clear();
    fr_array *y = fr_log(bad);
    fr_note_place(y, "here.c:7");
    CHECK(fr_eval(y) && strstr(fr_error_message(), "at here.c:7"));
    fr_error_clear();
    fr_debug_nans(false);
    CHECK(fr_call1(f, bad) != NULL);
    CHECK(fr_function_programs(f, 1, &p) == 1 && strstr(fr_program_why(p), "debug_nans"));
    fr_program_free(p);
    fr_function_free(f);
    f = fr_compile(log_of, NULL, &(fr_compile_options){.name = "log_of", .check = true});
    CHECK(fr_places_wanted());
    CHECK(fr_call1(f, bad) != NULL);
    fr_function_free(f);
    CHECK(!fr_places_wanted());
    fr_scope_close(s);
}
