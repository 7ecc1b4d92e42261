/* test_pool.c - the thread pool: every piece once, nesting, sizes, forks, what a job costs */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/pool.h"
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct tally {
    int64_t n, grain;
    int threads;
    unsigned char *hits;
    _Atomic int64_t sum;
    _Atomic int pieces, bad;
} tally;

static void count(void *ctx, int64_t begin, int64_t end, int thread)
{
    tally *t = ctx;
    t->pieces++;
    if (begin % t->grain || (end % t->grain && end != t->n) || begin >= end || end > t->n)
        t->bad++;
    if (thread < 0 || thread >= t->threads)
        t->bad++;
    for (int64_t i = begin; i < end; i++)
        t->hits[i]++;
    t->sum += end - begin;
}

static void check_run(int64_t n, int64_t grain)
{
    tally t = {.n = n, .grain = grain, .threads = fr__pool_threads()};
    t.hits = calloc((size_t)n + 1, 1);
    fr__pool_run(n, grain, count, &t);
    int wrong = 0;
    for (int64_t i = 0; i < n; i++)
        wrong += t.hits[i] != 1;
    free(t.hits);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(t.bad, 0);
    EXPECT_EQ(t.sum, n);
}

TEST(every_piece_once)
{
    for (int threads = 1; threads <= 8; threads *= 2) {
        fr__pool_set_threads(threads);
        CHECK_EQ(fr__pool_threads(), threads);
        static const int64_t sizes[] = {0, 1, 2, 7, 63, 64, 65, 1000, 100003};
        for (int i = 0; i < FR__COUNT(sizes); i++)
            for (int64_t grain = 1; grain < 100000; grain = grain * 7 + 1)
                check_run(sizes[i], grain);
    }
    fr__pool_set_threads(0);
}

static void note_thread(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)begin, (void)end;
    *(int *)ctx = thread;
}

TEST(small_and_odd_jobs)
{
    int thread = -1;
    fr__pool_run(5, 5, note_thread, &thread);
    CHECK_EQ(thread, 0);
    thread = -1;
    fr__pool_run(0, 1, note_thread, &thread);
    fr__pool_run(-4, 1, note_thread, &thread);
    CHECK_EQ(thread, -1);
    fr__pool_run(5, 0, note_thread, &thread); /* a grain below 1 counts as 1 */
    CHECK(thread >= 0);
}

static void far_apart(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    atomic_fetch_add((_Atomic int64_t *)ctx, end - begin);
}

TEST(huge_ranges)
{
    fr__pool_set_threads(4);
    _Atomic int64_t sum = 0;
    fr__pool_run(INT64_MAX, INT64_MAX / 3, far_apart, &sum);
    CHECK(sum == INT64_MAX);
    sum = 0;
    fr__pool_run(INT64_MAX, 1, far_apart, &sum);
    CHECK(sum == INT64_MAX);
    fr__pool_set_threads(0);
}

static void nest(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int inner = -1;
        fr__pool_run(100, 1, note_thread, &inner);
        EXPECT_EQ(inner, 0); /* inline, as thread 0 of its own job */
        fr__pool_stop();     /* of no effect in here */
        atomic_fetch_add((_Atomic int64_t *)ctx, 1);
    }
}

TEST(jobs_in_jobs_run_inline)
{
    fr__pool_set_threads(4);
    _Atomic int64_t ran = 0;
    fr__pool_run(50, 1, nest, &ran);
    CHECK_EQ(ran, 50);
    fr__pool_set_threads(0);
}

static void *run_many(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++)
        check_run(500, 3);
    return NULL;
}

static void *resize(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        fr__pool_set_threads(1 + i % 6);
        if (i % 10 == 0)
            fr__pool_stop();
        usleep(100);
    }
    return NULL;
}

TEST(many_owners_and_resizing)
{
    pthread_t t[5];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, run_many, NULL);
    pthread_create(&t[4], NULL, resize, NULL);
    for (int i = 0; i < 5; i++)
        pthread_join(t[i], NULL);
    fr__pool_set_threads(0);
}

TEST(stop_and_start)
{
    fr__pool_set_threads(3);
    for (int i = 0; i < 20; i++) {
        check_run(1000, 10);
        fr__pool_stop();
        fr__pool_stop();
    }
    fr__pool_set_threads(0);
}

TEST(sleeping_workers_wake)
{
    fr__pool_set_threads(2);
    for (int i = 0; i < 30; i++) {
        check_run(1000, 10);
        usleep(i % 3 ? 1000 : 60); /* asleep; about to fall asleep */
    }
    fr__pool_set_threads(0);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_FORKS
#endif
#endif
#if !defined(NO_FORKS) && !defined(__SANITIZE_THREAD__) /* which can't fork with threads */
static void fork_and_work(int depth, bool clean)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        check_run(1000, 10);
        if (depth > 1)
            fork_and_work(depth - 1, clean);
        if (clean)
            exit(test_failures != 0); /* through the destructors */
        fr__pool_stop();
        _exit(test_failures != 0); /* what the other thread held would count as leaked */
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(forked_child_works)
{
    fr__pool_set_threads(4);
    fork_and_work(2, true); /* before the first job of this pool, or after: either */
    check_run(1000, 10);
    fork_and_work(2, true);
    usleep(2000);
    fork_and_work(1, true);
    check_run(1000, 10);
    fr__pool_set_threads(0);
}

static _Atomic bool enough;
static void *keep_busy(void *unused)
{
    (void)unused;
    while (!enough)
        check_run(3000, 3);
    return NULL;
}

TEST(fork_during_another_threads_job)
{
    fr__pool_set_threads(2);
    pthread_t t;
    pthread_create(&t, NULL, keep_busy, NULL);
    for (int i = 0; i < 20; i++)
        fork_and_work(1, false);
    enough = true;
    pthread_join(t, NULL);
    fr__pool_set_threads(0);
}

static void end_process(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)begin, (void)end;
    if (thread == *(int *)ctx)
        exit(7);
    usleep(1000);
}

TEST(exit_inside_a_job)
{
    for (int thread = 0; thread < 2; thread++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            fr__pool_set_threads(2);
            fr__pool_run(1000, 1, end_process, &thread);
            _exit(1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
}
#endif

static pthread_t main_thread;
static _Atomic int on_main, elsewhere;
static void on_signal(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), main_thread))
        on_main++;
    else
        elsewhere++;
}

TEST(workers_leave_signals_alone)
{
    fr__pool_set_threads(4);
    fr__pool_stop();
    check_run(1000, 10);
    main_thread = pthread_self();
    void (*before)(int) = signal(SIGUSR1, on_signal);
    for (int i = 0; i < 50; i++) {
        kill(getpid(), SIGUSR1);
        check_run(100, 1);
    }
    signal(SIGUSR1, before);
    CHECK(on_main > 0);
    CHECK_EQ(elsewhere, 0);
    fr__pool_set_threads(0);
}

/* Each piece waits a little for all others to have begun, so that all threads take part. */
typedef struct meeting {
    _Atomic int here;
    int expected;
} meeting;

static void meet(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)begin, (void)end, (void)thread;
    meeting *m = ctx;
    m->here++;
    double until = fr__now() + 1e-3;
    while (m->here < m->expected && fr__now() < until)
        ;
}

static double time_job(int threads)
{
    meeting m = {0, threads};
    double start = fr__now();
    fr__pool_run(threads, 1, meet, &m);
    return fr__now() - start;
}

TEST(cost_of_a_job) /* a report; the bound is loose, machines are shared */
{
    int threads = fr__pool_threads();
    double best = 1, asleep = 0;
    for (int i = 0; i < 3000; i++) {
        double took = time_job(threads);
        best = took < best ? took : best;
    }
    for (int i = 0; i < 20; i++) {
        usleep(500);
        asleep += time_job(threads) / 20;
    }
    printf("   %d threads: a job on all costs %.2f us, %.2f us with workers asleep\n", threads,
           best * 1e6, asleep * 1e6);
    CHECK(best < 2e-3);
}
