/* scatter.c - SCATTER: a copy of x [outer, n, inner], with updates [outer, k, inner] at indices, [k] or
 * one for each update
 *
 * The result is cut into units: an outer index, a range of the middle axis, a piece of the inner one.
 * Who works on a unit copies x's part of it and then takes the updates that fall into it, in their
 * order; so an element meets its updates in the same order however many threads there are. With
 * many updates and several ranges the indices are first sorted by range, keeping their order:
 *
 *   count (indices of each range, in blocks) -> start (of each block's in each range) ->
 *   distribute (positions) -> apply
 *
 * Ranges that fit a cache make updates of a large array faster, too.
 */
#include "native/element.h"
#include "native/native.h"

enum {
    UNITS = 4,       /* for each thread */
    PIECE = 128,     /* bytes of the inner axis that are worth a unit of their own */
    SORTED = 1024,   /* so many indices are sorted by range; fewer are looked through by each */
    BLOCK = 1 << 14, /* of indices */
    ALONE = 1 << 15, /* elements written that are not worth being cut up */
    CACHED = 1 << 19,  /* bytes of a range that stay in a cache */
    MOST_RANGES = 256, /* streams of positions that are written at a time */
    AHEAD = 12,        /* updates that are fetched early */
};

typedef struct apply_job apply_job;
typedef void apply_fn(const apply_job *j);

typedef struct {
    int64_t outer, n, inner, k;
    int64_t ranges, each;  /* of the middle axis, and how long they are */
    int shift;             /* each is 2 to the shift where there are several */
    int64_t pieces, piece; /* of the inner axis */
    int64_t blocks;        /* of indices to sort; 0: they aren't */
    apply_fn *apply;
} scatter;

/* The updates at positions[0 .. count) (NULL: at 0 .. count) into one unit. */
struct apply_job {
    char *to; /* of element [o, 0, first of the piece] */
    const char *from;
    int64_t from_step, step, inner, row; /* in elements; row: of `to` */
    int64_t begin, end;                  /* of the middle axis: others are left out */
    int64_t n, count;
    const char *indices;
    int64_t index_step, index_inner; /* elements: to the next update's, along the inner axis */
    bool wide;
    const uint32_t *positions;
};

static inline int64_t index_of(const apply_job *j, int64_t e)
{
    int64_t i = j->wide ? ((const int64_t *)j->indices)[e] : ((const int32_t *)j->indices)[e];
    return i < 0 ? i + j->n : i;
}

static inline int64_t index_at(const apply_job *j, int64_t k)
{
    return index_of(j, k * j->index_step);
}

static inline int64_t position(const apply_job *j, int64_t p)
{
    return j->positions ? j->positions[p] : p;
}

/* Asks for what update p reads and writes, where that is not a stream. */
static inline void fetch(const apply_job *j, int64_t p, int size)
{
    if (p >= j->count)
        return;
    int64_t k = position(j, p), at = index_at(j, k);
    __builtin_prefetch(j->from + k * j->from_step * size);
    if (at >= j->begin && at < j->end)
        __builtin_prefetch(j->to + at * j->row * size, 1);
}

/* ---- what an update does: one function for each type and mode ---------------------------- */

#define COMBINE(T, to, from, ...)                                                              \
    do {                                                                                       \
        T a = (to), b = (from);                                                                \
        (void)a;                                                                               \
        (to) = __VA_ARGS__;                                                                    \
    } while (0)

/* One index for a row, or (each) one for an element. Sixteen at a time: a count that compilers
 * make vectors of. */
#define APPLY(name, T, ...)                                                                    \
    static void name##_row(T *restrict to, const T *restrict from, int64_t n, int64_t step)    \
    {                                                                                          \
        int64_t i = 0;                                                                         \
        for (; step == 1 && i + 16 <= n; i += 16)                                              \
            for (int l = 0; l < 16; l++)                                                       \
                COMBINE(T, to[i + l], from[i + l], __VA_ARGS__);                               \
        for (; i < n; i++)                                                                     \
            COMBINE(T, to[i], from[i * step], __VA_ARGS__);                                    \
    }                                                                                          \
    static void name(const apply_job *j)                                                       \
    {                                                                                          \
        for (int64_t p = 0; p < j->count; p++) {                                               \
            int64_t k = position(j, p), at = index_at(j, k);                                   \
            const T *from = (const T *)j->from + k * j->from_step;                             \
            T *to = (T *)j->to;                                                                \
            fetch(j, p + AHEAD, (int)sizeof(T));                                               \
            if (j->inner == 1 && at >= j->begin && at < j->end)                                \
                COMBINE(T, to[at * j->row], *from, __VA_ARGS__);                               \
            else if (!j->index_inner && at >= j->begin && at < j->end)                         \
                name##_row(to + at * j->row, from, j->inner, j->step);                         \
            for (int64_t i = 0; j->index_inner && i < j->inner; i++) {                         \
                at = index_of(j, k * j->index_step + i * j->index_inner);                      \
                if (at >= j->begin && at < j->end)                                             \
                    COMBINE(T, to[at * j->row + i], from[i * j->step], __VA_ARGS__);           \
            }                                                                                  \
        }                                                                                      \
    }

// clang-format off
APPLY(set_1, uint8_t, b)
APPLY(set_2, uint16_t, b)
APPLY(set_4, uint32_t, b)
APPLY(set_8, uint64_t, b)

#define UNSIGNED(bits)                                                                         \
    APPLY(add_##bits, uint##bits##_t, a + b)                                                   \
    APPLY(mul_##bits, uint##bits##_t, (uint64_t)a * (uint64_t)b)                               \
    APPLY(div_u##bits, uint##bits##_t, b ? a / b : 0)                                          \
    APPLY(min_u##bits, uint##bits##_t, a < b ? a : b)                                          \
    APPLY(max_u##bits, uint##bits##_t, a > b ? a : b)
#define SIGNED(bits) /* the least number by -1 wraps: it is its own negative */                \
    APPLY(div_i##bits, int##bits##_t,                                                          \
          b == -1 ? (int##bits##_t)(0 - (uint##bits##_t)a) : b ? a / b : 0)                    \
    APPLY(min_i##bits, int##bits##_t, a < b ? a : b)                                           \
    APPLY(max_i##bits, int##bits##_t, a > b ? a : b)
#define FLOATING(name, T)                                                                      \
    APPLY(add_##name, T, a + b)                                                                \
    APPLY(mul_##name, T, a * b)                                                                \
    APPLY(div_##name, T, a / b)                                                                \
    APPLY(min_##name, T, a < b || a != a ? a : b)                                              \
    APPLY(max_##name, T, a > b || a != a ? a : b)

UNSIGNED(8)
UNSIGNED(16)
UNSIGNED(32)
UNSIGNED(64)
SIGNED(8)
SIGNED(16)
SIGNED(32)
SIGNED(64)
FLOATING(f32, float)
FLOATING(f64, double)
APPLY(or_8, uint8_t, a | b)
APPLY(and_8, uint8_t, a & b)
// clang-format on

/* In double, where neither the products nor the square overflow. */
static inline fr__complex complex_div(fr__complex a, fr__complex b)
{
    double c = b.re, d = b.im, size = c * c + d * d;
    return (fr__complex){(float)((a.re * c + a.im * d) / size),
                         (float)((a.im * c - a.re * d) / size)};
}

// clang-format off
APPLY(add_c64, fr__complex, fr__complex_add(a, b))
APPLY(mul_c64, fr__complex, fr__complex_mul(a, b))
APPLY(div_c64, fr__complex, complex_div(a, b))
// clang-format on

static apply_fn *apply_of(int dtype, int mode)
{
    static apply_fn *const set[9] = {[1] = set_1, [2] = set_2, [4] = set_4, [8] = set_8};
    static apply_fn *const table[FR_DTYPE_COUNT][FR_SCATTER_MAX + 1] = {
        [FR_BOOL] = {NULL, or_8, and_8, NULL, and_8, or_8},
        [FR_UINT8] = {NULL, add_8, mul_8, div_u8, min_u8, max_u8},
        [FR_UINT16] = {NULL, add_16, mul_16, div_u16, min_u16, max_u16},
        [FR_UINT32] = {NULL, add_32, mul_32, div_u32, min_u32, max_u32},
        [FR_UINT64] = {NULL, add_64, mul_64, div_u64, min_u64, max_u64},
        [FR_INT8] = {NULL, add_8, mul_8, div_i8, min_i8, max_i8},
        [FR_INT16] = {NULL, add_16, mul_16, div_i16, min_i16, max_i16},
        [FR_INT32] = {NULL, add_32, mul_32, div_i32, min_i32, max_i32},
        [FR_INT64] = {NULL, add_64, mul_64, div_i64, min_i64, max_i64},
        [FR_FLOAT32] = {NULL, add_f32, mul_f32, div_f32, min_f32, max_f32},
        [FR_FLOAT64] = {NULL, add_f64, mul_f64, div_f64, min_f64, max_f64},
        [FR_COMPLEX64] = {NULL, add_c64, mul_c64, div_c64, NULL, NULL},
    };
    return mode == FR_SCATTER_SET ? set[fr__dsize(dtype)] : table[dtype][mode];
}

/* ---- the cut --------------------------------------------------------------------------------- */

static void cut_up(scatter *s, int size, int threads, bool along)
{
    int64_t want = threads == 1 ? 1 : UNITS * (int64_t)threads, have = s->outer;
    s->ranges = s->pieces = 1;
    s->each = s->n;
    s->piece = s->inner;
    if (s->outer * (s->n + s->k) * s->inner < ALONE)
        return;
    int64_t most = s->inner * size / PIECE;
    if (have < want && most > 1) {
        s->piece = fr__ceil_div(s->inner, fr__min64(most, fr__ceil_div(want, have)));
        s->piece = fr__ceil_div(s->piece, 32) * 32;
        s->pieces = fr__ceil_div(s->inner, s->piece);
        have *= s->pieces;
    }
    int64_t ranges = have < want ? fr__ceil_div(along ? threads : want, have) : 1;
    bool many = s->k > SORTED && s->k <= UINT32_MAX && !along;
    if (many && s->k > s->n / 16)
        ranges = fr__max64(ranges, s->n * s->piece * size / CACHED);
    ranges = fr__min64(ranges, MOST_RANGES);
    while (ranges > 1 && (int64_t)1 << s->shift < fr__ceil_div(s->n, ranges))
        s->shift++;
    s->each = ranges > 1 ? (int64_t)1 << s->shift : s->n;
    s->ranges = s->n ? fr__ceil_div(s->n, s->each) : 1;
    if (s->ranges > 1 && many)
        s->blocks = fr__ceil_div(s->k, BLOCK);
}

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    scatter *s = fr__arena_zalloc(arena, sizeof *s);
    if (!s)
        return -1;
    s->outer = c->out.shape[0];
    s->n = c->out.shape[1];
    s->inner = c->out.shape[2];
    s->k = c->in[2].shape[1];
    s->apply = apply_of(c->out.dtype, (int)c->par[0]);
    if (!s->apply)
        return fr__fail_int(FR__E_INTERNAL, "scatter: mode %d of %s", (int)c->par[0],
                            fr__dtypes[c->out.dtype].name);
    cut_up(s, fr__dsize(c->out.dtype), threads, c->in[1].ndim == 3);
    c->own = s;
    c->work = c->out.size + 4 * s->outer * s->k * s->inner;
    if (s->blocks) {
        c->temporary = sizeof(int64_t) * (size_t)(s->blocks * s->ranges + s->ranges + 1) +
                       sizeof(uint32_t) * (size_t)s->k;
        c->phase[c->phases].range = s->blocks;
        c->phase[c->phases++].grain = 1;
        c->phase[c->phases].range = 1;
        c->phase[c->phases++].grain = 1;
        c->phase[c->phases].range = s->blocks;
        c->phase[c->phases++].grain = 1;
    }
    c->phase[c->phases].range = s->outer * s->ranges * s->pieces;
    c->phase[c->phases++].grain = 1;
    return 0;
}

/* ---- indices sorted by range ----------------------------------------------------------------- */

typedef struct {
    int64_t *at;    /* [blocks][ranges]: how many; then where the next one goes */
    int64_t *start; /* [ranges + 1] */
    uint32_t *positions;
} sorting;

static sorting sorting_in(const scatter *s, char *block)
{
    int64_t *at = (int64_t *)block, *start = at + s->blocks * s->ranges;
    return (sorting){at, start, (uint32_t *)(start + s->ranges + 1)};
}

static apply_job indices_of(const fr__native_call *c, char *const *data)
{
    const scatter *s = c->own;
    const fr__native_array *at = &c->in[1];
    return (apply_job){.n = s->n,
                       .indices = data[1],
                       .index_step = at->strides[at->ndim == 3 ? 1 : 0],
                       .wide = at->dtype == FR_INT64};
}

static void count_or_distribute(const fr__native_call *c, char *const *data, int64_t begin,
                                int64_t end, bool distribute)
{
    const scatter *s = c->own;
    sorting t = sorting_in(s, data[4]);
    apply_job j = indices_of(c, data);
    for (int64_t b = begin; b < end; b++) {
        int64_t *at = t.at + b * s->ranges, last = fr__min64(s->k, (b + 1) * BLOCK);
        if (!distribute)
            memset(at, 0, sizeof *at * (size_t)s->ranges);
        for (int64_t k = b * BLOCK; k < last; k++) {
            int64_t i = index_at(&j, k);
            if (i < 0 || i >= s->n)
                continue;
            int64_t r = i >> s->shift;
            if (distribute)
                t.positions[at[r]] = (uint32_t)k;
            at[r]++;
        }
    }
}

static void start_ranges(const fr__native_call *c, char *const *data)
{
    const scatter *s = c->own;
    sorting t = sorting_in(s, data[4]);
    int64_t sum = 0;
    for (int64_t r = 0; r < s->ranges; r++) {
        t.start[r] = sum;
        for (int64_t b = 0; b < s->blocks; b++) {
            int64_t *at = &t.at[b * s->ranges + r], count = *at;
            *at = sum;
            sum += count;
        }
    }
    t.start[s->ranges] = sum;
}

/* ---- a unit -------------------------------------------------------------------------------------- */

#define COPY_ROW(T)                                                                            \
    do {                                                                                       \
        T *d = (T *)to;                                                                        \
        const T *x = (const T *)from;                                                          \
        if (step == 0)                                                                         \
            for (int64_t i = 0; i < n; i++)                                                    \
                d[i] = *x;                                                                     \
        else                                                                                   \
            for (int64_t i = 0; i < n; i++)                                                    \
                d[i] = x[i * step];                                                            \
    } while (0)

static void copy_row(char *to, const char *from, int64_t n, int64_t step, int size)
{
    if (step == 1) {
        memcpy(to, from, (size_t)(n * size));
        return;
    }
    switch (size) {
    case 1: COPY_ROW(uint8_t); return;
    case 2: COPY_ROW(uint16_t); return;
    case 4: COPY_ROW(uint32_t); return;
    default: COPY_ROW(uint64_t); return;
    }
}

/* x's part of a unit: rows [begin, end), of `inner` elements from the one that `to` is. */
static void copy_unit(const apply_job *j, const char *x, const int64_t *strides, int size)
{
    int64_t rows = j->end - j->begin, step = strides[2], row = strides[1];
    char *to = j->to + j->begin * j->row * size;
    x += j->begin * row * size;
    if (j->inner == j->row && row == step * j->inner) { /* one after the other */
        copy_row(to, x, rows * j->inner, step, size);
    } else if (j->row == 1) {
        copy_row(to, x, rows, row, size);
    } else {
        for (int64_t r = 0; r < rows; r++)
            copy_row(to + r * j->row * size, x + r * row * size, j->inner, step, size);
    }
}

static void run_unit(const fr__native_call *c, char *const *data, int64_t unit)
{
    const scatter *s = c->own;
    int64_t piece = unit % s->pieces, range = unit / s->pieces % s->ranges,
            o = unit / s->pieces / s->ranges, first = piece * s->piece;
    int size = fr__dsize(c->out.dtype);
    const int64_t *x = c->in[0].strides, *u = c->in[2].strides;
    apply_job j = indices_of(c, data);
    j.begin = range * s->each;
    j.end = fr__min64(s->n, j.begin + s->each);
    j.inner = fr__min64(s->piece, s->inner - first);
    j.row = s->inner;
    if (c->in[1].ndim == 3) {
        const int64_t *at = c->in[1].strides;
        j.indices += (o * at[0] + first * at[2]) * (j.wide ? 8 : 4);
        j.index_inner = j.inner == 1 ? 0 : at[2];
    }
    j.to = data[3] + (o * s->n * s->inner + first) * size;
    copy_unit(&j, data[0] + (o * x[0] + first * x[2]) * size, x, size);
    j.from = data[2] + (o * u[0] + first * u[2]) * size;
    j.from_step = u[1];
    j.step = j.inner == 1 ? 1 : u[2];
    j.count = s->k;
    if (s->blocks) {
        sorting t = sorting_in(s, data[4]);
        j.positions = t.positions + t.start[range];
        j.count = t.start[range + 1] - t.start[range];
    }
    s->apply(&j);
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    (void)scratch;
    if (phase == c->phases - 1) {
        for (int64_t i = begin; i < end; i++)
            run_unit(c, data, i);
    } else if (phase == 1) {
        start_ranges(c, data);
    } else {
        count_or_distribute(c, data, begin, end, phase == 2);
    }
}

const fr__native fr__native_scatter = {"scatter", prepare, run, NULL};
