/* merge.c - groups side by side, or one after the other, in one kernel
 *
 *   capture -> simplify -> layout -> split -> fuse -> [merge] -> lower -> plan -> program
 *
 * needs   a fused trace: groups in order of execution
 * gives   fewer groups. One are those that go over the same axes, don't wait for each other, and read
 *         something in common (or are so small that the launch is what they cost); and those of
 *         which one takes what the other has just made, element by element or row by row: fuse puts
 *         a value that several groups want into the one that runs first, the others follow here
 * breaks  nothing
 *
 * A group moves up to an earlier one, so all that it reads must be there before that one: the
 * order of the list stays the proof that nothing waits in a circle.
 */
#include "graph/trace.h"

enum {
    TINY = 1 << 13, /* elements: the launch costs more than the work */
    MEMBERS = 200,  /* of a merged group */
    BUFFERS = 12,   /* read and written by it: more pointers than registers */
    SOURCES = 16,   /* noted of a group; with more it is left alone */
    CANDIDATES = 4, /* earlier groups of the same axes that are looked at */
    SEVERAL = -2,
};

typedef struct {
    int n;               /* noted sources; SOURCES + 1: too many */
    int32_t at[SOURCES]; /* leaf and stored nodes read */
    int last;            /* latest group it reads from, -1 */
    int members, stored;
    uint64_t axes; /* hash of its axes */
} facts;

typedef struct {
    fr__trace *t;
    facts *of;    /* by group */
    int32_t *by;  /* node -> the group that reads what it stored, -1: none, SEVERAL */
    int32_t *now; /* group -> the one it is part of now */
    int32_t *all; /* of a PUT: the latest group of its parts, -1: not known yet */
} state;

static const fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }

static void note_source(facts *f, int i)
{
    for (int k = 0; k < f->n && k < SOURCES; k++)
        if (f->at[k] == i)
            return;
    if (f->n < SOURCES)
        f->at[f->n] = i;
    f->n = f->n < SOURCES ? f->n + 1 : SOURCES + 1;
}

/* The latest group that writes to what PUT i gives. Its parts may have moved up past one another,
 * so all of them are looked at; they are groups before the one that asks, and stay where they are. */
static int32_t all_parts(state *s, int32_t i)
{
    int32_t latest = -1, first = i;
    for (; i >= 0 && s->all[i]<0; i = node(s, i)->nin> 1 ? node(s, i)->in[1] : -1)
        if (node(s, i)->op == FR__OP_PUT && node(s, i)->group >= 0)
            latest = latest > s->now[node(s, i)->group] ? latest : s->now[node(s, i)->group];
        else
            break;
    if (i >= 0 && s->all[i] > latest)
        latest = s->all[i];
    return s->all[first] = latest;
}

/* Sources below input i of a member of group g: through views, and inlined nodes (few deep). */
static void look_below(state *s, facts *f, int i, int g)
{
    i = fr__below_views(s->t, i);
    const fr__tnode *n = node(s, i);
    if (n->op == FR__OP_NUMBER || n->group == g)
        return;
    if (n->flags & FR__T_INLINE) {
        for (int j = 0; j < n->nin; j++)
            look_below(s, f, n->in[j], g);
        return;
    }
    note_source(f, i);
    s->by[i] = s->by[i] == -1 || s->by[i] == g ? g : SEVERAL;
    int32_t made = n->op == FR__OP_PUT ? all_parts(s, i) : n->group < 0 ? -1 : s->now[n->group];
    if (made > f->last)
        f->last = made;
}

/* Parts of one concatenation go to different places: none waits for another. */
static bool beside(const state *s, int i, int j)
{
    return node(s, i)->op == FR__OP_PUT && j == 1 &&
           node(s, node(s, i)->in[1])->op == FR__OP_PUT;
}

static void find_facts(state *s, int g)
{
    const fr__group *group = &s->t->groups.at[g];
    facts *f = &s->of[g];
    *f = (facts){.last = -1, .axes = 0x5eed};
    for (int i = group->first; i >= 0; i = node(s, i)->next) {
        f->members++;
        f->stored += (node(s, i)->flags & FR__T_STORE) != 0;
        for (int j = 0; j < node(s, i)->nin; j++)
            if (!beside(s, i, j))
                look_below(s, f, node(s, i)->in[j], g);
    }
    if (fr__ops[node(s, group->root)->op].class == FR__NATIVE)
        f->n = SOURCES + 1; /* left alone */
    for (int a = 0; a < group->naxes; a++) {
        const fr__gaxis *x = &group->axis[a];
        f->axes = fr__hash_mix(f->axes, (uint64_t)x->extent);
        f->axes = fr__hash_mix(f->axes, (uint64_t)x->reduced | (uint64_t)(x->split + 1) << 1);
        f->axes = fr__hash_mix(f->axes, (uint64_t)x->block);
    }
}

static bool same_axes(const fr__group *x, const fr__group *y)
{
    if (x->naxes != y->naxes)
        return false;
    for (int a = 0; a < x->naxes; a++)
        if (x->axis[a].extent != y->axis[a].extent ||
            x->axis[a].reduced != y->axis[a].reduced || x->axis[a].split != y->axis[a].split ||
            (x->axis[a].split >= 0 && x->axis[a].block != y->axis[a].block))
            return false;
    return true;
}

static int in_common(const facts *x, const facts *y)
{
    int n = 0;
    for (int i = 0; i < x->n; i++)
        for (int j = 0; j < y->n; j++)
            n += x->at[i] == y->at[j];
    return n;
}

static bool worth_it(const state *s, int into, int from)
{
    const facts *x = &s->of[into], *y = &s->of[from];
    const fr__group *g = &s->t->groups.at[from];
    if (!same_axes(&s->t->groups.at[into], g) || y->last >= into || x->n > SOURCES ||
        y->n > SOURCES || x->members + y->members > MEMBERS)
        return false;
    int shared = in_common(x, y);
    if (x->n + y->n - shared + x->stored + y->stored > BUFFERS)
        return false;
    int64_t volume = 1;
    for (int a = 0; a < g->naxes; a++)
        volume *= g->axis[a].extent;
    return shared || volume <= TINY;
}

/* ---- one after the other ------------------------------------------------------------ */

/* Whether what `from` has not reduced goes round in the loops of `into` as it is. */
static bool same_loops(const fr__group *into, const fr__group *from)
{
    bool reduces = false, reduced = false, same = true;
    if (from->naxes > into->naxes)
        return false;
    for (int a = 0; a < into->naxes; a++) {
        const fr__gaxis *x = &into->axis[a], *y = &from->axis[a];
        if (x->split >= 0)
            return false;
        reduces |= x->reduced;
        if (a >= from->naxes) { /* of rows */
            same &= x->reduced;
            continue;
        }
        if (x->extent != y->extent || y->split >= 0)
            return false;
        reduced |= y->reduced;
        same &= x->reduced == y->reduced;
    }
    /* Where one reduces nothing the other's reduced axes are its inner loops. */
    return same || (from->naxes == into->naxes && (!reduces || !reduced));
}

/* Whether input i, addressed by m in group g, is where group `into` makes it if it is made there. */
static bool in_step(state *s, int g, int i, const fr__index *m, int into)
{
    const fr__tnode *n = node(s, i);
    while (fr__is_view(n) && n->group < 0) {
        m = fr__index_through(&s->t->arena, s->t->groups.at[g].axis, m, n, node(s, n->in[0]));
        if (!m)
            return false;
        i = n->in[0];
        n = node(s, i);
    }
    if (n->op == FR__OP_NUMBER)
        return true;
    if (n->flags & FR__T_INLINE) {
        for (int j = 0; j < n->nin; j++)
            if (!in_step(s, g, n->in[j], m, into))
                return false;
        return true;
    }
    return n->group != into || (n->op != FR__OP_PUT && fr__index_equal(n->map, m));
}

/* Whether group g reads nothing of `into` but what that has made when g wants it. */
static bool follows(state *s, int into, int g)
{
    const fr__group *group = &s->t->groups.at[g];
    for (int i = group->first; i >= 0; i = node(s, i)->next) {
        const fr__tnode *n = node(s, i);
        if (fr__ops[n->op].class == FR__SOURCE)
            continue;
        const fr__index *m = fr__index_of_input(s->t, group, n);
        bool memory =
            n->op == FR__OP_RANDOM_BITS; /* what is read as a whole must have been stored */
        for (int j = 0; j < n->nin; j++) {
            bool whole =
                memory || (n->op == FR__OP_TAKE && j == 0) || (n->op == FR__OP_PUT && j == 1);
            facts below = {.last = -1};
            if (whole)
                look_below(s, &below, n->in[j], g);
            if (!m || (whole ? below.last >= into : !in_step(s, g, n->in[j], m, into)))
                return false;
        }
    }
    return true;
}

static int64_t bytes(const fr__tnode *n) { return n->size * fr__dsize(n->dtype); }

/* What group g moves up past must not have to wait with more memory: what is stored for g alone is not
 * stored any more, what g stores is there earlier. */
static bool spares_memory(const state *s, int into, int g)
{
    bool neighbours = true;
    for (int k = into + 1; k < g; k++)
        neighbours &= s->t->groups.at[k].first < 0;
    int64_t before = 0, after = 0;
    for (int i = s->t->groups.at[into].first; i >= 0; i = node(s, i)->next)
        before += s->by[i] == g && !(node(s, i)->flags & FR__T_OUTPUT) ? bytes(node(s, i)) : 0;
    for (int i = s->t->groups.at[g].first; i >= 0; i = node(s, i)->next)
        after += node(s, i)->flags & FR__T_STORE ? bytes(node(s, i)) : 0;
    return neighbours || after <= before;
}

static bool comes_after(state *s, int into, int g)
{
    const facts *x = &s->of[into], *y = &s->of[g];
    const fr__group *gx = &s->t->groups.at[into], *gy = &s->t->groups.at[g];
    if (x->n > SOURCES || y->n > SOURCES || x->members + y->members > MEMBERS ||
        !same_loops(gx, gy))
        return false;
    int passes = gx->reductions + gy->reductions + 2, loops = 0;
    for (int a = 0; a < gx->naxes; a++)
        loops += gx->axis[a].reduced || (a < gy->naxes && gy->axis[a].reduced);
    if (gx->naxes + passes * loops + 2 > FR__LOOPS ||
        x->n + y->n - in_common(x, y) + x->stored + y->stored > BUFFERS)
        return false;
    return spares_memory(s, into, g) && follows(s, into, g);
}

/* Two lists in topological order to one. */
static void join(state *s, int into, int from)
{
    fr__group *x = &s->t->groups.at[into], *y = &s->t->groups.at[from];
    int32_t a = x->first, b = y->first, last = -1;
    while (a >= 0 || b >= 0) {
        int32_t *take = b < 0 || (a >= 0 && a < b) ? &a : &b, i = *take;
        *take = node(s, i)->next;
        *(last < 0 ? &x->first : &s->t->nodes.at[last].next) = i;
        s->t->nodes.at[i].group = into;
        last = i;
    }
    s->t->nodes.at[last].next = -1;
    x->last = last;
    x->cost += y->cost;
    x->reductions += y->reductions;
    for (int k = 0; k < y->naxes; k++)
        x->axis[k].reduced |= y->axis[k].reduced;
    y->first = y->last = -1;
    s->now[from] = into;
    facts *f = &s->of[into];
    for (int k = 0; k < s->of[from].n; k++)
        note_source(f, s->of[from].at[k]);
    f->members += s->of[from].members;
    f->stored += s->of[from].stored;
}

/* Which groups read what others made. */
static void find_readers(state *s)
{
    for (int i = 0; i < s->t->nodes.n; i++)
        s->by[i] = -1;
    for (int g = 0; g < s->t->groups.n; g++)
        if (s->t->groups.at[g].first >= 0)
            find_facts(s, g);
    for (int i = 0; i < s->t->outs.n; i++)
        s->by[s->t->outs.at[i].base] = SEVERAL;
    for (int i = 0; i < s->t->nodes.n; i++)
        s->all[i] = -1;
}

/* What only its own group reads now isn't stored. */
static void keep_in_registers(state *s)
{
    find_readers(s);
    for (int i = 0; i < s->t->nodes.n; i++) {
        fr__tnode *n = &s->t->nodes.at[i];
        if (n->flags & FR__T_STORE && n->group >= 0 && s->by[i] == -1 && n->op != FR__OP_PUT &&
            !fr__is_base(n->op, n->npar, n->par))
            n->flags &= (uint8_t)~FR__T_STORE;
    }
}

/* The groups that are left, numbered anew. */
static void close_up(state *s)
{
    fr__trace *t = s->t;
    int n = 0;
    for (int g = 0; g < t->groups.n; g++) {
        if (t->groups.at[g].first < 0)
            continue;
        for (int i = t->groups.at[g].first; i >= 0; i = node(s, i)->next)
            t->nodes.at[i].group = n;
        t->groups.at[n++] = t->groups.at[g];
    }
    t->groups.n = n;
}

int fr__merge(fr__trace *t)
{
    int n = t->groups.n, status = -1, buckets = 16;
    if (n < 2 || !fr__fusion_on())
        return 0;
    while (buckets < n)
        buckets *= 2;
    state s = {.t = t,
               .of = fr__malloc(sizeof *s.of * (size_t)n),
               .by = fr__malloc(sizeof *s.by * (size_t)t->nodes.n),
               .now = fr__malloc(sizeof *s.now * (size_t)n),
               .all = fr__malloc(sizeof *s.all * (size_t)t->nodes.n)};
    /* Of each bucket of axes, the latest groups. */
    int32_t(*latest)[CANDIDATES] = fr__malloc(sizeof *latest * (size_t)buckets);
    if (!s.of || !s.by || !s.now || !s.all || !latest)
        goto out;
    memset(s.all, -1, sizeof *s.all * (size_t)t->nodes.n);
    memset(latest, -1, sizeof *latest * (size_t)buckets);
    for (int g = 0; g < n; g++)
        s.now[g] = g;
    find_readers(&s);
    for (int g = 0; g < n; g++) {
        find_facts(&s, g);
        int32_t *bucket = latest[s.of[g].axes & (uint64_t)(buckets - 1)];
        int into = s.of[g].last;
        if (into >= 0 && !comes_after(&s, into, g))
            into = -1;
        for (int k = 0; into < 0 && k < CANDIDATES; k++)
            if (bucket[k] >= 0 && worth_it(&s, bucket[k], g))
                into = bucket[k];
        if (into >= 0) {
            join(&s, into, g);
        } else {
            memmove(bucket + 1, bucket, sizeof *bucket * (CANDIDATES - 1));
            bucket[0] = g;
        }
    }
    if (fr__failed())
        goto out;
    keep_in_registers(&s);
    close_up(&s);
    status = 0;
out:
    fr__free(s.of);
    fr__free(s.by);
    fr__free(s.now);
    fr__free(s.all);
    fr__free(latest);
    return status;
}
