/* vmap.c - a function of arrays made one of batches of them
 *
 *   placeholders of one element -> the function -> its graph
 *   -> the same graph again, node by node, where it depends on a placeholder (xform/batch.c)
 *
 * needs   arrays of which some have an axis that counts the batch
 * gives   results for all of it at once; what doesn't depend on the batch is shared
 */
#include <stdio.h>

#include "core/scope.h"
#include "xform/custom.h"
#include "xform/rules.h"

struct fr_batch {
    char name[96];
    int64_t size;
    int n; /* batched inputs */
    struct fr__batched {
        fr_array *x, *placeholder; /* references; x's axis 0 counts the batch */
    } in[];
};

void fr_batch_abandon(fr_batch *b)
{
    if (!b)
        return;
    for (int i = 0; i < b->n; i++) {
        fr__unref(b->in[i].x);
        if (b->in[i].placeholder)
            fr__unref(b->in[i].placeholder);
    }
    fr__free(b);
}

/* x, batched along an axis: its place among b's, or -1. */
static int add_input(fr_batch *b, fr_array *x, int axis)
{
    char text[FR__SHAPE_TEXT];
    if (axis < -x->ndim || axis >= x->ndim)
        return fr__fail_int(FR__E_INDEX, "vmap: no axis %d in %s", axis,
                            fr__shape_text(x, text));
    axis += axis < 0 ? x->ndim : 0;
    if (b->n && x->dims[axis] != b->size)
        return fr__fail_int(FR__E_VALUE, "vmap: batches of %lld and of %lld: %s along axis %d",
                            (long long)b->size, (long long)x->dims[axis],
                            fr__shape_text(x, text), axis);
    b->size = x->dims[axis];
    fr_array *first = fr_moveaxis(x, axis, 0);
    if (!first)
        return -1;
    b->in[b->n] = (struct fr__batched){.x = fr__ref(first)};
    fr__discard(first);
    return b->n++;
}

static fr_array *placeholder(fr_array *x, fr__origin *origin)
{
    fr_array *p = fr__node(FR__OP_PLACEHOLDER, x->dtype, x->ndim - 1, x->dims + 1, 0, NULL, 0);
    if (!p)
        return NULL;
    atomic_fetch_add(&origin->refs, 1);
    p->origin = origin;
    p->flags = (uint8_t)(FR__TRACED | (fr__flag(x, FR__WEAK) ? FR__WEAK : 0));
    fr__row_major(p->ndim, p->dims, fr__strides(p));
    return p;
}

fr_batch *fr_batch_begin(int n, fr_array *const *in, const int *axes, fr_array **placeholders,
                         const char *name, const char *place)
{
    if (!fr__good_arrays("vmap", n, in))
        return NULL;
    fr_batch *b = fr__calloc(1, sizeof *b + sizeof b->in[0] * (size_t)n);
    fr__origin *origin = fr__malloc(sizeof *origin);
    int made = 0;
    if (!b || !origin)
        goto failed;
    *origin = (fr__origin){.refs = 1, .by = "vmap"};
    snprintf(b->name, sizeof b->name, "%s", name ? name : "function");
    snprintf(origin->function, sizeof origin->function, "%s", b->name);
    snprintf(origin->place, sizeof origin->place, "%s", place ? place : "");
    for (; made < n; made++) {
        int axis = axes ? axes[made] : 0;
        if (axis == FR_NO_AXIS) {
            fr__own_result(fr__ref(placeholders[made] = in[made]));
            continue;
        }
        int at = add_input(b, in[made], axis);
        if (at < 0 || !(placeholders[made] = placeholder(b->in[at].x, origin)))
            goto failed;
        b->in[at].placeholder = fr__ref(placeholders[made]);
    }
    if (!b->n) {
        fr__fail(FR__E_VALUE, "vmap: at least one of in_axes must be an axis");
        goto failed;
    }
    if (atomic_fetch_sub(&origin->refs, 1) == 1)
        fr__free(origin);
    return b;
failed:
    while (made)
        fr__discard(placeholders[--made]);
    if (origin && (!b || atomic_fetch_sub(&origin->refs, 1) == 1))
        fr__free(origin);
    fr_batch_abandon(b);
    return NULL;
}

/* ---- the graph again ------------------------------------------------------------------------- */

static uint64_t traced_inputs(const fr_array *x)
{
    return fr__flag(x, FR__TRACED) ? ~(uint64_t)0 : 0;
}

/* The graph on its way: what each node is in the batch (NULL: as it was), and of a bundle the
 * results of its function. */
typedef struct {
    const fr_batch *b;
    fr__walk walk;
    fr_array **to, ***results;
} graph;

static fr_array *in_batch(const graph *g, const fr_array *x)
{
    int n = fr__walk_find(&g->walk, x);
    return n < 0 ? NULL : g->to[n];
}

static int rebuild_bundle(graph *g, int i)
{
    fr_array *bundle = g->walk.nodes.at[i].x;
    const fr__custom *c = fr__custom_of(bundle);
    if (!c)
        return 0;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(c->n_in + c->n_out + 1));
    g->results[i] = fr__calloc((size_t)c->n_out + 1, sizeof *room);
    int status = room && g->results[i] ? 0 : -1;
    for (int j = 0; !status && j < c->n_in + c->n_out; j++)
        room[j] = in_batch(g, j < c->n_in ? c->in[j] : c->out[j - c->n_in]);
    if (!status)
        status = fr__custom_batch(bundle, g->b->size, room, room + c->n_in, g->results[i]);
    fr__free(room);
    return status;
}

static int rebuild(graph *g, int i)
{
    const fr__visit *v = &g->walk.nodes.at[i];
    const int32_t *number = g->walk.number.at + v->first;
    fr_array *batch[64];
    if (v->x->op == FR__OP_BUNDLE)
        return rebuild_bundle(g, i);
    if (v->x->op == FR__OP_CUSTOM) {
        g->to[i] = g->results[number[1]][v->x->par[0]];
        return 0;
    }
    for (int j = 0; j < v->nin && j < 64; j++)
        batch[j] = number[j] >= 0 ? g->to[number[j]] : NULL;
    g->to[i] = fr__batch_rule(v->x, g->b->size, g->walk.in.at + v->first, batch);
    return g->to[i] ? 0 : -1;
}

/* y in the batch (NULL: it doesn't depend on it), its axis where it is wanted. */
static fr_array *result(const fr_batch *b, int i, fr_array *one, fr_array *y, int axis)
{
    char text[FR__SHAPE_TEXT];
    if (axis == FR_NO_AXIS) {
        if (!y)
            return one;
        return fr__fail(FR__E_VALUE,
                        "vmap: result %d of '%s' is batched, but its out_axes is none", i,
                        b->name);
    }
    int ndim = one->ndim + 1;
    if (axis < -ndim || axis >= ndim)
        return fr__fail(FR__E_INDEX, "vmap: no axis %d to put a batch of %s in", axis,
                        fr__shape_text(one, text));
    if (!y && !(y = fr__repeat(one, b->size)))
        return NULL;
    return fr_moveaxis(y, 0, axis < 0 ? axis + ndim : axis);
}

static int batch_graph(const fr_batch *b, int n_out, fr_array *const *out, const int *axes,
                       fr_array **results)
{
    graph g = {.b = b};
    fr_array **sources = fr__malloc(sizeof *sources * (size_t)b->n);
    int status = sources ? 0 : -1;
    for (int i = 0; !status && i < b->n; i++)
        sources[i] = b->in[i].placeholder;
    if (!status)
        status = fr__walk_graph(&g.walk, n_out, out, b->n, sources, traced_inputs);
    int n = g.walk.nodes.n;
    g.to = fr__calloc((size_t)n + 1, sizeof *g.to);
    g.results = fr__calloc((size_t)n + 1, sizeof *g.results);
    if (!g.to || !g.results)
        status = -1;
    for (int i = 0; !status && i < b->n; i++)
        g.to[fr__walk_find(&g.walk, sources[i])] = b->in[i].x;
    for (int i = 0; !status && i < n; i++)
        if (g.walk.nodes.at[i].depends && !g.to[i])
            status = rebuild(&g, i);
    for (int i = 0; !status && i < n_out; i++) {
        results[i] = result(b, i, out[i], in_batch(&g, out[i]), axes ? axes[i] : 0);
        status = results[i] ? 0 : -1;
    }
    for (int i = 0; g.results && i < n; i++)
        fr__free(g.results[i]);
    fr__free(g.results);
    fr__free(g.to);
    fr__free(sources);
    fr__walk_free(&g.walk);
    return status;
}

int fr_batch_end(fr_batch *b, int n_out, fr_array *const *out, const int *axes,
                 fr_array **results)
{
    if (!b)
        return -1;
    int status = -1;
    if (fr__good_arrays(b->name, n_out, out)) {
        fr_scope *s = fr_scope_open();
        status = s ? batch_graph(b, n_out, out, axes, results) : -1;
        if (s)
            status = fr__hand_over(s, status, n_out, results);
    }
    fr_batch_abandon(b);
    return status;
}

int fr_vmap(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, const int *in_axes, int n_out,
            fr_array **out, const int *out_axes)
{
    if (!fr__good_arrays("vmap", n_in, in))
        return -1;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(n_in + 2 * n_out + 1));
    if (!room)
        return -1;
    fr_array **given = room, **one = room + n_in, **results = one + n_out;
    fr_scope *s = fr_scope_open();
    fr_batch *b = s ? fr_batch_begin(n_in, in, in_axes, given, NULL, NULL) : NULL;
    int status = b ? fr__run(fn, ctx, "vmap", n_in, given, n_out, one) : -1;
    if (!status)
        status = fr_batch_end(b, n_out, one, out_axes, results);
    else
        fr_batch_abandon(b);
    if (s)
        status = fr__hand_over(s, status, n_out, results);
    for (int i = 0; !status && i < n_out; i++)
        out[i] = results[i];
    fr__free(room);
    return status;
}
