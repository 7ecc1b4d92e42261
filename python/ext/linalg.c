/* linalg.c - mx.linalg */
#include "ext.h"

/* 'fro', 'nuc' or a number; NULL, None: the default. */
static int read_order(PyObject *value, fr_norm_options *to)
{
    if (!value || value == Py_None)
        return 0;
    if (PyUnicode_Check(value)) {
        to->kind = FR_NORM_FROBENIUS;
        if (!PyUnicode_CompareWithASCIIString(value, "fro"))
            return 0;
        bool nuclear = !PyUnicode_CompareWithASCIIString(value, "nuc");
        py_complain(PyExc_ValueError,
                    nuclear ? "norm: %R needs singular values, which are not there yet"
                            : "norm: ord is a number or 'fro', not %R",
                    value);
        return -1;
    }
    to->kind = FR_NORM_ORDER;
    return py_read_number(value, &to->order);
}

static PyObject *norm(const py_signature *signature, PyObject *self, PyObject *const *args,
                      Py_ssize_t n, PyObject *names)
{
    py_call c;
    py_axes axes;
    fr_norm_options options = {0};
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    if (read_order(c.at[1], &options) || py_read_axes(c.at[2], &axes, "norm") ||
        py_read_bool(c.at[3], &options.keepdims))
        return py_fail_call(&c);
    options.axes = axes.all ? NULL : axes.at;
    options.naxes = axes.n;
    return py_end_call(&c, fr_norm(c.x, &options));
}

PY_CALL(norm) { return norm(PY_SIGNATURE(norm), self, args, n, names); }
PY_CALL(matrix_norm) { return norm(PY_SIGNATURE(matrix_norm), self, args, n, names); }

PY_CALL(cross)
{
    py_call c;
    int axis = -1;
    if (py_begin_call(&c, PY_SIGNATURE(cross), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    if (!b || py_read_int(c.at[2], &axis))
        return py_fail_call(&c);
    return py_end_call(&c, fr_cross(c.x, b, axis));
}

static PyMethodDef functions[] = {
#define PY_FUNCTION_IN_linalg(name, doc) PY_METHOD(#name, py_call_##name, doc),
#include "functions_py.inc"
    PY_END,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "ferrule.core.linalg", .m_doc = "Linear algebra.",
    .m_size = -1,          .m_methods = functions,
};

int py_linalg_init(PyObject *module)
{
    PyObject *linalg = PyModule_Create(&definition);
    if (linalg && !PyModule_AddObject(module, "linalg", linalg))
        return 0;
    Py_XDECREF(linalg);
    return -1;
}
