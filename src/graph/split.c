/* split.c - long reductions in two steps: in parallel, and in pieces that fit in cache
 *
 *   capture -> simplify -> [split] -> fuse -> merge -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   reductions over few rows, over very long rows or over the outer axes as a partial
 *         reduction (one result for each piece of one axis) and a reduction over the pieces
 * breaks  nothing; the pieces depend on shapes alone, so a sum is the same for any thread count
 *
 * A reduction that needs another one over the same long row first would read it twice:
 *
 *     sum(exp(u - c)), c a function of max(u)          (softmax, logsumexp)
 *     sum((u - c)^2),  c a function of sum(u)          (variance, layer norm)
 *     min(v where u = max(u), or NaN; else n)          (argmax; argmin)
 *
 * They are made from what each piece b can know by itself, while it is in cache (for any c and v, so
 * what exactly these are need not be understood):
 *
 *     sum(exp(u - c)) = sum_b exp(m_b - c) sum_in_b exp(u - m_b)         m_b = max_in_b(u)
 *     sum((u - c)^2)  = sum_b [ sum_in_b (u - a_b)^2 + n_b (a_b - c)^2 ]   a_b = mean_in_b(u)
 *     min(v where u = max(u)) = min_b(min_in_b(v where u = m_b) where m_b = max(u))
 *
 * (Chan, Golub, LeVeque 1983 for the second; the first is the online softmax.)
 */
#include <math.h>

#include "graph/trace.h"

enum {
    SPLIT_FROM = 1 << 17, /* elements; below, one thread is as fast */
    ROW_PIECE =
        1 << 12, /* elements of a piece where the innermost axis is reduced: 64 sums a lane,
                             whose roundings stay below 1e-6 even where all are alike */
    ROWS_FIRST = 256,   /* elements of rows that are reduced before what they give is */
    RUN = 64,           /* elements of a piece that lie together, at least */
    LONG_ROW = 1 << 16, /* elements of a row that no longer stays in a core's cache */
    COLUMN_PIECE =
        64, /* rows of a piece where it is kept: of up to 4096 columns they stay in L2 */
    ENOUGH_ROWS = 64, /* results that go in parallel by themselves */
    LOOK = 24,        /* nodes looked at for what c depends on */
};

typedef struct {
    int axis; /* -1: not split */
    int64_t block;
    bool row; /* the innermost axis is reduced */
} choice;

static int64_t block_of_rows(int64_t others)
{
    return others < ROW_PIECE ? ROW_PIECE / others : 1;
}

/* Where the innermost axis is reduced: the axis whose pieces are least and yet lie in memory in runs worth
 * reading; of equal ones the outermost. */
static int axis_of_rows(const fr__tnode *r, const fr__tnode *x, int64_t red, int otherwise,
                        int64_t *its_block)
{
    int best = -1;
    int64_t inside = 1, least = 0;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (x->shape[d] == 1 || !(r->par[0] >> d & 1))
            continue;
        int64_t block = block_of_rows(red / x->shape[d]);
        int64_t piece = block * (red / x->shape[d]);
        if (block * inside >= RUN && (best < 0 || piece <= least)) {
            best = d;
            least = piece;
            *its_block = block;
        }
        inside *= x->shape[d];
    }
    return best < 0 ? otherwise : best;
}

static choice choose(const fr__tnode *r, const fr__tnode *x)
{
    const choice no = {-1, 0, false};
    int64_t kept = 1, red = 1, outer = 1;
    int longest = -1, last = -1;
    bool seen = false;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] == 1)
            continue;
        last = d;
        if (r->par[0] >> d & 1) {
            red *= x->shape[d];
            seen = true;
            if (longest < 0 || x->shape[d] > x->shape[longest])
                longest = d;
        } else {
            kept *= x->shape[d];
            outer *= seen ? 1 : x->shape[d];
        }
    }
    if (x->size < SPLIT_FROM || longest < 0)
        return no;
    choice c = {longest, COLUMN_PIECE, r->par[0] >> last & 1};
    if (c.row) {
        if (kept >= ENOUGH_ROWS && red < LONG_ROW)
            return no;
        c.block = block_of_rows(red / x->shape[longest]);
        c.axis = axis_of_rows(r, x, red, longest, &c.block);
    } else if (outer >= ENOUGH_ROWS) {
        return no;
    }
    return x->shape[c.axis] >= 2 * c.block ? c : no;
}

/* On a GPU a block sums up columns side by side, some rows at a time. Few columns are cut into pieces
 * of their rows, as many as keep the device busy. Of several axes one goes first. */
enum {
    GPU_SEVERAL = 32, /* rows from which on of several axes one goes first */
#ifdef FERRULE_HARD
    GPU_ROWS = 4,
    GPU_SMALL = 0,
    GPU_BLOCKS = 4,
    GPU_PIECE = 2,
#else
    GPU_ROWS = 512,      /* fewer rows are not cut */
    GPU_SMALL = 1 << 16, /* nor are so few elements */
    GPU_BLOCKS = 512,
    GPU_PIECE = 64, /* rows that a block keeps in registers between two passes over them */
#endif
    GPU_COLUMNS = 128, /* side by side */
};

/* *first: the axis to be reduced before the others, or -1. */
static choice choose_on_gpu(const fr__tnode *r, const fr__tnode *x, int *first)
{
    const choice no = {-1, 0, false};
    int64_t outer = 1, columns = 1, red = 1;
    int axes = 0, inner = -1, last = -1;
    *first = -1;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] == 1)
            continue;
        last = d;
        if (r->par[0] >> d & 1) {
            red *= x->shape[d];
            inner = d;
            axes++;
            outer *= columns;
            columns = 1;
        } else {
            columns *= x->shape[d];
        }
    }
    if (inner < 0 || inner == last)
        return no;
    if (axes > 1) {
        *first = red >= GPU_SEVERAL ? inner : -1;
        return no;
    }
    if (red < GPU_ROWS || x->size < GPU_SMALL)
        return no; /* nothing to reduce, too: outer or columns may be 0 up to here */
    int64_t tiles = outer * ((columns + GPU_COLUMNS - 1) / GPU_COLUMNS);
    int64_t pieces = fr__min64(GPU_BLOCKS / tiles, red / GPU_PIECE);
    if (pieces < 2)
        return no;
    return (choice){inner, (red + pieces - 1) / pieces, false};
}

/* ---- the two patterns, on the old trace --------------------------------------------- */

typedef enum { PLAIN, EXPONENTIALS, SQUARES, PLACE } pattern;

typedef struct {
    choice c;
    pattern what;
    int base;        /* the old reduction (max or sum of u) that goes first */
    int u, level;    /* old nodes: u, and c before it was broadcast */
    int32_t partial; /* new: what each piece gives */
    int32_t known;   /* new, of a pattern: m_b or a_b */
    int32_t count;   /* new, SQUARES: n_b broadcast to the partial's shape */
    int nan;         /* old, PLACE: what is true of NaN, -1: nothing */
    bool is_base;    /* of a PLACE */
    int first, next; /* of a base: its patterns, a list of old nodes; -1 ends it */
} plan;

typedef struct {
    fr__trace *t;
    const fr__tnode *old;
    plan *plans; /* of each old node */
    int32_t *to; /* old -> new */
    int *first;  /* of each old node: the axis that goes before the others, or -1 */
} state;

/* b as it was before it was broadcast over the reduced axes alone; -1: it was not. */
static int row_constant(const state *s, int b, const fr__tnode *r, const fr__tnode *u)
{
    const fr__tnode *n = &s->old[b];
    if (n->op != FR__OP_BROADCAST || n->ndim != u->ndim)
        return -1;
    const fr__tnode *x = &s->old[n->in[0]];
    if (x->ndim != u->ndim)
        return -1;
    for (int d = 0; d < u->ndim; d++)
        if (x->shape[d] != (r->par[0] >> d & 1 ? 1 : u->shape[d]))
            return -1;
    return n->in[0];
}

/* The reduction of this kind, over u and the same axes, that node `from` depends on; -1: none. */
static int depends_on(const state *s, int from, int op, int u, const fr__tnode *r)
{
    int stack[LOOK], n = 1, looked = 0;
    stack[0] = from;
    while (n && looked++ < LOOK) {
        int i = stack[--n];
        const fr__tnode *x = &s->old[i];
        if (x->op == op && x->npar == 1 && x->in[0] == u && x->par[0] == r->par[0] &&
            s->plans[i].c.axis >= 0)
            return i;
        if (fr__ops[x->op].class == FR__REDUCE)
            continue;
        for (int j = 0; j < x->nin && n < LOOK; j++)
            stack[n++] = x->in[j];
    }
    return -1;
}

/* Rows of a piece that is gone over twice: all pieces alike, if that can be. */
static int64_t held_piece(int64_t rows)
{
    for (int64_t n = GPU_PIECE; n > GPU_PIECE / 2; n--)
        if (rows % n == 0)
            return n;
    return GPU_PIECE;
}

/* min(where(u = the largest of u, or NaN, v, n)); base and level are found. */
static void recognise_place(const state *s, plan *p, const fr__tnode *r)
{
    const fr__tnode *e = &s->old[r->in[0]];
    if (e->op != FR__OP_where || s->old[e->in[2]].op != FR__OP_NUMBER ||
        (s->t->place && !p->c.row))
        return;
    const fr__tnode *hit = &s->old[e->in[0]], *same = hit;
    int nan = -1;
    if (hit->op == FR__OP_logical_or) {
        same = &s->old[hit->in[0]];
        nan = hit->in[1];
    }
    if (same->op != FR__OP_eq || s->old[same->in[0]].op == FR__OP_NUMBER)
        return;
    int u = same->in[0], level = row_constant(s, same->in[1], r, &s->old[u]), base = level;
    if (level < 0 || s->old[u].dtype == FR_FLOAT16 || s->old[u].dtype == FR_BFLOAT16 ||
        s->old[u].dtype == FR_BOOL ||
        (nan >= 0 && (s->old[nan].op != FR__OP_isnan || s->old[nan].in[0] != u)))
        return;
    while (s->old[base].op == FR__OP_RESHAPE)
        base = s->old[base].in[0];
    const fr__tnode *b = &s->old[base];
    if ((b->op != FR__OP_REDUCE_max && b->op != FR__OP_REDUCE_min) || b->npar != 1 ||
        b->in[0] != u || b->par[0] != r->par[0] || s->plans[base].c.axis != p->c.axis ||
        s->plans[base].c.block != p->c.block)
        return;
    s->plans[base].is_base = true;
    p->what = PLACE;
    p->base = base;
    p->u = u;
    p->level = level;
    p->nan = nan;
}

static void recognise(state *s, plan *p, const fr__tnode *r)
{
    if (r->op == FR__OP_REDUCE_min)
        recognise_place(s, p, r);
    const fr__tnode *e = &s->old[r->in[0]];
    bool on_columns = s->t->place && !p->c.row; /* of a GPU */
    if (r->op != FR__OP_REDUCE_sum || r->dtype != FR_FLOAT32)
        return;
    bool exponentials = e->op == FR__OP_exp;
    bool squares = e->op == FR__OP_square || (e->op == FR__OP_mul && e->in[0] == e->in[1]);
    const fr__tnode *d = exponentials || squares ? &s->old[e->in[0]] : NULL;
    if (!d || d->op != FR__OP_sub || s->old[d->in[0]].op == FR__OP_NUMBER)
        return;
    int level = row_constant(s, d->in[1], r, &s->old[d->in[0]]);
    int base = level < 0
                   ? -1
                   : depends_on(s, level, exponentials ? FR__OP_REDUCE_max : FR__OP_REDUCE_sum,
                                d->in[0], r);
    if (base < 0 || s->plans[base].c.axis != p->c.axis ||
        (!on_columns && s->plans[base].c.block != p->c.block))
        return;
    if (on_columns)
        p->c.block = s->plans[base].c.block = held_piece(s->old[d->in[0]].shape[p->c.axis]);
    p->what = exponentials ? EXPONENTIALS : SQUARES;
    p->base = base;
    p->u = d->in[0];
    p->level = level;
    p->next = s->plans[base].first;
    s->plans[base].first = (int)(p - s->plans);
}

/* ---- new nodes ---------------------------------------------------------------------- */

/* All take new nodes and give a new one; -1 anywhere gives -1. */
static int make(state *s, int op, int dtype, const fr__tnode like, int a, int b)
{
    int32_t in[2] = {a, b};
    if (a == -1 || b == -1)
        return -1;
    return fr__trace_add(s->t, op, dtype, like.ndim, like.shape, b == -2 ? 1 : 2, in, 0, NULL);
}

static fr__tnode at(const state *s, int i) { return s->t->nodes.at[i]; }
static int unary(state *s, int op, int a)
{
    return a < 0 ? -1 : make(s, op, at(s, a).dtype, at(s, a), a, -2);
}
static int binary(state *s, int op, int a, int b)
{
    return a < 0 || b < 0
               ? -1
               : make(s, op, at(s, a).dtype, at(s, at(s, a).op == FR__OP_NUMBER ? b : a), a, b);
}

static int number(state *s, int dtype, double v)
{
    int64_t bits = (int64_t)(fr__is_float(dtype) ? 0 : v);
    if (fr__is_float(dtype))
        memcpy(&bits, &v, sizeof bits);
    return fr__trace_add(s->t, FR__OP_NUMBER, dtype, 0, NULL, 0, NULL, 1, &bits);
}

static int shaped(state *s, int op, int a, int ndim, const int64_t *shape)
{
    int32_t in = a;
    return a < 0 ? -1 : fr__trace_add(s->t, op, at(s, a).dtype, ndim, shape, 1, &in, 0, NULL);
}

static int partial(state *s, int op, int input, int dtype, const fr__tnode *r,
                   const fr__tnode *x, choice c)
{
    int64_t shape[FR_MAX_NDIM + 1], par[3] = {r->par[0], c.axis, c.block};
    int32_t in = input;
    if (input < 0)
        return -1;
    shape[0] = (x->shape[c.axis] + c.block - 1) / c.block;
    memcpy(shape + 1, r->shape, sizeof(int64_t) * (size_t)r->ndim);
    return fr__trace_add(s->t, op, dtype, r->ndim + 1, shape, 1, &in, 3, par);
}

/* The reduction over the pieces, in the reduction's own dtype; sums of float32, which may be of many
 * pieces, in float64. */
static int over_pieces(state *s, int op, int input, const fr__tnode *r)
{
    int64_t first = 1;
    if (input >= 0 && op == FR__OP_REDUCE_sum && at(s, input).dtype == FR_FLOAT32)
        input = make(s, FR__OP_CAST, FR_FLOAT64, at(s, input), input, -2);
    int32_t in = input;
    int y = input < 0 ? -1
                      : fr__trace_add(s->t, op, at(s, input).dtype, r->ndim, r->shape, 1, &in,
                                      1, &first);
    if (y < 0 || at(s, y).dtype == r->dtype)
        return y;
    in = y;
    return fr__trace_add(s->t, FR__OP_CAST, r->dtype, r->ndim, r->shape, 1, &in, 0, NULL);
}

/* Elements in each piece, as float32 of shape [pieces, 1 ...] broadcast to the partial's; or, of columns
 * in pieces that are alike, a number. */
static int piece_counts(state *s, const fr__tnode *r, const fr__tnode *x, const plan *p)
{
    if (s->t->place && !p->c.row && x->shape[p->c.axis] % p->c.block == 0)
        return number(s, FR_FLOAT32, (double)p->c.block);
    fr__tnode like = at(s, s->plans[p->base].partial);
    int64_t n = like.shape[0], column[FR_MAX_NDIM + 1];
    double rest = 1;
    for (int d = 0; d < x->ndim; d++)
        rest *= r->par[0] >> d & 1 && d != p->c.axis ? (double)x->shape[d] : 1;
    for (int d = 0; d < like.ndim; d++)
        column[d] = d ? 1 : n;
    int i = fr__trace_add(s->t, FR__OP_IOTA, FR_INT64, 1, &n, 0, NULL, 0, NULL);
    int begin = binary(s, FR__OP_mul, i, number(s, FR_INT64, (double)p->c.block));
    int left = binary(s, FR__OP_sub, number(s, FR_INT64, (double)x->shape[p->c.axis]), begin);
    int size = binary(s, FR__OP_minimum, left, number(s, FR_INT64, (double)p->c.block));
    int whole = binary(s, FR__OP_mul, size, number(s, FR_INT64, rest));
    int count = whole < 0 ? -1 : make(s, FR__OP_CAST, FR_FLOAT32, at(s, whole), whole, -2);
    return shaped(s, FR__OP_BROADCAST, shaped(s, FR__OP_RESHAPE, count, like.ndim, column),
                  like.ndim, like.shape);
}

/* First step of a pattern, beside its base's: the piece is read once for both. */
static int pattern_partial(state *s, const fr__tnode *r, plan *p)
{
    const fr__tnode *u = &s->old[p->u];
    int base = s->plans[p->base].partial, nu = s->to[p->u];
    if (p->what == EXPONENTIALS) { /* where a piece is all -inf, its largest would make NaN */
        int finite =
            binary(s, FR__OP_lt, unary(s, FR__OP_abs, base), number(s, FR_FLOAT32, INFINITY));
        if (finite >= 0)
            s->t->nodes.at[finite].dtype = FR_BOOL;
        int32_t in[3] = {finite, base, number(s, FR_FLOAT32, 0)};
        fr__tnode like = at(s, base);
        p->known = finite < 0 || in[2] < 0
                       ? -1
                       : fr__trace_add(s->t, FR__OP_where, FR_FLOAT32, like.ndim, like.shape, 3,
                                       in, 0, NULL);
    } else {
        p->count = piece_counts(s, r, u, p);
        p->known = binary(s, FR__OP_div, base, p->count);
    }
    int below = shaped(s, FR__OP_PIECES, p->known, u->ndim, u->shape);
    int d = binary(s, FR__OP_sub, nu, below);
    int e = p->what == EXPONENTIALS ? unary(s, FR__OP_exp, d) : binary(s, FR__OP_mul, d, d);
    p->partial = partial(s, FR__OP_REDUCE_sum, e, FR_FLOAT32, r, u, p->c);
    return p->partial;
}

static int truth(state *s, int op, int a, int b)
{
    return a < 0 || b == -1 ? -1 : make(s, op, FR_BOOL, at(s, a), a, b);
}

static int chosen(state *s, int hit, int dtype, int yes, int no)
{
    if (hit < 0 || yes < 0 || no < 0)
        return -1;
    int32_t in[3] = {hit, yes, no};
    fr__tnode like = at(s, hit);
    return fr__trace_add(s->t, FR__OP_where, dtype, like.ndim, like.shape, 3, in, 0, NULL);
}

/* Both steps of a place: where each piece has its largest; of the pieces that have the largest of all,
 * the first one's. */
static int place_of_largest(state *s, const fr__tnode *r, plan *p)
{
    const fr__tnode *u = &s->old[p->u], *e = &s->old[r->in[0]];
    int base = s->plans[p->base].partial, nu = s->to[p->u], none = s->to[e->in[2]];
    int below = shaped(s, FR__OP_PIECES, base, u->ndim, u->shape);
    int hit = truth(s, FR__OP_eq, nu, below);
    if (p->nan >= 0)
        hit = truth(s, FR__OP_logical_or, hit, s->to[p->nan]);
    int value = chosen(s, hit, r->dtype, s->to[e->in[1]], none);
    p->partial = partial(s, FR__OP_REDUCE_min, value, r->dtype, r, u, p->c);
    if (p->partial < 0)
        return -1;
    fr__tnode like = at(s, p->partial);
    int all = shaped(s, FR__OP_BROADCAST,
                     shaped(s, FR__OP_RESHAPE, s->to[p->level], r->ndim, r->shape), like.ndim,
                     like.shape);
    hit = truth(s, FR__OP_eq, base, all);
    if (p->nan >= 0)
        hit = truth(s, FR__OP_logical_or, hit, truth(s, FR__OP_isnan, base, -2));
    return over_pieces(s, FR__OP_REDUCE_min, chosen(s, hit, r->dtype, p->partial, none), r);
}

/* Second step of a pattern: c is known now. */
static int pattern_combine(state *s, const fr__tnode *r, const plan *p)
{
    fr__tnode like = at(s, p->partial);
    int c = shaped(s, FR__OP_BROADCAST,
                   shaped(s, FR__OP_RESHAPE, s->to[p->level], r->ndim, r->shape), like.ndim,
                   like.shape);
    int d = binary(s, FR__OP_sub, p->known, c), term;
    if (p->what == EXPONENTIALS) { /* a piece of nothing but -inf adds nothing, whatever c is */
        int nothing =
            binary(s, FR__OP_eq, s->plans[p->base].partial, number(s, FR_FLOAT32, -INFINITY));
        if (nothing >= 0)
            s->t->nodes.at[nothing].dtype = FR_BOOL;
        int product = binary(s, FR__OP_mul, p->partial, unary(s, FR__OP_exp, d));
        int32_t in[3] = {nothing, number(s, FR_FLOAT32, 0), product};
        term = nothing < 0 || product < 0 || in[1] < 0
                   ? -1
                   : fr__trace_add(s->t, FR__OP_where, FR_FLOAT32, like.ndim, like.shape, 3, in,
                                   0, NULL);
    } else {
        term = binary(s, FR__OP_add, p->partial,
                      binary(s, FR__OP_mul, p->count, binary(s, FR__OP_mul, d, d)));
    }
    return over_pieces(s, FR__OP_REDUCE_sum, term, r);
}

/* One axis, then the others. */
static int axis_first(state *s, int i, int axis)
{
    const fr__tnode *r = &s->old[i], *x = &s->old[r->in[0]];
    int64_t shape[FR_MAX_NDIM], alone = (int64_t)1 << axis, others = r->par[0] & ~alone;
    bool half = r->dtype == FR_FLOAT16 || r->dtype == FR_BFLOAT16;
    int dtype = half ? FR_FLOAT32 : r->dtype;
    int32_t in = s->to[r->in[0]];
    memcpy(shape, x->shape, sizeof *shape * x->ndim);
    shape[axis] = 1;
    in = fr__trace_add(s->t, r->op, dtype, x->ndim, shape, 1, &in, 1, &alone);
    in = in < 0 ? -1 : fr__trace_add(s->t, r->op, dtype, r->ndim, r->shape, 1, &in, 1, &others);
    return in < 0 || !half
               ? in
               : fr__trace_add(s->t, FR__OP_CAST, r->dtype, r->ndim, r->shape, 1, &in, 0, NULL);
}

/* Of several reduced axes the innermost that make a run of memory; 0 if these are all. */
static int64_t innermost_run(const fr__tnode *r, const fr__tnode *x)
{
    int64_t mask = 0, run = 1, red = 1;
    for (int d = 0; d < x->ndim; d++)
        red *= r->par[0] >> d & 1 ? x->shape[d] : 1;
    for (int d = x->ndim - 1; d >= 0 && run < ROWS_FIRST; d--) {
        if (x->shape[d] > 1 && !(r->par[0] >> d & 1))
            break;
        mask |= r->par[0] & (int64_t)1 << d;
        run *= x->shape[d];
    }
    return run >= ROWS_FIRST && run < red ? mask : 0;
}

/* Rows first, which lie in memory as they are read; then what they gave. -1: no memory. */
static int rows_first(state *s, const fr__tnode *r, const fr__tnode *x, int32_t in,
                      int64_t rows)
{
    bool half = r->dtype == FR_FLOAT16 || r->dtype == FR_BFLOAT16;
    int64_t shape[FR_MAX_NDIM], others = r->par[0] & ~rows;
    fr__tnode first = *r;
    for (int d = 0; d < x->ndim; d++)
        shape[d] = rows >> d & 1 ? 1 : x->shape[d];
    first.dtype = half ? FR_FLOAT32 : r->dtype;
    first.ndim = x->ndim;
    first.shape = shape;
    first.par = &rows;
    choice c = choose(&first, x);
    int y =
        c.axis >= 0
            ? over_pieces(s, r->op, partial(s, r->op, in, first.dtype, &first, x, c), &first)
            : fr__trace_add(s->t, r->op, first.dtype, x->ndim, shape, 1, &in, 1, &rows);
    if (y >= 0 && r->op == FR__OP_REDUCE_sum && first.dtype == FR_FLOAT32)
        y = make(s, FR__OP_CAST, FR_FLOAT64, at(s, y), y, -2);
    in = y;
    y = y < 0
            ? -1
            : fr__trace_add(s->t, r->op, at(s, y).dtype, r->ndim, r->shape, 1, &in, 1, &others);
    if (y < 0 || at(s, y).dtype == r->dtype)
        return y;
    in = y;
    return fr__trace_add(s->t, FR__OP_CAST, r->dtype, r->ndim, r->shape, 1, &in, 0, NULL);
}

/* The same of all that x has, where its rows are the pieces. */
static int whole_by_rows(state *s, const fr__tnode *r, const fr__tnode *x, int dtype, int axis)
{
    int64_t shape[FR_MAX_NDIM + 1], others = r->par[0] & ~((int64_t)1 << axis);
    int32_t in = s->to[r->in[0]];
    for (int d = 0; d < x->ndim; d++)
        shape[d] = r->par[0] >> d & 1 && d != axis ? 1 : x->shape[d];
    in = fr__trace_add(s->t, r->op, dtype, x->ndim, shape, 1, &in, 1, &others);
    shape[0] = x->shape[axis];
    memcpy(shape + 1, r->shape, sizeof *shape * r->ndim);
    return shaped(s, FR__OP_RESHAPE, in, r->ndim + 1, shape);
}

static int split_one(state *s, int i)
{
    const fr__tnode *r = &s->old[i], *x = &s->old[r->in[0]];
    plan *p = &s->plans[i];
    if (p->what == PLACE)
        return place_of_largest(s, r, p);
    if (p->what != PLAIN)
        return pattern_combine(s, r, p);
    int64_t rows =
        p->c.row && !s->t->place && p->first < 0 && !p->is_base ? innermost_run(r, x) : 0;
    if (rows)
        return rows_first(s, r, x, s->to[r->in[0]], rows);
    bool half = r->dtype == FR_FLOAT16 || r->dtype == FR_BFLOAT16;
    int dtype = half ? FR_FLOAT32 : r->dtype;
    bool by_rows =
        s->t->place && p->c.block == 1 && r->size == 1 && p->first < 0 && !p->is_base;
    p->partial = by_rows ? whole_by_rows(s, r, x, dtype, p->c.axis)
                         : partial(s, r->op, s->to[r->in[0]], dtype, r, x, p->c);
    for (int j = p->first; p->partial >= 0 && j >= 0;
         j = s->plans[j].next) /* while it is in cache */
        if (pattern_partial(s, &s->old[j], &s->plans[j]) < 0)
            return -1;
    return over_pieces(s, r->op, p->partial, r);
}

static int split_once(fr__trace *t, bool again, bool *any)
{
    fr__tnode *old = t->nodes.at;
    int n = t->nodes.n, status = -1;
    state s = {.t = t, .old = old};
    s.plans = fr__calloc((size_t)n + 1, sizeof *s.plans);
    s.to = fr__malloc(sizeof *s.to * (size_t)(n + 1));
    s.first = fr__malloc(sizeof *s.first * (size_t)(n + 1));
    if (!s.plans || !s.to || !s.first)
        goto unchanged;
    for (int i = 0; i < n; i++) {
        s.plans[i] =
            (plan){.c = {-1, 0, false}, .what = PLAIN, .base = -1, .first = -1, .next = -1};
        s.first[i] = -1;
        bool whole = fr__ops[old[i].op].class == FR__REDUCE && old[i].npar == 1;
        const fr__tnode *x = &old[old[i].in[0]];
        if (whole && old[i].ndim < FR_MAX_NDIM && !again)
            s.plans[i].c = choose(&old[i], x);
        if (whole && old[i].ndim < FR_MAX_NDIM && t->place && !s.plans[i].c.row)
            s.plans[i].c = choose_on_gpu(&old[i], x, &s.first[i]);
        *any |= s.plans[i].c.axis >= 0 || s.first[i] >= 0;
        if (s.plans[i].c.axis >= 0 && fr__fusion_on())
            recognise(&s, &s.plans[i], &old[i]);
    }
    status = 0;
    if (!*any)
        goto unchanged;
    t->nodes.at = NULL;
    t->nodes.n = t->nodes.room = 0;
    for (int i = 0; !status && i < n; i++) {
        fr__tnode node = old[i];
        for (int j = 0; j < node.nin; j++)
            node.in[j] = s.to[node.in[j]];
        if (fr__is_leaf(&node))
            t->leaves.at[node.slot].node = t->nodes.n;
        if (s.plans[i].c.axis >= 0)
            s.to[i] = split_one(&s, i);
        else if (s.first[i] >= 0)
            s.to[i] = axis_first(&s, i, s.first[i]);
        else
            s.to[i] = fr__vec_push(&t->nodes, node) ? -1 : t->nodes.n - 1;
        status = s.to[i] < 0 ? -1 : 0;
        if (!status)
            t->nodes.at[s.to[i]].flags |= node.flags;
    }
    for (int i = 0; !status && i < t->outs.n; i++)
        t->outs.at[i].node = s.to[t->outs.at[i].node];
    fr__free(old);
unchanged:
    fr__free(s.plans);
    fr__free(s.to);
    fr__free(s.first);
    return status;
}

int fr__split(fr__trace *t)
{
    enum { MOST = 8 }; /* a column of 2^40 elements is cut five times */
    bool any = true;
    int status = 0;
    for (int k = 0; !status && any && k < (t->place ? MOST : 1); k++) {
        any = false;
        status = split_once(t, k > 0, &any);
    }
    return status;
}
