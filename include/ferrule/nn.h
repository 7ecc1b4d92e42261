/* nn.h - networks from C: parameters with names, layers, losses, optimizers; over the other headers
 *
 * A model is a set of parameters and a function that uses them. A training step is a function whose
 * state are slots: fr_compile makes one program of forward, backward and update. docs/networks-in-c.md
 * shows how. Layers and losses are composed of the operations of the other headers, and keep their
 * rules (NULL gives NULL, the dtype is promoted); what they refuse beyond that stands with them.
 */
#ifndef FERRULE_NN_H
#define FERRULE_NN_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameters --------------------------------------------------------------------------- */

/* Arrays with names like "layers.0.weight", in the order in which they were added. A set is for one
 * thread at a time. */
typedef struct fr_params fr_params;
FR_API fr_params *fr_params_new(void);
FR_API void fr_params_free(fr_params *p); /* NULL: nothing */
/* Adds x under a name; its number, or -1 (VALUE: there is one of that name). The set keeps a
 * reference of its own. The variables below move when one is added. */
FR_API int fr_params_add(fr_params *p, const char *name, fr_array *x);
FR_API int fr_params_count(const fr_params *p);
FR_API const char *fr_params_name(const fr_params *p, int i);
/* The variables that hold them: slots of a compiled function. What is there is the set's. */
FR_API fr_array **fr_params_arrays(fr_params *p);
/* Writes where the variables are, for fr_compile_options.slots; gives how many. */
FR_API int fr_params_slots(fr_params *p, fr_array ***slots);
FR_API int fr_params_find(const fr_params *p, const char *name);      /* its number; -1: none */
FR_API fr_array *fr_params_get(const fr_params *p, const char *name); /* NULL and VALUE: none */
/* Zeros like each of them, under the same names: an optimizer's state. */
FR_API fr_params *fr_params_like(const fr_params *p);
/* As safetensors, which Module.load_weights of Python reads; what Module.save_weights wrote, too.
 * Loading wants the same names and shapes (VALUE) and casts to the dtypes that are there. */
FR_API int fr_params_save(const fr_params *p, const char *path);
FR_API int fr_params_load(fr_params *p, const char *path);
/* out = fn(in), and the gradients of out[0], which must be 0-d, with respect to the parameters, in
 * their order: fr_value_and_grad with parameters that fn finds in the set, by fr_params_get or the
 * layers below. What shall not be trained stands in another set. 0, or -1 (VALUE also where fn
 * added a parameter).
 *   static int loss(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
 *   {
 *       fr_array *logits = fr_params_linear(model, "head", in[0]);
 *       return (out[0] = fr_mean(fr_cross_entropy(logits, in[1]), NULL)) ? 0 : -1;
 *   }
 *   ...
 *   fr_params_value_and_grad(model, loss, NULL, 2, in, 1, &value, grads) */
FR_API int fr_params_value_and_grad(fr_params *p, fr_fn *fn, void *ctx, int n_in,
                                    fr_array *const *in, int n_out, fr_array **out,
                                    fr_array **grads);

/* ---- layers -------------------------------------------------------------------------------- */

/* x [..., in] times the transposed w [out, in], plus b [out] or NULL: nothing. */
FR_API fr_array *fr_linear(fr_array *x, fr_array *w, fr_array *b);
/* fr_conv, channels last, plus b [O] or NULL: nothing. w [O, window ..., C / groups] */
FR_API fr_array *fr_convolution(fr_array *x, fr_array *w, fr_array *b,
                                const fr_conv_options *options);
/* The rows of table [n, dims] at places of an integer dtype [...]: [..., dims].
 * VALUE   table is not of two dimensions */
FR_API fr_array *fr_embedding(fr_array *table, fr_array *places);
/* A first weight [out, ..., in] for fr_linear and fr_convolution: even between -1 and 1 over the root
 * of the number of inputs. float32 */
FR_API fr_array *fr_init_weight(const int64_t *shape, int ndim, fr_array *key);

/* To mean 0 and variance 1, then times w and plus b (each may be NULL). x of float16 or bfloat16 is
 * taken as float32 meanwhile; the result has x's dtype. eps is added to variances (1e-5, mostly). */
/* Over the last axis. w, b [dims] */
FR_API fr_array *fr_layer_norm(fr_array *x, fr_array *w, fr_array *b, double eps);
/* Without the mean, by the root of the mean square. */
FR_API fr_array *fr_rms_norm(fr_array *x, fr_array *w, double eps);
/* x [N, ..., C] over all but N and each of so many groups of neighbouring channels. w, b [C]
 * VALUE   groups don't divide C */
FR_API fr_array *fr_group_norm(fr_array *x, int groups, fr_array *w, fr_array *b, double eps);
/* x [..., C] by a mean and a variance [C] for each channel: those of this batch while training
 * (fr_batch_statistics), running means of them afterwards, which are arrays of yours:
 *   running = 0.9 running + 0.1 of the batch, say, as auxiliary results of the loss. */
FR_API fr_array *fr_batch_norm(fr_array *x, fr_array *mean, fr_array *variance, fr_array *w,
                               fr_array *b, double eps);
/* Over all axes but the last; 0, or -1. */
FR_API int fr_batch_statistics(fr_array *x, fr_array **mean, fr_array **variance);

/* 0 with probability p, x / (1 - p) else. key NULL: the next of the process's sequence, which a
 * compiled function draws once, when it is traced: give it keys, by a slot that fr_random_next_slot splits.
 * VALUE   p below 0, or 1 and more */
FR_API fr_array *fr_dropout(fr_array *x, double p, fr_array *key);

FR_API fr_array *fr_relu(fr_array *x); /* max(x, 0) */
FR_API fr_array *fr_gelu(fr_array *x); /* x (1 + erf(x / sqrt(2))) / 2 */
FR_API fr_array *fr_silu(fr_array *x); /* x sigmoid(x) */

/* Attention in `heads` parts of the features, between projections by fr_linear:
 *   queries [B, L, .]   keys [B, S, .]   values [B, S, .]   result [B, L, dims of w->out]
 * Each query sees all keys, or those up to its own place (options->causal), or what options->mask
 * says, which broadcasts to [B, heads, L, S]: bool, or numbers that are added. options may be NULL;
 * its scale of 0: one over the root of a head's dims. Biases may be NULL. For self-attention
 * queries, keys and values are one array.
 * VALUE   the inputs are not of three dimensions, heads don't divide what is projected to */
typedef struct fr_multi_head_weights {
    fr_array *query, *key, *value, *out; /* [out, in] */
    fr_array *query_bias, *key_bias, *value_bias, *out_bias;
} fr_multi_head_weights;
FR_API fr_array *fr_multi_head_attention(fr_array *queries, fr_array *keys, fr_array *values,
                                         int heads, const fr_multi_head_weights *w,
                                         const fr_attention_options *options);

/* ---- layers by name: parameters that Python's modules of nn call the same ----------------------- */

/* Add "NAME.weight", and "NAME.bias" where there is one; NAME of less than 200 bytes. 0, or -1 and
 * nothing is added (VALUE: there is one of that name, or the shape can't be; LIMIT: a longer name).
 * key NULL: the next of the process's sequence. */
/* For linear layers [out, in] and convolutions [O, window ..., C / groups], by fr_init_weight; the bias
 * [out] of zeros. */
FR_API int fr_params_add_weight(fr_params *p, const char *name, const int64_t *shape, int ndim,
                                bool bias, fr_array *key);
/* Ones [dims], the bias zeros. */
FR_API int fr_params_add_norm(fr_params *p, const char *name, int64_t dims, bool bias);
/* Normal numbers [n, dims] over the root of dims. */
FR_API int fr_params_add_embedding(fr_params *p, const char *name, int64_t n, int64_t dims,
                                   fr_array *key);
/* NAME.query_proj, NAME.key_proj, NAME.value_proj and NAME.out_proj, [dims, dims] each. */
FR_API int fr_params_add_attention(fr_params *p, const char *name, int64_t dims, bool bias,
                                   fr_array *key);

/* The layers above with "NAME.weight", and "NAME.bias" if it is there. VALUE: no such weight. */
FR_API fr_array *fr_params_linear(const fr_params *p, const char *name, fr_array *x);
FR_API fr_array *fr_params_convolution(const fr_params *p, const char *name, fr_array *x,
                                       const fr_conv_options *options);
FR_API fr_array *fr_params_embedding(const fr_params *p, const char *name, fr_array *places);
FR_API fr_array *fr_params_layer_norm(const fr_params *p, const char *name, fr_array *x,
                                      double eps);
FR_API fr_array *fr_params_rms_norm(const fr_params *p, const char *name, fr_array *x,
                                    double eps);
FR_API fr_array *fr_params_attention(const fr_params *p, const char *name, fr_array *queries,
                                     fr_array *keys, fr_array *values, int heads,
                                     const fr_attention_options *options);

/* ---- losses: one number for each example; fr_mean makes one of all -------------------------- */

/* -log softmax(logits) at class indices along the last axis.
 *   logits [..., classes]    targets [...] of an integer dtype    result [...]
 * VALUE   targets are not logits without the last axis
 * TYPE    targets are not integers */
FR_API fr_array *fr_cross_entropy(fr_array *logits, fr_array *targets);
/* By logits, for targets of 0 to 1. */
FR_API fr_array *fr_binary_cross_entropy(fr_array *logits, fr_array *targets);
FR_API fr_array *fr_mse(fr_array *predictions, fr_array *targets); /* squared differences */

/* ---- optimizers ---------------------------------------------------------------------------- */

/* They assign new parameters and state to the variables, plainly, as functions with slots do: call
 * them in such a function. 0 or -1, and nothing is assigned then. What they assign has the dtype of
 * what was there.
 *
 * rate is 0-d, and may change from step to step: as an input of the compiled step, or as a slot of
 * it, a variable of yours that you or the step assign (a schedule). Neither compiles again, as long as
 * it is of one dtype: fr_full's, not the weak one of fr_number. An array that the step uses without
 * either is a constant of its program, whatever you assign later. */

typedef struct fr_sgd_options {
    double momentum, weight_decay;
    bool nesterov;
} fr_sgd_options;
/* v = momentum v + grad + weight_decay p;  p = p - rate v (nesterov: p - rate (grad + momentum v))
 * v: velocities, which start as zeros; NULL without momentum. VALUE: momentum without v. */
FR_API int fr_sgd(int n, fr_array **params, fr_array *const *grads, fr_array **v,
                  fr_array *rate, const fr_sgd_options *options);

typedef struct fr_adam_options {
    double beta1, beta2, eps; /* 0: 0.9, 0.999, 1e-8 */
    double weight_decay;      /* AdamW's: not through the moments */
    bool no_bias_correction;  /* as Python's Adam does unless bias_correction=True */
} fr_adam_options;
/* m = beta1 m + (1 - beta1) grad;  v = beta2 v + (1 - beta2) grad^2;  p = p - rate m / (sqrt(v) + eps)
 * with m and v divided by 1 - beta^steps before (bias correction), and p times 1 - rate weight_decay.
 * m, v: start as zeros (fr_params_like); step: how many were taken, a float32 that starts at 0. */
FR_API int fr_adam(int n, fr_array **params, fr_array *const *grads, fr_array **m, fr_array **v,
                   fr_array **step, fr_array *rate, const fr_adam_options *options);

/* The same for a whole set. Their state is a set, too, which can be saved: of SGD fr_params_like(p) (or
 * NULL without momentum), of Adam "m.NAME" and "v.NAME" of each and "step".
 * VALUE   the state is not of this set */
FR_API fr_params *fr_adam_state(const fr_params *p);
FR_API int fr_params_sgd(fr_params *p, fr_array *const *grads, fr_params *velocities,
                         fr_array *rate, const fr_sgd_options *options);
FR_API int fr_params_adam(fr_params *p, fr_array *const *grads, fr_params *state,
                          fr_array *rate, const fr_adam_options *options);

#ifdef __cplusplus
}
#endif
#endif
