"""HTTP/2 towards an upstream endpoint: a connection, and its streams as exchanges see them."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport Http2Session
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.upstream_connection cimport Terms
from fastgw.dataplane.upstream_http2_stream cimport StreamStore, UpstreamHttp2Stream
from fastgw.dataplane.upstream_tls cimport PeerName
from fastgw.native.nghttp2 cimport nghttp2_frame

cdef enum:
    STREAMS_ASSUMED = 100        # of a connection, until the upstream's SETTINGS have come


cdef enum ConnectionState:
    H_CLOSED = 0
    H_CONNECTING = 1
    H_OPEN = 2
    H_LEAVING = 3       # takes no new streams; closes after the last one


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
    cdef Terms terms
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
