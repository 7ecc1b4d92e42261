/* files.c - reading and writing arrays in files, for ferrule/_files.py
 *
 * _read(bytes) -> (format, {name: array}, {key: text})
 * _write(format, arrays, texts, compressed, write): write is called with bytes
 */
#include "ext.h"

static const char *const formats[] = {"npy", "npz", "safetensors"};

static int add_arrays(PyObject *to, const fr_archive *a)
{
    for (int i = 0; i < fr_archive_count(a); i++) {
        PyObject *name = PyUnicode_DecodeUTF8(fr_archive_name(a, i),
                                              (Py_ssize_t)strlen(fr_archive_name(a, i)), NULL);
        PyObject *x = name ? py_adopt(fr_keep(fr_archive_array(a, i))) : NULL;
        int failed = !x || PyDict_SetItem(to, name, x);
        Py_XDECREF(name);
        Py_XDECREF(x);
        if (failed)
            return -1;
    }
    return 0;
}

static int add_texts(PyObject *to, const fr_archive *a)
{
    for (int i = 0; i < fr_archive_text_count(a); i++) {
        PyObject *value = PyUnicode_FromString(fr_archive_text_value(a, i));
        int failed = !value || PyDict_SetItemString(to, fr_archive_text_key(a, i), value);
        Py_XDECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

static PyObject *call_read(PyObject *module, PyObject *bytes)
{
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE))
        return NULL;
    fr_archive *a = fr_load_bytes(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (!a)
        return py_raise();
    PyObject *arrays = PyDict_New(), *texts = PyDict_New(), *result = NULL;
    if (arrays && texts && !add_arrays(arrays, a) && !add_texts(texts, a))
        result = Py_BuildValue("(sOO)", formats[fr_archive_format(a)], arrays, texts);
    Py_XDECREF(arrays);
    Py_XDECREF(texts);
    fr_archive_free(a);
    return result;
}

/* How many bytes a call of write took: what it says, as unbuffered files may take a part; all where
 * it says nothing. -1: raised. */
static Py_ssize_t taken(PyObject *result, Py_ssize_t given)
{
    if (!result || !PyLong_Check(result))
        return result ? given : -1;
    Py_ssize_t n = PyLong_AsSsize_t(result);
    if (n > 0 && n <= given)
        return n;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_OSError, "save: write took %zd of %zd bytes", n, given);
    return -1;
}

/* With the GIL: nothing below releases it, as all arrays are evaluated before. In pieces, each a
 * copy, as the callee may keep it. */
static int write_some(void *ctx, const void *data, size_t bytes)
{
    const char *at = data, *end = at + bytes;
    while (at < end) {
        Py_ssize_t given = end - at < 1 << 24 ? end - at : 1 << 24;
        PyObject *chunk = PyBytes_FromStringAndSize(at, given);
        PyObject *result = chunk ? PyObject_CallOneArg(ctx, chunk) : NULL;
        Py_ssize_t n = taken(result, given);
        Py_XDECREF(chunk);
        Py_XDECREF(result);
        if (n < 0)
            return -1;
        at += n;
    }
    return 0;
}

/* Names and what belongs to them, of a dict whose values are checked by its caller. */
static int read_dict(PyObject *dict, const char **names, PyObject **values)
{
    Py_ssize_t at = 0, n = 0;
    PyObject *key;
    while (PyDict_Next(dict, &at, &key, &values[n])) {
        Py_ssize_t length;
        if (!PyUnicode_Check(key)) {
            PyErr_SetString(PyExc_ValueError, "save: names are strings");
            return -1;
        }
        if (!(names[n] = PyUnicode_AsUTF8AndSize(key, &length)))
            return -1;
        if (strlen(names[n++]) != (size_t)length) {
            PyErr_SetString(PyExc_ValueError, "save: a name has a zero in it");
            return -1;
        }
    }
    return 0;
}

static int read_texts(PyObject *dict, const char **keys, PyObject **values, const char **texts)
{
    if (read_dict(dict, keys, values))
        return -1;
    for (Py_ssize_t i = 0; i < PyDict_GET_SIZE(dict); i++)
        if (!PyUnicode_Check(values[i]) || !(texts[i] = PyUnicode_AsUTF8(values[i]))) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError,
                                "save_safetensors: metadata is a dict of strings");
            return -1;
        }
    return 0;
}

static PyObject *call_write(PyObject *module, PyObject *args)
{
    (void)module;
    int format, compressed;
    PyObject *dict, *texts, *write;
    if (!PyArg_ParseTuple(args, "iO!O!pO:_write", &format, &PyDict_Type, &dict, &PyDict_Type,
                          &texts, &compressed, &write))
        return NULL;
    size_t n = (size_t)PyDict_GET_SIZE(dict), m = (size_t)PyDict_GET_SIZE(texts),
           all = n + m + 1;
    const char **names = PyMem_Calloc(all, sizeof *names);
    const char **values = PyMem_Calloc(all, sizeof *values);
    PyObject **objects = PyMem_Calloc(all, sizeof *objects);
    fr_array **arrays = PyMem_Calloc(all, sizeof *arrays);
    PyObject *result = NULL;
    if (!names || !values || !objects || !arrays) {
        PyErr_NoMemory();
    } else if (!read_dict(dict, names, objects) &&
               !read_texts(texts, names + n, objects + n, values + n)) {
        for (size_t i = 0; i < n; i++)
            arrays[i] = fr_keep(py_node(objects[i]));
        fr_save_options o = {.compressed = compressed != 0,
                             .ntexts = (int)m,
                             .keys = names + n,
                             .values = values + n};
        if (!py_eval_all((int)n, arrays, true)) {
            if (!fr_save_by(write_some, write, (fr_file_format)format, (int)n, names, arrays,
                            &o))
                result = Py_BuildValue(""); /* None */
            else if (PyErr_Occurred())
                fr_error_clear(); /* the write's own exception tells */
            else
                py_raise();
        }
        for (size_t i = 0; i < n; i++)
            fr_free(arrays[i]);
    }
    PyMem_Free(names);
    PyMem_Free(values);
    PyMem_Free(objects);
    PyMem_Free(arrays);
    return result;
}

PyMethodDef py_file_functions[] = {
    {"_read", call_read, METH_O, NULL},
    {"_write", call_write, METH_VARARGS, NULL},
    PY_END,
};
