/* view.c - the arithmetic of views */
#include "op/view.h"

bool fr__is_contiguous(int ndim, const int64_t *shape, const int64_t *strides)
{
    int64_t step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        if (shape[i] != 1 && strides[i] != step)
            return shape[i] == 0;
        step *= shape[i];
    }
    return true;
}

/* Groups of input and output axes with equal products keep their order in memory; inside a group
 * the input must be mergeable into one axis. */
static bool reshape_strides(int ndim, const int64_t *shape, int in_ndim,
                            const int64_t *in_shape, const int64_t *in_strides,
                            int64_t *strides)
{
    int64_t from[FR_MAX_NDIM], step[FR_MAX_NDIM];
    int n = 0;
    for (int i = 0; i < in_ndim; i++) {
        if (in_shape[i] == 0) { /* no elements: any strides will do */
            for (int j = 0; j < ndim; j++)
                strides[j] = 1;
            return true;
        }
        if (in_shape[i] != 1)
            from[n] = in_shape[i], step[n++] = in_strides[i];
    }
    int i = 0, j = 0;
    while (i < n) {
        int64_t have = from[i], want = 1;
        int i1 = i + 1, j1 = j;
        while (have != want) {
            if (want < have)
                want *= shape[j1++];
            else
                have *= from[i1++];
        }
        for (int k = i; k + 1 < i1; k++)
            if (step[k] != from[k + 1] * step[k + 1])
                return false;
        int64_t last = step[i1 - 1];
        for (int k = j1 - 1; k >= j; k--) {
            strides[k] = last;
            last *= shape[k];
        }
        i = i1;
        j = j1;
    }
    for (; j < ndim; j++)
        strides[j] = 1; /* sizes 1 at the end */
    return true;
}

bool fr__view_strides(int op, const int64_t *par, int ndim, const int64_t *shape, int in_ndim,
                      const int64_t *in_shape, const int64_t *in_strides, int64_t *strides,
                      int64_t *offset)
{
    switch (op) {
    case FR__OP_RESHAPE:
        return reshape_strides(ndim, shape, in_ndim, in_shape, in_strides, strides);
    case FR__OP_TRANSPOSE:
        for (int i = 0; i < ndim; i++)
            strides[i] = in_strides[par[i]];
        return true;
    case FR__OP_BROADCAST:
        for (int i = 0; i < ndim; i++) {
            int from = i - (ndim - in_ndim);
            strides[i] = from < 0 || in_shape[from] == 1 ? 0 : in_strides[from];
        }
        return true;
    case FR__OP_AGAIN:
        for (int i = 0; i < ndim; i++)
            strides[i] = in_strides[i];
        return true;
    case FR__OP_SLICE:
        for (int i = 0; i < ndim; i++) {
            *offset += par[i] * in_strides[i];
            strides[i] = in_strides[i] * par[ndim + i];
        }
        return true;
    case FR__OP_WINDOWS:
        for (int i = 0; i < ndim; i++)
            strides[i] = in_strides[i > par[0] ? i - 1 : i];
        strides[par[0]] *= par[1];
        strides[par[0] + 1] *= par[2];
        return true;
    default: return false;
    }
}
