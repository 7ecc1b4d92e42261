/* fuse.c - group the nodes of a trace into kernels
 *
 *   capture -> simplify -> layout -> split -> [fuse] -> merge -> lower -> plan -> program
 *
 * needs   a simplified trace
 * gives   groups in order of execution; every node in one group (with its place there, a map), or
 *         inlined, or dead; FR__T_STORE on what gets a buffer; what each output is a view of
 * breaks  nothing
 *
 * From the outputs back. A node asks for its inputs: "you are wanted in group g, addressed so". A
 * node joins the group that wants it; of several the one begun last, which then stores it for the
 * others; where it cannot be made there it is stored and begins a group of its own. So values go
 * from groups begun later to groups begun earlier only: the groups, turned round, are in order,
 * and can't wait for each other in a circle.
 *
 * A group's axes are kept or reduced. A reduction joins a group whose axes it fits: over some of
 * its axes (softmax: the consumer has the row's elements), or by adding axes (logsumexp: the
 * consumer has the rows only). Cost model: a value is recomputed rather than stored only if it is
 * trivial (a cast or one cheap operation on one array); everything else is computed once.
 */
#include "graph/trace.h"

enum {
#ifdef FERRULE_HARD
    GROUP_LIMIT = 6,
#else
    GROUP_LIMIT = 400, /* nodes in a kernel; longer chains are cut */
#endif
    INLINE_COST = 2,
};

/* One group that wants a node. */
typedef struct wish {
    int group;
    const fr__index *map;
    struct wish *next;
} wish;
typedef struct {
    fr__trace *t;
    int *members;  /* group -> number of members */
    wish **wishes; /* node -> who wants it, the newest group first */
    bool fusion;   /* FERRULE_FUSION=off: every operation is its own kernel */
} state;

static fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }
static fr__group *group(const state *s, int g) { return &s->t->groups.at[g]; }

int fr__op_cost(const fr__tnode *n)
{
    if (n->op == FR__OP_RANDOM_BITS)
        return 90;
    if (fr__ops[n->op].class == FR__SOURCE || fr__is_view(n))
        return 0;
    return fr__ops[n->op].traits & FR__COSTLY ? 20 : 1;
}

/* ---- asking ------------------------------------------------------------------------- */

/* `i` is wanted in group g through map m. Views and inlined nodes pass it on. Iterative over
 * views; inlined nodes are at most INLINE_COST deep. */
static int want(state *s, int i, int g, const fr__index *m)
{
    for (;;) {
        fr__tnode *n = node(s, i);
        if (n->op == FR__OP_NUMBER || n->op == FR__OP_PLACEHOLDER || n->op == FR__OP_LEAF)
            return 0;
        if (n->flags & FR__T_INLINE) {
            for (int j = 0; j < n->nin; j++)
                if (want(s, n->in[j], g, m))
                    return -1;
            return 0;
        }
        if (!fr__is_view(n) || n->flags & FR__T_LATE)
            break;
        const fr__index *up =
            fr__index_through(&s->t->arena, group(s, g)->axis, m, n, node(s, n->in[0]));
        if (fr__failed())
            return -1;
        if (!up) { /* not to be written as strides: the view itself is stored */
            n->flags |= FR__T_LATE;
            n->why = FR__WHY_VIEW;
            break;
        }
        m = up;
        i = n->in[0];
    }
    if (node(s, i)->op == FR__OP_COPY && node(s, i)->npar) { /* asked for as an array */
        node(s, i)->flags |= FR__T_LATE;
        node(s, i)->why = FR__WHY_AGAIN;
    }
    for (const wish *w = s->wishes[i]; w && w->group >= g; w = w->next)
        if (w->group == g) {
            if (!fr__index_equal(w->map, m)) { /* one group wants it in two ways */
                node(s, i)->flags |= FR__T_LATE;
                node(s, i)->why = FR__WHY_TWICE;
            }
            return 0;
        }
    wish *w = fr__arena_alloc(&s->t->arena, sizeof *w), **at = &s->wishes[i];
    if (!w)
        return -1;
    while (*at && (*at)->group > g)
        at = &(*at)->next;
    *w = (wish){g, m, *at};
    *at = w;
    return 0;
}

/* ---- groups ------------------------------------------------------------------------- */

static int begin_group(state *s, int root)
{
    if (fr__vec_push(&s->t->groups, (fr__group){.first = -1, .last = -1, .root = root}))
        return -1;
    return s->t->groups.n - 1;
}

static void add_axis(fr__group *g, int64_t extent, bool reduced)
{
    if (extent != 1)
        g->axis[g->naxes++] = (fr__gaxis){.extent = extent, .reduced = reduced, .split = -1};
}

/* Row-major strides over all (kept: only those) axes of the group, as a map. */
static fr__index *identity(state *s, const fr__group *g, bool kept)
{
    fr__index *m = fr__index_new(&s->t->arena, g->naxes);
    int64_t step = 1;
    for (int a = g->naxes - 1; m && a >= 0; a--)
        if (!kept || !g->axis[a].reduced) {
            m->stride[a] = step;
            step *= g->axis[a].extent;
        }
    return m;
}

/* ---- reductions --------------------------------------------------------------------- */

/* Whether the dimensions of x are those of y, some of them taken apart. */
static bool refines(const fr__tnode *x, const fr__tnode *y)
{
    int d = 0;
    for (int k = 0; k < y->ndim; k++) {
        int64_t size = 1;
        for (; size < y->shape[k] && d < x->ndim; d++)
            size *= x->shape[d];
        if (size != y->shape[k])
            return false;
    }
    return x->size == y->size;
}

/* Whose dimensions a group that goes over the elements of node i should have: views and what
 * doesn't lie row-major can be addressed over their own dimensions only. Looks at i and the elementwise
 * nodes below. NULL: it is all one to them. */
static const fr__tnode *finest(const state *s, int i)
{
    enum { MOST = 12 };
    int todo[MOST] = {i}, n = 1;
    const fr__tnode *best = node(s, i);
    bool matters = false;
    for (int k = 0; k < n; k++) {
        const fr__tnode *x = node(s, todo[k]);
        bool strided = fr__is_leaf(x) ? !s->t->leaves.at[x->slot].contiguous
                                      : fr__is_view(x) && x->op != FR__OP_RESHAPE;
        if (strided && refines(x, best)) {
            matters = true;
            best = x;
        }
        if (x->op == FR__OP_RESHAPE || x->op == FR__OP_CAST ||
            fr__ops[x->op].class == FR__ELEMENTWISE || fr__ops[x->op].class == FR__COPY)
            for (int j = 0; j < x->nin && n < MOST; j++)
                if (node(s, x->in[j])->size == best->size)
                    todo[n++] = x->in[j];
    }
    return matters ? best : NULL;
}

/* The dimensions of x that r reduces, as those of fine, which refines x. */
static int refined(const fr__tnode *r, const fr__tnode *x, const fr__tnode *fine,
                   int64_t extents[FR_MAX_NDIM])
{
    int n = 0;
    for (int d = 0, k = 0; d < x->ndim; d++)
        for (int64_t size = 1; size < x->shape[d]; k++) {
            size *= fine->shape[k];
            if (fr__reduces(r, d) && fine->shape[k] != 1)
                extents[n++] = fine->shape[k];
        }
    return n;
}

/* Whether reduction r, addressed by m, can be made inside the group; marks or adds the axes. */
static bool reduction_fits(state *s, fr__group *g, const fr__index *m, const fr__tnode *r)
{
    const fr__tnode *x = node(s, r->in[0]);
    fr__side kept = fr__reduction_side(r, x, false), red = fr__reduction_side(r, x, true);
    if (r->npar > 1 || m->offset || x->size == 0)
        return false;
    bool has_reduced = false, split = false;
    for (int a = 0; a < g->naxes; a++) {
        has_reduced |= g->axis[a].reduced;
        split |= g->axis[a].split >= 0;
    }
    if (split)
        return false;
    /* On the kept axes m must be row-major and complete; on the others 0. */
    bool mark[FR__GAXES] = {false};
    int64_t step = 1, over = 1;
    for (int a = g->naxes - 1; a >= 0; a--) {
        int64_t stride = fr__index_stride(m, a);
        if (g->axis[a].reduced || (!has_reduced && stride == 0)) {
            if (stride)
                return false;
            mark[a] = true;
            over *= g->axis[a].extent;
        } else {
            if (stride != step)
                return false;
            step *= g->axis[a].extent;
        }
    }
    if (step != kept.size)
        return false;
    /* Every pass has loops of its own, and a kernel only so many. */
    const fr__tnode *fine = finest(s, r->in[0]);
    int loops = 0;
    for (int a = 0; a < g->naxes; a++)
        loops += mark[a];
    if (fine)
        red.n = refined(r, x, fine, red.extent);
    loops = loops > red.n ? loops : red.n;
    if (g->naxes + (g->reductions + 2) * loops + 2 > FR__LOOPS)
        return false;
    if (over == red.size && (has_reduced || over != 1)) {
        for (int a = 0; a < g->naxes; a++)
            g->axis[a].reduced = mark[a];
        return true;
    }
    if (has_reduced || over != 1 || g->naxes + red.n > FR__GAXES)
        return false;
    for (int i = 0; i < red.n; i++)
        add_axis(g, red.extent[i], true);
    return true;
}

/* ---- placing a node ----------------------------------------------------------------- */

/* A node that another reads or writes as memory: it has a buffer, and a kernel that makes it. */
static void store_alone(fr__tnode *n, int why)
{
    n->flags = (uint8_t)((n->flags | FR__T_LATE | FR__T_STORE) & ~FR__T_INLINE);
    n->why = (uint8_t)why;
}

/* A routine reads its inputs, and a gather what it gathers from, as strides over a leaf or something
 * stored. */
static int ask_memory(state *s, int i, int g, int why)
{
    const fr__index *none = fr__index_new(&s->t->arena, 0);
    fr__place_in p;
    int at;
    while (none && !fr__memory_of(s->t, i, &p, &at)) {
        store_alone(node(s, at), why);
        if (want(s, at, g, none))
            return -1;
    }
    if (!none || fr__is_leaf(node(s, p.base)))
        return none ? 0 : -1;
    store_alone(node(s, p.base), why);
    return want(s, p.base, g, none);
}

static int ask_inputs(state *s, int i)
{
    fr__tnode *n = node(s, i);
    const fr__index *m = n->map;
    if (fr__ops[n->op].class == FR__NATIVE) {
        for (int j = 0; j < n->nin; j++)
            if (ask_memory(s, n->in[j], n->group, FR__WHY_NATIVE))
                return -1;
        return 0;
    }
    if (fr__ops[n->op].class == FR__REDUCE) {
        m = fr__index_reduced(&s->t->arena, group(s, n->group), n->map, n, node(s, n->in[0]));
    } else if (n->op == FR__OP_RANDOM_BITS) {
        m = fr__index_new(&s->t->arena, 0); /* the key: lowering reads both words */
    } else if (fr__is_view(n)) {
        m = fr__index_through(&s->t->arena, group(s, n->group)->axis, n->map, n,
                              node(s, n->in[0]));
    }
    if (!m)
        return fr__failed()
                   ? -1
                   : fr__fail_int(FR__E_INTERNAL, "fuse: node %d (%s) has no map of its input",
                                  i, fr__ops[n->op].name);
    if (n->op == FR__OP_RANDOM_BITS && !fr__is_leaf(node(s, n->in[0]))) {
        /* Both words are read, at two places: the key must have a buffer. */
        store_alone(node(s, n->in[0]), FR__WHY_KEY);
        return want(s, n->in[0], n->group, m);
    }
    if (n->op == FR__OP_TAKE) {
        const fr__index *indices = fr__index_of_indices(&s->t->arena, group(s, n->group)->axis,
                                                        n->map, n, node(s, n->in[1]));
        if (!indices)
            return fr__failed() ? -1
                                : fr__fail_int(FR__E_INTERNAL,
                                               "fuse: node %d has no map of its indices", i);
        if (ask_memory(s, n->in[0], n->group, FR__WHY_TAKEN))
            return -1;
        return want(s, n->in[1], n->group, indices);
    }
    if (n->op == FR__OP_PUT) {
        if (n->nin > 1) { /* what it is written into: made by its own kernel, before */
            fr__tnode *base = node(s, n->in[1]);
            if (!fr__is_base(base->op, base->npar, base->par))
                return fr__fail_int(FR__E_INTERNAL, "fuse: node %d is written over by node %d",
                                    n->in[1], i);
            store_alone(base, FR__WHY_PUT);
            if (want(s, n->in[1], n->group, m))
                return -1;
        }
        return want(s, n->in[0], n->group, m);
    }
    if (!s->fusion) /* every operand is stored */
        for (int j = 0; j < n->nin; j++) {
            int at = n->in[j];
            while (fr__is_view(node(s, at)))
                at = node(s, at)->in[0];
            node(s, at)->flags |= FR__T_LATE;
        }
    for (int j = 0; j < n->nin; j++)
        if (want(s, n->in[j], n->group, m))
            return -1;
    return 0;
}

/* Axes of a partial reduction: axis 0 of its result numbers the pieces of one axis of its input. */
static void add_pieces(fr__group *g, const fr__tnode *n, const fr__tnode *x)
{
    add_axis(g, n->shape[0], false);
    for (int d = 0; d < x->ndim; d++) {
        add_axis(g, x->shape[d], fr__reduces(n, d));
        if (d == n->par[1]) {
            g->axis[g->naxes - 1].split = 0;
            g->axis[g->naxes - 1].block = n->par[2];
        }
    }
}

/* Whether the group goes over the same elements in the same pieces as partial reduction n. */
static bool partial_fits(const state *s, const fr__group *g, const fr__tnode *n)
{
    const fr__tnode *x = node(s, n->in[0]);
    int a = 1;
    if (g->naxes < 2 || g->axis[0].extent != n->shape[0] || g->axis[0].reduced)
        return false;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] == 1)
            continue;
        if (a == g->naxes || g->axis[a].extent != x->shape[d] ||
            g->axis[a].reduced != fr__reduces(n, d) ||
            (g->axis[a].split == 0) != (d == n->par[1]) ||
            (d == n->par[1] && g->axis[a].block != n->par[2]))
            return false;
        a++;
    }
    int64_t step = 1;
    for (int k = g->naxes - 1; k >= 0; k--) {
        if (fr__index_stride(n->map, k) != (g->axis[k].reduced ? 0 : step))
            return false;
        step *= g->axis[k].reduced ? 1 : g->axis[k].extent;
    }
    return a == g->naxes && !n->map->offset;
}

static int place_root(state *s, int i)
{
    fr__tnode *n = node(s, i);
    int g = begin_group(s, i);
    if (g < 0)
        return -1;
    n->group = g;
    n->flags |= FR__T_STORE;
    n->flags &= (uint8_t)~FR__T_LATE;
    group(s, g)->cost = fr__op_cost(n);
    group(s, g)->reductions = fr__ops[n->op].class == FR__REDUCE;
    if (fr__ops[n->op].class == FR__NATIVE) { /* no loops of ours: no axes */
        n->map = fr__index_new(&s->t->arena, 0);
        return n->map ? ask_inputs(s, i) : -1;
    }
    const fr__tnode *x = n->nin ? node(s, n->in[0]) : NULL;
    if (fr__ops[n->op].class == FR__REDUCE) {
        if (n->npar > 1)
            add_pieces(group(s, g), n, x);
        const fr__tnode *fine = n->npar > 1 ? NULL : finest(s, n->in[0]);
        for (int d = 0, k = 0; n->npar <= 1 && d < x->ndim; d++)
            if (!fine)
                add_axis(group(s, g), x->shape[d], fr__reduces(n, d));
            else
                for (int64_t size = 1; size < x->shape[d]; size *= fine->shape[k++])
                    add_axis(group(s, g), fine->shape[k], fr__reduces(n, d));
        n->map = identity(s, group(s, g), true);
    } else {
        const fr__tnode *over = x; /* PUT: goes over what is written */
        const fr__tnode *fine = n->op == FR__OP_PUT ? NULL : finest(s, i);
        if (n->op != FR__OP_PUT)
            over = fine ? fine : n;
        for (int d = 0; d < over->ndim; d++)
            add_axis(group(s, g), over->shape[d], false);
        n->map = identity(s, group(s, g), false);
    }
    return n->map ? ask_inputs(s, i) : -1;
}

/* Whether storing node n where it stands in its group stores all of it: row-major over some axes,
 * the same along the others. Those are then made inner loops, as for a reduction, so that each
 * element is stored once. */
static bool stores_whole(fr__group *g, const fr__tnode *n)
{
    int64_t step = 1;
    bool reduced = false, inner[FR__GAXES] = {false};
    if (n->map->offset)
        return false;
    for (int a = g->naxes - 1; a >= 0; a--) {
        int64_t stride = fr__index_stride(n->map, a);
        inner[a] = stride == 0;
        reduced |= g->axis[a].reduced;
        if (stride && stride != step)
            return false;
        step *= stride ? g->axis[a].extent : 1;
    }
    if (step != n->size)
        return false;
    bool full = true, rows = true;
    for (int a = 0; a < g->naxes; a++) {
        full &= !inner[a];
        rows &= !reduced || inner[a] == g->axis[a].reduced;
    }
    for (int a = 0; rows && !full && a < g->naxes; a++)
        g->axis[a].reduced = inner[a];
    return full || rows;
}

/* Whether elements are addressed so that both indices and what lies beside the axis are affine. */
static bool can_take(const state *s, const fr__group *g, const fr__tnode *n)
{
    const fr__tnode *x = node(s, n->in[0]), *indices = node(s, n->in[1]);
    int64_t strides[FR_MAX_NDIM];
    fr__row_major(x->ndim, x->shape, strides);
    return fr__index_of_indices(&s->t->arena, g->axis, n->map, n, indices) &&
           fr__index_beside(&s->t->arena, g->axis, n->map, n, x, strides, indices->ndim);
}

static int place(state *s, int i)
{
    fr__tnode *n = node(s, i);
    const wish *w = s->wishes[i];
    bool wanted = w != NULL, store = n->flags & FR__T_STORE;
    if (!wanted && !store)
        return 0; /* dead, or inlined */
    if (n->size == 0) {
        n->group = -1;
        n->map = NULL;
        return 0;
    }
    bool native = fr__ops[n->op].class == FR__NATIVE;
    int why = !wanted                 ? FR__WHY_END
              : n->op == FR__OP_PUT   ? FR__WHY_PUT
              : native                ? FR__WHY_NATIVE
              : !s->fusion            ? FR__WHY_OFF
              : n->flags & FR__T_LATE ? n->why
                                      : FR__WHY_JOINED;
    if (why == FR__WHY_JOINED) {
        /* The newest of the groups that want it runs first: it makes the value, and stores it
         * for the others (and for the caller) if all of it passes by there. */
        fr__group *g = group(s, w->group);
        bool reduce = fr__ops[n->op].class == FR__REDUCE, shared = w->next != NULL;
        n->group = w->group;
        n->map = w->map;
        if (s->members[w->group] >= GROUP_LIMIT)
            why = FR__WHY_FULL;
        else if (n->op == FR__OP_TAKE && !can_take(s, g, n))
            why = FR__WHY_VIEW;
        else if ((store || shared) && !stores_whole(g, n))
            why = FR__WHY_PART;
        else if (reduce && n->npar > 1 && !partial_fits(s, g, n))
            why = FR__WHY_PIECES;
        else if (reduce && n->npar <= 1 &&
                 !(reduction_fits(s, g, n->map, n) &&
                   fr__index_reduced(&s->t->arena, g, n->map, n, node(s, n->in[0]))))
            why = FR__WHY_AXES;
        else if (shared)
            n->flags |= FR__T_STORE;
    }
    n->why = (uint8_t)why;
    if (fr__failed())
        return -1;
    if (why != FR__WHY_JOINED)
        return place_root(s, i);
    group(s, n->group)->cost += fr__op_cost(n);
    group(s, n->group)->reductions += fr__ops[n->op].class == FR__REDUCE;
    s->members[n->group]++;
    return ask_inputs(s, i);
}

/* ---- before: what is inlined, what outputs are views of ----------------------------- */

/* Casts and single cheap operations on one array are computed wherever they are wanted. */
static int find_inlined(state *s)
{
    uint8_t *costs = fr__calloc((size_t)s->t->nodes.n + 1, 1); /* of what is inlined, whole */
    if (!costs)
        return -1;
    for (int i = 0; i < s->t->nodes.n && s->fusion; i++) {
        fr__tnode *n = node(s, i);
        int class = fr__ops[n->op].class;
        if (n->flags & FR__T_STORE || n->op == FR__OP_RANDOM_BITS ||
            (class != FR__CAST && class != FR__GENERATE &&
             !(class == FR__ELEMENTWISE && fr__ops[n->op].traits & FR__CHEAP)))
            continue;
        int arrays = 0, cost = 1;
        bool simple = true;
        for (int j = 0; j < n->nin; j++) {
            int at = n->in[j];
            while (fr__is_view(node(s, at)))
                at = node(s, at)->in[0];
            const fr__tnode *x = node(s, at);
            if (x->flags & FR__T_INLINE)
                cost += costs[at], arrays++;
            else if (fr__is_leaf(x))
                arrays++;
            else
                simple &= x->op == FR__OP_NUMBER;
        }
        if (simple && arrays <= 1 && cost <= INLINE_COST) {
            n->flags |= FR__T_INLINE;
            costs[i] = (uint8_t)cost;
        }
    }
    fr__free(costs);
    return 0;
}

/* An output that is a view of something stored needs no kernel; it is stored itself if it cannot
 * be one, or if it would keep much more memory alive than it shows. */
static int place_output(state *s, fr__tout *o)
{
    int chain[64], len = 0, base = o->node;
    while (fr__is_view(node(s, base)) && len < FR__COUNT(chain)) {
        chain[len++] = base;
        base = node(s, base)->in[0];
    }
    const fr__tnode *n = node(s, o->node), *x = node(s, base);
    bool leaf = fr__is_leaf(x);
    bool good = !fr__is_view(x) && x->op != FR__OP_NUMBER && x->size > 0 &&
                (leaf || n->size >= x->size || x->flags & FR__T_OUTPUT);
    fr__place_in p;
    fr__place_at(s->t, base, &p);
    while (good && len)
        good = fr__place_through(s->t, chain[--len], &p);
    if (!good)
        fr__place_at(s->t, o->node, &p);
    int64_t *strides = fr__arena_alloc(&s->t->arena, sizeof *strides * FR_MAX_NDIM);
    if (!strides)
        return -1;
    memcpy(strides, p.strides, sizeof *strides * n->ndim);
    o->base = p.base;
    o->offset = p.offset;
    o->strides = strides;
    if (!fr__is_leaf(node(s, p.base)))
        node(s, p.base)->flags |= FR__T_STORE;
    return 0;
}

/* ---- after: groups in order, members linked ----------------------------------------- */

static int order_groups(state *s)
{
    fr__trace *t = s->t;
    int n = t->groups.n;
    for (int i = 0; i < n / 2; i++) { /* begun from the outputs back: turned round */
        fr__group x = t->groups.at[i];
        t->groups.at[i] = t->groups.at[n - 1 - i];
        t->groups.at[n - 1 - i] = x;
    }
    for (int i = 0; i < t->nodes.n; i++) {
        fr__tnode *x = node(s, i);
        if (x->group < 0)
            continue;
        x->group = n - 1 - x->group;
        fr__group *g = group(s, x->group);
        if (g->last < 0)
            g->first = i;
        else
            node(s, g->last)->next = i;
        g->last = i;
    }
    return 0;
}

static _Atomic int fusion_set = -1; /* not asked for yet */

void fr__set_fusion(bool on) { atomic_store_explicit(&fusion_set, on, memory_order_relaxed); }

bool fr__fusion_on(void)
{
    int on = atomic_load_explicit(&fusion_set, memory_order_relaxed);
    if (on < 0) {
        on = fr__env_on("FUSION", true);
        fr__set_fusion(on);
    }
    return on;
}

int fr__fuse(fr__trace *t)
{
    state s = {.t = t, .fusion = fr__fusion_on()};
    s.members = fr__calloc((size_t)t->nodes.n + 1, sizeof *s.members);
    s.wishes = fr__arena_zalloc(&t->arena, sizeof *s.wishes * ((size_t)t->nodes.n + 1));
    if (!s.members || !s.wishes) {
        fr__free(s.members);
        return -1;
    }
    int status = 0;
    for (int i = 0; !status && i < t->outs.n; i++)
        status = place_output(&s, &t->outs.at[i]);
    if (!status)
        status = find_inlined(&s);
    for (int i = t->nodes.n - 1; !status && i >= 0; i--)
        status = place(&s, i);
    if (!status)
        status = order_groups(&s);
    if (!status)
        status = fr__schedule(t);
    fr__free(s.members);
    t->passed = FR__PASS_FUSE;
    return status;
}
