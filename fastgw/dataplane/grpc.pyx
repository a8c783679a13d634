"""gRPC calls among requests: what they are, how long they may take, and what became of them."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.base cimport FGW_HDR_CONTENT_TYPE, FGW_HDR_GRPC_STATUS, FGW_HDR_GRPC_TIMEOUT, fgw_field
from fastgw.native.grpc cimport FGW_GRPC_NOT, fgw_grpc_kind_of, fgw_grpc_status_of, fgw_grpc_timeout_ms


cdef int kind_of_request(RequestHead head) noexcept:
    """enum fgw_grpc_kind, by the content type."""
    cdef uint32_t i
    for i in range(head.field_count):
        if head.fields[i].id == FGW_HDR_CONTENT_TYPE:
            return fgw_grpc_kind_of(head.base + head.fields[i].value_off, head.fields[i].value_len)
    return FGW_GRPC_NOT


cdef int64_t timeout_of_request(RequestHead head) noexcept:
    """grpc-timeout in milliseconds, at least 1; 0 without a sound one."""
    cdef uint32_t i
    cdef int64_t ms
    for i in range(head.field_count):
        if head.fields[i].id == FGW_HDR_GRPC_TIMEOUT:
            ms = fgw_grpc_timeout_ms(head.base + head.fields[i].value_off, head.fields[i].value_len)
            return max(ms, 1) if ms >= 0 else 0
    return 0


cdef int status_in(const char *base, const fgw_field *fields, uint32_t count) noexcept:
    """The grpc-status of a head without a body (trailers-only), or of trailers; -1 without one."""
    cdef uint32_t i
    for i in range(count):
        if fields[i].id == FGW_HDR_GRPC_STATUS:
            return fgw_grpc_status_of(base + fields[i].value_off, fields[i].value_len)
    return -1
