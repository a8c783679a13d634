"""One stream of an HTTP/2 connection to an upstream, as its exchange sees it."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_session cimport BodyQueue
from fastgw.dataplane.loop cimport Loop, Turn
from fastgw.dataplane.streams cimport ResponseHead, UpstreamStream
from fastgw.dataplane.upstream_http2 cimport StreamOwner, UpstreamHttp2
from fastgw.native.http1 cimport fgw_response
from fastgw.native.nghttp2 cimport nghttp2_session

cdef enum StreamState:
    S_FREE = 0          # in the store
    S_WAITING = 1       # for a connection that has room
    S_READY = 2         # has a place on its connection
    S_OPEN = 3          # the request is under way
    S_OVER = 4          # no exchange is interested any more; the frame layer still knows the stream

cdef class StreamStore(Turn):
    """Stream objects are used again, from the turn after on: until then somebody up the stack may still look at one."""
    cdef UpstreamHttp2Stream free
    cdef UpstreamHttp2Stream retired
    cdef readonly long spare
    cdef Loop loop
    cdef UpstreamHttp2Stream take(self)
    cdef int give_back(self, UpstreamHttp2Stream s) except -1
    cdef int trim(self) except -1


cdef class UpstreamHttp2Stream(UpstreamStream):
    # owned
    cdef BodyQueue body            # of the request
    cdef Buffer held               # body of the answer that the client has not taken yet: a window at the most
    cdef FieldTable held_trailers
    # borrowed
    cdef UpstreamHttp2 connection  # None while it waits
    cdef StreamOwner owner
    cdef UpstreamHttp2Stream prev  # neighbours on the connection, in the queue, or in the store
    cdef UpstreamHttp2Stream next
    # state
    cdef int state
    cdef int32_t id
    cdef bint has_body             # the request's end is not that of its head
    cdef bint unsent               # the request's head has never left
    cdef bint closed               # the frame layer has forgotten the stream
    cdef bint touched              # has got bytes since settle()
    cdef bint peer_reset           # by the upstream
    cdef bint failed               # `fault` is to be told by settle()
    cdef bint answered             # a head has come, of an interim answer perhaps
    cdef bint headed               # the final one
    cdef bint ended                # the answer is whole
    cdef bint has_held_trailers
    cdef bint bodyless             # HEAD, 204, 304
    cdef bint counted              # the answer's length is known: body_left
    cdef uint64_t body_left
    cdef uint64_t unconsumed       # bytes received for which the window was not opened again
    cdef int64_t moved_ms          # last byte either way
    cdef int interims
    cdef int method_id
    cdef int fault
    cdef int reason

    cdef int reset(self) except -1
    cdef int give_response(self, const char *base, const fgw_response *r, bint ends) except -1
    cdef int fill_head(self, ResponseHead *head, const char *base, const fgw_response *r) except -1
    cdef int take_head(self, bint ends) except -1
    cdef int take_trailers(self, bint ends) except -1
    cdef int take_body(self, const char *p, size_t n) except -1
    cdef int take_end(self) except -1
    cdef int deliver(self) except -1
    cdef int open_window(self) except -1
    cdef int complete(self) except -1
    cdef int touch(self) except -1
    cdef int fail(self, int fault, int reason, uint32_t code) except -1
    cdef int tell_fault(self) except -1
    cdef int on_lost(self, int fault, int reason, int error) except -1
    cdef int let_go(self, uint32_t code) except -1
    cdef int retire(self) except -1


cdef UpstreamHttp2Stream stream_of(nghttp2_session *session, int32_t stream)
