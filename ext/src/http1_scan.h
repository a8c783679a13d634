/* The head scanner, included once per instruction set by http1_{scalar,sse42,avx2,neon}.c, which define FGW_NAME(x) and,
 * for vectors, an FGW_ISA_*. It finds line ends, names and values and refuses bytes that may not be there; it does not
 * know what a field means. Nothing at or after `end` is read: the last partial block of the input is covered by a block
 * that ends at `end` and overlaps bytes already seen. */
#include "header_names.h"
#include "http1_internal.h"
#include "http1_isa.h"

typedef struct name_scan {
    const char *stop; /* first byte that is no tchar, or end */
    int underscore;
} name_scan;

#ifdef FGW_BLOCK
static inline name_scan scan_name(const char *base, const char *p, const char *end) {
    name_scan r = {p, 0};
    for (;;) {
        size_t room = (size_t)(end - r.stop);
        unsigned shift = 0;
        if (room < FGW_BLOCK) {
            if (room == 0 || end - base < FGW_BLOCK)
                break;
            shift = (unsigned)(FGW_BLOCK - room);
        }
        fgw_block b = fgw_load(r.stop - shift);
        fgw_mask stops = fgw_bits(fgw_not_token(b)) >> (shift * FGW_LANE_BITS);
        fgw_mask underscores = fgw_bits(fgw_eq(b, '_')) >> (shift * FGW_LANE_BITS);
        if (stops != 0) {
            r.underscore |= (underscores & fgw_below(stops)) != 0;
            r.stop += fgw_first(stops);
            return r;
        }
        r.underscore |= underscores != 0;
        r.stop += FGW_BLOCK - shift;
    }
    for (; r.stop < end && fgw_is(*r.stop, FGW_C_TOKEN); r.stop++)
        r.underscore |= *r.stop == '_';
    return r;
}

static inline const char *scan_value(const char *base, const char *p, const char *end) {
    for (; end - p >= FGW_BLOCK; p += FGW_BLOCK) {
        fgw_mask stops = fgw_value_stops(fgw_load(p));
        if (stops != 0)
            return p + fgw_first(stops);
    }
    if (end - base >= FGW_BLOCK && p < end) {
        unsigned shift = (unsigned)(FGW_BLOCK - (end - p));
        fgw_mask stops = fgw_value_stops(fgw_load(p - shift)) >> (shift * FGW_LANE_BITS);
        return stops != 0 ? p + fgw_first(stops) : end;
    }
    while (p < end && fgw_is(*p, FGW_C_VALUE))
        p++;
    return p;
}

/* One block of the target: `keep` selects the bytes that belong to it, `path_len` is where the block begins. */
static inline void note_target_block(fgw_scan *scan, fgw_block b, unsigned shift, fgw_mask keep, size_t at, int *after_slash) {
    fgw_mask hash = (fgw_bits(fgw_eq(b, '#')) >> (shift * FGW_LANE_BITS)) & keep;
    scan->has_fragment |= hash != 0;
    if (scan->has_query)
        return;
    fgw_mask query = (fgw_bits(fgw_eq(b, '?')) >> (shift * FGW_LANE_BITS)) & keep;
    if (query != 0) {
        scan->has_query = 1;
        scan->path_len = (uint32_t)(at + fgw_first(query));
        keep &= fgw_below(query);
    }
    fgw_mask slash = fgw_bits(fgw_eq(b, '/')) >> (shift * FGW_LANE_BITS);
    fgw_mask dot = fgw_bits(fgw_eq(b, '.')) >> (shift * FGW_LANE_BITS);
    fgw_mask special = fgw_bits(fgw_or(fgw_eq(b, '%'), fgw_eq(b, '\\'))) >> (shift * FGW_LANE_BITS);
    fgw_mask carry = *after_slash ? ((fgw_mask)1 << FGW_LANE_BITS) - 1 : 0;
    special |= dot & (fgw_mask)((slash << FGW_LANE_BITS) | carry);
    scan->path_special |= (special & keep) != 0;
    *after_slash = (slash >> (FGW_LANE_BITS * (FGW_BLOCK - 1))) != 0;
}
#else
static inline name_scan scan_name(const char *base, const char *p, const char *end) {
    (void)base;
    name_scan r = {p, 0};
    for (; r.stop < end && fgw_is(*r.stop, FGW_C_TOKEN); r.stop++)
        r.underscore |= *r.stop == '_';
    return r;
}

static inline const char *scan_value(const char *base, const char *p, const char *end) {
    (void)base;
    while (p < end && fgw_is(*p, FGW_C_VALUE))
        p++;
    return p;
}
#endif

static inline void note_target_byte(fgw_scan *scan, char c, size_t at, int *after_slash) {
    scan->has_fragment |= c == '#';
    if (scan->has_query)
        return;
    if (c == '?') {
        scan->has_query = 1;
        scan->path_len = (uint32_t)at;
        return;
    }
    scan->path_special |= c == '%' || c == '\\' || (c == '.' && *after_slash);
    *after_slash = c == '/';
}

/* First byte that cannot be part of a target, or end; the scan learns about '?', '#' and bytes that normalising changes. */
static inline const char *scan_target(const char *base, const char *start, const char *end, fgw_scan *scan) {
    (void)base;
    const char *p = start;
    int after_slash = 0;
#ifdef FGW_BLOCK
    while (p < end && end - base >= FGW_BLOCK) {
        unsigned shift = end - p < FGW_BLOCK ? (unsigned)(FGW_BLOCK - (end - p)) : 0;
        fgw_block b = fgw_load(p - shift);
        fgw_mask stops = fgw_target_stops(b) >> (shift * FGW_LANE_BITS);
        fgw_mask keep = stops != 0 ? fgw_below(stops) : (fgw_mask)~(fgw_mask)0 >> (shift * FGW_LANE_BITS);
        note_target_block(scan, b, shift, keep, (size_t)(p - start), &after_slash);
        p += stops != 0 ? fgw_first(stops) : FGW_BLOCK - shift;
        if (stops != 0)
            break;
    }
#endif
    for (; p < end && fgw_is(*p, FGW_C_TARGET); p++)
        note_target_byte(scan, *p, (size_t)(p - start), &after_slash);
    if (!scan->has_query)
        scan->path_len = (uint32_t)(p - start);
    return p;
}

/* CRLF at p in the usual case; the rest is fgw_scan_line_end's. */
static inline long line_end(const char *p, const char *end, fgw_scan *scan) {
    if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
        return 2;
    return fgw_scan_line_end(p, end, scan);
}

/* "name: value CRLF" at p. */
static inline long scan_field(const char *base, const char *p, const char *end, fgw_scan *scan) {
    name_scan name = scan_name(base, p, end);
    if (name.stop == end)
        return name.stop - p > UINT16_MAX ? -FGW_R_HEAD_TOO_LARGE : 0;
    size_t name_len = (size_t)(name.stop - p);
    if (*name.stop != ':' || name_len == 0)
        return -fgw_name_fault(p, name.stop, end);
    if (name_len > UINT16_MAX)
        return -FGW_R_HEAD_TOO_LARGE;
    const char *value = name.stop + 1;
    while (value < end && fgw_is_ows(*value))
        value++;
    const char *stop = scan_value(base, value, end);
    long eol = line_end(stop, end, scan);
    if (eol <= 0)
        return eol;
    const char *after = stop;
    while (after > value && fgw_is_ows(after[-1]))
        after--;
    int id = fgw_classify_name(p, name_len);
    scan->ids |= FGW_BIT(id);
    scan->fields[scan->count++] = (fgw_field){
        .name_off = (uint32_t)(p - base),
        .value_off = (uint32_t)(value - base),
        .value_len = (uint32_t)(after - value),
        .name_len = (uint16_t)name_len,
        .id = (uint8_t)id,
        .flags = (uint8_t)(name.underscore ? FGW_FIELD_UNDERSCORE : 0),
    };
    return stop + eol - p;
}

/* All fields and the empty line that ends the head. */
static inline long scan_fields(const char *base, const char *p, const char *end, fgw_scan *scan) {
    for (;;) {
        if (p == end)
            return 0;
        if (*p == '\r' || *p == '\n') {
            long eol = line_end(p, end, scan);
            return eol <= 0 ? eol : p + eol - base;
        }
        if (scan->count == scan->cap)
            return -FGW_R_TOO_MANY_FIELDS;
        long used = scan_field(base, p, end, scan);
        if (used <= 0)
            return used;
        p += used;
    }
}

/* "METHOD SP target SP HTTP/1.x CRLF" */
static inline long scan_request_line(const char *base, const char *p, const char *end, fgw_scan *scan, fgw_request *out) {
    const char *method = p;
    while (p < end && p - method <= FGW_METHOD_MAX && fgw_is(*p, FGW_C_TOKEN))
        p++;
    if (p - method > FGW_METHOD_MAX)
        return -FGW_R_BAD_METHOD;
    if (p == end)
        return 0;
    if (*p != ' ' || p == method)
        return -fgw_method_fault(method, p);
    out->method = (fgw_span){(uint32_t)(method - base), (uint32_t)(p - method)};
    out->method_id = (uint8_t)fgw_method_id(method, (size_t)(p - method));

    const char *target = ++p;
    p = scan_target(base, target, end, scan);
    if ((size_t)(p - target) > scan->limits->target_bytes)
        return -FGW_R_TARGET_TOO_LONG;
    if (p == end)
        return 0;
    if (*p != ' ' || p == target)
        return fgw_target_fault(target, p, end);
    out->target = (fgw_span){(uint32_t)(target - base), (uint32_t)(p - target)};

    p++;
    if (end - p >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0) {
        out->minor = 1;
        return p + 10 - method;
    }
    long rest = fgw_scan_request_version(base, p, end, scan, out);
    return rest <= 0 ? rest : p + rest - method;
}

long FGW_NAME(fgw_scan_request)(const char *base, size_t n, fgw_scan *scan, fgw_request *out) {
    const char *p = base;
    const char *end = base + n;
    if (n != 0 && (*p == '\r' || *p == '\n')) {
        long empty = fgw_scan_empty_lines(p, end, scan);
        if (empty <= 0)
            return empty;
        p += empty;
    }
    long line = scan_request_line(base, p, end, scan, out);
    return line <= 0 ? line : scan_fields(base, p + line, end, scan);
}

/* "HTTP/1.x SP 3DIGIT [SP reason] CRLF" */
static inline long scan_status_line(const char *base, const char *end, fgw_scan *scan, fgw_response *out) {
    const char *p = base;
    long version = fgw_scan_version(p, end, &out->minor);
    if (version <= 0)
        return version == -FGW_R_BAD_REQUEST_LINE ? -FGW_R_BAD_STATUS : version;
    p += version;
    long status = fgw_scan_status(p, end, out);
    if (status <= 0)
        return status;
    p += status;
    const char *reason = p;
    p = scan_value(base, p, end);
    long eol = line_end(p, end, scan);
    out->reason_phrase = (fgw_span){(uint32_t)(reason - base), (uint32_t)(p - reason)};
    return eol <= 0 ? eol : p + eol - base;
}

long FGW_NAME(fgw_scan_response)(const char *base, size_t n, fgw_scan *scan, fgw_response *out) {
    long line = scan_status_line(base, base + n, scan, out);
    return line <= 0 ? line : scan_fields(base, base + line, base + n, scan);
}
