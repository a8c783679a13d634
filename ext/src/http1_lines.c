/* Header lines byte by byte: the scalar scanner. It decides every odd case, so it is written to be read. */
#include "header_names.h"
#include "http1_internal.h"

long fgw_scan_line_end(const char *p, const char *end, fgw_scan *scan) {
    if (p == end)
        return 0;
    if (*p == '\r') {
        if (p + 1 == end)
            return 0;
        return p[1] == '\n' ? 2 : -FGW_R_BARE_CR;
    }
    if (*p != '\n')
        return -FGW_R_BAD_FIELD_VALUE;
    if (!(scan->limits->leniency & FGW_LENIENT_LF_IN_HEAD))
        return -FGW_R_BARE_LF;
    scan->leniencies |= FGW_LENIENT_LF_IN_HEAD;
    return 1;
}

/* Why no name can end at `at`; 0: the next bytes will tell. */
static int name_fault(const char *start, const char *at, const char *end) {
    if (fgw_is_ows(*at) && at == start)
        return FGW_R_OBS_FOLD;
    if (*at == '\r' || *at == '\n')
        return FGW_R_NO_COLON;
    if (!fgw_is_ows(*at))
        return FGW_R_BAD_FIELD_NAME;
    while (at < end && fgw_is_ows(*at))
        at++;
    if (at == end)
        return 0;
    return *at == ':' ? FGW_R_SPACE_BEFORE_COLON : FGW_R_NO_COLON;
}

static const char *skip(const char *p, const char *end, unsigned char_class) {
    while (p < end && fgw_is(*p, char_class))
        p++;
    return p;
}

/* A name that is longer than fgw_field can say can only be an attack on a limit. */
static long check_name(const char *p, const char *stop, const char *end) {
    if (stop - p > UINT16_MAX)
        return -FGW_R_HEAD_TOO_LARGE;
    if (stop == end)
        return 0;
    return *stop == ':' && stop != p ? 1 : -name_fault(p, stop, end);
}

/* "name: value CRLF" at p. */
static long scan_field(const char *base, const char *p, const char *end, fgw_scan *scan) {
    const char *colon = skip(p, end, FGW_C_TOKEN);
    long named = check_name(p, colon, end);
    if (named <= 0)
        return named;
    const char *value = colon + 1;
    while (value < end && fgw_is_ows(*value))
        value++;
    const char *stop = skip(value, end, FGW_C_VALUE);
    long eol = fgw_scan_line_end(stop, end, scan);
    if (eol <= 0)
        return eol;
    const char *after = stop;
    while (after > value && fgw_is_ows(after[-1]))
        after--;
    size_t name_len = (size_t)(colon - p);
    fgw_add_field(scan, (fgw_field){
                            .name_off = (uint32_t)(p - base),
                            .value_off = (uint32_t)(value - base),
                            .value_len = (uint32_t)(after - value),
                            .name_len = (uint16_t)name_len,
                            .id = (uint8_t)fgw_classify_name(p, name_len),
                            .flags = (uint8_t)(memchr(p, '_', name_len) != NULL ? FGW_FIELD_UNDERSCORE : 0),
                        });
    return stop + eol - p;
}

long fgw_scan_fields(const char *base, const char *p, const char *end, fgw_scan *scan) {
    const char *start = p;
    while (p < end && *p != '\r' && *p != '\n') {
        if (scan->count == scan->cap)
            return -FGW_R_TOO_MANY_FIELDS;
        long used = scan_field(base, p, end, scan);
        if (used <= 0)
            return used;
        p += used;
    }
    long eol = fgw_scan_line_end(p, end, scan);
    return eol <= 0 ? eol : p + eol - start;
}

const char *fgw_scan_target(const char *base, const char *start, const char *end, fgw_scan *scan) {
    const char *p = start;
    (void)base;
    for (char before = 0; p < end && fgw_is(*p, FGW_C_TARGET); before = *p++) {
        scan->has_fragment |= *p == '#';
        if (scan->has_query)
            continue;
        scan->path_special |= *p == '%' || *p == '\\' || (*p == '.' && before == '/');
        if (*p == '?') {
            scan->has_query = 1;
            scan->path_len = (uint32_t)(p - start);
        }
    }
    if (!scan->has_query)
        scan->path_len = (uint32_t)(p - start);
    return p;
}

const fgw_scanner fgw_scanner_scalar = {"scalar", fgw_scan_target, fgw_scan_fields};
