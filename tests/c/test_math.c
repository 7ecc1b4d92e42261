/* test_math.c - transcendental functions against libm in double, and Threefry as published
 *
 *   test_math [--full]       every float32 there is, instead of one in 4099 (about a million)
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

static double exact_exp(double x) { return exp(x); }
static double exact_log(double x) { return log(x); }
static double exact_tanh(double x) { return tanh(x); }
static double exact_erf(double x) { return erf(x); }
static double exact_erfinv(double x) { return inverse_of_erf(x); }
static double exact_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double exact_sin(double x) { return sin(x); }
static double exact_cos(double x) { return cos(x); }
static double exact_expm1(double x) { return expm1(x); }
static double exact_log1p(double x) { return log1p(x); }
static double exact_log2(double x) { return log2(x); }
static double exact_log10(double x) { return log10(x); }
static double exact_sinh(double x) { return sinh(x); }
static double exact_cosh(double x) { return cosh(x); }
static double exact_arcsinh(double x) { return asinh(x); }
static double exact_arccosh(double x) { return acosh(x); }
static double exact_arctanh(double x) { return atanh(x); }
static double exact_tan(double x) { return tan(x); }
static double exact_arcsin(double x) { return asin(x); }
static double exact_arccos(double x) { return acos(x); }
static double exact_arctan(double x) { return atan(x); }
static double exact_degrees(double x) { return x * 57.295779513082323; }
static double exact_radians(double x) { return x * 0.017453292519943295; }
static double exact_sqrt(double x) { return sqrt(x); }
static double exact_rsqrt(double x) { return 1 / sqrt(x); }
static double exact_reciprocal(double x) { return 1 / x; }

/* The functions above by the operations' numbers; a costly one without is a failure. */
static double (*const exact[FR__OPS])(double) = {
#define F(name) [FR__OP_##name] = exact_##name
    F(exp), F(log), F(tanh), F(erf),   F(erfinv),     F(sigmoid),
    F(sin), F(cos), F(sqrt), F(rsqrt), F(reciprocal),
    F(expm1), F(log1p), F(log2), F(log10), F(sinh), F(cosh),
    F(arcsinh), F(arccosh), F(arctanh), F(tan), F(arcsin), F(arccos), F(arctan), F(degrees), F(radians),
#undef F
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
    worst w = sweep(op, range, test_option("full") ? 1 : 4099);
    printf("   %-10s %7.3f ULP at %a (%.9g), %.3g absolute; stated: %g\n", name, w.ulps,
           (double)w.at, (double)w.at, w.absolute, bound);
    EXPECT(bound > 0);
    EXPECT(w.ulps <= bound);
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
