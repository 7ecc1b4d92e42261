/* jvp.c - forward-mode derivatives, as the reverse of the reverse
 *
 * Cotangents u of the results give cotangents J^T u of the arguments: a function of u, and a linear
 * one. Its own derivative back from tangents t is J t. The value of u takes no part in that, nor
 * does most of the graph of J^T u, which nobody evaluates. So each derivative is written once.
 */
#include "core/scope.h"
#include "xform/function.h"
#include "xform/rules.h"

static int check_tangents(const fr_tape *t, fr_array *const *tangents)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    for (int i = 0; i < t->n; i++) {
        const fr_array *x = t->alias[i], *y = tangents[i];
        if (y && (x->ndim != y->ndim || memcmp(x->dims, y->dims, sizeof(int64_t) * x->ndim)))
            return fr__fail_int(FR__E_VALUE, "jvp: argument %d is %s and its tangent %s", i,
                                fr__shape_text(x, a), fr__shape_text(y, b));
    }
    return 0;
}

static int tangents_of(fr_tape *t, fr_array *const *tangents, int n_out, fr_array *const *out,
                       fr_array **room, fr_array **changes)
{
    fr_array **u = room, **back = room + n_out;
    for (int i = 0; i < n_out; i++)
        if (!(u[i] = fr_zeros(out[i]->dims, out[i]->ndim, (fr_dtype)out[i]->dtype)))
            return -1;
    fr_tape *second = fr_tape_begin(n_out, u, u);
    if (!second)
        return -1;
    int status = fr__gradients(t, fr__differentiable_forward, n_out, out, u, back);
    if (!status)
        status = fr_tape_gradients(second, t->n, back, tangents, changes);
    fr_tape_end(second);
    return status;
}

int fr_tape_tangents(fr_tape *t, fr_array *const *tangents, int n_out, fr_array *const *out,
                     fr_array **changes)
{
    if (!t || !fr__good_arrays("jvp", n_out, out) || check_tangents(t, tangents))
        return -1;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(n_out + t->n + 1));
    fr_scope *s = room ? fr_scope_open() : NULL;
    if (!s) {
        fr__free(room);
        return -1;
    }
    int status = tangents_of(t, tangents, n_out, out, room, changes);
    fr__free(room);
    return fr__hand_over(s, status, n_out, changes);
}

int fr_jvp(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, fr_array *const *tangents,
           int n_out, fr_array **out, fr_array **changes)
{
    if (!fr__good_arrays("jvp", n_in, in))
        return -1;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(n_in + 2 * n_out + 1));
    if (!room)
        return -1;
    fr_array **aliases = room, **results = room + n_in;
    fr_scope *s = fr_scope_open();
    fr_tape *t = s ? fr_tape_begin(n_in, in, aliases) : NULL;
    int status = t ? fr__run(fn, ctx, "jvp", n_in, aliases, n_out, results) : -1;
    if (!status)
        status = fr_tape_tangents(t, tangents, n_out, results, results + n_out);
    fr_tape_end(t);
    if (s)
        status = fr__hand_over(s, status, 2 * n_out, results);
    for (int i = 0; !status && i < n_out; i++) {
        out[i] = results[i];
        changes[i] = results[n_out + i];
    }
    fr__free(room);
    return status;
}
