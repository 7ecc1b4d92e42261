/* distributions.c - mx.random: everything but keys, bits, uniform and normal */
#include "ext.h"

/* Parameters, at most two, and what else such a call has. */
typedef struct draw {
    const char *function;
    fr_array *x[2], *owned[2];
    int64_t shape[FR_MAX_NDIM];
    int ndim; /* -1: no shape was given */
    fr_dtype dtype;
    fr_array *key; /* a reference of ours */
    py_stream_guard guard;
} draw;

static void end(draw *d)
{
    for (int i = 0; i < 2; i++)
        fr_free(d->owned[i]);
    fr_free(d->key);
    py_stream_leave(&d->guard);
}

static PyObject *ended(draw *d, PyObject *result)
{
    end(d);
    return result ? result : py_name_error(d->function);
}

static PyObject *finish(draw *d, fr_array *result) { return ended(d, py_wrap(result)); }

/* at: NULL where there is none, or the default stands. -1: raised, nothing to end. */
static int begin(draw *d, const char *name, PyObject *first, PyObject *second, PyObject *shape,
                 PyObject *dtype, PyObject *key, PyObject *stream)
{
    *d = (draw){.function = name, .ndim = -1, .dtype = d->dtype};
    PyObject *values[] = {first, second};
    for (int i = 0; i < 2; i++)
        if (values[i] && !(d->x[i] = py_need_operand(values[i], &d->owned[i], name))) {
            end(d);
            return -1;
        }
    if ((shape && shape != Py_None && py_read_shape(shape, d->shape, &d->ndim, name)) ||
        py_read_dtype(dtype, &d->dtype, name) || py_random_key(key, &d->key, name) ||
        py_stream_enter(stream, &d->guard, name)) {
        end(d);
        return -1;
    }
    return 0;
}

static PyObject *call_randint(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature s = {
        "randint", 2, 5, 0, {"low", "high", "shape", "dtype", "key", "stream", NULL}};
    PyObject *at[6];
    draw d = {.dtype = FR_INT32};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, at[0], at[1], at[2], at[3], at[4], at[5]))
        return NULL;
    int ndim = d.ndim < 0 && !at[2] ? 0 : d.ndim;
    return finish(&d, fr_random_integers(d.x[0], d.x[1], d.shape, ndim, d.dtype, d.key));
}

static PyObject *call_bernoulli(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    static const py_signature s = {"bernoulli", 0, 4, 0, {"p", "shape", "key", "stream", NULL}};
    PyObject *at[4];
    draw d = {.dtype = FR_BOOL};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, at[0], NULL, at[1], NULL, at[2], at[3]))
        return NULL;
    if (!d.x[0]) {
        fr_array *half = fr_number(0.5);
        d.owned[0] = d.x[0] = half ? fr_own(half) : NULL;
    }
    return finish(&d, fr_random_bernoulli(d.x[0], d.shape, d.ndim, d.key));
}

static PyObject *call_truncated_normal(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                       PyObject *names)
{
    static const py_signature s = {"truncated_normal",
                                   2,
                                   5,
                                   0,
                                   {"lower", "upper", "shape", "dtype", "key", "stream", NULL}};
    PyObject *at[6];
    draw d = {.dtype = FR_FLOAT32};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, at[0], at[1], at[2], at[3], at[4], at[5]))
        return NULL;
    return finish(&d,
                  fr_random_truncated_normal(d.x[0], d.x[1], d.shape, d.ndim, d.dtype, d.key));
}

static PyObject *call_gumbel(PyObject *module, PyObject *const *args, Py_ssize_t n,
                             PyObject *names)
{
    static const py_signature s = {
        "gumbel", 0, 3, 0, {"shape", "dtype", "key", "stream", NULL}};
    PyObject *at[4];
    draw d = {.dtype = FR_FLOAT32};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, NULL, NULL, at[0], at[1], at[2], at[3]))
        return NULL;
    return finish(&d, fr_random_gumbel(d.shape, d.ndim < 0 ? 0 : d.ndim, d.dtype, d.key));
}

static PyObject *call_laplace(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    static const py_signature s = {
        "laplace", 0, 5, 0, {"shape", "dtype", "loc", "scale", "key", "stream", NULL}};
    PyObject *at[6];
    draw d = {.dtype = FR_FLOAT32};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, at[2], at[3], at[0], at[1], at[4], at[5]))
        return NULL;
    fr_array *y = fr_own(fr_random_laplace(d.shape, d.ndim < 0 ? 0 : d.ndim, d.dtype, d.key));
    y = py_random_scaled(y, d.x[1], d.x[0]);
    return ended(&d, py_adopt(y));
}

static PyObject *call_categorical(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    static const py_signature s = {
        "categorical",
        1,
        6,
        0,
        {"logits", "axis", "shape", "num_samples", "key", "stream", NULL}};
    PyObject *at[6];
    draw d = {.dtype = FR_UINT32};
    int axis = -1, samples = 0;
    (void)module;
    if (py_parse(&s, args, n, names, at) || py_read_int(at[1], &axis))
        return py_name_error(s.function);
    bool many = at[3] && at[3] != Py_None;
    if (many && py_read_int(at[3], &samples))
        return py_name_error(s.function);
    if (begin(&d, s.function, at[0], NULL, at[2], NULL, at[4], at[5]))
        return NULL;
    if (many && d.ndim >= 0) {
        PyErr_SetString(PyExc_ValueError,
                        "categorical: at most one of shape and num_samples can be given");
        end(&d);
        return NULL;
    }
    return finish(&d, many ? fr_random_categorical_samples(d.x[0], axis, samples, d.key)
                           : fr_random_categorical(d.x[0], axis, d.shape, d.ndim, d.key));
}

static PyObject *call_permutation(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    static const py_signature s = {
        "permutation", 1, 4, 0, {"x", "axis", "key", "stream", NULL}};
    PyObject *at[4];
    draw d = {.dtype = FR_UINT32};
    int axis = 0;
    long long count = 0;
    (void)module;
    if (py_parse(&s, args, n, names, at) || py_read_int(at[1], &axis))
        return py_name_error(s.function);
    bool whole = PyLong_Check(at[0]);
    if (whole) {
        count = PyLong_AsLongLong(at[0]);
        if (count == -1 && PyErr_Occurred())
            return py_name_error(s.function);
    }
    if (begin(&d, s.function, whole ? NULL : at[0], NULL, NULL, NULL, at[2], at[3]))
        return NULL;
    return finish(&d, whole ? fr_random_permutation(count, d.key)
                            : fr_random_shuffle(d.x[0], axis, d.key));
}

static PyObject *call_multivariate_normal(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                          PyObject *names)
{
    static const py_signature s = {"multivariate_normal",
                                   2,
                                   5,
                                   0,
                                   {"mean", "cov", "shape", "dtype", "key", "stream", NULL}};
    PyObject *at[6];
    draw d = {.dtype = FR_FLOAT32};
    (void)module;
    if (py_parse(&s, args, n, names, at) ||
        begin(&d, s.function, at[0], at[1], at[2], at[3], at[4], at[5]))
        return NULL;
    if (d.dtype != FR_FLOAT32) {
        PyErr_Format(PyExc_ValueError, "multivariate_normal: dtype must be float32, not %s",
                     fr_dtype_name(d.dtype));
        end(&d);
        return NULL;
    }
    int ndim = d.ndim ? d.ndim : -1; /* an empty shape is none */
    return finish(&d, fr_random_multivariate_normal(d.x[0], d.x[1], d.shape, ndim, d.key));
}

PyMethodDef py_distribution_functions[] = {
    PY_METHOD("randint", call_randint,
              "randint(low, high, shape=(), dtype=int32, key=None, *, stream=None)\n--\n\n"
              "whole numbers from low to high - 1"),
    PY_METHOD("bernoulli", call_bernoulli,
              "bernoulli(p=0.5, shape=None, key=None, stream=None)\n--\n\n"
              "true with probability p; shape: p's"),
    PY_METHOD("truncated_normal", call_truncated_normal,
              "truncated_normal(lower, upper, shape=None, dtype=float32, key=None, *, "
              "stream=None)\n--\n\nstandard normal numbers that lie between lower and upper"),
    PY_METHOD("gumbel", call_gumbel,
              "gumbel(shape=(), dtype=float32, key=None, *, stream=None)\n--\n\n"
              "numbers distributed by exp(-exp(-x))"),
    PY_METHOD("laplace", call_laplace,
              "laplace(shape=(), dtype=float32, loc=0.0, scale=1.0, key=None, *, "
              "stream=None)\n--\n\nnumbers with density exp(-|x - loc| / scale) / (2 scale)"),
    PY_METHOD("categorical", call_categorical,
              "categorical(logits, axis=-1, shape=None, num_samples=None, key=None, "
              "stream=None)\n--\n\nplaces along the axis, with probabilities softmax(logits)"),
    PY_METHOD("permutation", call_permutation,
              "permutation(x, axis=0, key=None, stream=None)\n--\n\n"
              "0 to x - 1 in random order, or an array's parts along an axis"),
    PY_METHOD("multivariate_normal", call_multivariate_normal,
              "multivariate_normal(mean, cov, shape=(), dtype=float32, key=None, *, "
              "stream=None)\n--\n\nvectors [..., n] with a mean and covariances [..., n, n]"),
    PY_END,
};
