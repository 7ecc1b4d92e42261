/* scan.c - SCAN: sums, products, extremes so far along the middle axis of [outer, n, inner]
 *
 * A row (inner 1) is cut into pieces of a fixed length. What a piece adds up to is combined piece by
 * piece to what comes before each; then pieces are scanned from there, several side by side, as the
 * steps of one wait for each other. One thread does that block by block, in cache; several make all
 * sums first. Both combine the same numbers in the same order.
 *
 * Columns (inner > 1) go side by side, row after row.
 */
#include "native/element.h"
#include "native/native.h"

#include <math.h>

#include "base/optimize.h"

enum {
    CHAINS = 8,
#ifdef FERRULE_HARD
    LONG_ROW = 1 << 10,
#else
    LONG_ROW = 1 << 16,
#endif
    MOST_COLUMNS = 256,
};

typedef struct {
    const char *x; /* the first element, in order of the scan */
    char *y;
    int64_t xn, yn; /* elements from one to the next */
    int64_t xrow, yrow;
    bool exclusive;
} place;

/* What a dtype and a kind of scan make of it. */
typedef struct {
    int piece; /* elements */
    /* Some rows, from beginning to end. */
    void (*rows)(const place *p, int64_t rows, int64_t n);
    /* Pieces [begin, end) of the row: what they add up to. */
    void (*totals)(const place *p, int64_t n, int64_t begin, int64_t end, char *totals);
    void (*prefix)(char *totals, int64_t pieces); /* to what comes before each piece */
    void (*apply)(const place *p, int64_t n, int64_t begin, int64_t end, const char *before);
    void (*columns)(const place *p, int64_t xcol, int64_t columns, int64_t n);
} loops;

/* The loops of one dtype and kind. Not put into each other: there are sixty of these, and a call is
 * for a piece or some. */
#define APART static __attribute__((noinline))

/* One chain after another: element i of chain k at x + k * xk + i * xn. */
#define SCAN(name, T, A, LOAD, STORE, OP, IDENTITY, PIECE)                                     \
    static inline __attribute__((always_inline)) void name##_chains(                           \
        const T *x, int64_t xk, int64_t xn, T *y, int64_t yk, int64_t yn, A *acc,              \
        const int chains, int64_t n, const bool exclusive)                                     \
    {                                                                                          \
        A a[CHAINS];                                                                           \
        _Pragma("GCC unroll 8") for (int k = 0; k < chains; k++) a[k] = acc[k];                \
        for (int64_t i = 0; i < n; i++) {                                                      \
            _Pragma("GCC unroll 8") for (int k = 0; k < chains; k++)                           \
            {                                                                                  \
                A v = LOAD(x[k * xk + i * xn]), before = a[k];                                 \
                a[k] = OP(before, v);                                                          \
                if (y)                                                                         \
                    y[k * yk + i * yn] = STORE((exclusive ? before : a[k]));                   \
            }                                                                                  \
        }                                                                                      \
        _Pragma("GCC unroll 8") for (int k = 0; k < chains; k++) acc[k] = a[k];                \
    }                                                                                          \
    APART void name##_scan(const place *p, const T *x, int64_t xk, T *y, int64_t yk, A *acc,   \
                           int chains, int64_t n)                                              \
    {                                                                                          \
        if (chains < CHAINS)                                                                   \
            for (int k = 0; k < chains; k++)                                                   \
                name##_chains(x + k * xk, 0, p->xn, y + k * yk, 0, p->yn, acc + k, 1, n,       \
                              p->exclusive);                                                   \
        else if (p->exclusive)                                                                 \
            name##_chains(x, xk, p->xn, y, yk, p->yn, acc, CHAINS, n, true);                   \
        else if (p->xn == 1 && p->yn == 1 && xk == PIECE && yk == PIECE)                       \
            name##_chains(x, PIECE, 1, y, PIECE, 1, acc, CHAINS, n, false);                    \
        else                                                                                   \
            name##_chains(x, xk, p->xn, y, yk, p->yn, acc, CHAINS, n, false);                  \
    }                                                                                          \
    APART void name##_total(const place *p, const T *x, A *to, int pieces)                     \
    {                                                                                          \
        for (int k = 0; k < pieces; k++)                                                       \
            to[k] = IDENTITY;                                                                  \
        if (pieces == CHAINS && p->xn == 1)                                                    \
            name##_chains(x, PIECE, 1, NULL, 0, 0, to, CHAINS, PIECE, false);                  \
        else                                                                                   \
            for (int k = 0; k < pieces; k++)                                                   \
                name##_chains(x + k * PIECE * p->xn, 0, p->xn, NULL, 0, 0, to + k, 1, PIECE,   \
                              false);                                                          \
    }                                                                                          \
    APART void name##_row(const place *p, const T *x, T *y, int64_t n)                         \
    {                                                                                          \
        A before = IDENTITY, acc[CHAINS], total[CHAINS];                                       \
        while (n > 0) {                                                                        \
            int64_t whole = n / PIECE;                                                         \
            int pieces = whole > CHAINS ? CHAINS : (int)whole;                                 \
            name##_total(p, x, total, pieces);                                                 \
            for (int k = 0; k < pieces; k++) {                                                 \
                acc[k] = before;                                                               \
                before = OP(before, total[k]);                                                 \
            }                                                                                  \
            name##_scan(p, x, PIECE * p->xn, y, PIECE * p->yn, acc, pieces, PIECE);            \
            int64_t done = pieces * (int64_t)PIECE;                                            \
            if (pieces < CHAINS) { /* the rest */                                              \
                acc[0] = before;                                                               \
                name##_scan(p, x + done * p->xn, 0, y + done * p->yn, 0, acc, 1, n - done);    \
                return;                                                                        \
            }                                                                                  \
            x += done * p->xn;                                                                 \
            y += done * p->yn;                                                                 \
            n -= done;                                                                         \
        }                                                                                      \
    }                                                                                          \
    static void name##_rows(const place *p, int64_t rows, int64_t n)                           \
    {                                                                                          \
        const T *x = (const T *)p->x;                                                          \
        T *y = (T *)p->y;                                                                      \
        for (int64_t r = 0; r < rows;) {                                                       \
            int side_by_side = n <= PIECE && rows - r >= CHAINS ? CHAINS : 1;                  \
            if (side_by_side == 1) {                                                           \
                name##_row(p, x, y, n);                                                        \
            } else {                                                                           \
                A acc[CHAINS];                                                                 \
                for (int k = 0; k < CHAINS; k++)                                               \
                    acc[k] = IDENTITY;                                                         \
                name##_scan(p, x, p->xrow, y, p->yrow, acc, CHAINS, n);                        \
            }                                                                                  \
            r += side_by_side;                                                                 \
            x += side_by_side * p->xrow;                                                       \
            y += side_by_side * p->yrow;                                                       \
        }                                                                                      \
    }                                                                                          \
    static void name##_totals(const place *p, int64_t n, int64_t begin, int64_t end,           \
                              char *totals)                                                    \
    {                                                                                          \
        A *to = (A *)totals;                                                                   \
        for (int64_t k = begin; k < end;) {                                                    \
            int64_t left = n - k * PIECE, whole = left / PIECE;                                \
            if (!whole)                                                                        \
                return; /* nothing comes after the last one */                                 \
            int pieces = (int)fr__min64(fr__min64(whole, CHAINS), end - k);                    \
            name##_total(p, (const T *)p->x + k * PIECE * p->xn, to + k, pieces);              \
            k += pieces;                                                                       \
        }                                                                                      \
    }                                                                                          \
    static void name##_prefix(char *totals, int64_t pieces)                                    \
    {                                                                                          \
        A *to = (A *)totals, before = IDENTITY;                                                \
        for (int64_t k = 0; k < pieces; k++) {                                                 \
            A total = to[k];                                                                   \
            to[k] = before;                                                                    \
            if (k + 1 < pieces)                                                                \
                before = OP(before, total);                                                    \
        }                                                                                      \
    }                                                                                          \
    static void name##_apply(const place *p, int64_t n, int64_t begin, int64_t end,            \
                             const char *before)                                               \
    {                                                                                          \
        for (int64_t k = begin; k < end;) {                                                    \
            const T *x = (const T *)p->x + k * PIECE * p->xn;                                  \
            T *y = (T *)p->y + k * PIECE * p->yn;                                              \
            int64_t left = n - k * PIECE, whole = left / PIECE;                                \
            int pieces = (int)fr__min64(fr__min64(whole, CHAINS), end - k);                    \
            A acc[CHAINS];                                                                     \
            pieces += !pieces;                                                                 \
            memcpy(acc, before + k * (int64_t)sizeof(A), sizeof(A) * (size_t)pieces);          \
            name##_scan(p, x, PIECE * p->xn, y, PIECE * p->yn, acc, pieces,                    \
                        fr__min64(left, PIECE));                                               \
            k += pieces;                                                                       \
        }                                                                                      \
    }                                                                                          \
    static inline __attribute__((always_inline)) void name##_across(                           \
        const T *x, int64_t xn, int64_t xcol, T *y, int64_t yn, int64_t columns, int64_t n,    \
        const bool exclusive)                                                                  \
    {                                                                                          \
        A acc[MOST_COLUMNS];                                                                   \
        for (int64_t j = 0; j < columns; j++)                                                  \
            acc[j] = IDENTITY;                                                                 \
        for (int64_t i = 0; i < n; i++, x += xn, y += yn)                                      \
            for (int64_t j = 0; j < columns; j++) {                                            \
                A v = LOAD(x[j * xcol]), before = acc[j];                                      \
                acc[j] = OP(before, v);                                                        \
                y[j] = STORE((exclusive ? before : acc[j]));                                   \
            }                                                                                  \
    }                                                                                          \
    static void name##_columns(const place *p, int64_t xcol, int64_t columns, int64_t n)       \
    {                                                                                          \
        if (p->exclusive)                                                                      \
            name##_across((const T *)p->x, p->xn, xcol, (T *)p->y, p->yn, columns, n, true);   \
        else if (xcol == 1)                                                                    \
            name##_across((const T *)p->x, p->xn, 1, (T *)p->y, p->yn, columns, n, false);     \
        else                                                                                   \
            name##_across((const T *)p->x, p->xn, xcol, (T *)p->y, p->yn, columns, n, false);  \
    }                                                                                          \
    static const loops name = {PIECE,         name##_rows,  name##_totals,                     \
                               name##_prefix, name##_apply, name##_columns};

#define AS_IS(v) (v)
#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define ADD8(a, b) ((uint8_t)((a) + (b)))
#define MUL8(a, b) ((uint8_t)((a) * (b)))
#define ADD16(a, b) ((uint16_t)((a) + (b)))
#define MUL16(a, b) ((uint16_t)((uint32_t)(a) * (b)))
#define MAX(a, b) ((b) > (a) ? (b) : (a))
#define MIN(a, b) ((b) < (a) ? (b) : (a))
/* A NaN stays: the first operand is what came before. */
#define FMAX(a, b) ((a) >= (b) || (a) != (a) ? (a) : (b))
#define FMIN(a, b) ((a) <= (b) || (a) != (a) ? (a) : (b))

/* By the real, then by the imaginary parts; as of floats a NaN stays. */
static inline bool complex_less(fr__complex a, fr__complex b)
{
    return a.re < b.re || (a.re == b.re && a.im < b.im);
}
static inline bool complex_nan(fr__complex a) { return a.re != a.re || a.im != a.im; }
static inline fr__complex complex_max(fr__complex a, fr__complex b)
{
    return complex_nan(a) || (!complex_nan(b) && !complex_less(a, b)) ? a : b;
}
static inline fr__complex complex_min(fr__complex a, fr__complex b)
{
    return complex_nan(a) || (!complex_nan(b) && !complex_less(b, a)) ? a : b;
}

/* log(e^a + e^b) */
APART float log_add_f(float a, float b)
{
    float high = FMAX(a, b), low = a >= b ? b : a;
    return fabsf(high) == HUGE_VALF || high != high || low != low
               ? low != low ? low : high
               : high + log1pf(expf(low - high));
}
APART double log_add_d(double a, double b)
{
    double high = FMAX(a, b), low = a >= b ? b : a;
    return fabs(high) == HUGE_VAL || high != high || low != low ? low != low ? low : high
                                                                : high + log1p(exp(low - high));
}
/* With the larger real part in front: e^(b - a) can't overflow. */
APART fr__complex log_add_c(fr__complex a, fr__complex b)
{
    fr__complex high = a.re >= b.re || a.re != a.re ? a : b, low = a.re >= b.re ? b : a;
    if (complex_nan(a) || complex_nan(b))
        return complex_nan(a) ? a : b;
    if (fabsf(high.re) == HUGE_VALF || low.re == -HUGE_VALF)
        return high;
    float size = expf(low.re - high.re), angle = low.im - high.im;
    float re = size * cosf(angle), im = size * sinf(angle);
    return (fr__complex){high.re + 0.5F * log1pf(2 * re + size * size),
                         high.im + atan2f(im, 1 + re)};
}

enum { SHORT_PIECE = 256, LONG_PIECE = 4096 };

// clang-format off
/* One kind of scan for all unsigned, all signed integers, all floats. */
#define UNSIGNED(kind, OP8, OP16, OP, ...)                                                     \
    WHOLE(kind, u, uint, OP8, OP16, OP, __VA_ARGS__)
#define SIGNED(kind, OP, ...) WHOLE(kind, i, int, OP, OP, OP, __VA_ARGS__)
#define WHOLE(kind, sign, type, OP8, OP16, OP, of8, of16, of32, of64)                          \
    SCAN(kind##_##sign##8, type##8_t, type##8_t, AS_IS, AS_IS, OP8, of8, SHORT_PIECE)          \
    SCAN(kind##_##sign##16, type##16_t, type##16_t, AS_IS, AS_IS, OP16, of16, SHORT_PIECE)     \
    SCAN(kind##_##sign##32, type##32_t, type##32_t, AS_IS, AS_IS, OP, of32, SHORT_PIECE)       \
    SCAN(kind##_##sign##64, type##64_t, type##64_t, AS_IS, AS_IS, OP, of64, SHORT_PIECE)
#define FLOATS(kind, OP_F, OP_D, OP_C, of32, of64, re, im, PIECE)                              \
    SCAN(kind##_f16, uint16_t, float, fr__from_f16, fr__to_f16, OP_F, of32, PIECE)             \
    SCAN(kind##_bf16, uint16_t, float, fr__from_bf16, fr__to_bf16, OP_F, of32, PIECE)          \
    SCAN(kind##_f32, float, float, AS_IS, AS_IS, OP_F, of32, PIECE)                            \
    SCAN(kind##_f64, double, double, AS_IS, AS_IS, OP_D, of64, PIECE)                          \
    SCAN(kind##_c64, fr__complex, fr__complex, AS_IS, AS_IS, OP_C, ((fr__complex){re, im}), PIECE)

UNSIGNED(sum, ADD8, ADD16, ADD, 0, 0, 0, 0)
UNSIGNED(prod, MUL8, MUL16, MUL, 1, 1, 1, 1)
UNSIGNED(max, MAX, MAX, MAX, 0, 0, 0, 0)
UNSIGNED(min, MIN, MIN, MIN, UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX)
SIGNED(max, MAX, INT8_MIN, INT16_MIN, INT32_MIN, INT64_MIN)
SIGNED(min, MIN, INT8_MAX, INT16_MAX, INT32_MAX, INT64_MAX)
SCAN(min_bool, uint8_t, uint8_t, AS_IS, AS_IS, MIN, 1, SHORT_PIECE)
FLOATS(sum, ADD, ADD, fr__complex_add, 0, 0, 0, 0, SHORT_PIECE)
FLOATS(prod, MUL, MUL, fr__complex_mul, 1, 1, 1, 0, SHORT_PIECE)
FLOATS(max, FMAX, FMAX, complex_max, -HUGE_VALF, -HUGE_VAL, -HUGE_VALF, -HUGE_VALF, SHORT_PIECE)
FLOATS(min, FMIN, FMIN, complex_min, HUGE_VALF, HUGE_VAL, HUGE_VALF, HUGE_VALF, SHORT_PIECE)
FLOATS(lse, log_add_f, log_add_d, log_add_c, -HUGE_VALF, -HUGE_VAL, -HUGE_VALF, 0, LONG_PIECE)

/* Sums and products of signed integers have the bits of unsigned ones. */
#define ROW_WHOLE(kind, sign)                                                                  \
    [FR_UINT8] = &kind##_u8, [FR_UINT16] = &kind##_u16, [FR_UINT32] = &kind##_u32,             \
    [FR_UINT64] = &kind##_u64, [FR_INT8] = &kind##_##sign##8, [FR_INT16] = &kind##_##sign##16, \
    [FR_INT32] = &kind##_##sign##32, [FR_INT64] = &kind##_##sign##64
#define ROW_FLOATS(kind)                                                                       \
    [FR_FLOAT16] = &kind##_f16, [FR_BFLOAT16] = &kind##_bf16, [FR_FLOAT32] = &kind##_f32,      \
    [FR_FLOAT64] = &kind##_f64, [FR_COMPLEX64] = &kind##_c64

static const loops *const table[FR__SCANS][FR_DTYPE_COUNT] = {
    [FR__SCAN_SUM] = {ROW_WHOLE(sum, u), ROW_FLOATS(sum)},
    [FR__SCAN_PROD] = {[FR_BOOL] = &min_bool, ROW_WHOLE(prod, u), ROW_FLOATS(prod)},
    [FR__SCAN_MAX] = {[FR_BOOL] = &max_u8, ROW_WHOLE(max, i), ROW_FLOATS(max)},
    [FR__SCAN_MIN] = {[FR_BOOL] = &min_bool, ROW_WHOLE(min, i), ROW_FLOATS(min)},
    [FR__SCAN_LOG_SUM_EXP] = {ROW_FLOATS(lse)},
};
// clang-format on

/* ---- the routine -------------------------------------------------------------------- */

typedef struct {
    const loops *f;
    int64_t outer, n, inner, size, xrow, xn, xcol;
    int64_t width, blocks;  /* columns: of a block, and blocks a row */
    int64_t pieces, groups; /* long rows: pieces of a row, and groups of CHAINS of them */
    bool reverse, exclusive;
} scan;

static int prepare(fr__native_call *c, fr__arena *arena, int threads)
{
    scan *s = fr__arena_zalloc(arena, sizeof *s);
    if (!s)
        return -1;
    const fr__native_array *x = &c->in[0];
    *s = (scan){.f = table[c->par[0]][x->dtype],
                .outer = x->shape[0],
                .n = x->shape[1],
                .inner = x->shape[2],
                .size = fr__dtypes[x->dtype].size,
                .xrow = x->strides[0],
                .xn = x->strides[1],
                .xcol = x->strides[2],
                .reverse = c->par[1] != 0,
                .exclusive = c->par[2] != 0};
    if (!s->f)
        return fr__fail_int(FR__E_INTERNAL, "scan: none of %s", fr__dtypes[x->dtype].name);
    c->own = s;
    c->work = x->size * (c->par[0] == FR__SCAN_LOG_SUM_EXP ? 16 : 1);
    if (s->inner > 1) {
        s->width = s->outer * s->inner < 4 * MOST_COLUMNS * threads ? 64 : MOST_COLUMNS;
        s->blocks = fr__ceil_div(s->inner, s->width);
        c->phases = 1;
        c->phase[0].range = s->outer * s->blocks;
        c->phase[0].grain = 1 + (1 << 15) / (s->n * fr__min64(s->width, s->inner));
    } else if (s->n >= LONG_ROW && s->outer < 2 * threads && threads > 1) {
        s->pieces = fr__ceil_div(s->n, s->f->piece);
        s->groups = fr__ceil_div(s->pieces, CHAINS);
        c->temporary = (size_t)(s->outer * s->pieces) * sizeof(int64_t);
        c->phases = 3;
        c->phase[0].range = c->phase[2].range = s->outer * s->groups;
        c->phase[0].grain = c->phase[2].grain = 1 + (1 << 15) / (s->f->piece * CHAINS);
        c->phase[1].range = s->outer;
        c->phase[1].grain = 1;
    } else {
        c->phases = 1;
        c->phase[0].range = s->outer;
        c->phase[0].grain = 1 + (1 << 15) / s->n;
    }
    return 0;
}

/* Of the row r (its column col): the first element in order. */
static place place_of(const scan *s, char *const *data, int64_t r, int64_t col)
{
    int64_t last = s->reverse ? s->n - 1 : 0, sign = s->reverse ? -1 : 1;
    return (place){.x = data[0] + (r * s->xrow + last * s->xn + col * s->xcol) * s->size,
                   .y = data[1] + ((r * s->n + last) * s->inner + col) * s->size,
                   .xn = sign * s->xn,
                   .yn = sign * s->inner,
                   .xrow = s->xrow,
                   .yrow = s->n * s->inner,
                   .exclusive = s->exclusive};
}

static void run_columns(const scan *s, char *const *data, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        int64_t col = i % s->blocks * s->width;
        place p = place_of(s, data, i / s->blocks, col);
        s->f->columns(&p, s->xcol, fr__min64(s->width, s->inner - col), s->n);
    }
}

static void run(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                int64_t end, char *scratch)
{
    const scan *s = c->own;
    (void)scratch;
    if (s->blocks) {
        run_columns(s, data, begin, end);
        return;
    }
    if (!s->pieces) {
        place p = place_of(s, data, begin, 0);
        s->f->rows(&p, end - begin, s->n);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        int64_t r = phase == 1 ? i : i / s->groups;
        int64_t from = i % s->groups * CHAINS, to = fr__min64(from + CHAINS, s->pieces);
        char *totals = data[2] + r * s->pieces * (int64_t)sizeof(int64_t);
        place p = place_of(s, data, r, 0);
        if (phase == 0)
            s->f->totals(&p, s->n, from, to, totals);
        else if (phase == 1)
            s->f->prefix(totals, s->pieces);
        else
            s->f->apply(&p, s->n, from, to, totals);
    }
}

const fr__native fr__native_scan = {"scan", prepare, run, NULL};
