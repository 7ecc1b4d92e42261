/* test_gpu_donation.c - state that a compiled function updates in place on a GPU
 *
 * Over the stand-in driver: what nobody else holds is written over, by one launch or one recording,
 * whose addresses stay; what is held, seen by another stream, or copied keeps its values.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/place.h"
#include "run/plan.h"
#include "../standin/standin.h"
#include "gpu_choice.h"

#include <pthread.h>

enum { SIDE = 64, N = SIDE * SIDE };

__attribute__((constructor(101))) static void choose_products(void)
{
    setenv("FERRULE_CUBLASLT", STANDIN_BLAS, 1);
    if (!getenv("FERRULE_TEST_GPU"))
        setenv("STANDIN_DEVICES", "2", 1);
}

static fr_array *w, *v, **slots[] = {&w, &v};

#define FUNCTION(name)                                                                         \
    static int name(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
#define UNUSED (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out

static fr_function *compiled(fr_fn *fn, int nslots)
{
    return fr_compile(fn, NULL, &(fr_compile_options){.nslots = nslots, .slots = slots});
}

static fr_array *filled(double value)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_full((int64_t[]){SIDE, SIDE}, 2, value, FR_FLOAT32);
    x = fr_keep(fr_contiguous(x));
    EXPECT_EQ(fr_eval(x), 0);
    fr_scope_close(s);
    return x;
}

/* Reading leaves a copy on the host: an array that has one isn't written over. */
static bool is_full(fr_array *x, float value)
{
    static float got[N];
    bool good = !fr_copy_out(x, got, sizeof got);
    for (int i = 0; good && i < N; i++)
        good = got[i] == value;
    if (!good)
        printf("     %g, wanted %g\n", (double)got[0], (double)value);
    return good;
}

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

static void begin(void) { fr_stream_set(fr_stream_default(FR_GPU, 0)); }

static void end(fr_function *f, int nslots)
{
    for (int i = 0; i < nslots; i++)
        fr_free(*slots[i]);
    fr_function_free(f);
    fr_stream_set((fr_stream){0});
    fr__plan_clear_cache();
}

static size_t active(void) { return fr__gpus.memory(0).active; }

FUNCTION(plus_one)
{
    UNUSED;
    w = fr_add(w, 1.0);
    return 0;
}

/* One launch needs no recording. */
TEST(one_launch)
{
    begin();
    fr_function *f = compiled(plus_one, 1);
    w = filled(0);
    size_t before = active();
    for (int i = 0; i < 5; i++) {
        const void *at = w->buf->data;
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
        EXPECT(w->buf->data == at && active() == before);
    }
    EXPECT_EQ(donated(f), 5);
    EXPECT(is_full(w, 5));
    EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0); /* there is a copy of it on the host */
    EXPECT_EQ(donated(f), 5);
    EXPECT(is_full(w, 6));
    end(f, 1);
}

/* A gradient by products, then both parameters: several launches. */
FUNCTION(step)
{
    UNUSED;
    fr_array *g = fr_matmul(in[0], w), *h = fr_matmul(g, in[0]);
    fr_array *new_v = fr_add(fr_mul(v, 0.5), fr_minimum(h, 1.0));
    w = fr_add(w, new_v);
    v = new_v;
    if (n_out)
        out[0] = fr_sum(w, NULL);
    return 0;
}

/* After a few calls the addresses stay: one recording, which is started again and again. */
TEST(a_loop_replays_its_recording)
{
    enum { CALLS = 30 };
    begin();
    fr_function *f = compiled(step, 2);
    w = filled(0), v = filled(2);
    fr_array *x = filled(0);
    const void *at_w = NULL, *at_v = NULL;
    long recorded = 0, launched = 0;
    size_t then = 0, most = 0;
    float wants_w = 0, wants_v = 2;
    for (int i = 0; i < CALLS; i++) {
        if (i == 6) {
            at_w = w->buf->data, at_v = v->buf->data, then = active();
            recorded = count_calls("cuStreamEndCapture");
            launched = count_calls("cuGraphLaunch");
            fr__gpus.reset_peak(0);
        }
        EXPECT_EQ(fr_call(f, 1, &x, 0, NULL), 0);
        wants_v *= 0.5f;
        wants_w += wants_v;
    }
    most = fr__gpus.memory(0).peak;
#ifndef FERRULE_HARD
    EXPECT(w->buf->data == at_w && v->buf->data == at_v);
    EXPECT_EQ(count_calls("cuStreamEndCapture"), recorded);
    EXPECT_EQ(count_calls("cuGraphLaunch") - launched, CALLS - 6);
    EXPECT(donated(f) >= 2 * (CALLS - 6));
    EXPECT_EQ(most, then); /* nothing is taken any more */
#else
    (void)at_w, (void)at_v, (void)recorded, (void)launched, (void)then, (void)most;
#endif
    EXPECT(is_full(w, wants_w) && is_full(v, wants_v));
    fr_free(x);
    end(f, 2);
}

/* What somebody holds stays as it is, at any time: itself, a view, a pending node. */
TEST(held)
{
    begin();
    fr_function *f = compiled(step, 2);
    w = filled(0), v = filled(2);
    fr_array *x = filled(0), *old[24];
    float values[24], wants_w = 0, wants_v = 2;
    int n = 0;
    for (int i = 0; i < 40; i++) {
        if (i > 10 && i % 3 == 0 && n < 23) {
            values[n] = wants_w;
            old[n++] = i % 2 ? fr_keep(w) : fr_transpose(w, NULL, 0);
            if (i % 9 == 0) {
                values[n] = wants_w * 2;
                old[n++] = fr_mul(w, 2.0);
            }
        }
        EXPECT_EQ(fr_call(f, 1, &x, 0, NULL), 0);
        wants_v *= 0.5f;
        wants_w += wants_v;
    }
    EXPECT(n > 8);
    for (int i = 0; i < n; i++) {
        EXPECT(is_full(old[i], values[i]));
        fr_free(old[i]);
    }
    EXPECT(is_full(w, wants_w) && is_full(v, wants_v));
    fr_free(x);
    end(f, 2);
}

FUNCTION(swapped)
{
    UNUSED;
    fr_array *was = w;
    w = fr_add(v, 1.0);
    v = fr_add(was, 2.0);
    return 0;
}

/* w becomes what v was: written over w it would be read by what makes v. */
TEST(aliasing)
{
    begin();
    fr_function *f = compiled(swapped, 2);
    w = filled(0), v = filled(100);
    float a = 0, b = 100;
    for (int i = 0; i < 12; i++) {
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
        float was = a;
        a = b + 1, b = was + 2;
    }
    EXPECT(is_full(w, a) && is_full(v, b));
    fr_free(w);
    fr_free(v);
    w = filled(3);
    v = fr_keep(w); /* one array at two places */
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
    EXPECT(is_full(w, 3 + 1 + 2 + 1) && is_full(v, 3 + 2 + 1 + 2));
    end(f, 2);
}

FUNCTION(read_beside)
{
    UNUSED;
    out[0] = fr_matmul(w, in[0]);
    w = fr_add(fr_mul(w, 0.5), 3.0);
    return 0;
}

/* Two launches that don't wait for each other's results: but one reads what the other writes over. */
TEST(read_by_another_launch)
{
    begin();
    fr_function *f = compiled(read_beside, 1);
    w = filled(2);
    fr_array *x = filled(1);
    float wants = 2;
    for (int i = 0; i < 16; i++) {
        fr_array *out;
        EXPECT_EQ(fr_call(f, 1, &x, 1, &out), 0);
        EXPECT(is_full(out, SIDE * wants));
        wants = wants * 0.5f + 3;
        fr_free(out);
    }
    EXPECT(donated(f) > 4);
    EXPECT(is_full(w, wants));
    fr_free(x);
    end(f, 1);
}

FUNCTION(by_rows)
{
    UNUSED;
    static const int axes[] = {1};
    fr_reduce_options rows = {.axes = axes, .naxes = 1, .keepdims = true};
    v = fr_add(v, fr_sum(w, &rows)); /* [SIDE, 1]: all threads of a row read it */
    w = fr_sub(w, fr_mean(w, &rows));
    return 0;
}

TEST(what_several_threads_read)
{
    begin();
    fr_function *f = compiled(by_rows, 2);
    w = filled(3);
    fr_scope *s = fr_scope_open();
    v = fr_keep(fr_contiguous(fr_full((int64_t[]){SIDE, 1}, 2, 1, FR_FLOAT32)));
    EXPECT_EQ(fr_eval(v), 0);
    fr_scope_close(s);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
    EXPECT_EQ(donated(f), 0);
    EXPECT(is_full(w, 0));
    end(f, 2);
}

/* Another stream reads it later than this one is asked to write over it. */
TEST(another_stream_reads)
{
    begin();
    fr_function *f = compiled(plus_one, 1);
    fr_stream other = fr_stream_on(FR_GPU, 0);
    w = filled(0);
    fr_array *seen[8];
    for (int i = 0; i < 8; i++) {
        fr_stream_set(other);
        seen[i] = fr_mul(w, 2.0);
        EXPECT_EQ(fr_async_eval(1, &seen[i]), 0);
        begin();
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
    }
    EXPECT_EQ(donated(f), 0);
    for (int i = 0; i < 8; i++) {
        EXPECT(is_full(seen[i], 2 * (float)i));
        fr_free(seen[i]);
    }
    EXPECT(is_full(w, 8));
    end(f, 1);
}

/* State of the second GPU; now and then the first one reads it, from a copy. */
TEST(another_device_reads)
{
    if (fr_device_count(FR_GPU) < 2)
        return;
    fr_stream here = fr_stream_default(FR_GPU, 0), there = fr_stream_default(FR_GPU, 1);
    fr_stream_set(there);
    fr_function *f = compiled(plus_one, 1);
    w = filled(0);
    fr_array *seen[4];
    size_t before = fr__gpus.memory(1).active;
    for (int i = 0; i < 12; i++) {
        if (i % 3 == 0) {
            fr_stream_set(here);
            seen[i / 3] = fr_mul(w, 2.0);
            EXPECT_EQ(fr_async_eval(1, &seen[i / 3]), 0);
            fr_stream_set(there);
        }
        EXPECT_EQ(fr_call(f, 0, NULL, 0, NULL), 0);
        EXPECT_EQ(fr__gpus.memory(1).active, before);
    }
    EXPECT_EQ(donated(f), 8);
    for (int i = 0; i < 4; i++) {
        EXPECT(is_full(seen[i], 2 * 3 * (float)i));
        fr_free(seen[i]);
    }
    EXPECT(is_full(w, 12));
    end(f, 1);
}

static void *calls(void *ctx)
{
    begin();
    for (int i = 0; i < 50; i++)
        if (fr_call(ctx, 0, NULL, 0, NULL))
            printf("     %s\n", fr_error_message());
    return NULL;
}

TEST(threads)
{
    enum { THREADS = 4 };
    begin();
    fr_function *f = compiled(plus_one, 1);
    pthread_t threads[THREADS];
    w = filled(0);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, calls, f);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(is_full(w, 50 * THREADS));
    end(f, 1);
}

/* Whichever call of the driver fails, the state is what it was before the call or after it. */
TEST(the_nth_driver_call_fails)
{
    void (*fail_at)(long n, int code);
    const char *(*failed)(void);
    find_function(STANDIN, "standin_fail_at", &fail_at);
    find_function(STANDIN, "standin_failed", &failed);
    begin();
    fr_function *f = compiled(step, 2);
    w = filled(0), v = filled(2);
    fr_array *x = filled(0);
    float wants_w = 0, wants_v = 2;
    int errors = 0;
    for (int i = 0; i < 60; i++) {
        fail_at(i < 8 ? 0 : 1 + (i * 7) % 23, 2 /* out of memory */);
        int status = fr_call(f, 1, &x, 0, NULL);
        fail_at(0, 0);
        errors += status != 0;
        if (!status) {
            wants_v *= 0.5f;
            wants_w += wants_v;
        }
        fr_error_clear();
        if (i % 10 == 9) {
            EXPECT(is_full(w, wants_w) && is_full(v, wants_v));
        }
    }
    EXPECT(is_full(w, wants_w) && is_full(v, wants_v));
    (void)errors;
    fr_free(x);
    end(f, 2);
}
