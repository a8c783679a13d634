/* The matcher: host hash -> virtual host -> path trie -> a short list of candidate rules. Everything it follows was checked once by
 * fgw_image_check(). Statement numbers (D2, G6, ...) are those of Istio's observable behaviour that fgw/route.h refers to. */
#include "fgw/route.h"
#include "image_read.h"
#include "request_read.h"

/* A repeated header that is joined for one comparison; heads are smaller than this. */
enum { JOIN_MAX = 65536 };
/* Where ACME's http-01 challenge is answered (RFC 8555 section 8.3). */
static const char ACME_CHALLENGE[] = "/.well-known/acme-challenge/";

/* What a predicate looks at. */
typedef struct text {
    const char *p;
    size_t n;
    int found; /* 0 absent, 1 in place at p, 2 a header that occurs more than once: to be joined */
} text;

typedef struct context {
    const void *image;
    const fgw_route_request *req;
    fgw_regexes *regexes;
    const fgw_regex_calls *calls;
} context;

/* --- hosts --- */

/* Lower-case copy, eight bytes at a time. */
static void copy_lower(char *to, const char *from, size_t n) {
    const uint64_t ones = 0x0101010101010101ull;
    for (; n >= 8; to += 8, from += 8, n -= 8) {
        uint64_t w, low;
        memcpy(&w, from, 8);
        low = w & (0x7f * ones);
        uint64_t upper = ((low + (0x80 - 'A') * ones) ^ (low + (0x7f - 'Z') * ones)) & ~w & (0x80 * ones);
        w |= upper >> 2;
        memcpy(to, &w, 8);
    }
    for (size_t i = 0; i < n; i++)
        to[i] = (char)fgw_lower((uint8_t)from[i]);
}

/* Longest wildcard first: one pass from the right hashes every suffix, the last hit is the longest. `whole`: tail is the entire
 * host; a wildcard needs at least one more character than its suffix (D2). */
static const fgw_img_slot *find_suffix(const void *image, const fgw_img_hosts *hosts, const char *tail, size_t n, int whole) {
    const fgw_img_slot *found = NULL;
    const size_t most = whole ? n - 1 : n;
    const size_t limit = most < hosts->suffix_max ? most : hosts->suffix_max;
    uint64_t h = 0;
    for (size_t len = 1; len <= limit; len++) {
        const char *suffix = tail + n - len;
        h = fgw_hash_step(h, (uint8_t)*suffix);
        if (hosts->label_suffixes_only && *suffix != '.')
            continue;
        if (!(hosts->suffix_lengths[len / 64] >> (len % 64) & 1))
            continue;
        const fgw_img_slot *slot = fgw_slot_find(image, hosts->suffix, fgw_hash_end(h), suffix, len);
        if (slot != NULL)
            found = slot;
    }
    return found;
}

static void fetch_ahead(const void *image, const fgw_img_slot *slot) {
    __builtin_prefetch(FGW_TABLE(image, vhosts, fgw_img_vhost) + slot->value);
    __builtin_prefetch(FGW_TABLE(image, nodes, fgw_img_node) + slot->value);
    if (slot->hint != FGW_NONE)
        __builtin_prefetch(FGW_TABLE(image, rules, fgw_img_rule) + slot->hint);
}

/* The slot of the exact name or of the longest wildcard; NULL: the default counts. */
static const fgw_img_slot *find_host(const void *image, const fgw_img_hosts *hosts, const char *host, size_t n) {
    char tail[FGW_HOST_MAX + 1];
    const fgw_img_slot *slot = NULL;
    const int whole = n <= FGW_HOST_MAX;
    const size_t kept = whole ? n : FGW_HOST_MAX;
    if (kept == 0)
        return NULL;
    copy_lower(tail, host + n - kept, kept);
    if (whole)
        slot = fgw_slot_find(image, hosts->exact, fgw_hash_forward(tail, kept), tail, kept);
    if (slot == NULL && hosts->suffix.count > 0)
        slot = find_suffix(image, hosts, tail, kept, whole);
    return slot;
}

uint32_t fgw_vhost_find(const void *image, uint32_t route_table, const char *host, size_t n) {
    const fgw_img_route_table *table = FGW_TABLE(image, route_tables, fgw_img_route_table) + route_table;
    const fgw_img_slot *slot = find_host(image, &table->hosts, host, n);
    if (slot == NULL)
        return table->hosts.default_value;
    fetch_ahead(image, slot);
    return slot->value;
}

uint32_t fgw_chain_of_sni(const void *image, uint32_t listener, const char *sni, size_t n) {
    const uint32_t table = FGW_TABLE(image, listeners, fgw_img_listener)[listener].sni;
    if (table == FGW_NONE)
        return FGW_NONE;
    const fgw_img_hosts *hosts = &FGW_TABLE(image, sni_tables, fgw_img_sni_table)[table].hosts;
    const fgw_img_slot *slot = find_host(image, hosts, sni, n);
    return slot == NULL ? hosts->default_value : slot->value;
}

int fgw_request_table(const void *image, uint32_t listener, uint32_t chain, const char *host, size_t n, uint32_t *route_table) {
    const fgw_img_chain *chains = FGW_TABLE(image, chains, fgw_img_chain), *own = chains + chain;
    *route_table = own->route_table;
    if (own->tls != FGW_TLS_TERMINATE)
        return FGW_OWNER_SELF;
    const uint32_t owner = fgw_chain_of_sni(image, listener, host, n);
    if (owner == chain)
        return FGW_OWNER_SELF;
    *route_table = FGW_NONE;
    if (owner == FGW_NONE)
        return FGW_OWNER_NONE;
    const fgw_img_chain *other = chains + owner;
    if (other->kind != FGW_CHAIN_HTTP || other->tls != FGW_TLS_TERMINATE || other->identity != own->identity)
        return FGW_OWNER_OTHER;
    *route_table = other->route_table;
    return FGW_OWNER_TWIN;
}

/* Bytewise, as Python sorts: a name before its longer continuations. */
static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len) {
    const int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

uint32_t fgw_chain_find(const void *image, uint32_t listener, const char *name, size_t n) {
    const fgw_table range = FGW_TABLE(image, listeners, fgw_img_listener)[listener].chains;
    const fgw_img_chain *chains = FGW_TABLE(image, chains, fgw_img_chain) + range.off;
    for (uint32_t low = 0, high = range.count; low < high;) {
        const uint32_t middle = low + (high - low) / 2;
        const fgw_span s = chains[middle].name;
        const int order = compare_names(fgw_strings_of(image) + s.off, s.len, name, n);
        if (order == 0)
            return range.off + middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return FGW_NONE;
}

uint32_t fgw_listener_find(const void *image, const char *name, size_t n) {
    const fgw_img_listener *listeners = FGW_TABLE(image, listeners, fgw_img_listener);
    for (uint32_t i = 0; i < fgw_header_of(image)->listeners.count; i++) {
        const fgw_span s = listeners[i].name;
        if (s.len == n && memcmp(fgw_strings_of(image) + s.off, name, n) == 0)
            return i;
    }
    return FGW_NONE;
}

/* --- what predicates look at --- */

static int is_field(const context *c, const fgw_field *f, uint8_t id, fgw_span name) {
    return fgw_is_named(c->req, f, id, fgw_strings_of(c->image) + name.off, name.len);
}

static text header_text(const context *c, uint8_t id, fgw_span name) {
    text t = {"", 0, 0};
    for (uint32_t i = 0; i < c->req->field_count; i++) {
        const fgw_field *f = &c->req->fields[i];
        if (!is_field(c, f, id, name))
            continue;
        if (t.found)
            return (text){"", 0, 2};
        t = (text){c->req->base + f->value_off, f->value_len, 1};
    }
    return t;
}

/* All values of a repeated header joined with "," (G6). Length, or -1 when they do not fit. */
static long join_header(const context *c, uint8_t id, fgw_span name, char *to, size_t cap) {
    size_t n = 0;
    int first = 1;
    for (uint32_t i = 0; i < c->req->field_count; i++) {
        const fgw_field *f = &c->req->fields[i];
        if (!is_field(c, f, id, name))
            continue;
        if (n + 1 + f->value_len > cap)
            return -1;
        if (!first)
            to[n++] = ',';
        memcpy(to + n, c->req->base + f->value_off, f->value_len);
        n += f->value_len;
        first = 0;
    }
    return (long)n;
}

static text query_text(const fgw_route_request *req, const char *name, size_t n) {
    size_t length;
    const char *value = fgw_query_value(req, name, n, &length);
    return value ? (text){value, length, 1} : (text){"", 0, 0};
}

static text text_of(const context *c, uint8_t target, uint8_t header_id, fgw_span name) {
    const fgw_route_request *r = c->req;
    switch (target) {
    case FGW_ON_PATH: return (text){r->path, r->path_len, 1};
    case FGW_ON_METHOD: return (text){r->method, r->method_len, 1};
    case FGW_ON_SCHEME: return (text){r->scheme, r->scheme_len, 1};
    case FGW_ON_AUTHORITY: return (text){r->authority, r->authority_len, 1};
    case FGW_ON_RAW_PATH: return (text){r->raw_path, r->raw_path_len, 1};
    case FGW_ON_HEADER: return header_text(c, header_id, name);
    case FGW_ON_QUERY: return query_text(r, fgw_strings_of(c->image) + name.off, name.len);
    default: return (text){"", 0, 0};
    }
}

/* --- rules --- */

static int op_holds(const context *c, const fgw_img_predicate *p, const char *text, size_t n) {
    const char *want = fgw_strings_of(c->image) + p->value.off;
    switch (p->op) {
    case FGW_OP_EXACT: return n == p->value.len && memcmp(text, want, n) == 0;
    case FGW_OP_PREFIX: return n >= p->value.len && memcmp(text, want, p->value.len) == 0;
    case FGW_OP_REGEX: return c->calls->one(c->regexes, p->regex, text, n);
    default: return 1;
    }
}

/* A value too long to join satisfies neither a condition nor its inversion. */
static __attribute__((noinline)) int joined_holds(const context *c, const fgw_img_predicate *p) {
    char joined[JOIN_MAX];
    const long n = join_header(c, p->header_id, p->name, joined, sizeof joined);
    return n >= 0 && op_holds(c, p, joined, (size_t)n) != p->invert;
}

static int predicate_holds(const context *c, const fgw_img_predicate *p) {
    if (p->target == FGW_ON_NEVER)
        return 0;
    const text t = text_of(c, p->target, p->header_id, p->name);
    if (p->op == FGW_OP_PRESENT)
        return (t.found != 0) != p->invert;
    if (t.found == 2)
        return joined_holds(c, p);
    if (!t.found && !p->invert) /* absent is "" under inversion only (G8) */
        return 0;
    return op_holds(c, p, t.p, t.n) != p->invert;
}

/* First predicate that fails, counted from 1; 0 when all hold. */
static uint32_t failing_predicate(const context *c, const fgw_img_rule *rule) {
    const fgw_img_predicate *p = FGW_TABLE(c->image, predicates, fgw_img_predicate) + rule->predicates;
    for (uint32_t i = 0; i < rule->predicate_count; i++)
        if (!predicate_holds(c, &p[i]))
            return i + 1;
    return 0;
}

/* Everything that the trie has not already decided. */
static int candidate_holds(const context *c, uint32_t index) {
    const fgw_img_rule *rule = FGW_TABLE(c->image, rules, fgw_img_rule) + index;
    if (rule->predicate_count > 0 && failing_predicate(c, rule) != 0)
        return 0;
    return rule->path_kind != FGW_PATH_REGEX || c->calls->one(c->regexes, rule->regex, c->req->path, c->req->path_len);
}

static uint32_t scan_one_by_one(const context *c, const fgw_img_list *list, uint32_t best) {
    const uint32_t *rules = FGW_TABLE(c->image, candidates, uint32_t) + list->first;
    for (uint32_t i = 0; i < list->count && rules[i] < best; i++)
        if (candidate_holds(c, rules[i]))
            return rules[i];
    return best;
}

/* What neither the trie nor the set has decided. */
static int member_holds(const context *c, const fgw_img_regex_set *set, uint32_t index) {
    const fgw_img_rule *rule = FGW_TABLE(c->image, rules, fgw_img_rule) + index;
    const fgw_img_predicate *p = FGW_TABLE(c->image, predicates, fgw_img_predicate) + rule->predicates;
    uint32_t decided;
    fgw_set_regex(c->image, set, rule, &decided);
    for (uint32_t i = 0; i < rule->predicate_count; i++)
        if (i != decided && !predicate_holds(c, &p[i]))
            return 0;
    return rule->path_kind != FGW_PATH_REGEX || set->target == FGW_ON_PATH ||
           c->calls->one(c->regexes, rule->regex, c->req->path, c->req->path_len);
}

static uint32_t scan_members(const context *c, const fgw_img_list *list, const char *text, size_t n, uint32_t best) {
    const fgw_img_regex_set *set = FGW_TABLE(c->image, regex_sets, fgw_img_regex_set) + list->regex_set;
    const uint32_t *rules = FGW_TABLE(c->image, candidates, uint32_t) + list->first, *hits;
    const long found = c->calls->many(c->regexes, list->regex_set, text, n, &hits);
    if (found < 0)
        return scan_one_by_one(c, list, best);
    for (long i = 0; i < found && rules[hits[i]] < best; i++)
        if (member_holds(c, set, rules[hits[i]]))
            return rules[hits[i]];
    return best;
}

static __attribute__((noinline)) uint32_t scan_joined(const context *c, const fgw_img_list *list, const fgw_img_regex_set *set,
                                                      uint32_t best) {
    char joined[JOIN_MAX];
    const long n = join_header(c, set->header_id, set->name, joined, sizeof joined);
    return n < 0 ? best : scan_members(c, list, joined, (size_t)n, best);
}

/* One condition of every rule of the list is decided in one pass; what is left are the other conditions of those that hold. */
static uint32_t scan_set(const context *c, const fgw_img_list *list, uint32_t best) {
    const fgw_img_regex_set *set = FGW_TABLE(c->image, regex_sets, fgw_img_regex_set) + list->regex_set;
    if (list->count == 0 || FGW_TABLE(c->image, candidates, uint32_t)[list->first] > best)
        return best;
    const text t = text_of(c, set->target, set->header_id, set->name);
    if (!t.found)
        return best;
    return t.found == 2 ? scan_joined(c, list, set, best) : scan_members(c, list, t.p, t.n, best);
}

/* The smaller of `best` and the first rule of the list that matches. */
static uint32_t scan(const context *c, const fgw_img_list *list, uint32_t best) {
    return list->regex_set == FGW_NONE ? scan_one_by_one(c, list, best) : scan_set(c, list, best);
}

static uint32_t scan_group(const context *c, const fgw_img_group *group, uint32_t best) {
    char joined[FGW_GROUP_KEY_MAX];
    text t = text_of(c, group->target, group->header_id, group->name);
    if (!t.found)
        return best;
    if (t.found == 2) {
        const long n = join_header(c, group->header_id, group->name, joined, sizeof joined);
        if (n < 0)
            return best;
        t = (text){joined, (size_t)n, 1};
    }
    const fgw_img_slot *slot = fgw_slot_find(c->image, group->slots, fgw_hash_forward(t.p, t.n), t.p, t.n);
    if (slot == NULL)
        return best;
    if (!(slot->value & FGW_SINGLE))
        return scan(c, FGW_TABLE(c->image, lists, fgw_img_list) + slot->value, best);
    const uint32_t rule = slot->value & ~(uint32_t)FGW_SINGLE;
    return rule < best && candidate_holds(c, rule) ? rule : best;
}

static uint32_t scan_chain(const context *c, uint32_t ref, uint32_t best) {
    while (ref != FGW_NONE) {
        if (ref & FGW_SINGLE) {
            const uint32_t rule = ref & ~(uint32_t)FGW_SINGLE;
            return rule < best && candidate_holds(c, rule) ? rule : best;
        }
        const fgw_img_list *list = FGW_TABLE(c->image, lists, fgw_img_list) + ref;
        best = scan(c, list, best);
        if (list->group != FGW_NONE)
            best = scan_group(c, FGW_TABLE(c->image, groups, fgw_img_group) + list->group, best);
        ref = list->next;
    }
    return best;
}

/* --- paths --- */

static uint32_t popcount(uint64_t w) {
    w -= (w >> 1) & 0x5555555555555555ull;
    w = (w & 0x3333333333333333ull) + ((w >> 2) & 0x3333333333333333ull);
    return (uint32_t)((((w + (w >> 4)) & 0x0f0f0f0f0f0f0f0full) * 0x0101010101010101ull) >> 56);
}

static inline int label_is(const char *strings, const fgw_img_node *node, const char *path, int fold) {
    const char *label = node->label_len <= FGW_LABEL_INLINE ? (const char *)node->label : strings + node->label_off;
    return fold ? fgw_equal_folded(path, label, node->label_len) : memcmp(path, label, node->label_len) == 0;
}

/* The list of the deepest node on the path. */
static inline uint32_t walk(const void *image, uint32_t root, const char *path, size_t n, int fold) {
    const fgw_img_node *nodes = FGW_TABLE(image, nodes, fgw_img_node), *node = nodes + root;
    const char *strings = fgw_strings_of(image);
    uint32_t list = FGW_NONE;
    for (;;) {
        if (node->label_len > n || !label_is(strings, node, path, fold))
            return list;
        path += node->label_len;
        n -= node->label_len;
        if (n == 0)
            return node->at_end;
        list = node->below;
        const uint8_t byte = fold ? fgw_lower((uint8_t)*path) : (uint8_t)*path;
        const uint64_t word = node->children[byte / 64], bit = 1ull << (byte % 64);
        if (!(word & bit))
            return list;
        node = nodes + node->first_child + node->rank[byte / 64] + popcount(word & (bit - 1));
    }
}

static uint32_t find_rule(const context *c, uint32_t index, const fgw_img_vhost *vhost) {
    const fgw_route_request *req = c->req;
    uint32_t best = scan_chain(c, walk(c->image, index, req->path, req->path_len, 0), FGW_NONE);
    if (vhost->root_fold != FGW_NONE)
        best = scan_chain(c, walk(c->image, vhost->root_fold, req->path, req->path_len, 1), best);
    return best;
}

/* A host that redirects to https could not prove itself to a certificate authority: its challenge must be answered in plain text. */
static int is_challenge(const fgw_route_request *req) {
    const size_t n = sizeof ACME_CHALLENGE - 1;
    return req->path_len > n && memcmp(req->path, ACME_CHALLENGE, n) == 0;
}

int fgw_route_match(const void *image, uint32_t route_table, const fgw_route_request *req, int secure, fgw_regexes *regexes,
                    const fgw_regex_calls *calls, fgw_route_result *out) {
    const context c = {image, req, regexes, calls};
    *out = (fgw_route_result){FGW_ROUTE_NO_VHOST, FGW_NONE, FGW_NONE, FGW_NONE};
    if (route_table == FGW_NONE)
        return FGW_ROUTE_NO_VHOST;
    out->vhost = fgw_vhost_find(image, route_table, req->host, req->host_len);
    if (out->vhost == FGW_NONE)
        return FGW_ROUTE_NO_VHOST;
    const fgw_img_vhost *vhost = FGW_TABLE(image, vhosts, fgw_img_vhost) + out->vhost;
    const int redirects = (vhost->flags & FGW_VHOST_REQUIRE_TLS) && !secure;
    if (redirects && !is_challenge(req))
        return (int)(out->verdict = FGW_ROUTE_REQUIRE_TLS);
    out->rule = find_rule(&c, out->vhost, vhost);
    if (out->rule == FGW_NONE)
        return (int)(out->verdict = redirects ? FGW_ROUTE_REQUIRE_TLS : FGW_ROUTE_NO_RULE);
    out->action = FGW_TABLE(image, rules, fgw_img_rule)[out->rule].action;
    return (int)(out->verdict = FGW_ROUTE_MATCH);
}

int fgw_any_predicate(const void *image, fgw_table predicates, const fgw_route_request *req, fgw_regexes *regexes,
                      const fgw_regex_calls *calls) {
    const context c = {image, req, regexes, calls};
    const fgw_img_predicate *p = FGW_TABLE(image, predicates, fgw_img_predicate) + predicates.off;
    for (uint32_t i = 0; i < predicates.count; i++)
        if (predicate_holds(&c, &p[i]))
            return 1;
    return 0;
}

/* --- explain --- */

static int path_starts(const char *path, size_t n, const char *want, size_t want_len, int fold) {
    return n >= want_len && (fold ? fgw_equal_folded(path, want, want_len) : memcmp(path, want, want_len) == 0);
}

static int path_holds(const context *c, const fgw_img_rule *rule) {
    const char *path = c->req->path, *want = fgw_strings_of(c->image) + rule->path.off;
    const size_t n = c->req->path_len;
    size_t len = rule->path.len;
    switch (rule->path_kind) {
    case FGW_PATH_ANY: return 1;
    case FGW_PATH_EXACT: return n == len && path_starts(path, n, want, len, rule->ignore_case);
    case FGW_PATH_PREFIX: return path_starts(path, n, want, len, rule->ignore_case);
    case FGW_PATH_REGEX: return c->calls->one(c->regexes, rule->regex, path, n);
    default: break;
    }
    if (len > 0 && want[len - 1] == '/') /* segment prefix "/foo/" means "/foo" */
        len--;
    return path_starts(path, n, want, len, rule->ignore_case) && (n == len || path[len] == '/');
}

int fgw_rule_check(const void *image, uint32_t rule, const fgw_route_request *req, fgw_regexes *regexes,
                   const fgw_regex_calls *calls) {
    const context c = {image, req, regexes, calls};
    const fgw_img_rule *r = FGW_TABLE(image, rules, fgw_img_rule) + rule;
    if (!path_holds(&c, r))
        return 0;
    const uint32_t k = failing_predicate(&c, r);
    return k == 0 ? -1 : (int)k;
}
