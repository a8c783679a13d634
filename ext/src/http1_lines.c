/* Scanning of what is rare in a head: odd line ends, empty lines before it, versions other than HTTP/1.1, and the choice of
 * the reason when a line is refused. Every function answers like a parser: > 0 used, 0 more bytes needed, < 0 a reason. */
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

/* RFC 9112 section 2.2: a server should ignore at least one empty line before a request line. 0 also when the request
 * line has not begun. */
long fgw_scan_empty_lines(const char *p, const char *end, fgw_scan *scan) {
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
long fgw_scan_version(const char *p, const char *end, uint8_t *minor) {
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

long fgw_scan_request_version(const char *base, const char *p, const char *end, fgw_scan *scan, fgw_request *out) {
    long version = fgw_scan_version(p, end, &out->minor);
    if (version == -FGW_R_BAD_VERSION && is_h2_preface(base, out))
        return -FGW_R_H2_PREFACE;
    if (version <= 0)
        return version;
    long eol = fgw_scan_line_end(p + version, end, scan);
    if (eol == -FGW_R_BAD_FIELD_VALUE)
        return -FGW_R_BAD_REQUEST_LINE;
    return eol <= 0 ? eol : version + eol;
}

/* 3DIGIT and the space before the reason phrase; a status line that ends after the digits is common and accepted. */
long fgw_scan_status(const char *p, const char *end, fgw_response *out) {
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

int fgw_method_fault(const char *start, const char *at) {
    int line_ends = *at == '\r' || *at == '\n';
    return at > start && line_ends ? FGW_R_BAD_REQUEST_LINE : FGW_R_BAD_METHOD;
}

long fgw_target_fault(const char *start, const char *at, const char *end) {
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

int fgw_name_fault(const char *start, const char *at, const char *end) {
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

int fgw_method_id(const char *p, size_t n) {
    static const struct {
        char name[8];
        uint8_t len, id;
    } methods[] = {
        {"GET", 3, FGW_METHOD_GET},       {"POST", 4, FGW_METHOD_POST},       {"HEAD", 4, FGW_METHOD_HEAD},
        {"PUT", 3, FGW_METHOD_PUT},       {"OPTIONS", 7, FGW_METHOD_OPTIONS}, {"DELETE", 6, FGW_METHOD_DELETE},
        {"PATCH", 5, FGW_METHOD_PATCH},   {"CONNECT", 7, FGW_METHOD_CONNECT}, {"TRACE", 5, FGW_METHOD_TRACE},
        {"TRACK", 5, FGW_METHOD_TRACK},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].len == n && memcmp(methods[i].name, p, n) == 0)
            return methods[i].id;
    return FGW_METHOD_OTHER;
}
