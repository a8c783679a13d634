/* Route images: what the checker lets through can be matched against without another bounds check. */
#define _POSIX_C_SOURCE 200809L
#include "fgw/route.h"
#include "fuzz.h"

enum { IMAGE_MAX = 1 << 20 };

static int any_regex(fgw_regexes *set, uint32_t index, const char *text, size_t n) {
    (void)set;
    return (index + n + (n != 0 ? (uint8_t)text[0] : 0)) % 2 == 0;
}

static fgw_route_request request(const char *host, const char *path) {
    static const char head[] = "x-user: alice";
    static const fgw_field fields[] = {{0, 8, 5, 6, FGW_HDR_OTHER, 0}};
    fgw_route_request r = {0};
    r.base = head;
    r.fields = fields;
    r.field_count = 1;
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

static void match_all(const fgw_image_header *image) {
    static const char *const hosts[] = {"webapp.istioinaction.io", "a.b.example.com", "", "x"};
    static const char *const paths[] = {"/", "/api/catalog", "/v1/items/0123456789", "*"};
    for (uint32_t listener = 0; listener < image->listeners.count && listener < 8; listener++) {
        const fgw_img_listener *l = (const fgw_img_listener *)(const void *)((const char *)image + image->listeners.off);
        if (l[listener].route_table == FGW_NONE)
            continue;
        for (int i = 0; i < 16; i++) {
            fgw_route_request r = request(hosts[i / 4], paths[i % 4]);
            fgw_route_result result;
            int verdict = fgw_route_match(image, listener, &r, i % 2, NULL, any_regex, &result);
            PROMISE(verdict >= FGW_ROUTE_NO_VHOST && verdict <= FGW_ROUTE_REQUIRE_TLS);
            if (verdict == FGW_ROUTE_MATCH) /* a damaged trie may lead to a rule that does not match, but only inside the image */
                PROMISE(result.rule < image->rules.count && fgw_rule_check(image, result.rule, &r, NULL, any_regex) >= -1);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    void *image;
    if (n > IMAGE_MAX || posix_memalign(&image, 64, n != 0 ? n : 1) != 0)
        return 0;
    if (n != 0)
        memcpy(image, data, n);
    if (fgw_image_check(image, n) == 1)
        match_all(image);
    free(image);
    return 0;
}
