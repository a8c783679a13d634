/* Request targets: path normalisation as Envoy/Istio BASE, host:port split, host checks. */
#ifndef FGW_URI_H
#define FGW_URI_H
#include "base.h"

/* cffi:begin */
enum fgw_path_mode {
    FGW_PATH_NONE = 0,
    FGW_PATH_BASE = 1,            /* dot segments, '\' to '/', %-decoding of unreserved characters (Istio BASE, the default) */
    FGW_PATH_MERGE_SLASHES = 2,   /* BASE and '//' to '/' */
    FGW_PATH_DECODE_AND_MERGE = 3 /* %2F and %5C decoded first, then MERGE_SLASHES */
};

/* Normalise path[0..n) (no query) into out (cap >= n + 1). Returns the new length, >= 1, or minus FGW_R_BAD_ESCAPE
 * (incomplete or invalid %XX, or %00, in every mode) or FGW_R_PATH_ABOVE_ROOT; or, by mistakes of the caller, FGW_R_BAD_TARGET
 * (no '/' in front) or FGW_R_TARGET_TOO_LONG (no room). An empty path becomes "/". %2F and %5C stay encoded but in
 * DECODE_AND_MERGE; nothing is ever decoded twice. Hex digits of kept escapes keep their case. */
long fgw_path_normalize(const char *path, size_t n, int mode, char *out, size_t cap);
/* True when normalising in BASE mode would change nothing (fast scan, no writes). */
int fgw_path_is_normal(const char *path, size_t n);

/* Check and split reg-name / IPv4 / [IPv6], optional ":" 1*5DIGIT <= 65535, at most 255 bytes (requirement B5).
 * Returns n (> 0) or minus FGW_R_BAD_HOST. *port is 0 without a port. host excludes the port, keeps brackets. */
long fgw_authority_split(const char *p, size_t n, fgw_span *host, uint32_t *port);
/* cffi:end */

#endif
