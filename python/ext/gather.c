/* gather.c - functions of computed indices: take, take_along_axis, put_along_axis */
#include "ext.h"

/* axis None: of the flattened array. */
static fr_array *flattened(fr_array *x)
{
    int64_t all = -1;
    return fr_own(fr_reshape(x, &all, 1));
}

/* A Python int is checked, an array is not. */
static int check_number(PyObject *index, fr_array *x, int axis)
{
    int overflow;
    if (!PyLong_Check(index))
        return 0;
    long long at = PyLong_AsLongLongAndOverflow(index, &overflow);
    if (axis < -fr_ndim(x) || axis >= fr_ndim(x))
        return 0; /* that is said by the function itself */
    int64_t size = fr_dims(x)[axis < 0 ? axis + fr_ndim(x) : axis];
    if (!overflow && at >= -size && at < size)
        return 0;
    py_complain(PyExc_IndexError, "take: index %R is out of range for axis %d of size %lld",
                index, axis, (long long)size);
    return -1;
}

PY_CALL(take)
{
    py_call c;
    int axis = 0;
    if (py_begin_call(&c, PY_SIGNATURE(take), self, args, n, names))
        return NULL;
    bool all = !c.at[2] || c.at[2] == Py_None;
    fr_array *indices = py_call_operand(&c, 1);
    if (!indices || (!all && py_read_int(c.at[2], &axis)))
        return py_fail_call(&c);
    fr_array *from = all ? flattened(c.x) : fr_keep(c.x), *result = NULL;
    if (from && check_number(c.at[1], from, axis)) {
        fr_free(from);
        return py_fail_call(&c);
    }
    result = fr_take(from, indices, axis);
    fr_free(from);
    return py_end_call(&c, result);
}

PY_CALL(take_along_axis)
{
    py_call c;
    int axis = -1;
    if (py_begin_call(&c, PY_SIGNATURE(take_along_axis), self, args, n, names))
        return NULL;
    bool all = c.at[2] == Py_None;
    fr_array *indices = py_call_operand(&c, 1);
    if (!indices || (!all && py_read_int(c.at[2], &axis)))
        return py_fail_call(&c);
    fr_array *from = all ? flattened(c.x) : fr_keep(c.x);
    fr_array *result = fr_take_along_axis(from, indices, axis);
    fr_free(from);
    return py_end_call(&c, result);
}

PY_CALL(put_along_axis)
{
    py_call c;
    int axis = 0;
    if (py_begin_call(&c, PY_SIGNATURE(put_along_axis), self, args, n, names))
        return NULL;
    bool all = !c.at[3] || c.at[3] == Py_None;
    fr_array *indices = py_call_operand(&c, 1),
             *values = indices ? py_call_operand(&c, 2) : NULL;
    if (!values || (!all && py_read_int(c.at[3], &axis)))
        return py_fail_call(&c);
    fr_array *to = all ? flattened(c.x) : fr_keep(c.x);
    fr_array *result = fr_put_along_axis(to, indices, values, axis, FR_SCATTER_SET);
    fr_free(to);
    if (result && all) {
        fr_array *line = fr_own(result);
        result = fr_reshape(line, fr_dims(c.x), fr_ndim(c.x));
        fr_free(line);
    }
    return py_end_call(&c, result);
}
