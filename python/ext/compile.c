/* compile.c - mx.compile: a function of arrays whose program is kept
 *
 *   call -> flatten arguments -> find the program of this key, these dtypes and shapes
 *        -> there is none: trace: run the function with placeholders, once
 *        -> run the program without the GIL -> rebuild the result
 *
 * needs   a callable
 * gives   one that behaves like it (name, signature, attributes, binding as a method)
 *
 * Programs belong to the function, not to the object that mx.compile returns: compiling it
 * again finds them. They live as long as the function, or the function and the object of a bound
 * method, and hold nothing of Python's but constants of results and types in keys.
 */
#include "ext.h"

#include <frameobject.h>
#include <structmember.h>

/* ---- the programs of one function ----------------------------------------------------- */

typedef struct programs {
    PyObject_HEAD fr_function *function;
    PyObject *pinned; /* types whose address is in a key: a set, or NULL */
} programs;

static void programs_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    fr_function_free(((programs *)self)->function);
    Py_XDECREF(((programs *)self)->pinned);
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

static PyObject *programs_new(PyObject *fun)
{
    PyObject *name = PyObject_GetAttrString(fun, "__name__");
    if (!name)
        PyErr_Clear();
    const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
    if (!text) {
        PyErr_Clear();
        text = Py_TYPE(fun)->tp_name;
    }
    programs *made = PyObject_GC_New(programs, &programs_type);
    if (made) {
        made->pinned = NULL;
        made->function = fr_function_new(text, 0);
        PyObject_GC_Track(made);
        if (!made->function) {
            py_raise();
            Py_CLEAR(made);
        }
    }
    Py_XDECREF(name);
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

static PyObject *programs_of(PyObject *fun)
{
    PyObject *parts[2];
    int n = parts_of(fun, parts);
    PyObject *key = n == 1 ? PyLong_FromVoidPtr(parts[0])
                           : Py_BuildValue("(NN)", PyLong_FromVoidPtr(parts[0]),
                                           PyLong_FromVoidPtr(parts[1]));
    if (!key)
        return NULL;
    PyObject *entry = PyDict_GetItemWithError(known, key), *made = NULL;
    if (entry) {
        made = PyTuple_GET_ITEM(entry, 0);
        Py_INCREF(made);
    } else if (!PyErr_Occurred() && (made = programs_new(fun))) {
        Py_XDECREF(remember(key, made, parts, n));
        if (PyErr_Occurred())
            Py_CLEAR(made);
    }
    Py_DECREF(key);
    return made;
}

/* ---- a compiled function -------------------------------------------------------------- */

typedef struct compiled {
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun;
    programs *programs;
    PyObject *attributes; /* its __dict__, or NULL */
    PyObject *weak;
} compiled;

/* "train.py:31" of the innermost Python frame. */
static void caller_text(char *to, size_t room)
{
    to[0] = 0;
    PyFrameObject *frame = PyEval_GetFrame();
    if (!frame)
        return;
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    if (file) {
        const char *base = strrchr(file, '/');
        PyOS_snprintf(to, room, "%.200s:%d", base ? base + 1 : file,
                      PyFrame_GetLineNumber(frame));
    } else {
        PyErr_Clear();
    }
    Py_DECREF(code);
}

static const char *name_of(PyObject *fun, PyObject **held)
{
    *held = PyObject_GetAttrString(fun, "__name__");
    const char *name = *held && PyUnicode_Check(*held) ? PyUnicode_AsUTF8(*held) : NULL;
    PyErr_Clear();
    return name ? name : Py_TYPE(fun)->tp_name;
}

/* Runs the function with placeholders; its result. */
static PyObject *call_with(PyObject *fun, PyObject *const *args, Py_ssize_t n, PyObject *names,
                           fr_array *const *placeholders)
{
    PyObject *list = py_rebuild_call(args, n, names, placeholders);
    if (!list)
        return NULL;
    PyObject *all = PyList_AsTuple(list); /* out of anyone's reach while it runs */
    Py_DECREF(list);
    if (!all)
        return NULL;
    PyObject *result = PyObject_Vectorcall(fun, &PyTuple_GET_ITEM(all, 0), (size_t)n, names);
    Py_DECREF(all);
    return result;
}

static int pin_types(programs *p, PyObject *types)
{
    if (!types)
        return 0;
    if (!p->pinned && !(p->pinned = PySet_New(NULL)))
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(types); i++)
        if (PySet_Add(p->pinned, PyList_GET_ITEM(types, i)))
            return -1;
    return 0;
}

/* Ends the trace with the function's result: the program, a reference of the caller's. */
static fr_program *end_trace(compiled *self, fr_trace *trace, const py_flat *flat,
                             PyObject *result)
{
    py_flat outputs;
    PyObject *held;
    py_flat_begin(&outputs);
    const char *name = name_of(self->fun, &held);
    py_structure *structure = py_split_result(result, name, &outputs);
    Py_XDECREF(held);
    if (!structure || pin_types(self->programs, flat->pinned)) {
        fr_trace_abandon(trace);
        py_flat_end(&outputs);
        if (structure)
            py_structure_release(structure);
        return NULL;
    }
    fr_program *program =
        fr_trace_end(trace, flat->key, flat->key_bytes, outputs.n, outputs.arrays);
    py_flat_end(&outputs);
    if (!program) {
        py_structure_release(structure);
        py_raise();
        return NULL;
    }
    fr_program_attach(program, structure, py_structure_release);
    return program;
}

static fr_program *trace(compiled *self, const py_flat *flat, PyObject *const *args,
                         Py_ssize_t n, PyObject *names)
{
    char origin[256];
    caller_text(origin, sizeof origin);
    fr_array *few[8], **placeholders = few;
    if (flat->n > 8) {
        placeholders = PyMem_Malloc((size_t)flat->n * sizeof *placeholders);
        if (!placeholders) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    fr_program *program = NULL;
    fr_trace *begun = fr_trace_begin(self->programs->function, flat->n, flat->arrays,
                                     placeholders, origin[0] ? origin : NULL);
    if (!begun) {
        py_raise();
    } else {
        PyObject *result = call_with(self->fun, args, n, names, placeholders);
        if (result)
            program = end_trace(self, begun, flat, result);
        else
            fr_trace_abandon(begun);
        if (!program && fr_error() != FR_OK)
            py_raise();
        Py_XDECREF(result);
        for (int i = 0; i < flat->n; i++)
            fr_free(placeholders[i]);
    }
    if (placeholders != few)
        PyMem_Free(placeholders);
    return program;
}

static PyObject *run(fr_program *program, const py_flat *flat)
{
    fr_array *few[16], **out = few;
    int n_out = fr_program_outputs(program);
    if (n_out > 16) {
        out = PyMem_Malloc((size_t)n_out * sizeof *out);
        if (!out)
            return PyErr_NoMemory();
    }
    int failed;
    Py_BEGIN_ALLOW_THREADS failed = fr_program_run(program, flat->n, flat->arrays, n_out, out);
    Py_END_ALLOW_THREADS PyObject *result = NULL;
    if (failed) {
        py_raise();
    } else {
        for (int i = 0; i < n_out; i++)
            out[i] = fr_own(out[i]);
        result = py_join_result(fr_program_attached(program), out);
    }
    if (out != few)
        PyMem_Free(out);
    return result;
}

static bool any_traced(const py_flat *flat)
{
    for (int i = 0; i < flat->n; i++)
        if (fr_is_traced(flat->arrays[i]))
            return true;
    return false;
}

static bool any_pending(const py_flat *flat)
{
    for (int i = 0; i < flat->n; i++)
        if (!fr_is_done(flat->arrays[i]))
            return true;
    return false;
}

static PyObject *compiled_call(PyObject *object, PyObject *const *args, size_t nargs,
                               PyObject *names)
{
    compiled *self = (compiled *)object;
    if (!fr_compile_enabled())
        return PyObject_Vectorcall(self->fun, args, nargs, names);
    py_structure_sweep();
    Py_ssize_t n = PyVectorcall_NARGS(nargs);
    PyObject *result = NULL;
    py_flat flat;
    py_flat_begin(&flat);
    if (py_flatten_call(&flat, args, n, names))
        goto done;
    if (any_traced(&flat)) { /* a compiled function within another: part of its graph */
        result = PyObject_Vectorcall(self->fun, args, nargs, names);
        goto done;
    }
    if (any_pending(&flat) &&
        py_eval_all(flat.n, flat.arrays)) /* while others may use the GIL */
        goto done;
    fr_program *program = fr_function_find(self->programs->function, flat.key, flat.key_bytes,
                                           flat.n, flat.arrays);
    bool new = !program;
    if (new &&fr_error() != FR_OK) {
        py_raise();
        goto done;
    }
    if (new)
        program = trace(self, &flat, args, n, names);
    if (program) {
        result = run(program, &flat);
        fr_program_free(program);
        if (new &&result && py_warn())
            Py_CLEAR(result);
    }
done:
    py_flat_end(&flat);
    return result;
}

/* ---- the object ----------------------------------------------------------------------- */

static int compiled_traverse(PyObject *object, visitproc visit, void *arg)
{
    compiled *self = (compiled *)object;
    Py_VISIT(self->fun);
    Py_VISIT((PyObject *)self->programs);
    Py_VISIT(self->attributes);
    return 0;
}

static int compiled_clear(PyObject *object)
{
    /* fun and programs stay until the end: a call from a finalizer finds them */
    Py_CLEAR(((compiled *)object)->attributes);
    return 0;
}

static void compiled_dealloc(PyObject *object)
{
    compiled *self = (compiled *)object;
    PyObject_GC_UnTrack(object);
    if (self->weak)
        PyObject_ClearWeakRefs(object);
    Py_XDECREF(self->attributes);
    Py_XDECREF((PyObject *)self->programs);
    Py_XDECREF(self->fun);
    PyObject_GC_Del(object);
}

static PyObject *compiled_repr(PyObject *object)
{
    return PyUnicode_FromFormat("<compiled %R>", ((compiled *)object)->fun);
}

/* What the object itself doesn't have is asked of the function. */
static PyObject *compiled_getattro(PyObject *object, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(object, name);
    if (found || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return PyObject_GetAttr(((compiled *)object)->fun, name);
}

static PyObject *compiled_bind(PyObject *object, PyObject *instance, PyObject *type)
{
    (void)type;
    if (instance && instance != Py_None)
        return PyMethod_New(object, instance);
    Py_INCREF(object);
    return object;
}

static PyObject *get_wrapped(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *fun = ((compiled *)object)->fun;
    Py_INCREF(fun);
    return fun;
}

static PyObject *get_doc(PyObject *object, void *closure)
{
    (void)closure;
    return PyObject_GetAttrString(((compiled *)object)->fun, "__doc__");
}

static PyGetSetDef compiled_attributes[] = {
    {"__wrapped__", get_wrapped, NULL, NULL, NULL},
    {"__doc__", get_doc, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject py_compiled_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.compiled",
    .tp_basicsize = sizeof(compiled),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(compiled, call),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = compiled_dealloc,
    .tp_traverse = compiled_traverse,
    .tp_clear = compiled_clear,
    .tp_repr = compiled_repr,
    .tp_getattro = compiled_getattro,
    .tp_setattro = PyObject_GenericSetAttr,
    .tp_descr_get = compiled_bind,
    .tp_dictoffset = offsetof(compiled, attributes),
    .tp_weaklistoffset = offsetof(compiled, weak),
    .tp_getset = compiled_attributes,
};

/* ---- functions ------------------------------------------------------------------------ */

static PyObject *call_compile(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    static const py_signature signature = {"compile", 1, 1, 0, {"fun", NULL}};
    PyObject *fun;
    if (py_parse(&signature, args, n, names, &fun))
        return NULL;
    if (!PyCallable_Check(fun)) {
        PyErr_Format(PyExc_TypeError, "compile: wanted a function, not %s",
                     Py_TYPE(fun)->tp_name);
        return NULL;
    }
    if (Py_IS_TYPE(fun, &py_compiled_type)) {
        Py_INCREF(fun);
        return fun;
    }
    PyObject *of_function = programs_of(fun);
    if (!of_function)
        return NULL;
    compiled *made = PyObject_GC_New(compiled, &py_compiled_type);
    if (!made) {
        Py_DECREF(of_function);
        return NULL;
    }
    Py_INCREF(fun);
    made->call = compiled_call;
    made->fun = fun;
    made->programs = (programs *)of_function;
    made->attributes = made->weak = NULL;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static PyObject *call_enable_compile(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    fr_compile_enable(true);
    Py_RETURN_NONE;
}

static PyObject *call_disable_compile(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    fr_compile_enable(false);
    Py_RETURN_NONE;
}

PyMethodDef py_compile_functions[] = {
    PY_METHOD(
        "compile", call_compile,
        "compile(fun)\n--\n\n"
        "A function with the same results, traced once for each combination of its\n"
        "arguments' structure, constants, dtypes and shapes: afterwards its program runs."),
    {"enable_compile", call_enable_compile, METH_NOARGS,
     "enable_compile()\n--\n\ncompiled functions run their programs"},
    {"disable_compile", call_disable_compile, METH_NOARGS,
     "disable_compile()\n--\n\ncompiled functions run their function as it stands"},
    PY_END,
};

int py_compile_init(PyObject *module)
{
    (void)module;
    if (PyType_Ready(&programs_type) || PyType_Ready(&py_compiled_type))
        return -1;
    if (!known)
        known = PyDict_New();
    return known ? 0 : -1;
}
