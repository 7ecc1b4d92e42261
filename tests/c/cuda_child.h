/* cuda_child.h - for tests of src/device/cuda: each runs in a child, since the driver is opened once a process
 *
 * Over the stand-in driver, or with FERRULE_TEST_GPU=1 over a real one.
 */
#ifndef CUDA_CHILD_H
#define CUDA_CHILD_H

#include "test.h"

#include "device/cuda/cuda.h"
#include "../standin/standin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define X(type, name, parameters) static type(*name) parameters;
STANDIN_CONTROLS(X)
#undef X
static bool real;
static void *library;

static inline void find(const char *name, void *to)
{
    void *symbol = dlsym(library, name);
    memcpy(to, &symbol, sizeof symbol);
}

__attribute__((constructor)) static void choose_driver(void)
{
    const char *gpu = getenv("FERRULE_TEST_GPU");
    real = gpu && *gpu == '1';
    if (!real)
        setenv("FERRULE_CUDA_DRIVER", STANDIN, 1);
}

/* The first thing of a child. NULL is recorded. */
static inline fr__gpu *start(standin_kernel *run_kernel)
{
    if (!real) {
        library = dlopen(STANDIN, RTLD_NOW | RTLD_LOCAL);
        if (!EXPECT(library))
            return NULL;
#define X(type, name, parameters) find(#name, &name);
        STANDIN_CONTROLS(X)
#undef X
        standin_on_launch(run_kernel, NULL);
    }
    fr__gpu *g = fr__gpu_get(0);
    if (!EXPECT(g))
        printf("     %s\n", fr__error_text());
    return g;
}

static inline void in_child(void (*run)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        test_failures = 0;
        run();
        fflush(stdout);
        exit(test_failures != 0); /* a leak check, where there is one, counts, too */
    }
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (!EXPECT(WIFEXITED(status) && !WEXITSTATUS(status)) && WIFSIGNALED(status))
        printf("     signal %d\n", WTERMSIG(status));
}

#define CHILD(name)                                                                            \
    static void child_##name(void);                                                            \
    TEST(name) { in_child(child_##name); }                                                     \
    static void child_##name(void)
/* What a real driver can't be asked to do. */
#define STANDIN_CHILD(name)                                                                    \
    static void child_##name(void);                                                            \
    TEST(name)                                                                                 \
    {                                                                                          \
        if (!real)                                                                             \
            in_child(child_##name);                                                            \
    }                                                                                          \
    static void child_##name(void)

static inline bool says(const char *text)
{
    bool is = strstr(fr__error_text(), text) != NULL;
    if (!is)
        printf("     \"%s\" isn't in \"%s\"\n", text, fr__error_text());
    return is;
}

#endif
