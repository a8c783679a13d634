"""HTTP/2 towards the client."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.client_http2_stream cimport ClientHttp2Stream, StreamPool
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport Http2Session
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.transport cimport Transport
from fastgw.native.nghttp2 cimport nghttp2_frame

cdef enum Goodbye:
    STAYING = 0
    NOTICE_SENT = 1    # GOAWAY with the last possible id: what is on its way is still served
    FAREWELL_SENT = 2  # GOAWAY with the last id that is served
    LINGERING = 3      # our end is closed, input is thrown away until the peer closes


cdef class ConnectionPlace(ClientSide):
    """What the server knows of an HTTP/2 connection; streams take their place from it."""
    cdef ClientHttp2 connection
    cdef int locate(self, uint32_t listener) except -1
    cdef int socket_address(self, char *out) noexcept
    cdef ClientHttp2Stream largest(self)


cdef class GoOn(Turn):
    """Goes on with what has been received but not looked at, in the next turn."""
    cdef ClientHttp2 connection


cdef class ClientHttp2(Http2Session):
    # owned
    cdef ConnectionPlace place
    cdef Buffer pending            # received, and left for the next turn
    cdef FrameGuard guard
    cdef GoOn go_on
    cdef ClientHttp2Stream first   # of the open streams, newest first
    # borrowed
    cdef StreamPool pool
    cdef ConnectionOwner owner     # None: destroyed
    # state
    cdef bint greeted              # the client's SETTINGS have come
    cdef bint leaving              # the client has said GOAWAY
    cdef bint condemned            # its last GOAWAY has a reason
    cdef int goodbye               # enum Goodbye
    cdef int reason                # enum fgw_reason for which the connection has to end
    cdef int streams               # open
    cdef int stopping              # of them, answered in full without having been heard in full
    cdef int32_t last_stream
    cdef uint64_t requests
    cdef int64_t expires_ms        # the connection has had its time then; 0: never
    cdef uint64_t turn             # of the loop, when turn_requests was begun
    cdef int turn_requests
    cdef int64_t phase_ms          # of the greeting, idleness, the goodbye's step
    cdef int64_t block_ms          # when the header block that is arriving began
    cdef int64_t reset_ms          # when we last reset a stream: frames for it may be on their way; 0: never
    cdef size_t linger_left
    cdef ClientHttp2Stream touched  # its upstream has got bytes that are not flushed

    cdef int start(self, Transport transport, const char *p, size_t n) except -1
    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1
    cdef uint32_t settled_stream(self) noexcept
    cdef int proceed(self) except -1
    cdef int on_head(self, const nghttp2_frame *frame) except -1
    cdef int begin_request(self, int32_t id, bint ends) except -1
    cdef int refuse_stream(self, int32_t id) except -1
    cdef int judge(self, int reason) noexcept
    cdef int touch(self, ClientHttp2Stream stream) except -1
    cdef int on_frame(self, const nghttp2_frame *frame) except -1
    cdef int on_made(self, const nghttp2_frame *frame) except -1
    cdef int condemn(self, int reason, uint32_t code) except -1
    cdef int part(self) except -1
    cdef int send_farewell(self) except -1
    cdef int linger(self) except -1
    cdef int drop_streams(self) except -1
    cdef int cut_switched(self) except -1
    cdef int destroy(self) except -1
    cdef int announce(self) except -1
    cdef int arm(self) except -1
    cdef int arm_by(self, int64_t when) except -1
    cdef int check_streams(self, int64_t now) except -1
