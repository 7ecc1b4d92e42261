/* update.c - functions of several arrays: concatenate, stack, pad, take, matmul
 *
 * needs   arrays, or what operands can be; lists or tuples of them
 * gives   one array (x[...] = value is in index.c)
 */
#include "ext.h"

/* The arrays of a sequence as references of ours; their number, or -1. */
static Py_ssize_t read_arrays(PyObject *value, const char *function, fr_array ***to)
{
    PyObject *items = PySequence_Fast(value, "wanted a list or tuple of arrays");
    if (!items)
        return -1;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items), made = 0;
    fr_array **arrays = PyMem_Calloc((size_t)n + 1, sizeof *arrays);
    if (!arrays) {
        Py_DECREF(items);
        PyErr_NoMemory();
        return -1;
    }
    for (; made < n; made++) {
        fr_array *owned = NULL;
        fr_array *x = py_need_operand(PySequence_Fast_GET_ITEM(items, made), &owned, function);
        if (!x)
            break;
        arrays[made] = owned ? owned : fr_keep(x);
    }
    Py_DECREF(items);
    if (made == n) {
        *to = arrays;
        return n;
    }
    while (made)
        fr_free(arrays[--made]);
    PyMem_Free(arrays);
    return -1;
}

typedef fr_array *joiner(int n, fr_array *const *x, int axis);

static PyObject *join(const char *function, joiner *make, PyObject *const *args, Py_ssize_t n,
                      PyObject *names)
{
    py_signature signature = {function, 1, 2, 0, {"arrays", "axis", "stream", NULL}};
    PyObject *slots[3];
    if (py_parse(&signature, args, n, names, slots))
        return NULL;
    int axis = 0;
    bool flat = slots[1] == Py_None; /* all of them flattened, one after the other */
    if (!flat && py_read_int(slots[1], &axis))
        return NULL;
    py_stream_guard guard;
    fr_array **arrays;
    Py_ssize_t count = read_arrays(slots[0], function, &arrays);
    if (count < 0)
        return NULL;
    PyObject *result = NULL;
    if (!py_stream_enter(slots[2], &guard, function)) {
        bool good = true;
        for (Py_ssize_t i = 0; flat && good && i < count; i++) {
            int64_t all = -1;
            fr_array *line = fr_own(fr_reshape(arrays[i], &all, 1));
            good = line != NULL;
            if (good) {
                fr_free(arrays[i]);
                arrays[i] = line;
            }
        }
        result = py_wrap(good ? make((int)count, arrays, axis) : NULL);
        py_stream_leave(&guard);
    }
    for (Py_ssize_t i = 0; i < count; i++)
        fr_free(arrays[i]);
    PyMem_Free(arrays);
    return result;
}

static PyObject *call_concatenate(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    (void)module;
    return join("concatenate", fr_concatenate, args, n, names);
}

static PyObject *call_stack(PyObject *module, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    (void)module;
    return join("stack", fr_stack, args, n, names);
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

static PyObject *call_pad(PyObject *module, PyObject *const *args, Py_ssize_t n,
                          PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "pad", 2, 4, 0, {"a", "pad_width", "mode", "constant_values", "stream", NULL}};
    PyObject *slots[5], *result = NULL;
    if (py_parse(&signature, args, n, names, slots))
        return NULL;
    if (slots[2] && (!PyUnicode_Check(slots[2]) ||
                     PyUnicode_CompareWithASCIIString(slots[2], "constant"))) {
        PyErr_Format(PyExc_ValueError, "pad: mode %R is not supported; 'constant' is",
                     slots[2]);
        return NULL;
    }
    fr_array *owned = NULL, *owned_value = NULL, *value = NULL;
    fr_array *x = py_need_operand(slots[0], &owned, "pad");
    int64_t before[FR_MAX_NDIM], after[FR_MAX_NDIM];
    py_stream_guard guard;
    if (!x || read_widths(slots[1], fr_ndim(x), before, after))
        goto done;
    if (slots[3] && !(value = py_need_operand(slots[3], &owned_value, "pad")))
        goto done;
    if (py_stream_enter(slots[4], &guard, "pad"))
        goto done;
    result = py_wrap(fr_pad(x, before, after, value));
    py_stream_leave(&guard);
done:
    fr_free(owned);
    fr_free(owned_value);
    return result;
}

static PyObject *call_take(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "take", 2, 3, 0, {"a", "indices", "axis", "stream", NULL}};
    PyObject *slots[4], *result = NULL;
    if (py_parse(&signature, args, n, names, slots))
        return NULL;
    fr_array *owned = NULL, *owned_indices = NULL, *flat = NULL;
    fr_array *x = py_need_operand(slots[0], &owned, "take");
    fr_array *indices = x ? py_need_operand(slots[1], &owned_indices, "take") : NULL;
    int axis = 0;
    py_stream_guard guard;
    bool all = !slots[2] || slots[2] == Py_None; /* of the flattened array */
    if (!indices || (!all && py_read_int(slots[2], &axis)) ||
        py_stream_enter(slots[3], &guard, "take"))
        goto done;
    int64_t length = -1;
    if (all)
        flat = fr_own(fr_reshape(x, &length, 1));
    result = py_wrap(!all || flat ? fr_take(all ? flat : x, indices, axis) : NULL);
    py_stream_leave(&guard);
done:
    fr_free(flat);
    fr_free(owned);
    fr_free(owned_indices);
    return result;
}

/* Both operands of `left @ right`; NotImplemented where one can't be one. */
PyObject *py_matmul(PyObject *left, PyObject *right)
{
    fr_array *owned[2] = {NULL, NULL};
    fr_array *a = py_operand(left, &owned[0]), *b = a ? py_operand(right, &owned[1]) : NULL;
    PyObject *result = NULL;
    if (a && b) {
        result = py_wrap(fr_matmul(a, b));
    } else if (!PyErr_Occurred()) {
        Py_INCREF(Py_NotImplemented);
        result = Py_NotImplemented;
    }
    fr_free(owned[0]);
    fr_free(owned[1]);
    return result;
}

static PyObject *call_matmul(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)module;
    static const py_signature signature = {"matmul", 2, 2, 2, {"a", "b", "stream", NULL}};
    PyObject *slots[3], *result = NULL;
    py_stream_guard guard;
    if (py_parse(&signature, args, n, names, slots) ||
        py_stream_enter(slots[2], &guard, "matmul"))
        return NULL;
    fr_array *owned[2] = {NULL, NULL};
    fr_array *a = py_need_operand(slots[0], &owned[0], "matmul");
    fr_array *b = a ? py_need_operand(slots[1], &owned[1], "matmul") : NULL;
    if (b)
        result = py_wrap(fr_matmul(a, b));
    fr_free(owned[0]);
    fr_free(owned[1]);
    py_stream_leave(&guard);
    return result;
}

PyMethodDef py_update_functions[] = {
    PY_METHOD("matmul", call_matmul,
              "matmul(a, b, /, *, stream=None)\n--\n\n"
              "Matrix product over the last two dimensions; the others broadcast."),
    PY_METHOD(
        "take", call_take,
        "take(a, indices, axis=None, *, stream=None)\n--\n\n"
        "Elements at integer indices along an axis (None: of the flattened array). Indices\n"
        "below 0 count from the end; beyond either end the nearest element is read."),
    PY_METHOD("concatenate", call_concatenate,
              "concatenate(arrays, axis=0, *, stream=None)\n--\n\n"
              "One after the other along an axis (None: flattened); dtypes promote."),
    PY_METHOD("concat", call_concatenate,
              "concat(arrays, axis=0, *, stream=None)\n--\n\nThe same as concatenate."),
    PY_METHOD(
        "stack", call_stack,
        "stack(arrays, axis=0, *, stream=None)\n--\n\nAlong a new axis; shapes must be equal."),
    PY_METHOD(
        "pad", call_pad,
        "pad(a, pad_width, mode='constant', constant_values=0, *, stream=None)\n--\n\n"
        "With so many constants before and after each axis: a number, (before, after), or\n"
        "such a pair for each axis."),
    PY_END,
};
