/* HTTP/1 heads, the entry points: limits, resumption, choice of the scanner for this machine. */
#include "fgw/http1.h"
#include "http1_internal.h"

enum { DEFAULT_HEAD_BYTES = 61440, DEFAULT_TARGET_BYTES = 16384, DEFAULT_FIELDS = 100, MAX_HEAD_BYTES = 1 << 30 };

/* The one variable of ext/: written once by the loader, before main and before any thread, constant from then on. */
static const fgw_scanner *chosen = &fgw_scanner_scalar;

__attribute__((constructor)) static void choose_scanner(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        chosen = &fgw_scanner_avx2;
    else if (__builtin_cpu_supports("sse4.2"))
        chosen = &fgw_scanner_sse42;
#elif defined(__aarch64__)
    chosen = &fgw_scanner_neon;
#endif
}

const char *fgw_simd_name(void) { return chosen->name; }

fgw_limits fgw_limits_with_defaults(const fgw_limits *given) {
    fgw_limits limits = *given;
    if (limits.head_bytes == 0)
        limits.head_bytes = DEFAULT_HEAD_BYTES;
    if (limits.head_bytes > MAX_HEAD_BYTES)
        limits.head_bytes = MAX_HEAD_BYTES;
    if (limits.target_bytes == 0)
        limits.target_bytes = DEFAULT_TARGET_BYTES;
    if (limits.fields == 0)
        limits.fields = DEFAULT_FIELDS;
    return limits;
}

/* A head that was incomplete is scanned again from its start only when that can change the answer: a line has ended since
 * (their number is limited), or the target may have reached its limit. So bytes that come one by one cost one look each. */
static int worth_scanning(const char *p, size_t n, size_t seen, size_t target_bytes) {
    const size_t before_target = 2 * FGW_EMPTY_LINES_MAX + FGW_METHOD_MAX + 1;
    if (seen == 0 || seen > n || memchr(p + seen, '\n', n - seen) != NULL)
        return 1;
    return seen <= target_bytes + before_target && n > target_bytes;
}

static void start_scan(fgw_scan *scan, const fgw_limits *limits, fgw_field *fields, size_t cap) {
    memset(scan, 0, offsetof(fgw_scan, last));
    scan->limits = limits;
    scan->fields = fields;
    scan->cap = cap < limits->fields ? (uint32_t)cap : limits->fields;
}

/* What the scanners found out about an incomplete head: it ends here when it has reached its limit. */
static long not_judged(long used, size_t n, const fgw_limits *limits) {
    return used == 0 && n >= limits->head_bytes ? -FGW_R_HEAD_TOO_LARGE : used;
}

static long parse_request(const fgw_scanner *scanner, const char *p, size_t n, size_t seen, const fgw_limits *given,
                          fgw_request *out, fgw_field *fields, size_t cap) {
    const fgw_limits limits = fgw_limits_with_defaults(given);
    if (n < limits.head_bytes && !worth_scanning(p, n, seen, limits.target_bytes))
        return 0;
    const char *end = p + (n < limits.head_bytes ? n : limits.head_bytes);
    fgw_scan scan;
    start_scan(&scan, &limits, fields, cap);
    *out = (fgw_request){0};
    long line = fgw_scan_request_line(scanner, p, end, &scan, out);
    long rest = line <= 0 ? line : scanner->fields(p, p + line, end, &scan);
    if (rest <= 0)
        return not_judged(rest, n, &limits);
    int reason = fgw_judge_request(p, &scan, out);
    out->field_count = scan.count;
    out->head_len = (uint32_t)(line + rest);
    return reason != FGW_OK ? -reason : line + rest;
}

static long parse_response(const fgw_scanner *scanner, const char *p, size_t n, size_t seen, const fgw_limits *given,
                           fgw_response *out, fgw_field *fields, size_t cap) {
    const fgw_limits limits = fgw_limits_with_defaults(given);
    if (n < limits.head_bytes && seen != 0 && seen <= n && memchr(p + seen, '\n', n - seen) == NULL)
        return 0;
    const char *end = p + (n < limits.head_bytes ? n : limits.head_bytes);
    fgw_scan scan;
    start_scan(&scan, &limits, fields, cap);
    *out = (fgw_response){0};
    long line = fgw_scan_status_line(p, end, &scan, out);
    long rest = line <= 0 ? line : scanner->fields(p, p + line, end, &scan);
    if (rest <= 0)
        return not_judged(rest, n, &limits);
    int reason = fgw_judge_response(p, &scan, out);
    out->field_count = scan.count;
    out->head_len = (uint32_t)(line + rest);
    return reason != FGW_OK ? -reason : line + rest;
}

long fgw_parse_request(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out, fgw_field *fields,
                       size_t cap) {
    return parse_request(chosen, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_response(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out, fgw_field *fields,
                        size_t cap) {
    return parse_response(chosen, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_trailers(const char *p, size_t n, const fgw_limits *given, fgw_field *fields, size_t cap, uint32_t *count) {
    fgw_limits limits = fgw_limits_with_defaults(given);
    limits.leniency = 0;
    fgw_scan scan;
    start_scan(&scan, &limits, fields, cap);
    long used = n > limits.head_bytes ? -FGW_R_TRAILER_TOO_LARGE : fgw_scan_fields(p, p, p + n, &scan);
    *count = scan.count;
    if (used == -FGW_R_TOO_MANY_FIELDS)
        return -FGW_R_TRAILER_TOO_LARGE;
    return used > 0 && (size_t)used == n ? used : used < 0 ? used : -FGW_R_BAD_TRAILER;
}

long fgw_parse_request_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out, fgw_field *fields,
                              size_t cap) {
    return parse_request(&fgw_scanner_scalar, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_response_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out, fgw_field *fields,
                               size_t cap) {
    return parse_response(&fgw_scanner_scalar, p, n, seen, limits, out, fields, cap);
}
