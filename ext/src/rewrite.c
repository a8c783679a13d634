/* Locations of redirects and rewritten paths. */
#include "fgw/rewrite.h"
#include "fgw/text.h"

#include "image_read.h"

/* What a regex may make of a path: a request line of any upstream is shorter. */
enum { REGEX_PATH_MAX = 16384 };

typedef struct writer {
    char *to;
    size_t n;
} writer;

static void put(writer *w, const char *p, size_t n) {
    memcpy(w->to + w->n, p, n);
    w->n += n;
}

static void put_span(writer *w, const void *image, fgw_span s) { put(w, fgw_strings_of(image) + s.off, s.len); }

static const fgw_img_rule *rule_of(const void *image, uint32_t rule) { return FGW_TABLE(image, rules, fgw_img_rule) + rule; }

static const fgw_img_action *action_of(const void *image, uint32_t rule) {
    return FGW_TABLE(image, actions, fgw_img_action) + rule_of(image, rule)->action;
}

static int is_text(const char *p, size_t n, const char *text) { return n == strlen(text) && memcmp(p, text, n) == 0; }

/* --- paths --- */

/* Bytes of the request's path that the rule's condition is about. A rule without one matches the prefix "/". */
static size_t matched_len(const void *image, const fgw_img_rule *rule, const fgw_route_request *req) {
    const char *want = fgw_strings_of(image) + rule->path.off;
    size_t n = rule->path.len;
    switch (rule->path_kind) {
    case FGW_PATH_ANY: return req->path_len > 0 && req->path[0] == '/';
    case FGW_PATH_PREFIX: return n;
    case FGW_PATH_SEGMENT_PREFIX: return n > 0 && want[n - 1] == '/' ? n - 1 : n;
    default: return req->path_len;
    }
}

/* `text` in place of the first `matched` bytes of the path. It begins with one slash, and where `text` ends with one, what is left
 * of the path brings no second: "//" at the begin of a path is another host to many a reader. */
static void put_path(writer *w, const void *image, fgw_span text, const fgw_route_request *req, size_t matched) {
    const char *rest = req->path + matched;
    size_t left = req->path_len - matched;
    const size_t begin = w->n;
    if (text.len == 0 || fgw_strings_of(image)[text.off] != '/')
        w->to[w->n++] = '/';
    put_span(w, image, text);
    if (left > 0 && *rest == '/' && w->n > begin && w->to[w->n - 1] == '/') {
        rest++;
        left--;
    }
    put(w, rest, left);
}

static void put_query(writer *w, const fgw_route_request *req) {
    put(w, req->raw_path + req->path_len, req->raw_path_len - req->path_len);
}

size_t fgw_rewrite_path_max(const void *image, uint32_t rule, const fgw_route_request *req) {
    const uint32_t index = action_of(image, rule)->policy;
    if (index == FGW_NONE)
        return 0;
    const fgw_img_route_policy *policy = FGW_TABLE(image, route_policies, fgw_img_route_policy) + index;
    switch (policy->rewrite) {
    case FGW_REWRITE_PATH: return (size_t)req->raw_path_len + policy->rewrite_text.len + 2;
    case FGW_REWRITE_REGEX: return REGEX_PATH_MAX + (size_t)req->raw_path_len;
    default: return 0;
    }
}

static long replaced(const void *image, const fgw_img_route_policy *policy, const fgw_route_request *req, fgw_regexes *regexes,
                     const fgw_regex_calls *calls, char *to, size_t cap) {
    const fgw_span text = policy->rewrite_text;
    return calls->replace(regexes, policy->regex, req->path, req->path_len, fgw_strings_of(image) + text.off, text.len, to, cap);
}

long fgw_rewrite_path(const void *image, uint32_t rule, const fgw_route_request *req, fgw_regexes *regexes,
                      const fgw_regex_calls *calls, char *to, size_t cap, size_t *path_len) {
    const uint32_t index = action_of(image, rule)->policy;
    const size_t query = req->raw_path_len - req->path_len;
    writer w = {to, 0};
    if (index == FGW_NONE)
        return 0;
    const fgw_img_route_policy *policy = FGW_TABLE(image, route_policies, fgw_img_route_policy) + index;
    if (policy->rewrite == FGW_REWRITE_PATH) {
        if (cap < fgw_rewrite_path_max(image, rule, req))
            return -1;
        put_path(&w, image, policy->rewrite_text, req, matched_len(image, rule_of(image, rule), req));
    } else if (policy->rewrite == FGW_REWRITE_REGEX) {
        if (cap < query + 1)
            return -1;
        const long n = replaced(image, policy, req, regexes, calls, to + 1, cap - query - 1);
        if (n <= 0)
            return n; /* an empty path is no path (M14) */
        w.n = (size_t)n;
        if (to[1] == '/')
            memmove(to, to + 1, w.n);
        else {
            to[0] = '/';
            w.n++;
        }
    } else
        return 0;
    *path_len = w.n;
    put_query(&w, req);
    return (long)w.n;
}

/* --- redirects --- */

size_t fgw_redirect_location_max(const void *image, uint32_t rule, const fgw_route_request *req) {
    const fgw_img_answer *answer = FGW_TABLE(image, answers, fgw_img_answer) + action_of(image, rule)->answer;
    return (size_t)req->scheme_len + req->authority_len + req->raw_path_len + answer->text.len + answer->scheme.len +
           answer->authority.len + 16; /* "://", ":65535", '/' */
}

/* Where the port of an authority begins, its end when it has none. */
static size_t port_at(const char *authority, size_t n) {
    for (size_t i = n; i > 0; i--) {
        if (authority[i - 1] == ':')
            return i - 1;
        if (authority[i - 1] == ']')
            break;
    }
    return n;
}

/* The request's host, without its port where another one follows, or where it was the default of a scheme that changes (M6). */
static void put_request_host(writer *w, const fgw_route_request *req, const char *scheme, size_t scheme_len, int port_follows) {
    const size_t at = port_at(req->authority, req->authority_len);
    const char *port = req->authority + at;
    const size_t port_len = req->authority_len - at;
    const int same = scheme_len == req->scheme_len && memcmp(scheme, req->scheme, scheme_len) == 0;
    const int https = is_text(req->scheme, req->scheme_len, "https");
    const int is_default = is_text(port, port_len, https ? ":443" : ":80");
    put(w, req->authority, port_follows || (!same && is_default) ? at : req->authority_len);
}

static void put_port(writer *w, uint32_t port) {
    char text[1 + FGW_DECIMAL_MAX] = ":";
    put(w, text, 1 + fgw_write_decimal(text + 1, port));
}

static void put_location_path(writer *w, const void *image, const fgw_img_answer *answer, const fgw_img_rule *rule,
                              const fgw_route_request *req) {
    if (answer->new_path == FGW_PATH_KEPT) {
        put(w, req->raw_path, req->raw_path_len);
        return;
    }
    const int prefix = answer->new_path == FGW_PATH_PREFIX_REPLACED;
    put_path(w, image, answer->text, req, prefix ? matched_len(image, rule, req) : req->path_len);
    if (prefix || memchr(fgw_strings_of(image) + answer->text.off, '?', answer->text.len) == NULL)
        put_query(w, req); /* M8 */
}

size_t fgw_redirect_location(const void *image, uint32_t rule, const fgw_route_request *req, char *to) {
    const fgw_img_answer *answer = FGW_TABLE(image, answers, fgw_img_answer) + action_of(image, rule)->answer;
    const char *scheme = answer->scheme.len > 0 ? fgw_strings_of(image) + answer->scheme.off : req->scheme;
    const size_t scheme_len = answer->scheme.len > 0 ? answer->scheme.len : req->scheme_len;
    const int usual = (answer->port == 80 && is_text(scheme, scheme_len, "http")) ||
                      (answer->port == 443 && is_text(scheme, scheme_len, "https"));
    const uint32_t port = usual ? 0 : answer->port; /* M7 */
    writer w = {to, 0};
    put(&w, scheme, scheme_len);
    put(&w, "://", 3);
    if (answer->authority.len > 0)
        put_span(&w, image, answer->authority);
    else
        put_request_host(&w, req, scheme, scheme_len, port != 0);
    if (port != 0)
        put_port(&w, port);
    put_location_path(&w, image, answer, rule_of(image, rule), req);
    return w.n;
}
