/* gpu_tiles.c - how products are given to product.c and product_plain.c (src/device/cuda/routines)
 *
 * Tensor cores where the device has them, float32 may be multiplied as TF32, and both operands can be read 16
 * bytes at a time; else multiply-adds. Where there are few tiles, k is done in parts by several blocks.
 */
#include "run/gpu_tiles.h"

#include "device/cuda/blas.h"
#include "device/cuda/routine.h"

#include <stdio.h>

enum {
    TENSOR_SM = 80,
    BIAS_BLOCKS = 8, /* a processor, at most */
    BYTES = 16,      /* read at a time */
    WAVE = 2,        /* blocks a processor that are worth having */
    LEAST_STEPS = 4, /* of k in a part */
    MOST_PARTS = 512
};

void fr__tile_dim(fr__tile_dims *d, int64_t size, int64_t stride, int axis, int64_t reach)
{
    fr__product_dim *last = d->n && d->n <= FR__PRODUCT_DIMS ? &d->at[d->n - 1] : NULL;
    if (size == 1)
        return;
    if (size > INT32_MAX || reach > INT32_MAX) {
        d->n = FR__PRODUCT_DIMS + 1;
        return;
    }
    if (last && last->axis < 0 && axis < 0 && last->stride == stride * size &&
        last->size * size <= INT32_MAX) {
        last->size *= (uint32_t)size;
        last->stride = stride;
        return;
    }
    if (d->n < FR__PRODUCT_DIMS)
        d->at[d->n] = (fr__product_dim){stride, (uint32_t)size, axis, (int32_t)reach, 0};
    d->n = d->n > FR__PRODUCT_DIMS ? d->n : d->n + 1;
}

/* At the end of what a kernel has room for. */
static void put_dims(const fr__tile_dims *from, fr__product_dim *to)
{
    int free = FR__PRODUCT_DIMS - from->n;
    for (int i = 0; i < FR__PRODUCT_DIMS; i++)
        to[i] = i < free ? (fr__product_dim){0, 1, -1, 0, 0} : from->at[i - free];
}

static bool fits(const fr__tiles *t)
{
    const fr__tile_dims *dims[] = {&t->rows, &t->a_k, &t->columns, &t->b_k};
    int64_t batches = 1;
    for (int i = 0; i < FR__COUNT(dims); i++)
        if (dims[i]->n > FR__PRODUCT_DIMS)
            return false;
    for (int i = 0; i < t->batches; i++)
        batches *= t->batch[i];
    return t->m <= INT32_MAX && t->n <= INT32_MAX && t->k <= INT32_MAX / 2 &&
           batches <= INT32_MAX;
}

/* ---- how operands are read ------------------------------------------------------------------ */

/* Elements of the innermost dimension are neighbours, whose 16 bytes begin at multiples of that. */
static bool is_wide(const fr__product_side *x, const fr__product_dim *inner,
                    const fr__product_dim *other, int64_t size)
{
    int64_t chunk = BYTES / size, last = FR__PRODUCT_DIMS - 1;
    if (inner[last].stride != 1 || inner[last].axis >= 0 || inner[last].size % chunk ||
        (uintptr_t)x->at % BYTES)
        return false;
    for (int i = 0; i < FR__PRODUCT_DIMS; i++)
        if ((i < last && inner[i].stride % chunk) || other[i].stride % chunk)
            return false;
    for (int i = 0; i < FR__PRODUCT_BATCH; i++)
        if (x->batch[i] % chunk)
            return false;
    return true;
}

static bool by_chunks(fr__product_side *x, int64_t size)
{
    if (is_wide(x, x->k, x->outer, size)) {
        x->along_k = 1;
        return true;
    }
    x->along_k = 0;
    return is_wide(x, x->outer, x->k, size);
}

static int64_t step_of(const fr__product_dim *dims)
{
    int64_t stride = dims[FR__PRODUCT_DIMS - 1].stride;
    return dims[FR__PRODUCT_DIMS - 1].size == 1 ? INT64_MAX : stride < 0 ? -stride : stride;
}

static void one_by_one(fr__product_side *x) { x->along_k = step_of(x->k) < step_of(x->outer); }

/* ---- the kernels' words ------------------------------------------------------------------------ */

static uint32_t form_of(int dtype)
{
    switch (dtype) {
    case FR_FLOAT16: return FR__FORM_F16;
    case FR_BFLOAT16: return FR__FORM_BF16;
    case FR_FLOAT32: return FR__FORM_F32;
    default: return FR__FORM_F64;
    }
}

static fr__product_args describe(const fr__tiles *t)
{
    fr__product_args a = {.c = t->c,
                          .c_row = t->c_row,
                          .c_column = t->c_column,
                          .c_batch = t->c_batch,
                          .m = (uint32_t)t->m,
                          .n = (uint32_t)t->n,
                          .k = (uint32_t)t->k,
                          .batches = 1,
                          .form = form_of(t->dtype)};
    fr__product_side *x = &a.side[0], *y = &a.side[1];
    x->at = t->a;
    y->at = t->b;
    put_dims(&t->rows, x->outer);
    put_dims(&t->a_k, x->k);
    put_dims(&t->columns, y->outer);
    put_dims(&t->b_k, y->k);
    int free = FR__PRODUCT_BATCH - t->batches;
    for (int i = 0; i < FR__PRODUCT_BATCH; i++) {
        a.batch[i] = i < free ? 1 : (uint32_t)t->batch[i - free];
        x->batch[i] = i < free ? 0 : t->a_batch[i - free];
        y->batch[i] = i < free ? 0 : t->b_batch[i - free];
        a.batches *= a.batch[i];
    }
    for (int i = 0; t->window && i < FR__PRODUCT_AXES; i++) {
        fr__product_side *w = &a.side[t->window - 1];
        w->windows = 1;
        w->first[i] = (int32_t)t->first[i];
        w->size[i] = (uint32_t)t->size[i];
    }
    return a;
}

/* The transposed product. */
static void turn(fr__product_args *a)
{
    fr__product_side side = a->side[0];
    uint32_t rows = a->m;
    int64_t apart = a->c_row;
    a->side[0] = a->side[1];
    a->side[1] = side;
    a->m = a->n;
    a->n = rows;
    a->c_row = a->c_column;
    a->c_column = apart;
}

static int64_t tiles_of(int64_t m, int64_t n, int64_t rows, int64_t columns)
{
    return fr__ceil_div(m, rows) * fr__ceil_div(n, columns);
}

/* Tiles, and parts of k where there are few of them. */
static void cut_up(fr__product_args *a, int64_t rows, int64_t columns, int64_t step,
                   int processors)
{
    a->row_tiles = (uint32_t)fr__ceil_div(a->m, rows);
    a->column_tiles = (uint32_t)fr__ceil_div(a->n, columns);
    int64_t tiles = (int64_t)a->row_tiles * a->column_tiles * a->batches;
    int64_t most = fr__min64(a->k / (LEAST_STEPS * step), MOST_PARTS),
            splits = fr__max64(1, fr__min64((int64_t)WAVE * processors / tiles, most));
    a->chunk = (uint32_t)(fr__ceil_div(fr__ceil_div(a->k, splits), step) * step);
    a->splits = (uint32_t)fr__ceil_div(a->k, a->chunk);
}

/* ---- the launches -------------------------------------------------------------------------------- */

static int start(fr__gpu_run *r, const char *module, const char *entry, int64_t blocks,
                 unsigned shared, fr__product_args *a)
{
    const char *name;
    void *args = a;
    fr__gpu_code *code = fr__gpu_routine(fr__gpu_of(r->home), module, entry, &name);
    fr__gpu_shape shape = {(unsigned)blocks, FR__PRODUCT_THREADS, shared};
    return code ? fr__gpu_launch(r->to, code, shape, &args, name) : -1;
}

int fr__gpu_tiles_run(fr__gpu_run *r, const fr__tiles *t, bool *done)
{
    const fr__gpu_info *about = fr__gpu_about(fr__gpu_of(r->home));
    *done = false;
    if (!fits(t))
        return 0;
    fr__product_args a = describe(t);
    int64_t size = fr__dsize(t->dtype), rows = FR__PRODUCT_PLAIN, columns = FR__PRODUCT_PLAIN,
            step = FR__PRODUCT_PLAIN_K, sum = t->dtype == FR_FLOAT64 ? 8 : 4;
    const char *plain = t->dtype == FR_FLOAT64 ? "product_f64" : "product_f32";
    char module[24];
    snprintf(module, sizeof module, "%s", plain);
    bool tensor = about->sm >= TENSOR_SM && size <= 4 && (size == 2 || fr__gpu_tf32()) &&
                  by_chunks(&a.side[0], size) && by_chunks(&a.side[1], size);
    if (tensor) {
        rows = FR__PRODUCT_ROWS;
        columns = FR__PRODUCT_COLUMNS;
        step = FR__PRODUCT_STEP / size;
        if (tiles_of(a.n, a.m, rows, columns) < tiles_of(a.m, a.n, rows, columns))
            turn(&a);
        snprintf(module, sizeof module, "product_%s_%c%c",
                 size == 4                ? "tf32"
                 : t->dtype == FR_FLOAT16 ? "f16"
                                          : "bf16",
                 a.side[0].along_k ? 'k' : 'n', a.side[1].along_k ? 'k' : 'n');
    } else {
        one_by_one(&a.side[0]);
        one_by_one(&a.side[1]);
    }
    cut_up(&a, rows, columns, step, about->processors);
    int64_t blocks = (int64_t)a.row_tiles * a.column_tiles * a.batches * a.splits,
            results = (int64_t)a.m * a.n * a.batches;
    if (blocks > INT32_MAX)
        return 0;
    *done = true;
    size_t bytes = a.splits > 1 ? (size_t)(results * a.splits * sum) : 0;
    if (bytes && !(a.parts = fr__gpu_take(r, bytes)))
        return -1;
    int status = start(r, module, "tiles", blocks, tensor ? FR__PRODUCT_SHARED : 0, &a);
    if (!status && bytes)
        status = start(r, plain, "sum", fr__ceil_div(results, FR__PRODUCT_SUMMED), 0, &a);
    fr__gpu_give(r, a.parts, bytes);
    return status;
}

int fr__gpu_add_bias(fr__gpu_run *r, int dtype, int64_t rows, int64_t columns, char *y,
                     const char *b, bool relu)
{
    fr__product_args a = {.c = y,
                          .side = {{.at = b}},
                          .m = (uint32_t)rows,
                          .n = (uint32_t)columns,
                          .form = form_of(dtype),
                          .relu = relu};
    int processors = fr__gpu_about(fr__gpu_of(r->home))->processors;
    int64_t blocks = fr__min64(fr__ceil_div(rows * columns, FR__PRODUCT_THREADS),
                               (int64_t)BIAS_BLOCKS * processors);
    return start(r, dtype == FR_FLOAT64 ? "product_f64" : "product_f32", "bias", blocks, 0, &a);
}
