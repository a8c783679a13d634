/* The budget of retries. Counts of requests are those of the endpoints, which are kept anyway: they are added up when a retry is
 * wanted, so that a request that goes well pays nothing. */
#include "fgw/retries.h"

#include "image_read.h"

static uint32_t active_at(const fgw_state *state, uint32_t cell) {
    return cell < FGW_STATE_CELLS ? __atomic_load_n(&state->cells[cell].active, __ATOMIC_RELAXED) : 0;
}

static uint64_t active_of(const void *image, fgw_state *state, const fgw_img_cluster *k) {
    const fgw_img_endpoint *endpoints = FGW_TABLE(image, endpoints, fgw_img_endpoint) + k->endpoints.off;
    uint64_t active = 0;
    for (uint32_t i = 0; i < k->endpoints.count; i++)
        if (endpoints[i].family != FGW_FAMILY_NAME)
            active += active_at(state, endpoints[i].cell);
    if (k->discovery == FGW_DISCOVERY_DNS) {
        fgw_dns_slot slot;
        fgw_dns_read(&state->dns[k->dns_slot], &slot);
        for (uint32_t i = 0; i < slot.count; i++)
            active += active_at(state, slot.addresses[i].cell);
    }
    return active;
}

/* hundredths: of a per cent. */
static uint64_t budget_of(const void *image, fgw_state *state, const fgw_img_cluster *k, uint32_t hundredths, uint32_t least) {
    const uint64_t share = (active_of(image, state, k) + 1) * hundredths / 10000;
    return share > least ? share : least;
}

/* UINT64_MAX: no bound. What the cluster's policy says takes the place of the gateway's percentage (J15). */
static uint64_t bound_of(const void *image, fgw_state *state, const fgw_img_cluster *k, uint32_t percent) {
    if (k->policy != FGW_NONE) {
        const fgw_img_policy *policy = FGW_TABLE(image, policies, fgw_img_policy) + k->policy;
        if (policy->retry_share != FGW_NO_SHARE)
            return budget_of(image, state, k, policy->retry_share, policy->max_retries);
        if (policy->max_retries != FGW_NONE)
            return policy->max_retries;
    }
    return percent == 0 ? UINT64_MAX : budget_of(image, state, k, percent * 100, FGW_RETRIES_LEAST);
}

int fgw_retry_begin(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster, uint32_t percent) {
    const fgw_img_cluster *k = FGW_TABLE(image, clusters, fgw_img_cluster) + cluster;
    fgw_worker_state *w = &state->workers[worker];
    uint32_t *all = &state->clusters[k->state].all.retries;
    const uint64_t bound = bound_of(image, state, k, percent);
    uint32_t now = __atomic_load_n(all, __ATOMIC_RELAXED);
    do {
        if (now >= bound)
            return 0;
    } while (!__atomic_compare_exchange_n(all, &now, now + 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    w->shares[k->state].retries++;
    if (w->shares_used <= k->state)
        w->shares_used = k->state + 1;
    return 1;
}

void fgw_retry_end(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster) {
    const fgw_img_cluster *k = FGW_TABLE(image, clusters, fgw_img_cluster) + cluster;
    __atomic_fetch_sub(&state->clusters[k->state].all.retries, 1, __ATOMIC_RELAXED);
    state->workers[worker].shares[k->state].retries--;
}
