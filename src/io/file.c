/* file.c - archives, and files by format */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

bool fr__io_fail(fr_error_kind kind, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (fr_error() == FR_OK)
        fr_error_set(kind, text);
    return false;
}

bool fr__io_bytes(const int64_t *shape, int ndim, size_t item, size_t *bytes)
{
    bool empty = false;
    *bytes = item;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0)
            return false;
        empty |= shape[i] == 0;
    }
    for (int i = 0; i < ndim && !empty; i++)
        if (__builtin_mul_overflow(*bytes, (size_t)shape[i], bytes))
            return false;
    if (empty)
        *bytes = 0;
    return true;
}

fr_array *fr__io_array(const unsigned char *data, fr_dtype dtype, const int64_t *shape,
                       int ndim)
{
    size_t bytes;
    fr__io_bytes(shape, ndim, fr_dtype_size(dtype), &bytes);
    for (size_t i = 0; dtype == FR_BOOL && i < bytes; i++)
        if (data[i] > 1) {
            fr__io_fail(FR_ERROR_VALUE, "load: a bool is %d", data[i]);
            return NULL;
        }
    fr_array *x = fr_from_data(data, dtype, shape, ndim);
    return x ? fr_own(x) : NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool fr__io_distinct(const char *doing, int n, const char *const *names)
{
    const char **sorted = malloc(((size_t)n + 1) * sizeof *sorted);
    if (!sorted)
        return fr__io_fail(FR_ERROR_MEMORY, "%s: no memory for %d names", doing, n);
    if (n)
        memcpy(sorted, names, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_text);
    bool good = true;
    for (int i = 1; good && i < n; i++)
        if (!strcmp(sorted[i - 1], sorted[i]))
            good = fr__io_fail(FR_ERROR_VALUE, "%s: two arrays are named '%.200s'", doing,
                               sorted[i]);
    free(sorted);
    return good;
}

/* ---- archives ---------------------------------------------------------------------------- */

/* Room for one more of `each` pointers. */
static bool grow(void ***list, int n, int *room, int each)
{
    if (n < *room)
        return true;
    int more = *room ? 2 * *room : 8;
    void **bigger = realloc(*list, sizeof(void *) * (size_t)more * (size_t)each);
    if (!bigger)
        return fr__io_fail(FR_ERROR_MEMORY, "load: no memory for %d names", more);
    *list = bigger;
    *room = more;
    return true;
}

bool fr__archive_add(fr_archive *a, const char *name, size_t length, fr_array *x)
{
    int room = a->room;
    char *copy = x ? malloc(length + 1) : NULL;
    if (!copy || !grow((void ***)&a->names, a->n, &room, 1) ||
        !grow((void ***)&a->arrays, a->n, &a->room, 1)) {
        free(copy);
        fr_free(x);
        return x ? fr__io_fail(FR_ERROR_MEMORY, "load: no memory for a name") : false;
    }
    memcpy(copy, name, length);
    copy[length] = 0;
    a->names[a->n] = copy;
    a->arrays[a->n++] = x;
    return true;
}

bool fr__archive_add_text(fr_archive *a, char *key, char *value)
{
    if (!key || !value || !grow((void ***)&a->texts, a->ntexts, &a->texts_room, 2)) {
        free(key);
        free(value);
        return fr__io_fail(FR_ERROR_MEMORY, "load: no memory for a text");
    }
    a->texts[2 * a->ntexts] = key;
    a->texts[2 * a->ntexts++ + 1] = value;
    return true;
}

void fr_archive_free(fr_archive *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->n; i++) {
        free(a->names[i]);
        fr_free(a->arrays[i]);
    }
    for (int i = 0; i < 2 * a->ntexts; i++)
        free(a->texts[i]);
    free(a->names);
    free(a->arrays);
    free(a->texts);
    free(a);
}

fr_file_format fr_archive_format(const fr_archive *a) { return a ? a->format : FR_FILE_NPY; }
int fr_archive_count(const fr_archive *a) { return a ? a->n : 0; }
const char *fr_archive_name(const fr_archive *a, int i)
{
    return a && i >= 0 && i < a->n ? a->names[i] : NULL;
}
fr_array *fr_archive_array(const fr_archive *a, int i)
{
    return a && i >= 0 && i < a->n ? a->arrays[i] : NULL;
}
fr_array *fr_archive_find(const fr_archive *a, const char *name)
{
    for (int i = 0; a && i < a->n; i++)
        if (!strcmp(a->names[i], name))
            return a->arrays[i];
    return NULL;
}
int fr_archive_text_count(const fr_archive *a) { return a ? a->ntexts : 0; }
const char *fr_archive_text_key(const fr_archive *a, int i)
{
    return a && i >= 0 && i < a->ntexts ? a->texts[2 * i] : NULL;
}
const char *fr_archive_text_value(const fr_archive *a, int i)
{
    return a && i >= 0 && i < a->ntexts ? a->texts[2 * i + 1] : NULL;
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool read_any(fr_archive *a, fr__bytes in)
{
    if (in.n >= 6 && !memcmp(in.at, "\x93NUMPY", 6)) {
        a->format = FR_FILE_NPY;
        return fr__archive_add(a, "", 0, fr__read_npy(in, "npy"));
    }
    if (in.n >= 4 && (!memcmp(in.at, "PK\3\4", 4) || !memcmp(in.at, "PK\5\6", 4))) {
        a->format = FR_FILE_NPZ;
        return fr__read_npz(a, in);
    }
    if (in.n > 8 && in.at[8] == '{') {
        a->format = FR_FILE_SAFETENSORS;
        return fr__read_safetensors(a, in);
    }
    return fr__io_fail(FR_ERROR_VALUE, "load: neither npy nor npz nor safetensors (%zu bytes)",
                       in.n);
}

fr_archive *fr_load_bytes(const void *data, size_t bytes)
{
    if (fr_error() != FR_OK)
        return NULL;
    fr_archive *a = calloc(1, sizeof *a);
    if (!a) {
        fr__io_fail(FR_ERROR_MEMORY, "load: no memory");
        return NULL;
    }
    if (read_any(a, (fr__bytes){data, bytes}) &&
        fr__io_distinct("load", a->n, (const char *const *)a->names))
        return a;
    fr_archive_free(a);
    return NULL;
}

/* All of a file, of any kind: pipes have no size. */
static unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    unsigned char *data = NULL;
    size_t room = 0, n = 0;
    if (!f) {
        fr__io_fail(FR_ERROR_IO, "load: %s: %s", path, strerror(errno));
        return NULL;
    }
    for (;;) {
        if (n == room) {
            room = room ? room + room / 2 : 1 << 16;
            unsigned char *more = realloc(data, room);
            if (!more) {
                fr__io_fail(FR_ERROR_MEMORY, "load: %s: no memory for %zu bytes", path, room);
                break;
            }
            data = more;
        }
        size_t got = fread(data + n, 1, room - n, f);
        n += got;
        if (got)
            continue;
        if (ferror(f)) {
            fr__io_fail(FR_ERROR_IO, "load: %s: %s", path, strerror(errno));
            break;
        }
        fclose(f);
        *bytes = n;
        return data;
    }
    fclose(f);
    free(data);
    return NULL;
}

fr_archive *fr_load(const char *path)
{
    size_t bytes;
    unsigned char *data = fr_error() == FR_OK ? read_file(path, &bytes) : NULL;
    fr_archive *a = data ? fr_load_bytes(data, bytes) : NULL;
    free(data);
    return a;
}

/* ---- writing ----------------------------------------------------------------------------- */

bool fr__put(fr__out *out, const void *data, size_t bytes)
{
    if (bytes && out->write(out->ctx, data, bytes))
        return fr__io_fail(FR_ERROR_IO, "save: not everything could be written");
    out->written += bytes;
    return true;
}

bool fr__put_little(fr__out *out, uint64_t value, int bytes)
{
    unsigned char b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (unsigned char)(value >> 8 * i);
    return fr__put(out, b, (size_t)bytes);
}

fr_array *fr__io_values(fr_array *x, const void **data)
{
    fr_view view;
    fr_array *y = fr_contiguous(x);
    y = y ? fr_own(y) : NULL;
    if (y && !fr_access(y, &view)) {
        *data = view.data;
        return y;
    }
    fr_free(y);
    return NULL;
}

int fr_save_by(fr_write_fn write, void *ctx, fr_file_format format, int n,
               const char *const *names, fr_array *const *arrays,
               const fr_save_options *options)
{
    static const fr_save_options none;
    const fr_save_options *o = options ? options : &none;
    fr__out out = {.write = write, .ctx = ctx, .wide = 0xffffffff};
    if (fr_error() != FR_OK)
        return -1;
    for (int i = 0; i < n; i++)
        if (!arrays[i] || (format != FR_FILE_NPY && !names[i])) {
            fr__io_fail(FR_ERROR_VALUE, "save: array or name %d is NULL", i);
            return -1;
        }
    if (n < 0 || (format == FR_FILE_NPY && n != 1)) {
        fr__io_fail(FR_ERROR_VALUE, "save: %d arrays in that format", n);
        return -1;
    }
    if ((format != FR_FILE_NPY && !fr__io_distinct("save", n, names)) || fr_eval_all(n, arrays))
        return -1;
    bool done = false;
    switch (format) {
    case FR_FILE_NPY: done = fr__write_npy(&out, arrays[0]); break;
    case FR_FILE_NPZ: done = fr__write_npz(&out, n, names, arrays, o->compressed); break;
    case FR_FILE_SAFETENSORS: done = fr__write_safetensors(&out, n, names, arrays, o); break;
    default: fr__io_fail(FR_ERROR_VALUE, "save: format %d", (int)format);
    }
    return done ? 0 : -1;
}

static int write_file(void *ctx, const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, ctx) == bytes)
        return 0;
    fr__io_fail(FR_ERROR_IO, "save: %s", strerror(errno));
    return -1;
}

/* A file that takes the place of another, or of none, once it is whole. */
typedef struct draft {
    char *path;   /* whose place it takes, links followed */
    char *beside; /* what it is called until then; NULL: a device or a pipe, written as it is */
    FILE *file;
} draft;

/* errno tells where there is no file then. */
static void open_beside(draft *d, mode_t mode, bool replaces)
{
    size_t room = strlen(d->path) + 16;
    int file = -1;
    if (!(d->beside = malloc(room)))
        return;
    for (int i = 0; file < 0 && i < 100; i++) { /* one that was there is someone else's */
        snprintf(d->beside, room, "%s.new%d", d->path, i);
        file = open(d->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file < 0 && errno != EEXIST)
            return;
    }
    if (file < 0 || (replaces && fchmod(file, mode)) || !(d->file = fdopen(file, "wb"))) {
        int why = errno;
        if (file >= 0) {
            close(file);
            remove(d->beside);
        }
        errno = why;
    }
}

static bool open_draft(draft *d, const char *path)
{
    struct stat old = {0};
    bool replaces = !stat(path, &old);
    *d = (draft){0};
    if (replaces && !S_ISREG(old.st_mode)) /* a directory: fopen refuses */
        d->file = fopen(path, "wb");
    else if ((d->path = replaces ? realpath(path, NULL) : strdup(path)))
        open_beside(d, old.st_mode & 07777, replaces);
    if (!d->file)
        fr__io_fail(FR_ERROR_IO, "save: %s: %s", path, strerror(errno));
    return d->file;
}

/* good: what was written is to stay. Whether all went well. */
static bool close_draft(draft *d, const char *path, bool good)
{
    bool opened = d->file;
    if (opened && fclose(d->file) && good)
        good = fr__io_fail(FR_ERROR_IO, "save: %s: %s", path, strerror(errno));
    if (good && d->beside && rename(d->beside, d->path))
        good = fr__io_fail(FR_ERROR_IO, "save: %s: %s", path, strerror(errno));
    if (!good && opened && d->beside)
        remove(d->beside);
    free(d->beside);
    free(d->path);
    return good;
}

int fr_save(const char *path, fr_file_format format, int n, const char *const *names,
            fr_array *const *arrays, const fr_save_options *options)
{
    draft d;
    if (fr_error() != FR_OK)
        return -1;
    bool good = open_draft(&d, path) &&
                !fr_save_by(write_file, d.file, format, n, names, arrays, options);
    return close_draft(&d, path, good) ? 0 : -1;
}
