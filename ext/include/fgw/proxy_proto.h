/* The header that a proxy in front puts before everything else on a connection: whose connection it is (PROXY protocol
 * specification, versions 1 and 2). */
#ifndef FGW_PROXY_PROTO_H
#define FGW_PROXY_PROTO_H
#include "cidr.h"

/* cffi:begin */
enum {
    FGW_PROXY_LINE_MAX = 107,   /* version 1, with its line end (section 2.1) */
    FGW_PROXY_HEADER_MAX = 4096 /* version 2, with everything that it carries along */
};

typedef struct fgw_proxy_header {
    fgw_ip source;
    fgw_ip destination;
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t version;
    uint8_t tells; /* 0: no addresses (UNKNOWN, LOCAL, UNSPEC, unix sockets), those of the socket count */
    uint8_t pad[2];
} fgw_proxy_header;

/* Returns > 0: bytes of the header, whatever follows is not looked at; 0: more bytes needed; < 0: FGW_R_PROXY_MISSING (known after
 * the first wrong byte), FGW_R_PROXY_MALFORMED, FGW_R_PROXY_TOO_LONG, FGW_R_PROXY_CHECKSUM (there is a CRC32c, and it is wrong). */
long fgw_proxy_header_parse(const char *p, size_t n, fgw_proxy_header *out);
/* CRC32c of the bytes (RFC 3720 appendix B.4). */
uint32_t fgw_crc32c(const void *p, size_t n);
/* cffi:end */

#endif
