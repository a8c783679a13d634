/* The first line of a head: "METHOD SP target SP HTTP/1.x CRLF", "HTTP/1.x SP 3DIGIT [SP reason] CRLF", and the reason when
 * it is not that. */
#include "http1_internal.h"

/* RFC 9112 section 2.2: a server should ignore at least one empty line before a request line. 0 also when the request
 * line has not begun. */
static long scan_empty_lines(const char *p, const char *end, fgw_scan *scan) {
    const char *start = p;
    for (int lines = 0; p < end && (*p == '\r' || *p == '\n'); lines++) {
        if (lines == FGW_EMPTY_LINES_MAX)
            return -FGW_R_TOO_MANY_EMPTY_LINES;
        long eol = fgw_scan_line_end(p, end, scan);
        if (eol <= 0)
            return eol;
        p += eol;
    }
    return p == end ? 0 : p - start;
}

static const char *skip_digits(const char *p, const char *end) {
    while (p < end && fgw_is(*p, FGW_C_DIGIT))
        p++;
    return p;
}

/* "HTTP/" 1*DIGIT "." 1*DIGIT: anything else is no HTTP/1 start line; anything but 1.0 and 1.1 is a version not spoken. */
static long scan_version(const char *p, const char *end, uint8_t *minor) {
    static const char prefix[] = "HTTP/";
    const char *start = p;
    for (size_t i = 0; i < sizeof prefix - 1; i++, p++) {
        if (p == end)
            return 0;
        if (*p != prefix[i])
            return -FGW_R_BAD_REQUEST_LINE;
    }
    const char *dot = skip_digits(p, end);
    if (dot == end)
        return 0;
    if (dot == p || *dot != '.')
        return -FGW_R_BAD_REQUEST_LINE;
    const char *stop = skip_digits(dot + 1, end);
    if (stop == end)
        return 0;
    if (stop == dot + 1)
        return -FGW_R_BAD_REQUEST_LINE;
    if (stop - start != 8 || p[0] != '1' || (p[2] != '0' && p[2] != '1'))
        return -FGW_R_BAD_VERSION;
    *minor = (uint8_t)(p[2] - '0');
    return stop - start;
}

/* RFC 9113 section 3.4: the preface begins as a request that no HTTP/1 server may understand. */
static int is_h2_preface(const char *base, const fgw_request *out) {
    return out->method.len == 3 && memcmp(base + out->method.off, "PRI", 3) == 0 && out->target.len == 1 &&
           base[out->target.off] == '*';
}

/* "HTTP/1.x CRLF" */
static long scan_last_word(const char *base, const char *p, const char *end, fgw_scan *scan, fgw_request *out) {
    if (end - p >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0) {
        out->minor = 1;
        return 10;
    }
    long version = scan_version(p, end, &out->minor);
    if (version == -FGW_R_BAD_VERSION && is_h2_preface(base, out))
        return -FGW_R_H2_PREFACE;
    if (version <= 0)
        return version;
    long eol = fgw_scan_line_end(p + version, end, scan);
    if (eol == -FGW_R_BAD_FIELD_VALUE)
        return -FGW_R_BAD_REQUEST_LINE;
    return eol <= 0 ? eol : version + eol;
}

static int method_fault(const char *start, const char *at) {
    int line_ends = *at == '\r' || *at == '\n';
    return at > start && line_ends ? FGW_R_BAD_REQUEST_LINE : FGW_R_BAD_METHOD;
}

static long target_fault(const char *start, const char *at, const char *end) {
    if (at == start && *at == ' ')
        return -FGW_R_BAD_REQUEST_LINE;
    if (*at == '\n')
        return -FGW_R_BARE_LF;
    if (*at != '\r')
        return -FGW_R_BAD_TARGET;
    if (at + 1 == end)
        return 0;
    return at[1] == '\n' ? -FGW_R_HTTP09 : -FGW_R_BARE_CR;
}

#define IS_METHOD(p, text, id) (memcmp((p), (text), sizeof(text) - 1) == 0 ? (id) : FGW_METHOD_OTHER)

int fgw_method_id_of(const char *p, size_t n) {
    switch (n) {
    case 3: return *p == 'G' ? IS_METHOD(p, "GET", FGW_METHOD_GET) : IS_METHOD(p, "PUT", FGW_METHOD_PUT);
    case 4: return *p == 'P' ? IS_METHOD(p, "POST", FGW_METHOD_POST) : IS_METHOD(p, "HEAD", FGW_METHOD_HEAD);
    case 5:
        if (*p == 'P')
            return IS_METHOD(p, "PATCH", FGW_METHOD_PATCH);
        return p[4] == 'E' ? IS_METHOD(p, "TRACE", FGW_METHOD_TRACE) : IS_METHOD(p, "TRACK", FGW_METHOD_TRACK);
    case 6: return IS_METHOD(p, "DELETE", FGW_METHOD_DELETE);
    case 7: return *p == 'O' ? IS_METHOD(p, "OPTIONS", FGW_METHOD_OPTIONS) : IS_METHOD(p, "CONNECT", FGW_METHOD_CONNECT);
    default: return FGW_METHOD_OTHER;
    }
}

/* "METHOD SP" */
static long scan_method(const char *base, const char *p, const char *end, fgw_request *out) {
    const char *at = p;
    while (at < end && at - p <= FGW_METHOD_MAX && fgw_is(*at, FGW_C_TOKEN))
        at++;
    if (at - p > FGW_METHOD_MAX)
        return -FGW_R_BAD_METHOD;
    if (at == end)
        return 0;
    if (*at != ' ' || at == p)
        return -method_fault(p, at);
    out->method = (fgw_span){(uint32_t)(p - base), (uint32_t)(at - p)};
    out->method_id = (uint8_t)fgw_method_id_of(p, (size_t)(at - p));
    return at + 1 - p;
}

/* "target SP" */
static long scan_target_word(const fgw_scanner *scanner, const char *base, const char *p, const char *end, fgw_scan *scan,
                             fgw_request *out) {
    const char *at = scanner->target(base, p, end, scan);
    if ((size_t)(at - p) > scan->limits->target_bytes)
        return -FGW_R_TARGET_TOO_LONG;
    if (at == end)
        return 0;
    if (*at != ' ' || at == p)
        return target_fault(p, at, end);
    out->target = (fgw_span){(uint32_t)(p - base), (uint32_t)(at - p)};
    return at + 1 - p;
}

long fgw_scan_request_line(const fgw_scanner *scanner, const char *base, const char *end, fgw_scan *scan, fgw_request *out) {
    const char *p = base;
    if (p < end && (*p == '\r' || *p == '\n')) {
        long empty = scan_empty_lines(p, end, scan);
        if (empty <= 0)
            return empty;
        p += empty;
    }
    long used = scan_method(base, p, end, out);
    if (used <= 0)
        return used;
    p += used;
    used = scan_target_word(scanner, base, p, end, scan, out);
    if (used <= 0)
        return used;
    p += used;
    used = scan_last_word(base, p, end, scan, out);
    return used <= 0 ? used : p + used - base;
}

/* 3DIGIT and the space before the reason phrase; a status line that ends after the digits is common and accepted. */
static long scan_status(const char *p, const char *end, fgw_response *out) {
    if (p < end && *p != ' ')
        return -FGW_R_BAD_STATUS;
    unsigned status = 0;
    for (int i = 1; i <= 3; i++) {
        if (end - p <= i)
            return 0;
        if (!fgw_is(p[i], FGW_C_DIGIT))
            return -FGW_R_BAD_STATUS;
        status = status * 10 + (unsigned)(p[i] - '0');
    }
    if (status < 100 || status > 599)
        return -FGW_R_BAD_STATUS;
    if (end - p == 4)
        return 0;
    if (p[4] != ' ' && p[4] != '\r' && p[4] != '\n')
        return -FGW_R_BAD_STATUS;
    out->status = (uint16_t)status;
    return p[4] == ' ' ? 5 : 4;
}

long fgw_scan_status_line(const char *base, const char *end, fgw_scan *scan, fgw_response *out) {
    long version = scan_version(base, end, &out->minor);
    if (version <= 0)
        return version == -FGW_R_BAD_REQUEST_LINE ? -FGW_R_BAD_STATUS : version;
    long status = scan_status(base + version, end, out);
    if (status <= 0)
        return status;
    const char *reason = base + version + status;
    const char *p = reason;
    while (p < end && fgw_is(*p, FGW_C_VALUE))
        p++;
    out->reason_phrase = (fgw_span){(uint32_t)(reason - base), (uint32_t)(p - reason)};
    long eol = fgw_scan_line_end(p, end, scan);
    return eol <= 0 ? eol : p + eol - base;
}
