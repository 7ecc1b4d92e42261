/* hash.c - hashing bytes, and maps from a key's bytes to a pointer, from a pointer to a number
 *
 * needs   mem.c
 * gives   fr__hash, fr__map_*, fr__numbers_*
 *
 * The hash folds 128-bit products, three independent ones at a time on long keys. It is for
 * tables and cache keys, not against an attacker; it is the same on every little-endian
 * machine, so it may name files.
 */
#include "base/base.h"

/* ---- the hash ----------------------------------------------------------------------- */

static const uint64_t salt[4] = {0x2d358dccaa6c78a5u, 0x8bb84b93962eacc9u, 0x4b33a62ed433d4a3u,
                                 0x4d5a2da51de1aa47u};

static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t read8(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static uint64_t read4(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

uint64_t fr__hash(const void *data, size_t bytes, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t a, b;
    seed ^= fold(seed ^ salt[0], salt[1]);
    if (bytes <= 16) {
        if (bytes >= 8) {
            a = read8(p);
            b = read8(p + bytes - 8);
        } else if (bytes >= 4) {
            a = read4(p);
            b = read4(p + bytes - 4);
        } else if (bytes) {
            a = (uint64_t)p[0] << 16 | (uint64_t)p[bytes >> 1] << 8 | p[bytes - 1];
            b = 0;
        } else {
            a = b = 0;
        }
    } else {
        size_t left = bytes;
        if (left > 48) {
            uint64_t second = seed, third = seed;
            do {
                seed = fold(read8(p) ^ salt[1], read8(p + 8) ^ seed);
                second = fold(read8(p + 16) ^ salt[2], read8(p + 24) ^ second);
                third = fold(read8(p + 32) ^ salt[3], read8(p + 40) ^ third);
                p += 48;
                left -= 48;
            } while (left > 48);
            seed ^= second ^ third;
        }
        while (left > 16) {
            seed = fold(read8(p) ^ salt[1], read8(p + 8) ^ seed);
            p += 16;
            left -= 16;
        }
        a = read8(p + left - 16);
        b = read8(p + left - 8);
    }
    __uint128_t m = (__uint128_t)(a ^ salt[1]) * (b ^ seed);
    return fold((uint64_t)m ^ salt[0] ^ bytes, (uint64_t)(m >> 64) ^ salt[1]);
}

/* ---- the map: linear probing, three quarters full at most --------------------------- */

struct fr__map_slot {
    uint64_t hash;
    const void *key; /* NULL: never used; &gone: removed */
    size_t bytes;
    void *value;
};

static const char gone, empty_key;

/* Spread by a multiplication, since a caller's hash may be poor in its low bits. */
static uint32_t home(uint64_t hash, int room)
{
    return (uint32_t)((hash * 0x9e3779b97f4a7c15u) >> (64 - __builtin_ctz((unsigned)room)));
}

static struct fr__map_slot *find(const fr__map *m, const void *key, size_t bytes, uint64_t hash)
{
    if (!m->room)
        return NULL;
    uint32_t mask = (uint32_t)m->room - 1;
    for (uint32_t i = home(hash, m->room);; i = (i + 1) & mask) {
        struct fr__map_slot *s = &m->slots[i];
        if (!s->key)
            return NULL;
        if (s->hash == hash && s->key != &gone && s->bytes == bytes &&
            (bytes == 0 || memcmp(s->key, key, bytes) == 0))
            return s;
    }
}

void *fr__map_get(const fr__map *m, const void *key, size_t bytes, uint64_t hash)
{
    struct fr__map_slot *s = find(m, key, bytes, hash);
    return s ? s->value : NULL;
}

/* A table of `room` slots with the living entries; the old one is dropped. */
static int rehash(fr__map *m, int room)
{
    struct fr__map_slot *slots = fr__calloc((size_t)room, sizeof *slots);
    if (!slots)
        return -1;
    uint32_t mask = (uint32_t)room - 1;
    for (int i = 0; i < m->room; i++) {
        const struct fr__map_slot *s = &m->slots[i];
        if (!s->key || s->key == &gone)
            continue;
        uint32_t at = home(s->hash, room);
        while (slots[at].key)
            at = (at + 1) & mask;
        slots[at] = *s;
    }
    fr__free(m->slots);
    m->slots = slots;
    m->room = room;
    m->tombs = 0;
    return 0;
}

int fr__map_put(fr__map *m, const void *key, size_t bytes, uint64_t hash, void *value)
{
    if (!key)
        key = &empty_key;
    struct fr__map_slot *s = find(m, key, bytes, hash);
    if (s) { /* the new key too: the old one may die with the old value */
        s->key = key;
        s->value = value;
        return 0;
    }
    if ((int64_t)(m->n + m->tombs + 1) * 4 > (int64_t)m->room * 3) {
        if (m->room >= 1 << 30)
            return fr__fail_int(FR__E_LIMIT, "a table of %d entries cannot grow", m->n);
        /* many tombs: the same size does */
        int room = m->n >= m->room / 2 ? (m->room ? 2 * m->room : 8) : m->room;
        if (rehash(m, room))
            return -1;
    }
    uint32_t mask = (uint32_t)m->room - 1, i = home(hash, m->room);
    while (m->slots[i].key && m->slots[i].key != &gone)
        i = (i + 1) & mask;
    if (m->slots[i].key)
        m->tombs--;
    m->slots[i] = (struct fr__map_slot){hash, key, bytes, value};
    m->n++;
    return 0;
}

void *fr__map_remove(fr__map *m, const void *key, size_t bytes, uint64_t hash)
{
    struct fr__map_slot *s = find(m, key, bytes, hash);
    if (!s)
        return NULL;
    void *value = s->value;
    uint32_t mask = (uint32_t)m->room - 1, i = (uint32_t)(s - m->slots);
    *s = (struct fr__map_slot){.key = &gone};
    m->n--;
    m->tombs++;
    /* no probe goes on beyond an empty slot: tombs right before one are not needed */
    if (!m->slots[(i + 1) & mask].key)
        while (m->slots[i].key == &gone) {
            m->slots[i].key = NULL;
            m->tombs--;
            i = (i - 1) & mask;
        }
    return value;
}

void fr__map_free(fr__map *m)
{
    fr__free(m->slots);
    *m = (fr__map){0};
}

/* ---- numbers: linear probing, half full at most --------------------------------------- */

int fr__numbers_put(fr__numbers *t, const void *key, int32_t number)
{
    if (t->n * 2 >= t->room) {
        fr__numbers big = {.n = t->n, .room = t->room ? t->room * 2 : 64};
        big.slots = fr__calloc((size_t)big.room, sizeof *big.slots);
        if (!big.slots)
            return -1;
        for (int i = 0; i < t->room; i++)
            if (t->slots[i].key)
                *fr__numbers_slot(&big, t->slots[i].key) = t->slots[i];
        fr__free(t->slots);
        *t = big;
    }
    struct fr__numbered *s = fr__numbers_slot(t, key);
    t->n += !s->key;
    *s = (struct fr__numbered){key, number};
    return 0;
}

void fr__numbers_free(fr__numbers *t)
{
    fr__free(t->slots);
    *t = (fr__numbers){0};
}
