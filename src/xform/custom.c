/* custom.c - functions with rules of their own, and checkpoints
 *
 *   arguments --> the function's graph --> result i --> CUSTOM i --> ...
 *        \                                    |          /
 *         `--------- BUNDLE (the rules) ------+---------'
 *
 * A CUSTOM is its result under another node. Transformations go from it to the bundle, where the
 * rules stand, and on to the arguments; to what computes values it is an alias, and the bundle isn't
 * there. Without a transformation on its way a function's results are left as they are.
 */
#include "xform/custom.h"

#include "core/tape.h"
#include "xform/rules.h"

/* ---- marks -------------------------------------------------------------------------------- */

static void release_custom(fr__record *record)
{
    fr__custom *c = (fr__custom *)record;
    if (c->rules.free_ctx)
        c->rules.free_ctx(c->ctx);
    fr__free(c->in);
    fr__free(c);
}

static fr__custom *custom_new(const fr_custom_rules *rules, void *ctx, int n_in,
                              fr_array *const *in, int n_out, fr_array *const *out)
{
    fr__custom *c = fr__malloc(sizeof *c);
    fr_array **arrays = fr__malloc(sizeof *arrays * (size_t)(n_in + n_out + 1));
    if (!c || !arrays) {
        fr__free(c);
        fr__free(arrays);
        return NULL;
    }
    *c = (fr__custom){{release_custom}, *rules, ctx, n_in, n_out, arrays, arrays + n_in};
    for (int i = 0; i < n_in; i++)
        c->in[i] = in[i];
    for (int i = 0; i < n_out; i++)
        c->out[i] = out[i];
    return c;
}

enum { WIDTH = 60 }; /* inputs of a bundle: a walk tells them apart by the bits of a word */

static fr_array *plain_bundle(int n, fr_array *const *x)
{
    return fr__node(FR__OP_BUNDLE, FR_FLOAT32, 0, NULL, n, x, 0);
}

/* Any number of arrays: bundles of bundles. */
static fr_array *bundle(int n, fr_array *const *x)
{
    if (n <= WIDTH)
        return plain_bundle(n, x);
    int parts = (n + WIDTH - 1) / WIDTH, made = 0;
    fr_array **part = fr__malloc(sizeof *part * (size_t)parts), *y = NULL;
    for (bool good = part != NULL; good && made < parts; made += good) {
        int from = made * WIDTH, count = n - from < WIDTH ? n - from : WIDTH;
        good = (part[made] = plain_bundle(count, x + from)) != NULL;
    }
    if (part && made == parts)
        y = bundle(parts, part);
    while (made)
        fr__discard(part[--made]);
    fr__free(part);
    return y;
}

/* Arguments, or one bundle of them; then a bundle of the results. Takes c over. */
static fr_array *bundle_of(fr__custom *c)
{
    fr_array *in[WIDTH + 1], *all = NULL, *root = NULL, *results = bundle(c->n_out, c->out);
    int n = 0;
    if (results && c->n_in > WIDTH)
        all = in[n++] = bundle(c->n_in, c->in);
    for (int i = 0; c->n_in <= WIDTH && i < c->n_in; i++)
        in[n++] = c->in[i];
    in[n++] = results;
    if (results && (all || c->n_in <= WIDTH))
        root = plain_bundle(n, in);
    if (root)
        root->record = &c->head;
    else
        release_custom(&c->head);
    fr__discard(results);
    fr__discard(all);
    return root;
}

static fr_array *mark(fr_array *out, int i, fr_array *root)
{
    fr_array *y = fr__node(FR__OP_CUSTOM, out->dtype, out->ndim, out->dims, 2,
                           (fr_array *[]){out, root}, 1);
    if (!y)
        return NULL;
    y->par[0] = i;
    if (fr__flag(out, FR__WEAK))
        atomic_fetch_or(&y->flags, FR__WEAK);
    if (fr__done(out) && !fr__flag(y, FR__TRACED))
        fr__publish(y, out->buf ? fr__buffer_keep(out->buf) : NULL, out->data,
                    fr__strides(out));
    return y;
}

static bool transformed(int n, fr_array *const *x)
{
    for (int i = 0; i < n; i++)
        if (fr__flag(x[i], FR__TRACED) || fr__is_taped(x[i]))
            return true;
    return false;
}

static int drop_rules(const fr_custom_rules *rules, void *ctx, int status)
{
    if (rules->free_ctx)
        rules->free_ctx(ctx);
    return status;
}

int fr_custom_results(const fr_custom_rules *rules, void *ctx, int n_in, fr_array *const *in,
                      int n_out, fr_array *const *out, fr_array **marked)
{
    if (!fr__good_arrays("custom", n_in, in) || !fr__good_arrays("custom", n_out, out))
        return drop_rules(rules, ctx, -1);
    if (!transformed(n_in, in) && !transformed(n_out, out)) {
        for (int i = 0; i < n_out; i++)
            fr__own_result(fr__ref(marked[i] = out[i]));
        return drop_rules(rules, ctx, fr__failed() ? -1 : 0);
    }
    fr__custom *c = custom_new(rules, ctx, n_in, in, n_out, out);
    if (!c)
        return drop_rules(rules, ctx, -1);
    fr_array *root = bundle_of(c);
    int made = 0;
    for (; root && made < n_out; made++)
        if (!(marked[made] = mark(out[made], made, root)))
            break;
    fr__discard(root);
    if (root && made == n_out)
        return 0;
    while (made)
        fr__discard(marked[--made]);
    return -1;
}

int fr_custom(fr_fn *fn, const fr_custom_rules *rules, void *ctx, int n_in, fr_array *const *in,
              int n_out, fr_array **out)
{
    if (!fr__good_arrays("custom", n_in, in))
        return drop_rules(rules, ctx, -1);
    fr_array **room = fr__malloc(sizeof *room * (size_t)(2 * n_out + 1));
    fr_scope *s = room ? fr_scope_open() : NULL;
    int status = -1;
    if (s && !fr__run(fn, ctx, "custom", n_in, in, n_out, room))
        status = fr_custom_results(rules, ctx, n_in, in, n_out, room, room + n_out);
    else
        drop_rules(rules, ctx, -1);
    if (s)
        status = fr__hand_over(s, status, n_out, room + n_out);
    for (int i = 0; !status && i < n_out; i++)
        out[i] = room[n_out + i];
    fr__free(room);
    return status;
}

int fr_checkpoint(fr_fn *fn, void *ctx, int n_in, fr_array *const *in, int n_out,
                  fr_array **out)
{
    return fr_custom(fn, &(fr_custom_rules){.again = fn}, ctx, n_in, in, n_out, out);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static int called(int status, const char *what)
{
    if (fr__failed())
        return -1;
    return status ? fr__fail_int(FR__E_CALLBACK, "custom: the %s returned %d", what, status)
                  : 0;
}

/* Those that are there have the shapes of `like`, and get its dtypes. */
static int fit(const char *what, int n, fr_array **x, fr_array *const *like)
{
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT];
    for (int i = 0; i < n; i++) {
        if (!x[i])
            continue;
        if (x[i]->ndim != like[i]->ndim ||
            memcmp(x[i]->dims, like[i]->dims, sizeof(int64_t) * x[i]->ndim))
            return fr__fail_int(FR__E_VALUE, "custom: the %s gave %s for %s", what,
                                fr__shape_text(x[i], a), fr__shape_text(like[i], b));
        if (!(x[i] = fr_astype(x[i], (fr_dtype)like[i]->dtype)))
            return -1;
    }
    return 0;
}

static fr_array *zeros_like(const fr_array *x)
{
    return fr_zeros(x->dims, x->ndim, (fr_dtype)x->dtype);
}

static int backward(const fr__custom *c, fr_array *const *cotangents, fr_array **grads)
{
    fr_array **all = fr__malloc(sizeof *all * (size_t)(c->n_out + 1));
    int status = all ? 0 : -1;
    for (int i = 0; !status && i < c->n_out; i++)
        status = (all[i] = cotangents[i] ? cotangents[i] : zeros_like(c->out[i])) ? 0 : -1;
    if (!status)
        status =
            called(c->rules.vjp(c->ctx, c->n_in, c->in, c->n_out, all, c->out, grads), "vjp");
    fr__free(all);
    return status ? -1 : fit("vjp", c->n_in, grads, c->in);
}

/* The jvp is linear in the tangents: its transpose is the derivative back from what it gives. */
static int forward_transposed(const fr__custom *c, const bool *wanted,
                              fr_array *const *cotangents, fr_array **grads)
{
    fr_array **room = fr__calloc((size_t)(3 * c->n_in + c->n_out + 1), sizeof *room);
    if (!room)
        return -1;
    fr_array **t = room, **given = t + c->n_in, **back = given + c->n_in,
             **changes = back + c->n_in;
    int n = 0, status = 0;
    for (int i = 0; !status && i < c->n_in; i++)
        if (wanted[i])
            status = (t[n++] = zeros_like(c->in[i])) ? 0 : -1;
    fr_tape *tape = status ? NULL : fr_tape_begin(n, t, t);
    for (int i = 0, at = 0; tape && i < c->n_in; i++)
        given[i] = wanted[i] ? t[at++] : NULL;
    status = tape
                 ? called(c->rules.jvp(c->ctx, c->n_in, c->in, given, c->n_out, changes), "jvp")
                 : -1;
    for (int i = 0; !status && i < c->n_out; i++)
        if (!changes[i])
            status = fr__fail_int(FR__E_VALUE, "custom: the jvp didn't set change %d", i);
    if (!status)
        status = fit("jvp", c->n_out, changes, c->out);
    if (!status)
        status = fr_tape_gradients(tape, c->n_out, changes, cotangents, back);
    fr_tape_end(tape);
    for (int i = 0, at = 0; !status && i < c->n_in; i++)
        grads[i] = wanted[i] ? back[at++] : NULL;
    fr__free(room);
    return status;
}

int fr__custom_gradients(const fr__custom *c, bool forward, const bool *wanted,
                         fr_array *const *cotangents, fr_array **grads)
{
    for (int i = 0; i < c->n_in; i++)
        grads[i] = NULL;
    return forward ? forward_transposed(c, wanted, cotangents, grads)
                   : backward(c, cotangents, grads);
}

/* ---- batches ----------------------------------------------------------------------------------- */

/* Rules for a batch: those of one element, under vmap. */
typedef struct {
    fr_array *bundle; /* a reference: its rules */
    int64_t size;
    bool batched[]; /* arguments */
} batch_ctx;

static void free_batch_ctx(void *ctx)
{
    fr__unref(((batch_ctx *)ctx)->bundle);
    fr__free(ctx);
}

/* x summed over the batch. */
static fr_array *over_batch(fr_array *x)
{
    return fr_sum(x, &(fr_reduce_options){.axes = (int[]){0}, .naxes = 1});
}

static int batch_vjp(void *ctx, int n_in, fr_array *const *in, int n_out,
                     fr_array *const *cotangents, fr_array *const *out, fr_array **grads)
{
    const batch_ctx *b = ctx;
    const fr__custom *c = fr__custom_of(b->bundle);
    int n = n_in + 2 * n_out, status = -1, found = 0;
    fr_array **all = fr__calloc((size_t)(2 * n + 3 * n_in + 1), sizeof *all);
    int *axes = fr__malloc(sizeof *axes * (size_t)(n + 1));
    if (!all || !axes)
        goto done;
    fr_array **given = all + n, **each = given + n, **some = each + n_in, **made = some + n_in;
    for (int i = 0; i < n; i++) {
        all[i] = i < n_in           ? in[i]
                 : i < n_in + n_out ? cotangents[i - n_in]
                                    : out[i - n_in - n_out];
        axes[i] = i < n_in && !b->batched[i] ? FR_NO_AXIS : 0;
    }
    fr_batch *batch = fr_batch_begin(n, all, axes, given, "vjp", NULL);
    if (!batch)
        goto done;
    status = called(
        c->rules.vjp(c->ctx, n_in, given, n_out, given + n_in, given + n_in + n_out, each),
        "vjp");
    for (int i = 0; !status && i < n_in; i++)
        if (each[i])
            some[found++] = each[i];
    if (status)
        fr_batch_abandon(batch);
    else
        status = fr_batch_end(batch, found, some, NULL, made);
    for (int i = 0, at = 0; !status && i < n_in; i++) {
        if (!each[i])
            continue;
        grads[i] = b->batched[i] ? made[at] : over_batch(made[at]);
        at++;
    }
done:
    fr__free(all);
    fr__free(axes);
    return status;
}

static int batch_jvp(void *ctx, int n_in, fr_array *const *in, fr_array *const *tangents,
                     int n_out, fr_array **changes)
{
    const batch_ctx *b = ctx;
    const fr__custom *c = fr__custom_of(b->bundle);
    int n = 0, status = -1;
    fr_array **all = fr__calloc((size_t)(5 * n_in + n_out + 1), sizeof *all);
    int *axes = fr__malloc(sizeof *axes * (size_t)(2 * n_in + 1));
    if (!all || !axes)
        goto done;
    fr_array **given = all + 2 * n_in, **t = given + 2 * n_in, **each = t + n_in;
    for (int i = 0; i < 2 * n_in; i++) {
        fr_array *x = i < n_in ? in[i] : tangents[i - n_in];
        if (!x)
            continue;
        axes[n] = b->batched[i % n_in] ? 0 : FR_NO_AXIS;
        all[n++] = x;
    }
    fr_batch *batch = fr_batch_begin(n, all, axes, given, "jvp", NULL);
    if (!batch)
        goto done;
    for (int i = 0, at = n_in; i < n_in; i++)
        t[i] = tangents[i] ? given[at++] : NULL;
    status = called(c->rules.jvp(c->ctx, n_in, given, t, n_out, each), "jvp");
    for (int i = 0; !status && i < n_out; i++)
        if (!each[i])
            status = fr__fail_int(FR__E_VALUE, "custom: the jvp didn't set change %d", i);
    if (status)
        fr_batch_abandon(batch);
    else
        status = fr_batch_end(batch, n_out, each, NULL, changes);
done:
    fr__free(all);
    fr__free(axes);
    return status;
}

/* By the function's own vmap. */
static int own_batch(const fr__custom *c, int64_t size, fr_array *const *in, fr_array **results)
{
    fr_array **given = fr__calloc((size_t)(c->n_in + 1), sizeof *given);
    int *axes = fr__malloc(sizeof *axes * (size_t)(c->n_in + c->n_out + 1)), status = -1;
    char have[FR__SHAPE_TEXT], want[FR__SHAPE_TEXT];
    if (!given || !axes)
        goto done;
    int *out_axes = axes + c->n_in;
    for (int i = 0; i < c->n_in; i++) {
        given[i] = in[i] ? in[i] : c->in[i];
        axes[i] = in[i] ? 0 : FR_NO_AXIS;
    }
    for (int i = 0; i < c->n_out; i++) {
        results[i] = NULL;
        out_axes[i] = 0;
    }
    status = called(c->rules.vmap(c->ctx, c->n_in, given, axes, c->n_out, results, out_axes),
                    "vmap");
    for (int i = 0; !status && i < c->n_out; i++) {
        fr_array *y = results[i];
        const fr_array *one = c->out[i];
        int axis = out_axes[i], ndim = one->ndim + 1;
        if (y && axis == FR_NO_AXIS)
            y = fr__repeat(y, size);
        else if (y && axis >= -ndim && axis < ndim && y->ndim == ndim)
            y = fr_moveaxis(y, axis < 0 ? axis + ndim : axis, 0);
        if (!y && fr__failed())
            status = -1;
        else if (!y || y->ndim != ndim || y->dims[0] != size ||
                 memcmp(y->dims + 1, one->dims, sizeof(int64_t) * one->ndim))
            status =
                fr__fail_int(FR__E_VALUE, "custom: the vmap gave %s for a batch of %lld %s",
                             y ? fr__shape_text(y, have) : "nothing", (long long)size,
                             fr__shape_text(one, want));
        results[i] = y;
    }
done:
    fr__free(given);
    fr__free(axes);
    return status;
}

int fr__custom_batch(fr_array *bundle, int64_t size, fr_array *const *in, fr_array *const *out,
                     fr_array **results)
{
    const fr__custom *c = fr__custom_of(bundle);
    bool any = false;
    for (int i = 0; i < c->n_in; i++)
        any |= in[i] != NULL;
    if (any && c->rules.vmap) {
        if (own_batch(c, size, in, results))
            return -1;
    } else {
        for (int i = 0; i < c->n_out; i++)
            if (!(results[i] = out[i] ? out[i] : fr__repeat(c->out[i], size)))
                return -1;
    }
    if (!c->rules.vjp && !c->rules.jvp)
        return 0;
    batch_ctx *b = fr__malloc(sizeof *b + sizeof b->batched[0] * (size_t)c->n_in);
    fr_array **given = fr__malloc(sizeof *given * (size_t)(c->n_in + 1));
    if (!b || !given) {
        fr__free(b);
        fr__free(given);
        return -1;
    }
    *b = (batch_ctx){.bundle = fr__ref(bundle), .size = size};
    for (int i = 0; i < c->n_in; i++) {
        b->batched[i] = in[i] != NULL;
        given[i] = in[i] ? in[i] : c->in[i];
    }
    fr_custom_rules rules = {.vjp = c->rules.vjp ? batch_vjp : NULL,
                             .jvp = c->rules.jvp ? batch_jvp : NULL,
                             .free_ctx = free_batch_ctx};
    int status = fr_custom_results(&rules, b, c->n_in, given, c->n_out, results, results);
    fr__free(given);
    return status;
}
