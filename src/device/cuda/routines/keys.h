/* keys.h - elements as unsigned numbers in the order of sorting (native/element.h), any dtype */
#ifndef FR_ROUTINES_KEYS_H
#define FR_ROUTINES_KEYS_H

#include "device/cuda/routines/args.h"
#include "native/element.h"

#define KEYS(X)                                                                                \
    X(U8, u8, uint8_t)                                                                         \
    X(U16, u16, uint16_t)                                                                      \
    X(U32, u32, uint32_t)                                                                      \
    X(U64, u64, uint64_t)                                                                      \
    X(I8, i8, uint8_t)                                                                         \
    X(I16, i16, uint16_t)                                                                      \
    X(I32, i32, uint32_t)                                                                      \
    X(I64, i64, uint64_t)                                                                      \
    X(F16, f16, uint16_t)                                                                      \
    X(BF16, bf16, uint16_t)                                                                    \
    X(F32, f32, uint32_t)                                                                      \
    X(F64, f64, uint64_t)                                                                      \
    X(C64, c64, uint64_t)

static inline uint64_t key_at(uint32_t form, const char *x, int64_t at, bool exact)
{
    switch (form) {
#define CASE(FORM, name, K)                                                                    \
    case FR__FORM_##FORM: return fr__key_##name(((const K *)x)[at], exact);
        KEYS(CASE)
#undef CASE
    default: return 0;
    }
}

static inline void put_key(uint32_t form, char *y, int64_t at, uint64_t key)
{
    switch (form) {
#define CASE(FORM, name, K)                                                                    \
    case FR__FORM_##FORM: ((K *)y)[at] = fr__unkey_##name((K)key); return;
        KEYS(CASE)
#undef CASE
    default: return;
    }
}

#endif
