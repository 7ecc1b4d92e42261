/* sort.c - scans, sorting, searching, where the extremes are */
#include "ext.h"

/* axis: given as an int, or all of them (None). */
typedef struct {
    int at;
    bool none;
} axis_argument;

static int read_axis(const py_call *c, PyObject *value, axis_argument *to)
{
    to->none = value == Py_None;
    if (!value || to->none)
        return 0;
    if (!PyIndex_Check(value)) {
        py_complain(PyExc_TypeError, "%s: axis is an int or None, not %R", c->function, value);
        return -1;
    }
    return py_read_int(value, &to->at);
}

/* ---- scans ---------------------------------------------------------------------------- */

typedef fr_array *scan_function(fr_array *x, const fr_scan_options *options);

/* dtype: the slot of it, 0: none. */
static PyObject *scan(scan_function *function, const py_signature *signature, int dtype,
                      PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    axis_argument axis = {0, true};
    fr_scan_options options = {0};
    bool inclusive = true;
    fr_dtype to;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    to = fr_dtype_of(c.x);
    if ((c.at[1] && read_axis(&c, c.at[1], &axis)) || py_read_bool(c.at[2], &options.reverse) ||
        py_read_bool(c.at[3], &inclusive) ||
        (dtype && py_read_dtype(c.at[dtype], &to, c.function)))
        return py_fail_call(&c);
    options.axis = axis.none ? NULL : &axis.at;
    options.exclusive = !inclusive;
    if (to == fr_dtype_of(c.x))
        return py_end_call(&c, function(c.x, &options));
    fr_array *cast = fr_own(fr_astype(c.x, to));
    fr_array *result = fr_own(function(cast, &options));
    fr_free(cast);
    return py_end_call_with(&c, result);
}

PY_CALL(cumsum) { return scan(fr_cumsum, PY_SIGNATURE(cumsum), 4, self, args, n, names); }
PY_CALL(cumprod) { return scan(fr_cumprod, PY_SIGNATURE(cumprod), 4, self, args, n, names); }
PY_CALL(cummax) { return scan(fr_cummax, PY_SIGNATURE(cummax), 0, self, args, n, names); }
PY_CALL(cummin) { return scan(fr_cummin, PY_SIGNATURE(cummin), 0, self, args, n, names); }
PY_CALL(logcumsumexp)
{
    return scan(fr_logcumsumexp, PY_SIGNATURE(logcumsumexp), 0, self, args, n, names);
}

/* ---- along one axis, or flattened -------------------------------------------------------- */

/* The array that is worked on: x, or x flattened where axis is None. A reference; NULL: failed. */
static fr_array *along(py_call *c, PyObject *value, axis_argument *axis)
{
    if (read_axis(c, value, axis))
        return NULL;
    if (!axis->none)
        return fr_keep(c->x);
    axis->at = 0;
    return fr_own(fr_flatten(c->x, 0, -1));
}

static PyObject *along_axis(fr_array *(*function)(fr_array *, int),
                            const py_signature *signature, PyObject *self,
                            PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    axis_argument axis = {-1, false};
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    fr_array *x = along(&c, c.at[1], &axis);
    fr_array *result = x ? fr_own(function(x, axis.at)) : NULL;
    fr_free(x);
    return py_end_call_with(&c, result);
}

static PyObject *with_number(fr_array *(*function)(fr_array *, int64_t, int),
                             const py_signature *signature, PyObject *self,
                             PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    axis_argument axis = {-1, false};
    int number = 0;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &number))
        return py_fail_call(&c);
    fr_array *x = along(&c, c.at[2], &axis);
    fr_array *result = x ? fr_own(function(x, number, axis.at)) : NULL;
    fr_free(x);
    return py_end_call_with(&c, result);
}

PY_CALL(sort) { return along_axis(fr_sort, PY_SIGNATURE(sort), self, args, n, names); }
PY_CALL(argsort) { return along_axis(fr_argsort, PY_SIGNATURE(argsort), self, args, n, names); }
PY_CALL(partition)
{
    return with_number(fr_partition, PY_SIGNATURE(partition), self, args, n, names);
}
PY_CALL(argpartition)
{
    return with_number(fr_argpartition, PY_SIGNATURE(argpartition), self, args, n, names);
}
PY_CALL(topk) { return with_number(fr_topk, PY_SIGNATURE(topk), self, args, n, names); }

PY_CALL(median) { return py_reduce(fr_median, PY_SIGNATURE(median), self, args, n, names); }

/* ---- where the extremes are ---------------------------------------------------------------- */

static PyObject *extreme_at(py_reduction *function, const py_signature *signature,
                            PyObject *self, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    py_call c;
    axis_argument axis = {0, true};
    fr_reduce_options options = {0};
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if ((c.at[1] && read_axis(&c, c.at[1], &axis)) || py_read_bool(c.at[2], &options.keepdims))
        return py_fail_call(&c);
    options.axes = axis.none ? NULL : &axis.at;
    options.naxes = 1;
    return py_end_call(&c, function(c.x, &options));
}

PY_CALL(argmax) { return extreme_at(fr_argmax, PY_SIGNATURE(argmax), self, args, n, names); }
PY_CALL(argmin) { return extreme_at(fr_argmin, PY_SIGNATURE(argmin), self, args, n, names); }

/* ---- searching ----------------------------------------------------------------------------- */

PY_CALL(searchsorted)
{
    py_call c;
    bool right = false;
    if (py_begin_call(&c, PY_SIGNATURE(searchsorted), self, args, n, names))
        return NULL;
    fr_array *values = py_call_operand(&c, 1);
    if (!values)
        return py_fail_call(&c);
    if (c.at[2]) {
        const char *side = PyUnicode_Check(c.at[2]) ? PyUnicode_AsUTF8(c.at[2]) : NULL;
        right = side && !strcmp(side, "right");
        if (!right && (!side || strcmp(side, "left"))) {
            if (!PyErr_Occurred())
                py_complain(PyUnicode_Check(c.at[2]) ? PyExc_ValueError : PyExc_TypeError,
                            "searchsorted: side is 'left' or 'right', not %R", c.at[2]);
            return py_fail_call(&c);
        }
    }
    return py_end_call(&c, fr_searchsorted(c.x, values, right));
}
