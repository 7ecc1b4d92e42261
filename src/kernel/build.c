/* build.c - builds kernels: instructions find their own level */
#include "kernel/build.h"

#include <math.h>

enum { MAX_INSTRUCTIONS = 60000 };

int fr__kb_init(fr__kb *b, fr__arena *arena)
{
    *b = (fr__kb){.arena = arena, .limit = MAX_INSTRUCTIONS};
    b->table_room = 256;
    b->table = fr__calloc((size_t)b->table_room, sizeof *b->table);
    b->failed = !b->table ||
                fr__vec_push(&b->blocks, (fr__kblock){.parent = -1, .axis = -1, .open = true});
    if (!b->failed) /* most kernels' instructions: they needn't move */
        b->failed = fr__vec_reserve(&b->ins, 64) || fr__vec_reserve(&b->block_of, 64) ||
                    fr__vec_reserve(&b->words, 16);
    fr__kb_word(b, FR__WORD_COPY, 0, 0);
    return b->failed ? -1 : 0;
}

void fr__kb_free(fr__kb *b)
{
    for (int i = 0; i < b->blocks.n; i++)
        fr__vec_free(&b->blocks.at[i].list);
    fr__vec_free(&b->ins);
    fr__vec_free(&b->block_of);
    fr__vec_free(&b->blocks);
    fr__vec_free(&b->bufs);
    fr__vec_free(&b->access);
    fr__vec_free(&b->axes);
    fr__vec_free(&b->axis_block);
    fr__vec_free(&b->words);
    fr__free(b->table);
    b->table = NULL;
}

#define GIVE_INDEX(vec, ...)                                                                   \
    do {                                                                                       \
        if (b->failed || fr__vec_push(vec, __VA_ARGS__)) {                                     \
            b->failed = true;                                                                  \
            return 0;                                                                          \
        }                                                                                      \
        return (vec)->n - 1;                                                                   \
    } while (0)

int fr__kb_word(fr__kb *b, int kind, int64_t value, int ktype)
{
    fr__word w = {.kind = (uint8_t)kind, .ktype = (uint8_t)ktype, .value = value};
    if (kind == FR__WORD_LITERAL)
        for (int i = 0; i < b->words.n; i++)
            if (b->words.at[i].kind == kind && b->words.at[i].ktype == ktype &&
                b->words.at[i].value == value)
                return i;
    if (b->words.n >= UINT16_MAX) {
        fr__fail(FR__E_LIMIT, "a kernel with more than %d arguments", UINT16_MAX);
        b->failed = true;
    }
    GIVE_INDEX(&b->words, w);
}

/* Every size and stride has a word of its own: words that happen to be equal now must not make
 * another kernel than words that differ. */
int fr__kb_int(fr__kb *b, int64_t value) { return fr__kb_word(b, FR__WORD_INT, value, 0); }

int fr__kb_buffer(fr__kb *b, int dtype, int role, int word)
{
    fr__kbuf buf = {.dtype = (uint8_t)dtype, .role = (uint8_t)role, .word = (uint16_t)word};
    GIVE_INDEX(&b->bufs, buf);
}

int fr__kb_axis(fr__kb *b, fr__kaxis axis)
{
    if (b->axes.n >= FR__KMAXAXES && !b->failed) {
        fr__fail(FR__E_LIMIT, "a kernel with more than %d loops", FR__KMAXAXES);
        b->failed = true;
    }
    if (b->failed || fr__vec_push(&b->axis_block, -1))
        b->failed = true;
    GIVE_INDEX(&b->axes, axis);
}

static bool same_access(const fr__kb *b, const fr__kaccess *x, const fr__kaccess *y)
{
    if (x->buf != y->buf || x->vec != y->vec || x->nterm != y->nterm || x->nt != y->nt ||
        x->vaxis != y->vaxis || !x->prefetch != !y->prefetch || x->sparse != y->sparse)
        return false;
    if (x->vec == FR__VEC_STRIDE &&
        b->words.at[x->vstride].value != b->words.at[y->vstride].value)
        return false;
    for (int i = 0; i < x->nterm; i++)
        if (x->term[i].axis != y->term[i].axis ||
            b->words.at[x->term[i].word].value != b->words.at[y->term[i].word].value)
            return false;
    return true;
}

int fr__kb_access(fr__kb *b, const fr__kaccess *a)
{
    for (int i = 0; i < b->access.n; i++)
        if (same_access(b, &b->access.at[i], a))
            return i;
    GIVE_INDEX(&b->access, *a);
}

void fr__kb_open(fr__kb *b, int axis)
{
    if (b->failed)
        return;
    if (fr__vec_push(&b->blocks, (fr__kblock){.parent = b->now, .axis = axis, .open = true})) {
        b->failed = true;
        return;
    }
    b->now = b->blocks.n - 1;
    b->axis_block.at[axis] = b->now;
}

/* A closed loop goes into its parent's list as minus its number. */
void fr__kb_close(fr__kb *b)
{
    if (b->failed)
        return;
    fr__kblock *block = &b->blocks.at[b->now];
    block->open = false;
    int32_t me = -b->now;
    b->now = block->parent;
    if (fr__vec_push(&b->blocks.at[b->now].list, me))
        b->failed = true;
}

bool fr__kb_live(const fr__kb *b, int i)
{
    return !b->failed && b->blocks.at[b->block_of.at[i]].open;
}

/* ---- instructions ------------------------------------------------------------------- */

static int depth_of(const fr__kb *b, int block)
{
    int d = 0;
    for (; block > 0; block = b->blocks.at[block].parent)
        d++;
    return d;
}

static int deeper(const fr__kb *b, int x, int y)
{
    return depth_of(b, x) >= depth_of(b, y) ? x : y;
}

/* The loop whose index an axis has: OUTER axes go with the root loop. */
static int block_of_axis(const fr__kb *b, int axis)
{
    if (b->axes.at[axis].bind == FR__BIND_OUTER)
        for (int i = 0; i < b->axes.n; i++)
            if (b->axes.at[i].bind == FR__BIND_PAR)
                return b->axis_block.at[i];
    return b->axis_block.at[axis];
}

/* The outermost block where the instruction can stand. */
static int home(const fr__kb *b, const fr__kins *in)
{
    if (in->op == FR__K_ACC || in->op == FR__K_UPD || in->op == FR__K_RED ||
        in->op == FR__K_STORE)
        return b->now;
    int block = 0;
    const int32_t operands[3] = {in->a, in->b, in->c};
    for (int i = 0; i < 3; i++)
        if (operands[i] >= 0)
            block = deeper(b, b->block_of.at[operands[i]], block);
    if (in->op == FR__K_AXIS)
        block = block_of_axis(b, (int)in->imm);
    if (in->op == FR__K_LOAD) {
        const fr__kaccess *a = &b->access.at[in->imm];
        for (int i = 0; i < a->nterm; i++)
            block = deeper(b, block_of_axis(b, a->term[i].axis), block);
        if (a->vec != FR__VEC_NONE)
            block = deeper(b, block_of_axis(b, a->vaxis), block);
        if (b->bufs.at[a->buf].role == FR__BUF_SCRATCH)
            block = b->now;
        if (block ==
            0) /* memory is touched inside the root loop only: its range may be empty */
            block = 1;
    }
    return block;
}

static uint64_t hash_of(const fr__kins *in)
{
    uint64_t h = fr__hash_mix((uint64_t)in->op << 8 | in->type, (uint64_t)in->imm);
    return fr__hash_mix(h ^ ((uint64_t)(uint32_t)in->a << 32 | (uint32_t)in->b),
                        (uint32_t)in->c);
}

static bool equal(const fr__kins *x, const fr__kins *y)
{
    return x->op == y->op && x->type == y->type && x->a == y->a && x->b == y->b &&
           x->c == y->c && x->imm == y->imm;
}

static void grow_table(fr__kb *b)
{
    int room = b->table_room * 2;
    int32_t *table = fr__calloc((size_t)room, sizeof *table);
    if (!table) {
        b->failed = true;
        return;
    }
    for (int i = 0; i < b->table_room; i++)
        if (b->table[i]) {
            uint64_t at = hash_of(&b->ins.at[b->table[i] - 1]);
            while (table[at & (uint64_t)(room - 1)])
                at++;
            table[at & (uint64_t)(room - 1)] = b->table[i];
        }
    fr__free(b->table);
    b->table = table;
    b->table_room = room;
}

static bool pure(int op)
{
    return op != FR__K_ACC && op != FR__K_UPD && op != FR__K_RED && op != FR__K_STORE;
}

int fr__k(fr__kb *b, int op, int type, int x, int y, int z, int64_t imm)
{
    if (b->failed)
        return 0;
    if (op == FR__K_XOR && x == y) /* LLVM 19 takes 0 / mask for 0 where it finds this itself */
        return fr__k(b, FR__K_CONST, type, -1, -1, -1, 0);
    fr__kins in = {
        .op = (uint8_t)op, .type = (uint8_t)type, .a = x, .b = y, .c = z, .imm = imm};
    uint64_t at = hash_of(&in), mask = (uint64_t)b->table_room - 1;
    int32_t *slot = &b->table[at & mask];
    if (pure(op)) {
        for (; *slot; slot = &b->table[++at & mask])
            if (equal(&b->ins.at[*slot - 1], &in)) {
                if (fr__kb_live(b, *slot - 1))
                    return *slot - 1;
                break; /* of a closed loop: make it anew, and remember the new one */
            }
    }
    int block = home(b, &in);
    if (b->ins.n >= b->limit) {
        fr__fail(FR__E_LIMIT, "a kernel of more than %d instructions", b->limit);
        b->failed = true;
        return 0;
    }
    if (fr__vec_push(&b->ins, in) || fr__vec_push(&b->block_of, block) ||
        fr__vec_push(&b->blocks.at[block].list, b->ins.n - 1)) {
        b->failed = true;
        return 0;
    }
    if (pure(op)) {
        bool fresh = !*slot;
        *slot = b->ins.n;
        if (fresh && b->ins.n * 2 > b->table_room)
            grow_table(b);
    }
    return b->ins.n - 1;
}

int fr__kconst_bits(fr__kb *b, int type, int64_t bits)
{
    return fr__k(b, FR__K_CONST, type, -1, -1, -1, bits);
}

int fr__kidentity(fr__kb *b, int op, int type)
{
    int64_t bits = (int64_t)fr__kidentity_bits(op, type);
    return fr__kconst_bits(b, type, type == FR__KI32 ? (int32_t)bits : bits);
}

int fr__kconst(fr__kb *b, int type, double v)
{
    int64_t bits = 0;
    if (type == FR__KF32) {
        float f = (float)v;
        memcpy(&bits, &f, sizeof f);
    } else if (type == FR__KF64) {
        memcpy(&bits, &v, sizeof v);
    } else if (type == FR__KB1) {
        bits = v != 0;
    } else if (type == FR__KU64 && v >= 0x1p63) {
        bits = (int64_t)(uint64_t)v;
    } else {
        bits = (int64_t)v;
        if (type == FR__KU32)
            bits = (int64_t)(uint32_t)bits;
    }
    return fr__kconst_bits(b, type, bits);
}

/* What is compared with itself is known, but for NaN. */
int fr__kcmp(fr__kb *b, int op, int x, int y)
{
    int type = fr__ktype_at(b, x);
    if (x == y && type != FR__KF32 && type != FR__KF64)
        return fr__kconst(b, FR__KB1, op == FR__K_EQ || op == FR__K_LE);
    return fr__k(b, op, FR__KB1, x, y, -1, 0);
}

int fr__kcast(fr__kb *b, int x, int type)
{
    if (fr__ktype_at(b, x) == type)
        return x;
    return fr__k(b, FR__K_CVT, type, x, -1, -1, 0);
}

/* ---- the finished kernel ------------------------------------------------------------ */

typedef struct {
    fr__kins *to;
    int32_t *number; /* old -> new */
    int n;
    int varying;
} fr__layout;

static bool is_vector_loop(const fr__kb *b, int axis)
{
    return axis >= 0 &&
           (b->axes.at[axis].bind == FR__BIND_VEC || b->axes.at[axis].bind == FR__BIND_PARVEC);
}

/* Blocks nest as deep as an array has axes: recursion is bounded by that. */
static void lay_out(const fr__kb *b, int block, bool vector, fr__layout *l)
{
    const fr__kblock *from = &b->blocks.at[block];
    vector |= is_vector_loop(b, from->axis);
    if (block)
        l->to[l->n++] = (fr__kins){FR__K_LOOP, FR__KNONE, -1, -1, -1, from->axis};
    for (int i = 0; i < from->list.n; i++) {
        int32_t at = from->list.at[i];
        if (at < 0) {
            lay_out(b, -at, vector, l);
            continue;
        }
        fr__kins in = b->ins.at[at];
        in.a = in.a < 0 ? -1 : l->number[in.a];
        in.b = in.b < 0 ? -1 : l->number[in.b];
        in.c = in.c < 0 ? -1 : l->number[in.c];
        l->number[at] = l->n;
        l->varying += vector;
        l->to[l->n++] = in;
    }
    if (block)
        l->to[l->n++] = (fr__kins){FR__K_END, FR__KNONE, -1, -1, -1, from->axis};
}

fr__kernel *fr__kb_finish(fr__kb *b)
{
    if (b->failed) {
        if (!fr__failed())
            fr__fail(FR__E_MEMORY, "no memory to build a kernel");
        return NULL;
    }
    fr__kernel *k = fr__calloc(1, sizeof *k);
    fr__layout l = {fr__malloc(sizeof *l.to * (size_t)(b->ins.n + 2 * b->blocks.n)),
                    fr__malloc(sizeof *l.number * (size_t)(b->ins.n + 1)), 0, 0};
    if (!k || !l.to || !l.number)
        goto fail;
    lay_out(b, 0, false, &l);
    k->ins = l.to;
    l.to = NULL;
    k->nins = l.n;
    k->nvarying = l.varying;
    k->nbuf = b->bufs.n;
    k->naccess = b->access.n;
    k->naxis = b->axes.n;
    k->nword = b->words.n;
    k->bufs = fr__memdup(b->bufs.at, sizeof *k->bufs * (size_t)k->nbuf);
    k->access = fr__memdup(b->access.at, sizeof *k->access * (size_t)k->naccess);
    k->axis = fr__memdup(b->axes.at, sizeof *k->axis * (size_t)k->naxis);
    if (!k->bufs || !k->access || !k->axis)
        goto fail;
    fr__free(l.number);
#ifndef NDEBUG
    if (fr__kernel_check(k)) {
        fr__kernel_free(k);
        return NULL;
    }
#endif
    return k;
fail:
    fr__free(l.to);
    fr__free(l.number);
    fr__kernel_free(k);
    return NULL;
}
