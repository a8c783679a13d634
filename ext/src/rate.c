/* Rate limits (fgw/rate.h).
 *
 * A bucket lies in one of the slots of its group, the first from a place of its own on that holds it. Who finds it there only swaps its
 * time. Who does not takes the group's lock, under which alone buckets are made: of a free slot, or of one whose time is past, since a
 * full bucket is the same as none. Its time is CLAIMED meanwhile, so that nobody who still means the bucket before can change it.
 * Times of a slot only grow (but for what is put back), so a swap never takes a new time for an old one.
 *
 * A worker that dies under a lock leaves it, and a slot that is CLAIMED, behind: both are taken over. */
#include "fgw/rate.h"

#include "image_read.h"
#include "lock.h"
#include "request_read.h"

#define CLAIMED UINT64_MAX

/* --- keys --- */

typedef struct sip {
    uint64_t v[4];
    uint64_t tail; /* bytes that do not fill a word yet */
    uint64_t total;
} sip;

static uint64_t rotate(uint64_t w, int bits) { return w << bits | w >> (64 - bits); }

static void sip_round(uint64_t *v) {
    v[0] += v[1], v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1], v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(sip *s, uint64_t word) {
    s->v[3] ^= word;
    sip_round(s->v);
    sip_round(s->v);
    s->v[0] ^= word;
}

static sip sip_begin(const uint64_t *seed) {
    return (sip){{seed[0] ^ 0x736f6d6570736575ull, seed[1] ^ 0x646f72616e646f6dull, seed[0] ^ 0x6c7967656e657261ull,
                  seed[1] ^ 0x7465646279746573ull},
                 0,
                 0};
}

static void sip_add(sip *s, const void *data, size_t n) {
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < n; i++) {
        s->tail |= (uint64_t)p[i] << 8 * (s->total & 7);
        if ((++s->total & 7) == 0) {
            sip_word(s, s->tail);
            s->tail = 0;
        }
    }
}

static uint64_t sip_end(sip *s) {
    sip_word(s, s->tail | s->total << 56);
    s->v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(s->v);
    return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

uint64_t fgw_siphash(const uint64_t *seed, const void *p, size_t n) {
    sip s = sip_begin(seed);
    sip_add(&s, p, n);
    return sip_end(&s);
}

/* Every value, each with its length, so that no two lists of values look alike; their number last, so that none is not one empty. */
static void add_header(sip *s, const fgw_route_request *req, uint8_t id, const char *name, size_t n) {
    uint32_t count = 0;
    if (id == FGW_HDR_HOST) { /* HTTP/2 has no field for it */
        sip_add(s, req->authority, req->authority_len);
        return;
    }
    for (uint32_t i = 0; i < req->field_count; i++) {
        const fgw_field *f = &req->fields[i];
        if (!fgw_is_named(req, f, id, name, n))
            continue;
        sip_add(s, &f->value_len, sizeof f->value_len);
        sip_add(s, req->base + f->value_off, f->value_len);
        count++;
    }
    sip_add(s, &count, sizeof count);
}

static void add_source(sip *s, const fgw_img_rate_key *k, const fgw_ip *ip) {
    const fgw_ip network = ip != NULL ? fgw_ip_prefix(*ip, k->v4_bits, k->v6_bits) : (fgw_ip){0, 0};
    sip_add(s, &network, sizeof network);
}

uint64_t fgw_rate_key(const void *image, const fgw_state *state, uint32_t index, const fgw_route_request *req, const fgw_ip *ip) {
    const fgw_img_rate_limit *limit = FGW_TABLE(image, rate_limits, fgw_img_rate_limit) + index;
    const fgw_img_rate_key *keys = FGW_TABLE(image, rate_keys, fgw_img_rate_key) + limit->keys.off;
    sip s = sip_begin(state->rate_seed);
    sip_add(&s, &limit->identity, sizeof limit->identity);
    for (uint32_t i = 0; i < limit->keys.count; i++) {
        if (keys[i].kind == FGW_RATE_BY_SOURCE)
            add_source(&s, &keys[i], ip);
        else
            add_header(&s, req, keys[i].header_id, fgw_strings_of(image) + keys[i].name.off, keys[i].name.len);
    }
    return sip_end(&s);
}

/* --- slots --- */

static uint64_t load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static int swap(uint64_t *p, uint64_t expected, uint64_t wanted) {
    return __atomic_compare_exchange_n(p, &expected, wanted, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static uint64_t nonzero(uint64_t key) { return key != 0 ? key : 1; }

static uint32_t group_of(const fgw_state *s, uint64_t key) {
    return (uint32_t)(key >> 32) & (s->rate_slots / FGW_STATE_RATE_GROUP - 1);
}

static fgw_rate_slot *place(fgw_state *s, uint32_t group, uint64_t key, uint32_t i) {
    return &s->rate[(size_t)group * FGW_STATE_RATE_GROUP + ((uint32_t)key + i) % FGW_STATE_RATE_GROUP];
}

/* Buckets are made in the first place that is free, and no slot that was used becomes unused: the search ends at an unused one. */
static fgw_rate_slot *find(fgw_state *s, uint32_t group, uint64_t key) {
    for (uint32_t i = 0; i < FGW_STATE_RATE_GROUP; i++) {
        fgw_rate_slot *slot = place(s, group, key, i);
        const uint64_t there = load(&slot->key);
        if (there == key)
            return slot;
        if (there == 0)
            return NULL;
    }
    return NULL;
}

static void tell(const fgw_rate *r, uint64_t until, uint64_t now, fgw_rate_answer *out) {
    const uint64_t used = until > now ? until - now : 0, whole = r->interval_ns * r->burst;
    out->full_ns = used;
    out->remaining = used < whole ? (whole - used) / r->interval_ns : 0;
    out->retry_ns = 0;
}

/* Take from the bucket of a slot; -1 when it is not (any more) this bucket's, or is being made. The time is read before the key: when
 * the swap succeeds, the slot has not changed hands in between. */
static int take_from(fgw_rate_slot *slot, uint64_t key, const fgw_rate *r, uint64_t now, fgw_rate_answer *out) {
    const uint64_t whole = r->interval_ns * r->burst;
    for (;;) {
        const uint64_t until = load(&slot->until_ns);
        if (load(&slot->key) != key || until == CLAIMED)
            return -1;
        const uint64_t next = (until > now ? until : now) + r->interval_ns;
        if (next - now > whole) {
            tell(r, until, now, out);
            out->retry_ns = next - now - whole;
            return FGW_RATE_REFUSED;
        }
        if (swap(&slot->until_ns, until, next)) {
            tell(r, next, now, out);
            return FGW_RATE_ALLOWED;
        }
    }
}

/* --- new buckets --- */

static void make(fgw_rate_slot *slot, uint64_t key, uint64_t until) {
    __atomic_store_n(&slot->key, key, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->until_ns, until, __ATOMIC_RELEASE);
}

/* Under the lock: the bucket that somebody has made meanwhile, a new one, or none. */
static int take_new(fgw_state *s, uint32_t group, uint64_t key, const fgw_rate *r, uint64_t now, fgw_rate_answer *out) {
    fgw_rate_slot *slot = find(s, group, key);
    const int taken = slot != NULL ? take_from(slot, key, r, now, out) : -1;
    if (taken >= 0)
        return taken;
    for (uint32_t i = 0; i < FGW_STATE_RATE_GROUP; i++) {
        slot = place(s, group, key, i);
        const uint64_t until = load(&slot->until_ns);
        if (until != CLAIMED && (until > now || !swap(&slot->until_ns, until, CLAIMED)))
            continue;
        make(slot, key, now + r->interval_ns);
        tell(r, now + r->interval_ns, now, out);
        return FGW_RATE_ALLOWED;
    }
    return FGW_RATE_NO_SLOT;
}

int fgw_rate_take(fgw_state *s, uint64_t key, const fgw_rate *r, uint64_t now, fgw_rate_answer *out) {
    key = nonzero(key);
    const uint32_t group = group_of(s, key);
    fgw_rate_slot *slot = find(s, group, key);
    int verdict = slot != NULL ? take_from(slot, key, r, now, out) : -1;
    if (verdict >= 0)
        return verdict;
    const uint64_t own = fgw_lock(&s->rate_locks[group]);
    verdict = take_new(s, group, key, r, now, out);
    fgw_unlock(&s->rate_locks[group], own);
    if (verdict == FGW_RATE_NO_SLOT) {
        __atomic_fetch_add(&s->rate_unlimited, 1, __ATOMIC_RELAXED);
        *out = (fgw_rate_answer){r->burst, 0, 0};
    }
    return verdict;
}

void fgw_rate_give_back(fgw_state *s, uint64_t key, const fgw_rate *r) {
    key = nonzero(key);
    fgw_rate_slot *slot = find(s, group_of(s, key), key);
    while (slot != NULL) {
        const uint64_t until = load(&slot->until_ns);
        if (load(&slot->key) != key || until == CLAIMED || until < r->interval_ns ||
            swap(&slot->until_ns, until, until - r->interval_ns))
            return;
    }
}

void fgw_rate_count(fgw_state *s, uint32_t number, int allowed) {
    fgw_rate_counts *counts = &s->rate_counts[number];
    __atomic_fetch_add(allowed ? &counts->allowed : &counts->limited, 1, __ATOMIC_RELAXED);
}

void fgw_rate_shape(fgw_state *s, uint64_t slots, uint64_t seed0, uint64_t seed1) {
    uint32_t count = FGW_STATE_RATE_GROUP;
    while (count < slots && count < FGW_STATE_RATE_SLOTS)
        count *= 2;
    s->rate_slots = count;
    s->rate_seed[0] = seed0;
    s->rate_seed[1] = seed1;
}
