/* tree.h - what tree.c and state.c share: paths, and the pieces of a result */
#ifndef FERRULE_PYTHON_TREE_H
#define FERRULE_PYTHON_TREE_H

#include "ext.h"

/* Where in a tree: for messages, built while an error is told. */
typedef struct path {
    const struct path *up;
    PyObject *key;    /* of a dict, or the name of a keyword argument; NULL: */
    Py_ssize_t index; /* of a list or tuple */
} path;
PyObject *py_path_text(const path *at, const char *root);

/* AGAIN: a container, SAME: an array that came before, by its number. */
typedef enum piece_kind {
    ARRAY,
    CONSTANT,
    LIST,
    TUPLE,
    NAMEDTUPLE,
    DICT,
    OBJECT, /* of ferrule._containers: then the tree that it is taken apart into */
    AGAIN,
    SAME
} piece_kind;
enum { PLACE_NEW = -1, PLACE_HERE = -2 };

/* A tree in the order of its writing: each container before its items. */
typedef struct piece {
    piece_kind kind;
    Py_ssize_t count; /* items of a container; AGAIN and SAME: the number */
    Py_ssize_t
        place; /* of state: which container it is; PLACE_NEW, PLACE_HERE: the one there */
    PyObject *object; /* the constant, a namedtuple's type, a dict's keys (a list), a shell */
} piece;

struct py_structure {
    py_release release;
    bool single; /* one array and nothing else */
    Py_ssize_t n, room;
    piece *pieces;
    Py_ssize_t state; /* number of the first piece of captured outputs */
    int arrays;       /* of the result; those of captured outputs follow */
    PyObject *about;  /* why it was traced, for explain; or NULL */
};

int py_push_piece(py_structure *s, piece_kind kind, Py_ssize_t count, PyObject *object);
int py_push_array(py_flat *flat, fr_array *x); /* takes over the reference */
bool py_is_namedtuple(PyObject *value);
bool py_is_constant(PyObject *value);
PyObject *py_make_namedtuple(PyObject *type, PyObject *items); /* takes over items */
/* A list, tuple or namedtuple like value, of what `one` makes of each item. */
PyObject *py_items_again(PyObject *value, PyObject *(*one)(PyObject *item, void *ctx),
                         void *ctx);
PyObject *py_sorted_keys(PyObject *dict);

/* Objects that are neither arrays nor constants nor plain containers: ferrule._containers. */
static inline bool py_is_plain(PyObject *value) /* a container that C walks itself */
{
    return PyList_Check(value) || PyTuple_Check(value) || PyDict_CheckExact(value);
}
/* 0: *tree is a new reference; 1: not known; -1: raised. result: of what a function returns. */
int py_take_apart(PyObject *value, bool result, PyObject **tree);
PyObject *py_put_together(PyObject *like,
                          PyObject *tree); /* takes tree over; NULL in, NULL out */
PyObject *py_shell(PyObject *value);

#endif
