/* lower_memory.c - lowering: where values come from and go to
 *
 * needs   a group, its members; for addresses the axes as they will be, in the loops that are open
 * gives   maps of what is read and written; loads, stores and rows of scratch memory
 */
#include "kernel/lowering.h"

enum {
    SCRATCH_LIMIT = 256 << 10, /* bytes of a row's kept values: well inside L2 */
    AHEAD = 512,               /* bytes */
    LARGE = 256 << 10,         /* bytes of a result that is worth going past the cache */
};

fr__lower_member *fr__lower_member_at(const fr__lowering *s, int i)
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
int fr__lower_below(fr__lowering *s, int i, const fr__index **m)
{
    while (is_passed(s, i)) {
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

/* A strided leaf's map in memory; NULL where it has none and its index must be taken apart. */
static const fr__index *leaf_map(fr__lowering *s, const fr__tnode *leaf, const fr__index *m)
{
    const fr__leafref *l = &s->t->leaves.at[leaf->slot];
    return l->contiguous ? m
                         : fr__index_strided(&s->t->arena, s->group->axis, m, leaf->ndim,
                                             leaf->shape, l->strides, 0);
}

int fr__lower_note(fr__lowering *s, const fr__index *m, int weight)
{
    return fr__vec_push(&s->maps, m) || fr__vec_push(&s->weights, weight) ? -1 : 0;
}

/* Notes every address below input i; recursion only through inlined nodes, which are few deep. */
int fr__lower_note_sources(fr__lowering *s, int i, const fr__index *m)
{
    i = fr__lower_below(s, i, &m);
    const fr__tnode *n = node(s, i);
    if (s->kb.failed || n->group == s->g || n->op == FR__OP_NUMBER)
        return s->kb.failed ? -1 : 0;
    if (fr__is_leaf(n)) {
        const fr__index *in_memory = leaf_map(s, n, m);
        return fr__lower_note(s, in_memory ? in_memory : m, 2);
    }
    if (n->flags & FR__T_INLINE) {
        if (n->op == FR__OP_IOTA && fr__lower_note(s, m, 0))
            return -1;
        for (int j = 0; j < n->nin; j++)
            if (fr__lower_note_sources(s, n->in[j], m))
                return -1;
        return 0;
    }
    return fr__lower_note(s, m, 2);
}

bool fr__lower_taken(fr__lowering *s, const fr__tnode *n, const fr__index *m, fr__taken *to)
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
const fr__index *fr__lower_input_map(fr__lowering *s, const fr__tnode *n)
{
    return fr__index_of_input(s->t, s->group, n);
}

/* ---- addresses ---------------------------------------------------------------------- */

/* The kernel's buffer for a node (or leaf) at an element offset. */
int fr__lower_buffer(fr__lowering *s, int i, int64_t offset, int role)
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

static uint16_t stride_word(fr__lowering *s, int buf, int f, int64_t stride)
{
    for (int k = 0; k < s->strides.n; k++) {
        const fr__lower_stride *x = &s->strides.at[k];
        if (x->buf == buf && x->axis == f && x->stride == stride)
            return (uint16_t)x->word;
    }
    fr__lower_stride x = {buf, f, fr__kb_int(&s->kb, stride), stride};
    s->kb.failed |= fr__vec_push(&s->strides, x) != 0;
    return (uint16_t)x.word;
}

/* Terms of an address, for the loops that are open. */
void fr__lower_address(fr__lowering *s, fr__kaccess *a, const fr__index *m)
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
                a->vstride = stride_word(s, a->buf, f, stride);
            continue;
        }
        a->term[a->nterm].axis = (uint16_t)s->axis[f].kaxis;
        a->term[a->nterm++].word = stride_word(s, a->buf, f, stride);
    }
}

int fr__lower_int(fr__lowering *s, int64_t v)
{
    return fr__k(&s->kb, FR__K_PARAM, FR__KI64, -1, -1, -1, fr__kb_int(&s->kb, v));
}

/* The element number itself, as a value. */
int fr__lower_number(fr__lowering *s, const fr__index *m)
{
    fr__kb *kb = &s->kb;
    int sum = m->offset ? fr__lower_int(s, m->offset) : -1;
    for (int f = 0; f < s->naxes; f++) {
        int64_t stride = stride_of(s, m, f);
        if (!stride)
            continue;
        int x = fr__k(kb, FR__K_AXIS, FR__KI64, -1, -1, -1, s->axis[f].kaxis);
        if (stride != 1)
            x = fr__k2(kb, FR__K_MUL, x, fr__lower_int(s, stride));
        sum = sum < 0 ? x : fr__k2(kb, FR__K_ADD, sum, x);
    }
    return sum < 0 ? fr__kconst(kb, FR__KI64, 0) : sum;
}

/* Elements from a row to the next one of the root loop, as a word; 0: they are not known. */
static int to_next_row(fr__lowering *s, const fr__kaccess *a, int64_t *elements)
{
    const fr__lower_axis *vec = &s->axis[s->vec];
    for (int k = 0; k < a->nterm && !s->kb.failed; k++)
        if (a->term[k].axis == s->root) {
            *elements = s->kb.words.at[a->term[k].word].value;
            return a->term[k].word;
        }
    *elements = vec->split >= 0 && s->axis[vec->split].kaxis == s->root ? vec->block : 0;
    for (int f = 0; f < s->naxes; f++) /* rows of pieces */
        for (int k = 0; k < a->nterm && !s->kb.failed; k++)
            if (a->term[k].axis == s->axis[f].kaxis && s->axis[f].split >= 0 &&
                s->axis[s->axis[f].split].kaxis == s->root)
                *elements = s->kb.words.at[a->term[k].word].value * s->axis[f].block;
    return *elements > 0 ? fr__kb_int(&s->kb, *elements) : 0;
}

/* While a later stage works on a row that is in cache, the next one is fetched: otherwise memory
 * would be idle there, and the processor in the first stage. Best where there is much to compute,
 * else beside the stores of the last stage, as a copy does it. There hints for all lines would take
 * longer than what they are for: every second one sets the hardware's prefetchers going. An array
 * that isn't read in that stage is fetched in the last one. */
static void prefetch_next_row(fr__lowering *s, const fr__tnode *n, fr__kaccess *a)
{
    enum { ROWS_AHEAD = 8 }; /* of which some elements are wanted */
    const fr__host_info *host = fr__host();
    if (s->group->across && a->vec == FR__VEC_UNIT && a->nterm && !s->kb.failed)
        a->prefetch = (uint16_t)fr__kb_int(
            &s->kb, ROWS_AHEAD * s->kb.words.at[a->term[a->nterm - 1].word].value);
    int64_t bytes = n->size * fr__dsize(n->dtype), row;
    bool here = s->stage == s->fetching || (s->stage == s->stages - 1 && s->stage > 0);
    if (s->by_rows || !here || a->vec != FR__VEC_UNIT || !s->axis[s->vec].reduced ||
        bytes < 2 * host->l2)
        return;
    for (int k = 0; s->stage != s->fetching && k < s->kb.access.n; k++)
        if (s->kb.access.at[k].buf == a->buf && s->kb.access.at[k].prefetch)
            return; /* was fetched in an earlier stage */
    int word = to_next_row(s, a, &row);
    if (row > 0 && row * fr__dsize(n->dtype) <= host->l2 / 4) {
        a->prefetch = (uint16_t)word;
        a->sparse = !s->fetching_all || s->stage != s->fetching;
    }
}

/* By rows: a few streams side by side; the hardware doesn't follow them all by itself. */
static void prefetch_in_row(fr__lowering *s, const fr__tnode *n, fr__kaccess *a)
{
    if (s->by_rows && a->vec == FR__VEC_UNIT &&
        n->size * fr__dsize(n->dtype) >= 2 * fr__host()->l2)
        a->prefetch = (uint16_t)fr__kb_int(&s->kb, AHEAD / fr__dsize(n->dtype));
}

int fr__lower_load(fr__lowering *s, int i, const fr__index *m)
{
    const fr__tnode *n = node(s, i);
    fr__kb *kb = &s->kb;
    int type = fr__ktype_of(n->dtype);
    const fr__index *at = fr__is_leaf(n) ? leaf_map(s, n, m) : m;
    fr__kaccess a = {0};
    if (at) {
        a.buf = (uint16_t)fr__lower_buffer(s, i, at->offset, FR__BUF_IN);
        fr__lower_address(s, &a, at);
        prefetch_next_row(s, n, &a);
        prefetch_in_row(s, n, &a);
        return fr__k(kb, FR__K_LOAD, type, -1, -1, -1, fr__kb_access(kb, &a));
    }
    /* Strides that don't go with these axes: the element number fr__taken apart, dimension by
     * dimension. Slow, and rare: a reshape of a transposed array. */
    const fr__leafref *l = &s->t->leaves.at[n->slot];
    int rest = fr__lower_number(s, m), sum = -1;
    for (int d = n->ndim - 1; d >= 0; d--) {
        int size = fr__lower_int(s, n->shape[d]);
        int digit = fr__k2(kb, FR__K_MOD, rest, size);
        rest = fr__k2(kb, FR__K_DIV, rest, size);
        int part = fr__k2(kb, FR__K_MUL, digit, fr__lower_int(s, l->strides[d]));
        sum = sum < 0 ? part : fr__k2(kb, FR__K_ADD, sum, part);
    }
    a.buf = (uint16_t)fr__lower_buffer(s, i, 0, FR__BUF_IN);
    a.vaxis = -1;
    return fr__k(kb, FR__K_LOAD, type, -1, sum, -1, fr__kb_access(kb, &a));
}

/* Where a member's values go in its buffer: row-major, or for a PUT into a part of it. */
const fr__index *fr__lower_output_map(fr__lowering *s, const fr__tnode *n)
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

/* Bytes of what the program is given and gives. */
static int64_t traffic(fr__trace *t)
{
    int64_t bytes = 0;
    for (int i = 0; !t->traffic && i < t->nodes.n; i++) {
        const fr__tnode *n = &t->nodes.at[i];
        if (fr__is_leaf(n) || n->flags & FR__T_OUTPUT)
            bytes += n->size * fr__dsize(n->dtype);
    }
    return t->traffic = t->traffic ? t->traffic : bytes;
}

/* What will not be there any more when somebody comes for it: too large, or a result of a program that
 * goes over more than the cache holds. */
static bool goes_past_cache(fr__lowering *s, const fr__tnode *n)
{
    int64_t bytes = n->size * fr__dsize(n->dtype), cache = fr__host()->l3;
    bool result = n->flags & FR__T_OUTPUT && bytes >= LARGE && !s->t->place;
    return bytes >= cache / 2 || (result && traffic(s->t) >= 2 * cache);
}

void fr__lower_store(fr__lowering *s, int value, int i)
{
    const fr__tnode *n = node(s, i);
    const fr__index *m = fr__lower_output_map(s, n);
    if (!m) {
        s->kb.failed = true;
        return;
    }
    fr__kaccess a = {.buf = (uint16_t)fr__lower_buffer(s, i, m->offset, FR__BUF_OUT)};
    fr__lower_address(s, &a, m);
    a.nt = n->op != FR__OP_PUT && !s->group->packed && a.vec == FR__VEC_UNIT &&
           goes_past_cache(s, n);
    for (int f = 0; f < s->naxes; f++)
        a.nt = a.nt && (f == s->vec || stride_of(s, n->map, f) % FR__LANES == 0);
    value = fr__kcast(&s->kb, value, fr__ktype_of(n->dtype));
    if (!s->kb.failed)
        fr__k(&s->kb, FR__K_STORE, fr__ktype_at(&s->kb, value), value, -1, -1,
              fr__kb_access(&s->kb, &a));
}

/* ---- scratch: rows kept for later stages ---------------------------------------------- */

/* A row of scratch memory along the reduced axes, in the loops that are open now; by rows along the
 * vector, from the beginning of its piece. */
static fr__kaccess scratch_row(fr__lowering *s, int buf)
{
    fr__kaccess a = {
        .buf = (uint16_t)buf, .vec = FR__VEC_UNIT, .vaxis = (int16_t)s->axis[s->vec].kaxis};
    if (s->by_rows) {
        if (s->chunk >= 0) {
            a.term[0].axis = (uint16_t)s->axis[s->chunk].kaxis;
            a.term[0].word = (uint16_t)fr__kb_int(&s->kb, -s->axis[s->vec].block);
            a.nterm = 1;
        }
        return a;
    }
    int64_t step = s->axis[s->vec].extent;
    for (int f = s->naxes - 1; f >= 0; f--)
        if (s->axis[f].reduced && f != s->vec) {
            a.term[a.nterm].axis = (uint16_t)s->axis[f].kaxis;
            a.term[a.nterm++].word = stride_word(s, buf, f, step);
            step *= s->axis[f].extent;
        }
    return a;
}

/* A kept value, loaded in the loops that are open now. */
void fr__lower_reload(fr__lowering *s, fr__lower_member *x)
{
    fr__kaccess a = scratch_row(s, x->scratch);
    x->value = fr__k(&s->kb, FR__K_LOAD, fr__ktype_of(node(s, x->node)->dtype), -1, -1, -1,
                     fr__kb_access(&s->kb, &a));
}

void fr__lower_put(fr__lowering *s, fr__lower_member *x, int value)
{
    static const uint8_t dtype_of[] = {
        [FR__KB1] = FR_BOOL,    [FR__KI32] = FR_INT32,  [FR__KU32] = FR_UINT32,
        [FR__KI64] = FR_INT64,  [FR__KU64] = FR_UINT64, [FR__KF32] = FR_FLOAT32,
        [FR__KF64] = FR_FLOAT64};
    fr__kb *kb = &s->kb;
    int type = fr__ktype_at(kb, value);
    if (x->scratch < 0) {
        int64_t n = s->by_rows ? fr__lower_vector_length(s) : fr__lower_reduced_volume(s);
        int64_t bytes = n * fr__ktype_size[type];
        x->scratch = fr__kb_buffer(kb, dtype_of[type], FR__BUF_SCRATCH,
                                   fr__kb_word(kb, FR__WORD_SCRATCH, s->scratch_at, 0));
        s->scratch_at += (bytes + 8 * FR__LANES * FR__KMAXUNROLL + 63) & ~(int64_t)63;
    }
    fr__kaccess a = scratch_row(s, x->scratch);
    fr__k(kb, FR__K_STORE, type, value, -1, -1, fr__kb_access(kb, &a));
}

/* Keeps a costly value for later stages. */
void fr__lower_keep(fr__lowering *s, fr__lower_member *x)
{
    fr__kb *kb = &s->kb;
    int type = kb->ins.at[x->value].type;
    int64_t elements = fr__lower_reduced_volume(s), bytes = elements * fr__ktype_size[type];
    if (!s->axis[s->vec].reduced || bytes > SCRATCH_LIMIT || type == FR__KB1)
        return;
    fr__lower_put(s, x, x->value);
}
