/* scope.c - scopes own temporaries; warnings: what belongs to a thread or the process */
#include "core/scope.h"

#include "base/fork.h"

#include <pthread.h>
#include <stdio.h>

_Thread_local fr_scope *fr__scope_now;

static fr_scope *open_scope(bool none)
{
    fr_scope *s = fr__calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->parent = fr__scope_now;
    s->none = none;
    fr__scope_now = s;
    return s;
}

fr_scope *fr_scope_open(void) { return open_scope(false); }
fr_scope *fr__scope_open_none(void) { return open_scope(true); }

void fr_scope_close(fr_scope *s)
{
    if (!s)
        return;
    fr_scope *top = fr__scope_now;
    while (top && top != s)
        top = top->parent;
    if (!top)
        return; /* another thread's, or closed with the one around it */
    for (bool last = false; !last;) {
        fr_scope *open = fr__scope_now;
        last = open == s;
        fr__scope_now = open->parent;
        for (int i = open->arrays.n - 1; i >= 0; i--)
            fr__unref(open->arrays.at[i]);
        fr__vec_free(&open->arrays);
        fr__free(open);
    }
}

void fr__own_result(fr_array *x)
{
    if (!fr__in_scope()) { /* the one reference becomes a handle */
        atomic_fetch_add_explicit(&x->refs, (uint64_t)1 << 32, memory_order_relaxed);
        return;
    }
    if (fr__vec_push(&fr__scope_now->arrays, x))
        fr__unref(x); /* no memory: the error is set and makes the constructor give NULL */
}

fr_array *fr__leave(fr_scope *s, fr_array *y)
{
    if (y)
        fr__ref(y);
    fr_scope_close(s);
    if (!y)
        return NULL;
    fr__own_result(y);
    return fr__failed() ? NULL : y;
}

fr_array *fr_own(fr_array *x) { return fr__in_scope() ? fr_keep(x) : x; }

/* ---- warnings ----------------------------------------------------------------------- */

enum { MAX_WARNINGS = 16 };
static pthread_mutex_t warn_lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&warn_lock, FR__RANK_WARNINGS);
}
static char warnings[MAX_WARNINGS][400];
static int nwarnings;
static _Atomic int ntold, nmade;

void fr__warn(const char *fmt, ...)
{
    char text[sizeof warnings[0]];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    pthread_mutex_lock(&warn_lock);
    bool known = nwarnings == MAX_WARNINGS;
    for (int i = 0; i < nwarnings; i++)
        known |= !strcmp(warnings[i], text);
    if (!known) {
        memcpy(warnings[nwarnings++], text, sizeof text);
        atomic_store(&nmade, nwarnings);
    }
    pthread_mutex_unlock(&warn_lock);
}

const char *fr_next_warning(void)
{
    static _Thread_local char env[512];
    static _Atomic bool env_told;
    if (!atomic_load_explicit(&env_told, memory_order_relaxed)) {
        const char *complaints = fr__env_complaints();
        if (complaints[0] && !atomic_exchange(&env_told, true)) {
            snprintf(env, sizeof env, "%s", complaints);
            return env;
        }
    }
    int told = atomic_load_explicit(&ntold, memory_order_relaxed);
    while (told < atomic_load(&nmade))
        if (atomic_compare_exchange_weak(&ntold, &told, told + 1))
            return warnings[told];
    return NULL;
}
