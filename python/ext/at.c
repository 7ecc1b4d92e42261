/* at.c - x.at[index].add(value) and its kin: every update counts, also of places named twice
 *
 * needs   an array, an index, a value
 * gives   ArrayAt, what x.at is; new arrays
 */
#include "index.h"

typedef struct array_at {
    PyObject_HEAD PyObject *array;
    PyObject *index; /* NULL: none was given yet */
} array_at;

static PyTypeObject array_at_type;

static PyObject *new_at(PyObject *array, PyObject *index)
{
    array_at *at = PyObject_New(array_at, &array_at_type);
    if (!at)
        return NULL;
    Py_INCREF(array);
    Py_XINCREF(index);
    at->array = array;
    at->index = index;
    return (PyObject *)at;
}

PyObject *py_get_at(PyObject *array, void *closure)
{
    (void)closure;
    return new_at(array, NULL);
}

static PyObject *at_subscript(PyObject *self, PyObject *index)
{
    return new_at(((array_at *)self)->array, index);
}

static void at_free(PyObject *self)
{
    Py_DECREF(((array_at *)self)->array);
    Py_XDECREF(((array_at *)self)->index);
    PyObject_Free(self);
}

static PyObject *update(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names,
                        const char *name, py_update how)
{
    array_at *at = (array_at *)self;
    py_signature signature = {name, 1, 1, 0, {"value", NULL}};
    PyObject *slots[1];
    if (py_parse(&signature, args, n, names, slots))
        return NULL;
    if (!at->index) {
        PyErr_Format(PyExc_ValueError, "x.at has no index: x.at[i].%s(value)", name);
        return NULL;
    }
    fr_array *x = fr_keep(py_node(at->array));
    fr_array *result = py_index_update(x, at->index, slots[0], how);
    fr_free(x);
    return result ? py_adopt(result) : py_name_error(name);
}

#define UPDATE(name, how)                                                                      \
    static PyObject *at_##name(PyObject *self, PyObject *const *args, Py_ssize_t n,            \
                               PyObject *names)                                                \
    {                                                                                          \
        return update(self, args, n, names, #name, how);                                       \
    }
UPDATE(add, PY_ADD)
UPDATE(subtract, PY_SUBTRACT)
UPDATE(multiply, PY_MULTIPLY)
UPDATE(divide, PY_DIVIDE)
UPDATE(maximum, PY_MAXIMUM)
UPDATE(minimum, PY_MINIMUM)

#define DOC(name, what)                                                                        \
#name "($self, /, value)\n--\n\nThe array with " what                                      \
          ", once for each time that the index names it."
static PyMethodDef at_methods[] = {
    PY_METHOD("add", at_add, DOC(add, "value added at the index")),
    PY_METHOD("subtract", at_subtract, DOC(subtract, "value taken away at the index")),
    PY_METHOD("multiply", at_multiply, DOC(multiply, "what is at the index times value")),
    PY_METHOD("divide", at_divide,
              DOC(divide, "what is at the index divided by value (integers: cut off)")),
    PY_METHOD("maximum", at_maximum, DOC(maximum, "value where it is larger at the index")),
    PY_METHOD("minimum", at_minimum, DOC(minimum, "value where it is smaller at the index")),
    PY_END,
};

static PyMappingMethods at_mapping = {.mp_subscript = at_subscript};

static PyTypeObject array_at_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.ArrayAt",
    .tp_doc =
        "What x.at is: x.at[index].add(value) gives a new array to which value is added as "
        "often\nas the index names a place.",
    .tp_basicsize = sizeof(array_at),
    .tp_dealloc = at_free,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_mapping = &at_mapping,
    .tp_methods = at_methods,
};

int py_at_init(PyObject *module)
{
    if (PyType_Ready(&array_at_type))
        return -1;
    Py_INCREF(&array_at_type);
    if (PyModule_AddObject(module, "ArrayAt", (PyObject *)&array_at_type)) {
        Py_DECREF(&array_at_type);
        return -1;
    }
    return 0;
}
