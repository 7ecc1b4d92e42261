/* place.h (cuda) - the GPU's stream that a stream of the library's numbers is */
#ifndef FR_CUDA_PLACE_H
#define FR_CUDA_PLACE_H

#include "device/cuda/cuda.h"

fr__gpu_stream *fr__gpu_stream_at(uint16_t stream); /* NULL with an error */

#endif
