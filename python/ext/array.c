/* array.c - the array type: attributes, operators, conversions to Python's numbers, buffers
 *
 * needs   ops.c's methods and convert.c
 * gives   ferrule.core.array: a handle on a node of the library. Immutable but for in-place
 *         operators, which swap the handle's node (whoever shares the handle sees the new one).
 */
#include "ext.h"

#include <structmember.h>

/* ---- handles -------------------------------------------------------------------------- */

PyObject *py_adopt(fr_array *reference)
{
    if (!reference)
        return py_raise();
    py_array *handle = PyObject_New(py_array, &py_array_type);
    if (!handle) {
        fr_free(reference);
        return NULL;
    }
    handle->node = reference;
    handle->weak = NULL;
    return (PyObject *)handle;
}

PyObject *py_wrap(fr_array *result)
{
    if (result && fr_places_wanted()) {
        char place[256];
        py_caller_text(place, sizeof place);
        fr_note_place(result, place);
    }
    return py_adopt(result ? fr_own(result) : NULL);
}

static void array_dealloc(PyObject *self)
{
    py_array *handle = (py_array *)self;
    if (handle->weak)
        PyObject_ClearWeakRefs(self);
    fr_free(handle->node);
    Py_TYPE(self)->tp_free(self);
}

/* Ctrl-C: what Python does about a signal waits until this thread asks. */
static int ask_for_signals(void *unused)
{
    (void)unused;
    if (_Py_IsFinalizing())
        return 0;
    PyGILState_STATE state = PyGILState_Ensure();
    int raised = PyErr_CheckSignals();
    PyGILState_Release(state);
    return raised;
}

void py_listen(void)
{
    static _Thread_local bool listens;
    if (!listens) {
        fr_set_poll(ask_for_signals, NULL);
        listens = true;
    }
}

int py_eval_all(int n, fr_array *const *x, bool wait)
{
    int failed;
    py_listen();
    Py_BEGIN_ALLOW_THREADS failed = wait ? fr_eval_all(n, x) : fr_async_eval(n, x);
    Py_END_ALLOW_THREADS if (failed) return py_raise_int();
    return py_warn();
}

int py_eval(fr_array *x)
{
    if (fr_is_done(x) && fr_device_of(x) == FR_CPU)
        return 0;
    fr_keep(x); /* another thread may swap or drop the handle meanwhile */
    int failed = py_eval_all(1, &x, true);
    fr_free(x);
    return failed;
}

static PyObject *array_new(PyTypeObject *type, PyObject *const *args, Py_ssize_t n,
                           PyObject *names)
{
    (void)type;
    static const py_signature signature = {"array", 1, 2, 0, {"val", "dtype", NULL}};
    PyObject *at[2];
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    fr_dtype dtype = FR_FLOAT32;
    if (py_read_dtype(at[1], &dtype, "array"))
        return NULL;
    bool given = at[1] && at[1] != Py_None;
    fr_array *made = py_from_object(at[0], given ? &dtype : NULL);
    return made ? py_adopt(made) : NULL;
}

static PyObject *array_vectorcall(PyObject *type, PyObject *const *args, size_t n,
                                  PyObject *names)
{
    return array_new((PyTypeObject *)type, args, PyVectorcall_NARGS(n), names);
}

/* An instance of a subclass is an array of no elements until array's __init__ fills it. */
static PyObject *array_tp_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args;
    (void)keywords;
    fr_array *nothing = fr_own(fr_from_data(NULL, FR_FLOAT32, (int64_t[]){0}, 1));
    if (!nothing)
        return py_raise();
    py_array *handle = (py_array *)type->tp_alloc(type, 0);
    if (!handle) {
        fr_free(nothing);
        return NULL;
    }
    handle->node = nothing;
    return (PyObject *)handle;
}

static int array_tp_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    PyObject *made =
        PyObject_VectorcallDict((PyObject *)&py_array_type, &PyTuple_GET_ITEM(args, 0),
                                (size_t)PyTuple_GET_SIZE(args), keywords);
    if (!made)
        return -1;
    fr_array *node = ((py_array *)self)->node;
    ((py_array *)self)->node = py_node(made);
    ((py_array *)made)->node = node;
    Py_DECREF(made);
    return 0;
}

/* ---- operators ------------------------------------------------------------------------ */

typedef fr_array *binary_fn(fr_array *x, fr_array *y);

/* NotImplemented where an operand is none of ours, so that Python asks the other one. */
static PyObject *operate(binary_fn *function, PyObject *left, PyObject *right)
{
    if (py_is_array(left) && py_is_array(right))
        return py_wrap(function(py_node(left), py_node(right)));
    PyObject *given[2] = {left, right}, *wrapped = NULL;
    fr_array *at[2], *owned[2] = {NULL, NULL};
    at[0] = py_operand(left, &owned[0]);
    at[1] = at[0] ? py_operand(right, &owned[1]) : NULL;
    if (!at[1]) {
        fr_free(owned[0]);
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (!py_match_buffers(given, at, owned))
        wrapped = py_wrap(function(at[0], at[1]));
    fr_free(owned[0]);
    fr_free(owned[1]);
    return wrapped;
}

/* x += y: the handle gets the new node. Takes over the result. */
static PyObject *swap_in(PyObject *left, PyObject *result)
{
    if (!result || result == Py_NotImplemented)
        return result;
    py_array *handle = (py_array *)left, *made = (py_array *)result;
    fr_array *old = handle->node;
    handle->node = made->node;
    made->node = old;
    Py_DECREF(result);
    Py_INCREF(left);
    return left;
}

static PyObject *operate_in_place(binary_fn *function, PyObject *left, PyObject *right)
{
    return swap_in(left, operate(function, left, right));
}

#define OPERATOR(name)                                                                         \
    static PyObject *array_##name(PyObject *left, PyObject *right)                             \
    {                                                                                          \
        return operate(fr_##name, left, right);                                                \
    }                                                                                          \
    static PyObject *array_in_place_##name(PyObject *left, PyObject *right)                    \
    {                                                                                          \
        return operate_in_place(fr_##name, left, right);                                       \
    }
OPERATOR(add)
OPERATOR(sub)
OPERATOR(mul)
OPERATOR(div)

OPERATOR(floor_divide)
OPERATOR(remainder)
OPERATOR(bit_and)
OPERATOR(bit_or)
OPERATOR(bit_xor)
OPERATOR(shift_left)
OPERATOR(shift_right)

static PyObject *array_invert(PyObject *self) { return py_wrap(fr_bit_invert(py_node(self))); }

static PyObject *array_divmod(PyObject *left, PyObject *right)
{
    PyObject *quotient = operate(fr_floor_divide, left, right);
    if (!quotient || quotient == Py_NotImplemented)
        return quotient;
    PyObject *rest = operate(fr_remainder, left, right);
    PyObject *both = rest ? PyTuple_Pack(2, quotient, rest) : NULL;
    Py_DECREF(quotient);
    Py_XDECREF(rest);
    return both;
}

static PyObject *array_negative(PyObject *self) { return py_wrap(fr_neg(py_node(self))); }

static PyObject *array_positive(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyObject *array_absolute(PyObject *self) { return py_wrap(fr_abs(py_node(self))); }

/* x to the power n > 0 by squaring; gives a reference of the caller's. */
static fr_array *whole_power(fr_array *x, unsigned n)
{
    fr_array *result = NULL, *square = fr_keep(x);
    for (;; n >>= 1) {
        if (n & 1) {
            fr_array *next = result ? fr_own(fr_mul(result, square)) : fr_keep(square);
            fr_free(result);
            result = next;
        }
        if (n <= 1 || !square)
            break;
        fr_array *next = fr_own(fr_square(square));
        fr_free(square);
        square = next;
    }
    fr_free(square);
    return result;
}

/* x ** n for a Python number n by multiplication or a root, where that is as exact and quicker.
 * *done: whether it was. */
static PyObject *simple_power(fr_array *x, PyObject *exponent, bool *done)
{
    double n = PyFloat_AsDouble(exponent);
    *done = n == -1 && PyErr_Occurred();
    if (*done)
        return NULL;
    fr_dtype dtype = fr_dtype_of(x);
    bool whole = dtype < FR_FLOAT16, by_integer = PyLong_Check(exponent);
    *done =
        n == 0.5 || n == -0.5 || (n >= 0 && n <= (whole && by_integer ? 64 : 3) && n == (int)n);
    if (!*done)
        return NULL;
    if (n == 0.5)
        return py_wrap(fr_sqrt(x));
    if (n == -0.5)
        return py_wrap(fr_rsqrt(x));
    if (whole && !by_integer)
        dtype = FR_FLOAT32;
    else if (dtype == FR_BOOL)
        dtype = FR_INT32;
    if (n == 0)
        return py_wrap(fr_ones(fr_dims(x), fr_ndim(x), dtype));
    fr_array *base = dtype == fr_dtype_of(x) ? fr_keep(x) : fr_own(fr_astype(x, dtype));
    fr_array *result = base ? whole_power(base, (unsigned)n) : NULL;
    fr_free(base);
    return py_adopt(result);
}

static PyObject *array_power(PyObject *base, PyObject *exponent, PyObject *modulo)
{
    if (modulo != Py_None)
        Py_RETURN_NOTIMPLEMENTED;
    if (py_is_array(base) && !PyBool_Check(exponent) &&
        (PyLong_Check(exponent) || PyFloat_Check(exponent))) {
        bool done;
        PyObject *result = simple_power(py_node(base), exponent, &done);
        if (done)
            return result;
    }
    return operate((fr_pow), base, exponent);
}

static PyObject *array_in_place_power(PyObject *base, PyObject *exponent, PyObject *modulo)
{
    return swap_in(base, array_power(base, exponent, modulo));
}

static PyObject *array_in_place_matmul(PyObject *left, PyObject *right)
{
    return swap_in(left, py_matmul(left, right));
}

static PyObject *array_compare(PyObject *left, PyObject *right, int how)
{
    switch (how) {
    case Py_EQ: return operate(fr_eq, left, right);
    case Py_NE: return operate(fr_ne, left, right);
    case Py_LT: return operate(fr_lt, left, right);
    case Py_LE: return operate(fr_le, left, right);
    case Py_GT: return operate(fr_gt, left, right);
    default: return operate(fr_ge, left, right);
    }
}

/* ---- Python's numbers ----------------------------------------------------------------- */

/* Evaluates an array of one element. */
static int need_one(PyObject *self, const char *what)
{
    fr_array *x = py_node(self);
    if (fr_size(x) != 1) {
        PyErr_Format(PyExc_ValueError, "%s: an array of %lld elements is not one number", what,
                     (long long)fr_size(x));
        return -1;
    }
    return py_eval(x);
}

static int array_bool(PyObject *self)
{
    double value[2];
    if (need_one(self, "bool"))
        return -1;
    if (fr_item_complex(py_node(self), value))
        return py_raise_int();
    return value[0] != 0 || value[1] != 0;
}

static PyObject *array_int(PyObject *self)
{
    if (need_one(self, "int"))
        return NULL;
    PyObject *number = py_to_number(py_node(self));
    if (!number)
        return NULL;
    PyObject *result = PyNumber_Long(number);
    Py_DECREF(number);
    return result;
}

static PyObject *array_float(PyObject *self)
{
    if (need_one(self, "float"))
        return NULL;
    PyObject *number = py_to_number(py_node(self));
    if (!number)
        return NULL;
    PyObject *result = PyNumber_Float(number);
    Py_DECREF(number);
    return result;
}

static bool is_integer(fr_dtype dtype) { return dtype >= FR_UINT8 && dtype <= FR_INT64; }

static PyObject *array_index(PyObject *self)
{
    fr_array *x = py_node(self);
    if (fr_ndim(x) != 0 || !is_integer(fr_dtype_of(x))) {
        PyErr_SetString(PyExc_TypeError, "only a 0-d array of integers is an index");
        return NULL;
    }
    return array_int(self);
}

/* ---- sequences ------------------------------------------------------------------------ */

static Py_ssize_t array_length(PyObject *self)
{
    fr_array *x = py_node(self);
    if (fr_ndim(x) == 0) {
        PyErr_SetString(PyExc_TypeError, "len() of a 0-d array");
        return -1;
    }
    Py_ssize_t n = (Py_ssize_t)fr_shape(x)[0];
    return fr_error() == FR_OK ? n : py_raise_int();
}

static PyObject *array_item_at(PyObject *self, Py_ssize_t at)
{
    PyObject *index = PyLong_FromSsize_t(at);
    if (!index)
        return NULL;
    PyObject *result = py_subscript(self, index);
    Py_DECREF(index);
    return result;
}

static PyObject *array_iterate(PyObject *self)
{
    if (fr_ndim(py_node(self)) == 0) {
        PyErr_SetString(PyExc_TypeError, "iteration over a 0-d array");
        return NULL;
    }
    return PySeqIter_New(self);
}

static PyObject *array_repr(PyObject *self)
{
    fr_array *x = fr_keep(py_node(self));
    char *text = py_eval(x) ? NULL : fr_to_text(x);
    PyObject *result = NULL;
    if (text)
        result = PyUnicode_FromString(text);
    else if (!PyErr_Occurred())
        py_raise();
    fr_text_free(text);
    fr_free(x);
    return result;
}

/* ---- buffers -------------------------------------------------------------------------- */

static const char *format_of(fr_dtype dtype)
{
    switch (dtype) {
    case FR_BOOL: return "?";
    case FR_UINT8: return "B";
    case FR_UINT16: return "H";
    case FR_UINT32: return "I";
    case FR_UINT64: return "Q";
    case FR_INT8: return "b";
    case FR_INT16: return "h";
    case FR_INT32: return "i";
    case FR_INT64: return "q";
    case FR_FLOAT16: return "e";
    case FR_FLOAT32: return "f";
    case FR_FLOAT64: return "d";
    case FR_COMPLEX64: return "Zf";
    default: return NULL;
    }
}

/* What an exported buffer points into: lives until the buffer is released. */
typedef struct export
{
    fr_array *array; /* a reference of ours */
    Py_ssize_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM];
}
export;

static bool is_contiguous(const fr_view *view)
{
    int64_t expected = (int64_t)fr_dtype_size(view->dtype);
    for (int i = 0; i < view->ndim; i++)
        if (view->shape[i] == 0)
            return true;
    for (int i = view->ndim - 1; i >= 0; i--) {
        if (view->shape[i] != 1 && view->strides[i] != expected)
            return false;
        expected *= view->shape[i];
    }
    return true;
}

/* Values of x where they lie, row-major if asked for. The view belongs to *array, a new
 * reference. */
static int access_values(fr_array *x, bool contiguous, fr_array **array, fr_view *view)
{
    *array = fr_keep(x);
    if (py_eval(x) || fr_access(x, view))
        goto failed;
    if (contiguous && !is_contiguous(view)) {
        fr_free(*array);
        *array = fr_contiguous(x);
        if (!*array)
            goto failed;
        *array = fr_own(*array);
        if (py_eval(*array) || fr_access(*array, view))
            goto failed;
    }
    return 0;
failed:
    fr_free(*array);
    *array = NULL;
    return PyErr_Occurred() ? -1 : py_raise_int();
}

static int array_get_buffer(PyObject *self, Py_buffer *buffer, int flags)
{
    buffer->obj = NULL;
    fr_array *x = py_node(self);
    const char *format = format_of(fr_dtype_of(x));
    if (!format) {
        PyErr_Format(PyExc_BufferError,
                     "the buffer protocol has no code for %s: use astype first",
                     fr_dtype_name(fr_dtype_of(x)));
        return -1;
    }
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "arrays are read-only: copy the values instead");
        return -1;
    }
    bool contiguous = (flags & PyBUF_STRIDES) != PyBUF_STRIDES ||
                      (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS;
    if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && fr_ndim(x) > 1) {
        PyErr_SetString(PyExc_BufferError, "column-major buffers are not exported");
        return -1;
    }
    export *out = PyMem_Malloc(sizeof *out);
    if (!out) {
        PyErr_NoMemory();
        return -1;
    }
    fr_view view;
    bool any = (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS;
    if (access_values(x, contiguous || any, &out->array, &view)) {
        PyMem_Free(out);
        return -1;
    }
    for (int i = 0; i < view.ndim; i++) {
        out->shape[i] = (Py_ssize_t)view.shape[i];
        out->strides[i] = (Py_ssize_t)view.strides[i];
    }
    if (contiguous) { /* axes of size 1 may have any stride: give the one that is expected */
        Py_ssize_t stride = (Py_ssize_t)fr_dtype_size(view.dtype);
        for (int i = view.ndim - 1; i >= 0; i--) {
            out->strides[i] = stride;
            stride *= out->shape[i];
        }
    }
    static char nothing[16];
    buffer->buf = view.data ? (void *)view.data : nothing;
    buffer->len = (Py_ssize_t)fr_nbytes(out->array);
    buffer->itemsize = (Py_ssize_t)fr_dtype_size(view.dtype);
    buffer->readonly = 1;
    buffer->format = flags & PyBUF_FORMAT ? (char *)format : NULL;
    buffer->ndim = flags & PyBUF_ND ? view.ndim : 1;
    buffer->shape = flags & PyBUF_ND ? out->shape : NULL;
    buffer->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? out->strides : NULL;
    buffer->suboffsets = NULL;
    buffer->internal = out;
    buffer->obj = self;
    Py_INCREF(self);
    return 0;
}

static void array_release_buffer(PyObject *self, Py_buffer *buffer)
{
    (void)self;
    export *out = buffer->internal;
    fr_free(out->array);
    PyMem_Free(out);
}

/* ---- attributes ----------------------------------------------------------------------- */

static PyObject *get_shape(PyObject *self, void *closure)
{
    (void)closure;
    fr_array *x = py_node(self);
    int ndim = fr_ndim(x);
    const int64_t *sizes = fr_shape(x);
    if (fr_error() != FR_OK)
        return py_raise();
    PyObject *shape = PyTuple_New(ndim);
    for (int i = 0; shape && i < ndim; i++) {
        PyObject *size = PyLong_FromLongLong(sizes[i]);
        if (!size)
            Py_CLEAR(shape);
        else
            PyTuple_SET_ITEM(shape, i, size);
    }
    return shape;
}

static PyObject *get_ndim(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLong(fr_ndim(py_node(self)));
}

static PyObject *get_size(PyObject *self, void *closure)
{
    (void)closure;
    int64_t size = fr_size(py_node(self));
    return fr_error() == FR_OK ? PyLong_FromLongLong(size) : py_raise();
}

static PyObject *get_itemsize(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(fr_dtype_size(fr_dtype_of(py_node(self))));
}

static PyObject *get_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    size_t bytes = fr_nbytes(py_node(self));
    return fr_error() == FR_OK ? PyLong_FromSize_t(bytes) : py_raise();
}

static PyObject *get_dtype(PyObject *self, void *closure)
{
    (void)closure;
    return py_dtype_object(fr_dtype_of(py_node(self)));
}

static PyObject *get_transposed(PyObject *self, void *closure)
{
    (void)closure;
    return py_wrap(fr_transpose(py_node(self), NULL, 0));
}

static PyObject *get_matrix_transposed(PyObject *self, void *closure)
{
    (void)closure;
    fr_array *x = py_node(self);
    int ndim = fr_ndim(x), axes[FR_MAX_NDIM];
    if (ndim < 2) {
        PyErr_Format(PyExc_ValueError, "mT: wanted at least 2 dimensions, not %d", ndim);
        return NULL;
    }
    for (int i = 0; i < ndim; i++)
        axes[i] = i;
    axes[ndim - 1] = ndim - 2;
    axes[ndim - 2] = ndim - 1;
    return py_wrap(fr_transpose(x, axes, ndim));
}

static PyGetSetDef array_attributes[] = {
    {"shape", get_shape, NULL, "the sizes of the axes, a tuple", NULL},
    {"ndim", get_ndim, NULL, "the number of axes", NULL},
    {"size", get_size, NULL, "the number of elements", NULL},
    {"itemsize", get_itemsize, NULL, "bytes of an element", NULL},
    {"nbytes", get_nbytes, NULL, "bytes of all elements", NULL},
    {"dtype", get_dtype, NULL, "the type of the elements", NULL},
    {"T", get_transposed, NULL, "the axes in reverse order", NULL},
    {"mT", get_matrix_transposed, NULL, "the last two axes exchanged", NULL},
    {"at", py_get_at, NULL, "x.at[index].add(value) and its kin: new arrays, updated", NULL},
    {"real", py_get_real, NULL, "the real part", NULL},
    {"imag", py_get_imag, NULL, "the imaginary part; zero of a real array", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods array_number = {
    .nb_add = array_add,
    .nb_subtract = array_sub,
    .nb_multiply = array_mul,
    .nb_true_divide = array_div,
    .nb_inplace_add = array_in_place_add,
    .nb_inplace_subtract = array_in_place_sub,
    .nb_inplace_multiply = array_in_place_mul,
    .nb_inplace_true_divide = array_in_place_div,
    .nb_floor_divide = array_floor_divide,
    .nb_remainder = array_remainder,
    .nb_divmod = array_divmod,
    .nb_inplace_floor_divide = array_in_place_floor_divide,
    .nb_inplace_remainder = array_in_place_remainder,
    .nb_power = array_power,
    .nb_inplace_power = array_in_place_power,
    .nb_matrix_multiply = py_matmul,
    .nb_inplace_matrix_multiply = array_in_place_matmul,
    .nb_and = array_bit_and,
    .nb_or = array_bit_or,
    .nb_xor = array_bit_xor,
    .nb_lshift = array_shift_left,
    .nb_rshift = array_shift_right,
    .nb_inplace_and = array_in_place_bit_and,
    .nb_inplace_or = array_in_place_bit_or,
    .nb_inplace_xor = array_in_place_bit_xor,
    .nb_inplace_lshift = array_in_place_shift_left,
    .nb_inplace_rshift = array_in_place_shift_right,
    .nb_invert = array_invert,
    .nb_negative = array_negative,
    .nb_positive = array_positive,
    .nb_absolute = array_absolute,
    .nb_bool = array_bool,
    .nb_int = array_int,
    .nb_float = array_float,
    .nb_index = array_index,
};

static PySequenceMethods array_sequence = {
    .sq_length = array_length,
    .sq_item = array_item_at,
};

static PyMappingMethods array_mapping = {
    .mp_length = array_length,
    .mp_subscript = py_subscript,
    .mp_ass_subscript = py_assign,
};

static PyBufferProcs array_buffer = {
    .bf_getbuffer = array_get_buffer,
    .bf_releasebuffer = array_release_buffer,
};

PyTypeObject py_array_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.array",
    .tp_basicsize = sizeof(py_array),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc =
        "array(val, dtype=None)\n--\n\n"
        "An array of numbers: from a number, nested lists or tuples, a buffer (numpy and\n"
        "others) or another array. Lazy: values are computed when they are needed.",
    .tp_new = array_tp_new,
    .tp_init = array_tp_init,
    .tp_vectorcall = array_vectorcall,
    .tp_dealloc = array_dealloc,
    .tp_weaklistoffset = offsetof(py_array, weak),
    .tp_repr = array_repr,
    .tp_richcompare = array_compare,
    .tp_iter = array_iterate,
    .tp_as_number = &array_number,
    .tp_as_sequence = &array_sequence,
    .tp_as_mapping = &array_mapping,
    .tp_as_buffer = &array_buffer,
    .tp_getset = array_attributes,
    .tp_methods = py_array_methods,
};

/* Methods of other files than ops.c. */
static int add_methods(PyMethodDef *methods)
{
    for (PyMethodDef *m = methods; m->ml_name; m++) {
        PyObject *method = PyDescr_NewMethod(&py_array_type, m);
        int failed =
            method ? PyDict_SetItemString(py_array_type.tp_dict, m->ml_name, method) : -1;
        Py_XDECREF(method);
        if (failed)
            return -1;
    }
    PyType_Modified(&py_array_type);
    return 0;
}

int py_array_init(PyObject *module)
{
    py_array_type.tp_hash =
        PyBaseObject_Type.tp_hash; /* by identity: == is element by element */
    if (PyType_Ready(&py_array_type) || add_methods(py_exchange_methods))
        return -1;
    Py_INCREF(&py_array_type);
    return PyModule_AddObject(module, "array", (PyObject *)&py_array_type);
}
