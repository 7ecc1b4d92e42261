/* attention.h - the nodes of attention, and their composition, for derivatives and batches
 *
 *   ATTENTION       in: q, k, v, and a mask [B, H, L, S] or none; par: the scale's bits, causal
 *   ATTENTION_GRAD  in: q, k, v, the result, its cotangent, a mask or none; the same par; gives the
 *                   gradients of q, k and v, one behind the other in one row
 */
#ifndef FR_OP_ATTENTION_H
#define FR_OP_ATTENTION_H

#include "op/op.h"

typedef struct fr__attention_form {
    double scale;
    bool causal;
} fr__attention_form;

fr__attention_form fr__attention_of(const fr_array *y); /* of a node of either kind */
/* in: q, k, v, mask. In an open scope. */
fr_array *fr__attention_composed(fr_array *const *in, int nin, fr__attention_form form);
fr_array *fr__attention_gradients(fr_array *const *in, int nin, fr_array *out, fr_array *dout,
                                  fr__attention_form form);
/* p @ v as attention, where p is the softmax of scaled and masked scores, written out and not
 * computed yet (recognise.c). NULL, without an error: it isn't. */
fr_array *fr__attention_written_out(fr_array *p, fr_array *v);
/* While attention itself is being composed. */
extern _Thread_local int fr__attention_composing;

#endif
