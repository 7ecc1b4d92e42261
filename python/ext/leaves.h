/* leaves.h - the arrays in nested containers, and the containers again with others
 *
 * What transformations share: lists, tuples (namedtuples too) and dicts; anything else is a leaf.
 */
#ifndef FERRULE_PYTHON_LEAVES_H
#define FERRULE_PYTHON_LEAVES_H

#include "tree.h"

/* The arrays in value, in order, into flat. strict: any other leaf is a ValueError naming the
 * function and `what`; NULL: other leaves are passed over. */
int py_leaves(PyObject *value, py_flat *flat, const char *strict, const char *what);
/* New containers like value's with *next, *next + 1 ... in place of its arrays. */
PyObject *py_with_leaves(PyObject *value, fr_array *const **next);
/* The same with an object for each array. */
PyObject *py_with_objects(PyObject *value, PyObject *const **next);
/* The same with py_hole for each: a form to be filled by the two above, holding no arrays. */
PyObject *py_form(PyObject *value);
extern PyObject *py_hole;
/* The arrays of a value like the form, in the order of its holes, as results of an operation (in a
 * scope); None is NULL, and for a part of the form all of it. `what` for a ValueError. */
int py_fit_form(PyObject *form, PyObject *value, const char *what, fr_array ***next);
/* A list or tuple of arrays, into flat; else a TypeError. */
int py_read_array_list(PyObject *value, py_flat *flat, const char *function, const char *what);
/* A new list of n handles on references, which are taken over in any case. */
PyObject *py_array_list(int n, fr_array **references);

#endif
