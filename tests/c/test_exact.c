/* test_exact.c - transcendental functions against MPFR, which is exact
 *
 *   test_exact [--points=N]      so many float32 a function (65536); test_math sweeps more than ten million
 *                                of each (all there are with --full) against libm in double, which is
 *                                itself held to MPFR here
 *
 * For each operation of the table whose manual states a bound: float32 over all exponents and signs,
 * special values, and the points where a sweep against libm was worst; float64; and the functions of
 * two operands. The bound that the manual states must hold. Needs MPFR (libmpfr-dev), says so where
 * it is missing.
 */
#include "values.h"

#include "op/op.h"
#include "run/plan.h"

#ifndef FERRULE_MPFR
TEST(exactly) { printf("   skipped: no MPFR here (libmpfr-dev): tools/setup installs it\n"); }
#else
#include <mpfr.h>

enum { BITS = 200 };

static void mpfr_sigmoid(mpfr_t y, mpfr_t x)
{
    mpfr_neg(y, x, MPFR_RNDN);
    mpfr_exp(y, y, MPFR_RNDN);
    mpfr_add_ui(y, y, 1, MPFR_RNDN);
    mpfr_ui_div(y, 1, y, MPFR_RNDN);
}

/* Newton's method from double's answer: each step doubles the digits. */
static void mpfr_erfinv(mpfr_t y, mpfr_t x)
{
    double v = mpfr_get_d(x, MPFR_RNDN), u = fabs(v);
    if (!(u < 1) || u == 0) {
        mpfr_set_d(y, u == 1 ? v * (double)INFINITY : u == 0 ? v : (double)NAN, MPFR_RNDN);
        return;
    }
    double l = log1p(-u * u), t = 2 / (M_PI * 0.147) + l / 2;
    mpfr_t off, slope;
    mpfr_inits2(BITS, off, slope, (mpfr_ptr)0);
    mpfr_set_d(y, copysign(u < 1e-8 ? u * 0.886 : sqrt(sqrt(t * t - l / 0.147) - t), v),
               MPFR_RNDN);
    for (int i = 0; i < 9; i++) {
        mpfr_erf(off, y, MPFR_RNDN);
        mpfr_sub(off, off, x, MPFR_RNDN);
        mpfr_sqr(slope, y, MPFR_RNDN);
        mpfr_exp(slope, slope, MPFR_RNDN);
        mpfr_mul(off, off, slope, MPFR_RNDN);
        mpfr_const_pi(slope, MPFR_RNDN);
        mpfr_sqrt(slope, slope, MPFR_RNDN);
        mpfr_div_ui(slope, slope, 2, MPFR_RNDN);
        mpfr_mul(off, off, slope, MPFR_RNDN);
        mpfr_sub(y, y, off, MPFR_RNDN);
    }
    mpfr_clears(off, slope, (mpfr_ptr)0);
}

static void by_pi(mpfr_t y, mpfr_t x, int above, int below)
{
    mpfr_t pi;
    mpfr_init2(pi, BITS);
    mpfr_const_pi(pi, MPFR_RNDN);
    mpfr_set(y, x, MPFR_RNDN);
    if (above == 180) {
        mpfr_mul_ui(y, y, 180, MPFR_RNDN);
        mpfr_div(y, y, pi, MPFR_RNDN);
    } else {
        mpfr_mul(y, y, pi, MPFR_RNDN);
        mpfr_div_ui(y, y, (unsigned)below, MPFR_RNDN);
    }
    mpfr_clear(pi);
}

/* Operation, by MPFR, by libm in double. */
#define FUNCTIONS(X)                                                                           \
    X(exp, mpfr_exp(y, x, MPFR_RNDN), exp(v))                                                  \
    X(log, mpfr_log(y, x, MPFR_RNDN), log(v))                                                  \
    X(expm1, mpfr_expm1(y, x, MPFR_RNDN), expm1(v))                                            \
    X(log1p, mpfr_log1p(y, x, MPFR_RNDN), log1p(v))                                            \
    X(log2, mpfr_log2(y, x, MPFR_RNDN), log2(v))                                               \
    X(log10, mpfr_log10(y, x, MPFR_RNDN), log10(v))                                            \
    X(tanh, mpfr_tanh(y, x, MPFR_RNDN), tanh(v))                                               \
    X(sinh, mpfr_sinh(y, x, MPFR_RNDN), sinh(v))                                               \
    X(cosh, mpfr_cosh(y, x, MPFR_RNDN), cosh(v))                                               \
    X(arcsinh, mpfr_asinh(y, x, MPFR_RNDN), asinh(v))                                          \
    X(arccosh, mpfr_acosh(y, x, MPFR_RNDN), acosh(v))                                          \
    X(arctanh, mpfr_atanh(y, x, MPFR_RNDN), atanh(v))                                          \
    X(erf, mpfr_erf(y, x, MPFR_RNDN), erf(v))                                                  \
    X(erfinv, mpfr_erfinv(y, x), NAN)                                                          \
    X(sigmoid, mpfr_sigmoid(y, x), 1 / (1 + exp(-v)))                                          \
    X(sin, mpfr_sin(y, x, MPFR_RNDN), sin(v))                                                  \
    X(cos, mpfr_cos(y, x, MPFR_RNDN), cos(v))                                                  \
    X(tan, mpfr_tan(y, x, MPFR_RNDN), tan(v))                                                  \
    X(arcsin, mpfr_asin(y, x, MPFR_RNDN), asin(v))                                             \
    X(arccos, mpfr_acos(y, x, MPFR_RNDN), acos(v))                                             \
    X(arctan, mpfr_atan(y, x, MPFR_RNDN), atan(v))                                             \
    X(rsqrt, mpfr_rec_sqrt(y, x, MPFR_RNDN), 1 / sqrt(v))                                      \
    X(degrees, by_pi(y, x, 180, 1), v * 57.295779513082323)                                    \
    X(radians, by_pi(y, x, 1, 180), v * 0.017453292519943295)
#define PAIRS(X)                                                                               \
    X(pow, mpfr_pow(y, x, z, MPFR_RNDN))                                                       \
    X(arctan2, mpfr_atan2(y, x, z, MPFR_RNDN))                                                 \
    X(logaddexp, log_of_sum(y, x, z))

static void log_of_sum(mpfr_t y, mpfr_t x, mpfr_t z)
{
    mpfr_t e;
    mpfr_init2(e, BITS);
    mpfr_exp(y, x, MPFR_RNDN);
    mpfr_exp(e, z, MPFR_RNDN);
    mpfr_add(y, y, e, MPFR_RNDN);
    mpfr_log(y, y, MPFR_RNDN);
    mpfr_clear(e);
}

typedef struct function {
    void (*exact)(mpfr_t y, mpfr_t x, mpfr_t z);
    double (*near)(double);
} function;

#define X(name, of_mpfr, of_libm)                                                              \
    static void exact_##name(mpfr_t y, mpfr_t x, mpfr_t z) { (void)z, of_mpfr; }               \
    static double near_##name(double v) { return (void)v, of_libm; }
FUNCTIONS(X)
#undef X
#define X(name, of_mpfr)                                                                       \
    static void exact_##name(mpfr_t y, mpfr_t x, mpfr_t z) { of_mpfr; }
PAIRS(X)
#undef X

static const function functions[FR__OPS] = {
#define X(name, of_mpfr, of_libm) [FR__OP_##name] = {exact_##name, near_##name},
    FUNCTIONS(X)
#undef X
#define X(name, of_mpfr) [FR__OP_##name] = {exact_##name, NULL},
        PAIRS(X)
#undef X
};

/* ---- how far off -------------------------------------------------------------------------- */

static mpfr_t mx, my, mz;

/* In units of the last place of a format with so many digits and such a least exponent; what is
 * right when rounded counts as 0. */
static double off_by(int op, double got, double x, double z, int digits, int least)
{
    mpfr_set_d(mx, x, MPFR_RNDN);
    mpfr_set_d(mz, z, MPFR_RNDN);
    functions[op].exact(my, mx, mz);
    double want = mpfr_get_d(my, MPFR_RNDN),
           rounded = digits == 24 ? (double)(float)want : want;
    if (got == rounded || (got != got && want != want))
        return 0;
    if (mpfr_zero_p(my) || !mpfr_number_p(my) ||
        !isfinite(got)) /* the last finite one, at most */
        return isfinite(rounded) || isfinite(got) ? (double)INFINITY : 0;
    long e = mpfr_get_exp(my);
    mpfr_sub_d(my, my, got, MPFR_RNDN);
    mpfr_mul_2si(my, my, -(e - digits < least ? least : e - digits), MPFR_RNDN);
    return fabs(mpfr_get_d(my, MPFR_RNDN));
}

static double figure_in(const char *manual, const char *before, double otherwise)
{
    const char *p = strstr(manual, before);
    return p ? strtod(p + strlen(before), NULL) : otherwise;
}

static void run(int op, const void *x, const void *z, void *y, int dtype, int64_t n)
{
    fr_scope *s = fr_scope_open();
    fr_array *in[2] = {fr_from_data(x, (fr_dtype)dtype, &n, 1),
                       z ? fr_from_data(z, (fr_dtype)dtype, &n, 1) : NULL};
    if (!EXPECT_EQ(fr_copy_out(fr__elementwise(op, z ? 2 : 1, in), y,
                               (size_t)n * fr_dtype_size((fr_dtype)dtype)),
                   0)) {
        printf("     %s\n", fr_error_message());
        fr_error_clear();
    }
    fr_scope_close(s);
}

static void tell(const char *name, const char *dtype, double most, double at, double bound)
{
    printf("   %-10s %-8s %7.3f ULP at %a; stated: %g\n", name, dtype, most, at, bound);
    EXPECT(most <= bound);
}

/* ---- float32 -------------------------------------------------------------------------------- */

enum { WORST = 32, BATCH = 1 << 16 };
static float points[BATCH], values[BATCH];

static int gather(uint64_t *bits, uint64_t step, double range)
{
    int n = 0;
    for (; n < BATCH && *bits < (uint64_t)1 << 32; *bits += step) {
        uint32_t low = (uint32_t)*bits;
        float f;
        memcpy(&f, &low, sizeof f);
        if (fabs((double)f) <= range || f != f || isinf(f))
            points[n++] = f;
    }
    return n;
}

/* Where libm says it is worst. */
static int suspects(int op, double range, float *worst)
{
    double offs[WORST] = {0};
    int found = 0;
    if (isnan(functions[op].near(0.5)))
        return 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
        int n = gather(&bits, 4003, range);
        run(op, points, NULL, values, FR_FLOAT32, n);
        for (int i = 0; i < n; i++) {
            double want = functions[op].near((double)points[i]), scale = fabs(want);
            double off = fabs((double)values[i] - want) / (scale < 0x1p-126 ? 0x1p-126 : scale);
            int at = found < WORST ? found++ : 0;
            for (int k = 0; found == WORST && k < WORST; k++)
                at = offs[k] < offs[at] ? k : at;
            if (off == off && off >= offs[at])
                offs[at] = off, worst[at] = points[i];
        }
    }
    return found;
}

static void check_float(int op, const char *name, double bound, double range)
{
    float worst[WORST] = {0};
    const char *asked = test_option("points");
    int64_t count = asked ? atoll(asked) : 65536;
    double most = 0, at = 0;
    int n = suspects(op, range, worst);
    uint64_t bits = 12345 % (uint64_t)count, step = ((uint64_t)1 << 32) / (uint64_t)count;
    memcpy(points, worst, sizeof *worst * (size_t)n);
    static const float special[] = {0.0f,      -0.0f,      1,         -1,
                                    0.5f,      INFINITY,   -INFINITY, NAN,
                                    0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f};
    for (int i = 0; i < FR__COUNT(special); i++)
        if (!(fabs((double)special[i]) > range) || isinf(special[i]))
            points[n++] = special[i];
    for (; n; n = gather(&bits, step, range)) {
        run(op, points, NULL, values, FR_FLOAT32, n);
        for (int i = 0; i < n; i++) {
            double off = off_by(op, (double)values[i], (double)points[i], 0, 24, -149);
            if (off > most)
                most = off, at = (double)points[i];
        }
    }
    tell(name, "float32", most, at, bound);
}

/* ---- float64, and pairs ------------------------------------------------------------------- */

static double spread(double most) { return ((double)(dice() >> 11) * 0x1p-52 - 1) * most; }

enum { DOUBLES = 4096 };

static void check_double(int op, const char *name, double bound, double range)
{
    static double x[DOUBLES], y[DOUBLES];
    double most = 0, at = 0;
    for (int i = 0; i < DOUBLES; i++)
        do {
            uint64_t bits = dice();
            memcpy(&x[i], &bits, sizeof bits);
            x[i] = i % 4 == 0   ? x[i]
                   : i % 4 == 1 ? spread(32)
                   : i % 4 == 2 ? spread(1)
                                : 1 + spread(1e-3);
        } while (isfinite(x[i]) && fabs(x[i]) > range);
    run(op, x, NULL, y, FR_FLOAT64, DOUBLES);
    for (int i = 0; i < DOUBLES; i++) {
        double off = off_by(op, y[i], x[i], 0, 53, -1074);
        if (off > most)
            most = off, at = x[i];
    }
    tell(name, "float64", most, at, bound);
}

static void check_pair(int op, const char *name, double bound, int dtype)
{
    static double x[DOUBLES * 8], z[DOUBLES * 8];
    static float xf[DOUBLES * 8], zf[DOUBLES * 8], yf[DOUBLES * 8];
    static double y[DOUBLES * 8];
    bool wide = dtype == FR_FLOAT64;
    double most = 0, at = 0;
    for (int i = 0; i < DOUBLES * 8; i++) {
        x[i] = op == FR__OP_logaddexp ? spread(20) : exp(spread(i % 2 ? 1e-3 : 30));
        z[i] = op == FR__OP_pow ? spread(wide ? 745 : 104) / log(x[i]) : spread(20);
        x[i] = op == FR__OP_arctan2 ? copysign(x[i], spread(1)) : x[i];
        if (op == FR__OP_logaddexp && wide) /* it cancels near 0 */
            x[i] = fabs(x[i]);
        xf[i] = (float)x[i];
        zf[i] = (float)z[i];
    }
    run(op, wide ? (void *)x : xf, wide ? (void *)z : zf, wide ? (void *)y : yf, dtype,
        DOUBLES * 8);
    for (int i = 0; i < DOUBLES * 8; i++) {
        double off = wide ? off_by(op, y[i], x[i], z[i], 53, -1074)
                          : off_by(op, (double)yf[i], (double)xf[i], (double)zf[i], 24, -149);
        if (off > most)
            most = off, at = x[i];
    }
    tell(name, wide ? "float64" : "float32", most, at, bound);
}

static void check(int op, const char *name, const char *manual, int nin)
{
    double bound = figure_in(manual, "at most ", 0), wide = bound,
           range = figure_in(manual, "|x| <= ", (double)INFINITY);
    if (!bound || !functions[op].exact)
        return;
    if (strstr(manual, "in float64"))
        wide = figure_in(manual, "in float32, ", bound);
    if (nin == 2) {
        check_pair(op, name, bound, FR_FLOAT32);
        check_pair(op, name, bound, FR_FLOAT64);
        return;
    }
    check_float(op, name, bound, range);
    check_double(op, name, wide, range);
}

TEST(exactly)
{
    fr__set_tier(fr__llvm_ready() ? FR__TIER_LLVM
                                  : FR__TIER_INTERPRETER); /* the same, but quick */
    mpfr_inits2(BITS, mx, my, mz, (mpfr_ptr)0);
#define UNARY(name, py, rule, traits, form, da, text) check(FR__OP_##name, #name, text, 1);
#define BINARY(name, py, rule, traits, form, da, db, text) check(FR__OP_##name, #name, text, 2);
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    mpfr_clears(mx, my, mz, (mpfr_ptr)0);
    mpfr_free_cache();
    fr__set_tier(FR__TIER_CHOOSE);
}
#endif

/* Sums go in blocks and lanes: their error grows with the logarithm of the length. */
TEST(long_sums)
{
    const int64_t n = 100000000;
    uint32_t key[2] = {7, 11};
    fr_scope *s = fr_scope_open();
    fr_array *k = fr_from_data(key, FR_UINT32, (int64_t[]){2}, 1);
    fr_array *random = fr_random_uniform(&n, 1, FR_FLOAT32, k);
    fr_array *same = fr_full(&n, 1, 0.1, FR_FLOAT32);
    fr_array *tall = fr_reshape(random, (int64_t[]){n / 100, 100}, 2);
    fr_reduce_options columns = {.axes = (int[]){0}, .naxes = 1};
    double got, want;
    CHECK_EQ(fr_item(fr_sum(random, NULL), &got), 0);
    CHECK_EQ(fr_item(fr_sum(fr_astype(random, FR_FLOAT64), NULL), &want), 0);
    printf("   of 1e8 random numbers: relative error %.2g\n", fabs(got - want) / want);
    CHECK(fabs(got - want) < 1e-6 * want);
    CHECK_EQ(fr_item(fr_sum(same, NULL), &got), 0);
    want = (double)0.1f * (double)n;
    printf("   of 1e8 times 0.1: relative error %.2g\n", fabs(got - want) / want);
    CHECK(fabs(got - want) < 1e-6 * want);
    float by_column[100];
    double exactly[100];
    CHECK_EQ(fr_copy_out(fr_sum(tall, &columns), by_column, sizeof by_column), 0);
    CHECK_EQ(
        fr_copy_out(fr_sum(fr_astype(tall, FR_FLOAT64), &columns), exactly, sizeof exactly), 0);
    for (int i = 0; i < 100; i++)
        CHECK(fabs((double)by_column[i] - exactly[i]) < 1e-6 * exactly[i]);
    fr_scope_close(s);
}
