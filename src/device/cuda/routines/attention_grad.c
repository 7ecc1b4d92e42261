/* attention_grad.c (for GPUs) - gradients of attention on tensor cores, in two kernels
 *
 * Both make the scores anew, probabilities p of them, and the scores' gradients
 * ds = p (dout V^T - delta), delta being out . dout of a query. `queries`, the first, has queries in a block
 * and meets keys: dQ = ds K, in one pass as attention.c's; it leaves the sums of exponentials and delta.
 * `keys` has keys of a head and meets all queries that see them: dV = p^T dout, dK = ds^T Q. Each result is
 * summed by one warp in one order: the same bits each time.
 */
#include "device/cuda/routines/attention_args.h"

#define THREADS FR__ATTENTION_THREADS
#ifdef GROUP
#include "device/cuda/routines/group.h"
#else
#include "device/cuda/routines/tensor.h"
#endif

#define ENTRY(step) JOINED(NAME, step)

enum {
    ROW = HEAD * ELEMENT,
#ifdef GROUP
    TILES = 1,
    NEXT = FR__GROUP_STEP,
#else
    TILES = FR__ATTEND_GRAD_TILES(HEAD),
    NEXT = FR__ATTEND_GRAD_STEP(ROW, HEAD), /* those that are met at a time */
#endif
    OWN = 16 * TILES,            /* rows of a warp */
    ROWS = THREADS / WARP * OWN, /* and of a block */
    ACROSS = NEXT / 8,
    WIDE = HEAD / 8,
    ROOM = KIND == 0 ? 0 : 8, /* float16 has no room */
};

#include "device/cuda/routines/attention_rows.h"

/* ---- products --------------------------------------------------------------------------------- */

/* A block's own rows, and those of this warp. */
INLINED void copy_own(const fr__attention_array *x, int example, int head, int first, int all,
                      int width, uint32_t to)
{
#ifdef GROUP
    copy_panels(to, ROW, ROWS, head_of(x, example, head), x->row, first, all, width);
#else
    copy_tile(to, ROW, ROWS, head_of(x, example, head), x->row, first, all, width);
#endif
}

/* Two tiles of NEXT rows, one behind the other. */
INLINED void copy_next(const fr__attention_array *x, const fr__attention_array *y, int example,
                       int head, int first, int all, const int *widths, uint32_t to)
{
    const char *u = head_of(x, example, head), *v = head_of(y, example, head);
#ifdef GROUP
    copy_panels(to, ROW, NEXT, u, x->row, first, all, widths[0]);
    copy_panels(to + NEXT * ROW, ROW, NEXT, v, y->row, first, all, widths[1]);
#else
    copy_tile(to, ROW, NEXT, u, x->row, first, all, widths[0]);
    copy_tile(to + NEXT * ROW, ROW, NEXT, v, y->row, first, all, widths[1]);
#endif
    copies_end_group();
}

INLINED void copies_ready(void)
{
    copies_wait();
#ifdef GROUP
    copies_show();
#endif
    block_barrier();
}

/* Where rows of a tile of the block's own lie: this warp's, or its group's. */
INLINED uint32_t own_rows(uint32_t tile)
{
    uint32_t warp = thread_index() / WARP;
#ifdef GROUP
    return tile + warp / 4 * (64 * PANEL);
#else
    return tile + warp * (OWN * ROW);
#endif
}

/* c and d: own rows at x and y times those of the tiles at u and v. */
INLINED void two_products(float (*c)[4], float (*d)[4], uint32_t x, uint32_t y, uint32_t u,
                          uint32_t v)
{
#ifdef GROUP
    clear(c, ACROSS);
    clear(d, ACROSS);
    hold(c, ACROSS);
    hold(d, ACROSS);
    group_begin();
    group_tiles(c, ACROSS, x, ROWS * PANEL, ROW / 32, u, NEXT * PANEL);
    group_end();
    group_tiles(d, ACROSS, y, ROWS * PANEL, ROW / 32, v, NEXT * PANEL);
    group_end();
    group_wait(0);
    hold(c, ACROSS);
    hold(d, ACROSS);
#else
    multiply_rows(c, TILES, ACROSS, ROW, x, u);
    multiply_rows(d, TILES, ACROSS, ROW, y, v);
#endif
}

/* y += c times the columns of the tile at u, and z += d times those of the one at v */
INLINED void add_products(float (*y)[4], float (*c)[4], uint32_t u, float (*z)[4],
                          float (*d)[4], uint32_t v)
{
#ifdef GROUP
    uint32_t a[NEXT / 16][4], b[NEXT / 16][4];
    EACH (i, NEXT / 16) {
        as_a(a[i], c + 2 * i);
        if (z)
            as_a(b[i], d + 2 * i);
    }
    hold_a(a, NEXT / 16);
    hold(y, WIDE);
    if (z) {
        hold_a(b, NEXT / 16);
        hold(z, WIDE);
    }
    group_begin();
    group_columns(y, WIDE, a, NEXT / 16, u, NEXT * PANEL);
    if (z)
        group_columns(z, WIDE, b, NEXT / 16, v, NEXT * PANEL);
    group_end();
    group_wait(0);
    hold(y, WIDE);
    if (z)
        hold(z, WIDE);
#else
    multiply_columns(y, TILES, WIDE, ROW, c, ACROSS, u);
    if (z)
        multiply_columns(z, TILES, WIDE, ROW, d, ACROSS, v);
#endif
}

INLINED void store_rows(char *to, int64_t product, int all, int first, int width, float (*y)[4],
                        float scale)
{
    EACH (t, TILES)
        EACH (h, 2) {
            int row = first + 16 * t + 8 * h + (int)(lane() >> 2);
            if (row < all)
                store_row(to + (product * all + row) * width * ELEMENT, width, y + t * WIDE,
                          WIDE, h, scale);
        }
}

/* ---- of keys and values ------------------------------------------------------------------------- */

/* As mask_scores, of keys by queries. */
INLINED void mask_turned(const fr__attention_args *s, float (*c)[4], const char *mask, int key,
                         int query)
{
    int row = key + (int)(lane() >> 2), col = query + 2 * (int)(lane() & 3);
    float first = scale_first(s);
    int64_t step = s->mask.row;
    EACH (t, TILES)
        EACH (h, 2) {
            int own = row + 16 * t + 8 * h;
            const char *m = mask + own * s->mask.col + col * step;
#define EVERY(x)                                                                               \
    EACH (n, ACROSS)                                                                           \
        EACH (i, 2) {                                                                          \
            bool seen = own <= last_key(s, col + 8 * n + i);                                   \
            float *p = &c[t * ACROSS + n][2 * h + i];                                          \
            *p = x;                                                                            \
            m += i ? 7 * step : step;                                                          \
        }
            if (s->mask_kind == FR__MASK_NONE) {
                EVERY(seen ? *p * first : MINUS_INFINITY)
            } else if (s->mask_kind == FR__MASK_BOOL) {
                EVERY(with_bool(m, seen, *p * first))
            } else {
                EVERY(with_float(m, seen, *p * first))
            }
#undef EVERY
        }
}

/* Scores c and dout V^T d, of keys by queries, become probabilities and their gradients. */
INLINED void from_keys(const fr__attention_args *s, float (*c)[4], float (*d)[4], int64_t at)
{
    float factor = factor_of(s);
    const float *lse = s->lse + at + 2 * (lane() & 3),
                *delta = s->delta + at + 2 * (lane() & 3);
    EACH (n, ACROSS)
        EACH (j, 2) {
            float l = lse[8 * n + j], e = delta[8 * n + j];
            EACH (t, TILES)
                UNROLLED for (int i = j; i < 4; i += 2)
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
    int from = first_query(&s, key) / NEXT * NEXT;
    int each = from < s.queries ? (s.queries - from + NEXT - 1) / NEXT : 0,
        all = each * s.group;
    int head = keys_head * s.group, query = from;
    float dk[TILES * WIDE][4], dv[TILES * WIDE][4];
    clear(dk, TILES * WIDE);
    clear(dv, TILES * WIDE);
    copy_own(&s.k, example, keys_head, key, s.keys, widths[0], k);
    copy_own(&s.v, example, keys_head, key, s.keys, widths[1], v);
    copy_next(&s.q, &s.dout, example, head, query, s.queries, widths, stage);
    key += (int)(thread_index() / WARP) * OWN;
    copies_ready();
    for (int i = 0; i < all; i++) {
        float c[TILES * ACROSS][4], d[TILES * ACROSS][4];
        uint32_t q = stage + (uint32_t)(i & 1) * (2 * NEXT * ROW), dout = q + NEXT * ROW;
        int this_head = head, this_query = query;
        query += NEXT;
        if (query >= s.queries) {
            query = from;
            head++;
        }
        if (i + 1 < all)
            copy_next(&s.q, &s.dout, example, head, query, s.queries, widths,
                      stage + (uint32_t)(~i & 1) * (2 * NEXT * ROW));
        two_products(c, d, own_rows(k), own_rows(v), q, dout);
        if (look_closely(&s, this_query, key, OWN))
            mask_turned(&s, c, head_of(&s.mask, example, this_head), key, this_query);
        from_keys(&s, c, d, ((int64_t)example * s.heads + this_head) * s.padded + this_query);
        add_products(dv, c, dout, dk, d, q);
        copies_ready();
    }
    store_rows(s.dk, product, s.keys, key, s.width, dk, s.scale);
    store_rows(s.dv, product, s.keys, key, s.out_width, dv, 1);
}

/* ---- of queries --------------------------------------------------------------------------------- */

/* out . dout of a row, by the lanes that have it. */
INLINED float row_dot(const fr__attention_args *s, const char *out, const char *dout, int row)
{
    const char *x = out + row * s->out.row, *y = dout + row * s->dout.row;
    float sum = 0;
    for (int at = 16 * (int)(lane() & 3); row < s->queries && at < s->out_width * ELEMENT;
         at += 64)
        sum += dot((const uint32_t *)(x + at), (const uint32_t *)(y + at));
    return quad_sum(sum);
}

/* Exponentials aren't divided by their sums before all keys were met. */
KERNEL(ENTRY(queries), fr__attention_args)
{
    int unit = (int)block_index(), block = unit / s.products, product = unit % s.products;
    int example = product / s.heads, head = product % s.heads, keys_head = head / s.group;
    int query = (s.causal ? s.blocks - 1 - block : block) * ROWS;
    int widths[2] = {s.width * ELEMENT, s.out_width * ELEMENT};
    uint32_t q = shared_start(), dout = q + ROWS * ROW, stage = dout + ROWS * ROW;
    int keys = keys_seen(&s, query, ROWS);
    float dq[TILES * WIDE][4], delta[TILES * 2], factor = factor_of(&s);
    rows r;
    start(&r);
    clear(dq, TILES * WIDE);
    copy_own(&s.q, example, head, query, s.queries, widths[0], q);
    copy_own(&s.dout, example, head, query, s.queries, widths[1], dout);
    copy_next(&s.k, &s.v, example, keys_head, 0, s.keys, widths, stage);
    query += (int)(thread_index() / WARP) * OWN;
    EACH (i, 2 * TILES)
        delta[i] = row_dot(&s, head_of(&s.out, example, head), head_of(&s.dout, example, head),
                           query + 8 * i + (int)(lane() >> 2));
    copies_ready();
    for (int key = 0; key < keys; key += NEXT) {
        float c[TILES * ACROSS][4], d[TILES * ACROSS][4], scale[TILES][2];
        uint32_t odd = (uint32_t)(key / NEXT & 1), k = stage + odd * (2 * NEXT * ROW);
        if (key + NEXT < keys)
            copy_next(&s.k, &s.v, example, keys_head, key + NEXT, s.keys, widths,
                      stage + (odd ^ 1) * (2 * NEXT * ROW));
        two_products(c, d, own_rows(q), own_rows(dout), k, k + NEXT * ROW);
        if (look_closely(&s, query, key, NEXT))
            mask_scores(&s, c, head_of(&s.mask, example, head), query, key);
        if (exponentials(c, &r, scale, factor))
            scale_sums(dq, scale);
        EACH (t, TILES)
            EACH (n, ACROSS)
                EACH (i, 4)
                    c[t * ACROSS + n][i] *= d[t * ACROSS + n][i] - delta[2 * t + (i >> 1)];
        add_products(dq, c, k, NULL, NULL, 0);
        copies_ready();
    }
    EACH (t, TILES)
        EACH (h, 2) {
            int row = query + 16 * t + 8 * h + (int)(lane() >> 2);
            float sum = quad_sum(r.sum[t][h]);
            bool any = row < s.queries && sum != 0;
            int64_t at = product * s.padded + row;
            if ((lane() & 3) == 0) {
                s.lse[at] = any ? __builtin_fmaf(r.most[t][h], factor, log2_fast(sum))
                                : __builtin_inff();
                s.delta[at] = any ? delta[2 * t + h] : 0;
            }
            EACH (n, WIDE)
                UNROLLED for (int i = 2 * h; i < 2 * h + 2;
                              i++) if (!any) /* 0 times NaN until here */
                    dq[t * WIDE + n][i] = 0;
            if (row < s.queries)
                store_row(s.dq + ((int64_t)product * s.queries + row) * s.width * ELEMENT,
                          s.width, dq + t * WIDE, WIDE, h, any ? s.scale / sum : 0);
        }
}
