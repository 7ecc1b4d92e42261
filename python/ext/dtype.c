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
