/* test_table.c - every operation of the table, over dtypes, layouts and tiers
 *
 * Loops src/op/ops.def. What an operation means stands here once more, in plain C (MEANING): a row
 * of the table without its meaning here does not compile. Values are held to it within what the
 * row's manual states ("at most N ULP"; nothing stated: exactly), and the interpreter and machine
 * code to each other bit for bit. Reductions are given numbers that any order adds up exactly.
 */
#include "values.h"

#include "op/op.h"
#include "run/plan.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* ---- what the operations mean ----------------------------------------------------------- */

#define MEANING(name, of_floats, of_wholes)                                                    \
    static double float_##name(double a, double b, double c)                                   \
    {                                                                                          \
        return (void)a, (void)b, (void)c, (of_floats);                                         \
    }                                                                                          \
    static wide whole_##name(wide a, wide b, wide c)                                           \
    {                                                                                          \
        return (void)a, (void)b, (void)c, (of_wholes);                                         \
    }
#define ONLY_FLOATS(name, form) MEANING(name, form, 0)
#define ONLY_WHOLES(name, form) MEANING(name, 0, form)
#define BOTH(name, form) MEANING(name, form, form)

__extension__ typedef unsigned __int128 unsigned_wide;
static wide product(wide a, wide b) { return (wide)((unsigned_wide)a * (unsigned_wide)b); }
static wide left(wide a, wide n) { return n < 0 || n > 63 ? 0 : (wide)((unsigned_wide)a << n); }
static wide right(wide a, wide n) { return n < 0 || n > 63 ? -(a < 0) : a >> n; }

static bool computing_bool; /* the operands are bool */
static int
    computing_float; /* the floats' dtype, whose rounding a quotient has before its floor */

static wide whole_to(wide a, wide n)
{
    unsigned_wide r = 1, x = (unsigned_wide)a;
    for (wide left = n; left > 0; left >>= 1, x *= x)
        r = left & 1 ? r * x : r;
    return n < 0 ? 0 : (wide)r;
}

static wide whole_quotient(wide a, wide b)
{
    return b ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : 0;
}

static double float_quotient(double a, double b)
{
    return floor(computing_float == FR_FLOAT64 ? a / b : (double)((float)a / (float)b));
}

/* One rounding, in the sum: as floats do it. */
static double float_rest(double a, double b)
{
    double r = fmod(a, b);
    return r == 0 ? copysign(0, b) : r == r && (r < 0) != (b < 0) ? r + b : r;
}

static double log_of_sum(double a, double b)
{
    long double m = a > b ? a : b, d = fabsl((long double)a - b);
    return a != a || b != b ? (double)NAN : a == b ? a + M_LN2 : (double)(m + log1pl(expl(-d)));
}

/* By Newton's method from a rough start. */
static double inverse_of_erf(double x)
{
    if (!(fabs(x) < 1))
        return fabs(x) == 1 ? x * (double)INFINITY : (double)NAN;
    double l = log1p(-x * x), t = 2 / (M_PI * 0.147) + l / 2;
    double y = copysign(sqrt(sqrt(t * t - l / 0.147) - t), x);
    for (int i = 0; i < 4 && x != 0; i++) {
        double off =
            fabs(x) < 0.5 ? erf(y) - x : copysign(1, x) * (1 - fabs(x) - erfc(fabs(y)));
        y -= off * 0.88622692545275801 * exp(y * y);
    }
    return x == 0 ? x : y;
}

MEANING(abs, fabs(a), a < 0 ? -a : a)
BOTH(neg, -a)
MEANING(sign, a != a ? a : (a > 0) - (a < 0), (a > 0) - (a < 0))
MEANING(square, a *a, product(a, a))
ONLY_FLOATS(sqrt, sqrt(a))
ONLY_FLOATS(rsqrt, 1 / sqrt(a))
ONLY_FLOATS(reciprocal, 1 / a)
ONLY_FLOATS(exp, (double)expl(a))
ONLY_FLOATS(log, (double)logl(a))
ONLY_FLOATS(expm1, (double)expm1l(a))
ONLY_FLOATS(log1p, (double)log1pl(a))
ONLY_FLOATS(log2, (double)log2l(a))
ONLY_FLOATS(log10, (double)log10l(a))
ONLY_FLOATS(tanh, (double)tanhl(a))
ONLY_FLOATS(sinh, (double)sinhl(a))
ONLY_FLOATS(cosh, (double)coshl(a))
ONLY_FLOATS(arcsinh, (double)asinhl(a))
ONLY_FLOATS(arccosh, (double)acoshl(a))
ONLY_FLOATS(arctanh, (double)atanhl(a))
ONLY_FLOATS(erf, (double)erfl(a))
ONLY_FLOATS(erfinv, inverse_of_erf(a))
ONLY_FLOATS(sigmoid, (double)(1 / (1 + expl(-a))))
ONLY_FLOATS(sin, (double)sinl(a))
ONLY_FLOATS(cos, (double)cosl(a))
ONLY_FLOATS(tan, (double)tanl(a))
ONLY_FLOATS(arcsin, (double)asinl(a))
ONLY_FLOATS(arccos, (double)acosl(a))
ONLY_FLOATS(arctan, (double)atanl(a))
ONLY_FLOATS(degrees, a * 57.295779513082323)
ONLY_FLOATS(radians, a * 0.017453292519943295)
MEANING(floor, floor(a), a)
MEANING(ceil, ceil(a), a)
MEANING(trunc, trunc(a), a)
MEANING(rint, rint(a), a)
BOTH(isnan, a != a)
MEANING(isinf, isinf(a) != 0, 0)
MEANING(isposinf, a == (double)INFINITY, 0)
MEANING(isneginf, a == -(double)INFINITY, 0)
MEANING(isfinite, isfinite(a) != 0, 1)
BOTH(logical_not, !a)
BOTH(real, a)
BOTH(imag, 0 * (a == 0))
BOTH(complex, 0) /* test_complex.c */
BOTH(add, a + b)
BOTH(sub, a - b)
MEANING(mul, a *b, product(a, b))
ONLY_FLOATS(div, a / b)
MEANING(pow, pow(a, b), whole_to(a, b))
MEANING(floor_divide, float_quotient(a, b), whole_quotient(a, b))
MEANING(remainder, float_rest(a, b), b ? a - b *whole_quotient(a, b) : 0)
ONLY_FLOATS(arctan2, (double)atan2l(a, b))
ONLY_FLOATS(logaddexp, log_of_sum(a, b))
BOTH(maximum, a != a ? a : b != b ? b : b > a ? b : a)
BOTH(minimum, a != a ? a : b != b ? b : b < a ? b : a)
BOTH(eq, a == b)
BOTH(ne, a != b)
BOTH(lt, a < b)
BOTH(le, a <= b)
BOTH(gt, a > b)
BOTH(ge, a >= b)
BOTH(logical_and, a &&b)
BOTH(logical_or, a || b)
BOTH(logical_xor, !a != !b)
ONLY_WHOLES(bit_invert, computing_bool ? !a : ~a)
ONLY_WHOLES(bit_and, a &b)
ONLY_WHOLES(bit_or, a | b)
ONLY_WHOLES(bit_xor, a ^ b)
ONLY_WHOLES(shift_left, left(a, b))
ONLY_WHOLES(shift_right, right(a, b))
BOTH(where, a ? b : c)

/* Of a reduction: what it begins with, and its step from a to the next element b. */
MEANING(sum, a + b, a + b)
MEANING(prod, a *b, product(a, b))
MEANING(max, float_maximum(a, b, 0), whole_maximum(a, b, 0))
MEANING(min, float_minimum(a, b, 0), whole_minimum(a, b, 0))
MEANING(any, a || b, a || b)
MEANING(all, a &&b, a &&b)

typedef struct operation {
    const char *name, *manual;
    int op, nin, rule;
    double (*of_floats)(double, double, double);
    wide (*of_wholes)(wide, wide, wide);
    fr_array *(*reduce)(fr_array *, const fr_reduce_options *);
} operation;

static const operation table[] = {
#define UNARY(name, py, rule, traits, form, da, text)                                          \
    {#name, text, FR__OP_##name, 1, FR__RULE_##rule, float_##name, whole_##name, NULL},
#define BINARY(name, py, rule, traits, form, da, db, text)                                     \
    {#name, text, FR__OP_##name, 2, FR__RULE_##rule, float_##name, whole_##name, NULL},
#define TERNARY(name, py, rule, traits, form, da, db, dc, text)                                \
    {#name, text, FR__OP_##name, 3, FR__RULE_##rule, float_##name, whole_##name, NULL},
#define REDUCE(name, py, rule, traits, combine, da, text)                                      \
    {#name,           text,         FR__OP_REDUCE_##name, 1,                                   \
     FR__RULE_##rule, float_##name, whole_##name,         fr_##name},
#include "op/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef REDUCE
};

static const fr__tier tiers[] = {FR__TIER_INTERPRETER, FR__TIER_LLVM};
enum { TIERS = 2 };

/* The type that operands of dtype d are computed in; FR_DTYPE_COUNT: not taken. */
static int computing(const operation *o, int d)
{
    switch (o->rule) {
    case FR__RULE_NUMBER: return d == FR_BOOL ? FR_DTYPE_COUNT : d;
    case FR__RULE_FLOAT: return !fr__is_float(d) ? FR_FLOAT32 : d;
    case FR__RULE_LOGICAL: return FR_BOOL;
    case FR__RULE_SHIFT: return fr__is_float(d) ? FR_DTYPE_COUNT : d == FR_BOOL ? FR_UINT8 : d;
    case FR__RULE_BITS: return fr__is_float(d) ? FR_DTYPE_COUNT : d;
    case FR__RULE_SUM:
        return fr__is_float(d) || fr__dsize(d) >= 4  ? d
               : fr__dtypes[d].kind == FR__KIND_UINT ? FR_UINT32
                                                     : FR_INT32;
    default: return d;
    }
}

static int resulting(const operation *o, int d)
{
    return o->rule == FR__RULE_COMPARE || o->rule == FR__RULE_LOGICAL ? FR_BOOL
                                                                      : computing(o, d);
}

/* ULP that the manual states; 0: exact. */
static double stated_bound(const operation *o)
{
    const char *p = strstr(o->manual, "at most ");
    return p ? strtod(p + 8, NULL) : 0;
}

/* The largest magnitude that the manual speaks of. */
static double stated_range(const operation *o)
{
    const char *p = strstr(o->manual, "|x| <= ");
    return p ? strtod(p + 7, NULL) : (double)INFINITY;
}

/* Distance in units of the last place of the result's dtype. */
static double ulps(double got, double want, int dtype)
{
    if (got == want || (got != got && want != want))
        return 0;
    int bits = dtype == FR_FLOAT16    ? 11
               : dtype == FR_BFLOAT16 ? 8
               : dtype == FR_FLOAT32  ? 24
                                      : 53;
    int least = dtype == FR_FLOAT16    ? -24
                : dtype == FR_BFLOAT16 ? -133
                : dtype == FR_FLOAT32  ? -149
                                       : -1074,
        e;
    frexp(want, &e);
    double unit = ldexp(1, e - bits < least ? least : e - bits);
    double d = fabs(got - want) / unit;
    return d == d ? d : (double)INFINITY;
}

/* ---- layouts: ways for values to lie in memory --------------------------------------------- */

typedef enum layout {
    PLAIN,
    TURNED,
    TURNED_DONE,
    SLICED,
    SLICED_DONE,
    BACKWARDS,
    ROW_REPEATED,
    COLUMN_REPEATED,
    RESHAPED,
    RESHAPED_DONE,
    LAYOUTS
} layout;
static const char *const layout_name[] = {"contiguous",
                                          "transposed",
                                          "transposed, evaluated",
                                          "sliced",
                                          "sliced, evaluated",
                                          "backwards",
                                          "one row broadcast",
                                          "one column broadcast",
                                          "reshaped from transposed",
                                          "the same, evaluated"};

static int64_t mem_at; /* where element (i, j) of a layout lies */
static void place(layout l, int64_t rows, int64_t cols, int64_t i, int64_t j)
{
    int64_t n = i * cols + j;
    switch (l) {
    case TURNED:
    case TURNED_DONE: mem_at = j * rows + i; break;
    case SLICED:
    case SLICED_DONE: mem_at = (2 * (rows - 1 - i) + 1) * (3 * cols + 2) + 3 * j + 1; break;
    case BACKWARDS: mem_at = (rows - 1 - i) * cols + cols - 1 - j; break;
    case ROW_REPEATED: mem_at = j; break;
    case COLUMN_REPEATED: mem_at = i; break;
    case RESHAPED: /* rows x cols from cols x rows turned round */
    case RESHAPED_DONE: mem_at = n % rows * cols + n / rows; break;
    default: mem_at = n;
    }
}

/* An array of rows x cols that lies so, and its values in row-major order. */
static fr_array *laid_out(layout l, int dtype, int64_t rows, int64_t cols, number (*pick)(int),
                          number *values)
{
    int64_t size = fr__dsize(dtype), room = rows * cols + rows + cols;
    if (l == SLICED || l == SLICED_DONE)
        room = (2 * rows + 1) * (3 * cols + 2);
    char *mem = malloc((size_t)(room * size + 1));
    for (int64_t i = 0; i < room; i++)
        write_number(mem + i * size, dtype, pick(dtype));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            place(l, rows, cols, i, j);
            values[i * cols + j] = read_number(mem + mem_at * size, dtype);
        }
    int64_t shape[] = {rows, cols}, turned[] = {cols, rows},
            large[] = {2 * rows + 1, 3 * cols + 2};
    fr_array *x = NULL;
    bool done = l == TURNED_DONE || l == SLICED_DONE || l == RESHAPED_DONE;
    fr_dtype d = (fr_dtype)dtype;
    switch (l) {
    case TURNED:
    case TURNED_DONE: x = fr_transpose(fr_from_data(mem, d, turned, 2), NULL, 0); break;
    case SLICED:
    case SLICED_DONE:
        x = fr_slice(fr_from_data(mem, d, large, 2), (int64_t[]){2 * rows - 1, 1},
                     (int64_t[]){-2, 3}, shape);
        break;
    case BACKWARDS:
        x = fr_slice(fr_from_data(mem, d, shape, 2), (int64_t[]){rows - 1, cols - 1},
                     (int64_t[]){-1, -1}, shape);
        break;
    case ROW_REPEATED: x = fr_broadcast_to(fr_from_data(mem, d, &cols, 1), shape, 2); break;
    case COLUMN_REPEATED:
        x = fr_broadcast_to(fr_from_data(mem, d, (int64_t[]){rows, 1}, 2), shape, 2);
        break;
    case RESHAPED:
    case RESHAPED_DONE: {
        fr_array *t = fr_transpose(fr_from_data(mem, d, shape, 2), NULL, 0);
        if (done)
            EXPECT_EQ(fr_eval(t), 0);
        x = fr_reshape(t, shape, 2);
        done = false;
        break;
    }
    default: x = fr_from_data(mem, d, shape, 2);
    }
    if (done)
        EXPECT_EQ(fr_eval(x), 0);
    free(mem);
    return x;
}

/* ---- elementwise ------------------------------------------------------------------------------ */

static int complaints; /* printed of the operation at hand */

static void complain(const operation *o, int dtype, const char *how, int64_t at,
                     const char *text)
{
    EXPECT(false);
    if (complaints++ < 3)
        printf("     %s of %s, %s, element %lld: %s\n", o->name, fr__dtypes[dtype].name, how,
               (long long)at, text);
}

/* What an element comes to: of operands of dtype d, the result's dtype. */
static number meant(const operation *o, int d, const number *v)
{
    int in = computing(o, d), out = resulting(o, d);
    number a[3] = {{0, 0}, {0, 0}, {0, 0}}, r = {0, 0};
    computing_bool = in == FR_BOOL;
    computing_float = in;
    for (int j = 0; j < o->nin; j++)
        a[j] = converted(v[j], d, o->rule == FR__RULE_SELECT && j == 0 ? FR_BOOL : in);
    if (o->rule == FR__RULE_SELECT)
        return kept(a[0].i ? a[1] : a[2], out);
    if (!fr__is_float(in)) {
        r.i = o->of_wholes(a[0].i, a[1].i, a[2].i);
        return kept(r, out);
    }
    r.f = o->of_floats(a[0].f, a[1].f, a[2].f);
    r.i = r.f != 0;
    if (!fr__is_float(out) || stated_bound(o) > 0)
        return r;
    return kept(r, out);
}

static bool right_element(const operation *o, int out, const char *got, number want)
{
    char e[8];
    double bound = stated_bound(o);
    write_number(e, out, want);
    if (o->op == FR__OP_logaddexp && out == FR_FLOAT64) /* cancels: the bound is float32's */
        bound = fmax(bound, 0x1p-50 / fmax(fabs(want.f) * 0x1p-53, 0x1p-1074));
    return same_element(got, e, out) ||
           (fr__is_float(out) && ulps(read_number(got, out).f, want.f, out) <= bound);
}

static void check_values(const operation *o, int d, const char *how, const char *const *got,
                         const number *values, int64_t n)
{
    int out = resulting(o, d);
    int64_t size = fr__dsize(out), at = first_different(got[0], got[1], out, n);
    char text[300], x[3][48], y[48], z[48];
    if (at >= 0) {
        snprintf(text, sizeof text, "interpreter %s, machine code %s",
                 number_text(read_number(got[0] + at * size, out), out, y),
                 number_text(read_number(got[1] + at * size, out), out, z));
        complain(o, d, how, at, text);
    }
    for (int64_t i = 0; i < n; i++) {
        number v[3] = {{0, 0}, {0, 0}, {0, 0}}, want;
        for (int j = 0; j < o->nin; j++)
            v[j] = values[j * n + i];
        want = meant(o, d, v);
        if (isfinite(v[0].f + (double)v[0].i) &&
            fabs(v[0].f + (double)v[0].i) > stated_range(o))
            continue;
        if (right_element(o, out, got[0] + i * size, want))
            continue;
        for (int j = 0; j < 3; j++)
            number_text(v[j], d, x[j]);
        snprintf(text, sizeof text, "of %s, %s, %s: %s, not %s", x[0], x[1], x[2],
                 number_text(read_number(got[0] + i * size, out), out, y),
                 number_text(want, out, z));
        complain(o, d, how, i, text);
        return;
    }
}

/* o on operands of dtype d that lie as l[0..2] say; ndim 2, 1 (a row) or 0. */
static void check_elementwise(const operation *o, int d, const layout *l, int ndim,
                              int64_t rows, int64_t cols)
{
    fr_scope *s = fr_scope_open();
    int64_t n = rows * cols, shape[] = {cols};
    int out = resulting(o, d);
    number *values = malloc(sizeof *values * (size_t)(3 * n + 1));
    char *got[TIERS], how[160];
    fr_array *x[3];
    for (int j = 0; j < o->nin; j++) {
        x[j] = laid_out(l[j], d, rows, cols, any_number, values + j * n);
        if (ndim < 2)
            x[j] = fr_reshape(x[j], shape, ndim);
    }
    snprintf(how, sizeof how, "%d-d %lld x %lld, %s, %s", ndim, (long long)rows,
             (long long)cols, layout_name[l[0]], o->nin > 1 ? layout_name[l[1]] : "alone");
    for (int t = 0; t < TIERS; t++) {
        fr__set_tier(tiers[t]);
        fr_array *y = fr__elementwise(o->op, o->nin, x);
        got[t] = calloc((size_t)n + 1, 8);
        if (!EXPECT(y && fr_dtype_of(y) == (fr_dtype)out && fr_ndim(y) == ndim &&
                    fr_size(y) == n) ||
            !EXPECT_EQ(fr_copy_out(y, got[t], fr_nbytes(y)), 0)) {
            complain(o, d, how, 0, fr_error_message());
            fr_error_clear();
        }
    }
    check_values(o, d, how, (const char *const *)got, values, n);
    for (int t = 0; t < TIERS; t++)
        free(got[t]);
    free(values);
    fr_scope_close(s);
}

/* Whether operation k of dtype d is tried with operands that lie as l says. A kernel each, and time goes to
 * generating them: by float32 every operation meets every layout; of other dtypes it meets three, others
 * for each operation and dtype; with a sanitizer, which makes that slow, one. --all: every one. */
static bool layout_is_taken(int k, int d, int l)
{
    int turn = (l + k + d) % LAYOUTS;
    return d == FR_FLOAT32 || test_option("all") || turn == 0 ||
           (!SANITIZED && (turn == 3 || turn == 6));
}

TEST(elementwise)
{
    const layout plain[3] = {PLAIN, PLAIN, PLAIN};
    dice_state = test_option("seed") ? strtoull(test_option("seed"), NULL, 10) : 1;
    for (int k = 0; k < FR__COUNT(table); k++) {
        const operation *o = &table[k];
        complaints = 0;
        for (int d = 0; d < DTYPES && !o->reduce && o->rule != FR__RULE_PAIR; d++) {
            if (computing(o, d) == FR_DTYPE_COUNT) {
                fr_scope *s = fr_scope_open();
                fr_array *x = fr_ones(NULL, 0, (fr_dtype)d);
                EXPECT(!fr__elementwise(o->op, o->nin, (fr_array *[]){x, x, x}));
                EXPECT_EQ(fr_error(), FR_ERROR_TYPE);
                fr_error_clear();
                fr_scope_close(s);
                continue;
            }
            /* Operands that lie alike and otherwise: every pairing for one dtype, one for each
             * layout for the rest and with a sanitizer. */
            for (int l = 0; l < LAYOUTS; l++)
                for (int by = 0; by < (o->nin > 1 && d == FR_FLOAT32 && !SANITIZED ? 4 : 1) &&
                                 layout_is_taken(k, d, l);
                     by++) {
                    int next = d == FR_FLOAT32 && !SANITIZED ? by : (l + d) % 4;
                    check_elementwise(
                        o, d, (layout[]){l, (l + next) % LAYOUTS, (l + 5 * next) % LAYOUTS}, 2,
                        5, 19);
                }
            /* Every size up to a few vectors for two dtypes, those around vectors for the rest. */
            for (int64_t n = 1; n <= 70; n++)
                if (d == FR_FLOAT32 || d == FR_INT32 || n <= 2 || (n + 1) % 16 <= 2)
                    check_elementwise(o, d, plain, 1, 1, n);
            check_elementwise(o, d, plain, 0, 1, 1);
            check_elementwise(o, d, plain, 2, 0, 3);
            check_elementwise(o, d, plain, 2, 3, 3001);
        }
    }
    fr__set_tier(FR__TIER_CHOOSE);
}

TEST(casts)
{
    enum { N = 201 };
    for (int from = 0; from < DTYPES; from++)
        for (int to = 0; to < DTYPES; to++) {
            fr_scope *s = fr_scope_open();
            number values[N];
            char got[TIERS][N * 8];
            fr_array *x = laid_out(PLAIN, from, 1, N, any_number, values);
            for (int t = 0; t < TIERS; t++) {
                fr__set_tier(tiers[t]);
                fr_array *y = fr_astype(x, (fr_dtype)to);
                CHECK_EQ(fr_copy_out(y, got[t], fr_nbytes(y)), 0);
            }
            EXPECT_EQ(first_different(got[0], got[1], to, N), -1);
            for (int i = 0; i < N; i++) {
                char want[8], a[48], b[48], c[48], *y = got[0] + i * fr__dsize(to);
                write_number(want, to, converted(values[i], from, to));
                if (same_element(y, want, to))
                    continue;
                EXPECT(false);
                printf("     %s %s to %s: %s, not %s\n", fr__dtypes[from].name,
                       number_text(values[i], from, a), fr__dtypes[to].name,
                       number_text(read_number(y, to), to, b),
                       number_text(read_number(want, to), to, c));
                break;
            }
            fr_scope_close(s);
        }
    fr__set_tier(FR__TIER_CHOOSE);
}

/* ---- reductions ---------------------------------------------------------------------------------- */

static const operation *reducing; /* whose elements exact_number picks */
static int64_t reduced_elements;

/* Elements that any order of steps makes the same result of: small whole numbers to add, few and
 * powers of two to multiply; for minima also NaN, seldom. */
static number exact_number(int dtype)
{
    number v = {0, 0};
    if (!strcmp(reducing->name, "prod") && fr__is_float(dtype)) {
        static const double factor[] = {2, 0.5, -1, -0.5, -2};
        v.f = below(reduced_elements + 16) < 16 ? factor[below(5)] : 1;
    } else if (!strcmp(reducing->name, "prod")) {
        v.i = 2 * below(100) + 1;
    } else if (!strcmp(reducing->name, "sum")) {
        v.f = (double)below(9) - 4;
        v.i = below(3) ? (wide)dice() : (wide)below(9) - 4;
    } else if (!strcmp(reducing->name, "any")) {
        v.i = below(2 * reduced_elements) == 0, v.f = v.i ? 0.25 : -0.0;
    } else if (!strcmp(reducing->name, "all")) {
        v.i = below(2 * reduced_elements) != 0, v.f = v.i ? (double)NAN : 0;
    } else {
        v = any_number(dtype);
        v.f = v.f == 0 ? 0 : v.f != v.f && below(reduced_elements) ? 1 : v.f;
    }
    return kept(v, dtype);
}

static void reference_reduction(const operation *o, int d, int ndim, const int64_t *shape,
                                unsigned mask, const number *values, int64_t n, number *want,
                                int64_t results)
{
    int in = computing(o, d);
    bool *seen = calloc((size_t)results + 1, 1);
    bool product = !strcmp(o->name, "prod") || !strcmp(o->name, "all");
    for (int64_t i = 0; i < results; i++)
        want[i] = (number){product, product};
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int a = ndim - 1; a >= 0; a--) {
            if (!(mask >> a & 1)) {
                at += rest % shape[a] * step;
                step *= shape[a];
            }
            rest /= shape[a];
        }
        number v = converted(values[i], d, in), *w = &want[at];
        bool first = !seen[at] && o->rule == FR__RULE_SAME;
        *w = first ? v : (number){o->of_floats(w->f, v.f, 0), o->of_wholes(w->i, v.i, 0)};
        if (!fr__is_float(in))
            *w = kept(*w, in);
        seen[at] = true;
    }
    free(seen);
}

static void check_reduction(const operation *o, int d, int l, int64_t planes, int64_t rows,
                            int64_t cols, unsigned mask)
{
    fr_scope *s = fr_scope_open();
    int64_t shape[] = {planes, rows, cols}, n = planes * rows * cols, results = 1;
    int axes[3], naxes = 0, out = computing(o, d);
    if (o->rule == FR__RULE_LOGICAL)
        out = FR_BOOL;
    reducing = o;
    reduced_elements = 1;
    for (int a = 0; a < 3; a++)
        if (mask >> a & 1)
            axes[naxes++] = a, reduced_elements *= shape[a];
        else
            results *= shape[a];
    bool nothing = reduced_elements == 0 && o->rule == FR__RULE_SAME;
    reduced_elements += reduced_elements == 0;
    number *values = malloc(sizeof *values * (size_t)(n + 1)),
           *want = malloc(sizeof *want * (size_t)(results + 1));
    fr_array *x =
        fr_reshape(laid_out((layout)l, d, planes * rows, cols, exact_number, values), shape, 3);
    fr_reduce_options options = {.axes = axes, .naxes = naxes, .keepdims = mask & 1};
    char *got[TIERS] = {NULL, NULL}, how[160], text[160], y[48], z[48];
    snprintf(how, sizeof how, "%lld x %lld x %lld over %s%s%s, %s", (long long)planes,
             (long long)rows, (long long)cols, mask & 1 ? "0" : "", mask & 2 ? "1" : "",
             mask & 4 ? "2" : "", layout_name[l]);
    for (int t = 0; t < TIERS; t++) {
        fr__set_tier(tiers[t]);
        fr_array *r = o->reduce(x, &options);
        got[t] = calloc((size_t)results + 1, 8);
        if (nothing) {
            EXPECT(!r && fr_error() == FR_ERROR_VALUE);
            fr_error_clear();
        } else if (!EXPECT(r && fr_dtype_of(r) == (fr_dtype)out && fr_size(r) == results) ||
                   !EXPECT_EQ(fr_copy_out(r, got[t], fr_nbytes(r)), 0)) {
            complain(o, d, how, 0, fr_error_message());
            fr_error_clear();
            nothing = true;
        }
    }
    if (!nothing) {
        int64_t at = first_different(got[0], got[1], out, results);
        if (at >= 0)
            complain(o, d, how, at, "interpreter and machine code differ");
        reference_reduction(o, d, 3, shape, mask, values, n, want, results);
        for (at = 0; at < results; at++) {
            char e[8], *have = got[0] + at * fr__dsize(out);
            write_number(e, out, want[at]);
            if (same_element(have, e, out))
                continue;
            snprintf(text, sizeof text, "%s, not %s",
                     number_text(read_number(have, out), out, y),
                     number_text(want[at], out, z));
            complain(o, d, how, at, text);
            break;
        }
    }
    for (int t = 0; t < TIERS; t++)
        free(got[t]);
    free(values);
    free(want);
    fr_scope_close(s);
}

/* Every subset of axes. */
static void check_reductions(int d, int l, int64_t planes, int64_t rows, int64_t cols)
{
    for (int k = 0; k < FR__COUNT(table); k++)
        for (unsigned mask = 0; mask < 8 && table[k].reduce; mask++) {
            complaints = mask ? complaints : 0;
            check_reduction(&table[k], d, l, planes, rows, cols, mask);
        }
}

TEST(reductions_small)
{
    static const int64_t shape[][3] = {{3, 4, 5},  {2, 17, 33}, {1, 7, 1}, {1, 1, 1},
                                       {9, 1, 70}, {0, 3, 2},   {3, 2, 0}};
    for (int d = 0; d < DTYPES; d++) {
        for (int k = 0; k < FR__COUNT(shape); k++)
            check_reductions(d, PLAIN, shape[k][0], shape[k][1], shape[k][2]);
        for (int l = 1; l < LAYOUTS; l++)
            if (d == FR_FLOAT32 || (l + d) % 4 == 0)
                check_reductions(d, l, 3, 5, 19);
    }
    for (int64_t n = 1; n <= 70; n++)
        check_reductions(FR_FLOAT32, PLAIN, 1, 3, n);
    fr__set_tier(FR__TIER_CHOOSE);
}

/* More than 131072 elements, in few rows or over outer axes: done in pieces. */
TEST(reductions_in_pieces)
{
    static const int dtypes[] = {FR_BOOL,     FR_UINT8,   FR_INT32,  FR_FLOAT16,
                                 FR_BFLOAT16, FR_FLOAT32, FR_FLOAT64};
    static const struct {
        int layout;
        int64_t planes, rows, cols;
    } arrays[] = {{PLAIN, 1, 1, 131072 + 77},
                  {PLAIN, 1, 5001, 29},
                  {PLAIN, 70, 67, 41},
                  {TURNED, 3, 300, 163},
                  {SLICED_DONE, 2, 1200, 67}};
    /* With a sanitizer all of them by float32, one by each of the others. */
    for (int k = 0; k < FR__COUNT(dtypes); k++)
        for (int i = 0; i < FR__COUNT(arrays); i++)
            if (!SANITIZED || dtypes[k] == FR_FLOAT32 || i == k % FR__COUNT(arrays))
                check_reductions(dtypes[k], arrays[i].layout, arrays[i].planes, arrays[i].rows,
                                 arrays[i].cols);
    fr__set_tier(FR__TIER_CHOOSE);
}
