/* batch.c - mx.vmap: a function made one of batches
 *
 *   arguments and in_axes -> arrays, each with its axis -> placeholders of one element
 *   -> the function, once -> its result's arrays, each with its axis -> the batch
 *
 * needs   a callable; axes as a number, None, or containers that begin like the arguments
 * gives   a callable with the same arguments, which have one more axis
 */
#include "transforms.h"

static int push_axis(py_axis_list *to, int axis)
{
    if (to->n == to->room) {
        int room = to->room ? 2 * to->room : 16;
        int *more = PyMem_Realloc(to->at, (size_t)room * sizeof *more);
        if (!more) {
            PyErr_NoMemory();
            return -1;
        }
        to->at = more;
        to->room = room;
    }
    to->at[to->n++] = axis;
    return 0;
}

static int not_a_prefix(const char *name, PyObject *spec, PyObject *value)
{
    py_complain(PyExc_ValueError,
                "vmap: %s is not a prefix of the tree it is for: %R stands where there is a %s",
                name, spec, Py_TYPE(value)->tp_name);
    return -1;
}

static int read_items(PyObject *spec, PyObject *value, const char *name, py_axis_list *to)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
    bool same = PyList_Check(spec) || PyTuple_Check(spec);
    if (!same || PySequence_Fast_GET_SIZE(spec) != n)
        return not_a_prefix(name, spec, value);
    for (Py_ssize_t i = 0; i < n; i++)
        if (py_read_axes_of(PySequence_Fast_GET_ITEM(spec, i),
                            PySequence_Fast_GET_ITEM(value, i), name, to))
            return -1;
    return 0;
}

static int read_dict(PyObject *spec, PyObject *value, const char *name, py_axis_list *to)
{
    PyObject *key, *item;
    if (!PyDict_Check(spec) || PyDict_Size(spec) != PyDict_Size(value))
        return not_a_prefix(name, spec, value);
    for (Py_ssize_t at = 0; PyDict_Next(value, &at, &key, &item);) {
        PyObject *axis = PyDict_GetItemWithError(spec, key);
        if (!axis)
            return PyErr_Occurred() ? -1 : not_a_prefix(name, spec, value);
        if (py_read_axes_of(axis, item, name, to))
            return -1;
    }
    return 0;
}

/* The axis of each array in value, in order: a number or None stands for all below it. */
int py_read_axes_of(PyObject *spec, PyObject *value, const char *name, py_axis_list *to)
{
    bool none = spec == Py_None, number = PyLong_Check(spec) && !PyBool_Check(spec);
    if (py_is_array(value)) {
        int axis = FR_NO_AXIS;
        if (!none && !number)
            return not_a_prefix(name, spec, value);
        return number && py_read_int(spec, &axis) ? -1 : push_axis(to, axis);
    }
    if (PyDict_Check(value) && !none && !number)
        return read_dict(spec, value, name, to);
    if (!PyDict_Check(value) && !PyList_Check(value) && !PyTuple_Check(value))
        return 0;
    if (!none && !number)
        return read_items(spec, value, name, to);
    py_flat below;
    py_flat_begin(&below);
    int failed = py_leaves(value, &below, NULL, NULL);
    for (int i = 0; !failed && i < below.n; i++) {
        int axis = FR_NO_AXIS;
        failed = (number && py_read_int(spec, &axis)) || push_axis(to, axis);
    }
    py_flat_end(&below);
    return failed ? -1 : 0;
}

/* in_axes is for the tuple of arguments; of one argument it may be for itself. */
static int read_in_axes(PyObject *spec, PyObject *args, py_axis_list *to)
{
    bool tuple = PyTuple_Check(spec) || PyList_Check(spec);
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (n == 1 && (!tuple || PySequence_Fast_GET_SIZE(spec) != 1))
        return py_read_axes_of(spec, PyTuple_GET_ITEM(args, 0), "in_axes", to);
    return py_read_axes_of(spec, args, "in_axes", to);
}

/* The function's result on placeholders: the arrays of it and their axes. */
static PyObject *run(const py_transform *self, PyObject *args, fr_array *const *placeholders,
                     py_flat *out, py_axis_list *to)
{
    fr_array *const *next = placeholders;
    PyObject *given = py_with_leaves(args, &next);
    PyObject *result = given ? PyObject_Call(self->fun, given, NULL) : NULL;
    Py_XDECREF(given);
    if (result && (py_leaves(result, out, "vmap", "the result") ||
                   py_read_axes_of(self->second, result, "out_axes", to)))
        Py_CLEAR(result);
    return result;
}

static PyObject *batched(const py_transform *self, PyObject *args, const py_flat *in,
                         const py_axis_list *in_axes)
{
    char place[256];
    py_caller_text(place, sizeof place);
    PyObject *held, *result = NULL, *one = NULL;
    const char *name = py_name_of(self->fun, &held);
    fr_array **given = PyMem_Calloc((size_t)in->n + 1, sizeof *given), **made = NULL;
    py_flat out;
    py_axis_list out_axes = {0};
    py_flat_begin(&out);
    fr_batch *batch =
        given ? fr_batch_begin(in->n, in->arrays, in_axes->at, given, name, place) : NULL;
    if (!batch) {
        py_raise();
        goto done;
    }
    for (int i = 0; i < in->n; i++)
        given[i] = fr_own(given[i]);
    one = run(self, args, given, &out, &out_axes);
    for (int i = 0; i < in->n; i++)
        fr_free(given[i]);
    if (one && !(made = PyMem_Calloc((size_t)out.n + 1, sizeof *made)))
        PyErr_NoMemory();
    if (!made) {
        fr_batch_abandon(batch);
        goto done;
    }
    if (fr_batch_end(batch, out.n, out.arrays, out_axes.at, made)) {
        py_raise();
        goto done;
    }
    for (int i = 0; i < out.n; i++)
        made[i] = fr_own(made[i]);
    fr_array *const *next = made;
    result = py_with_leaves(one, &next);
    for (int i = 0; i < out.n; i++)
        fr_free(made[i]);
done:
    py_flat_end(&out);
    PyMem_Free(out_axes.at);
    PyMem_Free(made);
    PyMem_Free(given);
    Py_XDECREF(one);
    Py_XDECREF(held);
    return result;
}

static PyObject *vmap_call(PyObject *object, PyObject *const *args, size_t nargs,
                           PyObject *names)
{
    const py_transform *self = (py_transform *)object;
    if (names && PyTuple_GET_SIZE(names)) {
        PyErr_SetString(PyExc_TypeError, "vmap: keyword arguments are not supported");
        return NULL;
    }
    Py_ssize_t n = PyVectorcall_NARGS(nargs);
    PyObject *all = PyTuple_New(n), *result = NULL;
    if (!all)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(args[i]);
        PyTuple_SET_ITEM(all, i, args[i]);
    }
    py_flat in;
    py_axis_list in_axes = {0};
    py_flat_begin(&in);
    if (!py_leaves(all, &in, "vmap", "the arguments") &&
        !read_in_axes(self->first, all, &in_axes))
        result = batched(self, all, &in, &in_axes);
    py_flat_end(&in);
    PyMem_Free(in_axes.at);
    Py_DECREF(all);
    return result;
}

PyObject *py_call_vmap(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "vmap", 1, 3, 0, {"fun", "in_axes", "out_axes", NULL}};
    PyObject *at[3];
    if (py_parse(&signature, args, n, names, at) || py_need_callable(at[0], "vmap"))
        return NULL;
    PyObject *zero = PyLong_FromLong(0);
    PyObject *result = zero ? py_transform_new("vmap", vmap_call, at[0], at[1] ? at[1] : zero,
                                               at[2] ? at[2] : zero)
                            : NULL;
    Py_XDECREF(zero);
    return result;
}
