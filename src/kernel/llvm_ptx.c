/* llvm_ptx.c - a kernel as PTX: loops over blocks and threads
 *
 * needs   a checked kernel
 * gives   an entry
 *             name(.param .b8 w[8 nword], .param .u64 begin, end, scratch, scratch_bytes)
 *         in place of w the address of the words on the device (u64) when the kernel has more
 *         than FR__PTX_WORDS of them. To be launched with one-dimensional blocks, a multiple of
 *         32 threads, and about (end - begin) / fr__ptx_per_block() blocks: any number of
 *         blocks computes everything. Or an entry for many launches (fr__llvm_ptx_many): a block finds
 *         the row of a table that has its words, its range and its place among the row's blocks.
 *
 * Where the lanes of the kernel go:
 *     PARVEC root           to threads, `parts` neighbouring elements a thread
 *     PAR, a VEC inside     a block takes an index, its threads the lanes of each VEC loop;
 *                           uniform instructions are computed by all, stored by thread 0
 *     PAR, no VEC           a thread takes an index
 *
 * `parts` is 4, the elements of one 16-byte access, unless an address changes within a vector
 * loop (a column's sum: then 1, so that neighbouring threads read neighbouring elements). Loads
 * and stores of neighbours are one access where alignment allows, which is asked once a loop.
 * Parts beyond the end compute what the last element computes, and store the same value to the
 * same place; accumulators leave them out.
 *
 * Scratch buffers are in shared memory (dynamic, the words' offsets) if `scratch` is 0;
 * otherwise at scratch + block * scratch_bytes.
 *
 * Accumulators combine in another order than on the CPU: parts, lanes of a warp, warps.
 */
#include "kernel/emit.h"

#include <stdio.h>

enum { PARTS = 4, WARP = 32 };

typedef struct emitter {
    fr__emit e;
    int parts;             /* of every vector loop */
    bool by_block;         /* a block an index */
    bool many;             /* launches: words from a table */
    value thread, threads; /* of the block: i64 */
    value first, stride;   /* of the root loop, less `begin` */
    value shared;          /* one i64 a warp, for sums over the block */
    int loop;              /* the vector LOOP that is open, or -1 */
    value index, high;     /* of its first part; where it ends */
    value whole;           /* all parts are inside and every vector access is aligned */
    bool failed;
} emitter;

/* ---- how a kernel is spread --------------------------------------------------------- */

static bool is_vector(int bind) { return bind == FR__BIND_VEC || bind == FR__BIND_PARVEC; }

static bool has_vector_loop(const fr__kernel *k)
{
    for (int a = 0; a < k->naxis; a++)
        if (k->axis[a].bind == FR__BIND_VEC)
            return true;
    return false;
}

static bool has_scratch(const fr__kernel *k)
{
    for (int b = 0; b < k->nbuf; b++)
        if (k->bufs[b].role == FR__BUF_SCRATCH)
            return true;
    return false;
}

/* One element a thread where a vector loop has loops, or scalars used in addresses, inside. */
static int parts_of_kernel(const fr__kernel *k)
{
    int vector = -1;
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        bool transfer = ins->op == FR__K_LOAD || ins->op == FR__K_STORE;
        if (ins->op == FR__K_LOOP && vector >= 0)
            return 1;
        if (ins->op == FR__K_LOOP && is_vector(k->axis[ins->imm].bind))
            vector = i;
        else if (ins->op == FR__K_END && vector >= 0)
            vector = -1;
        else if (transfer && vector >= 0 && k->access[ins->imm].vec == FR__VEC_UNIT &&
                 ins->b > vector)
            return 1;
    }
    return PARTS;
}

static int root_bind(const fr__kernel *k)
{
    for (int i = 0; i < k->nins; i++)
        if (k->ins[i].op == FR__K_LOOP)
            return k->axis[k->ins[i].imm].bind;
    return FR__BIND_PAR;
}

static bool spread_by_block(const fr__kernel *k)
{
    return root_bind(k) == FR__BIND_PAR && (has_vector_loop(k) || has_scratch(k));
}

int64_t fr__ptx_per_block(const fr__kernel *k, int threads)
{
    if (spread_by_block(k))
        return 1;
    return root_bind(k) == FR__BIND_PARVEC ? (int64_t)threads * parts_of_kernel(k) : threads;
}

/* ---- values ------------------------------------------------------------------------- */

static value *values_of(emitter *m, int i) { return fr__emit_values(&m->e, i); }

static value operand(emitter *m, int i, int u)
{
    if (i < 0)
        return NULL;
    return values_of(m, i)[m->e.place[i].varying ? u : 0];
}

static int parts_at(emitter *m, int i) { return m->e.place[i].varying ? m->parts : 1; }

static int parts_of_acc(void *ctx, int acc)
{
    emitter *m = ctx;
    return m->e.place[acc].acc < 0 ? 1 : m->parts;
}

static value special_register(emitter *m, const char *name)
{
    value v = fr__emit_call(&m->e, name, NULL, 0, NULL, 0);
    return fr__llvm.BuildZExt(m->e.at, v, m->e.i64, "");
}

static void barrier(emitter *m)
{
    fr__emit_call(&m->e, "llvm.nvvm.barrier0", NULL, 0, NULL, 0);
}

static LLVMBasicBlockRef begin_if(emitter *m, value condition)
{
    LLVMBasicBlockRef inside = fr__emit_block(&m->e, ""), after = fr__emit_block(&m->e, "");
    branch(&m->e, condition, inside, after);
    fr__emit_at(&m->e, inside);
    return after;
}

static void end_if(emitter *m, LLVMBasicBlockRef after)
{
    jump(&m->e, after);
    fr__emit_at(&m->e, after);
}

/* The index of part u, of the last element for parts beyond. */
static value index_of_part(emitter *m, int u)
{
    fr__emit *e = &m->e;
    if (!u)
        return m->index;
    value i = add(e, m->index, c64(e, u)), last = sub(e, m->high, c64(e, 1));
    return choose(e, icmp(e, LLVMIntSLT, i, m->high), i, last);
}

/* ---- memory ------------------------------------------------------------------------- */

static value load_one(emitter *m, int i, value p)
{
    int dtype = fr__emit_dtype(&m->e, i);
    value raw = fr__llvm.BuildLoad2(m->e.at, fr__emit_storage(&m->e, dtype, 0), p, "");
    fr__llvm.SetAlignment(raw, (unsigned)fr__dsize(dtype));
    return raw;
}

static void store_one(emitter *m, int i, value raw, value p)
{
    value done = fr__llvm.BuildStore(m->e.at, raw, p);
    fr__llvm.SetAlignment(done, (unsigned)fr__dsize(fr__emit_dtype(&m->e, i)));
}

/* A scalar that `condition` may leave out; then zero. */
static value load_if(emitter *m, int i, value p, value condition)
{
    fr__emit *e = &m->e;
    if (!condition)
        return load_one(m, i, p);
    LLVMBasicBlockRef before = fr__emit_here(e), after = begin_if(m, condition);
    value raw = load_one(m, i, p);
    LLVMBasicBlockRef loaded = fr__emit_here(e);
    end_if(m, after);
    value zero = fr__llvm.ConstNull(fr__emit_storage(e, fr__emit_dtype(e, i), 0));
    return fr__emit_phi2(e, zero, before, raw, loaded);
}

static value pointer_to_part(emitter *m, int i, int u)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    const fr__kaccess *access = &e->k->access[ins->imm];
    value offset = NULL;
    if (access->vec != FR__VEC_NONE)
        offset = index_of_part(m, u);
    if (access->vec == FR__VEC_STRIDE)
        offset = mul(e, offset, fr__emit_word(e, access->vstride));
    if (ins->b >= 0 && e->place[ins->b].varying) {
        value b = values_of(m, ins->b)[u];
        offset = offset ? add(e, offset, b) : b;
    }
    value p = e->address[i].at;
    LLVMTypeRef type = fr__emit_storage(e, fr__emit_dtype(e, i), 0);
    return offset ? gep(e, type, p, offset) : p;
}

static bool is_wide(const emitter *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    return m->parts > 1 && ins->c < 0 && m->e.k->access[ins->imm].vec == FR__VEC_UNIT &&
           !(ins->b >= 0 && m->e.place[ins->b].varying);
}

static void load_wide(emitter *m, int i)
{
    fr__emit *e = &m->e;
    int dtype = fr__emit_dtype(e, i);
    LLVMBasicBlockRef one = fr__emit_block(e, ""), each = fr__emit_block(e, "");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    value wide[PARTS], narrow[PARTS];
    branch(e, m->whole, one, each);
    fr__emit_at(e, one);
    value p = pointer_to_part(m, i, 0);
    value all = fr__llvm.BuildLoad2(e->at, fr__emit_storage(e, dtype, PARTS), p, "");
    fr__llvm.SetAlignment(all, (unsigned)(PARTS * fr__dsize(dtype)));
    for (int u = 0; u < PARTS; u++)
        wide[u] = fr__llvm.BuildExtractElement(e->at, all, c32(e, u), "");
    jump(e, after);
    fr__emit_at(e, each);
    for (int u = 0; u < PARTS; u++)
        narrow[u] = load_one(m, i, pointer_to_part(m, i, u));
    jump(e, after);
    fr__emit_at(e, after);
    for (int u = 0; u < PARTS; u++)
        wide[u] = fr__emit_phi2(e, wide[u], one, narrow[u], each);
    for (int u = 0; u < PARTS; u++)
        values_of(m, i)[u] = fr__emit_from_storage(e, dtype, wide[u], 0);
}

static void store_wide(emitter *m, int i)
{
    fr__emit *e = &m->e;
    int dtype = fr__emit_dtype(e, i);
    LLVMBasicBlockRef one = fr__emit_block(e, ""), each = fr__emit_block(e, "");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    value raw[PARTS], all = fr__llvm.GetPoison(fr__emit_storage(e, dtype, PARTS));
    for (int u = 0; u < PARTS; u++)
        raw[u] = fr__emit_to_storage(e, dtype, operand(m, e->k->ins[i].a, u), 0);
    branch(e, m->whole, one, each);
    fr__emit_at(e, one);
    for (int u = 0; u < PARTS; u++)
        all = fr__llvm.BuildInsertElement(e->at, all, raw[u], c32(e, u), "");
    value done = fr__llvm.BuildStore(e->at, all, pointer_to_part(m, i, 0));
    fr__llvm.SetAlignment(done, (unsigned)(PARTS * fr__dsize(dtype)));
    jump(e, after);
    fr__emit_at(e, each);
    for (int u = 0; u < PARTS; u++)
        store_one(m, i, raw[u], pointer_to_part(m, i, u));
    jump(e, after);
    fr__emit_at(e, after);
}

static void load(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    fr__emit_advance(e, i);
    if (is_wide(m, i)) {
        load_wide(m, i);
        return;
    }
    for (int u = 0; u < parts_at(m, i); u++) {
        value p = pointer_to_part(m, i, u);
        value raw = load_if(m, i, p, operand(m, ins->c, u));
        values_of(m, i)[u] = fr__emit_from_storage(e, fr__emit_dtype(e, i), raw, 0);
    }
}

static void store(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    fr__emit_advance(e, i);
    if (is_wide(m, i)) {
        store_wide(m, i);
        return;
    }
    /* What all threads of a block compute alike is stored by its first. */
    bool alike = m->by_block && !e->place[i].varying;
    value zero = c64(e, 0);
    LLVMBasicBlockRef stored = alike ? begin_if(m, icmp(e, LLVMIntEQ, m->thread, zero)) : NULL;
    for (int u = 0; u < parts_at(m, i); u++) {
        value raw = fr__emit_to_storage(e, fr__emit_dtype(e, i), operand(m, ins->a, u), 0);
        value p = pointer_to_part(m, i, u), condition = operand(m, ins->c, u);
        LLVMBasicBlockRef after = condition ? begin_if(m, condition) : NULL;
        store_one(m, i, raw, p);
        if (after)
            end_if(m, after);
    }
    if (stored)
        end_if(m, stored);
}

/* ---- accumulators ------------------------------------------------------------------- */

static void update(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i], *acc = &e->k->ins[ins->a];
    for (int u = 0; u < parts_of_acc(m, ins->a); u++) {
        value *v = &values_of(m, ins->a)[u], old = *v;
        value now = fr__emit_combine(e, (fr__kop)acc->imm, (fr__ktype)acc->type, old,
                                     operand(m, ins->b, u), 0);
        if (u && m->loop >= 0 && e->place[ins->a].vloop < 0) { /* the part may be beyond */
            value at = add(e, m->index, c64(e, u));
            now = choose(e, icmp(e, LLVMIntSLT, at, m->high), now, old);
        }
        *v = now;
    }
}

static LLVMTypeRef as_bits(emitter *m, fr__ktype t)
{
    return t == FR__KB1 || t == FR__KI32 || t == FR__KU32 || t == FR__KF32 ? m->e.i32
                                                                           : m->e.i64;
}

static value to_bits(emitter *m, fr__ktype t, value v)
{
    return t == FR__KB1 ? fr__llvm.BuildZExt(m->e.at, v, m->e.i32, "")
                        : bitcast(&m->e, v, as_bits(m, t));
}

static value from_bits(emitter *m, fr__ktype t, value v)
{
    return t == FR__KB1 ? fr__llvm.BuildTrunc(m->e.at, v, m->e.i1, "")
                        : bitcast(&m->e, v, fr__emit_type(&m->e, t, 0));
}

static value exchange32(emitter *m, value v, int distance)
{
    fr__emit *e = &m->e;
    value args[4] = {c32(e, -1), v, c32(e, distance), c32(e, 31)};
    return fr__emit_call(e, "llvm.nvvm.shfl.sync.bfly.i32", NULL, 0, args, 4);
}

/* The value of the thread whose number differs by `distance`. */
static value exchange(emitter *m, fr__ktype t, value v, int distance)
{
    fr__emit *e = &m->e;
    value bits = to_bits(m, t, v);
    if (as_bits(m, t) == e->i32)
        return from_bits(m, t, exchange32(m, bits, distance));
    value low = exchange32(m, fr__llvm.BuildTrunc(e->at, bits, e->i32, ""), distance);
    value high = fr__llvm.BuildLShr(e->at, bits, c64(e, 32), "");
    high = exchange32(m, fr__llvm.BuildTrunc(e->at, high, e->i32, ""), distance);
    low = fr__llvm.BuildZExt(e->at, low, e->i64, "");
    high = fr__llvm.BuildZExt(e->at, high, e->i64, "");
    value both = or (e, low, fr__llvm.BuildShl(e->at, high, c64(e, 32), ""));
    return from_bits(m, t, both);
}

static value over_warp(emitter *m, fr__kop op, fr__ktype t, value v)
{
    for (int distance = WARP / 2; distance; distance /= 2)
        v = fr__emit_combine(&m->e, op, t, v, exchange(m, t, v, distance), 0);
    return v;
}

/* Every thread gets the combination of all threads' values. */
static value over_block(emitter *m, fr__kop op, fr__ktype t, value v)
{
    fr__emit *e = &m->e;
    LLVMTypeRef bits = as_bits(m, t);
    v = over_warp(m, op, t, v);
    value lane = and(e, m->thread, c64(e, WARP - 1));
    value warp = fr__llvm.BuildLShr(e->at, m->thread, c64(e, 5), "");
    value warps = fr__llvm.BuildLShr(e->at, m->threads, c64(e, 5), "");
    value raw = to_bits(m, t, v), zero = c64(e, 0);
    barrier(m); /* everyone has read what an earlier sum left here */
    LLVMBasicBlockRef stored = begin_if(m, icmp(e, LLVMIntEQ, lane, zero));
    fr__llvm.BuildStore(e->at, raw, gep(e, e->i64, m->shared, warp));
    end_if(m, stored);
    barrier(m);
    value inside = icmp(e, LLVMIntSLT, lane, warps), from = choose(e, inside, lane, zero);
    value other = fr__llvm.BuildLoad2(e->at, bits, gep(e, e->i64, m->shared, from), "");
    other = from_bits(m, t, other);
    other = choose(e, inside, other, fr__emit_identity(e, op, t, 0));
    return over_warp(m, op, t, other);
}

static void reduce(emitter *m, int i)
{
    fr__emit *e = &m->e;
    int from = e->k->ins[i].a, parts = parts_of_acc(m, from);
    const fr__kins *acc = &e->k->ins[from];
    fr__ktype t = (fr__ktype)acc->type;
    value v[FR__KMAXUNROLL];
    memcpy(v, values_of(m, from), sizeof v);
    if (!e->place[i].varying && e->place[from].acc >= 0) {
        for (; parts > 1; parts /= 2)
            for (int u = 0; u < parts / 2; u++)
                v[u] = fr__emit_combine(e, (fr__kop)acc->imm, t, v[2 * u], v[2 * u + 1], 0);
        v[0] = over_block(m, (fr__kop)acc->imm, t, v[0]);
    }
    memcpy(values_of(m, i), v, sizeof v);
}

/* ---- loops -------------------------------------------------------------------------- */

static void emit_range(emitter *m, int from, int to);

/* Are the addresses of all wide accesses, at index `low`, multiples of their size? */
static value aligned(emitter *m, int loop, value low)
{
    fr__emit *e = &m->e;
    value over = NULL, zero = c64(e, 0);
    for (int i = loop + 1; i < e->place[loop].end; i++) {
        int op = e->k->ins[i].op;
        if ((op != FR__K_LOAD && op != FR__K_STORE) || !is_wide(m, i))
            continue;
        int dtype = fr__emit_dtype(e, i);
        value p = gep(e, fr__emit_storage(e, dtype, 0), e->address[i].at, low);
        p = fr__llvm.BuildPtrToInt(e->at, p, e->i64, "");
        p = and(e, p, c64(e, PARTS * fr__dsize(dtype) - 1));
        over = over ? or (e, over, p) : p;
    }
    return over ? icmp(e, LLVMIntEQ, over, zero) : NULL;
}

static bool stores_inside(const emitter *m, int loop)
{
    for (int i = loop + 1; i < m->e.place[loop].end; i++)
        if (m->e.k->ins[i].op == FR__K_STORE)
            return true;
    return false;
}

typedef struct inside {
    emitter *m;
    value high, is_aligned; /* of a vector loop */
} inside;

static int inside_parts(void *ctx, int acc) { return parts_of_acc(((inside *)ctx)->m, acc); }

static void inside_body(void *ctx, int loop, LLVMValueRef index)
{
    inside *in = ctx;
    emitter *m = in->m;
    fr__emit *e = &m->e;
    int end = e->place[loop].end;
    bool vector = is_vector(e->k->axis[e->k->ins[loop].imm].bind);
    if (vector) {
        m->loop = loop;
        m->index = index;
        m->high = in->high;
        if (in->is_aligned) {
            value past = add(e, index, c64(e, m->parts));
            value all_in = icmp(e, LLVMIntSLE, past, in->high);
            m->whole = and(e, all_in, in->is_aligned);
        }
    }
    emit_range(m, loop + 1, end);
    if (vector)
        m->loop = -1;
    else if (e->place[loop].loop < 0 && m->by_block && has_scratch(e->k))
        barrier(m); /* the next index uses the same scratch */
}

static void emit_loop(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    const fr__kaxis *axis = &e->k->axis[e->k->ins[loop].imm];
    inside in = {.m = m};
    fr__emit_walk walk = {
        .step = c64(e, 1), .parts = inside_parts, .body = inside_body, .ctx = &in};
    value low;
    fr__emit_bounds(e, axis, &low, &walk.high);
    in.high = walk.high;
    walk.low = low;
    if (e->place[loop].loop < 0) { /* the root */
        walk.low = add(e, low, m->first);
        walk.step = m->stride;
    } else if (axis->bind == FR__BIND_VEC) {
        value mine = mul(e, m->thread, c64(e, m->parts));
        walk.low = add(e, low, mine);
        walk.step = mul(e, m->threads, c64(e, m->parts));
    }
    fr__emit_hoist(e, loop);
    if (is_vector(axis->bind))
        in.is_aligned = aligned(m, loop, low);
    m->failed |= fr__emit_loop(e, loop, &walk) != 0;
    if (axis->bind == FR__BIND_VEC && m->by_block && stores_inside(m, loop))
        barrier(m); /* other threads may read it */
}

/* ---- instructions ------------------------------------------------------------------- */

static void compute(emitter *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    for (int u = 0; u < parts_at(m, i); u++) {
        value v = fr__emit_op(&m->e, ins, operand(m, ins->a, u), operand(m, ins->b, u),
                              operand(m, ins->c, u), 0);
        m->failed |= !v;
        values_of(m, i)[u] = v;
    }
}

static void emit_range(emitter *m, int from, int to)
{
    fr__emit *e = &m->e;
    for (int i = from; i < to && !m->failed; i++) {
        const fr__kins *ins = &e->k->ins[i];
        fr__ktype t = (fr__ktype)ins->type;
        value *v = values_of(m, i);
        switch (ins->op) {
        case FR__K_CONST: v[0] = fr__emit_const(e, t, (uint64_t)ins->imm, 0); break;
        case FR__K_PARAM: v[0] = fr__emit_param(e, t, fr__emit_word(e, (int)ins->imm)); break;
        case FR__K_AXIS:
            for (int u = 0; u < parts_at(m, i); u++)
                v[u] = e->place[i].varying ? index_of_part(m, u) : e->axis_index[ins->imm];
            break;
        case FR__K_LOAD: load(m, i); break;
        case FR__K_STORE: store(m, i); break;
        case FR__K_ACC:
            for (int u = 0; u < PARTS; u++)
                v[u] = fr__emit_identity(e, (fr__kop)ins->imm, t, 0);
            break;
        case FR__K_UPD: update(m, i); break;
        case FR__K_RED: reduce(m, i); break;
        case FR__K_LOOP:
            emit_loop(m, i);
            i = e->place[i].end;
            break;
        default: compute(m, i);
        }
    }
}

/* ---- the entry ---------------------------------------------------------------------- */

static void declare(emitter *m, const char *name)
{
    fr__emit *e = &m->e;
    LLVMTypeRef words = fr__llvm.ArrayType2(e->i64, (uint64_t)e->k->nword);
    bool by_value = e->k->nword <= FR__PTX_WORDS && !m->many;
    LLVMTypeRef params[5] = {by_value ? e->pointer : e->data, m->many ? e->data : e->i64,
                             e->i64, e->i64, e->i64};
    e->function =
        fr__llvm.AddFunction(e->module, name, fr__llvm.FunctionType(e->nothing, params, 5, 0));
    fr__llvm.SetFunctionCallConv(e->function, 71); /* a PTX kernel */
    fr__emit_flag(e, "nounwind");
    fr__emit_flag(e, "convergent");
    if (by_value) {
        unsigned kind = fr__llvm.GetEnumAttributeKindForName("byval", 5);
        unsigned align = fr__llvm.GetEnumAttributeKindForName("align", 5);
        fr__llvm.AddAttributeAtIndex(e->function, 1,
                                     fr__llvm.CreateTypeAttribute(e->context, kind, words));
        fr__llvm.AddAttributeAtIndex(e->function, 1,
                                     fr__llvm.CreateEnumAttribute(e->context, align, 8));
    }
    if (m->many)
        return;
    e->word_base = fr__llvm.GetParam(e->function, 0);
    e->begin = fr__llvm.GetParam(e->function, 1);
    e->end = fr__llvm.GetParam(e->function, 2);
}

static value load_word(emitter *m, value row, int64_t at)
{
    value p = gep(&m->e, m->e.i64, row, c64(&m->e, at));
    return fr__llvm.BuildLoad2(m->e.at, m->e.i64, p, "");
}

/* Of many launches: words and range of this block's, its number among that one's blocks. */
static void find_row(emitter *m, value *block, value *blocks)
{
    fr__emit *e = &m->e;
    value table = fr__llvm.GetParam(e->function, 0), which = fr__llvm.GetParam(e->function, 1);
    value row = fr__llvm.BuildLoad2(e->at, e->i32, gep(e, e->i32, which, *block), "");
    row =
        mul(e, fr__llvm.BuildZExt(e->at, row, e->i64, ""), c64(e, FR__ROW_WORDS + e->k->nword));
    row = gep(e, e->i64, table, row);
    e->begin = c64(e, 0);
    e->end = load_word(m, row, FR__ROW_RANGE);
    *block = sub(e, *block, load_word(m, row, FR__ROW_FIRST));
    *blocks = load_word(m, row, FR__ROW_BLOCKS);
    e->word_base = gep(e, e->i64, row, c64(e, FR__ROW_WORDS));
}

static value shared_array(emitter *m, const char *name, LLVMTypeRef type, bool external)
{
    value v = fr__llvm.AddGlobalInAddressSpace(m->e.module, type, name, 3);
    fr__llvm.SetLinkage(v, external ? LLVMExternalLinkage : LLVMInternalLinkage);
    if (!external)
        fr__llvm.SetInitializer(v, fr__llvm.GetUndef(type));
    fr__llvm.SetAlignment(v, 16);
    return v;
}

/* In the first block of the body, where everything follows. */
static void place_thread(emitter *m)
{
    fr__emit *e = &m->e;
    m->thread = special_register(m, "llvm.nvvm.read.ptx.sreg.tid.x");
    m->threads = special_register(m, "llvm.nvvm.read.ptx.sreg.ntid.x");
    value block = special_register(m, "llvm.nvvm.read.ptx.sreg.ctaid.x");
    value blocks = special_register(m, "llvm.nvvm.read.ptx.sreg.nctaid.x"), all_block = block;
    if (m->many)
        find_row(m, &block, &blocks);
    if (m->by_block) {
        m->first = block;
        m->stride = blocks;
        m->shared = shared_array(m, "fr_sums", fr__llvm.ArrayType2(e->i64, WARP), false);
    } else {
        value before = mul(e, block, m->threads);
        int parts = root_bind(e->k) == FR__BIND_PARVEC ? m->parts : 1;
        m->first = mul(e, add(e, before, m->thread), c64(e, parts));
        value all = mul(e, blocks, m->threads);
        m->stride = mul(e, all, c64(e, parts));
    }
    if (!has_scratch(e->k))
        return;
    value given = fr__llvm.GetParam(e->function, 3), size = fr__llvm.GetParam(e->function, 4);
    value dynamic = shared_array(m, "fr_scratch", fr__llvm.ArrayType2(e->i8, 0), true);
    value own = fr__llvm.BuildAddrSpaceCast(e->at, dynamic, e->pointer, "");
    value elsewhere = add(e, given, mul(e, all_block, size));
    elsewhere = fr__llvm.BuildIntToPtr(e->at, elsewhere, e->pointer, "");
    value zero = c64(e, 0);
    e->scratch = choose(e, icmp(e, LLVMIntEQ, given, zero), own, elsewhere);
}

int fr__llvm_build_ptx(fr__llvm_session *s, const fr__kernel *k, const char *name, bool many)
{
    emitter m = {
        .parts = parts_of_kernel(k), .by_block = spread_by_block(k), .many = many, .loop = -1};
    int failed = fr__emit_start(&m.e, s, k);
    m.e.ptx = m.e.fma = m.e.half = true;
    m.e.data = fr__llvm.PointerTypeInContext(s->context, 1); /* global memory */
    if (!failed) {
        declare(&m, name);
        fr__emit_begin_body(&m.e);
        LLVMBuilderRef at = m.e.at; /* where the thread is is known from the entry block on */
        m.e.at = m.e.entry;
        place_thread(&m);
        m.e.at = at;
        emit_range(&m, 0, k->nins);
        fr__emit_end_body(&m.e);
        failed = m.failed ? -1 : 0;
    }
    fr__emit_done(&m.e);
    return failed;
}

/* An sm_ that LLVM doesn't know gives a wrong header without a word; a newer device runs PTX for
 * an older one. The PTX version is the first with that sm_ (and shfl.sync). */
int fr__llvm_open_ptx(fr__llvm_session *s, int sm)
{
    static const struct {
        int sm;
        const char *cpu, *features;
    } known[] = {{60, "sm_60", "+ptx60"}, {61, "sm_61", "+ptx60"}, {70, "sm_70", "+ptx60"},
                 {72, "sm_72", "+ptx61"}, {75, "sm_75", "+ptx63"}, {80, "sm_80", "+ptx70"},
                 {86, "sm_86", "+ptx71"}, {87, "sm_87", "+ptx74"}, {89, "sm_89", "+ptx78"},
                 {90, "sm_90", "+ptx78"}};
    int best = -1;
    for (int i = 0; i < FR__COUNT(known) && known[i].sm <= sm; i++)
        best = i;
    *s = (fr__llvm_session){0};
    if (best < 0)
        return fr__fail_int(FR__E_DEVICE,
                            "a GPU of compute capability %d.%d is too old: "
                            "6.0 is the least",
                            sm / 10, sm % 10);
    return fr__llvm_open(s, "nvptx64-nvidia-cuda", known[best].cpu, known[best].features, true);
}
