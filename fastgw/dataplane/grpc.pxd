"""What a gateway has to know of gRPC calls."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.base cimport fgw_field

cdef int kind_of_request(RequestHead head) noexcept
cdef int64_t timeout_of_request(RequestHead head) noexcept
cdef int status_in(const char *base, const fgw_field *fields, uint32_t count) noexcept
