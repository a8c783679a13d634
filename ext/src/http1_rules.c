/* What the framing and connection fields mean, for requests and responses alike (RFC 9112 section 6, RFC 9110 section 7.6). */
#include "header_names.h"
#include "http1_internal.h"

/* 1*DIGIT up to 2^63 - 1, so that no signed 64-bit reader behind the gateway can see another number; -1: not that. */
static int64_t parse_length(const char *p, size_t n) {
    uint64_t length = 0;
    if (n == 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!fgw_is(p[i], FGW_C_DIGIT))
            return -1;
        unsigned digit = (unsigned)(p[i] - '0');
        if (length > ((uint64_t)INT64_MAX - digit) / 10)
            return -1;
        length = length * 10 + digit;
    }
    return (int64_t)length;
}

int fgw_note_content_length(fgw_framing_facts *facts, const char *value, size_t n, uint32_t leniency, uint32_t *used) {
    int64_t length = parse_length(value, n);
    if (length < 0)
        return FGW_R_BAD_CONTENT_LENGTH;
    if (facts->lengths++ == 0) {
        facts->length = (uint64_t)length;
        return FGW_OK;
    }
    if (!(leniency & FGW_LENIENT_EQUAL_LENGTHS) || facts->length != (uint64_t)length)
        return FGW_R_DUPLICATE_CONTENT_LENGTH;
    *used |= FGW_LENIENT_EQUAL_LENGTHS;
    return FGW_OK;
}

int fgw_next_item(const char **p, const char *end, const char **item, size_t *item_len) {
    if (*p == NULL)
        return 0;
    const char *comma = memchr(*p, ',', (size_t)(end - *p));
    const char *from = *p;
    const char *to = comma != NULL ? comma : end;
    *p = comma != NULL ? comma + 1 : NULL;
    while (from < to && fgw_is_ows(*from))
        from++;
    while (to > from && fgw_is_ows(to[-1]))
        to--;
    *item = from;
    *item_len = (size_t)(to - from);
    return 1;
}

static int is_token(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!fgw_is(p[i], FGW_C_TOKEN))
            return 0;
    return n != 0;
}

/* Only "chunked", alone. A coding not known is answered with 501 (RFC 9112 section 6.1), broken syntax and a repeated
 * "chunked" with 400. */
int fgw_check_transfer_encoding(const char *value, size_t n) {
    if (FGW_IS(value, n, "chunked"))
        return FGW_OK;
    const char *p = value, *item;
    size_t len;
    int unknown = 0;
    while (fgw_next_item(&p, value + n, &item, &len)) {
        if (!is_token(item, len))
            return FGW_R_BAD_TRANSFER_ENCODING;
        unknown |= !FGW_IS(item, len, "chunked");
    }
    return unknown ? FGW_R_UNKNOWN_TRANSFER_ENCODING : FGW_R_BAD_TRANSFER_ENCODING;
}

/* Requirement C1: names that say who the client is, frame the message or authenticate it stay, whoever lists them in
 * Connection (the attack: "Connection: X-Forwarded-For" makes the next hop forget the address). */
#define PROTECTED_IDS                                                                                                              \
    (FGW_BIT(FGW_HDR_HOST) | FGW_BIT(FGW_HDR_CONTENT_LENGTH) | FGW_BIT(FGW_HDR_TRANSFER_ENCODING) |                                \
     FGW_BIT(FGW_HDR_X_FORWARDED_FOR) | FGW_BIT(FGW_HDR_X_FORWARDED_PROTO) | FGW_BIT(FGW_HDR_X_FORWARDED_HOST) |                   \
     FGW_BIT(FGW_HDR_X_FORWARDED_PORT) | FGW_BIT(FGW_HDR_X_FORWARDED_CLIENT_CERT) | FGW_BIT(FGW_HDR_FORWARDED) |                   \
     FGW_BIT(FGW_HDR_X_REAL_IP) | FGW_BIT(FGW_HDR_X_REQUEST_ID) | FGW_BIT(FGW_HDR_X_ENVOY) |                                       \
     FGW_BIT(FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME) | FGW_BIT(FGW_HDR_X_ENVOY_OVERLOADED) |                                        \
     FGW_BIT(FGW_HDR_X_ENVOY_ATTEMPT_COUNT) | FGW_BIT(FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS) | FGW_BIT(FGW_HDR_X_ENVOY_PEER_METADATA) | \
     FGW_BIT(FGW_HDR_COOKIE) | FGW_BIT(FGW_HDR_SET_COOKIE) | FGW_BIT(FGW_HDR_AUTHORIZATION) | FGW_BIT(FGW_HDR_SERVER) |            \
     FGW_BIT(FGW_HDR_DATE) | FGW_BIT(FGW_HDR_LOCATION) | FGW_BIT(FGW_HDR_CONTENT_TYPE) | FGW_BIT(FGW_HDR_VIA))

/* x-forwarded-* has members without an id of their own (x-forwarded-prefix, ...). */
static int is_protected(const char *name, size_t n, int id) {
    return (PROTECTED_IDS & FGW_BIT(id)) != 0 || (n > 12 && fgw_equal_folded(name, "x-forwarded-", 12));
}

static int equal_names(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fgw_lower(a[i]) != fgw_lower(b[i]))
            return 0;
    return 1;
}

static void mark(fgw_field *f, uint32_t *flags) {
    f->flags |= FGW_FIELD_LISTED;
    *flags |= FGW_MSG_LISTED_FIELDS;
}

/* Marks the fields with this id, which is not OTHER. */
static void mark_known(const fgw_scan *scan, int id, uint32_t *flags) {
    if (!(scan->twice & FGW_BIT(id))) {
        mark(&scan->fields[scan->last[id]], flags);
        return;
    }
    for (uint32_t i = 0; i < scan->count; i++)
        if (scan->fields[i].id == id)
            mark(&scan->fields[i], flags);
}

/* Marks the fields called name; at most FGW_LISTED_MAX names a message bound the work. */
static void mark_listed(const char *p, const fgw_scan *scan, const char *name, size_t n, uint32_t *flags) {
    int id = fgw_classify_name(name, n);
    if (!(scan->ids & FGW_BIT(id)) || is_protected(name, n, id))
        return;
    if (id != FGW_HDR_OTHER) {
        mark_known(scan, id, flags);
        return;
    }
    for (uint32_t i = 0; i < scan->count; i++) {
        fgw_field *f = &scan->fields[i];
        if (f->name_len == n && f->id == FGW_HDR_OTHER && equal_names(p + f->name_off, name, n))
            mark(f, flags);
    }
}

enum { NAMES_CLOSE = 1, NAMES_KEEP_ALIVE = 2, NAMES_UPGRADE = 4 };

static int option_meaning(const char *p, size_t n) {
    if (FGW_IS(p, n, "close"))
        return NAMES_CLOSE;
    if (FGW_IS(p, n, "keep-alive"))
        return NAMES_KEEP_ALIVE;
    return FGW_IS(p, n, "upgrade") ? NAMES_UPGRADE : 0;
}

/* One Connection field; *items counts the members over all of them, empty ones too. What it names, or minus a reason. */
static int apply_options(const char *p, const fgw_scan *scan, const fgw_field *f, int *items, uint32_t *flags) {
    const char *at = p + f->value_off, *item;
    const char *end = at + f->value_len;
    size_t len;
    int named = 0;
    while (fgw_next_item(&at, end, &item, &len)) {
        if (++*items > FGW_LISTED_MAX)
            return -FGW_R_BAD_CONNECTION;
        if (len == 0)
            continue;
        if (!is_token(item, len))
            return -FGW_R_BAD_CONNECTION;
        int meaning = option_meaning(item, len);
        named |= meaning;
        if (meaning != NAMES_CLOSE)
            mark_listed(p, scan, item, len, flags);
    }
    return named;
}

static int apply_all_options(const char *p, const fgw_scan *scan, uint32_t *flags) {
    int items = 0, named = 0;
    for (uint32_t i = 0; i < scan->count && named >= 0; i++) {
        if (scan->fields[i].id != FGW_HDR_CONNECTION)
            continue;
        int more = apply_options(p, scan, &scan->fields[i], &items, flags);
        named = more < 0 ? more : named | more;
    }
    return named;
}

int fgw_apply_connection(const char *p, const fgw_scan *scan, uint32_t *flags) {
    const fgw_field *f = &scan->fields[scan->last[FGW_HDR_CONNECTION]];
    int items = 0, named = NAMES_KEEP_ALIVE;
    if (scan->twice & FGW_BIT(FGW_HDR_CONNECTION))
        named = apply_all_options(p, scan, flags);
    else if (!FGW_IS(p + f->value_off, f->value_len, "keep-alive"))
        named = apply_options(p, scan, f, &items, flags);
    else if (scan->ids & FGW_BIT(FGW_HDR_KEEP_ALIVE)) /* else nothing to do for what nearly every browser sends */
        mark_known(scan, FGW_HDR_KEEP_ALIVE, flags);
    if (named < 0)
        return -named;
    int upgrade = named & NAMES_UPGRADE && scan->ids & FGW_BIT(FGW_HDR_UPGRADE);
    *flags |= (named & NAMES_CLOSE ? FGW_MSG_CLOSE : 0u) | (named & NAMES_KEEP_ALIVE ? FGW_MSG_KEEP_ALIVE : 0u) |
              (upgrade ? FGW_MSG_UPGRADE : 0u);
    return FGW_OK;
}

int fgw_upgrade_names_other_than_h2c(const char *value, size_t n) {
    const char *p = value, *item;
    size_t len;
    while (fgw_next_item(&p, value + n, &item, &len))
        if (len != 0 && !FGW_IS(item, len, "h2c"))
            return 1;
    return 0;
}

int fgw_te_names_trailers(const char *value, size_t n) {
    const char *p = value, *item;
    size_t len;
    while (fgw_next_item(&p, value + n, &item, &len))
        if (FGW_IS(item, len, "trailers"))
            return 1;
    return 0;
}
