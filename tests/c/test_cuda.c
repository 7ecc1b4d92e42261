/* test_cuda.c - src/device/cuda over the stand-in driver, or with FERRULE_TEST_GPU=1 over a real one
 *
 * The driver is opened once a process, so each test runs in a child. Kernels are PTX for the real
 * driver; the stand-in calls run_kernel instead.
 */
#define _GNU_SOURCE
#include "cuda_child.h"

#include <errno.h>
#include <pthread.h>

static const char ptx[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .entry plus(.param .u64 p, .param .u32 v, .param .u32 n)\n"
    "{\n"
    "  .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<5>;\n"
    "  ld.param.u64 %d1, [p]; ld.param.u32 %r1, [v]; ld.param.u32 %r2, [n];\n"
    "  cvta.to.global.u64 %d2, %d1;\n"
    "  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;\n"
    "  mad.lo.u32 %r6, %r3, %r4, %r5;\n"
    "  setp.ge.u32 %p1, %r6, %r2;\n"
    "  @%p1 bra done;\n"
    "  mul.wide.u32 %d3, %r6, 4; add.s64 %d4, %d2, %d3;\n"
    "  ld.global.u32 %r7, [%d4]; add.u32 %r7, %r7, %r1; st.global.u32 [%d4], %r7;\n"
    "done:\n"
    "  ret;\n"
    "}\n"
    /* the same, about 20 ms late */
    ".visible .entry late(.param .u64 p, .param .u32 v, .param .u32 n)\n"
    "{\n"
    "  .reg .pred %p<3>; .reg .b32 %r<8>; .reg .b64 %d<8>;\n"
    "  mov.u64 %d5, %globaltimer;\n"
    "wait:\n"
    "  mov.u64 %d6, %globaltimer; sub.s64 %d7, %d6, %d5;\n"
    "  setp.lt.s64 %p2, %d7, 20000000;\n"
    "  @%p2 bra wait;\n"
    "  ld.param.u64 %d1, [p]; ld.param.u32 %r1, [v]; ld.param.u32 %r2, [n];\n"
    "  cvta.to.global.u64 %d2, %d1;\n"
    "  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;\n"
    "  mad.lo.u32 %r6, %r3, %r4, %r5;\n"
    "  setp.ge.u32 %p1, %r6, %r2;\n"
    "  @%p1 bra done;\n"
    "  mul.wide.u32 %d3, %r6, 4; add.s64 %d4, %d2, %d3;\n"
    "  ld.global.u32 %r7, [%d4]; add.u32 %r7, %r7, %r1; st.global.u32 [%d4], %r7;\n"
    "done:\n"
    "  ret;\n"
    "}\n";

static void run_kernel(void *ctx, const standin_launch *l)
{
    (void)ctx;
    uint32_t *p, v, n;
    memcpy(&p, l->params[0], sizeof p);
    memcpy(&v, l->params[1], sizeof v);
    memcpy(&n, l->params[2], sizeof n);
    for (uint32_t i = 0; i < n && i < l->blocks * l->threads; i++)
        p[i] += v;
}

/* ---- small things --------------------------------------------------------------------- */

enum { N = 1000 };

static fr__gpu_code *load(fr__gpu *g, const char *entry)
{
    return fr__gpu_load(g, ptx, sizeof ptx, entry);
}

static int launch(fr__gpu_stream *s, fr__gpu_code *c, char *to, uint32_t v, uint32_t n)
{
    void *params[] = {&to, &v, &n};
    fr__gpu_shape shape = {(n + 255) / 256, 256, 0};
    return fr__gpu_launch(s, c, shape, params, "plus");
}

static uint32_t first(fr__gpu_stream *s, const char *at)
{
    uint32_t v = 0xdeadbeef;
    EXPECT(!fr__gpu_download(s, &v, at, sizeof v));
    return v;
}

/* ---- opening -------------------------------------------------------------------------- */

static void expect_none(const char *why)
{
    EXPECT_EQ(fr__cuda_count(), 0);
    if (!EXPECT(strstr(fr__cuda_why(), why)))
        printf("     %s\n", fr__cuda_why());
    EXPECT(!fr__gpu_get(0));
    EXPECT(fr__error_now == FR__E_DEVICE && says(why));
}

STANDIN_CHILD(no_driver)
{
    setenv("FERRULE_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
    expect_none("/nowhere/libcuda.so.1");
}

STANDIN_CHILD(not_a_driver)
{
    setenv("FERRULE_CUDA_DRIVER", "libm.so.6", 1);
    expect_none("too old");
}

CHILD(switched_off)
{
    setenv("FERRULE_CUDA", "0", 1);
    expect_none("switched off");
}

STANDIN_CHILD(too_old)
{
    setenv("STANDIN_VERSION", "11030", 1);
    expect_none("CUDA 11.3, 11.4 (driver 470) is needed");
}

STANDIN_CHILD(no_device)
{
    setenv("STANDIN_INIT", "100", 1);
    expect_none("finds no device");
}

STANDIN_CHILD(no_devices)
{
    setenv("STANDIN_DEVICES", "0", 1);
    expect_none("finds no device");
}

STANDIN_CHILD(mismatch)
{
    setenv("STANDIN_INIT", "803", 1);
    expect_none("cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported");
}

CHILD(about)
{
    size_t free = 0, total = 0;
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    const fr__gpu_info *i = fr__gpu_about(g);
    CHECK(i->index == 0 && i->sm >= 50 && i->processors > 0 && i->warp == 32);
    CHECK(i->threads >= 1024 && i->blocks >= 8 && i->shared_block >= 48 << 10);
    CHECK(i->shared >= i->shared_block && i->l2 && i->memory && i->driver >= 11040);
    CHECK(strlen(i->name) > 3);
    CHECK(!fr__gpu_free_memory(g, &free, &total) && free && free <= total);
    CHECK(fr__gpu_get(0) == g);
    CHECK(!fr__gpu_get(fr__cuda_count()) && says("there is no gpu"));
    fr__error_clear();
    CHECK(!fr__gpu_get(-1));
    fr__error_clear();
    CHECK(fr__gpu_of(fr__gpu_stream_get(g, 3)) == g);
    CHECK(fr__gpu_stream_get(g, 3) == fr__gpu_stream_get(g, 3));
    CHECK(fr__gpu_stream_get(g, 3) != fr__gpu_stream_get(g, 0));
    CHECK(fr__gpu_stream_get(g, 1024 + 3) == fr__gpu_stream_get(g, 3));
}

/* Fails at each of the calls in turn: an error, and the second try succeeds. */
static long opening_call;
static void child_opening(void)
{
    library = dlopen(STANDIN, RTLD_NOW | RTLD_LOCAL);
#define X(type, name, parameters) find(#name, &name);
    STANDIN_CONTROLS(X)
#undef X
    standin_fail_at(opening_call, 999);
    fr__gpu *g = fr__gpu_get(0);
    if (!standin_failed())
        exit(77);
    CHECK(g ? !strcmp(standin_failed(), "cuCtxGetCurrent") : fr__error_now == FR__E_DEVICE);
    fr__error_clear();
    if (fr__cuda_count())
        CHECK(fr__gpu_get(0));
    else
        CHECK(strlen(fr__cuda_why()) > 10);
    for (int kind = 0; kind < STANDIN_KINDS; kind++)
        EXPECT(standin_live(kind) <= 1);
}

TEST(opening_fails_anywhere)
{
    int status = 0;
    for (opening_call = 1; !real && opening_call < 100; opening_call++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            test_failures = 0;
            child_opening();
            exit(test_failures != 0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
            break;
        if (!EXPECT_EQ(WEXITSTATUS(status), 0))
            printf("     call %ld\n", opening_call);
    }
    CHECK(real || (opening_call > 15 && opening_call < 100));
}

/* A child of a process that had opened the driver. */
CHILD(fork_of_a_user)
{
    int status = 0;
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    char *block = fr__gpu_alloc(s, 100);
    CHECK(block);
    pid_t child = fork();
    if (!child) {
        EXPECT_EQ(fr__cuda_count(), 0);
        EXPECT(strstr(fr__cuda_why(), "fork"));
        EXPECT(!fr__gpu_get(0));
        fr__error_clear();
        EXPECT(!fr__gpu_alloc(s, 100) && says("fork"));
        fr__error_clear();
        EXPECT(fr__gpu_synchronize(s) && says("fork"));
        fr__error_clear();
        fr__gpu_free(s, block, 100);
        fr__gpu_clear_cache(g);
        EXPECT(fr__gpu_idle(s));
        _exit(test_failures != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    fr__gpu_free(s, block, 100);
    CHECK(!fr__gpu_synchronize(s));
}

/* Other users' context comes back. */
STANDIN_CHILD(context_is_put_back)
{
    int (*get)(void **), (*set)(void *), (*retain)(void **, int);
    void *other = NULL, *now = NULL;
    setenv("STANDIN_DEVICES", "2", 1);
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    find("cuCtxGetCurrent", &get);
    find("cuCtxSetCurrent", &set);
    find("cuDevicePrimaryCtxRetain", &retain);
    CHECK(!retain(&other, 1) && !set(other));
    fr__gpu_stream *s = fr__gpu_stream_get(g, 1);
    char *block = fr__gpu_alloc(s, 10);
    CHECK(s && block && !fr__gpu_zero(s, block, 10) && !fr__gpu_synchronize(s));
    CHECK(!get(&now) && now == other);
}

/* ---- transfers ------------------------------------------------------------------------ */

static const size_t lengths[] = {1,       3,       4096,    65536,         65537,
                                 1 << 20, 4 << 20, 8388609, (12 << 20) + 5};

CHILD(transfers)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    CHECK(!fr__gpu_upload(s, NULL, NULL, 0) && !fr__gpu_download(s, NULL, NULL, 0));
    for (int i = 0; i < FR__COUNT(lengths); i++) {
        size_t n = lengths[i];
        unsigned char *host = malloc(n), *back = malloc(n + 1);
        char *a = fr__gpu_alloc(s, n), *b = fr__gpu_alloc(s, n);
        CHECK(host && back && a && b);
        for (size_t k = 0; k < n; k++)
            host[k] = (unsigned char)(k * 7 + k / 251 + 1);
        CHECK(!fr__gpu_upload(s, a, host, n));
        memset(host, 0, n); /* it has been read */
        CHECK(!fr__gpu_copy(s, b, a, n) && !fr__gpu_zero(s, a, n));
        back[n] = 77;
        CHECK(!fr__gpu_download(s, back, b, n));
        size_t wrong = 0;
        for (size_t k = 0; k < n; k++)
            wrong += back[k] != (unsigned char)(k * 7 + k / 251 + 1);
        CHECK_EQ(wrong, 0);
        CHECK_EQ(back[n], 77);
        CHECK(!fr__gpu_fill(s, b, 9, n) && !fr__gpu_download(s, back, b, n));
        CHECK(back[0] == 9 && back[n - 1] == 9);
        CHECK(!fr__gpu_download(s, back, a, n));
        for (size_t k = 0; k < n; k++)
            wrong += back[k] != 0;
        CHECK_EQ(wrong, 0);
        fr__gpu_free(s, a, n);
        fr__gpu_free(s, b, n);
        free(host);
        free(back);
    }
}

/* Two streams' large transfers in turn use the same pieces. */
CHILD(transfers_of_two_streams)
{
    enum { BYTES = 9 << 20 };
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s[2] = {fr__gpu_stream_get(g, 0), fr__gpu_stream_get(g, 1)};
    char *at[2], *host = malloc(BYTES);
    for (int k = 0; k < 2; k++) {
        at[k] = fr__gpu_alloc(s[k], BYTES);
        CHECK(at[k] && host);
        memset(host, k + 1, BYTES);
        CHECK(!fr__gpu_upload(s[k], at[k], host, BYTES));
    }
    for (int k = 0; k < 2; k++) {
        CHECK(!fr__gpu_download(s[k], host, at[k], BYTES));
        for (size_t i = 0; i < BYTES; i += 4095)
            CHECK_EQ(host[i], k + 1);
        fr__gpu_free(s[k], at[k], BYTES);
    }
    free(host);
}

/* More than there are slots, before anything has run. */
CHILD(small_transfers)
{
    enum { TIMES = 100 };
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s[2] = {fr__gpu_stream_get(g, 0), fr__gpu_stream_get(g, 1)};
    char *at = fr__gpu_alloc(s[0], 4 * TIMES);
    CHECK(at);
    for (uint32_t i = 0; i < TIMES; i++)
        CHECK(!fr__gpu_upload(s[i % 2], at + 4 * i, &i, 4));
    CHECK(!fr__gpu_wait_for(s[0], s[1]));
    for (uint32_t i = 0; i < TIMES; i++)
        CHECK_EQ(first(s[0], at + 4 * i), i);
    fr__gpu_free(s[0], at, 4 * TIMES);
}

STANDIN_CHILD(host_cannot_read)
{
    int ends[2];
    fr__gpu *g = start(run_kernel);
    CHECK(g && !pipe(ends));
    char *block = fr__gpu_alloc(fr__gpu_stream_get(g, 0), 10);
    CHECK(block && standin_is_device(block) && standin_host(block));
    CHECK(write(ends[1], block, 1) == -1 && errno == EFAULT);
    CHECK(write(ends[1], standin_host(block), 1) == 1);
}

CHILD(two_devices)
{
    setenv("STANDIN_DEVICES", "2", 1);
    fr__gpu *a = start(run_kernel);
    CHECK(a);
    if (fr__cuda_count() < 2)
        return;
    fr__gpu *b = fr__gpu_get(1);
    CHECK(b && b != a && fr__gpu_about(b)->index == 1);
    fr__gpu_stream *sa = fr__gpu_stream_get(a, 0), *sb = fr__gpu_stream_get(b, 0);
    fr__gpu_code *c = load(a, "late");
    char *from = fr__gpu_alloc(sa, 4 * N), *to = fr__gpu_alloc(sb, 4 * N);
    CHECK(c && from && to);
    CHECK(!fr__gpu_zero(sa, from, 4 * N) && !launch(sa, c, from, 5, N));
    CHECK(!fr__gpu_wait_for(sb, sa));
    CHECK(!fr__gpu_copy_peer(sb, to, a, from, 4 * N));
    CHECK(!fr__gpu_used_by(a, from, sb)); /* an event of the other device */
    fr__gpu_free(sa, from, 4 * N);
    char *again = fr__gpu_alloc(sa, 4 * N);
    CHECK(again && !fr__gpu_zero(sa, again, 4 * N) && !fr__gpu_synchronize(sa));
    CHECK_EQ(first(sb, to), 5);
    fr__gpu_free(sa, again, 4 * N);
    fr__gpu_free(sb, to, 4 * N);
    CHECK(!fr__gpu_wait_for(sa, sb) && !fr__gpu_synchronize_all(a));
    fr__gpu_unload(c);
}

/* ---- streams -------------------------------------------------------------------------- */

CHILD(order_on_streams)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    fr__gpu_code *late = load(g, "late"), *add = load(g, "plus");
    char *x = fr__gpu_alloc(s, 4 * N), *y = fr__gpu_alloc(t, 4 * N);
    CHECK(late && add && x && y);
    CHECK(!fr__gpu_zero(s, x, 4 * N) && !launch(s, late, x, 1, N));
    CHECK(!fr__gpu_idle(s));
    CHECK(!fr__gpu_wait_for(t, s));
    CHECK(!fr__gpu_copy(t, y, x, 4 * N) && !launch(t, add, y, 10, N));
    CHECK_EQ(first(t, y), 11);
    CHECK(!fr__gpu_wait_for(s, t) && !fr__gpu_wait_for(s, s));
    CHECK(!launch(s, add, x, 100, N));
    CHECK_EQ(first(s, x), 101);
    CHECK(!fr__gpu_synchronize(s) && !fr__gpu_synchronize(t));
    CHECK(fr__gpu_idle(s) && fr__gpu_idle(t));
    fr__gpu_free(s, x, 4 * N);
    fr__gpu_free(t, y, 4 * N);
    fr__gpu_unload(late);
    fr__gpu_unload(add);
}

CHILD(marks)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_code *late = load(g, "late");
    char *x = fr__gpu_alloc(s, 4 * N);
    fr__gpu_mark *a = fr__gpu_mark_new(s);
    CHECK(late && x && a && !launch(s, late, x, 1, N));
    fr__gpu_mark *b = fr__gpu_mark_new(s);
    CHECK(b);
    double seconds = fr__gpu_mark_seconds(a, b);
    CHECK(real ? seconds > 0.019 && seconds < 0.2 : seconds > 0.0009 && seconds < 0.0011);
    fr__gpu_mark_free(a);
    fr__gpu_mark_free(b);
    fr__gpu_mark_free(NULL);
    fr__gpu_free(s, x, 4 * N);
    fr__gpu_unload(late);
}

/* ---- code ----------------------------------------------------------------------------- */

CHILD(code)
{
    fr__gpu *g = start(run_kernel);
    fr__gpu_code_info about;
    size_t bytes = 0;
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    char *cubin = fr__gpu_assemble(g, ptx, &bytes);
    CHECK(cubin && bytes > 100);
    fr__gpu_code *c = fr__gpu_load(g, cubin, bytes, "plus");
    CHECK(c);
    CHECK(!fr__gpu_code_about(c, &about) && about.registers > 0 && about.threads >= 256);
    CHECK(about.local == 0 && about.shared == 0);
    CHECK_EQ(fr__gpu_resident(c, 256, 0), fr__gpu_about(g)->threads / 256);
    CHECK(fr__gpu_resident(c, 256, 100 << 10) >= 1);
    char *x = fr__gpu_alloc(s, 4 * N);
    CHECK(x && !fr__gpu_zero(s, x, 4 * N));
    CHECK(!launch(s, c, x, 3, N) && !launch(s, c, x, 4, 1));
    CHECK(!fr__gpu_launch(s, c, (fr__gpu_shape){0, 256, 0}, NULL, "nothing"));
    CHECK_EQ(first(s, x), 7);
    CHECK_EQ(first(s, x + 4 * (N - 1)), 3);
    uint32_t v = 1, n = 1;
    void *params[] = {&x, &v, &n};
    CHECK(!fr__gpu_launch(s, c, (fr__gpu_shape){1, 32, 90 << 10}, params, "much shared"));
    CHECK_EQ(first(s, x), 8);
    CHECK(fr__gpu_launch(s, c, (fr__gpu_shape){1, 32, 1 << 20}, params, "too much shared"));
    CHECK(says("too much shared") && says("CUDA_ERROR_INVALID_VALUE"));
    fr__error_clear();
    CHECK(!fr__gpu_synchronize(s) && !fr__gpu_lost(g));
    fr__gpu_unload(c);
    fr__free(cubin);
    fr__gpu_free(s, x, 4 * N);
}

CHILD(bad_code)
{
    fr__gpu *g = start(run_kernel);
    size_t bytes = 0;
    CHECK(g);
    CHECK(!fr__gpu_load(g, ptx, sizeof ptx, "nobody"));
    CHECK(fr__error_now == FR__E_DEVICE && says("CUDA_ERROR_NOT_FOUND") && says("nobody"));
    fr__error_clear();
    static const char wrong[] = ".version 7.0\n.target sm_75\n.address_size 64\nWRONG\n";
    CHECK(!fr__gpu_load(g, wrong, sizeof wrong, "plus"));
    CHECK(says("CUDA_ERROR_INVALID_PTX") && says("ptxas"));
    fr__error_clear();
    CHECK(!fr__gpu_assemble(g, wrong, &bytes) && says("ptxas"));
    fr__error_clear();
    fr__gpu_code *c = load(g, "plus");
    CHECK(c);
    fr__gpu_unload(c);
    fr__gpu_unload(NULL);
}

/* The module is needed until the kernel has run. */
CHILD(unload_while_running)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_code *c = load(g, "late");
    char *x = fr__gpu_alloc(s, 4 * N);
    CHECK(c && x && !fr__gpu_zero(s, x, 4 * N) && !launch(s, c, x, 1, N));
    fr__gpu_unload(c);
    CHECK_EQ(first(s, x), 1);
    fr__gpu_free(s, x, 4 * N);
    CHECK(real || standin_live(STANDIN_MODULE) == 0);
}

/* ---- memory --------------------------------------------------------------------------- */

CHILD(blocks_are_cached)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    char *none = fr__gpu_alloc(s, 0);
    CHECK(none);
    fr__gpu_free(s, none, 0);
    fr__gpu_free(s, NULL, 100);
    for (int i = 0; i < 60; i++) {
        size_t bytes = ((size_t)1 << (i % 25)) + (size_t)(i * 37);
        char *a = fr__gpu_alloc(s, bytes);
        CHECK(a && !((uintptr_t)a & 255));
        fr__gpu_free(s, a, bytes);
        CHECK(fr__gpu_alloc(s, bytes) == a); /* at once, on the same stream */
        char *b = fr__gpu_alloc(t, bytes);
        CHECK(b && b != a);
        fr__gpu_free(s, a, bytes);
        CHECK(fr__gpu_alloc(t, bytes) != a); /* not on another */
        CHECK(fr__gpu_memory_of(g).active >= 2 * bytes);
        fr__gpu_clear_cache(g);
        CHECK(fr__gpu_memory_of(g).cached < 1 << 26);
        fr__gpu_free(t, b, bytes);
    }
}

CHILD(counts)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_memory m = fr__gpu_memory_of(g);
    CHECK(m.active == 0 && m.peak == 0 && m.cached == 0 && m.limit > 0);
    char *a = fr__gpu_alloc(s, 1000), *b = fr__gpu_alloc(s, 5 << 20);
    m = fr__gpu_memory_of(g);
    CHECK(m.active == 1024 + (5 << 20) && m.peak == m.active && m.cached > 0);
    CHECK(real || standin_bytes(0) == m.active + m.cached);
    fr__gpu_free(s, b, 5 << 20);
    CHECK_EQ(fr__gpu_memory_of(g).active, 1024);
    CHECK_EQ(fr__gpu_memory_of(g).peak, 1024 + (5 << 20));
    fr__gpu_reset_peak(g);
    CHECK_EQ(fr__gpu_memory_of(g).peak, 1024);
    size_t before = fr__gpu_set_cache_limit(g, 0); /* gives it back at once */
    CHECK_EQ(before, m.limit);
    CHECK(fr__gpu_memory_of(g).cached < 2 << 20);
    fr__gpu_free(s, a, 1000);
    m = fr__gpu_memory_of(g);
    CHECK(m.active == 0 && m.cached == 0 && m.limit == 0);
    CHECK(real || standin_bytes(0) == 0);
}

/* Random sizes: no two live blocks overlap, and in the end all is one again. */
CHILD(blocks_do_not_overlap)
{
    enum { LIVE = 300 };
    static struct {
        char *at;
        size_t bytes;
        int stream;
    } live[LIVE];
    fr__gpu *g = start(run_kernel);
    uint32_t seed = 1;
    CHECK(g);
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1664525u + 1013904223u;
        int k = (int)(seed >> 8) % LIVE;
        fr__gpu_stream *s = fr__gpu_stream_get(g, live[k].stream);
        if (live[k].at) {
            fr__gpu_free(s, live[k].at, live[k].bytes);
            live[k].at = NULL;
            continue;
        }
        seed = seed * 1664525u + 1013904223u;
        size_t most = seed % 50 == 0 ? 6 << 20 : seed % 7 ? 5000 : 200000;
        size_t bytes = (seed >> 9) % most;
        live[k].stream = (int)(seed >> 30) & 1;
        char *at = fr__gpu_alloc(fr__gpu_stream_get(g, live[k].stream), bytes);
        CHECK(at);
        for (int j = 0; j < LIVE; j++)
            if (live[j].at && at < live[j].at + live[j].bytes && live[j].at < at + bytes)
                CHECK(!"overlap");
        live[k].at = at;
        live[k].bytes = bytes;
    }
    for (int k = 0; k < LIVE; k++)
        fr__gpu_free(fr__gpu_stream_get(g, live[k].stream), live[k].at, live[k].bytes);
    CHECK_EQ(fr__gpu_memory_of(g).active, 0);
    fr__gpu_clear_cache(g);
    CHECK_EQ(fr__gpu_memory_of(g).cached, 0);
    CHECK(real || standin_live(STANDIN_MEMORY) == 0);
}

/* Freed on its own stream while another one still works with it. */
CHILD(used_by_another_stream)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    fr__gpu_code *late = load(g, "late");
    char *x = fr__gpu_alloc(s, 4 * N), *y = fr__gpu_alloc(t, 4 * N);
    CHECK(late && x && y && !fr__gpu_zero(s, x, 4 * N) && !fr__gpu_wait_for(t, s));
    CHECK(!launch(t, late, x, 5, N) && !fr__gpu_copy(t, y, x, 4 * N));
    CHECK(!fr__gpu_used_by(g, x, t) && !fr__gpu_used_by(g, x, t) && !fr__gpu_used_by(g, x, s));
    fr__gpu_free(s, x, 4 * N);
    char *z = fr__gpu_alloc(s, 4 * N); /* the block is still in use */
    CHECK(z && z != x && !fr__gpu_zero(s, z, 4 * N) && !fr__gpu_synchronize(s));
    CHECK_EQ(first(t, y), 5);
    fr__gpu_free(s, z, 4 * N);
    char *again[8];
    bool back = false;
    for (int i = 0; i < 8; i++) { /* and now it isn't */
        again[i] = fr__gpu_alloc(s, 4 * N);
        back |= again[i] == x;
    }
    CHECK(back);
    for (int i = 0; i < 8; i++)
        fr__gpu_free(s, again[i], 4 * N);
    /* Freed with the other stream: the same without saying so. */
    x = fr__gpu_alloc(s, 8 << 20);
    CHECK(x && !fr__gpu_wait_for(t, s));
    for (int i = 0; i < 9; i++) /* each question runs one on the stand-in */
        CHECK(!launch(t, late, x, 5, N));
    fr__gpu_free(t, x, 8 << 20);
    z = fr__gpu_alloc(s, 8 << 20);
    CHECK(z && z != x);
    fr__gpu_free(s, z, 8 << 20);
    fr__gpu_free(t, y, 4 * N);
    fr__gpu_unload(late);
    fr__gpu_clear_cache(g);
    CHECK_EQ(fr__gpu_memory_of(g).cached, 0);
}

STANDIN_CHILD(out_of_memory)
{
    enum { MIB = 1 << 20 };
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    fr__gpu_code *add = load(g, "plus");
    standin_limit(100 * MIB);
    char *a = fr__gpu_alloc(s, 60 * MIB);
    CHECK(a && add && !fr__gpu_zero(s, a, 60 * MIB));
    CHECK(!fr__gpu_alloc(s, 60 * MIB) && fr__error_now == FR__E_MEMORY);
    CHECK(says("60.0 MiB asked for, 60.0 MiB active, 0 B cached, 256 MiB in all"));
    fr__error_clear();
    CHECK(!fr__gpu_alloc(s, SIZE_MAX - 5) && fr__error_now == FR__E_MEMORY);
    fr__error_clear();
    CHECK(!fr__gpu_alloc(s, (size_t)1 << 45) && fr__error_now == FR__E_MEMORY);
    fr__error_clear();
    /* A limit of our own: what is cached counts, and is given back first. */
    size_t most = fr__gpu_set_limit(g, 90 * MIB);
    CHECK(most == 256 * MIB && !fr__gpu_alloc(s, 40 * MIB) && fr__error_now == FR__E_MEMORY);
    CHECK(says("90.0 MiB in all"));
    fr__error_clear();
    char *more = fr__gpu_alloc(s, 25 * MIB);
    CHECK(more && fr__gpu_memory_of(g).most == 90 * MIB);
    fr__gpu_free(s, more, 25 * MIB);
    CHECK((more = fr__gpu_alloc(s, 30 * MIB)));
    fr__gpu_free(s, more, 30 * MIB);
    fr__gpu_set_limit(g, most);
    fr__gpu_clear_cache(g);
    /* Cached for s, wanted by t: what is queued runs before the block goes. */
    CHECK(!launch(s, add, a, 9, N));
    fr__gpu_free(s, a, 60 * MIB);
    char *b = fr__gpu_alloc(t, 70 * MIB);
    CHECK(b && !fr__gpu_lost(g));
    CHECK(!fr__gpu_synchronize(s) && fr__gpu_memory_of(g).cached == 0);
    /* Of those that wait for another stream's work, too. */
    CHECK(!launch(s, add, b, 9, N) && !fr__gpu_used_by(g, b, s));
    fr__gpu_free(t, b, 70 * MIB);
    CHECK((a = fr__gpu_alloc(s, 80 * MIB)) && !fr__gpu_synchronize(s));
    fr__gpu_free(s, a, 80 * MIB);
    /* Less than a usual segment is left: exactly what is needed will do. */
    fr__gpu_clear_cache(g);
    standin_limit(8 * MIB);
    CHECK((a = fr__gpu_alloc(s, 5 * MIB)));
    CHECK(!fr__gpu_alloc(s, 5 * MIB));
    fr__error_clear();
    CHECK((b = fr__gpu_alloc(s, 100)));
    fr__gpu_free(s, a, 5 * MIB);
    fr__gpu_free(s, b, 100);
    fr__gpu_unload(add);
    standin_limit(0);
    fr__gpu_clear_cache(g);
    CHECK(!fr__gpu_alloc(s, 1) && says("1 B asked for"));
    CHECK_EQ(standin_live(STANDIN_MEMORY), 0);
}

/* ---- graphs --------------------------------------------------------------------------- */

CHILD(graphs)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    fr__gpu_code *add = load(g, "plus"), *other = load(g, "late");
    char *x = fr__gpu_alloc(s, 4 * N), *y = fr__gpu_alloc(s, 4 * N);
    CHECK(add && other && x && y && !fr__gpu_zero(s, x, 4 * N) && !fr__gpu_zero(s, y, 4 * N));
    CHECK(!fr__gpu_record_end(s) && says("doesn't record"));
    fr__error_clear();
    CHECK(!fr__gpu_record_begin(s));
    CHECK(fr__gpu_record_begin(s) && says("already"));
    fr__error_clear();
    CHECK(!launch(s, add, x, 1, N) && !fr__gpu_copy(s, y, x, 4 * N));
    char *temporary = fr__gpu_alloc(s, 30 << 20); /* from the driver */
    CHECK(temporary && !fr__gpu_zero(s, temporary, 4 * N) && !launch(s, add, y, 10, N));
    uint32_t word = 7;
    CHECK(fr__gpu_upload(s, x, &word, 4) && says("cannot be recorded"));
    fr__error_clear();
    CHECK(fr__gpu_download(s, &word, x, 4) && fr__gpu_synchronize(s));
    fr__error_clear();
    CHECK(fr__gpu_wait_for(t, s) && fr__gpu_wait_for(s, t) && !fr__gpu_mark_new(s));
    fr__error_clear();
    CHECK(!fr__gpu_idle(s));
    fr__gpu_unload(other); /* put off */
    CHECK(real || standin_live(STANDIN_MODULE) == 2);
    CHECK(!fr__gpu_synchronize_all(g)); /* all others */
    fr__gpu_graph *graph = fr__gpu_record_end(s);
    CHECK(graph);
    CHECK_EQ(fr__gpu_graph_nodes(graph), 4);
    CHECK(real || standin_live(STANDIN_MODULE) == 1);
    CHECK_EQ(first(s, x), 0); /* nothing ran */
    for (int i = 0; i < 3; i++)
        CHECK(!fr__gpu_graph_launch(s, graph, "graph"));
    CHECK_EQ(first(s, x), 3);
    CHECK_EQ(first(s, y + 4 * (N - 1)), 13);
    CHECK(!fr__gpu_wait_for(t, s) && !fr__gpu_graph_launch(t, graph, "graph"));
    fr__gpu_graph_free(graph);
    fr__gpu_graph_free(NULL);
    CHECK_EQ(first(t, y), 14);
    fr__gpu_free(s, temporary, 30 << 20);
    fr__gpu_free(s, x, 4 * N);
    fr__gpu_free(s, y, 4 * N);
    fr__gpu_unload(add);
    CHECK(real || (!standin_live(STANDIN_GRAPH) && !standin_live(STANDIN_EXEC)));
}

/* What another stream that records has used waits until it doesn't. */
CHILD(used_while_recording)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 1);
    fr__gpu_code *add = load(g, "plus");
    char *x = fr__gpu_alloc(s, 3 << 20);
    CHECK(add && x && !fr__gpu_record_begin(t));
    CHECK(!launch(t, add, x, 1, N) && !fr__gpu_used_by(g, x, t));
    fr__gpu_free(s, x, 3 << 20);
    fr__gpu_clear_cache(g);
    CHECK(fr__gpu_memory_of(g).cached >= 3 << 20);
    fr__gpu_graph *graph = fr__gpu_record_end(t);
    CHECK(graph);
    fr__gpu_clear_cache(g);
    CHECK_EQ(fr__gpu_memory_of(g).cached, 0);
    fr__gpu_graph_free(graph);
    fr__gpu_unload(add);
}

/* ---- failures ------------------------------------------------------------------------- */

/* A bit of everything; 0 or -1, with nothing left behind. */
static int program(fr__gpu *g)
{
    enum { LARGE = 6 << 20 };
    size_t bytes = 0;
    int bad = -1;
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0), *t = fr__gpu_stream_get(g, 2);
    char *host = calloc(1, LARGE), *x = NULL, *y = NULL, *cubin = NULL;
    fr__gpu_code *c = NULL;
    fr__gpu_graph *graph = NULL;
    fr__gpu_mark *a = NULL, *b = NULL;
    if (!s || !t || !(cubin = fr__gpu_assemble(g, ptx, &bytes)) ||
        !(c = fr__gpu_load(g, cubin, bytes, "plus")) || !(x = fr__gpu_alloc(s, LARGE)) ||
        !(y = fr__gpu_alloc(t, LARGE)) || !(a = fr__gpu_mark_new(s)))
        goto end;
    if (fr__gpu_upload(s, x, host, LARGE) || fr__gpu_upload(s, x, host, 100) ||
        launch(s, c, x, 1, N) || !fr__gpu_resident(c, 128, 60 << 10))
        goto end;
    if (fr__gpu_record_begin(s))
        goto end;
    int recorded = launch(s, c, x, 2, N) || fr__gpu_zero(s, x + 4 * N, 4 * N);
    graph = fr__gpu_record_end(s);
    if (recorded || !graph || fr__gpu_graph_launch(s, graph, "graph"))
        goto end;
    if (fr__gpu_wait_for(t, s) || fr__gpu_used_by(g, x, t) || fr__gpu_copy(t, y, x, LARGE))
        goto end;
    fr__gpu_free(s, x, LARGE);
    x = NULL;
    if (fr__gpu_download(t, host, y, LARGE) || fr__gpu_synchronize(s) ||
        !(b = fr__gpu_mark_new(s)) || fr__gpu_mark_seconds(a, b) < 0)
        goto end;
    bad = 0;
    EXPECT_EQ(*(uint32_t *)host, 3);
end:
    fr__gpu_free(s, x, LARGE);
    fr__gpu_free(s, y, LARGE); /* of another stream */
    fr__gpu_graph_free(graph);
    fr__gpu_unload(c);
    fr__gpu_mark_free(a);
    fr__gpu_mark_free(b);
    fr__free(cubin);
    free(host);
    return bad;
}

static void count_live(fr__gpu *g, long to[STANDIN_KINDS])
{
    fr__gpu_clear_cache(g);
    for (int kind = 0; kind < STANDIN_KINDS; kind++)
        to[kind] = standin_live(kind);
}

static bool gives_back(const char *call)
{
    return strstr(call, "Free") || strstr(call, "Destroy") || strstr(call, "Unload");
}

STANDIN_CHILD(any_call_fails)
{
    long before[STANDIN_KINDS], after[STANDIN_KINDS], n = 1;
    fr__gpu *g = start(run_kernel);
    CHECK(g && !program(g) && !program(g));
    count_live(g, before);
    CHECK_EQ(before[STANDIN_MEMORY], 0);
    for (; n < 2000; n++) {
        int code = n % 3 ? 999 : 2;
        standin_fail_at(n, code);
        int bad = program(g);
        const char *failed = standin_failed();
        standin_fail_at(0, 0);
        if (!failed)
            break;
        if (bad && !EXPECT(fr__error_now == FR__E_DEVICE || fr__error_now == FR__E_MEMORY))
            printf("     %s: %s\n", failed, fr__error_text());
        EXPECT(bad || fr__error_now == FR__E_NONE);
        fr__error_clear();
        count_live(g, after);
        for (int kind = 0; kind < STANDIN_KINDS; kind++) {
            /* one more event may be kept; what the driver didn't take back is lost */
            long more = (kind == STANDIN_EVENT) + gives_back(failed);
            if (!EXPECT(after[kind] <= before[kind] + more))
                printf("     call %ld, %s: kind %d: %ld, %ld\n", n, failed, kind, before[kind],
                       after[kind]);
        }
        memcpy(before, after, sizeof before);
        if (!EXPECT(!program(g)))
            printf("     after call %ld, %s: %s\n", n, failed, fr__error_text());
    }
    CHECK(n > 80 && n < 2000);
    CHECK_EQ(fr__gpu_memory_of(g).active, 0);
    fflush(stdout);
    _exit(test_failures != 0); /* what the stand-in wouldn't take back is no leak of ours */
}

STANDIN_CHILD(any_allocation_fails)
{
    fr__gpu *g = start(run_kernel);
    CHECK(g && !program(g) && !program(g));
    for (int64_t n = 1;; n++) {
        fr__fault_set(n);
        int bad = program(g);
        int64_t seen = fr__fault_count();
        fr__fault_set(0);
        EXPECT(bad ? fr__error_now == FR__E_MEMORY : fr__error_now == FR__E_NONE);
        fr__error_clear();
        EXPECT_EQ(fr__gpu_memory_of(g).active, 0);
        if (seen < n)
            break;
    }
    fr__gpu_clear_cache(g);
    EXPECT_EQ(standin_live(STANDIN_MEMORY), 0);
    EXPECT_EQ(standin_live(STANDIN_MODULE), 0);
    EXPECT_EQ(standin_live(STANDIN_EXEC), 0);
}

/* A fault is an error that names the kernel; the process lives, other devices too. */
CHILD(lost_device)
{
    setenv("STANDIN_DEVICES", "2", 1);
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_code *c = load(g, "plus");
    char *x = fr__gpu_alloc(s, 4 * N), *nowhere = (char *)4096;
    uint32_t v = 1, n = 10;
    void *params[] = {&nowhere, &v, &n};
    CHECK(c && x);
    if (!real)
        standin_fault_at(1);
    CHECK(!fr__gpu_launch(s, c, (fr__gpu_shape){1, 32, 0}, params, "faulty"));
    CHECK(fr__gpu_synchronize(s) && fr__error_now == FR__E_DEVICE);
    CHECK(says("faulty") && says("CUDA_ERROR_ILLEGAL_ADDRESS"));
    fr__error_clear();
    CHECK(fr__gpu_lost(g) && fr__gpu_idle(s));
    CHECK(launch(s, c, x, 1, N) && says("lost by an earlier fault: kernel faulty"));
    fr__error_clear();
    CHECK(!fr__gpu_alloc(s, 10) && says("faulty"));
    fr__error_clear();
    CHECK(fr__gpu_download(s, &v, x, 4) && fr__gpu_synchronize(s));
    CHECK(says("gpu 0 was lost"));
    fr__error_clear();
    fr__gpu_free(s, x, 4 * N);
    fr__gpu_unload(c);
    fr__gpu_clear_cache(g);
    CHECK_EQ(fr__gpu_memory_of(g).active, 0);
    CHECK(fr__error_now == FR__E_NONE);
    if (fr__cuda_count() > 1) {
        fr__gpu *other = fr__gpu_get(1);
        CHECK(other && !program(other));
    }
}

CHILD(blocking_names_the_kernel)
{
    setenv("FERRULE_CUDA_BLOCKING", "1", 1);
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_code *c = load(g, "plus");
    char *nowhere = (char *)4096;
    uint32_t v = 1, n = 10;
    void *params[] = {&nowhere, &v, &n};
    CHECK(c);
    if (!real)
        standin_fault_at(1);
    CHECK(fr__gpu_launch(s, c, (fr__gpu_shape){1, 32, 0}, params, "this one"));
    CHECK(says("kernel this one: ") && !strstr(fr__error_text(), "before it"));
    fr__gpu_unload(c);
}

/* ---- threads -------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 200 };
static fr__gpu *shared_gpu;
static fr__gpu_code *shared_code;

static void *work(void *ctx)
{
    int k = (int)(intptr_t)ctx;
    fr__gpu_stream *s = fr__gpu_stream_get(shared_gpu, k);
    fr__gpu_stream *t = fr__gpu_stream_get(shared_gpu, (k + 1) % THREADS);
    for (int i = 0; i < ROUNDS; i++) {
        size_t bytes = 4 * N + (size_t)((i * 7919 + k) % 40) * 8192;
        char *x = fr__gpu_alloc(s, bytes), *y = fr__gpu_alloc(s, bytes);
        EXPECT(x && y && !fr__gpu_zero(s, x, 4 * N) && !launch(s, shared_code, x, 3, N));
        EXPECT(!fr__gpu_copy(s, y, x, 4 * N));
        EXPECT(!fr__gpu_wait_for(t, s) && !launch(t, shared_code, x, 1, 1) &&
               !fr__gpu_used_by(shared_gpu, x, t));
        fr__gpu_free(s, x, bytes);
        if (i % 16 == 0)
            EXPECT_EQ(first(s, y), 3);
        fr__gpu_free(s, y, bytes);
        if (i % 64 == 0)
            fr__gpu_clear_cache(shared_gpu);
        fr__gpu_memory_of(shared_gpu);
    }
    return NULL;
}

CHILD(threads)
{
    pthread_t thread[THREADS];
    CHECK((shared_gpu = start(run_kernel)) && (shared_code = load(shared_gpu, "plus")));
    for (int k = 0; k < THREADS; k++)
        CHECK(!pthread_create(&thread[k], NULL, work, (void *)(intptr_t)k));
    for (int k = 0; k < THREADS; k++)
        pthread_join(thread[k], NULL);
    CHECK(!fr__gpu_synchronize_all(shared_gpu));
    fr__gpu_unload(shared_code);
    fr__gpu_clear_cache(shared_gpu);
    CHECK_EQ(fr__gpu_memory_of(shared_gpu).active, 0);
    CHECK_EQ(fr__gpu_memory_of(shared_gpu).cached, 0);
}

/* ---- how fast (--time) ---------------------------------------------------------------- */

CHILD(time)
{
    if (!test_option("time"))
        return;
    fr__gpu *g = start(run_kernel);
    CHECK(g);
    fr__gpu_stream *s = fr__gpu_stream_get(g, 0);
    fr__gpu_code *add = load(g, "plus");
    enum { TIMES = 200000, LAUNCHES = 2000, BYTES = 64 << 20 };
    char *held[64];
    for (int i = 0; i < 64; i++)
        held[i] = fr__gpu_alloc(s, (size_t)(i + 1) * 3000);
    double from = fr__now();
    for (int i = 0; i < TIMES; i++) {
        int k = i * 31 % 64;
        fr__gpu_free(s, held[k], 0);
        held[k] = fr__gpu_alloc(s, (size_t)(k + 1) * 3000);
    }
    printf("   free and alloc: %.0f ns\n", 1e9 * (fr__now() - from) / TIMES);
    char *x = fr__gpu_alloc(s, BYTES), *host = malloc(BYTES);
    CHECK(x && host);
    memset(host, 1, BYTES);
    for (int round = 0; round < 2; round++) {
        fr__gpu_synchronize(s);
        from = fr__now();
        for (int i = 0; i < LAUNCHES; i++)
            CHECK(!launch(s, add, x, 1, 64));
        double queued = fr__now() - from;
        CHECK(!fr__gpu_synchronize(s));
        printf("   launch: %.2f us queued, %.2f us in all\n", 1e6 * queued / LAUNCHES,
               1e6 * (fr__now() - from) / LAUNCHES);
        from = fr__now();
        CHECK(!fr__gpu_upload(s, x, host, BYTES) && !fr__gpu_synchronize(s));
        printf("   upload of 64 MiB: %.1f GB/s\n", BYTES / (fr__now() - from) * 1e-9);
        from = fr__now();
        CHECK(!fr__gpu_download(s, host, x, BYTES));
        printf("   download: %.1f GB/s\n", BYTES / (fr__now() - from) * 1e-9);
        from = fr__now();
        for (int i = 0; i < 1000; i++)
            CHECK(!fr__gpu_download(s, host, x, 4));
        printf("   download of 4 bytes: %.1f us\n", 1e3 * (fr__now() - from));
        from = fr__now();
        for (int i = 0; i < 1000; i++)
            CHECK(!fr__gpu_upload(s, x, host, 4));
        CHECK(!fr__gpu_synchronize(s));
        printf("   upload of 4 bytes: %.1f us\n", 1e3 * (fr__now() - from));
    }
    free(host);
}
