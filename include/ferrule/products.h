/* products.h - sums of products: inner, outer, tensor and gathered products, einsum
 *
 * Functions made of others: transposed views, and the engine of fr_matmul where it pays. Included
 * by ferrule.h. dtypes promote and are the result's; float16 and bfloat16 add up in float32,
 * integers wrap.
 */
#ifndef FERRULE_PRODUCTS_H
#define FERRULE_PRODUCTS_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* alpha (a @ b) + beta c; c broadcasts to the product. */
FR_API fr_array *fr_addmm(fr_array *c, fr_array *a, fr_array *b, double alpha, double beta);
/* Every element of a times every one of b, both flattened: [size of a, size of b]. */
FR_API fr_array *fr_outer(fr_array *a, fr_array *b);
/* Sum over the last axes of both: [..., k] and [more, k] give [..., more]. A number: a times b. */
FR_API fr_array *fr_inner(fr_array *a, fr_array *b);
/* The sum of all products of two arrays of as many elements, flattened; a is conjugated. */
FR_API fr_array *fr_vdot(fr_array *a, fr_array *b);
/* The sum of products along an axis of the same size (conjugated: a), in the dtype that fr_sum gives;
 * the others broadcast. */
FR_API fr_array *fr_vecdot(fr_array *a, fr_array *b, int axis);
/* Every element of a times all of b, block by block; sizes multiply, missing axes are of size 1. */
FR_API fr_array *fr_kron(fr_array *a, fr_array *b);
/* The cross product of the vectors along an axis, of 3 elements or 2 (the third is 0, and the
 * result has 3 nevertheless); the others broadcast. */
FR_API fr_array *fr_cross(fr_array *a, fr_array *b, int axis);
/* Sum over n axes of a and as many of b, in pairs of the same size: what is left of a, then of b. */
FR_API fr_array *fr_tensordot(fr_array *a, fr_array *b, int n, const int *axes_a,
                              const int *axes_b);

/* Einstein's convention: "ij,jk->ik". A letter names an axis; where it is named twice the products
 * (the diagonal, within one operand) are meant, what the result doesn't name is summed. "..." are the
 * axes without a name, which broadcast; an axis of size 1 goes with any other. Without "->" the result
 * is "..." and the letters that stand once, in ASCII's order. Spaces mean nothing. Pairs of operands
 * are contracted one after the other: those that share a summed axis first, the cheapest of them.
 * NULL (VALUE): operands and terms differ in number, axes and letters or sizes differ, a letter of
 * the result comes twice or from nowhere. */
FR_API fr_array *fr_einsum(const char *subscripts, int n, fr_array *const *x);

typedef struct fr_einsum_cost {
    int naive_scaling,
        scaling; /* axes of the widest contraction: of all at once, of the steps */
    double naive_flops, flops;
} fr_einsum_cost;
/* The order that fr_einsum takes: each step contracts operands path[s][0] < path[s][1] of those
 * that are left (path[s][1] is -1: the only one), and its result becomes the last. Gives the
 * number of steps, for which path must have room (n, or 1), or -1. cost may be NULL. */
FR_API int fr_einsum_path(const char *subscripts, int n, fr_array *const *x, int (*path)[2],
                          fr_einsum_cost *cost);

/* a @ b with blocks left out or scaled: the masks have an element for each block_size x block_size
 * block of the result, of a, of b (the last ones may be cut off); bool: there or 0, else a factor. */
typedef struct fr_block_masks {
    int block_size;            /* 0: 64 */
    fr_array *out, *lhs, *rhs; /* NULL: none */
} fr_block_masks;
FR_API fr_array *fr_block_masked_mm(fr_array *a, fr_array *b, const fr_block_masks *masks);
/* Matrices of a and b, picked by indices into their leading dimensions, flattened, and multiplied:
 * [indices, m, n], the indices broadcast. NULL indices: all, in their shape. */
FR_API fr_array *fr_gather_mm(fr_array *a, fr_array *b, fr_array *lhs, fr_array *rhs);
/* a[:, s:e] @ b[s:e, :] for every pair s, e of segments [..., 2]: [..., m, n]. a and b: matrices. */
FR_API fr_array *fr_segmented_mm(fr_array *a, fr_array *b, fr_array *segments);
/* The convolution of two vectors, the shorter one turned round: with FULL every overlap, with SAME as
 * many as the longer has, from the middle, with VALID those that are whole. NULL: no vectors, or
 * empty ones. */
typedef enum fr_convolve_mode {
    FR_CONVOLVE_FULL,
    FR_CONVOLVE_VALID,
    FR_CONVOLVE_SAME
} fr_convolve_mode;
FR_API fr_array *fr_convolve(fr_array *a, fr_array *v, fr_convolve_mode mode);
/* The norm of vectors over one axis, of matrices over two, or of all of x.
 *   2          the root of the sum of squares, of any number of axes where axes is NULL
 *   FROBENIUS  the same, of matrices alone
 *   ORDER      of vectors the sum of |x|^order, to 1/order; 0: how many are not 0; infinite: the
 *              largest or smallest |x|. Of matrices 1, -1: the largest, smallest sum over columns
 *              (the first axis); infinite: over rows
 * dtype   x's; integers become float32, complex64 too
 * axes NULL: all (but for 2 of one or two). NULL (VALUE): another number of axes, no such order. */
typedef enum fr_norm_kind { FR_NORM_2, FR_NORM_FROBENIUS, FR_NORM_ORDER } fr_norm_kind;
typedef struct fr_norm_options {
    fr_norm_kind kind;
    double order;
    const int *axes;
    int naxes;
    bool keepdims;
} fr_norm_options;
FR_API fr_array *fr_norm(fr_array *x, const fr_norm_options *options); /* NULL: 2, of all */
/* The Walsh-Hadamard transform along the last axis, of 2^k elements, times scale. */
FR_API fr_array *fr_hadamard_transform(fr_array *x, double scale);

#ifdef __cplusplus
}
#endif
#endif
