/* tree.c - nested lists, tuples and dicts of arrays and constants
 *
 * needs   arguments or a result of a function
 * gives   the arrays in them, in one order; bytes that are equal exactly where two calls differ
 *         in nothing but their arrays' values; what rebuilds a result from other arrays
 *
 * Dicts count by their keys, whatever the order of insertion. Constants count by type and
 * value: 0, 0.0, False and '0' are four. A namedtuple is one again when rebuilt.
 */
#include "tree.h"

#include <stdlib.h>

/* ---- where in a tree -------------------------------------------------------------------- */

/* "argument 1['a'][0]", "argument 'y'[2]", "output[1]" */
PyObject *py_path_text(const path *at, const char *root)
{
    if (!at)
        return PyUnicode_FromString(root);
    PyObject *before = py_path_text(at->up, root), *text = NULL;
    bool call = !at->up && strcmp(root, "argument") == 0;
    if (!before)
        return NULL;
    if (at->key)
        text = PyUnicode_FromFormat(call ? "%U %R" : "%U[%R]", before, at->key);
    else
        text = PyUnicode_FromFormat(call ? "%U %zd" : "%U[%zd]", before, at->index);
    Py_DECREF(before);
    return text;
}

/* TypeError: compile: argument 0['a'] is a set; wanted ... */
static void fail_at(const path *at, const char *root, PyObject *value)
{
    PyObject *text = py_path_text(at, root);
    if (text)
        PyErr_Format(
            PyExc_TypeError,
            "compile: %U is a %s; wanted arrays, numbers, strings, None, lists, tuples "
            "and dicts of them, and types known to register_pytree",
            text, Py_TYPE(value)->tp_name);
    Py_XDECREF(text);
}

/* Handles and nodes of many arrays are all over memory: they are fetched while those before are at work. */
enum { AHEAD = 8 };

/* ---- what is collected ---------------------------------------------------------------- */

void py_flat_begin(py_flat *flat)
{
    flat->arrays = flat->few;
    flat->n = 0;
    flat->room = (int)(sizeof flat->few / sizeof flat->few[0]);
    flat->key = flat->short_key;
    flat->key_bytes = 0;
    flat->key_room = sizeof flat->short_key;
    flat->pinned = NULL;
    flat->numbers = 0;
    flat->seen = NULL;
    flat->root = "argument";
}

void py_flat_end(py_flat *flat)
{
    for (int i = 0; i < flat->n; i++) {
        if (i + AHEAD < flat->n)
            __builtin_prefetch(flat->arrays[i + AHEAD], 1);
        fr_free(flat->arrays[i]);
    }
    if (flat->arrays != flat->few)
        PyMem_Free(flat->arrays);
    if (flat->key != flat->short_key)
        PyMem_Free(flat->key);
    Py_XDECREF(flat->pinned);
}

bool py_any_taped(const py_flat *flat)
{
    return fr_any_is(flat->n, flat->arrays) & FR_ANY_TAPED;
}

bool py_any_traced(const py_flat *flat)
{
    return fr_any_is(flat->n, flat->arrays) & (FR_ANY_TRACED | FR_ANY_TAPED);
}

/* Takes over a reference. */
int py_push_array(py_flat *flat, fr_array *x)
{
    if (flat->n == flat->room) {
        size_t bytes = 2 * (size_t)flat->room * sizeof *flat->arrays;
        fr_array **more = flat->arrays == flat->few ? PyMem_Malloc(bytes)
                                                    : PyMem_Realloc(flat->arrays, bytes);
        if (!more) {
            fr_free(x);
            PyErr_NoMemory();
            return -1;
        }
        if (flat->arrays == flat->few)
            memcpy(more, flat->few, sizeof flat->few);
        flat->arrays = more;
        flat->room *= 2;
    }
    flat->arrays[flat->n++] = x;
    return 0;
}

static int grow_key(py_flat *flat, size_t bytes)
{
    size_t room = 2 * flat->key_room + bytes;
    char *more =
        flat->key == flat->short_key ? PyMem_Malloc(room) : PyMem_Realloc(flat->key, room);
    if (!more) {
        PyErr_NoMemory();
        return -1;
    }
    if (flat->key == flat->short_key)
        memcpy(more, flat->short_key, flat->key_bytes);
    flat->key = more;
    flat->key_room = room;
    return 0;
}

static inline int want_room(py_flat *flat, size_t bytes)
{
    return flat->key_room - flat->key_bytes < bytes ? grow_key(flat, bytes) : 0;
}

static int push_bytes(py_flat *flat, const void *from, size_t bytes)
{
    if (want_room(flat, bytes))
        return -1;
    memcpy(flat->key + flat->key_bytes, from, bytes);
    flat->key_bytes += bytes;
    return 0;
}

static int push_tag(py_flat *flat, char tag)
{
    if (want_room(flat, 1))
        return -1;
    flat->key[flat->key_bytes++] = tag;
    return 0;
}

static int push_count(py_flat *flat, char tag, Py_ssize_t count)
{
    if (want_room(flat, 1 + sizeof count))
        return -1;
    char *to = flat->key + flat->key_bytes;
    *to = tag;
    memcpy(to + 1, &count, sizeof count);
    flat->key_bytes += 1 + sizeof count;
    return 0;
}

static int push_text(py_flat *flat, char tag, const char *text, Py_ssize_t bytes)
{
    return push_count(flat, tag, bytes) || push_bytes(flat, text, (size_t)bytes) ? -1 : 0;
}

/* What counts by its address is kept as long as the key may be. */
static int push_object(py_flat *flat, PyObject *object, char tag)
{
    if (!flat->pinned && !(flat->pinned = PyList_New(0)))
        return -1;
    if (PyList_Append(flat->pinned, object))
        return -1;
    return push_tag(flat, tag) || push_bytes(flat, &object, sizeof object) ? -1 : 0;
}

static int push_type(py_flat *flat, PyObject *value)
{
    return push_object(flat, (PyObject *)Py_TYPE(value), 't');
}

/* ---- constants ------------------------------------------------------------------------ */

bool py_is_namedtuple(PyObject *value)
{
    return PyTuple_Check(value) && !PyTuple_CheckExact(value) &&
           PyObject_HasAttrString((PyObject *)Py_TYPE(value), "_fields");
}

bool py_is_constant(PyObject *value)
{
    return value == Py_None || PyUnicode_Check(value) || PyLong_Check(value) ||
           PyFloat_Check(value) || PyComplex_Check(value) || PyBytes_Check(value) ||
           value == Py_Ellipsis || Py_IS_TYPE(value, &py_dtype_type);
}

static int push_long(py_flat *flat, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow)
        return push_tag(flat, 'i') || push_bytes(flat, &number, sizeof number) ? -1 : 0;
    PyObject *text = PyNumber_ToBase(value, 16); /* of any length in linear time */
    Py_ssize_t bytes;
    const char *digits = text ? PyUnicode_AsUTF8AndSize(text, &bytes) : NULL;
    int result = digits ? push_text(flat, 'I', digits, bytes) : -1;
    Py_XDECREF(text);
    return result;
}

/* 1: not a constant. */
static int push_constant(py_flat *flat, PyObject *value)
{
    fr_dtype dtype;
    if (value == Py_None)
        return push_tag(flat, 'N');
    if (PyBool_Check(value))
        return push_tag(flat, value == Py_True ? 'T' : 'F');
    if (!py_is_constant(value))
        return 1;
    bool exact =
        PyLong_CheckExact(value) || PyFloat_CheckExact(value) || PyUnicode_CheckExact(value);
    if (!exact && push_type(flat, value)) /* an enum is not its number */
        return -1;
    if (PyLong_Check(value))
        return push_long(flat, value);
    if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        return push_tag(flat, 'd') || push_bytes(flat, &number, sizeof number) ? -1 : 0;
    }
    if (PyUnicode_Check(value)) {
        Py_ssize_t bytes;
        const char *text = PyUnicode_AsUTF8AndSize(value, &bytes);
        if (text)
            return push_text(flat, 's', text, bytes);
        PyErr_Clear(); /* lone surrogates */
        PyObject *encoded = PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass");
        int result = encoded ? push_text(flat, 'S', PyBytes_AS_STRING(encoded),
                                         PyBytes_GET_SIZE(encoded))
                             : -1;
        Py_XDECREF(encoded);
        return result;
    }
    if (PyComplex_Check(value)) {
        Py_complex number = PyComplex_AsCComplex(value);
        return push_tag(flat, 'c') || push_bytes(flat, &number, sizeof number) ? -1 : 0;
    }
    if (PyBytes_Check(value))
        return push_text(flat, 'b', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (py_dtype_value(value, &dtype))
        return push_tag(flat, 'D') || push_tag(flat, (char)dtype) ? -1 : 0;
    return push_tag(flat, '.'); /* Ellipsis */
}

/* ---- dicts ---------------------------------------------------------------------------- */

/* Keys that don't compare with each other are ordered by type and text. */
static PyObject *sort_mixed(PyObject *keys)
{
    Py_ssize_t n = PyList_GET_SIZE(keys);
    PyObject *rows = PyList_New(n), *sorted = NULL;
    for (Py_ssize_t i = 0; rows && i < n; i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        PyObject *row =
            Py_BuildValue("(sNnO)", Py_TYPE(key)->tp_name, PyObject_Repr(key), i, key);
        if (!row)
            Py_CLEAR(rows);
        else
            PyList_SET_ITEM(rows, i, row);
    }
    if (rows && !PyList_Sort(rows) && (sorted = PyList_New(n))) {
        for (Py_ssize_t i = 0; i < n; i++) {
            PyObject *key = PyTuple_GET_ITEM(PyList_GET_ITEM(rows, i), 3);
            Py_INCREF(key);
            PyList_SET_ITEM(sorted, i, key);
        }
    }
    Py_XDECREF(rows);
    return sorted;
}

/* A list, taken over, in the one order that doesn't depend on how it was made. */
static PyObject *in_order(PyObject *keys)
{
    if (!keys || PyList_GET_SIZE(keys) < 2)
        return keys;
    bool texts = true;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(keys); i++)
        texts = texts && PyUnicode_CheckExact(PyList_GET_ITEM(keys, i));
    if (texts) {
        if (PyList_Sort(keys))
            Py_CLEAR(keys);
        return keys;
    }
    PyObject *sorted = sort_mixed(keys);
    Py_DECREF(keys);
    return sorted;
}

PyObject *py_sorted_keys(PyObject *dict) { return in_order(PyDict_Keys(dict)); }

/* Sorting costs more than all else that is done with a large dict. Its order is known if one was
 * seen before with the same objects as keys, inserted in the same order: they are kept, with the
 * sorted list, so that their addresses tell. Under the GIL. */
enum { ORDERS = 32, ORDER_FROM = 8, ORDER_TO = 1 << 14 };
static struct known_order {
    PyObject *inserted, *sorted; /* lists of exact strings */
} orders[ORDERS];

static bool inserted_so(PyObject *dict, PyObject *inserted)
{
    PyObject *key;
    Py_ssize_t place = 0, i = 0, n = PyList_GET_SIZE(inserted);
    while (PyDict_Next(dict, &place, &key, NULL))
        if (i == n || PyList_GET_ITEM(inserted, i++) != key)
            return false;
    return i == n;
}

/* As py_sorted_keys; a list that nobody may change. */
static PyObject *keys_in_order(PyObject *dict)
{
    Py_ssize_t n = PyDict_GET_SIZE(dict), place = 0;
    PyObject *first;
    if (n < ORDER_FROM || n > ORDER_TO || !PyDict_Next(dict, &place, &first, NULL))
        return py_sorted_keys(dict);
    struct known_order *o = &orders[((uintptr_t)first >> 5 ^ (size_t)n) % ORDERS];
    if (o->inserted && inserted_so(dict, o->inserted)) {
        Py_INCREF(o->sorted);
        return o->sorted;
    }
    PyObject *inserted = PyDict_Keys(dict);
    bool texts = inserted != NULL;
    for (Py_ssize_t i = 0; texts && i < PyList_GET_SIZE(inserted); i++)
        texts = PyUnicode_CheckExact(PyList_GET_ITEM(inserted, i));
    if (!texts) {
        Py_XDECREF(inserted);
        return inserted ? py_sorted_keys(dict) : NULL;
    }
    PyObject *sorted = PyList_GetSlice(inserted, 0, PyList_GET_SIZE(inserted));
    if (!sorted || PyList_Sort(sorted)) {
        Py_XDECREF(sorted);
        Py_DECREF(inserted);
        return NULL;
    }
    PyObject_GC_UnTrack(inserted); /* strings only, and out of everyone's reach */
    PyObject_GC_UnTrack(sorted);
    Py_INCREF(sorted);
    Py_XSETREF(o->inserted, inserted);
    Py_XSETREF(o->sorted, sorted);
    return sorted;
}

static int push_dict_key(py_flat *flat, PyObject *key)
{
    if (PyUnicode_CheckExact(key) && PyUnicode_IS_COMPACT_ASCII(key)) /* most are */
        return push_text(flat, 's', PyUnicode_DATA(key), PyUnicode_GET_LENGTH(key));
    if (!PyTuple_CheckExact(key))
        return push_constant(flat, key);
    if (push_count(flat, '(', PyTuple_GET_SIZE(key)))
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); i++) {
        int result = push_dict_key(flat, PyTuple_GET_ITEM(key, i));
        if (result)
            return result;
    }
    return 0;
}

/* ---- arguments ------------------------------------------------------------------------ */

static int flatten(py_flat *flat, PyObject *value, const path *at);

static inline void fetch_ahead(PyObject *items, Py_ssize_t i)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items);
    if (i + 2 * AHEAD >= n)
        return;
    __builtin_prefetch(PySequence_Fast_GET_ITEM(items, i + 2 * AHEAD));
    PyObject *next = PySequence_Fast_GET_ITEM(items, i + AHEAD);
    if (py_is_array(next))
        __builtin_prefetch(py_node(next), 1);
}

static int flatten_items(py_flat *flat, PyObject *value, const path *at)
{
    char tag = PyList_Check(value) ? '[' : '(';
    if (py_is_namedtuple(value) && push_type(flat, value))
        return -1;
    if (push_count(flat, tag, PySequence_Fast_GET_SIZE(value)))
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++) {
        path here = {.up = at, .index = i};
        fetch_ahead(value, i);
        if (flatten(flat, PySequence_Fast_GET_ITEM(value, i), &here))
            return -1;
    }
    return 0;
}

static int flatten_entry(py_flat *flat, PyObject *key, PyObject *item, const path *at)
{
    path here = {.up = at, .key = key};
    int result = push_dict_key(flat, key);
    if (result > 0) {
        PyObject *text = py_path_text(at, flat->root);
        if (text)
            PyErr_Format(PyExc_TypeError,
                         "compile: %U has a key of type %s; wanted strings, numbers, None or "
                         "tuples of them",
                         text, Py_TYPE(key)->tp_name);
        Py_XDECREF(text);
    }
    return result || flatten(flat, item, &here) ? -1 : 0;
}

/* Its only entry: held, for what is found in it may run code of anyone's. */
static int flatten_single(py_flat *flat, PyObject *dict, const path *at)
{
    PyObject *key, *item;
    Py_ssize_t place = 0;
    if (!PyDict_Next(dict, &place, &key, &item))
        return -1;
    Py_INCREF(key);
    Py_INCREF(item);
    int failed = push_count(flat, '{', 1) || flatten_entry(flat, key, item, at);
    Py_DECREF(key);
    Py_DECREF(item);
    return failed ? -1 : 0;
}

static int flatten_dict(py_flat *flat, PyObject *value, const path *at)
{
    if (PyDict_GET_SIZE(value) == 1)
        return flatten_single(flat, value, at);
    PyObject *keys = keys_in_order(value);
    int failed = keys ? push_count(flat, '{', PyList_GET_SIZE(keys)) : -1;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        PyObject *item = PyDict_GetItemWithError(value, key);
        if (!item && !PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError,
                            "compile: a dict was changed while it was read");
        failed = !item || flatten_entry(flat, key, item, at);
    }
    Py_XDECREF(keys);
    return failed ? -1 : 0;
}

/* Where the numbers stand in the key: their values may turn out not to matter. */
static void note_number(py_flat *flat, PyObject *value)
{
    if (flat->seen || !(PyFloat_CheckExact(value) || PyLong_CheckExact(value)))
        return;
    if (flat->numbers < PY_NUMBERS)
        flat->number_at[flat->numbers] = flat->key_bytes;
    flat->numbers++;
}

/* Captured state: what stands at several places is told once. 1: the first time. */
static int flatten_seen(py_flat *flat, PyObject *value)
{
    Py_ssize_t number;
    int result = py_seen_add(flat->seen, value, &number);
    return result ? result : push_count(flat, '=', number);
}

/* The constants of a set: the names of frozen parameters. */
static int flatten_set(py_flat *flat, PyObject *set)
{
    if (!PySet_GET_SIZE(set)) /* most are empty */
        return push_count(flat, '|', 0);
    PyObject *items = in_order(PySequence_List(set));
    int failed = items ? push_count(flat, '|', PyList_GET_SIZE(items)) : -1;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(items); i++)
        failed = push_constant(flat, PyList_GET_ITEM(items, i)) < 0;
    Py_XDECREF(items);
    return failed ? -1 : 0;
}

/* Of a dict with attributes (a module) in captured state: those that are constants, or sets of them. */
static int flatten_attributes(py_flat *flat, PyObject *value)
{
    PyObject **dict = _PyObject_GetDictPtr(value), *keys;
    if (!dict || !*dict || !(keys = py_sorted_keys(*dict)))
        return PyErr_Occurred() ? -1 : 0;
    int failed = push_tag(flat, '@');
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(keys); i++) {
        PyObject *item = PyDict_GetItemWithError(*dict, PyList_GET_ITEM(keys, i));
        if (item && PyAnySet_Check(item))
            failed = push_dict_key(flat, PyList_GET_ITEM(keys, i)) || flatten_set(flat, item);
        else if (item && py_is_constant(item))
            failed = push_dict_key(flat, PyList_GET_ITEM(keys, i)) || push_constant(flat, item);
    }
    Py_DECREF(keys);
    return failed || push_tag(flat, '.') ? -1 : 0;
}

/* A registered type, a dataclass, a module, a function ... */
static int flatten_object(py_flat *flat, PyObject *value, const path *at)
{
    PyObject *tree = NULL;
    int result = flat->seen ? 1 : py_take_apart(value, false, &tree);
    if (result > 0)
        fail_at(at, flat->root, value);
    if (result)
        return -1;
    if (Py_EnterRecursiveCall(" in arguments of a compiled function"))
        result = -1;
    else {
        result = push_tag(flat, 'O') || push_type(flat, value) || flatten(flat, tree, at);
        Py_LeaveRecursiveCall();
    }
    Py_DECREF(tree);
    return result ? -1 : 0;
}

static int flatten_node(py_flat *flat, PyObject *value, const path *at)
{
    bool container = py_is_plain(value) || (flat->seen && PyDict_Check(value));
    int result = 1;
    if (!container) {
        note_number(flat, value);
        result = push_constant(flat, value);
        if (result <= 0)
            return result;
    }
    if (flat->seen && !container && PyCallable_Check(value)) /* an activation among layers */
        return push_object(flat, value, 'f');
    if (flat->seen && !PyTuple_Check(value)) {
        result = flatten_seen(flat, value);
        if (result <= 0)
            return result;
    }
    /* In captured state what is a dict is changed in place, whatever its type. */
    if (container) {
        if (Py_EnterRecursiveCall(" in arguments of a compiled function"))
            return -1;
        result = PyDict_Check(value) ? flatten_dict(flat, value, at)
                                     : flatten_items(flat, value, at);
        if (!result && flat->seen && PyDict_Check(value) && !PyDict_CheckExact(value))
            result = flatten_attributes(flat, value);
        Py_LeaveRecursiveCall();
        return result;
    }
    if (py_is_buffer(value)) { /* numpy's arrays count as arrays */
        fr_array *made = py_from_buffer(value, true);
        return !made || push_tag(flat, 'A') || py_push_array(flat, made) ? -1 : 0;
    }
    return flatten_object(flat, value, at);
}

static int flatten(py_flat *flat, PyObject *value, const path *at)
{
    if (!py_is_array(value))
        return flatten_node(flat, value, at);
    if (flat->seen) {
        int result = flatten_seen(flat, value);
        if (result <= 0)
            return result;
    }
    fr_array *x = fr_keep(py_node(value));
    if (push_tag(flat, fr_is_weak(x) ? 'W' : 'A')) {
        fr_free(x);
        return -1;
    }
    return py_push_array(flat, x);
}

/* Keyword arguments by name, so that their order doesn't count: a new list of positions. */
PyObject *py_keyword_order(PyObject *names)
{
    PyObject *order = PyList_New(0);
    for (Py_ssize_t k = 0; order && k < PyTuple_GET_SIZE(names); k++) {
        PyObject *row = Py_BuildValue("(On)", PyTuple_GET_ITEM(names, k), k);
        if (!row || PyList_Append(order, row))
            Py_CLEAR(order);
        Py_XDECREF(row);
    }
    if (order && PyList_Sort(order))
        Py_CLEAR(order);
    return order;
}

int py_flatten_call(py_flat *flat, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (push_count(flat, '(', n))
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        path here = {.index = i};
        if (flatten(flat, args[i], &here))
            return -1;
    }
    if (!names || PyTuple_GET_SIZE(names) == 0)
        return 0;
    PyObject *order = py_keyword_order(names);
    int failed = order ? 0 : -1;
    for (Py_ssize_t k = 0; !failed && k < PyList_GET_SIZE(order); k++) {
        PyObject *row = PyList_GET_ITEM(order, k);
        PyObject *name = PyTuple_GET_ITEM(row, 0);
        Py_ssize_t at = PyLong_AsSsize_t(PyTuple_GET_ITEM(row, 1));
        path here = {.key = name};
        failed = push_tag(flat, 'k') || push_constant(flat, name) ||
                 flatten(flat, args[n + at], &here);
    }
    Py_XDECREF(order);
    return failed ? -1 : 0;
}

int py_flatten_state(py_flat *flat, PyObject *inputs, py_seen *seen)
{
    flat->seen = seen;
    flat->root = "inputs";
    return push_tag(flat, '|') || flatten(flat, inputs, NULL) ? -1 : 0;
}

/* ---- arguments again, with placeholders ----------------------------------------------- */

typedef struct rebuilding {
    fr_array *const *next;    /* arrays in their order */
    PyObject *const *numbers; /* what stands for each number, NULL: it does itself; or NULL */
    int number;
} rebuilding;

static PyObject *rebuild(PyObject *value, void *ctx);

/* A namedtuple from its items, as its own _make does; takes items over. */
PyObject *py_make_namedtuple(PyObject *type, PyObject *items)
{
    PyObject *result = items ? PyObject_CallMethod(type, "_make", "(O)", items) : NULL;
    Py_XDECREF(items);
    return result;
}

PyObject *py_items_again(PyObject *value, PyObject *(*one)(PyObject *item, void *ctx),
                         void *ctx)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
    bool list = PyList_Check(value);
    PyObject *result = list ? PyList_New(n) : PyTuple_New(n);
    for (Py_ssize_t i = 0; result && i < n; i++) {
        PyObject *item = one(PySequence_Fast_GET_ITEM(value, i), ctx);
        if (!item)
            Py_CLEAR(result);
        else if (list)
            PyList_SET_ITEM(result, i, item);
        else
            PyTuple_SET_ITEM(result, i, item);
    }
    if (result && py_is_namedtuple(value))
        return py_make_namedtuple((PyObject *)Py_TYPE(value), result);
    return result;
}

static PyObject *rebuild_dict(PyObject *value, rebuilding *r)
{
    PyObject *result = PyDict_New(), *keys = py_sorted_keys(value);
    if (!result || !keys || PyDict_Update(result, value)) /* in the order of insertion */
        Py_CLEAR(result);
    for (Py_ssize_t i = 0; result && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        PyObject *item = PyDict_GetItemWithError(value, key);
        PyObject *made = item ? rebuild(item, r) : NULL;
        if (!made || PyDict_SetItem(result, key, made))
            Py_CLEAR(result);
        Py_XDECREF(made);
    }
    Py_XDECREF(keys);
    return result;
}

static PyObject *rebuild(PyObject *value, void *ctx)
{
    rebuilding *r = ctx;
    if (py_is_array(value) || (!py_is_constant(value) && py_is_buffer(value)))
        return py_adopt(fr_keep(*r->next++));
    if (PyDict_CheckExact(value))
        return rebuild_dict(value, r);
    if (PyList_Check(value) || PyTuple_Check(value))
        return py_items_again(value, rebuild, r);
    PyObject *tree;
    if (!py_is_constant(value)) {
        if (py_take_apart(value, false, &tree))
            return NULL;
        PyObject *made = py_put_together(value, rebuild(tree, r));
        Py_DECREF(tree);
        return made;
    }
    if (r->numbers && (PyFloat_CheckExact(value) || PyLong_CheckExact(value))) {
        int number = r->number++;
        if (number < PY_NUMBERS && r->numbers[number])
            value = r->numbers[number];
    }
    Py_INCREF(value);
    return value;
}

PyObject *py_rebuild_call(PyObject *const *args, Py_ssize_t n, PyObject *names,
                          fr_array *const *arrays, PyObject *const *numbers)
{
    rebuilding r = {arrays, numbers, 0};
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    PyObject *result = PyList_New(n + keywords);
    for (Py_ssize_t i = 0; result && i < n; i++) {
        PyObject *item = rebuild(args[i], &r);
        if (!item)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, i, item);
    }
    PyObject *order = result && keywords ? py_keyword_order(names) : NULL;
    if (keywords && !order)
        Py_CLEAR(result);
    for (Py_ssize_t k = 0; result && k < keywords; k++) {
        Py_ssize_t at = PyLong_AsSsize_t(PyTuple_GET_ITEM(PyList_GET_ITEM(order, k), 1));
        PyObject *item = rebuild(args[n + at], &r);
        if (!item)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, n + at, item);
    }
    Py_XDECREF(order);
    return result;
}

/* ---- results -------------------------------------------------------------------------- */

static void structure_free(py_release *release)
{
    py_structure *s = (py_structure *)release;
    for (Py_ssize_t i = 0; i < s->n; i++)
        Py_XDECREF(s->pieces[i].object);
    Py_XDECREF(s->about);
    free(s->pieces);
    free(s);
}

/* Takes over the object. */
int py_push_piece(py_structure *s, piece_kind kind, Py_ssize_t count, PyObject *object)
{
    if (s->n == s->room) {
        Py_ssize_t room = s->room ? 2 * s->room : 4;
        piece *more = realloc(s->pieces, (size_t)room * sizeof *more);
        if (!more) {
            Py_XDECREF(object);
            PyErr_NoMemory();
            return -1;
        }
        s->pieces = more;
        s->room = room;
    }
    s->pieces[s->n++] =
        (piece){.kind = kind, .count = count, .place = PLACE_NEW, .object = object};
    return 0;
}

static int split(py_structure *s, PyObject *value, const char *function, const path *at,
                 py_flat *flat);

static int split_items(py_structure *s, PyObject *value, const char *function, const path *at,
                       py_flat *flat)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
    PyObject *type = py_is_namedtuple(value) ? (PyObject *)Py_TYPE(value) : NULL;
    Py_XINCREF(type);
    if (py_push_piece(s, type ? NAMEDTUPLE : PyList_Check(value) ? LIST : TUPLE, n, type))
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        path here = {.up = at, .index = i};
        if (split(s, PySequence_Fast_GET_ITEM(value, i), function, &here, flat))
            return -1;
    }
    return 0;
}

static int split_dict(py_structure *s, PyObject *value, const char *function, const path *at,
                      py_flat *flat)
{
    PyObject *keys = PyDict_Keys(value);
    if (!keys || py_push_piece(s, DICT, PyList_GET_SIZE(keys), keys))
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i), *item = PyDict_GetItemWithError(value, key);
        path here = {.up = at, .key = key};
        if (!item || split(s, item, function, &here, flat))
            return -1;
    }
    return 0;
}

static int split(py_structure *s, PyObject *value, const char *function, const path *at,
                 py_flat *flat)
{
    if (py_is_array(value)) {
        if (py_push_array(flat, fr_keep(py_node(value))))
            return -1;
        return py_push_piece(s, ARRAY, 0, NULL);
    }
    if (py_is_constant(value)) {
        Py_INCREF(value);
        return py_push_piece(s, CONSTANT, 0, value);
    }
    bool plain = py_is_plain(value);
    PyObject *tree = NULL, *shell = NULL;
    int known = plain ? 0 : py_take_apart(value, true, &tree);
    if (!known) {
        if (Py_EnterRecursiveCall(" in the result of a compiled function")) {
            Py_XDECREF(tree);
            return -1;
        }
        int result = !plain
                         ? !(shell = py_shell(value)) || py_push_piece(s, OBJECT, 0, shell) ||
                               split(s, tree, function, at, flat)
                     : PyDict_Check(value) ? split_dict(s, value, function, at, flat)
                                           : split_items(s, value, function, at, flat);
        Py_LeaveRecursiveCall();
        Py_XDECREF(tree);
        return result ? -1 : 0;
    }
    if (known < 0)
        return -1;
    PyObject *text = py_path_text(at, "output");
    if (text)
        PyErr_Format(PyExc_TypeError,
                     "compile: '%s': %U is a %s; a compiled function returns arrays, numbers, "
                     "strings, None, lists, tuples and dicts of them, and types known to "
                     "register_pytree",
                     function, text, Py_TYPE(value)->tp_name);
    Py_XDECREF(text);
    return -1;
}

py_structure *py_split_result(PyObject *result, const char *function, py_flat *flat)
{
    py_structure *s = calloc(1, sizeof *s);
    if (!s) {
        PyErr_NoMemory();
        return NULL;
    }
    s->release.free = structure_free;
    if (split(s, result, function, NULL, flat)) {
        structure_free(&s->release);
        return NULL;
    }
    s->single = s->n == 1 && s->pieces[0].kind == ARRAY;
    s->state = s->n;
    s->arrays = flat->n;
    return s;
}

static PyObject *join(const piece **next, fr_array ***arrays)
{
    const piece *p = (*next)++;
    PyObject *result = NULL;
    switch (p->kind) {
    case ARRAY: {
        fr_array *x = **arrays;
        *(*arrays)++ = NULL; /* taken over, also where this fails */
        return py_adopt(x);
    }
    case CONSTANT: Py_INCREF(p->object); return p->object;
    case LIST:
    case TUPLE:
    case NAMEDTUPLE:
        result = p->kind == LIST ? PyList_New(p->count) : PyTuple_New(p->count);
        for (Py_ssize_t i = 0; result && i < p->count; i++) {
            PyObject *item = join(next, arrays);
            if (!item)
                Py_CLEAR(result);
            else if (p->kind == LIST)
                PyList_SET_ITEM(result, i, item);
            else
                PyTuple_SET_ITEM(result, i, item);
        }
        return p->kind == NAMEDTUPLE && result ? py_make_namedtuple(p->object, result) : result;
    case OBJECT: return py_put_together(p->object, join(next, arrays));
    case AGAIN:
    case SAME: break; /* of state only */
    case DICT:
        result = PyDict_New();
        for (Py_ssize_t i = 0; result && i < p->count; i++) {
            PyObject *item = join(next, arrays);
            if (!item || PyDict_SetItem(result, PyList_GET_ITEM(p->object, i), item))
                Py_CLEAR(result);
            Py_XDECREF(item);
        }
        return result;
    }
    return result;
}

PyObject **py_structure_about(py_structure *structure) { return &structure->about; }

int py_structure_arrays(const py_structure *structure) { return structure->arrays; }

bool py_same_structure(const py_structure *a, const py_structure *b)
{
    if (a->n != b->n || a->state != b->state)
        return false;
    for (Py_ssize_t i = 0; i < a->n; i++) {
        const piece *p = &a->pieces[i], *q = &b->pieces[i];
        if (p->kind != q->kind || p->count != q->count || p->place != q->place)
            return false;
        if (p->object != q->object) {
            int equal = p->object && q->object && Py_TYPE(p->object) == Py_TYPE(q->object)
                            ? PyObject_RichCompareBool(p->object, q->object, Py_EQ)
                            : 0;
            if (equal < 0)
                PyErr_Clear();
            if (equal <= 0)
                return false;
        }
    }
    return true;
}

PyObject *py_join_result(const py_structure *structure, fr_array **arrays)
{
    if (structure->single)
        return py_adopt(arrays[0]);
    const piece *next = structure->pieces;
    PyObject *result = join(&next, &arrays);
    if (!result) /* the rest of the arrays was not reached */
        for (; next < structure->pieces + structure->state; next++)
            if (next->kind == ARRAY)
                fr_free(*arrays++);
    return result;
}

/* ---- all arrays in trees -------------------------------------------------------------- */

static int collect(PyObject *value, py_flat *flat)
{
    if (py_is_array(value))
        return py_push_array(flat, fr_keep(py_node(value)));
    PyObject *tree;
    bool plain = py_is_plain(value) || PyDict_Check(value);
    int known = plain || py_is_constant(value) ? 1 : py_take_apart(value, true, &tree);
    if (!plain && known)
        return known < 0 ? -1 : 0;
    if (Py_EnterRecursiveCall(" in nested containers")) {
        if (!plain)
            Py_DECREF(tree);
        return -1;
    }
    int failed = 0;
    if (!plain) {
        failed = collect(tree, flat);
        Py_DECREF(tree);
    } else if (PyDict_Check(value)) {
        PyObject *key, *item;
        Py_ssize_t at = 0;
        while (!failed && PyDict_Next(value, &at, &key, &item))
            failed = collect(item, flat);
    } else {
        for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(value); i++)
            failed = collect(PySequence_Fast_GET_ITEM(value, i), flat);
    }
    Py_LeaveRecursiveCall();
    return failed;
}

int py_collect(PyObject *const *trees, Py_ssize_t n, py_flat *flat)
{
    for (Py_ssize_t i = 0; i < n; i++)
        if (collect(trees[i], flat))
            return -1;
    return 0;
}
