/* index.c - x[...]: what an index means
 *
 * needs   ints, slices of either sign, one Ellipsis, None, arrays and nested lists of integers, alone
 *         or in a tuple; or a boolean mask alone
 * gives   a py_index; x[index]
 *
 * Where the axes of arrays go is numpy's rule: in the place of the arrays (ints among them count as
 * such) if these stand side by side, in front otherwise.
 */
#include "index.h"

typedef enum item_kind { INT, SLICE, NEW, REST, ARRAY } item_kind;

static PyObject *no_index(PyObject *item)
{
    PyErr_Format(PyExc_ValueError,
                 "an index is an int, a slice, ..., None, an array or list of integers, or a "
                 "tuple of them, not %s",
                 Py_TYPE(item)->tp_name);
    return NULL;
}

static bool is_int_index(PyObject *item)
{
    return PyLong_Check(item) ? !PyBool_Check(item)
                              : PyIndex_Check(item) && !py_is_array(item) &&
                                    !PySequence_Check(item) && !py_is_buffer(item);
}

/* A numpy scalar, or numpy array of no dimensions, of integers: PyIndex_Check is true of all its arrays. */
static bool is_foreign_int(PyObject *item)
{
    if (py_is_array(item) || !PyIndex_Check(item) || PyBool_Check(item))
        return false;
    PyObject *number = PyNumber_Index(item);
    if (!number)
        PyErr_Clear();
    Py_XDECREF(number);
    return number != NULL;
}

static bool is_list(PyObject *item) { return PyList_Check(item); }

static int kind_of(PyObject *item, item_kind *kind)
{
    if (item == Py_None)
        *kind = NEW;
    else if (item == Py_Ellipsis)
        *kind = REST;
    else if (PySlice_Check(item))
        *kind = SLICE;
    else if (is_int_index(item) || (!is_list(item) && is_foreign_int(item)))
        *kind = INT;
    else if (py_is_array(item) || is_list(item) || py_is_buffer(item))
        *kind = ARRAY;
    else
        return no_index(item), -1;
    return 0;
}

/* An array or list as an array; a reference. An empty list is one of integers. */
static fr_array *read_array(PyObject *item)
{
    fr_dtype integer = FR_INT32;
    bool empty = is_list(item) && PyList_GET_SIZE(item) == 0;
    fr_array *x = py_from_object(item, empty ? &integer : NULL);
    if (!x)
        return NULL;
    fr_dtype d = fr_dtype_of(x);
    if (d <= FR_INT64)
        return x;
    PyErr_Format(PyExc_ValueError, "indices are integers, not %s", fr_dtype_name(d));
    fr_free(x);
    return NULL;
}

/* ---- one item after the other ------------------------------------------------------------ */

typedef struct reading {
    py_index *to;
    int axis;      /* of x: the next one */
    int new_after; /* of `added`, those from here on come behind the block */
    bool ended;    /* something stands behind the arrays so far */
    bool apart;    /* and another array behind that */
    int before;    /* axes, but for None's, before the block */
    int left;
    bool advanced; /* an array or, where there are arrays, an int was seen */
} reading;

static int read_int(reading *r, PyObject *item)
{
    Py_ssize_t at = PyNumber_AsSsize_t(item, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return -1;
    py_index *to = r->to;
    int64_t size = fr_dims(to->x)[r->axis];
    int64_t from = at < 0 ? at + size : at;
    if (from < 0 || from >= size) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of range for axis %d of size %lld", at,
                     r->axis, (long long)size);
        return -1;
    }
    to->start[r->axis] = from;
    to->step[r->axis] = to->count[r->axis] = 1;
    to->whole = false;
    to->dropped[to->ndropped++] = r->axis++;
    return 0;
}

static int read_slice(reading *r, PyObject *item)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(item, &start, &stop, &step))
        return -1;
    py_index *to = r->to;
    Py_ssize_t size = (Py_ssize_t)fr_dims(to->x)[r->axis];
    Py_ssize_t count = PySlice_AdjustIndices(size, &start, &stop, step);
    if (count == 0)
        start = 0;
    if (count <= 1)
        step = 1;
    to->start[r->axis] = start;
    to->step[r->axis] = step;
    to->count[r->axis] = count;
    to->whole = to->whole && start == 0 && step == 1 && count == size;
    r->axis++;
    r->left++;
    return 0;
}

static void whole_axis(reading *r)
{
    py_index *to = r->to;
    to->start[r->axis] = 0;
    to->step[r->axis] = 1;
    to->count[r->axis] = fr_dims(to->x)[r->axis];
    r->axis++;
}

static void read_rest(reading *r, int axes)
{
    for (; axes > 0; axes--) {
        whole_axis(r);
        r->left++;
    }
}

static int read_indices(reading *r, PyObject *item)
{
    py_index *to = r->to;
    fr_array *x = read_array(item);
    if (!x)
        return -1;
    if (fr_dtype_of(x) == FR_BOOL) {
        fr_free(x);
        PyErr_SetString(PyExc_ValueError,
                        "a boolean mask is an index by itself, not one of several");
        return -1;
    }
    to->axes[to->narrays] = r->axis;
    to->arrays[to->narrays++] = x;
    whole_axis(r);
    return 0;
}

static int read_new(reading *r)
{
    py_index *to = r->to;
    to->added[to->nadded] = r->left + to->nadded;
    to->nadded++;
    return 0;
}

/* Arrays, and ints beside them, side by side: where the block goes. */
static void note_place(reading *r, bool advanced)
{
    if (!advanced) {
        r->ended = r->advanced;
        return;
    }
    r->apart |= r->ended;
    if (!r->advanced) {
        r->before = r->left;
        r->new_after = r->to->nadded;
    }
    r->advanced = true;
}

static int read_item(reading *r, PyObject *item, item_kind kind, bool arrays, int rest)
{
    note_place(r, kind == ARRAY || (kind == INT && arrays));
    switch (kind) {
    case INT: return read_int(r, item);
    case SLICE: return read_slice(r, item);
    case ARRAY: return read_indices(r, item);
    case REST: read_rest(r, rest); return 0;
    default: return read_new(r);
    }
}

/* None's axes were counted without the block. */
static int place_block(reading *r)
{
    py_index *to = r->to;
    to->left = r->left;
    if (!to->narrays)
        return 0;
    to->nblock = fr_broadcast_shapes(to->narrays, to->arrays, to->block);
    if (to->nblock < 0)
        return py_raise_int();
    to->block_at = r->apart ? 0 : r->before;
    for (int i = 0; i < to->nadded; i++)
        if (r->apart || i >= r->new_after)
            to->added[i] += to->nblock;
    if (to->left + to->nblock + to->nadded <= FR_MAX_NDIM)
        return 0;
    PyErr_Format(PyExc_ValueError, "the index makes more than %d dimensions", FR_MAX_NDIM);
    return -1;
}

typedef struct counts {
    int used, added, arrays;
} counts;

static int count_items(fr_array *x, PyObject *const *items, Py_ssize_t n, item_kind *kinds,
                       counts *c)
{
    int ellipses = 0;
    *c = (counts){0, 0, 0};
    if (n > 3 * FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "an index of %zd parts", n);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (kind_of(items[i], &kinds[i]))
            return -1;
        c->added += kinds[i] == NEW;
        ellipses += kinds[i] == REST;
        c->arrays += kinds[i] == ARRAY;
        c->used += kinds[i] == INT || kinds[i] == SLICE || kinds[i] == ARRAY;
    }
    if (ellipses > 1)
        PyErr_SetString(PyExc_ValueError, "an index can have one ellipsis (...) only");
    else if (c->used > fr_ndim(x))
        PyErr_Format(PyExc_ValueError, "%d indices are too many for an array of %d dimension%s",
                     c->used, fr_ndim(x), fr_ndim(x) == 1 ? "" : "s");
    else if (c->added + fr_ndim(x) > FR_MAX_NDIM)
        PyErr_Format(PyExc_ValueError, "the index makes more than %d dimensions", FR_MAX_NDIM);
    else
        return 0;
    return -1;
}

static int read_items(py_index *to, PyObject *const *items, Py_ssize_t n)
{
    item_kind kinds[3 * FR_MAX_NDIM];
    counts c;
    reading r = {.to = to};
    if (count_items(to->x, items, n, kinds, &c))
        return -1;
    int rest = fr_ndim(to->x) - c.used;
    for (Py_ssize_t i = 0; i < n; i++)
        if (read_item(&r, items[i], kinds[i], c.arrays > 0, rest))
            return -1;
    read_rest(&r, fr_ndim(to->x) - r.axis);
    return place_block(&r);
}

/* True, False, and arrays and lists of them. 1: it is one, 0: it isn't, -1: raised. */
static int read_mask(py_index *to, PyObject *index)
{
    if (!PyBool_Check(index) && !py_is_array(index) && !is_list(index) && !py_is_buffer(index))
        return 0;
    if (py_is_array(index) && fr_dtype_of(py_node(index)) != FR_BOOL)
        return 0;
    fr_array *mask =
        PyBool_Check(index) ? fr_own(fr_number_bool(index == Py_True)) : read_array(index);
    if (!mask)
        return PyErr_Occurred() ? -1 : py_raise_int();
    if (fr_dtype_of(mask) != FR_BOOL) {
        fr_free(mask);
        return 0;
    }
    to->mask = mask;
    return 1;
}

int py_index_read(py_index *to, fr_array *x, PyObject *index)
{
    *to = (py_index){.x = x, .whole = true};
    if (PyTuple_Check(index) && PyTuple_GET_SIZE(index) == 1)
        index = PyTuple_GET_ITEM(index, 0);
    int status = PyTuple_Check(index) ? 0 : read_mask(to, index);
    if (status == 0)
        status = PyTuple_Check(index)
                     ? read_items(to, &PyTuple_GET_ITEM(index, 0), PyTuple_GET_SIZE(index))
                     : read_items(to, &index, 1);
    if (status < 0)
        py_index_free(to);
    return status < 0 ? -1 : 0;
}

void py_index_free(py_index *index)
{
    while (index->narrays)
        fr_free(index->arrays[--index->narrays]);
    fr_free(index->mask);
    index->mask = NULL;
}

/* ---- x[index] ------------------------------------------------------------------------------ */

int py_index_shape(const py_index *i, int64_t *shape)
{
    bool gone[FR_MAX_NDIM] = {false};
    int64_t left[FR_MAX_NDIM], all[FR_MAX_NDIM];
    int n = 0, ndim = i->left + i->nblock, to = 0;
    for (int k = 0; k < i->narrays; k++)
        gone[i->axes[k]] = true;
    for (int k = 0; k < i->ndropped; k++)
        gone[i->dropped[k]] = true;
    for (int d = 0; d < fr_ndim(i->x); d++)
        if (!gone[d])
            left[n++] = i->count[d];
    for (int d = 0; d < ndim; d++)
        all[d] = d < i->block_at               ? left[d]
                 : d < i->block_at + i->nblock ? i->block[d - i->block_at]
                                               : left[d - i->nblock];
    for (int d = 0, k = 0; d < ndim + i->nadded; d++) {
        bool added = k < i->nadded && i->added[k] == d;
        shape[d] = added ? 1 : all[to++];
        k += added;
    }
    return ndim + i->nadded;
}

void py_index_axes(const py_index *i, int *axes)
{
    for (int k = 0; k < i->narrays; k++) {
        axes[k] = i->axes[k];
        for (int d = 0; d < i->ndropped; d++)
            axes[k] -= i->dropped[d] < i->axes[k];
    }
}

fr_array *py_index_part(const py_index *i)
{
    fr_array *now = fr_keep(i->x);
    if (!i->whole)
        PY_THEN(now, fr_slice(now, i->start, i->step, i->count));
    if (i->ndropped)
        PY_THEN(now, fr_squeeze(now, i->dropped, i->ndropped));
    return now;
}

/* The block, which a gather puts first, to its place. */
static fr_array *moved(const py_index *i, fr_array *x)
{
    int order[FR_MAX_NDIM], n = 0;
    for (int d = 0; d < i->left + i->nblock; d++)
        order[n++] = d < i->block_at               ? i->nblock + d
                     : d < i->block_at + i->nblock ? d - i->block_at
                                                   : d;
    return fr_transpose(x, order, n);
}

fr_array *py_index_get(const py_index *i)
{
    int axes[FR_MAX_NDIM];
    fr_array *now = py_index_part(i);
    py_index_axes(i, axes);
    if (i->narrays == 1 && axes[0] == i->block_at)
        PY_THEN(now, fr_take(now, i->arrays[0], axes[0]));
    else if (i->narrays) {
        PY_THEN(now, fr_gather(now, i->narrays, i->arrays, axes));
        PY_THEN(now, moved(i, now));
    }
    if (i->nadded)
        PY_THEN(now, fr_expand_dims(now, i->added, i->nadded));
    return now;
}

PyObject *py_subscript(PyObject *array, PyObject *index)
{
    py_index i;
    fr_array *x = fr_keep(py_node(array)), *result = NULL;
    if (!py_index_read(&i, x, index)) {
        if (i.mask)
            PyErr_SetString(
                PyExc_ValueError,
                PyBool_Check(index)
                    ? "an index is not a bool"
                    : "boolean indices are not yet supported: the shape would depend "
                      "on values; assignment takes them, and where() selects");
        else if (!(result = py_index_get(&i)))
            py_raise();
        py_index_free(&i);
    }
    fr_free(x);
    return result ? py_adopt(result) : NULL;
}
