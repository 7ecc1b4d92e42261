/* emit.c - from kernel operations to LLVM values: what the CPU and the GPU emitter share
 *
 *   scan       one forward pass over the kernel: loops, varying values, accumulators
 *   storage    f16, bf16, narrow integers and bools to and from the types of registers
 *   integers   division and shifts that are defined for every operand
 *   floats     minimum, conversion, fmod that never call a library
 *   fr__emit_op, the one switch over the operations
 */
#include "kernel/emit.h"

#include <stdio.h>

/* ---- scan --------------------------------------------------------------------------- */

static bool is_vector_axis(const fr__kaxis *axis)
{
    return axis->bind == FR__BIND_VEC || axis->bind == FR__BIND_PARVEC;
}

static int scan(const fr__kernel *k, fr__place *place)
{
    int open[FR__KMAXAXES + 1], depth = 0, vloop = -1;
    for (int i = 0; i < k->nins; i++) {
        const fr__kins *ins = &k->ins[i];
        fr__place *p = &place[i];
        p->loop = depth ? open[depth - 1] : -1;
        p->vloop = vloop;
        p->end = p->acc = -1;
        if (ins->op == FR__K_LOOP) {
            if (depth > FR__KMAXAXES)
                return fr__fail_int(FR__E_INTERNAL, "emit: loops nest too deep at %d", i);
            open[depth++] = i;
            if (is_vector_axis(&k->axis[ins->imm]))
                vloop = i;
            continue;
        }
        if (ins->op == FR__K_END) {
            if (!depth)
                return fr__fail_int(FR__E_INTERNAL, "emit: end without loop at %d", i);
            int loop = open[--depth];
            place[loop].end = i;
            vloop = vloop == loop ? -1 : vloop;
            continue;
        }
        if (ins->op == FR__K_ACC) {
            p->acc = vloop;
            p->varying = vloop >= 0;
            continue;
        }
        if (ins->op == FR__K_RED) {
            p->varying = place[ins->a].vloop >= 0;
            continue;
        }
        int operand[3] = {ins->a, ins->b, ins->c};
        if (ins->op == FR__K_AXIS)
            p->varying = is_vector_axis(&k->axis[ins->imm]);
        else if (ins->op == FR__K_LOAD || ins->op == FR__K_STORE)
            p->varying = k->access[ins->imm].vec != FR__VEC_NONE;
        for (int j = 0; j < 3; j++)
            if (operand[j] >= 0 && k->ins[operand[j]].op != FR__K_ACC)
                p->varying |= place[operand[j]].varying;
        if (ins->op == FR__K_UPD) {
            fr__place *acc = &place[ins->a];
            if (acc->vloop < 0 && acc->acc >= 0 && vloop < 0)
                return fr__fail_int(FR__E_INTERNAL, "emit: acc %d has lanes and none", ins->a);
            if (acc->vloop < 0 && vloop >= 0)
                acc->acc = vloop;
            p->varying = acc->acc >= 0;
        }
        for (int j = 0; p->varying && j < 3; j++)
            if (operand[j] >= 0 && !place[operand[j]].varying)
                place[operand[j]].splat = true;
    }
    return depth ? fr__fail_int(FR__E_INTERNAL, "emit: a loop has no end") : 0;
}

/* ---- start and end ------------------------------------------------------------------ */

int fr__emit_start(fr__emit *e, fr__llvm_session *s, const fr__kernel *k, int width)
{
    *e = (fr__emit){.k = k, .width = width, .context = s->context, .module = s->module};
    e->at = fr__llvm.CreateBuilderInContext(e->context);
    e->i1 = fr__llvm.Int1TypeInContext(e->context);
    e->i8 = fr__llvm.Int8TypeInContext(e->context);
    e->i16 = fr__llvm.Int16TypeInContext(e->context);
    e->i32 = fr__llvm.Int32TypeInContext(e->context);
    e->i64 = fr__llvm.Int64TypeInContext(e->context);
    e->f16 = fr__llvm.HalfTypeInContext(e->context);
    e->f32 = fr__llvm.FloatTypeInContext(e->context);
    e->f64 = fr__llvm.DoubleTypeInContext(e->context);
    e->pointer = fr__llvm.PointerTypeInContext(e->context, 0);
    e->nothing = fr__llvm.VoidTypeInContext(e->context);
    e->data = e->pointer;
    size_t n = (size_t)k->nins;
    fr__place *place = fr__arena_zalloc(&e->arena, n * sizeof *place);
    e->values = fr__arena_zalloc(&e->arena, n * (size_t)width * sizeof *e->values);
    e->address = fr__arena_zalloc(&e->arena, n * sizeof *e->address);
    e->words = fr__arena_zalloc(&e->arena, (size_t)k->nword * sizeof *e->words);
    e->bases = fr__arena_zalloc(&e->arena, (size_t)(k->nbuf + 1) * sizeof *e->bases);
    if (!place || !e->values || !e->address || !e->words || !e->bases)
        return -1;
    e->place = place;
    return scan(k, place);
}

void fr__emit_done(fr__emit *e)
{
    if (e->at)
        fr__llvm.DisposeBuilder(e->at);
    if (e->entry)
        fr__llvm.DisposeBuilder(e->entry);
    fr__arena_free(&e->arena);
}

/* ---- types, constants, calls, blocks ------------------------------------------------ */

LLVMTypeRef fr__emit_vector(fr__emit *e, LLVMTypeRef scalar, int lanes)
{
    (void)e;
    return lanes ? fr__llvm.VectorType(scalar, (unsigned)lanes) : scalar;
}

static LLVMTypeRef scalar_type(fr__emit *e, fr__ktype t)
{
    switch (t) {
    case FR__KB1: return e->i1;
    case FR__KI32:
    case FR__KU32: return e->i32;
    case FR__KI64:
    case FR__KU64: return e->i64;
    case FR__KF32: return e->f32;
    case FR__KF64: return e->f64;
    default: return e->nothing;
    }
}

LLVMTypeRef fr__emit_type(fr__emit *e, fr__ktype t, int lanes)
{
    return fr__emit_vector(e, scalar_type(e, t), lanes);
}

LLVMValueRef fr__emit_splat(fr__emit *e, LLVMValueRef scalar, int lanes)
{
    if (!lanes)
        return scalar;
    if (fr__llvm.IsConstant(scalar)) {
        LLVMValueRef all[64];
        for (int i = 0; i < lanes; i++)
            all[i] = scalar;
        return fr__llvm.ConstVector(all, (unsigned)lanes);
    }
    LLVMTypeRef type = fr__emit_vector(e, fr__llvm.TypeOf(scalar), lanes);
    LLVMValueRef none = fr__llvm.GetPoison(type);
    value one = fr__llvm.BuildInsertElement(e->at, none, scalar, c32(e, 0), "");
    LLVMValueRef zeros = fr__llvm.ConstNull(fr__emit_vector(e, e->i32, lanes));
    return fr__llvm.BuildShuffleVector(e->at, one, none, zeros, "");
}

LLVMValueRef fr__emit_iota(fr__emit *e, LLVMTypeRef integer, int lanes, int64_t from)
{
    (void)e;
    LLVMValueRef all[64];
    for (int i = 0; i < lanes; i++)
        all[i] = fr__llvm.ConstInt(integer, (uint64_t)(from + i), 0);
    return fr__llvm.ConstVector(all, (unsigned)lanes);
}

LLVMValueRef fr__emit_const(fr__emit *e, fr__ktype t, uint64_t bits, int lanes)
{
    LLVMValueRef c;
    switch (t) {
    case FR__KB1: c = fr__llvm.ConstInt(e->i1, bits & 1, 0); break;
    case FR__KF32:
        c = fr__llvm.ConstBitCast(fr__llvm.ConstInt(e->i32, (uint32_t)bits, 0), e->f32);
        break;
    case FR__KF64: c = fr__llvm.ConstBitCast(c64(e, (int64_t)bits), e->f64); break;
    case FR__KI32:
    case FR__KU32: c = fr__llvm.ConstInt(e->i32, (uint32_t)bits, 0); break;
    default: c = c64(e, (int64_t)bits);
    }
    return fr__emit_splat(e, c, lanes);
}

LLVMValueRef fr__emit_call(fr__emit *e, const char *intrinsic, LLVMTypeRef *types, int ntypes,
                           LLVMValueRef *args, int nargs)
{
    unsigned id = fr__llvm.LookupIntrinsicID(intrinsic, strlen(intrinsic));
    LLVMValueRef f = fr__llvm.GetIntrinsicDeclaration(e->module, id, types, (size_t)ntypes);
    LLVMTypeRef type = fr__llvm.IntrinsicGetType(e->context, id, types, (size_t)ntypes);
    return fr__llvm.BuildCall2(e->at, type, f, args, (unsigned)nargs, "");
}

void fr__emit_attribute(fr__emit *e, const char *key, const char *value_text)
{
    LLVMAttributeRef attribute = fr__llvm.CreateStringAttribute(
        e->context, key, (unsigned)strlen(key), value_text, (unsigned)strlen(value_text));
    fr__llvm.AddAttributeAtIndex(e->function, LLVMAttributeFunctionIndex, attribute);
}

void fr__emit_flag(fr__emit *e, const char *attribute)
{
    unsigned kind = fr__llvm.GetEnumAttributeKindForName(attribute, strlen(attribute));
    fr__llvm.AddAttributeAtIndex(e->function, LLVMAttributeFunctionIndex,
                                 fr__llvm.CreateEnumAttribute(e->context, kind, 0));
}

LLVMBasicBlockRef fr__emit_block(fr__emit *e, const char *name)
{
    return fr__llvm.AppendBasicBlockInContext(e->context, e->function, name);
}

void fr__emit_branch_likely(fr__emit *e, LLVMValueRef to_likely, LLVMBasicBlockRef likely,
                            LLVMBasicBlockRef unlikely)
{
    LLVMValueRef jump_to = fr__llvm.BuildCondBr(e->at, to_likely, likely, unlikely);
    LLVMMetadataRef weights[3] = {
        fr__llvm.MDStringInContext2(e->context, "branch_weights", 14),
        fr__llvm.ValueAsMetadata(c32(e, 2000)),
        fr__llvm.ValueAsMetadata(c32(e, 1)),
    };
    LLVMMetadataRef node = fr__llvm.MDNodeInContext2(e->context, weights, 3);
    fr__llvm.SetMetadata(jump_to, fr__llvm.GetMDKindIDInContext(e->context, "prof", 4),
                         fr__llvm.MetadataAsValue(e->context, node));
}

LLVMValueRef fr__emit_phi2(fr__emit *e, LLVMValueRef a, LLVMBasicBlockRef from_a,
                           LLVMValueRef b, LLVMBasicBlockRef from_b)
{
    LLVMValueRef phi = fr__llvm.BuildPhi(e->at, fr__llvm.TypeOf(a), "");
    fr__llvm.AddIncoming(phi, &a, &from_a, 1);
    fr__llvm.AddIncoming(phi, &b, &from_b, 1);
    return phi;
}

static value call1(fr__emit *e, const char *intrinsic, LLVMTypeRef type, value a)
{
    return fr__emit_call(e, intrinsic, &type, 1, &a, 1);
}

static value shl(fr__emit *e, value a, value count)
{
    return fr__llvm.BuildShl(e->at, a, count, "");
}

static value lshr(fr__emit *e, value a, value count)
{
    return fr__llvm.BuildLShr(e->at, a, count, "");
}

/* ---- storage ------------------------------------------------------------------------ */

static value k32(fr__emit *e, uint32_t v, int lanes)
{
    return fr__emit_splat(e, c32(e, (int32_t)v), lanes);
}

static value kf32(fr__emit *e, float v, int lanes)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return fr__emit_const(e, FR__KF32, bits, lanes);
}

/* Half to float in integers: shift the fields into place; rescaling by a product makes the
 * exponent right for normal numbers and denormals alike. */
static value half_to_float(fr__emit *e, value raw, int lanes)
{
    LLVMTypeRef i32s = fr__emit_vector(e, e->i32, lanes);
    LLVMTypeRef f32s = fr__emit_vector(e, e->f32, lanes);
    value bits = fr__llvm.BuildZExt(e->at, raw, i32s, "");
    value sign = shl(e, and(e, bits, k32(e, 0x8000, lanes)), k32(e, 16, lanes));
    value magnitude = and(e, bits, k32(e, 0x7fff, lanes));
    value placed = shl(e, magnitude, k32(e, 13, lanes));
    value scaled =
        fr__llvm.BuildFMul(e->at, bitcast(e, placed, f32s), kf32(e, 0x1p112f, lanes), "");
    value finite = bitcast(e, scaled, i32s);
    value special = or (e, placed, k32(e, 0x7f800000, lanes));
    value is_nan = icmp(e, LLVMIntUGT, magnitude, k32(e, 0x7c00, lanes));
    value quieted = or (e, special, k32(e, 0x00400000, lanes));
    special = choose(e, is_nan, quieted, special);
    value is_special = icmp(e, LLVMIntUGE, magnitude, k32(e, 0x7c00, lanes));
    value r = or (e, choose(e, is_special, special, finite), sign);
    return bitcast(e, r, f32s);
}

/* Float to half in integers. Normal results round by adding to the bits; results below the
 * least normal half round by adding a float whose last place is the least half. */
static value float_to_half(fr__emit *e, value v, int lanes)
{
    LLVMTypeRef i32s = fr__emit_vector(e, e->i32, lanes);
    LLVMTypeRef f32s = fr__emit_vector(e, e->f32, lanes);
    value bits = bitcast(e, v, i32s);
    value sign = lshr(e, and(e, bits, k32(e, 0x80000000u, lanes)), k32(e, 16, lanes));
    value magnitude = and(e, bits, k32(e, 0x7fffffff, lanes));
    value odd = and(e, lshr(e, magnitude, k32(e, 13, lanes)), k32(e, 1, lanes));
    value moved = add(e, magnitude, k32(e, 0xc8000fffu, lanes)); /* (15 - 127) << 23, + half */
    value normal = lshr(e, add(e, moved, odd), k32(e, 13, lanes));
    value shifted =
        fr__llvm.BuildFAdd(e->at, bitcast(e, magnitude, f32s), kf32(e, 0.5f, lanes), "");
    value small = sub(e, bitcast(e, shifted, i32s), k32(e, 0x3f000000, lanes));
    value is_small = icmp(e, LLVMIntULT, magnitude, k32(e, 0x38800000, lanes)); /* 2^-14 */
    value r = choose(e, is_small, small, normal);
    value is_big = icmp(e, LLVMIntUGE, magnitude, k32(e, 0x477ff000, lanes)); /* 65520 */
    r = choose(e, is_big, k32(e, 0x7c00, lanes), r);
    value payload = and(e, lshr(e, magnitude, k32(e, 13, lanes)), k32(e, 0x3ff, lanes));
    value nan = or (e, payload, k32(e, 0x7e00, lanes));
    value is_nan = icmp(e, LLVMIntUGT, magnitude, k32(e, 0x7f800000, lanes));
    r = or (e, choose(e, is_nan, nan, r), sign);
    return fr__llvm.BuildTrunc(e->at, r, fr__emit_vector(e, e->i16, lanes), "");
}

static value bfloat_to_float(fr__emit *e, value raw, int lanes)
{
    value bits = fr__llvm.BuildZExt(e->at, raw, fr__emit_vector(e, e->i32, lanes), "");
    bits = shl(e, bits, k32(e, 16, lanes));
    value magnitude = and(e, bits, k32(e, 0x7fffffff, lanes));
    value is_nan = icmp(e, LLVMIntUGT, magnitude, k32(e, 0x7f800000, lanes));
    bits = choose(e, is_nan, or (e, bits, k32(e, 0x00400000, lanes)), bits);
    return bitcast(e, bits, fr__emit_vector(e, e->f32, lanes));
}

static value float_to_bfloat(fr__emit *e, value v, int lanes)
{
    value bits = bitcast(e, v, fr__emit_vector(e, e->i32, lanes));
    value high = lshr(e, bits, k32(e, 16, lanes));
    value odd = and(e, high, k32(e, 1, lanes));
    value rounded = add(e, add(e, bits, k32(e, 0x7fff, lanes)), odd);
    rounded = lshr(e, rounded, k32(e, 16, lanes));
    value is_nan = fcmp(e, LLVMRealUNO, v, v);
    value r = choose(e, is_nan, or (e, high, k32(e, 0x40, lanes)), rounded);
    return fr__llvm.BuildTrunc(e->at, r, fr__emit_vector(e, e->i16, lanes), "");
}

LLVMTypeRef fr__emit_storage(fr__emit *e, int dtype, int lanes)
{
    LLVMTypeRef type;
    if (dtype == FR_FLOAT32)
        type = e->f32;
    else if (dtype == FR_FLOAT64)
        type = e->f64;
    else
        switch (fr__dsize(dtype)) {
        case 1: type = e->i8; break;
        case 2: type = e->i16; break;
        case 4: type = e->i32; break;
        default: type = e->i64;
        }
    return fr__emit_vector(e, type, lanes);
}

LLVMValueRef fr__emit_from_storage(fr__emit *e, int dtype, LLVMValueRef raw, int lanes)
{
    LLVMTypeRef i32s = fr__emit_vector(e, e->i32, lanes);
    switch (dtype) {
    case FR_BOOL:
        return icmp(e, LLVMIntNE, raw, fr__llvm.ConstNull(fr__emit_vector(e, e->i8, lanes)));
    case FR_UINT8:
    case FR_UINT16: return fr__llvm.BuildZExt(e->at, raw, i32s, "");
    case FR_INT8:
    case FR_INT16: return fr__llvm.BuildSExt(e->at, raw, i32s, "");
    case FR_FLOAT16:
        if (!e->half)
            return half_to_float(e, raw, lanes);
        raw = bitcast(e, raw, fr__emit_vector(e, e->f16, lanes));
        return fr__llvm.BuildFPExt(e->at, raw, fr__emit_vector(e, e->f32, lanes), "");
    case FR_BFLOAT16: return bfloat_to_float(e, raw, lanes);
    default: return raw;
    }
}

LLVMValueRef fr__emit_to_storage(fr__emit *e, int dtype, LLVMValueRef v, int lanes)
{
    switch (dtype) {
    case FR_BOOL: return fr__llvm.BuildZExt(e->at, v, fr__emit_vector(e, e->i8, lanes), "");
    case FR_UINT8:
    case FR_INT8: return fr__llvm.BuildTrunc(e->at, v, fr__emit_vector(e, e->i8, lanes), "");
    case FR_UINT16:
    case FR_INT16: return fr__llvm.BuildTrunc(e->at, v, fr__emit_vector(e, e->i16, lanes), "");
    case FR_FLOAT16:
        if (!e->half)
            return float_to_half(e, v, lanes);
        v = fr__llvm.BuildFPTrunc(e->at, v, fr__emit_vector(e, e->f16, lanes), "");
        return bitcast(e, v, fr__emit_vector(e, e->i16, lanes));
    case FR_BFLOAT16: return float_to_bfloat(e, v, lanes);
    default: return v;
    }
}

LLVMValueRef fr__emit_param(fr__emit *e, fr__ktype t, LLVMValueRef word)
{
    switch (t) {
    case FR__KB1: return fr__llvm.BuildTrunc(e->at, word, e->i1, "");
    case FR__KI32:
    case FR__KU32: return fr__llvm.BuildTrunc(e->at, word, e->i32, "");
    case FR__KF32: {
        value low = fr__llvm.BuildTrunc(e->at, word, e->i32, "");
        return bitcast(e, low, e->f32);
    }
    case FR__KF64: return bitcast(e, word, e->f64);
    default: return word;
    }
}

/* ---- integers ----------------------------------------------------------------------- */

static bool is_float(fr__ktype t) { return t == FR__KF32 || t == FR__KF64; }
static bool is_signed(fr__ktype t) { return t == FR__KI32 || t == FR__KI64; }
static int bits_of(fr__ktype t)
{
    return t == FR__KB1 ? 1 : t == FR__KI32 || t == FR__KU32 || t == FR__KF32 ? 32 : 64;
}

static value kint(fr__emit *e, fr__ktype t, int64_t v, int lanes)
{
    return fr__emit_const(e, t, (uint64_t)v, lanes);
}

/* a / b truncated where b is neither 0 nor -1. 32-bit vectors divide as doubles: the quotient
 * is never so near to an integer that rounding could reach it, and there is an instruction. */
static value divide_plain(fr__emit *e, fr__ktype t, value a, value b, int lanes, bool literal)
{
    bool sign = is_signed(t);
    if (lanes && bits_of(t) == 32 && !literal && !e->ptx) {
        LLVMTypeRef f64s = fr__emit_vector(e, e->f64, lanes);
        LLVMTypeRef i32s = fr__emit_vector(e, e->i32, lanes);
        value x = sign ? fr__llvm.BuildSIToFP(e->at, a, f64s, "")
                       : fr__llvm.BuildUIToFP(e->at, a, f64s, "");
        value y = sign ? fr__llvm.BuildSIToFP(e->at, b, f64s, "")
                       : fr__llvm.BuildUIToFP(e->at, b, f64s, "");
        value q = fr__llvm.BuildFDiv(e->at, x, y, "");
        q = sign ? fr__llvm.BuildFPToSI(e->at, q, i32s, "")
                 : fr__llvm.BuildFPToUI(e->at, q, i32s, "");
        return fr__llvm.BuildFreeze(e->at, q, "");
    }
    return sign ? fr__llvm.BuildSDiv(e->at, a, b, "") : fr__llvm.BuildUDiv(e->at, a, b, "");
}

static value divide(fr__emit *e, fr__ktype t, value a, value b, int lanes, const fr__kins *lit)
{
    if (lit && lit->imm != 0 && lit->imm != -1)
        return divide_plain(e, t, a, b, lanes, true);
    value zero = kint(e, t, 0, lanes), one = kint(e, t, 1, lanes);
    value is_zero = icmp(e, LLVMIntEQ, b, zero);
    if (!is_signed(t)) {
        value q = divide_plain(e, t, a, choose(e, is_zero, one, b), lanes, false);
        return choose(e, is_zero, zero, q);
    }
    value is_minus = icmp(e, LLVMIntEQ, b, kint(e, t, -1, lanes));
    value safe = choose(e, or (e, is_zero, is_minus), one, b);
    value q = divide_plain(e, t, a, safe, lanes, false);
    q = choose(e, is_minus, sub(e, zero, a), q);
    return choose(e, is_zero, zero, q);
}

static value remainder_of(fr__emit *e, fr__ktype t, value a, value b, int lanes,
                          const fr__kins *lit)
{
    value q = divide(e, t, a, b, lanes, lit);
    value r = sub(e, a, mul(e, q, b));
    if (lit && lit->imm != 0)
        return r;
    value zero = kint(e, t, 0, lanes);
    return choose(e, icmp(e, LLVMIntEQ, b, zero), zero, r);
}

static value shift(fr__emit *e, fr__ktype t, bool left, value a, value b, int lanes,
                   const fr__kins *lit)
{
    int bits = bits_of(t);
    bool sign = is_signed(t);
    bool plain = lit && lit->imm >= 0 && lit->imm < bits;
    value in_range = plain ? NULL : icmp(e, LLVMIntULT, b, kint(e, t, bits, lanes));
    if (!left && sign) { /* far shifts leave the sign */
        if (!plain)
            b = choose(e, in_range, b, kint(e, t, bits - 1, lanes));
        return fr__llvm.BuildAShr(e->at, a, b, "");
    }
    if (!plain)
        b = and(e, b, kint(e, t, bits - 1, lanes));
    value r = left ? shl(e, a, b) : lshr(e, a, b);
    return plain ? r : choose(e, in_range, r, kint(e, t, 0, lanes));
}

static value multiply_high(fr__emit *e, value a, value b, int lanes)
{
    LLVMTypeRef wide = fr__emit_vector(e, e->i64, lanes);
    a = fr__llvm.BuildZExt(e->at, a, wide, "");
    b = fr__llvm.BuildZExt(e->at, b, wide, "");
    value r = lshr(e, mul(e, a, b), fr__emit_splat(e, c64(e, 32), lanes));
    return fr__llvm.BuildTrunc(e->at, r, fr__emit_vector(e, e->i32, lanes), "");
}

/* ---- floats ------------------------------------------------------------------------- */

static value kfloat(fr__emit *e, fr__ktype t, double v, int lanes)
{
    if (t == FR__KF32)
        return kf32(e, (float)v, lanes);
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return fr__emit_const(e, t, bits, lanes);
}

/* b > a ? b : a is one machine instruction and gives a for equal values and where a or b is
 * NaN; only a NaN in b is left to put right. */
static value extreme(fr__emit *e, fr__ktype t, bool max, value a, value b)
{
    if (!is_float(t)) {
        LLVMIntPredicate p = max ? (is_signed(t) ? LLVMIntSGT : LLVMIntUGT)
                                 : (is_signed(t) ? LLVMIntSLT : LLVMIntULT);
        return choose(e, icmp(e, p, b, a), b, a);
    }
    value r = choose(e, fcmp(e, max ? LLVMRealOGT : LLVMRealOLT, b, a), b, a);
    return choose(e, fcmp(e, LLVMRealUNO, b, b), b, r);
}

static value fused(fr__emit *e, LLVMTypeRef type, value a, value b, value c)
{
    if (!e->fma)
        return fr__llvm.BuildFAdd(e->at, fr__llvm.BuildFMul(e->at, a, b, ""), c, "");
    value args[3] = {a, b, c};
    return fr__emit_call(e, "llvm.fma", &type, 1, args, 3);
}

static value or_over_lanes(fr__emit *e, value mask, int lanes)
{
    return lanes ? call1(e, "llvm.vector.reduce.or", fr__emit_vector(e, e->i1, lanes), mask)
                 : mask;
}

typedef struct layout { /* of a float type's bits */
    fr__ktype integer;
    int digits, bias;
    uint64_t magnitude, infinity, least_normal;
} layout;

static layout layout_of(fr__ktype t)
{
    return t == FR__KF32
               ? (layout){FR__KU32, 23, 127, 0x7fffffffu, 0x7f800000u, 0x800000u}
               : (layout){FR__KU64,         52, 1023, 0x7fffffffffffffffu, 0x7ff0000000000000u,
                          0x10000000000000u};
}

/* The exponent of the first digit, biased; below 1 for denormals. */
static value exponent(fr__emit *e, layout l, value bits, LLVMTypeRef floats, int lanes)
{
    LLVMTypeRef ints = fr__llvm.TypeOf(bits);
    value digits = kint(e, l.integer, l.digits, lanes);
    value normal = lshr(e, bits, digits);
    value as_number = fr__llvm.BuildSIToFP(e->at, bits, floats, ""); /* exact for denormals */
    value tiny = lshr(e, bitcast(e, as_number, ints), digits);
    tiny = sub(e, tiny, kint(e, l.integer, l.bias + l.digits - 1, lanes));
    value is_tiny =
        icmp(e, LLVMIntULT, bits, kint(e, l.integer, (int64_t)l.least_normal, lanes));
    return choose(e, is_tiny, tiny, normal);
}

static value power_of_two(fr__emit *e, layout l, value n, LLVMTypeRef floats, int lanes)
{
    value biased = add(e, n, kint(e, l.integer, l.bias, lanes));
    return bitcast(e, shl(e, biased, kint(e, l.integer, l.digits, lanes)), floats);
}

/* C's fmod, exact. Each turn of the loop takes a multiple of |b| * 2^n from |a|, with n so
 * large that the quotient has few enough digits to be exact: one turn for ordinary operands.
 * Without fma the quotient is 1 and a turn gains one digit. */
static value float_remainder(fr__emit *e, fr__ktype t, value a, value b, int lanes)
{
    layout l = layout_of(t);
    LLVMTypeRef floats = fr__emit_type(e, t, lanes), ints = fr__emit_type(e, l.integer, lanes);
    value magnitude = kint(e, l.integer, (int64_t)l.magnitude, lanes);
    value infinity = kint(e, l.integer, (int64_t)l.infinity, lanes);
    value zero = kfloat(e, t, 0.0, lanes), izero = kint(e, l.integer, 0, lanes);
    value abits = and(e, bitcast(e, a, ints), magnitude);
    value bbits = and(e, bitcast(e, b, ints), magnitude);
    value bad = icmp(e, LLVMIntUGE, abits, infinity);
    bad = or (e, bad, icmp(e, LLVMIntUGT, bbits, infinity));
    bad = or (e, bad, icmp(e, LLVMIntEQ, bbits, izero));
    value divisor = bitcast(e, bbits, floats);
    value eb = exponent(e, l, bbits, floats, lanes);
    value start = choose(e, bad, zero, bitcast(e, abits, floats));
    divisor = choose(e, bad, kfloat(e, t, 1.0, lanes), divisor);

    LLVMBasicBlockRef before = fr__emit_here(e), loop = fr__emit_block(e, "fmod");
    LLVMBasicBlockRef after = fr__emit_block(e, "fmod_end");
    value todo = fcmp(e, LLVMRealOGE, start, divisor);
    branch(e, or_over_lanes(e, todo, lanes), loop, after);
    fr__emit_at(e, loop);
    value rest = fr__llvm.BuildPhi(e->at, floats, "");
    value active = fcmp(e, LLVMRealOGE, rest, divisor);
    value ea = exponent(e, l, bitcast(e, rest, ints), floats, lanes);
    value n = sub(e, sub(e, ea, eb), kint(e, l.integer, e->fma ? l.digits - 2 : 0, lanes));
    n = choose(e, icmp(e, LLVMIntSGT, n, izero), n, izero);
    n = choose(e, active, n, izero);
    value n1 = lshr(e, n, kint(e, l.integer, 1, lanes)), n2 = sub(e, n, n1);
    value scaled =
        fr__llvm.BuildFMul(e->at, divisor, power_of_two(e, l, n1, floats, lanes), "");
    scaled = fr__llvm.BuildFMul(e->at, scaled, power_of_two(e, l, n2, floats, lanes), "");
    value next;
    if (e->fma) {
        value q = fr__llvm.BuildFDiv(e->at, rest, scaled, "");
        q = call1(e, "llvm.trunc", floats, q);
        next = fused(e, floats, fr__llvm.BuildFNeg(e->at, q, ""), scaled, rest);
        value below = fcmp(e, LLVMRealOLT, next, zero); /* the quotient was rounded up */
        next = choose(e, below, fr__llvm.BuildFAdd(e->at, next, scaled, ""), next);
    } else {
        value half = fr__llvm.BuildFMul(e->at, scaled, kfloat(e, t, 0.5, lanes), "");
        value less = icmp(e, LLVMIntEQ, n, izero); /* 2^n*b may be above a: then take half */
        value fits = fcmp(e, LLVMRealOGE, rest, scaled);
        value take = choose(e, or (e, less, fits), scaled, half);
        next = fr__llvm.BuildFSub(e->at, rest, take, "");
    }
    next = choose(e, active, next, rest);
    todo = fcmp(e, LLVMRealOGE, next, divisor);
    LLVMBasicBlockRef latch = fr__emit_here(e);
    branch(e, or_over_lanes(e, todo, lanes), loop, after);
    fr__llvm.AddIncoming(rest, &start, &before, 1);
    fr__llvm.AddIncoming(rest, &next, &latch, 1);
    fr__emit_at(e, after);
    value r = fr__emit_phi2(e, start, before, next, latch);
    value args[2] = {r, a};
    r = fr__emit_call(e, "llvm.copysign", &floats, 1, args, 2);
    value none = fr__llvm.BuildFDiv(e->at, zero, zero, "");
    return choose(e, bad, none, r);
}

static value convert_to_int(fr__emit *e, fr__ktype from, fr__ktype to, value a, int lanes,
                            bool known)
{
    LLVMTypeRef type = fr__emit_type(e, to, lanes);
    bool sign = is_signed(to);
    int bits = bits_of(to);
    double limit = sign ? (bits == 32 ? 0x1p31 : 0x1p63) : (bits == 32 ? 0x1p32 : 0x1p64);
    if (known) {
        value r = sign ? fr__llvm.BuildFPToSI(e->at, a, type, "")
                       : fr__llvm.BuildFPToUI(e->at, a, type, "");
        return fr__llvm.BuildFreeze(e->at, r, "");
    }
    value zero = kfloat(e, from, 0.0, lanes);
    value high = fcmp(e, LLVMRealOGE, a, kfloat(e, from, limit, lanes));
    if (!sign) {
        value positive = choose(e, fcmp(e, LLVMRealOGT, a, zero), a, zero);
        value r = fr__llvm.BuildFPToUI(e->at, positive, type, "");
        r = fr__llvm.BuildFreeze(e->at, r, "");
        return choose(e, high, kint(e, to, -1, lanes), r);
    }
    int64_t least = bits == 32 ? INT32_MIN : INT64_MIN,
            most = bits == 32 ? INT32_MAX : INT64_MAX;
    value r = fr__llvm.BuildFreeze(e->at, fr__llvm.BuildFPToSI(e->at, a, type, ""), "");
    r = choose(e, high, kint(e, to, most, lanes), r);
    value low = fcmp(e, LLVMRealOLT, a, kfloat(e, from, -limit, lanes));
    r = choose(e, low, kint(e, to, least, lanes), r);
    return choose(e, fcmp(e, LLVMRealUNO, a, a), kint(e, to, 0, lanes), r);
}

static value convert(fr__emit *e, fr__ktype from, fr__ktype to, value a, int lanes, bool known)
{
    LLVMTypeRef type = fr__emit_type(e, to, lanes);
    if (from == to)
        return a;
    if (to == FR__KB1) {
        value zero = fr__llvm.ConstNull(fr__emit_type(e, from, lanes));
        return is_float(from) ? fcmp(e, LLVMRealUNE, a, zero) : icmp(e, LLVMIntNE, a, zero);
    }
    if (from == FR__KB1) {
        value one = is_float(to) ? kfloat(e, to, 1.0, lanes) : kint(e, to, 1, lanes);
        return choose(e, a, one, fr__llvm.ConstNull(type));
    }
    if (is_float(from) && is_float(to))
        return to == FR__KF64 ? fr__llvm.BuildFPExt(e->at, a, type, "")
                              : fr__llvm.BuildFPTrunc(e->at, a, type, "");
    if (is_float(from))
        return convert_to_int(e, from, to, a, lanes, known);
    if (is_float(to))
        return is_signed(from) ? fr__llvm.BuildSIToFP(e->at, a, type, "")
                               : fr__llvm.BuildUIToFP(e->at, a, type, "");
    if (bits_of(from) == bits_of(to))
        return a;
    if (bits_of(to) == 32)
        return fr__llvm.BuildTrunc(e->at, a, type, "");
    return is_signed(from) ? fr__llvm.BuildSExt(e->at, a, type, "")
                           : fr__llvm.BuildZExt(e->at, a, type, "");
}

static value compare(fr__emit *e, fr__kop op, fr__ktype t, value a, value b)
{
    if (is_float(t)) {
        LLVMRealPredicate p = op == FR__K_LT   ? LLVMRealOLT
                              : op == FR__K_LE ? LLVMRealOLE
                              : op == FR__K_EQ ? LLVMRealOEQ
                                               : LLVMRealUNE;
        return fcmp(e, p, a, b);
    }
    LLVMIntPredicate p = op == FR__K_LT   ? (is_signed(t) ? LLVMIntSLT : LLVMIntULT)
                         : op == FR__K_LE ? (is_signed(t) ? LLVMIntSLE : LLVMIntULE)
                         : op == FR__K_EQ ? LLVMIntEQ
                                          : LLVMIntNE;
    return icmp(e, p, a, b);
}

/* 2^n for a whole float n: adding 1.5 * 2^23 (2^52) leaves n in the low bits. */
static value raised_two(fr__emit *e, fr__ktype t, value n, int lanes)
{
    bool wide = t == FR__KF64;
    fr__ktype whole = wide ? FR__KI64 : FR__KI32;
    value moved =
        fr__llvm.BuildFAdd(e->at, n, kfloat(e, t, wide ? 0x1.8p52 : 0x1.8p23, lanes), "");
    value bits = bitcast(e, moved, fr__emit_type(e, whole, lanes));
    bits = add(e, bits, kint(e, whole, wide ? 1023 : 127, lanes));
    bits = shl(e, bits, kint(e, whole, wide ? 52 : 23, lanes));
    return bitcast(e, bits, fr__emit_type(e, t, lanes));
}

/* a * 2^b for a whole b without a conversion, which GPUs are slow at: b/2 is rounded by the addition
 * that leaves it in the low bits, and those of b less those are the other half. */
static value scaled_in_bits(fr__emit *e, LLVMTypeRef type, value a, value b)
{
    value magic = kfloat(e, FR__KF32, 0x1.8p23, 0), one = c32(e, 0x3f800000);
    value half = fused(e, type, b, kfloat(e, FR__KF32, 0.5, 0), magic);
    value whole = fr__llvm.BuildFAdd(e->at, b, magic, "");
    half = bitcast(e, half, e->i32);
    value rest = sub(e, bitcast(e, whole, e->i32), half);
    value first = add(e, shl(e, half, c32(e, 23)), one);
    value second = add(e, shl(e, rest, c32(e, 23)), one);
    value product = fr__llvm.BuildFMul(e->at, a, bitcast(e, first, type), "");
    return fr__llvm.BuildFMul(e->at, product, bitcast(e, second, type), "");
}

/* a * 2^floor(b): one instruction, or in two factors, of which the second product rounds. */
static value scaled(fr__emit *e, const fr__kins *ins, value a, value b, int lanes)
{
    fr__ktype t = (fr__ktype)ins->type;
    LLVMTypeRef type = fr__emit_type(e, t, lanes);
    if (e->ptx && t == FR__KF32 && e->k->ins[ins->b].op == FR__K_RINT)
        return scaled_in_bits(e, type, a, b);
    if (e->avx512 && t == FR__KF32 && lanes == 16) {
        value all = fr__llvm.ConstInt(e->i16, 0xffff, 0);
        value args[5] = {a, b, a, all, c32(e, 4)}; /* 4: rounding as the thread has it */
        return fr__emit_call(e, "llvm.x86.avx512.mask.scalef.ps.512", NULL, 0, args, 5);
    }
    b = call1(e, "llvm.floor", type, b);
    value halved = fr__llvm.BuildFMul(e->at, b, kfloat(e, t, 0.5, lanes), "");
    value half = call1(e, e->ptx ? "llvm.rint" : "llvm.roundeven", type, halved);
    value rest = fr__llvm.BuildFSub(e->at, b, half, "");
    value first = raised_two(e, t, half, lanes), second = raised_two(e, t, rest, lanes);
    value product = fr__llvm.BuildFMul(e->at, a, first, "");
    return fr__llvm.BuildFMul(e->at, product, second, "");
}

/* ---- tables ------------------------------------------------------------------------- */

/* `count` entries of a table as a constant. */
static value entries(fr__emit *e, int64_t table, int from, int count)
{
    LLVMValueRef all[FR__LANES];
    for (int i = 0; i < count; i++)
        all[i] = kf32(e, fr__ktables[table][from + i], 0);
    return fr__llvm.ConstVector(all, (unsigned)count);
}

/* The table in memory, for one lookup at a time. */
static value table_in_memory(fr__emit *e, int64_t table)
{
    value *at = &e->tables[table];
    if (!*at) {
        LLVMTypeRef type = fr__emit_vector(e, e->f32, FR__LANES);
        char name[24];
        snprintf(name, sizeof name, "table%d", (int)table);
        *at = fr__llvm.AddGlobalInAddressSpace(e->module, type, name, e->ptx ? 1 : 0);
        fr__llvm.SetInitializer(*at, entries(e, table, 0, FR__LANES));
        fr__llvm.SetGlobalConstant(*at, 1);
        fr__llvm.SetLinkage(*at, LLVMPrivateLinkage);
        fr__llvm.SetAlignment(*at, 64);
    }
    return *at;
}

static value one_lookup(fr__emit *e, int64_t table, value index)
{
    value low = and(e, index, c32(e, FR__LANES - 1));
    value where = gep(e, e->f32, table_in_memory(e, table), low);
    value v = fr__llvm.BuildLoad2(e->at, e->f32, where, "");
    fr__llvm.SetAlignment(v, 4);
    return v;
}

/* Eight lanes: both halves of the table are asked, bit 3 of the index chooses. */
static value lookup_in_halves(fr__emit *e, int64_t table, value index)
{
    value low[2] = {entries(e, table, 0, 8), index}, high[2] = {entries(e, table, 8, 8), index};
    value a = fr__emit_call(e, "llvm.x86.avx2.permps", NULL, 0, low, 2);
    value b = fr__emit_call(e, "llvm.x86.avx2.permps", NULL, 0, high, 2);
    value sign = shl(e, index, k32(e, 28, 8));
    return choose(e, icmp(e, LLVMIntSLT, sign, k32(e, 0, 8)), b, a);
}

static value lookup(fr__emit *e, int64_t table, value index, int lanes)
{
    if (!lanes)
        return one_lookup(e, table, index);
    if (e->avx512 && lanes == FR__LANES) {
        value args[2] = {entries(e, table, 0, FR__LANES), index};
        return fr__emit_call(e, "llvm.x86.avx512.permvar.sf.512", NULL, 0, args, 2);
    }
    if (e->avx2 && lanes == FR__LANES) {
        value half[2];
        for (int h = 0; h < 2; h++) {
            value lanes8 = fr__emit_iota(e, e->i32, 8, 8 * h);
            value part = fr__llvm.BuildShuffleVector(e->at, index, index, lanes8, "");
            half[h] = lookup_in_halves(e, table, part);
        }
        value all = fr__emit_iota(e, e->i32, FR__LANES, 0);
        return fr__llvm.BuildShuffleVector(e->at, half[0], half[1], all, "");
    }
    value v = fr__llvm.GetPoison(fr__emit_vector(e, e->f32, lanes));
    for (int i = 0; i < lanes; i++) {
        value at = fr__llvm.BuildExtractElement(e->at, index, c32(e, i), "");
        v = fr__llvm.BuildInsertElement(e->at, v, one_lookup(e, table, at), c32(e, i), "");
    }
    return v;
}

/* ---- the operations ----------------------------------------------------------------- */

LLVMValueRef fr__emit_combine(fr__emit *e, fr__kop op, fr__ktype t, LLVMValueRef a,
                              LLVMValueRef b, int lanes)
{
    (void)lanes;
    bool real = is_float(t);
    switch (op) {
    case FR__K_ADD: return real ? fr__llvm.BuildFAdd(e->at, a, b, "") : add(e, a, b);
    case FR__K_MUL: return real ? fr__llvm.BuildFMul(e->at, a, b, "") : mul(e, a, b);
    case FR__K_MIN: return extreme(e, t, false, a, b);
    case FR__K_MAX: return extreme(e, t, true, a, b);
    case FR__K_AND: return and(e, a, b);
    default: return or (e, a, b);
    }
}

LLVMValueRef fr__emit_identity(fr__emit *e, fr__kop op, fr__ktype t, int lanes)
{
    bool min = op == FR__K_MIN;
    int bits = bits_of(t);
    switch (op) {
    case FR__K_MUL: return is_float(t) ? kfloat(e, t, 1.0, lanes) : kint(e, t, 1, lanes);
    case FR__K_MIN:
    case FR__K_MAX:
        if (is_float(t))
            return kfloat(e, t, min ? (double)__builtin_inff() : -(double)__builtin_inff(),
                          lanes);
        if (!is_signed(t))
            return kint(e, t, min ? -1 : 0, lanes);
        if (bits == 32)
            return kint(e, t, min ? INT32_MAX : INT32_MIN, lanes);
        return kint(e, t, min ? INT64_MAX : INT64_MIN, lanes);
    case FR__K_AND: return kint(e, t, -1, lanes);
    default: return fr__llvm.ConstNull(fr__emit_type(e, t, lanes));
    }
}

LLVMValueRef fr__emit_op(fr__emit *e, const fr__kins *ins, LLVMValueRef a, LLVMValueRef b,
                         LLVMValueRef c, int lanes)
{
    fr__ktype t = (fr__ktype)ins->type;
    bool real = is_float(t);
    LLVMTypeRef type = fr__emit_type(e, t, lanes);
    const fr__kins *lit =
        ins->b >= 0 && e->k->ins[ins->b].op == FR__K_CONST ? &e->k->ins[ins->b] : NULL;
    fr__ktype ta = ins->a >= 0 ? (fr__ktype)e->k->ins[ins->a].type : FR__KNONE;
    switch (ins->op) {
    case FR__K_ADD:
    case FR__K_MUL:
    case FR__K_MIN:
    case FR__K_MAX:
    case FR__K_AND:
    case FR__K_OR: return fr__emit_combine(e, (fr__kop)ins->op, t, a, b, lanes);
    case FR__K_SUB: return real ? fr__llvm.BuildFSub(e->at, a, b, "") : sub(e, a, b);
    case FR__K_DIV:
        return real ? fr__llvm.BuildFDiv(e->at, a, b, "") : divide(e, t, a, b, lanes, lit);
    case FR__K_MOD:
        return real ? float_remainder(e, t, a, b, lanes) : remainder_of(e, t, a, b, lanes, lit);
    case FR__K_NEG:
        return real ? fr__llvm.BuildFNeg(e->at, a, "") : sub(e, kint(e, t, 0, lanes), a);
    case FR__K_ABS: {
        if (real)
            return call1(e, "llvm.fabs", type, a);
        if (!is_signed(t))
            return a;
        value zero = kint(e, t, 0, lanes), negated = sub(e, zero, a);
        return choose(e, icmp(e, LLVMIntSLT, a, zero), negated, a);
    }
    case FR__K_FMA: return fused(e, type, a, b, c);
    case FR__K_SQRT: return call1(e, "llvm.sqrt", type, a);
    case FR__K_RINT: return call1(e, e->ptx ? "llvm.rint" : "llvm.roundeven", type, a);
    case FR__K_FLOOR: return call1(e, "llvm.floor", type, a);
    case FR__K_CEIL: return call1(e, "llvm.ceil", type, a);
    case FR__K_TRUNC: return call1(e, "llvm.trunc", type, a);
    case FR__K_COPYSIGN: {
        value args[2] = {a, b};
        return fr__emit_call(e, "llvm.copysign", &type, 1, args, 2);
    }
    case FR__K_SCALE: return scaled(e, ins, a, b, lanes);
    case FR__K_LOOKUP: return lookup(e, ins->imm, a, lanes);
    case FR__K_XOR: return fr__llvm.BuildXor(e->at, a, b, "");
    case FR__K_NOT: return fr__llvm.BuildNot(e->at, a, "");
    case FR__K_SHL: return shift(e, t, true, a, b, lanes, lit);
    case FR__K_SHR: return shift(e, t, false, a, b, lanes, lit);
    case FR__K_MULHI: return multiply_high(e, a, b, lanes);
    case FR__K_LT:
    case FR__K_LE:
    case FR__K_EQ:
    case FR__K_NE: return compare(e, (fr__kop)ins->op, ta, a, b);
    case FR__K_SEL: return choose(e, a, b, c);
    case FR__K_CVT: return convert(e, ta, t, a, lanes, ins->imm == 1);
    case FR__K_BITCAST: return bitcast(e, a, type);
    case FR__K_ROUND: {
        value raw = fr__emit_to_storage(e, (int)ins->imm, a, lanes);
        return fr__emit_from_storage(e, (int)ins->imm, raw, lanes);
    }
    default: return fr__fail(FR__E_INTERNAL, "emit: no code for operation %d", ins->op);
    }
}
