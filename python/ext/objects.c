/* objects.c - what ferrule._containers says of objects that tree.c doesn't know */
#include "tree.h"

/* A function of ferrule._containers, borrowed: the module stays once it is imported. */
static PyObject *function_of(const char *name, PyObject **known)
{
    if (*known)
        return *known;
    PyObject *module = PyImport_ImportModule("ferrule._containers");
    if (module)
        *known = PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return *known;
}

int py_take_apart(PyObject *value, bool result, PyObject **tree)
{
    static PyObject *known;
    PyObject *function = function_of("take_apart", &known);
    *tree = function ? PyObject_CallFunctionObjArgs(function, value,
                                                    result ? Py_True : Py_False, NULL)
                     : NULL;
    if (!*tree)
        return -1;
    if (*tree != Py_None)
        return 0;
    Py_CLEAR(*tree);
    return 1;
}

PyObject *py_put_together(PyObject *like, PyObject *tree)
{
    static PyObject *known;
    PyObject *function = tree ? function_of("put_together", &known) : NULL;
    PyObject *made = function ? PyObject_CallFunctionObjArgs(function, like, tree, NULL) : NULL;
    Py_XDECREF(tree);
    return made;
}

PyObject *py_shell(PyObject *value)
{
    static PyObject *known;
    PyObject *function = function_of("shell", &known);
    return function ? PyObject_CallOneArg(function, value) : NULL;
}
