/* test_diskcache.c - the cache on disk: hits, damage, strangers' folders, bounds, many at once
 *
 * The cache looks at the environment once, so each case runs in a process of its own.
 */
#define _GNU_SOURCE
#include "run/diskcache.h"

#include "base/base.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[256]; /* a fresh folder for each test */

static void remove_tree(const char *path)
{
    char inside[PATH_MAX];
    DIR *d = opendir(path);

    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (unlink(inside))
            remove_tree(inside);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

/* Runs f in a child with FERRULE_CACHE_DIR=base/cache and limit; its failed checks count here. */
static void in_child(void (*f)(void), const char *limit)
{
    pid_t child;
    int status = 0;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        char path[300];
        snprintf(path, sizeof path, "%s/cache", base);
        setenv("FERRULE_CACHE_DIR", path, 0);
        unsetenv("FERRULE_CACHE");
        if (limit)
            setenv("FERRULE_CACHE_LIMIT", limit, 1);
        f();
        fflush(stdout);
        _exit(test_failures || fr__failed());
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(base, sizeof base, "%s/ferrule-cache-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    EXPECT(mkdtemp(base) != NULL);
    unsetenv("FERRULE_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
}

static int count_files(const char *prefix_not)
{
    char path[300];
    int n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/cache", base);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' && (!prefix_not || strncmp(e->d_name, prefix_not, 4));
    if (d)
        closedir(d);
    return n;
}

static bool has(const char *key, const char *object)
{
    size_t n = 0;
    char *got = fr__disk_get(key, strlen(key), &n);
    bool same = got && n == strlen(object) && !memcmp(got, object, n);

    fr__free(got);
    return same;
}

static void put(const char *key, const char *object)
{
    fr__disk_put(key, strlen(key), object, strlen(object));
}

/* ---- plain use ------------------------------------------------------------------------- */

static void store_two(void)
{
    CHECK_STR(fr__disk_why_off(), "");
    CHECK(!has("one", "first"));
    put("one", "first");
    put("two", "second");
    put("two", "second again");
    put("", "");
    CHECK(has("one", "first") && has("two", "second again") && has("", ""));
}

static void find_two(void)
{
    struct stat s;

    CHECK(has("one", "first") && has("two", "second again") && !has("three", ""));
    CHECK(!stat(fr__disk_where(), &s) && (s.st_mode & 0777) == 0700);
}

TEST(kept_between_processes)
{
    begin();
    in_child(store_two, NULL);
    in_child(find_two, NULL);
    CHECK_EQ(count_files(NULL), 3);
    remove_tree(base);
}

static void under_home(void)
{
    char want[400];

    put("k", "v");
    CHECK(has("k", "v"));
    snprintf(want, sizeof want, "%s/a/b/.cache/ferrule", base);
    CHECK_STR(fr__disk_where(), want);
}

static void under_xdg(void)
{
    char want[400];

    snprintf(want, sizeof want, "%s/x/ferrule", base);
    CHECK_STR(fr__disk_where(), want);
}

TEST(default_places)
{
    char home[300];
    const char *before = getenv("HOME");
    char *kept = before ? strdup(before) : NULL;

    begin();
    snprintf(home, sizeof home, "%s/a/b", base);
    setenv("HOME", home, 1);
    setenv("FERRULE_CACHE_DIR", "", 1);
    in_child(under_home, NULL);
    snprintf(home, sizeof home, "%s/x", base);
    setenv("XDG_CACHE_HOME", home, 1);
    in_child(under_xdg, NULL);
    if (kept)
        setenv("HOME", kept, 1);
    free(kept);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("FERRULE_CACHE_DIR");
    remove_tree(base);
}

/* ---- not a place for a cache ----------------------------------------------------------- */

static const char *reason;
static void is_off(void)
{
    CHECK_STR(fr__disk_where(), "");
    put("one", "first");
    CHECK(!has("one", "first"));
    if (!EXPECT(strstr(fr__disk_why_off(), reason)))
        printf("     %s\n", fr__disk_why_off());
}

static void switched_off(void)
{
    setenv("FERRULE_CACHE", "off", 1);
    is_off();
}

TEST(off)
{
    char path[300], other[320];

    begin();
    snprintf(path, sizeof path, "%s/cache", base);
    reason = "switched off by FERRULE_CACHE";
    in_child(switched_off, NULL);
    CHECK(access(path, F_OK)); /* nothing was made */

    reason = "can be written by others (mode 777)";
    CHECK(!mkdir(path, 0700) && !chmod(path, 0777));
    in_child(is_off, NULL);
    CHECK_EQ(count_files(NULL), 0);
    CHECK(!rmdir(path));

    reason = ""; /* a link: refused, whatever it points to */
    snprintf(other, sizeof other, "%s/elsewhere", base);
    CHECK(!mkdir(other, 0700) && !symlink(other, path));
    in_child(is_off, NULL);
    CHECK(!unlink(path));

    reason = "Not a directory";
    fclose(fopen(path, "w"));
    in_child(is_off, NULL);
    CHECK(!unlink(path));

    if (geteuid() == 0) {
        reason = "belongs to another user";
        CHECK(!mkdir(path, 0700) && !chown(path, 12345, 12345));
        in_child(is_off, NULL);
    }
    remove_tree(base);
}

/* ---- damage ---------------------------------------------------------------------------- */

static const char *only_file(char *path, size_t room)
{
    char folder[300];
    DIR *d;

    snprintf(folder, sizeof folder, "%s/cache", base);
    d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            snprintf(path, room, "%s/%s", folder, e->d_name);
    if (d)
        closedir(d);
    return path;
}

static uint64_t state = 1;
static uint64_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return fr__hash_mix(state, 3);
}

static void damage(void)
{
    static const char object[] =
        "an object that is long enough for something to go wrong in it";
    char path[700] = "", good[400], bad[500];
    size_t n, size;
    FILE *f;

    put("a key", object);
    only_file(path, sizeof path);
    f = fopen(path, "rb");
    CHECK(f);
    n = fread(good, 1, sizeof good, f);
    fclose(f);
    CHECK(n > 100 && n < sizeof good);
    for (int i = 0; i < 3000; i++) {
        memcpy(bad, good, n);
        size = n;
        switch (i % 3) {
        case 0: /* every bit of it, sooner or later */
            bad[(size_t)i / 3 % n] ^= (char)(1 << next() % 8);
            break;
        case 1: size = next() % n; break;
        default:
            memset(bad + n, 'x', 20);
            size = n + 1 + next() % 19;
            if (next() & 1)
                memset(bad + next() % n, 0, 1);
        }
        f = fopen(path, "wb");
        CHECK(f && fwrite(bad, 1, size, f) == size);
        fclose(f);
        CHECK_EQ(has("a key", object), size == n && !memcmp(good, bad, n));
        CHECK(!fr__failed());
    }
    put("a key", object); /* put mends it */
    CHECK(has("a key", object));
}

TEST(damaged_entries)
{
    begin();
    in_child(damage, NULL);
    remove_tree(base);
}

/* An entry under another key's name, a link, a pipe, a folder, others' rights: never a hit. */
static void strangers(void)
{
    char path[700] = "", real[720];

    put("a key", "object");
    only_file(path, sizeof path);
    CHECK(!chmod(path, 0666));
    CHECK(!has("a key", "object"));
    CHECK(!chmod(path, 0600) && has("a key", "object"));
    snprintf(real, sizeof real, "%s.moved", path);
    CHECK(!rename(path, real) && !symlink(real, path));
    CHECK(!has("a key", "object"));
    CHECK(!unlink(path) && !mkfifo(path, 0600));
    CHECK(!has("a key", "object"));
    CHECK(!unlink(path) && !mkdir(path, 0700));
    CHECK(!has("a key", "object"));
    put("a key", "object"); /* cannot replace a folder; leaves nothing behind */
    CHECK(!has("a key", "object"));
    CHECK(!rmdir(path) && !unlink(real));
    CHECK_EQ(count_files(NULL), 0);
    put("other", "object of another key");
    only_file(real, sizeof real);
    CHECK(!rename(real, path));
    CHECK(!has("a key", "object of another key"));
}

TEST(strange_entries)
{
    begin();
    in_child(strangers, NULL);
    remove_tree(base);
}

/* ---- bounds ---------------------------------------------------------------------------- */

static void many_puts(void)
{
    static char object[8000];
    char key[40], stale[700];
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    put("kept", "used all the time");
    snprintf(stale, sizeof stale, "%s/tmp-1-2-3", fr__disk_where());
    fclose(fopen(stale, "w"));
    CHECK(!utimensat(AT_FDCWD, stale, old, 0));
    for (int i = 0; i < 300; i++) {
        char path[700] = "";
        snprintf(key, sizeof key, "key %d", i);
        fr__disk_put(key, strlen(key), object, sizeof object);
        if (i == 0) { /* used, and older than a day: a hit makes it young */
            struct stat s;
            char name[720];
            DIR *d = opendir(fr__disk_where());
            for (struct dirent *e; d && (e = readdir(d));) {
                snprintf(name, sizeof name, "%s/%s", fr__disk_where(), e->d_name);
                if (!stat(name, &s) && S_ISREG(s.st_mode) && s.st_size < 1000 &&
                    e->d_name[0] != 't')
                    memcpy(path, name, sizeof path);
            }
            closedir(d);
            CHECK(path[0] && !utimensat(AT_FDCWD, path, old, 0));
            CHECK(has("kept", "used all the time"));
            CHECK(!stat(path, &s) && s.st_mtim.tv_sec > 1000);
            CHECK(!utimensat(
                AT_FDCWD, path,
                (struct timespec[2]){{.tv_nsec = UTIME_OMIT}, {.tv_sec = 4000000000}}, 0));
        }
    }
    CHECK(has("kept", "used all the time"));
    CHECK(access(stale, F_OK) != 0);
    snprintf(key, sizeof key, "key %d", 299);
    {
        size_t n;
        void *got = fr__disk_get(key, strlen(key), &n);
        CHECK(got && n == sizeof object);
        fr__free(got);
    }
    fr__disk_put("huge", 4, malloc(900000), 900000); /* more than the whole bound: not kept */
    CHECK(!has("huge", ""));
}

TEST(bound)
{
    begin();
    in_child(many_puts, "800k");
    CHECK(count_files("tmp-") < 80 + 64 + 40);
    CHECK(count_files("tmp-") > 40);
    CHECK_EQ(count_files(NULL), count_files("tmp-"));
    remove_tree(base);
}

static void small_files_only(void)
{
    static char object[100000];
    struct rlimit r = {50000, 50000};

    signal(SIGXFSZ, SIG_IGN);
    CHECK(!setrlimit(RLIMIT_FSIZE, &r)); /* as good as a full disk */
    fr__disk_put("key", 3, object, sizeof object);
    put("small", "fits");
    CHECK(has("small", "fits"));
}

TEST(full_disk)
{
    begin();
    in_child(small_files_only, NULL);
    CHECK_EQ(count_files(NULL), 1);
    remove_tree(base);
}

static void no_memory(void)
{
    put("one", "first");
    fr__fault_set(1);
    CHECK(!has("one", "first") && !fr__failed());
    fr__fault_set(1);
    put("two", "second");
    fr__fault_set(0);
    CHECK(!fr__failed() && has("one", "first") && !has("two", "second"));
    fr__fail(FR__E_VALUE, "somebody's error");
    CHECK(has("one", "first"));
    CHECK_STR(fr__error_text(), "somebody's error");
    fr__error_clear();
}

TEST(no_memory_is_no_error)
{
    begin();
    in_child(no_memory, NULL);
    remove_tree(base);
}

/* ---- many at once ---------------------------------------------------------------------- */

static void busy(void)
{
    char key[40], object[3000];

    for (int i = 0; i < 400; i++) {
        int n = (int)(fr__hash_mix((uint64_t)i, (uint64_t)getpid()) % 50);
        size_t bytes;
        char *got;
        snprintf(key, sizeof key, "key %d", n);
        got = fr__disk_get(key, strlen(key), &bytes);
        memset(object, n, sizeof object);
        if (got)
            CHECK(bytes == 1000 + (size_t)n && !memcmp(got, object, bytes));
        fr__free(got);
        fr__disk_put(key, strlen(key), object, 1000 + (size_t)n);
    }
}

static void several(void)
{
    pid_t child[4];
    int status;

    fr__disk_where();
    for (int i = 0; i < 4; i++)
        if (!(child[i] = fork())) {
            busy();
            _exit(test_failures);
        }
    for (int i = 0; i < 4; i++)
        CHECK(waitpid(child[i], &status, 0) == child[i] && !status);
}

TEST(concurrent_processes)
{
    begin();
    in_child(several, "100k");
    CHECK_EQ(count_files(NULL), count_files("tmp-"));
    remove_tree(base);
}

static void timed(void)
{
    static char key[3000], object[4096];
    double start;
    size_t n;

    memset(key, 'k', sizeof key);
    fr__disk_put(key, sizeof key, object, sizeof object);
    start = fr__now();
    for (int i = 0; i < 200; i++)
        fr__free(fr__disk_get(key, sizeof key, &n));
    printf("     a hit: %.1f us\n", (fr__now() - start) / 200 * 1e6);
    start = fr__now();
    for (int i = 0; i < 50; i++)
        fr__disk_put(key, sizeof key, object, sizeof object);
    printf("     a put: %.1f us\n", (fr__now() - start) / 50 * 1e6);
}

TEST(speed)
{
    begin();
    in_child(timed, NULL);
    remove_tree(base);
}
