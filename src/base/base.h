/* base.h - what every other file stands on: errors, memory, arenas, hashes, growing arrays
 *
 *   base -> core -> op -> xform -> graph -> kernel -> device -> run
 *
 * Nothing in src/base knows what an array is. Every allocation of the library goes through
 * fr__malloc and its kin, so that a test can make the nth one fail (FERRULE_HARD builds).
 */
#ifndef FR_BASE_H
#define FR_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FR__LIKELY(x) __builtin_expect(!!(x), 1)
#define FR__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FR__COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define FR__PRINTF(f, a) __attribute__((format(printf, f, a)))

static inline int64_t fr__min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fr__max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t fr__ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- errors: one function makes the message, the thread keeps the first one --------- */

/* The kinds are public (fr_error_kind in ferrule.h has the same values, in this order). */
// clang-format off
#define FR__ERRORS(X)                                                                        \
    X(NONE, "none")                                                                          \
    X(VALUE, "value")     /* a shape, range or argument that cannot be */                    \
    X(TYPE, "type")       /* a dtype or kind of argument that cannot be */                   \
    X(INDEX, "index")     /* an index or an axis that is not there */                        \
    X(MEMORY, "memory")   /* no memory */                                                    \
    X(IO, "io")           /* a file or the system refused */                                 \
    X(TRACE, "trace")     /* a placeholder used where a value is needed */                   \
    X(DEVICE, "device")   /* the device is missing or failed */                              \
    X(LIMIT, "limit")     /* larger than the library allows */                               \
    X(CALLBACK, "callback") /* the user's function failed */                                 \
    X(INTERNAL, "internal") /* a bug of ours */
// clang-format on
typedef enum fr__error_kind {
#define X(name, text) FR__E_##name,
    FR__ERRORS(X)
#undef X
} fr__error_kind;

/* Sets this thread's error unless one is set already (the first cause is the one to tell).
 * Always returns NULL, so that `return fr__fail(...)` reads well; never allocates. */
void *fr__fail(fr__error_kind kind, const char *fmt, ...) FR__PRINTF(2, 3);
/* The same for functions that return 0 on success: gives -1. */
int fr__fail_int(fr__error_kind kind, const char *fmt, ...) FR__PRINTF(2, 3);
/* Puts "context: " in front of the message that is set. */
void fr__error_context(const char *fmt, ...) FR__PRINTF(1, 2);
extern _Thread_local fr__error_kind fr__error_now; /* FR__E_NONE: no error is set */
static inline bool fr__failed(void) { return FR__UNLIKELY(fr__error_now != FR__E_NONE); }
const char *fr__error_text(void); /* "" when none; valid until the thread's next error */
void fr__error_clear(void);
/* Takes the error out of the way and puts it back (a cleanup that may itself fail). */
typedef struct fr__saved_error {
    fr__error_kind kind;
    char text[1024];
} fr__saved_error;
void fr__error_save(fr__saved_error *to);
void fr__error_restore(const fr__saved_error *from);

/* ---- host memory for the library's own structures (array data: core/alloc.h) -------- */

/* NULL with a MEMORY error set when there is none. Size 0 gives a pointer that may be freed. */
void *fr__malloc(size_t bytes);
void *fr__calloc(size_t count, size_t size);
void *fr__realloc(void *p, size_t bytes); /* on NULL p is still good */
void *fr__memdup(const void *p, size_t bytes);
char *fr__strdup(const char *s);
void fr__free(void *p);
/* True when the test harness wants this allocation to fail; the data allocator asks too.
 * fr__fault_set(n): the nth allocation from now on (counting from 1, all threads) fails once;
 * 0 turns it off; below 0 nothing fails, it only counts. fr__fault_count(): allocations seen
 * since. Always built: the cost is one relaxed load of a flag. */
bool fr__fault_now(void);
void fr__fault_set(int64_t n);
int64_t fr__fault_count(void);
int64_t
fr__fault_live(void); /* blocks made less blocks freed since fr__fault_set, while it is on */

/* ---- growing arrays: struct { T *at; int n, room; } --------------------------------- */

#define FR__VEC(T)                                                                             \
    struct {                                                                                   \
        T *at;                                                                                 \
        int n, room;                                                                           \
    }
/* Room for `more` further items; 0, or -1 with the error set and nothing changed. */
#define fr__vec_reserve(v, more)                                                               \
    ((v)->room - (v)->n >= (more) ? 0                                                          \
                                  : fr__vec_grow((void **)&(v)->at, &(v)->room,                \
                                                 (int64_t)(v)->n + (more), sizeof *(v)->at))
/* Appends; 0 or -1. The argument is an lvalue expression or compound literal. */
#define fr__vec_push(v, ...)                                                                   \
    (fr__vec_reserve(v, 1) ? -1 : ((v)->at[(v)->n++] = (__VA_ARGS__), 0))
#define fr__vec_free(v) (fr__free((v)->at), (v)->at = NULL, (v)->n = (v)->room = 0)
int fr__vec_grow(void **at, int *room, int64_t want, size_t size);

/* ---- arenas: freed as a whole ------------------------------------------------------- */

typedef struct fr__arena {
    struct fr__arena_block *block; /* newest first */
    char *next, *end;
} fr__arena;                                        /* all zero: empty and ready */
void *fr__arena_alloc(fr__arena *a, size_t bytes);  /* 16-byte aligned, not cleared */
void *fr__arena_zalloc(fr__arena *a, size_t bytes); /* cleared */
char *fr__arena_printf(fr__arena *a, const char *fmt, ...) FR__PRINTF(2, 3);
void fr__arena_reset(fr__arena *a); /* everything gone, the newest block kept for reuse */
void fr__arena_free(fr__arena *a);

/* ---- text that grows ---------------------------------------------------------------- */

typedef struct fr__text {
    char *at; /* NUL-terminated once anything was added; NULL before */
    size_t n, room;
    bool failed; /* an allocation failed: at/n hold what came before it */
} fr__text;
void fr__text_add(fr__text *t, const char *s);
void fr__text_addn(fr__text *t, const char *s, size_t n);
void fr__text_char(fr__text *t, char c);
void fr__text_int(fr__text *t, int64_t v); /* fast decimal */
void fr__text_f(fr__text *t, const char *fmt, ...) FR__PRINTF(2, 3);
void fr__text_free(fr__text *t);

/* ---- hashes ------------------------------------------------------------------------- */

uint64_t fr__hash(const void *data, size_t bytes, uint64_t seed); /* fast, 64 good bits */
static inline uint64_t fr__hash_mix(uint64_t h, uint64_t v)
{
    __uint128_t m = (__uint128_t)(h ^ v ^ 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Open addressing from a key's bytes to a pointer; keys are the caller's and outlive the
 * entry. Not locked. */
typedef struct fr__map {
    struct fr__map_slot *slots;
    int n, room, tombs;
} fr__map; /* all zero: empty and ready */
void *fr__map_get(const fr__map *m, const void *key, size_t bytes, uint64_t hash);
int fr__map_put(fr__map *m, const void *key, size_t bytes, uint64_t hash, void *value);
void *fr__map_remove(fr__map *m, const void *key, size_t bytes, uint64_t hash);
void fr__map_free(fr__map *m);

/* From a pointer to a number, for walks over graphs. Not locked; all zero: empty and ready. */
typedef struct fr__numbers {
    struct fr__numbered {
        const void *key;
        int32_t number;
    } * slots;
    int n, room;
} fr__numbers;
static inline struct fr__numbered *fr__numbers_slot(const fr__numbers *t, const void *key)
{
    uint64_t at = ((uintptr_t)key >> 4) * 0x9e3779b97f4a7c15u >> 20;
    for (;; at++) {
        struct fr__numbered *s = &t->slots[at & (uint64_t)(t->room - 1)];
        if (!s->key || s->key == key)
            return s;
    }
}
/* Where its number stands, until the next one is put; NULL: it is not in the table. */
static inline int32_t *fr__numbers_find(const fr__numbers *t, const void *key)
{
    struct fr__numbered *s = t->room ? fr__numbers_slot(t, key) : NULL;
    return s && s->key ? &s->number : NULL;
}
int fr__numbers_put(fr__numbers *t, const void *key,
                    int32_t number); /* 0, or -1 with an error */
void fr__numbers_free(fr__numbers *t);

/* ---- settings from the environment -------------------------------------------------- */

/* The value of FERRULE_<name>, or NULL. Read once per name by each caller, at first use. */
const char *fr__env(const char *name);
/* An integer setting: `otherwise` when unset; when it does not parse or is outside
 * [lo, hi], `otherwise` as well, and the complaint is kept for fr_env_complaint(). */
int64_t fr__env_int(const char *name, int64_t otherwise, int64_t lo, int64_t hi);
/* "64M", "2G", "1073741824" -> bytes, same rules. */
int64_t fr__env_bytes(const char *name, int64_t otherwise);
bool fr__env_on(const char *name, bool otherwise); /* 0/off/false/no, 1/on/true/yes */
/* The number of the choice that it names (NULL-terminated list); -1 when unset or none of them. */
int fr__env_choice(const char *name, const char *const *choices, const char *wanted);
/* How many entries a cache keeps: FERRULE_<name>, else `usual`. *known: 0 until it was asked. A HARD
 * build keeps two. */
int fr__env_limit(_Atomic int *known, const char *name, int usual);
const char *fr__env_complaints(void); /* "" or a text naming each bad setting; never freed */

void fr__complain(const char *fmt, ...) FR__PRINTF(1, 2); /* one more of these */

/* ---- events.c: FERRULE_TRACE=file, for chrome://tracing and Perfetto ------------------- */
bool fr__events_on(void);
/* Something that began at `from` (fr__now) and took so long. kind: "kernel", "program" ... */
void fr__event(const char *kind, const char *name, double from, double seconds,
               const char *detail);

int fr__debug(void); /* FERRULE_DEBUG, 0 to 6; read once */
/* Where FERRULE_DEBUG's text goes: the function given, or stderr while none is set. */
void fr__debug_print(const char *fmt, ...) FR__PRINTF(1, 2);
void fr__debug_sink(void (*sink)(void *ctx, const char *text), void *ctx);
double fr__now(void); /* seconds, monotonic */

#endif
