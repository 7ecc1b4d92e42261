/* claim.c - arrays whose memory a run of a program writes over */
#include "core/claim.h"

#include "base/fork.h"
#include "core/place.h"
#include "core/tape.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static _Atomic int claimed; /* arrays; less only while locked */

/* Who claimed them isn't here. */
static void in_child(void) { atomic_store(&claimed, 0); }

__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_CLAIMS);
    pthread_atfork(NULL, NULL, in_child);
}

static bool is_alone(const fr_array *x)
{
    uint64_t two = (uint64_t)2 << 32 | 2;
    int flags = FR__WEAK | FR__TRACED | FR__FLOATING | FR__KEPT;
    return fr__done(x) &&
           atomic_load_explicit(&((fr_array *)x)->refs, memory_order_acquire) == two &&
           !fr__flag(x, flags) && !fr__is_taped(x);
}

static bool has_its_buffer(const fr_array *x, uint16_t stream)
{
    const fr__buffer *b = x->buf;
    if (!b || b->place != fr__place_of_stream(stream) ||
        (b->place != FR__HOST && (b->stream != stream || fr__gpus.is_shared(stream, b->data))))
        return false;
    return !b->release && b->data == x->data &&
           !atomic_load_explicit(&((fr__buffer *)b)->copies, memory_order_acquire) &&
           atomic_load_explicit(&((fr__buffer *)b)->refs, memory_order_acquire) == 1;
}

bool fr__claim(fr_array *x, uint16_t stream)
{
    if (!is_alone(x) || !has_its_buffer(x, stream))
        return false;
    atomic_fetch_add(&claimed, 1); /* before it is pending: who waits for it sees that */
    x->op = FR__CORE_LEAF;         /* whatever it was computed by once */
    x->nin = x->npar = 0;
    atomic_store_explicit(&x->state, FR__PENDING, memory_order_release);
    return true;
}

void fr__claim_end(int n, fr_array *const *x)
{
    int gone = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n; i++)
        if (!fr__done(x[i])) {
            atomic_store_explicit(&x[i]->state, FR__DONE, memory_order_release);
            gone++;
        }
    atomic_fetch_sub(&claimed, gone);
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
}

int fr__await(fr_array *x)
{
    pthread_mutex_lock(&lock);
    while (!fr__done(x) && atomic_load(&claimed))
        pthread_cond_wait(&ended, &lock);
    bool there = fr__done(x);
    pthread_mutex_unlock(&lock);
    return there ? 0
                 : fr__fail_int(FR__E_VALUE,
                                "a compiled call was making this array anew in another "
                                "thread when the process forked");
}
