/* conv.c - convolutions of functions.def, and windows for pooling */
#include "ext.h"

/* One number for all spatial axes, or one for each. */
static int read_each(PyObject *value, int n, int64_t otherwise, int64_t *to, const char *op)
{
    int count = 1;
    to[0] = otherwise;
    if (value && py_read_shape(value, to, &count, op))
        return -1;
    if (count != 1 && count != n) {
        PyErr_Format(PyExc_ValueError, "%s: %d numbers for %d spatial axes", op, count, n);
        return -1;
    }
    for (int i = 1; i < n && count == 1; i++)
        to[i] = to[0];
    return 0;
}

/* Both operands and how many spatial axes there are. -1: raised, the call failed. */
static int begin(py_call *c, const py_signature *s, fr_array **w, int axes, PyObject *self,
                 PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (py_begin_call(c, s, self, args, n, names))
        return -1;
    int have = fr_ndim(c->x) - 2;
    if (have < 1 || (axes && have != axes)) {
        if (axes)
            PyErr_Format(PyExc_ValueError, "%s: input must have %d dimensions, not %d",
                         s->function, axes + 2, have + 2);
        else
            PyErr_Format(PyExc_ValueError, "%s: input must have 3 dimensions or more, not %d",
                         s->function, have + 2);
        py_fail_call(c);
        return -1;
    }
    *w = py_call_operand(c, 1);
    if (!*w) {
        py_fail_call(c);
        return -1;
    }
    return have;
}

static int read_groups(PyObject *value, int64_t *to, const char *op)
{
    int groups = 1;
    if (py_read_int(value, &groups))
        return -1;
    if (groups < 1) {
        PyErr_Format(PyExc_ValueError, "%s: %d groups", op, groups);
        return -1;
    }
    *to = groups;
    return 0;
}

static PyObject *plain(const py_signature *s, int axes, PyObject *self, PyObject *const *args,
                       Py_ssize_t n, PyObject *names)
{
    py_call c;
    fr_array *w;
    int64_t stride[FR_MAX_NDIM], padding[FR_MAX_NDIM], dilation[FR_MAX_NDIM];
    fr_conv_options o = {.stride = stride, .padding = padding, .dilation = dilation};
    if (begin(&c, s, &w, axes, self, args, n, names) < 0)
        return NULL;
    if (read_each(c.at[2], axes, 1, stride, s->function) ||
        read_each(c.at[3], axes, 0, padding, s->function) ||
        read_each(c.at[4], axes, 1, dilation, s->function) ||
        read_groups(c.at[5], &o.groups, s->function))
        return py_fail_call(&c);
    return py_end_call(&c, fr_conv(c.x, w, &o));
}

static PyObject *transposed(const py_signature *s, int axes, PyObject *self,
                            PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    fr_array *w;
    int64_t stride[FR_MAX_NDIM], padding[FR_MAX_NDIM], dilation[FR_MAX_NDIM];
    int64_t more[FR_MAX_NDIM];
    fr_conv_options o = {.stride = stride, .padding = padding, .dilation = dilation};
    if (begin(&c, s, &w, axes, self, args, n, names) < 0)
        return NULL;
    if (read_each(c.at[2], axes, 1, stride, s->function) ||
        read_each(c.at[3], axes, 0, padding, s->function) ||
        read_each(c.at[4], axes, 1, dilation, s->function) ||
        read_each(c.at[5], axes, 0, more, s->function) ||
        read_groups(c.at[6], &o.groups, s->function))
        return py_fail_call(&c);
    return py_end_call(&c, fr_conv_transpose(c.x, w, &o, more));
}

#define CONVOLUTION(kind, name, axes)                                                          \
    PY_CALL(name) { return kind(PY_SIGNATURE(name), axes, self, args, n, names); }
CONVOLUTION(plain, conv1d, 1)
CONVOLUTION(plain, conv2d, 2)
CONVOLUTION(plain, conv3d, 3)
CONVOLUTION(transposed, conv_transpose1d, 1)
CONVOLUTION(transposed, conv_transpose2d, 2)
CONVOLUTION(transposed, conv_transpose3d, 3)

/* Numbers, or a pair of sequences: zeros before, zeros after. */
static int read_padding(PyObject *value, int n, int64_t *before, int64_t *after, const char *op)
{
    bool pair = value && (PyTuple_Check(value) || PyList_Check(value)) &&
                PySequence_Fast_GET_SIZE(value) == 2 &&
                !PyIndex_Check(PySequence_Fast_GET_ITEM(value, 0));
    PyObject *second = pair ? PySequence_Fast_GET_ITEM(value, 1) : value;
    return read_each(pair ? PySequence_Fast_GET_ITEM(value, 0) : value, n, 0, before, op) ||
                   read_each(second, n, 0, after, op)
               ? -1
               : 0;
}

PY_CALL(conv_general)
{
    const char *op = "conv_general";
    py_call c;
    fr_array *w;
    int64_t stride[FR_MAX_NDIM], before[FR_MAX_NDIM], after[FR_MAX_NDIM];
    int64_t dilation[FR_MAX_NDIM], between[FR_MAX_NDIM];
    fr_conv_options o = {.stride = stride,
                         .padding = before,
                         .padding_after = after,
                         .dilation = dilation,
                         .input_dilation = between};
    int axes = begin(&c, PY_SIGNATURE(conv_general), &w, 0, self, args, n, names);
    if (axes < 0)
        return NULL;
    if (read_each(c.at[2], axes, 1, stride, op) ||
        read_padding(c.at[3], axes, before, after, op) ||
        read_each(c.at[4], axes, 1, dilation, op) || read_each(c.at[5], axes, 1, between, op) ||
        read_groups(c.at[6], &o.groups, op) || py_read_bool(c.at[7], &o.flip))
        return py_fail_call(&c);
    return py_end_call(&c, fr_conv(c.x, w, &o));
}

/* _windows(x, axis, size, step): what pooling layers reduce */
static PyObject *call_windows(PyObject *module, PyObject *args)
{
    PyObject *x;
    int axis;
    long long size, step;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!iLL:_windows", &py_array_type, &x, &axis, &size, &step))
        return NULL;
    return py_wrap(fr_windows(py_node(x), axis, size, step, 1));
}

PyMethodDef py_conv_functions[] = {
    {"_windows", call_windows, METH_VARARGS, NULL},
    PY_END,
};
