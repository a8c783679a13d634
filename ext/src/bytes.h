/* Small loads, case folding and comparison of byte runs. Private to ext/; every read stays inside the run it is given. */
#ifndef FGW_SRC_BYTES_H
#define FGW_SRC_BYTES_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t fgw_load8(const void *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline uint32_t fgw_load4(const void *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline uint16_t fgw_load2(const void *p) {
    uint16_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Lower case of eight bytes at once: exact for ASCII, bytes over 0x7F are left alone. */
static inline uint64_t fgw_lower8(uint64_t w) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t seven = w & (0x7f * ones);
    uint64_t from_a = seven + (0x80 - 'A') * ones;
    uint64_t past_z = seven + (0x80 - 'Z' - 1) * ones;
    uint64_t upper = (from_a ^ past_z) & ~w & (0x80 * ones);
    return w | (upper >> 2);
}

/* True when a[0..n) equals the lower-case text b[0..n), upper-case ASCII letters of a counting as lower case. Words overlap
 * at the end instead of a byte loop, so nothing past the run is read. */
static inline int fgw_equal_folded(const char *a, const char *b, size_t n) {
    if (n >= 8) {
        uint64_t differs = fgw_lower8(fgw_load8(a + n - 8)) ^ fgw_load8(b + n - 8);
        for (size_t i = 0; i + 8 < n; i += 8)
            differs |= fgw_lower8(fgw_load8(a + i)) ^ fgw_load8(b + i);
        return differs == 0;
    }
    if (n >= 4)
        return ((fgw_lower8(fgw_load4(a)) ^ fgw_load4(b)) | (fgw_lower8(fgw_load4(a + n - 4)) ^ fgw_load4(b + n - 4))) == 0;
    if (n >= 2)
        return ((fgw_lower8(fgw_load2(a)) ^ fgw_load2(b)) | (fgw_lower8(fgw_load2(a + n - 2)) ^ fgw_load2(b + n - 2))) == 0;
    return n == 0 || (fgw_lower8((uint8_t)a[0]) ^ (uint8_t)b[0]) == 0;
}

/* Append n bytes; the place behind them. */
static inline char *fgw_put(char *to, const char *text, size_t n) {
    memcpy(to, text, n);
    return to + n;
}

/* The run equals a lower-case string literal, case folded. */
#define FGW_IS(p, n, literal) ((n) == sizeof(literal) - 1 && fgw_equal_folded((p), (literal), sizeof(literal) - 1))

#endif
