/* test_emit.c - machine code against the interpreter, bit for bit (any NaN equals any NaN)
 *
 * Kernels are written out by a small builder here. Every buffer ends at a page that must not be
 * touched, so that reading or writing past the last element ends the test program.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernel/llvm.h"

#include "../standin/fibers.h"
#include "gpu_run.h"
#include "test.h"

enum { BUFS = 16, WORDS = 64 };

typedef struct kern {
    fr__kernel k;
    fr__kins ins[200];
    fr__kbuf bufs[BUFS];
    fr__kaccess access[32];
    fr__kaxis axis[8];
    uint64_t words[WORDS];
    int64_t elements[BUFS];
    int in_place[BUFS]; /* of an OUT: the IN it shares memory with, plus 1 */
    bool races;         /* lanes store to one address: no comparison on a GPU */
} kern;

static void start(kern *t)
{
    memset(t, 0, sizeof *t);
    t->k.ins = t->ins, t->k.bufs = t->bufs, t->k.access = t->access, t->k.axis = t->axis;
    t->k.nword = FR__W_FIRST;
}

static int word(kern *t, int64_t v)
{
    t->words[t->k.nword] = (uint64_t)v;
    return t->k.nword++;
}

static int buffer(kern *t, int dtype, int role, int64_t elements)
{
    t->bufs[t->k.nbuf] = (fr__kbuf){(uint8_t)dtype, (uint8_t)role, (uint16_t)word(t, 0)};
    t->elements[t->k.nbuf] = elements;
    return t->k.nbuf++;
}

static int axis(kern *t, int bind, int unroll, int64_t extent)
{
    t->axis[t->k.naxis] = (fr__kaxis){.bind = (uint8_t)bind,
                                      .unroll = (uint8_t)unroll,
                                      .extent = (uint16_t)word(t, extent),
                                      .split = -1};
    return t->k.naxis++;
}

/* vstride: elements for VEC_STRIDE. Then pairs axis, stride, ended by -1. */
static int access_to(kern *t, int buf, int vec, int vaxis, int64_t vstride,
                     const int64_t *terms)
{
    fr__kaccess *a = &t->access[t->k.naccess];
    *a = (fr__kaccess){.buf = (uint16_t)buf, .vec = (uint8_t)vec, .vaxis = -1};
    if (vec != FR__VEC_NONE)
        a->vaxis = (int16_t)vaxis;
    if (vec == FR__VEC_STRIDE)
        a->vstride = (uint16_t)word(t, vstride);
    for (; terms && *terms >= 0; terms += 2) {
        a->term[a->nterm].axis = (uint16_t)terms[0];
        a->term[a->nterm++].word = (uint16_t)word(t, terms[1]);
    }
    return t->k.naccess++;
}
#define TERMS(...)                                                                             \
    (const int64_t[]) { __VA_ARGS__, -1 }
#define UNIT(t, buf, axis, terms) access_to(t, buf, FR__VEC_UNIT, axis, 0, terms)

static int op(kern *t, int code, int type, int a, int b, int c, int64_t imm)
{
    t->ins[t->k.nins] = (fr__kins){(uint8_t)code, (uint8_t)type, a, b, c, imm};
    return t->k.nins++;
}
#define OP(code, type, a, b, c, imm) op(t, FR__K_##code, FR__##type, a, b, c, imm)
#define LOOP(axis) op(t, FR__K_LOOP, FR__KNONE, -1, -1, -1, axis)
#define END(axis) op(t, FR__K_END, FR__KNONE, -1, -1, -1, axis)

static int load(kern *t, int access, int b, int c)
{
    int dtype = t->bufs[t->access[access].buf].dtype;
    return op(t, FR__K_LOAD, fr__ktype_of(dtype), -1, b, c, access);
}
static int store(kern *t, int access, int a, int b, int c)
{
    int dtype = t->bufs[t->access[access].buf].dtype;
    return op(t, FR__K_STORE, fr__ktype_of(dtype), a, b, c, access);
}
static int real_constant(kern *t, int type, double v)
{
    int64_t bits = 0;
    float f = (float)v;
    memcpy(&bits, type == FR__KF64 ? (void *)&v : (void *)&f, type == FR__KF64 ? 8 : 4);
    return op(t, FR__K_CONST, type, -1, -1, -1, bits);
}

static int constant(kern *t, double v)
{
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return OP(CONST, KF32, -1, -1, -1, bits);
}
#define F(op_, a, b) OP(op_, KF32, a, b, -1, 0)
#define FMA(a, b, c) OP(FMA, KF32, a, b, c, 0)

/* ---- running ----------------------------------------------------------------------------- */

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed;
}

static void *page_end(size_t bytes, void **map, size_t *mapped)
{
    size_t pages = (bytes + 4095) / 4096 * 4096;
    *mapped = pages + 4096;
    *map = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*map == MAP_FAILED)
        abort();
    mprotect((char *)*map + pages, 4096, PROT_NONE);
    return (char *)*map + pages - bytes;
}

static int special; /* share of unusual values in 8 */

static void fill(void *p, int dtype, int64_t n)
{
    static const float odd[] = {0.0f,          -0.0f,   INFINITY, -INFINITY,     NAN,
                                1e-42f,        -3e-40f, 1e30f,    2147483648.0f, -2147483648.0f,
                                4294967296.0f, 0.5f,    2.5f,     -1.5f,         65504.0f,
                                65520.0f,      6e-8f,   3e-8f,    1.0f,          -1.0f};
    static const int64_t whole[] = {0,         1,         -1,        2,   -2,   INT64_MAX,
                                    INT64_MIN, INT32_MAX, INT32_MIN, 31,  32,   33,
                                    63,        64,        65,        255, -128, 7};
    int size = fr__dsize(dtype);
    for (int64_t i = 0; i < n; i++) {
        uint64_t r = next_random(), w = next_random();
        bool unusual = (int)(r & 7) < special;
        r >>= 3;
        if (dtype == FR_FLOAT32 || dtype == FR_FLOAT64) {
            float f = unusual ? odd[r % FR__COUNT(odd)] : (float)((int32_t)w * 0x1p-29);
            double d = f;
            memcpy((char *)p + i * size, size == 4 ? (void *)&f : (void *)&d, (size_t)size);
        } else if (dtype == FR_FLOAT16 || dtype == FR_BFLOAT16) {
            uint16_t h = unusual ? (uint16_t)w : (uint16_t)((w & 0x83ff) | 0x3c00);
            memcpy((char *)p + i * size, &h, 2);
        } else if (dtype == FR_BOOL) {
            ((uint8_t *)p)[i] = (uint8_t)(r & 1);
        } else {
            int64_t v = unusual ? whole[r % FR__COUNT(whole)] : (int64_t)(w >> (r % 60));
            memcpy((char *)p + i * size, &v, (size_t)size);
        }
    }
}

static bool same(const void *a, const void *b, int dtype, int64_t n)
{
    if (!memcmp(a, b, (size_t)(n * fr__dsize(dtype))))
        return true;
    for (int64_t i = 0; i < n; i++) {
        double x = 0, y = 0;
        int size = fr__dsize(dtype);
        const char *p = (const char *)a + i * size, *q = (const char *)b + i * size;
        if (!memcmp(p, q, (size_t)size))
            continue;
        if (dtype == FR_FLOAT32 || dtype == FR_FLOAT64) {
            float f, g;
            memcpy(&f, p, 4), memcpy(&g, q, 4);
            x = f, y = g;
            if (dtype == FR_FLOAT64)
                memcpy(&x, p, 8), memcpy(&y, q, 8);
            if (isnan(x) && isnan(y))
                continue;
        }
        uint64_t u = 0, v = 0;
        memcpy(&u, p, (size_t)size), memcpy(&v, q, (size_t)size);
        if (dtype == FR_FLOAT16 && (u & 0x7fff) > 0x7c00 && (v & 0x7fff) > 0x7c00)
            continue;
        if (dtype == FR_BFLOAT16 && (u & 0x7fff) > 0x7f80 && (v & 0x7fff) > 0x7f80)
            continue;
        printf("     element %lld of %lld: interpreter %llx (%g), machine code %llx (%g)\n",
               (long long)i, (long long)n, (unsigned long long)u, x, (unsigned long long)v, y);
        return false;
    }
    return true;
}

static void copy_bytes(void *to, const void *from, int64_t n) { memcpy(to, from, (size_t)n); }

static int finish(kern *t)
{
    fr__text text = {0};
    if (fr__kernel_check(&t->k))
        return -1;
    fr__kernel_print(&t->k, &text);
    t->k.text = text.at;
    t->k.hash = fr__hash(text.at, text.n, 0);
    return 0;
}

static void drop(kern *t)
{
    fr__text text = {.at = t->k.text};
    fr__text_free(&text);
    fr__free(t->k.plan);
}

static fr__code *compile(const kern *t)
{
    size_t bytes = 0;
    void *object = fr__llvm_object(&t->k, "kernel", &bytes);
    fr__code *code = object ? fr__code_load(object, bytes, "kernel") : NULL;
    fr__free(object);
    return code;
}

/* Equal but for the order of sums. */
static bool close_to(const void *a, const void *b, int dtype, int64_t n)
{
    if (dtype != FR_FLOAT32 && dtype != FR_FLOAT64)
        return dtype == FR_FLOAT16 || dtype == FR_BFLOAT16 || same(a, b, dtype, n);
    double tolerance = dtype == FR_FLOAT32 ? 3e-5 : 1e-12;
    for (int64_t i = 0; i < n; i++) {
        double x = dtype == FR_FLOAT32 ? ((const float *)a)[i] : ((const double *)a)[i];
        double y = dtype == FR_FLOAT32 ? ((const float *)b)[i] : ((const double *)b)[i];
        if ((isnan(x) && isnan(y)) || x == y)
            continue;
        if (!(fabs(x - y) <= tolerance * (1 + fabs(x)))) {
            printf("     element %lld: interpreter %.9g, GPU %.9g\n", (long long)i, x, y);
            return false;
        }
    }
    return true;
}

/* One run's memory: that of the interpreter, of machine code, of the GPU. */
typedef struct memory {
    void *at[BUFS], *map[BUFS];
    size_t mapped[BUFS];
    char *scratch;
} memory;

static memory starting; /* what is in memory before a kernel runs */

static size_t bytes_of(const kern *t, int b)
{
    return (size_t)(t->elements[b] * fr__dsize(t->bufs[b].dtype));
}

static bool owns(const kern *t, int b)
{
    return t->bufs[b].role != FR__BUF_SCRATCH && !t->in_place[b];
}

static int64_t place_scratch(kern *t)
{
    int64_t bytes = 64;
    for (int b = 0; b < t->k.nbuf; b++)
        if (t->bufs[b].role == FR__BUF_SCRATCH) {
            t->words[t->bufs[b].word] = (uint64_t)bytes;
            bytes += (t->elements[b] * 8 + 64 * FR__KMAXUNROLL + 63) / 64 * 64;
        }
    return bytes;
}

static void make_memory(const kern *t, memory *m, const memory *like, int64_t scratch)
{
    m->scratch = aligned_alloc(64, (size_t)scratch);
    for (int b = 0; b < t->k.nbuf; b++) {
        if (t->in_place[b])
            m->at[b] = m->at[t->in_place[b] - 1];
        if (!owns(t, b))
            continue;
        m->at[b] = page_end(bytes_of(t, b), &m->map[b], &m->mapped[b]);
        if (like)
            memcpy(m->at[b], like->at[b], bytes_of(t, b));
        else
            fill(m->at[b], t->bufs[b].dtype, t->elements[b]);
    }
}

static void drop_memory(const kern *t, memory *m)
{
    for (int b = 0; b < t->k.nbuf; b++)
        if (owns(t, b))
            munmap(m->map[b], m->mapped[b]);
    free(m->scratch);
}

static void bind(kern *t, const memory *m)
{
    void (*copy)(void *, const void *, int64_t) = copy_bytes;
    memcpy(&t->words[FR__W_COPY], &copy, 8);
    for (int b = 0; b < t->k.nbuf; b++)
        if (t->bufs[b].role != FR__BUF_SCRATCH)
            t->words[t->bufs[b].word] = (uint64_t)(uintptr_t)m->at[b];
}

static bool has_acc(const kern *t)
{
    for (int i = 0; i < t->k.nins; i++)
        if (t->ins[i].op == FR__K_ACC)
            return true;
    return false;
}

/* The results must be what the interpreter has left in `expected`. */
static bool as_expected(const kern *t, const memory *m, const memory *expected)
{
    bool ok = true, exact = !has_acc(t);
    for (int b = 0; ok && !t->races && b < t->k.nbuf; b++)
        if (t->bufs[b].role == FR__BUF_OUT)
            ok = (exact ? same : close_to)(expected->at[b], m->at[b], t->bufs[b].dtype,
                                           t->elements[b]);
    return ok;
}

/* Other blocks than a launch would have, and threads: 0 for what it says. */
static fr__ptx_shape shape_for(const kern *t, int64_t begin, int64_t end, int turn)
{
    static const unsigned most[] = {0, 64, 1024, 32}, processors[] = {132, 1, 4};
    fr__ptx_room room = {.processors = processors[turn % 3], .most = most[turn % 4]};
    fr__ptx_shape how = fr__ptx_spread(&t->k, t->words, begin, end, room);
    if (turn % 5 == 4)
        how.blocks = how.blocks > 3 ? 3 : 1;
    return how;
}

static bool on_gpu(kern *t, const char *ptx, memory *m, const memory *expected, int64_t scratch,
                   int64_t cut, int64_t n)
{
    static int turn;
    char *p[BUFS] = {0}, *elsewhere = NULL;
    bool ok = true;
    turn++;
    for (int b = 0; b < t->k.nbuf; b++) {
        size_t shift = turn % 4 == 3 ? (size_t)fr__dsize(t->bufs[b].dtype) : 0;
        if (owns(t, b))
            p[b] = gpu_copy_in(m->at[b], bytes_of(t, b), shift);
        if (t->in_place[b])
            p[b] = p[t->in_place[b] - 1];
        if (t->bufs[b].role != FR__BUF_SCRATCH)
            t->words[t->bufs[b].word] = (uint64_t)(uintptr_t)p[b];
    }
    fr__ptx_shape first = shape_for(t, 0, cut, turn), second = shape_for(t, cut, n, turn);
    if (turn % 2)
        elsewhere = gpu_copy_in(NULL, (size_t)scratch * (first.blocks + second.blocks), 0);
    fr__gpu *g = fr__gpu_of(gpu_stream());
    fr__gpu_code *code = fr__gpu_load(g, ptx, strlen(ptx) + 1, "kernel");
    ok = code && gpu_launch(code, t->words, 0, cut, elsewhere, (uint64_t)scratch, first) &&
         gpu_launch(code, t->words, cut, n, elsewhere, (uint64_t)scratch, second);
    ok = !fr__gpu_synchronize(gpu_stream()) && ok;
    for (int b = 0; b < t->k.nbuf; b++) {
        size_t shift = turn % 4 == 3 ? (size_t)fr__dsize(t->bufs[b].dtype) : 0;
        if (owns(t, b))
            ok = gpu_copy_out(m->at[b], p[b], bytes_of(t, b), shift) && ok;
    }
    if (elsewhere)
        gpu_copy_out(NULL, elsewhere, 0, 0);
    fr__gpu_unload(code);
    if (!ok)
        printf("     the GPU failed: %s\n", fr__error_text());
    ok = ok && as_expected(t, m, expected);
    if (!ok)
        printf("     GPU: %u threads, %u blocks, shape %llx, turn %d\n", second.threads,
               second.blocks, (unsigned long long)second.shape, turn);
    return ok;
}

/* The GPU's code, made for the host: its threads take turns. */
static bool on_fibers(kern *t, const memory *expected, int64_t scratch, int64_t cut, int64_t n)
{
    static int turn;
    size_t bytes;
    void *object = fr__llvm_ptx_object(&t->k, "kernel", false, &fibers_host, &bytes);
    fr__code *code = object ? fr__code_load(object, bytes, "kernel") : NULL;
    fr__free(object);
    bool ok = code;
    for (int again = 0; ok && again < 3; again++) {
        memory m;
        int64_t from[2] = {0, cut}, to[2] = {cut, n};
        turn++;
        make_memory(t, &m, &starting, scratch);
        bind(t, &m);
        fr__ptx_shape how = {0};
        for (int part = 0; part < 2; part++) {
            how = shape_for(t, from[part], to[part], turn);
            if (to[part] > from[part])
                fibers_run((fr__ptx_fn *)(uintptr_t)fr__code_entry(code), t->words, from[part],
                           to[part], 0, (uint64_t)scratch, how);
        }
        ok = as_expected(t, &m, expected);
        if (!ok)
            printf("     fibers: %u threads, %u blocks, shape %llx, turn %d\n", how.threads,
                   how.blocks, (unsigned long long)how.shape, turn);
        drop_memory(t, &m);
    }
    fr__code_free(code);
    return ok;
}

static void keep_text(const char *ptx, int number, int sm, const char *kind)
{
    char path[300];
    const char *where = getenv("FERRULE_PTX_DIR");
    snprintf(path, sizeof path, "%s/%03d.%ssm_%d.ptx", where ? where : "", number, kind, sm);
    FILE *to = where ? fopen(path, "w") : NULL;
    if (to) {
        fputs(ptx, to);
        fclose(to);
    }
}

/* LLVM accepts the kernel as PTX, too, for one launch and many; FERRULE_PTX_DIR keeps the texts, for
 * ptxas. */
static char *as_ptx(kern *t)
{
    static int number;
    static const int devices[] = {75, 80, 90};
    int sm = devices[++number % 3];
    size_t bytes = 0;
    char *ptx = fr__llvm_ptx(&t->k, "kernel", sm, &bytes);
    char *many = ptx ? fr__llvm_ptx_many(&t->k, "kernel", sm, &bytes) : NULL;
    EXPECT(many || !ptx);
    if (many) {
        keep_text(ptx, number, sm, "");
        keep_text(many, number, sm, "many.");
    }
    fr__free(many);
    if (ptx && !EXPECT(!strstr(ptx, "call") && !strstr(ptx, ".func"))) {
        fr__free(ptx);
        return NULL;
    }
    return ptx;
}

/* Interpreter, machine code and GPU on the same data over [0, n) of the root, in two pieces cut
 * at `cut`. */
static bool agree(kern *t, int64_t cut, int64_t n)
{
    memory m[3] = {0};
    bool ok = !finish(t);
    fr__code *code = ok ? compile(t) : NULL;
    char *ptx = code ? as_ptx(t) : NULL;
    ok = code && ptx;
    if (ok) {
        int64_t scratch = place_scratch(t);
        size_t space_bytes = fr__interp_space(&t->k);
        void *space = aligned_alloc(64, (space_bytes + 127) / 64 * 64);
        make_memory(t, &m[0], NULL, scratch);
        make_memory(t, &m[1], &m[0], scratch);
        make_memory(t, &m[2], &m[0], scratch);
        make_memory(t, &starting, &m[0], scratch);
        bind(t, &m[0]);
        fr__interp(&t->k, t->words, 0, cut, m[0].scratch, space);
        fr__interp(&t->k, t->words, cut, n, m[0].scratch, space);
        bind(t, &m[1]);
        fr__code_entry(code)(t->words, 0, cut, m[1].scratch);
        fr__code_entry(code)(t->words, cut, n, m[1].scratch);
        for (int b = 0; ok && b < t->k.nbuf; b++)
            if (t->bufs[b].role == FR__BUF_OUT)
                ok = same(m[0].at[b], m[1].at[b], t->bufs[b].dtype, t->elements[b]);
        ok = ok && on_fibers(t, &m[0], scratch, cut, n);
        if (ok && gpu_stream())
            ok = on_gpu(t, ptx, &m[2], &m[0], scratch, cut, n);
        drop_memory(t, &starting);
        for (int r = 0; r < 3; r++)
            drop_memory(t, &m[r]);
        free(space);
    }
    if (!ok)
        printf("     %s\n%s", fr__error_text(), t->k.text ? t->k.text : "");
    fr__error_clear();
    fr__free(ptx);
    if (code)
        fr__code_free(code);
    drop(t);
    return ok;
}

/* Each test runs for the host and for lesser processors. */
static const struct {
    const char *cpu, *features;
    bool fma;
} machines[] = {
    {NULL, NULL, true},
    {"x86-64-v3", "+avx2,+avx,+fma,+f16c,+bmi2,+sse4.1,+sse4.2,+ssse3,+sse3", true},
    {"x86-64-v2", "+sse4.1,+sse4.2,+ssse3,+sse3,+popcnt", false},
};

#if defined(__x86_64__)
#define MACHINES FR__COUNT(machines)
#else
#define MACHINES 1
#endif

static bool ready(int machine)
{
    if (!fr__llvm_ready())
        return false;
    fr__llvm_verify = true;
    fr__llvm_force(machines[machine].cpu, machines[machine].features);
    return true;
}

static const int64_t sizes[] = {1, 5, 16, 17, 63, 64, 130, 257};

/* ---- every operation --------------------------------------------------------------------- */

static int storage_of(int type)
{
    static const int of[] = {FR_BOOL,   FR_INT32,   FR_UINT32, FR_INT64,
                             FR_UINT64, FR_FLOAT32, FR_FLOAT64};
    return of[type];
}

static bool takes(int code, int type)
{
    bool real = type >= FR__KF32, truth = type == FR__KB1;
    switch (code) {
    case FR__K_FMA:
    case FR__K_SQRT:
    case FR__K_RINT:
    case FR__K_FLOOR:
    case FR__K_CEIL:
    case FR__K_TRUNC:
    case FR__K_COPYSIGN:
    case FR__K_SCALE: return real;
    case FR__K_LOOKUP: return type == FR__KF32;
    case FR__K_AND:
    case FR__K_OR:
    case FR__K_XOR:
    case FR__K_NOT: return !real;
    case FR__K_SHL:
    case FR__K_SHR: return !real && !truth;
    case FR__K_MULHI: return type == FR__KU32;
    case FR__K_LT:
    case FR__K_LE:
    case FR__K_EQ:
    case FR__K_NE:
    case FR__K_SEL: return true;
    default: return !truth;
    }
}

/* SCALE of what it takes: +-1.375, and numbers that lead out of the range at both ends. */
static int scaled(kern *t, int type, int a, int b)
{
    bool wide = type == FR__KF64;
    int one = real_constant(t, type, 1.375), low = real_constant(t, type, wide ? -1090 : -160),
        high = real_constant(t, type, wide ? 1030 : 140);
    a = op(t, FR__K_COPYSIGN, type, one, a, -1, 0);
    b = op(t, FR__K_SEL, type, op(t, FR__K_LT, FR__KB1, b, high, -1, 0), b, high, 0);
    b = op(t, FR__K_SEL, type, op(t, FR__K_LT, FR__KB1, low, b, -1, 0), b, low, 0);
    return op(t, FR__K_SCALE, type, a, b, -1, 0);
}

/* By any bits, and by one index for all lanes. */
static int looked_up(kern *t, int a)
{
    int bits = op(t, FR__K_BITCAST, FR__KI32, a, -1, -1, 0);
    int one = op(t, FR__K_CONST, FR__KI32, -1, -1, -1, 0x7f35);
    int x = op(t, FR__K_LOOKUP, FR__KF32, bits, -1, -1, FR__TABLE_EXP2);
    int y = op(t, FR__K_LOOKUP, FR__KF32, one, -1, -1, FR__TABLE_TANH_AT);
    return op(t, FR__K_MUL, FR__KF32, x, y, -1, 0);
}

/* All operations of one type in one kernel a few at a time: an output for each. */
static bool operations(int type, int from, int to, int64_t n, bool fma)
{
    kern kernel, *t = &kernel;
    start(t);
    int dtype = storage_of(type), p = axis(t, FR__BIND_PARVEC, 1, n), out[FR__K_COUNT];
    int in[3], truth = buffer(t, FR_BOOL, FR__BUF_IN, n), v[3];
    for (int i = 0; i < 3; i++)
        in[i] = UNIT(t, buffer(t, dtype, FR__BUF_IN, n), p, NULL);
    int mask = UNIT(t, truth, p, NULL);
    for (int code = from; code < to; code++) {
        bool compare = code >= FR__K_LT && code <= FR__K_NE;
        if (takes(code, type))
            out[code] = UNIT(t, buffer(t, compare ? FR_BOOL : dtype, FR__BUF_OUT, n), p, NULL);
    }
    LOOP(p);
    for (int i = 0; i < 3; i++)
        v[i] = load(t, in[i], -1, -1);
    int m = load(t, mask, -1, -1);
    for (int code = from; code < to; code++) {
        if (!takes(code, type) || (code == FR__K_FMA && !fma))
            continue;
        bool compare = code >= FR__K_LT && code <= FR__K_NE;
        int arity = fr__kop_arity[code], r;
        if (code == FR__K_SEL)
            r = op(t, code, type, m, v[0], v[1], 0);
        else if (code == FR__K_SCALE)
            r = scaled(t, type, v[0], v[1]);
        else if (code == FR__K_LOOKUP)
            r = looked_up(t, v[0]);
        else
            r = op(t, code, compare ? FR__KB1 : type, v[0], arity > 1 ? v[1] : -1,
                   arity > 2 ? v[2] : -1, 0);
        store(t, out[code], r, -1, -1);
    }
    END(p);
    return agree(t, n / 32 * 16, n);
}

TEST(operations)
{
    special = 4;
    for (int m = 0; m < MACHINES; m++)
        for (int type = FR__KB1; type <= FR__KF64 && ready(m); type++)
            for (int code = FR__K_ADD; code <= FR__K_SEL; code += 5)
                EXPECT(operations(type, code, code + 5 > FR__K_CVT ? FR__K_CVT : code + 5,
                                  code % 2 ? 1000 : 1003, machines[m].fma));
}

TEST(conversions)
{
    special = 4;
    for (int m = 0; m < MACHINES; m++)
        for (int from = FR__KB1; from <= FR__KF64 && ready(m); from++) {
            kern kernel, *t = &kernel;
            start(t);
            int p = axis(t, FR__BIND_PARVEC, 1, 515), out[FR__KNONE];
            int in = UNIT(t, buffer(t, storage_of(from), FR__BUF_IN, 515), p, NULL);
            for (int to = FR__KB1; to <= FR__KF64; to++)
                out[to] = UNIT(t, buffer(t, storage_of(to), FR__BUF_OUT, 515), p, NULL);
            LOOP(p);
            int v = load(t, in, -1, -1);
            for (int to = FR__KB1; to <= FR__KF64; to++)
                if (to != from)
                    store(t, out[to], op(t, FR__K_CVT, to, v, -1, -1, 0), -1, -1);
            END(p);
            EXPECT(agree(t, 16, 515));
        }
}

/* Floats known to fit; the same bits as another type of that width. */
TEST(conversions_in_range_and_bits)
{
    special = 0;
    for (int m = 0; m < MACHINES; m++)
        for (int from = FR__KI32; from <= FR__KF64 && ready(m); from++) {
            kern kernel, *t = &kernel;
            start(t);
            int p = axis(t, FR__BIND_PARVEC, 1, 515), out[FR__KNONE];
            int in = UNIT(t, buffer(t, storage_of(from), FR__BUF_IN, 515), p, NULL);
            for (int to = FR__KI32; to <= FR__KF64; to++)
                out[to] = UNIT(t, buffer(t, storage_of(to), FR__BUF_OUT, 515), p, NULL);
            LOOP(p);
            int v = load(t, in, -1, -1);
            int fits = op(t, FR__K_ABS, from, v, -1, -1, 0);
            for (int to = FR__KI32; to <= FR__KF64; to++) {
                bool whole = from >= FR__KF32 && to < FR__KF32, other = to != from;
                if (other && fr__ktype_size[to] == fr__ktype_size[from])
                    store(t, out[to], op(t, FR__K_BITCAST, to, v, -1, -1, 0), -1, -1);
                else if (whole)
                    store(t, out[to], op(t, FR__K_CVT, to, fits, -1, -1, 1), -1, -1);
            }
            if (from == FR__KF32) /* both ways for the integer of its own width */
                store(t, UNIT(t, buffer(t, FR_UINT32, FR__BUF_OUT, 515), p, NULL),
                      op(t, FR__K_CVT, FR__KU32, fits, -1, -1, 1), -1, -1);
            if (from == FR__KF64)
                store(t, UNIT(t, buffer(t, FR_INT64, FR__BUF_OUT, 515), p, NULL),
                      op(t, FR__K_CVT, FR__KI64, fits, -1, -1, 1), -1, -1);
            END(p);
            EXPECT(agree(t, 16, 515));
        }
}

TEST(storage)
{
    special = 7;
    for (int m = 0; m < MACHINES; m++)
        for (int as = 0; as < FR_DTYPE_COUNT && ready(m); as++) {
            kern kernel, *t = &kernel;
            start(t);
            int64_t n = 66000;
            int p = axis(t, FR__BIND_PARVEC, 2, n), type = fr__ktype_of(as);
            int in = UNIT(t, buffer(t, as, FR__BUF_IN, n), p, NULL);
            int same_out = UNIT(t, buffer(t, as, FR__BUF_OUT, n), p, NULL);
            int wide = UNIT(t, buffer(t, storage_of(type), FR__BUF_IN, n), p, NULL);
            int wide_out = UNIT(t, buffer(t, storage_of(type), FR__BUF_OUT, n), p, NULL);
            int narrow = UNIT(t, buffer(t, as, FR__BUF_OUT, n), p, NULL);
            LOOP(p);
            int v = load(t, in, -1, -1), w = load(t, wide, -1, -1);
            store(t, same_out, v, -1, -1);
            store(t, wide_out, v, -1, -1);
            store(t, narrow, w, -1, -1);
            END(p);
            EXPECT(agree(t, 64, n));
        }
}

TEST(round_and_literals)
{
    special = 3;
    for (int m = 0; m < MACHINES && ready(m); m++) {
        kern kernel, *t = &kernel;
        start(t);
        int p = axis(t, FR__BIND_PARVEC, 1, 100), q = word(t, 7);
        int x = UNIT(t, buffer(t, FR_FLOAT32, FR__BUF_IN, 100), p, NULL);
        int n = UNIT(t, buffer(t, FR_INT32, FR__BUF_IN, 100), p, NULL);
        int a = UNIT(t, buffer(t, FR_FLOAT32, FR__BUF_OUT, 100), p, NULL);
        int b = UNIT(t, buffer(t, FR_FLOAT32, FR__BUF_OUT, 100), p, NULL);
        int c = UNIT(t, buffer(t, FR_INT32, FR__BUF_OUT, 100), p, NULL);
        int d = UNIT(t, buffer(t, FR_INT64, FR__BUF_OUT, 100), p, NULL);
        int three = OP(CONST, KI32, -1, -1, -1, 3), seven = OP(PARAM, KI32, -1, -1, -1, q);
        LOOP(p);
        int v = load(t, x, -1, -1), w = load(t, n, -1, -1);
        store(t, a, OP(ROUND, KF32, v, -1, -1, FR_FLOAT16), -1, -1);
        store(t, b, OP(ROUND, KF32, v, -1, -1, FR_BFLOAT16), -1, -1);
        int r = OP(SHR, KI32, OP(SHL, KI32, w, three, -1, 0), three, -1, 0);
        r = OP(ADD, KI32, r, OP(MOD, KI32, w, seven, -1, 0), -1, 0);
        r = OP(XOR, KI32, r, OP(DIV, KI32, w, three, -1, 0), -1, 0);
        r = OP(SUB, KI32, seven, r, -1, 0);
        store(t, c, r, -1, -1);
        store(t, d, OP(AXIS, KI64, -1, -1, -1, p), -1, -1);
        END(p);
        EXPECT(agree(t, 32, 100));
    }
}

/* ---- loops and memory -------------------------------------------------------------------- */

static int gelu_of(kern *t, int x)
{
    static const double a[] = {7.578e-5, -7.918e-4, 5.1764e-3, -2.684e-2,
                               0.11283,  -0.37612,  0.12838};
    int z = F(MUL, x, constant(t, 0.70710678)), s = F(MUL, z, z), p = constant(t, a[0]);
    for (int i = 1; i < 7; i++)
        p = FMA(p, s, constant(t, a[i]));
    return F(MUL, F(MUL, x, constant(t, 0.5)), FMA(p, z, z));
}

static int exp_of(kern *t, int x)
{
    static const double c[] = {1.38628250e-3, 8.36762e-3, 4.16672e-2, 0.16666533, 0.5, 1, 1};
    x = F(MAX, x, constant(t, -87));
    int n = F(RINT, F(MUL, x, constant(t, 0x1.715476p0)), -1);
    int r = FMA(n, constant(t, -0x1.62e43p-1), x), p = constant(t, c[0]);
    for (int i = 1; i < 7; i++)
        p = FMA(p, r, constant(t, c[i]));
    int e = OP(CVT, KI32, n, -1, -1, 1);
    e = OP(ADD, KI32, e, OP(CONST, KI32, -1, -1, -1, 127), -1, 0);
    e = OP(SHL, KI32, e, OP(CONST, KI32, -1, -1, -1, 23), -1, 0);
    return F(MUL, p, OP(BITCAST, KF32, e, -1, -1, 0));
}

TEST(elementwise)
{
    special = 0;
    for (int m = 0; m < 2 && ready(m); m++)
        for (int s = 0; s < FR__COUNT(sizes); s++)
            for (int unroll = 1; unroll <= 4; unroll *= 2) {
                kern kernel, *t = &kernel;
                start(t);
                int64_t n = sizes[s];
                int p = axis(t, FR__BIND_PARVEC, unroll, n);
                int in = buffer(t, FR_FLOAT32, FR__BUF_IN, n);
                int out = buffer(t, FR_FLOAT32, FR__BUF_OUT, n);
                t->in_place[out] = s % 2 ? in + 1 : 0;
                int from = UNIT(t, in, p, NULL), to = UNIT(t, out, p, NULL);
                LOOP(p);
                store(t, to, gelu_of(t, load(t, from, -1, -1)), -1, -1);
                END(p);
                EXPECT(agree(t, n / 64 * 64 / 2, n));
            }
}

static void softmax(kern *t, int64_t rows, int64_t columns, int unroll)
{
    start(t);
    int p = axis(t, FR__BIND_PAR, 1, rows), v = axis(t, FR__BIND_VEC, unroll, columns);
    int in = buffer(t, FR_FLOAT32, FR__BUF_IN, rows * columns);
    int out = buffer(t, FR_FLOAT32, FR__BUF_OUT, rows * columns);
    int scratch = buffer(t, FR_FLOAT32, FR__BUF_SCRATCH, columns);
    int from = UNIT(t, in, v, TERMS(p, columns)), to = UNIT(t, out, v, TERMS(p, columns));
    int kept = UNIT(t, scratch, v, NULL);
    LOOP(p);
    int most = OP(ACC, KF32, -1, -1, -1, FR__K_MAX);
    LOOP(v);
    OP(UPD, KNONE, most, load(t, from, -1, -1), -1, 0);
    END(v);
    int max = OP(RED, KF32, most, -1, -1, 0), sum = OP(ACC, KF32, -1, -1, -1, FR__K_ADD);
    LOOP(v);
    int e = exp_of(t, F(SUB, load(t, from, -1, -1), max));
    store(t, kept, e, -1, -1);
    OP(UPD, KNONE, sum, e, -1, 0);
    END(v);
    int total = F(DIV, constant(t, 1), OP(RED, KF32, sum, -1, -1, 0));
    LOOP(v);
    store(t, to, F(MUL, load(t, kept, -1, -1), total), -1, -1);
    END(v);
    END(p);
}

TEST(softmax)
{
    special = 0;
    for (int m = 0; m < 2 && ready(m); m++)
        for (int s = 0; s < FR__COUNT(sizes); s++)
            for (int unroll = 1; unroll <= 4; unroll *= 2) {
                kern kernel;
                softmax(&kernel, 5, sizes[s], unroll);
                EXPECT(agree(&kernel, 2, 5));
            }
}

TEST(columns) /* sums of columns: PARVEC with a SERIAL loop inside */
{
    static const int dtypes[] = {FR_FLOAT32, FR_FLOAT16, FR_FLOAT64, FR_INT8};
    special = 0;
    for (int m = 0; m < MACHINES; m++)
        for (int s = 0; s < FR__COUNT(sizes) && ready(m); s++)
            for (int strided = 0; strided < 2; strided++) {
                kern kernel, *t = &kernel;
                start(t);
                int64_t n = sizes[s], rows = 7;
                int dtype = dtypes[s % 4], type = fr__ktype_of(dtype);
                int p = axis(t, FR__BIND_PARVEC, s % 2 + 1, n),
                    r = axis(t, FR__BIND_SERIAL, 1, rows);
                int in = buffer(t, dtype, FR__BUF_IN, n * rows);
                int out = buffer(t, dtype, FR__BUF_OUT, n);
                int from = strided ? access_to(t, in, FR__VEC_STRIDE, p, rows, TERMS(r, 1))
                                   : UNIT(t, in, p, TERMS(r, n));
                int to = UNIT(t, out, p, NULL);
                LOOP(p);
                int sum = op(t, FR__K_ACC, type, -1, -1, -1, FR__K_ADD);
                LOOP(r);
                op(t, FR__K_UPD, FR__KNONE, sum, load(t, from, -1, -1), -1, 0);
                END(r);
                store(t, to, op(t, FR__K_RED, type, sum, -1, -1, 0), -1, -1);
                END(p);
                EXPECT(agree(t, n / 64 * 32, n));
            }
}

TEST(reductions) /* every accumulator over a split axis, unroll 4 */
{
    static const int codes[] = {FR__K_ADD, FR__K_MUL, FR__K_MIN,
                                FR__K_MAX, FR__K_AND, FR__K_OR};
    for (int m = 0; m < MACHINES; m++)
        for (int type = FR__KB1; type <= FR__KF64 && ready(m); type++)
            for (int c = 0; c < 6; c++) {
                bool bits = codes[c] == FR__K_AND || codes[c] == FR__K_OR;
                if (bits ? type >= FR__KF32 : type == FR__KB1)
                    continue;
                kern kernel, *t = &kernel;
                start(t);
                special = bits || c > 1 ? 1 : 0;
                int64_t n = sizes[(c + type) % 8] * 3, parts = 4, block = (n + 3) / 4;
                int p = axis(t, FR__BIND_PAR, 1, parts),
                    v = axis(t, FR__BIND_VEC, 1 << c % 3, n);
                t->axis[v].split = (int16_t)p;
                t->axis[v].block = (uint16_t)word(t, block);
                int in = UNIT(t, buffer(t, storage_of(type), FR__BUF_IN, n), v, NULL);
                int to = access_to(t, buffer(t, storage_of(type), FR__BUF_OUT, parts),
                                   FR__VEC_NONE, -1, 0, TERMS(p, 1));
                LOOP(p);
                int acc = op(t, FR__K_ACC, type, -1, -1, -1, codes[c]);
                LOOP(v);
                op(t, FR__K_UPD, FR__KNONE, acc, load(t, in, -1, -1), -1, 0);
                END(v);
                store(t, to, op(t, FR__K_RED, type, acc, -1, -1, 0), -1, -1);
                END(p);
                EXPECT(agree(t, 1, parts));
            }
}

TEST(nested_sum) /* PAR > SERIAL > VEC, an OUTER axis, a uniform value added in vector loops */
{
    special = 0;
    for (int m = 0; m < 2 && ready(m); m++)
        for (int s = 0; s < FR__COUNT(sizes); s++) {
            kern kernel, *t = &kernel;
            start(t);
            int64_t n = sizes[s];
            int p = axis(t, FR__BIND_PAR, 1, 6), o = axis(t, FR__BIND_OUTER, 1, 3);
            t->axis[o].div = (uint16_t)word(t, 2);
            int r = axis(t, FR__BIND_SERIAL, 1, 5), v = axis(t, FR__BIND_VEC, 2, n);
            int in = buffer(t, FR_FLOAT32, FR__BUF_IN, 3 * 5 * n);
            int from = UNIT(t, in, v, TERMS(o, 5 * n, r, n));
            int to = access_to(t, buffer(t, FR_FLOAT32, FR__BUF_OUT, 6), FR__VEC_NONE, -1, 0,
                               TERMS(p, 1));
            int count = access_to(t, buffer(t, FR_FLOAT32, FR__BUF_OUT, 6), FR__VEC_NONE, -1, 0,
                                  TERMS(p, 1));
            LOOP(p);
            int sum = OP(ACC, KF32, -1, -1, -1, FR__K_ADD);
            int ones = OP(ACC, KF32, -1, -1, -1, FR__K_ADD), one = constant(t, 1);
            int scale = OP(CVT, KF32, OP(AXIS, KI64, -1, -1, -1, o), -1, -1, 0);
            LOOP(r);
            LOOP(v);
            OP(UPD, KNONE, sum, F(MUL, load(t, from, -1, -1), scale), -1, 0);
            OP(UPD, KNONE, ones, one, -1, 0);
            END(v);
            END(r);
            store(t, to, OP(RED, KF32, sum, -1, -1, 0), -1, -1);
            store(t, count, OP(RED, KF32, ones, -1, -1, 0), -1, -1);
            END(p);
            EXPECT(agree(t, 3, 6));
        }
}

TEST(gather_scatter)
{
    static const int dtypes[] = {FR_FLOAT32, FR_BOOL, FR_INT64, FR_BFLOAT16, FR_INT16};
    special = 1;
    for (int m = 0; m < MACHINES; m++)
        for (int s = 0; s < FR__COUNT(sizes) && ready(m); s++) {
            kern kernel, *t = &kernel;
            start(t);
            t->races = true;
            int64_t n = sizes[s];
            int dtype = dtypes[s % 5], p = axis(t, FR__BIND_PARVEC, s % 2 + 1, n);
            int x = buffer(t, dtype, FR__BUF_IN, 3 * n);
            int y = buffer(t, dtype, FR__BUF_OUT, 2 * n), z = buffer(t, dtype, FR__BUF_OUT, n);
            int a = buffer(t, dtype, FR__BUF_OUT, n), b = buffer(t, dtype, FR__BUF_OUT, n);
            int one = OP(CONST, KI64, -1, -1, -1, 1), two = OP(CONST, KI64, -1, -1, -1, 2);
            int five = OP(CONST, KI64, -1, -1, -1, 5), zero = OP(CONST, KI64, -1, -1, -1, 0);
            LOOP(p);
            int i = OP(AXIS, KI64, -1, -1, -1, p);
            int odd = OP(EQ, KB1, OP(AND, KI64, i, one, -1, 0), one, -1, 0);
            int third = load(t, access_to(t, x, FR__VEC_STRIDE, p, 3, NULL), -1, -1);
            store(t, access_to(t, y, FR__VEC_STRIDE, p, 2, NULL), third, -1, -1);
            int twice = OP(MUL, KI64, i, two, -1, 0); /* x[2 i] where odd */
            int take = load(t, access_to(t, x, FR__VEC_NONE, -1, 0, NULL), twice, odd);
            store(t, UNIT(t, z, p, NULL), take, -1, -1);
            int part = load(t, UNIT(t, x, p, NULL), -1, odd);
            store(t, UNIT(t, a, p, NULL), part, -1, odd);
            int bin = OP(MOD, KI64, i, five, -1, 0); /* the last of each bin stays */
            int few = OP(LT, KB1, zero, i, -1, 0);
            bin = OP(MIN, KI64, bin, OP(DIV, KI64, i, two, -1, 0), -1, 0);
            store(t, access_to(t, b, FR__VEC_NONE, -1, 0, NULL), third, bin, few);
            END(p);
            EXPECT(agree(t, n / 64 * 32, n));
        }
}

TEST(embedding) /* rows found by a loaded index; a scalar mask; a row-level condition */
{
    special = 0;
    for (int m = 0; m < 2 && ready(m); m++)
        for (int s = 0; s < FR__COUNT(sizes); s++) {
            kern kernel, *t = &kernel;
            start(t);
            int64_t n = sizes[s], rows = 9;
            int p = axis(t, FR__BIND_PAR, 1, rows), v = axis(t, FR__BIND_VEC, 1, n);
            int table = buffer(t, FR_FLOAT32, FR__BUF_IN, 4 * n);
            int ids = buffer(t, FR_UINT8, FR__BUF_IN, rows);
            int out = buffer(t, FR_FLOAT32, FR__BUF_OUT, rows * n);
            int flag = buffer(t, FR_INT32, FR__BUF_OUT, rows);
            int width = OP(PARAM, KI64, -1, -1, -1, word(t, n));
            LOOP(p);
            int id = load(t, access_to(t, ids, FR__VEC_NONE, -1, 0, TERMS(p, 1)), -1, -1);
            int low = OP(AND, KU32, id, OP(CONST, KU32, -1, -1, -1, 3), -1, 0);
            int row = OP(MUL, KI64, OP(CVT, KI64, low, -1, -1, 0), width, -1, 0);
            int odd = OP(CVT, KB1, OP(AND, KU32, id, OP(CONST, KU32, -1, -1, -1, 1), -1, 0), -1,
                         -1, 0);
            int one = OP(CONST, KI32, -1, -1, -1, 1);
            store(t, access_to(t, flag, FR__VEC_NONE, -1, 0, TERMS(p, 1)), one, -1, odd);
            int head = load(t, access_to(t, table, FR__VEC_NONE, -1, 0, NULL), row, odd);
            LOOP(v);
            int x = load(t, UNIT(t, table, v, NULL), row, -1);
            x = OP(SEL, KF32, odd, x, head, 0);
            store(t, UNIT(t, out, v, TERMS(p, n)), x, -1, -1);
            END(v);
            END(p);
            EXPECT(agree(t, 4, rows));
        }
}

TEST(past_the_cache)
{
    special = 0;
    for (int m = 0; m < MACHINES; m++)
        for (int unroll = 1; unroll <= 4 && ready(m); unroll *= 2) {
            kern kernel, *t = &kernel;
            start(t);
            int p = axis(t, FR__BIND_PARVEC, unroll, 1024);
            int x = UNIT(t, buffer(t, FR_FLOAT32, FR__BUF_IN, 1024), p, NULL);
            int y = UNIT(t, buffer(t, FR_FLOAT32, FR__BUF_OUT, 1024), p, NULL);
            int h = UNIT(t, buffer(t, FR_FLOAT16, FR__BUF_OUT, 1024), p, NULL);
            t->access[y].nt = t->access[h].nt = true;
            LOOP(p);
            int v = load(t, x, -1, -1);
            store(t, y, v, -1, -1);
            store(t, h, v, -1, -1);
            END(p);
            EXPECT(agree(t, 512, 1024));
        }
}

TEST(gather) /* the part of the last test that a GPU does alike */
{
    special = 1;
    for (int s = 0; s < FR__COUNT(sizes) && ready(0); s++) {
        kern kernel, *t = &kernel;
        start(t);
        int64_t n = sizes[s];
        int p = axis(t, FR__BIND_PARVEC, 1, n);
        int x = buffer(t, FR_FLOAT32, FR__BUF_IN, 3 * n);
        int y = buffer(t, FR_FLOAT32, FR__BUF_OUT, 2 * n),
            z = buffer(t, FR_FLOAT32, FR__BUF_OUT, n);
        int one = OP(CONST, KI64, -1, -1, -1, 1), two = OP(CONST, KI64, -1, -1, -1, 2);
        LOOP(p);
        int i = OP(AXIS, KI64, -1, -1, -1, p);
        int odd = OP(EQ, KB1, OP(AND, KI64, i, one, -1, 0), one, -1, 0);
        int third = load(t, access_to(t, x, FR__VEC_STRIDE, p, 3, NULL), -1, -1);
        store(t, access_to(t, y, FR__VEC_STRIDE, p, 2, NULL), third, -1, -1);
        int twice = OP(MUL, KI64, i, two, -1, 0);
        int take = load(t, access_to(t, x, FR__VEC_NONE, -1, 0, NULL), twice, odd);
        store(t, UNIT(t, z, p, NULL), take, -1, odd);
        END(p);
        EXPECT(agree(t, n / 64 * 32, n));
    }
}

TEST(text)
{
    if (!ready(0))
        return;
    kern kernel;
    softmax(&kernel, 4, 100, 2);
    CHECK(!finish(&kernel));
    char *ir = fr__llvm_ir(&kernel.k, "softmax", 0);
    CHECK(ir && strstr(ir, "define void @softmax("));
    fr__free(ir);
    drop(&kernel);
}

static void *compile_some(void *kernel)
{
    intptr_t failed = 0;
    for (int i = 0; i < 4; i++) {
        fr__code *code = compile(kernel);
        char *ptx = fr__llvm_ptx(&((kern *)kernel)->k, "kernel", 90, NULL);
        failed += !code || !ptx;
        if (code)
            fr__code_free(code);
        fr__free(ptx);
    }
    return (void *)failed;
}

TEST(threads)
{
    pthread_t thread[4];
    kern kernel;
    if (!ready(0))
        return;
    softmax(&kernel, 4, 100, 2);
    CHECK(!finish(&kernel));
    for (int i = 0; i < 4; i++)
        CHECK(!pthread_create(&thread[i], NULL, compile_some, &kernel));
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(thread[i], &failed);
        EXPECT(!failed);
    }
    drop(&kernel);
}

TEST(too_old)
{
    kern kernel;
    if (!ready(0))
        return;
    softmax(&kernel, 4, 100, 2);
    CHECK(!finish(&kernel));
    EXPECT(!fr__llvm_ptx(&kernel.k, "kernel", 35, NULL) && fr__error_now == FR__E_DEVICE);
    fr__error_clear();
    drop(&kernel);
}
