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

/* ---- all ------------------------------------------------------------------------------ */

int fr__gpu_routine_run(fr__gpu_run *r, const fr__native_call *call, char *const *data,
                        bool *done)
{
    *done = false;
    if (!call->out.size) {
        *done = true;
        return 0;
    }
    if (call->routine == &fr__native_scan)
        return run_scan(r, call, data, done);
    return 0;
}
