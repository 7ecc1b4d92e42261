/* squares.h - which convolutions of the host go by squares of windows (native/winograd.c), and how they are cut
 *
 * needs   shapes; by nothing else, so that results depend neither on the host nor on layouts
 */
#ifndef FR_GRAPH_SQUARES_H
#define FR_GRAPH_SQUARES_H

#include "graph/trace.h"

enum { FR__SQUARE = 16 /* numbers of one: 4x4 elements of x, for 2x2 places of y */ };

typedef struct fr__squares {
    int64_t tiles[2]; /* of 2x2 places of y, in an example */
    int64_t block;    /* tiles that are worked on together, at most */
    int64_t parts;    /* of all tiles, for a window's gradient: a sum each */
} fr__squares;

/* y [examples, height, width, filters] of x with so many channels. */
fr__squares fr__squares_of(const int64_t *y, int64_t channels);
/* Is CONV or CONV_FILTER n, of x and (a filter, y's gradient) second, faster so? */
bool fr__by_squares(const fr__tnode *n, const fr__tnode *x, const fr__tnode *second);

#endif
