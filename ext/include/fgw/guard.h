/* Guards: what is asked of a request before anything else is done with it. */
#ifndef FGW_GUARD_H
#define FGW_GUARD_H
#include "cidr.h"
#include "image.h"

/* cffi:begin */
/* The source list of a guard that keeps a client out, FGW_NONE when all let it in. `ip`: NULL for a client without an IP address (it
 * came by a Unix socket). *named: is its address among the denied ones, or in none of the networks? */
uint32_t fgw_guard_denies(const void *image, uint32_t guard, const fgw_ip *ip, int *named);
/* cffi:end */

#endif
