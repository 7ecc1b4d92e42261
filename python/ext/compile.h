/* compile.h - what the files of compile share: programs of a function, the compiled object, a call
 *
 *   programs.c  the programs of one function, and who finds them again
 *   vary.c      calls that differ in numbers only
 *   compile.c   tracing, calling, the object, the functions of the module
 */
#ifndef FERRULE_PYTHON_COMPILE_H
#define FERRULE_PYTHON_COMPILE_H

#include "ext.h"

typedef struct programs {
    PyObject_HEAD fr_function *function;
    PyObject *pinned;   /* types whose address is in a key: a set, or NULL */
    PyObject *patterns; /* {a call but for its numbers: what is known of it}, or NULL */
    PyObject *plain; /* {the same without shapes: bits of the numbers that matter}, or NULL */
    PyObject *notes; /* what was found out about numbers, for explain: a list, or NULL */
    PyObject *weak;
    PyThread_type_lock lock; /* held by calls that capture state, or NULL */
    unsigned long owner;     /* the thread that holds it, 0: none */
} programs;

enum { PY_STRICT = 1, PY_SHAPELESS = 2, PY_CHECK = 4 }; /* options that programs depend on */
PyObject *py_programs_of(PyObject *fun, int options);
/* Of a function with captured state: by identity of all of them, which live at least as long as
 * the compiled functions, and so these programs, do. */
PyObject *py_programs_of_state(PyObject *fun, PyObject *inputs, PyObject *outputs, int options);
void py_programs_clear(programs *p);
int py_programs_clear_all(void);
int py_programs_init(void);

typedef struct compiled { /* a py_wrapper */
    PyObject_HEAD vectorcallfunc call;
    PyObject *fun;
    PyObject *inputs, *outputs; /* captured containers, or NULL */
    programs *programs;
    int options;
    PyObject *attributes; /* its __dict__, or NULL */
    PyObject *weak;
} compiled;

/* One call on its way. */
typedef struct call {
    compiled *self;
    PyObject *const *args;
    Py_ssize_t n;
    PyObject *names;
    py_flat flat; /* arrays of arguments, then of captured inputs */
    int arguments;
    py_seen *seen; /* captured inputs; NULL: the function captures nothing */
    bool taped;    /* a trace met what is being differentiated: no constant of a program */
} call;

/* Runs the function with placeholders and keeps the program in `function`: the call's own, or one
 * for a trial. numbers: see py_rebuild_call. */
fr_program *py_trace_call(call *c, fr_function *function, PyObject *const *numbers);
/* Of captured state what may be written over in this run: for fr_program_run_claimed, which must
 * follow before anything else; NULL: nothing. To be freed. 0, or -1 with an exception. */
int py_claim(const call *c, fr_program *program, bool **which);
/* The program of a call that differs from an earlier one in numbers only, if there can be one;
 * NULL without an exception: there is none. */
fr_program *py_by_numbers(call *c);

#endif
