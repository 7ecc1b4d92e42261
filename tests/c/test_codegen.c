/* test_codegen.c - the code of a program's kernels, made by several threads at its first call
 *
 * Runs on the CPU, and once more as on a GPU over the stand-in driver. Nothing is kept on disk, so
 * that all is made here.
 */
#define _GNU_SOURCE
#include "ferrule/ferrule.h"

#include "base/base.h"
#include "base/pool.h"
#include "kernel/kernel.h"
#include "run/plan.h"
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEPTHS = 12, N = 1000, MANY = 4 };

__attribute__((constructor)) static void nothing_on_disk(void)
{
    setenv("FERRULE_CACHE", "0", 1);
    setenv("FERRULE_NUM_THREADS", "4", 0);
}

/* Every kernel is another one: chains of different lengths, each over an axis of its own, MANY of
 * each length, which are equal kernels. */
static int chains(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    int seed = *(int *)ctx;
    (void)n_in;
    for (int i = 0; i < n_out; i++) {
        int depth = i / MANY;
        fr_array *x = fr_add(in[0], i + 3); /* no number that is treated specially */
        /* another size each, so that nothing is merged */
        x = fr_slice(x, (int64_t[]){0}, (int64_t[]){1}, (int64_t[]){N - 1 - i});
        for (int k = 0; k <= depth + seed; k++)
            x = fr_mul(fr_sqrt(fr_add(fr_abs(x), 0.5)), k & 1 ? 1.25 : 0.75);
        out[i] = seed & 1 ? fr_exp(fr_neg(x)) : x;
    }
    return 0;
}

static double chain(int seed, int i, double x)
{
    x += i + 3;
    for (int k = 0; k <= i / MANY + seed; k++)
        x = sqrt(fabs(x) + 0.5) * (k & 1 ? 1.25 : 0.75);
    return seed & 1 ? exp(-x) : x;
}

/* 0, or what the call failed with. Results are checked. */
static int call(fr_function *f, int seed)
{
    enum { OUTS = DEPTHS * MANY };
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_arange(0, N, 1, FR_FLOAT32), *out[OUTS];
    int status = fr_eval(x) || fr_call(f, 1, &x, OUTS, out);
    for (int i = 0; i < OUTS && !status; i++) {
        float got[N];
        int n = N - 1 - i;
        if ((status = fr_copy_out(out[i], got, sizeof *got * (size_t)n)))
            break;
        for (int k = 0; k < n; k += 97) {
            double want = chain(seed, i, k);
            EXPECT(fabs(got[k] - want) <= 1e-5 * fabs(want));
        }
    }
    fr_scope_close(s);
    return status ? (int)fr_error() : 0;
}

static void forget(void)
{
    bool keeps = fr__kcache_keeps; /* the stand-in runs kernels late, but not later than that */
    fr__plan_clear_cache();
    fr_synchronize(fr_stream_current());
    fr__kcache_keeps = false;
    fr__kcache_clear();
    fr__kcache_keeps = keeps;
}

static bool possible(void)
{
    if (fr__llvm_ready())
        return true;
    printf("     skipped: no LLVM\n");
    return false;
}

TEST(equal_kernels_are_made_once)
{
    int seed = 0;
    if (!possible())
        return;
    forget();
    fr_function *f = fr_compile(chains, &seed, NULL);
    int64_t before = fr_count(FR_COUNT_GENERATED);
    EXPECT_EQ(call(f, seed), 0);
    int64_t made = fr_count(FR_COUNT_GENERATED) - before;
    EXPECT(made >= 1);
#ifndef FERRULE_HARD /* where kernels are cut in pieces, many of which are the same */
    EXPECT(made >= DEPTHS && made < 2 * DEPTHS);
#endif
    EXPECT_EQ(call(f, seed), 0);
    EXPECT_EQ(fr_count(FR_COUNT_GENERATED) - before, made);
    fr_function_free(f);
    /* Another function of the same kernels, and a few more. */
    before = fr_count(FR_COUNT_GENERATED);
    seed = 2;
    f = fr_compile(chains, &seed, NULL);
    EXPECT_EQ(call(f, seed), 0);
    made = fr_count(FR_COUNT_GENERATED) - before;
#ifndef FERRULE_HARD
    EXPECT(made >= 1 && made < DEPTHS);
#else
    EXPECT(made < DEPTHS);
#endif
    fr_function_free(f);
}

static void *caller(void *ctx)
{
    int seed = *(int *)ctx % 4;
    fr_function *f = fr_compile(chains, &seed, NULL);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(call(f, seed), 0);
        fr_error_clear();
    }
    fr_function_free(f);
    return NULL;
}

TEST(callers_meet)
{
    enum { CALLERS = 8 };
    pthread_t threads[CALLERS];
    int number[CALLERS];
    if (!possible())
        return;
    for (int round = 0; round < 3; round++) {
        forget();
        for (int i = 0; i < CALLERS; i++) {
            number[i] = i;
            CHECK(!pthread_create(&threads[i], NULL, caller, &number[i]));
        }
        for (int i = 0; i < CALLERS; i++)
            pthread_join(threads[i], NULL);
    }
}

/* Memory that is out, on whichever thread: the call works in another way, or says so, and the next one
 * works. */
TEST(memory_is_out_anywhere)
{
    if (!possible())
        return;
    int seed = 1, failures = 0;
    int64_t allocations = 0;
    fr_function *f = fr_compile(chains, &seed, NULL);
    fr__fault_set(INT64_MAX);
    EXPECT_EQ(call(f, seed), 0);
    allocations = fr__fault_count();
    fr__fault_set(0);
    for (int64_t n = 1; n <= allocations; n += 1 + allocations / 97) {
        fr_function_clear(f);
        forget();
        fr__fault_set(n);
        int error = call(f, seed);
        fr__fault_set(0);
        fr_error_clear();
        failures += error != 0;
        EXPECT(!error || error == FR_ERROR_MEMORY);
        EXPECT_EQ(call(f, seed), 0);
        fr_error_clear();
    }
    EXPECT(failures > 0);
    fr_function_free(f);
}

#ifndef __SANITIZE_THREAD__ /* which can't fork with threads */
static _Atomic bool enough;

static bool on_gpu(void) { return fr_stream_device(fr_stream_current()) == FR_GPU; }

static void *make_all_the_time(void *ctx)
{
    int seed = 0;
    (void)ctx;
    fr_function *f = fr_compile(chains, &seed, NULL);
    while (!enough) {
        fr_function_clear(f);
        forget();
        EXPECT_EQ(call(f, seed), 0);
    }
    fr_function_free(f);
    return NULL;
}

/* A child can make code of its own, whatever the parent's threads were at. */
TEST(forks_meanwhile)
{
    pthread_t maker;
    if (!possible() || on_gpu()) /* which doesn't survive a fork */
        return;
    CHECK(!pthread_create(&maker, NULL, make_all_the_time, NULL));
    for (int i = 0; i < 12; i++) {
        usleep(3000 * (unsigned)i);
        pid_t child = fork();
        if (!child) {
            int seed = 5;
            alarm(60);
            forget();
            fr_function *f = fr_compile(chains, &seed, NULL);
            _exit(call(f, seed) != 0);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        EXPECT(WIFEXITED(status) && !WEXITSTATUS(status));
    }
    enough = true;
    pthread_join(maker, NULL);
}
#endif
