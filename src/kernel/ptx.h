/* ptx.h - how a kernel is spread over the threads of a GPU: what its code and its launch agree on
 *
 * A block has `threads` threads: `groups` times `across`. Across lie neighbouring elements of the
 * vector axis, `width` in one access, `chunks` such accesses a thread at distance across * width.
 *
 *     EACH    a thread takes an index of the root loop
 *     TILES   a block takes a tile of the vector axis, across * width * chunks elements:
 *             its groups take neighbouring root indices; or, where loops are inside the vector
 *             loop (columns), every groups-th turn of those, `rows` of them at a time, and what
 *             they have summed up is added in shared memory
 *     ROWS    a group takes a root index with all its vector loops: a power of two of threads up
 *             to a warp, or the whole block
 *
 * There are several versions in a kernel. Wide ones are for launches whose vector accesses are all
 * aligned to `width` elements; narrow ones are for all others, and for the last elements of a TILES
 * kernel without a loop around it (flat). Where there are passes over a row, each has a version for
 * launches that are `single`: every loop that is spread makes one turn, so it is no loop, and what
 * one pass loads, or would leave in scratch memory, the next one finds in registers.
 */
#ifndef FR_KERNEL_PTX_H
#define FR_KERNEL_PTX_H

#include "kernel/kernel.h"

typedef enum fr__ptx_way { FR__PTX_EACH, FR__PTX_TILES, FR__PTX_ROWS } fr__ptx_way;

enum { FR__PTX_LANES = 32, FR__PTX_WARP = 32, FR__PTX_COLUMN_THREADS = 512 };

typedef struct fr__ptx_form { /* by the kernel alone */
    uint8_t way;
    bool flat, columns;
    bool wide, single;  /* there are such versions; of columns a single one only if wide */
    bool scratch, kept; /* it has scratch memory; which a single launch has no need of */
    uint8_t width, chunks, narrow, rows; /* narrow: elements a thread has in that version;
                                            of rows: in single ones, elsewhere one access */
    uint8_t registers;                   /* a thread may have, 0: any number */
} fr__ptx_form;
fr__ptx_form fr__ptx_form_of(const fr__kernel *k);

/* The load or scratch store of an earlier pass that reads (left) what load i reads, at the same
 * elements; -1 for none. O(instructions). */
int fr__ptx_held_by(const fr__kernel *k, const fr__ptx_form *f, int i);

/* The kernel's last parameter: `across`, and from these bits on its logarithm (31: one group, of any
 * number of threads), the version, whether it is single, the number of groups and its logarithm. */
enum {
    FR__PTX_SHIFT = 16,
    FR__PTX_WIDE = 24,
    FR__PTX_SINGLE = 25,
    FR__PTX_GROUPS = 32,
    FR__PTX_GROUPS_SHIFT = 48
};

#endif
