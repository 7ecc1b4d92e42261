/* graphs.h - the graphs whose kernels the tool emits, runs and times */
#ifndef FR_PTX_GRAPHS_H
#define FR_PTX_GRAPHS_H

#include <ferrule/ferrule.h>

enum { GRAPH_INPUTS = 3, GRAPH_NDIM = 3 };

typedef struct graph_input {
    fr_dtype dtype;
    int ndim;
    int64_t shape[GRAPH_NDIM];
} graph_input;

typedef struct graph {
    const char *name;
    fr_array *(*make)(fr_array *const *in);
    double tolerance; /* largest difference to the CPU's result, of its largest magnitude */
    bool timed;
    int inputs;
    graph_input in[GRAPH_INPUTS];
} graph;

extern const graph graphs[];
extern const int graph_count;

#endif
