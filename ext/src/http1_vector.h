/* The vector scanner, included once per instruction set by http1_{sse42,avx2,neon}.c, which define FGW_ISA_*, FGW_SCANNER and
 * FGW_SCANNER_NAME. It takes the lines in which nothing is odd; the rest, and every refusal, is http1_lines.c's.
 *
 * Lines are found 64 bytes at a time as bit masks: where the line ends are does not depend on what the lines hold, so the
 * processor works on several lines at once. Nothing outside [base, end) is read: the last stretch of the input is loaded so
 * that it ends at `end`, over bytes already seen. */
#include "header_names.h"
#include "http1_internal.h"
#include "http1_isa.h"

enum { STRETCH = 64 };

typedef struct line_finder {
    const char *base, *end;
    const char *at;   /* where bit 0 of lf is */
    const char *next; /* first byte not looked at */
    uint64_t lf;      /* line ends not yet handed out; every one is a CRLF */
    uint64_t cr_before; /* 1: the last byte looked at is CR */
} line_finder;

/* Looks at the next stretch: 0 when there is none or something odd is in it. */
static inline int find_more(line_finder *f) {
    size_t room = (size_t)(f->end - f->next);
    if (room == 0 || f->end - f->base < STRETCH)
        return 0;
    unsigned shift = room < STRETCH ? (unsigned)(STRETCH - room) : 0;
    fgw_stretch s = fgw_load_stretch(f->next - shift);
    s.cr >>= shift;
    s.lf >>= shift;
    s.stops >>= shift;
    uint64_t expected_lf = s.cr << 1 | f->cr_before;
    if ((s.stops & ~(s.cr | s.lf)) != 0 || expected_lf != s.lf)
        return 0;
    f->at = f->next;
    f->next += STRETCH - shift;
    f->lf = s.lf;
    f->cr_before = s.cr >> 63;
    return 1;
}

/* Length of the name at p; 0 when it is empty or does not end within one block. The end of the input is covered by a block
 * that ends there, as in find_more(). */
static inline size_t scan_name(const char *p, const char *end, int *underscore) {
    unsigned shift = end - p < FGW_BLOCK ? (unsigned)(FGW_BLOCK - (end - p)) : 0;
    fgw_block b = fgw_load(p - shift);
    fgw_mask stops = fgw_bits(fgw_not_token(b)) >> (shift * FGW_LANE_BITS);
    if (stops == 0)
        return 0;
    *underscore = ((fgw_bits(fgw_eq(b, '_')) >> (shift * FGW_LANE_BITS)) & fgw_below(stops)) != 0;
    return fgw_first(stops);
}

/* A field on the line [p, cr), which holds no byte that a value may not hold; 0 when the line is odd. */
static inline int take_line(const char *base, const char *p, const char *cr, const char *end, fgw_scan *scan) {
    int underscore;
    size_t name_len = scan_name(p, end, &underscore);
    if (name_len == 0 || p[name_len] != ':')
        return 0;
    const char *value = p + name_len + 1;
    while (value < cr && fgw_is_ows(*value))
        value++;
    while (cr > value && fgw_is_ows(cr[-1]))
        cr--;
    fgw_add_field(scan, (fgw_field){
                            .name_off = (uint32_t)(p - base),
                            .value_off = (uint32_t)(value - base),
                            .value_len = (uint32_t)(cr - value),
                            .name_len = (uint16_t)name_len,
                            .id = (uint8_t)fgw_classify_name(p, name_len),
                            .flags = (uint8_t)(underscore ? FGW_FIELD_UNDERSCORE : 0),
                        });
    return 1;
}

static long scan_fields(const char *base, const char *start, const char *end, fgw_scan *scan) {
    line_finder f = {base, end, start, start, 0, 0};
    const char *p = start;
    for (;;) {
        while (f.lf == 0)
            if (!find_more(&f))
                goto odd;
        const char *lf = f.at + __builtin_ctzll(f.lf);
        f.lf &= f.lf - 1;
        if (lf - p == 1)
            return lf + 1 - start;
        if (scan->count == scan->cap || !take_line(base, p, lf - 1, end, scan))
            goto odd;
        p = lf + 1;
    }
odd:;
    long rest = fgw_scan_fields(base, p, end, scan);
    return rest <= 0 ? rest : p + rest - start;
}

/* One block of the target: `keep` selects its bytes, `at` is the place of bit 0 in the target. */
static inline void note_target_block(fgw_scan *scan, fgw_block b, unsigned shift, fgw_mask keep, size_t at, int *after_slash) {
    const unsigned down = shift * FGW_LANE_BITS;
    scan->has_fragment |= ((fgw_bits(fgw_eq(b, '#')) >> down) & keep) != 0;
    if (scan->has_query)
        return;
    fgw_mask query = (fgw_bits(fgw_eq(b, '?')) >> down) & keep;
    if (query != 0) {
        scan->has_query = 1;
        scan->path_len = (uint32_t)(at + fgw_first(query));
        keep &= fgw_below(query);
    }
    fgw_mask slash = fgw_bits(fgw_eq(b, '/')) >> down;
    fgw_mask dot = fgw_bits(fgw_eq(b, '.')) >> down;
    fgw_mask special = fgw_bits(fgw_or(fgw_eq(b, '%'), fgw_eq(b, '\\'))) >> down;
    fgw_mask carry = *after_slash ? ((fgw_mask)1 << FGW_LANE_BITS) - 1 : 0;
    special |= dot & (fgw_mask)((slash << FGW_LANE_BITS) | carry);
    scan->path_special |= (special & keep) != 0;
    *after_slash = (slash >> (FGW_LANE_BITS * (FGW_BLOCK - 1))) != 0;
}

static const char *scan_target(const char *base, const char *start, const char *end, fgw_scan *scan) {
    const char *p = start;
    int after_slash = 0;
    if (end - base < FGW_BLOCK)
        return fgw_scan_target(base, start, end, scan);
    while (p < end) {
        unsigned shift = end - p < FGW_BLOCK ? (unsigned)(FGW_BLOCK - (end - p)) : 0;
        fgw_block b = fgw_load(p - shift);
        fgw_mask stops = fgw_target_stops(b) >> (shift * FGW_LANE_BITS);
        fgw_mask keep = stops != 0 ? fgw_below(stops) : (fgw_mask) ~(fgw_mask)0;
        note_target_block(scan, b, shift, keep, (size_t)(p - start), &after_slash);
        p += stops != 0 ? fgw_first(stops) : FGW_BLOCK - shift;
        if (stops != 0)
            break;
    }
    if (!scan->has_query)
        scan->path_len = (uint32_t)(p - start);
    return p;
}

const fgw_scanner FGW_SCANNER = {FGW_SCANNER_NAME, scan_target, scan_fields};
