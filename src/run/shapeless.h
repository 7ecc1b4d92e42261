/* shapeless.h - programs for other sizes without another trace */
#ifndef FR_SHAPELESS_H
#define FR_SHAPELESS_H

#include "run/plan.h"

enum { FR__SIZES = 12 }; /* different sizes of a call's inputs, at most */

/* What a call's sizes are to a shapeless function: the distinct ones above 1, in ascending order,
 * and for each dimension which of them it is. */
typedef struct fr__sizes {
    int n;
    int64_t at[FR__SIZES];
} fr__sizes;
/* False: too many, or an input whose layout isn't row-major. */
bool fr__sizes_of(int n_in, fr_array *const *in, fr__sizes *sizes);
/* 0 or 1 for themselves, 2 + its number for another size. */
int fr__size_class(const fr__sizes *sizes, int64_t size);
/* Sizes to trace with in their place: large primes in the same order, so that what is made of
 * one of them can be told in a graph. ndim: of the input that has most dimensions. */
void fr__sizes_unusual(fr__sizes *sizes, int ndim);

/* A captured trace whose numbers are expressions in the sizes of its inputs. */
typedef struct fr__symbolic fr__symbolic;
/* Of a trace made with unusual sizes. source: of its leaves as in a program. NULL without an
 * error: some number in it can't be told, or some operation isn't known to be the same for all
 * sizes. */
fr__symbolic *fr__symbolic_new(const fr__trace *t, const int32_t *source,
                               fr_array *const *captured, int ncaptured,
                               const fr__sizes *unusual);
void fr__symbolic_free(fr__symbolic *s);
/* The trace for these sizes, into an empty t, and the arrays captured, a reference each, into
 * `captured` (room for as many as before). 0; 1: it isn't right for these sizes; -1: an error. */
int fr__symbolic_trace(const fr__symbolic *s, const fr__sizes *sizes, fr__trace *t,
                       fr_array **captured);

int fr__symbolic_captured(const fr__symbolic *s); /* how many arrays */
/* Where its leaves come from, as in a program. */
void fr__symbolic_leaves(const fr__symbolic *s, int32_t *source);
/* Whether a dimension may be made of the unusual sizes. */
bool fr__sizes_in(const fr__sizes *unusual, int ndim, const int64_t *shape);

#endif
