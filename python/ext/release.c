/* release.c - Python objects that the library holds and lets go of, on whatever thread that is
 *
 * A thread of the library's may drop them while another one holds the GIL and waits for the
 * library: taking the GIL here could wait for ever. What is dropped without it is freed later.
 */
#include "ext.h"

#include <stdatomic.h>

static _Atomic(py_release *) released;

void py_release_now(void *held)
{
    py_release *r = held;
    if (PyGILState_Check()) {
        r->free(r);
        return;
    }
    r->next = atomic_load(&released);
    while (!atomic_compare_exchange_weak(&released, &r->next, r))
        ;
}

void py_release_sweep(void)
{
    if (!atomic_load_explicit(&released, memory_order_relaxed))
        return;
    py_release *r = atomic_exchange(&released, NULL);
    while (r) {
        py_release *next = r->next;
        r->free(r);
        r = next;
    }
}
