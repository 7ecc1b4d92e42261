/* test_interp_loops.c - loops, accumulators, masks and memory of the interpreter */
#define _GNU_SOURCE
#include "kernel_maker.h"

/* ---- loops ------------------------------------------------------------------------------ */

/* The definition of a sum over n floats in a vector loop with this unroll. */
static float defined_sum(const float *x, int64_t n, int unroll, int64_t stride)
{
    float lane[64] = {0}, v[64];
    int lanes = 16 * unroll;

    for (int64_t i = 0; i < n; i++)
        lane[i % lanes] += x[i * stride];
    for (; lanes > 16; lanes /= 2) {
        for (int j = 0; j < lanes / 2; j++)
            v[j] = lane[j / 16 * 32 + j % 16] + lane[j / 16 * 32 + 16 + j % 16];
        memcpy(lane, v, sizeof v);
    }
    for (; lanes > 1; lanes /= 2)
        for (int j = 0; j < lanes / 2; j++)
            lane[j] += lane[j + lanes / 2];
    return lane[0];
}

/* rows x columns: each row less its sum, in place; the sum itself to a second output. */
TEST(row_sums)
{
    for (int t = 0; t < tiers(); t++)
        for (int unroll = 1; unroll <= 4; unroll *= 2)
            for (int cols = 1; cols < 700; cols += 1 + cols / 3) {
                enum { ROWS = 5 };
                size_t bytes = (size_t)ROWS * (size_t)cols * 4;
                float *x = fenced(bytes), *copy = malloc(bytes), *sums = fenced(ROWS * 4);
                int par, vec, in, out, to, acc, sum;
                for (int i = 0; i < ROWS * cols; i++)
                    copy[i] = x[i] = (float)(int32_t)random_bits() * 1e-6f;
                start();
                par = axis(FR__BIND_PAR, 0, ROWS);
                vec = axis(FR__BIND_VEC, unroll, cols);
                in = access_to(FR_FLOAT32, FR__BUF_IN, x, vec, 1);
                term(in, par, cols);
                out = access_to(FR_FLOAT32, FR__BUF_OUT, x, vec, 1);
                term(out, par, cols);
                to = access_to(FR_FLOAT32, FR__BUF_OUT, sums, -1, 0);
                term(to, par, 1);
                loop(par);
                acc = ins(FR__K_ACC, FR__KF32, -1, -1, -1, FR__K_ADD);
                loop(vec);
                ins(FR__K_UPD, FR__KNONE, acc, load(FR__KF32, in), -1, 0);
                end(vec);
                sum = ins(FR__K_RED, FR__KF32, acc, -1, -1, 0);
                store(FR__KF32, sum, to);
                loop(vec);
                store(FR__KF32, ins(FR__K_SUB, FR__KF32, load(FR__KF32, in), sum, -1, 0), out);
                end(vec);
                end(par);
                if (prepare(t))
                    return;
                run_on(1, ROWS, NULL);
                CHECK(sums[0] == 0 && !memcmp(x, copy, (size_t)cols * 4));
                for (int r = 1; r < ROWS; r++) {
                    float want = defined_sum(copy + r * cols, cols, unroll, 1);
                    CHECK(!memcmp(&sums[r], &want, 4));
                    for (int c = 0; c < cols; c++)
                        CHECK(x[r * cols + c] == copy[r * cols + c] - want);
                }
                free(copy);
                unfence(x, bytes);
                unfence(sums, ROWS * 4);
            }
}

/* An acc over a serial and a vector loop; split by blocks; products and extremes as well. */
TEST(split_and_nested_reduction)
{
    enum { N = 1000, BLOCK = 192, BLOCKS = 6, OUTSIDE = 3 };
    static float x[OUTSIDE][N], sums[BLOCKS], most[BLOCKS];

    for (int i = 0; i < OUTSIDE * N; i++)
        x[i / N][i % N] = (float)(int32_t)random_bits() * 1e-6f;
    for (int t = 0; t < tiers(); t++) {
        int par, serial, vec, in, a, b, acc, top, v;
        start();
        par = axis(FR__BIND_PAR, 0, BLOCKS);
        serial = axis(FR__BIND_SERIAL, 0, OUTSIDE);
        vec = axis(FR__BIND_VEC, 2, N);
        m.axis[vec].split = (int16_t)par;
        m.axis[vec].block = (uint16_t)word(BLOCK);
        in = access_to(FR_FLOAT32, FR__BUF_IN, x, vec, 1);
        term(in, serial, N);
        a = access_to(FR_FLOAT32, FR__BUF_OUT, sums, -1, 0);
        term(a, par, 1);
        b = access_to(FR_FLOAT32, FR__BUF_OUT, most, -1, 0);
        term(b, par, 1);
        loop(par);
        acc = ins(FR__K_ACC, FR__KF32, -1, -1, -1, FR__K_ADD);
        top = ins(FR__K_ACC, FR__KF32, -1, -1, -1, FR__K_MAX);
        loop(serial);
        loop(vec);
        v = load(FR__KF32, in);
        ins(FR__K_UPD, FR__KNONE, acc, v, -1, 0);
        ins(FR__K_UPD, FR__KNONE, top, v, -1, 0);
        end(vec);
        end(serial);
        store(FR__KF32, ins(FR__K_RED, FR__KF32, acc, -1, -1, 0), a);
        store(FR__KF32, ins(FR__K_RED, FR__KF32, top, -1, -1, 0), b);
        end(par);
        if (prepare(t))
            return;
        run_on(0, BLOCKS, NULL);
        for (int p = 0; p < BLOCKS; p++) {
            float lane[32] = {0}, max = -INFINITY;
            for (int s = 0; s < OUTSIDE; s++)
                for (int i = p * BLOCK; i < (p + 1) * BLOCK && i < N; i++) {
                    lane[(i - p * BLOCK) % 32] += x[s][i];
                    max = fmaxf(max, x[s][i]);
                }
            max += 0;
            CHECK(sums[p] == defined_sum(lane, 32, 2, 1));
            CHECK(most[p] == max);
        }
    }
}

/* Columns: a vector loop at the root, a serial one inside, a sum a lane; integers and bools too. */
TEST(column_sums)
{
    enum { ROWS = 7, COLS = 611 };
    static int32_t x[ROWS][COLS];
    static int32_t sums[COLS];
    static uint8_t any[COLS];

    for (int t = 0; t < tiers(); t++) {
        int root, serial, in, a, b, acc, some, v, zero;
        for (int i = 0; i < ROWS * COLS; i++)
            x[i / COLS][i % COLS] = (int32_t)random_bits() >> 8;
        memset(sums, 0, sizeof sums);
        start();
        root = axis(FR__BIND_PARVEC, 4, COLS);
        serial = axis(FR__BIND_SERIAL, 0, ROWS);
        in = access_to(FR_INT32, FR__BUF_IN, x, root, 1);
        term(in, serial, COLS);
        a = access_to(FR_INT32, FR__BUF_OUT, sums, root, 1);
        b = access_to(FR_BOOL, FR__BUF_OUT, any, root, 1);
        zero = constant_int(FR__KI32, 8000000);
        loop(root);
        acc = ins(FR__K_ACC, FR__KI32, -1, -1, -1, FR__K_ADD);
        some = ins(FR__K_ACC, FR__KB1, -1, -1, -1, FR__K_OR);
        loop(serial);
        v = load(FR__KI32, in);
        ins(FR__K_UPD, FR__KNONE, acc, v, -1, 0);
        ins(FR__K_UPD, FR__KNONE, some, ins(FR__K_LT, FR__KB1, zero, v, -1, 0), -1, 0);
        end(serial);
        store(FR__KI32, ins(FR__K_RED, FR__KI32, acc, -1, -1, 0), a);
        store(FR__KB1, ins(FR__K_RED, FR__KB1, some, -1, -1, 0), b);
        end(root);
        if (prepare(t))
            return;
        run_on(64, COLS, NULL);
        for (int c = 0; c < COLS; c++) {
            int32_t want = 0, found = 0;
            for (int r = 0; r < ROWS; r++) {
                want += x[r][c];
                found |= x[r][c] > 8000000;
            }
            CHECK_EQ(sums[c], c < 64 ? 0 : want);
            CHECK_EQ(any[c], c < 64 ? 0 : found);
        }
    }
}

/* Root counts a product of two axes; strided vector axis; scalars without any vector loop. */
TEST(outer_axes_and_strides)
{
    enum { A = 3, B = 4, C = 50 };
    static double x[C][B][A], y[A][B][C];
    static int64_t where[A * B];

    for (int i = 0; i < A * B * C; i++)
        (&x[0][0][0])[i] = i;
    for (int t = 0; t < tiers(); t++) {
        int root, a, b, vec, in, out, sum, i;
        memset(y, 0, sizeof y);
        start();
        root = axis(FR__BIND_PAR, 0, A * B);
        a = axis(FR__BIND_OUTER, 0, A);
        m.axis[a].div = (uint16_t)word(B);
        b = axis(FR__BIND_OUTER, 0, B);
        m.axis[b].div = (uint16_t)word(1);
        vec = axis(FR__BIND_VEC, 1, C);
        in = access_to(FR_FLOAT64, FR__BUF_IN, x, vec, A * B);
        term(in, a, 1);
        term(in, b, A);
        out = access_to(FR_FLOAT64, FR__BUF_OUT, y, vec, 1);
        term(out, a, B * C);
        term(out, b, C);
        sum = access_to(FR_INT64, FR__BUF_OUT, where, -1, 0);
        term(sum, root, 1);
        loop(root);
        loop(vec);
        store(FR__KF64, load(FR__KF64, in), out);
        end(vec);
        i = ins(FR__K_AXIS, FR__KI64, -1, -1, -1, a);
        i = ins(FR__K_MUL, FR__KI64, i, constant_int(FR__KI64, 100), -1, 0);
        i = ins(FR__K_ADD, FR__KI64, i, ins(FR__K_AXIS, FR__KI64, -1, -1, -1, b), -1, 0);
        store(FR__KI64, i, sum);
        end(root);
        if (prepare(t))
            return;
        run_on(0, A * B, NULL);
        for (i = 0; i < A * B * C; i++)
            CHECK(y[i / (B * C)][i / C % B][i % C] == x[i % C][i / C % B][i / (B * C)]);
        for (i = 0; i < A * B; i++)
            CHECK_EQ(where[i], i / B * 100 + i % B);
    }
}

/* Gather and scatter by index, under a mask; every width. */
TEST(gather_scatter_masked)
{
    static const int dtypes[] = {FR_UINT8, FR_INT16, FR_FLOAT32, FR_INT64};
    enum { N = 333 };
    static char want[N * 8];
    static int64_t index[N];

    for (int t = 0; t < tiers(); t++)
        for (int d = 0; d < 4; d++) {
            int dtype = dtypes[d], type = fr__ktype_of(dtype), root, ix, in, out, i, b, odd, v,
                par;
            size_t size = (size_t)fr__dsize(dtype);
            char *from = fenced(N * size), *to = fenced(N * size);
            for (i = 0; i < N; i++)
                index[i] = i & 1 ? (int64_t)(random_bits() % N) : (int64_t)1 << 40;
            for (i = 0; i < (int)(N * size); i++)
                from[i] = (char)(random_bits() % 63);
            memset(to, 0x7f, N * size);
            memset(want, 0x7f, N * size);
            start();
            par = axis(FR__BIND_PAR, 0, 1);
            root = axis(FR__BIND_VEC, 2, N);
            ix = access_to(FR_INT64, FR__BUF_IN, index, root, 1);
            in = access_to(dtype, FR__BUF_IN, from, -1, 0);
            term(in, par, 100);
            out = access_to(dtype, FR__BUF_OUT, to, -1, 0);
            b = ins(FR__K_CONST, FR__KI64, -1, -1, -1, 1);
            loop(par);
            loop(root);
            i = ins(FR__K_AXIS, FR__KI64, -1, -1, -1, root);
            odd = ins(FR__K_EQ, FR__KB1, ins(FR__K_AND, FR__KI64, i, b, -1, 0), b, -1, 0);
            i = load(FR__KI64, ix);
            v = ins(FR__K_LOAD, type, -1, i, odd, in);
            ins(FR__K_STORE, type, v, i, odd, out);
            end(root);
            end(par);
            if (prepare(t))
                return;
            run_on(0, 1, NULL);
            for (i = 1; i < N; i += 2)
                memcpy(want + (size_t)index[i] * size, from + (size_t)index[i] * size, size);
            CHECK(!memcmp(want, to, N * size));
            unfence(from, N * size);
            unfence(to, N * size);
        }
}

/* A masked unit load at the edge of memory (pad), uniform masks, last lane wins. */
TEST(masks_guard_memory)
{
    enum { N = 300, PAD = 70 };
    static float out[N + PAD], last;
    float *x = fenced(N * 4);

    for (int i = 0; i < N; i++)
        x[i] = (float)i + 1;
    for (int t = 0; t < tiers(); t++) {
        int root, par, in, to, end_of, i, ok, v, one, whole, zero;
        memset(out, 0, sizeof out);
        last = -1;
        start();
        par = axis(FR__BIND_PAR, 0, 1);
        root = axis(FR__BIND_VEC, 4, N + PAD);
        in = access_to(FR_FLOAT32, FR__BUF_IN, x, root, 1);
        to = access_to(FR_FLOAT32, FR__BUF_OUT, out, root, 1);
        one = access_to(FR_FLOAT32, FR__BUF_OUT, &last, -1, 0);
        end_of = constant_int(FR__KI64, N);
        whole = ins(FR__K_PARAM, FR__KB1, -1, -1, -1, word(0));
        zero = ins(FR__K_SUB, FR__KI64, end_of, end_of, -1, 0);
        loop(par);
        loop(root);
        i = ins(FR__K_AXIS, FR__KI64, -1, -1, -1, root);
        ok = ins(FR__K_LT, FR__KB1, i, end_of, -1, 0);
        v = ins(FR__K_LOAD, FR__KF32, -1, -1, ok, in);
        store(FR__KF32, v, to);
        ins(FR__K_STORE, FR__KF32, v, ins(FR__K_MUL, FR__KI64, i, zero, -1, 0), ok, one);
        ins(FR__K_STORE, FR__KF32, v, -1, whole, to);
        v = ins(FR__K_LOAD, FR__KF32, -1, -1, whole, in); /* beyond x: not read */
        store(FR__KF32,
              ins(FR__K_ADD, FR__KF32, v, ins(FR__K_LOAD, FR__KF32, -1, -1, ok, in), -1, 0),
              to);
        end(root);
        end(par);
        if (prepare(t))
            return;
        run_on(0, 1, NULL);
        for (i = 0; i < N + PAD; i++)
            CHECK(out[i] == (i < N ? (float)i + 1 : 0));
        CHECK(last == N);
    }
    unfence(x, N * 4);
}

TEST(scratch_and_empty_loops)
{
    enum { N = 100 };
    static float out[N];
    char *scratch = aligned_alloc(64, 1024);

    for (int t = 0; t < tiers(); t++) {
        int par, vec, none, s, to, acc, i, v, empty;
        start();
        par = axis(FR__BIND_PAR, 0, 2);
        vec = axis(FR__BIND_VEC, 1, N / 2);
        none = axis(FR__BIND_VEC, 1, 0);
        empty = axis(FR__BIND_SERIAL, 0, 0);
        s = access_to(FR_FLOAT32, FR__BUF_SCRATCH, (void *)(uintptr_t)128, vec, 1);
        to = access_to(FR_FLOAT32, FR__BUF_OUT, out, vec, 1);
        term(to, par, N / 2);
        loop(par);
        loop(vec);
        i = ins(FR__K_AXIS, FR__KI64, -1, -1, -1, vec);
        store(FR__KF32, ins(FR__K_CVT, FR__KF32, i, -1, -1, 0), s);
        end(vec);
        acc = ins(FR__K_ACC, FR__KF32, -1, -1, -1, FR__K_MIN);
        loop(empty);
        loop(none);
        ins(FR__K_UPD, FR__KNONE, acc, constant_f32(3), -1, 0);
        end(none);
        end(empty);
        v = ins(FR__K_RED, FR__KF32, acc, -1, -1, 0);
        loop(vec);
        store(FR__KF32, ins(FR__K_MIN, FR__KF32, load(FR__KF32, s), v, -1, 0), to);
        end(vec);
        end(par);
        if (prepare(t))
            return;
        run_on(0, 2, scratch);
        for (i = 0; i < N; i++)
            CHECK(out[i] == (float)(i % (N / 2)));
        run_on(2, 2, scratch);
    }
    free(scratch);
}

/* Slots are reused: a long chain of values, some long-lived, agrees with plain evaluation. */
TEST(random_chains)
{
    enum { N = 200, LEN = 300 };
    static double x[N], out[N], ref[LEN][N];

    for (int round = 0; round < 20; round++) {
        int root, in, to, op[LEN], a[LEN], b[LEN], at[LEN], uniform[LEN];
        for (int i = 0; i < N; i++)
            x[i] = (double)(int32_t)random_bits() / 1e9;
        start();
        root = axis(FR__BIND_PARVEC, 4, N);
        in = access_to(FR_FLOAT64, FR__BUF_IN, x, root, 1);
        to = access_to(FR_FLOAT64, FR__BUF_OUT, out, root, 1);
        {
            double two = 1.25;
            int64_t bits;
            memcpy(&bits, &two, 8);
            at[0] = ins(FR__K_CONST, FR__KF64, -1, -1, -1, bits);
            memcpy(&m.w[m.k.nword], &two, 8);
            at[1] = ins(FR__K_PARAM, FR__KF64, -1, -1, -1, m.k.nword++);
        }
        loop(root);
        at[2] = load(FR__KF64, in);
        for (int i = 0; i < N; i++) {
            ref[0][i] = ref[1][i] = 1.25;
            ref[2][i] = x[i];
        }
        uniform[0] = uniform[1] = 1;
        uniform[2] = 0;
        for (int i = 3; i < LEN; i++) {
            static const int ops[] = {FR__K_ADD, FR__K_SUB, FR__K_MIN, FR__K_MAX};
            op[i] = ops[random_bits() % 4];
            a[i] = random_bits() & 1 ? i - 1 : (int)(random_bits() % (uint64_t)i);
            b[i] = (int)(random_bits() % (uint64_t)i);
            at[i] = ins(op[i], FR__KF64, at[a[i]], at[b[i]], -1, 0);
            uniform[i] = uniform[a[i]] && uniform[b[i]];
            for (int e = 0; e < N; e++) {
                double p = ref[a[i]][e], q = ref[b[i]][e];
                ref[i][e] = op[i] == FR__K_ADD   ? p + q
                            : op[i] == FR__K_SUB ? p - q
                            : op[i] == FR__K_MIN ? least_of(p, q)
                                                 : greatest_of(p, q);
            }
        }
        store(FR__KF64, at[LEN - 1], to);
        end(root);
        if (prepare(round % tiers()))
            return;
        CHECK(fr__interp_space(&m.k) < (300 << 10));
        run_on(0, N, NULL);
        for (int e = 0; e < N; e++)
            CHECK(same(FR__KF64, &out[e], &ref[LEN - 1][e]));
    }
}
