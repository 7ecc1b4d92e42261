/* peak.c - the limit of what computes: fused multiply-adds in float32 by all threads, out of registers.
 *
 * needs   POSIX threads, Linux, vectors of gcc or clang; built by limit.py with -march=native
 * gives   peak_run: floating-point operations a second of that many pinned threads, -1: no threads
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

enum { MAX_THREADS = 256, CHAINS = 16, TURNS = 1 << 20 };

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
typedef float lanes __attribute__((vector_size(BYTES)));

typedef struct {
    int cpu;
    pthread_barrier_t *start, *finish;
    pthread_t thread;
    double began, ended;
    float sum;
} part;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *run(void *arg)
{
    part *p = arg;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(p->cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    lanes a[CHAINS], x = (lanes){0} + 0.999999f, y = (lanes){0} + 1e-6f;
    for (int k = 0; k < CHAINS; k++)
        a[k] = (lanes){0} + (float)k;
    pthread_barrier_wait(p->start);
    p->began = now();
    for (int i = 0; i < TURNS; i++) {
#pragma GCC unroll 16
        for (int k = 0; k < CHAINS; k++)
            a[k] = a[k] * x + y;
    }
    p->ended = now();
    pthread_barrier_wait(p->finish);
    for (int k = 1; k < CHAINS; k++)
        a[0] += a[k];
    for (int i = 0; i < BYTES / 4; i++)
        p->sum += a[0][i];
    return NULL;
}

double peak_run(int threads)
{
    static part parts[MAX_THREADS];
    pthread_barrier_t start, finish;
    cpu_set_t set;
    if (threads < 1 || threads > MAX_THREADS || sched_getaffinity(0, sizeof set, &set) ||
        pthread_barrier_init(&start, NULL, (unsigned)threads + 1))
        return -1;
    if (pthread_barrier_init(&finish, NULL, (unsigned)threads + 1))
        return -1;
    int begun = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && begun < threads; cpu++)
        if (CPU_ISSET(cpu, &set)) {
            parts[begun] = (part){.cpu = cpu, .start = &start, .finish = &finish};
            if (pthread_create(&parts[begun].thread, NULL, run, &parts[begun]))
                return -1; /* those that have begun wait for ever: the process is only measured with */
            begun++;
        }
    if (begun < threads)
        return -1;
    pthread_barrier_wait(&start);
    pthread_barrier_wait(&finish);
    double first = 0, last = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(parts[i].thread, NULL);
        first = !i || parts[i].began < first ? parts[i].began : first;
        last = !i || parts[i].ended > last ? parts[i].ended : last;
    }
    return 2.0 * TURNS * CHAINS * (BYTES / 4) * threads / (last - first);
}
