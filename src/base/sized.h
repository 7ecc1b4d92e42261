/* sized.h - blocks given back by whoever knows how large they are: nodes and buffers, thousands in a call */
#ifndef FR_SIZED_H
#define FR_SIZED_H

#include "base/base.h"

/* fr__free of a block that was asked for with `bytes`, or more: its header isn't looked at. */
void fr__free_sized(void *p, size_t bytes);

#endif
