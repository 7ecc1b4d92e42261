/* test.h - the whole harness of the C unit tests
 *
 *     #include "test.h"
 *     TEST(adds) { CHECK(1 + 1 == 2); CHECK_EQ(sum(3, 4), 7); }
 *
 * One .c file a program; main is in here. Prints `ok name` or `FAIL file:line ...` and as its
 * last line `N passed, N failed`; exits 1 if anything failed. Arguments choose tests: those
 * whose name contains one of them; --NAME=TEXT is an option, test_option("NAME") gives TEXT (""
 * for --NAME alone, NULL without it). A failed CHECK ends its test; in a helper function
 * that returns a value use EXPECT, which only records. Checks may run on any thread.
 */
#ifndef FR_TEST_H
#define FR_TEST_H

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
} test_case;

static test_case *test_first, **test_last = &test_first;
static _Atomic int test_failures; /* of the test that is running */
static int test_argc;
static char **test_argv;

static inline const char *test_option(const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < test_argc; i++)
        if (!strncmp(test_argv[i], "--", 2) && !strncmp(test_argv[i] + 2, name, n) &&
            (test_argv[i][n + 2] == '=' || !test_argv[i][n + 2]))
            return test_argv[i] + n + 2 + (test_argv[i][n + 2] == '=');
    return NULL;
}

static inline int test_expect(int ok, const char *file, int line, const char *what)
{
    if (!ok) {
        test_failures++;
        printf("FAIL %s:%d %s\n", file, line, what);
        fflush(stdout);
    }
    return ok;
}

static inline int test_expect_eq(long long a, long long b, const char *file, int line,
                                 const char *what)
{
    if (a != b) {
        test_failures++;
        printf("FAIL %s:%d %s: %lld, %lld\n", file, line, what, a, b);
        fflush(stdout);
    }
    return a == b;
}

#define TEST(name)                                                                             \
    static void test_##name(void);                                                             \
    __attribute__((constructor)) static void test_add_##name(void)                             \
    {                                                                                          \
        static test_case test = {#name, test_##name, NULL};                                    \
        *test_last = &test;                                                                    \
        test_last = &test.next;                                                                \
    }                                                                                          \
    static void test_##name(void)

#define EXPECT(cond) test_expect(!!(cond), __FILE__, __LINE__, #cond)
#define EXPECT_EQ(a, b)                                                                        \
    test_expect_eq((long long)(a), (long long)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK(cond)                                                                            \
    do {                                                                                       \
        if (!EXPECT(cond))                                                                     \
            return;                                                                            \
    } while (0)
#define CHECK_EQ(a, b)                                                                         \
    do {                                                                                       \
        if (!EXPECT_EQ(a, b))                                                                  \
            return;                                                                            \
    } while (0)
#define CHECK_STR(a, b)                                                                        \
    do {                                                                                       \
        const char *test_a = (a), *test_b = (b);                                               \
        if (!EXPECT(test_a && test_b && !strcmp(test_a, test_b))) {                            \
            printf("     \"%s\"\n     \"%s\"\n", test_a ? test_a : "(null)",                   \
                   test_b ? test_b : "(null)");                                                \
            return;                                                                            \
        }                                                                                      \
    } while (0)

int main(int argc, char **argv)
{
    int passed = 0, failed = 0, names = 0;
    test_argc = argc, test_argv = argv;
    for (int i = 1; i < argc; i++)
        names += strncmp(argv[i], "--", 2) != 0;
    for (test_case *t = test_first; t; t = t->next) {
        int chosen = names == 0;
        for (int i = 1; i < argc; i++)
            chosen |= strstr(t->name, argv[i]) != NULL;
        if (!chosen)
            continue;
        test_failures = 0;
        t->run();
        if (test_failures)
            printf("FAIL %s\n", t->name), failed++;
        else
            printf("ok %s\n", t->name), passed++;
        fflush(stdout);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

#endif
