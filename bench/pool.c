/* pool.c - what the thread pool costs: one line a figure, "name<TAB>nanoseconds"
 *
 * A job in as many pieces as there are threads, each of which waits for the others to have begun, is a
 * hand-over, a meeting and a barrier, and nothing else.
 */
#include "base/pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURNS = 2001, IDLE = 50, GIVE_UP = 20000000 };

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void pass(double ns)
{
    struct timespec t = {0, (long)ns};
    nanosleep(&t, NULL);
}

typedef struct {
    int threads;
    _Atomic int begun;
} meeting;

/* Gives up after GIVE_UP ns: nobody comes where the pool has no second thread. */
static void meet(void *ctx, int64_t begin, int64_t end, int thread)
{
    meeting *m = ctx;
    (void)thread;
    atomic_fetch_add(&m->begun, (int)(end - begin));
    double limit = 0;
    for (int turns = 0; atomic_load(&m->begun) < m->threads; turns++) {
        if (turns == 1000)
            limit = now(CLOCK_MONOTONIC) + GIVE_UP;
        if (turns > 1000 && now(CLOCK_MONOTONIC) > limit)
            return;
    }
}

static void nothing(void *ctx, int64_t begin, int64_t end, int thread)
{
    volatile int64_t *seen = ctx;
    seen[thread] += end - begin;
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

/* A job, `gap` ns after the one before: threads still look out for it, or sleep. */
static double job(int threads, double gap, int turns)
{
    double *t = malloc(sizeof *t * (size_t)turns);
    for (int i = 0; t && i < turns; i++) {
        if (gap > 0)
            pass(gap);
        meeting m = {threads, 0};
        double start = now(CLOCK_MONOTONIC);
        fr__pool_run(threads, 1, meet, &m);
        t[i] = now(CLOCK_MONOTONIC) - start;
    }
    double m = t ? median(t, turns) : -1;
    free(t);
    return m;
}

/* Processor time of the whole process in 20 ms after a job: what threads spin before they sleep. */
static double idle(int threads)
{
    double t[IDLE];
    for (int i = 0; i < IDLE; i++) {
        job(threads, 0, 1);
        double start = now(CLOCK_PROCESS_CPUTIME_ID);
        pass(2e7);
        t[i] = now(CLOCK_PROCESS_CPUTIME_ID) - start;
    }
    return median(t, IDLE);
}

/* The calling thread alone: what a call of the pool has more than the job. */
static double alone(void)
{
    enum { MANY = 1000 };
    static int64_t seen[8];
    double t[101];
    for (int i = 0; i < 101; i++) {
        double start = now(CLOCK_MONOTONIC);
        for (int k = 0; k < MANY; k++)
            fr__pool_run(2, 1, nothing, seen);
        t[i] = (now(CLOCK_MONOTONIC) - start) / MANY;
    }
    return median(t, 101);
}

int main(void)
{
    int threads = fr__pool_threads();
    job(threads, 0, TURNS);
    printf("threads\t%d\n", threads);
    printf("barrier\t%.0f\n", job(threads, 0, TURNS));
    printf("woken\t%.0f\n", job(threads, 1e6, 301));
    printf("idle\t%.0f\n", idle(threads));
    fr__pool_set_threads(1);
    printf("alone\t%.1f\n", alone());
    fr__pool_stop();
    return 0;
}
