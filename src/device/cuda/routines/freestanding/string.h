/* string.h - what base/bits.h needs of it where there is no C library: on a GPU */
#ifndef FR_ROUTINES_STRING_H
#define FR_ROUTINES_STRING_H

#define memcpy __builtin_memcpy

#endif
