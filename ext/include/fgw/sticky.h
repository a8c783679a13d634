/* Which destination of a weighted route a client keeps. A pure function of the client's key and the destinations' names and
 * weights, so every worker, every restart and every gateway with the same configuration agree.
 *
 * Each destination draws -log2(u) / weight, u being a hash of the key and the destination's name, and the smallest draw wins
 * (weighted rendezvous hashing). A destination gets its share of the keys, and its draws depend on nobody else: raising its weight
 * moves keys to it only, lowering it moves keys away from it only, and the order of the destinations is of no account. */
#ifndef FGW_STICKY_H
#define FGW_STICKY_H
#include "route.h"

/* cffi:begin */
enum {
    FGW_STICKY_COOKIE_BYTES = 16,                  /* of a cookie's value: lower-case hexadecimal digits */
    FGW_SET_COOKIE_MAX = FGW_STICKY_NAME_MAX + 96, /* of the value of Set-Cookie */
};

/* XXH64 as published: 64 bits, no secret. */
uint64_t fgw_hash64(const void *p, size_t n, uint64_t seed);
/* The key that the request has for a sticky action: 1 and *key, 0 when the request has none. `source_ip`: text of the client's
 * address. A cookie whose value is not of the gateway's making is none. */
int fgw_sticky_key(const void *image, uint32_t action, const fgw_route_request *req, const char *source_ip, size_t n,
                   uint64_t *key);
/* The value of Set-Cookie that gives a client this key, for an action with FGW_STICKY_COOKIE; its length, at most
 * FGW_SET_COOKIE_MAX. */
size_t fgw_sticky_set_cookie(const void *image, uint32_t action, uint64_t key, char *to);
/* Position of the key's destination among those of the action, which has at least one. */
uint32_t fgw_sticky_pick(const void *image, uint32_t action, uint64_t key);
/* cffi:end */

#endif
