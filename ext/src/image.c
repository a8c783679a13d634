/* The checker of the route image: one walk over everything, so that no reader needs a bounds check afterwards. The image comes
 * from a process of the same gateway, but a damaged one must be refused, never followed. */
#include "fgw/cidr.h"
#include "fgw/state.h"
#include "image_read.h"

enum { KNOWN_SETS = 256 };

typedef struct checker {
    const char *image;
    const fgw_image_header *h;
    fgw_span known_sets[KNOWN_SETS]; /* sets of networks that have been looked at: a large one is often that of many lists */
} checker;

static int span_ok(const checker *c, fgw_span s) { return (uint64_t)s.off + s.len <= c->h->strings.count; }

static int range_ok(fgw_table range, fgw_table in) { return (uint64_t)range.off + range.count <= in.count; }

static int index_ok(uint32_t i, fgw_table in) { return i < in.count; }

static int index_or_none(uint32_t i, fgw_table in) { return i == FGW_NONE || i < in.count; }

static int table_ok(fgw_table t, uint64_t record_bytes, uint64_t total) {
    return t.off % 8 == 0 && t.off >= sizeof(fgw_image_header) && t.off + t.count * record_bytes <= total;
}

static int tables_ok(const fgw_image_header *h, uint64_t n) {
    return table_ok(h->listeners, sizeof(fgw_img_listener), n) && table_ok(h->chains, sizeof(fgw_img_chain), n) &&
           table_ok(h->sni_tables, sizeof(fgw_img_sni_table), n) && table_ok(h->tls_contexts, sizeof(fgw_img_tls_context), n) &&
           table_ok(h->upstream_tls, sizeof(fgw_img_upstream_tls), n) && table_ok(h->texts, sizeof(fgw_span), n) &&
           table_ok(h->route_tables, sizeof(fgw_img_route_table), n) &&
           table_ok(h->vhosts, sizeof(fgw_img_vhost), n) && table_ok(h->rules, sizeof(fgw_img_rule), n) &&
           table_ok(h->predicates, sizeof(fgw_img_predicate), n) && table_ok(h->actions, sizeof(fgw_img_action), n) &&
           table_ok(h->destinations, sizeof(fgw_img_destination), n) && table_ok(h->answers, sizeof(fgw_img_answer), n) &&
           table_ok(h->route_policies, sizeof(fgw_img_route_policy), n) && table_ok(h->retries, sizeof(fgw_img_retry), n) &&
           table_ok(h->cors, sizeof(fgw_img_cors), n) && table_ok(h->mirrors, sizeof(fgw_img_mirror), n) &&
           table_ok(h->pages, sizeof(fgw_img_page), n) && table_ok(h->guards, sizeof(fgw_img_guard), n) &&
           table_ok(h->source_lists, sizeof(fgw_img_source_list), n) &&
           table_ok(h->rate_limits, sizeof(fgw_img_rate_limit), n) && table_ok(h->rate_keys, sizeof(fgw_img_rate_key), n) &&
           table_ok(h->edits, sizeof(fgw_img_edit), n) &&
           table_ok(h->parts, sizeof(fgw_img_part), n) && table_ok(h->clusters, sizeof(fgw_img_cluster), n) &&
           table_ok(h->endpoints, sizeof(fgw_img_endpoint), n) && table_ok(h->policies, sizeof(fgw_img_policy), n) &&
           table_ok(h->ring_points, sizeof(fgw_img_ring_point), n) &&
           table_ok(h->maglev_places, sizeof(fgw_img_maglev_place), n) && table_ok(h->regexes, sizeof(fgw_img_regex), n) &&
           table_ok(h->origins, sizeof(fgw_img_origin), n) && table_ok(h->slots, sizeof(fgw_img_slot), n) &&
           table_ok(h->nodes, sizeof(fgw_img_node), n) && table_ok(h->lists, sizeof(fgw_img_list), n) &&
           table_ok(h->groups, sizeof(fgw_img_group), n) && table_ok(h->regex_sets, sizeof(fgw_img_regex_set), n) &&
           table_ok(h->candidates, sizeof(uint32_t), n) && table_ok(h->strings, 1, n) && h->rules.count < FGW_SINGLE &&
           h->lists.count < FGW_SINGLE;
}

static int text_ok(const checker *c, const fgw_span *text) { return span_ok(c, *text); }

static int in_range(uint32_t index, fgw_table range) { return index >= range.off && index - range.off < range.count; }

/* A list reference; `below` bounds list indexes, which is what makes every chain end. */
static int list_ref_ok(const checker *c, uint32_t ref, uint32_t below) {
    if (ref == FGW_NONE)
        return 1;
    if (ref & FGW_SINGLE)
        return index_ok(ref & ~(uint32_t)FGW_SINGLE, c->h->rules);
    return ref < below;
}

static int slot_key_ok(const checker *c, const fgw_img_slot *s) {
    return s->key_len <= FGW_SLOT_INLINE || span_ok(c, (fgw_span){s->key_off, s->key_len});
}

/* A host table: keys, values (places in `values`), hints, and an empty slot at which a probe ends. */
static int host_table_ok(const checker *c, fgw_table t, fgw_table values) {
    if (!range_ok(t, c->h->slots))
        return 0;
    const fgw_img_slot *slots = FGW_TABLE(c->image, slots, fgw_img_slot) + t.off;
    uint32_t empty = 0;
    for (uint32_t i = 0; i < t.count; i++) {
        if (slots[i].value == FGW_NONE)
            empty++;
        else if (!slot_key_ok(c, &slots[i]) || !in_range(slots[i].value, values) ||
                 !index_or_none(slots[i].hint, c->h->rules))
            return 0;
    }
    return t.count == 0 || empty > 0;
}

static int hosts_ok(const checker *c, const fgw_img_hosts *hosts, fgw_table values) {
    return host_table_ok(c, hosts->exact, values) && host_table_ok(c, hosts->suffix, values) &&
           (hosts->default_value == FGW_NONE || in_range(hosts->default_value, values)) && hosts->suffix_max <= FGW_HOST_MAX;
}

static int route_table_ok(const checker *c, const fgw_img_route_table *t) {
    return span_ok(c, t->name) && range_ok(t->vhosts, c->h->vhosts) && range_ok(t->pages, c->h->pages) &&
           hosts_ok(c, &t->hosts, t->vhosts);
}

/* The chains of a listener are its own: no server name leads to those of another port. */
static int listener_ok(const checker *c, const fgw_img_listener *l) {
    if (!span_ok(c, l->name) || !span_ok(c, l->bind) || l->port > 65535 || !index_ok(l->origin, c->h->origins) ||
        !range_ok(l->chains, c->h->chains) || (l->plain != FGW_NONE && !in_range(l->plain, l->chains)) ||
        !index_or_none(l->sni, c->h->sni_tables) || l->flags > FGW_LISTENER_PROXY_PROTOCOL)
        return 0;
    if (l->plain != FGW_NONE && FGW_TABLE(c->image, chains, fgw_img_chain)[l->plain].tls != FGW_TLS_NONE)
        return 0;
    return l->sni == FGW_NONE || hosts_ok(c, &FGW_TABLE(c->image, sni_tables, fgw_img_sni_table)[l->sni].hosts, l->chains);
}

static int chain_ok(const checker *c, const fgw_img_chain *k) {
    if (k->grpc_web > 1)
        return 0;
    const int http = k->kind == FGW_CHAIN_HTTP;
    if (!span_ok(c, k->name) || (!http && k->kind != FGW_CHAIN_TCP) || k->tls > FGW_TLS_PASSTHROUGH ||
        (http && k->tls == FGW_TLS_PASSTHROUGH) || !index_ok(k->origin, c->h->origins) ||
        !index_or_none(k->virtual_service, c->h->origins) || !index_or_none(k->guard, c->h->guards))
        return 0;
    if (k->tls == FGW_TLS_TERMINATE ? !index_ok(k->tls_context, c->h->tls_contexts) : k->tls_context != FGW_NONE)
        return 0;
    if (http)
        return index_ok(k->route_table, c->h->route_tables) && k->action == FGW_NONE;
    return k->route_table == FGW_NONE && index_or_none(k->action, c->h->actions);
}

/* Lists of digests hold digests. */
static int digests_ok(const checker *c, fgw_table range) {
    if (!range_ok(range, c->h->texts))
        return 0;
    const fgw_span *texts = FGW_TABLE(c->image, texts, fgw_span) + range.off;
    for (uint32_t i = 0; i < range.count; i++)
        if (texts[i].len != 32)
            return 0;
    return 1;
}

static int version_ok(uint8_t version) { return version >= FGW_TLS10 && version <= FGW_TLS13; }

static int versions_ok(uint8_t low, uint8_t high) { return version_ok(low) && version_ok(high); }

static int tls_context_ok(const checker *c, const fgw_img_tls_context *t) {
    return span_ok(c, t->name) && span_ok(c, t->certificates[0]) && span_ok(c, t->certificates[1]) && span_ok(c, t->ca) &&
           span_ok(c, t->ciphers) && span_ok(c, t->curves) && t->client_auth <= FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED &&
           versions_ok(t->min_version, t->max_version) && range_ok(t->sans, c->h->texts) && digests_ok(c, t->spki) &&
           digests_ok(c, t->hashes) && index_ok(t->origin, c->h->origins);
}

static int upstream_tls_ok(const checker *c, const fgw_img_upstream_tls *t) {
    return span_ok(c, t->certificate) && span_ok(c, t->ca) && span_ok(c, t->sni) && t->verify <= FGW_VERIFY_NAMES &&
           versions_ok(t->min_version, t->max_version) && range_ok(t->sans, c->h->texts);
}

static int vhost_ok(const checker *c, const fgw_img_vhost *v) {
    return span_ok(c, v->name) && range_ok(v->rules, c->h->rules) && v->flags <= FGW_VHOST_REQUIRE_TLS &&
           index_ok(v->origin, c->h->origins) && index_or_none(v->root_fold, c->h->nodes) && index_or_none(v->guard, c->h->guards) &&
           range_ok(v->pages, c->h->pages) && v->own_pages <= v->pages.count;
}

static int rule_ok(const checker *c, const fgw_img_rule *r) {
    const fgw_table predicates = {r->predicates, r->predicate_count};
    return span_ok(c, r->name) && span_ok(c, r->path) && r->path_kind <= FGW_PATH_SEGMENT_PREFIX && r->ignore_case <= 1 &&
           range_ok(predicates, c->h->predicates) && index_ok(r->action, c->h->actions) &&
           (r->path_kind == FGW_PATH_REGEX ? index_ok(r->regex, c->h->regexes) : r->regex == FGW_NONE) &&
           index_ok(r->virtual_service, c->h->origins) && index_ok(r->origin, c->h->origins);
}

static int predicate_ok(const checker *c, const fgw_img_predicate *p) {
    return span_ok(c, p->name) && span_ok(c, p->value) && p->target >= FGW_ON_METHOD && p->target <= FGW_ON_NEVER &&
           p->op >= FGW_OP_EXACT && p->op <= FGW_OP_PRESENT && p->invert <= 1 && p->header_id < FGW_HDR_COUNT &&
           (p->op == FGW_OP_REGEX ? index_ok(p->regex, c->h->regexes) : p->regex == FGW_NONE);
}

/* Text that goes into a head must not end a field, and a name (strict) must not end before its colon. */
static int head_text_ok(const checker *c, fgw_span s, int strict) {
    if (!span_ok(c, s))
        return 0;
    const uint8_t *p = (const uint8_t *)FGW_TABLE(c->image, strings, char) + s.off;
    for (uint32_t i = 0; i < s.len; i++)
        if (strict ? p[i] <= ' ' || p[i] >= 127 || p[i] == ':' : p[i] == '\r' || p[i] == '\n' || p[i] == 0)
            return 0;
    return 1;
}

static int part_ok(const checker *c, const fgw_img_part *p) {
    return p->code < FGW_VALUE_COUNT && p->header_id < FGW_HDR_COUNT && p->other_id < FGW_HDR_COUNT &&
           head_text_ok(c, p->text, 0) && span_ok(c, p->other);
}

/* Fields that say where a message ends, and those of one connection, are the gateway's own affair. */
static int editable(uint8_t header_id) {
    return header_id < FGW_HDR_COUNT && (header_id < FGW_HDR_HOST || header_id > FGW_HDR_EXPECT);
}

static int edit_ok(const checker *c, const fgw_img_edit *e) {
    return head_text_ok(c, e->name, 1) && e->name.len > 0 && e->name.len <= UINT16_MAX && range_ok(e->value, c->h->parts) &&
           e->kind >= FGW_EDIT_REMOVE && e->kind <= FGW_EDIT_ADD && editable(e->header_id);
}

static int edits_ok(const checker *c, const fgw_img_edits *e) {
    return range_ok(e->request, c->h->edits) && range_ok(e->response, c->h->edits) && head_text_ok(c, e->authority, 0);
}

static int destination_ok(const checker *c, const fgw_img_destination *d) {
    return index_or_none(d->cluster, c->h->clusters) && span_ok(c, d->cluster_name) && edits_ok(c, &d->edits);
}

static int sticky_ok(const checker *c, const fgw_img_action *a) {
    return a->sticky <= FGW_STICKY_SOURCE_IP && a->sticky_header_id < FGW_HDR_COUNT && span_ok(c, a->sticky_name) &&
           a->sticky_name.len <= FGW_STICKY_NAME_MAX;
}

/* Text that goes into a request line or a Location must not end it. */
static int url_text_ok(const checker *c, fgw_span s) {
    if (!span_ok(c, s))
        return 0;
    const uint8_t *p = (const uint8_t *)FGW_TABLE(c->image, strings, char) + s.off;
    for (uint32_t i = 0; i < s.len; i++)
        if (p[i] <= ' ' || p[i] == 127)
            return 0;
    return 1;
}

static int redirects(uint16_t status) { return (status >= 301 && status <= 303) || status == 307 || status == 308; }

static int redirect_ok(const checker *c, const fgw_img_answer *a) {
    return redirects(a->status) && a->new_path <= FGW_PATH_PREFIX_REPLACED && url_text_ok(c, a->text) &&
           url_text_ok(c, a->scheme) && url_text_ok(c, a->authority);
}

static int direct_ok(const checker *c, const fgw_img_answer *a) {
    return a->status >= 200 && a->status <= 600 && span_ok(c, a->text);
}

static int retry_ok(const checker *c, const fgw_img_retry *r) {
    (void)c;
    return r->on <= FGW_RETRY_ALL && r->backoff_ms >= 1 && r->avoid_tried <= FGW_AVOID_UNLESS_HASHED && r->other_localities <= 1;
}

static int cors_ok(const checker *c, const fgw_img_cors *k) {
    return range_ok(k->origins, c->h->predicates) && head_text_ok(c, k->allow_methods, 0) && head_text_ok(c, k->allow_headers, 0) &&
           head_text_ok(c, k->expose_headers, 0) && head_text_ok(c, k->max_age, 0) && k->credentials <= 1 &&
           k->ignore_unmatched <= 1;
}

static int mirror_ok(const checker *c, const fgw_img_mirror *m) {
    return index_or_none(m->cluster, c->h->clusters) && m->per_million <= FGW_PER_MILLION;
}

static int page_ok(const checker *c, const fgw_img_page *p) {
    return head_text_ok(c, p->content_type, 0) && p->content_type.len <= 128 && span_ok(c, p->body) && p->low >= 400 &&
           p->low <= p->high && p->high <= 599;
}

static int route_policy_ok(const checker *c, const fgw_img_route_policy *p) {
    return url_text_ok(c, p->rewrite_text) && p->rewrite <= FGW_REWRITE_REGEX &&
           (p->rewrite == FGW_REWRITE_REGEX ? index_ok(p->regex, c->h->regexes) : p->regex == FGW_NONE) &&
           (p->abort_status == 0 || (p->abort_status >= 200 && p->abort_status <= 600)) &&
           p->delay_per_million <= FGW_PER_MILLION && p->abort_per_million <= FGW_PER_MILLION &&
           index_or_none(p->retry, c->h->retries) && index_or_none(p->cors, c->h->cors) && range_ok(p->mirrors, c->h->mirrors) &&
           range_ok(p->pages, c->h->pages);
}

static int guard_ok(const checker *c, const fgw_img_guard *g) {
    return range_ok(g->sources, c->h->source_lists) && range_ok(g->rate_limits, c->h->rate_limits) &&
           g->rate_limits.count <= FGW_RATE_LIMITS_MAX && head_text_ok(c, g->rate_policies, 0);
}

static int rate_limit_ok(const checker *c, const fgw_img_rate_limit *l) {
    return head_text_ok(c, l->name, 1) && l->name.len <= FGW_RATE_NAME_MAX && l->interval_ns >= 1 && l->burst >= 1 &&
           l->interval_ns < (UINT64_C(1) << 62) / l->burst && l->number < FGW_STATE_RATE_LIMITS && range_ok(l->keys, c->h->rate_keys);
}

static int rate_key_ok(const checker *c, const fgw_img_rate_key *k) {
    return span_ok(c, k->name) && (k->kind == FGW_RATE_BY_SOURCE || k->kind == FGW_RATE_BY_HEADER) &&
           k->header_id < FGW_HDR_COUNT && k->v4_bits <= 32 && k->v6_bits <= 128;
}

static int networks_ok(checker *c, fgw_span set) {
    fgw_span *known = &c->known_sets[(set.off * 2654435769u >> 16) % KNOWN_SETS];
    if (set.len > 0 && set.off == known->off && set.len == known->len)
        return 1;
    if (!span_ok(c, set) || !fgw_cidr_check(FGW_TABLE(c->image, strings, char) + set.off, set.len))
        return 0;
    *known = set;
    return 1;
}

static int source_lists_ok(checker *c) {
    const fgw_img_source_list *lists = FGW_TABLE(c->image, source_lists, fgw_img_source_list);
    for (uint32_t i = 0; i < c->h->source_lists.count; i++)
        if (!networks_ok(c, lists[i].networks) || !span_ok(c, lists[i].policy) || lists[i].otherwise < FGW_SOURCE_ALLOWED ||
            lists[i].otherwise > FGW_SOURCE_DENIED)
            return 0;
    return 1;
}

static int answered_ok(const checker *c, const fgw_img_action *a) {
    if (!index_ok(a->answer, c->h->answers))
        return 0;
    const fgw_img_answer *answer = FGW_TABLE(c->image, answers, fgw_img_answer) + a->answer;
    return a->kind == FGW_ACTION_REDIRECT ? redirect_ok(c, answer) : direct_ok(c, answer);
}

/* The weights of a route must add up: the data plane draws below total_weight and looks for the first cumulative above it. */
static int action_ok(const checker *c, const fgw_img_action *a) {
    if (!edits_ok(c, &a->edits) || !index_or_none(a->guard, c->h->guards) || !index_or_none(a->policy, c->h->route_policies))
        return 0;
    if (a->kind == FGW_ACTION_REDIRECT || a->kind == FGW_ACTION_DIRECT)
        return answered_ok(c, a);
    if (a->answer != FGW_NONE)
        return 0;
    if (a->kind != FGW_ACTION_ROUTE)
        return a->kind == FGW_ACTION_UNSUPPORTED && range_ok(a->destinations, c->h->destinations);
    if (!range_ok(a->destinations, c->h->destinations) || a->destinations.count == 0 || !sticky_ok(c, a))
        return 0;
    const fgw_img_destination *d = FGW_TABLE(c->image, destinations, fgw_img_destination) + a->destinations.off;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a->destinations.count; i++) {
        sum += d[i].weight;
        if (d[i].weight == 0 || d[i].cumulative_weight != sum)
            return 0;
    }
    return sum == a->total_weight;
}

static int policy_ok(const checker *c, const fgw_img_policy *p) {
    return p->flags < 2 * FGW_POLICY_KEEPALIVE && p->hash_on <= FGW_HASH_QUERY && p->hash_header_id < FGW_HDR_COUNT &&
           p->proxy_protocol <= 2 && p->priorities >= 1 && p->priorities <= FGW_PRIORITIES_MAX && p->max_ejection_percent <= 100 &&
           p->min_health_percent <= 100 && span_ok(c, p->hash_name) && p->hash_name.len <= FGW_HASH_NAME_MAX &&
           (!(p->flags & FGW_POLICY_GIVES_COOKIE) || head_text_ok(c, p->hash_name, 1)) && head_text_ok(c, p->cookie_rest, 0) &&
           p->cookie_rest.len <= FGW_COOKIE_REST_MAX;
}

/* Points in order, and all of them of the cluster's own endpoints. */
static int ring_ok(const checker *c, const fgw_img_cluster *k) {
    if (!range_ok(k->ring, c->h->ring_points))
        return 0;
    const fgw_img_ring_point *p = FGW_TABLE(c->image, ring_points, fgw_img_ring_point) + k->ring.off;
    for (uint32_t i = 0; i < k->ring.count; i++)
        if (p[i].endpoint >= k->endpoints.count || (i > 0 && p[i].hash < p[i - 1].hash))
            return 0;
    return 1;
}

static int maglev_ok(const checker *c, const fgw_img_cluster *k) {
    if (!range_ok(k->maglev, c->h->maglev_places))
        return 0;
    const fgw_img_maglev_place *p = FGW_TABLE(c->image, maglev_places, fgw_img_maglev_place) + k->maglev.off;
    for (uint32_t i = 0; i < k->maglev.count; i++)
        if (p[i].endpoint >= k->endpoints.count)
            return 0;
    return 1;
}

/* Levels of priority are looked for by bisection. */
static int levels_ok(const checker *c, const fgw_img_cluster *k) {
    const fgw_img_endpoint *e = FGW_TABLE(c->image, endpoints, fgw_img_endpoint) + k->endpoints.off;
    const fgw_img_policy *p = FGW_TABLE(c->image, policies, fgw_img_policy) + k->policy;
    const uint32_t levels = k->policy == FGW_NONE ? 1 : p->priorities;
    for (uint32_t i = 0; i < k->endpoints.count; i++)
        if (e[i].priority >= levels || (i > 0 && e[i].priority < e[i - 1].priority))
            return 0;
    return 1;
}

static int cluster_ok(const checker *c, const fgw_img_cluster *k) {
    return span_ok(c, k->name) && span_ok(c, k->host) && span_ok(c, k->service_name) && span_ok(c, k->service_namespace) &&
           span_ok(c, k->subset) && k->port <= 65535 && k->discovery <= FGW_DISCOVERY_DNS && k->lb <= FGW_LB_MAGLEV &&
           k->protocol >= FGW_UPSTREAM_HTTP1 && k->protocol <= FGW_UPSTREAM_CLIENT && range_ok(k->endpoints, c->h->endpoints) && k->weighted <= 1 &&
           (k->discovery == FGW_DISCOVERY_DNS ? k->dns_slot < FGW_STATE_DNS_SLOTS : k->dns_slot == FGW_NONE) &&
           index_or_none(k->tls, c->h->upstream_tls) && (k->ping_interval_ms == 0) == (k->ping_timeout_ms == 0) &&
           index_ok(k->origin, c->h->origins) && index_or_none(k->policy, c->h->policies) &&
           k->state < FGW_STATE_CLUSTERS && levels_ok(c, k) && ring_ok(c, k) && maglev_ok(c, k);
}

static int endpoint_ok(const checker *c, const fgw_img_endpoint *e) {
    const int is_name = e->family == FGW_FAMILY_NAME;
    return (is_name || e->family == FGW_FAMILY_UNIX || e->family == FGW_FAMILY_IPV4 || e->family == FGW_FAMILY_IPV6) &&
           e->flags <= FGW_ENDPOINT_UNHEALTHY && e->weight >= 1 && span_ok(c, e->path) &&
           (is_name ? e->cell == FGW_NONE : e->cell < FGW_STATE_CELLS);
}

static int regex_ok(const checker *c, const fgw_img_regex *r) {
    return span_ok(c, r->pattern) && span_ok(c, r->literal_prefix) && r->flags <= 1;
}

static int origin_ok(const checker *c, const fgw_img_origin *o) {
    return span_ok(c, o->file) && span_ok(c, o->kind) && span_ok(c, o->name);
}

static uint32_t bits(uint64_t w) {
    uint32_t n = 0;
    for (; w != 0; w &= w - 1)
        n++;
    return n;
}

/* Children lie in the table and after their parent, so a walk always ends. */
static int node_ok(const checker *c, const fgw_img_node *node, uint32_t index) {
    uint32_t children = 0;
    for (int i = 0; i < 4; i++) {
        if (node->rank[i] != (uint8_t)children)
            return 0;
        children += bits(node->children[i]);
    }
    if (children > 0 && (node->first_child <= index || (uint64_t)node->first_child + children > c->h->nodes.count))
        return 0;
    if (node->label_len > FGW_LABEL_INLINE && !span_ok(c, (fgw_span){node->label_off, node->label_len}))
        return 0;
    return list_ref_ok(c, node->below, c->h->lists.count) && list_ref_ok(c, node->at_end, c->h->lists.count);
}

static int plain_list(const checker *c, uint32_t ref) {
    if (ref & FGW_SINGLE)
        return 1;
    const fgw_img_list *list = FGW_TABLE(c->image, lists, fgw_img_list) + ref;
    return list->group == FGW_NONE && list->next == FGW_NONE;
}

/* A list and its regex set have the same members. */
static int list_set_ok(const checker *c, const fgw_img_list *list) {
    if (list->regex_set == FGW_NONE)
        return 1;
    if (!index_ok(list->regex_set, c->h->regex_sets))
        return 0;
    const fgw_img_regex_set *set = FGW_TABLE(c->image, regex_sets, fgw_img_regex_set) + list->regex_set;
    return set->members.off == list->first && set->members.count == list->count;
}

static int list_ok(const checker *c, const fgw_img_list *list, uint32_t index) {
    const fgw_table candidates = {list->first, list->count};
    return range_ok(candidates, c->h->candidates) && index_or_none(list->group, c->h->groups) && list_set_ok(c, list) &&
           list_ref_ok(c, list->next, index);
}

/* Run after rules, predicates and candidates were checked. */
static int regex_set_ok(const checker *c, const fgw_img_regex_set *set) {
    if (!range_ok(set->members, c->h->candidates) || set->target > FGW_ON_RAW_PATH || set->header_id >= FGW_HDR_COUNT ||
        !span_ok(c, set->name))
        return 0;
    const uint32_t *members = FGW_TABLE(c->image, candidates, uint32_t) + set->members.off;
    const fgw_img_rule *rules = FGW_TABLE(c->image, rules, fgw_img_rule);
    uint32_t predicate;
    for (uint32_t i = 0; i < set->members.count; i++)
        if (fgw_set_regex(c->image, set, &rules[members[i]], &predicate) == FGW_NONE || (i > 0 && members[i] <= members[i - 1]))
            return 0;
    return 1;
}

/* A group's values lead to plain lists only, so evaluation does not nest. Run after the lists were checked. */
static int group_ok(const checker *c, const fgw_img_group *g) {
    if ((g->target != FGW_ON_HEADER && g->target != FGW_ON_QUERY) || g->header_id >= FGW_HDR_COUNT || !span_ok(c, g->name) ||
        !range_ok(g->slots, c->h->slots))
        return 0;
    const fgw_img_slot *slots = FGW_TABLE(c->image, slots, fgw_img_slot) + g->slots.off;
    uint32_t empty = 0;
    for (uint32_t i = 0; i < g->slots.count; i++) {
        if (slots[i].value == FGW_NONE)
            empty++;
        else if (!slot_key_ok(c, &slots[i]) || !list_ref_ok(c, slots[i].value, c->h->lists.count) || !plain_list(c, slots[i].value))
            return 0;
    }
    return g->slots.count == 0 || empty > 0;
}

#define CHECK_ALL(table, type, check)                                                                                              \
    do {                                                                                                                           \
        const type *records = FGW_TABLE(c.image, table, type);                                                                     \
        for (uint32_t i = 0; i < c.h->table.count; i++)                                                                            \
            if (!check(&c, &records[i]))                                                                                           \
                return -FGW_R_IMAGE_CONTENT;                                                                                       \
    } while (0)

#define CHECK_ALL_INDEXED(table, type, check)                                                                                      \
    do {                                                                                                                           \
        const type *records = FGW_TABLE(c.image, table, type);                                                                     \
        for (uint32_t i = 0; i < c.h->table.count; i++)                                                                            \
            if (!check(&c, &records[i], i))                                                                                        \
                return -FGW_R_IMAGE_CONTENT;                                                                                       \
    } while (0)

static int candidate_ok(const checker *c, const uint32_t *rule) { return index_ok(*rule, c->h->rules); }

static long check_records(const void *image) {
    checker c = {(const char *)image, fgw_header_of(image), {{0, 0}}};
    CHECK_ALL(texts, fgw_span, text_ok);
    CHECK_ALL(tls_contexts, fgw_img_tls_context, tls_context_ok);
    CHECK_ALL(upstream_tls, fgw_img_upstream_tls, upstream_tls_ok);
    CHECK_ALL(chains, fgw_img_chain, chain_ok);
    CHECK_ALL(listeners, fgw_img_listener, listener_ok);
    CHECK_ALL(route_tables, fgw_img_route_table, route_table_ok);
    CHECK_ALL(vhosts, fgw_img_vhost, vhost_ok);
    CHECK_ALL(rules, fgw_img_rule, rule_ok);
    CHECK_ALL(predicates, fgw_img_predicate, predicate_ok);
    CHECK_ALL(parts, fgw_img_part, part_ok);
    CHECK_ALL(edits, fgw_img_edit, edit_ok);
    CHECK_ALL(destinations, fgw_img_destination, destination_ok);
    CHECK_ALL(retries, fgw_img_retry, retry_ok);
    CHECK_ALL(cors, fgw_img_cors, cors_ok);
    CHECK_ALL(mirrors, fgw_img_mirror, mirror_ok);
    CHECK_ALL(pages, fgw_img_page, page_ok);
    CHECK_ALL(rate_keys, fgw_img_rate_key, rate_key_ok);
    CHECK_ALL(rate_limits, fgw_img_rate_limit, rate_limit_ok);
    CHECK_ALL(guards, fgw_img_guard, guard_ok);
    if (!source_lists_ok(&c))
        return -FGW_R_IMAGE_CONTENT;
    CHECK_ALL(route_policies, fgw_img_route_policy, route_policy_ok);
    CHECK_ALL(actions, fgw_img_action, action_ok);
    CHECK_ALL(policies, fgw_img_policy, policy_ok);
    CHECK_ALL(clusters, fgw_img_cluster, cluster_ok);
    CHECK_ALL(endpoints, fgw_img_endpoint, endpoint_ok);
    CHECK_ALL(regexes, fgw_img_regex, regex_ok);
    CHECK_ALL(origins, fgw_img_origin, origin_ok);
    CHECK_ALL(candidates, uint32_t, candidate_ok);
    CHECK_ALL(regex_sets, fgw_img_regex_set, regex_set_ok);
    CHECK_ALL_INDEXED(lists, fgw_img_list, list_ok);
    CHECK_ALL(groups, fgw_img_group, group_ok);
    CHECK_ALL_INDEXED(nodes, fgw_img_node, node_ok);
    return c.h->nodes.count >= c.h->vhosts.count ? 1 : -FGW_R_IMAGE_CONTENT;
}

long fgw_image_check(const void *image, size_t n) {
    const fgw_image_header *h = fgw_header_of(image);
    if (n < sizeof *h)
        return -FGW_R_IMAGE_SIZE;
    if (h->magic != FGW_IMAGE_MAGIC)
        return -FGW_R_IMAGE_MAGIC;
    if (h->version != FGW_IMAGE_VERSION || h->header_bytes != sizeof *h)
        return -FGW_R_IMAGE_VERSION;
    if (h->total_bytes != n || n > UINT32_MAX)
        return -FGW_R_IMAGE_SIZE;
    if (!tables_ok(h, n))
        return -FGW_R_IMAGE_BOUNDS;
    return check_records(image);
}
