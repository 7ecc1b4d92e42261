/* lower.c - from a group of a trace to a kernel
 *
 *   capture -> simplify -> split -> fuse -> merge -> [lower] -> plan -> program
 *
 * needs   a fused trace
 * gives   a checked kernel, its argument words, and what a launch needs to know
 *
 * Axes that every access walks through alike are merged; the axis with most unit strides becomes
 * the vector. Kept axes make the root loop, reduced axes inner loops. A group with reductions is
 * made in stages: each stage goes over the reduced axes once, and what it reduces is there for
 * the next (softmax: maximum; sum of exponentials; quotient). Costly values that several stages
 * want are kept in scratch memory while the row is in cache.
 */
#include "kernel/lower.h"

#include <stdlib.h>

enum {
    SCRATCH_LIMIT = 256 << 10, /* bytes of a row's kept values: well inside L2 */
    FEW_UNITS = 64,            /* indices of the root loop below which the vector axis is cut */
#ifdef FERRULE_HARD
    CHUNK = 64,
    CROSSED = 32,
#else
    CHUNK = 4096, /* elements of such a piece */
    CROSSED = 32, /* and where the vector crosses an array */
#endif
    SHALLOW = 64,   /* members of a group; of more the values are made in order */
    MUCH = 10,      /* scalar operations an element that hide a fetch */
    SHORT_AXIS = 8, /* too short to be the vector, if a longer one is there */
};

_Static_assert((int)FR__LOOPS <= (int)FR__KMAXAXES, "what fuse promises fits in a kernel");

typedef struct {
    int64_t extent;
    bool reduced;
    int split; /* final axis it is split by, -1 */
    int64_t block;
    int inner; /* the group's axis whose stride is this axis' */
    int kaxis; /* in the kernel, in the loop that is open */
} final_axis;

typedef struct {
    int32_t node;   /* member */
    int8_t full;    /* varies along reduced axes */
    int need, last; /* stage at which it can be made; last stage that wants it */
    int32_t value;  /* instruction, -1: none yet */
    int scratch;    /* access, -1: none */
} member;

typedef struct {
    fr__trace *t;
    int g;
    const fr__group *group;
    fr__kb kb;
    int naxes;
    final_axis axis[FR__GAXES + 1];  /* and one for pieces of the vector axis */
    int vec;                         /* final axis, -1: none */
    FR__VEC(const fr__index *) maps; /* of all memory accesses and generators */
    FR__VEC(int) weights;            /* of a unit stride in each */
    FR__VEC(member) members;
    int32_t *member_of; /* node -> member + 1; by position in the group */
    FR__VEC(fr__pointer) pointers;
    FR__VEC(int) pointer_buf;
    bool in_order; /* members are being made in order */
    int64_t scratch_at;
    int root;     /* kernel axis of the root loop */
    int stage;    /* the one being made */
    int fetching; /* the one that fetches the next row */
    int64_t bytes;
} state;

static const fr__tnode *node(const state *s, int i) { return &s->t->nodes.at[i]; }

static member *member_at(const state *s, int i)
{
    if (node(s, i)->group != s->g)
        return NULL;
    int low = 0, high = s->members.n - 1; /* members stand in order of their nodes */
    while (low < high) {
        int mid = (low + high) / 2;
        if (s->members.at[mid].node < i)
            low = mid + 1;
        else
            high = mid;
    }
    return &s->members.at[low];
}

/* ---- sources: where values come from ------------------------------------------------ */

/* Follows views that are not members down to a member, a stored node, a leaf, an inlined node. */
static int below_views(state *s, int i, const fr__index **m)
{
    while (fr__is_view(node(s, i)) && node(s, i)->group != s->g &&
           !(node(s, i)->flags & FR__T_STORE && node(s, i)->group >= 0)) {
        const fr__tnode *n = node(s, i);
        const fr__index *up =
            fr__index_through(&s->t->arena, s->group->axis, *m, n, node(s, n->in[0]));
        if (!up) {
            fr__fail(FR__E_INTERNAL,
                     "lower: node %d is addressed in a way that its view cannot be", i);
            s->kb.failed = true;
            return i;
        }
        *m = up;
        i = n->in[0];
    }
    return i;
}

static bool is_inlined(const fr__tnode *n)
{
    return n->op == FR__OP_NUMBER || n->flags & FR__T_INLINE;
}

/* A strided leaf's map in memory; NULL where it has none and its index must be taken apart. */
static const fr__index *leaf_map(state *s, const fr__tnode *leaf, const fr__index *m)
{
    const fr__leafref *l = &s->t->leaves.at[leaf->slot];
    return l->contiguous ? m
                         : fr__index_strided(&s->t->arena, s->group->axis, m, leaf->ndim,
                                             leaf->shape, l->strides, 0);
}

static int note_map(state *s, const fr__index *m, int weight)
{
    return fr__vec_push(&s->maps, m) || fr__vec_push(&s->weights, weight) ? -1 : 0;
}

/* Notes every address below input i; recursion only through inlined nodes, which are few deep. */
static int note_sources(state *s, int i, const fr__index *m)
{
    i = below_views(s, i, &m);
    const fr__tnode *n = node(s, i);
    if (s->kb.failed || n->group == s->g || n->op == FR__OP_NUMBER)
        return s->kb.failed ? -1 : 0;
    if (fr__is_leaf(n)) {
        const fr__index *in_memory = leaf_map(s, n, m);
        return note_map(s, in_memory ? in_memory : m, 2);
    }
    if (n->flags & FR__T_INLINE) {
        if (n->op == FR__OP_IOTA && note_map(s, m, 0))
            return -1;
        for (int j = 0; j < n->nin; j++)
            if (note_sources(s, n->in[j], m))
                return -1;
        return 0;
    }
    return note_map(s, m, 2);
}

/* Which inputs of a member are computed with it; the others are memory that it reads or writes by
 * itself: the key of random bits, what a PUT is written into, what a TAKE gathers from. */
static int first_input(const fr__tnode *n) { return n->op == FR__OP_TAKE ? 1 : 0; }
static int end_input(const fr__tnode *n)
{
    return n->op == FR__OP_RANDOM_BITS || fr__ops[n->op].class == FR__SOURCE ? 0
           : n->op == FR__OP_PUT                                             ? 1
                                                                             : n->nin;
}

/* What a TAKE gathers from, in memory. */
typedef struct {
    const fr__index *map; /* of the element that index 0 reads */
    int base;
    int64_t offset, stride; /* of the base; of the axis */
} taken;

static bool taken_from(state *s, const fr__tnode *n, const fr__index *m, taken *to)
{
    fr__place_in p;
    int at;
    if (!fr__memory_of(s->t, n->in[0], &p, &at)) {
        fr__fail(FR__E_INTERNAL, "lower: node %d is gathered from and was not stored", at);
        return false;
    }
    to->base = p.base;
    to->offset = p.offset;
    to->stride = p.strides[n->par[0]];
    to->map = fr__index_beside(&s->t->arena, s->group->axis, m, n, node(s, n->in[0]), p.strides,
                               node(s, n->in[1])->ndim);
    return to->map != NULL;
}

/* The map that a member's inputs are addressed by. */
static const fr__index *map_of_input(state *s, const fr__tnode *n)
{
    if (fr__is_view(n))
        return fr__index_through(&s->t->arena, s->group->axis, n->map, n, node(s, n->in[0]));
    if (n->op == FR__OP_RANDOM_BITS) /* the key */
        return fr__index_new(&s->t->arena, 0);
    if (n->op == FR__OP_TAKE)
        return fr__index_of_indices(&s->t->arena, s->group->axis, n->map, n, node(s, n->in[1]));
    if (fr__ops[n->op].class != FR__REDUCE)
        return n->map;
    return fr__index_reduced(&s->t->arena, s->group, n->map, n, node(s, n->in[0]));
}

/* ---- axes --------------------------------------------------------------------------- */

static bool mergeable(const state *s, int a)
{
    const fr__gaxis *x = &s->group->axis[a], *y = x + 1;
    if (x->reduced != y->reduced || x->split >= 0 || y->split >= 0)
        return false;
    for (int i = 0; i < s->group->naxes; i++)
        if (s->group->axis[i].split == a || s->group->axis[i].split == a + 1)
            return false;
    for (int i = 0; i < s->maps.n; i++)
        if (fr__index_stride(s->maps.at[i], a) !=
            fr__index_stride(s->maps.at[i], a + 1) * y->extent)
            return false;
    return true;
}

static void merge_axes(state *s)
{
    int to[FR__GAXES];
    for (int a = 0; a < s->group->naxes; a++) {
        const fr__gaxis *x = &s->group->axis[a];
        if (a && mergeable(s, a - 1)) {
            s->axis[s->naxes - 1].extent *= x->extent;
            s->axis[s->naxes - 1].inner = a;
        } else {
            s->axis[s->naxes++] = (final_axis){
                x->extent, x->reduced, x->split < 0 ? -1 : to[x->split], x->block, a, -1};
        }
        to[a] = s->naxes - 1;
    }
}

static int64_t stride_of(const state *s, const fr__index *m, int f)
{
    return fr__index_stride(m, s->axis[f].inner);
}

/* Elements that an access walks over. */
static double volume(const state *s, const fr__index *m)
{
    double n = 1;
    for (int f = 0; f < s->naxes; f++)
        n *= stride_of(s, m, f) ? (double)s->axis[f].extent : 1;
    return n;
}

static void choose_vector(state *s)
{
    int best = -1, longest = -1;
    double best_score = 0;
    for (int f = 0; f < s->naxes; f++) {
        double score = 0;
        for (int i = 0; i < s->maps.n; i++)
            score += stride_of(s, s->maps.at[i], f) == 1
                         ? s->weights.at[i] * volume(s, s->maps.at[i])
                         : 0;
        bool is_split_index = false;
        for (int h = 0; h < s->naxes; h++)
            is_split_index |= s->axis[h].split == f;
        if (is_split_index)
            continue;
        if (score >= best_score)
            best = f, best_score = score;
        if (longest < 0 || s->axis[f].extent > s->axis[longest].extent)
            longest = f;
    }
    s->vec = best;
    if (best >= 0 && s->axis[best].extent < SHORT_AXIS &&
        s->axis[longest].extent >= 8 * SHORT_AXIS)
        s->vec = longest;
}

/* ---- addresses ---------------------------------------------------------------------- */

/* The kernel's buffer for a node (or leaf) at an element offset. */
static int buffer_for(state *s, int i, int64_t offset, int role)
{
    const fr__tnode *n = node(s, i);
    bool leaf = fr__is_leaf(n);
    int32_t id = leaf ? n->slot : i;
    for (int k = 0; k < s->pointers.n; k++)
        if (s->pointers.at[k].is_leaf == leaf && s->pointers.at[k].node == id &&
            s->pointers.at[k].offset == offset)
            return s->pointer_buf.at[k];
    int buf = fr__kb_buffer(&s->kb, n->dtype, role, 0);
    int word = fr__kb_word(&s->kb, FR__WORD_BUFFER, buf, 0);
    if (s->kb.failed)
        return 0;
    s->kb.bufs.at[buf].word = (uint16_t)word;
    fr__pointer p = {.word = (uint16_t)word, .is_leaf = leaf, .node = id, .offset = offset};
    if (fr__vec_push(&s->pointers, p) || fr__vec_push(&s->pointer_buf, buf))
        s->kb.failed = true;
    s->bytes += fr__dsize(n->dtype) * n->size;
    return buf;
}

/* Terms of an address, for the loops that are open. */
static void fill_access(state *s, fr__kaccess *a, const fr__index *m)
{
    a->vec = FR__VEC_NONE;
    a->vaxis = -1;
    for (int f = 0; f < s->naxes; f++) {
        int64_t stride = stride_of(s, m, f);
        if (!stride)
            continue;
        if (f == s->vec) {
            a->vec = stride == 1 ? FR__VEC_UNIT : FR__VEC_STRIDE;
            a->vaxis = (int16_t)s->axis[f].kaxis;
            if (stride != 1)
                a->vstride = (uint16_t)fr__kb_int(&s->kb, stride);
            continue;
        }
        a->term[a->nterm].axis = (uint16_t)s->axis[f].kaxis;
        a->term[a->nterm++].word = (uint16_t)fr__kb_int(&s->kb, stride);
    }
}

static int param_index(state *s, int64_t v)
{
    return fr__k(&s->kb, FR__K_PARAM, FR__KI64, -1, -1, -1, fr__kb_int(&s->kb, v));
}

/* The element number itself, as a value. */
static int element_number(state *s, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int sum = m->offset ? param_index(s, m->offset) : -1;
    for (int f = 0; f < s->naxes; f++) {
        int64_t stride = stride_of(s, m, f);
        if (!stride)
            continue;
        int x = fr__k(kb, FR__K_AXIS, FR__KI64, -1, -1, -1, s->axis[f].kaxis);
        if (stride != 1)
            x = fr__k2(kb, FR__K_MUL, x, param_index(s, stride));
        sum = sum < 0 ? x : fr__k2(kb, FR__K_ADD, sum, x);
    }
    return sum < 0 ? fr__kconst(kb, FR__KI64, 0) : sum;
}

/* While a later stage works on a row that is in cache, the next one is fetched: otherwise memory
 * would be idle there, and the processor in the first stage. Best where there is much to compute,
 * else beside the stores of the last stage, as a copy does it. */
static void prefetch_next_row(const state *s, const fr__tnode *n, fr__kaccess *a)
{
    const fr__host_info *host = fr__host();
    int64_t bytes = n->size * fr__dsize(n->dtype);
    if (s->stage != s->fetching || a->vec != FR__VEC_UNIT || !s->axis[s->vec].reduced ||
        bytes < 2 * host->l2)
        return;
    for (int k = 0; k < a->nterm; k++)
        if (a->term[k].axis == s->root) {
            int64_t row =
                s->kb.failed ? 0 : s->kb.words.at[a->term[k].word].value * fr__dsize(n->dtype);
            if (row > 0 && row <= host->l2 / 4)
                a->prefetch = a->term[k].word;
        }
}

static int load(state *s, int i, const fr__index *m)
{
    const fr__tnode *n = node(s, i);
    fr__kb *kb = &s->kb;
    int type = fr__ktype_of(n->dtype);
    const fr__index *at = fr__is_leaf(n) ? leaf_map(s, n, m) : m;
    fr__kaccess a = {0};
    if (at) {
        a.buf = (uint16_t)buffer_for(s, i, at->offset, FR__BUF_IN);
        fill_access(s, &a, at);
        prefetch_next_row(s, n, &a);
        return fr__k(kb, FR__K_LOAD, type, -1, -1, -1, fr__kb_access(kb, &a));
    }
    /* Strides that don't go with these axes: the element number taken apart, dimension by
     * dimension. Slow, and rare: a reshape of a transposed array. */
    const fr__leafref *l = &s->t->leaves.at[n->slot];
    int rest = element_number(s, m), sum = -1;
    for (int d = n->ndim - 1; d >= 0; d--) {
        int size = param_index(s, n->shape[d]);
        int digit = fr__k2(kb, FR__K_MOD, rest, size);
        rest = fr__k2(kb, FR__K_DIV, rest, size);
        int part = fr__k2(kb, FR__K_MUL, digit, param_index(s, l->strides[d]));
        sum = sum < 0 ? part : fr__k2(kb, FR__K_ADD, sum, part);
    }
    a.buf = (uint16_t)buffer_for(s, i, 0, FR__BUF_IN);
    a.vaxis = -1;
    return fr__k(kb, FR__K_LOAD, type, -1, sum, -1, fr__kb_access(kb, &a));
}

/* Where a member's values go in its buffer: row-major, or for a PUT into a part of it. */
static const fr__index *store_map(state *s, const fr__tnode *n)
{
    if (n->op != FR__OP_PUT)
        return n->map;
    const fr__tnode *part = node(s, n->in[0]);
    int64_t strides[FR_MAX_NDIM], offset = 0;
    fr__row_major(n->ndim, n->shape, strides);
    for (int d = 0; d < n->ndim; d++) {
        offset += strides[d] * n->par[d];
        strides[d] *= n->par[n->ndim + d];
    }
    return fr__index_strided(&s->t->arena, s->group->axis, n->map, part->ndim, part->shape,
                             strides, offset);
}

static void store(state *s, int value, int i)
{
    const fr__tnode *n = node(s, i);
    const fr__index *m = store_map(s, n);
    if (!m) {
        s->kb.failed = true;
        return;
    }
    fr__kaccess a = {.buf = (uint16_t)buffer_for(s, i, m->offset, FR__BUF_OUT)};
    fill_access(s, &a, m);
    a.nt = n->op != FR__OP_PUT && a.vec == FR__VEC_UNIT &&
           n->size * fr__dsize(n->dtype) >= fr__host()->l3 / 2;
    for (int f = 0; f < s->naxes; f++)
        a.nt = a.nt && (f == s->vec || stride_of(s, n->map, f) % FR__LANES == 0);
    value = fr__kcast(&s->kb, value, fr__ktype_of(n->dtype));
    if (!s->kb.failed)
        fr__k(&s->kb, FR__K_STORE, fr__ktype_at(&s->kb, value), value, -1, -1,
              fr__kb_access(&s->kb, &a));
}

/* ---- values ------------------------------------------------------------------------- */

static int value_of(state *s, int i, const fr__index *m);

/* A kept value, loaded in the loops that are open now. */
static void reload(state *s, member *x, int type)
{
    fr__kb *kb = &s->kb;
    fr__kaccess a = {.buf = (uint16_t)x->scratch,
                     .vec = FR__VEC_UNIT,
                     .vaxis = (int16_t)s->axis[s->vec].kaxis};
    int64_t step = s->axis[s->vec].extent;
    for (int f = s->naxes - 1; f >= 0; f--)
        if (s->axis[f].reduced && f != s->vec) {
            a.term[a.nterm].axis = (uint16_t)s->axis[f].kaxis;
            a.term[a.nterm++].word = (uint16_t)fr__kb_int(kb, step);
            step *= s->axis[f].extent;
        }
    x->value = fr__k(kb, FR__K_LOAD, type, -1, -1, -1, fr__kb_access(kb, &a));
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

static int literal(state *s, const fr__tnode *n, int dtype)
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
static int operand(state *s, int i, const fr__index *m, int dtype)
{
    const fr__tnode *n = node(s, i);
    if (n->op == FR__OP_NUMBER)
        return literal(s, n, dtype);
    return fr__kcast(&s->kb, value_of(s, i, m), fr__ktype_of(dtype));
}

static int elementwise(state *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int dtype = fr__compute_dtype(s->t, n), rule = fr__ops[n->op].rule, x[3] = {-1, -1, -1};
    bool logic = rule == FR__RULE_LOGICAL || rule == FR__RULE_SELECT ||
                 rule == FR__RULE_COMPARE || rule == FR__RULE_BITS;
    for (int j = 0; j < n->nin; j++) {
        x[j] = operand(s, n->in[j], m, rule == FR__RULE_SELECT && j == 0 ? FR_BOOL : dtype);
        if (dtype == FR_BOOL && !logic) /* arithmetic on truth values is done on 0 and 1 */
            x[j] = fr__kcast(kb, x[j], FR__KI32);
    }
    int y = fr__scalar_form(kb, n->op, x[0], x[1], x[2]);
    if (n->dtype == FR_BOOL)
        return fr__kcast(kb, y, FR__KB1);
    return rule == FR__RULE_COMPARE || rule == FR__RULE_SELECT ? y : wrapped(kb, y, n->dtype);
}

static int cast(state *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    const fr__tnode *from = node(s, n->in[0]);
    int x = operand(s, n->in[0], m, from->dtype), to = fr__ktype_of(n->dtype);
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

static int reinterpreted(state *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int from = node(s, n->in[0])->dtype, x = operand(s, n->in[0], m, from);
    if (from == FR_FLOAT16 || from == FR_BFLOAT16) /* as memory would hold it */
        x = fr__k(kb, FR__K_ROUND, FR__KF32, x, -1, -1, from);
    return fr__math_reinterpret(kb, x, from, n->dtype);
}

static int random_bits(state *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    const fr__index *none = fr__index_new(&s->t->arena, 0);
    int key = none ? below_views(s, n->in[0], &none) : 0;
    if (!none || kb->failed)
        return kb->failed = true, 0;
    const fr__tnode *k = node(s, key);
    int64_t step = fr__is_leaf(k) && !s->t->leaves.at[k->slot].contiguous
                       ? s->t->leaves.at[k->slot].strides[k->ndim - 1]
                       : 1;
    int word[2];
    for (int j = 0; j < 2; j++) {
        fr__kaccess a = {.buf =
                             (uint16_t)buffer_for(s, key, none->offset + j * step, FR__BUF_IN),
                         .vaxis = -1};
        word[j] = fr__k(kb, FR__K_LOAD, FR__KU32, -1, -1, -1, fr__kb_access(kb, &a));
    }
    return fr__math_random(kb, word[0], word[1], element_number(s, m), param_index(s, n->size));
}

/* Indices below 0 count from the end; what is out of range reads the nearest element. */
static int gathered(state *s, const fr__tnode *n, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    taken at;
    const fr__index *of =
        fr__index_of_indices(&s->t->arena, s->group->axis, m, n, node(s, n->in[1]));
    if (!taken_from(s, n, m, &at) || !of)
        return kb->failed = true, 0;
    const fr__tnode *x = node(s, n->in[0]);
    int64_t size = x->shape[n->par[0]];
    int i = fr__kcast(kb, operand(s, n->in[1], of, node(s, n->in[1])->dtype), FR__KI64);
    int zero = fr__kconst(kb, FR__KI64, 0), count = param_index(s, size),
        last = param_index(s, size - 1);
    i = fr__k(kb, FR__K_SEL, FR__KI64, fr__kcmp(kb, FR__K_LT, i, zero),
              fr__k2(kb, FR__K_ADD, i, count), i, 0);
    i = fr__k2(kb, FR__K_MIN, fr__k2(kb, FR__K_MAX, i, zero), last);
    if (at.stride != 1)
        i = fr__k2(kb, FR__K_MUL, i, param_index(s, at.stride));
    int buf = buffer_for(s, at.base, at.offset + at.map->offset, FR__BUF_IN);
    fr__kaccess a = {.buf = (uint16_t)buf};
    fill_access(s, &a, at.map);
    return fr__k(kb, FR__K_LOAD, fr__ktype_of(n->dtype), -1, i, -1, fr__kb_access(kb, &a));
}

/* A node's value from its inputs' (reductions are made by their stage). */
static int computed(state *s, int i, const fr__index *m)
{
    const fr__tnode *n = node(s, i);
    switch (fr__ops[n->op].class) {
    case FR__ELEMENTWISE: return elementwise(s, n, m);
    case FR__CAST: return n->op == FR__OP_REINTERPRET ? reinterpreted(s, n, m) : cast(s, n, m);
    case FR__TAKE: return gathered(s, n, m);
    case FR__PUT:
    case FR__COPY: return value_of(s, n->in[0], m);
    case FR__GENERATE:
        if (n->op == FR__OP_RANDOM_BITS)
            return random_bits(s, n, m);
        return fr__kcast(&s->kb, element_number(s, m), fr__ktype_of(n->dtype));
    case FR__VIEW: {
        const fr__index *up =
            fr__index_through(&s->t->arena, s->group->axis, m, n, node(s, n->in[0]));
        return up ? operand(s, n->in[0], up, n->dtype) : (s->kb.failed = true, 0);
    }
    case FR__SOURCE: return literal(s, n, n->dtype);
    default:
        fr__fail(FR__E_INTERNAL, "lower: %s is wanted before it is made", fr__ops[n->op].name);
        s->kb.failed = true;
        return 0;
    }
}

/* The member that operand i comes from, NULL if from none. */
static member *member_below(const state *s, int i)
{
    while (fr__is_view(node(s, i)) && node(s, i)->group != s->g &&
           !(node(s, i)->flags & FR__T_STORE && node(s, i)->group >= 0))
        i = node(s, i)->in[0];
    return member_at(s, i);
}

/* Makes what member `own` stands on, in order, so that recursion stays shallow in a long chain. */
static void make_below(state *s, const member *own)
{
    int last = (int)(own - s->members.at);
    bool *wanted = fr__arena_zalloc(&s->t->arena, sizeof *wanted * (size_t)(last + 1));
    if (!wanted) {
        s->kb.failed = true;
        return;
    }
    wanted[last] = true;
    for (int k = last; k >= 0; k--) {
        const member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        wanted[k] = wanted[k] && x->scratch < 0 &&
                    !(x->value >= 0 && fr__kb_live(&s->kb, x->value)) &&
                    fr__ops[n->op].class != FR__REDUCE;
        for (int j = 0; wanted[k] && j < n->nin; j++) {
            const member *in = member_below(s, n->in[j]);
            if (in)
                wanted[in - s->members.at] = true;
        }
    }
    for (int k = 0; k < last && !s->kb.failed; k++)
        if (wanted[k])
            value_of(s, s->members.at[k].node, node(s, s->members.at[k].node)->map);
}

/* Recursion goes as deep as a group of SHALLOW members has them. */
static int value_of(state *s, int i, const fr__index *m)
{
    i = below_views(s, i, &m);
    if (s->kb.failed)
        return 0;
    const fr__tnode *n = node(s, i);
    member *own = member_at(s, i);
    if (!own)
        return is_inlined(n) ? computed(s, i, m) : load(s, i, m);
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
        reload(s, own, fr__ktype_of(n->dtype));
        v = own->value;
    } else {
        v = computed(s, i, n->map);
    }
    own->value = s->kb.failed ? -1 : v;
    return v;
}

/* ---- stages ------------------------------------------------------------------------- */

static int ready(state *s, int i, const fr__index *m);

/* The stage after which input i (below views and inlined nodes) is there. */
static int inputs_ready(state *s, const fr__tnode *n, const fr__index *m)
{
    int at = 0;
    s->kb.failed |= !m;
    for (int j = first_input(n); m && j < end_input(n); j++) {
        int r = ready(s, n->in[j], m);
        at = r > at ? r : at;
    }
    return at;
}

static int ready(state *s, int i, const fr__index *m)
{
    i = below_views(s, i, &m);
    if (s->kb.failed)
        return 0;
    const fr__tnode *n = node(s, i);
    member *own = member_at(s, i);
    if (own)
        return own->need + (fr__ops[n->op].class == FR__REDUCE);
    return n->flags & FR__T_INLINE ? inputs_ready(s, n, m) : 0;
}

static bool is_full(const state *s, const fr__index *m)
{
    for (int a = 0; a < s->group->naxes; a++)
        if (s->group->axis[a].reduced && fr__index_stride(m, a))
            return true;
    return false;
}

static void mark_last(state *s, int i, const fr__index *m, int stage)
{
    i = below_views(s, i, &m);
    const fr__tnode *n = node(s, i);
    member *own = member_at(s, i);
    if (own)
        own->last = stage > own->last ? stage : own->last;
    else if (n->flags & FR__T_INLINE)
        for (int j = 0; j < n->nin; j++)
            mark_last(s, n->in[j], m, stage);
}

static bool is_costly(const fr__tnode *n) { return fr__op_cost(n) >= 10; }

/* When each member can be made and when it is wanted last; gives the number of stages. */
static int plan_stages(state *s)
{
    int stages = 0;
    for (int k = 0; k < s->members.n && !s->kb.failed; k++) {
        member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        x->full = is_full(s, n->map);
        bool reduce = fr__ops[n->op].class == FR__REDUCE;
        x->need =
            fr__ops[n->op].class == FR__SOURCE ? 0 : inputs_ready(s, n, map_of_input(s, n));
        if (reduce || (x->full && n->flags & FR__T_STORE))
            stages = x->need + 1 > stages ? x->need + 1 : stages;
    }
    for (int k = s->members.n - 1; k >= 0 && !s->kb.failed; k--) {
        member *x = &s->members.at[k];
        const fr__tnode *n = node(s, x->node);
        bool reduce = fr__ops[n->op].class == FR__REDUCE;
        if (x->full && n->flags & FR__T_STORE)
            x->last = x->need > x->last ? x->need : x->last;
        int stage = reduce ? x->need : is_costly(n) ? x->need : x->last;
        const fr__index *m = map_of_input(s, n);
        for (int j = first_input(n); m && j < end_input(n); j++)
            mark_last(s, n->in[j], m, stage);
    }
    return stages;
}

static int64_t reduced_volume(const state *s)
{
    int64_t n = 1;
    for (int f = 0; f < s->naxes; f++)
        if (s->axis[f].reduced)
            n *= s->axis[f].extent;
    return n;
}

static int unroll_for(int cost, int64_t extent)
{
    int u = cost <= 3 ? 4 : cost <= 8 ? 2 : 1;
    while (u > 1 && extent < 2 * FR__LANES * u)
        u /= 2;
    return u;
}

static void open_axis(state *s, int f, int bind, int unroll)
{
    const final_axis *x = &s->axis[f];
    fr__kaxis a = {.bind = (uint8_t)bind,
                   .unroll = (uint8_t)unroll,
                   .split = -1,
                   .extent = (uint16_t)fr__kb_int(&s->kb, x->extent)};
    if (x->split >= 0) {
        a.split = (int16_t)s->axis[x->split].kaxis;
        a.block = (uint16_t)fr__kb_int(&s->kb, x->block);
    }
    s->axis[f].kaxis = fr__kb_axis(&s->kb, a);
    fr__kb_open(&s->kb, s->axis[f].kaxis);
}

/* Keeps a costly value for later stages: a row of scratch memory along the reduced axes. */
static void keep_in_scratch(state *s, member *x)
{
    fr__kb *kb = &s->kb;
    int type = kb->ins.at[x->value].type;
    int64_t elements = reduced_volume(s), bytes = elements * fr__ktype_size[type];
    if (!s->axis[s->vec].reduced || bytes > SCRATCH_LIMIT || type == FR__KB1)
        return;
    static const uint8_t dtype_of[] = {
        [FR__KB1] = FR_BOOL,    [FR__KI32] = FR_INT32,  [FR__KU32] = FR_UINT32,
        [FR__KI64] = FR_INT64,  [FR__KU64] = FR_UINT64, [FR__KF32] = FR_FLOAT32,
        [FR__KF64] = FR_FLOAT64};
    fr__kaccess a = {.vec = FR__VEC_UNIT, .vaxis = (int16_t)s->axis[s->vec].kaxis};
    a.buf = (uint16_t)fr__kb_buffer(kb, dtype_of[type], FR__BUF_SCRATCH,
                                    fr__kb_word(kb, FR__WORD_SCRATCH, s->scratch_at, 0));
    int64_t step = s->axis[s->vec].extent;
    for (int f = s->naxes - 1; f >= 0; f--)
        if (s->axis[f].reduced && f != s->vec) {
            a.term[a.nterm].axis = (uint16_t)s->axis[f].kaxis;
            a.term[a.nterm++].word = (uint16_t)fr__kb_int(kb, step);
            step *= s->axis[f].extent;
        }
    fr__k(kb, FR__K_STORE, type, x->value, -1, -1, fr__kb_access(kb, &a));
    x->scratch = 0; /* the access is made anew in each stage, whose loops are its own */
    kb->bufs.at[a.buf].dtype = dtype_of[type];
    x->scratch = a.buf;
    s->scratch_at += (bytes + 8 * FR__LANES * FR__KMAXUNROLL + 63) & ~(int64_t)63;
}

static int stage_cost(const state *s, int stage)
{
    int cost = 0;
    for (int k = 0; k < s->members.n; k++) {
        const member *x = &s->members.at[k];
        if (x->full && x->need <= stage && x->last >= stage)
            cost += x->scratch >= 0 ? 1 : fr__op_cost(node(s, x->node));
        else if (!x->full && x->need == stage &&
                 fr__ops[node(s, x->node)->op].class == FR__REDUCE)
            cost += 1;
    }
    return cost;
}

/* One pass over the reduced axes: what is reduced in it, what is stored, what is kept. */
static int make_stage(state *s, int stage)
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
            open_axis(s, f, FR__BIND_SERIAL, 1);
            opened++;
        }
    if (s->vec >= 0 && s->axis[s->vec].reduced) {
        int64_t extent = s->axis[s->vec].split >= 0
                             ? fr__min64(s->axis[s->vec].block, s->axis[s->vec].extent)
                             : s->axis[s->vec].extent;
        open_axis(s, s->vec, FR__BIND_VEC, unroll_for(stage_cost(s, stage), extent));
        opened++;
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        member *x = &s->members.at[k];
        if (x->scratch >= 0 && x->last >= stage)
            reload(s, x, fr__ktype_of(node(s, x->node)->dtype));
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        const fr__tnode *n = node(s, s->members.at[k].node);
        if (acc[k] < 0)
            continue;
        const fr__index *m = map_of_input(s, n);
        int v = m ? operand(s, n->in[0], m, n->dtype) : 0;
        if (m && !kb->failed)
            fr__k(kb, FR__K_UPD, FR__KNONE, acc[k], v, -1, 0);
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        member *x = &s->members.at[k];
        if (x->full && x->need == stage && node(s, x->node)->flags & FR__T_STORE) {
            int v = value_of(s, x->node, node(s, x->node)->map);
            if (!kb->failed)
                store(s, v, x->node);
        }
    }
    for (int k = 0; k < s->members.n && !kb->failed; k++) {
        member *x = &s->members.at[k];
        if (x->full && x->scratch < 0 && x->last > stage && x->value >= 0 &&
            fr__kb_live(kb, x->value) && is_costly(node(s, x->node)))
            keep_in_scratch(s, x);
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
static int make_body(state *s)
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
        member *x = &s->members.at[k];
        if (!x->full && node(s, x->node)->flags & FR__T_STORE) {
            int v = value_of(s, x->node, node(s, x->node)->map);
            if (!s->kb.failed)
                store(s, v, x->node);
        }
    }
    return s->kb.failed ? -1 : 0;
}

/* ---- the root loop ------------------------------------------------------------------ */

static int total_cost(const state *s)
{
    int cost = 0;
    for (int k = 0; k < s->members.n; k++)
        cost += fr__op_cost(node(s, s->members.at[k].node));
    return cost + 1;
}

/* A kept axis along which an array lies that the vector crosses (a transposed read); -1: none. */
static int crossed_axis(const state *s)
{
    for (int i = 0; i < s->maps.n; i++) {
        if (llabs(stride_of(s, s->maps.at[i], s->vec)) <= 1)
            continue;
        for (int f = 0; f < s->naxes; f++)
            if (f != s->vec && !s->axis[f].reduced &&
                llabs(stride_of(s, s->maps.at[i], f)) == 1)
                return f;
    }
    return -1;
}

/* Binds the kept axes, opens the loops; gives how many. */
static int open_root(state *s, fr__lowered *to)
{
    fr__kb *kb = &s->kb;
    int others[FR__GAXES + 1], n = 0, cost = total_cost(s);
    bool kept_vector = s->vec >= 0 && !s->axis[s->vec].reduced;
    int64_t units = 1, inner = reduced_volume(s);
    for (int f = 0; f < s->naxes; f++)
        if (!s->axis[f].reduced && f != s->vec) {
            others[n++] = f;
            units *= s->axis[f].extent;
        }
    to->cost = cost * inner;
    if (kept_vector && n == 0) {
        int unroll = unroll_for(cost, s->axis[s->vec].extent);
        to->range = s->axis[s->vec].extent;
        open_axis(s, s->vec, FR__BIND_PARVEC, unroll);
        to->grain = FR__LANES * unroll;
        return 1;
    }
    /* The vector axis is cut: in long pieces where there are few units otherwise; in short ones
     * where it crosses an array, with the axis that the array lies along going round inside: the
     * cache lines that a piece touches are then used up before they are gone. */
    int chunk = -1, crossed = kept_vector && s->naxes < FR__GAXES ? crossed_axis(s) : -1;
    int64_t piece = crossed >= 0 ? CROSSED : CHUNK;
    if (kept_vector && s->naxes < FR__GAXES && (crossed >= 0 || units < FEW_UNITS) &&
        s->axis[s->vec].extent >= 2 * piece) {
        chunk = s->naxes;
        s->axis[chunk] = (final_axis){.extent = (s->axis[s->vec].extent + piece - 1) / piece,
                                      .split = -1,
                                      .inner = FR__GAXES,
                                      .kaxis = -1};
        units *= s->axis[chunk].extent;
        s->axis[s->vec].split = chunk;
        s->axis[s->vec].block = piece;
        if (crossed >= 0) {
            memmove(others + 1, others, sizeof *others * (size_t)n);
            others[0] = chunk;
            for (int k = 1; k < n; k++) /* the crossed axis last: it goes round fastest */
                if (others[k] == crossed) {
                    others[k] = others[n];
                    others[n] = crossed;
                }
        } else {
            others[n] = chunk;
        }
        n++;
    }
    to->range = units;
    to->grain = 1;
    fr__kaxis root = {.bind = FR__BIND_PAR,
                      .unroll = 1,
                      .split = -1,
                      .extent = (uint16_t)fr__kb_int(kb, units)};
    s->root = fr__kb_axis(kb, root);
    fr__kb_open(kb, s->root);
    int64_t div = 1;
    for (int k = n - 1; k >= 0; k--) {
        final_axis *x = &s->axis[others[k]];
        if (n == 1) {
            x->kaxis = s->root;
            break;
        }
        fr__kaxis a = {.bind = FR__BIND_OUTER,
                       .unroll = 1,
                       .split = -1,
                       .extent = (uint16_t)fr__kb_int(kb, x->extent),
                       .div = (uint16_t)fr__kb_int(kb, div)};
        x->kaxis = fr__kb_axis(kb, a);
        div *= x->extent;
    }
    if (!kept_vector)
        return 1;
    int64_t length = chunk >= 0 ? piece : s->axis[s->vec].extent;
    open_axis(s, s->vec, FR__BIND_VEC, unroll_for(cost, length));
    to->cost *= length;
    return 2;
}

static int gather_members(state *s)
{
    for (int i = s->group->first; i >= 0; i = node(s, i)->next) {
        const fr__tnode *n = node(s, i);
        if (fr__vec_push(&s->members, (member){.node = i, .value = -1, .scratch = -1}))
            return -1;
        const fr__index *out = n->flags & FR__T_STORE ? store_map(s, n) : NULL;
        if (out && note_map(s, out, 3))
            return -1;
        if (fr__ops[n->op].class == FR__GENERATE && note_map(s, n->map, 0))
            return -1;
        if (fr__ops[n->op].class == FR__SOURCE || n->op == FR__OP_RANDOM_BITS)
            continue;
        const fr__index *m = map_of_input(s, n);
        if (!m && !fr__failed())
            return fr__fail_int(FR__E_INTERNAL, "lower: node %d has no map of its input", i);
        taken from;
        if (n->op == FR__OP_TAKE &&
            (!taken_from(s, n, n->map, &from) || note_map(s, from.map, 2)))
            return -1;
        for (int j = first_input(n); m && j < end_input(n); j++)
            if (note_sources(s, n->in[j], m))
                return -1;
        if (!m)
            return -1;
    }
    return 0;
}

int fr__lower(fr__trace *t, int group, fr__lowered *to)
{
    state s = {.t = t, .g = group, .group = &t->groups.at[group], .vec = -1};
    *to = (fr__lowered){0};
    int status = -1;
    if (fr__kb_init(&s.kb, &t->arena) || gather_members(&s))
        goto out;
    merge_axes(&s);
    choose_vector(&s);
    int opened = open_root(&s, to);
    if (make_body(&s) || fr__failed())
        goto out;
    while (opened--)
        fr__kb_close(&s.kb);
    to->kernel = fr__kb_finish(&s.kb);
    if (!to->kernel)
        goto out;
    to->nwords = s.kb.words.n;
    to->npointers = s.pointers.n;
    to->words = fr__arena_alloc(&t->arena, sizeof *to->words * (size_t)to->nwords);
    to->pointers =
        fr__arena_alloc(&t->arena, sizeof *to->pointers * (size_t)(to->npointers + 1));
    if (!to->words || !to->pointers) {
        fr__kernel_free(to->kernel);
        goto out;
    }
    memcpy(to->words, s.kb.words.at, sizeof *to->words * (size_t)to->nwords);
    if (to->npointers)
        memcpy(to->pointers, s.pointers.at, sizeof *to->pointers * (size_t)to->npointers);
    to->scratch = (size_t)s.scratch_at;
    to->bytes = s.bytes;
    status = 0;
out:
    if (status && !fr__failed())
        fr__fail(FR__E_MEMORY, "no memory to lower a kernel");
    fr__kb_free(&s.kb);
    fr__vec_free(&s.maps);
    fr__vec_free(&s.weights);
    fr__vec_free(&s.members);
    fr__vec_free(&s.pointers);
    fr__vec_free(&s.pointer_buf);
    return status;
}
