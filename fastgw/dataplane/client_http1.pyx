"""HTTP/1.1 (and 1.0) towards clients: heads through ext/, bodies decoded, answers written from parsed values.

One exchange at a time; pipelined requests wait in `pending` and reading pauses meanwhile. After an error in framing or
syntax the connection ends with a lingering close, so that the answer is not lost to a reset (requirement A13).

Deadlines (one timer a connection, looked at lazily): head, idle, body (silence and minimum rate), stalled write, linger.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from fastgw.dataplane.affinity cimport write_sticky_cookie
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport local_text
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.headers cimport status_phrase, write_decimal
from fastgw.dataplane.served cimport ConnectionOwner
from fastgw.dataplane.streams cimport ClientStream, Connector, ExchangeObserver, ResponseHead
from fastgw.dataplane.trailers cimport Trailers
from fastgw.dataplane.transport cimport Transport
from fastgw.dataplane.websocket cimport end_switched
from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_HDR_DATE, FGW_OK, FGW_R_BODY_TIMEOUT, FGW_R_H2_PREFACE, FGW_R_HEAD_TIMEOUT, fgw_field,
)
from fastgw.native.http1 cimport (
    FGW_CHUNK_DATA, FGW_CHUNK_END, FGW_CHUNK_MORE, FGW_FRAMING_CHUNKED, FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_HEAD,
    FGW_MSG_CLOSE, FGW_MSG_KEEP_ALIVE, FGW_MSG_TE_TRAILERS, fgw_chunk_head, fgw_chunked_decode, fgw_fields_size,
    fgw_parse_request, fgw_write_fields,
)
from fastgw.native.route cimport FGW_NONE, FGW_SET_COOKIE_MAX
from fastgw.native.state cimport (
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_CLIENT_TIMEOUTS_BODY, FGW_C_CLIENT_TIMEOUTS_HEAD, FGW_C_CLIENT_TIMEOUTS_IDLE,
    FGW_C_CLIENT_TIMEOUTS_WRITE, FGW_F_OM, FGW_G_CLIENT_ACTIVE,
)
cdef enum:
    FRESH_MS = 2000              # from its begin, for a connection's first request to come while we drain
    LINGER_MS = 2000             # requirement A13
    LINGER_BYTES = 65536
    DISCARD_MS = 5000            # requirement H7: the rest of an upload that nobody wants
    RATE_GRACE_MS = 60000        # requirement E4

cdef long connections = 0


def client_connections_alive():
    """For leak checks: client connections that are not destroyed."""
    return connections


cdef class ClientHttp1(ClientStream):
    def __init__(self, Context ctx, Connector connector, ExchangeObserver observer, ConnectionOwner owner):
        self.ctx = ctx
        self.owner = owner
        self.pending = Buffer()
        self.spare = Exchange(ctx, connector, observer)

    cdef int start(self, Transport transport, const char *p, size_t n) except -1:
        """Serve an accepted connection over an open transport, of which n bytes have been read. The place of the client is set."""
        global connections
        connections += 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, 1)
        self.transport = transport
        transport.protocol = self
        self.state = READ_HEAD
        self.phase_ms = self.ctx.loop.now_ms
        self.expires_ms = self.ctx.expiry()
        self.arm()
        return self.on_data(p, n) if n else 0

    # ---- input

    cdef int on_data(self, const char *p, size_t n) except -1:
        cdef size_t used
        if self.pending.size():
            self.pending.append(p, n)
            return self.proceed()
        used = self.consume(p, n)
        if used < n and self.state != CLOSED:
            self.pending.append(p + used, n - used)
        return self.after_consume()

    cdef int proceed(self) except -1:
        """Go on with what is pending, as far as possible."""
        cdef size_t used
        if self.consuming or self.state == CLOSED:
            return 0
        if self.pending.size():
            used = self.consume(self.pending.head(), self.pending.size())
            if self.state == CLOSED:
                self.pending.release()
                return 0
            self.pending.consume(used)
        return self.after_consume()

    cdef int after_consume(self) except -1:
        """Flush what consuming produced; read on unless unusable bytes are waiting."""
        cdef Exchange x = self.exchange
        if self.state == CLOSED:
            return 0
        if x is not None and x.upstream is not None and x.head_sent:
            x.upstream.flush()
        if self.pending.size() and (self.state != READ_HEAD or self.backlogged()):
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
        return 0

    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1:
        """Use as much as the state allows; the bytes of one call lie still until it returns."""
        cdef size_t at = 0, used
        self.consuming = True
        try:
            while at < n:
                if self.state == READ_HEAD:
                    if self.backlogged():  # answers to pipelined requests may not pile up before one who does not read
                        break
                    used = self.consume_head(p + at, n - at)
                elif self.state == READ_BODY:
                    used = self.consume_body(p + at, n - at)
                elif self.state == SWITCHED:
                    used = self.consume_switched(p + at, n - at)
                elif self.state == LINGER:
                    self.linger_left -= min(self.linger_left, n - at)
                    used = n - at
                    if self.linger_left == 0:
                        self.destroy()
                else:
                    break
                if used == 0:
                    break
                at += used
        finally:
            self.consuming = False
        return at

    cdef size_t consume_head(self, const char *p, size_t n) except? <size_t>-1:
        cdef Context ctx = self.ctx
        cdef long r = fgw_parse_request(p, n, self.seen, &ctx.limits, &self.request, ctx.fields, ctx.fields_cap)
        if r == 0:
            if self.seen == 0:
                self.phase_ms = ctx.loop.now_ms
            self.seen = n
            self.arm()
            return 0
        self.seen = 0
        if r < 0:
            if r == -FGW_R_H2_PREFACE and self.requests == 0 and (self.tls is None or not self.tls.http1):
                self.go_over(p, n)
            else:
                self.reject(<int>-r)
            return n
        self.begin_exchange(p)
        return <size_t>r

    cdef int go_over(self, const char *p, size_t n) except -1:
        """The client speaks HTTP/2 by prior knowledge (RFC 9113 section 3.3): another codec goes on with its preface."""
        global connections
        cdef ConnectionOwner owner = self.owner
        self.owner = None
        self.state = CLOSED
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        connections -= 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, -1)
        self.ctx.loop.keep(self)
        try:
            return owner.serve_http2(self, self.transport, p, n)
        except BaseException:
            if self.transport.protocol is self:  # nobody has taken the connection over: it ends as ours
                owner.on_client_closed(self)
            raise

    cdef int begin_exchange(self, const char *head) except -1:
        cdef Exchange x = self.spare
        self.requests += 1
        self.exchange = x
        x.client = self
        self.minor0 = self.request.minor == 0
        self.close_after = bool(self.request.flags & FGW_MSG_CLOSE) or (self.minor0 and not self.request.flags & FGW_MSG_KEEP_ALIVE)
        self.phase_ms = self.read_ms = self.ctx.loop.now_ms
        self.phase_bytes = 0
        self.body_left = self.request.content_length
        if self.request.framing == FGW_FRAMING_CHUNKED:
            memset(&self.chunked, 0, sizeof(self.chunked))
            if self.trailers is not None:
                self.trailers.release()
            self.state = READ_BODY
        elif self.request.framing == FGW_FRAMING_LENGTH and self.body_left:
            self.state = READ_BODY
        else:
            self.state = WAIT_ANSWER
        x.begin(head, &self.request, self.ctx.fields)
        if self.state == READ_BODY:
            self.arm()
        return 0

    cdef int reject(self, int reason) except -1:
        """A head that is refused: answer and end the connection."""
        cdef Exchange x = self.spare
        self.exchange = x
        x.client = self
        self.minor0 = False
        self.close_after = True
        self.state = WAIT_ANSWER
        return x.begin_rejected(reason)

    cdef size_t consume_body(self, const char *p, size_t n) except? <size_t>-1:
        cdef Exchange x = self.exchange
        if x is None or not x.can_take_body():
            return 0
        self.read_ms = self.ctx.loop.now_ms
        if self.request.framing == FGW_FRAMING_CHUNKED:
            return self.consume_chunked(p, n)
        if n > self.body_left:
            n = <size_t>self.body_left
        self.body_left -= n
        self.phase_bytes += n
        if self.body_left == 0:
            self.state = WAIT_ANSWER
        x.on_request_body(p, n)
        if self.body_left == 0 and self.exchange is x and not x.request_done:
            x.on_request_end()
        return n

    cdef size_t consume_chunked(self, const char *p, size_t n) except? <size_t>-1:
        cdef Exchange x = self.exchange
        cdef size_t at = 0, used = 0, off = 0, length = 0
        cdef int event
        while at < n and self.state == READ_BODY and x.can_take_body():
            event = fgw_chunked_decode(&self.chunked, p + at, n - at, &used, &off, &length)
            if event < 0:
                self.body_error(-event)
                return n
            self.phase_bytes += used
            if event == FGW_CHUNK_DATA:
                x.on_request_body(p + at + off, length)
            elif length:
                if self.trailers is None:
                    self.trailers = Trailers()
                self.trailers.add(p + at + off, length)
            at += used
            if event == FGW_CHUNK_END:
                self.end_chunked()
            elif event == FGW_CHUNK_MORE:
                break
        return at

    cdef int end_chunked(self) except -1:
        """The last byte of a chunked body: its trailers, which are whole now, and the end of the request."""
        cdef Exchange x = self.exchange
        cdef Trailers t = self.trailers
        cdef int reason
        if t is not None and t.text.size():
            reason = t.parse(self.ctx)
            if reason:
                t.release()
                return self.body_error(reason)
            x.on_request_trailers(t.text.head(), self.ctx.fields, t.count)
            t.release()
        self.state = WAIT_ANSWER
        return x.on_request_end()

    cdef size_t consume_switched(self, const char *p, size_t n) except? <size_t>-1:
        cdef Exchange x = self.exchange
        if x is None or not x.can_take_body():
            return 0
        x.on_request_body(p, n)
        return n

    cdef int body_error(self, int reason) except -1:
        """Malformed or late body: the upstream sees an aborted message, the client an error and the end."""
        self.close_after = True
        self.state = WAIT_ANSWER
        return self.exchange.on_request_error(reason)

    cdef int on_eof(self) except -1:
        """The client will send no more: a request that is not answered yet is abandoned."""
        cdef Exchange x = self.exchange
        if x is not None and self.state == SWITCHED:
            return x.on_request_end()
        if x is not None:
            self.close_after = True
            self.transport.close()
            self.state = CLOSED
            x.on_client_gone()
        return self.destroy()

    cdef int on_closed(self, int reason, int error) except -1:
        cdef Exchange x = self.exchange
        if x is not None:
            self.state = CLOSED
            x.on_client_gone()
        return self.destroy()

    cdef int destroy(self) except -1:
        """The end: untie and give everything back. Safe to call twice."""
        global connections
        cdef ConnectionOwner owner
        if self.owner is None:
            return 0
        self.state = CLOSED
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.transport.close()
        if not self.consuming:
            self.pending.release()
        if self.trailers is not None:
            self.trailers.release()
        connections -= 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        self.ctx.loop.keep(self)  # a method of ours may be on the stack
        owner = self.owner
        self.owner = None
        self.exchange = None
        self.ctx.loop.unlink(self.spare)
        self.spare.client = None
        owner.on_client_closed(self)
        return 0

    # ---- the exchange's side

    cdef bint must_close(self, Exchange x) noexcept:
        return (self.close_after or self.ctx.draining or self.ctx.parting or not x.request_done or self.route_table == FGW_NONE
                or x.reject_reason != FGW_OK
                or (self.ctx.max_requests_per_connection != 0
                    and self.requests >= <uint64_t>self.ctx.max_requests_per_connection)
                or (self.expires_ms != 0 and self.ctx.loop.now_ms >= self.expires_ms))

    cdef int start_response(self, Exchange x, ResponseHead *head) except -1:
        """Status line, relayed fields, framing and own fields."""
        cdef Buffer out = self.transport.out
        cdef const char *phrase = status_phrase(head.status)
        cdef size_t phrase_len = strlen(phrase)
        cdef size_t cookie = FGW_SET_COOKIE_MAX + 16 if x.gives_cookie else 0
        cdef size_t room = fgw_fields_size(head.fields, head.field_count) + phrase_len + self.ctx.server_len + cookie + 320
        cdef char *start
        cdef char *to
        if self.transport.fd < 0 or self.transport.failed:
            return 0
        if self.must_close(x):
            self.close_after = True
        if self.transport.queued() == 0:
            self.transport.progress_ms = self.ctx.loop.now_ms
        self.no_answer_body = head.status == 204 or head.status == 304 or (
            x.head.present and x.head.req.method_id == FGW_METHOD_HEAD)
        start = to = out.reserve(room)
        memcpy(to, b"HTTP/1.1 ", 9)
        to += 9
        to += write_decimal(to, head.status)
        to[0] = 32
        memcpy(to + 1, phrase, phrase_len)
        to += 1 + phrase_len
        to[0] = 13
        to[1] = 10
        to += 2
        to += fgw_write_fields(to, head.base, head.fields, head.field_count)
        to += self.write_own_fields(x, head, to)
        out.end += <size_t>(to - start)
        if head.status == 101:
            self.state = SWITCHED
            self.transport.reads_rest = self.transport.keeps_unread = True
            self.transport.watch_peer()
        return 0

    cdef int write_own_fields(self, Exchange x, ResponseHead *head, char *to) except -1:
        """Framing, date, server, x-envoy-upstream-service-time, connection, and the empty line; bytes written."""
        cdef char *start = to
        cdef uint32_t i
        cdef bint dated = False
        self.chunk_answer = self.trailers_sent = False
        if head.status != 204 and (head.framing == FGW_FRAMING_LENGTH or (self.no_answer_body and head.has_content_length)):
            memcpy(to, b"content-length: ", 16)
            to += 16 + write_decimal(to + 16, head.content_length)
            memcpy(to, b"\r\n", 2)
            to += 2
        elif not self.no_answer_body and head.framing != FGW_FRAMING_NONE:
            if self.minor0:
                self.close_after = True
            else:
                self.chunk_answer = True
                memcpy(to, b"transfer-encoding: chunked\r\n", 28)
                to += 28
        for i in range(head.field_count):
            if head.fields[i].id == FGW_HDR_DATE and not head.fields[i].flags & FGW_FIELD_DROP:
                dated = True
                break
        if not dated:
            memcpy(to, b"date: ", 6)
            memcpy(to + 6, self.ctx.http_date(), 29)
            memcpy(to + 35, b"\r\n", 2)
            to += 37
        if x.service_time_ms >= 0 and not head.timed:
            memcpy(to, b"x-envoy-upstream-service-time: ", 31)
            to += 31 + write_decimal(to + 31, <unsigned long long>x.service_time_ms)
            memcpy(to, b"\r\n", 2)
            to += 2
        if x.gives_cookie:
            memcpy(to, b"set-cookie: ", 12)
            to += 12 + write_sticky_cookie(x, to + 12)
            memcpy(to, b"\r\n", 2)
            to += 2
        memcpy(to, b"server: ", 8)
        memcpy(to + 8, self.ctx.server, self.ctx.server_len)
        to += 8 + self.ctx.server_len
        if head.status == 101:
            memcpy(to, b"\r\nconnection: upgrade\r\nupgrade: websocket", 41)
            to += 41
        elif self.close_after:
            memcpy(to, b"\r\nconnection: close", 19)
            to += 19
        elif self.minor0:
            memcpy(to, b"\r\nconnection: keep-alive", 24)
            to += 24
        memcpy(to, b"\r\n\r\n", 4)
        return <int>(to + 4 - start)

    cdef int write_body(self, const char *p, size_t n) except -1:
        cdef char head[24]
        if n == 0 or self.no_answer_body:
            return 0
        if self.chunk_answer:
            self.transport.write(head, fgw_chunk_head(head, n))
            return self.transport.write_piece(p, n, b"\r\n", 2)
        return self.transport.write_piece(p, n, NULL, 0)

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """Only for those who have said that they want trailers (RFC 9110 section 6.5.1)."""
        cdef Buffer out = self.transport.out
        cdef size_t room = fgw_fields_size(fields, count)
        cdef char *to
        if not self.chunk_answer or self.no_answer_body or room == 0 or not self.request.flags & FGW_MSG_TE_TRAILERS:
            return 0
        if self.transport.fd < 0 or self.transport.failed:
            return 0
        self.transport.write(b"0\r\n", 3)
        to = out.reserve(room)
        out.end += fgw_write_fields(to, base, fields, count)
        self.trailers_sent = True
        return 0

    cdef int end_response(self) except -1:
        if self.state == SWITCHED:
            return self.transport.shut()
        if self.trailers_sent:
            self.transport.write(b"\r\n", 2)
        elif self.chunk_answer and not self.no_answer_body:
            self.transport.write(b"0\r\n\r\n", 5)
        return 0

    cdef int abort_response(self) except -1:
        """Cut the connection before the message's end; HTTP/1.0 bodies end with the connection, so that one is reset."""
        self.close_after = True
        if self.state == SWITCHED or (self.minor0 and not self.chunk_answer):
            self.transport.reset()
        else:
            self.transport.finish()
        self.state = WAIT_ANSWER
        return 0

    cdef int send_interim(self, ResponseHead *head) except -1:
        cdef Buffer out = self.transport.out
        cdef const char *phrase = status_phrase(head.status)
        cdef size_t n = strlen(phrase)
        cdef char *to
        cdef char *start
        if self.minor0 or self.transport.fd < 0 or self.transport.failed:
            return 0
        start = to = out.reserve(fgw_fields_size(head.fields, head.field_count) + n + 64)
        memcpy(to, b"HTTP/1.1 ", 9)
        to += 9
        to += write_decimal(to, head.status)
        to[0] = 32
        memcpy(to + 1, phrase, n)
        memcpy(to + 1 + n, b"\r\n", 2)
        to += n + 3
        to += fgw_write_fields(to, head.base, head.fields, head.field_count)
        memcpy(to, b"\r\n", 2)
        out.end += <size_t>(to + 2 - start)
        return self.transport.flush()

    cdef int send_continue(self) except -1:
        if self.minor0:
            return 0
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n", 25)
        return self.transport.flush()

    cdef int flush(self) except -1:
        self.transport.flush()
        if self.transport.queued():
            return self.arm()
        return 0

    cdef bint backlogged(self) noexcept:
        return self.transport.write_blocked and self.transport.queued() != 0

    cdef int on_writable(self) except -1:
        if self.exchange is not None:
            return self.exchange.on_client_writable()
        if self.state == WAIT_ANSWER and self.close_after:  # the last answer is out
            return self.linger()
        return self.proceed() if self.state == READ_HEAD else 0

    cdef int resume_request(self) except -1:
        return self.proceed()

    cdef int on_exchange_done(self, Exchange x) except -1:
        """The answer is complete (or cut). On to the next request, or to the connection's end."""
        cdef bint unread = self.state == READ_BODY or self.pending.size() != 0
        self.exchange = None
        if self.state == CLOSED:
            return 0
        if self.transport.fd < 0:
            return self.destroy()
        self.transport.flush()
        if self.close_after:
            self.state = WAIT_ANSWER
            if x.reject_reason or not x.request_done or unread or self.transport.readable:
                self.linger_left = LINGER_BYTES
                return self.linger()
            if self.transport.queued() and not self.transport.failed:
                return self.arm()
            return self.destroy()
        self.wait_for_head()
        return self.proceed()

    cdef int wait_for_head(self) except -1:
        self.state = READ_HEAD
        self.seen = 0
        self.phase_ms = self.ctx.loop.now_ms
        return self.arm()

    cdef int linger(self) except -1:
        """Half-close, then read and drop for a short while: closing with unread input would reset the answer away."""
        if self.transport.fd < 0:
            return self.destroy()
        self.state = LINGER
        if self.linger_left == 0:
            self.linger_left = LINGER_BYTES
        self.pending.release() if not self.consuming else None
        self.transport.shut()
        self.phase_ms = self.ctx.loop.now_ms
        self.transport.resume_reading()
        return self.arm()

    cdef int socket_address(self, char *out) noexcept:
        return local_text(self.transport.fd, out) if self.transport is not None else 0

    # ---- time

    cdef int arm(self) except -1:
        """File the nearest deadline of the present state."""
        cdef Context ctx = self.ctx
        cdef int64_t when = 0, other
        if self.state == READ_HEAD:
            if self.seen or (self.requests == 0 and self.pending.size() == 0):
                when = self.phase_ms + ctx.head_timeout_ms if ctx.head_timeout_ms else 0
            else:
                when = self.phase_ms + ctx.idle_timeout_ms if ctx.idle_timeout_ms else 0
        elif self.state == READ_BODY and ctx.body_timeout_ms:
            when = self.read_ms + ctx.body_timeout_ms
        elif self.state == LINGER:
            when = self.phase_ms + LINGER_MS
        if self.transport.queued() and ctx.write_timeout_ms:
            other = self.transport.progress_ms + ctx.write_timeout_ms
            when = min(when, other) if when else other
        if self.state == READ_BODY and ctx.request_timeout_ms:
            other = self.phase_ms + ctx.request_timeout_ms
            when = min(when, other) if when else other
        return ctx.loop.set_deadline(self, when)

    cdef int on_timer(self) except -1:
        cdef int64_t now = self.ctx.loop.now_ms
        if self.state == CLOSED:
            return 0
        if self.transport.queued():
            if self.check_write_time(now):
                return 0
        if self.state == READ_HEAD:
            return self.check_head_time(now)
        if self.state == READ_BODY:
            return self.check_body_time(now)
        if self.state == LINGER and now >= self.phase_ms + LINGER_MS:
            if self.transport.queued() == 0:
                return self.destroy()
            self.phase_ms = now  # the answer is still on its way to a slow reader
        return self.arm()

    cdef int check_head_time(self, int64_t now) except -1:
        cdef bint began = self.seen != 0
        cdef int64_t limit = self.ctx.head_timeout_ms if began or self.requests == 0 else self.ctx.idle_timeout_ms
        if not began and self.transport.queued():  # not idle: the last answer is still on its way
            self.phase_ms = now
        if limit == 0 or now < self.phase_ms + limit:
            return self.arm()
        if not began:
            self.ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_IDLE)
            return self.destroy()
        self.ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_HEAD)
        self.pending.release()
        self.seen = 0
        return self.reject(FGW_R_HEAD_TIMEOUT)

    cdef int check_body_time(self, int64_t now) except -1:
        """Silence, a trickle (E4), or the whole request taking too long. A body that we do not read is not the client's fault."""
        cdef Context ctx = self.ctx
        cdef bint late = False
        if self.transport.paused or self.exchange is None or not self.exchange.head_sent:
            self.read_ms = now
            return self.arm()
        if ctx.body_timeout_ms and now >= self.read_ms + ctx.body_timeout_ms:
            late = True
        elif ctx.request_timeout_ms and now >= self.phase_ms + ctx.request_timeout_ms:
            late = True
        elif now - self.phase_ms > RATE_GRACE_MS and ctx.body_min_bytes_per_s:
            late = <int64_t>self.phase_bytes * 1000 < ctx.body_min_bytes_per_s * (now - self.phase_ms)
        if not late:
            return self.arm()
        ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_BODY)
        return self.body_error(FGW_R_BODY_TIMEOUT)

    cdef int check_write_time(self, int64_t now) except -1:
        """1 when the connection was ended because the client does not read (E6)."""
        cdef Exchange x = self.exchange
        if self.ctx.write_timeout_ms == 0 or now < self.transport.progress_ms + self.ctx.write_timeout_ms:
            return 0
        self.ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_WRITE)
        self.transport.reset()
        self.state = CLOSED
        if x is not None:
            x.on_client_gone()
        self.destroy()
        return 1

    # ---- for the listener

    cdef int hurry(self) except -1:
        return self.arm() if self.state == READ_HEAD else 0

    cdef size_t held_bytes(self) noexcept:
        cdef Exchange x = self.exchange
        cdef size_t n = self.pending.cap + self.transport.out.cap + self.transport.sealed
        if x is not None:
            n += x.replay.cap if x.replay is not None else 0
            n += x.upstream.held_bytes() if x.upstream is not None else 0
        return n

    cdef int drop_largest(self) except -1:
        cdef Exchange x = self.exchange
        self.transport.reset()
        self.state = CLOSED
        if x is not None:
            x.give_up(FGW_F_OM, b"overload")
        return self.destroy()

    def drain(self):
        """No new request: idle connections end now, busy ones after their answer. What a new one is about to ask is under way: it
        is answered, for nobody has told the client that the connection ends."""
        self.close_after = True
        if self.state == READ_HEAD and self.seen == 0 and self.exchange is None and self.pending.size() == 0:
            if self.requests or self.ctx.loop.now_ms >= self.phase_ms + FRESH_MS:
                self.destroy()

    def cut(self):
        """A WebSocket is recorded as what it was; other exchanges had their time."""
        if self.state == SWITCHED and self.exchange is not None:
            end_switched(self.exchange, b"drained")
