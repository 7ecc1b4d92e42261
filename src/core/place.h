/* place.h - where bytes lie: on the host, or on a GPU; streams
 *
 * A buffer's bytes never change once it has been published, so they may lie in several places: where
 * they were made (`data`), and copies, each made at the first asking and freed with the buffer.
 * Addresses of an array's elements are kept relative to the first: `x->data - buf->data` is an
 * offset that holds for every copy.
 *
 * What moves bytes to and from GPUs is src/device/cuda; this is what the core asks of it.
 */
#ifndef FR_PLACE_H
#define FR_PLACE_H

#include "core/array.h"

enum { FR__HOST = 0 }; /* a place; GPU i is place 1 + i */
enum { FR__MAX_STREAMS = 4096 };

/* Of a stream's number. GPUs' own numbers count from 0, the default stream. */
typedef struct fr__stream_about {
    uint8_t place;
    uint16_t number; /* among the streams of its device */
} fr__stream_about;
fr__stream_about fr__stream_where(uint16_t stream);
static inline int fr__place_of_stream(uint16_t stream)
{
    return stream ? fr__stream_where(stream).place : FR__HOST; /* 0 is the CPU's default */
}

/* Is what this thread builds now for a GPU? */
static inline bool fr__on_gpu(void)
{
    return fr__place_of_stream(fr_stream_current().id) != FR__HOST;
}

/* What a GPU can do for the core. `stream` is a number of ours. Addresses on a GPU are char * that
 * the host must not read. int: 0, or -1 with an error; NULL: with an error. */
typedef struct fr__gpu_ops {
    int (*count)(void);       /* of devices; 0: none, and why() tells */
    const char *(*why)(void); /* "" when there is one */
    int (*open)(int device);  /* before its first stream is made */
    char *(*alloc)(uint16_t stream, size_t bytes);
    void (*free)(uint16_t stream, char *block, size_t bytes);
    int (*upload)(uint16_t stream, char *to, const void *from, size_t bytes);
    int (*download)(uint16_t stream, void *to, const char *from, size_t bytes); /* waits */
    int (*between)(uint16_t stream, char *to, uint16_t from_stream, const char *from,
                   size_t bytes);
    /* `stream` goes on when what `owner`, another stream of the same device, has queued is done;
     * `block`, of owner's, isn't handed out again before what follows on `stream` is done. */
    int (*use)(uint16_t stream, char *block, uint16_t owner);
    /* Does another stream than `stream`, whose block it is, use it, or did it? */
    bool (*is_shared)(uint16_t stream, const char *block);
    int (*synchronize)(uint16_t stream);
    int (*about)(int device, fr_device_info *to);
    fr_memory_info (*memory)(int device);
    void (*reset_peak)(int device);
    size_t (*set_cache_limit)(int device, size_t bytes);
    size_t (*set_limit)(int device, size_t bytes);
    void (*clear_cache)(int device);
} fr__gpu_ops;
extern const fr__gpu_ops fr__gpus; /* src/device/cuda/place.c */

/* A new buffer where this stream's results lie. NULL with an error. */
fr__buffer *fr__buffer_on(uint16_t stream, size_t bytes);
/* One of a GPU's memory that was taken for this stream; takes it over, also on failure. */
fr__buffer *fr__buffer_around(uint16_t stream, size_t bytes, char *data);
/* The address of its bytes for work on this stream (0: for the host, who waits for them); copied
 * there if they aren't there yet. NULL with an error. */
char *fr__buffer_at(fr__buffer *b, uint16_t stream);
/* Frees its copies and, where they lie on a GPU, its bytes: by fr__buffer_release. */
void fr__buffer_leave(fr__buffer *b);
/* The address of element [0, 0, ...] of a done array: for the host; NULL with an error (or, without one,
 * for an array of no elements). */
char *fr__host_data(fr_array *x);
static inline char *fr__data_on(fr_array *x, uint16_t stream)
{
    char *base = x->buf ? fr__buffer_at(x->buf, stream) : NULL;
    return base ? base + (x->data - (char *)x->buf->data) : NULL;
}

#endif
