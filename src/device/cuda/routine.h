/* routine.h (cuda) - the entries of src/device/cuda/routines, loaded when first asked for */
#ifndef FR_CUDA_ROUTINE_H
#define FR_CUDA_ROUTINE_H

#include "device/cuda/cuda.h"

/* An entry of one of the modules of tools/routines, "scan_sum_f32" and "rows", say; its name is both with
 * _ in between. It stays loaded. NULL with an error. */
fr__gpu_code *fr__gpu_routine(fr__gpu *g, const char *module, const char *entry,
                              const char **name);

#endif
