/* optimize.h - what a file of inner loops says after its other headers: -O3, no contraction
 *
 * Not under a sanitizer: its checks inside of unrolled loops made one such file compile for minutes.
 */
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#elif !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#pragma GCC optimize("O3", "fp-contract=off")
#endif
