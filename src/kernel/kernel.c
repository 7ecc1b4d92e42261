/* kernel.c - kernels as such: names, text, checks
 *
 * needs   base (text, errors, memory), the table of dtypes
 * gives   fr__kernel_print, whose text is a kernel's identity; fr__kernel_check, which holds a
 *         kernel to every promise of kernel.h, so that no consumer has to; fr__kernel_free
 */
#include "kernel/kernel.h"

#include <stdio.h>

/* ---- names -------------------------------------------------------------------------- */

const char *const fr__kop_name[FR__K_COUNT] = {
    [FR__K_CONST] = "const", [FR__K_PARAM] = "param",
    [FR__K_AXIS] = "axis",   [FR__K_LOAD] = "load",
    [FR__K_ADD] = "add",     [FR__K_SUB] = "sub",
    [FR__K_MUL] = "mul",     [FR__K_DIV] = "div",
    [FR__K_MOD] = "mod",     [FR__K_MIN] = "min",
    [FR__K_MAX] = "max",     [FR__K_NEG] = "neg",
    [FR__K_ABS] = "abs",     [FR__K_FMA] = "fma",
    [FR__K_SQRT] = "sqrt",   [FR__K_RINT] = "rint",
    [FR__K_FLOOR] = "floor", [FR__K_CEIL] = "ceil",
    [FR__K_TRUNC] = "trunc", [FR__K_COPYSIGN] = "copysign",
    [FR__K_SCALE] = "scale", [FR__K_LOOKUP] = "lookup",
    [FR__K_AND] = "and",     [FR__K_OR] = "or",
    [FR__K_XOR] = "xor",     [FR__K_NOT] = "not",
    [FR__K_SHL] = "shl",     [FR__K_SHR] = "shr",
    [FR__K_MULHI] = "mulhi", [FR__K_LT] = "lt",
    [FR__K_LE] = "le",       [FR__K_EQ] = "eq",
    [FR__K_NE] = "ne",       [FR__K_SEL] = "sel",
    [FR__K_CVT] = "cvt",     [FR__K_BITCAST] = "bitcast",
    [FR__K_ROUND] = "round", [FR__K_ACC] = "acc",
    [FR__K_UPD] = "upd",     [FR__K_RED] = "red",
    [FR__K_LOOP] = "loop",   [FR__K_END] = "end",
    [FR__K_STORE] = "store",
};

const uint8_t fr__kop_arity[FR__K_COUNT] = {
#define X(name, n, t) n,
    FR__KOPS(X)
#undef X
};

const char *const fr__ktype_name[] = {"b1", "i32", "u32", "i64", "u64", "f32", "f64", "none"};
const uint8_t fr__ktype_size[] = {1, 4, 4, 8, 8, 4, 8, 0};

fr__ktype fr__ktype_of(int dtype)
{
    static const uint8_t of[FR_DTYPE_COUNT] = {
        [FR_BOOL] = FR__KB1,     [FR_UINT8] = FR__KU32,     [FR_UINT16] = FR__KU32,
        [FR_UINT32] = FR__KU32,  [FR_UINT64] = FR__KU64,    [FR_INT8] = FR__KI32,
        [FR_INT16] = FR__KI32,   [FR_INT32] = FR__KI32,     [FR_INT64] = FR__KI64,
        [FR_FLOAT16] = FR__KF32, [FR_BFLOAT16] = FR__KF32,  [FR_FLOAT32] = FR__KF32,
        [FR_FLOAT64] = FR__KF64, [FR_COMPLEX64] = FR__KU64,
    };
    return dtype >= 0 && dtype < FR_DTYPE_COUNT ? (fr__ktype)of[dtype] : FR__KNONE;
}

uint64_t fr__kidentity_bits(int op, int type)
{
    static const uint64_t one[] = {1, 1, 1, 1, 1, 0x3f800000, 0x3ff0000000000000};
    static const uint64_t least[] = {0,          0x80000000,        0, 1ull << 63, 0,
                                     0xff800000, 0xfff0000000000000};
    static const uint64_t greatest[] = {1,          INT32_MAX,  UINT32_MAX,        INT64_MAX,
                                        UINT64_MAX, 0x7f800000, 0x7ff0000000000000};

    switch (op) {
    case FR__K_MUL: return one[type];
    case FR__K_MIN: return greatest[type];
    case FR__K_MAX: return least[type];
    case FR__K_AND: return type == FR__KB1 ? 1 : UINT64_MAX;
    default: return 0;
    }
}

/* ---- text --------------------------------------------------------------------------- */

/* Kernels are printed when they are new: pieces are gathered here and added in chunks. */
typedef struct writer {
    fr__text *to;
    int n;
    char at[512];
} writer;

enum { PIECE = 64 }; /* no single piece is longer */

static void flush(writer *w)
{
    fr__text_addn(w->to, w->at, (size_t)w->n);
    w->n = 0;
}

static inline void put_char(writer *w, char c) { w->at[w->n++] = c; }

static inline void put(writer *w, const char *s)
{
    if (w->n > (int)sizeof w->at - PIECE)
        flush(w);
    while (*s)
        w->at[w->n++] = *s++;
}

static void put_unsigned(writer *w, uint64_t v)
{
    char digits[20];
    int n = 0;

    if (w->n > (int)sizeof w->at - PIECE)
        flush(w);
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        w->at[w->n++] = digits[--n];
}

static void put_int(writer *w, int64_t v)
{
    if (v < 0)
        put(w, "-");
    put_unsigned(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

static void put_tagged(writer *w, const char *tag, int64_t v) /* " w3", " %12" */
{
    put(w, tag);
    put_int(w, v);
}

static void put_hex(writer *w, uint64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--)
        put_char(w, "0123456789abcdef"[v >> 4 * i & 15]);
}

/* As printf's %a would, but for NaN, which shows its bits. */
static void put_double(writer *w, double d)
{
    uint64_t bits, fraction;
    int exponent, digits = 13;

    memcpy(&bits, &d, 8);
    fraction = bits & 0xfffffffffffffu;
    exponent = (int)(bits >> 52 & 0x7ff);
    if (bits >> 63)
        put(w, "-");
    if (exponent == 0x7ff) {
        put(w, "inf");
        return;
    }
    put(w, exponent ? "0x1" : "0x0");
    if (fraction) {
        for (; !(fraction & 15); fraction >>= 4)
            digits--;
        put_char(w, '.');
        put_hex(w, fraction, digits);
    }
    put_char(w, 'p');
    exponent = exponent ? exponent - 1023 : fraction ? -1022 : 0;
    if (exponent >= 0)
        put_char(w, '+');
    put_int(w, exponent);
}

static void put_const(writer *w, int type, int64_t imm)
{
    float f;
    double d;
    uint32_t low = (uint32_t)imm;

    memcpy(&f, &low, 4);
    memcpy(&d, &imm, 8);
    put(w, " ");
    switch (type) {
    case FR__KB1: put(w, imm & 1 ? "true" : "false"); return;
    case FR__KI32: put_int(w, (int32_t)low); return;
    case FR__KU32: put_unsigned(w, low); return;
    case FR__KI64: put_int(w, imm); return;
    case FR__KU64: put_unsigned(w, (uint64_t)imm); return;
    case FR__KF32:
        if (f == f) {
            put_double(w, (double)f);
            return;
        }
        put(w, "nan:");
        put_hex(w, low, 8);
        return;
    default:
        if (d == d) {
            put_double(w, d);
            return;
        }
        put(w, "nan:");
        put_hex(w, (uint64_t)imm, 16);
    }
}

static const char *op_name(int64_t op)
{
    return op >= 0 && op < FR__K_COUNT ? fr__kop_name[op] : "?";
}

static const char *dtype_name(int64_t dtype)
{
    return dtype >= 0 && dtype < FR_DTYPE_COUNT ? fr__dtypes[dtype].name : "?";
}

static void put_ins(writer *w, const fr__kins *ins, int i)
{
    const char *type = ins->type <= FR__KNONE ? fr__ktype_name[ins->type] : "?";
    bool memory = ins->op == FR__K_LOAD || ins->op == FR__K_STORE;
    int arity = ins->op < FR__K_COUNT ? fr__kop_arity[ins->op] : 0;
    const int32_t operand[3] = {ins->a, ins->b, ins->c};

    if (ins->op == FR__K_LOOP || ins->op == FR__K_END) {
        put(w, fr__kop_name[ins->op]);
        put_tagged(w, " a", ins->imm);
        return;
    }
    if (ins->op == FR__K_STORE) {
        put(w, "store ");
        put(w, type);
    } else if (ins->op == FR__K_UPD) {
        put(w, "upd");
    } else {
        put_tagged(w, "%", i);
        put(w, " = ");
        put(w, type);
        put(w, " ");
        put(w, op_name(ins->op));
    }
    for (int o = 0; o < arity; o++)
        put_tagged(w, " %", operand[o]);
    if (memory) {
        put_tagged(w, " access", ins->imm);
        if (ins->b >= 0)
            put_tagged(w, " at %", ins->b);
        if (ins->c >= 0)
            put_tagged(w, " if %", ins->c);
    } else if (ins->op == FR__K_CONST) {
        put_const(w, ins->type, ins->imm);
    } else if (ins->op == FR__K_PARAM) {
        put_tagged(w, " w", ins->imm);
    } else if (ins->op == FR__K_AXIS) {
        put_tagged(w, " a", ins->imm);
    } else if (ins->op == FR__K_ACC) {
        put(w, " ");
        put(w, op_name(ins->imm));
    } else if (ins->op == FR__K_ROUND) {
        put(w, " ");
        put(w, dtype_name(ins->imm));
    } else if (ins->op == FR__K_CVT && ins->imm) {
        put(w, " inrange");
    }
}

static void put_axis(writer *w, const fr__kaxis *axis)
{
    static const char *const bind[] = {" par", " parvec", " outer", " serial", " vec"};

    put(w, axis->bind <= FR__BIND_VEC ? bind[axis->bind] : " ?");
    if (axis->bind == FR__BIND_PARVEC || axis->bind == FR__BIND_VEC)
        put_tagged(w, " u", axis->unroll);
    put_tagged(w, " w", axis->extent);
    if (axis->bind == FR__BIND_OUTER)
        put_tagged(w, " div w", axis->div);
    if ((axis->bind == FR__BIND_SERIAL || axis->bind == FR__BIND_VEC) && axis->split >= 0) {
        put_tagged(w, " split a", axis->split);
        put_tagged(w, " block w", axis->block);
    }
}

static void put_access(writer *w, const fr__kaccess *access)
{
    static const char *const vec[] = {" none", " unit", " stride"};
    const char *plus = " ";

    put_tagged(w, " buf", access->buf);
    put(w, access->vec <= FR__VEC_STRIDE ? vec[access->vec] : " ?");
    if (access->nt)
        put(w, " nt");
    if (access->sparse)
        put(w, " sparse");
    if (access->prefetch)
        put_tagged(w, " prefetch w", access->prefetch);
    if (access->vec != FR__VEC_NONE) {
        put_tagged(w, " a", access->vaxis);
        if (access->vec == FR__VEC_STRIDE)
            put_tagged(w, "*w", access->vstride);
        plus = " + ";
    }
    for (int t = 0; t < access->nterm && t < FR__KMAXAXES; t++, plus = " + ") {
        put(w, plus);
        put_tagged(w, "a", access->term[t].axis);
        put_tagged(w, "*w", access->term[t].word);
    }
}

void fr__kernel_print(const fr__kernel *k, fr__text *to)
{
    static const char *const role[] = {" in w", " out w", " scratch w"};
    writer w = {.to = to};

    put_tagged(&w, "kernel w", k->nword);
    put(&w, "\n");
    for (int i = 0; i < k->nbuf; i++) {
        put_tagged(&w, "buf ", i);
        put(&w, " ");
        put(&w, dtype_name(k->bufs[i].dtype));
        put_tagged(&w, k->bufs[i].role <= FR__BUF_SCRATCH ? role[k->bufs[i].role] : " ?",
                   k->bufs[i].word);
        put(&w, "\n");
    }
    for (int i = 0; i < k->naxis; i++) {
        put_tagged(&w, "axis ", i);
        put_axis(&w, &k->axis[i]);
        put(&w, "\n");
    }
    for (int i = 0; i < k->naccess; i++) {
        put_tagged(&w, "access ", i);
        put_access(&w, &k->access[i]);
        put(&w, "\n");
    }
    for (int i = 0; i < k->nins; i++) {
        put_ins(&w, &k->ins[i], i);
        put(&w, "\n");
    }
    flush(&w);
}

size_t fr__kernel_words(const fr__kernel *k, size_t room, uint64_t *to)
{
    size_t n = 3 + (size_t)k->nbuf + 2 * (size_t)k->naxis + 3 * (size_t)k->nins;
    for (int i = 0; i < k->naccess; i++)
        n += 2 + k->access[i].nterm;
    if (n > room)
        return n;
    *to++ = (uint64_t)k->nword | (uint64_t)k->nbuf << 32;
    *to++ = (uint64_t)k->naxis | (uint64_t)k->naccess << 32;
    *to++ = (uint64_t)k->nins;
    for (int i = 0; i < k->nbuf; i++) {
        const fr__kbuf *b = &k->bufs[i];
        *to++ = b->dtype | (uint64_t)b->role << 8 | (uint64_t)b->word << 16;
    }
    for (int i = 0; i < k->naxis; i++) {
        const fr__kaxis *a = &k->axis[i];
        *to++ = a->bind | (uint64_t)a->unroll << 8 | (uint64_t)a->extent << 16 |
                (uint64_t)a->div << 32 | (uint64_t)a->block << 48;
        *to++ = (uint16_t)a->split;
    }
    for (int i = 0; i < k->naccess; i++) {
        const fr__kaccess *a = &k->access[i];
        *to++ = a->buf | (uint64_t)a->vec << 16 | (uint64_t)a->nterm << 24 |
                (uint64_t)a->nt << 32 | (uint64_t)a->sparse << 33 | (uint64_t)a->prefetch << 40;
        *to++ = a->vstride | (uint64_t)(uint16_t)a->vaxis << 16;
        for (int t = 0; t < a->nterm; t++)
            *to++ = a->term[t].axis | (uint64_t)a->term[t].word << 16;
    }
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *in = &k->ins[i];
        *to++ = in->op | (uint64_t)in->type << 8 | (uint64_t)(uint32_t)in->a << 32;
        *to++ = (uint32_t)in->b | (uint64_t)(uint32_t)in->c << 32;
        *to++ = (uint64_t)in->imm;
    }
    return n;
}

/* ---- checks ------------------------------------------------------------------------- */

typedef struct checker {
    const fr__kernel *k;
    int32_t *block;   /* of each instruction: the loop instruction it stands in, -1 for none */
    uint8_t *varying; /* of each instruction */
    uint8_t
        *upd_lanes; /* of each acc: 1 + lanes of the vector loop its upds stand in, 0 unknown */
    int32_t open[FR__KMAXAXES + 1]; /* loop instructions around, outermost first */
    int depth;
    bool axis_open[FR__KMAXAXES];
    int root, vaxis; /* the root axis; the vector axis in force or -1 */
    bool done;       /* the root loop has ended */
    int now;         /* the instruction at hand, -1 before them */
} checker;

static int complain(const checker *c, const char *fmt, ...) FR__PRINTF(2, 3);

static int complain(const checker *c, const char *fmt, ...)
{
    char text[200], line[560] = "";
    fr__text t = {0};
    writer w = {.to = &t};
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (c->now < 0)
        return fr__fail_int(FR__E_INTERNAL, "kernel: %s", text);
    put_ins(&w, &c->k->ins[c->now], c->now); /* fits the writer: no allocation */
    w.at[w.n] = 0;
    memcpy(line, w.at, (size_t)w.n + 1);
    return fr__fail_int(FR__E_INTERNAL, "kernel: instruction %d '%s': %s", c->now, line, text);
}

static bool is_vector(const fr__kaxis *axis)
{
    return axis->bind == FR__BIND_VEC || axis->bind == FR__BIND_PARVEC;
}

static int check_word(const checker *c, const char *what, int64_t word)
{
    if (word < FR__W_FIRST || word >= c->k->nword)
        return complain(c, "%s: word %lld is not in [%d, %d)", what, (long long)word,
                        FR__W_FIRST, c->k->nword);
    return 0;
}

static int check_axes(checker *c)
{
    const fr__kernel *k = c->k;

    c->root = -1;
    if (k->naxis < 1 || k->naxis > FR__KMAXAXES)
        return complain(c, "%d axes, wanted 1 to %d", k->naxis, FR__KMAXAXES);
    for (int i = 0; i < k->naxis; i++) {
        const fr__kaxis *x = &k->axis[i];
        if (x->bind > FR__BIND_VEC)
            return complain(c, "axis %d: no such binding: %d", i, x->bind);
        if (check_word(c, "an axis' extent", x->extent))
            return -1;
        if (x->bind == FR__BIND_PAR || x->bind == FR__BIND_PARVEC) {
            if (c->root >= 0)
                return complain(c, "axes %d and %d are both root axes", c->root, i);
            c->root = i;
        }
        if (is_vector(x) &&
            (x->unroll < 1 || x->unroll > FR__KMAXUNROLL || (x->unroll & (x->unroll - 1))))
            return complain(c, "axis %d: unroll %d is not 1, 2 or 4", i, x->unroll);
        if (x->bind == FR__BIND_OUTER && check_word(c, "an axis' divisor", x->div))
            return -1;
    }
    if (c->root < 0)
        return complain(c, "no root axis");
    for (int i = 0; i < k->naxis; i++) {
        const fr__kaxis *x = &k->axis[i];
        if (x->bind == FR__BIND_OUTER && k->axis[c->root].bind != FR__BIND_PAR)
            return complain(c, "axis %d: an outer axis needs a par root, not parvec", i);
        if ((x->bind != FR__BIND_SERIAL && x->bind != FR__BIND_VEC) || x->split < 0)
            continue;
        if (x->split >= k->naxis || (k->axis[x->split].bind != FR__BIND_PAR &&
                                     k->axis[x->split].bind != FR__BIND_OUTER &&
                                     k->axis[x->split].bind != FR__BIND_SERIAL))
            return complain(c, "axis %d: split by %d, a vector axis or none", i, x->split);
        if (check_word(c, "an axis' block", x->block))
            return -1;
    }
    return 0;
}

static int check_memory(checker *c)
{
    const fr__kernel *k = c->k;

    for (int i = 0; i < k->nbuf; i++) {
        if (fr__ktype_of(k->bufs[i].dtype) == FR__KNONE)
            return complain(c, "buf %d: dtype %d cannot be loaded", i, k->bufs[i].dtype);
        if (k->bufs[i].role > FR__BUF_SCRATCH)
            return complain(c, "buf %d: no such role: %d", i, k->bufs[i].role);
        if (check_word(c, "a buffer's pointer", k->bufs[i].word))
            return -1;
    }
    for (int i = 0; i < k->naccess; i++) {
        const fr__kaccess *x = &k->access[i];
        if (x->buf >= k->nbuf)
            return complain(c, "access %d: no buffer %d", i, x->buf);
        if (x->vec > FR__VEC_STRIDE)
            return complain(c, "access %d: no such vector kind: %d", i, x->vec);
        if (x->vec == FR__VEC_NONE
                ? x->vaxis != -1
                : x->vaxis < 0 || x->vaxis >= k->naxis || !is_vector(&k->axis[x->vaxis]))
            return complain(c, "access %d: vector axis %d does not fit", i, x->vaxis);
        if (x->vec == FR__VEC_STRIDE && check_word(c, "an access' vector stride", x->vstride))
            return -1;
        if (x->nt && x->vec != FR__VEC_UNIT)
            return complain(c, "access %d: nt, but not unit", i);
        if (x->nterm > FR__KMAXAXES)
            return complain(c, "access %d: %d terms", i, x->nterm);
        for (int t = 0; t < x->nterm; t++) {
            if (x->term[t].axis >= k->naxis || is_vector(&k->axis[x->term[t].axis]))
                return complain(c, "access %d: term over axis %d, none or a vector axis", i,
                                x->term[t].axis);
            if (check_word(c, "an access' stride", x->term[t].word))
                return -1;
        }
    }
    return 0;
}

/* Operand `index` is an earlier value whose loop is still open; type FR__KNONE: of any type. */
static int check_operand(const checker *c, char name, int index, int type)
{
    const fr__kins *from;
    bool open = false;

    if (index < 0 || index >= c->now)
        return complain(c, "operand %c: %%%d is not an earlier instruction", name, index);
    from = &c->k->ins[index];
    if (from->op == FR__K_LOOP || from->op == FR__K_END || from->op == FR__K_STORE ||
        from->op == FR__K_UPD)
        return complain(c, "operand %c: %%%d has no value", name, index);
    if (from->op == FR__K_ACC && !(name == 'a' && (c->k->ins[c->now].op == FR__K_UPD ||
                                                   c->k->ins[c->now].op == FR__K_RED)))
        return complain(c, "operand %c: %%%d is an acc, only red reads it", name, index);
    open = c->block[index] < 0;
    for (int i = 0; i < c->depth && !open; i++)
        open = c->open[i] == c->block[index];
    if (!open)
        return complain(c, "operand %c: %%%d stands in a loop that has ended", name, index);
    if (type != FR__KNONE && from->type != type)
        return complain(c, "operand %c: %%%d is %s, wanted %s", name, index,
                        fr__ktype_name[from->type], fr__ktype_name[type]);
    return 0;
}

static int check_unused(const checker *c, int arity)
{
    const fr__kins *ins = &c->k->ins[c->now];

    if ((arity < 1 && ins->a != -1) || (arity < 2 && ins->b != -1) ||
        (arity < 3 && ins->c != -1))
        return complain(c, "an operand too many: unused ones are -1");
    return 0;
}

static bool axis_usable(const checker *c, int64_t axis)
{
    return axis >= 0 && axis < c->k->naxis &&
           (c->axis_open[axis] ||
            (c->k->axis[axis].bind == FR__BIND_OUTER && c->axis_open[c->root]));
}

static int check_transfer(checker *c) /* load and store */
{
    const fr__kins *ins = &c->k->ins[c->now];
    const fr__kaccess *x;
    const fr__kbuf *buf;
    bool store = ins->op == FR__K_STORE;

    if (ins->imm < 0 || ins->imm >= c->k->naccess)
        return complain(c, "no access %lld", (long long)ins->imm);
    x = &c->k->access[ins->imm];
    buf = &c->k->bufs[x->buf];
    if (c->depth == 0)
        return complain(c, "outside the root loop");
    if (ins->type != fr__ktype_of(buf->dtype))
        return complain(c, "type %s, but a %s buffer holds %s", fr__ktype_name[ins->type],
                        fr__dtypes[buf->dtype].name, fr__ktype_name[fr__ktype_of(buf->dtype)]);
    if (store && buf->role == FR__BUF_IN)
        return complain(c, "buf %d is an input", x->buf);
    if (x->vec != FR__VEC_NONE && x->vaxis != c->vaxis)
        return complain(c, "vector axis %d is not in force", x->vaxis);
    for (int t = 0; t < x->nterm; t++)
        if (!axis_usable(c, x->term[t].axis))
            return complain(c, "axis %d of its access is not open", x->term[t].axis);
    if (store ? check_operand(c, 'a', ins->a, ins->type) : ins->a != -1)
        return store ? -1 : complain(c, "an operand too many: unused ones are -1");
    if (ins->b != -1 && check_operand(c, 'b', ins->b, FR__KI64))
        return -1;
    if (ins->c != -1 && check_operand(c, 'c', ins->c, FR__KB1))
        return -1;
    if (store && x->vec == FR__VEC_NONE && !(ins->b >= 0 && c->varying[ins->b]) &&
        (c->varying[ins->a] || (ins->c >= 0 && c->varying[ins->c])))
        return complain(c, "a varying value or mask, but one address for all lanes");
    return 0;
}

static int check_accumulator(checker *c)
{
    const fr__kins *ins = &c->k->ins[c->now], *acc;
    int lanes;

    if (ins->op == FR__K_ACC) {
        bool bits = ins->imm == FR__K_AND || ins->imm == FR__K_OR;
        if (!bits && ins->imm != FR__K_ADD && ins->imm != FR__K_MUL && ins->imm != FR__K_MIN &&
            ins->imm != FR__K_MAX)
            return complain(c, "%s does not accumulate", op_name(ins->imm));
        if (bits ? ins->type >= FR__KF32 : ins->type == FR__KB1 || ins->type >= FR__KNONE)
            return complain(c, "%s of %s", op_name(ins->imm), fr__ktype_name[ins->type]);
        if (c->depth == 0)
            return complain(c, "outside the root loop");
        return check_unused(c, 0);
    }
    if (check_operand(c, 'a', ins->a, FR__KNONE))
        return -1;
    acc = &c->k->ins[ins->a];
    if (acc->op != FR__K_ACC)
        return complain(c, "operand a: %%%d is not an acc", ins->a);
    if (ins->op == FR__K_RED) {
        if (ins->type != acc->type)
            return complain(c, "type %s of a %s acc", fr__ktype_name[ins->type],
                            fr__ktype_name[acc->type]);
        if (c->block[ins->a] != c->block[c->now])
            return complain(c, "not in the block of its acc");
        return check_unused(c, 1);
    }
    if (ins->type != FR__KNONE)
        return complain(c, "type %s, wanted none", fr__ktype_name[ins->type]);
    if (check_operand(c, 'b', ins->b, acc->type))
        return -1;
    if (c->block[ins->a] == c->block[c->now])
        return complain(c, "in the block of its acc: nothing to reduce over");
    lanes = c->varying[ins->a] || c->vaxis < 0 ? 0 : c->k->axis[c->vaxis].unroll;
    if (c->upd_lanes[ins->a] && c->upd_lanes[ins->a] != lanes + 1)
        return complain(c, "an earlier upd of the acc has another number of lanes");
    c->upd_lanes[ins->a] = (uint8_t)(lanes + 1);
    return check_unused(c, 2);
}

static bool is_serial(const checker *c, int axis)
{
    return c->k->axis[axis].bind == FR__BIND_SERIAL;
}

static int check_loop(checker *c)
{
    const fr__kins *ins = &c->k->ins[c->now];
    const fr__kaxis *axis;

    if (ins->type != FR__KNONE)
        return complain(c, "type %s, wanted none", fr__ktype_name[ins->type]);
    if (check_unused(c, 0))
        return -1;
    if (ins->op == FR__K_END) {
        if (c->depth == 0 || c->k->ins[c->open[c->depth - 1]].imm != ins->imm)
            return complain(c, "not the innermost open loop");
        c->depth--;
        c->axis_open[ins->imm] = false;
        if (ins->imm == c->vaxis)
            c->vaxis = -1;
        c->done = c->depth == 0;
        return 0;
    }
    if (ins->imm < 0 || ins->imm >= c->k->naxis)
        return complain(c, "no axis %lld", (long long)ins->imm);
    axis = &c->k->axis[ins->imm];
    if ((c->depth == 0) != (ins->imm == c->root))
        return complain(c, "the root axis is the outermost loop, and only it");
    if (axis->bind == FR__BIND_OUTER)
        return complain(c, "an outer axis has no loop");
    if (c->axis_open[ins->imm])
        return complain(c, "the axis is open already");
    if ((axis->bind == FR__BIND_SERIAL || axis->bind == FR__BIND_VEC) && axis->split >= 0 &&
        is_serial(c, axis->split) && !c->axis_open[axis->split])
        return complain(c, "the axis it is split by is not open");
    if (is_vector(axis)) {
        if (c->vaxis >= 0)
            return complain(c, "a vector loop inside a vector loop");
        c->vaxis = (int)ins->imm;
    }
    c->axis_open[ins->imm] = true;
    c->open[c->depth++] = c->now;
    return 0;
}

/* Types each operation takes, as bits of 1 << fr__ktype. */
enum {
    BOOL = 1 << FR__KB1,
    INTS = 1 << FR__KI32 | 1 << FR__KU32 | 1 << FR__KI64 | 1 << FR__KU64,
    FLOATS = 1 << FR__KF32 | 1 << FR__KF64,
    ANY = BOOL | INTS | FLOATS,
};

static const uint8_t takes[FR__K_COUNT] = {
    [FR__K_CONST] = ANY,
    [FR__K_PARAM] = ANY,
    [FR__K_AXIS] = 1 << FR__KI64,
    [FR__K_ADD] = INTS | FLOATS,
    [FR__K_SUB] = INTS | FLOATS,
    [FR__K_MUL] = INTS | FLOATS,
    [FR__K_DIV] = INTS | FLOATS,
    [FR__K_MOD] = INTS | FLOATS,
    [FR__K_MIN] = INTS | FLOATS,
    [FR__K_MAX] = INTS | FLOATS,
    [FR__K_NEG] = INTS | FLOATS,
    [FR__K_ABS] = INTS | FLOATS,
    [FR__K_FMA] = FLOATS,
    [FR__K_SQRT] = FLOATS,
    [FR__K_RINT] = FLOATS,
    [FR__K_FLOOR] = FLOATS,
    [FR__K_CEIL] = FLOATS,
    [FR__K_TRUNC] = FLOATS,
    [FR__K_COPYSIGN] = FLOATS,
    [FR__K_SCALE] = FLOATS,
    [FR__K_LOOKUP] = 1 << FR__KF32,
    [FR__K_AND] = INTS | BOOL,
    [FR__K_OR] = INTS | BOOL,
    [FR__K_XOR] = INTS | BOOL,
    [FR__K_NOT] = INTS | BOOL,
    [FR__K_SHL] = INTS,
    [FR__K_SHR] = INTS,
    [FR__K_MULHI] = 1 << FR__KU32,
    [FR__K_LT] = BOOL,
    [FR__K_LE] = BOOL,
    [FR__K_EQ] = BOOL,
    [FR__K_NE] = BOOL,
    [FR__K_SEL] = ANY,
    [FR__K_CVT] = ANY,
    [FR__K_BITCAST] = INTS | FLOATS,
    [FR__K_ROUND] = 1 << FR__KF32,
};

static int check_value(checker *c)
{
    const fr__kins *ins = &c->k->ins[c->now];
    int arity = fr__kop_arity[ins->op], type = ins->type;
    const int32_t operand[3] = {ins->a, ins->b, ins->c};

    if (!(takes[ins->op] >> type & 1))
        return complain(c, "%s of type %s", op_name(ins->op), fr__ktype_name[type]);
    for (int i = 0; i < arity; i++) {
        int wanted = type;
        if (ins->op == FR__K_SEL && i == 0)
            wanted = FR__KB1;
        else if (ins->op == FR__K_CVT || ins->op == FR__K_BITCAST)
            wanted = FR__KNONE;
        else if (ins->op >= FR__K_LT && ins->op <= FR__K_NE)
            wanted = i == 0 ? FR__KNONE : c->k->ins[ins->a].type;
        else if (ins->op == FR__K_LOOKUP)
            wanted = FR__KI32;
        if (check_operand(c, (char)('a' + i), operand[i], wanted))
            return -1;
    }
    if (check_unused(c, arity))
        return -1;
    switch (ins->op) {
    case FR__K_PARAM: return check_word(c, "param", ins->imm);
    case FR__K_AXIS: return axis_usable(c, ins->imm) ? 0 : complain(c, "the axis is not open");
    case FR__K_LOOKUP:
        return ins->imm >= 0 && ins->imm < FR__TABLES ? 0 : complain(c, "no such table");
    case FR__K_CVT:
        if (c->k->ins[ins->a].type == type)
            return complain(c, "operand a has that type already");
        return ins->imm == 0 || ins->imm == 1 ? 0 : complain(c, "imm is not 0 or 1");
    case FR__K_BITCAST:
        if (c->k->ins[ins->a].type == type || c->k->ins[ins->a].type == FR__KB1 ||
            fr__ktype_size[c->k->ins[ins->a].type] != fr__ktype_size[type])
            return complain(c, "from %s", fr__ktype_name[c->k->ins[ins->a].type]);
        return 0;
    case FR__K_ROUND:
        return ins->imm == FR_FLOAT16 || ins->imm == FR_BFLOAT16
                   ? 0
                   : complain(c, "to %s", dtype_name(ins->imm));
    default: return 0;
    }
}

bool fr__kins_varying(const fr__kernel *k, int i, int vaxis, const uint8_t *varying)
{
    const fr__kins *ins = &k->ins[i];

    switch (ins->op) {
    case FR__K_AXIS: return vaxis >= 0 && ins->imm == vaxis;
    case FR__K_LOAD:
    case FR__K_STORE:
        if (k->access[ins->imm].vec != FR__VEC_NONE)
            return true;
        break;
    case FR__K_ACC:
    case FR__K_UPD: return vaxis >= 0;
    default: break;
    }
    return (ins->a >= 0 && varying[ins->a]) || (ins->b >= 0 && varying[ins->b]) ||
           (ins->c >= 0 && varying[ins->c]);
}

static int check_instructions(checker *c)
{
    const fr__kernel *k = c->k;

    for (c->now = 0; c->now < k->nins; c->now++) {
        const fr__kins *ins = &k->ins[c->now];
        int bad;
        if (ins->op >= FR__K_COUNT || ins->type > FR__KNONE)
            return complain(c, "no such operation or type");
        if (c->done)
            return complain(c, "after the root loop");
        c->block[c->now] = c->depth ? c->open[c->depth - 1] : -1;
        if (ins->op == FR__K_LOOP || ins->op == FR__K_END)
            bad = check_loop(c);
        else if (ins->op == FR__K_LOAD || ins->op == FR__K_STORE)
            bad = check_transfer(c);
        else if (ins->op == FR__K_ACC || ins->op == FR__K_UPD || ins->op == FR__K_RED)
            bad = check_accumulator(c);
        else
            bad = check_value(c);
        if (bad)
            return -1;
        c->varying[c->now] = fr__kins_varying(k, c->now, c->vaxis, c->varying);
    }
    c->now = -1;
    return c->done ? 0 : complain(c, "no root loop, or it does not end");
}

int fr__kernel_check(const fr__kernel *k)
{
    checker c = {.k = k, .vaxis = -1, .now = -1};
    size_t n;
    int bad;

    if (k->nins <= 0 || k->nbuf < 0 || k->naccess < 0 || k->nword < FR__W_FIRST)
        return complain(&c, "negative or no counts");
    if (check_axes(&c) || check_memory(&c))
        return -1;
    n = (size_t)k->nins;
    c.block = fr__malloc(n * (sizeof *c.block + 2));
    if (!c.block)
        return -1;
    c.varying = (uint8_t *)(c.block + n);
    c.upd_lanes = c.varying + n;
    memset(c.upd_lanes, 0, n);
    bad = check_instructions(&c);
    fr__free(c.block);
    return bad;
}

void fr__kernel_free(fr__kernel *k)
{
    if (!k)
        return;
    fr__free(k->ins);
    fr__free(k->bufs);
    fr__free(k->access);
    fr__free(k->axis);
    fr__free(k->text);
    fr__free(k->plan);
    fr__free(k);
}
