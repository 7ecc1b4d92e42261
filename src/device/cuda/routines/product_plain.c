/* product_plain.c (for GPUs) - products of matrices by multiply-adds, where tensor cores aren't used
 *
 * needs   NAME; F32: float32, float16 and bfloat16, summed in float32; or F64
 * gives   tiles: 64 x 64 of c by a block, of a part of k; sum: parts added up, in order; bias
 *
 * As product.c, but for elements one by one; the dimension along which an operand is contiguous is told, so that
 * neighbours read neighbours.
 */
#include "device/cuda/routines/threads.h"

#include "base/bits.h"

#include "device/cuda/routines/product.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    B = FR__PRODUCT_PLAIN,
    BK = FR__PRODUCT_PLAIN_K,
    THREADS = FR__PRODUCT_THREADS,
    UNITS = B * BK / THREADS,
    EACH = 4,
    PAD = 4,
    PARTS = 4
};

#ifdef F64
typedef double number;
INLINED number fused(number a, number b, number c) { return __builtin_fma(a, b, c); }
INLINED number load(const fr__product_args *s, const char *x, int64_t at)
{
    (void)s;
    return ((const double *)x)[at];
}
INLINED void store(const fr__product_args *s, int64_t at, number v)
{
    ((double *)s->c)[at] = v;
}
#else
typedef float number;
INLINED number fused(number a, number b, number c) { return __builtin_fmaf(a, b, c); }
INLINED number load(const fr__product_args *s, const char *x, int64_t at)
{
    if (s->form == FR__FORM_F32)
        return ((const float *)x)[at];
    uint16_t v = ((const uint16_t *)x)[at];
    return s->form == FR__FORM_F16 ? from_f16(v) : fr__from_bf16(v);
}
INLINED void store(const fr__product_args *s, int64_t at, number v)
{
    if (s->form == FR__FORM_F32)
        ((float *)s->c)[at] = v;
    else
        ((uint16_t *)s->c)[at] = s->form == FR__FORM_F16 ? to_f16(v) : fr__to_bf16(v);
}
#endif

SHARED number a_tiles[2][BK][B + PAD], b_tiles[2][BK][B + PAD];
SHARED place rows[2 * B], ks[2][2 * BK];

/* ---- tiles -------------------------------------------------------------------------------- */

INLINED uint32_t size_of(const fr__product_args *s)
{
    return sizeof(number) == 8 ? 8 : s->form == FR__FORM_F32 ? 4 : 2;
}

INLINED uint32_t row_of(uint32_t i, bool along_k)
{
    uint32_t n = thread_index() + i * THREADS;
    return along_k ? n / BK : n % B;
}
INLINED uint32_t k_of(uint32_t i, bool along_k)
{
    uint32_t n = thread_index() + i * THREADS;
    return along_k ? n % BK : n / B;
}

INLINED void load_numbers(const fr__product_args *s, int which, const char *at, uint32_t buffer,
                          number *to)
{
    const fr__product_side *x = &s->side[which];
    UNROLLED for (uint32_t i = 0; i < UNITS; i++)
    {
        place row = rows[which * B + row_of(i, x->along_k)];
        const SHARED_IS place *k = &ks[buffer][which * BK + k_of(i, x->along_k)];
        to[i] = 0;
        if (is_inside(x, &row, k))
            to[i] = load(s, at, row.offset + k->offset);
    }
}

INLINED void store_numbers(const fr__product_side *x, const number *from,
                           SHARED_IS number (*to)[B + PAD])
{
    UNROLLED for (uint32_t i = 0; i < UNITS; i++)
        to[k_of(i, x->along_k)][row_of(i, x->along_k)] = from[i];
}

INLINED void multiply(uint32_t buffer, number c[EACH][EACH])
{
    uint32_t row = thread_index() / 16 * EACH, column = thread_index() % 16 * EACH;
    UNROLLED for (int k = 0; k < BK; k++)
    {
        number a[EACH], b[EACH];
        UNROLLED for (int i = 0; i < EACH; i++)
        {
            a[i] = a_tiles[buffer][k][row + i];
            b[i] = b_tiles[buffer][k][column + i];
        }
        UNROLLED for (int i = 0; i < EACH * EACH; i++) c[i / EACH][i % EACH] =
            fused(a[i / EACH], b[i % EACH], c[i / EACH][i % EACH]);
    }
}

INLINED void put_tile(const fr__product_args *s, const tile *t, number c[EACH][EACH])
{
    uint32_t row = t->row * B + thread_index() / 16 * EACH,
             column = t->column * B + thread_index() % 16 * EACH;
    UNROLLED for (uint32_t i = 0; i < EACH * EACH; i++)
    {
        uint32_t r = row + i / EACH, q = column + i % EACH;
        if (r >= s->m || q >= s->n)
            continue;
        if (s->parts)
            ((number *)s->parts)[part_at(s, t, r, q)] = c[i / EACH][i % EACH];
        else
            store(s, t->batch * s->c_batch + r * s->c_row + q * s->c_column,
                  c[i / EACH][i % EACH]);
    }
}

KERNEL(ENTRY(tiles), fr__product_args)
{
    number c[EACH][EACH], a_next[UNITS], b_next[UNITS];
    tile t = tile_of(&s);
    UNROLLED for (int i = 0; i < EACH * EACH; i++) c[i / EACH][i % EACH] = 0;
    uint32_t begin = t.split * s.chunk, end = least(s.k, begin + s.chunk);
    const char *a = s.side[0].at + batch_offset(&s, 0, t.batch) * size_of(&s),
               *b = s.side[1].at + batch_offset(&s, 1, t.batch) * size_of(&s);
    counter n;
    place_lines(&s, t.row * B, t.column * B, rows, B, B);
    start_counting(&s, &n, begin, BK);
    place_k(&s, &n, end, ks[0], BK);
    place_k(&s, &n, end, ks[1], BK);
    block_barrier();
    load_numbers(&s, 0, a, 0, a_next);
    load_numbers(&s, 1, b, 0, b_next);
    store_numbers(&s.side[0], a_next, a_tiles[0]);
    store_numbers(&s.side[1], b_next, b_tiles[0]);
    block_barrier();
    for (uint32_t k = begin, buffer = 0; k < end; k += BK, buffer ^= 1) {
        bool more = k + BK < end;
        if (more) {
            load_numbers(&s, 0, a, buffer ^ 1, a_next);
            load_numbers(&s, 1, b, buffer ^ 1, b_next);
        }
        multiply(buffer, c);
        if (more) {
            store_numbers(&s.side[0], a_next, a_tiles[buffer ^ 1]);
            store_numbers(&s.side[1], b_next, b_tiles[buffer ^ 1]);
        }
        place_k(&s, &n, end, ks[buffer], BK);
        block_barrier();
    }
    put_tile(&s, &t, c);
}

/* ---- parts of k --------------------------------------------------------------------------- */

SHARED number sums[THREADS];

/* An element by PARTS threads, each for some parts, 64 elements a block. */
KERNEL(ENTRY(sum), fr__product_args)
{
    int64_t each = (int64_t)s.m * s.n, all = each * s.batches;
    uint32_t lane = thread_index() % (THREADS / PARTS),
             part = thread_index() / (THREADS / PARTS);
    uint32_t per = (s.splits + PARTS - 1) / PARTS, end = least(s.splits, (part + 1) * per);
    int64_t i = (int64_t)block_index() * (THREADS / PARTS) + lane;
    number v = 0;
    if (i < all) {
        const number *from = (const number *)s.parts + i;
        uint32_t p = part * per;
        for (; p + 4 <= end; p += 4) {
            number four[4];
            UNROLLED for (uint32_t j = 0; j < 4; j++) four[j] = from[(p + j) * all];
            UNROLLED for (uint32_t j = 0; j < 4; j++) v += four[j];
        }
        for (; p < end; p++)
            v += from[p * all];
    }
    sums[thread_index()] = v;
    block_barrier();
    if (part || i >= all)
        return;
    UNROLLED for (uint32_t p = 1; p < PARTS; p++) v += sums[lane + p * (THREADS / PARTS)];
    int64_t batch = i / each, row = i % each / s.n, column = i % s.n;
    store(&s, batch * s.c_batch + row * s.c_row + column * s.c_column, v);
}

/* ---- what follows a convolution ------------------------------------------------------------------ */

/* c[m, n] += a row of n numbers, a; what is below 0 then is 0, perhaps. */
KERNEL(ENTRY(bias), fr__product_args)
{
    int64_t all = (int64_t)s.m * s.n;
    for (int64_t i = grid_thread(); i < all; i += grid_threads()) {
        number v = load(&s, s.c, i) + load(&s, s.side[0].at, i % s.n);
        store(&s, i, s.relu && v < 0 ? 0 : v);
    }
}
