/* places.c - where in the user's program arrays were made; kept only while somebody looks for it
 *
 * A node with a place has a flag, so that whoever frees it takes the place out.
 */
#include "core/places.h"

#include <pthread.h>

#include "base/fork.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_PLACES);
}

static fr__map table; /* node's address -> entry */

typedef struct entry {
    fr_array *node;
    char text[];
} entry;

static uint64_t hash_of(const fr_array *x) { return fr__hash_mix((uintptr_t)x, 11); }

void fr__place_forget(fr_array *x)
{
    pthread_mutex_lock(&lock);
    entry *e = fr__map_remove(&table, &x, sizeof x, hash_of(x));
    pthread_mutex_unlock(&lock);
    fr__free(e);
}

/* False: it has one, or there is no memory (then it goes without). */
static bool put(fr_array *x, const char *text)
{
    if (fr__flag(x, FR__PLACED))
        return false;
    size_t n = strlen(text) + 1;
    entry *e = fr__malloc(sizeof *e + n);
    if (!e)
        return false;
    e->node = x;
    memcpy(e->text, text, n);
    pthread_mutex_lock(&lock);
    bool good = !fr__map_get(&table, &x, sizeof x, hash_of(x)) &&
                !fr__map_put(&table, &e->node, sizeof x, hash_of(x), e);
    if (good)
        atomic_fetch_or(&x->flags, FR__PLACED);
    pthread_mutex_unlock(&lock);
    if (!good)
        fr__free(e);
    return good;
}

void fr__place_note(fr_array *x, const char *text)
{
    FR__VEC(fr_array *) stack = {0};
    if (!fr__vec_push(&stack, fr__ref(x)))
        while (stack.n) {
            fr_array *y = stack.at[--stack.n], *in[256];
            if (!fr__done(y) && y->op != FR__CORE_PLACEHOLDER && put(y, text) &&
                fr__pin_inputs(y, in))
                for (int i = 0; i < y->nin; i++)
                    if (fr__vec_push(&stack, in[i]))
                        fr__unref(in[i]);
            fr__unref(y);
        }
    else
        fr__unref(x);
    fr__vec_free(&stack);
}

bool fr__place_of(fr_array *x, char *to, size_t room)
{
    if (!fr__flag(x, FR__PLACED))
        return false;
    pthread_mutex_lock(&lock);
    const entry *e = fr__map_get(&table, &x, sizeof x, hash_of(x));
    size_t n = e ? strlen(e->text) : 0;
    if (e) {
        n = n < room ? n : room - 1;
        memcpy(to, e->text, n);
        to[n] = 0;
    }
    pthread_mutex_unlock(&lock);
    return e != NULL;
}
