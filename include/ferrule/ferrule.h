/* ferrule.h - lazy arrays, fused kernels, compile: the C API. The header is the manual.
 *
 *     fr_scope *s = fr_scope_open();
 *     fr_array *x = fr_random_normal((int64_t[]){1024, 1024}, 2, FR_FLOAT32, NULL);
 *     fr_array *y = fr_sum(fr_mul(fr_exp(x), 0.5), NULL);
 *     double v;
 *     if (fr_item(y, &v)) puts(fr_error_message());
 *     fr_scope_close(s);
 *
 * Laziness. An operation only notes what to compute. fr_eval, or anything that needs values
 * (fr_item, fr_copy_out ...), computes: loose operations are bound into as few kernels as can be.
 *
 * Ownership. The result of an operation belongs to the innermost open scope of the thread, and
 * goes when that closes. fr_keep makes a reference of your own, fr_free gives it back. While no
 * scope is open a result belongs to the caller, who must fr_free it (bindings live like that).
 * Arguments are never taken over.
 *
 * Errors stick. A wrong argument makes an operation return NULL and leaves a message; NULL in
 * gives NULL out; while an error is set every operation returns NULL at once. So an expression
 * is checked once, at its end: functions that return int give 0 on success and -1 on error.
 * The message is the thread's, says which operation and which shapes, and stays until
 * fr_error_clear(). Nothing is changed by a call that fails; the library never exits or prints.
 *
 * Threads. Any function may be called from any thread; arrays may be shared. An error, a scope
 * and the current stream belong to one thread.
 */
#ifndef FERRULE_H
#define FERRULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FR_API __attribute__((visibility("default")))
#define FR_VERSION "0.1.0"
#define FR_MAX_NDIM 32

FR_API const char *fr_version(void); /* of the library in use */

/* ---- element types -------------------------------------------------------------------- */

// clang-format off
typedef enum fr_dtype {
    FR_BOOL,
    FR_UINT8, FR_UINT16, FR_UINT32, FR_UINT64,
    FR_INT8, FR_INT16, FR_INT32, FR_INT64,
    FR_FLOAT16, FR_BFLOAT16, FR_FLOAT32, FR_FLOAT64,
    FR_COMPLEX64, /* two float32: real part, imaginary part */
    FR_DTYPE_COUNT
} fr_dtype;
// clang-format on

FR_API const char *fr_dtype_name(fr_dtype d); /* "float32" */
FR_API size_t fr_dtype_size(fr_dtype d);      /* bytes of an element */
/* The type both operands are brought to: bool < unsigned < signed < float, wider first; mixed
 * signs take the next wider signed type; float16 with bfloat16 gives float32; an integer with a
 * float gives that float; complex64 with anything gives complex64. */
FR_API fr_dtype fr_promote(fr_dtype a, fr_dtype b);

/* ---- errors --------------------------------------------------------------------------- */

typedef enum fr_error_kind {
    FR_OK,
    FR_ERROR_VALUE,    /* a shape, range or argument that cannot be */
    FR_ERROR_TYPE,     /* a dtype or kind of argument that cannot be */
    FR_ERROR_INDEX,    /* an index outside its axis, an axis that is not there */
    FR_ERROR_MEMORY,   /* no memory for it */
    FR_ERROR_IO,       /* a file or the system refused */
    FR_ERROR_TRACE,    /* a placeholder used where a value is needed */
    FR_ERROR_DEVICE,   /* the device is missing or failed */
    FR_ERROR_LIMIT,    /* larger than the library allows */
    FR_ERROR_CALLBACK, /* a function of yours returned nonzero without an error of ours */
    FR_ERROR_INTERNAL, /* a bug of ours */
} fr_error_kind;

FR_API fr_error_kind fr_error(void);       /* of this thread; FR_OK when none */
FR_API const char *fr_error_message(void); /* "" when none; until the thread's next error */
FR_API void fr_error_clear(void);
FR_API void fr_error_set(fr_error_kind kind, const char *message); /* for functions of yours */

/* ---- scopes and references ------------------------------------------------------------- */

typedef struct fr_array fr_array;
typedef struct fr_scope fr_scope;

/* Scopes nest, the innermost of the thread counts. Closing one closes those inside it that were
 * left open. NULL: no memory (the error says so); closing NULL does nothing. */
FR_API fr_scope *fr_scope_open(void);
FR_API void fr_scope_close(fr_scope *s);

FR_API fr_array *fr_keep(fr_array *x); /* gives x, with a reference of your own; NULL: NULL */
FR_API void fr_free(fr_array *x);      /* gives back a reference of yours; NULL: nothing */
/* For bindings: makes sure that x, a result just returned, is a reference of the caller's own:
 * fr_keep if a scope is open (which owns x), nothing otherwise. */
FR_API fr_array *fr_own(fr_array *x);

/* ---- arrays ---------------------------------------------------------------------------- */

FR_API int fr_ndim(const fr_array *x);             /* -1: x is NULL */
FR_API const int64_t *fr_shape(const fr_array *x); /* ndim sizes, as long as x lives */
/* The same for bindings that hand sizes on to operations: doesn't count as asking for a size
 * (fr_compile_options.shapeless). */
FR_API const int64_t *fr_dims(const fr_array *x);
FR_API int64_t fr_size(const fr_array *x); /* number of elements */
FR_API size_t fr_nbytes(const fr_array *x);
FR_API fr_dtype fr_dtype_of(const fr_array *x);
/* True if values are there already (no pending work). */
FR_API bool fr_is_done(const fr_array *x);
typedef enum fr_device_kind { FR_CPU, FR_GPU } fr_device_kind;
/* The kind of device that its values lie on, or will be computed on. */
FR_API fr_device_kind fr_device_of(const fr_array *x);
/* True if x was made from a placeholder of a trace (and so has no value). */
FR_API bool fr_is_traced(const fr_array *x);
/* For bindings: what a call asks of its arguments, of all at once. What any of them is, as a sum. */
enum { FR_ANY_TRACED = 1, FR_ANY_TAPED = 2 /* fr_is_taped */, FR_ANY_PENDING = 4 };
FR_API unsigned fr_any_is(int n, fr_array *const *x);

/* A copy of contiguous (row-major) data. shape may be NULL if ndim is 0.
 * NULL: a negative size, more than FR_MAX_NDIM dimensions, no memory. */
FR_API fr_array *fr_from_data(const void *data, fr_dtype dtype, const int64_t *shape, int ndim);
/* Uses memory of yours without a copy. strides in bytes, NULL for contiguous; they must be
 * multiples of the element's size and data aligned to it. release(ctx) is called once, when no array uses it any more
 * (from any thread); if the call fails it is not called. The data must not change meanwhile. */
FR_API fr_array *fr_from_buffer(void *data, fr_dtype dtype, const int64_t *shape, int ndim,
                                const int64_t *strides, void (*release)(void *ctx), void *ctx);
FR_API fr_array *fr_full(const int64_t *shape, int ndim, double value, fr_dtype dtype);
FR_API fr_array *fr_zeros(const int64_t *shape, int ndim, fr_dtype dtype);
FR_API fr_array *fr_ones(const int64_t *shape, int ndim, fr_dtype dtype);
/* start, start+step ... below (for a negative step above) stop: ceil((stop-start)/step) values. */
FR_API fr_array *fr_arange(double start, double stop, double step, fr_dtype dtype);
/* A number as a 0-d array. strong: of dtype float32, int32, bool. weak (what numbers in an
 * expression are): takes the other operand's dtype, unless that is of a lower kind (an int
 * array plus 0.5 is float32). A weak number alone evaluates to the strong dtype. */
FR_API fr_array *fr_number(double v);
FR_API fr_array *fr_number_int(int64_t v);
FR_API fr_array *fr_number_bool(bool v);
FR_API fr_array *fr_number_complex(double re, double im); /* weak complex64 */
FR_API bool fr_is_weak(const fr_array *x);

/* ---- values ----------------------------------------------------------------------------- */

/* Computes x, and what stands on the way that somebody holds; waits for it. 0, or -1. */
FR_API int fr_eval(fr_array *x);
FR_API int fr_eval_all(int n, fr_array *const *x);
/* The same, but what runs on a GPU is queued and not waited for: whoever reads a value waits, and a
 * fault on the device is an error there, or at fr_synchronize. On the CPU: fr_eval_all. */
FR_API int fr_async_eval(int n, fr_array *const *x);
/* For bindings: while this thread computes, poll(ctx) is called between two kernels, at most ten
 * times a second. Nonzero stops the evaluation with a CALLBACK error (or one that poll has set);
 * nothing has changed then. NULL: no more. */
FR_API void fr_set_poll(int (*poll)(void *ctx), void *ctx);
/* The one element of x (any shape of size 1); evaluates. -1: more elements, complex64 where a real
 * number is asked for (TYPE), or as fr_eval. */
FR_API int fr_item(fr_array *x, double *to);
FR_API int fr_item_int(fr_array *x, int64_t *to);
FR_API int fr_item_complex(fr_array *x, double to[2]); /* real part, imaginary part */
/* All elements in row-major order into `to`, which has room for `bytes` = fr_nbytes(x) exactly. */
FR_API int fr_copy_out(fr_array *x, void *to, size_t bytes);
/* Where the values lie (evaluates). The memory belongs to x and must not be written to; valid
 * while x has a reference. */
typedef struct fr_view {
    const void *data;
    fr_dtype dtype;
    int ndim;
    int64_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM]; /* strides in bytes */
} fr_view;
FR_API int fr_access(fr_array *x, fr_view *to);
/* x as text in the form `array([[1, 2], [3, 4]], dtype=int32)`, large axes abbreviated with
 * "..."; evaluates. To be freed with fr_text_free. NULL: as fr_eval. */
FR_API char *fr_to_text(fr_array *x);
FR_API void fr_text_free(char *text);
/* How many decimals floats are printed with, at most 60; below 0, as at start: six digits that
 * count. Gives what was before. */
FR_API int fr_print_decimals(int n);

/* ---- shape: views that copy nothing --------------------------------------------------------
 * All give NULL when the shapes don't fit. Negative axes count from the end. */

/* One size may be -1: what is left. Copies only where strides don't allow a view. */
FR_API fr_array *fr_reshape(fr_array *x, const int64_t *shape, int ndim);
FR_API fr_array *fr_transpose(fr_array *x, const int *axes,
                              int naxes); /* axes NULL: reversed */
FR_API fr_array *fr_broadcast_to(fr_array *x, const int64_t *shape, int ndim);
/* The common shape of n arrays; -1 with an error naming the first pair that doesn't fit. */
FR_API int fr_broadcast_shapes(int n, fr_array *const *x, int64_t shape[FR_MAX_NDIM]);
FR_API fr_array *fr_squeeze(fr_array *x, const int *axes,
                            int naxes); /* axes NULL: all of size 1 */
FR_API fr_array *fr_expand_dims(fr_array *x, const int *axes,
                                int naxes);                   /* axes of the result */
FR_API fr_array *fr_flatten(fr_array *x, int start, int end); /* axes start..end become one */
/* For each dimension elements start, start+step, ... `count` of them; all in range, any sign of
 * step but 0 (a caller with Python's rules normalises first). */
FR_API fr_array *fr_slice(fr_array *x, const int64_t *start, const int64_t *step,
                          const int64_t *count);
FR_API fr_array *fr_contiguous(fr_array *x); /* the same values, row-major in memory */

/* ---- parts put together: each part is written in place by the kernel that makes it ----------- */

/* x with v (cast, broadcast to shape count) in place of the elements that fr_slice gives. */
FR_API fr_array *fr_slice_update(fr_array *x, fr_array *v, const int64_t *start,
                                 const int64_t *step, const int64_t *count);
/* One after the other along an axis; dtypes promote. NULL: shapes differ elsewhere, no arrays. */
FR_API fr_array *fr_concatenate(int n, fr_array *const *x, int axis);
FR_API fr_array *fr_stack(int n, fr_array *const *x, int axis); /* along a new axis */
/* So many elements of value (0-d; NULL: 0) before and after each axis. */
FR_API fr_array *fr_pad(fr_array *x, const int64_t *before, const int64_t *after,
                        fr_array *value);

/* x's elements at integer indices along an axis: shape x[:axis], indices, x[axis+1:]. Indices below 0
 * count from the end; beyond either end the nearest element is read (nothing is checked: indices
 * are computed late). INDEX: the axis is empty; TYPE: indices are not integers. */
FR_API fr_array *fr_take(fr_array *x, fr_array *indices, int axis);

/* Matrix product over the last two dimensions; the others broadcast.
 *   a [..., m, k]    b [..., k, n]    result [..., m, n]
 * dtype   promoted; float16 and bfloat16 accumulate in float32, narrow integers wrap
 * A vector counts as one row on the left, one column on the right, and that dimension goes again.
 * VALUE   k differs, the leading dimensions don't broadcast, a 0-d operand; TYPE: bool */
FR_API fr_array *fr_matmul(fr_array *a, fr_array *b);

/* ---- operations element by element: ferrule/ops.h, made from the table src/op/ops.def -------
 * And some that are made of those. */

/* x, but not below low nor above high (which broadcast and promote); one of them may be NULL.
 * NaN stays. NULL: both bounds are NULL. */
FR_API fr_array *fr_clip(fr_array *x, fr_array *low, fr_array *high);
/* To so many decimals, halves to even; negative: to tens, hundreds ... The dtype stays. It scales,
 * rounds and scales back, so a decimal that is no float (0.15) counts as the float it is. */
FR_API fr_array *fr_round(fr_array *x, int decimals);
/* Numbers in place of NaN and infinities. posinf, neginf: HUGE_VAL and -HUGE_VAL stand for the
 * greatest and the least finite number of x's dtype. */
FR_API fr_array *fr_nan_to_num(fr_array *x, double nan, double posinf, double neginf);
/* x with the sign of its imaginary part turned round; a real x as it is. */
FR_API fr_array *fr_conjugate(fr_array *x);
/* bool: x equals y or |x - y| <= atol + rtol |y|. An infinity is near itself only. */
FR_API fr_array *fr_isclose(fr_array *x, fr_array *y, double rtol, double atol, bool equal_nan);

/* ---- reductions -------------------------------------------------------------------------- */

typedef struct fr_reduce_options {
    const int *axes; /* NULL: all axes */
    int naxes;
    bool keepdims;
    double ddof;     /* var, std: divides by n - ddof */
} fr_reduce_options; /* options NULL: all axes, no keepdims, ddof 0 */

/* sum, prod: bool, 8 and 16-bit integers add up as int32 (uint32 for unsigned); others keep
 * their dtype, float16 and bfloat16 accumulate in float32. mean, var: integers give float32.
 * Sums are made in fixed blocks and lanes: the same for any number of threads.
 * min, max: NaN if there is one; NULL for an empty axis. An empty sum is 0, a product 1,
 * any false, all true, a mean NaN. */
FR_API fr_array *fr_sum(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_prod(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_max(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_min(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_any(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_all(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_mean(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_var(fr_array *x,
                        const fr_reduce_options *options); /* two-pass: exact means */
FR_API fr_array *fr_std(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_logsumexp(fr_array *x, const fr_reduce_options *options);
FR_API fr_array *fr_softmax(fr_array *x,
                            const fr_reduce_options *options); /* keeps x's shape */

#include "ferrule/sort.h"

/* ---- conversions --------------------------------------------------------------------------- */

/* Float to integer truncates, NaN gives 0, beyond the range saturates; integer to narrower
 * integer keeps the low bits; to bool: not zero; complex64 to a real type: the real part. */
FR_API fr_array *fr_astype(fr_array *x, fr_dtype dtype);

/* ---- random numbers: Threefry-2x32 (Salmon et al. 2011), counter-based: the same on every
 * device and for any number of threads. A key is uint32[2]; NULL takes the next one of the
 * process's sequence, which fr_random_seed restarts. */
FR_API int fr_random_seed(uint64_t seed);
FR_API fr_array *fr_random_key(uint64_t seed);
FR_API fr_array *fr_random_split(fr_array *key, int n); /* uint32 [n, 2] */
FR_API fr_array *fr_random_bits(const int64_t *shape, int ndim, fr_array *key); /* uint32 */
FR_API fr_array *fr_random_uniform(const int64_t *shape, int ndim, fr_dtype dtype,
                                   fr_array *key); /* [0, 1) */
FR_API fr_array *fr_random_normal(const int64_t *shape, int ndim, fr_dtype dtype,
                                  fr_array *key); /* mean 0, variance 1 */

/* ---- compile --------------------------------------------------------------------------------- */

/* A function of arrays: writes n_out results (references as operations give them: it runs in a
 * scope). 0, or nonzero: an error, set or not. It is run with placeholders, once for each new
 * combination of shapes and dtypes; afterwards its program is. It should have no side effects. */
typedef int fr_fn(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out);
typedef struct fr_function fr_function;

typedef struct fr_compile_options {
    const char *name;            /* for messages; copied */
    void (*free_ctx)(void *ctx); /* called when the function goes */
    int cache_limit;             /* programs kept, least recently used go first; 0: the
                                  * process's limit (fr_compile_cache_limit) */
    bool strict;                 /* VALUE where it uses an array that isn't handed to it, which
                                  * would be a constant of the program */
    bool
        check; /* each call runs operation by operation as well; INTERNAL naming the first operation
                 * whose value is another one, beyond rounding */
    bool shapeless; /* a program serves other sizes too, where that is safe: not if the
                                  * function asks for one (fr_shape, fr_size, fr_nbytes), nor where
                                  * what it does is not told by shapes alone */
    /* Captured state: variables of yours that hold arrays (references of yours, never NULL). The
     * function reads and assigns them plainly (no fr_keep, no fr_free); each call reads them before and puts new arrays
     * there after (references of yours; the old ones are freed, or, where nobody else has a reference, may be
     * the new ones: updated in place). A call that fails leaves them as
     * they were. Calls of one function with state go one after the other. */
    int nslots;
    fr_array ***slots; /* copied; the variables must outlive the function */
} fr_compile_options;

FR_API fr_function *fr_compile(fr_fn *fn, void *ctx, const fr_compile_options *options);
/* Runs at once: results are done on return (and owned as an operation's). With a traced array
 * among its inputs it runs fn inline instead. */
FR_API int fr_call(fr_function *f, int n_in, fr_array *const *in, int n_out, fr_array **out);
FR_API fr_array *fr_call1(fr_function *f, fr_array *x); /* one in, one out */
FR_API void fr_function_free(fr_function *f);
FR_API void fr_function_clear(fr_function *f); /* forgets its programs */
/* How many programs each function keeps that has no limit of its own: sets it if above 0, gives
 * what it was. 256, or what FERRULE_COMPILE_CACHE_LIMIT says. */
FR_API int fr_compile_cache_limit(int programs);
/* True if this thread is inside a trace. A compiled function called there with arrays that have
 * values is run; with placeholders, its own or captured ones, it is a part of the graph. */
FR_API bool fr_is_tracing(void);

/* The pieces fr_call is made of, for bindings whose arguments have structure. key: bytes that
 * tell apart whatever of a call is not an array (structure, numbers, strings ...). */
typedef struct fr_program fr_program;
typedef struct fr_trace fr_trace;
FR_API fr_function *fr_function_new(const char *name, int cache_limit); /* 0: the process's */
FR_API void fr_function_strict(fr_function *f, bool strict);
FR_API void fr_function_check(fr_function *f, bool check);
FR_API void fr_function_shapeless(fr_function *f, bool shapeless);
/* The program of this key and these inputs' dtypes and shapes, a reference of the caller's; NULL
 * without an error: there is none yet. */
FR_API fr_program *fr_function_find(fr_function *f, const void *key, size_t key_bytes, int n_in,
                                    fr_array *const *in);
/* Gives n_in placeholders (the caller's references). Until end or abandon this thread is inside
 * the trace. origin: where the arguments come from ("train.py:31"), for messages; may be NULL. */
FR_API fr_trace *fr_trace_begin(fr_function *f, int n_in, fr_array *const *in,
                                fr_array **placeholders, const char *origin);
/* The same for a function that may be shapeless: such a one is traced with sizes that are not its
 * inputs', so that the program serves others. Where that trace fails, in whatever way (then
 * fr_trace_refuse it), or fr_trace_end gives NULL: clear the error and trace once more. */
FR_API fr_trace *fr_trace_begin_call(fr_function *f, const void *key, size_t key_bytes,
                                     int n_in, fr_array *const *in, fr_array **placeholders,
                                     const char *origin);
FR_API bool fr_trace_hides_sizes(const fr_trace *t);
FR_API void fr_trace_refuse(fr_trace *t, const void *key,
                            size_t key_bytes); /* fails: abandons t */
/* Ends the trace with these results, stores the program under the key and gives a reference to
 * it; NULL: an error, and nothing was stored. Frees t either way. */
FR_API fr_program *fr_trace_end(fr_trace *t, const void *key, size_t key_bytes, int n_out,
                                fr_array *const *out);
FR_API void fr_trace_abandon(fr_trace *t);
FR_API int fr_program_outputs(const fr_program *p);
FR_API int fr_program_run(fr_program *p, int n_in, fr_array *const *in, int n_out,
                          fr_array **out);
/* Results that replace inputs may be made in their memory. offer: says once which do (pairs' in and
 * out, in the order of results; 0 or -1); donations: those of them that the program can do. Calls of
 * one program from several threads may not offer at the same time. */
typedef struct fr_donation {
    int in, out;  /* numbers of an input and a result */
    size_t bytes; /* of it */
    int64_t runs; /* in which the result had the input's memory */
} fr_donation;
FR_API int fr_program_offer(fr_program *p, int n, const fr_donation *pairs);
FR_API bool fr_program_is_offered(const fr_program *p);
FR_API int fr_program_donations(const fr_program *p, int room, fr_donation *to);
/* Claims, before a run, the inputs of those donations for which which[i] is true; gives how many, and
 * which[i] is false for the others: each array must have two references, the caller's and that of a
 * variable which the result will be put into, and the caller sees to it that nobody takes it out of
 * there before this returns. Who does later waits for the run, and finds the result.
 * Where any were claimed fr_program_run_claimed must follow, with the same `in` and `which`. */
FR_API int fr_program_claim(fr_program *p, fr_array *const *in, bool *which);
FR_API int fr_program_run_claimed(fr_program *p, int n_in, fr_array *const *in, int n_out,
                                  fr_array **out, const bool *which);
FR_API void fr_program_free(fr_program *p);
/* A small value of the binding's (how to rebuild results), freed with the program. */
FR_API void fr_program_attach(fr_program *p, void *data, void (*release)(void *data));
FR_API void *fr_program_attached(const fr_program *p);
/* The arrays that were captured as constants: how many, and their bytes. */
FR_API int fr_program_captured(const fr_program *p, size_t *bytes);
FR_API fr_array *fr_program_constant(const fr_program *p, int i); /* the program's; or NULL */
/* The programs kept, last used first: writes references to the first `room`, gives how many. */
FR_API int fr_function_programs(fr_function *f, int room, fr_program **to);

/* One kernel (or native routine) of a program, for who asks. Texts live as long as the program. */
typedef struct fr_kernel_info {
    const char *ops; /* what it computes, in order: "exp mul reduce_sum" */
    const char *why; /* why it isn't part of the kernel that wants its result; "a result" */
    size_t reads, writes; /* bytes, each input and each result counted once */
    int64_t range;        /* of its root loop */
    int64_t runs;         /* so far, of this program and of those that share it */
    double seconds;       /* of one run, the mean of those that were timed; 0: none yet */
    int machine_code;     /* 1; 0: the interpreter runs it so far */
} fr_kernel_info;
/* Writes the first `room` of them, gives how many there are. */
FR_API int fr_program_kernels(const fr_program *p, int room, fr_kernel_info *to);
/* Why it was traced: "first call", "input 0 is float32[3], was float32[2] (dimension 0)" ... */
FR_API const char *fr_program_why(const fr_program *p);
/* All programs of a function, why each was traced, constants, kernels, as text, to be freed with
 * fr_text_free. The same as data: fr_function_programs and the functions above. */
FR_API char *fr_explain(fr_function *f);

/* A number argument (whole: an integer within 32 bits) that was one value and is another. */
typedef struct fr_number_change {
    bool whole;
    double was, is;
} fr_number_change;
/* True if b is a but for these numbers, each used as an operand as it stands or not at all. */
FR_API bool fr_program_same_but(const fr_program *a, const fr_program *b, int n,
                                const fr_number_change *changes);
/* p with other numbers, for those that fr_program_same_but has approved: a reference of the
 * caller's, kept nowhere else, that shares all but the numbers with p. NULL: no memory. */
FR_API fr_program *fr_program_with(fr_program *p, int n, const fr_number_change *changes);

/* On: a NaN among the results of an evaluation or of a compiled function is a VALUE error that names
 * the operation, inside a fused kernel too, that made the first one of none, and where it was
 * called, if a binding said so. What came in as NaN is no error. Starts on if FERRULE_TRAP_NAN
 * is set. Costs a pass over results, and notes at each operation. */
FR_API void fr_debug_nans(bool on);
/* For bindings: whether somebody wants to know where arrays were made ("train.py:31"), and to say
 * so of a result of an operation and all that it was newly made of. */
FR_API bool fr_places_wanted(void);
FR_API void fr_note_place(fr_array *x, const char *place);

/* Off: compiled functions run their function as it stands, lazily. Starts off if
 * FERRULE_DISABLE_COMPILE or MLX_DISABLE_COMPILE is set. */
FR_API void fr_compile_enable(bool on);
FR_API bool fr_compile_enabled(void);

#include "ferrule/fast.h"
#include "ferrule/transform.h"

/* ---- streams ---------------------------------------------------------------------------------- */

typedef struct fr_stream {
    uint16_t id;
} fr_stream; /* 0: the CPU's default stream */
/* How many devices there are. A GPU is looked for at the first asking (the driver is opened then; no
 * toolkit is needed); FERRULE_CUDA=0 doesn't look. */
FR_API int fr_device_count(fr_device_kind kind);
/* Why there is no device of this kind; "" where there is one. The library's text. */
FR_API const char *fr_device_missing(fr_device_kind kind);
typedef struct fr_device_info {
    fr_device_kind kind;
    int index, units; /* units: processors; of a GPU: multiprocessors */
    int capability;   /* of a GPU: 90 for sm_90 */
    size_t memory;    /* bytes in all */
    char name[96];    /* "NVIDIA H100 80GB HBM3" */
} fr_device_info;
FR_API int fr_device_about(fr_device_kind kind, int index,
                           fr_device_info *to); /* -1: no such */
/* Of this thread: what new nodes record. It starts as the CPU's, or as that of the first GPU where
 * FERRULE_DEVICE=gpu. */
FR_API fr_stream fr_stream_current(void);
FR_API int fr_stream_set(fr_stream s); /* -1: no such stream */
/* The default stream of device number `index`, the same at every call; a further one of device 0; a
 * further one. What is in one stream runs in order; a stream that reads what another made waits for it.
 * DEVICE error: no such device; LIMIT: 4096 streams in all. They give stream 0 then. */
FR_API fr_stream fr_stream_default(fr_device_kind kind, int index);
FR_API fr_stream fr_stream_new(fr_device_kind kind);
FR_API fr_stream fr_stream_on(fr_device_kind kind, int index);
FR_API fr_device_kind fr_stream_device(fr_stream s);
FR_API int fr_stream_index(fr_stream s); /* the number of its device */
/* Waits for all that the stream has to do. -1: something failed on the device since the last wait. */
FR_API int fr_synchronize(fr_stream s);

/* ---- memory, threads, watching ------------------------------------------------------------------ */

typedef struct fr_memory_info {
    size_t active, peak, cached, limit, cache_limit;
} fr_memory_info; /* bytes */
/* Memory of the device that this thread's new nodes are computed on; limits, too. fr_clear_cache gives back the CPU's free blocks too. */
FR_API fr_memory_info fr_memory(void);
FR_API void fr_memory_reset_peak(void);
FR_API size_t fr_memory_set_limit(size_t bytes);       /* gives the old one */
FR_API size_t fr_memory_set_cache_limit(size_t bytes); /* gives the old one */
FR_API void fr_clear_cache(void);                      /* free blocks back to the system */

FR_API int fr_threads(void);
FR_API void fr_set_threads(int n); /* 0: as at start */

typedef enum fr_counter {
    FR_COUNT_KERNELS,  /* kernels launched */
    FR_COUNT_PROGRAMS, /* programs built: graphs that were simplified, fused, lowered, planned */
    FR_COUNT_TRACES,   /* compiled functions traced */
    FR_COUNT_GENERATED,   /* kernels turned into machine code by LLVM */
    FR_COUNT_DISK_HITS,   /* kernels loaded from the disk cache */
    FR_COUNT_INTERPRETED, /* launches that ran in the interpreter */
    FR_COUNTERS
} fr_counter;
FR_API int64_t fr_count(fr_counter what); /* of this process so far */

/* What evaluating x would do, as text: the trace after fusion and every kernel (what
 * FERRULE_DEBUG=3 and 4 print). To be freed with fr_text_free. Evaluates nothing. */
FR_API char *fr_describe(int n, fr_array *const *x);
/* The graph of these arrays for Graphviz: as it was written, after fusion with a box around each
 * kernel, or the kernels and what is stored between them. To be freed with fr_text_free. */
typedef enum fr_dot_level { FR_DOT_GRAPH, FR_DOT_TRACE, FR_DOT_KERNELS } fr_dot_level;
FR_API char *fr_dot(int n, fr_array *const *x, fr_dot_level level);
FR_API char *fr_program_dot(const fr_program *p); /* a program's kernels */
FR_API char *fr_program_describe(const fr_program *p);
/* Warnings that the library has for its user (no LLVM, a bad environment variable); each once;
 * NULL when there is none (left). Valid for ever. */
FR_API const char *fr_next_warning(void);

#include "ferrule/ops.h"
#include "ferrule/products.h"
#include "ferrule/dtypes.h"
#include "ferrule/shape.h"
#include "ferrule/conv.h"
#include "ferrule/random.h"
#include "ferrule/index.h"
#include "ferrule/io.h"
#include "ferrule/nn.h"

/* ---- sugar: numbers as operands, fr_mul(x, 0.5). C only; the plain functions stand behind. ------ */

FR_API fr_array *fr_operand_double(double v); /* a weak number that the operation takes over */
FR_API fr_array *fr_operand_int(long long v);
static inline fr_array *fr_operand_array(fr_array *x) { return x; }
#ifndef __cplusplus
#define FR_OPERAND(x)                                                                          \
    _Generic((x), double                                                                       \
             : fr_operand_double, float                                                        \
             : fr_operand_double, int                                                          \
             : fr_operand_int, long                                                            \
             : fr_operand_int, long long                                                       \
             : fr_operand_int, unsigned                                                        \
             : fr_operand_int, default                                                         \
             : fr_operand_array)(x)
#include "ferrule/sugar.h" /* made from the table: #define fr_mul(a, b) ... */
#endif

#ifdef __cplusplus
}
#endif
#endif
