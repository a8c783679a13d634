"""ext/include/fgw/text.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "fgw/text.h" nogil:
    enum:
        FGW_DECIMAL_MAX
        FGW_IPV4_PORT_MAX
        FGW_ESCAPED_MAX

    size_t fgw_write_decimal(char *out, uint64_t n)
    size_t fgw_write_fraction(char *out, uint32_t ns, unsigned count)
    size_t fgw_write_ipv4_port(char *out, const uint8_t *ip, uint16_t port)
    size_t fgw_escape(char *out, const char *p, size_t n, bint json)
