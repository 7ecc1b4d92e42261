/* fast.h - what transformers spend their time in; included by ferrule.h */
#ifndef FERRULE_FAST_H
#define FERRULE_FAST_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fr_attention_options {
    double scale;   /* 0: 1 / sqrt(D) */
    bool causal;    /* query i sees keys up to i + S - L */
    fr_array *mask; /* NULL, or broadcasts to [B, H, L, S]: bool (false: not seen), or added */
} fr_attention_options;

/* softmax(q k^T * scale + mask) v, in one pass over the keys: memory is linear in the lengths.
 *   q [B, H, L, D]    k [B, G, S, D]    v [B, G, S, E]    result [B, H, L, E]; G divides H: heads
 *   h of q in turn share k and v
 * dtype   one float dtype for all of q, k and v; sums, exponentials and the mask are in float32
 *         (float64: composed of other operations, in float64)
 * A row that sees no key is NaN. Differentiable, any number of times.
 * VALUE   shapes don't fit; TYPE: dtypes differ or are no floats */
FR_API fr_array *fr_attention(fr_array *q, fr_array *k, fr_array *v,
                              const fr_attention_options *options);

#ifdef __cplusplus
}
#endif
#endif
