/* routines.h - runs the routines of src/device/cuda/routines for the stand-in driver */
#ifndef STANDIN_ROUTINES_H
#define STANDIN_ROUTINES_H

#include "standin.h"

/* False: it is none of them. */
bool standin_routine(const standin_launch *l);

#endif
