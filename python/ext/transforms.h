/* transforms.h - what the files of transformations share: the callable that they return */
#ifndef FERRULE_PYTHON_TRANSFORMS_H
#define FERRULE_PYTHON_TRANSFORMS_H

#include "leaves.h"

typedef struct py_transform { /* a py_wrapper */
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun;
    const char *name;         /* "grad" */
    PyObject *first, *second; /* argnums and argnames, in_axes and out_axes; or NULL */
    PyObject *attributes, *weak;
} py_transform;
extern PyTypeObject py_transform_type;

PyObject *py_transform_new(const char *name, vectorcallfunc call, PyObject *fun,
                           PyObject *first, PyObject *second);
int py_need_callable(PyObject *fun, const char *function);
PyObject *py_call_on_list(PyObject *fun, int n, fr_array *const *arrays); /* fun(*arrays) */
/* An array, or a list or tuple of them. */
int py_read_results(PyObject *result, py_flat *flat, const char *function);

/* batch.c */
typedef struct py_axis_list {
    int *at; /* PyMem's */
    int n, room;
} py_axis_list;
/* The axis of each array in value, in order, from a prefix tree of axes. */
int py_read_axes_of(PyObject *spec, PyObject *value, const char *name, py_axis_list *to);
PyObject *py_call_vmap(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names);

/* custom.c */
extern PyTypeObject py_custom_type;
PyObject *py_call_checkpoint(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names);

#endif
