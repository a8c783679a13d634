/* Choosing endpoints, rings, Maglev tables, keys of requests: on an image that is made here, and with random state. */
#include "fgw/balance.h"
#include "fgw/sticky.h"
#include "support.h"
#include <stdlib.h>

enum { ENDPOINTS = 40, TABLE = 1009 };

/* An image of one cluster, every table in a place of its own behind the header. */
typedef struct world {
    fgw_image_header header;
    fgw_img_cluster cluster;
    fgw_img_policy policy;
    fgw_img_endpoint endpoints[ENDPOINTS];
    fgw_img_maglev_place places[TABLE];
    fgw_img_ring_point points[ENDPOINTS * 256];
    char strings[16];
} world;

static world w;
static fgw_state *state;
static uint64_t chance = 7;

static fgw_table table_at(const void *p, uint32_t count) { return (fgw_table){(uint32_t)((const char *)p - (const char *)&w), count}; }

static void make_world(uint8_t lb, uint32_t levels) {
    uint64_t identities[ENDPOINTS], scratch[2 * ENDPOINTS];
    uint32_t weights[ENDPOINTS], order[ENDPOINTS];
    memset(&w, 0, sizeof w);
    w.header.clusters = table_at(&w.cluster, 1);
    w.header.policies = table_at(&w.policy, 1);
    w.header.endpoints = table_at(w.endpoints, ENDPOINTS);
    w.header.maglev_places = table_at(w.places, TABLE);
    w.header.ring_points = table_at(w.points, ENDPOINTS * 256);
    w.header.strings = table_at(w.strings, sizeof w.strings);
    memcpy(w.strings, "whoX", 4);
    w.cluster.lb = lb;
    w.cluster.endpoints.count = ENDPOINTS;
    w.policy.priorities = (uint8_t)levels;
    w.policy.hash_name = (fgw_span){0, 3};
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        w.endpoints[i] = (fgw_img_endpoint){.family = FGW_FAMILY_IPV4, .port = 80, .weight = 1, .cell = i};
        w.endpoints[i].ip[3] = (uint8_t)i;
        w.endpoints[i].priority = (uint8_t)(i * levels / ENDPOINTS);
        identities[i] = fgw_endpoint_identity(FGW_FAMILY_IPV4, w.endpoints[i].ip, 80, NULL, 0);
        weights[i] = 1;
        order[i] = i;
        memset(&state->cells[i], 0, sizeof state->cells[i]);
    }
    if (lb == FGW_LB_MAGLEV) {
        w.cluster.maglev.count = TABLE;
        CHECK(fgw_maglev_build(identities, weights, order, ENDPOINTS, w.places, TABLE, scratch));
    }
    if (lb == FGW_LB_RING_HASH) {
        w.cluster.ring.count = fgw_ring_size(weights, ENDPOINTS, 1024);
        CHECK_EQ(w.cluster.ring.count, ENDPOINTS * 256);
        fgw_ring_build(identities, weights, ENDPOINTS, 1024, w.points, w.cluster.ring.count);
    }
}

static uint32_t pick_but(int has_key, uint64_t key, const uint32_t *avoid, uint32_t avoid_count, uint32_t *skip_levels) {
    static uint32_t position;
    fgw_ask ask = {.random = next_random(&chance), .now_ms = 1000, .key = key, .has_key = (uint32_t)has_key, .avoid = avoid,
                   .avoid_count = avoid_count, .position = position, .skip_levels = *skip_levels};
    fgw_target out;
    const int found = fgw_pick(&w, state, 0, &ask, &out);
    position = ask.position;
    *skip_levels = ask.skip_levels;
    if (found == FGW_PICK_ONE) {
        CHECK_EQ(out.cell, out.index);
        CHECK_EQ(out.level, w.endpoints[out.index].priority);
    }
    return found == FGW_PICK_ONE ? out.index : FGW_NONE;
}

static uint32_t pick(int has_key, uint64_t key, const uint32_t *avoid, uint32_t avoid_count) {
    uint32_t skip_levels = 0;
    return pick_but(has_key, key, avoid, avoid_count, &skip_levels);
}

/* Whatever is up or down: who is picked may be used, and somebody is picked as long as one may be. */
static void test_only_usable_ones(void) {
    static const uint8_t balancers[] = {FGW_LB_LEAST_REQUEST, FGW_LB_ROUND_ROBIN, FGW_LB_RANDOM, FGW_LB_RING_HASH, FGW_LB_MAGLEV};
    for (size_t b = 0; b < sizeof balancers; b++)
        for (uint32_t levels = 1; levels <= 4; levels += 3) {
            make_world(balancers[b], levels);
            for (int round = 0; round < 4000; round++) {
                const uint64_t random = next_random(&chance);
                fgw_cell *cell = &state->cells[random % ENDPOINTS];
                cell->flags = (random >> 8 & 3) == 0 ? 0 : FGW_CELL_EJECTED;
                cell->active = (uint32_t)(random >> 16 & 7);
                uint32_t up = 0;
                for (uint32_t i = 0; i < ENDPOINTS; i++)
                    up += state->cells[i].flags == 0;
                const uint32_t avoid[2] = {(uint32_t)(random >> 24) % ENDPOINTS, (uint32_t)(random >> 32) % ENDPOINTS};
                const uint32_t found = pick(random >> 40 & 1, random, avoid, random >> 41 & 1 ? 2 : 0);
                CHECK_EQ(found != FGW_NONE, up > 0);
                if (found != FGW_NONE)
                    CHECK_EQ(state->cells[found].flags, 0);
            }
        }
}

/* Every key keeps its endpoint while others come and go. */
static void test_keys_stay(void) {
    static const uint8_t balancers[] = {FGW_LB_RING_HASH, FGW_LB_MAGLEV};
    for (size_t b = 0; b < sizeof balancers; b++) {
        make_world(balancers[b], 1);
        for (int k = 0; k < 2000; k++) {
            const uint64_t key = next_random(&chance);
            const uint32_t own = pick(1, key, NULL, 0), other = (own + 1 + (uint32_t)(key % (ENDPOINTS - 1))) % ENDPOINTS;
            state->cells[other].flags = FGW_CELL_EJECTED;
            CHECK_EQ(pick(1, key, NULL, 0), own);
            state->cells[own].flags = FGW_CELL_EJECTED;
            CHECK(pick(1, key, NULL, 0) != own);
            state->cells[own].flags = state->cells[other].flags = 0;
            CHECK_EQ(pick(1, key, &own, 1) == own, 0);
        }
    }
}

static void test_points_are_sorted(void) {
    make_world(FGW_LB_RING_HASH, 1);
    for (uint32_t i = 1; i < w.cluster.ring.count; i++)
        CHECK(w.points[i - 1].hash <= w.points[i].hash && w.points[i].endpoint < ENDPOINTS);
}

static void test_a_table_is_full(void) {
    uint32_t shares[ENDPOINTS] = {0};
    make_world(FGW_LB_MAGLEV, 1);
    for (uint32_t i = 0; i < TABLE; i++)
        shares[w.places[i].endpoint]++;
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        CHECK(shares[i] >= TABLE / ENDPOINTS && shares[i] <= TABLE / ENDPOINTS + 1);
    CHECK_EQ(fgw_maglev_build(NULL, NULL, NULL, 10, w.places, 7, NULL), 0);
}

/* Cookie fields that end at a guard page: nothing behind them is read. */
static void cookie(const char *text, const char *value) {
    const size_t n = strlen(text);
    fgw_field field = {.value_len = (uint32_t)n, .id = FGW_HDR_COOKIE};
    fgw_route_request req = {.base = guard_after(text, n), .fields = &field, .field_count = 1};
    uint64_t key = 0;
    w.policy.hash_on = FGW_HASH_COOKIE;
    CHECK_EQ(fgw_hash_key(&w, &w.policy, &req, "", 0, &key), value != NULL);
    if (value)
        CHECK(key == fgw_hash64(value, strlen(value), 0));
}

static void query(const char *text, const char *value) {
    const size_t n = strlen(text);
    fgw_route_request req = {.query = guard_after(text, n), .query_len = (uint32_t)n};
    uint64_t key = 0;
    w.policy.hash_on = FGW_HASH_QUERY;
    CHECK_EQ(fgw_hash_key(&w, &w.policy, &req, "", 0, &key), value != NULL);
    if (value)
        CHECK(key == fgw_hash64(value, strlen(value), 0));
}

static void test_keys_of_requests(void) {
    make_world(FGW_LB_RING_HASH, 1);
    cookie("who=ann", "ann");
    cookie("who=\"ann\"", "ann");
    cookie("a=b;\t who=x ", "x");
    cookie("who=\"", "\"");
    cookie("who=", NULL);
    cookie("who=; who=ann", NULL); /* the first of the name, or none */
    cookie("who=\"\"; who=ann", NULL);
    cookie("who", NULL);
    cookie("wh", NULL);
    cookie(";;; ;", NULL);
    cookie("", NULL);
    query("who=1", "1");
    query("a&who=2&who=3", "2");
    query("who", "");
    query("wh=1", NULL);
    query("&&", NULL);
    query("", NULL);
}

static void test_random_cookies(void) {
    static const char letters[] = "who=;\" \tx";
    char text[24];
    make_world(FGW_LB_RING_HASH, 1);
    w.policy.hash_on = FGW_HASH_COOKIE;
    for (int round = 0; round < 200000; round++) {
        uint64_t random = next_random(&chance), key;
        const size_t n = random % sizeof text;
        for (size_t i = 0; i < n; i++) {
            random = next_random(&chance);
            text[i] = letters[random % (sizeof letters - 1)];
        }
        fgw_field field = {.value_len = (uint32_t)n, .id = FGW_HDR_COOKIE};
        fgw_route_request req = {.base = guard_after(text, n), .fields = &field, .field_count = 1};
        fgw_hash_key(&w, &w.policy, &req, "", 0, &key);
    }
}

/* Levels are left out as long as another one can be used. */
static void test_levels_are_skipped(void) {
    static const uint8_t balancers[] = {FGW_LB_LEAST_REQUEST, FGW_LB_ROUND_ROBIN, FGW_LB_RING_HASH, FGW_LB_MAGLEV};
    for (size_t b = 0; b < sizeof balancers; b++) {
        make_world(balancers[b], 4);
        for (uint32_t set = 0; set < 16; set++)
            for (int round = 0; round < 50; round++) {
                uint32_t skip = set, first = 0;
                while (first < 4 && set >> first & 1)
                    first++;
                const uint32_t found = pick_but(round & 1, next_random(&chance), NULL, 0, &skip);
                CHECK_EQ(skip, set == 15 ? 0 : set);
                CHECK_EQ(w.endpoints[found].priority, first % 4); /* all are well: the first one takes everything */
            }
        for (uint32_t i = 0; i < ENDPOINTS; i++)
            state->cells[i].flags = w.endpoints[i].priority != 1 ? FGW_CELL_EJECTED : 0;
        uint32_t skip = 2;
        CHECK_EQ(w.endpoints[pick_but(0, 0, NULL, 0, &skip)].priority, 1);
        CHECK_EQ(skip, 0);
    }
}

/* Without a table, as for addresses of DNS, every endpoint has its share of the keys, and a change of weight moves few of them. */
static void test_weights_without_a_table(void) {
    enum { KEYS = 40000 };
    static uint32_t before[KEYS];
    uint32_t shares[ENDPOINTS] = {0}, total = 0, moved = 0;
    make_world(FGW_LB_RING_HASH, 1);
    w.cluster.ring.count = 0;
    for (uint32_t k = 0; k < KEYS; k++)
        before[k] = pick(1, k * 0x9e3779b97f4a7c15ull, NULL, 0);
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        total += w.endpoints[i].weight = i < 4 ? 1 : i < 8 ? 20 : 5;
    for (uint32_t k = 0; k < KEYS; k++)
        shares[before[k] = pick(1, k * 0x9e3779b97f4a7c15ull, NULL, 0)]++;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        const double expected = (double)KEYS * w.endpoints[i].weight / total, off = shares[i] - expected;
        CHECK(off * off < 36 * expected); /* six standard deviations */
    }
    w.endpoints[9].weight = 10;
    for (uint32_t k = 0; k < KEYS; k++) {
        const uint32_t now = pick(1, k * 0x9e3779b97f4a7c15ull, NULL, 0);
        CHECK(now == before[k] || now == 9); /* whoever gets heavier takes keys, and nobody else does */
        moved += now != before[k];
    }
    CHECK(moved > 0 && moved < KEYS / 20);
}

/* Two of equals, the one with less in flight: who has nothing in flight while all others have something is drawn as often as two of
 * all contain it, whether or not others are down, and others share the rest. */
static void test_shares_of_least_request(void) {
    enum { PICKS = 40000 };
    for (uint32_t down = 0; down <= 30; down += 10)
        for (uint8_t weighted = 0; weighted <= 1; weighted++) { /* the long way round and the short one */
            uint32_t shares[ENDPOINTS] = {0};
            make_world(FGW_LB_LEAST_REQUEST, 1);
            w.cluster.weighted = weighted;
            for (uint32_t i = 0; i < ENDPOINTS; i++) {
                state->cells[i].flags = i < down ? FGW_CELL_UNHEALTHY : 0;
                state->cells[i].active = i == ENDPOINTS - 1 ? 0 : 3;
            }
            for (uint32_t k = 0; k < PICKS; k++)
                shares[pick(0, 0, NULL, 0)]++;
            const double up = ENDPOINTS - down, idle = PICKS * 2.0 / up, busy = (PICKS - idle) / (up - 1);
            for (uint32_t i = 0; i < ENDPOINTS; i++) {
                const double expected = i < down ? 0 : i == ENDPOINTS - 1 ? idle : busy, off = shares[i] - expected;
                CHECK(off * off <= 36 * expected); /* six standard deviations */
            }
        }
}

int main(void) {
    state = calloc(1, fgw_state_bytes(1));
    fgw_state_init(state, 1);
    test_only_usable_ones();
    test_keys_stay();
    test_levels_are_skipped();
    test_weights_without_a_table();
    test_shares_of_least_request();
    test_points_are_sorted();
    test_a_table_is_full();
    test_keys_of_requests();
    test_random_cookies();
    free(state);
    return test_result("balance");
}
