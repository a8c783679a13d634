/* A look at a TLS ClientHello without consuming it: SNI, ALPN, versions; reassembled over several records. */
#ifndef FGW_TLS_HELLO_H
#define FGW_TLS_HELLO_H
#include "base.h"

/* cffi:begin */
enum { FGW_HELLO_MAX = 16384, FGW_HELLO_ALPN_MAX = 255 };

typedef struct fgw_hello {
    uint16_t record_version;
    uint16_t legacy_version;
    uint16_t max_version; /* highest of supported_versions that is not GREASE, else legacy_version */
    uint8_t has_sni;      /* a well-formed hello without SNI has 0 */
    uint8_t has_alpn;
    uint8_t sni_len;
    uint8_t pad[3];
    uint16_t alpn_len; /* bytes of alpn */
    char sni[256];     /* lower-cased host name, checked: letters, digits, '-', '.', '_' */
    char alpn[256];    /* ALPN list as on the wire (length-prefixed names), cut after the last whole name that fits */
} fgw_hello;

/* Returns > 0: bytes of input up to the end of the hello (nothing is consumed from the peer's stream by looking),
 * 0: more bytes needed, < 0: FGW_R_NOT_TLS (known after the first wrong byte), FGW_R_HELLO_MALFORMED (lengths that lie,
 * a duplicate extension, two names, trailing junk), FGW_R_HELLO_TOO_LARGE (over 16 KiB of handshake).
 * GREASE values, post-quantum key shares and any record version 3.x are fine. */
long fgw_tls_hello_peek(const char *p, size_t n, fgw_hello *out);
/* cffi:end */

#endif
