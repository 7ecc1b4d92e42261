/* gpu.h - routines that a GPU has code for */
#ifndef FR_RUN_GPU_H
#define FR_RUN_GPU_H

#include "device/cuda/cuda.h"
#include "run/plan.h"

/* CONTRACT and CONV, queued. data: addresses on the device of both operands and the result. *done
 * false: it can't be done here, and nothing was. 0 or -1. */
int fr__gpu_product_run(uint16_t stream, fr__gpu_stream *s, const fr__native_call *call,
                        char *const *data, bool *done);

#endif
