/* trace.c - traces: made, printed, checked */
#include "graph/trace.h"

void fr__trace_free(fr__trace *t)
{
    fr__vec_free(&t->nodes);
    fr__vec_free(&t->leaves);
    fr__vec_free(&t->literals);
    fr__vec_free(&t->literal_dtypes);
    fr__vec_free(&t->outs);
    fr__vec_free(&t->groups);
    fr__vec_free(&t->key);
    fr__arena_free(&t->arena);
}

int fr__trace_on(fr__trace *t, int place)
{
    t->place = place;
    return place ? fr__vec_push(&t->key, (uint64_t)place << 32)
                 : 0; /* no node's head: op 0 has no slot */
}

int fr__trace_add(fr__trace *t, int op, int dtype, int ndim, const int64_t *shape, int nin,
                  const int32_t *in, int npar, const int64_t *par)
{
    static const int64_t nothing[1]; /* of no elements, but not NULL: memcmp wants that */
    int64_t *own = NULL, size = 1;
    if (ndim + npar) {
        own = fr__arena_alloc(&t->arena, sizeof *own * (size_t)(ndim + npar));
        if (!own)
            return -1;
    }
    for (int i = 0; i < ndim; i++)
        size *= own[i] = shape[i];
    for (int i = 0; i < npar; i++)
        own[ndim + i] = par[i];
    fr__tnode n = {.op = (uint8_t)op,
                   .dtype = (uint8_t)dtype,
                   .ndim = (uint8_t)ndim,
                   .nin = (uint8_t)nin,
                   .npar = (uint8_t)npar,
                   .in = FR__NO_INPUTS,
                   .slot = -1,
                   .shape = own ? own : nothing,
                   .par = own ? own + ndim : nothing,
                   .size = size,
                   .group = -1,
                   .next = -1};
    for (int i = 0; i < nin; i++)
        n.in[i] = in[i];
    return fr__vec_push(&t->nodes, n) ? -1 : t->nodes.n - 1;
}

int fr__compute_dtype(const fr__trace *t, const fr__tnode *n)
{
    int rule = fr__ops[n->op].rule;
    if (rule == FR__RULE_LOGICAL)
        return FR_BOOL;
    if (rule == FR__RULE_PART || rule == FR__RULE_PAIR)
        return rule == FR__RULE_PART ? FR_COMPLEX64 : FR_FLOAT32;
    if (rule != FR__RULE_COMPARE)
        return n->dtype;
    int d = -1;
    for (int i = 0; i < n->nin; i++) {
        const fr__tnode *x = &t->nodes.at[n->in[i]];
        if (x->op != FR__OP_NUMBER)
            return x->dtype;
        d = d < 0 ? x->dtype : (int)fr_promote((fr_dtype)d, (fr_dtype)x->dtype);
    }
    return d;
}

/* ---- printer ------------------------------------------------------------------------ */

static void print_shape(fr__text *to, int dtype, int ndim, const int64_t *shape)
{
    fr__text_add(to, fr__dtypes[dtype].name);
    fr__text_char(to, '[');
    for (int i = 0; i < ndim; i++) {
        if (i)
            fr__text_char(to, ',');
        fr__text_int(to, shape[i]);
    }
    fr__text_char(to, ']');
}

static void print_map(fr__text *to, const fr__index *m)
{
    fr__text_add(to, " at ");
    fr__text_int(to, m->offset);
    for (int i = 0; i < m->n; i++)
        if (m->stride[i])
            fr__text_f(to, " + %lld a%d", (long long)m->stride[i], i);
}

static const char *const reasons[] = {
#define X(name, text) text,
    FR__REASONS(X)
#undef X
};

const char *fr__reason(int why) { return reasons[why]; }

static void print_node(const fr__trace *t, int i, fr__text *to)
{
    const fr__tnode *n = &t->nodes.at[i];
    fr__text_f(to, "  %%%d ", i);
    fr__text_add(to, fr__ops[n->op].name);
    fr__text_char(to, ' ');
    print_shape(to, n->dtype, n->ndim, n->shape);
    for (int j = 0; j < n->nin; j++)
        fr__text_f(to, " %%%d", n->in[j]);
    if (fr__is_leaf(n))
        fr__text_f(to, " leaf %d%s", n->slot,
                   t->leaves.at[n->slot].contiguous ? "" : " strided");
    else if (n->op == FR__OP_NUMBER && n->slot >= 0)
        fr__text_f(to, " literal %d", n->slot);
    else
        for (int j = 0; j < n->npar; j++)
            fr__text_f(to, "%s%lld", j ? "," : " : ", (long long)n->par[j]);
    if (n->map && n->group >= 0)
        print_map(to, n->map);
    fr__text_add(to, n->flags & FR__T_INLINE ? " inline" : "");
    fr__text_add(to, n->flags & FR__T_STORE ? " stored" : "");
    fr__text_add(to, n->flags & FR__T_OUTPUT ? " output" : "");
    if (n->why > FR__WHY_END)
        fr__text_f(to, " (%s)", reasons[n->why]);
    fr__text_char(to, '\n');
}

void fr__trace_print(const fr__trace *t, fr__text *to)
{
    fr__text_add(to, "trace\n");
    if (t->passed < FR__PASS_FUSE) {
        for (int i = 0; i < t->nodes.n; i++)
            print_node(t, i, to);
        return;
    }
    for (int i = 0; i < t->nodes.n; i++)
        if (t->nodes.at[i].group < 0)
            print_node(t, i, to);
    for (int g = 0; g < t->groups.n; g++) {
        const fr__group *group = &t->groups.at[g];
        fr__text_f(to, " group %d", g);
        for (int a = 0; a < group->naxes; a++) {
            const fr__gaxis *x = &group->axis[a];
            fr__text_f(to, " a%d=%lld%s", a, (long long)x->extent,
                       x->reduced ? " reduced" : "");
            if (x->split >= 0)
                fr__text_f(to, " in pieces of %lld by a%d", (long long)x->block, x->split);
        }
        fr__text_f(to, " cost %d%s\n", group->cost,
                   group->packed ? ", made where it is packed" : "");
        for (int i = group->first; i >= 0; i = t->nodes.at[i].next)
            print_node(t, i, to);
    }
}

/* ---- checker ------------------------------------------------------------------------ */

static int bad(int i, const char *what)
{
    return fr__fail_int(FR__E_INTERNAL, "trace: node %d %s", i, what);
}

int fr__trace_check(const fr__trace *t)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        int64_t size = 1;
        for (int j = 0; j < n->ndim; j++)
            size *= n->shape[j];
        if (size != n->size)
            return bad(i, "has a size that is not its shape's");
        for (int j = 0; j < n->nin; j++) {
            if (n->in[j] < 0 || n->in[j] >= i)
                return bad(i, "has an input that comes after it");
            const fr__tnode *x = &t->nodes.at[n->in[j]];
            if (fr__ops[n->op].class == FR__ELEMENTWISE && x->op != FR__OP_NUMBER &&
                x->size != n->size)
                return bad(i, "has an operand of another size");
        }
        if (fr__is_leaf(n) && (n->slot < 0 || n->slot >= t->leaves.n))
            return bad(i, "is no known leaf");
        if (t->passed >= FR__PASS_FUSE) {
            if (n->group >= t->groups.n || (n->group >= 0 && !n->map))
                return bad(i, "is in no good group");
            if (n->flags & FR__T_STORE && n->group < 0 && n->size)
                return bad(i, "is stored by nobody");
        }
    }
    for (int g = 0; t->passed >= FR__PASS_FUSE && g < t->groups.n; g++) {
        int last = -1;
        for (int i = t->groups.at[g].first; i >= 0; i = t->nodes.at[i].next) {
            if (i <= last || t->nodes.at[i].group != g)
                return bad(i, "is out of order in its group");
            last = i;
        }
    }
    for (int i = 0; i < t->outs.n; i++)
        if (t->outs.at[i].node < 0 || t->outs.at[i].node >= t->nodes.n)
            return fr__fail_int(FR__E_INTERNAL, "trace: output %d is no node", i);
    return 0;
}
