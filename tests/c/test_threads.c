/* test_threads.c - many threads build, share, evaluate, compile and free the same arrays
 *
 * What ThreadSanitizer runs (make tsan). All threads start together and each checks its results.
 */
#define _GNU_SOURCE
#include "ferrule/ferrule.h"
#include "base/base.h"
#include "run/plan.h"
#include "test.h"

#include <pthread.h>

enum { THREADS = 64, ROUNDS = 12 };

typedef void task(int thread);
static task *task_now;
static pthread_barrier_t together;

static void *run_task(void *number)
{
    pthread_barrier_wait(&together);
    task_now((int)(intptr_t)number);
    EXPECT_EQ(fr_error(), FR_OK);
    if (fr_error())
        printf("     %s\n", fr_error_message());
    return NULL;
}

static void run_all(task *t)
{
    pthread_t threads[THREADS];
    task_now = t;
    pthread_barrier_init(&together, NULL, THREADS);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&threads[i], NULL, run_task, (void *)i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
}

/* And nothing stays behind. */
static void run_all_clean(task *t)
{
    size_t active = fr_memory().active;
    run_all(t);
    EXPECT_EQ(fr_memory().active, active);
}

static fr_array *filled(int64_t rows, int64_t columns, double v)
{
    return fr_contiguous(fr_full((int64_t[]){rows, columns}, 2, v, FR_FLOAT32));
}

static bool is(fr_array *x, double want)
{
    double v = -1;
    return EXPECT_EQ(fr_item(x, &v), 0) && EXPECT_EQ(v, want);
}

/* ---- each its own, all through the same caches ------------------------------------------------- */

static void own_graphs(int thread)
{
    for (int i = 0; i < ROUNDS; i++) {
        fr_scope *s = fr_scope_open();
        int n = 3 + (thread + i) % 5;
        fr_array *x = filled(n, n, thread), *y = fr_add(fr_mul(x, i), 1);
        for (int k = 0; k < i % 4; k++)
            y = fr_transpose(fr_maximum(y, fr_neg(y)), NULL, 0);
        is(fr_sum(y, NULL), (double)n * n * (thread * i + 1));
        fr_scope_close(s);
    }
}
TEST(own_graphs) { run_all_clean(own_graphs); }

/* While another thread throws the cached programs and kernels away. */
static void caches_vanish(int thread)
{
    if (thread % 8)
        own_graphs(thread);
    else
        for (int i = 0; i < 40; i++) {
            fr__plan_clear_cache();
            fr__kcache_clear();
            fr_clear_cache();
        }
}
TEST(caches_vanish) { run_all_clean(caches_vanish); }

/* ---- one pending graph, evaluated by all ------------------------------------------------------------- */

static fr_array *shared[ROUNDS], *upper[ROUNDS];

static void race_to_evaluate(int thread)
{
    for (int i = 0; i < ROUNDS; i++) {
        fr_scope *s = fr_scope_open();
        /* Some want the node, some what is made from it, some a view, some a graph of their own. */
        switch ((thread + i) % 5) {
        case 0: EXPECT_EQ(fr_eval(shared[i]), 0); break;
        case 1: is(fr_sum(upper[i], NULL), 64 * (2.0 * i + 3)); break;
        case 2: is(fr_max(fr_transpose(shared[i], NULL, 0), NULL), 2.0 * i + 2); break;
        case 3: is(fr_min(fr_add(upper[i], shared[i]), NULL), 4.0 * i + 5); break;
        default: {
            float got[64];
            EXPECT_EQ(fr_copy_out(upper[i], got, sizeof got), 0);
            EXPECT_EQ(got[63], 2 * i + 3);
        }
        }
        fr_scope_close(s);
    }
}

TEST(race_to_evaluate)
{
    for (int again = 0; again < 4; again++) {
        for (int i = 0; i < ROUNDS; i++) {
            fr_scope *s = fr_scope_open();
            fr_array *x = fr_add(fr_mul(filled(8, 8, i), 2), 2);
            shared[i] = fr_keep(x);
            upper[i] = fr_keep(fr_add(x, 1));
            fr_scope_close(s);
        }
        run_all(race_to_evaluate);
        fr_scope *s = fr_scope_open();
        for (int i = 0; i < ROUNDS; i++) {
            is(fr_sum(shared[i], NULL), 64 * (2.0 * i + 2));
            fr_free(shared[i]);
            fr_free(upper[i]);
        }
        fr_scope_close(s);
    }
}

/* ---- given from thread to thread ----------------------------------------------------------------------- */

static fr_array *_Atomic slots[16];

static void pass_around(int thread)
{
    for (int i = 0; i < 30; i++) {
        fr_scope *s = fr_scope_open();
        fr_array *mine = fr_keep(fr_add(filled(4, 4, 1), 1));
        if (i % 3 == 0)
            EXPECT_EQ(fr_eval(mine), 0);
        fr_array *theirs = atomic_exchange(&slots[(thread * 7 + i) % 16], mine);
        if (theirs) {
            fr_array *y = fr_mul(theirs, 3);
            fr_free(theirs);
            is(fr_sum(y, NULL), 96);
        }
        fr_scope_close(s);
    }
}

static void last_ones(int thread)
{
    if (thread < 16)
        fr_free(atomic_exchange(&slots[thread], NULL));
}

TEST(pass_around)
{
    size_t active = fr_memory().active;
    run_all(pass_around);
    run_all(last_ones);
    EXPECT_EQ(fr_memory().active, active);
}

/* A long chain dies under one thread while others use parts of it. */
static fr_array *links[200];

static void free_chain(int thread)
{
    for (int i = thread; i < FR__COUNT(links); i += THREADS) {
        if (i % 2)
            EXPECT_EQ(fr_eval(links[i]), 0);
        fr_free(links[i]);
    }
}

TEST(free_chain)
{
    size_t active = fr_memory().active;
    fr_scope *s = fr_scope_open();
    fr_array *x = filled(1, 3, 0);
    for (int i = 0; i < FR__COUNT(links); i++)
        x = links[i] = fr_keep(fr_add(x, 1));
    fr_array *last = fr_keep(x);
    fr_scope_close(s);
    run_all(free_chain);
    s = fr_scope_open();
    is(fr_max(last, NULL), FR__COUNT(links));
    fr_scope_close(s);
    fr_free(last);
    EXPECT_EQ(fr_memory().active, active);
}

/* ---- compiled functions ----------------------------------------------------------------------------------- */

static int affine(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_in;
    out[0] = fr_add(fr_mul(in[0], *(fr_array **)ctx), 1);
    return n_out != 1;
}

static fr_function *function;
static fr_array *factor;

static void call_one(int thread)
{
    for (int i = 0; i < ROUNDS; i++) {
        fr_scope *s = fr_scope_open();
        fr_array *y = fr_call1(function, filled(2 + (thread + i) % 6, 4, i));
        if (EXPECT(y))
            is(fr_min(y, NULL), 3.0 * i + 1);
        fr_scope_close(s);
    }
}

/* All shapes new to all threads; the cache of the function is smaller than the shapes are many. */
TEST(call_one_function)
{
    for (int limit = 0; limit < 3; limit += 2) {
        fr_scope *s = fr_scope_open();
        factor = fr_add(fr_full(NULL, 0, 2, FR_FLOAT32),
                        1); /* pending: evaluated by the first trace */
        function = fr_compile(affine, &factor,
                              &(fr_compile_options){.name = "affine", .cache_limit = limit});
        run_all_clean(call_one);
        fr_function_free(function);
        fr_scope_close(s);
    }
}

static void compile_own(int thread)
{
    for (int i = 0; i < 4; i++) {
        fr_scope *s = fr_scope_open();
        fr_array *by = fr_full(NULL, 0, thread, FR_FLOAT32);
        fr_function *f = fr_compile(affine, &by, NULL);
        fr_array *y = fr_call1(f, filled(3, 3, i));
        fr_function_free(f);
        if (EXPECT(y))
            is(fr_max(y, NULL), thread * i + 1);
        fr_scope_close(s);
    }
}
TEST(compile_own) { run_all_clean(compile_own); }

/* A program whose function is gone. */
static fr_program *program;

static void run_program(int thread)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = filled(3, 5, thread), *y;
    for (int i = 0; i < ROUNDS; i++)
        if (EXPECT_EQ(fr_program_run(program, 1, &x, 1, &y), 0))
            is(fr_min(y, NULL), 3.0 * thread + 1);
    fr_scope_close(s);
}

TEST(run_program)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = filled(3, 5, 0), *p, *three = fr_full(NULL, 0, 3, FR_FLOAT32), *y;
    fr_function *f = fr_function_new("f", 0);
    fr_trace *t = fr_trace_begin(f, 1, &x, &p, NULL);
    CHECK(t);
    fr_scope *inside = fr_scope_open();
    CHECK_EQ(affine(&three, 1, &p, 1, &y), 0);
    program = fr_trace_end(t, NULL, 0, 1, &y);
    fr_scope_close(inside);
    fr_free(p);
    fr_function_free(f);
    CHECK(program);
    run_all_clean(run_program);
    fr_program_free(program);
    fr_scope_close(s);
}

/* ---- large enough for the pool, from all threads, while its size changes ------------------------------------ */

static void use_pool(int thread)
{
    if (thread == 0) {
        for (int i = 0; i < 30; i++) {
            fr_set_threads(1 + i % 4);
            fr_scope *s = fr_scope_open();
            is(fr_sum(filled(4, 4, 1), NULL), 16);
            fr_scope_close(s);
        }
        return;
    }
    if (thread > 6)
        return;
    for (int i = 0; i < 2; i++) {
        fr_scope *s = fr_scope_open();
        fr_array *x = filled(512, 700, 1);
        fr_reduce_options rows = {.axes = (int[]){1}, .naxes = 1};
        is(fr_sum(fr_mul(fr_sum(fr_add(x, thread), NULL), 1), NULL),
           512.0 * 700 * (1 + thread));
        is(fr_max(fr_mul(fr_softmax(x, &rows), 0), NULL), 0);
        fr_scope_close(s);
    }
}

TEST(use_pool)
{
    run_all_clean(use_pool);
    fr_set_threads(0);
}

/* ---- a product whose rows other kernels take in strips, and kernels in one launch ----------------------------- */

enum { SIDE = 200, PARTS = 8 };

static int layer(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = fr_maximum(fr_add(fr_matmul(in[0], in[1]), in[2]), 0);
    for (int i = 0; i < PARTS; i++)
        out[1 + i] = fr_sub(in[3 + i], fr_mul(in[3 + i], 0.5));
    return 0;
}

static void call_layer(int thread)
{
    if (thread > 5)
        return;
    for (int i = 0; i < 4; i++) {
        fr_scope *s = fr_scope_open();
        fr_array *in[3 + PARTS] = {filled(SIDE + thread % 2, SIDE, thread + 1),
                                   filled(SIDE, SIDE, 2), filled(1, SIDE, -1)},
                         *out[1 + PARTS];
        for (int k = 0; k < PARTS; k++)
            in[3 + k] = filled(300 + k, 9, 4 * thread + k);
        if (EXPECT_EQ(fr_call(function, 3 + PARTS, in, 1 + PARTS, out), 0)) {
            is(fr_min(out[0], NULL), 2.0 * SIDE * (thread + 1) - 1);
            is(fr_max(out[0], NULL), 2.0 * SIDE * (thread + 1) - 1);
            for (int k = 0; k < PARTS; k++)
                is(fr_max(out[1 + k], NULL), 2 * thread + 0.5 * k);
        }
        fr_scope_close(s);
    }
}

/* Several own the pool in turn; the others do all of it by themselves. */
TEST(strips_and_launches_of_many)
{
    fr_set_threads(3);
    function = fr_compile(layer, NULL, &(fr_compile_options){.name = "layer"});
    run_all_clean(call_layer);
    fr_scope *s = fr_scope_open();
    fr_array *in[3 + PARTS] = {filled(SIDE, SIDE, 1), filled(SIDE, SIDE, 2),
                               filled(1, SIDE, -1)},
                     *out[1 + PARTS];
    for (int k = 0; k < PARTS; k++)
        in[3 + k] = filled(300 + k, 9, k);
    CHECK_EQ(fr_eval_all(3 + PARTS, in), 0);
    int64_t launches = fr_count(FR_COUNT_KERNELS);
    CHECK_EQ(fr_call(function, 3 + PARTS, in, 1 + PARTS, out), 0);
    launches = fr_count(FR_COUNT_KERNELS) - launches;
#ifndef FERRULE_HARD
    EXPECT_EQ(launches, 2); /* the product with what takes its rows, and all others */
#endif
    fr_scope_close(s);
    fr_function_free(function);
    fr_set_threads(0);
}

/* ---- settings, counters, warnings, random sequence: read and written by all ----------------------------------- */

static void odds_and_ends(int thread)
{
    for (int i = 0; i < ROUNDS; i++) {
        fr_scope *s = fr_scope_open();
        uint32_t bits[2];
        EXPECT_EQ(fr_copy_out(fr_random_bits((int64_t[]){2}, 1, NULL), bits, sizeof bits), 0);
        if (thread % 5 == 0)
            EXPECT_EQ(fr_random_seed((uint64_t)i), 0);
        fr_next_warning();
        EXPECT(fr_count(FR_COUNT_KERNELS) > 0);
        EXPECT(fr_compile_enabled());
        fr_stream now = fr_stream_current();
        EXPECT_EQ(fr_stream_set(now), 0);
        EXPECT(!fr_add(fr_ones((int64_t[]){2}, 1, FR_INT32),
                       fr_ones((int64_t[]){3 + thread}, 1, FR_INT32)));
        char want[40];
        snprintf(want, sizeof want, "(2 against %d)", 3 + thread);
        EXPECT(strstr(fr_error_message(), want)); /* the thread's own */
        fr_error_clear();
        fr_scope_close(s);
    }
}
TEST(odds_and_ends) { run_all_clean(odds_and_ends); }
