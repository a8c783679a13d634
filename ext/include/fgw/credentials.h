/* The credentials block: certificates, keys and CAs by name, as PEM. It goes to workers beside the route image, in a sealed memory
 * file of its own, so that an image can be kept, shown and compared without showing a key. Built by the control side, checked once
 * by fgw_credentials_check(). All integers are little-endian; offsets count from the first byte. */
#ifndef FGW_CREDENTIALS_H
#define FGW_CREDENTIALS_H
#include "base.h"

/* cffi:begin */
enum { FGW_CREDENTIALS_VERSION = 1 };

typedef struct fgw_credentials_header {
    uint64_t magic; /* "FGWCREDS" */
    uint32_t version;
    uint32_t count; /* of fgw_credential records, right behind the header, sorted by name (bytewise) */
    uint64_t total_bytes;
} fgw_credentials_header;

/* Spans count from the first byte of the block. What a credential lacks is empty. */
typedef struct fgw_credential {
    fgw_span name;        /* "kubernetes://namespace/name", "file-cert:CERTIFICATE~KEY", "file-ca:PATH" */
    fgw_span chain;       /* PEM: the certificate, then its issuers */
    fgw_span key;         /* PEM, not encrypted */
    fgw_span ca;          /* PEM: one or more */
    fgw_span crl;         /* PEM: one or more */
    uint64_t fingerprint; /* of all of the above: what was made from a credential is good as long as this stays */
} fgw_credential;

/* Walk the whole block once: sizes, spans, order. Returns 1, or minus FGW_R_IMAGE_*. */
long fgw_credentials_check(const void *block, size_t n);
/* The credential of this name, or NULL. */
const fgw_credential *fgw_credentials_find(const void *block, const char *name, size_t n);
/* cffi:end */

#define FGW_CREDENTIALS_MAGIC 0x5344455243574746ull /* "FGWCREDS" read as little-endian */

#endif
