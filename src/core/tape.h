/* tape.h - which arrays are being differentiated
 *
 * A tape is open while a function is differentiated. A node made from one of its aliases records
 * it; when such a node gets its value while the tape is open it keeps its inputs (the way back),
 * and the tape keeps the node. Closing the tape lets all of them go: who holds a loss does not
 * hold what it was computed from.
 *
 * The number of a tape grows from one to the next, so of two that nest the smaller is the outer;
 * a node records the outermost, which closes last.
 */
#ifndef FR_TAPE_H
#define FR_TAPE_H

#include "core/array.h"

uint32_t fr__tape_open(void); /* 0 with an error: too many at once */
void fr__tape_close(uint32_t tape);
bool fr__tape_is_open(uint32_t tape);
/* The outermost that is open, or 0. */
uint32_t fr__tape_outer(uint32_t a, uint32_t b);
/* With x's lock held, x becoming done: true if x's tape is open; x keeps its inputs then, and the
 * tape a reference to x. */
bool fr__tape_keep(fr_array *x);

static inline uint32_t fr__tape(const fr_array *x)
{
    return atomic_load_explicit(&((fr_array *)x)->tape, memory_order_relaxed);
}
/* Has an alias of an open tape among its ancestors, or is one. */
static inline bool fr__is_taped(const fr_array *x)
{
    return FR__UNLIKELY(fr__tape(x) != 0) && fr__tape_is_open(fr__tape(x));
}

#endif
