/* reinterpret.c - view: the same bits as another dtype
 *
 * What has values is another view of its memory. What is pending is reinterpreted in its kernel,
 * element by element; where sizes differ elements are cut into pieces, or put together from them, as
 * unsigned integers.
 */
#include "core/scope.h"
#include "op/op.h"

/* The unsigned integer of so many bytes. */
static fr_dtype whole_of(int size)
{
    return size == 1 ? FR_UINT8 : size == 2 ? FR_UINT16 : size == 4 ? FR_UINT32 : FR_UINT64;
}

/* Where x lies in memory, read as another dtype; NULL without an error: not as it lies. */
static fr_array *over_memory(fr_array *x, int dtype, int64_t last)
{
    int from = fr__dsize(x->dtype), to = fr__dsize(dtype), n = x->ndim;
    int64_t shape[FR_MAX_NDIM], strides[FR_MAX_NDIM];
    if (!fr__done(x) || !x->buf || (x->dtype != FR_BOOL && dtype == FR_BOOL) ||
        (uintptr_t)x->data % (uintptr_t)to)
        return NULL;
    for (int d = 0; d < n; d++) {
        int64_t bytes = fr__strides(x)[d] * from;
        bool inner = d == n - 1 && from != to;
        if (inner ? x->dims[d] != 1 && bytes != from : bytes % to)
            return NULL;
        shape[d] = inner ? last : x->dims[d];
        strides[d] = inner ? 1 : bytes / to;
    }
    return fr__leaf(fr__buffer_keep(x->buf), (size_t)(x->data - (char *)x->buf->data), dtype, n,
                    shape, strides);
}

/* x, strong and no literal. */
static fr_array *reinterpreted(fr_array *x, int dtype)
{
    if (x && x->dtype == dtype)
        return x;
    return x ? fr__node(FR__OP_REINTERPRET, dtype, x->ndim, x->dims, 1, &x, 0) : NULL;
}

/* Elements of x, unsigned, in `count` pieces each along a new last axis. */
static fr_array *in_pieces(fr_array *x, int count, fr_dtype piece)
{
    fr_array *part[8];
    int bits = 8 * fr__dsize((int)piece);
    for (int i = 0; i < count; i++)
        part[i] = fr_astype((fr_shift_right)(x, fr__number(i * bits, x->dtype)), piece);
    return fr_stack(count, part, x->ndim);
}

/* The other way round: the last axis holds the pieces of one element. */
static fr_array *from_pieces(fr_array *x, int count, fr_dtype whole)
{
    int64_t start[FR_MAX_NDIM] = {0}, step[FR_MAX_NDIM], size[FR_MAX_NDIM];
    int bits = 8 * fr__dsize(x->dtype), last = x->ndim - 1;
    fr_array *y = NULL;
    for (int d = 0; d <= last; d++) {
        step[d] = 1;
        size[d] = d == last ? 1 : x->dims[d];
    }
    for (int i = 0; i < count && !fr__failed(); i++) {
        start[last] = i;
        fr_array *piece = fr_astype(fr_slice(x, start, step, size), whole);
        piece = (fr_shift_left)(piece, fr__number(i * bits, (int)whole));
        y = y ? (fr_bit_or)(y, piece) : piece;
    }
    return y ? fr_reshape(y, y->dims, last) : NULL;
}

static fr_array *resized(fr_array *x, int dtype, int64_t last)
{
    int from = fr__dsize(x->dtype), to = fr__dsize(dtype), n = x->ndim;
    int64_t shape[FR_MAX_NDIM + 1];
    memcpy(shape, x->dims, sizeof *shape * (size_t)n);
    fr_array *y = reinterpreted(x, whole_of(from));
    shape[n - 1] = last;
    if (!y || from > to) {
        y = y ? in_pieces(y, from / to, whole_of(to)) : NULL;
        y = y ? fr_reshape(y, shape, n) : NULL;
    } else {
        shape[n] = to / from;
        y = fr_reshape(y, shape, n + 1);
        y = y ? from_pieces(y, to / from, whole_of(to)) : NULL;
    }
    return reinterpreted(y, dtype);
}

fr_array *fr_view_as(fr_array *x, fr_dtype dtype)
{
    char text[FR__SHAPE_TEXT];
    if (!fr__operands(1, &x))
        return NULL;
    if ((unsigned)dtype >= FR_DTYPE_COUNT)
        return fr__fail(FR__E_TYPE, "view: %d is no dtype", (int)dtype);
    int from = fr__dsize(x->dtype), to = fr__dsize((int)dtype);
    int64_t last = x->ndim ? x->dims[x->ndim - 1] * from / to : 1;
    if (from != to && !x->ndim)
        return fr__fail(FR__E_VALUE, "view: a number of another size than %s can't be %s",
                        fr__dtypes[x->dtype].name, fr__dtypes[dtype].name);
    if (x->ndim && last * to != x->dims[x->ndim - 1] * from)
        return fr__fail(FR__E_VALUE,
                        "view: the last axis of %s has no whole number of %s elements",
                        fr__shape_text(x, text), fr__dtypes[dtype].name);
    if (from != to && x->ndim == FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "view: %d dimensions are too many", x->ndim);
    fr_scope *s = fr_scope_open();
    if (!s)
        return NULL;
    fr_array *y = over_memory(x, (int)dtype, last), *strong = NULL;
    if (!y && !fr__failed() && (strong = fr_astype(x, (fr_dtype)x->dtype)))
        y = from == to ? reinterpreted(strong, (int)dtype) : resized(strong, (int)dtype, last);
    return fr__leave(s, y);
}
