/* product.c (for GPUs) - CONTRACT, CONV and CONV_FILTER: products of matrices by tensor cores
 *
 * needs   NAME; one of TF32, F16, BF16; A_K, B_K: 1 where the operand is read 16 bytes along k at a time, 0
 *         where along the other side
 * gives   tiles: 128 x 64 of c by a block, of a part of k
 *
 * An element of an operand is where its outer index and its k index lead (product.h). So contractions over
 * several axes and convolutions are read from where they lie. While a step of k is multiplied, the next two are
 * on their way to shared memory. Sums are of float32, in an order that shapes fix.
 */
enum { THREADS = 256 };

#include "device/cuda/routines/tensor.h"

#include "device/cuda/routines/product.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    BM = FR__PRODUCT_ROWS,
    BN = FR__PRODUCT_COLUMNS,
    STAGES = FR__PRODUCT_STAGES,
    CHUNK = 16 / ELEMENT, /* elements of 16 bytes */
    BK = FR__PRODUCT_STEP / ELEMENT,
    CHUNKS = BK / CHUNK, /* of a line of k */
    A_COPIES = BM * CHUNKS / THREADS,
    B_COPIES = BN * CHUNKS / THREADS,
    STAGE = (BM + BN) * FR__PRODUCT_STEP
};

SHARED place lines[BM + BN], ks[STAGES][2 * BK];

/* ---- from memory to shared memory ------------------------------------------------------------- */

/* Where 16 bytes of a tile lie: with rows along k, chunk c of row r, of 128 bytes; else with rows of k. What a
 * fragment reads is in different banks. */
INLINED uint32_t place_in(bool along_k, uint32_t n, uint32_t line, uint32_t k)
{
    if (along_k)
        return line * FR__PRODUCT_STEP + ((k / CHUNK ^ (line & 7)) << 4);
    uint32_t turn = ELEMENT == 4 ? (k & 3) << 1 : k & 7;
    return k * n * ELEMENT + ((line / CHUNK ^ turn) << 4);
}

/* The ith copy of a thread: neighbours read neighbours. */
INLINED uint32_t line_of(bool along_k, uint32_t n, uint32_t i)
{
    uint32_t t = thread_index();
    return along_k ? t / CHUNKS + i * (THREADS / CHUNKS) : t % (n / CHUNK) * CHUNK;
}
INLINED uint32_t k_of(bool along_k, uint32_t n, uint32_t i)
{
    uint32_t t = thread_index();
    return along_k ? t % CHUNKS * CHUNK : t / (n / CHUNK) + i * (THREADS / (n / CHUNK));
}

INLINED void copy_side(const fr__product_side *x, const char *at, bool along_k, uint32_t n,
                       int copies, const place *own, const SHARED_IS place *k_places,
                       uint32_t to)
{
    UNROLLED for (int i = 0; i < copies; i++)
    {
        const place *line = &own[along_k ? i : 0];
        uint32_t k = k_of(along_k, n, (uint32_t)i);
        const SHARED_IS place *other = &k_places[k];
        bool there = is_inside(x, line, other);
        const char *from = there ? at + (line->offset + other->offset) * ELEMENT : at;
        copy_async_cached(to + place_in(along_k, n, line_of(along_k, n, (uint32_t)i), k), from,
                          there ? 16 : 0);
    }
}

/* ---- what a warp multiplies: 32 x 32 ---------------------------------------------------------- */

/* Of the 16 rows from `row` on, step k of a [16, STEP]. */
INLINED void fragment_a(uint32_t *a, uint32_t tile, uint32_t row, uint32_t k)
{
    uint32_t l = lane();
    if (A_K) {
        load_matrices(a, tile + place_in(true, BM, row + (l & 15), k + (l >> 4) * CHUNK));
    } else if (KIND == 2) {
        UNROLLED for (uint32_t i = 0; i < 4; i++)
        {
            uint32_t line = row + (l >> 2) + 8 * (i & 1);
            a[i] = load_shared(tile + place_in(false, BM, line, k + (l & 3) + 4 * (i >> 1)) +
                               line % CHUNK * ELEMENT);
        }
    } else {
        load_transposed(
            a, tile + place_in(false, BM, row + (l >> 3 & 1) * 8, k + (l & 7) + (l >> 4) * 8));
    }
    rounded(a, 4);
}

/* Of 16 columns: two b [STEP, 8]. */
INLINED void fragment_b(uint32_t *b, uint32_t tile, uint32_t column, uint32_t k)
{
    uint32_t l = lane();
    if (B_K) {
        load_matrices(b, tile + place_in(true, BN, column + (l & 7) + (l >> 4) * 8,
                                         k + (l >> 3 & 1) * CHUNK));
    } else if (KIND == 2) {
        UNROLLED for (uint32_t i = 0; i < 4; i++)
        {
            uint32_t line = column + (l >> 2) + 8 * (i >> 1);
            b[i] = load_shared(tile + place_in(false, BN, line, k + (l & 3) + 4 * (i & 1)) +
                               line % CHUNK * ELEMENT);
        }
    } else {
        load_transposed(b, tile + place_in(false, BN, column + (l >> 4) * 8,
                                           k + (l & 7) + (l >> 3 & 1) * 8));
    }
    rounded(b, 4);
}

INLINED void multiply(uint32_t stage, float (*c)[4])
{
    uint32_t warp = thread_index() / WARP, row = warp % 4 * 32, column = warp / 4 * 32;
    UNROLLED for (uint32_t k = 0; k < BK; k += STEP)
    {
        uint32_t a[2][4], b[2][4];
        UNROLLED for (uint32_t i = 0; i < 2; i++) fragment_a(a[i], stage, row + 16 * i, k);
        UNROLLED for (uint32_t i = 0; i < 2; i++)
            fragment_b(b[i], stage + BM * FR__PRODUCT_STEP, column + 16 * i, k);
        UNROLLED for (int i = 0; i < 8; i++)
            multiply_add(c[i], a[i / 4], &b[i % 4 / 2][i % 2 * 2]);
    }
}

/* ---- results ------------------------------------------------------------------------------------ */

INLINED void put_part(char *to, float v) { *(float *)to = v; }

/* Element (row, column) is row * apart + column * beside elements of `size` bytes after `to`. */
#define PUT_TILE(to, apart, beside, size, put)                                                 \
    UNROLLED for (uint32_t half = 0; half < 4; half++)                                         \
    {                                                                                          \
        uint32_t r = row + 8 * half;                                                           \
        char *line = (to) + (r * (apart) + column * (beside)) * (size);                        \
        UNROLLED for (uint32_t i = 0; i < 8; i++)                                              \
        {                                                                                      \
            uint32_t q = i / 2 * 8 + i % 2;                                                    \
            if (r < s->m && column + q < s->n)                                                 \
                put(line + q * (beside) * (size),                                              \
                    c[half / 2 * 4 + i / 2][half % 2 * 2 + i % 2]);                            \
        }                                                                                      \
    }

INLINED void put_tile(const fr__product_args *s, const tile *t, float (*c)[4])
{
    uint32_t warp = thread_index() / WARP;
    uint32_t row = t->row * BM + warp % 4 * 32 + lane() / 4,
             column = t->column * BN + warp / 4 * 32 + lane() % 4 * 2;
    if (s->parts) {
        char *to = s->parts + part_at(s, t, 0, 0) * (int64_t)sizeof(float);
        PUT_TILE(to, (int64_t)s->n, (int64_t)1, (int64_t)sizeof(float), put_part)
    } else {
        char *to = s->c + t->batch * s->c_batch * ELEMENT;
        PUT_TILE(to, s->c_row, s->c_column, ELEMENT, store_one)
    }
}

KERNEL(ENTRY(tiles), fr__product_args)
{
    float c[8][4];
    place a_own[A_COPIES], b_own[B_COPIES];
    tile t = tile_of(&s);
    counter n;
    clear(c, 8);
    uint32_t begin = t.split * s.chunk, end = least(s.k, begin + s.chunk),
             shared = shared_start();
    const char *a = s.side[0].at + batch_offset(&s, 0, t.batch) * ELEMENT,
               *b = s.side[1].at + batch_offset(&s, 1, t.batch) * ELEMENT;
    place_lines(&s, t.row * BM, t.column * BN, lines, BM, BN);
    start_counting(&s, &n, begin, BK);
    UNROLLED for (int i = 0; i < STAGES; i++) place_k(&s, &n, end, ks[i], BK);
    block_barrier();
    UNROLLED for (uint32_t i = 0; i < A_COPIES; i++) a_own[i] = lines[line_of(A_K, BM, i)];
    UNROLLED for (uint32_t i = 0; i < B_COPIES; i++) b_own[i] = lines[BM + line_of(B_K, BN, i)];
#define COPY_STEP(stage)                                                                       \
    copy_side(&s.side[0], a, A_K, BM, A_COPIES, a_own, ks[stage], shared + (stage)*STAGE);     \
    copy_side(&s.side[1], b, B_K, BN, B_COPIES, b_own, ks[stage] + BK,                         \
              shared + (stage)*STAGE + BM * FR__PRODUCT_STEP)
    COPY_STEP(0);
    copies_end_group();
    if (begin + BK < end) {
        COPY_STEP(1);
    }
    copies_end_group();
    uint32_t now = 0, next = 2; /* stages: multiplied, copied to */
    for (uint32_t k = begin; k < end; k += BK) {
        copies_wait_but_one();
        block_barrier();
        if (k + 2 * BK < end) {
            COPY_STEP(next);
        }
        copies_end_group();
        place_k(&s, &n, end, ks[now], BK); /* for the step after those */
        multiply(shared + now * STAGE, c);
        now = now == STAGES - 1 ? 0 : now + 1;
        next = next == STAGES - 1 ? 0 : next + 1;
    }
    put_tile(&s, &t, c);
}
