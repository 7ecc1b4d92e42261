/* family.c - the programs of a shapeless function: one symbolic trace, a program for each sizes
 *
 * A family's key is a call's, with the order and equality of sizes in the place of sizes. One
 * without a symbolic trace says that calls like this are traced for each size.
 */
#include "core/place.h"
#include "run/function.h"

enum { FAMILIES = 256 };

void fr__family_release(fr__family *y)
{
    if (!y || atomic_fetch_sub(&y->refs, 1) != 1)
        return;
    fr__symbolic_free(y->symbolic);
    if (y->release_attached)
        y->release_attached(y->attached);
    fr__free(y->key);
    fr__free(y);
}

static int family_key(const void *key, size_t key_bytes, int n_in, fr_array *const *in,
                      const fr__sizes *sizes, fr__text *to)
{
    int64_t head[3] = {(int64_t)key_bytes, n_in, fr_stream_current().id};
    fr__text_addn(to, (const char *)head, sizeof head);
    fr__text_addn(to, key, key_bytes);
    for (int i = 0; i < n_in; i++) {
        uint8_t words[FR_MAX_NDIM + 3] = {in[i]->dtype, in[i]->ndim, fr__flag(in[i], FR__WEAK)};
        for (int d = 0; d < in[i]->ndim; d++)
            words[3 + d] = (uint8_t)fr__size_class(sizes, in[i]->dims[d]);
        fr__text_addn(to, (const char *)words, 3u + in[i]->ndim);
    }
    return to->failed ? fr__fail_int(FR__E_MEMORY, "no memory for the key of a call") : 0;
}

fr__family *fr__family_find(fr_function *f, const void *key, size_t key_bytes, int n_in,
                            fr_array *const *in, const fr__sizes *sizes)
{
    fr__text text = {0};
    fr__family *y = NULL;
    if (!family_key(key, key_bytes, n_in, in, sizes, &text)) {
        pthread_mutex_lock(&f->lock);
        y = fr__map_get(&f->families, text.at, text.n, fr__hash(text.at, text.n, 0));
        if (y)
            atomic_fetch_add(&y->refs, 1);
        pthread_mutex_unlock(&f->lock);
    }
    fr__text_free(&text);
    return y;
}

static fr__family *take_all(fr_function *f)
{
    fr__family *y = f->family;
    f->family = NULL;
    f->nfamilies = 0;
    fr__map_free(&f->families);
    return y;
}

static void release_all(fr__family *y)
{
    while (y) {
        fr__family *next = y->next;
        fr__family_release(y);
        y = next;
    }
}

void fr__families_clear(fr_function *f)
{
    pthread_mutex_lock(&f->lock);
    fr__family *all = take_all(f);
    pthread_mutex_unlock(&f->lock);
    release_all(all);
}

fr__family *fr__family_keep(fr_function *f, const void *key, size_t key_bytes, int n_in,
                            fr_array *const *in, const fr__sizes *sizes, fr__symbolic *symbolic)
{
    fr__family *y = fr__calloc(1, sizeof *y), *gone = NULL;
    fr__text text = {0};
    if (!y || family_key(key, key_bytes, n_in, in, sizes, &text)) {
        fr__symbolic_free(symbolic);
        fr__text_free(&text);
        fr__free(y);
        return NULL;
    }
    *y = (fr__family){.refs = 2, .key = text.at, .key_bytes = text.n, .symbolic = symbolic};
    y->hash = fr__hash(y->key, y->key_bytes, 0);
    pthread_mutex_lock(&f->lock);
    if (f->nfamilies >= FAMILIES) /* rare: all begin anew */
        gone = take_all(f);
    fr__map_remove(&f->families, y->key, y->key_bytes, y->hash); /* stays in the chain */
    int status = fr__map_put(&f->families, y->key, y->key_bytes, y->hash, y);
    if (!status) {
        y->next = f->family;
        f->family = y;
        f->nfamilies++;
    }
    pthread_mutex_unlock(&f->lock);
    release_all(gone);
    if (!status)
        return y;
    fr__family_release(y);
    fr__family_release(y);
    return NULL;
}

fr_program *fr__family_program(fr__family *y, const fr__sizes *sizes, int n_in, int n_out)
{
    fr__trace t = {0};
    const fr__symbolic *s = y->symbolic;
    fr_program *p = fr__calloc(1, sizeof *p);
    int captured = fr__symbolic_captured(s), status = -1;
    if (!p)
        return NULL;
    p->refs = 1;
    p->stream = fr_stream_current().id;
    p->n_in = n_in;
    p->n_out = n_out;
    p->captured = fr__calloc((size_t)captured + 1, sizeof *p->captured);
    if (p->captured && !fr__trace_on(&t, fr__place_of_stream(p->stream)))
        status = fr__symbolic_trace(s, sizes, &t, p->captured);
    while (p->ncaptured < captured && p->captured && p->captured[p->ncaptured])
        p->ncaptured++;
    if (!status && p->ncaptured == captured) {
        size_t bytes = sizeof *p->literals * (size_t)t.literals.n;
        p->source = fr__malloc(sizeof *p->source * (size_t)(t.leaves.n + 1));
        p->literals = fr__malloc(bytes + 1);
        if (p->source && p->literals) {
            fr__symbolic_leaves(s, p->source);
            memcpy(p->literals, t.literals.at ? t.literals.at : p->literals, bytes);
            p->plan = fr__plan_for(&t);
        }
    }
    fr__trace_free(&t);
    if (p->plan) {
        atomic_fetch_add(&y->refs, 1);
        p->family = y;
        return p;
    }
    fr_program_free(p);
    return NULL;
}
