/* elementwise.c - functions element by element that are made of several */
#include "ext.h"

#include <math.h>

/* x divided by y, rounded down, and the rest. */
PY_CALL(divmod)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(divmod), self, args, n, names))
        return NULL;
    fr_array *y = py_call_operand(&c, 1);
    PyObject *quotient = y ? py_wrap(fr_floor_divide(c.x, y)) : NULL;
    PyObject *rest = quotient ? py_wrap(fr_remainder(c.x, y)) : NULL;
    PyObject *both = rest ? PyTuple_Pack(2, quotient, rest) : NULL;
    Py_XDECREF(quotient);
    Py_XDECREF(rest);
    return py_end_call_object(&c, both);
}

PY_CALL(clip)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(clip), self, args, n, names))
        return NULL;
    fr_array *bound[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        if (c.at[i + 1] != Py_None && !(bound[i] = py_call_operand(&c, i + 1)))
            return py_fail_call(&c);
    if (!bound[0] && !bound[1]) {
        PyErr_SetString(PyExc_ValueError, "clip: at most one of a_min and a_max may be None");
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_clip(c.x, bound[0], bound[1]));
}

PY_CALL(round)
{
    py_call c;
    int decimals = 0;
    if (py_begin_call(&c, PY_SIGNATURE(round), self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &decimals))
        return py_fail_call(&c);
    return py_end_call(&c, fr_round(c.x, decimals));
}

PY_CALL(nan_to_num)
{
    py_call c;
    double nan = 0, most = HUGE_VAL, least = -HUGE_VAL;
    if (py_begin_call(&c, PY_SIGNATURE(nan_to_num), self, args, n, names))
        return NULL;
    if (py_read_number(c.at[1], &nan) || py_read_number(c.at[2], &most) ||
        py_read_number(c.at[3], &least))
        return py_fail_call(&c);
    return py_end_call(&c, fr_nan_to_num(c.x, nan, most, least));
}

static PyObject *close_to(const py_signature *signature, bool all, PyObject *self,
                          PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    double rtol = 1e-5, atol = 1e-8;
    bool equal_nan = false;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    fr_array *y = py_call_operand(&c, 1), *result = NULL;
    if (y && !py_read_number(c.at[2], &rtol) && !py_read_number(c.at[3], &atol) &&
        !py_read_bool(c.at[4], &equal_nan))
        result = fr_own(fr_isclose(c.x, y, rtol, atol, equal_nan));
    if (all && result) {
        fr_array *each = result;
        result = fr_own(fr_all(each, NULL));
        fr_free(each);
    }
    return py_end_call_with(&c, result);
}

PY_CALL(isclose) { return close_to(PY_SIGNATURE(isclose), false, self, args, n, names); }
PY_CALL(allclose) { return close_to(PY_SIGNATURE(allclose), true, self, args, n, names); }

PY_CALL(array_equal)
{
    py_call c;
    bool equal_nan = false;
    if (py_begin_call(&c, PY_SIGNATURE(array_equal), self, args, n, names))
        return NULL;
    fr_array *y = py_call_operand(&c, 1);
    if (!y || py_read_bool(c.at[2], &equal_nan))
        return py_fail_call(&c);
    return py_end_call(&c, fr_array_equal(c.x, y, equal_nan));
}

/* The array itself: a handle of its own, as nodes never change. */
PY_CALL(positive)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(positive), self, args, n, names))
        return NULL;
    return py_end_call_with(&c, fr_keep(c.x));
}
