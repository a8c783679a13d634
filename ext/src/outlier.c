/* Outlier detection: errors in a row, counted in the endpoint's cell by all workers, lead to one verdict for all of them.
 *
 * Nothing has to sweep: an ejection carries its end, and who sees it over takes it back; the factor by which ejections grow fades
 * with each interval that passes without one, which is computed when the next one comes. */
#include "fgw/balance.h"
#include "image_read.h"

enum { LEASE_MS = 200, MAX_EJECTION_MS = 300000 };

static uint32_t load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

static uint64_t load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

int fgw_cell_usable(fgw_cell *cell, uint64_t now_ms) {
    const uint32_t flags = __atomic_load_n(&cell->flags, __ATOMIC_ACQUIRE);
    if (!(flags & (FGW_CELL_EJECTED | FGW_CELL_UNHEALTHY)))
        return 1;
    if (flags & FGW_CELL_EJECTED) {
        const uint64_t until = load64(&cell->ejected_until_ms);
        if (until == 0 || until > now_ms)
            return 0;
        __atomic_fetch_and(&cell->flags, ~(uint32_t)FGW_CELL_EJECTED, __ATOMIC_RELEASE);
    }
    return !(flags & FGW_CELL_UNHEALTHY);
}

/* A store costs the line to everybody, so only when there is something to forget. */
static void forget(uint32_t *count) {
    if (load32(count) != 0)
        __atomic_store_n(count, 0, __ATOMIC_RELAXED);
}

/* One more in a row; 1 for who counts the last that is borne, and the count begins anew. */
static int one_more(uint32_t *count, uint32_t limit) {
    if (limit == 0)
        return 0;
    if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) < limit)
        return 0;
    return __atomic_exchange_n(count, 0, __ATOMIC_RELAXED) >= limit;
}

static int is_error(const fgw_img_policy *p, uint32_t status) {
    const uint32_t n = status - 100;
    return n < 512 && (p->error_codes[n / 64] >> (n % 64) & 1) != 0;
}

int fgw_outlier_answer(const fgw_img_policy *p, fgw_cell *cell, uint32_t status) {
    const int error = is_error(p, status);
    int too_many = 0;
    if (error)
        too_many = one_more(&cell->errors_in_a_row, p->consecutive_errors);
    else
        forget(&cell->errors_in_a_row);
    if (error && status >= 502 && status <= 504)
        too_many |= one_more(&cell->gateway_errors_in_a_row, p->consecutive_gateway_errors);
    else
        forget(&cell->gateway_errors_in_a_row);
    return too_many;
}

int fgw_outlier_local(const fgw_img_policy *p, fgw_cell *cell) {
    if (p->flags & FGW_POLICY_SPLIT_LOCAL)
        return one_more(&cell->local_errors_in_a_row, p->consecutive_local_errors);
    /* counts as 503 (Q8), whatever statuses the policy names: those are of answers */
    return one_more(&cell->errors_in_a_row, p->consecutive_errors) |
           one_more(&cell->gateway_errors_in_a_row, p->consecutive_gateway_errors);
}

void fgw_outlier_connected(const fgw_img_policy *p, fgw_cell *cell, int whole) {
    if (p->flags & FGW_POLICY_SPLIT_LOCAL) {
        forget(&cell->local_errors_in_a_row);
    } else if (whole) {
        forget(&cell->errors_in_a_row);
        forget(&cell->gateway_errors_in_a_row);
    }
}

/* --- ejecting --- */

/* 0: a name, which has none. */
static uint32_t count_cell(fgw_state *state, uint32_t cell, uint64_t now_ms, uint32_t *ejected) {
    if (cell >= FGW_STATE_CELLS)
        return 0;
    fgw_cell *c = &state->cells[cell];
    fgw_cell_usable(c, now_ms);
    *ejected += (load32(&c->flags) & FGW_CELL_EJECTED) != 0;
    return 1;
}

/* Endpoints of the cluster and addresses of its names; *ejected: so many of them are. */
static uint32_t count_members(const void *image, fgw_state *state, const fgw_img_cluster *k, uint64_t now_ms, uint32_t *ejected) {
    const fgw_img_endpoint *e = FGW_TABLE(image, endpoints, fgw_img_endpoint) + k->endpoints.off;
    uint32_t members = 0;
    *ejected = 0;
    for (uint32_t i = 0; i < k->endpoints.count; i++)
        members += count_cell(state, e[i].cell, now_ms, ejected);
    if (k->discovery == FGW_DISCOVERY_DNS) {
        fgw_dns_slot slot;
        fgw_dns_read(&state->dns[k->dns_slot], &slot);
        for (uint32_t i = 0; i < slot.count; i++)
            members += count_cell(state, slot.addresses[i].cell, now_ms, ejected);
    }
    return members;
}

static uint64_t ejection_ms(const fgw_img_policy *p, fgw_cell *cell, uint64_t now_ms) {
    const uint64_t ended = load64(&cell->ejected_until_ms);
    uint64_t times = load32(&cell->ejections);
    if (ended != 0 && now_ms > ended && p->outlier_interval_ms != 0) {
        const uint64_t faded = (now_ms - ended) / p->outlier_interval_ms;
        times = times > faded ? times - faded : 0;
    }
    times += times < UINT32_MAX;
    __atomic_store_n(&cell->ejections, (uint32_t)times, __ATOMIC_RELAXED);
    const uint64_t most = p->base_ejection_ms > MAX_EJECTION_MS ? p->base_ejection_ms : MAX_EJECTION_MS;
    const uint64_t wanted = p->base_ejection_ms * times;
    return wanted < most ? wanted : most;
}

/* Who counts must not be overtaken, so one at a time; a lease, so that a worker that dies holds nobody up. */
int fgw_outlier_eject(const void *image, fgw_state *state, uint32_t cluster, uint32_t cell, uint64_t now_ms) {
    const fgw_img_cluster *k = FGW_TABLE(image, clusters, fgw_img_cluster) + cluster;
    const fgw_img_policy *p = FGW_TABLE(image, policies, fgw_img_policy) + k->policy;
    fgw_cluster_state *shared = &state->clusters[k->state];
    fgw_cell *c = &state->cells[cell];
    uint64_t lease = load64(&shared->eject_lease_ms);
    uint32_t ejected;
    if (!fgw_cell_usable(c, now_ms) || lease > now_ms ||
        !__atomic_compare_exchange_n(&shared->eject_lease_ms, &lease, now_ms + LEASE_MS, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return 0;
    const uint64_t members = count_members(image, state, k, now_ms, &ejected);
    const int may = p->max_ejection_percent > 0 &&
                    (ejected == 0 || ((uint64_t)ejected + 1) * 100 <= members * p->max_ejection_percent);
    if (may) {
        const uint64_t until = now_ms + ejection_ms(p, c, now_ms);
        __atomic_store_n(&c->ejected_until_ms, until, __ATOMIC_RELAXED);
        __atomic_fetch_or(&c->flags, FGW_CELL_EJECTED, __ATOMIC_RELEASE);
        __atomic_fetch_add(&shared->ejections, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&shared->eject_lease_ms, 0, __ATOMIC_RELEASE);
    return may ? 1 : -1;
}
