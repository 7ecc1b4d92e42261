/* shape.c - shapes: views, and arrays laid out anew */
#include "ext.h"

/* x.reshape(2, 3) is x.reshape((2, 3)): the numbers of a method become one tuple. */
static int pack_numbers(PyObject *self, PyObject *const **args, Py_ssize_t *n, PyObject *names,
                        PyObject **packed, PyObject *with[4])
{
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    if (!self || !py_is_array(self) || *n == 1 || (*n == 0 && keywords) || keywords > 3)
        return 0;
    *packed = PyTuple_New(*n);
    if (!*packed)
        return -1;
    for (Py_ssize_t i = 0; i < *n; i++) {
        Py_INCREF((*args)[i]);
        PyTuple_SET_ITEM(*packed, i, (*args)[i]);
    }
    with[0] = *packed;
    for (Py_ssize_t k = 0; k < keywords; k++)
        with[k + 1] = (*args)[*n + k];
    *args = with;
    *n = 1;
    return 0;
}

PY_CALL(reshape)
{
    py_call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    PyObject *packed = NULL, *with[4];
    if (pack_numbers(self, &args, &n, names, &packed, with))
        return NULL;
    int failed = py_begin_call(&c, PY_SIGNATURE(reshape), self, args, n, names);
    if (!failed && py_read_shape(c.at[1], shape, &ndim, "reshape"))
        failed = (py_fail_call(&c), -1);
    Py_XDECREF(packed);
    return failed ? NULL : py_end_call(&c, fr_reshape(c.x, shape, ndim));
}

static PyObject *transposed(const py_signature *signature, PyObject *self,
                            PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    py_axes axes;
    PyObject *packed = NULL, *with[4];
    if (n > 0 && pack_numbers(self, &args, &n, names, &packed, with))
        return NULL;
    int failed = py_begin_call(&c, signature, self, args, n, names);
    if (!failed && py_read_axes(c.at[1], &axes, "transpose"))
        failed = (py_fail_call(&c), -1);
    Py_XDECREF(packed);
    return failed ? NULL
                  : py_end_call(&c, fr_transpose(c.x, axes.all ? NULL : axes.at, axes.n));
}

PY_CALL(transpose) { return transposed(PY_SIGNATURE(transpose), self, args, n, names); }
PY_CALL(permute_dims) { return transposed(PY_SIGNATURE(permute_dims), self, args, n, names); }

PY_CALL(matrix_transpose)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(matrix_transpose), self, args, n, names))
        return NULL;
    return py_end_call(&c, fr_matrix_transpose(c.x));
}

PY_CALL(unflatten)
{
    py_call c;
    int axis = 0, ndim;
    int64_t shape[FR_MAX_NDIM];
    if (py_begin_call(&c, PY_SIGNATURE(unflatten), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &axis) || py_read_shape(c.at[2], shape, &ndim, "unflatten"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_unflatten(c.x, axis, shape, ndim));
}

typedef fr_array *axis_pair(fr_array *x, int first, int second);

static PyObject *two_axes(axis_pair *function, const py_signature *signature, PyObject *self,
                          PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    int first = 0, second = 0;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &first) || py_read_int(c.at[2], &second))
        return py_fail_call(&c);
    return py_end_call(&c, function(c.x, first, second));
}

PY_CALL(swapaxes)
{
    return two_axes(fr_swapaxes, PY_SIGNATURE(swapaxes), self, args, n, names);
}

PY_CALL(moveaxis)
{
    return two_axes(fr_moveaxis, PY_SIGNATURE(moveaxis), self, args, n, names);
}

PY_CALL(squeeze)
{
    py_call c;
    py_axes axes;
    if (py_begin_call(&c, PY_SIGNATURE(squeeze), self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "squeeze"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_squeeze(c.x, axes.all ? NULL : axes.at, axes.n));
}

PY_CALL(expand_dims)
{
    py_call c;
    py_axes axes;
    if (py_begin_call(&c, PY_SIGNATURE(expand_dims), self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "expand_dims"))
        return py_fail_call(&c);
    if (axes.all) {
        PyErr_SetString(PyExc_TypeError, "expand_dims: axis must be an int or a tuple of ints");
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_expand_dims(c.x, axes.at, axes.n));
}

PY_CALL(flatten)
{
    py_call c;
    int start = 0, end = -1;
    if (py_begin_call(&c, PY_SIGNATURE(flatten), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &start) || py_read_int(c.at[2], &end))
        return py_fail_call(&c);
    int last = fr_ndim(c.x) - 1; /* beyond the ends: the ends */
    start = start < -last ? 0 : start;
    end = end > last ? last : end;
    if (last >= 0 && (start > last || end < -last - 1)) {
        PyErr_Format(PyExc_ValueError, "flatten: axis %d comes after axis %d", start, end);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_flatten(c.x, start, end));
}

PY_CALL(broadcast_to)
{
    py_call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    if (py_begin_call(&c, PY_SIGNATURE(broadcast_to), self, args, n, names))
        return NULL;
    if (py_read_shape(c.at[1], shape, &ndim, "broadcast_to"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_broadcast_to(c.x, shape, ndim));
}

PY_CALL(contiguous)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(contiguous), self, args, n, names))
        return NULL;
    return py_end_call(&c, fr_contiguous(c.x));
}

PY_CALL(astype)
{
    py_call c;
    fr_dtype dtype;
    if (py_begin_call(&c, PY_SIGNATURE(astype), self, args, n, names))
        return NULL;
    if (!py_dtype_value(c.at[1], &dtype)) {
        py_complain(PyExc_TypeError,
                    "astype: wanted a dtype like float32 of this module, not %R", c.at[1]);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_astype(c.x, dtype));
}
