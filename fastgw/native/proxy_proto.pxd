"""ext/include/fgw/proxy_proto.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t

from fastgw.native.cidr cimport fgw_ip


cdef extern from "fgw/proxy_proto.h" nogil:
    ctypedef struct fgw_proxy_header:
        fgw_ip source
        fgw_ip destination
        uint16_t source_port
        uint16_t destination_port
        uint8_t tells

    long fgw_proxy_header_parse(const char *p, size_t n, fgw_proxy_header *out)
