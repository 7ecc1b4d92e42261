/* attention_plain.c (for GPUs) - attention and its gradients by any GPU, of any sizes and strides, in float32
 *
 * A block makes 64 rows by 64 columns of a result, a thread 4 by 4 of these: rows y + 16 i and columns
 * x + 16 j. Where results are wider there are more blocks, each with scores of its own. The kernels are
 * those of attention.c and attention_grad.c.
 */
#include "device/cuda/routines/attention.h"

#include "base/bits.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    BLOCK = FR__PLAIN_BLOCK,
    PART = 32,     /* elements of rows that are multiplied at a time */
    LD = PART + 1, /* from row to row in shared memory */
    WIDE = BLOCK + 1,
};

typedef float tile[4][4];

SHARED float parts[2 * BLOCK * LD]; /* of two operands; or a block of columns of one */
SHARED float made[BLOCK * WIDE];    /* probabilities or their gradients */

INLINED int tx(void) { return (int)thread_index() % 16; }
INLINED int ty(void) { return (int)thread_index() / 16; }

INLINED float element(const fr__attention_args *s, const char *at)
{
    if (s->element == FR__ATTENTION_F32)
        return *(const float *)at;
    uint16_t h = *(const uint16_t *)at;
    return s->element == FR__ATTENTION_F16 ? from_f16(h) : fr__from_bf16(h);
}

INLINED void put(const fr__attention_args *s, char *y, int64_t at, float v)
{
    if (s->element == FR__ATTENTION_F32)
        ((float *)y)[at] = v;
    else
        ((uint16_t *)y)[at] = s->element == FR__ATTENTION_F16 ? to_f16(v) : fr__to_bf16(v);
}

/* Rows [first, first + 64) of x and elements [from, from + width) of them, 0 beyond. */
INLINED void fetch(const fr__attention_args *s, const fr__attention_array *x, const char *data,
                   int first, int all, int from, int width, int end, int ld, int place)
{
    for (int i = (int)thread_index(); i < BLOCK * width; i += FR__PLAIN_THREADS) {
        int r = i / width, c = i % width;
        bool there = first + r < all && from + c < end;
        parts[place + r * ld + c] =
            there ? element(s, data + (first + r) * x->row + (from + c) * x->col) : 0;
    }
}

INLINED void zero(tile c)
{
    EACH (i, 4)
        EACH (j, 4)
            c[i][j] = 0;
}

/* c = rows of a times rows of b */
INLINED void multiply_rows(const fr__attention_args *s, tile c, const fr__attention_array *a,
                           const char *a_data, int a_first, int a_all,
                           const fr__attention_array *b, const char *b_data, int b_first,
                           int b_all, int width)
{
    zero(c);
    for (int at = 0; at < width; at += PART) {
        block_barrier();
        fetch(s, a, a_data, a_first, a_all, at, PART, width, LD, 0);
        fetch(s, b, b_data, b_first, b_all, at, PART, width, LD, BLOCK * LD);
        block_barrier();
        for (int k = 0; k < PART; k++) {
            float x[4], y[4];
            EACH (i, 4) {
                x[i] = parts[(ty() + 16 * i) * LD + k];
                y[i] = parts[BLOCK * LD + (tx() + 16 * i) * LD + k];
            }
            EACH (i, 4)
                EACH (j, 4)
                    c[i][j] = __builtin_fmaf(x[i], y[j], c[i][j]);
        }
    }
}

/* y += p (turned: p^T) times columns [from, from + 64) of b's rows [first, first + 64); p goes to the
 * other threads first. */
INLINED void multiply_columns(const fr__attention_args *s, tile y, tile p, bool turned,
                              const fr__attention_array *b, const char *data, int first,
                              int all, int from, int width)
{
    block_barrier();
    EACH (i, 4)
        EACH (j, 4)
            made[(ty() + 16 * i) * WIDE + tx() + 16 * j] = p[i][j];
    fetch(s, b, data, first, all, from, BLOCK, width, BLOCK, 0);
    block_barrier();
    for (int k = 0; k < BLOCK; k++) {
        float u[4], v[4];
        EACH (i, 4) {
            int row = ty() + 16 * i;
            u[i] = turned ? made[k * WIDE + row] : made[row * WIDE + k];
            v[i] = parts[k * BLOCK + tx() + 16 * i];
        }
        EACH (i, 4)
            EACH (j, 4)
                y[i][j] = __builtin_fmaf(u[i], v[j], y[i][j]);
    }
}

INLINED void store(const fr__attention_args *s, char *to, int64_t product, int first, int all,
                   int from, int width, tile y, const float *scale)
{
    EACH (i, 4)
        EACH (j, 4) {
            int row = first + ty() + 16 * i, col = from + tx() + 16 * j;
            if (row < all && col < width)
                put(s, to, (product * all + row) * width + col, y[i][j] * scale[i]);
        }
}

/* Over the 16 threads that have parts of the same rows. */
INLINED float across(float v, uint32_t by)
{
    return fr__float32(lane_at32(fr__bits32(v), (thread_index() % WARP) ^ by));
}
INLINED float row_max(float v)
{
    for (uint32_t by = 1; by < 16; by *= 2)
        v = __builtin_fmaxf(v, across(v, by));
    return v;
}
INLINED float row_sum(float v)
{
    for (uint32_t by = 1; by < 16; by *= 2)
        v += across(v, by);
    return v;
}

/* ---- what a block has ------------------------------------------------------------------------------ */

typedef struct place {
    int product, example, head, keys_head, first, column; /* first: query or key */
    const char *q, *k, *v, *mask, *out, *dout;
} place;

INLINED void find(const fr__attention_args *s, place *p, int example, int head)
{
    p->example = example;
    p->head = head;
    p->product = example * s->heads + head;
    p->keys_head = head / s->group;
    p->q = head_of(&s->q, example, head);
    p->k = head_of(&s->k, example, p->keys_head);
    p->v = head_of(&s->v, example, p->keys_head);
    p->mask = head_of(&s->mask, example, head);
    p->out = head_of(&s->out, example, head);
    p->dout = head_of(&s->dout, example, head);
}

INLINED place place_of(const fr__attention_args *s)
{
    place p = {0};
    int unit = (int)block_index(), product = unit % s->products;
    unit /= s->products;
    p.column = unit % s->columns * BLOCK;
    unit /= s->columns;
    p.first = (s->causal ? s->blocks - 1 - unit : unit) * BLOCK;
    find(s, &p, product / s->heads, product % s->heads);
    return p;
}

/* Scores of 64 queries and 64 keys as they are compared. */
INLINED void scores(const fr__attention_args *s, const place *p, tile c, int query, int key)
{
    float first = scale_first(s);
    multiply_rows(s, c, &s->q, p->q, query, s->queries, &s->k, p->k, key, s->keys, s->width);
    EACH (i, 4) {
        int own = query + ty() + 16 * i, last = last_key(s, own);
        EACH (j, 4) {
            int k = key + tx() + 16 * j;
            bool seen = k <= last;
            float x = c[i][j] * first;
            const char *m = p->mask + own * s->mask.row + k * s->mask.col;
            c[i][j] = s->mask_kind == FR__MASK_BOOL    ? with_bool(m, seen, x)
                      : s->mask_kind == FR__MASK_FLOAT ? with_float(m, seen, x)
                      : seen                           ? x
                                                       : MINUS_INFINITY;
        }
    }
}

/* ---- forward --------------------------------------------------------------------------------------- */

typedef struct rows {
    float most[4], sum[4]; /* sum: this thread's part */
} rows;

/* To exponentials; y, what was summed before, is scaled. */
INLINED void exponentials(tile c, tile y, rows *r, float factor)
{
    EACH (i, 4) {
        float most = r->most[i], sum = 0;
        EACH (j, 4)
            most = __builtin_fmaxf(most, c[i][j]);
        most = row_max(most);
        float shift = most == MINUS_INFINITY ? 0 : most * factor;
        float scale = exp2_fast(r->most[i] * factor - shift);
        EACH (j, 4) {
            c[i][j] = exp2_fast(__builtin_fmaf(c[i][j], factor, -shift));
            sum += c[i][j];
            y[i][j] *= scale;
        }
        r->most[i] = most;
        r->sum[i] = __builtin_fmaf(r->sum[i], scale, sum);
    }
}

INLINED void start(rows *r)
{
    EACH (i, 4) {
        r->most[i] = MINUS_INFINITY;
        r->sum[i] = 0;
    }
}

KERNEL(ENTRY(forward), fr__attention_args)
{
    place p = place_of(&s);
    int keys = keys_seen(&s, p.first, BLOCK);
    float factor = factor_of(&s);
    tile c, y;
    rows r;
    start(&r);
    zero(y);
    for (int key = 0; key < keys; key += BLOCK) {
        scores(&s, &p, c, p.first, key);
        exponentials(c, y, &r, factor);
        multiply_columns(&s, y, c, false, &s.v, p.v, key, s.keys, p.column, s.out_width);
    }
    EACH (i, 4)
        r.sum[i] = 1 / row_sum(r.sum[i]);
    store(&s, s.y, p.product, p.first, s.queries, p.column, s.out_width, y, r.sum);
}

/* ---- gradients ------------------------------------------------------------------------------------- */

/* First; it leaves each row's sum of exponentials and out . dout. */
KERNEL(ENTRY(queries), fr__attention_args)
{
    place p = place_of(&s);
    int keys = keys_seen(&s, p.first, BLOCK);
    float factor = factor_of(&s), delta[4];
    tile c, d, dq;
    rows r;
    start(&r);
    zero(dq);
    EACH (i, 4) {
        int row = p.first + ty() + 16 * i;
        delta[i] = 0;
        for (int c = tx(); row < s.queries && c < s.out_width; c += 16)
            delta[i] += element(&s, p.out + row * s.out.row + c * s.out.col) *
                        element(&s, p.dout + row * s.dout.row + c * s.dout.col);
        delta[i] = row_sum(delta[i]);
    }
    for (int key = 0; key < keys; key += BLOCK) {
        scores(&s, &p, c, p.first, key);
        exponentials(c, dq, &r, factor);
        multiply_rows(&s, d, &s.dout, p.dout, p.first, s.queries, &s.v, p.v, key, s.keys,
                      s.out_width);
        EACH (i, 4)
            EACH (j, 4)
                c[i][j] *= d[i][j] - delta[i];
        multiply_columns(&s, dq, c, false, &s.k, p.k, key, s.keys, p.column, s.width);
    }
    EACH (i, 4) {
        int row = p.first + ty() + 16 * i;
        float sum = row_sum(r.sum[i]);
        bool any = row < s.queries && sum != 0;
        r.sum[i] = any ? s.scale / sum : 0;
        EACH (j, 4)
            dq[i][j] = any ? dq[i][j] : 0; /* 0 times NaN until here */
        if (tx() == 0 && p.column == 0) {
            s.lse[p.product * s.padded + row] =
                any ? __builtin_fmaf(r.most[i], factor, log2_fast(sum)) : __builtin_inff();
            s.delta[p.product * s.padded + row] = any ? delta[i] : 0;
        }
    }
    store(&s, s.dq, p.product, p.first, s.queries, p.column, s.width, dq, r.sum);
}

/* Probabilities c and the scores' gradients d of 64 queries and 64 keys. */
INLINED void score_gradients(const fr__attention_args *s, const place *p, tile c, tile d,
                             int query, int key)
{
    float factor = factor_of(s);
    int64_t at = p->product * s->padded + query + ty();
    scores(s, p, c, query, key);
    multiply_rows(s, d, &s->dout, p->dout, query, s->queries, &s->v, p->v, key, s->keys,
                  s->out_width);
    EACH (i, 4) {
        float lse = s->lse[at + 16 * i], delta = s->delta[at + 16 * i];
        EACH (j, 4) {
            c[i][j] = exp2_fast(__builtin_fmaf(c[i][j], factor, -lse));
            d[i][j] = c[i][j] * (d[i][j] - delta);
        }
    }
}

KERNEL(ENTRY(keys), fr__attention_args)
{
    int products = s.products / s.group, heads = s.heads / s.group, unit = (int)block_index();
    int product = unit % products, column = unit / products % s.columns * BLOCK;
    int key = unit / products / s.columns * BLOCK, from = first_query(&s, key) / BLOCK * BLOCK;
    float one[4] = {1, 1, 1, 1}, scale[4] = {s.scale, s.scale, s.scale, s.scale};
    place p;
    tile c, d, dk, dv;
    zero(dk);
    zero(dv);
    for (int h = 0; h < s.group; h++) {
        find(&s, &p, product / heads, product % heads * s.group + h);
        for (int query = from; query < s.queries; query += BLOCK) {
            score_gradients(&s, &p, c, d, query, key);
            multiply_columns(&s, dv, c, true, &s.dout, p.dout, query, s.queries, column,
                             s.out_width);
            multiply_columns(&s, dk, d, true, &s.q, p.q, query, s.queries, column, s.width);
        }
    }
    store(&s, s.dk, product, key, s.keys, column, s.width, dk, scale);
    store(&s, s.dv, product, key, s.keys, column, s.out_width, dv, one);
}

/* ---- rows as tensor cores' kernels read them ------------------------------------------------------- */

KERNEL(ENTRY(pack), fr__pack_args)
{
    int64_t all = s.rows * (s.row / s.size);
    for (int64_t i = grid_thread(); i < all; i += grid_threads()) {
        int64_t row = i / (s.row / s.size);
        int c = (int)(i % (s.row / s.size)), r = (int)(row % s.n),
            head = (int)(row / s.n % s.heads), example = (int)(row / s.n / s.heads);
        bool there = c < s.width;
        const char *x = head_of(&s.x, example, head) + r * s.x.row + c * s.x.col;
        if (s.size == 2)
            ((uint16_t *)s.y)[i] = there ? *(const uint16_t *)x : 0;
        else
            ((uint32_t *)s.y)[i] = there ? *(const uint32_t *)x : 0;
    }
}
