/* Rate limits: token buckets that all workers share, by the generic cell rate algorithm: of a bucket is kept when it will be full again
 * (its theoretical arrival time), in one word that is changed by compare-and-swap. */
#ifndef FGW_RATE_H
#define FGW_RATE_H
#include "cidr.h"
#include "route.h"
#include "state.h"

/* cffi:begin */
/* A bucket of `burst` requests, into which one more comes every `interval_ns`. interval_ns * burst < 2^62. */
typedef struct fgw_rate {
    uint64_t interval_ns;
    uint64_t burst; /* >= 1 */
} fgw_rate;

/* What is left in a bucket after it was asked. */
typedef struct fgw_rate_answer {
    uint64_t remaining; /* requests that would be let through now */
    uint64_t full_ns;   /* until it is full again */
    uint64_t retry_ns;  /* refused: until the next request is let through; else 0 */
} fgw_rate_answer;

enum fgw_rate_verdict { FGW_RATE_REFUSED = 0, FGW_RATE_ALLOWED = 1, FGW_RATE_NO_SLOT = 2 /* let through, nothing is known of the bucket */ };

/* SipHash-2-4 of n bytes under a key of two words. */
uint64_t fgw_siphash(const uint64_t *seed, const void *p, size_t n);
/* Which bucket of the limit `index` a request takes from. `ip` NULL: the client has no IP address. */
uint64_t fgw_rate_key(const void *image, const fgw_state *state, uint32_t index, const fgw_route_request *req, const fgw_ip *ip);
/* Take one request from a bucket; enum fgw_rate_verdict. `now_ns`: CLOCK_MONOTONIC. Of any number of workers that ask at once, as many
 * are let through as the bucket holds. */
int fgw_rate_take(fgw_state *state, uint64_t key, const fgw_rate *rate, uint64_t now_ns, fgw_rate_answer *out);
/* Put back what was taken: another limit has refused the request. */
void fgw_rate_give_back(fgw_state *state, uint64_t key, const fgw_rate *rate);
/* Count a request that a limit (by its number) has been asked about, in the end. */
void fgw_rate_count(fgw_state *state, uint32_t number, int allowed);
/* So many slots or the next power of two are used, within what there is. To be called before workers begin. */
void fgw_rate_shape(fgw_state *state, uint64_t slots, uint64_t seed0, uint64_t seed1);
/* cffi:end */

#endif
