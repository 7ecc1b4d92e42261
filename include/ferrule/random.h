/* random.h - distributions, made of the bits and uniform numbers of ferrule.h; included by it
 *
 * Threefry-2x32 all the way: the same numbers on every device and for any number of threads, made
 * inside the kernels that use them. A key of NULL takes the next one of the process's sequence. Where
 * a shape may be left out, ndim -1 stands for the common shape of the parameters; a shape that is
 * given must be one that the parameters broadcast to.
 */
#ifndef FERRULE_RANDOM_H
#define FERRULE_RANDOM_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Splits *state, a key, in two: one half takes its place (the old one is freed), the other is
 * given. So a sequence of draws can be kept wherever its owner likes; what is a placeholder splits
 * in the graph. *state stays as it was where NULL comes back. */
FR_API fr_array *fr_random_next(fr_array **state);
/* The same of a slot, in the compiled function that has it (fr_compile_options): assigned plainly,
 * nothing is freed. */
FR_API fr_array *fr_random_next_slot(fr_array **slot);

/* Whole numbers from low to high - 1, equally often (low where there is none between). Drawn from a
 * float32: beyond 2^24 not every number is met. TYPE: dtype is no integer type. */
FR_API fr_array *fr_random_integers(fr_array *low, fr_array *high, const int64_t *shape,
                                    int ndim, fr_dtype dtype, fr_array *key);
/* bool: true with probability p. */
FR_API fr_array *fr_random_bernoulli(fr_array *p, const int64_t *shape, int ndim,
                                     fr_array *key);
/* Standard normal numbers given that they lie between low and high. */
FR_API fr_array *fr_random_truncated_normal(fr_array *low, fr_array *high, const int64_t *shape,
                                            int ndim, fr_dtype dtype, fr_array *key);
/* Distributed by exp(-exp(-x)). */
FR_API fr_array *fr_random_gumbel(const int64_t *shape, int ndim, fr_dtype dtype,
                                  fr_array *key);
/* With density exp(-|x|) / 2. */
FR_API fr_array *fr_random_laplace(const int64_t *shape, int ndim, fr_dtype dtype,
                                   fr_array *key);
/* uint32: a place along the axis of logits, with probability softmax(logits). shape (ndim -1:
 * logits' without the axis) must be one that logits' without the axis broadcasts to. */
FR_API fr_array *fr_random_categorical(fr_array *logits, int axis, const int64_t *shape,
                                       int ndim, fr_array *key);
/* The same, `samples` numbers of each distribution along a last axis. */
FR_API fr_array *fr_random_categorical_samples(fr_array *logits, int axis, int64_t samples,
                                               fr_array *key);
/* 0 to n - 1 in random order, uint32 [n]; and x's parts along an axis in random order. */
FR_API fr_array *fr_random_permutation(int64_t n, fr_array *key);
FR_API fr_array *fr_random_shuffle(fr_array *x, int axis, fr_array *key);
/* mean [..., n], cov [..., n, n] symmetric without negative eigenvalues (NaN if it has one, beyond
 * float32's rounding): shape [..., n], float32. VALUE: they don't fit. */
FR_API fr_array *fr_random_multivariate_normal(fr_array *mean, fr_array *cov,
                                               const int64_t *shape, int ndim, fr_array *key);

#ifdef __cplusplus
}
#endif
#endif
