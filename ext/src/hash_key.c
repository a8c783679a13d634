/* The key that a request brings for consistent hashing (Q3 to Q6), and the cookie that makes one. */
#include <string.h>

#include "fgw/balance.h"
#include "fgw/sticky.h"
#include "image_read.h"
#include "request_read.h"

/* The first cookie of the name in a field counts, without the quotes that may be around its value; an empty one is none, and the next
 * field is asked. */
static int key_of_cookie(const fgw_route_request *req, const char *name, size_t n, uint64_t *key) {
    uint32_t i = 0;
    for (const fgw_field *f; (f = fgw_cookie_field(req, &i)) != NULL; i++) {
        const char *at = req->base + f->value_off;
        size_t length = 0;
        const char *value = fgw_next_cookie(&at, at + f->value_len, name, n, &length);
        if (value != NULL && length >= 2 && value[0] == '"' && value[length - 1] == '"')
            value++, length -= 2;
        if (length > 0) {
            *key = fgw_hash64(value, length, 0);
            return 1;
        }
    }
    return 0;
}

static int key_of_header(const fgw_route_request *req, uint8_t id, const char *name, size_t n, uint64_t *key) {
    if (id != FGW_HDR_HOST)
        return fgw_key_of_header(req, id, name, n, key);
    *key = fgw_hash64(req->authority, req->authority_len, 0);
    return 1;
}

static int key_of_query(const fgw_route_request *req, const char *name, size_t n, uint64_t *key) {
    size_t length;
    const char *value = fgw_query_value(req, name, n, &length);
    if (value == NULL)
        return 0;
    *key = fgw_hash64(value, length, 0);
    return 1;
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

size_t fgw_hash_new_cookie(const void *image, const fgw_img_policy *policy, uint64_t seed, char *to, uint64_t *key) {
    static const char digits[] = "0123456789abcdef";
    const char *start = to;
    char value[16];
    for (int i = 0; i < 16; i++)
        value[i] = digits[seed >> (60 - 4 * i) & 15];
    *key = fgw_hash64(value, sizeof value, 0);
    to = fgw_put(to, fgw_strings_of(image) + policy->hash_name.off, policy->hash_name.len);
    to = fgw_put(to, "=\"", 2);
    to = fgw_put(to, value, sizeof value);
    *to++ = '"';
    return (size_t)(fgw_put(to, fgw_strings_of(image) + policy->cookie_rest.off, policy->cookie_rest.len) - start);
}
