/* random.c - mx.random: seed, key, split, bits, uniform, normal, and the state
 *
 * Keys are arrays of two uint32. mx.random.state is a list that holds one: a draw without a key
 * splits it, so a compiled function that captures the list draws anew at each call.
 */
#include "ext.h"

static PyObject *state; /* a list: the key that is split next */

/* The next key of the state. */
static int next_key(fr_array **key, const char *function)
{
    PyObject *held = PyList_GET_SIZE(state) == 1 ? PyList_GET_ITEM(state, 0) : NULL;
    if (!held || !py_is_array(held)) {
        PyErr_Format(PyExc_ValueError, "%s: random.state must hold one key", function);
        return -1;
    }
    fr_array *now = fr_keep(py_node(held));
    fr_array *drawn = fr_random_next(&now);
    if (!drawn) {
        fr_free(now);
        py_raise();
        return -1;
    }
    *key = fr_own(drawn);
    PyObject *wrapped = py_adopt(now);
    if (!wrapped || PyList_SetItem(state, 0, wrapped)) {
        fr_free(*key);
        *key = NULL;
        return -1;
    }
    return 0;
}

int py_random_key(PyObject *value, fr_array **key, const char *function)
{
    *key = NULL;
    if (!value || value == Py_None)
        return next_key(key, function);
    if (!py_is_array(value)) {
        PyErr_Format(PyExc_TypeError, "%s: key must be an array made by random.key, not %s",
                     function, Py_TYPE(value)->tp_name);
        return -1;
    }
    *key = fr_keep(py_node(value));
    return 0;
}

static int read_seed(PyObject *value, uint64_t *to, const char *function)
{
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: a seed is an int, not %s", function,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    *to = PyLong_AsUnsignedLongLong(value);
    if (*to != (uint64_t)-1 || !PyErr_Occurred())
        return 0;
    py_complain(PyExc_TypeError, "%s: a seed has 64 bits and no sign: not %R", function, value);
    return -1;
}

static PyObject *call_seed(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    uint64_t value;
    PyObject *seed = py_parse_one("seed", "seed", args, n, names);
    if (!seed || read_seed(seed, &value, "seed"))
        return NULL;
    if (fr_random_seed(value))
        return py_raise();
    PyObject *key = py_wrap(fr_random_key(value));
    if (!key || PyList_SetSlice(state, 0, PyList_GET_SIZE(state), NULL) ||
        PyList_Append(state, key)) {
        Py_XDECREF(key);
        return NULL;
    }
    Py_DECREF(key);
    Py_RETURN_NONE;
}

static PyObject *call_key(PyObject *module, PyObject *const *args, Py_ssize_t n,
                          PyObject *names)
{
    (void)module;
    uint64_t value;
    PyObject *seed = py_parse_one("key", "seed", args, n, names);
    return !seed || read_seed(seed, &value, "key") ? NULL : py_wrap(fr_random_key(value));
}

static PyObject *call_split(PyObject *module, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    (void)module;
    static const py_signature signature = {"split", 1, 3, 0, {"key", "num", "stream", NULL}};
    PyObject *at[3];
    int number = 2;
    py_stream_guard guard;
    if (py_parse(&signature, args, n, names, at) || py_read_int(at[1], &number))
        return py_name_error("split");
    if (!py_is_array(at[0])) {
        PyErr_SetString(PyExc_TypeError, "split: key must be an array made by random.key");
        return NULL;
    }
    if (py_stream_enter(at[2], &guard, "split"))
        return NULL;
    PyObject *result = py_wrap(fr_random_split(py_node(at[0]), number));
    py_stream_leave(&guard);
    return result;
}

/* What all three kinds of numbers take, where the signature has them. */
typedef struct request {
    const char *function;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype;
    fr_array *key; /* a reference of ours */
    py_stream_guard guard;
} request;

static PyObject *end_request(request *r, fr_array *reference)
{
    PyObject *result = py_adopt(reference);
    py_stream_leave(&r->guard);
    fr_free(r->key);
    return result ? result : py_name_error(r->function);
}

static int read_request(request *r, PyObject *shape, PyObject *dtype, PyObject *key,
                        PyObject *stream, const char *function)
{
    r->function = function;
    r->ndim = 0;
    r->dtype = FR_FLOAT32;
    if ((shape && shape != Py_None && py_read_shape(shape, r->shape, &r->ndim, function)) ||
        py_read_dtype(dtype, &r->dtype, function) || py_random_key(key, &r->key, function))
        return -1;
    if (!py_stream_enter(stream, &r->guard, function))
        return 0;
    fr_free(r->key);
    return -1;
}

static PyObject *call_bits(PyObject *module, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "bits", 0, 3, 0, {"shape", "width", "key", "stream", NULL}};
    PyObject *at[4];
    request r;
    int width = 4;
    if (py_parse(&signature, args, n, names, at) || py_read_int(at[1], &width))
        return py_name_error("bits");
    if (width != 1 && width != 2 && width != 4) {
        PyErr_SetString(PyExc_ValueError, "bits: width is 1, 2 or 4 bytes");
        return NULL;
    }
    if (read_request(&r, at[0], NULL, at[2], at[3], "bits"))
        return NULL;
    fr_array *bits = fr_random_bits(r.shape, r.ndim, r.key);
    bits = bits ? fr_own(bits) : NULL;
    if (bits && width != 4) { /* the low bits */
        fr_array *narrow = fr_own(fr_astype(bits, width == 1 ? FR_UINT8 : FR_UINT16));
        fr_free(bits);
        bits = narrow;
    }
    return end_request(&r, bits);
}

/* A Python number, or `otherwise` where not given. False: something else, an array perhaps. */
static bool plain_number(PyObject *value, double otherwise, double *to)
{
    *to = otherwise;
    if (!value)
        return true;
    if (!PyFloat_Check(value) && !PyLong_Check(value))
        return false;
    *to = PyFloat_AsDouble(value);
    if (*to == -1 && PyErr_Occurred()) {
        PyErr_Clear(); /* an int beyond doubles: the operand's error tells */
        return false;
    }
    return true;
}

/* An operand from a value, or from a number where that is plain. */
static fr_array *operand(bool plain, double number, PyObject *value, fr_array **owned,
                         const char *function)
{
    if (!plain)
        return py_need_operand(value, owned, function);
    fr_array *made = fr_number(number);
    return *owned = made ? fr_own(made) : NULL;
}

fr_array *py_random_scaled(fr_array *values, fr_array *factor, fr_array *offset)
{
    if (!values)
        return NULL;
    fr_array *product = factor ? fr_own(fr_mul(values, factor)) : fr_keep(values);
    fr_array *moved = product && offset ? fr_own(fr_add(product, offset)) : fr_keep(product);
    fr_array *result = moved ? fr_own(fr_astype(moved, fr_dtype_of(values))) : NULL;
    fr_free(product);
    fr_free(moved);
    fr_free(values);
    return result;
}

static PyObject *call_uniform(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "uniform", 0, 5, 0, {"low", "high", "shape", "dtype", "key", "stream", NULL}};
    PyObject *at[6];
    request r;
    if (py_parse(&signature, args, n, names, at) ||
        read_request(&r, at[2], at[3], at[4], at[5], "uniform"))
        return NULL;
    double from, to;
    bool plain_low = plain_number(at[0], 0, &from), plain_high = plain_number(at[1], 1, &to);
    fr_array *values = fr_own(fr_random_uniform(r.shape, r.ndim, r.dtype, r.key));
    if (values && !(plain_low && plain_high && from == 0 && to == 1)) {
        fr_array *own_low = NULL, *own_high = NULL, *width = NULL;
        fr_array *low = operand(plain_low, from, at[0], &own_low, "uniform");
        fr_array *high = low ? operand(plain_high, to, at[1], &own_high, "uniform") : NULL;
        if (high)
            width = fr_own(plain_low && plain_high ? fr_number(to - from) : fr_sub(high, low));
        if (!width)
            fr_free(values);
        values = width ? py_random_scaled(values, width, low) : NULL;
        fr_free(own_low);
        fr_free(own_high);
        fr_free(width);
    }
    return end_request(&r, values);
}

static PyObject *call_normal(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "normal", 0, 5, 0, {"shape", "dtype", "loc", "scale", "key", "stream", NULL}};
    PyObject *at[6];
    request r;
    if (py_parse(&signature, args, n, names, at) ||
        read_request(&r, at[0], at[1], at[4], at[5], "normal"))
        return NULL;
    double mean, deviation;
    bool plain_loc = plain_number(at[2], 0, &mean),
         plain_scale = plain_number(at[3], 1, &deviation);
    fr_array *values = fr_own(fr_random_normal(r.shape, r.ndim, r.dtype, r.key));
    if (values && !(plain_loc && plain_scale && mean == 0 && deviation == 1)) {
        fr_array *own_loc = NULL, *own_scale = NULL;
        fr_array *loc = operand(plain_loc, mean, at[2], &own_loc, "normal");
        fr_array *scale =
            loc ? operand(plain_scale, deviation, at[3], &own_scale, "normal") : NULL;
        if (!scale)
            fr_free(values);
        values = scale ? py_random_scaled(values, scale, loc) : NULL;
        fr_free(own_loc);
        fr_free(own_scale);
    }
    return end_request(&r, values);
}

static PyMethodDef functions[] = {
    PY_METHOD("seed", call_seed, "seed(seed)\n--\n\nrestarts the process's sequence of keys"),
    PY_METHOD("key", call_key, "key(seed)\n--\n\na key: two uint32"),
    PY_METHOD("split", call_split,
              "split(key, num=2, stream=None)\n--\n\nnum independent keys: uint32 [num, 2]"),
    PY_METHOD("bits", call_bits,
              "bits(shape=(), width=4, key=None, *, stream=None)\n--\n\n"
              "random unsigned integers of 1, 2 or 4 bytes"),
    PY_METHOD(
        "uniform", call_uniform,
        "uniform(low=0, high=1, shape=(), dtype=float32, key=None, *, stream=None)\n--\n\n"
        "numbers spread evenly from low to high"),
    PY_METHOD(
        "normal", call_normal,
        "normal(shape=(), dtype=float32, loc=0, scale=1, key=None, *, stream=None)\n--\n\n"
        "normally distributed numbers"),
    PY_END,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ferrule.core.random",
    .m_doc = "Random numbers: Threefry-2x32, the same on every device and for any threads.",
    .m_size = -1,
    .m_methods = functions,
};

int py_random_init(PyObject *module)
{
    PyObject *key = py_wrap(fr_random_key(0));
    PyObject *random = key ? PyModule_Create(&definition) : NULL;
    state = random ? PyList_New(1) : NULL;
    if (!state || PyModule_AddFunctions(random, py_distribution_functions) ||
        PyDict_SetItemString(PyModule_GetDict(random), "state", state) ||
        PyModule_AddObject(module, "random", random)) {
        Py_XDECREF(random);
        Py_XDECREF(key);
        return -1;
    }
    PyList_SET_ITEM(state, 0, key);
    return 0;
}
