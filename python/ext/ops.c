/* ops.c - functions and methods of arrays: a pair for each row of the table of operations
 *
 * needs   src/op/ops.def as ops_py.inc, functions.def as functions_py.inc
 * gives   py_op_functions, the module's; py_array_methods, the array type's: these, and the
 *         composed functions, whose bodies stand in files by subject
 */
#include "ext.h"

typedef fr_array *unary_fn(fr_array *x);
typedef fr_array *binary_fn(fr_array *x, fr_array *y);
typedef fr_array *ternary_fn(fr_array *x, fr_array *y, fr_array *z);

/* ---- element by element --------------------------------------------------------------- */

/* Operands by position or, of functions that are not of three, by the names a and b; then the
 * stream. -1: something else. */
static int enter_call(const char *name, int wanted, PyObject *const *args, Py_ssize_t n,
                      PyObject *names, py_stream_guard *guard, PyObject **to)
{
    static const py_signature signatures[] = {
        {NULL, 0, 1, 0, {"stream", NULL}},
        {NULL, 1, 2, 0, {"a", "stream", NULL}},
        {NULL, 2, 3, 0, {"a", "b", "stream", NULL}},
        {NULL, 3, 3, 3, {"condition", "x", "y", "stream", NULL}},
    };
    py_signature signature = signatures[wanted];
    signature.function = name;
    guard->changed = false;
    if (py_parse(&signature, args, n, names, to))
        return -1;
    return py_stream_enter(to[wanted], guard, name);
}

static PyObject *named(PyObject *result, const char *name)
{
    return result ? result : py_name_error(name);
}

static PyObject *unary(unary_fn *function, const char *name, PyObject *const *args,
                       Py_ssize_t n, PyObject *names)
{
    if (n == 1 && !names && py_is_array(args[0]))
        return named(py_wrap(function(py_node(args[0]))), name);
    py_stream_guard guard;
    PyObject *given[2];
    if (enter_call(name, 1, args, n, names, &guard, given))
        return NULL;
    fr_array *owned, *x = py_need_operand(given[0], &owned, name);
    PyObject *result = x ? py_wrap(function(x)) : NULL;
    if (x)
        fr_free(owned);
    py_stream_leave(&guard);
    return named(result, name);
}

static PyObject *unary_method(unary_fn *function, const char *name, PyObject *self,
                              PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_stream_guard guard;
    PyObject *given[1];
    if (enter_call(name, 0, args, n, names, &guard, given))
        return NULL;
    PyObject *result = py_wrap(function(py_node(self)));
    py_stream_leave(&guard);
    return named(result, name);
}

static PyObject *binary(binary_fn *function, const char *name, PyObject *const *args,
                        Py_ssize_t n, PyObject *names)
{
    if (n == 2 && !names && py_is_array(args[0]) && py_is_array(args[1]))
        return named(py_wrap(function(py_node(args[0]), py_node(args[1]))), name);
    py_stream_guard guard;
    PyObject *given[3];
    if (enter_call(name, 2, args, n, names, &guard, given))
        return NULL;
    PyObject *result = NULL;
    fr_array *at[2], *owned[2] = {NULL, NULL};
    at[0] = py_need_operand(given[0], &owned[0], name);
    at[1] = at[0] ? py_need_operand(given[1], &owned[1], name) : NULL;
    if (at[1] && !py_match_buffers(given, at, owned))
        result = py_wrap(function(at[0], at[1]));
    fr_free(owned[0]);
    fr_free(owned[1]);
    py_stream_leave(&guard);
    return named(result, name);
}

static PyObject *ternary(ternary_fn *function, const char *name, PyObject *const *args,
                         Py_ssize_t n, PyObject *names)
{
    py_stream_guard guard;
    PyObject *given[4];
    if (enter_call(name, 3, args, n, names, &guard, given))
        return NULL;
    PyObject *result = NULL;
    fr_array *owned[3] = {NULL, NULL, NULL}, *at[3];
    int ready = 0;
    while (ready < 3 && (at[ready] = py_need_operand(given[ready], &owned[ready], name)))
        ready++;
    if (ready == 3)
        result = py_wrap(function(at[0], at[1], at[2]));
    for (int i = 0; i < 3; i++)
        fr_free(owned[i]);
    py_stream_leave(&guard);
    return named(result, name);
}

#define PY_UNARY(c, python, manual)                                                            \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return unary(fr_##c, #python, args, n, names);                                         \
    }                                                                                          \
    static PyObject *method_##python(PyObject *self, PyObject *const *args, Py_ssize_t n,      \
                                     PyObject *names)                                          \
    {                                                                                          \
        return unary_method(fr_##c, #python, self, args, n, names);                            \
    }
#define PY_BINARY(c, python, manual)                                                           \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return binary(fr_##c, #python, args, n, names);                                        \
    }
#define PY_TERNARY(c, python, manual)                                                          \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return ternary(fr_##c, #python, args, n, names);                                       \
    }
#define PY_PART(c, python, manual)                                                             \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return unary(fr_##c, #python, args, n, names);                                         \
    }
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_BINARY
#undef PY_TERNARY
#undef PY_PART

/* ---- over axes ------------------------------------------------------------------------ */

#define PY_REDUCE(c, python, manual)                                                           \
    static PyObject *call_##python(PyObject *self, PyObject *const *args, Py_ssize_t n,        \
                                   PyObject *names)                                            \
    {                                                                                          \
        static const py_signature signature = {                                                \
            #python, 1, 3, 1, {"a", "axis", "keepdims", "stream", NULL}};                      \
        return py_reduce(fr_##c, &signature, self, args, n, names);                            \
    }
#include "ops_py.inc"
#undef PY_REDUCE

/* ---- methods of arrays alone ----------------------------------------------------------- */

static PyObject *method_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)args;
    if (n || names) {
        PyErr_SetString(PyExc_TypeError, "item() takes no arguments");
        return NULL;
    }
    if (fr_size(py_node(self)) != 1) {
        PyErr_Format(PyExc_ValueError, "item: an array of %lld elements is not one number",
                     (long long)fr_size(py_node(self)));
        return NULL;
    }
    return py_to_number(py_node(self));
}

static PyObject *method_tolist(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    (void)args;
    if (n || names) {
        PyErr_SetString(PyExc_TypeError, "tolist() takes no arguments");
        return NULL;
    }
    return py_to_list(py_node(self));
}

static PyObject *method_copy(PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)args;
    (void)n;
    (void)names;
    return py_adopt(fr_keep(py_node(self))); /* nodes never change: a second handle is a copy */
}

/* For those who ask for it by name; numpy itself takes the buffer. */
static PyObject *method_array(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature signature = {"__array__", 0, 2, 0, {"dtype", "copy", NULL}};
    PyObject *at[2];
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    fr_array *x = py_node(self);
    fr_array *shown =
        fr_dtype_of(x) == FR_BFLOAT16 ? fr_own(fr_astype(x, FR_FLOAT32)) : fr_keep(x);
    PyObject *handle = py_adopt(shown);
    PyObject *values = handle ? PyMemoryView_FromObject(handle) : NULL;
    PyObject *numpy = values ? PyImport_ImportModule("numpy") : NULL;
    PyObject *dtype = at[0] ? at[0] : Py_None;
    const char *name =
        at[1] && at[1] != Py_None && PyObject_IsTrue(at[1]) ? "array" : "asarray";
    PyObject *result = numpy ? PyObject_CallMethod(numpy, name, "OO", values, dtype) : NULL;
    Py_XDECREF(numpy);
    Py_XDECREF(values);
    Py_XDECREF(handle);
    return result;
}

/* Of a 0-d array as Python formats its number; of others as str. */
static PyObject *method_format(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    if (n != 1 || names || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "__format__() takes one string");
        return NULL;
    }
    if (fr_ndim(py_node(self)) != 0) {
        if (PyUnicode_GetLength(args[0]) != 0) {
            PyErr_SetString(PyExc_TypeError, "a format is for 0-d arrays only");
            return NULL;
        }
        return PyObject_Str(self);
    }
    PyObject *number = py_to_number(py_node(self));
    PyObject *result = number ? PyObject_Format(number, args[0]) : NULL;
    Py_XDECREF(number);
    return result;
}

/* ---- eval ----------------------------------------------------------------------------- */

static PyObject *eval_trees(PyObject *const *args, Py_ssize_t n, bool wait)
{
    py_flat flat;
    py_flat_begin(&flat);
    int failed = py_collect(args, n, &flat);
    if (!failed && flat.n)
        failed = py_eval_all(flat.n, flat.arrays, wait);
    py_flat_end(&flat);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *call_eval(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    if (n == 1 && py_is_array(args[0])) {
        if (py_eval(py_node(args[0])))
            return NULL;
        Py_RETURN_NONE;
    }
    return eval_trees(args, n, true);
}

static PyObject *call_async_eval(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    return eval_trees(args, n, false);
}

/* ---- tables --------------------------------------------------------------------------- */

#define OF_REDUCE "(a, /, axis=None, keepdims=False, *, stream=None)\n--\n\n"
#define SELF_REDUCE "($self, axis=None, keepdims=False, *, stream=None)\n--\n\n"

PyMethodDef py_op_functions[] = {
#define PY_UNARY(c, python, manual)                                                            \
    PY_METHOD(#python, call_##python, #python "(a, stream=None)\n--\n\n" manual),
#define PY_PART(c, python, manual) PY_UNARY(c, python, manual)
#define PY_BINARY(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python "(a, b, stream=None)\n--\n\n" manual),
#define PY_TERNARY(c, python, manual)                                                          \
    PY_METHOD(#python, call_##python,                                                          \
              #python "(condition, x, y, /, *, stream=None)\n--\n\n" manual),
#define PY_REDUCE(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python OF_REDUCE manual),
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_BINARY
#undef PY_TERNARY
#undef PY_REDUCE
#undef PY_PART
#define PY_FUNCTION_IN_core(name, doc) PY_METHOD(#name, py_call_##name, doc),
#include "functions_py.inc"
    {"eval", (PyCFunction)(void (*)(void))call_eval, METH_FASTCALL,
     "eval(*trees)\n--\n\ncomputes all arrays in nested lists, tuples and dicts"},
    {"async_eval", (PyCFunction)(void (*)(void))call_async_eval, METH_FASTCALL,
     "async_eval(*args)\n--\n\ncomputes all arrays in nested lists, tuples and dicts; on a GPU "
     "without waiting for it"},
    PY_END,
};

PyMethodDef py_array_methods[] = {
#define PY_UNARY(c, python, manual)                                                            \
    PY_METHOD(#python, method_##python, #python "($self, stream=None)\n--\n\n" manual),
#define PY_REDUCE(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python SELF_REDUCE manual),
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_REDUCE
#define PY_FUNCTION_METHOD(name, doc) PY_METHOD(#name, py_call_##name, doc),
#include "functions_py.inc"
    PY_METHOD("reshape", py_call_reshape,
              "the same elements in another shape: x.reshape(2, 3) or x.reshape((2, 3))"),
    PY_METHOD("transpose", py_call_transpose,
              "axes in another order: x.transpose(1, 0) or x.transpose((1, 0)); reversed"),
    PY_METHOD("item", method_item, "item($self)\n--\n\nthe one element as a Python number"),
    PY_METHOD("tolist", method_tolist, "tolist($self)\n--\n\nnested lists of Python numbers"),
    PY_METHOD("__array__", method_array, "the values as a numpy array"),
    PY_METHOD("__format__", method_format, NULL),
    PY_METHOD("__copy__", method_copy, NULL),
    PY_METHOD("__deepcopy__", method_copy, NULL),
    PY_END,
};
