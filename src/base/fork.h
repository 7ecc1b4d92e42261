/* fork.h - the library's locks, in the order in which they are taken
 *
 * A process that forks has one thread in the child: what another one had locked would stay locked
 * there for ever. So fork waits for all of them. Locks of one object (a function's, a node's) are
 * not among them: a child must not use a compiled function with state, or an array, that another
 * thread was working on at that very moment.
 */
#ifndef FR_FORK_H
#define FR_FORK_H

#include <pthread.h>

typedef enum fr__lock_rank { /* who holds one may take those below it */
                             FR__RANK_PROGRAMS,
                             FR__RANK_MAKER,
                             FR__RANK_KERNELS,
                             FR__RANK_LLVM,
                             FR__RANK_RANDOM,
                             FR__RANK_WARNINGS,
                             FR__RANK_TAPES,
                             FR__RANK_PLACES,
                             FR__RANK_CLAIMS,
                             FR__RANK_SMALL,
                             FR__RANK_LARGE,
                             FR__RANK_EVENTS,
                             FR__RANK_STREAMS,
                             FR__RANK_ENV,
                             FR__RANKS
} fr__lock_rank;

/* Called while the library is loaded: one lock for each rank. */
void fr__fork_guard(pthread_mutex_t *lock, fr__lock_rank rank);

#endif
