/* squares.c - whether a convolution pays by squares of windows
 *
 * F(2x2, 3x3) has 16 products where the window itself takes 36 multiplications, and additions
 * before and after. With few channels these outweigh.
 */
#include "graph/squares.h"

#include <math.h>
#include <stdatomic.h>

enum {
#ifdef FERRULE_HARD
    LEAST_BLOCK = 3,
    MOST_BLOCK = 5,
    PART = 4,
    LEAST_WORK = 1 << 9,
#else
    LEAST_BLOCK = 24,
    MOST_BLOCK = 96,
    PART = 256,           /* tiles in one, at least */
    LEAST_WORK = 1 << 20, /* multiplications of the window itself */
#endif
    BLOCK_LINES =
        6144, /* channels and filters of a block's tiles: their squares take less than half of L2 */
    MOST_PARTS = 16,
    SUM_FLOATS = 1 << 22, /* of all parts' sums */
    LANES = 16,
};

fr__squares fr__squares_of(const int64_t *y, int64_t channels)
{
    int64_t filters = y[3];
    fr__squares s = {.tiles = {fr__ceil_div(y[1], 2), fr__ceil_div(y[2], 2)}};
    s.block = fr__max64(fr__min64(BLOCK_LINES / (channels + filters), MOST_BLOCK), LEAST_BLOCK);
    s.parts = fr__min64(fr__min64(y[0] * s.tiles[0] * s.tiles[1] / PART, MOST_PARTS),
                        SUM_FLOATS / (FR__SQUARE * channels * filters));
    return s;
}

static int64_t vectors(int64_t n) { return fr__ceil_div(n, LANES); }

/* In cycles of a core with 16 lanes. */
static bool wins(const int64_t *y, int64_t channels, bool gradient)
{
    fr__squares s = fr__squares_of(y, channels);
    double tiles = (double)(y[0] * s.tiles[0] * s.tiles[1]),
           places = (double)(y[0] * y[1] * y[2]);
    double c = (double)channels, o = (double)y[3], vc = (double)vectors(channels),
           vo = (double)vectors(y[3]);
    double each = gradient ? o * vc : c * vo;
    double direct = places * 1.1 *
                    (gradient ? fmin(o * (double)vectors(9 * channels), 9 * c * vo) : 9 * each);
    double products = FR__SQUARE * tiles * each * 1.15;
    double squares = tiles * (45 * vc + 40 * vo + 60) + 60 * each;
    /* Windows' squares, or sums, that don't fit go through L2 for each block. */
    double beside = 4.0 * FR__SQUARE * c * o, turns = tiles / (double)s.block;
    double memory = beside > 1 << 19 ? turns * beside / 8 * (gradient ? 2 : 1) : 0;
    return (!gradient || s.parts > 1) && 9 * places * c * o >= LEAST_WORK &&
           1.2 * (products + squares + memory) < direct;
}

static bool is_on(void)
{
    static _Atomic int known; /* 1: on, 2: off */
    int now = atomic_load_explicit(&known, memory_order_relaxed);
    if (!now) {
        now = fr__env_on("WINOGRAD", true) ? 1 : 2;
        atomic_store_explicit(&known, now, memory_order_relaxed);
    }
    return now == 1;
}

bool fr__by_squares(const fr__tnode *n, const fr__tnode *x, const fr__tnode *second)
{
    bool gradient = n->op == FR__OP_CONV_FILTER;
    const int64_t *window = gradient ? n->shape : second->shape;
    if (n->ndim != 4 || n->dtype != FR_FLOAT32 || n->nin != 2 || n->npar != 5 ||
        window[1] != 3 || window[2] != 3 || !n->size)
        return false;
    for (int i = 0; i < 5; i++) /* strides, dilations, groups */
        if (n->par[i] != 1)
            return false;
    return is_on() && wins(gradient ? second->shape : n->shape, x->shape[3], gradient);
}
