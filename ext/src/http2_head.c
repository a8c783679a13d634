/* HTTP/2 heads from decoded fields: RFC 9113 section 8, with the stricter rules of HTTP/1 heads (requirements F4, F11 to F13). */
#include "fgw/http2.h"
#include "fgw/uri.h"
#include "header_names.h"
#include "http1_internal.h"

enum pseudo { P_METHOD = 1, P_SCHEME = 2, P_AUTHORITY = 4, P_PATH = 8, P_PROTOCOL = 16, P_STATUS = 32, P_REGULAR = 64 };

enum { FIELD_OVERHEAD = 32, SPECIAL_MAX = 20 };

void fgw_h2_start(fgw_h2_head *h, int kind, int options, const fgw_limits *limits) {
    memset(&h->len, 0, sizeof *h - offsetof(fgw_h2_head, len));
    h->kind = (uint8_t)kind;
    h->options = (uint8_t)options;
    h->limits = fgw_limits_with_defaults(limits);
}

static int refuse(fgw_h2_head *h, int reason) {
    if (h->reason == FGW_OK)
        h->reason = (uint16_t)reason;
    return h->reason;
}

/* ---- bytes */

/* Some byte may not be in a value, or is a tab: eight at a time, exact about "none". */
static int is_odd8(uint64_t w) {
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t del = w ^ (0x7f * ones);
    return (((w - 0x20 * ones) & ~w) | ((del - ones) & ~del)) & high ? 1 : 0;
}

/* What a field value may hold (requirement B8), without white space at its ends (RFC 9113 section 8.2.1). */
static int is_value(const char *p, size_t n) {
    if (n == 0)
        return 1;
    if (fgw_is_ows(p[0]) || fgw_is_ows(p[n - 1]))
        return 0;
    size_t i = 0;
    while (n - i >= 8 && !is_odd8(fgw_load8(p + i)))
        i += 8;
    for (; i < n; i++)
        if (!fgw_is(p[i], FGW_C_VALUE))
            return 0;
    return 1;
}

/* A field name: a token in lower case; *underscore tells of a '_'. */
static int name_fault(const char *p, size_t n, int *underscore) {
    unsigned classes = 0;
    if (n == 0 || n > UINT16_MAX)
        return n == 0 ? FGW_R_BAD_FIELD_NAME : FGW_R_HEAD_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        if (!fgw_is(p[i], FGW_C_TOKEN))
            return FGW_R_BAD_FIELD_NAME;
        if (p[i] >= 'A' && p[i] <= 'Z')
            return FGW_R_H2_UPPER_CASE;
        classes |= fgw_char_class[(uint8_t)p[i]];
    }
    *underscore = (classes & FGW_C_UNDERSCORE) != 0;
    return FGW_OK;
}

static fgw_span keep(fgw_h2_head *h, const char *p, size_t n) {
    fgw_span kept = {h->len, (uint32_t)n};
    memcpy(h->base + h->len, p, n);
    h->len += (uint32_t)n;
    return kept;
}

/* ---- one field */

static int pseudo_of(const char *name, size_t n, fgw_h2_head *h, fgw_span **place) {
    *place = NULL;
    if (h->kind == FGW_H2_TRAILERS)
        return 0;
    if (h->kind == FGW_H2_RESPONSE)
        return n == 7 && memcmp(name, ":status", 7) == 0 ? P_STATUS : 0;
    if (n == 7 && memcmp(name, ":method", 7) == 0)
        return *place = &h->method, P_METHOD;
    if (n == 5 && memcmp(name, ":path", 5) == 0)
        return *place = &h->path, P_PATH;
    if (n == 7 && memcmp(name, ":scheme", 7) == 0)
        return *place = &h->scheme, P_SCHEME;
    if (n == 10 && memcmp(name, ":authority", 10) == 0)
        return *place = &h->authority, P_AUTHORITY;
    if (n == 9 && memcmp(name, ":protocol", 9) == 0 && h->options & FGW_H2_EXTENDED_CONNECT)
        return *place = &h->protocol, P_PROTOCOL;
    return 0;
}

/* 100 to 599 without 101, which HTTP/2 does not have (RFC 9113 section 8.6). */
static int take_status(fgw_h2_head *h, const char *p, size_t n) {
    unsigned status = 0;
    for (size_t i = 0; i < n && i < 4; i++)
        status = fgw_is(p[i], FGW_C_DIGIT) ? status * 10 + (unsigned)(p[i] - '0') : 9999;
    if (n != 3 || status < 100 || status > 599 || status == 101)
        return FGW_R_BAD_STATUS;
    h->status = (uint16_t)status;
    return FGW_OK;
}

static int add_pseudo(fgw_h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len) {
    fgw_span *place;
    int which = pseudo_of(name, name_len, h, &place);
    if (which == 0 || h->pseudo & (which | P_REGULAR))
        return FGW_R_H2_PSEUDO;
    h->pseudo |= (uint16_t)which;
    if (which == P_STATUS)
        return take_status(h, value, value_len);
    if (which == P_PATH && value_len > h->limits.target_bytes)
        return FGW_R_TARGET_TOO_LONG;
    *place = keep(h, value, value_len);
    return FGW_OK;
}

static int note_field(fgw_h2_head *h, int id, const char *value, size_t n, fgw_span kept) {
    fgw_framing_facts facts = {.length = h->content_length, .lengths = h->lengths};
    int reason;
    switch (id) {
    case FGW_HDR_CONNECTION:
    case FGW_HDR_KEEP_ALIVE:
    case FGW_HDR_PROXY_CONNECTION:
    case FGW_HDR_TRANSFER_ENCODING:
    case FGW_HDR_UPGRADE: return FGW_R_H2_CONNECTION_FIELD;
    case FGW_HDR_TE:
        if (h->kind != FGW_H2_REQUEST || !FGW_IS(value, n, "trailers"))
            return FGW_R_H2_CONNECTION_FIELD;
        h->flags |= FGW_MSG_TE_TRAILERS;
        return FGW_OK;
    case FGW_HDR_CONTENT_LENGTH:
        if (h->kind == FGW_H2_TRAILERS)
            return FGW_OK; /* means nothing there and is not passed on */
        reason = fgw_note_content_length(&facts, value, n, h->limits.leniency, &h->leniencies);
        h->content_length = facts.length;
        h->lengths = facts.lengths;
        return reason;
    case FGW_HDR_HOST:
        if (h->kind == FGW_H2_REQUEST && h->has_host)
            return FGW_R_DUPLICATE_HOST;
        h->has_host = 1;
        h->host = kept;
        return FGW_OK;
    case FGW_HDR_EXPECT:
        if (h->kind != FGW_H2_REQUEST)
            return FGW_OK;
        h->flags |= FGW_MSG_EXPECT_CONTINUE;
        return h->expects++ == 0 && FGW_IS(value, n, "100-continue") ? FGW_OK : FGW_R_BAD_EXPECT;
    default: return FGW_OK;
    }
}

static int add_regular(fgw_h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len) {
    int underscore = 0;
    int reason = name_fault(name, name_len, &underscore);
    h->pseudo |= P_REGULAR;
    if (reason != FGW_OK)
        return reason;
    if (h->decoded_fields > h->limits.fields || h->count + 1 >= h->field_cap)
        return FGW_R_TOO_MANY_FIELDS;
    int id = fgw_classify_name(name, name_len);
    fgw_span kept_name = keep(h, name, name_len);
    fgw_span kept = keep(h, value, value_len);
    h->fields[h->count++] = (fgw_field){
        .name_off = kept_name.off,
        .value_off = kept.off,
        .value_len = kept.len,
        .name_len = (uint16_t)name_len,
        .id = (uint8_t)id,
        .flags = (uint8_t)(underscore ? FGW_FIELD_UNDERSCORE : 0),
    };
    return id == FGW_HDR_OTHER ? FGW_OK : note_field(h, id, value, value_len, kept);
}

/* Counts stop where they cannot tell more. */
static void count_decoded(fgw_h2_head *h, size_t name_len, size_t value_len, int is_pseudo) {
    size_t size = name_len + value_len + FIELD_OVERHEAD;
    h->decoded_bytes = size > UINT32_MAX / 2 || h->decoded_bytes > UINT32_MAX / 2 ? UINT32_MAX : h->decoded_bytes + (uint32_t)size;
    if (!is_pseudo && h->decoded_fields != UINT32_MAX)
        h->decoded_fields++;
}

int fgw_h2_add(fgw_h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len) {
    int is_pseudo = name_len != 0 && name[0] == ':';
    int fits = name_len < UINT32_MAX / 4 && value_len < UINT32_MAX / 4 &&
               (uint64_t)h->len + name_len + value_len + FGW_H2_SLACK <= h->cap;
    /* over the limit nothing is kept, so that no room is asked for */
    uint64_t limit = h->limits.head_bytes;
    if (h->reason == FGW_OK && !fits && (uint64_t)h->decoded_bytes + name_len + value_len + FIELD_OVERHEAD <= limit)
        return FGW_H2_NO_ROOM;
    count_decoded(h, name_len, value_len, is_pseudo);
    if (h->reason != FGW_OK)
        return h->reason;
    if (h->decoded_bytes > limit)
        return refuse(h, FGW_R_HEAD_TOO_LARGE);
    if (!is_value(value, value_len))
        return refuse(h, FGW_R_BAD_FIELD_VALUE);
    int reason = is_pseudo ? add_pseudo(h, name, name_len, value, value_len) : add_regular(h, name, name_len, value, value_len);
    return reason != FGW_OK ? refuse(h, reason) : FGW_OK;
}

/* ---- a whole request */

static int is_token_text(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!fgw_is(p[i], FGW_C_TOKEN))
            return 0;
    return n != 0;
}

/* Which pseudo-header fields there are; CONNECT without :protocol is refused for what it is (RFC 9113 section 8.5). */
static int judge_method(fgw_h2_head *h, fgw_request *out) {
    const char *method = h->base + h->method.off;
    if (!(h->pseudo & P_METHOD))
        return FGW_R_H2_PSEUDO;
    if (h->method.len > FGW_METHOD_MAX || !is_token_text(method, h->method.len))
        return FGW_R_BAD_METHOD;
    out->method = h->method;
    out->method_id = (uint8_t)fgw_method_id_of(method, h->method.len);
    int wanted = P_SCHEME | P_PATH;
    if (out->method_id == FGW_METHOD_CONNECT && !(h->pseudo & P_PROTOCOL))
        return h->pseudo & wanted ? FGW_R_H2_PSEUDO : FGW_R_CONNECT_NOT_ALLOWED;
    if (out->method_id == FGW_METHOD_CONNECT)
        wanted |= P_AUTHORITY;
    else if (h->pseudo & P_PROTOCOL)
        return FGW_R_H2_PSEUDO;
    return (h->pseudo & wanted) == wanted ? FGW_OK : FGW_R_H2_PSEUDO;
}

/* The scheme says nothing about the connection and is not believed (requirement F12). */
static int judge_scheme(const fgw_h2_head *h, uint32_t *port) {
    const char *scheme = h->base + h->scheme.off;
    *port = FGW_IS(scheme, h->scheme.len, "http") ? 80 : FGW_IS(scheme, h->scheme.len, "https") ? 443 : 0;
    return *port != 0 ? FGW_OK : FGW_R_TARGET_SCHEME;
}

static int judge_path(const fgw_h2_head *h, fgw_request *out) {
    const char *start = h->base + h->path.off;
    fgw_scan scan;
    uint32_t len = h->path.len;
    if (len == 0)
        return FGW_R_BAD_TARGET;
    memset(&scan, 0, offsetof(fgw_scan, last));
    if (fgw_scan_target(h->base, start, start + len, &scan) != start + len)
        return FGW_R_BAD_TARGET;
    if (scan.has_fragment) {
        if (!(h->limits.leniency & FGW_LENIENT_FRAGMENT))
            return FGW_R_TARGET_FRAGMENT;
        out->leniencies |= FGW_LENIENT_FRAGMENT;
        len = (uint32_t)((const char *)memchr(start, '#', len) - start);
    }
    out->target = h->path;
    if (len == 1 && *start == '*') {
        out->flags |= FGW_MSG_ASTERISK_FORM;
        out->path = (fgw_span){h->path.off, 1};
        return out->method_id == FGW_METHOD_OPTIONS ? FGW_OK : FGW_R_BAD_TARGET;
    }
    if (len == 0 || *start != '/')
        return FGW_R_BAD_TARGET;
    out->has_query = scan.has_query && scan.path_len < len;
    out->path = (fgw_span){h->path.off, out->has_query ? scan.path_len : len};
    if (out->has_query)
        out->query = (fgw_span){h->path.off + scan.path_len + 1, len - scan.path_len - 1};
    out->flags |= scan.path_special ? FGW_MSG_PATH_SPECIAL : 0u;
    return FGW_OK;
}

static int split_host(const fgw_h2_head *h, fgw_span authority, fgw_span *host, uint32_t *port) {
    const char *p = h->base + authority.off;
    if (memchr(p, '@', authority.len) != NULL)
        return FGW_R_TARGET_USERINFO;
    if (fgw_authority_split(p, authority.len, host, port) < 0)
        return FGW_R_BAD_HOST;
    host->off += authority.off;
    return FGW_OK;
}

static int equal_text(const char *base, fgw_span a, fgw_span b) {
    for (uint32_t i = 0; i < a.len && a.len == b.len; i++)
        if (fgw_lower(base[a.off + i]) != fgw_lower(base[b.off + i]))
            return 0;
    return a.len == b.len;
}

/* :authority and host must be the same place, or the request means two things (requirement F12). */
static int judge_authority(const fgw_h2_head *h, uint32_t default_port, fgw_request *out) {
    uint32_t port = 0, other_port = 0;
    fgw_span other = {0, 0};
    if (!(h->pseudo & P_AUTHORITY) && !h->has_host)
        return FGW_R_NO_HOST;
    out->authority = h->pseudo & P_AUTHORITY ? h->authority : h->host;
    int reason = split_host(h, out->authority, &out->host, &port);
    if (reason != FGW_OK || !h->has_host || !(h->pseudo & P_AUTHORITY))
        return reason;
    reason = split_host(h, h->host, &other, &other_port);
    if (reason != FGW_OK)
        return reason;
    int same_port = (port != 0 ? port : default_port) == (other_port != 0 ? other_port : default_port);
    if (same_port && equal_text(h->base, out->host, other))
        return FGW_OK;
    if (!(h->limits.leniency & FGW_LENIENT_ABSOLUTE_HOST))
        return FGW_R_TARGET_HOST_MISMATCH;
    out->leniencies |= FGW_LENIENT_ABSOLUTE_HOST;
    return FGW_OK;
}

/* Requirement F13: the length that is said is the length that comes. */
static int judge_body(const fgw_h2_head *h, int end_stream, fgw_request *out) {
    out->content_length = h->content_length;
    if (h->lengths != 0) {
        out->framing = FGW_FRAMING_LENGTH;
        return end_stream && h->content_length != 0 ? FGW_R_H2_BODY_LENGTH : FGW_OK;
    }
    out->framing = end_stream ? FGW_FRAMING_NONE : FGW_FRAMING_CHUNKED;
    return FGW_OK;
}

/* RFC 8441 section 4: what follows are the bytes of the other protocol, no body. */
static int judge_protocol(fgw_h2_head *h, int end_stream, fgw_request *out) {
    if (!FGW_IS(h->base + h->protocol.off, h->protocol.len, "websocket"))
        return FGW_R_H2_PROTOCOL;
    if (h->lengths != 0 || end_stream)
        return FGW_R_UPGRADE_WITH_BODY;
    out->method = keep(h, "GET", 3);
    out->method_id = FGW_METHOD_GET;
    out->framing = FGW_FRAMING_NONE;
    out->flags |= FGW_MSG_UPGRADE;
    return FGW_OK;
}

/* There is a host field, as in HTTP/1, for whoever asks for one by name. */
static void add_host(fgw_h2_head *h, const fgw_request *out) {
    if (h->has_host)
        return;
    fgw_span name = keep(h, "host", 4);
    h->fields[h->count++] = (fgw_field){.name_off = name.off,
                                        .value_off = out->authority.off,
                                        .value_len = out->authority.len,
                                        .name_len = 4,
                                        .id = FGW_HDR_HOST};
}

static int judge_request(fgw_h2_head *h, int end_stream, fgw_request *out) {
    uint32_t port = 0;
    int reason = judge_method(h, out);
    if (reason == FGW_OK)
        reason = judge_scheme(h, &port);
    if (reason == FGW_OK)
        reason = judge_path(h, out);
    if (reason == FGW_OK)
        reason = judge_authority(h, port, out);
    if (reason == FGW_OK && h->pseudo & P_PROTOCOL)
        return judge_protocol(h, end_stream, out);
    if (reason == FGW_OK)
        reason = fgw_check_method(out->method_id);
    return reason != FGW_OK ? reason : judge_body(h, end_stream, out);
}

int fgw_h2_request(fgw_h2_head *h, int end_stream, fgw_request *out) {
    *out = (fgw_request){.minor = 1, .flags = h->flags, .leniencies = h->leniencies};
    if (h->reason != FGW_OK)
        return h->reason;
    int reason = judge_request(h, end_stream, out);
    if (reason != FGW_OK)
        return refuse(h, reason);
    add_host(h, out);
    out->field_count = h->count;
    out->head_len = h->len;
    return FGW_OK;
}

int fgw_h2_response(fgw_h2_head *h, int end_stream, fgw_response *out) {
    *out = (fgw_response){.minor = 1, .status = h->status, .content_length = h->content_length};
    if (h->reason != FGW_OK)
        return h->reason;
    if (!(h->pseudo & P_STATUS))
        return refuse(h, FGW_R_H2_PSEUDO);
    if (h->status < 200 && end_stream)
        return refuse(h, FGW_R_UNEXPECTED_1XX);
    out->framing = h->lengths != 0 ? FGW_FRAMING_LENGTH : end_stream ? FGW_FRAMING_NONE : FGW_FRAMING_CHUNKED;
    out->field_count = h->count;
    out->head_len = h->len;
    return FGW_OK;
}

int fgw_h2_trailers(fgw_h2_head *h, int end_stream) {
    if (h->reason == FGW_OK && !end_stream)
        return refuse(h, FGW_R_H2_TRAILERS_OPEN);
    return h->reason;
}

int fgw_h2_malformed(int reason) {
    switch (reason) {
    case FGW_R_H2_PSEUDO:
    case FGW_R_H2_UPPER_CASE:
    case FGW_R_H2_CONNECTION_FIELD:
    case FGW_R_H2_BODY_LENGTH:
    case FGW_R_H2_TRAILERS_OPEN:
    case FGW_R_H2_PROTOCOL:
    case FGW_R_BAD_FIELD_NAME:
    case FGW_R_BAD_FIELD_VALUE:
    case FGW_R_BAD_METHOD:
    case FGW_R_BAD_TARGET:
    case FGW_R_BAD_STATUS:
    case FGW_R_BAD_CONTENT_LENGTH:
    case FGW_R_DUPLICATE_CONTENT_LENGTH: return 1;
    default: return 0;
    }
}
