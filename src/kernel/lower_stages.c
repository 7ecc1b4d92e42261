/* lower_stages.c - lowering: passes over the reduced axes
 *
 * A group with reductions is made in stages: each stage goes over the reduced axes once, and what it
 * reduces is there for the next (softmax: maximum; sum of exponentials; quotient). Costly values that
 * several stages want are kept in scratch memory while the row is in cache.
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

/* One pass over the reduced axes: what is reduced in it, what is stored, what is kept. */
static int make_stage(fr__lowering *s, int stage)
{
    fr__kb *kb = &s->kb;
    s->stage = stage;
    int *acc = fr__arena_alloc(&s->t->arena, sizeof *acc * (size_t)s->members.n);
    if (!acc)
        return -1;
    for (int k = 0; k < s->members.n; k++) {
        const fr__tnode *n = node(s, s->members.at[k].node);
        acc[k] = -1;
        if (fr__ops[n->op].class == FR__REDUCE && s->members.at[k].need == stage)
            acc[k] = fr__k(kb, FR__K_ACC, fr__ktype_of(n->dtype), -1, -1, -1,
                           fr__combine_form(n->op, fr__ktype_of(n->dtype)));
    }
    int opened = 0;
    for (int f = 0; f < s->naxes; f++)
        if (s->axis[f].reduced && f != s->vec) {
            fr__lower_open_axis(s, f, FR__BIND_SERIAL, 1);
            opened++;
        }
    if (s->vec >= 0 && s->axis[s->vec].reduced) {
        int64_t extent = s->axis[s->vec].split >= 0
                             ? fr__min64(s->axis[s->vec].block, s->axis[s->vec].extent)
                             : s->axis[s->vec].extent;
        fr__lower_open_axis(s, s->vec, FR__BIND_VEC,
                            fr__lower_unroll(stage_cost(s, stage), extent));
        opened++;
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (x->scratch >= 0 && x->last >= stage)
            fr__lower_reload(s, x);
    }
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
    while (opened--)
        fr__kb_close(kb);
    for (int k = 0; k < s->members.n && !kb->failed; k++)
        if (acc[k] >= 0)
            s->members.at[k].value =
                fr__k(kb, FR__K_RED, kb->ins.at[acc[k]].type, acc[k], -1, -1, 0);
    return kb->failed ? -1 : 0;
}

/* What happens for one index of the kept axes. */
int fr__lower_body(fr__lowering *s)
{
    int stages = plan_stages(s);
    s->fetching = stages > 1 ? stages - 1 : -1;
    for (int stage = stages - 1; stage > 0; stage--)
        if (stage_cost(s, stage) >= MUCH)
            s->fetching = stage;
    for (int stage = 0; stage < stages && !s->kb.failed; stage++)
        if (make_stage(s, stage))
            return -1;
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        fr__lower_member *x = &s->members.at[k];
        if (!x->full && node(s, x->node)->flags & FR__T_STORE) {
            int v = fr__lower_value(s, x->node, node(s, x->node)->map);
            if (!s->kb.failed)
                fr__lower_store(s, v, x->node);
        }
    }
    return s->kb.failed ? -1 : 0;
}
