/* error.c - the thread's error: its kind and its message
 *
 * needs   nothing
 * gives   fr__fail and what reads, decorates, saves and clears an error
 *
 * The message lives in a fixed buffer of the thread, so failing never allocates. A message
 * that does not fit ends in "...".
 */
#include "base/base.h"

#include <stdio.h>

_Thread_local fr__error_kind fr__error_now;
static _Thread_local char error_text[sizeof((fr__saved_error){0}.text)];

static void mark_cut(char *text, size_t room, int wanted)
{
    if (wanted >= 0 && (size_t)wanted < room)
        return;
    if (wanted < 0) { /* the format could not be printed: still say something */
        snprintf(text, room, "(unprintable message)");
        return;
    }
    size_t at = room - 4;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--; /* not in the middle of a UTF-8 character */
    memcpy(text + at, "...", 4);
}

static void set(fr__error_kind kind, const char *fmt, va_list args)
{
    if (fr__error_now != FR__E_NONE)
        return;
    int n = vsnprintf(error_text, sizeof error_text, fmt, args);
    mark_cut(error_text, sizeof error_text, n);
    fr__error_now = kind == FR__E_NONE ? FR__E_INTERNAL : kind;
}

void *fr__fail(fr__error_kind kind, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(kind, fmt, args);
    va_end(args);
    return NULL;
}

int fr__fail_int(fr__error_kind kind, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(kind, fmt, args);
    va_end(args);
    return -1;
}

void fr__error_context(const char *fmt, ...)
{
    if (fr__error_now == FR__E_NONE)
        return;
    char whole[sizeof error_text];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(whole, sizeof whole, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof whole)
        return; /* the cause matters more than where it was met */
    int more = snprintf(whole + n, sizeof whole - (size_t)n, ": %s", error_text);
    mark_cut(whole, sizeof whole, more < 0 ? more : n + more);
    memcpy(error_text, whole, sizeof error_text);
}

const char *fr__error_text(void) { return fr__error_now == FR__E_NONE ? "" : error_text; }

void fr__error_clear(void)
{
    fr__error_now = FR__E_NONE;
    error_text[0] = 0;
}

void fr__error_save(fr__saved_error *to)
{
    to->kind = fr__error_now;
    memcpy(to->text, error_text, sizeof error_text);
    fr__error_clear();
}

void fr__error_restore(const fr__saved_error *from)
{
    fr__error_now = from->kind;
    memcpy(error_text, from->text, sizeof error_text);
}
