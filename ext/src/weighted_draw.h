/* Draws by weight that a key decides alone (weighted rendezvous hashing): whoever has the lowest -log2(hash) / weight. */
#ifndef FGW_WEIGHTED_DRAW_H
#define FGW_WEIGHTED_DRAW_H
#include <stdint.h>

enum { FGW_FRACTION_BITS = 40 };

__extension__ typedef unsigned __int128 fgw_wide;

/* -log2((h + 1) / 2^64) with FGW_FRACTION_BITS bits behind the point. In integers, since the last bits of libm's logarithm differ
 * between machines: the exponent is a count of zeros, and each squaring of the mantissa shows one more bit of its logarithm. */
static inline uint64_t fgw_minus_log2(uint64_t h) {
    if (h == UINT64_MAX)
        return 0;
    h += 1;
    const int zeros = __builtin_clzll(h);
    uint64_t mantissa = h << zeros, fraction = 0; /* mantissa / 2^63 in [1, 2) */
    for (int i = 0; i < FGW_FRACTION_BITS; i++) {
        const fgw_wide square = (fgw_wide)mantissa * mantissa;
        const int carry = (int)(square >> 127);
        mantissa = (uint64_t)(square >> (carry ? 64 : 63));
        fraction = fraction << 1 | (uint64_t)carry;
    }
    return ((uint64_t)(zeros + 1) << FGW_FRACTION_BITS) - fraction;
}

/* a_log / a_weight < b_log / b_weight */
static inline int fgw_draws_less(uint64_t a_log, uint32_t a_weight, uint64_t b_log, uint32_t b_weight) {
    return (fgw_wide)a_log * b_weight < (fgw_wide)b_log * a_weight;
}

#endif
