/* dtypes.h - what is known of element types, and bits taken as another type */
#ifndef FERRULE_DTYPES_H
#define FERRULE_DTYPES_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of a float (of complex64: its parts'). -1: dtype is no float (TYPE). */
typedef struct fr_finfo {
    fr_dtype dtype;
    int bits;
    double min, max;        /* the least and the greatest finite number */
    double eps;             /* from 1 to the next number */
    double smallest_normal; /* above 0; smaller ones have fewer bits */
} fr_finfo;
FR_API int fr_get_finfo(fr_dtype dtype, fr_finfo *to);

/* Of an integer. -1: dtype is none (TYPE). */
typedef struct fr_iinfo {
    fr_dtype dtype;
    int bits;
    int64_t min;
    uint64_t max;
} fr_iinfo;
FR_API int fr_get_iinfo(fr_dtype dtype, fr_iinfo *to);

/* Kinds of types; each is in the one it stands under. */
typedef enum fr_category {
    FR_GENERIC,
    FR_NUMBER,          /* generic */
    FR_INTEGER,         /* number */
    FR_SIGNEDINTEGER,   /* integer */
    FR_UNSIGNEDINTEGER, /* integer */
    FR_INEXACT,         /* number */
    FR_FLOATING,        /* inexact */
    FR_COMPLEXFLOATING, /* inexact */
} fr_category;
FR_API bool fr_in_category(fr_dtype dtype, fr_category category);
/* Whether promotion of both gives `to`: no operation would change `to` for it. */
FR_API bool fr_can_cast(fr_dtype from, fr_dtype to);
/* What operands promote to, weak numbers counted as such. FR_DTYPE_COUNT: none, or NULL among them. */
FR_API fr_dtype fr_result_type(int n, fr_array *const *x);

/* x's bits as another dtype. Of the same size element by element; otherwise the last axis gets
 * shorter or longer, the first piece of an element being its low bytes. A bool is true where its
 * byte is not 0. Shares x's memory where it has values that lie so.
 * VALUE   the last axis has no whole number of new elements, or x is 0-d and sizes differ */
FR_API fr_array *fr_view_as(fr_array *x, fr_dtype dtype);

#ifdef __cplusplus
}
#endif
#endif
