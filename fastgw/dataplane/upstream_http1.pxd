"""HTTP/1.1 towards an upstream endpoint."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport ResponseHead, UpstreamStream
from fastgw.dataplane.trailers cimport Trailers
from fastgw.dataplane.transport cimport Transport
from fastgw.dataplane.upstream_connection cimport Terms
from fastgw.dataplane.upstream_tls cimport PeerName
from fastgw.native.http1 cimport fgw_chunked, fgw_response

cdef enum UpstreamState:
    U_CONNECTING = 0
    U_IDLE = 1          # in the pool
    U_HEAD = 2          # a request is under way, the answer's head is awaited
    U_BODY = 3
    U_CLOSED = 4


cdef class IdleOwner:
    """The pool, as its connections see it."""
    cdef int take_back(self, UpstreamHttp1 c) except -1
    cdef int forget(self, UpstreamHttp1 c) except -1


cdef class UpstreamHttp1(UpstreamStream):
    # owned
    cdef Transport transport
    cdef Buffer pending            # a partial head
    cdef Trailers trailers         # of the answer's body, None before the first ones
    # borrowed
    cdef IdleOwner pool
    cdef UpstreamHttp1 idle_prev   # neighbours in the pool's list of this endpoint
    cdef UpstreamHttp1 idle_next
    # state
    cdef PeerName peer             # whom TLS is spoken with
    cdef int state
    cdef size_t seen
    cdef fgw_response response
    cdef fgw_chunked chunked
    cdef uint64_t body_left
    cdef int framing               # of the present answer
    cdef int method_id             # of the present request
    cdef int interims
    cdef bint chunk_request
    cdef bint request_sent         # the request's end has been written
    cdef bint switched             # a WebSocket: bytes go both ways as they are
    cdef bint peer_done            # and the upstream has sent its last
    cdef bint own_key              # the client had no Sec-WebSocket-Key: ours is in key
    cdef char key[28]
    cdef int64_t moved_ms          # last byte of the answer, or of a WebSocket either way
    cdef bint answered             # a byte of the present answer has come
    cdef uint64_t requests
    cdef bytes source              # the client whose connection it is (proxyProtocol), None: anybody's
    cdef Terms terms
    cdef uint64_t taken_turn       # of the loop, when it was last taken from the pool
    cdef char local[64]            # text of our address, made when first asked for
    cdef int local_len

    cdef int start_connect(self, int64_t timeout_ms) except -1
    cdef bint used_up(self) noexcept
    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_head(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_body(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_chunked(self, const char *p, size_t n) except? <size_t>-1
    cdef bint body_done(self) noexcept
    cdef int fill_head(self, ResponseHead *head, const char *p) except -1
    cdef int give_head(self, const char *p) except -1
    cdef int interim(self, const char *p) except -1
    cdef int switch(self, const char *p) except -1
    cdef int64_t patience(self) noexcept
    cdef int arm(self) except -1
    cdef int write_upgrade(self, Exchange x, char *to) except -1
    cdef int give_trailers(self) except -1
    cdef int complete(self, size_t left_over) except -1
    cdef int fault(self, int fault, int reason, int error) except -1
    cdef int destroy(self) except -1
