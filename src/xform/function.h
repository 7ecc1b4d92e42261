/* function.h - running a user's function, and handing over what it gave; tapes */
#ifndef FR_XFORM_FUNCTION_H
#define FR_XFORM_FUNCTION_H

#include "core/scope.h"
#include "xform/walk.h"

/* Runs fn in the open scope; checks that all results are there. `what` for messages. */
int fr__run(fr_fn *fn, void *ctx, const char *what, int n_in, fr_array *const *in, int n_out,
            fr_array **out);
/* Closes the scope; with status 0 its n arrays become results as an operation's. The status. */
int fr__hand_over(fr_scope *s, int status, int n, fr_array **out);
bool fr__good_arrays(const char *what, int n, fr_array *const *x); /* no error, none NULL */

struct fr_tape {
    uint32_t id;
    int n;
    fr_array *alias[]; /* references */
};
/* fr_tape_gradients over the nodes that follow says. */
int fr__gradients(fr_tape *t, fr__follow *follow, int n_out, fr_array *const *out,
                  fr_array *const *cotangents, fr_array **grads);

#endif
