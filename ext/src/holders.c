/* Client connections counted by listener and by source address (requirements D8, D9).
 *
 * Of a listener there is one number for all workers, beside the share of each. Addresses come and go, so each worker counts them in a
 * table of its own that nobody else writes: sets of a few places, a key in its set or nowhere. Who asks adds itself first and sums up
 * all tables then. Of several who come at once for the last place each may see the others' and take its own back: then they ask again,
 * one after the other, and the last of them at the latest sees nobody else. */
#include "fgw/holders.h"

#include "fgw/sticky.h"
#include "lock.h"

enum { SETS = FGW_STATE_HOLDERS / FGW_HOLDER_WAYS, CUSTOMER_BITS = 64 };

/* --- listeners --- */

uint32_t fgw_listener_place(fgw_state *s, const char *name, size_t n) {
    const uint64_t key = fgw_hash64(name, n, 0) | 1;
    for (uint32_t probes = 0; probes < FGW_STATE_LISTENERS; probes++) {
        const uint32_t i = ((uint32_t)(key >> 32) + probes) & (FGW_STATE_LISTENERS - 1);
        uint64_t found = __atomic_load_n(&s->listeners[i].key, __ATOMIC_RELAXED);
        if (found == 0 && __atomic_compare_exchange_n(&s->listeners[i].key, &found, key, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return i;
        if (found == key)
            return i;
    }
    return FGW_STATE_LISTENERS;
}

int fgw_listener_enter(fgw_state *s, fgw_worker_state *w, uint32_t place, uint32_t limit) {
    if (place >= FGW_STATE_LISTENERS)
        return 1;
    uint32_t *all = &s->listeners[place].connections;
    uint32_t now = __atomic_load_n(all, __ATOMIC_RELAXED);
    do {
        if (limit != 0 && now >= limit)
            return 0;
    } while (!__atomic_compare_exchange_n(all, &now, now + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    w->listener_connections[place]++;
    return 1;
}

void fgw_listener_leave(fgw_state *s, fgw_worker_state *w, uint32_t place) {
    if (place >= FGW_STATE_LISTENERS || w->listener_connections[place] == 0)
        return;
    w->listener_connections[place]--;
    __atomic_fetch_sub(&s->listeners[place].connections, 1, __ATOMIC_RELAXED);
}

uint32_t fgw_listener_total(const fgw_state *s, uint32_t place) {
    return place < FGW_STATE_LISTENERS ? __atomic_load_n(&s->listeners[place].connections, __ATOMIC_RELAXED) : 0;
}

/* --- source addresses --- */

void fgw_holder_seed(fgw_state *s, uint64_t seed) {
    uint64_t none = 0;
    __atomic_compare_exchange_n(&s->holder_seed, &none, seed | 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

uint64_t fgw_holder_key(const fgw_state *s, uint32_t place, fgw_ip ip) {
    const fgw_ip customer = fgw_ip_prefix(ip, 32, CUSTOMER_BITS);
    const uint64_t parts[3] = {customer.high, customer.low, place};
    const uint64_t key = fgw_hash64(parts, sizeof parts, __atomic_load_n(&s->holder_seed, __ATOMIC_RELAXED));
    return key != 0 ? key : 1;
}

static uint32_t set_of(uint64_t key) { return (uint32_t)(key % SETS) * FGW_HOLDER_WAYS; }

/* The key's place in a worker's own table, else a free one of its set, else NULL. */
static fgw_holder *place_of(fgw_worker_state *w, uint64_t key) {
    fgw_holder *set = &w->holders[set_of(key)], *free_place = NULL;
    for (int i = 0; i < FGW_HOLDER_WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].connections == 0 && free_place == NULL)
            free_place = &set[i];
    }
    return free_place;
}

/* What a worker has of a key; its owner may be writing. */
static uint32_t share_of(const fgw_worker_state *w, uint64_t key) {
    const fgw_holder *set = &w->holders[set_of(key)];
    for (int i = 0; i < FGW_HOLDER_WAYS; i++)
        if (__atomic_load_n(&set[i].key, __ATOMIC_ACQUIRE) == key)
            return __atomic_load_n(&set[i].connections, __ATOMIC_SEQ_CST);
    return 0;
}

/* One more in a worker's own place, unless all have more than `limit` then. */
static int add(fgw_state *s, fgw_holder *own, uint64_t key, uint32_t limit) {
    uint64_t sum = 0;
    __atomic_fetch_add(&own->connections, 1, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < s->worker_slots && sum <= limit; i++)
        if (__atomic_load_n(&s->workers[i].holders_used, __ATOMIC_SEQ_CST) != 0)
            sum += share_of(&s->workers[i], key);
    if (sum <= limit)
        return 1;
    __atomic_fetch_sub(&own->connections, 1, __ATOMIC_SEQ_CST);
    return 0;
}

int fgw_holder_enter(fgw_state *s, fgw_worker_state *w, uint64_t key, uint32_t limit) {
    fgw_holder *own = place_of(w, key);
    if (own == NULL)
        return -1;
    if (own->key != key)
        __atomic_store_n(&own->key, key, __ATOMIC_RELEASE);
    if (w->holders_used == 0)
        __atomic_store_n(&w->holders_used, 1, __ATOMIC_SEQ_CST);
    if (add(s, own, key, limit))
        return 1;
    const uint64_t held = fgw_lock(&s->holder_lock);
    const int added = add(s, own, key, limit);
    fgw_unlock(&s->holder_lock, held);
    return added;
}

void fgw_holder_leave(fgw_worker_state *w, uint64_t key) {
    fgw_holder *own = place_of(w, key);
    if (own != NULL && own->key == key && own->connections != 0)
        __atomic_fetch_sub(&own->connections, 1, __ATOMIC_RELAXED);
}
