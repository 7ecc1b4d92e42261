/* ptx_shape.c - how a kernel is spread over the threads of a GPU (ptx.h): its form, and a launch's shape
 *
 * needs   a checked kernel; for a launch its words
 * gives   fr__ptx_form_of, by the kernel alone; fr__ptx_spread, by sizes and addresses
 *
 * A form is found once for each kernel and kept in it, packed.
 */
#include "kernel/ptx.h"

#include <stdatomic.h>

enum {
    THREADS = 256, /* of a block that has enough to do */
    MOST_THREADS = 1024,
    FEW_THREADS = 64,   /* of one where blocks are few */
    LONG_THREADS = 512, /* of a row that doesn't fit in registers */
    BLOCKS_WANTED = 2,  /* for each processor, before blocks grow */
    ONE_GROUP = 31,     /* a shift that leaves nothing of a thread's number */
    CHEAP = 24,         /* scalar operations an element */
    COSTLY = 100,
};

/* ---- the form ----------------------------------------------------------------------- */

static bool is_vector(const fr__kernel *k, int loop)
{
    int bind = k->axis[k->ins[loop].imm].bind;
    return bind == FR__BIND_VEC || bind == FR__BIND_PARVEC;
}

/* What stands where in the nest. */
typedef struct census {
    int root;          /* the LOOP */
    int vectors, tops; /* vector loops; loops right inside the root's */
    bool accs, stores; /* right inside the root's */
    bool inside;       /* loops inside a vector loop */
    bool deep;         /* ... and inside those */
    int loads;         /* right inside a vector loop, by elements */
} census;

static census count(const fr__kernel *k)
{
    census c = {.root = -1};
    int depth = 0, vector_at = 0; /* depth of the open vector loop, 0 for none */
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        if (ins->op == FR__K_LOOP) {
            depth++;
            c.root = depth == 1 ? i : c.root;
            c.tops += depth == 2;
            c.inside |= vector_at && depth == vector_at + 1;
            c.deep |= vector_at && depth == vector_at + 2;
            if (is_vector(k, i)) {
                vector_at = depth;
                c.vectors++;
            }
        } else if (ins->op == FR__K_END) {
            vector_at = vector_at == depth ? 0 : vector_at;
            depth--;
        } else if (depth == 1) {
            c.accs |= ins->op == FR__K_ACC;
            c.stores |= ins->op == FR__K_STORE;
        }
        c.loads += ins->op == FR__K_LOAD && depth && vector_at == depth &&
                   k->access[ins->imm].vec != FR__VEC_NONE;
    }
    return c;
}

static bool has_scratch(const fr__kernel *k)
{
    for (int b = 0; b < k->nbuf; b++)
        if (k->bufs[b].role == FR__BUF_SCRATCH)
            return true;
    return false;
}

/* Bytes of the widest element that is accessed along the vector, 0 for none. */
static int widest_unit(const fr__kernel *k)
{
    int most = 0;
    for (int a = 0; a < k->naccess; a++)
        if (k->access[a].vec == FR__VEC_UNIT &&
            k->bufs[k->access[a].buf].role != FR__BUF_SCRATCH) {
            int size = (int)fr__dsize(k->bufs[k->access[a].buf].dtype);
            most = size > most ? size : most;
        }
    return most;
}

static fr__ptx_form find_form(const fr__kernel *k)
{
    fr__ptx_form f = {.width = 1, .chunks = 1, .narrow = 1, .rows = 1};
    census c = count(k);
    bool flat = c.root >= 0 && is_vector(k, c.root);
    int size = widest_unit(k);
    bool cheap = k->nvarying <= CHEAP, costly = k->nvarying > COSTLY;
    f.scratch = has_scratch(k);
    if (!flat && !c.vectors && !f.scratch)
        return f;
    bool tiles = flat || (c.vectors == 1 && c.tops == 1 && !c.accs && !c.stores && !f.scratch);
    f.way = tiles ? FR__PTX_TILES : FR__PTX_ROWS;
    f.flat = flat;
    f.columns = tiles && c.inside;
    f.wide = size > 0;
    f.width = size && size <= 2 ? 8 : 4;
    if (f.columns) {
        f.rows = c.deep ? 1 : cheap ? 8 : costly ? 2 : 4;
        if (f.rows > 1 && (size == 8 || f.width == 8))
            f.rows /= 2;
        f.narrow = f.wide ? 1 : 2;
    } else if (tiles) {
        f.chunks = !flat && c.loads <= 2 && size == 4 ? 2 : 1;
        f.narrow = f.wide ? 1 : 4;
    } else { /* what a thread does once a row is much, so it has many elements of it */
        f.chunks = size == 8 || (costly && f.width == 8) ? 1 : costly || f.width == 8 ? 2 : 4;
        f.narrow = costly ? 4 : 8;
        f.single = true;
        f.kept = f.scratch;
    }
    int kept = 0;
    for (int i = 0; i < k->nins; i++) {
        if (k->ins[i].op != FR__K_LOAD)
            continue;
        bool held = fr__ptx_held_by(k, &f, i) >= 0;
        kept += held;
        f.single |= f.columns && f.wide && !c.deep && held;
        if (k->bufs[k->access[k->ins[i].imm].buf].role == FR__BUF_SCRATCH)
            f.kept &= held;
    }
    if (f.way == FR__PTX_ROWS) /* so that blocks overlap: one loads while another one waits */
        f.registers = costly || kept > 2 ? 72 : kept ? 56 : 40;
    return f;
}

enum { KNOWN = 1, FLAT = 2, COLUMNS = 4, WIDE = 8, SCRATCH = 16, KEPT = 32, SINGLE = 64 };

fr__ptx_form fr__ptx_form_of(const fr__kernel *k)
{
    fr__kernel *own = (fr__kernel *)(uintptr_t)k;
    uint64_t p = atomic_load_explicit(&own->form, memory_order_relaxed);
    if (!p) {
        fr__ptx_form f = find_form(k);
        p = KNOWN | (f.flat ? FLAT : 0) | (f.columns ? COLUMNS : 0) | (f.wide ? WIDE : 0) |
            (f.scratch ? SCRATCH : 0) | (f.kept ? KEPT : 0) | (f.single ? SINGLE : 0) |
            (uint64_t)f.way << 8 | (uint64_t)f.width << 16 | (uint64_t)f.chunks << 24 |
            (uint64_t)f.narrow << 32 | (uint64_t)f.rows << 40 | (uint64_t)f.registers << 48;
        atomic_store_explicit(&own->form, p, memory_order_relaxed);
    }
    return (fr__ptx_form){.way = (uint8_t)(p >> 8),
                          .flat = p & FLAT,
                          .columns = p & COLUMNS,
                          .wide = p & WIDE,
                          .scratch = p & SCRATCH,
                          .kept = p & KEPT,
                          .single = p & SINGLE,
                          .width = (uint8_t)(p >> 16),
                          .chunks = (uint8_t)(p >> 24),
                          .narrow = (uint8_t)(p >> 32),
                          .rows = (uint8_t)(p >> 40),
                          .registers = (uint8_t)(p >> 48)};
}

/* ---- what a later pass needs not load again ------------------------------------------ */

/* The loop whose passes may be held that instruction i stands right inside of, or -1. */
static int spread_loop(const fr__kernel *k, const fr__ptx_form *f, int i)
{
    int open[FR__KMAXAXES + 1], depth = 0;
    for (int j = 0; j < i; j++) {
        if (k->ins[j].op == FR__K_LOOP)
            open[depth++] = j;
        depth -= k->ins[j].op == FR__K_END;
    }
    int at = f->way == FR__PTX_ROWS ? 2 : f->columns ? (f->flat ? 2 : 3) : 0;
    return at && depth == at && (f->columns || is_vector(k, open[depth - 1])) ? open[depth - 1]
                                                                              : -1;
}

static bool like_axes(const fr__kernel *k, int a, int b)
{
    const fr__kaxis *x = &k->axis[a], *y = &k->axis[b];
    return x->bind == y->bind && x->extent == y->extent && x->split == y->split &&
           x->block == y->block;
}

/* a and b, in loops over axes that are alike, touch the same elements. */
static bool like_access(const fr__kaccess *a, int axis_a, const fr__kaccess *b, int axis_b)
{
    if (a->buf != b->buf || a->vec != b->vec || a->nterm != b->nterm ||
        (a->vec == FR__VEC_STRIDE && a->vstride != b->vstride))
        return false;
    if (a->vec != FR__VEC_NONE && a->vaxis != b->vaxis &&
        (a->vaxis != axis_a || b->vaxis != axis_b))
        return false;
    for (int t = 0; t < a->nterm; t++)
        if (a->term[t].word != b->term[t].word ||
            (a->term[t].axis != b->term[t].axis &&
             (a->term[t].axis != axis_a || b->term[t].axis != axis_b)))
            return false;
    return true;
}

int fr__ptx_held_by(const fr__kernel *k, const fr__ptx_form *f, int i)
{
    const fr__kins *ins = &k->ins[i];
    int loop = ins->op == FR__K_LOAD && ins->b < 0 && ins->c < 0 ? spread_loop(k, f, i) : -1;
    if (loop < 0)
        return -1;
    const fr__kaccess *access = &k->access[ins->imm];
    int axis = (int)k->ins[loop].imm;
    bool scratch = k->bufs[access->buf].role == FR__BUF_SCRATCH;
    for (int j = 0; j < loop; j++) {
        const fr__kins *from = &k->ins[j];
        if (from->op != (scratch ? FR__K_STORE : FR__K_LOAD) || from->b >= 0 || from->c >= 0)
            continue;
        const fr__kaccess *there = &k->access[from->imm];
        if (there->buf != access->buf)
            continue;
        int other = spread_loop(k, f, j);
        if (other >= 0 && like_axes(k, (int)k->ins[other].imm, axis) &&
            like_access(there, (int)k->ins[other].imm, access, axis))
            return j;
    }
    return -1;
}

/* ---- a launch ----------------------------------------------------------------------- */

static int64_t length(const fr__kernel *k, const uint64_t *words, int axis)
{
    const fr__kaxis *x = &k->axis[axis];
    int64_t n = (int64_t)words[x->extent];
    return x->split >= 0 ? fr__min64(n, (int64_t)words[x->block]) : n;
}

/* The longest axis bound so, 0 where one has no elements at all. */
static int64_t longest(const fr__kernel *k, const uint64_t *words, int bind)
{
    int64_t most = 0;
    bool none = false;
    for (int a = 0; a < k->naxis; a++)
        if (k->axis[a].bind == bind) {
            int64_t n = length(k, words, a);
            most = n > most ? n : most;
            none |= !n;
        }
    return none ? 0 : most;
}

/* Every access along the vector, at every index of the other axes, is a whole `width`. */
static bool is_aligned(const fr__kernel *k, const uint64_t *words, uint64_t width)
{
    uint64_t elements = 0, bytes = 0;
    for (int a = 0; a < k->naccess; a++) {
        const fr__kaccess *x = &k->access[a];
        if (x->vec != FR__VEC_UNIT)
            continue;
        if (k->bufs[x->buf].role != FR__BUF_SCRATCH)
            bytes |= words[k->bufs[x->buf].word] &
                     (width * (uint64_t)fr__dsize(k->bufs[x->buf].dtype) - 1);
        for (int t = 0; t < x->nterm; t++)
            elements |= words[x->term[t].word];
    }
    for (int a = 0; a < k->naxis; a++)
        if (k->axis[a].bind == FR__BIND_VEC) {
            elements |= words[k->axis[a].extent];
            elements |= k->axis[a].split >= 0 ? words[k->axis[a].block] : 0;
        }
    return !bytes && !(elements & (width - 1));
}

static int64_t power_up(int64_t n, int64_t most)
{
    int64_t p = 1;
    while (p < n && p < most)
        p *= 2;
    return p;
}

static int64_t parts_of(int64_t n, int64_t part) { return (n + part - 1) / part; }

typedef struct launch {
    const fr__ptx_form *f;
    int64_t range, lanes;
    int64_t exact, most, wanted; /* threads; blocks that keep the device busy */
    int64_t threads, across, blocks;
    bool single;
} launch;

static void spread_tiles(launch *l, int64_t row, int64_t column)
{
    const fr__ptx_form *f = l->f;
    bool along = f->flat || f->columns;
    int64_t rows = f->flat ? 1 : l->range;
    l->threads = l->exact ? l->exact : THREADS;
    if (f->columns) {
        l->across = power_up(parts_of(row, l->lanes), FR__PTX_WARP);
        l->blocks = rows * parts_of(row, l->across * l->lanes);
        bool few = !l->exact && (f->single || l->blocks < l->wanted / BLOCKS_WANTED);
        while (few && l->threads < FR__PTX_COLUMN_THREADS && 2 * l->threads <= l->most &&
               l->threads / l->across * f->rows < column)
            l->threads *= 2;
        l->single = column && column <= l->threads / l->across * f->rows;
        return;
    }
    for (;; l->threads /= 2) {
        l->across = f->flat ? l->threads : power_up(parts_of(row, l->lanes), l->threads);
        l->blocks = (along ? 1 : parts_of(rows, l->threads / l->across)) *
                    parts_of(row, l->across * l->lanes);
        if (l->blocks >= l->wanted || l->threads <= FEW_THREADS || l->exact)
            return;
    }
}

static void spread_rows(launch *l, int64_t row)
{
    int64_t need = parts_of(row, l->lanes);
    l->single = row > 0;
    if (need <= FR__PTX_WARP && (!l->f->scratch || l->f->kept)) {
        l->across = power_up(need, FR__PTX_WARP);
        l->threads = l->exact ? l->exact : THREADS;
        for (; l->threads > FR__PTX_WARP && !l->exact; l->threads /= 2)
            if (parts_of(l->range, l->threads / l->across) >= l->wanted)
                break;
        l->blocks = parts_of(l->range, l->threads / l->across);
        return;
    }
    int64_t threads = parts_of(need, FR__PTX_WARP) * FR__PTX_WARP;
    if (threads > (l->exact ? l->exact : l->most)) {
        l->single = false;
        threads = l->range < l->wanted ? l->most : fr__min64(LONG_THREADS, l->most);
    }
    threads = l->exact ? l->exact : threads;
    l->threads = l->across = threads;
    l->blocks = l->range;
}

fr__ptx_shape fr__ptx_spread(const fr__kernel *k, const uint64_t *words, int64_t begin,
                             int64_t end, fr__ptx_room room)
{
    fr__ptx_form f = fr__ptx_form_of(k);
    bool wide = f.wide && !(begin & (f.width - 1) && f.flat) && is_aligned(k, words, f.width);
    launch l = {.f = &f,
                .range = end - begin,
                .lanes = wide ? f.width * f.chunks : f.narrow,
                .exact = room.threads,
                .most = room.most ? room.most : MOST_THREADS,
                .wanted = BLOCKS_WANTED * (int64_t)room.processors};
    int64_t row = f.flat ? l.range : longest(k, words, FR__BIND_VEC);
    if (f.way == FR__PTX_TILES) {
        spread_tiles(&l, row, f.columns ? longest(k, words, FR__BIND_SERIAL) : 0);
    } else if (f.way == FR__PTX_ROWS) {
        spread_rows(&l, row);
    } else {
        l.threads = l.exact ? l.exact : THREADS;
        for (; l.threads > FEW_THREADS && !l.exact; l.threads /= 2)
            if (parts_of(l.range, l.threads) >= l.wanted)
                break;
        l.across = l.threads;
        l.blocks = parts_of(l.range, l.threads);
    }
    int shift = 0;
    while ((int64_t)1 << shift < l.across)
        shift++;
    if (l.across == l.threads && f.way == FR__PTX_ROWS && l.across > FR__PTX_WARP)
        shift = ONE_GROUP;
    uint64_t groups = (uint64_t)(l.threads / l.across), groups_shift = 0;
    while ((uint64_t)1 << groups_shift < groups)
        groups_shift++;
    return (fr__ptx_shape){
        .threads = (unsigned)l.threads,
        .blocks = (unsigned)fr__min64(l.blocks, INT32_MAX),
        .scratch = f.scratch && !(l.single && f.kept),
        .shape = (uint64_t)l.across | (uint64_t)shift << FR__PTX_SHIFT |
                 (uint64_t)wide << FR__PTX_WIDE | (uint64_t)l.single << FR__PTX_SINGLE |
                 groups << FR__PTX_GROUPS | groups_shift << FR__PTX_GROUPS_SHIFT};
}
