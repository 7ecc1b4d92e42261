/* error.c - the library's errors and warnings as Python's
 *
 * needs   a call of the library that failed
 * gives   the exception that fits, with the library's message; the library's error is cleared
 */
#include "ext.h"

#include <stdarg.h>

PyObject *py_trace_error, *py_dtype_error;

PyObject *py_raise(void)
{
    fr_error_kind kind = fr_error();
    if (!PyErr_Occurred()) { /* a traced function's own exception is the one to tell */
        PyObject *type = PyExc_RuntimeError;
        switch (kind) {
        case FR_ERROR_VALUE:
        case FR_ERROR_LIMIT: type = PyExc_ValueError; break;
        case FR_ERROR_TYPE: type = py_dtype_error; break;
        case FR_ERROR_INDEX: type = PyExc_IndexError; break;
        case FR_ERROR_MEMORY: type = PyExc_MemoryError; break;
        case FR_ERROR_IO: type = PyExc_OSError; break;
        case FR_ERROR_TRACE: type = py_trace_error; break;
        default: break;
        }
        const char *message = fr_error_message();
        if (kind == FR_OK || !*message)
            message = "the library failed without a message";
        PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "replace");
        if (text) {
            PyErr_SetObject(type, text);
            Py_DECREF(text);
        }
    }
    fr_error_clear();
    return NULL;
}

int py_raise_int(void)
{
    py_raise();
    return -1;
}

/* Changes the exception itself: what holds it, and where it came from, stay. */
static void name_in(PyObject *error, const char *function)
{
    PyObject *args = PyObject_GetAttrString(error, "args");
    PyObject *text = args && PyTuple_Check(args) && PyTuple_GET_SIZE(args) == 1
                         ? PyTuple_GET_ITEM(args, 0)
                         : NULL;
    const char *message = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : NULL;
    if (message && !strstr(message, function)) {
        PyObject *named = Py_BuildValue("(N)", PyUnicode_FromFormat("%s: %U", function, text));
        if (named)
            PyObject_SetAttrString(error, "args", named);
        Py_XDECREF(named);
    }
    Py_XDECREF(args);
    PyErr_Clear();
}

void *py_name_error(const char *function)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (!traceback &&
        (type == PyExc_TypeError || type == PyExc_ValueError || type == PyExc_OverflowError ||
         type == PyExc_IndexError || type == py_dtype_error)) {
        PyErr_NormalizeException(&type, &error, &traceback);
        name_in(error, function);
    }
    PyErr_Restore(type, error, traceback);
    return NULL;
}

int py_warn(void)
{
    const char *warning;
    while ((warning = fr_next_warning()))
        if (PyErr_WarnEx(PyExc_RuntimeWarning, warning, 1))
            return -1;
    return 0;
}

static int add(PyObject *module, const char *name, PyObject *type)
{
    if (!type)
        return -1;
    Py_INCREF(type);
    if (PyModule_AddObject(module, name, type)) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}

void *py_complain(PyObject *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyObject *text = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (text)
        PyErr_SetObject(type, text);
    Py_XDECREF(text);
    return NULL;
}

int py_error_init(PyObject *module)
{
    py_trace_error = PyErr_NewExceptionWithDoc(
        "ferrule.core.TraceError",
        "A placeholder of a compiled function was used where a value is needed.",
        PyExc_RuntimeError, NULL);
    /* MLX raises ValueError for dtypes that don't fit, numpy TypeError: this is both. */
    PyObject *both = PyTuple_Pack(2, PyExc_TypeError, PyExc_ValueError);
    py_dtype_error =
        both
            ? PyErr_NewExceptionWithDoc("ferrule.core.DtypeError",
                                        "An operation was given a dtype that it does not take.",
                                        both, NULL)
            : NULL;
    Py_XDECREF(both);
    return add(module, "TraceError", py_trace_error) ||
                   add(module, "DtypeError", py_dtype_error)
               ? -1
               : 0;
}
