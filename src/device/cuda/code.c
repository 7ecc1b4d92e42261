/* code.c - modules, launches, and the driver's linker
 *
 * needs   device.c
 * gives   fr__gpu_load, fr__gpu_launch, fr__gpu_assemble ...
 */
#include "device/cuda/gpu.h"

#include <stdio.h>

struct fr__gpu_code {
    fr__gpu *gpu;
    CUmodule module; /* NULL: another code's */
    CUfunction function;
    int threads;               /* most in a block */
    _Atomic unsigned opted;    /* dynamic shared bytes that were asked for */
    struct fr__gpu_code *next; /* of those to be unloaded later */
};

enum { LOG = 2048, SHARED_USUAL = 48 << 10 };

/* The JIT writes its complaint to `log`. */
typedef struct jit {
    char log[LOG];
    int options[2];
    void *values[2];
} jit;

static void start_jit(jit *j)
{
    j->log[0] = 0;
    j->options[0] = CU_JIT_ERROR_LOG_BUFFER;
    j->options[1] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
    j->values[0] = j->log;
    j->values[1] = (void *)(uintptr_t)(LOG - 1);
}

static int jit_failed(fr__gpu *g, CUresult r, const char *call, jit *j)
{
    j->log[LOG - 1] = 0;
    int bad = fr__gpu_check(g, NULL, r, call);
    if (bad && j->log[0]) {
        fr__saved_error e;
        fr__error_save(&e);
        size_t n = strlen(e.text);
        snprintf(e.text + n, sizeof e.text - n, ": %.800s", j->log);
        fr__error_restore(&e);
    }
    return bad;
}

/* ---- modules ------------------------------------------------------------------------ */

static int find_entry(fr__gpu_code *c, CUmodule module, const char *entry)
{
    /* Asking for the attribute loads the function where the driver is lazy about it. */
    return FR__GPU(c->gpu, NULL, cuModuleGetFunction, (&c->function, module, entry)) ||
                   FR__GPU(c->gpu, NULL, cuFuncGetAttribute,
                           (&c->threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, c->function))
               ? -1
               : 0;
}

fr__gpu_code *fr__gpu_load(fr__gpu *g, const void *image, size_t bytes, const char *entry)
{
    CUcontext back;
    fr__gpu_code *c = fr__calloc(1, sizeof *c);
    jit *j = fr__malloc(sizeof *j);
    (void)bytes; /* both kinds of image know their end */
    if (!c || !j || fr__gpu_enter(g, &back)) {
        fr__free(c);
        fr__free(j);
        return NULL;
    }
    c->gpu = g;
    start_jit(j);
    int bad =
        jit_failed(g, fr__cuda.cuModuleLoadDataEx(&c->module, image, 2, j->options, j->values),
                   "cuModuleLoadDataEx", j);
    if (!bad && entry && (bad = find_entry(c, c->module, entry)))
        fr__cuda.cuModuleUnload(c->module);
    fr__gpu_leave(back);
    fr__free(j);
    if (!bad)
        return c;
    fr__error_context("loading %.100s", entry ? entry : "a module");
    fr__free(c);
    return NULL;
}

fr__gpu_code *fr__gpu_no_code(void)
{
    static fr__gpu_code none;
    return &none;
}

fr__gpu_code *fr__gpu_load_also(fr__gpu_code *of, const char *entry)
{
    CUcontext back;
    fr__gpu_code *c = fr__calloc(1, sizeof *c);
    if (!c || fr__gpu_enter(of->gpu, &back)) {
        fr__free(c);
        return NULL;
    }
    c->gpu = of->gpu;
    int bad = find_entry(c, of->module, entry);
    fr__gpu_leave(back);
    if (!bad)
        return c;
    fr__error_context("finding %.100s", entry);
    fr__free(c);
    return NULL;
}

void fr__gpu_unload(fr__gpu_code *c)
{
    CUcontext back;
    if (!c)
        return;
    fr__gpu *g = c->gpu;
    pthread_mutex_lock(&g->lock);
    c->next = g->put_off;
    g->put_off = c;
    pthread_mutex_unlock(&g->lock);
    if (fr__gpu_enter_quietly(g, &back)) {
        fr__gpu_unload_put_off(g);
        fr__gpu_leave(back);
    }
}

void fr__gpu_unload_put_off(fr__gpu *g)
{
    fr__saved_error e;
    if (atomic_load(&g->recording))
        return;
    pthread_mutex_lock(&g->lock);
    fr__gpu_code *c = g->put_off;
    g->put_off = NULL;
    pthread_mutex_unlock(&g->lock);
    if (!c)
        return;
    fr__error_save(&e);
    fr__gpu_drain(g);
    fr__error_restore(&e);
    while (c) {
        fr__gpu_code *next = c->next;
        if (c->module)
            fr__cuda.cuModuleUnload(c->module);
        fr__free(c);
        c = next;
    }
}

int fr__gpu_code_about(fr__gpu_code *c, fr__gpu_code_info *to)
{
    CUcontext back;
    if (fr__gpu_enter(c->gpu, &back))
        return -1;
    const struct {
        int *to, attribute;
    } wanted[] = {
        {&to->registers, CU_FUNC_ATTRIBUTE_NUM_REGS},
        {&to->local, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES},
        {&to->shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES},
        {&to->threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK},
    };
    int bad = 0;
    for (int k = 0; k < FR__COUNT(wanted) && !bad; k++)
        bad = FR__GPU(c->gpu, NULL, cuFuncGetAttribute,
                      (wanted[k].to, wanted[k].attribute, c->function));
    fr__gpu_leave(back);
    return bad;
}

char *fr__gpu_assemble(fr__gpu *g, const char *ptx, size_t *bytes)
{
    CUcontext back;
    CUlinkState state = NULL;
    void *cubin = NULL;
    char *copy = NULL;
    jit *j = fr__malloc(sizeof *j);
    if (!j || fr__gpu_enter(g, &back)) {
        fr__free(j);
        return NULL;
    }
    start_jit(j);
    int bad = FR__GPU(g, NULL, cuLinkCreate, (2, j->options, j->values, &state));
    if (!bad) {
        bad = jit_failed(g,
                         fr__cuda.cuLinkAddData(state, CU_JIT_INPUT_PTX, (void *)ptx,
                                                strlen(ptx) + 1, "kernel", 0, NULL, NULL),
                         "cuLinkAddData", j) ||
              jit_failed(g, fr__cuda.cuLinkComplete(state, &cubin, bytes), "cuLinkComplete", j);
        copy = bad ? NULL : fr__memdup(cubin, *bytes);
        fr__cuda.cuLinkDestroy(state); /* the cubin goes with it */
    }
    fr__gpu_leave(back);
    fr__free(j);
    return copy;
}

/* ---- launches ----------------------------------------------------------------------- */

/* More than the usual 48 KiB must be asked for, once a function. */
static int opt_in(fr__gpu_code *c, unsigned shared)
{
    if (FR__LIKELY(shared <= SHARED_USUAL ||
                   shared <= atomic_load_explicit(&c->opted, memory_order_relaxed)))
        return 0;
    pthread_mutex_lock(&c->gpu->making);
    int bad = 0;
    if (shared > atomic_load(&c->opted))
        bad = FR__GPU(
            c->gpu, NULL, cuFuncSetAttribute,
            (c->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared));
    if (!bad && shared > atomic_load(&c->opted))
        atomic_store(&c->opted, shared);
    pthread_mutex_unlock(&c->gpu->making);
    return bad;
}

int fr__gpu_launch(fr__gpu_stream *s, fr__gpu_code *c, fr__gpu_shape shape, void **params,
                   const char *name)
{
    CUcontext back;
    if (!shape.blocks || !c->gpu)
        return 0;
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    int bad = opt_in(c, shape.shared);
    if (!bad) {
        fr__gpu_launched(s, name);
        bad = FR__GPU(s->gpu, s, cuLaunchKernel,
                      (c->function, shape.blocks, 1, 1, shape.threads, 1, 1, shape.shared,
                       s->handle, params, NULL));
        if (!bad && fr__gpu_blocking() && !atomic_load(&s->recording))
            bad = FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle));
    }
    fr__gpu_leave(back);
    if (FR__UNLIKELY(bad))
        fr__error_context("launching %.150s", name ? name : "a kernel");
    return bad;
}

int fr__gpu_resident(fr__gpu_code *c, unsigned threads, unsigned shared)
{
    CUcontext back;
    int blocks = 0;
    if (fr__gpu_enter(c->gpu, &back))
        return 0;
    int bad =
        opt_in(c, shared) || FR__GPU(c->gpu, NULL, cuOccupancyMaxActiveBlocksPerMultiprocessor,
                                     (&blocks, c->function, (int)threads, shared));
    fr__gpu_leave(back);
    return bad ? 0 : blocks;
}
