/* winograd.c - convolutions with 3x3 windows, and the gradients of their windows, by squares
 *
 *   x [4x4 of a tile] -> additions -> 16 numbers \
 *   window [3x3]      -> additions -> 16 numbers  -> 16 products of matrices -> additions -> y [2x2]
 *
 * Each of the 16 is a product of tiles x channels by channels x filters: 16 multiplications where the window
 * itself takes 36. The gradient of the window is the same turned round: 16 products of filters x tiles by
 * tiles x channels, and squares of 4x4 to 3x3 when all tiles have been added up. A block of tiles goes all the
 * way in a thread's own cache. The window's 16 are made first, once for all.
 */
#include "native/winograd.h"

#include "native/gemm.h"

#include <math.h>

enum {
    SQUARE = 16,
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
    BLOCK_FLOATS = 6144 * SQUARE, /* of a block's squares: less than half of L2 */
    MOST_PARTS = 16,
    SUM_FLOATS = 1 << 22, /* of all parts' sums */
    CHANNELS = 64,        /* of windows, turned into squares together */
    LANES = 16,           /* of the cost model */
};

/* ---- whether it pays ----------------------------------------------------------------- */

static int64_t vectors(int64_t n) { return fr__ceil_div(n, LANES); }

/* In cycles of a core with 16 lanes, from shapes alone. */
static bool wins(const fr__winograd *w, bool gradient)
{
    double tiles = (double)(w->examples * w->tiles[0] * w->tiles[1]);
    double places = (double)(w->examples * w->y.size[0] * w->y.size[1]);
    double c = (double)w->x.n, o = (double)w->y.n, vc = (double)vectors(w->x.n),
           vo = (double)vectors(w->y.n);
    double each = gradient ? o * vc : c * vo;
    double direct = places * 1.1 *
                    (gradient ? fmin(o * (double)vectors(9 * w->x.n), 9 * c * vo) : 9 * each);
    double products = SQUARE * tiles * each * 1.15;
    double squares = tiles * (45 * vc + 40 * vo + 60) + 60 * each;
    /* Windows' squares, or sums, that don't fit go through L2 for each block. */
    double beside = 4.0 * SQUARE * c * o, turns = tiles / (double)w->block;
    double memory = beside > 1 << 19 ? turns * beside / 8 * (gradient ? 2 : 1) : 0;
    return 9 * places * c * o >= LEAST_WORK && 1.2 * (products + squares + memory) < direct;
}

/* ---- preparation ------------------------------------------------------------------------- */

static size_t rounded(int64_t floats) { return (size_t)(floats * 4 + 63) & ~(size_t)63; }

/* From one line of a block to the next: whole vectors, not so that they share a few lines of the cache. */
static int64_t pitch(int64_t n)
{
    int64_t p = vectors(n) * LANES;
    return p % 128 ? p : p + LANES;
}

static fr__winograd_image image_of(const fr__native_array *a)
{
    fr__winograd_image x = {.size = {a->shape[1], a->shape[2]}, .n = a->shape[3]};
    memcpy(x.strides, a->strides, sizeof x.strides);
    return x;
}

static bool is_on(void)
{
    static _Atomic int known; /* 1: on, 2: off */
    if (!known)
        known = fr__env_on("WINOGRAD", true) ? 1 : 2;
    return known == 1;
}

/* [filters, taps, channels / groups] */
static bool has_shape(const fr__native_call *c, const fr__native_array *window)
{
    return c->in[0].ndim == 4 && c->in[0].dtype == FR_FLOAT32 && window->shape[1] == 3 &&
           window->shape[2] == 3 && c->par[0] == 1 && c->par[1] == 1 && c->par[2] == 1 &&
           c->par[3] == 1 && c->par[4] == 1 && c->nin == 2 && c->npar == 5;
}

/* Lines where x has no elements, where y has no places, and those that are put together. */
static size_t lines_floats(const fr__winograd *w)
{
    int64_t n = fr__max64(w->x.n, w->y.n) + LANES;
    return (size_t)((2 + SQUARE) * vectors(n) * LANES);
}

static void prepare_forward(const fr__winograd *w, fr__native_call *c)
{
    int64_t nr = fr__gemm_tiles()->nr[0], panels = fr__ceil_div(w->y.n, nr);
    size_t squares =
        rounded(SQUARE * w->block * (pitch(w->x.n) + pitch(w->y.n)) + (int64_t)lines_floats(w));
    size_t window = rounded(9 * CHANNELS * nr);
    c->scratch = squares > window ? squares : window;
    c->temporary = rounded(SQUARE * panels * w->x.n * nr);
    c->phase[0].range = panels * fr__ceil_div(w->x.n, CHANNELS);
    c->phase[1].range = w->units;
}

static void prepare_gradient(const fr__winograd *w, fr__native_call *c)
{
    c->scratch =
        rounded(SQUARE * w->block * (pitch(w->x.n) + pitch(w->y.n)) + (int64_t)lines_floats(w));
    c->temporary = rounded(w->parts * SQUARE * w->y.n * w->x.n);
    c->phase[0].range = w->parts;
    c->phase[1].range = w->y.n;
}

bool fr__winograd_prepare(fr__winograd *w, fr__native_call *c)
{
    bool gradient = c->routine == &fr__native_conv_filter;
    const fr__native_array *window = gradient ? &c->out : &c->in[1],
                           *y = gradient ? &c->in[1] : &c->out;
    if (!has_shape(c, window) || !is_on())
        return false;
    *w = (fr__winograd){.examples = y->shape[0], .x = image_of(&c->in[0]), .y = image_of(y)};
    memcpy(w->window, window->strides, sizeof w->window);
    for (int d = 0; d < 2; d++)
        w->tiles[d] = fr__ceil_div(w->y.size[d], 2);
    int64_t rows = w->examples * w->tiles[0], tiles = rows * w->tiles[1];
    w->block = fr__max64(fr__min64(BLOCK_FLOATS / SQUARE / (w->x.n + w->y.n), MOST_BLOCK),
                         LEAST_BLOCK);
    w->rows = fr__max64(w->block / w->tiles[1], 1);
    w->units = fr__ceil_div(rows, w->rows);
    w->parts =
        fr__min64(fr__min64(tiles / PART, MOST_PARTS), SUM_FLOATS / (SQUARE * w->x.n * w->y.n));
    if ((gradient && w->parts < 2) || !wins(w, gradient))
        return false;
    (gradient ? prepare_gradient : prepare_forward)(w, c);
    c->phases = 2;
    c->phase[0].grain = c->phase[1].grain = 1;
    c->work = SQUARE * tiles * w->x.n * w->y.n / 2;
    return true;
}

fr__strip fr__winograd_strip(const fr__winograd *w, int64_t unit)
{
    int64_t end[2];
    for (int i = 0; i < 2; i++) {
        int64_t row = fr__min64((unit + i) * w->rows, w->examples * w->tiles[0]);
        end[i] = (row / w->tiles[0] * w->y.size[0] +
                  fr__min64(2 * (row % w->tiles[0]), w->y.size[0])) *
                 w->y.size[1];
    }
    return (fr__strip){.index = unit, .first = end[0], .rows = end[1] - end[0], .units = 1};
}

/* ---- squares ----------------------------------------------------------------------------- */

typedef struct {
    int64_t example, row, column;
} tile;

static tile tile_at(const fr__winograd *w, int64_t i)
{
    int64_t row = i / w->tiles[1];
    return (tile){row / w->tiles[0], row % w->tiles[0], i % w->tiles[1]};
}

static void go_on(const fr__winograd *w, tile *t)
{
    if (++t->column < w->tiles[1])
        return;
    t->column = 0;
    if (++t->row < w->tiles[0])
        return;
    t->row = 0;
    t->example++;
}

/* What a thread works with. */
typedef struct {
    const fr__gemm_isa *isa;
    float *x, *y; /* a block's squares: number, tile, line */
    int64_t x_pitch, y_pitch;
    float *zeros, *junk, *lines;
} space;

static space space_of(const fr__winograd *w, char *scratch)
{
    int64_t n = vectors(fr__max64(w->x.n, w->y.n) + LANES) * LANES;
    space s = {.isa = fr__gemm_tiles(), .x_pitch = pitch(w->x.n), .y_pitch = pitch(w->y.n)};
    s.x = (float *)scratch;
    s.y = s.x + SQUARE * w->block * s.x_pitch;
    s.zeros = s.y + SQUARE * w->block * s.y_pitch;
    s.junk = s.zeros + n;
    s.lines = s.junk + n;
    memset(s.zeros, 0, sizeof *s.zeros * (size_t)n);
    return s;
}

/* side x side lines of an image from (row, column) on; `outside` where it has none. */
static void find_lines(const fr__winograd_image *a, char *at, int64_t example, int64_t row,
                       int64_t column, int side, float *outside, float **to)
{
    float *from = (float *)at + example * a->strides[0];
    for (int i = 0; i < side; i++) {
        bool in = row + i >= 0 && row + i < a->size[0];
        float *line = from + (row + i) * a->strides[1] + column * a->strides[2];
        for (int j = 0; j < side; j++)
            to[i * side + j] = in && column + j >= 0 && column + j < a->size[1]
                                   ? line + j * a->strides[2]
                                   : outside;
    }
}

/* The same to be read: where elements of a line lie apart they are put together. */
static void read_lines(const space *s, const fr__winograd_image *a, char *at, int64_t example,
                       int64_t row, int64_t column, int side, float **to)
{
    find_lines(a, at, example, row, column, side, s->zeros, to);
    if (a->strides[3] == 1 || a->n == 1)
        return;
    for (int i = 0; i < side * side; i++) {
        if (to[i] == s->zeros)
            continue;
        float *line = s->lines + i * vectors(a->n) * LANES;
        for (int64_t j = 0; j < a->n; j++)
            line[j] = to[i][j * a->strides[3]];
        to[i] = line;
    }
}

static void square(const space *s, int which, float *const *from, int64_t n, float *const *to)
{
    s->isa->winograd[which]((const float *const *)from, n, to);
}

/* Where the 16 numbers of tile i of a block are. */
static void in_block(float *block, int64_t tiles, int64_t pitch_of, int64_t i, float **to)
{
    for (int k = 0; k < SQUARE; k++)
        to[k] = block + (k * tiles + i) * pitch_of;
}

static void read_block(const fr__winograd *w, const space *s, char *x, tile t, int64_t n)
{
    float *from[SQUARE], *to[SQUARE];
    for (int64_t i = 0; i < n; i++, go_on(w, &t)) {
        read_lines(s, &w->x, x, t.example, 2 * t.row - w->before[0],
                   2 * t.column - w->before[1], 4, from);
        in_block(s->x, w->block, s->x_pitch, i, to);
        square(s, FR__WINOGRAD_INPUT, from, w->x.n, to);
    }
}

/* ---- a convolution ----------------------------------------------------------------------- */

/* Squares of windows: number, panel of filters, channel, filter. */
static void turn_windows(const fr__winograd *w, char *window, float *squares, int64_t unit,
                         char *scratch)
{
    const fr__gemm_isa *isa = fr__gemm_tiles();
    int64_t nr = isa->nr[0], panels = fr__ceil_div(w->y.n, nr),
            blocks = fr__ceil_div(w->x.n, CHANNELS);
    int64_t panel = unit / blocks, channel = unit % blocks * CHANNELS;
    int64_t channels = fr__min64(w->x.n - channel, CHANNELS),
            filters = fr__min64(w->y.n - panel * nr, nr);
    float *from[9], *to[SQUARE];
    for (int k = 0; k < 9; k++) {
        from[k] = (float *)scratch + k * CHANNELS * nr;
        isa->pack[2]((float *)window + panel * nr * w->window[0] + k / 3 * w->window[1] +
                         k % 3 * w->window[2] + channel * w->window[3],
                     w->window[0], w->window[3], filters, channels, nr, from[k]);
    }
    for (int k = 0; k < SQUARE; k++)
        to[k] = squares + ((k * panels + panel) * w->x.n + channel) * nr;
    isa->winograd[FR__WINOGRAD_WINDOW]((const float *const *)from, channels * nr, to);
}

/* Rows of C in equal tiles. */
static int64_t height(int64_t left, int64_t most)
{
    return fr__ceil_div(left, fr__ceil_div(left, most));
}

static void multiply_forward(const fr__winograd *w, const space *s, const float *windows,
                             int64_t tiles)
{
    int64_t nr = s->isa->nr[0], mr = s->isa->mr[0], panels = fr__ceil_div(w->y.n, nr);
    for (int k = 0; k < SQUARE; k++)
        for (int64_t panel = 0; panel < panels; panel++) {
            const float *b = windows + (k * panels + panel) * w->x.n * nr;
            int columns = (int)fr__min64(w->y.n - panel * nr, nr);
            for (int64_t i = 0, rows; i < tiles; i += rows) {
                rows = height(tiles - i, mr);
                for (int64_t c = 0; c < w->x.n; c += FR__GEMM_KC) {
                    fr__gemm_part run = {0, fr__min64(w->x.n - c, FR__GEMM_KC)};
                    s->isa->tile[0](1, &run, s->x + (k * w->block + i) * s->x_pitch + c,
                                    s->x_pitch, 1, b + c * nr, nr,
                                    s->y + (k * w->block + i) * s->y_pitch + panel * nr,
                                    s->y_pitch, (int)rows, columns, c > 0);
                }
            }
        }
}

static void unit_forward(const fr__winograd *w, char *const *data, int64_t unit, char *scratch)
{
    space s = space_of(w, scratch);
    int64_t rows = w->examples * w->tiles[0];
    int64_t end = fr__min64((unit + 1) * w->rows, rows) * w->tiles[1];
    for (int64_t i = unit * w->rows * w->tiles[1], n; i < end; i += n) {
        n = fr__min64(end - i, w->block);
        tile t = tile_at(w, i);
        read_block(w, &s, data[0], t, n);
        multiply_forward(w, &s, (const float *)data[3], n);
        float *from[SQUARE], *to[4];
        for (int64_t j = 0; j < n; j++, go_on(w, &t)) {
            in_block(s.y, w->block, s.y_pitch, j, from);
            find_lines(&w->y, data[2], t.example, 2 * t.row, 2 * t.column, 2, s.junk, to);
            square(&s, FR__WINOGRAD_OUTPUT, from, w->y.n, to);
        }
    }
}

/* ---- the gradient of a window -------------------------------------------------------------- */

/* Adds a block to sums: number, filter, channel. */
static void multiply_gradient(const fr__winograd *w, const space *s, float *sums, int64_t tiles,
                              bool add)
{
    int64_t nr = s->isa->nr[0], mr = s->isa->mr[0];
    fr__gemm_part run = {0, tiles};
    for (int k = 0; k < SQUARE; k++)
        for (int64_t c = 0; c < w->x.n; c += nr)
            for (int64_t o = 0, rows; o < w->y.n; o += rows) {
                rows = height(w->y.n - o, mr);
                s->isa->tile[0](1, &run, s->y + k * w->block * s->y_pitch + o, 1, s->y_pitch,
                                s->x + k * w->block * s->x_pitch + c, s->x_pitch,
                                sums + (k * w->y.n + o) * w->x.n + c, w->x.n, (int)rows,
                                (int)fr__min64(w->x.n - c, nr), add);
            }
}

static void unit_gradient(const fr__winograd *w, char *const *data, int64_t part, char *scratch)
{
    space s = space_of(w, scratch);
    int64_t all = w->examples * w->tiles[0] * w->tiles[1], begin = all * part / w->parts,
            end = all * (part + 1) / w->parts;
    float *sums = (float *)data[3] + part * SQUARE * w->y.n * w->x.n;
    for (int64_t i = begin, n; i < end; i += n) {
        n = fr__min64(end - i, w->block);
        tile t = tile_at(w, i);
        read_block(w, &s, data[0], t, n);
        float *from[4], *to[SQUARE];
        for (int64_t j = 0; j < n; j++, go_on(w, &t)) {
            read_lines(&s, &w->y, data[1], t.example, 2 * t.row, 2 * t.column, 2, from);
            in_block(s.y, w->block, s.y_pitch, j, to);
            square(&s, FR__WINOGRAD_OUTPUT_GRAD, from, w->y.n, to);
        }
        multiply_gradient(w, &s, sums, n, i > begin);
    }
}

/* All parts' sums of a filter, in order, and its window. */
static void window_gradient(const fr__winograd *w, char *const *data, int64_t filter)
{
    const fr__gemm_isa *isa = fr__gemm_tiles();
    int64_t n = w->x.n, next = w->y.n * n;
    float *sums = (float *)data[3] + filter * n, *from[SQUARE], *to[9];
    for (int k = 0; k < SQUARE; k++) {
        from[k] = sums + k * next;
        for (int64_t part = 1; part < w->parts; part++) {
            const float *more = from[k] + part * SQUARE * next;
            for (int64_t i = 0; i < n; i++)
                from[k][i] += more[i];
        }
    }
    for (int k = 0; k < 9; k++)
        to[k] = (float *)data[2] + (filter * 9 + k) * n;
    isa->winograd[FR__WINOGRAD_WINDOW_GRAD]((const float *const *)from, n, to);
}

void fr__winograd_run(const fr__winograd *w, const fr__native_call *c, int phase,
                      char *const *data, int64_t begin, int64_t end, char *scratch)
{
    bool gradient = c->routine == &fr__native_conv_filter;
    for (int64_t i = begin; i < end; i++)
        if (gradient && phase == 0)
            unit_gradient(w, data, i, scratch);
        else if (gradient)
            window_gradient(w, data, i);
        else if (phase == 0)
            turn_windows(w, data[1], (float *)data[3], i, scratch);
        else
            unit_forward(w, data, i, scratch);
}
