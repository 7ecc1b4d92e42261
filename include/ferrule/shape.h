/* shape.h - shapes: axes moved, arrays repeated, shifted, split and padded; diagonals; creation
 *
 * Functions made of others: they fuse with what comes before and after. Included by ferrule.h,
 * whose rules hold: NULL in gives NULL out, negative axes count from the end, an axis that is
 * not there is an INDEX error, a shape that can't be a VALUE error.
 */
#ifndef FERRULE_SHAPE_H
#define FERRULE_SHAPE_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- axes ------------------------------------------------------------------------------- */

FR_API fr_array *fr_swapaxes(fr_array *x, int axis1, int axis2); /* two change places; a view */
/* Axis `source` comes to stand at `destination`, the others keep their order; a view. */
FR_API fr_array *fr_moveaxis(fr_array *x, int source, int destination);
/* The last two axes change places; a view. NULL: fewer than two dimensions. */
FR_API fr_array *fr_matrix_transpose(fr_array *x);
/* The axis becomes ndim axes of these sizes, of which one may be -1: what is left.
 * NULL: their product is not the axis's size. */
FR_API fr_array *fr_unflatten(fr_array *x, int axis, const int64_t *shape, int ndim);
/* With axes of size 1 in front until there are n. fr_atleast_3d puts them as numpy does:
 * [] to [1, 1, 1], [n] to [1, n, 1], [m, n] to [m, n, 1]. */
FR_API fr_array *fr_atleast_1d(fr_array *x);
FR_API fr_array *fr_atleast_2d(fr_array *x);
FR_API fr_array *fr_atleast_3d(fr_array *x);

/* ---- n results: written to `to` as operations give them; 0, or -1 and nothing was made ----- */

/* All broadcast to their common shape; views. */
FR_API int fr_broadcast_arrays(int n, fr_array *const *x, fr_array **to);
/* Cut before `at[0]`, `at[1]` ... along an axis into n + 1 pieces (to has room for them); beyond
 * the ends and below the one before: empty pieces, as a Python slice gives them. */
FR_API int fr_split_at(fr_array *x, int n, const int64_t *at, int axis, fr_array **to);
/* n equal pieces. -1: n does not divide the axis. */
FR_API int fr_split(fr_array *x, int n, int axis, fr_array **to);
/* Every x[i] along the axis: as many as it has (to has room for them). */
FR_API int fr_unstack(fr_array *x, int axis, fr_array **to);
/* Coordinates of a grid from n vectors (anything else is flattened). Result i varies along axis i
 * (with xy, numpy's way, the first two change places). sparse: the other axes are of size 1. */
typedef struct fr_meshgrid_options {
    bool sparse;
    bool xy;
} fr_meshgrid_options;
FR_API int fr_meshgrid(int n, fr_array *const *x, const fr_meshgrid_options *options,
                       fr_array **to); /* options NULL: dense, in order (numpy's "ij") */

/* ---- elements repeated, shifted, reversed -------------------------------------------------- */

/* x reps[i] times along each axis; with fewer of them than axes those in front are 1, with more
 * x gets axes of size 1 in front. */
FR_API fr_array *fr_tile(fr_array *x, const int64_t *reps, int nreps);
/* Every element n times along the axis. */
FR_API fr_array *fr_repeat(fr_array *x, int64_t n, int axis);
/* Elements move by shift[i] along axes[i], what leaves one end comes in at the other; an axis may
 * be named twice. axes NULL: nshifts is 1, and the flattened x is shifted (the shape stays). */
FR_API fr_array *fr_roll(fr_array *x, const int64_t *shifts, int nshifts, const int *axes);
FR_API fr_array *fr_flip(fr_array *x, const int *axes, int naxes); /* a view; axes NULL: all */
/* Padding made of x's own elements.
 *   EDGE       the outermost element again:           a a | a b c | c c
 *   REFLECT    mirrored at the outermost element:     c b | a b c | b a
 *   SYMMETRIC  mirrored, the outermost one included:  b a | a b c | c b
 *   WRAP       from the other end:                    b c | a b c | a b
 * NULL: less than nothing; an axis that is empty (with REFLECT: of one element too) and to be
 * padded. Wider than the axis: goes on from what was padded, as numpy does. */
typedef enum fr_pad_mode {
    FR_PAD_EDGE,
    FR_PAD_REFLECT,
    FR_PAD_SYMMETRIC,
    FR_PAD_WRAP
} fr_pad_mode;
FR_API fr_array *fr_pad_with(fr_array *x, const int64_t *before, const int64_t *after,
                             fr_pad_mode mode);
/* Elements of x, in row-major order however it lies in memory, as the shape and the strides (in
 * elements) from offset on say; they may overlap. A gather: 0 strides and regular ones cost a view.
 * strides NULL: row-major. NULL: an element beyond x. */
FR_API fr_array *fr_as_strided(fr_array *x, const int64_t *shape, const int64_t *strides,
                               int ndim, int64_t offset);

/* ---- slices at computed places ------------------------------------------------------------- */

/* sizes[d] elements along every axis d of x: axis axes[i] from the value of element i of starts
 * (integers, naxes of them) on, the others from 0. A start is moved until the slice fits.
 * NULL: a size larger than the axis, an axis named twice, starts no vector of naxes integers. */
FR_API fr_array *fr_dynamic_slice(fr_array *x, fr_array *starts, const int *axes, int naxes,
                                  const int64_t *sizes);
/* x with v, cast to its dtype, in place of the elements that fr_dynamic_slice would give with v's
 * shape. Dimensions that v lacks in front are 1 along axes, x's along the others. */
FR_API fr_array *fr_dynamic_slice_update(fr_array *x, fr_array *v, fr_array *starts,
                                         const int *axes, int naxes);

/* ---- diagonals and triangles ---------------------------------------------------------------- */

/* The elements [i, i + offset] of axes axis1 and axis2, which go; the diagonal is the last axis. */
FR_API fr_array *fr_diagonal(fr_array *x, int offset, int axis1, int axis2);
/* Of a vector: the matrix with it on diagonal k, 0 elsewhere. Of a matrix: its diagonal k. */
FR_API fr_array *fr_diag(fr_array *x, int k);
/* The sum of a diagonal, in the dtype that fr_sum gives. */
FR_API fr_array *fr_matrix_trace(fr_array *x, int offset, int axis1, int axis2);
FR_API fr_array *fr_tril(fr_array *x, int k); /* 0 above diagonal k of the last two axes */
FR_API fr_array *fr_triu(fr_array *x, int k); /* 0 below it */
FR_API fr_array *fr_tri(int64_t n, int64_t m, int k,
                        fr_dtype dtype); /* 1 at and below it, n x m */
FR_API fr_array *fr_eye(int64_t n, int64_t m, int k, fr_dtype dtype); /* 1 on diagonal k */

/* ---- creation ------------------------------------------------------------------------------ */

/* n values from start to stop (endpoint: included, and exact), computed in float32, in float64
 * for that dtype, and cast. NULL: n below 0. */
FR_API fr_array *fr_linspace(double start, double stop, int64_t n, bool endpoint,
                             fr_dtype dtype);
FR_API fr_array *fr_hanning(int64_t n); /* windows: float32, n points, 1 in the middle */
FR_API fr_array *fr_hamming(int64_t n);
FR_API fr_array *fr_blackman(int64_t n);
FR_API fr_array *fr_bartlett(int64_t n);

/* ---- whole arrays -------------------------------------------------------------------------- */

/* A bool: shapes are equal and all elements. equal_nan: NaN equals NaN. */
FR_API fr_array *fr_array_equal(fr_array *x, fr_array *y, bool equal_nan);
/* How many elements over axes are not zero; int32. */
FR_API fr_array *fr_count_nonzero(fr_array *x, const fr_reduce_options *options);
/* Elements less the ones before them along an axis, n times over; of bool: where they differ. */
FR_API fr_array *fr_diff(fr_array *x, int n, int axis);

#ifdef __cplusplus
}
#endif
#endif
