/* gpu_choice.h - tests of what runs on a GPU: on a real one, or over the stand-in driver
 *
 * With FERRULE_TEST_GPU=1 on the first GPU there is (`real`). Included once, before anything looks for
 * a driver; numbers are the same in each run.
 */
#ifndef FR_GPU_CHOICE_H
#define FR_GPU_CHOICE_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool real; /* a GPU */

/* Before kernels.c looks. */
__attribute__((constructor(101))) static void choose_driver(void)
{
    const char *wanted = getenv("FERRULE_TEST_GPU");
    unsetenv("FERRULE_DEVICE");
    real = wanted && !strcmp(wanted, "1");
    if (!real)
        setenv("FERRULE_CUDA_DRIVER", STANDIN, 1);
}

/* A function of one of the stand-in's libraries. */
static inline void find_function(const char *library, const char *name, void *to)
{
    void *symbol = dlsym(dlopen(library, RTLD_NOW), name);
    memcpy(to, &symbol, sizeof symbol);
}

/* How often the stand-in's driver was called so; on a GPU 0. */
static inline long count_calls(const char *name)
{
    long (*count)(const char *name);
    if (real)
        return 0;
    find_function(STANDIN, "standin_count", &count);
    return count(name);
}

static uint64_t random_state = 88172645463325252u;
static inline uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state >> 8;
}

#endif
