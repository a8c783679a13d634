"""Streams of HTTP/2 connections to upstreams: each is the upstream's side of one exchange.

What a client does not take of an answer waits with its stream, whose window is opened again only as the client goes on, so that a
slow reader stops its own answer and nobody else's. A stream object is used again only when the frame layer has forgotten the
stream.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.dial cimport local_text
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_request cimport request_pairs
from fastgw.dataplane.http2_session cimport QUEUE_BYTES, BodyQueue
from fastgw.dataplane.loop cimport Loop, Turn
from fastgw.dataplane.streams cimport (
    FAULT_CLOSED, FAULT_CONNECT_TIMEOUT, FAULT_PROTOCOL, FAULT_REFUSED, FAULT_TIMEOUT, ResponseHead, UpstreamStream,
)
from fastgw.dataplane.upstream_http2 cimport UpstreamHttp2
from fastgw.native.base cimport FGW_R_BODY_TOO_SHORT, FGW_R_H2_BODY_LENGTH, FGW_R_UNEXPECTED_1XX, fgw_field
from fastgw.native.http1 cimport FGW_FRAMING_CHUNKED, FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_HEAD, fgw_response
from fastgw.native.http2 cimport fgw_h2_response, fgw_h2_trailers
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_FLAG_NONE, NGHTTP2_PROTOCOL_ERROR, nghttp2_data_provider, nghttp2_nv, nghttp2_session,
    nghttp2_session_get_stream_local_close, nghttp2_session_get_stream_user_data, nghttp2_submit_request,
    nghttp2_submit_rst_stream,
)

cdef enum:
    PIECE_BYTES = 16384          # of a held answer, between two looks at the client
    LAST_STREAM_ID = 0x7ffffff0  # a new connection comes before ids run out
    INTERIMS = 10                # 1xx heads before the final one (requirement H5)
    SPARE_STREAMS = 4096         # kept for later requests

cdef long streams = 0


def upstream_streams_alive():
    """For leak checks: streams that are in use."""
    return streams


cdef UpstreamHttp2Stream stream_of(nghttp2_session *session, int32_t stream):
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream)
    return None if found == NULL else <UpstreamHttp2Stream>found


cdef class StreamStore(Turn):
    def __init__(self, Loop loop):
        self.loop = loop

    cdef UpstreamHttp2Stream take(self):
        """One at its start state."""
        global streams
        cdef UpstreamHttp2Stream s = self.free
        streams += 1
        if s is None:
            return UpstreamHttp2Stream()
        self.free = s.next
        s.next = None
        self.spare -= 1
        return s

    cdef int give_back(self, UpstreamHttp2Stream s) except -1:
        global streams
        streams -= 1
        self.loop.unlink(s)
        s.prev = None
        s.next = self.retired
        self.retired = s
        return self.loop.at_turn_end(self)

    cdef int trim(self) except -1:
        """Let go of those that wait to be used again: one by one, for each holds the next."""
        cdef UpstreamHttp2Stream s
        while self.free is not None:
            s = self.free
            self.free, s.next = s.next, None
        self.spare = 0
        return 0

    cdef int on_turn_end(self) except -1:
        cdef UpstreamHttp2Stream s = self.retired, following
        self.retired = None
        while s is not None:
            following = s.next
            s.next = None
            if self.spare < SPARE_STREAMS:
                s.next = self.free
                self.free = s
                self.spare += 1
            s = following
        return 0


cdef class UpstreamHttp2Stream(UpstreamStream):
    def __cinit__(self):
        self.body = BodyQueue()
        self.held = Buffer()
        self.held_trailers = FieldTable()

    cdef int reset(self) except -1:
        """Back to the start state, and nothing held."""
        self.exchange = None
        self.connection = None
        self.owner = None
        self.state = S_FREE
        self.id = 0
        self.deadline_ms = 0
        self.reused = self.has_body = self.unsent = self.closed = self.touched = self.failed = self.peer_reset = False
        self.answered = self.headed = self.ended = self.has_held_trailers = self.bodyless = self.counted = False
        self.body_left = self.unconsumed = 0
        self.interims = 0
        self.body.reset()
        self.held_trailers.release()
        return self.held.release()

    cdef bint ready(self) noexcept:
        return self.state == S_READY

    # ---- request

    cdef int start_request(self, Exchange x) except -1:
        cdef UpstreamHttp2 c = self.connection
        cdef nghttp2_data_provider provider
        cdef size_t count = 0
        cdef nghttp2_nv *pairs = request_pairs(x.head, &count)
        cdef int framing = x.head.req.framing
        self.state = S_OPEN
        self.method_id = x.head.req.method_id
        self.has_body = framing == FGW_FRAMING_CHUNKED or (framing == FGW_FRAMING_LENGTH and x.head.req.content_length != 0)
        self.body.provide(&provider)
        self.id = nghttp2_submit_request(c.session, NULL, pairs, count, &provider if self.has_body else NULL, <void *>self)
        if self.id < 0:  # ids have run out, or the connection is about to close
            self.id = 0
            c.unbind(self)
            self.closed = True
            c.leave()
            self.failed = True
            self.fault, self.reason = FAULT_REFUSED, 0
            c.faulty.append(self)
            return c.pack_later()
        if <uint32_t>self.id >= LAST_STREAM_ID:
            c.leave()
        self.moved_ms = self.ctx.loop.now_ms
        if self.ctx.upstream_response_timeout_ms:
            self.ctx.loop.set_deadline(self, self.moved_ms + self.ctx.upstream_response_timeout_ms)
        return c.pack_later()

    cdef int write_body(self, const char *p, size_t n) except -1:
        cdef UpstreamHttp2 c = self.connection
        if n == 0 or self.closed or self.state != S_OPEN or not self.has_body:
            return 0
        self.moved_ms = self.ctx.loop.now_ms
        c.enqueue(self.id, self.body, p, n)
        return c.pack_now() if self.body.bytes.size() >= QUEUE_BYTES else 0

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        if self.has_body and not self.closed:
            self.body.keep_trailers(base, fields, count)
        return 0

    cdef int end_request(self) except -1:
        self.body.ended = True
        if not self.has_body or self.closed or self.state != S_OPEN:
            return 0
        return self.connection.resume(self.id, self.body)

    cdef int flush(self) except -1:
        """Frames are made at the end of the turn."""
        return 0

    cdef bint backlogged(self) noexcept:
        return self.state == S_OPEN and self.body.is_long()

    # ---- answer

    cdef int take_head(self, bint ends) except -1:
        """A header block of this stream is whole, interim or final."""
        cdef fgw_response r
        cdef ResponseHead head
        cdef UpstreamHttp2 c = self.connection
        cdef int reason = fgw_h2_response(&c.head, ends, &r)
        self.answered = True
        self.moved_ms = self.ctx.loop.now_ms
        if reason == 0 and r.status < 200:
            self.interims += 1
            if r.status == 101 or self.interims > INTERIMS:
                reason = FGW_R_UNEXPECTED_1XX
            else:
                self.fill_head(&head, c.head.base, &r)
                return self.exchange.on_interim(&head)
        if reason:
            return self.fail(FAULT_PROTOCOL, reason, NGHTTP2_PROTOCOL_ERROR)
        return self.give_response(c.head.base, &r, ends)

    cdef int fill_head(self, ResponseHead *head, const char *base, const fgw_response *r) except -1:
        head.base = base
        head.fields = self.connection.head.fields
        head.field_count = r.field_count
        head.head_bytes = r.head_len
        head.content_length = r.content_length
        head.status = r.status
        head.framing = FGW_FRAMING_NONE
        head.has_content_length = r.framing == FGW_FRAMING_LENGTH
        head.from_upstream = True
        head.timed = False
        return 0

    cdef int give_response(self, const char *base, const fgw_response *r, bint ends) except -1:
        cdef ResponseHead head
        self.headed = True
        self.bodyless = self.method_id == FGW_METHOD_HEAD or r.status == 204 or r.status == 304
        self.counted = r.framing == FGW_FRAMING_LENGTH and not self.bodyless
        self.body_left = r.content_length
        self.fill_head(&head, base, r)
        if not self.bodyless:
            head.framing = r.framing
            if ends and not head.has_content_length and not self.exchange.client.http2:
                head.framing = FGW_FRAMING_LENGTH  # HTTP/1 has to say that nothing follows
        self.deadline_ms = 0
        if self.ctx.stream_idle_timeout_ms:
            self.ctx.loop.set_deadline(self, self.moved_ms + self.ctx.stream_idle_timeout_ms)
        self.touch()
        return self.exchange.on_response_head(&head)

    cdef int touch(self) except -1:
        """The client has got something: settle() has it sent."""
        if not self.touched:
            self.touched = True
            self.connection.touched.append(self)
        return 0

    cdef int take_body(self, const char *p, size_t n) except -1:
        cdef Exchange x = self.exchange
        if not self.headed or (self.bodyless and n):
            return self.fail(FAULT_PROTOCOL, FGW_R_H2_BODY_LENGTH, NGHTTP2_PROTOCOL_ERROR)
        if self.counted:
            if n > self.body_left:
                return self.fail(FAULT_PROTOCOL, FGW_R_H2_BODY_LENGTH, NGHTTP2_PROTOCOL_ERROR)
            self.body_left -= n
        self.unconsumed += n
        self.moved_ms = self.ctx.loop.now_ms
        self.touch()
        if self.held.size() or x.client.backlogged():
            return self.held.append(p, n)
        return x.on_response_body(p, n)

    cdef int take_trailers(self, bint ends) except -1:
        cdef UpstreamHttp2 c = self.connection
        cdef int reason = fgw_h2_trailers(&c.head, ends)
        if reason:
            return self.fail(FAULT_PROTOCOL, reason, NGHTTP2_PROTOCOL_ERROR)
        if self.held.size() == 0:
            return self.exchange.on_response_trailers(c.head.base, c.head.fields, c.head.count)
        self.held_trailers.load(c.head.base, c.head.len, c.head.fields, c.head.count, 0, 0)
        self.has_held_trailers = True
        return 0

    cdef int take_end(self) except -1:
        """END_STREAM has come."""
        if not self.headed or (self.counted and self.body_left):
            return self.fail(FAULT_PROTOCOL, FGW_R_H2_BODY_LENGTH if self.headed else FGW_R_BODY_TOO_SHORT, NGHTTP2_PROTOCOL_ERROR)
        self.ended = True
        return self.complete() if self.held.size() == 0 else 0

    cdef int resume_response(self) except -1:
        """The client takes more."""
        cdef UpstreamHttp2 c = self.connection
        if c is None or self.state != S_OPEN:
            return 0
        if not c.inside and not c.settling:
            return self.deliver()
        self.touch()
        return c.pack_later()

    cdef int deliver(self) except -1:
        """What is held goes to the client, as far as it takes it; then the window is opened again."""
        cdef Exchange x = self.exchange
        cdef UpstreamHttp2Stream alive = self  # what the client does may end the stream
        cdef size_t n
        alive.touched = False
        if x is None or self.failed:
            return 0
        x.client.flush()
        while self.exchange is x and self.held.size() and not x.client.backlogged():
            n = min(self.held.size(), <size_t>PIECE_BYTES)
            x.on_response_body(self.held.head(), n)
            if self.exchange is not x:
                return 0
            self.held.consume(n)
            x.client.flush()
        if self.exchange is not x:
            return 0
        if self.ended and self.held.size() == 0:
            if self.has_held_trailers:
                x.on_response_trailers(self.held_trailers.base, self.held_trailers.fields, self.held_trailers.field_count)
            return self.complete() if self.exchange is x else 0
        return 0 if x.client.backlogged() else self.open_window()

    cdef int open_window(self) except -1:
        cdef uint64_t n = self.unconsumed - self.held.size()
        if n == 0 or self.ended or self.closed:
            return 0
        self.unconsumed -= n
        return self.connection.open_stream(self.id, <size_t>n)

    cdef int complete(self) except -1:
        """The answer is whole and with the client. What of the request has not been sent is not wanted any more."""
        cdef Exchange x = self.exchange
        cdef UpstreamHttp2Stream alive = self  # the exchange may have had the last reference
        self.exchange = None
        x.detach_upstream()
        alive.let_go(NGHTTP2_CANCEL)
        return x.on_response_end()

    # ---- endings

    cdef int fail(self, int fault, int reason, uint32_t code) except -1:
        """Reset the stream; settle() tells the exchange."""
        if self.failed:
            return 0
        self.failed = True
        self.fault, self.reason = fault, reason
        self.connection.faulty.append(self)
        if not self.closed:
            nghttp2_submit_rst_stream(self.connection.session, NGHTTP2_FLAG_NONE, self.id, code)
        return self.connection.pack_later()

    cdef int tell_fault(self) except -1:
        cdef Exchange x = self.exchange
        cdef int fault = self.fault, reason = self.reason
        if x is None or not self.failed:
            return 0
        self.exchange = None
        self.deadline_ms = 0
        if self.closed:
            self.retire()
        else:
            self.state = S_OVER
            self.connection.discard(self.body)
            self.held.release()
        return x.on_upstream_fault(fault, reason, 0)

    cdef int on_lost(self, int fault, int reason, int error) except -1:
        """The connection is gone. An answer that is here as a whole is not lost."""
        cdef Exchange x = self.exchange
        self.closed = True
        if x is None:
            return self.retire()
        if self.ended:
            return 0
        if fault == FAULT_CLOSED and self.answered:
            x.replayable = False
        self.exchange = None
        self.retire()
        return x.on_upstream_fault(fault, reason, error)

    cdef size_t held_bytes(self) noexcept:
        return (self.body.bytes.cap if self.body is not None else 0) + (self.held.cap if self.held is not None else 0)

    cdef int abandon(self) except -1:
        """RST_STREAM(CANCEL) goes out in this turn (X16); the connection and its other streams go on."""
        self.exchange = None
        return self.let_go(NGHTTP2_CANCEL)

    cdef int let_go(self, uint32_t code) except -1:
        """No exchange is interested any more."""
        cdef UpstreamHttp2 c = self.connection
        self.deadline_ms = 0
        if self.state == S_WAITING:
            self.owner.withdraw(self)
            return self.retire()
        if self.state == S_READY:
            c.unbind(self)
            return self.retire()
        if self.closed:
            return self.retire()
        if self.state == S_OPEN:
            self.state = S_OVER
            if not self.ended or nghttp2_session_get_stream_local_close(c.session, self.id) == 0:
                nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, self.id, code)
            c.discard(self.body)
            self.held.release()
            return c.pack_later()
        return 0

    cdef int retire(self) except -1:
        """Into the store; whoever calls does not look at this object any more."""
        cdef StreamStore store = self.owner.store
        if self.state == S_FREE:
            return 0
        self.reset()
        return store.give_back(self)

    cdef int on_timer(self) except -1:
        cdef Exchange x = self.exchange
        cdef int64_t idle_ms = self.ctx.stream_idle_timeout_ms
        if x is None:
            return 0
        if self.state == S_WAITING:
            self.exchange = None
            self.owner.withdraw(self)
            self.retire()
            return x.on_upstream_fault(FAULT_CONNECT_TIMEOUT, 0, 0)
        if self.state != S_OPEN or self.ended:
            return 0
        if self.headed and (idle_ms == 0 or self.ctx.loop.now_ms < self.moved_ms + idle_ms):
            return self.ctx.loop.set_deadline(self, self.moved_ms + idle_ms) if idle_ms else 0
        self.exchange = None
        self.let_go(NGHTTP2_CANCEL)
        return x.on_upstream_fault(FAULT_TIMEOUT, 0, 0)

    cdef int local_address(self, char *out) noexcept:
        cdef UpstreamHttp2 c = self.connection
        if c is None:
            return 0
        if c.local_len == 0 and c.transport is not None:
            c.local_len = local_text(c.transport.fd, c.local)
        memcpy(out, c.local, <size_t>c.local_len)
        return c.local_len
