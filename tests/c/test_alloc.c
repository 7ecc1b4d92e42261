/* test_alloc.c - array memory: classes, the cache, limits, threads, forks, what it costs */
#define _GNU_SOURCE
#include "base/base.h"
#include "core/alloc.h"
#include "test.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t KiB = 1024, MiB = 1 << 20;

static fr__memory now(void)
{
    fr__memory m;
    fr__memory_get(&m);
    return m;
}

/* ---- blocks ---------------------------------------------------------- */

TEST(alignment_and_room)
{
    volatile unsigned sum = 0;
    for (size_t bytes = 0; bytes < 20 * MiB; bytes += bytes / 5 + 1) {
        size_t before = now().active;
        unsigned char *p = fr__data_alloc(bytes);
        CHECK(p && (uintptr_t)p % 64 == 0);
        if (bytes >= 2 * MiB)
            CHECK((uintptr_t)p % (2 * MiB) == 0);
        size_t taken = now().active - before;
        CHECK(taken >= bytes && taken % 64 == 0);
        if (bytes > 4096)
            CHECK((double)taken <= (double)bytes * 1.1429);
        else
            CHECK(taken <= bytes + 64);
        if (bytes)
            p[0] = p[bytes - 1] = 1;
        for (size_t i = 0; i < 64; i++)
            sum += p[taken - bytes < 64 ? bytes : bytes + i];
        sum += p[taken + 63]; /* 64 beyond the class as well */
        fr__data_free(p, bytes);
        CHECK_EQ(now().active, before);
    }
    (void)sum;
    fr__data_free(NULL, 100);
    fr__memory_clear_cache();
    CHECK_EQ(now().cached, 0);
}

TEST(classes_are_close_to_the_request)
{
    for (int e = 5; e < 26; e++)
        for (int around = -2; around <= 2; around++)
            for (size_t eighth = 8; eighth < 16; eighth++) {
                size_t bytes = (eighth << e) / 8 + (size_t)(int64_t)around;
                size_t before = now().active;
                char *p = fr__data_alloc(bytes);
                CHECK(p != NULL);
                size_t taken = now().active - before;
                fr__data_free(p, bytes);
                CHECK(taken >= bytes);
                CHECK(taken - bytes <= (bytes > 4096 ? taken / 8 : 64));
            }
    fr__memory_clear_cache();
}

TEST(blocks_do_not_overlap)
{
    enum { N = 6000 };
    static unsigned *p[N];
    static size_t bytes[N];
    unsigned seed = 1;
    size_t active = now().active;
    for (int step = 0; step < 60000; step++) {
        seed = seed * 1664525 + 1013904223;
        int i = (int)(seed >> 8) % N;
        if (p[i]) {
            for (size_t k = 0; k < bytes[i] / 4; k += bytes[i] / 64 + 1)
                CHECK_EQ(p[i][k], i);
            fr__data_free(p[i], bytes[i]);
            p[i] = NULL;
        } else {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (seed >> 9) % ((size_t)4 << (seed >> 28));
            p[i] = fr__data_alloc(bytes[i]);
            CHECK(p[i] != NULL);
            for (size_t k = 0; k < bytes[i] / 4; k++)
                p[i][k] = (unsigned)i;
        }
    }
    for (int i = 0; i < N; i++) {
        fr__data_free(p[i], bytes[i]);
        p[i] = NULL;
    }
    CHECK_EQ(now().active, active);
    fr__memory_clear_cache();
    CHECK_EQ(now().cached, 0);
}

/* ---- the cache ---------------------------------------------------------- */

TEST(freed_blocks_come_again)
{
    fr__memory_clear_cache();
    size_t active = now().active;
    char *p = fr__data_alloc(16 * MiB);
    fr__data_free(p, 16 * MiB);
    CHECK_EQ(now().cached, 16 * MiB);
    CHECK(fr__data_alloc(16 * MiB) == p);
    CHECK_EQ(now().cached, 0);
    fr__data_free(p, 16 * MiB);
    p = fr__data_alloc(18 * MiB); /* larger: a new one */
    CHECK_EQ(now().cached, 16 * MiB);
    fr__data_free(p, 18 * MiB);
    char *q = fr__data_alloc(16 * MiB), *r = fr__data_alloc(16 * MiB);
    CHECK(r == p); /* an eighth larger will do, and is cut */
    CHECK_EQ(now().cached, 0);
    CHECK_EQ(now().active - active, 32 * MiB);
    memset(r, 1, 16 * MiB + 64);
    fr__data_free(q, 16 * MiB);
    fr__data_free(r, 16 * MiB);
    fr__memory_clear_cache();
    CHECK_EQ(now().cached, 0);
}

TEST(cache_limit_drops_the_oldest)
{
    fr__memory_clear_cache();
    size_t before = fr__memory_set_cache_limit(10 * MiB);
    char *a = fr__data_alloc(4 * MiB), *b = fr__data_alloc(4 * MiB),
         *c = fr__data_alloc(4 * MiB);
    fr__data_free(a, 4 * MiB);
    fr__data_free(b, 4 * MiB);
    CHECK_EQ(now().cached, 8 * MiB);
    fr__data_free(c, 4 * MiB);
    CHECK_EQ(now().cached, 8 * MiB);
    CHECK(fr__data_alloc(4 * MiB) == c); /* the last freed first */
    CHECK(fr__data_alloc(4 * MiB) == b); /* a went */
    CHECK_EQ(now().cached, 0);
    fr__data_free(b, 4 * MiB);
    char *big = fr__data_alloc(16 * MiB);
    fr__data_free(big, 16 * MiB); /* larger than the limit: not kept, others stay */
    CHECK_EQ(now().cached, 4 * MiB);
    CHECK_EQ(fr__memory_set_cache_limit(0), 10 * MiB);
    CHECK_EQ(now().cached, 0);
    fr__data_free(c, 4 * MiB);
    CHECK_EQ(now().cached, 0);
    fr__memory_set_cache_limit(before);
}

/* ---- limits ---------------------------------------------------------- */

TEST(limit)
{
    fr__memory_clear_cache();
    size_t active = now().active, before = fr__memory_set_limit(active + 20 * MiB);
    char *a = fr__data_alloc(8 * MiB), *b = fr__data_alloc(8 * MiB);
    CHECK(a && b);
    CHECK(!fr__data_alloc(8 * MiB));
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    CHECK(strstr(fr__error_text(),
                 "no memory for 8.00 MiB: 16.0 MiB active, 0 B cached, limit 2"));
    fr__error_clear();
    CHECK_EQ(now().active, active + 16 * MiB);
    fr__data_free(a, 8 * MiB); /* cached: counts, but gives way */
    CHECK_EQ(now().cached, 8 * MiB);
    a = fr__data_alloc(10 * MiB);
    CHECK(a != NULL);
    fr__memory m = now();
    CHECK(m.active + m.cached <= m.limit);
    fr__data_free(b, 8 * MiB);
    fr__memory_set_limit(active + 12 * MiB); /* what is over goes */
    CHECK_EQ(now().cached, 0);
    CHECK(!fr__data_alloc(4 * MiB));
    fr__error_clear();
    fr__data_free(a, 10 * MiB);
    fr__memory_clear_cache();
    fr__memory_set_limit(now().active + 64 * KiB); /* small blocks count too */
    int n = 0;
    void *list[100];
    while (n < 100 && (list[n] = fr__data_alloc(4 * KiB)))
        n++;
    CHECK_EQ(n, 16);
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    fr__data_free(list[--n], 4 * KiB);
    list[n] = fr__data_alloc(4 * KiB); /* and one that came back serves again */
    CHECK(list[n++]);
    while (n)
        fr__data_free(list[--n], 4 * KiB);
    fr__memory_set_limit(0);
    fr__memory_clear_cache();
    CHECK(!fr__data_alloc(1));
    fr__error_clear();
    fr__memory_set_limit(before);
    void *p = fr__data_alloc(1);
    CHECK(p);
    fr__data_free(p, 1);
}

TEST(absurd_sizes)
{
    size_t active = now().active;
    static const size_t sizes[] = {SIZE_MAX,       SIZE_MAX - 100,  (size_t)PTRDIFF_MAX + 1,
                                   PTRDIFF_MAX,    PTRDIFF_MAX / 2, (size_t)1 << 47,
                                   (size_t)1 << 50};
    for (int i = 0; i < FR__COUNT(sizes); i++) {
        CHECK(!fr__data_alloc(sizes[i]));
        CHECK_EQ(fr__error_now, FR__E_MEMORY);
        CHECK(strstr(fr__error_text(), "no memory for "));
        fr__error_clear();
    }
    size_t before = fr__memory_set_limit(SIZE_MAX); /* now the system refuses */
    for (int i = 0; i < FR__COUNT(sizes); i++) {
        CHECK(!fr__data_alloc(sizes[i]));
        fr__error_clear();
    }
    fr__memory_set_limit(before);
    CHECK_EQ(now().active, active);
    CHECK_EQ(now().cached, 0);
}

TEST(faults_fail_once)
{
    fr__fault_set(2);
    void *a = fr__data_alloc(10), *b = fr__data_alloc(10 * MiB), *c = fr__data_alloc(10 * MiB);
    CHECK(a && !b && c);
    CHECK_EQ(fr__fault_count(), 3);
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__fault_set(0);
    fr__error_clear();
    fr__data_free(a, 10);
    fr__data_free(c, 10 * MiB);
    fr__memory_clear_cache();
}

TEST(peak)
{
    fr__memory_reset_peak();
    size_t active = now().active;
    CHECK_EQ(now().peak, active);
    void *p[300], *big = fr__data_alloc(4 * MiB);
    fr__data_free(big, 4 * MiB);
    CHECK_EQ(now().peak, active + 4 * MiB);
    fr__memory_reset_peak();
    CHECK_EQ(now().peak, active);
    for (int i = 0; i < 300; i++)
        p[i] = fr__data_alloc(100);
    for (int i = 0; i < 300; i++)
        fr__data_free(p[i], 100);
    CHECK_EQ(now().peak, active + 300 * 128);
    CHECK_EQ(now().active, active);
    fr__memory_reset_peak();
    for (int i = 0; i < 3; i++)
        p[i] = fr__data_alloc(100);
    big = fr__data_alloc(4 * MiB);
    for (int i = 0; i < 3; i++)
        fr__data_free(p[i], 100);
    fr__data_free(big, 4 * MiB);
    CHECK_EQ(now().peak, active + 3 * 128 + 4 * MiB);
    fr__memory_clear_cache();
}

/* ---- control groups ---------------------------------------------------------- */

static char folder[] = "/tmp/test_alloc_XXXXXX";

static void put_file(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *s = path + strlen(folder) + 1; (s = strchr(s, '/')); s++) {
        *s = 0;
        mkdir(path, 0700);
        *s = '/';
    }
    FILE *f = fopen(path, "w");
    if (EXPECT(f != NULL)) {
        fputs(text, f);
        fclose(f);
    }
}

static size_t group_limit(const char *groups)
{
    char path[300];
    put_file("self", groups);
    snprintf(path, sizeof path, "%s/self", folder);
    return fr__memory_group_limit(path, folder);
}

TEST(control_groups)
{
    CHECK(mkdtemp(folder) != NULL);
    put_file("a/b/c/memory.max", "max\n");
    put_file("a/b/memory.max", "3000000\n");
    put_file("a/memory.max", "5000000\n");
    put_file("memory/x/memory.limit_in_bytes", "7000000\n");
    put_file("memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK_EQ(group_limit("0::/a/b/c\n"), 3000000);
    CHECK_EQ(group_limit("0::/a/b/\n"), 3000000);
    CHECK_EQ(group_limit("0::/a\n"), 5000000);
    CHECK(group_limit("0::/\n") == SIZE_MAX);
    CHECK(group_limit("") == SIZE_MAX);
    CHECK(group_limit("nonsense\n:\n1:\n") == SIZE_MAX);
    CHECK_EQ(group_limit("0::/a/not/there\n"), 5000000);
    CHECK_EQ(group_limit("5:cpu,memory:/x/y\n1:name=systemd:/a\n"), 7000000);
    CHECK_EQ(group_limit("4:memory:/\n"), 9223372036854771712);
    CHECK(group_limit("4:memory_other:/x\n") == SIZE_MAX);
    put_file("memory.max", "1000\n"); /* in a container the root is the group */
    CHECK_EQ(group_limit("0::/\n"), 1000);
    CHECK_EQ(group_limit("0::/../outside\n"), 1000);
    CHECK(fr__memory_group_limit("/nowhere", "/nowhere") == SIZE_MAX);
    char command[300];
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK_EQ(system(command), 0);
    CHECK(now().limit > 0 && now().cache_limit > 0);
}

/* ---- threads ---------------------------------------------------------- */

enum { SLOTS = 512 };
static _Atomic(void *) exchange[SLOTS]; /* blocks that one thread allocates and another frees */

static size_t slot_bytes(int i)
{
    return i % 16 == 0 ? 100000 + (size_t)i * 4000 : (size_t)i * 11;
}

static void *churn(void *index)
{
    unsigned seed = 77 + (unsigned)(intptr_t)index;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525 + 1013904223;
        int i = (int)(seed >> 10) % SLOTS;
        size_t bytes = slot_bytes(i);
        char *p = fr__data_alloc(bytes);
        if (!EXPECT(p != NULL))
            break;
        if (bytes)
            p[0] = p[bytes - 1] = (char)i;
        char *q = atomic_exchange(&exchange[i], p);
        if (q && bytes)
            EXPECT(q[0] == (char)i && q[bytes - 1] == (char)i);
        fr__data_free(q, bytes);
        if (step % 5000 == 0)
            fr__memory_clear_cache();
        if (step % 100 == 0)
            EXPECT(now().active < ((size_t)1 << 40));
        if (step % 1000 == 0)
            fr__memory_reset_peak();
    }
    return NULL;
}

TEST(threads_share_blocks)
{
    size_t active = now().active;
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, churn, (void *)(intptr_t)i);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < SLOTS; i++)
        fr__data_free(atomic_exchange(&exchange[i], NULL), slot_bytes(i));
    CHECK_EQ(now().active, active);
    fr__memory_clear_cache();
    CHECK_EQ(now().cached, 0); /* threads that ended gave their lists back */
}

static void *make_one(void *unused)
{
    (void)unused;
    return fr__data_alloc(200);
}

TEST(blocks_outlive_their_thread)
{
    size_t active = now().active;
    void *p[50];
    for (int i = 0; i < 50; i++) {
        pthread_t t;
        pthread_create(&t, NULL, make_one, NULL);
        pthread_join(t, &p[i]);
        memset(p[i], 1, 200);
    }
    CHECK_EQ(now().active, active + 50 * 256);
    for (int i = 0; i < 50; i++)
        fr__data_free(p[i], 200);
    CHECK_EQ(now().active, active);
    fr__memory_clear_cache();
    CHECK_EQ(now().cached, 0);
}

static void *wait_and_see(void *go)
{
    void *p = fr__data_alloc(64); /* a count not told to the others */
    while (*(_Atomic int *)go == 0)
        usleep(100);
    fr__data_free(p, 64);
    *(_Atomic int *)go = 2;
    while (*(_Atomic int *)go == 2)
        usleep(100);
    return NULL;
}

TEST(untold_counts_are_seen)
{
    size_t active = now().active;
    _Atomic int go = 0;
    pthread_t t;
    pthread_create(&t, NULL, wait_and_see, &go);
    for (int i = 0; i < 10000 && now().active != active + 64; i++)
        usleep(100);
    EXPECT_EQ(now().active, active + 64);
    go = 1;
    while (go == 1)
        usleep(100);
    EXPECT_EQ(now().active, active);
    go = 3;
    pthread_join(t, NULL);
}

TEST(forked_child_allocates)
{
    void *p = fr__data_alloc(3 * MiB), *s = fr__data_alloc(100);
    for (int i = 0; i < 10; i++) {
        pthread_t t;
        pthread_create(&t, NULL, churn, (void *)(intptr_t)i); /* locks may be taken just now */
        usleep(200);
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            void *q = fr__data_alloc(5 * MiB), *r = fr__data_alloc(100);
            int good = q && r;
            if (good) {
                memset(q, 1, 5 * MiB);
                memset(r, 1, 100);
            }
            fr__data_free(p, 3 * MiB);
            fr__data_free(s, 100);
            fr__data_free(q, 5 * MiB);
            fr__data_free(r, 100);
            fr__memory_clear_cache();
            _exit(good ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        pthread_join(t, NULL);
    }
    for (int i = 0; i < SLOTS; i++)
        fr__data_free(atomic_exchange(&exchange[i], NULL), slot_bytes(i));
    fr__data_free(p, 3 * MiB);
    fr__data_free(s, 100);
    fr__memory_clear_cache();
}

/* ---- cost: a report; the bounds are loose, machines are shared ------------------- */

static double time_pairs(size_t bytes, int n)
{
    double best = 1;
    for (int round = 0; round < 5; round++) {
        double start = fr__now();
        for (int i = 0; i < n; i++) {
            void *p = fr__data_alloc(bytes);
            __asm__ volatile("" : : "r"(p) : "memory");
            fr__data_free(p, bytes);
        }
        double took = (fr__now() - start) / n;
        best = took < best ? took : best;
    }
    return best;
}

TEST(cost_of_allocations)
{
    printf("   allocate and free: 64 B %.1f ns, 4 KiB %.1f ns, 32 KiB %.1f ns, 1 MiB %.1f ns\n",
           time_pairs(64, 100000) * 1e9, time_pairs(4096, 100000) * 1e9,
           time_pairs(32768, 100000) * 1e9, time_pairs(MiB, 10000) * 1e9);
    CHECK(time_pairs(64, 10000) < 5e-6);
    fr__memory_clear_cache();
}
