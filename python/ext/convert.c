/* convert.c - Python's numbers, nested lists and buffers to arrays, and back
 *
 * needs   any object
 * gives   an array with a copy of the values: nothing of Python's is held afterwards
 *
 * A nested list is walked twice: once for its shape and dtype, once to store the numbers where
 * they belong. Whole numbers are int32 (int64 if one doesn't fit), others float32.
 */
#include "ext.h"

#include <math.h>

/* ---- half precision ------------------------------------------------------------------- */

static uint16_t half_bits(double value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double size = fabs(value);
    if (isnan(value))
        return sign | 0x7e00;
    if (size >= 65520) /* the middle between the largest one and the next */
        return sign | 0x7c00;
    if (size == 0)
        return sign;
    int exponent;
    frexp(size, &exponent); /* size = m * 2^exponent, m in [0.5, 1) */
    int step = exponent - 11 < -24 ? -24 : exponent - 11;
    int units = (int)nearbyint(ldexp(size, -step)); /* up to 2048, ties to even */
    if (step == -24) /* subnormal, or the first binade: the bits run on */
        return (uint16_t)(sign | units);
    return (uint16_t)(sign | (((step + 24) << 10) + units));
}

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                  : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                 : ldexp(mantissa, -24);
    return bits & 0x8000 ? -size : size;
}

static uint16_t bfloat_bits(double value)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double bfloat_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float single;
    memcpy(&single, &bits, 4);
    return single;
}

/* ---- one number ----------------------------------------------------------------------- */

static bool is_integer(fr_dtype dtype) { return dtype >= FR_UINT8 && dtype <= FR_INT64; }

static bool is_signed(fr_dtype dtype) { return dtype >= FR_INT8 && dtype <= FR_INT64; }

/* A Python int as integer bits, of which the low ones are kept; beyond 64 bits it is an error. */
static int store_integer(PyObject *number, fr_dtype dtype, void *to)
{
    size_t bytes = fr_dtype_size(dtype);
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (overflow > 0 && dtype == FR_UINT64) {
        unsigned long long large = PyLong_AsUnsignedLongLong(number);
        overflow = large == (unsigned long long)-1 && PyErr_Occurred();
        if (overflow)
            PyErr_Clear();
        value = (long long)large;
    }
    if (overflow) {
        py_complain(PyExc_OverflowError, "array: %R does not fit 64 bits", number);
        return -1;
    }
    memcpy(to, &value, bytes); /* little-endian: the low bytes */
    return 0;
}

static void store_double(double value, fr_dtype dtype, void *to)
{
    float single = (float)value;
    uint16_t half;
    switch (dtype) {
    case FR_FLOAT16:
        half = half_bits(value);
        memcpy(to, &half, 2);
        break;
    case FR_BFLOAT16:
        half = bfloat_bits(value);
        memcpy(to, &half, 2);
        break;
    case FR_FLOAT64: memcpy(to, &value, 8); break;
    case FR_COMPLEX64:
        memcpy(to, &single, 4);
        memset((char *)to + 4, 0, 4);
        break;
    default: memcpy(to, &single, 4); break;
    }
}

static int store_number(PyObject *number, fr_dtype dtype, void *to)
{
    if (dtype == FR_BOOL) {
        int truth = PyObject_IsTrue(number);
        if (truth >= 0)
            *(uint8_t *)to = (uint8_t)truth;
        return truth < 0 ? -1 : 0;
    }
    if (is_integer(dtype)) {
        if (PyLong_Check(number))
            return store_integer(number, dtype, to);
        PyObject *real = NULL; /* of a complex number: its real part */
        if (PyComplex_Check(number)) {
            number = real = PyFloat_FromDouble(PyComplex_RealAsDouble(number));
            if (!real)
                return -1;
        }
        PyObject *whole =
            PyIndex_Check(number) ? PyNumber_Index(number) : PyNumber_Long(number);
        int result = whole ? store_integer(whole, dtype, to) : -1;
        Py_XDECREF(whole);
        Py_XDECREF(real);
        return result;
    }
    if (dtype == FR_COMPLEX64 && PyComplex_Check(number)) {
        Py_complex value = PyComplex_AsCComplex(number);
        float parts[2] = {(float)value.real, (float)value.imag};
        memcpy(to, parts, sizeof parts);
        return 0;
    }
    double value =
        PyComplex_Check(number) ? PyComplex_RealAsDouble(number) : PyFloat_AsDouble(number);
    if (value == -1 && PyErr_Occurred())
        return -1;
    store_double(value, dtype, to);
    return 0;
}

/* A number where it lies. */
static PyObject *load_number(fr_dtype dtype, const void *from)
{
    uint16_t half;
    float single[2];
    double wide;
    uint64_t bits = 0;
    size_t bytes = fr_dtype_size(dtype);
    switch (dtype) {
    case FR_BOOL: return PyBool_FromLong(*(const uint8_t *)from);
    case FR_FLOAT16: memcpy(&half, from, 2); return PyFloat_FromDouble(half_value(half));
    case FR_BFLOAT16: memcpy(&half, from, 2); return PyFloat_FromDouble(bfloat_value(half));
    case FR_FLOAT32: memcpy(single, from, 4); return PyFloat_FromDouble(single[0]);
    case FR_FLOAT64: memcpy(&wide, from, 8); return PyFloat_FromDouble(wide);
    case FR_COMPLEX64:
        memcpy(single, from, 8);
        return PyComplex_FromDoubles(single[0], single[1]);
    default: break;
    }
    memcpy(&bits, from, bytes);
    if (!is_signed(dtype))
        return PyLong_FromUnsignedLongLong(bits);
    int unused = 64 - 8 * (int)bytes;
    return PyLong_FromLongLong((int64_t)(bits << unused) >> unused);
}

PyObject *py_to_number(fr_array *x)
{
    fr_view view;
    fr_array *held = fr_keep(x);
    PyObject *result = NULL;
    if (!py_eval(held))
        result = fr_access(held, &view) ? py_raise() : load_number(view.dtype, view.data);
    fr_free(held);
    return result;
}

static PyObject *list_of(const fr_view *view, int axis, const char *at)
{
    if (axis == view->ndim)
        return load_number(view->dtype, at);
    PyObject *list = PyList_New((Py_ssize_t)view->shape[axis]);
    for (int64_t i = 0; list && i < view->shape[axis]; i++) {
        PyObject *item = list_of(view, axis + 1, at + i * view->strides[axis]);
        if (!item)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyObject *py_to_list(fr_array *x)
{
    fr_view view;
    fr_array *held = fr_keep(x);
    PyObject *result = NULL;
    if (!py_eval(held))
        result = fr_access(held, &view) ? py_raise() : list_of(&view, 0, view.data);
    fr_free(held);
    return result;
}

/* ---- buffers -------------------------------------------------------------------------- */

bool py_is_buffer(PyObject *value)
{
    return PyObject_CheckBuffer(value) && !PyBytes_Check(value) && !PyByteArray_Check(value) &&
           !py_is_array(value);
}

/* The dtype of a struct-module format of one item; *wide: complex128. False: none. */
static bool dtype_of_format(const char *format, Py_ssize_t size, fr_dtype *to, bool *wide)
{
    static const fr_dtype unsigned_types[] = {
        [1] = FR_UINT8, [2] = FR_UINT16, [4] = FR_UINT32, [8] = FR_UINT64};
    static const fr_dtype signed_types[] = {
        [1] = FR_INT8, [2] = FR_INT16, [4] = FR_INT32, [8] = FR_INT64};
    *wide = false;
    if (!format)
        format = "B";
    if (*format == '@' || *format == '=' || *format == '<')
        format++;
    if (format[0] == 'Z' && (format[1] == 'f' || format[1] == 'd') && !format[2]) {
        *to = FR_COMPLEX64;
        *wide = format[1] == 'd';
        return true;
    }
    if (!format[0] || format[1])
        return false;
    bool sized = size == 1 || size == 2 || size == 4 || size == 8;
    switch (format[0]) {
    case '?': *to = FR_BOOL; return size == 1;
    case 'e': *to = FR_FLOAT16; return size == 2;
    case 'f': *to = FR_FLOAT32; return size == 4;
    case 'd': *to = FR_FLOAT64; return size == 8;
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
    case 'N': *to = sized ? unsigned_types[size] : FR_BOOL; return sized;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
    case 'n': *to = sized ? signed_types[size] : FR_BOOL; return sized;
    default: return false;
    }
}

/* Row-major doubles to floats, in place of a copy twice the size. */
static void narrow(float *to, const double *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static fr_array *copy_buffer(Py_buffer *buffer, bool double_to_float)
{
    fr_dtype dtype;
    bool wide;
    if (!dtype_of_format(buffer->format, buffer->itemsize, &dtype, &wide)) {
        PyErr_Format(PyExc_TypeError,
                     "array: elements of the buffer format '%s' have no dtype here",
                     buffer->format ? buffer->format : "");
        return NULL;
    }
    if (buffer->ndim > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "array: %d dimensions are more than %d", buffer->ndim,
                     FR_MAX_NDIM);
        return NULL;
    }
    int64_t shape[FR_MAX_NDIM], size = 1;
    for (int i = 0; i < buffer->ndim; i++)
        size *= shape[i] = buffer->shape[i];
    void *rows = NULL, *narrowed = NULL;
    const void *data = buffer->buf;
    if (!PyBuffer_IsContiguous(buffer, 'C')) {
        rows = PyMem_RawMalloc((size_t)buffer->len + 1);
        if (!rows || PyBuffer_ToContiguous(rows, buffer, buffer->len, 'C')) {
            if (!rows)
                PyErr_NoMemory();
            PyMem_RawFree(rows);
            return NULL;
        }
        data = rows;
    }
    fr_array *result = NULL;
    Py_BEGIN_ALLOW_THREADS bool enough = true;
    if (wide || (dtype == FR_FLOAT64 && double_to_float)) {
        int64_t values = wide ? 2 * size : size;
        narrowed = PyMem_RawMalloc((size_t)values * 4 + 1);
        enough = narrowed != NULL;
        if (enough) {
            narrow(narrowed, data, values);
            data = narrowed;
            dtype = wide ? FR_COMPLEX64 : FR_FLOAT32;
        }
    }
    if (enough)
        result = fr_own(fr_from_data(data, dtype, shape, buffer->ndim));
    else
        fr_error_set(FR_ERROR_MEMORY, "array: no memory for a copy of the buffer");
    Py_END_ALLOW_THREADS PyMem_RawFree(rows);
    PyMem_RawFree(narrowed);
    if (!result)
        py_raise();
    return result;
}

fr_array *py_from_buffer(PyObject *value, bool double_to_float)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(value, &buffer, PyBUF_FULL_RO))
        return py_name_error("array");
    fr_array *result = copy_buffer(&buffer, double_to_float);
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- nested lists --------------------------------------------------------------------- */

typedef struct nest {
    int64_t shape[FR_MAX_NDIM];
    int ndim;       /* known once the first number is reached */
    bool closed;    /* a number was reached: ndim stands */
    fr_dtype dtype; /* that all numbers so far fit */
    bool any;       /* there was a number */
} nest;

static bool is_list(PyObject *value) { return PyList_Check(value) || PyTuple_Check(value); }

static void widen(nest *n, fr_dtype dtype)
{
    n->dtype = n->any ? fr_promote(n->dtype, dtype) : dtype;
    n->any = true;
}

/* Arrays and buffers as leaves count with their own shape. */
static int measure_leaf(nest *n, int depth, PyObject *value, PyObject *kept);

static int measure_shape(nest *n, int depth, int rank, const int64_t *shape)
{
    if (depth + rank > FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "array: more than %d dimensions", FR_MAX_NDIM);
        return -1;
    }
    if (!n->closed) {
        for (int i = 0; i < rank; i++)
            n->shape[depth + i] = shape[i];
        n->ndim = depth + rank;
        n->closed = true;
        return 0;
    }
    if (n->ndim != depth + rank) {
        PyErr_Format(PyExc_ValueError,
                     "array: the lists are not rectangular: one element has %d dimension%s, "
                     "another %d",
                     n->ndim, n->ndim == 1 ? "" : "s", depth + rank);
        return -1;
    }
    for (int i = 0; i < rank; i++) {
        if (n->shape[depth + i] != shape[i]) {
            PyErr_Format(PyExc_ValueError,
                         "array: the lists are not rectangular: along axis %d one has %lld "
                         "elements, another %lld",
                         depth + i, (long long)n->shape[depth + i], (long long)shape[i]);
            return -1;
        }
    }
    return 0;
}

static int measure_leaf(nest *n, int depth, PyObject *value, PyObject *kept)
{
    if (PyBool_Check(value)) {
        widen(n, FR_BOOL);
    } else if (PyLong_Check(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (number == -1 && PyErr_Occurred())
            return -1;
        widen(n, overflow || number > INT32_MAX || number < INT32_MIN ? FR_INT64 : FR_INT32);
    } else if (PyFloat_Check(value)) {
        widen(n, FR_FLOAT32);
    } else if (PyComplex_Check(value)) {
        widen(n, FR_COMPLEX64);
    } else {
        bool buffer = py_is_buffer(value);
        if (!buffer && !py_is_array(value)) {
            PyErr_Format(PyExc_ValueError, "array: cannot make a number of %s",
                         Py_TYPE(value)->tp_name);
            return -1;
        }
        PyObject *leaf = value; /* kept as an array, in the order of the walk */
        if (buffer) {
            fr_array *made = py_from_buffer(value, true);
            leaf = made ? py_adopt(made) : NULL;
        } else {
            Py_INCREF(leaf);
        }
        if (!leaf)
            return -1;
        int failed = PyList_Append(kept, leaf);
        fr_array *x = py_node(leaf);
        Py_DECREF(leaf); /* the list has it */
        if (failed)
            return -1;
        widen(n, fr_dtype_of(x));
        return measure_shape(n, depth, fr_ndim(x), fr_shape(x));
    }
    return measure_shape(n, depth, 0, NULL);
}

static int measure(nest *n, int depth, PyObject *value, PyObject *kept)
{
    if (!is_list(value))
        return measure_leaf(n, depth, value, kept);
    if (depth >= FR_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "array: more than %d dimensions", FR_MAX_NDIM);
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    bool first = !n->closed && n->ndim <= depth;
    if (first) {
        n->shape[depth] = count;
        n->ndim = depth + 1;
    } else if (depth >= n->ndim || n->shape[depth] != count) {
        if (depth >= n->ndim)
            PyErr_Format(
                PyExc_ValueError,
                "array: the lists are not rectangular: a list where axis %d has numbers",
                depth);
        else
            PyErr_Format(PyExc_ValueError,
                         "array: the lists are not rectangular: along axis %d one has %lld "
                         "elements, another %zd",
                         depth, (long long)n->shape[depth], count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++)
        if (measure(n, depth + 1, PySequence_Fast_GET_ITEM(value, i), kept))
            return -1;
    if (!n->closed && n->ndim == depth + 1 && count == 0)
        n->closed = true; /* an empty list ends the axes */
    return 0;
}

/* Where the walk stores its next number. */
typedef struct filling {
    char *at, *end;
    fr_dtype dtype;
    PyObject *kept;
    Py_ssize_t next; /* of kept */
} filling;

static int fill_from_array(filling *f, fr_array *x)
{
    fr_array *cast = fr_own(fr_astype(x, f->dtype));
    if (!cast)
        return py_raise_int();
    size_t bytes = fr_nbytes(cast);
    int failed = f->end - f->at < (Py_ssize_t)bytes ? -1 : py_eval(cast);
    if (!failed && fr_copy_out(cast, f->at, bytes))
        failed = py_raise_int();
    fr_free(cast);
    f->at += bytes;
    return failed;
}

static int fill(filling *f, PyObject *value)
{
    if (is_list(value)) {
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++)
            if (fill(f, PySequence_Fast_GET_ITEM(value, i)))
                return -1;
        return 0;
    }
    if (!PyLong_Check(value) && !PyFloat_Check(value) && !PyComplex_Check(value)) {
        if (f->next >= PyList_GET_SIZE(f->kept))
            goto changed;
        return fill_from_array(f, py_node(PyList_GET_ITEM(f->kept, f->next++)));
    }
    if (f->at >= f->end)
        goto changed;
    if (store_number(value, f->dtype, f->at))
        return -1;
    f->at += fr_dtype_size(f->dtype);
    return 0;
changed:
    PyErr_SetString(PyExc_RuntimeError, "array: the list was changed while it was read");
    return -1;
}

static fr_array *from_list(PyObject *value, const fr_dtype *dtype)
{
    nest n = {.dtype = FR_FLOAT32};
    PyObject *kept = PyList_New(0);
    if (!kept)
        return NULL;
    fr_array *result = NULL;
    char *data = NULL;
    if (measure(&n, 0, value, kept))
        goto done;
    filling f = {.dtype = dtype ? *dtype : n.dtype, .kept = kept};
    size_t size = 1;
    for (int i = 0; i < n.ndim; i++)
        size *= (size_t)n.shape[i]; /* these elements exist: no overflow */
    size_t bytes = size * fr_dtype_size(f.dtype);
    data = PyMem_Calloc(bytes + 1, 1);
    if (!data) {
        PyErr_NoMemory();
        goto done;
    }
    f.at = data;
    f.end = data + bytes;
    if (fill(&f, value))
        goto done;
    result = fr_own(fr_from_data(data, f.dtype, n.shape, n.ndim));
    if (!result)
        py_raise();
done:
    PyMem_Free(data);
    Py_DECREF(kept);
    return result;
}

/* ---- anything ------------------------------------------------------------------------- */

/* The same values in another dtype; takes x over. */
static fr_array *converted(fr_array *x, const fr_dtype *dtype)
{
    if (!x || !dtype || fr_dtype_of(x) == *dtype)
        return x;
    fr_array *result = fr_own(fr_astype(x, *dtype));
    fr_free(x);
    if (!result)
        py_raise();
    return result;
}

fr_array *py_from_object(PyObject *value, const fr_dtype *dtype)
{
    if (py_is_array(value))
        return converted(fr_keep(py_node(value)), dtype);
    if (is_list(value) || PyLong_Check(value) || PyFloat_Check(value) || PyComplex_Check(value))
        return from_list(value, dtype);
    bool keep_double = dtype && *dtype == FR_FLOAT64;
    if (py_is_buffer(value) || PyBytes_Check(value) || PyByteArray_Check(value))
        return converted(py_from_buffer(value, !keep_double), dtype);
    fr_array *imported = py_from_dlpack(value); /* torch, jax ... */
    if (imported)
        return converted(imported, dtype);
    PyErr_Clear();
    PyObject *method = PyObject_GetAttrString(value, "__array__"); /* pandas ... */
    if (!method) {
        PyErr_Clear();
    } else {
        PyObject *made = PyType_Check(value) ? NULL : PyObject_CallNoArgs(method);
        Py_DECREF(method);
        if (made && py_is_buffer(made)) {
            fr_array *result = converted(py_from_buffer(made, !keep_double), dtype);
            Py_DECREF(made);
            return result;
        }
        Py_XDECREF(made);
        if (PyErr_Occurred())
            return NULL;
    }
    PyErr_Format(
        value == Py_None ? PyExc_TypeError : PyExc_ValueError,
        "array: wanted a number, nested lists of numbers, a buffer or an array, not %s",
        Py_TYPE(value)->tp_name);
    return NULL;
}
