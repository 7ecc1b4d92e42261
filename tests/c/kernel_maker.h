/* kernel_maker.h - kernels written by hand, for the tests: one at a time, in `m`
 *
 * start() empties it; word, axis, access_to, term, ins ... add to it; prepare(t) checks it and
 * plans it for tier t of the interpreter; run_on runs it. Output memory is fenced() by pages that
 * nobody may touch.
 */
#ifndef FR_KERNEL_MAKER_H
#define FR_KERNEL_MAKER_H

#include "kernel/interp.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    fr__kernel k;
    fr__kins ins[1200];
    fr__kbuf bufs[8];
    fr__kaccess access[8];
    fr__kaxis axis[8];
    uint64_t w[64];
} m;

static inline void start(void)
{
    free(m.k.plan);
    memset(&m, 0, sizeof m);
    m.k.ins = m.ins;
    m.k.bufs = m.bufs;
    m.k.access = m.access;
    m.k.axis = m.axis;
    m.k.nword = FR__W_FIRST;
}

static inline int word(uint64_t v)
{
    m.w[m.k.nword] = v;
    return m.k.nword++;
}

static inline int axis(int bind, int unroll, int64_t extent)
{
    m.axis[m.k.naxis] = (fr__kaxis){.bind = (uint8_t)bind,
                                    .unroll = (uint8_t)unroll,
                                    .split = -1,
                                    .extent = (uint16_t)word((uint64_t)extent)};
    return m.k.naxis++;
}

/* A buffer and an access to it. vstride 1: unit, 0: none. */
static inline int access_to(int dtype, int role, const void *p, int vaxis, int64_t vstride)
{
    fr__kaccess *x = &m.access[m.k.naccess];

    m.bufs[m.k.nbuf] = (fr__kbuf){(uint8_t)dtype, (uint8_t)role, (uint16_t)word((uintptr_t)p)};
    *x = (fr__kaccess){.buf = (uint16_t)m.k.nbuf++, .vaxis = -1};
    if (vstride) {
        x->vec = vstride == 1 ? FR__VEC_UNIT : FR__VEC_STRIDE;
        x->vaxis = (int16_t)vaxis;
        if (vstride != 1)
            x->vstride = (uint16_t)word((uint64_t)vstride);
    }
    return m.k.naccess++;
}

static inline void term(int access, int over, int64_t stride)
{
    fr__kaccess *x = &m.access[access];

    x->term[x->nterm].axis = (uint16_t)over;
    x->term[x->nterm++].word = (uint16_t)word((uint64_t)stride);
}

static inline int ins(int op, int type, int a, int b, int c, int64_t imm)
{
    m.ins[m.k.nins] = (fr__kins){(uint8_t)op, (uint8_t)type, a, b, c, imm};
    return m.k.nins++;
}

static inline int loop(int over) { return ins(FR__K_LOOP, FR__KNONE, -1, -1, -1, over); }

static inline int end(int over) { return ins(FR__K_END, FR__KNONE, -1, -1, -1, over); }

static inline int load(int type, int access)
{
    return ins(FR__K_LOAD, type, -1, -1, -1, access);
}

static inline int store(int type, int value, int access)
{
    return ins(FR__K_STORE, type, value, -1, -1, access);
}

static inline int constant_f32(float v)
{
    uint32_t b;
    memcpy(&b, &v, 4);
    return ins(FR__K_CONST, FR__KF32, -1, -1, -1, b);
}

static inline int constant_int(int type, int64_t v)
{
    return ins(FR__K_CONST, type, -1, -1, -1, v);
}

/* Which loops and whether fused; 0 is what fr__interp_space would choose. */
static const struct {
    const char *name;
    const fr__interp_loops *loops;
    bool fused;
} tier[] = {
    {"base", &fr__interp_base, true},
    {"base, not fused", &fr__interp_base, false},
#if defined(__x86_64__)
    {"v3", &fr__interp_v3, true},
#endif
};

static inline int tiers(void)
{
#if defined(__x86_64__)
    return fr__host()->avx2 && fr__host()->fma && fr__host()->f16c ? 3 : 2;
#else
    return 2;
#endif
}

static inline int prepare(int t)
{
    if (!EXPECT_EQ(fr__kernel_check(&m.k), 0)) {
        printf("     %s\n", fr__error_text());
        fr__error_clear();
        return -1;
    }
    fr__free(m.k.plan);
    m.k.plan = fr__interp_plan(&m.k, tier[t].loops, tier[t].fused);
    return EXPECT(m.k.plan != NULL) ? 0 : -1;
}

static inline void run_on(int64_t begin, int64_t finish, char *scratch)
{
    size_t bytes = fr__interp_space(&m.k);
    void *space = aligned_alloc(64, (bytes + 63) / 64 * 64);

    memset(space, 0xa5, bytes); /* nothing may depend on what was there */
    fr__interp(&m.k, m.w, begin, finish, scratch, space);
    free(space);
}

/* Memory of exactly this size with a page after it, and one before, that must not be touched. */
static inline void *fenced(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    char *p = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + page, room ? room : 1, PROT_READ | PROT_WRITE))
        abort();
    return p + page + room - bytes;
}

static inline void unfence(void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    munmap((char *)p - (room - bytes) - page, room + 2 * page);
}

static uint64_t random_state = 1;
static inline uint64_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return fr__hash_mix(random_state, 7);
}

static inline double least_of(double a, double b)
{
    return a != a ? a : b != b ? b : b < a ? b : a;
}

static inline double greatest_of(double a, double b)
{
    return a != a ? a : b != b ? b : b > a ? b : a;
}

/* Equal bits, or both NaN. */
static inline bool same(int type, const void *a, const void *b)
{
    float f, g;
    double d, e;

    if (!memcmp(a, b, fr__ktype_size[type]))
        return true;
    memcpy(&f, a, 4);
    memcpy(&g, b, 4);
    if (type == FR__KF32)
        return f != f && g != g;
    if (type != FR__KF64)
        return false;
    memcpy(&d, a, 8);
    memcpy(&e, b, 8);
    return d != d && e != e;
}

static inline int gelu_kernel(float *x, float *y, int64_t n)
{
    static const float p[] = {-2.72614225801306e-10f, 2.77068142495902e-08f,
                              -2.10102402082508e-06f, -5.69250639462346e-05f,
                              -7.34990630326855e-04f, -2.95459980854025e-03f,
                              -1.60960333262415e-02f};
    static const float q[] = {-1.45660718464996e-05f, -2.13374055278905e-04f,
                              -1.68282697438203e-03f, -7.37332916720468e-03f,
                              -1.42647390514189e-02f};
    int c[20], n_const = 0, root, in, out, v, z, zz, top, bottom, low, high, half, scale, one;

    start();
    root = axis(FR__BIND_PARVEC, 1, n);
    in = access_to(FR_FLOAT32, FR__BUF_IN, x, root, 1);
    out = access_to(FR_FLOAT32, FR__BUF_OUT, y, root, 1);
    for (int i = 0; i < 7; i++)
        c[n_const++] = constant_f32(p[i]);
    for (int i = 0; i < 5; i++)
        c[n_const++] = constant_f32(q[i]);
    low = constant_f32(-4);
    high = constant_f32(4);
    half = constant_f32(0.5f);
    scale = constant_f32(0.70710678f);
    one = constant_f32(1);
    loop(root);
    v = load(FR__KF32, in);
    z = ins(FR__K_MUL, FR__KF32, v, scale, -1, 0);
    z = ins(FR__K_MAX, FR__KF32, z, low, -1, 0);
    z = ins(FR__K_MIN, FR__KF32, z, high, -1, 0);
    zz = ins(FR__K_MUL, FR__KF32, z, z, -1, 0);
    top = ins(FR__K_FMA, FR__KF32, zz, c[0], c[1], 0);
    for (int i = 2; i < 7; i++)
        top = ins(FR__K_FMA, FR__KF32, zz, top, c[i], 0);
    bottom = ins(FR__K_FMA, FR__KF32, zz, c[7], c[8], 0);
    for (int i = 9; i < 12; i++)
        bottom = ins(FR__K_FMA, FR__KF32, zz, bottom, c[i], 0);
    top = ins(FR__K_MUL, FR__KF32, z, top, -1, 0);
    top = ins(FR__K_DIV, FR__KF32, top, bottom, -1, 0);
    top = ins(FR__K_ADD, FR__KF32, top, one, -1, 0);
    v = ins(FR__K_MUL, FR__KF32, v, half, -1, 0);
    store(FR__KF32, ins(FR__K_MUL, FR__KF32, v, top, -1, 0), out);
    end(root);
    return m.k.nins;
}

#endif
