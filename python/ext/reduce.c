/* reduce.c - functions over axes: the table's reductions, and those made of several */
#include "ext.h"

/* NULL, None: all axes. */
static int read_options(py_call *c, PyObject *axis, PyObject *keepdims, py_axes *axes,
                        fr_reduce_options *options)
{
    if (py_read_axes(axis, axes, c->function) || py_read_bool(keepdims, &options->keepdims))
        return -1;
    options->axes = axes->all ? NULL : axes->at;
    options->naxes = axes->n;
    return 0;
}

PyObject *py_reduce(py_reduction *function, const py_signature *signature, PyObject *self,
                    PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (read_options(&c, c.at[1], c.at[2], &axes, &options))
        return py_fail_call(&c);
    return py_end_call(&c, function(c.x, &options));
}

PY_CALL(mean) { return py_reduce(fr_mean, PY_SIGNATURE(mean), self, args, n, names); }
PY_CALL(logsumexp)
{
    return py_reduce(fr_logsumexp, PY_SIGNATURE(logsumexp), self, args, n, names);
}

static PyObject *spread(py_reduction *function, const py_signature *signature, PyObject *self,
                        PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (read_options(&c, c.at[1], c.at[2], &axes, &options) ||
        py_read_number(c.at[3], &options.ddof) ||
        py_read_number(c.at[4],
                       &options.ddof)) /* correction: where given, the one that counts */
        return py_fail_call(&c);
    return py_end_call(&c, function(c.x, &options));
}

PY_CALL(var) { return spread(fr_var, PY_SIGNATURE(var), self, args, n, names); }
PY_CALL(std) { return spread(fr_std, PY_SIGNATURE(std), self, args, n, names); }

/* precise is accepted for programs that have it: float16 always computes in float32 here. */
PY_CALL(softmax)
{
    py_call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (py_begin_call(&c, PY_SIGNATURE(softmax), self, args, n, names))
        return NULL;
    if (read_options(&c, c.at[1], NULL, &axes, &options))
        return py_fail_call(&c);
    return py_end_call(&c, fr_softmax(c.x, &options));
}

PY_CALL(count_nonzero)
{
    return py_reduce(fr_count_nonzero, PY_SIGNATURE(count_nonzero), self, args, n, names);
}

PY_CALL(minmax)
{
    py_call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (py_begin_call(&c, PY_SIGNATURE(minmax), self, args, n, names))
        return NULL;
    if (read_options(&c, c.at[1], c.at[2], &axes, &options))
        return py_fail_call(&c);
    PyObject *low = py_wrap(fr_min(c.x, &options));
    PyObject *high = low ? py_wrap(fr_max(c.x, &options)) : NULL;
    PyObject *both = high ? PyTuple_Pack(2, low, high) : NULL;
    Py_XDECREF(low);
    Py_XDECREF(high);
    return py_end_call_object(&c, both);
}
