"""HTTP/2 towards upstreams: many exchanges share a connection (RFC 9113).

Answers arrive for streams in any order. What a client does not take waits with its stream, whose window is opened again only as the
client goes on, so that a slow reader stops its own answer and nobody else's; the connection's window is opened at once.

Exchanges are told of the end of their streams after the frame layer has returned (settle()): what they do then may open, write to
and close any stream. A stream object is used again only when the frame layer has forgotten the stream.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport keep_alive, local_text, open_socket
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_request cimport request_pairs
from fastgw.dataplane.http2_session cimport QUEUE_BYTES, BodyQueue, Http2Session, common_callbacks, common_options
from fastgw.dataplane.limits cimport release_connection
from fastgw.dataplane.loop cimport Loop, Turn
from fastgw.dataplane.proxy_header cimport proxy_header_for
from fastgw.dataplane.streams cimport (
    FAULT_CLOSED, FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_PROTOCOL, FAULT_REFUSED, FAULT_RESET, FAULT_TIMEOUT,
    ResponseHead, UpstreamStream,
)
from fastgw.dataplane.transport cimport CLOSE_HANDSHAKE_FAILED
from fastgw.dataplane.upstream_tls cimport (
    chose_http2, count_failure, failure_of, make_transport, mark_timeout, note_connected,
)
from fastgw.native.base cimport (
    FGW_R_BODY_TOO_SHORT, FGW_R_H2_BODY_LENGTH, FGW_R_H2_CONTINUATION_FLOOD, FGW_R_H2_FRAMING,
    FGW_R_H2_HEADER_BOMB, FGW_R_H2_SETTINGS_FLOOD, FGW_R_UNEXPECTED_1XX, fgw_field,
)
from fastgw.native.http1 cimport (
    FGW_FRAMING_CHUNKED, FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_HEAD, fgw_response,
)
from fastgw.native.http2 cimport FGW_H2_RESPONSE, FGW_H2_TRAILERS, fgw_h2_response, fgw_h2_trailers
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_DATA, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS,
    NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_END_STREAM, NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS,
    NGHTTP2_NO_ERROR, NGHTTP2_PING, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS,
    NGHTTP2_SETTINGS_ENABLE_PUSH, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, nghttp2_data_provider, nghttp2_frame, nghttp2_nv, nghttp2_on_begin_headers_callback,
    nghttp2_on_data_chunk_recv_callback, nghttp2_on_frame_not_send_callback, nghttp2_on_frame_recv_callback,
    nghttp2_on_stream_close_callback, nghttp2_option, nghttp2_option_set_no_closed_streams,
    nghttp2_option_set_peer_max_concurrent_streams, nghttp2_session, nghttp2_session_callbacks,
    nghttp2_session_callbacks_set_on_begin_headers_callback, nghttp2_session_callbacks_set_on_data_chunk_recv_callback,
    nghttp2_session_callbacks_set_on_frame_not_send_callback, nghttp2_session_callbacks_set_on_frame_recv_callback,
    nghttp2_session_callbacks_set_on_stream_close_callback, nghttp2_session_consume_stream, nghttp2_session_get_remote_settings,
    nghttp2_session_get_stream_local_close,
    nghttp2_session_get_stream_user_data, nghttp2_session_mem_recv, nghttp2_session_set_local_window_size,
    nghttp2_session_set_next_stream_id, nghttp2_session_terminate_session, nghttp2_session_want_read,
    nghttp2_session_want_write, nghttp2_settings_entry, nghttp2_submit_ping, nghttp2_submit_request, nghttp2_submit_rst_stream,
    nghttp2_submit_settings,
)
from fastgw.native.route cimport FGW_NONE, FGW_POLICY_KEEPALIVE, fgw_img_policy
from fastgw.native.state cimport (
    FGW_C_UPSTREAM_BYTES_IN, FGW_C_UPSTREAM_BYTES_OUT, FGW_C_UPSTREAM_CLOSED, FGW_C_UPSTREAM_CONNECTS, FGW_G_UPSTREAM_ACTIVE,
)

cdef enum:
    STREAM_WINDOW = 262144       # what a stream may hold of an answer
    CONNECTION_WINDOW = 4194304  # of a connection in flight; nothing is held under it
    PIECE_BYTES = 16384          # of a held answer, between two looks at the client
    STREAMS_ASSUMED = 100        # until the upstream's SETTINGS have come
    LAST_STREAM_ID = 0x7ffffff0  # a new connection comes before ids run out
    INTERIMS = 10                # 1xx heads before the final one (requirement H5)
    SPARE_STREAMS = 4096         # kept for later requests
    FRAME_ALLOWANCE = 64         # bytes of WINDOW_UPDATE and the like that one DATA frame of ours may cause

cdef long connections = 0
cdef long streams = 0
cdef uint32_t first_stream_id = 1
cdef nghttp2_session_callbacks *CALLBACKS = NULL
cdef nghttp2_option *OPTIONS = NULL


def upstream_connections_alive():
    """For leak checks: HTTP/2 connections that are not closed, idle ones included."""
    return connections


def upstream_streams_alive():
    """For leak checks: streams that are in use."""
    return streams


def begin_stream_ids_at(int first):
    """For tests: what new connections call their first stream (odd)."""
    global first_stream_id
    first_stream_id = first


# ---- callbacks of the frame layer; exceptions travel through it (nghttp2.pxd)

cdef UpstreamHttp2Stream stream_of(nghttp2_session *session, int32_t stream):
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream)
    return None if found == NULL else <UpstreamHttp2Stream>found


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s
    if c.state == H_CLOSED or frame.hd.type != NGHTTP2_HEADERS:  # a push, which our SETTINGS do not allow
        return NGHTTP2_ERR_CALLBACK_FAILURE
    s = stream_of(session, frame.hd.stream_id)
    if s is None or s.exchange is None or s.failed:
        return 0
    return c.start_block(frame.hd.stream_id, FGW_H2_TRAILERS if s.headed else FGW_H2_RESPONSE, 0)


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n,
                       void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s
    if c.state == H_CLOSED:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    s = stream_of(session, stream)
    c.consumed(0, n)
    return 0 if s is None or s.exchange is None or s.failed else s.take_body(<const char *>p, n)


cdef int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    if c.state == H_CLOSED:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if frame.hd.type == NGHTTP2_DATA:
        c.refusal = c.guard.on_content(frame.hd.length - frame.data.padlen, frame.hd.flags & NGHTTP2_FLAG_END_STREAM)
        if c.refusal:
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return c.take_frame(frame)


cdef int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s = stream_of(session, stream)
    if s is None or c.state == H_CLOSED:
        return 0
    c.unbind(s)
    s.closed = True
    if s.exchange is None:
        s.retire()
    elif not s.ended and not s.failed:
        s.failed = True
        s.reason = 0
        if s.unsent or code == NGHTTP2_REFUSED_STREAM:
            s.fault = FAULT_REFUSED
        elif s.peer_reset:
            s.fault = FAULT_RESET
        else:
            s.fault, s.reason = FAULT_PROTOCOL, FGW_R_H2_FRAMING
        c.faulty.append(s)
    return 0


cdef int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data) except? -902:
    cdef UpstreamHttp2Stream s
    if frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
        s = stream_of(session, frame.hd.stream_id)
        if s is not None:
            s.unsent = True
    return 0


cdef int make_tables() except -1:
    """Callbacks and options of all connections, never freed."""
    global CALLBACKS, OPTIONS
    CALLBACKS = common_callbacks()
    nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, <nghttp2_on_begin_headers_callback>on_begin_headers)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, <nghttp2_on_data_chunk_recv_callback>on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, <nghttp2_on_frame_recv_callback>on_frame_recv)
    nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, <nghttp2_on_stream_close_callback>on_stream_close)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(CALLBACKS, <nghttp2_on_frame_not_send_callback>on_frame_not_send)
    OPTIONS = common_options()
    nghttp2_option_set_peer_max_concurrent_streams(OPTIONS, STREAMS_ASSUMED)
    nghttp2_option_set_no_closed_streams(OPTIONS, 1)
    return 0


make_tables()


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


# ---- streams

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


# ---- connections

cdef class UpstreamHttp2(Http2Session):
    def __init__(self, Context ctx, StreamOwner owner):
        self.ctx = ctx
        self.owner = owner
        self.limit_cell = FGW_NONE
        self.guard = FrameGuard()
        self.guard.frames.left = 0  # upstreams begin without a preface
        self.peer_streams = owner.expected_streams
        self.touched = []
        self.faulty = []

    # ---- connect

    cdef int start_connect(self, Exchange x, int64_t timeout_ms) except -1:
        """Begin a connection to self.address and self.peer on behalf of x. 0 when not even that was possible."""
        global connections
        cdef int fd
        self.transport = make_transport(x, &self.peer)
        fd = open_socket(&self.address, True) if self.transport is not None else -1
        if fd < 0:
            return 0
        connections += 1
        self.ctx.gauge(FGW_G_UPSTREAM_ACTIVE, 1)
        self.ctx.loop.count(FGW_C_UPSTREAM_CONNECTS)
        self.transport.counter_in = FGW_C_UPSTREAM_BYTES_IN
        self.transport.counter_out = FGW_C_UPSTREAM_BYTES_OUT
        self.transport.reads_rest = True
        self.transport.preface = proxy_header_for(x)
        self.state = H_CONNECTING
        self.newborn = True
        self.deadline_connect_ms = self.ctx.loop.now_ms + max(timeout_ms, 1)
        self.transport.open(self.ctx.loop, fd, self, True)
        self.transport.watch_peer()
        self.obey(x.image.policy_of(x.cluster), fd)
        self.arm()
        return 1

    cdef int obey(self, const fgw_img_policy *policy, int fd) except -1:
        self.idle_timeout_ms = self.ctx.upstream_idle_timeout_ms
        if policy == NULL:
            return 0
        if policy.idle_timeout_ms != FGW_NONE:
            self.idle_timeout_ms = policy.idle_timeout_ms
        if policy.max_requests_per_connection != FGW_NONE:
            self.max_requests = policy.max_requests_per_connection
        if policy.max_connection_ms:
            self.expires_ms = self.ctx.loop.now_ms + policy.max_connection_ms
        if policy.flags & FGW_POLICY_KEEPALIVE:
            keep_alive(fd, policy)
        self.limit = policy.max_connections
        return 0

    cdef int on_connected(self) except -1:
        cdef nghttp2_settings_entry[4] entries
        note_connected(self.ctx, self.transport)
        if not chose_http2(self.ctx, self.transport):
            return self.fail_connecting(FAULT_CONNECT_FAILED, 0)
        self.state = H_OPEN
        self.pinged_ms = self.ctx.loop.now_ms
        self.open_session(False, CALLBACKS, OPTIONS)
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
        if self.max_requests and self.requests >= self.max_requests:
            return self.leave()
        return 0

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
        if self.active == 0 and (self.state == H_LEAVING or (self.idle and self.ctx.draining)):
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
        global connections
        cdef bint was_open = self.state == H_OPEN
        self.state = H_CLOSED
        self.update_idle()
        self.failure = failure_of(self.transport)
        self.ctx.loop.doomed.append(self)  # a method of ours may be on the stack
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.packer.session = None
        self.block.release()
        self.transport.close()
        connections -= 1
        self.ctx.gauge(FGW_G_UPSTREAM_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_UPSTREAM_CLOSED)
        release_connection(self.ctx, self.limit_cell)
        self.limit_cell = FGW_NONE
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
        if self.idle and self.idle_timeout_ms:
            other = self.idle_ms + self.idle_timeout_ms
            when = min(when, other) if when else other
        if self.owner.ping_interval_ms and self.state != H_CONNECTING:
            other = self.pinged_ms + (self.owner.ping_timeout_ms if self.ping_open else self.owner.ping_interval_ms)
            when = min(when, other) if when else other
        if self.expires_ms and self.state == H_OPEN:
            when = min(when, self.expires_ms) if when else self.expires_ms
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
        if self.idle and self.idle_timeout_ms and now >= self.idle_ms + self.idle_timeout_ms:
            return self.shut_down()
        if self.expires_ms and now >= self.expires_ms and self.state == H_OPEN:
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
