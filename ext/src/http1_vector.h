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
    const char *at;    /* where bit 0 of controls is */
    const char *next;  /* first byte not looked at */
    uint64_t controls; /* of [at, next) */
} line_finder;

/* Looks at the next stretch; 0 at the end of the input. */
static inline int find_more(line_finder *f) {
    size_t room = (size_t)(f->end - f->next);
    f->at = f->next;
    if (room >= STRETCH) {
        f->controls = fgw_controls64(f->next);
        f->next += STRETCH;
        return 1;
    }
    if (room == 0 || f->end - f->base < STRETCH)
        return 0;
    f->controls = fgw_controls64(f->end - STRETCH) >> (STRETCH - room);
    f->next = f->end;
    return 1;
}

/* First control at or after p, where no control of a line before is left out; NULL: none in the input. */
static inline const char *find_control(line_finder *f, const char *p) {
    for (;;) {
        if (p < f->next) {
            uint64_t ahead = f->controls >> (p - f->at);
            if (ahead != 0)
                return p + __builtin_ctzll(ahead);
            p = f->next;
        }
        if (!find_more(f))
            return NULL;
    }
}

/* What scanning adds up, kept out of memory while it runs. */
typedef struct line_sums {
    uint64_t ids;
    uint32_t count;
} line_sums;

/* fgw_classify_name() with the name at hand in the block b. */
static inline int classify(const char *p, fgw_block b, size_t n) {
    if (n < 2 || n > FGW_BLOCK)
        return fgw_classify_name(p, n);
    const fgw_known_name *known = fgw_name_candidate(p, n);
    if (known->len == n && fgw_same_name(b, known->text, n))
        return known->id;
    return fgw_has_x_envoy_prefix(p, n) ? FGW_HDR_X_ENVOY : FGW_HDR_OTHER;
}

/* The line from p to the CR at cr as a field, when it is one beyond doubt; the block that ends `shift` bytes early and the
 * one at p are one and the same but at the end of the input. */
static inline int take_line(const char *base, const char *p, const char *cr, unsigned shift, fgw_scan *scan, line_sums *sums) {
    fgw_block b = fgw_load(p - shift);
    fgw_mask stops = fgw_bits(fgw_not_token(b)) >> (shift * FGW_LANE_BITS);
    size_t name_len = stops != 0 ? fgw_first(stops) : 0;
    if (name_len == 0 || p[name_len] != ':')
        return 0;
    const char *value = p + name_len + 1;
    while (*value == ' ') /* stops at CR */
        value++;
    while (cr > value && cr[-1] == ' ')
        cr--;
    fgw_mask underscores = fgw_bits(fgw_eq(b, '_')) >> (shift * FGW_LANE_BITS) & fgw_below(stops);
    int id = shift == 0 ? classify(p, b, name_len) : fgw_classify_name(p, name_len);
    scan->fields[sums->count] = (fgw_field){
        .name_off = (uint32_t)(p - base),
        .value_off = (uint32_t)(value - base),
        .value_len = (uint32_t)(cr - value),
        .name_len = (uint16_t)name_len,
        .id = (uint8_t)id,
        .flags = (uint8_t)(underscores != 0 ? FGW_FIELD_UNDERSCORE : 0),
    };
    scan->last[id] = sums->count++;
    if (sums->ids & FGW_BIT(id) & FGW_COUNTED_IDS)
        scan->twice |= FGW_BIT(id);
    sums->ids |= FGW_BIT(id);
    return 1;
}

/* take_line() where less than a block is left; by value, so that the sums of the hot loop can stay in registers. */
__attribute__((noinline)) static line_sums take_last_line(const char *base, const char *p, const char *cr, const char *end,
                                                          fgw_scan *scan, line_sums sums) {
    take_line(base, p, cr, (unsigned)(FGW_BLOCK - (end - p)), scan, &sums);
    return sums;
}

static inline int take_any_line(const char *base, const char *p, const char *cr, const char *end, fgw_scan *scan, line_sums *sums) {
    uint32_t count = sums->count;
    if (count == scan->cap)
        return 0;
    if (end - p >= FGW_BLOCK)
        return take_line(base, p, cr, 0, scan, sums);
    *sums = take_last_line(base, p, cr, end, scan, *sums);
    return sums->count != count;
}

/* Takes lines from *p on; 1 when *p is after the empty line, 0 when the line at *p is odd or not whole. */
static inline int take_lines(const char *base, const char **p, const char *end, fgw_scan *scan) {
    line_finder f = {base, end, *p, *p, 0};
    line_sums sums = {scan->ids, scan->count};
    const char *line = *p;
    int done = 0;
    for (;;) {
        const char *cr = find_control(&f, line);
        if (cr == NULL || end - cr < 2 || fgw_load2(cr) != fgw_load2("\r\n"))
            break;
        done = cr == line;
        if (!done && !take_any_line(base, line, cr, end, scan, &sums))
            break;
        line = cr + 2;
        if (done)
            break;
    }
    scan->ids = sums.ids;
    scan->count = sums.count;
    *p = line;
    return done;
}

static long scan_fields(const char *base, const char *start, const char *end, fgw_scan *scan) {
    const char *p = start;
    if (take_lines(base, &p, end, scan))
        return p - start;
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
