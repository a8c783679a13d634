/* Paths and locations that a matched rule makes of a request (sections M). */
#ifndef FGW_REWRITE_H
#define FGW_REWRITE_H
#include "route.h"

/* cffi:begin */
/* Bytes that are enough for fgw_redirect_location(). */
size_t fgw_redirect_location_max(const void *image, uint32_t rule, const fgw_route_request *req);
/* The Location of a rule with FGW_ACTION_REDIRECT (M6 to M8); its length. */
size_t fgw_redirect_location(const void *image, uint32_t rule, const fgw_route_request *req, char *to);
/* Bytes that fgw_rewrite_path() may write; 0 when the rule's policy does not rewrite paths. */
size_t fgw_rewrite_path_max(const void *image, uint32_t rule, const fgw_route_request *req);
/* The path for the upstream, with '?' and query (M11 to M14). Its length, *path_len is that without the query; 0 when the path
 * stays as it is; < 0 when it does not fit in `cap`. */
long fgw_rewrite_path(const void *image, uint32_t rule, const fgw_route_request *req, fgw_regexes *regexes,
                      const fgw_regex_calls *calls, char *to, size_t cap, size_t *path_len);
/* cffi:end */

#endif
