/* One block of input bytes and the questions the head scanner asks about it, per instruction set. Private to ext/.
 *
 * A file that includes this defines FGW_ISA_AVX2, FGW_ISA_SSE42 or FGW_ISA_NEON.
 * Every question answers with a mask of FGW_LANE_BITS bits a byte, lowest byte first. Loads are FGW_BLOCK bytes long and the
 * caller makes sure that they lie inside the input.
 * Classes are tested by two 16-entry tables: bit h of low[l] says whether byte 0xhl (h < 8) is in the class. */
#ifndef FGW_SRC_HTTP1_ISA_H
#define FGW_SRC_HTTP1_ISA_H
#include <stdint.h>

/* tchar: rows 2..7 of ASCII, by low nibble */
#define FGW_TOKEN_ROWS(t)                                                                                               \
    (t)0xe8, (t)0xfc, (t)0xf8, (t)0xfc, (t)0xfc, (t)0xfc, (t)0xfc, (t)0xfc,     \
        (t)0xf8, (t)0xf8, (t)0xf4, (t)0x54, (t)0xd0, (t)0x54, (t)0xf4, (t)0x70
#define FGW_ROW_BITS(t) (t)1, (t)2, (t)4, (t)8, (t)16, (t)32, (t)64, (t)128, 0, 0, 0, 0, 0, 0, 0, 0

#if defined(FGW_ISA_AVX2)
#include <immintrin.h>
#define FGW_BLOCK 32
#define FGW_LANE_BITS 1
typedef uint32_t fgw_mask;
typedef __m256i fgw_block;

static inline fgw_block fgw_load(const char *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline fgw_mask fgw_bits(fgw_block lanes) { return (fgw_mask)_mm256_movemask_epi8(lanes); }
static inline fgw_block fgw_eq(fgw_block b, char c) { return _mm256_cmpeq_epi8(b, _mm256_set1_epi8(c)); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return _mm256_or_si256(a, b); }
static inline fgw_block fgw_at_most(fgw_block b, char c) {
    return _mm256_cmpeq_epi8(_mm256_min_epu8(b, _mm256_set1_epi8(c)), b);
}
static inline fgw_block fgw_at_least(fgw_block b, char c) {
    return _mm256_cmpeq_epi8(_mm256_max_epu8(b, _mm256_set1_epi8(c)), b);
}
static inline fgw_block fgw_and_not(fgw_block no, fgw_block yes) { return _mm256_andnot_si256(no, yes); }
static inline fgw_block fgw_not_token(fgw_block b) {
    const __m256i rows = _mm256_broadcastsi128_si256(_mm_setr_epi8(FGW_TOKEN_ROWS(char)));
    const __m256i bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(FGW_ROW_BITS(char)));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(b, 4), _mm256_set1_epi8(15));
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
static inline fgw_block fgw_eq(fgw_block b, char c) { return _mm_cmpeq_epi8(b, _mm_set1_epi8(c)); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return _mm_or_si128(a, b); }
static inline fgw_block fgw_at_most(fgw_block b, char c) { return _mm_cmpeq_epi8(_mm_min_epu8(b, _mm_set1_epi8(c)), b); }
static inline fgw_block fgw_at_least(fgw_block b, char c) { return _mm_cmpeq_epi8(_mm_max_epu8(b, _mm_set1_epi8(c)), b); }
static inline fgw_block fgw_and_not(fgw_block no, fgw_block yes) { return _mm_andnot_si128(no, yes); }
static inline fgw_block fgw_not_token(fgw_block b) {
    const __m128i rows = _mm_setr_epi8(FGW_TOKEN_ROWS(char));
    const __m128i bits = _mm_setr_epi8(FGW_ROW_BITS(char));
    __m128i high = _mm_and_si128(_mm_srli_epi16(b, 4), _mm_set1_epi8(15));
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
static inline fgw_block fgw_eq(fgw_block b, char c) { return vceqq_u8(b, vdupq_n_u8((uint8_t)c)); }
static inline fgw_block fgw_or(fgw_block a, fgw_block b) { return vorrq_u8(a, b); }
static inline fgw_block fgw_at_most(fgw_block b, char c) { return vcleq_u8(b, vdupq_n_u8((uint8_t)c)); }
static inline fgw_block fgw_at_least(fgw_block b, char c) { return vcgeq_u8(b, vdupq_n_u8((uint8_t)c)); }
static inline fgw_block fgw_and_not(fgw_block no, fgw_block yes) { return vbicq_u8(yes, no); }
static inline fgw_block fgw_not_token(fgw_block b) {
    static const uint8_t rows[16] = {FGW_TOKEN_ROWS(uint8_t)};
    static const uint8_t bits[16] = {FGW_ROW_BITS(uint8_t)};
    uint8x16_t low = vqtbl1q_u8(vld1q_u8(rows), vandq_u8(b, vdupq_n_u8(15)));
    uint8x16_t high = vqtbl1q_u8(vld1q_u8(bits), vshrq_n_u8(b, 4));
    return vceqzq_u8(vandq_u8(low, high));
}
#endif

/* Bytes that no header line may hold but at its end: controls other than HTAB, and DEL. */
static inline fgw_block fgw_value_stops(fgw_block b) {
    return fgw_or(fgw_and_not(fgw_eq(b, '\t'), fgw_at_most(b, 0x1f)), fgw_eq(b, 0x7f));
}

/* Bytes that end a request target: everything but 0x21-0x7E. */
static inline fgw_mask fgw_target_stops(fgw_block b) { return fgw_bits(fgw_or(fgw_at_most(b, 0x20), fgw_at_least(b, 0x7f))); }

static inline unsigned fgw_first(fgw_mask m) {
    return (unsigned)(sizeof m == 8 ? __builtin_ctzll(m) : __builtin_ctz((unsigned)m)) / FGW_LANE_BITS;
}

/* The bits of all bytes below the lowest one set in m (m != 0). */
static inline fgw_mask fgw_below(fgw_mask m) { return (fgw_mask)((m & (0 - m)) - 1); }

/* 64 bytes at p, one bit a byte. */
typedef struct fgw_stretch {
    uint64_t cr, lf, stops; /* stops: CR and LF are in it */
} fgw_stretch;

#if FGW_LANE_BITS == 1
static inline fgw_stretch fgw_load_stretch(const char *p) {
    fgw_stretch s = {0, 0, 0};
    for (unsigned i = 0; i < 64; i += FGW_BLOCK) {
        fgw_block b = fgw_load(p + i);
        s.cr |= (uint64_t)fgw_bits(fgw_eq(b, '\r')) << i;
        s.lf |= (uint64_t)fgw_bits(fgw_eq(b, '\n')) << i;
        s.stops |= (uint64_t)fgw_bits(fgw_value_stops(b)) << i;
    }
    return s;
}
#else
/* One bit a byte out of four blocks: weigh the lanes, then add neighbours three times. */
static inline uint64_t fgw_bits64(const fgw_block lanes[4]) {
    static const uint8_t weights[16] = {FGW_ROW_BITS(uint8_t)};
    uint8x16_t w = vcombine_u8(vld1_u8(weights), vld1_u8(weights));
    uint8x16_t low = vpaddq_u8(vandq_u8(lanes[0], w), vandq_u8(lanes[1], w));
    uint8x16_t high = vpaddq_u8(vandq_u8(lanes[2], w), vandq_u8(lanes[3], w));
    uint8x16_t sum = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sum, sum)), 0);
}

static inline fgw_stretch fgw_load_stretch(const char *p) {
    fgw_block cr[4], lf[4], stops[4];
    for (unsigned i = 0; i < 4; i++) {
        fgw_block b = fgw_load(p + i * FGW_BLOCK);
        cr[i] = fgw_eq(b, '\r');
        lf[i] = fgw_eq(b, '\n');
        stops[i] = fgw_value_stops(b);
    }
    return (fgw_stretch){fgw_bits64(cr), fgw_bits64(lf), fgw_bits64(stops)};
}
#endif

#endif
