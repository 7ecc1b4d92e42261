/* lower_values.c - lowering: a node's value from its inputs'
 *
 * needs   the loops that are open, what earlier stages made
 * gives   instructions; a member's are made once and found again while their loop is open
 */
#include "kernel/lowering.h"

enum { SHALLOW = 64 /* members of a group; of more the values are made in order */ };

static bool is_inlined(const fr__tnode *n)
{
    return n->op == FR__OP_NUMBER || n->flags & FR__T_INLINE;
}

/* 8 and 16-bit integers are computed in 32 bits: what doesn't fit goes, as it would in memory. */
static int wrapped(fr__kb *kb, int x, int dtype)
{
    int bits = 8 * fr__dsize(dtype);
    if (!fr__is_int(dtype) || bits >= 32)
        return x;
    if (fr__dtypes[dtype].kind == FR__KIND_UINT)
        return fr__k2(kb, FR__K_AND, x, fr__kconst(kb, FR__KU32, (double)((1 << bits) - 1)));
    int n = fr__kconst(kb, FR__KI32, 32 - bits);
    return fr__k2(kb, FR__K_SHR, fr__k2(kb, FR__K_SHL, x, n), n);
}

static int literal(fr__lowering *s, const fr__tnode *n, int dtype)
{
    fr__kb *kb = &s->kb;
    int type = fr__ktype_of(dtype), x;
    if (n->slot >= 0) {
        x = fr__k(kb, FR__K_PARAM, type, -1, -1, -1,
                  fr__kb_word(kb, FR__WORD_LITERAL, n->slot, type));
    } else if (n->dtype == FR_COMPLEX64) {
        x = fr__kconst_bits(kb, type, n->par[0]);
    } else if (fr__dtypes[n->dtype].kind == FR__KIND_FLOAT) {
        double v;
        memcpy(&v, n->par, sizeof v);
        if (type != FR__KF32 && type != FR__KF64) /* inf or NaN of a literal as an integer */
            v = v != v     ? 0
                : v > 1e9  ? (type == FR__KI64 ? 9.2233720368547748e18 : 2147483647.0)
                : v < -1e9 ? -2147483648.0
                           : v;
        x = fr__kconst(kb, type, v);
    } else {
        x = fr__kconst(kb, type, (double)n->par[0]);
    }
    if (dtype == FR_FLOAT16 ||
        dtype == FR_BFLOAT16) /* a literal is a number of the operand's dtype */
        x = fr__k(kb, FR__K_ROUND, FR__KF32, x, -1, -1, dtype);
    return x;
}

/* Value of operand i, as the computing type of `dtype`. */
int fr__lower_operand(fr__lowering *s, int i, const fr__index *m, int dtype)
{
    const fr__tnode *n = node(s, i);
    if (n->op == FR__OP_NUMBER)
        return literal(s, n, dtype);
    return fr__kcast(&s->kb, fr__lower_value(s, i, m), fr__ktype_of(dtype));
}

static int elementwise(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int dtype = fr__compute_dtype(s->t, n), rule = fr__ops[n->op].rule, x[3] = {-1, -1, -1};
    bool logic = rule == FR__RULE_LOGICAL || rule == FR__RULE_SELECT ||
                 rule == FR__RULE_COMPARE || rule == FR__RULE_BITS;
    for (int j = 0; j < n->nin; j++) {
        x[j] = fr__lower_operand(s, n->in[j], m,
                                 rule == FR__RULE_SELECT && j == 0 ? FR_BOOL : dtype);
        if (dtype == FR_BOOL && !logic) /* arithmetic on truth values is done on 0 and 1 */
            x[j] = fr__kcast(kb, x[j], FR__KI32);
    }
    int y = fr__scalar_form(kb, n->op, x[0], x[1], x[2]);
    if (n->dtype == FR_BOOL)
        return fr__kcast(kb, y, FR__KB1);
    return rule == FR__RULE_COMPARE || rule == FR__RULE_SELECT ? y : wrapped(kb, y, n->dtype);
}

static int cast(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    const fr__tnode *from = node(s, n->in[0]);
    int x = fr__lower_operand(s, n->in[0], m, from->dtype), to = fr__ktype_of(n->dtype);
    int bits = 8 * fr__dsize(n->dtype);
    bool half = from->dtype == FR_FLOAT16 || from->dtype == FR_BFLOAT16;
    if (half && !s->kb.failed &&
        kb->ins.at[x].op != FR__K_LOAD) /* a cast sees what memory would hold */
        x = fr__k(kb, FR__K_ROUND, FR__KF32, x, -1, -1, from->dtype);
    if (fr__is_int(n->dtype) && bits < 32 &&
        fr__is_float(from->dtype)) { /* saturate in the narrow type */
        bool sign = fr__dtypes[n->dtype].kind == FR__KIND_INT;
        int type = fr__ktype_at(kb, x);
        double low = sign ? -(double)(1 << (bits - 1)) : 0,
               high = (double)((1 << (bits - sign)) - 1);
        int l = fr__kconst(kb, type, low), h = fr__kconst(kb, type, high);
        x = fr__k(kb, FR__K_SEL, type, fr__kcmp(kb, FR__K_LT, x, l), l, x, 0);
        x = fr__k(kb, FR__K_SEL, type, fr__kcmp(kb, FR__K_LT, h, x), h, x, 0);
        return fr__kcast(kb, x, to);
    }
    x = fr__kcast(kb, x, to);
    if (n->dtype == FR_FLOAT16 || n->dtype == FR_BFLOAT16)
        return fr__k(kb, FR__K_ROUND, FR__KF32, x, -1, -1, n->dtype);
    return wrapped(kb, x, n->dtype);
}

static int reinterpreted(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int from = node(s, n->in[0])->dtype, x = fr__lower_operand(s, n->in[0], m, from);
    if (from == FR_FLOAT16 || from == FR_BFLOAT16) /* as memory would hold it */
        x = fr__k(kb, FR__K_ROUND, FR__KF32, x, -1, -1, from);
    return fr__math_reinterpret(kb, x, from, n->dtype);
}

static int random_bits(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    const fr__index *none = fr__index_new(&s->t->arena, 0);
    int key = none ? fr__lower_below(s, n->in[0], &none) : 0;
    if (!none || kb->failed)
        return kb->failed = true, 0;
    const fr__tnode *k = node(s, key);
    int64_t step = fr__is_leaf(k) && !s->t->leaves.at[k->slot].contiguous
                       ? s->t->leaves.at[k->slot].strides[k->ndim - 1]
                       : 1;
    int word[2];
    for (int j = 0; j < 2; j++) {
        fr__kaccess a = {
            .buf = (uint16_t)fr__lower_buffer(s, key, none->offset + j * step, FR__BUF_IN),
            .vaxis = -1};
        word[j] = fr__k(kb, FR__K_LOAD, FR__KU32, -1, -1, -1, fr__kb_access(kb, &a));
    }
    return fr__math_random(kb, word[0], word[1], fr__lower_number(s, m),
                           fr__lower_int(s, n->size));
}

/* Indices below 0 count from the end; what is out of range reads the nearest element. */
static int gathered(fr__lowering *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    fr__taken at;
    const fr__index *of =
        fr__index_of_indices(&s->t->arena, s->group->axis, m, n, node(s, n->in[1]));
    if (!fr__lower_taken(s, n, m, &at) || !of)
        return kb->failed = true, 0;
    const fr__tnode *x = node(s, n->in[0]);
    int64_t size = x->shape[n->par[0]];
    int i =
        fr__kcast(kb, fr__lower_operand(s, n->in[1], of, node(s, n->in[1])->dtype), FR__KI64);
    int zero = fr__kconst(kb, FR__KI64, 0), count = fr__lower_int(s, size),
        last = fr__lower_int(s, size - 1);
    i = fr__k(kb, FR__K_SEL, FR__KI64, fr__kcmp(kb, FR__K_LT, i, zero),
              fr__k2(kb, FR__K_ADD, i, count), i, 0);
    i = fr__k2(kb, FR__K_MIN, fr__k2(kb, FR__K_MAX, i, zero), last);
    if (at.stride != 1)
        i = fr__k2(kb, FR__K_MUL, i, fr__lower_int(s, at.stride));
    int buf = fr__lower_buffer(s, at.base, at.offset + at.map->offset, FR__BUF_IN);
    fr__kaccess a = {.buf = (uint16_t)buf};
    fr__lower_address(s, &a, at.map);
    return fr__k(kb, FR__K_LOAD, fr__ktype_of(n->dtype), -1, i, -1, fr__kb_access(kb, &a));
}

/* A node's value from its inputs' (reductions are made by their stage). */
static int computed(fr__lowering *s, int i, const fr__index *m)
{
    const fr__tnode *n = node(s, i);
    switch (fr__ops[n->op].class) {
    case FR__ELEMENTWISE: return elementwise(s, n, m);
    case FR__CAST: return n->op == FR__OP_REINTERPRET ? reinterpreted(s, n, m) : cast(s, n, m);
    case FR__TAKE: return gathered(s, n, m);
    case FR__PUT:
    case FR__COPY: return fr__lower_value(s, n->in[0], m);
    case FR__GENERATE:
        if (n->op == FR__OP_RANDOM_BITS)
            return random_bits(s, n, m);
        return fr__kcast(&s->kb, fr__lower_number(s, m), fr__ktype_of(n->dtype));
    case FR__VIEW: {
        const fr__index *up =
            fr__index_through(&s->t->arena, s->group->axis, m, n, node(s, n->in[0]));
        return up ? fr__lower_operand(s, n->in[0], up, n->dtype) : (s->kb.failed = true, 0);
    }
    case FR__SOURCE: return literal(s, n, n->dtype);
    default:
        fr__fail(FR__E_INTERNAL, "lower: %s is wanted before it is made", fr__ops[n->op].name);
        s->kb.failed = true;
        return 0;
    }
}

/* The member that operand i comes from, NULL if from none. */
static fr__lower_member *member_below(const fr__lowering *s, int i)
{
    while (is_passed(s, i))
        i = node(s, i)->in[0];
    return fr__lower_member_at(s, i);
}

/* Makes what member `own` stands on, in order, so that recursion stays shallow in a long chain. */
static void make_below(fr__lowering *s, const fr__lower_member *own)
{
    int last = (int)(own - s->members.at);
    bool *wanted = fr__arena_zalloc(&s->t->arena, sizeof *wanted * (size_t)(last + 1));
    if (!wanted) {
        s->kb.failed = true;
        return;
    }
    wanted[last] = true;
    for (int k = last; k >= 0; k--) {
        const fr__lower_member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        wanted[k] = wanted[k] && x->scratch < 0 &&
                    !(x->value >= 0 && fr__kb_live(&s->kb, x->value)) &&
                    fr__ops[n->op].class != FR__REDUCE;
        for (int j = 0; wanted[k] && j < n->nin; j++) {
            const fr__lower_member *in = member_below(s, n->in[j]);
            if (in)
                wanted[in - s->members.at] = true;
        }
    }
    for (int k = 0; k < last && !s->kb.failed; k++)
        if (wanted[k])
            fr__lower_value(s, s->members.at[k].node, node(s, s->members.at[k].node)->map);
}

/* Recursion goes as deep as a group of SHALLOW members has them. */
int fr__lower_value(fr__lowering *s, int i, const fr__index *m)
{
    i = fr__lower_below(s, i, &m);
    if (s->kb.failed)
        return 0;
    const fr__tnode *n = node(s, i);
    fr__lower_member *own = fr__lower_member_at(s, i);
    if (!own)
        return is_inlined(n) ? computed(s, i, m) : fr__lower_load(s, i, m);
    if (own->value >= 0 && fr__kb_live(&s->kb, own->value))
        return own->value;
    if (s->members.n > SHALLOW && !s->in_order) {
        s->in_order = true;
        make_below(s, own);
        s->in_order = false;
        if (s->kb.failed)
            return 0;
    }
    int v;
    if (own->scratch >= 0) { /* wanted by what is made later than planned */
        fr__lower_reload(s, own);
        v = own->value;
    } else {
        v = computed(s, i, n->map);
    }
    own->value = s->kb.failed ? -1 : v;
    return v;
}
