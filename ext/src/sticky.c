/* The choice of a sticky destination, and the key that a request brings for it. */
#include "fgw/sticky.h"

#include "image_read.h"
#include "request_read.h"
#include "weighted_draw.h"

/* How many destinations before the i-th have its name: they must not draw alike. */
static uint32_t twins_before(const fgw_img_destination *d, uint32_t i) {
    uint32_t twins = 0;
    for (uint32_t k = 0; k < i; k++)
        twins += d[k].cluster_name.off == d[i].cluster_name.off && d[k].cluster_name.len == d[i].cluster_name.len;
    return twins;
}

uint32_t fgw_sticky_pick(const void *image, uint32_t action, uint64_t key) {
    const fgw_img_action *a = FGW_TABLE(image, actions, fgw_img_action) + action;
    const fgw_img_destination *d = FGW_TABLE(image, destinations, fgw_img_destination) + a->destinations.off;
    uint32_t best = 0;
    uint64_t best_log = 0;
    for (uint32_t i = 0; i < a->destinations.count; i++) {
        const uint64_t name = fgw_hash64(fgw_strings_of(image) + d[i].cluster_name.off, d[i].cluster_name.len, twins_before(d, i));
        const uint64_t log = fgw_minus_log2(fgw_hash64(&key, sizeof key, name));
        if (i == 0 || fgw_draws_less(log, d[i].weight, best_log, d[best].weight)) {
            best = i;
            best_log = log;
        }
    }
    return best;
}

/* --- keys --- */

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static int key_of_value(const char *value, size_t n, uint64_t *key) {
    uint64_t found = 0;
    if (n != FGW_STICKY_COOKIE_BYTES)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const int digit = hex_digit(value[i]);
        if (digit < 0)
            return 0;
        found = found << 4 | (uint64_t)digit;
    }
    *key = found;
    return 1;
}

static char *put_decimal(char *to, uint32_t n) {
    char digits[10], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    return fgw_put(to, p, (size_t)(digits + sizeof digits - p));
}

size_t fgw_sticky_set_cookie(const void *image, uint32_t action, uint64_t key, char *to) {
    static const char digits[] = "0123456789abcdef", max_age[] = "; Max-Age=", rest[] = "; Path=/; HttpOnly; SameSite=Lax";
    const fgw_img_action *a = FGW_TABLE(image, actions, fgw_img_action) + action;
    const char *start = to;
    to = fgw_put(to, fgw_strings_of(image) + a->sticky_name.off, a->sticky_name.len);
    *to++ = '=';
    for (int shift = 60; shift >= 0; shift -= 4)
        *to++ = digits[key >> shift & 15];
    if (a->sticky_ttl_s != FGW_NONE)
        to = put_decimal(fgw_put(to, max_age, sizeof max_age - 1), a->sticky_ttl_s);
    return (size_t)(fgw_put(to, rest, sizeof rest - 1) - start);
}

/* The first usable cookie of the name: others of it may be somebody else's. */
static int key_of_cookies(const fgw_route_request *req, const char *name, size_t n, uint64_t *key) {
    uint32_t i = 0;
    for (const fgw_field *f; (f = fgw_cookie_field(req, &i)) != NULL; i++) {
        const char *at = req->base + f->value_off, *end = at + f->value_len, *value;
        size_t length;
        while ((value = fgw_next_cookie(&at, end, name, n, &length)) != NULL)
            if (key_of_value(value, length, key))
                return 1;
    }
    return 0;
}

int fgw_sticky_key(const void *image, uint32_t action, const fgw_route_request *req, const char *source_ip, size_t n,
                   uint64_t *key) {
    const fgw_img_action *a = FGW_TABLE(image, actions, fgw_img_action) + action;
    const char *name = fgw_strings_of(image) + a->sticky_name.off;
    switch (a->sticky) {
    case FGW_STICKY_COOKIE: return key_of_cookies(req, name, a->sticky_name.len, key);
    case FGW_STICKY_HEADER: return fgw_key_of_header(req, a->sticky_header_id, name, a->sticky_name.len, key);
    case FGW_STICKY_SOURCE_IP: *key = fgw_hash64(source_ip, n, 0); return n > 0;
    default: return 0;
    }
}
