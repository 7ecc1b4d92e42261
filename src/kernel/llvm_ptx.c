/* llvm_ptx.c - a kernel as PTX: loops over blocks and threads
 *
 * needs   a checked kernel
 * gives   an entry
 *             name(.param .b8 w[8 nword], .param .u64 begin, end, scratch, scratch_bytes, shape)
 *         in place of w the address of the words on the device (u64) when the kernel has more
 *         than FR__PTX_WORDS of them. fr__ptx_spread says how to launch it; any number of blocks
 *         computes everything. Or an entry for many launches (fr__llvm_ptx_many): a block finds the
 *         row of a table that has its words, range and shape, and its place among the row's blocks.
 *
 * ptx.h says how a kernel is spread over threads, and that there may be two versions of it, a wide
 * and a narrow one: the body is emitted for each. What differs from lane to lane, and from turn to
 * turn of a loop that is split over groups, is in ptx_lanes.c.
 *
 * Scratch buffers are in shared memory (dynamic, the words' offsets) if `scratch` is 0;
 * otherwise at scratch + block * scratch_bytes.
 */
#include "kernel/ptx_emit.h"

#include <stdio.h>

enum {
    WARP = FR__PTX_WARP,
    PTX_CALL = 71 /* LLVM's number of a kernel's calling convention */
};

typedef fr__ptx_emit emitter;

static void emit_range(emitter *m, int from, int to);

/* ---- tiles of the vector axis ------------------------------------------------------------ */

/* Indices of the chunks from `first` on; the first one is known to be inside where that is said. */
static void place_chunks(emitter *m, value first, value high, bool first_inside)
{
    fr__emit *e = &m->e;
    value last = sub(e, high, c64(e, m->width));
    for (int c = 0; c < m->chunks; c++) {
        value step = c ? mul(e, m->across, c64(e, c * m->width)) : NULL;
        value at = step ? add(e, first, step) : first;
        m->inside[c] = c || !first_inside ? icmp(e, LLVMIntSLT, at, high) : NULL;
        m->index[c] = m->inside[c] ? choose(e, m->inside[c], at, last) : at;
    }
}

/* The tile that begins `before` elements from the axis' begin: all threads of a block come here
 * together. */
static void emit_tile(emitter *m, int loop, value before)
{
    fr__emit *e = &m->e;
    value low, high;
    fr__emit_bounds(e, &e->k->axis[e->k->ins[loop].imm], &low, &high);
    fr__emit_hoist(e, loop);
    value mine = add(e, before, mul(e, m->place, c64(e, m->width)));
    m->vloop = loop;
    place_chunks(m, add(e, low, mine), high, false);
    emit_range(m, loop + 1, e->place[loop].end);
    m->vloop = -1;
}

/* Tiles of a row; lanes and `across` are powers of two here. */
static value tiles_of(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    const fr__kaxis *axis = &e->k->axis[e->k->ins[loop].imm];
    value n = fr__emit_word(e, axis->extent);
    if (axis->split >= 0) {
        value block = fr__emit_word(e, axis->block);
        n = choose(e, icmp(e, LLVMIntSLT, block, n), block, n);
    }
    value tile = mul(e, m->across, c64(e, fr__ptx_lanes(m)));
    value up = add(e, n, sub(e, tile, c64(e, 1)));
    int lanes = 0;
    while (1 << lanes < fr__ptx_lanes(m))
        lanes++;
    return fr__llvm.BuildLShr(e->at, up, add(e, m->shift, c64(e, lanes)), "");
}

/* ---- the root loop ------------------------------------------------------------------------ */

/* The root's index for a number that every thread, or every group, has its own of; beyond the end
 * that of the last one, and row_ok false. */
static void set_root(emitter *m, int loop, value index, bool own)
{
    fr__emit *e = &m->e;
    m->row_ok = NULL;
    if (own) {
        m->row_ok = icmp(e, LLVMIntSLT, index, e->end);
        index = choose(e, m->row_ok, index, sub(e, e->end, c64(e, 1)));
    }
    e->axis_index[e->k->ins[loop].imm] = index;
    fr__emit_outer_axes(e, index);
}

static int vector_inside(const emitter *m, int loop)
{
    for (int i = loop + 1; i < m->e.place[loop].end; i++)
        if (m->e.k->ins[i].op == FR__K_LOOP)
            return i;
    return loop;
}

/* What a block does at a position of its walk (see emit_root). */
static void emit_item(emitter *m, int loop, value at, value tiles)
{
    fr__emit *e = &m->e;
    int end = e->place[loop].end;
    if (m->form.flat) {
        emit_tile(m, loop, at);
    } else if (m->form.way == FR__PTX_TILES) {
        value number = fr__llvm.BuildUDiv(e->at, at, tiles, "");
        value tile = sub(e, at, mul(e, number, tiles));
        bool columns = m->form.columns;
        if (!columns)
            number = add(e, mul(e, number, m->groups), m->group);
        set_root(m, loop, add(e, e->begin, number), !columns);
        int inside = vector_inside(m, loop);
        emit_range(m, loop + 1, inside);
        tile = mul(e, tile, m->across);
        emit_tile(m, inside, mul(e, tile, c64(e, fr__ptx_lanes(m))));
    } else {
        value own = m->form.way == FR__PTX_ROWS ? m->group : m->thread;
        set_root(m, loop, add(e, e->begin, add(e, at, own)), true);
        emit_range(m, loop + 1, end);
    }
}

/* A block walks over elements of the only axis, tiles of all rows, groups' rows, or threads'
 * indices; `unit` of them are its own at a time. */
static value count_items(emitter *m, int loop, value *unit, value *tiles)
{
    fr__emit *e = &m->e;
    value range = sub(e, e->end, e->begin), one = c64(e, 1);
    *tiles = NULL;
    *unit = m->form.flat                  ? mul(e, m->across, c64(e, fr__ptx_lanes(m)))
            : m->form.way == FR__PTX_EACH ? m->threads
            : m->form.way == FR__PTX_ROWS ? m->groups
                                          : NULL;
    if (*unit)
        return range;
    *unit = one;
    *tiles = tiles_of(m, vector_inside(m, loop));
    if (!m->form.columns) {
        range = add(e, range, sub(e, m->groups, one));
        range = fr__llvm.BuildLShr(e->at, range, m->groups_shift, "");
    }
    return mul(e, range, *tiles);
}

static void emit_root(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    value tiles, unit, n = count_items(m, loop, &unit, &tiles);
    value first = mul(e, m->block, unit), step = mul(e, m->blocks, unit);
    LLVMBasicBlockRef before = fr__emit_here(e), body = fr__emit_block(e, "root");
    LLVMBasicBlockRef again = fr__emit_block(e, ""), after = fr__emit_block(e, "");
    branch(e, icmp(e, LLVMIntSLT, first, n), body, after);
    fr__emit_at(e, body);
    value at = fr__llvm.BuildPhi(e->at, e->i64, "");
    emit_item(m, loop, at, tiles);
    value next = add(e, at, step);
    branch(e, icmp(e, LLVMIntSLT, next, n), again, after);
    fr__emit_at(e, again);
    if (m->form.way == FR__PTX_ROWS)
        fr__ptx_barrier(m); /* the next index uses the same shared memory */
    jump(e, body);
    fr__llvm.AddIncoming(at, (value[]){first, next}, (LLVMBasicBlockRef[]){before, again}, 2);
    fr__emit_at(e, after);
    m->row_ok = NULL;
}

/* ---- loops inside it ---------------------------------------------------------------------- */

typedef struct inside {
    emitter *m;
    value high;
} inside;

static int inside_parts(void *ctx, int acc)
{
    return fr__ptx_acc_lanes(((inside *)ctx)->m, acc);
}

/* The turns that a group takes at once; the first one is known to be inside where that is said. */
static void place_rows(emitter *m, int loop, value first, value high, bool first_inside)
{
    fr__emit *e = &m->e;
    int64_t axis = e->k->ins[loop].imm;
    value last = sub(e, high, c64(e, 1));
    m->sloop = loop;
    for (int r = 0; r < m->rows; r++) {
        value at = r ? add(e, first, mul(e, m->groups, c64(e, r))) : first;
        m->row_in[r] = r || !first_inside ? icmp(e, LLVMIntSLT, at, high) : NULL;
        m->row[r] = m->row_in[r] ? choose(e, m->row_in[r], at, last) : at;
    }
    e->axis_index[axis] = m->rows == 1 ? m->row[0] : NULL; /* else ptx_lanes.c says which */
}

/* What is inside a loop, from an index on, with the lanes or turns that belong to it. */
static void emit_turn(emitter *m, int loop, value index, value high, bool first_inside)
{
    fr__emit *e = &m->e;
    bool vector = e->k->axis[e->k->ins[loop].imm].bind == FR__BIND_VEC;
    bool split = fr__ptx_is_split(m, loop);
    if (vector) {
        m->vloop = loop;
        place_chunks(m, index, high, first_inside);
    } else if (split) {
        place_rows(m, loop, index, high, first_inside);
    }
    emit_range(m, loop + 1, e->place[loop].end);
    m->vloop = vector ? -1 : m->vloop;
    m->sloop = split ? -1 : m->sloop;
}

static void inside_body(void *ctx, int loop, LLVMValueRef index)
{
    inside *in = ctx;
    emit_turn(in->m, loop, index, in->high, true);
}

static void emit_loop(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    const fr__kaxis *axis = &e->k->axis[e->k->ins[loop].imm];
    bool vector = axis->bind == FR__BIND_VEC, split = fr__ptx_is_split(m, loop);
    inside in = {.m = m};
    fr__emit_walk walk = {
        .step = c64(e, 1), .parts = inside_parts, .body = inside_body, .ctx = &in};
    if (e->place[loop].loop < 0) {
        emit_root(m, loop);
        return;
    }
    fr__emit_bounds(e, axis, &walk.low, &walk.high);
    in.high = walk.high;
    if (vector) {
        walk.low = add(e, walk.low, mul(e, m->place, c64(e, m->width)));
        walk.step = mul(e, m->across, c64(e, fr__ptx_lanes(m)));
    } else if (split) {
        walk.low = add(e, walk.low, m->group);
        walk.step = mul(e, m->groups, c64(e, m->rows));
    }
    fr__emit_hoist(e, loop);
    if (m->single && (vector || split)) {
        emit_turn(m, loop, walk.low, walk.high, false);
        e->axis_index[e->k->ins[loop].imm] = NULL;
    } else {
        m->failed |= fr__emit_loop(e, loop, &walk) != 0;
    }
}

/* ---- instructions ------------------------------------------------------------------------- */

static void compute(emitter *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    int each = fr__ptx_each(m, i);
    if (ins->op == FR__K_DIV && fr__ptx_divides_alike(m, i) && m->divisor[ins->b]) {
        fr__ptx_divide(m, i);
        return;
    }
    for (int r = 0; r < fr__ptx_rows(m, i); r++)
        for (int u = 0; u < each; u++) {
            value a = fr__ptx_operand(m, ins->a, r, u), b = fr__ptx_operand(m, ins->b, r, u);
            value c = fr__ptx_operand(m, ins->c, r, u);
            value v = fr__emit_op(&m->e, ins, a, b, c, 0);
            m->failed |= !v;
            fr__ptx_values(m, i)[r * each + u] = v;
        }
}

static void axis_index(emitter *m, int i)
{
    fr__emit *e = &m->e;
    int64_t axis = e->k->ins[i].imm;
    int each = fr__ptx_each(m, i), rows = fr__ptx_rows(m, i);
    bool turns = m->sloop >= 0 && rows > 1 && e->k->ins[m->sloop].imm == axis;
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < each; u++)
            fr__ptx_values(m, i)[r * each + u] = e->place[i].varying ? fr__ptx_index(m, u)
                                                 : turns             ? m->row[r]
                                                                     : e->axis_index[axis];
}

/* A constant, or a word. */
static void same_for_all(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    fr__ktype t = (fr__ktype)ins->type;
    value v = ins->op == FR__K_CONST ? fr__emit_const(e, t, (uint64_t)ins->imm, 0)
                                     : fr__emit_param(e, t, fr__emit_word(e, (int)ins->imm));
    for (int r = 0; r < fr__ptx_rows(m, i); r++)
        fr__ptx_values(m, i)[r] = v;
}

static void emit_range(emitter *m, int from, int to)
{
    fr__emit *e = &m->e;
    for (int i = from; i < to && !m->failed; i++) {
        const fr__kins *ins = &e->k->ins[i];
        switch (ins->op) {
        case FR__K_CONST:
        case FR__K_PARAM: same_for_all(m, i); break;
        case FR__K_AXIS: axis_index(m, i); break;
        case FR__K_LOAD: fr__ptx_load(m, i); break;
        case FR__K_STORE: fr__ptx_store(m, i); break;
        case FR__K_ACC:
            for (int u = 0; u < FR__PTX_LANES; u++)
                fr__ptx_values(m, i)[u] =
                    fr__emit_identity(e, (fr__kop)ins->imm, (fr__ktype)ins->type, 0);
            break;
        case FR__K_UPD: fr__ptx_update(m, i); break;
        case FR__K_RED: fr__ptx_reduce(m, i); break;
        case FR__K_LOOP:
            emit_loop(m, i);
            i = e->place[i].end;
            break;
        default: compute(m, i);
        }
        if (m->divisor[i] && !m->failed)
            fr__ptx_prepare_divisor(m, i);
    }
}

/* ---- versions ----------------------------------------------------------------------------- */

static void emit_version(emitter *m, bool wide, bool single)
{
    fr__emit *e = &m->e;
    bool loops = m->form.way == FR__PTX_ROWS && !single; /* few lanes: it is for long rows */
    m->wide = wide;
    m->single = single;
    m->width = wide ? m->form.width : 1;
    m->chunks = loops ? 1 : wide ? m->form.chunks : m->form.narrow;
    m->rows = m->form.rows;
    m->reduced = 0;
    /* Nothing of the other version: its values are not to be had here. */
    memset(e->address, 0, sizeof *e->address * (size_t)e->k->nins);
    memset(e->values, 0, sizeof *e->values * (size_t)e->k->nins * (size_t)e->width);
    emit_range(m, 0, e->k->nins);
}

static value has_bit(emitter *m, int bit)
{
    fr__emit *e = &m->e;
    value zero = c64(e, 0);
    return icmp(e, LLVMIntNE, and(e, m->shape, c64(e, INT64_C(1) << bit)), zero);
}

/* Single, or not. */
static void emit_versions(emitter *m, bool wide)
{
    fr__emit *e = &m->e;
    if (!m->form.single || (m->form.columns && !wide)) {
        emit_version(m, wide, false);
        return;
    }
    LLVMBasicBlockRef single = fr__emit_block(e, "single"), loops = fr__emit_block(e, "loops");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    branch(e, has_bit(m, FR__PTX_SINGLE), single, loops);
    fr__emit_at(e, single);
    emit_version(m, wide, true);
    jump(e, after);
    fr__emit_at(e, loops);
    emit_version(m, wide, false);
    jump(e, after);
    fr__emit_at(e, after);
}

static void emit_all(emitter *m)
{
    fr__emit *e = &m->e;
    value end = e->end;
    if (!m->form.wide) {
        emit_versions(m, false);
        return;
    }
    LLVMBasicBlockRef before = fr__emit_here(e), wide = fr__emit_block(e, "wide");
    LLVMBasicBlockRef narrow = fr__emit_block(e, "narrow"), after = fr__emit_block(e, "");
    branch(e, has_bit(m, FR__PTX_WIDE), wide, narrow);
    fr__emit_at(e, wide);
    if (m->form.flat) { /* the last elements are the narrow version's */
        value range = sub(e, end, e->begin);
        range = and(e, range, c64(e, -(int64_t)m->form.width));
        e->end = add(e, e->begin, range);
    }
    value whole = e->end;
    emit_versions(m, true);
    e->end = end;
    LLVMBasicBlockRef done = fr__emit_here(e);
    jump(e, m->form.flat ? narrow : after);
    fr__emit_at(e, narrow);
    if (m->form.flat)
        e->begin = fr__emit_phi2(e, e->begin, before, whole, done);
    emit_versions(m, false);
    jump(e, after);
    fr__emit_at(e, after);
}

/* ---- the entry ---------------------------------------------------------------------------- */

/* `.maxnreg`. */
static void limit_registers(emitter *m)
{
    fr__emit *e = &m->e;
    LLVMMetadataRef parts[3] = {
        fr__llvm.ValueAsMetadata(e->function),
        fr__llvm.MDStringInContext2(e->context, "maxnreg", 7),
        fr__llvm.ValueAsMetadata(c32(e, m->form.registers)),
    };
    LLVMMetadataRef node = fr__llvm.MDNodeInContext2(e->context, parts, 3);
    fr__llvm.AddNamedMetadataOperand(e->module, "nvvm.annotations",
                                     fr__llvm.MetadataAsValue(e->context, node));
}

static void declare(emitter *m, const char *name)
{
    fr__emit *e = &m->e;
    LLVMTypeRef words = fr__llvm.ArrayType2(e->i64, (uint64_t)e->k->nword);
    bool by_value = e->k->nword <= FR__PTX_WORDS && !m->host && !m->many;
    LLVMTypeRef params[6] = {by_value || m->host ? e->pointer : e->data,
                             m->many ? e->data : e->i64,
                             e->i64,
                             e->i64,
                             e->i64,
                             e->i64};
    LLVMTypeRef type = fr__llvm.FunctionType(e->nothing, params, m->many ? 5 : 6, 0);
    e->function = fr__llvm.AddFunction(e->module, name, type);
    fr__emit_flag(e, "nounwind");
    if (!m->host) {
        fr__llvm.SetFunctionCallConv(e->function, PTX_CALL);
        fr__emit_flag(e, "convergent");
    }
    if (m->form.registers && !m->host)
        limit_registers(m);
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
    m->shape = fr__llvm.GetParam(e->function, 5);
}

static value load_word(emitter *m, value row, int64_t at)
{
    value p = gep(&m->e, m->e.i64, row, c64(&m->e, at));
    return fr__llvm.BuildLoad2(m->e.at, m->e.i64, p, "");
}

/* Of many launches: words, range and shape of this block's, its number among that one's blocks. */
static void find_row(emitter *m)
{
    fr__emit *e = &m->e;
    value table = fr__llvm.GetParam(e->function, 0), which = fr__llvm.GetParam(e->function, 1);
    value row = fr__llvm.BuildLoad2(e->at, e->i32, gep(e, e->i32, which, m->block), "");
    row =
        mul(e, fr__llvm.BuildZExt(e->at, row, e->i64, ""), c64(e, FR__ROW_WORDS + e->k->nword));
    row = gep(e, e->i64, table, row);
    e->begin = c64(e, 0);
    e->end = load_word(m, row, FR__ROW_RANGE);
    m->block = sub(e, m->block, load_word(m, row, FR__ROW_FIRST));
    m->blocks = load_word(m, row, FR__ROW_BLOCKS);
    m->shape = load_word(m, row, FR__ROW_SHAPE);
    e->word_base = gep(e, e->i64, row, c64(e, FR__ROW_WORDS));
}

static value special_register(emitter *m, const char *name, uint32_t (*on_host)(void))
{
    fr__emit *e = &m->e;
    value v;
    if (m->host) {
        value to = c64(e, (int64_t)(uintptr_t)on_host);
        to = fr__llvm.BuildIntToPtr(e->at, to, e->pointer, "");
        v = fr__llvm.BuildCall2(e->at, fr__llvm.FunctionType(e->i32, NULL, 0, 0), to, NULL, 0,
                                "");
    } else {
        v = fr__emit_call(e, name, NULL, 0, NULL, 0);
    }
    return fr__llvm.BuildZExt(e->at, v, e->i64, "");
}

static value shared_array(emitter *m, const char *name, LLVMTypeRef type, uint64_t n)
{
    fr__emit *e = &m->e;
    if (m->host) { /* one after the other; wanted is at most one kind and its 64-bit sums */
        int64_t at = (int64_t)(uintptr_t)(n ? m->host->shared : m->host->dynamic);
        at += n && type == e->i64 ? 32 << 10 : 0;
        return fr__llvm.BuildIntToPtr(e->at, c64(e, at), e->pointer, "");
    }
    type = fr__llvm.ArrayType2(type, n);
    value v = fr__llvm.AddGlobalInAddressSpace(e->module, type, name, 3);
    fr__llvm.SetLinkage(v, n ? LLVMInternalLinkage : LLVMExternalLinkage);
    if (n)
        fr__llvm.SetInitializer(v, fr__llvm.GetUndef(type));
    fr__llvm.SetAlignment(v, 16);
    return v;
}

/* Shared memory for sums, as much as they need. */
static void place_sums(emitter *m)
{
    fr__emit *e = &m->e;
    int n = 0, wide = 0;
    for (int i = 0; i < e->k->nins; i++)
        if (e->k->ins[i].op == FR__K_RED) {
            n++;
            wide += fr__ktype_size[e->k->ins[i].type] == 8;
        }
    if (m->form.way == FR__PTX_ROWS && n)
        m->sums = shared_array(m, "fr_sums", e->i64, (uint64_t)n * WARP);
    if (!m->form.columns)
        return;
    int lanes = m->form.wide ? m->form.width * m->form.chunks : m->form.narrow;
    if (n > wide)
        m->columns32 =
            shared_array(m, "fr_columns", e->i32, (uint64_t)(lanes * FR__PTX_COLUMN_THREADS));
    if (wide)
        m->columns64 =
            shared_array(m, "fr_columns64", e->i64, (uint64_t)(lanes * FR__PTX_COLUMN_THREADS));
}

/* In the entry block: which thread this is, and what the launch is like. */
static void place_thread(emitter *m)
{
    fr__emit *e = &m->e;
    const fr__ptx_host *h = m->host;
    m->thread = special_register(m, "llvm.nvvm.read.ptx.sreg.tid.x", h ? h->thread : NULL);
    m->threads = special_register(m, "llvm.nvvm.read.ptx.sreg.ntid.x", h ? h->threads : NULL);
    m->block = special_register(m, "llvm.nvvm.read.ptx.sreg.ctaid.x", h ? h->block : NULL);
    m->blocks = special_register(m, "llvm.nvvm.read.ptx.sreg.nctaid.x", h ? h->blocks : NULL);
    value all_block = m->block, zero = c64(e, 0);
    if (m->many)
        find_row(m);
    value shape = m->shape;
    m->across = and(e, shape, c64(e, (1 << FR__PTX_SHIFT) - 1));
    m->shift = fr__llvm.BuildLShr(e->at, shape, c64(e, FR__PTX_SHIFT), "");
    m->shift = and(e, m->shift, c64(e, 31));
    m->groups = fr__llvm.BuildLShr(e->at, shape, c64(e, FR__PTX_GROUPS), "");
    m->groups = and(e, m->groups, c64(e, (1 << FR__PTX_SHIFT) - 1));
    m->groups_shift = fr__llvm.BuildLShr(e->at, shape, c64(e, FR__PTX_GROUPS_SHIFT), "");
    m->group = fr__llvm.BuildLShr(e->at, m->thread, m->shift, "");
    m->place = sub(e, m->thread, fr__llvm.BuildShl(e->at, m->group, m->shift, ""));
    m->large = icmp(e, LLVMIntSGT, m->across, c64(e, WARP));
    for (int d = 0; d < FR__COUNT(m->nearer); d++)
        m->nearer[d] = icmp(e, LLVMIntSGT, m->across, c64(e, WARP / 2 >> d));
    place_sums(m);
    if (!m->form.scratch)
        return;
    value given = fr__llvm.GetParam(e->function, 3), size = fr__llvm.GetParam(e->function, 4);
    value own = shared_array(m, "fr_scratch", e->i8, 0);
    if (!h)
        own = fr__llvm.BuildAddrSpaceCast(e->at, own, e->pointer, "");
    value elsewhere = add(e, given, mul(e, all_block, size));
    elsewhere = fr__llvm.BuildIntToPtr(e->at, elsewhere, e->pointer, "");
    e->scratch = choose(e, icmp(e, LLVMIntEQ, given, zero), own, elsewhere);
}

static int find_held(emitter *m)
{
    const fr__kernel *k = m->e.k;
    size_t n = (size_t)k->nins;
    m->held_by = fr__arena_alloc(&m->e.arena, n * sizeof *m->held_by);
    if (!m->held_by)
        return -1;
    for (int i = 0; i < k->nins; i++)
        m->held_by[i] = fr__ptx_held_by(k, &m->form, i);
    return 0;
}

int fr__llvm_build_ptx(fr__llvm_session *s, const fr__kernel *k, const char *name, bool many,
                       const fr__ptx_host *host)
{
    emitter m = {
        .host = host, .many = many, .form = fr__ptx_form_of(k), .vloop = -1, .sloop = -1};
    int failed = fr__emit_start(&m.e, s, k, FR__PTX_LANES);
    m.e.ptx = true;
    m.e.fma = !host || fr__llvm_host()->fma;
    m.e.half = !host;
    m.quick_extremes = host || s->sm >= 80;
    if (!host)
        m.e.data = fr__llvm.PointerTypeInContext(s->context, 1); /* global memory */
    if (!failed && !(failed = find_held(&m) || fr__ptx_find_divisors(&m) ? -1 : 0)) {
        declare(&m, name);
        fr__emit_begin_body(&m.e);
        LLVMBuilderRef at = m.e.at; /* where the thread is is known from the entry block on */
        m.e.at = m.e.entry;
        place_thread(&m);
        m.e.at = at;
        emit_all(&m);
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
    int failed =
        fr__llvm_open(s, "nvptx64-nvidia-cuda", known[best].cpu, known[best].features, true);
    s->sm = known[best].sm;
    return failed;
}
