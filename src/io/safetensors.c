/* safetensors.c - 8 bytes of length, JSON that says what is where, then all elements
 *
 *   {"__metadata__": {key: text ...}, name: {"dtype": "F32", "shape": [..], "data_offsets": [b, e]} ...}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

static const struct {
    const char *name;
    fr_dtype dtype;
} dtypes[] = {{"BOOL", FR_BOOL},   {"U8", FR_UINT8},      {"U16", FR_UINT16},
              {"U32", FR_UINT32},  {"U64", FR_UINT64},    {"I8", FR_INT8},
              {"I16", FR_INT16},   {"I32", FR_INT32},     {"I64", FR_INT64},
              {"F16", FR_FLOAT16}, {"BF16", FR_BFLOAT16}, {"F32", FR_FLOAT32},
              {"F64", FR_FLOAT64}, {"C64", FR_COMPLEX64}};
enum { DTYPES = sizeof dtypes / sizeof *dtypes, HEADER_MOST = 100 << 20 };

/* ---- JSON -------------------------------------------------------------------------------- */

typedef struct json {
    const unsigned char *at, *end;
} json;

static bool bad(const char *what)
{
    return fr__io_fail(FR_ERROR_VALUE, "load: safetensors: %s", what);
}

static void blanks(json *j)
{
    while (j->at < j->end &&
           (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r'))
        j->at++;
}

/* Whether this comes next; it is passed then. */
static bool next_is(json *j, char c)
{
    blanks(j);
    if (j->at == j->end || *j->at != (unsigned char)c)
        return false;
    j->at++;
    return true;
}

static int hex4(json *j)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        if (j->at == j->end)
            return -1;
        int c = *j->at++, d = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static char *put_utf8(char *to, int c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 63));
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    }
    return to;
}

/* What a backslash and the next characters stand for; -1: nothing. */
static int escaped(json *j)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end)
        return -1;
    int c = *j->at++;
    const char *known = c ? strchr(from, c) : NULL;
    if (known)
        return to[known - from];
    if (c != 'u')
        return -1;
    int high = hex4(j);
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u')
        return -1;
    j->at += 2;
    int low = hex4(j);
    return low < 0xdc00 || low > 0xdfff ? -1
                                        : 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* A string, allocated. NULL: an error is set. No longer than what it stands in. */
static char *text(json *j)
{
    if (!next_is(j, '"')) {
        bad("a string is missing in its header");
        return NULL;
    }
    const unsigned char *close = j->at;
    while (close < j->end && *close != '"')
        close += *close == '\\' && close + 1 < j->end ? 2 : 1;
    char *s = malloc((size_t)(close - j->at) + 1), *to = s;
    if (!s) {
        fr__io_fail(FR_ERROR_MEMORY, "load: no memory");
        return NULL;
    }
    while (j->at < j->end && *j->at != '"') {
        int c = *j->at++;
        if (c == '\\') {
            c = escaped(j);
            if (c > 0)
                to = put_utf8(to, c);
        } else if (c >= 0x20) {
            *to++ = (char)c;
        } else {
            c = -1;
        }
        if (c <= 0) { /* a NUL can't stand in a name of C's */
            bad("a string in its header is malformed");
            free(s);
            return NULL;
        }
    }
    if (!next_is(j, '"')) {
        bad("its header ends in a string");
        free(s);
        return NULL;
    }
    *to = 0;
    return s;
}

static bool whole_number(json *j, int64_t *to)
{
    blanks(j);
    const unsigned char *first = j->at;
    for (*to = 0; j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
        if (__builtin_mul_overflow(*to, 10, to) ||
            __builtin_add_overflow(*to, *j->at - '0', to))
            return bad("a number in its header is too large");
    return j->at > first || bad("a number is missing in its header");
}

static bool numbers(json *j, int64_t *to, int most, int *n)
{
    *n = 0;
    if (!next_is(j, '['))
        return bad("a list is missing in its header");
    if (next_is(j, ']'))
        return true;
    do {
        if (*n == most)
            return bad("a list in its header is too long");
        if (!whole_number(j, &to[(*n)++]))
            return false;
    } while (next_is(j, ','));
    return next_is(j, ']') || bad("a list in its header has no end");
}

/* ---- entries ------------------------------------------------------------------------------ */

typedef struct entry {
    int dtype, ndim;
    int64_t shape[FR_MAX_NDIM], offsets[2];
    bool has_shape, has_offsets;
} entry;

static bool read_field(json *j, const char *key, entry *e)
{
    int n;
    if (!strcmp(key, "dtype")) {
        char *name = text(j);
        for (int i = 0; name && i < DTYPES; i++)
            if (!strcmp(name, dtypes[i].name))
                e->dtype = (int)dtypes[i].dtype;
        if (name && e->dtype < 0)
            fr__io_fail(FR_ERROR_TYPE, "load: safetensors: no dtype for elements '%.16s'",
                        name);
        free(name);
        return e->dtype >= 0;
    }
    if (!strcmp(key, "shape")) {
        e->has_shape = true;
        return numbers(j, e->shape, FR_MAX_NDIM, &e->ndim);
    }
    if (!strcmp(key, "data_offsets")) {
        e->has_offsets = true;
        return numbers(j, e->offsets, 2, &n) && (n == 2 || bad("offsets are a pair"));
    }
    return bad("an entry has an unknown field");
}

/* {"key": value, ...}, each value read by a call. */
static bool each_field(json *j, bool (*field)(json *j, const char *key, void *to), void *to)
{
    if (!next_is(j, '{'))
        return bad("an object is missing in its header");
    if (next_is(j, '}'))
        return true;
    do {
        char *key = text(j);
        bool good = key && (next_is(j, ':') || bad("a ':' is missing in its header")) &&
                    field(j, key, to);
        free(key);
        if (!good)
            return false;
    } while (next_is(j, ','));
    return next_is(j, '}') || bad("an object in its header has no end");
}

static bool entry_field(json *j, const char *key, void *to) { return read_field(j, key, to); }

static bool text_field(json *j, const char *key, void *to)
{
    char *value = text(j), *copy = value ? malloc(strlen(key) + 1) : NULL;
    if (copy)
        strcpy(copy, key);
    return fr__archive_add_text(to, copy, value);
}

typedef struct reading {
    fr_archive *a;
    fr__bytes data;
    size_t taken; /* of data, by all: none is given out twice */
} reading;

static bool top_field(json *j, const char *key, void *to)
{
    reading *r = to;
    if (!strcmp(key, "__metadata__"))
        return each_field(j, text_field, r->a);
    entry e = {.dtype = -1};
    size_t bytes;
    if (!each_field(j, entry_field, &e))
        return false;
    if (e.dtype < 0 || !e.has_shape || !e.has_offsets)
        return bad("an entry lacks dtype, shape or data_offsets");
    uint64_t from = (uint64_t)e.offsets[0], end = (uint64_t)e.offsets[1];
    if (from > end || end > r->data.n)
        return bad("elements lie outside the file");
    if (!fr__io_bytes(e.shape, e.ndim, fr_dtype_size((fr_dtype)e.dtype), &bytes) ||
        bytes != end - from)
        return bad("a shape and the room for its elements don't fit");
    if (bytes > r->data.n - r->taken)
        return bad("elements of two arrays overlap");
    r->taken += bytes;
    return fr__archive_add(r->a, key, strlen(key),
                           fr__io_array(r->data.at + from, (fr_dtype)e.dtype, e.shape, e.ndim));
}

bool fr__read_safetensors(fr_archive *a, fr__bytes in)
{
    uint64_t length = fr__little(in.at, 8);
    if (length > in.n - 8 || length > HEADER_MOST)
        return bad("its header is longer than the file");
    json j = {in.at + 8, in.at + 8 + length};
    reading r = {.a = a, .data = {in.at + 8 + length, in.n - 8 - (size_t)length}};
    if (!each_field(&j, top_field, &r))
        return false;
    blanks(&j);
    return j.at == j.end || bad("its header goes on after its end");
}

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct buffer {
    char *at;
    size_t n, room;
} buffer;

static bool append(buffer *b, const char *s, size_t n)
{
    if (b->room - b->n < n) {
        size_t room = 2 * b->room + n + 256;
        char *more = realloc(b->at, room);
        if (!more)
            return fr__io_fail(FR_ERROR_MEMORY, "save: no memory");
        b->at = more;
        b->room = room;
    }
    memcpy(b->at + b->n, s, n);
    b->n += n;
    return true;
}

static bool append_text(buffer *b, const char *s)
{
    bool good = append(b, "\"", 1);
    for (; *s && good; s++) {
        char escape[8];
        if (*s == '"' || *s == '\\')
            good = append(b, (char[]){'\\', *s}, 2);
        else if ((unsigned char)*s < 0x20)
            good = append(b, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", *s));
        else
            good = append(b, s, 1);
    }
    return good && append(b, "\"", 1);
}

static bool append_entry(buffer *b, const fr_array *x, uint64_t from)
{
    char part[64];
    const char *name = "";
    for (int i = 0; i < DTYPES; i++)
        if (dtypes[i].dtype == fr_dtype_of(x))
            name = dtypes[i].name;
    bool good = append(
        b, part, (size_t)snprintf(part, sizeof part, ":{\"dtype\":\"%s\",\"shape\":[", name));
    for (int i = 0; good && i < fr_ndim(x); i++)
        good = append(b, part,
                      (size_t)snprintf(part, sizeof part, "%s%lld", i ? "," : "",
                                       (long long)fr_shape(x)[i]));
    return good && append(b, part,
                          (size_t)snprintf(part, sizeof part, "],\"data_offsets\":[%llu,%llu]}",
                                           (unsigned long long)from,
                                           (unsigned long long)(from + fr_nbytes(x))));
}

static bool append_header(buffer *b, int n, const char *const *names, fr_array *const *arrays,
                          const fr_save_options *o)
{
    bool good = append(b, "{", 1);
    uint64_t from = 0;
    if (good && o->ntexts) {
        good = append(b, "\"__metadata__\":{", 16);
        for (int i = 0; good && i < o->ntexts; i++)
            good = (!i || append(b, ",", 1)) && append_text(b, o->keys[i]) &&
                   append(b, ":", 1) && append_text(b, o->values[i]);
        good = good && append(b, n ? "}," : "}", n ? 2 : 1);
    }
    for (int i = 0; good && i < n; i++) {
        good = (!i || append(b, ",", 1)) && append_text(b, names[i]) &&
               append_entry(b, arrays[i], from);
        from += fr_nbytes(arrays[i]);
    }
    good = good && append(b, "}", 1);
    while (good && b->n % 8)
        good = append(b, " ", 1);
    return good;
}

bool fr__write_safetensors(fr__out *out, int n, const char *const *names,
                           fr_array *const *arrays, const fr_save_options *o)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], "__metadata__"))
            return fr__io_fail(FR_ERROR_VALUE, "save: no array can be named __metadata__");
    buffer b = {NULL, 0, 0};
    bool good = append_header(&b, n, names, arrays, o) && fr__put_little(out, b.n, 8) &&
                fr__put(out, b.at, b.n);
    free(b.at);
    for (int i = 0; good && i < n; i++) {
        const void *data;
        fr_array *values = fr__io_values(arrays[i], &data);
        good = values && fr__put(out, data, fr_nbytes(values));
        fr_free(values);
    }
    return good;
}
