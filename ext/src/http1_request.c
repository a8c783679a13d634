/* Judging a scanned request head: method policy, target forms, Host, framing, Expect and Upgrade (RFC 9112 sections 3 and 6). */
#include "fgw/uri.h"
#include "http1_internal.h"

/* Fields whose values decide something about a request; Host and Connection are looked at apart, all others are carried. */
#define DECIDING_IDS                                                                                                               \
    (FGW_BIT(FGW_HDR_CONTENT_LENGTH) | FGW_BIT(FGW_HDR_TRANSFER_ENCODING) | FGW_BIT(FGW_HDR_EXPECT) | FGW_BIT(FGW_HDR_UPGRADE) |   \
     FGW_BIT(FGW_HDR_TE))

typedef struct request_facts {
    fgw_framing_facts framing;
    uint32_t expects;
    int upgrades; /* some Upgrade member is not h2c */
} request_facts;

int fgw_check_method(int method_id) {
    switch (method_id) {
    case FGW_METHOD_CONNECT: return FGW_R_CONNECT_NOT_ALLOWED;
    case FGW_METHOD_TRACE:
    case FGW_METHOD_TRACK: return FGW_R_METHOD_NOT_ALLOWED;
    default: return FGW_OK;
    }
}

/* Splits p[from..end), what follows scheme and authority, where the scanner has seen the first '?' of the target. */
static void set_path(const fgw_scan *scan, fgw_request *r, size_t from, size_t end) {
    size_t mark = r->target.off + (size_t)scan->path_len;
    r->has_query = scan->has_query && mark < end;
    size_t path_end = r->has_query ? mark : end;
    r->path = (fgw_span){(uint32_t)from, (uint32_t)(path_end - from)};
    if (r->has_query)
        r->query = (fgw_span){(uint32_t)(mark + 1), (uint32_t)(end - mark - 1)};
}

/* Length of "http://" or "https://" at the start of the target; 0 when there is none. */
static size_t http_scheme_len(const char *p, size_t n) {
    if (n >= 7 && fgw_equal_folded(p, "http://", 7))
        return 7;
    return n >= 8 && fgw_equal_folded(p, "https://", 8) ? 8 : 0;
}

static int names_a_scheme(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && (fgw_is(p[i], FGW_C_ALPHA | FGW_C_DIGIT) || p[i] == '+' || p[i] == '-' || p[i] == '.'))
        i++;
    return i > 0 && n - i >= 3 && memcmp(p + i, "://", 3) == 0;
}

/* absolute-form (requirement B2): http or https, an authority, no userinfo. */
static int judge_absolute(const char *p, const fgw_scan *scan, fgw_request *r, size_t end, uint32_t *port) {
    const char *target = p + r->target.off;
    size_t n = end - r->target.off;
    size_t scheme = http_scheme_len(target, n);
    if (scheme == 0)
        return names_a_scheme(target, n) ? FGW_R_TARGET_SCHEME : FGW_R_BAD_TARGET;
    size_t len = scheme;
    while (len < n && target[len] != '/' && target[len] != '?')
        len++;
    if (memchr(target + scheme, '@', len - scheme) != NULL)
        return FGW_R_TARGET_USERINFO;
    fgw_span host;
    if (len == scheme || fgw_authority_split(target + scheme, len - scheme, &host, port) < 0)
        return FGW_R_BAD_TARGET;
    r->authority = (fgw_span){(uint32_t)(r->target.off + scheme), (uint32_t)(len - scheme)};
    r->host = (fgw_span){r->authority.off + host.off, host.len};
    r->flags |= FGW_MSG_ABSOLUTE_FORM;
    if (*port == 0)
        *port = scheme == 7 ? 80 : 443;
    set_path(scan, r, r->target.off + len, end);
    return FGW_OK;
}

/* Forms of the target (RFC 9112 section 3.2); *port: of an absolute-form authority, the scheme's when it names none. */
static int judge_target(const char *p, const fgw_scan *scan, fgw_request *r, uint32_t *port) {
    const char *target = p + r->target.off;
    size_t end = r->target.off + r->target.len;
    if (scan->has_fragment) {
        if (!(scan->limits->leniency & FGW_LENIENT_FRAGMENT))
            return FGW_R_TARGET_FRAGMENT;
        r->leniencies |= FGW_LENIENT_FRAGMENT;
        end = (size_t)((const char *)memchr(target, '#', r->target.len) - p);
    }
    r->flags |= scan->path_special ? FGW_MSG_PATH_SPECIAL : 0u;
    if (*target == '/') {
        set_path(scan, r, r->target.off, end);
        return FGW_OK;
    }
    if (end - r->target.off == 1 && *target == '*') {
        if (r->method_id != FGW_METHOD_OPTIONS)
            return FGW_R_BAD_TARGET;
        r->flags |= FGW_MSG_ASTERISK_FORM;
        r->path = (fgw_span){r->target.off, 1};
        return FGW_OK;
    }
    return judge_absolute(p, scan, r, end, port);
}

/* Requirement B3: the authority of the target and Host must be the same place, or the request means two things. */
static int compare_with_target(const char *p, const fgw_scan *scan, fgw_request *r, fgw_span host, uint32_t host_port,
                               uint32_t port) {
    int https = r->target.len >= 8 && (p[r->target.off + 4] | 0x20) == 's';
    int same = host.len == r->host.len && (host_port != 0 ? host_port : https ? 443u : 80u) == port;
    for (uint32_t i = 0; same && i < host.len; i++)
        same = fgw_lower(p[host.off + i]) == fgw_lower(p[r->host.off + i]);
    if (same)
        return FGW_OK;
    if (!(scan->limits->leniency & FGW_LENIENT_ABSOLUTE_HOST))
        return FGW_R_TARGET_HOST_MISMATCH;
    r->leniencies |= FGW_LENIENT_ABSOLUTE_HOST;
    return FGW_OK;
}

static int judge_host(const char *p, const fgw_scan *scan, fgw_request *r, uint32_t port) {
    if (!(scan->ids & FGW_BIT(FGW_HDR_HOST)))
        return r->minor == 0 ? FGW_OK : FGW_R_NO_HOST;
    if (scan->twice & FGW_BIT(FGW_HDR_HOST))
        return FGW_R_DUPLICATE_HOST;
    const fgw_field *field = &scan->fields[scan->last[FGW_HDR_HOST]];
    fgw_span host;
    uint32_t host_port;
    if (fgw_authority_split(p + field->value_off, field->value_len, &host, &host_port) < 0)
        return FGW_R_BAD_HOST;
    host.off += field->value_off;
    if (r->flags & FGW_MSG_ABSOLUTE_FORM)
        return compare_with_target(p, scan, r, host, host_port, port);
    r->authority = (fgw_span){field->value_off, field->value_len};
    r->host = host;
    return FGW_OK;
}

static int note_field(const char *p, const fgw_scan *scan, const fgw_field *f, request_facts *facts, fgw_request *r) {
    const char *value = p + f->value_off;
    switch (f->id) {
    case FGW_HDR_CONTENT_LENGTH:
        return fgw_note_content_length(&facts->framing, value, f->value_len, scan->limits->leniency, &r->leniencies);
    case FGW_HDR_TRANSFER_ENCODING:
        return facts->framing.codings++ != 0 ? FGW_R_BAD_TRANSFER_ENCODING : fgw_check_transfer_encoding(value, f->value_len);
    case FGW_HDR_EXPECT: return facts->expects++ == 0 && FGW_IS(value, f->value_len, "100-continue") ? FGW_OK : FGW_R_BAD_EXPECT;
    case FGW_HDR_UPGRADE: facts->upgrades |= fgw_upgrade_names_other_than_h2c(value, f->value_len); return FGW_OK;
    case FGW_HDR_TE: r->flags |= fgw_te_names_trailers(value, f->value_len) ? FGW_MSG_TE_TRAILERS : 0u; return FGW_OK;
    default: return FGW_OK;
    }
}

static int judge_framing(const request_facts *facts, fgw_request *r) {
    if (facts->framing.codings != 0) {
        if (r->minor == 0)
            return FGW_R_TRANSFER_ENCODING_IN_HTTP10;
        if (facts->framing.lengths != 0)
            return FGW_R_CONTENT_LENGTH_AND_TRANSFER_ENCODING;
        r->framing = FGW_FRAMING_CHUNKED;
        return FGW_OK;
    }
    if (facts->framing.lengths == 0)
        return FGW_OK;
    r->framing = FGW_FRAMING_LENGTH;
    r->content_length = facts->framing.length;
    int bodyless = r->method_id == FGW_METHOD_GET || r->method_id == FGW_METHOD_HEAD || r->method_id == FGW_METHOD_DELETE;
    return r->minor == 0 && bodyless && r->content_length != 0 ? FGW_R_BODY_IN_HTTP10 : FGW_OK;
}

/* Requirements A18 to A20; neither Upgrade nor Expect means anything in HTTP/1.0 (RFC 9110 sections 7.8 and 10.1.1). */
static int judge_intentions(const request_facts *facts, fgw_request *r) {
    if (facts->expects != 0 && r->minor != 0)
        r->flags |= FGW_MSG_EXPECT_CONTINUE;
    if (r->minor == 0 || !facts->upgrades)
        r->flags &= ~(uint32_t)FGW_MSG_UPGRADE;
    int body = r->framing == FGW_FRAMING_CHUNKED || r->content_length != 0;
    return r->flags & FGW_MSG_UPGRADE && body ? FGW_R_UPGRADE_WITH_BODY : FGW_OK;
}

static int judge_deciding_fields(const char *p, const fgw_scan *scan, fgw_request *r) {
    request_facts facts = {0};
    for (uint32_t i = 0; scan->ids & DECIDING_IDS && i < scan->count; i++) {
        if (!(DECIDING_IDS & FGW_BIT(scan->fields[i].id)))
            continue;
        int reason = note_field(p, scan, &scan->fields[i], &facts, r);
        if (reason != FGW_OK)
            return reason;
    }
    int reason = judge_framing(&facts, r);
    if (reason == FGW_OK && scan->ids & FGW_BIT(FGW_HDR_CONNECTION))
        reason = fgw_apply_connection(p, scan, &r->flags);
    return reason != FGW_OK ? reason : judge_intentions(&facts, r);
}

int fgw_judge_request(const char *p, const fgw_scan *scan, fgw_request *r) {
    uint32_t port = 0;
    r->leniencies = scan->leniencies;
    int reason = fgw_check_method(r->method_id);
    if (reason == FGW_OK)
        reason = judge_target(p, scan, r, &port);
    if (reason == FGW_OK)
        reason = judge_host(p, scan, r, port);
    if (reason == FGW_OK && scan->ids & (DECIDING_IDS | FGW_BIT(FGW_HDR_CONNECTION)))
        reason = judge_deciding_fields(p, scan, r);
    if (r->minor == 0 && !(r->flags & FGW_MSG_KEEP_ALIVE))
        r->flags |= FGW_MSG_CLOSE;
    return reason;
}
