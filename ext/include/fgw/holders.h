/* Who holds how many client connections, over all workers: listeners, and source addresses at a listener. */
#ifndef FGW_HOLDERS_H
#define FGW_HOLDERS_H
#include "cidr.h"
#include "state.h"

/* cffi:begin */
/* The listener's place among fgw_state.listeners, which it keeps; FGW_STATE_LISTENERS when there is none left. */
uint32_t fgw_listener_place(fgw_state *s, const char *name, size_t n);
/* One connection more for a worker: 1, or 0 and nothing is counted when the listener has `limit` of them (0: no limit). Exact: however
 * many workers ask at once, no more than `limit` are counted. */
int fgw_listener_enter(fgw_state *s, fgw_worker_state *w, uint32_t place, uint32_t limit);
void fgw_listener_leave(fgw_state *s, fgw_worker_state *w, uint32_t place);
/* Connections of a listener on all workers. */
uint32_t fgw_listener_total(const fgw_state *s, uint32_t place);

/* A secret that the keys of source addresses depend on, so that nobody can choose addresses that share a set. The first one counts. */
void fgw_holder_seed(fgw_state *s, uint64_t seed);
/* The key of an address at a listener; of IPv6 the first 64 bits count, as one customer has all the rest. Never 0. */
uint64_t fgw_holder_key(const fgw_state *s, uint32_t place, fgw_ip ip);
/* One connection more for a worker: 1; 0 and nothing is counted when the address has `limit` of them on all workers; -1 when the worker has
 * no place to count it in. Never more than `limit` are counted, and of any number that come at the same instant for the last
 * places as many as there are places. */
int fgw_holder_enter(fgw_state *s, fgw_worker_state *w, uint64_t key, uint32_t limit);
void fgw_holder_leave(fgw_worker_state *w, uint64_t key);
/* cffi:end */

#endif
