/* witness.h - a graph once more, one operation at a time: compile(check), debug_nans */
#ifndef FR_WITNESS_H
#define FR_WITNESS_H

#include "graph/trace.h"

typedef struct fr__witness fr__witness;
/* Of the graph of these results, which may have placeholders. NULL: an error. */
fr__witness *fr__witness_new(int n_out, fr_array *const *out);
void fr__witness_free(fr__witness *w);
/* Its leaves where they are arrays with values, a reference each; n of them. */
int fr__witness_leaves(const fr__witness *w, fr_array *const **leaves);
/* What a program gave for its results, or NULL; its leaves; its literals, or NULL: those of the
 * capture. Finds the first operation that makes a NaN of none: -1 and an error; 0: there is none. */
int fr__witness_nans(const fr__witness *w, fr_array *const *leaves, const int64_t *literals,
                     fr_array *const *out, const char *function);
/* Compares `out` with what single operations give: -1 and an error that names the first whose
 * value differs by more than rounding. */
int fr__witness_check(const fr__witness *w, fr_array *const *leaves, const int64_t *literals,
                      fr_array *const *out, const char *function);
bool fr__trap_set(void); /* debug_nans */
bool fr__trap_on(void);  /* the same, but not inside a witness */
/* Whether who makes arrays should note where. */
bool fr__places_on(void);
void fr__places_wanted(int more); /* a function that checks: 1, -1 when it goes */

#endif
