"""What an exchange knows of the codecs on its two sides, and they of it."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport Address, ClientSide, Observer
from fastgw.dataplane.transport cimport Protocol
from fastgw.native.base cimport fgw_field

cdef enum Fault:
    FAULT_CONNECT_FAILED = 1
    FAULT_CONNECT_TIMEOUT = 2
    FAULT_CLOSED = 3          # the upstream closed or reset before the end of the answer
    FAULT_PROTOCOL = 4        # the upstream's answer is malformed
    FAULT_TIMEOUT = 5         # no answer in time
    FAULT_REFUSED = 6         # the upstream says that it has not touched the request: REFUSED_STREAM, GOAWAY (RFC 9113 section 8.7)
    FAULT_RESET = 7           # the upstream reset the stream
    FAULT_OVERFLOW = 8        # a limit of the cluster


cdef struct ResponseHead:
    const char *base          # field offsets count from here; valid during the call only
    fgw_field *fields
    uint32_t field_count
    uint32_t head_bytes       # as received, 0 for answers of the gateway
    uint64_t content_length
    uint16_t status
    uint8_t framing           # of the body that follows (enum fgw_framing)
    bint has_content_length   # to be shown even when no body follows (HEAD, 304)
    bint from_upstream
    bint timed                # x-envoy-upstream-service-time is among the fields, or was taken out by an edit


cdef class ClientStream(ClientSide):
    """The client's side of an exchange: an HTTP/1 connection, or one HTTP/2 stream."""
    cdef Exchange exchange         # the one in flight
    cdef bint http2                # the client speaks HTTP/2
    cdef int start_response(self, Exchange x, ResponseHead *head) except -1
    cdef int write_body(self, const char *p, size_t n) except -1
    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1
    cdef int end_response(self) except -1
    cdef int abort_response(self) except -1
    cdef int send_interim(self, ResponseHead *head) except -1
    cdef int send_continue(self) except -1
    cdef int flush(self) except -1
    cdef bint backlogged(self) noexcept
    cdef int resume_request(self) except -1
    cdef bint unanswerable(self, int reason) noexcept
    cdef int on_exchange_done(self, Exchange x) except -1


cdef class UpstreamStream(Protocol):
    """The upstream's side: an HTTP/1 connection, or one HTTP/2 stream."""
    cdef Context ctx
    cdef Exchange exchange
    cdef Address address
    cdef bint reused               # this request is not the first on its connection
    cdef bint ready(self) noexcept
    cdef int start_request(self, Exchange x) except -1
    cdef int write_body(self, const char *p, size_t n) except -1
    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1
    cdef int end_request(self) except -1
    cdef int flush(self) except -1
    cdef bint backlogged(self) noexcept
    cdef int resume_response(self) except -1
    cdef int abandon(self) except -1
    cdef size_t held_bytes(self) noexcept
    cdef int local_address(self, char *out) noexcept


cdef class Connector:
    """Where exchanges get upstream streams from (the pool)."""
    cdef UpstreamStream acquire(self, Exchange x, const Address *to, int64_t connect_timeout_ms, bint fresh)
    cdef int hurry(self) except -1
    cdef int trim(self) except -1


cdef class ExchangeObserver(Observer):
    """Told of every answer as well."""
    cdef bint wants_response       # on_response() is to be called
    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1
