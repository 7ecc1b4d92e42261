/* index.c - x[...]: basic indexing, which makes views; x[...] = value, which makes a new array
 *
 * needs   ints, slices of either sign, one Ellipsis, None; alone or in a tuple
 * gives   at most three views: a slice, without the axes of ints, with the axes of None
 */
#include "ext.h"

typedef struct selection {
    int64_t start[FR_MAX_NDIM], step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    int dropped[FR_MAX_NDIM], ndropped; /* axes of x taken by an int */
    int added[FR_MAX_NDIM], nadded;     /* axes of the result made by None */
    int axis;                           /* of x: the next one */
    int out;                            /* of the result: the next one */
    bool whole;                         /* nothing was cut */
} selection;

static int select_int(selection *s, fr_array *x, PyObject *item)
{
    Py_ssize_t at = PyNumber_AsSsize_t(item, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return -1;
    int64_t size = fr_dims(x)[s->axis];
    int64_t from = at < 0 ? at + size : at;
    if (from < 0 || from >= size) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of range for axis %d of size %lld", at,
                     s->axis, (long long)size);
        return -1;
    }
    s->start[s->axis] = from;
    s->step[s->axis] = s->count[s->axis] = 1;
    s->dropped[s->ndropped++] = s->axis++;
    s->whole = false;
    return 0;
}

static int select_slice(selection *s, fr_array *x, PyObject *item)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(item, &start, &stop, &step))
        return -1;
    Py_ssize_t size = (Py_ssize_t)fr_dims(x)[s->axis];
    Py_ssize_t count = PySlice_AdjustIndices(size, &start, &stop, step);
    if (count == 0) {
        start = 0;
        step = 1;
    } else if (count == 1) {
        step = 1;
    }
    s->start[s->axis] = start;
    s->step[s->axis] = step;
    s->count[s->axis] = count;
    s->whole = s->whole && start == 0 && step == 1 && count == size;
    s->axis++;
    s->out++;
    return 0;
}

static void select_rest(selection *s, fr_array *x, int axes)
{
    for (; axes > 0; axes--, s->axis++, s->out++) {
        s->start[s->axis] = 0;
        s->step[s->axis] = 1;
        s->count[s->axis] = fr_dims(x)[s->axis];
    }
}

static bool is_int_index(PyObject *item)
{
    return PyIndex_Check(item) && !PyBool_Check(item) &&
           !(py_is_array(item) && fr_ndim(py_node(item)) > 0) &&
           !(!PyLong_Check(item) && PySequence_Check(item) && !py_is_array(item));
}

static int select_item(selection *s, fr_array *x, PyObject *item, int used)
{
    if (item == Py_None) {
        s->added[s->nadded++] = s->out++;
        return 0;
    }
    if (item == Py_Ellipsis) {
        select_rest(s, x, fr_ndim(x) - used);
        return 0;
    }
    return PySlice_Check(item) ? select_slice(s, x, item) : select_int(s, x, item);
}

/* How many axes of x the items use; -1: an error. */
static int check_items(fr_array *x, PyObject *const *items, Py_ssize_t n)
{
    Py_ssize_t used = 0, added = 0, ellipses = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (items[i] == Py_None) {
            added++;
        } else if (items[i] == Py_Ellipsis) {
            ellipses++;
        } else if (PySlice_Check(items[i]) || is_int_index(items[i])) {
            used++;
        } else {
            PyErr_Format(PyExc_TypeError,
                         "an index is an int, a slice, ..., None or a tuple of them, not %s",
                         Py_TYPE(items[i])->tp_name);
            return -1;
        }
    }
    if (ellipses > 1) {
        PyErr_SetString(PyExc_IndexError, "an index can have one ellipsis (...) only");
        return -1;
    }
    if (used > fr_ndim(x)) {
        PyErr_Format(PyExc_IndexError,
                     "%zd indices are too many for an array of %d dimension%s", used,
                     fr_ndim(x), fr_ndim(x) == 1 ? "" : "s");
        return -1;
    }
    if (added + fr_ndim(x) > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "the index makes more than %d dimensions", FR_MAX_NDIM);
        return -1;
    }
    return (int)used;
}

static int read_items(selection *s, fr_array *x, PyObject *const *items, Py_ssize_t n)
{
    int used = check_items(x, items, n);
    if (used < 0)
        return -1;
    s->ndropped = s->nadded = s->axis = s->out = 0;
    s->whole = true;
    for (Py_ssize_t i = 0; i < n; i++)
        if (select_item(s, x, items[i], used))
            return -1;
    select_rest(s, x, fr_ndim(x) - s->axis);
    return 0;
}

static fr_array *select_all(fr_array *x, PyObject *const *items, Py_ssize_t n)
{
    selection s;
    if (read_items(&s, x, items, n))
        return NULL;

    fr_array *now = fr_keep(x);
    if (!s.whole) {
        fr_array *next = fr_own(fr_slice(now, s.start, s.step, s.count));
        fr_free(now);
        now = next;
    }
    if (now && s.ndropped) {
        fr_array *next = fr_own(fr_squeeze(now, s.dropped, s.ndropped));
        fr_free(now);
        now = next;
    }
    if (now && s.nadded) {
        fr_array *next = fr_own(fr_expand_dims(now, s.added, s.nadded));
        fr_free(now);
        now = next;
    }
    if (!now)
        py_raise();
    return now;
}

PyObject *py_subscript(PyObject *array, PyObject *index)
{
    fr_array *x = fr_keep(py_node(array)), *result;
    if (py_is_array(index) && fr_ndim(py_node(index)) > 0) { /* indices along the first axis */
        PyObject *taken = py_wrap(fr_take(x, py_node(index), 0));
        fr_free(x);
        return taken;
    }
    if (PyTuple_Check(index))
        result = select_all(x, &PyTuple_GET_ITEM(index, 0), PyTuple_GET_SIZE(index));
    else
        result = select_all(x, &index, 1);
    fr_free(x);
    return result ? py_adopt(result) : NULL;
}

/* x with value in place of x[items]: a new array. NULL: raised. */
static fr_array *assigned(fr_array *x, PyObject *const *items, Py_ssize_t n, fr_array *value)
{
    selection s;
    if (read_items(&s, x, items, n))
        return NULL;
    fr_array *view = select_all(x, items, n), *part = NULL, *there = NULL, *result = NULL;
    if (!view)
        return NULL;
    part = fr_own(fr_broadcast_to(value, fr_dims(view), fr_ndim(view)));
    if (part)
        there = fr_own(fr_reshape(part, s.count, fr_ndim(x)));
    if (there)
        result = fr_own(fr_slice_update(x, there, s.start, s.step, s.count));
    if (!result)
        py_raise();
    fr_free(view);
    fr_free(part);
    fr_free(there);
    return result;
}

/* Whoever holds the old value keeps it: the Python object gets a new node. */
int py_assign(PyObject *array, PyObject *index, PyObject *value)
{
    if (!value) {
        PyErr_SetString(PyExc_TypeError, "elements of an array can't be deleted");
        return -1;
    }
    fr_array *owned = NULL, *v = py_need_operand(value, &owned, "assignment");
    if (!v)
        return -1;
    fr_array *x = fr_keep(py_node(array)), *result;
    if (PyTuple_Check(index))
        result = assigned(x, &PyTuple_GET_ITEM(index, 0), PyTuple_GET_SIZE(index), v);
    else
        result = assigned(x, &index, 1, v);
    fr_free(owned);
    fr_free(x);
    if (!result)
        return -1;
    fr_array *old = ((py_array *)array)->node;
    ((py_array *)array)->node = result;
    fr_free(old);
    return 0;
}
