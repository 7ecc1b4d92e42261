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

#endif
