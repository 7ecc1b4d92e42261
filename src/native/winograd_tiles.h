/* winograd_tiles.h - squares of numbers to squares, for 3x3 windows; part of gemm_tiles.h
 *
 * Each of these five is y = F x F' for a matrix F (of ones, minus ones and halves): applied to the columns of
 * a square, then to the rows of what came of it. Every number stands for a line of n floats, one
 * for each channel: line i of the square is at from[i] and goes to to[i].
 */

/* 4 elements of x for 2 places of y. */
static inline __attribute__((always_inline)) void side_of_input(const f32v *x, const int s,
                                                                f32v *y, const int t)
{
    y[0] = x[0] - x[2 * s];
    y[t] = x[s] + x[2 * s];
    y[2 * t] = x[2 * s] - x[s];
    y[3 * t] = x[s] - x[3 * s];
}

static inline __attribute__((always_inline)) void side_of_window(const f32v *x, const int s,
                                                                 f32v *y, const int t)
{
    f32v ends = x[0] + x[2 * s];
    y[0] = x[0];
    y[t] = (ends + x[s]) * 0.5f;
    y[2 * t] = (ends - x[s]) * 0.5f;
    y[3 * t] = x[2 * s];
}

static inline __attribute__((always_inline)) void side_of_output(const f32v *x, const int s,
                                                                 f32v *y, const int t)
{
    y[0] = x[0] + x[s] + x[2 * s];
    y[t] = x[s] - x[2 * s] - x[3 * s];
}

/* The last two turned over, for gradients: of y's, and to the window's. */
static inline __attribute__((always_inline)) void
side_of_output_grad(const f32v *x, const int s, f32v *y, const int t)
{
    y[0] = x[0];
    y[t] = x[0] + x[s];
    y[2 * t] = x[0] - x[s];
    y[3 * t] = -x[s];
}

static inline __attribute__((always_inline)) void
side_of_window_grad(const f32v *x, const int s, f32v *y, const int t)
{
    f32v sum = (x[s] + x[2 * s]) * 0.5f;
    y[0] = x[0] + sum;
    y[t] = (x[s] - x[2 * s]) * 0.5f;
    y[2 * t] = sum + x[3 * s];
}

#define SQUARES(name, SIDE, IN, OUT)                                                           \
    static void name(const float *const *from, int64_t n, float *const *to)                    \
    {                                                                                          \
        for (int64_t i = 0; i < n; i += LANES_F) {                                             \
            const bool whole = n - i >= LANES_F;                                               \
            const int last = (int)(n - i);                                                     \
            f32v x[IN * IN], y[OUT * IN], z[OUT * OUT];                                        \
            if (whole)                                                                         \
                _Pragma("GCC unroll 16") for (int j = 0; j < IN * IN; j++) x[j] =              \
                    (f32v) * (const f32u *)(from[j] + i);                                      \
            else                                                                               \
                _Pragma("GCC unroll 16") for (int j = 0; j < IN * IN; j++) x[j] =              \
                    LOAD_PART_F(from[j] + i, last);                                            \
            _Pragma("GCC unroll 4") for (int j = 0; j < IN; j++) SIDE(x + j, IN, y + j, IN);   \
            _Pragma("GCC unroll 4") for (int j = 0; j < OUT; j++)                              \
                SIDE(y + j * IN, 1, z + j * OUT, 1);                                           \
            if (whole)                                                                         \
                _Pragma("GCC unroll 16") for (int j = 0; j < OUT * OUT; j++) *                 \
                    (f32u *)(to[j] + i) = (f32u)z[j];                                          \
            else                                                                               \
                _Pragma("GCC unroll 16") for (int j = 0; j < OUT * OUT; j++)                   \
                    STORE_PART_F(to[j] + i, last, z[j]);                                       \
        }                                                                                      \
    }
SQUARES(winograd_input, side_of_input, 4, 4)
SQUARES(winograd_window, side_of_window, 3, 4)
SQUARES(winograd_output, side_of_output, 4, 2)
SQUARES(winograd_output_grad, side_of_output_grad, 2, 4)
SQUARES(winograd_window_grad, side_of_window_grad, 4, 3)
