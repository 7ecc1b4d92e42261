/* calls.h - what the libraries of the stand-in have in common: a call that fails, and objects that live
 *
 * Before it FAILED is defined, what a call gives that fails on purpose.
 */
#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long live, fail_at;

static long locked(const long *of)
{
    pthread_mutex_lock(&lock);
    long n = *of;
    pthread_mutex_unlock(&lock);
    return n;
}

/* The nth call from now fails. */
static void set_fail_at(long n)
{
    pthread_mutex_lock(&lock);
    fail_at = n;
    pthread_mutex_unlock(&lock);
}

/* At the begin of each call, which makes so many objects. */
static int entered(long made)
{
    pthread_mutex_lock(&lock);
    int r = fail_at > 0 && !--fail_at ? FAILED : 0;
    live += r ? 0 : made;
    pthread_mutex_unlock(&lock);
    return r;
}

static int make(void **to, size_t bytes)
{
    int r = entered(1);
    if (!r && !(*to = calloc(1, bytes)))
        abort();
    return r;
}

static int drop(void *p)
{
    pthread_mutex_lock(&lock);
    live--;
    pthread_mutex_unlock(&lock);
    free(p);
    return 0;
}
