/* memory.c - memory, threads, counters, and what an evaluation would do as text */
#include "ext.h"

static PyObject *call_get_active_memory(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromSize_t(fr_memory().active);
}

static PyObject *call_get_peak_memory(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromSize_t(fr_memory().peak);
}

static PyObject *call_get_cache_memory(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromSize_t(fr_memory().cached);
}

static PyObject *call_reset_peak_memory(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    fr_memory_reset_peak();
    Py_RETURN_NONE;
}

static PyObject *call_clear_cache(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    Py_BEGIN_ALLOW_THREADS fr_clear_cache();
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *set_bytes(size_t (*function)(size_t), const char *name, PyObject *const *args,
                           Py_ssize_t n, PyObject *names)
{
    PyObject *limit = py_parse_one(name, "limit", args, n, names);
    if (!limit)
        return NULL;
    PyObject *number = PyNumber_Index(limit);
    size_t bytes = number ? PyLong_AsSize_t(number) : 0;
    Py_XDECREF(number);
    if (PyErr_Occurred())
        return py_name_error(name);
    return PyLong_FromSize_t(function(bytes));
}

static PyObject *call_set_memory_limit(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                       PyObject *names)
{
    (void)module;
    return set_bytes(fr_memory_set_limit, "set_memory_limit", args, n, names);
}

static PyObject *call_set_cache_limit(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                      PyObject *names)
{
    (void)module;
    return set_bytes(fr_memory_set_cache_limit, "set_cache_limit", args, n, names);
}

static PyObject *call_get_memory_limit(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromSize_t(fr_memory().limit);
}

static PyObject *call_num_threads(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromLong(fr_threads());
}

static PyObject *call_set_num_threads(PyObject *module, PyObject *number)
{
    (void)module;
    int n;
    if (py_read_int(number, &n))
        return py_name_error("set_num_threads");
    if (n < 0) {
        PyErr_SetString(PyExc_ValueError, "set_num_threads: a number of threads, or 0 for all");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS fr_set_threads(n);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *call_kernel_count(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromLongLong(fr_count(FR_COUNT_KERNELS));
}

static PyObject *call_counters(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    static const char *const names[FR_COUNTERS] = {
        [FR_COUNT_KERNELS] = "kernels",     [FR_COUNT_PROGRAMS] = "programs",
        [FR_COUNT_TRACES] = "traces",       [FR_COUNT_GENERATED] = "generated",
        [FR_COUNT_DISK_HITS] = "disk_hits", [FR_COUNT_INTERPRETED] = "interpreted",
    };
    PyObject *result = PyDict_New();
    for (int i = 0; result && i < FR_COUNTERS; i++) {
        PyObject *count = PyLong_FromLongLong(fr_count((fr_counter)i));
        if (!count || PyDict_SetItemString(result, names[i], count))
            Py_CLEAR(result);
        Py_XDECREF(count);
    }
    return result;
}

static PyObject *call_describe(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    py_flat flat;
    PyObject *result = NULL;
    py_flat_begin(&flat);
    if (!py_collect(args, n, &flat)) {
        char *text = fr_describe(flat.n, flat.arrays);
        result = text ? PyUnicode_FromString(text) : py_raise();
        fr_text_free(text);
    }
    py_flat_end(&flat);
    return result;
}

PyMethodDef py_memory_functions[] = {
    {"get_active_memory", call_get_active_memory, METH_NOARGS,
     "get_active_memory()\n--\n\nbytes of arrays in use"},
    {"get_peak_memory", call_get_peak_memory, METH_NOARGS,
     "get_peak_memory()\n--\n\nmost bytes in use since the start or reset_peak_memory"},
    {"get_cache_memory", call_get_cache_memory, METH_NOARGS,
     "get_cache_memory()\n--\n\nbytes kept for reuse"},
    {"reset_peak_memory", call_reset_peak_memory, METH_NOARGS,
     "reset_peak_memory()\n--\n\nstarts get_peak_memory again from now"},
    {"clear_cache", call_clear_cache, METH_NOARGS,
     "clear_cache()\n--\n\ngives what is kept for reuse back to the system"},
    {"get_memory_limit", call_get_memory_limit, METH_NOARGS,
     "get_memory_limit()\n--\n\nmost bytes that may be in use"},
    PY_METHOD("set_memory_limit", call_set_memory_limit,
              "set_memory_limit(limit)\n--\n\nmost bytes in use from now; gives the old limit"),
    PY_METHOD("set_cache_limit", call_set_cache_limit,
              "set_cache_limit(limit)\n--\n\nmost bytes kept for reuse; gives the old limit"),
    {"num_threads", call_num_threads, METH_NOARGS, "num_threads()\n--\n\nthreads that compute"},
    {"set_num_threads", call_set_num_threads, METH_O,
     "set_num_threads(n, /)\n--\n\nthreads that compute; 0: as at start"},
    {"kernel_count", call_kernel_count, METH_NOARGS,
     "kernel_count()\n--\n\nkernels launched by this process so far"},
    {"counters", call_counters, METH_NOARGS,
     "counters()\n--\n\nwhat this process did so far, a dict of counts"},
    {"describe", (PyCFunction)(void (*)(void))call_describe, METH_FASTCALL,
     "describe(*arrays)\n--\n\nwhat evaluating would do, as text; evaluates nothing"},
    PY_END,
};
