/* Text that is written: numbers, addresses, and bytes from outside made harmless for a line of the log. */
#ifndef FGW_TEXT_H
#define FGW_TEXT_H
#include "base.h"

enum {
    FGW_DECIMAL_MAX = 20,     /* digits of a uint64_t */
    FGW_IPV4_PORT_MAX = 21,   /* 255.255.255.255:65535 */
    FGW_ESCAPED_MAX = 6       /* bytes that one becomes at the most */
};

/* All return the number of bytes written; out has room for the most. */

size_t fgw_write_decimal(char *out, uint64_t n);
/* The first `count` (at most 9) of nine digits: fractions of a second, cut and not rounded. */
size_t fgw_write_fraction(char *out, uint32_t ns, unsigned count);
/* ip in network order. */
size_t fgw_write_ipv4_port(char *out, const uint8_t ip[4], uint16_t port);

/* p[0..n) as one line may hold it: quote, backslash, control bytes and everything from 0x7F on become \xHH (lower-case digits), or
 * within a JSON string (RFC 8259 section 7) \", \\ and \u00HH. */
size_t fgw_escape(char *out, const char *p, size_t n, int json);

#endif
