/* diskcache.c - generated code kept between processes
 *
 * needs   a folder of our own: made with mode 0700, owned by the effective user, writable by
 *         nobody else; otherwise the cache is off and fr__disk_why_off says why
 * gives   fr__disk_get, fr__disk_put; neither ever fails in a way that a caller must handle
 *
 * An entry is one file, named by a hash of its key:
 *
 *     header   magic, format, sizes, hash of all that follows
 *     key      whole, compared: names may collide
 *     object
 *
 * Written to a name of its own and renamed, so a reader sees all of it or nothing. A file may
 * still be cut or damaged by the disk or by a full one (there is no fsync): the hash tells. It
 * guards against accidents; against other users the folder's owner and mode do.
 */
#define _GNU_SOURCE
#include "run/diskcache.h"

#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct header {
    char magic[8];
    uint32_t format, spare;
    uint64_t keybytes, bytes;
    uint64_t hash[2]; /* of key and object */
} header;

static const char magic[8] = "frcache";

enum {
    FORMAT = 1,
    NAME = 32,           /* hexadecimal digits of a 128-bit hash */
    PUTS_A_CHECK = 64,   /* the bound is looked after every so many puts */
    DAY = 24 * 60 * 60,  /* a hit renews an entry's time at most once a day */
    ABANDONED = 60 * 60, /* seconds after which a temporary file has no writer any more */
};
static const size_t max_bytes = (size_t)64 << 20; /* of an entry */

static struct {
    int folder; /* open, or -1: off */
    char where[PATH_MAX], why[PATH_MAX + 128];
    int64_t limit;
    _Atomic unsigned puts, serial;
} cache = {.folder = -1};

/* ---- the folder --------------------------------------------------------------------- */

/* The path chosen by the environment; false with the reason when there is none. */
static bool choose_path(void)
{
    const char *own = fr__env("CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    int n;

    if (own && *own)
        n = snprintf(cache.where, sizeof cache.where, "%s", own);
    else if (xdg && *xdg == '/')
        n = snprintf(cache.where, sizeof cache.where, "%s/ferrule", xdg);
    else if (home && *home == '/')
        n = snprintf(cache.where, sizeof cache.where, "%s/.cache/ferrule", home);
    else {
        snprintf(cache.why, sizeof cache.why, "neither XDG_CACHE_HOME nor HOME is set");
        return false;
    }
    if (n >= (int)sizeof cache.where) {
        snprintf(cache.why, sizeof cache.why, "the cache folder's name is too long");
        return false;
    }
    return true;
}

/* Makes the folder and those above it that are missing. */
static bool make_folders(void)
{
    char path[PATH_MAX];

    memcpy(path, cache.where, sizeof path);
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            if (mkdir(path, 0700) && errno != EEXIST)
                return false;
            *p = '/';
        }
    return !mkdir(path, 0700) || errno == EEXIST;
}

static int open_folder(void)
{
    return open(cache.where, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void find_folder(void)
{
    struct stat s;
    int folder;

    if (!fr__env_on("CACHE", true)) {
        snprintf(cache.why, sizeof cache.why, "switched off by FERRULE_CACHE");
        return;
    }
    if (!choose_path())
        return;
    folder = open_folder();
    if (folder < 0 && errno == ENOENT) {
        if (make_folders())
            folder = open_folder();
    }
    if (folder < 0 || fstat(folder, &s)) {
        snprintf(cache.why, sizeof cache.why, "%s: %s", cache.where, strerror(errno));
    } else if (s.st_uid != geteuid()) {
        snprintf(cache.why, sizeof cache.why, "%s belongs to another user", cache.where);
    } else if (s.st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(cache.why, sizeof cache.why, "%s can be written by others (mode %03o)",
                 cache.where, (unsigned)(s.st_mode & 0777));
    } else {
        cache.folder = folder;
        cache.limit = fr__env_bytes("CACHE_LIMIT", (int64_t)256 << 20);
        /* Processes that put a few entries each come to the check now and then as well. */
        cache.puts = (unsigned)((uint64_t)time(NULL) ^ (uint64_t)getpid() * 7) % PUTS_A_CHECK;
        return;
    }
    if (folder >= 0)
        close(folder);
}

static bool ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_folder);
    return cache.folder >= 0;
}

const char *fr__disk_where(void) { return ready() ? cache.where : ""; }

const char *fr__disk_why_off(void) { return ready() ? "" : cache.why; }

/* ---- entries ------------------------------------------------------------------------ */

static void name_of(const char *key, size_t keybytes, char name[NAME + 1])
{
    uint64_t h[2] = {fr__hash(key, keybytes, 0x66657272), fr__hash(key, keybytes, 0x756c65)};

    for (int i = 0; i < NAME; i++)
        name[i] = "0123456789abcdef"[h[i / 16] >> i % 16 * 4 & 15];
    name[NAME] = 0;
}

static bool is_name(const char *s)
{
    return strlen(s) == NAME && strspn(s, "0123456789abcdef") == NAME;
}

static bool read_all(int file, char *to, size_t bytes)
{
    while (bytes) {
        ssize_t n = read(file, to, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_all(int file, const char *from, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(file, from, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Memory for a cache is a wish: having none must not become the caller's error. */
static void *wish(size_t bytes)
{
    bool before = fr__failed();
    void *p = fr__malloc(bytes);

    if (!p && !before)
        fr__error_clear();
    return p;
}

static void hash_content(const char *content, size_t bytes, uint64_t to[2])
{
    to[0] = fr__hash(content, bytes, 1);
    to[1] = fr__hash(content, bytes, 2);
}

/* The file's key and object, in one block after its header; NULL if it isn't an entry of ours. */
static char *read_entry(int file, header *h, struct stat *s)
{
    char *content;
    uint64_t hash[2];

    if (fstat(file, s) || !S_ISREG(s->st_mode) || s->st_uid != geteuid() ||
        (s->st_mode & (S_IWGRP | S_IWOTH)) || s->st_size < (off_t)sizeof *h ||
        (size_t)s->st_size > max_bytes || !read_all(file, (char *)h, sizeof *h))
        return NULL;
    if (memcmp(h->magic, magic, sizeof magic) || h->format != FORMAT || h->spare ||
        h->keybytes > max_bytes || h->bytes > max_bytes ||
        sizeof *h + h->keybytes + h->bytes != (uint64_t)s->st_size)
        return NULL;
    content = wish(h->keybytes + h->bytes);
    if (!content)
        return NULL;
    if (read_all(file, content, h->keybytes + h->bytes)) {
        hash_content(content, h->keybytes + h->bytes, hash);
        if (!memcmp(hash, h->hash, sizeof hash))
            return content;
    }
    fr__free(content);
    return NULL;
}

void *fr__disk_get(const char *key, size_t keybytes, size_t *bytes)
{
    char name[NAME + 1], *content;
    header h;
    struct stat s;
    int file;

    if (!ready())
        return NULL;
    name_of(key, keybytes, name);
    file =
        openat(cache.folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return NULL;
    content = read_entry(file, &h, &s);
    if (content && (h.keybytes != keybytes || memcmp(content, key, keybytes))) {
        fr__free(content);
        content = NULL;
    }
    if (content) {
        memmove(content, content + keybytes, h.bytes);
        *bytes = h.bytes;
        if (time(NULL) - s.st_mtime > DAY)
            futimens(file, NULL);
    }
    close(file);
    return content;
}

/* ---- the bound ---------------------------------------------------------------------- */

typedef struct entry {
    char name[NAME + 1];
    int64_t bytes, used; /* used: nanoseconds, so that a burst of puts keeps its order */
} entry;

static int older_first(const void *a, const void *b)
{
    int64_t x = ((const entry *)a)->used, y = ((const entry *)b)->used;
    return x < y ? -1 : x > y;
}

/* Removes the least recently used entries until a quarter of the limit is free again, and what
 * writers that died have left. Other processes may do the same: a file that is gone is fine. */
static void keep_bound(void)
{
    int folder = openat(cache.folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = folder < 0 ? NULL : fdopendir(folder);
    FR__VEC(entry) found = {0};
    bool before = fr__failed();
    int64_t total = 0;

    if (!dir) {
        if (folder >= 0)
            close(folder);
        return;
    }
    for (struct dirent *d; (d = readdir(dir));) {
        struct stat s;
        entry e;
        bool temporary = !strncmp(d->d_name, "tmp-", 4);
        if ((!temporary && !is_name(d->d_name)) ||
            fstatat(folder, d->d_name, &s, AT_SYMLINK_NOFOLLOW) || !S_ISREG(s.st_mode))
            continue;
        if (temporary) {
            if (time(NULL) - s.st_mtime > ABANDONED)
                unlinkat(folder, d->d_name, 0);
            continue;
        }
        memcpy(e.name, d->d_name, sizeof e.name);
        e.bytes =
            (int64_t)s.st_blocks * 512 > s.st_size ? (int64_t)s.st_blocks * 512 : s.st_size;
        e.used = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
        total += e.bytes;
        if (fr__vec_push(&found, e)) {
            if (!before)
                fr__error_clear();
            break;
        }
    }
    if (total > cache.limit) {
        qsort(found.at, (size_t)found.n, sizeof *found.at, older_first);
        for (int i = 0; i < found.n && total > cache.limit - cache.limit / 4; i++) {
            unlinkat(folder, found.at[i].name, 0);
            total -= found.at[i].bytes;
        }
    }
    fr__vec_free(&found);
    closedir(dir);
}

void fr__disk_put(const char *key, size_t keybytes, const void *object, size_t bytes)
{
    char name[NAME + 1], temporary[64], *content;
    header h = {.format = FORMAT, .keybytes = keybytes, .bytes = bytes};
    size_t whole = sizeof h + keybytes + bytes;
    int file;
    bool good;

    if (!ready() || keybytes > max_bytes || bytes > max_bytes || whole > max_bytes ||
        (int64_t)whole > cache.limit)
        return;
    content = wish(whole);
    if (!content)
        return;
    memcpy(content + sizeof h, key, keybytes);
    memcpy(content + sizeof h + keybytes, object, bytes);
    memcpy(h.magic, magic, sizeof magic);
    hash_content(content + sizeof h, keybytes + bytes, h.hash);
    memcpy(content, &h, sizeof h);
    name_of(key, keybytes, name);
    snprintf(temporary, sizeof temporary, "tmp-%ld-%u-%lx", (long)getpid(),
             atomic_fetch_add(&cache.serial, 1u), (unsigned long)(fr__now() * 1e9));
    file = openat(cache.folder, temporary,
                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    if (file >= 0) {
        good = write_all(file, content, whole);
        good = !close(file) && good;
        if (!good || renameat(cache.folder, temporary, cache.folder, name))
            unlinkat(cache.folder, temporary, 0);
        if (atomic_fetch_add(&cache.puts, 1u) % PUTS_A_CHECK == PUTS_A_CHECK - 1)
            keep_bound();
    }
    fr__free(content);
}
