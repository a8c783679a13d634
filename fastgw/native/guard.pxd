"""ext/include/fgw/guard.h for Cython."""
from libc.stdint cimport uint32_t

from fastgw.native.cidr cimport fgw_ip


cdef extern from "fgw/guard.h" nogil:
    uint32_t fgw_guard_denies(const void *image, uint32_t guard, const fgw_ip *ip, int *named)
