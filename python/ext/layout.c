/* layout.c - arrays taken apart, repeated, shifted, padded; diagonals and triangles */
#include "ext.h"

/* ---- any number of arrays in --------------------------------------------------------- */

/* f(*arrays, stream=None ...): the arrays as references of the caller's, keywords in the slots. */
static Py_ssize_t begin_many(py_call *c, const py_signature *signature, PyObject *const *args,
                             Py_ssize_t n, PyObject *names, fr_array ***arrays)
{
    if (py_begin_bare_call(c, signature, args + n, 0, names))
        return -1;
    Py_ssize_t count = py_take_arrays(args, n, c->function, arrays);
    if (count < 0)
        py_fail_call(c);
    return count;
}

/* A list of what was written for n of them; several: even of one. */
static PyObject *end_many(py_call *c, fr_array **arrays, Py_ssize_t n, fr_array **results,
                          bool failed, bool tuple)
{
    py_free_arrays(arrays, n);
    PyObject *all = results ? py_end_call_all(c, failed ? -1 : (int)n, results, tuple)
                            : py_end_call_object(c, PyErr_NoMemory());
    PyMem_Free(results);
    return all;
}

PY_CALL(broadcast_arrays)
{
    py_call c;
    fr_array **arrays;
    (void)self;
    Py_ssize_t count = begin_many(&c, PY_SIGNATURE(broadcast_arrays), args, n, names, &arrays);
    if (count < 0)
        return NULL;
    fr_array **results = PyMem_Calloc((size_t)count + 1, sizeof *results);
    bool failed = results && fr_broadcast_arrays((int)count, arrays, results);
    return end_many(&c, arrays, count, results, failed, false);
}

PY_CALL(meshgrid)
{
    py_call c;
    fr_array **arrays;
    fr_meshgrid_options options = {.xy = true};
    (void)self;
    Py_ssize_t count = begin_many(&c, PY_SIGNATURE(meshgrid), args, n, names, &arrays);
    if (count < 0)
        return NULL;
    bool failed = c.at[0] && c.at[0] != Py_None && py_read_bool(c.at[0], &options.sparse);
    if (!failed && c.at[1] && c.at[1] != Py_None) {
        options.xy =
            PyUnicode_Check(c.at[1]) && !PyUnicode_CompareWithASCIIString(c.at[1], "xy");
        failed = !options.xy && !(PyUnicode_Check(c.at[1]) &&
                                  !PyUnicode_CompareWithASCIIString(c.at[1], "ij"));
        if (failed)
            py_complain(PyExc_ValueError, "meshgrid: indexing is 'xy' or 'ij', not %R",
                        c.at[1]);
    }
    fr_array **results = PyMem_Calloc((size_t)count + 1, sizeof *results);
    failed = failed || (results && fr_meshgrid((int)count, arrays, &options, results));
    return end_many(&c, arrays, count, results, failed, true);
}

typedef fr_array *of_one(fr_array *x);

/* One array gives an array, several a list. */
static PyObject *each(of_one *function, const py_signature *signature, PyObject *const *args,
                      Py_ssize_t n, PyObject *names)
{
    py_call c;
    fr_array **arrays;
    Py_ssize_t count = begin_many(&c, signature, args, n, names, &arrays);
    if (count < 0)
        return NULL;
    if (count == 1) {
        fr_array *result = function(arrays[0]);
        py_free_arrays(arrays, 1);
        return py_end_call(&c, result);
    }
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *one = py_wrap(function(arrays[i]));
        if (one)
            PyList_SET_ITEM(list, i, one);
        else
            Py_CLEAR(list);
    }
    py_free_arrays(arrays, count);
    return py_end_call_object(&c, list);
}

PY_CALL(atleast_1d)
{
    (void)self;
    return each(fr_atleast_1d, PY_SIGNATURE(atleast_1d), args, n, names);
}

PY_CALL(atleast_2d)
{
    (void)self;
    return each(fr_atleast_2d, PY_SIGNATURE(atleast_2d), args, n, names);
}

PY_CALL(atleast_3d)
{
    (void)self;
    return each(fr_atleast_3d, PY_SIGNATURE(atleast_3d), args, n, names);
}

/* Shapes broadcast as arrays of them do. */
PY_CALL(broadcast_shapes)
{
    (void)self;
    int64_t shape[FR_MAX_NDIM];
    int ndim = 0;
    PyObject *result = NULL, *slots[1];
    if (py_parse(PY_SIGNATURE(broadcast_shapes), args + n, 0, names, slots))
        return NULL;
    if (!n) {
        PyErr_SetString(PyExc_ValueError, "broadcast_shapes: no shapes");
        return NULL;
    }
    fr_array **arrays = PyMem_Calloc((size_t)n, sizeof *arrays);
    if (!arrays)
        return PyErr_NoMemory();
    Py_ssize_t made = 0;
    for (; made < n && !py_read_shape(args[made], shape, &ndim, "broadcast_shapes"); made++)
        if (!(arrays[made] = fr_own(fr_zeros(shape, ndim, FR_BOOL))))
            break;
    if (made == n && (ndim = fr_broadcast_shapes((int)n, arrays, shape)) >= 0)
        result = PyTuple_New(ndim);
    else if (!PyErr_Occurred())
        py_raise();
    py_free_arrays(arrays, made);
    for (int i = 0; result && i < ndim; i++) {
        PyObject *size = PyLong_FromLongLong(shape[i]);
        if (size)
            PyTuple_SET_ITEM(result, i, size);
        else
            Py_CLEAR(result);
    }
    return result ? result : py_name_error("broadcast_shapes");
}

/* ---- one array in pieces ------------------------------------------------------------- */

/* Where to cut: a list of integers, of any length. */
static Py_ssize_t read_places(PyObject *value, int64_t **places)
{
    PyObject *items = PySequence_Fast(value, "split: wanted an int or a sequence of ints");
    if (!items)
        return -1;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items);
    *places = PyMem_Calloc((size_t)n + 1, sizeof **places);
    bool good = *places != NULL;
    if (!good)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; good && i < n; i++)
        good =
            !py_read_int64(PySequence_Fast_GET_ITEM(items, i), *places + i, "split", "a place");
    Py_DECREF(items);
    if (!good)
        PyMem_Free(*places);
    return good ? n : -1;
}

PY_CALL(split)
{
    py_call c;
    int axis = 0, parts = 0;
    int64_t *places = NULL;
    if (py_begin_call(&c, PY_SIGNATURE(split), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[2], &axis))
        return py_fail_call(&c);
    bool equal = PyIndex_Check(c.at[1]);
    if (equal ? py_read_int(c.at[1], &parts)
              : (parts = (int)read_places(c.at[1], &places) + 1) == 0)
        return py_fail_call(&c);
    fr_array **to = PyMem_Calloc((size_t)(parts > 0 ? parts : 1), sizeof *to);
    PyObject *list = NULL;
    if (!to)
        list = py_end_call_object(&c, PyErr_NoMemory());
    else if (equal ? fr_split(c.x, parts, axis, to)
                   : fr_split_at(c.x, parts - 1, places, axis, to))
        list = py_fail_call(&c);
    else
        list = py_end_call_all(&c, parts, to, false);
    PyMem_Free(places);
    PyMem_Free(to);
    return list;
}

PY_CALL(unstack)
{
    py_call c;
    int axis = 0;
    if (py_begin_call(&c, PY_SIGNATURE(unstack), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &axis))
        return py_fail_call(&c);
    int ndim = fr_ndim(c.x), at = axis < 0 ? axis + ndim : axis;
    int64_t count = at >= 0 && at < ndim ? fr_dims(c.x)[at] : 0;
    fr_array **to = PyMem_Calloc((size_t)count + 1, sizeof *to);
    if (!to)
        return py_end_call_object(&c, PyErr_NoMemory());
    PyObject *all = fr_unstack(c.x, axis, to) ? py_fail_call(&c)
                                              : py_end_call_all(&c, (int)count, to, true);
    PyMem_Free(to);
    return all;
}

/* ---- repeated, shifted, reversed ----------------------------------------------------- */

PY_CALL(tile)
{
    py_call c;
    int64_t reps[FR_MAX_NDIM];
    int count;
    if (py_begin_call(&c, PY_SIGNATURE(tile), self, args, n, names))
        return NULL;
    if (py_read_shape(c.at[1], reps, &count, "tile"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_tile(c.x, reps, count));
}

/* x flattened where axis is None or not given, a reference of the caller's. */
static fr_array *flat_without(fr_array *x, PyObject *axis)
{
    bool none = !axis || axis == Py_None;
    return none ? fr_own(fr_reshape(x, &(int64_t){-1}, 1)) : fr_keep(x);
}

PY_CALL(repeat)
{
    py_call c;
    int axis = 0;
    int64_t times = 1;
    if (py_begin_call(&c, PY_SIGNATURE(repeat), self, args, n, names))
        return NULL;
    if (py_read_int64(c.at[1], &times, "repeat", "repeats") ||
        (c.at[2] != Py_None && py_read_int(c.at[2], &axis)))
        return py_fail_call(&c);
    fr_array *x = flat_without(c.x, c.at[2]), *result = fr_repeat(x, times, axis);
    fr_free(x);
    return py_end_call(&c, result);
}

PY_CALL(roll)
{
    py_call c;
    py_axes axes;
    int64_t shifts[FR_MAX_NDIM];
    int count;
    if (py_begin_call(&c, PY_SIGNATURE(roll), self, args, n, names))
        return NULL;
    if (py_read_shape(c.at[1], shifts, &count, "roll") || py_read_axes(c.at[2], &axes, "roll"))
        return py_fail_call(&c);
    if (axes.all || (axes.n == 1 && count != 1)) { /* all of them shift one axis */
        int64_t sum = 0;
        for (int i = 0; i < count; i++)
            sum = (int64_t)((uint64_t)sum + (uint64_t)shifts[i]);
        shifts[0] = sum;
        count = 1;
    }
    if (!axes.all && count == 1)
        for (; count < axes.n; count++)
            shifts[count] = shifts[0];
    if (!axes.all && count != axes.n) {
        PyErr_Format(PyExc_ValueError, "roll: %d shifts for %d axes", count, axes.n);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_roll(c.x, shifts, count, axes.all ? NULL : axes.at));
}

PY_CALL(flip)
{
    py_call c;
    py_axes axes;
    if (py_begin_call(&c, PY_SIGNATURE(flip), self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "flip"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_flip(c.x, axes.all ? NULL : axes.at, axes.n));
}

PY_CALL(diff)
{
    py_call c;
    int times = 1, axis = -1;
    if (py_begin_call(&c, PY_SIGNATURE(diff), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &times) || py_read_int(c.at[2], &axis))
        return py_fail_call(&c);
    return py_end_call(&c, fr_diff(c.x, times, axis));
}

PY_CALL(as_strided)
{
    py_call c;
    int64_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM], offset = 0;
    int ndim, nstrides;
    if (py_begin_call(&c, PY_SIGNATURE(as_strided), self, args, n, names))
        return NULL;
    bool shaped = c.at[1] && c.at[1] != Py_None, strided = c.at[2] && c.at[2] != Py_None;
    ndim = nstrides = fr_ndim(c.x);
    if ((shaped && py_read_shape(c.at[1], shape, &ndim, "as_strided")) ||
        (strided && py_read_shape(c.at[2], strides, &nstrides, "as_strided")) ||
        py_read_int64(c.at[3], &offset, "as_strided", "offset"))
        return py_fail_call(&c);
    if (strided && nstrides != ndim) {
        PyErr_Format(PyExc_ValueError, "as_strided: %d strides for %d dimensions", nstrides,
                     ndim);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_as_strided(c.x, shaped ? shape : fr_dims(c.x),
                                         strided ? strides : NULL, ndim, offset));
}

/* ---- slices at computed places -------------------------------------------------------- */

PY_CALL(slice)
{
    py_call c;
    py_axes axes;
    int64_t sizes[FR_MAX_NDIM];
    int count;
    if (py_begin_call(&c, PY_SIGNATURE(slice), self, args, n, names))
        return NULL;
    fr_array *starts = py_call_operand(&c, 1);
    if (!starts || py_read_axes(c.at[2], &axes, "slice") ||
        py_read_shape(c.at[3], sizes, &count, "slice"))
        return py_fail_call(&c);
    if (count != fr_ndim(c.x)) {
        PyErr_Format(PyExc_ValueError, "slice: %d sizes for an array of %d dimensions", count,
                     fr_ndim(c.x));
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_dynamic_slice(c.x, starts, axes.at, axes.n, sizes));
}

PY_CALL(slice_update)
{
    py_call c;
    py_axes axes;
    if (py_begin_call(&c, PY_SIGNATURE(slice_update), self, args, n, names))
        return NULL;
    fr_array *v = py_call_operand(&c, 1), *starts = v ? py_call_operand(&c, 2) : NULL;
    if (!starts || py_read_axes(c.at[3], &axes, "slice_update"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_dynamic_slice_update(c.x, v, starts, axes.at, axes.n));
}

/* ---- diagonals and triangles ---------------------------------------------------------- */

PY_CALL(diagonal)
{
    py_call c;
    int offset = 0, axis1 = 0, axis2 = 1;
    if (py_begin_call(&c, PY_SIGNATURE(diagonal), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &offset) || py_read_int(c.at[2], &axis1) ||
        py_read_int(c.at[3], &axis2))
        return py_fail_call(&c);
    return py_end_call(&c, fr_diagonal(c.x, offset, axis1, axis2));
}

/* With a dtype it adds up in that. */
PY_CALL(trace)
{
    py_call c;
    int offset = 0, axis1 = 0, axis2 = 1;
    if (py_begin_call(&c, PY_SIGNATURE(trace), self, args, n, names))
        return NULL;
    fr_dtype dtype = fr_dtype_of(c.x);
    bool given = c.at[4] && c.at[4] != Py_None;
    if (py_read_int(c.at[1], &offset) || py_read_int(c.at[2], &axis1) ||
        py_read_int(c.at[3], &axis2) || py_read_dtype(c.at[4], &dtype, "trace"))
        return py_fail_call(&c);
    fr_array *x = fr_own(fr_astype(c.x, dtype));
    fr_array *sum = fr_own(fr_matrix_trace(x, offset, axis1, axis2));
    fr_array *result = given ? fr_own(fr_astype(sum, dtype)) : fr_keep(sum);
    fr_free(x);
    fr_free(sum);
    return py_end_call_with(&c, result);
}

typedef fr_array *by_diagonal(fr_array *x, int k);

static PyObject *of_diagonal(by_diagonal *function, const py_signature *signature,
                             PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    py_call c;
    int k = 0;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &k))
        return py_fail_call(&c);
    return py_end_call(&c, function(c.x, k));
}

PY_CALL(diag) { return of_diagonal(fr_diag, PY_SIGNATURE(diag), self, args, n, names); }
PY_CALL(tril) { return of_diagonal(fr_tril, PY_SIGNATURE(tril), self, args, n, names); }
PY_CALL(triu) { return of_diagonal(fr_triu, PY_SIGNATURE(triu), self, args, n, names); }

typedef fr_array *matrix_maker(int64_t n, int64_t m, int k, fr_dtype dtype);

/* m None: as n. */
static PyObject *made_matrix(matrix_maker *function, const py_signature *signature,
                             PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    int64_t rows, columns;
    int k = 0;
    fr_dtype dtype = FR_FLOAT32;
    if (py_begin_bare_call(&c, signature, args, n, names))
        return NULL;
    if (py_read_int64(c.at[0], &rows, c.function, "n"))
        return py_fail_call(&c);
    if (rows < 0 && function == fr_tri) /* as MLX: nothing */
        rows = 0;
    columns = rows;
    if ((c.at[1] != Py_None && py_read_int64(c.at[1], &columns, c.function, "m")) ||
        py_read_int(c.at[2], &k) || py_read_dtype(c.at[3], &dtype, c.function))
        return py_fail_call(&c);
    return py_end_call(&c, function(rows, columns, k, dtype));
}

PY_CALL(tri)
{
    (void)self;
    return made_matrix(fr_tri, PY_SIGNATURE(tri), args, n, names);
}

PY_CALL(eye)
{
    (void)self;
    return made_matrix(fr_eye, PY_SIGNATURE(eye), args, n, names);
}

PY_CALL(identity)
{
    py_call c;
    int64_t side;
    fr_dtype dtype = FR_FLOAT32;
    (void)self;
    if (py_begin_bare_call(&c, PY_SIGNATURE(identity), args, n, names))
        return NULL;
    if (py_read_int64(c.at[0], &side, "identity", "n") ||
        py_read_dtype(c.at[1], &dtype, "identity"))
        return py_fail_call(&c);
    return py_end_call(&c, fr_eye(side, side, 0, dtype));
}
