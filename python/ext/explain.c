/* explain.c - why programs were traced, and what they are: mx.explain
 *
 * A program keeps what its call looked like: a list of (path, kind, value), made while it was
 * traced. A new one is compared with those that are there: what differs from the most similar
 * one is the reason for it.
 */
#include "tree.h"

enum { COMPARED = 16, LISTED = 256, TOLD = 3, ROWS = 10000 };

/* ---- what a call looks like ------------------------------------------------------------- */

static int note(PyObject *list, const path *at, const char *root, const char *kind,
                PyObject *value) /* takes value over */
{
    PyObject *text = value ? py_path_text(at, root) : NULL;
    PyObject *row = text ? Py_BuildValue("(OsO)", text, kind, value) : NULL;
    int failed = !row || PyList_Append(list, row);
    Py_XDECREF(row);
    Py_XDECREF(text);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

/* "float32[2,3]" */
static PyObject *array_text(const fr_array *x)
{
    PyObject *text = PyUnicode_FromFormat("%s%s[", fr_is_weak(x) ? "weak " : "",
                                          fr_dtype_name(fr_dtype_of(x)));
    for (int i = 0; text && i < fr_ndim(x); i++)
        PyUnicode_AppendAndDel(
            &text, PyUnicode_FromFormat(i ? ",%lld" : "%lld", (long long)fr_shape(x)[i]));
    if (text)
        PyUnicode_AppendAndDel(&text, PyUnicode_FromString("]"));
    return text;
}

static int describe(PyObject *list, PyObject *value, const path *at, const char *root,
                    py_seen *seen);

/* Of a module in captured state: what its attributes are that count. Told only where they differ. */
static int describe_attributes(PyObject *list, PyObject *value, const path *at,
                               const char *root)
{
    PyObject **dict = _PyObject_GetDictPtr(value), *key, *item;
    PyObject *text = dict && *dict ? py_path_text(at, root) : NULL;
    int failed = 0;
    for (Py_ssize_t i = 0; text && !failed && PyDict_Next(*dict, &i, &key, &item);) {
        if (!PyAnySet_Check(item) && !py_is_constant(item))
            continue;
        PyObject *row = Py_BuildValue("(NsN)", PyUnicode_FromFormat("%U.%U", text, key),
                                      "attribute", PyObject_Repr(item));
        failed = !row || PyList_Append(list, row);
        Py_XDECREF(row);
    }
    Py_XDECREF(text);
    return failed || PyErr_Occurred() ? -1 : 0;
}

static int describe_items(PyObject *list, PyObject *value, const path *at, const char *root,
                          py_seen *seen)
{
    Py_ssize_t number;
    int fresh = !seen || PyTuple_Check(value) ? 1 : py_seen_add(seen, value, &number);
    if (fresh <= 0)
        return fresh ? -1 : note(list, at, root, "again", PyUnicode_FromFormat("%zd", number));
    PyObject *keys = PyDict_Check(value) ? py_sorted_keys(value) : NULL;
    if (PyDict_Check(value) && !keys)
        return -1;
    Py_ssize_t n = keys ? PyList_GET_SIZE(keys) : PySequence_Fast_GET_SIZE(value);
    int failed = note(list, at, root, Py_TYPE(value)->tp_name,
                      keys ? PyObject_Repr(keys) : PyUnicode_FromFormat("%zd items", n));
    for (Py_ssize_t i = 0; !failed && i < n; i++) {
        path here = {.up = at, .index = i};
        PyObject *item;
        if (keys) {
            here.key = PyList_GET_ITEM(keys, i);
            item = PyDict_GetItemWithError(value, here.key);
        } else {
            item = PySequence_Fast_GET_ITEM(value, i);
        }
        failed = !item || describe(list, item, &here, root, seen);
    }
    Py_XDECREF(keys);
    if (!failed && seen && PyDict_Check(value) && !PyDict_CheckExact(value))
        failed = describe_attributes(list, value, at, root);
    return failed ? -1 : 0;
}

static int describe(PyObject *list, PyObject *value, const path *at, const char *root,
                    py_seen *seen)
{
    if (PyList_GET_SIZE(list) >= ROWS) /* more can't be read */
        return 0;
    if (py_is_array(value))
        return note(list, at, root, "array", array_text(py_node(value)));
    if (py_is_plain(value) || (seen && PyDict_Check(value)))
        return describe_items(list, value, at, root, seen);
    if (PyFloat_CheckExact(value) || PyLong_CheckExact(value))
        return note(list, at, root, "number", PyObject_Repr(value));
    if (py_is_constant(value))
        return note(list, at, root, "constant", PyObject_Repr(value));
    fr_array *made = py_is_buffer(value) ? py_from_buffer(value, true) : NULL;
    if (made) {
        int failed = note(list, at, root, "array", array_text(made));
        fr_free(made);
        return failed;
    }
    PyErr_Clear();
    PyObject *tree = NULL;
    int known = py_take_apart(value, false, &tree);
    if (known < 0 ||
        note(list, at, root, "object", PyUnicode_FromString(Py_TYPE(value)->tp_name)))
        known = -1;
    int failed = known < 0 || (!known && describe(list, tree, at, root, seen));
    Py_XDECREF(tree);
    return failed ? -1 : 0;
}

PyObject *py_signature_of_call(PyObject *const *args, Py_ssize_t n, PyObject *names,
                               PyObject *inputs)
{
    PyObject *list = PyList_New(0);
    PyObject *order = names ? py_keyword_order(names) : NULL;
    int failed = !list || (names && !order);
    for (Py_ssize_t i = 0; !failed && i < n; i++) {
        path here = {.index = i};
        failed = describe(list, args[i], &here, "argument", NULL);
    }
    for (Py_ssize_t k = 0; !failed && order && k < PyList_GET_SIZE(order); k++) {
        PyObject *row = PyList_GET_ITEM(order, k);
        path here = {.key = PyTuple_GET_ITEM(row, 0)};
        failed = describe(list, args[n + PyLong_AsSsize_t(PyTuple_GET_ITEM(row, 1))], &here,
                          "argument", NULL);
    }
    Py_XDECREF(order);
    if (!failed && inputs) {
        py_seen seen;
        failed = py_seen_begin(&seen) || describe(list, inputs, NULL, "inputs", &seen);
        py_seen_end(&seen);
    }
    if (failed)
        Py_CLEAR(list);
    return list;
}

PyObject *py_path_of_number(PyObject *const *args, Py_ssize_t n, PyObject *names, int i)
{
    PyObject *list = py_signature_of_call(args, n, names, NULL), *path = NULL;
    for (Py_ssize_t at = 0; list && !path && at < PyList_GET_SIZE(list); at++) {
        PyObject *row = PyList_GET_ITEM(list, at);
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(row, 1), "number") == 0 && !i--)
            path = PyTuple_GET_ITEM(row, 0);
    }
    Py_XINCREF(path);
    Py_XDECREF(list);
    return path || PyErr_Occurred() ? path : PyUnicode_FromString("a number");
}

/* ---- why ---------------------------------------------------------------------------------- */

/* The shape in "float32[2,3]", or NULL. */
static const char *shape_of(PyObject *row)
{
    const char *text = PyUnicode_AsUTF8(PyTuple_GET_ITEM(row, 2));
    return text ? strchr(text, '[') : NULL;
}

/* Which dimension two shapes of one rank differ in first; -1: their ranks differ. */
static int dimension_of(const char *a, const char *b)
{
    int commas = 0, dimension = -1, at = 0;
    for (const char *p = a; *p; p++)
        commas += *p == ',';
    for (const char *p = b; *p; p++)
        commas -= *p == ',';
    if (commas || !strcmp(a, "[]") || !strcmp(b, "[]"))
        return -1;
    for (; *a && *b; a++, b++) {
        size_t n = strcspn(a + 1, ",]"), m = strcspn(b + 1, ",]");
        if (dimension < 0 && (n != m || strncmp(a + 1, b + 1, n) != 0))
            dimension = at;
        at++;
        a += n;
        b += m;
    }
    return dimension;
}

/* ("shape", "argument 0 is float32[3], was float32[2] (dimension 0)") */
static PyObject *difference(PyObject *row, PyObject *old)
{
    PyObject *path = PyTuple_GET_ITEM(row ? row : old, 0);
    if (!row || !old)
        return Py_BuildValue("(sN)", "structure",
                             PyUnicode_FromFormat(row ? "%U is new" : "%U is gone", path));
    const char *kind = PyUnicode_AsUTF8(PyTuple_GET_ITEM(row, 1));
    const char *before = PyUnicode_AsUTF8(PyTuple_GET_ITEM(old, 1));
    if (!kind || !before)
        return NULL;
    PyObject *is = PyTuple_GET_ITEM(row, 2), *was = PyTuple_GET_ITEM(old, 2);
    if (strcmp(kind, before) != 0)
        return Py_BuildValue(
            "(sN)", "structure",
            PyUnicode_FromFormat("%U is %s %U, was %s %U", path, kind, is, before, was));
    if (strcmp(kind, "array") != 0) {
        const char *what =
            !strcmp(kind, "number") || !strcmp(kind, "constant") ? kind : "structure";
        return Py_BuildValue("(sN)", what,
                             PyUnicode_FromFormat("%U is %U, was %U", path, is, was));
    }
    const char *a = shape_of(row), *b = shape_of(old);
    if (!a || !b)
        return NULL;
    bool same = strcmp(a, b) == 0;
    int dimension = same ? -1 : dimension_of(a, b);
    PyObject *text = PyUnicode_FromFormat("%U is %U, was %U", path, is, was);
    if (text && dimension >= 0)
        PyUnicode_AppendAndDel(&text, PyUnicode_FromFormat(" (dimension %d)", dimension));
    return Py_BuildValue("(sN)", same ? "dtype" : "shape", text);
}

/* {path: row} */
static PyObject *by_path(PyObject *signature)
{
    PyObject *map = PyDict_New();
    for (Py_ssize_t i = 0; map && i < PyList_GET_SIZE(signature); i++) {
        PyObject *row = PyList_GET_ITEM(signature, i);
        if (PyDict_SetItem(map, PyTuple_GET_ITEM(row, 0), row))
            Py_CLEAR(map);
    }
    return map;
}

/* What differs between a call and an earlier one: a list; entries beyond `most` don't matter. */
static PyObject *differences(PyObject *signature, PyObject *now, PyObject *earlier)
{
    PyObject *list = PyList_New(0), *before = by_path(earlier);
    int failed = !list || !before;
    for (int turn = 0; !failed && turn < 2; turn++) {
        PyObject *rows = turn ? earlier : signature, *others = turn ? now : before;
        for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(rows); i++) {
            PyObject *row = PyList_GET_ITEM(rows, i);
            PyObject *other = PyDict_GetItemWithError(others, PyTuple_GET_ITEM(row, 0));
            int same = other && !turn ? PyObject_RichCompareBool(row, other, Py_EQ) : 0;
            if (same || (turn && other))
                continue;
            PyObject *entry = turn ? difference(NULL, row) : difference(row, other);
            failed = !entry || PyList_Append(list, entry);
            Py_XDECREF(entry);
        }
    }
    Py_XDECREF(before);
    if (failed)
        Py_CLEAR(list);
    return list;
}

/* The shortest list of differences from a program that is there; None: there is none. */
static PyObject *nearest(fr_function *function, PyObject *signature)
{
    fr_program *there[COMPARED];
    int n = fr_function_programs(function, COMPARED, there);
    PyObject *now = n ? by_path(signature) : NULL, *best = NULL;
    for (int i = 0; i < n; i++) {
        py_structure *structure = fr_program_attached(there[i]);
        PyObject *about = structure ? *py_structure_about(structure) : NULL;
        PyObject *earlier = about ? PyDict_GetItemString(about, "signature") : NULL;
        PyObject *list = earlier && now ? differences(signature, now, earlier) : NULL;
        if (list && (!best || PyList_GET_SIZE(list) < PyList_GET_SIZE(best))) {
            Py_XDECREF(best);
            best = list;
            list = NULL;
        }
        Py_XDECREF(list);
        fr_program_free(there[i]);
    }
    Py_XDECREF(now);
    if (!best && !PyErr_Occurred()) {
        Py_INCREF(Py_None);
        best = Py_None;
    }
    return best;
}

static PyObject *reason(PyObject *list)
{
    if (list == Py_None)
        return PyUnicode_FromString("first call");
    if (PyList_GET_SIZE(list) == 0)
        return PyUnicode_FromString("the layout in memory of an array, or an alias, differs");
    PyObject *texts = PyList_New(0);
    Py_ssize_t n = PyList_GET_SIZE(list);
    for (Py_ssize_t i = 0; texts && i < n && i < TOLD; i++)
        if (PyList_Append(texts, PyTuple_GET_ITEM(PyList_GET_ITEM(list, i), 1)))
            Py_CLEAR(texts);
    PyObject *comma = PyUnicode_FromString("; ");
    PyObject *text = texts && comma ? PyUnicode_Join(comma, texts) : NULL;
    if (text && n > TOLD)
        PyUnicode_AppendAndDel(&text, PyUnicode_FromFormat("; and %zd more", n - TOLD));
    Py_XDECREF(comma);
    Py_XDECREF(texts);
    return text;
}

PyObject *py_about(fr_function *function, PyObject *signature)
{
    static long long count;
    PyObject *list = nearest(function, signature);
    PyObject *why = list ? reason(list) : NULL, *about = NULL;
    if (why) {
        PyObject *kind = list == Py_None ? PyUnicode_FromString("first call")
                         : PyList_GET_SIZE(list) == 0
                             ? PyUnicode_FromString("layout")
                             : PyTuple_GET_ITEM(PyList_GET_ITEM(list, 0), 0);
        if (kind && list != Py_None && PyList_GET_SIZE(list))
            Py_INCREF(kind);
        about = Py_BuildValue("{sLsNsNsO}", "order", ++count, "kind", kind, "why", why,
                              "signature", signature);
    }
    Py_XDECREF(list);
    return about;
}

/* ---- what there is ------------------------------------------------------------------------- */

static PyObject *kernels_of(const fr_program *program)
{
    int n = fr_program_kernels(program, 0, NULL);
    fr_kernel_info *info = PyMem_Calloc((size_t)n + 1, sizeof *info);
    PyObject *list = info ? PyList_New(0) : PyErr_NoMemory();
    if (info)
        fr_program_kernels(program, n, info);
    for (int i = 0; list && i < n; i++) {
        const fr_kernel_info *k = &info[i];
        PyObject *row =
            Py_BuildValue("{sssssnsnsLsLsdsO}", "ops", k->ops, "why", k->why, "reads",
                          (Py_ssize_t)k->reads, "writes", (Py_ssize_t)k->writes, "range",
                          (long long)k->range, "runs", (long long)k->runs, "seconds",
                          k->seconds, "machine_code", k->machine_code ? Py_True : Py_False);
        if (!row || PyList_Append(list, row))
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    PyMem_Free(info);
    return list;
}

/* [{"array": "float32[3]", "bytes": 12, "place": "w, a variable of the function"}] */
static PyObject *constants_of(const fr_program *program, PyObject *about)
{
    PyObject *places = about ? PyDict_GetItemString(about, "places") : NULL;
    PyObject *list = PyList_New(0);
    fr_array *x;
    for (int i = 0; list && (x = fr_program_constant(program, i)); i++) {
        PyObject *place =
            places && i < PyList_GET_SIZE(places) ? PyList_GET_ITEM(places, i) : Py_None;
        PyObject *row = Py_BuildValue("{sNsnsO}", "array", array_text(x), "bytes",
                                      (Py_ssize_t)fr_nbytes(x), "place", place);
        if (!row || PyList_Append(list, row))
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

int py_note_places(fr_program *program, PyObject *fun, PyObject *about)
{
    fr_array *x;
    if (!fr_program_constant(program, 0) || !about)
        return 0;
    PyObject *arrays = PyList_New(0), *module = PyImport_ImportModule("ferrule._places");
    for (int i = 0; arrays && (x = fr_program_constant(program, i)); i++) {
        PyObject *handle = py_adopt(fr_keep(x));
        if (!handle || PyList_Append(arrays, handle))
            Py_CLEAR(arrays);
        Py_XDECREF(handle);
    }
    PyObject *places =
        arrays && module ? PyObject_CallMethod(module, "places", "OO", fun, arrays) : NULL;
    int failed = !places || PyDict_SetItemString(about, "places", places);
    Py_XDECREF(places);
    Py_XDECREF(arrays);
    Py_XDECREF(module);
    return failed ? -1 : 0;
}

PyObject *py_same_node(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    fr_view a, b; /* of one piece of memory: a view of an array is that array to its user */
    bool same = n == 2 && py_is_array(args[0]) && py_is_array(args[1]);
    if (same && py_node(args[0]) != py_node(args[1]))
        same = fr_is_done(py_node(args[0])) && fr_is_done(py_node(args[1])) &&
               !fr_access(py_node(args[0]), &a) && !fr_access(py_node(args[1]), &b) &&
               a.data == b.data && a.data;
    return PyBool_FromLong(same);
}

static PyObject *donations_of(fr_program *program)
{
    int n = fr_program_donations(program, 0, NULL);
    fr_donation *d = PyMem_Malloc((size_t)(n + 1) * sizeof *d);
    PyObject *list = d ? PyList_New(0) : PyErr_NoMemory();
    if (d)
        n = fr_program_donations(program, n, d);
    for (int i = 0; list && i < n; i++) {
        PyObject *row =
            Py_BuildValue("{sisisnsL}", "input", d[i].in, "output", d[i].out, "bytes",
                          (Py_ssize_t)d[i].bytes, "runs", (long long)d[i].runs);
        if (!row || PyList_Append(list, row))
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    PyMem_Free(d);
    return list;
}

/* A program as a dict; what it is without what only sorting needs. */
static PyObject *entry_of(fr_program *program)
{
    py_structure *structure = fr_program_attached(program);
    PyObject *about = structure ? *py_structure_about(structure) : NULL;
    size_t bytes;
    int captured = fr_program_captured(program, &bytes);
    char *text = fr_program_describe(program);
    if (!text)
        return py_raise();
    PyObject *entry = about ? PyDict_Copy(about) : PyDict_New();
    PyObject *more =
        Py_BuildValue("{sisnsisssNsNsN}", "captured", captured, "captured_bytes",
                      (Py_ssize_t)bytes, "outputs", fr_program_outputs(program), "text", text,
                      "constants", constants_of(program, about), "donations",
                      donations_of(program), "kernels", kernels_of(program));
    fr_text_free(text);
    if (!entry || !more || PyDict_Update(entry, more))
        Py_CLEAR(entry);
    Py_XDECREF(more);
    return entry;
}

static PyObject *entries_of(fr_function *function)
{
    fr_program *programs[LISTED];
    int n = fr_function_programs(function, LISTED, programs);
    PyObject *rows = PyList_New(0);
    for (int i = 0; i < n; i++) {
        PyObject *entry = rows ? entry_of(programs[i]) : NULL;
        PyObject *order = entry ? PyDict_GetItemString(entry, "order") : NULL;
        PyObject *row =
            entry ? Py_BuildValue("(OiO)", order ? order : Py_None, i, entry) : NULL;
        if (rows && (!row || PyList_Append(rows, row)))
            Py_CLEAR(rows);
        Py_XDECREF(row);
        Py_XDECREF(entry);
        fr_program_free(programs[i]);
    }
    if (rows && PyList_Sort(rows))
        Py_CLEAR(rows);
    for (Py_ssize_t i = 0; rows && i < PyList_GET_SIZE(rows); i++) {
        PyObject *entry = PyTuple_GET_ITEM(PyList_GET_ITEM(rows, i), 2);
        Py_INCREF(entry);
        if (PyDict_DelItemString(entry, "order"))
            PyErr_Clear();
        PyList_SetItem(rows, i, entry);
    }
    return rows;
}

/* Appends to *text, unless there is none; takes part over. */
static void add(PyObject **text, PyObject *part) { PyUnicode_AppendAndDel(text, part); }

static void add_entry(PyObject **text, PyObject *entry, Py_ssize_t number)
{
    PyObject *why = PyDict_GetItemString(entry, "why");
    PyObject *signature = PyDict_GetItemString(entry, "signature");
    add(text, PyUnicode_FromFormat("\n%zd. traced: %V\n", number + 1, why, "unknown"));
    for (Py_ssize_t i = 0, told = 0; signature && i < PyList_GET_SIZE(signature); i++) {
        PyObject *row = PyList_GET_ITEM(signature, i);
        if (!PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(row, 1), "attribute"))
            continue;
        if (told++ == 20) {
            add(text,
                PyUnicode_FromFormat("   ... and %zd more\n", PyList_GET_SIZE(signature) - i));
            break;
        }
        add(text, PyUnicode_FromFormat("   %U: %U %U\n", PyTuple_GET_ITEM(row, 0),
                                       PyTuple_GET_ITEM(row, 1), PyTuple_GET_ITEM(row, 2)));
    }
    add(text, PyUnicode_FromFormat("   constants captured: %S, %S bytes\n",
                                   PyDict_GetItemString(entry, "captured"),
                                   PyDict_GetItemString(entry, "captured_bytes")));
    PyObject *constants = PyDict_GetItemString(entry, "constants");
    for (Py_ssize_t i = 0; constants && i < PyList_GET_SIZE(constants) && i < 20; i++) {
        PyObject *row = PyList_GET_ITEM(constants, i);
        add(text, PyUnicode_FromFormat(
                      "     %U, %S bytes: %S\n", PyDict_GetItemString(row, "array"),
                      PyDict_GetItemString(row, "bytes"), PyDict_GetItemString(row, "place")));
    }
    PyObject *donations = PyDict_GetItemString(entry, "donations");
    for (Py_ssize_t i = 0; donations && i < PyList_GET_SIZE(donations) && i < 20; i++) {
        PyObject *row = PyList_GET_ITEM(donations, i);
        add(text, PyUnicode_FromFormat(
                      "   donated: input %S to result %S, %S bytes, in %S runs\n",
                      PyDict_GetItemString(row, "input"), PyDict_GetItemString(row, "output"),
                      PyDict_GetItemString(row, "bytes"), PyDict_GetItemString(row, "runs")));
    }
    PyObject *kernels = PyDict_GetItemString(entry, "kernels");
    for (Py_ssize_t i = 0; kernels && i < PyList_GET_SIZE(kernels) && i < 64; i++) {
        PyObject *row = PyList_GET_ITEM(kernels, i);
        PyObject *seconds = PyDict_GetItemString(row, "seconds");
        add(text,
            PyUnicode_FromFormat(
                "   kernel %zd: %U\n     reads %S bytes, writes %S, "
                "%S runs of %d ns; of its own: %U\n",
                i, PyDict_GetItemString(row, "ops"), PyDict_GetItemString(row, "reads"),
                PyDict_GetItemString(row, "writes"), PyDict_GetItemString(row, "runs"),
                (int)(1e9 * PyFloat_AsDouble(seconds)), PyDict_GetItemString(row, "why")));
    }
    add(text, PyUnicode_FromFormat("%U", PyDict_GetItemString(entry, "text")));
}

PyObject *py_explain(fr_function *function, PyObject *name, PyObject *notes, bool as_dict)
{
    PyObject *rows = entries_of(function);
    if (!rows || as_dict)
        return rows;
    Py_ssize_t n = PyList_GET_SIZE(rows);
    PyObject *text = PyUnicode_FromFormat("%S: %zd program%s\n", name, n, n == 1 ? "" : "s");
    for (Py_ssize_t i = 0; text && notes && i < PyList_GET_SIZE(notes); i++)
        add(&text, PyUnicode_FromFormat("%U\n", PyList_GET_ITEM(notes, i)));
    for (Py_ssize_t i = 0; text && i < n; i++)
        add_entry(&text, PyList_GET_ITEM(rows, i), i);
    Py_DECREF(rows);
    return text;
}
