/* stream.c - devices and their streams, by number; the one that a thread's new nodes record
 *
 * Numbers are given out for the life of the process: 0 is the CPU's, the first of a GPU is its
 * default stream. A node's stream says where it is computed.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fork.h"
#include "core/place.h"

enum { UNDECIDED = UINT16_MAX };
static _Thread_local uint16_t stream_now = UNDECIDED;
static _Atomic int streams = 1;
static fr__stream_about table[FR__MAX_STREAMS]; /* written before `streams` says so */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&lock, FR__RANK_STREAMS);
}

fr__stream_about fr__stream_where(uint16_t stream)
{
    return stream < atomic_load_explicit(&streams, memory_order_acquire)
               ? table[stream]
               : (fr__stream_about){FR__HOST, 0};
}

/* FERRULE_DEVICE: where new work of every thread runs until it says otherwise. */
static uint16_t first_stream(void)
{
    static const char *const names[] = {"cpu", "gpu", NULL};
    if (fr__env_choice("DEVICE", names, "cpu or gpu") != 1)
        return 0;
    fr__saved_error error;
    fr__error_save(&error);
    fr_stream s = fr_stream_default(FR_GPU, 0);
    if (fr__failed())
        fr__warn("FERRULE_DEVICE=gpu: %s. The CPU is used", fr__error_text());
    fr__error_restore(&error);
    return s.id;
}

fr_stream fr_stream_current(void)
{
    if (FR__UNLIKELY(stream_now == UNDECIDED))
        stream_now = first_stream();
    return (fr_stream){stream_now};
}

static int known(fr_stream s)
{
    if (s.id >= atomic_load_explicit(&streams, memory_order_acquire))
        return fr__fail_int(FR__E_VALUE, "stream %d doesn't exist", s.id);
    return 0;
}

int fr_stream_set(fr_stream s)
{
    if (known(s))
        return -1;
    stream_now = s.id;
    return 0;
}

int fr_device_count(fr_device_kind kind) { return kind == FR_CPU ? 1 : fr__gpus.count(); }

const char *fr_device_missing(fr_device_kind kind)
{
    return kind == FR_CPU || fr__gpus.count() ? "" : fr__gpus.why();
}

static int good_device(const char *doing, fr_device_kind kind, int index)
{
    int n = fr_device_count(kind);
    if (index >= 0 && index < n)
        return kind == FR_GPU ? fr__gpus.open(index) : 0;
    if (kind == FR_GPU && n == 0)
        return fr__fail_int(FR__E_DEVICE, "%s: no GPU: %s", doing, fr__gpus.why());
    return fr__fail_int(FR__E_DEVICE, "%s: there is no %s %d: there %s %d", doing,
                        kind == FR_CPU ? "CPU" : "GPU", index, n == 1 ? "is" : "are", n);
}

/* Locked: the numbers of a place's streams so far; its first one. */
static int count_of(int place, int *first)
{
    int n = 0;
    for (int i = atomic_load(&streams) - 1; i >= 0; i--)
        if (table[i].place == place) {
            n++;
            *first = i;
        }
    return n;
}

static fr_stream add(const char *doing, fr_device_kind kind, int index, bool first)
{
    if (fr__failed() || good_device(doing, kind, index))
        return (fr_stream){0};
    int place = kind == FR_CPU ? FR__HOST : 1 + index, at = 0;
    pthread_mutex_lock(&lock);
    int id = atomic_load(&streams), n = count_of(place, &at);
    bool more = !first || !n;
    if (more && id < FR__MAX_STREAMS) {
        table[id] = (fr__stream_about){(uint8_t)place, (uint16_t)n};
        atomic_store_explicit(&streams, id + 1, memory_order_release);
        at = id;
    }
    pthread_mutex_unlock(&lock);
    if (more && id >= FR__MAX_STREAMS) {
        fr__fail(FR__E_LIMIT, "%s: more than %d streams", doing, FR__MAX_STREAMS);
        return (fr_stream){0};
    }
    return (fr_stream){(uint16_t)at};
}

fr_stream fr_stream_default(fr_device_kind kind, int index)
{
    if (kind == FR_CPU && index == 0)
        return (fr_stream){0};
    return add("stream_default", kind, index, true);
}

fr_stream fr_stream_on(fr_device_kind kind, int index)
{
    if (kind == FR_GPU) /* the default one has number 0 */
        fr_stream_default(kind, index);
    return add("stream_on", kind, index, false);
}

fr_stream fr_stream_new(fr_device_kind kind) { return fr_stream_on(kind, 0); }

fr_device_kind fr_stream_device(fr_stream s)
{
    return fr__place_of_stream(s.id) == FR__HOST ? FR_CPU : FR_GPU;
}

int fr_stream_index(fr_stream s)
{
    int place = fr__place_of_stream(s.id);
    return place == FR__HOST ? 0 : place - 1;
}

int fr_device_about(fr_device_kind kind, int index, fr_device_info *to)
{
    *to = (fr_device_info){.kind = kind, .index = index};
    if (fr__failed() || good_device("device_about", kind, index))
        return -1;
    if (kind == FR_GPU)
        return fr__gpus.about(index, to);
    snprintf(to->name, sizeof to->name, "CPU");
    to->memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    to->units = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return 0;
}

/* The CPU's streams run their work during the call that asks for it. */
int fr_synchronize(fr_stream s)
{
    if (known(s))
        return -1;
    return fr__place_of_stream(s.id) == FR__HOST ? 0 : fr__gpus.synchronize(s.id);
}
