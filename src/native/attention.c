/* attention.c - softmax(Q K^T * scale + mask) V, a block of scores at a time
 *
 * Keys and values are packed once, in blocks of keys. Then FR__ATTENTION_ROWS queries at
 * a time meet block after block: scores on tiles, their exponentials, and those times the values
 * on tiles again. A causal block ends where its last row ends.
 */
#include "native/attention.h"

#include <math.h>

enum {
    ROWS = FR__ATTENTION_ROWS,
    BLOCK = FR__ATTENTION_BLOCK,
    LDS = BLOCK + FR__GEMM_NR,
#ifdef FERRULE_HARD
    WHOLE = 40,
#else
    WHOLE = 4096,
#endif
};

static const fr__gemm_isa *isa(void) { return fr__gemm_tiles(); }
static int64_t padded(int64_t n) { return fr__ceil_div(n, isa()->nr[0]) * isa()->nr[0]; }
static size_t rounded(int64_t bytes) { return (size_t)((bytes + 127) & ~(int64_t)63); }

/* ---- operands as the tiles want them --------------------------------------------------------- */

/* As columns of a product over elements (keys: scores = Q K^T), or over positions (values). */
static fr__gemm_operand over_elements(const fr__rows *x, int64_t positions, int64_t width)
{
    return (fr__gemm_operand){
        x->data, x->batch, {1, {positions}, {x->row}}, {1, {width}, {x->col}}};
}

static fr__gemm_operand over_positions(const fr__rows *x, int64_t positions, int64_t width)
{
    return (fr__gemm_operand){
        x->data, x->batch, {1, {width}, {x->col}}, {1, {positions}, {x->row}}};
}

/* Bytes of n columns by k, packed: panels as wide as a tile. */
static int64_t packed_size(int64_t n, int64_t k) { return padded(n) * k * 4; }

/* All columns, over elements [0, k), k <= any: blocks of k, then panels. */
static void pack_all(int dtype, const fr__gemm_operand *x, int64_t product, int64_t n,
                     int64_t k, char *to)
{
    int64_t nr = isa()->nr[0];
    for (int64_t at = 0; at < k; at += BLOCK)
        for (int64_t j = 0; j < n; j += nr) {
            int64_t block = fr__min64(k - at, BLOCK);
            fr__gemm_pack_lines(dtype, x, product, j, fr__min64(nr, n - j), at, block, nr,
                                to + 4 * (padded(n) * at + j * block));
        }
}

/* The panel that column j begins, in the block of k that `at` lies in, from `at` on. */
static const char *panel(const char *packed, int64_t n, int64_t k, int64_t j, int64_t at)
{
    int64_t begin = at / BLOCK * BLOCK, block = fr__min64(k - begin, BLOCK);
    return packed + 4 * (padded(n) * begin + j * block + (at - begin) * isa()->nr[0]);
}

/* c [rows, n], row stride ldc (room for whole panels), = or += a [rows, over] times columns
 * [0, n) of packed b [over from `at` on], which has total_n columns over k. over may pass blocks. */
static void product(const float *a, int64_t ars, int64_t acs, const char *b, int64_t total_n,
                    int64_t k, int64_t first, int64_t n, int64_t at, int64_t over, float *c,
                    int64_t ldc, int64_t rows, bool add)
{
    int64_t nr = isa()->nr[0], mr = isa()->mr[0];
    while (over > 0) {
        int64_t part = fr__min64(over, BLOCK - at % BLOCK);
        for (int64_t j = 0; j < n; j += nr) {
            const char *p = panel(b, total_n, k, first + j, at);
            for (int64_t r = 0; r < rows; r += mr)
                isa()->tile[0](1, &(fr__gemm_part){0, part}, a + r * ars, ars, acs, p, nr,
                               c + r * ldc + j, ldc, (int)fr__min64(mr, rows - r), (int)nr,
                               add);
        }
        a += part * acs;
        at += part;
        over -= part;
        add = true;
    }
}

/* Rows as float32, row-major, in `to`. */
static void plain_rows(int dtype, const fr__rows *from, int64_t product, int64_t first,
                       int64_t rows, int64_t width, float *to)
{
    fr__gemm_operand o = over_elements(from, first + rows, width);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t at = 0; at < width; at += BLOCK)
            fr__gemm_pack_lines(dtype, &o, product, first + r, 1, at,
                                fr__min64(BLOCK, width - at), 1, (char *)(to + r * width + at));
}

static void write_rows(int dtype, const float *from, int64_t ld, int64_t rows, int64_t width,
                       char *to)
{
    for (int64_t r = 0; r < rows; r++) {
        char *at = to + fr__dsize(dtype) * r * width;
        if (dtype == FR_FLOAT32)
            memcpy(at, from + r * ld, sizeof(float) * (size_t)width);
        else
            isa()->narrow[dtype == FR_BFLOAT16](from + r * ld, width, (uint16_t *)at);
    }
}

/* ---- scores --------------------------------------------------------------------------------- */

/* How many keys query `row` sees. */
static int64_t seen(const fr__attention *x, int64_t row)
{
    int64_t n = x->causal ? row + 1 + x->keys - x->queries : x->keys;
    return n < 0 ? 0 : fr__min64(n, x->keys);
}

/* The mask of a row for keys [at, at + n) as numbers to add; NULL: nothing. */
static const float *mask_row(const fr__attention *x, int64_t product, int64_t row, int64_t at,
                             int64_t n, float *room)
{
    if (x->mask_dtype < 0)
        return NULL;
    int64_t size = fr__dsize(x->mask_dtype), offset = row * x->mask.row + at * x->mask.col;
    for (int i = x->mask.batch.n - 1; i >= 0; i--) {
        offset += product % x->mask.batch.size[i] * x->mask.batch.stride[i];
        product /= x->mask.batch.size[i];
    }
    const char *from = x->mask.data + size * offset;
    if (x->mask_dtype == FR_FLOAT32 && x->mask.col == 1)
        return (const float *)from;
    for (int64_t i = 0; i < n; i++, from += size * x->mask.col)
        room[i] = x->mask_dtype == FR_FLOAT32 ? *(const float *)from : *from ? 0 : -HUGE_VALF;
    return room;
}

/* Scores of `rows` queries against keys [at, at + n): s, row stride ld, before scale and mask. */
static void scores(const fr__attention *x, const float *q, int64_t rows, const char *keys,
                   int64_t at, int64_t n, float *s, int64_t ld)
{
    product(q, x->width, 1, keys, x->keys, x->width, at, n, 0, x->width, s, ld, rows, false);
}

/* ---- forward -------------------------------------------------------------------------------- */

static size_t packed_each(const fr__attention *x)
{
    return rounded(packed_size(x->keys, x->width)) +
           rounded(packed_size(x->out_width, x->keys));
}

size_t fr__attention_packed(const fr__attention *x)
{
    return packed_each(x) * (size_t)(x->batches / x->group);
}

void fr__attention_pack(const fr__attention *x, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        char *to = x->packed + packed_each(x) * (size_t)i;
        fr__gemm_operand k = over_elements(&x->k, x->keys, x->width),
                         v = over_positions(&x->v, x->keys, x->out_width);
        pack_all(x->dtype, &k, i, x->keys, x->width, to);
        pack_all(x->dtype, &v, i, x->out_width, x->keys,
                 to + rounded(packed_size(x->keys, x->width)));
    }
}

typedef struct {
    float *q, *s, *mask, *out;
    size_t all;
} places;

static places places_of(const fr__attention *x, char *scratch)
{
    places p;
    size_t at = 0;
    p.q = (float *)(scratch + at);
    at += rounded(4 * ROWS * x->width);
    p.s = (float *)(scratch + at);
    at += rounded(4 * ROWS * LDS);
    p.mask = (float *)(scratch + at);
    at += rounded(4 * LDS);
    p.out = (float *)(scratch + at);
    at += rounded(4 * ROWS * padded(x->out_width));
    p.all = at;
    return p;
}

size_t fr__attention_scratch(const fr__attention *x) { return places_of(x, NULL).all; }

/* Rows of one block from scores to exponentials; what was summed before is scaled. */
static void block_exp(const fr__attention *x, places *p, int64_t product, int64_t first,
                      int64_t rows, int64_t at, int64_t n, float *most, float *sum)
{
    int64_t ldo = padded(x->out_width);
    for (int64_t r = 0; r < rows; r++) {
        int64_t own = fr__min64(n, seen(x, first + r) - at);
        float *s = p->s + r * LDS;
        own = own < 0 ? 0 : own;
        const float *add = mask_row(x, product, first + r, at, own, p->mask);
        float m = isa()->scores_max(s, own, x->scale, add, most[r]);
        float shift = m == -HUGE_VALF ? 0 : m, part = 0;
        if (own)
            part = isa()->scores_exp(s, own, shift);
        int64_t whole = fr__ceil_div(own, isa()->lanes[0]) * isa()->lanes[0];
        if (whole < n)
            memset(s + whole, 0, sizeof(float) * (size_t)(n - whole));
        if (m != most[r] && at) { /* the row's maximum grew */
            float scale = most[r] == -HUGE_VALF ? 0 : expf(most[r] - shift);
            float *o = p->out + r * ldo;
            for (int64_t j = 0; j < x->out_width; j++)
                o[j] *= scale;
            sum[r] *= scale;
        }
        most[r] = m;
        sum[r] += part;
    }
}

void fr__attention_run(const fr__attention *x, int64_t begin, int64_t end, char *scratch)
{
    int64_t units = fr__ceil_div(x->queries, ROWS), ldo = padded(x->out_width);
    places p = places_of(x, scratch);
    for (int64_t u = begin; u < end; u++) {
        int64_t batch = u / units, first = u % units * ROWS;
        int64_t rows = fr__min64(ROWS, x->queries - first);
        const char *keys = x->packed + packed_each(x) * (size_t)(batch / x->group),
                   *values = keys + rounded(packed_size(x->keys, x->width));
        float most[ROWS], sum[ROWS];
        for (int r = 0; r < ROWS; r++) {
            most[r] = -HUGE_VALF;
            sum[r] = 0;
        }
        memset(p.out, 0, sizeof(float) * (size_t)(ROWS * ldo));
        plain_rows(x->dtype, &x->q, batch, first, rows, x->width, p.q);
        int64_t all = seen(x, first + rows - 1);
        for (int64_t at = 0; at < all; at += BLOCK) {
            int64_t n = fr__min64(BLOCK, all - at);
            scores(x, p.q, rows, keys, at, n, p.s, LDS);
            block_exp(x, &p, batch, first, rows, at, n, most, sum);
            product(p.s, LDS, 1, values, x->out_width, x->keys, 0, x->out_width, at, n, p.out,
                    ldo, rows, true);
        }
        for (int64_t r = 0; r < rows; r++) {
            float *o = p.out + r * ldo, inverse = 1 / sum[r];
            for (int64_t j = 0; j < x->out_width; j++)
                o[j] *= inverse;
            if (sum[r] == 0) /* nothing is seen */
                for (int64_t j = 0; j < x->out_width; j++)
                    o[j] = NAN;
        }
        write_rows(x->dtype, p.out, ldo, rows, x->out_width,
                   x->out + fr__dsize(x->dtype) * (batch * x->queries + first) * x->out_width);
    }
}

/* ---- gradients ------------------------------------------------------------------------------ */

/* The scores of some rows are kept for all keys; of very many keys they are made twice, block by block. */
static bool keeps_rows(const fr__attention *x) { return x->keys <= WHOLE; }
static int64_t row_stride(const fr__attention *x)
{
    return keeps_rows(x) ? padded(x->keys) + FR__GEMM_NR : LDS;
}

/* What a unit of the gradients works with: all of one set of keys and values. */
typedef struct {
    char *keys, *keys_over, *values, *queries, *douts; /* packed */
    float *q, *dout, *s, *d, *mask, *most, *sum, *delta, *dq, *dk, *dv;
    size_t all;
} grad_places;

static grad_places grad_places_of(const fr__attention *x, char *scratch)
{
    grad_places p;
    size_t at = 0;
#define PLACE(field, bytes) (p.field = (void *)(scratch + at), at += rounded(bytes))
    PLACE(keys, packed_size(x->keys, x->width));
    PLACE(keys_over, packed_size(x->width, x->keys));
    PLACE(values, packed_size(x->keys, x->out_width));
    PLACE(queries, packed_size(x->width, x->queries));
    PLACE(douts, packed_size(x->out_width, x->queries));
    PLACE(q, 4 * ROWS * x->width);
    PLACE(dout, 4 * ROWS * x->out_width);
    PLACE(s, 4 * ROWS * row_stride(x));
    PLACE(d, 4 * ROWS * LDS);
    PLACE(mask, 4 * row_stride(x));
    PLACE(most, 4 * ROWS);
    PLACE(sum, 4 * ROWS);
    PLACE(delta, 4 * ROWS);
    PLACE(dq, 4 * x->queries * padded(x->width));
    PLACE(dk, 4 * x->keys * padded(x->width));
    PLACE(dv, 4 * x->keys * padded(x->out_width));
#undef PLACE
    p.all = at;
    return p;
}

size_t fr__attention_grad_scratch(const fr__attention_grad *x)
{
    return grad_places_of(&x->x, NULL).all;
}

/* Of rows [first, first + rows): dout . out. */
static void find_deltas(const fr__attention_grad *g, const grad_places *p, int64_t batch,
                        int64_t first, int64_t rows)
{
    const fr__attention *x = &g->x;
    plain_rows(x->dtype, &g->out, batch, first, rows, x->out_width, p->d);
    for (int64_t r = 0; r < rows; r++)
        p->delta[r] =
            isa()->dot(p->d + r * x->out_width, p->dout + r * x->out_width, x->out_width);
}

/* Scores of keys [at, at + n) in s, each row with its exponentials; its maximum and sum go on. */
static void exponentials(const fr__attention *x, const grad_places *p, int64_t batch,
                         int64_t first, int64_t rows, int64_t at, int64_t n)
{
    int64_t ld = row_stride(x);
    for (int64_t b = 0; b < n; b += BLOCK)
        scores(x, p->q, rows, p->keys, at + b, fr__min64(BLOCK, n - b), p->s + b, ld);
    for (int64_t r = 0; r < rows; r++) {
        int64_t own = fr__min64(n, seen(x, first + r) - at);
        float *s = p->s + r * ld, before = p->most[r];
        if (own <= 0)
            continue;
        float m = isa()->scores_max(s, own, x->scale,
                                    mask_row(x, batch, first + r, at, own, p->mask), before);
        float shift = m == -HUGE_VALF ? 0 : m;
        if (m != before)
            p->sum[r] *= before == -HUGE_VALF ? 0 : expf(before - shift);
        p->most[r] = m;
        p->sum[r] += isa()->scores_exp(s, own, shift);
    }
}

/* Scores of keys [at, at + n) in s as exponentials, where maxima and sums are known. */
static void again(const fr__attention *x, const grad_places *p, int64_t batch, int64_t first,
                  int64_t rows, int64_t at, int64_t n)
{
    scores(x, p->q, rows, p->keys, at, n, p->s, LDS);
    for (int64_t r = 0; r < rows; r++) {
        int64_t own = fr__min64(n, seen(x, first + r) - at);
        if (own <= 0)
            continue;
        float *s = p->s + r * LDS, m = p->most[r];
        isa()->scores_max(s, own, x->scale, mask_row(x, batch, first + r, at, own, p->mask),
                          -HUGE_VALF);
        isa()->scores_exp(s, own, m == -HUGE_VALF ? 0 : m);
    }
}

/* s: from exponentials to probabilities; d: from dout V^T to the gradient of the scores. */
static void score_gradients(const fr__attention *x, const grad_places *p, int64_t first,
                            int64_t rows, int64_t at, int64_t n, float *scores)
{
    for (int64_t r = 0; r < rows; r++) {
        float *s = scores + r * row_stride(x), *d = p->d + r * LDS;
        int64_t own = fr__max64(fr__min64(n, seen(x, first + r) - at), 0);
        if (own)
            isa()->scores_grad(s, d, own, 1 / p->sum[r], p->delta[r], x->scale);
        for (int64_t j = own; j < n; j++)
            s[j] = d[j] = 0;
    }
}

static void one_head(const fr__attention_grad *g, const grad_places *p, int64_t batch)
{
    const fr__attention *x = &g->x;
    int64_t ldq = padded(x->width), ldv = padded(x->out_width), ld = row_stride(x);
    fr__gemm_operand q = over_positions(&x->q, x->queries, x->width),
                     dout = over_positions(&g->dout, x->queries, x->out_width);
    pack_all(x->dtype, &q, batch, x->width, x->queries, p->queries);
    pack_all(x->dtype, &dout, batch, x->out_width, x->queries, p->douts);
    memset(p->dq, 0, sizeof(float) * (size_t)(x->queries * ldq));
    for (int64_t first = 0; first < x->queries; first += ROWS) {
        int64_t rows = fr__min64(ROWS, x->queries - first), all = seen(x, first + rows - 1),
                step = keeps_rows(x) ? fr__max64(all, 1) : BLOCK;
        plain_rows(x->dtype, &x->q, batch, first, rows, x->width, p->q);
        plain_rows(x->dtype, &g->dout, batch, first, rows, x->out_width, p->dout);
        find_deltas(g, p, batch, first, rows);
        for (int64_t r = 0; r < rows; r++) {
            p->most[r] = -HUGE_VALF;
            p->sum[r] = 0;
        }
        for (int64_t at = 0; at < all; at += step)
            exponentials(x, p, batch, first, rows, at, fr__min64(step, all - at));
        for (int64_t at = 0; at < all; at += BLOCK) {
            int64_t n = fr__min64(BLOCK, all - at);
            float *s = keeps_rows(x) ? p->s + at : p->s;
            if (!keeps_rows(x))
                again(x, p, batch, first, rows, at, n);
            product(p->dout, x->out_width, 1, p->values, x->keys, x->out_width, at, n, 0,
                    x->out_width, p->d, LDS, rows, false);
            score_gradients(x, p, first, rows, at, n, s);
            product(s, 1, ld, p->douts, x->out_width, x->queries, 0, x->out_width, first, rows,
                    p->dv + at * ldv, ldv, n, true);
            product(p->d, LDS, 1, p->keys_over, x->width, x->keys, 0, x->width, at, n,
                    p->dq + first * ldq, ldq, rows, true);
            product(p->d, 1, LDS, p->queries, x->width, x->queries, 0, x->width, first, rows,
                    p->dk + at * ldq, ldq, n, true);
        }
    }
    write_rows(x->dtype, p->dq, ldq, x->queries, x->width,
               g->dq + fr__dsize(x->dtype) * batch * x->queries * x->width);
}

void fr__attention_grad_run(const fr__attention_grad *g, int64_t begin, int64_t end,
                            char *scratch)
{
    const fr__attention *x = &g->x;
    grad_places p = grad_places_of(x, scratch);
    int64_t ldk = padded(x->width), ldv = padded(x->out_width), size = fr__dsize(x->dtype);
    for (int64_t i = begin; i < end; i++) {
        fr__gemm_operand k = over_elements(&x->k, x->keys, x->width),
                         over = over_positions(&x->k, x->keys, x->width),
                         v = over_elements(&x->v, x->keys, x->out_width);
        pack_all(x->dtype, &k, i, x->keys, x->width, p.keys);
        pack_all(x->dtype, &over, i, x->width, x->keys, p.keys_over);
        pack_all(x->dtype, &v, i, x->keys, x->out_width, p.values);
        memset(p.dk, 0, sizeof(float) * (size_t)(x->keys * ldk));
        memset(p.dv, 0, sizeof(float) * (size_t)(x->keys * ldv));
        for (int64_t h = 0; h < x->group; h++)
            one_head(g, &p, i * x->group + h);
        write_rows(x->dtype, p.dk, ldk, x->keys, x->width,
                   g->dk + size * i * x->keys * x->width);
        write_rows(x->dtype, p.dv, ldv, x->keys, x->out_width,
                   g->dv + size * i * x->keys * x->out_width);
    }
}
