/* test_shape.c - shapes and products from C: values, results without a scope, failing allocations
 *
 * A case makes one array (or several, joined) of x = [[0 1 2 3] [4 5 6 7] [8 9 10 11]] and says how it
 * prints. It is run in a scope, without one (nothing may be left), and with each allocation failing
 * in turn. What the functions do over dtypes and layouts is tested from Python.
 */
#include "ferrule/ferrule.h"
#include "base/base.h"
#include "test.h"

#include <stdlib.h>

#define SHAPE(...) ((int64_t[]){__VA_ARGS__})
#define AXES(...) ((int[]){__VA_ARGS__})

/* Results on the way are handles of ours where no scope is open. */
static bool scoped;
static void drop(fr_array *x)
{
    if (!scoped)
        fr_free(x);
}

/* n of them one after the other, three elements a row; lets go of them. failed: there is none. */
static fr_array *joined(int n, fr_array **x, int failed)
{
    fr_array *line[16] = {0}, *y = NULL;
    if (failed)
        return NULL;
    int made = 0;
    while (made < n && (line[made] = fr_reshape(x[made], SHAPE(-1), 1)))
        made++;
    fr_array *all = made == n ? fr_concatenate(n, line, 0) : NULL;
    y = fr_reshape(all, SHAPE(-1, 3), 2);
    drop(all);
    for (int i = 0; i < n; i++) {
        drop(line[i]);
        drop(x[i]);
    }
    return y;
}

static fr_array *split_at(fr_array *x)
{
    fr_array *part[4];
    return joined(4, part, fr_split_at(x, 3, SHAPE(2, 1, -1), 1, part));
}

static fr_array *split(fr_array *x)
{
    fr_array *part[2];
    return joined(2, part, fr_split(x, 2, -1, part));
}

static fr_array *unstack(fr_array *x)
{
    fr_array *part[4];
    return joined(4, part, fr_unstack(x, 1, part));
}

static fr_array *broadcast(fr_array *x)
{
    fr_array *row = fr_arange(0, 4, 1, FR_INT32), *to[2];
    fr_array *y = joined(2, to, fr_broadcast_arrays(2, (fr_array *[]){row, x}, to));
    drop(row);
    return y;
}

static fr_array *meshgrid(fr_array *x)
{
    fr_array *a = fr_arange(0, 2, 1, FR_INT32), *b = fr_arange(5, 8, 1, FR_INT32), *to[2];
    (void)x;
    fr_array *y = joined(
        2, to, fr_meshgrid(2, (fr_array *[]){a, b}, &(fr_meshgrid_options){.xy = true}, to));
    drop(a);
    drop(b);
    return y;
}

static fr_array *slice(fr_array *x)
{
    fr_array *starts = fr_arange(9, 0, -8, FR_INT32); /* 9, moved to 1, and 1 */
    fr_array *y = fr_dynamic_slice(x, starts, AXES(0, 1), 2, SHAPE(2, 2));
    drop(starts);
    return y;
}

static fr_array *slice_update(fr_array *x)
{
    fr_array *starts = fr_arange(1, 3, 1, FR_INT32), *v = fr_ones(SHAPE(2, 2), 2, FR_INT32);
    fr_array *y = fr_dynamic_slice_update(x, v, starts, AXES(0, 1), 2);
    drop(starts);
    drop(v);
    return y;
}

static fr_array *flat(fr_array *x, fr_array *(*f)(fr_array *, int), int k)
{
    fr_array *line = fr_arange(1, 3, 1, FR_INT32), *y = f(line, k);
    (void)x;
    drop(line);
    return y;
}

/* "ij,kj,il -> kl": a diagonal, sums, pairs. */
static fr_array *einsum_of_three(fr_array *x)
{
    return fr_einsum("ij,kj,il->kl", 3, (fr_array *[]){x, x, x});
}

static fr_array *einsum_trace(fr_array *x)
{
    fr_array *cut = fr_slice(x, SHAPE(0, 0), SHAPE(1, 1), SHAPE(3, 3));
    fr_array *y = fr_einsum("ii,ij->j", 2, (fr_array *[]){cut, x});
    drop(cut);
    return y;
}

static fr_array *masked(fr_array *x)
{
    fr_array *mask = fr_eye(2, 2, 0, FR_BOOL), *t = fr_transpose(x, NULL, 0);
    fr_array *y = fr_block_masked_mm(
        x, t, &(fr_block_masks){.block_size = 2, .out = mask, .lhs = mask, .rhs = mask});
    drop(mask);
    drop(t);
    return y;
}

static fr_array *gathered(fr_array *x)
{
    fr_array *rows = fr_unflatten(x, 0, SHAPE(3, 1), 2), *i = fr_arange(2, -1, -2, FR_INT32),
             *t = fr_transpose(x, NULL, 0), *y = fr_gather_mm(rows, t, i, NULL);
    drop(rows);
    drop(i);
    drop(t);
    return y;
}

static fr_array *segmented(fr_array *x)
{
    fr_array *line = fr_arange(0, 4, 1, FR_INT32), *pairs = fr_reshape(line, SHAPE(2, 2), 2),
             *t = fr_transpose(x, NULL, 0), *y = fr_segmented_mm(x, t, pairs);
    drop(line);
    drop(pairs);
    drop(t);
    return y;
}

#define OF_X(name, expression)                                                                 \
    static fr_array *name(fr_array *x) { return expression; }
OF_X(swapaxes, fr_swapaxes(x, 0, -1))
OF_X(moveaxis, fr_moveaxis(x, 1, 0))
OF_X(matrix_transpose, fr_matrix_transpose(x))
OF_X(unflatten, fr_unflatten(x, 1, SHAPE(-1, 2), 2))
OF_X(atleast_3d, fr_atleast_3d(x))
OF_X(tile, fr_tile(x, SHAPE(1, 2), 2))
OF_X(repeat, fr_repeat(x, 2, 1))
OF_X(roll, fr_roll(x, SHAPE(1, -1), 2, AXES(0, 1)))
OF_X(roll_all, fr_roll(x, SHAPE(5), 1, NULL))
OF_X(flip, fr_flip(x, AXES(1), 1))
OF_X(edge, fr_pad_with(x, SHAPE(0, 1), SHAPE(1, 2), FR_PAD_EDGE))
OF_X(reflect, fr_pad_with(x, SHAPE(0, 2), SHAPE(0, 1), FR_PAD_REFLECT))
OF_X(symmetric, fr_pad_with(x, SHAPE(0, 2), SHAPE(0, 1), FR_PAD_SYMMETRIC))
OF_X(wrap, fr_pad_with(x, SHAPE(0, 6), SHAPE(0, 1), FR_PAD_WRAP))
OF_X(strided, fr_as_strided(x, SHAPE(2, 3), SHAPE(1, 4), 2, 1))
OF_X(diagonal, fr_diagonal(x, 1, 0, 1))
OF_X(diag_above, flat(x, fr_diag, 1))
OF_X(diag_below, flat(x, fr_diag, -1))
OF_X(trace, fr_matrix_trace(x, -1, 0, 1))
OF_X(tril, fr_tril(x, 0))
OF_X(triu, fr_triu(x, 1))
OF_X(tri, (x ? fr_tri(2, 3, 0, FR_INT8) : NULL))
OF_X(eye, (x ? fr_eye(2, 3, 1, FR_BOOL) : NULL))
OF_X(linspace, (x ? fr_linspace(0, 1, 5, true, FR_FLOAT32) : NULL))
OF_X(linspace_open, (x ? fr_linspace(0, 1, 4, false, FR_FLOAT64) : NULL))
OF_X(hanning, (x ? fr_hanning(1) : NULL))
OF_X(bartlett, (x ? fr_bartlett(5) : NULL))
OF_X(equal, fr_array_equal(x, x, true))
OF_X(nonzero, fr_count_nonzero(x, &(fr_reduce_options){.axes = AXES(1), .naxes = 1}))
OF_X(diff, fr_diff(x, 2, 0))
OF_X(outer, fr_outer(x, x))
OF_X(inner, fr_inner(x, x))
OF_X(vdot, fr_vdot(x, x))
OF_X(vecdot, fr_vecdot(x, x, 0))
OF_X(kron, fr_kron(x, x))
OF_X(tensordot, fr_tensordot(x, x, 1, AXES(0), AXES(0)))
OF_X(hadamard, fr_hadamard_transform(x, 1))
OF_X(norm, fr_norm(x, NULL))
OF_X(norm_of_rows,
     fr_norm(x, &(fr_norm_options){
                    .kind = FR_NORM_ORDER, .order = 1, .axes = AXES(1), .naxes = 1}))
OF_X(norm_of_matrix, fr_norm(x, &(fr_norm_options){.kind = FR_NORM_ORDER, .order = 1}))

static fr_array *convolve(fr_array *x)
{
    fr_array *a = fr_ones(SHAPE(3), 1, FR_FLOAT32), *b = fr_ones(SHAPE(2), 1, FR_FLOAT32);
    (void)x;
    fr_array *y = fr_convolve(a, b, FR_CONVOLVE_FULL);
    drop(a);
    drop(b);
    return y;
}

static fr_array *cross(fr_array *x)
{
    fr_array *b = fr_ones(SHAPE(3, 1), 2, FR_INT32), *y = fr_cross(x, b, 0);
    drop(b);
    return y;
}

static const struct {
    const char *name;
    fr_array *(*make)(fr_array *x);
    const char *text; /* NULL: too long to say, see the tests from Python */
} cases[] = {
#define CASE(f, text)                                                                          \
    {                                                                                          \
#f, f, text                                                                            \
    }
    CASE(split_at, "array([[0, 1, 4],\n       [5, 8, 9],\n       [1, 2, 5],\n       [6, 9, "
                   "10],\n       [3, 7, 11]], dtype=int32)"),
    CASE(split, "array([[0, 1, 4],\n       [5, 8, 9],\n       [2, 3, 6],\n       [7, 10, 11]], "
                "dtype=int32)"),
    CASE(unstack, "array([[0, 4, 8],\n       [1, 5, 9],\n       [2, 6, 10],\n       [3, 7, "
                  "11]], dtype=int32)"),
    CASE(broadcast, NULL),
    CASE(meshgrid, "array([[0, 1, 0],\n       [1, 0, 1],\n       [5, 5, 6],\n       [6, 7, "
                   "7]], dtype=int32)"),
    CASE(slice, "array([[5, 6],\n       [9, 10]], dtype=int32)"),
    CASE(slice_update,
         "array([[0, 1, 2, 3],\n       [4, 5, 1, 1],\n       [8, 9, 1, 1]], dtype=int32)"),
    CASE(swapaxes, NULL),
    CASE(moveaxis, NULL),
    CASE(matrix_transpose, NULL),
    CASE(unflatten, NULL),
    CASE(atleast_3d, NULL),
    CASE(tile, NULL),
    CASE(repeat, NULL),
    CASE(roll,
         "array([[9, 10, 11, 8],\n       [1, 2, 3, 0],\n       [5, 6, 7, 4]], dtype=int32)"),
    CASE(roll_all,
         "array([[7, 8, 9, 10],\n       [11, 0, 1, 2],\n       [3, 4, 5, 6]], dtype=int32)"),
    CASE(flip,
         "array([[3, 2, 1, 0],\n       [7, 6, 5, 4],\n       [11, 10, 9, 8]], dtype=int32)"),
    CASE(edge, NULL),
    CASE(reflect, "array([[2, 1, 0, ..., 2, 3, 2],\n       [6, 5, 4, ..., 6, 7, 6],\n       "
                  "[10, 9, 8, ..., 10, 11, 10]], dtype=int32)"),
    CASE(symmetric, NULL),
    CASE(wrap, NULL),
    CASE(strided, "array([[1, 5, 9],\n       [2, 6, 10]], dtype=int32)"),
    CASE(diagonal, "array([1, 6, 11], dtype=int32)"),
    CASE(diag_above, "array([[0, 1, 0],\n       [0, 0, 2],\n       [0, 0, 0]], dtype=int32)"),
    CASE(diag_below, "array([[0, 0, 0],\n       [1, 0, 0],\n       [0, 2, 0]], dtype=int32)"),
    CASE(trace, "array(13, dtype=int32)"),
    CASE(tril,
         "array([[0, 0, 0, 0],\n       [4, 5, 0, 0],\n       [8, 9, 10, 0]], dtype=int32)"),
    CASE(triu,
         "array([[0, 1, 2, 3],\n       [0, 0, 6, 7],\n       [0, 0, 0, 11]], dtype=int32)"),
    CASE(tri, "array([[1, 0, 0],\n       [1, 1, 0]], dtype=int8)"),
    CASE(eye, "array([[False, True, False],\n       [False, False, True]], dtype=bool)"),
    CASE(linspace, "array([0, 0.25, 0.5, 0.75, 1], dtype=float32)"),
    CASE(linspace_open, "array([0, 0.25, 0.5, 0.75], dtype=float64)"),
    CASE(hanning, "array([1], dtype=float32)"),
    CASE(bartlett, "array([0, 0.5, 1, 0.5, 0], dtype=float32)"),
    CASE(equal, "array(True, dtype=bool)"),
    CASE(nonzero, "array([3, 4, 4], dtype=int32)"),
    CASE(diff, "array([[0, 0, 0, 0]], dtype=int32)"),
    CASE(outer, NULL),
    CASE(inner,
         "array([[14, 38, 62],\n       [38, 126, 214],\n       [62, 214, 366]], dtype=int32)"),
    CASE(vdot, "array(506, dtype=int32)"),
    CASE(vecdot, "array([80, 107, 140, 179], dtype=int32)"),
    CASE(kron, NULL),
    CASE(tensordot, NULL),
    CASE(einsum_of_three, NULL),
    CASE(einsum_trace, "array([100, 115, 130, 145], dtype=int32)"),
    CASE(masked, NULL),
    CASE(gathered, NULL),
    CASE(segmented, NULL),
    CASE(hadamard, NULL),
    CASE(norm, NULL),
    CASE(norm_of_rows, "array([6, 22, 38], dtype=float32)"),
    CASE(norm_of_matrix, "array(21, dtype=float32)"),
    CASE(convolve, "array([1, 2, 2, 1], dtype=float32)"),
    CASE(cross, "array([[-4, -4, -4, -4],\n       [8, 8, 8, 8],\n       [-4, -4, -4, -4]], "
                "dtype=int32)"),
};
enum { CASES = sizeof cases / sizeof cases[0] };

static fr_array *numbers(void)
{
    fr_array *line = fr_arange(0, 12, 1, FR_INT32), *x = fr_reshape(line, SHAPE(3, 4), 2);
    drop(line);
    return x;
}

static bool checked(const char *name, fr_array *y, const char *text)
{
    char *got = y ? fr_to_text(y) : NULL;
    bool good = got && (!text || !strcmp(got, text));
    if (!good)
        printf("     %s: %s\n", name, got ? got : fr_error_message());
    fr_text_free(got);
    return good;
}

TEST(values_in_a_scope)
{
    scoped = true;
    for (int i = 0; i < CASES; i++) {
        fr_scope *s = fr_scope_open();
        EXPECT(checked(cases[i].name, cases[i].make(numbers()), cases[i].text));
        fr_scope_close(s);
        fr_error_clear();
    }
}

/* Everything made on the way goes: the bytes in use are those from before. */
TEST(values_without_a_scope)
{
    scoped = false;
    for (int i = 0; i < CASES; i++) {
        size_t before = fr_memory().active;
        fr_array *x = numbers(), *y = cases[i].make(x);
        EXPECT(checked(cases[i].name, y, cases[i].text));
        fr_free(x);
        fr_free(y);
        fr_error_clear();
        if (!EXPECT_EQ(fr_memory().active, before))
            printf("     %s\n", cases[i].name);
    }
}

/* Building the graph with the nth allocation failing: an error, and nothing is left. */
static void fail_each(int which, bool in_scope)
{
    scoped = in_scope;
    for (int64_t n = 1;; n++) {
        fr__fault_set(n);
        fr_scope *s = in_scope ? fr_scope_open() : NULL;
        fr_array *x = numbers(), *y = cases[which].make(x);
        bool reached = fr__fault_count() >= n;
        fr_error_kind kind = fr_error();
        EXPECT(y ? kind == FR_OK : kind == FR_ERROR_MEMORY);
        drop(x);
        drop(y);
        fr_scope_close(s);
        EXPECT_EQ(fr__fault_live(), 0);
        if (test_failures)
            printf("     %s, allocation %lld: %s\n", cases[which].name, (long long)n,
                   fr_error_message());
        fr_error_clear();
        fr__fault_set(0);
        if (!reached || test_failures)
            return;
    }
}

TEST(failing_allocations)
{
    for (int i = 0; i < CASES && !test_failures; i++) {
        fail_each(i, false);
        fail_each(i, true);
    }
}

/* ---- errors ------------------------------------------------------------------------------- */

#define FAILS(expression, kind, beginning)                                                     \
    do {                                                                                       \
        EXPECT((expression) == 0);                                                             \
        EXPECT_EQ(fr_error(), kind);                                                           \
        if (!EXPECT(!strncmp(fr_error_message(), beginning, strlen(beginning))))               \
            printf("     %s\n", fr_error_message());                                           \
        fr_error_clear();                                                                      \
    } while (0)

TEST(errors)
{
    scoped = true;
    fr_scope *s = fr_scope_open();
    fr_array *x = numbers(), *to[4];
    FAILS(fr_swapaxes(x, 0, 2), FR_ERROR_INDEX, "swapaxes: axis 2");
    FAILS(fr_unflatten(x, 0, SHAPE(2, -1), 2), FR_ERROR_VALUE, "unflatten: axis 0");
    FAILS(fr_unflatten(x, 0, NULL, 0), FR_ERROR_VALUE, "unflatten: axis 0");
    FAILS(fr_split(x, 2, 0, to) + 1, FR_ERROR_VALUE, "split: axis 0 of int32[3,4] has no 2");
    FAILS(fr_split_at(x, -1, NULL, 0, to) + 1, FR_ERROR_VALUE, "split");
    FAILS(fr_roll(x, SHAPE(1, 2), 2, NULL), FR_ERROR_VALUE, "roll: 2 shifts");
    FAILS(fr_pad_with(x, SHAPE(0, -1), SHAPE(0, 0), FR_PAD_EDGE), FR_ERROR_VALUE,
          "pad: by less");
    FAILS(fr_pad_with(x, SHAPE(0, 0), SHAPE(0, 0), (fr_pad_mode)9), FR_ERROR_VALUE, "pad: 9");
    FAILS(fr_pad_with(x, SHAPE(0, INT64_MAX), SHAPE(0, 1), FR_PAD_EDGE), FR_ERROR_LIMIT, "pad");
    FAILS(fr_as_strided(x, SHAPE(12), NULL, 1, 1), FR_ERROR_VALUE, "as_strided: [12] from 1");
    FAILS(fr_tri(-1, 2, 0, FR_INT8), FR_ERROR_VALUE, "tri: -1 rows");
    FAILS(fr_eye(1, 2, 0, FR_DTYPE_COUNT), FR_ERROR_TYPE, "astype");
    FAILS(fr_linspace(0, 1, -1, true, FR_FLOAT32), FR_ERROR_VALUE, "linspace: -1");
    FAILS(fr_einsum("ij,jk", 1, &x), FR_ERROR_VALUE, "einsum: 1 operands, but more");
    FAILS(fr_einsum("ij", 0, NULL), FR_ERROR_VALUE, "einsum: no operands");
    FAILS(fr_tensordot(x, x, 1, AXES(0), AXES(1)), FR_ERROR_VALUE, "tensordot: the sizes");
    FAILS(fr_tensordot(x, x, 3, AXES(0), AXES(1)), FR_ERROR_VALUE, "tensordot: over 3");
    EXPECT(fr_einsum("ij", 1, (fr_array *[]){NULL}) == NULL);
    EXPECT(fr_tile(NULL, NULL, 0) == NULL && fr_error() == FR_OK);
    EXPECT(fr_kron(x, NULL) == NULL && fr_error() == FR_OK);
    fr_scope_close(s);
}

TEST(einsum_path)
{
    scoped = true;
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_zeros(SHAPE(100, 2), 2, FR_FLOAT32), *t = fr_transpose(x, NULL, 0);
    int path[3][2];
    fr_einsum_cost cost;
    CHECK_EQ(fr_einsum_path("ij,jk,kl->il", 3, (fr_array *[]){x, t, x}, path, &cost), 2);
    CHECK(path[0][0] == 1 && path[0][1] == 2 && path[1][0] == 0 && path[1][1] == 1);
    CHECK(cost.naive_scaling == 4 && cost.scaling == 3);
    CHECK(cost.naive_flops == 3 * 100. * 2 * 100 * 2 && cost.flops == 2 * 800.);
    CHECK_EQ(fr_einsum_path("ij->ji", 1, &x, path, NULL), 1);
    CHECK(path[0][0] == 0 && path[0][1] == -1);
    fr_scope_close(s);
}
