/* test_donation.c - slots of compiled C functions, updated in place where nobody holds them */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ferrule/ferrule.h"
#include "test.h"

enum { N = 1 << 16 };

#define FUNCTION(name)                                                                         \
    static int name(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
#define UNUSED (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out

static fr_array *w, *v, **slots[] = {&w, &v};

/* Is x[i] == first + i * step? */
static int is_ramp(fr_array *x, float first, float step)
{
    fr_view at;
    if (fr_access(x, &at))
        return 0;
    const float *p = at.data;
    for (int i = 0; i < N; i++)
        if (p[i] != first + (float)i * step)
            return 0;
    return 1;
}

static fr_array *ramp(float first, float step)
{
    float *data = malloc(sizeof *data * N);
    for (int i = 0; i < N; i++)
        data[i] = first + (float)i * step;
    fr_array *x = fr_from_data(data, FR_FLOAT32, (int64_t[]){N}, 1);
    free(data);
    return x;
}

static const void *place(fr_array *x)
{
    fr_view at;
    return fr_access(x, &at) ? NULL : at.data;
}

static fr_function *compiled(fr_fn *fn, int nslots)
{
    return fr_compile(fn, NULL, &(fr_compile_options){.nslots = nslots, .slots = slots});
}

/* In how many runs any slot was donated. */
static int64_t donated(fr_function *f)
{
    fr_program *p[8];
    fr_donation d[8];
    int n = fr_function_programs(f, 8, p);
    int64_t runs = 0;
    for (int i = 0; i < n; i++) {
        int m = fr_program_donations(p[i], 8, d);
        for (int j = 0; j < m; j++)
            runs += d[j].runs;
        fr_program_free(p[i]);
    }
    return runs;
}

FUNCTION(plus_one)
{
    UNUSED;
    w = fr_add(w, n_in ? in[0] : fr_number(1));
    return 0;
}

TEST(in_place)
{
    fr_function *f = compiled(plus_one, 1);
    w = ramp(0, 1);
    CHECK(w && !fr_call(f, 0, NULL, 0, NULL));
    const void *at = place(w);
    fr_memory_reset_peak();
    size_t before = fr_memory().active;
    for (int i = 0; i < 5; i++)
        CHECK(!fr_call(f, 0, NULL, 0, NULL));
    CHECK(place(w) == at && is_ramp(w, 6, 1) && donated(f) == 6);
    CHECK(fr_memory().peak < before + N);
    char *text = fr_explain(f);
    CHECK(text && strstr(text, "donated: input 0 to result 0, 262144 bytes, in 6 runs"));
    fr_text_free(text);
    fr_free(w);
    fr_function_free(f);
}

TEST(in_a_scope)
{
    fr_function *f = compiled(plus_one, 1);
    fr_scope *s = fr_scope_open();
    w = fr_keep(ramp(0, 1)); /* the scope's as well: kept until it closes */
    for (int i = 0; i < 4; i++)
        CHECK(!fr_call(f, 0, NULL, 0, NULL));
    CHECK(is_ramp(w, 4, 1) && donated(f) == 3);
    fr_scope_close(s);
    CHECK(is_ramp(w, 4, 1) && !fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 5, 1));
    fr_free(w);
    fr_function_free(f);
}

TEST(held)
{
    fr_function *f = compiled(plus_one, 1);
    w = ramp(0, 1);
    fr_array *old = fr_keep(w);
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(old, 0, 1) && is_ramp(w, 1, 1));
    CHECK(donated(f) == 0);
    fr_free(old);
    old = fr_slice(w, (int64_t[]){0}, (int64_t[]){1}, (int64_t[]){N});
    CHECK(old && !fr_eval(old));
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(old, 1, 1) && is_ramp(w, 2, 1));
    fr_free(old);
    old = fr_mul(w, -1); /* not computed yet */
    CHECK(old && !fr_call(f, 0, NULL, 0, NULL) && is_ramp(old, -2, -1) && is_ramp(w, 3, 1));
    fr_free(old);
    CHECK(!fr_call(f, 1, &w, 0, NULL) && is_ramp(w, 6, 2)); /* the slot as an argument */
    CHECK(donated(f) == 0);
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 7, 2) && donated(f) == 1);
    fr_free(w);
    fr_function_free(f);
}

FUNCTION(change_places)
{
    UNUSED;
    fr_array *old = w;
    w = fr_add(v, 1);
    v = fr_mul(old, 2);
    return 0;
}

FUNCTION(one_for_both)
{
    UNUSED;
    w = v = fr_add(w, 1);
    return 0;
}

FUNCTION(old_one_out)
{
    UNUSED;
    out[0] = w;
    out[1] = w = fr_add(w, 1);
    return 0;
}

TEST(aliases)
{
    fr_function *f = compiled(change_places, 2);
    w = ramp(0, 1);
    v = fr_keep(w);
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 1, 1) && is_ramp(v, 0, 2));
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 1, 2) && is_ramp(v, 2, 2));
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 3, 2) && is_ramp(v, 2, 4));
    fr_function_free(f);
    f = compiled(one_for_both, 2);
    for (int i = 0; i < 3; i++)
        CHECK(!fr_call(f, 0, NULL, 0, NULL));
    CHECK(is_ramp(w, 6, 2) && is_ramp(v, 6, 2));
    fr_function_free(f);
    f = compiled(old_one_out, 1);
    fr_array *out[3][2];
    for (int i = 0; i < 3; i++)
        CHECK(!fr_call(f, 0, NULL, 2, out[i]));
    for (int i = 0; i < 3; i++) {
        CHECK(is_ramp(out[i][0], 6 + (float)i, 2) && is_ramp(out[i][1], 7 + (float)i, 2));
        fr_free(out[i][0]);
        fr_free(out[i][1]);
    }
    CHECK(is_ramp(w, 9, 2) && donated(f) == 0);
    fr_free(w);
    fr_free(v);
    fr_function_free(f);
}

static float mine[N];
static int released;
static void release(void *ctx) { (void)ctx, released++; }

TEST(borrowed)
{
    fr_function *f = compiled(plus_one, 1);
    w = fr_from_buffer(mine, FR_FLOAT32, (int64_t[]){N}, 1, NULL, release, NULL);
    CHECK(w && !fr_call(f, 0, NULL, 0, NULL) && released == 1 && mine[5] == 0);
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 2, 0) && mine[5] == 0 && donated(f) == 1);
    fr_free(w);
    fr_function_free(f);
}

static int stop(void *ctx) { return ++*(int *)ctx; }

FUNCTION(several_kernels)
{
    UNUSED;
    fr_array *x = fr_cumsum(w, NULL);
    w = fr_add(fr_mul(fr_cumsum(x, NULL), 0), fr_add(w, 1));
    v = fr_add(v, fr_sum(x, NULL));
    return 0;
}

/* What writes over its inputs isn't stopped on the way; what doesn't may be, and changes nothing. */
TEST(stopped)
{
    int asked = 0;
    fr_function *f = compiled(several_kernels, 2);
    w = ramp(0, 0);
    v = ramp(0, 0);
    CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 1, 0));
    fr_set_poll(stop, &asked);
    fr_array *old[] = {fr_keep(w), fr_keep(v)};
    int status = fr_call(f, 0, NULL, 0, NULL);
    CHECK(status == 0 || (fr_error() == FR_ERROR_CALLBACK && w == old[0] && v == old[1]));
    fr_error_clear();
    float at = status ? 1 : 2;
    CHECK(is_ramp(w, at, 0));
    fr_free(old[0]);
    fr_free(old[1]);
    asked = 0;
    for (int i = 0; i < 3; i++)
        CHECK(!fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, ++at, 0));
    CHECK(donated(f) > 0);
    fr_set_poll(NULL, NULL);
    fr_free(w);
    fr_free(v);
    fr_function_free(f);
}

TEST(no_memory)
{
    fr_function *f = compiled(several_kernels, 2);
    w = ramp(0, 0);
    v = ramp(0, 0);
    CHECK(!fr_call(f, 0, NULL, 0, NULL));
    fr_clear_cache();
    size_t limit = fr_memory_set_limit(fr_memory().active + 1000);
    for (int i = 0; i < 3; i++) {
        CHECK(fr_call(f, 0, NULL, 0, NULL) == -1 && fr_error() == FR_ERROR_MEMORY);
        fr_error_clear();
    }
    fr_memory_set_limit(limit);
    CHECK(is_ramp(w, 1, 0) && !fr_call(f, 0, NULL, 0, NULL) && is_ramp(w, 2, 0));
    fr_free(w);
    fr_free(v);
    fr_function_free(f);
}

static void *call_often(void *f)
{
    for (int i = 0; i < 100; i++)
        if (fr_call(f, 0, NULL, 0, NULL))
            return f;
    return NULL;
}

TEST(threads)
{
    fr_function *f = compiled(plus_one, 1);
    pthread_t threads[3];
    w = ramp(0, 1);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, call_often, f);
    for (int i = 0; i < 3; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        CHECK(!bad);
    }
    CHECK(is_ramp(w, 300, 1) && donated(f) == 300);
    fr_free(w);
    fr_function_free(f);
}
