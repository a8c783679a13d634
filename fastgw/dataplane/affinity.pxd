"""What keeps a client at the same destination and at the same endpoint."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.native.route cimport fgw_img_action, fgw_img_policy, fgw_route_request

cdef uint32_t draw_destination(Exchange x, const fgw_img_action *a, const fgw_route_request *q) noexcept
cdef size_t write_sticky_cookie(Exchange x, char *to) noexcept
cdef int find_hash_key(Exchange x, const fgw_img_policy *policy, const fgw_route_request *q) except -1
cdef int add_hash_cookie(Exchange x, FieldTable fields) except -1
