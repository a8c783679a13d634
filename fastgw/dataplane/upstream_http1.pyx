"""HTTP/1.1 towards upstreams. Answers are parsed as strictly as requests (requirement H1).

A connection is given back to the pool only when both messages are complete, the peer keeps it alive, and not a byte is left
over; anything else burns it (H3, H6). While it is idle every byte and every hang-up ends it.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport let_pause, local_text
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.streams cimport (
    FAULT_CLOSED, FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_PROTOCOL, FAULT_TIMEOUT, ResponseHead, UpstreamStream,
)
from fastgw.dataplane.trailers cimport Trailers
from fastgw.dataplane.transport cimport CLOSE_CONNECT_FAILED, CLOSE_HANDSHAKE_FAILED, Transport
from fastgw.dataplane.upstream_connection cimport count_idle_end, end_connection, has_had_all, start_connection
from fastgw.dataplane.upstream_tls cimport note_connected, note_failure, note_timeout
from fastgw.dataplane.websocket cimport WEBSOCKET_KEY, accepts_key, brings_key, make_key, names_websocket
from fastgw.native.base cimport FGW_R_BODY_TOO_SHORT, FGW_R_UNEXPECTED_1XX
from fastgw.native.http1 cimport (
    FGW_CHUNK_DATA, FGW_CHUNK_END, FGW_CHUNK_MORE, FGW_FRAMING_CHUNKED, FGW_FRAMING_CLOSE, FGW_FRAMING_LENGTH, FGW_FRAMING_NONE,
    FGW_MSG_CLOSE, FGW_MSG_TE_TRAILERS, FGW_MSG_UPGRADE, fgw_chunk_head, fgw_chunked_decode, fgw_fields_size, fgw_parse_response,
    fgw_response_framing, fgw_write_fields,
)
from fastgw.native.route cimport FGW_NONE

cdef enum:
    INTERIMS = 10             # 1xx heads before the final one (requirement H5)
    HALF_CLOSED_MS = 30000    # requirement E9


cdef class IdleOwner:
    cdef int take_back(self, UpstreamHttp1 c) except -1:
        raise NotImplementedError

    cdef int forget(self, UpstreamHttp1 c) except -1:
        raise NotImplementedError


cdef class UpstreamHttp1(UpstreamStream):
    def __init__(self, Context ctx, IdleOwner pool):
        self.ctx = ctx
        self.pool = pool
        self.pending = Buffer()
        self.state = U_CLOSED
        self.terms.limit_cell = FGW_NONE

    # ---- connect

    cdef int start_connect(self, int64_t timeout_ms) except -1:
        """Begin a connection to self.address and self.peer for self.exchange. 0 when not even that was possible."""
        self.transport = start_connection(self.exchange, self, &self.address, &self.peer, &self.terms)
        if self.transport is None:
            return 0
        self.state = U_CONNECTING
        self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + max(timeout_ms, 1))
        return 1

    cdef bint used_up(self) noexcept:
        """No further request may go this way (Q12)."""
        if has_had_all(&self.terms, self.requests):
            return True
        return self.terms.expires_ms != 0 and self.ctx.loop.now_ms >= self.terms.expires_ms

    cdef int on_connected(self) except -1:
        cdef Exchange x = self.exchange
        self.deadline_ms = 0
        self.state = U_HEAD
        note_connected(self.ctx, self.transport)
        if x is None:
            return self.destroy()
        return x.on_upstream_ready()

    cdef bint ready(self) noexcept:
        return self.state == U_HEAD

    # ---- request

    cdef int start_request(self, Exchange x) except -1:
        """Request line, Host, relayed and own fields, framing."""
        cdef Buffer out = self.transport.out
        cdef size_t line = x.head.req.method.len + x.head.raw_path_len + x.head.req.authority.len
        cdef size_t room = fgw_fields_size(x.head.fields, x.head.field_count) + line + 192
        cdef char *start
        cdef char *to
        self.requests += 1
        self.state = U_HEAD
        self.seen = 0
        self.interims = 0
        self.answered = self.request_sent = self.switched = self.peer_done = self.own_key = False
        self.method_id = x.head.req.method_id
        self.chunk_request = x.head.req.framing == FGW_FRAMING_CHUNKED
        if self.transport.fd < 0 or self.transport.failed:
            return 0
        self.transport.progress_ms = self.ctx.loop.now_ms
        start = to = out.reserve(room)
        memcpy(to, x.head.base + x.head.req.method.off, x.head.req.method.len)
        to += x.head.req.method.len
        to[0] = 32
        memcpy(to + 1, x.head.path, x.head.raw_path_len)
        to += 1 + x.head.raw_path_len
        memcpy(to, b" HTTP/1.1\r\nhost: ", 17)
        to += 17
        memcpy(to, x.head.base + x.head.req.authority.off, x.head.req.authority.len)
        to += x.head.req.authority.len
        memcpy(to, b"\r\n", 2)
        to += 2
        to += fgw_write_fields(to, x.head.base, x.head.fields, x.head.field_count)
        if x.head.req.flags & FGW_MSG_TE_TRAILERS:
            memcpy(to, b"te: trailers\r\n", 14)
            to += 14
        if has_had_all(&self.terms, self.requests) and not x.upgrade:
            memcpy(to, b"connection: close\r\n", 19)
            to += 19
        if x.upgrade:
            to += self.write_upgrade(x, to)
        elif self.chunk_request:
            memcpy(to, b"transfer-encoding: chunked\r\n", 28)
            to += 28
        elif x.head.req.framing == FGW_FRAMING_LENGTH:
            memcpy(to, b"content-length: ", 16)
            to += 16 + write_decimal(to + 16, x.head.req.content_length)
            memcpy(to, b"\r\n", 2)
            to += 2
        memcpy(to, b"\r\n", 2)
        out.end += <size_t>(to + 2 - start)
        if self.ctx.upstream_response_timeout_ms:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + self.ctx.upstream_response_timeout_ms)
        return 0

    cdef int write_upgrade(self, Exchange x, char *to) except -1:
        """At most 90 bytes. HTTP/2 clients have no key (RFC 8441 section 5); ours is kept to check the answer."""
        memcpy(to, b"connection: upgrade\r\nupgrade: websocket\r\n", 41)
        if not x.client.http2 or brings_key(x.head):
            return 41
        self.own_key = True
        make_key(self.ctx, self.key)
        memcpy(to + 41, b"sec-websocket-key: ", 19)
        memcpy(to + 60, self.key, WEBSOCKET_KEY)
        memcpy(to + 60 + WEBSOCKET_KEY, b"\r\n", 2)
        return 62 + WEBSOCKET_KEY

    cdef int write_body(self, const char *p, size_t n) except -1:
        cdef char head[24]
        if n == 0:
            return 0
        self.moved_ms = self.ctx.loop.now_ms
        if self.chunk_request:
            self.transport.write(head, fgw_chunk_head(head, n))
            return self.transport.write_piece(p, n, b"\r\n", 2)
        return self.transport.write_piece(p, n, NULL, 0)

    cdef int end_request(self) except -1:
        if self.chunk_request:
            self.transport.write(b"0\r\n\r\n", 5)
        self.request_sent = True
        if self.switched:
            self.transport.shut()
            return self.arm()
        return 0

    cdef int flush(self) except -1:
        return self.transport.flush()

    cdef bint backlogged(self) noexcept:
        return self.transport.write_blocked and self.transport.queued() != 0

    cdef int on_writable(self) except -1:
        if self.exchange is not None:
            return self.exchange.on_upstream_writable()
        return 0

    # ---- answer

    cdef int on_data(self, const char *p, size_t n) except -1:
        cdef size_t used
        cdef Exchange x = self.exchange
        if x is None:  # bytes nobody asked for
            return self.destroy()
        if self.taken_turn == self.ctx.loop.turns:  # they were there before the request went out (requirement H4)
            return self.fault(FAULT_CLOSED, 0, 0)
        self.answered = True
        self.moved_ms = self.ctx.loop.now_ms
        if self.pending.size():
            self.pending.append(p, n)
            used = self.consume(self.pending.head(), self.pending.size())
            if self.pending.size():
                self.pending.consume(min(used, self.pending.size()))
        else:
            used = self.consume(p, n)
            if used < n and self.exchange is x and self.state == U_HEAD:
                self.pending.append(p + used, n - used)
        if self.exchange is x:
            x.client.flush()
            if self.exchange is x and x.client.backlogged():
                self.transport.pause_reading()
        return 0

    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1:
        cdef size_t at = 0, used
        cdef Exchange x = self.exchange
        while at < n and self.exchange is x:
            used = self.consume_head(p + at, n - at) if self.state == U_HEAD else self.consume_body(p + at, n - at)
            if used == 0:
                break
            at += used
            if self.state == U_BODY and self.body_done():
                self.complete(n - at)
                return n
        return at

    cdef bint body_done(self) noexcept:
        return self.framing == FGW_FRAMING_NONE or (self.framing == FGW_FRAMING_LENGTH and self.body_left == 0)

    cdef size_t consume_head(self, const char *p, size_t n) except? <size_t>-1:
        cdef Context ctx = self.ctx
        cdef long r = fgw_parse_response(p, n, self.seen, &ctx.limits, &self.response, ctx.fields, ctx.fields_cap)
        if r == 0:
            self.seen = n
            return 0
        self.seen = 0
        if r < 0:
            self.fault(FAULT_PROTOCOL, <int>-r, 0)
            return n
        if self.response.status < 200:
            self.interim(p)
        else:
            self.give_head(p)
        return <size_t>r

    cdef int interim(self, const char *p) except -1:
        cdef ResponseHead head
        self.interims += 1
        if self.response.status == 101 and self.exchange.upgrade:
            return self.switch(p)
        if self.response.status == 101 or self.interims > INTERIMS:
            return self.fault(FAULT_PROTOCOL, FGW_R_UNEXPECTED_1XX, 0)
        self.fill_head(&head, p)
        return self.exchange.on_interim(&head)

    cdef int switch(self, const char *p) except -1:
        """101 to a request that asked for it, and for nothing else (requirement H5)."""
        cdef ResponseHead head
        cdef Context ctx = self.ctx
        cdef uint32_t count = self.response.field_count
        cdef bint agreed = self.response.flags & FGW_MSG_UPGRADE and names_websocket(p, ctx.fields, count)
        if agreed and self.own_key:
            agreed = accepts_key(p, ctx.fields, count, self.key)
        if not agreed:
            return self.fault(FAULT_PROTOCOL, FGW_R_UNEXPECTED_1XX, 0)
        self.framing = FGW_FRAMING_NONE
        self.fill_head(&head, p)
        head.has_content_length = False
        self.framing = FGW_FRAMING_CLOSE
        self.state = U_BODY
        self.switched = True
        self.transport.keeps_unread = True
        let_pause(self.transport.fd)
        self.arm()
        return self.exchange.on_response_head(&head)

    cdef int fill_head(self, ResponseHead *head, const char *p) except -1:
        head.base = p
        head.fields = self.ctx.fields
        head.field_count = self.response.field_count
        head.head_bytes = self.response.head_len
        head.content_length = self.response.content_length
        head.status = self.response.status
        head.framing = <unsigned char>self.framing
        head.has_content_length = self.response.framing == FGW_FRAMING_LENGTH
        head.from_upstream = True
        head.timed = False
        return 0

    cdef int give_head(self, const char *p) except -1:
        cdef ResponseHead head
        self.framing = fgw_response_framing(&self.response, self.method_id)
        self.fill_head(&head, p)
        self.body_left = self.response.content_length
        memset(&self.chunked, 0, sizeof(self.chunked))
        self.deadline_ms = 0
        self.state = U_BODY
        if self.ctx.stream_idle_timeout_ms:
            self.arm()
        return self.exchange.on_response_head(&head)

    cdef size_t consume_body(self, const char *p, size_t n) except? <size_t>-1:
        if self.framing == FGW_FRAMING_CHUNKED:
            return self.consume_chunked(p, n)
        if self.framing == FGW_FRAMING_LENGTH:
            if n > self.body_left:
                n = <size_t>self.body_left
            self.body_left -= n
        self.exchange.on_response_body(p, n)
        return n

    cdef size_t consume_chunked(self, const char *p, size_t n) except? <size_t>-1:
        cdef size_t at = 0, used = 0, off = 0, length = 0
        cdef Exchange x = self.exchange
        cdef int event
        while at < n and self.exchange is x:
            event = fgw_chunked_decode(&self.chunked, p + at, n - at, &used, &off, &length)
            if event < 0:
                self.fault(FAULT_PROTOCOL, -event, 0)
                return n
            if event == FGW_CHUNK_DATA:
                x.on_response_body(p + at + off, length)
            elif length:
                if self.trailers is None:
                    self.trailers = Trailers()
                self.trailers.add(p + at + off, length)
            at += used
            if event == FGW_CHUNK_END:
                if self.trailers is None or self.trailers.text.size() == 0 or self.give_trailers():
                    self.complete(n - at)
                return n
            if event == FGW_CHUNK_MORE:
                break
        return at

    cdef int give_trailers(self) except -1:
        """1; 0 when they cannot be had: then the answer is not whole either."""
        cdef int reason = self.trailers.parse(self.ctx)
        if reason:
            self.fault(FAULT_PROTOCOL, reason, 0)
            return 0
        self.exchange.on_response_trailers(self.trailers.text.head(), self.ctx.fields, self.trailers.count)
        self.trailers.release()
        return 1

    cdef int complete(self, size_t left_over) except -1:
        """The answer is whole: back to the pool, or burnt; then the exchange may end (and begin the next one)."""
        cdef Exchange x = self.exchange
        cdef bint reusable = (
            left_over == 0 and self.request_sent and x.request_done and self.transport.queued() == 0
            and not self.transport.failed and not self.transport.hangup and not self.transport.eof
            and not self.transport.may_hold_more() and self.framing != FGW_FRAMING_CLOSE
            and not self.response.flags & FGW_MSG_CLOSE and not self.used_up())
        self.exchange = None
        x.detach_upstream()
        self.deadline_ms = 0
        if reusable:
            self.state = U_IDLE
            self.pending.release()
            self.transport.resume_reading()
            self.pool.take_back(self)
        else:
            self.destroy()
        return x.on_response_end()

    cdef int on_eof(self) except -1:
        """End of the upstream's stream: the end of the answer, or of all hope for it."""
        if self.exchange is not None and self.switched:
            self.peer_done = True
            self.arm()
            return self.exchange.on_response_end()
        if self.exchange is not None and self.state == U_BODY and self.framing == FGW_FRAMING_CLOSE:
            return self.complete(0)
        if self.exchange is not None:
            return self.fault(FAULT_CLOSED, FGW_R_BODY_TOO_SHORT, 0)
        return self.destroy()

    cdef int on_closed(self, int reason, int error) except -1:
        if self.exchange is None:
            return self.destroy()
        note_failure(self.exchange, self.transport, reason)
        if reason == CLOSE_CONNECT_FAILED or reason == CLOSE_HANDSHAKE_FAILED:
            return self.fault(FAULT_CONNECT_FAILED, 0, error)
        return self.fault(FAULT_CLOSED, 0, error)

    cdef int on_timer(self) except -1:
        if self.state == U_CONNECTING:
            note_timeout(self.exchange, self.transport)
            return self.fault(FAULT_CONNECT_TIMEOUT, 0, 0)
        if self.state == U_IDLE:
            count_idle_end(self.ctx, &self.terms)
            return self.destroy()
        if self.state == U_HEAD and self.exchange is not None:
            return self.fault(FAULT_TIMEOUT, 0, 0)
        if self.state != U_BODY or self.exchange is None:
            return 0
        if self.transport.paused or self.backlogged():  # not silent: somebody else does not keep up
            self.moved_ms = self.ctx.loop.now_ms
        elif self.patience() and self.ctx.loop.now_ms >= self.moved_ms + self.patience():
            return self.fault(FAULT_TIMEOUT, 0, 0)
        return self.arm()

    cdef int64_t patience(self) noexcept:
        """Milliseconds of silence after which what is under way is given up; 0: never."""
        cdef int64_t limit = self.ctx.stream_idle_timeout_ms
        if self.switched and (self.request_sent or self.peer_done) and (limit == 0 or limit > HALF_CLOSED_MS):
            return HALF_CLOSED_MS
        return limit

    cdef int arm(self) except -1:
        """Of an answer or a WebSocket under way. The deadline moves on with every byte, and is looked at only when it comes."""
        cdef int64_t limit = self.patience()
        return self.ctx.loop.set_deadline(self, self.moved_ms + limit if limit else 0)

    cdef int fault(self, int fault, int reason, int error) except -1:
        """Close and tell the exchange, which decides what the client sees. An answer that has begun to arrive is not
        asked for again: then a close is reported as a protocol fault would be."""
        cdef Exchange x = self.exchange
        if fault == FAULT_CLOSED and self.answered and self.state == U_HEAD and x is not None:
            x.replayable = False
        self.exchange = None
        self.destroy()
        if x is not None:
            return x.on_upstream_fault(fault, reason, error)
        return 0

    cdef int resume_response(self) except -1:
        return self.transport.resume_reading()

    cdef size_t held_bytes(self) noexcept:
        return self.transport.out.cap + self.transport.sealed if self.transport is not None else 0

    cdef int abandon(self) except -1:
        """Mid-message: a reset tells the upstream that the request is not whole (A14)."""
        cdef bint whole = self.switched and self.request_sent and self.peer_done and not self.backlogged()
        self.exchange = None
        if self.transport is not None and self.state != U_IDLE and not whole:
            self.transport.reset()
        return self.destroy()

    cdef int destroy(self) except -1:
        """Close and give everything back. Safe to call twice."""
        cdef Transport t = self.transport
        if self.state == U_CLOSED or t is None:
            return 0
        if self.state == U_IDLE:
            self.pool.forget(self)
        self.state = U_CLOSED
        self.ctx.loop.keep(self)  # a method of ours may be on the stack
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        t.close()
        if self.trailers is not None:
            self.trailers.release()
        return end_connection(self.ctx, &self.terms)

    cdef int local_address(self, char *out) noexcept:
        """Asked of the kernel once a connection."""
        if self.local_len == 0 and self.transport is not None and self.transport.fd >= 0:
            self.local_len = local_text(self.transport.fd, self.local)
        memcpy(out, self.local, <size_t>self.local_len)
        return self.local_len
