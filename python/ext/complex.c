/* complex.c - complex numbers: what is not a row of the table */
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

static PyObject *one_operand(fr_array *(*function)(fr_array *), const py_signature *s,
                             PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    PyObject *at[2] = {NULL, NULL};
    bool method = self && py_is_array(self);
    if (method) { /* stream alone */
        static const py_signature none = {"conj", 0, 0, 0, {"stream", NULL}};
        if (py_parse(&none, args, n, names, &at[1]))
            return NULL;
        at[0] = self;
    } else if (py_parse(s, args, n, names, at)) {
        return NULL;
    }
    fr_array *owned, *x = py_need_operand(at[0], &owned, s->function);
    py_stream_guard guard = {.changed = false};
    if (!x)
        return NULL;
    PyObject *result = NULL;
    if (!at[1] || !py_stream_enter(at[1], &guard, s->function)) {
        result = py_wrap(function(x));
        py_stream_leave(&guard);
    }
    fr_free(owned);
    return result;
}

static PyObject *call_conj(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    static const py_signature s = {"conj", 1, 1, 0, {"a", "stream", NULL}};
    return one_operand(fr_conjugate, &s, self, args, n, names);
}

static PyObject *call_conjugate(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    static const py_signature s = {"conjugate", 1, 1, 0, {"a", "stream", NULL}};
    return one_operand(fr_conjugate, &s, module, args, n, names);
}

static fr_array *itself(fr_array *x) { return fr_astype(x, fr_dtype_of(x)); }

static PyObject *call_positive(PyObject *module, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    static const py_signature s = {"positive", 1, 1, 1, {"a", "stream", NULL}};
    return one_operand(itself, &s, module, args, n, names);
}

PyMethodDef py_complex_functions[] = {
    PY_METHOD("conj", call_conj,
              "conj(a, *, stream=None)\n--\n\nthe complex conjugate; a real array as it is"),
    PY_METHOD("conjugate", call_conjugate, "conjugate(a, *, stream=None)\n--\n\nconj"),
    PY_METHOD("positive", call_positive, "positive(a, /, *, stream=None)\n--\n\na itself"),
    PY_END,
};

PyMethodDef py_complex_methods[] = {
    PY_METHOD("conj", call_conj, "conj($self, *, stream=None)\n--\n\nthe complex conjugate"),
    PY_END,
};
