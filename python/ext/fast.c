/* fast.c - the routines behind mx.fast, which checks arguments and has the manual */
#include "ext.h"

/* _attention(q, k, v, scale, mask, causal): mask None or an array */
static PyObject *call_attention(PyObject *module, PyObject *args)
{
    PyObject *q, *k, *v, *mask;
    fr_attention_options options = {0};
    int causal;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!O!dOp:_attention", &py_array_type, &q, &py_array_type, &k,
                          &py_array_type, &v, &options.scale, &mask, &causal))
        return NULL;
    if (mask != Py_None && !py_is_array(mask)) {
        PyErr_SetString(PyExc_TypeError, "_attention: a mask is an array or None");
        return NULL;
    }
    options.mask = mask == Py_None ? NULL : py_node(mask);
    options.causal = causal != 0;
    return py_wrap(fr_attention(py_node(q), py_node(k), py_node(v), &options));
}

PyMethodDef py_fast_functions[] = {
    {"_attention", call_attention, METH_VARARGS, NULL},
    PY_END,
};
