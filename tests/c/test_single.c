/* test_single.c - one operation on arrays with values: its key without a trace, what it gives then */
#include "core/scope.h"
#include "graph/trace.h"
#include "op/op.h"

#include "test.h"

#include <ferrule/ferrule.h>
#include <pthread.h>

/* Whether the key that is made without a trace is the one that a trace has. */
static void same_key(fr_array *x)
{
    fr__single s;
    fr__trace t = {0};
    fr__capture c = {.t = &t};
    CHECK(x && fr__hold(x));
    bool single = fr__capture_single(x, &s);
    fr__let_go(x);
    if (!single)
        printf("     %s\n", fr__ops[x->op].name);
    CHECK(single);
    CHECK(!fr__capture_graph(&c, 1, &x, false));
    EXPECT_EQ(s.bytes, sizeof(uint64_t) * (size_t)t.key.n);
    EXPECT(!memcmp(s.key, t.key.at, s.bytes));
    EXPECT_EQ(s.nleaves, t.leaves.n);
    EXPECT_EQ(s.nliterals, t.literals.n);
    for (int i = 0; i < s.nleaves; i++)
        EXPECT(s.leaves[i] == c.arrays.at[t.leaves.at[i].node]);
    for (int i = 0; i < s.nliterals; i++)
        EXPECT(s.literals[i] == t.literals.at[i] &&
               s.literal_dtypes[i] == t.literal_dtypes.at[i]);
    fr__capture_free(&c);
    fr__trace_free(&t);
}

static fr_array *floats(int64_t rows, int64_t cols)
{
    fr_array *x = fr_arange(0, (double)(rows * cols), 1, FR_FLOAT32);
    fr_array *y = fr_reshape(x, (int64_t[]){rows, cols}, 2);
    return fr_eval(y) ? NULL : y;
}

enum { OPERATIONS = 16 };

static fr_array *operation(int which, fr_array *a, fr_array *b, fr_array *turned)
{
    static const int64_t flat[] = {-1};
    fr_array *mask = fr_astype(b, FR_BOOL);
    if (fr_eval(mask))
        return NULL;
    switch (which) {
    case 0: return (fr_add)(a, b);
    case 1: return (fr_mul)(a, a);
    case 2: return fr_mul(a, 0.3);
    case 3: return fr_mul(a, 2);
    case 4: return fr_sub(7.5, turned);
    case 5: return (fr_where)(mask, fr_number(0.7), fr_number(0.7));
    case 6: return fr_matmul(a, turned);
    case 7: return fr_matmul(b, turned);
    case 8: return fr_matmul(a, a);
    case 9: return fr_exp(turned);
    case 10: return fr_sum(a, NULL);
    case 11: return fr_sum(turned, &(fr_reduce_options){.axes = (int[]){0}, .naxes = 1});
    case 12: return fr_astype(a, FR_INT32);
    case 13: return fr_reshape(turned, flat, 1);
    case 14: return (fr_maximum)(a, turned);
    default: return fr_take(a, fr_astype(b, FR_INT32), 0);
    }
}

TEST(keys)
{
    fr_scope *scope = fr_scope_open();
    fr_array *a = floats(9, 9), *b = fr_mul(floats(9, 9), 0), *turned = fr_swapaxes(a, 0, 1);
    CHECK(!fr_eval(b) && !fr_eval(turned));
    for (int i = 0; i < OPERATIONS - 1; i++)
        same_key(operation(i, a, b, turned));
    fr_scope_close(scope);
    CHECK(!fr_error());
}

TEST(what_is_none)
{
    fr_scope *scope = fr_scope_open();
    fr_array *a = floats(4, 5), *pending = fr_exp(a), *two = (fr_add)(a, pending);
    fr__single s;
    CHECK(fr__hold(two));
    EXPECT(!fr__capture_single(two, &s)); /* an input has no value */
    fr__let_go(two);
    fr_array *zeros = fr_zeros((int64_t[]){3}, 1, FR_FLOAT32), *joined;
    joined = fr_concatenate(2, (fr_array *[]){zeros, zeros}, 0);
    CHECK(joined && !fr_eval(joined) && !fr_eval(two));
    CHECK(!fr__hold(two)); /* done */
    fr_scope_close(scope);
}

/* The second time no program is made, and the values are those of the first. */
TEST(again)
{
    fr_scope *scope = fr_scope_open();
    fr_array *a = floats(9, 9), *b = fr_mul(floats(9, 9), 0), *turned = fr_swapaxes(a, 0, 1);
    CHECK(!fr_eval(b) && !fr_eval(turned));
    for (int i = 0; i < OPERATIONS; i++) {
        fr_array *first = operation(i, a, b, turned);
        CHECK(!fr_eval(first));
        int64_t programs = fr_count(FR_COUNT_PROGRAMS);
        fr_array *second = operation(i, a, b, turned);
        CHECK(!fr_eval(second));
        EXPECT_EQ(fr_count(FR_COUNT_PROGRAMS), programs);
        char *x = fr_to_text(first), *y = fr_to_text(second);
        EXPECT(x && y && !strcmp(x, y));
        fr_text_free(x);
        fr_text_free(y);
    }
    fr_scope_close(scope);
}

static fr_array *shared[200];

static void *evaluate(void *failed)
{
    for (int i = 0; i < 200; i++)
        if (fr_eval(shared[i]))
            *(int *)failed = 1;
    return NULL;
}

/* Threads that evaluate the same operations: one computes, the others wait or find it done. */
TEST(together)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int failed[THREADS] = {0};
    fr_scope *scope = fr_scope_open();
    fr_array *a = fr_keep(floats(33, 33)), *b = fr_keep(floats(33, 33));
    fr_scope_close(scope);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++)
            shared[i] = i % 2 ? fr_matmul(a, b) : (fr_add)(a, b);
        for (int i = 0; i < THREADS; i++)
            CHECK(!pthread_create(&threads[i], NULL, evaluate, &failed[i]));
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            EXPECT(!failed[i]);
        }
        for (int i = 0; i < 200; i++) {
            fr_view v;
            CHECK(!fr_access(shared[i], &v));
            EXPECT(((const float *)v.data)[1] == (i % 2 ? ((const float *)v.data)[1] : 2));
            fr_free(shared[i]);
        }
    }
    fr_free(a);
    fr_free(b);
}
