/* test_files.c - npy, npz and safetensors: there and back, damaged, cut off, and disks that are full */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ferrule/ferrule.h"
#include "io/io.h"
#include "test.h"

/* An error of this kind is set; it is cleared. */
static bool refused(const void *result, fr_error_kind kind)
{
    bool good = !result && fr_error() == kind && fr_error_message()[0];
    fr_error_clear();
    return good;
}

static double item(fr_array *x)
{
    double v = NAN;
    return x && !fr_item(x, &v) ? v : NAN;
}

TEST(round_trips)
{
    char folder[] = "/tmp/ferrule-files-XXXXXX";
    CHECK(mkdtemp(folder));
    static const char *const endings[] = {"npy", "npz", "safetensors"};
    const char *names[] = {"layer.weight", "layer.bias"};
    fr_scope *s = fr_scope_open();
    fr_array *w = fr_reshape(fr_arange(0, 6, 1, FR_FLOAT32), (int64_t[]){2, 3}, 2);
    fr_array *x[] = {fr_transpose(w, NULL, 0), fr_arange(0, 3, 1, FR_INT32)};
    for (int format = 0; format < 3; format++)
        for (int compressed = 0; compressed < 2; compressed++) {
            char path[256];
            snprintf(path, sizeof path, "%s/x.%s", folder, endings[format]);
            const char *key = "step", *value = "7 \"seven\"";
            fr_save_options o = {
                .compressed = compressed, .ntexts = 1, .keys = &key, .values = &value};
            int n = format == FR_FILE_NPY ? 1 : 2;
            CHECK(!fr_save(path, (fr_file_format)format, n, names, x, &o));
            fr_archive *a = fr_load(path);
            CHECK(a && fr_archive_count(a) == n && (int)fr_archive_format(a) == format);
            for (int i = 0; a && i < n; i++) {
                fr_array *y = n == 1 ? fr_archive_array(a, 0) : fr_archive_find(a, names[i]);
                CHECK(y && fr_dtype_of(y) == fr_dtype_of(x[i]));
                CHECK(item(fr_all(fr_eq(y, x[i]), NULL)) == 1);
            }
            if (a && format == FR_FILE_SAFETENSORS)
                CHECK(fr_archive_text_count(a) == 1 &&
                      !strcmp(fr_archive_text_value(a, 0), value) &&
                      !strcmp(fr_archive_text_key(a, 0), key));
            fr_archive_free(a);
            CHECK(!truncate(path, 40));
            CHECK(refused(fr_load(path), FR_ERROR_VALUE));
            CHECK(!unlink(path));
        }
    CHECK(refused(fr_load("/nowhere/x.npy"), FR_ERROR_IO));
    CHECK(fr_save("/nowhere/x.npy", FR_FILE_NPY, 1, names, x, NULL) &&
          refused(NULL, FR_ERROR_IO));
    CHECK(fr_save("x.npy", FR_FILE_NPY, 2, names, x, NULL) && refused(NULL, FR_ERROR_VALUE));
    fr_scope_close(s);
    CHECK(!rmdir(folder));
    CHECK(fr_error() == FR_OK);
}

/* ---- damage --------------------------------------------------------------------------------- */

typedef struct memory {
    unsigned char at[4096];
    size_t n;
} memory;

static int keep(void *ctx, const void *data, size_t bytes)
{
    memory *m = ctx;
    if (bytes > sizeof m->at - m->n)
        return -1;
    memcpy(m->at + m->n, data, bytes);
    m->n += bytes;
    return 0;
}

/* A file of one format and, of the last two, a compressed npz; in one whose numbers from `wide` on
 * take 64 bits. */
static memory example_of(int which, uint64_t wide)
{
    static const fr_file_format formats[] = {FR_FILE_NPY, FR_FILE_SAFETENSORS, FR_FILE_NPZ,
                                             FR_FILE_NPZ};
    memory m = {.n = 0};
    const char *names[] = {"x", "flags"}, *key = "key", *value = "\303\251 \"\\\n";
    fr_save_options o = {.compressed = which == 3, .ntexts = 1, .keys = &key, .values = &value};
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_arange(0, 40, 1, FR_FLOAT32);
    fr_array *all[] = {fr_reshape(x, (int64_t[]){5, 8}, 2), fr_gt(x, 7)};
    if (wide) {
        fr__out out = {.write = keep, .ctx = &m, .wide = wide};
        EXPECT(!fr_eval_all(2, all) && fr__write_npz(&out, 2, names, all, o.compressed));
    } else {
        EXPECT(!fr_save_by(keep, &m, formats[which], which ? 2 : 1, names, all, &o));
    }
    fr_scope_close(s);
    return m;
}

static memory example(int which) { return example_of(which, 0); }

static int same_arrays(fr_archive *a, fr_archive *b)
{
    int same = 0;
    for (int i = 0; i < fr_archive_count(a); i++) {
        fr_array *x = fr_archive_array(a, i), *y = fr_archive_find(b, fr_archive_name(a, i));
        same += y && fr_dtype_of(y) == fr_dtype_of(x) && item(fr_all(fr_eq(x, y), NULL)) == 1;
    }
    return same;
}

/* Files beyond 4 GiB in small: numbers take 64 bits from a few hundred on, or all. */
TEST(wide_npz)
{
    static const uint64_t from[] = {1, 64, 100, 150, 200, 230};
    fr_scope *s = fr_scope_open();
    for (int which = 2; which < 4; which++) {
        memory plain = example(which);
        fr_archive *a = fr_load_bytes(plain.at, plain.n);
        for (int i = 0; i < 6; i++) {
            memory m = example_of(which, from[i]);
            fr_archive *b = fr_load_bytes(m.at, m.n);
            CHECK(b && fr_archive_count(b) == 2 && same_arrays(a, b) == 2 && m.n > plain.n);
            CHECK(!memcmp(m.at + m.n - 42, "PK\6\7", 4));
            fr_archive_free(b);
            const char *path = test_option("write"); /* for another reader to look at */
            char name[300];
            snprintf(name, sizeof name, "%s/%d-%d.npz", path ? path : "", which, i);
            FILE *f = path ? fopen(name, "wb") : NULL;
            if (f)
                CHECK(fwrite(m.at, 1, m.n, f) == m.n && !fclose(f));
        }
        fr_archive_free(a);
    }
    fr_scope_close(s);
}

/* Loads from memory that ends where the file does, and reads all that is there. */
static bool attempt(const unsigned char *at, size_t n)
{
    unsigned char *own = malloc(n ? n : 1);
    memcpy(own, at, n);
    fr_archive *a = fr_load_bytes(own, n);
    free(own);
    fr_scope *s = fr_scope_open();
    for (int i = 0; i < fr_archive_count(a); i++)
        EXPECT(fr_archive_name(a, i) && !fr_eval(fr_add(fr_archive_array(a, i), 1)));
    for (int i = 0; i < fr_archive_text_count(a); i++)
        EXPECT(fr_archive_text_key(a, i) && fr_archive_text_value(a, i));
    fr_scope_close(s);
    EXPECT(!a == (fr_error() != FR_OK));
    fr_error_clear();
    fr_archive_free(a);
    return a;
}

TEST(cut_off_anywhere)
{
    for (int which = 0; which < 6; which++) {
        memory m = which < 4 ? example(which) : example_of(which - 2, 150);
        CHECK(attempt(m.at, m.n));
        for (size_t n = 0; n < m.n; n++)
            CHECK(!attempt(m.at, n));
    }
}

TEST(damaged_anywhere)
{
    uint32_t random = 1;
    for (int which = 0; which < 6; which++) {
        const memory m = which < 4 ? example(which) : example_of(which - 2, 150);
        int failed = 0;
        for (int i = 0; i < 20000; i++) {
            memory d = m;
            for (int k = i % 3; k >= 0; k--) {
                random = random * 1664525 + 1013904223;
                size_t at = (random >> 8) % (random & 16 ? d.n : d.n < 250 ? d.n : 250);
                d.at[at] = random & 32 ? (unsigned char)(d.at[at] ^ 1 << (random & 7))
                                       : (unsigned char)(random >> 24);
            }
            failed += !attempt(d.at, d.n);
        }
        CHECK(failed > 5000);
    }
}

/* ---- where it can't be written --------------------------------------------------------------- */

static bool holds(const char *path, double wanted)
{
    fr_archive *a = fr_load(path);
    double v = item(fr_archive_array(a, 0));
    fr_archive_free(a);
    return v == wanted;
}

TEST(nothing_is_lost)
{
    char folder[] = "/tmp/ferrule-files-XXXXXX", path[64], link[64], neighbour[64], below[64];
    CHECK(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.npy", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(neighbour, sizeof neighbour, "%s/x.npy.new0", folder);
    snprintf(below, sizeof below, "%s/x.npy/y", folder);
    fr_scope *s = fr_scope_open();
    const char *name = "x";
    fr_array *one = fr_full(NULL, 0, 1, FR_FLOAT32), *two = fr_full(NULL, 0, 2, FR_FLOAT32),
             *many = fr_full((int64_t[]){100000}, 1, 3, FR_FLOAT32);
    CHECK(!fr_save(path, FR_FILE_NPY, 1, &name, &one, NULL) && holds(path, 1));

    /* A disk that is full: a part is written. */
    struct rlimit limit, small = {5000, RLIM_INFINITY};
    CHECK(!getrlimit(RLIMIT_FSIZE, &limit));
    small.rlim_max = limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(!setrlimit(RLIMIT_FSIZE, &small));
    for (int format = 0; format < 3; format++)
        CHECK(fr_save(path, (fr_file_format)format, 1, &name, &many, NULL) &&
              refused(NULL, FR_ERROR_IO));
    CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
    CHECK(holds(path, 1));
    CHECK(fr_save("/dev/full", FR_FILE_NPY, 1, &name, &one, NULL) &&
          refused(NULL, FR_ERROR_IO));
    CHECK(fr_save(folder, FR_FILE_NPY, 1, &name, &one, NULL) && refused(NULL, FR_ERROR_IO));
    CHECK(fr_save(below, FR_FILE_NPY, 1, &name, &one, NULL) && refused(NULL, FR_ERROR_IO));
    CHECK(fr_save(path, FR_FILE_NPZ, 2, (const char *[]){"a", "a"}, (fr_array *[]){one, two},
                  NULL) &&
          refused(NULL, FR_ERROR_VALUE) && holds(path, 1));

    /* Links, modes and files of like names stay. */
    struct stat now;
    CHECK(!chmod(path, 0600) && !symlink(path, link));
    FILE *f = fopen(neighbour, "w");
    CHECK(f && !fclose(f));
    CHECK(!fr_save(link, FR_FILE_NPY, 1, &name, &two, NULL) && holds(path, 2));
    CHECK(!lstat(link, &now) && S_ISLNK(now.st_mode));
    CHECK(!stat(path, &now) && (now.st_mode & 0777) == 0600);
    CHECK(!stat(neighbour, &now) && now.st_size == 0);
    fr_scope_close(s);
    CHECK(!unlink(link) && !unlink(neighbour) && !unlink(path) && !rmdir(folder));
    CHECK(fr_error() == FR_OK);
}
