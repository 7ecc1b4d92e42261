/* npy.c - numpy's format for one array: a line of text about it, then its elements
 *
 * bfloat16, which numpy hasn't, is written as '<V2', two bytes without a meaning, and read so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

static const struct {
    const char *code;
    fr_dtype dtype;
} codes[] = {{"b1", FR_BOOL},    {"u1", FR_UINT8},    {"u2", FR_UINT16},   {"u4", FR_UINT32},
             {"u8", FR_UINT64},  {"i1", FR_INT8},     {"i2", FR_INT16},    {"i4", FR_INT32},
             {"i8", FR_INT64},   {"f2", FR_FLOAT16},  {"V2", FR_BFLOAT16}, {"f4", FR_FLOAT32},
             {"f8", FR_FLOAT64}, {"c8", FR_COMPLEX64}};

typedef struct header {
    fr_dtype dtype;
    bool swapped, fortran;
    int ndim;
    int64_t shape[FR_MAX_NDIM];
} header;

/* What follows 'key': in the text, or NULL. */
static const char *value_of(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    if (!at)
        return NULL;
    at += strlen(key);
    while (*at == ' ' || *at == ':')
        at++;
    return at;
}

static bool read_shape(header *h, const char *at)
{
    if (*at++ != '(')
        return false;
    for (;;) {
        while (*at == ' ' || *at == ',' || *at == 'L')
            at++;
        if (*at == ')')
            return true;
        int64_t size = 0;
        const char *first = at;
        for (; *at >= '0' && *at <= '9'; at++)
            if (__builtin_mul_overflow(size, 10, &size) ||
                __builtin_add_overflow(size, *at - '0', &size))
                return false;
        if (at == first || h->ndim == FR_MAX_NDIM)
            return false;
        h->shape[h->ndim++] = size;
    }
}

static bool read_header(header *h, const char *text, const char *name)
{
    const char *descr = value_of(text, "'descr'"), *order = value_of(text, "'fortran_order'"),
               *shape = value_of(text, "'shape'");
    if (!descr || !order || !shape || !read_shape(h, shape))
        return fr__io_fail(FR_ERROR_VALUE, "load: %s: its header can't be read", name);
    h->fortran = !strncmp(order, "True", 4);
    if (*descr != '\'' || !descr[1] || !descr[2])
        return fr__io_fail(FR_ERROR_TYPE, "load: %s: elements are structures", name);
    h->swapped = descr[1] == '>';
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strncmp(descr + 2, codes[i].code, 2) && descr[4] == '\'') {
            h->dtype = codes[i].dtype;
            return true;
        }
    return fr__io_fail(FR_ERROR_TYPE, "load: %s: no dtype for elements of kind %.8s", name,
                       descr);
}

static fr_array *swap(const unsigned char *data, const header *h, size_t bytes)
{
    size_t item = fr_dtype_size(h->dtype), unit = h->dtype == FR_COMPLEX64 ? 4 : item;
    unsigned char *turned = malloc(bytes + 1);
    if (!turned) {
        fr__io_fail(FR_ERROR_MEMORY, "load: no memory for %zu bytes", bytes);
        return NULL;
    }
    for (size_t i = 0; i < bytes; i += unit)
        for (size_t k = 0; k < unit; k++)
            turned[i + k] = data[i + unit - 1 - k];
    fr_array *x = fr__io_array(turned, h->dtype, h->shape, h->ndim);
    free(turned);
    return x;
}

fr_array *fr__read_npy(fr__bytes in, const char *name)
{
    header h = {.ndim = 0};
    if (in.n < 10 || memcmp(in.at, "\x93NUMPY", 6)) {
        fr__io_fail(FR_ERROR_VALUE, "load: %s is no npy file", name);
        return NULL;
    }
    int wide = in.at[6] >= 2 ? 4 : 2; /* version 1 has a short length */
    size_t start = 8 + (size_t)wide, length = in.n < start ? 0 : fr__little(in.at + 8, wide);
    if (in.n < start || length > in.n - start) {
        fr__io_fail(FR_ERROR_VALUE, "load: %s ends in its header", name);
        return NULL;
    }
    char *text = malloc(length + 1);
    if (!text) {
        fr__io_fail(FR_ERROR_MEMORY, "load: no memory");
        return NULL;
    }
    memcpy(text, in.at + start, length);
    text[length] = 0;
    bool good = read_header(&h, text, name);
    free(text);
    const unsigned char *data = in.at + start + length;
    size_t bytes, have = in.n - start - length;
    if (!good)
        return NULL;
    if (!fr__io_bytes(h.shape, h.ndim, fr_dtype_size(h.dtype), &bytes) || bytes > have) {
        fr__io_fail(FR_ERROR_VALUE, "load: %s ends before its elements do: %zu bytes are there",
                    name, have);
        return NULL;
    }
    for (int i = 0; h.fortran && i < h.ndim / 2; i++) {
        int64_t size = h.shape[i];
        h.shape[i] = h.shape[h.ndim - 1 - i];
        h.shape[h.ndim - 1 - i] = size;
    }
    fr_array *x = h.swapped && fr_dtype_size(h.dtype) > 1
                      ? swap(data, &h, bytes)
                      : fr__io_array(data, h.dtype, h.shape, h.ndim);
    if (x && h.fortran && h.ndim > 1) {
        fr_array *turned = fr_own(fr_transpose(x, NULL, 0));
        fr_free(x);
        x = turned;
    }
    return x;
}

size_t fr__npy_header(const fr_array *x, char to[FR__NPY_HEADER])
{
    char shape[FR_MAX_NDIM * 21 + 3];
    const char *code = "";
    int n = 0, ndim = fr_ndim(x);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].dtype == fr_dtype_of(x))
            code = codes[i].code;
    shape[0] = 0;
    for (int i = 0; i < ndim; i++)
        n += snprintf(shape + n, sizeof shape - (size_t)n, "%lld%s", (long long)fr_shape(x)[i],
                      i + 1 < ndim ? ", "
                      : ndim == 1  ? ","
                                   : "");
    char order = fr_dtype_size(fr_dtype_of(x)) == 1 ? '|' : '<';
    int length = snprintf(to + 10, FR__NPY_HEADER - 80,
                          "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }", order,
                          code, shape);
    size_t total =
        ((size_t)length + 11 + 63) / 64 * 64; /* elements begin at a multiple of 64 */
    memset(to + 10 + length, ' ', total - 11 - (size_t)length);
    to[total - 1] = '\n';
    memcpy(to, "\x93NUMPY\1\0", 8);
    to[8] = (char)((total - 10) & 255);
    to[9] = (char)((total - 10) >> 8);
    return total;
}

bool fr__write_npy(fr__out *out, fr_array *x)
{
    char head[FR__NPY_HEADER];
    const void *data;
    fr_array *values = fr__io_values(x, &data);
    bool good = values && fr__put(out, head, fr__npy_header(values, head)) &&
                fr__put(out, data, fr_nbytes(values));
    fr_free(values);
    return good;
}
