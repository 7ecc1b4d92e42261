/* scalar.c - the scalar form of every elementwise operation, from ops.def */
#include "kernel/forms.h"
#include "op/op.h"

// clang-format off
#define K(v) fr__kconst(kb, fr__ktype_at(kb, a), v)
#define MATH(name, v) fr__math_##name(kb, v)
#define MATH2(name, v, w) fr__math_##name(kb, v, w)

int fr__scalar_form(fr__kb *kb, int op, int a, int b, int c)
{
    (void)b, (void)c;
    switch (op) {
#define UNARY(name, py, rule, traits, form, da, text)                                        \
    case FR__OP_##name:                                                                      \
        return form;
#define BINARY(name, py, rule, traits, form, da, db, text)                                   \
    case FR__OP_##name:                                                                      \
        return form;
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)                              \
    case FR__OP_##name:                                                                      \
        return form;
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
    default:
        fr__fail(FR__E_INTERNAL, "%s has no scalar form", fr__ops[op].name);
        kb->failed = true;
        return 0;
    }
}

int fr__combine_form(int op, int type)
{
    if (type == FR__KB1) /* of truth values the largest is `or` */
        return op == FR__OP_REDUCE_max || op == FR__OP_REDUCE_any ? FR__K_OR : FR__K_AND;
    switch (op) {
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
#define UNARY(name, py, rule, traits, form, da, text)
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)                                    \
    case FR__OP_REDUCE_##name:                                                               \
        return FR__K_##combine;
#include "op/ops.def"
    default:
        return FR__K_ADD;
    }
}
