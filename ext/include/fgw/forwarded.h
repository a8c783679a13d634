/* The client's address in x-forwarded-for, to which every proxy on the way has appended whom it was called by. */
#ifndef FGW_FORWARDED_H
#define FGW_FORWARDED_H
#include "cidr.h"

/* cffi:begin */
enum { FGW_FORWARDED_MAX = 64 /* addresses that are looked at in search of one that is not trusted */ };

/* Of the values of all its fields, joined by commas, as they came from a peer that is trusted. 1 and *out, or 0: nothing in them
 * counts, the peer is the client. Read from the right:
 *  - hops > 0: the address in that place (K15), whatever it is;
 *  - else over the addresses that lie in the set `trusted`, the first one that does not. What is no address ends the walk, as the
 *    beginning of the list does: then the last one that was read counts. */
int fgw_forwarded_client(const char *p, size_t n, uint32_t hops, const void *trusted, fgw_ip *out);
/* cffi:end */

#endif
