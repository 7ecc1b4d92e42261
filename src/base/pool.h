/* pool.h - the one thread pool
 *
 * Sized by FERRULE_NUM_THREADS, otherwise by the affinity mask of the process; threads start
 * at the first parallel job, sleep when idle (they spin about 50 us first), and are started
 * anew in a forked child.
 */
#ifndef FR_POOL_H
#define FR_POOL_H

#include <stdint.h>

/* Part [begin, end) of a job, on worker `thread` (0 is the caller). */
typedef void fr__job(void *ctx, int64_t begin, int64_t end, int thread);

int fr__pool_threads(void);       /* workers that a job may use, the caller included; >= 1 */
void fr__pool_set_threads(int n); /* from the next job on; 0: as at start */
/* Runs job over [0, n) in pieces that are multiples of `grain` (but for the last), handed out
 * dynamically, on the caller and at most threads-1 others; returns when all is done. Runs on
 * the caller alone when n <= grain, from inside a job, while another thread's job holds the
 * pool, or when threads cannot be started. The pieces never depend on timing in a way that
 * a job could see except through `thread` and the piece bounds. `thread` stays below what
 * fr__pool_threads said when this thread asked it last before the job, even if the number is
 * changed meanwhile: ask before each job for which per-thread scratch is made. */
void fr__pool_run(int64_t n, int64_t grain, fr__job *job, void *ctx);
void fr__pool_limit(int threads); /* this thread's next job keeps `thread` below that */
void fr__pool_stop(void);         /* joins the threads; the next job starts them again */

#endif
