/* The state segment: series of a worker, sequence-locked DNS slots, taking off what a dead worker left. */
#include "fgw/state.h"

#include <stddef.h>
#include <string.h>

/* --- series: bits 0-1 protocol, 2-3 flags from the 17th on, 4-13 status, 14 always 1, 16-31 the first 16 flags, 32-58 metric id,
 * 59-63 gRPC status + 1; 0 is a free slot --- */

enum { KEY_USED = 1 << 14, KEY_OVERFLOW = 1 << 15, KEY_GRPC_SHIFT = 59, METRIC_ID_MASK = (1 << 27) - 1 };

uint64_t fgw_series_key(uint32_t metric_id, uint32_t status, uint32_t flags, uint32_t protocol) {
    return (uint64_t)(metric_id & METRIC_ID_MASK) << 32 | (uint64_t)(flags & 0xffff) << 16 | KEY_USED | (status & 0x3ff) << 4 |
           (flags >> 16 & 3) << 2 | (protocol & 3);
}

uint64_t fgw_series_key_grpc(uint64_t key, int grpc_status) {
    return key | (uint64_t)((unsigned)(grpc_status + 1) & 31) << KEY_GRPC_SHIFT;
}

/* 0.5 ms ... 3,600,000 ms in microseconds */
static const uint64_t BOUNDS_US[FGW_STATE_BUCKETS - 1] = {
    500,     1000,    5000,     10000,    25000,    50000,     100000,    250000,     500000,     1000000,
    2500000, 5000000, 10000000, 30000000, 60000000, 300000000, 600000000, 1800000000, 3600000000,
};
/* the same figures read as bytes, the first one (0.5) rounded to 0: sizes are whole */
static const uint64_t BOUNDS_BYTES[FGW_STATE_BUCKETS - 1] = {
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
};

/* First bucket whose bound is not below n. */
static int bucket_of(const uint64_t *bounds, uint64_t n) {
    int low = 0, high = FGW_STATE_BUCKETS - 1;
    while (low < high) {
        const int mid = (low + high) / 2;
        if (bounds[mid] < n)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int fgw_bucket_of_us(uint64_t us) { return bucket_of(BOUNDS_US, us); }

int fgw_bucket_of_bytes(uint64_t n) { return bucket_of(BOUNDS_BYTES, n); }

static void put_key(fgw_series *s, uint64_t key) { __atomic_store_n(&s->key, key, __ATOMIC_RELEASE); }

/* Linear probing, 64 places at the most, so that a crowded table stays quick: what finds no place by then is counted together. */
fgw_series *fgw_series_of(fgw_worker_state *w, uint64_t key) {
    const uint32_t places = FGW_STATE_SERIES - 1; /* the last one collects the overflow */
    const uint64_t mixed = (key ^ key >> 29) * 0x9e3779b97f4a7c15ull;
    uint32_t i = (uint32_t)((mixed >> 32) * places >> 32);
    for (uint32_t probes = 0; probes < 64; probes++) {
        fgw_series *s = &w->series[i];
        if (s->key == key)
            return s;
        if (s->key == 0) {
            put_key(s, key);
            return s;
        }
        i = i + 1 == places ? 0 : i + 1;
    }
    fgw_series *overflow = &w->series[places];
    if (overflow->key == 0)
        put_key(overflow, KEY_OVERFLOW);
    return overflow;
}

/* The same for the few label sets of relayed connections; what finds no place is counted in the last. */
fgw_tcp_series *fgw_tcp_series_of(fgw_worker_state *w, uint64_t key) {
    const uint32_t places = FGW_STATE_TCP_SERIES - 1;
    const uint64_t mixed = (key ^ key >> 29) * 0x9e3779b97f4a7c15ull;
    uint32_t i = (uint32_t)((mixed >> 32) * places >> 32);
    for (uint32_t probes = 0; probes < 64; probes++) {
        fgw_tcp_series *s = &w->tcp_series[i];
        if (s->key == 0)
            __atomic_store_n(&s->key, key, __ATOMIC_RELEASE);
        if (s->key == key)
            return s;
        i = i + 1 == places ? 0 : i + 1;
    }
    fgw_tcp_series *overflow = &w->tcp_series[places];
    if (overflow->key == 0)
        __atomic_store_n(&overflow->key, (uint64_t)KEY_OVERFLOW, __ATOMIC_RELEASE);
    return overflow;
}

static void bump(uint64_t *p, uint64_t by) { __atomic_store_n(p, *p + by, __ATOMIC_RELAXED); }

void fgw_series_add(fgw_series *s, uint64_t duration_us, uint64_t request_bytes, uint64_t response_bytes) {
    bump(&s->requests, 1);
    bump(&s->duration_us_sum, duration_us);
    bump(&s->request_bytes_sum, request_bytes);
    bump(&s->response_bytes_sum, response_bytes);
    bump(&s->duration[fgw_bucket_of_us(duration_us)], 1);
    bump(&s->request_bytes[fgw_bucket_of_bytes(request_bytes)], 1);
    bump(&s->response_bytes[fgw_bucket_of_bytes(response_bytes)], 1);
}

/* --- the block --- */

uint64_t fgw_state_bytes(uint32_t worker_slots) { return sizeof(fgw_state) + (uint64_t)worker_slots * sizeof(fgw_worker_state); }

void fgw_state_init(fgw_state *s, uint32_t worker_slots) {
    s->version = FGW_STATE_VERSION;
    s->worker_slots = worker_slots;
    s->total_bytes = fgw_state_bytes(worker_slots);
    s->rate_slots = FGW_STATE_RATE_GROUP;
    __atomic_store_n(&s->magic, FGW_STATE_MAGIC, __ATOMIC_RELEASE);
}

/* --- DNS slots: a sequence lock over 32-bit words, so that every access is an atomic one --- */

enum {
    DNS_HEAD_WORDS = (offsetof(fgw_dns_slot, addresses) - sizeof(uint32_t)) / sizeof(uint32_t), /* without the sequence */
    DNS_ADDRESS_WORDS = sizeof(fgw_dns_address) / sizeof(uint32_t),
    DNS_TRIES = 4096,
};

static void load_words(uint32_t *to, const uint32_t *from, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void store_words(uint32_t *to, const uint32_t *from, size_t n) {
    for (size_t i = 0; i < n; i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* A count that is read while it is written may be anything. */
static uint32_t dns_count(uint32_t count) { return count < FGW_STATE_DNS_ADDRESSES ? count : FGW_STATE_DNS_ADDRESSES; }

/* A writer that died half-way leaves the sequence odd until its successor writes: the slot then reads as not resolved. */
int fgw_dns_read(const fgw_dns_slot *slot, fgw_dns_slot *out) {
    for (int tries = 0; tries < DNS_TRIES; tries++) {
        const uint32_t before = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
        if (before & 1)
            continue;
        load_words(&out->status, &slot->status, DNS_HEAD_WORDS);
        out->count = dns_count(out->count);
        load_words((uint32_t *)out->addresses, (const uint32_t *)slot->addresses, out->count * DNS_ADDRESS_WORDS);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) != before)
            continue;
        out->sequence = before;
        return (int)out->status;
    }
    memset(out, 0, offsetof(fgw_dns_slot, addresses));
    return FGW_DNS_UNKNOWN;
}

void fgw_dns_write(fgw_dns_slot *slot, const fgw_dns_slot *in) {
    const uint32_t odd = __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&slot->sequence, odd, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    store_words(&slot->status, &in->status, DNS_HEAD_WORDS);
    store_words((uint32_t *)slot->addresses, (const uint32_t *)in->addresses, dns_count(in->count) * DNS_ADDRESS_WORDS);
    __atomic_store_n(&slot->sequence, odd + 1, __ATOMIC_RELEASE);
}

void fgw_cell_mark(fgw_cell *cell, uint32_t flags, int on) {
    if (on)
        __atomic_fetch_or(&cell->flags, flags, __ATOMIC_RELAXED);
    else
        __atomic_fetch_and(&cell->flags, ~flags, __ATOMIC_RELAXED);
}

/* --- a worker that died --- */

static void take_off(uint32_t *from, uint32_t *share) {
    if (*share != 0)
        __atomic_fetch_sub(from, *share, __ATOMIC_RELAXED);
    *share = 0;
}

static void forget_shares(fgw_state *s, fgw_worker_state *w) {
    for (uint32_t i = 0; i < w->shares_used && i < FGW_STATE_CLUSTERS; i++) {
        fgw_share *all = &s->clusters[i].all, *own = &w->shares[i];
        take_off(&all->connections, &own->connections);
        take_off(&all->pending, &own->pending);
        take_off(&all->requests, &own->requests);
        take_off(&all->retries, &own->retries);
    }
    w->shares_used = 0;
}

static void forget_connections(fgw_state *s, fgw_worker_state *w) {
    for (uint32_t i = 0; i < FGW_STATE_LISTENERS; i++)
        take_off(&s->listeners[i].connections, &w->listener_connections[i]);
    for (uint32_t i = 0; w->holders_used != 0 && i < FGW_STATE_HOLDERS; i++)
        if (w->holders[i].connections != 0)
            __atomic_store_n(&w->holders[i].connections, 0, __ATOMIC_RELAXED);
    w->holders_used = 0;
}

void fgw_state_forget_worker(fgw_state *s, uint32_t worker) {
    if (worker >= s->worker_slots)
        return;
    fgw_worker_state *w = &s->workers[worker];
    for (uint32_t i = 0; i < FGW_STATE_CELLS; i++) {
        const uint32_t share = w->active[i];
        if (share == 0)
            continue;
        __atomic_fetch_sub(&s->cells[i].active, share, __ATOMIC_RELAXED);
        w->active[i] = 0;
    }
    forget_shares(s, w);
    forget_connections(s, w);
    for (uint32_t i = FGW_G_CLIENT_ACTIVE; i < FGW_STATE_COUNTERS; i++)
        __atomic_store_n(&w->counters[i], 0, __ATOMIC_RELAXED);
}
