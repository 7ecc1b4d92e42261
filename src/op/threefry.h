/* threefry.h - Threefry-2x32 with 20 rounds, as published (Salmon et al., SC 2011)
 *
 * The same rounds stand once more in kernel IR (src/kernel/math.c); a test holds them together.
 */
#ifndef FR_THREEFRY_H
#define FR_THREEFRY_H

#include <stdint.h>

static const uint8_t fr__threefry_rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
enum { FR__THREEFRY_PARITY = 0x1BD11BDA };

static inline void fr__threefry(const uint32_t key[2], uint32_t x[2])
{
    const uint32_t ks[3] = {key[0], key[1], key[0] ^ key[1] ^ FR__THREEFRY_PARITY};
    x[0] += ks[0];
    x[1] += ks[1];
    for (uint32_t round = 0; round < 20; round++) {
        int r = fr__threefry_rotations[round % 8];
        x[0] += x[1];
        x[1] = (x[1] << r | x[1] >> (32 - r)) ^ x[0];
        if (round % 4 == 3) {
            uint32_t step = round / 4 + 1;
            x[0] += ks[step % 3];
            x[1] += ks[(step + 1) % 3] + step;
        }
    }
}

/* Word i of the n that a key gives: the counters are (i, i + half), half = ceil(n / 2), so one
 * block makes words i and i + half. The last block of an odd n makes one word: (half - 1, 0). */
static inline uint32_t fr__random_word(const uint32_t key[2], uint32_t i, uint32_t n)
{
    uint32_t half = n / 2 + n % 2, low = i < half ? i : i - half;
    uint32_t x[2] = {low, low + half < n ? low + half : 0};
    fr__threefry(key, x);
    return x[i >= half];
}

#endif
