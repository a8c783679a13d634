/* Sets of networks: which of them an address lies in, the longest prefix first. Flat bytes, position-independent and without a need
 * to be aligned: a set lies among the strings of a route image, or in memory of its own.
 *
 * Prefixes are written out into ranges when a set is made (fastgw/model/cidr.py), so that a look-up is one bisection, whatever lies
 * within what:
 *     uint32_t magic, count of IPv4 ranges, count of IPv6 ranges, 0
 *     uint32_t begins of the IPv4 ranges, ascending from 0.0.0.0 (as numbers); then a uint32_t value for each
 *     two uint64_t (the upper half first) for the begin of each IPv6 range, ascending from ::; then a uint32_t value for each
 * A range goes to the begin of the next one. Value 0 is that of addresses in no network. No ranges: all of them. */
#ifndef FGW_CIDR_H
#define FGW_CIDR_H
#include "base.h"

/* cffi:begin */
enum { FGW_CIDR_MAGIC = 0x43574746, /* "FGWC" */ FGW_CIDR_HEAD_BYTES = 16, FGW_IP_TEXT_MAX = 45 };

/* An address as IPv6 has it. IPv4 is what is mapped into it (::ffff:0:0/96, RFC 4291 section 2.5.5.2), however it was written. */
typedef struct fgw_ip {
    uint64_t high;
    uint64_t low;
} fgw_ip;

/* Of text as inet_pton(3) takes it, IPv4 or IPv6, without brackets, port or zone. 1, or 0 for what is no address. */
int fgw_ip_parse(const char *p, size_t n, fgw_ip *out);
/* Of 4 or 16 bytes in network order. */
fgw_ip fgw_ip_of_v4(const uint8_t *bytes);
fgw_ip fgw_ip_of_v6(const uint8_t *bytes);
int fgw_ip_is_v4(fgw_ip ip);
/* The first `bits` (of 32 for IPv4, else of 128) of an address, the rest zero. */
fgw_ip fgw_ip_prefix(fgw_ip ip, uint32_t v4_bits, uint32_t v6_bits);

/* Walk a set of n bytes once: 1 when every look-up in it stays within it, else 0. */
int fgw_cidr_check(const void *set, size_t n);
/* The value of the longest prefix that an address has in a checked set, 0 for none. */
uint32_t fgw_cidr_find(const void *set, fgw_ip ip);
/* cffi:end */

#endif
