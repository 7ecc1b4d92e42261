/* search.c - SEARCH: where values belong in sorted rows
 *
 * [rows, n] in order, [rows, m] values. Several searches go side by side, as each waits for memory; no
 * branch depends on what they find.
 */
#include "native/element.h"
#include "native/native.h"

#include "base/optimize.h"

enum { SIDE_BY_SIDE = 8 };

typedef struct {
    int64_t n, step, value_step;
    bool right;
} sequence;

typedef void find(const sequence *s, const char *sorted, const char *values, int64_t m,
                  uint32_t *to);

/* How many elements are less (right: not greater) than the value. */
#define FIND(dtype, name, K)                                                                   \
    static inline __attribute__((always_inline)) void some_##name##dtype(                      \
        const sequence *s, const K *a, const K *v, const int many, const bool right,           \
        uint32_t *to)                                                                          \
    {                                                                                          \
        int64_t n = s->n, step = s->step, at[SIDE_BY_SIDE];                                    \
        K key[SIDE_BY_SIDE];                                                                   \
        for (int k = 0; k < many; k++) {                                                       \
            at[k] = 0;                                                                         \
            key[k] = fr__key_##name(v[k * s->value_step], false);                              \
        }                                                                                      \
        for (; n > 1; n -= n / 2)                                                              \
            for (int k = 0; k < many; k++) {                                                   \
                K probe = fr__key_##name(a[(at[k] + n / 2 - 1) * step], false);                \
                at[k] += (right ? probe <= key[k] : probe < key[k]) ? n / 2 : 0;               \
            }                                                                                  \
        for (int k = 0; k < many; k++) {                                                       \
            K probe = fr__key_##name(a[at[k] * step], false);                                  \
            to[k] = (uint32_t)(at[k] + (right ? probe <= key[k] : probe < key[k]));            \
        }                                                                                      \
    }                                                                                          \
    static void find_##name##dtype(const sequence *s, const char *sorted, const char *values,  \
                                   int64_t m, uint32_t *to)                                    \
    {                                                                                          \
        const K *a = (const K *)sorted, *v = (const K *)values;                                \
        int64_t i = 0;                                                                         \
        for (; i + SIDE_BY_SIDE <= m; i += SIDE_BY_SIDE)                                       \
            if (s->right)                                                                      \
                some_##name##dtype(s, a, v + i * s->value_step, SIDE_BY_SIDE, true, to + i);   \
            else                                                                               \
                some_##name##dtype(s, a, v + i * s->value_step, SIDE_BY_SIDE, false, to + i);  \
        for (; i < m; i++)                                                                     \
            some_##name##dtype(s, a, v + i * s->value_step, 1, s->right, to + i);              \
    }
FR__KEYED(FIND)

static find *const table[FR_DTYPE_COUNT] = {
#define ROW(dtype, name, K) [dtype] = find_##name##dtype,
    FR__KEYED(ROW)
#undef ROW
};

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    sequence *s = fr__arena_zalloc(arena, sizeof *s);
    (void)threads;
    if (!s)
        return -1;
    *s =
        (sequence){c->in[0].shape[1], c->in[0].strides[1], c->in[1].strides[1], c->par[0] != 0};
    c->own = s;
    c->work = c->in[1].size * 32;
    c->phases = 1;
    c->phase[0].range = c->in[1].size;
    c->phase[0].grain = 1 << 12;
    return 0;
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    const sequence *s = c->own;
    const fr__native_array *a = &c->in[0], *v = &c->in[1];
    int64_t m = v->shape[1], size = fr__dtypes[a->dtype].size;
    uint32_t *to = (uint32_t *)data[2];
    (void)phase;
    (void)scratch;
    while (begin < end) {
        int64_t row = begin / m, at = begin % m, n = fr__min64(m - at, end - begin);
        table[a->dtype](s, data[0] + row * a->strides[0] * size,
                        data[1] + (row * v->strides[0] + at * v->strides[1]) * size, n,
                        to + begin);
        begin += n;
    }
}

const fr__native fr__native_search = {"search", prepare, run, NULL};
