/* env.c - settings from the environment, the debug text, the clock
 *
 * needs   error.c
 * gives   fr__env*, fr__debug*, fr__now
 *
 * A bad setting never fails a call: the default holds, and a complaint is kept for whoever
 * asks (fr__env_complaints).
 */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void at_load(void) { fr__fork_guard(&lock, FR__RANK_ENV); }

/* ---- complaints --------------------------------------------------------------------- */

enum { VERSIONS = 12, VERSION_BYTES = 2048 };
/* Each complaint makes a new text of all so far: a text given out is never written again. */
static char versions[VERSIONS][VERSION_BYTES];
static int version_count;
static const char *_Atomic complaints = "";

void fr__complain(const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    const char *before = atomic_load(&complaints);
    if (version_count < VERSIONS && !strstr(before, line)) {
        char *now = versions[version_count++];
        snprintf(now, VERSION_BYTES, "%s%s%s", before, *before ? "; " : "", line);
        atomic_store(&complaints, now);
    }
    pthread_mutex_unlock(&lock);
}

static void complain(const char *name, const char *value, const char *wanted)
{
    fr__complain("FERRULE_%s=%.60s is not %s", name, value, wanted);
}

const char *fr__env_complaints(void) { return atomic_load(&complaints); }

/* ---- settings ----------------------------------------------------------------------- */

const char *fr__env(const char *name)
{
    char whole[80];
    int n = snprintf(whole, sizeof whole, "FERRULE_%s", name);
    return n < 0 || (size_t)n >= sizeof whole ? NULL : getenv(whole);
}

int64_t fr__env_int(const char *name, int64_t otherwise, int64_t lo, int64_t hi)
{
    const char *s = fr__env(name);
    if (!s || !*s)
        return otherwise;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    while (*end == ' ')
        end++;
    if (end != s && !*end && !errno && v >= lo && v <= hi)
        return v;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "an integer from %lld to %lld", (long long)lo,
             (long long)hi);
    complain(name, s, wanted);
    return otherwise;
}

int fr__env_limit(_Atomic int *known, const char *name, int usual)
{
#ifdef FERRULE_HARD
    (void)known, (void)name, (void)usual;
    return 2;
#else
    int n = atomic_load_explicit(known, memory_order_relaxed);
    if (!n) {
        n = (int)fr__env_int(name, usual, 1, 1 << 24);
        atomic_store_explicit(known, n, memory_order_relaxed);
    }
    return n;
#endif
}

int64_t fr__env_bytes(const char *name, int64_t otherwise)
{
    const char *s = fr__env(name);
    if (!s || !*s)
        return otherwise;
    char *end = NULL;
    errno = 0;
    double v = *s >= '0' && *s <= '9' && !strpbrk(s, "xXnNpP") ? strtod(s, &end) : -1;
    if (end && end != s && !errno) {
        static const char units[] = "KMGT";
        const char *u = *end > ' ' ? strchr(units, *end & ~0x20) : NULL;
        if (u) {
            v *= (double)((int64_t)1 << (10 * (u - units + 1)));
            end++;
        }
        if (u && (*end == 'i' || *end == 'I'))
            end++;
        if (*end == 'b' || *end == 'B')
            end++;
        if (!*end && v >= 0 && v < 0x1p63) /* whole numbers of bytes exactly */
            return u || strpbrk(s, ".eE") || v < 0x1p53 ? (int64_t)v : strtoll(s, NULL, 10);
    }
    complain(name, s, "a number of bytes such as 64M or 2G");
    return otherwise;
}

int fr__env_choice(const char *name, const char *const *choices, const char *wanted)
{
    const char *s = fr__env(name);
    if (!s || !*s)
        return -1;
    for (int i = 0; choices[i]; i++)
        if (!strcasecmp(s, choices[i]))
            return i;
    complain(name, s, wanted);
    return -1;
}

bool fr__env_on(const char *name, bool otherwise)
{
    static const char *const off[] = {"0", "off", "false", "no"};
    static const char *const on[] = {"1", "on", "true", "yes"};
    const char *s = fr__env(name);
    if (!s || !*s)
        return otherwise;
    for (int i = 0; i < FR__COUNT(on); i++) {
        if (!strcasecmp(s, on[i]))
            return true;
        if (!strcasecmp(s, off[i]))
            return false;
    }
    complain(name, s, "0 or 1");
    return otherwise;
}

/* ---- debug text --------------------------------------------------------------------- */

int fr__debug(void)
{
    static _Atomic int level = -1;
    int v = atomic_load_explicit(&level, memory_order_relaxed);
    if (FR__UNLIKELY(v < 0)) {
        v = (int)fr__env_int("DEBUG", 0, 0, 6);
        atomic_store_explicit(&level, v, memory_order_relaxed);
    }
    return v;
}

static void (*sink_now)(void *ctx, const char *text);
static void *sink_ctx;

void fr__debug_sink(void (*sink)(void *ctx, const char *text), void *ctx)
{
    pthread_mutex_lock(&lock);
    sink_now = sink;
    sink_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void fr__debug_print(const char *fmt, ...)
{
    char small[1024], *text = small, *large = NULL;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    /* plain malloc: debugging neither counts as an allocation nor sets an error */
    if (n >= (int)sizeof small && (large = malloc((size_t)n + 1))) {
        vsnprintf(large, (size_t)n + 1, fmt, again);
        text = large;
    }
    va_end(again);
    pthread_mutex_lock(&lock);
    void (*sink)(void *, const char *) = sink_now;
    void *ctx = sink_ctx;
    pthread_mutex_unlock(&lock);
    if (n < 0)
        ;
    else if (sink)
        sink(ctx, text); /* outside the lock: it may print */
    else
        fputs(text, stderr);
    free(large);
}

double fr__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
