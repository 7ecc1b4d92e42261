/* state.c - the containers that a compiled function captures: inputs=, outputs=
 *
 *   trace:  enter: placeholders into the containers -> [function] -> split: what they hold now
 *           -> leave: all as it was -> [run] -> write
 *   hit:    [read: tree.c] -> [run] -> write
 *
 * Containers are told by identity, so what stands at two places stays one, and cycles end. What
 * is written back keeps them: a list or dict that was there before the trace is changed in place,
 * wherever the function has moved it; one that the function made is made again.
 */
#include "tree.h"

/* ---- what was seen -------------------------------------------------------------------- */

int py_seen_begin(py_seen *seen)
{
    *seen = (py_seen){.containers = PyList_New(0), .arrays = PyList_New(0)};
    return seen->containers && seen->arrays ? 0 : -1;
}

void py_seen_end(py_seen *seen)
{
    PyMem_Free(seen->slots);
    Py_XDECREF(seen->containers);
    Py_XDECREF(seen->arrays);
    *seen = (py_seen){0};
}

/* The slot of an object, or the empty one where it belongs. */
static Py_ssize_t slot_of(const py_seen *seen, PyObject *object)
{
    size_t at = ((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> 20;
    for (;; at++) {
        Py_ssize_t slot = (Py_ssize_t)(at & (size_t)(seen->room - 1));
        if (!seen->slots[slot].object || seen->slots[slot].object == object)
            return slot;
    }
}

static int grow(py_seen *seen)
{
    py_seen big = {.room = seen->room ? 4 * seen->room : 32};
    big.slots = PyMem_Calloc((size_t)big.room, sizeof *big.slots);
    if (!big.slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < seen->room; i++)
        if (seen->slots[i].object)
            big.slots[slot_of(&big, seen->slots[i].object)] = seen->slots[i];
    PyMem_Free(seen->slots);
    seen->slots = big.slots;
    seen->room = big.room;
    return 0;
}

static Py_ssize_t number_of(const py_seen *seen, PyObject *object)
{
    if (!seen->room)
        return -1;
    Py_ssize_t slot = slot_of(seen, object);
    return seen->slots[slot].object ? seen->slots[slot].number : -1;
}

int py_seen_add(py_seen *seen, PyObject *object, Py_ssize_t *number)
{
    if (2 * seen->n >= seen->room && grow(seen))
        return -1;
    Py_ssize_t slot = slot_of(seen, object);
    if (seen->slots[slot].object) {
        *number = seen->slots[slot].number;
        return 0;
    }
    bool container = PyList_Check(object) || PyDict_Check(object);
    if (PyList_Append(container ? seen->containers : seen->arrays, object))
        return -1;
    seen->slots[slot].object = object;
    seen->slots[slot].number = *number = seen->n++;
    return 1;
}

/* ---- before the function: placeholders in place ---------------------------------------- */

static int find_containers(PyObject *value, py_seen *all)
{
    Py_ssize_t number, at = 0;
    bool dict = PyDict_Check(value);
    if (!dict && !PyList_Check(value) && !PyTuple_Check(value))
        return 0;
    if (!PyTuple_Check(value)) {
        int result = py_seen_add(all, value, &number);
        if (result <= 0)
            return result;
    }
    if (Py_EnterRecursiveCall(" in the state of a compiled function"))
        return -1;
    int failed = 0;
    PyObject *key, *item;
    if (dict)
        while (!failed && PyDict_Next(value, &at, &key, &item))
            failed = find_containers(item, all);
    else
        for (; !failed && at < PySequence_Fast_GET_SIZE(value); at++)
            failed = find_containers(PySequence_Fast_GET_ITEM(value, at), all);
    Py_LeaveRecursiveCall();
    return failed;
}

/* {address of an array: its placeholder} */
static PyObject *placeholders_by_address(const py_seen *seen, fr_array *const *placeholders)
{
    PyObject *map = PyDict_New();
    for (Py_ssize_t i = 0; map && i < PyList_GET_SIZE(seen->arrays); i++) {
        PyObject *key = PyLong_FromVoidPtr(PyList_GET_ITEM(seen->arrays, i));
        PyObject *handle = key ? py_adopt(fr_keep(placeholders[i])) : NULL;
        if (!handle || PyDict_SetItem(map, key, handle))
            Py_CLEAR(map);
        Py_XDECREF(key);
        Py_XDECREF(handle);
    }
    return map;
}

/* What stands for an item: a new reference, to the item itself where nothing does. */
static PyObject *substitute(PyObject *item, PyObject *map)
{
    if (PyTuple_Check(item)) {
        Py_ssize_t n = PyTuple_GET_SIZE(item);
        PyObject *made = PyTuple_New(n);
        bool changed = false;
        for (Py_ssize_t i = 0; made && i < n; i++) {
            PyObject *part = substitute(PyTuple_GET_ITEM(item, i), map);
            changed = changed || part != PyTuple_GET_ITEM(item, i);
            if (!part)
                Py_CLEAR(made);
            else
                PyTuple_SET_ITEM(made, i, part);
        }
        if (!made || changed)
            return made && py_is_namedtuple(item)
                       ? py_make_namedtuple((PyObject *)Py_TYPE(item), made)
                       : made;
        Py_DECREF(made);
    } else if (!PyList_Check(item) && !PyDict_Check(item) && !py_is_constant(item)) {
        PyObject *key = PyLong_FromVoidPtr(item);
        PyObject *found = key ? PyDict_GetItemWithError(map, key) : NULL;
        Py_XDECREF(key);
        if (!found && PyErr_Occurred())
            return NULL;
        if (found)
            item = found;
    }
    Py_INCREF(item);
    return item;
}

static int fill(PyObject *container, PyObject *copy, PyObject *map)
{
    Py_ssize_t at = 0;
    PyObject *key, *item;
    if (PyList_Check(copy)) {
        for (; at < PyList_GET_SIZE(copy); at++) {
            PyObject *made = substitute(PyList_GET_ITEM(copy, at), map);
            if (!made || PyList_SetItem(container, at, made))
                return -1;
        }
        return 0;
    }
    while (PyDict_Next(copy, &at, &key, &item)) {
        PyObject *made = substitute(item, map);
        int failed = !made || (made != item && PyDict_SetItem(container, key, made));
        Py_XDECREF(made);
        if (failed)
            return -1;
    }
    return 0;
}

static PyObject *copy_of(PyObject *container)
{
    return PyDict_Check(container) ? PyDict_Copy(container)
                                   : PyList_GetSlice(container, 0, PyList_GET_SIZE(container));
}

int py_state_enter(py_saved *saved, const py_seen *seen, PyObject *outputs,
                   fr_array *const *placeholders)
{
    Py_ssize_t number;
    int failed = py_seen_begin(&saved->all);
    saved->copies = PyList_New(0);
    saved->inputs = PyList_GET_SIZE(seen->containers);
    for (Py_ssize_t i = 0; !failed && i < saved->inputs; i++)
        failed = py_seen_add(&saved->all, PyList_GET_ITEM(seen->containers, i), &number) < 0;
    PyObject *map = failed ? NULL : placeholders_by_address(seen, placeholders);
    failed = !map || !saved->copies || (outputs && find_containers(outputs, &saved->all));
    PyObject *all = saved->all.containers;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(all); i++) {
        PyObject *copy = copy_of(PyList_GET_ITEM(all, i));
        failed = !copy || PyList_Append(saved->copies, copy);
        Py_XDECREF(copy);
    }
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(all); i++)
        failed = fill(PyList_GET_ITEM(all, i), PyList_GET_ITEM(saved->copies, i), map);
    Py_XDECREF(map);
    if (failed)
        py_state_leave(saved);
    return failed ? -1 : 0;
}

void py_state_leave(py_saved *saved)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_ssize_t n = saved->copies ? PyList_GET_SIZE(saved->copies) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *container = PyList_GET_ITEM(saved->all.containers, i);
        PyObject *copy = PyList_GET_ITEM(saved->copies, i);
        int failed;
        if (PyDict_Check(container)) {
            PyDict_Clear(container);
            failed = PyDict_Update(container, copy);
        } else {
            failed = PyList_SetSlice(container, 0, PY_SSIZE_T_MAX, copy);
        }
        if (failed)
            PyErr_WriteUnraisable(container);
    }
    Py_CLEAR(saved->copies);
    py_seen_end(&saved->all);
    PyErr_Restore(type, value, traceback);
}

/* ---- after the function: what the outputs hold ------------------------------------------ */

typedef struct splitting {
    py_structure *s;
    const py_saved *saved;
    py_flat *flat;
    py_seen arrays, containers; /* that have been written, each in its order */
} splitting;

static int split_value(splitting *x, PyObject *value, const path *at);

static int split_array(splitting *x, PyObject *value)
{
    Py_ssize_t number;
    int result = py_seen_add(&x->arrays, value, &number);
    if (result <= 0)
        return result ? -1 : py_push_piece(x->s, SAME, number, NULL);
    return py_push_array(x->flat, fr_keep(py_node(value))) ||
                   py_push_piece(x->s, ARRAY, 0, NULL)
               ? -1
               : 0;
}

static int split_list(splitting *x, PyObject *value, const path *at)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++) {
        path here = {.up = at, .index = i};
        if (split_value(x, PySequence_Fast_GET_ITEM(value, i), &here))
            return -1;
    }
    return 0;
}

static int split_container(splitting *x, PyObject *value, const path *at)
{
    Py_ssize_t number;
    int result = py_seen_add(&x->containers, value, &number);
    if (result <= 0)
        return result ? -1 : py_push_piece(x->s, AGAIN, number, NULL);
    number = number_of(&x->saved->all, value);
    Py_ssize_t place = number < 0 ? PLACE_NEW : number < x->saved->inputs ? number : PLACE_HERE;
    PyObject *keys = PyDict_Check(value) ? PyDict_Keys(value) : NULL;
    Py_ssize_t n = PyDict_Check(value) ? PyDict_Size(value) : PyList_GET_SIZE(value);
    if ((PyDict_Check(value) && !keys) || py_push_piece(x->s, keys ? DICT : LIST, n, keys))
        return -1;
    x->s->pieces[x->s->n - 1].place = place;
    if (!keys)
        return split_list(x, value, at);
    for (Py_ssize_t i = 0; i < n; i++) {
        path here = {.up = at, .key = PyList_GET_ITEM(keys, i)};
        PyObject *item = PyDict_GetItemWithError(value, here.key);
        if (!item || split_value(x, item, &here))
            return -1;
    }
    return 0;
}

static int split_tuple(splitting *x, PyObject *value, const path *at)
{
    PyObject *type = py_is_namedtuple(value) ? (PyObject *)Py_TYPE(value) : NULL;
    Py_XINCREF(type);
    if (py_push_piece(x->s, type ? NAMEDTUPLE : TUPLE, PyTuple_GET_SIZE(value), type))
        return -1;
    return split_list(x, value, at);
}

static int split_value(splitting *x, PyObject *value, const path *at)
{
    if (py_is_array(value))
        return split_array(x, value);
    if (py_is_constant(value)) {
        Py_INCREF(value);
        return py_push_piece(x->s, CONSTANT, 0, value);
    }
    if (PyList_Check(value) || PyTuple_Check(value) || PyDict_Check(value)) {
        if (Py_EnterRecursiveCall(" in the state of a compiled function"))
            return -1;
        int result =
            PyTuple_Check(value) ? split_tuple(x, value, at) : split_container(x, value, at);
        Py_LeaveRecursiveCall();
        return result;
    }
    if (PyCallable_Check(value)) {
        Py_INCREF(value);
        return py_push_piece(x->s, CONSTANT, 0, value);
    }
    PyObject *text = py_path_text(at, "outputs");
    if (text)
        PyErr_Format(
            PyExc_TypeError,
            "compile: %U is a %s; captured state holds arrays, numbers, strings, None, "
            "and lists, tuples and dicts of them",
            text, Py_TYPE(value)->tp_name);
    Py_XDECREF(text);
    return -1;
}

int py_state_split(py_structure *structure, PyObject *outputs, const py_saved *saved,
                   py_flat *flat)
{
    splitting x = {.s = structure, .saved = saved, .flat = flat};
    int failed = py_seen_begin(&x.arrays) || py_seen_begin(&x.containers) ||
                 split_value(&x, outputs, NULL);
    py_seen_end(&x.arrays);
    py_seen_end(&x.containers);
    return failed ? -1 : 0;
}

/* ---- after the run: into the containers -------------------------------------------------- */

typedef struct writing {
    const piece *next;
    fr_array **arrays;
    const py_seen *seen;
    PyObject *handles, *made;     /* lists: what SAME and AGAIN mean */
    PyObject *targets, *contents; /* lists: what will be changed, to hold what */
} writing;

static PyObject *build(writing *w, PyObject *here);

/* The container that a piece means: one that is there, or NULL: a new one. Borrowed. */
static PyObject *target_of(const writing *w, const piece *p, PyObject *here)
{
    PyObject *target = p->place == PLACE_HERE ? here
                       : p->place >= 0        ? PyList_GET_ITEM(w->seen->containers, p->place)
                                              : NULL;
    bool fits = target && (p->kind == DICT ? PyDict_Check(target) : PyList_Check(target));
    return fits ? target : NULL;
}

static PyObject *build_container(writing *w, const piece *p, PyObject *here)
{
    bool dict = p->kind == DICT;
    PyObject *target = target_of(w, p, here);
    PyObject *contents = dict ? PyDict_New() : PyList_New(0);
    PyObject *result = target ? target : contents;
    if (!contents || PyList_Append(w->made, result) ||
        (target &&
         (PyList_Append(w->targets, target) || PyList_Append(w->contents, contents)))) {
        Py_XDECREF(contents);
        return NULL;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < p->count; i++) {
        PyObject *key = dict ? PyList_GET_ITEM(p->object, i) : NULL, *there = NULL;
        if (target && dict)
            there = PyDict_GetItemWithError(target, key);
        else if (target && i < PyList_GET_SIZE(target))
            there = PyList_GET_ITEM(target, i);
        PyObject *item = PyErr_Occurred() ? NULL : build(w, there);
        failed = !item ||
                 (dict ? PyDict_SetItem(contents, key, item) : PyList_Append(contents, item));
        Py_XDECREF(item);
    }
    if (!failed)
        Py_INCREF(result);
    Py_DECREF(contents); /* if it is the result: of w->made now */
    return failed ? NULL : result;
}

static PyObject *build_tuple(writing *w, const piece *p, PyObject *here)
{
    PyObject *result = PyTuple_New(p->count);
    for (Py_ssize_t i = 0; result && i < p->count; i++) {
        bool fits = here && PyTuple_Check(here) && i < PyTuple_GET_SIZE(here);
        PyObject *item = build(w, fits ? PyTuple_GET_ITEM(here, i) : NULL);
        if (!item)
            Py_CLEAR(result);
        else
            PyTuple_SET_ITEM(result, i, item);
    }
    return p->kind == NAMEDTUPLE && result ? py_make_namedtuple(p->object, result) : result;
}

static PyObject *build(writing *w, PyObject *here)
{
    const piece *p = w->next++;
    PyObject *result = NULL;
    switch (p->kind) {
    case ARRAY: {
        fr_array *x = *w->arrays;
        *w->arrays++ = NULL; /* taken over, also where this fails */
        result = py_adopt(x);
        if (result && PyList_Append(w->handles, result))
            Py_CLEAR(result);
        return result;
    }
    case SAME: result = PyList_GET_ITEM(w->handles, p->count); break;
    case AGAIN: result = PyList_GET_ITEM(w->made, p->count); break;
    case CONSTANT: result = p->object; break;
    case LIST:
    case DICT: return build_container(w, p, here);
    case TUPLE:
    case NAMEDTUPLE: return build_tuple(w, p, here);
    case OBJECT: break; /* of results only */
    }
    Py_XINCREF(result);
    return result;
}

static int replace_dict(PyObject *target, PyObject *contents)
{
    if (PyDict_Update(target, contents))
        return -1;
    if (PyDict_Size(target) == PyDict_Size(contents))
        return 0;
    PyObject *keys = PyDict_Keys(target);
    int failed = !keys;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(keys); i++) {
        int there = PyDict_Contains(contents, PyList_GET_ITEM(keys, i));
        failed = there < 0 || (!there && PyDict_DelItem(target, PyList_GET_ITEM(keys, i)));
    }
    Py_XDECREF(keys);
    return failed ? -1 : 0;
}

static int commit(const writing *w)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(w->targets); i++) {
        PyObject *target = PyList_GET_ITEM(w->targets, i);
        PyObject *contents = PyList_GET_ITEM(w->contents, i);
        if (PyDict_Check(target) ? replace_dict(target, contents)
                                 : PyList_SetSlice(target, 0, PY_SSIZE_T_MAX, contents))
            return -1;
    }
    return 0;
}

int py_state_write(const py_structure *structure, PyObject *outputs, const py_seen *seen,
                   fr_array **arrays)
{
    writing w = {structure->pieces + structure->state,
                 arrays,
                 seen,
                 PyList_New(0),
                 PyList_New(0),
                 PyList_New(0),
                 PyList_New(0)};
    PyObject *root = NULL;
    if (w.handles && w.made && w.targets && w.contents)
        root = build(&w, outputs);
    int failed = !root || commit(&w);
    for (; w.next < structure->pieces + structure->n; w.next++) /* not reached */
        if (w.next->kind == ARRAY)
            fr_free(*w.arrays++);
    Py_XDECREF(root);
    Py_XDECREF(w.handles);
    Py_XDECREF(w.made);
    Py_XDECREF(w.targets);
    Py_XDECREF(w.contents);
    return failed ? -1 : 0;
}
