/* attend.c - ATTENTION and ATTENTION_GRAD: attention over stored arrays of any strides */
#include "native/attention.h"
#include "native/native.h"
#include "op/attention.h"

static fr__rows rows_of(const fr__native_array *x)
{
    return (fr__rows){NULL,
                      {2, {x->shape[0], x->shape[1]}, {x->strides[0], x->strides[1]}},
                      x->strides[2],
                      x->strides[3]};
}

static fr__attention shape_of(const fr__native_call *c, const fr__native_array *mask)
{
    const fr__native_array *q = &c->in[0], *k = &c->in[1], *v = &c->in[2];
    fr__attention x = {.dtype = q->dtype,
                       .batches = q->shape[0] * q->shape[1],
                       .group = q->shape[1] / k->shape[1],
                       .queries = q->shape[2],
                       .keys = k->shape[2],
                       .width = q->shape[3],
                       .out_width = v->shape[3],
                       .causal = c->par[1] != 0,
                       .q = rows_of(q),
                       .k = rows_of(k),
                       .v = rows_of(v),
                       .mask_dtype = -1};
    double scale;
    memcpy(&scale, &c->par[0], sizeof scale);
    x.scale = (float)scale;
    if (mask) {
        x.mask_dtype = mask->dtype;
        x.mask = rows_of(mask);
    }
    return x;
}

static int64_t work_of(const fr__attention *x)
{
    return x->batches * x->queries * x->keys * (x->width + x->out_width) / (x->causal ? 16 : 8);
}

/* ---- forward -------------------------------------------------------------------------- */

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    fr__attention *x = fr__arena_alloc(arena, sizeof *x);
    (void)threads;
    if (!x)
        return -1;
    *x = shape_of(c, c->nin > 3 ? &c->in[3] : NULL);
    c->own = x;
    c->work = work_of(x);
    c->temporary = fr__attention_packed(x);
    c->scratch = fr__attention_scratch(x);
    c->phases = 2;
    c->phase[0].range = x->batches / x->group;
    c->phase[1].range = x->batches * fr__ceil_div(x->queries, FR__ATTENTION_ROWS);
    c->phase[0].grain = c->phase[1].grain = 1;
    return 0;
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    fr__attention x = *(const fr__attention *)c->own;
    x.q.data = data[0];
    x.k.data = data[1];
    x.v.data = data[2];
    x.mask.data = c->nin > 3 ? data[3] : NULL;
    x.out = data[c->nin];
    x.packed = data[c->nin + 1];
    if (phase == 0)
        fr__attention_pack(&x, begin, end);
    else
        fr__attention_run(&x, begin, end, scratch);
}

const fr__native fr__native_attention = {"attention", prepare, run, NULL};

/* ---- gradients ------------------------------------------------------------------------ */

static int prepare_grad(fr__native_call *c, fr__arena *arena, int threads)
{
    fr__attention_grad *x = fr__arena_alloc(arena, sizeof *x);
    (void)threads;
    if (!x)
        return -1;
    *x = (fr__attention_grad){.x = shape_of(c, c->nin > 5 ? &c->in[5] : NULL),
                              .out = rows_of(&c->in[3]),
                              .dout = rows_of(&c->in[4])};
    c->own = x;
    c->work = 3 * work_of(&x->x);
    c->scratch = fr__attention_grad_scratch(x);
    c->phases = 1;
    c->phase[0].range = x->x.batches / x->x.group;
    c->phase[0].grain = 1;
    return 0;
}

static void run_grad(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                     int64_t end, char *scratch)
{
    fr__attention_grad x = *(const fr__attention_grad *)c->own;
    int64_t size = fr__dsize(x.x.dtype);
    (void)phase;
    x.x.q.data = data[0];
    x.x.k.data = data[1];
    x.x.v.data = data[2];
    x.out.data = data[3];
    x.dout.data = data[4];
    x.x.mask.data = c->nin > 5 ? data[5] : NULL;
    x.dq = data[c->nin];
    x.dk = x.dq + size * c->in[0].size;
    x.dv = x.dk + size * c->in[1].size;
    fr__attention_grad_run(&x, begin, end, scratch);
}

const fr__native fr__native_attention_grad = {"attention gradients", prepare_grad, run_grad,
                                              NULL};
