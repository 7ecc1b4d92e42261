/* gemm.h - matrix products: register tiles over packed panels, for the processor at hand
 *
 * C[m, n] = A[m, k] B[k, n], operands of any strides, batched. float32, float16 and bfloat16
 * (both computed in float32) and float64; integers of 8 and 16 bits, in 32 bits: what is cut off a sum at
 * its end is what would have been cut off each step.
 *
 * The order of every sum is fixed by the shapes: in equal blocks of at most FR__GEMM_KC, in each one fused
 * multiply-add after the other (multiply, then add, on hosts without), the blocks added up in
 * order; where C is small and k long, that for each of some parts of k, and the parts in order. So
 * results depend neither on tiles, nor on the number of threads, nor on layouts. (Where bfloat16 has
 * instructions for pairs, a block has twice as many elements, and the second of a pair comes first.)
 */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "kernel/kernel.h"

enum { FR__GEMM_KC = 512, FR__GEMM_MR = 12, FR__GEMM_NR = 32 };

/* A flat row-major index over some dimensions, and where it leads in memory. */
typedef struct fr__gemm_dims {
    int n;
    int64_t size[FR_MAX_NDIM], stride[FR_MAX_NDIM]; /* strides in elements, 0 to repeat */
} fr__gemm_dims;

/* Each side of an operand may be of several dimensions (the pixels of a convolution, the axes of a
 * contraction): they are packed from where they lie. */
typedef struct fr__gemm_operand {
    const char *data;
    fr__gemm_dims batch, outer, k; /* outer: rows of A, columns of B */
} fr__gemm_operand;

/* Adds a dimension inside those that are there, as one with the last where strides allow. */
static inline void fr__gemm_dim(fr__gemm_dims *d, int64_t size, int64_t stride)
{
    if (size == 1)
        return;
    if (d->n && d->stride[d->n - 1] == stride * size) {
        d->size[d->n - 1] *= size;
        d->stride[d->n - 1] = stride;
    } else {
        d->size[d->n] = size;
        d->stride[d->n++] = stride;
    }
}

/* One product, or a batch of them. */
typedef struct fr__gemm {
    int dtype; /* of all three */
    int64_t batches, m, n, k;
    fr__gemm_operand a, b;
    double made
        [2]; /* of A, B: 0, or it isn't in memory: cycles to make an element where it is packed */
    bool followed; /* rows go to a kernel while they are in the cache: better for all threads */
    int64_t ldc,
        next; /* elements from one row of c to the next, from one product to the next */
} fr__gemm;

/* Where it is. */
typedef struct fr__gemm_place {
    const char *a, *b;
    char *c;
    char *sums; /* fr__gemm_sums bytes: C of each part of k, where there are several */
    const struct fr__maker *makes[2]; /* NULL, or who makes A, B */
} fr__gemm_place;

/* The product that a prepared CONTRACT or CONV is, but for addresses. */
struct fr__native_call;
const fr__gemm *fr__contract_gemm(const struct fr__native_call *c);
/* Cycles that the product takes, about, whose arrays and parameters these are. */
double fr__contract_cycles(const struct fr__native_call *c, int threads);

/* A run: so many, from so many after the first. */
typedef struct fr__gemm_part {
    int64_t from, n;
} fr__gemm_part;

/* How the work is cut up; by shapes and the number of threads alone. */
typedef struct fr__gemm_cut {
    bool pairs;          /* elements of k, packed, go two by two: k counts pairs of them */
    bool pack_a, pack_b; /* or read where they lie */
    bool plain;          /* neither is packed, each side is one dimension, k whole: few words */
    int64_t together;    /* rows of A that lie equally far apart, where it is not packed */
    int64_t panels;      /* of B, in one product */
    int64_t rows, cols;  /* of a unit, at most: rows of C, panels of B */
    int64_t row_units, col_units;
    int64_t blocks; /* of rows, in a unit: packed one after the other */
    int64_t grain;  /* units and blocks end at multiples of so many rows */
    int64_t block;  /* elements of k that are worked on together */
    int64_t parts,
        depth; /* of k: so many, each of so many elements, made one beside the other */
    size_t at_b, at_c, at_made,
        scratch; /* in scratch: panels of B, C of half precision, lines to be packed; all, a thread */
    double cycles; /* that it takes, about */
} fr__gemm_cut;

fr__gemm_cut fr__gemm_cut_up(const fr__gemm *g, int threads);
/* Lines [line, line + n) of an operand of a product, elements [k, k + block) of each (at most
 * FR__GEMM_KC), packed `width` wide. */
void fr__gemm_pack_lines(int dtype, const fr__gemm_operand *x, int64_t product, int64_t line,
                         int64_t n, int64_t k, int64_t block, int64_t width, char *to);
size_t fr__gemm_sums(const fr__gemm *g, const fr__gemm_cut *cut); /* bytes, for all threads */
/* Units of C, batches * parts * row_units * col_units. One packs what it needs of A and B in scratch,
 * and is finished when it is left (but for what comes of other parts of k). */
void fr__gemm_run(const fr__gemm *g, const fr__gemm_cut *cut, const fr__gemm_place *at,
                  int64_t begin, int64_t end, char *scratch);
/* Where k is in several parts, then: rows of C, batches * m, are added up. */
void fr__gemm_add_up(const fr__gemm *g, const fr__gemm_cut *cut, const fr__gemm_place *at,
                     int64_t begin, int64_t end);
/* The rows of C, of one product, that row unit `unit` of row_units is for. */
fr__gemm_part fr__gemm_unit_rows(const fr__gemm *g, const fr__gemm_cut *cut, int64_t unit);

/* ---- what is compiled once for each instruction set: gemm_tiles.h ------------------------ */

/* rows x cols of C (row stride ldc; at most mr x nr) = or += a[r * ars + run.from + i * acs] *
 * b[k * brs + c]: the runs of k follow one another in b. ars or acs is 1. */
typedef void fr__gemm_tile(int64_t runs, const fr__gemm_part *run, const void *a, int64_t ars,
                           int64_t acs, const void *b, int64_t brs, void *c, int64_t ldc,
                           int rows, int cols, bool add);
typedef void fr__gemm_pack_fn(const void *from, int64_t stride, int64_t step, int64_t n,
                              int64_t k, int64_t width, void *to);
typedef void fr__gemm_pick_fn(const void *from, const int64_t *lines, const int64_t *steps,
                              int64_t n, int64_t k, int64_t width, void *to);
enum {
    FR__WINOGRAD_INPUT,
    FR__WINOGRAD_WINDOW,
    FR__WINOGRAD_OUTPUT,
    FR__WINOGRAD_OUTPUT_GRAD,
    FR__WINOGRAD_WINDOW_GRAD,
    FR__WINOGRAD_SQUARES
};
typedef struct fr__gemm_isa {
    int mr[3], nr[3], lanes[3]; /* by type: float32, float64, pairs of 16-bit integers */
    fr__gemm_tile *tile[3];
    /* n <= width lines of k elements, line i from + i * stride, its elements `step` apart, to
     * to[k * width + i]; what is missing of the width is 0. By dtype: float16, bfloat16, float32,
     * float64. */
    fr__gemm_pack_fn *pack[4];
    fr__gemm_pick_fn
        *pick[4]; /* the same, line i from + lines[i], its element j at + steps[j] */
    /* Of 8 and 16-bit integers: as `pick`, in pairs of elements of k, 32 bits each (the last alone if k is
     * odd); and sums, cut to their size. */
    fr__gemm_pick_fn *pairs[2];
    void (*cut[2])(const int32_t *from, int64_t n, void *to);
    void (*narrow[2])(const float *from, int64_t n, uint16_t *to); /* to float16, bfloat16 */
    /* Rows of scores, for attention. The largest of x[i] = x[i] * scale + add[i] (add may be
     * NULL), i < n, or `most` if that is larger; then x[i] = e^(x[i] - shift) and their sum. x has
     * room for whole vectors and n is rounded up to them: what is beyond n is set to 0. */
    float (*scores_max)(float *x, int64_t n, float scale, const float *add, float most);
    float (*scores_exp)(float *x, int64_t n, float shift);
    /* s[i] = s[i] * inverse, then d[i] = s[i] * (d[i] - delta) * scale; for whole vectors, too. */
    void (*scores_grad)(float *s, float *d, int64_t n, float inverse, float delta, float scale);
    float (*dot)(const float *a, const float *b, int64_t n);
    /* Squares of lines of n floats to squares of such (winograd_tiles.h). */
    void (*winograd[FR__WINOGRAD_SQUARES])(const float *const *from, int64_t n,
                                           float *const *to);
} fr__gemm_isa;
/* bfloat16 in pairs of elements of k, 32 bits each: a tile whose numbers they are, and what packs k
 * elements of n lines so (the last alone if k is odd). Where fr__gemm_dots() says so. */
extern fr__gemm_tile *const fr__gemm_dot_tile, *const fr__gemm_vnni_tile;
void fr__gemm_dot_pack(const void *from, const int64_t *lines, const int64_t *steps, int64_t n,
                       int64_t k, int64_t width, void *to);
bool fr__gemm_dots(void); /* with the tiles of now */
bool fr__gemm_vnni(void); /* the same of fr__gemm_vnni_tile, of pairs of 16-bit integers */
extern const fr__gemm_isa fr__gemm_base, fr__gemm_v3, fr__gemm_v4;
const fr__gemm_isa *fr__gemm_tiles(void); /* of this host */
/* Instead of the best that the host has; NULL: that again. For tests. */
void fr__gemm_use(const fr__gemm_isa *tiles);

#endif
