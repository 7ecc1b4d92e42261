/* test_kernel_text.c - a kernel's text, and what the checker refuses */
#define _GNU_SOURCE
#include "kernel_maker.h"

/* ---- text ------------------------------------------------------------------------------- */

TEST(prints)
{
    fr__text t = {0};
    int par, outer, vec, x, y, a, b;
    double third = -1.0 / 3;
    int64_t bits;

    memcpy(&bits, &third, 8);
    start();
    par = axis(FR__BIND_PAR, 0, 6);
    outer = axis(FR__BIND_OUTER, 0, 3);
    m.axis[outer].div = (uint16_t)word(2);
    vec = axis(FR__BIND_VEC, 2, 100);
    m.axis[vec].split = (int16_t)outer;
    m.axis[vec].block = (uint16_t)word(40);
    x = access_to(FR_FLOAT16, FR__BUF_IN, NULL, vec, 3);
    term(x, par, 7);
    term(x, outer, 9);
    y = access_to(FR_FLOAT32, FR__BUF_OUT, NULL, vec, 1);
    m.access[y].nt = true;
    a = constant_f32(3);
    constant_f32(-INFINITY);
    constant_f32(1e-45f);
    ins(FR__K_CONST, FR__KF64, -1, -1, -1, bits);
    ins(FR__K_CONST, FR__KF32, -1, -1, -1, 0x7fc00001);
    constant_int(FR__KI64, INT64_MIN);
    constant_int(FR__KU32, -1);
    constant_int(FR__KB1, 1);
    loop(par);
    loop(vec);
    b = ins(FR__K_FMA, FR__KF32, a, load(FR__KF32, x), a, 0);
    b = ins(FR__K_CVT, FR__KI32, b, -1, -1, 1);
    b = ins(FR__K_CVT, FR__KF32, b, -1, -1, 0);
    b = ins(FR__K_ROUND, FR__KF32, b, -1, -1, FR_BFLOAT16);
    ins(FR__K_STORE, FR__KF32, b, 5, 7, y);
    end(vec);
    end(par);
    CHECK_EQ(fr__kernel_check(&m.k), 0);
    fr__kernel_print(&m.k, &t);
    CHECK_STR(t.at, "kernel w11\n"
                    "buf 0 float16 in w6\n"
                    "buf 1 float32 out w10\n"
                    "axis 0 par w1\n"
                    "axis 1 outer w2 div w3\n"
                    "axis 2 vec u2 w4 split a1 block w5\n"
                    "access 0 buf0 stride a2*w7 + a0*w8 + a1*w9\n"
                    "access 1 buf1 unit nt a2\n"
                    "%0 = f32 const 0x1.8p+1\n"
                    "%1 = f32 const -inf\n"
                    "%2 = f32 const 0x1p-149\n"
                    "%3 = f64 const -0x1.5555555555555p-2\n"
                    "%4 = f32 const nan:7fc00001\n"
                    "%5 = i64 const -9223372036854775808\n"
                    "%6 = u32 const 4294967295\n"
                    "%7 = b1 const true\n"
                    "loop a0\n"
                    "loop a2\n"
                    "%10 = f32 load access0\n"
                    "%11 = f32 fma %0 %10 %0\n"
                    "%12 = i32 cvt %11 inrange\n"
                    "%13 = f32 cvt %12\n"
                    "%14 = f32 round %13 bfloat16\n"
                    "store f32 %14 access1 at %5 if %7\n"
                    "end a2\n"
                    "end a0\n");
    fr__text_free(&t);
}

/* ---- words --------------------------------------------------------------------------------- */

/* The kernel in m as text, and as words (how many); the text is the caller's. */
static char *written(uint64_t *words, size_t room, size_t *n)
{
    fr__text t = {0};
    fr__kernel_print(&m.k, &t);
    *n = fr__kernel_words(&m.k, room, words);
    return t.at;
}

static void two_accesses(void)
{
    start();
    int par = axis(FR__BIND_PAR, 0, 6), outer = axis(FR__BIND_OUTER, 0, 3);
    m.axis[outer].div = (uint16_t)word(2);
    int serial = axis(FR__BIND_SERIAL, 0, 7), vec = axis(FR__BIND_VEC, 2, 100);
    m.axis[vec].split = (int16_t)outer;
    m.axis[vec].block = (uint16_t)word(40);
    int x = access_to(FR_FLOAT32, FR__BUF_IN, NULL, vec, 3);
    term(x, par, 7);
    term(x, serial, 9);
    int y = access_to(FR_FLOAT32, FR__BUF_OUT, NULL, vec, 1), at = constant_int(FR__KI64, 1);
    int mask = constant_int(FR__KB1, 1);
    loop(par);
    loop(serial);
    loop(vec);
    int v = ins(FR__K_LOAD, FR__KF32, -1, at, mask, x);
    ins(FR__K_STORE, FR__KF32, v, at, mask, y);
    end(vec);
    end(serial);
    end(par);
}

/* Each thing that the text shows, changed alone, changes the words. */
TEST(words_hold_all_of_the_text)
{
    static uint64_t before[512], after[512];
    size_t n, k;
    two_accesses();
    CHECK_EQ(fr__kernel_check(&m.k), 0);
    char *text = written(before, FR__COUNT(before), &n);
    CHECK(n <= FR__COUNT(before));
    for (int i = 0; i < 29; i++) {
        two_accesses();
        switch (i) {
        case 0: m.k.nword++; break;
        case 1: m.bufs[0].dtype = FR_FLOAT16; break;
        case 2: m.bufs[0].role = FR__BUF_SCRATCH; break;
        case 3: m.bufs[1].word++; break;
        case 4: m.axis[0].bind = FR__BIND_PARVEC; break;
        case 5: m.axis[3].unroll = 4; break;
        case 6: m.axis[1].extent++; break;
        case 7: m.axis[1].div++; break;
        case 8: m.axis[3].split = 0; break;
        case 9: m.axis[3].split = -1; break;
        case 10: m.axis[3].block++; break;
        case 11: m.access[0].buf = 1; break;
        case 12: m.access[0].vec = FR__VEC_UNIT; break;
        case 13: m.access[1].nt = true; break;
        case 14: m.access[0].prefetch = 1; break;
        case 15: m.access[0].vaxis = 0; break;
        case 16: m.access[0].vstride++; break;
        case 17: m.access[0].nterm--; break;
        case 18: m.access[0].term[1].axis = 1; break;
        case 19: m.access[0].term[1].word++; break;
        case 20: m.ins[0].imm = 1ll << 40; break;
        case 21: m.ins[5].imm = 1; break;
        case 22: m.ins[5].b = -1; break;
        case 23: m.ins[5].c = 0; break;
        case 24: m.ins[5].op = FR__K_ROUND; break;
        case 25: m.ins[6].a = 0; break;
        case 26: m.ins[6].type = FR__KI32; break;
        case 27: m.k.nins--; break;
        case 28: m.access[0].sparse = true; break;
        }
        char *now = written(after, FR__COUNT(after), &k);
        bool told = k != n || memcmp(before, after, 8 * n) != 0;
        if (!EXPECT(strcmp(now, text) != 0) || !EXPECT(told))
            printf("     change %d\n", i);
        fr__free(now);
    }
    fr__free(text);
}

/* ---- the checker ------------------------------------------------------------------------ */

static bool complains(const char *about)
{
    bool right = fr__kernel_check(&m.k) == -1 && strstr(fr__error_text(), about);

    if (!right)
        printf("     wanted '%s', got '%s'\n", about, fr__error_text());
    fr__error_clear();
    return right;
}

TEST(checker_names_the_instruction)
{
    float x[4];

    gelu_kernel(x, x, 4);
    m.ins[20].b = 30;
    CHECK(
        complains("instruction 20 '%20 = f32 max %19 %30': operand b: %30 is not an earlier"));
    gelu_kernel(x, x, 4);
    m.ins[20].type = FR__KI32;
    CHECK(complains("operand a: %19 is f32, wanted i32"));
    gelu_kernel(x, x, 4);
    m.ins[m.k.nins - 1].imm = 3;
    CHECK(complains("not the innermost open loop"));
    gelu_kernel(x, x, 4);
    m.k.nins--;
    CHECK(complains("no root loop, or it does not end"));
    gelu_kernel(x, x, 4);
    ins(FR__K_ADD, FR__KF32, 0, 0, -1, 0);
    CHECK(complains("after the root loop"));
    gelu_kernel(x, x, 4);
    m.bufs[1].role = FR__BUF_IN;
    CHECK(complains("buf 1 is an input"));
    gelu_kernel(x, x, 4);
    m.access[1].vec = FR__VEC_NONE;
    m.access[1].vaxis = -1;
    CHECK(complains("one address for all lanes"));
    gelu_kernel(x, x, 4);
    m.k.nword--;
    CHECK(complains("is not in [1, 3)"));
    gelu_kernel(x, x, 4);
    m.bufs[0].dtype = FR_DTYPE_COUNT;
    CHECK(complains("cannot be loaded"));
    gelu_kernel(x, x, 4);
    m.axis[0].unroll = 3;
    CHECK(complains("unroll 3"));
    gelu_kernel(x, x, 4);
    m.bufs[0].dtype = FR_INT8;
    CHECK(complains("type f32, but a int8 buffer holds i32"));
}

/* Whatever is changed in a good kernel: refused with a message, or it can be planned; and then words
 * tell it from the first one where the text does. */
TEST(mutated_kernels)
{
    static float x[256], y[256];
    static uint64_t first[2048], words[2048];
    int refused = 0, accepted = 0, differ = 0;
    size_t nfirst, n_words;
    gelu_kernel(x, y, 256);
    char *text = written(first, FR__COUNT(first), &nfirst);
    CHECK(nfirst <= FR__COUNT(first));

    for (int round = 0; round < 20000; round++) {
        int n = gelu_kernel(x, y, 256);
        for (int change = (int)(random_bits() % 3); change >= 0; change--) {
            fr__kins *at = &m.ins[random_bits() % (uint64_t)n];
            int32_t with = (int32_t)(random_bits() % (uint64_t)(n + 2)) - 1;
            switch (random_bits() % 7) {
            case 0: at->a = with; break;
            case 1: at->b = with; break;
            case 2: at->c = with; break;
            case 3: at->op = (uint8_t)(random_bits() % (FR__K_COUNT + 1)); break;
            case 4: at->type = (uint8_t)(random_bits() % (FR__KNONE + 2)); break;
            case 5: at->imm = (int64_t)(random_bits() % 5) - 1; break;
            case 6: m.access[random_bits() & 1].vec = (uint8_t)(random_bits() % 4); break;
            }
        }
        if (fr__kernel_check(&m.k)) {
            CHECK(fr__error_now == FR__E_INTERNAL);
            fr__error_clear();
            refused++;
        } else {
            CHECK(fr__interp_space(&m.k) > 0);
            accepted++;
            char *now = written(words, FR__COUNT(words), &n_words);
            bool same_text = !strcmp(now, text);
            fr__free(now);
            CHECK(same_text || n_words != nfirst || memcmp(words, first, 8 * nfirst));
            differ += !same_text;
        }
    }
    fr__free(text);
    CHECK(refused > 1000 && accepted > 1000 && differ > 1000);
}
