/* Which endpoint of a cluster: load balancing on counts that all workers share, consistent hashing, and the verdicts of outlier
 * detection. Pure functions of the image, the state segment, the time and a random number that the caller brings. */
#ifndef FGW_BALANCE_H
#define FGW_BALANCE_H
#include "route.h"
#include "state.h"

/* cffi:begin */
enum {
    FGW_CANDIDATES = 128, /* endpoints looked at in one choice; a larger cluster is looked at from a random place */
    FGW_HASH_COOKIE_MAX = FGW_HASH_NAME_MAX + 32 + FGW_COOKIE_REST_MAX, /* of the value of Set-Cookie */
    FGW_RING_MAX = 1 << 23,                                             /* points of a ring */
    FGW_MAGLEV_MAX = 5000011,
};

/* --- choosing --- */

enum fgw_picked {
    FGW_PICK_NONE = 0, /* no endpoint that may be used */
    FGW_PICK_ONE = 1,
    FGW_PICK_WAIT = 2, /* the name has not been resolved yet */
};

typedef struct fgw_ask {
    uint64_t random; /* another one for every pick */
    uint64_t now_ms; /* CLOCK_MONOTONIC */
    uint64_t key;    /* of consistentHash, when has_key */
    uint32_t has_key;
    uint32_t avoid_count;
    const uint32_t *avoid; /* cells that are taken only when nothing else is left */
    uint32_t position;     /* of round robin, the caller's for this cluster; moved on */
    uint32_t skip_levels;  /* bit n: level n of priority is left out; set to 0 when no other level can be used */
} fgw_ask;

typedef struct fgw_target {
    uint8_t family; /* enum fgw_family */
    uint8_t level;  /* of priority */
    uint16_t port;
    uint8_t ip[16];
    uint32_t cell;
    uint32_t index; /* place among the endpoints of the cluster; behind them the addresses of its names */
    fgw_span path;  /* FGW_FAMILY_UNIX */
} fgw_target;

/* An endpoint of the cluster into *out; enum fgw_picked. Ejections whose time is over end here. */
int fgw_pick(const void *image, fgw_state *state, uint32_t cluster, fgw_ask *ask, fgw_target *out);

/* --- consistent hashing --- */

/* What stands for an endpoint on rings and in tables, the same everywhere. `path`: of a unix socket. */
uint64_t fgw_endpoint_identity(uint8_t family, const uint8_t *ip, uint16_t port, const char *path, size_t n);
/* How many points a ring has for endpoints of these weights: a quarter of `minimum` for each, 256 at least, fewer for those of
 * less weight, and a million at the most. */
uint32_t fgw_ring_size(const uint32_t *weights, uint32_t n, uint32_t minimum);
/* Fill `size` points (fgw_ring_size) for n >= 1 endpoints. */
void fgw_ring_build(const uint64_t *identities, const uint32_t *weights, uint32_t n, uint32_t minimum, fgw_img_ring_point *points,
                    uint32_t size);
/* Fill `size` places, a prime number, for n >= 1 endpoints, which take turns in `order`. `scratch`: 2 * n. Returns 0 when n > size. */
int fgw_maglev_build(const uint64_t *identities, const uint32_t *weights, const uint32_t *order, uint32_t n,
                     fgw_img_maglev_place *places, uint32_t size, uint64_t *scratch);
/* The key that a request has for a policy: 1 and *key, 0 when it has none (Q3). `source_ip`: text of the client's address (Q6). */
int fgw_hash_key(const void *image, const fgw_img_policy *policy, const fgw_route_request *req, const char *source_ip, size_t n,
                 uint64_t *key);
/* The key of a cookie that is about to be given, made of `seed`, and in `to` the value of Set-Cookie for it; its length, at most
 * FGW_HASH_COOKIE_MAX. */
size_t fgw_hash_new_cookie(const void *image, const fgw_img_policy *policy, uint64_t seed, char *to, uint64_t *key);

/* --- outlier detection --- */

/* May the endpoint be used? An ejection whose time is over is taken back. */
int fgw_cell_usable(fgw_cell *cell, uint64_t now_ms);
/* An answer with this status came: 1 when that was one error too many in a row. */
int fgw_outlier_answer(const fgw_img_policy *policy, fgw_cell *cell, uint32_t status);
/* No connection could be made, or it was lost, or nothing came in time: 1 when that was one too many. */
int fgw_outlier_local(const fgw_img_policy *policy, fgw_cell *cell);
/* A connection was made. `whole`: and that is all there is to be seen of it, as at layer 4 (Q10). */
void fgw_outlier_connected(const fgw_img_policy *policy, fgw_cell *cell, int whole);
/* Eject the endpoint of a cell of this cluster: 1; 0 when it is ejected already, or others are at it; -1 when too many are. */
int fgw_outlier_eject(const void *image, fgw_state *state, uint32_t cluster, uint32_t cell, uint64_t now_ms);
/* cffi:end */

#endif
