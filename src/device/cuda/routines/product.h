/* product.h - what kernels of products share: where elements are, which part of c a block makes */
#ifndef FR_ROUTINES_PRODUCT_H
#define FR_ROUTINES_PRODUCT_H

#include "device/cuda/routines/threads.h"

#include "device/cuda/routines/product_args.h"

#ifdef __NVPTX__
#define SHARED_IS __attribute__((address_space(3)))
#else
#define SHARED_IS
#endif

INLINED uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* ---- places ----------------------------------------------------------------------------- */

/* Where an outer or a k index leads; outside: it is none. */
typedef struct {
    int64_t offset;
    int32_t at[FR__PRODUCT_AXES];
    int32_t outside;
} __attribute__((aligned(16))) place;

INLINED bool is_inside(const fr__product_side *x, const place *row, const SHARED_IS place *k)
{
    if (row->outside | k->outside)
        return false;
    if (!x->windows)
        return true;
    bool inside = true;
    UNROLLED for (int i = 0; i < FR__PRODUCT_AXES; i++) inside &=
        (uint32_t)(row->at[i] + k->at[i]) < x->size[i];
    return inside;
}

INLINED void take_apart(const fr__product_dim *dims, uint32_t i, uint32_t *digit)
{
    UNROLLED for (int d = FR__PRODUCT_DIMS - 1; d >= 0; d--)
    {
        uint32_t size = dims[d].size;
        digit[d] = 0;
        if (size > 1) {
            digit[d] = i % size;
            i /= size;
        }
    }
}

INLINED void put_place(const fr__product_side *x, const fr__product_dim *dims,
                       const uint32_t *digit, bool first, bool outside, SHARED_IS place *to)
{
    int64_t offset = 0;
    int32_t at[FR__PRODUCT_AXES];
    UNROLLED for (int i = 0; i < FR__PRODUCT_AXES; i++) at[i] = first ? x->first[i] : 0;
    UNROLLED for (int d = 0; d < FR__PRODUCT_DIMS; d++)
    {
        offset += (int64_t)digit[d] * dims[d].stride;
        int32_t moved = (int32_t)digit[d] * dims[d].reach;
        UNROLLED for (int i = 0; i < FR__PRODUCT_AXES; i++) at[i] +=
            dims[d].axis == i ? moved : 0;
    }
    to->offset = offset;
    UNROLLED for (int i = 0; i < FR__PRODUCT_AXES; i++) to->at[i] = at[i];
    to->outside = outside;
}

/* Of rows of a tile of a, by threads from 0 on, and of columns of b, by those after them. */
INLINED void place_lines(const fr__product_args *s, uint32_t row, uint32_t column,
                         SHARED_IS place *to, uint32_t rows, uint32_t columns)
{
    uint32_t i = thread_index(), digit[FR__PRODUCT_DIMS];
    if (i >= rows + columns)
        return;
    uint32_t which = i >= rows, n = which ? column + i - rows : row + i;
    const fr__product_side *x = &s->side[which];
    take_apart(x->outer, n, digit);
    put_place(x, x->outer, digit, true, n >= (which ? s->n : s->m), &to[i]);
}

/* A thread's k index, of a or of b. */
typedef struct {
    uint32_t k, by, digit[FR__PRODUCT_DIMS], step[FR__PRODUCT_DIMS];
} counter;

INLINED const fr__product_side *counted(const fr__product_args *s, uint32_t block)
{
    return &s->side[thread_index() >= block];
}

INLINED void start_counting(const fr__product_args *s, counter *n, uint32_t from,
                            uint32_t block)
{
    n->k = from + thread_index() % block;
    n->by = block;
    take_apart(counted(s, block)->k, n->k, n->digit);
    take_apart(counted(s, block)->k, block, n->step);
}

/* Of the next `block` elements of k: a's, then b's. */
INLINED void place_k(const fr__product_args *s, counter *n, uint32_t end, SHARED_IS place *to,
                     uint32_t block)
{
    if (thread_index() >= 2 * block)
        return;
    const fr__product_side *x = counted(s, block);
    put_place(x, x->k, n->digit, false, n->k >= end, &to[thread_index()]);
    uint32_t carry = 0;
    UNROLLED for (int d = FR__PRODUCT_DIMS - 1; d >= 0; d--)
    {
        uint32_t v = n->digit[d] + n->step[d] + carry, size = x->k[d].size;
        carry = v >= size;
        n->digit[d] = carry ? v - size : v;
    }
    n->k += n->by;
}

/* ---- tiles ------------------------------------------------------------------------------ */

typedef struct {
    uint32_t row, column, batch, split; /* row, column: in tiles */
} tile;

/* Tiles of one part of k and one batch come together; those that read the same rows follow each other. */
INLINED tile tile_of(const fr__product_args *s)
{
    uint32_t i = block_index();
    tile t = {.column = i % s->column_tiles};
    i /= s->column_tiles;
    t.row = i % s->row_tiles;
    i /= s->row_tiles;
    t.batch = i % s->batches;
    t.split = i / s->batches;
    return t;
}

INLINED int64_t batch_offset(const fr__product_args *s, int which, uint32_t batch)
{
    int64_t offset = 0;
    UNROLLED for (int d = FR__PRODUCT_BATCH - 1; d >= 0; d--)
    {
        offset += batch % s->batch[d] * s->side[which].batch[d];
        batch /= s->batch[d];
    }
    return offset;
}

INLINED int64_t part_at(const fr__product_args *s, const tile *t, uint32_t row, uint32_t column)
{
    return (((int64_t)t->split * s->batches + t->batch) * s->m + row) * s->n + column;
}

#endif
