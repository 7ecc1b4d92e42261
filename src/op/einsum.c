/* einsum.c - Einstein's convention
 *
 *   text -> terms: labels for the axes of each operand and of the result
 *        -> path: which two operands to contract, again and again
 *        -> views and sums of single operands, products of pairs, the result's order
 *
 * A letter is a label; so is each axis under "...", counted from the right. Everything about the order
 * is found from labels and sizes alone, before an array is made.
 */
#include <stdio.h>

#include "core/scope.h"
#include "op/products.h"

enum { LETTERS = 52, LABELS = LETTERS + FR_MAX_NDIM };

/* A set of labels. */
typedef struct set {
    uint64_t w[2];
} set;

static bool in(set s, int label) { return s.w[label >> 6] >> (label & 63) & 1; }
static set with(set s, int label)
{
    s.w[label >> 6] |= (uint64_t)1 << (label & 63);
    return s;
}
static set both(set a, set b) { return (set){{a.w[0] & b.w[0], a.w[1] & b.w[1]}}; }
static set either(set a, set b) { return (set){{a.w[0] | b.w[0], a.w[1] | b.w[1]}}; }
static set less(set a, set b) { return (set){{a.w[0] & ~b.w[0], a.w[1] & ~b.w[1]}}; }
static bool empty(set s) { return !(s.w[0] | s.w[1]); }

/* Axes by name: of an operand (with its array, a result of ours) or of the result. */
typedef struct term {
    fr_array *x;
    set labels;
    int n;
    uint8_t label[FR_MAX_NDIM];
} term;

typedef struct plan {
    int n, steps;
    term *term; /* of the n operands; contracted ones are taken out, the product added */
    term out;
    int (*path)[2];
    int64_t size[LABELS];
    fr_einsum_cost cost;
} plan;

/* ---- the text ------------------------------------------------------------------------- */

static int label_of(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* One term, up to a comma, an arrow or the end. dots: how many axes "..." stands for, -1: as many
 * as ndim leaves. NULL: wrong, with an error. */
static const char *read_term(const char *s, term *t, int ndim, int dots, const char *what)
{
    uint8_t label[FR_MAX_NDIM];
    int n = 0, before = -1;
    for (;; s++) {
        if (*s == ' ')
            continue;
        if (*s == '.' && s[1] == '.' && s[2] == '.' && before < 0) {
            before = n;
            s += 2;
            continue;
        }
        if (!*s || *s == ',' || (*s == '-' && s[1] == '>'))
            break;
        if (label_of(*s) < 0)
            return fr__fail(FR__E_VALUE, "einsum: '%c' is no letter", *s);
        if (n == FR_MAX_NDIM)
            return fr__fail(FR__E_VALUE, "einsum: %s has more than %d letters", what,
                            FR_MAX_NDIM);
        label[n++] = (uint8_t)label_of(*s);
    }
    if (dots < 0)
        dots = before < 0 ? 0 : ndim - n;
    if (before < 0)
        dots = 0;
    if (dots < 0 || n + dots > FR_MAX_NDIM || (ndim >= 0 && n + dots != ndim))
        return fr__fail(FR__E_VALUE, "einsum: %s has %d dimensions, its term %d letters%s",
                        what, ndim, n, before < 0 ? "" : " and ...");
    t->n = 0;
    t->labels = (set){{0, 0}};
    for (int i = 0; i <= n; i++) {
        for (int d = 0; i == before && d < dots; d++)
            t->label[t->n++] = (uint8_t)(LETTERS + dots - 1 - d);
        if (i < n)
            t->label[t->n++] = label[i];
    }
    for (int i = 0; i < t->n; i++)
        t->labels = with(t->labels, t->label[i]);
    return s;
}

/* What the sizes say of the operands' axes; 1 gives way. */
static int read_sizes(plan *p, const term *t, int i)
{
    char text[FR__SHAPE_TEXT];
    for (int d = 0; d < t->n; d++) {
        int64_t *size = &p->size[t->label[d]], have = t->x->dims[d];
        if (*size == have || have == 1)
            continue;
        if (*size >= 0 && *size != 1)
            return fr__fail_int(FR__E_VALUE,
                                "einsum: axis %d of operand %d, %s, is elsewhere of size %lld",
                                d, i, fr__shape_text(t->x, text), (long long)*size);
        *size = have;
    }
    return 0;
}

/* Without an arrow: "..." and what stands once. */
static void implied_output(plan *p)
{
    int times[LABELS] = {0};
    for (int i = 0; i < p->n; i++)
        for (int d = 0; d < p->term[i].n; d++)
            times[p->term[i].label[d]]++;
    term *out = &p->out;
    out->n = 0;
    for (int l = LABELS - 1; l >= LETTERS; l--)
        if (times[l] && out->n < FR_MAX_NDIM)
            out->label[out->n++] = (uint8_t)l;
    for (int l = 0; l < LETTERS; l++)
        if (times[l] == 1 && out->n < FR_MAX_NDIM)
            out->label[out->n++] = (uint8_t)l;
}

static int check_output(plan *p, set all)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    p->out.labels = (set){{0, 0}};
    for (int d = 0; d < p->out.n; d++) {
        int l = p->out.label[d];
        if (in(p->out.labels, l))
            return fr__fail_int(FR__E_VALUE, "einsum: '%c' stands twice in the result",
                                letters[l]);
        if (!in(all, l))
            return fr__fail_int(FR__E_VALUE, "einsum: '%c' of the result is in no operand",
                                l < LETTERS ? letters[l] : '.');
        p->out.labels = with(p->out.labels, l);
    }
    return 0;
}

static int read_text(plan *p, const char *s, int n, fr_array *const *x)
{
    char what[40];
    int dots = 0;
    set all = {{0, 0}};
    for (int l = 0; l < LABELS; l++)
        p->size[l] = -1;
    for (int i = 0; i < n; i++) {
        snprintf(what, sizeof what, "operand %d", i);
        p->term[i].x = x[i];
        if (!(s = read_term(s, &p->term[i], x[i]->ndim, -1, what)))
            return -1;
        bool last = i + 1 == n;
        if (last ? *s == ',' : *s != ',')
            return fr__fail_int(FR__E_VALUE, "einsum: %d operands, but %s terms", n,
                                last ? "more" : "fewer");
        s += *s == ',';
        if (read_sizes(p, &p->term[i], i))
            return -1;
        all = either(all, p->term[i].labels);
    }
    for (int l = 0; l < LABELS; l++)
        if (in(all, l) && p->size[l] < 0)
            p->size[l] = 1;
    for (int l = LETTERS; l < LABELS; l++)
        dots += in(all, l);
    if (!*s) {
        implied_output(p);
    } else {
        if (!(s = read_term(s + 2, &p->out, -1, dots, "the result")))
            return -1;
        if (*s)
            return fr__fail_int(FR__E_VALUE, "einsum: '%s' after the result", s);
    }
    return check_output(p, all);
}

/* ---- the order -------------------------------------------------------------------------- */

static double elements(const plan *p, set s)
{
    double n = 1;
    for (int l = 0; l < LABELS; l++)
        if (in(s, l))
            n *= (double)p->size[l];
    return n;
}

static int width(set s) { return __builtin_popcountll(s.w[0]) + __builtin_popcountll(s.w[1]); }

/* Labels that stay when i and j of the n left are contracted: the result's, and other operands'. */
static set kept(const plan *p, const set *left, int n, int i, int j)
{
    set keep = p->out.labels;
    for (int k = 0; k < n; k++)
        if (k != i && k != j)
            keep = either(keep, left[k]);
    return keep;
}

/* What contracting i and j costs: pairs without a summed label come after all that have one, those
 * without any common label last. */
static double price(const plan *p, const set *left, int n, int i, int j)
{
    set common = both(left[i], left[j]), all = either(left[i], left[j]);
    bool sums = !empty(less(common, kept(p, left, n, i, j)));
    return elements(p, all) + (sums ? 0 : empty(common) ? 1e300 : 1e250);
}

static int find_path(plan *p)
{
    set *left = fr__malloc(sizeof *left * (size_t)(p->n + 1));
    if (!left)
        return -1;
    set all = {{0, 0}};
    int n = p->n;
    for (int i = 0; i < n; i++) {
        left[i] = p->term[i].labels;
        all = either(all, left[i]);
    }
    bool inner = !empty(less(all, p->out.labels));
    p->cost.naive_scaling = width(all);
    p->cost.naive_flops = elements(p, all) * ((n > 2 ? n - 1 : 1) + inner);
    p->cost.flops = p->cost.scaling = 0;
    do {
        int *step = p->path[p->steps++], best[2] = {0, n > 1 ? 1 : -1};
        double least = n > 1 ? price(p, left, n, 0, 1) : 0;
        for (int i = 0; i < n; i++)
            for (int j = i + 1; j < n; j++) {
                double now = price(p, left, n, i, j);
                if (now < least) {
                    least = now;
                    best[0] = i;
                    best[1] = j;
                }
            }
        step[0] = best[0];
        step[1] = best[1];
        set from = n > 1 ? either(left[best[0]], left[best[1]]) : left[0],
            to = both(from, kept(p, left, n, best[0], best[1]));
        p->cost.flops += elements(p, from) * (1 + !empty(less(from, to)));
        p->cost.scaling = width(from) > p->cost.scaling ? width(from) : p->cost.scaling;
        for (int i = 0, k = 0; i < n; i++)
            if (i != best[0] && i != best[1])
                left[k++] = left[i];
        n = n > 1 ? n - 1 : 1;
        left[n - 1] = to;
    } while (n > 1);
    fr__free(left);
    return 0;
}

/* ---- the work --------------------------------------------------------------------------- */

/* t's array becomes y, which was made of it. */
static bool become(term *t, fr_array *y)
{
    t->x = fr__then(t->x, y);
    return y != NULL;
}

static void drop_label(term *t, int d)
{
    t->n--;
    memmove(&t->label[d], &t->label[d + 1], (size_t)(t->n - d));
}

/* Axes of size 1 that go with a longer one elsewhere are left out: the product repeats them. */
static bool without_ones(const plan *p, term *t)
{
    int gone[FR_MAX_NDIM], n = 0, k = 0;
    for (int d = 0; d < t->n; d++)
        if (t->x->dims[d] == 1 && p->size[t->label[d]] != 1)
            gone[n++] = d;
        else
            t->label[k++] = t->label[d];
    t->n = k;
    return !n || become(t, fr_squeeze(t->x, gone, n));
}

/* A label that stands twice: the diagonal, which is the last axis. */
static bool diagonals(term *t)
{
    for (int i = 0; i < t->n; i++)
        for (int j = i + 1; j < t->n; j++)
            if (t->label[i] == t->label[j]) {
                uint8_t l = t->label[i];
                if (t->x->dims[i] != t->x->dims[j]) {
                    fr__fail(FR__E_VALUE, "einsum: a letter stands for axes of %lld and %lld",
                             (long long)t->x->dims[i], (long long)t->x->dims[j]);
                    return false;
                }
                if (!become(t, fr_diagonal(t->x, 0, i, j)))
                    return false;
                drop_label(t, j);
                drop_label(t, i);
                t->label[t->n++] = l;
                i = -1; /* from the beginning */
                break;
            }
    return true;
}

/* What no one else needs is summed. */
static bool sum_out(term *t, set keep, fr_dtype dtype)
{
    int axes[FR_MAX_NDIM], n = 0, k = 0;
    for (int d = 0; d < t->n; d++)
        if (!in(keep, t->label[d]))
            axes[n++] = d;
        else
            t->label[k++] = t->label[d];
    t->n = k;
    return !n || (become(t, fr_sum(t->x, &(fr_reduce_options){.axes = axes, .naxes = n})) &&
                  become(t, fr_astype(t->x, dtype)));
}

/* Axes in the order of these labels. */
static bool arrange(term *t, int n, const uint8_t *label)
{
    int axes[FR_MAX_NDIM];
    for (int i = 0; i < n; i++)
        for (int d = 0; d < t->n; d++)
            if (t->label[d] == label[i])
                axes[i] = d;
    memmove(t->label, label, (size_t)n);
    return become(t, fr_transpose(t->x, axes, n));
}

static set labels_of(const term *t)
{
    set s = {{0, 0}};
    for (int d = 0; d < t->n; d++)
        s = with(s, t->label[d]);
    return s;
}

/* a becomes the product: [common and kept, a's own, b's own], summed over what is common and not
 * kept. Both have only labels that are kept or common. */
static bool contract(term *a, term *b, set keep, fr_dtype dtype)
{
    set sa = labels_of(a), sb = labels_of(b), common = both(sa, sb);
    uint8_t batch[FR_MAX_NDIM], own[2][FR_MAX_NDIM], summed[FR_MAX_NDIM], order[FR_MAX_NDIM];
    int nbatch = 0, nk = 0, n[2] = {0, 0};
    for (int d = 0; d < a->n; d++) {
        uint8_t l = a->label[d];
        if (!in(common, l))
            own[0][n[0]++] = l;
        else if (in(keep, l))
            batch[nbatch++] = l;
        else
            summed[nk++] = l;
    }
    for (int d = 0; d < b->n; d++)
        if (!in(common, b->label[d]))
            own[1][n[1]++] = b->label[d];
    for (int side = 0; side < 2; side++) {
        memcpy(order, batch, (size_t)nbatch);
        memcpy(order + nbatch, own[side], (size_t)n[side]);
        memcpy(order + nbatch + n[side], summed, (size_t)nk);
        if (!arrange(side ? b : a, nbatch + n[side] + nk, order))
            return false;
    }
    fr_array *y = fr__product(a->x, b->x, nbatch, nk);
    if (!become(a, y) || !become(a, fr_astype(a->x, dtype)))
        return false;
    a->n = nbatch + n[0] + n[1];
    memcpy(a->label, batch, (size_t)nbatch);
    memcpy(a->label + nbatch, own[0], (size_t)n[0]);
    memcpy(a->label + nbatch + n[0], own[1], (size_t)n[1]);
    return true;
}

static set kept_of_terms(const plan *p, int i, int j)
{
    set keep = p->out.labels;
    for (int k = 0; k < p->n; k++)
        if (k != i && k != j)
            keep = either(keep, labels_of(&p->term[k]));
    return keep;
}

static bool run_step(plan *p, const int *step, fr_dtype dtype)
{
    term *a = &p->term[step[0]], *b = step[1] < 0 ? NULL : &p->term[step[1]];
    set keep = kept_of_terms(p, step[0], step[1]);
    if (!sum_out(a, b ? either(keep, labels_of(b)) : keep, dtype))
        return false;
    if (!b)
        return true;
    if (!sum_out(b, either(keep, labels_of(a)), dtype) || !contract(a, b, keep, dtype))
        return false;
    term product = *a;
    fr__discard(b->x);
    int k = 0;
    for (int i = 0; i < p->n; i++)
        if (i != step[0] && i != step[1])
            p->term[k++] = p->term[i];
    p->term[k++] = product;
    p->n = k;
    return true;
}

static fr_array *run(plan *p)
{
    fr_dtype dtype = (fr_dtype)p->term[0].x->dtype;
    for (int i = 1; i < p->n; i++)
        dtype = fr_promote(dtype, (fr_dtype)p->term[i].x->dtype);
    int ready = 0;
    bool good = true;
    for (; good && ready < p->n; ready += good) {
        term *t = &p->term[ready];
        t->x = fr_astype(t->x, dtype);
        good = t->x && diagonals(t) && without_ones(p, t);
        if (!good)
            fr__discard(t->x);
    }
    if (!good)
        p->n = ready;
    for (int s = 0; good && s < p->steps; s++)
        good = run_step(p, p->path[s], dtype);
    if (good)
        good = arrange(&p->term[0], p->out.n, p->out.label);
    for (int i = good ? 1 : 0; i < p->n; i++)
        fr__discard(p->term[i].x);
    return good ? p->term[0].x : NULL;
}

/* ---- the two functions ------------------------------------------------------------------ */

static int begin(plan *p, const char *subscripts, int n, fr_array *const *x)
{
    *p = (plan){.n = n};
    if (!fr__operands(n, x))
        return -1;
    if (n < 1)
        return fr__fail_int(FR__E_VALUE, "einsum: no operands");
    p->term = fr__malloc(sizeof *p->term * (size_t)n);
    p->path = p->term ? fr__malloc(sizeof *p->path * (size_t)n) : NULL;
    return !p->path || read_text(p, subscripts, n, x) || find_path(p) ? -1 : 0;
}

static void end(plan *p)
{
    fr__free(p->term);
    fr__free(p->path);
}

fr_array *fr_einsum(const char *subscripts, int n, fr_array *const *x)
{
    plan p;
    fr_array *y = begin(&p, subscripts, n, x) ? NULL : run(&p);
    end(&p);
    return y;
}

int fr_einsum_path(const char *subscripts, int n, fr_array *const *x, int (*path)[2],
                   fr_einsum_cost *cost)
{
    plan p;
    int steps = -1;
    if (!begin(&p, subscripts, n, x)) {
        steps = p.steps;
        memcpy(path, p.path, sizeof *path * (size_t)steps);
        if (cost)
            *cost = p.cost;
    }
    end(&p);
    return steps;
}
