/* gpu_routines.c - routines on a GPU by kernels of their own (src/device/cuda/routines)
 *
 * Here is what they are given and how many threads; what they don't do stays on the host.
 */
#include "run/gpu.h"

#include "device/cuda/routine.h"
#include "device/cuda/routines/args.h"

#include "base/bits.h"

#include <math.h>
#include <stdio.h>

enum {
    THREADS = 256,
    WARP = 32,
    WAVES = 8, /* blocks a processor; what there is beyond is looped over */
};

static int processors(const fr__gpu_run *r)
{
    return fr__gpu_about(fr__gpu_of(r->home))->processors;
}

/* One kernel of so many threads, or as many as are worth starting. args: a struct of args.h. */
static int start(fr__gpu_run *r, const char *module, const char *entry, int64_t threads,
                 void *args)
{
    const char *name;
    fr__gpu_code *code = fr__gpu_routine(fr__gpu_of(r->home), module, entry, &name);
    if (!code)
        return -1;
    int64_t blocks = fr__min64(fr__ceil_div(threads, THREADS), (int64_t)WAVES * processors(r));
    return fr__gpu_launch(r->to, code, (fr__gpu_shape){(unsigned)blocks, THREADS, 0}, &args,
                          name);
}

static int form_of(int dtype)
{
    switch (dtype) {
    case FR_UINT16: return FR__FORM_U16;
    case FR_UINT32: return FR__FORM_U32;
    case FR_UINT64: return FR__FORM_U64;
    case FR_INT8: return FR__FORM_I8;
    case FR_INT16: return FR__FORM_I16;
    case FR_INT32: return FR__FORM_I32;
    case FR_INT64: return FR__FORM_I64;
    case FR_FLOAT16: return FR__FORM_F16;
    case FR_BFLOAT16: return FR__FORM_BF16;
    case FR_FLOAT32: return FR__FORM_F32;
    case FR_FLOAT64: return FR__FORM_F64;
    case FR_COMPLEX64: return FR__FORM_C64;
    default: return FR__FORM_U8; /* bool, too */
    }
}

/* ---- SCAN --------------------------------------------------------------------------- */

enum {
    ROWS = 8,        /* fewer columns than these are rows of steps */
    SHORT = 16,      /* rows of no more go several in a warp */
    ROW_PIECE = 512, /* elements of a row, of a column, at least, for which it is cut */
    COLUMN_PIECE = 32,
};

static uint64_t bits32(double x) { return fr__bits32((float)x); }

/* What leaves others as they are, of floats in the type that they are accumulated in. */
static uint64_t float_identity(int kind, int form)
{
    double v = kind == FR__SCAN_SUM    ? 0
               : kind == FR__SCAN_PROD ? 1
               : kind == FR__SCAN_MIN  ? HUGE_VAL
                                       : -HUGE_VAL;
    if (form == FR__FORM_F64)
        return fr__bits64(v);
    bool both = form == FR__FORM_C64 && (kind == FR__SCAN_MAX || kind == FR__SCAN_MIN);
    return bits32(v) | (both ? bits32(v) << 32 : 0);
}

static void set_identity(fr__scan_args *a, int kind, int dtype)
{
    int size = 8 * fr__dsize(dtype);
    a->flip = 0;
    if (a->form >= FR__FORM_F16) {
        a->identity = float_identity(kind, (int)a->form);
        return;
    }
    if (kind >= FR__SCAN_MAX && a->form >= FR__FORM_I8)
        a->flip = (uint64_t)1 << (size - 1);
    a->identity = kind == FR__SCAN_PROD  ? 1
                  : kind != FR__SCAN_MIN ? 0
                  : dtype == FR_BOOL     ? 1
                                         : UINT64_MAX >> (64 - size);
}

/* Cuts rows into pieces where there are few of them for `want`. */
static void cut(fr__scan_args *a, int64_t rows, int64_t want, int64_t least, int64_t multiple)
{
    a->chunk = a->n;
    a->chunks = 1;
    if (rows > want / 2 || a->n < 2 * least)
        return;
    int64_t chunks = fr__min64(fr__ceil_div(want, rows), a->n / least);
    a->chunk = fr__ceil_div(fr__ceil_div(a->n, chunks), multiple) * multiple;
    a->chunks = fr__ceil_div(a->n, a->chunk);
}

/* One kernel, or three where rows are cut: totals, what comes before each, and the results. */
static int scan_in(fr__gpu_run *r, const char *module, fr__scan_args *a, bool columns)
{
    const char *entry = columns ? "columns" : "rows";
    int64_t each = columns ? 1 : WARP, rows = a->outer * a->inner;
    size_t bytes = (size_t)(rows * a->chunks) * sizeof(uint64_t);
    if (a->chunks == 1)
        return start(r, module, entry, rows * each, a);
    if (!(a->totals = fr__gpu_take(r, bytes)))
        return -1;
    a->totals_first = 1;
    int status = start(r, module, entry, rows * a->chunks * each, a);
    a->totals_first = 0;
    if (!status)
        status = start(r, module, columns ? "column_prefix" : "prefix", rows * each, a);
    if (!status)
        status = start(r, module, entry, rows * a->chunks * each, a);
    fr__gpu_give(r, a->totals, bytes);
    return status;
}

static int run_scan(fr__gpu_run *r, const fr__native_call *call, char *const *data, bool *done)
{
    static const char *const kinds[] = {"sum", "prod", "max", "min", "lse"};
    const fr__native_array *x = &call->in[0];
    int kind = (int)call->par[0];
    char module[32];
    fr__scan_args a = {.x = data[0],
                       .y = data[1],
                       .outer = x->shape[0],
                       .n = x->shape[1],
                       .inner = x->shape[2],
                       .xrow = x->strides[0],
                       .xn = x->strides[1],
                       .xcol = x->strides[2],
                       .form = (uint32_t)form_of(x->dtype),
                       .reverse = call->par[1] != 0,
                       .exclusive = call->par[2] != 0};
    if (kind == FR__SCAN_LOG_SUM_EXP && a.form == FR__FORM_C64)
        return 0;
    *done = true;
    set_identity(&a, kind, x->dtype);
    snprintf(module, sizeof module, "scan_%s_%s", kinds[kind],
             a.form < FR__FORM_F16    ? "whole"
             : a.form == FR__FORM_F64 ? "f64"
             : a.form == FR__FORM_C64 ? "c64"
                                      : "f32");
    int64_t rows = a.outer * a.inner;
    bool columns = a.inner >= ROWS;
    if (!columns && a.n <= SHORT) {
        for (a.width = 1; a.width < a.n;)
            a.width *= 2;
        a.chunks = 1;
        return start(r, module, "short", fr__ceil_div(rows, WARP / a.width) * WARP, &a);
    }
    if (columns)
        cut(&a, rows, (int64_t)processors(r) * 1024, COLUMN_PIECE, 1);
    else
        cut(&a, rows, (int64_t)processors(r) * 32, ROW_PIECE, 128);
    return scan_in(r, module, &a, columns);
}

/* ---- SEARCH ------------------------------------------------------------------------- */

static int run_search(fr__gpu_run *r, const fr__native_call *call, char *const *data)
{
    const fr__native_array *a = &call->in[0], *v = &call->in[1];
    fr__search_args s = {.sorted = data[0],
                         .values = data[1],
                         .y = (uint32_t *)data[2],
                         .rows = v->shape[0],
                         .n = a->shape[1],
                         .m = v->shape[1],
                         .row = a->strides[0],
                         .step = a->strides[1],
                         .value_row = v->strides[0],
                         .value_step = v->strides[1],
                         .form = (uint32_t)form_of(a->dtype),
                         .right = call->par[0] != 0};
    return start(r, "search", "find", v->size, &s);
}

/* ---- SORT, SELECT ------------------------------------------------------------------- */

static const int64_t MOST_SORTED = UINT32_MAX; /* elements of a row, whose places are uint32 */

static const char *sort_module(const fr__sort_args *a, int key)
{
    static const char *const names[] = {"sort_narrow", "sort_wide", "argsort_narrow",
                                        "argsort_wide"};
    return names[2 * (a->indices != 0) + (key == 8)];
}

/* Two keys and two indices a place, and counts of each block. */
static size_t sort_space(const fr__sort_args *a, int key, size_t part[4])
{
    size_t n = (size_t)(a->rows * a->n), step = 256 - 1;
    part[0] = 0;
    part[1] = part[0] + ((n * (size_t)key + step) & ~step);
    part[2] = part[1] + ((n * (size_t)key + step) & ~step);
    part[3] = part[2] + (a->indices ? (2 * n * sizeof(uint32_t) + step) & ~step : 0);
    return part[3] + (size_t)(a->rows * a->blocks) * 256 * sizeof(uint32_t);
}

/* Of every row: to what comes before each. */
static int sum_counts(fr__gpu_run *r, const fr__sort_args *a)
{
    int64_t n = 256 * a->blocks;
    fr__scan_args s = {.x = (char *)a->counts,
                       .y = (char *)a->counts,
                       .outer = a->rows,
                       .n = n,
                       .inner = 1,
                       .xrow = n,
                       .xn = 1,
                       .form = FR__FORM_U32,
                       .exclusive = 1};
    cut(&s, a->rows, (int64_t)processors(r) * 32, ROW_PIECE, 128);
    return scan_in(r, "scan_sum_whole", &s, false);
}

static int sort_long(fr__gpu_run *r, const char *module, fr__sort_args *a, int key, int passes)
{
    size_t part[4], bytes;
    a->blocks = fr__ceil_div(a->n, FR__SORT_BLOCK);
    bytes = sort_space(a, key, part);
    char *space = fr__gpu_take(r, bytes);
    int64_t all = a->rows * a->n, blocks = a->rows * a->blocks * THREADS;
    if (!space)
        return -1;
    a->keys = space + part[0];
    a->keys_to = space + part[1];
    a->order = (uint32_t *)(space + part[2]);
    a->order_to = a->order + all;
    a->counts = (uint32_t *)(space + part[3]);
    int status = start(r, module, "load", all, a);
    for (int p = 0; p < passes && !status; p++) {
        a->shift = 8 * (uint32_t)p;
        status = start(r, module, "count", blocks, a);
        status = status ? status : sum_counts(r, a);
        status = status ? status : start(r, module, "scatter", blocks, a);
        char *keys = a->keys;
        uint32_t *order = a->order;
        a->keys = a->keys_to;
        a->keys_to = keys;
        a->order = a->order_to;
        a->order_to = order;
    }
    if (!status)
        status = start(r, module, "store", a->rows * (a->n - a->from), a);
    fr__gpu_give(r, space, bytes);
    return status;
}

static int sort_rows(fr__gpu_run *r, fr__sort_args *a, int size)
{
    int key = size == 8 ? 8 : 4;
    const char *module = sort_module(a, key);
    if (a->n > FR__SORT_FEW)
        return sort_long(r, module, a, key, size);
    for (a->padded = 2; a->padded < a->n;)
        a->padded *= 2;
    int64_t beside = FR__SORT_FEW / a->padded;
    return start(r, module, "few", fr__ceil_div(a->rows, beside) * THREADS, a);
}

/* What SELECT wants in its place is there when all are in order. */
static int run_sort(fr__gpu_run *r, const fr__native_call *call, char *const *data)
{
    const fr__native_array *x = &call->in[0];
    bool indices = call->par[0] != 0;
    fr__sort_args a = {.x = data[0],
                       .y = data[1],
                       .rows = x->shape[0],
                       .n = x->shape[1],
                       .xrow = x->strides[0],
                       .xn = x->strides[1],
                       .from = call->routine == &fr__native_select ? call->par[2] : 0,
                       .form = (uint32_t)form_of(x->dtype),
                       .exact = !indices,
                       .indices = indices};
    return sort_rows(r, &a, (int)fr__dsize(x->dtype));
}

/* ---- SCATTER ------------------------------------------------------------------------ */

enum {
    LOOKED_THROUGH = 64, /* updates: more of them are sorted by their indices */
    LOOKS = 8 << 20      /* indices in all that warps look through rather */
};

static fr__scatter_args scatter_args(const fr__native_call *call, char *const *data)
{
    const fr__native_array *x = &call->in[0], *at = &call->in[1], *u = &call->in[2];
    fr__scatter_args a = {.x = data[0],
                          .at = data[1],
                          .updates = data[2],
                          .y = data[3],
                          .outer = x->shape[0],
                          .n = x->shape[1],
                          .inner = x->shape[2],
                          .k = u->shape[1],
                          .rows = 1,
                          .x_outer = x->strides[0],
                          .x_step = x->strides[1],
                          .x_inner = x->strides[2],
                          .u_outer = u->strides[0],
                          .u_step = u->strides[1],
                          .u_inner = u->strides[2],
                          .at_step = at->strides[at->ndim == 3 ? 1 : 0],
                          .form = (uint32_t)form_of(x->dtype),
                          .size = (uint32_t)fr__dsize(x->dtype),
                          .mode = (uint32_t)call->par[0],
                          .is_bool = x->dtype == FR_BOOL,
                          .wide = at->dtype == FR_INT64};
    if (at->ndim == 3) {
        a.rows = a.outer * a.inner;
        a.at_outer = at->strides[0];
        a.at_inner = at->strides[2];
    }
    return a;
}

static int run_scatter(fr__gpu_run *r, const fr__native_call *call, char *const *data)
{
    fr__scatter_args a = scatter_args(call, data);
    int64_t updates = a.outer * a.k * a.inner;
    int64_t warps = a.outer * a.n * fr__ceil_div(a.inner, WARP);
    if (a.rows == 1 && a.k && a.k <= LOOKS && warps <= LOOKS / a.k)
        return start(r, "scatter", "look", warps * WARP, &a);
    int status = start(r, "scatter", "copy", call->out.size, &a), bytes = 1;
    if (status || !updates)
        return status;
    if (a.k <= LOOKED_THROUGH)
        return start(r, "scatter", "few", updates, &a);
    size_t space = 2 * sizeof(uint32_t) * (size_t)(a.rows * a.k);
    if (!(a.keys = (uint32_t *)fr__gpu_take(r, space)))
        return -1;
    a.order = a.keys + a.rows * a.k;
    fr__sort_args s = {.x = (char *)a.keys,
                       .y = (char *)a.order,
                       .rows = a.rows,
                       .n = a.k,
                       .xrow = a.k,
                       .xn = 1,
                       .form = FR__FORM_U32,
                       .indices = 1};
    while (bytes < 4 && a.n >> (8 * bytes)) /* of the greatest key, n */
        bytes++;
    status = start(r, "scatter", "keys", a.rows * a.k, &a);
    status = status ? status : sort_rows(r, &s, bytes);
    status = status ? status : start(r, "scatter", "sorted", updates, &a);
    fr__gpu_give(r, (char *)a.keys, space);
    return status;
}

/* ---- all ------------------------------------------------------------------------------ */

int fr__gpu_routine_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                        bool *done)
{
    const fr__native *n = call->routine;
    *done = true;
    if (!call->out.size)
        return 0;
    if (n == &fr__native_search)
        return run_search(r, call, data);
    if ((n == &fr__native_sort || n == &fr__native_select) &&
        call->in[0].shape[1] <= MOST_SORTED)
        return run_sort(r, call, data);
    if (n == &fr__native_scatter && call->in[0].shape[1] < UINT32_MAX &&
        call->in[2].shape[1] <= MOST_SORTED)
        return run_scatter(r, call, data);
    if (n == &fr__native_attention || n == &fr__native_attention_grad)
        return fr__gpu_attention_run(r, call, data, done);
    *done = false;
    return n == &fr__native_scan ? run_scan(r, call, data, done) : 0;
}
