/* number.c - number arguments whose value doesn't matter to a trace: a learning rate
 *
 * Programs of one structure share all but their literals. So when a call differs from an earlier
 * one in plain numbers only, the function is traced once with objects in their place that are
 * good as operands of traced arrays and nothing else. If that ends well and gives the earlier
 * program but for those literals, any other value is a matter of writing it there.
 */
#include "ext.h"

#include <math.h>

typedef struct number {
    PyObject_HEAD PyObject *value;
    bool looked, retired;
} number;

PyObject *py_number_new(PyObject *value)
{
    number *made = PyObject_New(number, &py_number_type);
    if (!made)
        return NULL;
    Py_INCREF(value);
    made->value = value;
    made->looked = made->retired = false;
    return (PyObject *)made;
}

bool py_number_looked(PyObject *object)
{
    return ((number *)object)->looked || Py_REFCNT(object) > 1;
}

void py_number_retire(PyObject *object) { ((number *)object)->retired = true; }

static void number_dealloc(PyObject *self)
{
    Py_DECREF(((number *)self)->value);
    PyObject_Free(self);
}

/* ---- what may be done with one ---------------------------------------------------------- */

static PyObject *look(PyObject *self)
{
    ((number *)self)->looked = true;
    PyErr_SetString(py_trace_error,
                    ((number *)self)->retired
                        ? "compile: a number argument was kept by the function that was traced"
                        : "compile: the function looks at the value of a number argument");
    return NULL;
}

typedef fr_array *binary_fn(fr_array *x, fr_array *y);

static PyObject *operate(binary_fn *function, PyObject *left, PyObject *right)
{
    bool first = Py_IS_TYPE(left, &py_number_type);
    PyObject *self = first ? left : right, *other = first ? right : left;
    number *x = (number *)self;
    if (x->retired || !py_is_array(other) || !fr_is_traced(py_node(other)))
        return look(self);
    fr_array *owned, *operand = py_operand(x->value, &owned);
    if (!operand)
        return NULL;
    fr_array *y = py_node(other);
    PyObject *result = py_wrap(first ? function(operand, y) : function(y, operand));
    fr_free(owned);
    return result;
}

#define OPERATOR(name)                                                                         \
    static PyObject *number_##name(PyObject *left, PyObject *right)                            \
    {                                                                                          \
        return operate(fr_##name, left, right);                                                \
    }
OPERATOR(add)
OPERATOR(sub)
OPERATOR(mul)
OPERATOR(div)

static PyObject *look_binary(PyObject *left, PyObject *right)
{
    return look(Py_IS_TYPE(left, &py_number_type) ? left : right);
}

static PyObject *look_power(PyObject *left, PyObject *right, PyObject *modulo)
{
    PyObject *self = Py_IS_TYPE(left, &py_number_type)    ? left
                     : Py_IS_TYPE(right, &py_number_type) ? right
                                                          : modulo;
    return look(self);
}

static int look_int(PyObject *self) { return look(self), -1; }
static Py_hash_t look_hash(PyObject *self) { return look(self), -1; }

static PyObject *look_compare(PyObject *self, PyObject *other, int operator)
{
    (void)other;
    (void)operator;
    return look(self);
}

/* isinstance asks for __class__. */
static PyObject *look_attribute(PyObject *self, PyObject *name)
{
    (void)name;
    return look(self);
}

static PyNumberMethods number_methods = {
    .nb_add = number_add,
    .nb_subtract = number_sub,
    .nb_multiply = number_mul,
    .nb_true_divide = number_div,
    .nb_floor_divide = look_binary,
    .nb_remainder = look_binary,
    .nb_divmod = look_binary,
    .nb_power = look_power,
    .nb_lshift = look_binary,
    .nb_rshift = look_binary,
    .nb_and = look_binary,
    .nb_or = look_binary,
    .nb_xor = look_binary,
    .nb_matrix_multiply = look_binary,
    .nb_negative = look,
    .nb_positive = look,
    .nb_absolute = look,
    .nb_invert = look,
    .nb_bool = look_int,
    .nb_int = look,
    .nb_float = look,
    .nb_index = look,
};

PyTypeObject py_number_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule._core.number",
    .tp_basicsize = sizeof(number),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A number argument while a function is traced.",
    .tp_dealloc = number_dealloc,
    .tp_as_number = &number_methods,
    .tp_repr = look,
    .tp_str = look,
    .tp_hash = look_hash,
    .tp_richcompare = look_compare,
    .tp_getattro = look_attribute,
};

/* ---- which numbers of a call ------------------------------------------------------------- */

/* Simplification looks at these (as capture does): they stay what they are. */
static bool looked_at(bool whole, double v)
{
    double m = fabs(v);
    if (whole)
        return m <= 2 || m > INT32_MAX;
    return m == 0 || m == 0.5 || m == 1 || m == 2 || !isfinite(v);
}

static size_t describe_inputs(const py_flat *flat, int64_t *to)
{
    size_t n = 0;
    for (int i = 0; i < flat->n; i++) {
        const fr_array *x = flat->arrays[i];
        int ndim = fr_ndim(x);
        if (to)
            to[n] = (int64_t)fr_dtype_of(x) << 8 | (int64_t)ndim << 1 | fr_is_weak(x);
        n++;
        for (int d = 0; d < ndim; d++, n++)
            if (to)
                to[n] = fr_shape(x)[d];
    }
    return n;
}

int py_numbers_read(py_numbers *numbers, const py_flat *flat, uint32_t plain)
{
    *numbers = (py_numbers){.n = flat->numbers < PY_NUMBERS ? flat->numbers : PY_NUMBERS};
    for (int i = 0; i < numbers->n; i++) {
        const char *at = flat->key + flat->number_at[i];
        long long whole;
        if (*at == 'i') {
            memcpy(&whole, at + 1, sizeof whole);
            numbers->value[i] = (double)whole;
        } else if (*at == 'd') {
            memcpy(&numbers->value[i], at + 1, sizeof numbers->value[i]);
        } else {
            continue;
        }
        numbers->whole[i] = *at == 'i';
        if (!(plain & 1u << i) && !looked_at(numbers->whole[i], numbers->value[i]))
            numbers->vary |= 1u << i;
    }
    if (!numbers->vary)
        return 0;
    size_t words = describe_inputs(flat, NULL);
    Py_ssize_t bytes = (Py_ssize_t)(flat->key_bytes + words * sizeof(int64_t));
    int64_t *inputs = PyMem_Malloc((words + 1) * sizeof *inputs);
    numbers->pattern = inputs ? PyBytes_FromStringAndSize(NULL, bytes) : PyErr_NoMemory();
    if (numbers->pattern) {
        char *to = PyBytes_AS_STRING(numbers->pattern);
        memcpy(to, flat->key, flat->key_bytes);
        describe_inputs(flat, inputs);
        memcpy(to + flat->key_bytes, inputs, words * sizeof *inputs);
        for (int i = 0; i < numbers->n; i++)
            if (numbers->vary & 1u << i) {
                to[flat->number_at[i]] = numbers->whole[i] ? '#' : '?';
                memset(to + flat->number_at[i] + 1, 0, sizeof(double));
            }
    }
    PyMem_Free(inputs);
    return numbers->pattern ? 0 : -1;
}
