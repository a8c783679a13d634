"""Contracts of the two sides of an exchange, of who finds its upstream, and of who is told of its answer."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport Address, ClientSide, Observer
from fastgw.dataplane.transport cimport Protocol
from fastgw.native.base cimport fgw_field, fgw_reason_status


cdef class ClientStream(ClientSide):
    """Contract of the client's codec. Only the exchange in `exchange` may call it."""

    cdef int start_response(self, Exchange x, ResponseHead *head) except -1:
        raise NotImplementedError

    cdef int write_body(self, const char *p, size_t n) except -1:
        raise NotImplementedError

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """Between the body and end_response(); valid during the call only. A protocol without trailers leaves them out."""
        return 0

    cdef int end_response(self) except -1:
        raise NotImplementedError

    cdef int abort_response(self) except -1:
        """End in a way that the client sees as incomplete."""
        raise NotImplementedError

    cdef int send_interim(self, ResponseHead *head) except -1:
        raise NotImplementedError

    cdef int send_continue(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef bint backlogged(self) noexcept:
        """Bytes wait for the client: the upstream should pause."""
        return False

    cdef int resume_request(self) except -1:
        """The exchange can take body bytes (again)."""
        raise NotImplementedError

    cdef bint unanswerable(self, int reason) noexcept:
        """A message that is refused for this enum fgw_reason gets abort_response() instead of an answer."""
        return fgw_reason_status(reason) == 0

    cdef int on_exchange_done(self, Exchange x) except -1:
        raise NotImplementedError


cdef class UpstreamStream(Protocol):
    """Contract of the upstream's codec."""

    cdef bint ready(self) noexcept:
        return False

    cdef int start_request(self, Exchange x) except -1:
        raise NotImplementedError

    cdef int write_body(self, const char *p, size_t n) except -1:
        raise NotImplementedError

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """Between the body and end_request(); HTTP/1 upstreams get none (requirement A9)."""
        return 0

    cdef int end_request(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef bint backlogged(self) noexcept:
        return False

    cdef int resume_response(self) except -1:
        raise NotImplementedError

    cdef int abandon(self) except -1:
        """The exchange is over before the answer's end: nothing of this stream may be reused."""
        raise NotImplementedError

    cdef size_t held_bytes(self) noexcept:
        """Memory in its buffers."""
        return 0

    cdef int local_address(self, char *out) noexcept:
        return 0


cdef class Connector:
    cdef UpstreamStream acquire(self, Exchange x, const Address *to, int64_t connect_timeout_ms, bint fresh):
        """A stream to this address, tied to x: ready, or connecting (then on_upstream_ready or on_upstream_fault follows).
        fresh: not a pooled one. None when not even a socket could be made."""
        raise NotImplementedError

    cdef int hurry(self) except -1:
        """Memory is short: what is idle already learns of ctx.upstream_idle_most_ms and ctx.parting."""
        return 0

    cdef int trim(self) except -1:
        """The same: objects that are kept to be used again are let go."""
        return 0


cdef class ExchangeObserver(Observer):
    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1:
        """The upstream's final head, as the client gets it (with what is not passed on)."""
        return 0
