/* custom.c - mx.custom_function: rules of Python's for a function; mx.checkpoint
 *
 *   call -> the function's result -> its arrays, marked with the rules
 *   a transformation meets a mark -> containers like the arguments' and the result's, filled
 *        with what it has -> the rule -> what it gave, taken apart
 *
 * Rules are called while the library differentiates or batches, on the thread that asked for it.
 */
#include "transforms.h"

typedef struct custom { /* a py_wrapper */
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun, *vjp, *jvp, *vmap; /* the rules may be NULL */
    PyObject *weak;
} custom;

/* What a mark keeps of a call. */
typedef struct rules {
    py_release release;
    PyObject *fun, *vjp, *jvp, *vmap;
    PyObject *arguments; /* form of (args, kwargs) */
    PyObject *result;    /* form of the result */
} rules;

static void rules_free(py_release *release)
{
    rules *r = (rules *)release;
    Py_XDECREF(r->fun);
    Py_XDECREF(r->vjp);
    Py_XDECREF(r->jvp);
    Py_XDECREF(r->vmap);
    Py_XDECREF(r->arguments);
    Py_XDECREF(r->result);
    PyMem_RawFree(r);
}

/* ---- what a rule is given -------------------------------------------------------------------- */

/* The form with these n objects, which are taken over; NULL or one that is NULL: an error. */
static PyObject *fill(PyObject *form, int n, PyObject **objects)
{
    bool good = objects != NULL;
    for (int i = 0; good && i < n; i++)
        good = objects[i] != NULL;
    PyObject *const *next = objects;
    PyObject *result = good ? py_with_objects(form, &next) : NULL;
    if (!objects)
        PyErr_NoMemory();
    for (int i = 0; objects && i < n; i++)
        Py_XDECREF(objects[i]);
    PyMem_Free(objects);
    return result;
}

static PyObject *share(PyObject *x)
{
    Py_XINCREF(x);
    return x;
}

/* With handles on these arrays, None for those that are NULL. */
static PyObject *filled(PyObject *form, int n, fr_array *const *arrays)
{
    PyObject **objects = PyMem_Calloc((size_t)n + 1, sizeof *objects);
    for (int i = 0; objects && i < n; i++)
        if (!(objects[i] = arrays[i] ? py_adopt(fr_keep(arrays[i])) : share(Py_None)))
            break;
    return fill(form, n, objects);
}

/* With an int or None for each array. */
static PyObject *axes_filled(PyObject *form, int n, const int *axes)
{
    PyObject **objects = PyMem_Calloc((size_t)n + 1, sizeof *objects);
    for (int i = 0; objects && i < n; i++)
        if (!(objects[i] = axes[i] == FR_NO_AXIS ? share(Py_None) : PyLong_FromLong(axes[i])))
            break;
    return fill(form, n, objects);
}

/* The positional arguments, or the one of them. Borrowed. */
static PyObject *primals_of(PyObject *arguments)
{
    PyObject *args = PyTuple_GET_ITEM(arguments, 0);
    return PyTuple_GET_SIZE(args) == 1 ? PyTuple_GET_ITEM(args, 0) : args;
}

/* rule(a, b, c, **kwargs); takes a, b and c (which may be NULL: an error; c: none) over. */
static PyObject *call_rule(PyObject *rule, PyObject *kwargs, int n, PyObject *a, PyObject *b,
                           PyObject *c)
{
    bool good = a && b && (n < 3 || c);
    PyObject *args = !good ? NULL : n < 3 ? PyTuple_Pack(2, a, b) : PyTuple_Pack(3, a, b, c);
    PyObject *result = args ? PyObject_Call(rule, args, kwargs) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(a);
    Py_XDECREF(b);
    Py_XDECREF(c);
    return result;
}

static int rule_vjp(void *ctx, int n_in, fr_array *const *in, int n_out,
                    fr_array *const *cotangents, fr_array *const *out, fr_array **grads)
{
    const rules *r = ctx;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *all = filled(r->arguments, n_in, in), *given = NULL;
    if (all)
        given = call_rule(r->vjp, PyTuple_GET_ITEM(all, 1), 3, share(primals_of(all)),
                          filled(r->result, n_out, cotangents), filled(r->result, n_out, out));
    fr_array **next = grads;
    int status =
        given ? py_fit_form(primals_of(r->arguments), given, "custom_function.vjp", &next) : -1;
    Py_XDECREF(all);
    Py_XDECREF(given);
    PyGILState_Release(gil);
    return status;
}

static int rule_jvp(void *ctx, int n_in, fr_array *const *in, fr_array *const *tangents,
                    int n_out, fr_array **changes)
{
    (void)n_out;
    const rules *r = ctx;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *all = filled(r->arguments, n_in, in), *given = NULL;
    PyObject *moves = all ? filled(r->arguments, n_in, tangents) : NULL;
    if (moves)
        given = call_rule(r->jvp, PyTuple_GET_ITEM(all, 1), 2, share(primals_of(all)),
                          share(primals_of(moves)), NULL);
    fr_array **next = changes;
    int status = given ? py_fit_form(r->result, given, "custom_function.jvp", &next) : -1;
    Py_XDECREF(all);
    Py_XDECREF(moves);
    Py_XDECREF(given);
    PyGILState_Release(gil);
    return status;
}

static int read_batch(const rules *r, PyObject *given, int n_out, fr_array **out, int *out_axes)
{
    if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 2) {
        PyErr_Format(PyExc_ValueError,
                     "custom_function.vmap: wanted outputs and their axes, not a %s",
                     Py_TYPE(given)->tp_name);
        return -1;
    }
    py_axis_list axes = {0};
    PyObject *outputs = PyTuple_GET_ITEM(given, 0);
    int status = py_fit_form(r->result, outputs, "custom_function.vmap", &out) ||
                 py_read_axes_of(PyTuple_GET_ITEM(given, 1), outputs, "the axes", &axes);
    for (int i = 0; !status && i < n_out && i < axes.n; i++)
        out_axes[i] = axes.at[i];
    PyMem_Free(axes.at);
    return status ? -1 : 0;
}

static int rule_vmap(void *ctx, int n_in, fr_array *const *in, const int *in_axes, int n_out,
                     fr_array **out, int *out_axes)
{
    const rules *r = ctx;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *all = filled(r->arguments, n_in, in), *given = NULL;
    PyObject *axes = all ? axes_filled(r->arguments, n_in, in_axes) : NULL;
    if (axes)
        given = call_rule(r->vmap, PyTuple_GET_ITEM(all, 1), 2, share(primals_of(all)),
                          share(primals_of(axes)), NULL);
    int status = given ? read_batch(r, given, n_out, out, out_axes) : -1;
    Py_XDECREF(all);
    Py_XDECREF(axes);
    Py_XDECREF(given);
    PyGILState_Release(gil);
    return status;
}

static int run_again(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_out;
    const rules *r = ctx;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *all = filled(r->arguments, n_in, in), *given = NULL;
    if (all)
        given = PyObject_Call(r->fun, PyTuple_GET_ITEM(all, 0), PyTuple_GET_ITEM(all, 1));
    int status = given ? py_fit_form(r->result, given, "checkpoint", &out) : -1;
    Py_XDECREF(all);
    Py_XDECREF(given);
    PyGILState_Release(gil);
    return status;
}

/* ---- a call ------------------------------------------------------------------------------------ */

/* The result with its arrays marked; take is filled in and taken over. */
static PyObject *marked(PyObject *arguments, PyObject *result, const rules *take,
                        const fr_custom_rules *how)
{
    py_flat in, out;
    PyObject *made = NULL;
    fr_array **marks = NULL;
    rules *r = NULL;
    py_flat_begin(&in);
    py_flat_begin(&out);
    if (py_leaves(arguments, &in, NULL, NULL) || py_leaves(result, &out, NULL, NULL))
        goto done;
    if (!py_any_traced(&in) && !py_any_traced(&out)) {
        made = share(result);
        goto done;
    }
    r = PyMem_RawCalloc(1, sizeof *r);
    marks = PyMem_Calloc((size_t)out.n + 1, sizeof *marks);
    if (!r || !marks) {
        PyErr_NoMemory();
        goto done;
    }
    *r = (rules){{NULL, rules_free}, share(take->fun),   share(take->vjp), share(take->jvp),
                 share(take->vmap),  py_form(arguments), py_form(result)};
    if (!r->arguments || !r->result) {
        rules_free(&r->release);
        goto done;
    }
    if (fr_custom_results(how, r, in.n, in.arrays, out.n, out.arrays, marks)) {
        py_raise();
        goto done;
    }
    for (int i = 0; i < out.n; i++)
        marks[i] = fr_own(marks[i]);
    fr_array *const *next = marks;
    made = py_with_leaves(result, &next);
    for (int i = 0; i < out.n; i++)
        fr_free(marks[i]);
    r = NULL;
done:
    if (r && !marks)
        PyMem_RawFree(r);
    PyMem_Free(marks);
    py_flat_end(&in);
    py_flat_end(&out);
    return made;
}

/* (args, kwargs): a new tuple. */
static PyObject *arguments_of(PyObject *const *args, size_t nargs, PyObject *names)
{
    Py_ssize_t n = PyVectorcall_NARGS(nargs);
    PyObject *places = PyTuple_New(n), *kwargs = PyDict_New(), *both = NULL;
    for (Py_ssize_t i = 0; places && i < n; i++)
        PyTuple_SET_ITEM(places, i, share(args[i]));
    bool good = places && kwargs;
    for (Py_ssize_t k = 0; good && names && k < PyTuple_GET_SIZE(names); k++)
        good = !PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, k), args[n + k]);
    if (good)
        both = PyTuple_Pack(2, places, kwargs);
    Py_XDECREF(places);
    Py_XDECREF(kwargs);
    return both;
}

static PyObject *custom_call(PyObject *object, PyObject *const *args, size_t nargs,
                             PyObject *names)
{
    const custom *self = (custom *)object;
    PyObject *result = PyObject_Vectorcall(self->fun, args, nargs, names), *made = NULL;
    if (!result || (!self->vjp && !self->jvp && !self->vmap))
        return result;
    py_release_sweep();
    PyObject *arguments = arguments_of(args, nargs, names);
    rules take = {.vjp = self->vjp, .jvp = self->jvp, .vmap = self->vmap};
    fr_custom_rules how = {.vjp = self->vjp ? rule_vjp : NULL,
                           .jvp = self->jvp ? rule_jvp : NULL,
                           .vmap = self->vmap ? rule_vmap : NULL,
                           .free_ctx = py_release_now};
    if (arguments)
        made = marked(arguments, result, &take, &how);
    Py_XDECREF(arguments);
    Py_DECREF(result);
    return made;
}

static PyObject *checkpoint_call(PyObject *object, PyObject *const *args, size_t nargs,
                                 PyObject *names)
{
    const py_transform *self = (py_transform *)object;
    PyObject *result = PyObject_Vectorcall(self->fun, args, nargs, names), *made = NULL;
    if (!result)
        return NULL;
    py_release_sweep();
    PyObject *arguments = arguments_of(args, nargs, names);
    rules take = {.fun = self->fun};
    fr_custom_rules how = {.again = run_again, .free_ctx = py_release_now};
    if (arguments)
        made = marked(arguments, result, &take, &how);
    Py_XDECREF(arguments);
    Py_DECREF(result);
    return made;
}

PyObject *py_call_checkpoint(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)module;
    static const py_signature signature = {"checkpoint", 1, 1, 0, {"fun", NULL}};
    PyObject *at[1];
    if (py_parse(&signature, args, n, names, at) || py_need_callable(at[0], "checkpoint"))
        return NULL;
    return py_transform_new("checkpoint", checkpoint_call, at[0], NULL, NULL);
}

/* ---- the object ------------------------------------------------------------------------------------ */

static PyObject *custom_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"f", NULL};
    PyObject *fun;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O:custom_function", keywords, &fun) ||
        py_need_callable(fun, "custom_function"))
        return NULL;
    custom *self = (custom *)type->tp_alloc(type, 0);
    if (self) {
        self->call = custom_call;
        self->fun = share(fun);
    }
    return (PyObject *)self;
}

static int custom_traverse(PyObject *object, visitproc visit, void *arg)
{
    custom *self = (custom *)object;
    Py_VISIT(self->fun);
    Py_VISIT(self->vjp);
    Py_VISIT(self->jvp);
    Py_VISIT(self->vmap);
    return 0;
}

static int custom_clear(PyObject *object)
{
    custom *self = (custom *)object;
    Py_CLEAR(self->fun);
    Py_CLEAR(self->vjp);
    Py_CLEAR(self->jvp);
    Py_CLEAR(self->vmap);
    return 0;
}

static void custom_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    if (((custom *)object)->weak)
        PyObject_ClearWeakRefs(object);
    custom_clear(object);
    Py_TYPE(object)->tp_free(object);
}

static PyObject *set_rule(PyObject *object, PyObject **to, PyObject *rule, const char *name)
{
    if (py_need_callable(rule, name))
        return NULL;
    Py_XSETREF(*to, share(rule));
    return share(object);
}

static PyObject *set_vjp(PyObject *object, PyObject *rule)
{
    return set_rule(object, &((custom *)object)->vjp, rule, "custom_function.vjp");
}

static PyObject *set_jvp(PyObject *object, PyObject *rule)
{
    return set_rule(object, &((custom *)object)->jvp, rule, "custom_function.jvp");
}

static PyObject *set_vmap(PyObject *object, PyObject *rule)
{
    return set_rule(object, &((custom *)object)->vmap, rule, "custom_function.vmap");
}

static PyMethodDef custom_methods[] = {
    {"vjp", set_vjp, METH_O,
     "vjp($self, f, /)\n--\n\n"
     "Decorator: f(primals, cotangents, outputs) gives the cotangents of the primals, in\n"
     "containers like theirs; None is zero. One positional argument stands for itself, "
     "several\n"
     "are a tuple."},
    {"jvp", set_jvp, METH_O,
     "jvp($self, f, /)\n--\n\n"
     "Decorator: f(primals, tangents) gives the tangents of the outputs. It must be linear in\n"
     "the tangents; one that is None is zero."},
    {"vmap", set_vmap, METH_O,
     "vmap($self, f, /)\n--\n\n"
     "Decorator: f(inputs, axes) gives the outputs for a batch, and their axes: an int, or\n"
     "None where an output is the same for all."},
    PY_END,
};

PyTypeObject py_custom_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.custom_function",
    .tp_doc =
        "custom_function(f)\n--\n\n"
        "A function with rules of its own for derivatives and batches: those that vjp, jvp\n"
        "and vmap set. What it captures counts as constant where it has a vjp.",
    .tp_basicsize = sizeof(custom),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(custom, call),
    .tp_call = PyVectorcall_Call,
    .tp_new = custom_new,
    .tp_dealloc = custom_dealloc,
    .tp_traverse = custom_traverse,
    .tp_clear = custom_clear,
    .tp_getattro = py_wrapper_getattro,
    .tp_descr_get = py_wrapper_bind,
    .tp_weaklistoffset = offsetof(custom, weak),
    .tp_methods = custom_methods,
};
