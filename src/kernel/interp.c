/* interp.c - runs kernels without generating code
 *
 *   kernel -> [plan] -> steps -> fr__interp: a step at a time, many lanes a step
 *
 * needs   a checked kernel; the inner loops of interp_loops.h
 * gives   the results that kernel.h defines, bit for bit
 *
 * The plan is made once a kernel: for every instruction the inner loop to call and where its
 * operands lie in `space`. Values that differ between lanes have a slot of `block` lanes (64 to
 * 256), reused when they are dead; a vector loop runs a block at a time. That is as good as
 * FR__LANES * unroll at a time, since lanes are independent and block is a multiple of it: only
 * accumulators across lanes see the difference, and `upd` folds a block in the right order.
 * A uniform value that lanes need is spread over a slot where it is made.
 */
#include "kernel/interp.h"

#include <stdatomic.h>

typedef enum step_kind {
    DO_CALL,   /* d = loop(a, b, c) */
    DO_SPREAD, /* lane 0 of d to the others */
    DO_CONST,  /* imm to d */
    DO_PARAM,
    DO_AXIS,
    DO_LOOKUP, /* imm: the table */
    DO_LOAD,
    DO_STORE,
    DO_UPD,      /* acc d, value a; imm: lanes of the acc, 0 for the lanes at hand */
    DO_RED_WIDE, /* acc a combined into d; imm: its vectors */
    DO_COPY,     /* imm: bytes a lane */
    DO_LOOP,     /* imm: the axis; other: the step after its end */
    DO_END,      /* imm: the axis; other: the first step of its body */
    DO_RETURN,
} step_kind;

typedef struct step {
    uint8_t kind, type;
    uint8_t lanes;            /* 1: for the lanes at hand; 0: once */
    uint8_t b_lanes, c_lanes; /* of loads and stores: operands b, c are a value a lane */
    int32_t d, a, b, c;       /* byte offsets in space, -1: none */
    int32_t other;
    int64_t imm;
    union {
        fr__loop *loop;
        fr__upd *upd;
        fr__fill *fill;
        fr__transfer *transfer;
    } run;
} step;

typedef struct plan {
    size_t space;
    int64_t block; /* lanes of a slot */
    const fr__interp_loops *loops;
    int root, nouter;
    uint8_t outer[FR__KMAXAXES];
    step steps[];
} plan;

enum { MAX_BLOCK = 256, MIN_BLOCK = 64, CACHE = 32 << 10 };

/* ---- planning ----------------------------------------------------------------------- */

enum { SLOT1, SLOT4, SLOT8, CELL, NCLASS }; /* slots by element size; cells are never reused */

typedef struct planner {
    const fr__kernel *k;
    const fr__interp_loops *loops;
    bool fused;
    uint8_t *varying, *spread, *class; /* of each instruction */
    int32_t *last;                     /* the last instruction that may need its value */
    int32_t *place;                    /* number of the slot, or byte offset of the cell */
    int32_t *dies;                     /* chain of the values whose `last` is here: head ... */
    int32_t *next;                     /* ... and next; -1 ends */
    int32_t *free_next[3], free_head[3]; /* chains of free slots, by class */
    int32_t nslot[3];
    int32_t cells; /* bytes */
} planner;

static int slot_class(int type)
{
    return fr__ktype_size[type] == 1 ? SLOT1 : fr__ktype_size[type] == 4 ? SLOT4 : SLOT8;
}

/* Which values differ between lanes, which uniform ones lanes ask for, and how long each lives:
 * to its last use, or to the end of the outermost loop that has that use and not the value. */
static void look(planner *p)
{
    const fr__kernel *k = p->k;
    int open[FR__KMAXAXES + 1], depth = 0, vaxis = -1;

    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        const int32_t operand[3] = {ins->a, ins->b, ins->c};
        bool transfer = ins->op == FR__K_LOAD || ins->op == FR__K_STORE;

        p->varying[i] = p->spread[i] = 0;
        p->last[i] = i;
        if (ins->op == FR__K_LOOP) {
            int bind = k->axis[ins->imm].bind;
            if (bind == FR__BIND_VEC || bind == FR__BIND_PARVEC)
                vaxis = (int)ins->imm;
            open[depth++] = i;
            continue;
        }
        if (ins->op == FR__K_END) { /* `next` holds outermost loops to patch with their end */
            if (ins->imm == vaxis)
                vaxis = -1;
            p->next[open[--depth]] = i;
            continue;
        }
        p->varying[i] = fr__kins_varying(k, i, vaxis, p->varying);
        for (int o = 0; o < 3; o++) {
            int from = operand[o], use = i;
            if (from < 0)
                continue;
            for (int d = 0; d < depth; d++)
                if (open[d] > from) {
                    use = -open[d] - 1; /* the loop's end, not known yet */
                    break;
                }
            /* A later use is later still when it is a loop's end, so the newest one counts. */
            p->last[from] = use;
            if (p->varying[i] && !p->varying[from] && (!transfer || o == 0) &&
                k->ins[from].op != FR__K_ACC)
                p->spread[from] = 1;
        }
    }
    for (int i = 0; i < k->nins; i++)
        if (p->last[i] < 0)
            p->last[i] = p->next[-p->last[i] - 1];
}

/* Vectors of the loop that updates this acc from outside of which it stands; 0 if none does. */
static int acc_vectors(const planner *p, int acc)
{
    const fr__kernel *k = p->k;
    int vaxis = -1;

    if (p->varying[acc])
        return 0;
    for (int i = acc + 1; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        if (ins->op == FR__K_LOOP && (k->axis[ins->imm].bind == FR__BIND_VEC ||
                                      k->axis[ins->imm].bind == FR__BIND_PARVEC))
            vaxis = (int)ins->imm;
        else if (ins->op == FR__K_END && ins->imm == vaxis)
            vaxis = -1;
        else if (ins->op == FR__K_UPD && ins->a == acc)
            return vaxis < 0 ? 0 : k->axis[vaxis].unroll;
    }
    return 0;
}

static int cell(planner *p, int lanes, int size)
{
    int at = p->cells;

    p->cells += (lanes * size + 63) / 64 * 64;
    return at;
}

static void give_places(planner *p)
{
    const fr__kernel *k = p->k;

    for (int i = 0; i < k->nins; i++)
        p->dies[i] = -1;
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        bool none = ins->type >= FR__KNONE || ins->op == FR__K_STORE;
        int class = none ? CELL : slot_class(ins->type), vectors;

        p->place[i] = -1;
        p->class[i] = CELL;
        if (!none && (p->varying[i] || p->spread[i])) {
            p->class[i] = (uint8_t) class;
            p->place[i] = p->free_head[class];
            if (p->place[i] >= 0)
                p->free_head[class] = p->free_next[class][p->place[i]];
            else
                p->place[i] = p->nslot[class]++;
            p->next[i] = p->dies[p->last[i]];
            p->dies[p->last[i]] = i;
        } else if (!none) {
            vectors = ins->op == FR__K_ACC ? acc_vectors(p, i) : 0;
            p->place[i] =
                cell(p, vectors ? vectors * FR__LANES : FR__LANES, fr__ktype_size[ins->type]);
        }
        /* After the result has its place: a result is never one of its operands. */
        for (int dead = p->dies[i]; dead >= 0; dead = p->next[dead]) {
            class = p->class[dead];
            p->free_next[class][p->place[dead]] = p->free_head[class];
            p->free_head[class] = p->place[dead];
        }
    }
}

typedef struct layout {
    int64_t block;
    size_t start[NCLASS], stride[NCLASS], bytes;
} layout;

static layout lay_out(const planner *p)
{
    static const int size[3] = {1, 4, 8};
    layout l = {.block = MAX_BLOCK, .bytes = (size_t)p->cells};
    int64_t lane = p->nslot[SLOT1] + 4 * p->nslot[SLOT4] + 8 * p->nslot[SLOT8];

    while (l.block > MIN_BLOCK && lane * l.block > CACHE)
        l.block /= 2;
    l.stride[CELL] = 1;
    for (int c = 0; c < 3; c++) {
        l.start[c] = l.bytes;
        l.stride[c] = (size_t)(l.block * size[c] + 64); /* 64: not all on the same cache sets */
        l.bytes += l.stride[c] * (size_t)p->nslot[c];
    }
    return l;
}

static int32_t offset_of(const planner *p, const layout *l, int i)
{
    return i < 0 ? -1
                 : (int32_t)(l->start[p->class[i]] +
                             l->stride[p->class[i]] * (size_t)p->place[i]);
}

static fr__loop *loop_for(const planner *p, const fr__kins *ins)
{
    const fr__kins *all = p->k->ins;

    switch (ins->op) {
    case FR__K_CVT: return p->loops->cvt[all[ins->a].type][ins->type];
    case FR__K_ROUND: return p->loops->round[ins->imm == FR_BFLOAT16];
    case FR__K_FMA:
        return p->fused ? p->loops->fma[ins->type == FR__KF64]
                        : p->loops->op[ins->op][ins->type];
    case FR__K_LT:
    case FR__K_LE:
    case FR__K_EQ:
    case FR__K_NE: return p->loops->op[ins->op][all[ins->a].type];
    default: return p->loops->op[ins->op][ins->type];
    }
}

/* The step of instruction i. */
static step make_step(const planner *p, const layout *l, int i)
{
    const fr__kins *ins = &p->k->ins[i];
    int size = fr__ktype_size[ins->type];
    step s = {.kind = DO_CALL,
              .type = ins->type,
              .lanes = p->varying[i],
              .d = p->place[i] < 0 ? -1 : offset_of(p, l, i),
              .a = offset_of(p, l, ins->a),
              .b = offset_of(p, l, ins->b),
              .c = offset_of(p, l, ins->c),
              .imm = ins->imm};

    switch (ins->op) {
    case FR__K_CONST:
        s.kind = DO_CONST;
        s.imm = ins->type == FR__KB1 ? ins->imm & 1 : ins->imm;
        s.lanes = p->spread[i];
        s.run.fill = p->loops->fill[size];
        break;
    case FR__K_PARAM:
        s.kind = DO_PARAM;
        s.lanes = p->spread[i];
        s.run.fill = p->loops->fill[size];
        break;
    case FR__K_AXIS:
        s.kind = DO_AXIS;
        s.run.loop = p->loops->iota;
        break;
    case FR__K_LOOKUP:
        s.kind = DO_LOOKUP;
        s.run.loop = p->loops->lookup;
        break;
    case FR__K_LOAD:
    case FR__K_STORE:
        s.kind = ins->op == FR__K_LOAD ? DO_LOAD : DO_STORE;
        s.b_lanes = ins->b >= 0 && p->varying[ins->b];
        s.c_lanes = ins->c >= 0 && p->varying[ins->c];
        s.run.transfer = (ins->op == FR__K_LOAD
                              ? p->loops->load
                              : p->loops->store)[p->k->bufs[p->k->access[ins->imm].buf].dtype];
        break;
    case FR__K_ACC: { /* a constant to all its lanes */
        int vectors = acc_vectors(p, i);
        s.kind = DO_CONST;
        s.imm = (int64_t)fr__kidentity_bits((int)ins->imm, ins->type);
        s.other = vectors * FR__LANES;
        s.run.fill = p->loops->fill[size];
        break;
    }
    case FR__K_UPD: {
        int vectors = acc_vectors(p, ins->a);
        s.kind = DO_UPD;
        s.d = s.a;
        s.a = s.b;
        s.imm = vectors * FR__LANES;
        s.run.upd = p->loops->upd[p->k->ins[ins->a].imm][p->k->ins[ins->a].type];
        break;
    }
    case FR__K_RED: {
        int vectors = acc_vectors(p, ins->a);
        s.kind = vectors ? DO_RED_WIDE : DO_COPY;
        s.imm = vectors ? vectors : size;
        s.run.loop = p->loops->op[p->k->ins[ins->a].imm][ins->type];
        break;
    }
    case FR__K_LOOP: s.kind = DO_LOOP; break;
    case FR__K_END: s.kind = DO_END; break;
    default: s.run.loop = loop_for(p, ins);
    }
    return s;
}

static void make_steps(const planner *p, const layout *l, plan *to)
{
    int open[FR__KMAXAXES + 1], depth = 0, n = 0;

    for (int i = 0; i < p->k->nins; i++) {
        step s = make_step(p, l, i);
        if (s.kind == DO_LOOP) {
            open[depth++] = n;
        } else if (s.kind == DO_END) {
            s.other = open[--depth] + 1;
            to->steps[open[depth]].other = n + 1;
        }
        to->steps[n++] = s;
        if (p->spread[i] && s.kind != DO_CONST && s.kind != DO_PARAM)
            to->steps[n++] = (step){.kind = DO_SPREAD,
                                    .d = s.d,
                                    .imm = fr__ktype_size[s.type],
                                    .run.fill = p->loops->fill[fr__ktype_size[s.type]]};
    }
    to->steps[n] = (step){.kind = DO_RETURN};
}

void *fr__interp_plan(const fr__kernel *k, const fr__interp_loops *loops, bool fused)
{
    planner p = {.k = k, .loops = loops, .fused = fused, .free_head = {-1, -1, -1}};
    size_t n = (size_t)k->nins;
    int32_t *room = fr__malloc(n * (7 * sizeof *room + 3));
    plan *made = NULL;
    layout l;

    if (!room)
        return NULL;
    p.last = room;
    p.place = room + n;
    p.dies = room + 2 * n;
    p.next = room + 3 * n;
    for (int c = 0; c < 3; c++)
        p.free_next[c] = room + (4 + (size_t)c) * n;
    p.varying = (uint8_t *)(room + 7 * n);
    p.spread = p.varying + n;
    p.class = p.spread + n;
    look(&p);
    give_places(&p);
    l = lay_out(&p);
    if (l.bytes > INT32_MAX)
        fr__fail(FR__E_LIMIT, "kernel of %d instructions: too large to interpret", k->nins);
    else
        made = fr__malloc(sizeof *made + (2 * n + 1) * sizeof *made->steps);
    if (made) {
        *made = (plan){.space = l.bytes + 64, .block = l.block, .loops = loops};
        for (int x = 0; x < k->naxis; x++) {
            if (k->axis[x].bind == FR__BIND_OUTER)
                made->outer[made->nouter++] = (uint8_t)x;
            if (k->axis[x].bind == FR__BIND_PAR || k->axis[x].bind == FR__BIND_PARVEC)
                made->root = x;
        }
        make_steps(&p, &l, made);
    }
    fr__free(room);
    return made;
}

size_t fr__interp_space(const fr__kernel *k)
{
    plan *have = atomic_load_explicit(&k->plan, memory_order_acquire);

    if (!have) {
        const fr__interp_loops *loops = &fr__interp_base;
        void *none = NULL;
#if defined(__x86_64__)
        if (fr__host()->avx2 && fr__host()->fma && fr__host()->f16c)
            loops = &fr__interp_v3;
#endif
        have = fr__interp_plan(k, loops, fr__host()->fma);
        if (!have)
            return 0;
        /* The plan is not part of what a kernel is: the kernel stays const. */
        if (!atomic_compare_exchange_strong(&((fr__kernel *)k)->plan, &none, have)) {
            fr__free(have); /* another thread was first */
            have = none;
        }
    }
    return have->space;
}

/* ---- memory ------------------------------------------------------------------------- */

typedef struct frame {
    const fr__kernel *k;
    const plan *plan;
    const uint64_t *w;
    char *scratch, *space;
    int64_t n; /* lanes at hand; outside vector loops, the most that one will have */
    int64_t index[FR__KMAXAXES], end[FR__KMAXAXES];
} frame;

/* Elements at base + (i * stride + at[i]) * size, where the mask (if any) is true; 0 elsewhere. */
#define GATHER(name, T)                                                                        \
    static void name(void *to, const char *base, int64_t stride, const int64_t *at,            \
                     const uint8_t *mask, int64_t n)                                           \
    {                                                                                          \
        T *r = to;                                                                             \
        for (int64_t i = 0; i < n; i++) {                                                      \
            T v = 0;                                                                           \
            if (!mask || mask[i])                                                              \
                memcpy(&v, base + (i * stride + (at ? at[i] : 0)) * (int64_t)sizeof v,         \
                       sizeof v);                                                              \
            r[i] = v;                                                                          \
        }                                                                                      \
    }
#define SCATTER(name, T)                                                                       \
    static void name(const void *from, char *base, int64_t stride, const int64_t *at,          \
                     const uint8_t *mask, int64_t n)                                           \
    {                                                                                          \
        const T *v = from;                                                                     \
        for (int64_t i = 0; i < n; i++)                                                        \
            if (!mask || mask[i])                                                              \
                memcpy(base + (i * stride + (at ? at[i] : 0)) * (int64_t)sizeof *v, &v[i],     \
                       sizeof *v);                                                             \
    }
GATHER(gather_1, uint8_t)
GATHER(gather_2, uint16_t)
GATHER(gather_4, uint32_t)
GATHER(gather_8, uint64_t)
SCATTER(scatter_1, uint8_t)
SCATTER(scatter_2, uint16_t)
SCATTER(scatter_4, uint32_t)
SCATTER(scatter_8, uint64_t)

typedef struct place {
    char *base; /* lane 0's element, but for operand b where that differs between lanes */
    int64_t stride, size;
    bool direct; /* lanes lie one after the other */
    bool off;    /* a uniform mask is false */
    const int64_t *at;
    const uint8_t *mask;
} place;

static place find_place(const frame *f, const step *s)
{
    const fr__kaccess *x = &f->k->access[s->imm];
    const fr__kbuf *buf = &f->k->bufs[x->buf];
    place p = {.size = fr__dsize(buf->dtype)};
    int64_t at = 0;

    for (int t = 0; t < x->nterm; t++)
        at += f->index[x->term[t].axis] * (int64_t)f->w[x->term[t].word];
    if (x->vec != FR__VEC_NONE) {
        p.stride = x->vec == FR__VEC_UNIT ? 1 : (int64_t)f->w[x->vstride];
        at += f->index[x->vaxis] * p.stride;
    }
    if (s->b >= 0) {
        const int64_t *b = (const int64_t *)(f->space + s->b);
        if (s->b_lanes)
            p.at = b;
        else
            at += b[0];
    }
    if (s->c >= 0) {
        const uint8_t *c = (const uint8_t *)(f->space + s->c);
        if (!s->c_lanes)
            p.off = !c[0];
        else if (memchr(c, 0, (size_t)f->n))
            p.mask = c;
    }
    p.base = buf->role == FR__BUF_SCRATCH ? f->scratch + f->w[buf->word]
                                          : (char *)(uintptr_t)f->w[buf->word];
    p.base += at * p.size;
    p.direct = !s->lanes || (p.stride == 1 && !p.at && !p.mask);
    return p;
}

static void load(const frame *f, const step *s)
{
    _Alignas(64) uint16_t narrow[MAX_BLOCK];
    const place p = find_place(f, s);
    int64_t n = s->lanes ? f->n : 1;
    char *d = f->space + s->d;

    if (p.off) {
        f->plan->loops->fill[fr__ktype_size[s->type]](d, 0, n);
        return;
    }
    if (p.direct) {
        s->run.transfer(d, p.base, n);
        return;
    }
    switch (p.size) {
    case 1: gather_1(narrow, p.base, p.stride, p.at, p.mask, n); break;
    case 2: gather_2(narrow, p.base, p.stride, p.at, p.mask, n); break;
    case 4: gather_4(d, p.base, p.stride, p.at, p.mask, n); return;
    default: gather_8(d, p.base, p.stride, p.at, p.mask, n); return;
    }
    s->run.transfer(d, narrow, n);
}

static void store(const frame *f, const step *s)
{
    _Alignas(64) uint16_t narrow[MAX_BLOCK];
    const place p = find_place(f, s);
    int64_t n = s->lanes ? f->n : 1;
    const char *a = f->space + s->a;

    if (p.off)
        return;
    if (p.direct) {
        s->run.transfer(p.base, a, n);
        return;
    }
    if (p.size <= 2)
        s->run.transfer(narrow, a, n);
    switch (p.size) {
    case 1: scatter_1(narrow, p.base, p.stride, p.at, p.mask, n); break;
    case 2: scatter_2(narrow, p.base, p.stride, p.at, p.mask, n); break;
    case 4: scatter_4(a, p.base, p.stride, p.at, p.mask, n); break;
    default: scatter_8(a, p.base, p.stride, p.at, p.mask, n);
    }
}

/* ---- accumulators ------------------------------------------------------------------- */

/* to[0, n) = op(a[0, n), b[0, n)), wherever they lie. */
static void combine(fr__loop *op, char *to, const char *a, const char *b, size_t size,
                    int64_t n)
{
    _Alignas(64) char x[FR__LANES * 8], y[FR__LANES * 8], r[FR__LANES * 8];

    memcpy(x, a, (size_t)n * size);
    memcpy(y, b, (size_t)n * size);
    op(r, x, y, NULL, n);
    memcpy(to, r, (size_t)n * size);
}

static void reduce_lanes(fr__loop *op, char *d, const char *acc, int64_t vectors, size_t size)
{
    _Alignas(64) char all[FR__LANES * FR__KMAXUNROLL * 8];
    size_t vector = FR__LANES * size;

    memset(all, 0, sizeof all); /* `op` runs over lanes that don't count */
    memcpy(all, acc, (size_t)vectors * vector);
    for (; vectors > 1; vectors /= 2)
        for (int64_t v = 0; v < vectors / 2; v++)
            combine(op, all + (size_t)v * vector, all + (size_t)(2 * v) * vector,
                    all + (size_t)(2 * v + 1) * vector, size, FR__LANES);
    for (int64_t half = FR__LANES / 2; half >= 1; half /= 2)
        combine(op, all, all, all + (size_t)half * size, size, half);
    memcpy(d, all, size);
}

/* ---- running ------------------------------------------------------------------------ */

static int64_t most_lanes(const frame *f, int64_t begin, int64_t end)
{
    const fr__kernel *k = f->k;
    int64_t most = 1;

    for (int x = 0; x < k->naxis; x++) {
        if (k->axis[x].bind == FR__BIND_PARVEC)
            most = fr__max64(most, end - begin);
        else if (k->axis[x].bind == FR__BIND_VEC)
            most = fr__max64(most, (int64_t)f->w[k->axis[x].extent]);
    }
    return fr__min64(most, f->plan->block);
}

static void find_outer_indices(frame *f)
{
    for (int o = 0; o < f->plan->nouter; o++) {
        const fr__kaxis *axis = &f->k->axis[f->plan->outer[o]];
        int64_t by = (int64_t)f->w[axis->div], extent = (int64_t)f->w[axis->extent];
        f->index[f->plan->outer[o]] =
            by > 0 && extent > 0 ? f->index[f->plan->root] / by % extent : 0;
    }
}

static bool is_vector(const fr__kaxis *axis)
{
    return axis->bind == FR__BIND_PARVEC || axis->bind == FR__BIND_VEC;
}

/* Whether the loop is entered; its first index and lanes are set. */
static bool enter(frame *f, const step *s, int64_t begin, int64_t end)
{
    const fr__kaxis *axis = &f->k->axis[s->imm];
    int64_t from = 0, to;

    if (s->imm == f->plan->root) {
        from = begin;
        to = end;
    } else {
        to = (int64_t)f->w[axis->extent];
        if (axis->split >= 0) {
            int64_t block = (int64_t)f->w[axis->block];
            from = f->index[axis->split] * block;
            to = fr__min64(from + block, to);
        }
    }
    if (from >= to)
        return false;
    f->index[s->imm] = from;
    f->end[s->imm] = to;
    if (s->imm == f->plan->root)
        find_outer_indices(f);
    if (is_vector(axis))
        f->n = fr__min64(f->plan->block, to - from);
    return true;
}

/* Whether the loop goes round once more. `most`: lanes that hold after a vector loop. */
static bool again(frame *f, const step *s, int64_t most)
{
    int64_t *index = &f->index[s->imm];

    if (!is_vector(&f->k->axis[s->imm])) {
        if (++*index >= f->end[s->imm])
            return false;
        if (s->imm == f->plan->root)
            find_outer_indices(f);
        return true;
    }
    *index += f->n;
    if (*index >= f->end[s->imm]) {
        f->n = most;
        return false;
    }
    f->n = fr__min64(f->plan->block, f->end[s->imm] - *index);
    return true;
}

void fr__interp(const fr__kernel *k, const uint64_t *w, int64_t begin, int64_t end,
                char *scratch, void *space)
{
    const plan *p = atomic_load_explicit(&k->plan, memory_order_acquire);
    frame f = {.k = k, .plan = p, .w = w, .scratch = scratch, .space = space};
    char *const at = space;
    const step *s = p->steps;
    int64_t most;

    if (begin >= end)
        return;
    f.n = most = most_lanes(&f, begin, end);
    for (;; s++) {
        int64_t n = s->lanes ? f.n : 1;
        switch ((step_kind)s->kind) {
        case DO_CALL: s->run.loop(at + s->d, at + s->a, at + s->b, at + s->c, n); break;
        case DO_SPREAD: {
            uint64_t bits = 0;
            memcpy(&bits, at + s->d, (size_t)s->imm);
            s->run.fill(at + s->d, bits, f.n);
            break;
        }
        case DO_CONST: s->run.fill(at + s->d, (uint64_t)s->imm, s->other ? s->other : n); break;
        case DO_PARAM:
            s->run.fill(at + s->d, s->type == FR__KB1 ? w[s->imm] & 1 : w[s->imm], n);
            break;
        case DO_AXIS: s->run.loop(at + s->d, &f.index[s->imm], NULL, NULL, n); break;
        case DO_LOOKUP: s->run.loop(at + s->d, at + s->a, fr__ktables[s->imm], NULL, n); break;
        case DO_LOAD: load(&f, s); break;
        case DO_STORE: store(&f, s); break;
        case DO_UPD: s->run.upd(at + s->d, at + s->a, s->imm ? s->imm : n, n); break;
        case DO_RED_WIDE:
            reduce_lanes(s->run.loop, at + s->d, at + s->a, s->imm, fr__ktype_size[s->type]);
            break;
        case DO_COPY: memcpy(at + s->d, at + s->a, (size_t)(n * s->imm)); break;
        case DO_LOOP:
            if (!enter(&f, s, begin, end))
                s = &p->steps[s->other - 1];
            break;
        case DO_END:
            if (again(&f, s, most))
                s = &p->steps[s->other - 1];
            break;
        case DO_RETURN: return;
        }
    }
}
