/* test_math.c - transcendental functions against libm in double, and Threefry as published
 *
 *   test_math [--full]       every float32 there is, instead of one in 397 (over ten million)
 *
 * Every operation of the table whose manual states a bound ("at most N ULP") is swept over all
 * exponents and signs and held to it, within the range that the manual states ("|x| <= R"). The
 * figures are printed: they are what the manual should say.
 */
#include "values.h"

#include "op/op.h"
#include "op/threefry.h"
#include "run/plan.h"

/* erf(y) = x by Newton's method; only tails lose digits in double, and there erfc has them. */
static double inverse_of_erf(double x)
{
    if (!(fabs(x) < 1))
        return fabs(x) == 1 ? x * (double)INFINITY : (double)NAN;
    if (fabs(x) < 1e-9)
        return x * 0.88622692545275801;
    double u = fabs(x), l = log1p(-u * u), t = 2 / (M_PI * 0.147) + l / 2;
    double y = sqrt(sqrt(t * t - l / 0.147) - t);
    for (int i = 0; i < 6; i++)
        y -= (u < 0.5 ? erf(y) - u : 1 - u - erfc(y)) * 0.88622692545275801 * exp(y * y);
    return copysign(y, x);
}

static long double long_inverse_of_erf(long double x)
{
    long double y = inverse_of_erf((double)x), u = fabsl(x);
    for (int i = 0; i < 3 && isfinite(y) && u > 1e-9L; i++) {
        long double z = fabsl(y), off = u < 0.5L ? erfl(z) - u : 1 - u - erfcl(z);
        y = copysignl(z - off * 0.886226925452758013649L * expl(z * z), x);
    }
    return u <= 1e-9L ? x * 0.886226925452758013649L : y;
}

/* Operation, its value for float32 and for float64; a costly one without is a failure. */
#define FUNCTIONS(X)                                                                           \
    X(exp, exp(x), expl(x))                                                                    \
    X(log, log(x), logl(x))                                                                    \
    X(expm1, expm1(x), expm1l(x))                                                              \
    X(log1p, log1p(x), log1pl(x))                                                              \
    X(log2, log2(x), log2l(x))                                                                 \
    X(log10, log10(x), log10l(x))                                                              \
    X(tanh, tanh(x), tanhl(x))                                                                 \
    X(sinh, sinh(x), sinhl(x))                                                                 \
    X(cosh, cosh(x), coshl(x))                                                                 \
    X(arcsinh, asinh(x), asinhl(x))                                                            \
    X(arccosh, acosh(x), acoshl(x))                                                            \
    X(arctanh, atanh(x), atanhl(x))                                                            \
    X(erf, erf(x), erfl(x))                                                                    \
    X(sin, sin(x), sinl(x))                                                                    \
    X(cos, cos(x), cosl(x))                                                                    \
    X(tan, tan(x), tanl(x))                                                                    \
    X(arcsin, asin(x), asinl(x))                                                               \
    X(arccos, acos(x), acosl(x))                                                               \
    X(arctan, atan(x), atanl(x))                                                               \
    X(erfinv, inverse_of_erf(x), long_inverse_of_erf(x))                                       \
    X(sigmoid, 1 / (1 + exp(-x)), 1 / (1 + expl(-x)))                                          \
    X(sqrt, sqrt(x), sqrtl(x))                                                                 \
    X(rsqrt, 1 / sqrt(x), 1 / sqrtl(x))                                                        \
    X(reciprocal, 1 / x, 1 / x)                                                                \
    X(degrees, x * 57.295779513082323, x * 57.295779513082320876798154814L)                    \
    X(radians, x * 0.017453292519943295, x * 0.017453292519943295769236907685L)

#define X(name, of_float, of_double)                                                           \
    static double exact_##name(double x) { return of_float; }                                  \
    static long double long_##name(long double x) { return of_double; }
FUNCTIONS(X)
#undef X

static double (*const exact[FR__OPS])(double) = {
#define X(name, of_float, of_double) [FR__OP_##name] = exact_##name,
    FUNCTIONS(X)
#undef X
};

static long double (*const exact64[FR__OPS])(long double) = {
#define X(name, of_float, of_double) [FR__OP_##name] = long_##name,
    FUNCTIONS(X)
#undef X
};

static double figure_in(const char *manual, const char *before, double otherwise)
{
    const char *p = strstr(manual, before);
    return p ? strtod(p + strlen(before), NULL) : otherwise;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

typedef struct worst {
    double ulps, absolute;
    float at;
} worst;

static void hold(worst *w, float x, float got, double want)
{
    float rounded = (float)want;
    if (got == rounded || (got != got && want != want))
        return;
    int e;
    frexp(want, &e);
    double off = fabs((double)got - want), unit = ldexp(1, e - 24 < -149 ? -149 : e - 24);
    double ulps = off == off ? off / unit : (double)INFINITY;
    w->absolute = off > w->absolute ? off : w->absolute;
    if (ulps > w->ulps)
        w->ulps = ulps, w->at = x;
}

/* All floats from bits `from` on, `step` apart. */
static worst sweep(int op, double range, uint32_t step)
{
    enum { N = 1 << 16 };
    static float x[N], y[N];
    worst w = {0, 0, 0};
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
        int n = 0;
        for (; n < N && bits < (uint64_t)1 << 32; bits += step) {
            float f = float_of((uint32_t)bits);
            if (fabs((double)f) <= range || f != f || isinf(f))
                x[n++] = f;
        }
        if (!n)
            continue;
        fr_scope *s = fr_scope_open();
        fr_array *in = fr_from_data(x, FR_FLOAT32, (int64_t[]){n}, 1);
        if (!EXPECT_EQ(fr_copy_out(fr__elementwise(op, 1, &in), y, sizeof *y * (size_t)n), 0)) {
            printf("     %s\n", fr_error_message());
            fr_error_clear();
        }
        for (int i = 0; i < n; i++)
            hold(&w, x[i], y[i], exact[op]((double)x[i]));
        fr_scope_close(s);
    }
    return w;
}

static void check_function(int op, const char *name, const char *manual, bool costly)
{
    double bound = figure_in(manual, "at most ", 0),
           range = figure_in(manual, "|x| <= ", (double)INFINITY);
    if (!bound && !costly)
        return;
    if (!EXPECT(exact[op])) {
        printf("     %s has no exact form here\n", name);
        return;
    }
    worst w = sweep(op, range, test_option("full") ? 1 : 397);
    printf("   %-10s %7.3f ULP at %a (%.9g), %.3g absolute; stated: %g\n", name, w.ulps,
           (double)w.at, (double)w.at, w.absolute, bound);
    EXPECT(bound > 0);
    EXPECT(w.ulps <= bound);
}

/* float64: random ones of all exponents, and of magnitudes up to 32, 1 and around 1. */
enum { DOUBLES = 40000 };

static double spread(double most) { return ((double)(dice() >> 11) * 0x1p-52 - 1) * most; }

static double random_double(int i)
{
    double x;
    uint64_t bits = dice();
    memcpy(&x, &bits, sizeof x);
    return i % 4 == 0 ? x : i % 4 == 1 ? spread(32) : i % 4 == 2 ? spread(1) : 1 + spread(1e-3);
}

static double ulps64(double got, long double want)
{
    double rounded = (double)want;
    if (got == rounded || (got != got && want != want))
        return 0;
    int e;
    frexpl(want, &e);
    double off = (double)(fabsl(got - want) / ldexpl(1, e - 53 < -1074 ? -1074 : e - 53));
    return off == off ? off : (double)INFINITY;
}

static void check_float64(int op, const char *name, const char *manual)
{
    static double x[DOUBLES], y[DOUBLES];
    double bound = figure_in(manual, "at most ", 0),
           range = figure_in(manual, "|x| <= ", (double)INFINITY);
    bound = strstr(manual, "in float64") ? figure_in(manual, "in float32, ", bound) : bound;
    if (!bound || !exact64[op])
        return;
    for (int i = 0; i < DOUBLES; i++)
        do
            x[i] = random_double(i);
        while (isfinite(x[i]) && fabs(x[i]) > range);
    fr_scope *s = fr_scope_open();
    fr_array *in = fr_from_data(x, FR_FLOAT64, (int64_t[]){DOUBLES}, 1);
    CHECK_EQ(fr_copy_out(fr__elementwise(op, 1, &in), y, sizeof y), 0);
    int worst = 0;
    for (int i = 0; i < DOUBLES; i++)
        if (ulps64(y[i], exact64[op](x[i])) > ulps64(y[worst], exact64[op](x[worst])))
            worst = i;
    double most = ulps64(y[worst], exact64[op](x[worst]));
    printf("   %-10s %7.3f ULP of float64 at %a (%.17g); stated: %g\n", name, most, x[worst],
           x[worst], bound);
    EXPECT(most <= bound);
    fr_scope_close(s);
}

TEST(stated_bounds_of_float64)
{
#define UNARY(name, py, rule, traits, form, da, text) check_float64(FR__OP_##name, #name, text);
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
}

/* float16 and bfloat16: every value there is. Functions compute in float32, so that what is left
 * is one rounding; where that result lies at the middle it may go either way. */
static void check_halves(int op, const char *name, const char *manual, fr_dtype dtype)
{
    enum { N = 1 << 16 };
    static uint16_t bits[N];
    static float x[N], y[N];
    double range = figure_in(manual, "|x| <= ", (double)INFINITY), most = 0, at = 0;
    int digits = dtype == FR_FLOAT16 ? 11 : 8, least = dtype == FR_FLOAT16 ? -24 : -133;
    double infinite = dtype == FR_FLOAT16 ? 65520 : 0x1.ffp127;
    if (!exact[op])
        return;
    for (int i = 0; i < N; i++)
        bits[i] = (uint16_t)i;
    fr_scope *s = fr_scope_open();
    fr_array *in = fr_from_data(bits, dtype, (int64_t[]){N}, 1),
             *out = fr__elementwise(op, 1, &in);
    CHECK_EQ(fr_eval(out), 0); /* rounded to its dtype */
    CHECK_EQ(fr_dtype_of(out), dtype);
    CHECK_EQ(fr_copy_out(fr_astype(in, FR_FLOAT32), x, sizeof x), 0);
    CHECK_EQ(fr_copy_out(fr_astype(out, FR_FLOAT32), y, sizeof y), 0);
    for (int i = 0; i < N; i++) {
        double want = exact[op]((double)x[i]), got = (double)y[i];
        if (isfinite(x[i]) && fabs((double)x[i]) > range)
            continue;
        if (got == want || (got != got && want != want) ||
            (isinf(got) && fabs(want) >= infinite && got * want > 0))
            continue;
        int e;
        frexp(want, &e);
        double off = fabs(got - want) / ldexp(1, e - digits < least ? least : e - digits);
        if (!(off <= most))
            most = off == off ? off : (double)INFINITY, at = (double)x[i];
    }
    if (!EXPECT(most <= 0.51))
        printf("     %s of %s: %g ULP at %g\n", name, fr_dtype_name(dtype), most, at);
    fr_scope_close(s);
}

TEST(halves_exhaustively)
{
#define UNARY(name, py, rule, traits, form, da, text)                                          \
    check_halves(FR__OP_##name, #name, text, FR_FLOAT16);                                      \
    check_halves(FR__OP_##name, #name, text, FR_BFLOAT16);
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
}

/* Of two operands: random ones, x of magnitudes around 1 and y as wide as the result allows. */
static long double exact_pair(int op, long double x, long double y)
{
    long double most = x > y ? x : y;
    return op == FR__OP_pow       ? powl(x, y)
           : op == FR__OP_arctan2 ? atan2l(x, y)
                                  : most + log1pl(expl(-fabsl(x - y)));
}

static void check_pair(int op, const char *manual, int dtype)
{
    enum { N = 400000 };
    static float x[N], y[N], z[N];
    static double a[N], b[N], c[N];
    bool wide = dtype == FR_FLOAT64;
    for (int i = 0; i < N; i++) {
        a[i] = op == FR__OP_logaddexp ? spread(20) : exp(spread(i % 2 ? 1e-3 : 30));
        double reach = wide ? 745 : 104;
        b[i] = op == FR__OP_pow ? spread(reach) / log(a[i]) : spread(20);
        a[i] = op == FR__OP_arctan2 ? copysign(a[i], spread(1)) : a[i];
        if (op == FR__OP_logaddexp && wide) /* it cancels near 0 */
            a[i] = fabs(a[i]);
        x[i] = (float)a[i];
        y[i] = (float)b[i];
    }
    fr_scope *s = fr_scope_open();
    fr_array *in[2] = {
        fr_from_data(wide ? (void *)a : (void *)x, (fr_dtype)dtype, (int64_t[]){N}, 1),
        fr_from_data(wide ? (void *)b : (void *)y, (fr_dtype)dtype, (int64_t[]){N}, 1)};
    fr_array *out = fr__elementwise(op, 2, in);
    CHECK_EQ(fr_copy_out(out, wide ? (void *)c : (void *)z, fr_nbytes(out)), 0);
    double bound = figure_in(manual, "at most ", 0), most = 0;
    for (int i = 0; i < N; i++) {
        long double want = wide ? exact_pair(op, a[i], b[i]) : exact_pair(op, x[i], y[i]);
        worst w = {0, 0, 0};
        if (wide)
            w.ulps = ulps64(c[i], want);
        else
            hold(&w, x[i], z[i], (double)want);
        most = fmax(most, w.ulps);
    }
    printf("   %-10s %7.3f ULP of %s; stated: %g\n", fr__ops[op].name, most,
           fr__dtypes[dtype].name, bound);
    EXPECT(bound > 0 && most <= bound);
    fr_scope_close(s);
}

TEST(stated_bounds_of_pairs)
{
#define UNARY(name, py, rule, traits, form, da, text)
#define BINARY(name, py, rule, traits, form, da, db, text)                                     \
    if (FR__OP_##name == FR__OP_pow || FR__OP_##name == FR__OP_arctan2 ||                      \
        FR__OP_##name == FR__OP_logaddexp) {                                                   \
        check_pair(FR__OP_##name, text, FR_FLOAT32);                                           \
        check_pair(FR__OP_##name, text, FR_FLOAT64);                                           \
    }
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
}

TEST(stated_bounds)
{
    fr__set_tier(fr__llvm_ready() ? FR__TIER_LLVM
                                  : FR__TIER_INTERPRETER); /* the same, but quick */
#define COSTLY 1
#define CHEAP 0
#define COMMUTES 0
#define UNARY(name, py, rule, traits, form, da, text)                                          \
    check_function(FR__OP_##name, #name, text, traits);
#define BINARY(name, py, rule, traits, form, da, db, text)
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)
#define REDUCE(name, py, rule, traits, combine, da, text)
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
    fr__set_tier(FR__TIER_CHOOSE);
}

TEST(special_values)
{
    static const float x[] = {0.0f,      -0.0f,      INFINITY,  -INFINITY, NAN,
                              0x1p-149f, -0x1p-149f, 0x1p-126f, 1,         -1};
    enum { N = sizeof x / sizeof *x };
    for (int t = FR__TIER_INTERPRETER; t <= FR__TIER_LLVM; t++) {
        fr__set_tier((fr__tier)t);
        for (int op = 0; op < FR__OPS; op++) {
            if (!exact[op])
                continue;
            fr_scope *s = fr_scope_open();
            float y[N];
            fr_array *in = fr_from_data(x, FR_FLOAT32, (int64_t[]){N}, 1);
            CHECK_EQ(fr_copy_out(fr__elementwise(op, 1, &in), y, sizeof y), 0);
            for (int i = 0; i < N; i++) {
                double want = exact[op]((double)x[i]);
                bool special = want == 0 || !isfinite(want); /* the rest is the sweep's */
                if (special && !EXPECT(want != want ? y[i] != y[i] : (double)y[i] == want))
                    printf("     %s(%g) = %g, not %g\n", fr__ops[op].name, (double)x[i],
                           (double)y[i], want);
                if (want == 0 && !EXPECT(!signbit(want) == !signbit(y[i])))
                    printf("     %s(%g) is %g, not %g\n", fr__ops[op].name, (double)x[i],
                           (double)y[i], want);
            }
            fr_scope_close(s);
        }
    }
    fr__set_tier(FR__TIER_CHOOSE);
}

/* Known answers of Threefry-2x32 with 20 rounds, from the Random123 distribution. */
TEST(threefry_as_published)
{
    static const struct {
        uint32_t key[2], counter[2], answer[2];
    } known[] = {
        {{0, 0}, {0, 0}, {0x6b200159, 0x99ba4efe}},
        {{0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x1cb996fc, 0xbb002be7}},
        {{0x13198a2e, 0x03707344}, {0x243f6a88, 0x85a308d3}, {0xc4923a9c, 0x483df7a0}},
    };
    for (int i = 0; i < FR__COUNT(known); i++) {
        uint32_t x[2] = {known[i].counter[0], known[i].counter[1]};
        fr__threefry(known[i].key, x);
        CHECK_EQ(x[0], known[i].answer[0]);
        CHECK_EQ(x[1], known[i].answer[1]);
    }
}

/* What kernels make against the same in plain C, in both tiers. */
TEST(threefry_in_kernels)
{
    static const int64_t sizes[] = {1, 2, 3, 16, 17, 63, 1000, 4097};
    enum { MOST = 4097 };
    static uint32_t y[MOST];
    for (int t = FR__TIER_INTERPRETER; t <= FR__TIER_LLVM; t++) {
        fr__set_tier((fr__tier)t);
        for (int k = 0; k < FR__COUNT(sizes); k++) {
            fr_scope *s = fr_scope_open();
            uint32_t key[2] = {0x13198a2e + (uint32_t)k, 0x03707344};
            uint32_t n = (uint32_t)sizes[k];
            fr_array *at = fr_from_data(key, FR_UINT32, (int64_t[]){2}, 1);
            CHECK_EQ(fr_copy_out(fr_random_bits(&sizes[k], 1, at), y, sizeof *y * n), 0);
            for (uint32_t i = 0; i < n; i++)
                CHECK_EQ(y[i], fr__random_word(key, i, n));
            fr_scope_close(s);
        }
    }
    fr__set_tier(FR__TIER_CHOOSE);
}
