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

PyObject *py_hole;

/* What takes the place of an array or a hole: one of these, or a hole. */
typedef struct source {
    fr_array *const **arrays;
    PyObject *const **objects;
} source;

static PyObject *again(PyObject *value, void *ctx);

static PyObject *dict_again(PyObject *value, source *from)
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

static PyObject *again(PyObject *value, void *ctx)
{
    source *from = ctx;
    if (py_is_array(value) || value == py_hole) {
        if (from->arrays)
            return py_adopt(fr_keep(*(*from->arrays)++));
        PyObject *object = from->objects ? *(*from->objects)++ : py_hole;
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
    PyObject *result = dict ? dict_again(value, from) : py_items_again(value, again, from);
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

PyObject *py_form(PyObject *value)
{
    if (!py_hole && !(py_hole = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type)))
        return NULL;
    return again(value, &(source){NULL, NULL});
}

static int misfit(PyObject *value, const char *what)
{
    PyErr_Format(PyExc_ValueError, "%s: a %s stands where the structure has something else",
                 what, Py_TYPE(value)->tp_name);
    return -1;
}

int py_fit_form(PyObject *form, PyObject *value, const char *what, fr_array ***next)
{
    if (form == py_hole) {
        fr_array *x = py_is_array(value) ? py_node(value) : NULL;
        if (!x && value != Py_None)
            return misfit(value, what);
        if (x && !(x = fr_astype(x, fr_dtype_of(x)))) /* itself, as a result */
            return py_raise_int();
        *(*next)++ = x;
        return 0;
    }
    if (PyDict_Check(form)) {
        PyObject *key, *item;
        if (value != Py_None && !PyDict_Check(value))
            return misfit(value, what);
        for (Py_ssize_t at = 0; PyDict_Next(form, &at, &key, &item);) {
            PyObject *one = value == Py_None ? Py_None : PyDict_GetItemWithError(value, key);
            if (!one)
                return PyErr_Occurred() ? -1 : misfit(value, what);
            if (py_fit_form(item, one, what, next))
                return -1;
        }
        return 0;
    }
    if (!PyList_Check(form) && !PyTuple_Check(form))
        return 0;
    bool none = value == Py_None, items = PyList_Check(value) || PyTuple_Check(value);
    Py_ssize_t n = PySequence_Fast_GET_SIZE(form);
    if (!none && (!items || PySequence_Fast_GET_SIZE(value) != n))
        return misfit(value, what);
    for (Py_ssize_t i = 0; i < n; i++)
        if (py_fit_form(PySequence_Fast_GET_ITEM(form, i),
                        none ? Py_None : PySequence_Fast_GET_ITEM(value, i), what, next))
            return -1;
    return 0;
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
