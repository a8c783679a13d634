/* Rings and Maglev tables of consistent hashing, built once for a set of endpoints. Both depend on the endpoints' addresses and
 * weights alone, so every build of the same set gives the same answers. */
#include <string.h>

#include "fgw/balance.h"
#include "fgw/sticky.h"

/* Points of the heaviest endpoint: shares of the ring then differ by 1 / sqrt(256), 6 %. The number does not depend on how many
 * endpoints there are, else those that stay would get other points, and lose keys to each other, when one leaves. */
enum { POINTS_LEAST = 256, POINTS_MOST = 1 << 20, /* of a ring */ RING_SHARES = 4 };

uint64_t fgw_endpoint_identity(uint8_t family, const uint8_t *ip, uint16_t port, const char *path, size_t n) {
    if (family == FGW_FAMILY_UNIX)
        return fgw_hash64(path, n, FGW_FAMILY_UNIX);
    const size_t length = family == FGW_FAMILY_IPV4 ? 4 : 16;
    return fgw_hash64(ip, length, (uint64_t)family << 16 | port);
}

typedef struct shares {
    uint64_t heaviest; /* weight */
    uint64_t points;   /* of an endpoint with that weight */
} shares;

static shares shares_of(const uint32_t *weights, uint32_t n, uint32_t minimum) {
    shares s = {1, minimum / RING_SHARES > POINTS_LEAST ? minimum / RING_SHARES : POINTS_LEAST};
    for (uint32_t i = 0; i < n; i++)
        s.heaviest = weights[i] > s.heaviest ? weights[i] : s.heaviest;
    if (s.points * n > POINTS_MOST)
        s.points = POINTS_MOST / n > 0 ? POINTS_MOST / n : 1;
    return s;
}

static uint64_t points_of(const shares *s, uint32_t weight) {
    const uint64_t points = weight * s->points / s->heaviest;
    return points > 0 ? points : 1;
}

uint32_t fgw_ring_size(const uint32_t *weights, uint32_t n, uint32_t minimum) {
    const shares s = shares_of(weights, n, minimum);
    uint64_t size = 0;
    for (uint32_t i = 0; i < n; i++)
        size += points_of(&s, weights[i]);
    return size < FGW_RING_MAX ? (uint32_t)size : FGW_RING_MAX;
}

/* --- heap sort by (hash, identity), so that the order in which endpoints are listed is of no account: in place, never worse than
 * n log n --- */

static int before(const uint64_t *identities, const fgw_img_ring_point *a, const fgw_img_ring_point *b) {
    return a->hash != b->hash ? a->hash < b->hash : identities[a->endpoint] < identities[b->endpoint];
}

static void sift(const uint64_t *identities, fgw_img_ring_point *p, uint64_t at, uint64_t n) {
    const fgw_img_ring_point moved = p[at];
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(identities, &p[child], &p[child + 1]))
            child++;
        if (!before(identities, &moved, &p[child]))
            break;
        p[at] = p[child];
        at = child;
    }
    p[at] = moved;
}

static void sort(const uint64_t *identities, fgw_img_ring_point *p, uint64_t n) {
    for (uint64_t i = n / 2; i-- > 0;)
        sift(identities, p, i, n);
    for (uint64_t end = n; end-- > 1;) {
        const fgw_img_ring_point top = p[0];
        p[0] = p[end];
        p[end] = top;
        sift(identities, p, 0, end);
    }
}

void fgw_ring_build(const uint64_t *identities, const uint32_t *weights, uint32_t n, uint32_t minimum, fgw_img_ring_point *points,
                    uint32_t size) {
    const shares s = shares_of(weights, n, minimum);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t k = 0, own = points_of(&s, weights[i]); k < own && at < size; k++, at++) {
            points[at].hash = (uint32_t)(fgw_hash64(&identities[i], sizeof identities[i], k) >> 32);
            points[at].endpoint = i;
        }
    sort(identities, points, at);
}

/* --- Maglev (Eisenbud et al., NSDI 2016, section 3.4): every endpoint walks its own permutation of the places and takes the next
 * free one when it is its turn; turns come in proportion to the weights. --- */

static uint32_t free_place(const fgw_img_maglev_place *places, uint32_t size, uint64_t identity, uint64_t *step) {
    const uint64_t offset = identity % size, skip = fgw_hash64(&identity, sizeof identity, 1) % (size - 1) + 1;
    for (;;) {
        const uint64_t place = (offset + skip * *step) % size;
        *step += 1;
        if (places[place].endpoint == FGW_NONE)
            return (uint32_t)place;
    }
}

int fgw_maglev_build(const uint64_t *identities, const uint32_t *weights, const uint32_t *order, uint32_t n,
                     fgw_img_maglev_place *places, uint32_t size, uint64_t *scratch) {
    uint64_t *steps = scratch, *due = scratch + n;
    uint32_t greatest = 1, taken = 0;
    if (n > size || size < 2)
        return 0;
    memset(places, 0xff, (size_t)size * sizeof *places);
    memset(scratch, 0, 2 * (size_t)n * sizeof *scratch);
    for (uint32_t i = 0; i < n; i++)
        greatest = weights[i] > greatest ? weights[i] : greatest;
    for (;;) {
        for (uint32_t k = 0; k < n; k++) {
            const uint32_t i = order[k];
            /* the heaviest has a turn in every round, others when their share has added up */
            due[i] += weights[i];
            if (due[i] < greatest)
                continue;
            due[i] -= greatest;
            places[free_place(places, size, identities[i], &steps[i])].endpoint = i;
            if (++taken == size)
                return 1;
        }
    }
}
