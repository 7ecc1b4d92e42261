/* args.c - arguments of functions: names to slots, axes, shapes, dtypes, operands
 *
 * needs   vectorcall arguments
 * gives   C values; a TypeError or ValueError naming the function where they don't fit
 */
#include "ext.h"

static int slot_of(const py_signature *s, PyObject *name)
{
    for (int i = s->positional_only; s->names[i]; i++)
        if (PyUnicode_CompareWithASCIIString(name, s->names[i]) == 0)
            return i;
    return -1;
}

int py_parse(const py_signature *s, PyObject *const *args, Py_ssize_t n, PyObject *names,
             PyObject **to)
{
    if (n > s->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional argument%s, got %zd",
                     s->function, s->positional, s->positional == 1 ? "" : "s", n);
        return -1;
    }
    int slots = 0;
    for (; s->names[slots]; slots++)
        to[slots] = slots < n ? args[slots] : NULL;
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(names, k);
        int slot = slot_of(s, name);
        if (slot < 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unknown argument '%U'", s->function,
                         name);
            return -1;
        }
        if (to[slot]) {
            PyErr_Format(PyExc_TypeError, "%s() got argument '%U' twice", s->function, name);
            return -1;
        }
        to[slot] = args[n + k];
    }
    for (int i = 0; i < s->required; i++) {
        if (!to[i]) {
            PyErr_Format(PyExc_TypeError, "%s() misses its argument '%s'", s->function,
                         s->names[i]);
            return -1;
        }
    }
    return 0;
}

/* A 64-bit integer from anything with __index__ but a bool. */
static int read_integer(PyObject *value, int64_t *to, const char *function, const char *what)
{
    if (PyBool_Check(value) || !PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: %s must be an int, not %s", function, what,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    PyObject *number = PyNumber_Index(value);
    long long result = number ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    if (result == -1 && PyErr_Occurred()) {
        py_name_error(function);
        return -1;
    }
    *to = result;
    return 0;
}

int py_read_ints(PyObject *const *items, Py_ssize_t n, int64_t to[FR_MAX_NDIM], int *count,
                 const char *function)
{
    if (n > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "%s: %zd dimensions are more than %d", function, n,
                     FR_MAX_NDIM);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (read_integer(items[i], &to[i], function, "a size"))
            return -1;
    *count = (int)n;
    return 0;
}

int py_read_shape(PyObject *shape, int64_t to[FR_MAX_NDIM], int *ndim, const char *function)
{
    if (PyTuple_Check(shape))
        return py_read_ints(&PyTuple_GET_ITEM(shape, 0), PyTuple_GET_SIZE(shape), to, ndim,
                            function);
    if (PyIndex_Check(shape) && !PyList_Check(shape))
        return py_read_ints(&shape, 1, to, ndim, function);
    PyObject *items = PySequence_Check(shape) ? PySequence_Tuple(shape) : NULL;
    if (!items) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "%s: a shape is an int or a sequence of ints, not %s",
                         function, Py_TYPE(shape)->tp_name);
        return -1;
    }
    int result =
        py_read_ints(&PyTuple_GET_ITEM(items, 0), PyTuple_GET_SIZE(items), to, ndim, function);
    Py_DECREF(items);
    return result;
}

PyObject *py_parse_one(const char *function, const char *name, PyObject *const *args,
                       Py_ssize_t n, PyObject *names)
{
    const py_signature signature = {function, 1, 1, 0, {name, NULL}};
    PyObject *at[1];
    return py_parse(&signature, args, n, names, at) ? NULL : at[0];
}

int py_read_axes(PyObject *axes, py_axes *to, const char *function)
{
    to->n = 0;
    to->all = !axes || axes == Py_None;
    if (to->all)
        return 0;
    PyObject *items;
    if (PyTuple_Check(axes) || PyList_Check(axes)) {
        items = PySequence_Tuple(axes);
    } else {
        items = PyTuple_Pack(1, axes);
    }
    if (!items)
        return -1;
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    if (n > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "%s: %zd axes are more than %d", function, n,
                     FR_MAX_NDIM);
        Py_DECREF(items);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t axis;
        if (read_integer(PyTuple_GET_ITEM(items, i), &axis, function, "an axis")) {
            Py_DECREF(items);
            return -1;
        }
        to->at[i] = axis > INT32_MAX ? INT32_MAX : axis < INT32_MIN ? INT32_MIN : (int)axis;
    }
    to->n = (int)n;
    Py_DECREF(items);
    return 0;
}

int py_read_dtype(PyObject *dtype, fr_dtype *to, const char *function)
{
    if (!dtype || dtype == Py_None || py_dtype_value(dtype, to))
        return 0;
    py_complain(PyExc_TypeError, "%s: dtype must be one like float32 of this module, not %R",
                function, dtype);
    return -1;
}

int py_read_bool(PyObject *value, bool *to)
{
    if (!value)
        return 0;
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    *to = truth;
    return 0;
}

int py_read_int(PyObject *value, int *to)
{
    if (!value)
        return 0;
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number > INT32_MAX || number < INT32_MIN) {
        PyErr_SetString(PyExc_OverflowError, "integer is too large");
        return -1;
    }
    *to = (int)number;
    return 0;
}

int py_read_int64(PyObject *value, int64_t *to, const char *function, const char *what)
{
    return value ? read_integer(value, to, function, what) : 0;
}

int py_read_number(PyObject *value, double *to)
{
    if (!value || value == Py_None)
        return 0;
    double number = PyFloat_AsDouble(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    *to = number;
    return 0;
}

static fr_array *integer_operand(PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) {
        PyErr_SetString(PyExc_OverflowError, "an integer operand must fit 64 bits");
        return NULL;
    }
    if (number == -1 && PyErr_Occurred())
        return NULL;
    fr_array *result = fr_number_int(number);
    return result ? fr_own(result) : (py_raise(), NULL);
}

fr_array *py_operand(PyObject *value, fr_array **owned)
{
    *owned = NULL;
    if (py_is_array(value))
        return py_node(value);
    if (PyBool_Check(value)) {
        *owned = fr_own(fr_number_bool(value == Py_True));
    } else if (PyFloat_Check(value)) { /* numpy.float64 is one */
        *owned = fr_own(fr_number(PyFloat_AS_DOUBLE(value)));
    } else if (PyComplex_Check(value)) {
        Py_complex number = PyComplex_AsCComplex(value);
        *owned = fr_own(fr_number_complex(number.real, number.imag));
    } else if (PyLong_Check(value)) {
        return *owned = integer_operand(value);
    } else if (py_is_buffer(value)) { /* numpy's arrays and scalars */
        return *owned = py_from_buffer(value, true);
    } else {
        return NULL;
    }
    if (!*owned)
        py_raise();
    return *owned;
}

static int kind_of(fr_dtype dtype)
{
    return dtype == FR_BOOL ? 0 : dtype < FR_FLOAT16 ? 1 : dtype < FR_COMPLEX64 ? 2 : 3;
}

int py_match_buffers(PyObject *const given[2], fr_array *at[2], fr_array *owned[2])
{
    bool left = py_is_array(given[0]), right = py_is_array(given[1]);
    int i = left ? 1 : 0; /* which may be the buffer */
    if (left == right || !py_is_buffer(given[i]))
        return 0;
    fr_dtype dtype = fr_dtype_of(at[!i]);
    if (kind_of(fr_dtype_of(at[i])) > kind_of(dtype) || fr_dtype_of(at[i]) == dtype)
        return 0;
    fr_array *cast = fr_own(fr_astype(at[i], dtype));
    if (!cast)
        return py_raise_int();
    fr_free(owned[i]);
    at[i] = owned[i] = cast;
    return 0;
}

fr_array *py_need_operand(PyObject *value, fr_array **owned, const char *function)
{
    fr_array *result = py_operand(value, owned);
    if (!result && !PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "%s: an operand must be an array or a number, not %s",
                     function, Py_TYPE(value)->tp_name);
    return result ? result : py_name_error(function);
}
