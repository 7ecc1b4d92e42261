/* lower.c - from a group of a trace to a kernel
 *
 *   capture -> simplify -> layout -> split -> fuse -> merge -> [lower] -> plan -> program
 *
 * needs   a fused trace
 * gives   a checked kernel, its argument words, and what a launch needs to know
 *
 * Axes that every access walks through alike are merged; the axis with most unit strides becomes
 * the vector. Kept axes make the root loop, reduced axes inner loops (lower_stages.c).
 */
#include "kernel/lowering.h"

#include <stdlib.h>

enum {
    FEW_UNITS = 64, /* indices of the root loop below which the vector axis is cut */
#ifdef FERRULE_HARD
    CHUNK = 64,
    CROSSED = 32,
#else
    CHUNK = 4096, /* elements of such a piece */
    CROSSED = 32, /* and where the vector crosses an array */
#endif
    MEDIUM =
        40, /* operations of a body that two vectors at once still do good: longer chains would
                       fill what the processor looks ahead */
    LONG = 512,     /* elements of rows that are worth a stream of their own */
    FEW = 8,        /* of them at a time */
    MOST_ROWS = 4,  /* of scratch memory for what is reduced: as many stages ... */
    MOST_AXES = 6,  /* ... of so many axes have no more loops than a kernel may */
    SHORT_AXIS = 8, /* too short to be the vector, if a longer one is there */
};

_Static_assert((int)FR__LOOPS <= (int)FR__KMAXAXES, "what fuse promises fits in a kernel");

/* ---- axes --------------------------------------------------------------------------- */

static bool mergeable(const fr__lowering *s, int a)
{
    const fr__gaxis *x = &s->group->axis[a], *y = x + 1;
    if (x->reduced != y->reduced || x->split >= 0 || y->split >= 0)
        return false;
    int64_t row = y->extent; /* of what is packed part by part the rows stay */
    for (int i = a + 2; s->group->packed && i < s->group->naxes; i++)
        row *= s->group->axis[i].extent;
    if (s->group->packed && row == s->group->packed)
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

static void merge_axes(fr__lowering *s)
{
    int to[FR__GAXES];
    for (int a = 0; a < s->group->naxes; a++) {
        const fr__gaxis *x = &s->group->axis[a];
        if (a && mergeable(s, a - 1)) {
            s->axis[s->naxes - 1].extent *= x->extent;
            s->axis[s->naxes - 1].inner = a;
        } else {
            s->axis[s->naxes++] = (fr__lower_axis){.extent = x->extent,
                                                   .reduced = x->reduced,
                                                   .split = x->split < 0 ? -1 : to[x->split],
                                                   .block = x->block,
                                                   .inner = a,
                                                   .kaxis = -1};
        }
        to[a] = s->naxes - 1;
    }
}

/* Elements that an access walks over. */
static double volume(const fr__lowering *s, const fr__index *m)
{
    double n = 1;
    for (int f = 0; f < s->naxes; f++)
        n *= stride_of(s, m, f) ? (double)s->axis[f].extent : 1;
    return n;
}

static void choose_vector(fr__lowering *s)
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
    if (s->group->packed)
        s->vec = s->naxes - 1;
    else if (best >= 0 && s->axis[best].extent < SHORT_AXIS &&
             s->axis[longest].extent >= 8 * SHORT_AXIS)
        s->vec = longest;
}

int64_t fr__lower_reduced_volume(const fr__lowering *s)
{
    int64_t n = 1;
    for (int f = 0; f < s->naxes; f++)
        if (s->axis[f].reduced)
            n *= s->axis[f].extent;
    return n;
}

int64_t fr__lower_vector_length(const fr__lowering *s)
{
    const fr__lower_axis *x = &s->axis[s->vec];
    return x->split >= 0 ? fr__min64(x->block, x->extent) : x->extent;
}

int fr__lower_unroll(int cost, int64_t extent)
{
    int u = cost <= 3 ? 4 : cost <= MEDIUM ? 2 : 1;
    while (u > 1 && extent < 2 * FR__LANES * u)
        u /= 2;
    return u;
}

static uint16_t word_once(fr__lowering *s, int *word, int64_t value)
{
    if (!*word)
        *word = fr__kb_int(&s->kb, value);
    return (uint16_t)*word;
}

void fr__lower_open_axis(fr__lowering *s, int f, int bind, int unroll)
{
    fr__lower_axis *x = &s->axis[f];
    fr__kaxis a = {.bind = (uint8_t)bind,
                   .unroll = (uint8_t)unroll,
                   .split = -1,
                   .extent = word_once(s, &x->extent_word, x->extent)};
    if (x->split >= 0) {
        a.split = (int16_t)s->axis[x->split].kaxis;
        a.block = word_once(s, &x->block_word, x->block);
    }
    s->axis[f].kaxis = fr__kb_axis(&s->kb, a);
    fr__kb_open(&s->kb, s->axis[f].kaxis);
}

/* ---- the root loop ------------------------------------------------------------------ */

static int total_cost(const fr__lowering *s)
{
    int cost = 0;
    for (int k = 0; k < s->members.n; k++)
        cost += fr__op_cost(node(s, s->members.at[k].node));
    return cost + 1;
}

/* A kept axis along which an array lies that the vector crosses (a transposed read); -1: none. */
static int crossed_axis(const fr__lowering *s)
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

/* Whether the reduced axes go round outside the vector, a few rows at a time, with what they make in
 * scratch memory: rows are read in long streams. Otherwise a vector goes down its columns, with what
 * they make in registers: as many streams as there are rows, which no prefetcher follows. */
static bool goes_by_rows(fr__lowering *s)
{
    int rows = 0, reduced = 0;
    for (int f = 0; f < s->naxes; f++)
        if (s->axis[f].reduced) {
            s->row = f;
            reduced++;
        }
    if (s->t->place || s->axis[s->vec].extent < LONG || !reduced || reduced > 2 ||
        s->naxes > MOST_AXES || s->axis[s->row].extent < 2 * FEW ||
        (s->axis[s->row].split >= 0 && s->axis[s->row].block % FEW))
        return false;
    for (int k = 0; k < s->members.n; k++) {
        const fr__tnode *n = node(s, s->members.at[k].node);
        bool reduce = fr__ops[n->op].class == FR__REDUCE;
        if (reduce && fr__ktype_of(n->dtype) == FR__KB1)
            return false;
        rows += reduce;
    }
    return rows > 0 && rows <= MOST_ROWS;
}

/* The axis of rows is cut into few at a time. */
static void cut_rows(fr__lowering *s)
{
    fr__lower_axis *row = &s->axis[s->row], *few = &s->axis[s->few = FR__GAXES + 1];
    *few = (fr__lower_axis){.extent = (row->extent + FEW - 1) / FEW,
                            .split = row->split,
                            .block = row->block / FEW,
                            .inner = FR__GAXES,
                            .kaxis = -1};
    row->split = s->few;
    row->block = FEW;
}

/* Binds the kept axes, opens the loops; gives how many. */
static int open_root(fr__lowering *s, fr__lowered *to)
{
    fr__kb *kb = &s->kb;
    int others[FR__GAXES + 1], n = 0, cost = total_cost(s);
    bool kept_vector = s->vec >= 0 && !s->axis[s->vec].reduced;
    int64_t units = 1, inner = fr__lower_reduced_volume(s);
    for (int f = 0; f < s->naxes; f++)
        if (!s->axis[f].reduced && f != s->vec) {
            others[n++] = f;
            units *= s->axis[f].extent;
        }
    to->cost = cost * inner;
    if (kept_vector && n == 0) {
        int unroll = fr__lower_unroll(cost, s->axis[s->vec].extent);
        to->range = s->axis[s->vec].extent;
        fr__lower_open_axis(s, s->vec, FR__BIND_PARVEC, unroll);
        to->grain = FR__LANES * unroll;
        return 1;
    }
    /* The vector axis is cut: in long pieces where there are few units otherwise; in short ones
     * where it crosses an array, with the axis that the array lies along going round inside: the
     * cache lines that a piece touches are then used up before they are gone. */
    int chunk = -1, crossed = kept_vector && s->naxes < FR__GAXES ? crossed_axis(s) : -1;
    int64_t piece = crossed >= 0 ? CROSSED : CHUNK;
    s->by_rows = kept_vector && crossed < 0 && goes_by_rows(s);
    if (kept_vector && s->naxes < FR__GAXES && !s->group->packed &&
        (crossed >= 0 || units < FEW_UNITS || s->by_rows) &&
        s->axis[s->vec].extent >= 2 * piece) {
        chunk = s->chunk = s->naxes;
        s->axis[chunk] =
            (fr__lower_axis){.extent = (s->axis[s->vec].extent + piece - 1) / piece,
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
        fr__lower_axis *x = &s->axis[others[k]];
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
    to->cost *= length;
    if (s->by_rows) {
        cut_rows(s);
        return 1;
    }
    fr__lower_open_axis(s, s->vec, FR__BIND_VEC,
                        s->group->across ? 1 : fr__lower_unroll(cost, length));
    return 2;
}

static int gather_members(fr__lowering *s)
{
    for (int i = s->group->first; i >= 0; i = node(s, i)->next) {
        const fr__tnode *n = node(s, i);
        if (fr__vec_push(&s->members,
                         (fr__lower_member){.node = i, .value = -1, .scratch = -1}))
            return -1;
        const fr__index *out = n->flags & FR__T_STORE ? fr__lower_output_map(s, n) : NULL;
        if (out && fr__lower_note(s, out, 3))
            return -1;
        if (fr__ops[n->op].class == FR__GENERATE && fr__lower_note(s, n->map, 0))
            return -1;
        if (fr__ops[n->op].class == FR__SOURCE || n->op == FR__OP_RANDOM_BITS)
            continue;
        const fr__index *m = fr__lower_input_map(s, n);
        if (!m && !fr__failed())
            return fr__fail_int(FR__E_INTERNAL, "lower: node %d has no map of its input", i);
        fr__taken from;
        if (n->op == FR__OP_TAKE &&
            (!fr__lower_taken(s, n, n->map, &from) || fr__lower_note(s, from.map, 2)))
            return -1;
        for (int j = first_input(n); m && j < end_input(n); j++)
            if (fr__lower_note_sources(s, n->in[j], m))
                return -1;
        if (!m)
            return -1;
    }
    return 0;
}

int fr__lower(fr__trace *t, int group, fr__lowered *to)
{
    fr__lowering s = {
        .t = t, .g = group, .group = &t->groups.at[group], .vec = -1, .chunk = -1};
    *to = (fr__lowered){0};
    int status = -1;
    if (fr__kb_init(&s.kb, &t->arena) || gather_members(&s))
        goto out;
    s.kb.tables = !t->place;
    merge_axes(&s);
    choose_vector(&s);
    int opened = open_root(&s, to);
    if (fr__lower_body(&s) || fr__failed())
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
    fr__vec_free(&s.strides);
    return status;
}
