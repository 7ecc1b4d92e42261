/* products.c - sums of products: matmul and what is made of it */
#include "ext.h"

#include <math.h>

/* Both operands of `left @ right`; NotImplemented where one can't be one. */
PyObject *py_matmul(PyObject *left, PyObject *right)
{
    fr_array *owned[2] = {NULL, NULL};
    fr_array *a = py_operand(left, &owned[0]), *b = a ? py_operand(right, &owned[1]) : NULL;
    PyObject *result = NULL;
    if (a && b) {
        result = py_wrap(fr_matmul(a, b));
    } else if (!PyErr_Occurred()) {
        Py_INCREF(Py_NotImplemented);
        result = Py_NotImplemented;
    }
    fr_free(owned[0]);
    fr_free(owned[1]);
    return result;
}

PY_CALL(matmul)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(matmul), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    return b ? py_end_call(&c, fr_matmul(c.x, b)) : py_fail_call(&c);
}

/* ---- of two arrays -------------------------------------------------------------------- */

typedef fr_array *of_two(fr_array *a, fr_array *b);

static PyObject *two(of_two *function, const py_signature *signature, PyObject *self,
                     PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    py_call c;
    if (py_begin_call(&c, signature, self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    return b ? py_end_call(&c, function(c.x, b)) : py_fail_call(&c);
}

PY_CALL(inner) { return two(fr_inner, PY_SIGNATURE(inner), self, args, n, names); }
PY_CALL(outer) { return two(fr_outer, PY_SIGNATURE(outer), self, args, n, names); }
PY_CALL(vdot) { return two(fr_vdot, PY_SIGNATURE(vdot), self, args, n, names); }
PY_CALL(kron) { return two(fr_kron, PY_SIGNATURE(kron), self, args, n, names); }

PY_CALL(vecdot)
{
    py_call c;
    int axis = -1;
    if (py_begin_call(&c, PY_SIGNATURE(vecdot), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    if (!b || py_read_int(c.at[2], &axis))
        return py_fail_call(&c);
    return py_end_call(&c, fr_vecdot(c.x, b, axis));
}

PY_CALL(addmm)
{
    py_call c;
    double alpha = 1, beta = 1;
    if (py_begin_call(&c, PY_SIGNATURE(addmm), self, args, n, names))
        return NULL;
    fr_array *a = py_call_operand(&c, 1), *b = a ? py_call_operand(&c, 2) : NULL;
    if (!b || py_read_number(c.at[3], &alpha) || py_read_number(c.at[4], &beta))
        return py_fail_call(&c);
    return py_end_call(&c, fr_addmm(c.x, a, b, alpha, beta));
}

/* A number of axes, or two lists of as many. */
static int read_pairs(PyObject *value, const fr_array *a, py_axes *of_a, py_axes *of_b)
{
    int count = 2;
    if (!value || PyIndex_Check(value)) {
        if (py_read_int(value, &count))
            return -1;
        if (count < 0 || count > fr_ndim(a)) {
            PyErr_Format(PyExc_ValueError,
                         "tensordot: over %d axes of an array of %d dimensions", count,
                         fr_ndim(a));
            return -1;
        }
        of_a->n = of_b->n = count;
        for (int i = 0; i < count; i++) {
            of_a->at[i] = fr_ndim(a) - count + i;
            of_b->at[i] = i;
        }
        return 0;
    }
    PyObject *both = PySequence_Fast(value, "tensordot: axes are an int or two lists of ints");
    if (!both)
        return -1;
    int failed = PySequence_Fast_GET_SIZE(both) != 2;
    if (failed)
        PyErr_SetString(PyExc_ValueError, "tensordot: axes are an int or two lists of ints");
    failed = failed || py_read_axes(PySequence_Fast_GET_ITEM(both, 0), of_a, "tensordot") ||
             py_read_axes(PySequence_Fast_GET_ITEM(both, 1), of_b, "tensordot");
    Py_DECREF(both);
    if (!failed && of_a->n != of_b->n) {
        PyErr_Format(PyExc_ValueError, "tensordot: %d axes of a for %d of b", of_a->n, of_b->n);
        return -1;
    }
    return failed ? -1 : 0;
}

PY_CALL(tensordot)
{
    py_call c;
    py_axes of_a, of_b;
    if (py_begin_call(&c, PY_SIGNATURE(tensordot), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    if (!b || read_pairs(c.at[2], c.x, &of_a, &of_b))
        return py_fail_call(&c);
    return py_end_call(&c, fr_tensordot(c.x, b, of_a.n, of_a.at, of_b.at));
}

/* ---- einsum ------------------------------------------------------------------------------ */

/* f(subscripts, *operands): the operands as references of the caller's. NULL: raised. */
static const char *read_einsum(const char *function, PyObject *const *args, Py_ssize_t n,
                               fr_array ***operands)
{
    if (n < 1 || !PyUnicode_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "%s: the first argument is a string like 'ij,jk->ik'",
                     function);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8(args[0]);
    return text && py_take_arrays(args + 1, n - 1, function, operands) >= 0 ? text : NULL;
}

PY_CALL(einsum)
{
    py_call c;
    fr_array **operands;
    (void)self;
    Py_ssize_t given = n > 0; /* subscripts is the one positional parameter with a name */
    if (!given) {
        PyErr_SetString(PyExc_TypeError, "einsum: wanted subscripts and arrays");
        return NULL;
    }
    PyObject *const *keywords = args + n;
    py_signature only_keywords = {"einsum", 0, 0, 0, {"stream", NULL}};
    if (py_begin_bare_call(&c, &only_keywords, keywords, 0, names))
        return NULL;
    const char *text = read_einsum("einsum", args, n, &operands);
    if (!text)
        return py_fail_call(&c);
    fr_array *result = fr_einsum(text, (int)n - 1, operands);
    py_free_arrays(operands, n - 1);
    return py_end_call(&c, result);
}

static PyObject *described_path(const char *text, int steps, int (*path)[2],
                                const fr_einsum_cost *cost)
{
    PyObject *list = PyList_New(steps);
    for (int s = 0; list && s < steps; s++) {
        PyObject *step = path[s][1] < 0 ? Py_BuildValue("(i)", path[s][0])
                                        : Py_BuildValue("(ii)", path[s][0], path[s][1]);
        if (step)
            PyList_SET_ITEM(list, s, step);
        else
            Py_CLEAR(list);
    }
    char costs[300];
    snprintf(costs, sizeof costs,
             "         Naive scaling:  %d\n     Optimized scaling:  %d\n"
             "      Naive FLOP count:  %.0f\n  Optimized FLOP count:  %.0f\n",
             cost->naive_scaling, cost->scaling, cost->naive_flops, cost->flops);
    PyObject *told =
        list ? PyUnicode_FromFormat("  Complete contraction:  %s\n%s", text, costs) : NULL;
    PyObject *result = told ? PyTuple_Pack(2, list, told) : NULL;
    Py_XDECREF(list);
    Py_XDECREF(told);
    return result;
}

PY_CALL(einsum_path)
{
    fr_array **operands;
    (void)self;
    if (names && PyTuple_GET_SIZE(names)) {
        PyErr_SetString(PyExc_TypeError, "einsum_path() takes no keyword arguments");
        return NULL;
    }
    const char *text = read_einsum("einsum_path", args, n, &operands);
    if (!text)
        return NULL;
    fr_einsum_cost cost;
    int(*path)[2] = PyMem_Calloc((size_t)n, sizeof *path);
    int steps = path ? fr_einsum_path(text, (int)n - 1, operands, path, &cost) : -1;
    PyObject *result = !path       ? PyErr_NoMemory()
                       : steps < 0 ? py_raise()
                                   : described_path(text, steps, path, &cost);
    PyMem_Free(path);
    py_free_arrays(operands, n - 1);
    return result ? result : py_name_error("einsum_path");
}

/* ---- masked, gathered, segmented ---------------------------------------------------------- */

/* The operand of a slot, NULL where it is None or not given; false: raised. */
static bool optional(py_call *c, int slot, fr_array **to)
{
    *to = NULL;
    return !c->at[slot] || c->at[slot] == Py_None || (*to = py_call_operand(c, slot));
}

PY_CALL(block_masked_mm)
{
    py_call c;
    fr_block_masks masks = {.block_size = 64};
    if (py_begin_call(&c, PY_SIGNATURE(block_masked_mm), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    if (!b || py_read_int(c.at[2], &masks.block_size) || !optional(&c, 3, &masks.out) ||
        !optional(&c, 4, &masks.lhs) || !optional(&c, 5, &masks.rhs))
        return py_fail_call(&c);
    if (masks.block_size < 1) {
        PyErr_Format(PyExc_ValueError, "block_masked_mm: blocks of %d", masks.block_size);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_block_masked_mm(c.x, b, &masks));
}

/* sorted_indices is a hint that isn't needed. */
PY_CALL(gather_mm)
{
    py_call c;
    fr_array *lhs, *rhs;
    if (py_begin_call(&c, PY_SIGNATURE(gather_mm), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1);
    if (!b || !optional(&c, 2, &lhs) || !optional(&c, 3, &rhs))
        return py_fail_call(&c);
    return py_end_call(&c, fr_gather_mm(c.x, b, lhs, rhs));
}

PY_CALL(segmented_mm)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(segmented_mm), self, args, n, names))
        return NULL;
    fr_array *b = py_call_operand(&c, 1), *segments = b ? py_call_operand(&c, 2) : NULL;
    return segments ? py_end_call(&c, fr_segmented_mm(c.x, b, segments)) : py_fail_call(&c);
}

PY_CALL(hadamard_transform)
{
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(hadamard_transform), self, args, n, names))
        return NULL;
    int ndim = fr_ndim(c.x);
    double scale = ndim ? 1 / sqrt((double)fr_shape(c.x)[ndim - 1]) : 1;
    if (py_read_number(c.at[1], &scale))
        return py_fail_call(&c);
    return py_end_call(&c, fr_hadamard_transform(c.x, scale));
}

PY_CALL(convolve)
{
    static const char *const modes[] = {"full", "valid", "same"};
    py_call c;
    if (py_begin_call(&c, PY_SIGNATURE(convolve), self, args, n, names))
        return NULL;
    fr_array *v = py_call_operand(&c, 1);
    if (!v)
        return py_fail_call(&c);
    int mode = 0;
    while (
        c.at[2] && mode < 3 &&
        !(PyUnicode_Check(c.at[2]) && !PyUnicode_CompareWithASCIIString(c.at[2], modes[mode])))
        mode++;
    if (mode == 3) {
        py_complain(PyExc_ValueError, "convolve: mode is 'full', 'valid' or 'same', not %R",
                    c.at[2]);
        return py_fail_call(&c);
    }
    return py_end_call(&c, fr_convolve(c.x, v, (fr_convolve_mode)mode));
}
