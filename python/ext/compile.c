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
#include "ext.h"

#include <frameobject.h>
#include <structmember.h>

/* ---- the programs of one function ----------------------------------------------------- */

typedef struct programs {
    PyObject_HEAD fr_function *function;
    PyObject *pinned;   /* types whose address is in a key: a set, or NULL */
    PyObject *patterns; /* {a call but for its numbers: what is known of it}, or NULL */
    PyObject *plain; /* {the same without shapes: bits of the numbers that matter}, or NULL */
    PyObject *notes; /* what was found out about numbers, for explain: a list, or NULL */
    PyObject *weak;
    PyThread_type_lock lock; /* held by calls that capture state, or NULL */
    unsigned long owner;     /* the thread that holds it, 0: none */
} programs;

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
        made->pinned = made->patterns = made->plain = made->notes = made->weak = NULL;
        made->lock = NULL;
        made->owner = 0;
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

/* The programs of a function with captured state: by identity of all of them, which live at
 * least as long as the compiled functions, and so these programs, do. */
static PyObject *programs_of_state(PyObject *fun, PyObject *inputs, PyObject *outputs)
{
    PyObject *parts[2] = {NULL, NULL}, *made = NULL;
    parts_of(fun, parts);
    PyObject *key =
        Py_BuildValue("(NNNN)", PyLong_FromVoidPtr(parts[0]), PyLong_FromVoidPtr(parts[1]),
                      PyLong_FromVoidPtr(inputs), PyLong_FromVoidPtr(outputs));
    PyObject *entry = key ? PyDict_GetItemWithError(known, key) : NULL;
    if (entry && (made = PyWeakref_GetObject(entry)) != Py_None) {
        Py_DECREF(key);
        Py_INCREF(made);
        return made;
    }
    if (key && !PyErr_Occurred() && (made = programs_new(fun))) {
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

/* ---- a compiled function -------------------------------------------------------------- */

typedef struct compiled {
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun;
    PyObject *inputs, *outputs; /* captured containers, or NULL */
    programs *programs;
    PyObject *attributes; /* its __dict__, or NULL */
    PyObject *weak;
} compiled;

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

/* One call on its way. */
typedef struct call {
    compiled *self;
    PyObject *const *args;
    Py_ssize_t n;
    PyObject *names;
    py_flat flat; /* arrays of arguments, then of captured inputs */
    int arguments;
    py_seen *seen; /* captured inputs; NULL: the function captures nothing */
    bool taped;    /* a trace met what is being differentiated: no constant of a program */
} call;

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
            py_structure_release(structure);
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

static bool any_taped(const py_flat *flat)
{
    for (int i = 0; i < flat->n; i++)
        if (fr_is_taped(flat->arrays[i]))
            return true;
    return false;
}

static bool any_traced(const py_flat *flat)
{
    for (int i = 0; i < flat->n; i++)
        if (fr_is_traced(flat->arrays[i]))
            return true;
    return any_taped(flat);
}

/* Traces into `function`: self's own, or one for a trial. numbers: see py_rebuild_call. */
static fr_program *trace_into(call *c, fr_function *function, PyObject *const *numbers,
                              fr_array **placeholders)
{
    char origin[256];
    py_caller_text(origin, sizeof origin);
    fr_trace *begun = fr_trace_begin(function, c->flat.n, c->flat.arrays, placeholders,
                                     origin[0] ? origin : NULL);
    if (!begun) {
        py_raise();
        return NULL;
    }
    fr_program *program = NULL;
    py_flat outputs;
    py_flat_begin(&outputs);
    py_structure *structure = run_traced(c, placeholders, numbers, &outputs);
    c->taped |= structure && any_taped(&outputs);
    if (structure && (c->taped || pin_types(c->self->programs, c->flat.pinned) ||
                      (!numbers && note_about(c, structure)))) {
        py_structure_release(structure);
        structure = NULL;
    }
    if (!structure)
        fr_trace_abandon(begun);
    else
        program =
            fr_trace_end(begun, c->flat.key, c->flat.key_bytes, outputs.n, outputs.arrays);
    py_flat_end(&outputs);
    if (program)
        fr_program_attach(program, structure, py_structure_release);
    else if (structure)
        py_structure_release(structure);
    if (!program && !c->taped && (fr_error() != FR_OK || !PyErr_Occurred()))
        py_raise();
    for (int i = 0; i < c->flat.n; i++)
        fr_free(placeholders[i]);
    return program;
}

static fr_program *trace(call *c, fr_function *function, PyObject *const *numbers)
{
    fr_array *few[8], **placeholders = few;
    if (c->flat.n > 8 &&
        !(placeholders = PyMem_Malloc((size_t)c->flat.n * sizeof *placeholders))) {
        PyErr_NoMemory();
        return NULL;
    }
    fr_program *program = trace_into(c, function, numbers, placeholders);
    if (placeholders != few)
        PyMem_Free(placeholders);
    return program;
}

/* ---- calls that differ in numbers only --------------------------------------------------- */

enum { PATTERNS = 256, TRIALS = 4 };

/* What is known of calls of one pattern; the bytes of their base's key follow. */
typedef struct record {
    uint32_t verified; /* numbers that the function doesn't look at */
    int trials;
    double value[PY_NUMBERS]; /* of the base */
} record;

static int keep_record(call *c, const py_numbers *numbers, record r, const void *key,
                       size_t key_bytes)
{
    PyObject **patterns = &c->self->programs->patterns;
    if (!*patterns && !(*patterns = PyDict_New()))
        return -1;
    if (PyDict_Size(*patterns) >= PATTERNS)
        PyDict_Clear(*patterns);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(sizeof r + key_bytes));
    if (!bytes)
        return -1;
    memcpy(PyBytes_AS_STRING(bytes), &r, sizeof r);
    memcpy(PyBytes_AS_STRING(bytes) + sizeof r, key, key_bytes);
    int failed = PyDict_SetItem(*patterns, numbers->pattern, bytes);
    Py_DECREF(bytes);
    return failed;
}

/* This call becomes the base of its pattern. */
static int keep_base(call *c, const py_numbers *numbers, int trials)
{
    record r = {.trials = trials};
    memcpy(r.value, numbers->value, sizeof r.value);
    return keep_record(c, numbers, r, c->flat.key, c->flat.key_bytes);
}

static int note_numbers(call *c, uint32_t which, bool good)
{
    PyObject **notes = &c->self->programs->notes;
    if (!*notes && !(*notes = PyList_New(0)))
        return -1;
    for (int i = 0; i < PY_NUMBERS && PyList_GET_SIZE(*notes) < 64; i++) {
        if (!(which & 1u << i))
            continue;
        PyObject *path = py_path_of_number(c->args, c->n, c->names, i);
        PyObject *text = path
                             ? PyUnicode_FromFormat(
                                   good ? "%U: one program serves all its values"
                                        : "%U: a program for each value: the function looks at "
                                          "it, or computes with it",
                                   path)
                             : NULL;
        int there = text ? PySequence_Contains(*notes, text) : -1;
        int failed = there < 0 || (!there && PyList_Append(*notes, text));
        Py_XDECREF(text);
        Py_XDECREF(path);
        if (failed)
            return -1;
    }
    return 0;
}

/* The call but for its numbers and shapes: bytes. */
static PyObject *plain_key(const call *c, const py_numbers *all)
{
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(all->pattern),
                                     (Py_ssize_t)c->flat.key_bytes);
}

/* Numbers that the function was found to look at, in calls like this of any shapes. */
static int plain_numbers(const call *c, const py_numbers *all, uint32_t *bits)
{
    PyObject *plain = c->self->programs->plain;
    PyObject *key = plain ? plain_key(c, all) : NULL;
    PyObject *found = key ? PyDict_GetItemWithError(plain, key) : NULL;
    *bits = found ? (uint32_t)PyLong_AsUnsignedLong(found) : 0;
    Py_XDECREF(key);
    return PyErr_Occurred() ? -1 : 0;
}

static int keep_plain(call *c, uint32_t which)
{
    PyObject **plain = &c->self->programs->plain;
    py_numbers all;
    uint32_t before;
    if ((!*plain && !(*plain = PyDict_New())) || note_numbers(c, which, false) ||
        py_numbers_read(&all, &c->flat, 0))
        return -1;
    if (PyDict_Size(*plain) >= PATTERNS)
        PyDict_Clear(*plain);
    int failed = plain_numbers(c, &all, &before);
    PyObject *key = failed ? NULL : plain_key(c, &all);
    PyObject *bits = key ? PyLong_FromUnsignedLong(before | which) : NULL;
    failed = !bits || PyDict_SetItem(*plain, key, bits);
    Py_XDECREF(bits);
    Py_XDECREF(key);
    Py_XDECREF(all.pattern);
    return failed ? -1 : 0;
}

/* The changes from the base's numbers to this call's; bits of those that differ. */
static uint32_t changes_of(const py_numbers *numbers, const record *r,
                           fr_number_change *changes, int *n)
{
    uint32_t differ = 0;
    *n = 0;
    for (int i = 0; i < numbers->n; i++)
        if (numbers->vary & 1u << i && numbers->value[i] != r->value[i]) {
            differ |= 1u << i;
            changes[(*n)++] =
                (fr_number_change){numbers->whole[i], r->value[i], numbers->value[i]};
        }
    return differ;
}

/* Traces with stand-ins for these numbers. NULL without an exception: the function does more
 * with *looked of them than their values' change allows. */
static fr_program *trial(call *c, const py_numbers *numbers, uint32_t which, uint32_t *looked)
{
    PyObject *stand_ins[PY_NUMBERS] = {NULL}, *held;
    fr_program *program = NULL;
    bool good = true;
    for (int i = 0; good && i < numbers->n; i++)
        if (which & 1u << i) {
            PyObject *value = numbers->whole[i] ? PyLong_FromDouble(numbers->value[i])
                                                : PyFloat_FromDouble(numbers->value[i]);
            stand_ins[i] = value ? py_number_new(value) : NULL;
            Py_XDECREF(value);
            good = stand_ins[i] != NULL;
        }
    const char *name = py_name_of(c->self->fun, &held);
    fr_function *function = good ? fr_function_new(name, 1) : NULL;
    Py_XDECREF(held);
    if (function)
        program = trace(c, function, stand_ins);
    else if (good)
        py_raise();
    fr_function_free(function);
    if (!program && PyErr_ExceptionMatches(PyExc_Exception) &&
        !PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear();
    *looked = 0;
    for (int i = 0; i < PY_NUMBERS; i++)
        if (stand_ins[i]) {
            if (py_number_looked(stand_ins[i]))
                *looked |= 1u << i;
            py_number_retire(stand_ins[i]);
            Py_DECREF(stand_ins[i]);
        }
    if (program && *looked) {
        fr_program_free(program);
        program = NULL;
    }
    if (!program && !*looked)
        *looked = which;
    return program;
}

/* The base with this call's numbers, after a trial of those not known yet. NULL without an
 * exception: this call has to be traced as it is. */
static fr_program *vary(call *c, const py_numbers *numbers, const record *known_so_far,
                        const char *key, size_t key_bytes)
{
    record r = *known_so_far;
    fr_number_change changes[PY_NUMBERS];
    int n;
    uint32_t differ = changes_of(numbers, &r, changes, &n), looked;
    fr_program *base = fr_function_find(c->self->programs->function, key, key_bytes, c->flat.n,
                                        c->flat.arrays);
    if (!base || !differ) {
        fr_program_free(base);
        if (fr_error() != FR_OK)
            py_raise();
        else
            keep_base(c, numbers, r.trials);
        return NULL;
    }
    fr_program *result = NULL;
    if (differ & ~r.verified) {
        fr_program *tried = trial(c, numbers, differ, &looked);
        if (PyErr_Occurred())
            goto done;
        if (!tried) {
            keep_plain(c, looked);
            goto done;
        }
        bool same = fr_program_same_but(base, tried, n, changes) &&
                    py_same_structure(fr_program_attached(base), fr_program_attached(tried));
        fr_program_free(tried);
        if (!same && ++r.trials >= TRIALS) {
            keep_plain(c, differ);
            goto done;
        }
        if (!same) {
            keep_base(c, numbers, r.trials);
            goto done;
        }
        r.verified |= differ;
        if (note_numbers(c, differ, true) || keep_record(c, numbers, r, key, key_bytes))
            goto done;
    }
    result = fr_program_with(base, n, changes);
    if (!result)
        py_raise();
done:
    fr_program_free(base);
    return result;
}

static fr_program *by_numbers(call *c)
{
    py_numbers numbers;
    uint32_t plain;
    if (py_numbers_read(&numbers, &c->flat, 0) || !numbers.vary)
        return NULL;
    int failed = plain_numbers(c, &numbers, &plain);
    if (plain || failed) {
        Py_DECREF(numbers.pattern);
        if (failed || py_numbers_read(&numbers, &c->flat, plain) || !numbers.vary)
            return NULL;
    }
    PyObject *patterns = c->self->programs->patterns;
    PyObject *found = patterns ? PyDict_GetItemWithError(patterns, numbers.pattern) : NULL;
    fr_program *program = NULL;
    if (found) {
        record r;
        memcpy(&r, PyBytes_AS_STRING(found), sizeof r);
        Py_INCREF(found);
        program = vary(c, &numbers, &r, PyBytes_AS_STRING(found) + sizeof r,
                       (size_t)PyBytes_GET_SIZE(found) - sizeof r);
        Py_DECREF(found);
    } else if (!PyErr_Occurred()) {
        keep_base(c, &numbers, 0);
    }
    Py_DECREF(numbers.pattern);
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
    int failed;
    py_listen();
    Py_BEGIN_ALLOW_THREADS failed =
        fr_program_run(program, c->flat.n, c->flat.arrays, n_out, out);
    Py_END_ALLOW_THREADS PyObject *result = NULL;
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

static bool any_pending(const py_flat *flat)
{
    for (int i = 0; i < flat->n; i++)
        if (!fr_is_done(flat->arrays[i]))
            return true;
    return false;
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
    if (any_traced(&c->flat)) /* a compiled function within another: part of its graph */
        return call_inline(c);
    if (any_pending(&c->flat) &&
        py_eval_all(c->flat.n, c->flat.arrays)) /* while others may use the GIL */
        return NULL;
    fr_function *function = self->programs->function;
    fr_program *program =
        fr_function_find(function, c->flat.key, c->flat.key_bytes, c->flat.n, c->flat.arrays);
    bool new = !program;
    if (new &&fr_error() != FR_OK)
        return py_raise();
    if (new && c->flat.numbers)
        program = by_numbers(c);
    if (!program && !PyErr_Occurred())
        program = trace(c, function, NULL);
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
    py_structure_sweep();
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

/* A list or dict, or a tuple of them: what can be written to. NULL stays NULL, None is NULL. */
static int read_captured(PyObject **captured, const char *name)
{
    if (!*captured || *captured == Py_None) {
        *captured = NULL;
        return 0;
    }
    bool good = PyList_Check(*captured) || PyDict_Check(*captured) || PyTuple_Check(*captured);
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
        "compile", 1, 3, 0, {"fun", "inputs", "outputs", NULL}};
    PyObject *at[3];
    if (py_parse(&signature, args, n, names, at) || read_captured(&at[1], "inputs") ||
        read_captured(&at[2], "outputs"))
        return NULL;
    PyObject *fun = at[0], *inputs = at[1], *outputs = at[2];
    if (!PyCallable_Check(fun)) {
        PyErr_Format(PyExc_TypeError, "compile: wanted a function, not %s",
                     Py_TYPE(fun)->tp_name);
        return NULL;
    }
    bool state = inputs || outputs;
    if (Py_IS_TYPE(fun, &py_compiled_type)) {
        const compiled *inner = (compiled *)fun;
        if (!state || (inputs == inner->inputs && outputs == inner->outputs)) {
            Py_INCREF(fun);
            return fun;
        }
        if (!inner->inputs && !inner->outputs)
            fun = inner->fun;
    }
    PyObject *its = state ? programs_of_state(fun, inputs, outputs) : programs_of(fun);
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
        return NULL;
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
        "compile(fun, inputs=None, outputs=None)\n--\n\n"
        "A function with the same results, traced once for each combination of its\n"
        "arguments' structure, constants, dtypes and shapes: afterwards its program runs.\n"
        "Arrays in the containers `inputs` are arguments as well, those in `outputs` results."),
    PY_METHOD(
        "explain", call_explain,
        "explain(compiled, *, as_dict=False)\n--\n\n"
        "The programs that a compiled function has, why each was traced, and its kernels:\n"
        "a text, or a list of dicts."),
    {"enable_compile", call_enable_compile, METH_NOARGS,
     "enable_compile()\n--\n\ncompiled functions run their programs"},
    {"disable_compile", call_disable_compile, METH_NOARGS,
     "disable_compile()\n--\n\ncompiled functions run their function as it stands"},
    PY_END,
};

int py_compile_init(PyObject *module)
{
    (void)module;
    if (PyType_Ready(&programs_type) || PyType_Ready(&py_compiled_type) ||
        PyType_Ready(&py_number_type))
        return -1;
    if (!known)
        known = PyDict_New();
    return known ? 0 : -1;
}
