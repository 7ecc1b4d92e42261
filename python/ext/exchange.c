/* exchange.c - arrays to and from others: DLPack, pickles, bytes, asarray
 *
 * needs   objects that export memory by DLPack (numpy, torch, jax ...), or anything array() takes
 * gives   capsules that lend an array's memory, arrays over memory that others lend; pickles
 *
 * Lent memory lives as long as it is used: a capsule holds a reference of the array, an array
 * over foreign memory calls its deleter when the last array that uses it goes. Both may happen
 * on any thread.
 */
#include "ext.h"

#include <stdlib.h>

/* ---- DLPack's structures (dlpack.h 1.0) ------------------------------------------------- */

typedef struct dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* in elements; strides NULL: row-major */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_managed { /* "dltensor" */
    dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_managed *);
} dl_managed;

typedef struct dl_versioned { /* "dltensor_versioned" */
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct dl_versioned *);
    uint64_t flags;
    dl_tensor tensor;
} dl_versioned;

enum { DL_CPU = 1, DL_CUDA_HOST = 3, DL_READ_ONLY = 1, DL_IS_COPIED = 2 };
enum { DL_INT, DL_UINT, DL_FLOAT, DL_BFLOAT = 4, DL_COMPLEX, DL_BOOL };

static const struct {
    uint8_t code, bits;
} dl_types[FR_DTYPE_COUNT] = {
    [FR_BOOL] = {DL_BOOL, 8},        [FR_UINT8] = {DL_UINT, 8},
    [FR_UINT16] = {DL_UINT, 16},     [FR_UINT32] = {DL_UINT, 32},
    [FR_UINT64] = {DL_UINT, 64},     [FR_INT8] = {DL_INT, 8},
    [FR_INT16] = {DL_INT, 16},       [FR_INT32] = {DL_INT, 32},
    [FR_INT64] = {DL_INT, 64},       [FR_FLOAT16] = {DL_FLOAT, 16},
    [FR_BFLOAT16] = {DL_BFLOAT, 16}, [FR_FLOAT32] = {DL_FLOAT, 32},
    [FR_FLOAT64] = {DL_FLOAT, 64},   [FR_COMPLEX64] = {DL_COMPLEX, 64},
};

/* ---- out -------------------------------------------------------------------------------- */

/* What a capsule points to; of either kind. */
typedef struct lent {
    union {
        dl_managed plain;
        dl_versioned versioned;
    };
    fr_array *array; /* a reference of ours; NULL when `copy` is lent */
    void *copy;
    int64_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM];
} lent;

static void lent_free(lent *l)
{
    fr_free(l->array);
    free(l->copy);
    free(l);
}

static void delete_plain(dl_managed *m) { lent_free(m->context); }
static void delete_versioned(dl_versioned *m) { lent_free(m->context); }

/* A capsule that nobody consumed still has its first name. */
static void capsule_free(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        dl_managed *m = PyCapsule_GetPointer(capsule, "dltensor");
        m->deleter(m);
    } else if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dl_versioned *m = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        m->deleter(m);
    }
}

static lent *lend(fr_array *x, bool copy)
{
    fr_view view;
    if (py_eval(x))
        return NULL;
    if (fr_access(x, &view))
        return py_raise(), NULL;
    lent *l = calloc(1, sizeof *l);
    void *values = copy ? malloc(fr_nbytes(x) + 1) : NULL;
    if (!l || (copy && !values)) {
        free(l);
        free(values);
        return PyErr_NoMemory(), NULL;
    }
    if (copy && fr_copy_out(x, values, fr_nbytes(x))) {
        free(l);
        free(values);
        return py_raise(), NULL;
    }
    l->copy = values;
    l->array = copy ? NULL : fr_keep(x);
    int64_t size = (int64_t)fr_dtype_size(view.dtype), step = 1;
    for (int i = view.ndim - 1; i >= 0; i--) {
        l->shape[i] = view.shape[i];
        l->strides[i] = copy ? step : view.strides[i] / size;
        step *= view.shape[i];
    }
    return l;
}

static void describe(lent *l, dl_tensor *t, const fr_array *x, const void *data)
{
    fr_dtype dtype = fr_dtype_of(x);
    *t = (dl_tensor){
        .data = (void *)data,
        .device_type = DL_CPU,
        .ndim = fr_ndim(x),
        .code = dl_types[dtype].code,
        .bits = dl_types[dtype].bits,
        .lanes = 1,
        .shape = l->shape,
        .strides = l->strides,
    };
}

/* (1, 0) and (None): true. */
static int check_device(PyObject *device)
{
    int type, id;
    if (!device || device == Py_None)
        return 0;
    if (!PyTuple_Check(device) || !PyArg_ParseTuple(device, "ii", &type, &id)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError,
                            "__dlpack__: dl_device must be a tuple of two ints");
        return -1;
    }
    if (type != DL_CPU || id != 0) {
        PyErr_Format(PyExc_BufferError, "__dlpack__: the array is on the CPU, not on (%d, %d)",
                     type, id);
        return -1;
    }
    return 0;
}

static int wants_version(PyObject *version, bool *to)
{
    int major, minor;
    *to = false;
    if (!version || version == Py_None)
        return 0;
    if (!PyTuple_Check(version) || !PyArg_ParseTuple(version, "ii", &major, &minor)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError,
                            "__dlpack__: max_version must be a tuple of two ints");
        return -1;
    }
    *to = major >= 1;
    return 0;
}

static PyObject *method_dlpack(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    static const py_signature signature = {
        "__dlpack__", 0, 0, 0, {"stream", "max_version", "dl_device", "copy", NULL}};
    PyObject *at[4];
    bool versioned, copy = false;
    if (py_parse(&signature, args, n, names, at) || check_device(at[2]) ||
        wants_version(at[1], &versioned) ||
        py_read_bool(at[3] == Py_None ? NULL : at[3], &copy))
        return NULL;
    fr_array *x = fr_keep(py_node(self));
    lent *l = lend(x, copy);
    fr_view view;
    PyObject *capsule = NULL;
    if (l && !fr_access(x, &view)) {
        const void *data = copy ? l->copy : view.data;
        if (versioned) {
            dl_versioned *m = &l->versioned;
            *m = (dl_versioned){.major = 1,
                                .context = l,
                                .deleter = delete_versioned,
                                .flags = copy ? DL_IS_COPIED : DL_READ_ONLY};
            describe(l, &m->tensor, x, data);
            capsule = PyCapsule_New(m, "dltensor_versioned", capsule_free);
        } else {
            dl_managed *m = &l->plain;
            *m = (dl_managed){.context = l, .deleter = delete_plain};
            describe(l, &m->tensor, x, data);
            capsule = PyCapsule_New(m, "dltensor", capsule_free);
        }
        if (!capsule)
            lent_free(l);
    }
    fr_free(x);
    return capsule;
}

static PyObject *method_dlpack_device(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    return Py_BuildValue("(ii)", DL_CPU, 0);
}

/* ---- in --------------------------------------------------------------------------------- */

/* A deleter may need Python, whose thread state it takes by itself; after Python's end there is
 * nobody left to tell. */
static void give_back_plain(void *m)
{
    if (((dl_managed *)m)->deleter && Py_IsInitialized())
        ((dl_managed *)m)->deleter(m);
}

static void give_back_versioned(void *m)
{
    if (((dl_versioned *)m)->deleter && Py_IsInitialized())
        ((dl_versioned *)m)->deleter(m);
}

static bool dtype_of_tensor(const dl_tensor *t, fr_dtype *to)
{
    for (int d = 0; d < FR_DTYPE_COUNT; d++)
        if (t->lanes == 1 && t->code == dl_types[d].code && t->bits == dl_types[d].bits) {
            *to = (fr_dtype)d;
            return true;
        }
    return false;
}

/* Over the tensor's memory; NULL: raised, and nothing was taken over. */
static fr_array *borrow(const dl_tensor *t, void (*release)(void *), void *context)
{
    fr_dtype dtype;
    if (t->device_type != DL_CPU && t->device_type != DL_CUDA_HOST) {
        PyErr_Format(PyExc_ValueError,
                     "from_dlpack: memory of a device (type %d) is not the CPU's",
                     (int)t->device_type);
        return NULL;
    }
    if (!dtype_of_tensor(t, &dtype)) {
        PyErr_Format(PyExc_TypeError,
                     "from_dlpack: elements of type code %d with %d bits and %d lanes have no "
                     "dtype here",
                     t->code, t->bits, t->lanes);
        return NULL;
    }
    if (t->ndim < 0 || t->ndim > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "from_dlpack: %d dimensions are more than %d",
                     (int)t->ndim, FR_MAX_NDIM);
        return NULL;
    }
    int64_t strides[FR_MAX_NDIM], size = (int64_t)fr_dtype_size(dtype);
    for (int i = 0; t->strides && i < t->ndim; i++)
        strides[i] = t->strides[i] * size;
    fr_array *result = fr_from_buffer((char *)t->data + t->byte_offset, dtype, t->shape,
                                      t->ndim, t->strides ? strides : NULL, release, context);
    return result ? fr_own(result) : (py_raise(), NULL);
}

/* Takes what is in a capsule over; NULL: raised, and the capsule still owns it. */
static fr_array *consume(PyObject *capsule)
{
    fr_array *result = NULL;
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dl_versioned *m = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (m->major != 1)
            PyErr_Format(PyExc_BufferError, "from_dlpack: version %u of DLPack is not known",
                         (unsigned)m->major);
        else
            result = borrow(&m->tensor, give_back_versioned, m);
        if (result)
            PyCapsule_SetName(capsule, "used_dltensor_versioned");
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        dl_managed *m = PyCapsule_GetPointer(capsule, "dltensor");
        result = borrow(&m->tensor, give_back_plain, m);
        if (result)
            PyCapsule_SetName(capsule, "used_dltensor");
    } else {
        PyErr_SetString(PyExc_ValueError,
                        "from_dlpack: wanted a capsule of a tensor that nobody has taken");
    }
    return result;
}

static bool exports_dlpack(PyObject *value)
{
    return !PyType_Check(value) && PyObject_HasAttrString(value, "__dlpack__") &&
           PyObject_HasAttrString(value, "__dlpack_device__");
}

static PyObject *ask_for_capsule(PyObject *value)
{
    PyObject *method = PyObject_GetAttrString(value, "__dlpack__");
    PyObject *none = PyTuple_New(0), *version = Py_BuildValue("{s(ii)}", "max_version", 1, 0);
    PyObject *capsule = method && none && version ? PyObject_Call(method, none, version) : NULL;
    if (!capsule && method && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear(); /* from before there were versions */
        capsule = PyObject_CallNoArgs(method);
    }
    Py_XDECREF(version);
    Py_XDECREF(none);
    Py_XDECREF(method);
    return capsule;
}

/* A copy of x's values in memory of its own. */
static fr_array *copied(fr_array *x)
{
    fr_view view;
    size_t bytes = fr_nbytes(x);
    void *values = py_eval(x) ? NULL : malloc(bytes + 1);
    fr_array *result = NULL;
    if (!values) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return NULL;
    }
    if (!fr_access(x, &view) && !fr_copy_out(x, values, bytes))
        result = fr_own(fr_from_data(values, view.dtype, view.shape, view.ndim));
    free(values);
    return result ? result : (py_raise(), NULL);
}

/* copy: 1 always, 0 never, -1 where it must be. float64 comes in as float32, as in array(). */
static fr_array *import_tensor(PyObject *value, int copy)
{
    PyObject *capsule = ask_for_capsule(value);
    fr_array *x = capsule ? consume(capsule) : NULL, *result = x;
    Py_XDECREF(capsule);
    if (!x)
        return NULL;
    if (fr_dtype_of(x) == FR_FLOAT64) {
        if (copy == 0) {
            PyErr_SetString(PyExc_ValueError,
                            "from_dlpack: float64 comes in as float32, which is a copy");
            fr_free(x);
            return NULL;
        }
        result = fr_own(fr_astype(x, FR_FLOAT32));
        if (!result)
            py_raise();
        else if (py_eval(result)) { /* now, while the lender's values are what they are */
            fr_free(result);
            result = NULL;
        }
        fr_free(x);
    } else if (copy == 1) {
        result = copied(x);
        fr_free(x);
    }
    return result;
}

fr_array *py_from_dlpack(PyObject *value)
{
    return exports_dlpack(value) ? import_tensor(value, 1) : NULL;
}

static int read_copy(PyObject *value, int *to)
{
    *to = -1;
    if (!value || value == Py_None)
        return 0;
    *to = PyObject_IsTrue(value);
    return *to < 0 ? -1 : 0;
}

static PyObject *call_from_dlpack(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    (void)module;
    static const py_signature signature = {"from_dlpack", 1, 1, 1, {"x", "copy", NULL}};
    PyObject *at[2];
    int copy;
    if (py_parse(&signature, args, n, names, at) || read_copy(at[1], &copy))
        return py_name_error("from_dlpack");
    if (!exports_dlpack(at[0])) {
        PyErr_Format(
            PyExc_TypeError,
            "from_dlpack: wanted an object with __dlpack__ and __dlpack_device__, not %s",
            Py_TYPE(at[0])->tp_name);
        return NULL;
    }
    fr_array *result = py_is_array(at[0])
                           ? copy == 1 ? copied(py_node(at[0])) : fr_keep(py_node(at[0]))
                           : import_tensor(at[0], copy);
    return result ? py_adopt(result) : NULL;
}

/* Foreign memory is shared only where copy=False asks for it: what is computed later must not
 * see what its owner writes there meanwhile. */
static PyObject *call_asarray(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    static const py_signature signature = {"asarray", 1, 2, 0, {"a", "dtype", "copy", NULL}};
    PyObject *at[3];
    fr_dtype dtype = FR_FLOAT32;
    int copy;
    if (py_parse(&signature, args, n, names, at) || py_read_dtype(at[1], &dtype, "asarray") ||
        read_copy(at[2], &copy))
        return py_name_error("asarray");
    bool given = at[1] && at[1] != Py_None;
    fr_array *result;
    if (copy != 0 || py_is_array(at[0])) {
        result = py_from_object(at[0], given ? &dtype : NULL);
    } else if (exports_dlpack(at[0])) {
        result = import_tensor(at[0], 0);
    } else {
        PyErr_SetString(PyExc_ValueError, "asarray: it takes a copy to make an array of this");
        return NULL;
    }
    if (result && copy == 0 && given && fr_dtype_of(result) != dtype) {
        PyErr_Format(PyExc_ValueError, "asarray: it takes a copy to give %s",
                     fr_dtype_name(dtype));
        fr_free(result);
        return NULL;
    }
    if (result && copy == 1 && py_is_array(at[0])) {
        fr_array *shared = result;
        result = copied(shared);
        fr_free(shared);
    }
    return result ? py_adopt(result) : py_name_error("asarray");
}

/* ---- bytes and pickles ------------------------------------------------------------------ */

static PyObject *method_bytes(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    fr_array *x = fr_keep(py_node(self));
    PyObject *result =
        py_eval(x) ? NULL : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)fr_nbytes(x));
    if (result && fr_copy_out(x, PyBytes_AS_STRING(result), fr_nbytes(x))) {
        py_raise();
        Py_CLEAR(result);
    }
    fr_free(x);
    return result;
}

/* (rebuild, (type, dtype, shape, bytes), attributes of a subclass) */
static PyObject *method_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *module = PyImport_ImportModule("ferrule.core");
    PyObject *rebuild = module ? PyObject_GetAttrString(module, "_rebuild_array") : NULL;
    PyObject *shape = rebuild ? PyObject_GetAttrString(self, "shape") : NULL;
    PyObject *values = shape ? method_bytes(self, NULL) : NULL;
    PyObject *attributes = NULL, *result = NULL;
    if (values) {
        attributes = PyObject_GetAttrString(self, "__dict__");
        if (!attributes) {
            PyErr_Clear();
            attributes = Py_None;
            Py_INCREF(attributes);
        }
        result = Py_BuildValue("N(ONNN)N", rebuild, (PyObject *)Py_TYPE(self),
                               py_dtype_object(fr_dtype_of(py_node(self))), shape, values,
                               attributes);
        rebuild = shape = values = NULL;
    }
    Py_XDECREF(values);
    Py_XDECREF(shape);
    Py_XDECREF(rebuild);
    Py_XDECREF(module);
    return result;
}

static PyObject *call_rebuild(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *type, *dtype_object, *shape_object, *values;
    int64_t shape[FR_MAX_NDIM];
    int ndim;
    fr_dtype dtype = FR_FLOAT32;
    if (!PyArg_ParseTuple(args, "OOOS:_rebuild_array", &type, &dtype_object, &shape_object,
                          &values) ||
        py_read_dtype(dtype_object, &dtype, "_rebuild_array") ||
        py_read_shape(shape_object, shape, &ndim, "_rebuild_array"))
        return NULL;
    size_t bytes = fr_dtype_size(dtype), held = (size_t)PyBytes_GET_SIZE(values);
    bool fits = true;
    for (int i = 0; i < ndim; i++)
        fits =
            fits && shape[i] >= 0 && !__builtin_mul_overflow(bytes, (size_t)shape[i], &bytes);
    fits = fits && bytes == held;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError,
                        "_rebuild_array: not so many bytes as the shape says");
        return NULL;
    }
    fr_array *x = fr_own(fr_from_data(PyBytes_AS_STRING(values), dtype, shape, ndim));
    if (!x)
        return py_raise();
    if (type == (PyObject *)&py_array_type)
        return py_adopt(x);
    PyObject *none = PyTuple_New(0);
    PyObject *made =
        none && PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &py_array_type)
            ? py_array_type.tp_new((PyTypeObject *)type, none, NULL)
            : NULL;
    Py_XDECREF(none);
    if (made) {
        fr_free(((py_array *)made)->node);
        ((py_array *)made)->node = x;
        return made;
    }
    fr_free(x);
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "_rebuild_array: wanted a subclass of array");
    return NULL;
}

static PyObject *method_sizeof(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    fr_array *x = py_node(self);
    return PyLong_FromSize_t(sizeof(py_array) + (fr_is_done(x) ? fr_nbytes(x) : 0));
}

static PyObject *method_namespace(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    (void)self;
    static const py_signature signature = {
        "__array_namespace__", 0, 1, 0, {"api_version", NULL}};
    PyObject *at[1];
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    if (at[0] && at[0] != Py_None) {
        PyErr_SetString(PyExc_ValueError,
                        "__array_namespace__: api_version can't be chosen: leave it out");
        return NULL;
    }
    return PyImport_ImportModule("ferrule.core");
}

static PyObject *method_complex(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (fr_size(py_node(self)) != 1) {
        PyErr_Format(PyExc_ValueError, "complex: an array of %lld elements is not one number",
                     (long long)fr_size(py_node(self)));
        return NULL;
    }
    PyObject *number = py_to_number(py_node(self));
    if (!number || PyComplex_Check(number))
        return number;
    double real = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return real == -1 && PyErr_Occurred() ? NULL : PyComplex_FromDoubles(real, 0);
}

/* ---- printing --------------------------------------------------------------------------- */

static PyObject *call_print_decimals(PyObject *module, PyObject *number)
{
    (void)module;
    int decimals;
    if (py_read_int(number, &decimals))
        return py_name_error("set_printoptions");
    return PyLong_FromLong(fr_print_decimals(decimals));
}

PyMethodDef py_exchange_functions[] = {
    PY_METHOD("from_dlpack", call_from_dlpack,
              "from_dlpack(x, /, *, copy=None)\n--\n\n"
              "an array over the memory of another library's; copy=True: with its own"),
    PY_METHOD("asarray", call_asarray,
              "asarray(a, dtype=None, *, copy=None)\n--\n\n"
              "what array() makes; copy=False: an error where it would take a copy"),
    {"_rebuild_array", call_rebuild, METH_VARARGS, NULL},
    {"_print_decimals", call_print_decimals, METH_O, NULL},
    PY_END,
};

PyMethodDef py_exchange_methods[] = {
    PY_METHOD("__dlpack__", method_dlpack,
              "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, "
              "copy=None)\n--\n\na capsule that lends the values"),
    {"__dlpack_device__", method_dlpack_device, METH_NOARGS, "where the values lie"},
    {"__bytes__", method_bytes, METH_NOARGS, "the values in row-major order"},
    {"__reduce__", method_reduce, METH_NOARGS, NULL},
    {"__complex__", method_complex, METH_NOARGS, NULL},
    {"__sizeof__", method_sizeof, METH_NOARGS, NULL},
    PY_METHOD("__array_namespace__", method_namespace,
              "__array_namespace__($self, api_version=None)\n--\n\nthis module"),
    PY_END,
};
