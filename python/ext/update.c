/* update.c - functions of several arrays: concatenate, stack, pad
 *
 * needs   arrays, or what operands can be; lists or tuples of them
 * gives   one array (x[...] = value is in index.c)
 */
#include "ext.h"

Py_ssize_t py_take_arrays(PyObject *const *items, Py_ssize_t n, const char *function,
                          fr_array ***to)
{
    fr_array **arrays = PyMem_Calloc((size_t)n + 1, sizeof *arrays);
    if (!arrays) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t made = 0;
    for (; made < n; made++) {
        fr_array *owned = NULL, *x = py_need_operand(items[made], &owned, function);
        if (!x)
            break;
        arrays[made] = owned ? owned : fr_keep(x);
    }
    if (made == n) {
        *to = arrays;
        return n;
    }
    py_free_arrays(arrays, made);
    return -1;
}

Py_ssize_t py_read_arrays(PyObject *value, const char *function, fr_array ***to)
{
    PyObject *items = PySequence_Fast(value, "wanted a list or tuple of arrays");
    if (!items) {
        py_name_error(function);
        return -1;
    }
    Py_ssize_t n = py_take_arrays(PySequence_Fast_ITEMS(items), PySequence_Fast_GET_SIZE(items),
                                  function, to);
    Py_DECREF(items);
    return n;
}

void py_free_arrays(fr_array **arrays, Py_ssize_t n)
{
    while (n)
        fr_free(arrays[--n]);
    PyMem_Free(arrays);
}

typedef fr_array *joiner(int n, fr_array *const *x, int axis);

/* Every array flattened, in its place. */
static int flatten_all(fr_array **arrays, Py_ssize_t count)
{
    int64_t all = -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        fr_array *line = fr_own(fr_reshape(arrays[i], &all, 1));
        if (!line)
            return -1;
        fr_free(arrays[i]);
        arrays[i] = line;
    }
    return 0;
}

/* axis None: concatenate flattens all of them, stack takes the first axis. */
static PyObject *join(joiner *make, const py_signature *signature, PyObject *const *args,
                      Py_ssize_t n, PyObject *names)
{
    py_call c;
    if (py_begin_bare_call(&c, signature, args, n, names))
        return NULL;
    int axis = 0;
    bool none = c.at[1] == Py_None, flat = none && make == fr_concatenate;
    fr_array **arrays;
    Py_ssize_t count;
    if ((!none && py_read_int(c.at[1], &axis)) ||
        (count = py_read_arrays(c.at[0], c.function, &arrays)) < 0)
        return py_fail_call(&c);
    fr_array *result = NULL;
    if (!flat)
        result = make((int)count, arrays, axis);
    else if (!flatten_all(arrays, count))
        result = fr_concatenate((int)count, arrays, 0);
    py_free_arrays(arrays, count);
    return py_end_call(&c, result);
}

PY_CALL(concatenate)
{
    (void)self;
    return join(fr_concatenate, PY_SIGNATURE(concatenate), args, n, names);
}

PY_CALL(concat)
{
    (void)self;
    return join(fr_concatenate, PY_SIGNATURE(concat), args, n, names);
}

PY_CALL(stack)
{
    (void)self;
    return join(fr_stack, PY_SIGNATURE(stack), args, n, names);
}

static int read_pair(PyObject *value, int64_t *before, int64_t *after)
{
    int64_t both[FR_MAX_NDIM];
    int count;
    if (py_read_shape(value, both, &count, "pad"))
        return -1;
    if (count < 1 || count > 2) {
        PyErr_SetString(
            PyExc_ValueError,
            "pad: widths are a number, (before, after), or such a pair for each axis");
        return -1;
    }
    *before = both[0];
    *after = both[count - 1];
    return 0;
}

/* 1; (1, 2); ((1, 2), (0, 0), ...) */
static int read_widths(PyObject *value, int ndim, int64_t *before, int64_t *after)
{
    bool nested = PySequence_Check(value) && PySequence_Size(value) > 0;
    if (nested) {
        PyObject *first = PySequence_GetItem(value, 0);
        nested = first && PySequence_Check(first);
        Py_XDECREF(first);
    }
    PyErr_Clear();
    if (!nested) {
        int64_t b, a;
        if (read_pair(value, &b, &a))
            return -1;
        for (int d = 0; d < ndim; d++)
            before[d] = b, after[d] = a;
        return 0;
    }
    Py_ssize_t n = PySequence_Size(value);
    if (n != ndim && n != 1) {
        PyErr_Format(PyExc_ValueError, "pad: %zd pairs of widths for an array of %d dimensions",
                     n, ndim);
        return -1;
    }
    for (int d = 0; d < ndim; d++) {
        PyObject *pair = PySequence_GetItem(value, n == 1 ? 0 : d);
        int failed = !pair || read_pair(pair, &before[d], &after[d]);
        Py_XDECREF(pair);
        if (failed)
            return -1;
    }
    return 0;
}

/* -1: constant; -2: raised. */
static int read_mode(PyObject *value)
{
    static const char *const modes[] = {"edge", "reflect", "symmetric", "wrap"};
    if (!value ||
        (PyUnicode_Check(value) && !PyUnicode_CompareWithASCIIString(value, "constant")))
        return -1;
    for (int i = 0; PyUnicode_Check(value) && i < 4; i++)
        if (!PyUnicode_CompareWithASCIIString(value, modes[i]))
            return i;
    py_complain(PyExc_ValueError,
                "pad: mode is 'constant', 'edge', 'reflect', 'symmetric' or 'wrap', not %R",
                value);
    return -2;
}

PY_CALL(pad)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(pad), self, args, n, names))
        return NULL;
    int64_t before[FR_MAX_NDIM], after[FR_MAX_NDIM];
    if (read_widths(c.at[1], fr_ndim(c.x), before, after))
        return py_fail_call(&c);
    int mode = read_mode(c.at[2]);
    if (mode < -1)
        return py_fail_call(&c);
    if (mode >= 0)
        return py_end_call(&c, fr_pad_with(c.x, before, after, (fr_pad_mode)mode));
    fr_array *value = c.at[3] ? py_call_operand(&c, 3) : NULL;
    if (c.at[3] && !value)
        return py_fail_call(&c);
    return py_end_call(&c, fr_pad(c.x, before, after, value));
}
