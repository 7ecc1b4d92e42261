/* dtype.c - mx.float32 and its kin: one object for each row of the library's table */
#include "ext.h"

typedef struct dtype_object {
    PyObject_HEAD fr_dtype value;
} dtype_object;

static dtype_object objects[FR_DTYPE_COUNT];

PyObject *py_dtype_object(fr_dtype dtype)
{
    PyObject *object = (PyObject *)&objects[dtype];
    Py_INCREF(object);
    return object;
}

bool py_dtype_value(PyObject *object, fr_dtype *to)
{
    if (!Py_IS_TYPE(object, &py_dtype_type))
        return false;
    *to = ((dtype_object *)object)->value;
    return true;
}

static PyObject *dtype_repr(PyObject *self)
{
    return PyUnicode_FromFormat("ferrule.core.%s",
                                fr_dtype_name(((dtype_object *)self)->value));
}

static PyObject *dtype_size(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(fr_dtype_size(((dtype_object *)self)->value));
}

static PyObject *dtype_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(fr_dtype_name(((dtype_object *)self)->value));
}

/* By its name, so that copies and pickles are the same object again. */
static PyObject *dtype_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    fr_dtype value = ((dtype_object *)self)->value;
    return PyUnicode_FromFormat("%s%s", fr_dtype_name(value), value == FR_BOOL ? "_" : "");
}

static PyGetSetDef dtype_attributes[] = {
    {"size", dtype_size, NULL, "bytes of an element", NULL},
    {"name", dtype_name, NULL, "the name alone: 'float32'", NULL},
    {"__name__", dtype_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef dtype_methods[] = {
    {"__reduce__", dtype_reduce, METH_NOARGS, NULL},
    PY_END,
};

PyTypeObject py_dtype_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.Dtype",
    .tp_basicsize = sizeof(dtype_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The type of an array's elements.",
    .tp_repr = dtype_repr,
    .tp_getset = dtype_attributes,
    .tp_methods = dtype_methods,
};

int py_dtype_init(PyObject *module)
{
    if (PyType_Ready(&py_dtype_type))
        return -1;
    for (int d = 0; d < FR_DTYPE_COUNT; d++) {
        dtype_object *object = &objects[d];
        if (!Py_REFCNT(object)) /* static: it starts with a reference that nobody gives back */
            PyObject_Init((PyObject *)object, &py_dtype_type);
        object->value = (fr_dtype)d;
        const char *name = d == FR_BOOL ? "bool_" : fr_dtype_name((fr_dtype)d);
        PyObject *reference = py_dtype_object((fr_dtype)d);
        if (PyModule_AddObject(module, name, reference)) {
            Py_DECREF(reference);
            return -1;
        }
    }
    Py_INCREF(&py_dtype_type);
    return PyModule_AddObject(module, "Dtype", (PyObject *)&py_dtype_type);
}

/* ---- what is known of each ---------------------------------------------------------------- */

static int need_dtype(PyObject *object, fr_dtype *to, const char *function)
{
    if (py_dtype_value(object, to))
        return 0;
    py_complain(PyExc_TypeError, "%s: wanted a dtype, not %R", function, object);
    return -1;
}

static PyObject *call_finfo(PyObject *module, PyObject *object)
{
    (void)module;
    fr_dtype dtype;
    fr_finfo info;
    if (need_dtype(object, &dtype, "finfo"))
        return NULL;
    if (fr_get_finfo(dtype, &info))
        return py_raise();
    return Py_BuildValue("(Nidddd)", py_dtype_object(info.dtype), info.bits, info.min, info.max,
                         info.eps, info.smallest_normal);
}

static PyObject *call_iinfo(PyObject *module, PyObject *object)
{
    (void)module;
    fr_dtype dtype;
    fr_iinfo info;
    if (need_dtype(object, &dtype, "iinfo"))
        return NULL;
    if (fr_get_iinfo(dtype, &info))
        return py_raise();
    return Py_BuildValue("(NiLK)", py_dtype_object(info.dtype), info.bits, (long long)info.min,
                         (unsigned long long)info.max);
}

static PyObject *call_in_category(PyObject *module, PyObject *args)
{
    (void)module;
    static const char *const names[] = {"generic",       "number",          "integer",
                                        "signedinteger", "unsignedinteger", "inexact",
                                        "floating",      "complexfloating"};
    PyObject *object;
    const char *name;
    fr_dtype dtype;
    if (!PyArg_ParseTuple(args, "Os", &object, &name) ||
        need_dtype(object, &dtype, "issubdtype"))
        return NULL;
    for (int c = 0; c <= FR_COMPLEXFLOATING; c++)
        if (!strcmp(name, names[c]))
            return PyBool_FromLong(fr_in_category(dtype, (fr_category)c));
    PyErr_Format(PyExc_ValueError, "issubdtype: no category %s", name);
    return NULL;
}

/* Dtypes promote like strong arrays. */
static PyObject *call_result_type(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    fr_dtype result = FR_DTYPE_COUNT;
    if (n < 1) {
        PyErr_SetString(PyExc_ValueError, "result_type: wanted an array or a dtype at least");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        fr_dtype dtype;
        if (py_is_array(args[i])) {
            dtype = fr_dtype_of(py_node(args[i]));
        } else if (!py_dtype_value(args[i], &dtype)) {
            py_complain(PyExc_ValueError, "result_type: wanted arrays or dtypes, not %R",
                        args[i]);
            return NULL;
        }
        result = i ? fr_promote(result, dtype) : dtype;
    }
    return py_dtype_object(result);
}

PyMethodDef py_dtype_functions[] = {
    {"_finfo", call_finfo, METH_O, NULL},
    {"_iinfo", call_iinfo, METH_O, NULL},
    {"_in_category", call_in_category, METH_VARARGS, NULL},
    {"result_type", (PyCFunction)(void (*)(void))call_result_type, METH_FASTCALL,
     "result_type(*arrays_and_dtypes)\n--\n\nthe dtype that arrays and dtypes promote to"},
    PY_END,
};
