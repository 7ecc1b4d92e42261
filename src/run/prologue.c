/* prologue.c - kernels that make an operand of a product while it is packed
 *
 *   capture -> simplify -> layout -> split -> fuse -> merge -> [prologues] -> lower -> plan -> program
 *
 * needs   a fused and merged trace
 * gives   fr__group.packed of those groups that make no array: the product after them asks for parts
 *         of it, a tile's lines by a block of k, which it packs from its scratch; they stand right before it.
 *         Then, of the kernel made for such a group, what is different for a part (fr__made)
 * breaks  nothing
 *
 * Scales, casts, activations, masks, weights kept as small integers. The values are those of the
 * array, rounded to its dtype, so the product has the same bits. An elementwise group is such that has
 * one result, which one operand of one product reads, all of it and in order of memory.
 *
 * Cost model. Stored, an element is written and read again, at the speed of memory or of the cache, and
 * made once; packed, it is made again by each unit of the product that wants it (fr__gemm_cut: by
 * columns for A, by rows for B), and an operand that would have been read where it lies has to be packed. Both
 * are cycles: of the product, as it would be cut up in either case, and of the kernel by itself. A kernel that
 * reads a product's result is left to run on its strips (strips.c).
 */
#include "core/place.h"
#include "native/gemm.h"
#include "run/plan.h"

enum {
    LAUNCH = 3000, /* cycles */
    THREADS = 4,   /* as if there were so many: what is one kernel is it on any host */
};
static const double SLOW = 0.1, FAST = 0.03, /* cycles of a byte: memory, caches */
    OPERATION = 0.08,                        /* of a scalar operation, in vectors */
    LEVEL = 1.02;                            /* as good as that, and memory is saved */

typedef struct {
    fr__trace *t;
    int32_t *uses;      /* of a node, by what is alive */
    int32_t (*made)[2]; /* of a product's group: those that make its operands, -1: none */
    bool *moves;        /* such a group */
} state;

static const fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }
static double bytes_of(const fr__tnode *n) { return (double)(n->size * fr__dsize(n->dtype)); }
static double cycles_of(double bytes)
{
    return bytes * (bytes > (double)fr__host()->l2 ? SLOW : FAST);
}

static void count_uses(state *s)
{
    fr__trace *t = s->t;
    for (int i = 0; i < t->outs.n; i++) {
        s->uses[t->outs.at[i].node] += 2; /* wanted as an array */
        s->uses[t->outs.at[i].base] += 2;
    }
    for (int i = t->nodes.n - 1; i >= 0; i--)
        for (int j = 0; s->uses[i] && j < node(s, i)->nin; j++)
            s->uses[node(s, i)->in[j]]++;
}

/* ---- what may be packed ---------------------------------------------------------------------- */

/* Whether dimensions [from, to) are row-major, `step` apart; in *step, how many elements they go over. */
static bool in_order(const fr__tnode *n, const int64_t *strides, int from, int to,
                     int64_t *step)
{
    for (int d = to - 1; d >= from; d--) {
        if (n->shape[d] != 1 && strides[d] != *step)
            return false;
        *step *= n->shape[d];
    }
    return true;
}

/* The length of rows of memory where operand j of a product is rows of k, or rows of what stands beside k;
 * 0: it is neither. */
static int64_t row_of(const fr__tnode *product, int j, const fr__tnode *x,
                      const int64_t *strides)
{
    int batch = (int)product->par[0], nk = (int)product->par[1],
        middle = j ? batch + nk : x->ndim - nk;
    for (int last = 0; last < 2; last++) { /* first try: the last dimensions lie side by side */
        int from = last ? batch : middle, to = last ? middle : x->ndim;
        int64_t step = 1;
        if (!in_order(x, strides, from, to, &step))
            continue;
        int64_t row = step;
        if (row > 1 &&
            in_order(x, strides, last ? middle : batch, last ? x->ndim : middle, &step) &&
            step > row && in_order(x, strides, 0, batch, &step))
            return row;
    }
    return 0;
}

/* Bytes that the group reads; -1: the result of a product is among it. */
static double read_by(const state *s, int g)
{
    enum { MOST = 16 };
    int32_t seen[MOST];
    int n = 0;
    double bytes = 0;
    for (int i = s->t->groups.at[g].first; i >= 0; i = node(s, i)->next) {
        int32_t todo[MOST];
        int left = 0;
        for (int j = 0; j < node(s, i)->nin && left < MOST; j++)
            todo[left++] = node(s, i)->in[j];
        while (left) {
            int at = todo[--left];
            const fr__tnode *x = node(s, at);
            bool known = x->group == g || x->op == FR__OP_NUMBER;
            for (int k = 0; k < n && !known; k++)
                known = seen[k] == at;
            if (known)
                continue;
            if (!fr__is_leaf(x) && x->group < 0) {
                for (int j = 0; j < x->nin && left < MOST; j++)
                    todo[left++] = x->in[j];
                continue;
            }
            const fr__native *made = fr__is_leaf(x) ? NULL : fr__native_of(x->op);
            if (n == MOST || (made && made->strip))
                return -1;
            seen[n++] = at;
            bytes += bytes_of(x);
        }
    }
    return bytes;
}

/* An elementwise group that stores its root alone. */
static bool is_simple(const state *s, const fr__group *g)
{
    int class = fr__ops[node(s, g->root)->op].class;
    if (g->reductions || g->naxes < 2 || (class != FR__ELEMENTWISE && class != FR__CAST))
        return false;
    for (int i = g->first; i >= 0; i = node(s, i)->next)
        if (i != g->root && node(s, i)->flags & FR__T_STORE)
            return false;
    return true;
}

/* ---- whether it pays ------------------------------------------------------------------------- */

typedef struct {
    fr__native_call call;
    fr__made made[2];
    fr__place_in place[2];
} product;

/* The product of group g, as far as its cost is concerned. false: its operands aren't in memory. */
static bool see_product(const state *s, int g, product *to)
{
    const fr__tnode *n = node(s, s->t->groups.at[g].root);
    *to = (product){.call = {.npar = n->npar, .par = n->par, .nin = n->nin}};
    to->call.out = (fr__native_array){n->dtype, n->ndim, n->size, n->shape, NULL};
    for (int j = 0; j < 2; j++) {
        const fr__tnode *x = node(s, n->in[j]);
        int at;
        if (!fr__memory_of(s->t, n->in[j], &to->place[j], &at))
            return false;
        to->call.in[j] =
            (fr__native_array){x->dtype, x->ndim, x->size, x->shape, to->place[j].strides};
    }
    return true;
}

/* Whether operand j of product g is better made where it is packed. */
static void consider(state *s, int g, product *p, int j)
{
    int root = s->t->groups.at[g].root, base = p->place[j].base, made_by = node(s, base)->group;
    const fr__tnode *n = node(s, root), *x = node(s, n->in[j]);
    if (made_by < 0 || !fr__is_float(n->dtype) || fr__is_leaf(node(s, base)) ||
        s->t->groups.at[made_by].root != base || !is_simple(s, &s->t->groups.at[made_by]) ||
        p->place[j].offset || node(s, base)->size != x->size)
        return;
    for (int i = n->in[j]; i != base; i = node(s, i)->in[0])
        if (s->uses[i] != 1)
            return;
    int64_t row = row_of(n, j, x, p->place[j].strides);
    bool across = p->place[j].strides[x->ndim - 1] == 1 ? j == 1 : j == 0;
    if (across && (j == 0 || fr__gemm_tiles()->nr[n->dtype == FR_FLOAT64] % FR__LANES))
        return; /* a tile's rows would be parts of vectors */
    double read = read_by(s, made_by);
    if (s->uses[base] != 1 || !row || read < 0)
        return;
    double elements = (double)x->size, bytes = bytes_of(x),
           work = elements * OPERATION * s->t->groups.at[made_by].cost,
           memory = cycles_of(read) + 2 * cycles_of(bytes);
    double stored = fr__contract_cycles(&p->call, THREADS) +
                    (work > memory ? work : memory) / THREADS + LAUNCH;
    p->made[j].cycles = (work + cycles_of(read)) / elements;
    p->call.made[j] = &p->made[j];
    double packed = fr__contract_cycles(&p->call, THREADS);
    bool pays = packed < LEVEL * stored;
    if (pays) {
        s->t->groups.at[made_by].packed = row;
        s->t->groups.at[made_by].cycles = p->made[j].cycles;
        s->t->groups.at[made_by].across = across;
        s->made[g][j] = made_by;
        s->moves[made_by] = true;
    } else {
        p->call.made[j] = NULL;
    }
    if (fr__debug() >= 3)
        fr__debug_print("node %d is %s node %d: %.0f cycles, %s %.0f\n", base,
                        pays ? "made where it is packed for" : "stored for", root,
                        pays ? packed : stored, pays ? "stored" : "packed",
                        pays ? stored : packed);
}

/* ---- in order ---------------------------------------------------------------------------------- */

/* What is packed for a product comes right before it. */
static int move_groups(state *s)
{
    fr__trace *t = s->t;
    int n = t->groups.n, at = 0;
    fr__group *old = fr__memdup(t->groups.at, sizeof *old * (size_t)n);
    int32_t *to = fr__malloc(sizeof *to * (size_t)n);
    for (int g = 0; old && to && g < n; g++) {
        if (s->moves[g])
            continue;
        for (int j = 0; j < 2; j++)
            if (s->made[g][j] >= 0)
                t->groups.at[to[s->made[g][j]] = at++] = old[s->made[g][j]];
        t->groups.at[to[g] = at++] = old[g];
    }
    for (int i = 0; old && to && i < t->nodes.n; i++)
        if (t->nodes.at[i].group >= 0)
            t->nodes.at[i].group = to[t->nodes.at[i].group];
    int status = old && to ? 0 : -1;
    fr__free(old);
    fr__free(to);
    return status;
}

int fr__prologues(fr__trace *t)
{
    state s = {.t = t};
    bool any = false, products = false;
    for (int g = 0; g < t->groups.n; g++)
        products |= t->nodes.at[t->groups.at[g].root].op == FR__OP_CONTRACT;
    if (!products || t->place != FR__HOST || !fr__fusion_on())
        return 0;
    s.uses = fr__calloc((size_t)t->nodes.n, sizeof *s.uses);
    s.made = fr__malloc(sizeof *s.made * (size_t)t->groups.n);
    s.moves = fr__calloc((size_t)t->groups.n, sizeof *s.moves);
    int status = s.uses && s.made && s.moves ? 0 : -1;
    if (!status) {
        memset(s.made, -1, sizeof *s.made * (size_t)t->groups.n);
        count_uses(&s);
    }
    for (int g = 0; !status && g < t->groups.n; g++) {
        product p;
        const fr__tnode *n = node(&s, t->groups.at[g].root);
        if (n->op != FR__OP_CONTRACT || !n->size || !see_product(&s, g, &p))
            continue;
        consider(&s, g, &p, 1);
        consider(&s, g, &p, 0);
        any |= p.call.made[0] || p.call.made[1];
    }
    if (any && !status)
        status = move_groups(&s);
    fr__free(s.uses);
    fr__free(s.made);
    fr__free(s.moves);
    return status;
}

/* ---- of a kernel, what is different for a part ------------------------------------------------- */

static int vector_axis(const fr__kernel *k)
{
    int found = -1;
    for (int a = 0; a < k->naxis; a++) {
        int bind = k->axis[a].bind;
        if (bind == FR__BIND_VEC && (found >= 0 || k->axis[a].split >= 0))
            return -1;
        if (bind == FR__BIND_VEC)
            found = a;
        else if (bind != FR__BIND_PAR && bind != FR__BIND_OUTER)
            return -1;
    }
    return found;
}

/* How far access x goes with one step along the vector, in bytes. */
static int64_t step_of(const fr__lowered *l, const fr__kaccess *x)
{
    int64_t size = fr__dsize(l->kernel->bufs[x->buf].dtype);
    return x->vec == FR__VEC_UNIT     ? size
           : x->vec == FR__VEC_STRIDE ? size * l->words[x->vstride].value
                                      : 0;
}

/* The pointer of an access goes along with the part; false: not all that use it do so alike. */
static bool note_shift(const fr__lowered *l, const fr__kaccess *x, fr__made *to)
{
    uint16_t word = l->kernel->bufs[x->buf].word;
    int64_t step = step_of(l, x);
    for (int i = 0; i < to->nshifts; i++)
        if (to->shift[i].word == word)
            return to->shift[i].bytes == step;
    if (to->nshifts == FR__COUNT(to->shift))
        return false;
    to->shift[to->nshifts].word = word;
    to->shift[to->nshifts++].bytes = step;
    return true;
}

static bool note_result(const fr__lowered *l, const fr__kaccess *x, int64_t row, fr__made *to)
{
    to->out = l->kernel->bufs[x->buf].word;
    to->size = fr__dsize(l->kernel->bufs[x->buf].dtype);
    for (int i = 0; i < x->nterm; i++) {
        int64_t stride = l->words[x->term[i].word].value;
        if (stride % row || to->nrows == FR__COUNT(to->rows))
            return false;
        to->rows[to->nrows].word = x->term[i].word;
        to->rows[to->nrows++].times = stride / row;
    }
    return x->vec == FR__VEC_UNIT;
}

bool fr__prologue_made(const fr__lowered *l, int64_t row, fr__made *to)
{
    const fr__kernel *k = l->kernel;
    int axis = vector_axis(k), stores = 0;
    *to = (fr__made){0};
    if (axis < 0 || l->scratch || l->words[k->axis[axis].extent].value != row)
        return false;
    to->extent = k->axis[axis].extent;
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        bool moves = ins->op == FR__K_LOAD || ins->op == FR__K_STORE;
        const fr__kaccess *x = moves ? &k->access[ins->imm] : NULL;
        if (ins->op == FR__K_AXIS && ins->imm == axis)
            return false; /* computes with where it is */
        if (ins->op == FR__K_STORE &&
            (stores++ || ins->b >= 0 || ins->c >= 0 || x->nt || !note_result(l, x, row, to)))
            return false;
        if (ins->op == FR__K_LOAD && !note_shift(l, x, to))
            return false;
    }
    for (int i = 0; i < to->nshifts; i++)
        if (to->shift[i].word == to->out)
            return false;
    return stores == 1;
}

/* ---- launches ---------------------------------------------------------------------------------- */

/* The two say of themselves what they do as one. */
static int join(fr__plan *p, const fr__step *s, fr__step *by)
{
    size_t n = strlen(s->ops);
    char *ops = fr__arena_alloc(&p->arena, n + strlen(by->ops) + 2);
    if (!ops)
        return -1;
    memcpy(ops, s->ops, n);
    ops[n] = ' ';
    memcpy(ops + n + 1, by->ops, strlen(by->ops) + 1);
    by->ops = ops;
    by->reads += s->reads - (by->reads < s->writes ? by->reads : s->writes);
    by->work += s->work;
    by->alone = by->work < FR__ALONE_WORK;
    return 0;
}

int fr__prologues_join(fr__plan *p)
{
    bool any = false;
    for (int i = p->nsteps - 1; i >= 0; i--)
        if (p->steps[i].made) {
            int by = i + 1;
            by += p->steps[by].made != NULL;
            if (join(p, &p->steps[i], &p->steps[by]))
                return -1;
            any = true;
        }
    p->max_words *=
        any ? 4 : 1; /* those of a product are bound together: two, and on its strips one */
    return 0;
}

int fr__step_of_launch(const fr__plan *p, int i)
{
    while (p->steps[i].made)
        i++;
    while (p->steps[i].strip || !p->steps[i].together)
        i--;
    return i;
}
