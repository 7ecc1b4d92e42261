/* compile.c - mx.compile: a function of arrays whose program is kept
 *
 *   call -> flatten arguments and captured inputs
 *        -> find the program of this key, these dtypes and shapes
 *        -> there is none: one that differs in numbers only? else
 *           trace: run the function with placeholders, once
 *        -> run the program without the GIL -> rebuild the result, write captured outputs
 *
 * needs   a callable
 * gives   one that behaves like it (name, signature, attributes, binding as a method)
 *
 * Programs belong to the function, not to the object that mx.compile returns: compiling it
 * again finds them. They live as long as the function, or the function and the object of a bound
 * method, and hold nothing of Python's but constants of results and types in keys. Functions
 * with captured state share programs while they live and capture the same containers.
 */
#include "compile.h"

#include <frameobject.h>
#include <structmember.h>

/* ---- a compiled function -------------------------------------------------------------- */

/* "train.py:31" of the innermost Python frame. */
void py_caller_text(char *to, size_t room)
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

const char *py_name_of(PyObject *fun, PyObject **held)
{
    *held = PyObject_GetAttrString(fun, "__name__");
    const char *name = *held && PyUnicode_Check(*held) ? PyUnicode_AsUTF8(*held) : NULL;
    PyErr_Clear();
    return name ? name : Py_TYPE(fun)->tp_name;
}

/* Runs the function with placeholders; its result. */
static PyObject *call_with(const call *c, fr_array *const *placeholders,
                           PyObject *const *numbers)
{
    PyObject *list = py_rebuild_call(c->args, c->n, c->names, placeholders, numbers);
    if (!list)
        return NULL;
    PyObject *all = PyList_AsTuple(list); /* out of anyone's reach while it runs */
    Py_DECREF(list);
    if (!all)
        return NULL;
    PyObject *result =
        PyObject_Vectorcall(c->self->fun, &PyTuple_GET_ITEM(all, 0), (size_t)c->n, c->names);
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

/* Runs the function and takes apart what it gave: its result, and what captured outputs hold. */
static py_structure *run_traced(call *c, fr_array *const *placeholders,
                                PyObject *const *numbers, py_flat *outputs)
{
    compiled *self = c->self;
    py_saved saved;
    if (c->seen && py_state_enter(&saved, c->seen, self->outputs, placeholders + c->arguments))
        return NULL;
    PyObject *result = call_with(c, placeholders, numbers), *held;
    py_structure *structure = NULL;
    if (result) {
        const char *name = py_name_of(self->fun, &held);
        structure = py_split_result(result, name, outputs);
        Py_XDECREF(held);
        if (structure && self->outputs &&
            py_state_split(structure, self->outputs, &saved, outputs)) {
            py_release_now(structure);
            structure = NULL;
        }
    }
    if (c->seen)
        py_state_leave(&saved);
    Py_XDECREF(result);
    return structure;
}

static int note_about(call *c, py_structure *structure)
{
    PyObject *signature =
        py_signature_of_call(c->args, c->n, c->names, c->seen ? c->self->inputs : NULL);
    PyObject *about = signature ? py_about(c->self->programs->function, signature) : NULL;
    Py_XDECREF(signature);
    *py_structure_about(structure) = about;
    return about ? 0 : -1;
}

/* Traces into `function`: self's own, or one for a trial. numbers: see py_rebuild_call. */
static fr_program *trace_into(call *c, fr_function *function, PyObject *const *numbers,
                              fr_array **placeholders, bool *hides)
{
    char origin[256];
    py_caller_text(origin, sizeof origin);
    fr_trace *begun =
        fr_trace_begin_call(function, c->flat.key, c->flat.key_bytes, c->flat.n, c->flat.arrays,
                            placeholders, origin[0] ? origin : NULL);
    if (!begun) {
        py_raise();
        return NULL;
    }
    *hides = fr_trace_hides_sizes(begun);
    fr_program *program = NULL;
    py_flat outputs;
    py_flat_begin(&outputs);
    py_structure *structure = run_traced(c, placeholders, numbers, &outputs);
    c->taped |= structure && py_any_taped(&outputs);
    if (structure && (c->taped || pin_types(c->self->programs, c->flat.pinned) ||
                      (!numbers && note_about(c, structure)))) {
        py_release_now(structure);
        structure = NULL;
    }
    if (!structure)
        fr_trace_refuse(begun, c->flat.key, c->flat.key_bytes);
    else
        program =
            fr_trace_end(begun, c->flat.key, c->flat.key_bytes, outputs.n, outputs.arrays);
    py_flat_end(&outputs);
    if (program) {
        fr_program_attach(program, structure, py_release_now);
        if (py_note_places(program, c->self->fun, *py_structure_about(structure)))
            PyErr_Clear(); /* a text less */
    } else if (structure)
        py_release_now(structure);
    if (!program && !c->taped && !*hides && (fr_error() != FR_OK || !PyErr_Occurred()))
        py_raise();
    for (int i = 0; i < c->flat.n; i++)
        fr_free(placeholders[i]);
    return program;
}

fr_program *py_trace_call(call *c, fr_function *function, PyObject *const *numbers)
{
    fr_array *few[8], **placeholders = few;
    if (c->flat.n > 8 &&
        !(placeholders = PyMem_Malloc((size_t)c->flat.n * sizeof *placeholders))) {
        PyErr_NoMemory();
        return NULL;
    }
    bool hides = false, again = false;
    fr_program *program = trace_into(c, function, numbers, placeholders, &hides);
    if (!program && hides &&
        (!PyErr_Occurred() || (PyErr_ExceptionMatches(PyExc_Exception) &&
                               !PyErr_ExceptionMatches(PyExc_MemoryError)))) {
        /* It asked for a size, or can't be told for all: traced for each. */
        PyErr_Clear();
        fr_error_clear();
        program = trace_into(c, function, numbers, placeholders, &again);
    }
    if (!program && again && !PyErr_Occurred())
        py_raise();
    if (placeholders != few)
        PyMem_Free(placeholders);
    return program;
}

/* ---- a call -------------------------------------------------------------------------------- */

static PyObject *run(fr_program *program, const call *c)
{
    fr_array *few[16], **out = few;
    int n_out = fr_program_outputs(program);
    if (n_out > 16) {
        out = PyMem_Malloc((size_t)n_out * sizeof *out);
        if (!out)
            return PyErr_NoMemory();
    }
    bool *which;
    if (py_claim(c, program, &which)) {
        if (out != few)
            PyMem_Free(out);
        return NULL;
    }
    int failed;
    py_listen();
    Py_BEGIN_ALLOW_THREADS;
    failed = which
                 ? fr_program_run_claimed(program, c->flat.n, c->flat.arrays, n_out, out, which)
                 : fr_program_run(program, c->flat.n, c->flat.arrays, n_out, out);
    Py_END_ALLOW_THREADS;
    PyMem_Free(which);
    PyObject *result = NULL;
    if (failed) {
        py_raise();
    } else {
        const py_structure *structure = fr_program_attached(program);
        for (int i = 0; i < n_out; i++)
            out[i] = fr_own(out[i]);
        result = py_join_result(structure, out);
        int at = py_structure_arrays(structure);
        if (!result)
            for (; at < n_out; at++)
                fr_free(out[at]);
        else if (c->self->outputs &&
                 py_state_write(structure, c->self->outputs, c->seen, out + at))
            Py_CLEAR(result);
    }
    if (out != few)
        PyMem_Free(out);
    return result;
}

static PyObject *call_inline(const call *c)
{
    return PyObject_Vectorcall(c->self->fun, c->args, (size_t)c->n, c->names);
}

static PyObject *call_program(call *c)
{
    compiled *self = c->self;
    if (py_flatten_call(&c->flat, c->args, c->n, c->names))
        return NULL;
    c->arguments = c->flat.n;
    if (self->inputs && py_flatten_state(&c->flat, self->inputs, c->seen))
        return NULL;
    unsigned any = fr_any_is(c->flat.n, c->flat.arrays);
    if (fr_is_tracing() || any & (FR_ANY_TRACED | FR_ANY_TAPED))
        return call_inline(c); /* a compiled function within another: part of its graph */
    if (any & FR_ANY_PENDING &&
        py_eval_all(c->flat.n, c->flat.arrays, false)) /* while others may use the GIL */
        return NULL;
    fr_function *function = self->programs->function;
    fr_program *program =
        fr_function_find(function, c->flat.key, c->flat.key_bytes, c->flat.n, c->flat.arrays);
    bool new = !program;
    if (new &&fr_error() != FR_OK)
        return py_raise();
    if (new && c->flat.numbers)
        program = py_by_numbers(c);
    if (!program && !PyErr_Occurred())
        program = py_trace_call(c, function, NULL);
    if (!program && fr_is_tracing() && PyErr_ExceptionMatches(py_trace_error)) {
        PyErr_Clear(); /* it uses placeholders of the trace around it */
        return call_inline(c);
    }
    if (!program && c->taped && !PyErr_Occurred())
        return call_inline(c);
    if (!program)
        return NULL;
    PyObject *result = run(program, c);
    fr_program_free(program);
    if (new &&result && py_warn())
        Py_CLEAR(result);
    return result;
}

/* One call at a time: the containers are everyone's. */
static PyObject *call_with_state(call *c)
{
    programs *p = c->self->programs;
    unsigned long me = PyThread_get_thread_ident();
    if (p->owner == me) /* the function calls itself */
        return call_inline(c);
    if (!PyThread_acquire_lock(p->lock, NOWAIT_LOCK)) {
        Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(p->lock, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    p->owner = me;
    py_seen seen;
    c->seen = &seen;
    PyObject *result = py_seen_begin(&seen) ? NULL : call_program(c);
    p->owner = 0;
    PyThread_release_lock(p->lock);
    py_seen_end(&seen);
    return result;
}

static PyObject *compiled_call(PyObject *object, PyObject *const *args, size_t nargs,
                               PyObject *names)
{
    compiled *self = (compiled *)object;
    if (!fr_compile_enabled())
        return PyObject_Vectorcall(self->fun, args, nargs, names);
    py_release_sweep();
    call c;
    c.self = self;
    c.args = args;
    c.n = PyVectorcall_NARGS(nargs);
    c.names = names;
    c.seen = NULL;
    c.taped = false;
    py_flat_begin(&c.flat);
    PyObject *result = self->inputs || self->outputs ? call_with_state(&c) : call_program(&c);
    py_flat_end(&c.flat);
    return result;
}

/* ---- the object ----------------------------------------------------------------------- */

static int compiled_traverse(PyObject *object, visitproc visit, void *arg)
{
    compiled *self = (compiled *)object;
    Py_VISIT(self->fun);
    Py_VISIT(self->inputs);
    Py_VISIT(self->outputs);
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
    Py_XDECREF((PyObject *)self->programs); /* before what its key tells by address */
    Py_XDECREF(self->inputs);
    Py_XDECREF(self->outputs);
    Py_XDECREF(self->fun);
    PyObject_GC_Del(object);
}

static PyObject *compiled_repr(PyObject *object)
{
    return PyUnicode_FromFormat("<compiled %R>", ((compiled *)object)->fun);
}

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
    .tp_getattro = py_wrapper_getattro,
    .tp_setattro = PyObject_GenericSetAttr,
    .tp_descr_get = py_wrapper_bind,
    .tp_dictoffset = offsetof(compiled, attributes),
    .tp_weaklistoffset = offsetof(compiled, weak),
    .tp_getset = py_wrapper_attributes,
};

/* ---- functions ------------------------------------------------------------------------ */

/* A list or dict, or a tuple of them: what can be written to. NULL stays NULL, None is NULL. */
static int read_captured(PyObject **captured, const char *name)
{
    if (!*captured || *captured == Py_None) {
        *captured = NULL;
        return 0;
    }
    bool good = PyList_Check(*captured) || PyDict_Check(*captured) || PyTuple_Check(*captured);
    if (!good) { /* a module or an optimizer stands for its state */
        PyObject *state = PyObject_GetAttrString(*captured, "state");
        PyErr_Clear();
        good = state && Py_REFCNT(state) > 1 && (PyList_Check(state) || PyDict_Check(state));
        if (good)
            *captured = state; /* which the object holds, and we will */
        Py_XDECREF(state);
        if (good)
            return 0;
    }
    PyObject *wrong = *captured;
    for (Py_ssize_t i = 0; good && PyTuple_Check(*captured) && i < PyTuple_GET_SIZE(*captured);
         i++) {
        PyObject *item = PyTuple_GET_ITEM(*captured, i);
        good = !py_is_array(item);
        wrong = item;
    }
    if (good)
        return 0;
    PyErr_Format(PyExc_TypeError,
                 "compile: %s must be a list or dict, or a tuple of them, not %s", name,
                 wrong == *captured ? Py_TYPE(wrong)->tp_name : "a tuple of arrays");
    return -1;
}

static PyObject *call_compile(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    static const py_signature signature = {
        "compile", 1, 4, 0, {"fun", "inputs", "outputs", "shapeless", "strict", "check", NULL}};
    PyObject *at[6];
    bool shapeless = false, strict = false, check = false;
    if (py_parse(&signature, args, n, names, at) || read_captured(&at[1], "inputs") ||
        read_captured(&at[2], "outputs") || py_read_bool(at[3], &shapeless) ||
        py_read_bool(at[4], &strict) || py_read_bool(at[5], &check))
        return py_name_error("compile");
    int options =
        (shapeless ? PY_SHAPELESS : 0) | (strict ? PY_STRICT : 0) | (check ? PY_CHECK : 0);
    PyObject *fun = at[0], *inputs = at[1], *outputs = at[2];
    if (!PyCallable_Check(fun)) {
        PyErr_Format(PyExc_TypeError, "compile: wanted a function, not %s",
                     Py_TYPE(fun)->tp_name);
        return NULL;
    }
    bool state = inputs || outputs;
    if (Py_IS_TYPE(fun, &py_compiled_type)) {
        const compiled *inner = (compiled *)fun;
        bool same = !state || (inputs == inner->inputs && outputs == inner->outputs);
        if (same && (inner->options | options) == inner->options) {
            Py_INCREF(fun);
            return fun;
        }
        if (same) { /* with more options */
            inputs = inner->inputs;
            outputs = inner->outputs;
            state = inputs || outputs;
            options |= inner->options;
            fun = inner->fun;
        } else if (!inner->inputs && !inner->outputs)
            fun = inner->fun;
    }
    PyObject *its = state ? py_programs_of_state(fun, inputs, outputs, options)
                          : py_programs_of(fun, options);
    if (!its)
        return NULL;
    compiled *made = PyObject_GC_New(compiled, &py_compiled_type);
    if (!made) {
        Py_DECREF(its);
        return NULL;
    }
    Py_INCREF(fun);
    Py_XINCREF(inputs);
    Py_XINCREF(outputs);
    made->call = compiled_call;
    made->fun = fun;
    made->inputs = inputs;
    made->outputs = outputs;
    made->programs = (programs *)its;
    made->options = options;
    made->attributes = made->weak = NULL;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static PyObject *call_explain(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    static const py_signature signature = {"explain", 1, 1, 0, {"compiled", "as_dict", NULL}};
    PyObject *at[2];
    bool as_dict = false;
    if (py_parse(&signature, args, n, names, at) || py_read_bool(at[1], &as_dict))
        return py_name_error("explain");
    if (!Py_IS_TYPE(at[0], &py_compiled_type)) {
        PyErr_Format(PyExc_TypeError, "explain: wanted a compiled function, not %s",
                     Py_TYPE(at[0])->tp_name);
        return NULL;
    }
    const compiled *self = (compiled *)at[0];
    PyObject *held;
    PyObject *name = PyUnicode_FromString(py_name_of(self->fun, &held));
    PyObject *result =
        name ? py_explain(self->programs->function, name, self->programs->notes, as_dict)
             : NULL;
    Py_XDECREF(name);
    Py_XDECREF(held);
    return result;
}

static PyObject *call_cache_limit(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    (void)module;
    static const py_signature signature = {"compile_cache_limit", 0, 1, 0, {"programs", NULL}};
    PyObject *at[1];
    int limit = 0;
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    if (at[0] && at[0] != Py_None) {
        limit = PyLong_Check(at[0]) ? _PyLong_AsInt(at[0]) : 0;
        if (limit <= 0) {
            if (!PyErr_Occurred())
                py_complain(PyExc_ValueError,
                            "compile_cache_limit: wanted a positive int, not %R", at[0]);
            return py_name_error("compile_cache_limit");
        }
    }
    return PyLong_FromLong(fr_compile_cache_limit(limit));
}

static PyObject *call_clear_compiled(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    (void)module;
    static const py_signature signature = {"clear_compiled", 0, 1, 0, {"compiled", NULL}};
    PyObject *at[1];
    if (py_parse(&signature, args, n, names, at))
        return NULL;
    if (at[0] == Py_None)
        at[0] = NULL;
    if (at[0] && !Py_IS_TYPE(at[0], &py_compiled_type)) {
        PyErr_Format(PyExc_TypeError, "clear_compiled: wanted a compiled function, not %s",
                     Py_TYPE(at[0])->tp_name);
        return NULL;
    }
    if (at[0])
        py_programs_clear(((compiled *)at[0])->programs);
    else if (py_programs_clear_all())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *call_debug_nans(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    (void)module;
    static const py_signature signature = {"debug_nans", 0, 1, 0, {"on", NULL}};
    PyObject *at[1];
    bool on = true;
    if (py_parse(&signature, args, n, names, at) || py_read_bool(at[0], &on))
        return py_name_error("debug_nans");
    fr_debug_nans(on);
    Py_RETURN_NONE;
}

static PyObject *text_object(char *text)
{
    if (!text)
        return py_raise();
    PyObject *object = PyUnicode_FromString(text);
    fr_text_free(text);
    return object;
}

/* _dot(trees, level): of a compiled function a list of texts. For ferrule.core.export_to_dot. */
static PyObject *call_dot(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    fr_program *programs[256];
    if (n == 1 && Py_IS_TYPE(args[0], &py_compiled_type)) {
        int count =
            fr_function_programs(((compiled *)args[0])->programs->function, 256, programs);
        PyObject *list = PyList_New(0);
        for (int i = 0; i < count; i++) {
            PyObject *text = list ? text_object(fr_program_dot(programs[i])) : NULL;
            if (list && (!text || PyList_Append(list, text)))
                Py_CLEAR(list);
            Py_XDECREF(text);
            fr_program_free(programs[i]);
        }
        return list;
    }
    long level = n == 2 ? PyLong_AsLong(args[1]) : -1;
    if (level < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "_dot: trees, level");
    py_flat flat;
    py_flat_begin(&flat);
    PyObject *result = py_collect(args, 1, &flat)
                           ? NULL
                           : text_object(fr_dot(flat.n, flat.arrays, (fr_dot_level)level));
    py_flat_end(&flat);
    return result;
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
        "compile(fun, inputs=None, outputs=None, shapeless=False, *, strict=False, "
        "check=False)\n--\n\n"
        "A function with the same results, traced once for each combination of its\n"
        "arguments' structure, constants, dtypes and shapes: afterwards its program runs.\n"
        "Arrays in the containers `inputs` are arguments as well, those in `outputs` results.\n"
        "shapeless: a program serves other sizes too where that is safe.\n"
        "strict: an array from outside the arguments and `inputs` is an error, not a "
        "constant.\n"
        "check: each call runs operation by operation as well, and the two are compared."),
    PY_METHOD(
        "explain", call_explain,
        "explain(compiled, *, as_dict=False)\n--\n\n"
        "The programs that a compiled function has, why each was traced, and its kernels:\n"
        "a text, or a list of dicts."),
    PY_METHOD(
        "compile_cache_limit", call_cache_limit,
        "compile_cache_limit(programs=None)\n--\n\n"
        "How many programs each compiled function keeps; the least recently used go first.\n"
        "Sets it if given, and gives what it was."),
    PY_METHOD("clear_compiled", call_clear_compiled,
              "clear_compiled(compiled=None)\n--\n\n"
              "Forgets the programs of a compiled function; of all if none is given."),
    PY_METHOD(
        "debug_nans", call_debug_nans,
        "debug_nans(on=True)\n--\n\n"
        "A NaN among results is an error that names the operation that made the first one,\n"
        "inside a fused kernel too, and its line."),
    {"_dot", (PyCFunction)(void (*)(void))call_dot, METH_FASTCALL,
     "_dot(trees, level)\n--\n\nA graph for Graphviz."},
    {"_same_node", (PyCFunction)(void (*)(void))py_same_node, METH_FASTCALL,
     "_same_node(a, b)\n--\n\nWhether two arrays are handles on one."},
    {"enable_compile", call_enable_compile, METH_NOARGS,
     "enable_compile()\n--\n\ncompiled functions run their programs"},
    {"disable_compile", call_disable_compile, METH_NOARGS,
     "disable_compile()\n--\n\ncompiled functions run their function as it stands"},
    PY_END,
};

int py_compile_init(PyObject *module)
{
    (void)module;
    return py_programs_init() || PyType_Ready(&py_compiled_type) ||
                   PyType_Ready(&py_number_type)
               ? -1
               : 0;
}
