/* random.c - counter-based random numbers: Threefry-2x32, 20 rounds (Salmon et al. 2011)
 *
 * The bits of element i are a function of the key and i alone, made inside the kernel that uses
 * them. Keys that are known are split here at once; a key that is a placeholder, in the graph.
 */
#include <pthread.h>

#include "base/fork.h"
#include "core/scope.h"
#include "op/op.h"
#include "op/threefry.h"

static pthread_mutex_t sequence_lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&sequence_lock, FR__RANK_RANDOM);
}

static uint32_t sequence[2] = {0, 0}; /* the process's key: that of seed 0 */

static fr_array *key_of(const uint32_t words[2])
{
    return fr_from_data(words, FR_UINT32, (int64_t[]){2}, 1);
}

fr_array *fr_random_key(uint64_t seed)
{
    return key_of((uint32_t[]){(uint32_t)(seed >> 32), (uint32_t)seed});
}

int fr_random_seed(uint64_t seed)
{
    if (fr__failed())
        return -1;
    pthread_mutex_lock(&sequence_lock);
    sequence[0] = (uint32_t)(seed >> 32);
    sequence[1] = (uint32_t)seed;
    pthread_mutex_unlock(&sequence_lock);
    return 0;
}

/* The next key of the process: the state splits in two, one half goes on, one is given out. */
static fr_array *next_key(void)
{
    uint32_t bits[4];
    pthread_mutex_lock(&sequence_lock);
    for (uint32_t i = 0; i < 4; i++)
        bits[i] = fr__random_word(sequence, i, 4);
    sequence[0] = bits[0];
    sequence[1] = bits[1];
    pthread_mutex_unlock(&sequence_lock);
    return key_of(bits + 2);
}

/* The caller's key checked, or the next; a reference either way (NULL: error). */
static fr_array *key_or_next(const char *op, fr_array *key)
{
    if (fr__failed())
        return NULL;
    char text[FR__SHAPE_TEXT];
    if (!key) {
        key = next_key();
        if (key) {
            fr__ref(key);
            fr__discard(key);
        }
        return key;
    }
    if (key->dtype != FR_UINT32 || key->ndim != 1 || key->dims[0] != 2)
        return fr__fail(FR__E_VALUE, "%s: a key is uint32[2], not %s", op,
                        fr__shape_text(key, text));
    return fr__ref(key);
}

static fr_array *bits(const char *op, const int64_t *shape, int ndim, fr_array *key)
{
    fr_array *k = key_or_next(op, key);
    if (!k)
        return NULL;
    fr_array *x = fr__node(FR__OP_RANDOM_BITS, FR_UINT32, ndim, shape, 1, &k, 0);
    fr__unref(k);
    if (x && x->size > UINT32_MAX) {
        fr__discard(x);
        return fr__fail(FR__E_LIMIT, "%s: more than 2^32 numbers from one key; split it", op);
    }
    return x;
}

fr_array *fr_random_bits(const int64_t *shape, int ndim, fr_array *key)
{
    return bits("random_bits", shape, ndim, key);
}

fr_array *fr_random_split(fr_array *key, int n)
{
    if (n < 1)
        return fr__fail(FR__E_VALUE, "random_split: into %d keys", n);
    return bits("random_split", (int64_t[]){n, 2}, 2, key);
}

/* (bits >> shift) as dtype * scale + offset. */
static fr_array *fractions(const char *op, const int64_t *shape, int ndim, int dtype,
                           fr_array *key, int keep, int as, double scale, double offset)
{
    if (fr__failed())
        return NULL;
    if (dtype != FR_FLOAT16 && dtype != FR_BFLOAT16 && dtype != FR_FLOAT32 &&
        dtype != FR_FLOAT64)
        return fr__fail(FR__E_TYPE, "%s makes floats, not %s", op,
                        fr_dtype_name((fr_dtype)dtype));
    fr_array *b = bits(op, shape, ndim, key);
    fr_array *n = fr__number(32 - keep, FR_UINT32), *s = fr__number(scale, as);
    fr_array *top = (fr_shift_right)(b, n), *f = fr_astype(top, (fr_dtype)as);
    fr_array *y = (fr_mul)(f, s), *o = NULL, *z = y;
    if (offset != 0) {
        o = fr__number(offset, as);
        z = (fr_add)(y, o);
        fr__discard(y);
    }
    fr_array *made[] = {b, n, s, top, f, o};
    for (int i = 0; i < FR__COUNT(made); i++)
        if (made[i] != z)
            fr__discard(made[i]);
    return z;
}

fr_array *fr_random_uniform(const int64_t *shape, int ndim, fr_dtype dtype, fr_array *key)
{
    fr_array *u =
        fractions("random_uniform", shape, ndim, (int)dtype, key, 24, FR_FLOAT32, 0x1p-24, 0);
    fr_array *y = u ? fr_astype(u, dtype) : NULL;
    fr__discard(u);
    if (dtype == FR_FLOAT16 || dtype == FR_BFLOAT16) { /* what would round to 1 */
        fr_array *most = fr__number(dtype == FR_FLOAT16 ? 1 - 0x1p-11 : 1 - 0x1p-8, dtype);
        y = fr__then(y, (fr_minimum)(y, most));
        fr__discard(most);
    }
    return y;
}

/* sqrt(2) erfinv(u) with u odd multiples of 2^-24 in (-1, 1): never infinite, exact symmetry. */
static fr_array *complex_normal(const int64_t *shape, int ndim, fr_array *key)
{
    int64_t pairs[FR_MAX_NDIM];
    if (ndim < 0 || ndim >= FR_MAX_NDIM)
        return fr__fail(FR__E_LIMIT, "random_normal: %d dimensions of complex numbers", ndim);
    for (int d = 0; d < ndim; d++)
        pairs[d] = shape[d];
    pairs[ndim] = 2;
    fr_array *y = fr_random_normal(pairs, ndim + 1, FR_FLOAT32, key);
    fr_array *half = fr__number(0.70710678118654752, FR_FLOAT32);
    y = y ? fr__then(y, (fr_mul)(y, half)) : NULL;
    fr__discard(half);
    y = y ? fr__then(y, fr_view_as(y, FR_COMPLEX64)) : NULL;
    return y ? fr__then(y, fr_reshape(y, shape, ndim)) : NULL;
}

fr_array *fr_random_normal(const int64_t *shape, int ndim, fr_dtype dtype, fr_array *key)
{
    if (dtype == FR_COMPLEX64)
        return complex_normal(shape, ndim, key);
    fr_array *u = fractions("random_normal", shape, ndim, (int)dtype, key, 23, FR_FLOAT32,
                            0x1p-22, 0x1p-23 - 1);
    fr_array *e = u ? fr_erfinv(u) : NULL, *r = fr__number(1.4142135623730951, FR_FLOAT32);
    fr_array *n = (fr_mul)(e, r), *y = n ? fr_astype(n, dtype) : NULL;
    fr_array *made[] = {u, e, r, n};
    for (int i = 0; i < FR__COUNT(made); i++)
        fr__discard(made[i]);
    return y;
}
