/* programs.c - the programs of one function, and who finds them again
 *
 * Programs belong to the function, not to the object that mx.compile returns: compiling it
 * again finds them. They live as long as the function, or the function and the object of a bound
 * method. Functions with captured state share programs while they live and capture the same
 * containers.
 */
#include "compile.h"

#include <structmember.h>

static void programs_dealloc(PyObject *self)
{
    programs *p = (programs *)self;
    PyObject_GC_UnTrack(self);
    if (p->weak)
        PyObject_ClearWeakRefs(self);
    fr_function_free(p->function);
    Py_XDECREF(p->pinned);
    Py_XDECREF(p->patterns);
    Py_XDECREF(p->plain);
    Py_XDECREF(p->notes);
    if (p->lock)
        PyThread_free_lock(p->lock);
    PyObject_GC_Del(self);
}

static int programs_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((programs *)self)->pinned);
    return 0;
}

static int programs_clear(PyObject *self)
{
    Py_CLEAR(((programs *)self)->pinned);
    return 0;
}

static PyTypeObject programs_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule._core.programs",
    .tp_basicsize = sizeof(programs),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The programs of one compiled function.",
    .tp_dealloc = programs_dealloc,
    .tp_traverse = programs_traverse,
    .tp_clear = programs_clear,
    .tp_weaklistoffset = offsetof(programs, weak),
};

/* {id of the function, or (id of function, id of self): (programs, weak references ...)} */
static PyObject *known;

static PyObject *forget(PyObject *key, PyObject *reference)
{
    (void)reference;
    if (PyDict_DelItem(known, key))
        PyErr_Clear();
    Py_RETURN_NONE;
}

static PyMethodDef forget_method = {"forget", forget, METH_O, NULL};

static PyObject *programs_new(PyObject *fun, int options)
{
    PyObject *held;
    const char *name = py_name_of(fun, &held);
    programs *made = PyObject_GC_New(programs, &programs_type);
    if (made) {
        made->pinned = made->patterns = made->plain = made->notes = made->weak = NULL;
        made->lock = NULL;
        made->owner = 0;
        made->function = fr_function_new(name, 0);
        PyObject_GC_Track(made);
        if (!made->function) {
            py_raise();
            Py_CLEAR(made);
        } else {
            fr_function_strict(made->function, options & PY_STRICT);
            fr_function_shapeless(made->function, options & PY_SHAPELESS);
            fr_function_check(made->function, options & PY_CHECK);
        }
    }
    Py_XDECREF(held);
    return (PyObject *)made;
}

/* What must live for the programs to be of use: the function; of a bound method its self too. */
static int parts_of(PyObject *fun, PyObject *parts[2])
{
    parts[0] = fun;
    if (!PyMethod_Check(fun))
        return 1;
    parts[0] = PyMethod_GET_FUNCTION(fun);
    parts[1] = PyMethod_GET_SELF(fun);
    return 2;
}

/* The entry (programs, references) of a function not known yet; NULL without an exception: it
 * can't be referred to weakly, so its programs are its own. */
static PyObject *remember(PyObject *key, PyObject *made, PyObject *const *parts, int n)
{
    PyObject *callback = PyCFunction_New(&forget_method, key);
    PyObject *entry = callback ? PyTuple_New(n + 1) : NULL;
    for (int i = 0; entry && i < n; i++) {
        PyObject *reference = PyWeakref_NewRef(parts[i], callback);
        if (!reference) {
            if (PyErr_ExceptionMatches(PyExc_TypeError))
                PyErr_Clear();
            Py_CLEAR(entry);
        } else {
            PyTuple_SET_ITEM(entry, i + 1, reference);
        }
    }
    if (entry) {
        Py_INCREF(made);
        PyTuple_SET_ITEM(entry, 0, made);
        if (PyDict_SetItem(known, key, entry))
            Py_CLEAR(entry);
    }
    Py_XDECREF(callback);
    return entry;
}

PyObject *py_programs_of(PyObject *fun, int options)
{
    PyObject *parts[2];
    int n = parts_of(fun, parts);
    PyObject *key = n == 1 && !options
                        ? PyLong_FromVoidPtr(parts[0])
                        : Py_BuildValue("(NNi)", PyLong_FromVoidPtr(parts[0]),
                                        PyLong_FromVoidPtr(n == 1 ? NULL : parts[1]), options);
    if (!key)
        return NULL;
    PyObject *entry = PyDict_GetItemWithError(known, key), *made = NULL;
    if (entry) {
        made = PyTuple_GET_ITEM(entry, 0);
        Py_INCREF(made);
    } else if (!PyErr_Occurred() && (made = programs_new(fun, options))) {
        Py_XDECREF(remember(key, made, parts, n));
        if (PyErr_Occurred())
            Py_CLEAR(made);
    }
    Py_DECREF(key);
    return made;
}

PyObject *py_programs_of_state(PyObject *fun, PyObject *inputs, PyObject *outputs, int options)
{
    PyObject *parts[2] = {NULL, NULL}, *made = NULL;
    parts_of(fun, parts);
    PyObject *key =
        Py_BuildValue("(NNNNi)", PyLong_FromVoidPtr(parts[0]), PyLong_FromVoidPtr(parts[1]),
                      PyLong_FromVoidPtr(inputs), PyLong_FromVoidPtr(outputs), options);
    PyObject *entry = key ? PyDict_GetItemWithError(known, key) : NULL;
    if (entry && (made = PyWeakref_GetObject(entry)) != Py_None) {
        Py_DECREF(key);
        Py_INCREF(made);
        return made;
    }
    if (key && !PyErr_Occurred() && (made = programs_new(fun, options))) {
        PyObject *callback = PyCFunction_New(&forget_method, key);
        PyObject *reference = callback ? PyWeakref_NewRef(made, callback) : NULL;
        ((programs *)made)->lock = PyThread_allocate_lock();
        if (!((programs *)made)->lock)
            PyErr_NoMemory();
        if (PyErr_Occurred() || PyDict_SetItem(known, key, reference))
            Py_CLEAR(made);
        Py_XDECREF(reference);
        Py_XDECREF(callback);
    }
    Py_XDECREF(key);
    return made;
}

void py_programs_clear(programs *p)
{
    fr_function_clear(p->function);
    Py_CLEAR(p->patterns);
    Py_CLEAR(p->plain);
    Py_CLEAR(p->notes);
}

int py_programs_clear_all(void)
{
    PyObject *entries = PyDict_Values(known);
    for (Py_ssize_t i = 0; entries && i < PyList_GET_SIZE(entries); i++) {
        PyObject *entry = PyList_GET_ITEM(entries, i);
        PyObject *its =
            PyTuple_Check(entry) ? PyTuple_GET_ITEM(entry, 0) : PyWeakref_GetObject(entry);
        if (its && Py_IS_TYPE(its, &programs_type))
            py_programs_clear((programs *)its);
    }
    Py_XDECREF(entries);
    return entries ? 0 : -1;
}

int py_programs_init(void)
{
    if (PyType_Ready(&programs_type))
        return -1;
    if (!known)
        known = PyDict_New();
    return known ? 0 : -1;
}
