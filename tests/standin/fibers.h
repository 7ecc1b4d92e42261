/* fibers.h - the threads of a GPU's block as contexts of the host that take turns */
#ifndef STANDIN_FIBERS_H
#define STANDIN_FIBERS_H

#include "kernel/kernel.h"

/* What generated code calls (fr__llvm_ptx_object). */
extern const fr__ptx_host fibers_host;
/* Runs a kernel's code in `how.blocks` blocks, one after the other. `scratch`: as a launch's, 0 for
 * memory of the block. One call at a time in the process. */
void fibers_run(fr__ptx_fn *fn, const uint64_t *words, int64_t begin, int64_t end,
                uint64_t scratch, uint64_t scratch_bytes, fr__ptx_shape how);

#endif
