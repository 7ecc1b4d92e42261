/* vary.c - calls that differ from an earlier one in numbers only
 *
 * needs   a call that no program was found for
 * gives   the program of an earlier one with other numbers in it: after a trial that shows that
 *         the function doesn't look at them
 */
#include "compile.h"

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
        program = py_trace_call(c, function, stand_ins);
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

fr_program *py_by_numbers(call *c)
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
