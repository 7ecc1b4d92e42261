/* op.c - the table of operations as data, and what elementwise constructors share */
#include "op/op.h"

#include <math.h>
#include <stdio.h>

#include "core/scope.h"

_Static_assert((int)FR__OP_LEAF == (int)FR__CORE_LEAF &&
                   (int)FR__OP_PLACEHOLDER == (int)FR__CORE_PLACEHOLDER &&
                   (int)FR__OP_BUNDLE == (int)FR__CORE_BUNDLE,
               "the core's operations come first");

const fr__op_info fr__ops[FR__OPS] = {
#define X(name, class, text)                                                                   \
    [FR__OP_##name] = {#name, FR__##class, FR__RULE_NONE, FR__CHEAP, 0},
    FR__STRUCTURAL(X)
#undef X
#define COMMUTES FR__COMMUTES
#define CHEAP FR__CHEAP
#define COSTLY FR__COSTLY
#define UNARY(name, py, rule, traits, form, da, text)                                          \
    [FR__OP_##name] = {#py, FR__ELEMENTWISE, FR__RULE_##rule, traits, 1},
#define BINARY(name, py, rule, traits, form, da, db, text)                                     \
    [FR__OP_##name] = {#py, FR__ELEMENTWISE, FR__RULE_##rule, traits, 2},
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)                                \
    [FR__OP_##name] = {#py, FR__ELEMENTWISE, FR__RULE_##rule, traits, 3},
#define REDUCE(name, py, rule, traits, combine, da, text)                                      \
    [FR__OP_REDUCE_##name] = {#py, FR__REDUCE, FR__RULE_##rule, traits, 1},
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
#undef COMMUTES
#undef CHEAP
#undef COSTLY
};

static int strong_of_kind(int kind)
{
    return kind == FR__KIND_COMPLEX ? FR_COMPLEX64
           : kind == FR__KIND_FLOAT ? FR_FLOAT32
           : kind == FR__KIND_BOOL  ? FR_BOOL
                                    : FR_INT32;
}

/* Strong operands promote; a weak number counts only where its kind is higher. */
static int promoted(int n, fr_array *const *x)
{
    int d = -1;
    for (int i = 0; i < n; i++)
        if (!fr__flag(x[i], FR__WEAK))
            d = d < 0 ? x[i]->dtype : (int)fr_promote((fr_dtype)d, (fr_dtype)x[i]->dtype);
    for (int i = 0; i < n; i++) {
        if (!fr__flag(x[i], FR__WEAK))
            continue;
        int kind = fr__dtypes[x[i]->dtype].kind;
        if (d < 0)
            d = x[i]->dtype;
        else if (kind > fr__dtypes[d].kind && !(kind == FR__KIND_INT && fr__is_int(d)))
            d = (int)fr_promote((fr_dtype)d, (fr_dtype)strong_of_kind(kind));
    }
    return d;
}

/* A weak integer stands for a value of the others' dtype: one that there isn't is an error; but
 * sums, products and bits of uint64 have those below 0 too, modulo 2^64. */
static bool literals_fit(int op, int n, fr_array *const *x, int dtype)
{
    bool modular =
        dtype == FR_UINT64 && (op == FR__OP_add || op == FR__OP_sub || op == FR__OP_mul ||
                               fr__ops[op].rule == FR__RULE_BITS);
    if (!fr__is_int(dtype) || n < 2)
        return true;
    int bits = 8 * fr__dsize(dtype);
    bool sign = fr__dtypes[dtype].kind == FR__KIND_INT;
    int64_t least = sign ? INT64_MIN >> (64 - bits) : 0;
    uint64_t most = UINT64_MAX >> (64 - bits + sign);
    for (int i = 0; i < n; i++) {
        if (x[i]->op != FR__OP_NUMBER || !fr__flag(x[i], FR__WEAK) || !fr__is_int(x[i]->dtype))
            continue;
        int64_t v = x[i]->par[0];
        if (v < 0 ? v >= least || modular : (uint64_t)v <= most)
            continue;
        fr__fail(FR__E_VALUE, "%s: %lld does not fit %s", fr__ops[op].name, (long long)v,
                 fr__dtypes[dtype].name);
        return false;
    }
    return true;
}

fr__dtypes_rule fr__apply_rule(int op, int n, fr_array *const *x)
{
    const fr__op_info *info = &fr__ops[op];
    bool select = info->rule == FR__RULE_SELECT;
    int d = promoted(n - select, x + select);
    int kind = fr__dtypes[d].kind;
    fr__dtypes_rule bad = {FR_DTYPE_COUNT, FR_DTYPE_COUNT};
    if (info->rule != FR__RULE_LOGICAL && !literals_fit(op, n - select, x + select, d))
        return bad;
    if (info->rule == FR__RULE_PAIR) {
        if (kind != FR__KIND_COMPLEX)
            return (fr__dtypes_rule){FR_FLOAT32, FR_COMPLEX64};
        fr__fail(FR__E_TYPE, "%s: the parts of a complex number are real", info->name);
        return bad;
    }
    if (kind == FR__KIND_COMPLEX)
        return (fr__dtypes_rule){d, info->rule == FR__RULE_PART ? FR_FLOAT32 : d};
    switch ((fr__rule)info->rule) {
    case FR__RULE_PART:
    case FR__RULE_PAIR:
    case FR__RULE_SAME:
    case FR__RULE_SELECT: return (fr__dtypes_rule){d, d};
    case FR__RULE_NUMBER:
        if (kind == FR__KIND_BOOL) {
            fr__fail(FR__E_TYPE, "%s: not of bool; logical_not is", info->name);
            return bad;
        }
        return (fr__dtypes_rule){d, d};
    case FR__RULE_FLOAT:
        d = kind == FR__KIND_FLOAT ? d : FR_FLOAT32;
        return (fr__dtypes_rule){d, d};
    case FR__RULE_COMPARE: return (fr__dtypes_rule){d, FR_BOOL};
    case FR__RULE_LOGICAL: return (fr__dtypes_rule){FR_BOOL, FR_BOOL};
    case FR__RULE_BITS:
    case FR__RULE_SHIFT:
        if (kind == FR__KIND_FLOAT) {
            fr__fail(FR__E_TYPE, "%s takes integers, not %s", info->name, fr__dtypes[d].name);
            return bad;
        }
        if (info->rule == FR__RULE_SHIFT && kind == FR__KIND_BOOL)
            d = FR_UINT8;
        return (fr__dtypes_rule){d, d};
    case FR__RULE_SUM:
        if (kind == FR__KIND_BOOL || (fr__is_int(d) && fr__dsize(d) < 4))
            d = kind == FR__KIND_UINT ? FR_UINT32 : FR_INT32;
        return (fr__dtypes_rule){d, d};
    case FR__RULE_NONE: break;
    }
    fr__fail(FR__E_INTERNAL, "%s has no dtype rule", info->name);
    return bad;
}

fr_dtype fr_result_type(int n, fr_array *const *x)
{
    if (!fr__operands(n, x))
        return FR_DTYPE_COUNT;
    if (n < 1) {
        fr__fail(FR__E_VALUE, "result_type: of nothing");
        return FR_DTYPE_COUNT;
    }
    int d = promoted(n, x);
    fr__settle(n, x);
    return (fr_dtype)d;
}

/* ---- elementwise -------------------------------------------------------------------- */

static bool is_literal(const fr_array *x) { return x->op == FR__OP_NUMBER && x->ndim == 0; }

/* Shapes must broadcast; literals take part in any. -1: they don't, with an error. */
static int common_shape(const char *op, int n, fr_array *const *x, int64_t *shape)
{
    int ndim = 0;
    for (int i = 0; i < n; i++)
        ndim = x[i]->ndim > ndim ? x[i]->ndim : ndim;
    for (int d = 0; d < ndim; d++)
        shape[d] = 1;
    for (int i = 0; i < n; i++)
        for (int d = 0; d < x[i]->ndim; d++) {
            int64_t have = x[i]->dims[d], *want = &shape[ndim - x[i]->ndim + d];
            if (have == *want || have == 1)
                continue;
            if (*want == 1) {
                *want = have;
                continue;
            }
            int other = 0;
            for (int j = 0; j < i; j++) {
                int e = x[j]->ndim - x[i]->ndim + d;
                if (e >= 0 && x[j]->dims[e] != 1)
                    other = j;
            }
            char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
            return fr__fail_int(FR__E_VALUE,
                                "%s: shapes don't broadcast: %s with %s (%lld against %lld)",
                                op, fr__shape_text(x[other], a), fr__shape_text(x[i], b),
                                (long long)*want, (long long)have);
        }
    return ndim;
}

int fr_broadcast_shapes(int n, fr_array *const *x, int64_t shape[FR_MAX_NDIM])
{
    if (!fr__operands(n, x))
        return -1;
    return common_shape("broadcast_shapes", n, x, shape);
}

static bool same_shape(const fr_array *x, int ndim, const int64_t *shape)
{
    return x->ndim == ndim && !memcmp(x->dims, shape, sizeof(int64_t) * (size_t)ndim);
}

/* x as an operand of this dtype and shape: literals stay as they are. A reference. */
static fr_array *operand(fr_array *x, int dtype, int ndim, const int64_t *shape)
{
    if (is_literal(x))
        return fr__ref(x);
    fr_array *y = fr__ref(x);
    if (x->dtype != dtype) {
        fr_array *z = fr_astype(y, (fr_dtype)dtype);
        if (z) {
            fr__ref(z);
            fr__discard(z);
        }
        fr__unref(y);
        y = z;
    }
    if (y && !same_shape(y, ndim, shape)) {
        fr_array *z = fr__node(FR__OP_BROADCAST, dtype, ndim, shape, 1, &y, 0);
        if (z) {
            fr__ref(z);
            fr__discard(z);
        }
        fr__unref(y);
        y = z;
    }
    return y;
}

/* Whether it is made of operations on the parts of complex numbers. */
static bool by_parts(int op, int n, fr_array *const *x, const fr__dtypes_rule *rule)
{
    int kind = fr__ops[op].rule;
    if (kind == FR__RULE_PART)
        return rule->compute != FR_COMPLEX64;
    return rule->compute == FR_COMPLEX64 ||
           ((kind == FR__RULE_SELECT || kind == FR__RULE_LOGICAL) &&
            (x[0]->dtype == FR_COMPLEX64 || x[n - 1]->dtype == FR_COMPLEX64));
}

fr_array *fr__elementwise(int op, int n, fr_array *const *x)
{
    if (FR__UNLIKELY(!fr__operands(n, x)))
        return NULL;
    fr_array *y = NULL, *in[3] = {NULL, NULL, NULL};
    int64_t room[FR_MAX_NDIM], *shape = room;
    fr__dtypes_rule rule = fr__apply_rule(op, n, x);
    if (rule.compute == FR_DTYPE_COUNT)
        goto done;
    int ndim = x[0]->ndim;
    /* all of one shape and the right dtype: nothing to convert */
    bool decompose = by_parts(op, n, x, &rule), simple = !decompose;
    for (int i = 0; i < n; i++)
        simple &= !is_literal(x[i]) && x[i]->dtype == rule.compute &&
                  same_shape(x[i], ndim, x[0]->dims);
    if (simple) {
        y = fr__node(op, rule.result, ndim, x[0]->dims, n, x, 0);
        goto done;
    }
    if ((ndim = common_shape(fr__ops[op].name, n, x, shape)) < 0)
        goto done;
    if (decompose) {
        y = fr__complex_elementwise(op, n, x);
        goto done;
    }
    if (op == FR__OP_div && x[0]->op == FR__OP_exp &&
        ((y = fr__softmax_written_out(x[0], x[1])) || fr__failed()))
        goto done;
    bool select = fr__ops[op].rule == FR__RULE_SELECT, good = true, weak = true;
    for (int i = 0; i < n; i++) {
        in[i] = operand(x[i], select && !i ? FR_BOOL : rule.compute, ndim, shape);
        good &= in[i] != NULL;
        weak &= fr__flag(x[i], FR__WEAK);
    }
    if (good)
        y = fr__node(op, rule.result, ndim, shape, n, in, 0);
    if (y && weak)
        atomic_fetch_or(&y->flags, FR__WEAK);
    for (int i = 0; i < n; i++)
        if (in[i])
            fr__unref(in[i]);
done:
    fr__settle(n, x);
    return y;
}

#define UNARY(name, py, rule, traits, form, da, text)                                          \
    fr_array *fr_##name(fr_array *x) { return fr__elementwise(FR__OP_##name, 1, &x); }
#define BINARY(name, py, rule, traits, form, da, db, text)                                     \
    fr_array *(fr_##name)(fr_array * x, fr_array * y)                                          \
    {                                                                                          \
        return fr__elementwise(FR__OP_##name, 2, (fr_array *[]){x, y});                        \
    }
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)                                \
    fr_array *(fr_##name)(fr_array * x, fr_array * y, fr_array * z)                            \
    {                                                                                          \
        return fr__elementwise(FR__OP_##name, 3, (fr_array *[]){x, y, z});                     \
    }
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE

fr_array *fr_astype(fr_array *x, fr_dtype dtype)
{
    if (!fr__operands(1, &x))
        return NULL;
    if ((unsigned)dtype >= FR_DTYPE_COUNT)
        return fr__fail(FR__E_TYPE, "astype: %d is no dtype", (int)dtype);
    fr_array *y;
    if (x->dtype == (int)dtype && !fr__flag(x, FR__WEAK)) {
        fr__own_result(fr__ref(x));
        y = fr__failed() ? NULL : x;
    } else if ((int)dtype != x->dtype && (dtype == FR_COMPLEX64 || x->dtype == FR_COMPLEX64)) {
        y = fr__complex_cast(x, (int)dtype);
    } else {
        y = fr__node(FR__OP_CAST, (int)dtype, x->ndim, x->dims, 1, &x, 0);
    }
    fr__settle(1, &x);
    return y;
}
