/* args.h - what a routine's kernels are given; the same for the host that starts them */
#ifndef FR_ROUTINES_ARGS_H
#define FR_ROUTINES_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/* How an element lies in memory. */
typedef enum fr__form {
    FR__FORM_U8,
    FR__FORM_U16,
    FR__FORM_U32,
    FR__FORM_U64,
    FR__FORM_I8,
    FR__FORM_I16,
    FR__FORM_I32,
    FR__FORM_I64,
    FR__FORM_F16,
    FR__FORM_BF16,
    FR__FORM_F32,
    FR__FORM_F64,
    FR__FORM_C64,
    FR__FORMS
} fr__form;

/* Rows along the middle axis of x [outer, n, inner], any strides (in elements), to y, row-major. A row
 * is cut into chunks; totals: of [rows][chunks], by warps, or [outer][chunks][inner], by threads. */
typedef struct fr__scan_args {
    const char *x;
    char *y, *totals;
    int64_t outer, n, inner, xrow, xn, xcol;
    int64_t chunk, chunks;
    uint64_t identity; /* the bits of the accumulator's type */
    uint64_t flip; /* of whole numbers: makes the order of signed ones that of unsigned ones */
    uint32_t form, width; /* width: lanes of a row, where several go in a warp */
    uint32_t reverse, exclusive, totals_first, unused;
} fr__scan_args;

/* Values [rows, m] in sorted rows [rows, n], any strides; y: row-major. */
typedef struct fr__search_args {
    const char *sorted, *values;
    uint32_t *y;
    int64_t rows, n, m, row, step, value_row, value_step;
    uint32_t form, right;
} fr__search_args;

enum {
    FR__SORT_FEW = 2048,   /* elements that a block sorts in shared memory */
    FR__SORT_BLOCK = 2048, /* and of a long row, in a pass */
    FR__SORT_THREADS = 256 /* of every kernel of sorting */
};

/* Rows [rows, n] of x, any strides; of the order, y has what comes from `from` on. */
typedef struct fr__sort_args {
    const char *x;
    char *y;
    int64_t rows, n, xrow, xn, from;
    /* Long rows: row-major keys, and indices in their order; a pass goes from these to those. */
    char *keys, *keys_to;
    uint32_t *order, *order_to, *counts;
    int64_t blocks; /* of a row */
    uint32_t form, exact, indices, padded, shift, unused;
} fr__sort_args;

/* As FR_SCATTER_SET and so on. */
typedef enum fr__scatter_how {
    FR__SCATTER_SET,
    FR__SCATTER_ADD,
    FR__SCATTER_MUL,
    FR__SCATTER_DIV,
    FR__SCATTER_MIN,
    FR__SCATTER_MAX
} fr__scatter_how;

/* x [outer, n, inner] and updates [outer, k, inner], any strides; rows: of k indices, one for all or
 * one for each outer and inner index. */
typedef struct fr__scatter_args {
    const char *x, *at, *updates;
    char *y;
    uint32_t *keys, *order; /* [rows, k] */
    int64_t outer, n, inner, k, rows;
    int64_t x_outer, x_step, x_inner, u_outer, u_step, u_inner, at_outer, at_step, at_inner;
    uint32_t form, size, mode, is_bool, wide, unused;
} fr__scatter_args;

#endif
