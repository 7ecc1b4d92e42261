/* donate.c - captured arrays that a compiled call may write over
 *
 *   find the program -> [claim] -> run -> write (state.c)
 *
 * needs   the structure of what the outputs hold after a call, what was seen of the inputs before it
 * gives   claims of the arrays that stand in a captured list or dict, will be replaced there by a
 *         result of the program, and are held by nobody else
 *
 * An object's references are counted with the GIL held, from the count to the claim: one is its
 * container's, one that of the list of what was seen. Whoever has a reference of any other kind, or
 * the same container's at two places, keeps the value. A borrowed reference is somebody's.
 */
#include "compile.h"
#include "tree.h"

/* {address of an array: its number among those seen} */
static PyObject *numbers_by_address(const py_seen *seen)
{
    PyObject *map = PyDict_New();
    for (Py_ssize_t i = 0; map && i < PyList_GET_SIZE(seen->arrays); i++) {
        PyObject *key = PyLong_FromVoidPtr(PyList_GET_ITEM(seen->arrays, i));
        PyObject *number = key ? PyLong_FromSsize_t(i) : NULL;
        if (!number || PyDict_SetItem(map, key, number))
            Py_CLEAR(map);
        Py_XDECREF(key);
        Py_XDECREF(number);
    }
    return map;
}

typedef struct offering {
    const call *c;
    const piece *next;
    PyObject *numbers;
    int out, n; /* number of the next result; of pairs */
    fr_donation *pairs;
} offering;

/* Nothing of the user's runs when results and state are put together: no object's constructor, no
 * key's comparison. After a run in place nothing may go wrong. */
static bool is_plain(const py_structure *s)
{
    for (const piece *p = s->pieces; p < s->pieces + s->n; p++) {
        if (p->kind == OBJECT || p->kind == NAMEDTUPLE)
            return false;
        for (Py_ssize_t i = 0; p->kind == DICT && i < p->count; i++)
            if (!PyUnicode_CheckExact(PyList_GET_ITEM(p->object, i)) &&
                !PyLong_CheckExact(PyList_GET_ITEM(p->object, i)))
                return false;
    }
    return true;
}

static int look_at(offering *o, PyObject *here);

/* The items of a container, which take the place of those of `target`; NULL: of none. */
static int look_into(offering *o, const piece *p, PyObject *target)
{
    for (Py_ssize_t i = 0; i < p->count; i++) {
        PyObject *here = NULL;
        if (target && p->kind == DICT)
            here = PyDict_GetItemWithError(target, PyList_GET_ITEM(p->object, i));
        else if (target && i < PyList_GET_SIZE(target))
            here = PyList_GET_ITEM(target, i);
        if (PyErr_Occurred() || look_at(o, here))
            return -1;
    }
    return 0;
}

static int look_at_array(offering *o, PyObject *here)
{
    PyObject *key = here ? PyLong_FromVoidPtr(here) : NULL;
    PyObject *number = key ? PyDict_GetItemWithError(o->numbers, key) : NULL;
    Py_XDECREF(key);
    if (number)
        o->pairs[o->n++] =
            (fr_donation){.in = o->c->arguments + (int)PyLong_AsSsize_t(number), .out = o->out};
    o->out++;
    return PyErr_Occurred() ? -1 : 0;
}

/* The next piece, and what is in it. */
static int look_at(offering *o, PyObject *here)
{
    const piece *p = o->next++;
    PyObject *target = p->place >= 0 ? PyList_GET_ITEM(o->c->seen->containers, p->place) : NULL;
    switch (p->kind) {
    case ARRAY: return look_at_array(o, here);
    case LIST: return look_into(o, p, target && PyList_Check(target) ? target : NULL);
    case DICT: return look_into(o, p, target && PyDict_Check(target) ? target : NULL);
    case TUPLE: return look_into(o, p, NULL); /* somebody may hold it as a whole */
    default: return 0;
    }
}

static int offer(const call *c, fr_program *program, const py_structure *structure)
{
    offering o = {.c = c,
                  .next = structure->pieces + structure->state,
                  .numbers = numbers_by_address(c->seen),
                  .out = structure->arrays};
    int most = fr_program_outputs(program) + 1, failed = -1;
    o.pairs = PyMem_Malloc((size_t)most * sizeof *o.pairs);
    if (!o.pairs)
        PyErr_NoMemory();
    else if (o.numbers && (!is_plain(structure) || o.next == structure->pieces + structure->n ||
                           !look_at(&o, NULL))) {
        failed = fr_program_offer(program, o.n, o.pairs);
        if (failed)
            py_raise();
    }
    PyMem_Free(o.pairs);
    Py_XDECREF(o.numbers);
    return failed;
}

/* References of an array that nobody holds: its container's, and that of the list of what was seen.
 * Where there is no GIL another thread may take one at any time. */
static bool is_alone(PyObject *array)
{
#ifdef Py_GIL_DISABLED
    return (void)array, false;
#else
    return Py_REFCNT(array) == 2;
#endif
}

int py_claim(const call *c, fr_program *program, bool **which)
{
    const py_structure *structure = fr_program_attached(program);
    *which = NULL;
    if (!c->seen || !PyList_GET_SIZE(c->seen->arrays) || !structure)
        return 0;
    if (!fr_program_is_offered(program) && offer(c, program, structure))
        return -1;
    int n = fr_program_donations(program, 0, NULL), claimed = 0;
    if (!n)
        return 0;
    fr_donation *donations = PyMem_Malloc((size_t)n * sizeof *donations);
    *which = PyMem_Malloc((size_t)n * sizeof **which);
    if (donations && *which) {
        fr_program_donations(program, n, donations);
        for (int i = 0; i < n; i++)
            (*which)[i] =
                is_alone(PyList_GET_ITEM(c->seen->arrays, donations[i].in - c->arguments));
        claimed = fr_program_claim(program, c->flat.arrays, *which);
    }
    bool failed = !donations || !*which;
    PyMem_Free(donations);
    if (!claimed) {
        PyMem_Free(*which);
        *which = NULL;
    }
    if (failed)
        PyErr_NoMemory();
    return failed ? -1 : 0;
}
