/* alias.c - an array itself under another node: where differentiation begins and ends */
#include "core/scope.h"
#include "core/tape.h"
#include "op/op.h"

fr_array *fr__alias(int op, fr_array *x, uint32_t tape)
{
    fr_array *y = fr__node(op, x->dtype, x->ndim, x->dims, 1, &x, 0);
    if (!y)
        return NULL;
    if (tape)
        atomic_store_explicit(&y->tape, fr__tape_outer(fr__tape(y), tape),
                              memory_order_relaxed);
    if (fr__flag(x, FR__WEAK))
        atomic_fetch_or(&y->flags, FR__WEAK);
    if (fr__done(x))
        fr__publish(y, x->buf ? fr__buffer_keep(x->buf) : NULL, x->data, fr__strides(x));
    return y;
}

/* Without a tape there is nothing to stop, but a trace may be differentiated later. */
fr_array *fr_stop_gradient(fr_array *x)
{
    if (!fr__operands(1, &x))
        return NULL;
    fr_array *y;
    if (fr__done(x)) {
        y = fr__leaf(x->buf ? fr__buffer_keep(x->buf) : NULL,
                     x->buf ? (size_t)(x->data - (char *)x->buf->data) : 0, x->dtype, x->ndim,
                     x->dims, fr__strides(x));
    } else if (fr__is_taped(x) || fr__flag(x, FR__TRACED)) {
        y = fr__alias(FR__OP_STOP, x, 0);
    } else {
        fr__own_result(fr__ref(x));
        y = fr__failed() ? NULL : x;
    }
    fr__settle(1, &x);
    return y;
}

/* Pending even where x has values. Nodes made of it are not merged with equal ones made of x, whose
 * values would be kept until then, and come after g in a program. */
fr_array *fr__again(fr_array *x, fr_array *g)
{
    return fr__node(FR__OP_AGAIN, x->dtype, x->ndim, x->dims, 2, (fr_array *[]){x, g}, 0);
}
