"""Limits on what an HTTP/2 peer may do that costs us more than it costs the peer."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.native.http2 cimport fgw_h2_frame, fgw_h2_frames
from fastgw.native.nghttp2 cimport nghttp2_session


cdef struct Bucket:
    int64_t spent                  # thousandths of a token
    int64_t since_ms


cdef class FrameGuard:
    cdef nghttp2_session *session  # borrowed
    cdef uint32_t settled          # up to here the session knows of every stream whether it is open; 0: frames may come late
    cdef uint32_t reset_stream     # the last one that the peer has reset
    cdef uint32_t code             # of the GOAWAY (NGHTTP2_*) when a reason was answered
    cdef fgw_h2_frames frames
    cdef uint64_t total_bytes      # of frames received
    cdef uint64_t useful_bytes     # of header blocks and bodies among them
    cdef uint64_t streams          # opened by the peer, or header blocks at least
    cdef uint64_t priorities
    cdef uint64_t window_updates
    cdef uint64_t closed
    cdef uint64_t hasty            # closed within a second and without an answer
    cdef int empty                 # frames without content in a row
    cdef int continuations         # of one header block
    cdef Bucket resets
    cdef Bucket pings
    cdef Bucket settings
    cdef Bucket unknown
    cdef int on_data(self, const char *p, size_t n, uint64_t data_frames_sent, int64_t now_ms) noexcept
    cdef int misplaced(self, const fgw_h2_frame *frame) noexcept
    cdef int on_frame(self, int kind, int flags, size_t length, uint64_t data_frames_sent, int64_t now_ms) noexcept
    cdef int on_content(self, size_t n, bint ends) noexcept
    cdef int on_reset(self, int64_t now_ms) noexcept
    cdef int on_stream_closed(self, bint answered, int64_t age_ms) noexcept
