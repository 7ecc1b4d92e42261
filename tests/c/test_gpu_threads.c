/* test_gpu_threads.c - a program on a GPU called by many threads at once, over the stand-in driver
 *
 * What ThreadSanitizer runs of src/run/gpu*.c (make tsan): the places of results that a program
 * remembers, its recorded graphs and their lanes, code that several threads want at the same time.
 */
#define _GNU_SOURCE
#include "test.h"

#include "core/array.h"
#include "gpu_choice.h"
#include "run/plan.h"

#include <pthread.h>

enum { THREADS = 6, CALLS = 12, CHAINS = 5, SIDE = 48 };

/* Sums that don't wait for each other, and a state that is an argument of the next call. No routines:
 * ThreadSanitizer doesn't know the contexts by which the stand-in runs them. */
static int step(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    int more = *(int *)ctx;
    (void)n_in, (void)n_out;
    out[0] = in[1];
    for (int i = 0; i < CHAINS; i++) { /* another size and kernel each */
        fr_array *x =
            fr_slice(in[0], (int64_t[]){0, 0}, (int64_t[]){1, 1}, (int64_t[]){SIDE - i, SIDE});
        for (int k = 0; k <= i; k++)
            x = fr_maximum(fr_neg(x), fr_add(x, 1));
        out[1 + i] = fr_mul(fr_sum(x, NULL), i + 1 + more);
        out[0] = fr_add(out[0], out[1 + i]);
    }
    return 0;
}

static double chain(int more, int i, double v)
{
    return (v + i + 1) * SIDE * (SIDE - i) * (i + 1 + more);
}

/* As a loop of training, that may keep some results for long. */
static void loop(fr_function *f, int more, fr_stream s, double v, bool keeps)
{
    fr_scope *all = fr_scope_open();
    fr_array *x = fr_contiguous(fr_full((int64_t[]){SIDE, SIDE}, 2, v, FR_FLOAT32)),
             *state = fr_keep(fr_contiguous(fr_full((int64_t[]){7}, 1, 0, FR_FLOAT32))),
             *kept[CALLS];
    double total = 0, got = -1;
    for (int i = 0; i < CHAINS; i++)
        total += chain(more, i, v);
    EXPECT_EQ(fr_stream_set(s), 0);
    for (int call = 1; call <= CALLS; call++) {
        fr_scope *each = fr_scope_open();
        fr_array *in[2] = {x, state}, *out[1 + CHAINS];
        if (!EXPECT_EQ(fr_call(f, 2, in, 1 + CHAINS, out), 0)) {
            printf("     %s\n", fr_error_message());
            exit(1);
        }
        kept[call - 1] = keeps ? fr_keep(out[1 + call % CHAINS]) : NULL;
        fr_free(state);
        state = fr_keep(out[0]);
        fr_scope_close(each);
    }
    EXPECT(!fr_item(fr_max(state, NULL), &got) && got == CALLS * total);
    EXPECT(!fr_item(fr_min(state, NULL), &got) && got == CALLS * total);
    for (int call = 1; call <= CALLS && keeps; call++) {
        EXPECT(!fr_item(kept[call - 1], &got) && got == chain(more, call % CHAINS, v));
        fr_free(kept[call - 1]);
    }
    fr_stream_set((fr_stream){0});
    fr_free(state);
    fr_scope_close(all);
}

static fr_function *shared;
static int no_more;
static pthread_barrier_t together;

/* Even ones share the device's stream, the others have one each; every third makes a program of its own. */
static void *work(void *number)
{
    int me = (int)(intptr_t)number;
    fr_stream s = me % 2 ? fr_stream_on(FR_GPU, 0) : fr_stream_default(FR_GPU, 0);
    pthread_barrier_wait(&together);
    if (me % 3 == 2) {
        fr_function *own = fr_compile(step, &me, NULL);
        loop(own, me, s, me + 1, false);
        fr_function_free(own);
    } else {
        loop(shared, no_more, s, me + 1, me & 1);
    }
    return NULL;
}

TEST(a_program_is_called_by_many)
{
    pthread_t threads[THREADS];
    shared = fr_compile(step, &no_more, NULL);
    pthread_barrier_init(&together, NULL, THREADS);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&threads[i], NULL, work, (void *)i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
#ifndef FERRULE_HARD /* which keeps no memory for that */
    if (!real) {     /* alone its addresses come back, so that recordings serve */
        long before = count_calls("cuGraphLaunch");
        loop(shared, no_more, fr_stream_default(FR_GPU, 0), 3, false);
        EXPECT(count_calls("cuGraphLaunch") > before);
    }
#endif
    fr_function_free(shared);
    fr__plan_clear_cache();
}
