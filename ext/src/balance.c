/* The choice of an endpoint: who may be used, the level of priority, consistent hashing, and the draws of the other balancers. */
#include "fgw/balance.h"

#include "fgw/sticky.h"
#include "image_read.h"
#include "weighted_draw.h"

enum { OVERPROVISIONING = 140, /* per cent: a level with 72 % of its endpoints still takes everything */
       SAMPLE = 64, RING_STEPS = 4096, MAGLEV_PROBES = 16 };

#define LEVEL_ANY UINT32_MAX

typedef struct candidate {
    uint32_t index;
    uint32_t weight;
    uint32_t cell;
} candidate;

/* One choice. Places: the cluster's endpoints in the image, then the addresses of its names. */
typedef struct choice {
    const fgw_img_cluster *cluster;
    const fgw_img_policy *policy; /* NULL: defaults */
    const fgw_img_endpoint *endpoints;
    const fgw_dns_address *addresses;
    fgw_state *state;
    fgw_ask *ask;
    uint32_t fixed;        /* places before this one are of the image */
    uint32_t first, count; /* places that come into question */
    uint32_t level;        /* LEVEL_ANY: all of these, else those of this level */
    int panic;             /* too few can be used: all can */
    int equal;             /* weights of the candidates */
    uint32_t n;
    uint32_t avoided; /* place + 1 of one that is to be avoided */
    candidate found[FGW_CANDIDATES];
} choice;

/* splitmix64 (public domain, Vigna): as many numbers as wanted from the one that the caller brought. */
static uint64_t draw(fgw_ask *ask) {
    uint64_t z = ask->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint32_t below(uint64_t random, uint32_t n) { return (uint32_t)((random >> 32) * n >> 32); }

static uint32_t cell_of(const choice *c, uint32_t i) { return i < c->fixed ? c->endpoints[i].cell : c->addresses[i - c->fixed].cell; }

static int is_name(const choice *c, uint32_t i) { return i < c->fixed && c->endpoints[i].family == FGW_FAMILY_NAME; }

/* An address has the level of its name, or one below. */
static uint32_t level_of(const choice *c, uint32_t i) {
    if (i < c->fixed)
        return c->endpoints[i].priority;
    const fgw_dns_address *a = &c->addresses[i - c->fixed];
    return (a->endpoint < c->fixed ? c->endpoints[a->endpoint].priority : 0u) + a->priority;
}

static int usable(const choice *c, uint32_t i) {
    const uint32_t cell = cell_of(c, i);
    if (cell >= FGW_STATE_CELLS)
        return 0;
    fgw_cell *own = &c->state->cells[cell];
    const int ready = !(i < c->fixed && c->endpoints[i].flags & FGW_ENDPOINT_UNHEALTHY);
    if (c->policy && c->policy->warmup_ms &&
        (!ready || __atomic_load_n(&own->flags, __ATOMIC_RELAXED) & FGW_CELL_UNHEALTHY) &&
        __atomic_load_n(&own->warm_from_ms, __ATOMIC_RELAXED) != 0)
        __atomic_store_n(&own->warm_from_ms, 0, __ATOMIC_RELAXED); /* it starts anew when it is well again */
    return ready && (fgw_cell_usable(own, c->ask->now_ms) || c->panic);
}

static int in_question(const choice *c, uint32_t i) {
    return i >= c->first && i - c->first < c->count && (c->level == LEVEL_ANY || level_of(c, i) == c->level);
}

static int avoided(const choice *c, uint32_t cell) {
    for (uint32_t i = 0; i < c->ask->avoid_count; i++)
        if (c->ask->avoid[i] == cell)
            return 1;
    return 0;
}

/* --- who comes into question --- */

static uint32_t percent(uint32_t good, uint32_t of) { return of == 0 ? 0 : good > 0 && good * 100 < of ? 1 : good * 100 / of; }

/* Per cent of the places in a range that can be used, told from a sample when there are many; 0 when there are none at all. */
static uint32_t healthy_percent(const choice *c, uint32_t first, uint32_t count) {
    const uint32_t looks = count < SAMPLE ? count : SAMPLE, start = count > SAMPLE ? below(draw(c->ask), count) : 0;
    uint32_t good = 0, seen = 0;
    for (uint32_t i = 0; i < looks; i++) {
        const uint32_t at = first + (start + i) % count;
        seen += !is_name(c, at);
        good += (uint32_t)usable(c, at);
    }
    return percent(good, seen);
}

/* End of the endpoints of a level; they are sorted by it. */
static uint32_t level_end(const choice *c, uint32_t level) {
    uint32_t low = 0, high = c->fixed;
    while (low < high) {
        const uint32_t mid = (low + high) / 2;
        if (c->endpoints[mid].priority <= level)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The same with addresses of names, which lie as they come. */
static uint32_t level_percent(const choice *c, uint32_t level, uint32_t begin, uint32_t end) {
    uint32_t good = 0, seen = 0;
    if (c->count == c->fixed)
        return healthy_percent(c, begin, end - begin);
    for (uint32_t i = 0; i < c->count; i++)
        if (level_of(c, i) == level && !is_name(c, i)) {
            seen++;
            good += (uint32_t)usable(c, i);
        }
    return percent(good, seen);
}

/* Each level takes what it can bear (Envoy's priority levels), the next one what is left over, but for those of a set. Returns what
 * of 100 nobody can bear. */
static uint32_t share_out(const choice *c, uint32_t skip, uint32_t *loads) {
    uint32_t left = 100, begin = 0, end;
    for (uint32_t level = 0; level < c->policy->priorities; level++, begin = end) {
        end = level_end(c, level);
        const uint32_t bears = left && !(skip >> level & 1) ? level_percent(c, level, begin, end) * OVERPROVISIONING / 100 : 0;
        loads[level] = bears < left ? bears : left;
        left -= loads[level];
    }
    return left;
}

/* Too little for everything: the levels share it in proportion. */
static void choose_level(choice *c) {
    uint32_t loads[FGW_PRIORITIES_MAX], left = share_out(c, c->ask->skip_levels, loads), level;
    if (left == 100 && c->ask->skip_levels) {
        c->ask->skip_levels = 0;
        left = share_out(c, 0, loads);
    }
    if (left == 100)
        return; /* nobody is left: what is found will not be usable */
    const uint64_t random = c->ask->has_key ? fgw_hash64(&c->ask->key, sizeof c->ask->key, 0x1e7e1) : draw(c->ask);
    uint32_t at = below(random, 100 - left);
    for (level = 0; at >= loads[level]; level++)
        at -= loads[level];
    if (c->count == c->fixed) {
        c->first = level ? level_end(c, level - 1) : 0;
        c->count = level_end(c, level) - c->first;
    } else {
        c->level = level;
    }
}

static uint32_t scaled(uint32_t weight, uint64_t thousandths) {
    const uint64_t n = weight * thousandths;
    return n < 1 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static uint32_t warm_weight(const choice *c, uint32_t weight, uint32_t cell) {
    uint64_t *from = &c->state->cells[cell].warm_from_ms, since = __atomic_load_n(from, __ATOMIC_RELAXED);
    const fgw_img_policy *p = c->policy;
    if (since == 0) {
        uint64_t nobody = 0;
        if (__atomic_compare_exchange_n(from, &nobody, c->ask->now_ms, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            since = c->ask->now_ms;
        else
            since = nobody;
    }
    const uint64_t passed = c->ask->now_ms > since ? c->ask->now_ms - since : 0;
    if (passed >= p->warmup_ms)
        return scaled(weight, 1000);
    const uint64_t place = passed * 16 * 256 / p->warmup_ms; /* in 256ths of a sixteenth */
    const uint64_t step = place / 256, rest = place % 256;
    return scaled(weight, (p->warmup_curve[step] * (256 - rest) + p->warmup_curve[step + 1] * rest) / 256);
}

static uint32_t weight_of(const choice *c, uint32_t i) {
    uint32_t weight = i < c->fixed ? c->endpoints[i].weight : c->addresses[i - c->fixed].weight;
    weight = weight ? weight : 1;
    if (c->policy && c->policy->warmup_ms && c->cluster->lb <= FGW_LB_ROUND_ROBIN)
        return warm_weight(c, weight, cell_of(c, i));
    return weight;
}

/* Candidates from a place on, at most FGW_CANDIDATES. */
static void collect(choice *c, uint32_t start) {
    for (uint32_t i = 0; i < c->count && c->n < FGW_CANDIDATES; i++) {
        const uint32_t at = c->first + (start + i < c->count ? start + i : start + i - c->count);
        if (!usable(c, at) || !in_question(c, at))
            continue;
        const uint32_t cell = cell_of(c, at);
        if (c->ask->avoid_count && avoided(c, cell)) {
            c->avoided = at + 1;
            continue;
        }
        c->found[c->n] = (candidate){at, weight_of(c, at), cell};
        c->equal &= c->found[c->n].weight == c->found[0].weight;
        c->n++;
    }
}

/* --- the draws --- */

static uint64_t total_weight(const choice *c) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < c->n; i++)
        total += c->found[i].weight;
    return total;
}

static uint32_t holder_of(const choice *c, uint64_t at) {
    for (uint32_t i = 0; i < c->n; i++) {
        if (at < c->found[i].weight)
            return i;
        at -= c->found[i].weight;
    }
    return c->n - 1;
}

static uint32_t by_weight(choice *c) { return holder_of(c, draw(c->ask) % total_weight(c)); }

static int coprime(uint64_t a, uint64_t b) {
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a == 1;
}

/* Round robin by weight: of as many picks as the weights add up to, each gets exactly its own, well mixed. Steps of the golden section
 * of the sum, next to it where they have a divisor in common with it, come by every place once. Weights that change from pick to pick
 * have no such sum. */
static uint32_t in_turn(choice *c) {
    const uint64_t total = total_weight(c);
    if (total > UINT32_MAX || (c->policy && c->policy->warmup_ms))
        return by_weight(c);
    uint64_t step = total * 0x9e3779b9u >> 32;
    while (!coprime(total, step))
        step++;
    return holder_of(c, ++c->ask->position % total * step % total);
}

static uint64_t active(const choice *c, uint32_t i) {
    return __atomic_load_n(&c->state->cells[c->found[i].cell].active, __ATOMIC_RELAXED);
}

/* Two at random, and the one with less in flight (Q1). With weights both are drawn by weight, and what is in flight is seen in
 * relation to it, so that shares are right under little load as well. */
static uint32_t least_request(choice *c) {
    uint32_t a, b;
    if (c->equal) {
        const uint64_t random = draw(c->ask);
        a = below(random, c->n);
        b = below(random << 32, c->n - 1);
        b += b >= a;
        return active(c, a) <= active(c, b) ? a : b;
    }
    a = by_weight(c);
    b = by_weight(c);
    return active(c, a) * c->found[b].weight <= active(c, b) * c->found[a].weight ? a : b;
}

static uint32_t choose(choice *c) {
    if (c->n == 1)
        return 0;
    switch (c->cluster->lb) {
    case FGW_LB_LEAST_REQUEST: return least_request(c);
    case FGW_LB_ROUND_ROBIN:
        if (c->equal)
            return ++c->ask->position % c->n;
        return in_turn(c);
    default: return by_weight(c);
    }
}

/* --- consistent hashing --- */

static int takes_key(const choice *c, uint32_t i) {
    return in_question(c, i) && usable(c, i) && !(c->ask->avoid_count && avoided(c, cell_of(c, i)));
}

/* On from the key's place until somebody can be used. */
static uint32_t on_ring(const choice *c, const fgw_img_ring_point *points, uint32_t n) {
    const uint32_t hash = (uint32_t)(c->ask->key >> 32);
    uint32_t low = 0, high = n, last = FGW_NONE;
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        if (points[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    for (uint32_t steps = 0; steps < n && steps < RING_STEPS; steps++, low++) {
        const uint32_t i = points[low < n ? low : low - n].endpoint;
        if (i != last && takes_key(c, i))
            return i;
        last = i;
    }
    return FGW_NONE;
}

/* The key's place, then others that the key alone decides. */
static uint32_t in_maglev(const choice *c, const fgw_img_maglev_place *places, uint32_t n) {
    uint64_t place = c->ask->key % n;
    for (uint32_t probe = 1; probe <= MAGLEV_PROBES; probe++) {
        if (takes_key(c, places[place].endpoint))
            return places[place].endpoint;
        place = fgw_hash64(&c->ask->key, sizeof c->ask->key, probe) % n;
    }
    return FGW_NONE;
}

static uint64_t identity(const choice *c, uint32_t i, const char *strings) {
    if (i >= c->fixed) {
        const fgw_dns_address *a = &c->addresses[i - c->fixed];
        return fgw_endpoint_identity(a->family, a->ip, a->port, NULL, 0);
    }
    const fgw_img_endpoint *e = &c->endpoints[i];
    return fgw_endpoint_identity(e->family, e->ip, e->port, strings + e->path.off, e->path.len);
}

/* Everybody draws with the key, and the highest has it (rendezvous): for addresses of DNS, which have no table, and for keys whose
 * places in a table belong to endpoints that are down. With weights it is the lowest logarithm in relation to the weight, which is
 * the same among equals. */
static uint32_t rendezvous(const choice *c, const char *strings) {
    uint32_t best = 0;
    uint64_t best_drawn = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const uint64_t own = identity(c, c->found[i].index, strings), hash = fgw_hash64(&own, sizeof own, c->ask->key);
        const uint64_t drawn = c->equal ? ~hash : fgw_minus_log2(hash);
        if (i == 0 || (c->equal ? drawn < best_drawn : fgw_draws_less(drawn, c->found[i].weight, best_drawn, c->found[best].weight))) {
            best_drawn = drawn;
            best = i;
        }
    }
    return best;
}

/* --- all of it --- */

static uint32_t hashed(choice *c, const void *image) {
    const fgw_img_cluster *k = c->cluster;
    uint32_t i = FGW_NONE;
    if (k->ring.count)
        i = on_ring(c, FGW_TABLE(image, ring_points, fgw_img_ring_point) + k->ring.off, k->ring.count);
    else if (k->maglev.count)
        i = in_maglev(c, FGW_TABLE(image, maglev_places, fgw_img_maglev_place) + k->maglev.off, k->maglev.count);
    if (i != FGW_NONE)
        return i;
    collect(c, c->count > FGW_CANDIDATES ? below(c->ask->key, c->count) : 0);
    if (c->n)
        return c->found[rendezvous(c, fgw_strings_of(image))].index;
    return c->avoided - 1; /* FGW_NONE without one */
}

/* Least request without a look at all endpoints: among equals that are nearly always all well, two that are drawn from all of them
 * are as good as two of those that can be used, once both can be. FGW_NONE: that is not so. */
static uint32_t drawn_at_once(const choice *c) {
    if (c->cluster->lb != FGW_LB_LEAST_REQUEST || c->cluster->weighted || c->count < 2 || c->first + c->count > c->fixed ||
        c->level != LEVEL_ANY || c->ask->avoid_count || (c->policy && c->policy->warmup_ms))
        return FGW_NONE;
    const uint64_t random = draw(c->ask);
    const uint32_t a = c->first + below(random, c->count);
    uint32_t b = c->first + below(random << 32, c->count - 1);
    b += b >= a;
    if (!usable(c, a) || !usable(c, b))
        return FGW_NONE;
    const fgw_cell *one = &c->state->cells[c->endpoints[a].cell], *other = &c->state->cells[c->endpoints[b].cell];
    return __atomic_load_n(&one->active, __ATOMIC_RELAXED) <= __atomic_load_n(&other->active, __ATOMIC_RELAXED) ? a : b;
}

static uint32_t drawn(choice *c) {
    const uint32_t i = drawn_at_once(c);
    if (i != FGW_NONE)
        return i;
    collect(c, c->count > FGW_CANDIDATES ? below(draw(c->ask), c->count) : 0);
    if (c->n)
        return c->found[choose(c)].index;
    return c->avoided - 1;
}

static uint32_t chosen(choice *c, const void *image) {
    const fgw_img_policy *p = c->policy;
    if (p && p->min_health_percent)
        c->panic = healthy_percent(c, c->first, c->count) < p->min_health_percent;
    if (p && p->priorities > 1)
        choose_level(c);
    return c->cluster->lb >= FGW_LB_RING_HASH && c->ask->has_key ? hashed(c, image) : drawn(c);
}

static void tell(const choice *c, uint32_t i, fgw_target *out) {
    out->index = i;
    out->cell = cell_of(c, i);
    out->level = (uint8_t)level_of(c, i);
    if (i < c->fixed) {
        const fgw_img_endpoint *e = &c->endpoints[i];
        out->family = e->family;
        out->port = e->port;
        memcpy(out->ip, e->ip, 16);
        out->path = e->path;
    } else {
        const fgw_dns_address *a = &c->addresses[i - c->fixed];
        out->family = a->family;
        out->port = a->port;
        memcpy(out->ip, a->ip, 16);
        out->path = (fgw_span){0, 0};
    }
}

int fgw_pick(const void *image, fgw_state *state, uint32_t cluster, fgw_ask *ask, fgw_target *out) {
    const fgw_img_cluster *k = FGW_TABLE(image, clusters, fgw_img_cluster) + cluster;
    fgw_dns_slot slot;
    choice c;
    slot.count = 0;
    slot.status = FGW_DNS_OK;
    if (k->discovery == FGW_DISCOVERY_DNS)
        fgw_dns_read(&state->dns[k->dns_slot], &slot);
    c.cluster = k;
    c.policy = k->policy == FGW_NONE ? NULL : FGW_TABLE(image, policies, fgw_img_policy) + k->policy;
    c.endpoints = FGW_TABLE(image, endpoints, fgw_img_endpoint) + k->endpoints.off;
    c.addresses = slot.addresses;
    c.state = state;
    c.ask = ask;
    c.fixed = k->endpoints.count;
    c.first = c.n = c.avoided = 0;
    c.count = c.fixed + slot.count;
    c.level = LEVEL_ANY;
    c.panic = 0;
    c.equal = 1;
    const uint32_t i = chosen(&c, image);
    if (i == FGW_NONE)
        return slot.status == FGW_DNS_UNKNOWN ? FGW_PICK_WAIT : FGW_PICK_NONE;
    tell(&c, i, out);
    return FGW_PICK_ONE;
}
