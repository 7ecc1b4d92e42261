/* call.c - calls of the composed functions: from vectorcall arguments to slots, and back
 *
 * needs   src/op/functions.def as functions_py.inc
 * gives   py_signatures, what py_parse wants, one for each row; begin and end of a call
 *
 * A function `diag(x, k)` and its method `x.diag(k)` are one body, py_call_diag: the method's array
 * goes in front of its arguments.
 */
#include "ext.h"

const py_signature py_signatures[] = {
#define PY_FUNCTION(name, required, positional, positional_only, ...)                          \
    {#name, required, positional, positional_only, {__VA_ARGS__}},
#include "functions_py.inc"
};

static int enter(py_call *c, const py_signature *s)
{
    c->guard.changed = false;
    c->x = NULL;
    memset(c->owned, 0, sizeof c->owned);
    int last = 0; /* the parameter `stream`, if it takes one */
    while (s->names[last + 1])
        last++;
    PyObject *stream = strcmp(s->names[last], "stream") ? NULL : c->at[last];
    return stream ? py_stream_enter(stream, &c->guard, s->function) : 0;
}

int py_begin_bare_call(py_call *c, const py_signature *s, PyObject *const *args, Py_ssize_t n,
                       PyObject *names)
{
    c->function = s->function;
    return py_parse(s, args, n, names, c->at) || enter(c, s) ? -1 : 0;
}

int py_begin_call(py_call *c, const py_signature *s, PyObject *self, PyObject *const *args,
                  Py_ssize_t n, PyObject *names)
{
    PyObject *const *all = args;
    PyObject *with_self[24];
    if (self && py_is_array(self)) {
        Py_ssize_t total = n + (names ? PyTuple_GET_SIZE(names) : 0);
        if (total > 23) {
            PyErr_Format(PyExc_TypeError, "%s() got too many arguments", s->function);
            return -1;
        }
        with_self[0] = self;
        for (Py_ssize_t i = 0; i < total; i++)
            with_self[i + 1] = args[i];
        all = with_self;
        n++;
    }
    if (py_begin_bare_call(c, s, all, n, names))
        return -1;
    if (!(c->x = py_call_operand(c, 0))) {
        py_fail_call(c);
        return -1;
    }
    return 0;
}

fr_array *py_call_operand(py_call *c, int slot)
{
    fr_array *owned, *x = py_need_operand(c->at[slot], &owned, c->function);
    if (x)
        c->owned[slot] = owned ? owned : fr_keep(x);
    return x;
}

static void leave(py_call *c)
{
    py_stream_leave(&c->guard);
    for (int i = 0; i < PY_SLOTS; i++)
        fr_free(c->owned[i]);
}

PyObject *py_end_call(py_call *c, fr_array *result)
{
    return py_end_call_object(c, py_wrap(result));
}

PyObject *py_end_call_with(py_call *c, fr_array *reference)
{
    return py_end_call_object(c, py_adopt(reference));
}

PyObject *py_end_call_object(py_call *c, PyObject *result)
{
    if (!result)
        return py_fail_call(c);
    leave(c);
    return result;
}

PyObject *py_end_call_all(py_call *c, int n, fr_array *const *results, bool tuple)
{
    PyObject *all = n < 0 ? py_raise() : tuple ? PyTuple_New(n) : PyList_New(n);
    for (int i = 0; i < n; i++) {
        PyObject *one = all ? py_wrap(results[i]) : (fr_free(fr_own(results[i])), NULL);
        if (!one)
            Py_CLEAR(all);
        else if (tuple)
            PyTuple_SET_ITEM(all, i, one);
        else
            PyList_SET_ITEM(all, i, one);
    }
    return py_end_call_object(c, all);
}

PyObject *py_fail_call(py_call *c)
{
    leave(c);
    if (!PyErr_Occurred())
        py_raise();
    return py_name_error(c->function);
}
