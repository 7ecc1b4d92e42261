/* fork.c - a fork waits for the library's locks, so that none stays locked in the child */
#include "base/fork.h"

static pthread_mutex_t *locks[FR__RANKS];

static void take_all(void)
{
    for (int i = 0; i < FR__RANKS; i++)
        if (locks[i])
            pthread_mutex_lock(locks[i]);
}

static void give_all(void)
{
    for (int i = FR__RANKS - 1; i >= 0; i--)
        if (locks[i])
            pthread_mutex_unlock(locks[i]);
}

void fr__fork_guard(pthread_mutex_t *lock, fr__lock_rank rank)
{
    static int registered; /* constructors run one after the other */
    locks[rank] = lock;
    if (!registered++)
        pthread_atfork(take_all, give_all, give_all);
}
