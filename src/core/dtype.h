/* dtype.h - the table of element types, and how they promote */
#ifndef FR_DTYPE_H
#define FR_DTYPE_H

#include "ferrule/ferrule.h"

typedef enum fr__dkind {
    FR__KIND_BOOL,
    FR__KIND_UINT,
    FR__KIND_INT,
    FR__KIND_FLOAT,
    FR__KIND_COMPLEX
} fr__dkind;

typedef struct fr__dtype_info {
    const char *name;   /* "float32" */
    uint8_t size, kind; /* bytes of an element, fr__dkind */
    char code;          /* buffer protocol and numpy: 'f', 'i' ... 0 where there is none */
} fr__dtype_info;
extern const fr__dtype_info fr__dtypes[FR_DTYPE_COUNT];

static inline int fr__dsize(int dtype) { return fr__dtypes[dtype].size; }
static inline bool fr__is_float(int d) { return fr__dtypes[d].kind == FR__KIND_FLOAT; }
static inline bool fr__is_int(int d)
{
    int k = fr__dtypes[d].kind;
    return k == FR__KIND_UINT || k == FR__KIND_INT;
}

#endif
