/* gemm.c - matrix products: how the work is cut up, and the loops around the tiles
 *
 * A unit of C, some rows by some columns, is made by one thread from beginning to end: for a block
 * of k its rows of A are packed (as many as stay in L2), and each panel of B, packed when it is met,
 * meets all of them. Nothing is shared, so units need not wait for
 * each other; that a row or a column is packed once for every unit that wants it costs less than a
 * barrier. Where packing costs more than it gains operands are read where they lie. So are the
 * windows of a convolution of few filters: the rows of a tile are pixels side by side, and k goes
 * over runs of what lies together.
 */
#include "native/gemm.h"

#include "native/native.h"

#include <math.h>
#include <stdatomic.h>

enum {
    FEW_ROWS = 24,     /* of C: fewer than that and B, if it lies row-major, is not packed */
    FEW_COLUMNS = 128, /* of C: as many or fewer and A is not packed */
    SMALL_BYTES = 1 << 18, /* of an operand that isn't packed though it is read often */
    FEW_FILTERS =
        192, /* columns of C where A isn't lines: fewer, and A is not packed if its rows
                          and the elements of a row lie together by so many: */
    TOGETHER = 5,
    LEAST_ROWS = 96,        /* of A, packed, in L2: or more, as it is large */
    PART_OF_L2 = 11,        /* sixteenths */
    SMALL_RESULT = 1 << 16, /* elements of C, at most, where k is cut in parts: */
    PART = 768,             /* elements of one, at least */
    MOST_PARTS = 16,
    WHOLE = 16, /* blocks of k are multiples of that: squares are turned when packing */
    SCRATCH_COLUMNS = 512, /* of C, in a thread's scratch: about */
#ifdef FERRULE_HARD
    UNIT_WORK = 1 << 9,
#else
    UNIT_WORK = 1 << 17, /* multiply-adds of a unit, at least: some 2.5 us */
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

bool fr__gemm_vnni(void)
{
#if defined(__x86_64__)
    return isa() == &fr__gemm_v4 && fr__host()->avx512_vnni;
#else
    return false;
#endif
}

bool fr__gemm_dots(void)
{
#if defined(__x86_64__)
    return isa() == &fr__gemm_v4 && fr__host()->avx512_bf16;
#else
    return false;
#endif
}

static bool is_whole(int dtype)
{
    return dtype == FR_INT8 || dtype == FR_UINT8 || dtype == FR_INT16 || dtype == FR_UINT16;
}
/* Computed in 32 bits and then made narrow. */
static bool is_narrow(int dtype)
{
    return dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 || is_whole(dtype);
}
static int type_of(int dtype) { return dtype == FR_FLOAT64 ? 1 : is_whole(dtype) ? 2 : 0; }
static int64_t size_of(int dtype) { return dtype == FR_FLOAT64 ? 8 : 4; } /* as computed */

static void make_narrow(int dtype, const char *from, int64_t n, char *to)
{
    if (is_whole(dtype))
        isa()->cut[fr__dsize(dtype) - 1]((const int32_t *)(const void *)from, n, to);
    else
        isa()->narrow[dtype == FR_BFLOAT16]((const float *)(const void *)from, n,
                                            (uint16_t *)(void *)to);
}

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

static void pack_lines(int dtype, const fr__gemm_operand *x, const char *from, int64_t product,
                       int64_t line, int64_t n, int64_t k, int64_t block, int64_t width,
                       char *to)
{
    int64_t size = fr__dsize(dtype);
    from += size * offset_of(&x->batch, product);
    if (is_line(&x->outer) && is_line(&x->k)) {
        from += size * (line * step_of(&x->outer) + k * step_of(&x->k));
        if (width == 1 && step_of(&x->k) == 1) { /* a line as it is */
            isa()->pack[row_of(dtype)](from, 1, 0, block, 1, block, to);
            return;
        }
        isa()->pack[row_of(dtype)](from, step_of(&x->outer), step_of(&x->k), n, block, width,
                                   to);
        return;
    }
    int64_t lines[FR__GEMM_NR], steps[FR__GEMM_KC];
    offsets_of(&x->outer, line, n, lines);
    offsets_of(&x->k, k, block, steps);
    isa()->pick[row_of(dtype)](from, lines, steps, n, block, width, to);
}

void fr__gemm_pack_lines(int dtype, const fr__gemm_operand *x, int64_t product, int64_t line,
                         int64_t n, int64_t k, int64_t block, int64_t width, char *to)
{
    pack_lines(dtype, x, x->data, product, line, n, k, block, width, to);
}

/* The same for pairs, counted from element 2 * k on. */
static void pack_pairs(int dtype, const fr__gemm_operand *x, const char *from, int64_t product,
                       int64_t line, int64_t n, int64_t k, int64_t block, int64_t all_k,
                       int64_t width, char *to)
{
    int64_t lines[FR__GEMM_NR], steps[2 * FR__GEMM_KC], size = fr__dsize(dtype);
    int64_t elements = fr__min64(2 * block, all_k - 2 * k);
    fr__gemm_pick_fn *pack = isa()->pairs[size - 1];
#if defined(__x86_64__)
    if (size == 2 && fr__gemm_dots())
        pack = fr__gemm_dot_pack;
#endif
    offsets_of(&x->outer, line, n, lines);
    offsets_of(&x->k, 2 * k, elements, steps);
    pack(from + size * offset_of(&x->batch, product), lines, steps, n, elements, width, to);
}

/* ---- how the work is cut up --------------------------------------------------------------- */

/* Whether elements lie side by side, as long as runs of the last dimension go: how long. */
static int64_t run_of(const fr__gemm_dims *d)
{
    return d->n == 0 ? 1 : d->stride[d->n - 1] == 1 ? d->size[d->n - 1] : 1;
}

/* Cycles to pack an element, about; to read it, if it isn't packed. Small operands are in the cache. */
static double pack_cost(const fr__gemm_operand *x, int64_t elements, bool pack, double made)
{
    double far = elements * 4 > SMALL_BYTES ? 2 : 1;
    double each = run_of(&x->k) >= 8 ? 0.5 : run_of(&x->outer) >= 8 ? 0.4 : 1.5;
    if (made >
        0) /* its lines are turned; rows of what stands beside k come as they are wanted */
        return made + (run_of(&x->k) > 1 ? 0.5 : 0.1);
    return pack ? far * each : 0.1 * far * far;
}

/* Reading it in place leads to few lines of the cache again and again. */
static bool is_aliased(int64_t stride, int64_t size) { return stride * size % 2048 == 0; }

/* How many rows of A lie equally far apart, where it is to be read in place; else 0. */
static int64_t rows_together(const fr__gemm *g)
{
    const fr__gemm_dims *rows = &g->a.outer, *k = &g->a.k;
    int64_t size = size_of(g->dtype);
    int64_t rs = rows->n ? rows->stride[rows->n - 1] : 1, cs = k->n ? k->stride[k->n - 1] : 1;
    if (is_narrow(g->dtype) || (rs != 1 && cs != 1 && g->m > 1) || g->made[0])
        return 0;
    if (is_line(rows) && is_line(k)) {
        int64_t apart = step_of(k) == 1 ? step_of(rows) : step_of(k);
        bool little = g->m * g->k * size <= SMALL_BYTES && !is_aliased(apart, size);
        return g->m == 1 || g->n <= FEW_COLUMNS || little ? g->m : 0;
    }
    int64_t side = rows->n ? rows->size[rows->n - 1] : g->m,
            run = k->n ? k->size[k->n - 1] : g->k;
    return g->n < FEW_FILTERS && side >= TOGETHER && run >= TOGETHER ? side : 0;
}

/* How far k goes, as it is counted. */
static int64_t steps_of_k(const fr__gemm *g, const fr__gemm_cut *cut)
{
    return cut->pairs ? fr__ceil_div(g->k, 2) : g->k;
}

static bool wants_b_packed(const fr__gemm *g)
{
    int64_t size = size_of(g->dtype);
    bool lines = is_line(&g->b.outer) && is_line(&g->b.k),
         little = g->k * g->n * size <= SMALL_BYTES && !is_aliased(step_of(&g->b.k), size);
    return is_narrow(g->dtype) || g->made[1] || !lines ||
           (step_of(&g->b.outer) != 1 && g->n > 1) || (g->m >= FEW_ROWS && !little);
}

/* Cycles of all units on so many threads: what the slowest does, and what one has to wait for another
 * that began late. */
static double cost_of(const fr__gemm *g, const fr__gemm_cut *cut, int64_t row_units,
                      int64_t col_units, int threads)
{
    int type = type_of(g->dtype);
    int64_t rows = fr__ceil_div(g->m, row_units), panels = fr__ceil_div(cut->panels, col_units),
            columns = fr__min64(panels * isa()->nr[type], g->n);
    double depth = (double)fr__min64(steps_of_k(g, cut), cut->depth);
    double tiles = (double)(fr__ceil_div(rows, isa()->mr[type]) * panels);
    double multiply = (double)(rows * fr__ceil_div(columns, isa()->lanes[type]));
    double pack = (double)rows * pack_cost(&g->a, g->m * g->k, cut->pack_a, g->made[0]) +
                  (double)columns * pack_cost(&g->b, g->k * g->n, cut->pack_b, g->made[1]);
    double unit = (multiply + pack + tiles) * depth + 50 * tiles + 500;
    int64_t units = g->batches * cut->parts * row_units * col_units;
    return unit * ((double)fr__ceil_div(units, threads) + (threads > 1 ? 0.1 : 0));
}

/* Rows of A, packed, that L2 holds beside a panel of B. */
static int64_t rows_in_l2(const fr__gemm *g, const fr__gemm_cut *cut)
{
    int64_t row = size_of(g->dtype) * fr__min64(cut->block, steps_of_k(g, cut));
    return fr__max64(fr__host()->l2 / 16 * PART_OF_L2 / fr__max64(row, 1), LEAST_ROWS);
}

/* By shapes alone: the sums' order follows. */
static void choose_parts(const fr__gemm *g, fr__gemm_cut *cut)
{
    bool small = g->batches * g->m * g->n <= SMALL_RESULT;
    int64_t k = steps_of_k(g, cut), parts = small ? fr__min64(k / PART, MOST_PARTS) : 1;
    int64_t blocks = fr__max64(fr__ceil_div(k, FR__GEMM_KC), 1);
    cut->block = fr__ceil_div(fr__ceil_div(k, blocks), WHOLE) * WHOLE;
    cut->depth = fr__ceil_div(blocks, fr__max64(parts, 1)) * cut->block;
    cut->parts = parts > 1 ? fr__ceil_div(k, cut->depth) : 1;
}

/* Into how many units of rows and columns: of all ways with so many turns for each thread the
 * cheapest, where a unit has enough to do. */
static void choose_units(const fr__gemm *g, fr__gemm_cut *cut, int threads)
{
    enum { TURNS = 12, COLUMN_UNITS = 12 };
    const double ALONE =
        1.1; /* what a kernel over the whole result costs more than over strips */
    int64_t products = g->batches * cut->parts;
    double work =
               (double)g->m * (double)g->n * (double)fr__min64(steps_of_k(g, cut), cut->depth),
           least = 0;
    int64_t most = work < UNIT_WORK ? 1 : (int64_t)fmin(work / UNIT_WORK, 1e6);
    int64_t rows = g->m;
    if (cut->pack_a || is_narrow(g->dtype))
        rows = rows_in_l2(g, cut);
    int64_t r_from = fr__ceil_div(g->m, rows),
            c_from = is_narrow(g->dtype) ? fr__ceil_div(g->n, SCRATCH_COLUMNS) : 1,
            c_to = fr__min64(fr__min64(cut->panels, c_from + COLUMN_UNITS), most);
    for (int64_t c = c_from; c <= fr__max64(c_to, c_from); c++)
        for (int64_t turns = 1; turns <= TURNS; turns++) {
            int64_t r = fr__max64(turns * threads / (products * c), r_from);
            r = fr__max64(fr__min64(r, fr__min64(most / c, fr__ceil_div(g->m, 4))), r_from);
            double cost = cost_of(g, cut, r, c, threads);
            if (g->followed && g->batches * r < threads)
                cost *= ALONE;
            if (least == 0 || cost < least) {
                least = cut->cycles = cost;
                cut->row_units = r;
                cut->col_units = c;
            }
        }
}

static size_t rounded(int64_t n) { return (size_t)((n + 63) & ~(int64_t)63); }

/* Scratch of a thread: packed rows of A, panels of B, C that is made narrow. */
static void place_scratch(const fr__gemm *g, fr__gemm_cut *cut)
{
    int type = type_of(g->dtype), mr = isa()->mr[type], nr = isa()->nr[type];
    int64_t size = size_of(g->dtype), k = fr__min64(steps_of_k(g, cut), cut->block);
    int64_t tiles = fr__ceil_div(fr__ceil_div(cut->rows, cut->blocks), mr);
    int64_t panels = cut->blocks > 1 ? cut->cols : 1;
    cut->at_b = cut->pack_a ? rounded(tiles * mr * k * size) : 0;
    cut->at_c = cut->at_b + (cut->pack_b ? rounded(panels * nr * k * size) : 0);
    cut->at_made = cut->at_c + (is_narrow(g->dtype) && cut->parts == 1
                                    ? rounded(cut->rows * cut->cols * nr * size)
                                    : 0);
    int64_t lines = g->made[1] ? fr__max64(mr, nr) : g->made[0] ? mr : 0;
    cut->scratch = cut->at_made + rounded(lines * k * size);
}

fr__gemm_cut fr__gemm_cut_up(const fr__gemm *g, int threads)
{
    fr__gemm_cut cut = {.panels = fr__ceil_div(g->n, isa()->nr[type_of(g->dtype)])};
    cut.pairs = is_whole(g->dtype) || (g->dtype == FR_BFLOAT16 && fr__gemm_dots());
    cut.together = rows_together(g);
    cut.pack_a = !cut.together;
    cut.pack_b = wants_b_packed(g);
    choose_parts(g, &cut);
    choose_units(g, &cut, threads);
    cut.rows = fr__ceil_div(g->m, cut.row_units);
    /* Tiles don't go beyond rows that lie together. */
    cut.grain = cut.together && cut.together < cut.rows ? cut.together : 1;
    cut.row_units = fr__min64(cut.row_units, fr__ceil_div(g->m, cut.grain));
    cut.rows = fr__ceil_div(fr__ceil_div(g->m, cut.grain), cut.row_units) * cut.grain;
    cut.cols = fr__ceil_div(cut.panels, cut.col_units);
    cut.col_units = fr__ceil_div(cut.panels, cut.cols);
    cut.blocks = fr__ceil_div(cut.rows, fr__max64(rows_in_l2(g, &cut), cut.grain));
    cut.plain = !cut.pack_a && !cut.pack_b && cut.parts == 1 && cut.together == g->m &&
                is_line(&g->a.k);
    place_scratch(g, &cut);
    return cut;
}

/* ---- units -------------------------------------------------------------------------------- */

/* One unit, while it is made. */
typedef struct {
    const fr__gemm *g;
    const fr__gemm_cut *cut;
    const fr__gemm_place *at;
    int type;
    int64_t mr, nr, size, product;
    int64_t k, end;                   /* its part of k */
    int64_t row, rows, panel, panels; /* of C, of B */
    char *c;                          /* of its first element, as computed */
    int64_t ldc;
    char *packed_a, *packed_b;
    char *scratch;
} unit;

/* A block of k, of A where it lies: as runs of elements equally far apart. */
typedef struct {
    int64_t k, n, runs;
    fr__gemm_part run[FR__GEMM_KC];
} block;

static void find_runs(const fr__gemm_dims *k, block *b)
{
    if (is_line(k)) {
        b->runs = 1;
        b->run[0] = (fr__gemm_part){b->k * step_of(k), b->n};
        return;
    }
    int64_t steps[FR__GEMM_KC], step = k->stride[k->n - 1];
    offsets_of(k, b->k, b->n, steps);
    b->runs = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (i && steps[i] == steps[i - 1] + step)
            b->run[b->runs - 1].n++;
        else
            b->run[b->runs++] = (fr__gemm_part){steps[i], 1};
}

/* The next tile of rows [r, end) of C: tiles of about the same height, up to where the rows end that
 * lie together. */
static int64_t tile_height(const unit *u, int64_t r, int64_t end)
{
    int64_t left = end - r, together = u->cut->together;
    if (together && together < u->g->m)
        left = fr__min64(left, together - r % together);
    if (left <= u->mr)
        return left;
    return fr__ceil_div(left, fr__ceil_div(left, u->mr));
}

/* Lines of an operand that isn't there: made, then packed. */
static void make_lines(const unit *u, const fr__gemm_operand *x, const fr__maker *m,
                       int64_t line, int64_t n, const block *k, int64_t width, char *to)
{
    const fr__gemm *g = u->g;
    int64_t each = u->cut->pairs ? 2 : 1, from = each * k->k,
            elements = fr__min64(each * k->n, g->k - from);
    bool along = step_of(&x->k) == 1; /* else rows of what stands beside k */
    fr__gemm_operand made = {.outer = {1, {n}, {along ? elements : 1}},
                             .k = {1, {elements}, {along ? 1 : width}}};
    char *at = u->scratch + u->cut->at_made;
    if (along) {
        int64_t lines = x == &g->a ? g->m : g->n;
        m->make(m, u->scratch, u->product * lines + line, n, from, elements, at, elements);
    } else {
        bool as_packed = n == width && !is_narrow(g->dtype);
        m->make(m, u->scratch, u->product * g->k + from, elements, line, n, as_packed ? to : at,
                width);
        if (as_packed)
            return;
    }
    if (u->cut->pairs)
        pack_pairs(g->dtype, &made, at, 0, 0, n, 0, k->n, elements, width, to);
    else
        pack_lines(g->dtype, &made, at, 0, 0, n, 0, k->n, width, to);
}

static void pack_rows(const unit *u, int64_t first, int64_t end, const block *k)
{
    char *to = u->packed_a;
    for (int64_t r = first, rows; r < end; r += rows, to += u->size * u->mr * k->n) {
        rows = tile_height(u, r, end);
        if (u->at->makes[0])
            make_lines(u, &u->g->a, u->at->makes[0], r, rows, k, u->mr, to);
        else if (u->cut->pairs)
            pack_pairs(u->g->dtype, &u->g->a, u->at->a, u->product, r, rows, k->k, k->n,
                       u->g->k, u->mr, to);
        else
            pack_lines(u->g->dtype, &u->g->a, u->at->a, u->product, r, rows, k->k, k->n, u->mr,
                       to);
    }
}

/* A panel of B, and the distance from a row of it to the next. */
static const char *panel_of(const unit *u, bool first, int64_t panel, const block *k,
                            int64_t *brs)
{
    const fr__gemm *g = u->g;
    int64_t column = (u->panel + panel) * u->nr;
    if (!u->cut->pack_b) {
        *brs = step_of(&g->b.k);
        return u->at->b + u->size * (offset_of(&g->b.batch, u->product) + k->k * *brs + column);
    }
    *brs = u->nr;
    char *to = u->packed_b + (u->cut->blocks > 1 ? u->size * panel * u->nr * k->n : 0);
    int64_t columns = fr__min64(u->nr, g->n - column);
    if (first && u->at->makes[1])
        make_lines(u, &g->b, u->at->makes[1], column, columns, k, u->nr, to);
    else if (first && u->cut->pairs)
        pack_pairs(g->dtype, &g->b, u->at->b, u->product, column, columns, k->k, k->n, g->k,
                   u->nr, to);
    else if (first)
        pack_lines(g->dtype, &g->b, u->at->b, u->product, column, columns, k->k, k->n, u->nr,
                   to);
    return to;
}

static fr__gemm_tile *tile_of(const unit *u)
{
#if defined(__x86_64__)
    if (u->type == 2 && fr__gemm_vnni())
        return fr__gemm_vnni_tile;
    if (u->type == 0 && u->cut->pairs)
        return fr__gemm_dot_tile;
#endif
    return isa()->tile[u->type];
}

/* Rows [first, end) of C against a panel of B. */
static void panel_run(const unit *u, int64_t first, int64_t end, const block *k, const char *b,
                      int64_t brs, int columns, char *c)
{
    const fr__gemm *g = u->g;
    const fr__gemm_dims *outer = &g->a.outer, *inner = &g->a.k;
    const fr__gemm_part whole = {0, k->n};
    bool packed = u->cut->pack_a, add = k->k > u->k;
    const char *a =
        packed ? u->packed_a : u->at->a + u->size * offset_of(&g->a.batch, u->product);
    int64_t rs = packed || g->m == 1 ? 1
                 : outer->n          ? outer->stride[outer->n - 1]
                                     : 1,
            cs = packed     ? u->mr
                 : inner->n ? inner->stride[inner->n - 1]
                            : 1;
    fr__gemm_tile *tile = tile_of(u);
    for (int64_t r = first, rows; r < end; r += rows, c += u->size * rows * u->ldc) {
        rows = tile_height(u, r, end);
        if (packed) {
            tile(1, &whole, a, 1, cs, b, brs, c, u->ldc, (int)rows, columns, add);
            a += u->size * u->mr * k->n;
        } else {
            tile(k->runs, k->run, a + u->size * offset_of(outer, r), rs, cs, b, brs, c, u->ldc,
                 (int)rows, columns, add);
        }
    }
}

/* Rows [first, end) of C against all panels of the unit, for a block of k. */
static void block_run(const unit *u, int64_t first, int64_t end, const block *k)
{
    const fr__gemm *g = u->g;
    if (u->cut->pack_a)
        pack_rows(u, first, end, k);
    for (int64_t panel = 0; panel < u->panels; panel++) {
        int64_t brs;
        const char *b = panel_of(u, first == u->row, panel, k, &brs);
        int columns = (int)fr__min64(u->nr, g->n - (u->panel + panel) * u->nr);
        panel_run(u, first, end, k, b, brs, columns,
                  u->c + u->size * ((first - u->row) * u->ldc + panel * u->nr));
    }
}

/* Where part i of n begins, of so many rows cut at multiples of a grain. */
static int64_t part_of(int64_t rows, int64_t grain, int64_t i, int64_t n)
{
    if (n == 1) /* most often: without divisions */
        return i ? rows : 0;
    return fr__min64(fr__ceil_div(rows, grain) * i / n * grain, rows);
}

fr__gemm_part fr__gemm_unit_rows(const fr__gemm *g, const fr__gemm_cut *cut, int64_t unit)
{
    int64_t first = part_of(g->m, cut->grain, unit, cut->row_units),
            end = part_of(g->m, cut->grain, unit + 1, cut->row_units);
    return (fr__gemm_part){first, end - first};
}

static void unit_run(const unit *u)
{
    const fr__gemm *g = u->g;
    int64_t blocks = u->cut->blocks, grain = u->cut->grain;
    block k;
    for (k.k = u->k; k.k < u->end; k.k += u->cut->block) {
        k.n = fr__min64(u->end - k.k, u->cut->block);
        if (!u->cut->pack_a)
            find_runs(&g->a.k, &k);
        for (int64_t i = 0; i < blocks; i++)
            block_run(u, u->row + part_of(u->rows, grain, i, blocks),
                      u->row + part_of(u->rows, grain, i + 1, blocks), &k);
    }
}

/* A unit of what is not packed and has nothing else to it: small products are little but this. */
static void plain_run(const fr__gemm *g, const fr__gemm_cut *cut, const fr__gemm_place *at,
                      int64_t product, int64_t row, int64_t column)
{
    int type = type_of(g->dtype);
    int64_t size = size_of(g->dtype), nr = isa()->nr[type], mr = isa()->mr[type];
    int64_t r0 = part_of(g->m, cut->grain, row, cut->row_units),
            r1 = part_of(g->m, cut->grain, row + 1, cut->row_units),
            n0 = part_of(cut->panels, 1, column, cut->col_units) * nr,
            n1 = part_of(cut->panels, 1, column + 1, cut->col_units) * nr;
    int64_t rs = g->m == 1 ? 1 : step_of(&g->a.outer), cs = step_of(&g->a.k),
            brs = step_of(&g->b.k);
    const char *a = at->a + size * (offset_of(&g->a.batch, product) + r0 * rs),
               *b = at->b + size * offset_of(&g->b.batch, product);
    char *c = at->c + size * (product * g->next + r0 * g->ldc);
    fr__gemm_tile *tile = isa()->tile[type];
    int64_t tiles = fr__ceil_div(r1 - r0, mr), least = (r1 - r0) / fr__max64(tiles, 1),
            higher = (r1 - r0) - least * tiles;
    for (int64_t k = 0; k < g->k; k += cut->block) {
        fr__gemm_part run = {k * cs, fr__min64(g->k - k, cut->block)};
        for (int64_t n = n0; n < n1 && n < g->n; n += nr) {
            int columns = (int)fr__min64(nr, g->n - n);
            const char *from = a, *with = b + size * (k * brs + n);
            char *to = c + size * n;
            for (int64_t i = 0; i < tiles; i++) {
                int64_t rows = least + (i < higher);
                tile(1, &run, from, rs, cs, with, brs, to, g->ldc, (int)rows, columns, k > 0);
                from += size * rows * rs;
                to += size * rows * g->ldc;
            }
        }
    }
}

void fr__gemm_run(const fr__gemm *g, const fr__gemm_cut *cut, const fr__gemm_place *at,
                  int64_t begin, int64_t end, char *scratch)
{
    for (int64_t i = begin; i < end && cut->plain; i++) {
        bool one = cut->col_units == 1 && cut->row_units == 1; /* without divisions */
        plain_run(g, cut, at, one ? i : i / cut->col_units / cut->row_units,
                  one ? 0 : i / cut->col_units % cut->row_units, one ? 0 : i % cut->col_units);
    }
    if (cut->plain)
        return;
    int type = type_of(g->dtype);
    for (int64_t i = begin; i < end; i++) {
        unit u = {.g = g, .cut = cut, .at = at, .type = type, .size = size_of(g->dtype)};
        u.mr = isa()->mr[type];
        u.nr = isa()->nr[type];
        int64_t column = 0, row = 0, product = i;
        if (cut->col_units > 1 || cut->row_units > 1) {
            column = i % cut->col_units;
            row = i / cut->col_units % cut->row_units;
            product = i / cut->col_units / cut->row_units;
        }
        u.product = cut->parts > 1 ? product / cut->parts : product;
        u.k = cut->parts > 1 ? product % cut->parts * cut->depth : 0;
        u.end = fr__min64(steps_of_k(g, cut), cut->parts > 1 ? u.k + cut->depth : INT64_MAX);
        u.row = part_of(g->m, cut->grain, row, cut->row_units);
        u.rows = part_of(g->m, cut->grain, row + 1, cut->row_units) - u.row;
        u.panel = part_of(cut->panels, 1, column, cut->col_units);
        u.panels = part_of(cut->panels, 1, column + 1, cut->col_units) - u.panel;
        u.packed_a = u.scratch = scratch;
        u.packed_b = scratch + cut->at_b;
        int64_t first = u.panel * u.nr, width = fr__min64(u.panels * u.nr, g->n - first);
        if (cut->parts > 1) {
            u.c = at->sums + u.size * ((product * g->m + u.row) * g->n + first);
            u.ldc = g->n;
            unit_run(&u);
            continue;
        }
        char *c = at->c + fr__dsize(g->dtype) * (u.product * g->next + u.row * g->ldc + first);
        bool narrow = is_narrow(g->dtype);
        u.c = narrow ? scratch + cut->at_c : c;
        u.ldc = narrow ? width : g->ldc;
        unit_run(&u);
        for (int64_t r = 0; narrow && r < u.rows; r++)
            make_narrow(g->dtype, u.c + r * width * u.size, width,
                        c + r * g->ldc * fr__dsize(g->dtype));
    }
}

size_t fr__gemm_sums(const fr__gemm *g, const fr__gemm_cut *cut)
{
    return cut->parts > 1 ? rounded(g->batches * cut->parts * g->m * g->n * size_of(g->dtype))
                          : 0;
}

void fr__gemm_add_up(const fr__gemm *g, const fr__gemm_cut *cut, const fr__gemm_place *at,
                     int64_t begin, int64_t end)
{
    int64_t size = size_of(g->dtype), next = g->m * g->n;
    for (int64_t i = begin; i < end; i++) {
        int64_t product = i / g->m, row = i % g->m;
        char *sum = at->sums + size * (product * cut->parts * next + row * g->n);
        for (int64_t part = 1; part < cut->parts; part++) {
            const char *more = sum + size * part * next;
            if (g->dtype == FR_FLOAT64)
                for (int64_t j = 0; j < g->n; j++)
                    ((double *)sum)[j] += ((const double *)more)[j];
            else if (is_whole(g->dtype))
                for (int64_t j = 0; j < g->n; j++)
                    ((uint32_t *)sum)[j] += ((const uint32_t *)more)[j];
            else
                for (int64_t j = 0; j < g->n; j++)
                    ((float *)sum)[j] += ((const float *)more)[j];
        }
        char *c = at->c + fr__dsize(g->dtype) * (product * g->next + row * g->ldc);
        if (is_narrow(g->dtype))
            make_narrow(g->dtype, sum, g->n, c);
        else
            memcpy(c, sum, (size_t)(g->n * size));
    }
}
