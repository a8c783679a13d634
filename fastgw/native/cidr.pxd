"""Addresses and sets of networks: ext/include/fgw/cidr.h."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "fgw/cidr.h" nogil:
    enum:
        FGW_IP_TEXT_MAX

    ctypedef struct fgw_ip:
        uint64_t high
        uint64_t low

    bint fgw_ip_parse(const char *p, size_t n, fgw_ip *out)
    fgw_ip fgw_ip_of_v4(const uint8_t *bytes)
    fgw_ip fgw_ip_of_v6(const uint8_t *bytes)
    bint fgw_ip_is_v4(fgw_ip ip)
    fgw_ip fgw_ip_prefix(fgw_ip ip, uint32_t v4_bits, uint32_t v6_bits)
    bint fgw_cidr_check(const void *set, size_t n)
    uint32_t fgw_cidr_find(const void *set, fgw_ip ip)
