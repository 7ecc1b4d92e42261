/* io.h - what the files of this folder share. Over the public header only. */
#ifndef FR_SRC_IO_H
#define FR_SRC_IO_H

#include <stdint.h>

#include "ferrule/ferrule.h"

/* Sets an error; always false (and NULL, -1 by the callers). */
bool fr__io_fail(fr_error_kind kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- reading: bytes with an end ---- */

typedef struct fr__bytes {
    const unsigned char *at;
    size_t n;
} fr__bytes;

static inline uint64_t fr__little(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Bytes of an array of this shape; false: more than there could be. */
bool fr__io_bytes(const int64_t *shape, int ndim, size_t item, size_t *bytes);
/* An array of elements from a file, a reference of the caller's. NULL: a bool is neither 0 nor 1. */
fr_array *fr__io_array(const unsigned char *data, fr_dtype dtype, const int64_t *shape,
                       int ndim);
/* Whether no name stands there twice; `doing`, "load" or "save", begins the error otherwise. */
bool fr__io_distinct(const char *doing, int n, const char *const *names);

struct fr_archive {
    fr_file_format format;
    int n, room, ntexts, texts_room;
    char **names;
    fr_array **arrays;
    char **texts; /* key, value, key ... */
};
bool fr__archive_add(fr_archive *a, const char *name, size_t length,
                     fr_array *x);                                /* takes x over */
bool fr__archive_add_text(fr_archive *a, char *key, char *value); /* takes both over */

fr_array *fr__read_npy(fr__bytes in, const char *name);
bool fr__read_npz(fr_archive *a, fr__bytes in);
bool fr__read_safetensors(fr_archive *a, fr__bytes in);

/* ---- writing ---- */

typedef struct fr__out {
    fr_write_fn write;
    void *ctx;
    uint64_t written, wide; /* npz: numbers from `wide` on stand in 64 bits */
} fr__out;
bool fr__put(fr__out *out, const void *data, size_t bytes);
bool fr__put_little(fr__out *out, uint64_t value, int bytes);

/* Evaluated, row-major and in memory: a reference of the caller's and where its values are. */
fr_array *fr__io_values(fr_array *x, const void **data);
/* The header of an npy file; its length, 0 where it has no room. */
enum { FR__NPY_HEADER = 1024 };
size_t fr__npy_header(const fr_array *x, char to[FR__NPY_HEADER]);

bool fr__write_npy(fr__out *out, fr_array *x);
bool fr__write_npz(fr__out *out, int n, const char *const *names, fr_array *const *arrays,
                   bool compressed);
bool fr__write_safetensors(fr__out *out, int n, const char *const *names,
                           fr_array *const *arrays, const fr_save_options *o);

#endif
