/* How many retries a cluster bears at a time, on counts that all workers share. */
#ifndef FGW_RETRIES_H
#define FGW_RETRIES_H
#include "image.h"
#include "state.h"

/* cffi:begin */
enum { FGW_RETRIES_LEAST = 3 };
/* Take a place for a retry to this cluster, for as long as it is under way. `percent`: of the requests under way there (this one
 * included) so many may be retries, FGW_RETRIES_LEAST in any case; 0: no bound. A policy's maxRetries counts instead. 1, or 0 when
 * there is no place. */
int fgw_retry_begin(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster, uint32_t percent);
/* Give the place back. */
void fgw_retry_end(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster);
/* cffi:end */

#endif
