/* gemm.c - matrix products: how the work is cut up, and the loops around the tiles
 *
 * All of B is packed first, into panels as wide as a tile, in blocks of k. Then units of C go in
 * parallel: for a block of k, some rows of A are packed (they stay in L2), and each panel of B
 * (it stays in L1) meets all of them. Where C is so small that packing costs more than it gains,
 * operands are read where they lie. So are the windows of a convolution of few filters: the rows of
 * a tile are pixels side by side, and k goes over runs of what lies together.
 */
#include "native/gemm.h"

#include <stdatomic.h>

enum {
    FEW_ROWS = 24,    /* of C: fewer than that and B, if it lies row-major, is not packed */
    FEW_COLUMNS = 64, /* of C: fewer than that and A is not packed */
    FEW_FILTERS =
        192, /* columns of C where A isn't lines: fewer, and A is not packed if its rows
                          and the elements of a row lie together by so many: */
    TOGETHER = 5,
    L2_ROWS = 192, /* of A, packed, in L2 */
#ifdef FERRULE_HARD
    UNIT_WORK = 1 << 9,
#else
    UNIT_WORK = 1 << 18, /* multiply-adds of a unit, at least: some 5 us */
#endif
};

static const fr__gemm_isa *_Atomic chosen;

void fr__gemm_use(const fr__gemm_isa *tiles)
{
    atomic_store_explicit(&chosen, tiles, memory_order_relaxed);
}

static const fr__gemm_isa *best(void)
{
#if defined(__x86_64__)
    const fr__host_info *host = fr__host();
    if (host->avx512 && host->fma)
        return &fr__gemm_v4;
    if (host->avx2 && host->fma && host->f16c)
        return &fr__gemm_v3;
#endif
    return &fr__gemm_base;
}

const fr__gemm_isa *fr__gemm_tiles(void)
{
    const fr__gemm_isa *tiles = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (FR__UNLIKELY(!tiles))
        fr__gemm_use(tiles = best());
    return tiles;
}

static const fr__gemm_isa *isa(void) { return fr__gemm_tiles(); }

static bool is_half(int dtype) { return dtype == FR_FLOAT16 || dtype == FR_BFLOAT16; }
static int type_of(int dtype) { return dtype == FR_FLOAT64; }
static int64_t size_of(int dtype) { return dtype == FR_FLOAT64 ? 8 : 4; } /* as computed */

static int row_of(int dtype) /* of the packing functions */
{
    return dtype == FR_FLOAT16 ? 0 : dtype == FR_BFLOAT16 ? 1 : dtype == FR_FLOAT32 ? 2 : 3;
}

/* One dimension, or none: addressed by a stride alone. */
static bool is_line(const fr__gemm_dims *d) { return d->n <= 1; }
static int64_t step_of(const fr__gemm_dims *d) { return d->n ? d->stride[0] : 1; }

static int64_t offset_of(const fr__gemm_dims *d, int64_t at)
{
    int64_t offset = 0;
    for (int i = d->n - 1; i > 0; i--) {
        offset += at % d->size[i] * d->stride[i];
        at /= d->size[i];
    }
    return d->n ? offset + at * d->stride[0] : 0;
}

/* Offsets of indices from, from + 1 ... n of them. */
static void offsets_of(const fr__gemm_dims *d, int64_t from, int64_t n, int64_t *to)
{
    int64_t at[FR_MAX_NDIM], offset = offset_of(d, from);
    for (int i = d->n - 1; i >= 0; i--) {
        at[i] = from % d->size[i];
        from /= d->size[i];
    }
    for (int64_t q = 0; q < n; q++) {
        to[q] = offset;
        for (int i = d->n - 1; i >= 0; i--) {
            offset += d->stride[i];
            if (++at[i] < d->size[i])
                break;
            offset -= d->stride[i] * d->size[i];
            at[i] = 0;
        }
    }
}

/* How many rows of A lie equally far apart, where it is to be read in place; else 0. */
static int64_t rows_together(const fr__gemm *g)
{
    const fr__gemm_dims *rows = &g->a.outer, *k = &g->a.k;
    if (is_half(g->dtype))
        return 0;
    if (is_line(rows) && is_line(k))
        return g->n < FEW_COLUMNS ? g->m : 0;
    int64_t side = rows->n ? rows->size[rows->n - 1] : g->m,
            run = k->n ? k->size[k->n - 1] : g->k;
    return g->n < FEW_FILTERS && side >= TOGETHER && run >= TOGETHER ? side : 0;
}

void fr__gemm_pack_lines(int dtype, const fr__gemm_operand *x, int64_t product, int64_t line,
                         int64_t n, int64_t k, int64_t block, int64_t width, char *to)
{
    int64_t size = fr__dsize(dtype);
    const char *from = x->data + size * offset_of(&x->batch, product);
    if (is_line(&x->outer) && is_line(&x->k)) {
        from += size * (line * step_of(&x->outer) + k * step_of(&x->k));
        isa()->pack[row_of(dtype)](from, step_of(&x->outer), step_of(&x->k), n, block, width,
                                   to);
        return;
    }
    int64_t lines[FR__GEMM_NR], steps[FR__GEMM_KC];
    offsets_of(&x->outer, line, n, lines);
    offsets_of(&x->k, k, block, steps);
    isa()->pick[row_of(dtype)](from, lines, steps, n, block, width, to);
}

fr__gemm_cut fr__gemm_cut_up(const fr__gemm *g, int threads)
{
    int type = type_of(g->dtype), mr = isa()->mr[type], nr = isa()->nr[type];
    fr__gemm_cut cut = {.panels = fr__ceil_div(g->n, nr)};
    cut.pack_b = is_half(g->dtype) || !is_line(&g->b.outer) || !is_line(&g->b.k) ||
                 step_of(&g->b.outer) != 1 || g->m >= FEW_ROWS || g->n % nr != 0;
    cut.together = rows_together(g);
    cut.pack_a = !cut.together;
    /* A unit has enough to do, and there are several for each thread where there is enough. */
    int64_t work = g->m * g->n * g->k, want = 4 * (int64_t)threads;
    int64_t most = fr__max64(work * g->batches / UNIT_WORK, 1);
    want = fr__max64(fr__min64(want, most) / g->batches, 1);
    int64_t row_panels = fr__ceil_div(g->m, mr);
    int64_t rows = fr__min64(row_panels, L2_ROWS / mr);
    /* Rows are cut first; columns where there are too few rows. */
    if (fr__ceil_div(row_panels, rows) < want)
        rows = fr__max64(row_panels / want, fr__min64(row_panels, 4));
    cut.row_units = fr__ceil_div(row_panels, rows);
    rows = fr__ceil_div(row_panels, cut.row_units);
    cut.row_units = fr__ceil_div(row_panels, rows);
    cut.rows = rows * mr;
    if (cut.together && cut.together < cut.rows) {
        cut.rows = cut.rows / cut.together * cut.together;
        cut.row_units = fr__ceil_div(g->m, cut.rows);
    }
    cut.col_units = fr__min64(fr__max64(want / cut.row_units, 1), cut.panels);
    cut.cols = fr__ceil_div(cut.panels, cut.col_units);
    cut.col_units = fr__ceil_div(cut.panels, cut.cols);
    return cut;
}

size_t fr__gemm_packed_bytes(const fr__gemm *g, const fr__gemm_cut *cut)
{
    return cut->pack_b ? (size_t)(g->batches * cut->panels * isa()->nr[type_of(g->dtype)] *
                                  g->k * size_of(g->dtype))
                       : 0;
}

static size_t rounded(int64_t n) { return (size_t)((n + 63) & ~(int64_t)63); }

/* Scratch of a thread: packed rows of A; a tile at the right edge; C of half precision. */
typedef struct {
    size_t a, tile, c, all;
} places;

static places scratch_places(const fr__gemm *g, const fr__gemm_cut *cut)
{
    int type = type_of(g->dtype), nr = isa()->nr[type];
    int64_t size = size_of(g->dtype), k = fr__min64(g->k, FR__GEMM_KC);
    places p = {0};
    p.tile = p.a + (cut->pack_a ? rounded(cut->rows * k * size) : 0);
    p.c = p.tile + rounded(isa()->mr[type] * nr * size);
    p.all = p.c + (is_half(g->dtype) ? rounded(cut->rows * cut->cols * nr * size) : 0);
    return p;
}

size_t fr__gemm_scratch(const fr__gemm *g, const fr__gemm_cut *cut)
{
    return scratch_places(g, cut).all;
}

/* Packed B: products, then blocks of k, then panels, each k x nr. */
static char *panel_at(const fr__gemm *g, const fr__gemm_cut *cut, int64_t product, int64_t k,
                      int64_t panel)
{
    int64_t nr = isa()->nr[type_of(g->dtype)], block = fr__min64(g->k - k, FR__GEMM_KC);
    return g->packed + size_of(g->dtype) * nr *
                           (product * cut->panels * g->k + cut->panels * k + panel * block);
}

void fr__gemm_pack(const fr__gemm *g, const fr__gemm_cut *cut, int64_t begin, int64_t end)
{
    int64_t nr = isa()->nr[type_of(g->dtype)];
    for (int64_t i = begin; i < end; i++) {
        int64_t product = i / cut->panels, panel = i % cut->panels;
        for (int64_t k = 0; k < g->k; k += FR__GEMM_KC)
            fr__gemm_pack_lines(
                g->dtype, &g->b, product, panel * nr, fr__min64(nr, g->n - panel * nr), k,
                fr__min64(g->k - k, FR__GEMM_KC), nr, panel_at(g, cut, product, k, panel));
    }
}

/* One unit, while it is made. */
typedef struct {
    const fr__gemm *g;
    const fr__gemm_cut *cut;
    int type;
    int64_t mr, nr, size, product;
    int64_t row, rows, panel, panels; /* of C, of B */
    char *c;                          /* of its first element, as computed */
    int64_t ldc;
    char *packed_a, *tile;
} unit;

/* A block of k, of A where it lies: as runs of elements equally far apart. */
typedef struct {
    int64_t k, n, runs;
    fr__gemm_part run[FR__GEMM_KC];
} block;

static void find_runs(const fr__gemm_dims *k, block *b)
{
    int64_t steps[FR__GEMM_KC], step = k->n ? k->stride[k->n - 1] : 1;
    offsets_of(k, b->k, b->n, steps);
    b->runs = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (i && steps[i] == steps[i - 1] + step)
            b->run[b->runs - 1].n++;
        else
            b->run[b->runs++] = (fr__gemm_part){steps[i], 1};
}

/* The tile of C at row r of the unit, `rows` of them, in a panel of B. */
static void tile_run(const unit *u, const block *k, const char *b, int64_t brs, int64_t width,
                     int64_t r, int64_t rows, char *to)
{
    const fr__gemm *g = u->g;
    const fr__gemm_part whole = {0, k->n};
    int64_t runs = 1, rs = 1, cs = u->mr;
    const fr__gemm_part *run = &whole;
    const char *a;
    if (u->cut->pack_a) {
        a = u->packed_a + u->size * r * k->n;
    } else {
        const fr__gemm_dims *outer = &g->a.outer, *inner = &g->a.k;
        a = g->a.data +
            u->size * (offset_of(&g->a.batch, u->product) + offset_of(outer, u->row + r));
        rs = outer->n ? outer->stride[outer->n - 1] : 1;
        cs = inner->n ? inner->stride[inner->n - 1] : 1;
        runs = k->runs;
        run = k->run;
    }
    int lanes = isa()->lanes[u->type], vectors = width > lanes ? 2 : 1;
    bool add = k->k > 0;
    if (width == vectors * lanes) {
        isa()->tile[u->type](runs, run, a, rs, cs, b, brs, to, u->ldc, (int)rows, vectors, add);
        return;
    }
    size_t bytes = (size_t)(width * u->size);
    char *tile = u->tile;
    for (int i = 0; add && i < rows; i++)
        memcpy(tile + i * u->nr * u->size, to + i * u->ldc * u->size, bytes);
    isa()->tile[u->type](runs, run, a, rs, cs, b, brs, tile, u->nr, (int)rows, vectors, add);
    for (int i = 0; i < rows; i++)
        memcpy(to + i * u->ldc * u->size, tile + i * u->nr * u->size, bytes);
}

/* A panel of B against all rows of the unit, for one block of k. */
static void panel_run(const unit *u, int64_t panel, const block *k)
{
    const fr__gemm *g = u->g;
    int64_t width = fr__min64(u->nr, g->n - panel * u->nr), brs = u->nr, rows;
    const char *b;
    if (u->cut->pack_b) {
        b = panel_at(g, u->cut, u->product, k->k, panel);
    } else {
        brs = step_of(&g->b.k);
        b = g->b.data +
            u->size * (offset_of(&g->b.batch, u->product) + k->k * brs + panel * u->nr);
    }
    char *c = u->c + u->size * (panel - u->panel) * u->nr;
    for (int64_t r = 0; r < u->rows; r += rows) {
        rows = fr__min64(u->mr, u->rows - r);
        if (u->cut->together) { /* tiles of about the same size, up to where the side ends */
            int64_t left = u->cut->together - (u->row + r) % u->cut->together;
            left = fr__min64(left, u->rows - r);
            rows = fr__ceil_div(left, fr__ceil_div(left, u->mr));
        }
        tile_run(u, k, b, brs, width, r, rows, c + u->size * r * u->ldc);
    }
}

static void unit_run(unit *u)
{
    const fr__gemm *g = u->g;
    block b;
    for (b.k = 0; b.k < g->k; b.k += FR__GEMM_KC) {
        b.n = fr__min64(g->k - b.k, FR__GEMM_KC);
        if (!u->cut->pack_a)
            find_runs(&g->a.k, &b);
        for (int64_t r = 0; u->cut->pack_a && r < u->rows; r += u->mr)
            fr__gemm_pack_lines(g->dtype, &g->a, u->product, u->row + r,
                                fr__min64(u->mr, u->rows - r), b.k, b.n, u->mr,
                                u->packed_a + u->size * r * b.n);
        for (int64_t panel = u->panel; panel < u->panel + u->panels; panel++)
            panel_run(u, panel, &b);
    }
}

void fr__gemm_run(const fr__gemm *g, const fr__gemm_cut *cut, int64_t begin, int64_t end,
                  char *scratch)
{
    int type = type_of(g->dtype);
    places p = scratch_places(g, cut);
    for (int64_t i = begin; i < end; i++) {
        unit u = {.g = g, .cut = cut, .type = type, .size = size_of(g->dtype)};
        u.mr = isa()->mr[type];
        u.nr = isa()->nr[type];
        int64_t column = i % cut->col_units, row = i / cut->col_units % cut->row_units;
        u.product = i / cut->col_units / cut->row_units;
        u.row = row * cut->rows;
        u.rows = fr__min64(cut->rows, g->m - u.row);
        u.panel = column * cut->cols;
        u.panels = fr__min64(cut->cols, cut->panels - u.panel);
        u.packed_a = scratch + p.a;
        u.tile = scratch + p.tile;
        int64_t first = u.panel * u.nr, width = fr__min64(u.panels * u.nr, g->n - first);
        char *c = g->c + fr__dsize(g->dtype) * (u.product * g->next + u.row * g->ldc + first);
        bool half = is_half(g->dtype);
        u.c = half ? scratch + p.c : c;
        u.ldc = half ? width : g->ldc;
        unit_run(&u);
        for (int64_t r = 0; half && r < u.rows; r++)
            isa()->narrow[g->dtype == FR_BFLOAT16]((const float *)u.c + r * width, width,
                                                   (uint16_t *)c + r * g->ldc);
    }
}
