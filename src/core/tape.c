/* tape.c - open tapes, and the nodes that keep their inputs for them */
#include "core/tape.h"

#include <pthread.h>

#include "base/fork.h"

/* A number is 22 bits of a count and 10 bits of a slot. */
enum { SLOT_BITS = 10, SLOTS = 1 << SLOT_BITS };

static struct {
    _Atomic uint32_t open; /* the tape in this slot, 0: none */
    fr_array *kept;        /* a chain by next, each with a reference */
} slots[SLOTS];
static _Atomic uint32_t opened;

/* Of all chains; held for a few stores. */
static pthread_mutex_t tapes_lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&tapes_lock, FR__RANK_TAPES);
}

uint32_t fr__tape_open(void)
{
    for (int tries = 0; tries < 2 * SLOTS; tries++) {
        uint32_t count = atomic_fetch_add(&opened, 1) + 1, slot = count % SLOTS, none = 0;
        uint32_t tape = count << SLOT_BITS | slot;
        if (tape >> SLOT_BITS && atomic_compare_exchange_strong(&slots[slot].open, &none, tape))
            return tape;
    }
    fr__fail(FR__E_LIMIT, "more than %d functions are being differentiated", SLOTS);
    return 0;
}

bool fr__tape_is_open(uint32_t tape)
{
    return tape &&
           atomic_load_explicit(&slots[tape % SLOTS].open, memory_order_acquire) == tape;
}

uint32_t fr__tape_outer(uint32_t a, uint32_t b)
{
    if (!fr__tape_is_open(a))
        return fr__tape_is_open(b) ? b : 0;
    return fr__tape_is_open(b) && (int32_t)(b - a) < 0 ? b : a;
}

bool fr__tape_keep(fr_array *x)
{
    uint32_t tape = fr__tape(x), slot = tape % SLOTS;
    if (!tape)
        return false;
    pthread_mutex_lock(&tapes_lock);
    bool open = slots[slot].open == tape;
    if (open) {
        x->next = slots[slot].kept;
        slots[slot].kept = fr__ref(x);
    }
    pthread_mutex_unlock(&tapes_lock);
    return open;
}

void fr__tape_close(uint32_t tape)
{
    uint32_t slot = tape % SLOTS;
    if (!tape)
        return;
    pthread_mutex_lock(&tapes_lock);
    fr_array *kept = slots[slot].kept;
    slots[slot].kept = NULL;
    atomic_store(&slots[slot].open, 0);
    pthread_mutex_unlock(&tapes_lock);
    while (kept) {
        fr_array *x = kept;
        kept = x->next;
        fr__forget_inputs(x);
        fr__unref(x);
    }
}
