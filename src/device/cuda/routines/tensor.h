/* tensor.h - C for GPUs with tensor cores (sm_80 and later): products of small matrices by a warp, tiles
 * in shared memory, copies to there while others are computed with
 *
 * A tile has rows of ROW bytes, a power of two from 128 on, in chunks of 16 bytes. Chunk c of row r
 * lies where chunk c ^ (r & 7) would: eight rows' chunks of one number are in different banks. Addresses
 * are offsets in shared memory. A step of a product is 32 bytes of a row: 16 elements, or 8 of float32.
 * Fragments are those of mma's m16n8k16 and m16n8k8, whose bytes lie alike.
 *
 * For the host (tests/standin/routines.c) the same is done by exchanging values.
 */
#ifndef FR_ROUTINES_TENSOR_H
#define FR_ROUTINES_TENSOR_H

#include "device/cuda/routines/threads.h"

#include "base/bits.h"

#include <stddef.h>

#if defined(F16)
#define KIND 0
#elif defined(BF16)
#define KIND 1
#else

#define KIND 2
#endif

enum {
    ELEMENT = KIND == 2 ? 4 : 2, /* bytes */
    STEP = 32 / ELEMENT,         /* elements */
};

#ifdef __NVPTX__

extern __attribute__((address_space(3), aligned(1024))) char fr_shared[];

INLINED uint32_t shared_start(void) { return (uint32_t)(uintptr_t)fr_shared; }

/* Four matrices of 8 rows by 16 bytes; lanes 8 i to 8 i + 7 give the rows of the ith. Lane l gets bytes
 * 4 (l % 4) of row l / 4 of each. */
INLINED void load_matrices(uint32_t *r, uint32_t at)
{
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
}
/* Transposed, of elements of 2 bytes. */
INLINED void load_transposed(uint32_t *r, uint32_t at)
{
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
}
INLINED uint32_t load_shared(uint32_t at)
{
    uint32_t v;
    __asm__ volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}
/* c [16, 8] += a [16, STEP] b [STEP, 8] */
INLINED void multiply_add(float *c, const uint32_t *a, const uint32_t *b)
{
#if KIND == 0
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#elif KIND == 1
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#else
#define MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#endif
    __asm__(MMA " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* 16 bytes, of which the first `bytes` (0 or 16) are read and others are 0. */
INLINED void copy_async(uint32_t to, const char *from, uint32_t bytes)
{
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :
                     : "r"(to), "l"(from), "r"(bytes)
                     : "memory");
}
/* Through the first cache: others of the block read it soon. */
INLINED void copy_async_cached(uint32_t to, const char *from, uint32_t bytes)
{
    __asm__ volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;"
                     :
                     : "r"(to), "l"(from), "r"(bytes)
                     : "memory");
}
INLINED void copies_end_group(void) { __asm__ volatile("cp.async.commit_group;" ::: "memory"); }
INLINED void copies_wait(void) { __asm__ volatile("cp.async.wait_group 0;" ::: "memory"); }
/* For all groups but the last. */
INLINED void copies_wait_but_one(void)
{
    __asm__ volatile("cp.async.wait_group 1;" ::: "memory");
}
INLINED uint32_t to_tf32(uint32_t x)
{
    uint32_t y;
    __asm__("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(fr__float32(x)));
    return y;
}
INLINED uint32_t pair(float low, float high)
{
    uint32_t y;
#if KIND == 0
    __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
#else
    __asm__("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
#endif
    return y;
}

#else

void load_matrices(uint32_t *r, uint32_t at);
void load_transposed(uint32_t *r, uint32_t at);
uint32_t load_shared(uint32_t at);
void multiply_add_kind(int kind, float *c, const uint32_t *a, const uint32_t *b);
void copy_async(uint32_t to, const char *from, uint32_t bytes);
#define copy_async_cached copy_async
void copies_end_group(void);
void copies_wait(void);
#define copies_wait_but_one copies_wait
INLINED uint32_t shared_start(void) { return 0; }
INLINED void multiply_add(float *c, const uint32_t *a, const uint32_t *b)
{
    multiply_add_kind(KIND, c, a, b);
}
INLINED uint32_t to_tf32(uint32_t x) { return (x + 0x1000u) & ~0x1fffu; }
INLINED uint32_t pair(float low, float high)
{
    return KIND == 0 ? fr__to_f16(low) | (uint32_t)fr__to_f16(high) << 16
                     : fr__to_bf16(low) | (uint32_t)fr__to_bf16(high) << 16;
}

#endif

INLINED uint32_t lane(void) { return thread_index() % WARP; }

INLINED float across(float v, uint32_t by) /* of the lane whose number differs in that bit */
{
    return fr__float32(lane_at32(fr__bits32(v), lane() ^ by));
}
INLINED float quad_max(float v)
{
    v = __builtin_fmaxf(v, across(v, 1));
    return __builtin_fmaxf(v, across(v, 2));
}
INLINED float quad_sum(float v)
{
    v += across(v, 1);
    return v + across(v, 2);
}

INLINED void rounded(uint32_t *r, int n)
{
    if (KIND == 2) {
        EACH (i, n)
            r[i] = to_tf32(r[i]);
    }
}

/* Of the 16 rows from `at` on (a multiple of 8 rows), step k: a [16, STEP]. */
INLINED void load_a(uint32_t *a, uint32_t at, int row, int k)
{
    uint32_t l = lane(), x = (l >> 4) ^ (l & 7);
    load_matrices(a, (at + (l & 15) * (uint32_t)row + (x << 4)) ^ (uint32_t)k << 5);
    rounded(a, 4);
}
/* Of 16 rows: two b [STEP, 8], each 8 rows' elements of step k, transposed. */
INLINED void load_b(uint32_t *b, uint32_t at, int row, int k)
{
    uint32_t l = lane(), x = ((l >> 3) & 1) ^ (l & 7);
    load_matrices(b, (at + ((l & 7) + (l >> 4) * 8) * (uint32_t)row + (x << 4)) ^ (uint32_t)k
                                                                                      << 5);
    rounded(b, 4);
}
/* Of STEP rows from `at` on, columns from 16 n on: two b [STEP, 8]. In float32 row 2 i of them is met by
 * column i, row 2 i + 1 by column i + 4: see probabilities(). */
INLINED void load_columns(uint32_t *b, uint32_t at, int row, int n)
{
    uint32_t l = lane();
#if KIND == 2
    uint32_t r = 2 * (l & 3), place = ((l >> 2) & 3) << 2;
    UNROLLED for (uint32_t i = 0; i < 4; i++)
    {
        uint32_t own = r + (i & 1), chunk = 4 * (uint32_t)n + 2 * (i >> 1) + (l >> 4);
        b[i] = to_tf32(load_shared(at + own * (uint32_t)row + ((chunk ^ own) << 4) + place));
    }
#else
    uint32_t x = (l >> 4) ^ (l & 7);
    load_transposed(b, (at + (l & 15) * (uint32_t)row + (x << 4)) ^ (uint32_t)n << 5);
#endif
}
/* Sums c [16, STEP] as a: in float32 with their columns in another order. */
INLINED void as_a(uint32_t *a, float (*c)[4])
{
#if KIND == 2
    a[0] = to_tf32(fr__bits32(c[0][0]));
    a[1] = to_tf32(fr__bits32(c[0][2]));
    a[2] = to_tf32(fr__bits32(c[0][1]));
    a[3] = to_tf32(fr__bits32(c[0][3]));
#else
    a[0] = pair(c[0][0], c[0][1]);
    a[1] = pair(c[0][2], c[0][3]);
    a[2] = pair(c[1][0], c[1][1]);
    a[3] = pair(c[1][2], c[1][3]);
#endif
}

/* ---- products of tiles: sums c [tiles * 16, across * 8] of a warp, c[t * across + n] ------------------- */

INLINED void clear(float (*c)[4], int n)
{
    EACH (i, n)
        EACH (j, 4)
            c[i][j] = 0;
}

/* c = a b^T, over all of their rows of `row` bytes */
INLINED void multiply_rows(float (*c)[4], int tiles, int across, int row, uint32_t a,
                           uint32_t b)
{
    clear(c, tiles * across);
    EACH (step, row / 32) {
        uint32_t x[2][4];
        EACH (t, tiles)
            load_a(x[t], a + (uint32_t)(t * 16 * row), row, step);
        UNROLLED for (int n = 0; n < across; n += 2)
        {
            uint32_t y[4];
            load_b(y, b + (uint32_t)(n * 8 * row), row, step);
            EACH (t, tiles) {
                multiply_add(c[t * across + n], x[t], y);
                multiply_add(c[t * across + n + 1], x[t], y + 2);
            }
        }
    }
}

/* y [tiles * 16, wide * 8] += c b: b has rows of `row` bytes, as many as c has columns */
INLINED void multiply_columns(float (*y)[4], int tiles, int wide, int row, float (*c)[4],
                              int across, uint32_t b)
{
    EACH (step, across * 8 / STEP) {
        uint32_t x[2][4];
        EACH (t, tiles)
            as_a(x[t], c + t * across + step * STEP / 8);
        UNROLLED for (int n = 0; n < wide; n += 2)
        {
            uint32_t z[4];
            load_columns(z, b + (uint32_t)(step * STEP * row), row, n / 2);
            EACH (t, tiles) {
                multiply_add(y[t * wide + n], x[t], z);
                multiply_add(y[t * wide + n + 1], x[t], z + 2);
            }
        }
    }
}

INLINED void store_one(char *to, float x)
{
#if KIND == 2
    *(float *)to = x;
#else
    *(uint16_t *)to = (uint16_t)pair(x, 0);
#endif
}

/* Row l / 4 + 8 half of a tile of sums, times x, to `width` elements. */
INLINED void store_row(char *to, int width, float (*y)[4], int wide, int half, float x)
{
    bool pairs = width % 2 == 0 && (uintptr_t)to % (2 * ELEMENT) == 0;
    EACH (n, wide) {
        int col = 8 * n + 2 * (int)(lane() & 3);
        float low = y[n][2 * half] * x, high = y[n][2 * half + 1] * x;
        char *at = to + col * ELEMENT;
        if (pairs && col < width) {
#if KIND == 2
            *(uint64_t *)at = (uint64_t)fr__bits32(high) << 32 | fr__bits32(low);
#else
            *(uint32_t *)at = pair(low, high);
#endif
        } else if (!pairs) {
            if (col < width)
                store_one(at, low);
            if (col + 1 < width)
                store_one(at + ELEMENT, high);
        }
    }
}

/* ---- copies -------------------------------------------------------------------------------------- */

/* Rows first to first + rows of a tile, `width` bytes of each; what is beyond `all` rows is 0. By a block
 * of THREADS. */
INLINED void copy_tile(uint32_t to, int row, int rows, const char *from, int64_t stride,
                       int first, int all, int width)
{
    int chunks = row / 16, step = THREADS / chunks;
    int r = (int)thread_index() / chunks, c = (int)thread_index() % chunks;
    const char *x = from + (first + r) * stride + c * 16;
    all = c * 16 < width ? all - first : 0;
    EACH (i, rows / step) {
        bool there = r < all;
        copy_async(to + (uint32_t)(r * row + ((c ^ (r & 7)) << 4)), there ? x : from,
                   there ? 16 : 0);
        x += step * stride;
        r += step;
    }
}

#endif
