/* gemm_tile.h - the tile of a matrix product; part of gemm_tiles.h and gemm_dot.c
 *
 * needs   BYTES of a vector; MR rows of a tile; where the host has masks LOAD_PART_F and the like
 * gives   TILE, which makes a tile: rows x 2 vectors of C, held in registers while k goes by
 */
#ifndef SPLAT
#define SPLAT(x, V) ((x) - (V){0})
#endif

typedef float f32v __attribute__((vector_size(BYTES)));
typedef float f32u __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef double f64v __attribute__((vector_size(BYTES)));
typedef double f64u __attribute__((vector_size(BYTES), aligned(8), may_alias));

#define LANES_F (BYTES / 4)
#define LANES_D (BYTES / 8)

/* One row of A's tile: its rows lie apart (three to a pointer, so that each is an addressing mode away)
 * or side by side. */
#define OF_A(r) (across ? at[(r) / 3][(r) % 3 * ars] : at[0][r])

#define TILE(name, T, V, U, LANES, FMA, LOAD_PART, STORE_PART)                                 \
    static inline __attribute__((always_inline)) void name##_fixed(                            \
        int64_t runs, const fr__gemm_part *run, const T *a, int64_t ars, int64_t acs,          \
        const T *b, int64_t brs, T *c, int64_t ldc, const int rows, const int vectors,         \
        const bool whole, int last, const bool across, bool add)                               \
    {                                                                                          \
        V acc[MR][2];                                                                          \
        _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                \
        {                                                                                      \
            acc[r][0] = (V){0};                                                                \
            acc[r][1] = (V){0};                                                                \
        }                                                                                      \
        for (int64_t q = 0; q < runs; q++) {                                                   \
            const T *from = a + run[q].from, *at[4] = {from, rows > 3 ? from + 3 * ars : from, \
                                                       rows > 6 ? from + 6 * ars : from,       \
                                                       rows > 9 ? from + 9 * ars : from};      \
            for (int64_t i = run[q].n; i > 0; i--) {                                           \
                V b0, b1 = (V){0};                                                             \
                if (vectors > 1) {                                                             \
                    b0 = (V) * (const U *)b;                                                   \
                    b1 = whole ? (V) * (const U *)(b + LANES) : LOAD_PART(b + LANES, last);    \
                } else {                                                                       \
                    b0 = LOAD_PART(b, last);                                                   \
                }                                                                              \
                _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                        \
                {                                                                              \
                    V x = SPLAT(OF_A(r), V);                                                   \
                    acc[r][0] = FMA(x, b0, acc[r][0]);                                         \
                    if (vectors > 1)                                                           \
                        acc[r][1] = FMA(x, b1, acc[r][1]);                                     \
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
            T *to = c + r * ldc, *more = to + LANES;                                           \
            if (vectors > 1) {                                                                 \
                if (add) {                                                                     \
                    acc[r][0] = (V) * (U *)to + acc[r][0];                                     \
                    acc[r][1] = (whole ? (V) * (U *)more : LOAD_PART(more, last)) + acc[r][1]; \
                }                                                                              \
                *(U *)to = (U)acc[r][0];                                                       \
                if (whole)                                                                     \
                    *(U *)more = (U)acc[r][1];                                                 \
                else                                                                           \
                    STORE_PART(more, last, acc[r][1]);                                         \
            } else {                                                                           \
                if (add)                                                                       \
                    acc[r][0] = LOAD_PART(to, last) + acc[r][0];                               \
                STORE_PART(to, last, acc[r][0]);                                               \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void name(int64_t runs, const fr__gemm_part *run, const void *a, int64_t ars,       \
                     int64_t acs, const void *b, int64_t brs, void *c, int64_t ldc, int rows,  \
                     int cols, bool add)                                                       \
    {                                                                                          \
        int vectors = cols > LANES ? 2 : 1, last = cols - (vectors - 1) * LANES;               \
        bool whole = vectors == 2 && last == LANES, across = acs == 1;                         \
        if (rows == MR && whole && acs == MR && !across) {                                     \
            name##_fixed(runs, run, a, 1, MR, b, brs, c, ldc, MR, 2, true, 0, false, add);     \
            return;                                                                            \
        }                                                                                      \
        switch ((rows * 3 + vectors - 1 + whole) * 2 + across) {                               \
            CASES(name)                                                                        \
        }                                                                                      \
    }
#define CASE_OF(name, r, vectors, whole, across)                                               \
    case ((r)*3 + vectors - 1 + whole) * 2 + across:                                           \
        name##_fixed(runs, run, a, across ? ars : 1, acs, b, brs, c, ldc, r, vectors, whole,   \
                     last, across, add);                                                       \
        break;
#define CASE(name, r)                                                                          \
    CASE_OF(name, r, 1, 0, 0)                                                                  \
    CASE_OF(name, r, 1, 0, 1)                                                                  \
    CASE_OF(name, r, 2, 0, 0)                                                                  \
    CASE_OF(name, r, 2, 0, 1) CASE_OF(name, r, 2, 1, 0) CASE_OF(name, r, 2, 1, 1)
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
static inline void store_part_f(float *to, int n, f32v v)
{
    memcpy(to, &v, sizeof(float) * (size_t)n);
}
static inline void store_part_d(double *to, int n, f64v v)
{
    memcpy(to, &v, sizeof(double) * (size_t)n);
}
#define LOAD_PART_F load_part_f
#define LOAD_PART_D load_part_d
#define STORE_PART_F store_part_f
#define STORE_PART_D store_part_d
#endif
