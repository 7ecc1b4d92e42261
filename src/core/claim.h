/* claim.h - arrays whose memory a run of a program writes over
 *
 * A claimed array is pending again, with nothing to compute it from: whoever comes to it while the
 * run goes on (another thread, by the variable that it stands in) waits, and finds the new value.
 * Nobody can have seen the old one: a claim needs an array that nobody else holds.
 */
#ifndef FR_CLAIM_H
#define FR_CLAIM_H

#include "core/array.h"

/* Claims x for a run on this stream, if it has two references, both handles (the caller's, and that of
 * the variable it stands in), and its whole buffer for itself, which on a GPU is of this stream and no
 * other's work. The caller keeps others from the variable meanwhile. */
bool fr__claim(fr_array *x, uint16_t stream);
/* The claimed ones among these arrays have values again: the new ones, or those they had. */
void fr__claim_end(int n, fr_array *const *x);
/* Waits until x, a pending leaf, has its value. 0, or -1 with an error: the thread that was making
 * it did not come along when the process forked. */
int fr__await(fr_array *x);

#endif
