/* scatter.c (for GPUs) - SCATTER: a copy of x [outer, n, inner] with updates [outer, k, inner] at indices
 *
 * needs   NAME
 * gives   copy: y = x; few: the first of the updates that have the same index does all of them, found by
 *         looking through all; keys: indices as what sort.c sorts; sorted: the same by their order;
 *         look: all of y at once, each warp looking through the indices, which are the same for all rows
 *
 * So an element meets its updates in their order, as on the host, and no two threads one element.
 */
#include "device/cuda/routines/threads.h"

#include "device/cuda/routines/args.h"
#include "native/element.h"

#define ENTRY(step) JOINED(NAME, step)

/* ---- what an update does ----------------------------------------------------------- */

static inline uint64_t load(const char *x, uint32_t size, int64_t at)
{
    switch (size) {
    case 1: return ((const uint8_t *)x)[at];
    case 2: return ((const uint16_t *)x)[at];
    case 4: return ((const uint32_t *)x)[at];
    default: return ((const uint64_t *)x)[at];
    }
}

static inline void store(char *y, uint32_t size, int64_t at, uint64_t v)
{
    switch (size) {
    case 1: ((uint8_t *)y)[at] = (uint8_t)v; return;
    case 2: ((uint16_t *)y)[at] = (uint16_t)v; return;
    case 4: ((uint32_t *)y)[at] = (uint32_t)v; return;
    default: ((uint64_t *)y)[at] = v;
    }
}

static inline fr__complex complex_of(uint64_t v)
{
    return (fr__complex){fr__float32((uint32_t)v), fr__float32((uint32_t)(v >> 32))};
}
static inline uint64_t bits_of(fr__complex v)
{
    return (uint64_t)fr__bits32(v.im) << 32 | fr__bits32(v.re);
}
static inline fr__complex complex_div(fr__complex a, fr__complex b)
{
    double c = b.re, d = b.im, size = c * c + d * d;
    return (fr__complex){(float)((a.re * c + a.im * d) / size),
                         (float)((a.im * c - a.re * d) / size)};
}

#define FLOATING(T, FROM, TO)                                                                  \
    do {                                                                                       \
        T x = FROM(a), y = FROM(b);                                                            \
        switch (mode) {                                                                        \
        case FR__SCATTER_ADD: return TO(x + y);                                                \
        case FR__SCATTER_MUL: return TO(x * y);                                                \
        case FR__SCATTER_DIV: return TO(x / y);                                                \
        case FR__SCATTER_MIN: return x < y || x != x ? a : b;                                  \
        default: return x > y || x != x ? a : b;                                               \
        }                                                                                      \
    } while (0)
#define LOW32(v) fr__float32((uint32_t)(v))

static inline uint64_t of_signed(uint32_t mode, uint32_t size, uint64_t a, uint64_t b)
{
    uint32_t spare = 64 - 8 * size;
    int64_t x = (int64_t)(a << spare) >> spare, y = (int64_t)(b << spare) >> spare;
    switch (mode) {
    case FR__SCATTER_DIV: return y == -1 ? 0 - a : y ? (uint64_t)(x / y) : 0;
    case FR__SCATTER_MIN: return x < y ? a : b;
    default: return x > y ? a : b;
    }
}

static inline uint64_t of_bool(uint32_t mode, uint64_t a, uint64_t b)
{
    return mode == FR__SCATTER_ADD || mode == FR__SCATTER_MAX ? a | b : a & b;
}

static inline uint64_t combined(const fr__scatter_args *s, uint64_t a, uint64_t b)
{
    uint32_t mode = s->mode;
    if (mode == FR__SCATTER_SET)
        return b;
    if (s->is_bool)
        return of_bool(mode, a, b);
    if (s->form == FR__FORM_F32)
        FLOATING(float, LOW32, fr__bits32);
    if (s->form == FR__FORM_F64)
        FLOATING(double, fr__float64, fr__bits64);
    if (s->form == FR__FORM_C64) {
        fr__complex x = complex_of(a), y = complex_of(b);
        return bits_of(mode == FR__SCATTER_ADD   ? fr__complex_add(x, y)
                       : mode == FR__SCATTER_MUL ? fr__complex_mul(x, y)
                                                 : complex_div(x, y));
    }
    if (mode == FR__SCATTER_ADD)
        return a + b;
    if (mode == FR__SCATTER_MUL)
        return a * b;
    if (s->form >= FR__FORM_I8)
        return of_signed(mode, s->size, a, b);
    switch (mode) {
    case FR__SCATTER_DIV: return b ? a / b : 0;
    case FR__SCATTER_MIN: return a < b ? a : b;
    default: return a > b ? a : b;
    }
}

/* ---- where it goes ------------------------------------------------------------------- */

/* Of update p of a row of indices; n where there is none. */
static inline int64_t index_of(const fr__scatter_args *s, int64_t row, int64_t p)
{
    int64_t e = row / s->inner * s->at_outer + row % s->inner * s->at_inner + p * s->at_step;
    int64_t i = s->wide ? ((const int64_t *)s->at)[e] : ((const int32_t *)s->at)[e];
    i += i < 0 ? s->n : 0;
    return i < 0 || i >= s->n ? s->n : i;
}

typedef struct {
    int64_t to, from; /* elements: of y's [outer, 0, inner], of the updates' */
} column;

static inline column column_of(const fr__scatter_args *s, int64_t outer, int64_t inner)
{
    return (column){outer * s->n * s->inner + inner, outer * s->u_outer + inner * s->u_inner};
}

KERNEL(ENTRY(copy), fr__scatter_args)
{
    for (int64_t i = grid_thread(); i < s.outer * s.n * s.inner; i += grid_threads()) {
        int64_t at = i / s.inner / s.n * s.x_outer + i / s.inner % s.n * s.x_step +
                     i % s.inner * s.x_inner;
        store(s.y, s.size, i, load(s.x, s.size, at));
    }
}

KERNEL(ENTRY(few), fr__scatter_args)
{
    for (int64_t u = grid_thread(); u < s.outer * s.k * s.inner; u += grid_threads()) {
        int64_t inner = u % s.inner, p = u / s.inner % s.k, outer = u / s.inner / s.k;
        int64_t row = s.rows > 1 ? outer * s.inner + inner : 0, i = index_of(&s, row, p);
        bool first = i < s.n;
        for (int64_t q = 0; q < p && first; q++)
            first = index_of(&s, row, q) != i;
        if (!first)
            continue;
        column c = column_of(&s, outer, inner);
        uint64_t v = load(s.y, s.size, c.to + i * s.inner);
        for (int64_t q = p; q < s.k; q++)
            if (index_of(&s, row, q) == i)
                v = combined(&s, v, load(s.updates, s.size, c.from + q * s.u_step));
        store(s.y, s.size, c.to + i * s.inner, v);
    }
}

enum { AHEAD = 8 };

/* The updates of these places of 32, two at a time. */
static inline uint64_t look_at(const fr__scatter_args *s, uint64_t v, int64_t from,
                               uint32_t places)
{
    while (places) {
        int64_t p = __builtin_ctz(places);
        places &= places - 1;
        int64_t q = places ? __builtin_ctz(places) : p;
        uint64_t x = load(s->updates, s->size, from + p * s->u_step);
        uint64_t y = load(s->updates, s->size, from + q * s->u_step);
        v = combined(s, v, x);
        if (places)
            v = combined(s, v, y);
        places &= places - 1;
    }
    return v;
}

/* A warp has up to 32 neighbours of y [outer, n, inner] that differ in the last. */
KERNEL(ENTRY(look), fr__scatter_args)
{
    int64_t across = (s.inner + WARP - 1) / WARP, warps = s.outer * s.n * across;
    uint32_t lane = thread_index() % WARP;
    for (int64_t w = grid_thread() / WARP; w < warps; w += grid_threads() / WARP) {
        int64_t inner = w % across * WARP + lane, i = w / across % s.n,
                outer = w / across / s.n;
        bool mine = inner < s.inner;
        column c = column_of(&s, outer, mine ? inner : 0);
        int64_t from = outer * s.x_outer + i * s.x_step + inner * s.x_inner;
        uint64_t v = mine ? load(s.x, s.size, from) : 0;
        for (int64_t first = 0; first < s.k; first += AHEAD * WARP) {
            bool here[AHEAD]; /* all are asked for before the first is needed */
            UNROLLED
            for (int a = 0; a < AHEAD; a++) {
                int64_t p = first + a * WARP + lane;
                here[a] = p < s.k && index_of(&s, 0, p) == i;
            }
            UNROLLED
            for (int a = 0; a < AHEAD; a++) {
                uint32_t like = lanes_like(here[a]);
                v = look_at(&s, v, c.from + (first + a * WARP) * s.u_step,
                            here[a] ? like : ~like);
            }
        }
        if (mine)
            store(s.y, s.size, c.to + i * s.inner, v);
    }
}

KERNEL(ENTRY(keys), fr__scatter_args)
{
    for (int64_t i = grid_thread(); i < s.rows * s.k; i += grid_threads())
        s.keys[i] = (uint32_t)index_of(&s, i / s.k, i % s.k);
}

KERNEL(ENTRY(sorted), fr__scatter_args)
{
    for (int64_t u = grid_thread(); u < s.outer * s.k * s.inner; u += grid_threads()) {
        int64_t inner = u % s.inner, p = u / s.inner % s.k, outer = u / s.inner / s.k;
        int64_t row = s.rows > 1 ? outer * s.inner + inner : 0;
        const uint32_t *keys = s.keys + row * s.k, *order = s.order + row * s.k;
        uint32_t i = keys[order[p]];
        if (i >= s.n || (p && keys[order[p - 1]] == i))
            continue;
        column c = column_of(&s, outer, inner);
        uint64_t v = load(s.y, s.size, c.to + i * s.inner);
        do
            v = combined(&s, v, load(s.updates, s.size, c.from + order[p] * s.u_step));
        while (++p < s.k && keys[order[p]] == i);
        store(s.y, s.size, c.to + i * s.inner, v);
    }
}
