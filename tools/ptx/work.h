/* work.h - a graph with inputs, and the kernels of its plan
 *
 *   graph -> capture -> simplify -> split -> fuse -> lower -> [plan] -> PTX
 *
 * The passes are the library's; nothing in them knows that a GPU is meant.
 */
#ifndef FR_PTX_WORK_H
#define FR_PTX_WORK_H

#include "graphs.h"
#include "core/array.h"
#include "op/view.h"
#include "run/plan.h"

typedef struct work {
    const graph *g;
    fr_scope *scope;
    fr_array *in[GRAPH_INPUTS], *out; /* out is not evaluated yet */
    void *mapped[GRAPH_INPUTS];
    fr__trace trace;
    fr__capture capture;
    fr__plan *plan;
    fr_array **leaves; /* of the plan */
    int nleaves;
} work;

/* values: inputs are random numbers; otherwise address space that nothing is written to, since
 * a kernel depends on shapes alone. 0, or -1 with the library's error set. */
int work_open(work *w, const graph *g, bool values);
void work_close(work *w);

#endif
