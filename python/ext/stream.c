/* stream.c - devices and streams: mx.cpu, mx.gpu, Device, Stream and what chooses among them
 *
 * A stream's device is what the library says; a device is a kind and an index, of which there
 * is only 0 for the CPU.
 */
#include "ext.h"

typedef struct kind_object {
    PyObject_HEAD fr_device_kind kind;
} kind_object;

typedef struct device_object {
    PyObject_HEAD fr_device_kind kind;
    int index;
} device_object;

typedef struct stream_object {
    PyObject_HEAD fr_stream stream;
} stream_object;

static PyTypeObject kind_type, device_type, stream_type;
static kind_object kinds[2]; /* cpu, gpu */

static const char *kind_name(fr_device_kind kind) { return kind == FR_CPU ? "cpu" : "gpu"; }

static bool read_device(PyObject *value, fr_device_kind *kind, int *index)
{
    *index = 0;
    if (Py_IS_TYPE(value, &kind_type)) {
        *kind = ((kind_object *)value)->kind;
        return true;
    }
    if (Py_IS_TYPE(value, &device_type)) {
        *kind = ((device_object *)value)->kind;
        *index = ((device_object *)value)->index;
        return true;
    }
    return false;
}

/* A ValueError where there is no such device. */
static bool no_device(fr_device_kind kind, int index, const char *function)
{
    int n = fr_device_count(kind);
    if (index >= 0 && index < n)
        return false;
    const char *why = n ? "" : fr_device_missing(kind);
    PyErr_Format(PyExc_ValueError, "%s: there is no device %s:%d here%s%s", function,
                 kind_name(kind), index, *why ? ": " : "", why);
    return true;
}

/* ---- what operations do with stream= -------------------------------------------------- */

/* The stream that new work of this device goes to. */
static int stream_of_device(fr_device_kind kind, int index, fr_stream *to, const char *function)
{
    if (no_device(kind, index, function))
        return -1;
    fr_stream now = fr_stream_current();
    bool here = fr_stream_device(now) == kind && fr_stream_index(now) == index;
    *to = here ? now : fr_stream_default(kind, index);
    if (fr_error() != FR_OK)
        return py_raise_int();
    return 0;
}

static int read_stream(PyObject *value, fr_stream *to, const char *function)
{
    fr_device_kind kind;
    int index;
    if (Py_IS_TYPE(value, &stream_type)) {
        *to = ((stream_object *)value)->stream;
        return 0;
    }
    if (read_device(value, &kind, &index))
        return stream_of_device(kind, index, to, function);
    PyErr_Format(PyExc_TypeError, "%s: stream must be a Stream, a Device or None, not %s",
                 function, Py_TYPE(value)->tp_name);
    return -1;
}

int py_stream_enter(PyObject *stream, py_stream_guard *guard, const char *function)
{
    guard->changed = false;
    if (!stream || stream == Py_None)
        return 0;
    fr_stream wanted;
    if (read_stream(stream, &wanted, function))
        return -1;
    guard->before = fr_stream_current();
    if (fr_stream_set(wanted))
        return py_raise_int();
    guard->changed = true;
    return 0;
}

void py_stream_leave(const py_stream_guard *guard)
{
    if (guard->changed)
        fr_stream_set(guard->before);
}

/* ---- the types ------------------------------------------------------------------------ */

static PyObject *kind_repr(PyObject *self)
{
    return PyUnicode_FromFormat("DeviceType.%s", kind_name(((kind_object *)self)->kind));
}

static PyObject *device_make(fr_device_kind kind, int index)
{
    device_object *device = PyObject_New(device_object, &device_type);
    if (device) {
        device->kind = kind;
        device->index = index;
    }
    return (PyObject *)device;
}

static PyObject *device_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)type;
    static char *names[] = {"type", "index", NULL};
    PyObject *given;
    int index = 0, ignored;
    fr_device_kind kind;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|i:Device", names, &given, &index))
        return NULL;
    if (!read_device(given, &kind, &ignored)) {
        py_complain(PyExc_TypeError, "Device: type must be cpu or gpu, not %R", given);
        return NULL;
    }
    return device_make(kind, index);
}

static PyObject *device_repr(PyObject *self)
{
    device_object *device = (device_object *)self;
    return PyUnicode_FromFormat("Device(%s, %d)", kind_name(device->kind), device->index);
}

static PyObject *kind_object_of(fr_device_kind kind)
{
    PyObject *object = (PyObject *)&kinds[kind];
    Py_INCREF(object);
    return object;
}

static PyObject *device_get_type(PyObject *self, void *closure)
{
    (void)closure;
    return kind_object_of(((device_object *)self)->kind);
}

/* A device type equals its first device. */
static PyObject *device_compare(PyObject *left, PyObject *right, int how)
{
    fr_device_kind a, b;
    int i, j;
    if ((how != Py_EQ && how != Py_NE) || !read_device(left, &a, &i) ||
        !read_device(right, &b, &j))
        Py_RETURN_NOTIMPLEMENTED;
    return PyBool_FromLong((a == b && i == j) == (how == Py_EQ));
}

static Py_hash_t device_hash(PyObject *self)
{
    fr_device_kind kind = FR_CPU;
    int index = 0;
    read_device(self, &kind, &index);
    return (Py_hash_t)index * 2 + (kind == FR_GPU);
}

static PyObject *stream_make(fr_stream stream)
{
    stream_object *object = PyObject_New(stream_object, &stream_type);
    if (object)
        object->stream = stream;
    return (PyObject *)object;
}

static PyObject *stream_repr(PyObject *self)
{
    fr_stream stream = ((stream_object *)self)->stream;
    return PyUnicode_FromFormat("Stream(Device(%s, %d), %d)",
                                kind_name(fr_stream_device(stream)), fr_stream_index(stream),
                                (int)stream.id);
}

static PyObject *stream_get_device(PyObject *self, void *closure)
{
    (void)closure;
    fr_stream stream = ((stream_object *)self)->stream;
    return device_make(fr_stream_device(stream), fr_stream_index(stream));
}

static PyObject *stream_get_index(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLong(((stream_object *)self)->stream.id);
}

static PyObject *stream_compare(PyObject *left, PyObject *right, int how)
{
    if ((how != Py_EQ && how != Py_NE) || !Py_IS_TYPE(left, &stream_type) ||
        !Py_IS_TYPE(right, &stream_type))
        Py_RETURN_NOTIMPLEMENTED;
    bool same = ((stream_object *)left)->stream.id == ((stream_object *)right)->stream.id;
    return PyBool_FromLong(same == (how == Py_EQ));
}

static Py_hash_t stream_hash(PyObject *self) { return ((stream_object *)self)->stream.id; }

/* By name, so that a pickle is the same object again. */
static PyObject *kind_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(kind_name(((kind_object *)self)->kind));
}

static PyObject *device_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    device_object *device = (device_object *)self;
    return Py_BuildValue("O(Ni)", (PyObject *)&device_type, kind_object_of(device->kind),
                         device->index);
}

static PyMethodDef kind_methods[] = {
    {"__reduce__", kind_reduce, METH_NOARGS, NULL},
    PY_END,
};

static PyMethodDef device_methods[] = {
    {"__reduce__", device_reduce, METH_NOARGS, NULL},
    PY_END,
};

static PyGetSetDef device_attributes[] = {
    {"type", device_get_type, NULL, "cpu or gpu", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef stream_attributes[] = {
    {"device", stream_get_device, NULL, "where its work runs", NULL},
    {"index", stream_get_index, NULL, "its number", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject kind_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.DeviceType",
    .tp_basicsize = sizeof(kind_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The kind of a device: cpu or gpu.",
    .tp_repr = kind_repr,
    .tp_richcompare = device_compare,
    .tp_hash = device_hash,
    .tp_methods = kind_methods,
};

static PyTypeObject device_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.Device",
    .tp_basicsize = sizeof(device_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Device(type, index=0)\n--\n\nA device that work runs on.",
    .tp_new = device_new,
    .tp_repr = device_repr,
    .tp_richcompare = device_compare,
    .tp_hash = device_hash,
    .tp_getset = device_attributes,
    .tp_methods = device_methods,
};

static PyTypeObject stream_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ferrule.core.Stream",
    .tp_basicsize = sizeof(stream_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A queue of a device: what is in one runs in order.",
    .tp_repr = stream_repr,
    .tp_richcompare = stream_compare,
    .tp_hash = stream_hash,
    .tp_getset = stream_attributes,
};

/* ---- functions ------------------------------------------------------------------------ */

static PyObject *call_default_device(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    fr_stream now = fr_stream_current();
    return device_make(fr_stream_device(now), fr_stream_index(now));
}

/* Makes the stream of a device, or a stream, the thread's current one. */
static PyObject *choose(PyObject *value, const char *function)
{
    fr_stream wanted;
    if (read_stream(value, &wanted, function))
        return NULL;
    if (fr_stream_set(wanted))
        return py_raise();
    Py_RETURN_NONE;
}

static PyObject *call_set_default_device(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                         PyObject *names)
{
    (void)module;
    PyObject *device = py_parse_one("set_default_device", "device", args, n, names);
    if (!device)
        return NULL;
    fr_device_kind kind;
    int index;
    if (!read_device(device, &kind, &index)) {
        PyErr_Format(PyExc_TypeError, "set_default_device: wanted a Device, not %s",
                     Py_TYPE(device)->tp_name);
        return NULL;
    }
    return choose(device, "set_default_device");
}

static PyObject *call_set_default_stream(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                         PyObject *names)
{
    (void)module;
    PyObject *stream = py_parse_one("set_default_stream", "stream", args, n, names);
    if (!stream)
        return NULL;
    return choose(stream, "set_default_stream");
}

static PyObject *call_default_stream(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    (void)module;
    PyObject *device = py_parse_one("default_stream", "device", args, n, names);
    if (!device)
        return NULL;
    fr_stream stream;
    if (read_stream(device, &stream, "default_stream"))
        return NULL;
    return stream_make(stream);
}

static PyObject *call_new_stream(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    (void)module;
    PyObject *device = py_parse_one("new_stream", "device", args, n, names);
    if (!device)
        return NULL;
    fr_device_kind kind;
    int index;
    if (!read_device(device, &kind, &index)) {
        PyErr_Format(PyExc_TypeError, "new_stream: wanted a Device, not %s",
                     Py_TYPE(device)->tp_name);
        return NULL;
    }
    if (no_device(kind, index, "new_stream"))
        return NULL;
    fr_stream stream = fr_stream_on(kind, index);
    if (fr_error() != FR_OK)
        return py_raise();
    return stream_make(stream);
}

static PyObject *call_synchronize(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    (void)module;
    static const py_signature signature = {"synchronize", 0, 1, 0, {"stream", NULL}};
    PyObject *at[1];
    fr_stream stream = fr_stream_current();
    if (py_parse(&signature, args, n, names, at) ||
        (at[0] && at[0] != Py_None && read_stream(at[0], &stream, "synchronize")))
        return NULL;
    int failed;
    Py_BEGIN_ALLOW_THREADS failed = fr_synchronize(stream);
    Py_END_ALLOW_THREADS if (failed) return py_raise();
    Py_RETURN_NONE;
}

static PyObject *call_is_available(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                   PyObject *names)
{
    (void)module;
    PyObject *device = py_parse_one("is_available", "device", args, n, names);
    if (!device)
        return NULL;
    fr_device_kind kind;
    int index;
    if (!read_device(device, &kind, &index)) {
        PyErr_Format(PyExc_TypeError, "is_available: wanted a Device, not %s",
                     Py_TYPE(device)->tp_name);
        return NULL;
    }
    return PyBool_FromLong(index >= 0 && index < fr_device_count(kind));
}

static PyObject *call_device_count(PyObject *module, PyObject *device)
{
    (void)module;
    fr_device_kind kind;
    int index;
    if (!read_device(device, &kind, &index))
        return py_complain(PyExc_TypeError, "device_count: wanted cpu or gpu, not %R", device);
    return PyLong_FromLong(fr_device_count(kind));
}

static PyObject *call_device_info(PyObject *module, PyObject *device)
{
    (void)module;
    fr_device_kind kind;
    int index;
    fr_device_info info;
    if (!read_device(device, &kind, &index))
        return py_complain(PyExc_TypeError, "device_info: wanted a Device, not %R", device);
    if (no_device(kind, index, "device_info"))
        return NULL;
    if (fr_device_about(kind, index, &info))
        return py_raise();
    char architecture[32];
    snprintf(architecture, sizeof architecture, "sm_%d", info.capability);
    return Py_BuildValue("{s:s,s:s,s:n,s:i}", "architecture", architecture, "device_name",
                         info.name, "memory_size", (Py_ssize_t)info.memory, "multiprocessors",
                         info.units);
}

PyMethodDef py_stream_functions[] = {
    {"_device_count", call_device_count, METH_O, NULL},
    {"_device_info", call_device_info, METH_O, NULL},
    {"default_device", call_default_device, METH_NOARGS,
     "default_device()\n--\n\nthe device of this thread's current stream"},
    PY_METHOD("set_default_device", call_set_default_device,
              "set_default_device(device)\n--\n\nwhere this thread's new work runs"),
    PY_METHOD("default_stream", call_default_stream,
              "default_stream(device)\n--\n\nthe stream that new work of a device goes to"),
    PY_METHOD("set_default_stream", call_set_default_stream,
              "set_default_stream(stream)\n--\n\nthe stream of this thread's new work"),
    PY_METHOD("new_stream", call_new_stream, "new_stream(device)\n--\n\na further stream"),
    PY_METHOD("is_available", call_is_available,
              "is_available(device)\n--\n\ntrue if this machine has the device"),
    PY_METHOD("synchronize", call_synchronize,
              "synchronize(stream=None)\n--\n\nwaits until all work of a stream is done"),
    PY_END,
};

int py_stream_init(PyObject *module)
{
    PyTypeObject *types[] = {&kind_type, &device_type, &stream_type};
    static const char *const names[] = {"DeviceType", "Device", "Stream"};
    for (int i = 0; i < 3; i++) {
        if (PyType_Ready(types[i]))
            return -1;
        Py_INCREF(types[i]);
        if (PyModule_AddObject(module, names[i], (PyObject *)types[i]))
            return -1;
    }
    for (int k = 0; k < 2; k++) {
        if (!Py_REFCNT(&kinds[k])) /* static: it starts with a reference nobody gives back */
            PyObject_Init((PyObject *)&kinds[k], &kind_type);
        kinds[k].kind = (fr_device_kind)k;
        const char *name = kind_name((fr_device_kind)k);
        if (PyModule_AddObject(module, name, kind_object_of((fr_device_kind)k)))
            return -1;
        if (PyDict_SetItemString(kind_type.tp_dict, name, (PyObject *)&kinds[k]))
            return -1;
    }
    PyType_Modified(&kind_type);
    return 0;
}
