/* transforms.c - mx.grad, value_and_grad, vjp, jvp, stop_gradient
 *
 *   call -> arrays of the chosen arguments -> aliases on a tape
 *        -> the function, as it stands, on containers of aliases
 *        -> gradients of its scalar -> containers of gradients
 *
 * needs   a callable
 * gives   one with the same arguments (name, signature, attributes of the function shine through)
 */
#include "transforms.h"

#include <structmember.h>

/* ---- a transformed function --------------------------------------------------------------- */

static int transform_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_transform *self = (py_transform *)object;
    Py_VISIT(self->fun);
    Py_VISIT(self->first);
    Py_VISIT(self->second);
    Py_VISIT(self->attributes);
    return 0;
}

static int transform_clear(PyObject *object)
{
    py_transform *self = (py_transform *)object;
    Py_CLEAR(self->fun);
    Py_CLEAR(self->first);
    Py_CLEAR(self->second);
    Py_CLEAR(self->attributes);
    return 0;
}

static void transform_dealloc(PyObject *object)
{
    py_transform *self = (py_transform *)object;
    PyObject_GC_UnTrack(object);
    if (self->weak)
        PyObject_ClearWeakRefs(object);
    transform_clear(object);
    PyObject_GC_Del(object);
}

static PyObject *transform_repr(PyObject *object)
{
    py_transform *self = (py_transform *)object;
    return PyUnicode_FromFormat("<%s of %R>", self->name, self->fun);
}

PyTypeObject py_transform_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.transformed",
    .tp_basicsize = sizeof(py_transform),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(py_transform, call),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = transform_dealloc,
    .tp_traverse = transform_traverse,
    .tp_clear = transform_clear,
    .tp_repr = transform_repr,
    .tp_getattro = py_wrapper_getattro,
    .tp_setattro = PyObject_GenericSetAttr,
    .tp_descr_get = py_wrapper_bind,
    .tp_dictoffset = offsetof(py_transform, attributes),
    .tp_weaklistoffset = offsetof(py_transform, weak),
    .tp_getset = py_wrapper_attributes,
};

PyObject *py_transform_new(const char *name, vectorcallfunc call, PyObject *fun,
                           PyObject *first, PyObject *second)
{
    py_transform *made = PyObject_GC_New(py_transform, &py_transform_type);
    if (!made)
        return NULL;
    Py_INCREF(fun);
    Py_XINCREF(first);
    Py_XINCREF(second);
    made->call = call;
    made->name = name;
    made->fun = fun;
    made->first = first;
    made->second = second;
    made->attributes = made->weak = NULL;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

int py_need_callable(PyObject *fun, const char *function)
{
    if (PyCallable_Check(fun))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s: wanted a function, not %s", function,
                 Py_TYPE(fun)->tp_name);
    return -1;
}

/* ---- which arguments ------------------------------------------------------------------------ */

/* An int or a sequence of ints: a new tuple of ints in ascending order. */
static PyObject *read_argnums(PyObject *argnums, const char *function)
{
    PyObject *given =
        PyLong_Check(argnums) ? PyTuple_Pack(1, argnums) : PySequence_List(argnums);
    PyObject *sorted = given ? PySequence_List(given) : NULL;
    Py_XDECREF(given);
    if (!sorted)
        return py_name_error(function);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(sorted); i++) {
        PyObject *item = PyList_GET_ITEM(sorted, i);
        if (!PyLong_Check(item) || PyBool_Check(item)) {
            PyErr_Format(PyExc_TypeError, "%s: argnums must be ints, not %s", function,
                         Py_TYPE(item)->tp_name);
            goto failed;
        }
    }
    if (PyList_Sort(sorted))
        goto failed;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(sorted); i++) {
        long at = PyLong_AsLong(PyList_GET_ITEM(sorted, i));
        if (at == -1 && PyErr_Occurred())
            goto failed;
        if (at < 0)
            PyErr_Format(PyExc_ValueError,
                         "%s: can't compute the gradient of negative argument index %ld",
                         function, at);
        else if (i && at == PyLong_AsLong(PyList_GET_ITEM(sorted, i - 1)))
            PyErr_Format(PyExc_ValueError, "%s: duplicate argument index %ld is not allowed",
                         function, at);
        else
            continue;
        goto failed;
    }
    PyObject *result = PyList_AsTuple(sorted);
    Py_DECREF(sorted);
    return result;
failed:
    Py_DECREF(sorted);
    return py_name_error(function);
}

/* A string or a sequence of them: a new tuple. */
static PyObject *read_argnames(PyObject *argnames, const char *function)
{
    if (!argnames || argnames == Py_None)
        return PyTuple_New(0);
    if (PyUnicode_Check(argnames))
        return PyTuple_Pack(1, argnames);
    PyObject *names = PySequence_Tuple(argnames);
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++)
        if (!PyUnicode_Check(PyTuple_GET_ITEM(names, i))) {
            PyErr_Format(PyExc_TypeError, "%s: argnames must be strings, not %s", function,
                         Py_TYPE(PyTuple_GET_ITEM(names, i))->tp_name);
            Py_CLEAR(names);
        }
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++)
        for (Py_ssize_t j = 0; names && j < i; j++)
            if (!PyUnicode_Compare(PyTuple_GET_ITEM(names, i), PyTuple_GET_ITEM(names, j))) {
                PyErr_Format(PyExc_ValueError,
                             "%s: duplicate argument name '%U' is not allowed", function,
                             PyTuple_GET_ITEM(names, i));
                Py_CLEAR(names);
            }
    return names ? names : py_name_error(function);
}

/* One call on its way: the vectorcall arguments, some of which are differentiated. */
typedef struct call {
    const py_transform *self;
    Py_ssize_t n, nchosen, nwhole; /* positional; chosen; all */
    PyObject *names, **args;       /* borrowed; new references */
    Py_ssize_t *chosen;            /* places among args: argnums, then argnames */
    py_flat flat;                  /* their arrays */
    fr_array **aliases;            /* on the tape; later the gradients */
} call;

/* Where the chosen arguments of this call stand. */
static int choose(call *c)
{
    const char *function = c->self->name;
    PyObject *nums = c->self->first, *names = c->self->second;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(nums); i++) {
        Py_ssize_t at = PyLong_AsSsize_t(PyTuple_GET_ITEM(nums, i));
        if (at >= c->n) {
            PyErr_Format(PyExc_ValueError,
                         "%s: can't compute the gradient of argument index %zd because the "
                         "function is called with only %zd positional arguments",
                         function, at, c->n);
            return -1;
        }
        c->chosen[c->nchosen++] = at;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        Py_ssize_t at = -1, n = c->names ? PyTuple_GET_SIZE(c->names) : 0;
        for (Py_ssize_t k = 0; k < n; k++)
            if (!PyUnicode_Compare(PyTuple_GET_ITEM(c->names, k), PyTuple_GET_ITEM(names, i)))
                at = c->n + k;
        if (at < 0) {
            PyErr_Format(PyExc_ValueError,
                         "%s: can't compute the gradient of keyword argument '%U' because the "
                         "function is called without it",
                         function, PyTuple_GET_ITEM(names, i));
            return -1;
        }
        c->chosen[c->nchosen++] = at;
    }
    for (Py_ssize_t i = 0; i < c->nchosen; i++)
        if (py_leaves(c->args[c->chosen[i]], &c->flat, function, "the argument"))
            return -1;
    if (c->flat.n)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: no array to compute the gradient of", function);
    return -1;
}

static int begin(call *c, const py_transform *self, PyObject *const *args, size_t nargs,
                 PyObject *names)
{
    *c = (call){.self = self, .n = PyVectorcall_NARGS(nargs), .names = names};
    c->nwhole = c->n + (names ? PyTuple_GET_SIZE(names) : 0);
    py_flat_begin(&c->flat);
    c->args = PyMem_Calloc((size_t)c->nwhole + 1, sizeof *c->args);
    c->chosen = PyMem_Calloc(
        (size_t)(PyTuple_GET_SIZE(self->first) + PyTuple_GET_SIZE(self->second) + 1),
        sizeof *c->chosen);
    if (!c->args || !c->chosen) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < c->nwhole; i++) {
        Py_INCREF(args[i]);
        c->args[i] = args[i];
    }
    if (choose(c))
        return -1;
    c->aliases = PyMem_Calloc((size_t)c->flat.n, sizeof *c->aliases);
    if (!c->aliases)
        PyErr_NoMemory();
    return c->aliases ? 0 : -1;
}

static void end(call *c)
{
    for (Py_ssize_t i = 0; c->args && i < c->nwhole; i++)
        Py_XDECREF(c->args[i]);
    PyMem_Free(c->args);
    PyMem_Free(c->chosen);
    for (int i = 0; c->aliases && i < c->flat.n; i++)
        fr_free(c->aliases[i]);
    PyMem_Free(c->aliases);
    py_flat_end(&c->flat);
}

/* The function's result on the aliases. The gradients' containers are made of c->args later. */
static PyObject *call_on_aliases(call *c)
{
    PyObject **args = PyMem_Calloc((size_t)c->nwhole + 1, sizeof *args), *result = NULL;
    if (!args)
        return PyErr_NoMemory();
    fr_array *const *next = c->aliases;
    bool good = true;
    for (Py_ssize_t i = 0; good && i < c->nchosen; i++)
        good = (args[c->chosen[i]] = py_with_leaves(c->args[c->chosen[i]], &next)) != NULL;
    for (Py_ssize_t i = 0; good && i < c->nwhole; i++)
        if (!args[i]) {
            Py_INCREF(c->args[i]);
            args[i] = c->args[i];
        }
    if (good)
        result = PyObject_Vectorcall(c->self->fun, args, (size_t)c->n, c->names);
    for (Py_ssize_t i = 0; i < c->nwhole; i++)
        Py_XDECREF(args[i]);
    PyMem_Free(args);
    return result;
}

/* The scalar of a result: the array, or for value_and_grad the first of a tuple. Borrowed. */
static PyObject *scalar_of(PyObject *result, const char *function, bool tuples)
{
    PyObject *scalar = result;
    if (tuples && PyTuple_Check(result) && PyTuple_GET_SIZE(result) > 0)
        scalar = PyTuple_GET_ITEM(result, 0);
    if (!py_is_array(scalar)) {
        PyErr_Format(PyExc_ValueError,
                     tuples ? "%s: the function whose gradient is wanted must return a scalar "
                              "array, or a tuple whose first value is one; it returned %s"
                            : "%s: the function whose gradient is wanted must return a scalar "
                              "array; it returned %s",
                     function, Py_TYPE(result)->tp_name);
        return NULL;
    }
    if (fr_ndim(py_node(scalar))) {
        PyErr_Format(
            PyExc_ValueError,
            "%s: the function whose gradient is wanted must return a scalar array; its "
            "result has %d dimensions",
            function, fr_ndim(py_node(scalar)));
        return NULL;
    }
    return scalar;
}

/* The aliases become gradients of the scalar. */
static int differentiate(call *c, fr_tape *tape, PyObject *scalar)
{
    fr_array *y = py_node(scalar), *one = fr_full(NULL, 0, 1, fr_dtype_of(y));
    fr_array **grads = PyMem_Calloc((size_t)c->flat.n, sizeof *grads);
    int failed = !one || !grads || fr_tape_gradients(tape, 1, &y, &one, grads);
    if (one)
        fr_free(fr_own(one));
    for (int i = 0; !failed && i < c->flat.n; i++) {
        fr_free(c->aliases[i]);
        c->aliases[i] = fr_own(grads[i]);
    }
    PyMem_Free(grads);
    return failed ? py_raise_int() : 0;
}

/* One gradient, a tuple of them, or with argnames (positional, {name: gradient}). */
static PyObject *gradients(call *c)
{
    fr_array *const *next = c->aliases;
    Py_ssize_t nums = PyTuple_GET_SIZE(c->self->first), names = c->nchosen - nums;
    PyObject *positional = nums > 1 ? PyTuple_New(nums) : NULL, *named = NULL, *result;
    if (nums > 1 && !positional)
        return NULL;
    for (Py_ssize_t i = 0; i < nums; i++) {
        PyObject *one = py_with_leaves(c->args[c->chosen[i]], &next);
        if (!one) {
            Py_XDECREF(positional);
            return NULL;
        }
        if (nums > 1)
            PyTuple_SET_ITEM(positional, i, one);
        else
            positional = one;
    }
    if (!names)
        return positional;
    if (!positional) {
        Py_INCREF(Py_None);
        positional = Py_None;
    }
    named = PyDict_New();
    for (Py_ssize_t i = 0; named && i < names; i++) {
        PyObject *one = py_with_leaves(c->args[c->chosen[nums + i]], &next);
        if (!one || PyDict_SetItem(named, PyTuple_GET_ITEM(c->self->second, i), one))
            Py_CLEAR(named);
        Py_XDECREF(one);
    }
    result = named ? PyTuple_Pack(2, positional, named) : NULL;
    Py_DECREF(positional);
    Py_XDECREF(named);
    return result;
}

static PyObject *call_gradient(PyObject *object, PyObject *const *args, size_t nargs,
                               PyObject *names, bool value_too)
{
    call c;
    PyObject *value = NULL, *scalar = NULL, *result = NULL;
    fr_tape *tape = NULL;
    if (begin(&c, (py_transform *)object, args, nargs, names))
        goto done;
    if (!(tape = fr_tape_begin(c.flat.n, c.flat.arrays, c.aliases))) {
        memset(c.aliases, 0, (size_t)c.flat.n * sizeof *c.aliases);
        py_raise();
        goto done;
    }
    for (int i = 0; i < c.flat.n; i++)
        c.aliases[i] = fr_own(c.aliases[i]);
    value = call_on_aliases(&c);
    if (value)
        scalar = scalar_of(value, c.self->name, value_too);
    if (scalar && !differentiate(&c, tape, scalar))
        result = gradients(&c);
done:
    fr_tape_end(tape);
    end(&c);
    if (result && value_too) {
        PyObject *both = PyTuple_Pack(2, value, result);
        Py_DECREF(result);
        result = both;
    }
    Py_XDECREF(value);
    return result;
}

static PyObject *grad_call(PyObject *object, PyObject *const *args, size_t n, PyObject *names)
{
    return call_gradient(object, args, n, names, false);
}

static PyObject *value_and_grad_call(PyObject *object, PyObject *const *args, size_t n,
                                     PyObject *names)
{
    return call_gradient(object, args, n, names, true);
}

static PyObject *make_gradient(const char *name, vectorcallfunc call, PyObject *const *args,
                               Py_ssize_t n, PyObject *names)
{
    py_signature signature = {name, 1, 3, 0, {"fun", "argnums", "argnames", NULL}};
    PyObject *at[3], *nums = NULL, *keywords = NULL, *result = NULL;
    if (py_parse(&signature, args, n, names, at) || py_need_callable(at[0], name) ||
        !(keywords = read_argnames(at[2], name)))
        return NULL;
    if (at[1] && at[1] != Py_None)
        nums = read_argnums(at[1], name);
    else
        nums = PyTuple_GET_SIZE(keywords) ? PyTuple_New(0) : Py_BuildValue("(i)", 0);
    if (nums && !PyTuple_GET_SIZE(nums) && !PyTuple_GET_SIZE(keywords))
        PyErr_Format(PyExc_ValueError, "%s: gradient with respect to no argument requested",
                     name);
    else if (nums)
        result = py_transform_new(name, call, at[0], nums, keywords);
    Py_XDECREF(nums);
    Py_DECREF(keywords);
    return result;
}

static PyObject *call_grad(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    return make_gradient("grad", grad_call, args, n, names);
}

static PyObject *call_value_and_grad(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    (void)module;
    return make_gradient("value_and_grad", value_and_grad_call, args, n, names);
}

/* ---- vjp, jvp ---------------------------------------------------------------------------------- */

PyObject *py_call_on_list(PyObject *fun, int n, fr_array *const *arrays)
{
    PyObject *args = PyTuple_New(n), *result = NULL;
    bool good = args != NULL;
    for (int i = 0; good && i < n; i++) {
        PyObject *item = py_adopt(fr_keep(arrays[i]));
        good = item != NULL;
        if (good)
            PyTuple_SET_ITEM(args, i, item);
    }
    if (good)
        result = PyObject_Call(fun, args, NULL);
    Py_XDECREF(args);
    return result;
}

int py_read_results(PyObject *result, py_flat *flat, const char *function)
{
    if (py_is_array(result))
        return py_push_array(flat, fr_keep(py_node(result)));
    return py_read_array_list(result, flat, function, "the function's result");
}

/* ([outputs], [made]), taking over made. */
static PyObject *pair_of_lists(py_flat *out, int n, fr_array **made)
{
    for (int i = 0; i < n; i++)
        made[i] = fr_own(made[i]);
    for (int i = 0; i < out->n; i++)
        fr_keep(out->arrays[i]);
    PyObject *outs = py_array_list(out->n, out->arrays), *all = py_array_list(n, made);
    PyObject *result = outs && all ? PyTuple_Pack(2, outs, all) : NULL;
    Py_XDECREF(outs);
    Py_XDECREF(all);
    return result;
}

/* Runs fun on aliases of `in` on a tape: its results into out. */
static fr_tape *run_on_tape(PyObject *fun, const char *function, const py_flat *in,
                            py_flat *out)
{
    fr_array **aliases = PyMem_Calloc((size_t)in->n + 1, sizeof *aliases);
    if (!aliases) {
        PyErr_NoMemory();
        return NULL;
    }
    fr_tape *tape = fr_tape_begin(in->n, in->arrays, aliases);
    PyObject *value = NULL;
    if (tape) {
        for (int i = 0; i < in->n; i++)
            aliases[i] = fr_own(aliases[i]);
        value = py_call_on_list(fun, in->n, aliases);
        for (int i = 0; i < in->n; i++)
            fr_free(aliases[i]);
    } else {
        py_raise();
    }
    if (tape && (!value || py_read_results(value, out, function))) {
        fr_tape_end(tape);
        tape = NULL;
    }
    Py_XDECREF(value);
    PyMem_Free(aliases);
    return tape;
}

static PyObject *vjp(PyObject *fun, const py_flat *in, const py_flat *cotangents, py_flat *out)
{
    fr_tape *tape = run_on_tape(fun, "vjp", in, out);
    fr_array **grads = PyMem_Calloc((size_t)in->n + 1, sizeof *grads);
    PyObject *result = NULL;
    if (!grads)
        PyErr_NoMemory();
    else if (tape && out->n != cotangents->n)
        PyErr_Format(PyExc_ValueError,
                     "vjp: the number of outputs (%d) does not match that of cotangents (%d)",
                     out->n, cotangents->n);
    else if (tape && fr_tape_gradients(tape, out->n, out->arrays, cotangents->arrays, grads))
        py_raise();
    else if (tape)
        result = pair_of_lists(out, in->n, grads);
    fr_tape_end(tape);
    PyMem_Free(grads);
    return result;
}

static PyObject *jvp(PyObject *fun, const py_flat *in, const py_flat *tangents, py_flat *out)
{
    if (in->n != tangents->n) {
        PyErr_Format(PyExc_ValueError,
                     "jvp: the number of primals (%d) does not match that of tangents (%d)",
                     in->n, tangents->n);
        return NULL;
    }
    fr_tape *tape = run_on_tape(fun, "jvp", in, out);
    fr_array **changes = PyMem_Calloc((size_t)out->n + 1, sizeof *changes);
    PyObject *result = NULL;
    if (!changes)
        PyErr_NoMemory();
    else if (tape && fr_tape_tangents(tape, tangents->arrays, out->n, out->arrays, changes))
        py_raise();
    else if (tape)
        result = pair_of_lists(out, out->n, changes);
    fr_tape_end(tape);
    PyMem_Free(changes);
    return result;
}

typedef PyObject *product(PyObject *fun, const py_flat *in, const py_flat *with, py_flat *out);

static PyObject *call_product(const py_signature *signature, product *compute,
                              PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *at[3], *result = NULL;
    const char *function = signature->function;
    if (py_parse(signature, args, n, names, at) || py_need_callable(at[0], function))
        return NULL;
    py_flat in, with, out;
    py_flat_begin(&in);
    py_flat_begin(&with);
    py_flat_begin(&out);
    if (!py_read_array_list(at[1], &in, function, signature->names[1]) &&
        !py_read_array_list(at[2], &with, function, signature->names[2]))
        result = compute(at[0], &in, &with, &out);
    py_flat_end(&in);
    py_flat_end(&with);
    py_flat_end(&out);
    return result;
}

static PyObject *call_vjp(PyObject *module, PyObject *const *args, Py_ssize_t n,
                          PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "vjp", 3, 3, 0, {"fun", "primals", "cotangents", NULL}};
    return call_product(&signature, vjp, args, n, names);
}

static PyObject *call_jvp(PyObject *module, PyObject *const *args, Py_ssize_t n,
                          PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "jvp", 3, 3, 0, {"fun", "primals", "tangents", NULL}};
    return call_product(&signature, jvp, args, n, names);
}

/* ---- stop_gradient --------------------------------------------------------------------------- */

static PyObject *call_stop_gradient(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    (void)module;
    static const py_signature signature = {"stop_gradient", 1, 1, 1, {"a", "stream", NULL}};
    PyObject *at[2], *result = NULL;
    py_stream_guard guard;
    fr_array *owned;
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    fr_array *x = py_need_operand(at[0], &owned, "stop_gradient");
    if (!x)
        return NULL;
    if (!py_stream_enter(at[1], &guard, "stop_gradient")) {
        result = py_wrap(fr_stop_gradient(x));
        py_stream_leave(&guard);
    }
    if (owned)
        fr_free(owned);
    return result;
}

PyMethodDef py_transform_functions[] = {
    PY_METHOD("grad", call_grad,
              "grad(fun, argnums=None, argnames=[])\n--\n\n"
              "A function with fun's arguments that gives the gradient of fun's scalar result\n"
              "with respect to the arguments at these places (the first if none is named) and\n"
              "of these names: nested containers of arrays give containers of gradients."),
    PY_METHOD(
        "value_and_grad", call_value_and_grad,
        "value_and_grad(fun, argnums=None, argnames=[])\n--\n\n"
        "The same, giving fun's result and the gradient. The result is a scalar array, or a\n"
        "tuple whose first value is one and whose others may be anything."),
    PY_METHOD(
        "vjp", call_vjp,
        "vjp(fun, primals, cotangents)\n--\n\n"
        "fun's outputs at the arrays `primals`, and the products of `cotangents`, one for\n"
        "each output, with its Jacobian: two lists of arrays."),
    PY_METHOD("jvp", call_jvp,
              "jvp(fun, primals, tangents)\n--\n\n"
              "fun's outputs at the arrays `primals`, and the products of its Jacobian with\n"
              "`tangents`, one for each of them: two lists of arrays."),
    PY_METHOD(
        "vmap", py_call_vmap,
        "vmap(fun, in_axes=0, out_axes=0)\n--\n\n"
        "A function that does for all elements of a batch what fun does for one. in_axes: the\n"
        "axis of each argument that counts the batch, None: the same for all; out_axes: where\n"
        "results have it. Containers of axes go with containers of arrays."),
    PY_METHOD(
        "checkpoint", py_call_checkpoint,
        "checkpoint(fun)\n--\n\n"
        "fun, but where it is differentiated it runs once more, instead of its intermediate\n"
        "values being kept."),
    PY_METHOD("stop_gradient", call_stop_gradient,
              "stop_gradient(a, /, *, stream=None)\n--\n\n"
              "a, a constant to whatever differentiates."),
    PY_END,
};

int py_transform_init(PyObject *module)
{
    if (PyType_Ready(&py_transform_type) || PyType_Ready(&py_custom_type))
        return -1;
    Py_INCREF(&py_custom_type);
    return PyModule_AddObject(module, "custom_function", (PyObject *)&py_custom_type);
}
