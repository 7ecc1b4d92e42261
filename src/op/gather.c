/* gather.c - elements at computed indices */
#include "core/scope.h"
#include "op/op.h"

fr_array *fr_take(fr_array *x, fr_array *indices, int axis)
{
    fr_array *both[2] = {x, indices};
    if (!fr__operands(2, both))
        return NULL;
    char text[FR__SHAPE_TEXT];
    int64_t shape[FR_MAX_NDIM];
    fr_array *flat = NULL, *y = NULL;
    int ndim = x->ndim - 1 + indices->ndim;
    if ((axis = fr__axis(axis, x->ndim, "take")) < 0)
        goto done;
    if (!fr__is_int(indices->dtype)) {
        fr__fail(FR__E_TYPE, "take: indices are integers, not %s",
                 fr__shape_text(indices, text));
        goto done;
    }
    if (ndim > FR_MAX_NDIM) {
        fr__fail(FR__E_LIMIT, "take: %d dimensions, the most is %d", ndim, FR_MAX_NDIM);
        goto done;
    }
    if (x->dims[axis] == 0 && indices->size) {
        fr__fail(FR__E_INDEX, "take: from axis %d of %s, which is empty", axis,
                 fr__shape_text(x, text));
        goto done;
    }
    for (int d = 0; d < ndim; d++)
        shape[d] = d < axis                   ? x->dims[d]
                   : d < axis + indices->ndim ? indices->dims[d - axis]
                                              : x->dims[d + 1 - indices->ndim];
    /* A literal index has no place in memory: as an array of its own it has. */
    flat = indices->op == FR__OP_NUMBER ? fr_astype(indices, FR_INT64) : indices;
    if (flat && flat->op == FR__OP_NUMBER)
        flat = fr__node(FR__OP_COPY, flat->dtype, 0, NULL, 1, &flat, 0);
    if (flat)
        y = fr__node(FR__OP_TAKE, x->dtype, ndim, shape, 2, (fr_array *[]){x, flat}, 1);
    if (y)
        y->par[0] = axis;
    if (flat != indices)
        fr__discard(flat);
done:
    fr__settle(2, both);
    return y;
}
