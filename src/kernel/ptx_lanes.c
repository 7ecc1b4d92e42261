/* ptx_lanes.c - code for GPUs: the lanes of a thread, in memory and in sums
 *
 * needs   ptx_emit.h's emitter, in the loops that are open
 * gives   loads, stores, accumulators
 *
 * Lanes beyond the end load what the last ones load, and are left out of sums and stores, so there
 * is no branch around loads: those of all lanes are under way together.
 *
 * Accumulators combine in another order than on the CPU: lanes, threads of a warp, warps; of
 * columns the turns of a thread, then groups.
 */
#include "kernel/ptx_emit.h"

enum { WARP = FR__PTX_WARP };

LLVMBasicBlockRef fr__ptx_begin_if(fr__ptx_emit *m, value condition)
{
    LLVMBasicBlockRef inside = fr__emit_block(&m->e, ""), after = fr__emit_block(&m->e, "");
    branch(&m->e, condition, inside, after);
    fr__emit_at(&m->e, inside);
    return after;
}

void fr__ptx_end_if(fr__ptx_emit *m, LLVMBasicBlockRef after)
{
    jump(&m->e, after);
    fr__emit_at(&m->e, after);
}

value fr__ptx_both(fr__ptx_emit *m, value a, value b)
{
    return !a ? b : !b ? a : and(&m->e, a, b);
}

value fr__ptx_index(fr__ptx_emit *m, int u)
{
    value first = m->index[u / m->width];
    return u % m->width ? add(&m->e, first, c64(&m->e, u % m->width)) : first;
}

/* ---- memory ------------------------------------------------------------------------- */

static bool is_wide(const fr__ptx_emit *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    return m->wide && ins->b < 0 && ins->c < 0 && m->e.k->access[ins->imm].vec == FR__VEC_UNIT;
}

/* The address of LOAD or STORE i in turn r, less what differs between lanes. */
static value address_in(fr__ptx_emit *m, int i, int r)
{
    fr__emit *e = &m->e;
    int b = e->k->ins[i].b;
    if (fr__ptx_rows(m, i) == 1) { /* the turn, if any, is in axis_index */
        fr__emit_advance(e, i);
        return e->address[i].at;
    }
    struct fr__address was = e->address[i];
    int64_t axis = e->k->ins[m->sloop].imm;
    bool turns = b >= 0 && !e->place[b].varying && fr__ptx_rows(m, b) > 1;
    if (turns)
        e->address[i].added |= UINT64_C(1) << 63;
    e->axis_index[axis] = m->row[r];
    fr__emit_advance(e, i);
    e->axis_index[axis] = NULL;
    value at = e->address[i].at;
    if (turns)
        at = gep(e, fr__emit_storage(e, fr__emit_dtype(e, i), 0), at,
                 fr__ptx_operand(m, b, r, 0));
    e->address[i] = was;
    return at;
}

static value lane_pointer(fr__ptx_emit *m, int i, value at, int r, int u)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    const fr__kaccess *access = &e->k->access[ins->imm];
    value offset = NULL;
    if (access->vec != FR__VEC_NONE)
        offset = fr__ptx_index(m, u);
    if (access->vec == FR__VEC_STRIDE)
        offset = mul(e, offset, fr__emit_word(e, access->vstride));
    if (ins->b >= 0 && e->place[ins->b].varying) {
        value b = fr__ptx_operand(m, ins->b, r, u);
        offset = offset ? add(e, offset, b) : b;
    }
    return offset ? gep(e, fr__emit_storage(e, fr__emit_dtype(e, i), 0), at, offset) : at;
}

static value load_one(fr__ptx_emit *m, int dtype, value p, int n)
{
    value raw = fr__llvm.BuildLoad2(m->e.at, fr__emit_storage(&m->e, dtype, n), p, "");
    fr__llvm.SetAlignment(raw, (unsigned)((n ? n : 1) * fr__dsize(dtype)));
    return raw;
}

static void store_one(fr__ptx_emit *m, int dtype, value raw, value p, int n)
{
    value done = fr__llvm.BuildStore(m->e.at, raw, p);
    fr__llvm.SetAlignment(done, (unsigned)((n ? n : 1) * fr__dsize(dtype)));
}

/* A scalar that `condition` may leave out; then zero. */
static value load_if(fr__ptx_emit *m, int dtype, value p, value condition)
{
    fr__emit *e = &m->e;
    if (!condition)
        return load_one(m, dtype, p, 0);
    LLVMBasicBlockRef before = fr__emit_here(e), after = fr__ptx_begin_if(m, condition);
    value raw = load_one(m, dtype, p, 0);
    LLVMBasicBlockRef loaded = fr__emit_here(e);
    fr__ptx_end_if(m, after);
    value zero = fr__llvm.ConstNull(fr__emit_storage(e, dtype, 0));
    return fr__emit_phi2(e, zero, before, raw, loaded);
}

/* What is in memory, for each turn and lane. */
static void load_raw(fr__ptx_emit *m, int i, value *raw)
{
    fr__emit *e = &m->e;
    int dtype = fr__emit_dtype(e, i), each = fr__ptx_each(m, i);
    for (int r = 0; r < fr__ptx_rows(m, i); r++) {
        value at = address_in(m, i, r), *to = raw + r * each;
        for (int u = 0; u < each; u++) {
            if (!is_wide(m, i)) {
                to[u] = load_if(m, dtype, lane_pointer(m, i, at, r, u),
                                fr__ptx_operand(m, e->k->ins[i].c, r, u));
                continue;
            }
            if (u % m->width == 0)
                to[u] = load_one(m, dtype, lane_pointer(m, i, at, r, u), m->width);
        }
    }
    for (int v = 0; is_wide(m, i) && v < fr__ptx_rows(m, i) * each; v += m->width) {
        value all = raw[v];
        for (int u = 0; u < m->width; u++)
            raw[v + u] = fr__llvm.BuildExtractElement(e->at, all, c32(e, u), "");
    }
}

void fr__ptx_load(fr__ptx_emit *m, int i)
{
    fr__emit *e = &m->e;
    int n = fr__ptx_rows(m, i) * fr__ptx_each(m, i), dtype = fr__emit_dtype(e, i);
    int held = m->single ? m->held_by[i] : -1;
    value raw[FR__PTX_LANES], *v = fr__ptx_values(m, i);
    if (held >=
        0) { /* loaded, or kept: an instruction has its values, a store what it stored */
        bool kept = e->k->ins[held].op == FR__K_STORE;
        int from = kept ? e->k->ins[held].a : held;
        for (int r = 0; r < fr__ptx_rows(m, i); r++)
            for (int u = 0; u < fr__ptx_each(m, i); u++)
                v[r * fr__ptx_each(m, i) + u] = fr__ptx_operand(m, from, r, u);
        return;
    }
    load_raw(m, i, raw);
    for (int u = 0; u < n; u++)
        v[u] = fr__emit_from_storage(e, dtype, raw[u], 0);
}

/* Which threads store, beside those whose lanes and turns are inside; NULL: all. */
static value storing(fr__ptx_emit *m, int i)
{
    fr__emit *e = &m->e;
    value zero = c64(e, 0);
    if (m->form.columns && !fr__ptx_is_split(m, e->place[i].loop) &&
        (m->sloop < 0 || e->place[i].loop == m->vloop))
        return fr__ptx_both(m, m->row_ok, icmp(e, LLVMIntEQ, m->group, zero));
    if (m->form.way == FR__PTX_ROWS && !e->place[i].varying)
        return fr__ptx_both(m, m->row_ok, icmp(e, LLVMIntEQ, m->place, zero));
    return m->row_ok;
}

static void store_lanes(fr__ptx_emit *m, int i, int r, value at, value who)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int dtype = fr__emit_dtype(e, i), each = fr__ptx_each(m, i);
    int step = is_wide(m, i) ? m->width : 1;
    for (int u = 0; u < each; u += step) {
        value raw = NULL, when = who;
        if (e->place[i].varying && m->vloop >= 0)
            when = fr__ptx_both(m, when, m->inside[u / m->width]);
        when = fr__ptx_both(m, when, fr__ptx_operand(m, ins->c, r, u));
        for (int v = 0; v < step; v++) {
            value one = fr__emit_to_storage(e, dtype, fr__ptx_operand(m, ins->a, r, u + v), 0);
            if (step == 1) {
                raw = one;
                continue;
            }
            raw = raw ? raw : fr__llvm.GetPoison(fr__emit_storage(e, dtype, step));
            raw = fr__llvm.BuildInsertElement(e->at, raw, one, c32(e, v), "");
        }
        value p = lane_pointer(m, i, at, r, u);
        LLVMBasicBlockRef after = when ? fr__ptx_begin_if(m, when) : NULL;
        store_one(m, dtype, raw, p, step == 1 ? 0 : step);
        if (after)
            fr__ptx_end_if(m, after);
    }
}

void fr__ptx_store(fr__ptx_emit *m, int i)
{
    const fr__kernel *k = m->e.k;
    bool scratch = k->bufs[k->access[k->ins[i].imm].buf].role == FR__BUF_SCRATCH;
    if (scratch && m->single && m->form.kept)
        return;
    value who = storing(m, i);
    for (int r = 0; r < fr__ptx_rows(m, i); r++) {
        value at = address_in(m, i, r);
        bool turns = fr__ptx_is_split(m, m->e.place[i].loop);
        store_lanes(m, i, r, at, turns ? fr__ptx_both(m, who, m->row_in[r]) : who);
    }
}

/* ---- accumulators ------------------------------------------------------------------- */

/* One instruction where the GPU has it; of a NaN only that it is one is kept. */
static value combine(fr__ptx_emit *m, fr__kop op, fr__ktype t, value a, value b)
{
    if (t == FR__KF32 && m->quick_extremes && (op == FR__K_MAX || op == FR__K_MIN)) {
        value args[2] = {a, b};
        return fr__emit_call(&m->e, op == FR__K_MAX ? "llvm.maximum" : "llvm.minimum",
                             &m->e.f32, 1, args, 2);
    }
    return fr__emit_combine(&m->e, op, t, a, b, 0);
}

void fr__ptx_update(fr__ptx_emit *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i], *acc = &e->k->ins[ins->a];
    bool across_lanes = m->vloop >= 0 && e->place[ins->a].vloop < 0;
    bool turns = fr__ptx_is_split(m, e->place[i].loop) && e->place[ins->a].loop != m->sloop;
    int lanes = fr__ptx_acc_lanes(m, ins->a);
    for (int r = 0; r < fr__ptx_rows(m, i); r++)
        for (int u = 0; u < lanes; u++) {
            value *v = &fr__ptx_values(m, ins->a)[turns ? u : r * lanes + u], old = *v;
            value now = combine(m, (fr__kop)acc->imm, (fr__ktype)acc->type, old,
                                fr__ptx_operand(m, ins->b, r, u));
            value in = across_lanes ? m->inside[u / m->width] : NULL;
            in = turns ? fr__ptx_both(m, in, m->row_in[r]) : in;
            *v = in ? choose(e, in, now, old) : now;
        }
}

static LLVMTypeRef as_bits(fr__ptx_emit *m, fr__ktype t)
{
    return t == FR__KB1 || t == FR__KI32 || t == FR__KU32 || t == FR__KF32 ? m->e.i32
                                                                           : m->e.i64;
}

static value to_bits(fr__ptx_emit *m, fr__ktype t, value v)
{
    return t == FR__KB1 ? fr__llvm.BuildZExt(m->e.at, v, m->e.i32, "")
                        : bitcast(&m->e, v, as_bits(m, t));
}

static value from_bits(fr__ptx_emit *m, fr__ktype t, value v)
{
    return t == FR__KB1 ? fr__llvm.BuildTrunc(m->e.at, v, m->e.i1, "")
                        : bitcast(&m->e, v, fr__emit_type(&m->e, t, 0));
}

/* A call of the host's, whose address is known. */
static value call_host(fr__ptx_emit *m, uintptr_t address, LLVMTypeRef result, value *args,
                       unsigned n)
{
    fr__emit *e = &m->e;
    LLVMTypeRef types[2] = {e->i32, e->i32};
    value to = fr__llvm.BuildIntToPtr(e->at, c64(e, (int64_t)address), e->pointer, "");
    return fr__llvm.BuildCall2(e->at, fr__llvm.FunctionType(result, types, n, 0), to, args, n,
                               "");
}

void fr__ptx_barrier(fr__ptx_emit *m)
{
    if (m->host)
        call_host(m, (uintptr_t)m->host->barrier, m->e.nothing, NULL, 0);
    else
        fr__emit_call(&m->e, "llvm.nvvm.barrier0", NULL, 0, NULL, 0);
}

static value exchange32(fr__ptx_emit *m, value v, int distance)
{
    fr__emit *e = &m->e;
    value args[4] = {c32(e, -1), v, c32(e, distance), c32(e, 31)};
    if (m->host)
        return call_host(m, (uintptr_t)m->host->other, e->i32, args + 1, 2);
    return fr__emit_call(e, "llvm.nvvm.shfl.sync.bfly.i32", NULL, 0, args, 4);
}

/* The value of the thread whose number differs by `distance`. */
static value exchange(fr__ptx_emit *m, fr__ktype t, value v, int distance)
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

/* Over the threads of a warp; `within`: over those of a row, where they are fewer. */
static value over_warp(fr__ptx_emit *m, fr__kop op, fr__ktype t, value v, bool within)
{
    for (int distance = WARP / 2, d = 0; distance; distance /= 2, d++) {
        value both = combine(m, op, t, v, exchange(m, t, v, distance));
        v = within ? choose(&m->e, m->nearer[d], both, v) : both;
    }
    return v;
}

/* Over all warps of a block, through shared memory, of which each RED has some of its own: it is used
 * anew after the barrier at the end of a root index. */
static value over_block(fr__ptx_emit *m, fr__kop op, fr__ktype t, value v, int site)
{
    fr__emit *e = &m->e;
    value lane = and(e, m->thread, c64(e, WARP - 1)), zero = c64(e, 0);
    value warp = fr__llvm.BuildLShr(e->at, m->thread, c64(e, 5), "");
    value warps = fr__llvm.BuildLShr(e->at, m->threads, c64(e, 5), "");
    v = over_warp(m, op, t, v, false);
    value raw = to_bits(m, t, v), own = gep(e, e->i64, m->sums, c64(e, site * WARP));
    LLVMBasicBlockRef stored = fr__ptx_begin_if(m, icmp(e, LLVMIntEQ, lane, zero));
    fr__llvm.BuildStore(e->at, raw, gep(e, e->i64, own, warp));
    fr__ptx_end_if(m, stored);
    fr__ptx_barrier(m);
    value inside = icmp(e, LLVMIntSLT, lane, warps), from = choose(e, inside, lane, zero);
    value other = fr__llvm.BuildLoad2(e->at, as_bits(m, t), gep(e, e->i64, own, from), "");
    other = from_bits(m, t, other);
    other = choose(e, inside, other, fr__emit_identity(e, op, t, 0));
    return over_warp(m, op, t, other, false);
}

/* Every thread of a row gets the combination of all its threads' values. */
static value over_row(fr__ptx_emit *m, fr__kop op, fr__ktype t, value v)
{
    fr__emit *e = &m->e;
    LLVMBasicBlockRef block = fr__emit_block(e, ""), part = fr__emit_block(e, "");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    branch(e, m->large, block, part);
    fr__emit_at(e, block);
    value of_block = over_block(m, op, t, v, m->reduced++);
    block = fr__emit_here(e);
    jump(e, after);
    fr__emit_at(e, part);
    value of_part = over_warp(m, op, t, v, true);
    part = fr__emit_here(e);
    jump(e, after);
    fr__emit_at(e, after);
    return fr__emit_phi2(e, of_block, block, of_part, part);
}

/* Every group gets the combination of all groups' values, lane by lane, in one order. */
static void over_groups(fr__ptx_emit *m, fr__kop op, fr__ktype t, value *v, int n)
{
    fr__emit *e = &m->e;
    LLVMTypeRef bits = as_bits(m, t);
    value shared = bits == e->i32 ? m->columns32 : m->columns64, zero = c64(e, 0);
    value sum[FR__PTX_LANES], phi[FR__PTX_LANES], at[FR__PTX_LANES];
    fr__ptx_barrier(m); /* everyone has read what an earlier sum left here */
    for (int u = 0; u < n; u++) {
        at[u] = mul(e, m->threads, c64(e, u));
        value own = add(e, at[u], m->thread), raw = to_bits(m, t, v[u]);
        fr__llvm.BuildStore(e->at, raw, gep(e, bits, shared, own));
        at[u] = gep(e, bits, shared, add(e, at[u], m->place));
    }
    fr__ptx_barrier(m);
    LLVMBasicBlockRef before = fr__emit_here(e), body = fr__emit_block(e, "groups");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    jump(e, body);
    fr__emit_at(e, body);
    value g = fr__llvm.BuildPhi(e->at, e->i64, ""), none = fr__emit_identity(e, op, t, 0);
    for (int u = 0; u < n; u++)
        phi[u] = fr__llvm.BuildPhi(e->at, fr__llvm.TypeOf(v[u]), "");
    value from = mul(e, g, m->across);
    for (int u = 0; u < n; u++) {
        value raw = fr__llvm.BuildLoad2(e->at, bits, gep(e, bits, at[u], from), "");
        sum[u] = combine(m, op, t, phi[u], from_bits(m, t, raw));
    }
    value next = add(e, g, c64(e, 1));
    LLVMBasicBlockRef latch = fr__emit_here(e);
    branch(e, icmp(e, LLVMIntSLT, next, m->groups), body, after);
    fr__llvm.AddIncoming(g, (value[]){zero, next}, (LLVMBasicBlockRef[]){before, latch}, 2);
    for (int u = 0; u < n; u++)
        fr__llvm.AddIncoming(phi[u], (value[]){none, sum[u]},
                             (LLVMBasicBlockRef[]){before, latch}, 2);
    fr__emit_at(e, after);
    memcpy(v, sum, sizeof *v * (size_t)n);
}

/* Is the accumulator, of a column, updated in a loop that is split? */
static bool is_in_pieces(const fr__ptx_emit *m, int acc)
{
    const fr__kernel *k = m->e.k;
    if (!m->form.columns || m->e.place[acc].loop < 0 ||
        m->e.place[acc].loop != m->e.place[acc].vloop)
        return false;
    for (int i = acc + 1; i < k->nins; i++)
        if (k->ins[i].op == FR__K_UPD && k->ins[i].a == acc)
            return m->e.place[i].loop != m->e.place[acc].loop;
    return false;
}

void fr__ptx_reduce(fr__ptx_emit *m, int i)
{
    fr__emit *e = &m->e;
    int from = e->k->ins[i].a, lanes = fr__ptx_acc_lanes(m, from);
    const fr__kins *acc = &e->k->ins[from];
    fr__kop op = (fr__kop)acc->imm;
    fr__ktype t = (fr__ktype)acc->type;
    value v[FR__PTX_LANES];
    memcpy(v, fr__ptx_values(m, from), sizeof *v * (size_t)e->width);
    if (!e->place[i].varying && e->place[from].acc >= 0) {
        for (; lanes > 1; lanes /= 2)
            for (int u = 0; u < lanes / 2; u++)
                v[u] = combine(m, op, t, v[2 * u], v[2 * u + 1]);
        v[0] = over_row(m, op, t, v[0]);
    } else if (is_in_pieces(m, from)) {
        over_groups(m, op, t, v, lanes);
    }
    memcpy(fr__ptx_values(m, i), v, sizeof *v * (size_t)e->width);
}
