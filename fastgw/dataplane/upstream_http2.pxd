"""HTTP/2 towards an upstream endpoint: a connection, and its streams as exchanges see them."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport BodyQueue, Http2Session
from fastgw.dataplane.loop cimport Loop, Turn
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport ResponseHead, UpstreamStream
from fastgw.dataplane.upstream_tls cimport PeerName
from fastgw.native.http1 cimport fgw_response
from fastgw.native.nghttp2 cimport nghttp2_frame
from fastgw.native.route cimport fgw_img_policy

cdef enum StreamState:
    S_FREE = 0          # in the store
    S_WAITING = 1       # for a connection that has room
    S_READY = 2         # has a place on its connection
    S_OPEN = 3          # the request is under way
    S_OVER = 4          # no exchange is interested any more; the frame layer still knows the stream

cdef enum ConnectionState:
    H_CLOSED = 0
    H_CONNECTING = 1
    H_OPEN = 2
    H_LEAVING = 3       # takes no new streams; closes after the last one


cdef class StreamStore(Turn):
    """Stream objects are used again, from the turn after on: until then somebody up the stack may still look at one."""
    cdef UpstreamHttp2Stream free
    cdef UpstreamHttp2Stream retired
    cdef readonly long spare
    cdef Loop loop
    cdef UpstreamHttp2Stream take(self)
    cdef int give_back(self, UpstreamHttp2Stream s) except -1


cdef class StreamOwner:
    """All connections to one endpoint under one name, as each of them sees it."""
    cdef StreamStore store
    cdef uint32_t max_streams      # of a connection, 0: the upstream's limit alone
    cdef uint32_t expected_streams  # what connections to the upstream took last, a guess before
    cdef uint32_t ping_interval_ms
    cdef uint32_t ping_timeout_ms
    cdef int on_room(self, UpstreamHttp2 c) except -1
    cdef int on_leaving(self, UpstreamHttp2 c) except -1
    cdef int on_connect_failed(self, UpstreamHttp2 c, int fault, int reason, int error) except -1
    cdef int on_idle(self, UpstreamHttp2 c, bint idle) except -1
    cdef int withdraw(self, UpstreamHttp2Stream s) except -1


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


cdef class UpstreamHttp2(Http2Session):
    # borrowed
    cdef StreamOwner owner
    # state
    cdef Address address
    cdef PeerName peer             # whom TLS is spoken with
    cdef int state
    cdef UpstreamHttp2Stream first  # streams with a place here; strong references
    cdef FrameGuard guard
    cdef uint64_t counted_frames   # DATA frames sent that the guard knows of
    cdef uint32_t active           # streams with a place here
    cdef uint32_t peer_streams     # the upstream's MAX_CONCURRENT_STREAMS, a guess before it is known
    cdef bint newborn              # the owner counts it as connecting
    cdef bint settings_seen
    cdef bint inside               # the frame layer is on the stack
    cdef bint settling
    cdef bint freed                # a stream has ended: there may be room
    cdef bint idle                 # counted as such
    cdef int refusal               # reason to end the connection, found in a callback
    cdef bint broken               # the frame layer has given up; the next pack() says so
    cdef bytes failure             # why TLS failed, None
    # of the cluster's policy when it was made
    cdef uint32_t limit_cell       # what the connection is counted in, FGW_NONE
    cdef uint32_t limit            # maxConnections there
    cdef uint32_t max_requests     # on this connection, 0: any number
    cdef int64_t idle_timeout_ms   # without streams, 0: none
    cdef int64_t expires_ms        # takes no new streams after that, 0: never
    cdef uint64_t requests
    cdef list touched              # streams for settle()
    cdef list faulty
    cdef int64_t deadline_connect_ms  # connection and first SETTINGS
    cdef int64_t idle_ms           # since when
    cdef int64_t pinged_ms         # last PING, or the connection's begin
    cdef bint ping_open            # it has not been answered
    cdef char local[64]
    cdef int local_len

    cdef int start_connect(self, Exchange x, int64_t timeout_ms) except -1
    cdef int obey(self, const fgw_img_policy *policy, int fd) except -1
    cdef int fail_connecting(self, int fault, int error) except -1
    cdef bint has_room(self) noexcept
    cdef int bind(self, UpstreamHttp2Stream s) except -1
    cdef int unbind(self, UpstreamHttp2Stream s) except -1
    cdef int settle(self) except -1
    cdef int tell_writable(self) except -1
    cdef int update_idle(self) except -1
    cdef int leave(self) except -1
    cdef int shut_down(self) except -1
    cdef int lose(self, int fault, int reason, int error) except -1
    cdef int arm(self) except -1
    cdef int frame_error(self, ssize_t r) noexcept
    cdef int take_frame(self, const nghttp2_frame *frame) except -1
    cdef int take_message_frame(self, const nghttp2_frame *frame) except -1
    cdef int open_stream(self, int32_t stream, size_t n) except -1
    cdef int pack_now(self) except -1
    cdef int check_end(self) except -1
    cdef int close(self) except -1
