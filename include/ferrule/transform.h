/* transform.h - derivatives and batches of functions of arrays; included by ferrule.h
 *
 * A function is an fr_fn, as for fr_compile, and runs as it stands: it may look at values, call
 * compiled functions (which are inlined then) and the functions here, in any nesting. What comes
 * out are lazy arrays like any other: they can be differentiated, batched and compiled again.
 */
#ifndef FERRULE_TRANSFORM_H
#define FERRULE_TRANSFORM_H

#ifdef __cplusplus
extern "C" {
#endif

/* ---- derivatives ------------------------------------------------------------------------------
 * Results, gradients and tangents are written as an operation's results. An argument that the
 * result doesn't depend on has a gradient of zeros. What is not differentiable (comparisons, a
 * cast to integers, indices) passes nothing on. docs/transforms.md has what holds at ties, zeros
 * and infinities. */

/* out = fn(in), and the gradient of out[0], which must be 0-d, with respect to in[args[i]], in
 * grads[i]. args NULL: the first n_args. Results beyond out[0] are auxiliary. 0 or -1.
 * VALUE   out[0] is no scalar, an argument's number is out of range or there twice */
FR_API int fr_value_and_grad(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_args,
                             const int *args, int n_out, fr_array **out, fr_array **grads);
/* The gradient of a function of one array (and of nothing else) with a scalar result. */
FR_API fr_array *fr_grad(fr_fn *fn, void *ctx, fr_array *x);
/* out = fn(in), and cotangents times the Jacobian: in[i]'s part in grads[i]. A cotangent has the
 * shape of its result; NULL: zero. */
FR_API int fr_vjp(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_out,
                  fr_array *const *cotangents, fr_array **out, fr_array **grads);
/* out = fn(in), and the Jacobian times tangents, one for each argument and of its shape (NULL:
 * zero): what each result changes by, in changes[i]. */
FR_API int fr_jvp(fr_fn *fn, void *ctx, int n_in, fr_array *const *in,
                  fr_array *const *tangents, int n_out, fr_array **out, fr_array **changes);
/* x, with no derivative: a constant to whatever differentiates. */
FR_API fr_array *fr_stop_gradient(fr_array *x);

/* The pieces they are made of, for bindings. Between begin and end this thread differentiates what
 * it makes from the aliases (results: the same values as in). Gradients may be asked for more than
 * once, of any arrays made meanwhile. cotangents[i] NULL: zero. Tapes of a thread nest. */
typedef struct fr_tape fr_tape;
FR_API fr_tape *fr_tape_begin(int n, fr_array *const *in, fr_array **aliases);
FR_API int fr_tape_gradients(fr_tape *t, int n_out, fr_array *const *out,
                             fr_array *const *cotangents, fr_array **grads);
FR_API int fr_tape_tangents(fr_tape *t, fr_array *const *tangents, int n_out,
                            fr_array *const *out, fr_array **changes);
FR_API void fr_tape_end(fr_tape *t);
/* True while x was made from an alias of a tape that has not ended: fr_call runs a function inline. */
FR_API bool fr_is_taped(const fr_array *x);

/* ---- batches ----------------------------------------------------------------------------------
 * out = fn for each element of a batch: the function is run once, with placeholders of one
 * element, and its graph made again for all at once. So it can't look at values that depend on the
 * batch (TRACE). in_axes[i]: the axis of in[i] that counts the batch, FR_NO_AXIS: the same for all;
 * out_axes[i]: where the result has it, FR_NO_AXIS: not at all (VALUE if it depends on the batch). Negative axes
 * count from the end; NULL: all 0.
 * VALUE   sizes differ, no axis at all; INDEX: an axis is not there */
#define FR_NO_AXIS INT32_MIN
FR_API int fr_vmap(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, const int *in_axes,
                   int n_out, fr_array **out, const int *out_axes);

/* The pieces, for bindings. begin gives what to call the function with (results); name and place
 * are for messages and may be NULL. end frees b either way. */
typedef struct fr_batch fr_batch;
FR_API fr_batch *fr_batch_begin(int n, fr_array *const *in, const int *axes,
                                fr_array **placeholders, const char *name, const char *place);
FR_API int fr_batch_end(fr_batch *b, int n_out, fr_array *const *out, const int *axes,
                        fr_array **results);
FR_API void fr_batch_abandon(fr_batch *b);

/* ---- functions with rules of their own ---------------------------------------------------------- */

/* What transformations do instead of going through a function. Each may be NULL: they go through
 * it. Results are written as an operation's (in a scope); 0, or nonzero as an fr_fn. */
typedef struct fr_custom_rules {
    /* Cotangents of the arguments, NULL (as they are at first) for zero. What the function captured
     * gets none. */
    int (*vjp)(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array *const *cotangents,
               fr_array *const *out, fr_array **grads);
    /* tangents[i] NULL: zero. changes: all of them. Linear in the tangents. */
    int (*jvp)(void *ctx, int n_in, fr_array *const *in, fr_array *const *tangents, int n_out,
               fr_array **changes);
    /* Results for a batch: in_axes[i] 0 or FR_NO_AXIS; out_axes to be set. */
    int (*vmap)(void *ctx, int n_in, fr_array *const *in, const int *in_axes, int n_out,
                fr_array **out, int *out_axes);
    /* In place of vjp: the function again, whose derivative is taken then (and of what it
     * captured too), so that nothing of its first run need be kept. */
    fr_fn *again;
    void (*free_ctx)(void *ctx); /* when no array needs the rules any more; from any thread */
} fr_custom_rules;

/* out = fn(in), with these rules; ctx is fn's and theirs. */
FR_API int fr_custom(fr_fn *fn, const fr_custom_rules *rules, void *ctx, int n_in,
                     fr_array *const *in, int n_out, fr_array **out);
/* The same with the function run already: marked[i] stands for out[i]. */
FR_API int fr_custom_results(const fr_custom_rules *rules, void *ctx, int n_in,
                             fr_array *const *in, int n_out, fr_array *const *out,
                             fr_array **marked);
/* out = fn(in); where it is differentiated fn runs once more, on the same arguments, instead of its
 * intermediate values being kept. fn and ctx must last until then. */
FR_API int fr_checkpoint(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_out,
                         fr_array **out);

#ifdef __cplusplus
}
#endif
#endif
