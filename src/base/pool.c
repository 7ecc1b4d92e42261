/* pool.c - the one thread pool
 *
 * needs   env.c
 * gives   fr__pool_*
 *
 * One job at a time. All that workers and the job's owner agree on is in one 64-bit word:
 *
 *     generation (25) | stop | waiting | open | limit (12) | joined (12) | active (12)
 *
 * The owner writes the job's fields and then opens a new generation. A worker joins, while
 * fewer than `limit` did, with a compare-and-swap that adds itself to `joined` (which gives its
 * number) and `active`; it takes pieces until none is left, and goes. The owner works too,
 * closes the word, and waits until active is 0: a worker that did not wake up in time is not
 * waited for. The fields are read only by those that have joined and written only while nobody
 * can join, so they need no lock.
 */
#define _GNU_SOURCE
#include "base/pool.h"
#include "base/base.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024 };

#define ACTIVE(w) ((w)&0xfff)
#define JOINED(w) ((w) >> 12 & 0xfff)
#define LIMIT(w) ((w) >> 24 & 0xfff) /* of JOINED: the owner is not counted */
#define JOIN ((uint64_t)0x1001)      /* one more active, one more joined */
#define OPEN ((uint64_t)1 << 36)
#define WAITING ((uint64_t)1 << 37)
#define STOP ((uint64_t)1 << 38)
#define GENERATION(w) ((w) >> 39)

static struct {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint32_t bell; /* sleeping workers wait for it to change */
    _Atomic uint32_t asleep;
    _Atomic uint32_t done; /* the owner sleeps on this one */
    _Atomic bool spin;     /* not when threads outnumber processors */
    /* the job; the counter has its cache line to itself */
    _Alignas(64) _Atomic int64_t next;
    _Alignas(64) fr__job *job;
    void *ctx;
    int64_t n, piece, pieces;
    /* the rest belongs to who holds the pool */
    _Alignas(64) _Atomic bool held;
    _Atomic bool closed;
    _Atomic int wanted; /* threads, the owner included; 0: not known yet */
    _Atomic uint32_t forks;
    int started, refused; /* workers running; refused: threads wanted when starting failed */
    pthread_t threads[MOST];
} pool;

static _Thread_local bool inside; /* this thread is running a piece */
static _Thread_local int told;    /* what fr__pool_threads said since the last job, or 0 */

/* ---- waiting ------------------------------------------------------------------------ */

static void futex_wait(_Atomic uint32_t *at, uint32_t value)
{
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at, int count)
{
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

typedef struct spinner {
    double until; /* 0: not begun */
    int rounds;
} spinner;

/* True while it is worth spinning on. Gives way now and then: on a busy machine the thread that
 * is waited for may sit on this very processor. */
static bool spin_on(spinner *s)
{
    for (int i = 0; i < 4; i++)
        relax();
    if (++s->rounds % 64 == 0)
        sched_yield();
    double now = fr__now();
    if (s->until == 0)
        s->until = now + 50e-6;
    return now < s->until;
}

/* ---- workers ------------------------------------------------------------------------ */

static void take_pieces(int thread)
{
    int64_t i;
    inside = true;
    while ((i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < pool.pieces) {
        int64_t begin = i * pool.piece;
        int64_t end = pool.n - begin > pool.piece ? begin + pool.piece : pool.n;
        pool.job(pool.ctx, begin, end, thread);
    }
    inside = false;
}

/* The word once it has another generation than `seen`. */
static uint64_t next_generation(uint64_t seen)
{
    spinner s = {0};
    bool spin = atomic_load_explicit(&pool.spin, memory_order_relaxed);
    for (;;) {
        uint64_t w = atomic_load(&pool.word);
        if (GENERATION(w) != seen)
            return w;
        if (spin && spin_on(&s))
            continue;
        /* Either we see the new word, or who opens it sees that we are asleep. */
        uint32_t bell = atomic_load(&pool.bell);
        atomic_fetch_add(&pool.asleep, 1);
        if (GENERATION(atomic_load(&pool.word)) == seen)
            futex_wait(&pool.bell, bell);
        atomic_fetch_sub(&pool.asleep, 1);
    }
}

/* A closed word of the generation after that of w; never 0, which is what a new worker has
 * seen. */
static uint64_t advance(uint64_t w)
{
    uint64_t next = ((GENERATION(w) + 1) << 39);
    return next ? next : (uint64_t)1 << 39;
}

static void *work(void *unused)
{
    (void)unused;
    uint32_t forks = atomic_load(&pool.forks);
    uint64_t seen = 0;
    for (;;) {
        uint64_t w = next_generation(seen);
        seen = GENERATION(w);
        if (w & STOP)
            return NULL;
        bool joined = false;
        while (!joined && (w & OPEN) && GENERATION(w) == seen && JOINED(w) < LIMIT(w))
            joined = atomic_compare_exchange_weak(&pool.word, &w, w + JOIN);
        if (!joined)
            continue;
        take_pieces((int)JOINED(w) + 1);
        if (atomic_load_explicit(&pool.forks, memory_order_relaxed) != forks)
            return NULL; /* the job forked: in this process no pool knows us */
        w = atomic_fetch_sub(&pool.word, 1);
        if ((w & WAITING) && ACTIVE(w) == 1) {
            atomic_fetch_add(&pool.done, 1);
            futex_wake(&pool.done, 1);
        }
    }
}

/* Workers 1 .. wanted-1, as far as the system lets us. */
static void start_workers(int wanted)
{
    if (pool.started + 1 >= wanted || pool.refused == wanted || atomic_load(&pool.closed))
        return;
    /* Signals go to the program's threads; a fault of a worker's own must reach its handler. */
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all, before;
    sigfillset(&all);
    for (int i = 0; i < FR__COUNT(own); i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool.refused = 0;
    while (pool.started + 1 < wanted) {
        pthread_t *t = &pool.threads[pool.started];
        if (pthread_create(t, NULL, work, NULL)) {
            pool.refused = wanted; /* don't ask again at each job */
            break;
        }
        pthread_setname_np(*t, "ferrule");
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- size --------------------------------------------------------------------------- */

static int processors(void)
{
    int count = 0;
    for (int room = CPU_SETSIZE; room <= 1 << 17 && !count; room *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        size_t bytes = CPU_ALLOC_SIZE((size_t)room);
        if (!set)
            break;
        int failed = sched_getaffinity(0, bytes, set);
        if (!failed)
            count = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (failed && errno != EINVAL) /* EINVAL: the kernel's mask is wider */
            break;
    }
    if (!count)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MOST ? MOST : count;
}

static int wanted_threads(void)
{
    int n = atomic_load_explicit(&pool.wanted, memory_order_relaxed);
    if (FR__LIKELY(n))
        return n;
    int cpus = processors();
    n = (int)fr__env_int("NUM_THREADS", cpus, 1, MOST);
    atomic_store(&pool.spin, n <= cpus);
    int unset = 0;
    return atomic_compare_exchange_strong(&pool.wanted, &unset, n) ? n : unset;
}

int fr__pool_threads(void) { return told = wanted_threads(); }

void fr__pool_limit(int threads) { told = threads; }

void fr__pool_set_threads(int n)
{
    if (n > 0) {
        atomic_store(&pool.spin, n <= processors());
        atomic_store(&pool.wanted, n > MOST ? MOST : n);
    } else {
        atomic_store(&pool.wanted, 0);
    }
}

/* ---- jobs --------------------------------------------------------------------------- */

static void open_job(int helpers)
{
    /* ACTIVE is 0: the last job waited for it */
    uint64_t w = atomic_load_explicit(&pool.word, memory_order_relaxed);
    atomic_store(&pool.word, advance(w) | OPEN | (uint64_t)helpers << 24);
    uint32_t asleep = atomic_load(&pool.asleep);
    if (!asleep)
        return;
    int awake = pool.started - (int)asleep; /* those will see the new word by themselves */
    if (helpers > awake) {
        atomic_fetch_add(&pool.bell, 1);
        futex_wake(&pool.bell, helpers - awake);
    }
}

static void close_job(void)
{
    uint64_t w = atomic_fetch_and(&pool.word, ~OPEN);
    spinner s = {0};
    bool spin = atomic_load_explicit(&pool.spin, memory_order_relaxed);
    while (ACTIVE(atomic_load(&pool.word)) && spin && spin_on(&s))
        ;
    if (!ACTIVE(atomic_load(&pool.word)))
        return;
    atomic_fetch_or(&pool.word, WAITING);
    for (;;) {
        uint32_t done = atomic_load(&pool.done);
        w = atomic_load(&pool.word);
        if (!ACTIVE(w))
            return;
        futex_wait(&pool.done, done);
    }
}

static bool hold(void)
{
    return !atomic_load_explicit(&pool.held, memory_order_relaxed) &&
           !atomic_exchange_explicit(&pool.held, true, memory_order_acquire);
}

static void let_go(void) { atomic_store_explicit(&pool.held, false, memory_order_release); }

void fr__pool_run(int64_t n, int64_t grain, fr__job *job, void *ctx)
{
    if (n <= 0)
        return;
    int most = wanted_threads();
    if (told && !inside) { /* the caller's scratch was sized by what it was told */
        most = told < most ? told : most;
        told = 0;
    }
    if (grain < 1)
        grain = 1;
    if (n <= grain || inside || most == 1 || !hold()) {
        bool was = inside;
        inside = true; /* what this job starts must not take the pool either: one meaning */
        job(ctx, 0, n, 0);
        inside = was;
        return;
    }
    start_workers(most);
    int limit = most < pool.started + 1 ? most : pool.started + 1;
    /* Sixteen pieces a thread level out uneven ones; more would only cost. */
    int64_t grains = n / grain + (n % grain != 0);
    int64_t together = grains / ((int64_t)limit * 16);
    pool.job = job;
    pool.ctx = ctx;
    pool.n = n;
    pool.piece = grain * (together ? together : 1);
    pool.pieces = n / pool.piece + (n % pool.piece != 0);
    atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
    if (limit > pool.pieces)
        limit = (int)pool.pieces;
    if (limit > 1)
        open_job(limit - 1);
    take_pieces(0);
    if (limit > 1)
        close_job();
    let_go();
}

/* ---- end, fork ---------------------------------------------------------------------- */

/* The pool is held. False when a thread did not end in time. */
static bool join_workers(void)
{
    if (!pool.started)
        return true;
    atomic_store(&pool.word, advance(atomic_load(&pool.word)) | STOP);
    atomic_fetch_add(&pool.bell, 1);
    futex_wake(&pool.bell, MOST);
    bool all = true;
    for (int i = 0; i < pool.started; i++) {
        struct timespec end;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 10; /* never needed, but a hang at exit would be worse */
        all &= pthread_timedjoin_np(pool.threads[i], NULL, &end) == 0;
    }
    atomic_store(&pool.word, 0);
    pool.started = pool.refused = 0;
    return all;
}

void fr__pool_stop(void)
{
    if (inside)
        return;
    while (!hold()) /* a job of another thread is running */
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    join_workers();
    let_go();
}

/* In a forked child there are no workers and nobody holds the pool. */
static void forget(void)
{
    atomic_fetch_add(&pool.forks, 1);
    atomic_store(&pool.word, 0);
    atomic_store(&pool.asleep, 0);
    pool.started = pool.refused = 0;
    let_go();
}

static _Atomic pid_t loaded_in;

static void after_fork(void)
{
    forget();
    atomic_store(&loaded_in, getpid());
}

__attribute__((constructor)) static void at_load(void)
{
    atomic_store(&loaded_in, getpid());
    pthread_atfork(NULL, NULL, after_fork);
}

/* At exit, or before the library is unmapped: no worker may go on in code that goes away. What
 * could hang is left alone: a job still running, a process made by a bare clone. */
__attribute__((destructor)) static void at_unload(void)
{
    if (inside || atomic_load(&loaded_in) != getpid() || !hold())
        return;
    atomic_store(&pool.closed, true); /* jobs that come still later run on their callers */
    join_workers();
    let_go();
}
