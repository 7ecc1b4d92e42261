/* host.c - what this machine's processor can do and how large its caches are
 *
 * needs   nothing
 * gives   fr__host(), found out once
 */
#define _GNU_SOURCE
#include "kernel/kernel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static fr__host_info host;

#if defined(__x86_64__)

static uint64_t saved_by_system(void) /* the register sets that the kernel saves: XCR0 */
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void features(void)
{
    unsigned a, b, c, d, hash_of[20] = {0};
    unsigned top, family, model;
    uint64_t saved = 0;
    char vendor[13] = "";

    if (!__get_cpuid(0, &top, &b, &c, &d))
        return;
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    __cpuid(1, a, b, c, d);
    family = a >> 8 & 15;
    model = a >> 4 & 15;
    if (family == 6 || family == 15)
        model += (a >> 16 & 15) << 4;
    if (family == 15)
        family += a >> 20 & 255;
    snprintf(host.cpu, sizeof host.cpu, "%s-%u-%u-%u", vendor, family, model, a & 15);
    if (c & bit_OSXSAVE)
        saved = saved_by_system();
    hash_of[0] = a;
    hash_of[1] = c; /* b holds the number of the core: not a feature */
    hash_of[2] = d;
    hash_of[3] = (unsigned)saved;
    host.fma = (saved & 6) == 6 && (c & bit_AVX) && (c & bit_FMA);
    host.f16c = (saved & 6) == 6 && (c & bit_AVX) && (c & bit_F16C);
    if (top >= 7) {
        __cpuid_count(7, 0, a, b, c, d);
        host.avx2 = (saved & 6) == 6 && (b & bit_AVX2);
        host.avx512 = (saved & 0xe6) == 0xe6 && (b & bit_AVX512F) && (b & bit_AVX512DQ) &&
                      (b & bit_AVX512BW) && (b & bit_AVX512VL);
        host.avx512_vnni = host.avx512 && (c & bit_AVX512VNNI);
        hash_of[4] = b;
        hash_of[5] = c;
        hash_of[6] = d;
        if (a >= 1)
            __cpuid_count(7, 1, hash_of[7], hash_of[8], hash_of[9], hash_of[10]);
        host.avx512_bf16 = host.avx512 && (hash_of[7] >> 5 & 1);
    }
    if (top >= 13)
        __cpuid_count(13, 1, hash_of[11], b, c, d);
    if (top >= 0x24)
        __cpuid_count(0x24, 0, a, hash_of[12], c, d);
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
        hash_of[13] = c;
        hash_of[14] = d;
    }
    if (__get_cpuid(0x80000008, &a, &b, &c, &d))
        hash_of[15] = b;
    host.features_hash = fr__hash(hash_of, sizeof hash_of, fr__hash(vendor, sizeof vendor, 1));
}

#else

static void features(void)
{
#if defined(__aarch64__)
    snprintf(host.cpu, sizeof host.cpu, "aarch64");
#else
    snprintf(host.cpu, sizeof host.cpu, "generic");
#endif
#if defined(__FP_FAST_FMAF) || defined(__aarch64__)
    host.fma = true;
#endif
    host.features_hash = fr__hash(host.cpu, strlen(host.cpu), 1);
}

#endif

static bool read_line(const char *file, char *to, int room)
{
    FILE *f = fopen(file, "re");
    bool got;

    if (!f)
        return false;
    got = fgets(to, room, f) != NULL;
    fclose(f);
    return got;
}

/* The system's description of core 0: what one core reaches. The C library may count the caches of
 * a whole machine (384 MiB of L3 where a core sees 32), so it is asked only for what is missing. */
static void caches_from_files(int64_t size[4])
{
    for (int i = 0; i < 8; i++) {
        char name[96], line[32];
        long level;
        char *unit;
        int64_t bytes;

        snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!read_line(name, line, sizeof line))
            return;
        if (line[0] == 'I') /* instructions */
            continue;
        snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_line(name, line, sizeof line))
            return;
        level = strtol(line, NULL, 10);
        snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (level < 1 || level > 3 || !read_line(name, line, sizeof line))
            continue;
        bytes = strtol(line, &unit, 10);
        if (bytes > 0 && size[level] <= 0)
            size[level] = bytes << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 0);
    }
}

static void caches(void)
{
    int64_t size[4] = {0};

    caches_from_files(size);
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[4] = {0, _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                 _SC_LEVEL3_CACHE_SIZE};
    for (int level = 1; level <= 3; level++)
        size[level] = size[level] > 0 ? size[level] : sysconf(names[level]);
#endif
    host.l1 = size[1] > 0 ? size[1] : 32 << 10;
    host.l2 = size[2] > 0 ? size[2] : 1 << 20;
    host.l3 = fr__max64(size[3] > 0 ? size[3] : 8 << 20, host.l2);
}

static void find_out(void)
{
    features();
    caches();
}

const fr__host_info *fr__host(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_out);
    return &host;
}
