/* test_interp.c - every operation, conversion and storage type of the interpreter; its speed */
#define _GNU_SOURCE
#include "kernel_maker.h"

/* ---- one operation, every type ---------------------------------------------------------- */

typedef union value {
    uint8_t b1;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    float f32;
    double f64;
} value;

static const uint8_t dtype_of[] = {FR_BOOL,   FR_INT32,   FR_UINT32, FR_INT64,
                                   FR_UINT64, FR_FLOAT32, FR_FLOAT64};

static value special(int type)
{
    static const double floats[] = {0.0,          -0.0,
                                    1.0,          -1.0,
                                    0.5,          -0.5,
                                    1.5,          2.5,
                                    1e30,         -1e30,
                                    1e-40,        3e9,
                                    -3e9,         2147483647.5,
                                    2147483648.0, -2147483648.5,
                                    4294967295.5, 9223372036854775808.0,
                                    1.9e19,       -9223372036854775808.0,
                                    INFINITY,     -INFINITY,
                                    NAN,          65519.9,
                                    0.1};
    static const int64_t ints[] = {
        0,  1,  -1,        2,         7,         -7,        31,         32,  33,  63,
        64, 65, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, UINT32_MAX, 100, -100};
    uint64_t r = random_bits();
    value v = {.u64 = 0};

    if (type == FR__KB1)
        v.b1 = r & 1;
    else if (type == FR__KF32)
        v.f32 = r % 3 ? (float)floats[r / 3 % 25] : (float)(int64_t)random_bits() * 1e-17f;
    else if (type == FR__KF64)
        v.f64 = r % 3 ? floats[r / 3 % 25] : (double)(int64_t)random_bits() * 1e-17;
    else
        v.i64 = r % 3 ? ints[r / 3 % 19] : (int64_t)(random_bits() >> (random_bits() & 63));
    return v;
}

static uint64_t shift_right(value a, int type, uint64_t by)
{
    switch (type) {
    case FR__KI32: return (uint64_t)(a.i32 >> (by > 31 ? 31 : by));
    case FR__KU32: return by > 31 ? 0 : a.u32 >> by;
    case FR__KI64: return (uint64_t)(a.i64 >> (by > 63 ? 63 : by));
    default: return by > 63 ? 0 : a.u64 >> by;
    }
}

/* 128 bits hold every integer type: one definition for all four. */
static bool reference_int(int op, int type, value a, value b, value *r)
{
    bool is_signed = type == FR__KI32 || type == FR__KI64, wide = type >= FR__KI64;
    int bits = wide ? 64 : 32;
    __int128_t x = type == FR__KI32   ? a.i32
                   : type == FR__KU32 ? (__int128_t)a.u32
                   : type == FR__KI64 ? (__int128_t)a.i64
                                      : (__int128_t)a.u64;
    __int128_t y = type == FR__KI32   ? b.i32
                   : type == FR__KU32 ? (__int128_t)b.u32
                   : type == FR__KI64 ? (__int128_t)b.i64
                                      : (__int128_t)b.u64;
    uint64_t count = wide ? b.u64 : b.u32;
    __int128_t z;

    switch (op) {
    case FR__K_ADD: z = x + y; break;
    case FR__K_SUB: z = x - y; break;
    case FR__K_MUL: z = (__int128_t)((__uint128_t)x * (__uint128_t)y); break;
    case FR__K_DIV: z = y ? x / y : 0; break;
    case FR__K_MOD: z = y ? x % y : 0; break;
    case FR__K_MIN: z = x < y ? x : y; break;
    case FR__K_MAX: z = x > y ? x : y; break;
    case FR__K_NEG: z = -x; break;
    case FR__K_ABS: z = is_signed && x < 0 ? -x : x; break;
    case FR__K_AND: z = x & y; break;
    case FR__K_OR: z = x | y; break;
    case FR__K_XOR: z = x ^ y; break;
    case FR__K_NOT: z = ~x; break;
    case FR__K_SHL:
        z = count < (uint64_t)bits ? (__int128_t)((__uint128_t)x << count) : 0;
        break;
    case FR__K_SHR: z = (__int128_t)shift_right(a, type, count); break;
    case FR__K_MULHI: z = x * y >> 32; break;
    case FR__K_LT: z = x < y; break;
    case FR__K_LE: z = x <= y; break;
    case FR__K_EQ: z = x == y; break;
    case FR__K_NE: z = x != y; break;
    default: return false;
    }
    r->u64 = (uint64_t)z;
    return true;
}

static bool reference_bool(int op, value a, value b, value *r)
{
    switch (op) {
    case FR__K_AND: r->b1 = a.b1 && b.b1; break;
    case FR__K_OR: r->b1 = a.b1 || b.b1; break;
    case FR__K_XOR: r->b1 = a.b1 != b.b1; break;
    case FR__K_NOT: r->b1 = !a.b1; break;
    case FR__K_LT: r->b1 = a.b1 < b.b1; break;
    case FR__K_LE: r->b1 = a.b1 <= b.b1; break;
    case FR__K_EQ: r->b1 = a.b1 == b.b1; break;
    case FR__K_NE: r->b1 = a.b1 != b.b1; break;
    default: return false;
    }
    return true;
}

#define REFERENCE_FLOAT(T, F, suffix)                                                          \
    static bool reference_##F(int op, value va, value vb, value vc, bool fused, value *r)      \
    {                                                                                          \
        volatile T a = va.F, b = vb.F, c = vc.F, product = a * b;                              \
        switch (op) {                                                                          \
        case FR__K_ADD: r->F = a + b; break;                                                   \
        case FR__K_SUB: r->F = a - b; break;                                                   \
        case FR__K_MUL: r->F = product; break;                                                 \
        case FR__K_DIV: r->F = a / b; break;                                                   \
        case FR__K_MOD: r->F = fmod##suffix(a, b); break;                                      \
        case FR__K_MIN: r->F = (T)least_of(a, b); break;                                       \
        case FR__K_MAX: r->F = (T)greatest_of(a, b); break;                                    \
        case FR__K_NEG: r->F = -a; break;                                                      \
        case FR__K_ABS: r->F = fabs##suffix(a); break;                                         \
        case FR__K_FMA: r->F = fused ? fma##suffix(a, b, c) : product + c; break;              \
        case FR__K_SQRT: r->F = sqrt##suffix(a); break;                                        \
        case FR__K_RINT: r->F = nearbyint##suffix(a); break;                                   \
        case FR__K_FLOOR: r->F = floor##suffix(a); break;                                      \
        case FR__K_CEIL: r->F = ceil##suffix(a); break;                                        \
        case FR__K_TRUNC: r->F = trunc##suffix(a); break;                                      \
        case FR__K_COPYSIGN: r->F = copysign##suffix(a, b); break;                             \
        case FR__K_LT: r->b1 = a < b; break;                                                   \
        case FR__K_LE: r->b1 = a <= b; break;                                                  \
        case FR__K_EQ: r->b1 = a == b; break;                                                  \
        case FR__K_NE: r->b1 = a != b; break;                                                  \
        default: return false;                                                                 \
        }                                                                                      \
        return true;                                                                           \
    }
REFERENCE_FLOAT(float, f32, f)
REFERENCE_FLOAT(double, f64, )

static bool reference(int op, int type, value a, value b, value c, bool fused, value *r)
{
    switch (type) {
    case FR__KB1: return reference_bool(op, a, b, r);
    case FR__KF32: return reference_f32(op, a, b, c, fused, r);
    case FR__KF64: return reference_f64(op, a, b, c, fused, r);
    default: return (op != FR__K_MULHI || type == FR__KU32) && reference_int(op, type, a, b, r);
    }
}

enum { MANY = 1000 };

static void fill_special(void *to, int type, int n)
{
    for (int i = 0; i < n; i++) {
        value v = special(type);
        memcpy((char *)to + i * fr__ktype_size[type], &v, fr__ktype_size[type]);
    }
}

static value take(const void *from, int type, int i)
{
    value v = {.u64 = 0};
    memcpy(&v, (const char *)from + i * fr__ktype_size[type], fr__ktype_size[type]);
    return v;
}

/* out = op(x, y, z) over n elements, op of type `type`; sel and comparisons are as usual. */
static void one_op(int t, int op, int type, int n)
{
    bool compares = op >= FR__K_LT && op <= FR__K_NE, sel = op == FR__K_SEL;
    int result = compares ? FR__KB1 : type, arity = fr__kop_arity[op], v[3] = {-1, -1, -1};
    size_t size = fr__ktype_size[type], result_size = fr__ktype_size[result];
    void *in[3], *out = fenced((size_t)n * result_size);
    int root, to;

    start();
    root = axis(FR__BIND_PARVEC, 1 << random_bits() % 3, n);
    for (int o = 0; o < 3; o++) {
        int of = sel && o == 0 ? FR__KB1 : type;
        in[o] = fenced((size_t)n * size);
        fill_special(in[o], of, n);
        access_to(dtype_of[of], FR__BUF_IN, in[o], root, 1);
    }
    to = access_to(dtype_of[result], FR__BUF_OUT, out, root, 1);
    loop(root);
    for (int o = 0; o < arity; o++)
        v[o] = load(sel && o == 0 ? FR__KB1 : type, o);
    store(result, ins(op, result, v[0], v[1], v[2], 0), to);
    end(root);
    if (prepare(t))
        return;
    run_on(0, n, NULL);
    for (int i = 0; i < n; i++) {
        value a = take(in[0], sel ? FR__KB1 : type, i), b = take(in[1], type, i);
        value c = take(in[2], type, i), want = {.u64 = 0};
        if (sel)
            want = a.b1 ? b : c;
        else
            reference(op, type, a, b, c, tier[t].fused, &want);
        if (!same(result, (char *)out + (size_t)i * result_size, &want)) {
            EXPECT(!"one_op");
            printf("     %s %s [%s] element %d: %llx %llx %llx gives %llx, want %llx\n",
                   fr__kop_name[op], fr__ktype_name[type], tier[t].name, i,
                   (unsigned long long)a.u64, (unsigned long long)b.u64,
                   (unsigned long long)c.u64, (unsigned long long)take(out, result, i).u64,
                   (unsigned long long)want.u64);
            break;
        }
    }
    for (int o = 0; o < 3; o++)
        unfence(in[o], (size_t)n * size);
    unfence(out, (size_t)n * result_size);
}

TEST(every_operation_and_type)
{
    static const int sizes[] = {1, 15, 64, 257, MANY};
    int tested = 0;

    for (int t = 0; t < tiers(); t++)
        for (int op = FR__K_ADD; op <= FR__K_SEL; op++)
            for (int type = 0; type < FR__KNONE; type++) {
                value v = {.u64 = 1}, r;
                if (op != FR__K_SEL && !reference(op, type, v, v, v, true, &r))
                    continue;
                for (int s = 0; s < 5; s++)
                    one_op(t, op, type, sizes[s]);
                tested++;
            }
    CHECK(tested >= 2 * 120);
}

static value reference_cvt(int from, int to, value v)
{
    value r = {.u64 = 0};
    long double x = from == FR__KB1    ? v.b1
                    : from == FR__KI32 ? (long double)v.i32
                    : from == FR__KU32 ? (long double)v.u32
                    : from == FR__KI64 ? (long double)v.i64
                    : from == FR__KU64 ? (long double)v.u64
                    : from == FR__KF32 ? (long double)v.f32
                                       : (long double)v.f64;
    bool is_float = from >= FR__KF32;

    if (to == FR__KB1)
        r.b1 = x != 0;
    else if (to == FR__KF32)
        r.f32 = (float)x;
    else if (to == FR__KF64)
        r.f64 = (double)x;
    else if (!is_float)
        r.u64 = from == FR__KB1    ? v.b1
                : from == FR__KI32 ? (uint64_t)v.i32
                : from == FR__KU32 ? v.u32
                                   : v.u64;
    else if (x != x)
        r.u64 = 0;
    else if (to == FR__KI32)
        r.i32 = x >= 2147483647.0L ? INT32_MAX : x <= -2147483648.0L ? INT32_MIN : (int32_t)x;
    else if (to == FR__KU32)
        r.u32 = x >= 4294967295.0L ? UINT32_MAX : x <= 0 ? 0 : (uint32_t)x;
    else if (to == FR__KI64)
        r.i64 = x >= 9223372036854775807.0L    ? INT64_MAX
                : x <= -9223372036854775808.0L ? INT64_MIN
                                               : (int64_t)x;
    else
        r.u64 = x >= 18446744073709551615.0L ? UINT64_MAX : x <= 0 ? 0 : (uint64_t)x;
    return r;
}

TEST(conversions)
{
    enum { N = 3000 };
    static uint64_t in[N], out[N];

    for (int t = 0; t < tiers(); t++)
        for (int from = 0; from < FR__KNONE; from++)
            for (int to = 0; to < FR__KNONE; to++) {
                int root, x, y;
                if (from == to)
                    continue;
                fill_special(in, from, N);
                start();
                root = axis(FR__BIND_PARVEC, 2, N);
                x = access_to(dtype_of[from], FR__BUF_IN, in, root, 1);
                y = access_to(dtype_of[to], FR__BUF_OUT, out, root, 1);
                loop(root);
                store(to, ins(FR__K_CVT, to, load(from, x), -1, -1, 0), y);
                end(root);
                if (prepare(t))
                    return;
                run_on(0, N, NULL);
                for (int i = 0; i < N; i++) {
                    value want = reference_cvt(from, to, take(in, from, i)),
                          got = take(out, to, i);
                    if (same(to, &got, &want))
                        continue;
                    printf("     %s to %s [%s]: %llx gives %llx, want %llx\n",
                           fr__ktype_name[from], fr__ktype_name[to], tier[t].name,
                           (unsigned long long)take(in, from, i).u64,
                           (unsigned long long)got.u64, (unsigned long long)want.u64);
                    CHECK(!"conversions");
                }
            }
}

/* ---- storage types --------------------------------------------------------------------- */

static float half_value(uint16_t h)
{
    int e = h >> 10 & 31, f = h & 1023;
    double v = e == 31 ? (f ? (double)NAN : (double)INFINITY)
               : e     ? ldexp(1024 + f, e - 25)
                       : ldexp(f, -24);
    return (float)(h & 0x8000 ? -v : v);
}

static void copy_kernel(int from, int to, const void *x, void *y, int n)
{
    int root, a, b, v;

    start();
    root = axis(FR__BIND_PARVEC, 1, n);
    a = access_to(from, FR__BUF_IN, x, root, 1);
    b = access_to(to, FR__BUF_OUT, y, root, 1);
    loop(root);
    v = load(fr__ktype_of(from), a);
    store(fr__ktype_of(to), v, b);
    end(root);
}

TEST(half_floats_load_exactly)
{
    static uint16_t half[65536];
    static float out[65536];

    for (int i = 0; i < 65536; i++)
        half[i] = (uint16_t)i;
    for (int t = 0; t < tiers(); t++) {
        copy_kernel(FR_FLOAT16, FR_FLOAT32, half, out, 65536 - 3);
        if (prepare(t))
            return;
        run_on(0, 65536 - 3, NULL);
        for (int i = 0; i < 65536 - 3; i++) {
            float want = half_value((uint16_t)i);
            uint32_t bits;
            memcpy(&bits, &out[i], 4);
            if (want == want)
                CHECK(!memcmp(&want, &out[i], 4));
            else
                CHECK_EQ(bits, (uint32_t)(i & 0x8000) << 16 | 0x7fc00000u | (i & 1023u) << 13);
        }
    }
}

TEST(half_floats_store_nearest_even)
{
    enum { N = 200000 };
    static float in[N];
    static uint16_t out[N];

    for (int i = 0; i < N; i++) {
        uint32_t b = (uint32_t)random_bits();
        if (i & 1) /* near the range of halves, often half way */
            b = (b & 0x80001fffu) | (0x33000000u + (uint32_t)(random_bits() % 0x15000000u)) |
                (i & 2 ? 0x1000u : 0);
        if (i & 4)
            b &= ~0xfffu;
        memcpy(&in[i], &b, 4);
    }
    for (int t = 0; t < tiers(); t++) {
        copy_kernel(FR_FLOAT32, FR_FLOAT16, in, out, N);
        if (prepare(t))
            return;
        run_on(0, N, NULL);
        for (int i = 0; i < N; i++) {
            double x = fabs((double)in[i]), unit, v;
            int e;
            uint32_t b, want;
            memcpy(&b, &in[i], 4);
            if (in[i] != in[i]) {
                want = 0x7e00u | (b >> 13 & 0x3ffu);
            } else {
                frexp(x, &e);
                unit = ldexp(1, e - 11 < -24 ? -24 : e - 11);
                v = rint(x / unit) * unit;
                want = v >= 65520 ? 0x7c00 : 0;
                for (int h = 0, step = 0x4000; step && v < 65520;
                     step >>= 1, want = (uint32_t)h)
                    if (h + step < 0x7c00 && (double)half_value((uint16_t)(h + step)) <= v)
                        h += step;
            }
            want |= b >> 16 & 0x8000u;
            if (out[i] != want)
                printf("     %a [%s]\n", (double)in[i], tier[t].name);
            CHECK_EQ(out[i], want);
        }
    }
}

TEST(bfloats)
{
    static const uint32_t in[] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff,
                                  0x7f800000, 0x7f800001, 0xffc12345, 0x00008000, 0x80000001};
    static const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80,
                                    0x7f80, 0x7fc0, 0xffc1, 0x0000, 0x8000};
    uint16_t out[10];
    float back[10];

    for (int t = 0; t < tiers(); t++) {
        copy_kernel(FR_FLOAT32, FR_BFLOAT16, in, out, 10);
        if (prepare(t))
            return;
        run_on(0, 10, NULL);
        for (int i = 0; i < 10; i++)
            CHECK_EQ(out[i], want[i]);
        copy_kernel(FR_BFLOAT16, FR_FLOAT32, out, back, 10);
        if (prepare(t))
            return;
        run_on(0, 10, NULL);
        for (int i = 0; i < 10; i++) {
            uint32_t b;
            memcpy(&b, &back[i], 4);
            CHECK_EQ(b, (uint32_t)want[i] << 16);
        }
    }
}

TEST(round_is_store_and_load)
{
    enum { N = 4096 };
    static float in[N], rounded[N], back[N];
    static uint16_t half[N];
    static const int dtype[] = {FR_FLOAT16, FR_BFLOAT16};

    for (int i = 0; i < N; i++) {
        uint32_t b = (uint32_t)random_bits();
        memcpy(&in[i], &b, 4);
    }
    for (int t = 0; t < tiers(); t++)
        for (int d = 0; d < 2; d++) {
            int root, x, y;
            start();
            root = axis(FR__BIND_PARVEC, 1, N);
            x = access_to(FR_FLOAT32, FR__BUF_IN, in, root, 1);
            y = access_to(FR_FLOAT32, FR__BUF_OUT, rounded, root, 1);
            loop(root);
            store(FR__KF32, ins(FR__K_ROUND, FR__KF32, load(FR__KF32, x), -1, -1, dtype[d]), y);
            end(root);
            if (prepare(t))
                return;
            run_on(0, N, NULL);
            copy_kernel(FR_FLOAT32, dtype[d], in, half, N);
            if (prepare(t))
                return;
            run_on(0, N, NULL);
            copy_kernel(dtype[d], FR_FLOAT32, half, back, N);
            if (prepare(t))
                return;
            run_on(0, N, NULL);
            CHECK(!memcmp(back, rounded, sizeof back));
        }
}

TEST(narrow_integers_and_bools)
{
    static const int32_t in[] = {0, 1, -1, 127, 128, 255, 256, -129, 65535, 70000};
    int8_t i8[10], from8[] = {-128, -1, 0, 127, 5};
    uint16_t u16[10];
    int32_t back[10];
    uint8_t odd[] = {0, 1, 2, 255, 0}, flags[5];

    for (int t = 0; t < tiers(); t++) {
        copy_kernel(FR_INT32, FR_INT8, in, i8, 10);
        if (prepare(t))
            return;
        run_on(0, 10, NULL);
        for (int i = 0; i < 10; i++)
            CHECK_EQ(i8[i], (int8_t)in[i]);
        copy_kernel(FR_UINT32, FR_UINT16, in, u16, 10);
        if (prepare(t))
            return;
        run_on(0, 10, NULL);
        for (int i = 0; i < 10; i++)
            CHECK_EQ(u16[i], (uint16_t)in[i]);
        copy_kernel(FR_INT8, FR_INT32, from8, back, 5);
        if (prepare(t))
            return;
        run_on(0, 5, NULL);
        for (int i = 0; i < 5; i++)
            CHECK_EQ(back[i], from8[i]);
        copy_kernel(FR_BOOL, FR_BOOL, odd, flags, 5);
        if (prepare(t))
            return;
        run_on(0, 5, NULL);
        for (int i = 0; i < 5; i++)
            CHECK_EQ(flags[i], odd[i] != 0);
    }
}

/* ---- speed (told, not judged: other work shares the machine) ----------------------------- */

TEST(speed)
{
    enum { TIMES = 20000 };
    static _Alignas(64) float x[4096], y[4096];
    static const int sizes[] = {8, 64, 1000, 4096};
    fr__text text = {0};
    int n = gelu_kernel(x, y, 4096);
    void *space;
    double begin;

    for (int i = 0; i < 4096; i++)
        x[i] = (float)i / 1000 - 2;
    CHECK_EQ(fr__kernel_check(&m.k), 0);
    space = aligned_alloc(64, (fr__interp_space(&m.k) + 63) / 64 * 64);
    for (int s = 0; s < 4; s++) {
        begin = fr__now();
        for (int i = 0; i < TIMES; i++)
            fr__interp(&m.k, m.w, 0, sizes[s], NULL, space);
        begin = fr__now() - begin;
        printf("     gelu of %d instructions on %d floats: %.3f us\n", n, sizes[s],
               begin / TIMES * 1e6);
    }
    CHECK(fabsf(y[3000] - 0.84134475f) < 1e-6f);
    while (m.k.nins < 1000)
        ins(FR__K_FMA, FR__KF32, m.k.nins - 100, 12, 20, 0);
    begin = fr__now();
    for (int i = 0; i < 1000; i++) {
        text.n = 0;
        fr__kernel_print(&m.k, &text);
    }
    printf("     printing 1000 instructions: %.1f us, %zu bytes\n", (fr__now() - begin) * 1e3,
           text.n);
    fr__text_free(&text);
    free(space);
}

TEST(out_of_memory)
{
    float x[4];

    gelu_kernel(x, x, 4);
    for (int nth = 1; nth <= 3; nth++) {
        size_t space;
        fr__fault_set(nth);
        space = fr__interp_space(&m.k);
        fr__fault_set(0);
        CHECK_EQ(space != 0, nth == 3);
        CHECK_EQ(fr__error_now, nth == 3 ? FR__E_NONE : FR__E_MEMORY);
        fr__error_clear();
    }
    fr__fault_set(1);
    CHECK_EQ(fr__kernel_check(&m.k), -1);
    fr__fault_set(0);
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
}
