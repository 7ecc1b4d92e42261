/* npz.c - numpy's format for several arrays: a zip file of npy files
 *
 * What the directory at the file's end says is read; the headers before each member are only used to
 * find where its bytes begin. All members together may take as many bytes as the file has.
 */
#include <stdlib.h>
#include <string.h>

#ifdef FR_ZLIB
#include <zlib.h>
#endif

#include "io/io.h"

enum { LOCAL = 30, CENTRAL = 46, END = 22, LOCATOR = 20, END_WIDE = 56 }; /* lengths */
enum { STORED = 0, DEFLATED = 8, DEFLATE_MOST = 1032 };

static bool bad(const char *what) { return fr__io_fail(FR_ERROR_VALUE, "load: npz: %s", what); }

/* ---- checksums ------------------------------------------------------------------------------ */

static uint32_t checksum(uint32_t crc, const void *data, size_t n)
{
#ifdef FR_ZLIB
    const unsigned char *p = data;
    uLong c = crc;
    while (n) {
        uInt part = n > 1u << 30 ? 1u << 30 : (uInt)n;
        c = crc32(c, p, part);
        p += part;
        n -= part;
    }
    return (uint32_t)c;
#else
    const unsigned char *p = data;
    crc = ~crc;
    for (; n; n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
#endif
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct member {
    const char *name;
    size_t name_length;
    int method;
    uint32_t crc;
    uint64_t packed, size, at;
} member;

#ifdef FR_ZLIB
static unsigned char *inflated(fr__bytes in, uint64_t size)
{
    if (size / DEFLATE_MOST > in.n) {
        bad("a member says that it is larger than it can be");
        return NULL;
    }
    unsigned char *data = malloc(size + 1);
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)in.at};
    if (!data || inflateInit2(&z, -15) != Z_OK) {
        free(data);
        fr__io_fail(FR_ERROR_MEMORY, "load: npz: no memory for %zu bytes", (size_t)size);
        return NULL;
    }
    uint64_t done = 0, used = 0;
    int state = Z_OK;
    while (state == Z_OK) { /* zlib counts in 32 bits */
        z.avail_in = in.n - used > 1u << 30 ? 1u << 30 : (uInt)(in.n - used);
        z.avail_out = size + 1 - done > 1u << 30 ? 1u << 30 : (uInt)(size + 1 - done);
        uInt in_before = z.avail_in, out_before = z.avail_out;
        z.next_out = data + done;
        state = inflate(&z, Z_NO_FLUSH);
        used += in_before - z.avail_in;
        done += out_before - z.avail_out;
        if (state == Z_OK && in_before == z.avail_in && out_before == z.avail_out)
            break;
    }
    inflateEnd(&z);
    if (state == Z_STREAM_END && done == size)
        return data;
    free(data);
    bad("a compressed member is damaged");
    return NULL;
}
#endif

static fr_array *read_member(const member *m, fr__bytes in)
{
    if (m->at > in.n || in.n - m->at < LOCAL || memcmp(in.at + m->at, "PK\3\4", 4))
        return bad("a member isn't where the directory says"), NULL;
    const unsigned char *local = in.at + m->at;
    uint64_t skip = LOCAL + fr__little(local + 26, 2) + fr__little(local + 28, 2);
    if (skip > in.n - m->at || m->packed > in.n - m->at - skip)
        return bad("a member goes beyond the file's end"), NULL;
    fr__bytes packed = {local + skip, m->packed};
    unsigned char *made = NULL;
    fr__bytes plain = packed;
    if (m->method == STORED && m->size != m->packed)
        return bad("the sizes of a member differ"), NULL;
    if (m->method == DEFLATED) {
#ifdef FR_ZLIB
        if (!(made = inflated(packed, m->size)))
            return NULL;
        plain = (fr__bytes){made, m->size};
#else
        fr__io_fail(FR_ERROR_IO,
                    "load: npz: compressed, and the library was built without zlib");
        return NULL;
#endif
    } else if (m->method != STORED) {
        fr__io_fail(FR_ERROR_VALUE, "load: npz: compression by method %d", m->method);
        return NULL;
    }
    char name[80];
    size_t length = m->name_length < 79 ? m->name_length : 79;
    memcpy(name, m->name, length);
    name[length] = 0;
    fr_array *x = NULL;
    if (checksum(0, plain.at, plain.n) != m->crc)
        bad("the checksum of a member is wrong");
    else
        x = fr__read_npy(plain, name);
    free(made);
    return x;
}

/* Sizes and the place that don't fit 32 bits stand in an extra field, in this order. */
static bool wide_numbers(member *m, const unsigned char *extra, size_t n)
{
    while (n >= 4) {
        size_t length = fr__little(extra + 2, 2);
        if (length > n - 4)
            return bad("a field of the directory has no end");
        if (fr__little(extra, 2) == 1) {
            const unsigned char *at = extra + 4, *end = at + length;
            uint64_t *wide[] = {&m->size, &m->packed, &m->at};
            for (int i = 0; i < 3; i++)
                if (*wide[i] == 0xffffffff && end - at >= 8) {
                    *wide[i] = fr__little(at, 8);
                    at += 8;
                }
        }
        extra += 4 + length;
        n -= 4 + length;
    }
    return true;
}

/* Where the directory is and how many members it has. */
static bool find_directory(fr__bytes in, uint64_t *at, uint64_t *count)
{
    size_t furthest = in.n > END + 65535 ? in.n - END - 65535 : 0;
    for (size_t i = in.n < END ? 0 : in.n - END + 1; i-- > furthest;) {
        const unsigned char *end = in.at + i;
        if (memcmp(end, "PK\5\6", 4) || END + fr__little(end + 20, 2) != in.n - i)
            continue;
        *count = fr__little(end + 10, 2);
        *at = fr__little(end + 16, 4);
        if (i >= LOCATOR && !memcmp(end - LOCATOR, "PK\6\7", 4)) {
            uint64_t wide = fr__little(end - LOCATOR + 8, 8);
            if (wide > in.n || in.n - wide < END_WIDE || memcmp(in.at + wide, "PK\6\6", 4))
                return bad("its wide directory is not where it says");
            *count = fr__little(in.at + wide + 32, 8);
            *at = fr__little(in.at + wide + 48, 8);
        }
        return true;
    }
    return bad("no directory at its end: damaged, or cut off");
}

bool fr__read_npz(fr_archive *a, fr__bytes in)
{
    uint64_t at = 0, count = 0, left = in.n;
    if (!find_directory(in, &at, &count))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (at > in.n || in.n - at < CENTRAL || memcmp(in.at + at, "PK\1\2", 4))
            return bad("its directory is damaged");
        const unsigned char *p = in.at + at;
        size_t name = fr__little(p + 28, 2), extra = fr__little(p + 30, 2),
               comment = fr__little(p + 32, 2);
        if (name + extra + comment > in.n - at - CENTRAL)
            return bad("its directory is cut off");
        member m = {.name = (const char *)p + CENTRAL,
                    .name_length = name,
                    .method = (int)fr__little(p + 10, 2),
                    .crc = (uint32_t)fr__little(p + 16, 4),
                    .packed = fr__little(p + 20, 4),
                    .size = fr__little(p + 24, 4),
                    .at = fr__little(p + 42, 4)};
        if (fr__little(p + 8, 2) & 1)
            return bad("a member is encrypted");
        if (!wide_numbers(&m, p + CENTRAL + name, extra))
            return false;
        if (m.packed > left)
            return bad("its members overlap");
        left -= m.packed;
        at += CENTRAL + name + extra + comment;
        if (memchr(m.name, 0, name))
            return bad("a name has a zero in it");
        fr_array *x = read_member(&m, in);
        if (name > 4 && !memcmp(m.name + name - 4, ".npy", 4))
            name -= 4;
        if (!fr__archive_add(a, m.name, name, x))
            return false;
    }
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct written {
    uint32_t method, crc;
    uint64_t packed, size, at;
} written;

#ifdef FR_ZLIB
/* Header and data deflated, allocated. NULL: an error. */
static unsigned char *deflated(const char *head, size_t head_bytes, const void *data,
                               size_t bytes, uint64_t *packed)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        fr__io_fail(FR_ERROR_MEMORY, "save: npz: no memory");
        return NULL;
    }
    size_t room = deflateBound(&z, head_bytes + bytes) + 64, done = 0;
    unsigned char *to = malloc(room);
    const void *parts[] = {head, data};
    size_t left[] = {head_bytes, bytes};
    int state = to ? Z_OK : Z_MEM_ERROR;
    for (int i = 0; state == Z_OK; i += i == 0 && !left[0]) { /* zlib counts in 32 bits */
        uInt in = left[i] > 1u << 30 ? 1u << 30 : (uInt)left[i],
             out = room - done > 1u << 30 ? 1u << 30 : (uInt)(room - done);
        z.next_in = (unsigned char *)(uintptr_t)parts[i] + (i ? bytes : head_bytes) - left[i];
        z.avail_in = in;
        z.next_out = to + done;
        z.avail_out = out;
        state = deflate(&z, i == 1 && in == left[1] ? Z_FINISH : Z_NO_FLUSH);
        left[i] -= in - z.avail_in;
        done += out - z.avail_out;
    }
    deflateEnd(&z);
    if (state != Z_STREAM_END) {
        free(to);
        fr__io_fail(FR_ERROR_MEMORY, "save: npz: an array could not be compressed");
        return NULL;
    }
    *packed = done;
    return to;
}
#endif

/* All bits set in a number of 32 say that 64 elsewhere are meant. */
static const uint64_t elsewhere = UINT64_MAX;
enum { VERSION = 20, VERSION_WIDE = 45 };

/* Whether the sizes of a member, or its place, take 64 bits. */
static bool wide_sizes(const fr__out *out, const written *w)
{
    return w->size >= out->wide || w->packed >= out->wide;
}
static bool wide_place(const fr__out *out, const written *w) { return w->at >= out->wide; }

/* The extra field that has them, and how long it is. */
static size_t extra_bytes(bool sizes, bool place)
{
    return sizes || place ? 4 + (sizes ? 16 : 0) + (place ? 8 : 0) : 0;
}

static bool put_extra(fr__out *out, const written *w, bool sizes, bool place)
{
    size_t n = extra_bytes(sizes, place);
    return !n || (fr__put_little(out, 1, 2) && fr__put_little(out, n - 4, 2) &&
                  (!sizes ||
                   (fr__put_little(out, w->size, 8) && fr__put_little(out, w->packed, 8))) &&
                  (!place || fr__put_little(out, w->at, 8)));
}

/* What local and central headers share: from the version on to the lengths of name and extra. */
static bool put_common(fr__out *out, const written *w, const char *name, bool sizes, bool place)
{
    return fr__put_little(out, sizes || place ? VERSION_WIDE : VERSION, 2) &&
           fr__put_little(out, 0x800, 2) && /* names in UTF-8 */
           fr__put_little(out, w->method, 2) &&
           fr__put_little(out, 0x00210000, 4) && /* 1980: files of one content are equal */
           fr__put_little(out, w->crc, 4) &&
           fr__put_little(out, sizes ? elsewhere : w->packed, 4) &&
           fr__put_little(out, sizes ? elsewhere : w->size, 4) &&
           fr__put_little(out, strlen(name) + 4, 2) &&
           fr__put_little(out, extra_bytes(sizes, place), 2);
}

static bool put_name(fr__out *out, const char *name)
{
    return fr__put(out, name, strlen(name)) && fr__put(out, ".npy", 4);
}

static bool write_member(fr__out *out, written *w, const char *name, fr_array *x,
                         bool compressed)
{
    char head[FR__NPY_HEADER];
    const void *data;
    fr_array *values = fr__io_values(x, &data);
    if (!values)
        return false;
    size_t head_bytes = fr__npy_header(values, head), bytes = fr_nbytes(values);
    *w =
        (written){.at = out->written, .size = head_bytes + bytes, .packed = head_bytes + bytes};
    w->crc = checksum(checksum(0, head, head_bytes), data, bytes);
    unsigned char *packed = NULL;
    bool good = true;
#ifdef FR_ZLIB
    if (compressed) {
        good = (packed = deflated(head, head_bytes, data, bytes, &w->packed)) != NULL;
        w->method = DEFLATED;
    }
#endif
    bool wide = wide_sizes(out, w);
    good = good && fr__put(out, "PK\3\4", 4) && put_common(out, w, name, wide, false) &&
           put_name(out, name) && put_extra(out, w, wide, false);
    if (good && packed)
        good = fr__put(out, packed, w->packed);
    else
        good = good && fr__put(out, head, head_bytes) && fr__put(out, data, bytes);
    free(packed);
    fr_free(values);
    return good;
}

static bool write_entry(fr__out *out, const written *w, const char *name)
{
    bool sizes = wide_sizes(out, w), place = wide_place(out, w);
    return fr__put(out, "PK\1\2", 4) &&
           fr__put_little(out, sizes || place ? VERSION_WIDE : VERSION, 2) &&
           put_common(out, w, name, sizes, place) && fr__put_little(out, 0, 2) &&
           fr__put_little(out, 0, 2) && fr__put_little(out, 0, 2) &&
           fr__put_little(out, 0, 4) && fr__put_little(out, place ? elsewhere : w->at, 4) &&
           put_name(out, name) && put_extra(out, w, sizes, place);
}

/* The end of a file whose directory is `bytes` at `at` and has n entries, and, before it, where
 * those don't fit, one of 64 bits and what says where that one is. */
static bool write_end(fr__out *out, uint64_t n, uint64_t at, uint64_t bytes)
{
    uint64_t end = out->written;
    bool wide = n >= 0xffff || bytes >= out->wide || at >= out->wide;
    if (wide &&
        !(fr__put(out, "PK\6\6", 4) && fr__put_little(out, END_WIDE - 12, 8) &&
          fr__put_little(out, VERSION_WIDE, 2) && fr__put_little(out, VERSION_WIDE, 2) &&
          fr__put_little(out, 0, 8) && fr__put_little(out, n, 8) && fr__put_little(out, n, 8) &&
          fr__put_little(out, bytes, 8) && fr__put_little(out, at, 8) &&
          fr__put(out, "PK\6\7", 4) && fr__put_little(out, 0, 4) &&
          fr__put_little(out, end, 8) && fr__put_little(out, 1, 4)))
        return false;
    if (wide)
        n = bytes = at = elsewhere;
    return fr__put(out, "PK\5\6", 4) && fr__put_little(out, 0, 4) &&
           fr__put_little(out, n, 2) && fr__put_little(out, n, 2) &&
           fr__put_little(out, bytes, 4) && fr__put_little(out, at, 4) &&
           fr__put_little(out, 0, 2);
}

bool fr__write_npz(fr__out *out, int n, const char *const *names, fr_array *const *arrays,
                   bool compressed)
{
#ifndef FR_ZLIB
    if (compressed)
        return fr__io_fail(FR_ERROR_IO, "save: npz: the library was built without zlib");
#endif
    for (int i = 0; i < n; i++)
        if (strlen(names[i]) > 0xffff - 4)
            return fr__io_fail(FR_ERROR_LIMIT, "save: npz: a name is too long");
    written *all = calloc((size_t)n + 1, sizeof *all);
    bool good = all || fr__io_fail(FR_ERROR_MEMORY, "save: npz: no memory");
    for (int i = 0; good && i < n; i++)
        good = write_member(out, &all[i], names[i], arrays[i], compressed);
    uint64_t at = out->written;
    for (int i = 0; good && i < n; i++)
        good = write_entry(out, &all[i], names[i]);
    free(all);
    return good && write_end(out, (uint64_t)n, at, out->written - at);
}
