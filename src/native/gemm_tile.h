/* gemm_tile.h - the tile of a matrix product; part of gemm_tiles.h and gemm_dot.c
 *
 * needs   BYTES of a vector; MR rows of a tile; where the host has masks LOAD_PART_F and the like
 *         where vectors of half the size go twice as fast, HALVES 1 and, for a tile t, the type t_half
 *         and t_fma_half (its first operand a number), t_load_half, t_store_half
 * gives   TILE, which makes a tile: rows x 2 vectors of C, held in registers while k goes by
 */
#ifndef HALVES
#define HALVES 0
#endif
#ifndef SPLAT
#define SPLAT(x, V) ((x) - (V){0})
#endif

typedef float f32v __attribute__((vector_size(BYTES)));
typedef float f32u __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef double f64v __attribute__((vector_size(BYTES)));
typedef double f64u __attribute__((vector_size(BYTES), aligned(8), may_alias));

typedef int32_t i32v __attribute__((vector_size(BYTES)));
typedef uint32_t u32v __attribute__((vector_size(BYTES)));
typedef uint32_t u32u __attribute__((vector_size(BYTES), aligned(4), may_alias));

#define LANES_F (BYTES / 4)
#define LANES_D (BYTES / 8)

/* One row of A's tile: its rows lie apart (three to a pointer, so that each is an addressing mode away)
 * or side by side. */
#define OF_A(r) (across ? at[(r) / 3][(r) % 3 * ars] : at[0][r])

/* How wide a tile is: of the last vector some lanes. Where hosts have vectors of half the size, twice
 * as many at a time, half a vector is enough for few. */
enum {
    FAR_ROWS = 2048
}; /* bytes from one row of B to the next: the columns beside are asked for early */
enum { SOME_HALF, SOME, WHOLE_AND_HALF, WHOLE_AND_SOME, TWO, WIDTHS };

#define TILE(name, T, V, U, LANES, FMA, LOAD_PART, STORE_PART)                                 \
    static inline __attribute__((always_inline)) void name##_fixed(                            \
        int64_t runs, const fr__gemm_part *run, const T *a, int64_t ars, int64_t acs,          \
        const T *b, int64_t brs, T *c, int64_t ldc, const int rows, const int width, int last, \
        const bool across, bool add)                                                           \
    {                                                                                          \
        const bool first = width >= WHOLE_AND_HALF, more = width == TWO;                       \
        const bool part = width == SOME || width == WHOLE_AND_SOME;                            \
        const bool half = width == SOME_HALF || width == WHOLE_AND_HALF;                       \
        const int at_last = first ? LANES : 0;                                                 \
        V acc[MR][2];                                                                          \
        HALF_OF(name) few[MR];                                                                 \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            acc[r][0] = (V){0};                                                                \
            acc[r][1] = (V){0};                                                                \
            few[r] = (HALF_OF(name)){0};                                                       \
        }                                                                                      \
        const bool far = brs * (int64_t)sizeof(T) >= FAR_ROWS;                                 \
        for (int64_t q = 0; q < runs; q++) {                                                   \
            const T *from = a + run[q].from, *at[4] = {from, rows > 3 ? from + 3 * ars : from, \
                                                       rows > 6 ? from + 6 * ars : from,       \
                                                       rows > 9 ? from + 9 * ars : from};      \
            for (int64_t i = run[q].n; i > 0; i--) {                                           \
                V b0 = (V){0}, b1 = (V){0};                                                    \
                HALF_OF(name) bh = (HALF_OF(name)){0};                                         \
                if (width == TWO && far) {                                                     \
                    __builtin_prefetch(b + 2 * LANES);                                         \
                    __builtin_prefetch(b + 3 * LANES);                                         \
                }                                                                              \
                if (first)                                                                     \
                    b0 = (V) * (const U *)b;                                                   \
                if (more)                                                                      \
                    b1 = (V) * (const U *)(b + LANES);                                         \
                if (part)                                                                      \
                    b1 = LOAD_PART(b + at_last, last);                                         \
                if (half)                                                                      \
                    bh = LOAD_HALF(name)(b + at_last, last);                                   \
                _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                        \
                {                                                                              \
                    V x = SPLAT(OF_A(r), V);                                                   \
                    if (first)                                                                 \
                        acc[r][0] = FMA(x, b0, acc[r][0]);                                     \
                    if (more || part)                                                          \
                        acc[r][1] = FMA(x, b1, acc[r][1]);                                     \
                    if (half)                                                                  \
                        few[r] = FMA_HALF(name)(OF_A(r), bh, few[r]);                          \
                }                                                                              \
                if (across) {                                                                  \
                    at[0]++;                                                                   \
                    at[1]++;                                                                   \
                    at[2]++;                                                                   \
                    at[3]++;                                                                   \
                } else {                                                                       \
                    at[0] += acs;                                                              \
                }                                                                              \
                b += brs;                                                                      \
            }                                                                                  \
        }                                                                                      \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            T *to = c + r * ldc, *rest = to + at_last;                                         \
            if (first) {                                                                       \
                if (add)                                                                       \
                    acc[r][0] = (V) * (U *)to + acc[r][0];                                     \
                *(U *)to = (U)acc[r][0];                                                       \
            }                                                                                  \
            if (more) {                                                                        \
                if (add)                                                                       \
                    acc[r][1] = (V) * (U *)rest + acc[r][1];                                   \
                *(U *)rest = (U)acc[r][1];                                                     \
            }                                                                                  \
            if (part) {                                                                        \
                if (add)                                                                       \
                    acc[r][1] = LOAD_PART(rest, last) + acc[r][1];                             \
                STORE_PART(rest, last, acc[r][1]);                                             \
            }                                                                                  \
            if (half) {                                                                        \
                if (add)                                                                       \
                    few[r] = LOAD_HALF(name)(rest, last) + few[r];                             \
                STORE_HALF(name)(rest, last, few[r]);                                          \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void name(int64_t runs, const fr__gemm_part *run, const void *a, int64_t ars,       \
                     int64_t acs, const void *b, int64_t brs, void *c, int64_t ldc, int rows,  \
                     int cols, bool add)                                                       \
    {                                                                                          \
        int last = cols > LANES ? cols - LANES : cols;                                         \
        bool few = HALVES && 2 * last <= LANES, across = acs == 1;                             \
        int width = cols == 2 * LANES ? TWO : (cols > LANES ? WHOLE_AND_HALF : 0) + !few;      \
        if (rows == MR && width == TWO && acs == MR && !across) {                              \
            name##_fixed(runs, run, a, 1, MR, b, brs, c, ldc, MR, TWO, 0, false, add);         \
            return;                                                                            \
        }                                                                                      \
        switch ((rows * WIDTHS + width) * 2 + across) {                                        \
            CASES(name)                                                                        \
        }                                                                                      \
    }
#define CASE_OF(name, r, width, across)                                                        \
    case ((r)*WIDTHS + width) * 2 + across:                                                    \
        name##_fixed(runs, run, a, across ? ars : 1, acs, b, brs, c, ldc, r, width, last,      \
                     across, add);                                                             \
        break;
#define CASE_ANY(name, r)                                                                      \
    CASE_OF(name, r, SOME, 0)                                                                  \
    CASE_OF(name, r, SOME, 1)                                                                  \
    CASE_OF(name, r, WHOLE_AND_SOME, 0)                                                        \
    CASE_OF(name, r, WHOLE_AND_SOME, 1) CASE_OF(name, r, TWO, 0) CASE_OF(name, r, TWO, 1)
#if HALVES
#define CASE(name, r)                                                                          \
    CASE_ANY(name, r)                                                                          \
    CASE_OF(name, r, SOME_HALF, 0)                                                             \
    CASE_OF(name, r, SOME_HALF, 1)                                                             \
    CASE_OF(name, r, WHOLE_AND_HALF, 0) CASE_OF(name, r, WHOLE_AND_HALF, 1)
#define HALF_OF(name) name##_half
#define LOAD_HALF(name) name##_load_half
#define STORE_HALF(name) name##_store_half
#define FMA_HALF(name) name##_fma_half
#else
#define CASE CASE_ANY
#define HALF_OF(name) int
#define LOAD_HALF(name) no_half
#define STORE_HALF(name) no_half
#define FMA_HALF(name) no_fma
static inline int no_half(const void *from, int n, ...) { return (void)from, n; }
static inline int no_fma(double a, int b, int c) { return (void)a, b + c; }
#endif
#if MR == 12
#define CASES(name)                                                                            \
    CASE(name, 1)                                                                              \
    CASE(name, 2)                                                                              \
    CASE(name, 3)                                                                              \
    CASE(name, 4)                                                                              \
    CASE(name, 5)                                                                              \
    CASE(name, 6)                                                                              \
    CASE(name, 7) CASE(name, 8) CASE(name, 9) CASE(name, 10) CASE(name, 11) CASE(name, 12)
#elif MR == 6
#define CASES(name)                                                                            \
    CASE(name, 1) CASE(name, 2) CASE(name, 3) CASE(name, 4) CASE(name, 5) CASE(name, 6)
#else
#define CASES(name) CASE(name, 1) CASE(name, 2) CASE(name, 3) CASE(name, 4)
#endif

/* The first n of a vector's lanes; the others are 0, and not stored. */
#ifndef LOAD_PART_F
static inline f32v load_part_f(const float *from, int n)
{
    f32v v = {0};
    memcpy(&v, from, sizeof(float) * (size_t)n);
    return v;
}
static inline f64v load_part_d(const double *from, int n)
{
    f64v v = {0};
    memcpy(&v, from, sizeof(double) * (size_t)n);
    return v;
}
static inline u32v load_part_i(const uint32_t *from, int n)
{
    u32v v = {0};
    memcpy(&v, from, sizeof(uint32_t) * (size_t)n);
    return v;
}
static inline void store_part_i(uint32_t *to, int n, u32v v)
{
    memcpy(to, &v, sizeof(uint32_t) * (size_t)n);
}
static inline void store_part_f(float *to, int n, f32v v)
{
    memcpy(to, &v, sizeof(float) * (size_t)n);
}
static inline void store_part_d(double *to, int n, f64v v)
{
    memcpy(to, &v, sizeof(double) * (size_t)n);
}
#define LOAD_PART_I load_part_i
#define STORE_PART_I store_part_i
#define LOAD_PART_F load_part_f
#define LOAD_PART_D load_part_d
#define STORE_PART_F store_part_f
#define STORE_PART_D store_part_d
#endif
