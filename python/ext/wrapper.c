/* wrapper.c - callables that stand in front of a function of the user's: compiled, transformed, custom
 *
 * needs   objects that begin like a py_wrapper
 * gives   what makes them look like the function: its attributes and text, binding as a method
 */
#include "ext.h"

/* What the object itself doesn't have is asked of the function. */
PyObject *py_wrapper_getattro(PyObject *object, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(object, name), *fun = ((py_wrapper *)object)->fun;
    if (found || !fun || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return PyObject_GetAttr(fun, name);
}

PyObject *py_wrapper_bind(PyObject *object, PyObject *instance, PyObject *type)
{
    (void)type;
    if (instance && instance != Py_None)
        return PyMethod_New(object, instance);
    Py_INCREF(object);
    return object;
}

static PyObject *get_wrapped(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *fun = ((py_wrapper *)object)->fun;
    if (!fun) /* taken apart by the collector */
        fun = Py_None;
    Py_INCREF(fun);
    return fun;
}

static PyObject *get_doc(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *fun = ((py_wrapper *)object)->fun;
    return PyObject_GetAttrString(fun ? fun : Py_None, "__doc__");
}

PyGetSetDef py_wrapper_attributes[] = {
    {"__wrapped__", get_wrapped, NULL, NULL, NULL},
    {"__doc__", get_doc, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
