/* leaves.c - the arrays in nested containers, and the containers again with others */
#include "leaves.h"

int py_leaves(PyObject *value, py_flat *flat, const char *strict, const char *what)
{
    if (py_is_array(value))
        return py_push_array(flat, fr_keep(py_node(value)));
    bool dict = PyDict_Check(value);
    if (!dict && !PyList_Check(value) && !PyTuple_Check(value)) {
        if (!strict)
            return 0;
        PyErr_Format(PyExc_ValueError, "%s: %s should contain only arrays, not %s", strict,
                     what, Py_TYPE(value)->tp_name);
        return -1;
    }
    if (Py_EnterRecursiveCall(" in nested containers"))
        return -1;
    int failed = 0;
    if (dict) {
        PyObject *key, *item;
        for (Py_ssize_t at = 0; !failed && PyDict_Next(value, &at, &key, &item);)
            failed = py_leaves(item, flat, strict, what);
    } else {
        for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(value); i++)
            failed = py_leaves(PySequence_Fast_GET_ITEM(value, i), flat, strict, what);
    }
    Py_LeaveRecursiveCall();
    return failed;
}

/* What takes the place of an array. */
typedef struct source {
    fr_array *const **arrays;
    PyObject *const **objects;
} source;

static PyObject *again(PyObject *value, const source *from);

static PyObject *items_again(PyObject *value, const source *from)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
    bool list = PyList_Check(value);
    PyObject *result = list ? PyList_New(n) : PyTuple_New(n);
    for (Py_ssize_t i = 0; result && i < n; i++) {
        PyObject *item = again(PySequence_Fast_GET_ITEM(value, i), from);
        if (!item)
            Py_CLEAR(result);
        else if (list)
            PyList_SET_ITEM(result, i, item);
        else
            PyTuple_SET_ITEM(result, i, item);
    }
    if (result && py_is_namedtuple(value))
        return py_make_namedtuple((PyObject *)Py_TYPE(value), result);
    return result;
}

static PyObject *dict_again(PyObject *value, const source *from)
{
    PyObject *result = PyDict_New(), *key, *item;
    for (Py_ssize_t at = 0; result && PyDict_Next(value, &at, &key, &item);) {
        PyObject *made = again(item, from);
        if (!made || PyDict_SetItem(result, key, made))
            Py_CLEAR(result);
        Py_XDECREF(made);
    }
    return result;
}

static PyObject *again(PyObject *value, const source *from)
{
    if (py_is_array(value)) {
        if (from->arrays)
            return py_adopt(fr_keep(*(*from->arrays)++));
        PyObject *object = *(*from->objects)++;
        Py_INCREF(object);
        return object;
    }
    bool dict = PyDict_Check(value);
    if (!dict && !PyList_Check(value) && !PyTuple_Check(value)) {
        Py_INCREF(value);
        return value;
    }
    if (Py_EnterRecursiveCall(" in nested containers"))
        return NULL;
    PyObject *result = dict ? dict_again(value, from) : items_again(value, from);
    Py_LeaveRecursiveCall();
    return result;
}

PyObject *py_with_leaves(PyObject *value, fr_array *const **next)
{
    return again(value, &(source){next, NULL});
}

PyObject *py_with_objects(PyObject *value, PyObject *const **next)
{
    return again(value, &(source){NULL, next});
}

int py_read_array_list(PyObject *value, py_flat *flat, const char *function, const char *what)
{
    bool good = PyList_Check(value) || PyTuple_Check(value);
    for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(value); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(value, i);
        good = py_is_array(item);
        if (good && py_push_array(flat, fr_keep(py_node(item))))
            return -1;
    }
    if (good)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s: %s must be a list or tuple of arrays", function, what);
    return -1;
}

PyObject *py_array_list(int n, fr_array **references)
{
    PyObject *list = PyList_New(n);
    for (int i = 0; i < n; i++) {
        PyObject *item = list ? py_adopt(references[i]) : NULL;
        if (item)
            PyList_SET_ITEM(list, i, item);
        else if (list)
            Py_CLEAR(list);
        else
            fr_free(references[i]);
    }
    return list;
}
