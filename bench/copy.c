/* copy.c - the limit that every streaming kernel is measured against: a copy by all threads.
 *
 * needs   POSIX threads, Linux; built by limit.py with cc -O2 -shared, called by ctypes
 * gives   copy_open: two arrays of the given size in touched huge pages, and pinned threads
 *         copy_run:  seconds of one copy, by memcpy or by non-temporal stores
 *
 * Both kinds are measured by the caller, who takes the better: which wins depends on the size and
 * on the machine. Each thread touches its own part first, so its pages lie on its own node.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 256, PAGE = 4096, HUGE_PAGE = 2 << 20 };
enum kind { KIND_MEMCPY, KIND_STREAM, KIND_TOUCH, KIND_STOP };

typedef struct copy copy;

typedef struct part {
    copy *owner;
    size_t begin, end;
    int cpu;
    pthread_t thread;
} part;

struct copy {
    char *from, *to;
    size_t mapped;
    int threads;
    enum kind kind;
    pthread_barrier_t start, finish;
    part parts[MAX_THREADS];
};

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void stream_avx512(char *to, const char *from,
                                                             size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 256) {
        __m512i a = _mm512_loadu_si512((const void *)(from + i));
        __m512i b = _mm512_loadu_si512((const void *)(from + i + 64));
        __m512i c = _mm512_loadu_si512((const void *)(from + i + 128));
        __m512i d = _mm512_loadu_si512((const void *)(from + i + 192));
        _mm512_stream_si512((void *)(to + i), a);
        _mm512_stream_si512((void *)(to + i + 64), b);
        _mm512_stream_si512((void *)(to + i + 128), c);
        _mm512_stream_si512((void *)(to + i + 192), d);
    }
}

__attribute__((target("avx"))) static void stream_avx(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 128) {
        __m256i a = _mm256_loadu_si256((const void *)(from + i));
        __m256i b = _mm256_loadu_si256((const void *)(from + i + 32));
        __m256i c = _mm256_loadu_si256((const void *)(from + i + 64));
        __m256i d = _mm256_loadu_si256((const void *)(from + i + 96));
        _mm256_stream_si256((void *)(to + i), a);
        _mm256_stream_si256((void *)(to + i + 32), b);
        _mm256_stream_si256((void *)(to + i + 64), c);
        _mm256_stream_si256((void *)(to + i + 96), d);
    }
}

static void stream_sse2(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) {
        __m128i a = _mm_loadu_si128((const void *)(from + i));
        __m128i b = _mm_loadu_si128((const void *)(from + i + 16));
        __m128i c = _mm_loadu_si128((const void *)(from + i + 32));
        __m128i d = _mm_loadu_si128((const void *)(from + i + 48));
        _mm_stream_si128((void *)(to + i), a);
        _mm_stream_si128((void *)(to + i + 16), b);
        _mm_stream_si128((void *)(to + i + 32), c);
        _mm_stream_si128((void *)(to + i + 48), d);
    }
}

static void stream(char *to, const char *from, size_t bytes)
{
    size_t whole = bytes / 256 * 256;
    if (__builtin_cpu_supports("avx512f"))
        stream_avx512(to, from, whole);
    else if (__builtin_cpu_supports("avx"))
        stream_avx(to, from, whole);
    else
        stream_sse2(to, from, whole);
    _mm_sfence();
    memcpy(to + whole, from + whole, bytes - whole);
}
#else
static void stream(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }
#endif

static void *work(void *argument)
{
    part *mine = argument;
    copy *all = mine->owner;
    if (mine->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(mine->cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    size_t bytes = mine->end - mine->begin;
    for (;;) {
        pthread_barrier_wait(&all->start);
        enum kind kind = all->kind;
        if (kind == KIND_STOP)
            return NULL;
        if (kind == KIND_TOUCH) {
            memset(all->from + mine->begin, 1, bytes);
            memset(all->to + mine->begin, 0, bytes);
        } else if (kind == KIND_STREAM) {
            stream(all->to + mine->begin, all->from + mine->begin, bytes);
        } else {
            memcpy(all->to + mine->begin, all->from + mine->begin, bytes);
        }
        pthread_barrier_wait(&all->finish);
    }
}

static char *map(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* The nth CPU this process may run on, or -1. */
static int nth_cpu(int n)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set) && n-- == 0)
            return cpu;
    return -1;
}

static void run(copy *c, enum kind kind)
{
    c->kind = kind;
    pthread_barrier_wait(&c->start);
    if (kind != KIND_STOP)
        pthread_barrier_wait(&c->finish);
}

double copy_run(copy *c, int kind);
copy *copy_open(size_t bytes, int threads);
void copy_close(copy *c);

/* Seconds of one copy; kind 0 is memcpy, 1 non-temporal stores. Negative: it came out wrong. */
double copy_run(copy *c, int kind)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    run(c, kind == 1 ? KIND_STREAM : KIND_MEMCPY);
    clock_gettime(CLOCK_MONOTONIC, &end);
    size_t last = c->parts[c->threads - 1].end;
    if (last && (c->to[0] != 1 || c->to[last - 1] != 1))
        return -1;
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
}

/* NULL: no memory, or no threads. */
copy *copy_open(size_t bytes, int threads)
{
    if (threads < 1 || threads > MAX_THREADS || bytes > SIZE_MAX / 4)
        return NULL;
    copy *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->mapped = (bytes / HUGE_PAGE + 1) * HUGE_PAGE;
    c->from = map(c->mapped);
    c->to = map(c->mapped);
    c->threads = threads;
    if (!c->from || !c->to)
        goto unmap;
    if (pthread_barrier_init(&c->start, NULL, (unsigned)threads + 1) != 0)
        goto unmap;
    if (pthread_barrier_init(&c->finish, NULL, (unsigned)threads + 1) != 0)
        goto unmap;
    size_t share = (bytes / (size_t)threads / PAGE + 1) * PAGE;
    for (int i = 0; i < threads; i++) {
        part *p = &c->parts[i];
        p->owner = c;
        p->begin = share * (size_t)i < bytes ? share * (size_t)i : bytes;
        p->end = p->begin + share < bytes ? p->begin + share : bytes;
        p->cpu = nth_cpu(i);
        if (pthread_create(&p->thread, NULL, work, p) != 0)
            return NULL; /* those begun wait for ever: the process that measures ends soon */
    }
    run(c, KIND_TOUCH);
    return c;

unmap:
    if (c->from)
        munmap(c->from, c->mapped);
    if (c->to)
        munmap(c->to, c->mapped);
    free(c);
    return NULL;
}

void copy_close(copy *c)
{
    run(c, KIND_STOP);
    for (int i = 0; i < c->threads; i++)
        pthread_join(c->parts[i].thread, NULL);
    pthread_barrier_destroy(&c->start);
    pthread_barrier_destroy(&c->finish);
    munmap(c->from, c->mapped);
    munmap(c->to, c->mapped);
    free(c);
}
