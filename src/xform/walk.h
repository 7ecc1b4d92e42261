/* walk.h - the part of the graph between some arrays and what was made of them */
#ifndef FR_WALK_H
#define FR_WALK_H

#include "op/op.h"

typedef struct fr__visit {
    fr_array *x;  /* a reference */
    int first;    /* its inputs: in.at[first], which hold references */
    uint8_t nin;  /* 0: a source, or a node that is done without inputs */
    bool depends; /* on a source */
} fr__visit;

typedef struct fr__walk {
    FR__VEC(fr__visit) nodes; /* in topological order, inputs first */
    FR__VEC(fr_array *) in;
    FR__VEC(int32_t) number; /* of each input, -1: not followed */
    fr__numbers numbers;     /* array -> its number in nodes */
} fr__walk;

/* Inputs of x that lead to what is looked for; bit i: input i. 0: nothing behind x does. */
typedef uint64_t fr__follow(const fr_array *x);

/* Walks from the roots to the sources. 0, or -1 with an error; fr__walk_free either way. */
int fr__walk_graph(fr__walk *w, int nroots, fr_array *const *roots, int nsources,
                   fr_array *const *sources, fr__follow *follow);
int fr__walk_find(const fr__walk *w, const fr_array *x); /* its number, -1: not in it */
void fr__walk_free(fr__walk *w);

#endif
