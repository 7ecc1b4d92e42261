/* interp_loops.h - the interpreter's inner loops; compiled once per instruction set
 *
 * needs   TABLE, the name of the table to define; V3 defined when AVX2, FMA and F16C may be used;
 *         no contraction of a*b + c (the including file sees to it)
 * gives   TABLE: a loop over lanes for every operation and type
 *
 * Loops over lanes run to a multiple of FR__LANES, so compilers need no scalar tail; what is slow
 * lane by lane (integer division, fmod) or touches the user's memory stops at n.
 */
#include "base/bits.h"
#include "kernel/interp.h"

#include <math.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

typedef uint8_t b1 __attribute__((may_alias));
typedef int32_t i32 __attribute__((may_alias));
typedef uint32_t u32 __attribute__((may_alias));
typedef int64_t i64 __attribute__((may_alias));
typedef uint64_t u64 __attribute__((may_alias));
typedef float f32 __attribute__((may_alias));
typedef double f64 __attribute__((may_alias));
typedef int8_t i8 __attribute__((may_alias));
typedef uint16_t u16 __attribute__((may_alias));
typedef int16_t i16 __attribute__((may_alias));

/* ---- templates ---------------------------------------------------------------------- */

#define ROUNDED ((n + FR__LANES - 1) / FR__LANES * FR__LANES)

#define LOOP3(name, R, A, B, C, count, expr)                                                   \
    static void name(void *restrict d, const void *pa, const void *pb, const void *pc,         \
                     int64_t n)                                                                \
    {                                                                                          \
        R *r = __builtin_assume_aligned(d, 64);                                                \
        const A *la = __builtin_assume_aligned(pa, 64);                                        \
        const B *lb = __builtin_assume_aligned(pb, 64);                                        \
        const C *lc = __builtin_assume_aligned(pc, 64);                                        \
        const int64_t end = count;                                                             \
        for (int64_t i = 0; i < end; i++) {                                                    \
            const A a = la[i];                                                                 \
            const B b = lb[i];                                                                 \
            const C c = lc[i];                                                                 \
            r[i] = (R)(expr);                                                                  \
        }                                                                                      \
    }
#define LOOP2(name, R, A, B, count, expr)                                                      \
    static void name(void *restrict d, const void *pa, const void *pb, const void *pc,         \
                     int64_t n)                                                                \
    {                                                                                          \
        R *r = __builtin_assume_aligned(d, 64);                                                \
        const A *la = __builtin_assume_aligned(pa, 64);                                        \
        const B *lb = __builtin_assume_aligned(pb, 64);                                        \
        const int64_t end = count;                                                             \
        (void)pc;                                                                              \
        for (int64_t i = 0; i < end; i++) {                                                    \
            const A a = la[i];                                                                 \
            const B b = lb[i];                                                                 \
            r[i] = (R)(expr);                                                                  \
        }                                                                                      \
    }
#define LOOP1(name, R, A, count, expr)                                                         \
    static void name(void *restrict d, const void *pa, const void *pb, const void *pc,         \
                     int64_t n)                                                                \
    {                                                                                          \
        R *r = __builtin_assume_aligned(d, 64);                                                \
        const A *la = __builtin_assume_aligned(pa, 64);                                        \
        const int64_t end = count;                                                             \
        (void)pb, (void)pc;                                                                    \
        for (int64_t i = 0; i < end; i++) {                                                    \
            const A a = la[i];                                                                 \
            r[i] = (R)(expr);                                                                  \
        }                                                                                      \
    }
#define UPDATE(name, T, expr)                                                                  \
    static void name(void *restrict acc, const void *value, int64_t lanes, int64_t n)          \
    {                                                                                          \
        T *r = __builtin_assume_aligned(acc, 64);                                              \
        const T *v = value;                                                                    \
        for (; n >= FR__LANES && n >= lanes; n -= lanes, v += lanes)                           \
            for (int64_t i = 0; i < lanes; i++) {                                              \
                const T a = r[i], b = v[i];                                                    \
                r[i] = (T)(expr);                                                              \
            }                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const T a = r[i], b = v[i];                                                        \
            r[i] = (T)(expr);                                                                  \
        }                                                                                      \
    }

/* A NaN of either side comes through; of equal values a does. */
#define LEAST(a, b) ((((a) <= (b)) | ((a) != (a))) ? (a) : (b))
#define GREATEST(a, b) ((((a) >= (b)) | ((a) != (a))) ? (a) : (b))

/* ---- integers ----------------------------------------------------------------------- */

/* T: the type, U: unsigned of the same width (so that wrapping is defined), S: signed */
#define INTEGER(T, U, S, BITS, divide, modulo)                                                 \
    LOOP2(add_##T, T, T, T, ROUNDED, (U)a + (U)b)                                              \
    LOOP2(sub_##T, T, T, T, ROUNDED, (U)a - (U)b)                                              \
    LOOP2(mul_##T, T, T, T, ROUNDED, (U)a *(U)b)                                               \
    LOOP2(div_##T, T, T, T, n, divide)                                                         \
    LOOP2(mod_##T, T, T, T, n, modulo)                                                         \
    LOOP2(min_##T, T, T, T, ROUNDED, a <= b ? a : b)                                           \
    LOOP2(max_##T, T, T, T, ROUNDED, a >= b ? a : b)                                           \
    LOOP1(neg_##T, T, T, ROUNDED, 0 - (U)a)                                                    \
    LOOP1(abs_##T, T, T, ROUNDED, a < 1 ? 0 - (U)a : (U)a)                                     \
    LOOP2(and_##T, T, T, T, ROUNDED, a &b)                                                     \
    LOOP2(or_##T, T, T, T, ROUNDED, a | b)                                                     \
    LOOP2(xor_##T, T, T, T, ROUNDED, a ^ b)                                                    \
    LOOP1(not_##T, T, T, ROUNDED, ~a)                                                          \
    LOOP2(shl_##T, T, T, T, ROUNDED, (U)b < BITS ? (U)a << ((U)b & (BITS - 1)) : 0)            \
    LOOP2(shr_##T, T, T, T, ROUNDED, a >> ((U)b < BITS ? (U)b : BITS - 1) >> ((U)b >= BITS))   \
    UPDATE(upd_add_##T, T, (U)a + (U)b)                                                        \
    UPDATE(upd_mul_##T, T, (U)a *(U)b)                                                         \
    UPDATE(upd_min_##T, T, a <= b ? a : b)                                                     \
    UPDATE(upd_max_##T, T, a >= b ? a : b)                                                     \
    UPDATE(upd_and_##T, T, a &b)                                                               \
    UPDATE(upd_or_##T, T, a | b)

#define SIGNED_DIV(U) (b == 0 ? 0 : b == -1 ? (__typeof__(a))(0 - (U)a) : a / b)
#define SIGNED_MOD (b == 0 || b == -1 ? 0 : a % b)
INTEGER(i32, u32, i32, 32, SIGNED_DIV(u32), SIGNED_MOD)
INTEGER(u32, u32, i32, 32, b == 0 ? 0 : a / b, b == 0 ? 0 : a % b)
INTEGER(i64, u64, i64, 64, SIGNED_DIV(u64), SIGNED_MOD)
INTEGER(u64, u64, i64, 64, b == 0 ? 0 : a / b, b == 0 ? 0 : a % b)
LOOP2(mulhi_u32, u32, u32, u32, ROUNDED, (uint64_t)a *b >> 32)

LOOP2(and_b1, b1, b1, b1, ROUNDED, a &b)
LOOP2(or_b1, b1, b1, b1, ROUNDED, a | b)
LOOP2(xor_b1, b1, b1, b1, ROUNDED, a ^ b)
LOOP1(not_b1, b1, b1, ROUNDED, a ^ 1)
UPDATE(upd_and_b1, b1, a &b)
UPDATE(upd_or_b1, b1, a | b)

/* ---- floats ------------------------------------------------------------------------- */

#define FLOATING(T, U, SIGN, suffix)                                                           \
    LOOP2(add_##T, T, T, T, ROUNDED, a + b)                                                    \
    LOOP2(sub_##T, T, T, T, ROUNDED, a - b)                                                    \
    LOOP2(mul_##T, T, T, T, ROUNDED, a *b)                                                     \
    LOOP2(div_##T, T, T, T, ROUNDED, a / b)                                                    \
    LOOP2(mod_##T, T, T, T, n, fmod##suffix(a, b))                                             \
    LOOP2(min_##T, T, T, T, ROUNDED, LEAST(a, b))                                              \
    LOOP2(max_##T, T, T, T, ROUNDED, GREATEST(a, b))                                           \
    LOOP1(neg_##T, U, U, ROUNDED, a ^ SIGN)                                                    \
    LOOP1(abs_##T, U, U, ROUNDED, a & ~SIGN)                                                   \
    LOOP2(copysign_##T, U, U, U, ROUNDED, (a & ~SIGN) | (b & SIGN))                            \
    LOOP1(rint_##T, T, T, ROUNDED, __builtin_rint##suffix(a))                                  \
    LOOP1(floor_##T, T, T, ROUNDED, __builtin_floor##suffix(a))                                \
    LOOP1(ceil_##T, T, T, ROUNDED, __builtin_ceil##suffix(a))                                  \
    LOOP1(trunc_##T, T, T, ROUNDED, __builtin_trunc##suffix(a))                                \
    LOOP3(muladd_##T, T, T, T, T, ROUNDED, a *b + c)                                           \
    UPDATE(upd_add_##T, T, a + b)                                                              \
    UPDATE(upd_mul_##T, T, a *b)                                                               \
    UPDATE(upd_min_##T, T, LEAST(a, b))                                                        \
    UPDATE(upd_max_##T, T, GREATEST(a, b))

FLOATING(f32, u32, 0x80000000u, f)
FLOATING(f64, u64, 0x8000000000000000u, )

/* 2^n for whole n: adding 1.5 * 2^23 leaves n in the low bits. In two factors, the second product
 * rounds. */
static inline f32 power_f32(f32 n)
{
    return fr__float32((fr__bits32(n + 0x1.8p23f) + 127) << 23);
}
static inline f64 power_f64(f64 n)
{
    return fr__float64((fr__bits64(n + 0x1.8p52) + 1023) << 52);
}
static inline f32 scaled_f32(f32 a, f32 b)
{
    f32 n = __builtin_floorf(b), half = __builtin_rintf(n * 0.5f);
    return a * power_f32(half) * power_f32(n - half);
}
static inline f64 scaled_f64(f64 a, f64 b)
{
    f64 n = __builtin_floor(b), half = __builtin_rint(n * 0.5);
    return a * power_f64(half) * power_f64(n - half);
}
LOOP2(scale_f32, f32, f32, f32, ROUNDED, scaled_f32(a, b))
LOOP2(scale_f64, f64, f64, f64, ROUNDED, scaled_f64(a, b))

/* Written with intrinsics, since not every compiler trusts fma and sqrt to be without errno. */
#ifdef V3
#define WIDE(name, T, width, expr)                                                             \
    static void name(void *restrict d, const void *pa, const void *pb, const void *pc,         \
                     int64_t n)                                                                \
    {                                                                                          \
        T *r = d;                                                                              \
        const T *a = pa, *b = pb, *c = pc;                                                     \
        (void)b, (void)c;                                                                      \
        for (int64_t i = 0; i < n; i += width)                                                 \
            expr;                                                                              \
    }
WIDE(fma_f32, float, 8,
     _mm256_store_ps(r + i, _mm256_fmadd_ps(_mm256_load_ps(a + i), _mm256_load_ps(b + i),
                                            _mm256_load_ps(c + i))))
WIDE(fma_f64, double, 4,
     _mm256_store_pd(r + i, _mm256_fmadd_pd(_mm256_load_pd(a + i), _mm256_load_pd(b + i),
                                            _mm256_load_pd(c + i))))
WIDE(sqrt_f32, float, 8, _mm256_store_ps(r + i, _mm256_sqrt_ps(_mm256_load_ps(a + i))))
WIDE(sqrt_f64, double, 4, _mm256_store_pd(r + i, _mm256_sqrt_pd(_mm256_load_pd(a + i))))
#else
LOOP3(fma_f32, f32, f32, f32, f32, n, fmaf(a, b, c))
LOOP3(fma_f64, f64, f64, f64, f64, n, fma(a, b, c))
LOOP1(sqrt_f32, f32, f32, ROUNDED, __builtin_sqrtf(a))
LOOP1(sqrt_f64, f64, f64, ROUNDED, __builtin_sqrt(a))
#endif

/* ---- comparisons, choice ------------------------------------------------------------ */

#define COMPARING(T, W)                                                                        \
    LOOP2(lt_##T, b1, T, T, ROUNDED, a < b)                                                    \
    LOOP2(le_##T, b1, T, T, ROUNDED, a <= b)                                                   \
    LOOP2(eq_##T, b1, T, T, ROUNDED, a == b)                                                   \
    LOOP2(ne_##T, b1, T, T, ROUNDED, a != b)                                                   \
    LOOP3(sel_##T, W, b1, W, W, ROUNDED, a ? b : c)
COMPARING(b1, b1)
COMPARING(i32, u32)
COMPARING(u32, u32)
COMPARING(i64, u64)
COMPARING(u64, u64)
COMPARING(f32, u32)
COMPARING(f64, u64)

/* ---- conversions -------------------------------------------------------------------- */

#define CONVERT(A, R, expr) LOOP1(A##_to_##R, R, A, ROUNDED, expr)
#define CONVERT_INTEGER(A)                                                                     \
    CONVERT(A, b1, a != 0)                                                                     \
    CONVERT(A, f32, a)                                                                         \
    CONVERT(A, f64, a)
CONVERT(b1, f32, a)
CONVERT(b1, f64, a)
CONVERT_INTEGER(i32)
CONVERT_INTEGER(u32)
CONVERT_INTEGER(i64)
CONVERT_INTEGER(u64)
CONVERT(b1, i32, a)
CONVERT(b1, i64, a)
CONVERT(i32, i32, a) /* also u32: wrapping keeps the bits */
CONVERT(i32, i64, a) /* also to u64 */
CONVERT(u32, i64, a)
CONVERT(i64, i32, (u32)a)
CONVERT(i64, i64, a)
CONVERT(f32, b1, a != 0)
CONVERT(f64, b1, a != 0)
CONVERT(f32, f64, a)
CONVERT(f64, f32, a)

/* Clamped before converting (C leaves the rest undefined), then mended. `last` is the largest
 * float below the end of the range, which is 2^31 and its like. */
#define SATURATE(A, R, low, last, least, greatest)                                             \
    CONVERT(A, R,                                                                              \
            a > (last) ? (R)(greatest)                                                         \
            : a != a   ? (R)0                                                                  \
                       : (R)(a >= (low) && a <= (last) ? a : (A)(low)))
SATURATE(f32, i32, -0x1p31f, 0x1.fffffep30f, INT32_MIN, INT32_MAX)
SATURATE(f64, i64, -0x1p63, 0x1.fffffffffffffp62, INT64_MIN, INT64_MAX)
SATURATE(f32, i64, -0x1p63f, 0x1.fffffep62f, INT64_MIN, INT64_MAX)
SATURATE(f32, u32, 0.0f, 0x1.fffffep31f, 0, UINT32_MAX)
SATURATE(f32, u64, 0.0f, 0x1.fffffep63f, 0, UINT64_MAX)
SATURATE(f64, u64, 0.0, 0x1.fffffffffffffp63, 0, UINT64_MAX)
/* Truncation comes first: -2147483648.5 and 2147483647.5 are in the range of i32. */
SATURATE(f64, i32, -0x1p31, 0x1.fffffffcp30, INT32_MIN, INT32_MAX)
SATURATE(f64, u32, 0.0, 0x1.fffffffep31, 0, UINT32_MAX)

/* ---- half floats -------------------------------------------------------------------- */

static void load_f16(void *restrict to, const void *from, int64_t n)
{
    float *r = to;
    const u16 *s = from;
    int64_t i = 0;

#ifdef V3
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(r + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(s + i))));
#endif
    for (; i < n; i++)
        r[i] = fr__from_f16(s[i]);
}

static void store_f16(void *restrict to, const void *from, int64_t n)
{
    u16 *r = to;
    const float *s = from;
    int64_t i = 0;

#ifdef V3
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(r + i), _mm256_cvtps_ph(_mm256_loadu_ps(s + i), 0));
#endif
    for (; i < n; i++)
        r[i] = fr__to_f16(s[i]);
}

#ifdef V3
WIDE(round_f16, float, 8,
     _mm256_store_ps(r + i, _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_load_ps(a + i), 0))))
#else
LOOP1(round_f16, f32, f32, ROUNDED, fr__from_f16(fr__to_f16(a)))
#endif
LOOP1(round_bf16, f32, f32, ROUNDED, fr__from_bf16(fr__to_bf16(a)))

/* ---- memory ------------------------------------------------------------------------- */

#define TRANSFER(name, R, A, expr)                                                             \
    static void name(void *restrict to, const void *from, int64_t n)                           \
    {                                                                                          \
        R *r = to;                                                                             \
        const A *s = from;                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const A a = s[i];                                                                  \
            r[i] = (R)(expr);                                                                  \
        }                                                                                      \
    }
TRANSFER(load_bool, b1, b1, a != 0)
TRANSFER(copy_1, b1, b1, a)
TRANSFER(copy_4, u32, u32, a)
TRANSFER(copy_8, u64, u64, a)
TRANSFER(load_u8, u32, b1, a)
TRANSFER(load_i8, i32, i8, a)
TRANSFER(load_u16, u32, u16, a)
TRANSFER(load_i16, i32, i16, a)
TRANSFER(store_8, b1, u32, a)
TRANSFER(store_16, u16, u32, a)
TRANSFER(load_bf16, f32, u16, fr__from_bf16(a))
TRANSFER(store_bf16, u16, f32, fr__to_bf16(a))

#define FILL(name, T)                                                                          \
    static void name(void *d, uint64_t bits, int64_t n)                                        \
    {                                                                                          \
        T *r = __builtin_assume_aligned(d, 64);                                                \
        const int64_t end = ROUNDED;                                                           \
        for (int64_t i = 0; i < end; i++)                                                      \
            r[i] = (T)bits;                                                                    \
    }
FILL(fill_1, b1)
FILL(fill_4, u32)
FILL(fill_8, u64)

static void iota(void *restrict d, const void *a, const void *b, const void *c, int64_t n)
{
    int64_t *r = d, first = *(const int64_t *)a;
    const int64_t end = ROUNDED;

    (void)b, (void)c;
    for (int64_t i = 0; i < end; i++)
        r[i] = first + i;
}

static void lookup(void *restrict d, const void *a, const void *table, const void *c, int64_t n)
{
    f32 *r = d;
    const i32 *at = a;
    const f32 *from = table;
    const int64_t end = ROUNDED;

    (void)c;
    for (int64_t i = 0; i < end; i++)
        r[i] = from[at[i] & (FR__LANES - 1)];
}

/* ---- the table ---------------------------------------------------------------------- */

#define ROW_INTS(name)                                                                         \
    [FR__KI32] = name##_i32, [FR__KU32] = name##_u32, [FR__KI64] = name##_i64,                 \
    [FR__KU64] = name##_u64
#define ROW_FLOATS(name) [FR__KF32] = name##_f32, [FR__KF64] = name##_f64
#define ROW_BOOL(name) [FR__KB1] = name##_b1

const fr__interp_loops TABLE =
    {
        .op =
            {
                [FR__K_ADD] = {ROW_INTS(add), ROW_FLOATS(add)},
                [FR__K_SUB] = {ROW_INTS(sub), ROW_FLOATS(sub)},
                [FR__K_MUL] = {ROW_INTS(mul), ROW_FLOATS(mul)},
                [FR__K_DIV] = {ROW_INTS(div), ROW_FLOATS(div)},
                [FR__K_MOD] = {ROW_INTS(mod), ROW_FLOATS(mod)},
                [FR__K_MIN] = {ROW_INTS(min), ROW_FLOATS(min)},
                [FR__K_MAX] = {ROW_INTS(max), ROW_FLOATS(max)},
                [FR__K_NEG] = {ROW_INTS(neg), ROW_FLOATS(neg)},
                [FR__K_ABS] = {ROW_INTS(abs), ROW_FLOATS(abs)},
                [FR__K_FMA] = {ROW_FLOATS(muladd)},
                [FR__K_SQRT] = {ROW_FLOATS(sqrt)},
                [FR__K_RINT] = {ROW_FLOATS(rint)},
                [FR__K_FLOOR] = {ROW_FLOATS(floor)},
                [FR__K_CEIL] = {ROW_FLOATS(ceil)},
                [FR__K_TRUNC] = {ROW_FLOATS(trunc)},
                [FR__K_COPYSIGN] = {ROW_FLOATS(copysign)},
                [FR__K_SCALE] = {ROW_FLOATS(scale)},
                [FR__K_AND] = {ROW_INTS(and), ROW_BOOL(and)},
                [FR__K_OR] = {ROW_INTS(or), ROW_BOOL(or)},
                [FR__K_XOR] = {ROW_INTS(xor), ROW_BOOL(xor)},
                [FR__K_NOT] = {ROW_INTS(not ), ROW_BOOL(not )},
                [FR__K_SHL] = {ROW_INTS(shl)},
                [FR__K_SHR] = {ROW_INTS(shr)},
                [FR__K_MULHI] = {[FR__KU32] = mulhi_u32},
                [FR__K_LT] = {ROW_INTS(lt), ROW_FLOATS(lt), ROW_BOOL(lt)},
                [FR__K_LE] = {ROW_INTS(le), ROW_FLOATS(le), ROW_BOOL(le)},
                [FR__K_EQ] = {ROW_INTS(eq), ROW_FLOATS(eq), ROW_BOOL(eq)},
                [FR__K_NE] = {ROW_INTS(ne), ROW_FLOATS(ne), ROW_BOOL(ne)},
                [FR__K_SEL] = {ROW_INTS(sel), ROW_FLOATS(sel), ROW_BOOL(sel)},
                [FR__K_BITCAST] = {[FR__KI32] = i32_to_i32,
                                   [FR__KU32] = i32_to_i32,
                                   [FR__KF32] = i32_to_i32,
                                   [FR__KI64] = i64_to_i64,
                                   [FR__KU64] = i64_to_i64,
                                   [FR__KF64] = i64_to_i64},
            },
        .cvt =
            {
                [FR__KB1] = {NULL, b1_to_i32, b1_to_i32, b1_to_i64, b1_to_i64, b1_to_f32,
                             b1_to_f64},
                [FR__KI32] = {i32_to_b1, NULL, i32_to_i32, i32_to_i64, i32_to_i64, i32_to_f32,
                              i32_to_f64},
                [FR__KU32] = {u32_to_b1, i32_to_i32, NULL, u32_to_i64, u32_to_i64, u32_to_f32,
                              u32_to_f64},
                [FR__KI64] = {i64_to_b1, i64_to_i32, i64_to_i32, NULL, i64_to_i64, i64_to_f32,
                              i64_to_f64},
                [FR__KU64] = {u64_to_b1, i64_to_i32, i64_to_i32, i64_to_i64, NULL, u64_to_f32,
                              u64_to_f64},
                [FR__KF32] = {f32_to_b1, f32_to_i32, f32_to_u32, f32_to_i64, f32_to_u64, NULL,
                              f32_to_f64},
                [FR__KF64] = {f64_to_b1, f64_to_i32, f64_to_u32, f64_to_i64, f64_to_u64,
                              f64_to_f32, NULL},
            },
        .fma = {fma_f32, fma_f64},
        .round = {round_f16, round_bf16},
        .iota = iota,
        .lookup = lookup,
        .upd =
            {
                [FR__K_ADD] = {ROW_INTS(upd_add), ROW_FLOATS(upd_add)},
                [FR__K_MUL] = {ROW_INTS(upd_mul), ROW_FLOATS(upd_mul)},
                [FR__K_MIN] = {ROW_INTS(upd_min), ROW_FLOATS(upd_min)},
                [FR__K_MAX] = {ROW_INTS(upd_max), ROW_FLOATS(upd_max)},
                [FR__K_AND] = {ROW_INTS(upd_and), ROW_BOOL(upd_and)},
                [FR__K_OR] = {ROW_INTS(upd_or), ROW_BOOL(upd_or)},
            },
        .load =
            {
                [FR_BOOL] = load_bool,
                [FR_UINT8] = load_u8,
                [FR_UINT16] = load_u16,
                [FR_UINT32] = copy_4,
                [FR_UINT64] = copy_8,
                [FR_INT8] = load_i8,
                [FR_INT16] = load_i16,
                [FR_INT32] = copy_4,
                [FR_INT64] = copy_8,
                [FR_FLOAT16] = load_f16,
                [FR_BFLOAT16] = load_bf16,
                [FR_FLOAT32] = copy_4,
                [FR_FLOAT64] = copy_8,
                [FR_COMPLEX64] = copy_8,
            },
        .store =
            {
                [FR_BOOL] = copy_1,
                [FR_UINT8] = store_8,
                [FR_UINT16] = store_16,
                [FR_UINT32] = copy_4,
                [FR_UINT64] = copy_8,
                [FR_INT8] = store_8,
                [FR_INT16] = store_16,
                [FR_INT32] = copy_4,
                [FR_INT64] = copy_8,
                [FR_FLOAT16] = store_f16,
                [FR_BFLOAT16] = store_bf16,
                [FR_FLOAT32] = copy_4,
                [FR_FLOAT64] = copy_8,
                [FR_COMPLEX64] = copy_8,
            },
        .fill = {[1] = fill_1, [4] = fill_4, [8] = fill_8},
};
