/* test_complex.c - complex64 in C: plain C's numbers, both tiers alike, layouts, memory */
#include <complex.h>
#include <math.h>

#include "base/base.h"
#include "ferrule/ferrule.h"
#include "run/plan.h"
#include "test.h"

typedef float _Complex number;
enum { N = 37 };
static const fr__tier tiers[] = {FR__TIER_INTERPRETER, FR__TIER_LLVM};
static number a[N], b[N];

static void fill(void)
{
    for (int i = 0; i < N; i++) {
        a[i] = CMPLXF((float)(i * 7 % 11) - 5.5f, (float)(i * 5 % 13) * 0.25f - 1.4f);
        b[i] = CMPLXF((float)(i * 3 % 7) - 2.25f, (float)(i % 5) - 1.5f);
    }
}

static bool near(double _Complex x, double _Complex y, double tolerance)
{
    return cabs(x - y) <= tolerance * (cabs(y) + 1e-30);
}

static fr_array *from(const number *v, int64_t n)
{
    return fr_from_data(v, FR_COMPLEX64, &n, 1);
}

static void same(fr_array *y, double _Complex (*want)(int), const char *what)
{
    number got[2][N];
    for (int t = 0; t < 2; t++) {
        fr__set_tier(tiers[t]);
        fr_array *copy = fr_contiguous(y);
        if (!EXPECT_EQ(fr_dtype_of(y), FR_COMPLEX64) ||
            !EXPECT_EQ(fr_copy_out(copy, got[t], sizeof got[t]), 0)) {
            printf("     %s: %s\n", what, fr_error_message());
            fr_error_clear();
            return;
        }
    }
    fr__set_tier(FR__TIER_CHOOSE);
    EXPECT(!memcmp(got[0], got[1], sizeof got[0]));
    for (int i = 0; i < N; i++)
        if (!EXPECT(near(got[0][i], want(i), 1e-6)))
            printf("     %s of element %d\n", what, i);
}

#define MEANS(name, form)                                                                      \
    static double _Complex name(int i)                                                         \
    {                                                                                          \
        double _Complex x = a[i], y = b[i];                                                    \
        return (void)x, (void)y, (form);                                                       \
    }
MEANS(added, x + y)
MEANS(multiplied, x *y)
MEANS(divided, x / y)
MEANS(root, csqrt(x))
MEANS(exponential, cexp(x))
MEANS(logarithm, clog(x))
MEANS(arc_sine, casin(x))
MEANS(conjugated, conj(x))
MEANS(halved, x * 0.5)
MEANS(whole, x + 2 * I)

TEST(operations_in_both_tiers)
{
    fill();
    fr_scope *s = fr_scope_open();
    fr_array *x = from(a, N), *y = from(b, N);
    same(fr_add(x, y), added, "add");
    same(fr_mul(x, y), multiplied, "mul");
    same(fr_div(x, y), divided, "div");
    same(fr_sqrt(x), root, "sqrt");
    same(fr_exp(x), exponential, "exp");
    same(fr_log(x), logarithm, "log");
    same(fr_arcsin(x), arc_sine, "arcsin");
    same(fr_conjugate(x), conjugated, "conjugate");
    same(fr_mul(x, 0.5), halved, "a number of C's");
    same(fr_add(x, fr_number_complex(0, 2)), whole, "a complex number");
    same(fr_complex(fr_real(fr_add(x, y)), fr_imag(fr_add(x, y))), added, "parts");
    fr_scope_close(s);
}

TEST(parts_of_views)
{
    fill();
    fr_scope *s = fr_scope_open();
    int64_t start = N - 1, step = -1, count = N;
    fr_array *turned = fr_slice(from(a, N), &start, &step, &count);
    fr_array *sum = fr_add(turned, from(b, N)), *back = fr_slice(sum, &start, &step, &count);
    float re[N], im[N];
    CHECK_EQ(fr_copy_out(fr_real(back), re, sizeof re), 0);
    CHECK_EQ(fr_copy_out(fr_contiguous(fr_imag(turned)), im, sizeof im), 0);
    for (int i = 0; i < N; i++) {
        CHECK(re[i] == crealf(a[i]) + crealf(b[N - 1 - i]));
        CHECK(im[i] == cimagf(a[N - 1 - i]));
    }
    fr_scope_close(s);
}

TEST(numbers_out)
{
    fr_scope *s = fr_scope_open();
    fr_array *z = fr_number_complex(1.5, -2);
    double parts[2], one;
    CHECK(fr_is_weak(z) && fr_dtype_of(z) == FR_COMPLEX64);
    CHECK_EQ(fr_item_complex(z, parts), 0);
    CHECK(parts[0] == 1.5 && parts[1] == -2);
    CHECK_EQ(fr_item_complex(fr_number(3), parts), 0);
    CHECK(parts[0] == 3 && parts[1] == 0);
    CHECK_EQ(fr_item(z, &one), -1);
    CHECK_EQ(fr_error(), FR_ERROR_TYPE);
    fr_error_clear();
    CHECK_EQ(fr_item(fr_abs(fr_number_complex(3, 4)), &one), 0);
    CHECK(one == 5);
    char *text = fr_to_text(fr_sub(fr_number_complex(1, 0.25), fr_number_complex(0, 1)));
    CHECK(text && !strcmp(text, "array(1-0.75j, dtype=complex64)"));
    fr_text_free(text);
    CHECK(!fr_complex(z, 1.0));
    CHECK_EQ(fr_error(), FR_ERROR_TYPE);
    fr_error_clear();
    fr_scope_close(s);
}

/* Steps on the way are dropped: with no scope open, all memory comes back. */
TEST(nothing_leaks)
{
    fill();
    fr_array *warm = from(a, N);
    fr_free(warm);
    size_t before = fr_memory().active;
    for (int k = 0; k < 3; k++) {
        fr_array *x = from(a, N), *y = fr_tanh(x), *z = (fr_mul)(x, y), *sum = fr_sum(z, NULL);
        fr_array *wrong = fr_floor(z);
        CHECK(!wrong);
        fr_error_clear();
        CHECK_EQ(fr_eval(sum), 0);
        fr_array *made[] = {x, y, z, sum};
        for (int i = 0; i < FR__COUNT(made); i++)
            fr_free(made[i]);
    }
    CHECK_EQ(fr_memory().active, before);
}
