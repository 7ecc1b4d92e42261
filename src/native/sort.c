/* sort.c - SORT and SELECT: rows of [rows, n] in order, or their k-th element in its place
 *
 * Elements become keys whose unsigned order is theirs (element.h). Few of them: the rank of each,
 * by comparing all with all. Many: radix passes of 8 bits from the lowest up, which are stable; a
 * pass in which all have the same digit is left out. Of indices, a key and its index travel
 * together. A row by one thread, in its scratch memory; few long rows by all threads, a pass in
 * three phases: count digits by blocks, sum up, scatter.
 *
 * Many short rows go through a network, a row in each lane of a vector.
 *
 * SELECT narrows down the key at the place from the highest digit on, and then puts what is less, the
 * same and greater one after the other, each in the order of the input.
 */
#include "native/sort.h"
#include "native/element.h"
#include "native/gemm.h"
#include "native/native.h"

#include "base/optimize.h"

enum {
    DIGITS = 256,
    MOST_PASSES = 8,
#ifdef FERRULE_HARD
    LONG_ROW = 200,
    BLOCK = 64,
#else
    LONG_ROW = 1 << 16,
    BLOCK = 1 << 14, /* elements a block of a long row, at least */
#endif
    MOST_BLOCKS = 64,
    SORTED_INSTEAD = 256, /* rows that SELECT puts in order as a whole */
};

typedef struct {
    uint64_t key, index;
} indexed; /* a wide key; narrow ones are the upper half of 64 bits */

/* ---- radix passes over elements of a size --------------------------------------------------- */

typedef struct {
    int bytes;
    void (*count)(const void *x, int64_t n, int digit, uint32_t counts[DIGITS]);
    void (*scatter)(const void *x, int64_t n, int digit, uint32_t next[DIGITS], void *y);
} radix;

#define RADIX(name, E, DIGIT)                                                                  \
    static void count_##name(const void *from, int64_t n, int digit, uint32_t counts[DIGITS])  \
    {                                                                                          \
        const E *x = from;                                                                     \
        uint32_t other[DIGITS] = {0}; /* equal neighbours would wait for each other */         \
        int64_t i = 0;                                                                         \
        for (; i + 2 <= n; i += 2) {                                                           \
            counts[DIGIT(x[i])]++;                                                             \
            other[DIGIT(x[i + 1])]++;                                                          \
        }                                                                                      \
        if (i < n)                                                                             \
            counts[DIGIT(x[i])]++;                                                             \
        for (int d = 0; d < DIGITS; d++)                                                       \
            counts[d] += other[d];                                                             \
    }                                                                                          \
    static void scatter_##name(const void *from, int64_t n, int digit, uint32_t next[DIGITS],  \
                               void *to)                                                       \
    {                                                                                          \
        const E *x = from;                                                                     \
        E *y = to;                                                                             \
        for (int64_t i = 0; i < n; i++)                                                        \
            y[next[DIGIT(x[i])]++] = x[i];                                                     \
    }                                                                                          \
    static const radix radix_##name = {sizeof(E), count_##name, scatter_##name};
#define OF_NUMBER(e) ((uint8_t)((e) >> (8 * digit)))
#define OF_INDEXED(e) ((uint8_t)((e).key >> (8 * digit)))
RADIX(8, uint8_t, OF_NUMBER)
RADIX(16, uint16_t, OF_NUMBER)
RADIX(32, uint32_t, OF_NUMBER)
RADIX(64, uint64_t, OF_NUMBER)
RADIX(indexed, indexed, OF_INDEXED)

/* Counts to places; true if all have one digit and nothing is to do. */
static bool places(uint32_t counts[DIGITS], int64_t n)
{
    uint32_t sum = 0;
    for (int d = 0; d < DIGITS; d++) {
        uint32_t c = counts[d];
        if (c == n)
            return true;
        counts[d] = sum;
        sum += c;
    }
    return false;
}

/* Gives the one of the two that is in order then. */
static char *in_order(const radix *f, char *a, char *b, int64_t n, int first, int passes)
{
    for (int p = 0; p < passes; p++) {
        uint32_t counts[DIGITS] = {0};
        f->count(a, n, first + p, counts);
        if (places(counts, n))
            continue;
        f->scatter(a, n, first + p, counts, b);
        char *swap = a;
        a = b;
        b = swap;
    }
    return a;
}

/* ---- elements to keys, and back -------------------------------------------------------------- */

typedef struct {
    int bytes; /* of a key */
    void (*few)(const char *x, int64_t step, int64_t n, bool exact,
                void *to); /* signed, 32 or 64 bits */
    void (*keys)(const char *x, int64_t step, int64_t n, void *to);
    void (*values)(const char *x, int64_t step, int64_t n, void *to); /* to be turned back */
    void (*back)(const void *from, int64_t n, char *y);
    void (*indexed)(const char *x, int64_t step, int64_t n, int64_t from, void *to);
    void (*put)(const char *x, int64_t step, const int32_t *rank, int64_t n, char *y);
} keyed;

#define ELEMENT(x, K, i) (((const K *)(x))[(i)*step])
#define KEYED(dtype, name, K)                                                                  \
    static inline __attribute__((always_inline)) void signed_##name##dtype(                    \
        const char *x, const int64_t step, int64_t n, const bool exact, void *to)              \
    {                                                                                          \
        if (sizeof(K) < 8)                                                                     \
            for (int64_t i = 0; i < n; i++)                                                    \
                ((int32_t *)to)[i] = (int32_t)(0x80000000u ^ (uint32_t)fr__key_##name(         \
                                                                 ELEMENT(x, K, i), exact));    \
        else                                                                                   \
            for (int64_t i = 0; i < n; i++)                                                    \
                ((int64_t *)to)[i] =                                                           \
                    (int64_t)(0x8000000000000000u ^                                            \
                              (uint64_t)fr__key_##name(ELEMENT(x, K, i), exact));              \
    }                                                                                          \
    static void few_##name##dtype(const char *x, int64_t step, int64_t n, bool exact,          \
                                  void *to)                                                    \
    {                                                                                          \
        if (step == 1 && exact)                                                                \
            signed_##name##dtype(x, 1, n, true, to);                                           \
        else if (step == 1)                                                                    \
            signed_##name##dtype(x, 1, n, false, to);                                          \
        else                                                                                   \
            signed_##name##dtype(x, step, n, exact, to);                                       \
    }                                                                                          \
    static void keys_##name##dtype(const char *x, int64_t step, int64_t n, void *to)           \
    {                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                        \
            ((K *)to)[i] = fr__key_##name(ELEMENT(x, K, i), false);                            \
    }                                                                                          \
    static void values_##name##dtype(const char *x, int64_t step, int64_t n, void *to)         \
    {                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                        \
            ((K *)to)[i] = fr__key_##name(ELEMENT(x, K, i), true);                             \
    }                                                                                          \
    static void back_##name##dtype(const void *from, int64_t n, char *y)                       \
    {                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                        \
            ((K *)y)[i] = fr__unkey_##name(((const K *)from)[i]);                              \
    }                                                                                          \
    static void indexed_##name##dtype(const char *x, int64_t step, int64_t n, int64_t from,    \
                                      void *to)                                                \
    {                                                                                          \
        if (sizeof(K) < 8)                                                                     \
            for (int64_t i = 0; i < n; i++)                                                    \
                ((uint64_t *)to)[i] = (uint64_t)fr__key_##name(ELEMENT(x, K, i), false)        \
                                          << 32 |                                              \
                                      (uint64_t)(from + i);                                    \
        else                                                                                   \
            for (int64_t i = 0; i < n; i++)                                                    \
                ((indexed *)to)[i] =                                                           \
                    (indexed){fr__key_##name(ELEMENT(x, K, i), false), (uint64_t)(from + i)};  \
    }                                                                                          \
    static void put_##name##dtype(const char *x, int64_t step, const int32_t *rank, int64_t n, \
                                  char *y)                                                     \
    {                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                        \
            ((K *)y)[rank[i]] = fr__unkey_##name(fr__key_##name(ELEMENT(x, K, i), true));      \
    }
FR__KEYED(KEYED)

static const keyed table[FR_DTYPE_COUNT] = {
#define ROW(dtype, name, K)                                                                    \
    [dtype] = {                                                                                \
        sizeof(K),          few_##name##dtype,     keys_##name##dtype, values_##name##dtype,   \
        back_##name##dtype, indexed_##name##dtype, put_##name##dtype},
    FR__KEYED(ROW)
#undef ROW
};

static const fr__sort_loops *loops(void)
{
#if defined(__x86_64__)
    const fr__gemm_isa *host = fr__gemm_tiles();
    if (host == &fr__gemm_v4)
        return &fr__sort_v4;
    if (host == &fr__gemm_v3)
        return &fr__sort_v3;
#endif
    return &fr__sort_base;
}

/* ---- a row ------------------------------------------------------------------------------------ */

typedef struct {
    const keyed *k;
    const radix *f; /* over the elements that are sorted: keys, or with their indices */
    int64_t rows, n, xrow, xn, size; /* size: of an element of x */
    bool indices;
    int first, passes;      /* digits */
    int few;                /* rows of so many are ranked */
    int network;            /* rows of so many go through a network, some at a time */
    int64_t blocks, length; /* long rows: blocks of a row, and their elements */
    size_t rest;            /* scratch memory of sorting a row, or some */
    int64_t kth, from;      /* SELECT: the place, and where the result begins */
} sort;

static void rank_row(const sort *s, const char *x, int32_t *rank)
{
    _Alignas(64) int64_t keys[FR__SORT_FEW + 16];
    int n = (int)s->n;
    s->k->few(x, s->xn, n, !s->indices, keys);
    if (s->k->bytes < 8) {
        int32_t *narrow = (int32_t *)keys;
        for (int i = n; i % 16; i++)
            narrow[i] = INT32_MAX;
        loops()->ranks32(narrow, n, rank);
    } else {
        for (int i = n; i % 16; i++)
            keys[i] = INT64_MAX;
        loops()->ranks64(keys, n, rank);
    }
}

static void few_in_row(const sort *s, const char *x, char *y)
{
    int32_t rank[FR__SORT_FEW + 16];
    rank_row(s, x, rank);
    if (s->indices)
        for (int i = 0; i < (int)s->n; i++)
            ((uint32_t *)y)[rank[i]] = (uint32_t)i;
    else
        s->k->put(x, s->xn, rank, s->n, y);
}

static void load(const sort *s, const char *x, int64_t begin, int64_t n, char *to)
{
    x += begin * s->xn * s->size;
    to += begin * s->f->bytes;
    if (s->indices)
        s->k->indexed(x, s->xn, n, begin, to);
    else
        s->k->values(x, s->xn, n, to);
}

static void store(const sort *s, const char *from, int64_t begin, int64_t n, char *y)
{
    from += begin * s->f->bytes;
    if (!s->indices) {
        s->k->back(from, n, y + begin * s->size);
        return;
    }
    uint32_t *to = (uint32_t *)y + begin;
    if (s->k->bytes < 8)
        for (int64_t i = 0; i < n; i++)
            to[i] = (uint32_t)((const uint64_t *)from)[i];
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = (uint32_t)((const indexed *)from)[i].index;
}

/* FR__SORT_ROWS rows at once, by a network; the same bits as one by one. */
static void sort_rows(const sort *s, const char *x, char *y, int64_t yrow, char *scratch)
{
    int n = (int)s->n;
    char *row = scratch + s->n * FR__SORT_ROWS * (int64_t)sizeof(int64_t);
    int32_t *narrow = (int32_t *)scratch;
    int64_t *wide = (int64_t *)scratch;
    bool is_wide = s->indices || s->k->bytes == 8;
    for (int r = 0; r < FR__SORT_ROWS; r++) {
        s->k->few(x + r * s->xrow * s->size, s->xn, n, !s->indices, row);
        for (int i = 0; i < n; i++)
            if (s->indices) /* keys are narrow: their indices below them */
                wide[i * FR__SORT_ROWS + r] =
                    (int64_t)((uint64_t)((int32_t *)row)[i] << 32 | (uint32_t)i);
            else if (is_wide)
                wide[i * FR__SORT_ROWS + r] = ((int64_t *)row)[i];
            else
                narrow[i * FR__SORT_ROWS + r] = ((int32_t *)row)[i];
    }
    if (is_wide)
        loops()->network64(wide, n);
    else
        loops()->network32(narrow, n);
    for (int r = 0; r < FR__SORT_ROWS; r++, y += yrow) {
        for (int i = 0; i < n; i++) {
            int at = i * FR__SORT_ROWS + r;
            if (s->indices)
                ((uint32_t *)y)[i] = (uint32_t)wide[at];
            else if (s->k->bytes == 8)
                ((uint64_t *)row)[i] = (uint64_t)wide[at] ^ 0x8000000000000000u;
            else if (s->k->bytes == 4)
                ((uint32_t *)row)[i] = (uint32_t)narrow[at] ^ 0x80000000u;
            else if (s->k->bytes == 2)
                ((uint16_t *)row)[i] = (uint16_t)((uint32_t)narrow[at] ^ 0x80000000u);
            else
                ((uint8_t *)row)[i] = (uint8_t)((uint32_t)narrow[at] ^ 0x80000000u);
        }
        if (!s->indices)
            s->k->back(row, n, y);
    }
}

static void sort_row(const sort *s, const char *x, char *y, char *scratch)
{
    if (s->n <= s->few) {
        few_in_row(s, x, y);
        return;
    }
    load(s, x, 0, s->n, scratch);
    store(s, in_order(s->f, scratch, scratch + s->n * s->f->bytes, s->n, s->first, s->passes),
          0, s->n, y);
}

/* ---- long rows: blocks of each at a time --------------------------------------------------------- */

/* In the temporary block: two arrays of all elements, counts of every block, and for each row in
 * which of the arrays it is before each pass. */
typedef struct {
    char *array[2];
    uint32_t *counts;
    uint8_t *at;
} shared;

static size_t shared_bytes(const sort *s)
{
    return (size_t)s->rows * (2 * (size_t)(s->n * s->f->bytes) +
                              (size_t)s->blocks * sizeof(uint32_t[DIGITS]) + MOST_PASSES + 1);
}

static shared shared_of(const sort *s, char *temporary, int64_t row)
{
    int64_t bytes = s->n * s->f->bytes, all = s->rows * bytes;
    char *counts = temporary + ((2 * all + 63) & ~(int64_t)63);
    char *at = counts + s->rows * s->blocks * (int64_t)sizeof(uint32_t[DIGITS]);
    return (shared){{temporary + row * bytes, temporary + all + row * bytes},
                    (uint32_t *)counts + row * s->blocks * DIGITS,
                    (uint8_t *)at + row * (MOST_PASSES + 1)};
}

/* Over all blocks: to the place of each block's first element of each digit. */
static void sum_up(const sort *s, const shared *w, int pass)
{
    uint32_t sum = 0;
    bool same = false;
    for (int d = 0; d < DIGITS; d++) {
        uint32_t before = sum;
        for (int64_t b = 0; b < s->blocks; b++) {
            uint32_t c = w->counts[b * DIGITS + d];
            w->counts[b * DIGITS + d] = sum;
            sum += c;
        }
        same |= sum - before == (uint32_t)s->n;
    }
    w->at[pass + 1] = same ? w->at[pass] : !w->at[pass];
}

/* phase: load; count, sum up, scatter for each pass; store. */
static void run_long(const sort *s, int phase, char *const *data, int64_t i)
{
    int pass = (phase - 1) / 3, step = phase ? (phase - 1) % 3 : -1;
    bool last = pass == s->passes;
    int64_t row = step == 1 && !last ? i : i / s->blocks, block = i % s->blocks;
    int64_t begin = block * s->length, n = fr__min64(s->length, s->n - begin);
    shared w = shared_of(s, data[2], row);
    uint32_t *counts = w.counts + block * DIGITS;
    const char *at = w.array[phase ? w.at[last ? s->passes : pass] : 0];
    if (!phase) {
        load(s, data[0] + row * s->xrow * s->size, begin, n, w.array[0]);
        if (!block)
            w.at[0] = 0;
    } else if (last) {
        store(s, at, begin, n, data[1] + row * s->n * (s->indices ? 4 : s->size));
    } else if (step == 0) {
        memset(counts, 0, sizeof(uint32_t[DIGITS]));
        s->f->count(at + begin * s->f->bytes, n, s->first + pass, counts);
    } else if (step == 1) {
        sum_up(s, &w, pass);
    } else if (w.at[pass + 1] != w.at[pass]) {
        s->f->scatter(at + begin * s->f->bytes, n, s->first + pass, counts,
                      w.array[!w.at[pass]]);
    }
}

/* ---- the k-th ---------------------------------------------------------------------------------- */

typedef struct {
    int64_t less, equal; /* elements of each kind; what remains is greater */
    uint64_t key;
} pivot;

#define SELECT(K)                                                                              \
    static pivot pivot_##K(const K *x, int64_t n, int64_t kth, K *some)                        \
    {                                                                                          \
        int64_t less = 0;                                                                      \
        for (int shift = 8 * (int)sizeof(K) - 8;; shift -= 8) {                                \
            uint32_t counts[DIGITS] = {0};                                                     \
            int64_t m = 0;                                                                     \
            int d = 0;                                                                         \
            for (int64_t i = 0; i < n; i++)                                                    \
                counts[(uint8_t)(x[i] >> shift)]++;                                            \
            for (; less + counts[d] <= kth; d++)                                               \
                less += counts[d];                                                             \
            if (!shift)                                                                        \
                return (pivot){less, counts[d], (uint64_t)(K)((x[0] & ~(K)0xff) | (K)d)};      \
            if (counts[d] == n)                                                                \
                continue;                                                                      \
            for (int64_t i = 0; i < n; i++) {                                                  \
                K key = x[i];                                                                  \
                some[m] = key;                                                                 \
                m += (uint8_t)(key >> shift) == d;                                             \
            }                                                                                  \
            x = some;                                                                          \
            n = m;                                                                             \
        }                                                                                      \
    }                                                                                          \
    /* Elements (indices NULL) or their indices, from place `from` on. */                      \
    static void parts_##K(const K *keys, int64_t n, pivot p, int64_t from, const K *x,         \
                          int64_t step, K *y, uint32_t *indices)                               \
    {                                                                                          \
        int64_t next[3] = {0, p.less, p.less + p.equal};                                       \
        for (int64_t i = 0; i < n; i++) {                                                      \
            int part = (keys[i] >= (K)p.key) + (keys[i] > (K)p.key);                           \
            int64_t at = next[part]++ - from;                                                  \
            if (at < 0)                                                                        \
                continue;                                                                      \
            if (indices)                                                                       \
                indices[at] = (uint32_t)i;                                                     \
            else                                                                               \
                y[at] = x[i * step];                                                           \
        }                                                                                      \
    }
SELECT(uint8_t)
SELECT(uint16_t)
SELECT(uint32_t)
SELECT(uint64_t)

static void select_row(const sort *s, const char *x, char *y, char *scratch)
{
    char *some = scratch + s->n * s->k->bytes;
    s->k->keys(x, s->xn, s->n, scratch);
    switch (s->k->bytes) {
#define PARTS(K)                                                                               \
    {                                                                                          \
        const K *keys = (const K *)scratch;                                                    \
        pivot p = pivot_##K(keys, s->n, s->kth, (K *)some);                                    \
        parts_##K(keys, s->n, p, s->from, (const K *)x, s->xn, (K *)y,                         \
                  s->indices ? (uint32_t *)y : NULL);                                          \
        break;                                                                                 \
    }
    case 1: PARTS(uint8_t)
    case 2: PARTS(uint16_t)
    case 4: PARTS(uint32_t)
    default: PARTS(uint64_t)
    }
}

/* ---- the routines ------------------------------------------------------------------------------ */

static sort *begin(fr__native_call *c, fr__arena *arena)
{
    sort *s = fr__arena_zalloc(arena, sizeof *s);
    if (!s)
        return NULL;
    const fr__native_array *x = &c->in[0];
    *s = (sort){.k = &table[x->dtype],
                .rows = x->shape[0],
                .n = x->shape[1],
                .xrow = x->strides[0],
                .xn = x->strides[1],
                .size = fr__dtypes[x->dtype].size,
                .indices = c->par[0] != 0,
                .passes = table[x->dtype].bytes,
                .few = loops()->few,
                .network = loops()->network};
    switch (s->k->bytes) {
    case 1: s->f = &radix_8; break;
    case 2: s->f = &radix_16; break;
    case 4: s->f = &radix_32; break;
    default: s->f = &radix_64;
    }
    if (s->indices) {
        s->f = s->k->bytes < 8 ? &radix_64 : &radix_indexed;
        s->first = s->k->bytes < 8 ? 4 : 0;
    }
    if (s->indices && s->k->bytes == 8)
        s->network = 0;
    c->own = s;
    c->phases = 1;
    c->phase[0].range = s->rows;
    c->phase[0].grain = FR__SORT_ROWS * (1 + (1 << 12) / (FR__SORT_ROWS * s->n));
    c->scratch = s->n > s->few ? (size_t)(2 * s->n * s->f->bytes) : 0;
    if (s->n <= s->network && s->rows >= FR__SORT_ROWS) {
        size_t more = (size_t)s->n * (FR__SORT_ROWS + 1) * sizeof(int64_t);
        c->scratch = c->scratch > more ? c->scratch : more;
    }
    s->rest = (c->scratch + 63) & ~(size_t)63;
    return s;
}

static int prepare_sort(fr__native_call *c, fr__arena *arena, int threads)
{
    sort *s = begin(c, arena);
    if (!s)
        return -1;
    c->work = s->rows * s->n * (4 + 2 * s->passes);
    if (s->n < LONG_ROW || s->rows >= 2 * threads || threads < 2)
        return 0;
    c->scratch = 0;
    s->length = fr__max64(BLOCK, fr__ceil_div(s->n, MOST_BLOCKS));
    s->blocks = fr__ceil_div(s->n, s->length);
    c->temporary = shared_bytes(s) + 64;
    c->phases = 3 * s->passes + 2;
    for (int p = 0; p < c->phases; p++) {
        bool sums = p && p < c->phases - 1 && (p - 1) % 3 == 1;
        c->phase[p].range = sums ? s->rows : s->rows * s->blocks;
        c->phase[p].grain = 1;
    }
    return 0;
}

static void run_sort(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                     int64_t end, char *scratch)
{
    const sort *s = c->own;
    int64_t xrow = s->xrow * s->size, yrow = s->n * (s->indices ? 4 : s->size);
    if (s->blocks)
        for (int64_t i = begin; i < end; i++)
            run_long(s, phase, data, i);
    while (!s->blocks && begin < end)
        if (s->n <= s->network && end - begin >= FR__SORT_ROWS) {
            sort_rows(s, data[0] + begin * xrow, data[1] + begin * yrow, yrow, scratch);
            begin += FR__SORT_ROWS;
        } else {
            sort_row(s, data[0] + begin * xrow, data[1] + begin * yrow, scratch);
            begin++;
        }
}

const fr__native fr__native_sort = {"sort", prepare_sort, run_sort, NULL};

static int prepare_select(fr__native_call *c, fr__arena *arena, int threads)
{
    (void)threads;
    sort *s = begin(c, arena);
    if (!s)
        return -1;
    s->kth = c->par[1];
    s->from = c->par[2];
    c->work = s->rows * s->n * 6;
    if (s->n <= SORTED_INSTEAD) /* behind the space of sorting: rows in order */
        c->scratch = s->rest + (size_t)(s->n * FR__SORT_ROWS) * sizeof(int64_t);
    else
        c->scratch = (size_t)(2 * s->n * s->k->bytes);
    return 0;
}

/* Short rows are put in order as a whole. */
static void sort_instead(const sort *s, const char *x, char *y, int64_t rows, char *scratch)
{
    int64_t size = s->indices ? 4 : s->size;
    char *whole = scratch + s->rest;
    if (rows > 1)
        sort_rows(s, x, whole, s->n * size, scratch);
    else
        sort_row(s, x, whole, scratch);
    for (int64_t r = 0; r < rows; r++)
        memcpy(y + r * (s->n - s->from) * size, whole + (r * s->n + s->from) * size,
               (size_t)((s->n - s->from) * size));
}

static void run_select(const fr__native_call *c, int phase, char *const *data, int64_t begin,
                       int64_t end, char *scratch)
{
    const sort *s = c->own;
    int64_t xrow = s->xrow * s->size, yrow = (s->n - s->from) * (s->indices ? 4 : s->size);
    (void)phase;
    while (begin < end) {
        const char *x = data[0] + begin * xrow;
        char *y = data[1] + begin * yrow;
        bool many = s->n <= s->network && end - begin >= FR__SORT_ROWS;
        int64_t rows = many && s->n <= SORTED_INSTEAD ? FR__SORT_ROWS : 1;
        if (s->n <= SORTED_INSTEAD)
            sort_instead(s, x, y, rows, scratch);
        else
            select_row(s, x, y, scratch);
        begin += rows;
    }
}

const fr__native fr__native_select = {"select", prepare_select, run_select, NULL};
