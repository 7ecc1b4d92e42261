/* dot.c - graphs for Graphviz: as written, after fusion, as kernels */
#include "run/function.h"

static void quote(fr__text *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fr__text_char(to, '\\');
        fr__text_char(to, *text);
    }
}

static void add_node(fr__text *to, const fr__trace *t, int i)
{
    const fr__tnode *n = &t->nodes.at[i];
    char dims[FR__SHAPE_TEXT];
    fr__text_f(to, "  n%d [label=\"%s\\n%s[%s]\"%s];\n", i,
               n->op == FR__OP_LEAF || n->op == FR__OP_PLACEHOLDER ? "input"
                                                                   : fr__ops[n->op].name,
               fr__dtypes[n->dtype].name, fr__dims_text(n->shape, n->ndim, dims),
               n->flags & FR__T_OUTPUT ? ", peripheries=2"
               : fr__is_leaf(n)        ? ", shape=box"
                                       : "");
}

static void add_nodes(fr__text *to, const fr__trace *t)
{
    for (int i = 0; i < t->nodes.n; i++)
        if (t->passed < FR__PASS_FUSE || t->nodes.at[i].group < 0)
            add_node(to, t, i);
    for (int g = 0; t->passed >= FR__PASS_FUSE && g < t->groups.n; g++) {
        fr__text_f(to, "  subgraph cluster_%d {\n  label=\"kernel %d\";\n", g, g);
        for (int i = t->groups.at[g].first; i >= 0; i = t->nodes.at[i].next)
            add_node(to, t, i);
        fr__text_add(to, "  }\n");
    }
    for (int i = 0; i < t->nodes.n; i++)
        for (int j = 0; j < t->nodes.at[i].nin; j++)
            fr__text_f(to, "  n%d -> n%d;\n", t->nodes.at[i].in[j], i);
}

static bool touches(const fr__step *s, int stored)
{
    for (int j = 0; j < s->npatches; j++)
        if (!s->patches[j].is_leaf && s->patches[j].index == stored)
            return true;
    return false;
}

/* Launches, and the buffers between them. */
static void add_steps(fr__text *to, const fr__plan *p)
{
    for (int i = 0; i < p->nsteps; i++) {
        const fr__step *s = &p->steps[i];
        int at = fr__step_of_launch(p, i);
        if (at == i) {
            fr__text_f(to, "  k%d [shape=box, label=\"kernel %d\\n", i, i);
            quote(to, s->ops);
            fr__text_f(to, "\\nreads %zu, writes %zu bytes\"];\n", s->reads, s->writes);
        }
        for (int j = 0; j < s->npatches; j++) {
            const fr__patch *q = &s->patches[j];
            bool made = false; /* by this launch: it is the first that has it */
            if (!q->is_leaf) {
                made = true;
                for (int k = 0; made && k < i; k++)
                    for (int m = 0; m < p->steps[k].npatches; m++)
                        if (!p->steps[k].patches[m].is_leaf &&
                            p->steps[k].patches[m].index == q->index)
                            made = false;
            }
            if (q->is_leaf)
                fr__text_f(to, "  l%d [label=\"input %d\"];\n  l%d -> k%d;\n", q->index,
                           q->index, q->index, at);
            else if (made)
                fr__text_f(to,
                           "  b%d [shape=ellipse, label=\"%s\\n%zu bytes\"];\n  k%d -> b%d;\n",
                           q->index, p->stored[q->index].output >= 0 ? "result" : "temporary",
                           p->stored[q->index].bytes, at, q->index);
            else if (at == i || !touches(&p->steps[at], q->index))
                fr__text_f(to, "  b%d -> k%d;\n", q->index, at);
        }
    }
}

static char *finished(fr__text *to)
{
    fr__text_add(to, "}\n");
    if (!to->failed)
        return to->at;
    fr__text_free(to);
    return fr__fail(FR__E_MEMORY, "no memory for the text of a graph");
}

char *fr_dot(int n, fr_array *const *x, fr_dot_level level)
{
    fr__trace t = {0};
    fr__capture c = {.t = &t};
    fr__text to = {0};
    int status = fr__failed() ? -1 : 0;
    for (int i = 0; !status && i < n; i++)
        if (!x[i])
            status = fr__fail_int(FR__E_VALUE, "dot: array %d is NULL", i);
    if (!status && (unsigned)level > FR_DOT_KERNELS)
        status = fr__fail_int(FR__E_VALUE, "dot: no level %d", (int)level);
    if (!status)
        status = fr__capture_graph(&c, n, x, true);
    fr__text_add(&to, "digraph ferrule {\n");
    if (!status && level == FR_DOT_GRAPH)
        add_nodes(&to, &t);
    else if (!status) {
        fr__plan *p = fr__plan_make(&t, false);
        status = p ? 0 : -1;
        if (p && level == FR_DOT_TRACE)
            add_nodes(&to, &t);
        else if (p)
            add_steps(&to, p);
        fr__plan_release(p);
    }
    fr__capture_free(&c);
    fr__trace_free(&t);
    if (!status)
        return finished(&to);
    fr__text_free(&to);
    return NULL;
}

char *fr_program_dot(const fr_program *p)
{
    fr__text to = {0};
    fr__text_add(&to, "digraph ferrule {\n");
    add_steps(&to, p->plan);
    return finished(&to);
}
