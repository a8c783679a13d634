/* One block of input bytes and the questions the head scanner asks about it, per instruction set. Private to ext/.
 *
 * A file that includes this defines FGW_ISA_AVX2, FGW_ISA_SSE42 or FGW_ISA_NEON.
 * Every question answers with a mask of FGW_LANE_BITS bits a byte, lowest byte first. Loads are FGW_BLOCK bytes long and the
 * caller makes sure that they lie inside the input.
 * Classes are tested by two 16-entry tables: bit h of low[l] says whether byte 0xhl (h < 8) is in the class. */
#ifndef FGW_SRC_HTTP1_ISA_H
#define FGW_SRC_HTTP1_ISA_H
#include "chars.h"
#include <stddef.h>
#include <stdint.h>

/* tchar: rows 2..7 of ASCII, by low nibble */
#define FGW_TOKEN_ROWS(t)                                                                                                          \
    (t)0xe8, (t)0xfc, (t)0xf8, (t)0xfc, (t)0xfc, (t)0xfc, (t)0xfc, (t)0xfc, (t)0xf8, (t)0xf8, (t)0xf4, (t)0x54, (t)0xd0, (t)0x54,  \
        (t)0xf4, (t)0x70
#define FGW_ROW_BITS(t) (t)1, (t)2, (t)4, (t)8, (t)16, (t)32, (t)64, (t)128, 0, 0, 0, 0, 0, 0, 0, 0

#if defined(FGW_ISA_AVX2)
#include <immintrin.h>
#define FGW_BLOCK 32
#define FGW_LANE_BITS 1
typedef uint32_t fgw_mask;
typedef __m256i fgw_block;

static inline fgw_block fgw_load(const char *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline fgw_mask fgw_bits(fgw_block lanes) { return (fgw_mask)_mm256_movemask_epi8(lanes); }
static inline fgw_block fgw_eq_block(fgw_block a, fgw_block b) { return _mm256_cmpeq_epi8(a, b); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return _mm256_or_si256(a, b); }
static inline fgw_block fgw_min(fgw_block a, fgw_block b) { return _mm256_min_epu8(a, b); }
static inline fgw_block fgw_max(fgw_block a, fgw_block b) { return _mm256_max_epu8(a, b); }
static inline fgw_block fgw_not_token(fgw_block b) {
    const __m256i rows = _mm256_broadcastsi128_si256(_mm_setr_epi8(FGW_TOKEN_ROWS(char)));
    const __m256i bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(FGW_ROW_BITS(char)));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(b, 4), _mm256_load_si256((const __m256i *)(const void *)fgw_filled[15]));
    __m256i in = _mm256_and_si256(_mm256_shuffle_epi8(rows, b), _mm256_shuffle_epi8(bits, high));
    return _mm256_cmpeq_epi8(in, _mm256_setzero_si256());
}

#elif defined(FGW_ISA_SSE42)
#include <immintrin.h>
#define FGW_BLOCK 16
#define FGW_LANE_BITS 1
typedef uint32_t fgw_mask;
typedef __m128i fgw_block;

static inline fgw_block fgw_load(const char *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
static inline fgw_mask fgw_bits(fgw_block lanes) { return (fgw_mask)_mm_movemask_epi8(lanes); }
static inline fgw_block fgw_eq_block(fgw_block a, fgw_block b) { return _mm_cmpeq_epi8(a, b); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return _mm_or_si128(a, b); }
static inline fgw_block fgw_min(fgw_block a, fgw_block b) { return _mm_min_epu8(a, b); }
static inline fgw_block fgw_max(fgw_block a, fgw_block b) { return _mm_max_epu8(a, b); }
static inline fgw_block fgw_not_token(fgw_block b) {
    const __m128i rows = _mm_setr_epi8(FGW_TOKEN_ROWS(char));
    const __m128i bits = _mm_setr_epi8(FGW_ROW_BITS(char));
    __m128i high = _mm_and_si128(_mm_srli_epi16(b, 4), _mm_load_si128((const __m128i *)(const void *)fgw_filled[15]));
    __m128i in = _mm_and_si128(_mm_shuffle_epi8(rows, b), _mm_shuffle_epi8(bits, high));
    return _mm_cmpeq_epi8(in, _mm_setzero_si128());
}

#elif defined(FGW_ISA_NEON)
#include <arm_neon.h>
#define FGW_BLOCK 16
#define FGW_LANE_BITS 4 /* NEON has no movemask: a narrowing shift keeps four bits a lane */
typedef uint64_t fgw_mask;
typedef uint8x16_t fgw_block;

static inline fgw_block fgw_load(const char *p) { return vld1q_u8((const uint8_t *)(const void *)p); }
static inline fgw_mask fgw_bits(fgw_block lanes) {
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(lanes), 4)), 0);
}
static inline fgw_block fgw_eq_block(fgw_block a, fgw_block b) { return vceqq_u8(a, b); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return vorrq_u8(a, b); }
static inline fgw_block fgw_min(fgw_block a, fgw_block b) { return vminq_u8(a, b); }
static inline fgw_block fgw_max(fgw_block a, fgw_block b) { return vmaxq_u8(a, b); }
static inline fgw_block fgw_not_token(fgw_block b) {
    static const uint8_t rows[16] = {FGW_TOKEN_ROWS(uint8_t)};
    static const uint8_t bits[16] = {FGW_ROW_BITS(uint8_t)};
    uint8x16_t low = vqtbl1q_u8(vld1q_u8(rows), vandq_u8(b, vdupq_n_u8(15)));
    uint8x16_t high = vqtbl1q_u8(vld1q_u8(bits), vshrq_n_u8(b, 4));
    return vceqzq_u8(vandq_u8(low, high));
}
#endif

/* A block full of c, from memory: compilers build such constants in registers, again in every turn of the loop. */
static inline fgw_block fgw_fill(char c) { return fgw_load(fgw_filled[(uint8_t)c]); }
static inline fgw_block fgw_eq(fgw_block b, char c) { return fgw_eq_block(b, fgw_fill(c)); }
static inline fgw_block fgw_at_most(fgw_block b, char c) { return fgw_eq_block(fgw_min(b, fgw_fill(c)), b); }
static inline fgw_block fgw_at_least(fgw_block b, char c) { return fgw_eq_block(fgw_max(b, fgw_fill(c)), b); }

/* Controls and DEL: what no header line may hold but at its end; HTAB is among them and left to the scalar scanner. */
static inline fgw_block fgw_controls(fgw_block b) { return fgw_or(fgw_at_most(b, 0x1f), fgw_eq(b, 0x7f)); }

/* Bytes that end a request target: everything but 0x21-0x7E. */
static inline fgw_mask fgw_target_stops(fgw_block b) { return fgw_bits(fgw_or(fgw_at_most(b, 0x20), fgw_at_least(b, 0x7f))); }

static inline unsigned fgw_first(fgw_mask m) {
    return (unsigned)(sizeof m == 8 ? __builtin_ctzll(m) : __builtin_ctz((unsigned)m)) / FGW_LANE_BITS;
}

/* The bits of all bytes below the lowest one set in m (m != 0). */
static inline fgw_mask fgw_below(fgw_mask m) { return (fgw_mask)((m & (0 - m)) - 1); }

/* The controls of 64 bytes at p, one bit a byte. */
#if FGW_LANE_BITS == 1
static inline uint64_t fgw_controls64(const char *p) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += FGW_BLOCK)
        bits |= (uint64_t)fgw_bits(fgw_controls(fgw_load(p + i))) << i;
    return bits;
}
#else
/* Four bits a byte do not fit: weigh the lanes, then add neighbours three times. */
static inline uint64_t fgw_controls64(const char *p) {
    static const uint8_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t w = vcombine_u8(vld1_u8(weights), vld1_u8(weights));
    uint8x16_t lanes[4];
    for (unsigned i = 0; i < 4; i++)
        lanes[i] = vandq_u8(fgw_controls(fgw_load(p + i * FGW_BLOCK)), w);
    uint8x16_t sum = vpaddq_u8(vpaddq_u8(lanes[0], lanes[1]), vpaddq_u8(lanes[2], lanes[3]));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sum, sum)), 0);
}
#endif

/* The validated name in the first n bytes of b (n <= FGW_BLOCK) equals the lower-case text, of which a whole block may be
 * read. | 0x20 folds letters; of all tchar it turns no other into a letter, a digit or '-'. */
static inline int fgw_same_name(fgw_block b, const char *text, size_t n) {
    fgw_mask same = fgw_bits(fgw_eq_block(fgw_or(b, fgw_fill(0x20)), fgw_load(text)));
    fgw_mask name = (fgw_mask)(~UINT64_C(0) >> (64 - n * FGW_LANE_BITS));
    return (same & name) == name;
}

#endif
