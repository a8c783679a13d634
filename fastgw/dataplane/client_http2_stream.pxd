"""One stream of a client's HTTP/2 connection, and where streams come from."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.client_http2 cimport ClientHttp2
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_session cimport BodyQueue
from fastgw.dataplane.streams cimport ClientStream, Connector, ExchangeObserver, ResponseHead
from fastgw.native.http1 cimport fgw_request
from fastgw.native.nghttp2 cimport nghttp2_nv


cdef class StreamPool:
    """Streams with their exchanges, for all connections of the worker."""
    cdef Context ctx
    cdef Connector connector
    cdef ExchangeObserver observer
    cdef list idle
    cdef ClientHttp2Stream take(self)
    cdef int give(self, ClientHttp2Stream stream) except -1
    cdef int trim(self) except -1


cdef class ClientHttp2Stream(ClientStream):
    # owned
    cdef Exchange spare            # the stream's exchange object, used again and again
    cdef Buffer pending            # of the request's body, until the upstream takes it
    cdef FieldTable trailers       # of the request, while body bytes wait before them
    cdef BodyQueue queue           # of the answer
    # borrowed
    cdef ClientHttp2 connection    # None: in the pool
    cdef ClientHttp2Stream prev
    cdef ClientHttp2Stream next
    # state
    cdef int32_t id                # 0: the frame layer has closed it
    cdef bint refused              # its head is malformed
    cdef bint request_ended        # END_STREAM has come
    cdef bint has_trailers
    cdef bint answered             # a head is on its way to the client
    cdef bint no_body              # END_STREAM is in that head
    cdef bint stops_client         # RST_STREAM(NO_ERROR) follows the answer: the rest of the request is not wanted
    cdef bint has_length
    cdef bint upgrade              # an extended CONNECT: what follows the heads is no body
    cdef uint64_t length
    cdef uint64_t received
    cdef int64_t begin_ms
    cdef int64_t read_ms           # last byte of the body
    cdef int64_t stall_ms          # since when the queue has been watched for progress; 0: it is empty
    cdef uint64_t stall_sent

    cdef int open(self, ClientHttp2 connection, int32_t id, bint ends) except -1
    cdef int begin(self, const fgw_request *r) except -1
    cdef int on_trailers(self) except -1
    cdef int on_chunk(self, const char *p, size_t n) except -1
    cdef int on_end(self) except -1
    cdef int deliver(self) except -1
    cdef int body_error(self, int reason) except -1
    cdef int close(self, uint32_t code) except -1
    cdef int drop_pending(self) except -1
    cdef int reset(self, uint32_t code) except -1
    cdef int stop_client(self, bint stop) noexcept
    cdef nghttp2_nv *write_own_fields(self, Exchange x, ResponseHead *head, nghttp2_nv *to, char *text) except NULL
    cdef int after_packed(self) except -1
    cdef int give_up_stalled(self) except -1
    cdef bint talks(self, Exchange x) noexcept
    cdef int64_t next_check(self) noexcept
    cdef int check_time(self, int64_t now) except -1
