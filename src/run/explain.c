/* explain.c - what compiled functions did and why, for who asks
 *
 * needs   programs with their keys, plans with their traces
 * gives   texts and numbers; nothing here is needed to run
 */
#include "run/function.h"
#include "run/gpu.h"

#include <stdio.h>

/* ---- what a step says of itself ------------------------------------------------------------ */

static const char *ops_text(fr__plan *p, const fr__trace *t, const fr__group *group)
{
    enum { MOST = 400 };
    fr__text text = {0};
    for (int i = group->first; i >= 0; i = t->nodes.at[i].next) {
        if (text.n > MOST) {
            fr__text_add(&text, " ...");
            break;
        }
        if (text.n)
            fr__text_char(&text, ' ');
        fr__text_add(&text, fr__ops[t->nodes.at[i].op].name);
    }
    char *to = text.failed ? NULL : fr__arena_alloc(&p->arena, text.n + 1);
    if (to)
        memcpy(to, text.at ? text.at : "", text.n + 1);
    fr__text_free(&text);
    return to;
}

static size_t bytes_of(const fr__tnode *n)
{
    return (size_t)n->size * (size_t)fr__dsize(n->dtype);
}

/* What a step reads: leaves and what other steps stored, each once. */
typedef struct {
    size_t bytes;
    int n, group;
    int32_t seen[64];
} sources;

/* Node i through views and what is computed wherever it is wanted (few deep). */
static void add_source(sources *r, const fr__trace *t, int i)
{
    i = fr__below_views(t, i);
    const fr__tnode *x = &t->nodes.at[i];
    if (x->flags & FR__T_INLINE) {
        for (int j = 0; j < x->nin; j++)
            add_source(r, t, x->in[j]);
        return;
    }
    if (!fr__is_leaf(x) && (x->group < 0 || x->group == r->group))
        return;
    for (int k = 0; k < r->n; k++)
        if (r->seen[k] == i)
            return;
    r->bytes += bytes_of(x);
    if (r->n < FR__COUNT(r->seen))
        r->seen[r->n++] = i;
}

int fr__step_about(fr__plan *p, const fr__trace *t, int group, const int32_t *stored_of)
{
    fr__step *s = &p->steps[group];
    const fr__group *g = &t->groups.at[group];
    sources read = {.group = group};
    for (int i = g->first; i >= 0; i = t->nodes.at[i].next) {
        const fr__tnode *x = &t->nodes.at[i];
        bool part =
            x->op == FR__OP_PUT; /* written into memory that is there: not read, not whole */
        if (x->flags & FR__T_STORE && stored_of[i] >= 0)
            s->writes += bytes_of(part ? &t->nodes.at[x->in[0]] : x);
        for (int j = 0; j < (part ? 1 : x->nin); j++)
            add_source(&read, t, x->in[j]);
    }
    s->reads = read.bytes;
    s->why = fr__reason(t->nodes.at[g->root].why);
    if (!*s->why)
        s->why = fr__reason(FR__WHY_END);
    return (s->ops = ops_text(p, t, g)) ? 0 : -1;
}

/* "3 x add multiply, sqrt" */
static const char *joined_ops(fr__plan *p, const fr__step *s, int n)
{
    enum { MOST = 400 };
    fr__text text = {0};
    for (int i = 0, next; i < n && text.n < MOST; i = next) {
        for (next = i + 1; next < n && !strcmp(s[i].ops, s[next].ops); next++)
            ;
        if (i)
            fr__text_add(&text, ", ");
        if (next > i + 1)
            fr__text_f(&text, "%d x ", next - i);
        fr__text_add(&text, s[i].ops);
    }
    char *to = text.failed ? NULL : fr__arena_alloc(&p->arena, text.n + 1);
    if (to)
        memcpy(to, text.at ? text.at : "", text.n + 1);
    fr__text_free(&text);
    return to;
}

int fr__launch_about(fr__plan *p, int first)
{
    fr__step *s = &p->steps[first];
    const char *ops = joined_ops(p, s, s->together);
    if (!ops)
        return -1;
    s->ops = ops;
    for (int i = 1; i < s->together; i++) {
        s->reads += s[i].reads;
        s->writes += s[i].writes;
    }
    return 0;
}

int fr_program_kernels(const fr_program *p, int room, fr_kernel_info *to)
{
    fr__gpu_times_settle(p->plan);
    for (int i = 0, n = 0; i < p->plan->nsteps && n < room; i++) {
        fr__step *s = &p->plan->steps[i];
        int64_t timed = s->timed;
        if (s->strip || s->made || !s->together) /* told with the one before, or after */
            continue;
        to[n++] = (fr_kernel_info){
            .ops = s->ops,
            .why = s->why,
            .reads = s->reads,
            .writes = s->writes,
            .range = s->range,
            .runs = s->runs,
            .seconds = timed ? 1e-9 * (double)s->nanoseconds / (double)timed : 0,
            .machine_code = s->native || p->plan->place || atomic_load(&s->kernel->fn) != NULL,
        };
    }
    return p->plan->launches;
}

int fr_program_captured(const fr_program *p, size_t *bytes)
{
    *bytes = 0;
    for (int i = 0; i < p->ncaptured; i++)
        *bytes += fr_nbytes(p->captured[i]);
    return p->ncaptured;
}

fr_array *fr_program_constant(const fr_program *p, int i)
{
    return i >= 0 && i < p->ncaptured ? p->captured[i] : NULL;
}

/* ---- why a program was made ------------------------------------------------------------------ */

/* One input as the key has it; see input_words in compile.c. */
typedef struct seen_input {
    int dtype, ndim;
    bool weak, contiguous;
    const int64_t *shape, *strides;
} seen_input;

static const int64_t *read_input(const int64_t *w, seen_input *to)
{
    *to = (seen_input){.dtype = (int)(w[0] & 255), .ndim = (int)(w[0] >> 8 & 255)};
    to->weak = w[0] >> 16 & 1;
    to->contiguous = w[0] >> 17 & 1;
    to->shape = w + 1;
    to->strides = to->contiguous ? NULL : to->shape + to->ndim;
    return to->shape + to->ndim * (to->contiguous ? 1 : 2);
}

static void add_input(fr__text *to, const seen_input *x)
{
    if (x->weak)
        fr__text_add(to, "weak ");
    fr__text_add(to, fr__dtypes[x->dtype].name);
    fr__text_char(to, '[');
    for (int d = 0; d < x->ndim; d++) {
        if (d)
            fr__text_char(to, ',');
        fr__text_int(to, x->shape[d]);
    }
    fr__text_char(to, ']');
}

static void add_difference(fr__text *to, int i, const seen_input *is, const seen_input *was)
{
    fr__text_add(to, to->n ? "; input " : "input ");
    fr__text_int(to, i);
    fr__text_add(to, " is ");
    add_input(to, is);
    fr__text_add(to, ", was ");
    add_input(to, was);
    if (is->dtype != was->dtype || is->weak != was->weak) {
        fr__text_add(to, " (dtype)");
        return;
    }
    if (is->ndim != was->ndim) {
        fr__text_add(to, " (number of dimensions)");
        return;
    }
    for (int d = 0; d < is->ndim; d++)
        if (is->shape[d] != was->shape[d]) {
            fr__text_add(to, " (dimension ");
            fr__text_int(to, d);
            fr__text_char(to, ')');
            return;
        }
    fr__text_add(to, " (layout)");
}

static bool same_input(const seen_input *a, const seen_input *b)
{
    size_t bytes = sizeof(int64_t) * (size_t)a->ndim;
    return a->dtype == b->dtype && a->ndim == b->ndim && a->weak == b->weak &&
           a->contiguous == b->contiguous && !memcmp(a->shape, b->shape, bytes) &&
           (a->contiguous || !memcmp(a->strides, b->strides, bytes));
}

static void compare(fr__text *to, const char *now, const char *before)
{
    enum { TOLD = 3 };
    int64_t head[2], old[2];
    memcpy(head, now, sizeof head);
    memcpy(old, before, sizeof old);
    if (head[0] != old[0] || memcmp(now + sizeof head, before + sizeof old, (size_t)head[0])) {
        fr__text_add(to, "structure, constants or number of results differ");
        return;
    }
    if (head[1] != old[1]) { /* see call_word in compile.c */
        int n = (int32_t)head[1], was = (int32_t)old[1];
        if (n != was)
            fr__text_f(to, "%d inputs, was %d", n, was);
        else
            fr__text_add(to, (head[1] ^ old[1]) >> 48 ? "debug_nans was turned on or off"
                                                      : "another stream");
        return;
    }
    /* The words stand behind bytes of any number: copied where they can be read. */
    size_t skip = sizeof head + (size_t)head[0];
    const int64_t *w = (const int64_t *)(const void *)(now + skip),
                  *v = (const int64_t *)(const void *)(before + skip);
    int told = 0;
    for (int i = 0; i < (int32_t)head[1]; i++) {
        seen_input is, was;
        w = read_input(w, &is);
        v = read_input(v, &was);
        if (!same_input(&is, &was) && told++ < TOLD)
            add_difference(to, i, &is, &was);
    }
    if (told > TOLD)
        fr__text_f(to, "; and %d more", told - TOLD);
}

/* The key with its words on an 8-byte boundary. */
static char *aligned(const char *key, size_t bytes, char **block)
{
    int64_t head;
    memcpy(&head, key, sizeof head);
    size_t shift = (8 - (size_t)head % 8) % 8;
    *block = fr__malloc(bytes + 16);
    if (!*block)
        return NULL;
    memcpy(*block + shift, key, bytes);
    return *block + shift;
}

char *fr__why(fr_function *f, const char *key, size_t key_bytes)
{
    fr__text text = {0};
    fr_program *p = NULL;
    char *a_block = NULL, *b_block = NULL;
    if (!fr_function_programs(f, 1, &p)) {
        fr__text_add(&text, "first call");
    } else {
        char *a = aligned(key, key_bytes, &a_block),
             *b = aligned(p->key, p->key_bytes, &b_block);
        if (a && b)
            compare(&text, a, b);
    }
    fr__free(a_block);
    fr__free(b_block);
    fr_program_free(p);
    if (text.failed)
        fr__text_free(&text);
    return text.at;
}

const char *fr_program_why(const fr_program *p)
{
    return p->why ? p->why : p->base ? "other numbers" : "unknown";
}

/* ---- all of it as text -------------------------------------------------------------------------- */

char *fr_program_describe(const fr_program *p)
{
    fr__text to = {0};
    fr__text_f(&to, "program %016llx: %d inputs, %d outputs, %d captured arrays, %d kernels\n",
               (unsigned long long)p->plan->hash, p->n_in, p->n_out, p->ncaptured,
               p->plan->launches);
    for (int i = 0; i < p->plan->nsteps; i++) {
        const fr__step *s = &p->plan->steps[i];
        if (s->native) {
            fr__text_f(&to, "routine %d: %s\n", i, s->native->routine->name);
            continue;
        }
        fr__text_f(&to, "kernel %d: range %lld%s\n", i, (long long)s->range,
                   s->made       ? ", by parts that the routine after it packs"
                   : s->strip    ? ", with the routine before it, row by row"
                   : s->together ? ""
                                 : ", with the one before it");
        fr__text_add(&to, s->kernel->kernel->text);
    }
    if (!to.failed)
        return to.at;
    fr__text_free(&to);
    return fr__fail(FR__E_MEMORY, "no memory for the text of a program");
}

static void add_kernels(fr__text *to, const fr_program *p)
{
    enum { MOST = 64 };
    fr_kernel_info k[MOST];
    int n = fr_program_kernels(p, MOST, k);
    for (int i = 0; i < n && i < MOST; i++) {
        fr__text_f(to, "   kernel %d: %s\n     range %lld, reads %zu bytes, writes %zu", i,
                   k[i].ops, (long long)k[i].range, k[i].reads, k[i].writes);
        if (k[i].runs)
            fr__text_f(to, ", %lld runs of %.1f us, %s", (long long)k[i].runs,
                       1e6 * k[i].seconds, k[i].machine_code ? "machine code" : "interpreter");
        fr__text_f(to, "\n     a kernel of its own: %s\n", k[i].why);
    }
    if (n > MOST)
        fr__text_f(to, "   ... and %d kernels more\n", n - MOST);
}

/* Of programs that have other literals the one they are of has the donations. */
static void add_donations(fr__text *to, const fr_program *p)
{
    const fr_program *its = p->base ? p->base : p;
    int n = atomic_load(&((fr_program *)its)->offered) ? its->ndonations : 0;
    if (!n)
        fr__text_add(to, "   donated: nothing\n");
    for (int i = 0; i < n; i++)
        fr__text_f(to, "   donated: input %d to result %d, %zu bytes, in %lld runs\n",
                   its->donations[i].in, its->donations[i].out, its->donations[i].bytes,
                   (long long)its->donations[i].runs);
}

char *fr_explain(fr_function *f)
{
    enum { MOST = 256 };
    fr_program *p[MOST];
    fr__text to = {0};
    if (!f)
        return fr__fail(FR__E_VALUE, "explain: the function is NULL");
    int n = fr_function_programs(f, MOST, p);
    fr__text_f(&to, "%s: %d program%s\n", f->name, n, n == 1 ? "" : "s");
    for (int i = n - 1; i >= 0; i--) { /* in the order of their last use */
        fr__text_f(&to, "\n%d. traced: %s\n", n - i, fr_program_why(p[i]));
        for (int j = 0; j < p[i]->ncaptured; j++) {
            char shape[FR__SHAPE_TEXT];
            fr__text_f(&to, "   constant %s, %zu bytes\n",
                       fr__shape_text(p[i]->captured[j], shape), fr_nbytes(p[i]->captured[j]));
        }
        add_donations(&to, p[i]);
        add_kernels(&to, p[i]);
        fr_program_free(p[i]);
    }
    if (!to.failed)
        return to.at;
    fr__text_free(&to);
    return fr__fail(FR__E_MEMORY, "no memory to explain a function");
}
