/* XXH64, from its published specification (xxHash, "XXH64 algorithm description"). */
#include <string.h>

#include "fgw/sticky.h"

#define PRIME1 0x9e3779b185ebca87ull
#define PRIME2 0xc2b2ae3d27d4eb4full
#define PRIME3 0x165667b19e3779f9ull
#define PRIME4 0x85ebca77c2b2ae63ull
#define PRIME5 0x27d4eb2f165667c5ull

static uint64_t rotate(uint64_t w, int bits) { return w << bits | w >> (64 - bits); }

static uint64_t read64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}

static uint32_t read32(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

static uint64_t lane_round(uint64_t lane, uint64_t input) { return rotate(lane + input * PRIME2, 31) * PRIME1; }

static uint64_t merge(uint64_t h, uint64_t lane) { return (h ^ lane_round(0, lane)) * PRIME1 + PRIME4; }

/* Stripes of 32 bytes over four lanes; *p moves behind them. */
static uint64_t stripes(const uint8_t **p, const uint8_t *end, uint64_t seed) {
    uint64_t lanes[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
    for (; end - *p >= 32; *p += 32)
        for (int i = 0; i < 4; i++)
            lanes[i] = lane_round(lanes[i], read64(*p + 8 * i));
    uint64_t h = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int i = 0; i < 4; i++)
        h = merge(h, lanes[i]);
    return h;
}

static uint64_t tail(uint64_t h, const uint8_t *p, const uint8_t *end) {
    for (; end - p >= 8; p += 8)
        h = rotate(h ^ lane_round(0, read64(p)), 27) * PRIME1 + PRIME4;
    if (end - p >= 4) {
        h = rotate(h ^ read32(p) * PRIME1, 23) * PRIME2 + PRIME3;
        p += 4;
    }
    for (; p < end; p++)
        h = rotate(h ^ *p * PRIME5, 11) * PRIME1;
    return h;
}

uint64_t fgw_hash64(const void *data, size_t n, uint64_t seed) {
    const uint8_t *p = data, *end = p + n;
    uint64_t h = n >= 32 ? stripes(&p, end, seed) : seed + PRIME5;
    h = tail(h + n, p, end);
    h = (h ^ h >> 33) * PRIME2;
    h = (h ^ h >> 29) * PRIME3;
    return h ^ h >> 32;
}
