/* nn.h - networks from C: parameters with names, layers, losses, optimizers; over the other headers
 *
 * A model is a set of parameters and a function that uses them. A training step is a function whose
 * state are slots: fr_compile makes one program of forward, backward and update.
 */
#ifndef FERRULE_NN_H
#define FERRULE_NN_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameters --------------------------------------------------------------------------- */

/* Arrays with names like "layers.0.weight", in the order in which they were added. */
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
FR_API fr_array *fr_params_get(const fr_params *p, const char *name); /* NULL and VALUE: none */
/* Zeros like each of them, under the same names: an optimizer's state. */
FR_API fr_params *fr_params_like(const fr_params *p);
/* As safetensors, which Module.load_weights of Python reads; what Module.save_weights wrote, too.
 * Loading wants the same names and shapes (VALUE) and casts to the dtypes that are there. */
FR_API int fr_params_save(const fr_params *p, const char *path);
FR_API int fr_params_load(fr_params *p, const char *path);

/* ---- layers -------------------------------------------------------------------------------- */

/* x [..., in] times the transposed w [out, in], plus b [out] or NULL: nothing. */
FR_API fr_array *fr_linear(fr_array *x, fr_array *w, fr_array *b);
/* A first weight [out, ..., in] for fr_linear and fr_conv: even between -1 and 1 over the root of the
 * number of inputs. */
FR_API fr_array *fr_init_weight(const int64_t *shape, int ndim, fr_array *key);
/* Over the last axis; w and b may be NULL. */
FR_API fr_array *fr_layer_norm(fr_array *x, fr_array *w, fr_array *b, double eps);
FR_API fr_array *fr_rms_norm(fr_array *x, fr_array *w, double eps);
/* 0 with probability p, x / (1 - p) else. */
FR_API fr_array *fr_dropout(fr_array *x, double p, fr_array *key);

/* ---- losses: one number for each example; fr_mean makes one of all -------------------------- */

/* -log softmax(logits) at class indices along the last axis. */
FR_API fr_array *fr_cross_entropy(fr_array *logits, fr_array *targets);
/* By logits, for targets of 0 to 1. */
FR_API fr_array *fr_binary_cross_entropy(fr_array *logits, fr_array *targets);
FR_API fr_array *fr_mse(fr_array *predictions, fr_array *targets); /* squared differences */

/* ---- optimizers ---------------------------------------------------------------------------- */

/* They assign new parameters and state to the variables, plainly, as functions with slots do: call
 * them in such a function. 0 or -1, and nothing is assigned then. */

typedef struct fr_sgd_options {
    double momentum, weight_decay;
    bool nesterov;
} fr_sgd_options;
/* v: velocities, NULL without momentum. rate: 0-d. */
FR_API int fr_sgd(int n, fr_array **params, fr_array *const *grads, fr_array **v,
                  fr_array *rate, const fr_sgd_options *options);

typedef struct fr_adam_options {
    double beta1, beta2, eps; /* 0: 0.9, 0.999, 1e-8 */
    double weight_decay;      /* AdamW's: not through the moments */
    bool no_bias_correction;
} fr_adam_options;
/* m, v: means of gradients and their squares; step: how many were taken, a float32. */
FR_API int fr_adam(int n, fr_array **params, fr_array *const *grads, fr_array **m, fr_array **v,
                   fr_array **step, fr_array *rate, const fr_adam_options *options);

#ifdef __cplusplus
}
#endif
#endif
