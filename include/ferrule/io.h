/* io.h - arrays in files: npy, npz (numpy's), safetensors; included by ferrule.h
 *
 * What is read is never trusted: lengths, shapes and offsets are held against the file's size before
 * anything is allocated, names and checksums against each other; whatever doesn't hold is a VALUE
 * error that says what, and no more memory is taken than the file's size warrants (a compressed file
 * can hold 1032 times its size). A file that can't be opened, read or written is an IO error.
 */
#ifndef FERRULE_IO_H
#define FERRULE_IO_H

#include "ferrule/ferrule.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fr_file_format { FR_FILE_NPY, FR_FILE_NPZ, FR_FILE_SAFETENSORS } fr_file_format;

/* ---- reading ----------------------------------------------------------------------------- */

/* What a file holds: named arrays (an npy file: one, named ""), and texts about them. */
typedef struct fr_archive fr_archive;

FR_API fr_archive *fr_load(const char *path); /* the format is told by the contents */
FR_API fr_archive *fr_load_bytes(const void *data,
                                 size_t bytes); /* data is not needed afterwards */
FR_API void fr_archive_free(fr_archive *a);     /* NULL: nothing */
FR_API fr_file_format fr_archive_format(const fr_archive *a);
FR_API int fr_archive_count(const fr_archive *a);
FR_API const char *fr_archive_name(const fr_archive *a, int i);
FR_API fr_array *fr_archive_array(const fr_archive *a, int i); /* the archive's: fr_keep it */
FR_API fr_array *fr_archive_find(const fr_archive *a, const char *name); /* NULL: not there */
FR_API int fr_archive_text_count(const fr_archive *a);                   /* of safetensors */
FR_API const char *fr_archive_text_key(const fr_archive *a, int i);
FR_API const char *fr_archive_text_value(const fr_archive *a, int i);

/* ---- writing ----------------------------------------------------------------------------- */

typedef struct fr_save_options {
    bool compressed;         /* npz: deflated */
    int ntexts;              /* safetensors: metadata */
    const char *const *keys; /* UTF-8 */
    const char *const *values;
} fr_save_options;

/* Evaluates the arrays and writes them in a format; npy takes one, whose name doesn't count. A file
 * that is there is replaced once all is written, beside it, as path.new0 or with the first number that
 * is free; links and modes stay. A pipe or a device is written as it is. options may be NULL.
 *   VALUE   a NULL, two arrays of one name, a format that there isn't, npy and more than one array
 *   IO      what can't be written; what was there stays as it was, and nothing is left beside it */
FR_API int fr_save(const char *path, fr_file_format format, int n, const char *const *names,
                   fr_array *const *arrays, const fr_save_options *options);
/* The same by a function of yours: called with the bytes in order; gives 0 on success. */
typedef int (*fr_write_fn)(void *ctx, const void *data, size_t bytes);
FR_API int fr_save_by(fr_write_fn write, void *ctx, fr_file_format format, int n,
                      const char *const *names, fr_array *const *arrays,
                      const fr_save_options *options);

#ifdef __cplusplus
}
#endif
#endif
