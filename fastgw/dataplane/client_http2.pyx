"""HTTP/2 towards clients (RFC 9113): streams, each with its exchange, over one frame layer.

Flow control is end to end. A stream's window is opened only as the upstream takes its bytes, so that a stream holds at most one
window of a request; of an answer it holds QUEUE_BYTES and one read of the upstream, which pauses meanwhile. Streams and their
exchanges come from a pool of the worker.

A malformed request is a stream error and reaches no upstream; what floods, stalls or breaks the frame layer ends the connection
with GOAWAY and a counted reason (http2_guard). A connection that is to end says GOAWAY twice, so that no request is lost that was
on its way (section 6.8).

Deadlines (one timer a connection, looked at lazily): greeting, header block, idleness, stalled write; of each stream its body and
the client's patience with the answer.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastgw.dataplane.affinity cimport write_sticky_cookie
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport local_text
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable, same_name
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport (
    CONNECTION_WINDOW, BodyQueue, Http2Session, common_callbacks, common_options, fill_pairs, pair, pairs_for,
)
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.streams cimport ClientStream, Connector, ExchangeObserver, ResponseHead
from fastgw.dataplane.transport cimport Transport
from fastgw.dataplane.websocket cimport end_switched
from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_HDR_DATE, FGW_OK, FGW_R_BODY_TIMEOUT, FGW_R_H2_BAD_PREFACE, FGW_R_H2_BODY_LENGTH, FGW_R_H2_COMPRESSION,
    FGW_R_H2_FRAMING, FGW_R_H2_HEADER_BOMB, FGW_R_H2_PING_FLOOD, FGW_R_H2_STREAM_STALLED, FGW_R_HEAD_TIMEOUT, fgw_field,
    fgw_reason_status,
)
from fastgw.native.grpc cimport FGW_GRPC_NOT
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_HEAD, FGW_MSG_UPGRADE, fgw_request
from fastgw.native.http2 cimport (
    FGW_H2_EXTENDED_CONNECT, FGW_H2_REQUEST, FGW_H2_TRAILERS, fgw_h2_malformed, fgw_h2_request, fgw_h2_trailers,
)
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_COMPRESSION_ERROR, NGHTTP2_DATA, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_ERR_BAD_CLIENT_MAGIC,
    NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_NOMEM, NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_END_STREAM,
    NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR,
    NGHTTP2_NV_FLAG_NO_INDEX, NGHTTP2_PING, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS,
    NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
    NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, NGHTTP2_STREAM_CLOSED, fgw_lift_library_limits, fgw_share_fairly,
    nghttp2_data_provider, nghttp2_frame, nghttp2_frame_hd, nghttp2_nv, nghttp2_on_begin_frame_callback,
    nghttp2_on_begin_headers_callback, nghttp2_on_data_chunk_recv_callback, nghttp2_on_frame_not_send_callback,
    nghttp2_on_frame_recv_callback, nghttp2_on_frame_send_callback, nghttp2_on_stream_close_callback, nghttp2_option,
    nghttp2_session, nghttp2_session_callbacks, nghttp2_session_callbacks_set_on_begin_frame_callback,
    nghttp2_session_callbacks_set_on_begin_headers_callback, nghttp2_session_callbacks_set_on_data_chunk_recv_callback,
    nghttp2_session_callbacks_set_on_frame_not_send_callback, nghttp2_session_callbacks_set_on_frame_recv_callback,
    nghttp2_session_callbacks_set_on_frame_send_callback, nghttp2_session_callbacks_set_on_stream_close_callback,
    nghttp2_session_get_last_proc_stream_id, nghttp2_session_get_stream_user_data, nghttp2_session_mem_recv,
    nghttp2_session_mem_send, nghttp2_session_set_local_window_size, nghttp2_session_set_stream_user_data,
    nghttp2_session_terminate_session, nghttp2_session_want_write, nghttp2_settings_entry, nghttp2_submit_goaway,
    nghttp2_submit_headers, nghttp2_submit_ping, nghttp2_submit_response, nghttp2_submit_rst_stream, nghttp2_submit_settings,
    nghttp2_submit_shutdown_notice,
)
from fastgw.native.route cimport FGW_NONE, FGW_SET_COOKIE_MAX
from fastgw.native.state cimport (
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_CLIENT_TIMEOUTS_BODY, FGW_C_CLIENT_TIMEOUTS_HEAD, FGW_C_CLIENT_TIMEOUTS_IDLE,
    FGW_C_CLIENT_TIMEOUTS_WRITE, FGW_C_HTTP2_CONNECTIONS, FGW_G_CLIENT_ACTIVE,
)

cdef enum:
    REQUESTS_PER_TURN = 32       # requirement F16
    POOLED_STREAMS = 1024
    GOODBYE_MS = 1000            # between the two GOAWAY, when the client does not answer our PING (requirement F15)
    LINGER_MS = 2000             # requirement A13
    LINGER_BYTES = 262144
    FORGIVEN_MS = 30000          # for so long frames may come that were sent before our RST_STREAM arrived
    RATE_GRACE_MS = 60000        # requirement E4
    OWN_FIELDS = 8
    TEXT_BYTES = 1024

cdef long connections = 0
cdef long streams_open = 0
cdef char own_text[1024]         # values of own fields, while a head is being submitted


def client_connections_alive():
    """For leak checks: HTTP/2 client connections that are not destroyed."""
    return connections


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


cdef class ConnectionPlace(ClientSide):
    def __init__(self, ClientHttp2 connection):
        self.connection = connection
        self.ctx = connection.ctx

    cdef int locate(self, uint32_t listener) except -1:
        ClientSide.locate(self, listener)
        return self.connection.part() if self.route_table == FGW_NONE else 0

    cdef int local_address(self, char *out) noexcept:
        return local_text(self.connection.transport.fd, out) if self.connection is not None else 0

    def drain(self):
        """No new request once the client has heard of it; then the end."""
        self.connection.part()

    def cut(self):
        """A WebSocket is recorded as what it was; other exchanges had their time."""
        self.connection.cut_switched()


cdef class GoOn(Turn):
    cdef int on_turn_end(self) except -1:
        cdef ClientHttp2 c = self.connection
        if c is None or c.owner is None:
            return 0
        if c.turn == c.ctx.loop.turns:
            return c.ctx.loop.at_turn_end(self)
        try:
            c.proceed()
        except BaseException:
            c.ctx.loop.report_bug()
            c.transport.on_bug()
        return 0


cdef class ClientHttp2(Http2Session):
    def __init__(self, StreamPool pool, ConnectionOwner owner):
        self.ctx = pool.ctx
        self.pool = pool
        self.owner = owner
        self.place = ConnectionPlace(self)
        self.pending = Buffer()
        self.guard = FrameGuard()
        self.go_on = GoOn()
        self.go_on.connection = self

    cdef int start(self, Transport transport, const char *p, size_t n) except -1:
        """Serve a connection over an open transport, of which n bytes have been read. `place` is set."""
        global connections
        connections += 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, 1)
        self.transport = transport
        transport.protocol = self
        self.ctx.loop.count(FGW_C_HTTP2_CONNECTIONS)
        self.phase_ms = self.ctx.loop.now_ms
        self.expires_ms = self.ctx.expiry()
        self.open_session(True, callbacks, options)
        self.guard.session = self.session
        self.announce()
        self.arm()
        return self.on_data(p, n) if n else self.pack_later()

    cdef int announce(self) except -1:
        """Our SETTINGS. The library would answer a stream too many with the end of the connection; it is told of no limit, and
        streams over the one that the client is told of are refused by us (RFC 9113 section 5.1.2)."""
        cdef nghttp2_settings_entry entries[4]
        cdef uint32_t most = <uint32_t>self.ctx.http2_streams
        cdef const uint8_t *p
        cdef ssize_t n
        cdef char limit[4]
        entries[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        entries[0].value = 0x7fffffff
        entries[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        entries[1].value = self.ctx.limits.head_bytes
        entries[2].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        entries[2].value = 1
        entries[3].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        entries[3].value = 1
        if nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, entries, 4 if self.ctx.http2_websockets else 3) != 0:
            raise MemoryError("SETTINGS")
        n = nghttp2_session_mem_send(self.session, &p)
        if n < 15:
            raise MemoryError("SETTINGS")
        limit[0], limit[1], limit[2], limit[3] = 0, 0, <char>(most >> 8), <char>(most & 255)
        self.transport.write(<const char *>p, 11)  # the frame's head and the first identifier
        self.transport.write(limit, 4)
        self.transport.write(<const char *>p + 15, <size_t>n - 15)
        if nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0:
            raise MemoryError("WINDOW_UPDATE")
        return 0

    # ---- input

    cdef int on_data(self, const char *p, size_t n) except -1:
        cdef size_t used
        if self.goodbye == LINGERING:
            self.linger_left -= min(self.linger_left, n)
            return self.destroy() if self.linger_left == 0 else 0
        self.guard.settled = self.settled_stream()
        if self.judge(self.guard.on_data(p, n, self.data_frames, self.ctx.loop.now_ms)):
            return self.condemn(self.reason, self.guard.code)
        if self.pending.size():
            return self.pending.append(p, n)
        used = self.consume(p, n)
        if used < n and self.owner is not None and self.goodbye != LINGERING:
            self.pending.append(p + used, n - used)
            self.transport.pause_reading()
            self.ctx.loop.at_turn_end(self.go_on)
        return 0

    cdef uint32_t settled_stream(self) noexcept:
        """Up to here streams that the frame layer does not know are closed, and not because we have just reset them: then what the
        client had sent before it heard is forgiven (section 5.1)."""
        if self.reset_ms and self.ctx.loop.now_ms <= self.reset_ms + FORGIVEN_MS:
            return 0
        return <uint32_t>(self.block_stream - 1 if self.block_stream else self.last_stream)

    cdef int proceed(self) except -1:
        """Go on with what waited for this turn."""
        cdef size_t used
        if self.pending.size() == 0:
            return 0
        used = self.consume(self.pending.head(), self.pending.size())
        if self.owner is None or self.goodbye == LINGERING:
            return self.pending.release()
        self.pending.consume(used)
        if self.pending.size():
            return self.ctx.loop.at_turn_end(self.go_on)
        return self.transport.resume_reading()

    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1:
        """Give bytes to the frame layer, which takes all of them unless a callback asks for a pause."""
        cdef ssize_t used = nghttp2_session_mem_recv(self.session, <const uint8_t *>p, n)
        if used < 0:
            self.on_fatal(<int>used)
            return n
        self.touch(None)
        if self.reason:
            self.condemn(self.reason, NGHTTP2_ENHANCE_YOUR_CALM)
            return n
        if self.block_stream:
            self.arm_by(self.block_ms + self.ctx.head_timeout_ms if self.ctx.head_timeout_ms else 0)
        self.pack_later()
        return <size_t>used

    cdef int judge(self, int reason) noexcept:
        """A reason for which the connection has to end; the frame layer is left with the answer."""
        if reason == FGW_OK:
            return 0
        if self.reason == FGW_OK:
            self.reason = reason
        return NGHTTP2_ERR_CALLBACK_FAILURE

    cdef int on_fatal(self, int error) except -1:
        if error == NGHTTP2_ERR_NOMEM:
            raise MemoryError("HTTP/2 frame layer")
        if self.reason:
            return self.condemn(self.reason, NGHTTP2_STREAM_CLOSED if self.reason == FGW_R_H2_FRAMING
                                else NGHTTP2_ENHANCE_YOUR_CALM)
        if self.bombed:
            return self.condemn(FGW_R_H2_HEADER_BOMB, NGHTTP2_ENHANCE_YOUR_CALM)
        if error == NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            return self.condemn(FGW_R_H2_BAD_PREFACE, NGHTTP2_PROTOCOL_ERROR)
        if error == NGHTTP2_ERR_FLOODED:
            return self.condemn(FGW_R_H2_PING_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM)
        return self.condemn(FGW_R_H2_FRAMING, NGHTTP2_INTERNAL_ERROR)

    cdef int on_head(self, const nghttp2_frame *frame) except -1:
        """A header block is whole."""
        cdef bint ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        cdef void *found
        if self.block_stream != frame.hd.stream_id:
            return 0
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            self.begin_request(frame.hd.stream_id, ends)
        else:
            found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
            if found != NULL:
                (<ClientHttp2Stream>found).request_ended = ends
                (<ClientHttp2Stream>found).on_trailers()
        return self.end_block()

    cdef int begin_request(self, int32_t id, bint ends) except -1:
        cdef ClientHttp2Stream stream
        cdef fgw_request request
        cdef int reason
        if self.streams >= self.ctx.http2_streams or self.leaving:
            return self.refuse_stream(id)
        stream = self.pool.take()
        stream.open(self, id, ends)
        self.requests += 1
        reason = fgw_h2_request(&self.head, ends, &request)
        if reason:
            stream.spare.begin_rejected(reason)
        else:
            request.head_len = self.head.len
            stream.begin(&request)
        if self.ctx.max_requests_per_connection and self.requests >= <uint64_t>self.ctx.max_requests_per_connection:
            return self.part()
        return 0

    cdef int refuse_stream(self, int32_t id) except -1:
        """Not looked at: it may be sent again (section 8.7)."""
        self.reset_ms = self.ctx.loop.now_ms
        nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM)
        return 0

    cdef int touch(self, ClientHttp2Stream stream) except -1:
        """Body bytes go to this stream's upstream now: those of the one before are sent."""
        cdef ClientHttp2Stream before = self.touched
        cdef Exchange x
        if before is stream:
            return 0
        self.touched = stream
        if before is not None:
            x = before.exchange
            if x is not None and x.upstream is not None and x.head_sent:
                x.upstream.flush()
        return 0

    cdef int on_frame(self, const nghttp2_frame *frame) except -1:
        """A whole frame but for HEADERS; NGHTTP2_ERR_CALLBACK_FAILURE after judge()."""
        cdef int kind = frame.hd.type
        cdef bint ends
        cdef void *found
        if kind == NGHTTP2_DATA:
            ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
            if ends:
                found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
                if found != NULL:
                    (<ClientHttp2Stream>found).on_end()
            return self.judge(self.guard.on_content(frame.hd.length - frame.data.padlen, ends))
        if kind == NGHTTP2_RST_STREAM:
            return self.judge(self.guard.on_reset(self.ctx.loop.now_ms))
        if kind == NGHTTP2_SETTINGS:
            self.greeted = True
        elif kind == NGHTTP2_GOAWAY:
            self.leaving = True
        elif kind == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK and self.goodbye == NOTICE_SENT:
            self.send_farewell()  # the client has read our notice: nothing is on its way any more
        return 0

    cdef int on_eof(self) except -1:
        """The client will send no more; what is not answered is abandoned."""
        return self.destroy()

    cdef int on_closed(self, int reason, int error) except -1:
        return self.destroy()

    # ---- output

    cdef int on_writable(self) except -1:
        if self.goodbye == LINGERING or self.owner is None:
            return 0
        return self.pack()

    cdef int on_made(self, const nghttp2_frame *frame) except -1:
        """A frame is about to leave."""
        cdef uint32_t code
        cdef void *found
        if self.stopping and frame.hd.flags & NGHTTP2_FLAG_END_STREAM and frame.hd.type <= NGHTTP2_HEADERS:
            found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
            if found != NULL and (<ClientHttp2Stream>found).stops_client:  # RFC 9113 section 8.1: after the whole answer
                (<ClientHttp2Stream>found).stop_client(False)
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
        elif frame.hd.type == NGHTTP2_RST_STREAM:
            code = frame.rst_stream.error_code
            self.reset_ms = self.ctx.loop.now_ms
            if code != NGHTTP2_NO_ERROR and code != NGHTTP2_INTERNAL_ERROR and code != NGHTTP2_CANCEL:
                self.judge(self.guard.on_reset(self.ctx.loop.now_ms))  # requirement F3: the client made us do it
        elif frame.hd.type == NGHTTP2_GOAWAY and frame.goaway.error_code != NGHTTP2_NO_ERROR and not self.condemned:
            code = frame.goaway.error_code
            self.reason = FGW_R_H2_COMPRESSION if code == NGHTTP2_COMPRESSION_ERROR else FGW_R_H2_FRAMING
        return 0

    cdef int on_packed(self) except -1:
        cdef ClientHttp2Stream stream
        cdef ClientHttp2Stream following
        if self.owner is None or self.goodbye == LINGERING or self.condemned:
            return 0
        if self.reason:
            return self.condemn(self.reason, NGHTTP2_ENHANCE_YOUR_CALM)
        if self.waiting:
            stream = self.first
            while stream is not None:
                following = stream.next
                stream.after_packed()
                stream = following
        if self.streams == 0:
            if self.goodbye == FAREWELL_SENT and not nghttp2_session_want_write(self.session):
                return self.linger()
            if self.leaving and self.goodbye != FAREWELL_SENT:
                return self.send_farewell()
        if self.transport.queued() and self.ctx.write_timeout_ms:
            return self.arm_by(self.transport.progress_ms + self.ctx.write_timeout_ms)
        return 0

    # ---- ending

    cdef int part(self) except -1:
        """The polite end: what is under way, and what the client sends before it has heard, is still served (requirement F15)."""
        if self.goodbye != STAYING or self.owner is None:
            return 0
        self.goodbye = NOTICE_SENT
        self.phase_ms = self.ctx.loop.now_ms
        nghttp2_submit_shutdown_notice(self.session)
        nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)
        self.arm_by(self.phase_ms + GOODBYE_MS)
        return self.pack_later()

    cdef int send_farewell(self) except -1:
        self.goodbye = FAREWELL_SENT
        nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                              NGHTTP2_NO_ERROR, NULL, 0)
        return self.pack_later()

    cdef int condemn(self, int reason, uint32_t code) except -1:
        """The end, now, with GOAWAY; streams are abandoned. Not from within the frame layer."""
        if self.owner is None or self.goodbye == LINGERING:
            return 0
        self.ctx.reject(reason)
        self.condemned = True
        self.goodbye = FAREWELL_SENT
        nghttp2_session_terminate_session(self.session, code)
        self.pack()
        return self.linger()

    cdef int linger(self) except -1:
        """Half-close, then read and drop for a short while: closing with unread input would reset the last frames away."""
        if self.owner is None or self.goodbye == LINGERING:
            return 0
        self.goodbye = LINGERING
        self.packer.session = None
        self.drop_streams()
        self.block.release()
        self.transport.shut()
        if self.transport.fd < 0:
            return self.destroy()
        self.linger_left = LINGER_BYTES
        self.phase_ms = self.ctx.loop.now_ms
        self.transport.resume_reading()
        return self.arm()

    cdef int drop_streams(self) except -1:
        """Nothing is asked of the frame layer after this: it still knows the streams."""
        cdef ClientHttp2Stream stream = self.first
        while stream is not None:
            stream.close(NGHTTP2_CANCEL)
            stream = self.first
        return 0

    cdef int cut_switched(self) except -1:
        """The process ends: so do WebSockets."""
        cdef ClientHttp2Stream stream = self.first
        cdef ClientHttp2Stream following
        while stream is not None:
            following = stream.next
            if stream.exchange is not None and stream.exchange.switched:
                end_switched(stream.exchange, b"drained")
            stream = following
        return 0

    cdef int destroy(self) except -1:
        """The end: untie and give everything back. Safe to call twice."""
        global connections
        cdef ConnectionOwner owner = self.owner
        if owner is None:
            return 0
        self.owner = None
        self.packer.session = None
        self.touched = None
        self.go_on.connection = None
        self.transport.close()
        self.drop_streams()
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.block.release()
        connections -= 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        self.ctx.loop.doomed.append(self)  # a method of ours may be on the stack, and one of the frame layer
        owner.on_client_closed(self.place)
        self.place.connection = None
        return 0

    # ---- time

    cdef int arm_by(self, int64_t when) except -1:
        """Look at the deadlines at this time at the latest; 0: there is none."""
        if when == 0 or (self.deadline_ms and self.deadline_ms <= when):
            return 0
        return self.ctx.loop.set_deadline(self, when)

    cdef int arm(self) except -1:
        """File the nearest deadline of the present state."""
        cdef Context ctx = self.ctx
        cdef ClientHttp2Stream stream = self.first
        self.deadline_ms = 0
        if self.goodbye == LINGERING:
            self.arm_by(self.phase_ms + LINGER_MS)
        elif self.goodbye == NOTICE_SENT:
            self.arm_by(self.phase_ms + GOODBYE_MS)
        elif not self.greeted:
            self.arm_by(self.phase_ms + ctx.head_timeout_ms if ctx.head_timeout_ms else 0)
        elif self.streams == 0 and self.goodbye == STAYING:
            self.arm_by(self.phase_ms + ctx.http2_idle_timeout_ms if ctx.http2_idle_timeout_ms else 0)
        if self.goodbye == STAYING:
            self.arm_by(self.expires_ms)
        if self.block_stream and ctx.head_timeout_ms:
            self.arm_by(self.block_ms + ctx.head_timeout_ms)
        if self.transport.queued() and ctx.write_timeout_ms:
            self.arm_by(self.transport.progress_ms + ctx.write_timeout_ms)
        while stream is not None:
            self.arm_by(stream.next_check())
            stream = stream.next
        return 0

    cdef int on_timer(self) except -1:
        cdef Context ctx = self.ctx
        cdef int64_t now = ctx.loop.now_ms
        if self.owner is None:
            return 0
        if self.transport.queued() and ctx.write_timeout_ms and now >= self.transport.progress_ms + ctx.write_timeout_ms:
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_WRITE)
            self.transport.reset()
            return self.destroy()
        if self.goodbye == LINGERING:
            if now >= self.phase_ms + LINGER_MS:
                if self.transport.queued() == 0:
                    return self.destroy()
                self.phase_ms = now
            return self.arm()
        if ctx.head_timeout_ms and ((not self.greeted and now >= self.phase_ms + ctx.head_timeout_ms)
                                    or (self.block_stream and now >= self.block_ms + ctx.head_timeout_ms)):
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_HEAD)
            return self.condemn(FGW_R_HEAD_TIMEOUT, NGHTTP2_ENHANCE_YOUR_CALM)
        if self.goodbye == NOTICE_SENT and now >= self.phase_ms + GOODBYE_MS:
            self.send_farewell()
        if self.streams:
            self.check_streams(now)
        elif self.goodbye == STAYING and ctx.http2_idle_timeout_ms and now >= self.phase_ms + ctx.http2_idle_timeout_ms:
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_IDLE)
            self.part()
        if self.expires_ms and now >= self.expires_ms:
            self.part()
        return self.arm() if self.owner is not None else 0

    cdef int check_streams(self, int64_t now) except -1:
        cdef ClientHttp2Stream stream = self.first
        cdef ClientHttp2Stream following
        while stream is not None:
            following = stream.next
            stream.check_time(now)
            stream = following
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

    cdef int local_address(self, char *out) noexcept:
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


# ---- what the frame layer calls

cdef int begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data) except? -902:
    cdef ClientHttp2 c = <ClientHttp2>user_data
    cdef int reason = FGW_OK
    if hd.type == NGHTTP2_HEADERS and 0 < <uint32_t>hd.stream_id <= c.settled_stream() and hd.stream_id & 1:
        # on a stream that is closed: the library lets it pass
        if nghttp2_session_get_stream_user_data(session, hd.stream_id) == NULL:
            reason = FGW_R_H2_FRAMING
    return c.judge(reason)


cdef int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef ClientHttp2 c = <ClientHttp2>user_data
    c.block_ms = c.ctx.loop.now_ms
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        c.start_block(frame.hd.stream_id, FGW_H2_TRAILERS, 0)
        return 0
    c.last_stream = frame.hd.stream_id
    if c.turn != c.ctx.loop.turns:
        c.turn = c.ctx.loop.turns
        c.turn_requests = 0
    c.turn_requests += 1
    c.pause_once = c.turn_requests > REQUESTS_PER_TURN
    c.start_block(frame.hd.stream_id, FGW_H2_REQUEST, FGW_H2_EXTENDED_CONNECT if c.ctx.http2_websockets else 0)
    return 0


cdef int frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    if frame.hd.type == NGHTTP2_HEADERS:
        return (<ClientHttp2>user_data).on_head(frame)
    return (<ClientHttp2>user_data).on_frame(frame)


cdef int chunk_received(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                        void *user_data) except? -902:
    cdef void *found = nghttp2_session_get_stream_user_data(session, id)
    cdef ClientHttp2Stream stream
    if found != NULL:
        stream = <ClientHttp2Stream>found
        return stream.on_chunk(<const char *>p, n)
    return (<ClientHttp2>user_data).consumed(0, n)


cdef int stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user_data) except? -902:
    cdef void *found = nghttp2_session_get_stream_user_data(session, id)
    cdef ClientHttp2Stream stream
    if found != NULL:
        stream = <ClientHttp2Stream>found  # kept alive by this: the connection lets it go
        stream.close(code)
    return 0


cdef int frame_made(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    return (<ClientHttp2>user_data).on_made(frame)


cdef int frame_not_made(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data) except? -902:
    """A header block over the library's own limit: the stream cannot go on."""
    if frame.hd.type == NGHTTP2_HEADERS:
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef nghttp2_session_callbacks *make_callbacks() except NULL:
    cdef nghttp2_session_callbacks *made = common_callbacks()
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, <nghttp2_on_begin_frame_callback>begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, <nghttp2_on_begin_headers_callback>begin_headers)
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, <nghttp2_on_frame_recv_callback>frame_received)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, <nghttp2_on_data_chunk_recv_callback>chunk_received)
    nghttp2_session_callbacks_set_on_stream_close_callback(made, <nghttp2_on_stream_close_callback>stream_closed)
    nghttp2_session_callbacks_set_on_frame_send_callback(made, <nghttp2_on_frame_send_callback>frame_made)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(made, <nghttp2_on_frame_not_send_callback>frame_not_made)
    return made


cdef nghttp2_option *make_options() except NULL:
    cdef nghttp2_option *made = common_options()
    fgw_lift_library_limits(made)
    return made


if FGW_SET_COOKIE_MAX + 64 > TEXT_BYTES:
    raise ImportError("no room for own fields")
cdef nghttp2_session_callbacks *callbacks = make_callbacks()
cdef nghttp2_option *options = make_options()
