/* dnn.h - convolutions on a GPU by cuDNN, opened at run time
 *
 * needs   libcudnn.so.9 or .8, where the loader finds it (FERRULE_CUDNN names another file, or "off")
 * gives   fr__gpu_conv; where it can't, the caller has a kernel of ours
 */
#ifndef FR_CUDA_DNN_H
#define FR_CUDA_DNN_H

#include "core/dtype.h"
#include "device/cuda/cuda.h"

/* Is the library there? Opened at the first question. */
bool fr__gpu_dnn_ready(void);
const char *fr__gpu_dnn_why(void); /* what is missing, or its version */

enum { FR__DNN_AXES = 3 }; /* spatial ones, at most; one is given as two, the first of size 1 */

typedef enum fr__gpu_conv_kind {
    FR__CONV_FORWARD, /* y of x and w */
    FR__CONV_INPUT,   /* x's gradient of y's and w */
    FR__CONV_FILTER,  /* w's gradient of x and y's */
} fr__gpu_conv_kind;

/* [N, C, spatial]; strides in elements, channels 1 apart as a rule */
typedef struct fr__gpu_image {
    const char *at;
    int32_t shape[2 + FR__DNN_AXES], strides[2 + FR__DNN_AXES];
} fr__gpu_image;

/* y = x under the window w, [O, taps, C / groups], one after the other in memory
 * dtype   of all three: float32, float16, bfloat16 (accumulated in float32), float64 */
typedef struct fr__gpu_convolution {
    fr__gpu_conv_kind kind;
    fr_dtype dtype;
    bool tf32; /* may be used: see fr__gpu_tf32 */
    int axes;  /* 2 or 3 */
    fr__gpu_image x, y;
    const char *w, *bias; /* bias: of FORWARD, [O], added to y; NULL: none */
    bool relu;            /* what is below 0 then is 0 */
    int32_t taps[FR__DNN_AXES], stride[FR__DNN_AXES], dilation[FR__DNN_AXES],
        padding[FR__DNN_AXES], groups;
    char *workspace;
} fr__gpu_convolution;

/* Can cuDNN do it, with how many bytes of workspace? Addresses are to be multiples of 16. Sets no error.
 * What it chooses for a shape is cached. */
bool fr__gpu_conv_can(fr__gpu *g, const fr__gpu_convolution *c, size_t *workspace);
/* Queues it, with that workspace. 0, -1, or 1: with a bias it can't be done after all. */
int fr__gpu_conv(fr__gpu_stream *s, const fr__gpu_convolution *c);

#endif
