/* ext.h - what the files of the Python extension share
 *
 *   module.c   the module: types, functions, constants
 *   error.c    the library's errors and warnings as Python's
 *   args.c     arguments: names to slots, axes, shapes, dtypes, operands
 *   dtype.c    mx.float32 and its kin
 *   array.c    the array type: attributes, operators, methods, the buffer protocol
 *   exchange.c DLPack, asarray, pickles, bytes
 *   complex.c  parts of complex numbers, bits as another dtype
 *   convert.c  Python numbers, lists and buffers to arrays; arrays to Python numbers and lists
 *   fast.c     the routines behind mx.fast
 *   index.c    x[...]: what an index means; index_write.c: x[...] = value; at.c: x.at[...]
 *   ops.c      functions: one for each row of the table of operations; the tables of functions
 *   call.c     calls of the composed functions (src/op/functions.def), whose bodies are in
 *              elementwise.c reduce.c shape.c layout.c create.c update.c gather.c
 *              products.c linalg.c
 *   compile.c  mx.compile; programs.c, vary.c
 *   tree.c     nested lists, tuples and dicts: flatten, key, rebuild
 *   objects.c  what ferrule._containers says of other objects
 *   state.c    the containers that a compiled function captures
 *   number.c   number arguments whose value doesn't matter to a trace
 *   explain.c  why programs were traced, and what they are
 *   wrapper.c  what makes compiled and transformed functions look like the function
 *   release.c  what the library holds of Python's, let go from any thread
 *   transforms.c  mx.grad, value_and_grad, vjp
 *   batch.c    mx.vmap
 *   custom.c   mx.custom_function, checkpoint
 *   leaves.c   the arrays in nested containers, for transformations
 *   stream.c   devices and streams
 *   random.c   mx.random
 *   memory.c   memory, threads, counters, describe
 *
 * Over the public header only. Every function is called with the GIL held; those that compute
 * release it meanwhile and hold references of their own to what they work on. A function that
 * fails has set a Python exception and cleared the library's error. No scope is opened here:
 * the result of an operation is the caller's, and py_wrap takes it over.
 */
#ifndef FERRULE_PYTHON_EXT_H
#define FERRULE_PYTHON_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ferrule/ferrule.h"

typedef PyObject *py_function(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names); /* METH_FASTCALL | METH_KEYWORDS */
#define PY_METHOD(name, function, doc)                                                         \
    {                                                                                          \
        name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, doc      \
    }
#define PY_END                                                                                 \
    {                                                                                          \
        NULL, NULL, 0, NULL                                                                    \
    }

/* ---- error.c -------------------------------------------------------------------------- */

extern PyObject *py_trace_error; /* ferrule.core.TraceError */
extern PyObject *py_dtype_error; /* ferrule.core.DtypeError */
/* The thread's library error as a Python exception (one that is set already stays); NULL. */
PyObject *py_raise(void);
int py_raise_int(void); /* the same, giving -1 */
/* Puts `function: ` before the message of the exception that is set where that doesn't have it: one of
 * Python's conversions, or an operation that the function is made of. Exceptions that Python code
 * raised stay as they are. NULL. */
void *py_name_error(const char *function);
int py_warn(void); /* the library's pending warnings, each once; -1: became an exception */
int py_error_init(PyObject *module);
/* As PyErr_Format; where an argument has no text (%R) its own error stands, which older Pythons lose. */
void *py_complain(PyObject *type, const char *format, ...);

/* ---- args.c --------------------------------------------------------------------------- */

typedef struct py_signature {
    const char *function;     /* for messages */
    int required, positional; /* the first so many must, the first so many may be positional */
    int positional_only;      /* the first so many can't be keywords */
    const char *names[10];    /* NULL-terminated */
} py_signature;
/* Puts arguments into `to`, one slot for each name, NULL where not given. 0 or -1. */
int py_parse(const py_signature *s, PyObject *const *args, Py_ssize_t n, PyObject *names,
             PyObject **to);

/* The one argument, by position or by its name; borrowed. NULL: raised. */
PyObject *py_parse_one(const char *function, const char *name, PyObject *const *args,
                       Py_ssize_t n, PyObject *names);

typedef struct py_axes {
    int at[FR_MAX_NDIM], n;
    bool all; /* None or not given */
} py_axes;
int py_read_axes(PyObject *axes, py_axes *to, const char *function);
/* An int, or a sequence of them. */
int py_read_shape(PyObject *shape, int64_t to[FR_MAX_NDIM], int *ndim, const char *function);
int py_read_ints(PyObject *const *items, Py_ssize_t n, int64_t to[FR_MAX_NDIM], int *count,
                 const char *function);
int py_read_dtype(PyObject *dtype, fr_dtype *to, const char *function); /* NULL, None: as is */
int py_read_bool(PyObject *value, bool *to);                            /* NULL: as is */
int py_read_int(PyObject *value, int *to);                              /* NULL: as is */
int py_read_number(PyObject *value, double *to);                        /* NULL, None: as is */
/* A 64-bit integer, no bool; `what` is its name in messages. NULL: as is. */
int py_read_int64(PyObject *value, int64_t *to, const char *function, const char *what);
/* The arrays of a sequence as references of the caller's (py_free_arrays); their number, or -1. */
Py_ssize_t py_read_arrays(PyObject *value, const char *function, fr_array ***to);
Py_ssize_t py_take_arrays(PyObject *const *items, Py_ssize_t n, const char *function,
                          fr_array ***to);
void py_free_arrays(fr_array **arrays, Py_ssize_t n);

/* Arrays, numbers (weak) and buffers as operands. `owned` is what must be freed, or NULL.
 * NULL without an exception: none of these. */
fr_array *py_operand(PyObject *value, fr_array **owned);
/* Of two operands one may be a buffer (numpy's): like a number it takes the dtype of the array beside
 * it, unless that is of a lower kind. given: what py_operand read, in place. */
int py_match_buffers(PyObject *const given[2], fr_array *at[2], fr_array *owned[2]);
/* The same; anything else is a TypeError naming the function. */
fr_array *py_need_operand(PyObject *value, fr_array **owned, const char *function);

/* Makes `stream=` the current stream until left. */
typedef struct py_stream_guard {
    fr_stream before;
    bool changed;
} py_stream_guard;
int py_stream_enter(PyObject *stream, py_stream_guard *guard, const char *function);
void py_stream_leave(const py_stream_guard *guard);

/* ---- call.c: the composed functions -------------------------------------------------- */

/* The body of a row of functions.def, and of its method: self is the array, or the module. */
#define PY_CALL(name)                                                                          \
    PyObject *py_call_##name(PyObject *self, PyObject *const *args, Py_ssize_t n,              \
                             PyObject *names)
#define PY_FUNCTION(name, ...) py_function py_call_##name;
#include "functions_py.inc"
enum {
#define PY_FUNCTION(name, ...) PY_SIGNATURE_OF_##name,
#include "functions_py.inc"
    PY_SIGNATURES
};
extern const py_signature py_signatures[PY_SIGNATURES];
#define PY_SIGNATURE(name) (&py_signatures[PY_SIGNATURE_OF_##name])

enum { PY_SLOTS = 10 };
/* A call between begin and end: arguments in the signature's slots, NULL where not given. */
typedef struct py_call {
    const char *function;
    fr_array *x; /* the first argument as an operand; NULL in a bare call */
    PyObject *at[PY_SLOTS];
    fr_array *owned[PY_SLOTS]; /* references that last until the end */
    py_stream_guard guard;
} py_call;

/* 0, or -1 with an exception and nothing to end. */
int py_begin_call(py_call *c, const py_signature *s, PyObject *self, PyObject *const *args,
                  Py_ssize_t n, PyObject *names);
int py_begin_bare_call(py_call *c, const py_signature *s, PyObject *const *args, Py_ssize_t n,
                       PyObject *names); /* whose first argument is no operand */
/* The argument of a slot as an operand, as long as the call; NULL: raised. */
fr_array *py_call_operand(py_call *c, int slot);
/* Each ends the call and gives what it is to return. */
PyObject *py_end_call(py_call *c, fr_array *result);         /* just returned; NULL: failed */
PyObject *py_end_call_with(py_call *c, fr_array *reference); /* ours already; NULL: failed */
PyObject *py_end_call_object(py_call *c, PyObject *result);  /* NULL: failed */
/* n arrays, each just returned, as a list or a tuple; n -1: failed. */
PyObject *py_end_call_all(py_call *c, int n, fr_array *const *results, bool tuple);
PyObject *py_fail_call(py_call *c); /* an exception, or an error of the library, is set */

typedef fr_array *py_reduction(fr_array *x, const fr_reduce_options *options);
PyObject *py_reduce(py_reduction *function, const py_signature *signature, PyObject *self,
                    PyObject *const *args, Py_ssize_t n, PyObject *names);

/* ---- dtype.c -------------------------------------------------------------------------- */

extern PyTypeObject py_dtype_type;
PyObject *py_dtype_object(fr_dtype dtype);           /* new reference; never fails */
bool py_dtype_value(PyObject *object, fr_dtype *to); /* false: not a dtype */
int py_dtype_init(PyObject *module);
extern PyMethodDef py_dtype_functions[]; /* what _dtypes.py is made of */

/* ---- array.c -------------------------------------------------------------------------- */

typedef struct py_array {
    PyObject_HEAD fr_array *node; /* a reference of ours; replaced by in-place operators */
    PyObject *weak;
} py_array;

extern PyTypeObject py_array_type;
/* Subclasses are made by Python's class statement: types on the heap. */
static inline bool py_is_array(PyObject *object)
{
    return Py_IS_TYPE(object, &py_array_type) ||
           (PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_HEAPTYPE) &&
            PyType_IsSubtype(Py_TYPE(object), &py_array_type));
}
static inline fr_array *py_node(PyObject *array) { return ((py_array *)array)->node; }
/* A handle on a result just returned by the library; NULL in: raises its error. */
PyObject *py_wrap(fr_array *result);
PyObject *py_adopt(fr_array *reference); /* the same for a reference that is ours already */
/* Evaluates without the GIL. 0 or -1 with an exception. */
int py_eval(fr_array *x);
int py_eval_all(int n, fr_array *const *x, bool wait); /* wait: for GPUs too */
void py_listen(void); /* before whatever computes for long: Ctrl-C can stop it */
int py_array_init(PyObject *module);

/* ---- convert.c ------------------------------------------------------------------------ */

bool py_is_buffer(PyObject *value); /* exports a buffer of numbers (bytes-like: not) */
fr_array *py_from_buffer(PyObject *value, bool double_to_float); /* NULL: raised */
/* Whatever mx.array() takes. dtype NULL: found from the values. */
fr_array *py_from_object(PyObject *value, const fr_dtype *dtype);
PyObject *py_to_list(fr_array *x);
PyObject *py_to_number(fr_array *x); /* of size 1 */

/* ---- exchange.c ----------------------------------------------------------------------- */

/* A copy of what an object exports by DLPack. NULL without an exception: it exports nothing. */
fr_array *py_from_dlpack(PyObject *value);
extern PyMethodDef py_exchange_functions[];
extern PyMethodDef py_exchange_methods[];

/* ---- complex.c ------------------------------------------------------------------------ */

PyObject *py_get_real(PyObject *self, void *closure);
PyObject *py_get_imag(PyObject *self, void *closure);

/* ---- index.c -------------------------------------------------------------------------- */

PyObject *py_subscript(PyObject *array, PyObject *index);
int py_assign(PyObject *array, PyObject *index, PyObject *value);
PyObject *py_get_at(PyObject *array, void *closure);
int py_at_init(PyObject *module);

/* ---- update.c -------------------------------------------------------------------------- */

PyObject *py_matmul(PyObject *left, PyObject *right);

/* ---- ops.c ---------------------------------------------------------------------------- */

extern PyMethodDef py_op_functions[];
extern PyMethodDef py_array_methods[];

/* ---- release.c ------------------------------------------------------------------------- */

/* What something that the library will let go of begins with. */
typedef struct py_release {
    struct py_release *next;           /* in the list of those to free */
    void (*free)(struct py_release *); /* with the GIL */
} py_release;
void py_release_now(void *held); /* from any thread, with or without the GIL */
void py_release_sweep(void);     /* frees those released without it */

/* ---- wrapper.c ------------------------------------------------------------------------- */

/* What a callable in front of a user's function begins with. */
typedef struct py_wrapper {
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun;
} py_wrapper;
PyObject *py_wrapper_getattro(PyObject *object, PyObject *name);
PyObject *py_wrapper_bind(PyObject *object, PyObject *instance, PyObject *type);
extern PyGetSetDef py_wrapper_attributes[]; /* __wrapped__, __doc__, __dict__ */

/* ---- tree.c --------------------------------------------------------------------------- */

/* What was seen of captured state: arrays and containers by identity, in order. */
typedef struct py_seen {
    struct {
        PyObject *object;
        Py_ssize_t number;
    } * slots;
    Py_ssize_t room, n;
    PyObject *containers, *arrays; /* lists */
} py_seen;
int py_seen_begin(py_seen *seen);
void py_seen_end(py_seen *seen);
/* 1: new; 0: seen before, as *number in the order of all; -1: raised. */
int py_seen_add(py_seen *seen, PyObject *object, Py_ssize_t *number);

enum { PY_NUMBERS = 16 };
/* The arrays of a call's arguments and the bytes that tell the rest of it apart. */
typedef struct py_flat {
    fr_array **arrays; /* references of ours */
    int n, room;
    char *key;
    size_t key_bytes, key_room;
    PyObject *pinned;             /* types whose address is in the key, or NULL */
    int numbers;                  /* plain ints and floats among the arguments */
    size_t number_at[PY_NUMBERS]; /* where in the key the first of them stand */
    py_seen *seen;                /* while captured state is read */
    const char *root;             /* of paths in messages */
    fr_array *few[8];
    char short_key[256];
} py_flat;
void py_flat_begin(py_flat *flat);
void py_flat_end(py_flat *flat);
bool py_any_taped(const py_flat *flat);
bool py_any_traced(const py_flat *flat); /* placeholders, or taped */
int py_flatten_call(py_flat *flat, PyObject *const *args, Py_ssize_t n, PyObject *names);
/* After it: the arrays and constants in captured containers. */
int py_flatten_state(py_flat *flat, PyObject *inputs, py_seen *seen);
/* Keyword arguments by name, as they are flattened: a list of (name, position). */
PyObject *py_keyword_order(PyObject *names);
/* A call's arguments again with other arrays: a new list of vectorcall arguments. numbers: what
 * takes the place of the plain ints and floats, NULL where they stay; or NULL. */
PyObject *py_rebuild_call(PyObject *const *args, Py_ssize_t n, PyObject *names,
                          fr_array *const *arrays, PyObject *const *numbers);

/* How to make a function's result from its arrays; let go of by py_release_now. */
typedef struct py_structure py_structure;
/* Splits a result: its arrays into flat (without a key). NULL: raised. */
py_structure *py_split_result(PyObject *result, const char *function, py_flat *flat);
PyObject *py_join_result(const py_structure *structure,
                         fr_array **arrays); /* takes them over */

bool py_same_structure(const py_structure *a, const py_structure *b);
PyObject **py_structure_about(py_structure *structure); /* what explain says; may be set */
int py_structure_arrays(const py_structure *structure); /* of the result alone */

/* All arrays in nested containers into flat; anything else is skipped. */
int py_collect(PyObject *const *trees, Py_ssize_t n, py_flat *flat);

/* ---- state.c -------------------------------------------------------------------------- */

/* The contents of captured containers, to be put back. */
typedef struct py_saved {
    py_seen all;       /* containers; those of the inputs first */
    PyObject *copies;  /* a list: their contents before */
    Py_ssize_t inputs; /* containers of the inputs */
} py_saved;
/* Saves the containers and puts placeholders in the place of the inputs' arrays. */
int py_state_enter(py_saved *saved, const py_seen *seen, PyObject *outputs,
                   fr_array *const *placeholders);
/* Adds what the outputs hold now to a result's structure, its arrays to flat. */
int py_state_split(py_structure *structure, PyObject *outputs, const py_saved *saved,
                   py_flat *flat);
/* Puts everything back as it was; an exception that is set stays. */
void py_state_leave(py_saved *saved);
/* Writes arrays, which it takes over, into the outputs as the structure says. All or nothing. */
int py_state_write(const py_structure *structure, PyObject *outputs, const py_seen *seen,
                   fr_array **arrays);

/* ---- number.c ------------------------------------------------------------------------- */

extern PyTypeObject py_number_type;
/* Stands for a number while a function is traced: an operand of + - * / with traced arrays, and
 * nothing else: whatever else is asked of it raises and is noted. */
PyObject *py_number_new(PyObject *value);
bool py_number_looked(PyObject *number); /* or somebody else holds it */
void py_number_retire(PyObject *number); /* no use is good from now on */

/* The numbers of a call that may vary: values that no pass of the library looks at. */
typedef struct py_numbers {
    int n;
    uint32_t vary; /* bit i: number i may */
    bool whole[PY_NUMBERS];
    double value[PY_NUMBERS];
    PyObject *pattern; /* bytes: the rest of the call */
} py_numbers;
int py_numbers_read(py_numbers *numbers, const py_flat *flat, uint32_t plain);

/* ---- explain.c ------------------------------------------------------------------------ */

/* What of a call counts: a list of (path, kind, value). */
PyObject *py_signature_of_call(PyObject *const *args, Py_ssize_t n, PyObject *names,
                               PyObject *inputs);
/* Where the i-th plain int or float of the arguments stands, as text. */
PyObject *py_path_of_number(PyObject *const *args, Py_ssize_t n, PyObject *names, int i);
/* {"why", "signature"} of a new program beside those that are there. */
PyObject *py_about(fr_function *function, PyObject *signature);
/* Where the constants of a new program stand, into about["places"]. */
int py_note_places(fr_program *program, PyObject *fun, PyObject *about);
PyObject *py_same_node(PyObject *module, PyObject *const *args, Py_ssize_t n);
PyObject *py_explain(fr_function *function, PyObject *name, PyObject *notes, bool as_dict);

/* ---- transforms.c ---------------------------------------------------------------------- */

extern PyMethodDef py_transform_functions[];
int py_transform_init(PyObject *module);

/* ---- random.c, distributions.c ------------------------------------------------------------ */

/* A key argument, or the next of random.state: a reference of the caller's. 0, or -1: raised. */
int py_random_key(PyObject *value, fr_array **key, const char *function);
/* values * factor + offset (each may be NULL) in the dtype of values, which it takes over; a
 * reference of the caller's. NULL: an error. */
fr_array *py_random_scaled(fr_array *values, fr_array *factor, fr_array *offset);
extern PyMethodDef py_distribution_functions[];

/* ---- files.c -------------------------------------------------------------------------- */

extern PyMethodDef py_file_functions[];

/* ---- conv.c --------------------------------------------------------------------------- */

extern PyMethodDef py_conv_functions[];

/* ---- compile.c, stream.c, random.c, memory.c ------------------------------------------ */

extern PyTypeObject py_compiled_type;
/* "train.py:31" of the innermost Python frame; "" where there is none. */
void py_caller_text(char *to, size_t room);
/* A function's name, or its type's; held: what to drop (may be NULL) when done with it. */
const char *py_name_of(PyObject *fun, PyObject **held);
extern PyMethodDef py_compile_functions[];
int py_compile_init(PyObject *module);
extern PyMethodDef py_stream_functions[];
int py_stream_init(PyObject *module);
int py_random_init(PyObject *module);
int py_linalg_init(PyObject *module);
extern PyMethodDef py_memory_functions[], py_fast_functions[];

#endif
