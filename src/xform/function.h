/* function.h - running a user's function, and handing over what it gave */
#ifndef FR_XFORM_FUNCTION_H
#define FR_XFORM_FUNCTION_H

#include "core/scope.h"

/* Runs fn in the open scope; checks that all results are there. `what` for messages. */
int fr__run(fr_fn *fn, void *ctx, const char *what, int n_in, fr_array *const *in, int n_out,
            fr_array **out);
/* Closes the scope; with status 0 its n arrays become results as an operation's. The status. */
int fr__hand_over(fr_scope *s, int status, int n, fr_array **out);
bool fr__good_arrays(const char *what, int n, fr_array *const *x); /* no error, none NULL */

#endif
