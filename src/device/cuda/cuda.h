/* cuda.h - NVIDIA GPUs by the driver API, opened at run time
 *
 * needs   libcuda.so.1 of any driver since 470; nothing at build time (no toolkit headers: the few
 *         types and constants that we use stand in driver.h)
 * gives   devices with a context each, memory from a caching allocator, streams, transfers,
 *         modules, launches, graphs
 *
 * Every call may come from any thread; whichever needs a context makes it current itself, and puts
 * back another one that the thread had. An address on the device is a char * that the host must not
 * read. Work is queued on a stream and runs in order there.
 *
 * Errors: 0 or NULL for success where an int or a pointer says so; a driver's failure is
 * FR_ERROR_DEVICE with the call's name, the driver's name for the error
 * ("CUDA_ERROR_ILLEGAL_ADDRESS") and its words; FR_ERROR_MEMORY when the device's memory is out.
 * A fault on the device loses it for the rest of the process: every later call that would queue or
 * wait on it fails and names the first fault; what gives memory back still works.
 */
#ifndef FR_CUDA_H
#define FR_CUDA_H

#include "base/base.h"

/* How many GPUs there are: 0 where no driver is (fr__cuda_why() says why: not found, no device, too
 * old ...) or FERRULE_CUDA=0 says not to look. Opens the driver at the first call; cheap afterwards.
 * FERRULE_CUDA_DRIVER names another library to open (tests: the stand-in). After fork() in a process
 * that had opened the driver: 0, "CUDA doesn't survive fork". */
int fr__cuda_count(void);
const char *fr__cuda_why(void); /* where there are GPUs: the driver's version */

typedef struct fr__gpu fr__gpu;
typedef struct fr__gpu_info {
    char name[96];
    int index, sm;            /* compute capability * 10: 90 */
    int processors, warp;     /* multiprocessors; 32 */
    int threads, blocks;      /* most threads and blocks that are resident on one of them */
    int shared, shared_block; /* bytes of shared memory of one; most that a block may ask for */
    int driver;               /* as cuDriverGetVersion: 12040 */
    size_t memory, l2;        /* bytes in all; of the second-level cache */
} fr__gpu_info;
/* The device, its primary context retained at the first call. NULL with an error. */
fr__gpu *fr__gpu_get(int index);
const fr__gpu_info *fr__gpu_about(const fr__gpu *g);
/* Bytes that the driver would still give, and all; other processes' use counts. 0 or -1. */
int fr__gpu_free_memory(fr__gpu *g, size_t *free, size_t *total);
/* Has a fault on it been seen? Its memory is gone then, until the process ends. */
bool fr__gpu_lost(const fr__gpu *g);

/* ---- streams: number 0 is there from the start; none is destroyed before the process ends ---- */

typedef struct fr__gpu_stream fr__gpu_stream;
/* Made at the first call; it doesn't wait for the default stream. Numbers are modulo 1024: those
 * beyond share streams. */
fr__gpu_stream *fr__gpu_stream_get(fr__gpu *g, int number);
fr__gpu *fr__gpu_of(const fr__gpu_stream *s);
/* What was queued on `s` so far happens before what is queued on `after` from now on. They may
 * belong to different devices. */
int fr__gpu_wait_for(fr__gpu_stream *after, fr__gpu_stream *s);
/* Waits for all that is queued. The first fault becomes an error that names the kernel: the one
 * launched last on the stream when the fault was seen, or exactly that one with
 * FERRULE_CUDA_BLOCKING=1, which waits after every launch. */
int fr__gpu_synchronize(fr__gpu_stream *s);
int fr__gpu_synchronize_all(fr__gpu *g); /* every stream of the device */
bool fr__gpu_idle(fr__gpu_stream *s);    /* true also when the device is lost */

/* ---- memory: cached blocks, stream-ordered ------------------------------------------------- */

/* A block for work on `s`, 256-byte aligned. NULL with an error: FR_ERROR_MEMORY with what was asked
 * and active, cached and total bytes, after cached blocks were given back and the driver was asked
 * again. bytes 0: a block of the least size. */
char *fr__gpu_alloc(fr__gpu_stream *s, size_t bytes);
/* Many: `at` of each is filled in, best with the block at the first of these addresses that is free and
 * of this size (NULL ends them). 0, or -1 with nothing taken. */
typedef struct fr__gpu_want {
    size_t bytes;
    const char *best[2];
    char *at;
} fr__gpu_want;
int fr__gpu_alloc_all(fr__gpu_stream *s, int n, fr__gpu_want *wants);
/* Back to the cache; NULL does nothing. May be reused at once by work queued on the stream of its
 * alloc. `s` is any stream of the device: where it isn't that one, it counts as having used the
 * block. `bytes` as in alloc. */
void fr__gpu_free(fr__gpu_stream *s, char *block, size_t bytes);
/* Another stream has queued work on this block: it isn't reused before that is done (an event is
 * recorded at its free). The stream may belong to another device. 0 or -1. */
int fr__gpu_used_by(fr__gpu *g, char *block, fr__gpu_stream *other);
/* Was that ever said of this block? */
bool fr__gpu_is_shared(fr__gpu *g, const char *block);

typedef struct fr__gpu_memory {
    size_t active, peak, cached, limit, most; /* limit: of what is cached; most: of all */
} fr__gpu_memory;
fr__gpu_memory fr__gpu_memory_of(fr__gpu *g);
void fr__gpu_reset_peak(fr__gpu *g);
size_t fr__gpu_set_cache_limit(fr__gpu *g, size_t bytes); /* gives the old one */
/* Most bytes that are asked of the driver: beyond is FR_ERROR_MEMORY. Gives the old one. */
size_t fr__gpu_set_limit(fr__gpu *g, size_t bytes);
void fr__gpu_clear_cache(fr__gpu *g); /* waits for what is queued, then gives it all back */

/* ---- transfers --------------------------------------------------------------------------- */

/* Host to device: when it returns the host's memory may be changed (transfers go through pinned
 * staging, large ones in pieces, so that copying to the staging overlaps the transfer). An error while the stream records: a replay would read what is gone. */
int fr__gpu_upload(fr__gpu_stream *s, char *to, const void *from, size_t bytes);
/* Device to host: waits until the bytes are there. An error while the stream records. */
int fr__gpu_download(fr__gpu_stream *s, void *to, const char *from, size_t bytes);
int fr__gpu_copy(fr__gpu_stream *s, char *to, const char *from, size_t bytes); /* one device */
/* Between two devices, on `s`, a stream of the device of `to`. */
int fr__gpu_copy_peer(fr__gpu_stream *s, char *to, fr__gpu *from_gpu, const char *from,
                      size_t bytes);
int fr__gpu_zero(fr__gpu_stream *s, char *to, size_t bytes);
int fr__gpu_fill(fr__gpu_stream *s, char *to, unsigned char byte, size_t bytes);

/* ---- code -------------------------------------------------------------------------------- */

typedef struct fr__gpu_code fr__gpu_code; /* an entry of a loaded module */
/* image: PTX text (NUL-terminated) or a cubin of so many bytes. The JIT's words come with the error.
 * Loaded eagerly. entry NULL: the module alone, for fr__gpu_load_also. */
fr__gpu_code *fr__gpu_load(fr__gpu *g, const void *image, size_t bytes, const char *entry);
/* Another entry of the module that fr__gpu_load made `of` from; unloaded before that, if at all. */
fr__gpu_code *fr__gpu_load_also(fr__gpu_code *of, const char *entry);
fr__gpu_code *fr__gpu_no_code(void); /* its launches do nothing */
/* Safe while it runs: waits for the device first; while a stream records, it is put off until then.
 * A recorded graph needs its codes: they are unloaded after it. */
void fr__gpu_unload(fr__gpu_code *c);
/* PTX to a cubin by the driver's linker, fr__malloc'ed: for the disk cache. */
char *fr__gpu_assemble(fr__gpu *g, const char *ptx, size_t *bytes);

typedef struct fr__gpu_shape {
    unsigned blocks, threads, shared; /* shared: dynamic bytes; opted into beyond 48 KiB */
} fr__gpu_shape;
/* params: as cuLaunchKernel's kernelParams. name: for errors; must outlive the process's interest in
 * it (the next synchronize): pass a static or kept text. No blocks: nothing happens. */
int fr__gpu_launch(fr__gpu_stream *s, fr__gpu_code *c, fr__gpu_shape shape, void **params,
                   const char *name);
/* Blocks of that many threads that are resident on one multiprocessor at a time; 0 with an error. */
int fr__gpu_resident(fr__gpu_code *c, unsigned threads, unsigned shared);
typedef struct fr__gpu_code_info {
    int registers, local, shared, threads; /* a thread's; bytes a thread; static bytes; most */
} fr__gpu_code_info;
int fr__gpu_code_about(fr__gpu_code *c, fr__gpu_code_info *to);

/* ---- graphs ------------------------------------------------------------------------------ */

/* What is queued on this stream between begin and end is recorded instead of run. In between the
 * stream belongs to this thread: nobody else queues on it. Allowed meanwhile: launch, copy, zero,
 * alloc, free, used_by, load, unload. Waits, marks, uploads and downloads are errors. A block freed while recording may be used again by what is recorded
 * later, but its address goes on belonging to the graph: keep what a graph uses as long as it. */
typedef struct fr__gpu_graph fr__gpu_graph;
int fr__gpu_record_begin(fr__gpu_stream *s);
fr__gpu_graph *fr__gpu_record_end(fr__gpu_stream *s); /* NULL with an error: nothing recorded */
/* Work that may run side by side is recorded on other streams, which join the recording and leave it before
 * it ends. A point is after what was recorded on its stream so far. NULL or -1 with an error; `lane` has
 * left in any case. */
typedef struct fr__gpu_point fr__gpu_point;
fr__gpu_point *fr__gpu_record_point(fr__gpu_stream *s);
int fr__gpu_record_join(fr__gpu_stream *lane, fr__gpu_point *from);
int fr__gpu_record_wait(fr__gpu_stream *lane, const fr__gpu_point *point);
int fr__gpu_record_leave(fr__gpu_stream *s, fr__gpu_stream *lane); /* s waits for it */
void fr__gpu_point_free(fr__gpu_point *point);
int fr__gpu_graph_launch(fr__gpu_stream *s, fr__gpu_graph *graph, const char *name);
int fr__gpu_graph_nodes(const fr__gpu_graph *graph);
void fr__gpu_graph_free(fr__gpu_graph *graph); /* safe while it runs */

/* ---- time -------------------------------------------------------------------------------- */

/* Seconds between two marks on a stream, by events; for explain and benches. */
typedef struct fr__gpu_mark fr__gpu_mark;
fr__gpu_mark *fr__gpu_mark_new(fr__gpu_stream *s); /* records it */
double fr__gpu_mark_seconds(fr__gpu_mark *from,
                            fr__gpu_mark *to); /* waits for both; -1: error */
void fr__gpu_mark_free(fr__gpu_mark *m);

#endif
