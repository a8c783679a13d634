"""What routes do with requests before they are forwarded: faults and CORS."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport RouteFilter
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport fgw_field
from fastgw.native.route cimport fgw_img_cors, fgw_img_route_policy, fgw_route_request


cdef class RouteFilters(RouteFilter):
    cdef bint abort(self, Exchange x, const fgw_img_route_policy *policy) except -1
    cdef bint cors(self, Exchange x, const fgw_img_cors *cors, const fgw_route_request *q) except -1
    cdef int answer_preflight(self, Exchange x, const fgw_img_cors *cors, const fgw_field *origin,
                              const fgw_field *method) except -1
