/* scan.c (for GPUs) - SCAN: sums, products, extremes so far along the middle axis of [outer, n, inner]
 *
 * needs   one of SUM, PROD, MAX, MIN, LSE; one of WHOLE, F32, F64, C64: what is accumulated in; NAME
 * gives   rows: a warp a chunk of a row, 32 elements beside each other at a time; short: several
 *         rows in a warp; columns: a thread a chunk of a column
 *
 * Of rows that are cut: totals of the chunks (totals_first), then prefix, to what comes before each. The order
 * in which numbers are combined depends on shapes and the device, never on time.
 */
#include "device/cuda/routines/threads.h"

#include "device/cuda/routines/args.h"
#include "native/element.h"

#define ENTRY(step) JOINED(NAME, step)

enum {
    ITEMS = 4,
#if defined(C64) && (defined(MAX) || defined(MIN))
    IN_ORDER = 1, /* of several NaNs the first one stays, whose other part may be a number */
#else
    IN_ORDER = 0,
#endif
};

/* ---- elements ----------------------------------------------------------------------- */

#define AT(T) (((const T *)s->x)[at])
#define PUT(T, v) (((T *)s->y)[at] = (T)(v))

#if defined(WHOLE)
typedef uint64_t A;
/* Sums and products of so many low bits need no more than these; for extremes `flip` makes the order of
 * signed ones that of unsigned ones. */
static inline A load(const fr__scan_args *s, int64_t at)
{
    switch (s->form % 4) { /* 8, 16, 32, 64 bits */
    case 0: return AT(uint8_t) ^ s->flip;
    case 1: return AT(uint16_t) ^ s->flip;
    case 2: return AT(uint32_t) ^ s->flip;
    default: return AT(uint64_t) ^ s->flip;
    }
}
static inline void store(const fr__scan_args *s, int64_t at, A v)
{
    switch (s->form % 4) {
    case 0: PUT(uint8_t, v ^ s->flip); return;
    case 1: PUT(uint16_t, v ^ s->flip); return;
    case 2: PUT(uint32_t, v ^ s->flip); return;
    default: PUT(uint64_t, v ^ s->flip);
    }
}
static inline A identity_of(const fr__scan_args *s) { return s->identity; }
#elif defined(F32)
typedef float A;
static inline A load(const fr__scan_args *s, int64_t at)
{
    switch (s->form) {
    case FR__FORM_F16: return from_f16(AT(uint16_t));
    case FR__FORM_BF16: return fr__from_bf16(AT(uint16_t));
    default: return AT(float);
    }
}
static inline void store(const fr__scan_args *s, int64_t at, A v)
{
    switch (s->form) {
    case FR__FORM_F16: PUT(uint16_t, to_f16(v)); return;
    case FR__FORM_BF16: PUT(uint16_t, fr__to_bf16(v)); return;
    default: PUT(float, v);
    }
}
static inline A identity_of(const fr__scan_args *s)
{
    return fr__float32((uint32_t)s->identity);
}
#elif defined(F64)
typedef double A;
static inline A load(const fr__scan_args *s, int64_t at) { return AT(double); }
static inline void store(const fr__scan_args *s, int64_t at, A v) { PUT(double, v); }
static inline A identity_of(const fr__scan_args *s) { return fr__float64(s->identity); }
#else
typedef fr__complex A;
static inline A load(const fr__scan_args *s, int64_t at) { return AT(fr__complex); }
static inline void store(const fr__scan_args *s, int64_t at, A v)
{
    ((fr__complex *)s->y)[at] = v;
}
static inline A identity_of(const fr__scan_args *s)
{
    return (A){fr__float32((uint32_t)s->identity), fr__float32((uint32_t)(s->identity >> 32))};
}
#endif

/* ---- what is combined: as in native/scan.c --------------------------------------------- */

#if defined(C64)
static inline bool is_nan(A a) { return a.re != a.re || a.im != a.im; }
static inline bool is_less(A a, A b) { return a.re < b.re || (a.re == b.re && a.im < b.im); }
#elif !defined(WHOLE)
static inline bool is_nan(A a) { return a != a; }
static inline bool is_less(A a, A b) { return a < b; }
#else
static inline bool is_nan(A a)
{
    (void)a;
    return false;
}
static inline bool is_less(A a, A b) { return a < b; }
#endif

#if defined(LSE)
#if defined(F32)
typedef int32_t bits;
#define NEAREST(x) __builtin_rintf(x)
#define SCALED(n) fr__float32((uint32_t)(127 + (n)) << 23)
enum { EXP_TERMS = 8, LOG_TERMS = 9, LEAST = -126 };
#else
typedef int64_t bits;
#define NEAREST(x) __builtin_rint(x)
#define SCALED(n) fr__float64((uint64_t)(1023 + (n)) << 52)
enum { EXP_TERMS = 14, LOG_TERMS = 18, LEAST = -1022 };
#endif
/* e^x of x <= 0; 0 where that isn't a normal number: 1 is added to it. */
static inline A exp_of(A x)
{
    A n = NEAREST(x * (A)1.4426950408889634);
    if (!(n > (A)LEAST))
        return 0;
    A r = x - n * (A)0.693145751953125;
    r -= n * (A)1.42860682030941723212e-6;
    A y = 1;
    for (int k = EXP_TERMS; k > 0; k--)
        y = 1 + y * r / (A)k;
    return y * SCALED((bits)n);
}
/* log(1 + x), 0 <= x <= 1, as 2 atanh(x / (2 + x)) */
static inline A log1p_of(A x)
{
    A z = x / (2 + x), square = z * z, sum = 0;
    for (int k = LOG_TERMS; k > 0; k--)
        sum = sum * square + 1 / (A)(2 * k - 1);
    return 2 * z * sum;
}
static __attribute__((noinline)) A combined(A a, A b)
{
    A high = a >= b || a != a ? a : b, low = a >= b ? b : a, size = high < 0 ? -high : high;
    if (size == (A)__builtin_inf() || high != high || low != low)
        return low != low ? low : high;
    return high + log1p_of(exp_of(low - high));
}
#else
static inline A combined(A a, A b)
{
#if defined(MAX)
    return is_nan(a) || (!is_nan(b) && !is_less(a, b)) ? a : b;
#elif defined(MIN)
    return is_nan(a) || (!is_nan(b) && !is_less(b, a)) ? a : b;
#elif defined(C64) && defined(SUM)
    return fr__complex_add(a, b);
#elif defined(C64)
    return fr__complex_mul(a, b);
#elif defined(SUM)
    return a + b;
#else
    return a * b;
#endif
}
#endif

/* ---- warps -------------------------------------------------------------------------- */

static inline A lane_up(A v, uint32_t by)
{
#if defined(F32)
    return fr__float32(lane_up32(fr__bits32(v), by));
#elif defined(C64)
    return (A){fr__float32(lane_up32(fr__bits32(v.re), by)),
               fr__float32(lane_up32(fr__bits32(v.im), by))};
#elif defined(F64)
    return fr__float64(lane_up64(fr__bits64(v), by));
#else
    return lane_up64(v, by);
#endif
}

static inline A last_lane(A v)
{
#if defined(F32)
    return fr__float32(lane_at32(fr__bits32(v), WARP - 1));
#elif defined(C64)
    return (A){fr__float32(lane_at32(fr__bits32(v.re), WARP - 1)),
               fr__float32(lane_at32(fr__bits32(v.im), WARP - 1))};
#elif defined(F64)
    return fr__float64(lane_at64(fr__bits64(v), WARP - 1));
#else
    return lane_at64(v, WARP - 1);
#endif
}

/* What this lane and those before it in its group of `width` have. */
static inline A warp_scan(A v, uint32_t lane, uint32_t width)
{
    for (uint32_t d = 1; d < width; d *= 2) {
        A before = lane_up(v, d);
        if (lane >= d)
            v = combined(before, v);
    }
    return v;
}

/* ---- rows --------------------------------------------------------------------------- */

typedef struct {
    int64_t x, y, xn, yn; /* elements: of the first one in order, and from one to the next */
} place;

static inline place place_of(const fr__scan_args *s, int64_t outer, int64_t col)
{
    place p = {outer * s->xrow + col * s->xcol, outer * s->n * s->inner + col, s->xn, s->inner};
    if (s->reverse) {
        p.x += (s->n - 1) * p.xn;
        p.y += (s->n - 1) * p.yn;
        p.xn = -p.xn;
        p.yn = -p.yn;
    }
    return p;
}

static inline int64_t end_of(const fr__scan_args *s, int64_t begin)
{
    return s->n - begin < s->chunk ? s->n : begin + s->chunk;
}

static inline void load_items(const fr__scan_args *s, const place *p, int64_t i, int64_t step,
                              int64_t end, A v[ITEMS])
{
    UNROLLED for (int k = 0; k < ITEMS; k++) v[k] =
        i + k * step < end ? load(s, p->x + (i + k * step) * p->xn) : identity_of(s);
}

static inline void chunk(const fr__scan_args *s, int64_t u)
{
    uint32_t lane = thread_index() % WARP;
    int64_t row = u / s->chunks, begin = u % s->chunks * s->chunk, end = end_of(s, begin);
    place p = place_of(s, row / s->inner, row % s->inner);
    bool after = s->chunks > 1 && !s->totals_first;
    A before = after ? ((const A *)s->totals)[u] : identity_of(s);
    for (int64_t i = begin; i < end; i += ITEMS * WARP) {
        A v[ITEMS];
        load_items(s, &p, i + lane, WARP, end, v);
        if (s->totals_first && !IN_ORDER) {
            UNROLLED for (int k = 0; k < ITEMS; k++) before = combined(before, v[k]);
            continue;
        }
        UNROLLED for (int k = 0; k < ITEMS; k++) v[k] = warp_scan(v[k], lane, WARP);
        UNROLLED for (int k = 0; k < ITEMS; k++)
        {
            int64_t at = i + k * WARP + lane;
            A here = combined(before, v[k]), up = lane_up(here, 1);
            if (at < end && !s->totals_first)
                store(s, p.y + at * p.yn, !s->exclusive ? here : lane ? up : before);
            before = last_lane(here);
        }
    }
    if (s->totals_first) {
        before = IN_ORDER ? before : warp_scan(before, lane, WARP);
        if (lane == WARP - 1)
            ((A *)s->totals)[u] = before;
    }
}

KERNEL(ENTRY(rows), fr__scan_args)
{
    int64_t units = s.outer * s.inner * s.chunks;
    for (int64_t u = grid_thread() / WARP; u < units; u += grid_threads() / WARP)
        chunk(&s, u);
}

/* A warp a row. */
KERNEL(ENTRY(prefix), fr__scan_args)
{
    uint32_t lane = thread_index() % WARP;
    int64_t rows = s.outer * s.inner;
    for (int64_t row = grid_thread() / WARP; row < rows; row += grid_threads() / WARP) {
        A *t = (A *)s.totals + row * s.chunks, before = identity_of(&s);
        for (int64_t i = 0; i < s.chunks; i += WARP) {
            bool there = i + lane < s.chunks;
            A v = warp_scan(there ? t[i + lane] : identity_of(&s), lane, WARP);
            A here = combined(before, v), up = lane_up(here, 1);
            if (there)
                t[i + lane] = lane ? up : before;
            before = last_lane(here);
        }
    }
}

/* Rows of no more than `width` elements, WARP / width of them side by side. */
KERNEL(ENTRY(short), fr__scan_args)
{
    uint32_t lane = thread_index() % WARP, own = lane % s.width;
    int64_t rows = s.outer * s.inner, beside = WARP / s.width;
    int64_t step = grid_threads() / WARP * beside;
    for (int64_t r = grid_thread() / WARP * beside; r < rows; r += step) {
        int64_t row = r + lane / s.width;
        bool there = row < rows && own < s.n;
        place p = place_of(&s, there ? row / s.inner : 0, there ? row % s.inner : 0);
        A v = there ? load(&s, p.x + own * p.xn) : identity_of(&s);
        A here = combined(identity_of(&s), warp_scan(v, own, s.width)), up = lane_up(here, 1);
        if (there)
            store(&s, p.y + own * p.yn, !s.exclusive ? here : own ? up : identity_of(&s));
    }
}

/* ---- columns ------------------------------------------------------------------------- */

static inline void column(const fr__scan_args *s, int64_t u)
{
    int64_t col = u % s->inner, chunk = u / s->inner % s->chunks,
            outer = u / s->inner / s->chunks;
    int64_t begin = chunk * s->chunk, end = end_of(s, begin);
    place p = place_of(s, outer, col);
    bool after = s->chunks > 1 && !s->totals_first;
    A sum = after ? ((const A *)s->totals)[u] : identity_of(s);
    for (int64_t i = begin; i < end; i += ITEMS) {
        A v[ITEMS];
        load_items(s, &p, i, 1, end, v);
        UNROLLED for (int k = 0; k < ITEMS; k++)
        {
            A before = sum;
            sum = combined(sum, v[k]);
            if (!s->totals_first && i + k < end)
                store(s, p.y + (i + k) * p.yn, s->exclusive ? before : sum);
        }
    }
    if (s->totals_first)
        ((A *)s->totals)[u] = sum;
}

KERNEL(ENTRY(columns), fr__scan_args)
{
    int64_t units = s.outer * s.inner * s.chunks;
    for (int64_t u = grid_thread(); u < units; u += grid_threads())
        column(&s, u);
}

KERNEL(ENTRY(column_prefix), fr__scan_args)
{
    int64_t units = s.outer * s.inner;
    for (int64_t u = grid_thread(); u < units; u += grid_threads()) {
        A *t = (A *)s.totals + u / s.inner * s.chunks * s.inner + u % s.inner;
        A before = identity_of(&s);
        for (int64_t i = 0; i < s.chunks; i++, t += s.inner) {
            A total = *t;
            *t = before;
            before = combined(before, total);
        }
    }
}
