/* llvm_cpu.c - a kernel as machine code for the host: loops, memory and lanes
 *
 * needs   a checked kernel
 * gives   one function, void name(const uint64_t *w, int64_t begin, int64_t end, char *scratch),
 *         that refers to nothing outside itself
 *
 * A varying value is `unroll` vectors of FR__LANES lanes, a uniform one a scalar. The body of a
 * vector loop is compiled once. It runs over the full vectors first; for the rest it runs once
 * more, its plain loads and stores redirected to stack buffers that are filled before and
 * emptied after:
 *
 *     before --> [main] loop <-+        loop phis: index, number of valid lanes, pointers,
 *        |         |    |------+                   accumulators
 *        v         v
 *      check <-- exit --> finish (empty buffers, undo what invalid lanes accumulated)
 *        |  \                |
 *        |   fill --> loop   |
 *        v                   v
 *       done <----------------
 *
 * Loads and stores whose address depends on a loop inside the vector loop are redirected where
 * they stand; gathers, scatters and masked accesses take the valid lanes into their mask.
 */
#include "kernel/emit.h"

#include <stdio.h>

enum { LANES = FR__LANES, MAXU = FR__KMAXUNROLL };

/* How a load or store meets the vector loop around it. */
typedef enum manner {
    SCALAR,  /* one address, one element */
    DIRECT,  /* vectors at steps of one element; may run over the end (scratch) */
    LINEAR,  /* vectors at steps of one element or a stride */
    MASKED,  /* vectors at steps of one element, some lanes left out */
    GENERAL, /* an address a lane */
} manner;

typedef struct transfer { /* what is known about a LOAD or STORE while its block is open */
    value stride; /* LINEAR: bytes from lane to lane, NULL where it is the element size */
    value buffer; /* LINEAR: the stack buffer for the last lanes */
    uint8_t manner;
    bool outside; /* LINEAR: redirected at the vector loop, `address` is its phi */
} transfer;

typedef struct vector_loop {
    int ins, unroll, step; /* the LOOP; elements of a step */
    value index;           /* of the first lane */
    value valid;           /* i32: lanes that count, `step` but for the last time */
    value last;            /* i32: lanes that count in the last, partial step */
} vector_loop;

typedef struct emitter {
    fr__emit e;
    value *splats;        /* one for each instruction */
    transfer *transfers;  /* one for each instruction */
    vector_loop loop;     /* the one that is open; ins -1: none */
    bool avx512, streams; /* streams: some store is past the cache */
    bool to_l2;           /* what is fetched would be in the way in L1 */
    bool failed;          /* the error is set; stop */
} emitter;

/* ---- what is made once, in the entry block ------------------------------------------ */

static value stack(emitter *m, LLVMTypeRef type, int count)
{
    value p = fr__llvm.BuildAlloca(m->e.entry, fr__llvm.ArrayType2(type, (uint64_t)count), "");
    fr__llvm.SetAlignment(p, 64);
    return p;
}

/* ---- values ------------------------------------------------------------------------- */

static value *values_of(emitter *m, int i) { return fr__emit_values(&m->e, i); }

/* Operand i as part u of a varying computation (lanes > 0) or as a scalar. */
static value operand(emitter *m, int i, int u, int lanes)
{
    if (i < 0)
        return NULL;
    if (!lanes)
        return values_of(m, i)[0];
    return m->e.place[i].varying ? values_of(m, i)[u] : m->splats[i];
}

static void set_uniform(emitter *m, int i, value v)
{
    values_of(m, i)[0] = v;
    if (m->e.place[i].splat && m->loop.ins >= 0)
        m->splats[i] = fr__emit_splat(&m->e, v, LANES);
}

/* Before a vector loop: the vectors of the scalars from outside that it uses. */
static void splat_operands(emitter *m, int loop)
{
    const fr__kernel *k = m->e.k;
    for (int i = loop + 1; i < m->e.place[loop].end; i++) {
        const fr__kins *ins = &k->ins[i];
        int32_t used[3] = {ins->a, ins->b, ins->c};
        for (int j = 0; m->e.place[i].varying && j < 3; j++) {
            int from = used[j];
            if (from < 0 || from > loop || m->e.place[from].varying ||
                k->ins[from].op == FR__K_ACC || m->splats[from])
                continue;
            bool address = j == 1 && (ins->op == FR__K_LOAD || ins->op == FR__K_STORE);
            if (!address)
                m->splats[from] = fr__emit_splat(&m->e, values_of(m, from)[0], LANES);
        }
    }
}

static void forget_splats(emitter *m, int loop)
{
    for (int i = 0; i < loop; i++)
        m->splats[i] = NULL;
}

/* Which of 16 lanes from 16 u on count. */
static value valid_mask(emitter *m, int u)
{
    value iota = fr__emit_iota(&m->e, m->e.i32, LANES, u * LANES);
    value all = fr__emit_splat(&m->e, m->loop.valid, LANES);
    return icmp(&m->e, LLVMIntSLT, iota, all);
}

/* ---- addresses ---------------------------------------------------------------------- */

static manner manner_of(emitter *m, int i)
{
    const fr__kernel *k = m->e.k;
    const fr__kins *ins = &k->ins[i];
    const fr__kaccess *access = &k->access[ins->imm];
    const fr__kbuf *buf = &k->bufs[access->buf];
    const fr__place *place = m->e.place;
    bool varying_b = ins->b >= 0 && place[ins->b].varying;
    if (!place[i].varying)
        return SCALAR;
    if (varying_b || access->vec == FR__VEC_NONE)
        return GENERAL;
    if (ins->c >= 0)
        return access->vec == FR__VEC_UNIT ? MASKED : GENERAL;
    int over = (m->loop.step - 1) * fr__dsize(buf->dtype);
    if (buf->role == FR__BUF_SCRATCH && access->vec == FR__VEC_UNIT && !access->nterm &&
        ins->b < 0 && over <= 64 * FR__KMAXUNROLL && k->axis[access->vaxis].split < 0)
        return DIRECT;
    return LINEAR;
}

static void load_or_store_scalar(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int dtype = fr__emit_dtype(e, i);
    LLVMTypeRef type = fr__emit_storage(e, dtype, 0);
    fr__emit_advance(&m->e, i);
    value p = m->e.address[i].at, mask = operand(m, ins->c, 0, 0);
    if (ins->op == FR__K_LOAD) {
        if (mask) { /* where false the zero on the stack is read */
            value zero = stack(m, e->i64, 1);
            fr__llvm.BuildStore(m->e.entry, c64(e, 0), zero);
            p = choose(e, mask, p, zero);
        }
        value raw = fr__llvm.BuildLoad2(e->at, type, p, "");
        fr__llvm.SetAlignment(raw, (unsigned)fr__dsize(dtype));
        set_uniform(m, i, fr__emit_from_storage(e, dtype, raw, 0));
        return;
    }
    LLVMBasicBlockRef after = NULL;
    if (mask) {
        LLVMBasicBlockRef store = fr__emit_block(e, "store");
        after = fr__emit_block(e, "");
        branch(e, mask, store, after);
        fr__emit_at(e, store);
    }
    value raw = fr__emit_to_storage(e, dtype, operand(m, ins->a, 0, 0), 0);
    value done = fr__llvm.BuildStore(e->at, raw, p);
    fr__llvm.SetAlignment(done, (unsigned)fr__dsize(dtype));
    if (mask) {
        jump(e, after);
        fr__emit_at(e, after);
    }
}

/* ---- the last, partial step --------------------------------------------------------- */

/* A loop over `count` (i32, > 0) elements that copies from one place to another. */
static void copy_elements(emitter *m, LLVMTypeRef type, int size, value to, value to_stride,
                          value from, value from_stride, value count)
{
    fr__emit *e = &m->e;
    LLVMBasicBlockRef before = fr__emit_here(e), loop = fr__emit_block(e, "copy");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    value n = fr__llvm.BuildZExt(e->at, count, e->i64, "");
    value zero = c64(e, 0);
    jump(e, loop);
    fr__emit_at(e, loop);
    value j = fr__llvm.BuildPhi(e->at, e->i64, "");
    value from_offset = mul(e, j, from_stride), to_offset = mul(e, j, to_stride);
    value source = gep(e, e->i8, from, from_offset), target = gep(e, e->i8, to, to_offset);
    value v = fr__llvm.BuildLoad2(e->at, type, source, "");
    fr__llvm.SetAlignment(v, (unsigned)size);
    value s = fr__llvm.BuildStore(e->at, v, target);
    fr__llvm.SetAlignment(s, (unsigned)size);
    value next = add(e, j, c64(e, 1));
    branch(e, icmp(e, LLVMIntULT, next, n), loop, after);
    fr__llvm.AddIncoming(j, &zero, &before, 1);
    fr__llvm.AddIncoming(j, &next, &loop, 1);
    fr__emit_at(e, after);
}

static value masked_load(emitter *m, LLVMTypeRef type, int size, value p, value mask)
{
    LLVMTypeRef types[2] = {type, m->e.pointer};
    value args[4] = {p, c32(&m->e, size), mask, fr__llvm.ConstNull(type)};
    return fr__emit_call(&m->e, "llvm.masked.load", types, 2, args, 4);
}

static void masked_store(emitter *m, LLVMTypeRef type, int size, value p, value v, value mask)
{
    LLVMTypeRef types[2] = {type, m->e.pointer};
    value args[4] = {v, p, c32(&m->e, size), mask};
    fr__emit_call(&m->e, "llvm.masked.store", types, 2, args, 4);
}

static void call_copy(emitter *m, value to, value from, value count, int size)
{
    fr__emit *e = &m->e;
    LLVMTypeRef params[3] = {e->pointer, e->pointer, e->i64};
    LLVMTypeRef type = fr__llvm.FunctionType(e->nothing, params, 3, 0);
    value function =
        fr__llvm.BuildIntToPtr(e->at, fr__emit_word(&m->e, FR__W_COPY), e->pointer, "");
    value n = fr__llvm.BuildZExt(e->at, count, e->i64, "");
    value args[3] = {to, from, mul(e, n, c64(e, size))};
    fr__llvm.BuildCall2(e->at, type, function, args, 3, "");
}

/* The valid lanes between memory (at p, of the first lane) and the stack buffer. */
static void move_last(emitter *m, int i, value p, value valid)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    transfer *t = &m->transfers[i];
    int dtype = fr__emit_dtype(e, i), size = fr__dsize(dtype);
    bool store = ins->op == FR__K_STORE;
    LLVMTypeRef type = fr__emit_storage(e, dtype, 0),
                vector = fr__emit_storage(e, dtype, LANES);
    bool masked = m->avx512 && !t->stride;
    value all = masked ? fr__emit_splat(e, valid, LANES) : NULL;
    for (int u = 0; u < m->loop.unroll; u++) {
        value at = gep(e, type, t->buffer, c64(e, u * LANES));
        value what = fr__llvm.ConstNull(vector);
        if (masked) {
            value iota = fr__emit_iota(e, e->i32, LANES, u * LANES);
            value mask = icmp(e, LLVMIntSLT, iota, all), q = gep(e, type, p, c64(e, u * LANES));
            if (store) {
                what = fr__llvm.BuildLoad2(e->at, vector, at, "");
                fr__llvm.SetAlignment(what, (unsigned)size);
                masked_store(m, vector, size, q, what, mask);
            } else {
                what = masked_load(m, vector, size, q, mask);
            }
        }
        if (!store)
            fr__llvm.SetAlignment(fr__llvm.BuildStore(e->at, what, at), (unsigned)size);
    }
    if (masked)
        return;
    value from = store ? t->buffer : p, to = store ? p : t->buffer;
    if (t->outside && !t->stride) {
        call_copy(m, to, from, valid, size);
        return;
    }
    value dense = c64(e, size), apart = t->stride ? t->stride : dense;
    copy_elements(m, type, size, to, store ? apart : dense, from, store ? dense : apart, valid);
}

static value first_lane(emitter *m, int i, value address, value index)
{
    fr__emit *e = &m->e;
    transfer *t = &m->transfers[i];
    if (t->stride)
        return gep(e, e->i8, address, mul(e, index, t->stride));
    return gep(e, fr__emit_storage(e, fr__emit_dtype(e, i), 0), address, index);
}

/* ---- vector loads and stores -------------------------------------------------------- */

/* Pointers to 16 strided elements from p on, with few additions. */
static void strided_pointers(emitter *m, value p, value stride, value *to)
{
    fr__emit *e = &m->e;
    value two = add(e, stride, stride), three = add(e, two, stride), four = add(e, two, two);
    value apart[4] = {NULL, stride, two, three};
    for (int g = 0; g < LANES; g += 4) {
        for (int j = 0; j < 4; j++)
            to[g + j] = j ? gep(e, e->i8, p, apart[j]) : p;
        p = gep(e, e->i8, p, four);
    }
}

static value load_strided(emitter *m, int dtype, value p, value stride)
{
    fr__emit *e = &m->e;
    int size = fr__dsize(dtype);
    LLVMTypeRef type = fr__emit_storage(e, dtype, 0),
                vector = fr__emit_storage(e, dtype, LANES);
    value at[LANES], v = fr__llvm.GetPoison(vector);
    strided_pointers(m, p, stride, at);
    for (int j = 0; j < LANES; j++) {
        value one = fr__llvm.BuildLoad2(e->at, type, at[j], "");
        fr__llvm.SetAlignment(one, (unsigned)size);
        v = fr__llvm.BuildInsertElement(e->at, v, one, c32(e, j), "");
    }
    return v;
}

static void store_strided(emitter *m, int dtype, value v, value p, value stride)
{
    fr__emit *e = &m->e;
    value at[LANES];
    strided_pointers(m, p, stride, at);
    for (int j = 0; j < LANES; j++) {
        value one = fr__llvm.BuildExtractElement(e->at, v, c32(e, j), "");
        value done = fr__llvm.BuildStore(e->at, one, at[j]);
        fr__llvm.SetAlignment(done, (unsigned)fr__dsize(dtype));
    }
}

static void mark_streaming(emitter *m, value store)
{
    fr__emit *e = &m->e;
    LLVMMetadataRef one = fr__llvm.ValueAsMetadata(c32(e, 1));
    LLVMMetadataRef node = fr__llvm.MDNodeInContext2(e->context, &one, 1);
    fr__llvm.SetMetadata(store, fr__llvm.GetMDKindIDInContext(e->context, "nontemporal", 11),
                         fr__llvm.MetadataAsValue(e->context, node));
    m->streams = true;
}

static value load_part(emitter *m, int i, value p, value stride, int u)
{
    fr__emit *e = &m->e;
    int dtype = fr__emit_dtype(e, i);
    value raw;
    if (stride) {
        value q = u ? gep(e, e->i8, p, mul(e, stride, c64(e, u * LANES))) : p;
        raw = load_strided(m, dtype, q, stride);
    } else {
        value q = gep(e, fr__emit_storage(e, dtype, 0), p, c64(e, u * LANES));
        raw = fr__llvm.BuildLoad2(e->at, fr__emit_storage(e, dtype, LANES), q, "");
        fr__llvm.SetAlignment(raw, (unsigned)fr__dsize(dtype));
        const fr__kaccess *access = &e->k->access[e->k->ins[i].imm];
        int ahead = access->prefetch;
        if (ahead && !(access->sparse && u % 2)) {
            value next = gep(e, fr__emit_storage(e, dtype, 0), q, fr__emit_word(e, ahead));
            value hint[4] = {next, c32(e, 0), c32(e, m->to_l2 || access->sparse ? 2 : 3),
                             c32(e, 1)}; /* read, where to, data */
            fr__emit_call(e, "llvm.prefetch", &e->data, 1, hint, 4);
        }
    }
    return fr__emit_from_storage(e, dtype, raw, LANES);
}

static void store_part(emitter *m, int i, value p, value stride, int u)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int dtype = fr__emit_dtype(e, i), size = fr__dsize(dtype);
    value raw = fr__emit_to_storage(e, dtype, operand(m, ins->a, u, LANES), LANES);
    if (stride) {
        value q = u ? gep(e, e->i8, p, mul(e, stride, c64(e, u * LANES))) : p;
        store_strided(m, dtype, raw, q, stride);
        return;
    }
    value q = gep(e, fr__emit_storage(e, dtype, 0), p, c64(e, u * LANES));
    value done = fr__llvm.BuildStore(e->at, raw, q);
    bool past = e->k->access[ins->imm].nt;
    fr__llvm.SetAlignment(done, (unsigned)(past ? fr__min64(64, LANES * size) : size));
    if (past)
        mark_streaming(m, done);
}

static void load_or_store_linear(emitter *m, int i)
{
    fr__emit *e = &m->e;
    bool store = e->k->ins[i].op == FR__K_STORE;
    transfer *t = &m->transfers[i];
    bool redirect = t->manner == LINEAR && !t->outside;
    value stride = t->stride;
    fr__emit_advance(&m->e, i);
    value there = first_lane(m, i, m->e.address[i].at, m->loop.index), p = there;
    value full = NULL;
    if (redirect) {
        int size = fr__dsize(fr__emit_dtype(e, i));
        full = icmp(e, LLVMIntEQ, m->loop.valid, c32(e, m->loop.step));
        if (store) {
            p = choose(e, full, there, t->buffer);
            stride = stride ? choose(e, full, stride, c64(e, size)) : NULL;
        } else {
            LLVMBasicBlockRef here = fr__emit_here(e), fill = fr__emit_block(e, "fill");
            LLVMBasicBlockRef load = fr__emit_block(e, "");
            fr__emit_branch_likely(e, full, load, fill);
            fr__emit_at(e, fill);
            move_last(m, i, there, m->loop.valid);
            LLVMBasicBlockRef filled = fr__emit_here(e);
            jump(e, load);
            fr__emit_at(e, load);
            p = fr__emit_phi2(e, there, here, t->buffer, filled);
            if (stride)
                stride = fr__emit_phi2(e, stride, here, c64(e, size), filled);
        }
    }
    for (int u = 0; u < m->loop.unroll; u++)
        if (store)
            store_part(m, i, p, stride, u);
        else
            values_of(m, i)[u] = load_part(m, i, p, stride, u);
    if (redirect && store) {
        LLVMBasicBlockRef empty = fr__emit_block(e, "empty"), after = fr__emit_block(e, "");
        fr__emit_branch_likely(e, full, after, empty);
        fr__emit_at(e, empty);
        move_last(m, i, there, m->loop.valid);
        jump(e, after);
        fr__emit_at(e, after);
    }
}

static value mask_of(emitter *m, int i, int u)
{
    const fr__kins *ins = &m->e.k->ins[i];
    value valid = valid_mask(m, u);
    return ins->c < 0 ? valid : and(&m->e, operand(m, ins->c, u, LANES), valid);
}

static void load_or_store_masked(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int dtype = fr__emit_dtype(e, i), size = fr__dsize(dtype);
    LLVMTypeRef type = fr__emit_storage(e, dtype, 0),
                vector = fr__emit_storage(e, dtype, LANES);
    fr__emit_advance(&m->e, i);
    value p = gep(e, type, m->e.address[i].at, m->loop.index);
    for (int u = 0; u < m->loop.unroll; u++) {
        value q = gep(e, type, p, c64(e, u * LANES)), mask = mask_of(m, i, u);
        if (ins->op == FR__K_LOAD) {
            value raw = masked_load(m, vector, size, q, mask);
            values_of(m, i)[u] = fr__emit_from_storage(e, dtype, raw, LANES);
        } else {
            value v = fr__emit_to_storage(e, dtype, operand(m, ins->a, u, LANES), LANES);
            masked_store(m, vector, size, q, v, mask);
        }
    }
}

/* Elements from the address to each lane. */
static value lane_offsets(emitter *m, int i, int u)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    const fr__kaccess *access = &e->k->access[ins->imm];
    value offsets = NULL;
    if (access->vec != FR__VEC_NONE) {
        value first = fr__emit_splat(e, m->loop.index, LANES);
        offsets = add(e, first, fr__emit_iota(e, e->i64, LANES, u * LANES));
        if (access->vec == FR__VEC_STRIDE)
            offsets = mul(e, offsets,
                          fr__emit_splat(e, fr__emit_word(&m->e, access->vstride), LANES));
    }
    if (ins->b >= 0 && e->place[ins->b].varying) {
        value b = operand(m, ins->b, u, LANES);
        offsets = offsets ? add(e, offsets, b) : b;
    }
    return offsets ? offsets : fr__llvm.ConstNull(fr__emit_vector(e, e->i64, LANES));
}

static void load_or_store_general(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int dtype = fr__emit_dtype(e, i), size = fr__dsize(dtype);
    LLVMTypeRef type = fr__emit_storage(e, dtype, 0),
                vector = fr__emit_storage(e, dtype, LANES);
    LLVMTypeRef types[2] = {vector, fr__emit_vector(e, e->pointer, LANES)};
    fr__emit_advance(&m->e, i);
    for (int u = 0; u < m->loop.unroll; u++) {
        value offsets = lane_offsets(m, i, u), mask = mask_of(m, i, u);
        value p = gep(e, type, m->e.address[i].at, offsets);
        if (ins->op == FR__K_LOAD) {
            value args[4] = {p, c32(e, size), mask, fr__llvm.ConstNull(vector)};
            value raw = fr__emit_call(e, "llvm.masked.gather", types, 2, args, 4);
            values_of(m, i)[u] = fr__emit_from_storage(e, dtype, raw, LANES);
        } else { /* lane by lane in order, the hardware's scatter too */
            value v = fr__emit_to_storage(e, dtype, operand(m, ins->a, u, LANES), LANES);
            value args[4] = {v, p, c32(e, size), mask};
            fr__emit_call(e, "llvm.masked.scatter", types, 2, args, 4);
        }
    }
}

static void load_or_store(emitter *m, int i)
{
    switch (m->transfers[i].manner) {
    case SCALAR: load_or_store_scalar(m, i); break;
    case MASKED: load_or_store_masked(m, i); break;
    case GENERAL: load_or_store_general(m, i); break;
    default: load_or_store_linear(m, i);
    }
}

/* ---- accumulators ------------------------------------------------------------------- */

static int parts_of(emitter *m, int acc)
{
    int loop = m->e.place[acc].acc;
    return loop < 0 ? 1 : m->e.k->axis[m->e.k->ins[loop].imm].unroll;
}

static int acc_lanes(emitter *m, int acc) { return m->e.place[acc].acc < 0 ? 0 : LANES; }

static void update(emitter *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    const fr__kins *acc = &m->e.k->ins[ins->a];
    int lanes = acc_lanes(m, ins->a);
    for (int u = 0; u < parts_of(m, ins->a); u++) {
        value *v = &values_of(m, ins->a)[u];
        *v = fr__emit_combine(&m->e, (fr__kop)acc->imm, (fr__ktype)acc->type, *v,
                              operand(m, ins->b, u, lanes), lanes);
    }
}

/* Truth values: the order doesn't matter, so compare the bits with none and all. */
static value reduce_truth(emitter *m, fr__kop op, value v)
{
    fr__emit *e = &m->e;
    value bits = bitcast(e, v, e->i16);
    if (op == FR__K_OR)
        return icmp(e, LLVMIntNE, bits, fr__llvm.ConstInt(e->i16, 0, 0));
    return icmp(e, LLVMIntEQ, bits, fr__llvm.ConstInt(e->i16, 0xffff, 0));
}

static void reduce(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *acc = &e->k->ins[e->k->ins[i].a];
    int from = e->k->ins[i].a, parts = parts_of(m, from);
    fr__ktype t = (fr__ktype)acc->type;
    fr__kop op = (fr__kop)acc->imm;
    value v[MAXU];
    memcpy(v, values_of(m, from), sizeof v);
    if (e->place[i].varying) {
        memcpy(values_of(m, i), v, sizeof v);
        return;
    }
    if (e->place[from].acc < 0) {
        set_uniform(m, i, v[0]);
        return;
    }
    for (; parts > 1; parts /= 2)
        for (int u = 0; u < parts / 2; u++)
            v[u] = fr__emit_combine(e, op, t, v[2 * u], v[2 * u + 1], LANES);
    if (t == FR__KB1) {
        set_uniform(m, i, reduce_truth(m, op, v[0]));
        return;
    }
    for (int half = LANES / 2; half; half /= 2) {
        value low = fr__emit_iota(e, e->i32, half, 0),
              high = fr__emit_iota(e, e->i32, half, half);
        value a = fr__llvm.BuildShuffleVector(e->at, v[0], v[0], low, "");
        value b = fr__llvm.BuildShuffleVector(e->at, v[0], v[0], high, "");
        v[0] = fr__emit_combine(e, op, t, a, b, half);
    }
    set_uniform(m, i, fr__llvm.BuildExtractElement(e->at, v[0], c32(e, 0), ""));
}

/* ---- loops -------------------------------------------------------------------------- */

static void emit_range(emitter *m, int from, int to);

static int parts_of_acc(void *ctx, int acc) { return parts_of(ctx, acc); }

static void plain_body(void *ctx, int loop, LLVMValueRef index)
{
    emitter *m = ctx;
    (void)index;
    emit_range(m, loop + 1, m->e.place[loop].end);
}

static int plain_loop(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    fr__emit_walk walk = {
        .step = c64(e, 1), .parts = parts_of_acc, .body = plain_body, .ctx = m};
    fr__emit_bounds(e, &e->k->axis[e->k->ins[loop].imm], &walk.low, &walk.high);
    fr__emit_hoist(e, loop);
    return fr__emit_loop(e, loop, &walk);
}

/* What a vector loop needs until it is complete. */
typedef struct carry { /* an accumulator's vector through the loop */
    int acc, part;
    value before, phi, check, slot, kept;
} carry;

typedef struct split { /* full steps, then the rest */
    int ins, end, ncarry;
    value low, main_end, rest; /* elements */
    value *address, *stride;   /* of redirected loads and stores: in the main part; else NULL */
    value *buffered;           /* their address in the last step */
    carry *carries;
    LLVMBasicBlockRef before, body, latch, leave, check, fill, filled, finish, finished, done;
} split;

/* Decides how each load and store of the loop is done. */
static void prepare_transfers(emitter *m, split *s)
{
    fr__emit *e = &m->e;
    for (int i = s->ins + 1; i < s->end; i++) {
        const fr__kins *ins = &e->k->ins[i];
        if (ins->op != FR__K_LOAD && ins->op != FR__K_STORE)
            continue;
        transfer *t = &m->transfers[i];
        const fr__kaccess *access = &e->k->access[ins->imm];
        int dtype = fr__emit_dtype(e, i);
        t->manner = (uint8_t)manner_of(m, i);
        if (t->manner != LINEAR)
            continue;
        if (access->vec == FR__VEC_STRIDE)
            t->stride = mul(e, fr__emit_word(e, access->vstride), c64(e, fr__dsize(dtype)));
        t->buffer = stack(m, fr__emit_storage(e, dtype, 0), m->loop.step);
        t->outside = fr__emit_address_complete(e, i);
        if (t->outside) {
            s->address[i - s->ins] = e->address[i].at;
            s->stride[i - s->ins] = t->stride;
        }
    }
}

static void begin_phis(emitter *m, split *s)
{
    fr__emit *e = &m->e;
    int acc_room = s->end - s->ins,
        *acc = fr__arena_alloc(&e->arena, (size_t)acc_room * sizeof *acc);
    int nacc = acc ? fr__emit_carried(e, s->ins, acc) : 0;
    s->carries = fr__arena_zalloc(&e->arena, (size_t)(nacc * MAXU + 1) * sizeof *s->carries);
    if (!acc || !s->carries) {
        m->failed = true;
        return;
    }
    m->loop.index = fr__llvm.BuildPhi(e->at, e->i64, "i");
    m->loop.valid = fr__llvm.BuildPhi(e->at, e->i32, "valid");
    for (int i = s->ins + 1; i < s->end; i++)
        if (s->address[i - s->ins]) {
            e->address[i].at = fr__llvm.BuildPhi(e->at, e->pointer, "p");
            if (m->transfers[i].stride)
                m->transfers[i].stride = fr__llvm.BuildPhi(e->at, e->i64, "stride");
        }
    for (int a = 0; a < nacc; a++)
        for (int u = 0; u < parts_of(m, acc[a]); u++) {
            value *v = &values_of(m, acc[a])[u];
            carry *c = &s->carries[s->ncarry++];
            *c = (carry){.acc = acc[a], .part = u, .before = *v};
            *v = c->phi = fr__llvm.BuildPhi(e->at, fr__llvm.TypeOf(*v), "acc");
        }
}

/* Before the last step: buffers are filled, what accumulators hold is put aside. */
static void fill_rest(emitter *m, split *s)
{
    fr__emit *e = &m->e;
    fr__emit_at(e, s->fill);
    for (carry *c = s->carries; c < s->carries + s->ncarry; c++) {
        c->slot = stack(m, fr__llvm.TypeOf(c->phi), 1);
        fr__llvm.BuildStore(e->at, c->check, c->slot);
    }
    value zero = c64(e, 0), back = sub(e, zero, s->main_end);
    for (int i = s->ins + 1; i < s->end; i++) {
        value address = s->address[i - s->ins];
        if (!address)
            continue;
        transfer *t = &m->transfers[i];
        value phi = t->stride;
        t->stride = s->stride[i - s->ins];
        if (e->k->ins[i].op == FR__K_LOAD)
            move_last(m, i, first_lane(m, i, address, s->main_end), m->loop.last);
        t->stride = phi;
        LLVMTypeRef type = fr__emit_storage(e, fr__emit_dtype(e, i), 0);
        s->buffered[i - s->ins] = gep(e, type, t->buffer, back);
    }
    s->filled = fr__emit_here(e);
    jump(e, s->body);
}

/* After the last step: stores reach memory, invalid lanes fall back to what they were. */
static void finish_rest(emitter *m, split *s)
{
    fr__emit *e = &m->e;
    fr__emit_at(e, s->finish);
    for (int i = s->ins + 1; i < s->end; i++)
        if (s->address[i - s->ins] && e->k->ins[i].op == FR__K_STORE) {
            value phi = m->transfers[i].stride;
            m->transfers[i].stride = s->stride[i - s->ins];
            move_last(m, i, first_lane(m, i, s->address[i - s->ins], s->main_end),
                      m->loop.last);
            m->transfers[i].stride = phi;
        }
    value valid = m->loop.valid;
    m->loop.valid = m->loop.last;
    for (carry *c = s->carries; c < s->carries + s->ncarry; c++) {
        value now = values_of(m, c->acc)[c->part];
        value old = fr__llvm.BuildLoad2(e->at, fr__llvm.TypeOf(now), c->slot, "");
        c->kept = choose(e, valid_mask(m, c->part), now, old);
    }
    m->loop.valid = valid;
    s->finished = fr__emit_here(e);
    jump(e, s->done);
}

static void join(split *s, value phi, value main, value last, value again)
{
    fr__llvm.AddIncoming(phi, (value[]){main, last, again},
                         (LLVMBasicBlockRef[]){s->before, s->filled, s->latch}, 3);
}

static void end_phis(emitter *m, split *s, value next)
{
    fr__emit *e = &m->e;
    join(s, m->loop.index, s->low, s->main_end, next);
    join(s, m->loop.valid, c32(e, m->loop.step), m->loop.last, m->loop.valid);
    for (int i = s->ins + 1; i < s->end; i++) {
        int n = i - s->ins;
        value stride = m->transfers[i].stride;
        if (!s->address[n])
            continue;
        join(s, e->address[i].at, s->address[n], s->buffered[n], e->address[i].at);
        if (stride)
            join(s, stride, s->stride[n], c64(e, fr__dsize(fr__emit_dtype(e, i))), stride);
    }
    fr__emit_at(e, s->done);
    for (carry *c = s->carries; c < s->carries + s->ncarry; c++) {
        value *v = &values_of(m, c->acc)[c->part];
        join(s, c->phi, c->before, c->check, *v);
        *v = fr__emit_phi2(e, c->check, s->check, c->kept, s->finished);
    }
}

/* How many elements there are, in full steps and beyond. */
static void divide_range(emitter *m, split *s)
{
    fr__emit *e = &m->e;
    value high, zero = c64(e, 0);
    fr__emit_bounds(e, &e->k->axis[e->k->ins[s->ins].imm], &s->low, &high);
    value count = sub(e, high, s->low);
    count = choose(e, icmp(e, LLVMIntSGT, count, zero), count, zero);
    s->rest = and(e, count, c64(e, m->loop.step - 1));
    s->main_end = add(e, s->low, sub(e, count, s->rest));
    m->loop.last = fr__llvm.BuildTrunc(e->at, s->rest, e->i32, "");
}

static int split_loop(emitter *m, int loop)
{
    fr__emit *e = &m->e;
    int unroll = e->k->axis[e->k->ins[loop].imm].unroll, step = LANES * unroll;
    split s = {.ins = loop, .end = e->place[loop].end};
    size_t inside = (size_t)(s.end - loop);
    s.address = fr__arena_zalloc(&e->arena, inside * sizeof(value));
    s.stride = fr__arena_zalloc(&e->arena, inside * sizeof(value));
    s.buffered = fr__arena_zalloc(&e->arena, inside * sizeof(value));
    if (!s.address || !s.stride || !s.buffered)
        return -1;
    m->loop = (vector_loop){.ins = loop, .unroll = unroll, .step = step};
    divide_range(m, &s);
    fr__emit_hoist(e, loop);
    prepare_transfers(m, &s);
    splat_operands(m, loop);
    s.before = fr__emit_here(e);
    s.body = fr__emit_block(e, "vector");
    s.check = fr__emit_block(e, "check");
    s.fill = fr__emit_block(e, "fill");
    s.finish = fr__emit_block(e, "finish");
    s.done = fr__emit_block(e, "done");
    branch(e, icmp(e, LLVMIntSLT, s.low, s.main_end), s.body, s.check);

    fr__emit_at(e, s.body);
    begin_phis(m, &s);
    emit_range(m, loop + 1, s.end);
    if (m->failed)
        return -1;
    value next = add(e, m->loop.index, c64(e, step)), zero = c64(e, 0);
    s.latch = fr__emit_here(e);
    s.leave = fr__emit_block(e, "exit");
    branch(e, icmp(e, LLVMIntSLT, next, s.main_end), s.body, s.leave);
    fr__emit_at(e, s.leave);
    branch(e, icmp(e, LLVMIntEQ, m->loop.valid, c32(e, step)), s.check, s.finish);
    fr__emit_at(e, s.check);
    for (carry *c = s.carries; c < s.carries + s.ncarry; c++)
        c->check =
            fr__emit_phi2(e, c->before, s.before, values_of(m, c->acc)[c->part], s.leave);
    branch(e, icmp(e, LLVMIntNE, s.rest, zero), s.fill, s.done);

    fill_rest(m, &s);
    finish_rest(m, &s);
    end_phis(m, &s, next);
    forget_splats(m, loop);
    m->loop.ins = -1;
    return 0;
}

/* ---- instructions ------------------------------------------------------------------- */

/* The low 32 bits of an integer value for vector u: those of an element number need no 64-bit lanes. */
static value low_bits(emitter *m, int i, int u, int depth)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    bool wide = ins->type == FR__KI64 || ins->type == FR__KU64;
    if (!wide)
        return operand(m, i, u, LANES);
    if (!e->place[i].varying)
        return fr__emit_splat(e, fr__llvm.BuildTrunc(e->at, values_of(m, i)[0], e->i32, ""),
                              LANES);
    if (ins->op == FR__K_AXIS) {
        value first = fr__llvm.BuildTrunc(e->at, m->loop.index, e->i32, "");
        return add(e, fr__emit_splat(e, first, LANES),
                   fr__emit_iota(e, e->i32, LANES, u * LANES));
    }
    if (depth < 4 && (ins->op == FR__K_ADD || ins->op == FR__K_MUL)) {
        value a = low_bits(m, ins->a, u, depth + 1), b = low_bits(m, ins->b, u, depth + 1);
        return ins->op == FR__K_ADD ? add(e, a, b) : mul(e, a, b);
    }
    return fr__llvm.BuildTrunc(e->at, values_of(m, i)[u], fr__emit_vector(e, e->i32, LANES),
                               "");
}

static bool cuts_element_number(const emitter *m, const fr__kins *ins)
{
    const fr__kins *from = ins->op == FR__K_CVT ? &m->e.k->ins[ins->a] : NULL;
    return from && (ins->type == FR__KI32 || ins->type == FR__KU32) && from->type == FR__KI64 &&
           (from->op == FR__K_AXIS || from->op == FR__K_ADD);
}

static void compute(emitter *m, int i)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    if (!e->place[i].varying) {
        value v = fr__emit_op(e, ins, operand(m, ins->a, 0, 0), operand(m, ins->b, 0, 0),
                              operand(m, ins->c, 0, 0), 0);
        m->failed |= !v;
        if (v)
            set_uniform(m, i, v);
        return;
    }
    for (int u = 0; u < m->loop.unroll; u++)
        values_of(m, i)[u] = cuts_element_number(m, ins)
                                 ? low_bits(m, ins->a, u, 0)
                                 : fr__emit_op(e, ins, operand(m, ins->a, u, LANES),
                                               operand(m, ins->b, u, LANES),
                                               operand(m, ins->c, u, LANES), LANES);
}

static void axis_value(emitter *m, int i)
{
    fr__emit *e = &m->e;
    int axis = (int)e->k->ins[i].imm;
    if (!e->place[i].varying) {
        set_uniform(m, i, m->e.axis_index[axis]);
        return;
    }
    value first = fr__emit_splat(e, m->loop.index, LANES);
    for (int u = 0; u < m->loop.unroll; u++)
        values_of(m, i)[u] = add(e, first, fr__emit_iota(e, e->i64, LANES, u * LANES));
}

static void emit_range(emitter *m, int from, int to)
{
    fr__emit *e = &m->e;
    for (int i = from; i < to && !m->failed; i++) {
        const fr__kins *ins = &e->k->ins[i];
        fr__ktype t = (fr__ktype)ins->type;
        switch (ins->op) {
        case FR__K_CONST: set_uniform(m, i, fr__emit_const(e, t, (uint64_t)ins->imm, 0)); break;
        case FR__K_PARAM:
            set_uniform(m, i, fr__emit_param(e, t, fr__emit_word(&m->e, (int)ins->imm)));
            break;
        case FR__K_AXIS: axis_value(m, i); break;
        case FR__K_LOAD:
        case FR__K_STORE: load_or_store(m, i); break;
        case FR__K_ACC:
            for (int u = 0; u < MAXU; u++)
                values_of(m, i)[u] =
                    fr__emit_identity(e, (fr__kop)ins->imm, t, acc_lanes(m, i));
            break;
        case FR__K_UPD: update(m, i); break;
        case FR__K_RED: reduce(m, i); break;
        case FR__K_LOOP:
            if (e->k->axis[ins->imm].bind == FR__BIND_VEC ||
                e->k->axis[ins->imm].bind == FR__BIND_PARVEC)
                m->failed |= split_loop(m, i) != 0;
            else
                m->failed |= plain_loop(m, i) != 0;
            i = e->place[i].end;
            break;
        default: compute(m, i);
        }
    }
}

/* ---- the function ------------------------------------------------------------------- */

static void declare(emitter *m, const char *name)
{
    fr__emit *e = &m->e;
    LLVMTypeRef params[4] = {e->pointer, e->i64, e->i64, e->pointer};
    LLVMTypeRef type = fr__llvm.FunctionType(e->nothing, params, 4, 0);
    const fr__llvm_machine *machine = fr__llvm_host();
    e->function = fr__llvm.AddFunction(e->module, name, type);
    e->word_base = fr__llvm.GetParam(e->function, 0);
    e->begin = fr__llvm.GetParam(e->function, 1);
    e->end = fr__llvm.GetParam(e->function, 2);
    e->scratch = fr__llvm.GetParam(e->function, 3);
    fr__emit_flag(e, "nounwind");
    fr__emit_attribute(e, "target-cpu", machine->cpu);
    fr__emit_attribute(e, "target-features", machine->features);
    fr__emit_attribute(e, "no-builtins", "true");
    if (machine->avx512) {
        fr__emit_attribute(e, "prefer-vector-width", "512");
        fr__emit_attribute(e, "min-legal-vector-width", "512");
    }
}

int fr__llvm_build_cpu(fr__llvm_session *s, const fr__kernel *k, const char *name)
{
    const fr__llvm_machine *machine = fr__llvm_host();
    emitter m = {.loop = {.ins = -1}, .avx512 = machine->avx512};
    int failed = fr__emit_start(&m.e, s, k, MAXU);
    m.splats = fr__arena_zalloc(&m.e.arena, (size_t)k->nins * sizeof *m.splats);
    m.transfers = fr__arena_zalloc(&m.e.arena, (size_t)k->nins * sizeof *m.transfers);
    int loops = 0;
    for (int a = 0; a < k->naxis; a++)
        loops += k->axis[a].bind == FR__BIND_VEC;
    m.to_l2 = loops > 2; /* of three passes over a row the second one fetches early */
    m.e.fma = machine->fma;
    m.e.half = machine->f16c;
    m.e.avx512 = machine->avx512;
    m.e.avx2 = machine->avx2;
    if (!m.splats || !m.transfers)
        failed = -1;
    if (!failed) {
        declare(&m, name);
        fr__emit_begin_body(&m.e);
        emit_range(&m, 0, k->nins);
        if (m.streams)
            fr__emit_call(&m.e, "llvm.x86.sse.sfence", NULL, 0, NULL, 0);
        fr__emit_end_body(&m.e);
        failed = m.failed ? -1 : 0;
    }
    fr__emit_done(&m.e);
    return failed;
}
