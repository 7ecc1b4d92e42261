/* create.c - arrays from nothing */
#include "ext.h"

#include <math.h>

typedef fr_array *filler(const int64_t *shape, int ndim, fr_dtype dtype);

static PyObject *filled(filler *function, const py_signature *signature, PyObject *const *args,
                        Py_ssize_t n, PyObject *names)
{
    py_call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype = FR_FLOAT32;
    if (py_begin_bare_call(&c, signature, args, n, names))
        return NULL;
    if (py_read_shape(c.at[0], shape, &ndim, c.function) ||
        py_read_dtype(c.at[1], &dtype, c.function))
        return py_fail_call(&c);
    return py_end_call(&c, function(shape, ndim, dtype));
}

PY_CALL(zeros)
{
    (void)self;
    return filled(fr_zeros, PY_SIGNATURE(zeros), args, n, names);
}

PY_CALL(empty)
{
    (void)self;
    return filled(fr_zeros, PY_SIGNATURE(empty), args, n, names);
}

PY_CALL(ones)
{
    (void)self;
    return filled(fr_ones, PY_SIGNATURE(ones), args, n, names);
}

static PyObject *filled_like(filler *function, const py_signature *signature, PyObject *self,
                             PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    fr_dtype dtype = fr_dtype_of(c.x);
    if (py_read_dtype(c.at[1], &dtype, c.function))
        return py_fail_call(&c);
    return py_end_call(&c, function(fr_dims(c.x), fr_ndim(c.x), dtype));
}

PY_CALL(zeros_like)
{
    return filled_like(fr_zeros, PY_SIGNATURE(zeros_like), self, args, n, names);
}

PY_CALL(empty_like)
{
    return filled_like(fr_zeros, PY_SIGNATURE(empty_like), self, args, n, names);
}

PY_CALL(ones_like)
{
    return filled_like(fr_ones, PY_SIGNATURE(ones_like), self, args, n, names);
}

/* The value as an array of its own (a number: strong, float64 given or not) of this shape. */
static fr_array *full_of(PyObject *value, const fr_dtype *dtype, const int64_t *shape, int ndim)
{
    fr_array *one = py_from_object(value, dtype);
    if (!one)
        return NULL;
    fr_array *result;
    double number;
    bool exact = fr_ndim(one) == 0 && !fr_is_traced(one) && fr_is_done(one) &&
                 (fr_dtype_size(fr_dtype_of(one)) < 8 || fr_dtype_of(one) == FR_FLOAT64);
    if (exact && fr_dtype_of(one) != FR_COMPLEX64 && !fr_item(one, &number))
        result = fr_own(fr_full(shape, ndim, number, fr_dtype_of(one)));
    else
        result = fr_own(fr_broadcast_to(one, shape, ndim));
    fr_free(one);
    if (!result)
        py_raise();
    return result;
}

PY_CALL(full)
{
    py_call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype = FR_FLOAT32;
    (void)self;
    if (py_begin_bare_call(&c, PY_SIGNATURE(full), args, n, names))
        return NULL;
    if (py_read_shape(c.at[0], shape, &ndim, "full") || py_read_dtype(c.at[2], &dtype, "full"))
        return py_fail_call(&c);
    bool given = c.at[2] && c.at[2] != Py_None;
    return py_end_call_with(&c, full_of(c.at[1], given ? &dtype : NULL, shape, ndim));
}

PY_CALL(full_like)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(full_like), self, args, n, names))
        return NULL;
    fr_dtype dtype = fr_dtype_of(c.x);
    if (py_read_dtype(c.at[2], &dtype, "full_like"))
        return py_fail_call(&c);
    return py_end_call_with(&c, full_of(c.at[1], &dtype, fr_dims(c.x), fr_ndim(c.x)));
}

/* arange(stop), arange(start, stop), arange(start, stop, step): ints give int32. */
PY_CALL(arange)
{
    (void)self;
    PyObject *at[5];
    double number[3] = {0, 0, 1};
    bool whole = true;
    fr_dtype dtype = FR_INT32;
    py_stream_guard guard;
    if (py_parse(PY_SIGNATURE(arange), args, n, names, at))
        return NULL;
    if (at[1] && py_dtype_value(at[1], &dtype) && !at[3]) { /* arange(3, float32) */
        at[3] = at[1];
        at[1] = NULL;
    } else if (at[2] && py_dtype_value(at[2], &dtype) && !at[3]) {
        at[3] = at[2];
        at[2] = NULL;
    }
    if (!at[1] || at[1] == Py_None) {
        at[1] = at[0];
        at[0] = NULL;
    }
    if (!at[1]) {
        PyErr_SetString(PyExc_TypeError, "arange() misses its argument 'stop'");
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        if (!at[i] || at[i] == Py_None)
            continue;
        number[i] = PyFloat_AsDouble(at[i]);
        if (number[i] == -1 && PyErr_Occurred())
            return py_name_error("arange");
        whole = whole && PyIndex_Check(at[i]) &&
                !(py_is_array(at[i]) && fr_dtype_of(py_node(at[i])) >= FR_FLOAT16);
    }
    dtype = whole ? FR_INT32 : FR_FLOAT32;
    if (whole && (fabs(number[0]) > INT32_MAX || fabs(number[1]) > INT32_MAX + 1.0))
        dtype = FR_INT64;
    if (py_read_dtype(at[3], &dtype, "arange") || py_stream_enter(at[4], &guard, "arange"))
        return NULL;
    PyObject *result = py_wrap(fr_arange(number[0], number[1], number[2], dtype));
    py_stream_leave(&guard);
    return result ? result : py_name_error("arange");
}

PY_CALL(linspace)
{
    py_call c;
    double start = 0, stop = 0;
    int64_t count = 50;
    bool endpoint = true;
    fr_dtype dtype = FR_FLOAT32;
    (void)self;
    if (py_begin_bare_call(&c, PY_SIGNATURE(linspace), args, n, names))
        return NULL;
    if (py_read_number(c.at[0], &start) || py_read_number(c.at[1], &stop) ||
        py_read_int64(c.at[2], &count, "linspace", "num") || py_read_bool(c.at[3], &endpoint) ||
        py_read_dtype(c.at[4], &dtype, "linspace"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_linspace(start, stop, count, endpoint, dtype));
}

typedef fr_array *window(int64_t n);

static PyObject *windowed(window *function, const py_signature *signature,
                          PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    int64_t points = 0;
    if (py_begin_bare_call(&c, signature, args, n, names))
        return NULL;
    if (py_read_int64(c.at[0], &points, c.function, "M"))
        return py_fail_call(&c);
    return py_end_call(&c, function(points));
}

#define WINDOW(name)                                                                           \
    PY_CALL(name)                                                                              \
    {                                                                                          \
        (void)self;                                                                            \
        return windowed(fr_##name, PY_SIGNATURE(name), args, n, names);                        \
    }
WINDOW(hanning)
WINDOW(hamming)
WINDOW(blackman)
WINDOW(bartlett)
