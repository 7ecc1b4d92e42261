/* events.c - FERRULE_TRACE=file: what happened when, for chrome://tracing and Perfetto
 *
 * The file is a whole JSON array after each write: the closing bracket is written over by the next.
 * Events gather in a buffer that is written when it is full and when the process ends. A file
 * that can't be written is a warning, and nothing more is noted.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "base/fork.h"

enum { ROOM = 1 << 15, EVENT = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_EVENTS);
}

static _Atomic int state; /* 0: not asked yet, 1: off, 2: on */
static int file = -1;
static pid_t owner; /* a child after fork writes nothing */
static off_t end;   /* where the closing bracket stands */
static char *buffer;
static size_t used;

static void give_up(const char *what)
{
    fr__complain("FERRULE_TRACE: %s: %s; no events are noted", what, strerror(errno));
    atomic_store(&state, 1);
    if (file >= 0)
        close(file);
    file = -1;
}

static int put(const char *text, size_t n, off_t at)
{
    while (n) {
        ssize_t done = pwrite(file, text, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        text += done;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

static void flush(void)
{
    if (file < 0 || !used || getpid() != owner)
        return;
    size_t n = used;
    memcpy(buffer + n, "\n]\n", 3);
    used = 0;
    if (put(buffer, n + 3, end))
        give_up("write");
    else
        end += (off_t)n;
}

static void at_end(void)
{
    pthread_mutex_lock(&lock);
    flush();
    pthread_mutex_unlock(&lock);
}

static void start(void)
{
    const char *name = fr__env("TRACE");
    if (!name || !*name) {
        atomic_store(&state, 1);
        return;
    }
    buffer = malloc(ROOM + EVENT + 8); /* not the library's: watching doesn't count */
    file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || !buffer || put("[\n\n]\n", 5, 0)) {
        give_up(name);
        return;
    }
    end = 2;
    owner = getpid();
    atexit(at_end);
    atomic_store(&state, 2);
}

bool fr__events_on(void)
{
    int s = atomic_load_explicit(&state, memory_order_acquire);
    if (!s) {
        pthread_mutex_lock(&lock);
        if (!atomic_load(&state))
            start();
        s = atomic_load(&state);
        pthread_mutex_unlock(&lock);
    }
    return s == 2;
}

/* Text as a JSON string's inside. */
static void quoted(const char *text, char *to, size_t room)
{
    size_t n = 0;
    for (; text && *text && n + 8 < room; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            to[n++] = '\\';
            to[n++] = (char)c;
        } else if (c < 0x20 || c >= 0x7f) { /* bytes beyond ASCII as Latin: always valid */
            n += (size_t)snprintf(to + n, room - n, "\\u%04x", c);
        } else {
            to[n++] = (char)c;
        }
    }
    to[n] = 0;
}

void fr__event(const char *kind, const char *name, double from, double seconds,
               const char *detail)
{
    char shown[300], more[400], text[EVENT];
    if (!fr__events_on())
        return;
    quoted(name, shown, sizeof shown);
    quoted(detail, more, sizeof more);
    pthread_mutex_lock(&lock);
    if (file >= 0 && getpid() == owner) {
        int n =
            snprintf(text, sizeof text,
                     "%s{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
                     "\"pid\":%ld,\"tid\":%ld,\"args\":{\"detail\":\"%s\"}}",
                     end + (off_t)used > 2 ? ",\n" : "", shown, kind, 1e6 * from, 1e6 * seconds,
                     (long)owner, (long)syscall(SYS_gettid), more);
        if (n > 0 && n < (int)sizeof text) {
            memcpy(buffer + used, text, (size_t)n);
            used += (size_t)n;
        }
        if (used >= ROOM)
            flush();
    }
    pthread_mutex_unlock(&lock);
}
