/* Route images: what the checker lets through can be matched against without another bounds check. */
#define _POSIX_C_SOURCE 200809L
#include "fgw/guard.h"
#include "fgw/rate.h"
#include "fgw/sticky.h"
#include "fuzz.h"

enum { IMAGE_MAX = 1 << 20, HITS_MAX = 64 };

/* Stands for compiled regexes: answers that depend on the text only a little, always within what the contract allows. */
struct fgw_regexes {
    const fgw_image_header *image;
    uint32_t hits[HITS_MAX];
};

static int any_one(fgw_regexes *regexes, uint32_t index, const char *text, size_t n) {
    PROMISE(index < regexes->image->regexes.count);
    return (index + n + (n != 0 ? (uint8_t)text[0] : 0)) % 2 == 0;
}

static long any_many(fgw_regexes *regexes, uint32_t set, const char *text, size_t n, const uint32_t **hits) {
    const fgw_image_header *image = regexes->image;
    PROMISE(set < image->regex_sets.count);
    const fgw_img_regex_set *sets = (const fgw_img_regex_set *)(const void *)((const char *)image + image->regex_sets.off);
    long found = 0;
    if (n % 4 == 3)
        return -1;
    for (uint32_t i = n != 0 ? (uint8_t)text[n - 1] % 2u : 0; i < sets[set].members.count && found < HITS_MAX; i += 2)
        regexes->hits[found++] = i;
    *hits = regexes->hits;
    return found;
}

/* The matcher replaces nothing: rewriting is done by whoever sends the request. */
static const fgw_regex_calls calls = {any_one, any_many, NULL};

static fgw_route_request request(const char *host, const char *path) {
    static const char head[] = "x-two: alice, x-one: a, x-one: b";
    static const fgw_field fields[] = {
        {0, 7, 5, 5, FGW_HDR_OTHER, 0}, {14, 21, 1, 5, FGW_HDR_OTHER, 0}, {24, 31, 1, 5, FGW_HDR_OTHER, 0}};
    fgw_route_request r = {0};
    r.base = head;
    r.fields = fields;
    r.field_count = 3;
    r.host = r.authority = host;
    r.host_len = r.authority_len = (uint32_t)strlen(host);
    r.path = r.raw_path = path;
    r.path_len = r.raw_path_len = (uint32_t)strlen(path);
    r.query = "a=1";
    r.query_len = 3;
    r.method = "GET";
    r.method_len = 3;
    r.scheme = "http";
    r.scheme_len = 4;
    return r;
}

static void keep_destination(const fgw_image_header *image, uint32_t index, const fgw_route_request *r) {
    const fgw_img_action *action = (const fgw_img_action *)(const void *)((const char *)image + image->actions.off) + index;
    char cookie[FGW_SET_COOKIE_MAX];
    uint64_t key = 0;
    if (action->kind != FGW_ACTION_ROUTE)
        return;
    fgw_sticky_key(image, index, r, "10.0.0.1", 8, &key);
    PROMISE(fgw_sticky_pick(image, index, key) < action->destinations.count);
    PROMISE(fgw_sticky_set_cookie(image, index, key, cookie) <= sizeof cookie);
}

static void match_all(const fgw_image_header *image) {
    static const char *const hosts[] = {"webapp.istioinaction.io", "a.b.example.com", "", "x"};
    static const char *const paths[] = {"/", "/api/catalog", "/v1/items/0123456789", "*"};
    fgw_regexes regexes = {image, {0}};
    for (uint32_t listener = 0; listener < image->listeners.count && listener < 8; listener++) {
        const uint32_t chain = fgw_chain_of_sni(image, listener, "a.example.com", 13);
        PROMISE(chain == FGW_NONE || chain < image->chains.count);
        const uint32_t named = fgw_chain_find(image, listener, "http.80", 7);
        PROMISE(named == FGW_NONE || named < image->chains.count);
        for (uint32_t k = 0; k < image->chains.count && k < 8; k++) {
            uint32_t table;
            const int owner = fgw_request_table(image, listener, k, "b.example.com", 13, &table);
            PROMISE(owner >= FGW_OWNER_SELF && owner <= FGW_OWNER_NONE);
            PROMISE(table == FGW_NONE || table < image->route_tables.count);
        }
    }
    for (uint32_t table = 0; table < image->route_tables.count && table < 8; table++) {
        for (int i = 0; i < 16; i++) {
            fgw_route_request r = request(hosts[i / 4], paths[i % 4]);
            fgw_route_result result;
            int verdict = fgw_route_match(image, table, &r, i % 2, &regexes, &calls, &result);
            PROMISE(verdict >= FGW_ROUTE_NO_VHOST && verdict <= FGW_ROUTE_REQUIRE_TLS);
            if (verdict == FGW_ROUTE_MATCH)
                keep_destination(image, result.action, &r);
            if (verdict == FGW_ROUTE_MATCH) /* a damaged trie may lead to a rule that does not match, but only inside the image */
                PROMISE(result.rule < image->rules.count && fgw_rule_check(image, result.rule, &r, &regexes, &calls) >= -1);
        }
    }
}

/* Sets of networks are bisected, keys of rate limits read names. */
static void ask_guards(const fgw_image_header *image) {
    static fgw_state *state;
    const fgw_ip addresses[] = {{0, UINT64_C(0xffff) << 32 | 10u << 24}, {UINT64_C(0x20010db8) << 32, 7}};
    const fgw_route_request r = request("a.com", "/");
    int named;
    if (state == NULL && (state = calloc(1, offsetof(fgw_state, cells))) == NULL)
        return;
    for (uint32_t i = 0; i < image->guards.count; i++) {
        for (int k = 0; k < 2; k++) {
            const uint32_t list = fgw_guard_denies(image, i, &addresses[k], &named);
            PROMISE(list == FGW_NONE || list < image->source_lists.count);
        }
        fgw_guard_denies(image, i, NULL, &named);
    }
    for (uint32_t i = 0; i < image->rate_limits.count; i++)
        fgw_rate_key(image, state, i, &r, i % 2 ? &addresses[0] : NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    void *image;
    if (n > IMAGE_MAX || posix_memalign(&image, 64, n != 0 ? n : 1) != 0)
        return 0;
    if (n != 0)
        memcpy(image, data, n);
    if (fgw_image_check(image, n) == 1) {
        match_all(image);
        ask_guards(image);
    }
    free(image);
    return 0;
}
