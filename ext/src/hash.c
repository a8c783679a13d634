/* The hashes of the image's slot tables, shared by the matcher and the writer. */
#include "image_read.h"

#define FGW_HASH_MUL 0x9e3779b97f4a7c15ull

static uint32_t finish(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return (uint32_t)(h >> 32);
}

uint32_t fgw_hash_forward(const char *p, size_t n) {
    uint64_t h = n * FGW_HASH_MUL, w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * FGW_HASH_MUL;
        h ^= h >> 29;
    }
    w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)(uint8_t)p[i] << (8 * i);
    h = (h ^ w) * FGW_HASH_MUL;
    return finish(h);
}

uint32_t fgw_hash_backward(const char *p, size_t n) {
    uint64_t h = 0;
    while (n > 0)
        h = fgw_hash_step(h, (uint8_t)p[--n]);
    return fgw_hash_end(h);
}
