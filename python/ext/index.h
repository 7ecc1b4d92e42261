/* index.h - an index as read from Python: what the files that read and write x[...] share */
#ifndef FERRULE_PYTHON_INDEX_H
#define FERRULE_PYTHON_INDEX_H

#include "ext.h"

/* x[index]: a slice of x; of that the axes in `dropped` go, which ints took; arrays index others; the
 * indices' own axes, the block, come to stand before axis `block_at` of those that are left; then
 * come the axes that None adds. A boolean mask stands alone. */
typedef struct py_index {
    fr_array *x; /* the caller's */
    int64_t start[FR_MAX_NDIM], step[FR_MAX_NDIM], count[FR_MAX_NDIM];
    bool whole; /* the slice is all of x */
    int dropped[FR_MAX_NDIM], ndropped;
    fr_array *arrays[FR_MAX_NDIM];  /* references of ours */
    int axes[FR_MAX_NDIM], narrays; /* of x */
    int block_at, nblock;
    int64_t block[FR_MAX_NDIM];
    int left;                       /* axes that are neither dropped nor indexed by an array */
    int added[FR_MAX_NDIM], nadded; /* axes of the result */
    fr_array *mask;                 /* a reference of ours, or NULL */
} py_index;

/* 0, or -1 with an exception and nothing to free. */
int py_index_read(py_index *to, fr_array *x, PyObject *index);
void py_index_free(py_index *index);

/* References of the caller's; NULL: the library's error is set. */
fr_array *py_index_part(const py_index *i);            /* the slice without what ints took */
fr_array *py_index_get(const py_index *i);             /* x[index]; not of a mask */
int py_index_shape(const py_index *i, int64_t *shape); /* of x[index]; ndim */
/* The axes of arrays, counted in py_index_part. */
void py_index_axes(const py_index *i, int *axes);

/* What x[index] and values become together. */
typedef enum py_update {
    PY_SET,
    PY_ADD,
    PY_SUBTRACT,
    PY_MULTIPLY,
    PY_DIVIDE,
    PY_MAXIMUM,
    PY_MINIMUM
} py_update;
/* x with x[index] updated: a reference of the caller's; NULL: raised. */
fr_array *py_index_update(fr_array *x, PyObject *index, PyObject *value, py_update how);

/* x, which is the caller's and is given up, and what a function made of it. */
#define PY_THEN(x, ...)                                                                        \
    do {                                                                                       \
        fr_array *py_next = (x) ? fr_own(__VA_ARGS__) : NULL;                                  \
        fr_free(x);                                                                            \
        (x) = py_next;                                                                         \
    } while (0)

#endif
