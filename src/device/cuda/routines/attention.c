/* attention.c (for GPUs) - attention in one pass over the keys, on tensor cores
 *
 * A block has some queries of a head, each of its four warps 16 or 32 of them: as fragments, their
 * scores with the next keys, then the exponentials of these times the values. The largest score so far
 * is subtracted before (Milakov and Gimelshein 2018; Dao et al. 2022); keys and values are copied to
 * shared memory while those before them are worked on. Blocks with the most keys to see start first.
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
    KEYS = FR__GROUP_KEYS,
#else
    TILES = FR__ATTEND_TILES(ROW),
    KEYS = FR__ATTEND_KEYS(HEAD),
#endif
    ROWS = THREADS / 2 * TILES, /* queries of a block */
    ACROSS = KEYS / 8,          /* tiles of scores */
    WIDE = HEAD / 8,            /* of results */
    ROOM = 8,
};

#include "device/cuda/routines/attention_rows.h"

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

#ifdef GROUP

INLINED void copy_keys(const fr__attention_args *s, const place *p, int key, uint32_t to)
{
    copy_panels(to, ROW, KEYS, head_of(&s->k, p->example, p->keys_head), s->k.row, key, s->keys,
                s->width * ELEMENT);
    copy_panels(to + KEYS * ROW, ROW, KEYS, head_of(&s->v, p->example, p->keys_head), s->v.row,
                key, s->keys, s->out_width * ELEMENT);
    copies_end_group();
}

INLINED void next_ready(void)
{
    copies_wait();
    copies_show();
    block_barrier();
}

/* c: scores of the queries at q and of keys at `at`, begun. */
INLINED void begin_scores(float (*c)[4], uint32_t q, uint32_t at)
{
    clear(c, ACROSS);
    hold(c, ACROSS);
    group_begin();
    group_tiles(c, ACROSS, q, ROWS * PANEL, ROW / 32, at, KEYS * PANEL);
    group_end();
}
INLINED void begin_values(float (*y)[4], uint32_t (*a)[4], uint32_t at)
{
    hold_a(a, KEYS / 16);
    hold(y, WIDE);
    group_begin();
    group_columns(y, WIDE, a, KEYS / 16, at + KEYS * ROW, KEYS * PANEL);
    group_end();
}

/* Scores that are there to exponentials, as the first operand of the next product. */
INLINED bool weigh(const fr__attention_args *s, const char *mask, int own, int key,
                   float (*c)[4], rows *r, float (*scale)[2])
{
    hold(c, ACROSS);
    if (look_closely(s, own, key, KEYS))
        mask_scores(s, c, mask, own, key);
    return exponentials(c, r, scale, factor_of(s));
}

/* The scores with the next keys are made while those before are multiplied by their values. */
INLINED void pass(const fr__attention_args *s, const place *p, rows *r, float (*y)[4])
{
    const char *mask = head_of(&s->mask, p->example, p->head);
    uint32_t start = shared_start(), warp = thread_index() / WARP, stage = start + ROWS * ROW;
    uint32_t end = stage + 3 * (2 * KEYS * ROW), at = stage;
    int own = p->query + (int)warp * 16, keys = keys_seen(s, p->query, ROWS);
    uint32_t a[KEYS / 16][4], q = start + warp / 4 * (64 * PANEL);
    float c[ACROSS][4], scale[1][2];
    if (keys <= 0)
        return;
    copy_panels(start, ROW, ROWS, head_of(&s->q, p->example, p->head), s->q.row, p->query,
                s->queries, s->width * ELEMENT);
    copy_keys(s, p, 0, stage);
    next_ready();
    if (KEYS < keys)
        copy_keys(s, p, KEYS, stage + 2 * KEYS * ROW);
    begin_scores(c, q, at);
    group_wait(0);
    weigh(s, mask, own, 0, c, r, scale);
    EACH (i, KEYS / 16)
        as_a(a[i], c + 2 * i);
    for (int key = KEYS; key < keys; key += KEYS) {
        uint32_t before = at, next;
        at += 2 * KEYS * ROW;
        at = at == end ? stage : at;
        next = at + 2 * KEYS * ROW;
        next = next == end ? stage : next;
        next_ready();
        if (key + KEYS < keys)
            copy_keys(s, p, key + KEYS, next);
        begin_scores(c, q, at);
        begin_values(y, a, before);
        group_wait(1);
        bool raised = weigh(s, mask, own, key, c, r, scale);
        group_wait(0);
        hold(y, WIDE);
        if (raised)
            scale_sums(y, scale);
        EACH (i, KEYS / 16)
            as_a(a[i], c + 2 * i);
    }
    begin_values(y, a, at);
    group_wait(0);
    hold(y, WIDE);
}

#else

INLINED void copy_keys(const fr__attention_args *s, const place *p, int key, uint32_t to)
{
    copy_tile(to, ROW, KEYS, head_of(&s->k, p->example, p->keys_head), s->k.row, key, s->keys,
              s->width * ELEMENT);
    copy_tile(to + KEYS * ROW, ROW, KEYS, head_of(&s->v, p->example, p->keys_head), s->v.row,
              key, s->keys, s->out_width * ELEMENT);
    copies_end_group();
}

INLINED void pass(const fr__attention_args *s, const place *p, rows *r, float (*y)[4])
{
    const char *mask = head_of(&s->mask, p->example, p->head);
    uint32_t start = shared_start(), warp = thread_index() / WARP;
    uint32_t q = start + warp * (16 * TILES * ROW), stage = start + ROWS * ROW;
    int own = p->query + (int)warp * 16 * TILES, keys = keys_seen(s, p->query, ROWS);
    copy_tile(start, ROW, ROWS, head_of(&s->q, p->example, p->head), s->q.row, p->query,
              s->queries, s->width * ELEMENT);
    copy_keys(s, p, 0, stage);
    for (int key = 0; key < keys; key += KEYS) {
        float c[TILES * ACROSS][4], scale[TILES][2];
        uint32_t odd = (uint32_t)(key / KEYS & 1), at = stage + odd * (2 * KEYS * ROW);
        copies_wait();
        block_barrier();
        if (key + KEYS < keys)
            copy_keys(s, p, key + KEYS, stage + (odd ^ 1) * (2 * KEYS * ROW));
        multiply_rows(c, TILES, ACROSS, ROW, q, at);
        if (look_closely(s, own, key, KEYS))
            mask_scores(s, c, mask, own, key);
        if (exponentials(c, r, scale, factor_of(s)))
            scale_sums(y, scale);
        multiply_columns(y, TILES, WIDE, ROW, c, ACROSS, at + KEYS * ROW);
    }
}

#endif

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
    EACH (t, TILES)
        EACH (h, 2) {
            int row = row_of(&p, t, h);
            int64_t at = ((int64_t)p.product * s.queries + row) * s.out_width * ELEMENT;
            float inverse = 1 / quad_sum(r.sum[t][h]); /* nothing is seen: 0 times infinity */
            if (row < s.queries)
                store_row(s.y + at, s.out_width, y + t * WIDE, WIDE, h, inverse);
        }
}
