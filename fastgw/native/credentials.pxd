"""ext/include/fgw/credentials.h for Cython."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.native.base cimport fgw_span


cdef extern from "fgw/credentials.h" nogil:
    ctypedef struct fgw_credentials_header:
        uint64_t magic
        uint32_t version
        uint32_t count
        uint64_t total_bytes

    ctypedef struct fgw_credential:
        fgw_span name
        fgw_span chain
        fgw_span key
        fgw_span ca
        fgw_span crl
        uint64_t fingerprint

    long fgw_credentials_check(const void *block, size_t n)
    const fgw_credential *fgw_credentials_find(const void *block, const char *name, size_t n)
