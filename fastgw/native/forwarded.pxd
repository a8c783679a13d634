"""ext/include/fgw/forwarded.h for Cython."""
from libc.stdint cimport uint32_t

from fastgw.native.cidr cimport fgw_ip


cdef extern from "fgw/forwarded.h" nogil:
    bint fgw_forwarded_client(const char *p, size_t n, uint32_t hops, const void *trusted, fgw_ip *out)
