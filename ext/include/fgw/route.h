/* Matching a request against the route image: cost O(length of host + path), whatever the number of rules. */
#ifndef FGW_ROUTE_H
#define FGW_ROUTE_H
#include "image.h"

/* cffi:begin */
/* Compiled regexes of one image in one process (RE2, made at first use); see regex.h. */
typedef struct fgw_regexes fgw_regexes;
/* How the matcher asks for regexes, so that it does not depend on their library. `one`: does regex `index` match the whole text? 1,
 * 0. `many`: which members of a regex set do? Their number, and *hits are their positions in the set, ascending and valid until it
 * is called again; < 0 when that cannot be said in bounded memory: then they are asked one by one. `replace`: the text with every
 * match of regex `index` replaced by `by`, in which \1 to \9 stand for groups; its length, < 0 when it does not fit in `cap`. */
typedef struct fgw_regex_calls {
    int (*one)(fgw_regexes *regexes, uint32_t index, const char *text, size_t n);
    long (*many)(fgw_regexes *regexes, uint32_t set, const char *text, size_t n, const uint32_t **hits);
    long (*replace)(fgw_regexes *regexes, uint32_t index, const char *text, size_t n, const char *by, size_t by_len, char *to,
                    size_t cap);
} fgw_regex_calls;

/* What the matcher looks at. The pointers may point anywhere but are never NULL; field offsets count from base. Fields marked
 * FGW_FIELD_HIDDEN or FGW_FIELD_LISTED are not seen: no rule may depend on what does not reach the upstream. */
typedef struct fgw_route_request {
    const char *base;
    const fgw_field *fields;
    uint32_t field_count;
    uint32_t host_len;
    const char *host;      /* authority without port, any case; statement D1 */
    const char *authority; /* as sent */
    const char *path;      /* normalised, without query */
    const char *raw_path;  /* ":path": normalised path, '?' and query */
    const char *query;     /* without '?' */
    const char *method;
    const char *scheme;
    uint32_t authority_len;
    uint32_t path_len;
    uint32_t raw_path_len;
    uint32_t query_len;
    uint32_t method_len;
    uint32_t scheme_len;
} fgw_route_request;

enum fgw_route_verdict {
    FGW_ROUTE_NO_VHOST = 1, /* 404 */
    FGW_ROUTE_NO_RULE = 2,  /* 404, result.vhost is set */
    FGW_ROUTE_MATCH = 3,
    FGW_ROUTE_REQUIRE_TLS = 4, /* result.vhost wants https: 301 (M1); an ACME challenge that a rule matches is let through */
};

typedef struct fgw_route_result {
    uint32_t verdict; /* enum fgw_route_verdict */
    uint32_t vhost;   /* FGW_NONE without one */
    uint32_t rule;
    uint32_t action;
} fgw_route_result;

/* `secure`: the connection is TLS (or a trusted hop said so). Fills *out and returns its verdict. Never fails: a checked
 * image and any request have an answer; with FGW_NONE for a table it is FGW_ROUTE_NO_VHOST. */
int fgw_route_match(const void *image, uint32_t route_table, const fgw_route_request *req, int secure, fgw_regexes *regexes,
                    const fgw_regex_calls *calls, fgw_route_result *out);
/* Whose a request's host is, on a connection that came by a chain of kind HTTP (requirement G5). */
enum fgw_request_owner {
    FGW_OWNER_SELF = 1,  /* the chain's own, or the chain is not one that ends TLS: its own route table */
    FGW_OWNER_TWIN = 2,  /* another chain with the same identity: that one's route table */
    FGW_OWNER_OTHER = 3, /* another chain, with other certificates or other demands on clients: misdirected, 421 */
    FGW_OWNER_NONE = 4,  /* no chain of the listener: 404 */
};
/* The route table that decides on a request for `host` (any case, without port), and whose it is. *route_table is FGW_NONE
 * for the last two, so that a matcher that is asked all the same finds nothing. */
int fgw_request_table(const void *image, uint32_t listener, uint32_t chain, const char *host, size_t n, uint32_t *route_table);
/* Index of the listener with this name; FGW_NONE when the image has none. */
uint32_t fgw_listener_find(const void *image, const char *name, size_t n);
/* Index of the chain with this name among those of a listener; FGW_NONE when there is none. */
uint32_t fgw_chain_find(const void *image, uint32_t listener, const char *name, size_t n);
/* The chain for a server name (any case, n 0: none was sent): exact, longest wildcard, default (P1); FGW_NONE. */
uint32_t fgw_chain_of_sni(const void *image, uint32_t listener, const char *sni, size_t n);
/* The virtual host alone (D2); FGW_NONE. */
uint32_t fgw_vhost_find(const void *image, uint32_t route_table, const char *host, size_t n);
/* Does one of these predicates hold? Those of corsPolicy's origins. */
int fgw_any_predicate(const void *image, fgw_table predicates, const fgw_route_request *req, fgw_regexes *regexes,
                      const fgw_regex_calls *calls);
/* For explain: which condition of `rule` fails first. -1: none (the rule matches), 0: the path, k >= 1: predicate k - 1. */
int fgw_rule_check(const void *image, uint32_t rule, const fgw_route_request *req, fgw_regexes *regexes,
                   const fgw_regex_calls *calls);
/* cffi:end */

#endif
