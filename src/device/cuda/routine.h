/* routine.h (cuda) - the entries of src/device/cuda/routines, loaded when first asked for */
#ifndef FR_CUDA_ROUTINE_H
#define FR_CUDA_ROUTINE_H

#include "device/cuda/cuda.h"

/* An entry of one of the modules of tools/routines, "scan_sum_f32" and "rows", say; its name is both with
 * _ in between. It stays loaded. NULL with an error. */
fr__gpu_code *fr__gpu_routine(fr__gpu *g, const char *module, const char *entry,
                              const char **name);

/* While this thread collects, entries that are asked for are code that starts nothing, and their modules
 * are noted. NULL ends it. */
typedef struct fr__gpu_modules {
    int n, at[16];
} fr__gpu_modules;
void fr__gpu_collect(fr__gpu_modules *to);
/* Loads it if it isn't loaded. Any thread. 0 or -1. */
int fr__gpu_routine_load(fr__gpu *g, int module);
/* Assembles a module's text, or has it: fr__malloc'ed; NULL: without an error the text is loaded itself. */
extern char *(*fr__gpu_routine_image)(fr__gpu *g, const char *text, size_t *bytes);

#endif
