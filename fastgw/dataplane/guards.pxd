"""What EdgePolicies ask of requests and of connections."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Image
from fastgw.dataplane.steps cimport Guard
from fastgw.native.cidr cimport fgw_ip


cdef class RouteGuard(Guard):
    pass


cdef const char *why_denied(Image image, uint32_t guard, const fgw_ip *client) except? NULL
