/* walk.c - the part of the graph between some arrays and what was made of them
 *
 * needs   roots (results) and sources (what they may depend on); which inputs to follow
 * gives   the nodes reached, inputs first, each with its inputs, and whether it depends on a source
 *
 * Depth first without recursion: a chain of any length is walked.
 */
#include "xform/walk.h"

int fr__walk_find(const fr__walk *w, const fr_array *x)
{
    const int32_t *number = fr__numbers_find(&w->numbers, x);
    return number ? *number : -1;
}

/* Takes over the references to x and to the inputs that were pushed from `first` on. */
static int add_node(fr__walk *w, fr_array *x, int first, bool source)
{
    fr__visit v = {.x = x, .first = first, .nin = (uint8_t)(w->in.n - first)};
    v.depends = source;
    for (int i = first; i < w->in.n; i++) {
        int n = w->number.at[i] == -1 ? -1 : fr__walk_find(w, w->in.at[i]);
        w->number.at[i] = n;
        v.depends |= n >= 0 && w->nodes.at[n].depends;
    }
    if (fr__numbers_put(&w->numbers, x, w->nodes.n) || fr__vec_push(&w->nodes, v)) {
        fr__unref(x);
        return -1;
    }
    return 0;
}

typedef struct {
    fr_array *x;
    int next, nin, first; /* inputs looked at; how many; where they stand in `in` below */
    uint64_t follow;
} frame;

typedef struct {
    FR__VEC(frame) stack;
    FR__VEC(fr_array *) in;
} path;

static int enter(path *p, fr_array *x, uint64_t follow)
{
    frame f = {.x = x, .first = p->in.n, .follow = follow};
    if (fr__vec_reserve(&p->in, x->nin + 1) || fr__vec_reserve(&p->stack, 1)) {
        fr__unref(x);
        return -1;
    }
    if (follow && fr__pin_history(x, p->in.at + p->in.n))
        p->in.n += f.nin = x->nin;
    p->stack.at[p->stack.n++] = f;
    return 0;
}

static int leave(fr__walk *w, path *p)
{
    frame f = p->stack.at[--p->stack.n];
    int first = w->in.n;
    if (fr__vec_reserve(&w->in, f.nin) || fr__vec_reserve(&w->number, f.nin)) {
        fr__unref(f.x); /* its inputs stay in p, which is freed */
        return -1;
    }
    for (int i = 0; i < f.nin; i++) {
        w->in.at[w->in.n++] = p->in.at[f.first + i];
        w->number.at[w->number.n++] = i < 64 && f.follow >> i & 1 ? 0 : -1;
    }
    p->in.n = f.first;
    return add_node(w, f.x, first, false);
}

static int visit(fr__walk *w, path *p, fr_array *root, fr__follow *follow)
{
    if (fr__walk_find(w, root) >= 0)
        return 0;
    if (enter(p, fr__ref(root), follow(root)))
        return -1;
    while (p->stack.n) {
        frame *f = &p->stack.at[p->stack.n - 1];
        if (f->next == f->nin) {
            if (leave(w, p))
                return -1;
            continue;
        }
        int i = f->next++;
        if (i >= 64 || !(f->follow >> i & 1))
            continue;
        fr_array *x = p->in.at[f->first + i];
        if (fr__walk_find(w, x) < 0 && enter(p, fr__ref(x), follow(x)))
            return -1;
    }
    return 0;
}

int fr__walk_graph(fr__walk *w, int nroots, fr_array *const *roots, int nsources,
                   fr_array *const *sources, fr__follow *follow)
{
    path p = {0};
    int status = 0;
    for (int i = 0; !status && i < nsources; i++)
        if (fr__walk_find(w, sources[i]) < 0)
            status = add_node(w, fr__ref(sources[i]), w->in.n, true);
    for (int i = 0; !status && i < nroots; i++)
        status = visit(w, &p, roots[i], follow);
    while (p.stack.n)
        fr__unref(p.stack.at[--p.stack.n].x);
    while (p.in.n)
        fr__unref(p.in.at[--p.in.n]);
    fr__vec_free(&p.stack);
    fr__vec_free(&p.in);
    return status;
}

void fr__walk_free(fr__walk *w)
{
    for (int i = 0; i < w->nodes.n; i++)
        fr__unref(w->nodes.at[i].x);
    for (int i = 0; i < w->in.n; i++)
        fr__unref(w->in.at[i]);
    fr__vec_free(&w->nodes);
    fr__vec_free(&w->in);
    fr__vec_free(&w->number);
    fr__numbers_free(&w->numbers);
    *w = (fr__walk){0};
}
