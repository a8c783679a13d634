/* gRPC: content types, deadlines, statuses, and gRPC-Web's base64. */
#include "fgw/grpc.h"
#include "bytes.h"
#include "chars.h"

/* The media type ends here: +subtype, parameters or nothing follow. */
static int ends_type(const char *p, size_t n, size_t at) {
    return n == at || p[at] == '+' || p[at] == ';' || fgw_is_ows(p[at]);
}

static int is_type(const char *p, size_t n, const char *type, size_t len) {
    return n >= len && fgw_equal_folded(p, type, len) && ends_type(p, n, len);
}

int fgw_grpc_kind_of(const char *value, size_t n) {
    if (n < 16 || !fgw_equal_folded(value, "application/grpc", 16))
        return FGW_GRPC_NOT;
    if (ends_type(value, n, 16))
        return FGW_GRPC_PLAIN;
    if (is_type(value + 16, n - 16, "-web", 4))
        return FGW_GRPC_WEB;
    return is_type(value + 16, n - 16, "-web-text", 9) ? FGW_GRPC_WEB_TEXT : FGW_GRPC_NOT;
}

int64_t fgw_grpc_timeout_ms(const char *value, size_t n) {
    int64_t amount = 0;
    if (n < 2 || n > 9)
        return -1;
    for (size_t i = 0; i + 1 < n; i++) {
        if (!fgw_is(value[i], FGW_C_DIGIT))
            return -1;
        amount = amount * 10 + (value[i] - '0');
    }
    switch (value[n - 1]) {
    case 'H': return amount * 3600000;
    case 'M': return amount * 60000;
    case 'S': return amount * 1000;
    case 'm': return amount;
    case 'u': return (amount + 999) / 1000;
    case 'n': return (amount + 999999) / 1000000;
    default: return -1;
    }
}

int fgw_grpc_status_of(const char *value, size_t n) {
    int status = 0;
    if (n == 0 || n > 2)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!fgw_is(value[i], FGW_C_DIGIT))
            return -1;
        status = status * 10 + (value[i] - '0');
    }
    return status <= FGW_GRPC_STATUS_MAX ? status : -1;
}

int fgw_grpc_status_of_http(int status) {
    switch (status) {
    case 400: return 13;
    case 401: return 16;
    case 403: return 7;
    case 404: return 12;
    case 429:
    case 502:
    case 503:
    case 504: return 14;
    default: return 2;
    }
}

const char *fgw_grpc_status_name(int status, int camel) {
    static const char *const names[FGW_GRPC_STATUS_MAX + 1][2] = {
        {"OK", "OK"},
        {"CANCELLED", "Canceled"},
        {"UNKNOWN", "Unknown"},
        {"INVALID_ARGUMENT", "InvalidArgument"},
        {"DEADLINE_EXCEEDED", "DeadlineExceeded"},
        {"NOT_FOUND", "NotFound"},
        {"ALREADY_EXISTS", "AlreadyExists"},
        {"PERMISSION_DENIED", "PermissionDenied"},
        {"RESOURCE_EXHAUSTED", "ResourceExhausted"},
        {"FAILED_PRECONDITION", "FailedPrecondition"},
        {"ABORTED", "Aborted"},
        {"OUT_OF_RANGE", "OutOfRange"},
        {"UNIMPLEMENTED", "Unimplemented"},
        {"INTERNAL", "Internal"},
        {"UNAVAILABLE", "Unavailable"},
        {"DATA_LOSS", "DataLoss"},
        {"UNAUTHENTICATED", "Unauthenticated"},
    };
    return status >= 0 && status <= FGW_GRPC_STATUS_MAX ? names[status][camel != 0] : NULL;
}

size_t fgw_grpc_message(const char *p, size_t n, char *out) {
    static const char hex[] = "0123456789ABCDEF";
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            out[at++] = (char)c;
            continue;
        }
        out[at++] = '%';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    return at;
}

static int value_of_digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* A whole group of four: 3 bytes, fewer with padding; -1 when padding hides bits that are not zero. */
static long end_group(fgw_base64 *d, char *out) {
    const uint32_t bits = d->bits;
    const uint8_t padding = d->padding;
    *d = (fgw_base64){0};
    if (padding != 0 && (bits & (padding == 1 ? 0xffu : 0xffffu)) != 0)
        return -1;
    out[0] = (char)(bits >> 16);
    if (padding < 2)
        out[1] = (char)(bits >> 8);
    if (padding < 1)
        out[2] = (char)bits;
    return 3 - padding;
}

long fgw_base64_decode(fgw_base64 *d, const char *p, size_t n, char *out) {
    long at = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = value_of_digit(p[i]);
        if (p[i] == '=' && d->have >= 2) {
            d->padding++;
            digit = 0;
        } else if (digit < 0 || d->padding != 0) {
            return -1;
        }
        d->bits = d->bits << 6 | (uint32_t)digit;
        if (++d->have < 4)
            continue;
        long got = end_group(d, out + at);
        if (got < 0)
            return -1;
        at += got;
    }
    return at;
}

int fgw_base64_complete(const fgw_base64 *d) { return d->have == 0; }

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Of three bytes, or of fewer with padding. */
static size_t put_group(const uint8_t *p, unsigned n, char *out) {
    const uint32_t bits = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
    out[0] = BASE64[bits >> 18];
    out[1] = BASE64[bits >> 12 & 63];
    out[2] = n > 1 ? BASE64[bits >> 6 & 63] : '=';
    out[3] = n > 2 ? BASE64[bits & 63] : '=';
    return 4;
}

/* Where the present message stands after one more byte: 1 when that was its last. */
static int ends_message(fgw_grpc_text *e, uint8_t c) {
    if (e->have < FGW_GRPC_WEB_PREFIX) {
        e->prefix[e->have++] = c;
        if (e->have < FGW_GRPC_WEB_PREFIX)
            return 0;
        e->left = (uint32_t)e->prefix[1] << 24 | (uint32_t)e->prefix[2] << 16 | (uint32_t)e->prefix[3] << 8 | e->prefix[4];
    } else {
        e->left--;
    }
    if (e->left != 0)
        return 0;
    e->have = 0;
    return 1;
}

size_t fgw_grpc_text_encode(fgw_grpc_text *e, const char *p, size_t n, char *out) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        e->rest[e->rest_len++] = (uint8_t)p[i];
        int last = ends_message(e, (uint8_t)p[i]);
        if (e->rest_len < 3 && !last)
            continue;
        at += put_group(e->rest, e->rest_len, out + at);
        e->rest_len = 0;
    }
    return at;
}
