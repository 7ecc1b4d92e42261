/* work.c - a graph with inputs, and the kernels of its plan */
#include "work.h"

#include <stdlib.h>
#include <sys/mman.h>

static size_t input_bytes(const graph_input *in)
{
    size_t bytes = fr_dtype_size(in->dtype);
    for (int d = 0; d < in->ndim; d++)
        bytes *= (size_t)in->shape[d];
    return bytes;
}

static fr_array *reserved_input(work *w, int i)
{
    const graph_input *in = &w->g->in[i];
    void *p = mmap(NULL, input_bytes(in), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return fr__fail(FR__E_MEMORY, "no address space for an input");
    w->mapped[i] = p;
    return fr_from_buffer(p, in->dtype, in->shape, in->ndim, NULL, NULL, NULL);
}

static fr_array *random_input(work *w, int i)
{
    const graph_input *in = &w->g->in[i];
    fr_array *x =
        fr_random_normal(in->shape, in->ndim, FR_FLOAT32, fr_random_key((uint64_t)i + 1));
    if (!fr__is_float(in->dtype))
        x = fr_mul(x, 100.0);
    x = fr_astype(x, in->dtype);
    return fr_eval(x) ? NULL : x;
}

/* The leaves' arrays, as captured: simplify may leave some of them without a node. */
static int note_leaves(work *w)
{
    w->nleaves = w->trace.leaves.n;
    w->leaves = calloc((size_t)w->nleaves + 1, sizeof *w->leaves);
    if (!w->leaves)
        return fr__fail_int(FR__E_MEMORY, "no memory for the leaves of a graph");
    for (int i = 0; i < w->nleaves; i++)
        w->leaves[i] = w->capture.arrays.at[w->trace.leaves.at[i].node];
    return 0;
}

int work_open(work *w, const graph *g, bool values)
{
    *w = (work){.g = g, .scope = fr_scope_open()};
    w->capture.t = &w->trace;
    if (!w->scope)
        return -1;
    for (int i = 0; i < g->inputs; i++)
        if (!(w->in[i] = values ? random_input(w, i) : reserved_input(w, i)))
            return -1;
    w->out = g->make(w->in);
    if (!w->out || fr__capture_graph(&w->capture, 1, &w->out, false) || note_leaves(w))
        return -1;
    w->plan = fr__plan_make(&w->trace, false);
    if (!w->plan)
        return -1;
    const fr__planned_out *o = &w->plan->outs[0];
    if (w->plan->nouts != 1 || o->stored < 0 ||
        !fr__is_contiguous(o->ndim, o->shape, o->strides))
        return fr__fail_int(FR__E_VALUE, "%s: the result is not one buffer of its own",
                            g->name);
    return 0;
}

void work_close(work *w)
{
    fr__plan_release(w->plan);
    fr__capture_free(&w->capture);
    fr__trace_free(&w->trace);
    fr_scope_close(w->scope);
    free(w->leaves);
    for (int i = 0; i < w->g->inputs; i++)
        if (w->mapped[i])
            munmap(w->mapped[i], input_bytes(&w->g->in[i]));
}
