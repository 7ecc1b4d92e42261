/* nn.h - what the files of this folder share, over the public header only */
#ifndef FR_NN_H
#define FR_NN_H

#include "ferrule/nn.h"

/* Sets an error, if none is set, and gives NULL. name NULL: `what` is all there is to say. */
void *fr__nn_fail(fr_error_kind kind, const char *what, const char *name);
/* A result out of a scope of ours, given as an operation gives it. */
fr_array *fr__nn_leave(fr_scope *s, fr_array *y);
/* Takes the last ones out again, until n are left. */
void fr__params_shorten(fr_params *p, int n);

#endif
