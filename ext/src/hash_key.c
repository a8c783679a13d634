/* The key that a request brings for consistent hashing (Q3 to Q6), and the cookie that makes one. */
#include <string.h>

#include "fgw/balance.h"
#include "fgw/sticky.h"
#include "image_read.h"

static const fgw_field *cookie_field(const fgw_route_request *req, uint32_t *i) {
    for (; *i < req->field_count; ++*i) {
        const fgw_field *f = &req->fields[*i];
        if (f->id == FGW_HDR_COOKIE && !(f->flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED)))
            return f;
    }
    return NULL;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

/* The first cookie of this name in one field (RFC 6265, section 4.2.1), without the quotes that may be around its value. */
static int cookie_in(const char *p, size_t n, const char *name, size_t name_len, const char **value, size_t *value_len) {
    const char *end = p + n;
    while (p < end) {
        const char *semicolon = memchr(p, ';', (size_t)(end - p));
        const char *stop = semicolon ? semicolon : end;
        const char *next = stop + 1;
        while (p < stop && is_blank(*p))
            p++;
        while (stop > p && is_blank(stop[-1]))
            stop--;
        if ((size_t)(stop - p) > name_len && p[name_len] == '=' && memcmp(p, name, name_len) == 0) {
            p += name_len + 1;
            if (stop - p >= 2 && *p == '"' && stop[-1] == '"')
                p++, stop--;
            *value = p;
            *value_len = (size_t)(stop - p);
            return *value_len > 0;
        }
        p = next;
    }
    return 0;
}

static int key_of_cookie(const fgw_route_request *req, const char *name, size_t n, uint64_t *key) {
    const char *value;
    size_t length;
    uint32_t i = 0;
    for (const fgw_field *f; (f = cookie_field(req, &i)) != NULL; i++)
        if (cookie_in(req->base + f->value_off, f->value_len, name, n, &value, &length)) {
            *key = fgw_hash64(value, length, 0);
            return 1;
        }
    return 0;
}

static int is_named(const fgw_route_request *req, const fgw_field *f, uint8_t id, const char *name, size_t n) {
    if (f->id != id || f->name_len != n || (f->flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED)))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (fgw_lower((uint8_t)req->base[f->name_off + i]) != (uint8_t)name[i])
            return 0;
    return 1;
}

/* Every value of a repeated header counts, in order. */
static int key_of_header(const fgw_route_request *req, uint8_t id, const char *name, size_t n, uint64_t *key) {
    int found = 0;
    if (id == FGW_HDR_HOST) {
        *key = fgw_hash64(req->authority, req->authority_len, 0);
        return 1;
    }
    for (uint32_t i = 0; i < req->field_count; i++) {
        const fgw_field *f = &req->fields[i];
        if (!is_named(req, f, id, name, n))
            continue;
        *key = fgw_hash64(req->base + f->value_off, f->value_len, found ? *key : 0);
        found = 1;
    }
    return found;
}

/* The first occurrence, nothing decoded. */
static int key_of_query(const fgw_route_request *req, const char *name, size_t n, uint64_t *key) {
    const char *p = req->query, *end = p + req->query_len;
    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        const char *key_end = eq ? eq : stop;
        if ((size_t)(key_end - p) == n && memcmp(p, name, n) == 0) {
            const char *value = eq ? eq + 1 : stop;
            *key = fgw_hash64(value, (size_t)(stop - value), 0);
            return 1;
        }
        p = stop + 1;
    }
    return 0;
}

int fgw_hash_key(const void *image, const fgw_img_policy *policy, const fgw_route_request *req, const char *source_ip, size_t n,
                 uint64_t *key) {
    const char *name = fgw_strings_of(image) + policy->hash_name.off;
    const size_t length = policy->hash_name.len;
    if (policy->hash_on == FGW_HASH_SOURCE_IP) {
        *key = fgw_hash64(source_ip, n, 0);
        return n > 0;
    }
    if (req == NULL)
        return 0;
    switch (policy->hash_on) {
    case FGW_HASH_HEADER: return key_of_header(req, policy->hash_header_id, name, length, key);
    case FGW_HASH_COOKIE: return key_of_cookie(req, name, length, key);
    case FGW_HASH_QUERY: return key_of_query(req, name, length, key);
    default: return 0;
    }
}

static char *put(char *to, const char *text, size_t n) {
    memcpy(to, text, n);
    return to + n;
}

size_t fgw_hash_new_cookie(const void *image, const fgw_img_policy *policy, uint64_t seed, char *to, uint64_t *key) {
    static const char digits[] = "0123456789abcdef";
    const char *start = to;
    char value[16];
    for (int i = 0; i < 16; i++)
        value[i] = digits[seed >> (60 - 4 * i) & 15];
    *key = fgw_hash64(value, sizeof value, 0);
    to = put(to, fgw_strings_of(image) + policy->hash_name.off, policy->hash_name.len);
    to = put(to, "=\"", 2);
    to = put(to, value, sizeof value);
    *to++ = '"';
    return (size_t)(put(to, fgw_strings_of(image) + policy->cookie_rest.off, policy->cookie_rest.len) - start);
}
