/* HTTP/1 heads, the entry points: limits, resumption, choice of the scanner for this machine. */
#include "fgw/http1.h"
#include "http1_internal.h"

enum { DEFAULT_HEAD_BYTES = 61440, DEFAULT_TARGET_BYTES = 16384, DEFAULT_FIELDS = 100, MAX_HEAD_BYTES = 1 << 30 };

typedef struct scanners {
    const char *name;
    fgw_request_scanner request;
    fgw_response_scanner response;
} scanners;

static const scanners scalar = {"scalar", fgw_scan_request_scalar, fgw_scan_response_scalar};
#if defined(__x86_64__)
static const scanners sse42 = {"sse4.2", fgw_scan_request_sse42, fgw_scan_response_sse42};
static const scanners avx2 = {"avx2", fgw_scan_request_avx2, fgw_scan_response_avx2};
#elif defined(__aarch64__)
static const scanners neon = {"neon", fgw_scan_request_neon, fgw_scan_response_neon};
#endif

/* The one variable of ext/: written once by the loader, before main and before any thread, constant from then on. */
static const scanners *chosen = &scalar;

__attribute__((constructor)) static void choose_scanners(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        chosen = &avx2;
    else if (__builtin_cpu_supports("sse4.2"))
        chosen = &sse42;
#elif defined(__aarch64__)
    chosen = &neon;
#endif
}

const char *fgw_simd_name(void) { return chosen->name; }

static fgw_limits with_defaults(const fgw_limits *given) {
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

static fgw_scan start_scan(const fgw_limits *limits, fgw_field *fields, size_t cap) {
    return (fgw_scan){.limits = limits, .fields = fields, .cap = cap < limits->fields ? (uint32_t)cap : limits->fields};
}

static long parse_request(fgw_request_scanner scanner, const char *p, size_t n, size_t seen, const fgw_limits *given,
                          fgw_request *out, fgw_field *fields, size_t cap) {
    const fgw_limits limits = with_defaults(given);
    size_t room = n < limits.head_bytes ? n : limits.head_bytes;
    if (n < limits.head_bytes && !worth_scanning(p, n, seen, limits.target_bytes))
        return 0;
    fgw_scan scan = start_scan(&limits, fields, cap);
    *out = (fgw_request){0};
    long used = scanner(p, room, &scan, out);
    if (used == 0 && room == limits.head_bytes)
        return -FGW_R_HEAD_TOO_LARGE;
    if (used <= 0)
        return used;
    int reason = fgw_judge_request(p, &scan, out);
    out->field_count = scan.count;
    out->head_len = (uint32_t)used;
    return reason != FGW_OK ? -reason : used;
}

static long parse_response(fgw_response_scanner scanner, const char *p, size_t n, size_t seen, const fgw_limits *given,
                           fgw_response *out, fgw_field *fields, size_t cap) {
    const fgw_limits limits = with_defaults(given);
    size_t room = n < limits.head_bytes ? n : limits.head_bytes;
    if (n < limits.head_bytes && seen != 0 && seen <= n && memchr(p + seen, '\n', n - seen) == NULL)
        return 0;
    fgw_scan scan = start_scan(&limits, fields, cap);
    *out = (fgw_response){0};
    long used = scanner(p, room, &scan, out);
    if (used == 0 && room == limits.head_bytes)
        return -FGW_R_HEAD_TOO_LARGE;
    if (used <= 0)
        return used;
    int reason = fgw_judge_response(p, &scan, out);
    out->field_count = scan.count;
    out->head_len = (uint32_t)used;
    return reason != FGW_OK ? -reason : used;
}

long fgw_parse_request(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out, fgw_field *fields,
                       size_t cap) {
    return parse_request(chosen->request, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_response(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out, fgw_field *fields,
                        size_t cap) {
    return parse_response(chosen->response, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_request_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out,
                              fgw_field *fields, size_t cap) {
    return parse_request(scalar.request, p, n, seen, limits, out, fields, cap);
}

long fgw_parse_response_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out,
                               fgw_field *fields, size_t cap) {
    return parse_response(scalar.response, p, n, seen, limits, out, fields, cap);
}
