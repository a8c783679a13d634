"""Counting what a client does on an HTTP/2 connection (requirements F2, F3 and F6 to F10), and frames where none may be.

Every function answers 0, or the reason for which the connection has to end. The library has some of these limits, too, but other
versions of it have others; these are the ones that are promised. Bucket sizes leave room for what real clients do: a browser resets
what it has asked for when a tab closes, a gRPC client may answer every DATA frame with a PING to measure the path.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t

from fastgw.native.base cimport (
    FGW_OK, FGW_R_H2_CONTINUATION_FLOOD, FGW_R_H2_EMPTY_FRAMES, FGW_R_H2_FRAMING, FGW_R_H2_MOSTLY_OVERHEAD,
    FGW_R_H2_PING_FLOOD, FGW_R_H2_PRIORITY_FLOOD, FGW_R_H2_RAPID_RESET, FGW_R_H2_RESETS_WITHOUT_ANSWER, FGW_R_H2_SETTINGS_FLOOD,
    FGW_R_H2_UNKNOWN_FRAMES, FGW_R_H2_WINDOW_UPDATE_FLOOD,
)
from fastgw.native.http2 cimport fgw_h2_frame, fgw_h2_next_frame
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CONTINUATION, NGHTTP2_DATA, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_ACK, NGHTTP2_HEADERS, NGHTTP2_PING,
    NGHTTP2_PRIORITY, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS, NGHTTP2_STREAM_CLOSED,
    NGHTTP2_WINDOW_UPDATE, nghttp2_session_get_stream_user_data,
)

cdef enum:
    PREFACE_BYTES = 24
    FRAME_HEAD = 9
    CONTINUATIONS = 8              # F6
    RESET_BURST = 1000             # F2
    RESETS_PER_S = 33
    HASTY_CHECKED_FROM = 500
    HASTY_MS = 1000
    PING_BURST = 1000              # F7: ten seconds of the rate
    PINGS_PER_S = 100
    SETTINGS_BURST = 500
    SETTINGS_PER_S = 50
    EMPTY_IN_A_ROW = 10            # F8
    PRIORITIES_PER_STREAM = 100    # F9
    WINDOW_UPDATES_FREE = 100
    UPDATES_PER_DATA = 10
    UNKNOWN_BURST = 1000
    UNKNOWN_PER_S = 33
    OVERHEAD_FACTOR = 8            # F10
    OVERHEAD_FREE_BYTES = 1048576
    DATA_WORTH_BYTES = 64          # a DATA frame that was sent calls for WINDOW_UPDATE and PING: so much is no overhead


cdef bint spend(Bucket *b, int64_t burst, int64_t per_s, int64_t now_ms) noexcept:
    """One token; False when none is left."""
    b.spent = max(0, b.spent - (now_ms - b.since_ms) * per_s)
    b.since_ms = now_ms
    b.spent += 1000
    return b.spent <= burst * 1000


cdef class FrameGuard:
    def __cinit__(self):
        self.frames.left = PREFACE_BYTES
        self.code = NGHTTP2_ENHANCE_YOUR_CALM

    cdef int on_data(self, const char *p, size_t n, uint64_t data_frames_sent, int64_t now_ms) noexcept:
        """Look at what has been received before anybody works on it."""
        cdef fgw_h2_frame frame
        cdef size_t at = 0, used = 0
        cdef int reason
        while fgw_h2_next_frame(&self.frames, p + at, n - at, &used, &frame):
            at += used
            reason = self.misplaced(&frame)
            if reason == FGW_OK:
                reason = self.on_frame(frame.type, frame.flags, frame.length, data_frames_sent, now_ms)
            if reason:
                return reason
        return FGW_OK

    cdef int misplaced(self, const fgw_h2_frame *frame) noexcept:
        """What the library ignores and must not be: PRIORITY for the connection (RFC 9113 section 6.3), DATA on a stream that the
        peer has ended or reset (section 5.1)."""
        if frame.type == NGHTTP2_PRIORITY and frame.stream == 0:
            self.code = NGHTTP2_PROTOCOL_ERROR
            return FGW_R_H2_FRAMING
        if frame.type == NGHTTP2_RST_STREAM:
            self.reset_stream = frame.stream
        if frame.type != NGHTTP2_DATA or frame.stream == 0 or frame.stream & 1 == 0:
            return FGW_OK
        if frame.stream == self.reset_stream or (
                frame.stream <= self.settled and nghttp2_session_get_stream_user_data(self.session, <int32_t>frame.stream) == NULL):
            self.code = NGHTTP2_STREAM_CLOSED
            return FGW_R_H2_FRAMING
        return FGW_OK

    cdef int on_frame(self, int kind, int flags, size_t length, uint64_t data_frames_sent, int64_t now_ms) noexcept:
        """A frame's head has arrived."""
        self.total_bytes += FRAME_HEAD + length
        if kind == NGHTTP2_HEADERS:
            self.streams += 1
            self.continuations = 0
            return self.on_content(length, False)
        if kind == NGHTTP2_CONTINUATION:
            self.continuations += 1
            if self.continuations > CONTINUATIONS:
                return FGW_R_H2_CONTINUATION_FLOOD
            return self.on_content(length, False)
        if self.total_bytes // OVERHEAD_FACTOR > self.useful_bytes + OVERHEAD_FREE_BYTES + DATA_WORTH_BYTES * data_frames_sent:
            return FGW_R_H2_MOSTLY_OVERHEAD
        if kind == NGHTTP2_DATA:
            return FGW_OK  # what of it is padding shows later
        if kind == NGHTTP2_WINDOW_UPDATE:
            self.window_updates += 1
            if self.window_updates > WINDOW_UPDATES_FREE + 2 * (self.streams + UPDATES_PER_DATA * data_frames_sent):
                return FGW_R_H2_WINDOW_UPDATE_FLOOD
        elif kind == NGHTTP2_PING:
            if not flags & NGHTTP2_FLAG_ACK and not spend(&self.pings, PING_BURST + <int64_t>data_frames_sent, PINGS_PER_S, now_ms):
                return FGW_R_H2_PING_FLOOD
        elif kind == NGHTTP2_SETTINGS:
            if not flags & NGHTTP2_FLAG_ACK and not spend(&self.settings, SETTINGS_BURST, SETTINGS_PER_S, now_ms):
                return FGW_R_H2_SETTINGS_FLOOD
        elif kind == NGHTTP2_PRIORITY:
            self.priorities += 1
            if self.priorities > PRIORITIES_PER_STREAM * (1 + self.streams):
                return FGW_R_H2_PRIORITY_FLOOD
        elif kind > NGHTTP2_CONTINUATION and not spend(&self.unknown, UNKNOWN_BURST, UNKNOWN_PER_S, now_ms):
            return FGW_R_H2_UNKNOWN_FRAMES
        return FGW_OK

    cdef int on_content(self, size_t n, bint ends) noexcept:
        """A header block's or a body's n bytes; ends: the frame ends the stream, which is content enough."""
        self.useful_bytes += n
        if n or ends:
            self.empty = 0
            return FGW_OK
        self.empty += 1
        return FGW_R_H2_EMPTY_FRAMES if self.empty > EMPTY_IN_A_ROW else FGW_OK

    cdef int on_reset(self, int64_t now_ms) noexcept:
        """The client has reset a stream, or made us reset one."""
        return FGW_OK if spend(&self.resets, RESET_BURST, RESETS_PER_S, now_ms) else FGW_R_H2_RAPID_RESET

    cdef int on_stream_closed(self, bint answered, int64_t age_ms) noexcept:
        self.closed += 1
        if not answered and age_ms < HASTY_MS:
            self.hasty += 1
        if self.closed >= HASTY_CHECKED_FROM and self.hasty * 2 > self.closed:
            return FGW_R_H2_RESETS_WITHOUT_ANSWER
        return FGW_OK
