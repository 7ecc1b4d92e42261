/* group.h - products by groups of four warps (sm_90a): wgmma, whose second operand lies in shared memory
 *
 * A tile is panels of rows of 128 bytes, one behind the other, each as tensor.h says: the layout that the
 * processor calls a swizzle of 128 bytes. A warp has 16 of the 64 rows of the first operand and of sums, as
 * fragments like tensor.h's. A product goes on until it is waited for; meanwhile nobody touches its sums.
 */
#ifndef FR_ROUTINES_GROUP_H
#define FR_ROUTINES_GROUP_H

#include "device/cuda/routines/tensor.h"

enum { PANEL = 128 /* bytes of a row */ };

#ifdef __NVPTX__

/* What is computed before stays before. */
INLINED void hold(float (*c)[4], int n)
{
    EACH (i, n)
        __asm__ volatile(""
                         : "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
                         :
                         : "memory");
}
INLINED void hold_a(uint32_t (*a)[4], int n)
{
    EACH (i, n)
        __asm__ volatile(""
                         : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])
                         :
                         : "memory");
}
INLINED void group_begin(void) { __asm__ volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
INLINED void group_end(void)
{
    __asm__ volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until all but the last `left` (0 or 1) that were ended are done. */
INLINED void group_wait(int left)
{
    if (left)
        __asm__ volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    else
        __asm__ volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/* What copies wrote is seen by products: before a barrier. */
INLINED void copies_show(void)
{
    __asm__ volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Where a tile lies; groups of 8 rows are 1,024 bytes apart, panels `panel` bytes. */
INLINED uint64_t described(uint32_t at, uint32_t panel)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)(panel >> 4) << 16 |
           ((at >> 4) & 0x3fff);
}

#if KIND == 0
#define WGMMA(n) "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.f16.f16 "
#else
#define WGMMA(n) "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 "
#endif
#define SUMS8(i)                                                                               \
    "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3]), "+f"(c[i + 1][0]),             \
        "+f"(c[i + 1][1]), "+f"(c[i + 1][2]), "+f"(c[i + 1][3])
#define SUMS16 SUMS8(0), SUMS8(2)
#define SUMS32 SUMS16, SUMS8(4), SUMS8(6)
#define SUMS64 SUMS32, SUMS8(8), SUMS8(10), SUMS8(12), SUMS8(14)
#define NAMES16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES32                                                                                \
    NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES64                                                                                \
    NAMES32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "    \
            "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, " \
            "%63"
/* The first operand as fragments, or in shared memory. (Fragments that a loop uses again were overwritten
 * by ptxas 13.0: what stays is read from shared memory.) */
#define BY_FRAGMENTS(n, SUMS, NAMES, A, B, C, D, E)                                            \
    __asm__ volatile("{.reg .pred p; .reg .b32 r; mov.b32 r, 1; setp.ne.b32 p, r, 0; " WGMMA(  \
                         n) "{" NAMES "}, {" A ", " B ", " C ", " D "}, " E ", p, 1, 1, 1;}"   \
                     : SUMS                                                                    \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)                      \
                     : "memory")
#define BY_TILE(n, SUMS, NAMES, A, B, C)                                                       \
    __asm__ volatile("{.reg .pred p; setp.ne.b32 p, " C                                        \
                     ", 0; " WGMMA(n) "{" NAMES "}, " A ", " B ", p, 1, 1, 0, 0;}"             \
                     : SUMS                                                                    \
                     : "l"(a), "l"(b), "r"(add)                                                \
                     : "memory")

/* c [64, 8 across] += a [64, 16] times 16 rows of b */
INLINED void group_step(float (*c)[4], int across, const uint32_t *a, uint64_t b)
{
    if (across == 8)
        BY_FRAGMENTS(64, SUMS32, NAMES32, "%32", "%33", "%34", "%35", "%36");
    else
        BY_FRAGMENTS(128, SUMS64, NAMES64, "%64", "%65", "%66", "%67", "%68");
}
/* c = or += a [64, 16] times the transpose of b [8 across, 16] */
INLINED void group_step_tiles(float (*c)[4], int across, uint64_t a, uint64_t b, int add)
{
    if (across == 4)
        BY_TILE(32, SUMS16, NAMES16, "%16", "%17", "%18");
    else
        BY_TILE(64, SUMS32, NAMES32, "%32", "%33", "%34");
}

/* c = a b^T: begun. a: 64 rows of a tile whose panels are a_panel bytes apart. */
INLINED void group_tiles(float (*c)[4], int across, uint32_t a, uint32_t a_panel, int steps,
                         uint32_t b, uint32_t panel)
{
    EACH (i, steps) {
        uint32_t in = (uint32_t)(i % 4 * 32), p = (uint32_t)(i / 4);
        group_step_tiles(c, across, described(a + p * a_panel + in, 16),
                         described(b + p * panel + in, 16), i > 0);
    }
}
/* y [64, 8 wide] += a b: begun. a: fragments of steps of 16 of b's rows. */
INLINED void group_columns(float (*y)[4], int wide, uint32_t (*a)[4], int steps, uint32_t b,
                           uint32_t panel)
{
    EACH (i, steps)
        group_step(y, wide, a[i], described(b + (uint32_t)(i * 16 * PANEL), panel));
}

#else

void group_product(int kind, float (*c)[4], int across, const uint32_t *a, uint32_t b,
                   uint32_t panel, bool by_rows, bool add);
INLINED void hold(float (*c)[4], int n)
{
    (void)c;
    (void)n;
}
INLINED void hold_a(uint32_t (*a)[4], int n)
{
    (void)a;
    (void)n;
}
INLINED void group_begin(void) {}
INLINED void group_end(void) {}
INLINED void group_wait(int left) { (void)left; }
INLINED void copies_show(void) {}
INLINED void group_tiles(float (*c)[4], int across, uint32_t a, uint32_t a_panel, int steps,
                         uint32_t b, uint32_t panel)
{
    a += thread_index() / WARP % 4 * (16 * PANEL);
    EACH (i, steps) {
        uint32_t own[4], in = (uint32_t)(i % 4 * 32), p = (uint32_t)(i / 4);
        load_a(own, a + p * a_panel, PANEL, i % 4);
        group_product(KIND, c, across, own, b + p * panel + in, panel, true, i > 0);
    }
}
INLINED void group_columns(float (*y)[4], int wide, uint32_t (*a)[4], int steps, uint32_t b,
                           uint32_t panel)
{
    for (int i = 0; i < steps; i++)
        group_product(KIND, y, wide, a[i], b + (uint32_t)(i * 16 * PANEL), panel, false, true);
}

#endif

/* As copy_tile: rows of `row` bytes, by panels. */
INLINED void copy_panels(uint32_t to, int row, int rows, const char *from, int64_t stride,
                         int first, int all, int width)
{
    EACH (p, row / PANEL)
        copy_tile(to + (uint32_t)(p * rows * PANEL), PANEL, rows, from + p * PANEL, stride,
                  first, all, width - p * PANEL);
}

#endif
