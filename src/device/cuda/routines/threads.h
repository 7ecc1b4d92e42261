/* threads.h - C for GPUs: which thread this is, what threads of a warp or a block tell each other
 *
 * Compiled by clang for NVPTX (tools/routines), or for the host, where tests/standin/routines.c runs
 * the threads of a block in turns. All 32 threads of a warp come to every shuffle, ballot and
 * barrier together.
 */
#ifndef FR_ROUTINES_THREADS_H
#define FR_ROUTINES_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#define JOINED_(a, b) a##_##b
#define JOINED(a, b) JOINED_(a, b)

#define INLINED                                                                                \
    __attribute__((always_inline)) static inline /* arrays of its own are registers, too */
#ifdef __clang__ /* an array whose places are known stays in registers */
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED
#endif

#define EACH(i, n) UNROLLED for (int i = 0; i < (n); i++)

enum { WARP = 32, ALL_LANES = -1 };

#ifdef __NVPTX__

/* An entry; its parameters are one struct, `s`. */
#define KERNEL(name, T) __attribute__((nvptx_kernel)) void name(T s)
#define SHARED static __attribute__((address_space(3)))

static inline uint32_t thread_index(void) { return (uint32_t)__nvvm_read_ptx_sreg_tid_x(); }
static inline uint32_t block_index(void) { return (uint32_t)__nvvm_read_ptx_sreg_ctaid_x(); }
static inline uint32_t block_threads(void) { return (uint32_t)__nvvm_read_ptx_sreg_ntid_x(); }
static inline uint32_t grid_blocks(void) { return (uint32_t)__nvvm_read_ptx_sreg_nctaid_x(); }
static inline void block_barrier(void) { __syncthreads(); }
static inline void warp_barrier(void) { __nvvm_bar_warp_sync((uint32_t)ALL_LANES); }
static inline uint32_t lane_up32(uint32_t v, uint32_t by) /* the value `by` lanes before */
{
    return (uint32_t)__nvvm_shfl_sync_up_i32((uint32_t)ALL_LANES, (int)v, (int)by, 0);
}
static inline uint32_t lane_at32(uint32_t v, uint32_t lane)
{
    return (uint32_t)__nvvm_shfl_sync_idx_i32((uint32_t)ALL_LANES, (int)v, (int)lane, 31);
}
/* By the processor: NaNs come out as one. */
static inline float from_f16(uint16_t h)
{
    float x;
    __asm__("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
static inline uint16_t to_f16(float x)
{
    uint16_t h;
    __asm__("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
/* Powers and logarithms of 2, to some 22 bits. */
static inline float exp2_fast(float x)
{
    float y;
    __asm__("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
static inline float log2_fast(float x)
{
    float y;
    __asm__("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
static inline uint32_t lanes_like(uint32_t v) /* those that have the same value */
{
    return (uint32_t)__nvvm_match_any_sync_i32((uint32_t)ALL_LANES, (int)v);
}
static inline bool any_lane(bool v) { return __nvvm_vote_any_sync((uint32_t)ALL_LANES, v); }
static inline uint32_t add_shared(__attribute__((address_space(3))) uint32_t *to, uint32_t v)
{
    return __atomic_fetch_add(to, v, __ATOMIC_RELAXED);
}

#else

#define KERNEL(name, T) KERNEL_(name, T)
#define KERNEL_(name, T)                                                                       \
    static void name(T s);                                                                     \
    static void name##_call(const void *args)                                                  \
    {                                                                                          \
        T s;                                                                                   \
        memcpy(&s, args, sizeof s);                                                            \
        name(s);                                                                               \
    }                                                                                          \
    __attribute__((constructor)) static void name##_add(void)                                  \
    {                                                                                          \
        add_kernel(#name, name##_call);                                                        \
    }                                                                                          \
    static void name(T s)
#define SHARED static

void add_kernel(const char *name, void (*call)(const void *args));
uint32_t thread_index(void);
uint32_t block_index(void);
uint32_t block_threads(void);
uint32_t grid_blocks(void);
void block_barrier(void);
void warp_barrier(void);
uint32_t lane_up32(uint32_t v, uint32_t by);
uint32_t lane_at32(uint32_t v, uint32_t lane);
uint32_t lanes_like(uint32_t v);
bool any_lane(bool v);
#define from_f16 fr__from_f16
#define to_f16 fr__to_f16
#define exp2_fast __builtin_exp2f
#define log2_fast __builtin_log2f
static inline uint32_t add_shared(uint32_t *to, uint32_t v)
{
    uint32_t before = *to;
    *to += v;
    return before;
}

#endif

static inline uint64_t lane_up64(uint64_t v, uint32_t by)
{
    return (uint64_t)lane_up32((uint32_t)(v >> 32), by) << 32 | lane_up32((uint32_t)v, by);
}
static inline uint64_t lane_at64(uint64_t v, uint32_t lane)
{
    return (uint64_t)lane_at32((uint32_t)(v >> 32), lane) << 32 | lane_at32((uint32_t)v, lane);
}

/* Of the whole grid: this thread, and how many there are. */
static inline int64_t grid_thread(void)
{
    return (int64_t)block_index() * block_threads() + thread_index();
}
static inline int64_t grid_threads(void) { return (int64_t)grid_blocks() * block_threads(); }

#endif
