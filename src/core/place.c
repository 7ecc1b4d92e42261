/* place.c - copies of buffers on other devices: made when asked for, freed with the buffer */
#include "core/place.h"

#include <pthread.h>

#include "core/alloc.h"

struct fr__copy {
    fr__copy *next;
    char *data;
    uint8_t place;
    uint16_t stream; /* that it was made on */
};

enum { LOCKS = 64 };
static pthread_mutex_t locks[LOCKS]; /* of buffers, while a copy is made */

__attribute__((constructor)) static void at_load(void)
{
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&locks[i], NULL);
}

static pthread_mutex_t *lock_of(const fr__buffer *b)
{
    return &locks[((uintptr_t)b >> 5) % LOCKS];
}

fr__buffer *fr__buffer_on(uint16_t stream, size_t bytes)
{
    if (fr__place_of_stream(stream) == FR__HOST)
        return fr__buffer_new(bytes);
    char *data = fr__gpus.alloc(stream, bytes);
    return data ? fr__buffer_around(stream, bytes, data) : NULL;
}

fr__buffer *fr__buffer_around(uint16_t stream, size_t bytes, char *data)
{
    fr__buffer *b = fr__malloc(sizeof *b);
    if (!b) {
        fr__gpus.free(stream, data, bytes);
        return NULL;
    }
    *b = (fr__buffer){.refs = 1,
                      .bytes = bytes,
                      .place = (uint8_t)fr__place_of_stream(stream),
                      .stream = stream,
                      .data = data};
    return b;
}

static void free_bytes(int place, uint16_t stream, char *data, size_t bytes)
{
    if (place == FR__HOST)
        fr__data_free(data, bytes);
    else
        fr__gpus.free(stream, data, bytes);
}

void fr__buffer_leave(fr__buffer *b)
{
    fr__copy *next;
    for (fr__copy *c = atomic_load_explicit(&b->copies, memory_order_acquire); c; c = next) {
        next = c->next;
        free_bytes(c->place, c->stream, c->data, b->bytes);
        fr__free(c);
    }
    if (b->release)
        b->release(b->ctx);
    else
        free_bytes(b->place, b->stream, b->data, b->bytes);
}

static const fr__copy *find(fr__buffer *b, int place)
{
    const fr__copy *c = atomic_load_explicit(&b->copies, memory_order_acquire);
    while (c && c->place != place)
        c = c->next;
    return c;
}

static int fill(const fr__buffer *b, int place, uint16_t stream, char *to)
{
    if (!b->bytes)
        return 0;
    if (place == FR__HOST)
        return fr__gpus.download(b->stream, to, b->data, b->bytes);
    if (b->place == FR__HOST)
        return fr__gpus.upload(stream, to, b->data, b->bytes);
    return fr__gpus.between(stream, to, b->stream, b->data, b->bytes);
}

/* Locked. */
static const fr__copy *make(fr__buffer *b, int place, uint16_t stream)
{
    const fr__copy *there = find(b, place); /* another thread was faster */
    if (there)
        return there;
    fr__copy *c = fr__malloc(sizeof *c);
    char *to = !c                  ? NULL
               : place == FR__HOST ? fr__data_alloc(b->bytes)
                                   : fr__gpus.alloc(stream, b->bytes);
    if (!to || fill(b, place, stream, to)) {
        if (to)
            free_bytes(place, stream, to, b->bytes);
        fr__free(c);
        return NULL;
    }
    *c = (fr__copy){.next = atomic_load_explicit(&b->copies, memory_order_relaxed),
                    .data = to,
                    .place = (uint8_t)place,
                    .stream = stream};
    atomic_store_explicit(&b->copies, c, memory_order_release);
    return c;
}

char *fr__buffer_at(fr__buffer *b, uint16_t stream)
{
    int place = fr__place_of_stream(stream);
    char *data = b->data;
    uint16_t owner = b->stream;
    if (b->place != place) {
        const fr__copy *c = find(b, place);
        if (!c) {
            pthread_mutex_lock(lock_of(b));
            c = make(b, place, stream);
            pthread_mutex_unlock(lock_of(b));
        }
        if (!c)
            return NULL;
        data = c->data;
        owner = c->stream;
    }
    if (place != FR__HOST && owner != stream && fr__gpus.use(stream, data, owner))
        return NULL;
    return data;
}

fr_device_kind fr_device_of(const fr_array *x)
{
    int place = !x                      ? FR__HOST
                : fr__done(x) && x->buf ? x->buf->place
                                        : fr__place_of_stream(x->stream);
    return place == FR__HOST ? FR_CPU : FR_GPU;
}

char *fr__host_data(fr_array *x)
{
    return !x->buf || x->buf->place == FR__HOST ? x->data : fr__data_on(x, 0);
}
