"""HTTP/2 towards upstreams: many exchanges share a connection (RFC 9113).

Answers arrive for streams in any order (upstream_http2_stream.pyx); the connection's window is opened at once.

Exchanges are told of the end of their streams after the frame layer has returned (settle()): what they do then may open, write to
and close any stream.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport Http2Session
from fastgw.dataplane.streams cimport FAULT_CLOSED, FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_PROTOCOL, FAULT_TIMEOUT
from fastgw.dataplane.transport cimport CLOSE_HANDSHAKE_FAILED
from fastgw.dataplane.upstream_connection cimport count_idle_end, end_connection, has_had_all, idle_limit_ms, start_connection
from fastgw.dataplane.upstream_http2_callbacks cimport upstream_callbacks, upstream_options
from fastgw.dataplane.upstream_http2_stream cimport S_READY, UpstreamHttp2Stream, stream_of
from fastgw.dataplane.upstream_tls cimport chose_http2, count_failure, failure_of, mark_timeout, note_connected
from fastgw.native.base cimport (
    FGW_R_BODY_TOO_SHORT, FGW_R_H2_CONTINUATION_FLOOD, FGW_R_H2_FRAMING, FGW_R_H2_HEADER_BOMB, FGW_R_H2_SETTINGS_FLOOD,
)
from fastgw.native.nghttp2 cimport (
    NGHTTP2_DATA, NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_END_STREAM,
    NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_HEADERS, NGHTTP2_NO_ERROR, NGHTTP2_PING, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS,
    NGHTTP2_SETTINGS_ENABLE_PUSH, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, nghttp2_frame, nghttp2_session_consume_stream, nghttp2_session_get_remote_settings,
    nghttp2_session_mem_recv, nghttp2_session_set_local_window_size, nghttp2_session_set_next_stream_id,
    nghttp2_session_terminate_session, nghttp2_session_want_read, nghttp2_session_want_write, nghttp2_settings_entry,
    nghttp2_submit_ping, nghttp2_submit_settings,
)
from fastgw.native.route cimport FGW_NONE

cdef enum:
    STREAM_WINDOW = 262144       # what a stream may hold of an answer
    CONNECTION_WINDOW = 4194304  # of a connection in flight; nothing is held under it
    FRAME_ALLOWANCE = 64         # bytes of WINDOW_UPDATE and the like that one DATA frame of ours may cause

cdef uint32_t first_stream_id = 1


def begin_stream_ids_at(int first):
    """For tests: what new connections call their first stream (odd)."""
    global first_stream_id
    first_stream_id = first


# ---- what belongs to all connections of an endpoint

cdef class StreamOwner:
    def __cinit__(self):
        self.expected_streams = STREAMS_ASSUMED

    cdef int on_room(self, UpstreamHttp2 c) except -1:
        """c can take streams (again)."""
        raise NotImplementedError

    cdef int on_leaving(self, UpstreamHttp2 c) except -1:
        """c takes no new streams any more."""
        raise NotImplementedError

    cdef int on_connect_failed(self, UpstreamHttp2 c, int fault, int reason, int error) except -1:
        """c has never been open."""
        raise NotImplementedError

    cdef int on_idle(self, UpstreamHttp2 c, bint idle) except -1:
        """c has no streams, or has some again."""
        raise NotImplementedError

    cdef int withdraw(self, UpstreamHttp2Stream s) except -1:
        """s does not wait any more."""
        raise NotImplementedError


# ---- connections

cdef class UpstreamHttp2(Http2Session):
    def __init__(self, Context ctx, StreamOwner owner):
        self.ctx = ctx
        self.owner = owner
        self.terms.limit_cell = FGW_NONE
        self.guard = FrameGuard()
        self.guard.frames.left = 0  # upstreams begin without a preface
        self.peer_streams = owner.expected_streams
        self.touched = []
        self.faulty = []

    # ---- connect

    cdef int start_connect(self, Exchange x, int64_t timeout_ms) except -1:
        """Begin a connection to self.address and self.peer on behalf of x. 0 when not even that was possible."""
        self.transport = start_connection(x, self, &self.address, &self.peer, &self.terms)
        if self.transport is None:
            return 0
        self.state = H_CONNECTING
        self.newborn = True
        self.deadline_connect_ms = self.ctx.loop.now_ms + max(timeout_ms, 1)
        self.arm()
        return 1

    cdef int on_connected(self) except -1:
        cdef nghttp2_settings_entry[4] entries
        note_connected(self.ctx, self.transport)
        if not chose_http2(self.ctx, self.transport):
            return self.fail_connecting(FAULT_CONNECT_FAILED, 0)
        self.state = H_OPEN
        self.pinged_ms = self.ctx.loop.now_ms
        self.open_session(False, upstream_callbacks, upstream_options)
        entries[0].settings_id, entries[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
        entries[1].settings_id, entries[1].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0
        entries[2].settings_id, entries[2].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW
        entries[3].settings_id, entries[3].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, self.ctx.limits.head_bytes
        nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, entries, 4)
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW)
        if first_stream_id != 1:
            nghttp2_session_set_next_stream_id(self.session, <int32_t>first_stream_id)
        self.owner.on_room(self)
        self.update_idle()
        self.arm()
        return self.pack_later()

    cdef int fail_connecting(self, int fault, int error) except -1:
        """Never open. What waits is told by the owner."""
        self.close()
        return self.owner.on_connect_failed(self, fault, 0, error)

    # ---- places for streams

    cdef bint has_room(self) noexcept:
        cdef uint32_t own = self.owner.max_streams
        return self.state == H_OPEN and self.active < self.peer_streams and (own == 0 or self.active < own)

    cdef int bind(self, UpstreamHttp2Stream s) except -1:
        """A place for s, and its head is to be sent at once."""
        s.connection = self
        s.state = S_READY
        s.deadline_ms = 0
        s.reused = self.requests != 0
        s.prev = None
        s.next = self.first
        if self.first is not None:
            self.first.prev = s
        self.first = s
        self.active += 1
        self.requests += 1
        self.update_idle()
        return self.leave() if has_had_all(&self.terms, self.requests) else 0

    cdef int unbind(self, UpstreamHttp2Stream s) except -1:
        if self.state == H_CLOSED:
            return 0
        self.discard(s.body)
        if s.prev is not None:
            s.prev.next = s.next
        elif self.first is s:
            self.first = s.next
        else:
            return 0
        if s.next is not None:
            s.next.prev = s.prev
        s.prev = s.next = None
        self.active -= 1
        self.freed = True
        return self.pack_later()

    cdef int update_idle(self) except -1:
        cdef bint idle = self.state == H_OPEN and self.active == 0
        if idle == self.idle:
            return 0
        self.idle = idle
        self.idle_ms = self.ctx.loop.now_ms
        self.owner.on_idle(self, idle)
        return self.arm()

    cdef int leave(self) except -1:
        """Nothing new goes here; what is under way goes on."""
        if self.state == H_OPEN:
            self.state = H_LEAVING
            self.update_idle()
            self.owner.on_leaving(self)
            return self.pack_later()
        return 0

    # ---- frames

    cdef int on_data(self, const char *p, size_t n) except -1:
        cdef ssize_t r
        cdef int reason
        if self.session == NULL:
            return 0
        self.guard.streams = self.requests
        self.guard.useful_bytes += (self.data_frames - self.counted_frames) * FRAME_ALLOWANCE
        self.counted_frames = self.data_frames
        reason = self.guard.on_data(p, n, self.data_frames, self.ctx.loop.now_ms)
        if reason:
            return self.lose(FAULT_PROTOCOL, reason, 0)
        self.inside = True
        try:
            r = nghttp2_session_mem_recv(self.session, <const uint8_t *>p, n)
        finally:
            self.inside = False
        if self.state == H_CLOSED:
            return 0
        if r < 0:
            self.settle()
            return self.lose(FAULT_PROTOCOL, self.frame_error(r), 0)
        self.settle()
        return self.pack_later() if self.state != H_CLOSED and nghttp2_session_want_write(self.session) else self.check_end()

    cdef int frame_error(self, ssize_t r) noexcept:
        """Why the frame layer has given up, as an fgw_reason."""
        if self.refusal:
            return self.refusal
        if self.bombed:
            return FGW_R_H2_HEADER_BOMB
        if r == NGHTTP2_ERR_FLOODED:
            return FGW_R_H2_SETTINGS_FLOOD
        if r == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
            return FGW_R_H2_CONTINUATION_FLOOD
        return FGW_R_H2_FRAMING

    cdef int take_frame(self, const nghttp2_frame *frame) except -1:
        cdef int kind = frame.hd.type
        cdef UpstreamHttp2Stream s
        if kind == NGHTTP2_HEADERS or kind == NGHTTP2_DATA:
            return self.take_message_frame(frame)
        if kind == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.peer_streams = nghttp2_session_get_remote_settings(self.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
            self.owner.expected_streams = max(1, min(self.peer_streams, <uint32_t>STREAMS_ASSUMED))
            self.settings_seen = self.freed = True
        elif kind == NGHTTP2_RST_STREAM:
            s = stream_of(self.session, frame.hd.stream_id)
            if s is not None:
                s.peer_reset = True
        elif kind == NGHTTP2_GOAWAY:
            return self.leave()
        elif kind == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.ping_open = False
        return 0

    cdef int take_message_frame(self, const nghttp2_frame *frame) except -1:
        cdef UpstreamHttp2Stream s = stream_of(self.session, frame.hd.stream_id)
        cdef bint ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        if frame.hd.type == NGHTTP2_HEADERS and self.block_stream == frame.hd.stream_id:
            if s is not None and s.exchange is not None and not s.failed:
                if s.headed:
                    s.take_trailers(ends)
                else:
                    s.take_head(ends)
            self.end_block()
        if ends and s is not None and s.exchange is not None and not s.failed:
            s.take_end()
        return 0

    cdef int open_stream(self, int32_t stream, size_t n) except -1:
        """The stream's window opens by n bytes."""
        if nghttp2_session_consume_stream(self.session, stream, n) != 0:
            raise MemoryError("window")
        return self.pack_later()

    cdef int pack(self) except -1:
        return self.lose(FAULT_PROTOCOL, self.frame_error(0), 0) if self.broken else Http2Session.pack(self)

    cdef int pack_now(self) except -1:
        """Send what can be sent. Nobody is told of anything: the caller is in the middle of something."""
        if self.inside or self.settling or self.broken:
            return 0
        self.settling = True
        try:
            self.pack()
        finally:
            self.settling = False
        return self.pack_later()

    cdef int on_packed(self) except -1:
        if self.settling:
            return 0
        if self.waiting:
            self.tell_writable()
        self.settle()
        return self.check_end()

    cdef int on_fatal(self, int error) except -1:
        if self.settling:
            self.broken = True
            return self.pack_later()
        return self.lose(FAULT_PROTOCOL, self.frame_error(error), 0)

    cdef int on_writable(self) except -1:
        return self.pack() if self.session != NULL else 0

    cdef int tell_writable(self) except -1:
        """Requests whose bodies wait may go on."""
        cdef UpstreamHttp2Stream s = self.first
        cdef list ready = []
        while s is not None:
            if s.body.starved and not s.body.is_long():
                if s.body.bytes.size() == 0:
                    self.discard(s.body)
                if s.exchange is not None:
                    ready.append(s)
            s = s.next
        for s in ready:
            if s.exchange is not None:
                s.exchange.on_upstream_writable()
        return 0

    cdef int settle(self) except -1:
        """After the frame layer has run: clients are flushed, exchanges are told of faults, and places are given away."""
        cdef UpstreamHttp2Stream s
        cdef Py_ssize_t i
        if self.settling:
            return 0
        self.settling = True
        try:
            while self.touched or self.faulty:
                i = 0
                while i < len(self.touched):
                    s = self.touched[i]
                    i += 1
                    s.deliver()
                self.touched.clear()
                i = 0
                while i < len(self.faulty):
                    s = self.faulty[i]
                    i += 1
                    s.tell_fault()
                self.faulty.clear()
            if self.freed and self.state != H_CLOSED:
                self.freed = False
                self.owner.on_room(self)
                self.update_idle()
        finally:
            self.settling = False
        return 0

    cdef int check_end(self) except -1:
        """Is the connection of no use any more?"""
        if self.state == H_CLOSED or self.inside:
            return 0
        if self.active == 0 and (self.state == H_LEAVING or (self.idle and (self.ctx.draining or self.ctx.parting))):
            if self.idle:
                count_idle_end(self.ctx, &self.terms)
            return self.shut_down()
        if not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
            return self.lose(FAULT_PROTOCOL, FGW_R_H2_FRAMING, 0)
        return 0

    # ---- the end

    cdef int shut_down(self) except -1:
        """Without streams: say goodbye, as far as the socket takes it at once."""
        if self.session != NULL and self.state != H_CLOSED:
            self.state = H_LEAVING
            nghttp2_session_terminate_session(self.session, NGHTTP2_NO_ERROR)
            self.inside = True  # no end within an end
            try:
                self.pack()
            except MemoryError:
                pass  # then without a word
            finally:
                self.inside = False
        return self.lose(FAULT_CLOSED, 0, 0)

    cdef int on_eof(self) except -1:
        return self.lose(FAULT_CLOSED, FGW_R_BODY_TOO_SHORT, 0)

    cdef int on_closed(self, int reason, int error) except -1:
        if self.state == H_CONNECTING:
            count_failure(self.ctx, self.transport, reason)
            return self.fail_connecting(FAULT_CONNECT_FAILED, error)
        return self.lose(FAULT_CLOSED, 0, error)

    cdef int lose(self, int fault, int reason, int error) except -1:
        """The connection is over, and so are all streams but those whose answers are here as a whole."""
        cdef UpstreamHttp2Stream s
        cdef list found = []
        if self.state == H_CLOSED:
            return 0
        self.close()
        s = self.first
        while s is not None:
            found.append(s)
            s = s.next
        self.first = None
        self.active = 0
        for s in found:
            if s.connection is not self:  # what became of another one has ended it, too
                continue
            s.prev = s.next = None
            if s.exchange is not None and self.failure is not None:
                s.exchange.transport_failure = self.failure
            s.on_lost(fault, reason, error)
        return 0

    cdef int close(self) except -1:
        """Give the socket back and leave the owner's list."""
        cdef bint was_open = self.state == H_OPEN
        self.state = H_CLOSED
        self.update_idle()
        self.failure = failure_of(self.transport)
        self.ctx.loop.keep(self)  # a method of ours may be on the stack
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.packer.session = None
        self.block.release()
        self.transport.close()
        end_connection(self.ctx, &self.terms)
        if was_open:
            self.owner.on_leaving(self)
        return 0

    # ---- time

    cdef int arm(self) except -1:
        """File the nearest deadline."""
        cdef int64_t when = 0, other
        if self.state == H_CLOSED:
            return 0
        if not self.settings_seen:
            when = self.deadline_connect_ms
        if self.idle and idle_limit_ms(self.ctx, &self.terms):
            other = self.idle_ms + idle_limit_ms(self.ctx, &self.terms)
            when = min(when, other) if when else other
        if self.owner.ping_interval_ms and self.state != H_CONNECTING:
            other = self.pinged_ms + (self.owner.ping_timeout_ms if self.ping_open else self.owner.ping_interval_ms)
            when = min(when, other) if when else other
        if self.terms.expires_ms and self.state == H_OPEN:
            when = min(when, self.terms.expires_ms) if when else self.terms.expires_ms
        return self.ctx.loop.set_deadline(self, when)

    cdef int on_timer(self) except -1:
        cdef int64_t now = self.ctx.loop.now_ms
        cdef uint8_t[8] word
        if self.state == H_CLOSED:
            return 0
        if self.state == H_CONNECTING and now >= self.deadline_connect_ms:
            mark_timeout(self.transport)
            count_failure(self.ctx, self.transport, CLOSE_HANDSHAKE_FAILED)
            return self.fail_connecting(FAULT_CONNECT_TIMEOUT, 0)
        if not self.settings_seen and now >= self.deadline_connect_ms:
            return self.lose(FAULT_TIMEOUT, 0, 0)
        if self.idle and idle_limit_ms(self.ctx, &self.terms) and now >= self.idle_ms + idle_limit_ms(self.ctx, &self.terms):
            count_idle_end(self.ctx, &self.terms)
            return self.shut_down()
        if self.terms.expires_ms and now >= self.terms.expires_ms and self.state == H_OPEN:
            return self.leave()
        if self.owner.ping_interval_ms and self.state != H_CONNECTING:
            if self.ping_open and now >= self.pinged_ms + self.owner.ping_timeout_ms:
                return self.lose(FAULT_CLOSED, 0, 0)
            if not self.ping_open and now >= self.pinged_ms + self.owner.ping_interval_ms:
                self.ping_open = True
                self.pinged_ms = now
                memset(word, 0, 8)
                nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, word)
                self.pack_later()
        return self.arm()
