/* gpu_pack.c - operands of routines on a GPU that are copied first, by kernels of such a copy
 *
 * The kernels' plans are of eval's cache: one is made for each shape.
 */
#include "run/gpu.h"

#include "device/cuda/launch.h"

/* A trace's one output, made by kernels alone. NULL with an error. */
static fr__plan *plan_of(fr__trace *t, int output)
{
    fr__plan *p = NULL;
    if (output >= 0 && !fr__capture_output(t, output)) {
        t->passed = FR__PASS_CAPTURE;
        p = fr__plan_for(t);
    }
    bool kernels = p && p->nstored == 1;
    for (int i = 0; kernels && i < p->nsteps; i++)
        kernels = !p->steps[i].native;
    if (p && !kernels) {
        fr__plan_release(p);
        p = fr__fail(FR__E_INTERNAL, "a copy is no kernel");
    }
    return p;
}

static int run_plan(fr__gpu_run *r, fr__plan *p, const char *from, char *to)
{
    uint64_t *words = fr__malloc(sizeof *words * (size_t)p->max_words + 1);
    int status = words ? 0 : -1;
    for (int i = 0; i < p->nsteps && !status; i++) {
        const fr__step *s = &p->steps[i];
        fr__gpu_code *code = fr__kcache_gpu_code(s->kernel, fr__gpu_of(r->home), FR__ONE);
        status = code ? 0 : -1;
        if (status)
            break;
        fr__step_words(p, s, &(char *){(char *)(uintptr_t)from}, NULL, &to, words);
        status = fr__gpu_kernel_queue(r, &(fr__gpu_kernel){.kernel = s->kernel->kernel,
                                                           .code = code,
                                                           .words = words,
                                                           .nwords = s->nwords,
                                                           .range = s->range,
                                                           .scratch = s->scratch,
                                                           .name = s->kernel->name[FR__ONE]});
    }
    fr__free(words);
    return status;
}

/* Takes the block and runs; t is freed. */
static int make_block(fr__gpu_run *r, fr__trace *t, int output, const char *from,
                      fr__gpu_block *block)
{
    fr__plan *p = plan_of(t, output);
    int status = -1;
    if (p) {
        block->bytes = p->stored[0].bytes;
        block->at = fr__gpu_take(r, block->bytes);
        status = block->at ? run_plan(r, p, from, block->at) : -1;
        fr__plan_release(p);
    }
    fr__trace_free(t);
    return status;
}

int fr__gpu_pack(fr__gpu_run *r, int dtype, int n, const int64_t *shape, const int64_t *strides,
                 const char *from, fr__gpu_block *block)
{
    fr__trace t = {0};
    int leaf = fr__trace_on(&t, r->p->place)
                   ? -1
                   : fr__capture_leaf(&t, FR__OP_LEAF, dtype, n, shape, strides);
    int copy = leaf < 0 ? -1
                        : fr__capture_node(&t, FR__OP_COPY, dtype, n, shape, 1,
                                           (int32_t[]){leaf}, 0, NULL);
    return make_block(r, &t, copy, from, block);
}

int fr__gpu_pad(fr__gpu_run *r, int dtype, int n, const int64_t *shape, const int64_t *strides,
                const int64_t *par, const int64_t *padded, const char *from,
                fr__gpu_block *block)
{
    fr__trace t = {0};
    static const int64_t zero_bits = 0;
    int node[4] = {-1, -1, -1, -1}; /* the array; zeros, a literal, its shape, a buffer */
    node[0] = fr__trace_on(&t, r->p->place)
                  ? -1
                  : fr__capture_leaf(&t, FR__OP_LEAF, dtype, n, shape, strides);
    if (node[0] >= 0)
        node[1] = fr__capture_node(&t, FR__OP_NUMBER, dtype, 0, padded, 0, NULL, 1, &zero_bits);
    if (node[1] >= 0)
        node[2] =
            fr__capture_node(&t, FR__OP_BROADCAST, dtype, n, padded, 1, &node[1], 0, NULL);
    if (node[2] >= 0)
        node[3] = fr__capture_node(&t, FR__OP_FRESH, dtype, n, padded, 1, &node[2], 0, NULL);
    int put = node[3] < 0 ? -1
                          : fr__capture_node(&t, FR__OP_PUT, dtype, n, padded, 2,
                                             (int32_t[]){node[0], node[3]}, 2 * n + 1, par);
    int rows = put < 0 ? -1 /* whatever order the array has */
                       : fr__capture_node(&t, FR__OP_COPY, dtype, n, padded, 1,
                                          (int32_t[]){put}, 0, NULL);
    return make_block(r, &t, rows, from, block);
}
