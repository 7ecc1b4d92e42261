/* index_write.c - x[...] = value, and the updates of x.at[...]: new arrays
 *
 * needs   an index, a value that broadcasts to x[index] (axes of size 1 in front of it don't count)
 * gives   x with x[index] updated. Without index arrays a slice is written; with them a scatter
 *         updates the slice of x that the rest of the index is, and that is written; a mask selects.
 *
 * What is made on the way belongs to a scope: everything here but py_index_update gives results of
 * operations.
 */
#include "index.h"

/* v without axes of size 1 in front until it has ndim of them. */
static fr_array *without_ones(fr_array *v, int ndim)
{
    int axes[FR_MAX_NDIM], n = 0;
    while (v && fr_ndim(v) - n > ndim && fr_dims(v)[n] == 1) {
        axes[n] = n;
        n++;
    }
    return fr_squeeze(v, axes, n);
}

/* Of integers: the fraction is cut off, and by zero gives 0. A scatter does the same. */
static fr_array *divided(fr_array *a, fr_array *b)
{
    fr_dtype dtype = fr_dtype_of(a);
    if (dtype > FR_INT64)
        return fr_div(a, b);
    fr_array *down = fr_floor_divide(a, b);
    fr_array *cut = fr_logical_and(fr_lt(down, 0), fr_ne(fr_mul(down, b), a));
    return fr_add(down, fr_astype(cut, dtype));
}

/* a and b of one dtype, which the result keeps. */
static fr_array *combined(fr_array *a, fr_array *b, py_update how)
{
    fr_dtype dtype = fr_dtype_of(a);
    switch (how) {
    case PY_SET: return b;
    case PY_ADD: return fr_astype(fr_add(a, b), dtype);
    case PY_SUBTRACT: return fr_astype(fr_sub(a, b), dtype);
    case PY_MULTIPLY: return fr_astype(fr_mul(a, b), dtype);
    case PY_DIVIDE: return fr_astype(divided(a, b), dtype);
    case PY_MAXIMUM: return fr_maximum(a, b);
    default: return fr_minimum(a, b);
    }
}

static fr_scatter_mode mode_of(py_update how)
{
    static const fr_scatter_mode modes[] = {
        [PY_SET] = FR_SCATTER_SET,      [PY_ADD] = FR_SCATTER_ADD,
        [PY_SUBTRACT] = FR_SCATTER_ADD, [PY_MULTIPLY] = FR_SCATTER_MUL,
        [PY_DIVIDE] = FR_SCATTER_DIV,   [PY_MAXIMUM] = FR_SCATTER_MAX,
        [PY_MINIMUM] = FR_SCATTER_MIN,
    };
    return modes[how];
}

/* ---- masks --------------------------------------------------------------------------------- */

/* The mask's first true element takes values[0], the next values[1] and so on. */
static fr_array *in_order(fr_array *mask, fr_array *values)
{
    int64_t flat = -1;
    fr_array *is = fr_astype(fr_reshape(mask, &flat, 1), FR_INT64);
    fr_array *count = fr_sub(fr_cumsum(is, NULL), 1);
    return fr_take(values, fr_reshape(count, fr_dims(mask), fr_ndim(mask)), 0);
}

static fr_array *masked(const py_index *i, fr_array *v, py_update how)
{
    fr_array *x = i->x, *mask = i->mask;
    int64_t shape[FR_MAX_NDIM + 1];
    int axes = fr_ndim(mask), rest = fr_ndim(x) - axes;
    bool good = rest >= 0;
    for (int d = 0; good && d < axes; d++)
        good = fr_dims(mask)[d] == fr_dims(x)[d];
    if (!good) {
        fr_error_set(
            FR_ERROR_VALUE,
            "a boolean mask has the shape of the first axes of what it is an index of");
        return NULL;
    }
    v = without_ones(v, rest);
    if (v && fr_ndim(v) > rest + 1) {
        fr_error_set(FR_ERROR_VALUE, "more dimensions than a mask's values can have");
        return NULL;
    }
    if (v && fr_ndim(v) == rest + 1 && fr_size(v) && axes) {
        shape[0] = fr_dims(v)[0];
        memcpy(shape + 1, fr_dims(x) + axes, sizeof *shape * (size_t)rest);
        v = in_order(mask, fr_broadcast_to(v, shape, rest + 1));
    } else if (v && fr_ndim(v) == rest + 1) {
        return x;
    }
    for (int d = 0; d < fr_ndim(x); d++)
        shape[d] = d < axes ? fr_dims(x)[d] : 1;
    return fr_where(fr_reshape(mask, shape, fr_ndim(x)), combined(x, v, how), x);
}

/* ---- slices and arrays --------------------------------------------------------------------- */

/* v, of the shape of x[index], without None's axes and with the arrays' block in front. */
static fr_array *as_gathered(const py_index *i, fr_array *v)
{
    int order[FR_MAX_NDIM], n = 0, ndim = i->left + i->nblock;
    v = i->nadded ? fr_squeeze(v, i->added, i->nadded) : v;
    for (int d = 0; d < i->nblock; d++)
        order[n++] = i->block_at + d;
    for (int d = 0; d < ndim; d++)
        if (d < i->block_at || d >= i->block_at + i->nblock)
            order[n++] = d;
    return fr_transpose(v, order, ndim);
}

static fr_array *scattered(const py_index *i, fr_array *v, py_update how)
{
    int axes[FR_MAX_NDIM];
    fr_array *part = i->whole ? i->x : fr_slice(i->x, i->start, i->step, i->count);
    part = i->ndropped ? fr_squeeze(part, i->dropped, i->ndropped) : part;
    py_index_axes(i, axes);
    v = as_gathered(i, v);
    v = how == PY_SUBTRACT ? fr_neg(v) : v;
    return fr_scatter(part, i->narrays, i->arrays, axes, v, mode_of(how));
}

static fr_array *sliced(const py_index *i, fr_array *v, py_update how)
{
    v = fr_reshape(v, i->count, fr_ndim(i->x));
    if (how == PY_SET)
        return v;
    return combined(i->whole ? i->x : fr_slice(i->x, i->start, i->step, i->count), v, how);
}

static fr_array *updated(const py_index *i, fr_array *v, py_update how)
{
    int64_t shape[FR_MAX_NDIM];
    v = fr_astype(v, fr_dtype_of(i->x));
    if (i->mask)
        return masked(i, v, how);
    int ndim = py_index_shape(i, shape);
    v = fr_broadcast_to(without_ones(v, ndim), shape, ndim);
    v = i->narrays ? scattered(i, v, how) : sliced(i, v, how);
    if (i->whole && (i->narrays || how != PY_SET))
        return v;
    return fr_slice_update(i->x, fr_reshape(v, i->count, fr_ndim(i->x)), i->start, i->step,
                           i->count);
}

fr_array *py_index_update(fr_array *x, PyObject *index, PyObject *value, py_update how)
{
    py_index i;
    fr_array *owned = NULL, *v = py_operand(value, &owned), *result = NULL;
    if (!v) {
        if (!PyErr_Occurred())
            PyErr_Format(value == Py_None ? PyExc_TypeError : PyExc_ValueError,
                         "elements of an array are set to an array or a number, not %s",
                         Py_TYPE(value)->tp_name);
        return NULL;
    }
    if (!py_index_read(&i, x, index)) {
        fr_scope *s = fr_scope_open();
        result = s ? fr_keep(updated(&i, v, how)) : NULL;
        fr_scope_close(s);
        if (!result)
            py_raise();
        py_index_free(&i);
    }
    fr_free(owned);
    return result;
}

/* Whoever holds the old value keeps it: the Python object gets a new node. */
int py_assign(PyObject *array, PyObject *index, PyObject *value)
{
    if (!value) {
        PyErr_SetString(PyExc_TypeError, "elements of an array can't be deleted");
        return -1;
    }
    fr_array *x = fr_keep(py_node(array));
    fr_array *result = py_index_update(x, index, value, PY_SET);
    fr_free(x);
    if (!result)
        return -1;
    fr_array *old = ((py_array *)array)->node;
    ((py_array *)array)->node = result;
    fr_free(old);
    return 0;
}
