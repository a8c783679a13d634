"""Streams of clients' HTTP/2 connections: each is the client's side of one exchange.

Flow control is end to end. A stream's window is opened only as the upstream takes its bytes, so that a stream holds at most one
window of a request; of an answer it holds QUEUE_BYTES and one read of the upstream, which pauses meanwhile. Streams and their
exchanges come from a pool of the worker.

A malformed request is a stream error and reaches no upstream. Deadlines of a stream: its body, and the client's patience with the
answer; the connection's timer looks at them.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t

from fastgw.dataplane.affinity cimport write_sticky_cookie
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.client_http2 cimport STAYING, ClientHttp2
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable, same_name
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.http2_session cimport BodyQueue, fill_pairs, pair, pairs_for
from fastgw.dataplane.streams cimport ClientStream, Connector, ExchangeObserver, ResponseHead
from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_HDR_DATE, FGW_R_BODY_TIMEOUT, FGW_R_H2_BODY_LENGTH, FGW_R_H2_STREAM_STALLED, fgw_field, fgw_reason_status,
)
from fastgw.native.grpc cimport FGW_GRPC_NOT
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_HEAD, FGW_MSG_UPGRADE, fgw_request
from fastgw.native.http2 cimport fgw_h2_malformed, fgw_h2_trailers
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_FLAG_NONE, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NV_FLAG_NO_INDEX, NGHTTP2_PROTOCOL_ERROR, fgw_share_fairly,
    nghttp2_data_provider, nghttp2_nv, nghttp2_session_set_stream_user_data, nghttp2_submit_headers, nghttp2_submit_response,
    nghttp2_submit_rst_stream,
)
from fastgw.native.route cimport FGW_SET_COOKIE_MAX
from fastgw.native.state cimport FGW_C_CLIENT_TIMEOUTS_BODY, FGW_C_CLIENT_TIMEOUTS_WRITE, FGW_F_OM

cdef enum:
    POOLED_STREAMS = 1024
    RATE_GRACE_MS = 60000        # requirement E4
    OWN_FIELDS = 8
    TEXT_BYTES = 1024

cdef long streams_open = 0
cdef char own_text[1024]         # values of own fields, while a head is being submitted

if FGW_SET_COOKIE_MAX + 64 > TEXT_BYTES:
    raise ImportError("no room for own fields")


def client_streams_alive():
    """For leak checks: streams that are not back in a pool."""
    return streams_open


cdef class StreamPool:
    def __init__(self, Context ctx, Connector connector, ExchangeObserver observer):
        self.ctx, self.connector, self.observer = ctx, connector, observer
        self.idle = []

    cdef ClientHttp2Stream take(self):
        return <ClientHttp2Stream>self.idle.pop() if self.idle else ClientHttp2Stream(self.ctx, self.connector, self.observer)

    cdef int give(self, ClientHttp2Stream stream) except -1:
        if len(self.idle) < POOLED_STREAMS:
            self.idle.append(stream)
        return 0

    @property
    def spare(self):
        return len(self.idle)

    cdef int trim(self) except -1:
        """Memory is short: let go of those that wait to be used again."""
        self.idle.clear()
        return 0


cdef class ClientHttp2Stream(ClientStream):
    def __init__(self, Context ctx, Connector connector, ExchangeObserver observer):
        self.ctx = ctx
        self.http2 = True
        self.spare = Exchange(ctx, connector, observer)
        self.pending = Buffer()
        self.queue = BodyQueue()

    cdef int open(self, ClientHttp2 connection, int32_t id, bint ends) except -1:
        """A request begins; the connection's list holds the stream until close()."""
        global streams_open
        streams_open += 1
        self.take_place(connection.place)
        self.connection = connection
        self.id = id
        self.request_ended = ends
        self.refused = self.has_trailers = self.answered = self.no_body = self.stops_client = self.has_length = self.upgrade = False
        self.length = self.received = 0
        self.begin_ms = self.read_ms = self.ctx.loop.now_ms
        self.stall_ms = 0
        self.exchange = self.spare
        self.spare.client = self
        self.next = connection.first
        if self.next is not None:
            self.next.prev = self
        connection.first = self
        connection.streams += 1
        nghttp2_session_set_stream_user_data(connection.session, id, <void *>self)
        fgw_share_fairly(connection.session, id)
        return 0

    cdef int close(self, uint32_t code) except -1:
        """The frame layer has closed the stream, or the connection ends. What is not answered is abandoned."""
        global streams_open
        cdef ClientHttp2 c = self.connection
        cdef Exchange x = self.exchange
        if self.id == 0:
            return 0
        self.id = 0
        if self.prev is not None:
            self.prev.next = self.next
        else:
            c.first = self.next
        if self.next is not None:
            self.next.prev = self.prev
        self.prev = self.next = None
        c.streams -= 1
        if c.streams == 0 and c.goodbye == STAYING:
            c.phase_ms = self.ctx.loop.now_ms
            c.arm_by(c.phase_ms + self.ctx.http2_idle_timeout_ms if self.ctx.http2_idle_timeout_ms else 0)
        if c.touched is self:
            c.touched = None
        self.stop_client(False)
        c.judge(c.guard.on_stream_closed(self.answered, self.ctx.loop.now_ms - self.begin_ms))
        if x is not None:
            x.on_client_gone()
        self.drop_pending()
        c.discard(self.queue)
        self.queue.reset()
        self.ctx.loop.unlink(self.spare)
        self.spare.client = None
        self.connection = None
        self.tls = None
        streams_open -= 1
        return c.pool.give(self)

    # ---- request

    cdef int begin(self, const fgw_request *r) except -1:
        cdef ClientHttp2 c = self.connection
        self.upgrade = bool(r.flags & FGW_MSG_UPGRADE)
        if r.framing == FGW_FRAMING_LENGTH:
            self.has_length = True
            self.length = r.content_length
        self.spare.begin(c.head.base, r, c.head.fields)
        if not self.request_ended and self.id:
            c.arm_by(self.next_check())
        return 0

    cdef int on_chunk(self, const char *p, size_t n) except -1:
        """Bytes of a DATA frame. What the upstream does not take now waits here, and the client's window stays shut for as much."""
        cdef Exchange x = self.exchange
        self.received += n
        self.read_ms = self.ctx.loop.now_ms
        if x is None:
            return self.connection.consumed(self.id, n)
        if self.has_length and self.received > self.length:
            self.connection.consumed(self.id, n)
            return self.body_error(FGW_R_H2_BODY_LENGTH)
        if self.pending.size() or not x.can_take_body():
            return self.pending.append(p, n)
        self.connection.touch(self)
        x.on_request_body(p, n)
        return self.connection.consumed(self.id, n)

    cdef int on_end(self) except -1:
        self.request_ended = True
        self.stop_client(False)
        if self.exchange is None:
            return 0
        if self.has_length and self.received != self.length:
            return self.body_error(FGW_R_H2_BODY_LENGTH)
        return self.deliver()

    cdef int on_trailers(self) except -1:
        """The second header block of a request."""
        cdef ClientHttp2 c = self.connection
        cdef Exchange x = self.exchange
        cdef int reason = fgw_h2_trailers(&c.head, self.request_ended)
        if x is None:
            return 0
        if reason:
            return self.body_error(reason)
        if c.head.count:
            if self.trailers is None:
                self.trailers = FieldTable()
            self.trailers.load(c.head.base, c.head.len, c.head.fields, c.head.count, 0, 0)
            self.has_trailers = True
        return self.on_end()

    cdef int deliver(self) except -1:
        """What waits of the body, then its trailers and its end, as far as the upstream takes them."""
        cdef Exchange x = self.exchange
        cdef size_t n = self.pending.size()
        if x is None:
            return 0
        if n and x.can_take_body():
            x.on_request_body(self.pending.head(), n)
            if self.exchange is not x:  # refused: what waited has been dropped
                return 0
            self.pending.consume(n)
            self.connection.consumed(self.id, n)
        if not self.request_ended or self.pending.size() or x.request_done or not x.can_take_body():
            return 0
        if self.has_trailers:
            x.on_request_trailers(self.trailers.base, self.trailers.fields, self.trailers.field_count)
        return x.on_request_end()

    cdef int body_error(self, int reason) except -1:
        """Malformed or late body: the upstream sees an aborted message."""
        self.drop_pending()
        return self.exchange.on_request_error(reason)

    cdef int drop_pending(self) except -1:
        """Nobody wants what waits of the request: the window is opened for others."""
        cdef size_t n = self.pending.size()
        if n:
            self.pending.release()
            if self.connection.packer.session is not None:
                self.connection.consumed(self.id, n)
        if self.has_trailers:
            self.has_trailers = False
            self.trailers.release()
        return 0

    cdef int resume_request(self) except -1:
        cdef Exchange x = self.exchange
        self.deliver()
        if x is not None and self.exchange is x and x.upstream is not None and x.head_sent:
            x.upstream.flush()
        return 0

    # ---- answer

    cdef bint unanswerable(self, int reason) noexcept:
        """Malformed messages are stream errors (RFC 9113 section 8.1.1)."""
        self.refused = fgw_reason_status(reason) == 0 or fgw_h2_malformed(reason)
        return self.refused

    cdef int start_response(self, Exchange x, ResponseHead *head) except -1:
        """Status, relayed fields, own fields; the end of the stream when no body follows."""
        cdef ClientHttp2 c = self.connection
        cdef nghttp2_data_provider provider
        cdef nghttp2_nv *nva
        cdef nghttp2_nv *to
        cdef int r
        if self.id == 0:
            return 0
        self.no_body = head.status != 101 and (
            head.status == 204 or head.status == 304 or head.framing == FGW_FRAMING_NONE
            or (head.framing == FGW_FRAMING_LENGTH and head.content_length == 0)
            or (x.head.present and x.head.req.method_id == FGW_METHOD_HEAD))
        nva = pairs_for(head.field_count + OWN_FIELDS)
        if head.status == 101:  # RFC 8441 section 5: a success, and no proof of having read the key that there is not
            drop_field(head, b"sec-websocket-accept", 20)
        to = pair(nva, b":status", 7, own_text, write_decimal(own_text, 200 if head.status == 101 else head.status))
        to = fill_pairs(to, head.base, head.fields, head.field_count)
        to = self.write_own_fields(x, head, to, own_text + 8)
        if self.no_body:
            r = nghttp2_submit_response(c.session, self.id, nva, to - nva, NULL)
        else:
            self.queue.provide(&provider)
            r = nghttp2_submit_response(c.session, self.id, nva, to - nva, &provider)
        if r != 0:
            raise MemoryError("HTTP/2 response")
        self.answered = True
        return c.pack_later()

    cdef nghttp2_nv *write_own_fields(self, Exchange x, ResponseHead *head, nghttp2_nv *to, char *text) except NULL:
        cdef uint32_t i
        cdef size_t n
        cdef bint dated = False
        if head.status != 204 and head.status != 101 and (
                head.framing == FGW_FRAMING_LENGTH or (self.no_body and head.has_content_length)):
            n = write_decimal(text, head.content_length)
            to = pair(to, b"content-length", 14, text, n)
            text += n
        for i in range(head.field_count):
            if head.fields[i].id == FGW_HDR_DATE and not head.fields[i].flags & FGW_FIELD_DROP:
                dated = True
                break
        if not dated:
            to = pair(to, b"date", 4, self.ctx.http_date(), 29)
        if x.service_time_ms >= 0 and not head.timed:
            n = write_decimal(text, <unsigned long long>x.service_time_ms)
            to = pair(to, b"x-envoy-upstream-service-time", 29, text, n)
            (to - 1).flags = NGHTTP2_NV_FLAG_NO_INDEX  # it would fill the table with what does not come again
            text += n
        if x.gives_cookie:
            to = pair(to, b"set-cookie", 10, text, write_sticky_cookie(x, text))
        return pair(to, b"server", 6, self.ctx.server, self.ctx.server_len)

    cdef int write_body(self, const char *p, size_t n) except -1:
        if n == 0 or self.id == 0 or self.no_body:
            return 0
        if self.queue.bytes.size() == 0:
            self.stall_ms = 0
        return self.connection.enqueue(self.id, self.queue, p, n)

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        if self.id == 0 or self.no_body:
            return 0
        return self.queue.keep_trailers(base, fields, count)

    cdef int end_response(self) except -1:
        if self.id == 0 or self.no_body:
            return 0
        self.queue.ended = True
        return self.connection.resume(self.id, self.queue)

    cdef int abort_response(self) except -1:
        return self.reset(NGHTTP2_PROTOCOL_ERROR if self.refused else NGHTTP2_INTERNAL_ERROR)

    cdef int reset(self, uint32_t code) except -1:
        """What is queued is dropped: the client must not take it for the whole."""
        if self.id == 0:
            return 0
        self.connection.discard(self.queue)
        nghttp2_submit_rst_stream(self.connection.session, NGHTTP2_FLAG_NONE, self.id, code)
        self.request_ended = True  # nothing more is to be said to the client
        return self.connection.pack_later()

    cdef size_t held_bytes(self) noexcept:
        cdef Exchange x = self.exchange
        cdef size_t n = self.pending.cap + self.queue.bytes.cap
        if x is not None:
            n += x.replay.cap if x.replay is not None else 0
            n += x.upstream.held_bytes() if x.upstream is not None else 0
        return n

    cdef int drop_largest(self) except -1:
        self.drop_pending()
        self.abort_response()
        return self.exchange.give_up(FGW_F_OM, b"overload") if self.exchange is not None else 0

    cdef int send_interim(self, ResponseHead *head) except -1:
        cdef nghttp2_nv *nva
        cdef nghttp2_nv *to
        if self.id == 0:
            return 0
        nva = pairs_for(head.field_count + 1)
        to = pair(nva, b":status", 7, own_text, write_decimal(own_text, head.status))
        to = fill_pairs(to, head.base, head.fields, head.field_count)
        nghttp2_submit_headers(self.connection.session, NGHTTP2_FLAG_NONE, self.id, NULL, nva, to - nva, NULL)
        return self.connection.pack_later()

    cdef int send_continue(self) except -1:
        cdef nghttp2_nv nva
        if self.id == 0:
            return 0
        pair(&nva, b":status", 7, b"100", 3)
        nghttp2_submit_headers(self.connection.session, NGHTTP2_FLAG_NONE, self.id, NULL, &nva, 1, NULL)
        return self.connection.pack_later()

    cdef int flush(self) except -1:
        return self.connection.pack_later() if self.id else 0

    cdef bint backlogged(self) noexcept:
        return self.id != 0 and self.queue.is_long()

    cdef int after_packed(self) except -1:
        """Frames have been made: watch the client's progress, wake the upstream."""
        cdef size_t left = self.queue.bytes.size()
        if left == 0:
            self.stall_ms = 0
        elif self.stall_ms == 0:
            self.stall_ms = self.ctx.loop.now_ms
            self.stall_sent = self.queue.sent
            self.connection.arm_by(self.next_check())
        if self.queue.starved and not self.queue.is_long():
            if left == 0:
                self.connection.discard(self.queue)
            if self.exchange is not None:
                self.exchange.on_client_writable()
        return 0

    cdef int on_exchange_done(self, Exchange x) except -1:
        """The answer is complete (or cut). The stream ends when its frames are out."""
        self.exchange = None
        if self.id == 0:
            return 0
        self.drop_pending()
        self.stop_client(not self.request_ended)
        return self.connection.pack_later()

    cdef int stop_client(self, bint stop) noexcept:
        if self.stops_client != stop:
            self.stops_client = stop
            self.connection.stopping += 1 if stop else -1
        return 0

    cdef int socket_address(self, char *out) noexcept:
        return self.connection.place.local_address(out) if self.connection is not None else 0

    # ---- time

    cdef bint talks(self, Exchange x) noexcept:
        """Both sides may say something whenever they like: silence is no slow upload. gRPC calls, and what is answered already."""
        return x.response_started or x.grpc != FGW_GRPC_NOT

    cdef int64_t next_check(self) noexcept:
        """When check_time() has something to look at, 0: never."""
        cdef Context ctx = self.ctx
        cdef int64_t when = 0, other
        if self.stall_ms and ctx.write_timeout_ms:
            when = self.stall_ms + ctx.write_timeout_ms
        if not self.request_ended and self.exchange is not None and not self.upgrade:
            if ctx.body_timeout_ms and not self.talks(self.exchange):
                other = self.read_ms + ctx.body_timeout_ms
                when = min(when, other) if when else other
            if ctx.request_timeout_ms:
                other = self.begin_ms + ctx.request_timeout_ms
                when = min(when, other) if when else other
        return when

    cdef int check_time(self, int64_t now) except -1:
        """An answer that the client does not take (E6), a body that does not come or only trickles (E4)."""
        cdef Context ctx = self.ctx
        cdef Exchange x = self.exchange
        cdef int64_t past
        cdef bint late
        if self.stall_ms and self.queue.bytes.size() and ctx.write_timeout_ms and now >= self.stall_ms + ctx.write_timeout_ms:
            past = now - self.stall_ms
            if <int64_t>(self.queue.sent - self.stall_sent) * 1000 < max(1, ctx.body_min_bytes_per_s * past):
                return self.give_up_stalled()
            self.stall_ms = now
            self.stall_sent = self.queue.sent
        if self.request_ended or x is None or self.upgrade:
            return 0
        if self.pending.size() or not x.head_sent:  # not the client's fault
            self.read_ms = now
            return 0
        past = now - self.begin_ms
        late = bool(ctx.request_timeout_ms and past >= ctx.request_timeout_ms)
        if not self.talks(x):
            late = late or bool(ctx.body_timeout_ms and now >= self.read_ms + ctx.body_timeout_ms)
            if past > RATE_GRACE_MS and ctx.body_min_bytes_per_s:
                late = late or <int64_t>self.received * 1000 < ctx.body_min_bytes_per_s * past
        if not late:
            return 0
        ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_BODY)
        return self.body_error(FGW_R_BODY_TIMEOUT)

    cdef int give_up_stalled(self) except -1:
        cdef Exchange x = self.exchange
        self.ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_WRITE)
        self.ctx.reject(FGW_R_H2_STREAM_STALLED)
        self.stall_ms = 0
        self.reset(NGHTTP2_CANCEL)
        if x is not None:
            x.on_client_gone()
        return 0


cdef int drop_field(ResponseHead *head, const char *name, size_t n) noexcept:
    """Fields of this name are not relayed."""
    cdef uint32_t i
    cdef fgw_field *f
    for i in range(head.field_count):
        f = &head.fields[i]
        if f.name_len == n and same_name(head.base + f.name_off, name, n):
            f.flags |= FGW_FIELD_DROP
    return 0
