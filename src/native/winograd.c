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

enum {
    SQUARE = FR__SQUARE,
    CHANNELS = 64, /* of windows, turned into squares together */
    LANES = 16,    /* lines are put side by side in multiples of that */
};

static int64_t vectors(int64_t n) { return fr__ceil_div(n, LANES); }

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

/* From one of a block's 16 numbers to the next: not so that a tile's share a few lines of the cache. */
static int64_t apart(const fr__winograd *w, int64_t n)
{
    return w->cut.block * pitch(n) + LANES;
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
        rounded(SQUARE * (apart(w, w->x.n) + apart(w, w->y.n)) + (int64_t)lines_floats(w));
    size_t window = rounded(9 * CHANNELS * nr);
    c->scratch = squares > window ? squares : window;
    c->temporary = rounded(SQUARE * panels * w->x.n * nr);
    c->phase[0].range = panels * fr__ceil_div(w->x.n, CHANNELS);
    c->phase[1].range = w->units;
}

static void prepare_gradient(const fr__winograd *w, fr__native_call *c)
{
    c->scratch =
        rounded(SQUARE * (apart(w, w->x.n) + apart(w, w->y.n)) + (int64_t)lines_floats(w));
    c->temporary = rounded(w->cut.parts * SQUARE * w->y.n * w->x.n);
    c->phase[0].range = w->cut.parts;
    c->phase[1].range = w->y.n;
}

void fr__winograd_prepare(fr__winograd *w, fr__native_call *c)
{
    bool gradient = c->routine == &fr__native_conv_filter;
    const fr__native_array *window = gradient ? &c->out : &c->in[1],
                           *y = gradient ? &c->in[1] : &c->out;
    *w = (fr__winograd){.examples = y->shape[0],
                        .x = image_of(&c->in[0]),
                        .y = image_of(y),
                        .cut = fr__squares_of(y->shape, c->in[0].shape[3])};
    memcpy(w->window, window->strides, sizeof w->window);
    memcpy(w->before, c->par + 5, sizeof w->before);
    int64_t rows = w->examples * w->cut.tiles[0];
    w->rows = fr__max64(w->cut.block / w->cut.tiles[1], 1);
    w->units = fr__ceil_div(rows, w->rows);
    (gradient ? prepare_gradient : prepare_forward)(w, c);
    c->phases = 2;
    c->phase[0].grain = c->phase[1].grain = 1;
    c->work = SQUARE * rows * w->cut.tiles[1] * w->x.n * w->y.n / 2;
}

fr__strip fr__winograd_strip(const fr__winograd *w, int64_t unit)
{
    int64_t end[2];
    for (int i = 0; i < 2; i++) {
        int64_t row = fr__min64((unit + i) * w->rows, w->examples * w->cut.tiles[0]);
        end[i] = (row / w->cut.tiles[0] * w->y.size[0] +
                  fr__min64(2 * (row % w->cut.tiles[0]), w->y.size[0])) *
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
    int64_t row = i / w->cut.tiles[1];
    return (tile){row / w->cut.tiles[0], row % w->cut.tiles[0], i % w->cut.tiles[1]};
}

static void go_on(const fr__winograd *w, tile *t)
{
    if (++t->column < w->cut.tiles[1])
        return;
    t->column = 0;
    if (++t->row < w->cut.tiles[0])
        return;
    t->row = 0;
    t->example++;
}

/* What a thread works with. */
typedef struct {
    const fr__gemm_isa *isa;
    float *x, *y; /* a block's squares: number, tile, line */
    int64_t x_pitch, y_pitch, x_apart, y_apart;
    float *zeros, *junk, *lines;
} space;

static space space_of(const fr__winograd *w, char *scratch)
{
    int64_t n = vectors(fr__max64(w->x.n, w->y.n) + LANES) * LANES;
    space s = {.isa = fr__gemm_tiles(), .x_pitch = pitch(w->x.n), .y_pitch = pitch(w->y.n)};
    s.x_apart = apart(w, w->x.n);
    s.y_apart = apart(w, w->y.n);
    s.x = (float *)scratch;
    s.y = s.x + SQUARE * s.x_apart;
    s.zeros = s.y + SQUARE * s.y_apart;
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
static void in_block(float *block, int64_t next, int64_t pitch_of, int64_t i, float **to)
{
    for (int k = 0; k < SQUARE; k++)
        to[k] = block + k * next + i * pitch_of;
}

static void read_block(const fr__winograd *w, const space *s, char *x, tile t, int64_t n)
{
    float *from[SQUARE], *to[SQUARE];
    for (int64_t i = 0; i < n; i++, go_on(w, &t)) {
        read_lines(s, &w->x, x, t.example, 2 * t.row - w->before[0],
                   2 * t.column - w->before[1], 4, from);
        in_block(s->x, s->x_apart, s->x_pitch, i, to);
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
                    s->isa->tile[0](1, &run, s->x + k * s->x_apart + i * s->x_pitch + c,
                                    s->x_pitch, 1, b + c * nr, nr,
                                    s->y + k * s->y_apart + i * s->y_pitch + panel * nr,
                                    s->y_pitch, (int)rows, columns, c > 0);
                }
            }
        }
}

static void unit_forward(const fr__winograd *w, char *const *data, int64_t unit, char *scratch)
{
    space s = space_of(w, scratch);
    int64_t rows = w->examples * w->cut.tiles[0];
    int64_t end = fr__min64((unit + 1) * w->rows, rows) * w->cut.tiles[1];
    for (int64_t i = unit * w->rows * w->cut.tiles[1], n; i < end; i += n) {
        n = fr__min64(end - i, w->cut.block);
        tile t = tile_at(w, i);
        read_block(w, &s, data[0], t, n);
        multiply_forward(w, &s, (const float *)data[3], n);
        float *from[SQUARE], *to[4];
        for (int64_t j = 0; j < n; j++, go_on(w, &t)) {
            in_block(s.y, s.y_apart, s.y_pitch, j, from);
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
                s->isa->tile[0](1, &run, s->y + k * s->y_apart + o, 1, s->y_pitch,
                                s->x + k * s->x_apart + c, s->x_pitch,
                                sums + (k * w->y.n + o) * w->x.n + c, w->x.n, (int)rows,
                                (int)fr__min64(w->x.n - c, nr), add);
            }
}

static void unit_gradient(const fr__winograd *w, char *const *data, int64_t part, char *scratch)
{
    space s = space_of(w, scratch);
    int64_t all = w->examples * w->cut.tiles[0] * w->cut.tiles[1],
            begin = all * part / w->cut.parts, end = all * (part + 1) / w->cut.parts;
    float *sums = (float *)data[3] + part * SQUARE * w->y.n * w->x.n;
    for (int64_t i = begin, n; i < end; i += n) {
        n = fr__min64(end - i, w->cut.block);
        tile t = tile_at(w, i);
        read_block(w, &s, data[0], t, n);
        float *from[4], *to[SQUARE];
        for (int64_t j = 0; j < n; j++, go_on(w, &t)) {
            read_lines(&s, &w->y, data[1], t.example, 2 * t.row, 2 * t.column, 2, from);
            in_block(s.y, s.y_apart, s.y_pitch, j, to);
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
        for (int64_t part = 1; part < w->cut.parts; part++) {
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
