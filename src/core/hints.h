/* hints.h - arrays that are likely to be freed one after the other
 *
 * A call's results are spread over memory, and freed when the next call's have taken their place: each of them, and
 * its buffer, is fetched while those before it are being freed.
 */
#ifndef FR_HINTS_H
#define FR_HINTS_H

#include "core/array.h"

/* `then` will be freed soon after x, a new array that nobody else has seen, with a buffer of its own. No reference is taken: what
 * is noted (in `next` of the node, `ctx` of the buffer) is only ever fetched, never read through. */
void fr__freed_soon(fr_array *x, const fr_array *then);

#endif
