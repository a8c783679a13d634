"""HTTP/1 towards the client."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport ConnectionOwner
from fastgw.dataplane.streams cimport ClientStream, ResponseHead
from fastgw.dataplane.trailers cimport Trailers
from fastgw.dataplane.transport cimport Transport
from fastgw.native.http1 cimport fgw_chunked, fgw_request

cdef enum ClientState:
    READ_HEAD = 0
    READ_BODY = 1
    WAIT_ANSWER = 2    # the request is complete; what else arrives is the next one
    LINGER = 3         # the answer is out, input is thrown away until the peer closes
    CLOSED = 4
    SWITCHED = 5       # a WebSocket: bytes go upstream as they are


cdef class ClientHttp1(ClientStream):
    # owned
    cdef Transport transport
    cdef Buffer pending            # received and not yet usable
    cdef fgw_request request       # of the head just parsed
    cdef Trailers trailers         # of the request's body, None before the first ones
    cdef Exchange spare            # the connection's exchange object, used again and again
    # borrowed
    cdef ConnectionOwner owner     # the Server, told when the connection ends
    # state
    cdef int state                 # enum ClientState
    cdef size_t seen               # bytes of pending the head parser has looked at
    cdef fgw_chunked chunked
    cdef uint64_t body_left
    cdef bint consuming            # consume() is on the stack
    cdef bint close_after          # this is the connection's last answer
    cdef bint chunk_answer         # the answer's body is sent chunked
    cdef bint trailers_sent        # of the answer
    cdef bint no_answer_body       # HEAD, 204, 304
    cdef bint minor0               # the client speaks HTTP/1.0
    cdef int64_t phase_ms          # when the present head or body began
    cdef int64_t read_ms           # last byte of the body
    cdef uint64_t phase_bytes      # body bytes since phase_ms
    cdef uint64_t linger_left
    cdef uint64_t requests
    cdef int64_t expires_ms        # the connection has had its time then; 0: never

    cdef int start(self, Transport transport, const char *p, size_t n) except -1
    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_head(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_body(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_chunked(self, const char *p, size_t n) except? <size_t>-1
    cdef size_t consume_switched(self, const char *p, size_t n) except? <size_t>-1
    cdef int end_chunked(self) except -1
    cdef int proceed(self) except -1
    cdef int after_consume(self) except -1
    cdef int check_head_time(self, int64_t now) except -1
    cdef int begin_exchange(self, const char *head) except -1
    cdef int reject(self, int reason) except -1
    cdef int body_error(self, int reason) except -1
    cdef int linger(self) except -1
    cdef int go_over(self, const char *p, size_t n) except -1
    cdef int destroy(self) except -1
    cdef int wait_for_head(self) except -1
    cdef bint must_close(self, Exchange x) noexcept
    cdef int write_own_fields(self, Exchange x, ResponseHead *head, char *to) except -1
    cdef int check_body_time(self, int64_t now) except -1
    cdef int check_write_time(self, int64_t now) except -1
    cdef int arm(self) except -1
