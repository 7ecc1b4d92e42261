/* ops.c - functions and methods of arrays: a pair for each row of the table, those of shapes,
 * and those made of several
 *
 * needs   src/op/ops.def as ops_py.inc
 * gives   py_op_functions, the module's; py_array_methods, the array type's
 *
 * A function `sum(x, axis, ...)` and its method `x.sum(axis, ...)` are one body: the method
 * puts the array in front of its arguments.
 */
#include "ext.h"

#include <math.h>

typedef fr_array *unary_fn(fr_array *x);
typedef fr_array *binary_fn(fr_array *x, fr_array *y);
typedef fr_array *ternary_fn(fr_array *x, fr_array *y, fr_array *z);
typedef fr_array *reduce_fn(fr_array *x, const fr_reduce_options *options);

/* ---- element by element --------------------------------------------------------------- */

/* The only keyword of these: stream. -1: another one, or a count that's wrong. */
static int enter_call(const char *name, int wanted, PyObject *const *args, Py_ssize_t n,
                      PyObject *names, py_stream_guard *guard)
{
    guard->changed = false;
    if (n != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %d positional argument%s, got %zd", name,
                     wanted, wanted == 1 ? "" : "s", n);
        return -1;
    }
    for (Py_ssize_t k = 0; names && k < PyTuple_GET_SIZE(names); k++) {
        PyObject *keyword = PyTuple_GET_ITEM(names, k);
        if (PyUnicode_CompareWithASCIIString(keyword, "stream") != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unknown argument '%U'", name, keyword);
            return -1;
        }
        if (py_stream_enter(args[n + k], guard, name))
            return -1;
    }
    return 0;
}

static PyObject *unary(unary_fn *function, const char *name, PyObject *const *args,
                       Py_ssize_t n, PyObject *names)
{
    if (n == 1 && !names && py_is_array(args[0]))
        return py_wrap(function(py_node(args[0])));
    py_stream_guard guard;
    if (enter_call(name, 1, args, n, names, &guard))
        return NULL;
    fr_array *owned, *x = py_need_operand(args[0], &owned, name);
    PyObject *result = x ? py_wrap(function(x)) : NULL;
    if (x)
        fr_free(owned);
    py_stream_leave(&guard);
    return result;
}

static PyObject *unary_method(unary_fn *function, const char *name, PyObject *self,
                              PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_stream_guard guard;
    if (enter_call(name, 0, args, n, names, &guard))
        return NULL;
    PyObject *result = py_wrap(function(py_node(self)));
    py_stream_leave(&guard);
    return result;
}

static PyObject *binary(binary_fn *function, const char *name, PyObject *const *args,
                        Py_ssize_t n, PyObject *names)
{
    if (n == 2 && !names && py_is_array(args[0]) && py_is_array(args[1]))
        return py_wrap(function(py_node(args[0]), py_node(args[1])));
    py_stream_guard guard;
    if (enter_call(name, 2, args, n, names, &guard))
        return NULL;
    PyObject *result = NULL;
    fr_array *own_x = NULL, *own_y = NULL;
    fr_array *x = py_need_operand(args[0], &own_x, name);
    fr_array *y = x ? py_need_operand(args[1], &own_y, name) : NULL;
    if (y)
        result = py_wrap(function(x, y));
    fr_free(own_x);
    fr_free(own_y);
    py_stream_leave(&guard);
    return result;
}

static PyObject *ternary(ternary_fn *function, const char *name, PyObject *const *args,
                         Py_ssize_t n, PyObject *names)
{
    py_stream_guard guard;
    if (enter_call(name, 3, args, n, names, &guard))
        return NULL;
    PyObject *result = NULL;
    fr_array *owned[3] = {NULL, NULL, NULL}, *at[3];
    int ready = 0;
    while (ready < 3 && (at[ready] = py_need_operand(args[ready], &owned[ready], name)))
        ready++;
    if (ready == 3)
        result = py_wrap(function(at[0], at[1], at[2]));
    for (int i = 0; i < 3; i++)
        fr_free(owned[i]);
    py_stream_leave(&guard);
    return result;
}

#define PY_UNARY(c, python, manual)                                                            \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return unary(fr_##c, #python, args, n, names);                                         \
    }                                                                                          \
    static PyObject *method_##python(PyObject *self, PyObject *const *args, Py_ssize_t n,      \
                                     PyObject *names)                                          \
    {                                                                                          \
        return unary_method(fr_##c, #python, self, args, n, names);                            \
    }
#define PY_BINARY(c, python, manual)                                                           \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return binary(fr_##c, #python, args, n, names);                                        \
    }
#define PY_TERNARY(c, python, manual)                                                          \
    static PyObject *call_##python(PyObject *module, PyObject *const *args, Py_ssize_t n,      \
                                   PyObject *names)                                            \
    {                                                                                          \
        (void)module;                                                                          \
        return ternary(fr_##c, #python, args, n, names);                                       \
    }
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_BINARY
#undef PY_TERNARY

/* mx.divmod: as divmod of two arrays */
static PyObject *call_divmod(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    PyObject *quotient = call_floor_divide(module, args, n, names);
    PyObject *rest = quotient ? call_remainder(module, args, n, names) : NULL;
    PyObject *both = rest ? PyTuple_Pack(2, quotient, rest) : NULL;
    Py_XDECREF(quotient);
    Py_XDECREF(rest);
    return both;
}

/* ---- bodies shared by a function and a method ----------------------------------------- */

/* A call whose first argument is an array, the others as the signature says. */
typedef struct call {
    fr_array *x; /* a reference of ours */
    py_stream_guard guard;
    PyObject *at[8]; /* at[0] is x, at[i] the signature's i-th */
} call;

/* slot: where the signature has its `stream`. */
static int begin_call(call *c, const py_signature *s, int slot, PyObject *self,
                      PyObject *const *args, Py_ssize_t n, PyObject *names)
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
    if (py_parse(s, all, n, names, c->at))
        return -1;
    fr_array *owned;
    c->x = py_need_operand(c->at[0], &owned, s->function);
    if (!c->x)
        return -1;
    if (!owned)
        fr_keep(c->x);
    c->guard.changed = false;
    if (c->at[slot] && py_stream_enter(c->at[slot], &c->guard, s->function)) {
        fr_free(c->x);
        return -1;
    }
    return 0;
}

static PyObject *end_call(call *c, fr_array *result)
{
    PyObject *wrapped = py_wrap(result);
    py_stream_leave(&c->guard);
    fr_free(c->x);
    return wrapped;
}

/* The same for a reference that is ours already. */
static PyObject *end_call_with(call *c, fr_array *reference)
{
    PyObject *wrapped = py_adopt(reference);
    py_stream_leave(&c->guard);
    fr_free(c->x);
    return wrapped;
}

/* Ends a call whose arguments were wrong: an exception is set. */
static PyObject *fail_call(call *c)
{
    py_stream_leave(&c->guard);
    fr_free(c->x);
    return NULL;
}

/* ---- element by element, made of several ---------------------------------------------- */

static int read_number(PyObject *value, double *to) /* NULL, None: as is */
{
    if (!value || value == Py_None)
        return 0;
    *to = PyFloat_AsDouble(value);
    return *to == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *call_clip(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    static const py_signature signature = {
        "clip", 3, 3, 1, {"x", "a_min", "a_max", "stream", NULL}};
    call c;
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    fr_array *bound[2] = {NULL, NULL}, *owned[2] = {NULL, NULL};
    bool good = true;
    for (int i = 0; i < 2 && good; i++)
        if (c.at[i + 1] != Py_None)
            good = (bound[i] = py_need_operand(c.at[i + 1], &owned[i], "clip")) != NULL;
    PyObject *result = NULL;
    if (good && !bound[0] && !bound[1])
        PyErr_SetString(PyExc_ValueError, "clip: at most one of a_min and a_max may be None");
    else if (good)
        result = py_wrap(fr_clip(c.x, bound[0], bound[1]));
    fr_free(owned[0]);
    fr_free(owned[1]);
    py_stream_leave(&c.guard);
    fr_free(c.x);
    return result;
}

static PyObject *call_round(PyObject *self, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    static const py_signature signature = {"round", 1, 3, 1, {"x", "decimals", "stream", NULL}};
    call c;
    int decimals = 0;
    if (begin_call(&c, &signature, 2, self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &decimals))
        return fail_call(&c);
    return end_call(&c, fr_round(c.x, decimals));
}

static PyObject *call_nan_to_num(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    static const py_signature signature = {
        "nan_to_num", 1, 4, 1, {"x", "nan", "posinf", "neginf", "stream", NULL}};
    call c;
    double nan = 0, most = HUGE_VAL, least = -HUGE_VAL;
    if (begin_call(&c, &signature, 4, self, args, n, names))
        return NULL;
    if (read_number(c.at[1], &nan) || read_number(c.at[2], &most) ||
        read_number(c.at[3], &least))
        return fail_call(&c);
    return end_call(&c, fr_nan_to_num(c.x, nan, most, least));
}

static PyObject *close_to(const char *name, bool all, PyObject *self, PyObject *const *args,
                          Py_ssize_t n, PyObject *names)
{
    py_signature signature = {
        name, 2, 4, 2, {"x", "y", "rtol", "atol", "equal_nan", "stream", NULL}};
    call c;
    double rtol = 1e-5, atol = 1e-8;
    bool equal_nan = false;
    if (begin_call(&c, &signature, 5, self, args, n, names))
        return NULL;
    fr_array *owned, *y = py_need_operand(c.at[1], &owned, name);
    if (!y)
        return fail_call(&c);
    fr_array *result = NULL;
    if (!read_number(c.at[2], &rtol) && !read_number(c.at[3], &atol) &&
        !py_read_bool(c.at[4], &equal_nan))
        result = fr_own(fr_isclose(c.x, y, rtol, atol, equal_nan));
    if (all && result) {
        fr_array *each = result;
        result = fr_own(fr_all(each, NULL));
        fr_free(each);
    }
    fr_free(owned);
    return end_call_with(&c, result);
}

static PyObject *call_isclose(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    return close_to("isclose", false, self, args, n, names);
}

static PyObject *call_allclose(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    return close_to("allclose", true, self, args, n, names);
}

/* ---- reductions ----------------------------------------------------------------------- */

static PyObject *reduce(reduce_fn *function, const char *name, PyObject *self,
                        PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_signature signature = {name, 1, 3, 1, {"x", "axis", "keepdims", "stream", NULL}};
    call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, name) || py_read_bool(c.at[2], &options.keepdims))
        return fail_call(&c);
    options.axes = axes.all ? NULL : axes.at;
    options.naxes = axes.n;
    return end_call(&c, function(c.x, &options));
}

#define REDUCTION(c, python)                                                                   \
    static PyObject *call_##python(PyObject *self, PyObject *const *args, Py_ssize_t n,        \
                                   PyObject *names)                                            \
    {                                                                                          \
        return reduce(fr_##c, #python, self, args, n, names);                                  \
    }
#define PY_REDUCE(c, python, manual) REDUCTION(c, python)
#include "ops_py.inc"
#undef PY_REDUCE
REDUCTION(mean, mean)
REDUCTION(logsumexp, logsumexp)

static PyObject *reduce_spread(reduce_fn *function, const char *name, PyObject *self,
                               PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_signature signature = {name, 1, 4, 1, {"x", "axis", "keepdims", "ddof", "stream", NULL}};
    call c;
    py_axes axes;
    fr_reduce_options options = {0};
    if (begin_call(&c, &signature, 4, self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, name) || py_read_bool(c.at[2], &options.keepdims))
        return fail_call(&c);
    if (c.at[3]) {
        options.ddof = PyFloat_AsDouble(c.at[3]);
        if (options.ddof == -1 && PyErr_Occurred())
            return fail_call(&c);
    }
    options.axes = axes.all ? NULL : axes.at;
    options.naxes = axes.n;
    return end_call(&c, function(c.x, &options));
}

static PyObject *call_var(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    return reduce_spread(fr_var, "var", self, args, n, names);
}

static PyObject *call_std(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    return reduce_spread(fr_std, "std", self, args, n, names);
}

static PyObject *call_softmax(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    /* precise is accepted for programs that have it: float16 always computes in float32 here */
    static const py_signature signature = {
        "softmax", 1, 2, 1, {"x", "axis", "precise", "stream", NULL}};
    call c;
    py_axes axes;
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "softmax"))
        return fail_call(&c);
    fr_reduce_options options = {.axes = axes.all ? NULL : axes.at, .naxes = axes.n};
    return end_call(&c, fr_softmax(c.x, &options));
}

/* ---- shapes --------------------------------------------------------------------------- */

/* x.reshape(2, 3) is x.reshape((2, 3)): the numbers of a method become one tuple. */
static int pack_numbers(PyObject *self, PyObject *const **args, Py_ssize_t *n, PyObject *names,
                        PyObject **packed, PyObject *with[4])
{
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    if (!self || !py_is_array(self) || *n == 1 || (*n == 0 && keywords) || keywords > 3)
        return 0;
    *packed = PyTuple_New(*n);
    if (!*packed)
        return -1;
    for (Py_ssize_t i = 0; i < *n; i++) {
        Py_INCREF((*args)[i]);
        PyTuple_SET_ITEM(*packed, i, (*args)[i]);
    }
    with[0] = *packed;
    for (Py_ssize_t k = 0; k < keywords; k++)
        with[k + 1] = (*args)[*n + k];
    *args = with;
    *n = 1;
    return 0;
}

static PyObject *call_reshape(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature signature = {"reshape", 2, 2, 1, {"x", "shape", "stream", NULL}};
    call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    PyObject *packed = NULL, *with[4];
    if (pack_numbers(self, &args, &n, names, &packed, with))
        return NULL;
    int failed = begin_call(&c, &signature, 2, self, args, n, names);
    if (!failed && py_read_shape(c.at[1], shape, &ndim, "reshape"))
        failed = (fail_call(&c), -1);
    Py_XDECREF(packed);
    return failed ? NULL : end_call(&c, fr_reshape(c.x, shape, ndim));
}

static PyObject *call_transpose(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    static const py_signature signature = {"transpose", 1, 2, 1, {"x", "axes", "stream", NULL}};
    call c;
    py_axes axes;
    PyObject *packed = NULL, *with[4];
    if (n > 0 && pack_numbers(self, &args, &n, names, &packed, with))
        return NULL;
    int failed = begin_call(&c, &signature, 2, self, args, n, names);
    if (!failed && py_read_axes(c.at[1], &axes, "transpose"))
        failed = (fail_call(&c), -1);
    Py_XDECREF(packed);
    return failed ? NULL : end_call(&c, fr_transpose(c.x, axes.all ? NULL : axes.at, axes.n));
}

/* An axis of x from its number, negative ones from the end. -1: raised. */
static int axis_of(fr_array *x, PyObject *number, const char *function)
{
    py_axes axes;
    if (py_read_axes(number, &axes, function))
        return -1;
    int ndim = fr_ndim(x);
    if (axes.n != 1 || axes.at[0] < -ndim || axes.at[0] >= ndim) {
        PyErr_Format(PyExc_IndexError, "%s: %R is no axis of an array of %d dimension%s",
                     function, number, ndim, ndim == 1 ? "" : "s");
        return -1;
    }
    return axes.at[0] < 0 ? axes.at[0] + ndim : axes.at[0];
}

static PyObject *call_swapaxes(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    static const py_signature signature = {
        "swapaxes", 3, 3, 1, {"x", "axis1", "axis2", "stream", NULL}};
    call c;
    int axes[FR_MAX_NDIM];
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    int first = axis_of(c.x, c.at[1], "swapaxes");
    int second = first < 0 ? -1 : axis_of(c.x, c.at[2], "swapaxes");
    if (second < 0)
        return fail_call(&c);
    for (int i = 0; i < fr_ndim(c.x); i++)
        axes[i] = i == first ? second : i == second ? first : i;
    return end_call(&c, fr_transpose(c.x, axes, fr_ndim(c.x)));
}

static PyObject *call_moveaxis(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    static const py_signature signature = {
        "moveaxis", 3, 3, 1, {"x", "source", "destination", "stream", NULL}};
    call c;
    int axes[FR_MAX_NDIM];
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    int from = axis_of(c.x, c.at[1], "moveaxis");
    int to = from < 0 ? -1 : axis_of(c.x, c.at[2], "moveaxis");
    if (to < 0)
        return fail_call(&c);
    for (int i = 0, other = 0; i < fr_ndim(c.x); i++) {
        other += other == from;
        axes[i] = i == to ? from : other++;
    }
    return end_call(&c, fr_transpose(c.x, axes, fr_ndim(c.x)));
}

static PyObject *call_squeeze(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature signature = {"squeeze", 1, 2, 1, {"x", "axis", "stream", NULL}};
    call c;
    py_axes axes;
    if (begin_call(&c, &signature, 2, self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "squeeze"))
        return fail_call(&c);
    return end_call(&c, fr_squeeze(c.x, axes.all ? NULL : axes.at, axes.n));
}

static PyObject *call_expand_dims(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    static const py_signature signature = {
        "expand_dims", 2, 2, 1, {"x", "axis", "stream", NULL}};
    call c;
    py_axes axes;
    if (begin_call(&c, &signature, 2, self, args, n, names))
        return NULL;
    if (py_read_axes(c.at[1], &axes, "expand_dims"))
        return fail_call(&c);
    if (axes.all) {
        PyErr_SetString(PyExc_TypeError, "expand_dims: axis must be an int or a tuple of ints");
        return fail_call(&c);
    }
    return end_call(&c, fr_expand_dims(c.x, axes.at, axes.n));
}

static PyObject *call_flatten(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature signature = {
        "flatten", 1, 3, 1, {"x", "start_axis", "end_axis", "stream", NULL}};
    call c;
    int start = 0, end = -1;
    if (begin_call(&c, &signature, 3, self, args, n, names))
        return NULL;
    if (py_read_int(c.at[1], &start) || py_read_int(c.at[2], &end))
        return fail_call(&c);
    return end_call(&c, fr_flatten(c.x, start, end));
}

static PyObject *call_broadcast_to(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                   PyObject *names)
{
    static const py_signature signature = {
        "broadcast_to", 2, 2, 1, {"x", "shape", "stream", NULL}};
    call c;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    if (begin_call(&c, &signature, 2, self, args, n, names))
        return NULL;
    if (py_read_shape(c.at[1], shape, &ndim, "broadcast_to"))
        return fail_call(&c);
    return end_call(&c, fr_broadcast_to(c.x, shape, ndim));
}

static PyObject *call_contiguous(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    static const py_signature signature = {"contiguous", 1, 1, 1, {"x", "stream", NULL}};
    call c;
    if (begin_call(&c, &signature, 1, self, args, n, names))
        return NULL;
    return end_call(&c, fr_contiguous(c.x));
}

static PyObject *call_astype(PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    static const py_signature signature = {"astype", 2, 2, 1, {"x", "dtype", "stream", NULL}};
    call c;
    fr_dtype dtype;
    if (begin_call(&c, &signature, 2, self, args, n, names))
        return NULL;
    if (!py_dtype_value(c.at[1], &dtype)) {
        PyErr_Format(PyExc_TypeError,
                     "astype: wanted a dtype like float32 of this module, not %R", c.at[1]);
        return fail_call(&c);
    }
    return end_call(&c, fr_astype(c.x, dtype));
}

static PyObject *call_array_equal(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    static const py_signature signature = {"array_equal", 2, 2, 2, {"x", "y", "stream", NULL}};
    call c;
    if (begin_call(&c, &signature, 2, NULL, args, n, names))
        return NULL;
    (void)self;
    fr_array *owned, *y = py_need_operand(c.at[1], &owned, "array_equal");
    if (!y)
        return fail_call(&c);
    size_t bytes = sizeof(int64_t) * (size_t)fr_ndim(c.x);
    fr_array *result;
    if (fr_ndim(c.x) != fr_ndim(y) || memcmp(fr_shape(c.x), fr_shape(y), bytes) != 0) {
        bool no = false;
        result = fr_own(fr_from_data(&no, FR_BOOL, NULL, 0));
    } else {
        fr_array *equal = fr_own(fr_eq(c.x, y));
        result = equal ? fr_own(fr_all(equal, NULL)) : NULL;
        fr_free(equal);
    }
    fr_free(owned);
    return end_call_with(&c, result);
}

static PyObject *method_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)args;
    if (n || names) {
        PyErr_SetString(PyExc_TypeError, "item() takes no arguments");
        return NULL;
    }
    if (fr_size(py_node(self)) != 1) {
        PyErr_Format(PyExc_ValueError, "item: an array of %lld elements is not one number",
                     (long long)fr_size(py_node(self)));
        return NULL;
    }
    return py_to_number(py_node(self));
}

static PyObject *method_tolist(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    (void)args;
    if (n || names) {
        PyErr_SetString(PyExc_TypeError, "tolist() takes no arguments");
        return NULL;
    }
    return py_to_list(py_node(self));
}

static PyObject *method_copy(PyObject *self, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)args;
    (void)n;
    (void)names;
    return py_adopt(fr_keep(py_node(self))); /* nodes never change: a second handle is a copy */
}

/* For those who ask for it by name; numpy itself takes the buffer. */
static PyObject *method_array(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature signature = {"__array__", 0, 2, 0, {"dtype", "copy", NULL}};
    PyObject *at[2];
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    fr_array *x = py_node(self);
    fr_array *shown =
        fr_dtype_of(x) == FR_BFLOAT16 ? fr_own(fr_astype(x, FR_FLOAT32)) : fr_keep(x);
    PyObject *handle = py_adopt(shown);
    PyObject *values = handle ? PyMemoryView_FromObject(handle) : NULL;
    PyObject *numpy = values ? PyImport_ImportModule("numpy") : NULL;
    PyObject *dtype = at[0] ? at[0] : Py_None;
    const char *name =
        at[1] && at[1] != Py_None && PyObject_IsTrue(at[1]) ? "array" : "asarray";
    PyObject *result = numpy ? PyObject_CallMethod(numpy, name, "OO", values, dtype) : NULL;
    Py_XDECREF(numpy);
    Py_XDECREF(values);
    Py_XDECREF(handle);
    return result;
}

/* Of a 0-d array as Python formats its number; of others as str. */
static PyObject *method_format(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    if (n != 1 || names || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "__format__() takes one string");
        return NULL;
    }
    if (fr_ndim(py_node(self)) != 0) {
        if (PyUnicode_GetLength(args[0]) != 0) {
            PyErr_SetString(PyExc_TypeError, "a format is for 0-d arrays only");
            return NULL;
        }
        return PyObject_Str(self);
    }
    PyObject *number = py_to_number(py_node(self));
    PyObject *result = number ? PyObject_Format(number, args[0]) : NULL;
    Py_XDECREF(number);
    return result;
}

/* ---- arrays from nothing -------------------------------------------------------------- */

static PyObject *filled(fr_array *(*function)(const int64_t *, int, fr_dtype), const char *name,
                        PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_signature signature = {name, 1, 2, 0, {"shape", "dtype", "stream", NULL}};
    PyObject *at[3], *result = NULL;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype = FR_FLOAT32;
    py_stream_guard guard;
    if (py_parse(&signature, args, n, names, at) || py_read_shape(at[0], shape, &ndim, name) ||
        py_read_dtype(at[1], &dtype, name) || py_stream_enter(at[2], &guard, name))
        return NULL;
    result = py_wrap(function(shape, ndim, dtype));
    py_stream_leave(&guard);
    return result;
}

static PyObject *call_zeros(PyObject *module, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    (void)module;
    return filled(fr_zeros, "zeros", args, n, names);
}

static PyObject *call_ones(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    return filled(fr_ones, "ones", args, n, names);
}

static PyObject *filled_like(fr_array *(*function)(const int64_t *, int, fr_dtype),
                             const char *name, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    py_signature signature = {name, 1, 2, 1, {"x", "dtype", "stream", NULL}};
    call c;
    if (begin_call(&c, &signature, 2, NULL, args, n, names))
        return NULL;
    fr_dtype dtype = fr_dtype_of(c.x);
    if (py_read_dtype(c.at[1], &dtype, name))
        return fail_call(&c);
    return end_call(&c, function(fr_shape(c.x), fr_ndim(c.x), dtype));
}

static PyObject *call_zeros_like(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    (void)module;
    return filled_like(fr_zeros, "zeros_like", args, n, names);
}

static PyObject *call_ones_like(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    (void)module;
    return filled_like(fr_ones, "ones_like", args, n, names);
}

/* The value as an array of its own (a number: strong, float64 given or not) of this shape. */
static fr_array *full_of(PyObject *value, const fr_dtype *dtype, const int64_t *shape, int ndim)
{
    fr_array *one = py_from_object(value, dtype);
    if (!one)
        return NULL;
    fr_array *result;
    double number;
    bool exact = fr_ndim(one) == 0 && !fr_is_traced(one) && fr_is_done(one) &&
                 (fr_dtype_size(fr_dtype_of(one)) < 8 || fr_dtype_of(one) == FR_FLOAT64);
    if (exact && fr_dtype_of(one) != FR_COMPLEX64 && !fr_item(one, &number))
        result = fr_own(fr_full(shape, ndim, number, fr_dtype_of(one)));
    else
        result = fr_own(fr_broadcast_to(one, shape, ndim));
    fr_free(one);
    if (!result)
        py_raise();
    return result;
}

static PyObject *call_full(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "full", 2, 3, 0, {"shape", "vals", "dtype", "stream", NULL}};
    PyObject *at[4];
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype = FR_FLOAT32;
    py_stream_guard guard;
    if (py_parse(&signature, args, n, names, at) ||
        py_read_shape(at[0], shape, &ndim, "full") || py_read_dtype(at[2], &dtype, "full") ||
        py_stream_enter(at[3], &guard, "full"))
        return NULL;
    fr_array *result = full_of(at[1], at[2] && at[2] != Py_None ? &dtype : NULL, shape, ndim);
    py_stream_leave(&guard);
    return result ? py_adopt(result) : NULL;
}

static PyObject *call_full_like(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "full_like", 2, 3, 1, {"x", "vals", "dtype", "stream", NULL}};
    call c;
    if (begin_call(&c, &signature, 3, NULL, args, n, names))
        return NULL;
    fr_dtype dtype = fr_dtype_of(c.x);
    if (py_read_dtype(c.at[2], &dtype, "full_like"))
        return fail_call(&c);
    return end_call_with(&c, full_of(c.at[1], &dtype, fr_shape(c.x), fr_ndim(c.x)));
}

/* arange(stop), arange(start, stop), arange(start, stop, step): ints give int32. */
static PyObject *call_arange(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "arange", 0, 4, 0, {"start", "stop", "step", "dtype", "stream", NULL}};
    PyObject *at[5];
    double number[3] = {0, 0, 1};
    bool whole = true;
    fr_dtype dtype = FR_INT32;
    py_stream_guard guard;
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    if (at[1] && py_dtype_value(at[1], &dtype) && !at[3]) { /* arange(3, float32) */
        at[3] = at[1];
        at[1] = NULL;
    } else if (at[2] && py_dtype_value(at[2], &dtype) && !at[3]) {
        at[3] = at[2];
        at[2] = NULL;
    }
    if (!at[1] || at[1] == Py_None) {
        at[1] = at[0];
        at[0] = NULL;
    }
    if (!at[1]) {
        PyErr_SetString(PyExc_TypeError, "arange() misses its argument 'stop'");
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        if (!at[i] || at[i] == Py_None)
            continue;
        number[i] = PyFloat_AsDouble(at[i]);
        if (number[i] == -1 && PyErr_Occurred())
            return NULL;
        whole = whole && PyIndex_Check(at[i]) &&
                !(py_is_array(at[i]) && fr_dtype_of(py_node(at[i])) >= FR_FLOAT16);
    }
    dtype = whole ? FR_INT32 : FR_FLOAT32;
    if (whole && (fabs(number[0]) > INT32_MAX || fabs(number[1]) > INT32_MAX + 1.0))
        dtype = FR_INT64;
    if (py_read_dtype(at[3], &dtype, "arange") || py_stream_enter(at[4], &guard, "arange"))
        return NULL;
    PyObject *result = py_wrap(fr_arange(number[0], number[1], number[2], dtype));
    py_stream_leave(&guard);
    return result;
}

/* ---- eval ----------------------------------------------------------------------------- */

static PyObject *call_eval(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    if (n == 1 && py_is_array(args[0])) {
        if (py_eval(py_node(args[0])))
            return NULL;
        Py_RETURN_NONE;
    }
    py_flat flat;
    py_flat_begin(&flat);
    int failed = py_collect(args, n, &flat);
    if (!failed && flat.n)
        failed = py_eval_all(flat.n, flat.arrays);
    py_flat_end(&flat);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- tables --------------------------------------------------------------------------- */

#define OF_REDUCE "(x, /, axis=None, keepdims=False, *, stream=None)\n--\n\n"
#define SELF_REDUCE "($self, axis=None, keepdims=False, *, stream=None)\n--\n\n"

PyMethodDef py_op_functions[] = {
#define PY_UNARY(c, python, manual)                                                            \
    PY_METHOD(#python, call_##python, #python "(x, /, *, stream=None)\n--\n\n" manual),
#define PY_BINARY(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python "(x, y, /, *, stream=None)\n--\n\n" manual),
#define PY_TERNARY(c, python, manual)                                                          \
    PY_METHOD(#python, call_##python, #python "(x, y, z, /, *, stream=None)\n--\n\n" manual),
#define PY_REDUCE(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python OF_REDUCE manual),
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_BINARY
#undef PY_TERNARY
#undef PY_REDUCE
    PY_METHOD("divmod", call_divmod,
              "divmod(x, y, /, *, stream=None)\n--\n\n"
              "the quotient rounded down and the remainder, a tuple"),
    PY_METHOD("clip", call_clip,
              "clip(x, /, a_min, a_max, *, stream=None)\n--\n\n"
              "x, but not below a_min nor above a_max; one of them may be None"),
    PY_METHOD("round", call_round,
              "round(x, /, decimals=0, stream=None)\n--\n\n"
              "rounded to so many decimals, halves to even"),
    PY_METHOD("nan_to_num", call_nan_to_num,
              "nan_to_num(x, nan=0, posinf=None, neginf=None, *, stream=None)\n--\n\n"
              "numbers in place of NaN and infinities; None: the largest finite number"),
    PY_METHOD(
        "isclose", call_isclose,
        "isclose(x, y, /, rtol=1e-05, atol=1e-08, *, equal_nan=False, stream=None)\n--\n\n"
        "true where abs(x - y) <= atol + rtol * abs(y)"),
    PY_METHOD(
        "allclose", call_allclose,
        "allclose(x, y, /, rtol=1e-05, atol=1e-08, *, equal_nan=False, stream=None)\n--\n\n"
        "true if isclose is everywhere"),
    PY_METHOD("mean", call_mean, "mean" OF_REDUCE "mean over axes; integers give float32"),
    PY_METHOD("logsumexp", call_logsumexp,
              "logsumexp" OF_REDUCE "log of the sum of exp over axes, without overflow"),
    PY_METHOD("var", call_var,
              "var(x, /, axis=None, keepdims=False, ddof=0, *, stream=None)\n--\n\n"
              "variance over axes, divided by n - ddof"),
    PY_METHOD("std", call_std,
              "std(x, /, axis=None, keepdims=False, ddof=0, *, stream=None)\n--\n\n"
              "standard deviation over axes, divided by n - ddof"),
    PY_METHOD("softmax", call_softmax,
              "softmax(x, /, axis=None, *, precise=False, stream=None)\n--\n\n"
              "exp(x) over its sum over axes, without overflow"),
    PY_METHOD("reshape", call_reshape,
              "reshape(x, /, shape, *, stream=None)\n--\n\n"
              "the same elements in another shape; one size may be -1: what is left"),
    PY_METHOD(
        "transpose", call_transpose,
        "transpose(x, /, axes=None, *, stream=None)\n--\n\naxes in another order; reversed"),
    PY_METHOD("swapaxes", call_swapaxes,
              "swapaxes(x, /, axis1, axis2, *, stream=None)\n--\n\ntwo axes change places"),
    PY_METHOD("moveaxis", call_moveaxis,
              "moveaxis(x, /, source, destination, *, stream=None)\n--\n\n"
              "one axis moves, the others keep their order"),
    PY_METHOD("squeeze", call_squeeze,
              "squeeze(x, /, axis=None, *, stream=None)\n--\n\nwithout axes of size 1"),
    PY_METHOD("expand_dims", call_expand_dims,
              "expand_dims(x, /, axis, *, stream=None)\n--\n\nwith new axes of size 1"),
    PY_METHOD("flatten", call_flatten,
              "flatten(x, /, start_axis=0, end_axis=-1, *, stream=None)\n--\n\n"
              "the axes from start_axis to end_axis become one"),
    PY_METHOD("broadcast_to", call_broadcast_to,
              "broadcast_to(x, /, shape, *, stream=None)\n--\n\nrepeated to a larger shape"),
    PY_METHOD("contiguous", call_contiguous,
              "contiguous(x, /, *, stream=None)\n--\n\nthe same values, row-major in memory"),
    PY_METHOD(
        "array_equal", call_array_equal,
        "array_equal(x, y, /, *, stream=None)\n--\n\ntrue if shapes and elements are equal"),
    PY_METHOD("zeros", call_zeros,
              "zeros(shape, dtype=float32, *, stream=None)\n--\n\nan array of zeros"),
    PY_METHOD("ones", call_ones,
              "ones(shape, dtype=float32, *, stream=None)\n--\n\nan array of ones"),
    PY_METHOD("full", call_full,
              "full(shape, vals, dtype=None, *, stream=None)\n--\n\n"
              "a number or an array, repeated to a shape"),
    PY_METHOD(
        "zeros_like", call_zeros_like,
        "zeros_like(x, /, dtype=None, *, stream=None)\n--\n\nzeros of x's shape and dtype"),
    PY_METHOD("ones_like", call_ones_like,
              "ones_like(x, /, dtype=None, *, stream=None)\n--\n\nones of x's shape and dtype"),
    PY_METHOD("full_like", call_full_like,
              "full_like(x, /, vals, dtype=None, *, stream=None)\n--\n\n"
              "vals repeated to x's shape, of x's dtype"),
    PY_METHOD("arange", call_arange,
              "arange(start, stop=None, step=1, dtype=None, *, stream=None)\n--\n\n"
              "start, start + step ... below stop; of one argument: 0 ... below it"),
    {"eval", (PyCFunction)(void (*)(void))call_eval, METH_FASTCALL,
     "eval(*trees)\n--\n\ncomputes all arrays in nested lists, tuples and dicts"},
    PY_END,
};

PyMethodDef py_array_methods[] = {
#define PY_UNARY(c, python, manual)                                                            \
    PY_METHOD(#python, method_##python, #python "($self, *, stream=None)\n--\n\n" manual),
#define PY_REDUCE(c, python, manual)                                                           \
    PY_METHOD(#python, call_##python, #python SELF_REDUCE manual),
#include "ops_py.inc"
#undef PY_UNARY
#undef PY_REDUCE
    PY_METHOD("round", call_round,
              "round($self, decimals=0, stream=None)\n--\n\n"
              "rounded to so many decimals, halves to even"),
    PY_METHOD("mean", call_mean, "mean" SELF_REDUCE "mean over axes; integers give float32"),
    PY_METHOD("logsumexp", call_logsumexp,
              "logsumexp" SELF_REDUCE "log of the sum of exp over axes, without overflow"),
    PY_METHOD("var", call_var,
              "var($self, axis=None, keepdims=False, ddof=0, *, stream=None)\n--\n\n"
              "variance over axes, divided by n - ddof"),
    PY_METHOD("std", call_std,
              "std($self, axis=None, keepdims=False, ddof=0, *, stream=None)\n--\n\n"
              "standard deviation over axes, divided by n - ddof"),
    PY_METHOD("reshape", call_reshape,
              "the same elements in another shape: x.reshape(2, 3) or x.reshape((2, 3))"),
    PY_METHOD("transpose", call_transpose,
              "axes in another order: x.transpose(1, 0) or x.transpose((1, 0)); reversed"),
    PY_METHOD("swapaxes", call_swapaxes,
              "swapaxes($self, axis1, axis2, *, stream=None)\n--\n\ntwo axes change places"),
    PY_METHOD("moveaxis", call_moveaxis,
              "moveaxis($self, source, destination, *, stream=None)\n--\n\none axis moves"),
    PY_METHOD("squeeze", call_squeeze,
              "squeeze($self, axis=None, *, stream=None)\n--\n\nwithout axes of size 1"),
    PY_METHOD("flatten", call_flatten,
              "flatten($self, start_axis=0, end_axis=-1, *, stream=None)\n--\n\n"
              "the axes from start_axis to end_axis become one"),
    PY_METHOD("astype", call_astype,
              "astype($self, dtype, *, stream=None)\n--\n\nthe values in another dtype"),
    PY_METHOD("item", method_item, "item($self)\n--\n\nthe one element as a Python number"),
    PY_METHOD("tolist", method_tolist, "tolist($self)\n--\n\nnested lists of Python numbers"),
    PY_METHOD("__array__", method_array, "the values as a numpy array"),
    PY_METHOD("__format__", method_format, NULL),
    PY_METHOD("__copy__", method_copy, NULL),
    PY_METHOD("__deepcopy__", method_copy, NULL),
    PY_END,
};
