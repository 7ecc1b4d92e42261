/* test_faults.c - the nth allocation fails, for every n, in everything that allocates
 *
 * A program makes arrays, gets values, checks them and frees all it made, whatever failed on the
 * way: 0, or -1 with an error. For every n it is run with the nth allocation failing: it must
 * succeed or end with a MEMORY error, leave nothing behind, and work when it is run again.
 */
#define _GNU_SOURCE
#include "ferrule/ferrule.h"
#include "base/base.h"
#include "base/pool.h"
#include "graph_moves.h"
#include "run/diskcache.h"
#include "run/plan.h"
#include "test.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/ferrule-faults-XXXXXX";

/* The disk cache in a folder of this test; before anybody asks for it. */
__attribute__((constructor)) static void own_cache(void)
{
    if (mkdtemp(folder))
        setenv("FERRULE_CACHE_DIR", folder, 1);
    setenv("FERRULE_CACHE", "on", 1);
    unsetenv("FERRULE_TIER");
    unsetenv("FERRULE_DISABLE_COMPILE");
    unsetenv("MLX_DISABLE_COMPILE");
}

static void empty_folder(void)
{
    DIR *dir = opendir(folder);
    char path[400];
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (d->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
            unlink(path);
        }
    if (dir)
        closedir(dir);
}

__attribute__((destructor)) static void remove_folder(void)
{
    empty_folder();
    rmdir(folder);
}

/* ---- the harness -------------------------------------------------------------------------------- */

typedef int program(void);

static void clear_caches(void)
{
    fr__plan_clear_cache();
    fr__kcache_clear();
}

static int64_t interpreted(program *p, int *status)
{
    int64_t before = fr_count(FR_COUNT_INTERPRETED);
    *status = p();
    return fr_count(FR_COUNT_INTERPRETED) - before;
}

/* before: makes each run start alike. Gives the number of allocations that failed. */
static int fail_each(program *p, void (*before)(void))
{
    int status, failed = 0;
    before();
    p(); /* what is made once and stays is made here */
    before();
    int64_t usual = interpreted(p, &status);
    if (!EXPECT_EQ(status, 0) || !EXPECT_EQ(fr_error(), FR_OK)) {
        printf("     %s\n", fr_error_message());
        fr_error_clear();
        return 0;
    }
    size_t active = fr_memory().active;
    for (int64_t n = 1;; n++) {
        before();
        fr__fault_set(n);
        status = p();
        bool reached = fr__fault_count() >= n;
        fr_error_kind kind = fr_error();
        EXPECT_EQ(kind, status ? FR_ERROR_MEMORY : FR_OK);
        if (kind != FR_OK && kind != FR_ERROR_MEMORY)
            printf("     n %lld: %s\n", (long long)n, fr_error_message());
        failed += status != 0;
        fr_error_clear();
        if (reached) { /* what was cached must be good */
            int64_t now = interpreted(p, &status);
            EXPECT_EQ(status, 0);
            EXPECT(now <= usual); /* fewer where work has added up to machine code */
        }
        before();
        EXPECT_EQ(fr__fault_live(), 0);
        EXPECT_EQ(fr_memory().active, active);
        fr__fault_set(0);
        if (test_failures) {
            printf("     at allocation %lld: %s\n", (long long)n, fr_error_message());
            fr_error_clear();
            return failed;
        }
        if (!reached)
            return failed;
    }
}

#define FAULTS(name)                                                                           \
    TEST(name) { EXPECT(fail_each(program_##name, clear_caches) > 0); }

/* ---- pieces ------------------------------------------------------------------------------------- */

/* 0 if all n elements of float32 x are near f of their number; an error of ours says what isn't. */
static int near_all(fr_array *x, double (*f)(int64_t))
{
    enum { MOST = 1 << 18 };
    static _Thread_local float got[MOST];
    int64_t n = fr_size(x);
    if (n > MOST || fr_copy_out(x, got, sizeof *got * (size_t)n))
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (fabs(got[i] - f(i)) > 1e-4 * (1 + fabs(f(i)))) {
            fr_error_set(FR_ERROR_INTERNAL, "wrong value");
            return -1;
        }
    return 0;
}

static int is(fr_array *x, double want)
{
    double v;
    if (fr_item(x, &v))
        return -1;
    if (fabs(v - want) > 1e-4 * (1 + fabs(want))) {
        fr_error_set(FR_ERROR_INTERNAL, "wrong value");
        return -1;
    }
    return 0;
}

static fr_array *counted(int64_t rows, int64_t columns) /* 0, 1, 2 ... from memory */
{
    static _Thread_local float data[1 << 18];
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] = (float)i;
    return fr_from_data(data, FR_FLOAT32, (int64_t[]){rows, columns}, 2);
}

#define IN_SCOPE(name)                                                                         \
    static int inside_##name(void);                                                            \
    static int program_##name(void)                                                            \
    {                                                                                          \
        fr_scope *s = fr_scope_open();                                                         \
        int status = s ? inside_##name() : -1;                                                 \
        fr_scope_close(s);                                                                     \
        return status;                                                                         \
    }                                                                                          \
    FAULTS(name)                                                                               \
    static int inside_##name(void)

/* ---- lazy arrays ----------------------------------------------------------------------------------- */

static double twice_plus(int64_t i) { return 2.5 * (double)i + 1; }

IN_SCOPE(elementwise)
{
    fr_array *x = counted(5, 7);
    return near_all(fr_add(fr_mul(x, 2.5), 1), twice_plus);
}

/* Without a scope every intermediate result is the caller's. */
static int program_handles(void)
{
    fr_array *x = counted(5, 7), *y = fr_mul(x, 2.5), *z = fr_add(y, 1),
             *w = fr_reshape(z, (int64_t[]){-1}, 1);
    int status = near_all(w, twice_plus);
    fr_free(x);
    fr_free(y);
    fr_free(z);
    fr_free(w);
    return status;
}
FAULTS(handles)

static int program_composed(void)
{
    int axis = 0;
    fr_reduce_options o = {.axes = &axis, .naxes = 1, .keepdims = true};
    fr_array *x = counted(5, 7), *made[] = {
                                     fr_softmax(x, &o),
                                     fr_logsumexp(x, &o),
                                     fr_std(x, &o),
                                     fr_mean(x, NULL),
                                     fr_var(x, NULL),
                                     fr_arange(0, 10, 1, FR_INT32),
                                     fr_arange(1, 10, 2, FR_FLOAT32),
                                     fr_full(NULL, 0, 3, FR_INT32),
                                     fr_full((int64_t[]){3}, 1, 3, FR_FLOAT32),
                                     fr_sum(x, &o),
                                     fr_contiguous(x),
                                     fr_astype(x, FR_FLOAT32),
                                 };
    int n = FR__COUNT(made), status = fr_eval_all(n, made);
    if (!status)
        status = is(made[3], 17);
    for (int i = 0; i < n; i++)
        fr_free(made[i]);
    fr_free(x);
    return status;
}
FAULTS(composed)

/* Arrays put together from parts, with no scope to clean up after them. */
static int program_parts(void)
{
    fr_array *x = counted(4, 3), *t = fr_transpose(x, NULL, 0),
             *two = fr_arange(0, 2, 1, FR_INT32);
    fr_array *both[] = {x, x}, *made[] = {
                                   fr_concatenate(2, both, 0),
                                   fr_stack(2, both, 1),
                                   fr_pad(x, (int64_t[]){1, 0}, (int64_t[]){0, 2}, NULL),
                                   fr_slice_update(x, two, (int64_t[]){3, 0},
                                                   (int64_t[]){-2, 2}, (int64_t[]){2, 2}),
                                   fr_take(x, two, 0),
                                   (fr_matmul)(x, t),
                                   (fr_matmul)(two, two),
                               };
    int n = FR__COUNT(made), status = fr_eval_all(n, made);
    if (!status)
        status = is(made[6], 1);
    for (int i = 0; i < n; i++)
        fr_free(made[i]);
    fr_free(two);
    fr_free(t);
    fr_free(x);
    return status;
}
FAULTS(parts)

IN_SCOPE(softmax)
{
    int axis = 1;
    fr_reduce_options o = {.axes = &axis, .naxes = 1};
    return is(fr_sum(fr_softmax(fr_mul(counted(9, 40), 0.1), &o), NULL), 9);
}

IN_SCOPE(split_reductions)
{
    int axis = 0;
    fr_reduce_options o = {.axes = &axis, .naxes = 1};
    fr_array *x = counted(1000, 200), *half = fr_astype(fr_mul(x, 0), FR_FLOAT16);
    if (is(fr_max(fr_sum(fr_mul(x, 1e-3), &o), NULL),
           1e-3 * (199.0 * 1000 + 200.0 * 999 * 500)))
        return -1;
    return is(fr_add(fr_sum(fr_mul(x, 1e-6), NULL), fr_sum(half, NULL)),
              1e-6 * 200000.0 * 199999 / 2);
}

static double transposed(int64_t i) { return (double)(i % 5 * 7 + 6 - i / 5); }

IN_SCOPE(views)
{
    fr_array *x = counted(5, 7), *pending = fr_add(x, 0.25);
    fr_array *y = fr_slice(fr_transpose(x, NULL, 0), (int64_t[]){6, 0}, (int64_t[]){-1, 1},
                           (int64_t[]){7, 5});
    fr_array *z = fr_slice(fr_transpose(pending, NULL, 0), (int64_t[]){6, 0},
                           (int64_t[]){-1, 1}, (int64_t[]){7, 5});
    fr_array *flat = fr_flatten(fr_squeeze(fr_expand_dims(z, (int[]){1}, 1), NULL, 0), 0, 1);
    if (near_all(y, transposed) || near_all(fr_sub(flat, 0.25), transposed))
        return -1;
    return is(fr_sum(fr_broadcast_to(fr_reshape(fr_slice(x, (int64_t[]){1, 1},
                                                         (int64_t[]){1, 1}, (int64_t[]){1, 1}),
                                                NULL, 0),
                                     (int64_t[]){3, 4}, 2),
                     NULL),
              96);
}

IN_SCOPE(random)
{
    fr_array *key = fr_random_key(7), *keys = fr_random_split(key, 2);
    fr_array *k =
        fr_reshape(fr_slice(keys, (int64_t[]){1, 0}, (int64_t[]){1, 1}, (int64_t[]){1, 2}),
                   (int64_t[]){2}, 1);
    fr_array *u = fr_random_uniform((int64_t[]){50, 3}, 2, FR_FLOAT16, k),
             *n = fr_random_normal((int64_t[]){100}, 1, FR_FLOAT32, NULL);
    return is(
        fr_astype(fr_logical_and(fr_all(fr_lt(fr_abs(n), 8), NULL), fr_all(fr_lt(u, 1), NULL)),
                  FR_FLOAT32),
        1);
}

static int released;
static void count_release(void *ctx) { released += ctx == &released; }

static int program_borrowed(void)
{
    static float data[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    int before = released;
    fr_array *x = fr_from_buffer(data + 11, FR_FLOAT32, (int64_t[]){3, 4}, 2,
                                 (int64_t[]){-16, -4}, count_release, &released);
    fr_array *y = fr_sum(x, NULL), *z = fr_transpose(x, NULL, 0);
    int status = y ? is(y, 66) : -1;
    bool made = x != NULL;
    fr_free(y);
    fr_free(x);
    EXPECT(!z || released == before); /* the view still uses it */
    fr_free(z);
    EXPECT_EQ(released - before, made);
    return z ? status : -1;
}
FAULTS(borrowed)

IN_SCOPE(many_outputs)
{
    fr_array *out[40], *x = counted(3, 3);
    for (int i = 0; i < FR__COUNT(out); i++)
        out[i] = fr_add(fr_mul(x, i), 1);
    if (fr_eval_all(FR__COUNT(out), out))
        return -1;
    return is(fr_sum(out[39], NULL), 39 * 36 + 9);
}

IN_SCOPE(text)
{
    char *text = fr_to_text(counted(2, 2));
    if (!text)
        return -1;
    EXPECT(!strcmp(text, "array([[0, 1],\n       [2, 3]], dtype=float32)"));
    fr_text_free(text);
    return 0;
}

IN_SCOPE(describe)
{
    fr_array *y = fr_sum(fr_exp(counted(2, 2)), NULL);
    char *text = fr_describe(1, &y);
    if (!text)
        return -1;
    EXPECT(strstr(text, "exp") && strstr(text, "kernel 0"));
    fr_text_free(text);
    return 0;
}

IN_SCOPE(scopes)
{
    fr_array *kept = NULL;
    fr_scope *a = fr_scope_open(), *b = fr_scope_open();
    if (b)
        kept = fr_keep(fr_add(counted(1, 1), 5));
    fr_scope_close(a); /* closes b too */
    int status = kept ? is(kept, 5) : -1;
    fr_free(kept);
    return a && b ? status : -1;
}

/* A large graph: every table grows. */
IN_SCOPE(chain)
{
    fr_array *x = counted(1, 2);
    for (int i = 0; i < 600; i++)
        x = fr_add(fr_mul(x, i % 7 ? 1.25 : 0.3), i);
    return fr_eval(x);
}

/* ---- compile ------------------------------------------------------------------------------------------ */

static int affine(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *captured = *(fr_array **)ctx;
    out[0] = fr_add(fr_mul(in[0], 2.5), fr_add(captured, 1));
    out[1] = fr_sum(fr_exp(fr_mul(in[n_in - 1], 0)), NULL);
    return n_out != 2;
}

static int freed;
static void count_free(void *ctx) { freed += ctx != NULL; }

static int compiled(int calls)
{
    int before = freed;
    fr_array *zero = fr_zeros((int64_t[]){7}, 1, FR_FLOAT32),
             *lazy = fr_mul(counted(1, 7), zero), *x = NULL;
    fr_function *f = fr_compile(
        affine, &lazy, &(fr_compile_options){.name = "affine", .free_ctx = count_free});
    int status = f ? 0 : -1;
    for (int i = 0; !status && i < calls; i++) {
        fr_array *out[2];
        x = fr_add(counted(5, 7), 0);
        status = fr_call(f, 1, &x, 2, out);
        if (!status)
            status = near_all(out[0], twice_plus) || is(out[1], 35) ? -1 : 0;
    }
    fr_function_free(f);
    EXPECT_EQ(freed - before, f != NULL);
    return status;
}

IN_SCOPE(compiled_first) { return compiled(1); }
IN_SCOPE(compiled_again) { return compiled(3); }

static int call_again(void) /* of a function that is there */
{
    static fr_function *f;
    static fr_array *none;
    fr_scope *s = fr_scope_open();
    fr_array *x = s ? counted(5, 7) : NULL, *out[2];
    int status = -1;
    if (!f) {
        none = fr_zeros(NULL, 0, FR_FLOAT32);
        fr_eval(none);
        none = fr_keep(none);
        f = fr_compile(affine, &none, NULL);
    }
    if (x)
        status = fr_call(f, 1, &x, 2, out);
    if (!status)
        status = near_all(out[0], twice_plus) || is(out[1], 35) ? -1 : 0;
    fr_scope_close(s);
    return status;
}
static void nothing(void) {}
TEST(compiled_hit) { EXPECT(fail_each(call_again, nothing) > 0); }

static fr_array *state; /* of a function that updates it in place */

static int add_to_state(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    state = fr_add(state, in[0]);
    out[0] = fr_sum(in[0], NULL);
    return 0;
}

static int update_state(void)
{
    static fr_function *f;
    static float expected;
    if (!state) {
        state = fr_zeros((int64_t[]){7}, 1, FR_FLOAT32);
        f = fr_compile(add_to_state, NULL,
                       &(fr_compile_options){.nslots = 1, .slots = (fr_array * *[]){&state}});
    }
    fr_array *x = fr_ones((int64_t[]){7}, 1, FR_FLOAT32), *out = NULL;
    fr_view before = {0}, after = {0};
    int status = x && !fr_access(state, &before) ? fr_call(f, 1, &x, 1, &out) : -1;
    if (status && before.data) { /* not there yet, and where it was */
        EXPECT(*(const float *)before.data == expected && fr_is_done(state));
    } else if (!status) {
        EXPECT(!fr_access(state, &after) && *(const float *)after.data == ++expected);
        fr_free(out);
    }
    fr_free(x);
    return status;
}
TEST(state_in_place) { EXPECT(fail_each(update_state, nothing) > 0); }

/* The machine code comes from LLVM each time, and goes to the disk. */
static void clear_all(void)
{
    clear_caches();
    empty_folder();
}
static int compiled_once(void)
{
    fr_scope *s = fr_scope_open();
    int status = s ? compiled(1) : -1;
    fr_scope_close(s);
    return status;
}
TEST(generated) { EXPECT(fail_each(compiled_once, clear_all) > 0); }

IN_SCOPE(traced_by_pieces)
{
    fr_array *x = counted(2, 3), *p, *turned, *out[2], *res[2];
    fr_function *f = fr_function_new("pieces", 0);
    fr_trace *t = f ? fr_trace_begin(f, 1, &x, &p, "here") : NULL;
    int status = -1;
    if (t) {
        out[0] = fr_add(p, 1);
        turned = fr_transpose(p, NULL, 0);
        out[1] = fr_reshape(turned, (int64_t[]){6}, 1);
        fr_free(turned);
        fr_program *q =
            out[0] && out[1] ? fr_trace_end(t, "key", 3, 2, out) : (fr_trace_abandon(t), NULL);
        fr_free(out[0]);
        fr_free(out[1]);
        fr_free(p);
        if (q) {
            char *text = fr_program_describe(q);
            status = text ? fr_program_run(q, 1, &x, 2, res) : -1;
            fr_text_free(text);
            if (!status)
                status = is(fr_sum(fr_add(res[0], 0), NULL), 21) || is(fr_sum(res[1], NULL), 15)
                             ? -1
                             : 0;
            fr_program_free(q);
        }
    }
    if (!status) { /* and one that is given up */
        t = fr_trace_begin(f, 1, &x, &p, NULL);
        status = t ? 0 : -1;
        if (t) {
            fr_array *y = fr_exp(p);
            fr_trace_abandon(t);
            fr_free(y);
            fr_free(p);
        }
    }
    fr_function_free(f);
    return status || fr_error() ? -1 : 0;
}

static int inner(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = fr_mul(in[0], 2.5);
    return 0;
}

static int outer(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_in, (void)n_out;
    out[0] = fr_add(fr_call1(*(fr_function **)ctx, in[0]), 1);
    return 0;
}

IN_SCOPE(nested)
{
    fr_function *f = fr_compile(inner, NULL, NULL), *g = fr_compile(outer, &f, NULL);
    fr_array *x = counted(3, 3), *y = f && g ? fr_call1(g, x) : NULL;
    int status = y ? near_all(y, twice_plus) : -1;
    fr_function_free(g);
    fr_function_free(f);
    return status;
}

static int mean_and_more(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)n_in, (void)n_out;
    out[0] = fr_sum(fr_add(fr_mul(in[0], *(fr_array **)ctx), fr_mean(in[0], NULL)), NULL);
    return 0;
}

static int with_options(fr_compile_options o)
{
    fr_array *two = fr_full(NULL, 0, 2, FR_FLOAT32);
    fr_function *f = two && !fr_eval(two) ? fr_compile(mean_and_more, &two, &o) : NULL;
    int status = f ? 0 : -1;
    for (int n = 2; !status && n < 5; n++) {
        double sum = n * 4.0 * (n * 4.0 - 1) / 2;
        status = is(fr_call1(f, counted(n, 4)), 3 * sum);
    }
    char *text = status ? NULL : fr_explain(f), *dot = NULL;
    fr_program *p = NULL;
    if (text && fr_function_programs(f, 1, &p))
        dot = fr_program_dot(p);
    status = dot ? status : -1;
    fr_text_free(text);
    fr_text_free(dot);
    fr_program_free(p);
    fr_function_free(f);
    return status;
}

IN_SCOPE(shapeless) { return with_options((fr_compile_options){.shapeless = true}); }
IN_SCOPE(checked) { return with_options((fr_compile_options){.check = true}); }

IN_SCOPE(trapped)
{
    fr_debug_nans(true);
    int status = with_options((fr_compile_options){.name = "trapped"});
    fr_debug_nans(false);
    return status;
}

/* ---- what is made of operations: shapes, products, complex numbers, derivatives -------------------------- */

static int move_now;

static int program_move(void)
{
    fr_scope *s = fr_scope_open();
    fr_array *x = s ? counted(4, 4) : NULL;
    int status = -1;
    if (x) {
        fr_array *y = moves[move_now].function(fr_add(x, 1), 1, 1);
        fr_array *z = moves[move_now].function(fr_astype(x, FR_INT32), 0, -2);
        status = fr_eval_all(2, (fr_array *[]){y, z});
    }
    fr_scope_close(s);
    return status;
}

TEST(moves)
{
    for (move_now = 0; move_now < FR__COUNT(moves); move_now++)
        if (!EXPECT(fail_each(program_move, clear_caches) > 0))
            printf("     in %s\n", moves[move_now].name);
}

/* ---- native operations ------------------------------------------------------------------------ */

static int rising(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_scan_options o = {.axis = ctx};
    (void)n_in, (void)n_out;
    out[0] = fr_sum(fr_add(fr_cummax(in[0], &o), fr_cumprod(in[0], &o)), NULL);
    return 0;
}

/* At 0 1 2 every element is an extreme; only the first one's products of others are not 0. */
static double rise(int64_t i) { return i == 0 ? 1 + 1 + 1 + 2 : 1; }

IN_SCOPE(gradient_of_scans) /* of 0 1 2, back and forward */
{
    int axis = 1;
    fr_array *x = counted(1, 3), *one = fr_ones((int64_t[]){1, 3}, 2, FR_FLOAT32), *out,
             *change;
    fr_array *y, *g;
    if (fr_value_and_grad(rising, &axis, 1, &x, 1, NULL, 1, &y, &g) || near_all(g, rise) ||
        fr_jvp(rising, &axis, 1, &x, &one, 1, &out, &change))
        return -1;
    return is(change, 7);
}

IN_SCOPE(long_rows) /* shared by threads, with room for counts and copies */
{
    int64_t n = 70000;
    fr_array *x = fr_flip(fr_astype(fr_arange(0, (double)n, 1, FR_INT32), FR_FLOAT32), NULL, 0);
    fr_array *count = fr_cumsum(fr_astype(fr_gt(x, 5), FR_INT32), NULL);
    fr_array *order = fr_argsort(x, 0), *sorted = fr_sort(x, 0);
    fr_array *top = fr_argmax(fr_take_along_axis(x, fr_astype(order, FR_INT32), 0), NULL);
    fr_array *zeros = fr_zeros(&n, 1, FR_FLOAT32);
    fr_array *put = fr_put_along_axis(zeros, order, sorted, 0, FR_SCATTER_ADD);
    fr_array *same = fr_all(fr_eq(put, x), NULL), *last = fr_take(count, fr_number_int(-1), 0);
    return is(fr_add(fr_add(top, last), same), 69999.0 + 69994 + 1);
}

IN_SCOPE(choices)
{
    fr_array *key = fr_random_key(3), *x = counted(3, 3);
    fr_array *y = fr_random_categorical(x, 1, NULL, -1, key);
    return is(fr_add(fr_sum(fr_random_permutation(50, key), NULL), fr_mul(fr_sum(y, NULL), 0)),
              49 * 25);
}

static double row_sums(int64_t i) { return 70 * 69 / 2.0 + 4900 * (double)(i / 3); }

IN_SCOPE(product) /* by tiles of stored operands */
{
    fr_array *x = counted(70, 70), *ones = fr_ones((int64_t[]){70, 3}, 2, FR_FLOAT32);
    return near_all(fr_matmul(fr_add(x, 0), ones), row_sums);
}

IN_SCOPE(fused_product)
{
    fr_array *x = fr_astype(counted(4, 4), FR_INT32);
    return is(fr_sum(fr_matmul(x, fr_add(x, 1)), NULL), 4400);
}

IN_SCOPE(complex_numbers)
{
    fr_array *z = fr_mul(counted(3, 3), fr_number_complex(0, 1));
    fr_array *w = fr_mul(z, fr_conjugate(z));
    return is(fr_sum(fr_real(fr_sqrt(w)), NULL), 36);
}

static int curve(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = fr_sum(fr_mul(fr_square(in[0]), fr_max(in[0], NULL)), NULL);
    return 0;
}

static double slope(int64_t i) { return 2 * (double)i * 5 + (i == 5 ? 55 : 0); }

IN_SCOPE(gradient)
{
    fr_array *g = fr_grad(curve, NULL, counted(2, 3));
    return g ? near_all(g, slope) : -1;
}

IN_SCOPE(tangents)
{
    fr_array *x = counted(2, 3), *t = fr_ones((int64_t[]){2, 3}, 2, FR_FLOAT32), *out, *change;
    return fr_jvp(curve, NULL, 1, &x, &t, 1, &out, &change) ? -1 : is(change, 150 + 55);
}

IN_SCOPE(batched)
{
    fr_array *x = counted(2, 3), *out;
    return fr_vmap(curve, NULL, 1, &x, NULL, 1, &out, NULL) ? -1
                                                            : is(fr_sum(out, NULL), 10 + 250);
}

/* More temporaries than are placed by size. */
IN_SCOPE(many_kernels)
{
    fr_array *x = counted(3, 4);
    for (int i = 0; i < 270; i++)
        x = fr_sub(x, fr_mean(x, NULL));
    return fr_eval(x);
}

/* ---- threads ------------------------------------------------------------------------------------------------ */

static int in_threads(void)
{
    fr_scope *s = fr_scope_open();
    int status = s ? inside_elementwise() || inside_softmax() || inside_product() ? -1 : 0 : -1;
    fr_scope_close(s);
    return status;
}

static void *thread_main(void *to)
{
    if (in_threads())
        *(fr_error_kind *)to = fr_error();
    return NULL;
}

/* Who meets the failure is chance; everybody else must not notice. */
static int program_threads(void)
{
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    fr_error_kind kinds[THREADS] = {FR_OK};
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, thread_main, &kinds[i]))
            return -1;
    int failed = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (kinds[i] && !failed++)
            fr_error_set(kinds[i], "in a thread");
    }
    EXPECT(failed <= 1); /* one allocation fails */
    return failed ? -1 : 0;
}
FAULTS(threads)

/* ---- transformations ---------------------------------------------------------------------------- */

static int triple(void *ctx, int n_in, fr_array *const *in, int n_out,
                  fr_array *const *cotangents, fr_array *const *out, fr_array **grads)
{
    (void)ctx, (void)n_in, (void)in, (void)n_out, (void)out;
    grads[0] = fr_mul(cotangents[0], 3);
    return 0;
}

static int same_changes(void *ctx, int n_in, fr_array *const *in, fr_array *const *tangents,
                        int n_out, fr_array **changes)
{
    (void)ctx, (void)n_in, (void)in, (void)n_out;
    changes[0] = fr_mul(tangents[0], 3);
    return 0;
}

static int with_rules(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_custom_rules rules = {.vjp = triple, .jvp = same_changes};
    return fr_custom(inner, &rules, ctx, n_in, in, n_out, out);
}

/* Of every kind of rule something: the sum of 3 x + 3 x + 2.5 x. */
static int many_rules(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx;
    fr_array *y, *z, *x = in[0], *three = fr_arange(0, 3, 1, FR_INT32);
    fr_array *zero = fr_mul(x, 0.0), *parts[2] = {x, zero};
    if (with_rules(NULL, n_in, in, n_out, &y) ||
        fr_checkpoint(inner, NULL, n_in, in, n_out, &z))
        return -1;
    z = fr_add(z, fr_slice_update(zero, fr_sum(zero, NULL), (int64_t[]){0, 0},
                                  (int64_t[]){1, 1}, (int64_t[]){3, 1}));
    z = fr_add(z, fr_take(zero, three, 0));
    fr_array *joined = fr_sum(fr_concatenate(2, parts, 0), NULL);
    fr_array *nothing =
        fr_prod(fr_add(zero, 1), &(fr_reduce_options){.axes = (int[]){0}, .naxes = 1});
    out[0] = fr_add(fr_sum(fr_add(fr_add(y, z), fr_matmul(zero, x)), NULL),
                    fr_mul(fr_add(joined, fr_max(zero, NULL)), 3));
    out[0] = fr_add(out[0], fr_mul(fr_sum(nothing, NULL), 0.0));
    return 0;
}

static double eight_and_half(int64_t i)
{
    (void)i;
    return 8.5;
}

IN_SCOPE(gradient_by_rules)
{
    fr_array *x = counted(3, 3), *y, *g;
    fr_eval(x);
    if (fr_value_and_grad(many_rules, NULL, 1, &x, 1, NULL, 1, &y, &g))
        return -1;
    return near_all(g, eight_and_half);
}

static double only_three(int64_t i)
{
    (void)i;
    return 3;
}

IN_SCOPE(tangents_by_rules)
{
    fr_array *x = counted(3, 3), *one = fr_ones((int64_t[]){3, 3}, 2, FR_FLOAT32), *y, *dy;
    if (fr_jvp(with_rules, NULL, 1, &x, &one, 1, &y, &dy))
        return -1;
    return near_all(dy, only_three);
}

static int gradient_of_row(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    (void)ctx, (void)n_in, (void)n_out;
    out[0] = fr_grad(many_rules, NULL, fr_reshape(in[0], (int64_t[]){3, 3}, 2));
    return 0;
}

IN_SCOPE(batch_of_gradients)
{
    fr_array *x = counted(4, 9), *y;
    if (fr_vmap(gradient_of_row, NULL, 1, &x, NULL, 1, &y, NULL))
        return -1;
    return near_all(y, eight_and_half);
}

static int batch_of_rules(void *ctx, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    fr_array *y;
    if (fr_vmap(with_rules, ctx, n_in, in, NULL, n_out, &y, NULL))
        return -1;
    out[0] = fr_sum(y, NULL);
    return 0;
}

/* With no scope to clean up. */
static int program_gradient_of_batch(void)
{
    fr_array *x = counted(4, 9), *g = fr_grad(batch_of_rules, NULL, x);
    int status = g ? near_all(g, only_three) : -1;
    fr_free(g);
    fr_free(x);
    return status;
}
FAULTS(gradient_of_batch)
