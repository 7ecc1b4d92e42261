/* text.c - text that grows
 *
 * needs   mem.c
 * gives   fr__text_*
 *
 * A failed allocation sets the error and `failed`; what is added after that is dropped, so a
 * printer checks once, at its end.
 */
#include "base/base.h"

#include <stdio.h>

/* Room for n more bytes and the NUL. */
static bool reserve(fr__text *t, size_t n)
{
    if (t->failed)
        return false;
    if (FR__LIKELY(t->room - t->n > n))
        return true;
    size_t want;
    if (__builtin_add_overflow(t->n, n, &want) || want >= PTRDIFF_MAX)
        want = SIZE_MAX; /* refused below */
    else if (want + 1 < 2 * t->room)
        want = 2 * t->room;
    else
        want = want + 1 < 64 ? 64 : want + 1;
    char *p = fr__realloc(t->at, want);
    if (!p) {
        t->failed = true;
        return false;
    }
    t->at = p;
    t->room = want;
    return true;
}

void fr__text_addn(fr__text *t, const char *s, size_t n)
{
    if (!reserve(t, n))
        return;
    if (n)
        memcpy(t->at + t->n, s, n);
    t->n += n;
    t->at[t->n] = 0;
}

void fr__text_add(fr__text *t, const char *s) { fr__text_addn(t, s, strlen(s)); }

void fr__text_char(fr__text *t, char c)
{
    if (!reserve(t, 1))
        return;
    t->at[t->n++] = c;
    t->at[t->n] = 0;
}

void fr__text_int(fr__text *t, int64_t v)
{
    char digits[20];
    int at = sizeof digits;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        digits[--at] = '-';
    fr__text_addn(t, digits + at, sizeof digits - (size_t)at);
}

void fr__text_f(fr__text *t, const char *fmt, ...)
{
    if (!reserve(t, 40)) /* most pieces fit at once */
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(t->at + t->n, t->room - t->n, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= t->room - t->n) {
        t->at[t->n] = 0; /* in case there is no room */
        if (reserve(t, (size_t)n))
            vsnprintf(t->at + t->n, t->room - t->n, fmt, again);
        else
            n = 0;
    }
    va_end(again);
    if (n >= 0) {
        t->n += (size_t)n;
    } else {
        fr__fail(FR__E_INTERNAL, "a text could not be formatted");
        t->failed = true;
    }
    t->at[t->n] = 0;
}

void fr__text_free(fr__text *t)
{
    fr__free(t->at);
    *t = (fr__text){0};
}
