/* Reading a request for rules and keys: its fields, cookies and query by name. Names are lower case, but for cookies and query keys. */
#ifndef FGW_REQUEST_READ_H
#define FGW_REQUEST_READ_H
#include "bytes.h"
#include "fgw/route.h"
#include "fgw/sticky.h"

/* Fields that are not relayed, and those that Connection lists, are not seen. */
static inline int fgw_is_seen(const fgw_field *f) { return !(f->flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED)); }

/* An id that stands for one name only needs no comparison of names. */
static inline int fgw_id_is_exact(uint8_t id) {
    return id != FGW_HDR_OTHER && id != FGW_HDR_X_ENVOY && id != FGW_HDR_X_ENVOY_PEER_METADATA;
}

static inline int fgw_is_named(const fgw_route_request *req, const fgw_field *f, uint8_t id, const char *name, size_t n) {
    if (f->id != id || !fgw_is_seen(f))
        return 0;
    return fgw_id_is_exact(id) || (f->name_len == n && fgw_equal_folded(req->base + f->name_off, name, n));
}

/* A hash of every value of the header, in order, so that neither a repeated nor an empty one is mistaken for another. 0: none. */
static inline int fgw_key_of_header(const fgw_route_request *req, uint8_t id, const char *name, size_t n, uint64_t *key) {
    int found = 0;
    uint64_t h = 0;
    for (uint32_t i = 0; i < req->field_count; i++) {
        const fgw_field *f = &req->fields[i];
        if (!fgw_is_named(req, f, id, name, n))
            continue;
        h = fgw_hash64(req->base + f->value_off, f->value_len, h);
        found = 1;
    }
    *key = h;
    return found;
}

/* The next Cookie field from the *i-th field on, NULL at the end. */
static inline const fgw_field *fgw_cookie_field(const fgw_route_request *req, uint32_t *i) {
    for (; *i < req->field_count; ++*i)
        if (req->fields[*i].id == FGW_HDR_COOKIE && fgw_is_seen(&req->fields[*i]))
            return &req->fields[*i];
    return NULL;
}

static inline int fgw_is_blank(char c) { return c == ' ' || c == '\t'; }

/* The value of the next cookie of this name from *at on, NULL at the end; *at is left behind it. In a field stand name=value pairs
 * between ";" (RFC 6265, section 4.2.1). */
static inline const char *fgw_next_cookie(const char **at, const char *end, const char *name, size_t n, size_t *value_len) {
    while (*at < end) {
        const char *p = *at;
        const char *semicolon = memchr(p, ';', (size_t)(end - p));
        const char *stop = semicolon ? semicolon : end;
        *at = semicolon ? semicolon + 1 : end;
        while (p < stop && fgw_is_blank(*p))
            p++;
        while (stop > p && fgw_is_blank(stop[-1]))
            stop--;
        if ((size_t)(stop - p) > n && p[n] == '=' && memcmp(p, name, n) == 0) {
            *value_len = (size_t)(stop - p) - n - 1;
            return p + n + 1;
        }
    }
    return NULL;
}

/* The first occurrence, nothing decoded; a key without "=" is present and empty (G13). NULL: there is none. */
static inline const char *fgw_query_value(const fgw_route_request *req, const char *name, size_t n, size_t *value_len) {
    const char *p = req->query, *end = p + req->query_len;
    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        const char *key_end = eq ? eq : stop;
        if ((size_t)(key_end - p) == n && memcmp(p, name, n) == 0) {
            const char *value = eq ? eq + 1 : stop;
            *value_len = (size_t)(stop - value);
            return value;
        }
        p = stop + 1;
    }
    return NULL;
}

#endif
