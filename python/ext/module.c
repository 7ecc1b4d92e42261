/* module.c - ferrule._core: types, functions, constants; ferrule.core shows them to users
 *
 * One module a process, made in one phase: the library behind it has one state as well.
 */
#include "ext.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ferrule._core",
    .m_doc = "Lazy arrays, fused kernels, compile: use it as ferrule.core.",
    .m_size = -1,
};

static int add_numbers(PyObject *module)
{
    static const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"pi", 3.141592653589793},
        {"e", 2.718281828459045},
        {"euler_gamma", 0.5772156649015329},
        {"inf", Py_HUGE_VAL},
        {"nan", Py_NAN},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        PyObject *number = PyFloat_FromDouble(numbers[i].value);
        if (!number || PyModule_AddObject(module, numbers[i].name, number)) {
            Py_XDECREF(number);
            return -1;
        }
    }
    Py_INCREF(Py_None);
    return PyModule_AddObject(module, "newaxis", Py_None);
}

/* Functions say that they are of ferrule.core: so they are shown and pickled. */
static int add_functions(PyObject *module, PyMethodDef *functions)
{
    PyObject *name = PyUnicode_FromString("ferrule.core");
    for (PyMethodDef *f = functions; name && f->ml_name; f++) {
        PyObject *function = PyCFunction_NewEx(f, module, name);
        if (!function || PyModule_AddObject(module, f->ml_name, function)) {
            Py_XDECREF(function);
            Py_DECREF(name);
            return -1;
        }
    }
    Py_XDECREF(name);
    return name ? 0 : -1;
}

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    if (py_error_init(module) || py_dtype_init(module) || py_array_init(module) ||
        py_stream_init(module) || py_compile_init(module) || py_random_init(module) ||
        py_linalg_init(module) || add_numbers(module) ||
        add_functions(module, py_op_functions) || add_functions(module, py_compile_functions) ||
        add_functions(module, py_stream_functions) ||
        add_functions(module, py_memory_functions) ||
        add_functions(module, py_fast_functions) || py_transform_init(module) ||
        add_functions(module, py_transform_functions) ||
        add_functions(module, py_conv_functions) ||
        add_functions(module, py_exchange_functions) ||
        add_functions(module, py_dtype_functions) ||
        PyModule_AddStringConstant(module, "__version__", fr_version())) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
