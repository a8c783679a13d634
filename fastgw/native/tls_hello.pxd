"""ext/include/fgw/tls_hello.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t


cdef extern from "fgw/tls_hello.h" nogil:
    ctypedef struct fgw_hello:
        uint16_t record_version
        uint16_t legacy_version
        uint16_t max_version
        uint8_t has_sni
        uint8_t has_alpn
        uint8_t sni_len
        uint16_t alpn_len
        char sni[256]
        char alpn[256]

    long fgw_tls_hello_peek(const char *p, size_t n, fgw_hello *out)
