/* complex.c - conjugates, parts of complex numbers, and bits as another dtype */
#include "ext.h"

PyObject *py_get_real(PyObject *self, void *closure)
{
    (void)closure;
    return py_wrap(fr_real(py_node(self)));
}

PyObject *py_get_imag(PyObject *self, void *closure)
{
    (void)closure;
    return py_wrap(fr_imag(py_node(self)));
}

static PyObject *conjugate(const py_signature *signature, PyObject *self, PyObject *const *args,
                           Py_ssize_t n, PyObject *names)
{
    py_call c;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    return py_end_call(&c, fr_conjugate(c.x));
}

PY_CALL(conj) { return conjugate(PY_SIGNATURE(conj), self, args, n, names); }
PY_CALL(conjugate) { return conjugate(PY_SIGNATURE(conjugate), self, args, n, names); }

PY_CALL(view)
{
    py_call c;
    fr_dtype dtype;
    if (py_begin_call(&c, PY_SIGNATURE(view), self, args, n, names))
        return NULL;
    if (!py_dtype_value(c.at[1], &dtype)) {
        py_complain(PyExc_TypeError, "view: wanted a dtype like float32 of this module, not %R",
                    c.at[1]);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_view_as(c.x, dtype));
}
