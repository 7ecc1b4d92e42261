/* attention_grad.c (for GPUs) - gradients of attention on tensor cores, in two kernels
 *
 * Both make the scores anew and, by the sums that attention.c's `rows` found, probabilities p of them;
 * then those's gradients ds = p (dout V^T - delta). `keys`: a block has some keys of a head and meets all
 * queries that see them: dV = p^T dout, dK = ds^T Q. `queries`: it has queries and meets keys: dQ = ds K.
 * Each result is summed by one warp in one order: the same bits each time.
 */
#include "device/cuda/routines/attention_args.h"

#define THREADS FR__ATTENTION_THREADS
#include "device/cuda/routines/tensor.h"

#include "device/cuda/routines/attention.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    ROW = HEAD * ELEMENT,
    TILES = FR__ATTEND_GRAD_TILES(ROW),
    OWN = 16 * TILES,                 /* rows of a warp */
    ROWS = 4 * OWN,                   /* and of a block */
    NEXT = FR__ATTEND_GRAD_STEP(ROW), /* those that it meets at a time */
    ACROSS = NEXT / 8,
    WIDE = HEAD / 8,
};

/* Two tiles of NEXT rows, one behind the other. */
INLINED void copy_next(const fr__attention_array *x, const fr__attention_array *y, int example,
                       int head, int first, int all, const int *widths, uint32_t to)
{
    copy_tile(to, ROW, NEXT, head_of(x, example, head), x->row, first, all, widths[0]);
    copy_tile(to + NEXT * ROW, ROW, NEXT, head_of(y, example, head), y->row, first, all,
              widths[1]);
    copies_end_group();
}

INLINED void store_rows(char *to, int64_t product, int all, int first, int width, float (*y)[4],
                        float scale)
{
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        int row = first + 16 * t + 8 * h + (int)(lane() >> 2);
        if (row < all)
            store_row(to + (product * all + row) * width * ELEMENT, width, y + t * WIDE, WIDE,
                      h, scale);
    }
}

/* As attention.c's, of a lane's first query and key; turned: queries are columns. */
INLINED void mask_scores(const fr__attention_args *s, float (*c)[4], const char *mask,
                         int query, int key, bool turned)
{
    float first = scale_first(s);
    int64_t across = turned ? s->mask.row : s->mask.col;
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        int q = query + (turned ? 0 : 16 * t + 8 * h), k = key + (turned ? 16 * t + 8 * h : 0);
        const char *m = mask + q * s->mask.row + k * s->mask.col;
        int last = last_key(s, q) - k;
#define EACH(x)                                                                                \
    UNROLLED for (int n = 0; n < ACROSS; n++) UNROLLED for (int i = 0; i < 2; i++)             \
    {                                                                                          \
        bool seen = turned ? last_key(s, q + 8 * n + i) >= k : 8 * n + i <= last;              \
        float *p = &c[t * ACROSS + n][2 * h + i];                                              \
        *p = x;                                                                                \
        m += i ? 7 * across : across;                                                          \
    }
        if (s->mask_kind == FR__MASK_NONE) {
            EACH(seen ? *p * first : MINUS_INFINITY)
        } else if (s->mask_kind == FR__MASK_BOOL) {
            EACH(with_bool(m, seen, *p * first))
        } else {
            EACH(with_float(m, seen, *p * first))
        }
#undef EACH
    }
}

/* ---- of keys and values ------------------------------------------------------------------------- */

/* Scores c and dout V^T d, of keys by queries, become probabilities and their gradients. */
INLINED void from_keys(const fr__attention_args *s, float (*c)[4], float (*d)[4],
                       const char *mask, int64_t at, int key, int query)
{
    int row = key + (int)(lane() >> 2), col = query + 2 * (int)(lane() & 3);
    float factor = factor_of(s);
    const float *lse = s->lse + at + 2 * (lane() & 3),
                *delta = s->delta + at + 2 * (lane() & 3);
    if (look_closely(s, query, key, OWN))
        mask_scores(s, c, mask, col, row, true);
    UNROLLED for (int n = 0; n < ACROSS; n++) UNROLLED for (int j = 0; j < 2; j++)
    {
        float l = lse[8 * n + j], e = delta[8 * n + j];
        UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int i = j; i < 4; i += 2)
        {
            float p = exp2_fast(__builtin_fmaf(c[t * ACROSS + n][i], factor, -l));
            c[t * ACROSS + n][i] = p;
            d[t * ACROSS + n][i] = p * (d[t * ACROSS + n][i] - e);
        }
    }
}

KERNEL(ENTRY(keys), fr__attention_args)
{
    int products = s.products / s.group, unit = (int)block_index();
    int product = unit % products, key = unit / products * ROWS;
    int heads = s.heads / s.group, example = product / heads, keys_head = product % heads;
    int widths[2] = {s.width * ELEMENT, s.out_width * ELEMENT};
    uint32_t k = shared_start(), v = k + ROWS * ROW, stage = v + ROWS * ROW;
    uint32_t warp = thread_index() / WARP, own = warp * (OWN * ROW);
    int from = first_query(&s, key) / NEXT * NEXT;
    int each = from < s.queries ? (s.queries - from + NEXT - 1) / NEXT : 0,
        all = each * s.group;
    int head = keys_head * s.group, query = from;
    float dk[TILES * WIDE][4], dv[TILES * WIDE][4];
    clear(dk, TILES * WIDE);
    clear(dv, TILES * WIDE);
    copy_tile(k, ROW, ROWS, head_of(&s.k, example, keys_head), s.k.row, key, s.keys, widths[0]);
    copy_tile(v, ROW, ROWS, head_of(&s.v, example, keys_head), s.v.row, key, s.keys, widths[1]);
    copy_next(&s.q, &s.dout, example, head, query, s.queries, widths, stage);
    key += (int)warp * OWN;
    for (int i = 0; i < all; i++) {
        float c[TILES * ACROSS][4], d[TILES * ACROSS][4];
        uint32_t q = stage + (uint32_t)(i & 1) * (2 * NEXT * ROW), dout = q + NEXT * ROW;
        int this_head = head, this_query = query;
        query += NEXT;
        if (query >= s.queries) {
            query = from;
            head++;
        }
        copies_wait();
        block_barrier();
        if (i + 1 < all)
            copy_next(&s.q, &s.dout, example, head, query, s.queries, widths,
                      stage + (uint32_t)(~i & 1) * (2 * NEXT * ROW));
        multiply_rows(c, TILES, ACROSS, ROW, k + own, q);
        multiply_rows(d, TILES, ACROSS, ROW, v + own, dout);
        from_keys(&s, c, d, head_of(&s.mask, example, this_head),
                  ((int64_t)example * s.heads + this_head) * s.padded + this_query, key,
                  this_query);
        multiply_columns(dv, TILES, WIDE, ROW, c, ACROSS, dout);
        multiply_columns(dk, TILES, WIDE, ROW, d, ACROSS, q);
    }
    store_rows(s.dk, product, s.keys, key, s.width, dk, s.scale);
    store_rows(s.dv, product, s.keys, key, s.out_width, dv, 1);
}

/* ---- of queries --------------------------------------------------------------------------------- */

KERNEL(ENTRY(queries), fr__attention_args)
{
    int unit = (int)block_index(), block = unit / s.products, product = unit % s.products;
    int example = product / s.heads, head = product % s.heads, keys_head = head / s.group;
    int query = (s.causal ? s.blocks - 1 - block : block) * ROWS;
    int widths[2] = {s.width * ELEMENT, s.out_width * ELEMENT};
    uint32_t q = shared_start(), dout = q + ROWS * ROW, stage = dout + ROWS * ROW;
    uint32_t warp = thread_index() / WARP, own = warp * (OWN * ROW);
    const char *mask = head_of(&s.mask, example, head);
    int keys = keys_seen(&s, query, ROWS);
    float dq[TILES * WIDE][4], lse[TILES * 2], delta[TILES * 2], factor = factor_of(&s);
    clear(dq, TILES * WIDE);
    copy_tile(q, ROW, ROWS, head_of(&s.q, example, head), s.q.row, query, s.queries, widths[0]);
    copy_tile(dout, ROW, ROWS, head_of(&s.dout, example, head), s.dout.row, query, s.queries,
              widths[1]);
    copy_next(&s.k, &s.v, example, keys_head, 0, s.keys, widths, stage);
    query += (int)warp * OWN;
    UNROLLED for (int i = 0; i < 2 * TILES; i++)
    {
        int64_t at = product * s.padded + query + 8 * i + (lane() >> 2);
        lse[i] = s.lse[at];
        delta[i] = s.delta[at];
    }
    for (int key = 0; key < keys; key += NEXT) {
        float c[TILES * ACROSS][4], d[TILES * ACROSS][4];
        uint32_t odd = (uint32_t)(key / NEXT & 1), k = stage + odd * (2 * NEXT * ROW);
        copies_wait();
        block_barrier();
        if (key + NEXT < keys)
            copy_next(&s.k, &s.v, example, keys_head, key + NEXT, s.keys, widths,
                      stage + (odd ^ 1) * (2 * NEXT * ROW));
        multiply_rows(c, TILES, ACROSS, ROW, q + own, k);
        multiply_rows(d, TILES, ACROSS, ROW, dout + own, k + NEXT * ROW);
        if (look_closely(&s, query, key, NEXT))
            mask_scores(&s, c, mask, query + (int)(lane() >> 2), key + 2 * (int)(lane() & 3),
                        false);
        UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int n = 0; n < ACROSS; n++)
            UNROLLED for (int i = 0; i < 4; i++)
        {
            float *x = &c[t * ACROSS + n][i];
            float p = exp2_fast(__builtin_fmaf(*x, factor, -lse[2 * t + (i >> 1)]));
            *x = p * (d[t * ACROSS + n][i] - delta[2 * t + (i >> 1)]);
        }
        multiply_columns(dq, TILES, WIDE, ROW, c, ACROSS, k);
    }
    store_rows(s.dq, product, s.queries, query, s.width, dq, s.scale);
}
