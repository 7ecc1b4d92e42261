/* lower_stages.c - lowering: passes over the reduced axes
 *
 * A group with reductions is made in stages: each stage goes over the reduced axes once, and what it
 * reduces is there for the next (softmax: maximum; sum of exponentials; quotient). Costly values that
 * several stages want are kept in scratch memory while the row is in cache.
 *
 * By rows (lower.c decides), where x, y are kept and the vector is y, r reduced:
 *
 *     for y: sum[y] = 0
 *     for few rows of r: for y: { s = 0; for r in few: s += x[r][y]; sum[y] += s }
 *     for y: what wants sum[y]
 */
#include "kernel/lowering.h"

enum { MUCH = 10 /* scalar operations an element that hide a fetch */ };

static int ready(fr__lowering *s, int i, const fr__index *m);

/* The stage after which input i (below views and inlined nodes) is there. */
static int inputs_ready(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    int at = 0;
    s->kb.failed |= !m;
    for (int j = first_input(n); m && j < end_input(n); j++) {
        int r = ready(s, n->in[j], m);
        at = r > at ? r : at;
    }
    return at;
}

static int ready(fr__lowering *s, int i, const fr__index *m)
{
    i = fr__lower_below(s, i, &m);
    if (s->kb.failed)
        return 0;
    const fr__tnode *n = node(s, i);
    fr__lower_member *own = fr__lower_member_at(s, i);
    if (own)
        return own->need + (fr__ops[n->op].class == FR__REDUCE);
    return n->flags & FR__T_INLINE ? inputs_ready(s, n, m) : 0;
}

static bool is_full(const fr__lowering *s, const fr__index *m)
{
    for (int a = 0; a < s->group->naxes; a++)
        if (s->group->axis[a].reduced && fr__index_stride(m, a))
            return true;
    return false;
}

static void mark_last(fr__lowering *s, int i, const fr__index *m, int stage)
{
    i = fr__lower_below(s, i, &m);
    const fr__tnode *n = node(s, i);
    fr__lower_member *own = fr__lower_member_at(s, i);
    if (own)
        own->last = stage > own->last ? stage : own->last;
    else if (n->flags & FR__T_INLINE)
        for (int j = 0; j < n->nin; j++)
            mark_last(s, n->in[j], m, stage);
}

static bool is_costly(const fr__tnode *n) { return fr__op_cost(n) >= 10; }

/* When each member can be made and when it is wanted last; gives the number of stages. */
static int plan_stages(fr__lowering *s)
{
    int stages = 0;
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        x->full = is_full(s, n->map);
        bool reduce = fr__ops[n->op].class == FR__REDUCE;
        x->need = fr__ops[n->op].class == FR__SOURCE
                      ? 0
                      : inputs_ready(s, n, fr__lower_input_map(s, n));
        if (reduce || (x->full && n->flags & FR__T_STORE))
            stages = x->need + 1 > stages ? x->need + 1 : stages;
    }
    for (int k = s->members.n - 1; k >= 0 && !s->kb.failed; k--) {
        fr__lower_member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        bool reduce = fr__ops[n->op].class == FR__REDUCE;
        if (x->full && n->flags & FR__T_STORE)
            x->last = x->need > x->last ? x->need : x->last;
        int stage = reduce ? x->need : is_costly(n) ? x->need : x->last;
        const fr__index *m = fr__lower_input_map(s, n);
        for (int j = first_input(n); m && j < end_input(n); j++)
            mark_last(s, n->in[j], m, stage);
    }
    return stages;
}

static int stage_cost(const fr__lowering *s, int stage)
{
    int cost = 0;
    for (int k = 0; k < s->members.n; k++) {
        const fr__lower_member *x = &s->members.at[k];
        if (x->full && x->need <= stage && x->last >= stage)
            cost += x->scratch >= 0 ? 1 : fr__op_cost(node(s, x->node));
        else if (!x->full && x->need == stage &&
                 fr__ops[node(s, x->node)->op].class == FR__REDUCE)
            cost += 1;
    }
    return cost;
}

/* ---- by rows ------------------------------------------------------------------------ */

static void open_vector(fr__lowering *s, int cost)
{
    fr__lower_open_axis(s, s->vec, FR__BIND_VEC,
                        fr__lower_unroll(cost, fr__lower_vector_length(s)));
}

static bool is_reduced_in(const fr__lowering *s, int k, int stage)
{
    const fr__lower_member *x = &s->members.at[k];
    return fr__ops[node(s, x->node)->op].class == FR__REDUCE && x->need == stage;
}

/* Rows of scratch memory for what the stage reduces, of nothing so far. */
static void begin_rows(fr__lowering *s, int stage)
{
    open_vector(s, 1);
    for (int k = 0; k < s->members.n && !s->kb.failed; k++)
        if (is_reduced_in(s, k, stage)) {
            const fr__tnode *n = node(s, s->members.at[k].node);
            int type = fr__ktype_of(n->dtype);
            fr__lower_put(s, &s->members.at[k],
                          fr__kidentity(&s->kb, fr__combine_form(n->op, type), type));
        }
    fr__kb_close(&s->kb);
}

/* Between stages: what the next ones want of it is made once for all rows. */
static void end_rows(fr__lowering *s, int stage)
{
    open_vector(s, 2);
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        bool made = x->need == stage + 1 && fr__ops[n->op].class != FR__REDUCE;
        if (!x->full && made && x->last > stage && n->dtype != FR_BOOL)
            fr__lower_put(s, x, fr__lower_value(s, x->node, n->map));
    }
    fr__kb_close(&s->kb);
}

/* What a few rows made is added to the row of scratch memory. */
static void add_rows(fr__lowering *s, fr__lower_member *x, int acc)
{
    fr__kb *kb = &s->kb;
    int type = kb->ins.at[acc].type, op = (int)kb->ins.at[acc].imm;
    int few = fr__k(kb, FR__K_RED, type, acc, -1, -1, 0);
    fr__lower_reload(s, x);
    fr__lower_put(s, x, fr__k2(kb, op, x->value, few));
    x->value = -1;
}

/* ---- stages ------------------------------------------------------------------------- */

/* Accumulators for what the stage reduces; -1 for other members. */
static void begin_accumulators(fr__lowering *s, int stage, int *acc)
{
    for (int k = 0; k < s->members.n; k++) {
        const fr__tnode *n = node(s, s->members.at[k].node);
        acc[k] = -1;
        if (is_reduced_in(s, k, stage))
            acc[k] = fr__k(&s->kb, FR__K_ACC, fr__ktype_of(n->dtype), -1, -1, -1,
                           fr__combine_form(n->op, fr__ktype_of(n->dtype)));
    }
}

/* What lies in scratch memory and is wanted. */
static void reload(fr__lowering *s, int stage)
{
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (x->scratch >= 0 && x->last >= stage && !is_reduced_in(s, k, stage))
            fr__lower_reload(s, x);
    }
}

/* The loops over the reduced axes, accumulators before those that go round for them; how many. By rows
 * a loop stays open around these. */
static int open_loops(fr__lowering *s, int stage, int *acc)
{
    int opened = 0;
    if (!s->by_rows)
        begin_accumulators(s, stage, acc);
    for (int f = 0; f < s->naxes; f++)
        if (s->axis[f].reduced && f != s->vec && !(s->by_rows && f == s->row)) {
            fr__lower_open_axis(s, f, FR__BIND_SERIAL, 1);
            opened++;
        }
    if (s->by_rows) {
        fr__lower_open_axis(s, s->few, FR__BIND_SERIAL, 1);
        open_vector(s, stage_cost(s, stage));
        begin_accumulators(s, stage, acc);
        reload(s, stage);
        fr__lower_open_axis(s, s->row, FR__BIND_SERIAL, 1);
        return opened + 3;
    }
    if (s->vec >= 0 && s->axis[s->vec].reduced) {
        fr__lower_open_axis(s, s->vec, FR__BIND_VEC,
                            fr__lower_unroll(stage_cost(s, stage), fr__lower_vector_length(s)));
        opened++;
    }
    reload(s, stage);
    return opened;
}

/* One pass over the reduced axes: what is reduced in it, what is stored, what is kept. */
static int make_stage(fr__lowering *s, int stage)
{
    fr__kb *kb = &s->kb;
    s->stage = stage;
    int *acc = fr__arena_alloc(&s->t->arena, sizeof *acc * (size_t)s->members.n);
    if (!acc)
        return -1;
    if (s->by_rows)
        begin_rows(s, stage);
    int opened = open_loops(s, stage, acc);
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        const fr__tnode *n = node(s, s->members.at[k].node);
        if (acc[k] < 0)
            continue;
        const fr__index *m = fr__lower_input_map(s, n);
        int v = m ? fr__lower_operand(s, n->in[0], m, n->dtype) : 0;
        if (m && !kb->failed)
            fr__k(kb, FR__K_UPD, FR__KNONE, acc[k], v, -1, 0);
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (x->full && x->need == stage && node(s, x->node)->flags & FR__T_STORE) {
            int v = fr__lower_value(s, x->node, node(s, x->node)->map);
            if (!kb->failed)
                fr__lower_store(s, v, x->node);
        }
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (x->full && x->scratch < 0 && x->last > stage && x->value >= 0 &&
            fr__kb_live(kb, x->value) && is_costly(node(s, x->node)))
            fr__lower_keep(s, x);
    }
    for (int k = 0; opened--; k++) {
        fr__kb_close(kb);
        for (int j = 0; s->by_rows && !k && j < s->members.n && !kb->failed; j++)
            if (acc[j] >= 0)
                add_rows(s, &s->members.at[j], acc[j]);
    }
    for (int k = 0; !s->by_rows && k < s->members.n && !kb->failed; k++)
        if (acc[k] >= 0)
            s->members.at[k].value =
                fr__k(kb, FR__K_RED, kb->ins.at[acc[k]].type, acc[k], -1, -1, 0);
    return kb->failed ? -1 : 0;
}

/* What happens for one index of the kept axes. */
int fr__lower_body(fr__lowering *s)
{
    int stages = s->stages = plan_stages(s);
    s->fetching = stages > 1 ? stages - 1 : -1;
    for (int stage = stages - 1; stage > 0; stage--)
        if (stage_cost(s, stage) >= MUCH)
            s->fetching = stage, s->fetching_all = true;
    for (int stage = 0; stage < stages && !s->kb.failed; stage++)
        if (make_stage(s, stage))
            return -1;
        else if (s->by_rows && stage + 1 < stages)
            end_rows(s, stage);
    if (s->by_rows)
        open_vector(s, 2);
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (!x->full && node(s, x->node)->flags & FR__T_STORE) {
            int v = fr__lower_value(s, x->node, node(s, x->node)->map);
            if (!s->kb.failed)
                fr__lower_store(s, v, x->node);
        }
    }
    if (s->by_rows)
        fr__kb_close(&s->kb);
    return s->kb.failed ? -1 : 0;
}
