/* ptx_divide.c - lanes divided by one number: without a division each
 *
 * A GPU divides by an estimate of 1 / c, a step that corrects it, and a test that may end in a call, lane
 * by lane. Where a thread's lanes share the divisor c it finds once
 *     r = 1 / c, rounded        s = (1 - r c) r, what r lacks
 * and for each lane
 *     q = fma(x, r, x s)        e = fma(-q, c, x)        y = fma(e, r, q)
 * y is x / c, rounded once. For: q is off by little more than half an ulp, so e is exact, and
 * q + e r = x / c - (x / c - q) d, d = 1 - r c. Where rounding could go wrong, next to the middle between two
 * floats, q is one of the two; there the last term is C 2^-49 ulps at most and a little, C being
 * c's significand as an integer (2^23 <= C < 2^24). x / c = X 2^k / C is never a middle, and 1 / (2 C) ulps from it
 * at least. That is more, unless C is 2^24 - 1.
 *
 * So for 2^-32 <= c < 2^32 and such x that nothing becomes too small; the sign of 0 is x's. What is too large, or no
 * number, ends as NaN. Then, and for any other c, a thread's lanes are divided as usual.
 */
#include "kernel/ptx_emit.h"

enum {
    BIAS = 127,
    FRACTION = 23,
    LEAST_X = BIAS - 64,
    LEAST_C = BIAS - 32,
    MOST_C = BIAS + 32
};

static value fma_of(fr__emit *e, value a, value b, value c)
{
    value args[3] = {a, b, c};
    return fr__emit_call(e, "llvm.fma", &e->f32, 1, args, 3);
}

static value negative(fr__emit *e, value a) { return fr__llvm.BuildFNeg(e->at, a, ""); }

int fr__ptx_find_divisors(fr__ptx_emit *m)
{
    fr__emit *e = &m->e;
    size_t n = (size_t)e->k->nins;
    m->divisor = fr__arena_zalloc(&e->arena, n * sizeof *m->divisor);
    for (int i = 0; m->divisor && e->fma && i < e->k->nins; i++)
        if (fr__ptx_divides_alike(m, i) && !m->divisor[e->k->ins[i].b])
            m->divisor[e->k->ins[i].b] =
                fr__arena_zalloc(&e->arena, FR__PTX_LANES * sizeof **m->divisor);
    return m->divisor ? 0 : -1;
}

bool fr__ptx_divides_alike(const fr__ptx_emit *m, int i)
{
    const fr__kins *ins = &m->e.k->ins[i];
    return ins->op == FR__K_DIV && ins->type == FR__KF32 && m->e.place[i].varying &&
           !m->e.place[ins->b].varying && m->e.k->ins[ins->b].op != FR__K_ACC;
}

static value is_good(fr__emit *e, value c)
{
    value bits = bitcast(e, c, e->i32);
    value from = sub(e, bits, c32(e, LEAST_C << FRACTION));
    value good = icmp(e, LLVMIntULT, from, c32(e, (MOST_C - LEAST_C) << FRACTION));
    value ones = c32(e, (1 << FRACTION) - 1);
    return and(e, good, icmp(e, LLVMIntNE, and(e, bits, ones), ones));
}

void fr__ptx_prepare_divisor(fr__ptx_emit *m, int i)
{
    fr__emit *e = &m->e;
    value one = fr__emit_const(e, FR__KF32, 0x3f800000, 0);
    for (int r = 0; r < fr__ptx_rows(m, i); r++) {
        fr__ptx_divisor *d = &m->divisor[i][r];
        value c = fr__ptx_values(m, i)[r];
        d->inverse = fr__llvm.BuildFDiv(e->at, one, c, "");
        value rest = fma_of(e, negative(e, d->inverse), c, one);
        d->lacks = fr__llvm.BuildFMul(e->at, rest, d->inverse, "");
        d->good = is_good(e, c);
    }
}

/* One lane; *lowest and *sum take part in the test of all. */
static value quotient(fr__emit *e, value x, value c, const fr__ptx_divisor *d, value *lowest,
                      value *sum)
{
    value low = fr__llvm.BuildFMul(e->at, x, d->lacks, "");
    value q = fma_of(e, x, d->inverse, low);
    value rest = fma_of(e, negative(e, q), c, x);
    value y = fma_of(e, rest, d->inverse, q);
    value bits = bitcast(e, x, e->i32);
    value size = fr__llvm.BuildShl(e->at, bits, c32(e, 1), "");
    size = sub(e, size, c32(e, 1)); /* 0 is large */
    value both[2] = {*lowest, size};
    *lowest = *lowest ? fr__emit_call(e, "llvm.umin", &e->i32, 1, both, 2) : size;
    *sum = *sum ? fr__llvm.BuildFAdd(e->at, *sum, y, "") : y;
    value sign = and(e, bits, c32(e, INT32_MIN)); /* one instruction, which copysign isn't */
    value without = and(e, bitcast(e, y, e->i32), c32(e, INT32_MAX));
    return bitcast(e, or (e, without, sign), e->f32);
}

/* The lanes of one turn. */
static void divide_turn(fr__ptx_emit *m, int i, int r)
{
    fr__emit *e = &m->e;
    const fr__kins *ins = &e->k->ins[i];
    int each = fr__ptx_each(m, i), same = fr__ptx_rows(m, ins->b) > 1 ? r : 0;
    const fr__ptx_divisor *d = &m->divisor[ins->b][same];
    value c = fr__ptx_operand(m, ins->b, r, 0), lowest = NULL, sum = NULL;
    value quick[FR__PTX_LANES], usual[FR__PTX_LANES];
    for (int u = 0; u < each; u++)
        quick[u] = quotient(e, fr__ptx_operand(m, ins->a, r, u), c, d, &lowest, &sum);
    value good =
        icmp(e, LLVMIntUGE, lowest, c32(e, (int32_t)((LEAST_X << (FRACTION + 1)) - 1)));
    good = and(e, good, fcmp(e, LLVMRealORD, sum, sum));
    good = and(e, good, d->good);
    LLVMBasicBlockRef before = fr__emit_here(e), other = fr__emit_block(e, ""),
                      after = fr__emit_block(e, "");
    fr__emit_branch_likely(e, good, after, other);
    fr__emit_at(e, other);
    for (int u = 0; u < each; u++)
        usual[u] = fr__llvm.BuildFDiv(e->at, fr__ptx_operand(m, ins->a, r, u), c, "");
    LLVMBasicBlockRef divided = fr__emit_here(e);
    jump(e, after);
    fr__emit_at(e, after);
    for (int u = 0; u < each; u++)
        fr__ptx_values(m, i)[r * each + u] =
            fr__emit_phi2(e, quick[u], before, usual[u], divided);
}

void fr__ptx_divide(fr__ptx_emit *m, int i)
{
    for (int r = 0; r < fr__ptx_rows(m, i); r++)
        divide_turn(m, i, r);
}
