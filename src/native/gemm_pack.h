/* gemm_pack.h - operands of matrix products, put where the tiles read them; part of gemm_tiles.h
 *
 * Packed are `width` lines (rows of A, columns of B) element by element: to[i * width + j] is
 * element i of line j, what is missing of the width is 0. Where lines lie side by side, whole rows
 * of the result are copied; where the elements of a line do, squares of as many lines and elements
 * as a vector has lanes are turned in registers; else it goes one by one. Halves are widened.
 */

#ifdef __clang__
#define MIX(INDEX, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(INDEX, a, b, ...) __builtin_shuffle(a, b, (INDEX){__VA_ARGS__})
#endif
#define LOW_2 0, 2
#define HIGH_2 1, 3
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#if BYTES == 64
#define LOW_F LOW_16
#define HIGH_F HIGH_16
#define LOW_D LOW_8
#define HIGH_D HIGH_8
#elif BYTES == 32
#define LOW_F LOW_8
#define HIGH_F HIGH_8
#define LOW_D LOW_4
#define HIGH_D HIGH_4
#else
#define LOW_F LOW_4
#define HIGH_F HIGH_4
#define LOW_D LOW_2
#define HIGH_D HIGH_2
#endif

typedef int32_t i32m __attribute__((vector_size(BYTES)));
typedef int64_t i64m __attribute__((vector_size(BYTES)));

/* Lane j of vector i to lane i of vector j: vectors are interleaved with those half of them on,
 * log2(lanes) times. */
#define TURN(name, V, LANES, INDEX, LOW, HIGH)                                                 \
    static inline __attribute__((always_inline)) void name(V x[LANES])                         \
    {                                                                                          \
        _Pragma("GCC unroll 4") for (int s = 1; s < LANES; s *= 2)                             \
        {                                                                                      \
            V y[LANES];                                                                        \
            _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++)                       \
            {                                                                                  \
                y[2 * i] = MIX(INDEX, x[i], x[i + LANES / 2], LOW);                            \
                y[2 * i + 1] = MIX(INDEX, x[i], x[i + LANES / 2], HIGH);                       \
            }                                                                                  \
            _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) x[i] = y[i];              \
        }                                                                                      \
    }
TURN(turn_f, f32v, LANES_F, i32m, LOW_F, HIGH_F)
TURN(turn_d, f64v, LANES_D, i64m, LOW_D, HIGH_D)

/* ---- one element, and a vector of them, as computed ----------------------------------------- */

static inline float from_f32(float x) { return x; }
static inline double from_f64(double x) { return x; }
static inline float from_f16(uint16_t h)
{
#ifdef F16C
    return _cvtsh_ss(h);
#else
    return fr__from_f16(h);
#endif
}

static inline f32v load_f32(const float *x) { return (f32v) * (const f32u *)x; }
static inline f64v load_f64(const double *x) { return (f64v) * (const f64u *)x; }

static inline f32v load_bf16(const uint16_t *x)
{
    typedef uint16_t u16v __attribute__((vector_size(BYTES / 2)));
    u16v half;
    memcpy(&half, x, sizeof half);
    return (f32v)(__builtin_convertvector(half, u32v) << 16);
}

static inline f32v load_f16(const uint16_t *x)
{
#if defined(F16C) && BYTES == 64
    return (f32v)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
#elif defined(F16C)
    return (f32v)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
#else
    f32v y;
    for (int i = 0; i < LANES_F; i++)
        y[i] = fr__from_f16(x[i]);
    return y;
#endif
}

/* At least a quarter of a vector, less than a whole one: by two that overlap. */
static inline void copy_part(void *to, const void *from, size_t bytes)
{
    enum { HALF = BYTES / 2, QUARTER = BYTES / 4 };
    if (bytes >= HALF) {
        memcpy(to, from, HALF);
        memcpy((char *)to + bytes - HALF, (const char *)from + bytes - HALF, HALF);
    } else {
        memcpy(to, from, QUARTER);
        memcpy((char *)to + bytes - QUARTER, (const char *)from + bytes - QUARTER, QUARTER);
    }
}

/* ---- the loops ------------------------------------------------------------------------------- */

/* Lines that are far apart are asked for so many squares ahead. */
enum { AHEAD = 4 };

/* The lines that are packed next, which no prefetcher finds where rows are far apart: until then they
 * are in L2. */
static inline __attribute__((always_inline)) void ask_for_next(const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)from + i, 0, 2);
}

/* NAME_row: n elements side by side, widened. NAME_square: LANES elements of n lines that begin at
 * x[0] ..., `width` apart in the result. */
#define LOOPS(NAME, S, T, V, U, LANES, CONVERT, TURNED)                                        \
    static inline __attribute__((always_inline)) void NAME##_row(const S *x, int64_t n, T *to) \
    {                                                                                          \
        int64_t j = 0;                                                                         \
        if (sizeof(S) == sizeof(T) && n < LANES && n >= LANES / 4) {                           \
            copy_part(to, x, (size_t)n * sizeof(T));                                           \
            return;                                                                            \
        }                                                                                      \
        for (; j + LANES <= n; j += LANES)                                                     \
            *(U *)(to + j) = (U)load_##NAME(x + j);                                            \
        for (; j < n; j++)                                                                     \
            to[j] = CONVERT(x[j]);                                                             \
    }                                                                                          \
    static inline __attribute__((always_inline)) void NAME##_turned(                           \
        const S *const *x, const int64_t n, const int64_t width, T *to)                        \
    {                                                                                          \
        for (int64_t g = 0; g < width; g += LANES) {                                           \
            V v[LANES];                                                                        \
            _Pragma("GCC unroll 16") for (int j = 0; j < LANES; j++) v[j] =                    \
                g + j < n ? load_##NAME(x[g + j]) : (V){0};                                    \
            TURNED(v);                                                                         \
            if (g + LANES <= width) {                                                          \
                _Pragma("GCC unroll 16") for (int q = 0; q < LANES; q++) *                     \
                    (U *)(to + q * width + g) = (U)v[q];                                       \
            } else { /* the width is MR */                                                     \
                _Pragma("GCC unroll 16") for (int q = 0; q < LANES; q++)                       \
                    memcpy(to + q * width + g, &v[q], sizeof(T) * (MR % LANES));               \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void NAME##_square(const S *const *x, int64_t n, int64_t width, T *to)              \
    {                                                                                          \
        if (n == 2 * LANES && width == 2 * LANES)                                              \
            NAME##_turned(x, 2 * LANES, 2 * LANES, to);                                        \
        else if (n == MR && width == MR)                                                       \
            NAME##_turned(x, MR, MR, to);                                                      \
        else                                                                                   \
            NAME##_turned(x, n, width, to);                                                    \
    }                                                                                          \
    static void NAME##_singly(const S *const *x, const int64_t *steps, int64_t step,           \
                              int64_t n, int64_t k, int64_t width, T *to)                      \
    {                                                                                          \
        for (int64_t j = 0; j < width; j++)                                                    \
            for (int64_t i = 0; i < k; i++)                                                    \
                to[i * width + j] =                                                            \
                    j < n ? CONVERT(x[j][steps ? steps[i] - steps[0] : i * step]) : (T)0;      \
    }                                                                                          \
    static void pack_##NAME(const void *from, int64_t stride, int64_t step, int64_t n,         \
                            int64_t k, int64_t width, void *out)                               \
    {                                                                                          \
        const S *at = from, *x[FR__GEMM_NR];                                                   \
        T *to = out;                                                                           \
        if (width == 1 && step == 1) { /* one line, as it is */                                \
            NAME##_row(at, k, to);                                                             \
            return;                                                                            \
        }                                                                                      \
        if (stride == 1) {                                                                     \
            for (int64_t i = 0; i < k; i++, at += step, to += width) {                         \
                ask_for_next(at + n, (size_t)n * sizeof(S));                                   \
                if (n == 2 * LANES)                                                            \
                    NAME##_row(at, 2 * LANES, to);                                             \
                else                                                                           \
                    NAME##_row(at, n, to);                                                     \
                for (int64_t j = n; j < width; j++)                                            \
                    to[j] = 0;                                                                 \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        for (int64_t i = 0; i < k; i += LANES, to += LANES * width) {                          \
            for (int64_t j = 0; j < n; j++) {                                                  \
                x[j] = at + j * stride + i * step;                                             \
                __builtin_prefetch(x[j] + AHEAD * LANES);                                      \
            }                                                                                  \
            if (step == 1 && k - i >= LANES)                                                   \
                NAME##_square(x, n, width, to);                                                \
            else                                                                               \
                NAME##_singly(x, NULL, step, n, k - i < LANES ? k - i : LANES, width, to);     \
        }                                                                                      \
    }                                                                                          \
    static void pick_##NAME(const void *from, const int64_t *lines, const int64_t *steps,      \
                            int64_t n, int64_t k, int64_t width, void *out)                    \
    {                                                                                          \
        const S *x[FR__GEMM_NR];                                                               \
        T *to = out;                                                                           \
        int64_t begin[FR__GEMM_NR + 1], runs = runs_of(lines, n, begin);                       \
        if (runs * 4 <= n) { /* lines lie side by side, about */                               \
            for (int64_t i = 0; i < k; i++, to += width) {                                     \
                for (int64_t r = 0; r < runs; r++)                                             \
                    NAME##_row((const S *)from + lines[begin[r]] + steps[i],                   \
                               begin[r + 1] - begin[r], to + begin[r]);                        \
                for (int64_t j = n; j < width; j++)                                            \
                    to[j] = 0;                                                                 \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        bool together;                                                                         \
        for (int64_t i = 0, length; i < k; i += length, to += length * width) {                \
            length = run_at(steps, i, k, LANES, &together);                                    \
            for (int64_t j = 0; j < n; j++)                                                    \
                x[j] = (const S *)from + lines[j] + steps[i];                                  \
            if (together)                                                                      \
                NAME##_square(x, n, width, to);                                                \
            else                                                                               \
                NAME##_singly(x, steps + i, 0, n, length, width, to);                          \
        }                                                                                      \
    }

/* Where runs of lines begin that lie side by side. */
static int64_t runs_of(const int64_t *lines, int64_t n, int64_t *begin)
{
    int64_t runs = 0;
    for (int64_t j = 0; j < n; j++)
        if (!j || lines[j] != lines[j - 1] + 1)
            begin[runs++] = j;
    begin[runs] = n;
    return runs;
}

/* How many of the elements from i on go together: `lanes` of them where so many lie side by side;
 * else those before the next of which that is so, `lanes` at most. */
static int64_t run_at(const int64_t *steps, int64_t i, int64_t k, int64_t lanes, bool *together)
{
    *together = false;
    int64_t most = k - i < lanes ? k - i : lanes, begin = i, end = i;
    while (end - i < most) {
        for (begin = end++; end < k && end - begin < lanes; end++)
            if (steps[end] != steps[end - 1] + 1)
                break;
        *together = begin == i && end - begin == lanes;
        if (end - begin == lanes)
            return *together ? lanes : begin - i;
    }
    return most;
}

LOOPS(f16, uint16_t, float, f32v, f32u, LANES_F, from_f16, turn_f)
LOOPS(bf16, uint16_t, float, f32v, f32u, LANES_F, fr__from_bf16, turn_f)
LOOPS(f32, float, float, f32v, f32u, LANES_F, from_f32, turn_f)
LOOPS(f64, double, double, f64v, f64u, LANES_D, from_f64, turn_d)
