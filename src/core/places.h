/* places.h - where in the user's program arrays were made */
#ifndef FR_PLACES_H
#define FR_PLACES_H

#include "core/array.h"

/* x, and what it was made of that has no place yet, was made here: "train.py:31". */
void fr__place_note(fr_array *x, const char *text);
bool fr__place_of(fr_array *x, char *to, size_t room); /* false: not known */
void fr__place_forget(fr_array *x);

#endif
