/* file.c - archives, and files by format */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        return false;
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

fr_file_format fr_archive_format(const fr_archive *a) { return a->format; }
int fr_archive_count(const fr_archive *a) { return a->n; }
const char *fr_archive_name(const fr_archive *a, int i)
{
    return i >= 0 && i < a->n ? a->names[i] : NULL;
}
fr_array *fr_archive_array(const fr_archive *a, int i)
{
    return i >= 0 && i < a->n ? a->arrays[i] : NULL;
}
fr_array *fr_archive_find(const fr_archive *a, const char *name)
{
    for (int i = 0; i < a->n; i++)
        if (!strcmp(a->names[i], name))
            return a->arrays[i];
    return NULL;
}
int fr_archive_text_count(const fr_archive *a) { return a->ntexts; }
const char *fr_archive_text_key(const fr_archive *a, int i)
{
    return i >= 0 && i < a->ntexts ? a->texts[2 * i] : NULL;
}
const char *fr_archive_text_value(const fr_archive *a, int i)
{
    return i >= 0 && i < a->ntexts ? a->texts[2 * i + 1] : NULL;
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
    if (read_any(a, (fr__bytes){data, bytes}))
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
    fr__out out = {.write = write, .ctx = ctx};
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
    if (fr_eval_all(n, arrays))
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
    return fwrite(data, 1, bytes, ctx) == bytes ? 0 : -1;
}

int fr_save(const char *path, fr_file_format format, int n, const char *const *names,
            fr_array *const *arrays, const fr_save_options *options)
{
    if (fr_error() != FR_OK)
        return -1;
    char *beside = malloc(strlen(path) + 5);
    if (!beside) {
        fr__io_fail(FR_ERROR_MEMORY, "save: no memory");
        return -1;
    }
    strcat(strcpy(beside, path), ".new");
    FILE *f = fopen(beside, "wb");
    int failed = -1;
    if (!f)
        fr__io_fail(FR_ERROR_IO, "save: %s: %s", beside, strerror(errno));
    else
        failed = fr_save_by(write_file, f, format, n, names, arrays, options);
    if (f && fclose(f) && !failed) {
        fr__io_fail(FR_ERROR_IO, "save: %s: %s", beside, strerror(errno));
        failed = -1;
    }
    if (!failed && rename(beside, path)) {
        fr__io_fail(FR_ERROR_IO, "save: %s: %s", path, strerror(errno));
        failed = -1;
    }
    if (f && failed)
        remove(beside);
    free(beside);
    return failed;
}
