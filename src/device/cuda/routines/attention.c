/* attention.c (for GPUs) - attention in one pass over the keys, on tensor cores
 *
 * A block has some queries of a head, each of its four warps 16 or 32 of them: as fragments, their
 * scores with the next keys, then the exponentials of these times the values. The largest score so far
 * is subtracted before (Milakov and Gimelshein 2018; Dao et al. 2022); keys and values are copied to
 * shared memory while those before them are worked on. Blocks with the most keys to see start first.
 */
#include "device/cuda/routines/attention_args.h"

#define THREADS FR__ATTENTION_THREADS
#include "device/cuda/routines/tensor.h"

#include "device/cuda/routines/attention.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    ROW = HEAD * ELEMENT,
    TILES = FR__ATTEND_TILES(ROW),
    ROWS = 64 * TILES, /* queries of a block */
    KEYS = FR__ATTEND_KEYS(HEAD),
    ACROSS = KEYS / 8, /* tiles of scores */
    WIDE = HEAD / 8,   /* of results */
    ROOM = 8,          /* see exponentials() */
};

typedef struct rows {
    float most[TILES][2], sum[TILES][2]; /* of rows l / 4 and l / 4 + 8 of a tile */
} rows;

/* Scores of some queries and keys as they are compared: those that aren't seen are -infinity. */
INLINED void mask_scores(const fr__attention_args *s, float (*c)[4], const char *mask,
                         int query, int key)
{
    int row = query + (int)(lane() >> 2), col = key + 2 * (int)(lane() & 3);
    float first = scale_first(s);
    int64_t step = s->mask.col;
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        int own = row + 16 * t + 8 * h, last = last_key(s, own) - col;
        const char *m = mask + own * s->mask.row + col * step;
#define EACH(x)                                                                                \
    UNROLLED for (int n = 0; n < ACROSS; n++) UNROLLED for (int i = 0; i < 2; i++)             \
    {                                                                                          \
        bool seen = 8 * n + i <= last;                                                         \
        float *p = &c[t * ACROSS + n][2 * h + i];                                              \
        *p = x;                                                                                \
        m += i ? 7 * step : step;                                                              \
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

/* Row r's largest score becomes the one that is subtracted; what was summed before is scaled. */
INLINED void raise(rows *r, float (*most)[2], float (*y)[4], float factor)
{
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        float before = r->most[t][h], after = quad_max(__builtin_fmaxf(most[t][h], before));
        float scale = after == MINUS_INFINITY ? 1 : exp2_fast((before - after) * factor);
        r->most[t][h] = after;
        r->sum[t][h] *= scale;
        UNROLLED for (int n = 0; y && n < WIDE; n++)
        {
            y[t * WIDE + n][2 * h] *= scale;
            y[t * WIDE + n][2 * h + 1] *= scale;
        }
    }
}

/* Scores to exponentials. What is subtracted from a row's is not always the largest so far: it may be
 * less by so much that exponentials stay below 2^ROOM. */
INLINED void exponentials(float (*c)[4], float (*y)[4], rows *r, float factor)
{
    float most[TILES][2];
    bool raised = false;
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        float m = MINUS_INFINITY;
        UNROLLED for (int n = 0; n < ACROSS; n++) m = __builtin_fmaxf(
            m, __builtin_fmaxf(c[t * ACROSS + n][2 * h], c[t * ACROSS + n][2 * h + 1]));
        most[t][h] = m;
        raised |= (m - r->most[t][h]) * factor > ROOM;
    }
    if (any_lane(raised))
        raise(r, most, y, factor);
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        float shift = r->most[t][h] == MINUS_INFINITY ? 0 : r->most[t][h] * factor, sum = 0;
        UNROLLED for (int n = 0; n < ACROSS; n++)
            UNROLLED for (int i = 2 * h; i < 2 * h + 2; i++)
        {
            float *p = &c[t * ACROSS + n][i];
            *p = exp2_fast(__builtin_fmaf(*p, factor, -shift));
            sum += *p;
        }
        r->sum[t][h] += sum;
    }
}

typedef struct place {
    int product, example, head, keys_head, query; /* query: the first of the block */
} place;

INLINED place place_of(const fr__attention_args *s)
{
    int unit = (int)block_index(), block = unit / s->products;
    place p = {.product = unit % s->products};
    p.example = p.product / s->heads;
    p.head = p.product % s->heads;
    p.keys_head = p.head / s->group;
    p.query = (s->causal ? s->blocks - 1 - block : block) * ROWS;
    return p;
}

INLINED void copy_keys(const fr__attention_args *s, const char *k, const char *v, int key,
                       uint32_t to)
{
    copy_tile(to, ROW, KEYS, k, s->k.row, key, s->keys, s->width * ELEMENT);
    if (v)
        copy_tile(to + KEYS * ROW, ROW, KEYS, v, s->v.row, key, s->keys,
                  s->out_width * ELEMENT);
    copies_end_group();
}

/* The pass over the keys; without values, for the sums of exponentials alone. */
INLINED void pass(const fr__attention_args *s, const place *p, rows *r, float (*y)[4])
{
    const char *k = head_of(&s->k, p->example, p->keys_head),
               *v = y ? head_of(&s->v, p->example, p->keys_head) : NULL,
               *mask = head_of(&s->mask, p->example, p->head);
    uint32_t start = shared_start(), warp = thread_index() / WARP;
    uint32_t q = start + warp * (16 * TILES * ROW), stage = start + ROWS * ROW;
    int own = p->query + (int)warp * 16 * TILES, keys = keys_seen(s, p->query, ROWS);
    float factor = factor_of(s);
    copy_tile(start, ROW, ROWS, head_of(&s->q, p->example, p->head), s->q.row, p->query,
              s->queries, s->width * ELEMENT);
    copy_keys(s, k, v, 0, stage);
    for (int key = 0; key < keys; key += KEYS) {
        float c[TILES * ACROSS][4];
        uint32_t at = stage + (uint32_t)(key / KEYS & 1) * (2 * KEYS * ROW);
        uint32_t next = stage + (uint32_t)(~(key / KEYS) & 1) * (2 * KEYS * ROW);
        copies_wait();
        block_barrier();
        if (key + KEYS < keys)
            copy_keys(s, k, v, key + KEYS, next);
        multiply_rows(c, TILES, ACROSS, ROW, q, at);
        if (look_closely(s, own, key, KEYS))
            mask_scores(s, c, mask, own, key);
        exponentials(c, y, r, factor);
        if (y)
            multiply_columns(y, TILES, WIDE, ROW, c, ACROSS, at + KEYS * ROW);
    }
}

INLINED void start(rows *r)
{
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        r->most[t][h] = MINUS_INFINITY;
        r->sum[t][h] = 0;
    }
}

/* Of a tile's lower or upper half, the row of this lane. */
INLINED int row_of(const place *p, int t, int h)
{
    return p->query + ((int)(thread_index() / WARP) * TILES + t) * 16 + 8 * h +
           (int)(lane() >> 2);
}

KERNEL(ENTRY(forward), fr__attention_args)
{
    place p = place_of(&s);
    float y[TILES * WIDE][4];
    rows r;
    start(&r);
    clear(y, TILES * WIDE);
    pass(&s, &p, &r, y);
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        int row = row_of(&p, t, h);
        int64_t at = ((int64_t)p.product * s.queries + row) * s.out_width * ELEMENT;
        float inverse = 1 / quad_sum(r.sum[t][h]); /* nothing is seen: 0 times infinity */
        if (row < s.queries)
            store_row(s.y + at, s.out_width, y + t * WIDE, WIDE, h, inverse);
    }
}

/* Of 16 bytes each. */
INLINED float dot(const uint32_t *x, const uint32_t *y)
{
    float sum = 0;
    UNROLLED for (int i = 0; i < 4; i++)
    {
#if KIND == 2
        sum = __builtin_fmaf(fr__float32(x[i]), fr__float32(y[i]), sum);
#elif KIND == 1
        sum = __builtin_fmaf(fr__from_bf16((uint16_t)x[i]), fr__from_bf16((uint16_t)y[i]), sum);
        sum = __builtin_fmaf(fr__from_bf16((uint16_t)(x[i] >> 16)),
                             fr__from_bf16((uint16_t)(y[i] >> 16)), sum);
#else
        sum = __builtin_fmaf(from_f16((uint16_t)x[i]), from_f16((uint16_t)y[i]), sum);
        sum = __builtin_fmaf(from_f16((uint16_t)(x[i] >> 16)), from_f16((uint16_t)(y[i] >> 16)),
                             sum);
#endif
    }
    return sum;
}

/* For the gradients: what the exponentials of each row sum up to, and out . dout. */
KERNEL(ENTRY(rows), fr__attention_args)
{
    place p = place_of(&s);
    rows r;
    start(&r);
    pass(&s, &p, &r, NULL);
    const char *out = head_of(&s.out, p.example, p.head),
               *dout = head_of(&s.dout, p.example, p.head);
    UNROLLED for (int t = 0; t < TILES; t++) UNROLLED for (int h = 0; h < 2; h++)
    {
        int row = row_of(&p, t, h);
        float sum = quad_sum(r.sum[t][h]), most = r.most[t][h], delta = 0;
        bool any = row < s.queries && sum != 0;
        const char *x = out + row * s.out.row, *y = dout + row * s.dout.row;
        for (int at = 16 * (int)(lane() & 3); any && at < s.out_width * ELEMENT; at += 64)
            delta += dot((const uint32_t *)(x + at), (const uint32_t *)(y + at));
        delta = quad_sum(delta);
        if (row < s.padded && (lane() & 3) == 0) {
            s.lse[p.product * s.padded + row] =
                any ? __builtin_fmaf(most, factor_of(&s), log2_fast(sum)) : __builtin_inff();
            s.delta[p.product * s.padded + row] = delta;
        }
    }
}
