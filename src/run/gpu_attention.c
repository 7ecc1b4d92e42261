/* gpu_attention.c - ATTENTION and ATTENTION_GRAD on a GPU
 *
 * On tensor cores (attention.c and attention_grad.c of src/device/cuda/routines, by warps, or on Hopper by
 * groups of four) where the device has them, float32 may be multiplied as TF32 and a head fits; else by
 * attention_plain.c. Arrays whose rows can't be read 16 bytes at a time are packed for the first.
 */
#include "run/gpu.h"

#include "device/cuda/blas.h"
#include "device/cuda/routine.h"
#include "device/cuda/routines/attention_args.h"

#include <stdio.h>

enum {
    TENSOR_SM = 80,
    GROUP_SM = 90,
    PACK_THREADS = 256,
    ARRAYS = 5,
    PACK_BLOCKS = 8 /* a processor */
};

typedef struct attend {
    fr__gpu_run *r;
    const fr__native_call *call;
    fr__attention_args a;
    int size, head;         /* head: as wide as a kernel's; 0: the plain one */
    fr__gpu_block block[8]; /* of packed arrays and the rows' sums */
    int nblocks;
} attend;

static const fr__gpu_info *about(const attend *x)
{
    return fr__gpu_about(fr__gpu_of(x->r->home));
}

static char *take(attend *x, size_t bytes)
{
    char *p = fr__gpu_take(x->r, bytes);
    if (p)
        x->block[x->nblocks++] = (fr__gpu_block){p, bytes};
    return p;
}

static int launch(attend *x, const char *module, const char *entry, fr__gpu_shape shape,
                  void *args)
{
    const char *name;
    fr__gpu_code *code = fr__gpu_routine(fr__gpu_of(x->r->home), module, entry, &name);
    return code ? fr__gpu_launch(x->r->to, code, shape, &args, name) : -1;
}

/* ---- what is given ------------------------------------------------------------------------ */

static fr__attention_array array_of(const fr__native_array *x, const char *data)
{
    int64_t size = fr__dsize(x->dtype), stride[4];
    for (int i = 0; i < 4; i++)
        stride[i] = x->shape[i] == 1 ? 0 : size * x->strides[i];
    return (fr__attention_array){data, stride[0], stride[1], stride[2],
                                 x->shape[3] == 1 ? size : stride[3]};
}

/* How wide a head is for the kernels on tensor cores; 0: it can't be. */
static int tensor_head(const attend *x, bool grad)
{
    int wide = x->a.width > x->a.out_width ? x->a.width : x->a.out_width;
    int head = wide <= 64 ? 64 : wide <= 128 ? 128 : 256;
    int most = grad || x->size == 4 ? 128 : 256, row = head * x->size;
    int shared = grad ? FR__ATTEND_GRAD_SHARED(row, head) : 0;
    if (shared < FR__ATTEND_SHARED(row, head))
        shared = FR__ATTEND_SHARED(row, head);
    return wide <= most && about(x)->sm >= TENSOR_SM && shared <= about(x)->shared_block &&
                   (x->size == 2 || fr__gpu_tf32())
               ? head
               : 0;
}

/* Whether the kernels with Hopper's products by a group of warps do it. */
static bool by_group(const attend *x)
{
    return x->size == 2 && x->head && x->head <= 128 && about(x)->sm == GROUP_SM;
}

static void describe(attend *x, const fr__native_array *mask, const char *mask_data, bool grad)
{
    const fr__native_array *q = &x->call->in[0], *k = &x->call->in[1], *v = &x->call->in[2];
    fr__attention_args *a = &x->a;
    double scale;
    memcpy(&scale, &x->call->par[0], sizeof scale);
    x->size = (int)fr__dsize(q->dtype);
    a->products = (int32_t)(q->shape[0] * q->shape[1]);
    a->heads = (int32_t)q->shape[1];
    a->group = (int32_t)(q->shape[1] / k->shape[1]);
    a->queries = (int32_t)q->shape[2];
    a->keys = (int32_t)k->shape[2];
    a->width = (int32_t)q->shape[3];
    a->out_width = (int32_t)v->shape[3];
    a->padded = fr__ceil_div(a->queries, FR__ATTENTION_PAD) * FR__ATTENTION_PAD;
    a->shift = a->keys - a->queries;
    a->causal = x->call->par[1] != 0;
    a->scale = (float)scale;
    a->factor = (float)(scale * 1.44269504088896340736);
    a->element = q->dtype == FR_FLOAT16    ? FR__ATTENTION_F16
                 : q->dtype == FR_BFLOAT16 ? FR__ATTENTION_BF16
                                           : FR__ATTENTION_F32;
    if (mask) {
        a->mask = array_of(mask, mask_data);
        a->mask_kind = mask->dtype == FR_BOOL ? FR__MASK_BOOL : FR__MASK_FLOAT;
    }
    /* Scores are compared before they are scaled where that leaves their order. */
    a->scaled = a->mask_kind == FR__MASK_FLOAT || !(a->scale > 0);
    x->head = tensor_head(x, grad);
}

static bool by_chunks(const fr__attention_array *x, int size, int width)
{
    int64_t all =
        (int64_t)(uintptr_t)x->data | x->example | x->head | x->row | (int64_t)size * width;
    return x->col == size && all % 16 == 0;
}

/* Where its rows can't be read in chunks it becomes a copy of which they can. */
static int pack(attend *x, const fr__native_array *from, fr__attention_array *to)
{
    fr__pack_args p = {.x = *to,
                       .rows = from->shape[0] * from->shape[1] * from->shape[2],
                       .heads = (int32_t)from->shape[1],
                       .n = (int32_t)from->shape[2],
                       .width = (int32_t)from->shape[3],
                       .row = x->head * x->size,
                       .size = x->size};
    if (!x->head || by_chunks(to, x->size, p.width))
        return 0;
    if (!(p.y = take(x, (size_t)(p.rows * p.row))))
        return -1;
    int64_t blocks = fr__min64(fr__ceil_div(p.rows * x->head, PACK_THREADS),
                               (int64_t)PACK_BLOCKS * about(x)->processors);
    *to = (fr__attention_array){p.y, p.row * p.heads * (int64_t)p.n, p.row * (int64_t)p.n,
                                p.row, x->size};
    return launch(x, "attention_plain", "pack",
                  (fr__gpu_shape){(unsigned)blocks, PACK_THREADS, 0}, &p);
}

/* ---- kernels ------------------------------------------------------------------------------ */

/* A block for so many of `rows` of each product. */
static int start(attend *x, bool grad, const char *entry, int products, int rows, int each,
                 int columns)
{
    static const char *const names[] = {"f16", "bf16", "tf32"};
    char module[40];
    int row = x->head * x->size;
    fr__gpu_shape shape = {.threads = FR__ATTENTION_THREADS};
    if (by_group(x)) {
        snprintf(module, sizeof module, "attention%s_group_%s_%d", grad ? "_grad" : "",
                 names[x->a.element], x->head);
        shape.shared = grad ? FR__GROUP_GRAD_SHARED(x->head) : FR__GROUP_SHARED(x->head);
        each = FR__GROUP_ROWS;
        x->a.columns = 1;
    } else if (x->head) {
        snprintf(module, sizeof module, "attention%s_%s_%d", grad ? "_grad" : "",
                 names[x->a.element], x->head);
        shape.shared = (unsigned)(grad ? FR__ATTEND_GRAD_SHARED(row, x->head)
                                       : FR__ATTEND_SHARED(row, x->head));
        x->a.columns = 1;
    } else {
        snprintf(module, sizeof module, "attention_plain");
        shape.threads = FR__PLAIN_THREADS;
        each = FR__PLAIN_BLOCK;
        x->a.columns = (int32_t)fr__ceil_div(columns, FR__PLAIN_BLOCK);
    }
    x->a.blocks = (int32_t)fr__ceil_div(rows, each);
    shape.blocks = (unsigned)(x->a.blocks * products * x->a.columns);
    return launch(x, module, entry, shape, &x->a);
}

static int forward(attend *x, char *const *data)
{
    const fr__native_call *c = x->call;
    fr__attention_args *a = &x->a;
    describe(x, c->nin > 3 ? &c->in[3] : NULL, data[3], false);
    fr__attention_array *const to[] = {&a->q, &a->k, &a->v};
    for (int i = 0; i < 3; i++) {
        *to[i] = array_of(&c->in[i], data[i]);
        if (pack(x, &c->in[i], to[i]))
            return -1;
    }
    a->y = data[c->nin];
    return start(x, false, "forward", a->products, a->queries,
                 64 * FR__ATTEND_TILES(x->head * x->size), a->out_width);
}

static int gradients(attend *x, char *const *data)
{
    const fr__native_call *c = x->call;
    fr__attention_args *a = &x->a;
    describe(x, c->nin > 5 ? &c->in[5] : NULL, data[5], true);
    fr__attention_array *const to[ARRAYS] = {&a->q, &a->k, &a->v, &a->out, &a->dout};
    for (int i = 0; i < ARRAYS; i++) {
        *to[i] = array_of(&c->in[i], data[i]);
        if (pack(x, &c->in[i], to[i]))
            return -1;
    }
    int64_t sums = a->products * a->padded;
    if (!(a->lse = (float *)take(x, 2 * sizeof(float) * (size_t)sums)))
        return -1;
    a->delta = a->lse + sums;
    a->dq = data[c->nin];
    a->dk = a->dq + x->size * c->in[0].size;
    a->dv = a->dk + x->size * c->in[1].size;
    int each = 64 * FR__ATTEND_GRAD_TILES(x->head);
    int wider = a->width > a->out_width ? a->width : a->out_width;
    return start(x, true, "queries", a->products, a->queries, each, a->width) ||
                   start(x, true, "keys", a->products / a->group, a->keys, each, wider)
               ? -1
               : 0;
}

/* Whether the kernels' 32 bits hold every count. */
static bool countable(const fr__native_call *c)
{
    int64_t most = INT32_MAX / 4, width = c->in[0].shape[3], out_width = c->in[2].shape[3];
    int64_t columns = fr__ceil_div(width > out_width ? width : out_width, FR__PLAIN_BLOCK);
    for (int i = 0; i < 3; i++) {
        const int64_t *n = c->in[i].shape;
        if (n[2] > most || n[3] > most ||
            n[0] * n[1] > most / (fr__ceil_div(n[2], FR__PLAIN_BLOCK) * columns))
            return false;
    }
    return true;
}

int fr__gpu_attention_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                          bool *done)
{
    attend x = {.r = r, .call = call};
    *done = countable(call);
    if (!*done || !call->out.size)
        return 0;
    int status =
        call->routine == &fr__native_attention ? forward(&x, data) : gradients(&x, data);
    for (int i = 0; i < x.nblocks; i++)
        fr__gpu_give(r, x.block[i].at, x.block[i].bytes);
    return status;
}
